//! One step alone, on the CPU and without a graph: the memory is written where it lies.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Tensor, TensorData};

use super::cpu::{self, Decay, Problem};
use super::{LogDecay, Sequences, Sizes, WriteRule};
use crate::ops::Spans;
use crate::ops::cpu::{Real, SharedMut, Written, arch};
use crate::ops::operation::{contiguous, own, primitive, view_of};

/// The only step of every sample of a batch. The memory that comes back is the one that was given, if no one else has it.
///
/// # Panics
/// If a tensor is not on flex without a graph, in f32 or f64.
#[track_caller]
pub(super) fn step_alone(
    sequences: Sequences,
    state: Option<Tensor<4>>,
    sizes: Sizes,
    rule: WriteRule,
) -> (Tensor<4>, Tensor<4>) {
    match sequences.query.dtype() {
        DType::F32 => step_in::<f32>(sequences, state, sizes, rule),
        _ => step_in::<f64>(sequences, state, sizes, rule),
    }
}

fn step_in<T: Real>(
    sequences: Sequences,
    state: Option<Tensor<4>>,
    sizes: Sizes,
    rule: WriteRule,
) -> (Tensor<4>, Tensor<4>) {
    let options = (&sequences.query.device(), sequences.query.dtype());
    let state = state.unwrap_or_else(|| Tensor::zeros(sizes.state(), options));
    let mut memory = own::<T>(primitive(state));
    let [query, key, value] = [sequences.query, sequences.key, sequences.value].map(contiguous);
    let strength = contiguous(sequences.write_strength);
    let (log, by_channel) = match sequences.log_decay {
        LogDecay::None => (None, false),
        LogDecay::Head(log) => (Some(contiguous(log)), false),
        LogDecay::Channel(log) => (Some(contiguous(log)), true),
    };
    let numbers = |tensor| view_of::<T>(tensor).numbers;
    let problem = Problem {
        spans: &Spans::of_batch(sizes.n_samples, 1),
        sizes,
        rule,
        chunk: 1,
        query: numbers(&query),
        key: numbers(&key),
        value: numbers(&value),
        strength: numbers(&strength),
        decay: match log.as_ref().map(numbers) {
            None => Decay::None,
            Some(log) if by_channel => Decay::Channel(log),
            Some(log) => Decay::Head(log),
        },
        start: None,
    };
    let shape = [sizes.n_samples, 1, sizes.n_heads, sizes.d_value];
    let mut output = Written::<T>::new(shape.iter().product(), true);
    let memories = SharedMut::new(memory.storage_mut::<T>().as_mut_ptr());
    // SAFETY: the machine has these instructions; all of the output is written, and there is a memory for each head of each sample.
    let output = unsafe {
        cpu::step(arch(), &problem, memories, output.place());
        output.finish()
    };
    let output = FlexTensor::from_data(TensorData::new(output, shape));
    (
        Tensor::from_primitive::<Flex>(output),
        Tensor::from_primitive::<Flex>(memory),
    )
}
