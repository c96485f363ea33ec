//! One step of one sample, backward.

use super::super::super::WrittenState;
use super::super::rows::{History, add_read, attend};
use super::{Pass, Sample};
use crate::ops::cpu::{
    Real, Rows, RowsMut, Simd, Strided, add_product, clear, load, prefetch, row_product, splat,
    store, times_slope,
};

/// Writes whose gradients are gathered together from the reads that come after all of them.
const BLOCK: usize = 4;

/// Steps between asking for numbers and reading them.
const AHEAD: usize = 4;

impl<T: Real> Pass<'_, T> {
    /// One step, from the gradient of h_t to that of z_t. `t` counts from the chunk's start.
    #[inline(always)]
    pub(super) unsafe fn step<S: Simd>(
        &self,
        sample: Sample<T>,
        group: usize,
        chunk: usize,
        t: usize,
    ) {
        let (layout, room, width) = (&self.layout, self.room, self.layout.width);
        let (d, last) = (layout.d_hidden, layout.inner_steps);
        let time = layout.start(chunk) + t;
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

            let row = (sample.span.first + time) * d;
            let row = self.call.cotangents.hidden[row..].as_ptr();
            layout.row().copy_padded::<S, T>(row, gradient);
            layout
                .row()
                .add_to::<S, T>(sample.scratch.add(room.hidden), gradient);
            if layout.write == WrittenState::Final {
                self.add_write::<S>(sample, chunk, t, gradient);
            }
            for i in (1..=last).rev() {
                let read = t * last + i - 1;
                let g = sample.scratch.add(room.reads + read * width);
                let norm = (layout.norms > 0).then_some(i - usize::from(!normalize_preliminary));
                self.deactivate::<S>(sample, time, norm, s(i), gradient, g);
                layout.row().add_to::<S, T>(g, z_gradient);
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
            if layout.write == WrittenState::Preliminary {
                self.add_write::<S>(sample, chunk, t, gradient);
            }
            let norm = normalize_preliminary.then_some(0);
            let scaled = sample.common.add(room.scaled);
            self.deactivate::<S>(sample, time, norm, s(0), gradient, scaled);
            layout.row().add_to::<S, T>(scaled, z_gradient);
        }
    }

    /// Asks for what the backward pass of a step reads once, and for the same step's row of what the next chunk or
    /// the next samples begin with, where those of a batch lie.
    #[inline(always)]
    unsafe fn prefetch(&self, sample: Sample<T>, time: usize, group: usize) {
        let layout = &self.layout;
        let row = sample.span.first + time;
        let next = match time.checked_sub(layout.chunk) {
            Some(earlier) => sample.span.first + earlier,
            None => row + group * sample.span.n_steps,
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
        let (layout, room, width) = (&self.layout, self.room, self.layout.width);
        let (start, n) = (layout.start(chunk), layout.n_steps_of(sample.span, chunk));
        let d = layout.d_hidden;
        // SAFETY: as in `run`.
        unsafe {
            let row = sample.scratch.add(room.writes + t * width);
            let block = t / BLOCK * BLOCK;
            let end = (block + BLOCK).min(n);
            let later = (n - end) * layout.inner_steps;
            if t + 1 == end && later > 0 {
                for [coefficients, rows] in self.reads(sample, start, end) {
                    add_product::<S, T>(
                        [end - block, later, width / layout.lanes],
                        Strided::new(coefficients.add(block), 1, layout.chunk_width),
                        Rows::new(rows, width),
                        RowsMut::new(sample.scratch.add(room.writes + block * width), width),
                    );
                }
            }
            let first = match layout.write {
                WrittenState::Final => t + 1,
                WrittenState::Preliminary => t,
            };
            let sizes = [(end - first) * layout.inner_steps, width / layout.lanes];
            for [coefficients, rows] in self.reads(sample, start, first) {
                if sizes[0] == 0 {
                    break;
                }
                let (a, b) = (coefficients.add(t), Rows::new(rows, width));
                row_product::<S, T>(sizes, a, layout.chunk_width, b, Some(row), row);
            }
            layout.row().add_to::<S, T>(row, to);
            if let Some(writes) = self.call.cotangents.writes {
                let row = (sample.span.first + start + t) * d;
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
        let (layout, room) = (&self.layout, self.room);
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
            let [gain_sums, bias_sums] = self.room.of_norm.map(|row| sample.common.add(row));
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
}
