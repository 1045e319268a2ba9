//! The decoding work of `nocturne bench peers` by candle: the last argument is a request, the last line of the output the figures.

use std::{env, fs, path::PathBuf, time::Instant};

use anyhow::{Context, bail};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Config, Llama, LlamaConfig};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Request {
    checkpoint: PathBuf,
    seconds: f64,
    works: Vec<Work>,
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Work {
    Read { batch: usize, prompt: usize },
    Generate { batch: usize, prompt: usize, tokens: usize },
    Train {},
}

#[derive(Serialize)]
struct Measured {
    program: String,
    tokens_per_second: Vec<Option<f64>>,
    /// Logits of the first sequence after its last token.
    first_logits: Vec<Option<Vec<f32>>>,
    rounding: f32,
}

struct Model {
    llama: Llama,
    empty: Cache,
    config: Config,
    device: Device,
}

impl Model {
    fn load(folder: &std::path::Path) -> anyhow::Result<Self> {
        let config: LlamaConfig = serde_json::from_slice(&fs::read(folder.join("config.json"))?)?;
        let config = config.into_config(false);
        let device = Device::Cpu;
        let weights = VarBuilder::from_buffered_safetensors(fs::read(folder.join("model.safetensors"))?, DType::F32, &device)?;
        // With the sines of all positions, which are no part of reading.
        let empty = Cache::new(true, DType::F32, &config, &device)?;
        Ok(Self { llama: Llama::load(weights, &config)?, empty, config, device })
    }

    fn ids(&self, batch: usize, tokens: usize, first: usize, salts: bool) -> anyhow::Result<Tensor> {
        let id = |n: usize, salt: usize| ((n * 7_919 + salt * 104_729) % self.config.vocab_size) as u32;
        let row = |salt: usize| (first..first + tokens).map(move |n| id(n, if salts { salt } else { 0 }));
        let all: Vec<u32> = (0..batch).flat_map(row).collect();
        Ok(Tensor::from_vec(all, (batch, tokens), &self.device)?)
    }

    /// What was read, and the logits after it.
    fn read(&self, batch: usize, prompt: usize) -> anyhow::Result<(Cache, Tensor)> {
        let mut cache = self.empty.clone();
        let logits = self.llama.forward(&self.ids(batch, prompt, 0, true)?, 0, &mut cache)?;
        Ok((cache, logits))
    }

    fn generate(&self, cache: &mut Cache, batch: usize, prompt: usize, tokens: usize) -> anyhow::Result<Option<Tensor>> {
        let mut logits = None;
        for n in 0..tokens {
            logits = Some(self.llama.forward(&self.ids(batch, 1, n, false)?, prompt + n, cache)?);
        }
        Ok(logits)
    }
}

/// Runs work over and over; units a second. The first run, which warms up, is not counted.
fn rate(units: usize, seconds: f64, mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    work()?;
    let (begun, mut runs) = (Instant::now(), 0);
    while begun.elapsed().as_secs_f64() < seconds {
        work()?;
        runs += 1;
    }
    Ok((units * runs) as f64 / begun.elapsed().as_secs_f64())
}

fn main() -> anyhow::Result<()> {
    let Some(request) = env::args().next_back() else { bail!("give a request") };
    let request: Request = serde_json::from_str(&request).context("reading the request")?;
    let model = Model::load(&request.checkpoint).context("loading the checkpoint")?;
    let (mut tokens_per_second, mut first_logits) = (Vec::new(), Vec::new());
    for work in &request.works {
        let mut said = None;
        tokens_per_second.push(match work {
            Work::Read { batch, prompt } => Some(rate(batch * prompt, request.seconds, || {
                said = Some(model.read(*batch, *prompt)?.1);
                Ok(())
            })?),
            Work::Generate { batch, prompt, tokens } => {
                let (read, _) = model.read(*batch, *prompt)?;
                Some(rate(batch * tokens, request.seconds, || {
                    said = model.generate(&mut read.clone(), *batch, *prompt, *tokens)?;
                    Ok(())
                })?)
            }
            Work::Train {} => None,
        });
        first_logits.push(said.map(|logits| logits.get(0)?.to_vec1()).transpose()?);
    }
    let program = "candle 0.11, float32".into();
    println!("{}", serde_json::to_string(&Measured { program, tokens_per_second, first_logits, rounding: f32::EPSILON })?);
    Ok(())
}
