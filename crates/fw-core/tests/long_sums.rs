//! Gradients of weights and biases are sums over all rows, those of all samples and steps: in single precision they must not lose
//! digits where there are many.

mod common;

use burn::module::Module;
use burn::nn::LinearConfig;
use burn::tensor::{DType, Device, Tensor};
use common::{FlatState, parameter_gradients, random, rng};
use fw_core::ops::project_linear;
use fw_core::{
    ElmanConfig, FastWeightsConfig, GruConfig, LstmConfig, NtmConfig, Recurrent, SabConfig,
};

/// As far as a sum may be off, as a share of the largest number of its gradient.
const TOLERANCE: f64 = 1e-5;

/// Numbers from 0.5 to 1.5: of one sign, so that sums grow.
fn positive(shape: [usize; 3], dtype: DType) -> Tensor<3> {
    let device = Device::flex().autodiff();
    // The same numbers in both types.
    let numbers = random(&mut rng(11), shape, &device, DType::F32);
    (numbers * 0.5 + 1.0).cast(dtype)
}

/// What outputs are multiplied with before they are summed.
#[derive(Clone, Copy, Debug)]
enum Slopes {
    /// Positive numbers.
    Random,
    /// The same number, which single precision does not hold exactly: as in a mean.
    Constant(f32),
}

/// Those of which row after row the worst comes about, and others.
const SLOPES: [Slopes; 4] = [
    Slopes::Random,
    Slopes::Constant(0.1),
    Slopes::Constant(1.0 / 3.0),
    Slopes::Constant(1.9953),
];

/// Gradients in both types.
#[track_caller]
fn assert_digits_are_kept<M: Module>(
    name: &str,
    slopes: Slopes,
    layer: impl Fn(DType) -> M,
    output: impl Fn(&M, DType) -> Tensor<3>,
) {
    let gradients = |dtype| {
        let layer = layer(dtype);
        let output = output(&layer, dtype);
        let of_output = match slopes {
            Slopes::Random => positive(output.dims(), dtype),
            Slopes::Constant(slope) => Tensor::full_like(&output.clone().inner(), slope)
                .cast(dtype)
                .autodiff(),
        };
        let gradients = (output * of_output).sum().backward();
        parameter_gradients(&layer, &gradients)
    };
    let (single, double) = (gradients(DType::F32), gradients(DType::F64));
    for (index, (single, double)) in single.iter().zip(&double).enumerate() {
        let what = format!("{name}, {slopes:?}, gradient {index}");
        common::assert_close(&what, single, double, TOLERANCE);
    }
}

/// The same parameters in either type, small enough that no state grows.
fn small<M: Module>(layer: M, dtype: DType) -> M {
    scaled(layer, 0.25, dtype)
}

/// Random parameters, times a factor.
fn scaled<M: Module>(layer: M, factor: f64, dtype: DType) -> M {
    struct Small(f64, DType);
    impl burn::module::ModuleMapper for Small {
        fn map_float<const D: usize>(
            &mut self,
            param: burn::module::Param<Tensor<D>>,
        ) -> burn::module::Param<Tensor<D>> {
            let value = (param.val() * self.0).cast(self.1).detach().require_grad();
            burn::module::Param::initialized(param.id, value)
        }
    }
    common::randomized(layer, &mut rng(13), DType::F32).map(&mut Small(factor, dtype))
}

/// A layer over as many rows as samples times steps, from its own first state.
fn check<L: FlatState>(name: &str, layer: impl Fn() -> L) {
    check_scaled(name, 0.25, layer);
}

fn check_scaled<L: FlatState>(name: &str, factor: f64, layer: impl Fn() -> L) {
    // One long sample, and many; a block is ended within a sequence and between two.
    for ([batch_size, seq_length], slopes) in [
        ([1, 10_000], Slopes::Constant(1.9953)),
        ([100, 100], Slopes::Random),
        ([1, 1_000_000], Slopes::Random),
        ([1_000, 1_000], Slopes::Constant(1.9953)),
    ] {
        let name = format!("{name}, {batch_size} x {seq_length}");
        assert_digits_are_kept(
            &name,
            slopes,
            |dtype| scaled(layer(), factor, dtype),
            |layer, dtype| {
                let input = positive([batch_size, seq_length, 1], dtype);
                layer.forward(input, None).0
            },
        );
    }
}

#[test]
fn of_a_linear_map() {
    let device = Device::flex().autodiff();
    // Tiles of one row and of four, of one vector and of several; blocks of the weight's rows.
    for widths in [[3, 5], [70, 1], [9, 70]] {
        let linear = || LinearConfig::new(widths[0], widths[1]).init(&device);
        for rows in [10_000, 1_000_000 / (widths[0] * widths[1] / 60 + 1)] {
            for slopes in SLOPES {
                assert_digits_are_kept(
                    &format!("{rows} rows of {widths:?}"),
                    slopes,
                    |dtype| small(linear(), dtype),
                    |linear, dtype| project_linear(linear, positive([1, rows, widths[0]], dtype)),
                );
            }
        }
    }
}

#[test]
fn of_fast_weights() {
    let device = Device::flex().autodiff();
    for inner_steps in [1, 3] {
        let config = FastWeightsConfig::new(1, 4).with_inner_steps(inner_steps);
        let config = config.with_fast_learning_rate(0.1);
        check("fast weights", || config.init(&device));
    }
    // Chunks of a hundred steps and more, which are in one block.
    let wide = FastWeightsConfig::new(1, 48).with_inner_steps(2);
    assert_digits_are_kept(
        "wide fast weights",
        Slopes::Constant(1.9953),
        |dtype| small(wide.init(&device), dtype),
        |layer, dtype| layer.forward(positive([40, 150, 1], dtype), None).0,
    );
}

#[test]
fn of_recurrent_cells() {
    let device = Device::flex().autodiff();
    check("lstm", || LstmConfig::new(1, 2).init(&device));
    check("gru", || GruConfig::new(1, 2).init(&device));
    check("rnn", || ElmanConfig::new(1, 2).init(&device));
}

#[test]
fn of_sparse_attentive_backtracking() {
    let device = Device::flex().autodiff();
    let config = SabConfig::new()
        .with_top_k(Some(2))
        .with_max_memories(Some(4));
    // With small parameters all memories are alike, and what they give to the query cancels.
    check_scaled("sab", 2.0, || {
        config.init(GruConfig::new(1, 2).init(&device), &device)
    });
}

#[test]
fn of_a_turing_machine() {
    let device = Device::flex().autodiff();
    let config = NtmConfig::new(1, 2).with_memory_size(3).with_word_size(2);
    check("ntm", || config.init(&device));
}
