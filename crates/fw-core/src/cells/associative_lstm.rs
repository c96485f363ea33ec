//! The Associative LSTM: LSTM gates over a holographic memory with redundant copies.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{DType, Device, Int, Tensor, TensorData, activation::sigmoid};

use crate::display::displayed;
use crate::error::{expect_valid, require, require_finite, require_size};
use crate::initializer::uniform;
use crate::ops::holographic::{bound, complex_product, copy_permutations, permuted_copies};
use crate::ops::project_linear;
use crate::ops::shapes::fits;
use crate::recurrent::expect_state;
use crate::{ConfigError, Recurrent, StateError};

/// Configuration of [`AssociativeLstm`].
#[derive(Config, Debug)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AssociativeLstmConfig {
    /// Width of the input, at least 1.
    pub d_input: usize,
    /// Width of the hidden state, even and at least 2: `d_hidden / 2` complex numbers.
    pub d_hidden: usize,
    /// Copies of the memory, at least 1. More copies read with less noise. Default 8.
    #[config(default = 8)]
    pub n_copies: usize,
    /// Start value of the forget gate's bias: any finite number. Default 1, as in [`crate::Lstm`].
    #[config(default = 1.0)]
    pub forget_bias: f64,
    /// Seed of the copies' fixed permutations, any number. Default 0.
    #[config(default = 0)]
    pub permutation_seed: u64,
}

/// The Associative LSTM: an LSTM whose cell is an associative memory of complex key-value pairs.
///
/// ```text
/// f, i, o    = σ(x_t C + h_{t-1} W + b)                gates, d_hidden / 2 each: one for both parts
/// r_i, r_o, u = bound(x_t C' + h_{t-1} W' + b')        input key, output key, value, d_hidden each
/// c_s,t = f c_s,t-1 + (P_s r_i) ⊛ (i u)                copy s of the memory, c_s,0 = 0
/// h_t   = o bound(mean_s (P_s r_o) ⊛ c_s,t)            h_0 = 0
/// ```
///
/// where `C`, `C'`, `b` and `b'` are [`input`](Self::input), `W` and `W'` are [`w_hidden`](Self::w_hidden),
/// `⊛` is the elementwise complex product, `bound(z) = z / max(1, |z|)` for each complex component, and
/// `P_s` are fixed random [permutations](crate::ops::holographic::copy_permutations).
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - output: `[batch_size, seq_length, d_hidden]`, every `h_t`: real parts first, imaginary parts after
///
/// # Differences from the paper
///
/// Start values are this crate's: weights uniform in ±1/√d_hidden, the forget gate's bias 1. The output key is not
/// conjugated, as in the paper: it is learned apart from the input key.
///
/// # Long sums
///
/// It is composed of tensor operations: in single precision on flex the gradients of its recurrent weight are sums of Burn's (0.22.1), row after
/// row, off by up to 1e-2 over a million rows. See the [crate's page](crate).
///
/// # Source
///
/// I. Danihelka, G. Wayne, B. Uria, N. Kalchbrenner, A. Graves, "Associative Long Short-Term Memory",
/// ICML 2016, section 4.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{AssociativeLstmConfig, Recurrent};
///
/// let layer = AssociativeLstmConfig::new(8, 16).init(&Device::flex());
/// let (output, state) = layer.forward(Tensor::ones([2, 5, 8], &Device::flex()), None);
/// assert_eq!(state.memory.dims(), [2, 8, 16]);
/// assert!(output.abs().max().into_scalar::<f32>() <= 1.0); // what bound and the gate allow
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct AssociativeLstm {
    /// `x C + b` and `x C' + b'`: blocks f, i, o of d_hidden / 2, then r_i, r_o, u of d_hidden.
    pub input: Linear,
    /// W and W', `[d_hidden, 4.5 d_hidden]`, in the same order.
    pub w_hidden: Param<Tensor<2>>,
    /// The copies' permutations, `[n_copies * d_hidden]`: fixed, and kept with the weights.
    pub permutations: Param<Tensor<1, Int>>,
}

/// State of an [`AssociativeLstm`].
#[derive(Clone, Debug)]
pub struct AssociativeLstmState {
    /// h, `[batch_size, d_hidden]`.
    pub hidden: Tensor<2>,
    /// c, `[batch_size, n_copies, d_hidden]`.
    pub memory: Tensor<3>,
}

impl AssociativeLstmConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// A size of 0, an odd `d_hidden`, or a forget bias that is not finite.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require_size("d_input", self.d_input)?;
        require_size("d_hidden", self.d_hidden)?;
        let even = self.d_hidden.is_multiple_of(2);
        require(even, "d_hidden", self.d_hidden, "be even")?;
        require_size("n_copies", self.n_copies)?;
        require_finite("forget_bias", self.forget_bias)
    }

    /// The layer, with fresh parameters on `device`: weights uniform in ±1/√d_hidden, biases 0 but the forget
    /// gate's.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) finds an error; [`try_init`](Self::try_init) returns it instead.
    #[track_caller]
    pub fn init(&self, device: &Device) -> AssociativeLstm {
        expect_valid(self.try_init(device))
    }

    /// The layer, with fresh parameters on `device`.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) finds.
    pub fn try_init(&self, device: &Device) -> Result<AssociativeLstm, ConfigError> {
        self.validate()?;
        let n_components = self.d_hidden / 2;
        let d_gates = 3 * n_components + 3 * self.d_hidden;
        let mut bias = alloc::vec![0.0; d_gates];
        bias[..n_components].fill(self.forget_bias);
        let mut input = LinearConfig::new(self.d_input, d_gates)
            .with_initializer(uniform(self.d_hidden))
            .init(device);
        input.bias = Some(Param::from_data(TensorData::new(bias, [d_gates]), device));
        let permutations = copy_permutations(n_components, self.n_copies, self.permutation_seed);
        Ok(AssociativeLstm {
            input,
            w_hidden: uniform(self.d_hidden).init([self.d_hidden, d_gates], device),
            permutations: Param::initialized(
                burn::module::ParamId::new(),
                Tensor::from_data(permutations, device),
            ),
        })
    }
}

impl AssociativeLstm {
    fn n_copies(&self) -> usize {
        self.permutations.lazy_shape()[0] / self.d_output()
    }
}

displayed!(AssociativeLstm: |layer|
    d_input = layer.d_input(),
    d_hidden = layer.d_output(),
    n_copies = layer.permutations.lazy_shape()[0] / layer.d_output());

impl Recurrent for AssociativeLstm {
    type State = AssociativeLstmState;

    fn d_input(&self) -> usize {
        self.input.weight.lazy_shape()[0]
    }

    fn d_output(&self) -> usize {
        self.w_hidden.lazy_shape()[0]
    }

    fn state_size(&self, _seq_length: usize) -> usize {
        (1 + self.n_copies()) * self.d_output()
    }

    fn initial_state(&self, batch_size: usize, device: &Device) -> AssociativeLstmState {
        let options = (device, self.w_hidden.val().dtype());
        let d_hidden = self.d_output();
        AssociativeLstmState {
            hidden: Tensor::zeros([batch_size, d_hidden], options),
            memory: Tensor::zeros([batch_size, self.n_copies(), d_hidden], options),
        }
    }

    fn check_state(
        &self,
        state: &AssociativeLstmState,
        batch_size: usize,
        dtype: DType,
    ) -> Result<(), StateError> {
        let d_hidden = self.d_output();
        let row = [batch_size, d_hidden];
        fits("the hidden state", &state.hidden, row, dtype)?;
        let copies = [batch_size, self.n_copies(), d_hidden];
        fits("the memory", &state.memory, copies, dtype)
    }

    fn project(&self, input: Tensor<3>) -> Tensor<3> {
        project_linear(&self.input, input)
    }

    fn advance(
        &self,
        projected_t: Tensor<2>,
        state: AssociativeLstmState,
    ) -> (Tensor<2>, AssociativeLstmState) {
        let d_hidden = self.d_output();
        expect_state(self, &state, &projected_t);
        let blocks = projected_t + state.hidden.matmul(self.w_hidden.val());
        let gate = |index: usize| {
            let width = d_hidden / 2;
            let gate = sigmoid(blocks.clone().narrow(1, index * width, width));
            Tensor::cat(alloc::vec![gate.clone(), gate], 1) // [B, H]
        };
        let vector = |index: usize| {
            let start = 3 * d_hidden / 2 + index * d_hidden;
            bound(blocks.clone().narrow(1, start, d_hidden))
        };
        let copies = |key| permuted_copies(key, self.permutations.val()); // [B, S, H]
        let (forget, input, output) = (gate(0), gate(1), gate(2));
        let (input_key, output_key, value) = (copies(vector(0)), copies(vector(1)), vector(2));

        let n_copies = self.n_copies();
        let value = (input * value)
            .unsqueeze_dim::<3>(1)
            .repeat_dim(1, n_copies);
        let memory =
            forget.unsqueeze_dim::<3>(1) * state.memory + complex_product(input_key, value);
        let read = complex_product(output_key, memory.clone())
            .mean_dim(1)
            .squeeze_dim(1);
        let hidden = output * bound(read);
        (hidden.clone(), AssociativeLstmState { hidden, memory })
    }
}

crate::recurrent_state!(AssociativeLstmState { hidden, memory });
