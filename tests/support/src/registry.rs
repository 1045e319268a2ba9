//! A schema registry that speaks Confluent's API: Apicurio Registry, in memory.

use std::path::PathBuf;

use crate::script::{self, Absent, Guardian};

/// Who is let in by a registry of [`Registry::start_secured`], and the password.
const LOGIN: (&str, &str) = ("nocturne", "sesame");

/// A registry; what was registered is gone with the process.
#[derive(Debug)]
pub struct Registry {
    install: PathBuf,
    data: PathBuf,
    port: u16,
    secure: bool,
    _guardian: Guardian,
}

/// What clients of a secured registry need.
#[derive(Debug, Clone)]
pub struct SecuredRegistry {
    /// The certificate authority.
    pub ca: PathBuf,
    /// A certificate that nobody signed.
    pub stranger: PathBuf,
    /// The user's name.
    pub username: &'static str,
    /// The user's password.
    pub password: &'static str,
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

    /// Starts one that speaks TLS only, under an authority of its own, and lets one user in, by a password.
    ///
    /// # Errors
    /// As [`Registry::start`]; also when `openssl` is missing.
    pub fn start_secured() -> Result<Self, Absent> {
        let registry = Self { secure: true, ..Self::at_rest()? };
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
        // The second port is for who knows a secured one's user.
        Ok(Self { install, data, port: script::free_ports(1)?, secure: false, _guardian: guardian })
    }

    /// Starts it if it does not run.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again(&self) -> Result<(), Absent> {
        let (install, data, port) = (self.install.to_string_lossy(), self.data.to_string_lossy(), self.port.to_string());
        let login = format!("{}:{}", LOGIN.0, LOGIN.1);
        let variables = [("LOGIN", &*login)];
        script::run("registry-start.sh", &[&install, &data, &port], if self.secure { &variables } else { &[] }).map(drop)
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
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}/apis/ccompat/v7", self.port)
    }

    /// What clients of a registry of [`Registry::start_secured`] need.
    pub fn secured(&self) -> SecuredRegistry {
        let certs = self.data.join("certs");
        let (username, password) = LOGIN;
        SecuredRegistry { ca: certs.join("ca.crt"), stranger: certs.join("stranger.crt"), username, password }
    }
}
