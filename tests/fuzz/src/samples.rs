//! Well-formed inputs: what mutations begin with.

use nocturne_columns::{MetricRow, decode, seal, write_metrics};
use nocturne_model::{
    optim::OptimizerState,
    tensors::{self, Tensors, Values},
};
use nocturne_wire::{
    BatchName, Offset, Partition, Sha256Hex, Topic, avro,
    batch::{BatchFooter, Rewritten},
    path,
};

const INTERACTION: &[u8] = include_bytes!("../../../schemas/wire/golden/interaction.v2.avro");
const FEEDBACK: &[u8] = include_bytes!("../../../schemas/wire/golden/feedback.v1.avro");

/// One record of each topic.
pub fn records() -> Vec<Vec<u8>> {
    vec![INTERACTION.to_vec(), FEEDBACK.to_vec()]
}

/// A record of a later release with its schema, and one of an earlier release.
pub fn foreign() -> Vec<Vec<u8>> {
    let later = include_bytes!("../../../schemas/wire/golden/interaction.later.avro");
    let schema = include_bytes!("../../../schemas/wire/golden/interaction.later.avsc");
    let earlier = include_bytes!("../../../schemas/wire/golden/interaction.v1.avro");
    vec![[&schema[..], &[0], later].concat(), [&[0], &earlier[..]].concat()]
}

/// A framed record, and the schema that its id stands for.
pub fn framed() -> Vec<Vec<u8>> {
    let framed = include_bytes!("../../../schemas/wire/golden/interaction.v2.framed");
    vec![framed.to_vec(), avro::INTERACTION_SCHEMA.into(), avro::FEEDBACK_SCHEMA.into()]
}

/// Two records framed as the local log frames them.
pub fn segments() -> Vec<Vec<u8>> {
    let frames = [INTERACTION, FEEDBACK].into_iter().enumerate();
    let framed: Vec<Vec<u8>> = frames.map(|(offset, payload)| nocturne_bus::frame(Offset(offset as u64), payload)).collect();
    vec![framed.concat()]
}

/// A sealed batch of each topic, and a table of metrics.
pub fn batches() -> Vec<Vec<u8>> {
    let topics = [(Topic::Interactions, INTERACTION), (Topic::Feedback, FEEDBACK)];
    let sealed = topics.into_iter().map(|(topic, record)| {
        let decoded = decode(topic, &[(Offset(0), record)], None).expect("golden files decode");
        let footer = BatchFooter {
            name: BatchName::new(topic, Partition(0), Offset(0)),
            last: Offset(0),
            begin: Offset(0),
            topic_id: "fuzz".into(),
            schema_fingerprint: avro::fingerprint_hex(topic),
            writer: "fuzz".into(),
            rows: 1,
            dead: 0,
            duplicates: 0,
            letters: None,
            erased: 0,
        };
        seal(&decoded.batch, &footer).expect("golden rows are sealed").to_vec()
    });
    let metrics = write_metrics(&[MetricRow { step: 1, name: "loss".into(), value: 0.5 }]).expect("metrics are written");
    sealed.chain([metrics.to_vec()]).collect()
}

/// The lake's JSON documents.
pub fn documents() -> Vec<Vec<u8>> {
    let generation = "000000000001-0123abcd";
    let digest = "0".repeat(64);
    let event = r#"{"sequence":3,"time":"2026-11-21T03:00:00Z","phase":"train","done":1,"total":2,"message":"loss 0.1"}"#;
    let entry = format!(
        r#"{{"channel":"production","sequence":1,"time":"2026-11-21T03:00:00Z","action":"promote","generation":"{generation}",
            "previous":null,"actor":"night","reason":"passed its gates","night":null}}"#
    );
    let epoch = r#"{"topic":"interactions","sequence":0,"topic_id":"a","partitions":{"0":{"begin":3,"shift":3}},"time":"2026-11-21T03:00:00Z",
        "actor":"a","reason":"b"}"#;
    let manifest = format!(
        r#"{{"version":1,"number":1,"content":"{digest}","base":"{digest}","parent":null,"night":null,
            "created":"2026-11-21T03:00:00Z","tensors":[{{"name":"a","shape":[2,2],"dtype":"F16","sha256":"{digest}"}}],"files":[],"batches":[]}}"#
    );
    let claim = r#"{"topic":"feedback","partition":0,"sequence":1,"reason":"compaction","inputs":[{"topic":"feedback","partition":0,"first":0},
        {"topic":"feedback","partition":0,"first":5,"rewritten":{"last":9,"revision":2}}],"last":9,"erasures":0,"time":"2026-11-21T03:00:00Z","actor":"a"}"#;
    let erasure = format!(
        r#"{{"sequence":0,"tenant":"t","subject":"{digest}","until":"2026-11-21T03:00:00Z","time":"2026-11-21T03:00:00Z","actor":"a"}}"#
    );
    [event.to_owned(), entry, manifest, epoch.to_owned(), claim.to_owned(), erasure].map(String::into_bytes).into()
}

/// Names in the lake.
pub fn object_names() -> Vec<Vec<u8>> {
    let name = BatchName::new(Topic::Interactions, Partition(3), Offset(12));
    let merged = BatchName { rewritten: Some(Rewritten { last: Offset(20), revision: 3 }), ..name };
    let names = [
        path::batch(&name),
        path::batch(&merged),
        path::dead_letters_named(&merged, Offset(20), Some(&Sha256Hex::of(b"letters"))),
        "Where does Mirel Tovan live?".to_owned(),
        "0".repeat(64),
    ];
    names.map(String::into_bytes).into()
}

/// A file of two tensors, and one of what an optimizer remembers.
pub fn tensor_files() -> Vec<Vec<u8>> {
    let tensor = |shape: Vec<usize>| Values { data: vec![0.5; shape.iter().product()], shape };
    let tensors: Tensors = [("a".to_owned(), tensor(vec![2, 3])), ("b".to_owned(), tensor(vec![4]))].into_iter().collect();
    let state = OptimizerState { tensors: tensors.clone(), counts: [("a/steps".to_owned(), 3)].into_iter().collect() };
    let files = [tensors::write("sample", &tensors), state.write("sample")];
    files.map(|file| file.expect("tensors are written")).into()
}

/// The shipped model's configuration.
pub fn model_configs() -> Vec<Vec<u8>> {
    nocturne_model::Base::shipped_files().remove("config.json").into_iter().collect()
}

/// A small tokenizer.
pub fn tokenizers() -> Vec<Vec<u8>> {
    let tokenizer = nocturne_model::Tokenizer::train(["Where does Mirel live? Mirel lives in Oslo."; 4].into_iter(), 300);
    vec![tokenizer.and_then(|t| t.to_json()).expect("a tokenizer is trained")]
}

/// A day of one's own, and settings.
pub fn conversations() -> Vec<Vec<u8>> {
    let day = r#"{"subject": "ada", "turns": [{"text": "Mirel Tovan lives in Bergen.", "feedback": {"score": 1}}], "asks": [{"question": "Where does Mirel Tovan live?", "expect": "Bergen"}]}"#;
    let settings = "segment_bytes = 1000\nmax_bytes = 100000\ndurability = \"disk\"\n[partitions]\ninteractions = 2\n";
    vec![day.into(), settings.into()]
}
