//! The gradients that a chunk says, from what it was given to the memory before it.

use super::super::super::Rule;
use super::super::chunk::Loader;
use super::super::forward::{divisor, fade_memory};
use super::super::layout::Chunk;
use super::{At, Pass, dot};
use crate::ops::cpu::{
    Initial, Real, Row, Rows, RowsMut, Simd, Strided, add_product, clear, product, row_product,
    transpose,
};

impl<T: Real> Pass<'_, T> {
    /// The gradients of a chunk's inputs, and in place of that of the memory after it that of the memory before it.
    #[inline(always)]
    pub(super) unsafe fn chunk<S: Simd>(&self, at: &At<T>) {
        // SAFETY: as the caller promises.
        unsafe {
            self.loader
                .load::<S>(&at.chunk, at.first, at.head, at.scratch);
            self.loader.pair::<S>(&at.chunk, at.scratch);
            self.load_updates::<S>(at);
            self.write_slopes::<S>(at);
            self.reader_slopes::<S>(at);
            self.pair_slopes::<S>(at);
            self.end_slopes::<S>(at);
            if self.loader.layout.rule == Rule::Gated {
                self.gate_slopes(at);
            }
            self.store_slopes::<S>(at);
            self.memory_slope::<S>(at);
        }
    }

    /// How many readers there are.
    #[inline(always)]
    fn n_readers(&self, chunk: &Chunk) -> usize {
        let layout = &self.loader.layout;
        layout.first_step + chunk.n_steps - layout.first_reader
    }

    /// Y of the steps, ū, Y of the writes; dβ and dv.
    #[inline(always)]
    unsafe fn write_slopes<S: Simd>(&self, at: &At<T>) {
        let Loader {
            problem,
            layout,
            room,
            ..
        } = &self.loader;
        let At {
            chunk,
            scratch,
            head,
            ..
        } = *at;
        let (row, width) = (layout.value, layout.value.width);
        let (written, key) = (layout.written.width, layout.key.width);
        let step = problem.row(at.first + chunk.first, 1, head);
        let write = problem.row(at.first + chunk.first, layout.writes, head);
        let outputs = &self.call.outputs;
        // SAFETY: as the caller promises.
        unsafe {
            let yielded = scratch.add(self.room.yielded);
            for t in 0..chunk.n_steps {
                let index = step + t * layout.n_heads;
                let to = yielded.add((layout.first_step + t) * width);
                if layout.rule == Rule::Gated {
                    self.yielded_slope::<S>(at, t, index, to);
                } else {
                    row.read::<S, T>(self.call.cotangents.output, index, to);
                }
            }
            let n_there = layout.n_write_readers(&chunk);
            let missing = layout.first_step - n_there;
            clear(yielded.add(n_there * width), missing * width);

            let slopes = RowsMut::new(scratch.add(self.room.update_slopes), width);
            product::<S, T>(
                [chunk.n_writes, layout.key.units, row.vectors()],
                Strided::new(scratch.add(room.ending), key, 1),
                Rows::new(scratch.add(self.room.slope), width),
                Initial::Zero,
                slopes,
            );
            let pairs = scratch.add(room.pairs);
            add_product::<S, T>(
                [chunk.n_writes, chunk.n_steps, row.vectors()],
                Strided::new(pairs.add(layout.first_step * written), 1, written),
                Rows::new(yielded.add(layout.first_step * width), width),
                slopes,
            );
            if layout.rule == Rule::Transition {
                self.slopes_by_transition::<S>(at, slopes);
                return;
            }
            for i in (0..chunk.n_writes).rev() {
                let slope = slopes.start.add(i * width);
                let later = chunk.n_writes - 1 - i;
                if layout.rule == Rule::Delta && later > 0 {
                    row_product::<S, T>(
                        [later, row.vectors()],
                        pairs.add((i + 1) * written + i),
                        written,
                        Rows::new(yielded.add((i + 1) * width), width),
                        Some(slope),
                        slope,
                    );
                }
                let strength = *scratch.add(room.strengths + i);
                row.scale_to::<S, T>(-strength, slope, yielded.add(i * width));
                let index = write + i * layout.n_heads;
                let error = at.errors.add(i * width);
                let of_strength = match layout.rule {
                    Rule::Gated => scratch.add(self.room.strength_slopes + i),
                    _ => outputs.strength.at(index),
                };
                *of_strength = dot::<S, T>(row, error, slope);
                let value = outputs.value.at(index * layout.given.units);
                row.scale_to::<S, T>(strength, slope, slope);
                layout.given.copy_units::<S, T>(slope, value);
            }
        }
    }

    /// Of a transition, from ū as far as the memory behind the chunk and its steps say it: Y of the writes, ū and dv.
    #[inline(always)]
    unsafe fn slopes_by_transition<S: Simd>(&self, at: &At<T>, slopes: RowsMut<T>) {
        let Loader {
            problem,
            layout,
            room,
            ..
        } = &self.loader;
        let (row, width, written) = (layout.value, layout.value.width, layout.written.width);
        let step = problem.row(at.first + at.chunk.first, 1, at.head);
        // SAFETY: as the caller promises.
        unsafe {
            let yielded = at.scratch.add(self.room.yielded);
            let pairs = at.scratch.add(room.pairs);
            for t in (0..at.chunk.n_steps).rev() {
                let later = at.chunk.n_steps - 1 - t;
                for i in [2 * t, 2 * t + 1] {
                    let slope = slopes.start.add(i * width);
                    if later > 0 {
                        row_product::<S, T>(
                            [later, row.vectors()],
                            pairs.add((t + 1) * written + i),
                            written,
                            Rows::new(yielded.add((t + 1) * width), width),
                            Some(slope),
                            slope,
                        );
                    }
                }
                let slope = slopes.start.add(2 * t * width);
                row.copy::<S, T>(slope, yielded.add(t * width));
                let value = (step + t * layout.n_heads) * row.units;
                row.copy_units::<S, T>(slope.add(width), self.call.outputs.value.at(value));
            }
        }
    }

    /// Of what is gated, the gradient of what a step read from that of what came of it.
    #[inline(always)]
    unsafe fn yielded_slope<S: Simd>(&self, at: &At<T>, t: usize, index: usize, to: *mut T) {
        let Loader { layout, room, .. } = &self.loader;
        let given = layout.given;
        let cotangents = &self.call.cotangents;
        // SAFETY: as the caller promises.
        unsafe {
            let output = at.scratch.add(self.room.value);
            let yielded = cotangents.yielded.expect("what is gated reads its output");
            given.read::<S, T>(yielded, index, output);
            // A column more.
            clear(to, layout.value.width);
            let from = cotangents.output[index * given.units..][..given.units].as_ptr();
            given.copy_units::<S, T>(from, to);
            let normalizer = *at.normalizers.add(t);
            let floor = *at.scratch.add(room.gates.floors + t);
            let share = T::one() / divisor(normalizer, floor);
            let slope = T::zero() - dot::<S, T>(given, output, to) * share;
            given.scale_to::<S, T>(share, to, to);
            let (of_normalizer, of_floor) = match normalizer.abs() >= floor {
                true => (slope * normalizer.signum(), T::zero()),
                false => (T::zero(), slope),
            };
            *to.add(given.units) = of_normalizer;
            *at.scratch.add(self.room.floor_slopes + t) = of_floor;
        }
    }

    /// N, and of dX what the memory says.
    #[inline(always)]
    unsafe fn reader_slopes<S: Simd>(&self, at: &At<T>) {
        let Loader { layout, .. } = &self.loader;
        let scratch = at.scratch;
        let (key, value, written) = (layout.key, layout.value, layout.written);
        let from = layout.first_reader;
        let n_readers = self.n_readers(&at.chunk);
        // SAFETY: as the caller promises.
        unsafe {
            let updates = scratch.add(self.room.updates_transposed);
            transpose(
                [written.width, value.units],
                scratch.add(self.room.updates),
                value.width,
                updates,
                written.width,
            );
            let yielded = Strided::new(
                scratch.add(self.room.yielded + from * value.width),
                value.width,
                1,
            );
            product::<S, T>(
                [n_readers, value.units, written.vectors()],
                yielded,
                Rows::new(updates, written.width),
                Initial::Zero,
                RowsMut::new(
                    scratch.add(self.room.pairs + from * written.width),
                    written.width,
                ),
            );
            let memory = scratch.add(self.room.transposed);
            transpose(
                [key.units, value.units],
                at.memory,
                value.width,
                memory,
                key.width,
            );
            product::<S, T>(
                [n_readers, value.units, key.vectors()],
                yielded,
                Rows::new(memory, key.width),
                Initial::Zero,
                RowsMut::new(scratch.add(self.room.readers + from * key.width), key.width),
            );
            self.fade_readers::<S>(at);
        }
    }

    /// Of dX and dk what pairs say.
    #[inline(always)]
    unsafe fn pair_slopes<S: Simd>(&self, at: &At<T>) {
        let Loader {
            layout,
            room,
            faded,
            ..
        } = &self.loader;
        let scratch = at.scratch;
        let (key, written) = (layout.key, layout.written.width);
        let from = layout.first_reader;
        let n_readers = self.n_readers(&at.chunk);
        // SAFETY: as the caller promises.
        unsafe {
            if faded.is_some_and(|faded| faded.by_channel) {
                self.pair_slopes_by_channel::<S>(at);
                return;
            }
            let pairs = scratch.add(self.room.pairs + from * written);
            let all = Row::new(n_readers * written, layout.written.lanes);
            if faded.is_some() {
                let spanning = scratch.add(self.room.spanning + from * written);
                all.copy::<S, T>(pairs, spanning);
                let seen = scratch.add(room.pairs + from * written);
                all.update::<S, T>(spanning, seen, |slope, pair| slope * pair);
            }
            let between = scratch.add(room.between + from * written);
            all.update::<S, T>(pairs, between, |slope, decay| slope * decay);

            add_product::<S, T>(
                [n_readers, at.chunk.n_writes, key.vectors()],
                Strided::new(pairs, written, 1),
                Rows::new(scratch.add(room.keys), key.width),
                RowsMut::new(scratch.add(self.room.readers + from * key.width), key.width),
            );
            product::<S, T>(
                [at.chunk.n_writes, n_readers, key.vectors()],
                Strided::new(pairs, 1, written),
                Rows::new(scratch.add(room.readers + from * key.width), key.width),
                Initial::Zero,
                RowsMut::new(scratch.add(self.room.keys), key.width),
            );
        }
    }

    /// Of dk what the memory after the chunk says.
    #[inline(always)]
    unsafe fn end_slopes<S: Simd>(&self, at: &At<T>) {
        let layout = &self.loader.layout;
        let scratch = at.scratch;
        let (key, value, written) = (layout.key, layout.value, layout.written);
        // SAFETY: as the caller promises.
        unsafe {
            let transposed = scratch.add(self.room.ended_transposed);
            product::<S, T>(
                [key.units, value.units, written.vectors()],
                Strided::new(scratch.add(self.room.slope), value.width, 1),
                Rows::new(scratch.add(self.room.updates_transposed), written.width),
                Initial::Zero,
                RowsMut::new(transposed, written.width),
            );
            let ended = scratch.add(self.room.ended);
            transpose(
                [key.units, at.chunk.n_writes],
                transposed,
                written.width,
                ended,
                key.width,
            );
            self.decay_slopes::<S>(at);
        }
    }

    /// dq and dk go to their places.
    #[inline(always)]
    unsafe fn store_slopes<S: Simd>(&self, at: &At<T>) {
        let Loader {
            problem, layout, ..
        } = &self.loader;
        let At {
            chunk,
            scratch,
            head,
            ..
        } = *at;
        let key = layout.key;
        let step = problem.row(at.first + chunk.first, 1, head);
        let write = problem.row(at.first + chunk.first, layout.writes, head);
        let outputs = &self.call.outputs;
        // SAFETY: as the caller promises.
        unsafe {
            let readers = scratch.add(self.room.readers);
            let scale = T::of(problem.sizes.read_scale);
            for t in 0..chunk.n_steps {
                let slope = readers.add((layout.first_step + t) * key.width);
                let to = outputs.query.at((step + t * layout.n_heads) * key.units);
                key.scale_to::<S, T>(scale, slope, slope);
                key.copy_units::<S, T>(slope, to);
            }
            for i in 0..chunk.n_writes {
                let slope = scratch.add(self.room.keys + i * key.width);
                let ended = scratch.add(self.room.ended + i * key.width);
                if let Some(faded) = self.loader.faded {
                    let place = i / layout.writes * faded.width;
                    let factors = scratch.add(self.loader.room.to_end + place);
                    self.loader.times::<S>(faded, ended, factors, ended);
                }
                key.add_to::<S, T>(ended, slope);
                if layout.rule == Rule::Delta {
                    key.add_to::<S, T>(readers.add(i * key.width), slope);
                }
                let to = match layout.rule {
                    Rule::Transition => {
                        let index = (step + i / 2 * layout.n_heads) * key.units;
                        match i % 2 {
                            0 => outputs.transition[1].at(index),
                            _ => outputs.key.at(index),
                        }
                    }
                    _ => outputs.key.at((write + i * layout.n_heads) * key.units),
                };
                key.copy_units::<S, T>(slope, to);
            }
            if layout.rule == Rule::Transition {
                for t in 0..chunk.n_steps {
                    let to = (step + t * layout.n_heads) * key.units;
                    let slope = readers.add(t * key.width);
                    key.copy_units::<S, T>(slope, outputs.transition[0].at(to));
                }
            }
        }
    }

    /// G before the chunk.
    #[inline(always)]
    unsafe fn memory_slope<S: Simd>(&self, at: &At<T>) {
        let Loader { layout, room, .. } = &self.loader;
        let scratch = at.scratch;
        let (key, value) = (layout.key, layout.value);
        let from = layout.first_reader;
        // SAFETY: as the caller promises.
        unsafe {
            let slope = scratch.add(self.room.slope);
            fade_memory::<S, T>(&self.loader, slope, scratch);
            add_product::<S, T>(
                [key.units, self.n_readers(&at.chunk), value.vectors()],
                Strided::new(scratch.add(room.faded + from * key.width), 1, key.width),
                Rows::new(
                    scratch.add(self.room.yielded + from * value.width),
                    value.width,
                ),
                RowsMut::new(slope, value.width),
            );
        }
    }
}
