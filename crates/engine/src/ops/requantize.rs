//! Requantization of a row with its range check; see `model::ops::requantize`.

/// The rounding rule of `model::fixed_point::rsh` with the shift's case decided once per row.
#[derive(Clone, Copy, Debug)]
pub struct Rounding {
    half: i64,
    right: u32,
    left: u32,
}

impl Rounding {
    /// Rounding by `shift` bits; negative shifts are exact left shifts.
    #[must_use]
    pub fn new(shift: i32) -> Self {
        match shift {
            1..=62 => Self { half: 1 << (shift - 1), right: shift.unsigned_abs(), left: 0 },
            // Proven magnitudes are below 2^62, so everything is shifted out.
            63.. => Self { half: 1 << 61, right: 63, left: 0 },
            _ => Self { half: 0, right: 0, left: shift.unsigned_abs() },
        }
    }

    /// `floor(x / 2^shift + 1/2)`.
    #[inline(always)]
    #[must_use]
    pub fn apply(self, x: i64) -> i64 {
        (x.wrapping_add(self.half) >> self.right) << self.left
    }
}

/// Rounds a row into 32-bit activations. False if a magnitude reaches `2^limit_bits` (at most 31): the
/// row is then cleared, since nothing that follows from it has a meaning.
#[must_use]
pub fn requantize(acc: &[i64], shift: i32, limit_bits: u32, out: &mut [i32]) -> bool {
    let rounding = Rounding::new(shift);
    let mut magnitudes = 0_u64;
    for (out, acc) in out.iter_mut().zip(acc) {
        let y = rounding.apply(*acc);
        magnitudes |= y.unsigned_abs();
        *out = y as i32;
    }
    keep_in_range(magnitudes, limit_bits, out)
}

/// Clears a row whose or-ed `magnitudes` reach the limit, and says whether it was in range.
#[must_use]
pub fn keep_in_range(magnitudes: u64, limit_bits: u32, row: &mut [i32]) -> bool {
    let in_range = magnitudes >> limit_bits == 0;
    if !in_range {
        row.fill(0);
    }
    in_range
}
