//! Large columns of zeros. The kernel gives them out as zeros already, and in large pages where it can: touching a gigabyte of small
//! pages costs as much as encoding it.

use crate::field::Base;

/// From here on large pages are asked for: two of 2 MiB.
const LARGE_BYTES: usize = 4 << 20;

/// So many elements, all zero.
pub(crate) fn zeros(count: usize) -> Vec<Base> {
    into_elements(vec![0_u64; count])
}

/// So many cells, all zero.
pub(crate) fn zero_cells<const N: usize>(count: usize) -> Vec<[Base; N]> {
    into_elements(vec![[0_u64; N]; count])
}

/// Integers as elements of the same representation: zero is below p.
fn into_elements<T, E>(zeros: Vec<T>) -> Vec<E> {
    const { assert!(size_of::<T>() == size_of::<E>() && align_of::<T>() == align_of::<E>()) };
    let mut zeros = std::mem::ManuallyDrop::new(zeros);
    let (start, length, capacity) = (zeros.as_mut_ptr(), zeros.len(), zeros.capacity());
    advise(start.cast(), capacity.saturating_mul(size_of::<T>()));
    // SAFETY: the allocation is that of a vector of the same element size and alignment, which is forgotten; `E` is `Base` or an
    // array of it, a transparent wrapper of u64 that may be zero.
    unsafe { Vec::from_raw_parts(start.cast(), length, capacity) }
}

/// Asks for large pages; whether they come changes no result.
#[cfg(target_os = "linux")]
fn advise(start: *mut u8, bytes: usize) {
    const PAGE: usize = 2 << 20;
    if bytes < LARGE_BYTES {
        return;
    }
    let skip = start.align_offset(PAGE);
    let length = bytes.saturating_sub(skip) & !(PAGE - 1);
    if length > 0 {
        // SAFETY: the range lies within an allocation that this module owns; the advice keeps its contents.
        unsafe { libc::madvise(start.wrapping_add(skip).cast(), length, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn advise(_: *mut u8, _: usize) {}
