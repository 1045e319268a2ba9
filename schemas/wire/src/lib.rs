//! What two Nocturne processes must agree on: ids, records, manifests, plans.
//!
//! Nothing here does I/O or reads a clock. Every type that reaches Kafka or the lake is serializable, carries its units in its
//! field names and rejects unknown or malformed input while it is parsed.

pub mod avro;
pub mod batch;
pub mod epoch;
pub mod generation;
pub mod hash;
pub mod id;
pub mod ledger;
pub mod manifest;
pub mod night;
pub mod path;
pub mod plan;
pub mod record;
pub mod rewrite;

pub use batch::{BatchName, Offset, Partition, Topic};
pub use generation::{Generation, GenerationName};
pub use hash::Sha256Hex;
pub use id::{InteractionId, NightId, SessionId, SubjectId, TenantId};
pub use record::{Feedback, Interaction};
