//! The forward kernel: one cube computes one sample for the whole sequence.

mod access;
mod addressing;
mod controller;

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::plan::{Plan, SCALARS};
use super::steps::Ends;
use super::yielded::Yielded;
use crate::ops::cube::SHARERS;

/// Every `[h_t ; r_t]`, the last state, and what the backward pass reads.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments, reason = "buffers")]
pub(super) fn forward(
    // What the first layer makes of the input, [batch_size, seq_length, d_gates].
    projected: &[f32],
    // Of each layer [d_layer, d_gates]; the biases of all but the first.
    layers: &[f32],
    biases: &[f32],
    // [d_hidden, d_raw]
    heads_weight: &[f32],
    heads_bias: &[f32],
    // The state before the first step.
    hidden_start: &[f32],
    cell_start: &[f32],
    memory_start: &[f32],
    reads_start: &[f32],
    weights_start: &[f32],
    // See `Plan::results`.
    results: &mut [f32],
    // [batch_size, seq_length, width of a row]
    tape: &mut [f32],
    // M before every sixteenth step, [batch_size, n, memory_size word_size].
    checkpoints: &mut [f32],
    seq_length: usize,
    #[comptime] plan: Plan,
) {
    let ends = Ends::new(seq_length, plan);
    let mut pass = Pass::new(
        projected,
        layers,
        biases,
        heads_weight,
        heads_bias,
        results,
        tape,
        checkpoints,
        plan,
    );
    pass.start_controller(hidden_start, cell_start, reads_start);
    pass.start_memory(memory_start, weights_start, &ends);

    for t in 0..seq_length {
        let step = Step::new(t, seq_length, &ends, plan);
        if comptime!(plan.keeps) && t % comptime!(plan.interval()) == 0 {
            pass.keep_memory(&step, seq_length);
        }
        #[unroll]
        for layer in 0..plan.sizes.n_layers {
            pass.layer(&step, layer);
        }
        pass.heads(&step);
        pass.resemblance(&step);
        pass.content(&step);
        pass.interpolate(&step);
        pass.shift();
        pass.sharpen(&step);
        pass.read(&step);
        pass.write(&step);
    }

    pass.finish(&ends);
}

/// The buffers of the kernel, and the arrays that units share.
#[derive(CubeType)]
struct Pass<'a> {
    projected: &'a [f32],
    layers: &'a [f32],
    biases: &'a [f32],
    heads_weight: &'a [f32],
    heads_bias: &'a [f32],
    tape: &'a mut [f32],
    checkpoints: &'a mut [f32],
    /// h and c of each layer.
    hidden: Shared<[f32]>,
    cell: Shared<[f32]>,
    /// What a layer reads.
    vector: Shared<[f32]>,
    /// r.
    reads: Shared<[f32]>,
    /// What the heads' map yields, and the parameters of the heads.
    raw: Shared<[f32]>,
    scalars: Shared<[f32]>,
    shifts: Shared<[f32]>,
    erases: Shared<[f32]>,
    /// w, and two arrays of its size on the way from one w to the next.
    weights: Shared<[f32]>,
    one: Shared<[f32]>,
    other: Shared<[f32]>,
    /// M(i)·M(i).
    squares: Shared<[f32]>,
    /// Shares of products, and of maxima and sums over the memory's words.
    shares: Shared<[f32]>,
    largest: Shared<[f32]>,
    total: Shared<[f32]>,
    /// The results, and M.
    results: Yielded<'a>,
    #[cube(comptime)]
    plan: Plan,
}

#[cube]
impl<'a> Pass<'a> {
    /// The buffers, and room for what units share.
    #[allow(clippy::too_many_arguments, reason = "buffers")]
    fn new(
        projected: &'a [f32],
        layers: &'a [f32],
        biases: &'a [f32],
        heads_weight: &'a [f32],
        heads_bias: &'a [f32],
        results: &'a mut [f32],
        tape: &'a mut [f32],
        checkpoints: &'a mut [f32],
        #[comptime] plan: Plan,
    ) -> Pass<'a> {
        let sizes = comptime!(plan.sizes);
        Pass::<'a> {
            projected,
            layers,
            biases,
            heads_weight,
            heads_bias,
            tape,
            checkpoints,
            hidden: Shared::<[f32]>::new_slice(comptime!(sizes.n_layers * sizes.d_hidden)),
            cell: Shared::<[f32]>::new_slice(comptime!(sizes.n_layers * sizes.d_hidden)),
            vector: Shared::<[f32]>::new_slice(comptime!(sizes.widest_layer())),
            reads: Shared::<[f32]>::new_slice(comptime!(sizes.d_reads())),
            raw: Shared::<[f32]>::new_slice(comptime!(sizes.d_raw())),
            scalars: Shared::<[f32]>::new_slice(comptime!(sizes.n_heads() * SCALARS)),
            shifts: Shared::<[f32]>::new_slice(comptime!(sizes.n_heads() * sizes.shift_width)),
            erases: Shared::<[f32]>::new_slice(comptime!(sizes.d_erase())),
            weights: Shared::<[f32]>::new_slice(comptime!(sizes.n_weights())),
            one: Shared::<[f32]>::new_slice(comptime!(sizes.n_weights())),
            other: Shared::<[f32]>::new_slice(comptime!(sizes.n_weights())),
            squares: Shared::<[f32]>::new_slice(comptime!(sizes.memory_size)),
            shares: Shared::<[f32]>::new_slice(comptime!(plan.shares())),
            largest: Shared::<[f32]>::new_slice(comptime!(sizes.n_heads() * SHARERS)),
            total: Shared::<[f32]>::new_slice(comptime!(sizes.n_heads() * SHARERS)),
            results: Yielded::new(results, plan),
            plan,
        }
    }
}

/// Where the numbers of a step lie.
#[derive(CubeType)]
struct Step {
    t: usize,
    /// The step among those of all samples.
    row: usize,
    tape_at: usize,
    memory_at: usize,
}

#[cube]
impl Step {
    /// Step `t` of the sample that this cube computes.
    fn new(t: usize, seq_length: usize, ends: &Ends, #[comptime] plan: Plan) -> Step {
        let row = CUBE_POS_X as usize * seq_length + t;
        Step {
            t,
            row,
            tape_at: row * comptime!(plan.sizes.tape_row().width),
            memory_at: ends.memory,
        }
    }
}
