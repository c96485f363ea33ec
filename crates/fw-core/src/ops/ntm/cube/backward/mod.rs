//! The backward kernel: one cube goes back through one sample.

mod access;
mod addressing;
mod controller;

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::plan::{Plan, SCALARS};
use super::steps::Ends;
use super::yielded::Yielded;
use crate::ops::cube::SHARERS;

/// The gradients of what each product yields, and of what precedes the sequence.
///
/// Memories are written again from a checkpoint, sixteen at a time, into `memories`.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments, reason = "buffers")]
pub(super) fn backward(
    // Of the results.
    slopes: &[f32],
    tape: &[f32],
    checkpoints: &[f32],
    weights_start: &[f32],
    cell_start: &[f32],
    // Of each layer [d_gates, d_layer], and [d_raw, d_hidden].
    layers_transposed: &[f32],
    heads_transposed: &[f32],
    // See `Sizes::d_row`: [batch_size, seq_length, d_row].
    d_rows: &mut [f32],
    // See `Sizes::d_start`: [batch_size, d_start].
    d_start: &mut [f32],
    // [batch_size, interval, memory_size word_size]
    memories: &mut [f32],
    seq_length: usize,
    #[comptime] plan: Plan,
) {
    let interval = comptime!(plan.interval());
    let starts = Starts::new(plan);
    let mut pass = Pass::new(
        slopes,
        tape,
        checkpoints,
        weights_start,
        cell_start,
        layers_transposed,
        heads_transposed,
        d_rows,
        d_start,
        memories,
        plan,
    );
    pass.start(&Ends::new(seq_length, plan), &starts);

    let n_checkpoints = seq_length.div_ceil(interval);
    for back in 0..n_checkpoints {
        let checkpoint = n_checkpoints - back - 1;
        let first = checkpoint * interval;
        let length = min(interval, seq_length - first);
        let row = CUBE_POS_X as usize * seq_length + first;
        pass.write_again(
            CUBE_POS_X as usize * n_checkpoints + checkpoint,
            row,
            length,
        );

        for k_back in 0..length {
            let k = length - k_back - 1;
            let step = Step::new(first + k, k, seq_length, &starts, plan);
            pass.parameters(&step);
            pass.weights(&step);
            pass.words(&step);
            pass.share_written(&step);
            pass.written();
            pass.memory(&step);
            pass.through_sharpening(&step);
            pass.through_shift(&step);
            pass.through_interpolation(&step);
            pass.through_softmax(&step);
            pass.through_resemblance(&step);
            pass.keys();
            pass.heads();
            pass.through_heads_map(&step);
            #[unroll]
            for from_top in 0..plan.sizes.n_layers {
                pass.layer(&step, comptime!(plan.sizes.n_layers - 1 - from_top));
            }
        }
    }

    pass.finish(&starts);
}

/// The buffers of the kernel, and the arrays that units share.
#[derive(CubeType)]
struct Pass<'a> {
    slopes: &'a [f32],
    tape: &'a [f32],
    checkpoints: &'a [f32],
    weights_start: &'a [f32],
    cell_start: &'a [f32],
    layers_transposed: &'a [f32],
    heads_transposed: &'a [f32],
    d_rows: &'a mut [f32],
    memories: &'a mut [f32],
    /// The gradients of h and c of each layer.
    d_hiddens: Shared<[f32]>,
    d_cells: Shared<[f32]>,
    /// Of what a layer's product yields.
    gates: Shared<[f32]>,
    /// What the heads' map yielded, and its gradient.
    raw: Shared<[f32]>,
    of_raw: Shared<[f32]>,
    /// The parameters of the heads.
    scalars: Shared<[f32]>,
    shifts: Shared<[f32]>,
    erases: Shared<[f32]>,
    /// The gradient of r, and what the next step says of it.
    reads: Shared<[f32]>,
    carried_reads: Shared<[f32]>,
    /// The gradient of w; wᵍ; the gradients of w̃ and of wᵍ.
    of_weights: Shared<[f32]>,
    gated: Shared<[f32]>,
    of_shifted: Shared<[f32]>,
    of_gated: Shared<[f32]>,
    /// M(i)·M(i), or the smallest that counts.
    squares: Shared<[f32]>,
    /// Shares of products, and of sums over the memory's words.
    shares: Shared<[f32]>,
    of_sharpened: Shared<[f32]>,
    of_sharpening: Shared<[f32]>,
    of_shifts: Shared<[f32]>,
    of_gate: Shared<[f32]>,
    of_content: Shared<[f32]>,
    of_strength: Shared<[f32]>,
    /// The gradient of what precedes the sequence, and of M.
    start: Yielded<'a>,
    #[cube(comptime)]
    plan: Plan,
}

#[cube]
impl<'a> Pass<'a> {
    /// The buffers, and room for what units share.
    #[allow(clippy::too_many_arguments, reason = "buffers")]
    fn new(
        slopes: &'a [f32],
        tape: &'a [f32],
        checkpoints: &'a [f32],
        weights_start: &'a [f32],
        cell_start: &'a [f32],
        layers_transposed: &'a [f32],
        heads_transposed: &'a [f32],
        d_rows: &'a mut [f32],
        d_start: &'a mut [f32],
        memories: &'a mut [f32],
        #[comptime] plan: Plan,
    ) -> Pass<'a> {
        let sizes = comptime!(plan.sizes);
        let d_hiddens = comptime!(sizes.n_layers * sizes.d_hidden);
        let n_weights = comptime!(sizes.n_weights());
        let n_shifts = comptime!(sizes.n_heads() * sizes.shift_width);
        let statistics = comptime!(sizes.n_heads() * SHARERS);
        Pass::<'a> {
            slopes,
            tape,
            checkpoints,
            weights_start,
            cell_start,
            layers_transposed,
            heads_transposed,
            d_rows,
            memories,
            d_hiddens: Shared::<[f32]>::new_slice(d_hiddens),
            d_cells: Shared::<[f32]>::new_slice(d_hiddens),
            gates: Shared::<[f32]>::new_slice(comptime!(sizes.d_gates())),
            raw: Shared::<[f32]>::new_slice(comptime!(sizes.d_raw())),
            of_raw: Shared::<[f32]>::new_slice(comptime!(sizes.d_raw())),
            scalars: Shared::<[f32]>::new_slice(comptime!(sizes.n_heads() * SCALARS)),
            shifts: Shared::<[f32]>::new_slice(n_shifts),
            erases: Shared::<[f32]>::new_slice(comptime!(sizes.d_erase())),
            reads: Shared::<[f32]>::new_slice(comptime!(sizes.d_reads())),
            carried_reads: Shared::<[f32]>::new_slice(comptime!(sizes.d_reads())),
            of_weights: Shared::<[f32]>::new_slice(n_weights),
            gated: Shared::<[f32]>::new_slice(n_weights),
            of_shifted: Shared::<[f32]>::new_slice(n_weights),
            of_gated: Shared::<[f32]>::new_slice(n_weights),
            squares: Shared::<[f32]>::new_slice(comptime!(sizes.memory_size)),
            shares: Shared::<[f32]>::new_slice(comptime!(plan.shares())),
            of_sharpened: Shared::<[f32]>::new_slice(statistics),
            of_sharpening: Shared::<[f32]>::new_slice(statistics),
            of_shifts: Shared::<[f32]>::new_slice(comptime!(n_shifts * SHARERS)),
            of_gate: Shared::<[f32]>::new_slice(statistics),
            of_content: Shared::<[f32]>::new_slice(statistics),
            of_strength: Shared::<[f32]>::new_slice(statistics),
            start: Yielded::new(d_start, plan),
            plan,
        }
    }
}

/// Where the gradient of what precedes the sequence lies for a sample. That of the weightings lies there all the time: each unit reads only
/// what it wrote.
#[derive(CubeType)]
struct Starts {
    memory: usize,
    weights: usize,
    reads: usize,
    hidden: usize,
    cell: usize,
}

#[cube]
impl Starts {
    /// The places of the sample that this cube computes.
    fn new(#[comptime] plan: Plan) -> Starts {
        let sizes = comptime!(plan.sizes);
        let memory = CUBE_POS_X as usize * comptime!(sizes.d_start());
        let weights = memory + comptime!(sizes.memory_numbers());
        let reads = weights + comptime!(sizes.n_weights());
        let hidden = reads + comptime!(sizes.d_reads());
        let cell = hidden + comptime!(sizes.d_states());
        Starts {
            memory,
            weights,
            reads,
            hidden,
            cell,
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
    /// w on the tape.
    now: usize,
    /// M before the step, among the memories that are written again.
    memory: usize,
    /// The gradients of M and w, in that of what precedes the sequence.
    memory_at: usize,
    weights_at: usize,
}

#[cube]
impl Step {
    /// Step `t` of the sample that this cube computes, the `k`th after a checkpoint.
    fn new(t: usize, k: usize, seq_length: usize, starts: &Starts, #[comptime] plan: Plan) -> Step {
        let sizes = comptime!(plan.sizes);
        let sample = CUBE_POS_X as usize;
        let row = sample * seq_length + t;
        let tape_at = row * comptime!(sizes.tape_row().width);
        Step {
            t,
            row,
            tape_at,
            now: tape_at + comptime!(sizes.tape_row().weights),
            memory: (sample * comptime!(plan.interval()) + k) * comptime!(sizes.memory_numbers()),
            memory_at: starts.memory,
            weights_at: starts.weights,
        }
    }
}
