//! The fused operations: forward and gradient over row-major slices.
//!
//! Shapes are written `[batch, time, channels]` (B, T, C); N stands for B × T rows. Every kernel has a test that compares its gradient with finite
//! differences in `kernels/tests.rs`.

pub mod attention;
pub mod conv;
pub mod delta;
pub mod embed;
pub mod fast;
pub mod gate;
pub mod gemm;
pub mod head;
pub(crate) mod heads;
pub mod linear;
pub mod math;
pub mod mlp;
pub mod norm;
pub mod packed;
pub mod quiet;
pub mod real;
pub mod rope;

#[cfg(test)]
pub(crate) mod tests;
