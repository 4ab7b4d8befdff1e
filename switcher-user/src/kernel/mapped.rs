//! Maps that are memory.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// What a mapping may do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// A mapped array map of `T`s, shared with the kernel's programs.
#[derive(Debug)]
pub(super) struct Mapped<T> {
    first: NonNull<T>,
    count: usize,
}

// SAFETY: the mapping belongs to no thread; who reads or writes through it does so by the methods below.
unsafe impl<T: Sync> Send for Mapped<T> {}
// SAFETY: shared access gives `&T` only.
unsafe impl<T: Sync> Sync for Mapped<T> {}

impl<T> Mapped<T> {
    /// Maps `count` elements. `T`'s size is the map's value size, a multiple of 8, and any bytes are a `T`.
    pub(super) fn new(map: BorrowedFd<'_>, count: usize, access: Access) -> io::Result<Self>
    where
        T: zerocopy::FromBytes,
    {
        assert!(
            size_of::<T>().is_multiple_of(8),
            "array maps round values up to 8 bytes"
        );
        let protection = match access {
            Access::Read => libc::PROT_READ,
            Access::Write => libc::PROT_READ | libc::PROT_WRITE,
        };
        // SAFETY: a new mapping of a descriptor that is open; the result is checked.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                count * size_of::<T>(),
                protection,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let first = NonNull::new(memory.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { first, count })
    }

    /// The elements. What the kernel changes meanwhile must be atomics in `T`.
    pub(super) fn elements(&self) -> &[T] {
        // SAFETY: the mapping has `count` elements, is page aligned, and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.count) }
    }

    /// Fills a mapping that nobody else has yet.
    pub(super) fn fill(&mut self, values: &[T])
    where
        T: Copy,
    {
        assert_eq!(values.len(), self.count, "the mapping was made for these values");
        // SAFETY: `count` elements, writable as its maker asked, and not shared yet.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), self.first.as_ptr(), self.count) };
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, with its length.
        unsafe { libc::munmap(self.first.as_ptr().cast(), self.count * size_of::<T>()) };
    }
}
