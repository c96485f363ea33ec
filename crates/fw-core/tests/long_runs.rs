//! Steps one at a time, for long: they are the steps of one long sequence, and nothing grows.

mod common;

use burn::tensor::{DType, Device, Tensor, TensorData};
use common::{assert_close, random, rng, values};
use fw_core::{
    DeltaNetConfig, FastWeightsConfig, GruConfig, LstmConfig, MemoryForm, NtmConfig, Recurrent,
    RecurrentState, SabConfig, Stack, StateMapper,
};

const D_INPUT: usize = 3;
const D_HIDDEN: usize = 8;
/// Steps that are compared with one sequence, and a part of which is looked at.
const N_STEPS: usize = 10_000;
const N_LAST: usize = 20;

/// Calls `check(name, layer)` with each layer that has a step of its own, its kinds of memory, and layers upon each other.
macro_rules! for_each_step {
    ($device:expr, $check:ident) => {{
        let device = $device;
        device.seed(5);
        let lstm = || LstmConfig::new(D_INPUT, D_HIDDEN).init(&device);
        let fast_weights = || FastWeightsConfig::new(D_INPUT, D_HIDDEN);
        let sab = || {
            SabConfig::new()
                .with_top_k(Some(3))
                .with_max_memories(Some(20))
        };
        $check("lstm", lstm());
        $check("gru", GruConfig::new(D_INPUT, D_HIDDEN).init(&device));
        $check("fast weights", fast_weights().init(&device));
        $check(
            "fast weights, matrix",
            fast_weights().with_form(MemoryForm::Matrix).init(&device),
        );
        for (name, config) in [
            ("delta net", DeltaNetConfig::new(D_INPUT, 2, D_HIDDEN)),
            (
                "delta net, gated",
                DeltaNetConfig::gated(D_INPUT, 2, D_HIDDEN),
            ),
            (
                "delta net, kimi",
                DeltaNetConfig::kimi(D_INPUT, 2, D_HIDDEN),
            ),
            (
                "delta net, product",
                DeltaNetConfig::product(D_INPUT, 2, D_HIDDEN),
            ),
        ] {
            $check(name, config.init(&device));
        }
        let ntm = NtmConfig::new(D_INPUT, D_HIDDEN)
            .with_memory_size(16)
            .with_word_size(5);
        $check("ntm", ntm.init(&device));
        $check("sab", sab().init(lstm(), &device));
        $check(
            "sab, every third",
            sab().with_attention_interval(3).init(lstm(), &device),
        );
        let above = sab().init(LstmConfig::new(D_HIDDEN, D_HIDDEN).init(&device), &device);
        $check("sab over an lstm", (lstm(), above));
        let above = LstmConfig::new(D_HIDDEN, D_HIDDEN).init(&device);
        $check("stack", Stack::new(vec![lstm(), above]));
    }};
}

/// How many numbers a state holds.
struct Size(usize);

impl StateMapper for Size {
    fn map<const D: usize>(&mut self, tensor: Tensor<D>) -> Tensor<D> {
        self.0 += tensor.shape().num_elements();
        tensor
    }
}

fn size<S: RecurrentState>(state: &S) -> usize {
    let mut size = Size(0);
    state.clone().map_tensors(&mut size);
    size.0
}

#[test]
fn ten_thousand_steps_are_one_long_sequence() {
    fn check<L: Recurrent>(name: &str, layer: L) {
        let device = Device::flex();
        let input = random(&mut rng(3), [2, N_STEPS, D_INPUT], &device, DType::F32);
        let (expected, _) = layer.forward(input.clone(), None);
        let expected = values(expected.narrow(1, N_STEPS - N_LAST, N_LAST));
        let mut state = layer.initial_state(2, &device);
        let mut last = Vec::new();
        for step in 0..N_STEPS {
            let input_t: Tensor<2> = input.clone().narrow(1, step, 1).squeeze_dim(1);
            let (output, next) = layer.step(input_t, state);
            state = next;
            if step >= N_STEPS - N_LAST {
                last.push(output);
            }
        }
        assert_close(name, &values(Tensor::stack::<3>(last, 1)), &expected, 1e-5);
    }
    for_each_step!(Device::flex(), check);
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line
        .and_then(|line| line.split_whitespace().next())
        .expect("it is there");
    kib.parse::<usize>().expect("a number") * 1024
}

/// Two minutes: `cargo test --release -p fw-core --test long_runs -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn a_million_steps_keep_their_size_and_their_numbers() {
    fn check<L: Recurrent>(name: &str, layer: L) {
        let device = Device::flex();
        // A hundred inputs, over and over.
        let inputs: Vec<Tensor<2>> = (0..100)
            .map(|step| {
                let numbers: Vec<f32> = (0..D_INPUT)
                    .map(|unit| ((step * D_INPUT + unit) as f32).sin())
                    .collect();
                Tensor::from_data(TensorData::new(numbers, [1, D_INPUT]), &device)
            })
            .collect();
        let mut state = layer.initial_state(1, &device);
        let mut after_some = (0, 0);
        let mut output = None;
        for step in 0..1_000_000 {
            let (output_t, next) = layer.step(inputs[step % inputs.len()].clone(), state);
            (output, state) = (Some(output_t), next);
            if step == 10_000 {
                after_some = (size(&state), resident());
            }
        }
        let output = values(output.expect("there are steps"));
        assert!(
            output.iter().all(|number| number.is_finite()),
            "{name}: {output:?}"
        );
        assert_eq!(size(&state), after_some.0, "{name}");
        let grown = resident().saturating_sub(after_some.1);
        assert!(grown < 4 << 20, "{name}: {grown} bytes more");
    }
    for_each_step!(Device::flex(), check);
}
