//! Two nets: one reads a source, the other says a target.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor};
use fw_core::{FastWeightsConfig, LstmConfig, NtmConfig, Recurrent};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::models::heat_map::{HeatMap, Layer, MapPairs};
use crate::models::layers::{WithLayer, settings};

/// What the decoder reaches of the encoder's states, besides the state that it begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interface {
    /// Nothing: an LSTM hands its last state to an LSTM.
    Nothing,
    /// All of them, by attention (Luong et al. 2015: global, bilinear score, no input feeding); both nets are LSTMs.
    Attention,
    /// What the encoder wrote to its fast weights, which the decoder goes on with; both are nets with fast weights.
    FastWeights,
    /// What the encoder wrote to its memory, which the decoder goes on with; both are Turing machines with an LSTM controller.
    Ntm,
}

impl Interface {
    /// Its name in an experiment.
    pub fn name(self) -> &'static str {
        match self {
            Interface::Nothing => "nothing",
            Interface::Attention => "attention",
            Interface::FastWeights => "fast-weights",
            Interface::Ntm => "ntm",
        }
    }
}

settings! {
    /// See [`EncoderDecoder`].
    EncoderDecoderSettings {
        interface: Interface = Interface::Attention,
        d_hidden: usize = 64,
        memory_size: usize = 32,
        word_size: usize = 20,
    }
}

/// A recurrent net that reads a source, and another of the same kind, with its own parameters, that begins in the state in which
/// the first ended, and says the target.
///
/// ```text
/// e_t, s_t = Encoder(x_t, s_{t-1})                t = 1..n
/// d_t, s_t = Decoder(x_t, s_{t-1})                t = n+1..T
/// α_tj     = softmax_j(d_t W · e_j)               j = 1..n, with attention
/// y_t      = [d_t ; Σ_j α_tj e_j]                 or d_t
/// ```
///
/// where `n` is the length of the source. While the source is read, `y_t = [e_t ; 0]`, or `e_t`.
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - output: `[batch_size, seq_length, d_output]`, `d_output` that of the nets, or twice as wide with attention
#[derive(Module, Debug)]
pub struct EncoderDecoder<R: Module> {
    encoder: R,
    decoder: R,
    /// W of the score.
    score: Option<Linear>,
    source_length: usize,
}

/// What an [`EncoderDecoder`] carries.
#[derive(Clone, Debug)]
pub struct EncoderDecoderState<S> {
    /// Steps done.
    steps: usize,
    /// Of the encoder, then of the decoder.
    net: S,
    /// The encoder's outputs so far, `[batch_size, steps, d_hidden]`; nothing before the first, or without attention.
    encoded: Option<Tensor<3>>,
}

impl EncoderDecoderSettings {
    pub(super) fn validate(&self) -> Result<(), Error> {
        self.lstm(1).validate()?;
        match self.interface {
            Interface::FastWeights => self.fast_weights(1).validate()?,
            Interface::Ntm => self.ntm(1).validate()?,
            Interface::Nothing | Interface::Attention => {}
        }
        Ok(())
    }

    pub(super) fn with_layer<A: WithLayer>(
        &self,
        d_input: usize,
        source_length: usize,
        device: &Device,
        action: A,
    ) -> Result<A::Output, Error> {
        match self.interface {
            Interface::Nothing | Interface::Attention => {
                let [encoder, decoder] = twice(|| self.lstm(d_input).try_init(device))?;
                let has_attention = self.interface == Interface::Attention;
                let score = has_attention.then(|| {
                    let score = LinearConfig::new(self.d_hidden, self.d_hidden);
                    score.with_bias(false).init(device)
                });
                action.run(EncoderDecoder {
                    encoder,
                    decoder,
                    score,
                    source_length,
                })
            }
            Interface::FastWeights => {
                let nets = twice(|| self.fast_weights(d_input).try_init(device))?;
                action.run(EncoderDecoder::new(nets, source_length))
            }
            Interface::Ntm => {
                let nets = twice(|| self.ntm(d_input).try_init(device))?;
                action.run(EncoderDecoder::new(nets, source_length))
            }
        }
    }

    fn lstm(&self, d_input: usize) -> LstmConfig {
        LstmConfig::new(d_input, self.d_hidden)
    }

    fn fast_weights(&self, d_input: usize) -> FastWeightsConfig {
        FastWeightsConfig::new(d_input, self.d_hidden)
    }

    fn ntm(&self, d_input: usize) -> NtmConfig {
        NtmConfig::new(d_input, self.d_hidden)
            .with_memory_size(self.memory_size)
            .with_word_size(self.word_size)
    }
}

fn twice<R, E>(init: impl Fn() -> Result<R, E>) -> Result<[R; 2], E> {
    Ok([init()?, init()?])
}

impl<R: Recurrent> EncoderDecoder<R> {
    fn new([encoder, decoder]: [R; 2], source_length: usize) -> Self {
        EncoderDecoder {
            encoder,
            decoder,
            score: None,
            source_length,
        }
    }

    /// Both nets' projections of one input, beside each other: which step is whose is not known here.
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

    /// α_t, `[batch_size, steps, source_length]`, and the sums of what it attends to.
    fn attend(&self, outputs: &Tensor<3>, encoded: &Tensor<3>, score: &Linear) -> [Tensor<3>; 2] {
        let scores = score
            .forward(outputs.clone())
            .matmul(encoded.clone().transpose());
        let weights = softmax(scores, 2);
        [weights.clone(), weights.matmul(encoded.clone())]
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
        let steps = seq_length.min(self.source_length);
        let encoded = match self.score {
            Some(_) => steps * self.encoder.d_output(),
            None => 0,
        };
        self.decoder.state_size(seq_length) + encoded
    }

    fn initial_state(&self, batch_size: usize, device: &Device) -> Self::State {
        EncoderDecoderState {
            steps: 0,
            net: self.encoder.initial_state(batch_size, device),
            encoded: None,
        }
    }

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
        let [batch_size, seq_length, _] = projected.dims();
        let state = state.unwrap_or_else(|| self.initial_state(batch_size, &projected.device()));
        let mut state = state;
        let of_source = self
            .source_length
            .saturating_sub(state.steps)
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
        state.steps += seq_length;
        (Tensor::cat(outputs, 1), state)
    }
}

impl<R: Layer> Layer for EncoderDecoder<R> {
    fn trace(&self, input: Tensor<3>, state: Option<Self::State>) -> (MapPairs, Self::State) {
        let [_, seq_length, _] = input.dims();
        let n_source = self.source_length.min(seq_length);
        let source = input.clone().narrow(1, 0, n_source);
        let (read, net) = self.encoder.trace(source.clone(), None);
        let mut maps = read;
        if n_source < seq_length {
            let target = input.clone().narrow(1, n_source, seq_length - n_source);
            let (said, _) = self.decoder.trace(target.clone(), Some(net));
            maps = joined(maps, said, [n_source, seq_length - n_source]);
            if let Some(score) = &self.score {
                let (encoded, net) = self.encoder.forward(source, None);
                let (outputs, _) = self.decoder.forward(target, Some(net));
                let [weights, _] = self.attend(&outputs, &encoded, score);
                let nothing = Tensor::zeros([1, n_source, n_source], &weights.device());
                let weights = Tensor::cat(vec![nothing, weights], 1);
                let map = HeatMap::new("attention to the source", "step", weights.squeeze_dim(0));
                maps.push([Some(map), None]);
            }
        }
        let (_, state) = self.forward(input, state);
        (maps, state)
    }
}

/// Maps of the source and of the target, one after the other.
fn joined(read: MapPairs, said: MapPairs, steps: [usize; 2]) -> MapPairs {
    let one = |[read, said]: [HeatMap; 2]| {
        let n_rows = read.values.len().max(said.values.len());
        let row = |map: &HeatMap, row: usize, n| match map.values.get(row) {
            Some(values) => values.clone(),
            None => vec![0.0; n],
        };
        let rows = (0..n_rows)
            .map(|index| [row(&read, index, steps[0]), row(&said, index, steps[1])].concat());
        HeatMap {
            values: rows.collect(),
            ..read
        }
    };
    let pairs = read.into_iter().zip(said);
    let pairs = pairs.map(|([read, beside], [said, also])| {
        [(read, said), (beside, also)].map(|(read, said)| Some(one([read?, said?])))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor
            .try_into_vec_as()
            .expect("a tensor that was computed")
    }

    fn with_attention(device: &Device) -> EncoderDecoder<fw_core::Lstm> {
        let [encoder, decoder] = [0, 1].map(|_| LstmConfig::new(3, 4).init(device));
        EncoderDecoder {
            encoder,
            decoder,
            score: Some(LinearConfig::new(4, 4).with_bias(false).init(device)),
            source_length: 5,
        }
    }

    #[test]
    fn a_sequence_cut_anywhere_gives_the_same_outputs() {
        let device = Device::flex();
        device.seed(3);
        let layer = with_attention(&device);
        let input = Tensor::<3>::random([2, 8, 3], burn::tensor::Distribution::Default, &device);
        let (whole, _) = layer.forward(input.clone(), None);
        for cut in 1..8 {
            let (first, state) = layer.forward(input.clone().narrow(1, 0, cut), None);
            let (second, _) = layer.forward(input.clone().narrow(1, cut, 8 - cut), Some(state));
            let parts = numbers(Tensor::cat(vec![first, second], 1));
            for (part, whole) in parts.iter().zip(numbers(whole.clone())) {
                assert!((part - whole).abs() < 1e-5, "cut after {cut}");
            }
        }
        assert_eq!(whole.dims(), [2, 8, layer.d_output()]);
    }

    /// What a decoder step recalls, written number by number.
    #[test]
    fn attention_is_the_softmax_of_the_scores_over_the_source() {
        let device = Device::flex();
        device.seed(4);
        let layer = with_attention(&device);
        let input = Tensor::<3>::random([1, 8, 3], burn::tensor::Distribution::Default, &device);
        let (output, _) = layer.forward(input, None);
        let rows = numbers(output);
        let row = |step: usize| &rows[8 * step..8 * step + 8];
        let weight = numbers(layer.score.as_ref().expect("a score").weight.val());
        for step in 5..8 {
            let state = &row(step)[..4];
            let query = [0, 1, 2, 3].map(|to| {
                (0..4)
                    .map(|from| state[from] * weight[4 * from + to])
                    .sum::<f32>()
            });
            let scores: Vec<f32> = (0..5)
                .map(|source| (0..4).map(|i| query[i] * row(source)[i]).sum::<f32>().exp())
                .collect();
            let total: f32 = scores.iter().sum();
            for i in 0..4 {
                let recalled: f32 = (0..5)
                    .map(|source| scores[source] / total * row(source)[i])
                    .sum();
                assert!((row(step)[4 + i] - recalled).abs() < 1e-5);
            }
        }
        assert!(
            row(4)[4..].iter().all(|&number| number == 0.0),
            "the source recalls nothing"
        );
    }
}
