//! A day of one's own: JSON lines, one session a line.
//!
//! ```json
//! {"subject": "ada", "turns": [
//!     {"text": "The staff meeting is on Tuesday."},
//!     {"text": "When is the staff meeting?", "feedback": {"score": -1, "correction": "The staff meeting is on Tuesday."}}],
//!  "asks": [{"question": "On which day is the staff meeting?", "expect": "Tuesday"}, {"question": "Who is Bo?", "expect": null}]}
//! ```
//!
//! (Shown on several lines here; a session is one line of the file.) `subject` and `turns` are required. `store` (default true) says
//! whether the session may be stored. `feedback` is a verdict on the answer to its turn: `score` from -1 to 1, `correction` optional.
//! `asks` are asked before and after the night, in fresh sessions: `expect` is what a right answer contains as whole words, or null
//! when a right answer says that it does not know. Blank lines are skipped; unknown keys are errors.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::{
    conversation::TurnKind,
    day::{Condition, Day, DayConfig, FeedbackSpec, Session, UserTurn},
    exam::{ExamQuestion, ExamSession},
    judge::Expected,
};

/// Longest message that is accepted, in bytes.
const MAX_TEXT_BYTES: usize = 2000;

/// Why a file of conversations was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConversationsError {
    /// A line is not a session.
    #[error("line {line}: not a session as a JSON object")]
    NotASession {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A line is well formed but says something that cannot be done.
    #[error("line {line}: {what}")]
    Invalid {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// The file holds no session.
    #[error("no session in the file; each line must hold one")]
    NoSession,
    /// The file asks nothing.
    #[error("no `asks` in any session, so nothing could be measured")]
    NothingAsked,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionLine {
    subject: String,
    #[serde(default = "stored")]
    store: bool,
    turns: Vec<TurnLine>,
    #[serde(default)]
    asks: Vec<AskLine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TurnLine {
    text: String,
    #[serde(default)]
    feedback: Option<FeedbackLine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FeedbackLine {
    score: f32,
    #[serde(default)]
    correction: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskLine {
    question: String,
    #[serde(default)]
    expect: Option<String>,
}

const fn stored() -> bool {
    true
}

/// Reads a day from JSON lines. What its sessions ask becomes `exam.lessons` and, where the right answer is not to know,
/// `exam.untaught`; the rest of the exam is drawn from the seed.
///
/// # Errors
/// When a line is not a session, or the file holds none or asks nothing.
pub fn parse(text: &str, seed: u64, config: &DayConfig) -> Result<Day, ConversationsError> {
    let mut exam = Day::exam_without_lessons(seed, config);
    let (mut sessions, mut subjects) = (Vec::new(), BTreeSet::new());
    for (index, raw) in text.lines().enumerate().filter(|(_, raw)| !raw.trim().is_empty()) {
        let line = index + 1;
        let session: SessionLine =
            serde_json::from_str(raw).map_err(|source| ConversationsError::NotASession { line, source })?;
        check(&session).map_err(|what| ConversationsError::Invalid { line, what })?;
        for ask in session.asks {
            let (group, expected) = match ask.expect {
                Some(value) => (&mut exam.lessons, Expected::Value { value, attribute: None }),
                None => (&mut exam.untaught, Expected::NotKnown { attribute: None }),
            };
            let questions = vec![ExamQuestion { text: ask.question, expected, lesson: None }];
            group.push(ExamSession { context: Vec::new(), questions });
        }
        subjects.insert(session.subject.clone());
        let id = format!("own-{seed:x}-{:04}", sessions.len());
        let turns = session.turns.into_iter().map(user_turn).collect();
        sessions.push(Session { id, subject: session.subject, store: session.store, turns });
    }
    if sessions.is_empty() {
        return Err(ConversationsError::NoSession);
    }
    if exam.lessons.is_empty() && exam.untaught.is_empty() {
        return Err(ConversationsError::NothingAsked);
    }
    let subjects = subjects.into_iter().collect();
    Ok(Day { subjects, sessions, lessons: Vec::new(), opted_out_facts: Vec::new(), exam })
}

fn user_turn(turn: TurnLine) -> UserTurn {
    let kind = if turn.text.trim_end().ends_with('?') { TurnKind::Question } else { TurnKind::Statement };
    let feedback = turn.feedback.map(|f| FeedbackSpec { score: f.score, correction: f.correction, condition: Condition::Always });
    UserTurn { text: turn.text, kind, expected: None, feedback }
}

fn check(session: &SessionLine) -> Result<(), String> {
    check_text("subject", &session.subject)?;
    if session.turns.is_empty() {
        return Err("`turns` is empty; a session needs at least one message".to_owned());
    }
    for (at, turn) in session.turns.iter().enumerate() {
        check_text(&format!("turns[{at}].text"), &turn.text)?;
        if let Some(feedback) = &turn.feedback {
            if !(-1.0..=1.0).contains(&feedback.score) {
                return Err(format!("turns[{at}].feedback.score is {}; it must lie between -1 and 1", feedback.score));
            }
            if let Some(correction) = &feedback.correction {
                check_text(&format!("turns[{at}].feedback.correction"), correction)?;
            }
        }
    }
    for (at, ask) in session.asks.iter().enumerate() {
        check_text(&format!("asks[{at}].question"), &ask.question)?;
        if let Some(expect) = &ask.expect {
            check_text(&format!("asks[{at}].expect"), expect)?;
        }
    }
    Ok(())
}

fn check_text(what: &str, text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err(format!("`{what}` is empty"));
    }
    if text.len() > MAX_TEXT_BYTES {
        return Err(format!("`{what}` has {} bytes; at most {MAX_TEXT_BYTES} are accepted", text.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"subject": "ada", "turns": [{"text": "The meeting is on Tuesday."}, {"text": "When is the meeting?", "feedback": {"score": -1, "correction": "It is on Tuesday."}}], "asks": [{"question": "Which day is the meeting?", "expect": "Tuesday"}, {"question": "Who is Bo?", "expect": null}]}"#;

    fn read(text: &str) -> Result<Day, ConversationsError> {
        parse(text, 1, &DayConfig::default())
    }

    #[test]
    fn a_file_becomes_a_day_with_its_exam() {
        let day = read(&format!("{LINE}\n\n{}\n", r#"{"subject": "bo", "store": false, "turns": [{"text": "Hello."}]}"#))
            .expect("a day");
        assert_eq!(day.subjects, ["ada", "bo"]);
        assert_eq!((day.interactions(), day.stored_interactions()), (3, 2));
        assert_eq!(day.sessions[0].turns[1].feedback_on("anything").map(|f| f.score), Some(-1.0));
        assert_eq!((day.exam.lessons.len(), day.exam.untaught.len()), (1, 1));
        assert!(day.exam.core_facts.len() >= 400 && day.exam.unknown.len() >= 400);
    }

    #[test]
    fn errors_name_the_line_and_the_field() {
        let bad = [
            (r#"{"subject": "a""#, "line 2: not a session"),
            (r#"{"subject": "a", "turns": [], "asks": []}"#, "line 2: `turns` is empty"),
            (r#"{"subject": "a", "turns": [{"text": " "}]}"#, "line 2: `turns[0].text` is empty"),
            (r#"{"subject": "a", "turns": [{"text": "x", "feedback": {"score": 3}}]}"#, "line 2: turns[0].feedback.score is 3"),
            (r#"{"subject": "a", "turns": [{"text": "x", "note": 1}]}"#, "line 2: not a session"),
        ];
        for (line, message) in bad {
            let error = read(&format!("{LINE}\n{line}")).expect_err(message).to_string();
            assert!(error.starts_with(message), "{error}");
        }
        assert!(matches!(read("\n"), Err(ConversationsError::NoSession)));
        let nothing = r#"{"subject": "a", "turns": [{"text": "x"}]}"#;
        assert!(matches!(read(nothing), Err(ConversationsError::NothingAsked)));
    }
}
