//! Fused operations that run on the CPU over plain slices, with hand-written gradients, inside burn's autodiff graph.
//!
//! burn's `flex` backend computes a matrix product of this model's sizes at 30 to 55 GFLOP/s on two cores and keeps every
//! intermediate of an element-wise chain; [`faer`]'s product reaches 110 to 190 on the same machine. An operation here implements [`Kernel`] once, and is
//! registered with burn as a backend extension, so that the model is still an ordinary burn module: parameters, groups, freezing
//! and optimizers are burn's. The rejected alternative, a training engine beside burn, would have made the model twice.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
};

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::{Tensor, TensorData},
};
use burn_flex::FlexTensor;

use crate::kernels::real::Real;

/// A contiguous row-major tensor on the CPU.
#[derive(Debug, Clone, Copy)]
pub struct View<'a, T = f32> {
    /// Values, row-major.
    pub data: &'a [T],
    /// Extents.
    pub shape: &'a [usize],
}

/// What the forward pass of an operation gives.
#[derive(Debug, Default)]
pub struct Forward<T = f32> {
    /// The output, row-major.
    pub output: Vec<T>,
    /// Extents of the output.
    pub shape: Vec<usize>,
    /// Whatever the backward pass wants to find again.
    pub saved: Vec<Vec<T>>,
}

/// A fused operation with its hand-written gradient, over any type of numbers.
pub trait Kernel: Debug + Send + Sync {
    /// Computes the output.
    fn forward<T: Real>(&self, inputs: &[View<'_, T>]) -> Forward<T>;

    /// Computes the gradients of the inputs for which `needs` is set; the others may be `None`.
    fn backward<T: Real>(
        &self,
        inputs: &[View<'_, T>],
        saved: &[Vec<T>],
        gradient: View<'_, T>,
        needs: &[bool],
    ) -> Vec<Option<Vec<T>>>;
}

/// A [`Kernel`] in the precision that ships.
pub trait HostOp: Debug + Send + Sync {
    /// See [`Kernel::forward`].
    fn forward(&self, inputs: &[View<'_>]) -> Forward;

    /// See [`Kernel::backward`].
    fn backward(&self, inputs: &[View<'_>], saved: &[Vec<f32>], gradient: View<'_>, needs: &[bool]) -> Vec<Option<Vec<f32>>>;
}

impl<K: Kernel> HostOp for K {
    fn forward(&self, inputs: &[View<'_>]) -> Forward {
        Kernel::forward(self, inputs)
    }

    fn backward(&self, inputs: &[View<'_>], saved: &[Vec<f32>], gradient: View<'_>, needs: &[bool]) -> Vec<Option<Vec<f32>>> {
        Kernel::backward(self, inputs, saved, gradient, needs)
    }
}

/// A shared operation.
pub type Op = Arc<dyn HostOp>;

/// Carries what the forward pass saved to the backward pass.
#[derive(Debug, Clone, Default)]
pub struct Saved(Arc<Mutex<Vec<Vec<f32>>>>);

impl Saved {
    fn put(&self, saved: Vec<Vec<f32>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = saved;
    }

    fn take(&self) -> Vec<Vec<f32>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Access to a backend's tensors as slices.
pub trait HostAccess: Backend {
    /// A contiguous version with its extents.
    fn contiguous(tensor: FloatTensor<Self>) -> (FloatTensor<Self>, Vec<usize>);
    /// The values of a contiguous tensor.
    fn values(tensor: &FloatTensor<Self>) -> &[f32];
    /// A tensor of values.
    fn from_values(values: Vec<f32>, shape: &[usize]) -> FloatTensor<Self>;
}

impl HostAccess for Flex {
    fn contiguous(tensor: FloatTensor<Self>) -> (FloatTensor<Self>, Vec<usize>) {
        let shape = tensor.layout().shape().to_vec();
        let tensor = if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() };
        (tensor, shape)
    }

    fn values(tensor: &FloatTensor<Self>) -> &[f32] {
        tensor.as_slice::<f32>().expect("the fused operations have tensors of single precision in one piece")
    }

    fn from_values(values: Vec<f32>, shape: &[usize]) -> FloatTensor<Self> {
        FlexTensor::from_data(TensorData::new(values, shape.to_vec()))
    }
}

fn run<B: HostAccess, const N: usize>(inputs: [FloatTensor<B>; N], op: &Op, saved: &Saved) -> FloatTensor<B> {
    let held = inputs.map(B::contiguous);
    let views = held.each_ref().map(|(tensor, shape)| View { data: B::values(tensor), shape });
    let forward = op.forward(&views);
    saved.put(forward.saved);
    B::from_values(forward.output, &forward.shape)
}

/// The extension: one method for every number of tensor inputs that an operation here has.
#[backend_extension(Flex, Autodiff)]
pub trait HostBackend: Backend {
    /// Runs an operation of one input.
    fn host1(a: FloatTensor<Self>, op: Op, saved: Saved) -> FloatTensor<Self>;
    /// Runs an operation of two inputs.
    fn host2(a: FloatTensor<Self>, b: FloatTensor<Self>, op: Op, saved: Saved) -> FloatTensor<Self>;
    /// Runs an operation of three inputs.
    fn host3(a: FloatTensor<Self>, b: FloatTensor<Self>, c: FloatTensor<Self>, op: Op, saved: Saved) -> FloatTensor<Self>;
    /// Runs an operation of four inputs.
    fn host4(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
        op: Op,
        saved: Saved,
    ) -> FloatTensor<Self>;
}

impl HostBackend for Flex {
    fn host1(a: FloatTensor<Self>, op: Op, saved: Saved) -> FloatTensor<Self> {
        run::<Self, 1>([a], &op, &saved)
    }

    fn host2(a: FloatTensor<Self>, b: FloatTensor<Self>, op: Op, saved: Saved) -> FloatTensor<Self> {
        run::<Self, 2>([a, b], &op, &saved)
    }

    fn host3(a: FloatTensor<Self>, b: FloatTensor<Self>, c: FloatTensor<Self>, op: Op, saved: Saved) -> FloatTensor<Self> {
        run::<Self, 3>([a, b, c], &op, &saved)
    }

    fn host4(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
        op: Op,
        saved: Saved,
    ) -> FloatTensor<Self> {
        run::<Self, 4>([a, b, c, d], &op, &saved)
    }
}

#[derive(Debug, Clone)]
struct Recorded<T> {
    inputs: Vec<T>,
    op: Op,
    saved: Saved,
}

#[derive(Debug)]
struct HostBackward;

impl<B: HostAccess, const N: usize> Backward<B, N> for HostBackward {
    type State = Recorded<FloatTensor<B>>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let (gradient, gradient_shape) = B::contiguous(gradient);
        let Recorded { inputs, op, saved } = ops.state;
        let held: Vec<_> = inputs.into_iter().map(B::contiguous).collect();
        let views: Vec<_> = held.iter().map(|(tensor, shape)| View { data: B::values(tensor), shape }).collect();
        let needs = ops.parents.each_ref().map(Option::is_some);
        let gradient = View { data: B::values(&gradient), shape: &gradient_shape };
        let computed = op.backward(&views, &saved.take(), gradient, &needs);
        for ((parent, values), (_, shape)) in ops.parents.into_iter().zip(computed).zip(&held) {
            if let (Some(node), Some(values)) = (parent, values) {
                grads.register::<B>(node.id, B::from_values(values, shape));
            }
        }
    }
}

fn track<B: HostAccess, C: CheckpointStrategy, const N: usize>(
    inputs: [FloatTensor<Autodiff<B, C>>; N],
    op: Op,
    saved: Saved,
) -> FloatTensor<Autodiff<B, C>> {
    let nodes = inputs.each_ref().map(|tensor| tensor.node());
    let inner = inputs.map(|t| t.into_parts().0);
    let output = run::<B, N>(inner.clone(), &op, &saved);
    match HostBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(Recorded { inputs: inner.to_vec(), op, saved }, output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}

impl<B: HostAccess + HostBackend, C: CheckpointStrategy> HostBackend for Autodiff<B, C> {
    fn host1(a: FloatTensor<Self>, op: Op, saved: Saved) -> FloatTensor<Self> {
        track::<B, C, 1>([a], op, saved)
    }

    fn host2(a: FloatTensor<Self>, b: FloatTensor<Self>, op: Op, saved: Saved) -> FloatTensor<Self> {
        track::<B, C, 2>([a, b], op, saved)
    }

    fn host3(a: FloatTensor<Self>, b: FloatTensor<Self>, c: FloatTensor<Self>, op: Op, saved: Saved) -> FloatTensor<Self> {
        track::<B, C, 3>([a, b, c], op, saved)
    }

    fn host4(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
        op: Op,
        saved: Saved,
    ) -> FloatTensor<Self> {
        track::<B, C, 4>([a, b, c, d], op, saved)
    }
}

/// Applies an operation of one input.
pub fn apply1<const A: usize, const O: usize>(a: Tensor<A>, op: Op) -> Tensor<O> {
    Tensor::from_dispatch(<Dispatch as HostBackend>::host1(a.into_dispatch(), op, Saved::default()))
}

/// Applies an operation of two inputs.
pub fn apply2<const A: usize, const B: usize, const O: usize>(a: Tensor<A>, b: Tensor<B>, op: Op) -> Tensor<O> {
    Tensor::from_dispatch(<Dispatch as HostBackend>::host2(a.into_dispatch(), b.into_dispatch(), op, Saved::default()))
}

/// Applies an operation of three inputs.
pub fn apply3<const A: usize, const B: usize, const C: usize, const O: usize>(
    a: Tensor<A>,
    b: Tensor<B>,
    c: Tensor<C>,
    op: Op,
) -> Tensor<O> {
    Tensor::from_dispatch(<Dispatch as HostBackend>::host3(
        a.into_dispatch(),
        b.into_dispatch(),
        c.into_dispatch(),
        op,
        Saved::default(),
    ))
}

/// Applies an operation of four inputs.
pub fn apply4<const A: usize, const B: usize, const C: usize, const D: usize, const O: usize>(
    a: Tensor<A>,
    b: Tensor<B>,
    c: Tensor<C>,
    d: Tensor<D>,
    op: Op,
) -> Tensor<O> {
    Tensor::from_dispatch(<Dispatch as HostBackend>::host4(
        a.into_dispatch(),
        b.into_dispatch(),
        c.into_dispatch(),
        d.into_dispatch(),
        op,
        Saved::default(),
    ))
}
