//! Transposes of small matrices.

use core::any::TypeId;

use super::lanes::Real;

/// `to = fromᵀ` for a matrix of `[rows, columns]`, each of whose rows begins `stride` numbers behind the one before, and those of its transpose
/// `to_stride`.
///
/// # Safety
/// `from` must be readable and `to` writable, and they must not overlap.
#[inline(always)]
pub(crate) unsafe fn transpose<T: Real>(
    [rows, columns]: [usize; 2],
    from: *const T,
    stride: usize,
    to: *mut T,
    to_stride: usize,
) {
    // SAFETY: as the caller promises.
    unsafe {
        let blocks = |size: usize| match TypeId::of::<T>() == TypeId::of::<f32>() {
            true if cfg!(target_arch = "x86_64") => size / 4 * 4,
            _ => 0,
        };
        let (whole_rows, whole_columns) = (blocks(rows), blocks(columns));
        for row in (0..whole_rows).step_by(4) {
            for column in (0..whole_columns).step_by(4) {
                let from = from.add(row * stride + column);
                let to = to.add(column * to_stride + row);
                block(from.cast(), stride, to.cast(), to_stride);
            }
        }
        for row in 0..rows {
            let first = if row < whole_rows { whole_columns } else { 0 };
            let from = from.add(row * stride);
            for column in first..columns {
                *to.add(column * to_stride + row) = *from.add(column);
            }
        }
    }
}

/// Four rows of four numbers.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn block(from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
    use core::arch::x86_64::{
        _mm_loadu_ps, _mm_movehl_ps, _mm_movelh_ps, _mm_storeu_ps, _mm_unpackhi_ps, _mm_unpacklo_ps,
    };
    // SAFETY: as the caller promises; every processor of this kind has these instructions.
    unsafe {
        let row = |index: usize| _mm_loadu_ps(from.add(index * stride));
        let (a, b, c, d) = (row(0), row(1), row(2), row(3));
        let (low_ab, high_ab) = (_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b));
        let (low_cd, high_cd) = (_mm_unpacklo_ps(c, d), _mm_unpackhi_ps(c, d));
        _mm_storeu_ps(to, _mm_movelh_ps(low_ab, low_cd));
        _mm_storeu_ps(to.add(to_stride), _mm_movehl_ps(low_cd, low_ab));
        _mm_storeu_ps(to.add(2 * to_stride), _mm_movelh_ps(high_ab, high_cd));
        _mm_storeu_ps(to.add(3 * to_stride), _mm_movehl_ps(high_cd, high_ab));
    }
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn block(_from: *const f32, _stride: usize, _to: *mut f32, _to_stride: usize) {
    unreachable!("there are no blocks")
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn check<T: Real>() {
        for rows in 1..10 {
            for columns in 1..10 {
                let number = |row: usize, column: usize| T::of((10 * row + column) as f64);
                let (stride, to_stride) = (columns + 1, rows + 2);
                let mut from = vec![T::of(-1.0); rows * stride];
                for row in 0..rows {
                    for column in 0..columns {
                        from[row * stride + column] = number(row, column);
                    }
                }
                let mut to = vec![T::of(-2.0); columns * to_stride];
                // SAFETY: both have as many rows of as many numbers.
                unsafe {
                    let sizes = [rows, columns];
                    transpose(sizes, from.as_ptr(), stride, to.as_mut_ptr(), to_stride);
                }
                for column in 0..columns {
                    for row in 0..to_stride {
                        let expected = match row < rows {
                            true => number(row, column),
                            false => T::of(-2.0),
                        };
                        assert_eq!(to[column * to_stride + row], expected);
                    }
                }
            }
        }
    }

    #[test]
    fn matrices_of_every_small_size_are_transposed() {
        check::<f32>();
        check::<f64>();
    }
}
