//! A layer that reads a sequence, and another of its kind that reads it from its end.

use burn::module::Module;
use burn::tensor::Tensor;

use crate::ops::rows;
use crate::recurrent::check_input;
use crate::{Recurrent, Segments};

/// Two layers of one kind, with parameters of their own: one reads each sequence from its beginning, the other from its end.
///
/// ```text
/// y_t = [→y_t ; ←y_t]        →y = forward(x_1 .. x_n)        ←y_n .. ←y_1 = backward(x_n .. x_1)
/// ```
///
/// where n is the sequence's own length: padding is read by neither ([`Segments`]). An output tells of the steps before and after it, so that there is
/// no step by itself, and no [`Recurrent`].
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - output: `[batch_size, seq_length, 2 d_output]`
///
/// # Source
///
/// M. Schuster, K. Paliwal, "Bidirectional recurrent neural networks", IEEE Transactions on Signal Processing 1997.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{Bidirectional, LstmConfig, Segments};
///
/// let device = Device::flex();
/// let config = LstmConfig::new(3, 8);
/// let both = Bidirectional::new(config.init(&device), config.init(&device));
/// let segments = Segments::new(2, 5).with_lengths(&[5, 2])?;
/// let (output, last) = both.forward(Tensor::ones([2, 5, 3], &device), Some(&segments));
/// assert_eq!(output.dims(), [2, 5, 16]);
/// assert_eq!(last.backward.hidden.dims(), [2, 8]); // after the first step of each sequence
/// # Ok::<(), fw_core::SegmentsError>(())
/// ```
#[derive(Module, Debug)]
pub struct Bidirectional<R: Module> {
    /// Reads from the beginning.
    pub forward: R,
    /// Reads from the end.
    pub backward: R,
}

/// The states in which the layers of a [`Bidirectional`] end.
#[derive(Clone, Debug)]
pub struct BidirectionalState<S> {
    /// After the last step of each sample.
    pub forward: S,
    /// After the first step of the last piece of each sample.
    pub backward: S,
}

impl<R: Recurrent> Bidirectional<R> {
    /// Two layers of equal sizes.
    ///
    /// # Panics
    /// If their sizes differ.
    #[track_caller]
    pub fn new(forward: R, backward: R) -> Self {
        let sizes = |layer: &R| [layer.d_input(), layer.d_output()];
        let (one, other) = (sizes(&forward), sizes(&backward));
        assert!(
            one == other,
            "the layer that reads forward has d_input and d_output {one:?}, the other {other:?}; they must be the same"
        );
        Bidirectional { forward, backward }
    }

    /// Width of one input step.
    pub fn d_input(&self) -> usize {
        self.forward.d_input()
    }

    /// Width of one output step, twice that of a layer.
    pub fn d_output(&self) -> usize {
        2 * self.forward.d_output()
    }

    /// Every sequence in both directions, each piece by itself.
    ///
    /// # Panics
    /// As [`forward_segments`](Recurrent::forward_segments).
    #[track_caller]
    pub fn forward(
        &self,
        input: Tensor<3>,
        segments: Option<&Segments>,
    ) -> (Tensor<3>, BidirectionalState<R::State>) {
        check_input(&input, self.d_input());
        let [batch_size, seq_length, _] = input.dims();
        let plain = Segments::new(batch_size, seq_length);
        let segments = segments.unwrap_or(&plain);
        let order = segments.reversed();
        let turned = |sequences: Tensor<3>| {
            let shape @ [_, _, width] = sequences.dims();
            rows(sequences.reshape([batch_size * seq_length, width]), &order).reshape(shape)
        };
        let (there, forward) = self.forward.forward_segments(input.clone(), None, segments);
        let (back, backward) = self
            .backward
            .forward_segments(turned(input), None, segments);
        let output = Tensor::cat(alloc::vec![there, turned(back)], 2);
        (output, BidirectionalState { forward, backward })
    }
}
