//! Multilinear polynomials by their values on the hypercube. The first variable is the most significant bit of an index, and
//! the first one that a sumcheck binds: both halves of a column are contiguous.

use crate::elementwise::dot;
use crate::field::{Base, Ext};
use crate::kernels::{ExtLanes, Isa, Kernel, Lanes, zeros};

#[cfg(test)]
mod tests;

/// Elements of the extension, their coordinates apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtColumn {
    /// The parts without X.
    pub c0: Vec<Base>,
    /// The factors of X.
    pub c1: Vec<Base>,
}

impl ExtColumn {
    /// So many zeros.
    #[must_use]
    pub fn zeros(length: usize) -> Self {
        Self { c0: zeros(length), c1: zeros(length) }
    }

    /// Elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.c0.len()
    }

    /// True without elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.c0.is_empty()
    }

    /// One element; nothing past the end.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Ext> {
        Some(Ext::new(*self.c0.get(index)?, *self.c1.get(index)?))
    }

    /// All elements, in order.
    pub fn iter(&self) -> impl Iterator<Item = Ext> + '_ {
        self.c0.iter().zip(&self.c1).map(|(c0, c1)| Ext::new(*c0, *c1))
    }
}

impl FromIterator<Ext> for ExtColumn {
    fn from_iter<I: IntoIterator<Item = Ext>>(elements: I) -> Self {
        let (c0, c1) = elements.into_iter().map(|element| (element.c0, element.c1)).unzip();
        Self { c0, c1 }
    }
}

/// `eq(point, x)` for every x of the hypercube, times `factor`: the product over all variables of `r` where the bit is set and `1 - r`
/// where it is not.
#[must_use]
pub fn eq_table(isa: Isa, point: &[Ext], factor: Ext) -> ExtColumn {
    let mut table = ExtColumn::zeros(1 << point.len());
    fill_eq_table(isa, point, factor, &mut table);
    table
}

/// The same into a column of this length.
pub fn fill_eq_table(isa: Isa, point: &[Ext], factor: Ext, table: &mut ExtColumn) {
    if let (Some(c0), Some(c1)) = (table.c0.first_mut(), table.c1.first_mut()) {
        (*c0, *c1) = (factor.c0, factor.c1);
    }
    // From the last variable to the first: every new bit is above those that are there.
    for (bits, r) in point.iter().rev().enumerate() {
        let length = 1 << bits;
        let (low0, rest0) = table.c0.split_at_mut(length);
        let (low1, rest1) = table.c1.split_at_mut(length);
        let [high0, high1] = [rest0, rest1].map(|rest| rest.split_at_mut(length).0);
        isa.run(length, EqStep { low: [low0, low1], high: [high0, high1], r: *r });
    }
}

/// One more variable: `(t, _)` becomes `(t - t r, t r)`.
struct EqStep<'a> {
    low: [&'a mut [Base]; 2],
    high: [&'a mut [Base]; 2],
    r: Ext,
}

impl Kernel for EqStep<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let [low0, low1] = self.low.map(L::chunks_mut);
        let [high0, high1] = self.high.map(L::chunks_mut);
        let r = ExtLanes::<L>::splat(self.r);
        for ((low0, low1), (high0, high1)) in low0.iter_mut().zip(low1).zip(high0.iter_mut().zip(high1)) {
            let all = ExtLanes::<L>::load(low0, low1);
            let set = all.mul(r);
            set.store(high0, high1);
            all.sub(set).store(low0, low1);
        }
    }
}

/// `eq(a, b)` of two points of the same length, which is symmetric.
#[must_use]
pub fn eq(a: &[Ext], b: &[Ext]) -> Ext {
    a.iter().zip(b).map(|(a, b)| *a * *b + (Ext::ONE - *a) * (Ext::ONE - *b)).product()
}

/// The value at a point of the polynomial with these values, of any number up to the hypercube's: the rest is zero.
#[must_use]
pub fn evaluate(values: &[Ext], point: &[Ext]) -> Ext {
    let (high, low) = point.split_at(point.len() / 2);
    let all = |part: &[Ext]| eq_table(Isa::best(), part, Ext::ONE).iter().collect::<Vec<_>>();
    let (high, low) = (all(high), all(low));
    values.chunks(low.len()).zip(&high).map(|(part, weight)| *weight * dot(Isa::best(), part, &low)).sum()
}
