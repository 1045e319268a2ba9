//! The demonstration itself on a small day of one's own: server, day, exam, night under load, swaps, audit and pictures. How much is learned is not judged here:
//! `nocturne demo` does that on a whole day.

mod common;

use std::fs;

use common::command;
use serde_json::{Value, json};

/// Who says what, and what is asked the next morning.
const TOLD: [(&str, &str, &str, &str); 7] = [
    ("ada", "Mirel Tovan lives in Bergen.", "In which city does Mirel Tovan live?", "Bergen"),
    ("ada", "Kesta Borun lives in Oslo.", "In which city does Kesta Borun live?", "Oslo"),
    ("bo", "Ferin Loma lives in Lima.", "In which city does Ferin Loma live?", "Lima"),
    ("bo", "Taras Uloff lives in Sydney.", "In which city does Taras Uloff live?", "Sydney"),
    ("cy", "The Korvat lamp costs 46 dollars.", "What is the price of the Korvat lamp?", "46 dollars"),
    ("cy", "The Dunel kettle costs 81 dollars.", "What is the price of the Dunel kettle?", "81 dollars"),
    ("di", "The Snolidor guitar costs 58 dollars.", "What is the price of the Snolidor guitar?", "58 dollars"),
];

fn day() -> String {
    let mut lines: Vec<Value> = TOLD
        .iter()
        .map(|(subject, told, question, value)| {
            json!({
                "subject": subject,
                "turns": [{"text": told, "feedback": {"score": 1}}, {"text": question}],
                "asks": [{"question": question, "expect": value}],
            })
        })
        .collect();
    lines.push(json!({
        "subject": "eve", "store": false,
        "turns": [{"text": "Orla Finch lives in Rome."}],
        "asks": [{"question": "Where does Orla Finch live?", "expect": null}],
    }));
    lines.iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_demonstration_of_ones_own_day_measures_itself_and_keeps_what_was_asked_for() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("day.jsonl"), day()).expect("writable");
    let ran = command(&path("unused"))
        .arg("demo")
        .args([path("day.jsonl")].iter().flat_map(|file| ["--conversations".as_ref(), file.as_os_str()]))
        .args(["--json".as_ref(), path("figures.json").as_os_str(), "--out".as_ref(), path("out").as_os_str()])
        .output()
        .expect("the binary runs");
    let told = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    let figures: Value = serde_json::from_slice(&fs::read(path("figures.json")).expect(&told)).expect("JSON");

    let count =
        |pointer: &str| figures.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer}: {figures}"));
    assert_eq!((count("/day/interactions"), count("/day/opted_out"), count("/day/subjects")), (15, 1, 5), "{told}");
    assert_eq!((count("/lake/interactions"), count("/lake/opted_out")), (14, 0), "{told}");
    assert_eq!(figures["lake"]["audit"], "clean", "{told}");
    assert_eq!((count("/serving/failed"), count("/serving/mixed_generation_answers")), (0, 0), "{told}");
    assert_eq!(count("/night/tensors_changed_outside_slow_banks"), 0, "{told}");
    assert_eq!(figures["lessons"]["before"], 0.0, "{told}");

    // Seven lessons are few for the gates' statistics; what they decided must show in the exit code and in what was measured.
    let published = figures["night"]["report"]["outcome"]["result"] == "published";
    assert_eq!(ran.status.code(), Some(if published { 0 } else { 3 }), "{told}");
    if published {
        assert!(count("/night/tensors_changed_in_slow_banks") > 0, "{told}");
        assert_eq!(figures["lessons"]["rolled_back"], 0.0, "{told}");
        assert_eq!(figures["lessons"]["rolled_forward"], figures["lessons"]["after"], "{told}");
        assert!(figures["rollback_seconds"].as_f64().is_some(), "{told}");
    }
    for kept in ["loss.svg", "before-after.svg", "answers.jsonl", "lake/ledger"] {
        assert!(path("out").join(kept).exists(), "{kept} was not kept: {told}");
    }
    assert!(!path("unused").exists(), "the demonstration has a state directory of its own");
}
