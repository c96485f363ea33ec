//! What an operation over a whole sequence begins with.

use burn::tensor::Tensor;

/// The input of a sequence, or what the layer's projection has made of it.
#[derive(Clone, Debug)]
pub(crate) enum Sequence {
    /// `[batch_size, seq_length, d_input]`
    Raw(Tensor<3>),
    /// What the projection yields of every step, `[batch_size, seq_length, width]`.
    Projected(Tensor<3>),
}

impl Sequence {
    pub(crate) fn tensor(&self) -> &Tensor<3> {
        match self {
            Sequence::Raw(tensor) | Sequence::Projected(tensor) => tensor,
        }
    }

    /// What `project` makes of the input, unless that is what there is.
    pub(crate) fn projected(self, project: impl FnOnce(Tensor<3>) -> Tensor<3>) -> Tensor<3> {
        match self {
            Sequence::Raw(input) => project(input),
            Sequence::Projected(projected) => projected,
        }
    }
}
