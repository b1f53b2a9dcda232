//! The gated product `f(gate) * up`, on the accumulators of `up`: one requantization for both.

/// Unrounded products; their exponent is the gate's plus the accumulator's.
#[must_use]
pub fn gated_product(activated: &[i64], up_acc: &[i64]) -> Vec<i64> {
    activated.iter().zip(up_acc).map(|(a, u)| a * u).collect()
}
