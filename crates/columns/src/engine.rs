//! The query engine, with its limits.

use std::{path::PathBuf, sync::Arc};

use datafusion::{
    execution::{
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::FairSpillPool,
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
    prelude::{SessionConfig, SessionContext},
};

use crate::{ColumnsError, Result};

/// What the smallest machine that we name has; more partitions cost memory and win nothing on it.
const TARGET_PARTITIONS: usize = 2;

/// What a query may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resources {
    /// Memory of sorts, joins and aggregations together; beyond it they spill or the query fails.
    pub memory_bytes: usize,
    /// Folder for spilled data; `None` for the system's temporary folder.
    pub spill: Option<PathBuf>,
}

impl Default for Resources {
    fn default() -> Self {
        Self { memory_bytes: 512 << 20, spill: None }
    }
}

/// A context with nothing in it.
pub(crate) fn context(resources: &Resources) -> Result<SessionContext> {
    Ok(SessionContext::new_with_config_rt(config(), runtime(resources)?))
}

pub(crate) fn config() -> SessionConfig {
    SessionConfig::new().with_target_partitions(TARGET_PARTITIONS)
}

pub(crate) fn runtime(resources: &Resources) -> Result<Arc<RuntimeEnv>> {
    let disk = match &resources.spill {
        Some(folder) => DiskManagerBuilder::default().with_mode(DiskManagerMode::Directories(vec![folder.clone()])),
        None => DiskManagerBuilder::default(),
    };
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(resources.memory_bytes)))
        .with_disk_manager_builder(disk)
        .build_arc()
        .map_err(ColumnsError::query(resources.memory_bytes))
}
