//! One step alone, without a tape: the memory is read and written where it lies.

use core::ops::Range;

use super::super::WrittenState;
use super::layout::{Layout, Problem, Shared};
use super::rows::{Normalised, activate};
use crate::ops::cpu::{
    Arch, ForwardPass, Offsets, Real, Rows, RowsMut, SharedMut, Simd, Strided, Sweep, WithSimd,
    add_product, load, splat, store,
};

/// Runs the only step of every sample of a batch. The problem has a projected input and no start: `memory` is every sample's A,
/// `[batch_size, d_hidden, d_hidden]`, before the step and after it. To `output` goes h, `[batch_size, d_hidden]`.
///
/// # Safety
/// The machine must have the instructions of `arch`, and both pointers be to so many numbers.
pub(in super::super) unsafe fn step<T: Real>(
    arch: Arch,
    problem: &Problem<T>,
    memory: SharedMut<T>,
    output: SharedMut<T>,
) {
    let call = Call {
        problem,
        memory,
        output,
    };
    // SAFETY: as the caller promises.
    unsafe { arch.dispatch(call) }
}

struct Call<'a, T> {
    problem: &'a Problem<'a, T>,
    memory: SharedMut<T>,
    output: SharedMut<T>,
}

impl<T: Real> WithSimd for Call<'_, T> {
    type Output = ();

    fn with_simd<S: Simd>(self) {
        let layout = Layout::new(self.problem, T::lanes::<S>());
        let batch_size = self.problem.spans.n_samples();
        let pass = Pass {
            call: &self,
            shared: &Shared::new(self.problem, &layout),
            room: Room::new(&layout),
            layout,
        };
        let group = layout.group::<T>(batch_size);
        let sweep = Sweep {
            parts: layout.parts::<T>(self.problem.spans),
            group,
            scratch: group * pass.room.sample,
        };
        // SAFETY: the machine has the instructions of S, and the scratch is that of `Room`.
        unsafe { sweep.forward::<S, T>(&pass) };
    }
}

/// Where the rows of a sample lie in the scratch memory.
struct Room {
    /// h before the step; z; s; what a read sums up.
    before: usize,
    z: usize,
    s: usize,
    sum: usize,
    normalised: usize,
    sample: usize,
}

impl Room {
    fn new(layout: &Layout) -> Self {
        let mut offsets = Offsets::default();
        Room {
            before: offsets.take(layout.width),
            z: offsets.take(layout.width),
            s: offsets.take(layout.width),
            sum: offsets.take(layout.width),
            normalised: offsets.take(layout.width),
            sample: offsets.end(),
        }
    }
}

struct Pass<'a, T: Real> {
    call: &'a Call<'a, T>,
    shared: &'a Shared<'a, T>,
    room: Room,
    layout: Layout,
}

impl<T: Real> ForwardPass<T> for Pass<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, samples: Range<usize>, scratch: *mut T) {
        let (layout, room, problem) = (&self.layout, &self.room, self.call.problem);
        let (group, row) = (samples.len(), layout.row());
        // SAFETY: every offset below lies in the piece that it belongs to, by the sizes of `Room`.
        unsafe {
            for (g, sample) in samples.clone().enumerate() {
                let own = scratch.add(g * room.sample);
                row.read::<S, T>(problem.hidden, sample, own.add(room.before));
                row.read::<S, T>(problem.input, sample, own.add(room.z));
            }
            // z += h W
            add_product::<S, T>(
                [group, layout.d_hidden, row.vectors()],
                Strided::new(scratch.add(room.before), room.sample, 1),
                Rows::new(self.shared.w_hidden.as_ptr(), layout.width),
                RowsMut::new(scratch.add(room.z), room.sample),
            );
            for (g, sample) in samples.enumerate() {
                self.step::<S>(sample, scratch.add(g * room.sample));
            }
        }
    }
}

impl<T: Real> Pass<'_, T> {
    #[inline(always)]
    unsafe fn step<S: Simd>(&self, sample: usize, own: *mut T) {
        let (layout, room, options) = (&self.layout, &self.room, self.call.problem.options);
        let d = layout.d_hidden;
        let has_norm = layout.norms > 0;
        // SAFETY: as in `run`.
        unsafe {
            let [z, s, sum, normalised] =
                [room.z, room.s, room.sum, room.normalised].map(|at| own.add(at));
            let memory = self.call.memory.at(sample * d * d);
            let f = |is_normalised: bool, from: *mut T| {
                let norm = is_normalised.then_some(Normalised {
                    row: normalised,
                    inverse_deviation: None,
                });
                activate::<S, T>(layout, self.shared, options.activation, norm, from, s);
            };
            f(has_norm && options.normalize_preliminary, z);
            if options.write == WrittenState::Preliminary {
                self.write::<S>(s, memory);
            }
            for _ in 0..options.inner_steps {
                self.read::<S>(memory, s, z, sum);
                f(has_norm, sum);
            }
            if options.write == WrittenState::Final {
                self.write::<S>(s, memory);
            }
            layout
                .row()
                .copy_units::<S, T>(s, self.call.output.at(sample * d));
        }
    }

    /// `sum = z + A s`
    #[inline(always)]
    unsafe fn read<S: Simd>(&self, memory: *const T, s: *const T, z: *const T, sum: *mut T) {
        /// Rows at a time: their sums do not wait for each other.
        const ROWS: usize = 4;
        let d = self.layout.d_hidden;
        // SAFETY: as in `run`.
        unsafe {
            self.layout.row().copy::<S, T>(z, sum);
            for first in (0..d).step_by(ROWS) {
                if first + ROWS <= d {
                    let sums = self.products::<S, ROWS>(memory.add(first * d), s);
                    for (index, product) in sums.into_iter().enumerate() {
                        *sum.add(first + index) += product;
                    }
                    continue;
                }
                for row in first..d {
                    let [product] = self.products::<S, 1>(memory.add(row * d), s);
                    *sum.add(row) += product;
                }
            }
        }
    }

    /// The products of N rows of A with s.
    #[inline(always)]
    unsafe fn products<S: Simd, const N: usize>(&self, rows: *const T, s: *const T) -> [T; N] {
        let (d, lanes) = (self.layout.d_hidden, self.layout.lanes);
        let whole = d / lanes * lanes;
        // SAFETY: as in `run`.
        unsafe {
            let mut sums = [splat::<S, T>(T::zero()); N];
            for lane in (0..whole).step_by(lanes) {
                let s = load::<S, T>(s.add(lane));
                for (index, sum) in sums.iter_mut().enumerate() {
                    *sum = load::<S, T>(rows.add(index * d + lane)).mul_add(s, *sum);
                }
            }
            let mut index = 0;
            sums.map(|sum| {
                let mut sum = sum.reduce_add();
                for unit in whole..d {
                    sum += *rows.add(index * d + unit) * *s.add(unit);
                }
                index += 1;
                sum
            })
        }
    }

    /// `A = λ A + η w wᵀ`
    #[inline(always)]
    unsafe fn write<S: Simd>(&self, w: *const T, memory: *mut T) {
        let (d, lanes) = (self.layout.d_hidden, self.layout.lanes);
        let options = self.call.problem.options;
        let (decay, rate) = (T::of(options.decay), T::of(options.fast_learning_rate));
        let decays = splat::<S, T>(decay);
        let whole = d / lanes * lanes;
        // SAFETY: as in `run`.
        unsafe {
            for unit in 0..d {
                let row = memory.add(unit * d);
                let factor = rate * *w.add(unit);
                let factors = splat::<S, T>(factor);
                for lane in (0..whole).step_by(lanes) {
                    let kept = load::<S, T>(row.add(lane)) * decays;
                    let new = load::<S, T>(w.add(lane)).mul_add(factors, kept);
                    store::<S, T>(row.add(lane), new);
                }
                for lane in whole..d {
                    *row.add(lane) = *w.add(lane) * factor + *row.add(lane) * decay;
                }
            }
        }
    }
}
