//! One step alone, on the CPU and without a graph: the memory is written where it lies.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Tensor, TensorData};

use super::cpu::{self, Problem};
use super::{FastMemory, Options, State, Weights};
use crate::ops::Spans;
use crate::ops::cpu::{Real, SharedMut, Written, arch};
use crate::ops::operation::{contiguous, own, primitive, view_of};

/// One step from the projected input, `[batch_size, d_hidden]`. Its memory comes back as a matrix: the one that was given, if no one else has
/// it.
///
/// # Panics
/// If a tensor is not on flex without a graph, in f32 or f64.
#[track_caller]
pub(crate) fn step_alone(
    projected_t: Tensor<2>,
    state: State,
    weights: &Weights,
    options: &Options,
) -> (Tensor<2>, State) {
    match projected_t.dtype() {
        DType::F32 => step_in::<f32>(projected_t, state, weights, options),
        _ => step_in::<f64>(projected_t, state, weights, options),
    }
}

fn step_in<T: Real>(
    projected_t: Tensor<2>,
    state: State,
    weights: &Weights,
    options: &Options,
) -> (Tensor<2>, State) {
    let [batch_size, d_hidden] = projected_t.dims();
    let matrix = state.memory.into_matrix(&state.hidden, options);
    let mut memory = own::<T>(primitive(matrix));
    let projected = contiguous(projected_t);
    let hidden = contiguous(state.hidden);
    let w_hidden = contiguous(weights.hidden.clone());
    let norm = weights.norm.as_ref().map(|norm| {
        let parameters = [norm.gain.clone(), norm.bias.clone()].map(contiguous);
        (parameters, norm.epsilon)
    });
    let numbers = |tensor| view_of::<T>(tensor).numbers;
    let problem = Problem {
        spans: &Spans::of_batch(batch_size, 1),
        d_hidden,
        options,
        chunk: 1,
        input: numbers(&projected),
        projection: None,
        hidden: numbers(&hidden),
        start: None,
        w_hidden: numbers(&w_hidden),
        norm: norm
            .as_ref()
            .map(|([gain, bias], epsilon)| (numbers(gain), numbers(bias), *epsilon)),
    };
    let mut output = Written::<T>::new(batch_size * d_hidden, true);
    let matrices = SharedMut::new(memory.storage_mut::<T>().as_mut_ptr());
    // SAFETY: the machine has these instructions; all of the output is written, and the matrices are as many as the samples.
    let output = unsafe {
        cpu::step(arch(), &problem, matrices, output.place());
        output.finish()
    };
    let output = FlexTensor::from_data(TensorData::new(output, [batch_size, d_hidden]));
    let hidden = Tensor::from_primitive::<Flex>(output);
    let memory = FastMemory::Matrix(Tensor::from_primitive::<Flex>(memory));
    (hidden.clone(), State { hidden, memory })
}
