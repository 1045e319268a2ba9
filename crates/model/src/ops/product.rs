//! Products of matrices whose factors are as precise as their type says.
//!
//! burn multiplies `f32` on a GPU with its matrix units where it finds any, and they round factors to eleven bits (TF32). Rounded so on the CPU, logits of
//! this model's mixers were off by up to 2.6e-2 of the largest, and most gradients by more than 1e-3, because a memory carries an error on from chunk to
//! chunk. There is no setting for it, and tuning would choose them, too. In double precision matrix units of that kind do not take part; the product
//! costs several times as much, on a device for which this model's matrices are small.

use burn::{
    backend::DispatchDevice,
    tensor::{DType, Tensor},
};

/// `A B`
pub(crate) fn product<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    if a.dtype() == DType::F32 && rounds(a.device().as_dispatch()) { in_double(a, b) } else { a.matmul(b) }
}

fn in_double<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    let dtype = a.dtype();
    a.cast(DType::F64).matmul(b.cast(DType::F64)).cast(dtype)
}

/// Whether a device's products round their factors.
fn rounds(device: &DispatchDevice) -> bool {
    match device {
        #[cfg(feature = "cuda")]
        DispatchDevice::Cube(_) => true,
        DispatchDevice::Autodiff(device) => rounds(&device.clone().inner()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    #[test]
    fn a_product_in_double_precision_is_the_same_product_and_has_the_same_gradients() {
        let device = Device::flex().autodiff();
        let matrix = |rows, cols, step: f32| {
            let values: Vec<f32> = (0..rows * cols).map(|n| (n as f32 * step).sin()).collect();
            Tensor::<2>::from_data(TensorData::new(values, [rows, cols]), &device).require_grad()
        };
        let found = [product, in_double].map(|product| {
            let (a, b) = (matrix(5, 7, 0.3), matrix(7, 4, 0.7));
            let c = product(a.clone(), b.clone());
            let gradients = c.clone().powi_scalar(2).sum().backward();
            let gradient = |x: &Tensor<2>| x.grad(&gradients).expect("it is a leaf");
            let values = |x: Tensor<2>| x.into_data().try_to_vec::<f32>().expect("it is in single precision");
            [values(c), values(gradient(&a)), values(gradient(&b))]
        });
        for (single, double) in found[0].iter().zip(&found[1]) {
            assert!(single.iter().zip(double).all(|(a, b)| (a - b).abs() < 1e-4 * a.abs().max(1.0)), "{single:?} {double:?}");
        }
    }
}
