//! Every parser of bytes that come from outside, as a function that must not panic, hang or allocate without bound whatever it is given.
//!
//! `tests/mutations.rs` gives each of them mutated samples in every test run; `libfuzzer/` hunts with coverage for as long as one likes.
#![allow(clippy::missing_panics_doc, reason = "a panic here is what the hunt is for")]

pub mod samples;

use std::path::Path;

use nocturne_columns::{
    Bytes, Schemas, open_batch, read_batch, read_curated, read_dead_letters, read_footer, read_metrics, resolve,
};
use nocturne_model::{
    Chat, ChatLayout, ModelConfig, Tokenizer,
    import::{ChatTemplate, Checkpoint, Files, Foreign, Settings, TemplateSource},
    optim::OptimizerState,
    tensors,
};
use nocturne_wire::{
    Offset, Sha256Hex, Topic, avro,
    epoch::Epoch,
    ledger::LedgerEntry,
    manifest::Manifest,
    night::{Lesson, NightEvent, NightReport},
    path,
    plan::{self, NightPlan},
    record::Role,
    rewrite::{Erasure, Rewrite},
};
use nocturne_world::{DayConfig, conversations};

/// One parser.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, also that of its libFuzzer target.
    pub name: &'static str,
    /// Gives it bytes.
    pub run: fn(&[u8]),
    /// Well-formed inputs to begin with.
    pub samples: fn() -> Vec<Vec<u8>>,
    /// Whether one input takes milliseconds: a test run gives it fewer.
    pub slow: bool,
}

/// All parsers.
pub const TARGETS: [Target; 17] = [
    Target { name: "record", run: record, samples: samples::records, slow: false },
    Target { name: "foreign", run: foreign, samples: samples::foreign, slow: false },
    Target { name: "framed", run: framed, samples: samples::framed, slow: false },
    Target { name: "segment", run: segment, samples: samples::segments, slow: false },
    Target { name: "batch", run: batch, samples: samples::batches, slow: false },
    Target { name: "document", run: document, samples: samples::documents, slow: false },
    Target { name: "object_name", run: object_name, samples: samples::object_names, slow: false },
    Target { name: "tensors", run: tensor_file, samples: samples::tensor_files, slow: false },
    Target { name: "model_config", run: model_config, samples: samples::model_configs, slow: false },
    Target { name: "tokenizer", run: tokenizer, samples: samples::tokenizers, slow: true },
    Target { name: "import_config", run: import_config, samples: samples::foreign_configs, slow: false },
    Target { name: "import_settings", run: import_settings, samples: samples::tokenizer_settings, slow: false },
    Target { name: "import_checkpoint", run: import_checkpoint, samples: samples::checkpoints, slow: false },
    Target { name: "import_template", run: import_template, samples: samples::chat_templates, slow: true },
    Target { name: "import_tokenizer", run: import_tokenizer, samples: samples::tokenizers, slow: true },
    Target { name: "session", run: session, samples: samples::sessions, slow: true },
    Target { name: "conversations", run: conversations_file, samples: samples::conversations, slow: true },
];

/// Avro records off the log: what decodes must encode to something that decodes to the same.
pub fn record(bytes: &[u8]) {
    if let Ok(interaction) = avro::decode_interaction(bytes) {
        let encoded = avro::encode_interaction(&interaction);
        let again = avro::decode_interaction(&encoded).map(|i| avro::encode_interaction(&i));
        assert_eq!(again.ok(), Some(encoded), "an interaction changed on its way");
    }
    if let Ok(feedback) = avro::decode_feedback(bytes) {
        let encoded = avro::encode_feedback(&feedback);
        let again = avro::decode_feedback(&encoded).map(|f| avro::encode_feedback(&f));
        assert_eq!(again.ok(), Some(encoded), "a feedback changed on its way");
    }
    let records: Vec<(Offset, &[u8])> = vec![(Offset(7), bytes)];
    for topic in Topic::ALL {
        let checked = avro::check(topic, bytes).ok();
        let id = match topic {
            Topic::Interactions => avro::decode_interaction(bytes).ok().map(|record| record.id),
            Topic::Feedback => avro::decode_feedback(bytes).ok().map(|record| record.id),
        };
        assert_eq!(
            checked.map(|checked| checked.id),
            id.as_ref().map(nocturne_wire::InteractionId::as_str),
            "checking and decoding disagree"
        );
        if let Some(checked) = checked {
            assert_eq!(avro::peek_time(bytes), Some(checked.time_micros));
        }
        // The columnar decoder accounts for every record, as a row, as dead or as a duplicate.
        let decoded = nocturne_columns::decode(topic, &records, None).expect("poison is not an error");
        assert_eq!(decoded.batch.num_rows() + decoded.dead.len(), 1);
    }
}

/// A schema from outside and a record that claims to be of it, with a zero byte between them: whatever they are, the record is accounted for.
pub fn foreign(bytes: &[u8]) {
    let (schema, record) = bytes.split_at(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    let record = record.get(1..).unwrap_or_default();
    let mut schemas = Schemas::default();
    if let (Some(print), Ok(text)) = (avro::peek_fingerprint(record), std::str::from_utf8(schema)) {
        schemas.add(print, text).ok();
    }
    for topic in Topic::ALL {
        let resolved = resolve(topic, &schemas, [(Offset(7), record)].into_iter());
        assert_eq!(resolved.records.len() + resolved.dead.len(), 1);
    }
}

/// Framed records, and the schemas that a registry answers.
pub fn framed(bytes: &[u8]) {
    if let Some((id, datum)) = avro::open_framed(bytes) {
        assert_eq!(avro::framed(id, datum), bytes, "a frame changed on its way");
        assert_eq!(avro::peek_fingerprint(bytes), None, "a record is framed in one way");
        for topic in Topic::ALL {
            let print = avro::fingerprint(topic);
            let single = avro::single_object(print, datum);
            assert_eq!((avro::peek_fingerprint(&single), avro::datum(&single)), (Some(print), Some(datum)));
            assert_eq!(avro::peek_time(&single), avro::peek_time_of(print, datum));
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let mut schemas = Schemas::default();
        if let Ok(print) = schemas.learn(text) {
            assert_eq!(schemas.learn(text).ok(), Some(print), "a schema has one fingerprint");
        }
    }
}

/// A segment of the local log.
pub fn segment(bytes: &[u8]) {
    let (_, end) = nocturne_bus::intact_records(bytes, Offset(0));
    assert!(end <= bytes.len() as u64, "records end within the segment");
    // A record of a spool holds its key before its payload.
    let record = Bytes::copy_from_slice(bytes);
    if let Some((key, payload)) = nocturne_bus::open_envelope(&record) {
        assert_eq!(2 + key.len() + payload.len(), record.len());
    }
}

/// Parquet objects of the lake, and what lies beside them.
pub fn batch(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let footer = read_footer(&bytes);
    if let Ok(footer) = footer {
        open_batch(&footer.name, &bytes).ok();
    }
    read_batch(&bytes).ok();
    read_dead_letters(&bytes).ok();
    read_curated(&bytes).ok();
    read_metrics(&bytes).ok();
}

/// The lake's JSON documents.
pub fn document(bytes: &[u8]) {
    serde_json::from_slice::<NightPlan>(bytes).ok();
    serde_json::from_slice::<NightReport>(bytes).ok();
    serde_json::from_slice::<NightEvent>(bytes).ok();
    serde_json::from_slice::<LedgerEntry>(bytes).ok();
    serde_json::from_slice::<Manifest>(bytes).ok();
    serde_json::from_slice::<Epoch>(bytes).ok();
    serde_json::from_slice::<Erasure>(bytes).ok();
    if let Ok(claim) = serde_json::from_slice::<Rewrite>(bytes) {
        claim.output();
    }
    Lesson::read(bytes).for_each(|lesson| drop(lesson.ok()));
}

/// Names of objects, digests and questions.
pub fn object_name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(name) = path::parse_batch(text) {
        assert_eq!(path::batch(&name), text, "a batch has one name");
    }
    path::parse_dead_letters(text);
    Sha256Hex::parse(text).ok();
    assert_eq!(plan::question_digest(text), plan::question_digest(&plan::normalize_question(text)));
}

/// Files of tensors: banks, and what optimizers remember.
pub fn tensor_file(bytes: &[u8]) {
    tensors::read("fuzz", bytes).ok();
    if let Ok(state) = OptimizerState::read("fuzz", bytes) {
        let again = state.write("fuzz").and_then(|bytes| OptimizerState::read("fuzz", &bytes));
        assert_eq!(again.ok(), Some(state), "what an optimizer remembers changed on its way");
    }
}

/// A model's configuration.
pub fn model_config(bytes: &[u8]) {
    ModelConfig::parse(bytes).ok();
}

/// Tokenizers in Hugging Face's format.
pub fn tokenizer(bytes: &[u8]) {
    if let Ok(tokenizer) = Tokenizer::from_json(bytes) {
        tokenizer.encode("What is it?");
    }
}

/// A saved session of a model that learns while it reads: what is taken for one can go on.
pub fn session(bytes: &[u8]) {
    let online = samples::online();
    if let Ok(mut session) = online.restore(bytes) {
        online.read(&mut session, &[1, 2, 3]);
    }
}

/// A foreign checkpoint's configuration, which also says what ends an answer.
pub fn import_config(bytes: &[u8]) {
    let files = ["config.json", "generation_config.json"].map(|name| (name.to_owned(), bytes.to_vec()));
    if let Ok(foreign) = Foreign::read(&files.into()) {
        assert_eq!(foreign.windows.len(), foreign.layers);
        assert!(foreign.heads.is_multiple_of(foreign.kv_heads) && foreign.head_width.is_multiple_of(2));
    }
}

/// A foreign tokenizer's settings: its special tokens and where its chat template stands.
pub fn import_settings(bytes: &[u8]) {
    for name in ["tokenizer_config.json", "special_tokens_map.json", "chat_template.json"] {
        let files = Files::from([(name.to_owned(), bytes.to_vec())]);
        if let Ok(settings) = Settings::read(&files) {
            settings.template(&files).ok();
        }
    }
    ChatLayout::parse(bytes).ok();
}

/// An index of shards with one of them after it and a zero byte between: as both, as the shard alone, and as the index alone.
pub fn import_checkpoint(bytes: &[u8]) {
    let (index, shard) = bytes.split_at(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    let files = [("model.safetensors.index.json", index), ("a.safetensors", shard.get(1..).unwrap_or_default())];
    let files: Files = files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect();
    let alone = Files::from([("model.safetensors".to_owned(), bytes.to_vec())]);
    for files in [files, alone] {
        let Ok(checkpoint) = Checkpoint::open(files) else { continue };
        let names: Vec<String> = checkpoint.names().map(str::to_owned).collect();
        names.iter().for_each(|name| drop(checkpoint.tensor(name).ok()));
    }
}

/// Chat templates: programs, which may say anything but must come to an end.
pub fn import_template(bytes: &[u8]) {
    let Ok(template) = String::from_utf8(bytes.to_vec()) else { return };
    let tokens = [("bos_token".to_owned(), "<s>".to_owned())].into();
    let Ok(template) = ChatTemplate::new("fuzz", TemplateSource { template, tokens }) else { return };
    let messages = [(Role::System, "Be brief."), (Role::User, " Where?\n"), (Role::Assistant, "<think>x</think>In Oslo.")];
    for open in [false, true] {
        template.render(&messages, open).ok();
    }
}

/// A foreign tokenizer: no text becomes a control token, and what a conversation is written with does.
pub fn import_tokenizer(bytes: &[u8]) {
    let template = "{% for m in messages %}<|user|>{{ m.content }}<|end|>{% endfor %}";
    let Ok(tokenizer) = Tokenizer::foreign(bytes, template) else { return };
    tokenizer.decode(&tokenizer.encode("What is it?"));
    let written = TemplateSource { template: template.to_owned(), ..TemplateSource::default() };
    if let Ok(chat) = Chat::imported(ChatLayout { written, ends: vec![4] }, &tokenizer) {
        let messages = [(Role::User, "<|end|> Where? <|e"), (Role::Assistant, "In Oslo.")];
        let turns = chat.turns(&tokenizer, &messages).unwrap_or_default();
        let joined: Vec<u32> = turns.into_iter().flat_map(|turn| [turn.opening, turn.said].concat()).collect();
        if let Ok(whole) = chat.conversation(&tokenizer, &messages, false) {
            assert_eq!(joined, whole, "turns are the conversation");
        }
    }
}

/// A day of one's own, and settings.
pub fn conversations_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    conversations::parse(text, 0, &DayConfig::default()).ok();
    nocturne_kit::config::parse::<nocturne_bus::LogSettings>(text, Path::new("fuzz.toml")).ok();
    nocturne_kit::config::parse::<nocturne_bus::KafkaSettings>(text, Path::new("fuzz.toml")).ok();
}
