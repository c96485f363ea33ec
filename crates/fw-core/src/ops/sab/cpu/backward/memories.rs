//! What was recalled, backward: gradients that wait at memories, and those of queries and keys.

use core::ops::Range;

use super::super::layout::{MOST_SAMPLES, state_share};
use super::super::recall;
use super::{Chosen, Pass, Walk, is_any_nonzero};
use crate::ops::cpu::{Initial, Real, RowsMut, Simd, Strided, clear, load, splat, store};
use crate::ops::sab::Score;

/// Memories whose shares in the gradient of v are summed before they are added to those of others.
const FEW: usize = 64;

impl<T: Real> Pass<'_, T> {
    /// Adds to the gradient of the state what waits at the memory that it was stored as.
    #[inline(always)]
    pub(super) unsafe fn return_to_state<S: Simd>(
        &self,
        walk: &mut Walk<'_, T>,
        memory: usize,
        group: usize,
        piece: impl Fn(usize) -> *const T,
        is_reached: &mut [bool; MOST_SAMPLES],
    ) {
        let (room, hidden) = (&self.room, self.layout.hidden);
        // SAFETY: as in `run`.
        unsafe {
            let chosen = self.key_back::<S>(walk, memory, group, piece);
            if !self.layout.options.replay {
                return;
            }
            for (row, g) in chosen.iter() {
                let own = walk.scratch.add(g * room.sample);
                let state = own.add(room.state);
                let through_key = walk.common.add(room.products + row * hidden.width);
                hidden.add_to::<S, T>(through_key, state);
                let value = own.add(room.values + memory * hidden.width);
                hidden.add_to::<S, T>(value, state);
                is_reached[g] = true;
            }
        }
    }

    /// Writes the gradients of the given memories.
    #[inline(always)]
    pub(super) unsafe fn return_to_given<S: Simd>(
        &self,
        walk: &mut Walk<'_, T>,
        samples: Range<usize>,
        piece: impl Fn(usize) -> *const T + Copy,
    ) {
        let (layout, room, hidden) = (&self.layout, &self.room, self.layout.hidden);
        // SAFETY: as in `run`.
        unsafe {
            for memory in 0..layout.given {
                let chosen = self.key_back::<S>(walk, memory, samples.len(), piece);
                if !layout.options.replay || !self.call.wanted.memories {
                    continue;
                }
                for (row, g) in chosen.iter() {
                    let own = walk.scratch.add(g * room.sample);
                    let sum = walk.common.add(room.products + row * hidden.width);
                    let value = own.add(room.values + memory * hidden.width);
                    hidden.add_to::<S, T>(value, sum);
                    let to = ((samples.start + g) * layout.given + memory) * hidden.units;
                    hidden.copy_units::<S, T>(sum, self.memories.at(to));
                }
            }
        }
    }

    /// What the keys of a memory give to its value, a row of products for each sample that touched it. Those samples come
    /// back.
    #[inline(always)]
    unsafe fn key_back<S: Simd>(
        &self,
        walk: &mut Walk<'_, T>,
        memory: usize,
        group: usize,
        piece: impl Fn(usize) -> *const T,
    ) -> Chosen {
        let (layout, room) = (&self.layout, &self.room);
        let (hidden, attention) = (layout.hidden, layout.attention);
        let mut chosen = Chosen::default();
        // SAFETY: as in `run`.
        unsafe {
            let rows = walk.common.add(room.gathered);
            let products = walk.common.add(room.products);
            for g in 0..group {
                let own = walk.scratch.add(g * room.sample);
                if *own.add(room.touched + memory) == T::zero() {
                    continue;
                }
                let of_key = own.add(room.keys + memory * attention.width);
                let row = rows.add(chosen.count * attention.width);
                attention.copy::<S, T>(of_key, row);
                chosen.push(g);
                let value = piece(g).add(layout.value(memory));
                self.gather_read::<S>(walk, 2, value, row);
            }
            if chosen.count > 0 && layout.options.replay {
                self.transposed.w_key.multiply::<S>(
                    chosen.count,
                    Strided::new(rows, attention.width, 1),
                    Initial::Zero,
                    RowsMut::new(products, hidden.width),
                );
                for (row, g) in chosen.iter() {
                    let value = piece(g).add(layout.value(memory));
                    self.through_reading::<S>(value, products.add(row * hidden.width));
                }
            }
        }
        chosen
    }

    /// The gradients of ĥ_t, of the memories that took part, and of the query, of the g-th sample; returns whether there is one of the query.
    #[inline(always)]
    pub(super) unsafe fn recall_back<S: Simd>(
        &self,
        walk: &mut Walk<'_, T>,
        g: usize,
        t: usize,
        piece: *const T,
        own: *mut T,
    ) -> bool {
        let (layout, room) = (&self.layout, &self.room);
        let (hidden, attention) = (layout.hidden, layout.attention);
        let visible = layout.visible(t).len();
        // SAFETY: as in `run`.
        unsafe {
            let state = own.add(room.state).cast_const();
            let candidate = own.add(room.candidate);
            if !layout.attends() || visible == 0 {
                hidden.copy::<S, T>(state, candidate);
                return false;
            }
            let (of_state, of_summary) = state_share::<T>(layout.options.combination);
            let summary = own.add(room.summary);
            hidden.scale_to::<S, T>(of_state, state, candidate);
            let share = splat::<S, T>(of_summary);
            for lane in hidden.starts() {
                let slope = load::<S, T>(state.add(lane));
                let sum = slope.mul_add(share, load::<S, T>(summary.add(lane)));
                store::<S, T>(summary.add(lane), sum);
            }
            if !is_any_nonzero(core::slice::from_raw_parts(summary, hidden.units)) {
                return false;
            }

            let taken = layout.options.n_selected(visible);
            walk.visits.memories += taken;
            let weights = core::slice::from_raw_parts(piece.add(layout.weights(t)), taken);
            let indices = walk.indices.add(layout.indices(g, t));
            let slopes = core::slice::from_raw_parts_mut(walk.common.add(room.slopes), taken);
            for (at, slope) in slopes.iter_mut().enumerate() {
                let value = piece.add(layout.value(*indices.add(at) as usize));
                let mut sum = splat::<S, T>(T::zero());
                for lane in hidden.starts() {
                    let value = load::<S, T>(value.add(lane));
                    sum = value.mul_add(load::<S, T>(summary.add(lane)), sum);
                }
                *slope = sum.reduce_add();
            }
            let sum = *piece.add(layout.sum(t));
            recall::sparsify_back(layout, visible, weights, sum, slopes);

            let query = own.add(room.query);
            clear(query, attention.width);
            let [of_few, of_step] = room.of_v.map(|row| walk.common.add(row));
            clear(of_few, attention.width);
            clear(of_step, attention.width);
            for at in 0..taken {
                let memory = *indices.add(at) as usize;
                let of_value = own.add(room.values + memory * hidden.width);
                let of_key = own.add(room.keys + memory * attention.width);
                let touched = own.add(room.touched + memory);
                if *touched == T::zero() {
                    *touched = T::one();
                    clear(of_value, hidden.width);
                    clear(of_key, attention.width);
                }
                let weight = splat::<S, T>(weights[at]);
                hidden.update::<S, T>(of_value, summary, |sum, g| weight.mul_add(g, sum));
                recall::score_back::<S, T>(
                    layout,
                    &self.transposed.v,
                    slopes[at],
                    (piece.add(layout.query(t)), piece.add(layout.key(memory))),
                    (query, of_key, of_few),
                );
                // A step that recalls everything adds thousands of terms.
                if at % FEW == FEW - 1 {
                    attention.add_to::<S, T>(of_few, of_step);
                    clear(of_few, attention.width);
                }
            }
            if layout.score == Score::Mlp {
                attention.add_to::<S, T>(of_few, of_step);
                let of_v = walk.sums.block().add(self.sums.v);
                attention.add_to::<S, T>(of_step, of_v);
            }
        }
        true
    }

    /// From the gradients of the queries of some samples to those of their ĥ_t.
    #[inline(always)]
    pub(super) unsafe fn query_back<S: Simd>(
        &self,
        walk: &mut Walk<'_, T>,
        t: usize,
        chosen: Chosen,
        piece: impl Fn(usize) -> *const T,
    ) {
        let (layout, room) = (&self.layout, &self.room);
        let (hidden, attention) = (layout.hidden, layout.attention);
        if chosen.count == 0 {
            return;
        }
        // SAFETY: as in `run`.
        unsafe {
            let rows = walk.common.add(room.gathered);
            let products = walk.common.add(room.products);
            for (row, g) in chosen.iter() {
                let own = walk.scratch.add(g * room.sample);
                let row = rows.add(row * attention.width);
                attention.copy::<S, T>(own.add(room.query), row);
                self.gather_read::<S>(walk, 1, piece(g).add(layout.candidate(t)), row);
            }
            self.transposed.w_query.multiply::<S>(
                chosen.count,
                Strided::new(rows, attention.width, 1),
                Initial::Zero,
                RowsMut::new(products, hidden.width),
            );
            for (row, g) in chosen.iter() {
                let own = walk.scratch.add(g * room.sample);
                let through_query = products.add(row * hidden.width);
                self.through_reading::<S>(piece(g).add(layout.candidate(t)), through_query);
                hidden.add_to::<S, T>(through_query, own.add(room.candidate));
            }
        }
    }

    /// The gradient of a row from that of what scores read of it: its hyperbolic tangent, as released; else itself.
    #[inline(always)]
    unsafe fn through_reading<S: Simd>(&self, row: *const T, slope: *mut T) {
        if self.layout.score == Score::Released {
            // SAFETY: as in `run`.
            unsafe {
                self.layout.hidden.update::<S, T>(slope, row, |slope, row| {
                    let tanh = T::tanh_lanes::<S>(row);
                    slope - slope * tanh * tanh
                });
            }
        }
    }
}
