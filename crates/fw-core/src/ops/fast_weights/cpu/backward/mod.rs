//! The backward pass.

mod chunk;
mod step;

use alloc::vec::Vec;
use core::ops::Range;

use super::super::fused::Each;
use super::forward::is_symmetric;
use super::layout::{Layout, Problem, Shared, Tape};
use crate::ops::Span;
use crate::ops::cpu::{
    BackwardPass, BlockSums, Initial, Offsets, Real, Row, Rows, RowsMut, SharedMut, Simd, Strided,
    Sweep, WithSimd, Written, clear, product, transposed, trimmed,
};

/// Gradients with respect to what a forward pass returned.
#[derive(Clone, Copy)]
pub(in super::super) struct Cotangents<'a, T> {
    /// Of every h_t.
    pub(in super::super) hidden: &'a [T],
    /// Of every write, if they were outputs.
    pub(in super::super) writes: Option<&'a [T]>,
    /// Of the last A of each sample that has an end, if they were outputs.
    pub(in super::super) memory: Option<&'a [T]>,
}

/// Runs the sequences backward: the gradients of the operands, in their shapes; empty where there is no such operand, or, of those that cost
/// most, where it is not wanted. `output` is every h_t, as the forward pass gave it.
pub(in super::super) fn backward<T: Real>(
    problem: &Problem<T>,
    tape: &Tape<T>,
    output: &[T],
    cotangents: Cotangents<T>,
    wanted: Each<bool>,
) -> Each<Vec<T>> {
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
    wanted: Each<bool>,
}

impl<T: Real> WithSimd for Call<'_, T> {
    type Output = Each<Vec<T>>;

    fn with_simd<S: Simd>(self) -> Each<Vec<T>> {
        let (problem, layout) = (self.problem, self.tape.layout);
        let spans = problem.spans;
        let (d_input, d_hidden) = (layout.d_input, layout.d_hidden);
        let mut input = Written::new(problem.input.len(), self.wanted.input);
        let mut hidden = Written::new(problem.hidden.len(), true);
        let n_start = problem.start.map_or(0, <[T]>::len);
        let mut start = Written::new(n_start, self.wanted.start);

        let (w_input, bias) = problem.projection.unwrap_or((&[], &[]));
        let sums = Sums::new(&layout);
        let pass = Pass {
            shared: &Shared::new(problem, &layout),
            symmetric: is_symmetric(problem),
            w_input: &transposed(w_input, d_hidden, layout.input_width),
            w_hidden: &transposed(problem.w_hidden, d_hidden, layout.width),
            room: &Room::new(&layout),
            input: input.place(),
            hidden: hidden.place(),
            start: start.place(),
            call: &self,
            layout,
            sums: &sums,
        };
        let group = layout.group::<T>(spans.n_samples());
        let sweep = Sweep {
            parts: layout.parts::<T>(spans),
            group,
            scratch: group * pass.room.sample + pass.room.common,
        };
        // SAFETY: the machine has the instructions of S, and the scratch is that of `Room`.
        let joined = unsafe { sweep.backward::<S, T>(&pass, sums.size, layout.n_steps) };
        // SAFETY: every sample has written its own gradients, where they were wanted.
        let (input, hidden, start) = unsafe { (input.finish(), hidden.finish(), start.finish()) };
        // SAFETY: that many sums were made.
        let joined = unsafe { joined.first(sums.size) };
        let row = Row::new(d_hidden, layout.lanes);
        let trimmed = |start: usize, rows: usize| trimmed(&joined[start..], rows, row);
        let norms = usize::from(problem.norm.is_some());
        let (w_input, w_hidden) = (
            trimmed(sums.w_input, d_input),
            trimmed(sums.w_hidden, d_hidden),
        );
        let bias = trimmed(sums.bias, bias.len() / d_hidden);
        let gain = trimmed(sums.gain, norms);
        let norm_bias = trimmed(sums.norm_bias, norms);
        Each {
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
    /// What the normalisation's gain and bias receive from a few steps.
    of_norm: [usize; 2],
    /// `dA + dAᵀ`.
    both: usize,
    /// Rows as wide as the input, for each step of the chunk.
    input: usize,
    /// Size of the common piece.
    common: usize,
}

impl Room {
    fn new(layout: &Layout) -> Self {
        let mut sample = Offsets::default();
        let chunk = layout.chunk * layout.width;
        let states = sample.take(chunk + layout.width);
        let columns = sample.take(layout.d_hidden * layout.chunk_width);
        let memory = sample.take(layout.matrix());
        let memory_gradient = sample.take(layout.matrix());
        let writes = sample.take(chunk);
        let reads = sample.take(chunk * layout.inner_steps);
        let attentions = sample.take(layout.chunk * layout.inner_steps * layout.chunk_width);
        let inputs = sample.take(chunk);
        let hidden = sample.take(layout.width);
        let mut common = Offsets::default();
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
            sample: sample.end(),
            state: common.take(layout.width),
            scaled: common.take(layout.width),
            of_norm: [layout.width; 2].map(|width| common.take(width)),
            both: common.take(layout.matrix()),
            input: common.take(layout.chunk * layout.input_width),
            common: common.end(),
        }
    }
}

/// Shares in the gradients of the normalisation's gain and bias that are summed before they are added to those of others.
const FEW: usize = 64;

struct Pass<'a, T: Real> {
    call: &'a Call<'a, T>,
    /// Of all samples, or of those of a group.
    layout: Layout,
    shared: &'a Shared<'a, T>,
    symmetric: bool,
    /// Cᵀ and Wᵀ, rows padded.
    w_input: &'a [T],
    w_hidden: &'a [T],
    room: &'a Room,
    sums: &'a Sums,
    /// Where the gradients go that each sample has for itself.
    input: SharedMut<T>,
    hidden: SharedMut<T>,
    start: SharedMut<T>,
}

/// A sample's rows, its place in the scratch memory, its tape, and the sums of its part.
#[derive(Clone, Copy)]
struct Sample<T> {
    index: usize,
    span: Span,
    scratch: *mut T,
    common: *mut T,
    tape: *const T,
    sums: *mut T,
}

impl<T: Real> BackwardPass<T> for Pass<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, samples: Range<usize>, scratch: *mut T, sums: &mut BlockSums<T>) {
        let spans = self.call.problem.spans;
        let pass = Pass {
            layout: self.layout.of_steps(spans.of(samples.start).n_steps),
            ..*self
        };
        let (layout, room) = (&pass.layout, pass.room);
        let (width, vectors) = (layout.width, layout.width / layout.lanes);
        let group = samples.len();
        let tape = self.call.tape.of_group(samples.start).cast_const();
        // SAFETY: every offset below lies in the piece that it belongs to, by the sizes of `Room` and `Layout`.
        unsafe {
            let common = scratch.add(group * room.sample);
            let block = sums.block();
            let sample = |g: usize| Sample {
                index: samples.start + g,
                span: spans.of(samples.start + g),
                scratch: scratch.add(g * room.sample),
                common,
                tape: tape.add(g * layout.tape()),
                sums: block,
            };
            for g in 0..group {
                pass.begin::<S>(sample(g));
            }
            pass.begin_norm(common);
            // Shares in the normalisation's gain and bias.
            let mut n_shares = 0;
            for chunk in (0..layout.n_chunks()).rev() {
                let steps = layout.steps(chunk);
                let n_there = spans.n_active(&samples, steps.start);
                for g in 0..n_there {
                    pass.begin_chunk::<S>(sample(g), chunk);
                }
                for t in (0..steps.len()).rev() {
                    let n_active = spans.n_active(&samples, steps.start + t);
                    for g in 0..n_active {
                        pass.step::<S>(sample(g), group, chunk, t);
                    }
                    // The gradient of h_{t-1} by way of z_t: dz_t Wᵀ
                    product::<S, T>(
                        [n_active, layout.d_hidden, vectors],
                        Strided::new(scratch.add(room.inputs + t * width), room.sample, 1),
                        Rows::new(pass.w_hidden.as_ptr(), width),
                        Initial::Zero,
                        RowsMut::new(scratch.add(room.hidden), room.sample),
                    );
                    n_shares += n_active * (layout.inner_steps + 1);
                    if n_shares >= FEW || t == 0 {
                        pass.end_norm::<S>(common, block);
                        n_shares = 0;
                    }
                }
                let mut n_rows = 0;
                for g in 0..n_there {
                    pass.end_chunk::<S>(sample(g), chunk);
                    n_rows += layout.n_steps_of(spans.of(samples.start + g), chunk);
                }
                sums.added(n_rows);
            }
            for g in 0..group {
                pass.end::<S>(sample(g));
            }
        }
    }
}

impl<T: Real> Pass<'_, T> {
    #[inline(always)]
    unsafe fn begin_norm(&self, common: *mut T) {
        for row in self.room.of_norm {
            // SAFETY: as in `run`.
            unsafe { clear(common.add(row), self.layout.width) };
        }
    }

    /// Adds what the normalisation's gain and bias have received from a few steps, and begins anew.
    #[inline(always)]
    unsafe fn end_norm<S: Simd>(&self, common: *mut T, sums: *mut T) {
        if self.layout.norms == 0 {
            return;
        }
        let places = [self.sums.gain, self.sums.norm_bias];
        for (row, place) in self.room.of_norm.into_iter().zip(places) {
            // SAFETY: as in `run`.
            unsafe {
                let row = common.add(row);
                self.layout.row().add_to::<S, T>(row, sums.add(place));
                clear(row, self.layout.width);
            }
        }
    }

    /// The gradient of a sample's last A, if it was an output.
    fn of_last_memory(&self, span: Span) -> Option<&[T]> {
        let numbers = self.layout.d_hidden * self.layout.d_hidden;
        let memory = self.call.cotangents.memory?;
        span.end.map(|end| &memory[end * numbers..][..numbers])
    }

    /// The gradients of the last state: of h none beyond its output's, of A what came with it.
    #[inline(always)]
    unsafe fn begin<S: Simd>(&self, sample: Sample<T>) {
        let (layout, room) = (&self.layout, self.room);
        let d = layout.d_hidden;
        // SAFETY: as in `run`.
        unsafe {
            clear(sample.scratch.add(room.hidden), layout.width);
            let gradient = sample.scratch.add(room.memory_gradient);
            match self.of_last_memory(sample.span) {
                None if layout.is_last(sample.span, 0) && !self.call.wanted.start => {}
                None => clear(gradient, layout.matrix()),
                Some(memory) => {
                    for row in 0..d {
                        let from = memory[row * d..].as_ptr();
                        layout
                            .row()
                            .copy_padded::<S, T>(from, gradient.add(row * layout.width));
                    }
                }
            }
        }
    }

    /// The gradients of the first state.
    #[inline(always)]
    unsafe fn end<S: Simd>(&self, sample: Sample<T>) {
        let (layout, room) = (&self.layout, self.room);
        let d = layout.d_hidden;
        // SAFETY: as in `run`.
        unsafe {
            let hidden = sample.scratch.add(room.hidden);
            layout
                .row()
                .copy_units::<S, T>(hidden, self.hidden.at(sample.index * d));
            if self.call.wanted.start {
                let gradient = sample.scratch.add(room.memory_gradient);
                for row in 0..d {
                    let to = self.start.at((sample.index * d + row) * d);
                    layout
                        .row()
                        .copy_units::<S, T>(gradient.add(row * layout.width), to);
                }
            }
        }
    }
}
