//! The sizes of a machine, and what every kernel of it relies on.

use burn::tensor::{DType, Tensor};

use super::{Addressing, SlowWeights, State, StateSizes};
use crate::error::expect_fits;
use crate::ops::shapes::check;
use crate::ops::{Activation, Sequence, Spans};

/// The sizes of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sizes {
    /// The nonlinearity of a feed-forward controller; none of an LSTM.
    pub(super) activation: Option<Activation>,
    pub(super) d_hidden: usize,
    pub(super) n_layers: usize,
    pub(super) n_read: usize,
    pub(super) n_write: usize,
    pub(super) memory_size: usize,
    pub(super) word_size: usize,
    pub(super) shift_width: usize,
}

impl Sizes {
    /// # Panics
    /// If a tensor has not the shape or the type that the others ask for.
    #[track_caller]
    pub(super) fn new(
        input: &Sequence,
        spans: &Spans,
        state: &State,
        weights: &SlowWeights,
    ) -> Self {
        let [_, memory_size, word_size] = state.memory.dims();
        let n_read = state.reads.dims()[1];
        let of_head = |bias: &Tensor<1>, heads: usize| bias.dims()[0] / heads.max(1);
        let addressing = of_head(&weights.read_head.1, n_read);
        let sizes = Sizes {
            activation: weights.activation,
            d_hidden: weights.read_head.0.dims()[0],
            n_layers: weights.layers.len(),
            n_read,
            n_write: of_head(&weights.write_head.1, addressing + 2 * word_size),
            memory_size,
            word_size,
            shift_width: addressing.saturating_sub(Addressing::width(word_size, 0)),
        };
        sizes.check(input, spans, state, weights);
        sizes
    }

    /// Numbers for each unit in the product of a controller's layer.
    pub(super) fn n_gates(&self) -> usize {
        match self.activation {
            None => 4,
            Some(_) => 1,
        }
    }

    /// Layers of the controller that carry a state: all, or none.
    pub(super) fn n_states(&self) -> usize {
        match self.activation {
            None => self.n_layers,
            Some(_) => 0,
        }
    }

    #[track_caller]
    fn check(&self, input: &Sequence, spans: &Spans, state: &State, weights: &SlowWeights) {
        let Sizes {
            d_hidden,
            memory_size,
            word_size,
            n_read,
            n_write,
            shift_width,
            ..
        } = *self;
        let [batch_size, seq_length, width] = input.tensor().dims();
        let sizes = [
            batch_size,
            seq_length,
            d_hidden,
            memory_size,
            word_size,
            n_read,
            n_write,
        ];
        assert!(
            sizes.iter().all(|size| *size > 0),
            "batch_size, seq_length, d_controller, memory_size, word_size, n_read_heads and n_write_heads are {sizes:?}; each \
             must be at least 1"
        );
        assert!(
            shift_width % 2 == 1 && shift_width <= memory_size,
            "shift_width is {shift_width}; it must be odd and at most memory_size, {memory_size}"
        );
        assert!(width > 0, "the input is 0 wide; it must be at least 1");
        let expected = spans.shape();
        assert!(
            [batch_size, seq_length] == expected,
            "the input has {batch_size} samples of {seq_length} steps; the spans ask for {} of {}",
            expected[0],
            expected[1]
        );
        let dtype = input.tensor().dtype();
        if let Sequence::Projected(projected) = input {
            let expected = [batch_size, seq_length, self.n_gates() * d_hidden];
            check("the projected input", projected, expected, dtype);
        }
        let below_first = match input {
            Sequence::Raw(_) => width + n_read * word_size,
            Sequence::Projected(_) => weights.layers[0].weight.dims()[0].max(n_read * word_size),
        };
        self.check_weights(weights, below_first, dtype);
        let sizes = StateSizes {
            batch_size: spans.n_samples(),
            d_hidden,
            n_states: self.n_states(),
            memory_size,
            word_size,
            n_read,
            n_write,
        };
        expect_fits(state.check(sizes, dtype));
    }

    #[track_caller]
    fn check_weights(&self, weights: &SlowWeights, below_first: usize, dtype: DType) {
        let (d_hidden, gates) = (self.d_hidden, self.n_gates() * self.d_hidden);
        for (index, layer) in weights.layers.iter().enumerate() {
            let below = if index == 0 { below_first } else { d_hidden };
            check("a layer's weight", &layer.weight, [below, gates], dtype);
            check("a layer's bias", &layer.bias, [gates], dtype);
            if let Some(recurrent) = &layer.recurrent {
                check("a recurrent weight", recurrent, [d_hidden, gates], dtype);
            }
            assert!(
                layer.recurrent.is_some() == self.activation.is_none(),
                "the layers of an LSTM, and no others, have recurrent weights"
            );
        }
        let addressing = Addressing::width(self.word_size, self.shift_width);
        let of_write = addressing + 2 * self.word_size;
        let heads = [
            ("read", &weights.read_head, self.n_read * addressing),
            ("write", &weights.write_head, self.n_write * of_write),
        ];
        for (name, (weight, bias), width) in heads {
            let expected = [d_hidden, width];
            check(
                format_args!("the {name} heads' weight"),
                weight,
                expected,
                dtype,
            );
            check(format_args!("the {name} heads' bias"), bias, [width], dtype);
        }
    }
}
