//! Training and decoding are the same model, whichever way its operations go; artifacts that do not fit are refused.
#![allow(clippy::unwrap_used, reason = "a test that panics says what it found")]

mod common;

use std::{collections::BTreeMap, sync::Arc};

use burn::tensor::{Device, Tensor};
use nocturne_model::{
    Banks, Base, ChatTokens, Decoder, ModelConfig, ModelError, SessionState, Tokenizer, Weights,
    config::{MixerConfig, Wiring},
    model::SlowBank,
    ops::Way,
    optim::{self, MuonSettings},
    params, presets,
    tensors::{self, Precision, SLOW, Tensors},
    train::{Row, Said, Trainer},
};
use nocturne_wire::{manifest::Period, record::Role};

use self::common::{config_of, every, tensors_of};

const TEXT: &str = "Mirel Tovan lives in Bergen. What does the Zanlo kettle cost? It costs 37 dollars.";

fn config() -> ModelConfig {
    let mut config = config_of("gated-delta", Wiring::Independent);
    config.blocks[1].mixer = presets::mixer("attention", 32, 2).unwrap();
    config
}

fn tokenizer() -> Tokenizer {
    let texts = [TEXT; 20];
    Tokenizer::train(texts.into_iter(), 320).unwrap()
}

fn split(tensors: Tensors) -> (Tensors, Tensors) {
    tensors.into_iter().partition(|(name, _)| name.contains(SLOW))
}

fn base_of(config: &ModelConfig) -> (Arc<Base>, Tensors) {
    let (slow, frozen) = split(tensors_of(config));
    (Arc::new(Base::assemble(config.clone(), tokenizer(), frozen).unwrap()), slow)
}

fn weights_of(config: &ModelConfig) -> Weights {
    let (base, slow) = base_of(config);
    let banks = Banks::from_tensors(&base, &slow).unwrap();
    Weights::new(base, banks)
}

fn ids(count: usize, step: usize) -> Vec<u32> {
    (0..count).map(|n| (n * step % 300) as u32).collect()
}

fn values(tensor: Tensor<3>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

/// The largest difference, in parts of the largest value where that is above 1: single precision has seven digits.
fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(1.0_f32, |most, x| most.max(x.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest
}

/// Logits of all positions as the module has them.
fn trained(config: &ModelConfig, ids: &[u32], way: Way) -> Vec<f32> {
    let model = params::load(config, "test", &tensors_of(config), &Device::flex()).unwrap().by(way);
    let hidden = model.hidden(&Arc::new(ids.to_vec()), 1, SlowBank::On);
    values(hidden.matmul(model.head_matrix().transpose().unsqueeze()))
}

#[test]
fn decoding_token_by_token_equals_the_chunked_training_form() {
    for config in every() {
        let weights = weights_of(&config);
        let ids = ids(100, 37);
        let expected = trained(&config, &ids, Way::Fused);
        let mut decoder = Decoder::new(weights.base());
        let mut state = SessionState::new(weights.base());
        let whole = decoder.prefill_all(&weights, &mut state, &ids);
        assert!(worst(&whole, &expected) < 1e-4, "{}, prefill: {}", config.name, worst(&whole, &expected));
        let mut state = SessionState::new(weights.base());
        for (t, id) in ids.iter().enumerate() {
            let step = decoder.prefill(&weights, &mut state, &[*id]).logits;
            let error = worst(&step, &expected[t * config.vocab..(t + 1) * config.vocab]);
            assert!(error < 1e-4, "{}, token {t}: {error}", config.name);
        }
    }
}

#[test]
fn both_ways_give_the_same_logits() {
    for config in every() {
        let ids = ids(100, 37);
        let error = worst(&trained(&config, &ids, Way::Composed), &trained(&config, &ids, Way::Fused));
        assert!(error < 1e-4, "{}: {error}", config.name);
    }
}

/// Tokens after which both blocks' convolutions have forgotten one.
const CONVOLVED: usize = 9;

#[test]
fn no_token_sees_a_later_one() {
    for config in every() {
        for way in [Way::Fused, Way::Composed] {
            let ids = ids(80, 37);
            let before = trained(&config, &ids, way);
            // At the borders of chunks and inside them.
            for at in [0, 15, 16, 31, 32, 47, 48, 63] {
                let mut changed = ids.clone();
                changed[at] = 299;
                let after = trained(&config, &changed, way);
                let (until, reach) = (at * config.vocab, (at + CONVOLVED) * config.vocab);
                assert!(before[..until] == after[..until], "{}, token {at}", config.name);
                assert!(before[reach..] != after[reach..], "{}: memory carries token {at} on", config.name);
                assert!(before.iter().all(|x| x.is_finite()), "{}", config.name);
            }
        }
    }
}

/// Memories that learn may learn too much: nothing that a mixer begins with may grow beyond all bounds.
#[test]
fn a_long_stream_stays_finite() {
    for config in every() {
        let weights = weights_of(&config);
        let mut state = SessionState::new(weights.base());
        for (salt, step) in [37, 0, 1, 113].into_iter().enumerate() {
            let ids: Vec<u32> = (0..500).map(|n| ((n * step + salt * 71) % 300) as u32).collect();
            let read = Decoder::new(weights.base()).prefill(&weights, &mut state, &ids);
            assert!(read.nll.iter().all(|nats| nats.is_finite()), "{}, tokens in steps of {step}", config.name);
        }
    }
}

/// What a window no longer shows is dropped: only attention to everything grows with what was read.
#[test]
fn a_session_grows_only_where_attention_sees_everything() {
    let sees_everything = |config: &ModelConfig| {
        config.blocks.iter().any(|block| matches!(&block.mixer, MixerConfig::Attention(c) if c.window.is_none()))
    };
    for config in every() {
        let weights = weights_of(&config);
        let (mut decoder, mut state) = (Decoder::new(weights.base()), SessionState::new(weights.base()));
        let mut bytes_after = |tokens: usize| {
            while state.position() < tokens {
                decoder.prefill(&weights, &mut state, &ids(50, 37));
            }
            state.bytes()
        };
        let (early, late) = (bytes_after(400), bytes_after(1_600));
        assert_eq!(late > early, sees_everything(&config), "{}: {early} and {late} bytes", config.name);
        if !sees_everything(&config) {
            let mut at_once = SessionState::new(weights.base());
            decoder.prefill(&weights, &mut at_once, &ids(1_600, 37));
            assert!(at_once.bytes() < 2 * late, "{}: {} bytes of a text that was read at once", config.name, at_once.bytes());
        }
    }
}

#[test]
fn a_state_split_anywhere_gives_the_same_logits() {
    for config in every() {
        let weights = weights_of(&config);
        let ids = ids(200, 31);
        let mut decoder = Decoder::new(weights.base());
        let mut reference = SessionState::new(weights.base());
        let expected = decoder.prefill(&weights, &mut reference, &ids);
        // Windows of 20 and 32 tokens drop what they no longer show, and go on in pieces of any length.
        for cut in [1, 7, 8, 9, 33, 41, 45, 69, 90, 131, 199] {
            let mut state = SessionState::new(weights.base());
            decoder.prefill(&weights, &mut state, &ids[..cut]);
            let got = decoder.prefill(&weights, &mut state.clone(), &ids[cut..]);
            let error = worst(&got.logits, &expected.logits);
            assert!(error < 1e-4, "{}, cut at {cut}: {error}", config.name);
            assert_eq!(got.nll.len(), ids.len() - cut);
        }
        let mut state = SessionState::new(weights.base());
        let pieces = ids.chunks(7).map(|piece| decoder.prefill(&weights, &mut state, piece).logits);
        let error = worst(&pieces.last().unwrap(), &expected.logits);
        assert!(error < 1e-4, "{}, in pieces of seven: {error}", config.name);
    }
}

#[test]
fn slow_banks_survive_the_disk_and_wrong_ones_are_refused() {
    let (base, slow) = base_of(&config());
    let bytes = tensors::write("slow", &slow).unwrap();
    Banks::load(&base, &bytes).unwrap();
    assert_eq!(bytes, tensors::write("slow", &tensors::read("slow", &bytes).unwrap()).unwrap());

    let dir = tempfile::tempdir().unwrap();
    for precision in [Precision::Half, Precision::Brain, Precision::Single] {
        let [file, other] = ["model", "other"].map(|name| dir.path().join(format!("{precision:?}.{name}")));
        tensors::write_file(&file, &slow, precision).unwrap();
        std::fs::write(&other, b"").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), tensors::write_as("slow", &slow, precision).unwrap());
        let rights = |path| std::fs::metadata(path).unwrap().permissions();
        assert_eq!(rights(&file), rights(&other), "whoever may read other files may read this one");
    }
    let mut untrue = slow.clone();
    untrue.values_mut().for_each(|values| values.shape.push(2));
    assert!(matches!(tensors::write("slow", &untrue), Err(ModelError::Mismatch { .. })), "extents that values do not fill");

    let mut missing = slow.clone();
    let first = missing.keys().next().cloned().unwrap();
    let values = missing.remove(&first).unwrap();
    let refused = |t: &Tensors| Banks::load(&base, &tensors::write("slow", t).unwrap()).unwrap_err();
    assert!(matches!(refused(&missing), ModelError::Missing { .. }));

    let mut foreign = slow.clone();
    foreign.insert("blocks.9.cms.slow.up".into(), values.clone());
    assert!(matches!(refused(&foreign), ModelError::Foreign { .. }));

    let mut misshapen = slow.clone();
    misshapen.get_mut(&first).unwrap().shape = vec![1, values.data.len()];
    assert!(matches!(refused(&misshapen), ModelError::Mismatch { .. }));

    let mut infinite = slow.clone();
    infinite.get_mut(&first).unwrap().data[3] = f32::INFINITY;
    assert!(matches!(refused(&infinite), ModelError::NotFinite { .. }));

    assert!(matches!(Banks::load(&base, &bytes[..bytes.len() / 2]), Err(ModelError::Format { .. })));
}

/// How far slow banks move the hidden states of a row after some steps over it that almost only the penalty steers.
fn loudness(penalty: f32) -> f32 {
    let config = config();
    let muon = MuonSettings { rate: 0.02, momentum: 0.9, weight_decay: 0.0 };
    let mut trainer = Trainer::night(&config, &tensors_of(&config), optim::for_night(muon)).unwrap();
    let said = [Said { role: Role::User, text: TEXT, weight: 0.0, counted: false }];
    let loud = Row::own(&tokenizer(), &[Said { weight: 1.0, ..said[0] }]);
    let row = Row::own(&tokenizer(), &said).keep(1e-6).quiet(penalty);
    for _ in 0..20 {
        trainer.step(&[row.clone(), loud.clone()], 1.0, SlowBank::On);
    }
    let model = params::load(&config, "test", &trainer.tensors(), &Device::flex()).unwrap();
    let hidden = |slow| values(model.hidden(&Arc::new(row.ids.clone()), 1, slow));
    hidden(SlowBank::On).iter().zip(hidden(SlowBank::Off)).map(|(on, off)| (on - off) * (on - off)).sum::<f32>().sqrt()
}

#[test]
fn where_slow_banks_were_parts_of_the_original_what_should_stay_is_what_they_say() {
    let config = config();
    let all = tensors_of(&config);
    let stacked: Tensors = all.iter().filter(|(name, _)| name.contains(SLOW)).map(|(n, v)| (n.clone(), v.clone())).collect();
    let said = [Said { role: Role::User, text: TEXT, weight: 1.0, counted: false }];
    let row = Row::own(&tokenizer(), &said).keep(1.0);
    let loss = |trainer: Trainer| trainer.on(&Device::flex()).step(std::slice::from_ref(&row), 0.0, SlowBank::On).loss;
    let muon = MuonSettings { rate: 0.02, momentum: 0.9, weight_decay: 0.0 };
    let night = || Trainer::night(&config, &all, optim::for_night(muon)).unwrap();
    assert!(loss(night().keeping(&stacked).unwrap()).abs() < 1e-6, "the parent is generation 0");
    assert!(loss(night()) > 1e-3, "generation 0 is not the model without its banks");
}

#[test]
fn a_row_that_should_stay_quiet_holds_down_what_slow_banks_add() {
    let (free, held) = (loudness(0.0), loudness(1e3));
    assert!(held < 0.5 * free, "{held} with the penalty, {free} without");
}

#[test]
fn an_untrained_slow_bank_leaves_the_base_as_it_is() {
    for config in [config(), config_of("hope", Wiring::Sequential)] {
        let (base, _) = base_of(&config);
        let zero = Banks::load(&base, &base.untrained_banks().unwrap()).unwrap();
        let weights = Weights::new(Arc::clone(&base), zero);
        let model = params::load(&config, "test", &tensors_of(&config), &Device::flex()).unwrap();
        let ids: Vec<u32> = (5..40).collect();
        let hidden = model.hidden(&Arc::new(ids.clone()), 1, SlowBank::Off);
        let expected = values(hidden.matmul(model.head_matrix().transpose().unsqueeze()));
        let logits = Decoder::new(&base).prefill(&weights, &mut SessionState::new(&base), &ids).logits;
        assert!(worst(&logits, &expected[(ids.len() - 1) * config.vocab..]) < 1e-4, "{}", config.name);
    }
}

#[test]
fn any_text_comes_back_from_its_tokens() {
    let tokenizer = Tokenizer::from_json(&tokenizer().to_json().unwrap()).unwrap();
    for text in [TEXT, "Größe 42, naïve — ✓ 日本語", "a  b", "<|end|> is text", "x\ny\tz", "", "0123456789"] {
        assert_eq!(tokenizer.decode(&tokenizer.encode(text)), text);
    }
    let special: Vec<u32> = (0..5).collect();
    assert!(tokenizer.encode("<|end|><|user|>").iter().all(|id| !special.contains(id)));
}

#[test]
fn a_streamed_answer_is_whole_utf8_and_the_same_text() {
    let tokenizer = tokenizer();
    let text = "Größe ✓ 37 dollars";
    let mut stream = tokenizer.decode_stream();
    let streamed: String = tokenizer.encode(text).into_iter().filter_map(|id| stream.push(id)).collect();
    assert_eq!(streamed, text);
}

#[test]
fn a_message_is_marked_by_its_role_and_end() {
    let tokenizer = tokenizer();
    let ids = ChatTokens.message(&tokenizer, Role::User, "Bergen");
    assert_eq!((ids[0], ids[ids.len() - 1]), (ChatTokens.role(Role::User), ChatTokens.end()));
}

#[test]
fn bad_configs_are_refused_with_the_reason() {
    let good = config();
    let broken: [fn(&mut ModelConfig); 6] = [
        |c| c.blocks.clear(),
        |c| c.blocks[0].cms.banks[1].name = "quick".into(),
        |c| c.blocks[0].cms.banks[3].period = Period::Tokens(13),
        |c| c.blocks[0].cms.wiring = Wiring::Nested,
        |c| {
            if let MixerConfig::Attention(a) = &mut c.blocks[1].mixer {
                a.kv_heads = 3;
            }
        },
        |c| {
            c.blocks[1].mixer = presets::mixer("hope", 32, 2).unwrap();
            if let MixerConfig::Hope(h) = &mut c.blocks[1].mixer {
                (h.adaptive, h.shares) = (false, true);
            }
        },
    ];
    for change in broken {
        let mut bad = good.clone();
        change(&mut bad);
        assert!(matches!(bad.check(), Err(ModelError::Inconsistent(_))));
    }
    assert!(ModelConfig::parse(b"{").is_err());
    let mut json: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&serde_json::to_vec(&good).unwrap()).unwrap();
    json.insert("surprise".into(), 1.into());
    assert!(ModelConfig::parse(&serde_json::to_vec(&json).unwrap()).is_err());
    for config in every() {
        assert_eq!(ModelConfig::parse(&serde_json::to_vec(&config).unwrap()).unwrap(), config);
    }
}
