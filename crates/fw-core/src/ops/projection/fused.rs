//! The map as one operation with its own backward pass, on the CPU.

use alloc::vec::Vec;

use burn::backend::autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, ExtensionType, Flex, backend_extension};
use burn::tensor::Tensor;

use super::cpu::{self, Problem};
use crate::ops::cpu::{Arch, Real, arch};
use crate::ops::fused::{self, Input, Kernel};

/// Rows from which on the kernel is used: for fewer, to lay the weight out in panels costs as much as the product.
const LEAST_ROWS: usize = 32;

/// `x W + b` of every row, `[rows, d_output]`; nothing, unless there is a kernel, and enough to do. The shapes must fit.
pub(super) fn project(
    input: &Tensor<2>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
) -> Option<Tensor<2>> {
    let [rows, d_input] = input.dims();
    let [_, d_output] = weight.dims();
    let is_enough = rows >= LEAST_ROWS && d_input > 0 && d_output > 0;
    let is_available = fused::is_available(&input.device(), input.dtype());
    (is_enough && is_available).then(|| project_on(arch(), input, weight, bias))
}

/// The same with given instructions, which the machine must have.
fn project_on(
    arch: Arch,
    input: &Tensor<2>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
) -> Tensor<2> {
    let nothing = || Tensor::<1>::empty([0], (&input.device(), input.dtype()));
    let inputs = Inputs {
        input: input.clone().into_dispatch(),
        weight: weight.clone().into_dispatch(),
        bias: bias.cloned().unwrap_or_else(nothing).into_dispatch(),
    };
    Tensor::from_dispatch(<Dispatch as FusedProjection>::project(inputs, Map { arch }))
}

/// The operation.
#[derive(Clone, Copy, Debug)]
pub struct Map {
    arch: Arch,
}

/// The tensors that the operation reads; a bias that is not there has no elements.
#[derive(ExtensionType)]
pub struct Inputs<B: Backend> {
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
}

/// The operation, for each backend that has a kernel.
#[backend_extension(Autodiff, Flex)]
pub trait FusedProjection: Backend {
    /// `x W`, or `x W + b`.
    fn project(#[extension_type] inputs: Inputs<Self>, map: Map) -> FloatTensor<Self>;
}

impl FusedProjection for Flex {
    fn project(inputs: Inputs<Self>, map: Map) -> FlexTensor {
        fused::run(&map, [inputs.input, inputs.weight, inputs.bias])
    }
}

impl<C: CheckpointStrategy> FusedProjection for Autodiff<Flex, C> {
    fn project(inputs: Inputs<Self>, map: Map) -> FloatTensor<Self> {
        fused::run_tracked::<_, C, 3>(map, [inputs.input, inputs.weight, inputs.bias])
    }
}

fn problem<'a, T: Real>([input, weight, bias]: [Input<'a, T>; 3]) -> Problem<'a, T> {
    Problem {
        rows: input.dim(0),
        d_input: weight.dim(0),
        d_output: weight.dim(1),
        input: input.numbers,
        weight: weight.numbers,
        bias: bias.numbers,
    }
}

impl Kernel<3> for Map {
    type Tape<T: Real> = ();

    fn forward<T: Real>(
        &self,
        inputs: [Input<T>; 3],
        _keep: bool,
    ) -> (Vec<T>, Vec<usize>, Option<()>) {
        let problem = problem(inputs);
        // SAFETY: the machine has these instructions.
        let output = unsafe { cpu::forward(self.arch, &problem) };
        let shape = alloc::vec![problem.rows, problem.d_output];
        (output, shape, Some(()))
    }

    fn backward<T: Real>(
        &self,
        inputs: [Input<T>; 3],
        _tape: &(),
        _output: Option<&[T]>,
        slopes: &[T],
        is_wanted: [bool; 3],
    ) -> [Vec<T>; 3] {
        // SAFETY: the machine has these instructions.
        unsafe { cpu::backward(self.arch, &problem(inputs), slopes, is_wanted) }
    }
}

#[cfg(test)]
mod tests;
