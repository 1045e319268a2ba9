//! Sessions that learn as bytes: cut and saved anywhere they go on the same, and what is not one is refused.
#![allow(clippy::unwrap_used, reason = "a test that panics says what it found")]

mod common;

use nocturne_model::config::Wiring;
use safetensors::{SafeTensors, tensor::TensorView};

use self::common::online::{config, every, ids, name, online, remembering, weights};

#[test]
fn a_stream_may_be_cut_anywhere_and_saved_anywhere() {
    for config in every() {
        let online = online(&config, 0.05);
        let ids = ids(41);
        let mut whole = online.begin();
        let expected = online.read(&mut whole, &ids);
        for cuts in [vec![1], vec![6], vec![5, 7, 30], (1..41).collect()] {
            let mut session = online.begin();
            let (mut from, mut logits) = (0, Vec::new());
            for to in cuts.iter().copied().chain([ids.len()]) {
                logits = online.read(&mut session, &ids[from..to]);
                session = online.restore(&session.to_bytes().unwrap()).unwrap();
                from = to;
            }
            assert_eq!(logits, expected, "{} cut at {cuts:?}", name(&config));
            assert_eq!(weights(&session), weights(&whole), "{} cut at {cuts:?}", name(&config));
            let same = session.to_bytes().unwrap() == whole.to_bytes().unwrap();
            assert!(same, "{} cut at {cuts:?}: every number of the state", name(&config));
        }
    }
}

/// Equal banks under another mixer, and files in which one thing is not as it was saved.
#[test]
fn a_session_that_is_not_of_this_model_or_damaged_is_refused() {
    let of = |mixer| online(&config(mixer, Wiring::Independent), 0.05);
    let mut foreign = of("hope").begin();
    of("hope").read(&mut foreign, &ids(9));
    assert!(of("titans").restore(&foreign.to_bytes().unwrap()).is_err(), "of another mixer");

    for config in [config("hope", Wiring::Independent), config("titans-mac", Wiring::Sequential), remembering()] {
        let online = online(&config, 0.05);
        let mut session = online.begin();
        online.read(&mut session, &ids(21));
        let bytes = session.to_bytes().unwrap();
        online.restore(&bytes).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let counts = SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone().unwrap();
        let saved = |counts: &str, leave_out: &str, cut: &str| {
            let tensors = file.iter().filter(|(name, _)| *name != leave_out).map(|(name, view)| {
                let (shape, data) = if name == cut { (vec![1], &view.data()[..4]) } else { (view.shape().to_vec(), view.data()) };
                (name.to_owned(), TensorView::new(view.dtype(), shape, data).unwrap())
            });
            let counts = [("session".to_owned(), counts.to_owned())].into();
            online.restore(&safetensors::serialize(tensors.collect::<Vec<_>>(), Some(counts)).unwrap())
        };
        saved(&counts["session"], "", "").unwrap();
        let parsed: serde_json::Value = serde_json::from_str(&counts["session"]).unwrap();
        for (place, value) in [
            ("/tokens/0", serde_json::json!(40)),
            ("/blocks/0/filled", serde_json::json!(1_u64 << 40)),
            ("/blocks/0/banks/0", serde_json::json!(1)),
            ("/levels/0/counted", serde_json::json!(5)),
            ("/levels/0/counted", serde_json::json!(1 << 30)),
        ] {
            let mut damaged = parsed.clone();
            *damaged.pointer_mut(place).unwrap() = value;
            assert!(saved(&damaged.to_string(), "", "").is_err(), "{}, {place}", name(&config));
        }
        let essential =
            |name: &str| !["keys", "values"].contains(&name.rsplit('.').next().unwrap()) && !name.contains("gathered");
        for tensor in file.names() {
            if essential(tensor) {
                assert!(saved(&counts["session"], tensor, "").is_err(), "{}, without {tensor}", name(&config));
            }
            assert!(saved(&counts["session"], "", tensor).is_err(), "{}, {tensor} cut short", name(&config));
        }
    }
}
