//! Recurrent cells as PyTorch, Keras and ONNX have them.

use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::Tensor;

use super::WeightsError;
use super::portable::{Convention, Parameters, Portable, turned, unsupported};
use super::stored::Stored;
use crate::{
    AssociativeLstm, Attention, Bidirectional, Block, Blocks, Checkpointed, Elman, EncoderDecoder,
    FastWeights, GatedConvolution, Gru, LearnedStart, Lstm, Mlp, Norm, Recurrent, RecurrentCell,
    SLstm, Sab, Stack,
};

/// How the gates of a kind of cell lie in the files of others: of each of our blocks, which of theirs it is.
struct Gates<const N: usize> {
    pytorch: [usize; N],
    onnx: [usize; N],
}

/// Ours are i, f, g, o; so are PyTorch's and Keras's. ONNX has i, o, f, g.
const LSTM: Gates<4> = Gates {
    pytorch: [0, 1, 2, 3],
    onnx: [0, 2, 3, 1],
};
/// Ours are update, reset, new; so are Keras's and ONNX's (z, r, h). PyTorch has r, z, n.
const GRU: Gates<3> = Gates {
    pytorch: [1, 0, 2],
    onnx: [0, 1, 2],
};
const ELMAN: Gates<1> = Gates {
    pytorch: [0],
    onnx: [0],
};

/// The parts of a cell: its maps, and what its second bias is called, if there are two.
struct Cell<'a> {
    input: &'a Linear,
    /// The name of the state's matrix, and itself.
    hidden: (&'static str, &'a Param<Tensor<2>>),
    hidden_bias: Option<&'static str>,
}

impl Cell<'_> {
    /// Widths of the input and of the state.
    fn widths(&self) -> [usize; 2] {
        let [d_input, _] = self.input.weight.lazy_shape().dims();
        let [d_hidden, _] = self.hidden.1.lazy_shape().dims();
        [d_input, d_hidden]
    }

    /// The biases: one of two that are added up, or both.
    fn biases(&self, into: Parameters, of_input: Stored, of_hidden: Stored) -> Parameters {
        match (&self.input.bias, self.hidden_bias) {
            (None, _) => into,
            (Some(_), None) => into.and("input.bias", Stored::Sum(vec![of_input, of_hidden])),
            (Some(_), Some(name)) => into.and("input.bias", of_input).and(name, of_hidden),
        }
    }

    fn pytorch<const N: usize>(&self, gates: &Gates<N>, behind: &str) -> Parameters {
        let [d_input, d_hidden] = self.widths();
        let rows = N * d_hidden;
        let matrix = |name: &str, width: usize| {
            let matrix = Stored::tensor(format!("{name}{behind}"), [rows, width]);
            matrix.blocks(&gates.pytorch).transposed()
        };
        let bias =
            |name: &str| Stored::tensor(format!("{name}{behind}"), [rows]).blocks(&gates.pytorch);
        let matrices = Parameters::default()
            .and("input.weight", matrix("weight_ih", d_input))
            .and(self.hidden.0, matrix("weight_hh", d_hidden));
        self.biases(matrices, bias("bias_ih"), bias("bias_hh"))
    }

    /// Gates lie there as ours do.
    fn keras<const N: usize>(&self) -> Parameters {
        let [d_input, d_hidden] = self.widths();
        let columns = N * d_hidden;
        let matrices = Parameters::default()
            .and("input.weight", Stored::tensor("kernel", [d_input, columns]))
            .and(
                self.hidden.0,
                Stored::tensor("recurrent_kernel", [d_hidden, columns]),
            );
        match (&self.input.bias, self.hidden_bias) {
            (None, _) => matrices,
            (Some(_), None) => matrices.and("input.bias", Stored::tensor("bias", [columns])),
            (Some(_), Some(name)) => {
                let row = |row| {
                    let both = Stored::tensor("bias", [2, columns]);
                    both.rows(vec![(row, 1)]).reshaped([columns])
                };
                matrices.and("input.bias", row(0)).and(name, row(1))
            }
        }
    }

    fn onnx<const N: usize>(&self, gates: &Gates<N>) -> Parameters {
        let [d_input, d_hidden] = self.widths();
        let rows = N * d_hidden;
        let matrix = |name: &str, width: usize| {
            let matrix = Stored::tensor(name, [1, rows, width]).reshaped([rows, width]);
            matrix.blocks(&gates.onnx).transposed()
        };
        let bias = |first: usize| {
            let both = Stored::tensor("B", [1, 2 * rows]).reshaped([2 * rows]);
            both.rows(vec![(first, rows)]).blocks(&gates.onnx)
        };
        let matrices = Parameters::default()
            .and("input.weight", matrix("W", d_input))
            .and(self.hidden.0, matrix("R", d_hidden));
        self.biases(matrices, bias(0), bias(rows))
    }

    fn parameters<const N: usize>(
        &self,
        gates: &Gates<N>,
        convention: Convention,
        layer: &'static str,
    ) -> Result<Parameters, WeightsError> {
        Ok(match convention {
            Convention::Own => return Err(refused(layer, "has its own names from its fields")),
            Convention::PyTorch => self.pytorch(gates, "_l0"),
            Convention::PyTorchCell => self.pytorch(gates, ""),
            Convention::Keras { .. } => self.keras::<N>(),
            Convention::Onnx { .. } => self.onnx(gates),
        })
    }
}

fn refused(layer: &'static str, problem: impl Into<String>) -> WeightsError {
    WeightsError::Unsupported {
        layer,
        problem: problem.into(),
    }
}

fn without_norm(layer: &'static str, has_norm: bool) -> Result<(), WeightsError> {
    match has_norm {
        true => Err(refused(
            layer,
            "is layer-normalised, which theirs is not; Convention::Own has its names",
        )),
        false => Ok(()),
    }
}

impl Lstm {
    fn cell(&self) -> Cell<'_> {
        Cell {
            input: &self.input,
            hidden: ("w_hidden", &self.w_hidden),
            hidden_bias: None,
        }
    }
}

impl Portable for Lstm {
    const NAME: &'static str = "Lstm";

    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        self.cell().parameters(&LSTM, convention, Self::NAME)
    }

    fn numbered(&self, behind: &str) -> Result<Option<Parameters>, WeightsError> {
        Ok(Some(self.cell().pytorch(&LSTM, behind)))
    }
}

impl Gru {
    fn cell(&self) -> Result<Cell<'_>, WeightsError> {
        without_norm(Self::NAME, self.norm.is_some())?;
        Ok(Cell {
            input: &self.input,
            hidden: ("hidden.weight", &self.hidden.weight),
            hidden_bias: Some("hidden.bias"),
        })
    }
}

impl Portable for Gru {
    const NAME: &'static str = "Gru";

    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        let resets_before = matches!(
            convention,
            Convention::Keras { reset_after: false }
                | Convention::Onnx {
                    linear_before_reset: false
                }
        );
        if resets_before {
            let problem = format!(
                "has a reset gate that acts after the product; under {convention:?} it acts before, which is another function"
            );
            return Err(refused(Self::NAME, problem));
        }
        self.cell()?.parameters(&GRU, convention, Self::NAME)
    }

    fn numbered(&self, behind: &str) -> Result<Option<Parameters>, WeightsError> {
        Ok(Some(self.cell()?.pytorch(&GRU, behind)))
    }
}

impl Elman {
    fn cell(&self) -> Result<Cell<'_>, WeightsError> {
        without_norm(Self::NAME, self.norm.is_some())?;
        Ok(Cell {
            input: &self.input,
            hidden: ("w_hidden", &self.w_hidden),
            hidden_bias: None,
        })
    }
}

/// Files do not say the nonlinearity: it is that of [`ElmanConfig`](crate::ElmanConfig).
impl Portable for Elman {
    const NAME: &'static str = "Elman";

    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        self.cell()?.parameters(&ELMAN, convention, Self::NAME)
    }

    fn numbered(&self, behind: &str) -> Result<Option<Parameters>, WeightsError> {
        Ok(Some(self.cell()?.pytorch(&ELMAN, behind)))
    }
}

/// Under [`Convention::PyTorch`], an LSTM, a GRU or an RNN with `num_layers`; other layers lie below `layers.0`, `layers.1`, ..
impl<R: Recurrent + Portable> Portable for Stack<R> {
    const NAME: &'static str = "Stack";

    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        only_pytorch::<Self>(convention)?;
        let mut all = Parameters::default();
        for (index, layer) in self.layers.iter().enumerate() {
            let of_layer = match layer.numbered(&format!("_l{index}"))? {
                Some(numbered) => numbered,
                None => {
                    let of_layer = layer.parameters(convention)?;
                    of_layer.named(|name| format!("layers.{index}.{name}"))
                }
            };
            all = all.below(&format!("layers.{index}"), of_layer);
        }
        Ok(all)
    }
}

/// Under [`Convention::PyTorch`], a layer that is `bidirectional`.
impl<R: Recurrent + Portable> Portable for Bidirectional<R> {
    const NAME: &'static str = "Bidirectional";

    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        only_pytorch::<Self>(convention)?;
        both_directions(self, 0)
    }
}

/// Under [`Convention::PyTorch`], a layer that is `bidirectional` and has `num_layers`: each reads what both directions of the one before yield.
impl<R: Recurrent + Portable> Portable for Vec<Bidirectional<R>> {
    const NAME: &'static str = "Vec<Bidirectional>";

    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        only_pytorch::<Self>(convention)?;
        let mut all = Parameters::default();
        for (index, layer) in self.iter().enumerate() {
            all = all.below(&index.to_string(), both_directions(layer, index)?);
        }
        Ok(all)
    }
}

fn both_directions<R: Recurrent + Portable>(
    layer: &Bidirectional<R>,
    index: usize,
) -> Result<Parameters, WeightsError> {
    let numbered = |layer: &R, behind: &str| {
        let numbered = layer.numbered(&format!("_l{index}{behind}"))?;
        numbered.ok_or_else(|| unsupported::<R>(Convention::PyTorch))
    };
    let both = Parameters::default().below("forward", numbered(&layer.forward, "")?);
    Ok(both.below("backward", numbered(&layer.backward, "_reverse")?))
}

/// Layers of several layers have names of PyTorch's, and their own.
fn only_pytorch<P: Portable>(convention: Convention) -> Result<(), WeightsError> {
    match convention {
        Convention::PyTorch => Ok(()),
        _ => Err(refused(
            P::NAME,
            format!("has no names under {convention:?}; load its layers one by one"),
        )),
    }
}

/// Under [`Convention::PyTorch`], `encoder` and `decoder`, `score`, a linear map, and `norm`, a layer normalisation.
impl<R: Recurrent + Portable> Portable for EncoderDecoder<R> {
    const NAME: &'static str = "EncoderDecoder";

    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        only_pytorch::<Self>(convention)?;
        let mut all = Parameters::default()
            .part("encoder", &self.encoder, convention)?
            .part("decoder", &self.decoder, convention)?;
        if let Some(score) = &self.score {
            all = all.part("score", score, convention)?;
        }
        if let Some(norm) = &self.norm {
            all = all.part("norm", norm, convention)?;
        }
        Ok(all)
    }
}

/// Under [`Convention::PyTorch`], linear maps with the names of flash-linear-attention's `Attention` and Llama's.
impl Portable for Attention {
    const NAME: &'static str = "Attention";

    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        only_pytorch::<Self>(convention)?;
        Ok(turned(self, |name| name))
    }
}

/// Under [`Convention::PyTorch`], a `convolution` of each channel, its `bias` beside it, and `gate`, a linear map.
impl Portable for GatedConvolution {
    const NAME: &'static str = "GatedConvolution";

    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        only_pytorch::<Self>(convention)?;
        Ok(turned(self, |name| name))
    }
}

/// Under [`Convention::PyTorch`], a module with these fields: norms, maps, and `blocks`, a list.
impl<R: Recurrent + Portable> Portable for Blocks<R> {
    const NAME: &'static str = "Blocks";

    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        only_pytorch::<Self>(convention)?;
        let mut all = Parameters::default();
        if let Some(input) = &self.input {
            all = all.part("input", input, convention)?;
        }
        for (index, block) in self.blocks.iter().enumerate() {
            all = all.part(&format!("blocks.{index}"), block, convention)?;
        }
        all.part("norm", &self.norm, convention)
    }
}

impl<R: Recurrent + Portable> Portable for Block<R> {
    const NAME: &'static str = "Block";

    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        let mut all = Parameters::default()
            .part("norm", &self.norm, convention)?
            .part("layer", &self.layer, convention)?;
        if let Some(output) = &self.output {
            all = all.part("output", output, convention)?;
        }
        if let Some(mlp) = &self.mlp {
            all = all.part("mlp", mlp, convention)?;
        }
        Ok(all)
    }
}

impl Portable for Mlp {
    const NAME: &'static str = "Mlp";

    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        Parameters::default()
            .part("norm", &self.norm, convention)?
            .part("gate", &self.gate, convention)?
            .part("up", &self.up, convention)?
            .part("down", &self.down, convention)
    }
}

impl Portable for Norm {
    const NAME: &'static str = "Norm";

    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        match self {
            Norm::Layer(norm) => norm.parameters(convention),
            Norm::Rms(norm) => norm.parameters(convention),
        }
    }
}

impl Portable for SLstm {
    const NAME: &'static str = "SLstm";
}

impl Portable for AssociativeLstm {
    const NAME: &'static str = "AssociativeLstm";
}

impl Portable for FastWeights {
    const NAME: &'static str = "FastWeights";
}

impl<C: RecurrentCell> Portable for Sab<C> {
    const NAME: &'static str = "Sab";
}

impl<R: Recurrent> Portable for LearnedStart<R> {
    const NAME: &'static str = "LearnedStart";
}

impl<R: Recurrent> Portable for Checkpointed<R> {
    const NAME: &'static str = "Checkpointed";
}
