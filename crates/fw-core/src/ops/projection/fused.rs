//! The map as one operation with its own backward pass, on the CPU.

use alloc::vec::Vec;

use burn::backend::{Dispatch, ExtensionType};
use burn::tensor::Tensor;

use super::cpu::{self, Problem};
use crate::ops::cpu::{Arch, Real, arch};
use crate::ops::operation::{
    Kernel, Place, Slopes, Sources, View, Yield, is_available, on_flex, operands,
};

/// Rows from which on the kernel is used in training: for fewer, to lay the weight out in panels, after each update anew, costs as much as the
/// product.
const LEAST_ROWS: usize = 32;

/// `x W + b` of every row, `[rows, d_output]`; nothing, unless there is a kernel, and enough to do. The shapes must fit.
pub(super) fn project(
    input: &Tensor<2>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
) -> Option<Tensor<2>> {
    let [rows, d_input] = input.dims();
    let [_, d_output] = weight.dims();
    let least = if input.device().is_autodiff() {
        LEAST_ROWS
    } else {
        1
    };
    let is_enough = rows >= least && d_input > 0 && d_output > 0;
    let has_kernel = is_available(&input.device(), input.dtype());
    (is_enough && has_kernel).then(|| project_on(arch(), input, weight, bias))
}

/// The same with given instructions, which the machine must have.
fn project_on(
    arch: Arch,
    input: &Tensor<2>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
) -> Tensor<2> {
    let place = Place::on_flex(input);
    let inputs = Inputs {
        input: place.put(input),
        weight: place.put(weight),
        bias: place.put_any(bias),
    };
    Tensor::from_dispatch(<Dispatch as FusedProjection>::run(inputs, Map { arch }))
}

/// What the operation is to do.
#[derive(Clone, Copy, Debug)]
pub struct Map {
    arch: Arch,
}

operands! {
    /// The tensors that the operation reads; a bias that is not there has no elements.
    #[derive(ExtensionType)]
    pub struct Inputs { input, weight, bias }
}

on_flex! {
    /// `x W`, or `x W + b`.
    FusedProjection: Map
}

fn problem<'a, T: Real>(inputs: &Each<View<'a, T>>) -> Problem<'a, T> {
    Problem {
        rows: inputs.input.dim(0),
        d_input: inputs.weight.dim(0),
        d_output: inputs.weight.dim(1),
        input: inputs.input.numbers,
        weight: inputs.weight.numbers,
        bias: inputs.bias.numbers,
    }
}

impl Kernel<COUNT> for Map {
    type Operands = Names;
    type Tape<T: Real> = ();

    fn forward<T: Real>(&self, inputs: Each<View<T>>, keep: bool) -> Yield<T, ()> {
        let problem = problem(&inputs);
        let sources = Sources::new(&[inputs.weight, inputs.bias], !keep);
        // SAFETY: the machine has these instructions.
        let output = unsafe { cpu::forward(self.arch, &problem, &sources) };
        let shape = alloc::vec![problem.rows, problem.d_output];
        Yield::one(output, shape, Some(()))
    }

    fn backward<T: Real>(
        &self,
        inputs: Each<View<T>>,
        _tape: &(),
        _output: Option<&[T]>,
        slopes: Slopes<T>,
        wanted: Each<bool>,
    ) -> Each<Vec<T>> {
        // SAFETY: the machine has these instructions.
        unsafe { cpu::backward(self.arch, &problem(&inputs), slopes.output, wanted) }
    }
}

#[cfg(test)]
mod tests;
