//! Named tensors in memory and as safetensors files.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, Write},
    path::Path,
};

use burn::tensor::{DType, Tensor};
use half::f16;
use nocturne_wire::{Sha256Hex, manifest::TensorEntry};
use safetensors::{
    Dtype, SafeTensorError, SafeTensors, View,
    tensor::{Metadata, TensorInfo},
};

use crate::error::ModelError;

/// A tensor in `f32`.
#[derive(Debug, Clone, PartialEq)]
pub struct Values {
    /// Row-major extents.
    pub shape: Vec<usize>,
    /// Row-major values.
    pub data: Vec<f32>,
}

/// The numbers of a tensor on any device, row by row, in single precision.
pub(crate) fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.cast(DType::F32).into_data().try_to_vec().expect("it was cast to single precision")
}

/// Tensors by name.
pub type Tensors = BTreeMap<String, Values>;

/// Marks tensors of the banks that nights change: whatever begins with `slow`, and nothing else ([`crate::config::BankConfig`]).
pub const SLOW: &str = ".cms.slow";

/// How numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// `F16`
    Half,
    /// `BF16`
    Brain,
    /// `F32`
    Single,
}

impl Precision {
    fn dtype(self) -> Dtype {
        match self {
            Self::Half => Dtype::F16,
            Self::Brain => Dtype::BF16,
            Self::Single => Dtype::F32,
        }
    }

    /// Bytes of one number.
    const fn size(self) -> usize {
        match self {
            Self::Half | Self::Brain => 2,
            Self::Single => 4,
        }
    }

    fn bytes(self, data: &[f32]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(data.len() * self.size());
        match self {
            Self::Half => data.iter().for_each(|x| bytes.extend(f16::from_f32(*x).to_le_bytes())),
            Self::Brain => data.iter().for_each(|x| bytes.extend(half::bf16::from_f32(*x).to_le_bytes())),
            Self::Single => data.iter().for_each(|x| bytes.extend(x.to_le_bytes())),
        }
        bytes
    }
}

/// A tensor that becomes bytes when its turn comes: a whole model's would be a second copy of it.
struct Written<'a> {
    values: &'a Values,
    precision: Precision,
}

impl View for Written<'_> {
    fn dtype(&self) -> Dtype {
        self.precision.dtype()
    }

    fn shape(&self) -> &[usize] {
        &self.values.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.precision.bytes(&self.values.data).into()
    }

    fn data_len(&self) -> usize {
        self.values.data.len() * self.precision.size()
    }
}

fn written<'a>(what: &str, tensors: &'a Tensors, precision: Precision) -> Result<Vec<(&'a str, Written<'a>)>, ModelError> {
    let one = |(name, values): (&'a String, &'a Values)| {
        let count: usize = values.shape.iter().product();
        if count == values.data.len() {
            return Ok((name.as_str(), Written { values, precision }));
        }
        let (found, expected) = (format!("of {} values", values.data.len()), format!("those of shape {:?}", values.shape));
        Err(ModelError::Mismatch { what: what.to_owned(), tensor: name.clone(), found, expected })
    };
    tensors.iter().map(one).collect()
}

/// Writes tensors as half-precision safetensors; the same tensors always give the same bytes.
///
/// # Errors
/// When a tensor's values do not fill its extents.
pub fn write(what: &str, tensors: &Tensors) -> Result<Vec<u8>, ModelError> {
    write_as(what, tensors, Precision::Half)
}

/// Writes tensors as safetensors; the same tensors always give the same bytes.
///
/// # Errors
/// When a tensor's values do not fill its extents.
pub fn write_as(what: &str, tensors: &Tensors, precision: Precision) -> Result<Vec<u8>, ModelError> {
    safetensors::serialize(written(what, tensors, precision)?, None)
        .map_err(|source| ModelError::Format { what: what.to_owned(), source })
}

/// The same with metadata beside the tensors.
pub(crate) fn write_with(
    what: &str,
    tensors: &Tensors,
    precision: Precision,
    metadata: HashMap<String, String>,
) -> Result<Vec<u8>, ModelError> {
    safetensors::serialize(written(what, tensors, precision)?, Some(metadata))
        .map_err(|source| ModelError::Format { what: what.to_owned(), source })
}

/// Writes tensors into a file, one after the other: the bytes of [`write_as`]. Rejected: the library's own way, which makes a file that only its owner may read.
///
/// # Errors
/// When a tensor's values do not fill its extents, or the file cannot be written.
pub fn write_file(path: &Path, tensors: &Tensors, precision: Precision) -> Result<(), ModelError> {
    let what = path.display().to_string();
    let views = written(&what, tensors, precision)?;
    let failed = |source: SafeTensorError| ModelError::Format { what: what.clone(), source };
    let mut end = 0;
    let places = views.iter().map(|(name, view)| {
        let from = end;
        end += view.data_len();
        let info = TensorInfo { dtype: view.dtype(), shape: view.shape().to_vec(), data_offsets: (from, end) };
        ((*name).to_owned(), info)
    });
    let header = Metadata::new(None, places.collect()).map_err(failed)?;
    let mut header = serde_json::to_vec(&header).map_err(ModelError::Config)?;
    header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
    let save = || {
        let mut file = File::create(path)?;
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        views.iter().try_for_each(|(_, view)| file.write_all(&view.data()))
    };
    save().map_err(|error: io::Error| failed(SafeTensorError::IoError(error)))
}

/// What the length of a file's header is a multiple of, bytes.
const ALIGNMENT: usize = 8;

/// Reads tensors of half, brain or single precision and refuses values that are not finite.
///
/// # Errors
/// When the file is malformed, holds another type or values that are not finite.
pub fn read(what: &str, bytes: &[u8]) -> Result<Tensors, ModelError> {
    let file = SafeTensors::deserialize(bytes).map_err(|source| ModelError::Format { what: what.to_owned(), source })?;
    let mut tensors = Tensors::new();
    for (name, view) in file.iter() {
        let data: Vec<f32> = match view.dtype() {
            Dtype::F16 => view.data().as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            Dtype::BF16 => view.data().as_chunks::<2>().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect(),
            Dtype::F32 => view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            other => {
                return Err(ModelError::Mismatch {
                    what: what.to_owned(),
                    tensor: name.to_owned(),
                    found: format!("{other:?}"),
                    expected: "F16, BF16 or F32".to_owned(),
                });
            }
        };
        if data.iter().any(|x| !x.is_finite()) {
            return Err(ModelError::NotFinite { what: what.to_owned(), tensor: name.to_owned() });
        }
        tensors.insert(name.to_owned(), Values { shape: view.shape().to_vec(), data });
    }
    Ok(tensors)
}

/// Checks that `found` has exactly the names and extents of `expected`.
///
/// # Errors
/// Names the first tensor that is missing, foreign or of other extents.
pub fn check_layout(what: &str, found: &Tensors, expected: &BTreeMap<String, Vec<usize>>) -> Result<(), ModelError> {
    for (name, shape) in expected {
        let Some(values) = found.get(name) else {
            return Err(ModelError::Missing { what: what.to_owned(), tensor: name.clone() });
        };
        if &values.shape != shape {
            return Err(ModelError::Mismatch {
                what: what.to_owned(),
                tensor: name.clone(),
                found: format!("of shape {:?}", values.shape),
                expected: format!("shape {shape:?}"),
            });
        }
    }
    match found.keys().find(|name| !expected.contains_key(*name)) {
        Some(name) => Err(ModelError::Foreign { what: what.to_owned(), tensor: name.clone() }),
        None => Ok(()),
    }
}

/// What a manifest says about the tensors of a file.
///
/// # Errors
/// When the file is malformed.
pub fn entries(safetensors: &[u8], bank: &str) -> Result<Vec<TensorEntry>, ModelError> {
    let what = format!("bank `{bank}`");
    let file = SafeTensors::deserialize(safetensors).map_err(|source| ModelError::Format { what, source })?;
    let mut entries: Vec<TensorEntry> = file
        .iter()
        .map(|(name, view)| TensorEntry {
            name: name.to_owned(),
            bank: bank.to_owned(),
            shape: view.shape().to_vec(),
            dtype: format!("{:?}", view.dtype()),
            sha256: Sha256Hex::of(view.data()),
        })
        .collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}
