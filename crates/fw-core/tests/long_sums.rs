//! Gradients of weights and biases are sums over all rows, those of all samples and steps: in single precision they must not lose
//! digits where there are many.

mod common;

use burn::module::Module;
use burn::nn::LinearConfig;
use burn::tensor::{DType, Device, Tensor};
use common::{FlatState, parameter_gradients, random, rng};
use fw_core::ops::project_linear;
use fw_core::{ElmanConfig, FastWeightsConfig, GruConfig, LstmConfig, NtmConfig, SabConfig};

/// As far as a sum may be off, as a share of the largest number of its gradient.
const TOLERANCE: f64 = 1e-5;

/// Numbers from 0.5 to 1.5: of one sign, so that sums grow.
fn positive(shape: [usize; 3], dtype: DType) -> Tensor<3> {
    let device = Device::flex().autodiff();
    // The same numbers in both types.
    let numbers = random(&mut rng(11), shape, &device, DType::F32);
    (numbers * 0.5 + 1.0).cast(dtype)
}

/// Gradients of the sum of all outputs in both types.
#[track_caller]
fn assert_digits_are_kept<M: Module>(
    name: &str,
    layer: impl Fn(DType) -> M,
    output: impl Fn(&M, DType) -> Tensor<3>,
) {
    let gradients = |dtype| {
        let layer = layer(dtype);
        let gradients = output(&layer, dtype).sum().backward();
        parameter_gradients(&layer, &gradients)
    };
    let (single, double) = (gradients(DType::F32), gradients(DType::F64));
    for (index, (single, double)) in single.iter().zip(&double).enumerate() {
        let what = format!("{name}, gradient {index}");
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
    for [batch_size, seq_length] in [[1, 10_000], [100, 100], [1, 1_000_000], [1_000, 1_000]] {
        let name = format!("{name}, {batch_size} x {seq_length}");
        assert_digits_are_kept(
            &name,
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
    for (rows, widths) in [(10_000, [3, 5]), (1_000_000, [3, 5]), (1_000_000, [70, 1])] {
        let linear = || LinearConfig::new(widths[0], widths[1]).init(&device);
        assert_digits_are_kept(
            &format!("{rows} rows"),
            |dtype| small(linear(), dtype),
            |linear, dtype| project_linear(linear, positive([1, rows, widths[0]], dtype)),
        );
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
