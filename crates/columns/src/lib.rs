//! Records to Arrow to Parquet and back, the audit of a lake, and curation as query plans.
//!
//! Bytes in, bytes out: nothing here opens a lake or a network connection. It is the only crate that depends on arrow, parquet and
//! datafusion, so that one version of them serves the whole tree; a [`RecordBatch`] passes through other crates unopened.
//!
//! * [`decode()`]: Avro records → Arrow rows and dead letters, duplicates dropped.
//! * [`resolve`]: records of other releases → records of this one.
//! * [`seal_records`]: both in one, slice by slice: what a batcher does.
//! * [`seal()`], [`open_batch`]: rows ⇄ one sealed Parquet object with a [`nocturne_wire::batch::BatchFooter`].
//! * [`merge()`]: small batches → one large sorted one, without what is erased.
//! * [`interactions`], [`feedback`]: rows → records.
//! * [`audit()`]: proves that every offset was sealed exactly once.
//! * [`curate()`]: which rows a night may learn from, each with its verdict and reason.
//! * [`query()`]: SQL over batches where they lie.
//! * [`write_metrics`], [`read_metrics`]: a night's curves.

mod audit;
mod curate;
mod dead_letters;
mod decode;
mod engine;
mod erased;
mod error;
mod foreign;
mod late;
mod merge;
mod metrics;
mod parquet_file;
mod query;
mod rows;
mod schema;
mod seal;
#[cfg(test)]
mod tests;

pub use arrow::array::RecordBatch;
pub use audit::{AuditReport, Fault, PartitionAudit, audit};
pub use bytes::Bytes;
pub use curate::{Curated, CuratedRow, curate, curated_rows, read_curated, write_curated};
pub use dead_letters::{DeadLetter, letters_digest, read_dead_letters, seal_dead_letters};
pub use decode::{Decoded, IdHash, Known, decode, feedback_from_avro, interactions_from_avro};
pub use engine::Resources;
pub use erased::Erased;
pub use error::ColumnsError;
pub use foreign::{Resolved, Schemas, resolve};
pub use late::{take_rows, unmatched};
pub use merge::{Input, Merged, check_columns, decoded_bytes, follows, merge};
pub use metrics::{MetricRow, read_metrics, write_metrics};
pub use query::{Answer, Objects, query};
pub use rows::{concat, feedback, interactions};
pub use seal::{
    Range, Sealed, open_batch, open_ids, read_batch, read_footer, read_keys, rows_between, seal, seal_records, seal_uncompressed,
    times,
};

/// This crate's outcome.
pub type Result<T, E = ColumnsError> = std::result::Result<T, E>;
