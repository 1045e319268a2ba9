//! Drawing strings of a language.

use rand_chacha::ChaCha8Rng;

use super::{Bin, Language};
use crate::draw::Draw;

/// The probability of a pair of brackets in the grammar, and of two parts side by side.
const NEST: f64 = 0.5;
const SPLIT: f64 = 0.25;

/// A string whose length lies in the bin; `None` when the draw went past it, or fell short of it.
pub(super) fn draw(rng: &mut ChaCha8Rng, language: Language, bin: Bin) -> Option<Vec<u32>> {
    let string = match language {
        Language::Parity => parity(rng, bin)?,
        Language::Aa | Language::Abab => {
            let period = if language == Language::Aa { 2 } else { 4 };
            let length = rng.between(bin.shortest, bin.longest) / period * period;
            (0..length as u32).map(|at| at % language.symbols()).collect()
        }
        Language::Anbn | Language::Anbncn => {
            let letters = language.symbols() as usize;
            let n = rng.between(bin.shortest.div_ceil(letters), bin.longest / letters);
            (0..letters as u32).flat_map(|letter| std::iter::repeat_n(letter, n)).collect()
        }
        Language::Shuffle2 => nested(rng, bin.longest)?,
        Language::Shuffle2Crossing => crossing(rng, bin),
    };
    (bin.shortest..=bin.longest).contains(&string.len()).then_some(string)
}

/// Symbols at random until one chance in a mean length says stop; a string with an odd number of 1 gets another one.
fn parity(rng: &mut ChaCha8Rng, bin: Bin) -> Option<Vec<u32>> {
    let mean = bin.shortest.midpoint(bin.longest) as f64;
    let mut string = Vec::with_capacity(bin.longest);
    while string.len() < bin.longest && !rng.chance(1.0 / (1.0 + mean)) {
        string.push(rng.token(&(0..2)));
    }
    if string.len() < bin.shortest {
        return None;
    }
    if string.iter().sum::<u32>() % 2 == 1 {
        string.push(1);
    }
    Some(string)
}

/// A string of the bracket grammar; `None` when it outgrows `longest`. Kind `k` opens with symbol `2k` and closes with `2k + 1`.
fn nested(rng: &mut ChaCha8Rng, longest: usize) -> Option<Vec<u32>> {
    /// What still has to be written, the last one first.
    enum Todo {
        Part,
        Close(u32),
    }
    let mut string = Vec::new();
    let mut todo = vec![Todo::Part];
    while let Some(next) = todo.pop() {
        match next {
            Todo::Close(symbol) => string.push(symbol),
            Todo::Part => match rng.unit() {
                choice if choice < NEST => {
                    let open = 2 * rng.token(&(0..2));
                    string.push(open);
                    todo.extend([Todo::Close(open + 1), Todo::Part]);
                }
                choice if choice < NEST + SPLIT => todo.extend([Todo::Part, Todo::Part]),
                _ => {}
            },
        }
        if string.len() > longest || todo.len() > 4 * longest {
            return None;
        }
    }
    Some(string)
}

/// A string of any length of the bin, each as likely: its pairs divided between the two kinds at random, one balanced string of each, interleaved.
fn crossing(rng: &mut ChaCha8Rng, bin: Bin) -> Vec<u32> {
    let pairs = rng.between(bin.shortest.div_ceil(2), bin.longest / 2);
    let square = (0..pairs).filter(|_| rng.chance(0.5)).count();
    let mut strings = [balanced(rng, pairs - square).into_iter(), balanced(rng, square).into_iter()];
    let mut kinds = [vec![0_u32; 2 * (pairs - square)], vec![1; 2 * square]].concat();
    rng.shuffle(&mut kinds);
    kinds.into_iter().filter_map(|kind| Some(2 * kind + strings[kind as usize].next()?)).collect()
}

/// Any balanced string of so many pairs of one kind, each as likely; 0 opens, 1 closes.
///
/// Of all rotations of one opening bracket too many exactly one stays open throughout (the cycle lemma): it begins after the last place where the fewest
/// brackets are open, and its first bracket is the one too many.
pub(super) fn balanced(rng: &mut ChaCha8Rng, pairs: usize) -> Vec<u32> {
    let mut string = [vec![0; pairs + 1], vec![1; pairs]].concat();
    rng.shuffle(&mut string);
    let (mut open, mut least, mut begin) = (0_i64, 0, 0);
    for (at, symbol) in string.iter().enumerate() {
        open += if *symbol == 0 { 1 } else { -1 };
        if open <= least {
            (least, begin) = (open, at + 1);
        }
    }
    string.rotate_left(begin % (2 * pairs + 1));
    string.split_off(1)
}
