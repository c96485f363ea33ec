//! The gradients of log decays: the sum, for each step, of what spans it.

use super::super::super::Rule;
use super::{At, Pass, dot};
use crate::ops::cpu::{Real, Row, Simd, clear, load, splat, store};

impl<T: Real> Pass<'_, T> {
    /// dX fades as the readers have. What spans the steps from the chunk's start to a reader is put down for the reader's step.
    #[inline(always)]
    pub(super) unsafe fn fade_readers<S: Simd>(&self, at: &At<T>) {
        let Some(faded) = self.loader.faded else {
            return;
        };
        let (layout, room) = (&self.loader.layout, &self.loader.room);
        let (key, scratch) = (layout.key, at.scratch);
        // SAFETY: as the caller promises.
        unsafe {
            let decays = scratch.add(self.room.decays);
            clear(decays, at.chunk.n_steps * faded.width);
            for reader in layout.first_reader..layout.first_step + at.chunk.n_steps {
                let n_faded = layout.faded_before(reader);
                if layout.step_of(reader) >= at.chunk.n_steps || n_faded == 0 {
                    continue;
                }
                let t = n_faded - 1;
                let slope = scratch.add(self.room.readers + reader * key.width);
                let query = scratch.add(room.faded + reader * key.width);
                let sum = decays.add(t * faded.width);
                let factors = scratch.add(room.from_start + t * faded.width);
                if faded.by_channel {
                    multiply_add::<S, T>(key, query, slope, sum);
                    self.loader.times::<S>(faded, slope, factors, slope);
                } else {
                    let factor = splat::<S, T>(*factors);
                    let mut product = splat::<S, T>(T::zero());
                    for lane in key.starts() {
                        let numbers = load::<S, T>(slope.add(lane));
                        product = numbers.mul_add(load::<S, T>(query.add(lane)), product);
                        store::<S, T>(slope.add(lane), numbers * factor);
                    }
                    *sum += product.reduce_add();
                }
            }
        }
    }

    /// dg of the chunk's steps, of what spans them: from the start to readers, from writes to the end, the whole, and pairs. `ended` has not
    /// faded yet.
    #[inline(always)]
    pub(super) unsafe fn decay_slopes<S: Simd>(&self, at: &At<T>) {
        // SAFETY: as the caller promises.
        unsafe {
            match self.loader.faded {
                None => {}
                Some(faded) if faded.by_channel => self.decay_slopes_by_channel::<S>(at),
                Some(_) => self.decay_slopes_by_head::<S>(at),
            }
        }
    }

    #[inline(always)]
    unsafe fn decay_slopes_by_head<S: Simd>(&self, at: &At<T>) {
        let (layout, room) = (&self.loader.layout, &self.loader.room);
        let (key, scratch, n_steps) = (layout.key, at.scratch, at.chunk.n_steps);
        let n_heads = layout.n_heads;
        // SAFETY: as the caller promises.
        unsafe {
            let decays = scratch.add(self.room.decays);
            self.pairs_that_span::<S>(at);
            let memory = Row::new(layout.memory(), layout.value.lanes);
            let slope = scratch.add(self.room.slope);
            // The whole, and up to each step all writes before it that last to the end.
            let mut sum = *scratch.add(room.whole) * dot::<S, T>(memory, at.memory, slope);
            for t in 0..n_steps {
                *decays.add(t) += sum;
                for i in t * layout.writes..(t + 1) * layout.writes {
                    let ending = scratch.add(room.ending + i * key.width);
                    let ended = scratch.add(self.room.ended + i * key.width);
                    sum += dot::<S, T>(key, ending, ended);
                }
            }
            let step = self
                .loader
                .problem
                .row(at.first + at.chunk.first, 1, at.head);
            // Of gates they are asked for here.
            if layout.rule != Rule::Gated {
                for t in 0..n_steps {
                    *self.call.outputs.decay.at(step + t * n_heads) = *decays.add(t);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn decay_slopes_by_channel<S: Simd>(&self, at: &At<T>) {
        let (layout, room) = (&self.loader.layout, &self.loader.room);
        let (row, width, scratch) = (layout.key, layout.key.width, at.scratch);
        let (value, n_steps) = (layout.value, at.chunk.n_steps);
        // SAFETY: as the caller promises.
        unsafe {
            let decays = scratch.add(self.room.decays);
            // From each step on, all readers that begin at the chunk's start.
            for t in (0..n_steps - 1).rev() {
                row.add_to::<S, T>(decays.add((t + 1) * width), decays.add(t * width));
            }
            let sum = scratch.add(self.room.sums);
            let slope = scratch.add(self.room.slope);
            clear(sum, width);
            for channel in 0..row.units {
                let place = channel * value.width;
                *sum.add(channel) = dot::<S, T>(value, at.memory.add(place), slope.add(place));
            }
            let whole = scratch.add(room.whole);
            row.update::<S, T>(sum, whole, |sum, decay| sum * decay);
            for t in 0..n_steps {
                row.add_to::<S, T>(sum, decays.add(t * width));
                for i in t * layout.writes..(t + 1) * layout.writes {
                    let ending = scratch.add(room.ending + i * width);
                    let ended = scratch.add(self.room.ended + i * width);
                    multiply_add::<S, T>(row, ending, ended, sum);
                }
            }
            let pairs = scratch.add(self.room.spanning_by_channel);
            Row::new(n_steps * width, row.lanes).add_to::<S, T>(pairs, decays);
            let step = self
                .loader
                .problem
                .row(at.first + at.chunk.first, 1, at.head);
            for t in 0..n_steps {
                let to = (step + t * layout.n_heads) * row.units;
                row.copy_units::<S, T>(decays.add(t * width), self.call.outputs.decay.at(to));
            }
        }
    }

    /// Where heads fade, of readers that begin at the chunk's start, and of pairs of a reader and a write.
    #[inline(always)]
    unsafe fn pairs_that_span<S: Simd>(&self, at: &At<T>) {
        let layout = &self.loader.layout;
        let (row, written) = (layout.written, layout.written.width);
        let scratch = at.scratch;
        // SAFETY: as the caller promises.
        unsafe {
            let spanning = scratch.add(self.room.spanning);
            // For each write, of all readers from the present step on.
            let sums = scratch.add(self.room.numbers);
            clear(sums, written);
            let decays = scratch.add(self.room.decays);
            let mut readers = T::zero();
            for t in (0..at.chunk.n_steps).rev() {
                let step = layout.first_step + t;
                row.add_to::<S, T>(spanning.add(step * written), sums);
                if layout.first_reader == 0 {
                    for write in t * layout.writes..(t + 1) * layout.writes {
                        row.add_to::<S, T>(spanning.add(write * written), sums);
                    }
                }
                readers += *decays.add(t);
                let mut pairs = T::zero();
                for write in 0..t * layout.writes {
                    pairs += *sums.add(write);
                }
                *decays.add(t) = readers + pairs;
            }
        }
    }
}

/// `sum += a ∘ b`
///
/// # Safety
/// All must be rows of this size; inlined into a function that is compiled for S.
#[inline(always)]
pub(super) unsafe fn multiply_add<S: Simd, T: Real>(
    row: Row,
    a: *const T,
    b: *const T,
    sum: *mut T,
) {
    for lane in row.starts() {
        // SAFETY: as the caller promises.
        unsafe {
            let product = load::<S, T>(a.add(lane))
                .mul_add(load::<S, T>(b.add(lane)), load::<S, T>(sum.add(lane)));
            store::<S, T>(sum.add(lane), product);
        }
    }
}

/// `sum += factor a`
///
/// # Safety
/// As for [`multiply_add`].
#[inline(always)]
pub(super) unsafe fn scale_add<S: Simd, T: Real>(row: Row, factor: T, a: *const T, sum: *mut T) {
    let factor = splat::<S, T>(factor);
    // SAFETY: as the caller promises.
    unsafe { row.update::<S, T>(sum, a, |sum, a| a.mul_add(factor, sum)) }
}
