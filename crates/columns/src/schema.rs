//! The Arrow schemas of sealed rows: what `arrow-avro` makes of the Avro schemas, after the column `offset`.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_avro::{
    reader::{Decoder, ReaderBuilder},
    schema::{AvroSchema, Fingerprint, SchemaStore},
};
use nocturne_wire::{Topic, avro, ledger::PRODUCTION};

use crate::{ColumnsError, Result};

/// Name of the column that holds a row's offset in its partition.
pub(crate) const OFFSET: &str = "offset";

/// An Avro decoder for up to `rows` records of a topic.
pub(crate) fn decoder(topic: Topic, rows: usize) -> Result<Decoder> {
    let mut store = SchemaStore::new();
    let fingerprint = Fingerprint::Rabin(avro::fingerprint(topic));
    let built = store.set(fingerprint, AvroSchema::new(avro::schema(topic).to_owned())).and_then(|fingerprint| {
        ReaderBuilder::new()
            .with_writer_schema_store(store)
            .with_active_fingerprint(fingerprint)
            .with_batch_size(rows.max(1))
            .build_decoder()
    });
    built.map_err(ColumnsError::build("Avro decoder"))
}

/// What a column holds in rows of releases that did not write it; the same as in the Avro schema.
pub(crate) fn default(topic: Topic, column: &str) -> Option<&'static str> {
    match (topic, column) {
        (Topic::Interactions, "channel") => Some(PRODUCTION),
        _ => None,
    }
}

/// The schema of a topic's rows.
pub(crate) fn of(topic: Topic) -> Result<SchemaRef> {
    static SCHEMAS: LazyLock<[Option<SchemaRef>; 2]> = LazyLock::new(|| Topic::ALL.map(|topic| derive(topic).ok()));
    let index = Topic::ALL.iter().position(|known| *known == topic);
    match index.and_then(|index| SCHEMAS[index].clone()) {
        Some(schema) => Ok(schema),
        // Derived once more only to say why it cannot be.
        None => derive(topic),
    }
}

fn derive(topic: Topic) -> Result<SchemaRef> {
    let records = decoder(topic, 1)?.schema();
    let offset = Arc::new(Field::new(OFFSET, DataType::UInt64, false));
    let fields: Vec<_> = std::iter::once(offset).chain(records.fields().iter().cloned()).collect();
    Ok(Arc::new(Schema::new_with_metadata(fields, HashMap::new())))
}
