//! Azure Blob Storage as Microsoft's emulator has it: Azurite, in memory.

use crate::script::{self, Absent, Guardian};

/// The key of the emulator's account, which its manual prints: it opens nothing else.
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A server with the container `nocturne`.
#[derive(Debug)]
pub struct Azure {
    port: u16,
    _guardian: Guardian,
}

impl Azure {
    /// Installs the server if need be and starts it.
    ///
    /// # Errors
    /// When Node is not there, or nothing can be downloaded.
    pub fn start() -> Result<Self, Absent> {
        let install = script::install("azure", "azure-install.sh", &[])?;
        let data = script::data()?;
        let guardian = Guardian::over("s3-stop.sh", &data)?;
        let port = script::free_ports(0)?;
        let (install, data, number) = (install.to_string_lossy(), data.to_string_lossy(), port.to_string());
        script::run("azure-start.sh", &[&install, &data, &number, KEY], &[])?;
        Ok(Self { port, _guardian: guardian })
    }

    /// A location in its container.
    pub fn url(&self, folder: &str) -> String {
        format!("az://nocturne/{folder}")
    }

    /// What a client has to be told, under the names that lakes take.
    pub fn options(&self) -> [(String, String); 3] {
        [
            ("azure_storage_endpoint", format!("http://127.0.0.1:{}/devstoreaccount1", self.port)),
            ("azure_storage_account_name", "devstoreaccount1".to_owned()),
            ("azure_storage_account_key", KEY.to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
    }
}
