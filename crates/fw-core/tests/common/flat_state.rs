//! States as rows of numbers.

use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use fw_core::{
    AssociativeLstm, AssociativeLstmState, Attention, AttentionState, Blocks, DeltaNet,
    DeltaNetState, Elman, EncoderDecoder, EncoderDecoderState, FastMemory, FastWeights,
    FastWeightsState, GatedConvolution, Gru, LearnedStart, Lstm, LstmState, MLstm, MLstmState, Ntm,
    NtmController, NtmState, Recurrent, RecurrentCell, RecurrentDeltaNet, RecurrentDeltaState,
    Rwkv7, Rwkv7State, SLstm, SLstmState, Sab, SabState, Stack,
};

/// A layer whose state can be seen as one row of numbers for each sample.
pub trait FlatState: Recurrent {
    fn flat_width(&self) -> usize;
    fn state_from(&self, flat: Tensor<2>) -> Self::State;
    fn state_to(&self, state: &Self::State) -> Tensor<2>;
}

macro_rules! flat_hidden {
    ($layer:ty) => {
        impl FlatState for $layer {
            fn flat_width(&self) -> usize {
                self.d_output()
            }
            fn state_from(&self, flat: Tensor<2>) -> Tensor<2> {
                flat
            }
            fn state_to(&self, state: &Tensor<2>) -> Tensor<2> {
                state.clone()
            }
        }
    };
}
flat_hidden!(Elman);
flat_hidden!(Gru);

impl FlatState for Lstm {
    fn flat_width(&self) -> usize {
        2 * self.d_output()
    }
    fn state_from(&self, flat: Tensor<2>) -> LstmState {
        let width = self.d_output();
        LstmState {
            hidden: flat.clone().narrow(1, 0, width),
            cell: flat.narrow(1, width, width),
        }
    }
    fn state_to(&self, state: &LstmState) -> Tensor<2> {
        Tensor::cat(vec![state.hidden.clone(), state.cell.clone()], 1)
    }
}

impl FlatState for SLstm {
    fn flat_width(&self) -> usize {
        4 * self.d_output()
    }
    /// What was written has positive weights.
    fn state_from(&self, flat: Tensor<2>) -> SLstmState {
        let width = self.d_output();
        let part = |index| flat.clone().narrow(1, index * width, width);
        let weights = part(2).square() + 0.5;
        SLstmState {
            hidden: part(0),
            carried: Tensor::cat(vec![part(1), weights, part(3)], 1),
        }
    }
    fn state_to(&self, state: &SLstmState) -> Tensor<2> {
        Tensor::cat(vec![state.hidden.clone(), state.carried.clone()], 1)
    }
}

impl<A: FlatState, B: FlatState, C: FlatState> FlatState for (A, B, C) {
    fn flat_width(&self) -> usize {
        self.0.flat_width() + self.1.flat_width() + self.2.flat_width()
    }
    fn state_from(&self, flat: Tensor<2>) -> Self::State {
        let [a, b, c] = [
            self.0.flat_width(),
            self.1.flat_width(),
            self.2.flat_width(),
        ];
        (
            self.0.state_from(flat.clone().narrow(1, 0, a)),
            self.1.state_from(flat.clone().narrow(1, a, b)),
            self.2.state_from(flat.narrow(1, a + b, c)),
        )
    }
    fn state_to(&self, (a, b, c): &Self::State) -> Tensor<2> {
        let parts = vec![self.0.state_to(a), self.1.state_to(b), self.2.state_to(c)];
        Tensor::cat(parts, 1)
    }
}

impl FlatState for AssociativeLstm {
    fn flat_width(&self) -> usize {
        self.state_size(1)
    }
    fn state_from(&self, flat: Tensor<2>) -> AssociativeLstmState {
        let [batch_size, all] = flat.dims();
        let width = self.d_output();
        AssociativeLstmState {
            hidden: flat.clone().narrow(1, 0, width),
            memory: flat.narrow(1, width, all - width).reshape([
                batch_size,
                all / width - 1,
                width,
            ]),
        }
    }
    fn state_to(&self, state: &AssociativeLstmState) -> Tensor<2> {
        Tensor::cat(
            vec![state.hidden.clone(), state.memory.clone().flatten(1, 2)],
            1,
        )
    }
}

impl FlatState for DeltaNet {
    fn flat_width(&self) -> usize {
        self.state_size(1)
    }
    fn state_from(&self, flat: Tensor<2>) -> DeltaNetState {
        let [batch_size, all] = flat.dims();
        let first = self.initial_state(batch_size, &flat.device());
        let shape = first.memory.dims();
        let width: usize = shape[1..].iter().product();
        let recent = first.recent.map(|recent| {
            let rest = flat.clone().narrow(1, width, all - width);
            rest.reshape(recent.dims())
        });
        DeltaNetState {
            memory: flat.narrow(1, 0, width).reshape(shape),
            recent,
        }
    }
    fn state_to(&self, state: &DeltaNetState) -> Tensor<2> {
        let mut parts = vec![state.memory.clone().flatten(1, 3)];
        parts.extend(state.recent.clone().map(|recent| recent.flatten(1, 2)));
        Tensor::cat(parts, 1)
    }
}

impl FlatState for RecurrentDeltaNet {
    fn flat_width(&self) -> usize {
        self.state_size(1)
    }
    fn state_from(&self, flat: Tensor<2>) -> RecurrentDeltaState {
        let [batch_size, all] = flat.dims();
        let first = self.initial_state(batch_size, &flat.device());
        let shape = first.memory.dims();
        let width: usize = shape[1..].iter().product();
        let output = flat.clone().narrow(1, width, all - width);
        RecurrentDeltaState {
            memory: flat.narrow(1, 0, width).reshape(shape),
            output: output.reshape(first.output.dims()),
        }
    }
    fn state_to(&self, state: &RecurrentDeltaState) -> Tensor<2> {
        let memory = state.memory.clone().flatten(1, 3);
        Tensor::cat(vec![memory, state.output.clone().flatten(1, 2)], 1)
    }
}

impl FlatState for MLstm {
    fn flat_width(&self) -> usize {
        self.state_size(1)
    }
    fn state_from(&self, flat: Tensor<2>) -> MLstmState {
        let [batch_size, all] = flat.dims();
        let first = self.initial_state(batch_size, &flat.device());
        let shape = first.memory.dims();
        let width: usize = shape[1..].iter().product();
        MLstmState {
            memory: flat.clone().narrow(1, 0, width).reshape(shape),
            log_scale: flat.narrow(1, width, all - width),
        }
    }
    fn state_to(&self, state: &MLstmState) -> Tensor<2> {
        let memory = state.memory.clone().flatten(1, 3);
        Tensor::cat(vec![memory, state.log_scale.clone()], 1)
    }
}

impl FlatState for Rwkv7 {
    fn flat_width(&self) -> usize {
        self.state_size(1)
    }
    fn state_from(&self, flat: Tensor<2>) -> Rwkv7State {
        let [batch_size, all] = flat.dims();
        let first = self.initial_state(batch_size, &flat.device());
        let shape = first.memory.dims();
        let width: usize = shape[1..].iter().product();
        Rwkv7State {
            memory: flat.clone().narrow(1, 0, width).reshape(shape),
            previous: flat.narrow(1, width, all - width),
        }
    }
    fn state_to(&self, state: &Rwkv7State) -> Tensor<2> {
        let memory = state.memory.clone().flatten(1, 3);
        Tensor::cat(vec![memory, state.previous.clone()], 1)
    }
}

impl FlatState for FastWeights {
    fn flat_width(&self) -> usize {
        self.d_output() * (1 + self.d_output())
    }
    fn state_from(&self, flat: Tensor<2>) -> FastWeightsState {
        let [batch_size, _] = flat.dims();
        let width = self.d_output();
        FastWeightsState {
            hidden: flat.clone().narrow(1, 0, width),
            memory: FastMemory::Matrix(
                flat.narrow(1, width, width * width)
                    .reshape([batch_size, width, width]),
            ),
        }
    }
    fn state_to(&self, state: &FastWeightsState) -> Tensor<2> {
        Tensor::cat(
            vec![
                state.hidden.clone(),
                self.memory_matrix(state).flatten(1, 2),
            ],
            1,
        )
    }
}

impl FlatState for Ntm {
    fn flat_width(&self) -> usize {
        self.state_size(1)
    }
    /// The numbers of the weightings go through a softmax: a weighting is positive and sums to 1.
    fn state_from(&self, flat: Tensor<2>) -> NtmState {
        let [batch_size, _] = flat.dims();
        let mut taken = 0;
        let mut take = |[rows, width]: [usize; 2]| -> Tensor<3> {
            let part = flat.clone().narrow(1, taken, rows * width);
            taken += rows * width;
            part.reshape([batch_size, rows, width])
        };
        let controller = match &self.controller {
            NtmController::Lstm(lstm) => {
                let [n_layers, width] = lstm.initial_hidden.dims();
                let mut row = || take([1, width]).reshape([batch_size, width]);
                let state = |_| LstmState {
                    hidden: row(),
                    cell: row(),
                };
                (0..n_layers).map(state).collect()
            }
            NtmController::FeedForward(_) => Vec::new(),
        };
        NtmState {
            controller,
            memory: take(self.initial_memory.dims()),
            reads: take(self.initial_reads.dims()),
            weights: softmax(take(self.initial_weights.dims()), 2),
        }
    }
    fn state_to(&self, state: &NtmState) -> Tensor<2> {
        let mut parts = Vec::new();
        for layer in &state.controller {
            parts.extend([layer.hidden.clone(), layer.cell.clone()]);
        }
        for part in [&state.memory, &state.reads, &state.weights] {
            parts.push(part.clone().flatten(1, 2));
        }
        Tensor::cat(parts, 1)
    }
}

/// Of layers upon each other.
macro_rules! flat_list {
    ($stack:ident, $each:ident, $layer:expr) => {
        impl<R: FlatState> FlatState for $stack<R> {
            fn flat_width(&self) -> usize {
                self.$each
                    .iter()
                    .map($layer)
                    .map(FlatState::flat_width)
                    .sum()
            }
            fn state_from(&self, flat: Tensor<2>) -> Vec<R::State> {
                let mut taken = 0;
                let states = self.$each.iter().map($layer).map(|layer| {
                    let width = layer.flat_width();
                    let part = flat.clone().narrow(1, taken, width);
                    taken += width;
                    layer.state_from(part)
                });
                states.collect()
            }
            fn state_to(&self, states: &Vec<R::State>) -> Tensor<2> {
                let parts = self.$each.iter().map($layer).zip(states);
                let parts = parts.map(|(layer, state)| layer.state_to(state));
                Tensor::cat(parts.collect(), 1)
            }
        }
    };
}
flat_list!(Stack, layers, |layer| layer);
flat_list!(Blocks, blocks, |block| &block.layer);

impl FlatState for GatedConvolution {
    fn flat_width(&self) -> usize {
        self.state_size(1)
    }
    fn state_from(&self, flat: Tensor<2>) -> Tensor<3> {
        let [batch_size, width] = flat.dims();
        let d_input = self.d_input();
        flat.reshape([batch_size, width / d_input, d_input])
    }
    fn state_to(&self, recent: &Tensor<3>) -> Tensor<2> {
        recent.clone().flatten(1, 2)
    }
}

impl FlatState for Attention {
    fn flat_width(&self) -> usize {
        self.state_size(GIVEN_MEMORIES)
    }
    fn state_from(&self, flat: Tensor<2>) -> AttentionState {
        let [batch_size, width] = flat.dims();
        let shape = [batch_size, GIVEN_MEMORIES, width / GIVEN_MEMORIES];
        AttentionState {
            steps: vec![GIVEN_MEMORIES; batch_size],
            past: Some(flat.reshape(shape)),
        }
    }
    /// A number, where nothing is kept yet.
    fn state_to(&self, state: &AttentionState) -> Tensor<2> {
        let nothing = || {
            let weight = self.q_proj.weight.val();
            let options = (&weight.device(), weight.dtype());
            Tensor::zeros([state.steps.len(), 1], options)
        };
        let past = state.past.clone();
        past.map_or_else(nothing, |past| past.flatten(1, 2))
    }
}

/// Memories in a state that is made from numbers.
const GIVEN_MEMORIES: usize = 2;

impl<C: RecurrentCell + FlatState> FlatState for Sab<C> {
    fn flat_width(&self) -> usize {
        self.cell.flat_width() + GIVEN_MEMORIES * self.cell.d_output()
    }
    fn state_from(&self, flat: Tensor<2>) -> SabState<C::State> {
        let [batch_size, _] = flat.dims();
        let (width, d_hidden) = (self.cell.flat_width(), self.cell.d_output());
        let memories = flat.clone().narrow(1, width, GIVEN_MEMORIES * d_hidden);
        let memories = self
            .attention
            .is_some()
            .then(|| memories.reshape([batch_size, GIVEN_MEMORIES, d_hidden]));
        let cell = self.cell.state_from(flat.narrow(1, 0, width));
        SabState::new(cell, memories, 0, batch_size)
    }
    fn state_to(&self, state: &SabState<C::State>) -> Tensor<2> {
        let mut parts = vec![self.cell.state_to(&state.cell)];
        parts.extend(
            state
                .memories
                .clone()
                .map(|memories| memories.flatten(1, 2)),
        );
        Tensor::cat(parts, 1)
    }
}

impl<R: FlatState> FlatState for LearnedStart<R> {
    fn flat_width(&self) -> usize {
        self.layer.flat_width()
    }
    fn state_from(&self, flat: Tensor<2>) -> R::State {
        self.layer.state_from(flat)
    }
    fn state_to(&self, state: &R::State) -> Tensor<2> {
        self.layer.state_to(state)
    }
}

/// Steps of a source that a state which is made from numbers has read.
const GIVEN_STEPS: usize = 1;

impl<R: FlatState> FlatState for EncoderDecoder<R> {
    fn flat_width(&self) -> usize {
        let encoded = match self.score {
            Some(_) => GIVEN_STEPS * self.encoder.d_output(),
            None => 0,
        };
        self.encoder.flat_width() + encoded
    }
    fn state_from(&self, flat: Tensor<2>) -> EncoderDecoderState<R::State> {
        let [batch_size, all] = flat.dims();
        let (of_net, width) = (self.encoder.flat_width(), self.encoder.d_output());
        let net = self.encoder.state_from(flat.clone().narrow(1, 0, of_net));
        let encoded = self.score.is_some().then(|| {
            let encoded = flat.narrow(1, of_net, all - of_net);
            encoded.reshape([batch_size, GIVEN_STEPS, width])
        });
        EncoderDecoderState {
            steps: vec![GIVEN_STEPS; batch_size],
            net,
            encoded,
        }
    }
    /// What was encoded, with zeros where nothing is yet.
    fn state_to(&self, state: &EncoderDecoderState<R::State>) -> Tensor<2> {
        let mut parts = vec![self.encoder.state_to(&state.net)];
        if self.score.is_some() {
            let [batch_size, _] = parts[0].dims();
            let (device, dtype) = (parts[0].device(), parts[0].dtype());
            let n = state
                .encoded
                .as_ref()
                .map_or(0, |encoded| encoded.dims()[1]);
            let rest = (self.source_length() - n) * self.encoder.d_output();
            parts.extend(state.encoded.clone().map(|encoded| encoded.flatten(1, 2)));
            parts.push(Tensor::zeros([batch_size, rest], (&device, dtype)));
        }
        Tensor::cat(parts, 1)
    }
}
