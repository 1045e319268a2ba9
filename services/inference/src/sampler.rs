//! From scores to a token: greedy, temperature, top-p, seeded.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

/// Draws the tokens of one answer.
pub(crate) struct Sampler {
    temperature: f32,
    top_p: f32,
    rng: ChaCha8Rng,
    /// Indices by falling probability; kept between draws so that a draw allocates nothing.
    order: Vec<u32>,
    weights: Vec<f32>,
}

/// A drawn token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Drawn {
    pub(crate) token: u32,
    /// Its negative log-likelihood under the model itself, whatever the temperature.
    pub(crate) nll: f32,
}

/// Scores that hold no finite maximum: the weights or the state are broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the model's scores are not finite")]
pub(crate) struct NotFinite;

impl Sampler {
    /// A temperature of 0 is greedy; a `top_p` of 1 keeps every token.
    pub(crate) fn new(temperature: f32, top_p: f32, seed: u64) -> Self {
        Self { temperature, top_p, rng: ChaCha8Rng::seed_from_u64(seed), order: Vec::new(), weights: Vec::new() }
    }

    /// Draws the next token.
    pub(crate) fn draw(&mut self, logits: &[f32]) -> Result<Drawn, NotFinite> {
        let (best, max) = argmax(logits).ok_or(NotFinite)?;
        let token = if self.temperature <= 0.0 { best } else { self.sample(logits, max) };
        let total: f32 = logits.iter().map(|logit| (logit - max).exp()).sum();
        let nll = total.ln() + max - logits[token];
        if nll.is_finite() { Ok(Drawn { token: token as u32, nll }) } else { Err(NotFinite) }
    }

    /// Draws from the smallest set of tokens whose probability reaches `top_p`; the most likely one is always in it.
    fn sample(&mut self, logits: &[f32], max: f32) -> usize {
        self.weights.clear();
        self.weights.extend(logits.iter().map(|logit| ((logit - max) / self.temperature).exp()));
        self.order.clear();
        self.order.extend(0..logits.len() as u32);
        let weights = &self.weights;
        self.order.sort_unstable_by(|a, b| weights[*b as usize].total_cmp(&weights[*a as usize]).then(a.cmp(b)));
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let (kept, mass) = nucleus(&self.order, weights, f64::from(self.top_p) * total);
        let mut left = uniform(&mut self.rng) * mass;
        for token in &self.order[..kept] {
            left -= f64::from(weights[*token as usize]);
            if left < 0.0 {
                return *token as usize;
            }
        }
        self.order[kept - 1] as usize
    }
}

/// How many leading tokens reach the wanted mass, and the mass that they have.
fn nucleus(order: &[u32], weights: &[f32], wanted: f64) -> (usize, f64) {
    let mut mass = 0.0;
    for (rank, token) in order.iter().enumerate() {
        mass += f64::from(weights[*token as usize]);
        if mass >= wanted {
            return (rank + 1, mass);
        }
    }
    (order.len(), mass)
}

/// A number in `[0, 1)` with 53 random bits.
fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// The first of the largest scores, if that is finite.
pub(crate) fn argmax(logits: &[f32]) -> Option<(usize, f32)> {
    let best = logits.iter().copied().enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best })?;
    best.1.is_finite().then_some(best)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn softmax(logits: &[f32], temperature: f32) -> Vec<f32> {
        let max = logits.iter().copied().fold(f32::MIN, f32::max);
        let weights: Vec<f32> = logits.iter().map(|l| ((l - max) / temperature).exp()).collect();
        let total: f32 = weights.iter().sum();
        weights.iter().map(|w| w / total).collect()
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        let drawn = Sampler::new(0.0, 1.0, 1).draw(&[0.0, 2.0, 2.0, -1.0]).unwrap();
        assert_eq!(drawn.token, 1);
        let wanted = -softmax(&[0.0, 2.0, 2.0, -1.0], 1.0)[1].ln();
        assert!((drawn.nll - wanted).abs() < 1e-5);
    }

    #[test]
    fn scores_that_are_not_numbers_are_refused() {
        assert_eq!(Sampler::new(0.0, 1.0, 1).draw(&[f32::NAN, f32::NAN]), Err(NotFinite));
        assert_eq!(Sampler::new(1.0, 1.0, 1).draw(&[0.0, f32::INFINITY]), Err(NotFinite));
        assert_eq!(Sampler::new(1.0, 1.0, 1).draw(&[]), Err(NotFinite));
    }

    #[test]
    fn frequencies_follow_the_probabilities() {
        let logits = [1.0, 0.0, -1.0];
        let mut sampler = Sampler::new(0.7, 1.0, 9);
        let mut counts = [0_u32; 3];
        for _ in 0..20_000 {
            counts[sampler.draw(&logits).unwrap().token as usize] += 1;
        }
        for (count, wanted) in counts.iter().zip(softmax(&logits, 0.7)) {
            assert!((*count as f32 / 20_000.0 - wanted).abs() < 0.02, "{counts:?}");
        }
    }

    proptest! {
        #[test]
        fn a_drawn_token_lies_in_the_nucleus(
            logits in prop::collection::vec(-8.0_f32..8.0, 1..40),
            temperature in 0.1_f32..2.0,
            top_p in 0.01_f32..1.0,
            seed: u64,
        ) {
            let token = Sampler::new(temperature, top_p, seed).draw(&logits).unwrap().token as usize;
            let probabilities = softmax(&logits, temperature);
            let more_likely: f32 = probabilities.iter().filter(|p| **p > probabilities[token]).sum();
            prop_assert!(more_likely < top_p + 1e-4, "mass {more_likely} before the drawn token, top_p {top_p}");
        }

        #[test]
        fn the_same_seed_draws_the_same_tokens(logits in prop::collection::vec(-4.0_f32..4.0, 1..40), seed: u64) {
            let draw = || {
                let mut sampler = Sampler::new(1.0, 0.9, seed);
                (0..8).map(|_| sampler.draw(&logits).unwrap().token).collect::<Vec<_>>()
            };
            prop_assert_eq!(draw(), draw());
        }
    }
}
