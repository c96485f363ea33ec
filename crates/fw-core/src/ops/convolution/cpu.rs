//! The convolution on slices: a few steps at a time, which know nothing of the others.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::ops::Range;

use crate::ops::cpu::{
    Arch, BackwardPass, BlockSums, Buffer, ForwardPass, Offsets, Parts, Real, Row, SharedMut, Simd,
    Sweep, Vector, WithSimd, Written, clear, load, padded, sigmoid, splat, store, trimmed,
};

/// Steps at a time: as many as [`BlockSums`] wants summed up before they are added.
const BLOCK: usize = 64;

/// A call: sizes and inputs, all contiguous.
#[derive(Clone, Copy)]
pub(super) struct Problem<'a, T> {
    pub(super) batch_size: usize,
    /// Steps of the input.
    pub(super) n: usize,
    pub(super) channels: usize,
    pub(super) size: usize,
    /// Channels whose y is z.
    pub(super) n_linear: usize,
    /// x, `[batch_size, n, channels]`.
    pub(super) steps: &'a [T],
    /// w, `[size, channels]`.
    pub(super) weight: &'a [T],
}

impl<T> Problem<'_, T> {
    /// Steps of the output.
    pub(super) fn seq_length(&self) -> usize {
        self.n + 1 - self.size
    }
}

/// y, `[batch_size, seq_length, channels]`.
///
/// # Safety
/// The machine must have the instructions of `arch`.
pub(super) unsafe fn forward<T: Real>(arch: Arch, problem: &Problem<T>) -> Vec<T> {
    // SAFETY: as the caller promises.
    unsafe { arch.dispatch(Forward(problem)) }
}

/// The gradients of x and w from that of y.
///
/// # Safety
/// As for [`forward`].
pub(super) unsafe fn backward<T: Real>(
    arch: Arch,
    problem: &Problem<T>,
    slopes: &[T],
) -> (Vec<T>, Vec<T>) {
    // SAFETY: as the caller promises.
    unsafe { arch.dispatch(Backward(problem, slopes)) }
}

struct Forward<'a, T>(&'a Problem<'a, T>);

impl<T: Real> WithSimd for Forward<'_, T> {
    type Output = Vec<T>;

    fn with_simd<S: Simd>(self) -> Vec<T> {
        let problem = self.0;
        let seq_length = problem.seq_length();
        let len = problem.batch_size * seq_length * problem.channels;
        let mut output = Written::new(len, true);
        let (mut offsets, row) = (Offsets::default(), problem.row::<S>());
        let pass = Pass {
            problem,
            row,
            weight: padded(problem.weight, row.units, row.width),
            blocks: seq_length.div_ceil(BLOCK),
            steps: offsets.take((BLOCK + problem.size - 1) * row.width),
            sums: offsets.take(row.width),
            slopes: 0,
            to: output.place(),
            from: &[],
        };
        // SAFETY: the machine has the instructions of S, the scratch is as large as what has been taken of it, and every step is written.
        unsafe {
            pass.sweep(offsets.end()).forward::<S, T>(&pass);
            output.finish()
        }
    }
}

struct Backward<'a, T>(&'a Problem<'a, T>, &'a [T]);

impl<T: Real> WithSimd for Backward<'_, T> {
    type Output = (Vec<T>, Vec<T>);

    fn with_simd<S: Simd>(self) -> (Vec<T>, Vec<T>) {
        let Backward(problem, slopes) = self;
        let mut output = Written::new(problem.steps.len(), true);
        let (mut offsets, row) = (Offsets::default(), problem.row::<S>());
        let size = problem.size;
        let pass = Pass {
            problem,
            row,
            weight: padded(problem.weight, row.units, row.width),
            blocks: problem.n.div_ceil(BLOCK),
            steps: offsets.take((BLOCK + 2 * (size - 1)) * row.width),
            slopes: offsets.take((BLOCK + size - 1) * row.width),
            sums: offsets.take(size * row.width),
            to: output.place(),
            from: slopes,
        };
        // SAFETY: as above.
        unsafe {
            let sweep = pass.sweep(offsets.end());
            let sums: Buffer<T> = sweep.backward::<S, T>(&pass, size * row.width, BLOCK);
            let weight = trimmed(sums.first(size * row.width), size, row);
            (output.finish(), weight)
        }
    }
}

impl<T: Real> Problem<'_, T> {
    fn row<S: Simd>(&self) -> Row {
        Row::new(self.channels, T::lanes::<S>())
    }
}

/// Either pass, and where things lie in the scratch memory.
struct Pass<'a, T: Real> {
    problem: &'a Problem<'a, T>,
    row: Row,
    weight: Cow<'a, [T]>,
    /// Of a sample.
    blocks: usize,
    /// x of the steps that a block sees.
    steps: usize,
    /// The gradients of z that it sees.
    slopes: usize,
    /// z of a step; backward the gradient of w.
    sums: usize,
    /// Where the results go.
    to: SharedMut<T>,
    /// The gradient of y.
    from: &'a [T],
}

impl<T: Real> ForwardPass<T> for Pass<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, units: Range<usize>, scratch: *mut T) {
        let (problem, row) = (self.problem, self.row);
        let seq_length = problem.seq_length();
        for unit in units {
            let (sample, first) = (unit / self.blocks, unit % self.blocks * BLOCK);
            let n = BLOCK.min(seq_length - first);
            // SAFETY: as the caller promises.
            unsafe {
                let steps = scratch.add(self.steps);
                self.load::<S>(sample, first..first + n + problem.size - 1, steps);
                let sum = scratch.add(self.sums);
                for t in 0..n {
                    for lane in row.starts() {
                        let z = self.convolved::<S>(steps.add(t * row.width), lane);
                        let y = match self.is_linear(lane) {
                            Some(true) => z,
                            is_linear => z * self.gate::<S>(z, lane, is_linear.is_none()),
                        };
                        store::<S, T>(sum.add(lane), y);
                    }
                    let place = (sample * seq_length + first + t) * row.units;
                    row.copy_units::<S, T>(sum, self.to.at(place));
                }
            }
        }
    }
}

impl<T: Real> BackwardPass<T> for Pass<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, units: Range<usize>, scratch: *mut T, sums: &mut BlockSums<T>) {
        let (problem, row, size) = (self.problem, self.row, self.problem.size);
        let (width, seq_length) = (row.width, problem.seq_length());
        for unit in units {
            let (sample, first) = (unit / self.blocks, unit % self.blocks * BLOCK);
            let end = (first + BLOCK).min(problem.n);
            // The steps of y that see any of these, the first of which those of the block before have as well.
            let seen = (first + 1).saturating_sub(size)..end.min(seq_length);
            // SAFETY: as the caller promises.
            unsafe {
                let (steps, slopes) = (scratch.add(self.steps), scratch.add(self.slopes));
                let own = scratch.add(self.sums);
                clear(own, size * width);
                if !seen.is_empty() {
                    self.load::<S>(sample, seen.start..seen.end + size - 1, steps);
                }
                for t in seen.clone() {
                    let at = (t - seen.start) * width;
                    let slope = slopes.add(at);
                    row.read::<S, T>(self.from, sample * seq_length + t, slope);
                    self.slope_of_z::<S>(steps.add(at), slope);
                    if t < first {
                        continue;
                    }
                    for tap in 0..size {
                        let x = steps.add(at + tap * width);
                        for lane in row.starts() {
                            let sum = own.add(tap * width + lane);
                            let slope = load::<S, T>(slope.add(lane));
                            let new = load::<S, T>(x.add(lane)).mul_add(slope, load::<S, T>(sum));
                            store::<S, T>(sum, new);
                        }
                    }
                }
                let all = Row::new(size * width, row.lanes);
                all.add_to::<S, T>(own, sums.block());
                sums.added(BLOCK);
                for step in first..end {
                    // x of a step is seen by y of that step and of those before it.
                    let from = (step + 1).saturating_sub(size).max(seen.start);
                    let to = (step + 1).min(seen.end);
                    for lane in row.starts() {
                        let mut sum: Vector<S, T> = splat::<S, T>(T::zero());
                        for t in from..to {
                            let weight = self.weight.as_ptr().add((step - t) * width + lane);
                            let slope = slopes.add((t - seen.start) * width + lane);
                            sum = load::<S, T>(weight).mul_add(load::<S, T>(slope), sum);
                        }
                        store::<S, T>(own.add(lane), sum);
                    }
                    let place = (sample * problem.n + step) * row.units;
                    row.copy_units::<S, T>(own, self.to.at(place));
                }
            }
        }
    }
}

impl<T: Real> Pass<'_, T> {
    fn sweep(&self, scratch: usize) -> Sweep {
        let work = 4 * BLOCK * self.problem.size * self.row.width;
        Sweep {
            parts: Parts::new(self.problem.batch_size * self.blocks, 1, work),
            group: 1,
            scratch,
        }
    }

    /// x of some steps, padded.
    #[inline(always)]
    unsafe fn load<S: Simd>(&self, sample: usize, steps: Range<usize>, to: *mut T) {
        for (index, step) in steps.enumerate() {
            // SAFETY: as the caller promises.
            unsafe {
                let to = to.add(index * self.row.width);
                self.row
                    .read::<S, T>(self.problem.steps, sample * self.problem.n + step, to);
            }
        }
    }

    /// A vector of z of the step that begins at `x`.
    #[inline(always)]
    unsafe fn convolved<S: Simd>(&self, x: *const T, lane: usize) -> Vector<S, T> {
        let mut sum = splat::<S, T>(T::zero());
        for tap in 0..self.problem.size {
            let place = tap * self.row.width + lane;
            // SAFETY: as the caller promises.
            unsafe {
                let weight = load::<S, T>(self.weight.as_ptr().add(place));
                sum = load::<S, T>(x.add(place)).mul_add(weight, sum);
            }
        }
        sum
    }

    /// Whether y is z in the lanes of a vector; nothing, if it is in some.
    #[inline(always)]
    fn is_linear(&self, lane: usize) -> Option<bool> {
        let n_linear = self.problem.n_linear;
        if lane + self.row.lanes <= n_linear {
            return Some(true);
        }
        (lane >= n_linear).then_some(false)
    }

    /// σ(z), but 1 where y is z.
    #[inline(always)]
    unsafe fn gate<S: Simd>(&self, z: Vector<S, T>, lane: usize, is_mixed: bool) -> Vector<S, T> {
        let gate = sigmoid::<S, T>(z);
        if !is_mixed {
            return gate;
        }
        /// Lanes of the widest registers.
        const MOST: usize = 16;
        let mut lanes = [T::zero(); MOST];
        // SAFETY: there is room for every lane.
        unsafe {
            store::<S, T>(lanes.as_mut_ptr(), gate);
            for gate in &mut lanes[..self.problem.n_linear - lane] {
                *gate = T::one();
            }
            load::<S, T>(lanes.as_ptr())
        }
    }

    /// The gradient of z in place of that of y: `s + z s (1 - s)` times it, with s = σ(z), or itself.
    #[inline(always)]
    unsafe fn slope_of_z<S: Simd>(&self, x: *const T, slope: *mut T) {
        let one = splat::<S, T>(T::one());
        // SAFETY: as the caller promises.
        unsafe {
            for lane in self.row.starts() {
                let is_linear = self.is_linear(lane);
                if is_linear == Some(true) {
                    continue;
                }
                let z = self.convolved::<S>(x, lane);
                // Where the gate is 1 its slope is 0.
                let gate = self.gate::<S>(z, lane, is_linear.is_none());
                let factor = (z * gate).mul_add(one - gate, gate);
                let slope = slope.add(lane);
                store::<S, T>(slope, load::<S, T>(slope) * factor);
            }
        }
    }
}
