//! A server and the commands that talk to it, as processes.

#![allow(dead_code, reason = "every test file uses some of it")]

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// A server that is killed when the test ends.
pub(crate) struct Server {
    pub(crate) process: Child,
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Starts a server and waits until it says where it listens.
    pub(crate) fn start(state: &Path) -> Self {
        Self::start_with(state, &[])
    }

    /// The same with more arguments.
    pub(crate) fn start_with(state: &Path, more: &[&str]) -> Self {
        let mut process = command(state)
            .args(["up", "--listen", "127.0.0.1:0", "--no-schedule"])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let mut stdout = BufReader::new(process.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("readable");
        assert!(line.contains("Nocturne is up"), "the server did not start: {line}");
        Self { process, _stdout: stdout }
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("ended");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// A command on a state directory.
pub(crate) fn command(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nocturne"));
    command.arg("--state").arg(state).env_remove("NOCTURNE_STATE");
    command
}

/// Runs a command to its end.
pub(crate) fn run(state: &Path, args: &[&str]) -> Output {
    command(state).args(args).output().expect("the binary runs")
}

/// What a command prints as JSON; it must succeed.
pub(crate) fn json(state: &Path, args: &[&str]) -> Value {
    let output = run(state, &[args, &["-o", "json"]].concat());
    let told = || format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{args:?}: {}", told());
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Says lines to the model and gives what was printed.
pub(crate) fn chat(state: &Path, said: &str) -> String {
    let output = talk_with(state, &[], said);
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The same with a server that may die meanwhile.
pub(crate) fn chat_until_it_ends(state: &Path, said: &str) -> String {
    String::from_utf8_lossy(&talk_with(state, &[], said).stdout).into_owned()
}

fn chatting(state: &Path, more: &[&str]) -> Child {
    let mut chat = command(state);
    chat.arg("chat").args(more).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    chat.spawn().expect("the binary runs")
}

/// Says lines to the model, with more arguments.
pub(crate) fn talk_with(state: &Path, more: &[&str], said: &str) -> Output {
    let mut chat = chatting(state, more);
    // It may end before it has read everything.
    chat.stdin.take().expect("piped").write_all(said.as_bytes()).ok();
    chat.wait_with_output().expect("ended")
}

/// A conversation that goes on while other things happen.
pub(crate) struct Conversation {
    process: Child,
    stdout: BufReader<ChildStdout>,
}

impl Conversation {
    /// Begins one with the server on a state directory.
    pub(crate) fn begin(state: &Path) -> Self {
        let mut process = chatting(state, &[]);
        let stdout = BufReader::new(process.stdout.take().expect("piped"));
        Self { process, stdout }
    }

    /// Says a line, and gives the first line that comes back.
    pub(crate) fn say(&mut self, line: &str) -> String {
        writeln!(self.process.stdin.as_mut().expect("piped"), "{line}").expect("it listens");
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).expect("readable");
        answer
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Waits until the lake holds this many interactions, and no more.
pub(crate) fn sealed(state: &Path, wanted: u64) {
    assert_eq!(sealed_at_least(state, wanted), wanted);
}

/// Waits until the lake holds at least this many interactions; says how many.
pub(crate) fn sealed_at_least(state: &Path, wanted: u64) -> u64 {
    let begun = Instant::now();
    loop {
        let audit = json(state, &["lake", "audit"]);
        assert_eq!(audit["clean"], true, "{audit}");
        let rows: u64 = audit["partitions"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|p| p["topic"] == "interactions")
            .filter_map(|p| p["rows"].as_u64())
            .sum();
        if rows >= wanted {
            return rows;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{rows} of {wanted} interactions are sealed");
        std::thread::sleep(Duration::from_millis(100));
    }
}
