//! Aligned memory that is not cleared before use.

use alloc::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error};
use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;

/// A vector that straddles two cache lines costs two loads.
const ALIGNMENT: usize = 64;

/// Of a layout whose sizes no memory can have.
pub(crate) const TOO_LARGE: &str = "a buffer is smaller than the address space";

/// Room for `len` numbers, aligned to a cache line. What it holds at first is not defined.
pub(crate) struct Buffer<T> {
    pointer: NonNull<u8>,
    layout: Layout,
    element: PhantomData<T>,
}

// SAFETY: a buffer owns its memory, and hands out nothing but raw pointers.
unsafe impl<T: Send> Send for Buffer<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Buffer<T> {}

impl<T> Buffer<T> {
    /// Room that is not cleared.
    pub(crate) fn new(len: usize) -> Self {
        Buffer::with(len, |layout| {
            // SAFETY: the layout is not empty.
            unsafe { alloc(layout) }
        })
    }

    fn zeroed(len: usize) -> Self {
        Buffer::with(len, |layout| {
            // SAFETY: the layout is not empty.
            unsafe { alloc_zeroed(layout) }
        })
    }

    fn with(len: usize, allocate: impl Fn(Layout) -> *mut u8) -> Self {
        let bytes = len.checked_mul(size_of::<T>()).expect(TOO_LARGE).max(1);
        let layout = Layout::from_size_align(bytes, ALIGNMENT).expect(TOO_LARGE);
        let pointer = NonNull::new(allocate(layout)).unwrap_or_else(|| handle_alloc_error(layout));
        Buffer {
            pointer,
            layout,
            element: PhantomData,
        }
    }

    pub(crate) fn as_ptr(&self) -> *mut T {
        self.pointer.as_ptr().cast()
    }

    /// The first numbers.
    ///
    /// # Safety
    /// So many must have been written, and nobody may write them while the slice lives.
    pub(crate) unsafe fn first(&self, len: usize) -> &[T] {
        // SAFETY: as the caller promises.
        unsafe { core::slice::from_raw_parts(self.as_ptr(), len) }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.layout.size()
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and freed once.
        unsafe { dealloc(self.pointer.as_ptr(), self.layout) }
    }
}

impl<T> fmt::Debug for Buffer<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Buffer({} bytes)", self.bytes())
    }
}

std::thread_local! {
    static SCRATCH: Cell<Option<Buffer<u8>>> = const { Cell::new(None) };
}

/// Calls `work` with room for `len` numbers that the thread keeps for the next call. It holds initialised
/// numbers, but any.
pub(crate) fn with_scratch<T, R>(len: usize, work: impl FnOnce(*mut T) -> R) -> R {
    let bytes = len.checked_mul(size_of::<T>()).expect(TOO_LARGE);
    SCRATCH.with(|scratch| {
        let buffer = match scratch.take() {
            Some(buffer) if buffer.bytes() >= bytes => buffer,
            _ => Buffer::zeroed(bytes),
        };
        let result = work(buffer.as_ptr().cast());
        scratch.set(Some(buffer));
        result
    })
}
