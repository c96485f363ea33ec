//! One step alone, on the CPU and without a graph: the memory is written where it lies.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Tensor, TensorData};

use super::cpu::{self, Decay, Problem};
use super::{Given, LogDecay, Rule, Sizes};
use crate::ops::Spans;
use crate::ops::cpu::{Real, SharedMut, Written, arch};
use crate::ops::operation::{contiguous, own, primitive, view_of};

/// The only step of every sample of a batch. The memory that comes back is the one that was given, if no one else has it. Of what is gated the write
/// strengths and the decays are given, and the normaliser is a column of the values.
///
/// # Panics
/// If a tensor is not on flex without a graph, in f32 or f64.
#[track_caller]
pub(super) fn step_alone(
    given: &Given,
    state: Option<Tensor<4>>,
    sizes: Sizes,
    rule: Rule,
) -> (Tensor<4>, Tensor<4>) {
    match given.query.dtype() {
        DType::F32 => step_in::<f32>(given, state, sizes, rule),
        _ => step_in::<f64>(given, state, sizes, rule),
    }
}

fn step_in<T: Real>(
    given: &Given,
    state: Option<Tensor<4>>,
    sizes: Sizes,
    rule: Rule,
) -> (Tensor<4>, Tensor<4>) {
    let options = (&given.query.device(), given.query.dtype());
    let state = state.unwrap_or_else(|| Tensor::zeros(sizes.state(), options));
    let mut memory = own::<T>(primitive(state));
    let [query, key, value] =
        [&given.query, &given.key, &given.value].map(|rows| contiguous(rows.clone()));
    let strength = given.strength.clone().map(contiguous);
    let transition = given.transition.clone().map(|pair| pair.map(contiguous));
    let (log, by_channel) = match given.log_decay.clone() {
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
        strength: strength.as_ref().map_or(&[], numbers),
        decay: match log.as_ref().map(numbers) {
            None => Decay::None,
            Some(log) if by_channel => Decay::Channel(log),
            Some(log) => Decay::Head(log),
        },
        transition: match &transition {
            Some(pair) => pair.each_ref().map(numbers),
            None => [&[]; 2],
        },
        start: None,
        start_scale: None,
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
