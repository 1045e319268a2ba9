//! `nocturne chat`: talk to the running server.

use std::io::{self, IsTerminal as _, Write as _};

use clap::Args;
use rustyline::{DefaultEditor, error::ReadlineError};
use serde::Serialize;

use crate::{
    address,
    api::{Answer, Api, Message, Who},
    args::Global,
    failure::{Advise, refused},
    output::{self, Format, Outcome},
};

const EXAMPLES: &str = "\
Examples:
  nocturne chat
  nocturne chat --subject ada
  echo 'Hello.' | nocturne chat
  echo 'Hello.' | nocturne chat -o json | jq -r .answer

In the conversation:
  /feedback 1                       the last answer was right
  /feedback -1 It is in Bergen.     it was wrong, and this is the truth
  /new                              begin a new session
  /quit                             leave";

const HELP: &str = "/feedback SCORE [CORRECTION], /new, /quit; anything else is said to the model";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ChatArgs {
    /// Who speaks: the unit of consent and of erasure
    #[arg(long, env = "USER", default_value = "anonymous", value_name = "NAME")]
    subject: String,
    /// Do not let the conversation be logged or learned from
    #[arg(long)]
    no_store: bool,
}

/// What a line asks for.
#[derive(Debug, PartialEq)]
enum Line<'a> {
    Nothing,
    Say(&'a str),
    Feedback { score: f32, correction: Option<&'a str> },
    New,
    Help,
    Quit,
    Unclear(String),
}

impl<'a> Line<'a> {
    fn parse(text: &'a str) -> Self {
        let text = text.trim();
        if !text.starts_with('/') {
            return if text.is_empty() { Self::Nothing } else { Self::Say(text) };
        }
        let (command, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        match command {
            "/new" => Self::New,
            "/help" => Self::Help,
            "/quit" | "/exit" => Self::Quit,
            "/feedback" => Self::feedback(rest.trim()),
            other => Self::Unclear(format!("`{other}` is not a command; {HELP}")),
        }
    }

    fn feedback(rest: &'a str) -> Self {
        let (score, correction) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        match score.parse() {
            Ok(score) if (-1.0..=1.0).contains(&score) => {
                let correction = Some(correction.trim()).filter(|text| !text.is_empty());
                Self::Feedback { score, correction }
            }
            _ => Self::Unclear("give a score from -1 to 1, then the truth if you like: /feedback -1 It is in Bergen.".to_owned()),
        }
    }
}

/// An answer as a line of JSON.
#[derive(Serialize)]
struct Said<'a> {
    answer: &'a str,
    generation: u64,
    /// What feedback refers to.
    id: &'a str,
    session: &'a str,
}

/// A notice as a line of JSON.
#[derive(Serialize)]
struct Notice<'a> {
    notice: &'a str,
}

struct Talk {
    api: Api,
    format: Format,
    subject: String,
    store: bool,
    session: String,
    messages: Vec<Message>,
    last: Option<Answer>,
}

impl Talk {
    fn begin(&mut self) {
        let now = jiff::Timestamp::now().as_microsecond();
        self.session = format!("chat-{}-{now}", std::process::id());
        self.messages.clear();
        self.last = None;
    }

    async fn say(&mut self, text: &str) -> anyhow::Result<()> {
        self.messages.push(Message::user(text));
        let who = Who { session: &self.session, subject: &self.subject, store: self.store };
        let format = self.format;
        let show = |piece: &str| {
            if format == Format::Table {
                print!("{piece}");
                // A terminal that went away is noticed at the next line.
                io::stdout().flush().ok();
            }
        };
        match self.api.stream(who, &self.messages, show).await {
            Ok(answer) => {
                match format {
                    Format::Table => output::line(&mark(&answer))?,
                    Format::Json => output::line(&serde_json::to_string(&Said {
                        answer: &answer.text,
                        generation: answer.generation,
                        id: &answer.interaction,
                        session: &self.session,
                    })?)?,
                }
                self.messages.push(Message::assistant(answer.text.clone()));
                self.last = Some(answer);
            }
            Err(error) => {
                self.messages.pop();
                return Err(error).advise("asking the server", "say it again, begin a /new session, or look at the server's log");
            }
        }
        Ok(())
    }

    async fn feedback(&self, score: f32, correction: Option<&str>) -> anyhow::Result<()> {
        if !self.store {
            return self.notice("nothing of this conversation is kept, so that there is nothing to judge");
        }
        let Some(last) = &self.last else {
            return self.notice("there is no answer to judge yet");
        };
        let given = self.api.feedback(&self.subject, &last.interaction, score, correction).await;
        given.advise("giving feedback", "try again; it was not stored")?;
        self.notice("noted; the next night reads it")
    }

    fn notice(&self, text: &str) -> anyhow::Result<()> {
        match self.format {
            Format::Table => output::line(text),
            Format::Json => output::line(&serde_json::to_string(&Notice { notice: text })?),
        }
    }
}

/// Which generation answered.
fn mark(answer: &Answer) -> String {
    if io::stdout().is_terminal() {
        format!("  \x1b[2m(generation {})\x1b[0m", answer.generation)
    } else {
        format!("  (generation {})", answer.generation)
    }
}

pub(super) async fn run(global: &Global, args: ChatArgs) -> anyhow::Result<Outcome> {
    let address = address::running(&global.state).await?;
    let address = address.ok_or_else(|| {
        refused(format!("no server runs on the state directory {}", global.state.display()), "start one with `nocturne up`")
    })?;
    let serves = address.api.ok_or_else(|| {
        refused(
            format!("what runs on the state directory {} serves no model", global.state.display()),
            "name an inference process's with --state",
        )
    })?;
    let api = Api::connect(&[serves]).await?;
    let mut talk = Talk {
        api,
        format: global.format,
        subject: args.subject,
        store: !args.no_store,
        session: String::new(),
        messages: Vec::new(),
        last: None,
    };
    talk.begin();
    eprintln!("{HELP}");
    converse(&mut talk).await?;
    Ok(Outcome::Done)
}

async fn converse(talk: &mut Talk) -> anyhow::Result<()> {
    let mut lines = Lines::open()?;
    let mut failed = 0;
    while let Some(text) = tokio::task::block_in_place(|| lines.next())? {
        let done = match Line::parse(&text) {
            Line::Nothing => Ok(()),
            Line::Say(text) => talk.say(text).await,
            Line::Feedback { score, correction } => talk.feedback(score, correction).await,
            Line::New => {
                talk.begin();
                talk.notice("a new session")
            }
            Line::Help => talk.notice(HELP),
            Line::Unclear(message) => talk.notice(&message),
            Line::Quit => break,
        };
        if let Err(error) = done {
            failed += 1;
            eprintln!("{}", crate::failure::render(&error));
        }
    }
    match (&lines, failed) {
        // Who sits at a terminal has seen it; a script has only the exit code.
        (Lines::Piped(_), 1..) => {
            Err(refused(format!("talking to the server: {} failed", output::counted(failed, "line")), "the reasons are above"))
        }
        _ => Ok(()),
    }
}

/// Where lines come from: an editor, or whatever is piped in.
enum Lines {
    Typed(Box<DefaultEditor>),
    Piped(io::Lines<io::StdinLock<'static>>),
}

impl Lines {
    fn open() -> anyhow::Result<Self> {
        if io::stdin().is_terminal() {
            Ok(Self::Typed(Box::new(DefaultEditor::new()?)))
        } else {
            Ok(Self::Piped(io::stdin().lines()))
        }
    }

    /// The next line; `None` at the end or after Ctrl-C.
    fn next(&mut self) -> anyhow::Result<Option<String>> {
        match self {
            Self::Piped(lines) => Ok(lines.next().transpose()?),
            Self::Typed(editor) => match editor.readline("> ") {
                Ok(text) => {
                    // A line that the history does not take is only missing from the history.
                    editor.add_history_entry(text.as_str()).ok();
                    Ok(Some(text))
                }
                Err(ReadlineError::Eof | ReadlineError::Interrupted) => Ok(None),
                Err(error) => Err(error.into()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        assert_eq!(Line::parse("  "), Line::Nothing);
        assert_eq!(Line::parse(" Hello. "), Line::Say("Hello."));
        assert_eq!(Line::parse("/new"), Line::New);
        assert_eq!(Line::parse("/feedback 1"), Line::Feedback { score: 1.0, correction: None });
        let corrected = Line::Feedback { score: -1.0, correction: Some("It is in Bergen.") };
        assert_eq!(Line::parse("/feedback -1  It is in Bergen."), corrected);
        for unclear in ["/feedback", "/feedback 7", "/shout"] {
            assert!(matches!(Line::parse(unclear), Line::Unclear(_)), "{unclear}");
        }
    }
}
