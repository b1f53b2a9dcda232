//! One lane, in plain Rust.

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
