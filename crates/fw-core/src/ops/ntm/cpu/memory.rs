//! The memory of one sample, a row of slots for each place of a word: reading and writing, and their gradients.

use super::layout::Layout;
use crate::ops::cpu::{Real, Row, Simd, clear, load, splat, store};

/// What one read head and one write head do to a memory, or one of them.
#[derive(Clone, Copy)]
pub(super) struct Access<T> {
    /// A weighting, and where the word goes that is read.
    pub(super) read: (*const T, *mut T),
    /// A weighting, and the vectors that are erased and added.
    pub(super) write: (*const T, *const T, *const T),
}

impl<T> Access<T> {
    fn reads(weights: *const T, word: *mut T) -> Self {
        let nothing = core::ptr::null();
        Access {
            read: (weights, word),
            write: (nothing, nothing, nothing),
        }
    }

    fn writes(weights: *const T, erase: *const T, add: *const T) -> Self {
        Access {
            read: (core::ptr::null(), core::ptr::null_mut()),
            write: (weights, erase, add),
        }
    }
}

/// The rows that the heads of one step read and write with.
#[derive(Clone, Copy)]
pub(super) struct Heads<T> {
    /// What the heads ask for.
    pub(super) asked: *const T,
    /// Weightings, a row of slots for each head.
    pub(super) weights: *const T,
}

impl<T: Real> Heads<T> {
    #[inline(always)]
    unsafe fn weights(&self, layout: &Layout, head: usize) -> *const T {
        // SAFETY: as the caller promises.
        unsafe { self.weights.add(head * layout.slots.width) }
    }

    /// A write head's weighting, erase vector and add vector.
    #[inline(always)]
    unsafe fn writing(&self, layout: &Layout, head: usize) -> (*const T, *const T, *const T) {
        // SAFETY: as the caller promises.
        unsafe {
            let vector = |first: usize| self.asked.add(first + head * layout.word);
            let weights = self.weights(layout, layout.n_read + head);
            (weights, vector(layout.erase()), vector(layout.add()))
        }
    }
}

/// Reads from the memory `from` to `reads`, one word for each read head, and writes to `to`, which may be the same memory.
///
/// # Safety
/// Both must be memories and `heads` rows of one step; the caller must be compiled with the instructions of S.
#[inline(always)]
pub(super) unsafe fn access<S: Simd, T: Real>(
    layout: &Layout,
    heads: Heads<T>,
    from: *const T,
    to: *mut T,
    reads: *mut T,
) {
    // SAFETY: as the caller promises.
    unsafe {
        if layout.n_read == 1 && layout.n_write == 1 {
            let heads = Access {
                read: (heads.weights(layout, 0), reads),
                write: heads.writing(layout, 0),
            };
            return pass::<S, T, true, true, true>(layout, heads, from, to);
        }
        for head in 0..layout.n_read {
            let word = reads.add(head * layout.word);
            let access = Access::reads(heads.weights(layout, head), word);
            pass::<S, T, true, false, false>(layout, access, from, to);
        }
        write::<S, T>(layout, heads, from, to);
    }
}

/// Writes: all heads erase, then all add.
///
/// # Safety
/// As for [`access`].
#[inline(always)]
pub(super) unsafe fn write<S: Simd, T: Real>(
    layout: &Layout,
    heads: Heads<T>,
    from: *const T,
    to: *mut T,
) {
    // SAFETY: as the caller promises.
    unsafe {
        let writes = |head: usize| {
            let (weights, erase, add) = heads.writing(layout, head);
            Access::writes(weights, erase, add)
        };
        if layout.n_write == 1 {
            return pass::<S, T, false, true, true>(layout, writes(0), from, to);
        }
        for head in 0..layout.n_write {
            let from = if head == 0 { from } else { to.cast_const() };
            pass::<S, T, false, true, false>(layout, writes(head), from, to);
        }
        for head in 0..layout.n_write {
            pass::<S, T, false, false, true>(layout, writes(head), to, to);
        }
    }
}

/// One pass over the memory: what is asked for of reading, erasing and adding.
#[inline(always)]
unsafe fn pass<S: Simd, T: Real, const READ: bool, const ERASE: bool, const ADD: bool>(
    layout: &Layout,
    heads: Access<T>,
    from: *const T,
    to: *mut T,
) {
    let slots = layout.slots;
    let (read_weights, word) = heads.read;
    let (write_weights, erase, add) = heads.write;
    // SAFETY: as the caller promises.
    unsafe {
        for place in 0..layout.word {
            let row = place * slots.width;
            let zero = splat::<S, T>(T::zero());
            let erase = if ERASE {
                splat::<S, T>(*erase.add(place))
            } else {
                zero
            };
            let add = if ADD {
                splat::<S, T>(*add.add(place))
            } else {
                zero
            };
            let mut sum = zero;
            for lane in slots.starts() {
                let mut x = load::<S, T>(from.add(row + lane));
                if READ {
                    sum = x.mul_add(load::<S, T>(read_weights.add(lane)), sum);
                }
                if ERASE || ADD {
                    let w = load::<S, T>(write_weights.add(lane));
                    if ERASE {
                        x = x - x * (w * erase);
                    }
                    if ADD {
                        x = w.mul_add(add, x);
                    }
                    store::<S, T>(to.add(row + lane), x);
                }
            }
            if READ {
                *word.add(place) = sum.reduce_add();
            }
        }
    }
}

/// Where the gradients of [`access`] go, and come from.
#[derive(Clone, Copy)]
pub(super) struct AccessSlopes<T> {
    /// Of what was read.
    pub(super) reads: *const T,
    /// Of the memory after the step; then of the memory before it.
    pub(super) memory: *mut T,
    /// Of the weightings, a row of slots for each head, to which they are added.
    pub(super) weights: *mut T,
    /// Where those of the erase and add vectors go, in a row of what the heads ask for.
    pub(super) asked: *mut T,
}

/// The gradients of [`access`]. `between` has room for a memory for each write head but the first.
///
/// # Safety
/// As for [`access`].
#[inline(always)]
pub(super) unsafe fn access_back<S: Simd, T: Real>(
    layout: &Layout,
    heads: Heads<T>,
    memory: *const T,
    slopes: AccessSlopes<T>,
    between: *mut T,
) {
    // SAFETY: as the caller promises.
    unsafe {
        let row = |head: usize| slopes.weights.add(head * layout.slots.width);
        let reads = |head: usize| {
            let word = slopes.reads.add(head * layout.word);
            (heads.weights(layout, head), word, row(head))
        };
        let writes = |head: usize| {
            let vector = |first: usize| slopes.asked.add(first + head * layout.word);
            let to = (vector(layout.erase()), vector(layout.add()));
            (heads.writing(layout, head), to, row(layout.n_read + head))
        };
        if layout.n_read == 1 && layout.n_write == 1 {
            return pass_back::<S, T, true, true, true>(
                layout,
                reads(0),
                writes(0),
                memory,
                slopes.memory,
            );
        }
        for head in 0..layout.n_write {
            let writes = writes(head);
            pass_back::<S, T, false, false, true>(layout, reads(0), writes, memory, slopes.memory);
        }
        // The memory that each head found, after those before it had erased.
        let found = |head: usize| match head {
            0 => memory,
            _ => between
                .add((head - 1) * layout.memory_numbers())
                .cast_const(),
        };
        for head in 1..layout.n_write {
            let (weights, erase, add) = heads.writing(layout, head - 1);
            let access = Access::writes(weights, erase, add);
            let to = found(head).cast_mut();
            pass::<S, T, false, true, false>(layout, access, found(head - 1), to);
        }
        for head in (0..layout.n_write).rev() {
            let (writes, found) = (writes(head), found(head));
            pass_back::<S, T, false, true, false>(layout, reads(0), writes, found, slopes.memory);
        }
        for head in 0..layout.n_read {
            let reads = reads(head);
            pass_back::<S, T, true, false, false>(layout, reads, writes(0), memory, slopes.memory);
        }
    }
}

/// One pass over the memory and its gradient. A head that reads is its weighting, the slopes of what it read, and where those
/// of its weighting are summed; one that writes is its weighting, erase and add vector, where the slopes of those two go, and
/// where those of its weighting are summed.
#[inline(always)]
unsafe fn pass_back<S: Simd, T: Real, const READ: bool, const ERASE: bool, const ADD: bool>(
    layout: &Layout,
    (read_weights, of_word, of_reading): (*const T, *const T, *mut T),
    ((write_weights, erase, add), (of_erase, of_add), of_writing): (
        (*const T, *const T, *const T),
        (*mut T, *mut T),
        *mut T,
    ),
    memory: *const T,
    of_memory: *mut T,
) {
    let slots = layout.slots;
    // SAFETY: as the caller promises.
    unsafe {
        for place in 0..layout.word {
            let row = place * slots.width;
            let zero = splat::<S, T>(T::zero());
            let mut of_word_here = zero;
            let (mut erased, mut added) = (zero, zero);
            let (mut erase_here, mut add_here) = (zero, zero);
            if READ {
                of_word_here = splat::<S, T>(*of_word.add(place));
            }
            if ERASE {
                erase_here = splat::<S, T>(*erase.add(place));
            }
            if ADD {
                add_here = splat::<S, T>(*add.add(place));
            }
            for lane in slots.starts() {
                let x = load::<S, T>(memory.add(row + lane));
                let mut slope = load::<S, T>(of_memory.add(row + lane));
                if ERASE || ADD {
                    let w = load::<S, T>(write_weights.add(lane));
                    let mut of_weight = load::<S, T>(of_writing.add(lane));
                    if ADD {
                        added = slope.mul_add(w, added);
                        of_weight = slope.mul_add(add_here, of_weight);
                    }
                    if ERASE {
                        let product = slope * x;
                        erased = product.mul_add(w, erased);
                        of_weight -= product * erase_here;
                        slope = slope - slope * (w * erase_here);
                    }
                    store::<S, T>(of_writing.add(lane), of_weight);
                }
                if READ {
                    let of_weight = of_word_here.mul_add(x, load::<S, T>(of_reading.add(lane)));
                    store::<S, T>(of_reading.add(lane), of_weight);
                    slope = of_word_here.mul_add(load::<S, T>(read_weights.add(lane)), slope);
                }
                if ERASE || READ {
                    store::<S, T>(of_memory.add(row + lane), slope);
                }
            }
            if ERASE {
                *of_erase.add(place) = -erased.reduce_add();
            }
            if ADD {
                *of_add.add(place) = added.reduce_add();
            }
        }
    }
}

/// A memory of a tensor, `[memory_size, word_size]`, as rows of slots, zeros behind them.
///
/// # Safety
/// `from` and `to` must be such memories.
pub(super) unsafe fn turn_in<T: Real>(word: usize, slots: Row, from: *const T, to: *mut T) {
    // SAFETY: as the caller promises.
    unsafe {
        turn([slots.units, word], (from, word), (to, slots.width));
        for place in 0..word {
            let row = to.add(place * slots.width + slots.units);
            clear(row, slots.width - slots.units);
        }
    }
}

/// The reverse of [`turn_in`].
///
/// # Safety
/// As for [`turn_in`].
pub(super) unsafe fn turn_out<T: Real>(word: usize, slots: Row, from: *const T, to: *mut T) {
    // SAFETY: as the caller promises.
    unsafe { turn([word, slots.units], (from, slots.width), (to, word)) };
}

/// The transpose of a matrix; beside each pointer how far apart its rows are.
///
/// # Safety
/// Both must be matrices of that size.
unsafe fn turn<T: Real>(
    [rows, columns]: [usize; 2],
    (from, from_stride): (*const T, usize),
    (to, to_stride): (*mut T, usize),
) {
    /// Rows and columns at a time: they are turned within registers.
    const N: usize = 4;
    // SAFETY: as the caller promises.
    unsafe {
        for row in (0..rows).step_by(N) {
            for column in (0..columns).step_by(N) {
                let from = from.add(row * from_stride + column);
                let to = to.add(column * to_stride + row);
                if row + N <= rows && column + N <= columns {
                    let block: [[T; N]; N] =
                        core::array::from_fn(|row| *from.add(row * from_stride).cast());
                    let turned: [[T; N]; N] =
                        core::array::from_fn(|column| block.map(|row| row[column]));
                    for (column, row) in turned.into_iter().enumerate() {
                        *to.add(column * to_stride).cast() = row;
                    }
                    continue;
                }
                for row in 0..N.min(rows - row) {
                    for column in 0..N.min(columns - column) {
                        *to.add(column * to_stride + row) = *from.add(row * from_stride + column);
                    }
                }
            }
        }
    }
}
