//! The controller, and the map to the heads' parameters.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::super::steps::parameters;
use super::{Pass, PassExpand, Step};
use crate::ops::cube::{LstmStep, activate, sum_of_shares, times};

#[cube]
impl Pass<'_> {
    /// h, c and r before the first step.
    pub(super) fn start_controller(
        &mut self,
        hidden_start: &[f32],
        cell_start: &[f32],
        reads_start: &[f32],
    ) {
        let d_states = comptime!(self.plan.sizes.d_states());
        let d_reads = comptime!(self.plan.sizes.d_reads());
        let units = comptime!(self.plan.units());
        let unit = UNIT_POS as usize;
        let sample = CUBE_POS_X as usize;
        for k in range_stepped(unit, d_states, units) {
            self.hidden[k] = hidden_start[sample * d_states + k];
            self.cell[k] = cell_start[sample * d_states + k];
        }
        for k in range_stepped(unit, d_reads, units) {
            self.reads[k] = reads_start[sample * d_reads + k];
        }
    }

    /// h of a layer.
    pub(super) fn layer(&mut self, step: &Step, #[comptime] layer: usize) {
        let plan = comptime!(self.plan);
        let sizes = comptime!(plan.sizes);
        self.gather(layer);
        sync_cube();
        times(
            self.layers,
            comptime!(sizes.layer_at(layer)),
            comptime!(sizes.d_layer(layer)),
            &self.vector,
            0,
            &mut self.shares,
            comptime!(sizes.d_gates()),
            plan.gates,
        );
        sync_cube();
        let own = comptime!(layer * sizes.d_hidden);
        for o in range_stepped(UNIT_POS as usize, sizes.d_hidden, comptime!(plan.units())) {
            if comptime!(sizes.is_lstm()) {
                self.lstm(step, o, layer);
            } else {
                let sum = self.gate(step, o, layer);
                self.hidden[own + o] = activate(sum, sizes.nonlinearity());
            }
            if comptime!(plan.keeps) {
                let at = step.tape_at + comptime!(sizes.tape_row().hidden) + own + o;
                self.tape[at] = self.hidden[own + o];
            }
        }
        sync_cube();
    }

    /// What a layer reads: `[r or h of the layer below ; h before the step]`.
    fn gather(&mut self, #[comptime] layer: usize) {
        let sizes = comptime!(self.plan.sizes);
        let below = comptime!(sizes.d_below(layer));
        let width = comptime!(sizes.d_layer(layer));
        let own = comptime!(layer * sizes.d_hidden);
        for k in range_stepped(UNIT_POS as usize, width, comptime!(self.plan.units())) {
            if k >= below {
                self.vector[k] = self.hidden[own + k - below];
            } else if comptime!(layer == 0) {
                self.vector[k] = self.reads[k];
            } else {
                self.vector[k] =
                    self.hidden[comptime!(layer.saturating_sub(1) * sizes.d_hidden) + k];
            }
        }
    }

    /// What a number of a layer's gates adds up to.
    fn gate(&self, step: &Step, at: usize, #[comptime] layer: usize) -> f32 {
        let plan = comptime!(self.plan);
        let d_gates = comptime!(plan.sizes.d_gates());
        let sum = sum_of_shares(&self.shares, at, d_gates, plan.gates);
        if comptime!(layer == 0) {
            sum + self.projected[step.row * d_gates + at]
        } else {
            sum + self.biases[comptime!(layer.saturating_sub(1) * plan.sizes.d_gates()) + at]
        }
    }

    /// h and c of an LSTM's unit.
    fn lstm(&mut self, step: &Step, o: usize, #[comptime] layer: usize) {
        let row = comptime!(self.plan.sizes.tape_row());
        let d_hidden = comptime!(self.plan.sizes.d_hidden);
        let own = comptime!(layer * d_hidden);
        let i = self.gate(step, o, layer);
        let f = self.gate(step, d_hidden + o, layer);
        let g = self.gate(step, comptime!(2 * d_hidden) + o, layer);
        let out = self.gate(step, comptime!(3 * d_hidden) + o, layer);
        let lstm = LstmStep::new(i, f, g, out, self.cell[own + o]);
        self.cell[own + o] = lstm.c;
        self.hidden[own + o] = lstm.h;
        if comptime!(self.plan.keeps) {
            let at = step.tape_at + row.gates + comptime!(own * 4) + o;
            lstm.keep(self.tape, at, d_hidden);
            self.tape[step.tape_at + row.cells + own + o] = lstm.c;
        }
    }

    /// What the heads' map yields, and the parameters of the heads.
    pub(super) fn heads(&mut self, step: &Step) {
        let plan = comptime!(self.plan);
        let sizes = comptime!(plan.sizes);
        let d_raw = comptime!(sizes.d_raw());
        times(
            self.heads_weight,
            0,
            sizes.d_hidden,
            &self.hidden,
            comptime!((sizes.n_layers - 1) * sizes.d_hidden),
            &mut self.shares,
            d_raw,
            plan.heads,
        );
        sync_cube();
        for v in range_stepped(UNIT_POS as usize, d_raw, comptime!(plan.units())) {
            let value = sum_of_shares(&self.shares, v, d_raw, plan.heads) + self.heads_bias[v];
            self.raw[v] = value;
            if comptime!(plan.keeps) {
                self.tape[step.tape_at + comptime!(sizes.tape_row().raw) + v] = value;
            }
        }
        sync_cube();
        parameters(
            &self.raw,
            &mut self.scalars,
            &mut self.shifts,
            &mut self.erases,
            plan,
        );
    }
}
