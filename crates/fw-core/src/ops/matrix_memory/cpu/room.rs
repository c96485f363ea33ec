//! Where what both passes need lies, and how memories fade.

use super::super::Rule;
use super::layout::{Decay, Layout};
use crate::ops::cpu::Offsets;

/// Where a chunk's rows lie in the scratch memory of a unit.
#[derive(Clone, Copy)]
pub(super) struct Room {
    /// X, readers by channels.
    pub(super) readers: usize,
    /// k, writes by channels: the first of the readers, but for a transition.
    pub(super) keys: usize,
    /// `D_{r0} X_r`; X, if nothing fades.
    pub(super) faded: usize,
    /// `D_{Ci} k_i`; k, if nothing fades.
    pub(super) ending: usize,
    /// k, channels by writes; of decays by channel in the end what is left of each key at the last step.
    pub(super) keys_transposed: usize,
    /// P, readers by writes.
    pub(super) pairs: usize,
    /// `D_{ri}` of the pairs that see each other, readers by writes; not of decays by channel.
    pub(super) between: usize,
    /// One row of it, and rows with a 1 in the place of each write.
    pub(super) present: usize,
    pub(super) identity: usize,
    /// β.
    pub(super) strengths: usize,
    /// Of every step exp(g), and the products of these up to it, and behind it.
    pub(super) decays: usize,
    pub(super) from_start: usize,
    pub(super) to_end: usize,
    /// The product of all.
    pub(super) whole: usize,
    pub(super) gates: Gates,
}

/// Where lies what comes of gates, a number for each step but for `before`.
#[derive(Clone, Copy)]
pub(super) struct Gates {
    /// m before the chunk.
    pub(super) before: usize,
    /// m.
    pub(super) scales: usize,
    /// exp(-m).
    pub(super) floors: usize,
    /// σ(-f).
    pub(super) forgotten: usize,
    /// 1 where m is the input gate, else 0.
    pub(super) is_new: usize,
}

impl Gates {
    fn new(layout: &Layout, offsets: &mut Offsets) -> Self {
        let mut row = || match layout.rule {
            Rule::Gated => offsets.take(layout.written.width),
            _ => 0,
        };
        Gates {
            before: row(),
            scales: row(),
            floors: row(),
            forgotten: row(),
            is_new: row(),
        }
    }
}

/// How a memory fades.
#[derive(Clone, Copy)]
pub(super) struct Faded {
    /// How far the decays of a step lie behind those of the one before: one, or one for each channel, and padding.
    pub(super) width: usize,
    pub(super) by_channel: bool,
}

impl Faded {
    pub(super) fn new<T>(decay: &Decay<T>, layout: &Layout) -> Option<Self> {
        match decay {
            Decay::None => None,
            Decay::Head(_) => Some(Faded {
                width: 1,
                by_channel: false,
            }),
            Decay::Channel(_) => Some(Faded {
                width: layout.key.width,
                by_channel: true,
            }),
        }
    }

    /// Numbers of so many steps, and padding.
    pub(super) fn numbers(&self, n_steps: usize, lanes: usize) -> usize {
        (n_steps * self.width).next_multiple_of(lanes)
    }
}

impl Room {
    pub(super) fn new(layout: &Layout, faded: Option<Faded>, offsets: &mut Offsets) -> Self {
        let (key, written) = (layout.key.width, layout.written.width);
        let readers = offsets.take(layout.readers * key);
        let keys = match layout.rule {
            Rule::Transition => offsets.take(written * key),
            _ => readers,
        };
        let mut of_decays = |numbers: usize, without: usize| match faded {
            None => without,
            Some(_) => offsets.take(numbers),
        };
        let of_steps = |n_steps| faded.map_or(0, |faded| faded.numbers(n_steps, layout.key.lanes));
        let [steps, step] = [layout.chunk, 1].map(of_steps);
        let faded = of_decays(layout.readers * key, readers);
        let ending = of_decays(written * key, keys);
        let [decays, from_start, to_end] = [(); 3].map(|()| of_decays(steps, 0));
        let whole = of_decays(step, 0);
        Room {
            readers,
            keys,
            faded,
            ending,
            keys_transposed: offsets.take(key * written),
            pairs: offsets.take(layout.readers * written),
            between: offsets.take(layout.readers * written),
            present: offsets.take(written),
            identity: offsets.take(written * written),
            strengths: offsets.take(written),
            decays,
            from_start,
            to_end,
            whole,
            gates: Gates::new(layout, offsets),
        }
    }
}
