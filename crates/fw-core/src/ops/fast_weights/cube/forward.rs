//! The forward kernel: one cube computes one sample for the whole sequence.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::plan::Plan;
use super::steps::{Room, has_matrix, place_of_matrix};
use crate::ops::cube::{activate, moments, share_moments, sum_of_shares, times};
use crate::ops::fast_weights::WrittenState;

/// Every h_t, and what the backward pass reads.
///
/// The sequence goes in chunks: within one, the memory is read from the vectors written in it (by attention) and from the matrix
/// at its start, into which they go at its end.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments, reason = "buffers")]
pub(super) fn forward(
    // [batch_size, seq_length, d_hidden]
    projected: &[f32],
    // [batch_size, d_hidden]
    hidden: &[f32],
    // A_0 transposed, [batch_size, d_hidden, d_hidden].
    start: &[f32],
    w_hidden: &[f32],
    gain: &[f32],
    norm_bias: &[f32],
    // η λ^a for a < chunk, then λ^a for a <= chunk.
    by_age: &[f32],
    // h, then (if written with it) s_0: [n, batch_size, seq_length, d_hidden].
    outputs: &mut [f32],
    // s_0 .. s_{S-1}, [batch_size, seq_length, S, d_hidden].
    states: &mut [f32],
    // What LN scales by its gain, [batch_size, seq_length, n_norms, d_hidden], and 1 / deviation.
    normalized: &mut [f32],
    scales: &mut [f32],
    // A transposed at the start of each chunk, [batch_size, n_chunks, d_hidden, d_hidden]; one for all, unless kept.
    matrices: &mut [f32],
    seq_length: usize,
    epsilon: f32,
    #[comptime] plan: Plan,
) {
    let sample = CUBE_POS_X as usize;
    let batch_size = CUBE_COUNT_X as usize;
    let given = Given::new(projected, w_hidden, gain, norm_bias, by_age, epsilon);
    let kept = Kept::new(outputs, states, normalized, scales, matrices);
    let mut pass = Pass::new(kept, plan);

    pass.begin(hidden, start, sample, seq_length);
    let mut chunk = 0usize;
    let mut n_written = 0usize;
    for t in 0..seq_length {
        if n_written == plan.chunk {
            pass.write_matrix(&given, sample, chunk, seq_length);
            chunk += 1;
            n_written = 0;
        }
        let step = Step {
            sample,
            batch_size,
            seq_length,
            chunk,
            at: sample * seq_length + t,
        };
        pass.preliminary(&given, &step);
        if comptime!(plan.write == WrittenState::Preliminary) {
            pass.write_preliminary(&step, n_written);
            n_written += 1;
        }
        for i in 0..plan.inner_steps {
            pass.inner_step(&given, &step, i, n_written);
        }
        pass.put_out(&step, n_written);
        if comptime!(plan.write == WrittenState::Final) {
            n_written += 1;
        }
    }
}

/// What the steps read.
#[derive(CubeType)]
struct Given<'a> {
    projected: &'a [f32],
    w_hidden: &'a [f32],
    gain: &'a [f32],
    norm_bias: &'a [f32],
    by_age: &'a [f32],
    epsilon: f32,
}

#[cube]
impl<'a> Given<'a> {
    fn new(
        projected: &'a [f32],
        w_hidden: &'a [f32],
        gain: &'a [f32],
        norm_bias: &'a [f32],
        by_age: &'a [f32],
        epsilon: f32,
    ) -> Given<'a> {
        Given::<'a> {
            projected,
            w_hidden,
            gain,
            norm_bias,
            by_age,
            epsilon,
        }
    }
}

/// What the kernel leaves.
#[derive(CubeType)]
struct Kept<'a> {
    outputs: &'a mut [f32],
    states: &'a mut [f32],
    normalized: &'a mut [f32],
    scales: &'a mut [f32],
    matrices: &'a mut [f32],
}

#[cube]
impl<'a> Kept<'a> {
    fn new(
        outputs: &'a mut [f32],
        states: &'a mut [f32],
        normalized: &'a mut [f32],
        scales: &'a mut [f32],
        matrices: &'a mut [f32],
    ) -> Kept<'a> {
        Kept::<'a> {
            outputs,
            states,
            normalized,
            scales,
            matrices,
        }
    }
}

/// Where a step is.
#[derive(CubeType)]
struct Step {
    sample: usize,
    batch_size: usize,
    seq_length: usize,
    chunk: usize,
    /// Among the steps of all samples.
    at: usize,
}

/// What the kernel leaves, and what its units share.
#[derive(CubeType)]
struct Pass<'a> {
    kept: Kept<'a>,
    h: Shared<[f32]>,
    s: Shared<[f32]>,
    z: Shared<[f32]>,
    /// `z_t + A s_{i-1}`, before LN.
    p: Shared<[f32]>,
    room: Room,
    #[cube(comptime)]
    plan: Plan,
}

#[cube]
impl<'a> Pass<'a> {
    fn new(kept: Kept<'a>, #[comptime] plan: Plan) -> Pass<'a> {
        Pass::<'a> {
            kept,
            h: Shared::<[f32]>::new_slice(comptime!(plan.d_hidden)),
            s: Shared::<[f32]>::new_slice(comptime!(plan.d_hidden)),
            z: Shared::<[f32]>::new_slice(comptime!(plan.d_hidden)),
            p: Shared::<[f32]>::new_slice(comptime!(plan.d_hidden)),
            room: Room::new(plan),
            plan,
        }
    }

    /// h before the sequence, and A_0 if there is one.
    fn begin(&mut self, hidden: &[f32], start: &[f32], sample: usize, seq_length: usize) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let unit = UNIT_POS as usize;
        let units = comptime!(plan.workgroup.units());
        for o in range_stepped(unit, n, units) {
            self.h[o] = hidden[sample * n + o];
        }
        if comptime!(plan.has_start) {
            let place = place_of_matrix(sample, 0usize, seq_length, plan);
            for e in range_stepped(unit, n * n, units) {
                let value = start[sample * n * n + e];
                self.set_matrix(place, e, value);
            }
            sync_storage();
        }
        sync_cube();
    }

    /// What was written in a chunk goes into the matrix: `A ← λ^n A + η Σ_τ λ^age w_τ w_τᵀ`.
    fn write_matrix(&mut self, given: &Given<'_>, sample: usize, chunk: usize, seq_length: usize) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let row = comptime!(plan.written_row());
        let from = place_of_matrix(sample, chunk, seq_length, plan);
        let to = place_of_matrix(sample, chunk + 1, seq_length, plan);
        for e in range_stepped(UNIT_POS as usize, n * n, comptime!(plan.workgroup.units())) {
            let (one, other) = (e / n, e % n);
            let mut sum = 0.0f32;
            if has_matrix(chunk, plan) {
                sum = self.kept.matrices[from + e] * given.by_age[2 * plan.chunk];
            }
            for i in 0..plan.chunk {
                sum += given.by_age[plan.chunk - 1 - i]
                    * self.room.written[i * row + one]
                    * self.room.written[i * row + other];
            }
            self.set_matrix(to, e, sum);
        }
        sync_storage();
    }

    /// One number of the matrix at the start of a chunk, for all who read it.
    fn set_matrix(&mut self, place: usize, e: usize, value: f32) {
        self.kept.matrices[place + e] = value;
        if comptime!(self.plan.matrix_is_shared) {
            self.room.matrix[e] = value;
        }
    }

    /// z_t, from the input and h_{t-1}, and the preliminary state `s_0 = f(LN(z_t))`, or without LN.
    fn preliminary(&mut self, given: &Given<'_>, step: &Step) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let workgroup = comptime!(plan.workgroup);
        times(
            given.w_hidden,
            0,
            n,
            &self.h,
            0,
            &mut self.room.shares,
            n,
            workgroup,
        );
        sync_cube();
        for o in range_stepped(UNIT_POS as usize, n, comptime!(plan.workgroup.units())) {
            let value = given.projected[step.at * n + o]
                + sum_of_shares(&self.room.shares, o, n, workgroup);
            self.z[o] = value;
            if comptime!(!plan.normalizes_preliminary) {
                self.s[o] = activate(value, plan.activation);
            }
        }
        sync_cube();
        if comptime!(plan.normalizes_preliminary) {
            let place = step.at * comptime!(plan.n_norms());
            normalize(
                &self.z,
                &mut self.room.statistics,
                given,
                &mut self.s,
                &mut self.kept,
                place,
                plan,
            );
        }
    }

    /// s_0 becomes the next written vector.
    fn write_preliminary(&mut self, step: &Step, n_written: usize) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let row = comptime!(plan.written_row());
        for o in range_stepped(UNIT_POS as usize, n, comptime!(plan.workgroup.units())) {
            self.room.written[n_written * row + o] = self.s[o];
            self.kept.outputs[(step.batch_size * step.seq_length + step.at) * n + o] = self.s[o];
        }
        sync_cube();
    }

    /// `s_{i+1} = f(LN(z_t + A s_i))`, or without LN.
    fn inner_step(&mut self, given: &Given<'_>, step: &Step, i: usize, n_written: usize) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let width = comptime!(plan.width());
        let workgroup = comptime!(plan.workgroup);
        let unit = UNIT_POS as usize;
        let units = comptime!(plan.workgroup.units());
        if comptime!(plan.keeps) {
            for o in range_stepped(unit, n, units) {
                self.kept.states[(step.at * plan.inner_steps + i) * n + o] = self.s[o];
            }
        }
        let reads_matrix = has_matrix(step.chunk, plan);
        if reads_matrix {
            self.read_matrix(step);
        }
        self.room.attend(n_written, &self.s, 0, given.by_age);
        sync_cube();
        for o in range_stepped(unit, n, units) {
            let mut value = self.z[o] + sum_of_shares(&self.room.shares, o, width, workgroup);
            if reads_matrix {
                value += given.by_age[plan.chunk + n_written]
                    * sum_of_shares(&self.room.from_matrix, o, n, workgroup);
            }
            if comptime!(plan.is_normalized) {
                self.p[o] = value;
            } else {
                self.s[o] = activate(value, plan.activation);
            }
        }
        sync_cube();
        if comptime!(plan.is_normalized) {
            let place = step.at * comptime!(plan.n_norms())
                + comptime!(plan.normalizes_preliminary as usize)
                + i;
            normalize(
                &self.p,
                &mut self.room.statistics,
                given,
                &mut self.s,
                &mut self.kept,
                place,
                plan,
            );
        }
    }

    /// Units' shares of the product of the matrix at the start of the chunk with s_i.
    fn read_matrix(&mut self, step: &Step) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let workgroup = comptime!(plan.workgroup);
        let shares = &mut self.room.from_matrix;
        if comptime!(plan.matrix_is_shared) {
            times(&self.room.matrix, 0, n, &self.s, 0, shares, n, workgroup);
        } else {
            let place = place_of_matrix(step.sample, step.chunk, step.seq_length, plan);
            times(
                &*self.kept.matrices,
                place,
                n,
                &self.s,
                0,
                shares,
                n,
                workgroup,
            );
        }
    }

    /// `h_t = s_S`, which becomes the next written vector unless s_0 did.
    fn put_out(&mut self, step: &Step, n_written: usize) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let row = comptime!(plan.written_row());
        for o in range_stepped(UNIT_POS as usize, n, comptime!(plan.workgroup.units())) {
            self.h[o] = self.s[o];
            self.kept.outputs[step.at * n + o] = self.s[o];
            if comptime!(plan.write == WrittenState::Final) {
                self.room.written[n_written * row + o] = self.s[o];
            }
        }
        sync_cube();
    }
}

/// LN and f: from the numbers before them to s, and what of it the backward pass reads.
#[cube]
fn normalize(
    numbers: &[f32],
    statistics: &mut [f32],
    given: &Given<'_>,
    s: &mut [f32],
    kept: &mut Kept<'_>,
    place: usize,
    #[comptime] plan: Plan,
) {
    let n = comptime!(plan.d_hidden);
    let unit = UNIT_POS as usize;
    share_moments(numbers, statistics, n);
    sync_cube();
    let (mean, variance) = moments(&*statistics, n);
    let scale = (variance + given.epsilon).inverse_sqrt();
    for o in range_stepped(unit, n, comptime!(plan.workgroup.units())) {
        let value = (numbers[o] - mean) * scale;
        s[o] = activate(value * given.gain[o] + given.norm_bias[o], plan.activation);
        if comptime!(plan.keeps) {
            kept.normalized[place * n + o] = value;
        }
    }
    if comptime!(plan.keeps) && unit == 0 {
        kept.scales[place] = scale;
    }
    sync_cube();
}
