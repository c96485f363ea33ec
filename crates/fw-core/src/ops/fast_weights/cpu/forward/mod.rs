//! The forward pass.

mod step;

use core::ops::Range;

use super::super::WrittenState;
use super::layout::{Layout, Problem, Shared, Tape};
use super::rows::transpose;
use crate::ops::Span;
use crate::ops::cpu::{
    Arch, ForwardPass, Offsets, Real, Rows, RowsMut, SharedMut, Simd, Strided, Sweep, WithSimd,
    add_product, clear,
};

/// Where the results of a forward pass go. All of it is written.
#[derive(Clone, Copy)]
pub(in super::super) struct Outputs<T> {
    /// Every h_t, `[n_rows, d_hidden]`.
    pub(in super::super) hidden: SharedMut<T>,
    /// Every vector that was written, in the same shape, if it is wanted.
    pub(in super::super) writes: Option<SharedMut<T>>,
    /// The last A of each sample that has an end, `[n_ends, d_hidden, d_hidden]`, if they are wanted.
    pub(in super::super) memory: Option<SharedMut<T>>,
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
        let pass = Pass {
            problem: self.problem,
            shared: &Shared::new(self.problem, &layout),
            symmetric: is_symmetric(self.problem),
            tape: tape.as_ref(),
            room: &Room::new(&layout),
            call: &self,
            layout,
        };
        let group = layout.group::<T>(spans.n_samples());
        let sweep = Sweep {
            parts: layout.parts::<T>(spans),
            group,
            scratch: group * pass.room.sample + pass.room.common,
        };
        // SAFETY: the machine has the instructions of S, and the scratch is that of `Room`.
        unsafe { sweep.forward::<S, T>(&pass) };
        tape
    }
}

/// Whether every sample's first memory equals its transpose.
pub(super) fn is_symmetric<T: Real>(problem: &Problem<T>) -> bool {
    let d = problem.d_hidden;
    problem.start.is_none_or(|start| {
        start.chunks_exact(d * d).all(|a| {
            (0..d).all(|row| (0..row).all(|column| a[row * d + column] == a[column * d + row]))
        })
    })
}

/// Where things lie in the scratch memory: offsets within a sample's piece, and within the piece that all
/// samples of a group share.
struct Room {
    /// h_{t-1} of the chunk's first step, then every h_t.
    states: usize,
    /// z_t for every step.
    inputs: usize,
    /// The writes as columns.
    columns: usize,
    /// The writes as rows, where they are not the states.
    rows: usize,
    /// Aᵀ at the chunk's start.
    memory: usize,
    /// Size of a sample's piece.
    sample: usize,
    /// Rows for one step, where no tape keeps them: the query, the normalised, the attention.
    query: usize,
    normalised: usize,
    attention: usize,
    /// A row to sum in.
    sum: usize,
    /// The writes, each with its rate.
    scaled: usize,
    /// Size of the common piece.
    common: usize,
}

impl Room {
    fn new(layout: &Layout) -> Self {
        let mut sample = Offsets::default();
        let chunk = layout.chunk * layout.width;
        let states = sample.take(chunk + layout.width);
        let inputs = sample.take(chunk);
        let columns = sample.take(layout.d_hidden * layout.chunk_width);
        let rows = sample.take(chunk);
        let memory = sample.take(layout.matrix());
        let mut common = Offsets::default();
        Room {
            states,
            inputs,
            columns,
            rows,
            memory,
            sample: sample.end(),
            query: common.take(layout.width),
            normalised: common.take(layout.width),
            attention: common.take(layout.chunk_width),
            sum: common.take(layout.width),
            scaled: common.take(chunk),
            common: common.end(),
        }
    }
}

struct Pass<'a, T: Real> {
    problem: &'a Problem<'a, T>,
    call: &'a Call<'a, T>,
    /// Of all samples, or of those of a group.
    layout: Layout,
    shared: &'a Shared<'a, T>,
    symmetric: bool,
    tape: Option<&'a Tape<T>>,
    room: &'a Room,
}

/// A sample's rows, its place in the scratch memory, and its tape.
#[derive(Clone, Copy)]
struct Sample<T> {
    index: usize,
    span: Span,
    scratch: *mut T,
    common: *mut T,
    tape: Option<*mut T>,
}

impl<T: Real> ForwardPass<T> for Pass<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, samples: Range<usize>, scratch: *mut T) {
        let spans = self.problem.spans;
        let pass = Pass {
            layout: self.layout.of_steps(spans.of(samples.start).n_steps),
            ..*self
        };
        let (layout, room) = (&pass.layout, pass.room);
        let (width, vectors) = (layout.width, layout.width / layout.lanes);
        let group = samples.len();
        let tape = pass.tape.map(|tape| tape.of_group(samples.start));
        // SAFETY: every offset below lies in the piece that it belongs to, by the sizes of `Room` and `Layout`.
        unsafe {
            let common = scratch.add(group * room.sample);
            let sample = |g: usize| Sample {
                index: samples.start + g,
                span: spans.of(samples.start + g),
                scratch: scratch.add(g * room.sample),
                common,
                tape: tape.map(|tape| tape.add(g * layout.tape())),
            };
            for g in 0..group {
                pass.begin::<S>(sample(g));
            }
            for chunk in 0..layout.n_chunks() {
                let steps = layout.steps(chunk);
                let n_there = spans.n_active(&samples, steps.start);
                for g in 0..n_there {
                    pass.begin_chunk::<S>(sample(g), chunk);
                }
                for t in 0..steps.len() {
                    let n_active = spans.n_active(&samples, steps.start + t);
                    // z_t += h_{t-1} W
                    add_product::<S, T>(
                        [n_active, layout.d_hidden, vectors],
                        Strided::new(scratch.add(room.states + t * width), room.sample, 1),
                        Rows::new(pass.shared.w_hidden.as_ptr(), width),
                        RowsMut::new(scratch.add(room.inputs + t * width), room.sample),
                    );
                    for g in 0..n_active {
                        pass.step::<S>(sample(g), chunk, steps.start, t);
                    }
                }
                for g in 0..n_there {
                    pass.end_chunk::<S>(sample(g), chunk);
                }
            }
        }
    }
}

impl<T: Real> Pass<'_, T> {
    /// Where a sample's last memory goes, if it is wanted.
    fn last_memory(&self, span: Span) -> Option<SharedMut<T>> {
        let d = self.layout.d_hidden;
        let memory = self.call.outputs.memory?;
        // SAFETY: there is room for the memory of each end.
        span.end
            .map(|end| SharedMut::new(unsafe { memory.at(end * d * d) }))
    }

    /// Whether the memory after a chunk is read by the next one, or wanted.
    fn has_memory_after(&self, span: Span, chunk: usize) -> bool {
        !self.layout.is_last(span, chunk) || self.last_memory(span).is_some()
    }

    /// The first state and memory.
    #[inline(always)]
    unsafe fn begin<S: Simd>(&self, sample: Sample<T>) {
        let (layout, room) = (&self.layout, self.room);
        let d = layout.d_hidden;
        // SAFETY: as in `run`.
        unsafe {
            let hidden = &self.problem.hidden[sample.index * d..][..d];
            let states = sample.scratch.add(room.states);
            layout.row().copy_padded::<S, T>(hidden.as_ptr(), states);
            let memory = sample.scratch.add(room.memory);
            match self.problem.start {
                None if !self.has_memory_after(sample.span, 0) => {}
                None => clear(memory, layout.matrix()),
                Some(start) => {
                    let start = &start[sample.index * d * d..][..d * d];
                    for row in 0..d {
                        let to = memory.add(row * layout.width);
                        layout
                            .row()
                            .copy_padded::<S, T>(start[row * d..].as_ptr(), to);
                    }
                    if !self.symmetric {
                        transpose(memory, d, layout.width);
                    }
                }
            }
        }
    }

    /// `x_t C + b` for the steps of a chunk.
    #[inline(always)]
    unsafe fn begin_chunk<S: Simd>(&self, sample: Sample<T>, chunk: usize) {
        let (layout, room, width) = (&self.layout, self.room, self.layout.width);
        let (start, n) = (layout.start(chunk), layout.n_steps_of(sample.span, chunk));
        let d_input = layout.d_input;
        // SAFETY: as in `run`.
        unsafe {
            let inputs = sample.scratch.add(room.inputs);
            let first = sample.span.first + start;
            if self.problem.projection.is_none() {
                for t in 0..n {
                    let row = self.problem.input[(first + t) * layout.d_hidden..].as_ptr();
                    layout.row().copy_padded::<S, T>(row, inputs.add(t * width));
                }
            } else {
                for t in 0..n {
                    layout
                        .row()
                        .copy::<S, T>(self.shared.bias.as_ptr(), inputs.add(t * width));
                }
                add_product::<S, T>(
                    [n, d_input, width / layout.lanes],
                    Strided::new(self.problem.input[first * d_input..].as_ptr(), d_input, 1),
                    Rows::new(self.shared.w_input.as_ptr(), width),
                    RowsMut::new(inputs, width),
                );
            }
            if let (Some(tape), true) = (sample.tape, layout.has_memory(chunk)) {
                let memory = sample.scratch.add(room.memory);
                let to = tape.add(layout.memory(chunk));
                core::ptr::copy_nonoverlapping(memory, to, layout.matrix());
            }
        }
    }

    /// The chunk's writes as rows.
    #[inline(always)]
    unsafe fn write_rows(&self, sample: Sample<T>) -> Rows<T> {
        let (layout, room) = (&self.layout, self.room);
        let start = match layout.write {
            WrittenState::Final => room.states + layout.width,
            WrittenState::Preliminary => room.rows,
        };
        Rows {
            // SAFETY: as in `run`.
            start: unsafe { sample.scratch.add(start) },
            stride: layout.width,
        }
    }

    /// The memory after the chunk, if it is read again, and the state that the next one starts from.
    #[inline(always)]
    unsafe fn end_chunk<S: Simd>(&self, sample: Sample<T>, chunk: usize) {
        let (layout, room, width) = (&self.layout, self.room, self.layout.width);
        let n = layout.n_steps_of(sample.span, chunk);
        // SAFETY: as in `run`.
        unsafe {
            if self.has_memory_after(sample.span, chunk) {
                let memory = sample.scratch.add(room.memory);
                let scaled = sample.common.add(room.scaled);
                let rates = self.shared.rates(n);
                let rows = self.write_rows(sample);
                for write in 0..n {
                    let to = scaled.add(write * width);
                    layout.row().scale_to::<S, T>(
                        *rates.add(write),
                        rows.start.add(write * width),
                        to,
                    );
                }
                let decay = self.shared.decays[n];
                for unit in 0..layout.d_hidden {
                    let row = memory.add(unit * width);
                    layout.row().scale_to::<S, T>(decay, row, row);
                }
                add_product::<S, T>(
                    [layout.d_hidden, n, width / layout.lanes],
                    Strided::new(sample.scratch.add(room.columns), layout.chunk_width, 1),
                    Rows::new(scaled, width),
                    RowsMut::new(memory, width),
                );
            }
            let states = sample.scratch.add(room.states);
            layout.row().copy::<S, T>(states.add(n * width), states);
            if let (Some(last), true) = (
                self.last_memory(sample.span),
                layout.is_last(sample.span, chunk),
            ) {
                let d = layout.d_hidden;
                let memory = sample.scratch.add(room.memory);
                if !self.symmetric {
                    transpose(memory, d, width);
                }
                for row in 0..d {
                    layout
                        .row()
                        .copy_units::<S, T>(memory.add(row * width), last.at(row * d));
                }
            }
        }
    }
}
