//! The recurrent delta net: a DeltaNet that sees its own last output.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::nn::{Initializer, Linear};
use burn::tensor::{DType, Device, Tensor};
#[cfg(not(feature = "std"))]
#[allow(
    unused_imports,
    reason = "shadowed by std's own methods where another crate brings std in"
)]
use num_traits::Float as _;

use crate::delta_net::linear;
use crate::display::displayed;
use crate::error::{expect_valid, require, require_size};
use crate::ops::matrix_memory::recurrent_delta;
use crate::ops::project_linear;
use crate::recurrent::{advance_by, forward_by};
use crate::{ConfigError, Recurrent, RecurrentDeltaState, StateError};

/// Configuration of [`RecurrentDeltaNet`].
#[derive(Config, Debug)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RecurrentDeltaNetConfig {
    /// Width of the input, at least 1.
    pub d_input: usize,
    /// H, the heads, each with a memory of its own, at least 1.
    pub n_heads: usize,
    /// D, the width of a query, a key and a value in each head, at least 1.
    pub d_key: usize,
    /// Width of the output, at least 1. Default `None`: `d_input`, so that layers can stand upon each other with what goes around them.
    pub d_output: Option<usize>,
}

/// The most of any size: products of sizes stay far from what a number can hold.
const MOST: usize = 1 << 20;

impl RecurrentDeltaNetConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// A size of 0 or above 2^20.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let sizes = [
            ("d_input", self.d_input),
            ("n_heads", self.n_heads),
            ("d_key", self.d_key),
            ("d_output", self.d_output.unwrap_or(self.d_input)),
        ];
        for (field, size) in sizes {
            require_size(field, size)?;
            require(size <= MOST, field, size, "be at most 1048576")?;
        }
        Ok(())
    }

    /// The layer, with fresh parameters on `device`.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) finds an error; [`try_init`](Self::try_init) returns it instead.
    #[track_caller]
    pub fn init(&self, device: &Device) -> RecurrentDeltaNet {
        expect_valid(self.try_init(device))
    }

    /// The layer, with fresh parameters on `device`.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) finds.
    pub fn try_init(&self, device: &Device) -> Result<RecurrentDeltaNet, ConfigError> {
        self.validate()?;
        let (n_heads, d_key) = (self.n_heads, self.d_key);
        let normal = Initializer::Normal {
            mean: 0.0,
            std: 1.0 / (d_key as f64).sqrt(),
        };
        let square = || normal.init([1, n_heads, d_key, d_key], device);
        let d_output = self.d_output.unwrap_or(self.d_input);
        Ok(RecurrentDeltaNet {
            slow_net: linear([self.d_input, n_heads * (3 * d_key + 1)], None, device),
            r_q: square(),
            r_k: square(),
            r_v: square(),
            r_b: normal.init([1, n_heads, 1, d_key], device),
            out_linear: linear([n_heads * d_key, d_output], None, device),
        })
    }
}

/// Heads with a matrix memory each, written by the delta rule, whose keys, values, queries and write strengths depend on the head's own last output as well:
/// what a linear memory cannot do, to follow a state that the input alone does not tell, this one can, step after step.
///
/// ```text
/// q, k, v, b = x_t W + tanh(o_{t-1}) R                      each head, from its own output
/// k = softmax(k)     q = softmax(q)     β = σ(b)
/// S <- S + β k (v - Sᵀ k)ᵀ
/// o_t = Sᵀ q
///
/// y_t = o_t W_o                                             all heads
/// ```
///
/// where
/// - `W` is [`slow_net`](Self::slow_net), to q, k, v and b of the first head, then of the next, and `W_o` is [`out_linear`](Self::out_linear): both without biases, uniform
///   in ±1/√(width of what is read) at the start;
/// - `R` is [`r_q`](Self::r_q), [`r_k`](Self::r_k), [`r_v`](Self::r_v) and [`r_b`](Self::r_b), normal with a standard deviation of 1/√D at the start;
/// - `S` is `[D, D]`, one for each sample and head, 0 at the start, as is o. The operation itself is
///   [`ops::matrix_memory::recurrent_delta`](crate::ops::matrix_memory::recurrent_delta()).
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - output: `[batch_size, seq_length, d_output]`
///
/// It is composed of tensor operations, step by step.
///
/// # Differences from the paper
///
/// It is the layer of the authors' code (`RecUpdateTanhFastFFlayer` of IDSIA/recurrent-fwp), with its names, without the norm before it, the dropout and the sum with its
/// input, which are a block's ([`Blocks`](crate::Blocks)).
///
/// # Source
///
/// K. Irie, I. Schlag, R. Csordás, J. Schmidhuber, "Going Beyond Linear Transformers with Recurrent Fast Weight Programmers", NeurIPS 2021, section 3.2.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{Recurrent, RecurrentDeltaNetConfig};
///
/// // Two heads of 16 numbers.
/// let layer = RecurrentDeltaNetConfig::new(8, 2, 16).init(&Device::flex());
/// let (output, state) = layer.forward(Tensor::zeros([4, 10, 8], &Device::flex()), None);
/// assert_eq!((output.dims(), state.memory.dims()), ([4, 10, 8], [4, 2, 16, 16]));
/// // From nothing comes nothing: zeros are written under every key.
/// assert_eq!(state.memory.abs().max().into_scalar::<f32>(), 0.0);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct RecurrentDeltaNet {
    /// W, to `n_heads (3 d_key + 1)`.
    pub slow_net: Linear,
    /// R of the queries, `[1, n_heads, d_key, d_key]`, from a head's output.
    pub r_q: Param<Tensor<4>>,
    /// R of the keys, in the same shape.
    pub r_k: Param<Tensor<4>>,
    /// R of the values, in the same shape.
    pub r_v: Param<Tensor<4>>,
    /// R of the write strength, `[1, n_heads, 1, d_key]`.
    pub r_b: Param<Tensor<4>>,
    /// W_o, from `n_heads d_key`.
    pub out_linear: Linear,
}

displayed!(RecurrentDeltaNet: |layer|
    d_input = layer.d_input(),
    d_output = layer.d_output(),
    n_heads = layer.sizes()[0],
    d_key = layer.sizes()[1]);

impl RecurrentDeltaNet {
    /// H and D.
    fn sizes(&self) -> [usize; 2] {
        let shape = self.r_q.lazy_shape();
        [shape[1], shape[2]]
    }

    /// R, `[n_heads, d_key, 3 d_key + 1]`.
    fn recurrent(&self) -> Tensor<3> {
        let [n_heads, d_key] = self.sizes();
        let strength = self.r_b.val().reshape([1, n_heads, d_key, 1]);
        let parts = [self.r_q.val(), self.r_k.val(), self.r_v.val(), strength];
        Tensor::cat(parts.into(), 3).squeeze_dim(0)
    }

    /// A sequence of samples, which must be there, from a state that fits.
    #[track_caller]
    fn run(
        &self,
        projected: Tensor<3>,
        state: RecurrentDeltaState,
    ) -> (Tensor<3>, RecurrentDeltaState) {
        let [batch_size, seq_length, _] = projected.dims();
        let [n_heads, d_key] = self.sizes();
        let given = projected.reshape([batch_size, seq_length, n_heads, 3 * d_key + 1]);
        let (read, state) = recurrent_delta(given, self.recurrent(), state);
        let heads = read.reshape([batch_size, seq_length, n_heads * d_key]);
        (project_linear(&self.out_linear, heads), state)
    }
}

impl Recurrent for RecurrentDeltaNet {
    type State = RecurrentDeltaState;

    fn d_input(&self) -> usize {
        self.slow_net.weight.lazy_shape()[0]
    }

    fn d_output(&self) -> usize {
        self.out_linear.weight.lazy_shape()[1]
    }

    fn state_size(&self, _seq_length: usize) -> usize {
        let [n_heads, d_key] = self.sizes();
        n_heads * d_key * (d_key + 1)
    }

    fn initial_state(&self, batch_size: usize, device: &Device) -> RecurrentDeltaState {
        let [n_heads, d_key] = self.sizes();
        let options = (device, self.out_linear.weight.val().dtype());
        RecurrentDeltaState::zeros([batch_size, n_heads, d_key], options)
    }

    fn check_state(
        &self,
        state: &RecurrentDeltaState,
        batch_size: usize,
        dtype: DType,
    ) -> Result<(), StateError> {
        let [n_heads, d_key] = self.sizes();
        state.check([batch_size, n_heads, d_key], dtype)
    }

    fn project(&self, input: Tensor<3>) -> Tensor<3> {
        project_linear(&self.slow_net, input)
    }

    fn advance(
        &self,
        projected_t: Tensor<2>,
        state: RecurrentDeltaState,
    ) -> (Tensor<2>, RecurrentDeltaState) {
        advance_by(self, projected_t, state, |projected, state| {
            self.run(projected, state)
        })
    }

    fn forward_projected(
        &self,
        projected: Tensor<3>,
        state: Option<RecurrentDeltaState>,
    ) -> (Tensor<3>, RecurrentDeltaState) {
        forward_by(self, projected, state, |projected, state| {
            self.run(projected, state)
        })
    }
}
