//! What puts weights into a layer, and makes them of one.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::Module;
use burn::nn::{self, Embedding, LayerNorm, Linear, RmsNorm};
use burn::tensor::DType;

use super::module::{Parameter, parameters, with_numbers};
use super::stored::{Array, Stored};
use super::{Weights, WeightsError};

/// How tensors are called in a file, and in which order and direction their numbers lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Convention {
    /// As this crate's layers have them: the names of fields, gates in the layer's order, matrices `[d_input, d_output]`.
    Own,
    /// As PyTorch has the same layer, so that `load_state_dict(strict=True)` takes them: `torch.nn.LSTM`, `GRU` and `RNN` (layers, `bidirectional`; gates i f g o
    /// and r z n; matrices `[d_output, d_input]`), `Linear` and `Embedding`; of an [`Ntm`](crate::Ntm) the names of loudinthecloud/pytorch-ntm (without its output, `ntm.fc`, which is no part of the layer), of a
    /// [`DeltaNet`](crate::DeltaNet) and an [`Rwkv7`](crate::Rwkv7) those of flash-linear-attention, of an [`MLstm`](crate::MLstm) those of xlstm, of a [`RecurrentDeltaNet`](crate::RecurrentDeltaNet)
    /// those of IDSIA/recurrent-fwp.
    PyTorch,
    /// As `torch.nn.LSTMCell`, `GRUCell` and `RNNCell` have them: the same without the number of the layer.
    PyTorchCell,
    /// As Keras has them: `kernel`, `recurrent_kernel` and `bias`; gates i f c o and z r h; matrices `[d_input, d_output]`.
    Keras {
        /// Whether a GRU's reset gate acts after the product, which is Keras's default. The other way is refused: [`Gru`](crate::Gru) has not got it.
        reset_after: bool,
    },
    /// As ONNX's operators have them, of one direction: `W`, `R` and `B`; gates i o f c and z r h; matrices `[1, d_output, d_input]`.
    Onnx {
        /// Whether a GRU's reset gate acts after the product. The other way, ONNX's default, is refused: [`Gru`](crate::Gru) has not got it.
        linear_before_reset: bool,
    },
}

/// Where each parameter of a layer lies in a file: what [`Portable::parameters`] yields.
#[derive(Clone, Debug, Default)]
pub struct Parameters(pub(super) Vec<(String, Stored)>);

impl Parameters {
    /// One more: the parameter's name in the layer, and where it lies.
    pub(super) fn and(mut self, parameter: impl Into<String>, stored: Stored) -> Self {
        self.0.push((parameter.into(), stored));
        self
    }

    /// Those of a field of a layer: in the file they lie below the field's name as well, as those of a module within a module of PyTorch's.
    ///
    /// # Errors
    /// If the field has no names under the convention.
    pub fn part<P: Portable>(
        self,
        field: &str,
        part: &P,
        convention: Convention,
    ) -> Result<Self, WeightsError> {
        let of_part = part.parameters(convention)?;
        let of_part = of_part.named(|name| format!("{field}.{name}"));
        Ok(self.below(field, of_part))
    }

    /// Those of a part of a layer: `prefix` goes before the parameters' names, and not before those of the file.
    pub(super) fn below(mut self, prefix: &str, of_part: Parameters) -> Self {
        let named = of_part.0.into_iter();
        let named = named.map(|(parameter, stored)| (format!("{prefix}.{parameter}"), stored));
        self.0.extend(named);
        self
    }

    /// The same, with every tensor of the file under another name.
    pub(super) fn named(mut self, name: impl Fn(&str) -> String) -> Self {
        for (_, stored) in &mut self.0 {
            stored.rename(&name);
        }
        self
    }
}

/// A layer whose weights go into files and come from them.
///
/// A layer of your own has it with its name alone; then [`Convention::Own`] is what it knows:
///
/// ```
/// use burn::module::Module;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::Device;
/// use fw_core::weights::{Convention, Portable, Weights};
///
/// #[derive(Module, Debug)]
/// struct Gated {
///     gate: Linear,
/// }
///
/// impl Portable for Gated {
///     const NAME: &'static str = "Gated";
/// }
///
/// let gated = Gated { gate: LinearConfig::new(2, 3).init(&Device::flex()) };
/// let file = gated.to_weights(Convention::Own)?.to_bytes()?;
/// let names = Weights::from_bytes(file)?;
/// assert_eq!(names.names().collect::<Vec<_>>(), ["gate.bias", "gate.weight"]);
/// # Ok::<(), fw_core::weights::WeightsError>(())
/// ```
///
/// With [`Parameters::part`] for each of its fields it takes a file of PyTorch's in one call, whole or not at all:
///
/// ```
/// use burn::module::Module;
/// use burn::nn::Linear;
/// use fw_core::Lstm;
/// use fw_core::weights::{Convention, Parameters, Portable, WeightsError};
///
/// #[derive(Module, Debug)]
/// struct Tagger {
///     rnn: Lstm,
///     out: Linear,
/// }
///
/// impl Portable for Tagger {
///     const NAME: &'static str = "Tagger";
///
///     fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
///         let rnn = Parameters::default().part("rnn", &self.rnn, convention)?;
///         rnn.part("out", &self.out, convention)
///     }
/// }
/// ```
pub trait Portable: Module {
    /// What errors call the layer.
    const NAME: &'static str;

    /// Where each of its parameters lies under a convention that is not its own.
    ///
    /// # Errors
    /// If the layer has no such names, or is something that they cannot say.
    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        Err(unsupported::<Self>(convention))
    }

    /// The same as PyTorch has them in a layer with `num_layers`, with what it puts behind the names: `_l0`, or `_l0_reverse`. Nothing, for a layer that PyTorch
    /// does not number.
    ///
    /// # Errors
    /// If PyTorch's layer is not what this one is.
    fn numbered(&self, _behind: &str) -> Result<Option<Parameters>, WeightsError> {
        Ok(None)
    }

    /// Puts weights into the layer: all of them, or, if anything does not fit, none.
    ///
    /// # Errors
    /// If a name is missing or left over, a shape or a type differs, or numbers cannot be read. The layer is then as it was.
    fn load(&mut self, weights: &Weights, convention: Convention) -> Result<(), WeightsError> {
        let stored = elsewhere(self, convention)?;
        load(self, Self::NAME, weights, stored)
    }

    /// The weights of the layer.
    ///
    /// # Errors
    /// If the convention cannot say them.
    fn to_weights(&self, convention: Convention) -> Result<Weights, WeightsError> {
        let stored = elsewhere(self, convention)?;
        to_weights(self, Self::NAME, stored)
    }
}

/// Where parameters lie under a convention that is not the layer's own.
fn elsewhere<P: Portable>(
    layer: &P,
    convention: Convention,
) -> Result<Option<Parameters>, WeightsError> {
    match convention {
        Convention::Own => Ok(None),
        _ => layer.parameters(convention).map(Some),
    }
}

/// Weights of any module under its own names.
///
/// # Errors
/// If numbers cannot be read.
pub fn own_weights<M: Module>(module: &M) -> Result<Weights, WeightsError> {
    to_weights(module, "the module", None)
}

/// Puts weights into any module, by its own names: all of them, or, if anything does not fit, none.
///
/// # Errors
/// As [`Portable::load`].
pub fn load_own<M: Module>(module: &mut M, weights: &Weights) -> Result<(), WeightsError> {
    load(module, "the module", weights, None)
}

/// Puts weights into a module; without a word of where they lie, by its own names.
fn load<M: Module>(
    module: &mut M,
    name: &'static str,
    weights: &Weights,
    stored: Option<Parameters>,
) -> Result<(), WeightsError> {
    let as_saved = weights.is_saved_by_burn;
    let own = parameters(module, as_saved);
    let stored = covering(stored, &own, name)?;
    let numbers = weights.numbers_of(&own, &stored, name)?;
    *module = with_numbers(module.clone(), numbers, as_saved);
    Ok(())
}

/// The weights of a module; without a word of where they lie, under its own names.
fn to_weights<M: Module>(
    module: &M,
    name: &'static str,
    stored: Option<Parameters>,
) -> Result<Weights, WeightsError> {
    let own = parameters(module, false);
    let stored = covering(stored, &own, name)?;
    let own = own
        .iter()
        .map(|parameter| (parameter.name.as_str(), parameter));
    let own: BTreeMap<&str, &Parameter> = own.collect();
    let mut tensors = BTreeMap::new();
    for (parameter, stored) in &stored.0 {
        let array = Array::new(own[parameter.as_str()].data());
        let written = stored.write(array, &mut tensors);
        written.map_err(|problem| WeightsError::Unsupported {
            layer: name,
            problem: format!("has a parameter {parameter} that {problem}"),
        })?;
    }
    let tensors = tensors.into_iter();
    let tensors = tensors.map(|(name, array)| (name, array.into_data()));
    Ok(Weights::from_tensors(tensors))
}

/// The layer has no names under this convention.
pub(crate) fn unsupported<P: Portable>(convention: Convention) -> WeightsError {
    WeightsError::Unsupported {
        layer: P::NAME,
        problem: format!("has no names under {convention:?}, only its own"),
    }
}

/// Where each parameter lies, as is given or else under its own name: all of them, and no others.
fn covering(
    stored: Option<Parameters>,
    own: &[Parameter],
    layer: &'static str,
) -> Result<Parameters, WeightsError> {
    let refused = |problem: String| Err(WeightsError::Unsupported { layer, problem });
    let is_packed = |parameter: &&Parameter| matches!(parameter.dtype, DType::QFloat(_));
    if let Some(packed) = own.iter().find(is_packed) {
        return refused(format!(
            "has a quantised parameter, {}, which is not read or written",
            packed.name
        ));
    }
    let stored = stored.unwrap_or_else(|| as_they_are(own));
    let names: BTreeSet<&str> = own
        .iter()
        .map(|parameter| parameter.name.as_str())
        .collect();
    let told: BTreeSet<&str> = stored.0.iter().map(|(name, _)| name.as_str()).collect();
    let list = |names: Vec<&&str>| names.into_iter().copied().collect::<Vec<_>>().join(", ");
    let (left, strange) = (
        names.difference(&told).collect::<Vec<_>>(),
        told.difference(&names).collect::<Vec<_>>(),
    );
    match (left.is_empty(), strange.is_empty()) {
        (true, true) => Ok(stored),
        (false, _) => refused(format!(
            "has parameters that have no name there: {}",
            list(left)
        )),
        (_, false) => refused(format!("has no parameters {}", list(strange))),
    }
}

fn as_they_are(own: &[Parameter]) -> Parameters {
    let stored = own.iter().map(|parameter| {
        let name = parameter.name.clone();
        (name.clone(), Stored::tensor(name, parameter.shape.clone()))
    });
    Parameters(stored.collect())
}

/// A matrix of a map, as PyTorch has it or as this crate does.
impl Portable for Linear {
    const NAME: &'static str = "Linear";

    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        match convention {
            Convention::PyTorch => Ok(turned(self, |name| name)),
            _ => Err(unsupported::<Self>(convention)),
        }
    }
}

impl Portable for Embedding {
    const NAME: &'static str = "Embedding";

    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        match convention {
            Convention::PyTorch => Ok(turned(self, |name| name)),
            _ => Err(unsupported::<Self>(convention)),
        }
    }
}

impl Portable for LayerNorm {
    const NAME: &'static str = "LayerNorm";

    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        match convention {
            Convention::PyTorch => Ok(turned(self, |name| match name.as_str() {
                "gamma" => "weight".to_owned(),
                "beta" => "bias".to_owned(),
                _ => name,
            })),
            _ => Err(unsupported::<Self>(convention)),
        }
    }
}

impl Portable for RmsNorm {
    const NAME: &'static str = "RmsNorm";

    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        match convention {
            Convention::PyTorch => Ok(turned(self, |name| match name.as_str() {
                "gamma" => "weight".to_owned(),
                _ => name,
            })),
            _ => Err(unsupported::<Self>(convention)),
        }
    }
}

/// Under the names of its fields, as it is saved by Burn; [`Lstm::try_from`](crate::Lstm) then makes one of ours of it.
impl Portable for nn::Lstm {
    const NAME: &'static str = "burn::nn::Lstm";
}

/// Under the names of its fields, as it is saved by Burn; [`Gru::try_from`](crate::Gru) then makes one of ours of it.
impl Portable for nn::Gru {
    const NAME: &'static str = "burn::nn::Gru";
}

/// The parameters of a module under other names; the matrices of linear maps lie there with their rows as columns.
pub(super) fn turned<M: Module>(module: &M, name: impl Fn(String) -> String) -> Parameters {
    let turned = parameters(module, false).into_iter().map(|parameter| {
        let in_file = name(parameter.name.clone());
        let stored = match parameter.is_linear {
            true => {
                let shape: Vec<usize> = parameter.shape.iter().rev().copied().collect();
                Stored::tensor(in_file, shape).transposed()
            }
            false => Stored::tensor(in_file, parameter.shape),
        };
        (parameter.name, stored)
    });
    Parameters(turned.collect())
}
