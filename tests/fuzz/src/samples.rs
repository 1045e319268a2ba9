//! Well-formed inputs: what mutations begin with.

use std::{collections::BTreeMap, sync::LazyLock};

use nocturne_columns::{MetricRow, decode, seal, write_metrics};
use nocturne_model::{
    DeviceName, Model,
    config::{BankConfig, BankShape},
    kernels::mlp::Activation,
    online::{Online, OnlineSettings},
    optim::OptimizerState,
    params, presets,
    tensors::{self, Tensors, Values},
};
use nocturne_wire::{
    BatchName, Offset, Partition, Sha256Hex, Topic, avro,
    batch::{BatchFooter, Rewritten},
    manifest::Period,
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

/// A small model whose sessions learn.
pub fn online() -> &'static Online {
    static ONLINE: LazyLock<Online> = LazyLock::new(|| {
        let mixer = |name| presets::mixer(name, 4, 1).expect("a mixer");
        let mut config = presets::model("sample", &mixer("titans-mag"), 8, 4, 2, 0);
        config.blocks[1].mixer = mixer("retnet");
        let memory = BankConfig { name: "fast".into(), period: Period::Tokens(4), shape: BankShape::Memory { width: 2 } };
        let quick = BankConfig::perceptron("quick", Period::Tokens(2), 4, Activation::Silu);
        config.blocks.iter_mut().for_each(|block| block.cms.banks = vec![quick.clone(), memory.clone()]);
        let device = DeviceName::default().open().expect("the processor");
        let tensors = params::collect(&config, &Model::new(&config, 1, &device));
        Online::new(&config, &tensors, OnlineSettings { rate: 0.1, rates: BTreeMap::new(), clip: None }, &device).expect("sound")
    });
    &ONLINE
}

/// A session between two periods.
pub fn sessions() -> Vec<Vec<u8>> {
    let mut session = online().begin();
    online().read(&mut session, &[1, 2, 3, 4]);
    session.to_bytes().into_iter().collect()
}

/// A small tokenizer.
pub fn tokenizers() -> Vec<Vec<u8>> {
    let tokenizer = nocturne_model::Tokenizer::train(["Where does Mirel live? Mirel lives in Oslo."; 4].into_iter(), 300);
    vec![tokenizer.and_then(|t| t.to_json()).expect("a tokenizer is trained")]
}

/// Configurations of foreign models in both spellings.
pub fn foreign_configs() -> Vec<Vec<u8>> {
    let old = r#"{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
        "num_hidden_layers": 2, "rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}, "eos_token_id": [1, 2], "tie_word_embeddings": true}"#;
    let new = r#"{"model_type": "qwen3", "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2,
        "layer_types": ["full_attention", "sliding_attention"], "use_sliding_window": true, "sliding_window": 16,
        "rope_parameters": {"rope_type": "linear", "rope_theta": 1000000, "factor": 2}}"#;
    vec![old.into(), new.into()]
}

/// Settings of a foreign tokenizer, and what is kept of them.
pub fn tokenizer_settings() -> Vec<Vec<u8>> {
    let config = r#"{"tokenizer_class": "LlamaTokenizerFast", "bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>", "legacy": false,
        "added_tokens_decoder": {"1": {"content": "<s>", "special": true, "normalized": false}},
        "chat_template": [{"name": "default", "template": "{{ messages }}"}]}"#;
    let layout = r#"{"written": {"template": "{{ messages }}", "tokens": {"bos_token": "<s>"}}, "ends": [1, 2]}"#;
    vec![config.into(), layout.into()]
}

/// An index with its shard, and a file of tensors alone.
pub fn checkpoints() -> Vec<Vec<u8>> {
    let shard = tensor_files().remove(0);
    let index = r#"{"metadata": {"total_size": 20}, "weight_map": {"a": "a.safetensors", "b": "a.safetensors"}}"#;
    vec![[index.as_bytes(), &[0], &shard].concat(), shard]
}

/// Chat templates with most of what templates do.
pub fn chat_templates() -> Vec<Vec<u8>> {
    let plain = "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] | trim + eos_token }}{% endfor %}\
        {%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";
    let rich = "{%- set ns = namespace(found=false, count=0) %}{% macro shown(m, n=2) %}{{ '-' * n }}{{ m | tojson(indent=n) }}{% endmacro %}\
        {%- for m in messages[::-1] if m.content is string %}{% set ns.count = ns.count + loop.index0 %}{% if m.role not in ['user', 'tool'] %}{% continue %}{% endif %}\
        {{- shown(m) ~ m.content.split('</think>')[-1].lstrip('\n') ~ strftime_now('%Y') }}{% generation %}{{ m.content[1:] | upper }}{% endgeneration %}{% endfor %}\
        {{- messages | map(attribute='role') | join(', ') }}{% if messages | length > 9 %}{{ raise_exception('too many') }}{% endif %}";
    vec![plain.into(), rich.into()]
}

/// A day of one's own, and settings.
pub fn conversations() -> Vec<Vec<u8>> {
    let day = r#"{"subject": "ada", "turns": [{"text": "Mirel Tovan lives in Bergen.", "feedback": {"score": 1}}], "asks": [{"question": "Where does Mirel Tovan live?", "expect": "Bergen"}]}"#;
    let settings = "segment_bytes = 1000\nmax_bytes = 100000\ndurability = \"disk\"\n[partitions]\ninteractions = 2\n";
    vec![day.into(), settings.into()]
}
