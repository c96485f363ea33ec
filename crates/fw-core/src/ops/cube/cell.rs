//! A step of an LSTM and of a GRU, and back through it, for one number of their state.
//!
//! On a tape, and in gradients, a step's gates lie `n` numbers apart: from `at` on those of this number of the state.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::sigmoid;

/// The gates of an LSTM, its cell and its output, after a step.
#[derive(CubeType)]
pub(crate) struct LstmStep {
    i: f32,
    f: f32,
    g: f32,
    o: f32,
    pub(crate) c: f32,
    pub(crate) h: f32,
}

#[cube]
impl LstmStep {
    /// From what the gates add up, and c before the step.
    pub(crate) fn new(i: f32, f: f32, g: f32, o: f32, cell_before: f32) -> LstmStep {
        let (i, f, g, o) = (sigmoid(i), sigmoid(f), g.tanh(), sigmoid(o));
        let c = f * cell_before + i * g;
        let h = o * c.tanh();
        LstmStep { i, f, g, o, c, h }
    }

    /// Writes the gates down.
    pub(crate) fn keep(&self, tape: &mut [f32], at: usize, #[comptime] n: usize) {
        tape[at] = self.i;
        tape[at + n] = self.f;
        tape[at + 2 * n] = self.g;
        tape[at + 3 * n] = self.o;
    }
}

/// From the gates on the tape and the gradients of h and c after the step: those of what the gates add up, and, given back, that of c before it.
#[cube]
#[allow(clippy::too_many_arguments, reason = "two slices and where they begin")]
pub(crate) fn lstm_back(
    tape: &[f32],
    at: usize,
    cell: f32,
    cell_before: f32,
    of_hidden: f32,
    of_cell: f32,
    of_sums: &mut [f32],
    sums_at: usize,
    #[comptime] n: usize,
) -> f32 {
    let (i, f) = (tape[at], tape[at + n]);
    let (g, o) = (tape[at + 2 * n], tape[at + 3 * n]);
    let squashed = cell.tanh();
    let of_cell = of_cell + of_hidden * o * (1.0f32 - squashed * squashed);
    of_sums[sums_at] = of_cell * g * i * (1.0f32 - i);
    of_sums[sums_at + n] = of_cell * cell_before * f * (1.0f32 - f);
    of_sums[sums_at + 2 * n] = of_cell * i * (1.0f32 - g * g);
    of_sums[sums_at + 3 * n] = of_hidden * squashed * o * (1.0f32 - o);
    of_cell * f
}

/// The gates of a GRU, what its candidate reads of the state, and its output, after a step.
#[derive(CubeType)]
pub(crate) struct GruStep {
    update: f32,
    reset: f32,
    new: f32,
    pub(crate) from_hidden: f32,
    pub(crate) h: f32,
}

#[cube]
impl GruStep {
    /// From what the gates add up; the candidate from its input and, apart, from the state before the step.
    pub(crate) fn new(
        update: f32,
        reset: f32,
        from_input: f32,
        from_hidden: f32,
        hidden_before: f32,
    ) -> GruStep {
        let (update, reset) = (sigmoid(update), sigmoid(reset));
        let new = (from_input + reset * from_hidden).tanh();
        let h = new + update * (hidden_before - new);
        GruStep {
            update,
            reset,
            new,
            from_hidden,
            h,
        }
    }

    /// Writes the gates down.
    pub(crate) fn keep(&self, tape: &mut [f32], at: usize, #[comptime] n: usize) {
        tape[at] = self.update;
        tape[at + n] = self.reset;
        tape[at + 2 * n] = self.new;
    }
}

/// The gradients of what the gates of a GRU add up, and of its state before the step, but for what the gates say of that.
#[derive(CubeType)]
pub(crate) struct GruBack {
    pub(crate) update: f32,
    pub(crate) reset: f32,
    pub(crate) from_input: f32,
    pub(crate) from_hidden: f32,
    pub(crate) hidden_before: f32,
}

/// From the gates on the tape and the gradient of h after the step.
#[cube]
pub(crate) fn gru_back(
    tape: &[f32],
    at: usize,
    from_hidden: f32,
    hidden_before: f32,
    of_hidden: f32,
    #[comptime] n: usize,
) -> GruBack {
    let (update, reset, new) = (tape[at], tape[at + n], tape[at + 2 * n]);
    let of_new = (of_hidden - of_hidden * update) * (1.0f32 - new * new);
    GruBack {
        update: of_hidden * (hidden_before - new) * update * (1.0f32 - update),
        reset: of_new * from_hidden * reset * (1.0f32 - reset),
        from_input: of_new,
        from_hidden: of_new * reset,
        hidden_before: of_hidden * update,
    }
}
