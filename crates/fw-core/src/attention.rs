//! Causal attention with a softmax, of several heads.

use alloc::vec;
use alloc::vec::Vec;

use burn::config::Config;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, DType, Device, Tensor, TensorData};
use num_traits::Float;

use crate::display::displayed;
use crate::error::{expect_fits, expect_valid, require, require_size};
use crate::ops::precision::{in_type, widened};
use crate::ops::shapes::fits;
use crate::ops::{cut, project_linear};
use crate::past::{cat_past, check_steps, most_steps, select_past};
use crate::recurrent::empty_output;
use crate::segments::forward_groups;
use crate::{ConfigError, Recurrent, RecurrentState, StateData, StateError, StateMapper};

/// Configuration of [`Attention`].
#[derive(Config, Debug)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AttentionConfig {
    /// Width of the input, at least 1.
    pub d_input: usize,
    /// H, the heads, at least 1.
    pub n_heads: usize,
    /// D, the width of a query, a key and a value in each head, at least 1.
    pub d_key: usize,
    /// Width of the output, at least 1. Default `None`: `d_input`.
    pub d_output: Option<usize>,
    /// How many numbers of each query and key are turned by their position (rotary embedding): even, from 0 to `d_key`. Default 0: no step knows
    /// its place.
    #[config(default = 0)]
    pub d_rotary: usize,
}

/// The most of any size: products of sizes stay far from what a number can hold.
const MOST: usize = 1 << 20;
/// How much slower the last numbers of a rotary embedding turn than the first, about.
const BASE: f64 = 10_000.0;

impl AttentionConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// A size of 0 or above 2^20, or a rotary width that is odd or above `d_key`.
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
        let fits = self.d_rotary <= self.d_key && self.d_rotary.is_multiple_of(2);
        let rule = "be even and at most d_key";
        require(fits, "d_rotary", self.d_rotary, rule)
    }

    /// The layer, with fresh parameters on `device`.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) finds an error; [`try_init`](Self::try_init) returns it instead.
    #[track_caller]
    pub fn init(&self, device: &Device) -> Attention {
        expect_valid(self.try_init(device))
    }

    /// The layer, with fresh parameters on `device`.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) finds.
    pub fn try_init(&self, device: &Device) -> Result<Attention, ConfigError> {
        self.validate()?;
        let map = |from, to| LinearConfig::new(from, to).with_bias(false).init(device);
        let width = self.n_heads * self.d_key;
        Ok(Attention {
            q_proj: map(self.d_input, width),
            k_proj: map(self.d_input, width),
            v_proj: map(self.d_input, width),
            o_proj: map(width, self.d_output.unwrap_or(self.d_input)),
            n_heads: self.n_heads,
            d_rotary: self.d_rotary,
        })
    }
}

/// Attention of each step to itself and all steps before it, the yardstick of every memory: it keeps all that it has read, and what it carries grows
/// with every step.
///
/// ```text
/// q_t, k_t, v_t = x_t W_q, x_t W_k, x_t W_v                 for each head
/// α_tj          = softmax_j(q_t · k_j / √D)                 j = 1..t
/// y_t           = [Σ_j α_tj v_j of each head] W_o
/// ```
///
/// where `W_q`, `W_k`, `W_v` and `W_o` are [`q_proj`](Self::q_proj), [`k_proj`](Self::k_proj), [`v_proj`](Self::v_proj) and
/// [`o_proj`](Self::o_proj). With a rotary embedding (Su et al. 2021) the first `d_rotary` numbers of a query and of a key are taken as pairs (i,
/// i + d_rotary / 2), and the pair i is turned by the angle `t · 10000^(-2i / d_rotary)`, t from 0 on, so that a score depends on how far apart two steps are.
/// Without it nothing tells a step from another but what it holds.
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - output: `[batch_size, seq_length, d_output]`
///
/// It is composed of tensor operations; a sequence of T steps takes memory for `batch_size · H · T²` scores.
///
/// # Source
///
/// A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017, without biases. The names are those of flash-linear-attention's and
/// Llama's layers.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{AttentionConfig, Recurrent};
///
/// let device = Device::flex();
/// let layer = AttentionConfig::new(8, 2, 4).with_d_rotary(4).init(&device);
/// let (output, state) = layer.forward(Tensor::zeros([3, 5, 8], &device), None);
/// assert_eq!(output.dims(), [3, 5, 8]);
/// assert_eq!(state.past.unwrap().dims(), [3, 5, 16]); // keys and values of two heads of 4
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct Attention {
    /// W_q, `[d_input, H D]`.
    pub q_proj: Linear,
    /// W_k, `[d_input, H D]`.
    pub k_proj: Linear,
    /// W_v, `[d_input, H D]`.
    pub v_proj: Linear,
    /// W_o, `[H D, d_output]`.
    pub o_proj: Linear,
    n_heads: usize,
    d_rotary: usize,
}

displayed!(Attention: |attention|
    d_input = attention.d_input(),
    n_heads = attention.n_heads,
    d_key = attention.d_key(),
    d_output = attention.d_output(),
    d_rotary = attention.d_rotary);

/// What [`Attention`] carries.
#[derive(Clone, Debug)]
pub struct AttentionState {
    /// Steps that each sample has done.
    pub steps: Vec<usize>,
    /// The keys, turned by their positions, and the values of these steps, `[batch_size, steps, 2 H D]`; `None` before the first. Behind those of a
    /// sample that has fewer stand zeros.
    pub past: Option<Tensor<3>>,
}

impl RecurrentState for AttentionState {
    fn detach(self) -> Self {
        AttentionState {
            past: self.past.detach(),
            ..self
        }
    }

    fn to_device(self, device: &Device) -> Self {
        AttentionState {
            past: RecurrentState::to_device(self.past, device),
            ..self
        }
    }

    fn check_batch(&self, batch_size: usize, dtype: DType) -> Result<(), StateError> {
        self.past.check_batch(batch_size, dtype)?;
        check_steps(&self.steps, batch_size).map(drop)
    }

    fn batch_size(&self) -> Option<usize> {
        Some(self.steps.len())
    }

    fn select_samples(self, samples: &[usize]) -> Self {
        let n = self.steps.len();
        if let Some(sample) = samples.iter().find(|sample| **sample >= n) {
            panic!("sample {sample} is asked for; the state has {n}");
        }
        let steps: Vec<usize> = samples.iter().map(|sample| self.steps[*sample]).collect();
        AttentionState {
            past: select_past(self.past, samples, most_steps(&steps)),
            steps,
        }
    }

    fn cat_samples(states: Vec<Self>) -> Result<Self, StateError> {
        let steps = states.iter().flat_map(|state| state.steps.clone());
        Ok(AttentionState {
            steps: steps.collect(),
            past: cat_past(
                states
                    .into_iter()
                    .map(|state| (state.past, state.steps.len()))
                    .collect(),
            )?,
        })
    }

    fn map_tensors<M: StateMapper>(self, mapper: &mut M) -> Self {
        AttentionState {
            past: self.past.map_tensors(mapper),
            ..self
        }
    }

    fn to_data(&self) -> StateData {
        let steps = self.steps.iter().copied().map(StateData::Number);
        StateData::List(vec![StateData::List(steps.collect()), self.past.to_data()])
    }

    fn from_data(data: StateData, device: &Device) -> Result<Self, StateError> {
        let [steps, past] = data.into_parts()?;
        Ok(AttentionState {
            steps: steps.into_numbers()?,
            past: RecurrentState::from_data(past, device)?,
        })
    }
}

impl Attention {
    fn d_key(&self) -> usize {
        self.q_proj.weight.lazy_shape()[1] / self.n_heads
    }

    /// Heads beside each other, `[batch_size, n, H D]`, as `[batch_size, H, n, D]`.
    fn heads(&self, side_by_side: Tensor<3>) -> Tensor<4> {
        let [batch_size, n, width] = side_by_side.dims();
        let shape = [batch_size, n, self.n_heads, width / self.n_heads];
        side_by_side.reshape(shape).swap_dims(1, 2)
    }

    /// Queries or keys `[batch_size, n, H D]`, the first of which stands at step `first`, turned by their positions.
    fn turned(&self, vectors: Tensor<3>, first: usize) -> Tensor<3> {
        let half = self.d_rotary / 2;
        if half == 0 {
            return vectors;
        }
        let [batch_size, n, width] = vectors.dims();
        let (device, dtype) = (vectors.device(), vectors.dtype());
        let angles = (first..first + n).flat_map(|t| {
            (0..half).map(move |i| t as f64 * Float::powf(BASE, -(i as f64) / half as f64))
        });
        let (sines, cosines): (Vec<f64>, Vec<f64>) = angles.map(Float::sin_cos).unzip();
        let tensor = |numbers: Vec<f64>| -> Tensor<4> {
            Tensor::from_data(TensorData::new(numbers, [1, n, 1, half]), (&device, dtype))
        };
        let (sines, cosines) = (tensor(sines), tensor(cosines));
        let d_key = self.d_key();
        let heads = vectors.reshape([batch_size, n, self.n_heads, d_key]);
        let [one, other] = [0, half].map(|first| heads.clone().narrow(3, first, half));
        let mut parts = vec![
            one.clone() * cosines.clone() - other.clone() * sines.clone(),
            other * cosines + one * sines,
        ];
        if d_key > self.d_rotary {
            parts.push(heads.narrow(3, self.d_rotary, d_key - self.d_rotary));
        }
        Tensor::cat(parts, 3).reshape([batch_size, n, width])
    }

    /// A sequence of samples that have done as many steps.
    fn run_together(
        &self,
        projected: Tensor<3>,
        mut state: AttentionState,
    ) -> (Tensor<3>, AttentionState) {
        let [batch_size, seq_length, _] = projected.dims();
        let n_before = most_steps(&state.steps);
        let width = self.n_heads * self.d_key();
        let mut parts = cut(projected, 2, &[width; 3]).into_iter();
        let mut next = || parts.next().expect("three of them");
        let (query, key, value) = (next(), next(), next());
        let query = self.turned(query, n_before);
        let key = self.turned(key, n_before);
        let new = Tensor::cat(vec![key, value], 2);
        let past = match state.past.take() {
            Some(past) => Tensor::cat(vec![past, new], 1),
            None => new,
        };
        let mut parts = cut(past.clone(), 2, &[width; 2]).into_iter();
        let mut next = || self.heads(parts.next().expect("two of them"));
        let (keys, values) = (next(), next());

        let scale = 1.0 / Float::sqrt(self.d_key() as f64);
        let scores = self.heads(query).matmul(keys.swap_dims(2, 3)) * scale; // [B, H, T, n]
        let scores = match seq_length {
            1 => scores,
            _ => scores.mask_fill(
                later(seq_length, n_before, &past.device()),
                f32::NEG_INFINITY,
            ),
        };
        let weights = in_type(softmax(widened(scores), 3), values.dtype());
        let read = weights.matmul(values).swap_dims(1, 2); // [B, T, H, D]
        let output = project_linear(&self.o_proj, read.reshape([batch_size, seq_length, width]));
        for steps in &mut state.steps {
            *steps += seq_length;
        }
        let state = AttentionState {
            past: Some(past),
            ..state
        };
        (output, state)
    }
}

/// True where a step would see a later one, `[1, 1, seq_length, n_before + seq_length]`.
fn later(seq_length: usize, n_before: usize, device: &Device) -> Tensor<4, Bool> {
    let n = n_before + seq_length;
    let is_later = (0..seq_length).flat_map(|t| (0..n).map(move |j| j > n_before + t));
    let shape = [1, 1, seq_length, n];
    Tensor::from_data(
        TensorData::new(is_later.collect::<Vec<bool>>(), shape),
        device,
    )
}

impl Recurrent for Attention {
    type State = AttentionState;

    fn d_input(&self) -> usize {
        self.q_proj.weight.lazy_shape()[0]
    }

    fn d_output(&self) -> usize {
        self.o_proj.weight.lazy_shape()[1]
    }

    fn state_size(&self, seq_length: usize) -> usize {
        2 * self.n_heads * self.d_key() * seq_length
    }

    fn initial_state(&self, batch_size: usize, _device: &Device) -> AttentionState {
        AttentionState {
            steps: vec![0; batch_size],
            past: None,
        }
    }

    fn check_state(
        &self,
        state: &AttentionState,
        batch_size: usize,
        dtype: DType,
    ) -> Result<(), StateError> {
        let steps = check_steps(&state.steps, batch_size)?;
        let width = 2 * self.n_heads * self.d_key();
        match &state.past {
            Some(past) => fits("what was kept", past, [batch_size, steps, width], dtype),
            None if steps == 0 => Ok(()),
            None => Err(StateError::new(alloc::format!(
                "what was kept is not there; after {steps} steps it must be"
            ))),
        }
    }

    /// Queries, keys and values, side by side.
    fn project(&self, input: Tensor<3>) -> Tensor<3> {
        let maps = [&self.q_proj, &self.k_proj, &self.v_proj];
        let parts = maps.map(|map| project_linear(map, input.clone()));
        Tensor::cat(parts.into(), 2)
    }

    fn advance(
        &self,
        projected_t: Tensor<2>,
        state: AttentionState,
    ) -> (Tensor<2>, AttentionState) {
        let (output, state) = self.forward_projected(projected_t.unsqueeze_dim(1), Some(state));
        (output.squeeze_dim(1), state)
    }

    fn forward_projected(
        &self,
        projected: Tensor<3>,
        state: Option<AttentionState>,
    ) -> (Tensor<3>, AttentionState) {
        let [batch_size, ..] = projected.dims();
        let state = state.unwrap_or_else(|| self.initial_state(batch_size, &projected.device()));
        expect_fits(self.check_state(&state, batch_size, projected.dtype()));
        if batch_size == 0 {
            return (empty_output(self, &projected), state);
        }
        let steps = state.steps.clone();
        forward_groups(projected, state, steps, |projected, state| {
            self.run_together(projected, state)
        })
    }
}
