//! Programs that do the same work outside.

use std::{
    ffi::OsString,
    path::Path,
    process::{Command, Stdio},
};

use super::{Request, report::Measured};
use crate::failure::{Advise, refused};

/// A program that reads a request as its last argument and prints what it measured.
#[derive(Debug)]
pub(super) struct Peer {
    name: &'static str,
    command: Vec<OsString>,
}

impl Peer {
    /// Those that can be asked.
    pub(super) fn all(python: Option<&Path>, candle: Option<&Path>) -> Vec<Self> {
        let torch = |precision: &'static str, name| {
            python.map(|python| Self {
                name,
                command: vec![python.into(), "-c".into(), include_str!("torch.py").into(), precision.into()],
            })
        };
        let candle = candle.map(|program| Self { name: "candle", command: vec![program.into()] });
        [torch("float32", "PyTorch in float32"), torch("bfloat16", "PyTorch in bfloat16"), candle].into_iter().flatten().collect()
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Does all of it once.
    pub(super) fn measure(&self, request: &Request<'_>) -> anyhow::Result<Measured> {
        let doing = || format!("measuring {}", self.name);
        let hint = "see the examples of `nocturne bench peers --help` for what it needs";
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).arg(serde_json::to_string(request)?).stderr(Stdio::inherit());
        // Without these PyTorch looks for models in the network and for a GPU.
        command.env("HF_HUB_OFFLINE", "1").env("CUDA_VISIBLE_DEVICES", "");
        let output = command.output().advise(doing(), hint)?;
        if !output.status.success() {
            return Err(refused(format!("{} ended with {}", self.name, output.status), hint));
        }
        let said = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(said.lines().last().unwrap_or_default()).advise(doing(), hint)
    }
}
