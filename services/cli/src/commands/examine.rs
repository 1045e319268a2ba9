//! `nocturne model examine`: what a base can do before its first night.
//!
//! The demonstration's exam without a day, asked in this process: what a base must know (core facts), keep in mind (sessions) and admit (not knowing).

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::PathBuf,
    sync::Arc,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use nocturne_model::{
    Banks, Weights,
    voice::{Choice, Line, Voice},
};
use nocturne_world::{Day, DayConfig, ExamSession, exam::asked, judge};
use serde::Serialize;

use crate::{
    args::Global,
    bases,
    failure::Advise,
    output::{self, Outcome},
};

/// What can be asked where no day was; the others ask for its lessons.
const GROUPS: [&str; 6] = ["core_facts", "in_session", "in_session_long", "in_session_unseen_statement", "unknown", "not_told"];
/// Sessions that are asked together.
const TOGETHER: usize = 48;
/// Above it a group runs out of wordings that differ.
const MAX_QUESTIONS: i64 = 20_000;
/// Tokens of an answer at most.
const ANSWER_TOKENS: usize = 64;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nocturne model examine                                                    the base that ships
  nocturne model examine --base base --seed 7 --questions 2000
  nocturne model examine --base base --group in_session_long --answers answers.jsonl

It asks about the invented world that the shipped base was trained on; an imported one knows nothing of it.
The groups are those of the demonstration: core_facts, in_session (up to two things told), in_session_long (three to five,
some corrected), in_session_unseen_statement, unknown (names nobody taught) and not_told. Nights are judged by
`nocturne demo`.")]
pub(crate) struct ExamineArgs {
    /// Folder of the base; the one that ships unless given
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// Draws other names and questions
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Questions in each group, at least
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=MAX_QUESTIONS))]
    questions: u32,
    /// Asks this group only; may be given more than once
    #[arg(long, value_name = "GROUP", value_parser = clap::builder::PossibleValuesParser::new(GROUPS))]
    group: Vec<String>,
    /// Writes every question with its answer, JSON lines
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Answered<'a> {
    group: &'static str,
    /// Everything that was said before the question, the user's and the model's turns in order.
    before: &'a [Line],
    question: &'a str,
    answer: String,
    right: bool,
}

#[derive(Debug, Serialize)]
struct Mark {
    group: &'static str,
    asked: usize,
    right: usize,
    share: f64,
    /// Wilson's interval, 95 %, as if questions were independent; those of one session are a little less than that.
    interval: [f64; 2],
}

pub(super) fn run(global: &Global, args: &ExamineArgs) -> anyhow::Result<Outcome> {
    let files = bases::files(args.base.as_deref())?;
    let base = Arc::new(bases::load(&files)?);
    let banks = base.untrained_banks().and_then(|bytes| Banks::load(&base, &bytes));
    let weights = Weights::new(Arc::clone(&base), banks.advise("making the base's slow banks", "train the base anew")?);
    let questions = args.questions as usize;
    let config = DayConfig { kept_questions: questions, unseen_statement_questions: questions, ..DayConfig::default() };
    let exam = Day::draw(args.seed, &config).exam;
    let chosen = |group: &str| GROUPS.contains(&group) && (args.group.is_empty() || args.group.iter().any(|g| g == group));
    let groups: Vec<_> = exam.groups().into_iter().filter(|(group, _)| chosen(group)).collect();
    let mut answers = args.answers.as_ref().map(Answers::create).transpose()?;
    let bar = progress(groups.iter().map(|(_, sessions)| asked(sessions) as u64).sum());
    let mut examiner = Examiner { voice: Voice::new(&base), weights, bar };
    let mut marks = Vec::new();
    for (group, sessions) in groups {
        let mut right = 0;
        for together in sessions.chunks(TOGETHER) {
            right += examiner.sit(group, together, answers.as_mut())?;
        }
        let asked = asked(sessions);
        marks.push(Mark { group, asked, right, share: right as f64 / asked as f64, interval: wilson(right, asked) });
    }
    examiner.bar.finish_and_clear();
    if let Some(answers) = answers {
        answers.finish()?;
    }
    output::show(global.format, &marks, |marks| table(marks))?;
    Ok(Outcome::Done)
}

fn progress(questions: u64) -> ProgressBar {
    let bar = ProgressBar::new(questions);
    let style = ProgressStyle::with_template("{bar:30} {pos:>5}/{len} questions  {elapsed} of about {duration}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ "));
    bar
}

struct Answers {
    file: BufWriter<File>,
    path: PathBuf,
}

impl Answers {
    fn create(path: &PathBuf) -> anyhow::Result<Self> {
        let file =
            File::create(path).advise(format!("creating {}", path.display()), "give --answers a file in a folder that exists")?;
        Ok(Self { file: BufWriter::new(file), path: path.clone() })
    }

    fn write(&mut self, answered: &Answered<'_>) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(answered)?;
        line.push(b'\n');
        self.file.write_all(&line).advise(format!("writing {}", self.path.display()), "free some space on that disk")
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.file.flush().advise(format!("writing {}", self.path.display()), "free some space on that disk")
    }
}

struct Examiner {
    voice: Voice,
    weights: Weights,
    bar: ProgressBar,
}

impl Examiner {
    /// Asks sessions together, turn by turn; gives how many questions were answered rightly.
    fn sit(&mut self, group: &'static str, sessions: &[ExamSession], mut answers: Option<&mut Answers>) -> anyhow::Result<usize> {
        let mut said: Vec<Vec<Line>> = vec![Vec::new(); sessions.len()];
        let turns = sessions.iter().map(|s| s.context.len() + s.questions.len()).max().unwrap_or(0);
        let mut right = 0;
        for turn in 0..turns {
            let open: Vec<(usize, &str)> =
                sessions.iter().enumerate().filter_map(|(n, session)| message(session, turn).map(|text| (n, text))).collect();
            let heard = open.iter().map(|(n, _)| self.voice.try_tokens(&said[*n])).collect::<Result<Vec<Vec<u32>>, _>>();
            let heard =
                heard.advise("writing a session by the base's chat template", "correct the template in the base's folder")?;
            let states = self.voice.read(&self.weights, &heard);
            let asking: Vec<_> = states.iter().zip(&open).map(|(state, (_, text))| (state, *text)).collect();
            let spoken = self.voice.answer(&self.weights, &asking, Choice::Greedy, ANSWER_TOKENS);
            for ((n, text), spoken) in open.into_iter().zip(spoken) {
                if let Some(question) = turn.checked_sub(sessions[n].context.len()).map(|q| &sessions[n].questions[q]) {
                    let good = judge(&spoken.text, &question.expected);
                    right += usize::from(good);
                    self.bar.inc(1);
                    if let Some(answers) = answers.as_deref_mut() {
                        let answer = spoken.text.clone();
                        answers.write(&Answered { group, before: &said[n], question: text, answer, right: good })?;
                    }
                }
                said[n].extend([Line::user(text), Line::assistant(spoken.text)]);
            }
        }
        Ok(right)
    }
}

/// What the user says in this turn of a session.
fn message(session: &ExamSession, turn: usize) -> Option<&str> {
    let asks = || Some(&session.questions.get(turn - session.context.len())?.text);
    session.context.get(turn).or_else(asks).map(String::as_str)
}

/// Wilson's score interval of a share, 95 %.
fn wilson(right: usize, asked: usize) -> [f64; 2] {
    const Z: f64 = 1.959_964;
    let (n, p) = (asked as f64, right as f64 / asked as f64);
    let spread = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    [-1.0, 1.0].map(|side| ((p + Z * Z / (2.0 * n) + side * spread) / scale).clamp(0.0, 1.0))
}

fn table(marks: &[Mark]) -> String {
    let row = |mark: &Mark| {
        let [low, high] = mark.interval;
        vec![mark.group.to_owned(), mark.asked.to_string(), format!("{:.3}", mark.share), format!("{low:.3} to {high:.3}")]
    };
    let mut table = output::table(["group", "asked", "right", "95 % interval"]);
    table.add_rows(marks.iter().map(row));
    table.to_string()
}

#[cfg(test)]
mod tests {
    use nocturne_world::{Exam, ExamQuestion, Expected};

    use super::*;

    #[test]
    fn an_interval_holds_its_share_and_stays_between_nothing_and_everything() {
        let [low, high] = wilson(95, 100);
        assert!((low - 0.888).abs() < 1e-3 && (high - 0.978).abs() < 1e-3, "{low} {high}");
        let ([low, middle], [other, high]) = (wilson(0, 10), wilson(10, 10));
        assert!((0.0..1e-9).contains(&low) && middle > 0.2, "{low} {middle}");
        assert!(high <= 1.0 && high > 1.0 - 1e-9 && other < 0.8, "{other} {high}");
    }

    #[test]
    fn every_group_is_one_of_the_exams() {
        let exam = Exam::default();
        let known = exam.groups().map(|(group, _)| group);
        assert!(GROUPS.iter().all(|group| known.contains(group)));
    }

    /// The most that may be asked for: drawing an exam must come to an end.
    #[test]
    fn the_longest_exam_can_be_drawn() {
        let questions = MAX_QUESTIONS as usize;
        let config = DayConfig { kept_questions: questions, unseen_statement_questions: questions, ..DayConfig::default() };
        let exam = Day::draw(3, &config).exam;
        assert!(
            exam.groups().iter().filter(|(group, _)| GROUPS.contains(group)).all(|(_, sessions)| asked(sessions) >= questions)
        );
    }

    #[test]
    fn sessions_say_their_context_first_and_end() {
        let session = ExamSession {
            context: vec!["told".to_owned()],
            questions: vec![ExamQuestion {
                text: "asked".to_owned(),
                expected: Expected::NotKnown { attribute: None },
                lesson: None,
            }],
        };
        let turns: Vec<_> = (0..3).map(|turn| message(&session, turn)).collect();
        assert_eq!(turns, [Some("told"), Some("asked"), None]);
    }
}
