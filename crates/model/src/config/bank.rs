//! The Continuum Memory System of a block.

use std::collections::BTreeSet;

use nocturne_wire::manifest::Period;
use serde::{Deserialize, Serialize};

use super::{LARGEST, wrong};
use crate::{error::ModelError, kernels::mlp::Activation};

/// How banks are put together (Nested Learning, section 7.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wiring {
    /// All read the same input and are summed (Eq. 74 with unit weights).
    #[default]
    Independent,
    /// Each reads what the one before it has added to, the fastest first (Eq. 70 and 73).
    Sequential,
    /// One perceptron on several time scales (Eq. 72): each level is where the next faster one begins again; what is read is the fastest.
    Nested,
}

/// What a bank is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BankShape {
    /// A perceptron.
    Perceptron {
        /// Hidden width.
        hidden: usize,
        /// Hidden non-linearity.
        activation: Activation,
        /// Whether a second projection gates the hidden layer.
        #[serde(default)]
        gated: bool,
    },
    /// A linear memory that is written by its own associative loss; its period is in tokens.
    Memory {
        /// Width of its keys and values.
        width: usize,
    },
}

/// One level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BankConfig {
    /// Its name in tensors and reports; banks that nights change are called `slow…`, and no others are.
    pub name: String,
    /// How often it changes.
    pub period: Period,
    /// What it is.
    pub shape: BankShape,
}

/// The banks of one block.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CmsConfig {
    /// How they are put together.
    #[serde(default)]
    pub wiring: Wiring,
    /// The banks, the fastest first where the order matters.
    pub banks: Vec<BankConfig>,
}

/// What the names of nightly banks begin with.
const NIGHTLY: &str = "slow";

impl BankConfig {
    /// A perceptron.
    pub fn perceptron(name: &str, period: Period, hidden: usize, activation: Activation) -> Self {
        Self { name: name.into(), period, shape: BankShape::Perceptron { hidden, activation, gated: false } }
    }

    /// Tokens between two changes in a session.
    pub const fn tokens(&self) -> Option<u32> {
        match self.period {
            Period::Tokens(n) => Some(n),
            Period::Night | Period::Never => None,
        }
    }

    fn check(&self) -> Result<(), ModelError> {
        let name = &self.name;
        let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !plain {
            return wrong(format!("a bank is called {name:?}; names have small letters, digits and `_`"));
        }
        if name.starts_with(NIGHTLY) != (self.period == Period::Night) {
            return wrong(format!("the bank {name:?}: banks whose period is `night` are called `{NIGHTLY}…`, and no others are"));
        }
        let size = match self.shape {
            BankShape::Perceptron { hidden, .. } => hidden,
            BankShape::Memory { width } => width,
        };
        if size == 0 || size > LARGEST || self.period == Period::Tokens(0) {
            return wrong(format!("the bank {name:?} has a width or a period of zero, or one beyond what this model supports"));
        }
        match (&self.shape, self.period) {
            (BankShape::Memory { .. }, Period::Night | Period::Never) => {
                wrong(format!("the bank {name:?} is a memory, which sessions write; its period must be in tokens"))
            }
            _ => Ok(()),
        }
    }
}

impl CmsConfig {
    /// Banks that have parameters of their own: all, or, nested, the slowest, where the faster levels begin.
    pub fn stored(&self) -> &[BankConfig] {
        match self.wiring {
            Wiring::Independent | Wiring::Sequential => &self.banks,
            Wiring::Nested => &self.banks[self.banks.len().saturating_sub(1)..],
        }
    }

    /// Perceptrons that a session changes by the loss of its tokens ([`crate::online`]; the decoder keeps them as they are), the fastest first.
    pub fn learning(&self) -> Vec<&BankConfig> {
        let perceptron = |bank: &&BankConfig| matches!(bank.shape, BankShape::Perceptron { .. }) && bank.tokens().is_some();
        let mut banks: Vec<&BankConfig> = self.banks.iter().filter(perceptron).collect();
        banks.sort_by_key(|bank| bank.tokens());
        banks
    }

    /// Checks that the banks fit together.
    ///
    /// # Errors
    /// Names the first contradiction.
    pub fn check(&self) -> Result<(), ModelError> {
        let mut names = BTreeSet::new();
        for bank in &self.banks {
            bank.check()?;
            if !names.insert(&bank.name) {
                return wrong(format!("two banks are called {:?}", bank.name));
            }
        }
        let periods: Vec<u32> = self.banks.iter().filter_map(BankConfig::tokens).collect();
        if let Some(fastest) = periods.iter().min()
            && let Some(odd) = periods.iter().find(|n| !n.is_multiple_of(*fastest))
        {
            return wrong(format!("a period of {odd} tokens is no multiple of the fastest one's {fastest}"));
        }
        if self.wiring == Wiring::Nested {
            self.check_nested()?;
        }
        Ok(())
    }

    fn check_nested(&self) -> Result<(), ModelError> {
        let same = self.banks.windows(2).all(|pair| pair[0].shape == pair[1].shape);
        if !same || self.banks.iter().any(|b| matches!(b.shape, BankShape::Memory { .. })) {
            return wrong("nested banks are one perceptron on several time scales, so that all must have the same shape");
        }
        let rank = |bank: &BankConfig| match bank.period {
            Period::Tokens(n) => u64::from(n),
            Period::Night => 1 << 32,
            Period::Never => 1 << 33,
        };
        if self.banks.windows(2).any(|pair| rank(&pair[0]) >= rank(&pair[1])) {
            return wrong("nested banks are listed from the fastest to the slowest, each slower than the one before it");
        }
        let periods: Vec<u32> = self.banks.iter().filter_map(BankConfig::tokens).collect();
        if let Some(pair) = periods.windows(2).find(|pair| !pair[1].is_multiple_of(pair[0])) {
            let [fast, slow] = [pair[0], pair[1]];
            // A level begins again with the slower one, in the middle of its own period where that does not end with it.
            return wrong(format!("nested banks: a period of {slow} tokens does not end with one of {fast}"));
        }
        // Only the slowest level has parameters: under a level that never changes a night would have nothing to train.
        if let Some((_, faster)) = self.banks.split_last()
            && let Some(bank) = faster.iter().find(|bank| bank.period == Period::Night)
        {
            let why = "of nested banks the one that nights change must be the slowest, for there all levels begin";
            return wrong(format!("the bank {:?}: {why}; leave the slower ones out", bank.name));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nest(periods: [u32; 3]) -> Result<(), ModelError> {
        let bank = |n: u32| BankConfig::perceptron(&format!("every_{n}"), Period::Tokens(n), 8, Activation::Silu);
        CmsConfig { wiring: Wiring::Nested, banks: periods.map(bank).to_vec() }.check()
    }

    /// With 4, 8 and 12 the middle one would begin again at 12, in the middle of its own period, and move at 20 instead of 16.
    #[test]
    fn a_nested_level_ends_its_period_with_every_slower_one() {
        nest([4, 8, 16]).expect("each period ends with the slower one's");
        let refused = nest([4, 8, 12]).expect_err("8 does not divide 12").to_string();
        assert!(refused.contains("a period of 12 tokens does not end with one of 8"), "{refused}");
    }
}
