//! Weights of layers from files, and back: PyTorch's, safetensors, burnpack, or a map of tensors.
//!
//! [`Weights`] are tensors by name. [`Portable`] puts them into a layer, or makes them of one, under the names and in the order of a [`Convention`]:
//! this crate's own, PyTorch's, Keras's or ONNX's. With feature `weights`.
//!
//! ```
//! use burn::tensor::{Device, Tensor, TensorData};
//! use fw_core::weights::{Convention, Portable, Weights};
//! use fw_core::{LstmConfig, Recurrent};
//!
//! // What torch.nn.LSTM(1, 1) would save; a file is read by `Weights::open("lstm.pt")?`.
//! let weights = Weights::from_tensors([
//!     ("weight_ih_l0", TensorData::from([[0.1f32], [0.2], [0.3], [0.4]])),
//!     ("weight_hh_l0", TensorData::from([[0.0f32], [0.0], [0.0], [0.0]])),
//!     ("bias_ih_l0", TensorData::from([0.0f32, 9.0, 0.0, 0.0])),
//!     ("bias_hh_l0", TensorData::from([0.0f32, 0.0, 0.0, 0.0])),
//! ]);
//! let device = Device::flex();
//! let mut lstm = LstmConfig::new(1, 1).init(&device);
//! lstm.load(&weights, Convention::PyTorch)?;
//! // o tanh(i tanh(0.3)) at the first step, with i = σ(0.1) and o = σ(0.4).
//! let (output, _) = lstm.forward(Tensor::ones([1, 1, 1], &device), None);
//! assert!((output.into_scalar::<f32>() - 0.09085).abs() < 1e-4);
//! # Ok::<(), fw_core::weights::WeightsError>(())
//! ```
//!
//! # What is promised
//!
//! - All or nothing: names, shapes and types are all compared before anything is changed. An error names every difference, with the names that are
//!   nearest.
//! - Numbers are converted to the layer's type, unless [`keeping_types`](Weights::keeping_types) asks otherwise.
//! - Whether a matrix lies there with its rows as columns is known from the layer and the convention, and never guessed from a shape.
//! - Of a file only what is used is read: its other tensors cost no memory. Do not cut a safetensors file while it is open: it is mapped into memory.
//! - What Burn's store does otherwise (0.22.1, seen): a file with one wrong shape is an error, and other parameters have been replaced all the same;
//!   `allow_partial` with names of which none fits is no error; numbers of another type change the type of the parameter; a square matrix is loaded
//!   transposed where no adapter is given.
//!
//! # Names
//!
//! Under [`Convention::Own`] a tensor is called as the field that it is in, below the fields around it: `input.weight`, `w_hidden`. These names and the
//! layouts are an interface: they change with a major version alone. `tests/weights/names.txt` lists all of them.

mod compare;
mod delta_net;
mod description;
mod error;
mod file;
mod module;
mod ntm;
mod portable;
mod recurrent;
mod stored;
mod successors;

use std::collections::BTreeMap;
use std::path::Path;

use burn::store::bridge;
use burn::store::burn_pack::Tensor as Deferred;
use burn::tensor::TensorData;

pub use description::Described;
pub use error::{Difference, Differences, WeightsError};
pub(crate) use portable::unsupported;
pub use portable::{Convention, Parameters, Portable, load_own, own_weights};
use stored::Array;

/// Tensors by name, from a file or from memory; numbers are read when they are used.
#[derive(Clone)]
pub struct Weights {
    origin: String,
    tensors: BTreeMap<String, Deferred>,
    metadata: BTreeMap<String, String>,
    keeps_types: bool,
    /// Whether Burn has written the file, which turns some matrices when it saves.
    is_saved_by_burn: bool,
}

impl Weights {
    fn new(origin: String, tensors: Vec<Deferred>, metadata: BTreeMap<String, String>) -> Self {
        let named = tensors
            .into_iter()
            .map(|tensor| (tensor.name.clone(), tensor));
        Weights {
            origin,
            tensors: named.collect(),
            metadata,
            keeps_types: false,
            is_saved_by_burn: false,
        }
    }

    /// The weights of a file: of PyTorch (`.pt`, `.pth`; zip, legacy, or a whole module), safetensors or burnpack, told apart by what they begin with.
    /// Tensors within dictionaries have the names of both, as `model_state_dict.rnn.weight_ih_l0`; [`within`](Self::within) takes what is in one.
    ///
    /// # Errors
    /// If there is no such file, or it is none of these, cut, or damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        file::open(path.as_ref())
    }

    /// The weights of a file that is in memory.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self, WeightsError> {
        file::from_bytes(bytes.into())
    }

    /// Tensors that are in memory.
    ///
    /// # Panics
    /// If two have the same name.
    #[track_caller]
    pub fn from_tensors<N: Into<String>>(
        tensors: impl IntoIterator<Item = (N, TensorData)>,
    ) -> Self {
        let tensors = tensors.into_iter();
        let tensors = tensors.map(|(name, data)| bridge::from_data(data, name.into(), None));
        let tensors: Vec<Deferred> = tensors.collect();
        let n_tensors = tensors.len();
        let weights = Weights::new("what is given".to_owned(), tensors, BTreeMap::new());
        assert!(
            weights.tensors.len() == n_tensors,
            "there are {n_tensors} tensors with {} names; each must have its own",
            weights.tensors.len()
        );
        weights
    }

    /// What lies below a name, without it: `model_state_dict`, or `encoder.rnn`.
    ///
    /// # Errors
    /// If there is nothing.
    pub fn within(self, name: &str) -> Result<Self, WeightsError> {
        let below = |full: &str| Some(full.strip_prefix(name)?.strip_prefix('.')?.to_owned());
        let found = self.tensors.iter();
        let found = found.filter_map(|(full, tensor)| Some((below(full)?, tensor.clone())));
        let tensors: BTreeMap<_, _> = found.collect();
        if tensors.is_empty() {
            let mut there: Vec<&str> = self
                .names()
                .filter_map(|name| name.split('.').next())
                .collect();
            there.dedup();
            return Err(WeightsError::Description {
                problem: format!("has nothing within {name}; it has {}", there.join(", ")),
                origin: self.origin,
            });
        }
        Ok(Weights { tensors, ..self })
    }

    /// All but the tensors of which `is_left_out` is true: those that are for something else.
    pub fn without(mut self, is_left_out: impl Fn(&str) -> bool) -> Self {
        self.tensors.retain(|name, _| !is_left_out(name));
        self
    }

    /// The same under other names.
    ///
    /// # Errors
    /// If two would be called the same.
    pub fn renamed(mut self, name: impl Fn(&str) -> String) -> Result<Self, WeightsError> {
        let mut renamed: BTreeMap<String, (String, Deferred)> = BTreeMap::new();
        for (old, tensor) in std::mem::take(&mut self.tensors) {
            let new = name(&old);
            if let Some((other, _)) = renamed.get(&new) {
                return Err(WeightsError::Description {
                    problem: format!("would have {other} and {old} under the same name, {new}"),
                    origin: self.origin,
                });
            }
            renamed.insert(new, (old, tensor));
        }
        let tensors = renamed.into_iter();
        self.tensors = tensors.map(|(name, (_, tensor))| (name, tensor)).collect();
        Ok(self)
    }

    /// Makes parameters take the type that the file's numbers have. Without it, numbers are converted to the type of the parameter.
    pub fn keeping_types(mut self) -> Self {
        self.keeps_types = true;
        self
    }

    /// What the tensors are called, in the order of the alphabet.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor, if it is there.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).map(|tensor| tensor.shape.to_vec())
    }

    /// The numbers of a tensor, if it is there.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn numbers(&self, name: &str) -> Result<Option<TensorData>, WeightsError> {
        let tensor = self.tensors.get(name);
        tensor.map(|tensor| self.data(tensor)).transpose()
    }

    /// What a file says of itself; nothing, where its format has no place for that.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The same with a line of metadata.
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// A safetensors file of these weights, in memory.
    ///
    /// # Errors
    /// If a tensor cannot be read, or has a type that such files do not have.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WeightsError> {
        let arrays = self
            .tensors
            .iter()
            .map(|(name, tensor)| Ok((name.clone(), Array::new(self.data(tensor)?))));
        let arrays = arrays.collect::<Result<_, WeightsError>>()?;
        let bytes = file::to_bytes(&arrays, &self.metadata);
        bytes.map_err(|problem| WeightsError::Description {
            origin: self.origin.clone(),
            problem: format!("cannot be written: {problem}"),
        })
    }

    /// Writes a safetensors file, which is there whole or not at all.
    ///
    /// # Errors
    /// As [`to_bytes`](Self::to_bytes), and if it cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), WeightsError> {
        file::write(path.as_ref(), &self.to_bytes()?)
    }

    fn data(&self, tensor: &Deferred) -> Result<TensorData, WeightsError> {
        bridge::to_data(tensor).map_err(|error| WeightsError::Format {
            origin: self.origin.clone(),
            format: "its tensors",
            problem: error.to_string(),
        })
    }
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_map();
        for (name, tensor) in &self.tensors {
            shown.entry(
                name,
                &format_args!("{:?} {:?}", tensor.dtype, tensor.shape.to_vec()),
            );
        }
        shown.finish()
    }
}
