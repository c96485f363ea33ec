//! The stages of the backward kernel, in the order in which a step goes through them.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::super::plan::Plan;
use super::super::steps::Room;
use super::Step;
use super::buffers::{Given, Left};
use crate::ops::cube::{activate_slope, share_sums, sum_of_shares, sums, sync, times};
use crate::ops::fast_weights::WrittenState;

/// What the kernel leaves, and what its units share.
#[derive(CubeType)]
pub(super) struct Pass<'a> {
    left: Left<'a>,
    /// The gradient of h_t, then of each s_i.
    d: Shared<[f32]>,
    dz: Shared<[f32]>,
    /// The gradient of h_{t-1} that step t leaves to the step before it.
    carried: Shared<[f32]>,
    /// What goes back through LN, times its gain, and what LN had made before its gain.
    scaled: Shared<[f32]>,
    centred: Shared<[f32]>,
    /// The sums for the normalisation since they were last handed on.
    of_gain: Shared<[f32]>,
    of_norm_bias: Shared<[f32]>,
    /// For each inner step: the gradient of what it read, and what it read with.
    reads: Shared<[f32]>,
    queries: Shared<[f32]>,
    room: Room,
    #[cube(comptime)]
    plan: Plan,
}

#[cube]
impl<'a> Pass<'a> {
    pub(super) fn new(left: Left<'a>, #[comptime] plan: Plan) -> Pass<'a> {
        Pass::<'a> {
            left,
            d: Shared::<[f32]>::new_slice(comptime!(plan.d_hidden)),
            dz: Shared::<[f32]>::new_slice(comptime!(plan.d_hidden)),
            carried: Shared::<[f32]>::new_slice(comptime!(plan.d_hidden)),
            scaled: Shared::<[f32]>::new_slice(comptime!(plan.d_hidden)),
            centred: Shared::<[f32]>::new_slice(comptime!(plan.d_hidden)),
            of_gain: Shared::<[f32]>::new_slice(comptime!(plan.d_hidden)),
            of_norm_bias: Shared::<[f32]>::new_slice(comptime!(plan.d_hidden)),
            reads: Shared::<[f32]>::new_slice(comptime!(plan.read_numbers())),
            queries: Shared::<[f32]>::new_slice(comptime!(plan.read_numbers())),
            room: Room::new(plan),
            plan,
        }
    }

    /// After the last step no gradient has come together.
    pub(super) fn begin(&mut self, sample: usize, sums_at: usize) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let unit = UNIT_POS as usize;
        let units = comptime!(plan.workgroup.units());
        for o in range_stepped(unit, n, units) {
            self.carried[o] = 0.0f32;
            self.of_gain[o] = 0.0f32;
            self.of_norm_bias[o] = 0.0f32;
            if comptime!(plan.is_normalized) {
                self.left.d_gain[sample * n + o] = 0.0f32;
                self.left.d_norm_bias[sample * n + o] = 0.0f32;
            }
        }
        if comptime!(plan.inner_steps > 0) {
            for e in range_stepped(unit, n * n, units) {
                if comptime!(plan.matrix_is_shared) {
                    self.room.matrix[e] = 0.0f32;
                } else {
                    self.left.sums_of_gradients[sums_at + e] = 0.0f32;
                }
            }
            if comptime!(!plan.matrix_is_shared) {
                sync_storage();
            }
        }
    }

    /// The vectors written in a chunk of `length` steps, from its first among those of all samples.
    pub(super) fn gather_written(
        &mut self,
        given: &Given<'_>,
        n_steps: usize,
        first: usize,
        length: usize,
    ) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let row = comptime!(plan.written_row());
        for e in range_stepped(
            UNIT_POS as usize,
            length * n,
            comptime!(plan.workgroup.units()),
        ) {
            let (i, o) = (e / n, e % n);
            let mut from = first * n;
            if comptime!(plan.write == WrittenState::Preliminary) {
                from += n_steps * n;
            }
            self.room.written[i * row + o] = given.tape.outputs[from + e];
        }
        sync_cube();
    }

    /// The sums for the normalisation go to the buffers, and begin anew.
    pub(super) fn hand_on(&mut self, sample: usize) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        for o in range_stepped(UNIT_POS as usize, n, comptime!(plan.workgroup.units())) {
            self.add_of_norm(sample, o);
            self.of_gain[o] = 0.0f32;
            self.of_norm_bias[o] = 0.0f32;
        }
    }

    /// One number of those sums is added to what the buffers hold.
    fn add_of_norm(&mut self, sample: usize, o: usize) {
        let n = comptime!(self.plan.d_hidden);
        self.left.d_gain[sample * n + o] += self.of_gain[o];
        self.left.d_norm_bias[sample * n + o] += self.of_norm_bias[o];
    }

    /// The gradient of h_t: of the output, of the next step, and of what it was written for.
    pub(super) fn of_output(&mut self, given: &Given<'_>, step: &Step) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let workgroup = comptime!(plan.workgroup);
        if comptime!(plan.write == WrittenState::Final && plan.inner_steps > 0) {
            self.times_written(step);
        }
        for o in range_stepped(UNIT_POS as usize, n, comptime!(plan.workgroup.units())) {
            let mut value = given.slopes[step.at * n + o] + self.carried[o];
            if comptime!(plan.write == WrittenState::Final && plan.inner_steps > 0) {
                value += given.rate * sum_of_shares(&self.room.shares, o, n, workgroup);
            }
            self.d[o] = value;
            self.dz[o] = 0.0f32;
        }
        sync_cube();
    }

    /// `(G + Gᵀ) w_t`, as shares.
    fn times_written(&mut self, step: &Step) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let workgroup = comptime!(plan.workgroup);
        let from = step.in_chunk * comptime!(plan.written_row());
        let written = &self.room.written;
        let shares = &mut self.room.shares;
        if comptime!(plan.matrix_is_shared) {
            times(&self.room.matrix, 0, n, written, from, shares, n, workgroup);
        } else {
            let buffer = &*self.left.sums_of_gradients;
            times(buffer, step.sums_at, n, written, from, shares, n, workgroup);
        }
        sync_cube();
    }

    /// The gradient of `z_t + A s_i`: back through f and LN.
    pub(super) fn of_read(&mut self, given: &Given<'_>, step: &Step, i: usize) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let inner_steps = comptime!(plan.inner_steps);
        let is_normalized = comptime!(plan.is_normalized);
        let unit = UNIT_POS as usize;
        let units = comptime!(plan.workgroup.units());
        let norm = step.at * comptime!(plan.n_norms())
            + comptime!(plan.normalizes_preliminary as usize)
            + i;
        for o in range_stepped(unit, n, units) {
            let mut yielded = given.tape.outputs[step.at * n + o];
            if i + 1 < inner_steps {
                yielded = given.tape.states[(step.at * inner_steps + i + 1) * n + o];
            }
            self.through_activation(given, o, yielded, norm, is_normalized);
            self.queries[i * n + o] = given.tape.states[(step.at * inner_steps + i) * n + o];
        }
        self.share_scaled(is_normalized);
        for o in range_stepped(unit, n, units) {
            let value = self.through_norm(given, o, norm, is_normalized);
            self.dz[o] += value;
            self.reads[i * n + o] = value;
            if comptime!(plan.has_start) {
                self.left.d_read[(step.at * inner_steps + i) * n + o] = value;
            }
        }
        sync_cube();
    }

    /// One number goes back through f, and through the gain and the bias of LN.
    fn through_activation(
        &mut self,
        given: &Given<'_>,
        o: usize,
        yielded: f32,
        norm: usize,
        #[comptime] is_normalized: bool,
    ) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let value = self.d[o] * activate_slope(yielded, plan.activation);
        self.scaled[o] = value;
        if comptime!(is_normalized) {
            let normal = given.tape.normalized[norm * n + o];
            self.of_gain[o] += value * normal;
            self.of_norm_bias[o] += value;
            self.scaled[o] = value * given.gain[o];
            self.centred[o] = normal;
        }
    }

    /// Units' shares of the sums that LN needs, if there is one.
    fn share_scaled(&mut self, #[comptime] is_normalized: bool) {
        if comptime!(is_normalized) {
            sync_cube();
            share_sums(
                &self.scaled,
                &self.centred,
                &mut self.room.statistics,
                comptime!(self.plan.d_hidden),
            );
        }
        sync_cube();
    }

    /// One number before LN, or before f where there is none.
    fn through_norm(
        &self,
        given: &Given<'_>,
        o: usize,
        norm: usize,
        #[comptime] is_normalized: bool,
    ) -> f32 {
        let n = comptime!(self.plan.d_hidden);
        let mut value = self.scaled[o];
        if comptime!(is_normalized) {
            let scale = given.tape.scales[norm];
            value = before_norm(value, self.centred[o], scale, &self.room.statistics, n);
        }
        value
    }

    /// The gradient of s_i: what the memory, transposed, makes of that of what was read.
    pub(super) fn of_query(&mut self, given: &Given<'_>, step: &Step, i: usize) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let width = comptime!(plan.width());
        let workgroup = comptime!(plan.workgroup);
        let mut visible = step.in_chunk;
        if comptime!(plan.write == WrittenState::Preliminary) {
            visible += 1;
        }
        if step.reads_matrix {
            times(
                given.tape.matrices,
                step.matrix_at,
                n,
                &self.reads,
                i * n,
                &mut self.room.from_matrix,
                n,
                workgroup,
            );
        }
        self.room.attend(visible, &self.reads, i * n, given.by_age);
        sync_cube();
        for o in range_stepped(UNIT_POS as usize, n, comptime!(plan.workgroup.units())) {
            let mut value = sum_of_shares(&self.room.shares, o, width, workgroup);
            if step.reads_matrix {
                value += given.by_age[plan.chunk + visible]
                    * sum_of_shares(&self.room.from_matrix, o, n, workgroup);
            }
            self.d[o] = value;
        }
        sync_cube();
    }

    /// What the reads of a step say to the memory: `G + Gᵀ ← λ (G + Gᵀ) + Σ_i (d_i s_iᵀ + s_i d_iᵀ)`.
    pub(super) fn of_memory(&mut self, given: &Given<'_>, step: &Step) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        for e in range_stepped(UNIT_POS as usize, n * n, comptime!(plan.workgroup.units())) {
            let (one, other) = (e / n, e % n);
            let mut sum = 0.0f32;
            for i in 0..plan.inner_steps {
                sum += self.reads[i * n + one] * self.queries[i * n + other]
                    + self.queries[i * n + one] * self.reads[i * n + other];
            }
            if comptime!(plan.matrix_is_shared) {
                self.room.matrix[e] = given.decay * self.room.matrix[e] + sum;
            } else {
                let at = step.sums_at + e;
                self.left.sums_of_gradients[at] =
                    given.decay * self.left.sums_of_gradients[at] + sum;
            }
        }
        sync(comptime!(!plan.matrix_is_shared));
    }

    /// The gradient of s_0 gains that of what it was written for, and of itself as an output.
    pub(super) fn of_written(&mut self, given: &Given<'_>, step: &Step) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let workgroup = comptime!(plan.workgroup);
        if comptime!(plan.inner_steps > 0) {
            self.times_written(step);
        }
        for o in range_stepped(UNIT_POS as usize, n, comptime!(plan.workgroup.units())) {
            let mut value = self.d[o] + given.slopes[(step.n_steps + step.at) * n + o];
            if comptime!(plan.inner_steps > 0) {
                value += given.rate * sum_of_shares(&self.room.shares, o, n, workgroup);
            }
            self.d[o] = value;
        }
        sync_cube();
    }

    /// The gradient of z_t, which gains that of the preliminary state: back through f and LN.
    pub(super) fn of_preliminary(&mut self, given: &Given<'_>, step: &Step) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let inner_steps = comptime!(plan.inner_steps);
        let is_normalized = comptime!(plan.normalizes_preliminary);
        let unit = UNIT_POS as usize;
        let units = comptime!(plan.workgroup.units());
        let norm = step.at * comptime!(plan.n_norms());
        for o in range_stepped(unit, n, units) {
            let mut yielded = given.tape.outputs[step.at * n + o];
            if comptime!(plan.inner_steps > 0) {
                yielded = given.tape.states[step.at * inner_steps * n + o];
            }
            self.through_activation(given, o, yielded, norm, is_normalized);
        }
        self.share_scaled(is_normalized);
        for o in range_stepped(unit, n, units) {
            let value = self.through_norm(given, o, norm, is_normalized);
            let value = self.dz[o] + value;
            self.dz[o] = value;
            self.left.d_projected[step.at * n + o] = value;
        }
        sync_cube();
    }

    /// The gradient of h_{t-1} that step t leaves: `W_hᵀ dz_t`.
    pub(super) fn of_hidden(&mut self, given: &Given<'_>) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let workgroup = comptime!(plan.workgroup);
        times(
            given.w_hidden_transposed,
            0,
            n,
            &self.dz,
            0,
            &mut self.room.shares,
            n,
            workgroup,
        );
        sync_cube();
        for o in range_stepped(UNIT_POS as usize, n, comptime!(plan.workgroup.units())) {
            self.carried[o] = sum_of_shares(&self.room.shares, o, n, workgroup);
        }
        sync_cube();
    }

    /// The gradient of h before the sequence, and the rest of the sums for the normalisation.
    pub(super) fn end(&mut self, sample: usize) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        for o in range_stepped(UNIT_POS as usize, n, comptime!(plan.workgroup.units())) {
            self.left.d_hidden[sample * n + o] = self.carried[o];
            if comptime!(plan.is_normalized) {
                self.add_of_norm(sample, o);
            }
        }
    }
}

/// Back through LN: `(g - mean(g) - x̂ mean(g x̂)) / deviation`, from the sums over all numbers.
#[cube]
fn before_norm(
    slope: f32,
    normal: f32,
    scale: f32,
    statistics: &[f32],
    #[comptime] n: usize,
) -> f32 {
    let (plain, weighted) = sums(statistics);
    scale * (slope - (plain + normal * weighted) * comptime!(1.0 / n as f32))
}
