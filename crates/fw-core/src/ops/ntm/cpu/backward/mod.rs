//! The backward pass.

mod controller;
mod room;

use alloc::vec::Vec;
use core::ops::Range;

use super::super::fused::Each;
use super::addressing::{self, Ring, Slopes, address_back, ring_width};
use super::layout::{Layout, Problem, Results, Tape};
use super::memory::{self, AccessSlopes, Heads};
use super::parameters::{Asked, activate_back};
use super::resemblance::resemblance_back;
use super::weights::{Transposed, split_heads};
use crate::ops::cpu::{
    BackwardPass, BlockSums, Pairs, Real, RowsMut, SharedMut, Simd, Strided, Sweep, WithSimd,
    Written, clear, extend_trimmed,
};
use room::{Room, Sums};

/// Runs the sequence backward: the gradients of the operands, in their shapes; empty where there is no such operand, or, of those that cost
/// most, where it is not wanted. `cotangents` is the gradient of what the forward pass put out.
pub(in super::super) fn backward<T: Real>(
    problem: &Problem<T>,
    tape: &Tape<T>,
    cotangents: &[T],
    wanted: Each<bool>,
) -> Each<Vec<T>> {
    let call = Call {
        problem,
        tape,
        cotangents,
        wanted,
    };
    // SAFETY: the forward pass ran on this architecture.
    unsafe { tape.arch.dispatch(call) }
}

struct Call<'a, T> {
    problem: &'a Problem<'a, T>,
    tape: &'a Tape<T>,
    cotangents: &'a [T],
    wanted: Each<bool>,
}

impl<T: Real> WithSimd for Call<'_, T> {
    type Output = Each<Vec<T>>;

    fn with_simd<S: Simd>(self) -> Each<Vec<T>> {
        let (problem, layout) = (self.problem, self.tape.layout);
        let room = |like: &[T], wanted: bool| match wanted {
            true => alloc::vec![T::zero(); like.len()],
            false => Vec::new(),
        };
        let mut input = Written::new(problem.input.len(), self.wanted.input);
        let mut hidden = room(problem.hidden, true);
        let mut cell = room(problem.cell, true);
        let mut memory = room(problem.memory, self.wanted.memory);
        let mut reads = room(problem.reads, true);
        let mut weights = room(problem.weights, true);
        let sums = Sums::new(&layout);
        let room = Room::new(&layout, &sums);
        let pass = Pass {
            call: &self,
            transposed: &Transposed::new(problem, &layout, self.wanted.input),
            room: &room,
            input: input.place(),
            hidden: SharedMut::new(hidden.as_mut_ptr()),
            cell: SharedMut::new(cell.as_mut_ptr()),
            memory: SharedMut::new(memory.as_mut_ptr()),
            reads: SharedMut::new(reads.as_mut_ptr()),
            weights: SharedMut::new(weights.as_mut_ptr()),
            layout,
        };
        let sweep = Sweep {
            parts: layout.parts(problem.spans),
            group: layout.group,
            scratch: layout.group * room.sample + room.common,
        };
        // SAFETY: the machine has the instructions of S, and the scratch is that of `Room`.
        let joined = unsafe { sweep.backward::<S, T>(&pass, sums.size, layout.n_steps) };
        // SAFETY: all steps of all samples have written theirs, if they were wanted.
        let input = unsafe { input.finish() };
        // SAFETY: that many sums were made.
        let joined = unsafe { joined.first(sums.size) };
        let [of_weights, of_biases] =
            [sums.heads.weight, sums.heads.bias].map(|start| &joined[start..]);
        let width = layout.asked_width();
        let [read_weight, write_weight] =
            split_heads(&layout, &of_weights[..layout.hidden.units * width]);
        let [read_bias, write_bias] = split_heads(&layout, &of_biases[..width]);
        let mut first = Vec::with_capacity(problem.first.len());
        let mut recurrent = Vec::with_capacity(problem.recurrent.len());
        let mut first_bias = Vec::with_capacity(problem.first_bias.len());
        let mut upper = Vec::with_capacity(problem.upper.len());
        let n_gates = layout.sizes.n_gates();
        for (layer, sums) in sums.layers.iter().enumerate() {
            let append = |to: &mut Vec<T>, start: usize, rows: usize| {
                extend_trimmed(to, &joined[start..], rows * n_gates, layout.hidden);
            };
            let rows = layout.input_row(layer).units + layout.below(layer).units;
            let of_recurrent = sums.weight + rows * layout.gates_width();
            let units = layout.state_row().units;
            if layer == 0 {
                // The rows of a projected input have theirs through the projection.
                let len = problem.first.len() - rows * n_gates * layout.hidden.units;
                first.resize(len, T::zero());
                append(&mut first, sums.weight, rows);
                append(&mut recurrent, of_recurrent, units);
                append(&mut first_bias, sums.bias, usize::from(layout.d_input > 0));
            } else {
                append(&mut upper, sums.weight, rows);
                append(&mut upper, of_recurrent, units);
                append(&mut upper, sums.bias, 1);
            }
        }
        Each {
            input,
            first,
            first_bias,
            recurrent,
            upper,
            read_weight,
            read_bias,
            write_weight,
            write_bias,
            hidden,
            cell,
            memory,
            reads,
            weights,
        }
    }
}

struct Pass<'a, T: Real> {
    call: &'a Call<'a, T>,
    /// For the samples of a group.
    layout: Layout,
    transposed: &'a Transposed<T>,
    room: &'a Room,
    /// Where the gradients go that each sample has for itself.
    input: SharedMut<T>,
    hidden: SharedMut<T>,
    cell: SharedMut<T>,
    memory: SharedMut<T>,
    reads: SharedMut<T>,
    weights: SharedMut<T>,
}

impl<T: Real> BackwardPass<T> for Pass<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, samples: Range<usize>, scratch: *mut T, sums: &mut BlockSums<T>) {
        let spans = self.call.problem.spans;
        let longest = spans.of(samples.start).n_steps;
        let pass = Pass {
            layout: self.layout.for_steps(longest),
            ..*self
        };
        let (layout, room) = (&pass.layout, pass.room);
        // SAFETY: every offset below lies in the piece that it belongs to, by the sizes of `Room` and `Layout`.
        unsafe {
            let pieces = self.call.tape.group(&samples).cast_const();
            let piece = |g: usize| pieces.add(g * layout.sample);
            let own = |g: usize| scratch.add(g * room.sample);
            let common = scratch.add(layout.group * room.sample);
            clear(common.add(room.rings), 2 * ring_width(layout));
            for g in 0..samples.len() {
                pass.begin::<S>(spans.of(samples.start + g).end, own(g));
            }
            let mut n_pairs = 0;
            for t in (0..longest).rev() {
                let n_active = spans.n_active(&samples, t);
                let active = samples.start..samples.start + n_active;
                if n_pairs + n_active > Pairs::MOST {
                    pass.multiply::<S>(n_pairs, common, sums);
                    n_pairs = 0;
                }
                let heads = common.add(room.heads.right + n_pairs * room.heads.right_stride);
                for (g, sample) in active.clone().enumerate() {
                    pass.add_cotangents(sample, t, own(g));
                    if layout.is_last_rewritten(t, spans.of(sample).n_steps) {
                        pass.write_again::<S>(t, piece(g), own(g));
                    }
                    let of_asked = heads.add(g * room.heads.right_stride);
                    pass.step::<S>(t, piece(g), own(g), common, of_asked);
                }
                let last = layout.n_layers - 1;
                let rows = Strided::new(heads, room.heads.right_stride, 1);
                let of_hidden = RowsMut::new(scratch.add(pass.of_hidden(last)), room.sample);
                let weight = &pass.transposed.heads;
                weight.multiply::<S>(n_active, rows, of_hidden.as_initial(), of_hidden);
                for g in 0..n_active {
                    let left = common.add(room.heads.left + (n_pairs + g) * room.heads.left_stride);
                    let state = piece(g).add(layout.hidden(last, t + 1));
                    layout.hidden.copy::<S, T>(state, left);
                }
                for layer in (0..layout.n_layers).rev() {
                    pass.layer::<S>(layer, t, active.clone(), pieces, n_pairs, scratch);
                }
                n_pairs += n_active;
            }
            pass.multiply::<S>(n_pairs, common, sums);
            for g in 0..samples.len() {
                pass.end::<S>(samples.start + g, own(g));
            }
        }
    }
}

impl<T: Real> Pass<'_, T> {
    /// Where the gradient of a layer's h lies in a sample's piece of the scratch memory.
    #[inline(always)]
    fn of_hidden(&self, layer: usize) -> usize {
        self.room.hidden + layer * self.layout.hidden.width
    }

    #[inline(always)]
    fn of_carry(&self, layer: usize) -> usize {
        self.room.carries + layer * self.layout.hidden.width
    }

    /// Gradients of a sample's state after its last step, which is the `end`-th of those that are asked for; zeros, if it is not.
    #[inline(always)]
    unsafe fn begin<S: Simd>(&self, end: Option<usize>, own: *mut T) {
        let (layout, room) = (&self.layout, self.room);
        let Results {
            memory,
            weights,
            hidden,
            cell,
            ..
        } = self.call.problem.results();
        let cotangents = self.call.cotangents;
        // SAFETY: as in `run`.
        unsafe {
            let Some(end) = end else {
                return clear(own, room.carried);
            };
            clear(own.add(room.reads), layout.reads.width);
            for layer in 0..layout.n_layers {
                if layout.has_state() {
                    let index = end * layout.n_layers + layer;
                    let (state, carry) = (self.of_hidden(layer), self.of_carry(layer));
                    layout
                        .hidden
                        .read::<S, T>(&cotangents[hidden..], index, own.add(state));
                    layout
                        .hidden
                        .read::<S, T>(&cotangents[cell..], index, own.add(carry));
                } else {
                    clear(own.add(self.of_hidden(layer)), layout.hidden.width);
                }
            }
            for head in 0..layout.n_heads() {
                let index = end * layout.n_heads() + head;
                let to = room.weights + head * layout.slots.width;
                layout
                    .slots
                    .read::<S, T>(&cotangents[weights..], index, own.add(to));
            }
            let numbers = layout.word * layout.slots.units;
            let from = cotangents[memory + end * numbers..][..numbers].as_ptr();
            memory::turn_in(layout.word, layout.slots, from, own.add(room.memory));
        }
    }

    /// Adds what the output of step `t` receives.
    #[inline(always)]
    unsafe fn add_cotangents(&self, sample: usize, t: usize, own: *mut T) {
        let (layout, width) = (&self.layout, self.call.problem.output_width());
        let first = self.call.problem.row(sample, t) * width;
        let (of_hidden, of_reads) =
            self.call.cotangents[first..][..width].split_at(layout.hidden.units);
        let add = |row: &[T], to: usize| {
            for (at, slope) in row.iter().enumerate() {
                // SAFETY: as in `run`.
                unsafe { *own.add(to + at) += *slope };
            }
        };
        add(of_hidden, self.of_hidden(layout.n_layers - 1));
        add(of_reads, self.room.reads);
    }

    /// The memory before step `t`.
    #[inline(always)]
    unsafe fn memory_before(&self, t: usize, piece: *const T, own: *mut T) -> *const T {
        let layout = &self.layout;
        // SAFETY: as in `run`.
        unsafe {
            match t - layout.first_rewritten(t) {
                0 => piece.add(layout.kept_memory(t)),
                steps => own.add(self.room.rewritten + (steps - 1) * layout.memory_numbers()),
            }
        }
    }

    /// Writes to the memory again what was written from the kept memory up to step `t`.
    #[inline(always)]
    unsafe fn write_again<S: Simd>(&self, t: usize, piece: *const T, own: *mut T) {
        let layout = &self.layout;
        for step in layout.first_rewritten(t)..t {
            // SAFETY: as in `run`.
            unsafe {
                let from = self.memory_before(step, piece, own);
                let to = self.memory_before(step + 1, piece, own).cast_mut();
                memory::write::<S, T>(layout, self.heads(step, piece), from, to);
            }
        }
    }

    #[inline(always)]
    unsafe fn heads(&self, t: usize, piece: *const T) -> Heads<T> {
        // SAFETY: as in `run`.
        unsafe {
            Heads {
                asked: piece.add(self.layout.parameters(t)),
                weights: piece.add(self.layout.weights(t + 1, 0)),
            }
        }
    }

    /// What the heads of one sample did in step `t`; the gradients of what they asked for go to `of_asked`.
    #[inline(always)]
    unsafe fn step<S: Simd>(
        &self,
        t: usize,
        piece: *const T,
        own: *mut T,
        common: *mut T,
        of_asked: *mut T,
    ) {
        let (layout, room) = (&self.layout, self.room);
        let slots = layout.slots.width;
        // SAFETY: as in `run`.
        unsafe {
            let memory = self.memory_before(t, piece, own);
            let heads = self.heads(t, piece);
            clear(of_asked, layout.asked_width());
            let slopes = AccessSlopes {
                reads: own.add(room.reads).cast_const(),
                memory: own.add(room.memory),
                weights: own.add(room.weights),
                asked: of_asked,
            };
            let between = common.add(room.between);
            memory::access_back::<S, T>(layout, heads, memory, slopes, between);
            let rings = common.add(room.rings);
            let of_cosines = common.add(room.cosines);
            for head in 0..layout.n_heads() {
                let rows = addressing::Rows {
                    cosines: piece.add(layout.cosines(t, head)),
                    content: piece.add(layout.content(t, head)).cast_mut(),
                    prev: piece.add(layout.weights(t, head)),
                    logs: piece.add(layout.logs(t, head)).cast_mut(),
                    weights: piece.add(layout.weights(t + 1, head)).cast_mut(),
                };
                let slopes = Slopes {
                    asked: of_asked.add(layout.addressing(head) + layout.word),
                    weights: own.add(room.weights + head * slots),
                    cosines: of_cosines.add(head * slots),
                };
                let ring = Ring {
                    gated: rings,
                    slopes: rings.add(ring_width(layout)),
                };
                let asked = Asked::of(layout, heads.asked, head);
                address_back::<S, T>(layout, asked, rows, slopes, ring);
            }
            resemblance_back::<S, T>(
                layout,
                memory,
                heads.asked,
                piece.add(layout.cosines(t, 0)),
                piece.add(layout.inverse_norms(t)),
                of_cosines,
                own.add(room.memory),
                of_asked,
                common.add(room.spare),
            );
            activate_back::<S, T>(layout, heads.asked, of_asked);
        }
    }

    /// Adds the outer products of the pairs gathered so far to the gradients that they belong to.
    #[inline(always)]
    unsafe fn multiply<S: Simd>(&self, n_pairs: usize, common: *mut T, sums: &mut BlockSums<T>) {
        for pairs in self.room.layers.iter().chain([&self.room.heads]) {
            // SAFETY: as in `run`.
            unsafe { pairs.multiply::<S, T>(n_pairs, common, sums.block()) };
        }
        sums.added(n_pairs);
    }

    /// Gradients of the state before the first step.
    #[inline(always)]
    unsafe fn end<S: Simd>(&self, sample: usize, own: *mut T) {
        let (layout, room) = (&self.layout, self.room);
        // SAFETY: as in `run`.
        unsafe {
            let to = self.reads.at(sample * layout.reads.units);
            layout.reads.copy_units::<S, T>(own.add(room.reads), to);
            if layout.has_state() {
                for layer in 0..layout.n_layers {
                    let row = layout.hidden;
                    let to = (sample * layout.n_layers + layer) * row.units;
                    let (state, carry) = (self.of_hidden(layer), self.of_carry(layer));
                    row.copy_units::<S, T>(own.add(state), self.hidden.at(to));
                    row.copy_units::<S, T>(own.add(carry), self.cell.at(to));
                }
            }
            for head in 0..layout.n_heads() {
                let index = sample * layout.n_heads() + head;
                let from = room.weights + head * layout.slots.width;
                let to = self.weights.at(index * layout.slots.units);
                layout.slots.copy_units::<S, T>(own.add(from), to);
            }
            if self.call.wanted.memory {
                let numbers = layout.word * layout.slots.units;
                let to = self.memory.at(sample * numbers);
                memory::turn_out(layout.word, layout.slots, own.add(room.memory), to);
            }
        }
    }
}
