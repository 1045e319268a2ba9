//! A server and the commands that talk to it, as processes.

mod common;

use common::{Server, chat, chat_until_it_ends, command, json, run, sealed, sealed_at_least, talk_with};

#[test]
fn a_killed_server_comes_back_on_what_the_ledger_says_with_everything_it_acknowledged() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let state = folder.path().join("state");
    let mut server = Server::start(&state);
    let told = chat(&state, "Hello.\nWhat can you do?\n/feedback 1\n/quit\n");
    assert_eq!(told.matches("(generation 0)").count(), 2, "{told}");
    assert!(told.contains("noted"), "{told}");
    server.kill();
    let _again = Server::start(&state);
    sealed(&state, 2);
    let history = json(&state, &["history"]);
    assert_eq!(history.as_array().map(Vec::len), Some(1), "{history}");
    assert_eq!(history[0]["action"], "begin");
}

#[test]
fn a_server_that_is_killed_under_load_lost_nothing_that_it_answered() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let state = folder.path().join("state");
    let mut server = Server::start(&state);
    let answered: Vec<usize> = std::thread::scope(|scope| {
        let talk = || chat_until_it_ends(&state, &"Hello.\n".repeat(400)).matches("(generation 0)").count();
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(talk)).collect();
        // The first answers are sealed by then, later ones are under way.
        sealed_at_least(&state, 1);
        server.kill();
        clients.into_iter().map(|client| client.join().expect("no panic")).collect()
    });
    let answered: usize = answered.iter().sum();
    assert!((1..1200).contains(&answered), "{answered} answers came before the kill");
    let _again = Server::start(&state);
    sealed_at_least(&state, answered as u64);
}

#[test]
fn a_conversation_by_a_program_is_lines_of_json_and_its_failures_show_in_the_exit_code() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let state = folder.path().join("state");
    let mut server = Server::start(&state);
    let talked = talk_with(&state, &["-o", "json"], "Hello.\n/feedback 1\n/quit\n");
    let lines: Vec<serde_json::Value> =
        String::from_utf8_lossy(&talked.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((talked.status.code(), lines.len()), (Some(0), 2), "{lines:?}");
    assert!(lines[0]["answer"].is_string() && lines[0]["id"].is_string() && lines[0]["generation"] == 0, "{lines:?}");
    assert!(lines[1]["notice"].as_str().is_some_and(|notice| notice.contains("noted")), "{lines:?}");
    let long = format!("{}\nHello.\n", "Hello. ".repeat(2000));
    let talked = talk_with(&state, &[], &long);
    assert_eq!(talked.status.code(), Some(1), "one message was longer than the context");
    assert!(String::from_utf8_lossy(&talked.stdout).contains("(generation 0)"), "the next line is answered all the same");
    server.kill();
}

#[cfg(unix)]
#[test]
fn an_interrupt_drains() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let state = folder.path().join("state");
    let mut server = Server::start(&state);
    chat(&state, "Hello.\n/quit\n");
    let interrupt = std::process::Command::new("kill").args(["-INT", &server.process.id().to_string()]).status();
    assert!(interrupt.expect("there is `kill`").success());
    assert_eq!(server.process.wait().expect("ended").code(), Some(0));
    assert!(!state.join("address.json").exists(), "nothing says that it still listens");
    let _again = Server::start(&state);
    sealed(&state, 1);
}

#[cfg(unix)]
#[test]
fn an_interrupt_drains_also_when_nobody_reads_the_output_any_more() {
    use std::{
        io::{BufRead as _, BufReader},
        process::Stdio,
        time::{Duration, Instant},
    };
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut up = command(&folder.path().join("state"));
    up.args(["up", "--listen", "127.0.0.1:0", "--no-schedule"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = up.spawn().expect("the binary runs");
    let mut line = String::new();
    BufReader::new(server.stdout.take().expect("piped")).read_line(&mut line).expect("readable");
    drop(server.stderr.take());
    let interrupt = std::process::Command::new("kill").args(["-INT", &server.id().to_string()]).status();
    assert!(interrupt.expect("there is `kill`").success());
    let begun = Instant::now();
    let ended = loop {
        match server.try_wait().expect("a child") {
            None if begun.elapsed() < Duration::from_secs(30) => std::thread::sleep(Duration::from_millis(50)),
            ended => break ended,
        }
    };
    server.kill().ok();
    assert_eq!(ended.and_then(|status| status.code()), Some(0), "{line}");
}

#[test]
fn another_base_than_the_lakes_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let state = folder.path().join("state");
    drop(Server::start(&state));
    let refused = run(&state, &["up", "--no-schedule", "--base", folder.path().to_str().expect("UTF-8")]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("hint: "), "{}", String::from_utf8_lossy(&refused.stderr));
}

#[test]
fn a_second_process_on_the_same_state_directory_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let state = folder.path().join("state");
    let server = Server::start(&state);
    let second = run(&state, &["up", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(1));
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(told.contains(&format!("in use by process {}", server.process.id())) && told.contains("hint: "), "{told}");
}

#[test]
fn the_command_line_tells_what_the_server_serves() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let state = folder.path().join("state");
    let _server = Server::start(&state);
    let generations = json(&state, &["generations", "list"]);
    assert_eq!(generations[0]["serves"], true, "{generations}");
    let name = generations[0]["generation"].as_str().expect("a name").to_owned();
    let shown = json(&state, &["generations", "show", "0"]);
    assert_eq!(shown["number"], 0, "{shown}");
    let promoted = run(&state, &["promote", &name]);
    assert_eq!(promoted.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&promoted.stderr).contains("serves channel `production` already"));
    let rolled = run(&state, &["rollback"]);
    assert!(String::from_utf8_lossy(&rolled.stderr).contains("nothing older has served"));
    let night = run(&state, &["nights", "run"]);
    assert_eq!(night.status.code(), Some(1), "a night without a day has nothing to do");
    assert!(
        String::from_utf8_lossy(&night.stderr).contains("hint: talk to the model first"),
        "{}",
        String::from_utf8_lossy(&night.stderr)
    );
}
