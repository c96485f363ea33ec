//! Heads: from the controller's output to what is read and written.

use burn::config::Config;
use burn::module::Module;
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

use crate::ConfigError;
use crate::error::{expect_valid, require, require_size};
use crate::ops::ntm::{Addressing, Writing, read, write};

/// Configuration of a [`ReadHead`] or [`WriteHead`].
#[derive(Config, Debug)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NtmHeadConfig {
    /// Width of the controller's output, at least 1.
    pub d_controller: usize,
    /// Width of a word of the memory, at least 1.
    pub word_size: usize,
    /// Heads that are computed together, at least 1. Default 1.
    #[config(default = 1)]
    pub n_heads: usize,
    /// Shifts that a head chooses from, odd: 3 (default) is one row forward, none, one row back.
    #[config(default = 3)]
    pub shift_width: usize,
}

/// Heads that read: one linear map of the controller's output to the parameters of each head's addressing.
///
/// ```text
/// [k β γ g s] = h W + b       k    β, γ - 1 by softplus    g by σ    s by softmax
/// w_t = addressing(k, β, g, s, γ; M, w_{t-1})          see ops::ntm
/// r_t = Σ_i w_t(i) M(i)
/// ```
///
/// # Shapes
/// - controller's output h: `[batch_size, d_controller]`
/// - memory M: `[batch_size, memory_size, word_size]`
/// - weights w: `[batch_size, n_heads, memory_size]`
/// - reads r: `[batch_size, n_heads, word_size]`
///
/// # Source
///
/// A. Graves, G. Wayne, I. Danihelka, "Neural Turing Machines", 2014, sections 3.1 and 3.3.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::NtmHeadConfig;
///
/// let device = Device::flex();
/// let head = NtmHeadConfig::new(16, 4).init_read(&device);
/// let memory = Tensor::ones([2, 10, 4], &device); // ten equal words
/// let (read, weights) = head.forward(
///     Tensor::ones([2, 16], &device),
///     memory,
///     Tensor::zeros([2, 1, 10], &device),
/// );
/// let read: Vec<f32> = read.try_into_vec_as().unwrap();
/// assert!(read.iter().all(|number| (number - 1.0).abs() < 1e-5)); // weights sum to 1
/// ```
#[derive(Module, Debug)]
pub struct ReadHead {
    /// `h W + b`: for each head its key, β, γ, g and s.
    pub linear: Linear,
    n_heads: usize,
    word_size: usize,
}

/// Heads that write: as [`ReadHead`], and an erase and an add vector for each head.
///
/// ```text
/// [k β γ g s], e, a = h W + b       e by σ
/// w_t = addressing(k, β, g, s, γ; M, w_{t-1})          see ops::ntm
/// M(i) <- M(i) (1 - w_t(i) e) + w_t(i) a
/// ```
///
/// # Shapes
/// As [`ReadHead`].
#[derive(Module, Debug)]
pub struct WriteHead {
    /// `h W + b`: for each head its key, β, γ, g and s; then the erase vectors of all heads; then their add vectors.
    pub linear: Linear,
    n_heads: usize,
    word_size: usize,
}

impl NtmHeadConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// A size of 0, or an even `shift_width`.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require_size("d_controller", self.d_controller)?;
        require_size("word_size", self.word_size)?;
        require_size("n_heads", self.n_heads)?;
        let odd = self.shift_width % 2 == 1;
        require(odd, "shift_width", self.shift_width, "be odd")
    }

    /// Heads that read, with fresh parameters on `device`.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) finds an error; [`try_init_read`](Self::try_init_read) returns it instead.
    #[track_caller]
    pub fn init_read(&self, device: &Device) -> ReadHead {
        expect_valid(self.try_init_read(device))
    }

    /// Heads that read, with fresh parameters on `device`: weights Xavier-uniform, biases 0.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) finds.
    pub fn try_init_read(&self, device: &Device) -> Result<ReadHead, ConfigError> {
        self.validate()?;
        Ok(ReadHead {
            linear: self.linear(self.d_addressing(), device),
            n_heads: self.n_heads,
            word_size: self.word_size,
        })
    }

    /// Heads that write, with fresh parameters on `device`.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) finds an error; [`try_init_write`](Self::try_init_write) returns it instead.
    #[track_caller]
    pub fn init_write(&self, device: &Device) -> WriteHead {
        expect_valid(self.try_init_write(device))
    }

    /// Heads that write, with fresh parameters on `device`: weights Xavier-uniform, biases 0.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) finds.
    pub fn try_init_write(&self, device: &Device) -> Result<WriteHead, ConfigError> {
        self.validate()?;
        let d_writing = 2 * self.n_heads * self.word_size;
        Ok(WriteHead {
            linear: self.linear(self.d_addressing() + d_writing, device),
            n_heads: self.n_heads,
            word_size: self.word_size,
        })
    }

    fn d_addressing(&self) -> usize {
        self.n_heads * Addressing::width(self.word_size, self.shift_width)
    }

    fn linear(&self, d_output: usize, device: &Device) -> Linear {
        let mut linear = LinearConfig::new(self.d_controller, d_output)
            .with_initializer(Initializer::XavierUniform { gain: 1.0 })
            .init(device);
        linear.bias = Some(Initializer::Zeros.init([d_output], device));
        linear
    }
}

impl ReadHead {
    /// What the heads ask for.
    pub fn addressing(&self, controller: Tensor<2>) -> Addressing {
        let raw = self.linear.forward(controller);
        Addressing::from_raw(raw, self.n_heads, self.word_size)
    }

    /// Reads: what the heads read, and where.
    ///
    /// # Panics
    /// If the shapes do not fit together.
    #[track_caller]
    pub fn forward(
        &self,
        controller: Tensor<2>,
        memory: Tensor<3>,
        prev_weights: Tensor<3>,
    ) -> (Tensor<3>, Tensor<3>) {
        let weights = self
            .addressing(controller)
            .weights(memory.clone(), prev_weights);
        (read(memory, weights.clone()), weights)
    }
}

impl WriteHead {
    /// What the heads ask for, and what they do there.
    pub fn addressing(&self, controller: Tensor<2>) -> (Addressing, Writing) {
        let raw = self.linear.forward(controller);
        let d_writing = 2 * self.n_heads * self.word_size;
        let d_addressing = raw.dims()[1] - d_writing;
        let addressing = raw.clone().narrow(1, 0, d_addressing);
        let writing = raw.narrow(1, d_addressing, d_writing);
        (
            Addressing::from_raw(addressing, self.n_heads, self.word_size),
            Writing::from_raw(writing, self.n_heads, self.word_size),
        )
    }

    /// Writes: the new memory, and where the heads wrote.
    ///
    /// # Panics
    /// If the shapes do not fit together.
    #[track_caller]
    pub fn forward(
        &self,
        controller: Tensor<2>,
        memory: Tensor<3>,
        prev_weights: Tensor<3>,
    ) -> (Tensor<3>, Tensor<3>) {
        let (addressing, writing) = self.addressing(controller);
        let weights = addressing.weights(memory.clone(), prev_weights);
        let memory = write(memory, weights.clone(), writing.erase, writing.add);
        (memory, weights)
    }
}
