//! Kept rows as the sessions that they were.

use std::collections::BTreeMap;

use jiff::Timestamp;
use nocturne_columns::CuratedRow;
use nocturne_model::voice::Line;
use nocturne_wire::{SessionId, SubjectId, TenantId, record::Role};

use crate::names;

/// What the model answers to a correction that only feedback brought: it was never answered by day.
const NOTED: &str = "Thanks, I will remember that.";

/// One exchange of a session.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Exchange {
    /// When it was last said: a repetition that curation collapsed counts, because contradictions are settled by what was said last.
    pub(crate) time: Timestamp,
    /// What the user said.
    pub(crate) user: String,
    /// What the model answered; `None` when feedback said that it was wrong.
    pub(crate) answer: Option<String>,
}

/// One session, in the order of its turns, corrections by feedback put where they belong.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Session {
    /// Who spoke.
    pub(crate) subject: SubjectId,
    /// Its exchanges.
    pub(crate) exchanges: Vec<Exchange>,
}

impl Session {
    /// When the session ended.
    pub(crate) fn ended(&self) -> Timestamp {
        self.exchanges.iter().map(|e| e.time).max().unwrap_or(Timestamp::MIN)
    }

    /// When a name was last said in it.
    pub(crate) fn last_mention(&self, name: &str) -> Option<Timestamp> {
        self.exchanges.iter().filter(|e| names::mentions(&e.user, name)).map(|e| e.time).max()
    }

    /// Whether any of its messages holds a name.
    pub(crate) fn mentions(&self, name: &str) -> bool {
        self.exchanges.iter().any(|e| names::mentions(&e.user, name))
    }

    /// The conversation of some of its exchanges.
    pub(crate) fn lines<'a>(exchanges: impl Iterator<Item = &'a Exchange>) -> Vec<Line> {
        exchanges
            .flat_map(|e| {
                let answer = e.answer.as_deref().unwrap_or(NOTED);
                [Line::user(&e.user), Line { role: Role::Assistant, text: answer.to_owned() }]
            })
            .collect()
    }
}

/// Groups kept rows by tenant, subject and session, in the order of what was said last in each. A row whose feedback carries a correction is followed by the correction.
pub(crate) fn sessions(rows: &[CuratedRow]) -> Vec<Session> {
    let mut groups: BTreeMap<(TenantId, SubjectId, SessionId), Vec<&CuratedRow>> = BTreeMap::new();
    for row in rows.iter().filter(|r| r.kept) {
        let said = &row.interaction;
        let key = (said.tenant.clone(), said.subject.clone(), said.session.clone());
        groups.entry(key).or_default().push(row);
    }
    let mut sessions: Vec<Session> = groups
        .into_iter()
        .map(|((_, subject, _), mut rows)| {
            rows.sort_by_key(|r| (r.interaction.turn, r.interaction.time));
            let mut exchanges: Vec<Exchange> = rows.iter().flat_map(|r| exchanges(r)).collect();
            // What was said again moves to where it was said again.
            exchanges.sort_by_key(|e| e.time);
            Session { subject, exchanges }
        })
        .filter(|s| !s.exchanges.is_empty())
        .collect();
    sessions.sort_by_key(Session::ended);
    sessions
}

fn exchanges(row: &CuratedRow) -> Vec<Exchange> {
    let users = row.interaction.messages.iter().filter(|m| m.role == Role::User).map(|m| m.content.clone());
    let user = users.collect::<Vec<_>>().join(" ");
    if user.is_empty() {
        return Vec::new();
    }
    let answer = row.answer_usable.then(|| row.interaction.answer.clone());
    // A question that was asked again after its answer was corrected takes nothing back; a statement that was made again does.
    let is_corrected = row.correction.is_some() && !row.answer_usable;
    let time = if is_corrected { row.interaction.time } else { row.repeated_until };
    let mut out = vec![Exchange { time, user, answer }];
    if let Some(correction) = &row.correction {
        let time = row.corrected_at.unwrap_or(row.repeated_until);
        out.push(Exchange { time, user: correction.clone(), answer: None });
    }
    out
}

#[cfg(test)]
mod tests {
    use nocturne_wire::Interaction;

    use super::*;

    fn row(subject: &str, session: &str, turn: u32, second: i64, said: &str, answer: &str) -> CuratedRow {
        let (id, time) = (format!("test-0-{second}"), Timestamp::from_second(second).unwrap());
        CuratedRow {
            interaction: Interaction { turn, answer: answer.into(), ..nocturne_records::said(id, time, subject, session, said) },
            kept: true,
            reason: None,
            answer_usable: true,
            score: None,
            correction: None,
            corrected_at: None,
            repeated_until: time,
        }
    }

    fn said(session: &Session) -> Vec<&str> {
        session.exchanges.iter().map(|e| e.user.as_str()).collect()
    }

    #[test]
    fn rows_become_sessions_in_the_order_of_their_turns() {
        let rows = [
            row("ada", "s1", 1, 20, "second", "b"),
            row("bo", "s1", 0, 15, "of another subject", "c"),
            row("ada", "s1", 0, 10, "first", "a"),
        ];
        let sessions = sessions(&rows);
        assert_eq!(sessions.iter().map(said).collect::<Vec<_>>(), [vec!["of another subject"], vec!["first", "second"]]);
    }

    #[test]
    fn dropped_rows_are_not_heard() {
        let mut dropped = row("ada", "s1", 0, 10, "secret", "a");
        dropped.kept = false;
        assert_eq!(sessions(&[dropped]), []);
    }

    #[test]
    fn a_correction_follows_what_it_corrects_and_a_wrong_answer_is_not_heard() {
        let mut wrong = row("ada", "s1", 0, 10, "Where does Mirel live?", "In Rome.");
        wrong.answer_usable = false;
        wrong.correction = Some("Mirel lives in Oslo.".into());
        let sessions = sessions(&[wrong]);
        assert_eq!(said(&sessions[0]), ["Where does Mirel live?", "Mirel lives in Oslo."]);
        let lines = Session::lines(sessions[0].exchanges.iter());
        assert!(lines.iter().all(|line| line.text != "In Rome."));
    }

    #[test]
    fn what_was_said_again_after_its_correction_holds() {
        let mut row = row("ada", "s1", 0, 10, "Mirel lives in Rome.", "a");
        row.correction = Some("Mirel lives in Oslo.".into());
        row.corrected_at = Some(Timestamp::from_second(20).unwrap());
        assert_eq!(said(&sessions(&[row.clone()])[0]).last(), Some(&"Mirel lives in Oslo."));
        row.repeated_until = Timestamp::from_second(30).unwrap();
        assert_eq!(said(&sessions(&[row])[0]).last(), Some(&"Mirel lives in Rome."));
    }

    #[test]
    fn asking_again_takes_no_correction_back() {
        let mut row = row("ada", "s1", 0, 10, "Where does Mirel live?", "In Rome.");
        (row.correction, row.answer_usable) = (Some("Mirel lives in Oslo.".into()), false);
        row.corrected_at = Some(Timestamp::from_second(20).unwrap());
        row.repeated_until = Timestamp::from_second(30).unwrap();
        assert_eq!(said(&sessions(&[row])[0]), ["Where does Mirel live?", "Mirel lives in Oslo."]);
    }

    #[test]
    fn what_was_repeated_later_is_the_later_session() {
        let mut early = row("ada", "s1", 0, 10, "Mirel lives in Oslo.", "a");
        early.repeated_until = Timestamp::from_second(99).unwrap();
        let later = row("bo", "s2", 0, 50, "Mirel lives in Rome.", "a");
        let sessions = sessions(&[early, later]);
        assert_eq!(said(sessions.last().unwrap()), ["Mirel lives in Oslo."]);
    }
}
