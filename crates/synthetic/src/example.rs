//! What every task consists of: examples, and what of them was predicted right.

use serde::{Deserialize, Serialize};

/// One prediction that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Aim {
    /// Index into the ids: from the hidden state there `target` is predicted ([`Readout::AtPosition`]), or the token that is to be said again
    /// ([`Readout::FromLast`]).
    pub position: u32,
    /// What has to be predicted, a token of the task's vocabulary.
    pub target: u32,
}

/// One sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// What the model reads, tokens of the task's vocabulary.
    pub ids: Vec<u32>,
    /// What it has to predict, by rising position.
    pub aims: Vec<Aim>,
}

impl Example {
    /// An example whose every token predicts the next one; the last one of `ids` is only a target.
    pub(crate) fn next_tokens(mut ids: Vec<u32>) -> Self {
        let aims = ids.iter().skip(1).zip(0..).map(|(target, position)| Aim { position, target: *target }).collect();
        ids.pop();
        Self { ids, aims }
    }
}

/// Where a target is predicted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Readout {
    /// From the hidden state at the aim's position.
    AtPosition,
    /// From the hidden state at the last position, and the position that is asked for: the whole sequence has to be in that one state.
    FromLast,
}

/// What counts as one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scored {
    /// Every aim.
    PerAim,
    /// Every sequence; it is right when all of its aims are.
    PerSequence,
}

/// How much was right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Aims that were asked for.
    pub aims: u64,
    /// Those predicted right.
    pub aims_right: u64,
    /// Sequences that were asked for.
    pub sequences: u64,
    /// Those of which every aim was predicted right.
    pub sequences_right: u64,
}

impl Tally {
    /// Counts what was predicted for each aim of an example, in the order of the aims; an aim without a prediction is wrong.
    pub fn add(&mut self, example: &Example, predicted: &[u32]) {
        let right = example.aims.iter().zip(predicted).filter(|(aim, predicted)| aim.target == **predicted).count();
        self.aims += example.aims.len() as u64;
        self.aims_right += right as u64;
        self.sequences += 1;
        self.sequences_right += u64::from(right == example.aims.len());
    }

    /// Counts what another tally counted, too.
    pub const fn merge(&mut self, other: &Self) {
        self.aims += other.aims;
        self.aims_right += other.aims_right;
        self.sequences += other.sequences;
        self.sequences_right += other.sequences_right;
    }

    /// The share that was right, from 0 to 1; `None` when nothing was asked.
    pub fn share(&self, scored: Scored) -> Option<f64> {
        let (right, of) = match scored {
            Scored::PerAim => (self.aims_right, self.aims),
            Scored::PerSequence => (self.sequences_right, self.sequences),
        };
        (of > 0).then(|| right as f64 / of as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(targets: &[u32]) -> Example {
        let aims = targets.iter().zip(0..).map(|(target, position)| Aim { position, target: *target }).collect();
        Example { ids: vec![0; targets.len()], aims }
    }

    #[test]
    fn a_sequence_is_right_when_all_of_its_aims_are() {
        let mut tally = Tally::default();
        tally.add(&example(&[1, 2, 3]), &[1, 2, 3]);
        tally.add(&example(&[1, 2, 3]), &[1, 9, 3]);
        tally.add(&example(&[1]), &[]);
        assert_eq!(tally, Tally { aims: 7, aims_right: 5, sequences: 3, sequences_right: 1 });
        assert_eq!(tally.share(Scored::PerAim), Some(5.0 / 7.0));
        assert_eq!(tally.share(Scored::PerSequence), Some(1.0 / 3.0));
        assert_eq!(Tally::default().share(Scored::PerAim), None);
    }

    #[test]
    fn tallies_of_parts_are_the_tally_of_the_whole() {
        let (mut whole, mut parts) = (Tally::default(), [Tally::default(); 2]);
        for at in 0..10 {
            let predicted = [1, at as u32 % 3];
            whole.add(&example(&[1, 2]), &predicted);
            parts[at % 2].add(&example(&[1, 2]), &predicted);
        }
        let [mut first, second] = parts;
        first.merge(&second);
        assert_eq!(first, whole);
    }

    #[test]
    fn each_token_predicts_the_next() {
        let example = Example::next_tokens(vec![4, 5, 6]);
        assert_eq!(example.ids, [4, 5]);
        assert_eq!(example.aims, [Aim { position: 0, target: 5 }, Aim { position: 1, target: 6 }]);
    }
}
