//! Chat templates: the Jinja programs by which a checkpoint says how a conversation is written.
//!
//! The environment is that of transformers (`utils/chat_template_utils.py`): `trim_blocks` and `lstrip_blocks`, loop controls, `raise_exception`,
//! `strftime_now`, a `tojson` like Python's, and Python's methods of strings and maps; `tools` and `documents` are none, and the special tokens go by their names.
//! What `{% generation %}` marks is written and not marked. A text `%` values, which Jinja has from Python, is an error here, as are templates that load others.
//!
//! A template is a program of a stranger's. It sees one conversation and nothing else: there is no loader, and values have no methods that change
//! them. Its work is bounded by fuel and its output by a limit, both of which grow with the conversation, so that what one template costs too much
//! for a long conversation it costs too much for a short one.

use std::{collections::BTreeMap, io};

use jiff::civil::DateTime;
use minijinja::{Environment, Error, ErrorKind, Value, syntax::SyntaxConfig};
use nocturne_wire::record::Role;
use serde::{Deserialize, Serialize};

use super::error::ImportError;

mod python;
pub(crate) use python::is_space;
#[cfg(test)]
mod tests;

/// Longest template that is compiled, bytes. Those that are published have at most some 30 thousand.
pub const LONGEST: usize = 1 << 20;

/// Fuel for any conversation, in steps of the engine: some 50 ms.
const FUEL: u64 = 1_000_000;
/// More of it for every message; those that are published take some hundreds.
const FUEL_PER_MESSAGE: u64 = 5_000;
/// How often it may write, or look at, every byte of a conversation.
const TIMES: usize = 8;
/// What it may write around that, bytes, for every message once more than one.
const AROUND: usize = 1 << 18;
/// Calls and loops within each other.
const DEPTH: usize = 200;

/// The name under which the engine keeps the one template; no suffix of it asks for escapes of HTML.
const NAME: &str = "chat_template";

/// What of a checkpoint a template needs besides the messages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateSource {
    /// The Jinja program.
    pub template: String,
    /// The text of special tokens by the names that templates know them by: `bos_token`, `eos_token`, …
    pub tokens: BTreeMap<String, String>,
}

/// A compiled chat template.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: TemplateSource,
    now: Option<DateTime>,
}

impl ChatTemplate {
    /// Compiles a template; `file` says where it was found.
    ///
    /// # Errors
    /// When it is not Jinja, or longer than [`LONGEST`].
    pub fn new(file: &str, source: TemplateSource) -> Result<Self, ImportError> {
        if source.template.len() > LONGEST {
            let why = format!("a chat template of {} bytes; {LONGEST} are the most", source.template.len());
            return Err(ImportError::Inconsistent { file: file.to_owned(), why });
        }
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        let refused = |source| ImportError::Template { file: file.to_owned(), source };
        environment.set_syntax(syntax.map_err(refused)?);
        environment.set_recursion_limit(DEPTH);
        python::install(&mut environment);
        environment.add_function("raise_exception", raise_exception);
        environment.add_template_owned(NAME, without_marks(&source.template)).map_err(refused)?;
        Ok(Self { environment, source, now: None })
    }

    /// The same template at a time that stands still.
    #[must_use]
    pub fn at(self, now: DateTime) -> Self {
        Self { now: Some(now), ..self }
    }

    /// What it was compiled from.
    pub fn source(&self) -> &TemplateSource {
        &self.source
    }

    /// Writes a conversation; `open` adds what precedes an answer.
    ///
    /// # Errors
    /// When the template refuses the conversation, or does too much or writes too much.
    pub fn render(&self, messages: &[(Role, &str)], open: bool) -> Result<String, ImportError> {
        let bytes: usize = messages.iter().map(|(_, text)| text.len()).sum();
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(FUEL + FUEL_PER_MESSAGE * messages.len() as u64 + (TIMES * bytes) as u64));
        let now = self.now.unwrap_or_else(|| jiff::Zoned::now().datetime());
        environment.add_function("strftime_now", move |format: &str| strftime(now, format));
        let limit = TIMES * bytes + AROUND * messages.len().max(1);
        let mut written = Bounded { bytes: Vec::new(), limit };
        let template =
            environment.get_template(NAME).map_err(|source| ImportError::Render { messages: messages.len(), source })?;
        let rendered = template.render_captured_to(self.context(messages, open), &mut written).map(drop);
        if written.bytes.len() > limit {
            return Err(ImportError::TooLong { limit, bytes });
        }
        rendered.map_err(|source| ImportError::Render { messages: messages.len(), source })?;
        // The engine writes strings only.
        Ok(String::from_utf8_lossy(&written.bytes).into_owned())
    }

    fn context(&self, messages: &[(Role, &str)], open: bool) -> Value {
        let message = |(role, text): &(Role, &str)| Value::from_pairs([("role", name_of(*role)), ("content", *text)]);
        let tokens = self.source.tokens.iter().map(|(name, text)| (name.as_str(), Value::from(text.as_str())));
        let own = [
            ("messages", Value::from(messages.iter().map(message).collect::<Vec<_>>())),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
            ("add_generation_prompt", Value::from(open)),
        ];
        Value::from_pairs(tokens.chain(own))
    }
}

/// What templates call a role.
const fn name_of(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    }
}

/// What a template refuses in its own words.
fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_owned()))
}

fn strftime(now: DateTime, format: &str) -> Result<String, Error> {
    jiff::fmt::strtime::format(format, now)
        .map_err(|error| Error::new(ErrorKind::InvalidOperation, format!("the format of a time, `{format}`")).with_source(error))
}

/// Jinja as the engine has it: line ends as Jinja's lexer makes them, and blocks that only mark what the model says as blocks that always count.
fn without_marks(template: &str) -> String {
    let template = template.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(template.len());
    let mut rest = template.as_str();
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        out.push_str(before);
        let name = tag.trim_start_matches(['-', '+']).trim_start();
        let marks = [("generation", "if true"), ("endgeneration", "endif")];
        let found = marks.into_iter().find_map(|(mark, block)| {
            let after = name.strip_prefix(mark)?;
            let end = after.trim_start().trim_start_matches(['-', '+']);
            end.starts_with("%}").then_some((after, block))
        });
        match found {
            Some((after, block)) => {
                out.push_str(&tag[..tag.len() - name.len()]);
                out.push_str(block);
                rest = after;
            }
            None => rest = tag,
        }
    }
    out.push_str(rest);
    out
}

/// Takes so many bytes and then no more.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = (self.limit + 1).saturating_sub(self.bytes.len());
        if room == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let taken = bytes.len().min(room);
        self.bytes.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
