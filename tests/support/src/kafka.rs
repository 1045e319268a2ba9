//! Apache Kafka in KRaft mode, from Maven artifacts.

use std::{fmt::Write as _, fs, path::PathBuf};

use crate::script::{self, Absent, Guardian};

/// How long a killed broker keeps its registration; its restart waits for that.
const SESSION: (&str, &str) = ("SESSION_MS", "2000");

/// A cluster of one or three brokers.
#[derive(Debug)]
pub struct Kafka {
    install: PathBuf,
    data: PathBuf,
    port: u16,
    brokers: u16,
    secure: bool,
    _guardian: Guardian,
}

/// Where a secured cluster listens, and the files that clients need.
#[derive(Debug, Clone)]
pub struct Secured {
    /// TLS with PLAIN (`bob`, `bob-secret`; `carol`, `carol-secret`) and SCRAM (`alice`, `alice-secret`; with SHA-512 `alice-secret512`).
    pub sasl_ssl: String,
    /// TLS with a client certificate.
    pub mutual_tls: String,
    /// `OAUTHBEARER` with unsigned tokens of the scope `kafka`.
    pub oauth: String,
    /// The certificate authority.
    pub ca: PathBuf,
    /// The client's certificate.
    pub certificate: PathBuf,
    /// The client's key.
    pub key: PathBuf,
    /// A certificate that nobody signed, and its key.
    pub stranger: (PathBuf, PathBuf),
}

impl Kafka {
    /// Installs Kafka if need be and starts brokers, one or three.
    ///
    /// # Errors
    /// When Java or Maven is missing, or nothing can be downloaded.
    pub fn start(brokers: u16) -> Result<Self, Absent> {
        Self::launch(brokers, false)
    }

    /// Starts one broker with listeners for every kind of security.
    ///
    /// # Errors
    /// As [`Kafka::start`]; also when `openssl` is missing.
    pub fn start_secured() -> Result<Self, Absent> {
        Self::launch(1, true)
    }

    fn launch(brokers: u16, secure: bool) -> Result<Self, Absent> {
        let install = script::install("kafka", "kafka-install.sh", &[])?;
        let data = script::data()?;
        let guardian = Guardian::over("kafka-stop.sh", &data)?;
        if secure {
            script::run("kafka-certs.sh", &[&data.join("certs").to_string_lossy()], &[])?;
        }
        let port = script::free_ports(40)?;
        let kafka = Self { install, data, port, brokers, secure, _guardian: guardian };
        kafka.start_missing()?;
        Ok(kafka)
    }

    /// What clients connect to.
    pub fn brokers(&self) -> String {
        let mut text = String::new();
        for n in 0..self.brokers {
            let comma = if n == 0 { "" } else { "," };
            write!(text, "{comma}127.0.0.1:{}", self.port + n).ok();
        }
        text
    }

    /// Where a cluster of [`Kafka::start_secured`] listens.
    pub fn secured(&self) -> Secured {
        let certs = self.data.join("certs");
        let at = |more| format!("127.0.0.1:{}", self.port + more);
        Secured {
            sasl_ssl: at(10),
            mutual_tls: at(20),
            oauth: at(30),
            ca: certs.join("ca.crt"),
            certificate: certs.join("client.crt"),
            key: certs.join("client.key"),
            stranger: (certs.join("stranger.crt"), certs.join("stranger.key")),
        }
    }

    /// Starts the brokers that do not run.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start_missing(&self) -> Result<(), Absent> {
        let (install, data) = (self.install.to_string_lossy(), self.data.to_string_lossy());
        let (port, brokers) = (self.port.to_string(), self.brokers.to_string());
        let scripts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("servers/kafka-secure.properties");
        let extra = scripts.to_string_lossy();
        let scram = "--add-scram SCRAM-SHA-256=[name=alice,password=alice-secret] --add-scram SCRAM-SHA-512=[name=alice,password=alice-secret512]";
        let mut variables = vec![SESSION];
        if self.secure {
            variables.extend([("EXTRA", &*extra), ("FORMAT_ARGS", scram)]);
        }
        script::run("kafka-start.sh", &[&install, &data, &port, &brokers], &variables).map(drop)
    }

    /// Kills a broker, from 1, as `kill -9` does.
    ///
    /// # Errors
    /// When there is no such broker.
    pub fn kill(&self, broker: u16) -> Result<(), Absent> {
        script::run("kafka-stop.sh", &[&self.data.to_string_lossy(), "-9", &broker.to_string()], &[]).map(drop)
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// When the brokers refuse.
    pub fn create_topic(&self, name: &str, partitions: u16, configs: &[(&str, &str)]) -> Result<(), Absent> {
        let (partitions, copies) = (partitions.to_string(), self.brokers.min(3).to_string());
        let configs: Vec<String> = configs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut args = vec!["--create", "--topic", name, "--partitions", &partitions, "--replication-factor", &copies];
        configs.iter().for_each(|config| args.extend(["--config", config]));
        self.topics(&args)
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// When the brokers refuse.
    pub fn delete_topic(&self, name: &str) -> Result<(), Absent> {
        self.topics(&["--delete", "--topic", name])
    }

    /// Says who may do what on a cluster of [`Kafka::start_secured`], in the words of Kafka's own tool: `--add --allow-principal User:carol …`.
    ///
    /// # Errors
    /// When the brokers refuse.
    pub fn acls(&self, args: &[&str]) -> Result<(), Absent> {
        self.tool("org.apache.kafka.tools.AclCommand", args)
    }

    fn topics(&self, args: &[&str]) -> Result<(), Absent> {
        self.tool("org.apache.kafka.tools.TopicCommand", args)
    }

    fn tool(&self, class: &str, args: &[&str]) -> Result<(), Absent> {
        let (install, brokers) = (self.install.to_string_lossy(), self.brokers());
        let mut all = vec![&*install, class, "--bootstrap-server", &brokers];
        all.extend(args);
        script::run("kafka-run.sh", &all, &[]).map(drop)
    }

    /// The end of a broker's log, for a test that failed.
    pub fn log(&self, broker: u16) -> String {
        fs::read_to_string(self.data.join(format!("n{broker}/log"))).unwrap_or_default()
    }
}
