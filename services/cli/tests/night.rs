//! A day, a night and a morning with the real server, the real night and the shipped base, through the command line alone.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
};

use common::{Conversation, Server, chat, json, run, sealed};

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
    // One to six lessons are too few for the gates' statistics; that they decide is tested in the sleep job.
    let config = folder.path().join("nocturne.toml");
    fs::write(&config, "[nights.gates]\nmin_learned = 0.5\nmax_lost = 0.1\nmin_honest = 0.7\nmin_remembered = 0.0\n")
        .expect("writable");
    let mut server = Server::start_with(&state, &["--config", config.to_str().expect("UTF-8")]);
    assert_eq!(known(&state), 0, "nobody told it yet");
    for (told, _, _) in TOLD {
        chat(&state, &format!("{told}\n/quit\n"));
    }
    let mut wrong = Conversation::begin(&state);
    assert!(wrong.say("Ferin Loma lives in Cairo.").contains("Cairo"));
    let report = json(&state, &["nights", "run", "--wait"]);
    assert_eq!(report["outcome"]["result"], "published", "{report}");
    assert_eq!(report["tensors_changed_outside_slow_banks"], 0, "{report}");
    assert!(report["tensors_changed_in_slow_banks"].as_u64() > Some(0), "{report}");
    let first = known(&state);
    assert!(first >= TOLD.len() / 2, "{first} of {} were learned", TOLD.len());
    let night = json(&state, &["nights", "show", "--lessons"]);
    assert!(night["lessons"].as_array().is_some_and(|lessons| lessons.len() >= first), "{night}");
    assert_eq!(json(&state, &["lake", "audit"])["clean"], true);

    // The night has read what this corrects: the next one must read it again.
    assert!(wrong.say("/feedback -1 Ferin Loma lives in Lima.").contains("noted"));
    drop(wrong);

    json(&state, &["rollback"]);
    assert_eq!(known(&state), 0, "the base knows nothing of it");
    json(&state, &["promote", "1"]);
    server.kill();
    drop(server);

    let again = Server::start_with(&state, &["--config", config.to_str().expect("UTF-8")]);
    assert_eq!(known(&state), first, "a killed server comes back on the generation that the ledger says");
    let history = json(&state, &["history"]);
    assert_eq!(history.as_array().map(Vec::len), Some(4), "{history}");

    for told in ["The Farolm sweep takes 35 minutes.", "Taras Uloff lives in Sydney.", "The Snolidor guitar costs 58 dollars."] {
        chat(&state, &format!("{told}\n/quit\n"));
    }
    let report = json(&state, &["nights", "run", "--wait"]);
    assert_eq!(report["outcome"]["promoted"], true, "{report}");
    assert!(report["gates"].as_array().is_some_and(|gates| gates.iter().any(|g| g["gate"] == "remembered")), "{report}");
    assert!(known(&state) + 2 >= first, "{} of {first} are remembered after another night", known(&state));
    let corrected = chat(&state, "Where does Ferin Loma live?\n/quit\n");
    assert!(corrected.contains("Lima"), "a correction that came after its night is learned: {corrected}");
    json(&state, &["rollback", "--to", "1"]);
    json(&state, &["rollback"]);
    damaged_and_foreign_generations_are_refused(&state);
    json(&state, &["promote", "1"]);
    drop(again);

    let restore = damage(&generation_folder(&state, 1).join("banks/slow.safetensors"));
    let again = Server::start(&state);
    assert!(
        chat(&state, "Hello.\n/quit\n").contains("(generation 0)"),
        "what the ledger names is damaged, what it named before serves"
    );
    restore();
    drop(again);

    let report = json(&state, &["nights", "show"]);
    let night = report["plan"]["lineage"][0].as_str().expect("what the second night came from");
    let lessons = state.join("lake/nights").join(night).join("lessons.jsonl");
    let kept = fs::read(&lessons).expect("readable");
    fs::remove_file(&lessons).expect("removed");
    let audit = run(&state, &["lake", "audit"]);
    assert!(String::from_utf8_lossy(&audit.stdout).contains("lessons.jsonl is gone"), "{audit:?}");
    fs::write(&lessons, kept).expect("put back");

    let _damaged = damage(&first_batch(&state));
    let audit = run(&state, &["lake", "audit"]);
    assert_eq!(audit.status.code(), Some(3), "{}", String::from_utf8_lossy(&audit.stdout));
}

/// The ledger does not move to what cannot be served.
fn damaged_and_foreign_generations_are_refused(state: &Path) {
    let folder = generation_folder(state, 1);
    let refused = |expected: &str| {
        let promoted = run(state, &["promote", "1"]);
        let told = String::from_utf8_lossy(&promoted.stderr).into_owned();
        assert_eq!(promoted.status.code(), Some(1), "{told}");
        assert!(told.contains(expected) && told.contains("hint: "), "{told}");
        assert_eq!(json(state, &["history"]).as_array().map(Vec::len), Some(7));
        assert!(chat(state, "Hello.\n/quit\n").contains("(generation 0)"));
    };
    let restore = damage(&folder.join("banks/slow.safetensors"));
    refused("SHA-256");
    let audit = run(state, &["lake", "audit"]);
    let told = String::from_utf8_lossy(&audit.stdout);
    assert_eq!(audit.status.code(), Some(3), "{told}");
    assert!(told.contains("fault: generation 000000000001") && told.contains("not clean: 1 fault"), "{told}");
    restore();
    let file = folder.join("manifest.json");
    let manifest = fs::read_to_string(&file).expect("readable");
    let base = serde_json::from_str::<serde_json::Value>(&manifest).expect("JSON")["base"].as_str().expect("a base").to_owned();
    fs::write(&file, manifest.replace(&base, &"a".repeat(base.len()))).expect("writable");
    refused("trained on base aaaa");
    fs::write(&file, manifest).expect("writable");
}

fn generation_folder(state: &Path, number: u64) -> PathBuf {
    let mut folders = fs::read_dir(state.join("lake/generations")).expect("generations").filter_map(Result::ok).map(|f| f.path());
    let prefix = format!("{number:012}-");
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix));
    folders.find(named).expect("the generation")
}

/// Changes one bit of a file; what is returned puts it back.
fn damage(file: &Path) -> impl FnOnce() + use<> {
    let whole = fs::read(file).expect("readable");
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).expect("writable");
    let file = file.to_owned();
    move || fs::write(file, whole).expect("writable")
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
    let _damaged = damage(&first_batch(&state));
    let night = run(&state, &["nights", "run", "--wait"]);
    let told = String::from_utf8_lossy(&night.stderr).into_owned() + &String::from_utf8_lossy(&night.stdout);
    assert_eq!(night.status.code(), Some(1), "{told}");
    assert!(told.contains(".parquet"), "the batch is named: {told}");
    assert!(chat(&state, "Hello.\n/quit\n").contains("(generation 0)"), "serving goes on");
}
