//! The forward pass.

mod step;

use core::ops::Range;

use super::super::WrittenState;
use super::layout::{Layout, Problem, Shared, Tape};
use super::rows::transpose;
use crate::ops::cpu::{
    Arch, Buffer, ForwardPass, Offsets, Real, Rows, RowsMut, SharedMut, Simd, Strided, Sweep,
    WithSimd, add_product, clear,
};

/// Where the results of a forward pass go. All of it is written.
#[derive(Clone, Copy)]
pub(in super::super) struct Outputs<T> {
    /// Every h_t, `[batch_size, seq_length, d_hidden]`.
    pub(in super::super) hidden: SharedMut<T>,
    /// Every vector that was written, in the same shape, if it is wanted.
    pub(in super::super) writes: Option<SharedMut<T>>,
    /// The last A, `[batch_size, d_hidden, d_hidden]`, if it is wanted.
    pub(in super::super) memory: Option<SharedMut<T>>,
}

/// Runs the sequence. With `keep`, what the backward pass needs comes back.
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
        let batch_size = self.problem.batch_size;
        let tape = self.keep.then(|| Tape {
            numbers: Buffer::new(batch_size * layout.tape()),
            layout,
            arch: self.arch,
        });
        let pass = Pass {
            problem: self.problem,
            shared: Shared::new(self.problem, &layout),
            symmetric: is_symmetric(self.problem),
            tape: tape
                .as_ref()
                .map(|tape| SharedMut::new(tape.numbers.as_ptr())),
            room: Room::new(&layout),
            call: &self,
            layout,
        };
        let group = layout.group::<T>(batch_size);
        let sweep = Sweep {
            parts: layout.parts::<T>(batch_size),
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
    layout: Layout,
    shared: Shared<'a, T>,
    symmetric: bool,
    tape: Option<SharedMut<T>>,
    room: Room,
}

/// A sample's place in the scratch memory, and its tape.
#[derive(Clone, Copy)]
struct Sample<T> {
    index: usize,
    scratch: *mut T,
    common: *mut T,
    tape: Option<*mut T>,
}

impl<T: Real> ForwardPass<T> for Pass<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, samples: Range<usize>, scratch: *mut T) {
        let (layout, room) = (&self.layout, &self.room);
        let (width, vectors) = (layout.width, layout.width / layout.lanes);
        let group = samples.len();
        // SAFETY: every offset below lies in the piece that it belongs to, by the sizes of `Room` and `Layout`.
        unsafe {
            let common = scratch.add(group * room.sample);
            let sample = |g: usize| Sample {
                index: samples.start + g,
                scratch: scratch.add(g * room.sample),
                common,
                tape: self
                    .tape
                    .map(|tape| tape.at((samples.start + g) * layout.tape())),
            };
            for g in 0..group {
                self.begin::<S>(sample(g));
            }
            for chunk in 0..layout.n_chunks() {
                let steps = layout.steps(chunk);
                for g in 0..group {
                    self.begin_chunk::<S>(sample(g), chunk);
                }
                for t in 0..steps.len() {
                    // z_t += h_{t-1} W
                    add_product::<S, T>(
                        [group, layout.d_hidden, vectors],
                        Strided::new(scratch.add(room.states + t * width), room.sample, 1),
                        Rows::new(self.shared.w_hidden.as_ptr(), width),
                        RowsMut::new(scratch.add(room.inputs + t * width), room.sample),
                    );
                    for g in 0..group {
                        self.step::<S>(sample(g), chunk, steps.start, t);
                    }
                }
                for g in 0..group {
                    self.end_chunk::<S>(sample(g), chunk);
                }
            }
        }
    }
}

impl<T: Real> Pass<'_, T> {
    /// The first state and memory.
    #[inline(always)]
    unsafe fn begin<S: Simd>(&self, sample: Sample<T>) {
        let (layout, room) = (&self.layout, &self.room);
        let d = layout.d_hidden;
        // SAFETY: as in `run`.
        unsafe {
            let hidden = &self.problem.hidden[sample.index * d..][..d];
            let states = sample.scratch.add(room.states);
            layout.row().copy_padded::<S, T>(hidden.as_ptr(), states);
            let memory = sample.scratch.add(room.memory);
            match self.problem.start {
                None if layout.n_chunks() == 1 && self.call.outputs.memory.is_none() => {}
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
        let (layout, room, width) = (&self.layout, &self.room, self.layout.width);
        let steps = layout.steps(chunk);
        let d_input = layout.d_input;
        // SAFETY: as in `run`.
        unsafe {
            let inputs = sample.scratch.add(room.inputs);
            let first = sample.index * layout.seq_length + steps.start;
            if self.problem.projection.is_none() {
                for t in 0..steps.len() {
                    let row = self.problem.input[(first + t) * layout.d_hidden..].as_ptr();
                    layout.row().copy_padded::<S, T>(row, inputs.add(t * width));
                }
            } else {
                for t in 0..steps.len() {
                    layout
                        .row()
                        .copy::<S, T>(self.shared.bias.as_ptr(), inputs.add(t * width));
                }
                add_product::<S, T>(
                    [steps.len(), d_input, width / layout.lanes],
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
        let (layout, room) = (&self.layout, &self.room);
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
        let (layout, room, width) = (&self.layout, &self.room, self.layout.width);
        let n = layout.steps(chunk).len();
        let is_last = chunk + 1 == layout.n_chunks();
        // SAFETY: as in `run`.
        unsafe {
            if !is_last || self.call.outputs.memory.is_some() {
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
            if let (Some(last), true) = (self.call.outputs.memory, is_last) {
                let d = layout.d_hidden;
                let memory = sample.scratch.add(room.memory);
                if !self.symmetric {
                    transpose(memory, d, width);
                }
                for row in 0..d {
                    let to = last.at((sample.index * d + row) * d);
                    layout.row().copy_units::<S, T>(memory.add(row * width), to);
                }
            }
        }
    }
}
