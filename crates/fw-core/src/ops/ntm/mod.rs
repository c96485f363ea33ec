//! The memory of a Neural Turing Machine: where its heads look, and what they read and write (Graves, Wayne,
//! Danihelka 2014).
//!
//! ```text
//! K[u, v] = u·v / (max(|u|, ε) max(|v|, ε))                      ε = 1e-8
//! wᶜ(i)   = softmax_i(β K[k, M(i)])                              content
//! wᵍ(i)   = g wᶜ(i) + (1 - g) w_{t-1}(i)                         interpolate
//! w̃(i)    = Σ_j s(j) wᵍ(i - j)              j = R .. -R, rows mod N      shift
//! w(i)    = w̃(i)^γ / Σ_j w̃(j)^γ                                  sharpen
//! r       = Σ_i w(i) M(i)                                        read
//! M(i)    = M(i) (1 - w(i) e) + w(i) a                           write: erase, then add
//! ```
//!
//! where `M(i)` is row i of a memory of N words ([`memory`](content), `[batch_size, memory_size, word_size]`), `w` a
//! weighting over the rows, and each head has a key k, a key strength β ≥ 0, a gate g in (0, 1), a weighting s
//! over the shifts R to -R, a sharpening γ ≥ 1, and, to write, an erase vector e in (0, 1) and an add vector a.
//!
//! Each stage is a function of its own, for all samples and heads at once, and can be used alone:
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use fw_core::ops::ntm;
//!
//! let device = Device::flex();
//! let memory = Tensor::<3>::from_data([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]], &device); // three words
//! let key = Tensor::<3>::from_data([[[0.0, 2.0]]], &device); // one sample, one head
//! let strength = Tensor::<3>::from_data([[[50.0]]], &device);
//!
//! let weights = ntm::content(memory.clone(), key, strength);
//! let read: Vec<f32> = ntm::read(memory, weights).try_into_vec_as().unwrap();
//! assert!(read[0].abs() < 1e-6 && (read[1] - 1.0).abs() < 1e-6); // the word that the key resembles
//! ```
//!
//! # Paths
//!
//! The layer [`Ntm`](crate::Ntm) runs a sequence composed of these functions, step by step, or, on Flex and on GPUs, fused into one operation
//! with its own backward pass (on a GPU in f32, one workgroup a sample): see [`ExecutionPath`](crate::ExecutionPath).
//!
//! # Differences from the paper
//!
//! - A vector of zeros resembles nothing (cosine 0); the paper's formula divides by zero there.
//! - Sharpening is computed as `softmax(γ ln w̃)`, the same function: powers do not underflow, so that a
//!   weighting sums to 1 at any γ. Public code divides by `Σ w̃^γ + 1e-16` instead, which yields a weighting of zeros where all
//!   powers are tiny.
//! - With several write heads all erase first, then all add.

mod access;
mod addressing;
mod composed;
#[cfg(feature = "flex")]
mod cpu;
#[cfg(feature = "cube")]
pub(crate) mod cube;
#[cfg(feature = "flex")]
pub(crate) mod fused;
#[cfg(any(feature = "flex", feature = "cube"))]
mod results;
#[cfg(any(feature = "flex", feature = "cube"))]
mod shapes;
#[cfg(test)]
mod trials;

pub use access::{Writing, read, write};
pub use addressing::{Addressing, content, cosine_similarity, interpolate, sharpen, shift};
pub use composed::State;
pub(crate) use composed::{LayerWeights, SlowWeights, StateSizes, Weights, step};
