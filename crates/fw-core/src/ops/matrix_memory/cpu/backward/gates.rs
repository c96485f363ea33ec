//! The gradients of exponential gates, from those of what they make.

use super::{At, Pass};
use crate::ops::cpu::Real;

impl<T: Real> Pass<'_, T> {
    /// di and df, with `g_t = log σ(f_t) + m_{t-1} - m_t`, `β_t = exp(i_t - m_t) / √K` and m the larger of `log σ(f_t) + m_{t-1}` and `i_t`; from the
    /// last step to the first, with what has come back to m.
    pub(super) unsafe fn gate_slopes(&self, at: &At<T>) {
        let (layout, room) = (&self.loader.layout, &self.loader.room);
        let step = self
            .loader
            .problem
            .row(at.first + at.chunk.first, 1, at.head);
        // SAFETY: as the caller promises.
        unsafe {
            let number = |start: usize, t: usize| *at.scratch.add(start + t);
            let mut carry = number(self.room.carry, 0);
            for t in (0..at.chunk.n_steps).rev() {
                let of_log = number(self.room.decays, t);
                let of_input = number(self.room.strength_slopes, t) * number(room.strengths, t);
                let of_floor = number(self.room.floor_slopes, t) * number(room.gates.floors, t);
                let of_scale = carry - of_log - of_input - of_floor;
                let is_new = number(room.gates.is_new, t);
                let of_kept = of_log + of_scale * (T::one() - is_new);
                let index = step + t * layout.n_heads;
                let outputs = &self.call.outputs;
                *outputs.strength.at(index) = of_input + of_scale * is_new;
                *outputs.decay.at(index) = of_kept * number(room.gates.forgotten, t);
                carry = of_kept;
            }
            *at.scratch.add(self.room.carry) = carry;
        }
    }
}
