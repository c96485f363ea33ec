//! Fast weights: a memory that each step writes with an outer product and reads by attention to the
//! recent past (Ba, Hinton, Mnih, Leibo, Ionescu 2016, "Using Fast Weights to Attend to the Recent
//! Past").
//!
//! ```text
//! z_t = x_t C + h_{t-1} W + b
//! s_0 = f(z_t)                                  preliminary state
//! s_i = f(LN(z_t + A_{t-1} s_{i-1}))            i = 1..S
//! h_t = s_S
//! A_t = λ A_{t-1} + η h_t h_tᵀ                  A_0 = 0, h_0 = 0
//! ```
//!
//! where
//! - `C` is the input's weight `[d_input, d_hidden]`, `W` the slow recurrent weight
//!   `[d_hidden, d_hidden]`, `b` the bias;
//! - `A` is the fast memory `[d_hidden, d_hidden]`, one for each sample, symmetric as long as its start is;
//! - `λ` is the [decay](Options::decay), `η` the [fast learning rate](Options::fast_learning_rate);
//! - `S` is the number of [inner steps](Options::inner_steps); with S = 0 the memory is never read;
//! - `f` is the [activation](Options::activation), `LN` layer normalisation (left out when
//!   [`Weights::norm`] is `None`).
//!
//! # Which reading of the paper this is
//!
//! The paper's equations leave open whether the fast weights of step t already hold step t's own
//! write. Here they hold the writes up to step t - 1 ([`WrittenState::Final`]), which is also the reading in
//! which its attention form (a sum over the past states, without the present one) is exact. Several
//! public implementations write the preliminary state first and read it at once:
//! [`WrittenState::Preliminary`].
//!
//! # Two forms of one sum
//!
//! ```text
//! A_{t-1} s = λ^{t-1} A_0 s + η Σ_{τ<t} λ^{t-1-τ} h_τ (h_τ · s)
//! ```
//!
//! The left side keeps a matrix (cost H² a step), the right side keeps the history (cost t·H a step).
//! [`FastMemory`] holds either and reads the same from both. The fused form mixes them: a matrix at the start of
//! a chunk of steps, attention within it.
//!
//! # Fused
//!
//! On Flex, with the cargo feature `flex` and in f32 or f64, a sequence is one operation with a backward pass of its
//! own ([`ExecutionPath::Fused`]). For each sample, between the two passes, it keeps `T · (2 S H + S + S L)` numbers (`T · (H + 1)` more if
//! the preliminary state is normalised) and, where
//! the sequence has more than one chunk of L steps, `T / L · H²` more. A sequence is one chunk up to `16 + 2 H`
//! steps; else L is H / 2, rounded up to a multiple of 16, and at most 64. With S = 0 chunks are `64 + 2 H` steps long.
//!
//! Sequences of unequal lengths are one such operation as well ([`forward_spans`](crate::Recurrent::forward_spans)), with the chunks that the
//! longest of them has. Up to four of similar lengths are taken at a time, and T is that of the longest of the four.
//!
//! On a GPU, with the cargo feature `wgpu` or `cuda` and in f32, f16 or bf16, it is one launch for each pass, in f32: one workgroup a
//! sample, in chunks by a like rule, shorter where what a workgroup shares has no room for them. For each sample it keeps
//! `T · ((2 S + 1) H + S)` numbers (`T · (H + 1)` more if the preliminary state is normalised), and a matrix for each chunk if there is
//! more than one or a memory to begin with.

#[cfg(feature = "flex")]
mod alone;
mod composed;
#[cfg(feature = "flex")]
mod cpu;
#[cfg(feature = "cube")]
mod cube;
#[cfg(feature = "flex")]
mod fused;
mod memory;
mod shapes;
#[cfg(test)]
mod trials;

use alloc::vec::Vec;

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

#[cfg(feature = "flex")]
pub(crate) use alone::step_alone;
pub use composed::step;
pub use memory::FastMemory;
use shapes::{check_sequence, check_step};

#[cfg(feature = "flex")]
use super::operation::is_available;
use super::{Activation, ExecutionPath, Sequence, Spans, project, scan};

/// When the fast weights are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum WrittenState {
    /// With the step's final state, after it was computed: `A_t = λ A_{t-1} + η h_t h_tᵀ` (the paper).
    #[default]
    Final,
    /// With the preliminary state, before the inner steps, and read at once:
    /// `A_t = λ A_{t-1} + η s_0 s_0ᵀ`, `s_i = f(LN(z_t + A_t s_{i-1}))`.
    Preliminary,
}

/// How the fast memory is kept: from step to step, and in the state after a sequence. All forms give the same numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum MemoryForm {
    /// The cheaper one: the history while it is no longer than `d_hidden` steps, else the matrix.
    #[default]
    Auto,
    /// The matrix `A`: cost `d_hidden²` a step, whatever the length.
    Matrix,
    /// The history of written states: cost `t · d_hidden` at step t, and a state that grows with it.
    Attention,
}

impl MemoryForm {
    /// The form that a run of `seq_length` more steps uses after `written` steps: never `Auto`.
    pub fn resolve(self, written: usize, seq_length: usize, d_hidden: usize) -> MemoryForm {
        match self {
            MemoryForm::Auto if written + seq_length <= d_hidden => MemoryForm::Attention,
            MemoryForm::Auto => MemoryForm::Matrix,
            form => form,
        }
    }
}

/// The most times that a step may read the memory.
pub const MOST_INNER_STEPS: usize = 1 << 16;

/// The numbers and choices of the equations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// λ, in `[0, 1]`.
    pub decay: f64,
    /// η, any finite number.
    pub fast_learning_rate: f64,
    /// S, the number of times that the memory is read in a step, at most [`MOST_INNER_STEPS`].
    pub inner_steps: usize,
    /// When the memory is written.
    pub write: WrittenState,
    /// f.
    pub activation: Activation,
    /// Whether the preliminary state is normalised too: `s_0 = f(LN(z_t))`.
    pub normalize_preliminary: bool,
}

/// The slow weights, as tensors.
#[derive(Clone, Debug)]
pub struct Weights {
    /// C, `[d_input, d_hidden]`.
    pub input: Tensor<2>,
    /// W, `[d_hidden, d_hidden]`.
    pub hidden: Tensor<2>,
    /// b, `[d_hidden]`.
    pub bias: Tensor<1>,
    /// Gain, bias and epsilon of the layer normalisation, if there is one.
    pub norm: Option<Norm>,
}

impl Weights {
    /// The input's part of every step, `x C + b`: `[batch_size, seq_length, d_hidden]`.
    pub fn project(&self, input: Tensor<3>) -> Tensor<3> {
        project(input, self.input.clone(), Some(self.bias.clone()))
    }
}

/// The parameters of layer normalisation: `LN(v) = gain (v - mean) / √(variance + epsilon) + bias`.
#[derive(Clone, Debug)]
pub struct Norm {
    /// `[d_hidden]`.
    pub gain: Tensor<1>,
    /// `[d_hidden]`.
    pub bias: Tensor<1>,
    /// What keeps the division finite.
    pub epsilon: f64,
}

/// What is carried from step to step.
#[derive(Clone, Debug)]
pub struct State {
    /// h, `[batch_size, d_hidden]`.
    pub hidden: Tensor<2>,
    /// The fast memory.
    pub memory: FastMemory,
}

/// Fast weights over a whole sequence.
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - output: `[batch_size, seq_length, d_hidden]`, every `h_t`
///
/// # Panics
/// If there are no samples or no steps, a shape or a type does not fit, [`inner_steps`](Options::inner_steps) is more than
/// [`MOST_INNER_STEPS`], or `path` is [`ExecutionPath::Fused`] where there is no kernel.
#[track_caller]
pub fn fast_weights(
    input: Tensor<3>,
    state: State,
    weights: &Weights,
    options: &Options,
    form: MemoryForm,
    path: ExecutionPath,
) -> (Tensor<3>, State) {
    sequence(Sequence::Raw(input), state, weights, options, form, path)
}

/// [`fast_weights`] from the projected input, `x_t C + b` for every step: `[batch_size, seq_length, d_hidden]`.
///
/// # Panics
/// As [`fast_weights`].
#[track_caller]
pub fn fast_weights_projected(
    projected: Tensor<3>,
    state: State,
    weights: &Weights,
    options: &Options,
    form: MemoryForm,
    path: ExecutionPath,
) -> (Tensor<3>, State) {
    sequence(
        Sequence::Projected(projected),
        state,
        weights,
        options,
        form,
        path,
    )
}

/// [`fast_weights`] from either input.
#[track_caller]
pub(crate) fn sequence(
    input: Sequence,
    state: State,
    weights: &Weights,
    options: &Options,
    form: MemoryForm,
    path: ExecutionPath,
) -> (Tensor<3>, State) {
    let spans = spans_of(&input);
    check_sequence(&input, &spans, &state, weights, options);
    let (device, dtype) = (input.tensor().device(), input.tensor().dtype());
    path.choose(
        "fast weights",
        (&device, dtype),
        (input, state),
        |(input, state)| by_kernel(input, &spans, state, weights, options, form),
        |(input, state)| {
            let state = state.in_form(form, input.tensor().dims()[1], options);
            let projected = input.projected(|input| weights.project(input));
            scan(projected, state, |projected_t, state| {
                composed::advance(projected_t, state, weights, options).output_and_state()
            })
        },
    )
}

/// The samples of a batch.
fn spans_of(input: &Sequence) -> Spans {
    let [batch_size, seq_length, _] = input.tensor().dims();
    Spans::of_batch(batch_size, seq_length)
}

/// [`fast_weights`] over spans of `[n_rows, d_input]`, from a state for each; nothing, where there is no kernel for them. The last states are in the
/// order of their ends, with memories as matrices.
#[track_caller]
pub(crate) fn of_spans(
    input: &Tensor<2>,
    spans: &Spans,
    state: &State,
    weights: &Weights,
    options: &Options,
) -> Option<(Tensor<2>, State)> {
    let [_, d_input] = input.dims();
    let [n_sequences, seq_length] = spans.shape();
    let shape = [n_sequences, seq_length, d_input];
    let input = Sequence::Raw(input.clone().reshape(shape));
    check_sequence(&input, spans, state, weights, options);
    let form = MemoryForm::Matrix;
    let (output, state) = by_kernel(&input, spans, state, weights, options, form)?;
    Some((output.flatten(0, 1), state))
}

/// The sequences by a kernel of this device, if it has one for the type and for these spans.
#[allow(
    unused_variables,
    reason = "without a backend that has kernels there is none"
)]
#[track_caller]
fn by_kernel(
    input: &Sequence,
    spans: &Spans,
    state: &State,
    weights: &Weights,
    options: &Options,
    form: MemoryForm,
) -> Option<(Tensor<3>, State)> {
    #[cfg(feature = "flex")]
    if is_available(&input.tensor().device(), input.tensor().dtype()) {
        return Some(fused::fast_weights(
            input, spans, state, weights, options, form,
        ));
    }
    #[cfg(feature = "cube")]
    if let Some(result) = cube::fast_weights(input, spans, state, weights, options, form) {
        return Some(result);
    }
    None
}

/// [`fast_weights`] in its attention form, with the attention that each step paid to each write.
///
/// The third value is `[batch_size, seq_length, writes]`: entry `(b, t, τ)` is the coefficient
/// `η λ^{t-1-τ} (h_τ · s)` with which write τ entered step t in its last inner step; 0 for writes
/// that step t could not see. `writes` counts the history that the given state carries, then this
/// sequence's steps. What was read from a start matrix belongs to no single write and is not in it.
///
/// # Panics
/// As [`fast_weights`].
#[track_caller]
pub fn fast_weights_traced(
    input: Tensor<3>,
    state: State,
    weights: &Weights,
    options: &Options,
) -> (Tensor<3>, State, Tensor<3>) {
    let [batch_size, seq_length, _] = input.dims();
    let input = Sequence::Raw(input);
    check_sequence(&input, &spans_of(&input), &state, weights, options);
    let state = state.in_form(MemoryForm::Attention, seq_length, options);
    let earlier = state.memory.written();
    let mut queries = Vec::with_capacity(seq_length);
    let projected = input.projected(|input| weights.project(input));
    let (output, state) = scan(projected, state, |projected_t, state| {
        let step = composed::advance(projected_t, state, weights, options);
        queries.extend(step.query.clone());
        step.output_and_state()
    });
    let n_writes = earlier + seq_length;
    let attention = match (&state.memory, queries.is_empty()) {
        (
            FastMemory::History {
                writes: Some(writes),
                ..
            },
            false,
        ) => {
            let coefficients = attention_coefficients(earlier, seq_length, options, &output);
            Tensor::stack::<3>(queries, 1).matmul(writes.clone().swap_dims(1, 2)) // [B, T, writes]
                * coefficients.unsqueeze()
        }
        _ => Tensor::zeros(
            [batch_size, seq_length, n_writes],
            (&output.device(), output.dtype()),
        ),
    };
    (output, state, attention)
}

/// `η λ^age` for each pair of step and write, 0 where the write comes too late: `[T, writes]`.
fn attention_coefficients(
    earlier: usize,
    seq_length: usize,
    options: &Options,
    like: &Tensor<3>,
) -> Tensor<2> {
    let own_write_is_seen = options.write == WrittenState::Preliminary;
    let by_age = coefficients_by_age(earlier + seq_length, options);
    let mut coefficients = Vec::with_capacity(seq_length * (earlier + seq_length));
    for t in 0..seq_length {
        let visible = earlier + t + usize::from(own_write_is_seen);
        for write in 0..earlier + seq_length {
            coefficients.push(if write < visible {
                by_age[visible - 1 - write]
            } else {
                0.0
            });
        }
    }
    Tensor::from_data(
        TensorData::new(coefficients, [seq_length, earlier + seq_length]),
        (&like.device(), like.dtype()),
    )
}

/// `η λ^age` for the ages 0 to n - 1; `0^0` is 1, so that a decay of 0 keeps the last write.
fn coefficients_by_age(n: usize, options: &Options) -> Vec<f64> {
    let decayed = |coefficient: &f64| Some(coefficient * options.decay);
    core::iter::successors(Some(options.fast_learning_rate), decayed)
        .take(n)
        .collect()
}

impl State {
    /// The same state with its memory in the form that `form` means for a run of `seq_length` steps.
    pub fn in_form(mut self, form: MemoryForm, seq_length: usize, options: &Options) -> State {
        let d_hidden = self.hidden.dims()[1];
        self.memory = match form.resolve(self.memory.written(), seq_length, d_hidden) {
            MemoryForm::Matrix => {
                FastMemory::Matrix(self.memory.into_matrix(&self.hidden, options))
            }
            _ => self.memory.into_history(),
        };
        self
    }
}
