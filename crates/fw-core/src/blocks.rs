//! Layers as language models have them: each with a norm before it and a residual connection around it.

use alloc::format;
use alloc::vec::Vec;

use burn::config::Config;
use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig, RmsNorm, RmsNormConfig};
use burn::tensor::activation::silu;
use burn::tensor::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{expect_valid, require, require_size};
use crate::ops::norm::rms_norm;
use crate::ops::project_linear;
use crate::recurrent::{check_input, check_width, empty_output, expect_state};
use crate::stack::{check_states, initial_states, states_from_data};
use crate::{ConfigError, Recurrent, Segments, StateData, StateError};

/// How the numbers of a step are normalised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum NormKind {
    /// To a mean of 0 and a variance of 1, with a gain and a bias.
    #[default]
    Layer,
    /// To a mean square of 1, with a gain.
    Rms,
}

/// Configuration of [`Blocks`], without the layers.
#[derive(Config, Debug)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BlocksConfig {
    /// Width of the input, at least 1. Where it is not `d_model`, a linear map stands before the first block.
    pub d_input: usize,
    /// D, the width of what goes from block to block, at least 1.
    pub d_model: usize,
    /// Width inside the multilayer perceptron of each block, at least 1. Default `None`: blocks have none.
    pub d_mlp: Option<usize>,
    /// How what a part of a block reads is normalised. Default [`NormKind::Layer`].
    #[config(default = "NormKind::Layer")]
    pub norm: NormKind,
}

impl BlocksConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// A size of 0 or above 2^20.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let sizes = [
            ("d_input", self.d_input),
            ("d_model", self.d_model),
            ("d_mlp", self.d_mlp.unwrap_or(1)),
        ];
        for (field, size) in sizes {
            require_size(field, size)?;
            require(size <= 1 << 20, field, size, "be at most 1048576")?;
        }
        Ok(())
    }

    /// Blocks around layers, from the input on, with parameters of their own on `device`.
    ///
    /// # Panics
    /// If [`try_init`](Self::try_init) has an error.
    #[track_caller]
    pub fn init<R: Recurrent>(&self, layers: Vec<R>, device: &Device) -> Blocks<R> {
        expect_valid(self.try_init(layers, device))
    }

    /// Blocks around layers, from the input on, with parameters of their own on `device`.
    ///
    /// # Errors
    /// If the configuration breaks a rule, there is no layer, or one does not read `d_model` numbers.
    pub fn try_init<R: Recurrent>(
        &self,
        layers: Vec<R>,
        device: &Device,
    ) -> Result<Blocks<R>, ConfigError> {
        self.validate()?;
        require(!layers.is_empty(), "layers", "empty", "hold at least one")?;
        let blocks = layers.into_iter().enumerate().map(|(index, layer)| {
            let (read, rule) = (layer.d_input(), "be d_model");
            let value = format!(
                "{read} in layer {}, and d_model {}",
                index + 1,
                self.d_model
            );
            require(read == self.d_model, "d_input", value, rule)?;
            Ok(self.block(layer, device))
        });
        Ok(Blocks {
            blocks: blocks.collect::<Result<_, ConfigError>>()?,
            input: (self.d_input != self.d_model)
                .then(|| self.map(self.d_input, self.d_model, device)),
            norm: Norm::init(self.norm, self.d_model, device),
            d_model: self.d_model,
        })
    }

    fn block<R: Recurrent>(&self, layer: R, device: &Device) -> Block<R> {
        let d_model = self.d_model;
        let d_layer = layer.d_output();
        Block {
            norm: Norm::init(self.norm, d_model, device),
            layer,
            output: (d_layer != d_model).then(|| self.map(d_layer, d_model, device)),
            mlp: self.d_mlp.map(|d_mlp| Mlp {
                norm: Norm::init(self.norm, d_model, device),
                gate: self.map(d_model, d_mlp, device),
                up: self.map(d_model, d_mlp, device),
                down: self.map(d_mlp, d_model, device),
            }),
        }
    }

    fn map(&self, from: usize, to: usize, device: &Device) -> Linear {
        LinearConfig::new(from, to).with_bias(false).init(device)
    }
}

/// Recurrent layers as language models have them: pre-norm blocks with residual connections.
///
/// ```text
/// h   = x W_in                               or x itself, where it is D wide
/// h   = h + R_i(norm(h)) W_out               for each block i; without W_out, where R_i yields D numbers
/// h   = h + (silu(n W_g) ⊙ n W_u) W_d        n = norm(h); where blocks have a multilayer perceptron (SwiGLU, Shazeer 2020)
/// y   = norm(h)
/// ```
///
/// where D is `d_model`; each norm has parameters of its own, and the maps have no biases. Each layer may be of another type where R is
/// [`AnyLayer`](crate::AnyLayer).
///
/// It is what stands around a layer ("mixer") in the models of MAD (Poli et al. 2024), and, without the perceptron, nearly what does in those of Zoology (Arora et al. 2023): there a second norm
/// stands in the place of the perceptron, so that what it yields is added to h; embedding and output share their weights, which begin with a standard deviation of 0.02, and there is dropout
/// behind the embedding.
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - output: `[batch_size, seq_length, d_model]`
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{BlocksConfig, DeltaNetConfig, Recurrent};
///
/// let device = Device::flex();
/// let layers = (0..2).map(|_| DeltaNetConfig::new(16, 2, 8).init(&device)).collect();
/// let blocks = BlocksConfig::new(5, 16).with_d_mlp(Some(32)).init(layers, &device);
/// let (output, states) = blocks.forward(Tensor::zeros([3, 7, 5], &device), None);
/// assert_eq!((output.dims(), states.len()), ([3, 7, 16], 2));
/// ```
#[derive(Module, Debug)]
pub struct Blocks<R: Module> {
    /// W_in, where what is read is not D wide.
    pub input: Option<Linear>,
    /// From the input on; at least one.
    pub blocks: Vec<Block<R>>,
    /// The norm behind the last block.
    pub norm: Norm,
    d_model: usize,
}

/// One of [`Blocks`].
#[derive(Module, Debug)]
pub struct Block<R: Module> {
    /// What the layer reads is normalised by it.
    pub norm: Norm,
    /// R.
    pub layer: R,
    /// W_out, where the layer does not yield D numbers.
    pub output: Option<Linear>,
    /// The multilayer perceptron, if there is one.
    pub mlp: Option<Mlp>,
}

/// The multilayer perceptron of a [`Block`].
#[derive(Module, Debug)]
pub struct Mlp {
    /// What it reads is normalised by it.
    pub norm: Norm,
    /// W_g, `[d_model, d_mlp]`.
    pub gate: Linear,
    /// W_u, `[d_model, d_mlp]`.
    pub up: Linear,
    /// W_d, `[d_mlp, d_model]`.
    pub down: Linear,
}

/// A norm of the numbers of each step.
#[derive(Module, Debug)]
pub enum Norm {
    /// [`NormKind::Layer`]
    Layer(LayerNorm),
    /// [`NormKind::Rms`]
    Rms(RmsNorm),
}

impl Norm {
    fn init(kind: NormKind, width: usize, device: &Device) -> Self {
        match kind {
            NormKind::Layer => Norm::Layer(LayerNormConfig::new(width).init(device)),
            NormKind::Rms => Norm::Rms(RmsNormConfig::new(width).init(device)),
        }
    }

    /// The same shape, normalised along the last dimension.
    pub fn forward(&self, signal: Tensor<3>) -> Tensor<3> {
        match self {
            Norm::Layer(norm) => norm.forward(signal),
            Norm::Rms(norm) => rms_norm(signal, norm.gamma.val(), norm.epsilon),
        }
    }
}

impl Mlp {
    fn forward(&self, signal: Tensor<3>) -> Tensor<3> {
        let normed = self.norm.forward(signal);
        let gate = silu(project_linear(&self.gate, normed.clone()));
        project_linear(&self.down, gate * project_linear(&self.up, normed))
    }
}

impl<R: Recurrent> Block<R> {
    /// What goes to the next block, where the layer is run by `run`.
    fn through<S>(
        &self,
        signal: Tensor<3>,
        run: impl FnOnce(&R, Tensor<3>) -> (Tensor<3>, S),
    ) -> (Tensor<3>, S) {
        let (output, state) = run(&self.layer, self.norm.forward(signal.clone()));
        let output = match &self.output {
            Some(map) => project_linear(map, output),
            None => output,
        };
        let signal = signal + output;
        match &self.mlp {
            Some(mlp) => (signal.clone() + mlp.forward(signal), state),
            None => (signal, state),
        }
    }
}

impl<R: Recurrent> Blocks<R> {
    fn layers(&self) -> impl ExactSizeIterator<Item = &R> {
        self.blocks.iter().map(|block| &block.layer)
    }

    /// What all blocks make of what goes into the first, where each layer is run by `run` from what is given for it.
    ///
    /// # Panics
    /// If less is given than there are blocks.
    pub fn through<G, S>(
        &self,
        signal: Tensor<3>,
        given: impl IntoIterator<Item = G>,
        run: impl Fn(&R, Tensor<3>, G) -> (Tensor<3>, S),
    ) -> (Tensor<3>, Vec<S>) {
        let mut signal = signal;
        let pairs = self.blocks.iter().zip(given);
        let states = pairs.map(|(block, given)| {
            let input = signal.clone();
            let (output, state) = block.through(input, |layer, normed| run(layer, normed, given));
            signal = output;
            state
        });
        let states: Vec<S> = states.collect();
        let (n, n_blocks) = (states.len(), self.blocks.len());
        assert!(n == n_blocks, "{n} are given; there are {n_blocks} blocks");
        (self.norm.forward(signal), states)
    }

    /// A state for each layer, or none for each.
    fn each(&self, states: Option<Vec<R::State>>) -> Vec<Option<R::State>> {
        match states {
            Some(states) => states.into_iter().map(Some).collect(),
            None => self.layers().map(|_| None).collect(),
        }
    }
}

impl<R: Recurrent> Recurrent for Blocks<R> {
    /// Of each layer, from the input on.
    type State = Vec<R::State>;

    fn d_input(&self) -> usize {
        match &self.input {
            Some(input) => input.weight.lazy_shape()[0],
            None => self.d_model,
        }
    }

    fn d_output(&self) -> usize {
        self.d_model
    }

    fn state_size(&self, seq_length: usize) -> usize {
        self.layers()
            .map(|layer| layer.state_size(seq_length))
            .sum()
    }

    fn initial_state(&self, batch_size: usize, device: &Device) -> Self::State {
        initial_states(self.layers(), batch_size, device)
    }

    fn state_from_data(&self, data: StateData, device: &Device) -> Result<Self::State, StateError> {
        states_from_data(self.layers(), data, device)
    }

    fn check_state(
        &self,
        states: &Self::State,
        batch_size: usize,
        dtype: DType,
    ) -> Result<(), StateError> {
        check_states(self.layers(), states, batch_size, dtype)
    }

    fn uniform(&self, states: Self::State) -> Self::State {
        let pairs = self.layers().zip(states);
        pairs.map(|(layer, state)| layer.uniform(state)).collect()
    }

    fn project(&self, input: Tensor<3>) -> Tensor<3> {
        match &self.input {
            Some(map) => project_linear(map, input),
            None => input,
        }
    }

    fn step(&self, input_t: Tensor<2>, states: Self::State) -> (Tensor<2>, Self::State) {
        check_width(input_t.dims()[1], self.d_input());
        let projected = match input_t.dims()[0] {
            0 => Tensor::zeros([0, self.d_model], (&input_t.device(), input_t.dtype())),
            _ => self.project(input_t.unsqueeze_dim(1)).squeeze_dim(1),
        };
        self.advance(projected, states)
    }

    fn advance(&self, projected_t: Tensor<2>, states: Self::State) -> (Tensor<2>, Self::State) {
        expect_state(self, &states, &projected_t);
        if projected_t.dims()[0] == 0 {
            return (projected_t, states);
        }
        let signal = projected_t.unsqueeze_dim(1);
        let (output, states) = self.through(signal, states, |layer, signal, state| {
            let (output, state) = layer.step(signal.squeeze_dim(1), state);
            (output.unsqueeze_dim(1), state)
        });
        (output.squeeze_dim(1), states)
    }

    /// Block by block, each over the whole sequence.
    fn forward_projected(
        &self,
        projected: Tensor<3>,
        states: Option<Self::State>,
    ) -> (Tensor<3>, Self::State) {
        let [batch_size, ..] = projected.dims();
        if let Some(states) = &states {
            expect_state(self, states, &projected);
        }
        if batch_size == 0 {
            let first = || self.initial_state(0, &projected.device());
            let states = states.unwrap_or_else(first);
            return (empty_output(self, &projected), states);
        }
        self.through(projected, self.each(states), |layer, signal, state| {
            layer.forward(signal, state)
        })
    }

    /// Block by block: each layer by its own kernel, where it has one for spans.
    fn forward_segments(
        &self,
        input: Tensor<3>,
        states: Option<Self::State>,
        segments: &Segments,
    ) -> (Tensor<3>, Self::State) {
        if segments.is_plain() || segments.batch_size() == 0 {
            return self.forward(input, states);
        }
        check_input(&input, self.d_input());
        segments.expect_batch_of(&input);
        if let Some(states) = &states {
            expect_state(self, states, &input);
        }
        let padding = segments.padding(&input.device());
        let padded = |signal: Tensor<3>| {
            let shape = signal.dims();
            signal.mask_fill(padding.clone().expand(shape), 0.0)
        };
        let signal = self.project(padded(input));
        let run = |layer: &R, signal, state| layer.forward_segments(signal, state, segments);
        let (output, states) = self.through(signal, self.each(states), run);
        (padded(output), states)
    }
}
