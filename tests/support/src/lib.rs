//! Real counterparts for tests: Kafka, a schema registry, an S3 server, foreign clients, the libraries that models come from.
//!
//! Each is installed from a package registry by its ordinary client, once, into a cache outside the checkout; what cannot be had is
//! [`Absent`] with the reason, which a test prints as SKIPPED. A server lives as long as its value, and not longer than the test's process,
//! however that ends: a guardian reads a pipe that only the process holds open.

mod azure;
mod clock;
mod disk;
mod gcs;
mod kafka;
mod kcat;
mod preload;
mod python;
mod reference;
mod registry;
mod s3;
mod script;
mod steps;

pub use azure::Azure;
pub use clock::Clock;
pub use disk::SmallDisk;
pub use gcs::Gcs;
pub use kafka::{Kafka, Secured};
pub use kcat::Kcat;
pub use python::Python;
pub use reference::Reference;
pub use registry::{Registry, SecuredRegistry};
pub use s3::S3;
pub use script::Absent;
pub use steps::{Death, Step, Steps};

/// Gives the value, or prints why there is none and returns from the test.
#[macro_export]
macro_rules! or_skip {
    ($value:expr) => {
        match $value {
            Ok(value) => value,
            Err(absent) => {
                println!("SKIPPED: {absent}");
                eprintln!("SKIPPED: {absent}");
                return;
            }
        }
    };
}
