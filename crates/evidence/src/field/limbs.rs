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

/// `sum_i limb_l(c_i) v_i` for the three limbs of at most [`LIMB_RUN`] coefficients, |v| < 2^62; and the or of all |v|.
pub(super) fn limb_sums<E>(
    coefficients: &[E],
    at: impl Fn(&E) -> u64 + Copy,
    values: &[i64],
) -> ([i128; 3], u64) {
    let magnitudes = values.iter().fold(0, |all, v| all | v.unsigned_abs());
    if magnitudes >> LOW_BITS == 0 {
        return (narrow_limb_sums(coefficients, at, values), magnitudes);
    }
    (wide_limb_sums(coefficients, at, values), magnitudes)
}

fn wide_limb_sums<E>(coefficients: &[E], at: impl Fn(&E) -> u64 + Copy, values: &[i64]) -> [i128; 3] {
    let (mut low, mut high) = ([0_i64; 3], [0_i64; 3]);
    for (c, v) in coefficients.iter().zip(values) {
        let c = at(c);
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

/// An integer of at most 32 bits.
pub(super) trait Narrow: Copy {
    fn narrow(self) -> i32;
}

impl Narrow for i32 {
    fn narrow(self) -> i32 {
        self
    }
}

/// Of those that are known to be so small.
impl Narrow for i64 {
    fn narrow(self) -> i32 {
        self as i32
    }
}

/// The sums of [`limb_sums`], for integers of 32 bits.
pub(super) fn narrow_limb_sums<E>(
    coefficients: &[E],
    at: impl Fn(&E) -> u64 + Copy,
    values: &[impl Narrow],
) -> [i128; 3] {
    let mut sums = [0_i64; 3];
    for (c, v) in coefficients.iter().zip(values) {
        let c = at(c);
        let limbs = [c & LIMB, (c >> LIMB_BITS) & LIMB, c >> (2 * LIMB_BITS)];
        for (sum, c) in sums.iter_mut().zip(limbs) {
            *sum += i64::from(c as i32) * i64::from(v.narrow());
        }
    }
    sums.map(i128::from)
}

/// The limbs' sums as one: `parts[0] + 2^22 parts[1] + 2^44 parts[2]` modulo the field's characteristic, below 2^127.
pub(super) fn shifted(parts: [i128; 3], reduce: impl Fn(i128) -> u64) -> i128 {
    // Sums stay below 2^95, so only the last one, shifted, could be too large.
    let last = i128::from(reduce(parts[2])) << (2 * LIMB_BITS);
    parts[0] + (parts[1] << LIMB_BITS) + last
}
