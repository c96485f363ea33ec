//! Where things lie in the scratch memory and in the sums.

use alloc::vec::Vec;

use super::super::addressing::ring_width;
use super::super::layout::Layout;
use crate::ops::cpu::{Offsets, Pairs, Row};

/// Where the sums of the gradients of a linear map lie, rows padded.
#[derive(Clone, Copy)]
pub(super) struct Sum {
    pub(super) weight: usize,
    pub(super) bias: usize,
}

/// Where the sums of the weights' gradients lie.
pub(super) struct Sums {
    /// Of each layer: rows of what is below, then of its state.
    pub(super) layers: Vec<Sum>,
    pub(super) heads: Sum,
    pub(super) size: usize,
}

impl Sums {
    pub(super) fn new(layout: &Layout) -> Self {
        let mut offsets = Offsets::default();
        let mut sum = |rows: usize, width: usize| Sum {
            weight: offsets.take(rows * width),
            bias: offsets.take(width),
        };
        let layers = 0..layout.n_layers;
        let layers = layers.map(|layer| sum(left_units(layout, layer), layout.gates_width()));
        Sums {
            layers: layers.collect(),
            heads: sum(layout.hidden.units, layout.asked_width()),
            size: offsets.end(),
        }
    }
}

/// Units of the row that a layer's weights are multiplied by: its input, what is below, then its own state.
fn left_units(layout: &Layout, layer: usize) -> usize {
    let rows = [
        layout.input_row(layer),
        layout.below(layer),
        layout.state_row(),
    ];
    rows.map(|row| row.units).iter().sum()
}

/// Where things lie in the scratch memory: offsets within a sample's piece, then within what a group of samples shares.
pub(super) struct Room {
    /// Gradients of h, and of c, of each layer, of what was read, of the weightings and of the memory, as they go from step to step. They
    /// come first in the piece.
    pub(super) hidden: usize,
    pub(super) carries: usize,
    pub(super) reads: usize,
    pub(super) weights: usize,
    pub(super) memory: usize,
    /// The numbers of all of these.
    pub(super) carried: usize,
    /// Memories that are written again.
    pub(super) rewritten: usize,
    pub(super) sample: usize,
    /// Gradients of K, a row of slots for each head; another row of slots.
    pub(super) cosines: usize,
    pub(super) spare: usize,
    /// A row of the input for each sample.
    pub(super) input: usize,
    pub(super) rings: usize,
    pub(super) between: usize,
    pub(super) layers: Vec<Pairs>,
    pub(super) heads: Pairs,
    pub(super) common: usize,
}

impl Room {
    pub(super) fn new(layout: &Layout, sums: &Sums) -> Self {
        let (hidden, slots) = (layout.hidden.width, layout.slots.width);
        let mut sample = Offsets::default();
        let mut common = Offsets::default();
        let with_state = layout.sizes.n_states();
        let mut pairs = |left_units: usize, right_width: usize, sum: Sum| {
            let [left, right] = [left_units, right_width].map(|n| Row::new(n, layout.hidden.lanes));
            Pairs::new(&mut common, left, right, sum.weight, Some(sum.bias))
        };
        let layers = sums
            .layers
            .iter()
            .enumerate()
            .map(|(layer, sum)| pairs(left_units(layout, layer), layout.gates_width(), *sum));
        Room {
            layers: layers.collect(),
            heads: pairs(layout.hidden.units, layout.asked_width(), sums.heads),
            hidden: sample.take(layout.n_layers * hidden),
            carries: sample.take(with_state * hidden),
            reads: sample.take(layout.reads.width),
            weights: sample.take(layout.n_heads() * slots),
            memory: sample.take(layout.memory_numbers()),
            carried: sample.end(),
            rewritten: sample.take(layout.rewritten() * layout.memory_numbers()),
            sample: sample.end(),
            cosines: common.take(layout.n_heads() * slots),
            spare: common.take(slots),
            input: common.take(layout.group * layout.input_row(0).width),
            rings: common.take(2 * ring_width(layout)),
            between: common.take((layout.n_write - 1) * layout.memory_numbers()),
            common: common.end(),
        }
    }
}
