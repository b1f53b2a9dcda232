//! What the machine can do at best, for `maxwell bench` to compare the kernels with. Never used by inference.

use super::huge_buffer::{Line, PREFETCH_LINES, prefetch};
use super::{Isa, IsaKind};

/// Multiplications and additions (16-bit products into 32-bit sums) of one call of the loop.
///
/// Runs `iterations` rounds of independent product instructions on registers and returns how many
/// multiply-accumulates that were; the caller takes the time. 0 where there is no loop for `isa`.
pub fn product_peak(isa: Isa, iterations: u64) -> u64 {
    match isa.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the value exists only on machines with these instructions.
        IsaKind::Avx512Vnni | IsaKind::Amx => unsafe { super::avx512::product_peak(iterations) },
        #[cfg(target_arch = "x86_64")]
        IsaKind::Avx2 => 0,
        IsaKind::Portable => 0,
    }
}

/// Reads all lines once and returns their exclusive or, so that the reads cannot be left out. The caller
/// takes the time and makes the buffer as large as it wants to measure.
pub fn read_all(lines: &[Line]) -> u64 {
    let mut sum = [0_u64; 8];
    for line in lines {
        prefetch(std::ptr::from_ref(line).wrapping_add(PREFETCH_LINES));
        for (sum, word) in sum.iter_mut().zip(line.0.as_chunks::<8>().0) {
            *sum ^= u64::from_le_bytes(*word);
        }
    }
    sum.iter().fold(0, |all, sum| all ^ sum)
}
