//! Random choices; everything random in this crate goes through here.

use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// The generator for one stream of a seed: equal arguments give equal worlds, different streams are independent.
pub fn rng_for(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

pub(crate) trait Draw {
    /// A number in `0..n`.
    fn below(&mut self, n: usize) -> usize;
    /// A number in `low..=high`.
    fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }
    /// True with this probability.
    fn chance(&mut self, probability: f64) -> bool;
    /// An index, each as likely as its weight says.
    fn weighted(&mut self, weights: &[f64]) -> usize;
    /// One of the items.
    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
    /// One of the texts.
    fn pick_text<'a, S: AsRef<str>>(&mut self, texts: &'a [S]) -> &'a str {
        texts[self.below(texts.len())].as_ref()
    }
    /// Brings the items into a random order.
    fn shuffle<T>(&mut self, items: &mut [T]);
}

impl Draw for ChaCha8Rng {
    fn below(&mut self, n: usize) -> usize {
        self.random_range(0..n as u32) as usize
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.random::<f64>() < probability
    }

    fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.random::<f64>() * weights.iter().sum::<f64>();
        for (index, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return index;
            }
        }
        weights.len() - 1
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        SliceRandom::shuffle(items, self);
    }
}
