//! Config, telemetry, shutdown, retry and clock shared by every process.
//!
//! Nothing here is global except the tracing subscriber, which a process installs once in `main`. Settings come from one TOML file a
//! process; the environment is for secrets and pod identity only, so that what a process does can be read from its file.

pub mod clock;
pub mod config;
pub mod display;
pub mod memory;
pub mod processor;
pub mod retry;
pub mod shutdown;
pub mod state_dir;
pub mod supervised;
pub mod telemetry;

pub use clock::{Clock, FixedClock, SystemClock};
pub use shutdown::Shutdown;
pub use state_dir::{StateDir, StateDirError};
