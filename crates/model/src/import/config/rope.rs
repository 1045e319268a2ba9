//! How fast queries and keys are rotated, in the spellings of transformers 4 and 5.

use super::keys::Keys;
use crate::import::error::ImportError;

/// Rotary positions (RoFormer, arXiv:2104.09864): channel pair i of a head turns by theta^(-2i / head width) radians a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// What is made of them.
    pub scaling: RopeScaling,
}

/// How frequencies were changed for longer contexts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All are divided (arXiv:2306.15595).
    Linear {
        /// By what.
        factor: f64,
    },
    /// Low ones are divided, high ones are not, and those between are mixed of both, as in Llama 3.1.
    Llama3 {
        /// By what low ones are divided.
        factor: f64,
        /// Wavelengths longer than `original_max_position` divided by this are low.
        low_freq_factor: f64,
        /// Wavelengths shorter than `original_max_position` divided by this are high.
        high_freq_factor: f64,
        /// The context of pre-training, tokens.
        original_max_position: f64,
    },
}

/// Base of the frequencies where nothing is said.
const THETA: f64 = 10_000.0;

const SUPPORTED: &str = "rotary positions of the types default, linear and llama3";

pub(super) fn read(keys: &Keys<'_>, max_context: usize) -> Result<Rope, ImportError> {
    // transformers 5 takes the old spelling first.
    let old = keys.object("rope_scaling")?.filter(|old| !old.is_empty());
    let parameters = old.map_or_else(|| keys.object("rope_parameters"), |old| Ok(Some(old)))?;
    let within = |key: &str| Ok(parameters.as_ref().map(|inner| inner.number(key)).transpose()?.flatten());
    let theta = within("rope_theta")?.map_or_else(|| keys.number("rope_theta"), |theta| Ok(Some(theta)))?.unwrap_or(THETA);
    let rotated = within("partial_rotary_factor")?.map_or_else(|| keys.number("partial_rotary_factor"), |part| Ok(Some(part)))?;
    if let Some(part) = rotated.filter(|part| *part < 1.0) {
        let found = format!("heads that are rotated in part (`partial_rotary_factor` {part})");
        return Err(ImportError::Unsupported { found, supported: "heads that are rotated whole" });
    }
    if theta <= 0.0 {
        return Err(keys.wrong(format!("its `rope_theta` is {theta}")));
    }
    let scaling = parameters.map_or(Ok(RopeScaling::None), |inner| scaling(keys, &inner, max_context))?;
    Ok(Rope { theta, scaling })
}

fn scaling(keys: &Keys<'_>, inner: &Keys<'_>, max_context: usize) -> Result<RopeScaling, ImportError> {
    if let Some(kind) = inner.nested().next() {
        let found = format!("rotary positions that differ by layer (`{kind}`)");
        return Err(ImportError::Unsupported { found, supported: "the same ones in every layer" });
    }
    let kind = inner.text("rope_type")?.map_or_else(|| inner.text("type"), |kind| Ok(Some(kind)))?.unwrap_or("default");
    let positive = |key: &str| {
        let number = inner.number(key)?.ok_or_else(|| keys.wrong(format!("its rotary positions of type {kind} lack `{key}`")))?;
        if number > 0.0 { Ok(number) } else { Err(keys.wrong(format!("the `{key}` of its rotary positions is {number}"))) }
    };
    match kind {
        "default" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: positive("factor")? }),
        "llama3" => {
            let (factor, low, high) = (positive("factor")?, positive("low_freq_factor")?, positive("high_freq_factor")?);
            if high <= low {
                return Err(
                    keys.wrong(format!("the factor of its high frequencies, {high}, is not above that of its low ones, {low}"))
                );
            }
            let outside = keys.number("original_max_position_embeddings")?;
            let original =
                outside.map_or_else(|| inner.number("original_max_position_embeddings"), |outside| Ok(Some(outside)))?;
            let original_max_position = original.unwrap_or(max_context as f64);
            if original_max_position < 1.0 {
                return Err(keys.wrong(format!("its `original_max_position_embeddings` is {original_max_position}")));
            }
            Ok(RopeScaling::Llama3 { factor, low_freq_factor: low, high_freq_factor: high, original_max_position })
        }
        other => Err(ImportError::Unsupported { found: format!("rotary positions of the type `{other}`"), supported: SUPPORTED }),
    }
}
