//! Requantization: from an accumulator's exponent to an activation's by one rounded shift. Never clamps: a
//! value beyond 16 bits makes its row *wide* (it takes a second limb), one beyond the proven limit makes the
//! position out of range, which is a result like any other.

use super::Rows;
use crate::fixed_point::rsh;

/// Magnitudes up to this need one 16-bit limb.
pub const NARROW_MAX: i64 = i16::MAX as i64;
/// Activations stay below 2^23 in magnitude, or the position is out of range.
pub const ACTIVATION_LIMIT_BITS: u32 = 23;
/// The residual stream stays below 2^27 in magnitude, or the position is out of range.
pub const RESIDUAL_LIMIT_BITS: u32 = 27;

/// Shifts every value; see [`rsh`].
pub fn requantize(rows: &mut Rows, shift: i32) {
    for v in &mut rows.values {
        *v = rsh(*v, shift);
    }
}

/// True where every magnitude of the row is below `2^limit_bits`.
#[must_use]
pub fn in_range(row: &[i64], limit_bits: u32) -> bool {
    row.iter().all(|v| v.unsigned_abs() >> limit_bits == 0)
}

/// True where the row needs a second limb.
#[must_use]
pub fn is_wide(row: &[i64]) -> bool {
    row.iter().any(|v| v.abs() > NARROW_MAX)
}
