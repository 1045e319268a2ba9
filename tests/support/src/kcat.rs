//! kcat, a client of Kafka that others wrote, as the system's package manager installs it.

use std::{path::Path, process::Command};

use crate::script::Absent;

/// The program `kcat` of this machine.
#[derive(Debug, Clone, Copy)]
pub struct Kcat;

impl Kcat {
    /// Looks for it.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn find() -> Result<Self, Absent> {
        run(&["-V"]).map(|_| Self).map_err(|Absent(why)| Absent(format!("kcat is not installed: {why}")))
    }

    /// Sends a file as one record.
    ///
    /// # Errors
    /// When it is not sent.
    pub fn produce(&self, brokers: &str, topic: &str, key: &str, file: &Path) -> Result<(), Absent> {
        run(&["-P", "-b", brokers, "-t", topic, "-k", key, &file.to_string_lossy()]).map(drop)
    }

    /// Every record of a topic that is there now.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn consume(&self, brokers: &str, topic: &str) -> Result<Vec<Vec<u8>>, Absent> {
        // Each with its length before it: a record may hold any byte.
        let printed = run(&["-C", "-q", "-e", "-b", brokers, "-t", topic, "-o", "beginning", "-f", "%S\n%s"])?;
        let (mut rest, mut records) = (printed.as_slice(), Vec::new());
        while !rest.is_empty() {
            let (record, after) = first(rest).ok_or_else(|| Absent("kcat printed something else than records".to_owned()))?;
            records.push(record.to_vec());
            rest = after;
        }
        Ok(records)
    }
}

fn first(printed: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = printed.iter().position(|byte| *byte == b'\n')?;
    let length: usize = str::from_utf8(&printed[..end]).ok()?.parse().ok()?;
    printed[end + 1..].split_at_checked(length)
}

fn run(args: &[&str]) -> Result<Vec<u8>, Absent> {
    let output = Command::new("kcat").args(args).output().map_err(|error| Absent(format!("running kcat: {error}")))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(Absent(format!("kcat {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr))))
}
