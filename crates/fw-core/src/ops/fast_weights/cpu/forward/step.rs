//! One step of one sample, forward.

use super::super::super::WrittenState;
use super::super::rows::{History, add_read, attend};
use super::{Pass, Sample};
use crate::ops::cpu::{Real, Simd, activated, load, splat, store};

impl<T: Real> Pass<'_, T> {
    /// One step, from z_t to h_t and its write. `t` counts from the chunk's start.
    #[inline(always)]
    pub(super) unsafe fn step<S: Simd>(
        &self,
        sample: Sample<T>,
        chunk: usize,
        start: usize,
        t: usize,
    ) {
        let (layout, room, width) = (&self.layout, self.room, self.layout.width);
        let (d_hidden, last) = (layout.d_hidden, layout.inner_steps);
        let time = start + t;
        // SAFETY: as in `run`.
        unsafe {
            let z = sample.scratch.add(room.inputs + t * width);
            let hidden = sample.scratch.add(room.states + (t + 1) * width);
            // s_i, where the tape or, for the last, the states keep it.
            let s = |i: usize| match sample.tape {
                _ if i == last => hidden,
                Some(tape) => tape.add(layout.query(time, i)),
                None => sample.common.add(room.query),
            };
            let normalize_preliminary =
                layout.norms > 0 && self.problem.options.normalize_preliminary;
            let norm = normalize_preliminary.then_some(0);
            self.activate::<S>(sample, time, norm, z, s(0));
            if layout.write == WrittenState::Preliminary {
                self.write::<S>(sample, time, t, s(0));
            }
            for i in 1..=last {
                let sum = sample.common.add(room.sum);
                self.read::<S>(sample, (chunk, time, t), i - 1, s(i - 1), z, sum);
                let norm = (layout.norms > 0).then_some(i - usize::from(!normalize_preliminary));
                self.activate::<S>(sample, time, norm, sum, s(i));
            }
            if layout.write == WrittenState::Final {
                self.write::<S>(sample, time, t, hidden);
            }
            let first = (sample.span.first + time) * d_hidden;
            layout
                .row()
                .copy_units::<S, T>(hidden, self.call.outputs.hidden.at(first));
        }
    }

    /// `f(LN(v))`, or `f(v)` where there is no normalisation; `norm` says which one of the step it is.
    #[inline(always)]
    unsafe fn activate<S: Simd>(
        &self,
        sample: Sample<T>,
        time: usize,
        norm: Option<usize>,
        v: *const T,
        to: *mut T,
    ) {
        let (layout, room, shared) = (&self.layout, self.room, self.shared);
        let activation = self.problem.options.activation;
        let rows = (0..layout.width).step_by(layout.lanes);
        // SAFETY: as in `run`.
        unsafe {
            let Some(norm) = norm else {
                for lane in rows {
                    let value = load::<S, T>(v.add(lane));
                    store::<S, T>(to.add(lane), activated::<S, T>(activation, value));
                }
                return;
            };
            let mut sum = splat::<S, T>(T::zero());
            for lane in rows.clone() {
                sum += load::<S, T>(v.add(lane));
            }
            let mean = splat::<S, T>(sum.reduce_add() * shared.per_unit);
            let normalised = match sample.tape {
                Some(tape) => tape.add(layout.normalised(time, norm)),
                None => sample.common.add(room.normalised),
            };
            let mut squares = splat::<S, T>(T::zero());
            for lane in rows.clone() {
                let unit = load::<S, T>(shared.units.as_ptr().add(lane));
                let centred = load::<S, T>(v.add(lane)) - mean * unit;
                squares = centred.mul_add(centred, squares);
                store::<S, T>(normalised.add(lane), centred);
            }
            let variance = squares.reduce_add() * shared.per_unit;
            let inverse = T::one() / (variance + shared.epsilon).sqrt();
            if let Some(tape) = sample.tape {
                *tape.add(layout.inverse_deviation(time, norm)) = inverse;
            }
            let inverse = splat::<S, T>(inverse);
            for lane in rows {
                let value = load::<S, T>(normalised.add(lane)) * inverse;
                store::<S, T>(normalised.add(lane), value);
                let gain = load::<S, T>(shared.gain.as_ptr().add(lane));
                let bias = load::<S, T>(shared.norm_bias.as_ptr().add(lane));
                let value = value.mul_add(gain, bias);
                store::<S, T>(to.add(lane), activated::<S, T>(activation, value));
            }
        }
    }

    /// `sum = z + A s`, for read `i` of step `time`, which is step `t` of its chunk.
    #[inline(always)]
    unsafe fn read<S: Simd>(
        &self,
        sample: Sample<T>,
        (chunk, time, t): (usize, usize, usize),
        i: usize,
        query: *const T,
        z: *const T,
        sum: *mut T,
    ) {
        let (layout, room) = (&self.layout, self.room);
        let n = layout.visible(t);
        // SAFETY: as in `run`.
        unsafe {
            let attention = match sample.tape {
                Some(tape) => tape.add(layout.attention(time, i)),
                None => sample.common.add(room.attention),
            };
            let history = History {
                columns: sample.scratch.add(room.columns),
                rows: self.write_rows(sample),
            };
            let rates = self.shared.rates(n);
            attend::<S, T>(layout, (history, n), rates, query, attention, Some(z), sum);
            if layout.has_memory(chunk) {
                let memory = sample.scratch.add(room.memory);
                let scaled = sample.common.add(room.scaled);
                add_read::<S, T>(layout, self.shared.decays[n], query, memory, scaled, sum);
            }
        }
    }

    /// Remembers w_t.
    #[inline(always)]
    unsafe fn write<S: Simd>(&self, sample: Sample<T>, time: usize, t: usize, vector: *const T) {
        let (layout, room) = (&self.layout, self.room);
        // SAFETY: as in `run`.
        unsafe {
            if layout.write == WrittenState::Preliminary {
                let to = sample.scratch.add(room.rows + t * layout.width);
                layout.row().copy::<S, T>(vector, to);
            }
            let column = sample.scratch.add(room.columns + t);
            for unit in 0..layout.d_hidden {
                *column.add(unit * layout.chunk_width) = *vector.add(unit);
            }
            if let Some(writes) = self.call.outputs.writes {
                let first = (sample.span.first + time) * layout.d_hidden;
                layout.row().copy_units::<S, T>(vector, writes.at(first));
            }
        }
    }
}
