//! One lane, or eight one after the other, in plain Rust.

use super::Lanes;
use crate::field::{Base, extension::NON_RESIDUE};

/// One element.
#[derive(Clone, Copy)]
pub(super) struct One(Base);

impl Lanes for One {
    type Chunk = Base;

    #[inline(always)]
    fn chunks(column: &[Base]) -> &[Base] {
        column
    }

    #[inline(always)]
    fn chunks_mut(column: &mut [Base]) -> &mut [Base] {
        column
    }

    #[inline(always)]
    fn load(from: &Base) -> Self {
        Self(*from)
    }

    #[inline(always)]
    fn store(self, to: &mut Base) {
        *to = self.0;
    }

    #[inline(always)]
    fn splat(value: Base) -> Self {
        Self(value)
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(self.0 * other.0)
    }

    #[inline(always)]
    fn times_seven(self) -> Self {
        Self(self.0 * NON_RESIDUE)
    }

    #[inline(always)]
    fn sum(self) -> Base {
        self.0
    }
}

/// Eight elements.
#[derive(Clone, Copy)]
pub(super) struct Eight([Base; 8]);

impl Eight {
    #[inline(always)]
    fn each(self, other: Self, operation: impl Fn(Base, Base) -> Base) -> Self {
        let mut out = self.0;
        for (a, b) in out.iter_mut().zip(other.0) {
            *a = operation(*a, b);
        }
        Self(out)
    }
}

impl Lanes for Eight {
    type Chunk = [Base; 8];

    #[inline(always)]
    fn chunks(column: &[Base]) -> &[Self::Chunk] {
        column.as_chunks().0
    }

    #[inline(always)]
    fn chunks_mut(column: &mut [Base]) -> &mut [Self::Chunk] {
        column.as_chunks_mut().0
    }

    #[inline(always)]
    fn load(from: &Self::Chunk) -> Self {
        Self(*from)
    }

    #[inline(always)]
    fn store(self, to: &mut Self::Chunk) {
        *to = self.0;
    }

    #[inline(always)]
    fn splat(value: Base) -> Self {
        Self([value; 8])
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.each(other, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.each(other, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.each(other, |a, b| a * b)
    }

    #[inline(always)]
    fn times_seven(self) -> Self {
        self.each(self, |a, _| a * NON_RESIDUE)
    }

    #[inline(always)]
    fn sum(self) -> Base {
        self.0.into_iter().sum()
    }
}
