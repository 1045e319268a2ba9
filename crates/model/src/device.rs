//! Devices by name: where tensors lie and training runs.
//!
//! `flex` is burn's own backend for the CPU and always there; on it operations are fused ([`crate::ops`]). The others are features of this crate, so that
//! the default build neither knows LibTorch nor CUDA: `tch` is LibTorch, on the CPU and, where its libraries are those for CUDA, on GPUs; `cuda`
//! compiles its kernels when it runs and finds the driver then, so that one program serves machines with a GPU and without.
//!
//! What is written nowhere else: burn reads an optimizer's saved state onto its own default device before it moves it to where it belongs, and that is the
//! GPU in a build with `cuda`. [`check_default`] tells it before burn would panic.

use std::{fmt, str::FromStr};

pub use burn::tensor::Device;
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// The name of a device: `flex`, `tch`, `tch:cuda:1`, `cuda`, `cuda:1`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceName {
    /// This crate's fused operations, on the CPU.
    #[default]
    Flex,
    /// LibTorch on the CPU.
    Tch,
    /// LibTorch on a GPU.
    TchCuda(usize),
    /// burn's own backend on a GPU.
    Cuda(usize),
}

/// Why there is no such device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// A name that no device has.
    #[error("there is no device `{0}`; devices are flex, tch, tch:cuda:0, cuda and cuda:0, or another number of a GPU")]
    Unknown(String),
    /// The program was built without it.
    #[error("the device {device} is not in this build; build with `--features {feature}`")]
    NotBuilt {
        /// The device.
        device: DeviceName,
        /// The feature that brings it.
        feature: &'static str,
    },
    /// The machine does not have it.
    #[error("this machine has no device {device}; it has {present}")]
    Absent {
        /// The device.
        device: DeviceName,
        /// Those that are there.
        present: String,
    },
    /// It is there and does not compute.
    #[error("the device {device} is there and does not compute: {why}")]
    Broken {
        /// The device.
        device: DeviceName,
        /// What it said.
        why: String,
    },
    /// burn's own default device is absent, onto which it reads what an optimizer remembers.
    #[error("this build reads what an optimizer remembers onto a GPU, and this machine has none: set BURN_DEVICE=flex")]
    DefaultAbsent,
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flex => f.write_str("flex"),
            Self::Tch => f.write_str("tch"),
            Self::TchCuda(index) => write!(f, "tch:cuda:{index}"),
            Self::Cuda(0) => f.write_str("cuda"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl FromStr for DeviceName {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Self, DeviceError> {
        let index = |text: &str| text.parse().map_err(|_| DeviceError::Unknown(name.to_owned()));
        match name.split(':').collect::<Vec<_>>()[..] {
            ["flex"] => Ok(Self::Flex),
            ["tch"] => Ok(Self::Tch),
            ["tch", "cuda"] => Ok(Self::TchCuda(0)),
            ["tch", "cuda", n] => index(n).map(Self::TchCuda),
            ["cuda"] => Ok(Self::Cuda(0)),
            ["cuda", n] => index(n).map(Self::Cuda),
            _ => Err(DeviceError::Unknown(name.to_owned())),
        }
    }
}

impl TryFrom<String> for DeviceName {
    type Error = DeviceError;

    fn try_from(name: String) -> Result<Self, DeviceError> {
        name.parse()
    }
}

impl From<DeviceName> for String {
    fn from(name: DeviceName) -> Self {
        name.to_string()
    }
}

impl DeviceName {
    /// The feature that brings it, if the build lacks that.
    fn missing_feature(self) -> Option<&'static str> {
        match self {
            Self::Flex => None,
            Self::Tch | Self::TchCuda(_) => (!cfg!(feature = "tch")).then_some("tch"),
            Self::Cuda(_) => (!cfg!(feature = "cuda")).then_some("cuda"),
        }
    }

    /// The device, after it has computed something.
    ///
    /// # Errors
    /// When the build or the machine does not have it, or it cannot compute.
    pub fn open(self) -> Result<Device, DeviceError> {
        if let Some(feature) = self.missing_feature() {
            return Err(DeviceError::NotBuilt { device: self, feature });
        }
        let found = found();
        let Some((_, device)) = found.iter().find(|(name, _)| *name == self) else {
            let present = found.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>().join(", ");
            return Err(DeviceError::Absent { device: self, present });
        };
        try_out(device).map_err(|why| DeviceError::Broken { device: self, why })?;
        Ok(device.clone())
    }
}

/// Devices that this build knows and this machine has.
pub fn present() -> Vec<DeviceName> {
    found().into_iter().map(|(name, _)| name).collect()
}

fn found() -> Vec<(DeviceName, Device)> {
    let mut found = vec![(DeviceName::Flex, Device::flex())];
    found.extend(libtorch());
    found.extend(cuda());
    found
}

#[cfg(feature = "tch")]
#[expect(deprecated, reason = "it is burn's second opinion on every operation for as long as it is there")]
fn libtorch() -> Vec<(DeviceName, Device)> {
    use burn::tensor::DeviceType;
    let gpus = Device::enumerate(DeviceType::LibTorch).into_vec().len();
    let gpus = (0..gpus).map(|n| (DeviceName::TchCuda(n), Device::libtorch_cuda(n)));
    [(DeviceName::Tch, Device::libtorch())].into_iter().chain(gpus).collect()
}

#[cfg(not(feature = "tch"))]
fn libtorch() -> Vec<(DeviceName, Device)> {
    Vec::new()
}

#[cfg(feature = "cuda")]
fn cuda() -> Vec<(DeviceName, Device)> {
    use burn::tensor::DeviceType;
    let gpus = Device::enumerate(DeviceType::Cuda).into_vec();
    gpus.into_iter().enumerate().map(|(n, device)| (DeviceName::Cuda(n), device)).collect()
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Vec<(DeviceName, Device)> {
    Vec::new()
}

/// An exponential is what a GPU whose driver is there and whose mathematical library is not cannot compute.
fn try_out(device: &Device) -> Result<(), String> {
    let one = Tensor::<1>::from_data(TensorData::new(vec![0.0_f32], [1]), device).exp();
    let value: Vec<f32> = one.try_into_data().map_err(|e| e.to_string())?.try_to_vec().map_err(|e| format!("{e:?}"))?;
    if value == [1.0] { Ok(()) } else { Err(format!("e to the power of 0 is {value:?} there")) }
}

/// Whether burn's own default device, onto which it reads what an optimizer remembers, is there.
///
/// # Errors
/// When it is not; the variable `BURN_DEVICE` names another one.
pub fn check_default() -> Result<(), DeviceError> {
    let default = Device::default();
    if found().iter().any(|(_, device)| *device == default) { Ok(()) } else { Err(DeviceError::DefaultAbsent) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_as_they_are_written() {
        for name in [DeviceName::Flex, DeviceName::Tch, DeviceName::TchCuda(0), DeviceName::Cuda(0), DeviceName::Cuda(3)] {
            assert_eq!(name.to_string().parse(), Ok(name));
            let json = serde_json::to_string(&name).expect("written");
            assert_eq!(serde_json::from_str::<DeviceName>(&json).expect("read"), name);
        }
        assert_eq!("tch:cuda".parse(), Ok(DeviceName::TchCuda(0)));
        assert_eq!(("cuda:0".parse(), DeviceName::default()), (Ok(DeviceName::Cuda(0)), DeviceName::Flex));
        for wrong in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "tch:0", "flex:0", "tch:cuda:0:1"] {
            assert_eq!(wrong.parse::<DeviceName>(), Err(DeviceError::Unknown(wrong.to_owned())));
        }
    }

    #[test]
    fn a_device_that_is_not_there_says_what_is_missing() {
        assert!(DeviceName::Flex.open().is_ok(), "it always is");
        for name in [DeviceName::TchCuda(999), DeviceName::Cuda(999)] {
            let refused = name.open().expect_err("no machine has so many");
            match name.missing_feature() {
                Some(feature) => assert_eq!(refused, DeviceError::NotBuilt { device: name, feature }),
                None => assert!(matches!(refused, DeviceError::Absent { .. }), "{refused}"),
            }
        }
    }

    #[test]
    fn what_is_present_can_be_opened() {
        let present = present();
        assert_eq!(present[0], DeviceName::Flex);
        for name in present {
            name.open().unwrap_or_else(|error| panic!("{error}"));
        }
    }
}
