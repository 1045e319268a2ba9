//! The one configuration file of `nocturne up`: a table for each part.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use nocturne_batcher::BatcherSettings;
use nocturne_bus::{KafkaSettings, LogSettings, SpoolSettings};
use nocturne_inference::InferenceSettings;
use nocturne_kit::{config, telemetry::LogOutput};
use nocturne_scheduler::NightSettings;
use nocturne_sleep::SleepSettings;
use serde::{Deserialize, Serialize};

use super::UpkeepSettings;
use crate::{
    args::{Global, STORE_OPTIONS},
    failure::{Advise, refused},
};

/// Where the lake is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StoreSettings {
    /// A directory or a URL: `s3://bucket/folder`, `gs://…`, `az://…`. Empty: the folder `lake` of the state directory.
    pub(crate) url: String,
    /// Options of the store, such as `aws_endpoint_url`. Credentials belong into the environment, under the names that the store's own tools use.
    pub(crate) options: BTreeMap<String, String>,
}

impl StoreSettings {
    /// Takes what the command line or the environment says.
    pub(crate) fn override_with(&mut self, global: &Global) {
        if let Some(store) = &global.store {
            self.url.clone_from(store);
        }
        if let Some(options) = &global.store_options {
            self.options.clone_from(&options.0);
        }
    }

    /// What a process that this one starts is told in its environment.
    ///
    /// # Errors
    /// Never for texts.
    pub(crate) fn environment(&self) -> anyhow::Result<Option<(String, String)>> {
        if self.options.is_empty() {
            Ok(None)
        } else {
            Ok(Some((STORE_OPTIONS.to_owned(), serde_json::to_string(&self.options)?)))
        }
    }
}

/// The routes for other commands and processes: health, metrics, sealing, nights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ControlSettings {
    /// Where they listen; they know no keys, so let only your own machines reach them.
    pub(crate) listen: SocketAddr,
    /// Control addresses of batchers, `http://host:port`, that the scheduler has seal the day before it plans a night.
    pub(crate) batchers: Vec<String>,
}

impl Default for ControlSettings {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 0)), batchers: Vec::new() }
    }
}

/// Settings of all parts. Every key has a default; an unknown key is an error.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// How the process logs.
    pub(crate) telemetry: LogOutput,
    /// Where the lake is.
    pub(crate) store: StoreSettings,
    /// The local log, when there is no Kafka.
    pub(crate) log: LogSettings,
    /// Kafka.
    pub(crate) kafka: KafkaSettings,
    /// What waits for Kafka.
    pub(crate) spool: SpoolSettings,
    /// The batcher.
    pub(crate) batcher: BatcherSettings,
    /// The inference service.
    pub(crate) inference: InferenceSettings,
    /// Nights and their schedule.
    pub(crate) nights: NightSettings,
    /// The process that a night runs in.
    pub(crate) sleep: SleepSettings,
    /// Compaction and retention of the lake; of `nocturne up` and `nocturne scheduler`.
    pub(crate) upkeep: UpkeepSettings,
    /// Routes for other commands and processes.
    pub(crate) control: ControlSettings,
}

impl Config {
    /// As a file: every key with its value. TOML cannot write that a key has none: those are named at the end.
    ///
    /// # Errors
    /// When a value cannot be written.
    pub(crate) fn to_file(&self) -> anyhow::Result<String> {
        let mut text = toml::to_string_pretty(self)?;
        let mut unset = Vec::new();
        absent(&serde_json::to_value(self)?, "", &mut unset);
        if !unset.is_empty() {
            text.push_str("\n# Not set, each in the table before its last point:\n");
            unset.iter().for_each(|key| text.extend(["# ", key, "\n"]));
        }
        Ok(text)
    }

    /// Reads a file, or gives the defaults.
    ///
    /// # Errors
    /// When the file cannot be read, holds an unknown key or a value that cannot be.
    pub(crate) fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        match file {
            None => Ok(Self::default()),
            Some(file) => {
                let hint = "`nocturne up --print-config` prints every key with its default";
                let config: Self = config::load(file).advise("loading the configuration", hint)?;
                match config.nights.gates.check() {
                    Ok(()) => Ok(config),
                    Err(why) => Err(refused(format!("loading the configuration {}: [nights.gates] {why}", file.display()), hint)),
                }
            }
        }
    }
}

/// Full names of the keys below `path` that have no value.
fn absent(value: &serde_json::Value, path: &str, found: &mut Vec<String>) {
    let Some(table) = value.as_object() else { return };
    for (key, value) in table {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        if value.is_null() {
            found.push(path);
        } else {
            absent(value, &path, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use nocturne_model::DeviceName;

    use super::*;

    #[test]
    fn every_part_is_set_in_its_own_table() {
        let text = "[log]\nsegment_bytes = 2048\n[batcher.seal]\nrecords = 7\n[inference]\nmodel = \"x\"\n[nights.schedule]\nenabled = false\n[sleep]\ndevice = \"cuda:1\"\n";
        let config: Config = config::parse(text, Path::new("nocturne.toml")).expect("valid");
        assert_eq!((config.log.segment_bytes, config.batcher.seal.records), (2048, 7));
        assert_eq!((config.inference.model.as_str(), config.nights.schedule.enabled), ("x", false));
        assert_eq!(config.sleep.device, DeviceName::Cuda(1));
        let refused = config::parse::<Config>("[sleep]\ndevice = \"gpu\"\n", Path::new("nocturne.toml")).expect_err("unknown");
        assert!(refused.to_string().contains("there is no device `gpu`"), "{refused}");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let refused = config::parse::<Config>("[inferense]\n", Path::new("nocturne.toml")).expect_err("unknown");
        assert_eq!(refused.to_string(), "nocturne.toml:1: unknown key `inferense`; did you mean `inference`?");
    }

    #[test]
    fn the_defaults_are_read_back_as_they_are_written() {
        let text = Config::default().to_file().expect("written");
        assert_eq!(config::parse::<Config>(&text, Path::new("x")).expect("read"), Config::default());
        for key in ["inference.admin_listen", "kafka.security.ca_file", "kafka.consumer.instance"] {
            assert!(text.lines().any(|line| line == format!("# {key}")), "{key} is named in\n{text}");
        }
    }
}
