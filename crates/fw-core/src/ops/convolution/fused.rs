//! The convolution as one operation with its own backward pass, on the CPU.

use alloc::vec;
use alloc::vec::Vec;

use burn::backend::{Dispatch, ExtensionType};
use burn::tensor::Tensor;

use super::cpu::{self, Problem};
use crate::ops::cpu::{Arch, Real, arch};
use crate::ops::operation::{Kernel, Place, Slopes, View, Yield, is_available, on_flex, operands};

/// The convolution by the kernel, if there is one for the device and the type, and there is something to do.
pub(super) fn short_convolution(
    steps: &Tensor<3>,
    weight: &Tensor<2>,
    n_linear: usize,
) -> Option<Tensor<3>> {
    let has_numbers = steps.dims().iter().all(|size| *size > 0);
    (has_numbers && is_available(&steps.device(), steps.dtype()))
        .then(|| run(arch(), steps, weight, n_linear))
}

/// The same with given instructions, which the machine must have.
fn run(arch: Arch, steps: &Tensor<3>, weight: &Tensor<2>, n_linear: usize) -> Tensor<3> {
    let place = Place::on_flex(steps);
    let inputs = Inputs {
        steps: place.put(steps),
        weight: place.put(weight),
    };
    let request = Request { arch, n_linear };
    Tensor::from_dispatch(<Dispatch as FusedConvolution>::run(inputs, request))
}

/// What the operation is to do.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    arch: Arch,
    n_linear: usize,
}

operands! {
    /// The tensors that the operation reads.
    #[derive(ExtensionType)]
    pub struct Inputs { steps, weight }
}

on_flex! {
    /// y of every step, `[batch_size, seq_length, channels]`.
    FusedConvolution: Request
}

impl Request {
    fn problem<'a, T: Real>(&self, inputs: &Each<View<'a, T>>) -> Problem<'a, T> {
        Problem {
            batch_size: inputs.steps.dim(0),
            n: inputs.steps.dim(1),
            channels: inputs.steps.dim(2),
            size: inputs.weight.dim(0),
            n_linear: self.n_linear,
            steps: inputs.steps.numbers,
            weight: inputs.weight.numbers,
        }
    }
}

impl Kernel<COUNT> for Request {
    type Operands = Names;
    type Tape<T: Real> = ();

    fn forward<T: Real>(&self, inputs: Each<View<T>>, _keep: bool) -> Yield<T, ()> {
        let problem = self.problem(&inputs);
        // SAFETY: the machine has these instructions.
        let output = unsafe { cpu::forward(self.arch, &problem) };
        let shape = vec![problem.batch_size, problem.seq_length(), problem.channels];
        Yield::one(output, shape, Some(()))
    }

    fn backward<T: Real>(
        &self,
        inputs: Each<View<T>>,
        _tape: &(),
        _output: Option<&[T]>,
        slopes: Slopes<T>,
        _wanted: Each<bool>,
    ) -> Each<Vec<T>> {
        // SAFETY: the machine has these instructions.
        let (steps, weight) =
            unsafe { cpu::backward(self.arch, &self.problem(&inputs), slopes.output) };
        Each { steps, weight }
    }
}

#[cfg(test)]
mod tests;
