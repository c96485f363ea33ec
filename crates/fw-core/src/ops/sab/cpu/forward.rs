//! The forward pass.

use core::ops::Range;

use super::layout::{Layout, Problem, Shared, Tape, state_share};
use super::recall;
use crate::ops::cpu::cell::{self, StepRows};
use crate::ops::cpu::{
    Arch, Buffer, ForwardPass, Initial, Offsets, Packed, Real, Rows, RowsMut, SharedMut, Simd,
    Strided, Sweep, WithSimd, clear, load, splat, store,
};
use crate::ops::operation::Sources;
use crate::ops::sab::Score;

/// Runs the sequences; `sources` are the weights. With `keep`, what the backward pass needs comes back. To `output` go `[h_t ; s_t]` or h_t for every
/// row, then, of an LSTM, the last c of those samples of which it is asked for: all of it is written.
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
        let layout = Layout::new(self.problem, T::lanes::<S>(), self.keep);
        let spans = self.problem.spans;
        let starts = layout.starts(spans);
        let [n_numbers, n_indices] = starts[starts.len() - 1];
        let numbers = self.keep.then(|| Buffer::<T>::new(n_numbers));
        let indices = Buffer::<u32>::new(n_indices);
        let pass = Pass {
            problem: self.problem,
            shared: &Shared::prepared(self.problem, &layout, self.sources),
            starts: &starts,
            tape: numbers
                .as_ref()
                .map(|numbers| SharedMut::new(numbers.as_ptr())),
            indices: SharedMut::new(indices.as_ptr()),
            output: self.output,
            room: Room::new(&layout, self.keep),
            layout,
        };
        let sweep = Sweep {
            parts: layout.parts(spans),
            group: layout.group,
            scratch: pass.room.size,
        };
        // SAFETY: the machine has the instructions of S, and the scratch is that of `Room`.
        unsafe { sweep.forward::<S, T>(&pass) };
        numbers.map(|numbers| Tape {
            numbers,
            indices,
            starts,
            layout,
            arch: self.arch,
        })
    }
}

/// Where things lie in the scratch memory that a group of samples shares.
#[derive(Clone, Copy)]
struct Room {
    /// A row of gates for each sample: what its state gives to them.
    from_hidden: usize,
    /// A row of hidden units for each sample; then, the first of them, for the summary.
    rows: usize,
    scores: usize,
    /// Where nothing is kept, a piece for each sample.
    pieces: usize,
    size: usize,
}

impl Room {
    fn new(layout: &Layout, keep: bool) -> Self {
        let mut offsets = Offsets::default();
        Room {
            from_hidden: offsets.take(layout.group * layout.gates_width()),
            rows: offsets.take(layout.group * layout.hidden.width),
            scores: offsets.take(
                layout
                    .visible(layout.n_steps)
                    .len()
                    .next_multiple_of(layout.hidden.lanes),
            ),
            pieces: offsets.take(if keep {
                0
            } else {
                layout.group * layout.sample
            }),
            size: offsets.end(),
        }
    }
}

#[derive(Clone, Copy)]
struct Pass<'a, T: Real> {
    problem: &'a Problem<'a, T>,
    /// That of the longest sample; of a group, that of its own.
    layout: Layout,
    shared: &'a Shared<T>,
    starts: &'a [[usize; 2]],
    tape: Option<SharedMut<T>>,
    indices: SharedMut<u32>,
    output: SharedMut<T>,
    room: Room,
}

impl<T: Real> ForwardPass<T> for Pass<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, samples: Range<usize>, scratch: *mut T) {
        let spans = self.problem.spans;
        let pass = Pass {
            layout: self.layout.of_steps(spans.of(samples.start).n_steps),
            ..*self
        };
        let (layout, room, shared) = (&pass.layout, &pass.room, pass.shared);
        let hidden = layout.hidden;
        let gates = layout.gates_width();
        let [numbers, indices] = self.starts[samples.start / layout.group];
        // SAFETY: every offset below lies in the piece that it belongs to, by the sizes of `Room` and `Layout`.
        unsafe {
            let pieces = match &self.tape {
                Some(tape) => tape.at(numbers),
                None => scratch.add(room.pieces),
            };
            let piece = |g: usize| pieces.add(g * layout.sample);
            let indices = self.indices.at(indices);
            let from_hidden = scratch.add(room.from_hidden);
            let rows = scratch.add(room.rows);
            for (g, sample) in samples.clone().enumerate() {
                pass.begin::<S>(sample, piece(g));
            }
            pass.keys::<S>(pieces, rows, samples.len(), 0..layout.given);
            for t in 0..layout.n_steps {
                let group = spans.n_active(&samples, t);
                let row_of = |g: usize| spans.of(samples.start + g).first + t;
                shared.w_hidden.multiply::<S>(
                    group,
                    Strided::new(pieces.add(layout.state(t)), layout.sample, 1),
                    match layout.kind.has_bias() {
                        true => Initial::Rows(Rows::new(shared.bias.as_ptr(), 0)),
                        false => Initial::Zero,
                    },
                    RowsMut::new(from_hidden, gates),
                );
                for g in 0..group {
                    let piece = piece(g);
                    pass.read_projected::<S>(row_of(g), t, piece);
                    cell::step::<S, T>(
                        layout.kind,
                        hidden,
                        StepRows {
                            gates: piece.add(layout.gates(t)),
                            from_hidden: from_hidden.add(g * gates),
                            prev_hidden: piece.add(layout.state(t)),
                            prev_carry: piece.add(layout.carry(t)),
                            carry: piece.add(layout.carry(t + 1)),
                            candidate: piece.add(layout.candidate(t)),
                        },
                    );
                }
                if layout.attends() && !layout.visible(t).is_empty() {
                    let candidates = pieces.add(layout.candidate(t));
                    let queries = pieces.add(layout.query(t));
                    pass.read::<S>(candidates, rows, group, &shared.w_query, queries);
                }
                for g in 0..group {
                    let indices = indices.add(layout.indices(g, t));
                    pass.recall::<S>(row_of(g), t, piece(g), indices, scratch);
                }
                if layout.is_stored(t) {
                    let memory = layout.n_memories(t);
                    for g in 0..group {
                        let piece = piece(g);
                        let to = piece.add(layout.value(memory));
                        hidden.copy::<S, T>(piece.add(layout.state(t + 1)), to);
                    }
                    pass.keys::<S>(pieces, rows, group, memory..memory + 1);
                }
            }
            let n_carried = layout.kind.n_carried();
            if n_carried > 0 {
                let before = spans.n_rows() * layout.output_width();
                for (g, sample) in samples.enumerate() {
                    let span = spans.of(sample);
                    if let Some(end) = span.end {
                        let carry = piece(g).add(layout.carry(span.n_steps));
                        let to = self.output.at(before + end * layout.carried());
                        hidden.copy_rows_units::<S, T>(n_carried, carry, to);
                    }
                }
            }
        }
    }
}

impl<T: Real> Pass<'_, T> {
    /// The first state and the given memories.
    #[inline(always)]
    unsafe fn begin<S: Simd>(&self, sample: usize, piece: *mut T) {
        let (layout, problem, hidden) = (&self.layout, self.problem, self.layout.hidden);
        let row =
            |tensor: &[T], index: usize| tensor[index * hidden.units..][..hidden.units].as_ptr();
        // SAFETY: as in `run`.
        unsafe {
            hidden.copy_padded::<S, T>(row(problem.hidden, sample), piece.add(layout.state(0)));
            if layout.carried() > 0 {
                let cell = &problem.cell[sample * layout.carried()..];
                let to = piece.add(layout.carry(0));
                hidden.copy_rows_padded::<S, T>(layout.kind.n_carried(), cell, to);
            }
            for memory in 0..layout.given {
                let value = row(problem.memories, sample * layout.given + memory);
                hidden.copy_padded::<S, T>(value, piece.add(layout.value(memory)));
            }
        }
    }

    /// What a row of the input gives to the gates of step `t`.
    #[inline(always)]
    unsafe fn read_projected<S: Simd>(&self, row: usize, t: usize, piece: *mut T) {
        let (layout, hidden) = (&self.layout, self.layout.hidden);
        let n_gates = layout.kind.n_gates();
        let first = row * n_gates * hidden.units;
        let rows = &self.problem.projected[first..];
        // SAFETY: as in `run`.
        unsafe { hidden.copy_rows_padded::<S, T>(n_gates, rows, piece.add(layout.gates(t))) };
    }

    /// The keys of memories.
    #[inline(always)]
    unsafe fn keys<S: Simd>(
        &self,
        pieces: *mut T,
        rows: *mut T,
        group: usize,
        memories: Range<usize>,
    ) {
        let layout = &self.layout;
        // SAFETY: as in `run`.
        unsafe {
            for memory in memories {
                let values = pieces.add(layout.value(memory));
                let keys = pieces.add(layout.key(memory));
                self.read::<S>(values, rows, group, &self.shared.w_key, keys);
            }
        }
    }

    /// What scores read of a row of hidden units of each sample: its product with a weight, or that of its hyperbolic tangent as
    /// released. `rows` is a row for each sample to work in.
    #[inline(always)]
    unsafe fn read<S: Simd>(
        &self,
        from: *const T,
        rows: *mut T,
        group: usize,
        weight: &Packed<T>,
        to: *mut T,
    ) {
        let layout = &self.layout;
        let hidden = layout.hidden;
        // SAFETY: as in `run`.
        unsafe {
            let (start, stride) = match layout.score {
                Score::Mlp | Score::ScaledDot => (from, layout.sample),
                Score::Released => {
                    for g in 0..group {
                        let row = from.add(g * layout.sample);
                        tanh_row::<S, T>(layout, row, rows.add(g * hidden.width));
                    }
                    (rows.cast_const(), hidden.width)
                }
            };
            weight.multiply::<S>(
                group,
                Strided::new(start, stride, 1),
                Initial::Zero,
                RowsMut::new(to, layout.sample),
            );
        }
    }

    /// From ĥ_t to h_t and s_t, which go to a row of the output.
    #[inline(always)]
    unsafe fn recall<S: Simd>(
        &self,
        row: usize,
        t: usize,
        piece: *mut T,
        indices: *mut u32,
        scratch: *mut T,
    ) {
        let (layout, hidden) = (&self.layout, self.layout.hidden);
        let visible = layout.visible(t);
        let n = visible.len();
        // SAFETY: as in `run`.
        unsafe {
            let candidate = piece.add(layout.candidate(t));
            let state = piece.add(layout.state(t + 1));
            let to = self.output.at(row * layout.output_width());
            if !layout.attends() || n == 0 {
                hidden.copy::<S, T>(candidate, state);
                hidden.copy_units::<S, T>(state, to);
                if layout.yields_summary {
                    clear(to.add(hidden.units), hidden.units);
                }
                return;
            }
            let scores = scratch.add(self.room.scores);
            let (query, keys) = (
                piece.add(layout.query(t)),
                piece.add(layout.key(visible.start)),
            );
            recall::score::<S, T>(layout, &self.shared.v, query, keys, n, scores);
            let weights = piece.add(layout.weights(t));
            let taken = recall::select(layout, visible, scores, indices, weights);
            let row = core::slice::from_raw_parts_mut(weights, taken);
            *piece.add(layout.sum(t)) = recall::sparsify(layout, n, row);

            let summary = scratch.add(self.room.rows);
            clear(summary, hidden.width);
            for at in 0..taken {
                let weight = splat::<S, T>(*weights.add(at));
                let value = piece.add(layout.value(*indices.add(at) as usize));
                hidden.update::<S, T>(summary, value, |sum, value| weight.mul_add(value, sum));
            }
            let (of_state, of_summary) = state_share::<T>(layout.options.combination);
            let (of_state, of_summary) = (splat::<S, T>(of_state), splat::<S, T>(of_summary));
            for lane in hidden.starts() {
                let recalled = load::<S, T>(summary.add(lane)) * of_summary;
                let h = load::<S, T>(candidate.add(lane)).mul_add(of_state, recalled);
                store::<S, T>(state.add(lane), h);
            }
            hidden.copy_units::<S, T>(state, to);
            if layout.yields_summary {
                hidden.copy_units::<S, T>(summary, to.add(hidden.units));
            }
        }
    }
}

/// `to = tanh(row)`.
///
/// # Safety
/// Both must be rows of hidden units, and the caller compiled with the instructions of S.
#[inline(always)]
pub(super) unsafe fn tanh_row<S: Simd, T: Real>(layout: &Layout, row: *const T, to: *mut T) {
    for lane in layout.hidden.starts() {
        // SAFETY: as the caller promises.
        unsafe {
            store::<S, T>(
                to.add(lane),
                T::tanh_lanes::<S>(load::<S, T>(row.add(lane))),
            )
        };
    }
}
