//! A schema registry that speaks Confluent's API: Apicurio Registry, in memory.

use std::path::PathBuf;

use crate::script::{self, Absent, Guardian};

/// A registry; what was registered is gone with the process.
#[derive(Debug)]
pub struct Registry {
    install: PathBuf,
    data: PathBuf,
    port: u16,
    _guardian: Guardian,
}

impl Registry {
    /// Installs it if need be, and starts it.
    ///
    /// # Errors
    /// When Java or Maven is missing, nothing can be downloaded, or it does not start.
    pub fn start() -> Result<Self, Absent> {
        let registry = Self::at_rest()?;
        registry.start_again()?;
        Ok(registry)
    }

    /// Installs it if need be: it has an address, and nobody answers there yet.
    ///
    /// # Errors
    /// As [`Registry::start`].
    pub fn at_rest() -> Result<Self, Absent> {
        let install = script::install("registry", "registry-install.sh", &[])?;
        let data = script::data()?;
        let guardian = Guardian::over("registry-stop.sh", &data)?;
        Ok(Self { install, data, port: script::free_ports(0)?, _guardian: guardian })
    }

    /// Starts it if it does not run.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again(&self) -> Result<(), Absent> {
        let (install, data, port) = (self.install.to_string_lossy(), self.data.to_string_lossy(), self.port.to_string());
        script::run("registry-start.sh", &[&install, &data, &port], &[]).map(drop)
    }

    /// Has it hold still: it takes connections and answers none, until [`Registry::thaw`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self) -> Result<(), Absent> {
        self.signal("-STOP")
    }

    /// Has it go on, and remember everything.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self) -> Result<(), Absent> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> Result<(), Absent> {
        script::run("registry-signal.sh", &[&self.data.to_string_lossy(), signal], &[]).map(drop)
    }

    /// Where Confluent's API begins.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7", self.port)
    }
}
