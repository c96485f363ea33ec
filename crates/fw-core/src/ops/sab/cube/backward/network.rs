//! Back through a step of the recurrent network: from ĥ_t to h_{t-1} and c_{t-1}.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::{Pass, PassExpand};
use crate::ops::CellKind;
use crate::ops::cube::{activate_slope, gru_back, lstm_back, sum_of_shares, times};
use crate::ops::sab::cube::steps::{Sample, Step};

#[cube]
impl Pass<'_> {
    /// From the gradient of ĥ_t: those of what the gates add up, of c_{t-1}, and of h_{t-1}, but for what the gates say of that.
    pub(super) fn propose_back(&mut self, step: &Step, sample: &Sample) {
        let plan = comptime!(self.plan);
        let row = comptime!(plan.tape_row());
        for o in range_stepped(
            UNIT_POS as usize,
            comptime!(plan.d_hidden),
            comptime!(plan.units()),
        ) {
            match comptime!(plan.kind) {
                // There is no plan of an sLSTM.
                CellKind::Lstm | CellKind::SLstm => self.of_lstm(step, sample, o),
                CellKind::Gru => self.of_gru(step, sample, o),
                CellKind::Elman(activation) => {
                    let yielded = self.tape[step.tape_at + row.candidate + o];
                    self.from_hidden[o] =
                        self.of_candidate[o] * activate_slope(yielded, activation);
                    self.of_hidden[o] = 0.0f32;
                }
            }
        }
    }

    /// A number of an LSTM.
    fn of_lstm(&mut self, step: &Step, sample: &Sample, o: usize) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let row = comptime!(plan.tape_row());
        let cell_at = step.tape_at + row.carry + o;
        let before = if step.t == 0 {
            self.cell_start[sample.index * n + o]
        } else {
            self.tape[cell_at - row.width]
        };
        self.of_cell[o] = lstm_back(
            self.tape,
            step.tape_at + o,
            self.tape[cell_at],
            before,
            self.of_candidate[o],
            self.of_cell[o],
            &mut self.from_hidden,
            o,
            n,
        );
        self.of_hidden[o] = 0.0f32;
    }

    /// A number of a GRU.
    fn of_gru(&mut self, step: &Step, sample: &Sample, o: usize) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let row = comptime!(plan.tape_row());
        let slopes_at = step.slopes_at(plan);
        let before = if step.t == 0 {
            self.hidden_start[sample.index * n + o]
        } else {
            self.results[(step.index - 1) * comptime!(plan.d_output()) + o]
        };
        let of = gru_back(
            self.tape,
            step.tape_at + o,
            self.tape[step.tape_at + row.carry + o],
            before,
            self.of_candidate[o],
            n,
        );
        self.from_hidden[o] = of.update;
        self.from_hidden[n + o] = of.reset;
        self.from_hidden[2 * n + o] = of.from_hidden;
        self.d_rows[slopes_at + o] = of.update;
        self.d_rows[slopes_at + n + o] = of.reset;
        self.d_rows[slopes_at + 2 * n + o] = of.from_input;
        self.of_hidden[o] = of.hidden_before;
    }

    /// The gradient of h_{t-1}, from that of what the gates add up; nothing of the state goes further back where the gradient is cut.
    pub(super) fn hidden_back(&mut self, step: &Step, sample: &Sample) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let d_gates = comptime!(plan.d_gates());
        let units = comptime!(plan.units());
        let unit = UNIT_POS as usize;
        let from_hidden_at = step.slopes_at(plan) + comptime!(plan.slope_row().from_hidden);
        for g in range_stepped(unit, d_gates, units) {
            self.d_rows[from_hidden_at + g] = self.from_hidden[g];
        }
        let mut is_cut = false;
        if let Some(length) = comptime!(plan.truncation_length) {
            is_cut = (sample.first_step + step.t + 1).is_multiple_of(length);
        }
        times(
            self.w_hidden_transposed,
            0,
            d_gates,
            &self.from_hidden,
            0,
            &mut self.shares,
            n,
            plan.hidden,
        );
        sync_cube();
        for o in range_stepped(unit, n, units) {
            let slope = self.of_hidden[o] + sum_of_shares(&self.shares, o, n, plan.hidden);
            self.of_hidden[o] = select(is_cut, 0.0f32, slope);
            self.of_cell[o] = select(is_cut, 0.0f32, self.of_cell[o]);
        }
    }
}
