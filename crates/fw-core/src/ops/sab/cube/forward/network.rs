//! A step of the recurrent network: ĥ_t, from the gates.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::{Pass, PassExpand};
use crate::ops::CellKind;
use crate::ops::cube::{GruStep, LstmStep, activate, sum_of_shares, times};
use crate::ops::sab::cube::scores::attended;
use crate::ops::sab::cube::steps::Step;

#[cube]
impl Pass<'_> {
    /// ĥ_t from x_t, h_{t-1} and c_{t-1}, and what attention sees of it.
    pub(super) fn propose(&mut self, step: &Step) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let row = comptime!(plan.tape_row());
        times(
            self.w_hidden,
            0,
            n,
            &self.hidden,
            0,
            &mut self.shares,
            comptime!(plan.d_gates()),
            plan.gates,
        );
        sync_cube();
        for o in range_stepped(UNIT_POS as usize, n, comptime!(plan.units())) {
            match comptime!(plan.kind) {
                // There is no plan of an sLSTM.
                CellKind::Lstm | CellKind::SLstm => self.lstm(step, o),
                CellKind::Gru => self.gru(step, o),
                CellKind::Elman(activation) => {
                    let sum = self.gate(step, o);
                    self.candidate[o] = activate(sum, activation);
                }
            }
            if comptime!(plan.keeps) {
                self.tape[step.tape_at + row.candidate + o] = self.candidate[o];
            }
            if comptime!(plan.recalls) {
                self.seen[o] = attended(self.candidate[o], plan.attention);
            }
        }
    }

    /// A number of ĥ and of c of an LSTM.
    fn lstm(&mut self, step: &Step, o: usize) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let row = comptime!(plan.tape_row());
        let next = LstmStep::new(
            self.gate(step, o),
            self.gate(step, n + o),
            self.gate(step, 2 * n + o),
            self.gate(step, 3 * n + o),
            self.carry[o],
        );
        self.carry[o] = next.c;
        self.candidate[o] = next.h;
        if comptime!(plan.keeps) {
            next.keep(self.tape, step.tape_at + o, n);
            self.tape[step.tape_at + row.carry + o] = next.c;
        }
    }

    /// A number of ĥ of a GRU.
    fn gru(&mut self, step: &Step, o: usize) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let d_gates = comptime!(plan.d_gates());
        let row = comptime!(plan.tape_row());
        let next = GruStep::new(
            self.gate(step, o) + self.bias[o],
            self.gate(step, n + o) + self.bias[n + o],
            self.projected[step.index * d_gates + 2 * n + o],
            sum_of_shares(&self.shares, 2 * n + o, d_gates, plan.gates) + self.bias[2 * n + o],
            self.hidden[o],
        );
        self.candidate[o] = next.h;
        if comptime!(plan.keeps) {
            next.keep(self.tape, step.tape_at + o, n);
            self.tape[step.tape_at + row.carry + o] = next.from_hidden;
        }
    }

    /// What a gate adds up: of x_t and, from shares, of h_{t-1}.
    fn gate(&self, step: &Step, g: usize) -> f32 {
        let plan = comptime!(self.plan);
        let d_gates = comptime!(plan.d_gates());
        self.projected[step.index * d_gates + g]
            + sum_of_shares(&self.shares, g, d_gates, plan.gates)
    }
}
