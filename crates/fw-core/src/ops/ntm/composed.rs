//! One step of the whole machine in tensor operations: runs on every backend, and is the law.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use burn::tensor::{DType, Tensor};

use super::{Addressing, Writing, read, write};
use crate::StateError;
use crate::ops::shapes::fits;
use crate::ops::{Activation, LstmState, lstm_step};

/// What a machine carries from step to step; the public `NtmState` of the layer.
#[derive(Clone, Debug)]
pub struct State {
    /// Of each LSTM layer of the controller, from the input on; none if the controller is feed-forward.
    pub controller: Vec<LstmState>,
    /// M, `[batch_size, memory_size, word_size]`.
    pub memory: Tensor<3>,
    /// r, `[batch_size, n_read_heads, word_size]`.
    pub reads: Tensor<3>,
    /// w of the read heads, then of the write heads, `[batch_size, n_heads, memory_size]`.
    pub weights: Tensor<3>,
}

/// What a state must be of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateSizes {
    pub batch_size: usize,
    pub d_hidden: usize,
    /// Layers of the controller that carry a state.
    pub n_states: usize,
    pub memory_size: usize,
    pub word_size: usize,
    pub n_read: usize,
    pub n_write: usize,
}

impl State {
    /// An error unless every part has these sizes and this type.
    pub(crate) fn check(&self, sizes: StateSizes, dtype: DType) -> Result<(), StateError> {
        let StateSizes {
            batch_size,
            memory_size,
            word_size,
            ..
        } = sizes;
        let (given, n_states) = (self.controller.len(), sizes.n_states);
        if given != n_states {
            return Err(StateError::new(format!(
                "the state has {given} layers; the controller has {n_states} that carry one"
            )));
        }
        let row = [batch_size, sizes.d_hidden];
        for (index, layer) in self.controller.iter().enumerate() {
            layer.check(row, dtype).map_err(|error| {
                error.within(format_args!("layer {} of the controller", index + 1))
            })?;
        }
        let expected = [batch_size, memory_size, word_size];
        fits("the memory", &self.memory, expected, dtype)?;
        let expected = [batch_size, sizes.n_read, word_size];
        fits("what was read", &self.reads, expected, dtype)?;
        let expected = [batch_size, sizes.n_read + sizes.n_write, memory_size];
        fits("the weightings", &self.weights, expected, dtype)
    }
}

/// The slow weights of a machine, as its layers hold them.
pub(crate) struct SlowWeights {
    /// The controller's layers, from the input on.
    pub layers: Vec<LayerWeights>,
    /// The nonlinearity of a feed-forward controller; none if it is an LSTM.
    pub activation: Option<Activation>,
    /// Weight and bias of the read heads, then of the write heads.
    pub read_head: (Tensor<2>, Tensor<1>),
    pub write_head: (Tensor<2>, Tensor<1>),
}

/// A layer of the controller.
pub(crate) struct LayerWeights {
    /// `[d_below, G d_hidden]`; below the first layer is `[x_t ; r_{t-1}]`.
    pub weight: Tensor<2>,
    /// `[d_hidden, G d_hidden]` of an LSTM.
    pub recurrent: Option<Tensor<2>>,
    /// `[G d_hidden]`: of the first layer it is in the projection of the input, where that is projected.
    pub bias: Tensor<1>,
}

/// The slow weights of a machine, laid out for a step.
pub(crate) struct Weights {
    pub(super) controller: Controller,
    pub(super) heads: Heads,
}

pub(super) enum Controller {
    Lstm(Vec<Dense>),
    FeedForward(Vec<Dense>, Activation),
}

/// A layer of the controller: what it multiplies `[below ; own hidden state]` by (a feed-forward layer has no state). The
/// first layer's share of the input, and its bias, are in the projection.
pub(super) struct Dense {
    pub(super) weight: Tensor<2>,
    pub(super) bias: Option<Tensor<1>>,
}

/// The heads' linear map: the addressing of the read heads and then of the write heads, then all erases, then all adds.
pub(super) struct Heads {
    pub(super) weight: Tensor<2>,
    pub(super) bias: Tensor<1>,
    pub(super) n_write: usize,
}

#[cfg(feature = "cube")]
impl Controller {
    /// From the input on.
    pub(super) fn layers(&self) -> &[Dense] {
        match self {
            Controller::Lstm(layers) | Controller::FeedForward(layers, _) => layers,
        }
    }
}

impl Weights {
    /// For heads that read `d_reads` numbers together, and `n_write` that write.
    pub(crate) fn lay_out(weights: SlowWeights, d_reads: usize, n_write: usize) -> Self {
        let layers = weights
            .layers
            .into_iter()
            .enumerate()
            .map(|(index, layer)| {
                let below = match index {
                    0 => {
                        let d_input = layer.weight.dims()[0] - d_reads;
                        layer.weight.narrow(0, d_input, d_reads)
                    }
                    _ => layer.weight,
                };
                Dense {
                    weight: match layer.recurrent {
                        Some(recurrent) => Tensor::cat(vec![below, recurrent], 0),
                        None => below,
                    },
                    bias: (index > 0).then_some(layer.bias),
                }
            });
        let layers = layers.collect();
        let (read, write) = (weights.read_head, weights.write_head);
        Weights {
            controller: match weights.activation {
                None => Controller::Lstm(layers),
                Some(activation) => Controller::FeedForward(layers, activation),
            },
            heads: Heads {
                weight: Tensor::cat(vec![read.0, write.0], 1),
                bias: Tensor::cat(vec![read.1, write.1], 0),
                n_write,
            },
        }
    }
}

/// What a step yields.
pub(crate) struct Step {
    /// `[h_t ; r_t]`, `[batch_size, d_controller + n_read_heads word_size]`.
    pub output: Tensor<2>,
    pub state: State,
    pub writing: Writing,
}

/// One step, from the projected input `[batch_size, width of the controller's first product]`.
///
/// ```text
/// h_t          = controller(x_t, r_{t-1})
/// w_t          = addressing(h_t, M_{t-1}, w_{t-1})       every head
/// r_t          = read(M_{t-1}, w_t)                      read heads: before this step's write
/// M_t          = write(M_{t-1}, w_t, e_t, a_t)           write heads
/// ```
pub(crate) fn step(projected_t: Tensor<2>, state: State, weights: &Weights) -> Step {
    let [batch_size, n_read, word_size] = state.reads.dims();
    let reads = state.reads.reshape([batch_size, n_read * word_size]);
    let (hidden, controller) = match &weights.controller {
        Controller::Lstm(layers) => lstm_layers(projected_t, reads, state.controller, layers),
        Controller::FeedForward(layers, activation) => (
            feed_forward(projected_t, reads, layers, *activation),
            state.controller,
        ),
    };

    let heads = &weights.heads;
    let n_heads = n_read + heads.n_write;
    let raw = hidden.clone().matmul(heads.weight.clone()) + heads.bias.clone().unsqueeze();
    let d_writing = 2 * heads.n_write * word_size;
    let d_addressing = raw.dims()[1] - d_writing;
    let addressing =
        Addressing::from_raw(raw.clone().narrow(1, 0, d_addressing), n_heads, word_size);
    let writing = raw.narrow(1, d_addressing, d_writing);
    let writing = Writing::from_raw(writing, heads.n_write, word_size);

    let head_weights = addressing.weights(state.memory.clone(), state.weights);
    let of_heads = |first, n| head_weights.clone().narrow(1, first, n);
    let reads = read(state.memory.clone(), of_heads(0, n_read));
    let (erase, add) = (writing.erase.clone(), writing.add.clone());
    let memory = write(state.memory, of_heads(n_read, heads.n_write), erase, add);
    let flat_reads = reads.clone().reshape([batch_size, n_read * word_size]);
    Step {
        output: Tensor::cat(vec![hidden, flat_reads], 1),
        state: State {
            controller,
            memory,
            reads,
            weights: head_weights,
        },
        writing,
    }
}

/// The layers of an LSTM controller, from the input on, and their states.
fn lstm_layers(
    projected_t: Tensor<2>,
    reads: Tensor<2>,
    states: Vec<LstmState>,
    layers: &[Dense],
) -> (Tensor<2>, Vec<LstmState>) {
    let mut below = reads;
    let mut projected_t = Some(projected_t);
    let mut next = Vec::with_capacity(layers.len());
    for (layer, state) in layers.iter().zip(states) {
        let gates = layer.apply(
            Tensor::cat(vec![below, state.hidden], 1),
            projected_t.take(),
        );
        let state = lstm_step(gates, state.cell);
        below = state.hidden.clone();
        next.push(state);
    }
    (below, next)
}

fn feed_forward(
    projected_t: Tensor<2>,
    reads: Tensor<2>,
    layers: &[Dense],
    activation: Activation,
) -> Tensor<2> {
    let mut projected_t = Some(projected_t);
    layers.iter().fold(reads, |below, layer| {
        activation.apply(layer.apply(below, projected_t.take()))
    })
}

impl Dense {
    /// `below W + (the projected input, in the first layer, or b)`.
    fn apply(&self, below: Tensor<2>, projected_t: Option<Tensor<2>>) -> Tensor<2> {
        let product = below.matmul(self.weight.clone());
        match (projected_t, &self.bias) {
            (Some(projected_t), _) => product + projected_t,
            (None, Some(bias)) => product + bias.clone().unsqueeze(),
            (None, None) => product,
        }
    }
}
