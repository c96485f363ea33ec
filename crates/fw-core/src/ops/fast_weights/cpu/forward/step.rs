//! One step of one sample, forward.

use super::super::super::WrittenState;
use super::super::rows::{History, Normalised, activate, add_read, attend};
use super::{Pass, Sample};
use crate::ops::cpu::{Real, Simd};

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
        let (layout, room) = (&self.layout, self.room);
        let activation = self.problem.options.activation;
        // SAFETY: as in `run`.
        unsafe {
            let norm = norm.map(|norm| Normalised {
                row: match sample.tape {
                    Some(tape) => tape.add(layout.normalised(time, norm)),
                    None => sample.common.add(room.normalised),
                },
                inverse_deviation: sample
                    .tape
                    .map(|tape| tape.add(layout.inverse_deviation(time, norm))),
            });
            activate::<S, T>(layout, self.shared, activation, norm, v, to);
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
