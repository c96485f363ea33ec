//! What the backward pass does at the end of a chunk, where it comes in, and at its start.

use super::super::super::WrittenState;
use super::super::rows::transpose;
use super::{Pass, Sample};
use crate::ops::Span;
use crate::ops::cpu::{
    Initial, Real, Rows, RowsMut, Simd, Strided, add_product, add_rows, clear, product,
};

/// A chunk's rows in pieces, first and number, whose products are sums of their own: a sum of more would lose digits.
fn pieces(n: usize) -> impl Iterator<Item = (usize, usize)> {
    const MOST: usize = 64;
    (0..n)
        .step_by(MOST)
        .map(move |first| (first, MOST.min(n - first)))
}

impl<T: Real> Pass<'_, T> {
    /// Whether the memory at the chunk's end has a gradient.
    fn is_memory_read_after(&self, span: Span, chunk: usize) -> bool {
        !self.layout.is_last(span, chunk) || self.of_last_memory(span).is_some()
    }

    /// The chunk's states and writes, and what its writes owe to the memory at its end.
    #[inline(always)]
    pub(super) unsafe fn begin_chunk<S: Simd>(&self, sample: Sample<T>, chunk: usize) {
        let (layout, room, width) = (&self.layout, self.room, self.layout.width);
        let (d, start) = (layout.d_hidden, layout.start(chunk));
        let (first, n) = (
            sample.span.first + start,
            layout.n_steps_of(sample.span, chunk),
        );
        // SAFETY: as in `run`.
        unsafe {
            let states = sample.scratch.add(room.states);
            let before = match start {
                0 => &self.call.problem.hidden[sample.index * d..][..d],
                _ => &self.call.output[(first - 1) * d..][..d],
            };
            layout.row().copy_padded::<S, T>(before.as_ptr(), states);
            for t in 0..n {
                let row = self.call.output[(first + t) * d..].as_ptr();
                layout
                    .row()
                    .copy_padded::<S, T>(row, states.add((t + 1) * width));
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
            if !self.is_memory_read_after(sample.span, chunk) {
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
                layout.row().scale_to::<S, T>(*rates.add(write), row, row);
            }
            for row in 0..d {
                let row = gradient.add(row * width);
                layout
                    .row()
                    .scale_to::<S, T>(self.shared.decays[n], row, row);
            }
        }
    }

    /// The chunk's writes as rows.
    #[inline(always)]
    pub(super) unsafe fn write_rows(&self, sample: Sample<T>, chunk: usize) -> Rows<T> {
        let (layout, room, width) = (&self.layout, self.room, self.layout.width);
        // SAFETY: as in `run`.
        unsafe {
            match layout.write {
                WrittenState::Preliminary if layout.inner_steps > 0 => Rows::new(
                    sample.tape.add(layout.query(layout.start(chunk), 0)),
                    layout.inner_steps * width,
                ),
                _ => Rows::new(sample.scratch.add(room.states + width), width),
            }
        }
    }

    /// The chunk's share in the gradients of the slow weights, the input, and the memory at its start.
    #[inline(always)]
    pub(super) unsafe fn end_chunk<S: Simd>(&self, sample: Sample<T>, chunk: usize) {
        let (layout, room, width) = (&self.layout, self.room, self.layout.width);
        let d = layout.d_hidden;
        let start = layout.start(chunk);
        let (n, vectors) = (layout.n_steps_of(sample.span, chunk), width / layout.lanes);
        // SAFETY: as in `run`.
        unsafe {
            for (first, n) in pieces(n) {
                let gradients = sample.scratch.add(room.inputs + first * width);
                add_product::<S, T>(
                    [d, n, vectors],
                    Strided::new(sample.scratch.add(room.states + first * width), 1, width),
                    Rows::new(gradients.cast_const(), width),
                    RowsMut::new(sample.sums.add(self.sums.w_hidden), width),
                );
            }
            self.project_back::<S>(sample, start, n);
            if chunk > 0 || self.call.wanted.start {
                // dA += Σ λⁿ g sᵀ over the reads
                for t in 0..n {
                    let decay = self.shared.decays[layout.visible(t)];
                    for i in 0..layout.inner_steps {
                        let read = t * layout.inner_steps + i;
                        let row = sample.scratch.add(room.reads + read * width);
                        layout.row().scale_to::<S, T>(decay, row, row);
                    }
                }
                add_product::<S, T>(
                    [d, n * layout.inner_steps, vectors],
                    Strided::new(sample.scratch.add(room.reads), 1, width),
                    Rows::new(sample.tape.add(layout.query(start, 0)), width),
                    RowsMut::new(sample.scratch.add(room.memory_gradient), width),
                );
            }
        }
    }

    /// The share of `n` steps in the gradients of the projection and of what it projects.
    #[inline(always)]
    unsafe fn project_back<S: Simd>(&self, sample: Sample<T>, start: usize, n: usize) {
        let (layout, room, width) = (&self.layout, self.room, self.layout.width);
        let (d, d_input) = (layout.d_hidden, layout.d_input);
        let first = sample.span.first + start;
        let problem = self.call.problem;
        // SAFETY: as in `run`.
        unsafe {
            let gradients = sample.scratch.add(room.inputs).cast_const();
            if problem.projection.is_none() {
                for t in 0..if self.call.wanted.input { n } else { 0 } {
                    let to = self.input.at((first + t) * d);
                    layout
                        .row()
                        .copy_units::<S, T>(gradients.add(t * width), to);
                }
                return;
            }
            let bias = sample.sums.add(self.sums.bias);
            for (begin, n) in pieces(n) {
                let gradients = Rows::new(gradients.add(begin * width), width);
                add_rows::<S, T>(n, gradients, layout.row(), bias);
                let input = problem.input[(first + begin) * d_input..].as_ptr();
                add_product::<S, T>(
                    [d_input, n, width / layout.lanes],
                    Strided::new(input, 1, d_input),
                    gradients,
                    RowsMut::new(sample.sums.add(self.sums.w_input), width),
                );
            }
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
}
