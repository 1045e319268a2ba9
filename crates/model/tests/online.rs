//! In-session banks by Eq. 71: what moves, when, by how much, and that it makes no difference how a stream is cut.
#![allow(clippy::unwrap_used, reason = "a test that panics says what it found")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use burn::{
    module::{Module, ModuleMapper, Param, ParamGroup},
    optim::GradientsParams,
    tensor::{Device, Tensor},
};
use nocturne_model::{
    ModelConfig,
    cms::{Bank, Beside},
    config::Wiring,
    kernels::head::{Goal, Target, Targets, Teacher},
    model::{SlowBank, Stream},
    online::{Online, OnlineSettings, Session},
    ops::Way,
    params, presets,
    tensors::Tensors,
};

use self::common::online::{FAST, MIDDLE, config, every, ids, name, online, tensors, weights, worst};

#[test]
fn a_bank_moves_at_its_boundary_and_at_no_other_token() {
    for config in every() {
        let online = online(&config, 0.05);
        let mut session = online.begin();
        for (n, token) in ids(40).into_iter().enumerate() {
            let before: Vec<_> = session.moves();
            let kept = weights(&session);
            online.read(&mut session, &[token]);
            // The gradient of a token is known with its successor.
            let boundary = n > 0 && n.is_multiple_of(FAST as usize);
            assert_eq!(weights(&session) != kept, boundary, "{}, token {n}", name(&config));
            for ((bank, fired, _), (_, earlier, _)) in session.moves().into_iter().zip(before) {
                let period = if bank.ends_with("quick") { FAST } else { MIDDLE } as usize;
                assert_eq!(fired > earlier, n > 0 && n.is_multiple_of(period), "{}, {bank}, token {n}", name(&config));
            }
        }
    }
}

/// The sum of gradients of exactly C tokens, computed by the other way of operations, is what the first move is made of.
#[test]
fn the_first_move_is_the_rate_times_the_sum_over_exactly_one_period() {
    let rate = 0.05;
    for mixer in ["attention", "gated-delta", "hope", "titans"] {
        let config = config(mixer, Wiring::Independent);
        let online = online(&config, rate);
        let mut session = online.begin();
        let ids = ids(FAST as usize + 1);
        let before: Vec<Tensors> = session.banks().into_iter().map(|(_, bank)| bank.clone()).collect();
        online.read(&mut session, &ids);

        let device = Device::flex().autodiff();
        let model = params::load(&config, "test", &tensors(&config), &device).unwrap();
        let model = model.freeze_group(ParamGroup::all()).unfreeze_group(params::learning(&config));
        let hidden = model.hidden_beside(&Arc::new(ids[..FAST as usize].to_vec()), 1, SlowBank::On, &Beside::default());
        let target =
            |(row, token): (usize, &u32)| Target { row: row as u32, goal: Goal::Token(*token), weight: 1.0, counted: false };
        let rows = ids[1..].iter().enumerate().map(target).collect();
        let (loss, _) = model.loss(hidden, Arc::new(Targets { rows, teacher: Teacher::default() }), 1.0);
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        for ((bank, after), before) in session.banks().iter().zip(&before) {
            let block: usize = bank.split('.').nth(1).unwrap().parse().unwrap();
            let quick = bank.ends_with("quick");
            let Bank::Perceptron(perceptron) = &model.blocks[block].cms.banks[usize::from(!quick)] else {
                panic!("a perceptron")
            };
            for (part, param) in [("up", &perceptron.up), ("down", &perceptron.down)] {
                let name = format!("{bank}.{part}");
                let gradient: Vec<f32> = gradients.get::<2>(param.id).unwrap().into_data().try_to_vec().unwrap();
                let factor = if quick { rate } else { 0.0 };
                let expected: Vec<f32> = before[&name].data.iter().zip(&gradient).map(|(w, g)| w - factor * g).collect();
                assert!(worst(&expected, &after[&name].data) < 1e-5, "{mixer}, {name}");
                assert!(gradient.iter().any(|g| g.abs() > 1e-5), "{mixer}, {name} has a gradient");
            }
        }
    }
}

/// Levels written anew: each moves by the sum over its own period, and a nested one begins again where a slower one has moved.
struct Expected {
    bank: String,
    place: String,
    chunks: usize,
    weights: Tensors,
    sum: Tensors,
}

fn expected(config: &ModelConfig, all: &Tensors) -> Vec<Expected> {
    let nested = config.blocks[0].cms.wiring == Wiring::Nested;
    let level = |block: usize, name: &str, chunks: usize| {
        let place = format!("blocks.{block}.cms.{}.", if nested { "slow" } else { name });
        let weights: Tensors = all.iter().filter(|(n, _)| n.starts_with(&place)).map(|(n, v)| (n.clone(), v.clone())).collect();
        let mut sum = weights.clone();
        sum.values_mut().for_each(|v| v.data.fill(0.0));
        Expected { bank: format!("blocks.{block}.cms.{name}"), place, chunks, weights, sum }
    };
    (0..config.blocks.len()).flat_map(|block| [level(block, "quick", 1), level(block, "day", 2)]).collect()
}

/// Gradients of a chunk's loss at these weights, after what the stream has read.
fn chunk_gradients(config: &ModelConfig, all: &Tensors, ids: &[u32], stream: &mut Stream) -> Tensors {
    let model = params::load(config, "test", all, &Device::flex().autodiff()).unwrap();
    let model = model.freeze_group(ParamGroup::all()).unfreeze_group(params::learning(config));
    let (read, next) = (&ids[..ids.len() - 1], &ids[1..]);
    let hidden = model.follow(&Arc::new(read.to_vec()), stream);
    *stream = stream.clone().detached();
    let target = |(row, token): (usize, &u32)| Target { row: row as u32, goal: Goal::Token(*token), weight: 1.0, counted: false };
    let rows = next.iter().enumerate().map(target).collect();
    let (loss, _) = model.clone().by(Way::Composed).loss(hidden, Arc::new(Targets { rows, teacher: Teacher::default() }), 1.0);
    let gradients = GradientsParams::from_grads(loss.backward(), &model);
    params::collect(config, &model.map(&mut Gradients(gradients)))
}

struct Gradients(GradientsParams);

impl ModuleMapper for Gradients {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let gradient = self.0.remove::<D>(param.id);
        param.map(|value| gradient.unwrap_or_else(|| value.detach().zeros_like()))
    }
}

#[test]
fn every_later_move_counts_its_own_period_too_and_no_token_twice() {
    const RATE: f32 = 0.05;
    for config in every() {
        let online = online(&config, RATE);
        let (mut session, mut stream) = (online.begin(), Stream::default());
        let (mut all, ids) = (tensors(&config), ids(5 * FAST as usize + 1));
        let mut levels = expected(&config, &all);
        for chunk in 0..5 {
            let [from, to] = [chunk, chunk + 1].map(|n| n * FAST as usize);
            online.read(&mut session, &ids[if chunk == 0 { 0 } else { from + 1 }..=to]);
            let gradients = chunk_gradients(&config, &all, &ids[from..=to], &mut stream);
            for n in 0..levels.len() {
                let level = &mut levels[n];
                level
                    .sum
                    .iter_mut()
                    .for_each(|(name, sum)| sum.data.iter_mut().zip(&gradients[name].data).for_each(|(s, g)| *s += g));
                if !(chunk + 1_usize).is_multiple_of(level.chunks) {
                    continue;
                }
                for (name, sum) in &mut level.sum {
                    let weights = &mut level.weights.get_mut(name).unwrap().data;
                    assert!(sum.data.iter().any(|g| g.abs() > 1e-4), "{name} has a gradient");
                    weights.iter_mut().zip(&sum.data).for_each(|(w, g)| *w -= RATE * g);
                    sum.data.fill(0.0);
                }
                if n % 2 == 1 && levels[n - 1].place == levels[n].place {
                    levels[n - 1].weights = levels[n].weights.clone();
                }
            }
            // The fastest level of a place is what is read.
            levels.iter().rev().for_each(|level| all.extend(level.weights.clone()));
            for (level, (bank, weights)) in levels.iter().zip(session.banks()) {
                assert_eq!(level.bank, bank);
                for (name, expected) in &level.weights {
                    let off = worst(&expected.data, &weights[name].data);
                    assert!(off < 1e-6, "{}, {bank} after chunk {chunk}: off by {off}", self::name(&config));
                }
            }
        }
    }
}

#[test]
fn a_rate_of_zero_leaves_logits_as_they_are_bit_by_bit() {
    let some = ["attention", "titans", "hope"].map(|name| config(name, Wiring::Sequential));
    let others = [config("attention", Wiring::Nested), config("gated-delta", Wiring::Independent)];
    for config in some.into_iter().chain(others) {
        let (still, learning) = (online(&config, 0.0), online(&config, 0.05));
        let (mut a, mut b) = (still.begin(), learning.begin());
        let kept = weights(&a);
        let ids = ids(20);
        // A device that records operations computes some of them in other steps.
        let model = params::load(&config, "test", &tensors(&config), &Device::flex().autodiff()).unwrap();
        let mut differs = false;
        for (n, token) in ids.iter().enumerate() {
            let logits = still.read(&mut a, &[*token]);
            differs |= logits != learning.read(&mut b, &[*token]);
            // The reference reads chunk by chunk, too: sums of other extents round otherwise.
            let mut stream = Stream::default();
            let start = n / FAST as usize * FAST as usize;
            for from in (0..start).step_by(FAST as usize) {
                model.follow(&Arc::new(ids[from..from + FAST as usize].to_vec()), &mut stream);
            }
            let hidden = model.follow(&Arc::new(ids[start..=n].to_vec()), &mut stream).states;
            let [_, time, width] = hidden.dims();
            let last: Tensor<2> = hidden.narrow(1, time - 1, 1).reshape([1, width]);
            let expected: Vec<f32> = last.matmul(model.head_matrix().transpose()).into_data().try_to_vec().unwrap();
            assert_eq!(logits, expected, "{}, token {n}", name(&config));
        }
        assert_eq!(weights(&a), kept);
        assert!(differs, "{}: a learning session says something else", name(&config));
    }
}

#[test]
fn every_bank_lives() {
    for config in every() {
        let still = online(&config, 0.0);
        let (mut a, ids) = (still.begin(), ids(60));
        let (before, without) = (weights(&a), still.read(&mut a, &ids));
        let moves = a.moves();
        let banks: BTreeSet<&str> = moves.iter().filter_map(|(bank, ..)| bank.rsplit('.').next()).collect();
        assert!(!banks.is_empty());
        // Each alone: one that is dead would not be missed beside the others.
        for bank in banks {
            let settings = OnlineSettings { rate: 0.0, rates: [(bank.to_owned(), 0.05)].into(), clip: None };
            let learning = Online::new(&config, &tensors(&config), settings, &Device::flex()).unwrap();
            let mut session = learning.begin();
            let with = learning.read(&mut session, &ids);
            for (level, fired, moved) in session.moves().into_iter().filter(|(level, ..)| level.ends_with(bank)) {
                let least = if bank == "quick" { 9 } else { 4 };
                assert!(fired >= least && moved > 1e-5, "{}, {level}: {fired} moves, the last of {moved}", name(&config));
            }
            assert!(worst(&weights(&session), &before) > 1e-4, "{}, {bank} moved", name(&config));
            assert!(worst(&without, &with) > 1e-4, "{}, {bank}: what was learned is heard", name(&config));
        }
    }
}

#[test]
fn a_nested_level_begins_again_where_the_slower_one_is() {
    let config = config("attention", Wiring::Nested);
    let online = online(&config, 0.05);
    let mut session = online.begin();
    let level = |session: &Session, name: &str| {
        let banks = session.banks();
        banks.into_iter().find(|(bank, _)| bank == &format!("blocks.0.cms.{name}")).map(|(_, t)| t.clone()).unwrap()
    };
    assert_eq!(level(&session, "quick"), level(&session, "day"), "both begin with the slowest");
    online.read(&mut session, &ids(FAST as usize + 1));
    assert_ne!(level(&session, "quick"), level(&session, "day"));
    online.read(&mut session, &ids(FAST as usize));
    assert_eq!(level(&session, "quick"), level(&session, "day"), "the slower level moved, and the faster begins there");
}

#[test]
fn what_cannot_learn_in_a_session_is_refused() {
    let plain = presets::model("test", &presets::mixer("attention", 16, 2).unwrap(), 40, 16, 2, 12);
    let settings = OnlineSettings { rate: 0.05, rates: BTreeMap::new(), clip: None };
    assert!(Online::new(&plain, &tensors(&plain), settings, &Device::flex()).is_err());
    let online = online(&config("hope", Wiring::Independent), 0.05);
    let other = self::online(&config("attention", Wiring::Nested), 0.05);
    let mut session = other.begin();
    other.read(&mut session, &ids(9));
    assert!(online.restore(&session.to_bytes().unwrap()).is_err());
    assert!(online.restore(b"no session").is_err());
    let named = |name: &str, rate| OnlineSettings { rate: 0.05, rates: [(name.to_owned(), rate)].into(), clip: None };
    let config = config("hope", Wiring::Independent);
    for wrong in [named("slow", 0.1), named("quick", f32::NAN), named("quick", -0.1)] {
        assert!(Online::new(&config, &tensors(&config), wrong, &Device::flex()).is_err());
    }
}

#[test]
fn a_bank_may_have_a_rate_of_its_own() {
    let config = config("gated-delta", Wiring::Independent);
    let learning = |rates: &[(&str, f32)]| {
        let rates = rates.iter().map(|(name, rate)| ((*name).to_owned(), *rate)).collect();
        let settings = OnlineSettings { rate: 0.05, rates, clip: None };
        let online = Online::new(&config, &tensors(&config), settings, &Device::flex()).unwrap();
        let mut session = online.begin();
        online.read(&mut session, &ids(MIDDLE as usize + 1));
        session
    };
    let (plain, still) = (learning(&[]), learning(&[("day", 0.0)]));
    let fresh = online(&config, 0.05).begin();
    for ((bank, fresh), ((_, plain), (_, still))) in fresh.banks().iter().zip(plain.banks().iter().zip(still.banks())) {
        assert!(plain != fresh, "{bank} moves");
        assert_eq!(bank.ends_with("quick"), still != *fresh, "{bank}");
    }
}

/// Reads a period with a head of which all numbers are changed.
fn with_head(change: impl Fn(f32) -> f32) -> Session {
    let config = config("attention", Wiring::Independent);
    let mut tensors = tensors(&config);
    tensors.get_mut("head").unwrap().data.iter_mut().for_each(|x| *x = change(*x));
    let settings = OnlineSettings { rate: 0.05, rates: BTreeMap::new(), clip: Some(1.0) };
    let online = Online::new(&config, &tensors, settings, &Device::flex()).unwrap();
    let mut session = online.begin();
    online.read(&mut session, &ids(FAST as usize + 1));
    assert!(weights(&session).iter().all(|x| x.is_finite()));
    // The slower banks are within their period.
    online.restore(&session.to_bytes().unwrap()).unwrap();
    session
}

/// One gradient that is no number must not end a session, and one that is only large is cut.
#[test]
fn gradients_that_are_no_numbers_are_left_out() {
    let none = with_head(|_| f32::NAN);
    assert!(none.skipped().iter().all(|(_, chunks)| *chunks == 1), "{:?}", none.skipped());
    let large = with_head(|x| x * 1e25);
    assert!(large.skipped().iter().all(|(_, chunks)| *chunks == 0), "{:?}", large.skipped());
    for (bank, fired, moved) in large.moves().into_iter().filter(|(bank, ..)| bank.ends_with("quick")) {
        assert!(fired == 1 && (moved - 0.05).abs() < 1e-6, "{bank}: {moved}");
    }
}
