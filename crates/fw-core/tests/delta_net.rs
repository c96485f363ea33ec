//! DeltaNet beside its equations written number by number, and what only it can do.

mod common;

use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::{DType, Device, Tensor, TensorData};
use common::configs::delta_net_configs;
use common::{assert_close, max_relative_error, random, randomized, rng, values};
use fw_core::{
    Bidirectional, DecayKind, DeltaNet, DeltaNetConfig, Eigenvalues, FeatureMap, GateProjection,
    KeyNorm, LearnedStart, OutputGate, Recurrent, ShortConvolution, WriteRule, WriteStrength,
};

const D_INPUT: usize = 5;
const DTYPE: DType = DType::F64;

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn silu(x: f64) -> f64 {
    x * sigmoid(x)
}

fn mapped(map: &Linear, x: &[f64]) -> Vec<f64> {
    let (weight, bias) = (values(map.weight.val()), map.bias.as_ref());
    let mut y = match bias {
        Some(bias) => values(bias.val()),
        None => vec![0.0; weight.len() / x.len()],
    };
    let width = y.len();
    for (i, x) in x.iter().enumerate() {
        for (j, y) in y.iter_mut().enumerate() {
            *y += x * weight[i * width + j];
        }
    }
    y
}

fn gate(projection: &GateProjection, x: &[f64]) -> Vec<f64> {
    match projection {
        GateProjection::Full(map) => mapped(map, x),
        GateProjection::LowRank(maps) => mapped(&maps[1], &mapped(&maps[0], x)),
    }
}

/// The newest of some steps, after the convolution.
fn convolved(convolution: Option<&ShortConvolution>, steps: &[Vec<f64>]) -> Vec<f64> {
    let newest = steps.last().expect("a step");
    let Some(convolution) = convolution else {
        return newest.clone();
    };
    let weight = values(convolution.weight.val());
    let size = weight.len() / newest.len();
    let of_channel = |channel: usize| {
        let back = steps.iter().rev().take(size).enumerate();
        back.map(|(back, step)| step[channel] * weight[channel * size + size - 1 - back])
            .sum()
    };
    (0..newest.len()).map(of_channel).collect()
}

fn normed(norm: KeyNorm, x: &[f64]) -> Vec<f64> {
    let divisor = match norm {
        KeyNorm::L2 => (x.iter().map(|x| x * x).sum::<f64>() + 1e-6).sqrt(),
        KeyNorm::Sum => x.iter().map(|x| x.abs()).sum::<f64>().max(1e-6),
        KeyNorm::None => 1.0,
    };
    x.iter().map(|x| x / divisor).collect()
}

/// The outputs of all steps of one sample, and the last memory, `[n_heads, d_key, d_value]`.
fn reference(layer: &DeltaNet, config: &DeltaNetConfig, input: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (n_heads, d_key) = (config.n_heads, config.d_key);
    let d_value = config.d_value.unwrap_or(d_key);
    let parameter = |parameter: &Option<Param<Tensor<1>>>| {
        let parameter = parameter.as_ref();
        values(parameter.expect("there is a decay").val())
    };
    let feature = |x: &f64| match config.feature_map {
        FeatureMap::Silu => silu(*x),
        FeatureMap::Relu => x.max(0.0),
        FeatureMap::Elu if *x < 0.0 => x.exp(),
        FeatureMap::Elu => x + 1.0,
        FeatureMap::Identity => *x,
    };
    let largest = match config.eigenvalues {
        Eigenvalues::Positive => 1.0,
        Eigenvalues::Signed => 2.0,
    };
    let mut memories = vec![vec![vec![0.0; d_value]; d_key]; n_heads];
    let (mut queries, mut keys, mut values_) = (Vec::new(), Vec::new(), Vec::new());
    let mut outputs = Vec::new();
    for x in input.chunks(D_INPUT) {
        queries.push(mapped(&layer.q_proj, x));
        keys.push(mapped(&layer.k_proj, x));
        values_.push(mapped(&layer.v_proj, x));
        let query = convolved(layer.q_conv1d.as_ref(), &queries);
        let key = convolved(layer.k_conv1d.as_ref(), &keys);
        let value = convolved(layer.v_conv1d.as_ref(), &values_);
        let query: Vec<f64> = query.iter().map(feature).collect();
        let key: Vec<f64> = key.iter().map(feature).collect();
        let value: Vec<f64> = value.iter().copied().map(silu).collect();
        let strength = match &layer.b_proj {
            Some(map) => mapped(map, x).into_iter().map(sigmoid).collect(),
            None => vec![1.0; n_heads * config.writes_per_step],
        };
        // Of each head and channel.
        let steps: Vec<f64> = match config.decay {
            DecayKind::None => vec![0.0; n_heads * d_key],
            DecayKind::Head => {
                let (a, bias) = (
                    mapped(layer.a_proj.as_ref().expect("a map"), x),
                    parameter(&layer.dt_bias),
                );
                (0..n_heads * d_key)
                    .map(|i| a[i / d_key] + bias[i / d_key])
                    .collect()
            }
            DecayKind::Channel => {
                let (a, bias) = (
                    gate(layer.f_proj.as_ref().expect("a map"), x),
                    parameter(&layer.dt_bias),
                );
                a.iter().zip(bias).map(|(a, bias)| a + bias).collect()
            }
        };
        let mut heads = Vec::new();
        for (h, memory) in memories.iter_mut().enumerate() {
            if config.decay != DecayKind::None {
                let rate = parameter(&layer.a_log)[h].exp();
                for (channel, row) in memory.iter_mut().enumerate() {
                    let step = steps[h * d_key + channel].exp().ln_1p();
                    row.iter_mut().for_each(|s| *s *= (-rate * step).exp());
                }
            }
            for write in 0..config.writes_per_step {
                let at = write * n_heads + h;
                let k = normed(config.key_norm, &key[at * d_key..(at + 1) * d_key]);
                let v = &value[at * d_value..(at + 1) * d_value];
                let held: Vec<f64> = (0..d_value)
                    .map(|j| (0..d_key).map(|i| memory[i][j] * k[i]).sum())
                    .collect();
                for i in 0..d_key {
                    for j in 0..d_value {
                        let error = match config.rule {
                            WriteRule::Delta => v[j] - held[j],
                            WriteRule::Sum => v[j],
                        };
                        memory[i][j] += largest * strength[at] * k[i] * error;
                    }
                }
            }
            let q = normed(config.key_norm, &query[h * d_key..(h + 1) * d_key]);
            let mut read: Vec<f64> = (0..d_value)
                .map(|j| (0..d_key).map(|i| memory[i][j] * q[i]).sum::<f64>())
                .map(|read| read / (d_key as f64).sqrt())
                .collect();
            if let Some(norm) = &layer.o_norm {
                let weight = values(norm.weight.val());
                let mean = read.iter().map(|x| x * x).sum::<f64>() / d_value as f64;
                for (read, weight) in read.iter_mut().zip(weight) {
                    *read *= weight / (mean + config.epsilon).sqrt();
                }
            }
            heads.extend(read);
        }
        if let Some(projection) = &layer.g_proj {
            for (head, x) in heads.iter_mut().zip(gate(projection, x)) {
                *head *= match config.output_gate {
                    OutputGate::None => 1.0,
                    OutputGate::Silu => silu(x),
                    OutputGate::Sigmoid => sigmoid(x),
                };
            }
        }
        outputs.extend(mapped(&layer.o_proj, &heads));
    }
    (outputs, memories.into_iter().flatten().flatten().collect())
}

#[test]
fn every_delta_net_is_its_equations_written_number_by_number() {
    let device = Device::flex();
    for (index, config) in delta_net_configs(D_INPUT).into_iter().enumerate() {
        let layer = randomized(config.init(&device), &mut rng(index as u64), DTYPE);
        let input = random(&mut rng(40), [2, 11, D_INPUT], &device, DTYPE);
        let (output, state) = layer.forward(input.clone(), None);
        for sample in 0..2 {
            let of_sample = |tensor: Tensor<3>| values(tensor.narrow(0, sample, 1));
            let (expected, memory) = reference(&layer, &config, &of_sample(input.clone()));
            let what = format!("{config:?}, sample {sample}");
            assert_close(&what, &of_sample(output.clone()), &expected, 1e-9);
            let last = values(state.memory.clone().narrow(0, sample, 1));
            assert_close(&what, &last, &memory, 1e-9);
        }
    }
}

/// A reference is tested too: with one head of one number and no convolution, by hand.
#[test]
fn the_reference_is_right_where_it_can_be_computed_by_hand() {
    let device = Device::flex();
    let config = DeltaNetConfig::new(D_INPUT, 1, 1)
        .with_convolution(None)
        .with_output_norm(false)
        .with_initializer(Some(burn::nn::Initializer::Ones));
    let layer = config.init(&device);
    // All maps add the five inputs up: 1, then 2.
    let input: Vec<f64> = [0.2, 0.4].iter().flat_map(|x| [*x; D_INPUT]).collect();
    let (outputs, memory) = reference(&layer, &config, &input);
    // β SiLU(1), and from there a share β of the way to SiLU(2); a key is 1 but for what keeps its division finite.
    let first = 0.731_058_579 * 0.731_058_579;
    let second = first + 0.880_797_078 * (2.0 * 0.880_797_078 - first);
    assert_close(
        "outputs",
        &outputs,
        &[[first; D_INPUT], [second; D_INPUT]].concat(),
        1e-5,
    );
    assert_close("memory", &memory, &[second], 1e-5);
}

#[test]
fn the_configurations_with_a_name_are_those_of_the_papers() {
    let of = |config: &DeltaNetConfig| {
        (
            (config.decay, config.output_gate, config.gate_rank),
            (config.d_value, config.writes_per_step, config.eigenvalues),
        )
    };
    let (plain, gated) = (DeltaNetConfig::new(8, 2, 4), DeltaNetConfig::gated(8, 2, 4));
    let (kimi, product) = (
        DeltaNetConfig::kimi(8, 2, 4),
        DeltaNetConfig::product(8, 2, 4),
    );
    let positive = Eigenvalues::Positive;
    assert_eq!(
        of(&plain),
        (
            (DecayKind::None, OutputGate::None, None),
            (None, 1, positive)
        )
    );
    let of_gated = (DecayKind::Head, OutputGate::Silu, None);
    assert_eq!(of(&gated), (of_gated, (Some(8), 1, positive)));
    let of_kimi = (DecayKind::Channel, OutputGate::Sigmoid, Some(4));
    assert_eq!(of(&kimi), (of_kimi, (None, 1, positive)));
    let signed = (Some(8), 2, Eigenvalues::Signed);
    assert_eq!(of(&product), (of_gated, signed));
    for config in [plain, gated, kimi, product] {
        assert_eq!(config.convolution, Some(4));
        assert_eq!(
            (config.feature_map, config.key_norm),
            (FeatureMap::Silu, KeyNorm::L2)
        );
        assert_eq!(config.write_strength, WriteStrength::Learned);
        assert!(config.output_norm && config.rule == WriteRule::Delta);
        let text = serde_json::to_string(&config).expect("plain data");
        let read: DeltaNetConfig = serde_json::from_str(&text).expect("the same");
        assert_eq!(format!("{read:?}"), format!("{config:?}"));
    }
}

#[test]
fn parameters_have_the_names_the_order_and_the_start_values_of_the_peers() {
    use burn::module::{Module, ModuleVisitor};
    #[derive(Default)]
    struct Names(Vec<String>, Vec<String>);
    impl ModuleVisitor for Names {
        fn enter_module(&mut self, name: &str, container_type: &str) {
            if !container_type.starts_with("Enum") {
                self.0.push(name.to_owned());
            }
        }
        fn exit_module(&mut self, _name: &str, container_type: &str) {
            if !container_type.starts_with("Enum") {
                self.0.pop();
            }
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1.push(format!(
                "{} {:?}",
                self.0.join("."),
                param.lazy_shape().dims::<D>()
            ));
        }
    }
    let device = Device::flex();
    let mut names = Names::default();
    DeltaNetConfig::kimi(3, 2, 4)
        .init(&device)
        .visit(&mut names);
    let expected = [
        "q_proj.weight [3, 8]",
        "k_proj.weight [3, 8]",
        "v_proj.weight [3, 8]",
        "b_proj.weight [3, 2]",
        "f_proj.0.weight [3, 4]",
        "f_proj.1.weight [4, 8]",
        "a_log [2]",
        "dt_bias [8]",
        "q_conv1d.weight [8, 1, 4]",
        "k_conv1d.weight [8, 1, 4]",
        "v_conv1d.weight [8, 1, 4]",
        "g_proj.0.weight [3, 4]",
        "g_proj.1.weight [4, 8]",
        "g_proj.1.bias [8]",
        "o_norm.weight [4]",
        "o_proj.weight [8, 3]",
    ];
    assert_eq!(names.1, expected);

    let within = |numbers: Vec<f64>, low: f64, high: f64| {
        let margin = 1e-5 * (high - low);
        let range = low - margin..=high + margin;
        assert!(
            numbers.iter().all(|number| range.contains(number)),
            "{numbers:?}"
        );
        let least = numbers.iter().copied().fold(f64::INFINITY, f64::min);
        let most = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // They are drawn from all of it.
        assert!(most - least > 0.8 * (high - low), "{least} to {most}");
    };
    for (config, least_rate) in [
        (DeltaNetConfig::gated(64, 100, 1), 0.0),
        (DeltaNetConfig::kimi(64, 100, 1), 1.0),
    ] {
        let layer = config.init(&device);
        let rates = layer.a_log.as_ref().expect("a decay").val().exp();
        within(values(rates), least_rate, 16.0);
        let bias = values(layer.dt_bias.as_ref().expect("a decay").val());
        let logs = bias.iter().map(|bias| bias.exp().ln_1p().ln()).collect();
        within(logs, 0.001_f64.ln(), 0.1_f64.ln());
        within(values(layer.q_proj.weight.val()), -0.125, 0.125);
        let convolution = layer.v_conv1d.as_ref().expect("a convolution");
        within(values(convolution.weight.val()), -0.5, 0.5);
        assert_eq!(values(layer.o_norm.expect("a norm").weight.val())[0], 1.0);
    }
}

#[test]
fn the_same_seed_gives_the_same_numbers() {
    let device = Device::flex();
    let run = |seed| {
        device.seed(seed);
        let layer = DeltaNetConfig::kimi(D_INPUT, 2, 3).init(&device);
        let input = random(&mut rng(1), [1, 4, D_INPUT], &device, DType::F32);
        values(layer.forward(input, None).0)
    };
    let first = run(3);
    assert_eq!(run(3), first);
    assert_ne!(run(4), first);
}

/// A decay of nothing at all and one that leaves nothing, in single precision with gradients.
#[test]
fn what_fades_wholly_and_what_does_not_fade_give_no_nan() {
    let device = Device::flex().autodiff();
    let set = |parameter: &mut Option<Param<Tensor<1>>>, value: f64| {
        let old = parameter.take().expect("a decay");
        *parameter = Some(old.map(|old| old.full_like(value).detach().require_grad()));
    };
    for config in [
        DeltaNetConfig::gated(D_INPUT, 2, 3),
        DeltaNetConfig::kimi(D_INPUT, 2, 3),
    ] {
        let config = config.with_convolution(None);
        let layer = randomized(config.init(&device), &mut rng(2), DType::F32);
        let input = random(&mut rng(3), [2, 40, D_INPUT], &device, DType::F32).require_grad();
        let run = |a_log: f64, dt_bias: f64| {
            let mut layer = layer.clone();
            set(&mut layer.a_log, a_log);
            set(&mut layer.dt_bias, dt_bias);
            let (output, _) = layer.forward(input.clone(), None);
            let gradients = output.clone().sum().backward();
            let mut all = vec![values(input.grad(&gradients).expect("a gradient"))];
            all.extend(common::parameter_gradients(&layer, &gradients));
            all.push(values(output));
            let is_finite = all.iter().flatten().all(|number| number.is_finite());
            assert!(is_finite, "{config:?}, {a_log}, {dt_bias}");
            let traced = layer.forward_traced(input.clone(), None);
            (all.pop().expect("the output"), values(traced.decay))
        };
        // Logarithms of about -1e4.
        let (faded, decays) = run(1e4_f64.ln(), 1.0);
        assert!(decays.iter().all(|decay| *decay == 0.0));
        let (held, decays) = run(0.0, -200.0);
        assert!(decays.iter().all(|decay| *decay == 1.0));
        assert!(max_relative_error(&faded, &held) > 0.01);
        // Where nothing is kept, a step is what it is alone.
        for step in 0..40 {
            let (alone, _) = layer.forward(input.clone().narrow(1, step, 1), None);
            let own = faded[step * D_INPUT..(step + 1) * D_INPUT].to_vec();
            assert_close("a step", &own, &values(alone)[..D_INPUT], 1e-4);
        }
    }
}

#[test]
fn half_precision_comes_out_as_it_goes_in() {
    let device = Device::flex();
    for (dtype, tolerance) in [(DType::F16, 0.01), (DType::BF16, 0.1)] {
        for config in [
            DeltaNetConfig::new(D_INPUT, 2, 3),
            DeltaNetConfig::kimi(D_INPUT, 2, 3),
            DeltaNetConfig::product(D_INPUT, 2, 3),
        ] {
            let run = |dtype| {
                let layer = randomized(config.init(&device), &mut rng(5), dtype);
                let input = random(&mut rng(7), [3, 9, D_INPUT], &device, dtype);
                let (first, state) = layer.forward(input.clone().narrow(1, 0, 5), None);
                let (second, state) = layer.forward(input.narrow(1, 5, 4), Some(state));
                let output = Tensor::cat(vec![first, second], 1);
                assert_eq!((output.dtype(), state.memory.dtype()), (dtype, dtype));
                values(output)
            };
            assert_close(
                &format!("{dtype:?}, {config:?}"),
                &run(dtype),
                &run(DTYPE),
                tolerance,
            );
        }
    }
}

#[test]
fn a_trace_has_the_numbers_of_forward_and_is_whole_for_a_whole_write() {
    let device = Device::flex();
    for config in delta_net_configs(D_INPUT) {
        let layer = randomized(config.init(&device), &mut rng(8), DTYPE);
        let input = random(&mut rng(9), [2, 7, D_INPUT], &device, DTYPE);
        let (_, state) = layer.forward(input.clone(), None);
        let (expected, last) = layer.forward(input.clone(), Some(state.clone()));
        let trace = layer.forward_traced(input, Some(state));
        assert_close("output", &values(trace.output), &values(expected), 1e-10);
        assert_close(
            "state",
            &values(trace.state.memory),
            &values(last.memory),
            1e-10,
        );
        let (heads, writes) = (config.n_heads, 7 * config.writes_per_step);
        assert_eq!(trace.recall.dims(), [2, heads, 7, writes]);
        assert_eq!(trace.write_strength.dims(), [2, writes, heads]);
        assert_eq!(trace.decay.dims(), [2, 7, heads]);
        for (index, recall) in values(trace.recall).into_iter().enumerate() {
            let (step, write) = (index / writes % 7, index % writes);
            assert!(recall.abs() <= 1.0 + 1e-12);
            let is_later = write / config.writes_per_step > step;
            assert!(!is_later || recall == 0.0, "step {step}, write {write}");
        }
        let largest = if config.eigenvalues == Eigenvalues::Signed {
            2.0
        } else {
            1.0
        };
        assert!(
            values(trace.write_strength)
                .iter()
                .all(|beta| (0.0..=largest).contains(beta))
        );
        let fades = config.decay != DecayKind::None;
        let is_right = |decay: &f64| {
            if fades {
                (0.0..1.0).contains(decay)
            } else {
                *decay == 1.0
            }
        };
        assert!(values(trace.decay).iter().all(is_right));
    }
    // A whole write of a key of length 1 is what its key yields, whatever was there before.
    let config = DeltaNetConfig::new(D_INPUT, 2, 3)
        .with_feature_map(FeatureMap::Identity)
        .with_write_strength(WriteStrength::One);
    let layer = randomized(config.init(&device), &mut rng(10), DTYPE);
    let input = random(&mut rng(11), [2, 7, D_INPUT], &device, DTYPE);
    let recall = values(layer.forward_traced(input, None).recall);
    for of_head in recall.chunks(49) {
        for step in 0..7 {
            assert!((of_head[step * 8] - 1.0).abs() < 1e-4, "{of_head:?}");
        }
    }
}

/// Keys that have nothing in common do not disturb each other; what is written again under a key replaces what was there.
#[test]
fn a_delta_net_recalls_what_it_stored_under_a_key() {
    let device = Device::flex();
    let config = DeltaNetConfig::new(3, 1, 2)
        .with_convolution(None)
        .with_feature_map(FeatureMap::Identity)
        .with_write_strength(WriteStrength::One)
        .with_d_value(Some(1));
    let mut layer = randomized(config.init(&device), &mut rng(1), DTYPE);
    let matrix =
        |numbers: TensorData| Param::from_tensor(Tensor::<2>::from_data(numbers, (&device, DTYPE)));
    // The first two inputs are the key; the third is the value.
    let of_key = [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]];
    layer.k_proj.weight = matrix(TensorData::from(of_key));
    layer.v_proj.weight = matrix(TensorData::from([[0.0], [0.0], [1.0]]));
    let steps = [[[1.0, 0.0, 3.0], [0.0, 1.0, -2.0], [1.0, 0.0, 5.0]]];
    let input = Tensor::from_data(TensorData::from(steps), (&device, DTYPE));
    let trace = layer.forward_traced(input, None);
    let memory = values(trace.state.memory);
    assert_close("memory", &memory, &[silu(5.0), silu(-2.0)], 1e-5);
    let recall = values(trace.recall);
    assert_close(
        "recall",
        &recall,
        &[1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0],
        1e-5,
    );
}

/// So wide that the maps of one row are not joined.
#[test]
fn steps_of_a_wide_layer_are_one_sequence() {
    let device = Device::flex();
    for config in [
        DeltaNetConfig::new(64, 4, 32),
        DeltaNetConfig::kimi(64, 4, 32),
    ] {
        let layer = randomized(config.init(&device), &mut rng(13), DTYPE);
        let input = random(&mut rng(14), [2, 20, 64], &device, DTYPE);
        let (expected, last) = layer.forward(input.clone(), None);
        let mut state = layer.initial_state(2, &device);
        let mut outputs = Vec::new();
        for input_t in input.iter_dim(1) {
            let (output, next) = layer.step(input_t.squeeze_dim(1), state);
            outputs.push(output);
            state = next;
        }
        let outputs = values(Tensor::stack::<3>(outputs, 1));
        assert_close("outputs", &outputs, &values(expected), 1e-10);
        assert_close("memory", &values(state.memory), &values(last.memory), 1e-10);
    }
}

#[test]
fn it_goes_both_ways_and_learns_where_it_begins() {
    let device = Device::flex().autodiff();
    let layer = |seed| {
        let layer = DeltaNetConfig::gated(D_INPUT, 2, 3).init(&device);
        randomized(layer, &mut rng(seed), DTYPE)
    };
    let input = random(&mut rng(12), [2, 6, D_INPUT], &device, DTYPE);
    let both = Bidirectional::new(layer(1), layer(2));
    let (output, _) = both.forward(input.clone(), None);
    let (back, _) = layer(2).forward(input.clone().flip([1]), None);
    let own = output.narrow(2, D_INPUT, D_INPUT);
    assert_close("backwards", &values(own), &values(back.flip([1])), 1e-10);

    let learned = LearnedStart::new(layer(3), &device);
    let (output, _) = learned.forward(input.clone(), None);
    let (expected, _) = layer(3).forward(input, None);
    assert_close("start", &values(output.clone()), &values(expected), 1e-12);
    let gradients = output.sum().backward();
    assert_eq!(learned.start.len(), 2);
    for start in &learned.start {
        let gradient = values(start.val().grad(&gradients).expect("a gradient"));
        let reached = gradient.iter().filter(|slope| **slope != 0.0).count();
        assert_eq!(reached, gradient.len());
    }
}

#[test]
#[should_panic(expected = "the projected input is 4 wide; it must be 41")]
fn a_projected_input_of_another_width_is_refused() {
    let device = Device::flex();
    let layer = DeltaNetConfig::new(3, 1, 13)
        .with_d_value(Some(14))
        .init(&device);
    let _ = layer.forward_projected(Tensor::zeros([1, 2, 4], &device), None);
}
