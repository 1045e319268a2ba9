//! Reading a request where only whole conversations can be written: an imported base's chat template may put messages together, write something after an answer's
//! end, and write old messages differently once others follow.
//!
//! The whole is written each time. A session goes on when what the template wrote last time is still how it begins, and the text that follows is what the
//! model answered, up to a token that ends answers: the answer's own tokens stay then, which another cut of the same text need not equal. Everything else is
//! read anew.

use nocturne_wire::record::Role;

use super::{Digests, Form, History, Mark, Read, Request, Said};
use crate::engine::{Engine, Unwritable};

/// Writes a request after a history, which becomes that of the request.
pub(super) fn read<E: Engine>(
    engine: &E,
    digests: &Digests,
    history: &mut History,
    request: &Request<'_>,
) -> Result<Read, Unwritable> {
    let earlier = std::mem::take(&mut history.texts);
    let kept = if request.form == Form::Continue { &earlier[..] } else { &[] };
    let told = request.messages.iter().map(|message| (message.role, message.content.as_str()));
    let all: Vec<(Role, &str)> = kept.iter().map(|(role, text)| (*role, &**text)).chain(told).collect();
    let written = engine.conversation(&all, true)?;
    if written.is_empty() {
        return Err(Unwritable("it writes nothing for them".into()));
    }
    let opening = engine.open_answer().len();
    let ends = if request.shared == history.marks.len() { answer_end(engine, history, &written) } else { None };
    let (prompt, new) = match ends {
        Some(end) => ([&history.tokens[..], &written[end..]].concat(), written.len() - end - 1),
        None => (written.clone(), beyond(engine, &all[..all.len() - request.new.len()], written.len())),
    };
    let mark = |(role, text): &(Role, &str)| Mark { digest: digests.of(*role, text), end: 0 };
    history.marks = all.iter().map(mark).collect();
    history.texts = all.iter().map(|(role, text)| (*role, (*text).into())).collect();
    history.tokens.clone_from(&prompt);
    history.written = written;
    Ok(Read { prompt, continues: ends.is_some(), fresh: new.saturating_sub(opening), opening })
}

/// Where the last answer ends in what is written now, when all before it is as it was and it says what the model said.
fn answer_end<E: Engine>(engine: &E, history: &History, written: &[u32]) -> Option<usize> {
    let before = history.written.len();
    let after = written.strip_prefix(&history.written[..]).filter(|_| before > 0)?;
    let length = after.iter().position(|token| engine.ends().contains(token))?;
    let spoken = history.tokens.get(history.asked..)?;
    let same = engine.decode(&after[..length]).trim() == engine.decode(spoken).trim();
    same.then_some(before + length)
}

/// How many of `written` tokens are not of these earlier messages.
fn beyond<E: Engine>(engine: &E, earlier: &[(Role, &str)], written: usize) -> usize {
    let known = if earlier.is_empty() { Ok(Vec::new()) } else { engine.conversation(earlier, false) };
    written.saturating_sub(known.map_or(0, |known| known.len()))
}

/// The history after an answer: `tokens` end with it, without what ends it.
pub(super) fn answered(history: &mut History, digest: u64, said: &Said<'_>) {
    history.asked = history.tokens.len();
    history.tokens.extend_from_slice(said.tokens);
    history.marks.push(Mark { digest, end: 0 });
    history.texts.push((Role::Assistant, said.text.into()));
    if said.cut {
        // The tokens say more than the text: nothing goes on from them.
        history.written.clear();
    }
}
