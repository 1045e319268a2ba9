//! Random choices; everything random in this crate goes through here.

use std::ops::Range;

use rand::{
    RngExt, SeedableRng,
    seq::{SliceRandom, index},
};
use rand_chacha::ChaCha8Rng;

/// The generator for one stream of a seed: equal arguments give equal examples, different streams are independent.
pub(crate) fn rng_for(seed: u64, stream: u64) -> ChaCha8Rng {
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
    /// A number in `0.0..1.0`.
    fn unit(&mut self) -> f64;
    /// True with this probability.
    fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }
    /// An index, each as likely as its weight says.
    fn weighted(&mut self, weights: impl Iterator<Item = f64> + Clone) -> usize {
        let mut left = self.unit() * weights.clone().sum::<f64>();
        let mut last = 0;
        for (index, weight) in weights.enumerate() {
            last = index;
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
        last
    }
    /// One token of the range.
    fn token(&mut self, range: &Range<u32>) -> u32 {
        range.start + self.below(range.len()) as u32
    }
    /// Tokens of the range, each on its own.
    fn tokens(&mut self, range: &Range<u32>, amount: usize) -> Vec<u32> {
        (0..amount).map(|_| self.token(range)).collect()
    }
    /// Different tokens of the range, in a random order.
    fn distinct(&mut self, range: &Range<u32>, amount: usize) -> Vec<u32>;
    /// Brings the items into a random order.
    fn shuffle<T>(&mut self, items: &mut [T]);
}

impl Draw for ChaCha8Rng {
    fn below(&mut self, n: usize) -> usize {
        self.random_range(0..n as u32) as usize
    }

    fn unit(&mut self) -> f64 {
        self.random::<f64>()
    }

    fn distinct(&mut self, range: &Range<u32>, amount: usize) -> Vec<u32> {
        index::sample(self, range.len(), amount).into_iter().map(|at| range.start + at as u32).collect()
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        SliceRandom::shuffle(items, self);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn streams_of_a_seed_repeat_and_differ() {
        let draw = |seed, stream| rng_for(seed, stream).tokens(&(0..1_000), 20);
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }

    #[test]
    fn distinct_tokens_are_distinct_and_in_any_order() {
        let mut rng = rng_for(1, 1);
        let mut orders = HashSet::new();
        for _ in 0..200 {
            let drawn = rng.distinct(&(5..8), 3);
            assert_eq!(drawn.iter().collect::<HashSet<_>>().len(), 3);
            assert!(drawn.iter().all(|token| (5..8).contains(token)));
            orders.insert(drawn);
        }
        assert_eq!(orders.len(), 6);
    }

    #[test]
    fn weights_are_kept() {
        let mut rng = rng_for(1, 1);
        let second = (0..10_000).filter(|_| rng.weighted([1.0, 3.0, 0.0].into_iter()) == 1).count();
        assert!((7_300..7_700).contains(&second), "{second}");
    }
}
