//! The model: mixers, Continuum Memory System, banks, training and decoding.
//!
//! Sole owner of burn. Takes bytes and returns bytes: files, the lake and the network are somebody else's.

pub mod algebra;
pub mod chat;
pub mod cms;
pub mod config;
pub mod decode;
pub mod device;
pub mod error;
pub mod host;
pub mod import;
pub mod kernels;
pub mod memory;
pub mod mixers;
pub mod model;
pub mod online;
pub mod ops;
pub mod optim;
pub mod params;
pub mod presets;
mod shipped;
pub mod tensors;
pub mod tokenizer;
pub mod train;
pub mod voice;

pub use chat::{Chat, ChatLayout, ChatTokens, Turn, Writing};
pub use config::ModelConfig;
pub use decode::{Banks, Base, Decoder, Piece, Prefill, SessionState, StepInput, Weights};
pub use device::{DeviceError, DeviceName};
pub use error::ModelError;
pub use model::Model;
pub use tensors::entries as manifest_tensors;
pub use tokenizer::{DecodeStream, Tokenizer};
