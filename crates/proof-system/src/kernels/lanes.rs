//! What a loop may do with a few field elements at once.

use crate::field::{Base, Ext};

/// A few elements of the base field. In registers a lane may hold any number of its class; what is stored is reduced.
pub(crate) trait Lanes: Copy {
    /// As many elements in memory.
    type Chunk;

    /// A column whose length is a multiple of the lanes.
    fn chunks(column: &[Base]) -> &[Self::Chunk];
    /// The same, to be written.
    fn chunks_mut(column: &mut [Base]) -> &mut [Self::Chunk];
    /// From memory.
    fn load(from: &Self::Chunk) -> Self;
    /// To memory, reduced.
    fn store(self, to: &mut Self::Chunk);
    /// The same element in every lane.
    fn splat(value: Base) -> Self;
    /// Lane by lane.
    fn add(self, other: Self) -> Self;
    /// Lane by lane.
    fn sub(self, other: Self) -> Self;
    /// Lane by lane.
    fn mul(self, other: Self) -> Self;
    /// Seven times each lane.
    fn times_seven(self) -> Self;
    /// All lanes together.
    fn sum(self) -> Base;
}

/// A few elements of the extension.
#[derive(Clone, Copy)]
pub(crate) struct ExtLanes<L> {
    c0: L,
    c1: L,
}

impl<L: Lanes> ExtLanes<L> {
    #[inline(always)]
    pub(crate) fn load(c0: &L::Chunk, c1: &L::Chunk) -> Self {
        Self { c0: L::load(c0), c1: L::load(c1) }
    }

    #[inline(always)]
    pub(crate) fn store(self, c0: &mut L::Chunk, c1: &mut L::Chunk) {
        self.c0.store(c0);
        self.c1.store(c1);
    }

    #[inline(always)]
    pub(crate) fn splat(value: Ext) -> Self {
        Self { c0: L::splat(value.c0), c1: L::splat(value.c1) }
    }

    #[inline(always)]
    pub(crate) fn add(self, other: Self) -> Self {
        Self { c0: self.c0.add(other.c0), c1: self.c1.add(other.c1) }
    }

    #[inline(always)]
    pub(crate) fn sub(self, other: Self) -> Self {
        Self { c0: self.c0.sub(other.c0), c1: self.c1.sub(other.c1) }
    }

    #[inline(always)]
    pub(crate) fn mul(self, other: Self) -> Self {
        let top = self.c1.mul(other.c1).times_seven();
        Self { c0: self.c0.mul(other.c0).add(top), c1: self.c0.mul(other.c1).add(self.c1.mul(other.c0)) }
    }

    #[inline(always)]
    pub(crate) fn sum(self) -> Ext {
        Ext::new(self.c0.sum(), self.c1.sum())
    }
}
