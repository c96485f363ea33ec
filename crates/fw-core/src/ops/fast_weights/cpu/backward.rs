//! The backward pass.

use alloc::vec::Vec;
use core::ops::Range;

use super::super::Write;
use super::forward::is_symmetric;
use super::layout::{Layout, Problem, Shared, Tape, transposed};
use super::rows::{
    History, add_read, add_to, attend, clear, copy_padded, copy_units, scale_to, transpose,
};
use crate::ops::Activation;
use crate::ops::cpu::{
    Buffer, Initial, Parts, Real, Rows, RowsMut, SharedMut, Simd, Strided, Vector, WithSimd,
    add_product, load, prefetch, product, row_product, splat, store, with_scratch,
};

/// Writes whose gradients are gathered together from the reads that come after all of them.
const BLOCK: usize = 4;

/// Steps between asking for numbers and reading them.
const AHEAD: usize = 4;

/// Which gradients are asked for; those of the slow weights always are.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Wanted {
    pub(in super::super) input: bool,
    pub(in super::super) start: bool,
}

/// Gradients with respect to what a forward pass returned.
#[derive(Clone, Copy)]
pub(in super::super) struct Cotangents<'a, T> {
    /// Of every h_t.
    pub(in super::super) hidden: &'a [T],
    /// Of every write, if they were outputs.
    pub(in super::super) writes: Option<&'a [T]>,
    /// Of the last A, if it was an output.
    pub(in super::super) memory: Option<&'a [T]>,
}

/// Gradients with respect to the inputs of a call, in their shapes; empty where not wanted or not there.
pub(in super::super) struct Gradients<T> {
    pub(in super::super) input: Vec<T>,
    pub(in super::super) hidden: Vec<T>,
    pub(in super::super) start: Vec<T>,
    pub(in super::super) w_input: Vec<T>,
    pub(in super::super) bias: Vec<T>,
    pub(in super::super) w_hidden: Vec<T>,
    pub(in super::super) gain: Vec<T>,
    pub(in super::super) norm_bias: Vec<T>,
}

/// Runs the sequence backward. `output` is every h_t, as the forward pass gave it.
pub(in super::super) fn backward<T: Real>(
    problem: &Problem<T>,
    tape: &Tape<T>,
    output: &[T],
    cotangents: Cotangents<T>,
    wanted: Wanted,
) -> Gradients<T> {
    let call = Call {
        problem,
        tape,
        output,
        cotangents,
        wanted,
    };
    // SAFETY: the forward pass ran on this architecture.
    unsafe { tape.arch.dispatch(call) }
}

struct Call<'a, T> {
    problem: &'a Problem<'a, T>,
    tape: &'a Tape<T>,
    output: &'a [T],
    cotangents: Cotangents<'a, T>,
    wanted: Wanted,
}

impl<T: Real> WithSimd for Call<'_, T> {
    type Output = Gradients<T>;

    fn with_simd<S: Simd>(self) -> Gradients<T> {
        let (problem, layout) = (self.problem, self.tape.layout);
        let batch_size = problem.batch_size;
        let (d_input, d_hidden) = (layout.d_input, layout.d_hidden);
        let when = |wanted: bool, len: usize| if wanted { len } else { 0 };
        let n_input = when(self.wanted.input, problem.input.len());
        let n_hidden = problem.hidden.len();
        let n_start = when(self.wanted.start, problem.start.map_or(0, <[T]>::len));
        let mut input = Vec::with_capacity(n_input);
        let mut hidden = Vec::with_capacity(n_hidden);
        let mut start = Vec::with_capacity(n_start);

        let (w_input, bias) = problem.projection.unwrap_or((&[], &[]));
        let parts = layout.parts::<T>(batch_size);
        let sums = Sums::new(&layout);
        let partial = Buffer::<T>::new(parts.count() * sums.size);
        let pass = Pass {
            shared: Shared::new(problem, &layout),
            symmetric: is_symmetric(problem),
            w_input: transposed(w_input, d_hidden, layout.input_width),
            w_hidden: transposed(problem.w_hidden, d_hidden, layout.width),
            room: Room::new(&layout),
            input: SharedMut::new(input.as_mut_ptr()),
            hidden: SharedMut::new(hidden.as_mut_ptr()),
            start: SharedMut::new(start.as_mut_ptr()),
            call: &self,
            layout,
            sums,
        };
        pass.run_parts::<S>(&parts, SharedMut::new(partial.as_ptr()), batch_size);
        // SAFETY: every sample has written its own gradients, where they were wanted.
        unsafe {
            input.set_len(n_input);
            hidden.set_len(n_hidden);
            start.set_len(n_start);
        }

        // SAFETY: the first part's sums have `sums.size` numbers, all written.
        let joined = unsafe { core::slice::from_raw_parts(partial.as_ptr(), pass.sums.size) };
        let trimmed = |start: usize, rows: usize| -> Vec<T> {
            let padded = &joined[start..][..rows * layout.width];
            let rows = padded.chunks_exact(layout.width);
            rows.flat_map(|row| &row[..d_hidden]).copied().collect()
        };
        let norms = usize::from(problem.norm.is_some());
        let (w_input, w_hidden) = (
            trimmed(pass.sums.w_input, d_input),
            trimmed(pass.sums.w_hidden, d_hidden),
        );
        let bias = trimmed(pass.sums.bias, bias.len() / d_hidden);
        let gain = trimmed(pass.sums.gain, norms);
        let norm_bias = trimmed(pass.sums.norm_bias, norms);
        Gradients {
            input,
            hidden,
            start,
            w_input,
            bias,
            w_hidden,
            gain,
            norm_bias,
        }
    }
}

/// Where the sums of the slow weights' gradients lie, rows padded.
struct Sums {
    w_input: usize,
    w_hidden: usize,
    bias: usize,
    gain: usize,
    norm_bias: usize,
    size: usize,
}

impl Sums {
    fn new(layout: &Layout) -> Self {
        let width = layout.width;
        let w_hidden = layout.d_input * width;
        let bias = w_hidden + layout.matrix();
        Sums {
            w_input: 0,
            w_hidden,
            bias,
            gain: bias + width,
            norm_bias: bias + 2 * width,
            size: bias + 3 * width,
        }
    }
}

/// Where things lie in the scratch memory: offsets within a sample's piece, and within the piece that all
/// samples of a group share.
struct Room {
    /// h_{t-1} of the chunk's first step, then every h_t.
    states: usize,
    /// The writes as columns.
    columns: usize,
    /// A at the chunk's start, where the tape's is transposed.
    memory: usize,
    /// The gradient of A at the chunk's end, then at its start.
    memory_gradient: usize,
    /// What each write's gradient gets from the memory at the chunk's end.
    writes: usize,
    /// g of each read.
    reads: usize,
    /// The coefficients `η λ^{n-1-j} (w_j · g)` of each read.
    attentions: usize,
    /// The gradients of z.
    inputs: usize,
    /// The gradient of h_t that comes from step t + 1.
    hidden: usize,
    /// Size of a sample's piece.
    sample: usize,
    /// The gradient of s_i, and a row to work in.
    state: usize,
    scaled: usize,
    /// `dA + dAᵀ`.
    both: usize,
    /// Rows as wide as the input, for each step of the chunk.
    input: usize,
    /// Size of the common piece.
    common: usize,
}

impl Room {
    fn new(layout: &Layout) -> Self {
        let mut end = 0;
        let mut take = |numbers: usize| {
            let start = end;
            end += numbers;
            start
        };
        let chunk = layout.chunk * layout.width;
        let states = take(chunk + layout.width);
        let columns = take(layout.d_hidden * layout.chunk_width);
        let memory = take(layout.matrix());
        let memory_gradient = take(layout.matrix());
        let writes = take(chunk);
        let reads = take(chunk * layout.inner_steps);
        let attentions = take(layout.chunk * layout.inner_steps * layout.chunk_width);
        let inputs = take(chunk);
        let hidden = take(layout.width);
        let sample = take(0);
        let mut end = 0;
        let mut take = |numbers: usize| {
            let start = end;
            end += numbers;
            start
        };
        Room {
            states,
            columns,
            memory,
            memory_gradient,
            writes,
            reads,
            attentions,
            inputs,
            hidden,
            sample,
            state: take(layout.width),
            scaled: take(layout.width),
            both: take(layout.matrix()),
            input: take(layout.chunk * layout.input_width),
            common: take(0),
        }
    }
}

struct Pass<'a, T: Real> {
    call: &'a Call<'a, T>,
    layout: Layout,
    shared: Shared<'a, T>,
    symmetric: bool,
    /// Cᵀ and Wᵀ, rows padded.
    w_input: Vec<T>,
    w_hidden: Vec<T>,
    room: Room,
    sums: Sums,
    /// Where the gradients go that each sample has for itself.
    input: SharedMut<T>,
    hidden: SharedMut<T>,
    start: SharedMut<T>,
}

/// A few samples, to be run with the instructions of S: a closure would not be inlined there.
struct Group<'a, T: Real> {
    pass: &'a Pass<'a, T>,
    samples: Range<usize>,
    scratch: *mut T,
    sums: *mut T,
}

impl<T: Real> WithSimd for Group<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self) {
        // SAFETY: as the caller promises.
        unsafe { self.pass.run::<S>(self.samples, self.scratch, self.sums) }
    }
}

/// A sample's place in the scratch memory, its tape, and the sums of its part.
#[derive(Clone, Copy)]
struct Sample<T> {
    index: usize,
    scratch: *mut T,
    common: *mut T,
    tape: *const T,
    sums: *mut T,
}

impl<T: Real> Pass<'_, T> {
    /// Every part, and then the sums of all of them in the place of the first.
    fn run_parts<S: Simd>(&self, parts: &Parts, partial: SharedMut<T>, batch_size: usize) {
        let (layout, room, size) = (&self.layout, &self.room, self.sums.size);
        let group = layout.group::<T>(batch_size);
        parts.for_each(|part, samples| {
            with_scratch(group * room.sample + room.common, |scratch| {
                // SAFETY: each part has sums of its own.
                let sums = unsafe {
                    let sums = partial.at(part * size);
                    clear(sums, size);
                    sums
                };
                for first in samples.clone().step_by(group) {
                    let samples = first..(first + group).min(samples.end);
                    // SAFETY: the machine has the instructions of S, and the scratch is large enough.
                    unsafe {
                        S::vectorize(Group {
                            pass: self,
                            samples,
                            scratch,
                            sums,
                        });
                    }
                }
            });
        });
        let join = |part: usize| {
            for number in 0..size {
                // SAFETY: within the sums of two parts, which nobody else touches any more.
                unsafe { *partial.at(number) += *partial.at(part * size + number) };
            }
        };
        (1..parts.count()).for_each(join);
    }

    /// The whole sequence for a few samples, from its end.
    ///
    /// # Safety
    /// The machine must have the instructions of S; the scratch must have the size that [`Room`] says.
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, samples: Range<usize>, scratch: *mut T, sums: *mut T) {
        let (layout, room) = (&self.layout, &self.room);
        let (width, vectors) = (layout.width, layout.width / layout.lanes);
        let group = samples.len();
        // SAFETY: every offset below lies in the piece that it belongs to, by the sizes of `Room` and `Layout`.
        unsafe {
            let common = scratch.add(group * room.sample);
            let sample = |g: usize| {
                let index = samples.start + g;
                Sample {
                    index,
                    scratch: scratch.add(g * room.sample),
                    common,
                    tape: self.call.tape.numbers.as_ptr().add(index * layout.tape()),
                    sums,
                }
            };
            for g in 0..group {
                self.begin::<S>(sample(g));
            }
            for chunk in (0..layout.n_chunks()).rev() {
                let steps = layout.steps(chunk);
                for g in 0..group {
                    self.begin_chunk::<S>(sample(g), chunk);
                }
                for t in (0..steps.len()).rev() {
                    for g in 0..group {
                        self.step::<S>(sample(g), group, chunk, t);
                    }
                    // The gradient of h_{t-1} by way of z_t: dz_t Wᵀ
                    product::<S, T>(
                        [group, layout.d_hidden, vectors],
                        Strided::new(scratch.add(room.inputs + t * width), room.sample, 1),
                        Rows::new(self.w_hidden.as_ptr(), width),
                        Initial::Zero,
                        RowsMut::new(scratch.add(room.hidden), room.sample),
                    );
                }
                for g in 0..group {
                    self.end_chunk::<S>(sample(g), chunk);
                }
            }
            for g in 0..group {
                self.end::<S>(sample(g));
            }
        }
    }

    /// The gradients of the last state: of h none beyond its output's, of A what came with it.
    #[inline(always)]
    unsafe fn begin<S: Simd>(&self, sample: Sample<T>) {
        let (layout, room) = (&self.layout, &self.room);
        let d = layout.d_hidden;
        // SAFETY: as in `run`.
        unsafe {
            clear(sample.scratch.add(room.hidden), layout.width);
            let gradient = sample.scratch.add(room.memory_gradient);
            match self.call.cotangents.memory {
                None if layout.n_chunks() == 1 && !self.call.wanted.start => {}
                None => clear(gradient, layout.matrix()),
                Some(memory) => {
                    for row in 0..d {
                        let from = memory[(sample.index * d + row) * d..].as_ptr();
                        copy_padded::<S, T>(layout, from, gradient.add(row * layout.width));
                    }
                }
            }
        }
    }

    /// Whether the memory at the chunk's end has a gradient.
    fn is_memory_read_after(&self, chunk: usize) -> bool {
        chunk + 1 < self.layout.n_chunks() || self.call.cotangents.memory.is_some()
    }

    /// The chunk's states and writes, and what its writes owe to the memory at its end.
    #[inline(always)]
    unsafe fn begin_chunk<S: Simd>(&self, sample: Sample<T>, chunk: usize) {
        let (layout, room, width) = (&self.layout, &self.room, self.layout.width);
        let (d, steps) = (layout.d_hidden, layout.steps(chunk));
        let n = steps.len();
        // SAFETY: as in `run`.
        unsafe {
            let states = sample.scratch.add(room.states);
            let before = match steps.start {
                0 => &self.call.problem.hidden[sample.index * d..][..d],
                start => {
                    &self.call.output[(sample.index * layout.seq_length + start - 1) * d..][..d]
                }
            };
            copy_padded::<S, T>(layout, before.as_ptr(), states);
            for t in 0..n {
                let row = (sample.index * layout.seq_length + steps.start + t) * d;
                let row = self.call.output[row..].as_ptr();
                copy_padded::<S, T>(layout, row, states.add((t + 1) * width));
            }
            let rows = self.write_rows(sample, chunk);
            let columns = sample.scratch.add(room.columns);
            for t in 0..n {
                let row = rows.start.add(t * rows.stride);
                for unit in 0..d {
                    *columns.add(unit * layout.chunk_width + t) = *row.add(unit);
                }
            }
            if layout.has_memory(chunk) && !self.symmetric {
                let memory = sample.scratch.add(room.memory);
                let from = sample.tape.add(layout.memory(chunk));
                core::ptr::copy_nonoverlapping(from, memory, layout.matrix());
                transpose(memory, d, width);
            }

            let writes = sample.scratch.add(room.writes);
            if !self.is_memory_read_after(chunk) {
                clear(writes, n * width);
                return;
            }
            // A_{c+1} = λ^L A_c + Σ_j rate_j w_j w_jᵀ, so that dw_j = rate_j (dA + dAᵀ) w_j
            let gradient = sample.scratch.add(room.memory_gradient);
            let both = sample.common.add(room.both);
            for row in 0..d {
                for column in 0..d {
                    *both.add(row * width + column) =
                        *gradient.add(row * width + column) + *gradient.add(column * width + row);
                }
                clear(both.add(row * width + d), width - d);
            }
            product::<S, T>(
                [n, d, width / layout.lanes],
                Strided::new(rows.start, rows.stride, 1),
                Rows::new(both, width),
                Initial::Zero,
                RowsMut::new(writes, width),
            );
            let rates = self.shared.rates(n);
            for write in 0..n {
                let row = writes.add(write * width);
                scale_to::<S, T>(layout, *rates.add(write), row, row);
            }
            for row in 0..d {
                let row = gradient.add(row * width);
                scale_to::<S, T>(layout, self.shared.decays[n], row, row);
            }
        }
    }

    /// The chunk's writes as rows.
    #[inline(always)]
    unsafe fn write_rows(&self, sample: Sample<T>, chunk: usize) -> Rows<T> {
        let (layout, room, width) = (&self.layout, &self.room, self.layout.width);
        // SAFETY: as in `run`.
        unsafe {
            match layout.write {
                Write::Preliminary if layout.inner_steps > 0 => Rows::new(
                    sample.tape.add(layout.query(layout.steps(chunk).start, 0)),
                    layout.inner_steps * width,
                ),
                _ => Rows::new(sample.scratch.add(room.states + width), width),
            }
        }
    }

    /// One step, from the gradient of h_t to that of z_t. `t` counts from the chunk's start.
    #[inline(always)]
    unsafe fn step<S: Simd>(&self, sample: Sample<T>, group: usize, chunk: usize, t: usize) {
        let (layout, room, width) = (&self.layout, &self.room, self.layout.width);
        let (d, last) = (layout.d_hidden, layout.inner_steps);
        let time = layout.steps(chunk).start + t;
        let normalize_preliminary =
            layout.norms > 0 && self.call.problem.options.normalize_preliminary;
        // SAFETY: as in `run`.
        unsafe {
            let s = |i: usize| match i {
                i if i == last => sample
                    .scratch
                    .add(room.states + (t + 1) * width)
                    .cast_const(),
                i => sample.tape.add(layout.query(time, i)),
            };
            self.prefetch(sample, time.saturating_sub(AHEAD), group);
            let gradient = sample.common.add(room.state);
            let z_gradient = sample.scratch.add(room.inputs + t * width);
            clear(z_gradient, width);

            let row = (sample.index * layout.seq_length + time) * d;
            let row = self.call.cotangents.hidden[row..].as_ptr();
            copy_padded::<S, T>(layout, row, gradient);
            add_to::<S, T>(layout, sample.scratch.add(room.hidden), gradient);
            if layout.write == Write::Final {
                self.add_write::<S>(sample, chunk, t, gradient);
            }
            for i in (1..=last).rev() {
                let read = t * last + i - 1;
                let g = sample.scratch.add(room.reads + read * width);
                let norm = (layout.norms > 0).then_some(i - usize::from(!normalize_preliminary));
                self.deactivate::<S>(sample, time, norm, s(i), gradient, g);
                add_to::<S, T>(layout, g, z_gradient);
                let n = layout.visible(t);
                let history = History {
                    columns: sample.scratch.add(room.columns),
                    rows: self.write_rows(sample, chunk),
                };
                let attention = sample
                    .scratch
                    .add(room.attentions + read * layout.chunk_width);
                let rates = self.shared.rates(n);
                attend::<S, T>(layout, (history, n), rates, g, attention, None, gradient);
                if layout.has_memory(chunk) {
                    let memory = match self.symmetric {
                        true => sample.tape.add(layout.memory(chunk)),
                        false => sample.scratch.add(room.memory).cast_const(),
                    };
                    let scaled = sample.common.add(room.scaled);
                    let decay = self.shared.decays[n];
                    add_read::<S, T>(layout, decay, g, memory, scaled, gradient);
                }
            }
            if layout.write == Write::Preliminary {
                self.add_write::<S>(sample, chunk, t, gradient);
            }
            let norm = normalize_preliminary.then_some(0);
            let scaled = sample.common.add(room.scaled);
            self.deactivate::<S>(sample, time, norm, s(0), gradient, scaled);
            add_to::<S, T>(layout, scaled, z_gradient);
        }
    }

    /// Asks for what the backward pass of a step reads once, and for the same step's row of what the next chunk or
    /// the next samples begin with.
    #[inline(always)]
    unsafe fn prefetch(&self, sample: Sample<T>, time: usize, group: usize) {
        let layout = &self.layout;
        let row = sample.index * layout.seq_length + time;
        let next = match time.checked_sub(layout.chunk) {
            Some(earlier) => sample.index * layout.seq_length + earlier,
            None => row + group * layout.seq_length,
        };
        let d = layout.d_hidden;
        // SAFETY: as in `run`; what lies past the end is asked for, not read.
        unsafe {
            prefetch(
                sample.tape.add(layout.query(time, 0)),
                layout.inner_steps * layout.width,
            );
            prefetch(
                sample.tape.add(layout.normalised(time, 0)),
                layout.norms * layout.width,
            );
            prefetch(
                sample.tape.add(layout.attention(time, 0)),
                layout.inner_steps * layout.chunk_width,
            );
        }
        prefetch(
            self.call.cotangents.hidden.as_ptr().wrapping_add(row * d),
            d,
        );
        prefetch(self.call.output.as_ptr().wrapping_add(next * d), d);
        let input = self.call.problem.input.as_ptr();
        prefetch(input.wrapping_add(row * layout.d_input), layout.d_input);
    }

    /// Adds the gradient that w_t gets: from the reads that saw it, from the memory at the chunk's end, and as
    /// an output.
    #[inline(always)]
    unsafe fn add_write<S: Simd>(&self, sample: Sample<T>, chunk: usize, t: usize, to: *mut T) {
        let (layout, room, width) = (&self.layout, &self.room, self.layout.width);
        let steps = layout.steps(chunk);
        let d = layout.d_hidden;
        // SAFETY: as in `run`.
        unsafe {
            let row = sample.scratch.add(room.writes + t * width);
            let block = t / BLOCK * BLOCK;
            let end = (block + BLOCK).min(steps.len());
            let later = (steps.len() - end) * layout.inner_steps;
            if t + 1 == end && later > 0 {
                for [coefficients, rows] in self.reads(sample, steps.start, end) {
                    add_product::<S, T>(
                        [end - block, later, width / layout.lanes],
                        Strided::new(coefficients.add(block), 1, layout.chunk_width),
                        Rows::new(rows, width),
                        RowsMut::new(sample.scratch.add(room.writes + block * width), width),
                    );
                }
            }
            let first = match layout.write {
                Write::Final => t + 1,
                Write::Preliminary => t,
            };
            let sizes = [(end - first) * layout.inner_steps, width / layout.lanes];
            for [coefficients, rows] in self.reads(sample, steps.start, first) {
                if sizes[0] == 0 {
                    break;
                }
                let (a, b) = (coefficients.add(t), Rows::new(rows, width));
                row_product::<S, T>(sizes, a, layout.chunk_width, b, Some(row), row);
            }
            add_to::<S, T>(layout, row, to);
            if let Some(writes) = self.call.cotangents.writes {
                let row = (sample.index * layout.seq_length + steps.start + t) * d;
                for (unit, gradient) in writes[row..][..d].iter().enumerate() {
                    *to.add(unit) += *gradient;
                }
            }
        }
    }

    /// What the gradient of a write is summed from, over reads with query s and gradient g from step `first` of a
    /// chunk on: coefficients of s with g, and of g with s.
    #[inline(always)]
    unsafe fn reads(&self, sample: Sample<T>, start: usize, first: usize) -> [[*const T; 2]; 2] {
        let (layout, room) = (&self.layout, &self.room);
        let read = first * layout.inner_steps;
        // SAFETY: as in `run`.
        unsafe {
            let g = sample.scratch.add(room.reads + read * layout.width);
            let of_g = sample
                .scratch
                .add(room.attentions + read * layout.chunk_width);
            let s = sample.tape.add(layout.query(start + first, 0));
            let of_s = sample.tape.add(layout.attention(start + first, 0));
            [[of_s, g.cast_const()], [of_g.cast_const(), s]]
        }
    }

    /// From the gradient of `s = f(LN(v))`, or `f(v)` where there is no normalisation, to that of v; adds to the
    /// gradients of the normalisation's parameters.
    #[inline(always)]
    unsafe fn deactivate<S: Simd>(
        &self,
        sample: Sample<T>,
        time: usize,
        norm: Option<usize>,
        s: *const T,
        gradient: *const T,
        to: *mut T,
    ) {
        let layout = &self.layout;
        let activation = self.call.problem.options.activation;
        let rows = (0..layout.width).step_by(layout.lanes);
        // SAFETY: as in `run`.
        unsafe {
            let Some(norm) = norm else {
                for lane in rows {
                    let (s, gradient) =
                        (load::<S, T>(s.add(lane)), load::<S, T>(gradient.add(lane)));
                    store::<S, T>(to.add(lane), times_slope::<S, T>(activation, s, gradient));
                }
                return;
            };
            let normalised = sample.tape.add(layout.normalised(time, norm));
            let inverse = *sample.tape.add(layout.inverse_deviation(time, norm));
            let gain_sums = sample.sums.add(self.sums.gain);
            let bias_sums = sample.sums.add(self.sums.norm_bias);
            let zero = splat::<S, T>(T::zero());
            let (mut sum, mut along) = (zero, zero);
            for lane in rows.clone() {
                let (s, gradient) = (load::<S, T>(s.add(lane)), load::<S, T>(gradient.add(lane)));
                let gradient = times_slope::<S, T>(activation, s, gradient);
                let normalised = load::<S, T>(normalised.add(lane));
                let gain_sum = gradient.mul_add(normalised, load::<S, T>(gain_sums.add(lane)));
                store::<S, T>(gain_sums.add(lane), gain_sum);
                store::<S, T>(
                    bias_sums.add(lane),
                    gradient + load::<S, T>(bias_sums.add(lane)),
                );
                let gradient = gradient * load::<S, T>(self.shared.gain.as_ptr().add(lane));
                sum += gradient;
                along = gradient.mul_add(normalised, along);
                store::<S, T>(to.add(lane), gradient);
            }
            let mean = splat::<S, T>(sum.reduce_add() * self.shared.per_unit);
            let along = splat::<S, T>(along.reduce_add() * self.shared.per_unit);
            let inverse = splat::<S, T>(inverse);
            for lane in rows {
                let unit = load::<S, T>(self.shared.units.as_ptr().add(lane));
                let normalised = load::<S, T>(normalised.add(lane));
                let gradient = load::<S, T>(to.add(lane)) - mean * unit - along * normalised;
                store::<S, T>(to.add(lane), gradient * inverse);
            }
        }
    }

    /// The chunk's share in the gradients of the slow weights, the input, and the memory at its start.
    #[inline(always)]
    unsafe fn end_chunk<S: Simd>(&self, sample: Sample<T>, chunk: usize) {
        let (layout, room, width) = (&self.layout, &self.room, self.layout.width);
        let d = layout.d_hidden;
        let steps = layout.steps(chunk);
        let (n, vectors) = (steps.len(), width / layout.lanes);
        // SAFETY: as in `run`.
        unsafe {
            let gradients = Rows::new(sample.scratch.add(room.inputs).cast_const(), width);
            add_product::<S, T>(
                [d, n, vectors],
                Strided::new(sample.scratch.add(room.states), 1, width),
                gradients,
                RowsMut::new(sample.sums.add(self.sums.w_hidden), width),
            );
            self.project_back::<S>(sample, steps.start, n);
            if chunk > 0 || self.call.wanted.start {
                // dA += Σ λⁿ g sᵀ over the reads
                for t in 0..n {
                    let decay = self.shared.decays[layout.visible(t)];
                    for i in 0..layout.inner_steps {
                        let read = t * layout.inner_steps + i;
                        let row = sample.scratch.add(room.reads + read * width);
                        scale_to::<S, T>(layout, decay, row, row);
                    }
                }
                add_product::<S, T>(
                    [d, n * layout.inner_steps, vectors],
                    Strided::new(sample.scratch.add(room.reads), 1, width),
                    Rows::new(sample.tape.add(layout.query(steps.start, 0)), width),
                    RowsMut::new(sample.scratch.add(room.memory_gradient), width),
                );
            }
        }
    }

    /// The share of `n` steps in the gradients of the projection and of what it projects.
    #[inline(always)]
    unsafe fn project_back<S: Simd>(&self, sample: Sample<T>, start: usize, n: usize) {
        let (layout, room, width) = (&self.layout, &self.room, self.layout.width);
        let (d, d_input) = (layout.d_hidden, layout.d_input);
        let first = sample.index * layout.seq_length + start;
        let problem = self.call.problem;
        // SAFETY: as in `run`.
        unsafe {
            let gradients = sample.scratch.add(room.inputs).cast_const();
            if problem.projection.is_none() {
                for t in 0..if self.call.wanted.input { n } else { 0 } {
                    let to = self.input.at((first + t) * d);
                    copy_units::<S, T>(layout, gradients.add(t * width), to);
                }
                return;
            }
            let bias = sample.sums.add(self.sums.bias);
            for t in 0..n {
                add_to::<S, T>(layout, gradients.add(t * width), bias);
            }
            add_product::<S, T>(
                [d_input, n, width / layout.lanes],
                Strided::new(problem.input[first * d_input..].as_ptr(), 1, d_input),
                Rows::new(gradients, width),
                RowsMut::new(sample.sums.add(self.sums.w_input), width),
            );
            if self.call.wanted.input {
                // Rows that are whole vectors go where they belong; others would overlap what another thread writes.
                let to = self.input.at(first * d_input);
                let is_whole = layout.input_width == d_input;
                let rows = if is_whole {
                    to
                } else {
                    sample.common.add(room.input)
                };
                product::<S, T>(
                    [n, d, layout.input_width / layout.lanes],
                    Strided::new(gradients, width, 1),
                    Rows::new(self.w_input.as_ptr(), layout.input_width),
                    Initial::Zero,
                    RowsMut::new(rows, layout.input_width),
                );
                for t in 0..if is_whole { 0 } else { n } {
                    let row = rows.add(t * layout.input_width);
                    core::ptr::copy_nonoverlapping(row, to.add(t * d_input), d_input);
                }
            }
        }
    }

    /// The gradients of the first state.
    #[inline(always)]
    unsafe fn end<S: Simd>(&self, sample: Sample<T>) {
        let (layout, room) = (&self.layout, &self.room);
        let d = layout.d_hidden;
        // SAFETY: as in `run`.
        unsafe {
            let hidden = sample.scratch.add(room.hidden);
            copy_units::<S, T>(layout, hidden, self.hidden.at(sample.index * d));
            if self.call.wanted.start {
                let gradient = sample.scratch.add(room.memory_gradient);
                for row in 0..d {
                    let to = self.start.at((sample.index * d + row) * d);
                    copy_units::<S, T>(layout, gradient.add(row * layout.width), to);
                }
            }
        }
    }
}

/// The gradient of v from that of `s = f(v)`.
#[inline(always)]
fn times_slope<S: Simd, T: Real>(
    activation: Activation,
    s: Vector<S, T>,
    gradient: Vector<S, T>,
) -> Vector<S, T> {
    let zero = splat::<S, T>(T::zero());
    match activation {
        Activation::Relu => s.le(zero).select(zero, gradient),
        Activation::Tanh => (splat::<S, T>(T::one()) - s * s) * gradient,
    }
}
