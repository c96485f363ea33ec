//! What the tests share: random values that do not depend on other tests, layers with a flat view of
//! their state, and comparisons with explicit tolerances.
#![allow(dead_code, reason = "each test file uses a part")]

pub mod configs;
mod flat_state;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
pub use flat_state::FlatState;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Uniform values in (-1, 1).
pub fn random<const D: usize>(
    rng: &mut impl Rng,
    shape: [usize; D],
    device: &Device,
    dtype: DType,
) -> Tensor<D> {
    let values: Vec<f64> = (0..shape.iter().product::<usize>())
        .map(|_| rng.random_range(-1.0..1.0))
        .collect();
    Tensor::from_data(TensorData::new(values, shape), (device, dtype))
}

/// The layer with every float parameter drawn anew, uniform in (-1, 1), in the given type.
pub fn randomized<M: Module>(layer: M, rng: &mut ChaCha8Rng, dtype: DType) -> M {
    struct Randomize<'a>(&'a mut ChaCha8Rng, DType);
    impl ModuleMapper for Randomize<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let value = param.val();
            let fresh = random(self.0, value.dims(), &value.device(), self.1);
            let is_autodiff = fresh.is_autodiff();
            Param::initialized(param.id, fresh.set_require_grad(is_autodiff))
        }
    }
    layer.map(&mut Randomize(rng, dtype))
}

/// Every float parameter's gradient, in the module's order, flattened.
pub fn parameter_gradients<M: Module>(
    layer: &M,
    gradients: &burn::tensor::Gradients,
) -> Vec<Vec<f64>> {
    struct Collect<'a>(&'a burn::tensor::Gradients, Vec<Vec<f64>>);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            let gradient = value
                .grad(self.0)
                .unwrap_or_else(|| value.inner().zeros_like());
            self.1.push(values(gradient));
        }
    }
    let mut collect = Collect(gradients, Vec::new());
    layer.visit(&mut collect);
    collect.1
}

/// The layer with `delta` added to one number of one float parameter.
pub fn nudged<M: Module>(layer: M, parameter: usize, element: usize, delta: f64) -> M {
    struct Nudge(usize, usize, f64, usize);
    impl ModuleMapper for Nudge {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let index = self.3;
            self.3 += 1;
            if index != self.0 {
                return param;
            }
            let value = param.val();
            let nudged = nudge(value, self.1, self.2);
            Param::initialized(param.id, nudged)
        }
    }
    layer.map(&mut Nudge(parameter, element, delta, 0))
}

/// The tensor with `delta` added to one number.
pub fn nudge<const D: usize>(tensor: Tensor<D>, element: usize, delta: f64) -> Tensor<D> {
    let (shape, device, dtype) = (tensor.dims(), tensor.device(), tensor.dtype());
    let mut numbers = values(tensor);
    numbers[element] += delta;
    Tensor::from_data(TensorData::new(numbers, shape), (&device, dtype))
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor
        .try_into_vec_as::<f64>()
        .expect("floats convert to f64")
}

/// Largest difference, as a share of the largest expected magnitude.
pub fn max_relative_error(actual: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len(), "number of values");
    let scale = expected
        .iter()
        .fold(0.0_f64, |max, value| max.max(value.abs()));
    let difference = actual
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        // f64::max would drop a NaN.
        .fold(
            0.0_f64,
            |max, d| if d > max || d.is_nan() { d } else { max },
        );
    if difference == 0.0 {
        0.0
    } else {
        difference / scale
    }
}

#[track_caller]
pub fn assert_close(what: &str, actual: &[f64], expected: &[f64], tolerance: f64) {
    let error = max_relative_error(actual, expected);
    assert!(
        error <= tolerance,
        "{what}: relative error {error:.3e} is above {tolerance:.0e}"
    );
}

/// What a run of a layer yields: outputs, last state, and the gradient of a fixed linear function of both with
/// respect to the input, the first state and every parameter.
pub struct Outcome {
    pub output: Vec<f64>,
    pub state: Vec<f64>,
    pub gradients: Vec<Vec<f64>>,
}

/// Runs a layer from a flat state. `run` says how: whole, in steps, in parts.
pub fn outcome<L: FlatState>(
    layer: &L,
    input: &Tensor<3>,
    state: &Tensor<2>,
    run: impl Fn(&L, Tensor<3>, L::State) -> (Tensor<3>, L::State),
) -> Outcome {
    let input = input.clone().detach().require_grad();
    let state = state.clone().detach().require_grad();
    let (output, last) = run(layer, input.clone(), layer.state_from(state.clone()));
    let last = layer.state_to(&last);
    let gradients = weighted_sum(output.clone(), last.clone()).backward();
    let mut all = vec![
        values(input.grad(&gradients).expect("the input is reached")),
        values(
            state
                .grad(&gradients)
                .unwrap_or_else(|| state.inner().zeros_like()),
        ),
    ];
    all.extend(parameter_gradients(layer, &gradients));
    Outcome {
        output: values(output),
        state: values(last),
        gradients: all,
    }
}

/// A fixed linear function of the outputs and the last state.
pub fn weighted_sum(output: Tensor<3>, state: Tensor<2>) -> Tensor<1> {
    let mut rng = rng(99);
    let (device, dtype) = (output.device(), output.dtype());
    let on_output = random(&mut rng, output.dims(), &device, dtype);
    let on_state = random(&mut rng, state.dims(), &device, dtype);
    (output * on_output).sum() + (state * on_state).sum()
}

impl Outcome {
    /// Compares with another way of computing the same, by the ratio of root mean squares.
    #[track_caller]
    pub fn assert_equals(&self, other: &Outcome, what: &str, forward: f64, backward: f64) {
        let check = |name: &str, actual: &[f64], expected: &[f64], tolerance: f64| {
            let ratio = rms_ratio(actual, expected);
            assert!(
                ratio <= tolerance,
                "{what}, {name}: RMS ratio {ratio:.3e} is above {tolerance:.0e}"
            );
        };
        check("output", &self.output, &other.output, forward);
        check("last state", &self.state, &other.state, forward);
        assert_eq!(self.gradients.len(), other.gradients.len());
        for (index, (actual, expected)) in self.gradients.iter().zip(&other.gradients).enumerate() {
            check(&format!("gradient {index}"), actual, expected, backward);
        }
    }
}

impl Outcome {
    /// How far every tensor is from what is expected: outputs, last state, then gradients.
    pub fn errors(&self, expected: &Outcome) -> Vec<f64> {
        let tensors = |outcome: &Outcome| {
            let first = [outcome.output.clone(), outcome.state.clone()];
            first.into_iter().chain(outcome.gradients.clone())
        };
        let pairs = tensors(self).zip(tensors(expected));
        pairs.map(|(a, b)| rms_ratio(&a, &b)).collect()
    }
}

/// RMS of the difference over RMS of what is expected.
fn rms_ratio(actual: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len(), "number of values");
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = squares(&mut actual.iter().zip(expected).map(|(a, b)| a - b));
    let scale = squares(&mut expected.iter().copied());
    if difference == 0.0 {
        0.0
    } else {
        difference / scale
    }
}

/// Calls `check(name, layer)`, a generic function, with each layer of the crate, parameters random.
#[macro_export]
macro_rules! for_each_layer {
    ($d_input:expr, $d_hidden:expr, $device:expr, $dtype:expr, $check:ident) => {{
        use fw_core::*;
        let (d_input, d_hidden, device, dtype) = ($d_input, $d_hidden, $device, $dtype);
        let mut rng = common::rng(17);
        macro_rules! one {
            ($name:literal, $config:expr) => {
                $check(
                    $name,
                    common::randomized($config.init(&device), &mut rng, dtype),
                )
            };
        }
        let fast = FastWeightsConfig::new(d_input, d_hidden).with_fast_learning_rate(0.3);
        one!("fast weights", fast.clone());
        one!(
            "fast weights, matrix",
            fast.clone().with_form(MemoryForm::Matrix)
        );
        one!(
            "fast weights, attention",
            fast.clone().with_form(MemoryForm::Attention)
        );
        one!(
            "fast weights, three inner steps",
            fast.clone().with_inner_steps(3)
        );
        one!(
            "fast weights, no inner step",
            fast.clone().with_inner_steps(0)
        );
        one!(
            "fast weights, written early",
            fast.clone()
                .with_write(WrittenState::Preliminary)
                .with_normalize_preliminary(true)
        );
        one!(
            "fast weights, tanh, not normalised",
            fast.with_layer_norm(false)
                .with_activation(Activation::Tanh)
                .with_fast_learning_rate(0.1)
        );
        let elman = ElmanConfig::new(d_input, d_hidden);
        one!("elman", elman.clone());
        one!(
            "elman, normalised",
            elman
                .with_layer_norm(true)
                .with_activation(Activation::Relu)
        );
        one!("lstm", LstmConfig::new(d_input, d_hidden));
        let stack = Stack::new(vec![
            LstmConfig::new(d_input, d_hidden).init(&device),
            LstmConfig::new(d_hidden, 3).init(&device),
        ]);
        $check(
            "stack of two lstms",
            common::randomized(stack, &mut rng, dtype),
        );
        let tuple = (
            GruConfig::new(d_input, 4).init(&device),
            FastWeightsConfig::new(4, d_hidden).init(&device),
            LstmConfig::new(d_hidden, 3).init(&device),
        );
        $check(
            "tuple of a gru, fast weights and an lstm",
            common::randomized(tuple, &mut rng, dtype),
        );
        one!("gru", GruConfig::new(d_input, d_hidden));
        let gru = GruConfig::new(d_input, d_hidden).init(&device);
        $check(
            "gru with a learned start",
            common::randomized(LearnedStart::new(gru, &device), &mut rng, dtype),
        );
        one!(
            "gru, normalised",
            GruConfig::new(d_input, d_hidden).with_layer_norm(true)
        );
        let even = d_hidden + d_hidden % 2;
        one!(
            "associative lstm",
            AssociativeLstmConfig::new(d_input, even).with_n_copies(3)
        );
        let delta_net = DeltaNetConfig::new(d_input, 2, 3);
        one!("delta net", delta_net.clone().with_d_output(Some(d_hidden)));
        one!("delta net, gated", DeltaNetConfig::gated(d_input, 2, 2));
        one!(
            "delta net, kimi",
            DeltaNetConfig::kimi(d_input, 2, 3)
                .with_d_value(Some(2))
                .with_convolution(Some(2))
        );
        one!(
            "delta net, product of three",
            DeltaNetConfig::product(d_input, 1, 3)
                .with_d_value(Some(2))
                .with_writes_per_step(3)
                .with_output_norm(false)
        );
        one!(
            "delta net, whole writes of keys that sum to 1, without a convolution",
            delta_net
                .clone()
                .with_convolution(None)
                .with_write_strength(WriteStrength::One)
                .with_feature_map(FeatureMap::Elu)
                .with_key_norm(KeyNorm::Sum)
                .with_decay(DecayKind::Channel)
        );
        one!(
            "delta net, sum, not normalised",
            delta_net
                .with_rule(WriteRule::Sum)
                .with_convolution(Some(1))
                .with_feature_map(FeatureMap::Identity)
                .with_key_norm(KeyNorm::None)
                .with_output_gate(OutputGate::Sigmoid)
        );
        one!(
            "recurrent delta net",
            RecurrentDeltaNetConfig::new(d_input, 2, 3)
        );
        one!("slstm", SLstmConfig::new(d_input, d_hidden));
        one!(
            "slstm, two heads",
            SLstmConfig::new(d_input, even).with_n_heads(2)
        );
        one!("mlstm", MLstmConfig::new(d_input, 2, 3));
        one!(
            "mlstm, gates without a cap",
            MLstmConfig::new(d_input, 1, 2)
                .with_d_value(Some(3))
                .with_d_output(Some(d_hidden))
                .with_gate_cap(None)
        );
        one!("rwkv-7", Rwkv7Config::new(d_input, 2, 3));
        one!(
            "rwkv-7, low ranks",
            Rwkv7Config::new(d_input, 1, 3)
                .with_d_value(Some(2))
                .with_d_output(Some(d_hidden))
                .with_decay_rank(Some(2))
                .with_rate_rank(Some(1))
                .with_gate_rank(Some(2))
        );
        let ntm = NtmConfig::new(d_input, d_hidden)
            .with_memory_size(6)
            .with_word_size(3);
        one!("ntm", ntm.clone());
        one!(
            "ntm, two layers, several heads, all learned",
            ntm.clone()
                .with_n_layers(2)
                .with_n_read_heads(2)
                .with_n_write_heads(3)
                .with_shift_width(5)
                .with_initial_memory(InitialMemory::Learned)
                .with_initial_weights(InitialWeights::Learned)
        );
        one!(
            "ntm, feed-forward",
            ntm.with_controller(ControllerKind::FeedForward)
                .with_n_layers(2)
                .with_n_read_heads(2)
                .with_shift_width(1)
        );
        for (name, attention) in [
            ("encoder and decoder", SourceAttention::None),
            ("encoder and decoder, attention", SourceAttention::Softmax),
            (
                "encoder and decoder, fast weights",
                SourceAttention::FastWeights,
            ),
        ] {
            let [encoder, decoder] =
                [0, 1].map(|_| LstmConfig::new(d_input, d_hidden).init(&device));
            let config = EncoderDecoderConfig::new(3).with_attention(attention);
            let layer = config.init(encoder, decoder, &device);
            $check(name, common::randomized(layer, &mut rng, dtype));
        }
        let attention = AttentionConfig::new(d_input, 2, 4);
        one!("attention", attention.clone());
        one!(
            "attention by place, of another width",
            attention.with_d_rotary(2).with_d_output(Some(d_hidden))
        );
        one!("gated convolution", GatedConvolutionConfig::new(d_input));
        let layers = [
            LstmConfig::new(d_input, d_hidden).init(&device),
            LstmConfig::new(d_input, d_input).init(&device),
        ];
        let config = BlocksConfig::new(d_input, d_input);
        $check(
            "blocks of lstms",
            common::randomized(config.init(layers.into(), &device), &mut rng, dtype),
        );
        let layers = (0..2).map(|_| AttentionConfig::new(4, 2, 2).init(&device));
        let config = BlocksConfig::new(d_input, 4)
            .with_d_mlp(Some(d_hidden))
            .with_norm(NormKind::Rms);
        $check(
            "blocks of attention, with perceptrons",
            common::randomized(config.init(layers.collect(), &device), &mut rng, dtype),
        );
        macro_rules! sab {
            ($name:literal, $config:expr, $cell:expr) => {
                let cell = $cell.init(&device);
                $check(
                    $name,
                    common::randomized($config.init(cell, &device), &mut rng, dtype),
                )
            };
        }
        let sab = SabConfig::new()
            .with_top_k(Some(2))
            .with_truncation_length(None);
        let lstm = LstmConfig::new(d_input, d_hidden);
        sab!("sab", sab.clone(), lstm);
        sab!(
            "sab, added",
            sab.clone().with_combination(Combination::Add),
            lstm
        );
        sab!(
            "sab over gru, threshold, every second state, width of its own",
            sab.clone()
                .with_sparsifier(Sparsifier::Threshold)
                .with_attention_interval(2)
                .with_d_attention(Some(3)),
            GruConfig::new(d_input, d_hidden)
        );
        sab!(
            "sab over slstm",
            sab.clone(),
            SLstmConfig::new(d_input, d_hidden)
        );
        sab!(
            "sab over rnn, all memories by scaled dot product, output only",
            sab.clone()
                .with_top_k(None)
                .with_score(Score::ScaledDot)
                .with_combination(Combination::OutputOnly),
            ElmanConfig::new(d_input, d_hidden).with_layer_norm(true)
        );
        sab!(
            "sab over fast weights, three memories kept",
            sab.clone().with_max_memories(Some(3)),
            FastWeightsConfig::new(d_input, d_hidden).with_fast_learning_rate(0.3)
        );
        sab!(
            "sab as released, hidden state only",
            sab.clone()
                .with_score(Score::Released)
                .with_sparsifier(Sparsifier::Released)
                .with_output(SabOutput::Hidden),
            lstm
        );
        sab!(
            "sab, truncated",
            sab.clone().with_truncation_length(Some(3)),
            lstm
        );
        sab!(
            "sab, truncated, without replay, attention of none",
            sab.with_truncation_length(Some(2))
                .with_top_k(Some(0))
                .with_replay(false),
            GruConfig::new(d_input, d_hidden)
        );
    }};
}
