//! Memory mechanisms as layers for [Burn](https://burn.dev), on every device that Burn runs on.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use fw_core::{FastWeightsConfig, Recurrent};
//!
//! let device = Device::flex();
//! let layer = FastWeightsConfig::new(3, 20).init(&device);
//!
//! let input = Tensor::zeros([2, 11, 3], &device); // [batch_size, seq_length, d_input]
//! let (output, state) = layer.forward(input, None);
//! assert_eq!(output.dims(), [2, 11, 20]);
//!
//! // A sequence goes on where the last one ended.
//! let (_more, _state) = layer.forward(Tensor::zeros([2, 4, 3], &device), Some(state));
//! ```
//!
//! # What is here
//!
//! | layer | what it is |
//! |---|---|
//! | [`FastWeights`] | a recurrent net with an associative memory that each step writes and reads (Ba et al. 2016) |
//! | [`DeltaNet`] | heads with a matrix memory each, written by the delta rule: DeltaNet, Gated DeltaNet, Kimi delta attention, DeltaProduct (Yang et al. 2024 and after) |
//! | [`RecurrentDeltaNet`] | a DeltaNet whose writes depend on its own last output (Irie et al. 2021) |
//! | [`MLstm`] | heads with a matrix memory each, written through exponential gates, and read as a weighted mean (Beck et al. 2024) |
//! | [`Rwkv7`] | heads with a matrix memory each, of which every channel fades by itself and every step moves what is there (Peng et al. 2025) |
//! | [`Ntm`] | a Neural Turing Machine: a controller whose heads read and write a memory by content and by place (Graves et al. 2014) |
//! | [`Sab`] | a recurrent cell that recalls a few of its past states, and learns from the distant past through them (Ke et al. 2018) |
//! | [`AssociativeLstm`] | an LSTM over a holographic memory of key-value pairs (Danihelka et al. 2016) |
//! | [`SLstm`] | an LSTM with exponential gates, whose state follows itself (Beck et al. 2024) |
//! | [`Elman`], [`Lstm`], [`Gru`] | recurrent nets without such a memory: baselines, plain or layer-normalised |
//! | [`Stack`] | layers upon each other |
//! | [`Bidirectional`], [`LearnedStart`] | a layer in both directions; one whose first state is learned |
//! | [`EncoderDecoder`] | a net that reads a source, and one that says the target, with attention or without (Luong et al. 2015) |
//! | [`AnyLayer`] | a layer of any type as one type: chosen while the program runs, read from a configuration or a file |
//! | [`Checkpointed`] | a layer that keeps a state now and then for the backward pass, and computes the steps between once more |
//!
//! Each is made from its configuration (`FastWeightsConfig::new(d_input, d_hidden).init(&device)`) and
//! implements [`Recurrent`]: `forward` over a sequence, `step` for one step, an explicit [state](RecurrentState); batches of unequal sequences, packed documents
//! and episodes are [`Segments`]. The
//! tensor functions beneath, without parameters, are in [`ops`]; the stages of a Turing machine's addressing, for a model of
//! one's own, in [`ops::ntm`]. [`SparseAttention`], the attention of [`Sab`], is a layer of its own.
//!
//! # Cargo features
//!
//! `std` (default), and one for each Burn backend, passed through: `flex` (CPU, with fused kernels for whole
//! sequences of [`FastWeights`], of the memories of a [`DeltaNet`], an [`MLstm`] and an [`Rwkv7`], of an [`Ntm`], of [`Lstm`], [`SLstm`], [`Gru`] and [`Elman`] without layer
//! normalisation, and of [`Sab`] over these four), `ndarray` (CPU, deprecated by Burn), `wgpu` and `cuda` (GPUs, with kernels for the same but [`DeltaNet`], [`MLstm`], [`Rwkv7`] and [`SLstm`]). [`ExecutionPath`] forces the composed form or
//! the fused one of fast weights, of a DeltaNet, of a Turing machine and of [`Sab`]; the bare cells are fused wherever there is a kernel. Autodiff is a
//! property of the device: `Device::flex().autodiff()`. `weights` reads and writes files of weights; `schema` gives the configurations as JSON schemas, each field with its
//! type and its documentation.
//!
//! # What to know of Burn 0.22.1
//!
//! - Make a layer on the device that it learns on: one that was made without autodiff and brought there by `fork` learns nothing.
//! - Evaluate with `model.valid()`: a pass on a device with autodiff that never goes back stays in memory until another does.
//! - Parameters are drawn when they are first read: `device.seed` says which they are only if they are read in the same order. A
//!   `clone().no_grad()` of a layer whose parameters were not read yet freezes the layer as well.
//! - Clipping by norm in an optimiser's configuration limits each parameter by itself, not all together.
//! - On a GPU, with Burn's fusion, results that wait to be computed are not, where a tensor without numbers (`Tensor::zeros([0, 7], ..)`) is made after them. This crate
//!   makes none, but where an empty batch or no samples of a state are asked for.
//! - On a GPU, with Burn's fusion, the product of a sum whose dimensions are swapped (`x.sum_dim(2).swap_dims(1, 2) * (y.clone() + 1.0)`) takes the rows of the sum
//!   in another order, and gradients make such products by themselves. This crate reshapes instead, and is tested for it.
//!
//! # Long sums
//!
//! The gradient of a weight is a sum over all rows, those of all samples and steps. In single precision the kernels sum a few rows, some of
//! these sums, and so on: over a million rows of one sign they are off by less than 1e-5. Burn 0.22.1 adds row after row on flex: there
//! the gradient of `burn::nn::Linear`'s bias over as many rows is off by a hundredth of itself. What is left to Burn can be off as far:
//!
//! - the composed forms, and so the recurrent matrix of [`AssociativeLstm`]; that of [`Gru`] and [`Elman`] with layer normalisation, the
//!   bias beside it, and gains and biases of the norms; the convolutions, decays and the norm of [`DeltaNet`];
//! - steps one at a time, whose gradients Burn adds up, one after another.
//!
//! Not a sum over rows, but over steps: what one memory of [`Sab`] receives from all steps that recall it is added step after step.
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(missing_docs)]

extern crate alloc;

mod any_layer;
mod attention;
mod bidirectional;
mod blocks;
mod cell;
mod cells;
mod checkpointed;
mod delta_net;
mod display;
mod encoder_decoder;
mod error;
mod fast_weights;
mod gated_convolution;
mod heads_layer_norm;
mod initializer;
mod layer_config;
mod learned_start;
mod maps;
mod matrix_memory_trace;
mod mlstm;
mod ntm;
pub mod ops;
mod past;
mod recurrent;
mod recurrent_delta_net;
mod rwkv7;
mod sab;
mod segments;
mod sequence_model;
mod stack;
mod state;
#[cfg(feature = "weights")]
pub mod weights;

pub use any_layer::{AnyLayer, AnyState};
pub use attention::{Attention, AttentionConfig, AttentionState};
pub use bidirectional::{Bidirectional, BidirectionalState};
pub use blocks::{Block, Blocks, BlocksConfig, Mlp, Norm, NormKind};
pub use cell::RecurrentCell;
pub use cells::*;
pub use checkpointed::Checkpointed;
pub use delta_net::*;
pub use encoder_decoder::{
    EncoderDecoder, EncoderDecoderConfig, EncoderDecoderState, SourceAttention,
};
pub use error::{ConfigError, StateError};
pub use fast_weights::{
    FastMemory, FastWeights, FastWeightsConfig, FastWeightsState, FastWeightsTrace, MemoryForm,
    WrittenState,
};
pub use gated_convolution::{GatedConvolution, GatedConvolutionConfig};
pub use heads_layer_norm::HeadsLayerNorm;
pub use initializer::HiddenInitializer;
pub use layer_config::{CellConfig, LayerConfig, NetConfig};
pub use learned_start::LearnedStart;
pub use matrix_memory_trace::{DeltaNetTrace, MLstmTrace, MatrixMemoryTrace, Rwkv7Trace};
pub use mlstm::{MLstm, MLstmConfig};
pub use ntm::*;
pub use ops::matrix_memory::{MLstmState, RecurrentDeltaState, WriteRule};
pub use ops::{Activation, ExecutionPath, LstmState, SLstmState};
#[cfg(feature = "flex")]
pub use ops::{InstructionSet, InstructionSetError};
pub use recurrent::Recurrent;
pub use recurrent_delta_net::{RecurrentDeltaNet, RecurrentDeltaNetConfig};
pub use rwkv7::{LowRank, Rwkv7, Rwkv7Config, Rwkv7State};
pub use sab::*;
pub use segments::{Segments, SegmentsError, forward_groups};
pub use sequence_model::{
    Answers, Inputs, Reads, SequenceModel, SequenceModelConfig, Surroundings,
};
pub use stack::Stack;
pub use state::{RecurrentState, StateData, StateMapper};

/// What the macros of this crate need, wherever they are used.
#[doc(hidden)]
pub mod private {
    pub use alloc::vec::Vec;
}

/// The examples of the documents run as tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    mod crate_readme {}
}
