//! An S3 server that honors conditional creates: versitygw, over a folder; or moto, in memory, where Go is missing.

use std::path::PathBuf;

use crate::script::{self, Absent, Guardian};

/// A server with the bucket `nocturne`.
#[derive(Debug)]
pub struct S3 {
    install: PathBuf,
    kind: &'static str,
    data: PathBuf,
    port: u16,
    _guardian: Guardian,
}

impl S3 {
    /// Installs a server if need be and starts it.
    ///
    /// # Errors
    /// When neither Go nor Python is there, or nothing can be downloaded.
    pub fn start() -> Result<Self, Absent> {
        let versity = script::install("s3", "s3-install.sh", &["versitygw"]).map(|dir| (dir, "versitygw"));
        let (install, kind) = versity.or_else(|first| {
            let moto = script::install("s3", "s3-install.sh", &["moto"]).map(|dir| (dir, "moto"));
            moto.map_err(|second| Absent(format!("{first}; {second}")))
        })?;
        let data = script::data()?;
        let guardian = Guardian::over("s3-stop.sh", &data)?;
        let server = Self { install, kind, data, port: script::free_ports(0)?, _guardian: guardian };
        server.start_again()?;
        Ok(server)
    }

    /// Starts the server if it does not run.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again(&self) -> Result<(), Absent> {
        let (install, data, port) = (self.install.to_string_lossy(), self.data.to_string_lossy(), self.port.to_string());
        script::run("s3-start.sh", &[&install, &data, &port, self.kind], &[]).map(drop)
    }

    /// Kills the server, as `kill -9` does.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self) -> Result<(), Absent> {
        script::run("s3-stop.sh", &[&self.data.to_string_lossy(), "-9"], &[]).map(drop)
    }

    /// Its address.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A location in its bucket.
    pub fn url(&self, folder: &str) -> String {
        format!("s3://nocturne/{folder}")
    }

    /// What a client has to be told, under the names that lakes take.
    pub fn options(&self) -> [(String, String); 4] {
        [
            ("aws_endpoint_url", self.endpoint()),
            ("aws_region", "us-east-1".to_owned()),
            ("aws_access_key_id", "test".to_owned()),
            ("aws_secret_access_key", "testtest".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
    }
}
