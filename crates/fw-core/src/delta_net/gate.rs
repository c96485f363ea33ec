//! What gates a memory and its outputs: projections, the decay, and the norm of the heads.

use alloc::vec;
use alloc::vec::Vec;

use burn::module::{Module, Param, ParamId};
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::activation::softplus;
use burn::tensor::{Device, Distribution, Shape, Tensor};

use crate::ops::norm::rms_norm;
use crate::ops::precision::widened;
use crate::ops::project_linear;

/// A linear map for a gate, whole or of a lower rank.
#[derive(Module, Debug)]
pub enum GateProjection {
    /// One map.
    Full(Linear),
    /// Two maps, one after the other.
    LowRank(Vec<Linear>),
}

impl GateProjection {
    pub(super) fn init(
        [d_input, d_output]: [usize; 2],
        rank: Option<usize>,
        bias: bool,
        initializer: Option<&Initializer>,
        device: &Device,
    ) -> Self {
        match rank {
            None => GateProjection::Full(linear([d_input, d_output], initializer, device)),
            Some(rank) => {
                let mut second = LinearConfig::new(rank, d_output).with_bias(bias);
                if let Some(initializer) = initializer {
                    second = second.with_initializer(initializer.clone());
                }
                let first = linear([d_input, rank], initializer, device);
                GateProjection::LowRank(vec![first, second.init(device)])
            }
        }
    }

    /// The map that reads the input.
    pub(super) fn first(&self) -> &Linear {
        match self {
            GateProjection::Full(map) => map,
            GateProjection::LowRank(maps) => &maps[0],
        }
    }

    /// What the other maps make of what the first one yields.
    pub(super) fn rest(&self, first: Tensor<3>) -> Tensor<3> {
        match self {
            GateProjection::Full(_) => first,
            GateProjection::LowRank(maps) => {
                let others = maps[1..].iter();
                others.fold(first, |signal, map| project_linear(map, signal))
            }
        }
    }
}

/// A linear map without a bias.
pub(crate) fn linear(
    [d_input, d_output]: [usize; 2],
    initializer: Option<&Initializer>,
    device: &Device,
) -> Linear {
    let mut config = LinearConfig::new(d_input, d_output).with_bias(false);
    if let Some(initializer) = initializer {
        config = config.with_initializer(initializer.clone());
    }
    config.init(device)
}

/// A parameter `[n]` that is made of uniform random numbers.
fn drawn(
    n: usize,
    [low, high]: [f64; 2],
    device: &Device,
    make: impl Fn(Tensor<1>) -> Tensor<1> + Send + Sync + 'static,
) -> Param<Tensor<1>> {
    Param::uninitialized(
        ParamId::new(),
        move |device, require_grad| {
            let uniform = Tensor::random([n], Distribution::Uniform(low, high), device);
            make(uniform).set_require_grad(require_grad)
        },
        device.clone(),
        true,
        Shape::from([n]),
    )
}

/// log A of each head, with A uniform from `least` to 16.
pub(super) fn init_rate(n_heads: usize, least: f64, device: &Device) -> Param<Tensor<1>> {
    // A rate of 0 has no logarithm.
    drawn(n_heads, [least, 16.0], device, |rate| {
        rate.clamp_min(1e-6).log()
    })
}

/// What softplus makes a number from 0.001 to 0.1 of, of which the logarithm is uniform.
pub(super) fn init_time_step(n: usize, device: &Device) -> Param<Tensor<1>> {
    let ten = core::f64::consts::LN_10;
    drawn(n, [-3.0 * ten, -ten], device, |log| {
        // log(exp(x) - 1) = log x + x / 2 + x² / 24, but for 4e-8 where x is 0.1.
        let step = log.clone().exp();
        log + step.clone() * 0.5 + step.clone() * step / 24.0
    })
}

/// `-exp(a_log) softplus(a + dt_bias)`, with a head's rate for each of its numbers.
///
/// # Shapes
/// - a: `[batch_size, seq_length, n_heads, n]`
/// - a_log: `[n_heads]`, dt_bias: `[n_heads n]`
pub(super) fn log_decay(a: Tensor<4>, a_log: Tensor<1>, dt_bias: Tensor<1>) -> Tensor<4> {
    let [_, _, n_heads, n] = a.dims();
    let step = a + widened(dt_bias).reshape([1, 1, n_heads, n]);
    let rate = widened(a_log).exp().neg().reshape([1, 1, n_heads, 1]);
    softplus(step, 1.0) * rate
}

/// Root mean square normalisation of each head's outputs, with a gain that the heads share.
///
/// ```text
/// y = w x / √(mean(x²) + ε)
/// ```
///
/// where `w` is [`weight`](Self::weight), 1 at the start.
#[derive(Module, Debug)]
pub struct HeadNorm {
    /// w, `[d_value]`.
    pub weight: Param<Tensor<1>>,
}

impl HeadNorm {
    pub(super) fn init(d_value: usize, device: &Device) -> Self {
        HeadNorm {
            weight: Initializer::Ones.init([d_value], device),
        }
    }

    /// Along the last dimension, in the type of what comes in.
    pub(super) fn apply(&self, heads: Tensor<4>, epsilon: f64) -> Tensor<4> {
        rms_norm(heads, self.weight.val(), epsilon)
    }
}
