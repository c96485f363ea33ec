//! The backward pass.

mod memories;
mod pairs;

use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::super::operation::Each;
use super::layout::{Layout, MOST_SAMPLES, Problem, Tape, Transposed, query_scale};
use crate::ops::cpu::cell::{self, SlopeRows};
use crate::ops::cpu::{
    BackwardPass, BlockSums, Initial, Offsets, Pairs, Real, Row, RowsMut, SharedMut, Simd, Strided,
    Sweep, WithSimd, Written, clear, trimmed,
};

/// What a backward pass did, summed over the samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Visits {
    /// Steps that received gradient.
    pub(in super::super) steps: usize,
    /// Memories that took part in such a step, once for each.
    pub(in super::super) memories: usize,
}

/// Runs the sequences backward: the gradients of the operands, in their shapes; empty where there is no such operand, or, of those that cost
/// most, where it is not wanted. `cotangents` is the gradient of what the forward pass put out.
pub(in super::super) fn backward<T: Real>(
    problem: &Problem<T>,
    tape: &Tape<T>,
    cotangents: &[T],
    wanted: Each<bool>,
) -> (Each<Vec<T>>, Visits) {
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
    type Output = (Each<Vec<T>>, Visits);

    fn with_simd<S: Simd>(self) -> (Each<Vec<T>>, Visits) {
        let (problem, layout) = (self.problem, self.tape.layout);
        // Zeros where no gradient arrives.
        let zeros = |like: &[T], wanted: bool| match wanted {
            true => alloc::vec![T::zero(); like.len()],
            false => Vec::new(),
        };
        let mut projected = Written::new(problem.projected.len(), self.wanted.projected);
        let mut hidden = zeros(problem.hidden, true);
        let mut cell = zeros(problem.cell, true);
        let mut memories = zeros(problem.memories, self.wanted.memories);
        let sums = Sums::new(&layout);
        let visited = [AtomicUsize::new(0), AtomicUsize::new(0)];
        let pass = Pass {
            call: &self,
            transposed: &Transposed::new(problem, &layout),
            room: Room::new(&layout),
            projected: projected.place(),
            hidden: SharedMut::new(hidden.as_mut_ptr()),
            cell: SharedMut::new(cell.as_mut_ptr()),
            memories: SharedMut::new(memories.as_mut_ptr()),
            visited: &visited,
            layout,
            sums,
        };
        let sweep = Sweep {
            parts: layout.parts(problem.spans),
            group: layout.group,
            scratch: layout.group * pass.room.sample + pass.room.common,
        };
        // Of each weight there is a pair a step at most; of that of the keys one for each given memory as well.
        let rows = layout.n_steps + layout.given;
        // SAFETY: the machine has the instructions of S, and the scratch is that of `Room`.
        let joined = unsafe { sweep.backward::<S, T>(&pass, sums.size, rows) };
        // SAFETY: all steps of all samples have written theirs, if they were wanted.
        let projected = unsafe { projected.finish() };
        // SAFETY: that many sums were made.
        let joined = unsafe { joined.first(sums.size) };
        let trimmed = |start: usize, rows: usize, row: Row| trimmed(&joined[start..], rows, row);
        let (units, attention) = (layout.hidden.units, layout.attention);
        let gates = layout.kind.n_gates();
        let scale = query_scale(problem);
        let w_query = trimmed(sums.w_query, units, attention);
        let gradients = Each {
            w_hidden: trimmed(sums.w_hidden, units * gates, layout.hidden),
            bias: trimmed(sums.bias, problem.bias.len() / units, layout.hidden),
            w_query: w_query.iter().map(|&slope| slope * scale).collect(),
            w_key: trimmed(sums.w_key, units, attention),
            v: trimmed(sums.v, usize::from(!problem.v.is_empty()), attention),
            projected,
            hidden,
            cell,
            memories,
        };
        let [steps, memories] = visited.map(AtomicUsize::into_inner);
        (gradients, Visits { steps, memories })
    }
}

/// Where the sums of the weights' gradients lie, rows padded.
#[derive(Clone, Copy)]
struct Sums {
    w_hidden: usize,
    bias: usize,
    w_query: usize,
    w_key: usize,
    v: usize,
    size: usize,
}

impl Sums {
    fn new(layout: &Layout) -> Self {
        let (units, attention) = (layout.hidden.units, layout.attention.width);
        let gates = layout.gates_width();
        let mut offsets = Offsets::default();
        Sums {
            w_hidden: offsets.take(units * gates),
            bias: offsets.take(gates),
            w_query: offsets.take(units * attention),
            w_key: offsets.take(units * attention),
            v: offsets.take(attention),
            size: offsets.end(),
        }
    }
}

/// Where things lie in the scratch memory: offsets within a sample's piece, then within what a group of samples shares.
#[derive(Clone, Copy)]
struct Room {
    /// Gradients of h and c, as they go from step to step.
    state: usize,
    carried: usize,
    /// Gradients of ĥ_t, s_t and the query.
    candidate: usize,
    summary: usize,
    query: usize,
    /// Gradients that wait at the memories, and whether there is any.
    values: usize,
    keys: usize,
    touched: usize,
    sample: usize,
    /// Rows of those samples that take part in a product, and its result.
    gathered: usize,
    products: usize,
    slopes: usize,
    /// What v receives from a few memories of a step, and from all of them.
    of_v: [usize; 2],
    gates: usize,
    /// Pairs for W, W_h and W_m.
    pairs: [Pairs; 3],
    common: usize,
}

impl Room {
    fn new(layout: &Layout) -> Self {
        let (hidden, attention) = (layout.hidden.width, layout.attention.width);
        let gates = layout.gates_width();
        let memories = layout.n_memories(layout.n_steps);
        let lanes = layout.hidden.lanes;
        let sums = Sums::new(layout);
        let mut sample = Offsets::default();
        let mut common = Offsets::default();
        let widest = gates.max(attention);
        let of_bias = layout.kind.has_bias().then_some(sums.bias);
        let mut pairs = |width: usize, of_weight: usize, of_bias: Option<usize>| {
            let right = Row::new(width, lanes);
            Pairs::new(&mut common, layout.hidden, right, of_weight, of_bias)
        };
        let pairs = [
            pairs(gates, sums.w_hidden, of_bias),
            pairs(attention, sums.w_query, None),
            pairs(attention, sums.w_key, None),
        ];
        Room {
            state: sample.take(hidden),
            carried: sample.take(layout.carry_width()),
            candidate: sample.take(hidden),
            summary: sample.take(hidden),
            query: sample.take(attention),
            values: sample.take(memories * hidden),
            keys: sample.take(memories * attention),
            touched: sample.take(memories.next_multiple_of(lanes)),
            sample: sample.end(),
            gathered: common.take(layout.group * widest),
            products: common.take(layout.group * hidden),
            slopes: common.take(layout.most.next_multiple_of(lanes)),
            of_v: [attention; 2].map(|width| common.take(width)),
            gates: common.take(gates),
            pairs,
            common: common.end(),
        }
    }
}

#[derive(Clone, Copy)]
struct Pass<'a, T: Real> {
    call: &'a Call<'a, T>,
    /// That of the longest sample; of a group, that of its own.
    layout: Layout,
    transposed: &'a Transposed<T>,
    room: Room,
    sums: Sums,
    /// Where the gradients go that each sample has for itself.
    projected: SharedMut<T>,
    hidden: SharedMut<T>,
    cell: SharedMut<T>,
    memories: SharedMut<T>,
    /// Steps and memories that were visited, of all samples: see [`Visits`].
    visited: &'a [AtomicUsize; 2],
}

/// The samples of a group whose rows take part in a product, in the order of their rows.
#[derive(Clone, Copy, Default)]
struct Chosen {
    samples: [usize; MOST_SAMPLES],
    count: usize,
}

impl Chosen {
    #[inline(always)]
    fn push(&mut self, sample: usize) {
        self.samples[self.count] = sample;
        self.count += 1;
    }

    #[inline(always)]
    fn iter(&self) -> impl Iterator<Item = (usize, usize)> {
        self.samples.into_iter().take(self.count).enumerate()
    }
}

/// What is known of a group while the walk goes on.
struct Walk<'a, T> {
    scratch: *mut T,
    common: *mut T,
    /// The group's, of those memories that took part.
    indices: *const u32,
    sums: &'a mut BlockSums<T>,
    /// Pairs gathered so far, and those that are summed up.
    n_pairs: [usize; 3],
    n_summed: [usize; 3],
    /// The most pairs of any weight that are in the sums, as these know it.
    n_rows: usize,
    visits: Visits,
}

impl<T: Real> BackwardPass<T> for Pass<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, samples: Range<usize>, scratch: *mut T, sums: &mut BlockSums<T>) {
        let (spans, tape) = (self.call.problem.spans, self.call.tape);
        let pass = Pass {
            layout: self.layout.of_steps(spans.of(samples.start).n_steps),
            ..*self
        };
        let (layout, room) = (&pass.layout, &pass.room);
        let (hidden, gates) = (layout.hidden, layout.gates_width());
        let [numbers, indices] = tape.starts[samples.start / layout.group];
        // SAFETY: every offset below lies in the piece that it belongs to, by the sizes of `Room` and `Layout`.
        unsafe {
            let pieces = tape.numbers.as_ptr().add(numbers).cast_const();
            let piece = |g: usize| pieces.add(g * layout.sample);
            let own = |g: usize| scratch.add(g * room.sample);
            let common = scratch.add(samples.len() * room.sample);
            let mut walk = Walk {
                scratch,
                common,
                indices: tape.indices.as_ptr().add(indices),
                sums,
                n_pairs: [0; 3],
                n_summed: [0; 3],
                n_rows: 0,
                visits: Visits::default(),
            };
            // Whether h_t (and c_t) receives gradient from step t + 1; of a sample that has fewer steps, its last ones.
            let mut is_reached = [false; MOST_SAMPLES];
            for ((g, sample), is_reached) in samples.clone().enumerate().zip(&mut is_reached) {
                *is_reached = pass.begin::<S>(sample, own(g));
            }
            for t in (0..layout.n_steps).rev() {
                let group = spans.n_active(&samples, t);
                let row_of = |g: usize| spans.of(samples.start + g).first + t;
                for (g, is_reached) in is_reached.iter_mut().enumerate().take(group) {
                    *is_reached |= pass.add_cotangents::<S>(row_of(g), own(g));
                }
                if layout.is_stored(t) {
                    let memory = layout.n_memories(t);
                    pass.return_to_state::<S>(&mut walk, memory, group, piece, &mut is_reached);
                }
                let mut with_query = Chosen::default();
                let mut visited = Chosen::default();
                for (g, is_reached) in is_reached.iter().enumerate().take(group) {
                    if *is_reached {
                        visited.push(g);
                        if pass.recall_back::<S>(&mut walk, g, t, piece(g), own(g)) {
                            with_query.push(g);
                        }
                    } else {
                        pass.clear_projected(row_of(g));
                    }
                }
                pass.query_back::<S>(&mut walk, t, with_query, piece);

                let rows = common.add(room.gathered);
                for (row, g) in visited.iter() {
                    walk.visits.steps += 1;
                    let (piece, own) = (piece(g), own(g));
                    cell::step_back::<S, T>(
                        layout.kind,
                        hidden,
                        SlopeRows {
                            gates: piece.add(layout.gates(t)),
                            prev_hidden: piece.add(layout.state(t)),
                            prev_carry: piece.add(layout.carry(t)),
                            carry: piece.add(layout.carry(t + 1)),
                            candidate: own.add(room.candidate),
                            carried: own.add(room.carried),
                            from_hidden: rows.add(row * gates),
                            from_input: common.add(room.gates),
                            hidden: own.add(room.state),
                        },
                    );
                    pass.write_projected::<S>(row_of(g), common.add(room.gates));
                    let prev = piece.add(layout.state(t));
                    pass.gather::<S>(&mut walk, 0, prev, rows.add(row * gates));
                }
                is_reached[..group].fill(false);
                if layout.is_cut_before(t) {
                    for (_, g) in visited.iter() {
                        clear(own(g).add(room.state), hidden.width);
                        clear(own(g).add(room.carried), layout.carry_width());
                    }
                } else if visited.count > 0 {
                    pass.hidden_back::<S>(&walk, visited);
                    for (_, g) in visited.iter() {
                        is_reached[g] = true;
                    }
                }
            }
            pass.return_to_given::<S>(&mut walk, samples.clone(), piece);
            for (g, sample) in samples.enumerate() {
                pass.write_first::<S>(sample, own(g));
            }
            for pairs in 0..walk.n_pairs.len() {
                pass.multiply::<S>(&mut walk, pairs);
            }
            let Visits { steps, memories } = walk.visits;
            for (visited, more) in self.visited.iter().zip([steps, memories]) {
                visited.fetch_add(more, Ordering::Relaxed);
            }
        }
    }
}

impl<T: Real> Pass<'_, T> {
    /// Gradients before the last step: none, but for that of the last c, if it was asked for. Returns whether there is one.
    #[inline(always)]
    unsafe fn begin<S: Simd>(&self, sample: usize, own: *mut T) -> bool {
        let (layout, room, hidden) = (&self.layout, &self.room, self.layout.hidden);
        // SAFETY: as in `run`.
        unsafe {
            clear(own.add(room.state), hidden.width);
            clear(own.add(room.carried), layout.carry_width());
            clear(own.add(room.touched), layout.n_memories(layout.n_steps));
            let spans = self.call.problem.spans;
            let carried = layout.carried();
            let Some(end) = spans.of(sample).end.filter(|_| carried > 0) else {
                return false;
            };
            let of_cells = &self.call.cotangents[spans.n_rows() * layout.output_width()..];
            let rows = &of_cells[end * carried..][..carried];
            let n_carried = layout.kind.n_carried();
            hidden.copy_rows_padded::<S, T>(n_carried, rows, own.add(room.carried));
            is_any_nonzero(rows)
        }
    }

    /// Adds what a row of the output receives; returns whether it receives any.
    #[inline(always)]
    unsafe fn add_cotangents<S: Simd>(&self, row: usize, own: *mut T) -> bool {
        let (layout, room, hidden) = (&self.layout, &self.room, self.layout.hidden);
        let width = layout.output_width();
        let row = &self.call.cotangents[row * width..][..width];
        // SAFETY: as in `run`.
        unsafe {
            if !is_any_nonzero(row) {
                clear(own.add(room.summary), hidden.width);
                return false;
            }
            let to = own.add(room.candidate); // not in use yet
            hidden.copy_padded::<S, T>(row.as_ptr(), to);
            hidden.add_to::<S, T>(to, own.add(room.state));
            let summary = own.add(room.summary);
            match layout.yields_summary {
                true => hidden.copy_padded::<S, T>(row[hidden.units..].as_ptr(), summary),
                false => clear(summary, hidden.width),
            }
        }
        true
    }

    /// Adds to the gradients of the states of some samples what comes back from the gates that they gave to.
    #[inline(always)]
    unsafe fn hidden_back<S: Simd>(&self, walk: &Walk<'_, T>, chosen: Chosen) {
        let (layout, room, hidden) = (&self.layout, &self.room, self.layout.hidden);
        // SAFETY: as in `run`.
        unsafe {
            let rows = walk.common.add(room.gathered);
            let products = walk.common.add(room.products);
            self.transposed.w_hidden.multiply::<S>(
                chosen.count,
                Strided::new(rows, layout.gates_width(), 1),
                Initial::Zero,
                RowsMut::new(products, hidden.width),
            );
            for (row, g) in chosen.iter() {
                let state = walk.scratch.add(g * room.sample + room.state);
                hidden.add_to::<S, T>(products.add(row * hidden.width), state);
            }
        }
    }

    /// What the states to begin with receive.
    #[inline(always)]
    unsafe fn write_first<S: Simd>(&self, sample: usize, own: *const T) {
        let (layout, room, hidden) = (&self.layout, &self.room, self.layout.hidden);
        // SAFETY: as in `run`.
        unsafe {
            let to = self.hidden.at(sample * hidden.units);
            hidden.copy_units::<S, T>(own.add(room.state), to);
            if layout.carried() > 0 {
                let to = self.cell.at(sample * layout.carried());
                let n_carried = layout.kind.n_carried();
                hidden.copy_rows_units::<S, T>(n_carried, own.add(room.carried), to);
            }
        }
    }

    /// A row of the projected input receives nothing.
    #[inline(always)]
    unsafe fn clear_projected(&self, row: usize) {
        if self.call.wanted.projected {
            let width = self.layout.kind.n_gates() * self.layout.hidden.units;
            // SAFETY: as in `run`.
            unsafe { clear(self.projected.at(row * width), width) };
        }
    }

    /// What a row of the projected input receives.
    #[inline(always)]
    unsafe fn write_projected<S: Simd>(&self, row: usize, gates: *const T) {
        if !self.call.wanted.projected {
            return;
        }
        let (layout, hidden) = (&self.layout, self.layout.hidden);
        let n_gates = layout.kind.n_gates();
        let first = row * n_gates * hidden.units;
        // SAFETY: as in `run`.
        unsafe { hidden.copy_rows_units::<S, T>(n_gates, gates, self.projected.at(first)) };
    }
}

fn is_any_nonzero<T: Real>(row: &[T]) -> bool {
    /// Without a branch for each number they are compared in lanes.
    const AT_ONCE: usize = 32;
    // A NaN is not zero.
    let is_nonzero = |any: bool, number: &T| any | (*number != T::zero());
    row.chunks(AT_ONCE)
        .any(|numbers| numbers.iter().fold(false, is_nonzero))
}
