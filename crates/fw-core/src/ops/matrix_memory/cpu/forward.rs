//! The forward pass.

use core::ops::Range;

use super::super::{NORMALIZER_EPSILON, Rule};
use super::chunk::Loader;
use super::layout::{Chunk, Layout, Problem, Tape};
use super::room::{Faded, Room};
use crate::ops::cpu::{
    Arch, ForwardPass, Initial, Offsets, Real, Row, Rows, RowsMut, SharedMut, Simd, Strided, Sweep,
    WithSimd, add_product, clear, product, row_product,
};

/// Where the results of a forward pass go. All of it is written.
#[derive(Clone, Copy)]
pub(in super::super) struct Outputs<T> {
    /// Every o, `[n_rows, n_heads, d_value]`.
    pub(in super::super) output: SharedMut<T>,
    /// The last memories, `[n_ends, n_heads, d_key, d_value]`; of what is gated `[n_ends, n_heads, d_key (d_value + 1) + 1]`, m last.
    pub(in super::super) memory: SharedMut<T>,
}

/// Runs the sequences. With `keep`, what the backward pass needs comes back.
///
/// # Safety
/// The machine must have the instructions of `arch`, and the outputs room for what their fields say.
pub(in super::super) unsafe fn forward<T: Real>(
    arch: Arch,
    problem: &Problem<T>,
    outputs: Outputs<T>,
    keep: bool,
) -> Option<Tape<T>> {
    let call = Call {
        arch,
        problem,
        outputs,
        keep,
    };
    // SAFETY: as the caller promises.
    unsafe { arch.dispatch(call) }
}

struct Call<'a, T> {
    arch: Arch,
    problem: &'a Problem<'a, T>,
    outputs: Outputs<T>,
    keep: bool,
}

impl<T: Real> WithSimd for Call<'_, T> {
    type Output = Option<Tape<T>>;

    fn with_simd<S: Simd>(self) -> Self::Output {
        let layout = Layout::new(self.problem, T::lanes::<S>());
        let spans = self.problem.spans;
        let tape = self.keep.then(|| Tape::new(layout, spans, self.arch));
        let faded = Faded::new(&self.problem.decay, &layout);
        let mut offsets = Offsets::default();
        let pass = Pass {
            loader: Loader {
                problem: self.problem,
                layout,
                faded,
                room: Room::new(&layout, faded, &mut offsets),
            },
            memory: offsets.take(layout.memory()),
            yields: offsets.take(layout.readers * layout.value.width),
            value: offsets.take(layout.value.width),
            updates: offsets.take(layout.written.width * layout.value.width),
            tape: tape.as_ref(),
            outputs: self.outputs,
        };
        let sweep = Sweep {
            parts: layout.parts(spans),
            group: 1,
            scratch: offsets.end(),
        };
        // SAFETY: the machine has the instructions of S, and the scratch is as large as what has been taken of it.
        unsafe { sweep.forward::<S, T>(&pass) };
        tape
    }
}

/// The pass, and where things lie in the scratch memory of a unit.
struct Pass<'a, T> {
    loader: Loader<'a, T>,
    /// S.
    memory: usize,
    /// y; of the writes then e.
    yields: usize,
    /// A value with its padding.
    value: usize,
    /// u.
    updates: usize,
    tape: Option<&'a Tape<T>>,
    outputs: Outputs<T>,
}

impl<T: Real> ForwardPass<T> for Pass<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, units: Range<usize>, scratch: *mut T) {
        for unit in units {
            let n_heads = self.loader.layout.n_heads;
            // SAFETY: as the caller promises.
            unsafe { self.unit::<S>(unit / n_heads, unit % n_heads, scratch) };
        }
    }
}

impl<T: Real> Pass<'_, T> {
    #[inline(always)]
    unsafe fn unit<S: Simd>(&self, sample: usize, head: usize, scratch: *mut T) {
        let Loader {
            problem, layout, ..
        } = &self.loader;
        let span = problem.spans.of(sample);
        // SAFETY: as the caller promises.
        unsafe {
            let memory = scratch.add(self.memory);
            load_start::<S, T>(problem, layout, sample, head, memory);
            self.loader.begin::<S>(scratch);
            let gates = self.loader.room.gates;
            if layout.rule == Rule::Gated {
                let value = scratch.add(self.value);
                clear(value, layout.value.width);
                *value.add(layout.given.units) = T::one();
                *scratch.add(gates.before) = problem.scale_before(sample, head);
            }
            for segment in 0..layout.n_segments(span.n_steps) {
                if segment > 0
                    && let Some(tape) = self.tape
                {
                    let kept = tape.memory(sample, head, span.n_steps, segment);
                    core::ptr::copy_nonoverlapping(memory, kept, layout.memory());
                }
                for index in layout.chunks(segment, span.n_steps) {
                    let chunk = layout.chunk(index, span.n_steps);
                    self.loader.load::<S>(&chunk, span.first, head, scratch);
                    self.loader.pair::<S>(&chunk, scratch);
                    let errors = self.tape.map(|tape| {
                        let errors = tape.errors(sample, head, span.n_steps);
                        errors.add(chunk.first * layout.writes * layout.value.width)
                    });
                    self.update::<S>(&chunk, span.first, head, errors, scratch);
                    let scales = self
                        .tape
                        .filter(|_| layout.rule == Rule::Gated)
                        .map(|tape| {
                            let scales = tape.scales(sample, head, span.n_steps);
                            [scales, scales.add(span.n_steps)].map(|all| all.add(chunk.first))
                        });
                    self.yield_outputs::<S>(&chunk, span.first, head, scales, scratch);
                    let updates = scratch.add(self.updates);
                    fade_memory::<S, T>(&self.loader, memory, scratch);
                    write_chunk::<S, T>(&self.loader, &chunk, updates, memory, scratch);
                    if layout.rule == Rule::Gated {
                        let last = gates.scales + chunk.n_steps - 1;
                        *scratch.add(gates.before) = *scratch.add(last);
                    }
                }
            }
            if let Some(end) = span.end {
                let to = self
                    .outputs
                    .memory
                    .at((end * layout.n_heads + head) * layout.last_state());
                layout
                    .value
                    .copy_rows_units::<S, T>(layout.key.units, memory, to);
                if layout.rule == Rule::Gated {
                    *to.add(layout.given_memory()) = *scratch.add(gates.before);
                }
            }
        }
    }

    /// What all readers yield of the memory before the chunk, and what the writes write: e, u. Of the readers that are steps, what the chunk itself
    /// adds is still missing.
    #[inline(always)]
    unsafe fn update<S: Simd>(
        &self,
        chunk: &Chunk,
        first: usize,
        head: usize,
        errors: Option<*mut T>,
        scratch: *mut T,
    ) {
        let Loader {
            problem,
            layout,
            room,
            ..
        } = &self.loader;
        let (row, width) = (layout.value, layout.value.width);
        let (written, key) = (layout.written.width, layout.key.width);
        let write = problem.row(first + chunk.first, layout.writes, head);
        let from = layout.first_reader;
        // SAFETY: as the caller promises.
        unsafe {
            let (yields, updates) = (scratch.add(self.yields), scratch.add(self.updates));
            product::<S, T>(
                [
                    layout.first_step + chunk.n_steps - from,
                    layout.key.units,
                    row.vectors(),
                ],
                Strided::new(scratch.add(room.faded + from * key), key, 1),
                Rows::new(scratch.add(self.memory), width),
                Initial::Zero,
                RowsMut::new(yields.add(from * width), width),
            );
            if layout.rule == Rule::Transition {
                self.update_by_transition::<S>(chunk, first, head, errors, scratch);
                return;
            }
            for i in 0..chunk.n_writes {
                let index = write + i * layout.n_heads;
                let padded = scratch.add(self.value);
                let value = match layout.rule {
                    Rule::Gated => {
                        let given = layout.given;
                        let from = problem.value[index * given.units..][..given.units].as_ptr();
                        given.copy_units::<S, T>(from, padded);
                        padded.cast_const()
                    }
                    _ => row.view::<S, T>(problem.value, index, padded),
                };
                let error = yields.add(i * width);
                if layout.rule == Rule::Delta {
                    row_product::<S, T>(
                        [i, row.vectors()],
                        scratch.add(room.pairs + i * written),
                        1,
                        Rows::new(updates, width),
                        Some(error),
                        error,
                    );
                    row.update::<S, T>(error, value, |seen, value| value - seen);
                } else {
                    row.copy::<S, T>(value, error);
                }
                let strength = *scratch.add(room.strengths + i);
                row.scale_to::<S, T>(strength, error, updates.add(i * width));
                if let Some(errors) = errors {
                    row.copy::<S, T>(error, errors.add(i * width));
                }
            }
        }
    }

    /// The writes of a transition: what a reads, and v.
    #[inline(always)]
    unsafe fn update_by_transition<S: Simd>(
        &self,
        chunk: &Chunk,
        first: usize,
        head: usize,
        errors: Option<*mut T>,
        scratch: *mut T,
    ) {
        let Loader {
            problem,
            layout,
            room,
            ..
        } = &self.loader;
        let (row, width, written) = (layout.value, layout.value.width, layout.written.width);
        let step = problem.row(first + chunk.first, 1, head);
        // SAFETY: as the caller promises.
        unsafe {
            let (yields, updates) = (scratch.add(self.yields), scratch.add(self.updates));
            for t in 0..chunk.n_steps {
                let read = updates.add(2 * t * width);
                row_product::<S, T>(
                    [2 * t, row.vectors()],
                    scratch.add(room.pairs + t * written),
                    1,
                    Rows::new(updates, width),
                    Some(yields.add(t * width)),
                    read,
                );
                row.read::<S, T>(problem.value, step + t * layout.n_heads, read.add(width));
                if let Some(errors) = errors {
                    let both = Row::new(2 * width, row.lanes);
                    both.copy::<S, T>(read, errors.add(2 * t * width));
                }
            }
        }
    }

    /// o, of the chunk's steps; of what is gated m and nᵀq go to the tape.
    #[inline(always)]
    unsafe fn yield_outputs<S: Simd>(
        &self,
        chunk: &Chunk,
        first: usize,
        head: usize,
        scales: Option<[*mut T; 2]>,
        scratch: *mut T,
    ) {
        let Loader {
            problem,
            layout,
            room,
            ..
        } = &self.loader;
        let (row, width, written) = (layout.value, layout.value.width, layout.written.width);
        let step = problem.row(first + chunk.first, 1, head);
        let given = layout.given;
        let apart = layout.n_heads * given.units;
        // SAFETY: as the caller promises.
        unsafe {
            let yields = RowsMut::new(scratch.add(self.yields + layout.first_step * width), width);
            let output = self.outputs.output.at(step * given.units);
            let is_gated = layout.rule == Rule::Gated;
            let is_whole = row.units == row.width && !is_gated;
            product::<S, T>(
                [chunk.n_steps, chunk.n_writes, row.vectors()],
                Strided::new(
                    scratch.add(room.pairs + layout.first_step * written),
                    written,
                    1,
                ),
                Rows::new(scratch.add(self.updates), width),
                yields.as_initial(),
                match is_whole {
                    true => RowsMut::new(output, apart),
                    false => yields,
                },
            );
            if !is_whole {
                for t in 0..chunk.n_steps {
                    let from = yields.start.add(t * width);
                    if is_gated {
                        let [scale, floor] = [room.gates.scales, room.gates.floors]
                            .map(|start| *scratch.add(start + t));
                        let normalizer = *from.add(given.units);
                        let share = T::one() / divisor(normalizer, floor);
                        given.scale_to::<S, T>(share, from, from);
                        if let Some([scales, normalizers]) = scales {
                            *scales.add(t) = scale;
                            *normalizers.add(t) = normalizer;
                        }
                    }
                    given.copy_units::<S, T>(from, output.add(t * apart));
                }
            }
        }
    }
}

/// `max(|nᵀ q|, exp(-m)) + ε`, not a number if one of them is not.
#[inline(always)]
pub(super) fn divisor<T: Real>(normalizer: T, floor: T) -> T {
    let size = normalizer.abs();
    let larger = match size > floor {
        true => size,
        false if floor >= size => floor,
        false => size + floor,
    };
    larger + T::of(NORMALIZER_EPSILON)
}

/// The memory that a unit begins with.
///
/// # Safety
/// It must have room; inlined into a function that is compiled for S.
#[inline(always)]
pub(super) unsafe fn load_start<S: Simd, T: Real>(
    problem: &Problem<T>,
    layout: &Layout,
    sample: usize,
    head: usize,
    memory: *mut T,
) {
    let numbers = layout.given_memory();
    // SAFETY: as the caller promises.
    unsafe {
        match problem.start {
            None => clear(memory, layout.memory()),
            Some(start) => {
                let start = &start[(sample * layout.n_heads + head) * numbers..][..numbers];
                layout
                    .value
                    .copy_rows_padded::<S, T>(layout.key.units, start, memory);
            }
        }
    }
}

/// `S <- S + Σ_i D_{Ci} k_i u_iᵀ`
///
/// # Safety
/// The chunk must have been loaded; inlined into a function that is compiled for S.
#[inline(always)]
pub(super) unsafe fn write_chunk<S: Simd, T: Real>(
    loader: &Loader<T>,
    chunk: &Chunk,
    updates: *const T,
    memory: *mut T,
    scratch: *mut T,
) {
    let Loader { layout, room, .. } = loader;
    let (key, value) = (layout.key, layout.value);
    // SAFETY: as the caller promises.
    unsafe {
        add_product::<S, T>(
            [key.units, chunk.n_writes, value.vectors()],
            Strided::new(scratch.add(room.ending), 1, key.width),
            Rows::new(updates, value.width),
            RowsMut::new(memory, value.width),
        );
    }
}

/// `S <- D_{C0} S`
///
/// # Safety
/// As for [`write_chunk`].
#[inline(always)]
pub(super) unsafe fn fade_memory<S: Simd, T: Real>(
    loader: &Loader<T>,
    memory: *mut T,
    scratch: *mut T,
) {
    let Some(faded) = loader.faded else {
        return;
    };
    let value = loader.layout.value;
    // SAFETY: as the caller promises.
    unsafe {
        let whole = scratch.add(loader.room.whole);
        for channel in 0..loader.layout.key.units {
            let factor = *whole.add(if faded.by_channel { channel } else { 0 });
            let row = memory.add(channel * value.width);
            value.scale_to::<S, T>(factor, row, row);
        }
    }
}
