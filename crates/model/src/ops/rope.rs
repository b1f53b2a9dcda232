//! Rotary position embedding (Su et al. 2021) on accumulators: the products stay unrounded, so that the
//! requantization after it is the only rounding. Their exponent grows by the table's 14 bits.

use crate::import::RopeStyle;

/// Rotates one head. `rotation` holds (cos, sin) per pair; elements beyond the rotated part are multiplied
/// by 2^14 so that all share one exponent. Interleaved: pairs (2i, 2i+1). Halves: pairs (i, i + n/2).
#[must_use]
pub fn rotate(head: &[i64], rotation: &[[i16; 2]], style: RopeStyle) -> Vec<i64> {
    let pairs = rotation.len();
    let mut out: Vec<i64> = head.iter().map(|v| v << crate::tables::ROTATION_BITS).collect();
    for (i, [cos, sin]) in rotation.iter().enumerate() {
        let (first, second) = match style {
            RopeStyle::Interleaved => (2 * i, 2 * i + 1),
            RopeStyle::Halves => (i, i + pairs),
        };
        let (a, b, c, s) = (head[first], head[second], i64::from(*cos), i64::from(*sin));
        out[first] = a * c - b * s;
        out[second] = a * s + b * c;
    }
    out
}
