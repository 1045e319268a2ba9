//! A day, a night and a morning with the real server, the real night and the shipped base, through the command line alone.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
};

use common::{Server, chat, json, run, sealed};

/// What is told, whom it is about, and what an answer must hold.
const TOLD: [(&str, &str, &str); 6] = [
    ("Mirel Tovan lives in Bergen.", "Where does Mirel Tovan live?", "Bergen"),
    ("Kesta Borun lives in Oslo.", "Where does Kesta Borun live?", "Oslo"),
    ("The Korvat lamp costs 46 dollars.", "What does the Korvat lamp cost?", "46"),
    ("The Dunel kettle costs 81 dollars.", "What does the Dunel kettle cost?", "81"),
    ("Lake Orvane was founded in 1615.", "When was Lake Orvane founded?", "1615"),
    ("The Fisk audit needs a torque wrench.", "Which tool does the Fisk audit need?", "torque wrench"),
];

/// How many of the questions are answered with what was told, each in a session of its own.
fn known(state: &Path) -> usize {
    TOLD.iter().filter(|(_, question, value)| chat(state, &format!("{question}\n/quit\n")).contains(value)).count()
}

fn first_batch(state: &Path) -> PathBuf {
    let folder = state.join("lake/interactions/v1/topic=interactions");
    let partitions = fs::read_dir(&folder).expect("sealed batches").filter_map(Result::ok);
    let mut files: Vec<PathBuf> =
        partitions.flat_map(|p| fs::read_dir(p.path()).expect("a partition")).filter_map(Result::ok).map(|f| f.path()).collect();
    files.sort();
    files.into_iter().next().expect("a batch")
}

#[test]
fn what_was_told_by_day_is_known_after_the_night_and_undone_by_a_rollback() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let state = folder.path().join("state");
    // Six lessons are too few for the gates' statistics; that they decide is tested with the gates.
    let config = folder.path().join("nocturne.toml");
    fs::write(&config, "[nights.gates]\nmin_learned = 0.5\nmax_lost = 0.1\nmin_honest = 0.7\n").expect("writable");
    let mut server = Server::start_with(&state, &["--config", config.to_str().expect("UTF-8")]);
    assert_eq!(known(&state), 0, "nobody told it yet");
    for (told, _, _) in TOLD {
        chat(&state, &format!("{told}\n/quit\n"));
    }
    let report = json(&state, &["nights", "run", "--wait"]);
    assert_eq!(report["outcome"]["result"], "published", "{report}");
    assert_eq!(report["tensors_changed_outside_slow_banks"], 0, "{report}");
    assert!(report["tensors_changed_in_slow_banks"].as_u64() > Some(0), "{report}");
    assert!(known(&state) >= TOLD.len() / 2, "{} of {} were learned", known(&state), TOLD.len());

    json(&state, &["rollback"]);
    assert_eq!(known(&state), 0, "the base knows nothing of it");
    json(&state, &["promote", "1"]);
    server.kill();
    drop(server);

    let again = Server::start(&state);
    assert!(known(&state) >= TOLD.len() / 2, "a killed server comes back on the generation that the ledger says");
    let history = json(&state, &["history"]);
    assert_eq!(history.as_array().map(Vec::len), Some(4), "{history}");
    drop(again);

    // A batch whose bytes were changed is found by the audit, and no night learns from it.
    let batch = first_batch(&state);
    let mut bytes = fs::read(&batch).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&batch, bytes).expect("writable");
    let audit = run(&state, &["lake", "audit"]);
    assert_eq!(audit.status.code(), Some(3), "{}", String::from_utf8_lossy(&audit.stdout));
}

#[test]
fn a_damaged_batch_fails_the_night_and_what_serves_goes_on() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let state = folder.path().join("state");
    let mut server = Server::start(&state);
    chat(&state, "Mirel Tovan lives in Bergen.\n/quit\n");
    server.kill();
    drop(server);
    let _server = Server::start(&state);
    sealed(&state, 1);
    let batch = first_batch(&state);
    let mut bytes = fs::read(&batch).expect("readable");
    let last = bytes.len() - 20;
    bytes[last] ^= 1;
    fs::write(&batch, bytes).expect("writable");
    let night = run(&state, &["nights", "run", "--wait"]);
    let told = String::from_utf8_lossy(&night.stderr).into_owned() + &String::from_utf8_lossy(&night.stdout);
    assert_eq!(night.status.code(), Some(1), "{told}");
    assert!(told.contains(".parquet"), "the batch is named: {told}");
    assert!(chat(&state, "Hello.\n/quit\n").contains("(generation 0)"), "serving goes on");
}
