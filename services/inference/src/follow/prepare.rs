//! From a name in the ledger to a generation that may serve: fetch, verify, load, try.

use std::sync::Arc;

use nocturne_lake::{Lake, LakeError, Verified};
use nocturne_wire::{generation::GenerationName, hash::Sha256Hex, manifest::Manifest, path::SLOW_FILE, record::Role};

use crate::{
    engine::{Engine, LoadError, Step},
    generations::Live,
    sampler::argmax,
    threads::{self, ThreadError},
};

/// The bank that a generation brings.
pub(crate) const SLOW_BANK: &str = "slow";

/// Longest answer to a golden prompt: enough to see the memory being read and written.
const GOLDEN_TOKENS: usize = 24;

/// Why a generation does not serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    /// It could not be read, or is not what its manifest says.
    #[error("fetch generation")]
    Fetch(#[source] LakeError),
    /// Its manifest lists no slow bank.
    #[error("generation {0} has no `{SLOW_FILE}`")]
    NoSlowBank(GenerationName),
    /// A tensor in the file is not the one in the manifest.
    #[error("tensor `{tensor}` of generation {generation} is not what its manifest says")]
    Tensor { generation: GenerationName, tensor: String },
    /// The model does not take it.
    #[error("load generation {generation}")]
    Load {
        generation: GenerationName,
        #[source]
        source: LoadError,
    },
    /// It loaded, but does not talk.
    #[error("generation {generation} failed golden prompt {prompt}: {problem}")]
    Golden { generation: GenerationName, prompt: usize, problem: &'static str },
    /// Loading broke.
    #[error("load generation {generation}")]
    Thread {
        generation: GenerationName,
        #[source]
        source: ThreadError,
    },
}

/// Makes a generation ready beside the ones that serve.
pub(crate) async fn prepare<E: Engine>(
    lake: &Lake,
    base: &Sha256Hex,
    engine: &Arc<E>,
    name: &GenerationName,
    golden: &Arc<[String]>,
) -> Result<Live<E>, PrepareError> {
    let verified = lake.generations().fetch(name, base).await.map_err(PrepareError::Fetch)?;
    let (engine, generation, golden) = (Arc::clone(engine), name.clone(), Arc::clone(golden));
    let loaded = threads::run("load-generation", move || {
        let weights = load(&*engine, &generation, &verified)?;
        try_golden(&*engine, &weights, &golden).map_err(|(prompt, problem)| PrepareError::Golden {
            generation: generation.clone(),
            prompt,
            problem,
        })?;
        Ok(Live::new(generation, weights))
    });
    loaded.await.unwrap_or_else(|source| Err(PrepareError::Thread { generation: name.clone(), source }))
}

fn load<E: Engine>(engine: &E, name: &GenerationName, verified: &Verified) -> Result<E::Weights, PrepareError> {
    let slow = verified.files.get(SLOW_FILE).ok_or_else(|| PrepareError::NoSlowBank(name.clone()))?;
    let failed = |source| PrepareError::Load { generation: name.clone(), source };
    let weights = engine.load(slow).map_err(failed)?;
    let found = engine.tensors(slow, SLOW_BANK).map_err(failed)?;
    check_tensors(name, &verified.manifest, &found)?;
    Ok(weights)
}

/// Names in the manifest and in the file are the same, and so are the tensors.
fn check_tensors(
    generation: &GenerationName,
    manifest: &Manifest,
    found: &[nocturne_wire::manifest::TensorEntry],
) -> Result<(), PrepareError> {
    let mut listed: Vec<_> = manifest.tensors.iter().filter(|tensor| tensor.bank == SLOW_BANK).collect();
    let mut found: Vec<_> = found.iter().collect();
    listed.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let differs = listed.iter().zip(&found).find(|(a, b)| a != b).map(|(listed, _)| listed.name.clone());
    let surplus = || found.get(listed.len()).or_else(|| listed.get(found.len())).map(|tensor| tensor.name.clone());
    match differs.or_else(surplus) {
        None => Ok(()),
        Some(tensor) => Err(PrepareError::Tensor { generation: generation.clone(), tensor }),
    }
}

/// Lets a generation answer fixed prompts on this replica; says which one failed, and how.
fn try_golden<E: Engine>(engine: &E, weights: &E::Weights, prompts: &[String]) -> Result<(), (usize, &'static str)> {
    let mut scratch = engine.scratch();
    for (number, prompt) in prompts.iter().enumerate() {
        let mut state = engine.state();
        let tokens = engine.conversation(&[(Role::User, prompt)], true).map_err(|_| (number, "the chat template refuses it"))?;
        if tokens.is_empty() {
            return Err((number, "the chat template writes nothing"));
        }
        let mut logits = engine.prefill(&mut scratch, weights, &mut state, &tokens).logits;
        for spoken in 0..GOLDEN_TOKENS {
            if !logits.iter().all(|logit| logit.is_finite()) {
                return Err((number, "its scores are not finite"));
            }
            let Some((token, _)) = argmax(&logits) else { return Err((number, "it gives no scores")) };
            if engine.ends().contains(&(token as u32)) {
                if spoken == 0 {
                    return Err((number, "its answer is empty"));
                }
                break;
            }
            let step = Step { state: &mut state, token: token as u32 };
            logits = engine.step(&mut scratch, weights, &mut [step]).to_vec();
        }
    }
    Ok(())
}
