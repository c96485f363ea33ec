//! Two nets: one reads a source, the other says a target.

use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{DType, Device, Tensor, TensorData};
use fw_core::{
    LstmConfig, NtmConfig, Recurrent, RecurrentState, StateData, StateError, StateMapper,
    forward_groups,
};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::require;
use crate::models::delta_net::DeltaNetSettings;
use crate::models::heat_map::{HeatMap, Layer, MapPairs, WRITES};
use crate::models::layers::{WithLayer, settings};

/// What the decoder reaches of the encoder's states, besides the state that it begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interface {
    /// Nothing: an LSTM hands its last state to an LSTM.
    Nothing,
    /// All of them, by attention (Luong et al. 2015: global, bilinear score, no input feeding); both nets are LSTMs.
    Attention,
    /// All of them, by fast weights (Ba et al. 2016): the outer products of the encoder's states, faded by their age, which the
    /// decoder reads with its state. Attention without a softmax; both nets are LSTMs.
    FastWeights,
    /// What the encoder wrote to its memory, which the decoder goes on with; both are Turing machines with an LSTM controller.
    Ntm,
    /// The memories that it wrote, which the decoder goes on with; both are DeltaNets.
    DeltaNet,
}

impl Interface {
    /// Its name in an experiment.
    pub fn name(self) -> &'static str {
        match self {
            Interface::Nothing => "nothing",
            Interface::Attention => "attention",
            Interface::FastWeights => "fast-weights",
            Interface::Ntm => "ntm",
            Interface::DeltaNet => "delta-net",
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
        n_layers: usize = 1,
        n_heads: usize = 4,
        decay: f64 = 0.95,
    }
}

/// A recurrent net that reads a source, and another of the same kind, with its own parameters, that begins in the state in which
/// the first ended, and says the target.
///
/// ```text
/// e_t, s_t = Encoder(x_t, s_{t-1})                t = 1..n
/// d_t, s_t = Decoder(x_t, s_{t-1})                t = n+1..T
/// attention:     α_tj = softmax_j(d_t W · e_j)    y_t = [d_t ; Σ_j α_tj e_j]             j = 1..n
/// fast weights:  A = Σ_j λ^(n-j) e_j e_jᵀ         y_t = [d_t ; LN(A Wᵀ d_t)]
/// else:                                           y_t = d_t
/// ```
///
/// where `n` is the length of the source and `λ` is `decay`, from 0 to 1. While the source is read, `y_t = [e_t ; 0]`, or `e_t`. `A` is read as the
/// sum that it is, over the states, so that it costs what attention does; the paper's η would be cancelled by LN.
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - output: `[batch_size, seq_length, d_output]`, `d_output` that of the nets, or twice as wide with attention and with fast weights
#[derive(Module, Debug)]
pub struct EncoderDecoder<R: Module> {
    encoder: R,
    decoder: R,
    /// W of the score, with attention and with fast weights.
    score: Option<Linear>,
    /// LN of what is read, with fast weights.
    norm: Option<LayerNorm>,
    decay: f64,
    source_length: usize,
}

/// What an [`EncoderDecoder`] carries.
#[derive(Clone, Debug)]
pub struct EncoderDecoderState<S> {
    /// Steps that each sample has done.
    steps: Vec<usize>,
    /// Of the encoder, then of the decoder.
    net: S,
    /// The encoder's outputs so far, `[batch_size, steps, d_hidden]`; nothing before the first, or where none are recalled. Behind those of a sample that
    /// has fewer stand zeros.
    encoded: Option<Tensor<3>>,
}

impl<S> EncoderDecoderState<S> {
    /// Steps of the sample that has done most.
    fn most_steps(&self) -> usize {
        self.steps.iter().copied().max().unwrap_or(0)
    }
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
        match self.steps.len() {
            n if n == batch_size => Ok(()),
            n => Err(StateError::new(format!(
                "the state has steps of {n} samples; the input has {batch_size}"
            ))),
        }
    }

    fn batch_size(&self) -> Option<usize> {
        Some(self.steps.len())
    }

    fn select_samples(self, samples: &[usize]) -> Self {
        let steps: Vec<usize> = samples.iter().map(|sample| self.steps[*sample]).collect();
        let most = steps.iter().copied().max().unwrap_or(0);
        let encoded = self.encoded.filter(|_| most > 0).map(|encoded| {
            let n = encoded.dims()[1].min(most);
            encoded.select_samples(samples).narrow(1, 0, n)
        });
        EncoderDecoderState {
            steps,
            net: self.net.select_samples(samples),
            encoded,
        }
    }

    fn cat_samples(states: Vec<Self>) -> Result<Self, StateError> {
        let encoded = states.iter().filter_map(|state| state.encoded.as_ref());
        let longest = encoded.max_by_key(|encoded| encoded.dims()[1]).cloned();
        let encoded = longest.map(|like| {
            let [_, most, width] = like.dims();
            let zeros = |batch_size, n| {
                Tensor::zeros([batch_size, n, width], (&like.device(), like.dtype()))
            };
            let of = |state: &Self| match &state.encoded {
                None => zeros(state.steps.len(), most),
                Some(encoded) => match most - encoded.dims()[1] {
                    0 => encoded.clone(),
                    n => Tensor::cat(vec![encoded.clone(), zeros(state.steps.len(), n)], 1),
                },
            };
            RecurrentState::cat_samples(states.iter().map(of).collect())
        });
        Ok(EncoderDecoderState {
            encoded: encoded.transpose()?,
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
        let most = self.most_steps();
        let steps = match !self.steps.is_empty() && self.steps.iter().all(|steps| *steps == most) {
            true => StateData::Number(most),
            false => StateData::List(self.steps.iter().copied().map(StateData::Number).collect()),
        };
        StateData::List(vec![steps, self.net.to_data(), self.encoded.to_data()])
    }

    fn from_data(data: StateData, device: &Device) -> Result<Self, StateError> {
        let [steps, net, encoded] = data.into_parts()?;
        let net = S::from_data(net, device)?;
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

impl EncoderDecoderSettings {
    pub(super) fn validate(&self) -> Result<(), Error> {
        let share = (0.0..=1.0).contains(&self.decay);
        require(share, "model.decay", self.decay, "lie in [0, 1]")?;
        self.lstm(1).validate()?;
        if self.interface == Interface::DeltaNet {
            self.delta_net().validate()?;
        }
        Ok(self.ntm(1).validate()?)
    }

    pub(super) fn with_layer<A: WithLayer>(
        &self,
        d_input: usize,
        source_length: usize,
        device: &Device,
        action: A,
    ) -> Result<A::Output, Error> {
        if self.interface == Interface::Ntm {
            let [encoder, decoder] = twice(|| self.ntm(d_input).try_init(device))?;
            return action.run(self.around(encoder, decoder, source_length, device));
        }
        if self.interface == Interface::DeltaNet {
            let net = || self.delta_net().layer(d_input, device);
            let [encoder, decoder] = twice(net)?;
            return action.run(self.around(encoder, decoder, source_length, device));
        }
        let [encoder, decoder] = twice(|| self.lstm(d_input).try_init(device))?;
        action.run(self.around(encoder, decoder, source_length, device))
    }

    fn around<R: Recurrent>(
        &self,
        encoder: R,
        decoder: R,
        source_length: usize,
        device: &Device,
    ) -> EncoderDecoder<R> {
        let width = encoder.d_output();
        let recalls = matches!(
            self.interface,
            Interface::Attention | Interface::FastWeights
        );
        let score = LinearConfig::new(width, width).with_bias(false);
        let is_fast = self.interface == Interface::FastWeights;
        EncoderDecoder {
            encoder,
            decoder,
            score: recalls.then(|| score.init(device)),
            norm: is_fast.then(|| LayerNormConfig::new(width).init(device)),
            decay: self.decay,
            source_length,
        }
    }

    fn lstm(&self, d_input: usize) -> LstmConfig {
        LstmConfig::new(d_input, self.d_hidden)
    }

    fn ntm(&self, d_input: usize) -> NtmConfig {
        NtmConfig::new(d_input, self.d_hidden)
            .with_memory_size(self.memory_size)
            .with_word_size(self.word_size)
    }

    fn delta_net(&self) -> DeltaNetSettings {
        DeltaNetSettings {
            d_hidden: self.d_hidden,
            n_layers: self.n_layers,
            n_heads: self.n_heads,
            ..DeltaNetSettings::default()
        }
    }
}

fn twice<R, E>(init: impl Fn() -> Result<R, E>) -> Result<[R; 2], E> {
    Ok([init()?, init()?])
}

impl<R: Recurrent> EncoderDecoder<R> {
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
        let fading = (0..n).map(|state| self.decay.powi((n - 1 - state) as i32) as f32);
        let fading = TensorData::new(fading.collect::<Vec<f32>>(), [1, 1, n]);
        let weights = scores * Tensor::from_data(fading, &encoded.device());
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

    fn check_state(
        &self,
        state: &Self::State,
        batch_size: usize,
        dtype: DType,
    ) -> Result<(), StateError> {
        let steps = state.most_steps();
        if steps > usize::MAX / 2 {
            let problem = format!(
                "the state's step is {steps}; it must be at most {}",
                usize::MAX / 2
            );
            return Err(StateError::new(problem));
        }
        // Both nets are of one kind and size.
        self.encoder
            .check_state(&state.net, batch_size, dtype)
            .map_err(|error| error.within("the net"))?;
        state.check_batch(batch_size, dtype)?;
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
        let (shape, actual) = (encoded.dims(), encoded.dtype());
        let expected = [
            batch_size,
            steps.min(self.source_length),
            self.encoder.d_output(),
        ];
        match (shape, actual) == (expected, dtype) {
            true => Ok(()),
            false => Err(StateError::new(format!(
                "what was encoded is {actual:?} of shape {shape:?}; it must be {dtype:?} of shape {expected:?}"
            ))),
        }
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
        let [batch_size, seq_length, _] = projected.dims();
        let device = projected.device();
        let state = state.unwrap_or_else(|| self.initial_state(batch_size, &device));
        if let Err(error) = self.check_state(&state, batch_size, projected.dtype()) {
            panic!("{error}");
        }
        if batch_size == 0 {
            // Burn 0.22.1 cannot be relied on to multiply nothing.
            let shape = [0, seq_length, self.d_output()];
            let output = Tensor::zeros(shape, (&device, projected.dtype()));
            return (output, state);
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
            .saturating_sub(state.most_steps())
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

impl<R: Layer> Layer for EncoderDecoder<R> {
    /// The maps begin with the source, whatever the state: a sample is drawn whole.
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

/// Maps of the source and of the target, one after the other. What each wrote are rows of its own.
fn joined(read: MapPairs, said: MapPairs, steps: [usize; 2]) -> MapPairs {
    let one = |[read, said]: [HeatMap; 2]| {
        // The row of the second net's first.
        let below = if read.rows == WRITES {
            read.values.len()
        } else {
            0
        };
        let n_rows = read.values.len().max(below + said.values.len());
        let row =
            |map: &HeatMap, row: Option<usize>, n| match row.and_then(|row| map.values.get(row)) {
                Some(values) => values.clone(),
                None => vec![0.0; n],
            };
        let rows = (0..n_rows).map(|index| {
            let of_target = index.checked_sub(below);
            [
                row(&read, Some(index), steps[0]),
                row(&said, of_target, steps[1]),
            ]
            .concat()
        });
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
    use burn::tensor::Distribution;
    use fw_core::Segments;

    use super::*;

    fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor
            .try_into_vec_as()
            .expect("a tensor that was computed")
    }

    fn tiny(device: &Device, is_fast: bool) -> EncoderDecoder<fw_core::Lstm> {
        let [encoder, decoder] = [0, 1].map(|_| LstmConfig::new(3, 4).init(device));
        EncoderDecoder {
            encoder,
            decoder,
            score: Some(LinearConfig::new(4, 4).with_bias(false).init(device)),
            norm: is_fast.then(|| LayerNormConfig::new(4).init(device)),
            decay: 0.9,
            source_length: 5,
        }
    }

    #[test]
    fn a_sequence_cut_anywhere_gives_the_same_outputs() {
        let device = Device::flex();
        device.seed(3);
        for is_fast in [false, true] {
            let layer = tiny(&device, is_fast);
            let input = Tensor::<3>::random([2, 8, 3], Distribution::Default, &device);
            let (whole, _) = layer.forward(input.clone(), None);
            assert_eq!(whole.dims(), [2, 8, layer.d_output()]);
            for cut in 1..8 {
                let (first, state) = layer.forward(input.clone().narrow(1, 0, cut), None);
                let rest = input.clone().narrow(1, cut, 8 - cut);
                let (second, _) = layer.forward(rest, Some(state));
                let parts = numbers(Tensor::cat(vec![first, second], 1));
                for (part, whole) in parts.iter().zip(numbers(whole.clone())) {
                    assert!((part - whole).abs() < 1e-5, "cut after {cut}");
                }
            }
        }
    }

    #[test]
    fn samples_of_unequal_lengths_are_what_they_are_alone_and_go_on_so() {
        let device = Device::flex();
        device.seed(4);
        for is_fast in [false, true] {
            let layer = tiny(&device, is_fast);
            // One ends within the source, one within the target.
            let lengths = [3, 7];
            let input = Tensor::<3>::random([2, 8, 3], Distribution::Default, &device);
            let segments = Segments::new(2, 8).with_lengths(&lengths);
            let segments = segments.expect("lengths that fit");
            let (output, state) = layer.forward_segments(input.clone(), None, &segments);
            let (more, _) = layer.forward(input.clone(), Some(state));
            for (sample, length) in lengths.into_iter().enumerate() {
                let own = |all: &Tensor<3>| all.clone().narrow(0, sample, 1);
                let (expected, state) = layer.forward(own(&input).narrow(1, 0, length), None);
                let (expected_more, _) = layer.forward(own(&input), Some(state));
                let pairs = [
                    (own(&output).narrow(1, 0, length), expected),
                    (own(&more), expected_more),
                ];
                for (actual, expected) in pairs {
                    for (a, b) in numbers(actual).iter().zip(numbers(expected)) {
                        assert!((a - b).abs() < 1e-5, "sample {sample}: {a} is not {b}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_state_that_does_not_fit_is_named_and_no_samples_are_answered() {
        let device = Device::flex();
        for is_fast in [false, true] {
            let layer = tiny(&device, is_fast);
            let input = |batch_size| Tensor::<3>::ones([batch_size, 2, 3], &device);
            let (_, state) = layer.forward(input(2), None);
            let check = |state: &EncoderDecoderState<_>, batch_size| {
                let result = layer.check_state(state, batch_size, DType::F32);
                result.map_err(|error| error.to_string())
            };
            assert_eq!(check(&state, 2), Ok(()));
            let told = check(&state, 3).expect_err("another batch");
            assert_eq!(
                told,
                "the net: the hidden state has shape [2, 4]; it must be [3, 4]"
            );
            let mut lost = state.clone();
            lost.encoded = None;
            let told = check(&lost, 2).expect_err("nothing to recall");
            assert_eq!(
                told,
                "what was encoded is not there; after 2 steps of this net it must be"
            );
            let mut longer = state.clone();
            longer.steps = vec![3; 2];
            let told = check(&longer, 2).expect_err("a step is missing");
            assert!(
                told.ends_with("it must be F32 of shape [2, 3, 4]"),
                "{told}"
            );
            type State = EncoderDecoderState<fw_core::LstmState>;
            let again = State::from_data(state.to_data(), &device).expect("a state");
            assert_eq!(again.to_data(), state.to_data());
            let (output, _) = layer.forward(input(0), None);
            assert_eq!(output.dims(), [0, 2, layer.d_output()]);
        }
    }

    #[test]
    fn what_each_net_wrote_are_rows_of_its_own_and_places_are_the_same_rows() {
        let map = |rows, values: &[&[f32]]| HeatMap {
            title: String::new(),
            rows,
            values: values.iter().map(|row| row.to_vec()).collect(),
        };
        for (rows, expected) in [
            (
                WRITES,
                vec![
                    vec![1.0, 2.0, 0.0],
                    vec![0.0, 3.0, 0.0],
                    vec![0.0, 0.0, 4.0],
                ],
            ),
            ("location", vec![vec![1.0, 2.0, 4.0], vec![0.0, 3.0, 0.0]]),
        ] {
            let read = map(rows, &[&[1.0, 2.0], &[0.0, 3.0]]);
            let said = map(rows, &[&[4.0]]);
            let maps = joined(vec![[Some(read), None]], vec![[Some(said), None]], [2, 1]);
            let map = maps[0][0].as_ref().expect("a map");
            assert_eq!(map.values, expected, "{rows}");
            assert!(maps[0][1].is_none());
        }
    }

    /// What a decoder step recalls, written number by number.
    #[test]
    fn what_is_recalled_is_what_the_equations_say() {
        let device = Device::flex();
        device.seed(4);
        for is_fast in [false, true] {
            let layer = tiny(&device, is_fast);
            let input = Tensor::<3>::random([1, 8, 3], Distribution::Default, &device);
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
                let recalled: [f32; 4] = match is_fast {
                    false => {
                        let scores: Vec<f32> = (0..5)
                            .map(|j| (0..4).map(|i| query[i] * row(j)[i]).sum::<f32>().exp())
                            .collect();
                        let total: f32 = scores.iter().sum();
                        [0, 1, 2, 3].map(|i| (0..5).map(|j| scores[j] / total * row(j)[i]).sum())
                    }
                    true => {
                        // A as the matrix that it is, written step by step.
                        let mut matrix = [[0.0; 4]; 4];
                        for j in 0..5 {
                            for (a, line) in matrix.iter_mut().enumerate() {
                                for (b, place) in line.iter_mut().enumerate() {
                                    *place = 0.9 * *place + row(j)[a] * row(j)[b];
                                }
                            }
                        }
                        let read =
                            matrix.map(|line| (0..4).map(|i| line[i] * query[i]).sum::<f32>());
                        let mean = read.iter().sum::<f32>() / 4.0;
                        let squares = read.iter().map(|x| (x - mean).powi(2)).sum::<f32>();
                        read.map(|x| (x - mean) / (squares / 4.0 + 1e-5).sqrt())
                    }
                };
                for (told, recalled) in row(step)[4..].iter().zip(recalled) {
                    assert!((told - recalled).abs() < 1e-4, "{told} {recalled}");
                }
            }
            let of_source = &row(4)[4..];
            assert!(
                of_source.iter().all(|&number| number == 0.0),
                "nothing is recalled"
            );
        }
    }
}
