//! The whole sequence as one operation with its own backward pass, on the CPU.

use alloc::vec;
use alloc::vec::Vec;

use burn::backend::{Dispatch, ExtensionType};
use burn::tensor::Tensor;

use super::cpu::{self, Cotangents, MOST_WRITES, Outputs, Problem, Tape};
use super::{Given, LogDecay, Rule, Sizes};
use crate::ops::Spans;
use crate::ops::cpu::{Arch, Real, Written, arch};
use crate::ops::operation::{self, Kernel, Place, on_flex, operands};

/// Matrix memories over whole sequences by the kernel, if it can hold the writes of a step.
#[track_caller]
pub(super) fn matrix_memory(
    given: &Given,
    spans: &Spans,
    state: Option<&Tensor<4>>,
    sizes: Sizes,
    rule: Rule,
) -> Option<(Tensor<4>, Tensor<4>)> {
    let chunk = cpu::chunk_length(spans.longest(), sizes.writes);
    (sizes.writes <= MOST_WRITES).then(|| run(given, spans, state, sizes, rule, (arch(), chunk)))
}

/// The same with given instructions, which the machine must have, and chunks of a given length.
#[track_caller]
pub(super) fn run(
    given: &Given,
    spans: &Spans,
    state: Option<&Tensor<4>>,
    sizes: Sizes,
    rule: Rule,
    (arch, chunk): (Arch, usize),
) -> (Tensor<4>, Tensor<4>) {
    let request = Request {
        spans: spans.clone(),
        sizes,
        rule,
        fading: match given.log_decay {
            LogDecay::None => Fading::Nothing,
            LogDecay::Head(_) => Fading::Head,
            LogDecay::Channel(_) => Fading::Channel,
        },
        has_start: state.is_some(),
        has_scale: given.start_scale.is_some(),
        arch,
        chunk,
    };
    let place = Place::on_flex(&given.query);
    let [read, written] = match &given.transition {
        Some(transition) => transition.each_ref().map(|vectors| place.put(vectors)),
        None => [(); 2].map(|()| place.put_any::<1>(None)),
    };
    let inputs = Inputs {
        query: place.put(&given.query),
        key: place.put(&given.key),
        value: place.put(&given.value),
        strength: place.put_any(given.strength.as_ref()),
        read,
        written,
        scale: place.put_any(given.start_scale.as_ref()),
        decay: match &given.log_decay {
            LogDecay::None => place.put_any::<1>(None),
            LogDecay::Head(log) => place.put(log),
            LogDecay::Channel(log) => place.put(log),
        },
        start: place.put_any(state),
    };
    let (output, memory) = <Dispatch as FusedMatrixMemory>::run(inputs, request);
    (Tensor::from_dispatch(output), Tensor::from_dispatch(memory))
}

/// What fades.
#[derive(Clone, Copy, Debug)]
enum Fading {
    Nothing,
    Head,
    Channel,
}

/// What the operation is to do.
#[derive(Clone, Debug)]
pub struct Request {
    spans: Spans,
    sizes: Sizes,
    rule: Rule,
    fading: Fading,
    has_start: bool,
    has_scale: bool,
    arch: Arch,
    chunk: usize,
}

operands! {
    /// The tensors that the operation reads; those that are not there have no elements.
    #[derive(ExtensionType)]
    pub struct Inputs { query, key, value, strength, decay, read, written, start, scale }
}

on_flex! {
    /// Every o, and the last memories of the samples that have an end; those of what is gated as the kernel lays them down.
    FusedMatrixMemory: Request, and more
}

impl Request {
    fn problem<'a, T: Real>(&'a self, inputs: &Each<operation::View<'a, T>>) -> Problem<'a, T> {
        Problem {
            spans: &self.spans,
            sizes: self.sizes,
            rule: self.rule,
            chunk: self.chunk,
            query: inputs.query.numbers,
            key: inputs.key.numbers,
            value: inputs.value.numbers,
            strength: inputs.strength.numbers,
            decay: match self.fading {
                Fading::Nothing => cpu::Decay::None,
                Fading::Head => cpu::Decay::Head(inputs.decay.numbers),
                Fading::Channel => cpu::Decay::Channel(inputs.decay.numbers),
            },
            transition: [inputs.read.numbers, inputs.written.numbers],
            start: self.has_start.then_some(inputs.start.numbers),
            start_scale: self.has_scale.then_some(inputs.scale.numbers),
        }
    }
}

impl Kernel<COUNT> for Request {
    type Operands = Names;
    type Tape<T: Real> = Tape<T>;

    /// What is gated divides what is read.
    fn reads_output(&self) -> bool {
        self.rule == Rule::Gated
    }

    fn forward<T: Real>(
        &self,
        inputs: Each<operation::View<T>>,
        keep: bool,
    ) -> operation::Yield<T, Tape<T>> {
        let Sizes {
            n_heads,
            d_key,
            d_value,
            ..
        } = self.sizes;
        let [n_sequences, seq_length] = self.spans.shape();
        let shape = vec![n_sequences, seq_length, n_heads, d_value];
        let memory_shape = match self.rule {
            // m has no row of its own.
            Rule::Gated => vec![self.spans.n_ends(), n_heads, d_key * (d_value + 1) + 1, 1],
            _ => vec![self.spans.n_ends(), n_heads, d_key, d_value],
        };
        let mut output = Written::new(shape.iter().product(), true);
        let mut memory = Written::new(memory_shape.iter().product(), true);
        let outputs = Outputs {
            output: output.place(),
            memory: memory.place(),
        };
        // SAFETY: the architecture is one that the machine has; all of the results are written.
        unsafe {
            let tape = cpu::forward(self.arch, &self.problem(&inputs), outputs, keep);
            operation::Yield {
                output: (output.finish(), shape),
                more: Some((memory.finish(), memory_shape)),
                tape,
            }
        }
    }

    fn backward<T: Real>(
        &self,
        inputs: Each<operation::View<T>>,
        tape: &Tape<T>,
        output: Option<&[T]>,
        slopes: operation::Slopes<T>,
        wanted: Each<bool>,
    ) -> Each<Vec<T>> {
        let room =
            |input: operation::View<T>, is_wanted| Written::new(input.numbers.len(), is_wanted);
        let mut query = room(inputs.query, true);
        let mut key = room(inputs.key, true);
        let mut value = room(inputs.value, true);
        let mut strength = room(inputs.strength, true);
        let mut decay = room(inputs.decay, true);
        let mut read = room(inputs.read, true);
        let mut written = room(inputs.written, true);
        let wants_start = self.has_start && wanted.start;
        let mut start = room(inputs.start, wants_start);
        let wants_scale = self.has_scale && wanted.scale;
        let mut scale = room(inputs.scale, wants_scale);
        let outputs = cpu::Gradients {
            query: query.place(),
            key: key.place(),
            value: value.place(),
            strength: strength.place(),
            decay: decay.place(),
            transition: [read.place(), written.place()],
            start: wants_start.then(|| start.place()),
            start_scale: wants_scale.then(|| scale.place()),
        };
        // SAFETY: each has the room of what it is the gradient of, and all of it is written.
        unsafe {
            let cotangents = Cotangents {
                output: slopes.output,
                memory: slopes.more,
                yielded: output,
            };
            cpu::backward(&self.problem(&inputs), tape, cotangents, outputs);
            Each {
                query: query.finish(),
                key: key.finish(),
                value: value.finish(),
                strength: strength.finish(),
                decay: decay.finish(),
                read: read.finish(),
                written: written.finish(),
                start: start.finish(),
                scale: scale.finish(),
            }
        }
    }
}

#[cfg(test)]
mod tests;
