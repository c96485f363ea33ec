//! The kernel: rows are shared among threads, and a few at a time are multiplied by a matrix that lies in panels.

use alloc::vec::Vec;
use core::ops::Range;

use crate::ops::cpu::{
    Arch, Buffer, Initial, Packed, Parts, Real, Row, Rows, RowsMut, SharedMut, Simd, Strided,
    WithSimd, add_product, clear, padded, transposed, trimmed,
};

/// Rows that a thread takes at a time: what they hold stays in the cache while it is multiplied.
const GROUP: usize = 64;

/// A call: sizes and inputs, all contiguous.
#[derive(Clone, Copy)]
pub(super) struct Problem<'a, T> {
    pub(super) rows: usize,
    pub(super) d_input: usize,
    pub(super) d_output: usize,
    /// `[rows, d_input]`
    pub(super) input: &'a [T],
    /// `[d_input, d_output]`
    pub(super) weight: &'a [T],
    /// `[d_output]`, or nothing.
    pub(super) bias: &'a [T],
}

impl<T> Problem<'_, T> {
    /// The rows, shared among threads: eight parts, unless they are few or very many, since each part has its own sums of the
    /// weight's gradient.
    fn parts(&self) -> Parts {
        let least = self.rows.div_ceil(8).clamp(4 * GROUP, 32 * GROUP);
        let least = least.next_multiple_of(GROUP);
        Parts::new(self.rows, least, self.d_input * self.d_output)
    }
}

/// `x W + b` of every row.
///
/// # Safety
/// The machine must have the instructions of `arch`.
pub(super) unsafe fn forward<T: Real>(arch: Arch, problem: &Problem<T>) -> Vec<T> {
    // SAFETY: as the caller promises.
    unsafe { arch.dispatch(Forward { problem }) }
}

struct Forward<'a, T> {
    problem: &'a Problem<'a, T>,
}

impl<T: Real> WithSimd for Forward<'_, T> {
    type Output = Vec<T>;

    fn with_simd<S: Simd>(self) -> Vec<T> {
        let problem = self.problem;
        let row = Row::new(problem.d_output, T::lanes::<S>());
        let weight = Packed::new(problem.weight, row, 1);
        let bias = padded(problem.bias, problem.d_output, row.width);
        multiply::<S, T>(problem, problem.input, &weight, &bias, row)
    }
}

/// The gradients of input, weight and bias; empty where they are not wanted, or there is no bias.
///
/// # Safety
/// As for [`forward`].
pub(super) unsafe fn backward<T: Real>(
    arch: Arch,
    problem: &Problem<T>,
    slopes: &[T],
    is_wanted: [bool; 3],
) -> [Vec<T>; 3] {
    let call = Backward {
        problem,
        slopes,
        is_wanted,
    };
    // SAFETY: as the caller promises.
    unsafe { arch.dispatch(call) }
}

struct Backward<'a, T> {
    problem: &'a Problem<'a, T>,
    slopes: &'a [T],
    is_wanted: [bool; 3],
}

impl<T: Real> WithSimd for Backward<'_, T> {
    type Output = [Vec<T>; 3];

    fn with_simd<S: Simd>(self) -> [Vec<T>; 3] {
        let Problem {
            d_input, d_output, ..
        } = *self.problem;
        let lanes = T::lanes::<S>();
        let [of_input, of_weight, of_bias] = self.is_wanted;
        let mut gradients = [const { Vec::new() }; 3];
        if of_input {
            let turned = transposed(self.problem.weight, d_output, d_input);
            let row = Row::new(d_input, lanes);
            let weight = Packed::new(&turned, row, 1);
            gradients[0] = multiply::<S, T>(self.problem, self.slopes, &weight, &[], row);
        }
        if of_weight || of_bias {
            let row = Row::new(d_output, lanes);
            let sums = self.sums::<S>(row);
            // SAFETY: that many sums were made.
            let sums = unsafe { sums.first((d_input + 1) * row.width) };
            let (weight, bias) = sums.split_at(d_input * row.width);
            gradients[1] = trimmed(weight, d_input, row);
            if !self.problem.bias.is_empty() {
                gradients[2] = trimmed(bias, 1, row);
            }
        }
        gradients
    }
}

impl<T: Real> Backward<'_, T> {
    /// The gradient of the weight, then that of the bias, in rows of `row`: sums over all rows of the input.
    fn sums<S: Simd>(&self, row: Row) -> Buffer<T> {
        let Problem { d_input, input, .. } = *self.problem;
        let size = (d_input + 1) * row.width;
        let is_padded = row.units < row.width;
        let room = if is_padded { GROUP * row.width } else { 0 };
        let parts = self.problem.parts();
        parts.sum_groups(GROUP, room, size, |_, rows, room, sums| {
            let from = self.slopes[rows.start * row.units..].as_ptr();
            let sizes = |m: usize| [m, rows.len(), row.vectors()];
            // SAFETY: the machine has the instructions of S; the groups lie within the matrices, the room is that of a group.
            unsafe {
                let slopes = match is_padded {
                    true => {
                        clear(room, rows.len() * row.width);
                        copy_rows(rows.len(), row.units, (from, row.units), (room, row.width));
                        room.cast_const()
                    }
                    false => from,
                };
                let slopes = Rows::new(slopes, row.width);
                let columns = Strided::new(input[rows.start * d_input..].as_ptr(), 1, d_input);
                let weight = RowsMut::new(sums, row.width);
                add_product::<S, T>(sizes(d_input), columns, slopes, weight);
                let bias = RowsMut::new(sums.add(d_input * row.width), row.width);
                add_product::<S, T>(sizes(1), Strided::new(&T::one(), 0, 0), slopes, bias);
            }
        })
    }
}

/// Each of the rows of `from`, which has as many as the problem, times a matrix whose rows are `row`, to which `first` is added,
/// if there is one.
fn multiply<S: Simd, T: Real>(
    problem: &Problem<T>,
    from: &[T],
    matrix: &Packed<T>,
    first: &[T],
    row: Row,
) -> Vec<T> {
    let columns = from.len() / problem.rows;
    let mut output = Vec::<T>::with_capacity(problem.rows * row.units);
    let to = SharedMut::new(output.as_mut_ptr());
    let is_padded = row.units < row.width;
    let room = if is_padded { GROUP * row.width } else { 0 };
    let parts = problem.parts();
    parts.for_each_group(GROUP, room, |_, rows: Range<usize>, room| {
        let a = Strided::new(from[rows.start * columns..].as_ptr(), columns, 1);
        let initial = match first {
            [] => Initial::Zero,
            _ => Initial::Rows(Rows::new(first.as_ptr(), 0)),
        };
        // SAFETY: the machine has the instructions of S; each group writes its own rows, the room is that of a group.
        unsafe {
            let to = to.at(rows.start * row.units);
            let c = RowsMut::new(if is_padded { room } else { to }, row.width);
            matrix.multiply::<S>(rows.len(), a, initial, c);
            if is_padded {
                copy_rows(
                    rows.len(),
                    row.units,
                    (room.cast_const(), row.width),
                    (to, row.units),
                );
            }
        }
    });
    // SAFETY: all rows of all groups are written.
    unsafe { output.set_len(problem.rows * row.units) };
    output
}

/// Copies so many rows of so many numbers from a matrix to another, each given by its start and how far its rows are apart.
///
/// # Safety
/// All must lie within the matrices, which must not overlap.
unsafe fn copy_rows<T: Real>(
    rows: usize,
    units: usize,
    (from, from_stride): (*const T, usize),
    (to, to_stride): (*mut T, usize),
) {
    for row in 0..rows {
        // SAFETY: as the caller promises.
        unsafe {
            core::ptr::copy_nonoverlapping(
                from.add(row * from_stride),
                to.add(row * to_stride),
                units,
            );
        }
    }
}
