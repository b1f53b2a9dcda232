//! Zeroed memory in 64-byte lines, on huge pages where the system has them: with 4 KiB pages, address
//! translation and not the memory bounds the speed of decoding. Never grows and never moves.

use std::alloc::Layout;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// A huge page on x86-64 and most others.
const HUGE_PAGE: usize = 2 << 20;

/// How many lines ahead to [`prefetch`] when reading in order: 8 KiB.
pub(super) const PREFETCH_LINES: usize = 128;

/// A cache line, the unit in which kernels read weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Line(pub [u8; 64]);

impl Line {
    /// All zero.
    pub const ZERO: Line = Line([0; 64]);
}

/// The system has no memory left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory for {bytes} bytes of packed weights; use a smaller model or a machine with more memory")]
pub struct OutOfMemory {
    /// How much was wanted.
    pub bytes: usize,
}

/// A fixed number of [`Line`]s.
#[derive(Debug)]
pub struct HugeBuffer {
    lines: NonNull<Line>,
    count: usize,
    memory: Memory,
}

/// Where the lines come from, to give them back.
#[derive(Debug)]
enum Memory {
    Nothing,
    Heap(Layout),
    #[cfg(target_os = "linux")]
    Mapping {
        base: NonNull<libc::c_void>,
        bytes: usize,
    },
}

// SAFETY: the buffer owns its memory like a `Box<[Line]>` does; `Line` is plain bytes.
unsafe impl Send for HugeBuffer {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for HugeBuffer {}

impl HugeBuffer {
    /// `count` lines of zeros. Buffers of 2 MiB and more are mapped and advised to use huge pages; the system
    /// may ignore the advice.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn zeroed(count: usize) -> Result<HugeBuffer, OutOfMemory> {
        let error = OutOfMemory { bytes: count.saturating_mul(size_of::<Line>()) };
        if count == 0 {
            return Ok(HugeBuffer { lines: NonNull::dangling(), count, memory: Memory::Nothing });
        }
        let layout = Layout::array::<Line>(count).map_err(|_| error)?;
        #[cfg(target_os = "linux")]
        if layout.size() >= HUGE_PAGE {
            return Self::map(count, layout.size()).ok_or(error);
        }
        // SAFETY: the layout is not empty.
        let start = unsafe { std::alloc::alloc_zeroed(layout) };
        let lines = NonNull::new(start.cast::<Line>()).ok_or(error)?;
        Ok(HugeBuffer { lines, count, memory: Memory::Heap(layout) })
    }

    #[cfg(target_os = "linux")]
    fn map(count: usize, bytes: usize) -> Option<HugeBuffer> {
        // One page more than needed, so that a multiple of the huge page lies inside.
        let used = bytes.checked_next_multiple_of(HUGE_PAGE)?;
        let bytes = used.checked_add(HUGE_PAGE)?;
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new private mapping at an address of the system's choice touches no memory of ours.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return None;
        }
        let base = NonNull::new(base)?;
        let skip = base.as_ptr().align_offset(HUGE_PAGE);
        // SAFETY: `skip` is below HUGE_PAGE and the mapping has HUGE_PAGE + `used` bytes.
        let start = unsafe { base.byte_add(skip) };
        // SAFETY: the range is inside the mapping; the advice changes no contents, and failure is harmless.
        unsafe { libc::madvise(start.as_ptr(), used, libc::MADV_HUGEPAGE) };
        Some(HugeBuffer { lines: start.cast(), count, memory: Memory::Mapping { base, bytes } })
    }
}

impl Deref for HugeBuffer {
    type Target = [Line];

    fn deref(&self) -> &[Line] {
        // SAFETY: `lines` points to `count` aligned lines that were zeroed and are ours, or `count` is 0.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr(), self.count) }
    }
}

impl DerefMut for HugeBuffer {
    fn deref_mut(&mut self) -> &mut [Line] {
        // SAFETY: as above, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_ptr(), self.count) }
    }
}

impl Drop for HugeBuffer {
    fn drop(&mut self) {
        match self.memory {
            Memory::Nothing => {}
            // SAFETY: allocated in `zeroed` with this layout, and freed only here.
            Memory::Heap(layout) => unsafe { std::alloc::dealloc(self.lines.as_ptr().cast(), layout) },
            #[cfg(target_os = "linux")]
            Memory::Mapping { base, bytes } => {
                // SAFETY: the whole mapping made in `map`, unmapped only here. A failure would only leak it.
                unsafe { libc::munmap(base.as_ptr(), bytes) };
            }
        }
    }
}

/// Asks for a line that will be read soon. Any address is allowed; nothing is read.
#[inline(always)]
pub(super) fn prefetch(line: *const Line) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64, and a prefetch does not fault, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}
