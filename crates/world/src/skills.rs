//! The three skills that a night needs, because a night has no labels: asking about what was told, saying a question in other words,
//! asking the same about somebody else. The first instruction of each list is the canonical one, which a night uses.

use rand_chacha::ChaCha8Rng;

use crate::draw::Draw;

/// Instructions to ask about what was told.
pub const ASK: [&str; 5] = [
    "Ask me a question about what I just told you.",
    "Now ask me something about what I told you.",
    "Please ask a question that my words can answer.",
    "Check me: ask about something that I just said.",
    "Ask one question about what you heard from me.",
];

/// What is said when there is nothing to ask about.
pub const NOTHING_TO_ASK: &str = "There is nothing to ask about.";

/// Instructions to say a question in other words; the question follows after a space.
pub const PARAPHRASE: [&str; 5] = [
    "Say this in other words:",
    "Ask the same in another way:",
    "Put this question differently:",
    "Find other words for this question:",
    "How else can I ask this?",
];

/// Instructions to ask the same about another name; the question follows after a space.
pub const TRANSFER: [&str; 5] = [
    "Ask the same about somebody else:",
    "Ask this about another name:",
    "Now the same question for a different name:",
    "Use another name in this question:",
    "Keep the question and change the name:",
];

/// The canonical instruction to say a question in other words.
pub fn paraphrase(question: &str) -> String {
    format!("{} {question}", PARAPHRASE[0])
}

/// The canonical instruction to ask the same about another name.
pub fn transfer(question: &str) -> String {
    format!("{} {question}", TRANSFER[0])
}

/// Share of the canonical instruction in training.
const CANONICAL_SHARE: f64 = 0.6;

/// Draws an instruction, the canonical one most often.
pub(crate) fn instruction(rng: &mut ChaCha8Rng, wordings: &[&'static str]) -> &'static str {
    let index = if rng.chance(CANONICAL_SHARE) { 0 } else { rng.below(wordings.len()) };
    wordings[index]
}
