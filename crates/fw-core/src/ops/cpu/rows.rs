//! Rows of numbers that are padded with zeros to whole vectors.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::lanes::{Real, load, splat, store};
use macerator::{Simd, Vector};

/// The size of a row: so many units, then zeros up to a width of whole vectors of `lanes` numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) units: usize,
    pub(crate) width: usize,
    pub(crate) lanes: usize,
}

impl Row {
    pub(crate) fn new(units: usize, lanes: usize) -> Self {
        Row {
            units,
            width: units.next_multiple_of(lanes),
            lanes,
        }
    }

    /// How far apart rows of a width are to lie that are read column by column: a few numbers more, since columns of rows that
    /// are a power of two apart would share a few places of the cache.
    #[inline(always)]
    pub(crate) fn spread(width: usize) -> usize {
        const MORE: usize = 16;
        width + MORE
    }

    /// Vectors in a row.
    #[inline(always)]
    pub(crate) fn vectors(&self) -> usize {
        self.width / self.lanes
    }

    /// Where each vector of a row begins.
    #[inline(always)]
    pub(crate) fn starts(&self) -> impl Iterator<Item = usize> + use<> {
        starts(self.width, self.lanes)
    }

    /// `to = f(to, row)`, vector by vector.
    ///
    /// # Safety
    /// Both must be rows of this size, and the caller compiled with the instructions of `S`.
    #[inline(always)]
    pub(crate) unsafe fn update<S: Simd, T: Real>(
        &self,
        to: *mut T,
        row: *const T,
        f: impl Fn(Vector<S, T>, Vector<S, T>) -> Vector<S, T>,
    ) {
        for lane in self.starts() {
            // SAFETY: as the caller promises.
            unsafe {
                let new = f(load::<S, T>(to.add(lane)), load::<S, T>(row.add(lane)));
                store::<S, T>(to.add(lane), new);
            }
        }
    }

    /// `to = factor row`.
    ///
    /// # Safety
    /// As for [`update`](Self::update).
    #[inline(always)]
    pub(crate) unsafe fn scale_to<S: Simd, T: Real>(&self, factor: T, row: *const T, to: *mut T) {
        let factor = splat::<S, T>(factor);
        for lane in self.starts() {
            // SAFETY: as the caller promises.
            unsafe { store::<S, T>(to.add(lane), load::<S, T>(row.add(lane)) * factor) };
        }
    }

    /// The same number in every place.
    ///
    /// # Safety
    /// As for [`update`](Self::update).
    #[inline(always)]
    pub(crate) unsafe fn set<S: Simd, T: Real>(&self, number: T, to: *mut T) {
        let numbers = splat::<S, T>(number);
        for lane in self.starts() {
            // SAFETY: as the caller promises.
            unsafe { store::<S, T>(to.add(lane), numbers) };
        }
    }

    /// `to += row`.
    ///
    /// # Safety
    /// As for [`update`](Self::update).
    #[inline(always)]
    pub(crate) unsafe fn add_to<S: Simd, T: Real>(&self, row: *const T, to: *mut T) {
        // SAFETY: as the caller promises.
        unsafe { self.update::<S, T>(to, row, |sum, row| sum + row) }
    }

    /// `to = row`.
    ///
    /// # Safety
    /// As for [`update`](Self::update).
    #[inline(always)]
    pub(crate) unsafe fn copy<S: Simd, T: Real>(&self, row: *const T, to: *mut T) {
        for lane in self.starts() {
            // SAFETY: as the caller promises.
            unsafe { store::<S, T>(to.add(lane), load::<S, T>(row.add(lane))) };
        }
    }

    /// `to = row`, without the padding: as many numbers as there are units. Rows are short, and a call of `memcpy` for
    /// each would cost more than the copies.
    ///
    /// # Safety
    /// `row` must be readable and `to` writable for `units` numbers, and they must not overlap.
    #[inline(always)]
    pub(crate) unsafe fn copy_units<S: Simd, T: Real>(&self, row: *const T, to: *mut T) {
        let (d, lanes) = (self.units, self.lanes);
        // SAFETY: as the caller promises; the last vector overlaps the one before it.
        unsafe {
            if d < lanes {
                for unit in 0..d {
                    *to.add(unit) = *row.add(unit);
                }
                return;
            }
            for lane in starts(d - lanes, lanes) {
                store::<S, T>(to.add(lane), load::<S, T>(row.add(lane)));
            }
            let last = d - lanes;
            store::<S, T>(to.add(last), load::<S, T>(row.add(last)));
        }
    }

    /// A row of a tensor, by its index, as [`copy_padded`](Self::copy_padded) does.
    ///
    /// # Safety
    /// `to` must be writable for the width; the caller must be compiled with the instructions of `S`.
    #[inline(always)]
    pub(crate) unsafe fn read<S: Simd, T: Real>(&self, tensor: &[T], index: usize, to: *mut T) {
        let from = tensor[index * self.units..][..self.units].as_ptr();
        // SAFETY: as the caller promises.
        unsafe { self.copy_padded::<S, T>(from, to) }
    }

    /// A row of a tensor, by its index, with zeros behind it: where it lies, or else in `room`.
    ///
    /// # Safety
    /// As for [`read`](Self::read).
    #[inline(always)]
    pub(crate) unsafe fn view<S: Simd, T: Real>(
        &self,
        tensor: &[T],
        index: usize,
        room: *mut T,
    ) -> *const T {
        if self.units == self.width {
            return tensor[index * self.units..][..self.units].as_ptr();
        }
        // SAFETY: as the caller promises.
        unsafe { self.read::<S, T>(tensor, index, room) };
        room
    }

    /// A row of a tensor, then zeros up to the width.
    ///
    /// # Safety
    /// `row` must be readable for `units` numbers, `to` writable for the width, and they must not overlap.
    #[inline(always)]
    pub(crate) unsafe fn copy_padded<S: Simd, T: Real>(&self, row: *const T, to: *mut T) {
        // SAFETY: as the caller promises.
        unsafe {
            if self.units < self.width {
                let last = self.width - self.lanes;
                store::<S, T>(to.add(last), splat::<S, T>(T::zero()));
            }
            self.copy_units::<S, T>(row, to);
        }
    }

    /// Rows of a tensor, one after another, each followed by zeros up to the width.
    ///
    /// # Safety
    /// `to` must be writable for so many widths; the caller must be compiled with the instructions of `S`.
    #[inline(always)]
    pub(crate) unsafe fn copy_rows_padded<S: Simd, T: Real>(
        &self,
        n: usize,
        rows: &[T],
        to: *mut T,
    ) {
        let rows = rows[..n * self.units].as_ptr();
        for row in 0..n {
            // SAFETY: as the caller promises.
            unsafe {
                self.copy_padded::<S, T>(rows.add(row * self.units), to.add(row * self.width));
            }
        }
    }

    /// The reverse of [`copy_rows_padded`](Self::copy_rows_padded).
    ///
    /// # Safety
    /// `rows` must be readable for so many widths, `to` writable for so many rows of a tensor; the caller must be compiled with
    /// the instructions of `S`.
    #[inline(always)]
    pub(crate) unsafe fn copy_rows_units<S: Simd, T: Real>(
        &self,
        n: usize,
        rows: *const T,
        to: *mut T,
    ) {
        for row in 0..n {
            // SAFETY: as the caller promises.
            unsafe {
                self.copy_units::<S, T>(rows.add(row * self.width), to.add(row * self.units));
            }
        }
    }
}

/// The multiples of `lanes` below `width`. A range by steps would divide to know how many there are, which costs more than a short row.
#[inline(always)]
fn starts(width: usize, lanes: usize) -> impl Iterator<Item = usize> + use<> {
    let mut next = 0;
    core::iter::from_fn(move || {
        let start = next;
        next += lanes;
        (start < width).then_some(start)
    })
}

/// # Safety
/// `to` must have room for `len` numbers.
#[inline(always)]
pub(crate) unsafe fn clear<T: Real>(to: *mut T, len: usize) {
    // SAFETY: as the caller promises; all bits 0 is the number 0.
    unsafe { core::ptr::write_bytes(to, 0, len) }
}

/// The rows of a matrix, each followed by zeros up to `width`; itself, if there are none to add. No rows of no
/// width are one row of zeros.
pub(crate) fn padded<T: Real>(matrix: &[T], columns: usize, width: usize) -> Cow<'_, [T]> {
    if columns == width {
        return Cow::Borrowed(matrix);
    }
    let rows = matrix.len().checked_div(columns).unwrap_or(1);
    let mut padded = alloc::vec![T::zero(); rows * width];
    if columns > 0 {
        for (to, from) in padded
            .chunks_exact_mut(width)
            .zip(matrix.chunks_exact(columns))
        {
            to[..columns].copy_from_slice(from);
        }
    }
    Cow::Owned(padded)
}

/// So many rows, without their padding.
pub(crate) fn trimmed<T: Real>(padded: &[T], rows: usize, row: Row) -> Vec<T> {
    let mut trimmed = Vec::with_capacity(rows * row.units);
    extend_trimmed(&mut trimmed, padded, rows, row);
    trimmed
}

/// [`trimmed`], behind what is there.
pub(crate) fn extend_trimmed<T: Real>(to: &mut Vec<T>, padded: &[T], rows: usize, row: Row) {
    for padded in padded[..rows * row.width].chunks_exact(row.width.max(1)) {
        to.extend_from_slice(&padded[..row.units]);
    }
}

/// The transposed matrix, its rows padded with zeros to `width`.
pub(crate) fn transposed<T: Real>(matrix: &[T], columns: usize, width: usize) -> Vec<T> {
    let mut result = alloc::vec![T::zero(); columns * width];
    for (row, from) in matrix.chunks_exact(columns).enumerate() {
        for (column, value) in from.iter().enumerate() {
            result[column * width + row] = *value;
        }
    }
    result
}

/// Pieces laid end to end.
#[derive(Default)]
pub(crate) struct Offsets(usize);

impl Offsets {
    /// Where a piece of so many numbers begins.
    pub(crate) fn take(&mut self, numbers: usize) -> usize {
        let start = self.0;
        self.0 = start.checked_add(numbers).expect(super::buffer::TOO_LARGE);
        start
    }

    /// Where the last piece ends.
    pub(crate) fn end(&self) -> usize {
        self.0
    }
}
