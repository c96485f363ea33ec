//! The forward pass.

use core::ops::Range;

use super::addressing::{self, Ring, address, ring_width};
use super::layout::{Layout, Problem, Results, Tape};
use super::memory::{self, Heads};
use super::parameters::{Asked, activate};
use super::resemblance::resemblance;
use super::weights::Shared;
use crate::ops::cpu::cell::{self, StepRows};
use crate::ops::cpu::{
    Arch, ForwardPass, Initial, Offsets, Real, Rows, RowsMut, SharedMut, Simd, Strided, Sweep,
    WithSimd, activated, clear, load, store,
};
use crate::ops::operation::Sources;
use crate::ops::{CellKind, Spans};

/// Runs the sequence. With `keep`, what the backward pass needs comes back. To `output` go the
/// [results](Problem::results): all of them are written.
///
/// # Safety
/// The machine must have the instructions of `arch`, and the output room for all of that.
pub(in super::super) unsafe fn forward<T: Real>(
    arch: Arch,
    problem: &Problem<T>,
    sources: &Sources,
    output: SharedMut<T>,
    keep: bool,
) -> Option<Tape<T>> {
    let call = Call {
        arch,
        problem,
        sources,
        output,
        keep,
    };
    // SAFETY: as the caller promises.
    unsafe { arch.dispatch(call) }
}

struct Call<'a, T> {
    arch: Arch,
    problem: &'a Problem<'a, T>,
    sources: &'a Sources<'a>,
    output: SharedMut<T>,
    keep: bool,
}

impl<T: Real> WithSimd for Call<'_, T> {
    type Output = Option<Tape<T>>;

    fn with_simd<S: Simd>(self) -> Self::Output {
        let spans = self.problem.spans;
        let layout = Layout::new(self.problem, T::lanes::<S>(), self.keep);
        let tape = self.keep.then(|| Tape::new(self.arch, layout, spans));
        let pass = Pass {
            problem: self.problem,
            shared: &Shared::prepared(self.problem, &layout, self.sources),
            tape: tape.as_ref(),
            output: self.output,
            room: Room::new(&layout, spans, self.keep),
            layout,
        };
        let sweep = Sweep {
            parts: layout.parts(spans),
            group: layout.group,
            scratch: pass.room.size,
        };
        // SAFETY: the machine has the instructions of S, and the scratch is that of `Room`.
        unsafe { sweep.forward::<S, T>(&pass) };
        tape
    }
}

/// Where things lie in the scratch memory that a group of samples shares.
#[derive(Clone, Copy)]
struct Room {
    /// A row of gates for each sample: what the state and the layer below give to them.
    sums: usize,
    /// A row of the input for each sample, where these do not lie evenly apart.
    input: usize,
    ring: usize,
    /// Where nothing is kept, a piece for each sample.
    pieces: usize,
    size: usize,
}

impl Room {
    fn new(layout: &Layout, spans: &Spans, keep: bool) -> Self {
        let mut offsets = Offsets::default();
        Room {
            sums: offsets.take(layout.group * layout.gates_width()),
            input: offsets.take(match spans.are_of_batch() {
                true => 0,
                false => layout.group * layout.input_row(0).width,
            }),
            ring: offsets.take(ring_width(layout)),
            pieces: offsets.take(if keep {
                0
            } else {
                layout.group * layout.sample
            }),
            size: offsets.end(),
        }
    }
}

struct Pass<'a, T: Real> {
    problem: &'a Problem<'a, T>,
    /// For the samples of a group.
    layout: Layout,
    shared: &'a Shared<T>,
    tape: Option<&'a Tape<T>>,
    output: SharedMut<T>,
    room: Room,
}

impl<T: Real> ForwardPass<T> for Pass<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, samples: Range<usize>, scratch: *mut T) {
        let spans = self.problem.spans;
        let longest = spans.of(samples.start).n_steps;
        let pass = Pass {
            layout: self.layout.for_steps(longest),
            ..*self
        };
        let (layout, room, shared) = (&pass.layout, &pass.room, pass.shared);
        // SAFETY: every offset below lies in the piece that it belongs to, by the sizes of `Room` and `Layout`.
        unsafe {
            let pieces = match pass.tape {
                Some(tape) => tape.group(&samples),
                None => scratch.add(room.pieces),
            };
            let piece = |g: usize| pieces.add(g * layout.sample);
            let ring = scratch.add(room.ring);
            clear(ring, ring_width(layout));
            for g in 0..samples.len() {
                pass.begin::<S>(samples.start + g, piece(g));
            }
            for t in 0..longest {
                let n_active = spans.n_active(&samples, t);
                let active = samples.start..samples.start + n_active;
                for layer in 0..layout.n_layers {
                    pass.layer::<S>(layer, t, active.clone(), pieces, scratch);
                }
                let asked = layout.parameters(t);
                let state = layout.hidden(layout.n_layers - 1, t + 1);
                let bias = Rows::new(shared.heads_bias.as_ptr(), 0);
                shared.heads.multiply::<S>(
                    n_active,
                    Strided::new(pieces.add(state), layout.sample, 1),
                    Initial::Rows(bias),
                    RowsMut::new(pieces.add(asked), layout.sample),
                );
                for g in 0..n_active {
                    pass.step::<S>(t, piece(g), ring);
                    pass.write_output::<S>(samples.start + g, t, piece(g));
                }
            }
            for g in 0..samples.len() {
                let span = spans.of(samples.start + g);
                if let Some(end) = span.end {
                    pass.end::<S>(end, span.n_steps, piece(g));
                }
            }
        }
    }
}

impl<T: Real> Pass<'_, T> {
    /// The state before the first step.
    #[inline(always)]
    unsafe fn begin<S: Simd>(&self, sample: usize, piece: *mut T) {
        let (layout, problem) = (&self.layout, self.problem);
        // SAFETY: as in `run`.
        unsafe {
            layout
                .reads
                .read::<S, T>(problem.reads, sample, piece.add(layout.read(0)));
            if layout.has_state() {
                for layer in 0..layout.n_layers {
                    let index = sample * layout.n_layers + layer;
                    let (state, carry) = (layout.hidden(layer, 0), layout.carry(layer, 0));
                    layout
                        .hidden
                        .read::<S, T>(problem.hidden, index, piece.add(state));
                    layout
                        .hidden
                        .read::<S, T>(problem.cell, index, piece.add(carry));
                }
            }
            for head in 0..layout.n_heads() {
                let index = sample * layout.n_heads() + head;
                let to = piece.add(layout.weights(0, head));
                layout.slots.read::<S, T>(problem.weights, index, to);
            }
            let numbers = layout.word * layout.slots.units;
            let from = problem.memory[sample * numbers..][..numbers].as_ptr();
            memory::turn_in(layout.word, layout.slots, from, piece.add(layout.memory));
        }
    }

    /// The rows of a raw input in step `t`: where they lie, if they are evenly apart there, and gathered else.
    #[inline(always)]
    unsafe fn inputs<S: Simd>(
        &self,
        t: usize,
        samples: &Range<usize>,
        scratch: *mut T,
    ) -> Strided<T> {
        let (spans, row) = (self.problem.spans, self.layout.input_row(0));
        let of_sample = |sample: usize| {
            let first = self.problem.row(sample, t) * row.units;
            self.problem.input[first..].as_ptr()
        };
        if spans.are_of_batch() {
            let between = spans.longest() * row.units;
            return Strided::new(of_sample(samples.start), between, 1);
        }
        // SAFETY: as in `run`.
        unsafe {
            let rows = scratch.add(self.room.input);
            for (g, sample) in samples.clone().enumerate() {
                row.copy_units::<S, T>(of_sample(sample), rows.add(g * row.width));
            }
            Strided::new(rows.cast_const(), row.width, 1)
        }
    }

    /// A layer of the controller in step `t`, of those samples that have it.
    #[inline(always)]
    unsafe fn layer<S: Simd>(
        &self,
        layer: usize,
        t: usize,
        samples: Range<usize>,
        pieces: *mut T,
        scratch: *mut T,
    ) {
        let (layout, hidden) = (&self.layout, self.layout.hidden);
        let weights = &self.shared.layers[layer];
        let (group, gates) = (samples.len(), layout.gates_width());
        // SAFETY: as in `run`.
        unsafe {
            let sums = scratch.add(self.room.sums);
            let to = RowsMut::new(sums, gates);
            let below = Strided::new(pieces.add(layout.input(layer, t)), layout.sample, 1);
            weights.below.multiply::<S>(group, below, Initial::Zero, to);
            if layer == 0 && layout.d_input > 0 {
                let input = self.inputs::<S>(t, &samples, scratch);
                weights
                    .input
                    .multiply::<S>(group, input, to.as_initial(), to);
            }
            if layout.has_state() {
                let state = pieces.add(layout.hidden(layer, t));
                let state = Strided::new(state, layout.sample, 1);
                weights
                    .recurrent
                    .multiply::<S>(group, state, to.as_initial(), to);
            }
            for (g, sample) in samples.enumerate() {
                let piece = pieces.add(g * layout.sample);
                let state = piece.add(layout.hidden(layer, t + 1));
                let to = match layout.sizes.activation {
                    None => piece.add(layout.gates(layer, t)),
                    Some(_) => state,
                };
                self.begin_gates::<S>(layer, sample, t, to);
                let from_below = sums.add(g * gates);
                match layout.sizes.activation {
                    None => cell::step::<S, T>(
                        CellKind::Lstm,
                        hidden,
                        StepRows {
                            gates: to,
                            from_hidden: from_below,
                            prev_hidden: piece.add(layout.hidden(layer, t)),
                            prev_carry: piece.add(layout.carry(layer, t)),
                            carry: piece.add(layout.carry(layer, t + 1)),
                            candidate: state,
                        },
                    ),
                    Some(activation) => {
                        for lane in hidden.starts() {
                            let x = load::<S, T>(state.add(lane));
                            let x = x + load::<S, T>(from_below.add(lane));
                            store::<S, T>(state.add(lane), activated::<S, T>(activation, x));
                        }
                    }
                }
            }
        }
    }

    /// What a layer's sums begin with: its bias, or the projected input.
    #[inline(always)]
    unsafe fn begin_gates<S: Simd>(&self, layer: usize, sample: usize, t: usize, to: *mut T) {
        let (layout, hidden) = (&self.layout, self.layout.hidden);
        let n_gates = layout.sizes.n_gates();
        let row = match layer == 0 && layout.d_input == 0 {
            true => {
                let first = self.problem.row(sample, t) * n_gates * hidden.units;
                &self.problem.input[first..]
            }
            false => &self.shared.layers[layer].bias,
        };
        // SAFETY: as in `run`.
        unsafe { hidden.copy_rows_padded::<S, T>(n_gates, row, to) };
    }

    /// What the heads of one sample do in step `t`.
    #[inline(always)]
    unsafe fn step<S: Simd>(&self, t: usize, piece: *mut T, ring: *mut T) {
        let layout = &self.layout;
        // SAFETY: as in `run`.
        unsafe {
            let memory = piece.add(layout.memory);
            if layout.keeps_memory(t) {
                let kept = piece.add(layout.kept_memory(t));
                for at in (0..layout.memory_numbers()).step_by(layout.slots.lanes) {
                    store::<S, T>(kept.add(at), load::<S, T>(memory.add(at)));
                }
            }
            let asked = piece.add(layout.parameters(t));
            activate::<S, T>(layout, asked, ring);
            resemblance::<S, T>(
                layout,
                memory,
                asked,
                piece.add(layout.cosines(t, 0)),
                piece.add(layout.inverse_norms(t)),
            );
            for head in 0..layout.n_heads() {
                let rows = addressing::Rows {
                    cosines: piece.add(layout.cosines(t, head)),
                    content: piece.add(layout.content(t, head)),
                    prev: piece.add(layout.weights(t, head)),
                    logs: piece.add(layout.logs(t, head)),
                    weights: piece.add(layout.weights(t + 1, head)),
                };
                let ring = Ring {
                    gated: ring,
                    slopes: core::ptr::null_mut(),
                };
                address::<S, T>(layout, Asked::of(layout, asked, head), rows, ring);
            }
            let heads = Heads {
                asked: asked.cast_const(),
                weights: piece.add(layout.weights(t + 1, 0)).cast_const(),
            };
            let reads = piece.add(layout.read(t + 1));
            clear(reads, layout.reads.width);
            memory::access::<S, T>(layout, heads, memory, memory, reads);
        }
    }

    /// `[h_t ; r_t]`
    #[inline(always)]
    unsafe fn write_output<S: Simd>(&self, sample: usize, t: usize, piece: *mut T) {
        let (layout, width) = (&self.layout, self.problem.output_width());
        // SAFETY: as in `run`.
        unsafe {
            let to = self.output.at(self.problem.row(sample, t) * width);
            let state = piece.add(layout.hidden(layout.n_layers - 1, t + 1));
            layout.hidden.copy_units::<S, T>(state, to);
            let reads = piece.add(layout.read(t + 1));
            layout
                .reads
                .copy_units::<S, T>(reads, to.add(layout.hidden.units));
        }
    }

    /// A sample's state after its last step, which is the `end`-th of those that are asked for.
    #[inline(always)]
    unsafe fn end<S: Simd>(&self, end: usize, n_steps: usize, piece: *mut T) {
        let layout = &self.layout;
        let Results {
            memory,
            weights,
            hidden,
            cell,
            ..
        } = self.problem.results();
        // SAFETY: as in `run`.
        unsafe {
            let numbers = layout.word * layout.slots.units;
            let to = self.output.at(memory + end * numbers);
            memory::turn_out(layout.word, layout.slots, piece.add(layout.memory), to);
            for head in 0..layout.n_heads() {
                let index = end * layout.n_heads() + head;
                let to = self.output.at(weights + index * layout.slots.units);
                let from = piece.add(layout.weights(n_steps, head));
                layout.slots.copy_units::<S, T>(from, to);
            }
            if layout.has_state() {
                for layer in 0..layout.n_layers {
                    let index = end * layout.n_layers + layer;
                    let row = layout.hidden;
                    let state = layout.hidden(layer, n_steps);
                    let carry = layout.carry(layer, n_steps);
                    let to = |first: usize| self.output.at(first + index * row.units);
                    row.copy_units::<S, T>(piece.add(state), to(hidden));
                    row.copy_units::<S, T>(piece.add(carry), to(cell));
                }
            }
        }
    }
}
