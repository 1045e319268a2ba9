//! The binary as a shell sees it: exit codes, hints, formats.

use std::{
    path::Path,
    process::{Command, Output},
};

fn nocturne(state: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nocturne"));
    command.arg("--state").arg(state).args(args).env_remove("NOCTURNE_STATE");
    command.output().expect("the binary runs")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn wrong_usage_exits_with_2() {
    let state = folder();
    for args in [&["flyy"][..], &["up", "--listen", "nowhere"], &["promote"], &["-o", "xml", "history"]] {
        let output = nocturne(state.path(), args);
        assert_eq!(code(&output), Some(2), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn reading_where_nothing_is_fails_with_a_hint_and_leaves_nothing_behind() {
    let state = folder();
    let reading = [
        &["history"][..],
        &["nights", "list"],
        &["nights", "show"],
        &["generations", "list"],
        &["lake", "ls"],
        &["lake", "audit"],
        &["promote", "1"],
        &["rollback"],
        &["nights", "run"],
    ];
    for args in reading {
        let output = nocturne(state.path(), args);
        assert_eq!(code(&output), Some(1), "{args:?}");
        let told = stderr(&output);
        assert!(told.contains("there is none") && told.contains("hint: run `nocturne up` first"), "{args:?}: {told}");
        assert!(stdout(&output).is_empty(), "{args:?}");
    }
    assert_eq!(std::fs::read_dir(state.path()).expect("readable").count(), 0);
}

#[test]
fn chat_without_a_server_says_how_to_start_one() {
    let state = folder();
    let output = nocturne(state.path(), &["chat"]);
    assert_eq!(code(&output), Some(1));
    assert!(stderr(&output).contains("no server runs on the state directory"), "{}", stderr(&output));
    assert!(stderr(&output).contains("hint: start one with `nocturne up`"), "{}", stderr(&output));
}

#[test]
fn an_unknown_key_in_the_configuration_is_named_with_its_line() {
    let state = folder();
    let file = state.path().join("nocturne.toml");
    std::fs::write(&file, "[inference]\nmax_bach = 3\n").expect("written");
    let output = nocturne(&state.path().join("state"), &["up", "--config", file.to_str().expect("UTF-8")]);
    assert_eq!(code(&output), Some(1));
    let told = stderr(&output);
    assert!(told.contains("nocturne.toml:2: unknown key `max_bach`; did you mean `max_batch`?"), "{told}");
    assert!(told.contains("; hint: "), "{told}");
    assert!(!state.path().join("state").exists(), "a refused configuration must not leave a state directory");
}

#[test]
fn a_gate_that_nothing_can_pass_is_refused() {
    let state = folder();
    let file = state.path().join("nocturne.toml");
    for (gates, why) in
        [("min_learned = 2.0", "min_learned is 2"), ("max_lost = -1.0", "max_lost is -1"), ("max_drift_nats = nan", "max_drift")]
    {
        std::fs::write(&file, format!("[nights.gates]\n{gates}\n")).expect("written");
        let output = nocturne(&state.path().join("state"), &["up", "--config", file.to_str().expect("UTF-8")]);
        assert_eq!(code(&output), Some(1), "{gates}");
        assert!(stderr(&output).contains(why) && stderr(&output).contains("hint: "), "{}", stderr(&output));
    }
}

#[test]
fn a_schedule_that_cannot_be_is_refused() {
    let state = folder();
    for args in [&["up", "--schedule", "late"][..], &["up", "--schedule", "03:00", "--time-zone", "Mars/Base"]] {
        let output = nocturne(&state.path().join("state"), args);
        assert_eq!(code(&output), Some(2), "{args:?}");
        assert!(stderr(&output).contains("such as"), "{args:?}: {}", stderr(&output));
        assert!(!state.path().join("state").exists(), "{args:?}: a refused schedule must not leave a state directory");
    }
    let config = state.path().join("nocturne.toml");
    std::fs::write(&config, "[nights.schedule]\ntime = \"late\"\n").expect("written");
    let output = nocturne(&state.path().join("state"), &["up", "--config", config.to_str().expect("a path")]);
    assert_eq!(code(&output), Some(1), "what a file says is no usage");
    assert!(stderr(&output).contains("[nights.schedule]"), "{}", stderr(&output));
    assert!(!state.path().join("state").exists(), "a refused schedule must not leave a state directory");
}

#[test]
fn a_base_is_examined_and_every_answer_kept() {
    let state = folder();
    let answers = state.path().join("answers.jsonl");
    let path = answers.to_str().expect("a path");
    let asked =
        ["model", "examine", "--questions", "3", "--group", "unknown", "--group", "in_session", "--answers", path, "-o", "json"];
    let marks: serde_json::Value = serde_json::from_str(&stdout(&nocturne(state.path(), &asked))).expect("JSON");
    let marks = marks.as_array().expect("a list");
    assert_eq!(marks.iter().map(|mark| mark["group"].as_str().expect("a name")).collect::<Vec<_>>(), ["in_session", "unknown"]);
    let told = std::fs::read_to_string(&answers).expect("answers");
    let lines: Vec<serde_json::Value> = told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for mark in marks {
        let of: Vec<_> = lines.iter().filter(|line| line["group"] == mark["group"]).collect();
        assert_eq!(mark["asked"], of.len());
        assert_eq!(mark["right"], of.iter().filter(|line| line["right"] == true).count());
        // What a session said before a question, both sides in turn; nothing before a question that stands alone.
        let told = mark["group"] == "in_session";
        assert!(of.iter().all(|line| (line["before"].as_array().map_or(0, Vec::len) >= 2) == told));
    }
}

#[test]
fn the_settings_in_force_are_printed_as_a_file_that_is_read_back() {
    let state = folder();
    let none = state.path().join("state");
    let printed = stdout(&nocturne(&none, &["up", "--listen", "localhost:9", "--schedule", "04:30", "--print-config"]));
    for line in ["listen = \"127.0.0.1:9\"", "time = \"04:30\"", "[nights.gates]", "seal"] {
        assert!(printed.contains(line), "{line}: {printed}");
    }
    let file = state.path().join("nocturne.toml");
    std::fs::write(&file, &printed).expect("written");
    let again = nocturne(&none, &["up", "--config", file.to_str().expect("UTF-8"), "--print-config"]);
    assert_eq!((code(&again), stdout(&again)), (Some(0), printed), "{}", stderr(&again));
    assert!(!none.exists(), "printing starts nothing");
}

#[test]
fn a_recipe_that_cannot_be_read_is_named() {
    let state = folder();
    let output = nocturne(state.path(), &["model", "train", "--recipe", "absent.toml", "--out", "out"]);
    assert_eq!(code(&output), Some(1));
    assert!(stderr(&output).contains("reading the configuration absent.toml"), "{}", stderr(&output));
}

#[test]
fn a_demonstration_refuses_what_it_could_not_keep_before_it_begins() {
    let state = folder();
    let out = state.path().join("out");
    std::fs::create_dir(&out).expect("made");
    std::fs::write(out.join("something"), "").expect("written");
    let output = nocturne(state.path(), &["demo", "--out", out.to_str().expect("UTF-8")]);
    assert_eq!(code(&output), Some(1));
    assert!(stderr(&output).contains("the directory is not empty"), "{}", stderr(&output));
    let lines = state.path().join("mine.jsonl");
    std::fs::write(&lines, "{\"subject\": \"ada\"}\n").expect("written");
    let output = nocturne(state.path(), &["demo", "--conversations", lines.to_str().expect("UTF-8")]);
    assert_eq!(code(&output), Some(1));
    assert!(stderr(&output).contains("line 1: not a session"), "{}", stderr(&output));
}

#[test]
fn a_night_without_a_plan_fails() {
    let state = folder();
    let output = nocturne(state.path(), &["sleep", "--plan", "nowhere"]);
    assert_eq!(code(&output), Some(1));
    assert!(stderr(&output).contains("running the night of nowhere"), "{}", stderr(&output));
}

#[test]
fn completions_are_printed_for_a_shell() {
    let state = folder();
    for shell in ["bash", "zsh", "fish"] {
        let output = nocturne(state.path(), &["completions", shell]);
        assert_eq!(code(&output), Some(0), "{shell}");
        assert!(stdout(&output).contains("nocturne"), "{shell}");
    }
}

#[test]
fn help_shows_examples_and_exit_codes() {
    let state = folder();
    let output = nocturne(state.path(), &["--help"]);
    assert_eq!(code(&output), Some(0));
    for text in ["Examples:", "nocturne demo", "Exit codes:"] {
        assert!(stdout(&output).contains(text), "{text}");
    }
    assert!(!stdout(&output).contains("sleep "), "the hidden command is shown");
}
