//! The walk of a kernel over a batch, written once: parts side by side on threads, in each a few samples at a time, with the
//! instructions that were chosen.

use alloc::vec::Vec;
use core::ops::Range;

use super::buffer::Buffer;
use super::lanes::Real;
use super::parts::{BlockSums, Parts, SharedMut};
use super::{Simd, WithSimd};

/// A batch, and how the walk goes over it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sweep {
    pub(crate) parts: Parts,
    /// Samples at a time.
    pub(crate) group: usize,
    /// Numbers to work with that a group needs; they hold any at first.
    pub(crate) scratch: usize,
}

/// What a forward pass does with a few samples: their whole sequence.
pub(crate) trait ForwardPass<T: Real>: Sync {
    /// # Safety
    /// The machine must have the instructions of S, and the scratch the size that [`Sweep`] says. It is inlined into a function that is
    /// compiled for S.
    unsafe fn run<S: Simd>(&self, samples: Range<usize>, scratch: *mut T);
}

/// What a backward pass does with a few samples: their whole sequence, from its end. What they say of the weights is added to `sums`.
pub(crate) trait BackwardPass<T: Real>: Sync {
    /// # Safety
    /// As for [`ForwardPass::run`].
    unsafe fn run<S: Simd>(&self, samples: Range<usize>, scratch: *mut T, sums: &mut BlockSums<T>);
}

impl Sweep {
    /// All samples, with the instructions of S.
    ///
    /// # Safety
    /// The machine must have them, and the pass may rely on no more scratch than there is.
    pub(crate) unsafe fn forward<S: Simd, T: Real>(&self, pass: &impl ForwardPass<T>) {
        self.parts
            .for_each_group(self.group, self.scratch, |samples, scratch| {
                // SAFETY: as the caller promises.
                unsafe {
                    S::vectorize(ForwardGroup {
                        pass,
                        samples,
                        scratch,
                    });
                }
            });
    }

    /// The same back: `size` sums over the batch, of `rows` rows a sample.
    ///
    /// # Safety
    /// As for [`forward`](Self::forward).
    pub(crate) unsafe fn backward<S: Simd, T: Real>(
        &self,
        pass: &impl BackwardPass<T>,
        size: usize,
        rows: usize,
    ) -> Buffer<T> {
        self.parts.sum_groups(
            self.group,
            self.scratch,
            size,
            rows,
            |samples, scratch, sums| {
                // SAFETY: as the caller promises.
                unsafe {
                    S::vectorize(BackwardGroup {
                        pass,
                        samples,
                        scratch,
                        sums,
                    });
                }
            },
        )
    }
}

/// A few samples, to be run with the instructions of S: a closure would not be inlined there.
struct ForwardGroup<'a, P, T> {
    pass: &'a P,
    samples: Range<usize>,
    scratch: *mut T,
}

impl<P: ForwardPass<T>, T: Real> WithSimd for ForwardGroup<'_, P, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self) {
        // SAFETY: as the caller of `forward` promises.
        unsafe { self.pass.run::<S>(self.samples, self.scratch) }
    }
}

/// The same with sums to add to.
struct BackwardGroup<'a, P, T> {
    pass: &'a P,
    samples: Range<usize>,
    scratch: *mut T,
    sums: &'a mut BlockSums<T>,
}

impl<P: BackwardPass<T>, T: Real> WithSimd for BackwardGroup<'_, P, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self) {
        // SAFETY: as the caller of `backward` promises.
        unsafe { self.pass.run::<S>(self.samples, self.scratch, self.sums) }
    }
}

/// Numbers of which each sample writes its own, and which are all written in the end; none, where they are not wanted.
pub(crate) struct Written<T> {
    numbers: Vec<T>,
    len: usize,
}

impl<T: Copy> Written<T> {
    /// Room for as many as are wanted.
    pub(crate) fn new(len: usize, is_wanted: bool) -> Self {
        let len = if is_wanted { len } else { 0 };
        Written {
            numbers: Vec::with_capacity(len),
            len,
        }
    }

    /// Where they go.
    pub(crate) fn place(&mut self) -> SharedMut<T> {
        SharedMut::new(self.numbers.as_mut_ptr())
    }

    /// The numbers.
    ///
    /// # Safety
    /// All that are wanted must have been written.
    pub(crate) unsafe fn finish(mut self) -> Vec<T> {
        // SAFETY: as the caller promises; they are within the capacity.
        unsafe { self.numbers.set_len(self.len) };
        self.numbers
    }
}
