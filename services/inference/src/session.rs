//! Sessions: what the model remembers of a conversation, and which part of a request it has already read.
//!
//! A client sends its whole message list each time. Messages, not tokens, are compared with the session's history: the text of an
//! answer need not be cut into the same tokens again when it comes back as a message, and a history that is a prefix must be found
//! all the same. A state continues only when all of its history is a prefix of the request, for recurrent memories cannot forget
//! the last few tokens; and only under the generation that computed it. Otherwise the tokens are read again from the start.
//!
//! The store holds one state a session, marked with its generation, and the history without one: after a swap the first request
//! computes the state anew from the history. One state a generation would double the memory for the rare rollback in mid-session.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use nocturne_wire::{
    generation::GenerationName,
    id::{SessionId, SubjectId, TenantId},
    record::{Message, Role},
};

pub(crate) use self::store::SessionStore;
use crate::engine::{Engine, Unwritable};

mod layout;
mod store;
#[cfg(test)]
mod tests;

/// A session belongs to its tenant and its subject: another one that names it gets another session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionKey {
    pub(crate) tenant: TenantId,
    pub(crate) subject: SubjectId,
    pub(crate) session: SessionId,
}

/// One message of a history: who said what, as a digest, and where its tokens end (where messages have tokens of their own).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    digest: u64,
    end: usize,
}

/// The tokens of a conversation, message by message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct History {
    marks: Vec<Mark>,
    tokens: Vec<u32>,
    /// What was said, where conversations can be written only as a whole.
    texts: Vec<(Role, Arc<str>)>,
    /// What the template wrote for the last request, for the same reason: `tokens` hold answers as the model said them.
    written: Vec<u32>,
    /// Where the last answer begins in `tokens`.
    asked: usize,
    /// Interactions so far.
    turns: u32,
}

impl History {
    fn truncate(&mut self, messages: usize) {
        self.marks.truncate(messages);
        self.tokens.truncate(self.marks.last().map_or(0, |mark| mark.end));
        self.texts.truncate(messages);
    }

    fn push(&mut self, digest: u64, tokens: &[u32]) {
        self.tokens.extend_from_slice(tokens);
        self.marks.push(Mark { digest, end: self.tokens.len() });
    }
}

/// A state with what it has read.
pub(crate) struct Held<S> {
    /// The generation that computed it.
    pub(crate) generation: GenerationName,
    /// How many tokens of the history it has read; the last token of an answer and its end are read with the next request.
    pub(crate) consumed: usize,
    /// The state.
    pub(crate) state: S,
}

/// A kept session.
pub(crate) struct Session<S> {
    pub(crate) history: History,
    pub(crate) held: Option<Arc<Held<S>>>,
}

/// How a request continues a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// There was no history.
    New,
    /// The state was continued.
    Continued,
    /// There was a history, but its state was of no use.
    Recomputed,
}

impl Reuse {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Continued => "continued",
            Self::Recomputed => "recomputed",
        }
    }
}

/// What has to be read for a request.
pub(crate) struct Plan<S> {
    /// Everything before the answer, with the tokens that open it.
    pub(crate) prompt: Vec<u32>,
    /// The state to start from.
    pub(crate) held: Option<Arc<Held<S>>>,
    /// Tokens of the prompt that belong to new messages; they end `opening` tokens before the prompt's end.
    pub(crate) fresh: usize,
    /// Tokens that open the answer.
    pub(crate) opening: usize,
    /// The first message of the request that the session did not know.
    pub(crate) first_new: usize,
    /// Number of this interaction within the session.
    pub(crate) turn: u32,
    /// How the session is continued.
    pub(crate) reuse: Reuse,
    /// The session's history with the new messages; `None` when nothing is kept (bare text).
    pub(crate) keep: Option<(SessionKey, History)>,
}

impl<S> Plan<S> {
    /// Tokens that the state has already read.
    pub(crate) fn cached(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.consumed)
    }

    /// A plan for bare text: no session, no markers.
    pub(crate) fn text(prompt: Vec<u32>) -> Self {
        let fresh = prompt.len();
        Self { prompt, held: None, fresh, opening: 0, first_new: 0, turn: 0, reuse: Reuse::New, keep: None }
    }
}

/// How a request's messages relate to the session's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The whole list, as OpenAI clients send it.
    Whole,
    /// Only the new messages.
    Continue,
}

/// Why a request cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unplannable {
    /// The session of a [`Form::Continue`] request is not kept (any more).
    Expired,
    /// The conversation cannot be written.
    Unwritable(Unwritable),
}

/// Identifies messages within one process.
#[derive(Clone, Default)]
pub(crate) struct Digests(RandomState);

impl Digests {
    /// White space around a text is not part of its identity: clients strip it.
    pub(crate) fn of(&self, role: Role, text: &str) -> u64 {
        self.0.hash_one((role, text.trim()))
    }
}

/// Plans how to read a request: a pure function of the session, the generation and the messages.
pub(crate) fn plan<E: Engine>(
    engine: &E,
    digests: &Digests,
    known: Option<Session<E::State>>,
    generation: &GenerationName,
    (key, messages, form): (SessionKey, &[Message], Form),
) -> Result<Plan<E::State>, Unplannable> {
    let had_history = known.is_some();
    let told = messages.iter().filter(|message| message.role == Role::Assistant).count() as u32;
    let (mut history, held) = match (known, form) {
        (Some(session), Form::Whole | Form::Continue) => (session.history, session.held),
        (None, Form::Whole) => (History { turns: told, ..History::default() }, None),
        (None, Form::Continue) => return Err(Unplannable::Expired),
    };
    let shared = match form {
        Form::Continue => history.marks.len(),
        Form::Whole => shared_messages(&history, digests, messages),
    };
    let new = &messages[if form == Form::Continue { 0 } else { shared }..];
    let whole = Request { messages, new, form, shared };
    let read = if engine.is_local() {
        local(engine, digests, &mut history, &whole)
    } else {
        layout::read(engine, digests, &mut history, &whole).map_err(Unplannable::Unwritable)?
    };
    let held = held.filter(|held| read.continues && held.generation == *generation);
    Ok(Plan {
        prompt: read.prompt,
        fresh: read.fresh,
        opening: read.opening,
        first_new: first_new(messages.len() - new.len(), messages),
        turn: history.turns,
        reuse: match (had_history, &held) {
            (false, _) => Reuse::New,
            (true, Some(_)) => Reuse::Continued,
            (true, None) => Reuse::Recomputed,
        },
        held,
        keep: Some((key, history)),
    })
}

/// A request's messages beside a history.
struct Request<'a> {
    messages: &'a [Message],
    /// Those that the history does not hold.
    new: &'a [Message],
    form: Form,
    /// Messages of the history that the request goes on from.
    shared: usize,
}

/// A request as tokens.
struct Read {
    prompt: Vec<u32>,
    /// Whether all of the history is a prefix of the prompt.
    continues: bool,
    fresh: usize,
    opening: usize,
}

/// Messages have tokens of their own: new ones are written after the others.
fn local<E: Engine>(engine: &E, digests: &Digests, history: &mut History, request: &Request<'_>) -> Read {
    let continues = request.shared == history.marks.len();
    if !continues {
        history.truncate(request.shared);
    }
    let before = history.tokens.len();
    for message in request.new {
        history.push(digests.of(message.role, &message.content), &engine.message(message.role, &message.content));
    }
    let opening = engine.open_answer();
    let prompt = [&history.tokens[..], &opening[..]].concat();
    Read { prompt, continues, fresh: history.tokens.len() - before, opening: opening.len() }
}

/// Where the messages begin that no earlier request was about. What stands before the last answer in a list was answered, and logged or not logged as its own
/// request wanted, even when this process knows nothing of that session any more. A list that is sent again is still a request: its newest message is
/// what was asked.
fn first_new(shared: usize, messages: &[Message]) -> usize {
    let answered = messages.iter().rposition(|m| m.role == Role::Assistant).map_or(0, |at| at + 1);
    shared.max(answered).min(messages.len().saturating_sub(1))
}

fn shared_messages(history: &History, digests: &Digests, messages: &[Message]) -> usize {
    let same = |(mark, message): &(&Mark, &Message)| mark.digest == digests.of(message.role, &message.content);
    history.marks.iter().zip(messages).take_while(same).count()
}

/// An answer that a history grows by.
pub(crate) struct Said<'a> {
    /// Its text as the client saw it.
    pub(crate) text: &'a str,
    /// Its tokens without the one that ends a turn.
    pub(crate) tokens: &'a [u32],
    /// Whether the tokens say more than the text: a stop string cut it.
    pub(crate) cut: bool,
}

/// The session after an answer. `state` has read `consumed` tokens of prompt and answer.
pub(crate) fn after<E: Engine>(
    engine: &E,
    digests: &Digests,
    mut history: History,
    said: &Said<'_>,
    (generation, consumed, state): (&GenerationName, usize, E::State),
) -> Session<E::State> {
    history.turns += 1;
    let digest = digests.of(Role::Assistant, said.text);
    if !engine.is_local() {
        layout::answered(&mut history, digest, said);
    } else if said.cut {
        history.push(digest, &engine.message(Role::Assistant, said.text));
    } else {
        history.push(digest, &[&engine.open_answer()[..], said.tokens, &[engine.end()]].concat());
    }
    // What was cut off must not be remembered, and a recurrent state cannot forget it.
    let held = (!said.cut).then(|| Arc::new(Held { generation: generation.clone(), consumed, state }));
    Session { history, held }
}
