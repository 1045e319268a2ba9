use std::{sync::Arc, time::Instant};

use nocturne_wire::record::FinishReason;
use tokio::sync::mpsc;

use super::*;
use crate::{
    engine::fake::Fake,
    generations::{Generations, Live},
};

struct Rig {
    engine: Fake,
    decoding: Decoding<Fake>,
    metrics: Arc<Metrics>,
}

fn rig(capacity: Capacity) -> Rig {
    rig_of(Fake::default(), capacity)
}

fn rig_of(engine: Fake, capacity: Capacity) -> Rig {
    let metrics = Arc::new(Metrics::default());
    let sessions = Arc::new(Mutex::new(SessionStore::new(1 << 20, 100)));
    let decoding =
        Decoding::start(Arc::new(engine.clone()), sessions, Digests::default(), Arc::clone(&metrics), capacity).unwrap();
    Rig { engine, decoding, metrics }
}

const ONE: Capacity = Capacity { queue: 8, max_batch: 4, prompt_tokens: 512, threads: 1 };

fn generation(digit: u8) -> Generations<Fake> {
    let name = format!("{:012}-0123abcd", digit - b'0').parse().unwrap();
    Generations::new(Live::new(name, Fake::default().load(&[digit]).unwrap()), 0, "production".to_owned(), 2)
}

impl Rig {
    /// Sends a prompt that is answered with the given weights.
    fn send(&self, weights: &Generations<Fake>, prompt: &str, cancel: Cancel) -> mpsc::Receiver<Event<Fake>> {
        let plan = Plan::text(self.engine.encode(prompt));
        let sampling = Sampling { temperature: 0.0, top_p: 1.0, seed: 0, max_tokens: 50, stop: Vec::new() };
        let (job, events) = Job::new(weights.pin(), plan, sampling, cancel, Instant::now());
        self.decoding.admit().map_err(|refused| format!("{refused:?}")).unwrap().send(job);
        events
    }

    /// Waits until the gate holds the thread back after so many steps.
    fn held_after(&self, steps: usize) {
        while self.engine.steps.lock().unwrap().len() < steps || self.engine.gate.waiting() == 0 {
            std::thread::yield_now();
        }
    }
}

fn answer(mut events: mpsc::Receiver<Event<Fake>>) -> Option<Answer> {
    let mut text = String::new();
    while let Some(event) = events.blocking_recv() {
        match event {
            Event::Text(piece) => text.push_str(&piece),
            Event::Done(answer, _) => {
                assert_eq!(answer.text, text);
                return Some(*answer);
            }
        }
    }
    None
}

#[test]
fn two_generations_in_one_batch_do_not_mix() {
    let rig = rig(ONE);
    let (zero, one) = (generation(b'0'), generation(b'1'));
    rig.engine.gate.close();
    let events: Vec<_> =
        [&zero, &one, &zero, &one].map(|weights| rig.send(weights, "say 30", Cancel::default())).into_iter().collect();
    rig.engine.gate.open();
    let texts: Vec<_> = events.into_iter().map(|events| answer(events).unwrap().text).collect();
    assert_eq!(texts, ["0", "1", "0", "1"].map(|digit| digit.repeat(30)));
}

#[test]
fn a_panic_ends_the_answers_under_way_and_not_the_thread() {
    let rig = rig(ONE);
    let panics = Generations::new(
        Live::new("000000000007-0123abcd".parse().unwrap(), Fake::default().load(b"x").unwrap()),
        0,
        "production".to_owned(),
        2,
    );
    assert_eq!(answer(rig.send(&panics, "say 3", Cancel::default())), None);
    assert_eq!(answer(rig.send(&generation(b'0'), "say 3", Cancel::default())).unwrap().text, "000");
    assert!(rig.decoding.is_alive());
    assert!(rig.metrics.decode_failures.get() > 0);
}

#[test]
fn scores_that_are_not_finite_end_one_answer() {
    let rig = rig(ONE);
    let broken = Generations::new(
        Live::new("000000000008-0123abcd".parse().unwrap(), Fake::default().load(b"n").unwrap()),
        0,
        "production".to_owned(),
        2,
    );
    assert_eq!(answer(rig.send(&broken, "say 3", Cancel::default())), None);
    assert_eq!(rig.metrics.decode_failures.get(), 1);
}

#[test]
fn a_cancelled_request_leaves_the_batch() {
    let rig = rig(ONE);
    rig.engine.gate.close();
    let cancel = Cancel::default();
    let events = rig.send(&generation(b'0'), "say 40", cancel.clone());
    let never = Cancel::default();
    never.cancel();
    let unstarted = rig.send(&generation(b'0'), "say 40", never);
    cancel.cancel();
    rig.engine.gate.open();
    let (answer, unstarted) = (answer(events).unwrap(), self::answer(unstarted).unwrap());
    assert_eq!((answer.finish, unstarted.finish, unstarted.tokens), (FinishReason::Cancelled, FinishReason::Cancelled, 0));
    assert!(answer.tokens < 40);
}

#[test]
fn a_closed_queue_admits_nothing_and_its_threads_end() {
    let rig = rig(Capacity { threads: 2, ..ONE });
    let events: Vec<_> = (0..6).map(|_| rig.send(&generation(b'0'), "say 9", Cancel::default())).collect();
    rig.decoding.close();
    assert!(matches!(rig.decoding.admit().err(), Some(NotAdmitted::Closed)));
    rig.decoding.join();
    for events in events {
        assert_eq!(answer(events).unwrap().text, "0".repeat(9));
    }
}

/// Prompts of more than 200 tokens.
fn roomy() -> Rig {
    rig_of(Fake { context: Some(10_000), ..Fake::default() }, ONE)
}

#[test]
fn a_long_prompt_is_read_in_pieces_one_between_two_steps() {
    let rig = roomy();
    rig.engine.gate.close();
    let beside = rig.send(&generation(b'0'), "say 9", Cancel::default());
    rig.held_after(0);
    let long = rig.send(&generation(b'0'), &format!("{} 1", "long".repeat(500)), Cancel::default());
    for steps in 1..=5 {
        rig.engine.gate.allow(1);
        rig.held_after(steps);
        let read = [5, 512, 512, 512, 466];
        assert_eq!(*rig.engine.prefills.lock().unwrap(), read[..=steps.min(4)]);
    }
    rig.engine.gate.open();
    assert_eq!(answer(beside).unwrap().text, "0".repeat(9));
    let long = answer(long).unwrap();
    assert_eq!((long.text.as_str(), long.finish), ("read 2002", FinishReason::Stop));
    // The fake's token costs its place: all but the first were counted, across the borders of pieces.
    assert!((long.prompt_surprise.mean_nats - (1..2002).sum::<u32>() as f32 / 2001.0).abs() < 1e-2);
    assert_eq!(rig.engine.steps.lock().unwrap()[..5], [1, 1, 1, 1, 2]);
}

#[test]
fn a_short_prompt_overtakes_long_ones() {
    let rig = roomy();
    rig.engine.gate.close();
    let beside = rig.send(&generation(b'0'), "say 3", Cancel::default());
    rig.held_after(0);
    let long = format!("{} 1", "long".repeat(500));
    let long: Vec<_> = (0..2).map(|_| rig.send(&generation(b'0'), &long, Cancel::default())).collect();
    let short = rig.send(&generation(b'0'), "say 1", Cancel::default());
    rig.engine.gate.allow(1);
    rig.held_after(1);
    // From the last to the first: the short one whole, and what is left of the budget for the oldest.
    assert_eq!(*rig.engine.prefills.lock().unwrap(), [5, 5, 507]);
    rig.engine.gate.open();
    assert_eq!(answer(short).unwrap().text, "0");
    assert!(long.into_iter().all(|long| answer(long).unwrap().text == "read 2002"));
    assert!(answer(beside).is_some());
}

#[test]
fn a_prompt_that_nobody_waits_for_any_more_is_not_read_to_its_end() {
    let rig = roomy();
    rig.engine.gate.close();
    let beside = rig.send(&generation(b'0'), "say 9", Cancel::default());
    rig.held_after(0);
    let cancel = Cancel::default();
    let long = rig.send(&generation(b'0'), &format!("{} 1", "long".repeat(500)), cancel.clone());
    rig.engine.gate.allow(1);
    rig.held_after(1);
    cancel.cancel();
    rig.engine.gate.open();
    assert_eq!(answer(long).unwrap().finish, FinishReason::Cancelled);
    assert_eq!(answer(beside).unwrap().text, "0".repeat(9));
    assert_eq!(*rig.engine.prefills.lock().unwrap(), [5, 512]);
}
