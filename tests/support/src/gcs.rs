//! Google Cloud Storage as far as an emulator has it: fake-gcs-server, in memory.
//!
//! It lists, reads and removes as Google's XML API does, but takes no upload by that API, which is what lakes speak. `servers/gcs.go` embeds it and turns
//! each such PUT into an upload by the JSON API with the same condition. Names, conditions and races are therefore decided by the emulator; the
//! form of a PUT and of its answer is ours. Listings come in one page, and nothing asks who a client is: both are for Google's own store to show.

use crate::script::{self, Absent, Guardian};

/// A server with the bucket `nocturne`.
#[derive(Debug)]
pub struct Gcs {
    port: u16,
    _guardian: Guardian,
}

impl Gcs {
    /// Installs the server if need be and starts it.
    ///
    /// # Errors
    /// When Go is not there, or nothing can be downloaded.
    pub fn start() -> Result<Self, Absent> {
        let install = script::install("gcs", "gcs-install.sh", &[])?;
        let data = script::data()?;
        let guardian = Guardian::over("s3-stop.sh", &data)?;
        let port = script::free_ports(0)?;
        let (install, data, number) = (install.to_string_lossy(), data.to_string_lossy(), port.to_string());
        script::run("gcs-start.sh", &[&install, &data, &number], &[])?;
        Ok(Self { port, _guardian: guardian })
    }

    /// A location in its bucket.
    pub fn url(&self, folder: &str) -> String {
        format!("gs://nocturne/{folder}")
    }

    /// What a client has to be told, under the names that lakes take.
    pub fn options(&self) -> [(String, String); 2] {
        // `google_skip_signature` would not do: the client asks for a token before it writes all the same.
        let account = r#"{"disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": ""}"#;
        [("google_base_url", format!("http://127.0.0.1:{}", self.port)), ("google_service_account_key", account.to_owned())]
            .map(|(key, value)| (key.to_owned(), value))
    }
}
