//! One step alone, without a tape: the memory is read and written where it lies, a few columns at a time, which know nothing of each other.

use core::ops::Range;

use super::super::Rule;
use super::chunk::exponentiate;
use super::layout::{Decay, Problem};
use crate::ops::cpu::{
    Arch, ForwardPass, Offsets, Parts, Real, Row, SharedMut, Simd, Sweep, Vector, WithSimd, load,
    splat, store,
};

/// Runs the only step of every sample of a batch. The problem has no start: `memory` is every S, `[batch_size, n_heads, d_key, d_value]`, before the
/// step and after it. To `output` goes o, `[batch_size, n_heads, d_value]`.
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
        let sizes = self.problem.sizes;
        let mut offsets = Offsets::default();
        let row = Row::new(sizes.d_key, T::lanes::<S>());
        let pass = Pass {
            decays: offsets.take(row.width),
            row,
            call: &self,
        };
        let work = 4 * sizes.writes * sizes.d_key * sizes.d_value;
        let sweep = Sweep {
            parts: Parts::new(sizes.n_samples * sizes.n_heads, 1, work),
            group: 1,
            scratch: offsets.end(),
        };
        // SAFETY: the machine has the instructions of S, and the scratch is as large as what has been taken of it.
        unsafe { sweep.forward::<S, T>(&pass) };
    }
}

struct Pass<'a, T> {
    /// exp(g), of each channel.
    decays: usize,
    row: Row,
    call: &'a Call<'a, T>,
}

impl<T: Real> ForwardPass<T> for Pass<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, units: Range<usize>, scratch: *mut T) {
        for unit in units {
            // SAFETY: as the caller promises.
            unsafe { self.unit::<S>(unit, scratch) };
        }
    }
}

/// What a head reads and writes in a step: of each write rows that lie as many rows behind those of the write before as there are heads.
struct Step<T> {
    query: *const T,
    keys: *const T,
    values: *const T,
    strengths: *const T,
    /// a and b of a transition.
    transition: [*const T; 2],
    decays: Option<*const T>,
    memory: *mut T,
    output: *mut T,
}

impl<T: Real> Pass<'_, T> {
    #[inline(always)]
    unsafe fn unit<S: Simd>(&self, unit: usize, scratch: *mut T) {
        let problem = self.call.problem;
        let sizes = problem.sizes;
        let (sample, head) = (unit / sizes.n_heads, unit % sizes.n_heads);
        let is_transition = problem.rule == Rule::Transition;
        let write = match is_transition {
            true => unit,
            false => problem.row(sample, sizes.writes, head),
        };
        let (row, lanes) = (self.row, self.row.lanes);
        // SAFETY: as the caller promises; a unit has the rows of its sample and head.
        unsafe {
            let decays = scratch.add(self.decays);
            let decays = match problem.decay {
                Decay::None => None,
                Decay::Head(logs) => {
                    let decay = T::exp_lanes::<S>(splat::<S, T>(logs[unit]));
                    row.update::<S, T>(decays, decays, |_, _| decay);
                    Some(decays.cast_const())
                }
                Decay::Channel(logs) => {
                    row.read::<S, T>(logs, unit, decays);
                    exponentiate::<S, T>(row, decays);
                    Some(decays.cast_const())
                }
            };
            let step = Step {
                query: problem.query.as_ptr().add(unit * sizes.d_key),
                keys: problem.key.as_ptr().add(write * sizes.d_key),
                values: problem.value.as_ptr().add(write * sizes.d_value),
                strengths: match is_transition {
                    true => problem.strength.as_ptr(),
                    false => problem.strength.as_ptr().add(write),
                },
                transition: problem.transition.map(|rows| match is_transition {
                    true => rows.as_ptr().add(unit * sizes.d_key),
                    false => rows.as_ptr(),
                }),
                decays,
                memory: self.call.memory.at(unit * sizes.d_key * sizes.d_value),
                output: self.call.output.at(unit * sizes.d_value),
            };
            let mut column = 0;
            while column + 4 * lanes <= sizes.d_value {
                match is_transition {
                    true => self.transition_columns::<S, 4>(&step, column),
                    false => self.columns::<S, 4>(&step, column),
                }
                column += 4 * lanes;
            }
            while column + lanes <= sizes.d_value {
                match is_transition {
                    true => self.transition_columns::<S, 1>(&step, column),
                    false => self.columns::<S, 1>(&step, column),
                }
                column += lanes;
            }
            for column in column..sizes.d_value {
                match is_transition {
                    true => self.transition_column(&step, column),
                    false => self.column(&step, column),
                }
            }
        }
    }

    /// N vectors of columns from one on.
    #[inline(always)]
    unsafe fn columns<S: Simd, const N: usize>(&self, step: &Step<T>, first: usize) {
        let sizes = self.call.problem.sizes;
        let (width, lanes) = (sizes.d_value, self.row.lanes);
        let zero: Vector<S, T> = splat::<S, T>(T::zero());
        // SAFETY: as in `unit`.
        unsafe {
            let mut read = [zero; N];
            for write in 0..sizes.writes {
                let key = step.keys.add(write * sizes.n_heads * sizes.d_key);
                let value = step.values.add(write * sizes.n_heads * width + first);
                // Of a step the first write finds the memory as it was before it faded.
                let decays = step.decays.filter(|_| write == 0);
                let mut update = [zero; N];
                if self.call.problem.rule == Rule::Delta {
                    for channel in 0..sizes.d_key {
                        let factor = *key.add(channel);
                        let factor = decays.map_or(factor, |decays| factor * *decays.add(channel));
                        let factor = splat::<S, T>(factor);
                        let row = step.memory.add(channel * width + first);
                        for (n, sum) in update.iter_mut().enumerate() {
                            *sum = load::<S, T>(row.add(n * lanes)).mul_add(factor, *sum);
                        }
                    }
                }
                let strength = splat::<S, T>(*step.strengths.add(write * sizes.n_heads));
                for (n, update) in update.iter_mut().enumerate() {
                    *update = (load::<S, T>(value.add(n * lanes)) - *update) * strength;
                }
                read = [zero; N];
                for channel in 0..sizes.d_key {
                    let row = step.memory.add(channel * width + first);
                    let factor = splat::<S, T>(*key.add(channel));
                    let query = splat::<S, T>(*step.query.add(channel));
                    let decay = decays.map(|decays| splat::<S, T>(*decays.add(channel)));
                    for (n, read) in read.iter_mut().enumerate() {
                        let mut kept = load::<S, T>(row.add(n * lanes));
                        if let Some(decay) = decay {
                            kept *= decay;
                        }
                        let new = update[n].mul_add(factor, kept);
                        store::<S, T>(row.add(n * lanes), new);
                        *read = new.mul_add(query, *read);
                    }
                }
            }
            let scale = splat::<S, T>(T::of(sizes.read_scale));
            for (n, read) in read.into_iter().enumerate() {
                store::<S, T>(step.output.add(first + n * lanes), read * scale);
            }
        }
    }

    /// One column alone.
    #[inline(always)]
    unsafe fn column(&self, step: &Step<T>, column: usize) {
        let sizes = self.call.problem.sizes;
        let width = sizes.d_value;
        // SAFETY: as in `unit`.
        unsafe {
            let place = |channel: usize| step.memory.add(channel * width + column);
            let mut read = T::zero();
            for write in 0..sizes.writes {
                let key = step.keys.add(write * sizes.n_heads * sizes.d_key);
                if let Some(decays) = step.decays.filter(|_| write == 0) {
                    for channel in 0..sizes.d_key {
                        *place(channel) = *place(channel) * *decays.add(channel);
                    }
                }
                let mut update = *step.values.add(write * sizes.n_heads * width + column);
                if self.call.problem.rule == Rule::Delta {
                    for channel in 0..sizes.d_key {
                        update = update - *place(channel) * *key.add(channel);
                    }
                }
                update = update * *step.strengths.add(write * sizes.n_heads);
                read = T::zero();
                for channel in 0..sizes.d_key {
                    *place(channel) += update * *key.add(channel);
                    read += *place(channel) * *step.query.add(channel);
                }
            }
            *step.output.add(column) = read * T::of(sizes.read_scale);
        }
    }

    /// N vectors of columns from one on, of a transition.
    #[inline(always)]
    unsafe fn transition_columns<S: Simd, const N: usize>(&self, step: &Step<T>, first: usize) {
        let sizes = self.call.problem.sizes;
        let (width, lanes) = (sizes.d_value, self.row.lanes);
        let [reads, writes] = step.transition;
        // SAFETY: as in `unit`.
        unsafe {
            let zero: Vector<S, T> = splat::<S, T>(T::zero());
            let mut seen = [zero; N];
            for channel in 0..sizes.d_key {
                let factor = splat::<S, T>(*reads.add(channel));
                let row = step.memory.add(channel * width + first);
                for (n, sum) in seen.iter_mut().enumerate() {
                    *sum = load::<S, T>(row.add(n * lanes)).mul_add(factor, *sum);
                }
            }
            let mut read = [zero; N];
            for channel in 0..sizes.d_key {
                let row = step.memory.add(channel * width + first);
                let decay = step.decays.map_or(T::one(), |decays| *decays.add(channel));
                let [decay, written, key, query] = [
                    decay,
                    *writes.add(channel),
                    *step.keys.add(channel),
                    *step.query.add(channel),
                ]
                .map(|number| splat::<S, T>(number));
                for (n, read) in read.iter_mut().enumerate() {
                    let value = load::<S, T>(step.values.add(first + n * lanes));
                    let kept = load::<S, T>(row.add(n * lanes)) * decay;
                    let new = value.mul_add(key, seen[n].mul_add(written, kept));
                    store::<S, T>(row.add(n * lanes), new);
                    *read = new.mul_add(query, *read);
                }
            }
            for (n, read) in read.into_iter().enumerate() {
                store::<S, T>(step.output.add(first + n * lanes), read);
            }
        }
    }

    /// One column alone, of a transition.
    #[inline(always)]
    unsafe fn transition_column(&self, step: &Step<T>, column: usize) {
        let sizes = self.call.problem.sizes;
        let [reads, writes] = step.transition;
        // SAFETY: as in `unit`.
        unsafe {
            let place = |channel: usize| step.memory.add(channel * sizes.d_value + column);
            let mut seen = T::zero();
            for channel in 0..sizes.d_key {
                seen += *place(channel) * *reads.add(channel);
            }
            let value = *step.values.add(column);
            let mut read = T::zero();
            for channel in 0..sizes.d_key {
                let decay = step.decays.map_or(T::one(), |decays| *decays.add(channel));
                let new = *place(channel) * decay
                    + seen * *writes.add(channel)
                    + value * *step.keys.add(channel);
                *place(channel) = new;
                read += new * *step.query.add(channel);
            }
            *step.output.add(column) = read;
        }
    }
}
