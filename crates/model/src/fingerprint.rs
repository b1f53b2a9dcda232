//! The logit fingerprint `F_t = sum_v rho^v * logit[t][v]` over Goldilocks² (p = 2^64 - 2^32 + 1, X² = 7):
//! plain arithmetic with 128-bit remainders. A fingerprint, not a commitment: rho is known to whoever makes
//! the claim, so it shows a changed weight but never replaces the check.

use protocol::fingerprint::{FingerprintPoint, LogitFingerprint};

pub use protocol::fingerprint::GOLDILOCKS_PRIME as PRIME;
/// X² in the quadratic extension; 7 generates the multiplicative group, so it is no square.
pub const NON_RESIDUE: u64 = 7;

/// An element `a + b X` of the extension.
pub type Element = [u64; 2];

/// `x mod p` for a signed number.
#[must_use]
pub fn reduce_signed(x: i128) -> u64 {
    u64::try_from(x.rem_euclid(i128::from(PRIME))).expect("a remainder is below p")
}

/// Product in the prime field.
#[must_use]
pub fn multiply_base(a: u64, b: u64) -> u64 {
    u64::try_from(u128::from(a) * u128::from(b) % u128::from(PRIME)).expect("a remainder is below p")
}

/// Sum in the prime field.
#[must_use]
pub fn add_base(a: u64, b: u64) -> u64 {
    u64::try_from((u128::from(a) + u128::from(b)) % u128::from(PRIME)).expect("a remainder is below p")
}

/// Product in the extension.
#[must_use]
pub fn multiply(a: Element, b: Element) -> Element {
    let square_part = multiply_base(NON_RESIDUE, multiply_base(a[1], b[1]));
    [
        add_base(multiply_base(a[0], b[0]), square_part),
        add_base(multiply_base(a[0], b[1]), multiply_base(a[1], b[0])),
    ]
}

/// `rho^0, rho^1, ..` for `count` tokens.
#[must_use]
pub fn powers(point: &FingerprintPoint, count: usize) -> Vec<Element> {
    let rho = [point.c0(), point.c1()];
    let mut power = [1, 0];
    (0..count)
        .map(|_| {
            let current = power;
            power = multiply(power, rho);
            current
        })
        .collect()
}

/// `F = sum_v powers[v] * logits[v]`.
#[must_use]
pub fn fingerprint(logits: &[i64], powers: &[Element]) -> LogitFingerprint {
    let sum = |coordinate: usize| {
        logits.iter().zip(powers).fold(0, |sum, (logit, power)| {
            let value = reduce_signed(i128::from(*logit));
            add_base(sum, multiply_base(value, power[coordinate]))
        })
    };
    LogitFingerprint::new(sum(0), sum(1)).expect("remainders are below p")
}

#[cfg(test)]
mod tests;
