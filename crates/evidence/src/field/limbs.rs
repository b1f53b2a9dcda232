//! Long sums of 64-bit coefficients times integers, without 128-bit products: coefficients in three limbs, integers in
//! two, so that every product and every sum fits 64 bits and the compiler uses its widest multiplications.

/// Bits of a coefficient's lower limbs; the highest has what is left.
pub(super) const LIMB_BITS: u32 = 22;
/// Numbers of a sum: their products of 22 and 31 bits fit 63 bits together.
pub(super) const LIMB_RUN: usize = 1 << 10;
const LIMB: u64 = (1 << LIMB_BITS) - 1;
/// Bits of an integer's lower part; what is above carries the sign.
const LOW_BITS: u32 = 31;
const LOW: i64 = (1 << LOW_BITS) - 1;

/// `sum_i limb_l(c_i) v_i` for the three limbs of at most [`LIMB_RUN`] coefficients; |v| < 2^62.
pub(super) fn limb_sums(coefficients: impl Iterator<Item = u64>, values: &[i64]) -> [i128; 3] {
    let (mut low, mut high) = ([0_i64; 3], [0_i64; 3]);
    for (c, v) in coefficients.zip(values) {
        let limbs = [c & LIMB, (c >> LIMB_BITS) & LIMB, c >> (2 * LIMB_BITS)];
        let (below, above) = (v & LOW, v >> LOW_BITS);
        for (limb, c) in limbs.into_iter().enumerate() {
            // Both are below 2^31, which the compiler needs to see.
            let c = i64::from(c as i32);
            low[limb] += c * i64::from(below as i32);
            high[limb] += c * i64::from(above as i32);
        }
    }
    [0, 1, 2].map(|limb| i128::from(low[limb]) + (i128::from(high[limb]) << LOW_BITS))
}

/// As [`limb_sums`], for integers of 32 bits.
pub(super) fn narrow_limb_sums(coefficients: impl Iterator<Item = u64>, values: &[i32]) -> [i128; 3] {
    let mut sums = [0_i64; 3];
    for (c, v) in coefficients.zip(values) {
        let limbs = [c & LIMB, (c >> LIMB_BITS) & LIMB, c >> (2 * LIMB_BITS)];
        for (sum, c) in sums.iter_mut().zip(limbs) {
            *sum += i64::from(c as i32) * i64::from(*v);
        }
    }
    sums.map(i128::from)
}
