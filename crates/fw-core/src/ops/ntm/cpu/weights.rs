//! The slow weights, prepared once a call.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::layout::{Layout, Problem};
use crate::ops::cpu::{Packed, Real, Row};
use crate::ops::operation::Sources;

/// The weights that all samples share.
pub(super) struct Shared<T> {
    pub(super) layers: Vec<Layer<T>>,
    /// `[d_hidden, asked]`
    pub(super) heads: Packed<T>,
    pub(super) heads_bias: Vec<T>,
}

/// A layer of the controller.
pub(super) struct Layer<T> {
    /// `[d_input, gates]`; nothing but in a first layer whose input is not projected.
    pub(super) input: Packed<T>,
    /// `[width of what is below, gates]`
    pub(super) below: Packed<T>,
    /// `[d_hidden, gates]`; nothing without a state.
    pub(super) recurrent: Packed<T>,
    /// `[gates]`, without padding; nothing in a first layer whose input is projected.
    pub(super) bias: Vec<T>,
}

impl<T: Real> Shared<T> {
    /// Those that were made of the same weights before, if there are.
    pub(super) fn prepared(problem: &Problem<T>, layout: &Layout, sources: &Sources) -> Arc<Self> {
        // Of a projected input the first layer's weight is read in part.
        let variant = layout.hidden.lanes as u64 | u64::from(layout.d_input > 0) << 32;
        sources.prepared(variant, || Shared::new(problem, layout))
    }

    fn new(problem: &Problem<T>, layout: &Layout) -> Self {
        let n_gates = layout.sizes.n_gates();
        let pack = |matrix: &[T]| Packed::new(matrix, layout.hidden, n_gates);
        let layers = layers(problem, layout).into_iter().map(|layer| Layer {
            input: pack(layer.input),
            below: pack(layer.below),
            recurrent: pack(layer.recurrent),
            bias: layer.bias.to_vec(),
        });
        let of_heads = heads(layout, problem.read_weight, problem.write_weight);
        Shared {
            layers: layers.collect(),
            heads: Packed::new(&of_heads, layout.asked_row(), 1),
            heads_bias: heads(layout, problem.read_bias, problem.write_bias),
        }
    }
}

/// The weights of a layer of the controller, as in [`Layer`].
struct LayerSlices<'a, T> {
    input: &'a [T],
    below: &'a [T],
    recurrent: &'a [T],
    bias: &'a [T],
}

fn layers<'a, T>(problem: &Problem<'a, T>, layout: &Layout) -> Vec<LayerSlices<'a, T>> {
    let units = layout.hidden.units;
    let gates = layout.sizes.n_gates() * units;
    let of_reads = problem.first.len() - layout.reads.units * gates;
    let (input, below) = problem.first.split_at(of_reads);
    let mut layers = Vec::with_capacity(problem.sizes.n_layers);
    layers.push(LayerSlices {
        input: if problem.d_input > 0 { input } else { &[] },
        below,
        recurrent: problem.recurrent,
        bias: problem.first_bias,
    });
    let mut upper = problem.upper;
    for _ in 1..problem.sizes.n_layers {
        let mut take = |rows: usize| {
            let (taken, left) = upper.split_at(rows * gates);
            upper = left;
            taken
        };
        layers.push(LayerSlices {
            input: &[],
            below: take(units),
            recurrent: take(if layout.has_state() { units } else { 0 }),
            bias: take(1),
        });
    }
    layers
}

/// The columns of the read heads and of the write heads, arranged in rows of what the heads ask for.
fn heads<T: Real>(layout: &Layout, read: &[T], write: &[T]) -> Vec<T> {
    let width = layout.asked_width();
    let [of_read, of_write] = head_columns(layout);
    let rows = read.len() / of_read;
    let mut result = alloc::vec![T::zero(); rows * width];
    for (row, to) in result.chunks_exact_mut(width).enumerate() {
        let (read, write) = (&read[row * of_read..], &write[row * of_write..]);
        for piece in pieces(layout) {
            let from = match piece.is_read {
                true => &read[piece.column..],
                false => &write[piece.column..],
            };
            to[piece.place..][..piece.len].copy_from_slice(&from[..piece.len]);
        }
    }
    result
}

/// The reverse of [`heads`].
pub(super) fn split_heads<T: Real>(layout: &Layout, rows: &[T]) -> [Vec<T>; 2] {
    let width = layout.asked_width();
    let columns = head_columns(layout);
    let mut result = columns.map(|columns| alloc::vec![T::zero(); rows.len() / width * columns]);
    for (row, from) in rows.chunks_exact(width).enumerate() {
        for piece in pieces(layout) {
            let side = usize::from(!piece.is_read);
            let to = &mut result[side][row * columns[side] + piece.column..];
            to[..piece.len].copy_from_slice(&from[piece.place..][..piece.len]);
        }
    }
    result
}

/// Columns of the read heads' and of the write heads' linear map.
fn head_columns(layout: &Layout) -> [usize; 2] {
    let read = layout.addressing(layout.n_read);
    [
        read,
        layout.addressing(layout.n_write) + 2 * layout.asked[1].units,
    ]
}

/// Columns of a linear map, and where they lie in a row of what the heads ask for.
struct Piece {
    is_read: bool,
    column: usize,
    place: usize,
    len: usize,
}

fn pieces(layout: &Layout) -> [Piece; 4] {
    let [of_read, of_write] = [layout.n_read, layout.n_write].map(|n| layout.addressing(n));
    let writing = layout.asked[1].units;
    let piece = |is_read, column, place, len| Piece {
        is_read,
        column,
        place,
        len,
    };
    [
        piece(true, 0, 0, of_read),
        piece(false, 0, of_read, of_write),
        piece(false, of_write, layout.erase(), writing),
        piece(false, of_write + writing, layout.add(), writing),
    ]
}

/// The transposed weights, for the backward pass.
pub(super) struct Transposed<T> {
    pub(super) layers: Vec<TransposedLayer<T>>,
    /// `[asked, d_hidden]`
    pub(super) heads: Packed<T>,
}

pub(super) struct TransposedLayer<T> {
    /// `[gates, d_input]`
    pub(super) input: Packed<T>,
    /// `[gates, width of what is below]`
    pub(super) below: Packed<T>,
    /// `[gates, d_hidden]`
    pub(super) recurrent: Packed<T>,
}

impl<T: Real> Transposed<T> {
    /// That of the input only if `with_input`.
    pub(super) fn new(problem: &Problem<T>, layout: &Layout, with_input: bool) -> Self {
        let (hidden, n_gates) = (layout.hidden, layout.sizes.n_gates());
        let turn = |matrix: &[T], to: Row| Packed::transposed(matrix, hidden, n_gates, to);
        let layers = layers(problem, layout).into_iter().enumerate();
        let layers = layers.map(|(index, layer)| TransposedLayer {
            input: match with_input {
                true => turn(layer.input, layout.input_row(index)),
                false => turn(&[], Row::new(0, hidden.lanes)),
            },
            below: turn(layer.below, layout.below(index)),
            recurrent: turn(layer.recurrent, layout.state_row()),
        });
        let of_heads = heads(layout, problem.read_weight, problem.write_weight);
        Transposed {
            layers: layers.collect(),
            heads: Packed::transposed(&of_heads, layout.asked_row(), 1, hidden),
        }
    }
}
