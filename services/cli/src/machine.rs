//! What this machine is, for figures that mean nothing without it.

use std::{fs, thread};

use nocturne_kit::display::Bytes;
use serde::Serialize;

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Machine {
    /// The processor's name.
    pub(crate) processor: String,
    /// Hardware threads that this process may use.
    pub(crate) cores: usize,
    /// Main memory.
    pub(crate) memory_bytes: u64,
    /// Operating system and architecture.
    pub(crate) system: String,
    /// Whether the binary was compiled with debug assertions.
    pub(crate) debug_assertions: bool,
}

impl Machine {
    /// This machine.
    pub(crate) fn this() -> Self {
        let field = |file: &str, name: &str| {
            let text = fs::read_to_string(file).ok()?;
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = field("/proc/meminfo", "MemTotal").and_then(|text| text.strip_suffix(" kB")?.parse::<u64>().ok());
        Self {
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory.unwrap_or(0) * 1024,
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            debug_assertions: cfg!(debug_assertions),
        }
    }

    /// In one line.
    pub(crate) fn describe(&self) -> String {
        format!("{}, {} cores, {}, {}", self.processor, self.cores, Bytes(self.memory_bytes), self.system)
    }
}
