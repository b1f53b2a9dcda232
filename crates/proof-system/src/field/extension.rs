//! The quadratic extension F_p[X] / (X^2 - 7): 2^128 elements less a few, where all challenges come from. 7 generates the
//! multiplicative group of F_p, so it is no square and X^2 - 7 has no root there.

use std::ops::{Add, AddAssign, Mul, MulAssign, Neg, Sub, SubAssign};

use super::Base;

/// X^2.
pub const NON_RESIDUE: Base = super::GENERATOR;
/// Bytes of an element's one encoding.
pub const EXT_BYTES: usize = 16;

/// `c0 + c1 X`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Ext {
    /// The part without X.
    pub c0: Base,
    /// The factor of X.
    pub c1: Base,
}

impl Ext {
    /// Neutral for sums.
    pub const ZERO: Self = Self { c0: Base::ZERO, c1: Base::ZERO };
    /// Neutral for products.
    pub const ONE: Self = Self { c0: Base::ONE, c1: Base::ZERO };

    /// `c0 + c1 X`.
    #[must_use]
    pub const fn new(c0: Base, c1: Base) -> Self {
        Self { c0, c1 }
    }

    /// An integer.
    #[must_use]
    pub const fn from_signed(value: i64) -> Self {
        Self { c0: Base::from_signed(value), c1: Base::ZERO }
    }

    /// A small unsigned integer.
    #[must_use]
    pub const fn from_u64(value: u64) -> Self {
        Self { c0: Base::new(value), c1: Base::ZERO }
    }

    /// Both coordinates, little-endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; EXT_BYTES] {
        (u128::from(self.c0.value()) | u128::from(self.c1.value()) << 64).to_le_bytes()
    }

    /// The element of an encoding; nothing if a coordinate is not below p.
    #[must_use]
    pub fn from_bytes(bytes: [u8; EXT_BYTES]) -> Option<Self> {
        let value = u128::from_le_bytes(bytes);
        let half =
            |value: u128| u64::try_from(value & u128::from(u64::MAX)).ok().and_then(Base::from_canonical);
        Some(Self { c0: half(value)?, c1: half(value >> 64)? })
    }

    /// An element from random bytes, uniform but for a bias of 2^-64: each half, little-endian, modulo p.
    #[must_use]
    pub fn from_random(bytes: [u8; 32]) -> Self {
        let (halves, _) = bytes.as_chunks::<16>();
        let mut coordinates = halves.iter().map(|half| Base::reduce_wide(u128::from_le_bytes(*half)));
        let mut next = || coordinates.next().unwrap_or_default();
        Self { c0: next(), c1: next() }
    }

    /// `self * self`.
    #[must_use]
    pub fn square(self) -> Self {
        self * self
    }

    /// `1 / self`; nothing for zero: `(c0 - c1 X) / (c0^2 - 7 c1^2)`.
    #[must_use]
    pub fn inverse(self) -> Option<Self> {
        let norm = self.c0 * self.c0 - NON_RESIDUE * self.c1 * self.c1;
        let inverse = norm.inverse()?;
        Some(Self { c0: self.c0 * inverse, c1: -self.c1 * inverse })
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

    /// `1, self, self^2, ..`, as many as asked for.
    #[must_use]
    pub fn powers(self, count: usize) -> Vec<Self> {
        std::iter::successors(Some(Self::ONE), |power| Some(*power * self)).take(count).collect()
    }
}

impl From<Base> for Ext {
    fn from(c0: Base) -> Self {
        Self { c0, c1: Base::ZERO }
    }
}

impl Add for Ext {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { c0: self.c0 + other.c0, c1: self.c1 + other.c1 }
    }
}

impl Sub for Ext {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { c0: self.c0 - other.c0, c1: self.c1 - other.c1 }
    }
}

impl Mul for Ext {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        // 7 c1 d1 takes 131 bits, so that product is reduced before it joins the sum.
        let top = self.c1 * other.c1;
        let wide = |a: Base, b: Base| u128::from(a.value()).wrapping_mul(u128::from(b.value()));
        let seven = u128::from(NON_RESIDUE.value()).wrapping_mul(u128::from(top.value()));
        // Both products are at most (p - 1)^2 = 2^128 - 2^97 + ..: there is room for a number of 67 bits, not for a second product.
        let c0 = Base::reduce_wide(wide(self.c0, other.c0).wrapping_add(seven));
        Self { c0, c1: self.c0 * other.c1 + self.c1 * other.c0 }
    }
}

impl Mul<Base> for Ext {
    type Output = Self;

    fn mul(self, other: Base) -> Self {
        Self { c0: self.c0 * other, c1: self.c1 * other }
    }
}

impl Neg for Ext {
    type Output = Self;

    fn neg(self) -> Self {
        Self { c0: -self.c0, c1: -self.c1 }
    }
}

impl AddAssign for Ext {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Ext {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl MulAssign for Ext {
    fn mul_assign(&mut self, other: Self) {
        *self = *self * other;
    }
}

impl std::iter::Sum for Ext {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::ZERO, Add::add)
    }
}

impl std::iter::Product for Ext {
    fn product<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::ONE, Mul::mul)
    }
}
