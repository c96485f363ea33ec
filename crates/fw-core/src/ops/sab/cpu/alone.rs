//! What one step alone recalls, without a tape: memories and keys are read, and the new ones written, where they lie.

use alloc::vec::Vec;
use core::ops::Range;

use super::forward::tanh_row;
use super::layout::{Layout, Problem, Shared, state_share};
use super::recall;
use crate::ops::cpu::{
    Arch, Buffer, ForwardPass, Initial, Offsets, Packed, Parts, Real, RowsMut, SharedMut, Simd,
    Strided, Sweep, WithSimd, clear, load, splat, store,
};
use crate::ops::operation::Sources;
use crate::ops::sab::Score;

/// Memories of every sample, with room for more behind them.
#[derive(Clone, Copy)]
pub(in super::super) struct Stored<'a, T> {
    /// `[n_samples, room, d_hidden]`
    pub(in super::super) values: SharedMut<T>,
    /// `[n_samples, room, key_width]`
    pub(in super::super) keys: SharedMut<T>,
    pub(in super::super) room: usize,
    /// Where the last memory ends, that of every sample.
    pub(in super::super) end: usize,
    /// How many there are of each sample.
    pub(in super::super) counts: &'a [usize],
}

/// What every sample recalls with ĥ, `[n_samples, d_hidden]`: to `results` go h, then s, of every sample. With `is_stored`, h becomes a memory of
/// each. Of the problem's operands only the weights of the scores are there.
///
/// # Safety
/// The machine must have the instructions of `arch`, there must be room for the results and, with `is_stored`, for one more memory.
pub(in super::super) unsafe fn recall_alone<T: Real>(
    arch: Arch,
    problem: &Problem<T>,
    sources: &Sources,
    stored: Stored<T>,
    is_stored: bool,
    candidates: &[T],
    results: SharedMut<T>,
) {
    let call = Call {
        problem,
        sources,
        stored,
        is_stored,
        candidates,
        results,
    };
    // SAFETY: as the caller promises.
    unsafe { arch.dispatch(call) }
}

struct Call<'a, T> {
    problem: &'a Problem<'a, T>,
    sources: &'a Sources<'a>,
    stored: Stored<'a, T>,
    is_stored: bool,
    candidates: &'a [T],
    results: SharedMut<T>,
}

impl<T: Real> WithSimd for Call<'_, T> {
    type Output = ();

    fn with_simd<S: Simd>(self) {
        let layout = Layout::new(self.problem, T::lanes::<S>(), false);
        let n_samples = self.problem.spans.n_samples();
        let visible = self.stored.counts.iter().copied().max().unwrap_or(0);
        let most = layout.options.n_selected(visible);
        let indices = Buffer::<u32>::new(n_samples * most);
        let pass = Pass {
            shared: &Shared::prepared(self.problem, &layout, self.sources),
            room: Room::new(&layout, visible, most),
            indices: SharedMut::new(indices.as_ptr()),
            most,
            call: &self,
            layout,
        };
        // A hyperbolic tangent costs as much as some ten multiply-adds.
        let work = layout.attention.width * (2 * layout.hidden.width + 5 * visible);
        let sweep = Sweep {
            parts: Parts::new(n_samples, layout.group, work),
            group: layout.group,
            scratch: pass.room.size,
        };
        // SAFETY: the machine has the instructions of S, and the scratch is that of `Room`.
        unsafe { sweep.forward::<S, T>(&pass) };
    }
}

/// Where things lie in the scratch memory of a group.
struct Room {
    /// A row of hidden units and one of attention units for each sample.
    rows: usize,
    queries: usize,
    /// A row to sum in, and one for a memory.
    summary: usize,
    value: usize,
    scores: usize,
    weights: usize,
    size: usize,
}

impl Room {
    fn new(layout: &Layout, visible: usize, most: usize) -> Self {
        let lanes = layout.hidden.lanes;
        let mut offsets = Offsets::default();
        Room {
            rows: offsets.take(layout.group * layout.hidden.width),
            queries: offsets.take(layout.group * layout.attention.width),
            summary: offsets.take(layout.hidden.width),
            value: offsets.take(layout.hidden.width),
            scores: offsets.take(visible.next_multiple_of(lanes)),
            weights: offsets.take(most.next_multiple_of(lanes)),
            size: offsets.end(),
        }
    }
}

struct Pass<'a, T: Real> {
    call: &'a Call<'a, T>,
    shared: &'a Shared<T>,
    layout: Layout,
    room: Room,
    indices: SharedMut<u32>,
    /// Memories that can take part.
    most: usize,
}

impl<T: Real> ForwardPass<T> for Pass<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, samples: Range<usize>, scratch: *mut T) {
        let (layout, room, call) = (&self.layout, &self.room, self.call);
        let (hidden, attention) = (layout.hidden, layout.attention);
        let (group, stored) = (samples.len(), call.stored);
        // SAFETY: every offset below lies in the piece that it belongs to, by the sizes of `Room` and of what is stored.
        unsafe {
            let rows = scratch.add(room.rows);
            let row = |g: usize| rows.add(g * hidden.width);
            let queries = scratch.add(room.queries);
            for (g, sample) in samples.clone().enumerate() {
                hidden.read::<S, T>(call.candidates, sample, row(g));
            }
            let to = RowsMut::new(queries, attention.width);
            read::<S, T>(layout, rows, group, &self.shared.w_query, to);
            for (g, sample) in samples.clone().enumerate() {
                let h = call.results.at(sample * hidden.units);
                let query = queries.add(g * attention.width);
                self.recall::<S>(sample, query, scratch, h);
                if call.is_stored {
                    hidden.copy_padded::<S, T>(h, row(g));
                    let to = (sample * stored.room + stored.end) * hidden.units;
                    hidden.copy_units::<S, T>(row(g), stored.values.at(to));
                }
            }
            if call.is_stored {
                let first = (samples.start * stored.room + stored.end) * attention.width;
                let keys = RowsMut::new(stored.keys.at(first), stored.room * attention.width);
                read::<S, T>(layout, rows, group, &self.shared.w_key, keys);
            }
        }
    }
}

impl<T: Real> Pass<'_, T> {
    /// From ĥ to h, and, behind those of all samples, s.
    #[inline(always)]
    unsafe fn recall<S: Simd>(&self, sample: usize, query: *const T, scratch: *mut T, h: *mut T) {
        let (layout, room, stored) = (&self.layout, &self.room, self.call.stored);
        let (hidden, attention) = (layout.hidden, layout.attention);
        let n = stored.counts[sample];
        let first = sample * stored.room + stored.end - n;
        // SAFETY: as in `run`.
        unsafe {
            let candidate = scratch.add(room.value);
            let s = h.add(self.call.candidates.len());
            if n == 0 {
                hidden.read::<S, T>(self.call.candidates, sample, candidate);
                hidden.copy_units::<S, T>(candidate, h);
                clear(s, hidden.units);
                return;
            }
            let scores = scratch.add(room.scores);
            let keys = stored.keys.at(first * attention.width).cast_const();
            recall::score::<S, T>(layout, &self.shared.v, query, keys, n, scores);
            let indices = self.indices.at(sample * self.most);
            let weights = scratch.add(room.weights);
            let taken = recall::select(layout, 0..n, scores, indices, weights);
            recall::sparsify(layout, n, core::slice::from_raw_parts_mut(weights, taken));

            let (summary, value) = (scratch.add(room.summary), scratch.add(room.value));
            clear(summary, hidden.width);
            for at in 0..taken {
                let weight = splat::<S, T>(*weights.add(at));
                let memory = first + *indices.add(at) as usize;
                let from = stored.values.at(memory * hidden.units);
                hidden.copy_padded::<S, T>(from, value);
                hidden.update::<S, T>(summary, value, |sum, value| weight.mul_add(value, sum));
            }
            hidden.copy_units::<S, T>(summary, s);
            hidden.read::<S, T>(self.call.candidates, sample, candidate);
            let (of_state, of_summary) = state_share::<T>(layout.options.combination);
            let (of_state, of_summary) = (splat::<S, T>(of_state), splat::<S, T>(of_summary));
            for lane in hidden.starts() {
                let recalled = load::<S, T>(summary.add(lane)) * of_summary;
                let sum = load::<S, T>(candidate.add(lane)).mul_add(of_state, recalled);
                store::<S, T>(candidate.add(lane), sum);
            }
            hidden.copy_units::<S, T>(candidate, h);
        }
    }
}

/// The keys of the first n memories of each sample, of `values`, `[n_samples, room, d_hidden]`: `[n_samples, room, key_width]`, a key being
/// padded to whole vectors. There are zeros where there is no memory.
///
/// # Safety
/// The machine must have the instructions of `arch`.
pub(in super::super) unsafe fn keys<T: Real>(
    arch: Arch,
    problem: &Problem<T>,
    sources: &Sources,
    values: &[T],
    n: usize,
) -> Vec<T> {
    let call = Keys {
        problem,
        sources,
        values,
        n,
    };
    // SAFETY: as the caller promises.
    unsafe { arch.dispatch(call) }
}

struct Keys<'a, T> {
    problem: &'a Problem<'a, T>,
    sources: &'a Sources<'a>,
    values: &'a [T],
    n: usize,
}

impl<T: Real> WithSimd for Keys<'_, T> {
    type Output = Vec<T>;

    fn with_simd<S: Simd>(self) -> Vec<T> {
        let layout = Layout::new(self.problem, T::lanes::<S>(), false);
        let (hidden, key_width) = (layout.hidden, layout.attention.width);
        let n_samples = self.problem.spans.n_samples();
        let memories = self.values.len() / hidden.units;
        let mut keys = alloc::vec![T::zero(); memories * key_width];
        let pass = KeysPass {
            shared: &Shared::prepared(self.problem, &layout, self.sources),
            values: self.values,
            keys: SharedMut::new(keys.as_mut_ptr()),
            room: memories / n_samples,
            n: self.n,
            layout,
        };
        let sweep = Sweep {
            parts: Parts::new(n_samples, 1, self.n * hidden.width * key_width),
            group: 1,
            scratch: KeysPass::<T>::ROWS * hidden.width,
        };
        // SAFETY: the machine has the instructions of S, and the scratch is for so many rows.
        unsafe { sweep.forward::<S, T>(&pass) };
        keys
    }
}

struct KeysPass<'a, T: Real> {
    shared: &'a Shared<T>,
    values: &'a [T],
    keys: SharedMut<T>,
    room: usize,
    n: usize,
    layout: Layout,
}

impl<T: Real> KeysPass<'_, T> {
    /// Memories at a time.
    const ROWS: usize = 8;
}

impl<T: Real> ForwardPass<T> for KeysPass<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, samples: Range<usize>, scratch: *mut T) {
        let (layout, key_width) = (&self.layout, self.layout.attention.width);
        let hidden = layout.hidden;
        for sample in samples {
            for first in (0..self.n).step_by(Self::ROWS) {
                let n = Self::ROWS.min(self.n - first);
                let memory = sample * self.room + first;
                // SAFETY: there is room for the keys of all memories, and in the scratch for as many rows.
                unsafe {
                    for index in 0..n {
                        let row = scratch.add(index * hidden.width);
                        hidden.read::<S, T>(self.values, memory + index, row);
                    }
                    let to = RowsMut::new(self.keys.at(memory * key_width), key_width);
                    read::<S, T>(layout, scratch, n, &self.shared.w_key, to);
                }
            }
        }
    }
}

/// What scores read of n rows of hidden units, which are lost.
///
/// # Safety
/// All must be rows of their sizes, and the caller compiled with the instructions of S.
#[inline(always)]
unsafe fn read<S: Simd, T: Real>(
    layout: &Layout,
    rows: *mut T,
    n: usize,
    weight: &Packed<T>,
    to: RowsMut<T>,
) {
    let hidden = layout.hidden;
    // SAFETY: as the caller promises.
    unsafe {
        if layout.score == Score::Released {
            for index in 0..n {
                let row = rows.add(index * hidden.width);
                tanh_row::<S, T>(layout, row, row);
            }
        }
        let rows = Strided::new(rows.cast_const(), hidden.width, 1);
        weight.multiply::<S>(n, rows, Initial::Zero, to);
    }
}
