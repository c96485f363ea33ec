//! Sparse Attentive Backtracking: attention to a few stored past states, through which credit flows back (Ke, Goyal, Bilaniuk,
//! Binas, Mozer, Pal, Bengio 2018, "Sparse Attentive Backtracking: Temporal Credit Assignment Through Reminding").
//!
//! ```text
//! ĥ_t, c_t = Cell(x_t, h_{t-1}, c_{t-1})       h and c cut from the graph before every k_trunc-th step
//! a_i = vᵀ tanh(W_h ĥ_t + W_m m_i)             score of each memory
//! w   = the k_top best scores, sparsified and normalised; all others 0
//! s_t = Σ_i w_i m_i                            what is recalled
//! h_t = (ĥ_t + s_t) / 2                        h_t = ĥ_t while there is nothing to recall
//! m_new = h_t                                  stored after every k_att-th step
//! ```
//!
//! where
//! - `m_i` are the memories `[d_memory]`, states stored before step t, oldest first;
//! - `W_h` is the [query's weight](Scoring::query), `W_m` the [key's](Scoring::key), `v` [`Scoring::v`];
//! - the score is a [`Score`], the rule that makes weights of scores a [`Sparsifier`], the way the summary enters the state a
//!   [`Combination`].
//!
//! Gradients reach the past in two ways: along the cell for at most k_trunc steps, and through the memories that were
//! selected, each of which is the state of its own step, from where they go on in the same two ways: *sparse replay*.
//!
//! # Ties
//!
//! Of equal scores the older memory is selected first, on every backend.
//!
//! # Fused
//!
//! On Flex, with the cargo feature `flex` and in f32 or f64, a sequence over an LSTM, a GRU or an Elman network is one operation with
//! a backward pass of its own ([`ExecutionPath::Fused`](crate::ExecutionPath::Fused)). Its cost is as sparse as the credit: a memory's key is computed
//! once, the backward pass visits the steps that receive gradient and the memories that they recalled, and no others. For each sample
//! it keeps, between the two passes, `T · ((n_gates + 4) H + 2 A + 2 k_top + 1)` numbers if every state is stored (over an Elman
//! network 3 H), T being its steps, or those of a longer sample that runs beside it, and A d_attention (two more a step with
//! [`Sparsifier::Threshold`]; where all memories are recalled, k_top is their number). With nothing to recall it is the sequence of the
//! bare cell, which is how [`Lstm`](crate::Lstm), [`Gru`](crate::Gru) and [`Elman`](crate::Elman) run.
//!
//! On a GPU, with the cargo feature `wgpu` or `cuda` and in f32, f16 or bf16, it is one launch for each pass, in f32: one workgroup a
//! sample. There the backward pass goes through every step, but visits the same memories alone.

mod attention;
mod composed;
#[cfg(feature = "flex")]
mod cpu;
#[cfg(feature = "cube")]
mod cube;
#[cfg(feature = "flex")]
mod fused;
#[cfg(any(feature = "flex", feature = "cube"))]
mod operation;
#[cfg(any(feature = "flex", feature = "cube"))]
mod shapes;
#[cfg(feature = "flex")]
mod stored;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

pub use super::CellKind;
use super::Spans;
pub use attention::{Attended, Scoring, attend, select_top_k, sparsify};
pub use composed::{Memories, combine};
#[cfg(feature = "flex")]
pub(crate) use stored::{MemoryStore, Recalling};

/// How a memory is scored against the present state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Score {
    /// `vᵀ tanh(W_h ĥ + W_m m)` (the paper's multilayer perceptron).
    #[default]
    Mlp,
    /// `(W_h ĥ) · (W_m m) / √d_attention`.
    ScaledDot,
    /// `w_h · tanh(ĥ) + w_m · tanh(m)`, as in the code that the authors released: the state adds the same to every memory's
    /// score, so that which are selected does not depend on it.
    Released,
}

/// How the best scores become weights. While there are no more than `top_k` memories, all are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Sparsifier {
    /// Softmax over the selected scores.
    #[default]
    Softmax,
    /// `w_i ∝ max(0, a_i - a_(k+1))`, with a_(k+1) the best score that is not selected (the paper). The weights sum to 1, or to
    /// 0 where all k + 1 scores are equal. Softmax while all memories are kept. The (k+1)-th memory has weight 0, and gradient
    /// through its score.
    Threshold,
    /// As in the code that the authors released: `w_i ∝ max(0, a_i - a_(k) - 1e-7)`, which keeps k - 1 memories; raw scores while
    /// all are kept.
    Released,
}

/// How what is recalled enters the state that the cell goes on from, and that is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Combination {
    /// `h_t = (ĥ_t + s_t) / 2`: with weights that sum to 1 it keeps the range of ĥ.
    #[default]
    Average,
    /// `h_t = ĥ_t + s_t` (the paper).
    Add,
    /// `h_t = ĥ_t`: what is recalled only goes to the output.
    OutputOnly,
}

/// What keeps the division by a sum of thresholded scores finite: the released code's number.
pub const SPARSIFIER_EPSILON: f64 = 1e-7;

/// The numbers and choices of the equations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// k_top: how many memories a step recalls; all of them, if it is `None`.
    pub top_k: Option<usize>,
    /// k_att, at least 1: a state is stored after every so many steps.
    pub attention_interval: usize,
    /// k_trunc, at least 1: the cell is cut from the graph before every k_trunc-th step; never, if it is `None`.
    pub truncation_length: Option<usize>,
    /// Whether gradients go back to the memories.
    pub replay: bool,
    /// The most memories that are kept.
    pub max_memories: Option<usize>,
    /// How scores become weights.
    pub sparsifier: Sparsifier,
    /// How what is recalled enters the state.
    pub combination: Combination,
}

impl Options {
    /// Whether the cell is cut from the graph between `step` steps and the next.
    pub fn is_cut_after(&self, step: usize) -> bool {
        let length = self.truncation_length;
        length.is_some_and(|length| (step + 1).is_multiple_of(length))
    }

    /// Whether the state after `step` steps is stored.
    pub fn is_stored_after(&self, step: usize) -> bool {
        step.is_multiple_of(self.attention_interval)
    }

    /// Whether `n` memories are more than are recalled.
    pub fn is_crowded(&self, n: usize) -> bool {
        self.top_k.is_some_and(|top_k| n > top_k)
    }

    /// How many of `n` memories take part in a step: those that are recalled, and for [`Sparsifier::Threshold`] the one that gives
    /// the threshold.
    pub fn n_selected(&self, n: usize) -> usize {
        n_selected(n, self.top_k, self.sparsifier)
    }
}

fn n_selected(n: usize, top_k: Option<usize>, sparsifier: Sparsifier) -> usize {
    match top_k {
        Some(0) => 0,
        Some(top_k) if n > top_k => top_k + usize::from(sparsifier == Sparsifier::Threshold),
        _ => n,
    }
}

/// A cell that the fused form knows, with the state to begin with.
#[derive(Clone, Debug)]
pub struct FusedCell {
    /// Which equations.
    pub kind: CellKind,
    /// W, `[d_hidden, n_gates d_hidden]`.
    pub w_hidden: Tensor<2>,
    /// b' of a GRU, `[n_gates d_hidden]`; others have none.
    pub bias: Option<Tensor<1>>,
    /// h, `[n_samples, d_hidden]`.
    pub hidden: Tensor<2>,
    /// c of an LSTM, `[n_samples, d_hidden]`; of an sLSTM c, n and m side by side, `[n_samples, 3 d_hidden]`; others have none.
    pub cell: Option<Tensor<2>>,
}

/// What a sequence of a cell recalls, where it begins, and what it puts out.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(any(feature = "flex", feature = "cube")),
    allow(dead_code, reason = "only kernels read it")
)]
pub(crate) struct Recall<'a> {
    pub options: &'a Options,
    /// What memories are scored with; `None` where none are stored.
    pub scoring: Option<&'a Scoring>,
    /// The memories to begin with, `[n_samples, n, d_hidden]`.
    pub memories: Option<&'a Tensor<3>>,
    /// Steps before this sequence.
    pub first_step: usize,
    /// Whether a row of the output is `[h_t ; s_t]`, not h_t alone.
    pub yields_summary: bool,
}

impl Recall<'_> {
    /// A bare cell recalls nothing.
    pub(crate) const NOTHING: Recall<'static> = Recall {
        options: &Options {
            top_k: Some(0),
            attention_interval: 1,
            truncation_length: None,
            replay: false,
            max_memories: None,
            sparsifier: Sparsifier::Softmax,
            combination: Combination::OutputOnly,
        },
        scoring: None,
        memories: None,
        first_step: 0,
        yields_summary: false,
    };
}

/// The sequences of a cell by a kernel: the output, `d_hidden` or twice that wide, and the last c of an LSTM that are asked for, in the order of
/// their ends; nothing, if there is no kernel for the device, the type and the spans.
///
/// # Shapes
/// - projected input and output: `[batch_size, seq_length, ..]`; for spans that are not those of a batch `[1, n_rows, ..]`
/// - states and memories to begin with: of n_samples, in the order of the spans
/// - last c: `[n_ends, d_hidden]`; of an sLSTM with n and m behind it `[n_ends, 3 d_hidden]`
///
/// # Panics
/// If a shape does not fit.
#[allow(
    unused_variables,
    reason = "without a backend that has kernels there is none"
)]
#[track_caller]
pub(crate) fn by_kernel(
    projected: &Tensor<3>,
    cell: &FusedCell,
    recall: Recall,
    spans: &Spans,
) -> Option<(Tensor<3>, Option<Tensor<2>>)> {
    #[cfg(feature = "flex")]
    if super::operation::is_available(&projected.device(), projected.dtype()) {
        return Some(fused::sequence(projected, cell, recall, spans));
    }
    #[cfg(feature = "cube")]
    if let Some(result) = cube::sequence(projected, cell, recall, spans) {
        return Some(result);
    }
    None
}
