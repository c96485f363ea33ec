//! What both passes need of a chunk: its readers and keys, how they have faded, and how readers see writes.

use super::super::{MOST_NEGATIVE_SCALE, Rule, key_scale};
use super::layout::{Chunk, Decay, Layout, Problem};
use super::room::{Faded, Room};
use crate::ops::cpu::{
    Initial, Real, Row, Rows, RowsMut, Simd, Strided, clear, load, log_sigmoid, product,
    row_product, splat, store, transpose,
};

/// What is to be loaded of a unit.
#[derive(Clone, Copy)]
pub(super) struct Loader<'a, T> {
    pub(super) problem: &'a Problem<'a, T>,
    pub(super) layout: Layout,
    pub(super) faded: Option<Faded>,
    pub(super) room: Room,
}

impl<T: Real> Loader<'_, T> {
    /// What holds for all chunks of a unit.
    ///
    /// # Safety
    /// The scratch must have the size that the room says; inlined into a function that is compiled for S.
    #[inline(always)]
    pub(super) unsafe fn begin<S: Simd>(&self, scratch: *mut T) {
        let written = self.layout.written.width;
        // SAFETY: as the caller promises.
        unsafe {
            let identity = scratch.add(self.room.identity);
            clear(identity, written * written);
            for write in 0..written {
                *identity.add(write * (written + 1)) = T::one();
            }
            if self.faded.is_none() {
                self.set_between::<S>(self.layout.chunk, scratch);
            }
        }
    }

    /// The rows of a chunk of a head whose sample begins at row `first`, and what has faded of them.
    ///
    /// # Safety
    /// As for [`begin`](Self::begin), which must have been called.
    #[inline(always)]
    pub(super) unsafe fn load<S: Simd>(
        &self,
        chunk: &Chunk,
        first: usize,
        head: usize,
        scratch: *mut T,
    ) {
        // SAFETY: as the caller promises.
        unsafe {
            self.read::<S>(chunk, first, head, scratch);
            if self.layout.rule == Rule::Gated {
                self.gate::<S>(chunk, first, head, scratch);
            }
            if let Some(faded) = self.faded {
                self.fade::<S>(faded, chunk, first, head, scratch);
            }
        }
    }

    /// P, of a chunk that has been loaded.
    ///
    /// # Safety
    /// As for [`begin`](Self::begin), which must have been called.
    #[inline(always)]
    pub(super) unsafe fn pair<S: Simd>(&self, chunk: &Chunk, scratch: *mut T) {
        // SAFETY: as the caller promises.
        unsafe {
            match self.faded {
                Some(faded) if faded.by_channel => self.pair_by_channel::<S>(chunk, scratch),
                faded => {
                    if faded.is_some() {
                        self.set_between::<S>(chunk.n_steps, scratch);
                    }
                    self.pair_at_once::<S>(chunk, scratch);
                }
            }
        }
    }

    /// X, k and β; of writes that are not there zeros.
    #[inline(always)]
    unsafe fn read<S: Simd>(&self, chunk: &Chunk, first: usize, head: usize, scratch: *mut T) {
        let (problem, layout, room) = (self.problem, &self.layout, &self.room);
        let (row, width) = (layout.key, layout.key.width);
        let n_heads = layout.n_heads;
        let write = problem.row(first + chunk.first, layout.writes, head);
        let step = problem.row(first + chunk.first, 1, head);
        // SAFETY: as the caller promises.
        unsafe {
            let (keys, strengths) = (scratch.add(room.keys), scratch.add(room.strengths));
            let readers = scratch.add(room.readers);
            if layout.rule == Rule::Transition {
                let [read, written] = problem.transition;
                for t in 0..chunk.n_steps {
                    let index = step + t * n_heads;
                    row.read::<S, T>(read, index, readers.add(t * width));
                    row.read::<S, T>(written, index, keys.add(2 * t * width));
                    row.read::<S, T>(problem.key, index, keys.add((2 * t + 1) * width));
                }
                let missing = layout.first_step - chunk.n_steps;
                clear(readers.add(chunk.n_steps * width), missing * width);
                layout.written.set::<S, T>(T::one(), strengths);
            } else {
                for i in 0..chunk.n_writes {
                    let index = write + i * n_heads;
                    row.read::<S, T>(problem.key, index, keys.add(i * width));
                    *strengths.add(i) = problem.strength[index];
                }
            }
            let missing = layout.written.width - chunk.n_writes;
            if missing > 0 {
                clear(keys.add(chunk.n_writes * width), missing * width);
                clear(strengths.add(chunk.n_writes), missing);
            }
            let scale = T::of(problem.sizes.read_scale);
            for t in 0..chunk.n_steps {
                let query = readers.add((layout.first_step + t) * width);
                let from = row.view::<S, T>(problem.query, step + t * n_heads, query);
                row.scale_to::<S, T>(scale, from, query);
            }
        }
    }

    /// Of gates m, the decays' logarithms and β, which came as input gates; and what the backward pass asks for.
    #[inline(always)]
    unsafe fn gate<S: Simd>(&self, chunk: &Chunk, first: usize, head: usize, scratch: *mut T) {
        let (problem, layout, gates) = (self.problem, &self.layout, &self.room.gates);
        let row = Row::new(chunk.n_steps, layout.key.lanes);
        let step = problem.row(first + chunk.first, 1, head);
        let Decay::Head(forget) = problem.decay else {
            unreachable!("what is gated has a gate for each head");
        };
        // SAFETY: as the caller promises.
        unsafe {
            let [scales, floors, forgotten, is_new] =
                [gates.scales, gates.floors, gates.forgotten, gates.is_new]
                    .map(|start| scratch.add(start));
            let logs = scratch.add(self.room.decays);
            let inputs = scratch.add(self.room.strengths);
            clear(logs, row.width);
            for t in 0..chunk.n_steps {
                *logs.add(t) = forget[step + t * layout.n_heads];
            }
            for lane in row.starts() {
                let [log, of_rest] = log_sigmoid::<S, T>(load::<S, T>(logs.add(lane)));
                store::<S, T>(logs.add(lane), log);
                store::<S, T>(forgotten.add(lane), of_rest);
            }
            let most = T::of(MOST_NEGATIVE_SCALE);
            let mut scale = *scratch.add(gates.before);
            for t in 0..chunk.n_steps {
                let (kept, new) = (*logs.add(t) + scale, *inputs.add(t));
                let is_larger = new > kept;
                scale = match is_larger {
                    true => new,
                    false if kept >= new => kept,
                    // What is not a number stays none.
                    false => kept + new,
                };
                *is_new.add(t) = if is_larger { T::one() } else { T::zero() };
                *scales.add(t) = scale;
                *logs.add(t) = kept - scale;
                *inputs.add(t) = new - scale;
                *floors.add(t) = match T::zero() - scale {
                    negative if negative > most => most,
                    negative => negative,
                };
            }
            exponentiate::<S, T>(row, floors);
            exponentiate::<S, T>(row, inputs);
            let share = T::of(key_scale(problem.sizes.d_key));
            row.scale_to::<S, T>(share, inputs, inputs);
            clear(
                inputs.add(chunk.n_steps),
                layout.written.width - chunk.n_steps,
            );
        }
    }

    /// The decays, and what they leave of readers and keys.
    #[inline(always)]
    unsafe fn fade<S: Simd>(
        &self,
        faded: Faded,
        chunk: &Chunk,
        first: usize,
        head: usize,
        scratch: *mut T,
    ) {
        let (problem, layout, room) = (self.problem, &self.layout, &self.room);
        let (width, n_steps) = (faded.width, chunk.n_steps);
        let step = problem.row(first + chunk.first, 1, head);
        // SAFETY: as the caller promises.
        unsafe {
            let [decays, from_start, to_end, whole] =
                [room.decays, room.from_start, room.to_end, room.whole]
                    .map(|start| scratch.add(start));
            match problem.decay {
                Decay::None => {}
                Decay::Head(logs) => {
                    // Of gates they are there.
                    if layout.rule != Rule::Gated {
                        for t in 0..n_steps {
                            *decays.add(t) = logs[step + t * layout.n_heads];
                        }
                    }
                    exponentiate::<S, T>(Row::new(n_steps, layout.key.lanes), decays);
                    let mut product = T::one();
                    for t in 0..n_steps {
                        product = product * *decays.add(t);
                        *from_start.add(t) = product;
                    }
                    *whole = product;
                    product = T::one();
                    for t in (0..n_steps).rev() {
                        *to_end.add(t) = product;
                        product = product * *decays.add(t);
                    }
                }
                Decay::Channel(logs) => {
                    let row = layout.key;
                    for t in 0..n_steps {
                        let decay = decays.add(t * width);
                        row.read::<S, T>(logs, step + t * layout.n_heads, decay);
                        exponentiate::<S, T>(row, decay);
                    }
                    for lane in row.starts() {
                        let one = splat::<S, T>(T::one());
                        let mut product = one;
                        for t in 0..n_steps {
                            let place = t * width + lane;
                            product *= load::<S, T>(decays.add(place));
                            store::<S, T>(from_start.add(place), product);
                        }
                        store::<S, T>(whole.add(lane), product);
                        product = one;
                        for t in (0..n_steps).rev() {
                            let place = t * width + lane;
                            store::<S, T>(to_end.add(place), product);
                            product *= load::<S, T>(decays.add(place));
                        }
                    }
                }
            }
            let key = layout.key;
            let to = |start: usize, reader: usize| scratch.add(start + reader * key.width);
            for reader in layout.first_reader..layout.first_step + chunk.n_steps {
                if layout.step_of(reader) >= chunk.n_steps {
                    // A write that is not there.
                    clear(to(room.faded, reader), key.width);
                    continue;
                }
                let from = to(room.readers, reader);
                match layout.faded_before(reader) {
                    0 => key.copy::<S, T>(from, to(room.faded, reader)),
                    n => {
                        let factors = from_start.add((n - 1) * width);
                        self.times::<S>(faded, from, factors, to(room.faded, reader));
                    }
                }
            }
            for i in 0..chunk.n_writes {
                let factors = to_end.add(i / layout.writes * width);
                self.times::<S>(faded, to(room.keys, i), factors, to(room.ending, i));
            }
        }
    }

    /// `to = factors ∘ row`, for a row of channels and the decays of a step.
    ///
    /// # Safety
    /// As for [`begin`](Self::begin).
    #[inline(always)]
    pub(super) unsafe fn times<S: Simd>(
        &self,
        faded: Faded,
        row: *const T,
        factors: *const T,
        to: *mut T,
    ) {
        // SAFETY: as the caller promises.
        unsafe {
            if faded.by_channel {
                for lane in self.layout.key.starts() {
                    let product = load::<S, T>(row.add(lane)) * load::<S, T>(factors.add(lane));
                    store::<S, T>(to.add(lane), product);
                }
            } else {
                self.layout.key.scale_to::<S, T>(*factors, row, to);
            }
        }
    }

    /// The decays of all pairs that see each other, 0 for the others.
    #[inline(always)]
    unsafe fn set_between<S: Simd>(&self, n_steps: usize, scratch: *mut T) {
        let (layout, room) = (&self.layout, &self.room);
        let (row, width) = (layout.written, layout.written.width);
        // SAFETY: as the caller promises.
        unsafe {
            let (between, present) = (scratch.add(room.between), scratch.add(room.present));
            clear(present, width);
            // Of writes that are not there, too.
            clear(between, layout.first_step * width);
            for t in 0..n_steps {
                if let Some(faded) = self.faded {
                    let decay = *scratch.add(room.decays + t * faded.width);
                    row.scale_to::<S, T>(decay, present, present);
                }
                for write in t * layout.writes..(t + 1) * layout.writes {
                    row.copy::<S, T>(present, between.add(write * width));
                    // A number by itself would be waited for when the row is read.
                    row.add_to::<S, T>(scratch.add(room.identity + write * width), present);
                }
                row.copy::<S, T>(present, between.add((layout.first_step + t) * width));
            }
        }
    }

    /// P, by one product.
    #[inline(always)]
    unsafe fn pair_at_once<S: Simd>(&self, chunk: &Chunk, scratch: *mut T) {
        let (layout, room) = (&self.layout, &self.room);
        let (width, written) = (layout.key.width, layout.written.width);
        // SAFETY: as the caller promises.
        unsafe {
            let keys = scratch.add(room.keys_transposed);
            transpose(
                [written, layout.key.units],
                scratch.add(room.keys),
                width,
                keys,
                written,
            );
            let first = layout.first_reader;
            let n_readers = layout.first_step + chunk.n_steps - first;
            let pairs = scratch.add(room.pairs + first * written);
            product::<S, T>(
                [n_readers, layout.key.units, layout.written.vectors()],
                Strided::new(scratch.add(room.readers + first * width), width, 1),
                Rows::new(keys, written),
                Initial::Zero,
                RowsMut::new(pairs, written),
            );
            let between = scratch.add(room.between + first * written);
            let all = Row::new(n_readers * written, layout.written.lanes);
            all.update::<S, T>(pairs, between, |pair, decay| pair * decay);
        }
    }

    /// P, step by step: what is left of the keys fades.
    #[inline(always)]
    unsafe fn pair_by_channel<S: Simd>(&self, chunk: &Chunk, scratch: *mut T) {
        let (layout, room) = (&self.layout, &self.room);
        let (width, written) = (layout.key.width, layout.written);
        let d_key = layout.key.units;
        // SAFETY: as the caller promises.
        unsafe {
            let keys = scratch.add(room.keys_transposed);
            clear(keys, d_key * written.width);
            let is_transition = layout.rule == Rule::Transition;
            for t in 0..chunk.n_steps {
                if is_transition {
                    self.see::<S>(t, scratch);
                }
                if t > 0 {
                    let decays = scratch.add(room.decays + t * width);
                    for channel in 0..d_key {
                        let left = keys.add(channel * written.width);
                        written.scale_to::<S, T>(*decays.add(channel), left, left);
                    }
                }
                for write in t * layout.writes..(t + 1) * layout.writes {
                    if layout.first_reader == 0 && !is_transition {
                        self.see::<S>(write, scratch);
                    }
                    let key = scratch.add(room.keys + write * width);
                    for channel in 0..d_key {
                        *keys.add(channel * written.width + write) = *key.add(channel);
                    }
                }
                self.see::<S>(layout.first_step + t, scratch);
            }
            for reader in layout.n_write_readers(chunk)..layout.first_step {
                clear(
                    scratch.add(room.pairs + reader * written.width),
                    written.width,
                );
            }
        }
    }

    /// A reader's row of P, with what is left of the keys.
    #[inline(always)]
    unsafe fn see<S: Simd>(&self, reader: usize, scratch: *mut T) {
        let (layout, room) = (&self.layout, &self.room);
        let (key, written) = (layout.key, layout.written);
        // SAFETY: as the caller promises.
        unsafe {
            row_product::<S, T>(
                [key.units, written.vectors()],
                scratch.add(room.readers + reader * key.width),
                1,
                Rows::new(scratch.add(room.keys_transposed), written.width),
                None,
                scratch.add(room.pairs + reader * written.width),
            );
        }
    }
}

/// e to the power of each number of a row.
///
/// # Safety
/// It must be one of this size; inlined into a function that is compiled for S.
#[inline(always)]
pub(super) unsafe fn exponentiate<S: Simd, T: Real>(row: Row, numbers: *mut T) {
    // No closure: the instructions of S would not reach into it.
    for lane in row.starts() {
        // SAFETY: as the caller promises.
        unsafe {
            let power = T::exp_lanes::<S>(load::<S, T>(numbers.add(lane)));
            store::<S, T>(numbers.add(lane), power);
        }
    }
}
