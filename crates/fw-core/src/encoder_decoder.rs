//! Two nets: one reads a source, the other says a target.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use burn::config::Config;
use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{DType, Device, Tensor, TensorData};
use num_traits::Float;
use serde::{Deserialize, Serialize};

use crate::error::{expect_fits, expect_valid, require, require_size};
use crate::ops::shapes::fits;
use crate::past::{cat_past, check_steps, most_steps, select_past};
use crate::recurrent::empty_output;
use crate::segments::forward_groups;
use crate::{ConfigError, Recurrent, RecurrentState, StateData, StateError, StateMapper};

/// How the decoder of an [`EncoderDecoder`] attends to the encoder's outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SourceAttention {
    /// Not at all: the state that it begins with is all that it has of the source.
    None,
    /// By attention with a softmax over a bilinear score (Luong et al. 2015: global, without input feeding).
    #[default]
    Softmax,
    /// By fast weights (Ba et al. 2016): the outer products of the encoder's outputs, faded by their age, which the decoder reads with its output.
    /// It is attention without a softmax.
    FastWeights,
}

/// Configuration of an [`EncoderDecoder`].
#[derive(Config, Debug)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EncoderDecoderConfig {
    /// n, the steps of the source, which the encoder reads, at least 1. The decoder does all others.
    pub source_length: usize,
    /// How the decoder attends to the encoder's outputs. Default [`SourceAttention::Softmax`].
    #[config(default = "SourceAttention::Softmax")]
    pub attention: SourceAttention,
    /// λ of fast weights: the share of what was written that is left after a step, in `[0, 1]`. Default 0.95.
    #[config(default = 0.95)]
    pub decay: f64,
}

impl EncoderDecoderConfig {
    /// The layer around two nets, with parameters of its own on `device`.
    ///
    /// # Panics
    /// If [`try_init`](Self::try_init) has an error.
    #[track_caller]
    pub fn init<R: Recurrent>(&self, encoder: R, decoder: R, device: &Device) -> EncoderDecoder<R> {
        expect_valid(self.try_init(encoder, decoder, device))
    }

    /// The layer around two nets, with parameters of its own on `device`.
    ///
    /// # Errors
    /// If the configuration breaks a rule, or the nets differ in what they read or yield.
    pub fn try_init<R: Recurrent>(
        &self,
        encoder: R,
        decoder: R,
        device: &Device,
    ) -> Result<EncoderDecoder<R>, ConfigError> {
        self.validate()?;
        let sizes = |net: &R| [net.d_input(), net.d_output()];
        let (of_encoder, of_decoder) = (sizes(&encoder), sizes(&decoder));
        let value = format!("{of_decoder:?}, and that of the encoder {of_encoder:?}");
        let field = "[d_input, d_output] of the decoder";
        require(of_encoder == of_decoder, field, value, "be the same")?;
        let width = encoder.d_output();
        let attends = self.attention != SourceAttention::None;
        let score = LinearConfig::new(width, width).with_bias(false);
        let is_fast = self.attention == SourceAttention::FastWeights;
        Ok(EncoderDecoder {
            encoder,
            decoder,
            score: attends.then(|| score.init(device)),
            norm: is_fast.then(|| LayerNormConfig::new(width).init(device)),
            decay: self.decay,
            source_length: self.source_length,
        })
    }

    /// Checks every field.
    ///
    /// # Errors
    /// A source of no steps, or a decay outside `[0, 1]`.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require_size("source_length", self.source_length)?;
        let is_share = (0.0..=1.0).contains(&self.decay);
        require(is_share, "decay", self.decay, "lie in [0, 1]")
    }
}

/// A recurrent net that reads a source, and another of the same kind, with its own parameters, that begins in the state in which
/// the first ended, and says the target.
///
/// ```text
/// e_t, s_t = Encoder(x_t, s_{t-1})                t = 1..n
/// d_t, s_t = Decoder(x_t, s_{t-1})                t = n+1..T
/// softmax:       α_tj = softmax_j(d_t W · e_j)    y_t = [d_t ; Σ_j α_tj e_j]             j = 1..n
/// fast weights:  A = Σ_j λ^(n-j) e_j e_jᵀ         y_t = [d_t ; LN(A Wᵀ d_t)]
/// none:                                           y_t = d_t
/// ```
///
/// where `n` is the length of the source and `λ` is `decay`, from 0 to 1. While the source is read, `y_t = [e_t ; 0]`, or `e_t`. `A` is read as the
/// sum that it is, over the outputs, so that it costs what attention does; the paper's η would be cancelled by LN.
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - output: `[batch_size, seq_length, d_output]`, `d_output` that of the nets, or twice as wide with attention
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{EncoderDecoderConfig, LstmConfig, Recurrent};
///
/// let device = Device::flex();
/// let [encoder, decoder] = [0, 1].map(|_| LstmConfig::new(3, 8).init(&device));
/// let layer = EncoderDecoderConfig::new(5).init(encoder, decoder, &device);
/// let (output, _) = layer.forward(Tensor::zeros([2, 9, 3], &device), None);
/// assert_eq!(output.dims(), [2, 9, 16]);
/// ```
#[derive(Module, Debug)]
pub struct EncoderDecoder<R: Module> {
    /// Reads the source.
    pub encoder: R,
    /// Says the target.
    pub decoder: R,
    /// W of the score, with attention.
    pub score: Option<Linear>,
    /// LN of what is read, with fast weights.
    pub norm: Option<LayerNorm>,
    decay: f64,
    source_length: usize,
}

/// What an [`EncoderDecoder`] carries.
#[derive(Clone, Debug)]
pub struct EncoderDecoderState<S> {
    /// Steps that each sample has done.
    pub steps: Vec<usize>,
    /// Of the encoder, then of the decoder.
    pub net: S,
    /// The encoder's outputs so far, `[batch_size, steps, d_hidden]`; nothing before the first, or where none are recalled. Behind those of a sample that
    /// has fewer stand zeros.
    pub encoded: Option<Tensor<3>>,
}

impl<S: RecurrentState> RecurrentState for EncoderDecoderState<S> {
    fn detach(self) -> Self {
        EncoderDecoderState {
            net: self.net.detach(),
            encoded: self.encoded.detach(),
            ..self
        }
    }

    fn to_device(self, device: &Device) -> Self {
        EncoderDecoderState {
            net: self.net.to_device(device),
            encoded: RecurrentState::to_device(self.encoded, device),
            ..self
        }
    }

    fn check_batch(&self, batch_size: usize, dtype: DType) -> Result<(), StateError> {
        self.net.check_batch(batch_size, dtype)?;
        self.encoded.check_batch(batch_size, dtype)?;
        check_steps(&self.steps, batch_size).map(drop)
    }

    fn batch_size(&self) -> Option<usize> {
        Some(self.steps.len())
    }

    fn select_samples(self, samples: &[usize]) -> Self {
        let steps: Vec<usize> = samples.iter().map(|sample| self.steps[*sample]).collect();
        let encoded = select_past(self.encoded, samples, most_steps(&steps));
        EncoderDecoderState {
            steps,
            net: self.net.select_samples(samples),
            encoded,
        }
    }

    fn cat_samples(states: Vec<Self>) -> Result<Self, StateError> {
        let encoded = states
            .iter()
            .map(|state| (state.encoded.clone(), state.steps.len()));
        Ok(EncoderDecoderState {
            encoded: cat_past(encoded.collect())?,
            steps: states
                .iter()
                .flat_map(|state| state.steps.clone())
                .collect(),
            net: S::cat_samples(states.into_iter().map(|state| state.net).collect())?,
        })
    }

    fn map_tensors<M: StateMapper>(self, mapper: &mut M) -> Self {
        EncoderDecoderState {
            net: self.net.map_tensors(mapper),
            encoded: self.encoded.map_tensors(mapper),
            ..self
        }
    }

    /// The steps are a number where they are those of all samples.
    fn to_data(&self) -> StateData {
        let most = most_steps(&self.steps);
        let steps = match !self.steps.is_empty() && self.steps.iter().all(|steps| *steps == most) {
            true => StateData::Number(most),
            false => StateData::List(self.steps.iter().copied().map(StateData::Number).collect()),
        };
        StateData::List(vec![steps, self.net.to_data(), self.encoded.to_data()])
    }

    fn from_data(data: StateData, device: &Device) -> Result<Self, StateError> {
        let [steps, net, encoded] = data.into_parts()?;
        let net = S::from_data(net, device)?;
        EncoderDecoderState::from_parts(steps, net, encoded, device)
    }
}

impl<S: RecurrentState> EncoderDecoderState<S> {
    fn from_parts(
        steps: StateData,
        net: S,
        encoded: StateData,
        device: &Device,
    ) -> Result<Self, StateError> {
        let steps = match steps {
            StateData::Number(steps) => vec![steps; net.batch_size().unwrap_or(0)],
            each => each.into_numbers()?,
        };
        Ok(EncoderDecoderState {
            steps,
            net,
            encoded: RecurrentState::from_data(encoded, device)?,
        })
    }
}

impl<R: Recurrent> EncoderDecoder<R> {
    /// Steps of the source.
    pub fn source_length(&self) -> usize {
        self.source_length
    }

    /// How strongly each of the decoder's outputs, `[batch_size, steps, width]`, attends to each of the encoder's, `[batch_size, n, width]`: α, or the
    /// faded scores of fast weights. Nothing, without attention.
    ///
    /// # Shapes
    /// - output: `[batch_size, steps, n]`
    pub fn attention(&self, outputs: &Tensor<3>, encoded: &Tensor<3>) -> Option<Tensor<3>> {
        let score = self.score.as_ref()?;
        let [weights, _] = self.attend(outputs, encoded, score);
        Some(weights)
    }

    /// One net's part of what [`project`](Recurrent::project) yields.
    fn of_net(&self, projected: Tensor<3>, is_source: bool) -> Tensor<3> {
        let half = projected.dims()[2] / 2;
        projected.narrow(2, if is_source { 0 } else { half }, half)
    }

    /// The encoder's steps of some outputs, without anything recalled.
    fn encode(&self, outputs: Tensor<3>, state: &mut EncoderDecoderState<R::State>) -> Tensor<3> {
        if self.score.is_none() {
            return outputs;
        }
        let zeros = outputs.zeros_like();
        let known = state.encoded.take().into_iter().chain([outputs.clone()]);
        state.encoded = Some(Tensor::cat(known.collect(), 1));
        Tensor::cat(vec![outputs, zeros], 2)
    }

    /// The weight of each of the encoder's states, `[batch_size, steps, source_length]`, and what they come to.
    fn attend(&self, outputs: &Tensor<3>, encoded: &Tensor<3>, score: &Linear) -> [Tensor<3>; 2] {
        let scores = score
            .forward(outputs.clone())
            .matmul(encoded.clone().transpose());
        let Some(norm) = &self.norm else {
            let weights = softmax(scores, 2);
            return [weights.clone(), weights.matmul(encoded.clone())];
        };
        let [_, n, _] = encoded.dims();
        let fading = (0..n).map(|state| Float::powi(self.decay, (n - 1 - state) as i32));
        let fading = TensorData::new(fading.collect::<Vec<f64>>(), [1, 1, n]);
        let weights = scores * Tensor::from_data(fading, (&encoded.device(), encoded.dtype()));
        let read = weights.clone().matmul(encoded.clone());
        [weights, norm.forward(read)]
    }

    fn decode(&self, outputs: Tensor<3>, encoded: Option<&Tensor<3>>) -> Tensor<3> {
        match (&self.score, encoded) {
            (Some(score), Some(encoded)) => {
                let [_, recalled] = self.attend(&outputs, encoded, score);
                Tensor::cat(vec![outputs, recalled], 2)
            }
            _ => outputs,
        }
    }
}

impl<R: Recurrent> Recurrent for EncoderDecoder<R> {
    type State = EncoderDecoderState<R::State>;

    fn d_input(&self) -> usize {
        self.encoder.d_input()
    }

    fn d_output(&self) -> usize {
        let factor = if self.score.is_some() { 2 } else { 1 };
        factor * self.decoder.d_output()
    }

    fn state_size(&self, seq_length: usize) -> usize {
        let width = self.encoder.d_output();
        let steps = seq_length.min(self.source_length);
        let encoded = match (&self.score, &self.norm) {
            (None, _) => 0,
            (Some(_), None) => steps * width,
            // As the states, or as the matrix.
            (Some(_), Some(_)) => steps.min(width) * width,
        };
        self.decoder.state_size(seq_length) + encoded
    }

    fn initial_state(&self, batch_size: usize, device: &Device) -> Self::State {
        EncoderDecoderState {
            steps: vec![0; batch_size],
            net: self.encoder.initial_state(batch_size, device),
            encoded: None,
        }
    }

    fn state_from_data(&self, data: StateData, device: &Device) -> Result<Self::State, StateError> {
        let [steps, net, encoded] = data.into_parts()?;
        let net = self.encoder.state_from_data(net, device)?;
        EncoderDecoderState::from_parts(steps, net, encoded, device)
    }

    fn check_state(
        &self,
        state: &Self::State,
        batch_size: usize,
        dtype: DType,
    ) -> Result<(), StateError> {
        // Both nets are of one kind and size.
        self.encoder
            .check_state(&state.net, batch_size, dtype)
            .map_err(|error| error.within("the net"))?;
        let steps = check_steps(&state.steps, batch_size)?;
        let is_kept = self.score.is_some() && steps > 0;
        if state.encoded.is_some() != is_kept {
            let (is, must) = match is_kept {
                true => ("not there", "be"),
                false => ("there", "not be"),
            };
            return Err(StateError::new(format!(
                "what was encoded is {is}; after {steps} steps of this net it must {must}"
            )));
        }
        let Some(encoded) = &state.encoded else {
            return Ok(());
        };
        let expected = [
            batch_size,
            steps.min(self.source_length),
            self.encoder.d_output(),
        ];
        fits("what was encoded", encoded, expected, dtype)
    }

    /// Both nets' projections beside each other: which step is whose is not known here.
    fn project(&self, input: Tensor<3>) -> Tensor<3> {
        let [encoder, decoder] = [&self.encoder, &self.decoder];
        let both = vec![encoder.project(input.clone()), decoder.project(input)];
        Tensor::cat(both, 2)
    }

    fn advance(&self, projected_t: Tensor<2>, state: Self::State) -> (Tensor<2>, Self::State) {
        let (output, state) = self.forward_projected(projected_t.unsqueeze_dim(1), Some(state));
        (output.squeeze_dim(1), state)
    }

    fn forward_projected(
        &self,
        projected: Tensor<3>,
        state: Option<Self::State>,
    ) -> (Tensor<3>, Self::State) {
        let [batch_size, ..] = projected.dims();
        let device = projected.device();
        let state = state.unwrap_or_else(|| self.initial_state(batch_size, &device));
        expect_fits(self.check_state(&state, batch_size, projected.dtype()));
        if batch_size == 0 {
            return (empty_output(self, &projected), state);
        }
        let steps = state.steps.clone();
        forward_groups(projected, state, steps, |projected, state| {
            self.run_together(projected, state)
        })
    }

    fn uniform(&self, state: Self::State) -> Self::State {
        EncoderDecoderState {
            net: self.encoder.uniform(state.net),
            ..state
        }
    }
}

impl<R: Recurrent> EncoderDecoder<R> {
    /// A sequence of samples that have done as many steps.
    fn run_together(
        &self,
        projected: Tensor<3>,
        mut state: EncoderDecoderState<R::State>,
    ) -> (Tensor<3>, EncoderDecoderState<R::State>) {
        let [_, seq_length, _] = projected.dims();
        let of_source = self
            .source_length
            .saturating_sub(most_steps(&state.steps))
            .min(seq_length);
        let mut outputs = Vec::with_capacity(2);
        if of_source > 0 {
            let steps = self.of_net(projected.clone().narrow(1, 0, of_source), true);
            let (output, net) = self
                .encoder
                .forward_projected(steps, Some(state.net.clone()));
            state.net = net;
            outputs.push(self.encode(output, &mut state));
        }
        if of_source < seq_length {
            let steps = projected.narrow(1, of_source, seq_length - of_source);
            let steps = self.of_net(steps, false);
            let (output, net) = self
                .decoder
                .forward_projected(steps, Some(state.net.clone()));
            state.net = net;
            outputs.push(self.decode(output, state.encoded.as_ref()));
        }
        for steps in &mut state.steps {
            *steps += seq_length;
        }
        (Tensor::cat(outputs, 1), state)
    }
}
