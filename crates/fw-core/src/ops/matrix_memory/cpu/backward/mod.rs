//! The backward pass.

mod channel;
mod chunk;
mod decay;
mod gates;

use core::ops::Range;

use super::super::Rule;
use super::chunk::Loader;
use super::forward::{fade_memory, load_start, write_chunk};
use super::layout::{Chunk, Layout, Problem, Tape};
use super::room::{Faded, Room};
use crate::ops::cpu::{
    BackwardPass, BlockSums, Offsets, Real, Row, SharedMut, Simd, Sweep, Vector, WithSimd, clear,
    load, splat,
};

/// Where the gradients go, each in the shape of what it is the gradient of. All of it is written.
#[derive(Clone, Copy)]
pub(in super::super) struct Gradients<T> {
    pub(in super::super) query: SharedMut<T>,
    pub(in super::super) key: SharedMut<T>,
    pub(in super::super) value: SharedMut<T>,
    /// Not of a transition.
    pub(in super::super) strength: SharedMut<T>,
    /// Written if anything fades.
    pub(in super::super) decay: SharedMut<T>,
    /// Of a transition.
    pub(in super::super) transition: [SharedMut<T>; 2],
    /// If it is wanted.
    pub(in super::super) start: Option<SharedMut<T>>,
    /// Of what is gated, if it is wanted.
    pub(in super::super) start_scale: Option<SharedMut<T>>,
}

/// The gradients of what a forward pass has yielded.
#[derive(Clone, Copy)]
pub(in super::super) struct Cotangents<'a, T> {
    /// `[n_rows, n_heads, d_value]`
    pub(in super::super) output: &'a [T],
    /// In the shape of the last memories; `None` is 0.
    pub(in super::super) memory: Option<&'a [T]>,
    /// What was yielded, if it is gated.
    pub(in super::super) yielded: Option<&'a [T]>,
}

/// The gradients of everything that the forward pass has read, which left the tape.
///
/// # Safety
/// The outputs must have room for what their fields say.
pub(in super::super) unsafe fn backward<T: Real>(
    problem: &Problem<T>,
    tape: &Tape<T>,
    cotangents: Cotangents<T>,
    outputs: Gradients<T>,
) {
    let call = Call {
        problem,
        tape,
        cotangents,
        outputs,
    };
    // SAFETY: the forward pass ran on this architecture.
    unsafe { tape.arch.dispatch(call) }
}

struct Call<'a, T> {
    problem: &'a Problem<'a, T>,
    tape: &'a Tape<T>,
    cotangents: Cotangents<'a, T>,
    outputs: Gradients<T>,
}

impl<T: Real> WithSimd for Call<'_, T> {
    type Output = ();

    fn with_simd<S: Simd>(self) {
        let (problem, layout) = (self.problem, self.tape.layout);
        let faded = Faded::new(&problem.decay, &layout);
        let mut offsets = Offsets::default();
        let pass = Pass {
            loader: Loader {
                problem,
                layout,
                faded,
                room: Room::new(&layout, faded, &mut offsets),
            },
            room: Places::new(
                &layout,
                faded,
                layout.memories(problem.spans.longest()),
                &mut offsets,
            ),
            call: &self,
        };
        let sweep = Sweep {
            parts: layout.parts(problem.spans),
            group: 1,
            scratch: offsets.end(),
        };
        // SAFETY: the tape was made with the instructions of S, and the scratch is as large as what has been taken of it. There are no sums.
        unsafe { sweep.backward::<S, T>(&pass, 0, 0) };
    }
}

/// Where things lie in the scratch memory of a unit, beside what the [loader](Loader) has.
struct Places {
    /// S before each chunk of a segment.
    memories: usize,
    /// Sᵀ of the present one.
    transposed: usize,
    /// G.
    slope: usize,
    /// Y, readers by values.
    yielded: usize,
    /// u, and values by writes.
    updates: usize,
    updates_transposed: usize,
    /// ū.
    update_slopes: usize,
    /// N, and then `N ∘ D`: readers by writes.
    pairs: usize,
    /// `N ∘ P`, where heads fade.
    spanning: usize,
    /// dX.
    readers: usize,
    /// dk, as those who are written.
    keys: usize,
    /// `G u_i`: channels by writes, and writes by channels.
    ended_transposed: usize,
    ended: usize,
    /// dg of the steps.
    decays: usize,
    /// The same of one step.
    sums: usize,
    /// Of what is gated the gradients of β and of exp(-m), and a value.
    strength_slopes: usize,
    floor_slopes: usize,
    value: usize,
    /// What the steps behind the chunk say of m before them.
    carry: usize,
    /// A number for each write.
    numbers: usize,
    /// Where channels fade what is left of each key at each step: steps by writes by channels.
    left: usize,
    /// And dg of each step, of pairs.
    spanning_by_channel: usize,
}

impl Places {
    fn new(layout: &Layout, faded: Option<Faded>, memories: usize, offsets: &mut Offsets) -> Self {
        let (key, value) = (layout.key.width, layout.value.width);
        let (written, readers) = (layout.written.width, layout.readers);
        let steps = |n_steps| faded.map_or(0, |faded| faded.numbers(n_steps, layout.key.lanes));
        let by_channel = usize::from(faded.is_some_and(|faded| faded.by_channel));
        let of_gates = usize::from(layout.rule == Rule::Gated);
        Places {
            memories: offsets.take(memories * layout.memory()),
            transposed: offsets.take(layout.value.units * key),
            slope: offsets.take(layout.memory()),
            yielded: offsets.take(readers * value),
            updates: offsets.take(written * value),
            updates_transposed: offsets.take(layout.value.units * written),
            update_slopes: offsets.take(written * value),
            pairs: offsets.take(readers * written),
            spanning: offsets.take(readers * written),
            readers: offsets.take(readers * key),
            keys: offsets.take(written * key),
            ended_transposed: offsets.take(layout.key.units * written),
            ended: offsets.take(written * key),
            decays: offsets.take(steps(layout.chunk)),
            sums: offsets.take(steps(1)),
            strength_slopes: offsets.take(of_gates * written),
            floor_slopes: offsets.take(of_gates * written),
            value: offsets.take(of_gates * value),
            carry: offsets.take(of_gates * layout.written.lanes),
            numbers: offsets.take(written),
            left: offsets.take(by_channel * layout.chunk * written * key),
            spanning_by_channel: offsets.take(by_channel * layout.chunk * key),
        }
    }
}

struct Pass<'a, T> {
    loader: Loader<'a, T>,
    room: Places,
    call: &'a Call<'a, T>,
}

impl<T: Real> BackwardPass<T> for Pass<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, units: Range<usize>, scratch: *mut T, _sums: &mut BlockSums<T>) {
        for unit in units {
            let n_heads = self.loader.layout.n_heads;
            // SAFETY: as the caller promises.
            unsafe { self.unit::<S>(unit / n_heads, unit % n_heads, scratch) };
        }
    }
}

/// A head's chunk, and where the unit's scratch memory begins.
#[derive(Clone, Copy)]
struct At<T> {
    chunk: Chunk,
    /// Row of the sample's first step.
    first: usize,
    head: usize,
    scratch: *mut T,
    /// S before the chunk.
    memory: *mut T,
    /// e of its writes.
    errors: *const T,
    /// nᵀq of its steps, if it is gated.
    normalizers: *const T,
}

impl<T: Real> Pass<'_, T> {
    #[inline(always)]
    unsafe fn unit<S: Simd>(&self, sample: usize, head: usize, scratch: *mut T) {
        let Loader {
            problem, layout, ..
        } = &self.loader;
        let span = problem.spans.of(sample);
        let tape = self.call.tape;
        let numbers = layout.given_memory();
        let is_gated = layout.rule == Rule::Gated;
        // SAFETY: as the caller promises.
        unsafe {
            let memories = scratch.add(self.room.memories);
            let slope = scratch.add(self.room.slope);
            match self.call.cotangents.memory.zip(span.end) {
                None => {
                    clear(slope, layout.memory());
                    if is_gated {
                        *scratch.add(self.room.carry) = T::zero();
                    }
                }
                Some((memories, end)) => {
                    let place = (end * layout.n_heads + head) * layout.last_state();
                    let from = &memories[place..][..layout.last_state()];
                    layout
                        .value
                        .copy_rows_padded::<S, T>(layout.key.units, from, slope);
                    if is_gated {
                        *scratch.add(self.room.carry) = from[numbers];
                    }
                }
            }
            // Padding that no transpose writes.
            clear(
                scratch.add(self.room.transposed),
                layout.value.units * layout.key.width,
            );
            clear(
                scratch.add(self.room.ended),
                layout.written.width * layout.key.width,
            );
            self.loader.begin::<S>(scratch);
            let errors = tape.errors(sample, head, span.n_steps);
            let scales = match is_gated {
                true => tape.scales(sample, head, span.n_steps),
                false => errors,
            };
            let at = |index: usize, memory: *mut T| {
                let chunk = layout.chunk(index, span.n_steps);
                if is_gated {
                    *scratch.add(self.loader.room.gates.before) = match chunk.first {
                        0 => problem.scale_before(sample, head),
                        first => *scales.add(first - 1),
                    };
                }
                At {
                    chunk,
                    first: span.first,
                    head,
                    scratch,
                    memory,
                    errors: errors.add(chunk.first * layout.writes * layout.value.width),
                    normalizers: scales.add(if is_gated {
                        span.n_steps + chunk.first
                    } else {
                        0
                    }),
                }
            };
            for segment in (0..layout.n_segments(span.n_steps)).rev() {
                let chunks = layout.chunks(segment, span.n_steps);
                let first = match segment {
                    0 => {
                        load_start::<S, T>(problem, layout, sample, head, memories);
                        memories
                    }
                    _ => tape.memory(sample, head, span.n_steps, segment),
                };
                let memory = |index: usize| match index - chunks.start {
                    0 => first,
                    later => memories.add(later * layout.memory()),
                };
                for index in chunks.start..chunks.end - 1 {
                    self.go_on::<S>(&at(index, memory(index)), memory(index + 1));
                }
                for index in chunks.clone().rev() {
                    self.chunk::<S>(&at(index, memory(index)));
                }
            }
            if let Some(start) = self.call.outputs.start {
                let to = start.at((sample * layout.n_heads + head) * numbers);
                layout
                    .value
                    .copy_rows_units::<S, T>(layout.key.units, slope, to);
            }
            if let Some(start) = self.call.outputs.start_scale {
                *start.at(sample * layout.n_heads + head) = *scratch.add(self.room.carry);
            }
        }
    }

    /// The memory after a chunk.
    #[inline(always)]
    unsafe fn go_on<S: Simd>(&self, at: &At<T>, next: *mut T) {
        let layout = &self.loader.layout;
        // SAFETY: as the caller promises.
        unsafe {
            self.loader
                .load::<S>(&at.chunk, at.first, at.head, at.scratch);
            self.load_updates::<S>(at);
            core::ptr::copy_nonoverlapping(at.memory, next, layout.memory());
            let updates = at.scratch.add(self.room.updates);
            fade_memory::<S, T>(&self.loader, next, at.scratch);
            write_chunk::<S, T>(&self.loader, &at.chunk, updates, next, at.scratch);
        }
    }

    /// u, of what the forward pass has left; zeros for writes that are not there.
    #[inline(always)]
    unsafe fn load_updates<S: Simd>(&self, at: &At<T>) {
        let layout = &self.loader.layout;
        let (row, width) = (layout.value, layout.value.width);
        // SAFETY: as the caller promises.
        unsafe {
            let updates = at.scratch.add(self.room.updates);
            for i in 0..at.chunk.n_writes {
                let strength = *at.scratch.add(self.loader.room.strengths + i);
                row.scale_to::<S, T>(strength, at.errors.add(i * width), updates.add(i * width));
            }
            let missing = layout.written.width - at.chunk.n_writes;
            clear(updates.add(at.chunk.n_writes * width), missing * width);
        }
    }
}

/// The product of two rows.
///
/// # Safety
/// Both must be rows of this size; inlined into a function that is compiled for S.
#[inline(always)]
unsafe fn dot<S: Simd, T: Real>(row: Row, a: *const T, b: *const T) -> T {
    let mut sum: Vector<S, T> = splat::<S, T>(T::zero());
    for lane in row.starts() {
        // SAFETY: as the caller promises.
        sum = unsafe { load::<S, T>(a.add(lane)).mul_add(load::<S, T>(b.add(lane)), sum) };
    }
    sum.reduce_add()
}
