//! A checkpoint of transformers, imported, served and talked with by commands.

mod common;

use std::{fs, path::Path};

use common::{Server, run, talk_with};
use nocturne_support::{Reference, or_skip};
use serde_json::{Value, json};

fn talks() -> Value {
    let talk = |turns: [[&str; 2]; 2]| -> Vec<Value> {
        let said = |[asked, answered]: [&str; 2]| {
            [json!({"role": "user", "content": asked}), json!({"role": "assistant", "content": answered})]
        };
        turns.into_iter().flat_map(said).collect()
    };
    json!([
        talk([["Where is the ferry?", "The ferry is in Bergen."], ["And the lamp?", "The lamp is in the harbor."]]),
        talk([["What is blue?", "The door is blue, naïve as it is."], ["And old?", "The town is old."]]),
    ])
}

fn told(output: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn an_imported_checkpoint_answers_as_it_did_in_transformers_and_goes_on_in_a_session() {
    let reference = or_skip!(Reference::install());
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (checkpoint, base) = (path("tiny-llama"), path("base"));
    let script = include_str!("imported/checkpoint.py");
    let expected = reference.run(script, &[&checkpoint, &talks().to_string()]).unwrap_or_else(|absent| panic!("{absent}"));
    let expected: Vec<Vec<String>> = serde_json::from_str(expected.lines().last().unwrap_or_default()).expect("JSON");
    let state = folder.path().join("state");
    let import = run(&state, &["model", "import", &checkpoint, "--slow-banks", "stack=last:1", "--out", &base]);
    assert!(import.status.success() && told(&import).contains("tiny-llama"), "{}", told(&import));

    let _server = Server::start_with(&state, &["--base", &base]);
    for (talk, expected) in talks().as_array().expect("a list").iter().zip(&expected) {
        let asked: Vec<&str> =
            (0..talk.as_array().map_or(0, Vec::len)).step_by(2).filter_map(|n| talk[n]["content"].as_str()).collect();
        let talked = talk_with(&state, &["-o", "json"], &format!("{}\n/quit\n", asked.join("\n")));
        let answers: Vec<String> = String::from_utf8_lossy(&talked.stdout)
            .lines()
            .filter_map(|line| Some(serde_json::from_str::<Value>(line).ok()?["answer"].as_str()?.to_owned()))
            .collect();
        assert_eq!(&answers, expected, "{}", told(&talked));
    }
}

#[test]
fn what_cannot_be_imported_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let out = folder.path().join("base");
    let import = |checkpoint: &Path, banks: &str| {
        let args =
            ["model", "import", &checkpoint.display().to_string(), "--slow-banks", banks, "--out", &out.display().to_string()];
        let output = run(folder.path(), &args);
        assert!(!output.status.success() && !out.exists(), "{}", told(&output));
        told(&output)
    };
    assert!(import(&folder.path().join("nowhere"), "add=8").contains("nowhere"));
    let gpt = folder.path().join("gpt");
    fs::create_dir(&gpt).expect("made");
    fs::write(gpt.join("config.json"), r#"{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}"#).expect("written");
    let said = import(&gpt, "add=8");
    assert!(said.contains("gpt2") && said.contains("llama"), "{said}");
    assert!(import(&gpt, "everything").contains("--slow-banks"));
}
