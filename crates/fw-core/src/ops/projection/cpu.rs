//! The kernel: rows are shared among threads, and a few at a time are multiplied by a matrix that lies in panels.

use alloc::vec::Vec;
use core::ops::Range;

use super::fused::Each;
use crate::ops::cpu::{
    Arch, BlockSums, Buffer, Initial, Packed, Parts, Real, Row, Rows, RowsMut, SharedMut, Simd,
    Strided, WithSimd, Written, add_product, add_rows, at_once, padded, transposed, trimmed,
    with_scratch,
};
use crate::ops::operation::Sources;

/// Rows that a thread takes at a time: what they hold stays in the cache while it is multiplied.
const GROUP: usize = 64;

/// Rows of the weight whose gradient is summed at a time.
const BLOCK: usize = 64;

/// Pieces of work for which sums over all rows are cut: more need more memory, and more time to be joined.
const MOST_PIECES: usize = 8;

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

/// `x W + b` of every row.
///
/// # Safety
/// The machine must have the instructions of `arch`.
pub(super) unsafe fn forward<T: Real>(
    arch: Arch,
    problem: &Problem<T>,
    sources: &Sources,
) -> Vec<T> {
    // SAFETY: as the caller promises.
    unsafe { arch.dispatch(Forward { problem, sources }) }
}

struct Forward<'a, T> {
    problem: &'a Problem<'a, T>,
    sources: &'a Sources<'a>,
}

/// The map, prepared.
struct Prepared<T> {
    weight: Packed<T>,
    bias: Vec<T>,
}

impl<T: Real> WithSimd for Forward<'_, T> {
    type Output = Vec<T>;

    fn with_simd<S: Simd>(self) -> Vec<T> {
        let problem = self.problem;
        let row = Row::new(problem.d_output, T::lanes::<S>());
        let map = self.sources.prepared(row.lanes as u64, || Prepared {
            weight: Packed::new(problem.weight, row, 1),
            bias: padded(problem.bias, problem.d_output, row.width).into_owned(),
        });
        multiply::<S, T>(problem, problem.input, &map.weight, &map.bias, row)
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
    wanted: Each<bool>,
) -> Each<Vec<T>> {
    let call = Backward {
        problem,
        slopes,
        wanted,
    };
    // SAFETY: as the caller promises.
    unsafe { arch.dispatch(call) }
}

struct Backward<'a, T> {
    problem: &'a Problem<'a, T>,
    slopes: &'a [T],
    wanted: Each<bool>,
}

impl<T: Real> WithSimd for Backward<'_, T> {
    type Output = Each<Vec<T>>;

    fn with_simd<S: Simd>(self) -> Each<Vec<T>> {
        let Problem {
            d_input, d_output, ..
        } = *self.problem;
        let lanes = T::lanes::<S>();
        let mut gradients = Each {
            input: Vec::new(),
            weight: Vec::new(),
            bias: Vec::new(),
        };
        if self.wanted.input {
            let turned = transposed(self.problem.weight, d_output, d_input);
            let row = Row::new(d_input, lanes);
            let weight = Packed::new(&turned, row, 1);
            gradients.input = multiply::<S, T>(self.problem, self.slopes, &weight, &[], row);
        }
        let sums = Sums {
            problem: self.problem,
            slopes: self.slopes,
            row: Row::new(d_output, lanes),
            of_weight: if self.wanted.weight { d_input } else { 0 },
            of_bias: self.wanted.bias && !self.problem.bias.is_empty(),
        };
        let n_rows = sums.of_weight + usize::from(sums.of_bias);
        if n_rows > 0 {
            let joined = sums.over_rows::<S>(n_rows);
            // SAFETY: that many sums were made.
            let joined = unsafe { joined.first(n_rows * sums.row.width) };
            let (weight, bias) = joined.split_at(sums.of_weight * sums.row.width);
            gradients.weight = trimmed(weight, sums.of_weight, sums.row);
            gradients.bias = trimmed(bias, usize::from(sums.of_bias), sums.row);
        }
        gradients
    }
}

/// The gradients of the weight and of the bias are sums over all rows of the input.
struct Sums<'a, T> {
    problem: &'a Problem<'a, T>,
    slopes: &'a [T],
    /// A row of the sums.
    row: Row,
    /// Rows of the weight's gradient that are wanted, all or none.
    of_weight: usize,
    of_bias: bool,
}

impl<T: Real> Sums<'_, T> {
    /// Rows of the weight's gradient, then of the bias's.
    ///
    /// The pieces of work are blocks of the weight's rows; where these are few, the input's rows are cut as well, and each part
    /// has sums of its own. The cut depends on sizes alone.
    fn over_rows<S: Simd>(&self, n_rows: usize) -> Buffer<T> {
        let blocks = self.of_weight.div_ceil(BLOCK).max(1);
        let most_parts = MOST_PIECES.div_ceil(blocks);
        let rows = self.problem.rows.div_ceil(most_parts);
        let rows = rows.next_multiple_of(GROUP);
        let work = self.of_weight.clamp(1, BLOCK) * self.row.width;
        let parts = Parts::new(self.problem.rows, rows, work);
        let most = parts.samples(0).len();
        let size = n_rows * self.row.width;
        let part_room = BlockSums::<T>::numbers(size, most);
        let buffer = Buffer::<T>::new(parts.count() * part_room);
        let sums = SharedMut::new(buffer.as_ptr());
        at_once(parts.count() * blocks, |piece| {
            let (part, block) = (piece / blocks, piece % blocks);
            let first = block * BLOCK;
            let room = GROUP * (self.slopes_stride() + Row::spread(BLOCK));
            with_scratch(room, |room| {
                // SAFETY: the machine has the instructions of S; each piece has rows of sums of its own, and the room is large
                // enough.
                unsafe {
                    S::vectorize(Piece {
                        call: self,
                        rows: parts.samples(part),
                        columns: first..(first + BLOCK).min(self.of_weight),
                        sums: sums.at(part * part_room),
                        most,
                        room,
                    });
                }
            });
        });
        // SAFETY: all pieces have made their sums.
        unsafe { parts.join(&buffer, size, part_room) };
        buffer
    }

    /// How far apart the rows of the slopes lie in the room of a piece.
    fn slopes_stride(&self) -> usize {
        Row::spread(self.row.width)
    }
}

/// A piece of the sums, to be made with the instructions of S: a closure would not be inlined there.
struct Piece<'a, T> {
    call: &'a Sums<'a, T>,
    rows: Range<usize>,
    /// The input's columns, which are the weight's rows; the first piece of a part has the bias.
    columns: Range<usize>,
    sums: *mut T,
    /// The most rows of a part.
    most: usize,
    room: *mut T,
}

impl<T: Real> WithSimd for Piece<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self) {
        let Piece {
            call,
            columns,
            sums,
            most,
            room,
            ..
        } = self;
        let Sums { row, of_weight, .. } = *call;
        // A block's sums lie behind those of all blocks.
        let between = (of_weight + usize::from(call.of_bias)) * row.width;
        let Problem { d_input, input, .. } = *call.problem;
        let (stride, columns_stride) = (call.slopes_stride(), Row::spread(BLOCK));
        let has_bias = call.of_bias && columns.start == 0;
        // SAFETY: as `over_rows` promises.
        unsafe {
            let at = |first: usize, n_rows: usize| {
                let start = sums.add(first * row.width);
                BlockSums::apart(start, n_rows * row.width, between, most)
            };
            let mut of_columns = at(columns.start, columns.len());
            let mut of_bias = has_bias.then(|| at(of_weight, 1));
            let inputs = room.add(GROUP * stride);
            for first in self.rows.clone().step_by(GROUP) {
                let count = GROUP.min(self.rows.end - first);
                for index in 0..count {
                    row.read::<S, T>(call.slopes, first + index, room.add(index * stride));
                    let from = input[(first + index) * d_input..][columns.clone()].as_ptr();
                    let to = inputs.add(index * columns_stride);
                    Row::new(columns.len(), row.lanes).copy_units::<S, T>(from, to);
                }
                let slopes = Rows::new(room.cast_const(), stride);
                add_product::<S, T>(
                    [columns.len(), count, row.vectors()],
                    Strided::new(inputs.cast_const(), 1, columns_stride),
                    slopes,
                    RowsMut::new(of_columns.block(), row.width),
                );
                of_columns.added(count);
                if let Some(of_bias) = &mut of_bias {
                    add_rows::<S, T>(count, slopes, row, of_bias.block());
                    of_bias.added(count);
                }
            }
            of_columns.finish();
            if let Some(of_bias) = of_bias {
                of_bias.finish();
            }
        }
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
    let mut output = Written::new(problem.rows * row.units, true);
    let to = output.place();
    let is_padded = row.units < row.width;
    let room = if is_padded { GROUP * row.width } else { 0 };
    let parts = Parts::new(problem.rows, GROUP, problem.d_input * problem.d_output);
    parts.for_each_group(GROUP, room, |rows, room| {
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
                for index in 0..rows.len() {
                    let from = room.add(index * row.width).cast_const();
                    core::ptr::copy_nonoverlapping(from, to.add(index * row.units), row.units);
                }
            }
        }
    });
    // SAFETY: all rows of all groups are written.
    unsafe { output.finish() }
}
