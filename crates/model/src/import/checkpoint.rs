//! The tensors of a checkpoint: one `model.safetensors`, or shards that a `model.safetensors.index.json` lists.
//!
//! A checkpoint is not read into memory as bytes. It is read through a [`Source`] that gives parts of files: first every file's header, from which everything about names, types and extents is checked,
//! then one tensor after the other. Rejected: mapping files into memory, which needs unsafe code, and which a file that is cut while it is read turns into a crash.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::Range,
};

use half::{bf16, f16};
use safetensors::{Dtype, tensor::Metadata};
use serde::Deserialize;

use super::{Files, config::Foreign, error::ImportError};
use crate::{
    error::ModelError,
    tensors::{Precision, Values},
};

mod layout;
#[cfg(test)]
mod tests;

pub use layout::{HEAD, layout};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Tables of rotations, which old checkpoints have and nobody reads.
const UNREAD: &str = ".rotary_emb.inv_freq";
/// Longest header of a file and longest index, bytes; the safetensors library has the same limit for headers.
const LONGEST: u64 = 100_000_000;
/// Types of numbers that are read.
const TYPES: &str = "BF16, F16, F32";

/// What a checkpoint's files are read from: a folder, a bucket, memory.
pub trait Source {
    /// Length of a file in bytes, `None` if it is not there.
    ///
    /// # Errors
    /// When that cannot be told.
    fn size(&self, file: &str) -> io::Result<Option<u64>>;

    /// Bytes of a file that is there.
    ///
    /// # Errors
    /// When they cannot be read, or the file ends before.
    fn read(&self, file: &str, range: Range<u64>) -> io::Result<Vec<u8>>;
}

impl Source for Files {
    fn size(&self, file: &str) -> io::Result<Option<u64>> {
        Ok(self.get(file).map(|bytes| bytes.len() as u64))
    }

    fn read(&self, file: &str, range: Range<u64>) -> io::Result<Vec<u8>> {
        let within =
            |bytes: &Vec<u8>| Some(bytes.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)?.to_vec());
        self.get(file).and_then(within).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// Where a tensor lies.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    file: String,
    range: Range<u64>,
    dtype: Dtype,
    shape: Vec<usize>,
}

/// A checkpoint whose headers were read.
#[derive(Debug)]
pub struct Checkpoint<S> {
    source: S,
    places: BTreeMap<String, Place>,
}

impl<S: Source> Checkpoint<S> {
    /// Reads the index and the headers.
    ///
    /// # Errors
    /// When there are no tensors, a shard is missing or malformed, or index and shards contradict each other.
    pub fn open(source: S) -> Result<Self, ModelError> {
        let mut places = BTreeMap::new();
        if size(&source, SINGLE)?.is_some() {
            places = header(&source, SINGLE)?;
        } else {
            let shards = index(&source)?;
            for (shard, names) in &shards {
                let held = header(&source, shard)?;
                agree(shard, names, &held)?;
                places.extend(held);
            }
        }
        Ok(Self { source, places })
    }

    /// Names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(|name| &**name)
    }

    /// The precision in which all tensors that are read can be kept without loss: theirs, where all have the same.
    pub fn precision(&self) -> Precision {
        let read = || self.places.iter().filter(|(name, _)| !name.ends_with(UNREAD)).map(|(_, place)| place.dtype);
        let all = |dtype| read().all(|read| read == dtype);
        match () {
            () if all(Dtype::F16) => Precision::Half,
            () if all(Dtype::BF16) => Precision::Brain,
            () => Precision::Single,
        }
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Checks that there are exactly the tensors that a model of this kind has, of the right extents and of types that can be read.
    ///
    /// Tables of rotations, which old checkpoints have and nobody reads, may be there. Whether the embedding also gives the scores is what transformers 5 makes of it: not when the checkpoint has a matrix of its own
    /// for them, whatever `config.json` says.
    ///
    /// # Errors
    /// Names the first tensor that is missing, foreign, of other extents or of another type.
    pub fn check(&self, foreign: &Foreign) -> Result<(), ModelError> {
        let expected = layout(foreign, self.has(HEAD));
        for (name, shape) in &expected {
            let place = self.place(name)?;
            self.readable(name, place)?;
            if &place.shape != shape {
                return Err(self.mismatch(name, place, format!("of shape {:?}", place.shape), format!("shape {shape:?}")));
            }
        }
        let unread = |name: &&String| !expected.contains_key(*name) && !name.ends_with(UNREAD);
        match self.places.iter().find(|(name, _)| unread(name)) {
            Some((name, place)) => Err(ModelError::Foreign { what: place.file.clone(), tensor: name.clone() }),
            None => Ok(()),
        }
    }

    /// Reads one tensor.
    ///
    /// # Errors
    /// When it is missing, of a type that is not supported, cannot be read, or holds values that are not finite.
    pub fn tensor(&self, name: &str) -> Result<Values, ModelError> {
        let place = self.place(name)?;
        self.readable(name, place)?;
        let bytes = self.source.read(&place.file, place.range.clone());
        let bytes = bytes.map_err(|source| ImportError::Read { file: place.file.clone(), source })?;
        if bytes.len() as u64 != place.range.end - place.range.start {
            return Err(ImportError::Read { file: place.file.clone(), source: io::ErrorKind::UnexpectedEof.into() }.into());
        }
        let data: Vec<f32> = match place.dtype {
            Dtype::F16 => bytes.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            Dtype::BF16 => bytes.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
            _ => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        };
        if data.iter().any(|x| !x.is_finite()) {
            return Err(ModelError::NotFinite { what: place.file.clone(), tensor: name.to_owned() });
        }
        Ok(Values { shape: place.shape.clone(), data })
    }

    fn place(&self, name: &str) -> Result<&Place, ModelError> {
        self.places.get(name).ok_or_else(|| ModelError::Missing { what: "the checkpoint".to_owned(), tensor: name.to_owned() })
    }

    fn readable(&self, name: &str, place: &Place) -> Result<(), ModelError> {
        match place.dtype {
            Dtype::F16 | Dtype::BF16 | Dtype::F32 => Ok(()),
            other => Err(self.mismatch(name, place, format!("of type {other:?}"), TYPES.to_owned())),
        }
    }

    #[expect(clippy::unused_self, reason = "reads like the checks that it belongs to")]
    fn mismatch(&self, name: &str, place: &Place, found: String, expected: String) -> ModelError {
        ModelError::Mismatch { what: place.file.clone(), tensor: name.to_owned(), found, expected }
    }
}

fn size(source: &impl Source, file: &str) -> Result<Option<u64>, ImportError> {
    source.size(file).map_err(|source| ImportError::Read { file: file.to_owned(), source })
}

fn bytes(source: &impl Source, file: &str, range: Range<u64>) -> Result<Vec<u8>, ImportError> {
    source.read(file, range).map_err(|source| ImportError::Read { file: file.to_owned(), source })
}

fn wrong(file: &str, why: impl Into<String>) -> ImportError {
    ImportError::Inconsistent { file: file.to_owned(), why: why.into() }
}

/// Which shard holds which tensors.
fn index(source: &impl Source) -> Result<BTreeMap<String, BTreeSet<String>>, ImportError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let Some(length) = size(source, INDEX)? else { return Err(absent(source)?) };
    if length > LONGEST {
        return Err(wrong(INDEX, format!("it has {length} bytes; {LONGEST} are the most")));
    }
    let json = bytes(source, INDEX, 0..length)?;
    let json = serde_json::from_slice(&json);
    let index: Index = json.map_err(|source| ImportError::Json { file: INDEX.to_owned(), source })?;
    let mut shards: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (tensor, shard) in index.weight_map {
        // The name comes from a stranger and is opened: it must not lead out of the checkpoint.
        if shard.starts_with('.') || shard.contains(['/', '\\', ':', '\0']) || !shard.ends_with(".safetensors") {
            return Err(wrong(INDEX, format!("it names `{shard}`, which is no safetensors file beside it")));
        }
        shards.entry(shard).or_default().insert(tensor);
    }
    if shards.is_empty() {
        return Err(wrong(INDEX, "it lists no tensors"));
    }
    Ok(shards)
}

/// What to say where no safetensors are.
fn absent(source: &impl Source) -> Result<ImportError, ImportError> {
    let others =
        ["pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth", "consolidated.safetensors", "model.gguf"];
    for other in others {
        if size(source, other)?.is_some() {
            let supported = "model.safetensors, or shards with a model.safetensors.index.json, as transformers saves them";
            return Ok(ImportError::Unsupported { found: format!("weights in {other}"), supported });
        }
    }
    Ok(ImportError::Absent {
        file: SINGLE.to_owned(),
        needed: "it holds the weights (or shards do that a model.safetensors.index.json lists)",
    })
}

/// Reads a file's header.
fn header(source: &impl Source, file: &str) -> Result<BTreeMap<String, Place>, ModelError> {
    let needed = "the index says that it holds tensors";
    let all = size(source, file)?.ok_or_else(|| ImportError::Absent { file: file.to_owned(), needed })?;
    if all < 8 {
        return Err(wrong(file, format!("it has {all} bytes and no header")).into());
    }
    let length = bytes(source, file, 0..8)?;
    let length = u64::from_le_bytes(length.try_into().map_err(|_| wrong(file, "it ends within its header"))?);
    if length > LONGEST || length > all - 8 {
        return Err(wrong(file, format!("its header of {length} bytes is not within its {all}, or longer than {LONGEST}")).into());
    }
    let begin = 8 + length;
    let json = bytes(source, file, 8..begin)?;
    let metadata = serde_json::from_slice(&json);
    let metadata: Metadata = metadata.map_err(|source| ImportError::Json { file: format!("{file} (its header)"), source })?;
    if Some(all) != begin.checked_add(metadata.data_len() as u64) {
        let why = format!(
            "its header speaks of {} bytes of tensors, and {} are there: an unfinished download?",
            metadata.data_len(),
            all - begin
        );
        return Err(wrong(file, why).into());
    }
    let place = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
        let (from, to) = info.data_offsets;
        let range = begin + from as u64..begin + to as u64;
        (name, Place { file: file.to_owned(), range, dtype: info.dtype, shape: info.shape.clone() })
    };
    Ok(metadata.tensors().into_iter().map(place).collect())
}

/// That a shard holds what the index says, and nothing else.
fn agree(shard: &str, listed: &BTreeSet<String>, held: &BTreeMap<String, Place>) -> Result<(), ModelError> {
    if let Some(tensor) = listed.iter().find(|name| !held.contains_key(*name)) {
        return Err(ModelError::Missing { what: shard.to_owned(), tensor: tensor.clone() });
    }
    match held.keys().find(|name| !listed.contains(*name)) {
        Some(tensor) => Err(wrong(shard, format!("it holds the tensor `{tensor}`, which {INDEX} does not list there")).into()),
        None => Ok(()),
    }
}
