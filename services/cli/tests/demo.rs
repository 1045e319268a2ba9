//! The demonstration itself on a small day of one's own: server, day, exam, night under load, swaps, audit and pictures. How much is learned is not judged here:
//! `nocturne demo` does that on a whole day.

#![allow(clippy::panic, reason = "a test that has failed says with what")]

mod common;

use std::{
    fs,
    sync::{Mutex, PoisonError},
};

use common::command;
use nocturne_support::{Kafka, S3, or_skip};
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

/// A demonstration that ended.
struct Demonstration {
    folder: tempfile::TempDir,
    code: Option<i32>,
    figures: Value,
    /// Everything that it printed.
    told: String,
}

/// Nights take all cores: one demonstration after the other.
static TURN: Mutex<()> = Mutex::new(());

fn demonstrate(args: &[&str], environment: &[(String, String)]) -> Demonstration {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("day.jsonl"), day()).expect("writable");
    let ran = command(&path("unused"))
        .envs(environment.iter().cloned())
        .arg("demo")
        .args(args)
        .args(["--conversations".as_ref(), path("day.jsonl").as_os_str()])
        .args(["--json".as_ref(), path("figures.json").as_os_str(), "--out".as_ref(), path("out").as_os_str()])
        .output()
        .expect("the binary runs");
    let told = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    let figures = serde_json::from_slice(&fs::read(path("figures.json")).expect(&told)).expect("JSON");
    Demonstration { code: ran.status.code(), figures, told, folder }
}

impl Demonstration {
    fn count(&self, pointer: &str) -> u64 {
        let Self { figures, told, .. } = self;
        figures.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer}: {figures} {told}"))
    }

    /// What holds over whatever transport and store.
    fn is_whole(&self) {
        let Self { folder, code, figures, told } = self;
        let count = |pointer| self.count(pointer);
        assert_eq!((count("/day/interactions"), count("/day/opted_out"), count("/day/subjects")), (15, 1, 5), "{told}");
        assert_eq!((count("/lake/interactions"), count("/lake/opted_out")), (14, 0), "{told}");
        assert_eq!(figures["lake"]["audit"], "clean", "{told}");
        assert_eq!((count("/serving/failed"), count("/serving/mixed_generation_answers")), (0, 0), "{told}");
        assert_eq!(count("/night/tensors_changed_outside_slow_banks"), 0, "{told}");
        assert_eq!(figures["lessons"]["before"], 0.0, "{told}");

        // Seven lessons are few for the gates' statistics; what they decided must show in the exit code and in what was measured.
        let published = figures["night"]["report"]["outcome"]["result"] == "published";
        assert_eq!(*code, Some(if published { 0 } else { 3 }), "{told}");
        if published {
            assert!(count("/night/tensors_changed_in_slow_banks") > 0, "{told}");
            assert_eq!(figures["lessons"]["rolled_back"], 0.0, "{told}");
            assert_eq!(figures["lessons"]["rolled_forward"], figures["lessons"]["after"], "{told}");
            assert!(figures["rollback_seconds"].as_f64().is_some(), "{told}");
        }
        for kept in ["loss.svg", "before-after.svg", "answers.jsonl"] {
            assert!(folder.path().join("out").join(kept).exists(), "{kept} was not kept: {told}");
        }
        assert!(!folder.path().join("unused").exists(), "the demonstration has a state directory of its own");
    }
}

#[test]
fn a_demonstration_of_ones_own_day_measures_itself_and_keeps_what_was_asked_for() {
    let demonstration = demonstrate(&[], &[]);
    demonstration.is_whole();
    assert!(demonstration.folder.path().join("out/lake/ledger").exists(), "{}", demonstration.told);
}

#[test]
fn over_kafka_and_a_bucket_five_processes_do_the_same() {
    let (kafka, s3) = (or_skip!(Kafka::start(1)), or_skip!(S3::start()));
    let variables = s3.options().map(|(key, value)| (key.to_uppercase(), value));
    let demonstration = demonstrate(&["--kafka", &kafka.brokers(), "--store", &s3.url("demonstration")], &variables);
    demonstration.is_whole();
}
