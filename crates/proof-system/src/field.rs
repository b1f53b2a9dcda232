//! The Goldilocks field: integers modulo p = 2^64 - 2^32 + 1, each in its one canonical form below p. Every accumulator of
//! a model stays below 2^62 in magnitude, so integers embed without wrapping around. Never holds a number that is not reduced.

pub mod extension;

use std::ops::{Add, AddAssign, Mul, MulAssign, Neg, Sub, SubAssign};

pub use self::extension::Ext;

#[cfg(test)]
mod tests;

/// p = 2^64 - 2^32 + 1.
pub const PRIME: u64 = 0xffff_ffff_0000_0001;
/// 2^64 mod p.
const EPSILON: u64 = 0xffff_ffff;
/// p - 1 = 2^32 * odd.
pub const TWO_ADICITY: u32 = 32;
/// Generates the multiplicative group.
pub const GENERATOR: Base = Base(7);

/// An integer modulo p.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Base(u64);

impl Base {
    /// Neutral for sums.
    pub const ZERO: Self = Self(0);
    /// Neutral for products.
    pub const ONE: Self = Self(1);

    /// A number that is below p already.
    #[must_use]
    pub const fn from_canonical(value: u64) -> Option<Self> {
        if value < PRIME { Some(Self(value)) } else { None }
    }

    /// `value mod p`.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(if value < PRIME { value } else { value.wrapping_sub(PRIME) })
    }

    /// A signed integer; distinct integers of magnitude below p / 2 stay distinct.
    #[must_use]
    pub const fn from_signed(value: i64) -> Self {
        let magnitude = Self::new(value.unsigned_abs());
        if value < 0 { magnitude.negated() } else { magnitude }
    }

    /// The representative below p.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    const fn negated(self) -> Self {
        Self(if self.0 == 0 { 0 } else { PRIME.wrapping_sub(self.0) })
    }

    /// The product, of 128 bits, brought below p: with `2^64 = 2^32 - 1` and `2^96 = -1`.
    #[must_use]
    pub const fn reduce_wide(value: u128) -> Self {
        let (low, high) = (low_half(value), low_half(value >> 64));
        let (top, middle) = (high >> 32, high & EPSILON);
        let (difference, borrow) = low.overflowing_sub(top);
        let difference = if borrow { difference.wrapping_sub(EPSILON) } else { difference };
        let (sum, carry) = difference.overflowing_add(middle.wrapping_mul(EPSILON));
        Self::new(if carry { sum.wrapping_add(EPSILON) } else { sum })
    }

    /// `self^exponent`.
    #[must_use]
    pub fn power(self, mut exponent: u64) -> Self {
        let (mut base, mut result) = (self, Self::ONE);
        while exponent > 0 {
            if exponent & 1 == 1 {
                result *= base;
            }
            base *= base;
            exponent >>= 1;
        }
        result
    }

    /// `1 / self`; nothing for zero. By Fermat: `self^(p - 2)`.
    #[must_use]
    pub fn inverse(self) -> Option<Self> {
        (self != Self::ZERO).then(|| self.power(PRIME.wrapping_sub(2)))
    }

    /// A root of unity of order exactly `2^bits`; nothing beyond [`TWO_ADICITY`].
    #[must_use]
    pub fn root_of_unity(bits: u32) -> Option<Self> {
        let rest = TWO_ADICITY.checked_sub(bits)?;
        let root = GENERATOR.power(EPSILON);
        Some((0..rest).fold(root, |root, _| root * root))
    }
}

/// The low 64 bits.
#[expect(
    clippy::cast_possible_truncation,
    clippy::as_conversions,
    reason = "the low half is what is asked for"
)]
const fn low_half(value: u128) -> u64 {
    value as u64
}

impl Add for Base {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let (sum, carry) = self.0.overflowing_add(other.0);
        // Both are below p: with a carry the sum is below 2^64 + p - EPSILON, so one subtraction of p is enough.
        if carry { Self(sum.wrapping_add(EPSILON)) } else { Self::new(sum) }
    }
}

impl Sub for Base {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        let (difference, borrow) = self.0.overflowing_sub(other.0);
        Self(if borrow { difference.wrapping_add(PRIME) } else { difference })
    }
}

impl Mul for Base {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        Self::reduce_wide(u128::from(self.0).wrapping_mul(u128::from(other.0)))
    }
}

impl Neg for Base {
    type Output = Self;

    fn neg(self) -> Self {
        self.negated()
    }
}

impl AddAssign for Base {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Base {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl MulAssign for Base {
    fn mul_assign(&mut self, other: Self) {
        *self = *self * other;
    }
}

impl std::iter::Sum for Base {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::ZERO, Add::add)
    }
}
