//! The libraries that imported models are held against: PyTorch on the CPU, transformers, tokenizers, jinja2, safetensors, numpy.
//!
//! 1 GB is downloaded and 2 GB are kept. `servers/reference-install.sh` says how PyTorch's wheel for CUDA runs without CUDA.

use std::path::{Path, PathBuf};

use crate::{
    python::Python,
    script::{self, Absent},
};

/// An environment with them.
#[derive(Debug, Clone)]
pub struct Reference {
    dir: PathBuf,
    python: Python,
}

/// What would have them look for models in the network, or for a GPU whose libraries are not there.
const VARIABLES: [(&str, &str); 4] = [
    ("HF_HUB_OFFLINE", "1"),
    ("TRANSFORMERS_VERBOSITY", "error"),
    ("TOKENIZERS_PARALLELISM", "false"),
    ("CUDA_VISIBLE_DEVICES", ""),
];

impl Reference {
    /// Installs them if need be.
    ///
    /// # Errors
    /// When Python or a C compiler is missing, or nothing can be downloaded.
    pub fn install() -> Result<Self, Absent> {
        let dir = script::install("reference", "reference-install.sh", &[])?;
        Ok(Self { python: Python::at(&dir, &VARIABLES), dir })
    }

    /// Runs a program given as text; what it printed.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String, Absent> {
        self.python.run(program, args)
    }

    /// The folder that builds against PyTorch's C++ libraries take as `LIBTORCH`: `include/` and `lib/`, without those for CUDA.
    pub fn libtorch(&self) -> PathBuf {
        self.dir.join("libtorch")
    }

    /// The folder of those libraries, `libtorch_cpu.so` and what it needs: what is built against them finds them by `LD_LIBRARY_PATH`.
    pub fn libtorch_libraries(&self) -> PathBuf {
        self.libtorch().join("lib")
    }

    /// The environment's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}
