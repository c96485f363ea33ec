//! Layers upon each other.

use alloc::format;
use alloc::vec::Vec;

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::{DType, Device, Tensor};

use crate::error::{expect_valid, require};
use crate::recurrent::{check_input, check_width, expect_state, state_or_initial};
use crate::{ConfigError, Recurrent, Segments, StateData, StateError};

/// Recurrent layers upon each other: each reads what the one before yields.
///
/// ```text
/// y = R_n(.. R_2(R_1(x)))
/// ```
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input of the first layer]`
/// - output: `[batch_size, seq_length, d_output of the last layer]`
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{LstmConfig, Recurrent, Stack};
///
/// let device = Device::flex();
/// let stack = Stack::new(vec![
///     LstmConfig::new(8, 16).init(&device),
///     LstmConfig::new(16, 4).init(&device),
/// ]);
/// let (output, states) = stack.forward(Tensor::zeros([2, 5, 8], &device), None);
/// assert_eq!(output.dims(), [2, 5, 4]);
/// assert_eq!(states.len(), 2);
/// ```
///
/// A tuple of two to four layers is such a stack of layers of different types, and its state the tuple of theirs:
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{FastWeightsConfig, LstmConfig, Recurrent};
///
/// let device = Device::flex();
/// let stack = (
///     LstmConfig::new(8, 16).init(&device),
///     FastWeightsConfig::new(16, 4).init(&device),
/// );
/// let (output, (lstm, fast_weights)) = stack.forward(Tensor::zeros([2, 5, 8], &device), None);
/// assert_eq!(output.dims(), [2, 5, 4]);
/// assert_eq!(lstm.cell.dims(), [2, 16]);
/// assert_eq!(fast_weights.hidden.dims(), [2, 4]);
/// ```
#[derive(Module, Debug)]
pub struct Stack<R: Module> {
    /// From the input on; at least one.
    pub layers: Vec<R>,
    /// What of each layer's outputs the next does not see while it learns; `None` is nothing.
    pub dropout: Option<Dropout>,
}

impl<R: Recurrent> Stack<R> {
    /// The given layers, from the input on.
    ///
    /// # Panics
    /// If there is none, or one does not read what the one before yields.
    #[track_caller]
    pub fn new(layers: Vec<R>) -> Self {
        expect_valid(Stack::try_new(layers))
    }

    /// The given layers, from the input on.
    ///
    /// # Errors
    /// If there is none, or one does not read what the one before yields.
    pub fn try_new(layers: Vec<R>) -> Result<Self, ConfigError> {
        let rule = "have at least one layer";
        require(!layers.is_empty(), "a stack", "empty", rule)?;
        for (index, pair) in layers.windows(2).enumerate() {
            let (below, above) = (pair[0].d_output(), pair[1].d_input());
            let value = format!(
                "{above} in layer {}, and the layer before yields {below}",
                index + 2
            );
            let rule = "be the same";
            require(below == above, "d_input", value, rule)?;
        }
        Ok(Stack {
            layers,
            dropout: None,
        })
    }

    /// The same with a share `probability` of what goes from layer to layer set to 0 in training (on a device with autodiff), and the rest
    /// scaled so that its mean stays. The last layer's outputs stay whole.
    ///
    /// # Panics
    /// Unless `probability` lies in `[0, 1)`.
    #[track_caller]
    pub fn with_dropout(mut self, probability: f64) -> Self {
        assert!(
            (0.0..1.0).contains(&probability),
            "the probability of dropout is {probability}; it must lie in [0, 1)"
        );
        self.dropout = (probability > 0.0).then(|| DropoutConfig::new(probability).init());
        self
    }

    /// What the next layer sees of a layer's outputs.
    fn dropped<const D: usize>(&self, signal: Tensor<D>) -> Tensor<D> {
        match &self.dropout {
            Some(dropout) => dropout.forward(signal),
            None => signal,
        }
    }

    fn first(&self) -> &R {
        &self.layers[0]
    }
}

/// The first states of layers upon each other.
pub(crate) fn initial_states<'a, R: Recurrent + 'a>(
    layers: impl Iterator<Item = &'a R>,
    batch_size: usize,
    device: &Device,
) -> Vec<R::State> {
    let states = layers.map(|layer| layer.initial_state(batch_size, device));
    states.collect()
}

/// The states of layers upon each other, of plain data.
pub(crate) fn states_from_data<'a, R: Recurrent + 'a>(
    layers: impl ExactSizeIterator<Item = &'a R>,
    data: StateData,
    device: &Device,
) -> Result<Vec<R::State>, StateError> {
    let parts = data.into_list()?;
    same_number(parts.len(), layers.len())?;
    let states = layers.zip(parts);
    let states = states.map(|(layer, part)| layer.state_from_data(part, device));
    states.collect()
}

/// Whether layers upon each other can go on from states.
pub(crate) fn check_states<'a, R: Recurrent + 'a>(
    layers: impl ExactSizeIterator<Item = &'a R>,
    states: &[R::State],
    batch_size: usize,
    dtype: DType,
) -> Result<(), StateError> {
    same_number(states.len(), layers.len())?;
    for (index, (layer, state)) in layers.zip(states).enumerate() {
        layer
            .check_state(state, batch_size, dtype)
            .map_err(|error| error.within(format_args!("layer {}", index + 1)))?;
    }
    Ok(())
}

fn same_number(n_states: usize, n_layers: usize) -> Result<(), StateError> {
    match n_states == n_layers {
        true => Ok(()),
        false => Err(StateError::new(format!(
            "there are {n_states} states; the stack has {n_layers} layers"
        ))),
    }
}

impl<R: Recurrent> Recurrent for Stack<R> {
    /// Of each layer, from the input on.
    type State = Vec<R::State>;

    fn d_input(&self) -> usize {
        self.first().d_input()
    }

    fn d_output(&self) -> usize {
        self.layers[self.layers.len() - 1].d_output()
    }

    fn state_size(&self, seq_length: usize) -> usize {
        let sizes = self.layers.iter().map(|layer| layer.state_size(seq_length));
        sizes.sum()
    }

    fn initial_state(&self, batch_size: usize, device: &Device) -> Self::State {
        initial_states(self.layers.iter(), batch_size, device)
    }

    fn state_from_data(&self, data: StateData, device: &Device) -> Result<Self::State, StateError> {
        states_from_data(self.layers.iter(), data, device)
    }

    fn check_state(
        &self,
        states: &Self::State,
        batch_size: usize,
        dtype: DType,
    ) -> Result<(), StateError> {
        check_states(self.layers.iter(), states, batch_size, dtype)
    }

    fn uniform(&self, states: Self::State) -> Self::State {
        let pairs = self.layers.iter().zip(states);
        pairs.map(|(layer, state)| layer.uniform(state)).collect()
    }

    fn project(&self, input: Tensor<3>) -> Tensor<3> {
        self.first().project(input)
    }

    fn step(&self, input_t: Tensor<2>, states: Self::State) -> (Tensor<2>, Self::State) {
        check_width(input_t.dims()[1], self.d_input());
        expect_state(self, &states, &input_t);
        let mut next = Vec::with_capacity(states.len());
        let mut signal = input_t;
        for (index, (layer, state)) in self.layers.iter().zip(states).enumerate() {
            if index > 0 {
                signal = self.dropped(signal);
            }
            let (output, state) = layer.step(signal, state);
            signal = output;
            next.push(state);
        }
        (signal, next)
    }

    fn advance(&self, projected_t: Tensor<2>, states: Self::State) -> (Tensor<2>, Self::State) {
        expect_state(self, &states, &projected_t);
        let mut next = Vec::with_capacity(states.len());
        let mut signal = projected_t;
        for (index, (layer, state)) in self.layers.iter().zip(states).enumerate() {
            let (output, state) = match index {
                0 => layer.advance(signal, state),
                _ => layer.step(self.dropped(signal), state),
            };
            signal = output;
            next.push(state);
        }
        (signal, next)
    }

    /// Layer by layer, each over the whole sequence.
    fn forward_projected(
        &self,
        projected: Tensor<3>,
        states: Option<Self::State>,
    ) -> (Tensor<3>, Self::State) {
        if let Some(states) = &states {
            expect_state(self, states, &projected);
        }
        let mut states = states.into_iter().flatten();
        let (mut signal, state) = self.first().forward_projected(projected, states.next());
        let mut last = alloc::vec![state];
        for layer in &self.layers[1..] {
            let (output, state) = layer.forward(self.dropped(signal), states.next());
            signal = output;
            last.push(state);
        }
        (signal, last)
    }

    /// Layer by layer: each by its own kernel, where it has one for spans.
    fn forward_segments(
        &self,
        input: Tensor<3>,
        states: Option<Self::State>,
        segments: &Segments,
    ) -> (Tensor<3>, Self::State) {
        if segments.is_plain() {
            return self.forward(input, states);
        }
        check_input(&input, self.d_input());
        if let Some(states) = &states {
            expect_state(self, states, &input);
        }
        let mut states = states.into_iter().flatten();
        let mut last = Vec::with_capacity(self.layers.len());
        let mut signal = input;
        for (index, layer) in self.layers.iter().enumerate() {
            if index > 0 {
                signal = self.dropped(signal);
            }
            let (output, state) = layer.forward_segments(signal, states.next(), segments);
            signal = output;
            last.push(state);
        }
        (signal, last)
    }
}

macro_rules! tuples {
    ($(($($index:tt $state:ident),+; $last:tt)),+) => {$(
        /// A [stack](Stack) of layers of different types.
        impl<A: Recurrent, $($state: Recurrent),+> Recurrent for (A, $($state),+) {
            /// Of each layer, from the input on.
            type State = (A::State, $($state::State),+);

            fn d_input(&self) -> usize {
                self.0.d_input()
            }

            fn d_output(&self) -> usize {
                self.$last.d_output()
            }

            fn state_size(&self, seq_length: usize) -> usize {
                self.0.state_size(seq_length) $(+ self.$index.state_size(seq_length))+
            }

            fn initial_state(&self, batch_size: usize, device: &Device) -> Self::State {
                (
                    self.0.initial_state(batch_size, device),
                    $(self.$index.initial_state(batch_size, device)),+
                )
            }

            fn state_from_data(&self, data: StateData, device: &Device) -> Result<Self::State, StateError> {
                const N: usize = $last + 1;
                let parts: [StateData; N] = data.into_parts()?;
                let mut parts = parts.into_iter();
                let mut part = || parts.next().expect("as many as there are layers");
                Ok((
                    self.0.state_from_data(part(), device)?,
                    $(self.$index.state_from_data(part(), device)?),+
                ))
            }

            fn check_state(
                &self,
                states: &Self::State,
                batch_size: usize,
                dtype: DType,
            ) -> Result<(), StateError> {
                let within = |error: StateError, index: usize| error.within(format_args!("layer {}", index + 1));
                self.0
                    .check_state(&states.0, batch_size, dtype)
                    .map_err(|error| within(error, 0))?;
                $(self.$index
                    .check_state(&states.$index, batch_size, dtype)
                    .map_err(|error| within(error, $index))?;)+
                Ok(())
            }

            fn uniform(&self, states: Self::State) -> Self::State {
                (self.0.uniform(states.0), $(self.$index.uniform(states.$index)),+)
            }

            fn project(&self, input: Tensor<3>) -> Tensor<3> {
                self.0.project(input)
            }

            fn step(&self, input_t: Tensor<2>, states: Self::State) -> (Tensor<2>, Self::State) {
                check_width(input_t.dims()[1], self.d_input());
                expect_state(self, &states, &input_t);
                let (signal, first) = self.0.step(input_t, states.0);
                let mut signal = signal;
                let states = (
                    first,
                    $({
                        let (output, state) = self.$index.step(signal, states.$index);
                        signal = output;
                        state
                    }),+
                );
                (signal, states)
            }

            fn advance(&self, projected_t: Tensor<2>, states: Self::State) -> (Tensor<2>, Self::State) {
                expect_state(self, &states, &projected_t);
                let (signal, first) = self.0.advance(projected_t, states.0);
                let mut signal = signal;
                let states = (
                    first,
                    $({
                        let (output, state) = self.$index.step(signal, states.$index);
                        signal = output;
                        state
                    }),+
                );
                (signal, states)
            }

            /// Layer by layer, each over the whole sequence.
            fn forward_projected(
                &self,
                projected: Tensor<3>,
                states: Option<Self::State>,
            ) -> (Tensor<3>, Self::State) {
                let states = state_or_initial(self, &projected, states);
                let (signal, first) = self.0.forward_projected(projected, Some(states.0));
                let mut signal = signal;
                let states = (
                    first,
                    $({
                        let (output, state) = self.$index.forward(signal, Some(states.$index));
                        signal = output;
                        state
                    }),+
                );
                (signal, states)
            }

            fn forward_segments(
                &self,
                input: Tensor<3>,
                states: Option<Self::State>,
                segments: &Segments,
            ) -> (Tensor<3>, Self::State) {
                if segments.is_plain() {
                    return self.forward(input, states);
                }
                check_input(&input, self.d_input());
                if let Some(states) = &states {
                    expect_state(self, states, &input);
                }
                let given = match states {
                    Some(states) => (Some(states.0), $(Some(states.$index)),+),
                    None => (None, $(None::<$state::State>),+),
                };
                let (signal, first) = self.0.forward_segments(input, given.0, segments);
                let mut signal = signal;
                let states = (
                    first,
                    $({
                        let (output, state) =
                            self.$index.forward_segments(signal, given.$index, segments);
                        signal = output;
                        state
                    }),+
                );
                (signal, states)
            }
        }
    )+};
}

tuples!((1 B; 1), (1 B, 2 C; 2), (1 B, 2 C, 3 D; 3));
