//! Matrix memories with a linear state: what fast weights became (Schlag, Irie, Schmidhuber 2021, "Linear Transformers Are Secretly Fast
//! Weight Programmers"; Yang, Wang, Zhang, Shen, Kim 2024, "Parallelizing Linear Transformers with the Delta Rule over Sequence Length").
//!
//! Every head has a memory S, which maps keys to values. At each step t it fades, is written n times, and is read:
//!
//! ```text
//! S <- exp(g_t) S                                    keys fade
//! e  = v_i - Sᵀ k_i                                  what the memory lacks (delta rule), or v_i (sum)
//! S <- S + β_i k_i eᵀ                                for the step's writes i = t n .. t n + n - 1, one after another
//! o_t = Sᵀ q_t / √K
//! ```
//!
//! where
//! - `q_t` is the [query](Sequences::query), `k_i` a [key](Sequences::key), `v_i` a [value](Sequences::value), of K, K and V numbers a head;
//! - `β_i` is the [write strength](Sequences::write_strength): with keys of length 1, the delta rule replaces what the key stood for where it
//!   is 1, keeps it where it is 0, and turns its sign where it is 2;
//! - `g_t` is the [logarithm of the decay](Sequences::log_decay), at most 0: none, one number for all of a head, or one for each key channel;
//! - `S` is `[K, V]`, one for each sample and head.
//!
//! | mechanism | rule | decay | writes a step | source |
//! |---|---|---|---|---|
//! | linear attention | [sum](WriteRule::Sum), β = 1 | none | 1 | Katharopoulos et al. 2020 |
//! | DeltaNet | [delta](WriteRule::Delta) | none | 1 | Schlag et al. 2021; Yang et al. 2024 |
//! | with negative eigenvalues | delta, β in (0, 2) | any | any | Grazzi et al. 2024 |
//! | Gated DeltaNet | delta | [a head](LogDecay::Head) | 1 | Yang, Kautz, Hatamizadeh 2024 |
//! | Kimi delta attention (KDA) | delta | [a channel](LogDecay::Channel) | 1 | Kimi team 2025 |
//! | (gated) DeltaProduct | delta | none, or a head | n | Siems et al. 2025 |
//!
//! Three others have functions of their own: [`mlstm()`], a sum with exponential gates and a normaliser (Beck et al. 2024); [`rwkv7()`], whose every step has a
//! transition of rank one with two vectors of its own (Peng et al. 2025); and [`recurrent_delta()`], whose writes depend on what was read before (Irie et al. 2021).
//!
//! # Chunks
//!
//! Since S enters linearly, a chunk of steps can be taken at once (the WY form of Yang et al. 2024): with S what it was before the chunk, and
//! `D_{ts}` the decay from step s to step t,
//!
//! ```text
//! u_i = β_i (v_i - D_{i0} Sᵀ k_i - Σ_{j<i} D_{ij} (k_i · k_j) u_j)       a triangular system
//! o_t = (D_{t0} Sᵀ q_t + Σ_{j≤t} D_{tj} (q_t · k_j) u_j) / √K
//! S  <- D_{C0} S + Σ_j D_{Cj} k_j u_jᵀ
//! ```
//!
//! Decays are products of decays, never quotients: a memory that has faded to nothing does no harm. What is not a number in a step spoils its
//! chunk, and so a few steps before it as well.
//!
//! Composed of tensor operations, which run on every backend, chunks have 32 writes, and 16 where channels fade: see [`in_chunks`].
//!
//! # Fused
//!
//! On Flex, with the cargo feature `flex`, a sequence of at most 16 writes a step is one operation with a backward pass of its own
//! ([`ExecutionPath::Fused`]), in chunks of as many steps as have 16 writes; heads and samples are shared among threads. For each head of each
//! sample, between the two passes, it keeps `T n V` numbers, and a memory of `K V` as seldom as that these have no more than `T n (K + V)`. So are
//! sequences of unequal lengths ([`forward_spans`](crate::Recurrent::forward_spans)). One step alone, without autodiff, writes the memory where it lies.

#[cfg(feature = "flex")]
mod alone;
mod composed;
#[cfg(feature = "flex")]
mod cpu;
#[cfg(feature = "flex")]
mod fused;
mod mlstm;
mod recurrent_delta;
mod rwkv7;
mod shapes;
#[cfg(test)]
mod trials;

use alloc::vec::Vec;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

pub use composed::{in_chunks, step};
pub(crate) use mlstm::mlstm_of_spans;
pub use mlstm::{MLstmSequences, MLstmState, mlstm};
#[cfg(feature = "flex")]
use mlstm::{MOST_NEGATIVE_SCALE, NORMALIZER_EPSILON};
pub use recurrent_delta::{RecurrentDeltaState, recurrent_delta};
pub(crate) use rwkv7::rwkv7_of_spans;
pub use rwkv7::{Rwkv7Sequences, rwkv7};
use shapes::check_sequence;

#[cfg(feature = "flex")]
use super::operation::is_available;
use super::precision::{in_type, widened};
use super::{ExecutionPath, Spans, cut};

/// What a write adds to the memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum WriteRule {
    /// What the memory lacks of the value: `e = v - Sᵀ k`.
    #[default]
    Delta,
    /// The value itself: `e = v`.
    Sum,
}

/// What a kernel computes: a [`WriteRule`], or what has become of it.
#[cfg(feature = "flex")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// `e = v - Sᵀ k`
    Delta,
    /// `e = v`
    Sum,
    /// A sum with exponential gates and a normaliser: see [`mlstm`].
    Gated,
    /// `S <- exp(g) S + b (Sᵀ a)ᵀ + k vᵀ`: see [`rwkv7`]. Of a kernel's two writes a step the first reads with a and writes b.
    Transition,
}

#[cfg(feature = "flex")]
impl From<WriteRule> for Rule {
    fn from(rule: WriteRule) -> Self {
        match rule {
            WriteRule::Delta => Rule::Delta,
            WriteRule::Sum => Rule::Sum,
        }
    }
}

/// The logarithms of the decays, at most 0.
#[derive(Clone, Debug)]
pub enum LogDecay {
    /// Nothing fades.
    None,
    /// One for all of a head, `[batch_size, seq_length, n_heads]`.
    Head(Tensor<3>),
    /// One for each key channel, `[batch_size, seq_length, n_heads, d_key]`.
    Channel(Tensor<4>),
}

/// What is written and read at every step. Writes of one step lie one behind the other: n times as many as there are steps.
#[derive(Clone, Debug)]
pub struct Sequences {
    /// q, `[batch_size, seq_length, n_heads, d_key]`.
    pub query: Tensor<4>,
    /// k, `[batch_size, seq_length n, n_heads, d_key]`.
    pub key: Tensor<4>,
    /// v, `[batch_size, seq_length n, n_heads, d_value]`.
    pub value: Tensor<4>,
    /// β, `[batch_size, seq_length n, n_heads]`.
    pub write_strength: Tensor<3>,
    /// g.
    pub log_decay: LogDecay,
}

impl Sequences {
    /// The samples of a batch.
    fn spans(&self) -> Spans {
        let [batch_size, seq_length, _, _] = self.query.dims();
        Spans::of_batch(batch_size, seq_length)
    }

    /// Pieces of so many steps, one after another.
    pub(crate) fn cut(self, lengths: &[usize]) -> Vec<Sequences> {
        let writes = self.key.dims()[1] / self.query.dims()[1];
        let written: Vec<usize> = lengths.iter().map(|length| length * writes).collect();
        let rest = cut(self.query, 1, lengths)
            .into_iter()
            .zip(cut(self.key, 1, &written))
            .zip(cut(self.value, 1, &written))
            .zip(cut(self.write_strength, 1, &written));
        let log_decays = match self.log_decay {
            LogDecay::None => alloc::vec![LogDecay::None; lengths.len()],
            LogDecay::Head(log) => cut(log, 1, lengths)
                .into_iter()
                .map(LogDecay::Head)
                .collect(),
            LogDecay::Channel(log) => cut(log, 1, lengths)
                .into_iter()
                .map(LogDecay::Channel)
                .collect(),
        };
        let piece = |((((query, key), value), write_strength), log_decay)| Sequences {
            query,
            key,
            value,
            write_strength,
            log_decay,
        };
        rest.zip(log_decays).map(piece).collect()
    }

    /// Each tensor by itself.
    fn map(
        self,
        on_three: impl Fn(Tensor<3>) -> Tensor<3>,
        on_four: impl Fn(Tensor<4>) -> Tensor<4>,
    ) -> Self {
        Sequences {
            query: on_four(self.query),
            key: on_four(self.key),
            value: on_four(self.value),
            write_strength: on_three(self.write_strength),
            log_decay: match self.log_decay {
                LogDecay::None => LogDecay::None,
                LogDecay::Head(decay) => LogDecay::Head(on_three(decay)),
                LogDecay::Channel(decay) => LogDecay::Channel(on_four(decay)),
            },
        }
    }
}

/// What a kernel reads, whatever the rule.
#[cfg(feature = "flex")]
struct Given {
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    /// β, or input gates; none of a transition.
    strength: Option<Tensor<3>>,
    /// g; of what is gated the forget gates.
    log_decay: LogDecay,
    /// a and b of a transition.
    transition: Option<[Tensor<4>; 2]>,
    /// m before the first step, of what is gated.
    start_scale: Option<Tensor<2>>,
}

#[cfg(feature = "flex")]
impl From<Sequences> for Given {
    fn from(sequences: Sequences) -> Self {
        Given {
            query: sequences.query,
            key: sequences.key,
            value: sequences.value,
            strength: Some(sequences.write_strength),
            log_decay: sequences.log_decay,
            transition: None,
            start_scale: None,
        }
    }
}

/// The sizes of sequences.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    n_samples: usize,
    n_heads: usize,
    d_key: usize,
    d_value: usize,
    /// In a step.
    writes: usize,
    /// What queries are multiplied with.
    read_scale: f64,
}

impl Sizes {
    fn state(&self) -> [usize; 4] {
        [self.n_samples, self.n_heads, self.d_key, self.d_value]
    }
}

/// `1 / √K`
fn key_scale(d_key: usize) -> f64 {
    1.0 / (d_key as f64).sqrt()
}

/// Matrix memories over a whole sequence, from a state `[batch_size, n_heads, d_key, d_value]` or else from zeros. What comes back are the
/// outputs `[batch_size, seq_length, n_heads, d_value]` and the last state.
///
/// Numbers in half precision are computed with in single precision, and the outputs and the state come back in half precision. On a CPU without
/// autodiff one step alone writes the memory where it lies, if no one else has it: hand the state over rather than a clone of it.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::ExecutionPath;
/// use fw_core::ops::matrix_memory::{LogDecay, Sequences, WriteRule, matrix_memory};
///
/// let device = Device::flex();
/// // One sample, two steps, one head: the same key is written with 3, then, wholly, with 5.
/// let key = Tensor::<4>::from_data([[[[1.0, 0.0]], [[1.0, 0.0]]]], &device);
/// let sequences = Sequences {
///     query: key.clone(),
///     key,
///     value: Tensor::from_data([[[[3.0]], [[5.0]]]], &device),
///     write_strength: Tensor::ones([1, 2, 1], &device),
///     log_decay: LogDecay::None,
/// };
/// let (output, state) = matrix_memory(sequences, None, WriteRule::Delta, ExecutionPath::Auto);
/// let read: Vec<f32> = (output * 2f32.sqrt()).try_into_vec_as().unwrap();
/// assert!((read[0] - 3.0).abs() < 1e-6 && (read[1] - 5.0).abs() < 1e-6); // replaced, not added
/// assert_eq!(state.dims(), [1, 1, 2, 1]);
/// ```
///
/// # Panics
/// If there are no samples, no steps, or a size is 0; the keys are not a whole number of writes a step; a shape or a type does not fit;
/// or `path` is [`ExecutionPath::Fused`] where there is no kernel.
#[track_caller]
pub fn matrix_memory(
    sequences: Sequences,
    state: Option<Tensor<4>>,
    rule: WriteRule,
    path: ExecutionPath,
) -> (Tensor<4>, Tensor<4>) {
    let spans = sequences.spans();
    let sizes = check_sequence(&sequences, &spans, state.as_ref());
    let (device, dtype) = (sequences.query.device(), sequences.query.dtype());
    let operands = (sequences.map(widened, widened), state.map(widened));
    #[cfg(feature = "flex")]
    if spans.longest() == 1
        && path != ExecutionPath::Composed
        && !device.is_autodiff()
        && is_available(&device, operands.0.query.dtype())
    {
        let (output, state) =
            alone::step_alone(&Given::from(operands.0), operands.1, sizes, rule.into());
        return (in_type(output, dtype), in_type(state, dtype));
    }
    let (output, state) = path.choose(
        "matrix memories",
        (&device, dtype),
        operands,
        |(sequences, state)| by_kernel(sequences, &spans, state.as_ref(), sizes, rule),
        |(sequences, state)| composed::sequence(sequences, state, sizes, rule),
    );
    (in_type(output, dtype), in_type(state, dtype))
}

/// [`matrix_memory`] over spans of `[1, n_rows, ..]`, from a state for each; nothing, where there is no kernel for them. The last states are in the
/// order of their ends.
#[track_caller]
pub(crate) fn of_spans(
    sequences: Sequences,
    spans: &Spans,
    state: Option<Tensor<4>>,
    rule: WriteRule,
) -> Option<(Tensor<4>, Tensor<4>)> {
    let sizes = check_sequence(&sequences, spans, state.as_ref());
    let dtype = sequences.query.dtype();
    let sequences = sequences.map(widened, widened);
    let state = state.map(widened);
    let (output, state) = by_kernel(&sequences, spans, state.as_ref(), sizes, rule)?;
    Some((in_type(output, dtype), in_type(state, dtype)))
}

/// The sequences by a kernel of this device, if it has one for the type and for these sizes.
#[allow(
    unused_variables,
    reason = "without a backend that has kernels there is none"
)]
#[track_caller]
fn by_kernel(
    sequences: &Sequences,
    spans: &Spans,
    state: Option<&Tensor<4>>,
    sizes: Sizes,
    rule: WriteRule,
) -> Option<(Tensor<4>, Tensor<4>)> {
    #[cfg(feature = "flex")]
    if is_available(&sequences.query.device(), sequences.query.dtype()) {
        let given = Given::from(sequences.clone());
        return fused::matrix_memory(&given, spans, state, sizes, rule.into());
    }
    None
}
