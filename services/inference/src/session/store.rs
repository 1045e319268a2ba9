//! The bounded store: the session that was used longest ago leaves first.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use nocturne_wire::record::Role;

use super::{History, Session, SessionKey};

/// Bookkeeping of one session beside its tokens and state: keys, maps, counters.
const SESSION_OVERHEAD_BYTES: usize = 400;
const TOKEN_BYTES: usize = size_of::<u32>();
const MARK_BYTES: usize = size_of::<super::Mark>();

struct Entry<S> {
    session: Session<S>,
    bytes: usize,
    used: u64,
}

/// Sessions by key, bounded by bytes and by count.
pub(crate) struct SessionStore<S> {
    max_bytes: usize,
    max_count: usize,
    bytes: usize,
    clock: u64,
    evicted: u64,
    entries: HashMap<SessionKey, Entry<S>>,
    by_use: BTreeMap<u64, SessionKey>,
}

/// How full a store is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fill {
    pub(crate) sessions: usize,
    pub(crate) bytes: usize,
    pub(crate) evicted: u64,
}

impl<S> SessionStore<S> {
    pub(crate) fn new(max_bytes: usize, max_count: usize) -> Self {
        Self { max_bytes, max_count, bytes: 0, clock: 0, evicted: 0, entries: HashMap::new(), by_use: BTreeMap::new() }
    }

    /// A copy of a session (its state is shared); it counts as used now.
    pub(crate) fn get(&mut self, key: &SessionKey) -> Option<Session<S>> {
        let now = self.tick();
        let entry = self.entries.get_mut(key)?;
        self.by_use.remove(&entry.used);
        entry.used = now;
        self.by_use.insert(now, key.clone());
        Some(Session { history: entry.session.history.clone(), held: entry.session.held.as_ref().map(Arc::clone) })
    }

    /// Keeps a session and gives back those that had to leave for it, so that the caller frees them outside of a lock. A session
    /// whose state alone is over the limit is kept without its state.
    #[must_use = "what left is freed by the caller"]
    pub(crate) fn put(&mut self, key: SessionKey, mut session: Session<S>, state_bytes: usize) -> Vec<Session<S>> {
        let mut gone: Vec<_> = self.remove(&key).into_iter().collect();
        let mut bytes = SESSION_OVERHEAD_BYTES + history_bytes(&session.history);
        if session.held.is_some() && bytes + state_bytes <= self.max_bytes {
            bytes += state_bytes;
        } else {
            session.held = None;
        }
        if bytes > self.max_bytes {
            self.evicted += 1;
            gone.push(session);
            return gone;
        }
        while self.entries.len() >= self.max_count || self.bytes + bytes > self.max_bytes {
            let Some((_, oldest)) = self.by_use.first_key_value() else { break };
            let oldest = oldest.clone();
            gone.extend(self.remove(&oldest));
            self.evicted += 1;
        }
        let used = self.tick();
        self.bytes += bytes;
        self.by_use.insert(used, key.clone());
        self.entries.insert(key, Entry { session, bytes, used });
        gone
    }

    pub(crate) fn fill(&self) -> Fill {
        Fill { sessions: self.entries.len(), bytes: self.bytes, evicted: self.evicted }
    }

    fn remove(&mut self, key: &SessionKey) -> Option<Session<S>> {
        let entry = self.entries.remove(key)?;
        self.by_use.remove(&entry.used);
        self.bytes -= entry.bytes;
        Some(entry.session)
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

fn history_bytes(history: &History) -> usize {
    let texts: usize = history.texts.iter().map(|(_, text)| size_of::<(Role, Arc<str>)>() + text.len()).sum();
    (history.tokens.len() + history.written.len()) * TOKEN_BYTES + history.marks.len() * MARK_BYTES + texts
}
