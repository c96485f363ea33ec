//! Back through the map to the heads' parameters, and the controller; what the gradients begin and end with.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::super::steps::Ends;
use super::{Pass, PassExpand, Starts, Step};
use crate::ops::cube::{activate_slope, lstm_back, sum_of_shares, times};

#[cube]
impl Pass<'_> {
    /// The gradients of the state after the last step.
    pub(super) fn start(&mut self, ends: &Ends, starts: &Starts) {
        let sizes = comptime!(self.plan.sizes);
        let units = comptime!(self.plan.units());
        let unit = UNIT_POS as usize;
        for k in range_stepped(unit, comptime!(sizes.n_layers * sizes.d_hidden), units) {
            if comptime!(sizes.is_lstm()) {
                self.d_hiddens[k] = self.slopes[ends.hidden + k];
                self.d_cells[k] = self.slopes[ends.cell + k];
            } else {
                self.d_hiddens[k] = 0.0f32;
            }
        }
        for k in range_stepped(unit, comptime!(sizes.d_reads()), units) {
            self.carried_reads[k] = 0.0f32;
        }
        for e in range_stepped(unit, comptime!(sizes.n_weights()), units) {
            self.start.numbers[starts.weights + e] = self.slopes[ends.weights + e];
        }
        for e in range_stepped(unit, comptime!(sizes.memory_numbers()), units) {
            let place = self.start.place(e, starts.memory);
            self.start.set_memory(place, self.slopes[ends.memory + e]);
        }
        self.start.sync_memory();
    }

    /// The gradient of h of the top layer.
    pub(super) fn through_heads_map(&mut self, step: &Step) {
        let plan = comptime!(self.plan);
        let sizes = comptime!(plan.sizes);
        let d_hidden = comptime!(sizes.d_hidden);
        let d_raw = comptime!(sizes.d_raw());
        let units = comptime!(plan.units());
        let unit = UNIT_POS as usize;
        let top = comptime!((sizes.n_layers - 1) * sizes.d_hidden);
        let rows_at = step.row * comptime!(sizes.d_row());
        for v in range_stepped(unit, d_raw, units) {
            self.d_rows[rows_at + comptime!(sizes.n_layers * sizes.d_gates()) + v] = self.of_raw[v];
        }
        times(
            self.heads_transposed,
            0,
            d_raw,
            &self.of_raw,
            0,
            &mut self.shares,
            d_hidden,
            plan.hidden,
        );
        sync_cube();
        for o in range_stepped(unit, d_hidden, units) {
            self.d_hiddens[top + o] += self.slopes[step.row * comptime!(sizes.d_output()) + o]
                + sum_of_shares(&self.shares, o, d_hidden, plan.hidden);
        }
        sync_cube();
    }

    /// The gradient of what a layer's product yields, and of what the layer reads.
    pub(super) fn layer(&mut self, step: &Step, #[comptime] layer: usize) {
        let plan = comptime!(self.plan);
        let sizes = comptime!(plan.sizes);
        let d_gates = comptime!(sizes.d_gates());
        let units = comptime!(plan.units());
        let unit = UNIT_POS as usize;
        for o in range_stepped(unit, sizes.d_hidden, units) {
            self.cell(step, o, layer);
        }
        sync_cube();
        let row_at = step.row * comptime!(sizes.d_row()) + comptime!(layer * sizes.d_gates());
        for v in range_stepped(unit, d_gates, units) {
            self.d_rows[row_at + v] = self.gates[v];
        }
        times(
            self.layers_transposed,
            comptime!(sizes.layer_at(layer)),
            d_gates,
            &self.gates,
            0,
            &mut self.shares,
            comptime!(sizes.d_layer(layer)),
            plan.below,
        );
        sync_cube();
        self.scatter(layer);
        sync_cube();
    }

    /// The gradient of what a number of h is made of: the sums of an LSTM's gates, or a feed-forward layer's product.
    fn cell(&mut self, step: &Step, o: usize, #[comptime] layer: usize) {
        let sizes = comptime!(self.plan.sizes);
        let row = comptime!(sizes.tape_row());
        let d_hidden = comptime!(sizes.d_hidden);
        let own = comptime!(layer * sizes.d_hidden);
        let slope = self.d_hiddens[own + o];
        if comptime!(sizes.is_lstm()) {
            let cell_now = step.tape_at + row.cells + own + o;
            let before = if step.t == 0 {
                self.cell_start[CUBE_POS_X as usize * comptime!(sizes.d_states()) + own + o]
            } else {
                self.tape[cell_now - row.width]
            };
            let of_cell = lstm_back(
                self.tape,
                step.tape_at + row.gates + comptime!(own * 4) + o,
                self.tape[cell_now],
                before,
                slope,
                self.d_cells[own + o],
                &mut self.gates,
                o,
                d_hidden,
            );
            self.d_cells[own + o] = of_cell;
        } else {
            let yielded = self.tape[step.tape_at + row.hidden + own + o];
            self.gates[o] = slope * activate_slope(yielded, sizes.nonlinearity());
            self.d_hiddens[own + o] = 0.0f32;
        }
    }

    /// Adds what a layer's product says of h before the step, and of r or of h of the layer below, to their gradients.
    fn scatter(&mut self, #[comptime] layer: usize) {
        let plan = comptime!(self.plan);
        let sizes = comptime!(plan.sizes);
        let below = comptime!(sizes.d_below(layer));
        let width = comptime!(sizes.d_layer(layer));
        let own = comptime!(layer * sizes.d_hidden);
        for v in range_stepped(UNIT_POS as usize, width, comptime!(plan.units())) {
            let value = sum_of_shares(&self.shares, v, width, plan.below);
            if v >= below {
                self.d_hiddens[own + v - below] = value;
            } else if comptime!(layer == 0) {
                self.carried_reads[v] = value;
            } else {
                self.d_hiddens[comptime!(layer.saturating_sub(1) * sizes.d_hidden) + v] += value;
            }
        }
    }

    /// The gradients of the state before the first step.
    pub(super) fn finish(&mut self, starts: &Starts) {
        let sizes = comptime!(self.plan.sizes);
        let units = comptime!(self.plan.units());
        let unit = UNIT_POS as usize;
        self.start.finish_memory(starts.memory);
        for k in range_stepped(unit, comptime!(sizes.d_reads()), units) {
            self.start.numbers[starts.reads + k] = self.carried_reads[k];
        }
        for k in range_stepped(unit, comptime!(sizes.d_states()), units) {
            self.start.numbers[starts.hidden + k] = self.d_hiddens[k];
            self.start.numbers[starts.cell + k] = self.d_cells[k];
        }
    }
}
