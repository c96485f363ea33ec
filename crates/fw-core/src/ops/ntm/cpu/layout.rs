//! Sizes, where things lie, and what is prepared once a call.

use alloc::vec::Vec;

use crate::ops::Activation;
use crate::ops::cpu::{Arch, Buffer, Offsets, Packed, Parts, Real, Row};

/// The most samples that a thread takes at a time.
const MOST_SAMPLES: usize = 8;

/// Steps from one memory on the tape to the next: of 1, 2, 4, 8 and 16 none was faster than another at lengths 20 and 60, and
/// this keeps the least.
const INTERVAL: usize = 16;

/// What the controller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum ControllerKind {
    Lstm,
    FeedForward(Activation),
}

impl ControllerKind {
    /// Numbers for each unit in a layer's product.
    pub(in super::super) fn n_gates(self) -> usize {
        match self {
            ControllerKind::Lstm => 4,
            ControllerKind::FeedForward(_) => 1,
        }
    }

    /// Layers with a state of their own: all, or none.
    fn n_states(self, n_layers: usize) -> usize {
        match self {
            ControllerKind::Lstm => n_layers,
            ControllerKind::FeedForward(_) => 0,
        }
    }
}

/// A call: sizes and inputs, all contiguous and batch first. G is the number of gates, H `d_hidden`, L `n_layers`.
#[derive(Clone, Copy)]
pub(in super::super) struct Problem<'a, T> {
    pub(in super::super) batch_size: usize,
    pub(in super::super) seq_length: usize,
    pub(in super::super) d_hidden: usize,
    pub(in super::super) n_layers: usize,
    pub(in super::super) memory_size: usize,
    pub(in super::super) word_size: usize,
    pub(in super::super) n_read: usize,
    pub(in super::super) n_write: usize,
    pub(in super::super) shift_width: usize,
    pub(in super::super) controller: ControllerKind,
    /// Width of the input; 0 if it is what the first layer's projection yields.
    pub(in super::super) d_input: usize,
    /// `[batch_size, seq_length, d_input]`, or `[batch_size, seq_length, G H]` if it is projected.
    pub(in super::super) input: &'a [T],
    /// The first layer's weight, `[d_input + n_read word_size, G H]`: of a projected input only the rows of what is read count.
    pub(in super::super) first: &'a [T],
    /// The first layer's bias, `[G H]`; nothing if the input is projected.
    pub(in super::super) first_bias: &'a [T],
    /// The first layer's recurrent weight, `[H, G H]`; nothing in a feed-forward controller.
    pub(in super::super) recurrent: &'a [T],
    /// For each further layer its weight `[H, G H]`, its recurrent weight, if it has one, and its bias `[G H]`.
    pub(in super::super) upper: &'a [T],
    pub(in super::super) read_weight: &'a [T],
    pub(in super::super) read_bias: &'a [T],
    pub(in super::super) write_weight: &'a [T],
    pub(in super::super) write_bias: &'a [T],
    /// h and c of each layer, `[batch_size, L, H]`; nothing in a feed-forward controller.
    pub(in super::super) hidden: &'a [T],
    pub(in super::super) cell: &'a [T],
    /// `[batch_size, memory_size, word_size]`.
    pub(in super::super) memory: &'a [T],
    /// `[batch_size, n_read, word_size]`.
    pub(in super::super) reads: &'a [T],
    /// `[batch_size, n_heads, memory_size]`.
    pub(in super::super) weights: &'a [T],
}

impl<T> Problem<'_, T> {
    /// Numbers in a row of the output.
    pub(in super::super) fn output_width(&self) -> usize {
        self.d_hidden + self.n_read * self.word_size
    }

    /// Where each of the results begins, and where the last ends: output rows, memory, weightings, h, c.
    pub(in super::super) fn results(&self) -> [usize; 6] {
        let mut offsets = Offsets::default();
        let rows = self.batch_size * self.seq_length * self.output_width();
        [
            offsets.take(rows),
            offsets.take(self.memory.len()),
            offsets.take(self.weights.len()),
            offsets.take(self.hidden.len()),
            offsets.take(self.cell.len()),
            offsets.end(),
        ]
    }
}

/// Where the numbers of a call lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) seq_length: usize,
    pub(super) controller: ControllerKind,
    pub(super) n_layers: usize,
    pub(super) n_read: usize,
    pub(super) n_write: usize,
    pub(super) word: usize,
    pub(super) shift_width: usize,
    /// Width of the input; 0 if it is projected.
    pub(super) d_input: usize,
    /// A row of hidden units; of what is read; of the memory's words.
    pub(super) hidden: Row,
    pub(super) reads: Row,
    pub(super) slots: Row,
    /// What the heads ask for: the addressing of all heads, then all erase vectors, then all add vectors.
    pub(super) asked: [Row; 3],
    /// Whether what each step computes is kept.
    keep: bool,
    /// Samples that a thread takes at a time.
    pub(super) group: usize,
    // Offsets within a sample's piece.
    read: usize,
    hiddens: usize,
    carries: usize,
    gates: usize,
    parameters: usize,
    weights: usize,
    contents: usize,
    cosines: usize,
    logs: usize,
    inverse_norms: usize,
    memories: usize,
    /// The memory as it is now.
    pub(super) memory: usize,
    /// Numbers of a sample's piece.
    pub(super) sample: usize,
}

impl Layout {
    pub(super) fn new<T: Real>(problem: &Problem<T>, lanes: usize, keep: bool) -> Self {
        let (n_read, n_write, word) = (problem.n_read, problem.n_write, problem.word_size);
        let n_heads = n_read + n_write;
        let row = |units| Row::new(units, lanes);
        let mut layout = Layout {
            seq_length: problem.seq_length,
            controller: problem.controller,
            n_layers: problem.n_layers,
            n_read,
            n_write,
            word,
            shift_width: problem.shift_width,
            d_input: problem.d_input,
            hidden: row(problem.d_hidden),
            reads: row(n_read * word),
            slots: row(problem.memory_size),
            asked: [
                row(n_heads * (word + 3 + problem.shift_width)),
                row(n_write * word),
                row(n_write * word),
            ],
            keep,
            group: Parts::group(problem.batch_size, MOST_SAMPLES),
            read: 0,
            hiddens: 0,
            carries: 0,
            gates: 0,
            parameters: 0,
            weights: 0,
            contents: 0,
            cosines: 0,
            logs: 0,
            inverse_norms: 0,
            memories: 0,
            memory: 0,
            sample: 0,
        };
        let steps = if keep { problem.seq_length } else { 1 };
        let states = if keep { steps + 1 } else { 1 };
        let with_state = problem.controller.n_states(problem.n_layers);
        let (hidden, slots) = (layout.hidden.width, layout.slots.width);
        let mut offsets = Offsets::default();
        layout.read = offsets.take(states * layout.reads.width);
        layout.hiddens = offsets.take(problem.n_layers * states * hidden);
        layout.carries = offsets.take(with_state * states * hidden);
        layout.gates = offsets.take(with_state * steps * layout.gates_width());
        layout.parameters = offsets.take(steps * layout.asked_width());
        layout.weights = offsets.take(states * n_heads * slots);
        layout.contents = offsets.take(steps * n_heads * slots);
        layout.cosines = offsets.take(steps * n_heads * slots);
        layout.logs = offsets.take(steps * n_heads * slots);
        layout.inverse_norms = offsets.take(steps * slots);
        let kept = if keep { steps.div_ceil(INTERVAL) } else { 0 };
        layout.memories = offsets.take(kept * layout.memory_numbers());
        layout.memory = offsets.take(layout.memory_numbers());
        layout.sample = offsets.end();
        layout
    }

    pub(super) fn n_heads(&self) -> usize {
        self.n_read + self.n_write
    }

    /// Whether the controller's layers have a state.
    pub(super) fn has_state(&self) -> bool {
        self.controller == ControllerKind::Lstm
    }

    /// Numbers in a row of gates: a padded row for each.
    pub(super) fn gates_width(&self) -> usize {
        self.controller.n_gates() * self.hidden.width
    }

    /// Numbers in a row of what the heads ask for.
    pub(super) fn asked_width(&self) -> usize {
        self.asked.iter().map(|row| row.width).sum()
    }

    /// Such a row, padding and all.
    fn asked_row(&self) -> Row {
        Row::new(self.asked_width(), self.hidden.lanes)
    }

    /// The row of the input that a layer reads; none if it is projected, or of another layer.
    pub(super) fn input_row(&self, layer: usize) -> Row {
        let units = if layer == 0 { self.d_input } else { 0 };
        Row::new(units, self.hidden.lanes)
    }

    /// The row of its own state that a layer reads; none without a state.
    pub(super) fn state_row(&self) -> Row {
        let units = if self.has_state() {
            self.hidden.units
        } else {
            0
        };
        Row::new(units, self.hidden.lanes)
    }

    /// Where the erase and the add vectors begin in such a row.
    #[inline(always)]
    pub(super) fn erase(&self) -> usize {
        self.asked[0].width
    }

    #[inline(always)]
    pub(super) fn add(&self) -> usize {
        self.asked[0].width + self.asked[1].width
    }

    /// Where a head's addressing begins in such a row: its key, then β, γ, g and s.
    #[inline(always)]
    pub(super) fn addressing(&self, head: usize) -> usize {
        head * (self.word + 3 + self.shift_width)
    }

    /// Numbers of a memory: a padded row for each place of a word.
    pub(super) fn memory_numbers(&self) -> usize {
        self.word * self.slots.width
    }

    /// The row below a layer, without its padding.
    pub(super) fn below(&self, layer: usize) -> Row {
        match layer {
            0 => self.reads,
            _ => self.hidden,
        }
    }

    /// The samples of a batch, shared among threads.
    pub(super) fn parts(&self, batch_size: usize) -> Parts {
        let (h, gates) = (self.hidden.width, self.gates_width());
        let layers = (self.d_input + self.reads.width + 2 * self.n_layers * h) * gates;
        let heads = h * self.asked_width();
        // Each head reads or writes the memory twice; a weighting costs some fifty multiply-adds for each slot.
        let memory = self.n_heads() * self.slots.width * (2 * self.word + 50);
        Parts::new(
            batch_size,
            self.group,
            self.seq_length * (layers + heads + memory),
        )
    }

    /// The place of a row for step `t`, where steps are kept, else of the only one.
    #[inline(always)]
    fn at(&self, start: usize, t: usize, width: usize) -> usize {
        start + if self.keep { t * width } else { 0 }
    }

    /// The place of a row of a layer for step `t` of `n`.
    #[inline(always)]
    fn of_layer(&self, start: usize, layer: usize, n: usize, t: usize, width: usize) -> usize {
        let n = if self.keep { n } else { 1 };
        self.at(start + layer * n * width, t, width)
    }

    /// What was read before step `t`.
    #[inline(always)]
    pub(super) fn read(&self, t: usize) -> usize {
        self.at(self.read, t, self.reads.width)
    }

    /// h of a layer before step `t`.
    #[inline(always)]
    pub(super) fn hidden(&self, layer: usize, t: usize) -> usize {
        let width = self.hidden.width;
        self.of_layer(self.hiddens, layer, self.seq_length + 1, t, width)
    }

    /// c of a layer before step `t`.
    #[inline(always)]
    pub(super) fn carry(&self, layer: usize, t: usize) -> usize {
        let width = self.hidden.width;
        self.of_layer(self.carries, layer, self.seq_length + 1, t, width)
    }

    /// The gates of a layer in step `t`.
    #[inline(always)]
    pub(super) fn gates(&self, layer: usize, t: usize) -> usize {
        let width = self.gates_width();
        self.of_layer(self.gates, layer, self.seq_length, t, width)
    }

    /// The row below a layer in step `t`.
    #[inline(always)]
    pub(super) fn input(&self, layer: usize, t: usize) -> usize {
        match layer {
            0 => self.read(t),
            _ => self.hidden(layer - 1, t + 1),
        }
    }

    /// What the heads ask for in step `t`.
    #[inline(always)]
    pub(super) fn parameters(&self, t: usize) -> usize {
        self.at(self.parameters, t, self.asked_width())
    }

    #[inline(always)]
    fn of_head(&self, start: usize, t: usize, head: usize) -> usize {
        let width = self.slots.width;
        self.at(start, t, self.n_heads() * width) + head * width
    }

    /// A head's weighting before step `t`.
    #[inline(always)]
    pub(super) fn weights(&self, t: usize, head: usize) -> usize {
        self.of_head(self.weights, t, head)
    }

    /// wᶜ of step `t`.
    #[inline(always)]
    pub(super) fn content(&self, t: usize, head: usize) -> usize {
        self.of_head(self.contents, t, head)
    }

    /// K of step `t`.
    #[inline(always)]
    pub(super) fn cosines(&self, t: usize, head: usize) -> usize {
        self.of_head(self.cosines, t, head)
    }

    /// ln w̃ of step `t`.
    #[inline(always)]
    pub(super) fn logs(&self, t: usize, head: usize) -> usize {
        self.of_head(self.logs, t, head)
    }

    /// `1 / |M(i)|` before step `t`.
    #[inline(always)]
    pub(super) fn inverse_norms(&self, t: usize) -> usize {
        self.at(self.inverse_norms, t, self.slots.width)
    }

    /// Whether the memory before step `t` is kept.
    #[inline(always)]
    pub(super) fn keeps_memory(&self, t: usize) -> bool {
        self.keep && t.is_multiple_of(INTERVAL)
    }

    /// The steps that are written again from the kept memory before step `t` or earlier: the first, and one past the last.
    #[inline(always)]
    pub(super) fn segment(&self, t: usize) -> (usize, usize) {
        let first = t - t % INTERVAL;
        (first, (first + INTERVAL).min(self.seq_length))
    }

    /// Memories that are written again at a time.
    pub(super) fn rewritten(&self) -> usize {
        INTERVAL.min(self.seq_length) - 1
    }

    /// The memory before step `t`, a multiple of the interval.
    #[inline(always)]
    pub(super) fn kept_memory(&self, t: usize) -> usize {
        self.memories + t / INTERVAL * self.memory_numbers()
    }
}

/// What the forward pass leaves for the backward pass.
#[derive(Debug)]
pub(crate) struct Tape<T> {
    pub(super) numbers: Buffer<T>,
    pub(super) layout: Layout,
    pub(super) arch: Arch,
}

impl<T> Tape<T> {
    /// Bytes held.
    #[cfg(test)]
    pub(in super::super) fn bytes(&self) -> usize {
        self.numbers.bytes()
    }
}

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
    pub(super) fn new(problem: &Problem<T>, layout: &Layout) -> Self {
        let n_gates = layout.controller.n_gates();
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
    let gates = layout.controller.n_gates() * units;
    let of_reads = problem.first.len() - layout.reads.units * gates;
    let (input, below) = problem.first.split_at(of_reads);
    let mut layers = Vec::with_capacity(problem.n_layers);
    layers.push(LayerSlices {
        input: if problem.d_input > 0 { input } else { &[] },
        below,
        recurrent: problem.recurrent,
        bias: problem.first_bias,
    });
    let mut upper = problem.upper;
    for _ in 1..problem.n_layers {
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
        let (hidden, n_gates) = (layout.hidden, layout.controller.n_gates());
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
