//! What a mixer has read of a stream, as tensors.

use burn::tensor::Tensor;

use crate::{
    memory::{hope, titans},
    ops::composed::KeysValues,
};

/// The state of one mixer in a stream.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// Tokens read.
    pub position: usize,
    /// The last rows before the convolution, `[B, taps - 1, P]`.
    pub tail: Option<Tensor<3>>,
    /// What attention sees.
    pub seen: Option<KeysValues>,
    /// A linear memory.
    pub linear: Option<Tensor<3>>,
    /// Titans' memory.
    pub titans: Option<titans::State<Tensor<3>>>,
    /// Hope's boxes.
    pub hope: Option<hope::State<Tensor<3>>>,
}

impl Past {
    /// The same values without the operations that led to them.
    #[must_use]
    pub fn detached(self) -> Self {
        let all = |xs: Vec<Tensor<3>>| xs.into_iter().map(Tensor::detach).collect::<Vec<_>>();
        let boxes = |xs: Vec<Vec<Tensor<3>>>| xs.into_iter().map(all).collect::<Vec<_>>();
        Self {
            position: self.position,
            tail: self.tail.map(Tensor::detach),
            seen: self.seen.map(|(k, v)| (k.detach(), v.detach())),
            linear: self.linear.map(Tensor::detach),
            titans: self.titans.map(|s| titans::State {
                weights: all(s.weights),
                momentum: s.momentum.map(all),
                snapshot: all(s.snapshot),
                filled: s.filled,
            }),
            hope: self.hope.map(|s| hope::State { live: boxes(s.live), snapshot: boxes(s.snapshot), filled: s.filled }),
        }
    }
}
