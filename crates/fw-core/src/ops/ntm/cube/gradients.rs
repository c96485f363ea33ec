//! The operation on the graph: what the kernels leave open are products over all steps.

use alloc::vec;

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Cube, TensorMetadata};
use burn::tensor::{Shape, Slice};

use super::plan::Plan;
use super::{Each, Gradients, Inputs, Tape};
use crate::ops::cube::{before, columns, over_rows, products_over_rows};
use crate::ops::ntm::shapes::Sizes;

/// The gradients of the operands, of those that the launch yields; nothing where they are zero or not wanted.
pub(super) fn of_operands(
    inputs: &Inputs<Cube>,
    tape: &Tape<Cube>,
    passed: &Gradients<Cube>,
    plan: Plan,
    wanted: Each<bool>,
) -> Each<Option<FloatTensor<Cube>>> {
    let sizes = plan.sizes;
    let steps = Steps::new(inputs, tape, sizes);
    let of_gates = |layer: usize| {
        let first = layer * sizes.d_gates();
        columns(&passed.rows, first..first + sizes.d_gates())
    };
    let raw = sizes.n_layers * sizes.d_gates()..sizes.d_row();
    let of_raw = columns(&passed.rows, raw);
    let layers = wanted.layers.then(|| {
        let layers = (0..sizes.n_layers).map(|layer| {
            let weights = products_over_rows(steps.read_by(layer), of_gates(layer));
            let numbers = sizes.d_layer(layer) * sizes.d_gates();
            Cube::float_reshape(weights, Shape::new([numbers]))
        });
        Cube::float_cat(layers.collect(), 0)
    });
    let biases = (wanted.biases && sizes.n_layers > 1).then(|| {
        let upper = (1..sizes.n_layers).map(|layer| over_rows(of_gates(layer)));
        Cube::float_cat(upper.collect(), 0)
    });
    let heads_weight = wanted
        .heads_weight
        .then(|| products_over_rows(steps.hidden(sizes.n_layers - 1), of_raw.clone()));
    let heads_bias = wanted.heads_bias.then(|| over_rows(of_raw));

    let mut first = 0;
    let mut start = |like: &FloatTensor<Cube>, width: usize| {
        let taken = (width > 0).then(|| {
            Cube::float_reshape(columns(&passed.start, first..first + width), like.shape())
        });
        first += width;
        taken
    };
    let memory = start(&inputs.memory, sizes.memory_numbers());
    let weights = start(&inputs.weights, sizes.n_weights());
    let reads = start(&inputs.reads, sizes.d_reads());
    let hidden = start(&inputs.hidden, sizes.d_states());
    let cell = start(&inputs.cell, sizes.d_states());
    Each {
        projected: Some(of_gates(0)),
        layers,
        biases,
        heads_weight,
        heads_bias,
        hidden,
        cell,
        memory,
        reads,
        weights,
    }
}

/// What the products of each step read.
struct Steps<'a> {
    inputs: &'a Inputs<Cube>,
    tape: &'a Tape<Cube>,
    sizes: Sizes,
    batch_size: usize,
    seq_length: usize,
}

impl<'a> Steps<'a> {
    fn new(inputs: &'a Inputs<Cube>, tape: &'a Tape<Cube>, sizes: Sizes) -> Self {
        let [batch_size, seq_length, _] = inputs.projected.shape().dims();
        Steps {
            inputs,
            tape,
            sizes,
            batch_size,
            seq_length,
        }
    }

    /// `[below ; own hidden state]` of a layer in each step.
    fn read_by(&self, layer: usize) -> FloatTensor<Cube> {
        let below = match layer {
            0 => self.reads_before(),
            _ => self.hidden(layer - 1),
        };
        match self.sizes.is_lstm() {
            true => Cube::float_cat(vec![below, self.hidden_before(layer)], 2),
            false => below,
        }
    }

    /// h of a layer in each step.
    fn hidden(&self, layer: usize) -> FloatTensor<Cube> {
        let first = self.sizes.tape_row().hidden + layer * self.sizes.d_hidden;
        columns(&self.tape.rows, first..first + self.sizes.d_hidden)
    }

    /// h of a layer before each step.
    fn hidden_before(&self, layer: usize) -> FloatTensor<Cube> {
        let first = layer * self.sizes.d_hidden;
        let start = Cube::float_reshape(
            self.inputs.hidden.clone(),
            Shape::new([self.batch_size, self.sizes.d_states()]),
        );
        let start = columns(&start, first..first + self.sizes.d_hidden);
        before(start, self.hidden(layer))
    }

    /// What was read before each step.
    fn reads_before(&self) -> FloatTensor<Cube> {
        let (rows, d_output) = (self.batch_size * self.seq_length, self.sizes.d_output());
        let output = Slice::from(0..rows * d_output);
        let output = Cube::float_slice(self.tape.results.clone(), &[output]);
        let shape = Shape::new([self.batch_size, self.seq_length, d_output]);
        let output = Cube::float_reshape(output, shape);
        let reads = columns(&output, self.sizes.d_hidden..d_output);
        before(self.inputs.reads.clone(), reads)
    }
}
