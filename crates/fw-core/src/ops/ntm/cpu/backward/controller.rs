//! The controller's layers.

use core::ops::Range;

use super::Pass;
use crate::ops::CellKind;
use crate::ops::cpu::cell::{self, SlopeRows};
use crate::ops::cpu::{Initial, Real, RowsMut, Simd, Strided, load, splat, store, times_slope};

impl<T: Real> Pass<'_, T> {
    /// A layer of the controller in step `t`, of those samples that have it.
    #[inline(always)]
    pub(super) unsafe fn layer<S: Simd>(
        &self,
        layer: usize,
        t: usize,
        samples: Range<usize>,
        pieces: *const T,
        n_pairs: usize,
        scratch: *mut T,
    ) {
        let (layout, room, hidden) = (&self.layout, self.room, self.layout.hidden);
        let problem = self.call.problem;
        let pairs = room.layers[layer];
        let (group, first_sample) = (samples.len(), samples.start);
        // SAFETY: as in `run`.
        unsafe {
            let common = scratch.add(layout.group * room.sample);
            let right = common.add(pairs.right + n_pairs * pairs.right_stride);
            let left = common.add(pairs.left + n_pairs * pairs.left_stride);
            for (g, sample) in samples.enumerate() {
                let piece = pieces.add(g * layout.sample);
                let own = scratch.add(g * room.sample);
                let of_hidden = own.add(self.of_hidden(layer));
                let of_gates = right.add(g * pairs.right_stride);
                let left = left.add(g * pairs.left_stride);
                let (input, below) = (layout.input_row(layer), layout.below(layer));
                if input.units > 0 {
                    let from = problem.input[problem.row(sample, t) * input.units..].as_ptr();
                    input.copy_units::<S, T>(from, left);
                }
                let left = left.add(input.units);
                below.copy_units::<S, T>(piece.add(layout.input(layer, t)), left);
                match layout.sizes.activation {
                    None => {
                        let state = piece.add(layout.hidden(layer, t));
                        hidden.copy_units::<S, T>(state, left.add(below.units));
                        cell::step_back::<S, T>(
                            CellKind::Lstm,
                            hidden,
                            SlopeRows {
                                gates: piece.add(layout.gates(layer, t)),
                                prev_hidden: state,
                                prev_carry: piece.add(layout.carry(layer, t)),
                                carry: piece.add(layout.carry(layer, t + 1)),
                                candidate: of_hidden,
                                carried: own.add(self.of_carry(layer)),
                                from_hidden: of_gates,
                                from_input: of_gates,
                                hidden: of_hidden,
                            },
                        );
                    }
                    Some(activation) => {
                        let state = piece.add(layout.hidden(layer, t + 1));
                        let zero = splat::<S, T>(T::zero());
                        for lane in hidden.starts() {
                            let slope = load::<S, T>(of_hidden.add(lane));
                            let y = load::<S, T>(state.add(lane));
                            let slope = times_slope::<S, T>(activation, y, slope);
                            store::<S, T>(of_gates.add(lane), slope);
                            store::<S, T>(of_hidden.add(lane), zero);
                        }
                    }
                }
                if layer == 0 && layout.d_input == 0 && self.call.wanted.input {
                    self.write_projected::<S>(sample, t, of_gates);
                }
            }
            let weights = &self.transposed.layers[layer];
            let rows = Strided::new(right, pairs.right_stride, 1);
            if layer == 0 && layout.d_input > 0 && self.call.wanted.input {
                let input = layout.input_row(0);
                let to = common.add(room.input);
                let to_rows = RowsMut::new(to, input.width);
                weights
                    .input
                    .multiply::<S>(group, rows, Initial::Zero, to_rows);
                for g in 0..group {
                    let first = problem.row(first_sample + g, t) * input.units;
                    input.copy_units::<S, T>(to.add(g * input.width), self.input.at(first));
                }
            }
            if layer == 0 {
                let of_reads = RowsMut::new(scratch.add(room.reads), room.sample);
                weights
                    .below
                    .multiply::<S>(group, rows, Initial::Zero, of_reads);
            } else {
                let below = scratch.add(self.of_hidden(layer - 1));
                let below = RowsMut::new(below, room.sample);
                weights
                    .below
                    .multiply::<S>(group, rows, below.as_initial(), below);
            }
            if layout.has_state() {
                let state = RowsMut::new(scratch.add(self.of_hidden(layer)), room.sample);
                weights
                    .recurrent
                    .multiply::<S>(group, rows, Initial::Zero, state);
            }
        }
    }

    /// What the projected input of step `t` receives.
    #[inline(always)]
    unsafe fn write_projected<S: Simd>(&self, sample: usize, t: usize, gates: *const T) {
        let (layout, hidden) = (&self.layout, self.layout.hidden);
        let n_gates = layout.sizes.n_gates();
        let first = self.call.problem.row(sample, t) * n_gates * hidden.units;
        // SAFETY: as in `run`.
        unsafe { hidden.copy_rows_units::<S, T>(n_gates, gates, self.input.at(first)) };
    }
}
