//! What was ever said about a name, as a state to answer from.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use nocturne_model::{SessionState, voice::Line};

use super::{Candidate, Distiller, words::words};
use crate::{
    names,
    sessions::{Exchange, Session},
};

/// What was ever said about a name.
#[derive(Debug)]
pub(super) struct Context {
    /// After reading it.
    pub(super) state: SessionState,
    /// The words that users said in it: what an answer adds to them is made up.
    pub(super) words: HashSet<String>,
}

impl Distiller<'_> {
    /// What was ever said about each name, in the order of time.
    pub(super) fn contexts(&mut self, sessions: &[Session], candidates: &[Candidate]) -> BTreeMap<String, Context> {
        let names: BTreeSet<&String> = candidates.iter().map(|c| &c.name).collect();
        let dossiers: Vec<Vec<&Exchange>> = names.iter().map(|name| self.dossier(sessions, name)).collect();
        let lines = |dossier: &Vec<&Exchange>| self.voice.tokens(&Session::lines(dossier.iter().copied()));
        let conversations: Vec<Vec<u32>> = dossiers.iter().map(lines).collect();
        let states = self.voice.read(self.zero, &conversations);
        let said = dossiers.iter().map(|dossier| dossier.iter().flat_map(|e| words(&e.user)).collect());
        let contexts = states.into_iter().zip(said).map(|(state, words)| Context { state, words });
        names.into_iter().cloned().zip(contexts).collect()
    }

    /// The session that named it last as it was; from earlier ones only what names it. The oldest goes first when all of it is too long.
    fn dossier<'s>(&self, sessions: &'s [Session], name: &str) -> Vec<&'s Exchange> {
        let mut about: Vec<&Session> = sessions.iter().filter(|s| s.mentions(name)).collect();
        about.sort_by_key(|s| s.last_mention(name));
        let Some((last, earlier)) = about.split_last() else { return Vec::new() };
        let named =
            |session: &&'s Session| session.exchanges.iter().filter(|e| names::mentions(&e.user, name)).collect::<Vec<_>>();
        let mut dossier: Vec<&Exchange> = earlier.iter().flat_map(named).chain(&last.exchanges).collect();
        let lengths: Vec<usize> = dossier.iter().map(|e| self.length(e)).collect();
        let mut total: usize = lengths.iter().sum();
        let mut gone = 0;
        while total > self.settings.max_context && gone + 1 < dossier.len() {
            total -= lengths[gone];
            gone += 1;
        }
        dossier.drain(..gone);
        dossier
    }

    /// Tokens of an exchange.
    pub(super) fn length(&self, exchange: &Exchange) -> usize {
        let lines: Vec<Line> = Session::lines(std::iter::once(exchange));
        self.voice.tokens(&lines).len()
    }
}
