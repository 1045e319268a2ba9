//! Training and decoding are the same model; artifacts that do not fit are refused.
#![allow(clippy::unwrap_used, reason = "a test that panics says what it found")]

use std::{collections::BTreeMap, sync::Arc};

use burn::tensor::Device;
use nocturne_model::{
    Banks, Base, ChatTokens, Decoder, Hope, HopeConfig, ModelError, SessionState, Tokenizer, Weights,
    config::{FastBankConfig, MixerKind, PerceptronBank},
    hope::SlowBank,
    kernels::mlp::Activation,
    optim::{self, MuonSettings},
    params,
    tensors::{self, SLOW, Tensors},
    train::{Row, Said, Trainer},
};
use nocturne_wire::{manifest::Period, record::Role};

const TEXT: &str = "Mirel Tovan lives in Bergen. What does the Zanlo kettle cost? It costs 37 dollars.";

fn config(vocab: usize) -> HopeConfig {
    HopeConfig {
        name: "test".into(),
        vocab,
        width: 32,
        heads: 2,
        mixers: vec![MixerKind::GatedDelta, MixerKind::Attention],
        conv_taps: 4,
        rope_theta: 10_000.0,
        max_context: 256,
        frozen: PerceptronBank { hidden: 64, activation: Activation::SquaredRelu, period: Period::Never },
        slow: PerceptronBank { hidden: 48, activation: Activation::Silu, period: Period::Night },
        fast: FastBankConfig { width: 16, period_tokens: 8, blocks: vec![0, 1] },
    }
}

fn tokenizer() -> Tokenizer {
    let texts = [TEXT; 20];
    Tokenizer::train(texts.into_iter(), 320).unwrap()
}

/// A random model whose slow banks are not zero, so that they are seen.
fn tensors_of(config: &HopeConfig) -> Tensors {
    let mut tensors = params::collect(&Hope::new(config, 5, &Device::flex()));
    for (n, (name, values)) in tensors.iter_mut().enumerate() {
        if name.contains(SLOW) {
            values.data.iter_mut().enumerate().for_each(|(i, x)| *x += ((i * 7 + n) as f32).sin() * 0.1);
        }
    }
    tensors
}

fn split(tensors: Tensors) -> (Tensors, Tensors) {
    tensors.into_iter().partition(|(name, _)| name.contains(SLOW))
}

fn base_of(config: &HopeConfig) -> (Arc<Base>, Tensors) {
    let (slow, frozen) = split(tensors_of(config));
    (Arc::new(Base::assemble(config.clone(), tokenizer(), frozen).unwrap()), slow)
}

#[test]
fn decoding_token_by_token_equals_the_chunked_training_form() {
    let config = config(320);
    let (base, slow) = base_of(&config);
    let weights = Weights::new(Arc::clone(&base), Banks::from_tensors(&base, &slow).unwrap());
    let ids: Vec<u32> = (0..100).map(|n| (n * 37 % 300) as u32).collect();

    let model = params::load(&config, "test", &tensors_of(&config), &Device::flex()).unwrap();
    let hidden = model.hidden(&Arc::new(ids.clone()), 1, SlowBank::On).into_data().try_to_vec::<f32>().unwrap();
    let embed = &base.tensors()["embed"].data;
    let width = config.width;
    let trained = |t: usize, v: usize| -> f32 { (0..width).map(|c| hidden[t * width + c] * embed[v * width + c]).sum() };

    let mut decoder = Decoder::new(&base);
    let mut state = SessionState::new(&config);
    let whole = decoder.prefill_all(&weights, &mut state, &ids);
    let mut state = SessionState::new(&config);
    for (t, id) in ids.iter().enumerate() {
        let step = decoder.prefill(&weights, &mut state, &[*id]).logits;
        for v in 0..config.vocab {
            let expected = trained(t, v);
            assert!((step[v] - expected).abs() < 1e-4, "step {t}, entry {v}: {} and {expected}", step[v]);
            assert!((whole[t * config.vocab + v] - expected).abs() < 1e-4, "prefill {t}, entry {v}");
        }
    }
}

#[test]
fn a_state_split_anywhere_gives_the_same_logits() {
    let config = config(320);
    let (base, slow) = base_of(&config);
    let weights = Weights::new(Arc::clone(&base), Banks::from_tensors(&base, &slow).unwrap());
    let ids: Vec<u32> = (0..60).map(|n| (n * 31 % 290) as u32).collect();
    let mut decoder = Decoder::new(&base);
    let mut reference = SessionState::new(&config);
    let expected = decoder.prefill(&weights, &mut reference, &ids);
    for cut in [1, 7, 8, 9, 33, 59] {
        let mut state = SessionState::new(&config);
        decoder.prefill(&weights, &mut state, &ids[..cut]);
        let got = decoder.prefill(&weights, &mut state.clone(), &ids[cut..]);
        let worst = got.logits.iter().zip(&expected.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-4, "cut at {cut}: {worst}");
        assert_eq!(got.nll.len(), ids.len() - cut);
    }
}

#[test]
fn slow_banks_survive_the_disk_and_wrong_ones_are_refused() {
    let config = config(320);
    let (base, slow) = base_of(&config);
    let bytes = tensors::write("slow", &slow).unwrap();
    Banks::load(&base, &bytes).unwrap();
    assert_eq!(bytes, tensors::write("slow", &tensors::read("slow", &bytes).unwrap()).unwrap());

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
    let config = config(320);
    let muon = MuonSettings { rate: 0.02, momentum: 0.9, weight_decay: 0.0 };
    let mut trainer = Trainer::night(&config, &tensors_of(&config), optim::for_night(muon)).unwrap();
    let said = [Said { role: Role::User, text: TEXT, weight: 0.0, counted: false }];
    let loud = Row::said(&tokenizer(), &[Said { weight: 1.0, ..said[0] }]);
    let row = Row::said(&tokenizer(), &said).keep(1e-6).quiet(penalty);
    for _ in 0..20 {
        trainer.step(&[row.clone(), loud.clone()], 1.0, SlowBank::On);
    }
    let model = params::load(&config, "test", &trainer.tensors(), &Device::flex()).unwrap();
    let hidden = |slow| model.hidden(&Arc::new(row.ids.clone()), 1, slow).into_data().try_to_vec::<f32>().unwrap();
    hidden(SlowBank::On).iter().zip(hidden(SlowBank::Off)).map(|(on, off)| (on - off) * (on - off)).sum::<f32>().sqrt()
}

#[test]
fn a_row_that_should_stay_quiet_holds_down_what_slow_banks_add() {
    let (free, held) = (loudness(0.0), loudness(1e3));
    assert!(held < 0.5 * free, "{held} with the penalty, {free} without");
}

#[test]
fn an_untrained_slow_bank_leaves_the_base_as_it_is() {
    let config = config(320);
    let (base, _) = base_of(&config);
    let zero = Banks::load(&base, &base.untrained_banks().unwrap()).unwrap();
    let weights = Weights::new(Arc::clone(&base), zero);
    let model = params::load(&config, "test", &tensors_of(&config), &Device::flex()).unwrap();
    let ids: Vec<u32> = (5..40).collect();
    let hidden = model.hidden(&Arc::new(ids.clone()), 1, SlowBank::Off).into_data().try_to_vec::<f32>().unwrap();
    let logits = Decoder::new(&base).prefill(&weights, &mut SessionState::new(&config), &ids).logits;
    let last = &hidden[(ids.len() - 1) * config.width..];
    let embed = &base.tensors()["embed"].data;
    for (v, logit) in logits.iter().enumerate() {
        let expected: f32 = last.iter().zip(&embed[v * config.width..]).map(|(a, b)| a * b).sum();
        assert!((logit - expected).abs() < 1e-4, "entry {v}");
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
    let good = config(320);
    for bad in [HopeConfig { heads: 3, ..good.clone() }, HopeConfig { mixers: vec![], ..good.clone() }] {
        assert!(matches!(bad.check(), Err(ModelError::Inconsistent(_))));
    }
    assert!(HopeConfig::parse(b"{").is_err());
    let mut json: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&serde_json::to_vec(&good).unwrap()).unwrap();
    json.insert("surprise".into(), 1.into());
    assert!(HopeConfig::parse(&serde_json::to_vec(&json).unwrap()).is_err());
}
