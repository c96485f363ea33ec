//! The Sparse Attentive Backtracking layer.

#[cfg(feature = "flex")]
mod alone;
mod attention;
mod spans;
mod state;
mod trace;

use alloc::format;
use alloc::vec::Vec;

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::cell::{RecurrentCell, after_kernel};
use crate::error::{expect_valid, require_size};
use crate::ops::sab::{
    Attended, FusedCell, Memories, Options, Recall, Scoring, by_kernel, combine,
};
use crate::ops::shapes::fits;
use crate::ops::{Spans, scan};
use crate::recurrent::{empty_output, expect_state, state_or_initial, step_by_kernel};
use crate::segments::forward_groups;
use crate::{ConfigError, ExecutionPath, Recurrent, RecurrentState, StateError};

pub use crate::ops::sab::{Combination, Score, Sparsifier};
pub use attention::{SparseAttention, SparseAttentionConfig};
pub use state::SabState;
use state::SameStep;
pub use trace::SabTrace;

/// What a step of [`Sab`] yields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SabOutput {
    /// `[h_t ; s_t]`, 2 d_hidden wide (the paper).
    #[default]
    HiddenAndSummary,
    /// `h_t` alone.
    Hidden,
}

/// Configuration of [`Sab`]. It has no sizes of its own: those are the cell's.
#[derive(Config, Debug)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SabConfig {
    /// k_top, how many memories a step recalls: 0, n, or all of them (`None`). Default 10.
    #[doc(alias = "k_top")]
    #[config(default = "Some(10)")]
    pub top_k: Option<usize>,
    /// k_att, a state is stored after every so many steps: at least 1. Default 1.
    #[doc(alias = "k_att")]
    #[config(default = 1)]
    pub attention_interval: usize,
    /// k_trunc, the most steps that a gradient goes back along the cell, at least 1, or all (`None`). Default 10.
    #[doc(alias = "k_trunc")]
    #[config(default = "Some(10)")]
    pub truncation_length: Option<usize>,
    /// Whether gradients go back to the memories (sparse replay). Default true; without, they are read as if they were
    /// constants.
    #[config(default = true)]
    pub replay: bool,
    /// The most memories that are kept, at least 1: the oldest are dropped. Default `None`: all are kept.
    #[config(default = "None")]
    pub max_memories: Option<usize>,
    /// Width in which state and memory are compared, at least 1. Default `None`: that of the cell.
    #[config(default = "None")]
    pub d_attention: Option<usize>,
    /// How memories are scored. Default [`Score::Mlp`], the paper.
    #[config(default = "Score::Mlp")]
    pub score: Score,
    /// How scores become weights. Default [`Sparsifier::Softmax`].
    #[config(default = "Sparsifier::Softmax")]
    pub sparsifier: Sparsifier,
    /// How what is recalled enters the state. Default [`Combination::Average`]: it keeps the state in the cell's range, where the
    /// paper's sum lets it grow.
    #[config(default = "Combination::Average")]
    pub combination: Combination,
    /// What a step yields. Default [`SabOutput::HiddenAndSummary`], the paper.
    #[config(default = "SabOutput::HiddenAndSummary")]
    pub output: SabOutput,
    /// How a sequence is computed. Default [`ExecutionPath::Auto`]: fused where there is a kernel.
    #[config(default = "ExecutionPath::Auto")]
    pub path: ExecutionPath,
}

/// Sparse Attentive Backtracking: a recurrent cell that stores states, recalls the few that score best, and learns from
/// the distant past through them (Ke et al. 2018).
///
/// ```text
/// ĥ_t, c_t = Cell(x_t, h_{t-1}, c_{t-1})       cut from the graph before every k_trunc-th step
/// a_i = vᵀ tanh(W_h ĥ_t + W_m m_i)             score of each memory
/// w   = softmax over the k_top best a, all others 0
/// s_t = Σ_i w_i m_i
/// h_t = (ĥ_t + s_t) / 2                        h_t = ĥ_t while nothing is recalled
/// y_t = [h_t ; s_t]
/// m_new = h_t                                  after every k_att-th step
/// ```
///
/// where k_top is [`top_k`](SabConfig::top_k), k_att [`attention_interval`](SabConfig::attention_interval) and k_trunc
/// [`truncation_length`](SabConfig::truncation_length); `W_h`, `W_m` and `v` are those of [`attention`](Self::attention).
///
/// With `top_k = Some(0)` it is the bare cell trained by truncated backpropagation through time; with `top_k = None` and
/// `truncation_length = None` a recurrent net with full self-attention. Other scores, weights and ways into the state are options:
/// [`Score`], [`Sparsifier`], [`Combination`].
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - output: `[batch_size, seq_length, 2 d_hidden]`, or d_hidden wide with [`SabOutput::Hidden`]
///
/// # Differences from the paper
///
/// - `h_t = (ĥ_t + s_t) / 2`; the paper's `ĥ_t + s_t` is [`Combination::Add`].
/// - Weights are a softmax over the selected scores; the paper's rule is [`Sparsifier::Threshold`].
/// - The cell is cut at fixed places, before every k_trunc-th step of the sequence (as in the code that the authors released), so
///   that credit runs back from a recalled state for 1 to k_trunc steps, and the first block has one step less.
///
/// # Source
///
/// N. R. Ke, A. Goyal, O. Bilaniuk, J. Binas, M. Mozer, C. Pal, Y. Bengio, "Sparse Attentive Backtracking: Temporal Credit
/// Assignment Through Reminding", NeurIPS 2018, section 3.
///
/// # Example
///
/// A step that recalls the only memory: `s_2 = h_1`.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{LstmConfig, Recurrent, SabConfig};
///
/// let device = Device::flex();
/// let cell = LstmConfig::new(3, 4).init(&device);
/// let layer = SabConfig::new().with_top_k(Some(5)).init(cell, &device);
/// let (output, _) = layer.forward(Tensor::ones([1, 2, 3], &device), None);
/// assert_eq!(output.dims(), [1, 2, 8]);
/// let rows: Vec<f32> = output.try_into_vec_as().unwrap();
/// assert_eq!(rows[4..8], [0.0; 4]); // s_1
/// assert_eq!(rows[12..16], rows[0..4]); // s_2 = h_1
/// ```
#[derive(Module, Debug)]
pub struct Sab<C: Module> {
    /// The recurrent cell.
    pub cell: C,
    /// What memories are found with; `None` where `top_k` is 0. How many are recalled, and with which weights, is of the
    /// [configuration](SabConfig), also where another is put here.
    pub attention: Option<SparseAttention>,
    #[module(skip)]
    config: SabConfig,
}

/// The most steps that a state may have behind it: more could not be counted on.
const MOST_STEPS: usize = usize::MAX / 2;

impl SabConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// An interval, a length or a width of 0.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require_size("attention_interval", self.attention_interval)?;
        require_size("truncation_length", self.truncation_length.unwrap_or(1))?;
        require_size("max_memories", self.max_memories.unwrap_or(1))?;
        require_size("d_attention", self.d_attention.unwrap_or(1))
    }

    /// The layer around a cell, with fresh parameters of the attention on `device`.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) finds an error; [`try_init`](Self::try_init) returns it instead.
    #[track_caller]
    pub fn init<C: RecurrentCell>(&self, cell: C, device: &Device) -> Sab<C> {
        expect_valid(self.try_init(cell, device))
    }

    /// The layer around a cell, with fresh parameters of the attention on `device`.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) finds.
    pub fn try_init<C: RecurrentCell>(
        &self,
        cell: C,
        device: &Device,
    ) -> Result<Sab<C>, ConfigError> {
        self.validate()?;
        let d_hidden = cell.d_output();
        let attention = match self.top_k {
            Some(0) => None,
            top_k => {
                let config = SparseAttentionConfig::new(d_hidden, d_hidden)
                    .with_d_attention(self.d_attention)
                    .with_top_k(top_k)
                    .with_score(self.score)
                    .with_sparsifier(self.sparsifier);
                Some(config.try_init(device)?)
            }
        };
        Ok(Sab {
            cell,
            attention,
            config: self.clone(),
        })
    }

    fn options(&self) -> Options {
        Options {
            top_k: self.top_k,
            attention_interval: self.attention_interval,
            truncation_length: self.truncation_length,
            replay: self.replay,
            max_memories: self.max_memories,
            sparsifier: self.sparsifier,
            combination: self.combination,
        }
    }
}

/// What goes from step to step within a call: the state, and the keys of its memories, which each call computes anew, since
/// parameters may change between two.
struct Walk<S> {
    cell: S,
    memories: Option<Memories>,
    step: usize,
}

/// What the kernel yields.
struct Sequences<S> {
    output: Tensor<3>,
    /// Every h: a part of the output.
    hidden: Tensor<3>,
    /// The last states of the cell.
    cell: S,
}

/// One step, and what it recalled.
struct Step<S> {
    output: Tensor<2>,
    walk: Walk<S>,
    attended: Option<Attended>,
}

impl<S> From<Walk<S>> for SameStep<S> {
    fn from(walk: Walk<S>) -> Self {
        SameStep {
            cell: walk.cell,
            memories: walk.memories.map(|memories| memories.values),
            step: walk.step,
        }
    }
}

impl<C: RecurrentCell> Sab<C> {
    /// The configuration that it was made from.
    pub fn config(&self) -> &SabConfig {
        &self.config
    }

    fn d_hidden(&self) -> usize {
        self.cell.d_output()
    }

    /// Whether the state after `step` steps is stored.
    fn is_stored_after(&self, step: usize) -> bool {
        self.attention.is_some() && self.config.options().is_stored_after(step)
    }

    /// One step, from the projected input.
    fn step_traced(
        &self,
        projected_t: Tensor<2>,
        walk: Walk<C::State>,
        scoring: Option<&Scoring>,
    ) -> Step<C::State> {
        let Walk {
            cell,
            memories,
            step,
        } = walk;
        let options = self.config.options();
        let cell = match options.is_cut_after(step) {
            true => cell.detach(),
            false => cell,
        };
        let (candidate, cell) = self.cell.advance(projected_t, cell);
        let attended = scoring.zip(memories.as_ref()).map(|(scoring, memories)| {
            memories.recalled_by(
                candidate.clone(),
                scoring,
                options.top_k,
                options.sparsifier,
            )
        });
        let (hidden, summary) = match &attended {
            Some(attended) => {
                let summary = attended.summary.clone();
                let hidden = combine(candidate, summary.clone(), options.combination);
                (hidden, summary)
            }
            None => (candidate.clone(), candidate.zeros_like()),
        };

        let step = step + 1;
        let memories = match scoring.filter(|_| self.is_stored_after(step)) {
            None => memories,
            Some(scoring) => {
                let stored = hidden.clone().unsqueeze_dim(1);
                let stored = Memories::new(stored, scoring, options.replay);
                Some(match memories {
                    Some(memories) => memories.followed_by(stored, options.max_memories),
                    None => stored,
                })
            }
        };
        let output = match self.config.output {
            SabOutput::HiddenAndSummary => Tensor::cat(alloc::vec![hidden.clone(), summary], 1),
            SabOutput::Hidden => hidden.clone(),
        };
        Step {
            output,
            walk: Walk {
                cell: C::with_hidden(cell, hidden),
                memories,
                step,
            },
            attended,
        }
    }

    /// Where a call begins: of the memories of a state as many as are kept, with their keys.
    fn walk_from(&self, state: SameStep<C::State>, scoring: Option<&Scoring>) -> Walk<C::State> {
        let memories = state.memories.zip(scoring).map(|(memories, scoring)| {
            Memories::new(self.newest(memories), scoring, self.config.replay)
        });
        Walk {
            cell: state.cell,
            memories,
            step: state.step,
        }
    }

    /// The whole sequence by the kernel, if there is one for the cell, the device and the type.
    fn by_kernel(
        &self,
        projected: &Tensor<3>,
        state: &SameStep<C::State>,
        scoring: Option<&Scoring>,
    ) -> Option<(Tensor<3>, SameStep<C::State>)> {
        let [batch_size, seq_length, _] = projected.dims();
        let start = self.cell.fused(&state.cell)?;
        let spans = Spans::of_batch(batch_size, seq_length);
        let sequences = self.run_kernel(projected, &start, state, scoring, &spans)?;
        let state = SameStep {
            cell: sequences.cell,
            memories: self.memories_after(state, sequences.hidden),
            step: state.step + seq_length,
        };
        Some((sequences.output, state))
    }

    /// Sequences by the kernel, if there is one for the device, the type and the spans, with the cell as it begins.
    fn run_kernel(
        &self,
        projected: &Tensor<3>,
        start: &FusedCell,
        state: &SameStep<C::State>,
        scoring: Option<&Scoring>,
        spans: &Spans,
    ) -> Option<Sequences<C::State>> {
        let options = self.config.options();
        let recall = Recall {
            options: &options,
            scoring,
            memories: state.memories.as_ref(),
            first_step: state.step,
            yields_summary: self.config.output == SabOutput::HiddenAndSummary,
        };
        let (output, last_cell) = by_kernel(projected, start, recall, spans)?;
        let hidden = output.clone().narrow(2, 0, self.d_hidden());
        Some(Sequences {
            cell: after_kernel::<C>(&state.cell, hidden.clone(), last_cell, spans),
            output,
            hidden,
        })
    }

    /// The memories after a sequence with the given hidden states.
    fn memories_after(&self, state: &SameStep<C::State>, hidden: Tensor<3>) -> Option<Tensor<3>> {
        let interval = self.config.attention_interval;
        let first = interval - 1 - state.step % interval;
        let is_any = self.attention.is_some() && first < hidden.dims()[1];
        // On the CPU a view, which costs nothing where the state is not used.
        let new = is_any.then(|| hidden.slice(burn::tensor::s![.., first..;interval as isize, ..]));
        let all = match (state.memories.clone(), new) {
            (Some(given), Some(new)) => Some(Tensor::cat(alloc::vec![given, new], 1)),
            (given, new) => given.or(new),
        };
        let all = match self.config.replay {
            true => all,
            false => all.map(Tensor::detach),
        };
        all.map(|all| self.newest(all))
    }

    /// The memories that are kept.
    fn newest(&self, memories: Tensor<3>) -> Tensor<3> {
        let n = memories.dims()[1];
        match self.config.max_memories {
            Some(most) if n > most => memories.narrow(1, n - most, most),
            _ => memories,
        }
    }
}

impl<C: RecurrentCell> Recurrent for Sab<C> {
    type State = SabState<C::State>;

    fn d_input(&self) -> usize {
        self.cell.d_input()
    }

    fn d_output(&self) -> usize {
        match self.config.output {
            SabOutput::HiddenAndSummary => 2 * self.d_hidden(),
            SabOutput::Hidden => self.d_hidden(),
        }
    }

    /// The cell's state and the memories; their keys are functions of them.
    fn state_size(&self, seq_length: usize) -> usize {
        let stored = match self.attention {
            Some(_) => seq_length / self.config.attention_interval,
            None => 0,
        };
        let kept = stored.min(self.config.max_memories.unwrap_or(stored));
        self.cell.state_size(seq_length) + kept * self.d_hidden()
    }

    fn initial_state(&self, batch_size: usize, device: &Device) -> SabState<C::State> {
        let cell = self.cell.initial_state(batch_size, device);
        SabState::new(cell, None, 0, batch_size)
    }

    fn check_state(
        &self,
        state: &SabState<C::State>,
        batch_size: usize,
        dtype: DType,
    ) -> Result<(), StateError> {
        self.cell
            .check_state(&state.cell, batch_size, dtype)
            .map_err(|error| error.within("the cell"))?;
        state.check_samples(batch_size)?;
        if let Some(step) = state.steps.iter().find(|step| **step > MOST_STEPS) {
            return Err(StateError::new(format!(
                "the state's step is {step}; it must be at most {MOST_STEPS}"
            )));
        }
        let Some(memories) = &state.memories else {
            return Ok(());
        };
        let n = memories.dims()[1];
        let wrong = if self.attention.is_none() {
            "the state has memories; with top_k = 0 it must have none (`None`)"
        } else if n == 0 {
            "the state has 0 memories; it must have none (`None`), or at least one"
        } else {
            let expected = [batch_size, n, self.d_hidden()];
            return fits("the memories", memories, expected, dtype);
        };
        Err(StateError::new(wrong))
    }

    fn project(&self, input: Tensor<3>) -> Tensor<3> {
        self.cell.project(input)
    }

    fn step(
        &self,
        input_t: Tensor<2>,
        state: SabState<C::State>,
    ) -> (Tensor<2>, SabState<C::State>) {
        step_by_kernel(self, input_t, state)
    }

    fn advance(
        &self,
        projected_t: Tensor<2>,
        state: SabState<C::State>,
    ) -> (Tensor<2>, SabState<C::State>) {
        expect_state(self, &state, &projected_t);
        let scoring = self.attention.as_ref().map(SparseAttention::scoring);
        let projected = projected_t.unsqueeze_dim(1);
        let (output, state) = self.by_step(projected, state, |projected, state| {
            let walk = self.walk_from(state, scoring.as_ref());
            let step = self.step_traced(projected.squeeze_dim(1), walk, scoring.as_ref());
            (step.output.unsqueeze_dim(1), step.walk.into())
        });
        (output.squeeze_dim(1), state)
    }

    fn uniform(&self, state: SabState<C::State>) -> SabState<C::State> {
        SabState {
            cell: self.cell.uniform(state.cell),
            ..state
        }
    }

    fn forward_projected(
        &self,
        projected: Tensor<3>,
        state: Option<SabState<C::State>>,
    ) -> (Tensor<3>, SabState<C::State>) {
        let state = state_or_initial(self, &projected, state);
        if projected.dims()[0] == 0 {
            return (empty_output(self, &projected), state);
        }
        #[cfg(feature = "flex")]
        if let Some((scoring, is_stored)) = self.alone(&projected, &state) {
            return self.step_alone(projected, state, &scoring, is_stored);
        }
        let scoring = self.attention.as_ref().map(SparseAttention::scoring);
        let (device, dtype) = (projected.device(), projected.dtype());
        self.by_step(projected, state, |projected, mut state| {
            state.memories = state.memories.map(|memories| self.newest(memories));
            self.config.path.choose(
                "Sparse Attentive Backtracking (over an LSTM, a GRU or an Elman network, without layer normalisation)",
                (&device, dtype),
                (projected, state),
                |(projected, state)| self.by_kernel(projected, state, scoring.as_ref()),
                |(projected, state)| {
                    let walk = self.walk_from(state, scoring.as_ref());
                    let (output, walk) = scan(projected, walk, |projected_t, walk| {
                        let step = self.step_traced(projected_t, walk, scoring.as_ref());
                        (step.output, step.walk)
                    });
                    (output, walk.into())
                },
            )
        })
    }

    fn forward_spans(
        &self,
        input: &Tensor<2>,
        state: Option<SabState<C::State>>,
        spans: &Spans,
    ) -> Option<(Tensor<2>, SabState<C::State>)> {
        self.spans_by_kernel(input, state, spans)
    }
}

impl<C: RecurrentCell> Sab<C> {
    /// Calls `run` with those samples together that are at the same step, all of them as a rule.
    #[track_caller]
    fn by_step(
        &self,
        projected: Tensor<3>,
        state: SabState<C::State>,
        run: impl Fn(Tensor<3>, SameStep<C::State>) -> (Tensor<3>, SameStep<C::State>),
    ) -> (Tensor<3>, SabState<C::State>) {
        let (times, is_one): (Vec<_>, _) = (state.times().collect(), state.is_of_one_time());
        forward_groups(projected, state, times, |projected, state| {
            let batch_size = state.steps.len();
            let (output, state) = run(projected, state.into_same_step());
            let state = state.into_state(batch_size);
            match is_one {
                true => (output, state),
                false => (output, self.uniform(state)),
            }
        })
    }
}
