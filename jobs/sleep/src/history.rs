//! What earlier nights taught. A night that trains on its own day alone wipes the last one out, and negatives that leave out what was taught before make the
//! model deny it.

use std::collections::BTreeSet;

use nocturne_kit::telemetry::chain;
use nocturne_lake::{Lake, LakeError};
use nocturne_wire::{
    NightId, Sha256Hex,
    night::{LESSONS, Lesson},
    plan::{self, NightPlan},
};
use rand::{SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use crate::{distill::Distilled, error::SleepError, names};

/// A night's file of questions that nobody answered.
pub(crate) const UNTAUGHT: &str = "untaught.json";

/// Lessons of the nights that the parent comes from, oldest first, and what those nights found untaught.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct History {
    /// Lessons.
    pub(crate) lessons: Vec<Lesson>,
    /// Questions that nobody had answered.
    pub(crate) untaught: Vec<String>,
}

impl History {
    /// Reads what the plan's lineage taught.
    ///
    /// # Errors
    /// When the lake cannot be read; [`SleepError::Unremembered`] when lessons are gone or damaged, for a night that does not rehearse them forgets them. Only
    /// a person may decide that: with `min_remembered` at 0 what can be read is rehearsed.
    pub(crate) async fn read(lake: &Lake, plan: &NightPlan) -> Result<Self, SleepError> {
        let mut history = Self::default();
        for night in &plan.lineage {
            let (lessons, whole) = lessons(lake, night).await?;
            if !whole && plan.gates.min_remembered > 0.0 {
                return Err(SleepError::Unremembered { night: night.clone() });
            }
            let untaught = file(lake, night, UNTAUGHT).await?.unwrap_or_default();
            history.night(lessons, serde_json::from_slice(&untaught).unwrap_or_default());
        }
        Ok(history)
    }

    /// Adds the next night. What an earlier one found untaught may be what this one taught.
    fn night(&mut self, lessons: Vec<Lesson>, untaught: Vec<String>) {
        let taught: BTreeSet<&str> = lessons.iter().map(|lesson| lesson.name.as_str()).collect();
        self.untaught.retain(|question| !names_any(question, &taught));
        self.untaught.extend(untaught);
        lessons.into_iter().for_each(|lesson| self.add(lesson));
    }

    /// Keeps at most so many untaught questions, any of them: a night's cost is bounded, and over the nights each gets its turn.
    pub(crate) fn bound_untaught(&mut self, most: usize, seed: u64) {
        if self.untaught.len() > most {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            self.untaught = self.untaught.sample(&mut rng, most).cloned().collect();
        }
    }

    /// A lesson takes the place of an older one about the same.
    fn add(&mut self, lesson: Lesson) {
        if lesson.wordings.is_empty() {
            return;
        }
        self.lessons.retain(|old| !about_the_same(old, &lesson));
        self.lessons.push(lesson);
    }

    /// Drops wordings that must never be trained on; says how many.
    pub(crate) fn hold_out(&mut self, questions: &[Sha256Hex]) -> u64 {
        let questions: BTreeSet<&Sha256Hex> = questions.iter().collect();
        let is_held_out = |question: &str| questions.contains(&plan::question_digest(question));
        let mut dropped = 0;
        for lesson in &mut self.lessons {
            let all = lesson.wordings.len();
            lesson.wordings.retain(|wording| !is_held_out(&wording.question));
            dropped += all - lesson.wordings.len();
        }
        self.lessons.retain(|lesson| !lesson.wordings.is_empty());
        let all = self.untaught.len();
        self.untaught.retain(|question| !is_held_out(question));
        (dropped + all - self.untaught.len()) as u64
    }

    /// Brings the past and the day together: what the day taught anew is no longer rehearsed as it was, and nothing that was ever taught is untaught.
    pub(crate) fn settle(&mut self, day: &mut Distilled) {
        self.lessons.retain(|old| !day.lessons.iter().any(|new| about_the_same(old, new)));
        let taught_today: BTreeSet<&str> = day.lessons.iter().map(|lesson| lesson.name.as_str()).collect();
        let taught_before: BTreeSet<&str> = self.lessons.iter().map(|lesson| lesson.name.as_str()).collect();
        // Whether another question about the same name means what was taught cannot be told from its words, so that neither day denies what the other knows.
        day.untaught.retain(|question| !names_any(question, &taught_before));
        day.unknown.retain(|question| !names_any(question, &taught_before));
        day.unheard.retain(|question| !names_any(question, &taught_before));
        self.untaught.retain(|question| !names_any(question, &taught_today));
    }
}

fn names_any(question: &str, names: &BTreeSet<&str>) -> bool {
    names.iter().any(|name| names::mentions(question, name))
}

/// Whether two lessons answer the same question.
fn about_the_same(a: &Lesson, b: &Lesson) -> bool {
    let questions = |lesson: &Lesson| -> BTreeSet<String> {
        lesson.wordings.iter().chain(&lesson.held_out).map(|wording| plan::normalize_question(&wording.question)).collect()
    };
    a.name == b.name && !questions(a).is_disjoint(&questions(b))
}

/// The lessons of a night, and whether they are all.
async fn lessons(lake: &Lake, night: &NightId) -> Result<(Vec<Lesson>, bool), SleepError> {
    let Some(file) = file(lake, night, LESSONS).await? else { return Ok((Vec::new(), false)) };
    let (mut lessons, mut whole) = (Vec::new(), true);
    for lesson in Lesson::read(&file) {
        match lesson {
            Ok(lesson) => lessons.push(lesson),
            Err(error) => {
                tracing::error!(%night, error = chain(&error), "a lesson of an earlier night cannot be read");
                whole = false;
            }
        }
    }
    Ok((lessons, whole))
}

/// A file of a night; `None` when it is gone or damaged.
async fn file(lake: &Lake, night: &NightId, name: &str) -> Result<Option<Vec<u8>>, SleepError> {
    match lake.nights().get(night, name).await {
        Ok(Some(bytes)) => Ok(Some(bytes.to_vec())),
        Ok(None) => {
            tracing::error!(%night, file = name, "what an earlier night taught is gone");
            Ok(None)
        }
        Err(error @ LakeError::Unavailable { .. }) => {
            Err(SleepError::Lake { doing: "read what an earlier night taught", source: error })
        }
        Err(error) => {
            tracing::error!(%night, file = name, error = chain(&error), "what an earlier night taught cannot be read");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use nocturne_wire::night::Wording;

    fn lesson(name: &str, value: &str, questions: &[&str]) -> Lesson {
        let wording = |question: &&str| Wording { question: (*question).into(), answer: format!("It is {value}.") };
        Lesson { name: name.into(), value: value.into(), wordings: questions.iter().map(wording).collect(), held_out: None }
    }

    #[tokio::test]
    async fn lessons_that_cannot_be_read_are_not_forgotten_unless_a_person_says_so() {
        let (lake, mut plan) = (Lake::memory(), fixture::plan());
        let (first, second) = ("20261119T030000Z-production", "20261120T030000Z-production");
        plan.lineage = [first, second].map(|night| NightId::parse(night).unwrap()).to_vec();
        let file = Lesson::write(&[lesson("Mirel", "rome", &["Where does Mirel live?"])]);
        lake.nights().put(&plan.lineage[0], LESSONS, file.clone()).await.unwrap();
        let refused = |outcome: Result<History, SleepError>| match outcome {
            Err(SleepError::Unremembered { night }) => night,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(History::read(&lake, &plan).await), plan.lineage[1], "its lessons are gone");
        lake.nights().put(&plan.lineage[1], LESSONS, [&file[..], b"\n{\"name\": "].concat()).await.unwrap();
        assert_eq!(refused(History::read(&lake, &plan).await), plan.lineage[1], "one of them is damaged");
        plan.gates.min_remembered = 0.0;
        assert_eq!(History::read(&lake, &plan).await.unwrap().lessons.len(), 1, "what can be read is rehearsed");
    }

    #[test]
    fn a_later_lesson_about_the_same_takes_the_place_of_an_older_one() {
        let mut history = History::default();
        history.add(lesson("Mirel", "rome", &["Where does Mirel live?", "What is Mirel's home?"]));
        history.add(lesson("Mirel", "tea", &["What does Mirel drink?"]));
        history.add(lesson("Mirel", "oslo", &["where does Mirel live?"]));
        assert_eq!(history.lessons.iter().map(|l| l.value.as_str()).collect::<Vec<_>>(), ["tea", "oslo"]);
    }

    #[test]
    fn what_a_later_night_taught_is_denied_by_none() {
        let mut history = History::default();
        history.night(vec![lesson("Mirel", "rome", &["Where does Mirel live?"])], vec!["What does Mirel drink?".into()]);
        history.night(vec![lesson("Mirel", "tea", &["What does Mirel drink?"])], vec!["Which pet has Mirel?".into()]);
        history.settle(&mut Distilled::default());
        assert_eq!(history.untaught, ["Which pet has Mirel?"]);
        history.untaught = (0..50).map(|n| format!("Q{n}?")).collect();
        history.bound_untaught(9, 1);
        assert_eq!(history.untaught.len(), 9);
    }

    #[test]
    fn what_is_measured_with_is_not_rehearsed() {
        let lessons = vec![
            lesson("Mirel", "rome", &["Where does Mirel live?", "What is Mirel's home?"]),
            lesson("Koral", "46", &["What does Koral cost?"]),
        ];
        let mut history = History { lessons, untaught: vec!["Who makes Koral?".into()] };
        let held_out = ["Where does Mirel live?", "What does Koral cost?"].map(plan::question_digest);
        assert_eq!(history.hold_out(&held_out), 2);
        assert_eq!(
            history.lessons.iter().map(|l| l.wordings[0].question.as_str()).collect::<Vec<_>>(),
            ["What is Mirel's home?"]
        );
        assert_eq!(history.untaught.len(), 1);
    }

    #[test]
    fn neither_day_denies_what_the_other_one_taught() {
        let mut history = History {
            lessons: vec![
                lesson("Mirel", "rome", &["Where does Mirel live?"]),
                lesson("Koral", "46", &["What does Koral cost?"]),
            ],
            untaught: vec!["What does Mirel drink?".into(), "Who makes Koral?".into()],
        };
        let mut day = Distilled {
            lessons: vec![lesson("Mirel", "oslo", &["Where does Mirel live?"])],
            untaught: vec!["What does Koral cost?".into(), "Which pet has Mirel?".into()],
            unheard: vec!["How much is Koral?".into(), "How much is Dunel?".into()],
            ..Distilled::default()
        };
        history.settle(&mut day);
        assert_eq!(history.lessons.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["Koral"], "Mirel moved");
        assert_eq!(history.untaught, ["Who makes Koral?"], "Mirel's drink may have been told today");
        assert_eq!(day.untaught, ["Which pet has Mirel?"]);
        assert_eq!(day.unheard, ["How much is Dunel?"]);
    }
}
