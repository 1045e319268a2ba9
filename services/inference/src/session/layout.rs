//! Writing a request after what a session holds.
//!
//! Where a message's tokens are the same wherever it stands, only new messages are written. An imported base's chat template writes whole conversations, and
//! may write an old message differently once others follow (leave out what was thought, write something after an answer's end): the whole is written each time,
//! and what the session holds counts only as far as it is still what the template writes. An answer's own tokens stay where they say the same text.

use nocturne_wire::record::Role;

use super::{By, Form, History};
use crate::engine::{Engine, Turn, Unwritable};

/// A request as tokens.
pub(super) struct Written {
    /// Messages of the history that stay as they are.
    pub(super) shared: usize,
    /// The others.
    pub(super) new: Vec<(Role, String, Vec<u32>)>,
}

/// Writes `told` after a history whose first `alike` messages are meant to stay; of a whole list these are its first ones, too.
pub(super) fn write<E: Engine>(
    engine: &E,
    history: &mut History,
    told: &[(Role, &str)],
    alike: usize,
    form: Form,
) -> Result<Written, Unwritable> {
    let new = |messages: &[(Role, &str)], turns: Vec<Turn>| {
        let new = messages.iter().zip(turns).map(|((role, text), turn)| (*role, (*text).to_owned(), whole(&turn)));
        new.collect()
    };
    if engine.is_local() {
        let messages = if form == Form::Whole { &told[alike..] } else { told };
        return Ok(Written {
            shared: alike,
            new: new(messages, if messages.is_empty() { Vec::new() } else { engine.turns(messages)? }),
        });
    }
    let earlier = history.texts.clone();
    let kept = if form == Form::Continue { &earlier[..] } else { &[] };
    let all: Vec<(Role, &str)> = kept.iter().map(|(role, text)| (*role, &**text)).chain(told.iter().copied()).collect();
    let mut turns = engine.turns(&all)?;
    let shared = agreeing(engine, history, &turns[..alike]);
    if shared == history.marks.len() {
        end_last(engine, history, &turns[..shared]);
    }
    let turns = turns.split_off(shared);
    Ok(Written { shared, new: new(&all[shared..], turns) })
}

fn whole(turn: &Turn) -> Vec<u32> {
    [&turn.opening[..], &turn.said[..]].concat()
}

/// How many messages of a history are still what the template writes.
fn agreeing<E: Engine>(engine: &E, history: &History, turns: &[Turn]) -> usize {
    let mut from = 0;
    let same = |(mark, turn): &(&super::Mark, &Turn)| {
        let held = &history.tokens[from..mark.end];
        from = mark.end;
        match mark.by {
            By::Layout => held == whole(turn),
            By::Model => held
                .strip_prefix(&turn.opening[..])
                .is_some_and(|said| engine.decode(said).trim() == engine.decode(&turn.said).trim()),
        }
    };
    history.marks.iter().zip(turns).take_while(same).count()
}

/// Adds what the template writes after the end of the last answer, which the model did not say.
fn end_last<E: Engine>(engine: &E, history: &mut History, turns: &[Turn]) {
    let (Some(turn), Some(mark), Some(last)) = (turns.last(), history.marks.last_mut(), history.tokens.last()) else { return };
    if mark.by == By::Model && engine.ends().contains(last) {
        let after = turn.said.iter().rposition(|token| engine.ends().contains(token)).map_or(0, |at| at + 1);
        history.tokens.extend_from_slice(&turn.said[after.min(turn.said.len())..]);
        mark.end = history.tokens.len();
    }
}
