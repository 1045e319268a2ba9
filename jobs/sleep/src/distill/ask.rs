//! Questions about what was told, and whom they are about.

use std::collections::{BTreeMap, BTreeSet};

use nocturne_model::SessionState;

use super::{ASK, Candidate, Distiller, TRANSFER};
use crate::{
    names::{differing, settle},
    sessions::Session,
};

/// Messages whose states are held at the same time.
const HEARD_AT_ONCE: usize = 480;

impl Distiller<'_> {
    /// Every message is followed by the request to ask about it, several times; whatever ends in a question mark or names something is kept.
    pub(super) fn ask(&mut self, sessions: &[Session]) -> Vec<(String, usize)> {
        let mut heard = Vec::new();
        let mut owners = Vec::new();
        for (n, session) in sessions.iter().enumerate() {
            for exchange in &session.exchanges {
                heard.push(self.voice.tokens(&Session::lines(std::iter::once(exchange))));
                owners.push(n);
            }
        }
        let mut found = BTreeSet::new();
        // A state holds keys and values of all it has read: only so many are held at once, however long the day was.
        for (heard, owners) in heard.chunks(HEARD_AT_ONCE).zip(owners.chunks(HEARD_AT_ONCE)) {
            let states = self.voice.read(self.zero, heard);
            for _ in 0..self.settings.asks {
                let choice = self.sampled();
                let asked: Vec<(&SessionState, &str)> = states.iter().map(|s| (s, ASK)).collect();
                for (spoken, owner) in self.voice.answer(self.zero, &asked, choice, super::ANSWER_TOKENS).into_iter().zip(owners)
                {
                    if spoken.ended {
                        found.insert((spoken.text, *owner));
                    }
                }
            }
        }
        self.out.questions = found.len() as u64;
        found.into_iter().collect()
    }

    /// Finds the name in every question by asking the same about somebody else; the name must stand in the session.
    pub(super) fn name(&mut self, sessions: &[Session], asked: &[(String, usize)]) -> Vec<Candidate> {
        let fresh = SessionState::new(self.voice.base());
        let requests: Vec<String> = asked.iter().map(|(q, _)| format!("{TRANSFER} {q}")).collect();
        let mut found: Vec<(usize, String, String)> = Vec::new();
        for _ in 0..self.settings.names {
            let choice = self.sampled();
            let prompts: Vec<(&SessionState, &str)> = requests.iter().map(|r| (&fresh, r.as_str())).collect();
            for (n, spoken) in self.voice.answer(self.zero, &prompts, choice, super::ANSWER_TOKENS).into_iter().enumerate() {
                let Some((name, other)) = differing(&asked[n].0, &spoken.text).filter(|_| spoken.ended) else { continue };
                if sessions[asked[n].1].mentions(&name) {
                    found.push((n, name, other));
                }
            }
        }
        let names: BTreeSet<String> = found.iter().map(|(_, name, _)| name.clone()).collect();
        let told = sessions.iter().flat_map(|s| &s.exchanges).map(|e| e.user.as_str());
        let texts: Vec<&str> = told.chain(asked.iter().map(|(question, _)| question.as_str())).collect();
        let settled = settle(&names, &texts);
        let mut candidates = BTreeMap::new();
        for (n, name, other) in found {
            let (question, session) = &asked[n];
            let meant = &settled[&name];
            if question.contains(meant.as_str()) && sessions[*session].mentions(meant) {
                candidates.insert((meant.clone(), question.clone()), *session);
            }
            if *meant == name && !sessions.iter().any(|s| s.mentions(&other)) {
                self.strangers.entry(name).or_default().insert(other);
            }
        }
        candidates.into_keys().map(|(name, question)| Candidate { question, name }).collect()
    }
}
