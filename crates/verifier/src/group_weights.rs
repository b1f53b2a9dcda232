//! Weights of consecutive groups of lanes, as what they were made from. A claim is about up to millions of groups, but its weights are
//! products of a few short vectors, or a piece of a table of eq: whoever verifies never spreads them out.

use proof_system::elementwise::{add_multiples, extend_with_multiples};
use proof_system::field::Ext;
use proof_system::kernels::Isa;
use rayon::prelude::*;

use crate::public::{quotient, triangle};
use crate::vectors::{cut, dot, eq_vector};

/// One weight per group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupWeights {
    /// `eq(point, first + i)` for `count` groups.
    Slice {
        /// The point, the most significant variable first.
        point: Vec<Ext>,
        /// First index.
        first: usize,
        /// Groups.
        count: usize,
    },
    /// Row by row `rows[r] * inner[b][k]`, where b is the band of row r: as many bands as there are inner vectors, all of as many rows
    /// and of as many groups.
    Rows {
        /// One per row.
        rows: RowWeights,
        /// One vector per band.
        inner: Vec<Vec<Ext>>,
    },
}

/// Weights of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowWeights {
    /// One per row.
    All(Vec<Ext>),
    /// Rows are cells: a position from `from` on, and a key up to it. Each weighs its position times its key.
    Cells {
        /// First position.
        from: usize,
        /// Weights of positions.
        positions: Vec<Ext>,
        /// Weights of keys.
        keys: Vec<Ext>,
    },
}

impl RowWeights {
    /// Cells that weigh what their positions do.
    #[must_use]
    pub fn cells_of(from: usize, positions: &[Ext]) -> Self {
        let keys = vec![Ext::ONE; from.saturating_add(positions.len())];
        Self::Cells { from, positions: positions.to_vec(), keys }
    }

    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::All(rows) => rows.len(),
            Self::Cells { from, positions, .. } => {
                triangle(from.saturating_add(positions.len())).saturating_sub(triangle(*from))
            }
        }
    }

    /// True without any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All weights.
    #[must_use]
    pub fn spread(&self) -> Vec<Ext> {
        match self {
            Self::All(rows) => rows.clone(),
            Self::Cells { from, positions, keys } => {
                let mut rows = Vec::with_capacity(self.len());
                for (position, weight) in (*from..).zip(positions) {
                    let (own, _) = cut(keys, position.saturating_add(1));
                    extend_with_multiples(Isa::best(), own, *weight, &mut rows);
                }
                rows
            }
        }
    }
}

impl From<Vec<Ext>> for RowWeights {
    fn from(rows: Vec<Ext>) -> Self {
        Self::All(rows)
    }
}

impl From<&Vec<Ext>> for RowWeights {
    fn from(rows: &Vec<Ext>) -> Self {
        Self::All(rows.clone())
    }
}

impl From<&[Ext]> for RowWeights {
    fn from(rows: &[Ext]) -> Self {
        Self::All(rows.to_vec())
    }
}

impl GroupWeights {
    /// Rows of the same weights, each times its own.
    #[must_use]
    pub fn rows(rows: impl Into<RowWeights>, inner: &[Ext]) -> Self {
        Self::Rows { rows: rows.into(), inner: vec![inner.to_vec()] }
    }

    /// Any weights.
    #[must_use]
    pub fn plain(weights: Vec<Ext>) -> Self {
        Self::Rows { rows: RowWeights::All(vec![Ext::ONE]), inner: vec![weights] }
    }

    /// Groups.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Slice { count, .. } => *count,
            Self::Rows { rows, inner } => rows.len().saturating_mul(inner.first().map_or(0, Vec::len)),
        }
    }

    /// True without any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All weights.
    #[must_use]
    pub fn spread(&self) -> Vec<Ext> {
        match self {
            Self::Slice { point, first, count } => {
                let table = eq_vector(point, first.saturating_add(*count));
                table.get(*first..).unwrap_or_default().to_vec()
            }
            Self::Rows { rows, inner } => {
                let rows = rows.spread();
                let bands = rows.chunks(quotient(rows.len(), inner.len()).max(1)).zip(inner);
                bands
                    .flat_map(|(rows, inner)| rows.iter().flat_map(|row| inner.iter().map(|w| *row * *w)))
                    .collect()
            }
        }
    }

    /// The sum over all groups of the weight times `eq(z, first + i)`.
    #[must_use]
    pub fn at(&self, z: &[Ext], first: usize) -> Ext {
        match self {
            Self::Slice { point, first: own, count } => shifted_sum([point, z], [*own, first], *count),
            Self::Rows { rows: RowWeights::Cells { from, positions, keys }, inner } => {
                let inner = inner.first().map(Vec::as_slice).unwrap_or_default();
                cells_at([positions, keys], *from, inner, z, first)
            }
            Self::Rows { rows: RowWeights::All(rows), inner } => {
                let band = quotient(rows.len(), inner.len()).max(1);
                let groups = inner.first().map_or(0, Vec::len);
                let bands: Vec<(&[Ext], &Vec<Ext>)> = rows.chunks(band).zip(inner).collect();
                let sum = |(index, (rows, inner)): (usize, &(&[Ext], &Vec<Ext>))| {
                    let before = index.saturating_mul(band).saturating_mul(groups);
                    rows_at(rows, inner, z, first.saturating_add(before))
                };
                bands.par_iter().enumerate().map(sum).reduce(|| Ext::ZERO, |a, b| a + b)
            }
        }
    }
}

/// Rows of one band.
fn rows_at(rows: &[Ext], inner: &[Ext], z: &[Ext], first: usize) -> Ext {
    let is_sparse = || rows.iter().filter(|row| **row != Ext::ZERO).count() < rows.len().wrapping_shr(5);
    match run_bits(rows.len(), inner.len(), z.len()).filter(|_| !is_sparse()) {
        Some(run_bits) => Runs::new(inner, z, run_bits).sum(rows, first),
        None => {
            let table = EqTable::new(z);
            let starts = (0..rows.len()).map(|row| first.saturating_add(row.saturating_mul(inner.len())));
            let rows = rows.iter().zip(starts).filter(|(row, _)| **row != Ext::ZERO);
            rows.map(|(row, start)| *row * table.dot(inner, start)).sum()
        }
    }
}

/// Rows that are cells.
fn cells_at([positions, keys]: [&[Ext]; 2], from: usize, inner: &[Ext], z: &[Ext], first: usize) -> Ext {
    let start = |position: usize| {
        let row = triangle(position).saturating_sub(triangle(from));
        first.saturating_add(row.saturating_mul(inner.len()))
    };
    let runs = run_bits(keys.len(), inner.len(), z.len()).map(|run_bits| Runs::new(inner, z, run_bits));
    let weighted = (from..).zip(positions).map(|(position, weight)| {
        let (own, _) = cut(keys, position.saturating_add(1));
        let sum = match &runs {
            Some(runs) => runs.sum(own, start(position)),
            None => rows_at(own, inner, z, start(position)),
        };
        *weight * sum
    });
    weighted.sum()
}

/// Groups cut into aligned runs: a row begins at some place of a run of `length` groups, and ends in it or in the next one.
struct Runs<'i> {
    inner: &'i [Ext],
    run_bits: u32,
    /// Eq of runs.
    high: EqTable,
    /// Eq of places.
    low: Vec<Ext>,
    /// See [`by_place`].
    by_place: Vec<Vec<Ext>>,
}

impl<'i> Runs<'i> {
    fn new(inner: &'i [Ext], z: &[Ext], run_bits: u32) -> Self {
        let (high, low) = cut(z, z.len().saturating_sub(usize::try_from(run_bits).unwrap_or(0)));
        let (high, low) = (EqTable::new(high), eq_vector(low, 1_usize.wrapping_shl(run_bits)));
        let by_place = by_place(inner, &low);
        Self { inner, run_bits, high, low, by_place }
    }

    /// The sum over rows that follow each other from a group on.
    fn sum(&self, rows: &[Ext], first: usize) -> Ext {
        let (length, groups) = (self.low.len(), self.inner.len());
        let (mut sum, mut start, mut rest) = (Ext::ZERO, first, rows);
        while !rest.is_empty() {
            let run = start.wrapping_shr(self.run_bits);
            let place = start & length.wrapping_sub(1);
            // Rows that begin in this run; the last one of them may end in the next.
            let (own, others) = cut(rest, length.saturating_sub(place).div_ceil(groups));
            let nth = quotient(place, groups);
            let of_places = self.by_place.get(place.saturating_sub(nth.saturating_mul(groups)));
            let of_places = of_places.and_then(|all| all.get(nth..)).unwrap_or_default();
            sum += self.high.at(run) * dot(own, of_places);
            let last = place.saturating_add(own.len().saturating_sub(1).saturating_mul(groups));
            let (_, behind) = cut(self.inner, length.saturating_sub(last));
            if let Some(row) = own.last().filter(|_| !behind.is_empty()) {
                sum += self.high.at(run.saturating_add(1)) * *row * dot(behind, &self.low);
            }
            start = start.saturating_add(own.len().saturating_mul(groups));
            rest = others;
        }
        sum
    }
}

/// What a row that begins at a place of a run comes to within the run: by the place modulo the groups of a row, then by what is left.
fn by_place(inner: &[Ext], low: &[Ext]) -> Vec<Vec<Ext>> {
    let mut sums = vec![Ext::ZERO; low.len()];
    for (k, weight) in inner.iter().enumerate() {
        add_multiples(Isa::best(), low.get(k..).unwrap_or_default(), *weight, &mut sums);
    }
    (0..inner.len()).map(|place| sums.iter().skip(place).step_by(inner.len()).copied().collect()).collect()
}

/// Bits of the runs that cost least: long ones are few, but take a table as long as they are for every group of a row. None where there
/// are too few rows for any.
fn run_bits(rows: usize, groups: usize, variables: usize) -> Option<u32> {
    let least = groups.next_power_of_two().trailing_zeros();
    let fits = |bits: &u32| usize::try_from(*bits).is_ok_and(|bits| bits <= variables);
    // In products: a vector register makes eight at once, a run needs some of its own.
    let cost = |bits: &u32| {
        let all = rows.saturating_mul(groups);
        let runs = all.wrapping_shr(*bits).saturating_add(1);
        let table = groups.saturating_mul(1_usize.wrapping_shl(*bits)).wrapping_shr(2);
        table.saturating_add(runs.saturating_mul(groups.saturating_add(16)))
    };
    let best = (least..least.saturating_add(10)).filter(fits).min_by_key(cost)?;
    (cost(&best) < rows.saturating_mul(groups)).then_some(best)
}

/// `eq(point, x)` for every x, as products of two short tables.
#[derive(Clone, Debug)]
pub struct EqTable {
    high: Vec<Ext>,
    low: Vec<Ext>,
    low_bits: u32,
}

impl EqTable {
    /// Of a point.
    #[must_use]
    pub fn new(point: &[Ext]) -> Self {
        let (high, low) = cut(point, point.len() / 2);
        let all = |point: &[Ext]| eq_vector(point, usize::MAX);
        Self { high: all(high), low: all(low), low_bits: u32::try_from(low.len()).unwrap_or(0) }
    }

    /// At one x; zero outside.
    #[must_use]
    pub fn at(&self, index: usize) -> Ext {
        match (self.high.get(index.wrapping_shr(self.low_bits)), self.low.get(self.place(index))) {
            (Some(high), Some(low)) => *high * *low,
            _ => Ext::ZERO,
        }
    }

    fn place(&self, index: usize) -> usize {
        index & self.low.len().wrapping_sub(1)
    }

    /// The sum of these weights times eq from an index on.
    #[must_use]
    pub fn dot(&self, weights: &[Ext], first: usize) -> Ext {
        let (mut sum, mut rest, mut index) = (Ext::ZERO, weights, first);
        while !rest.is_empty() {
            let Some(high) = self.high.get(index.wrapping_shr(self.low_bits)) else { break };
            let here = self.low.get(self.place(index)..).unwrap_or_default();
            let (own, others) = cut(rest, here.len());
            sum += *high * dot(own, here);
            rest = others;
            index = index.saturating_add(own.len());
        }
        sum
    }
}

/// `sum over i < count of eq(a, first_a + i) eq(b, first_b + i)`: a program that reads the bits of i from the lowest on, and whose state
/// are the carries of both sums and whether i is below the count so far (Holmgren and Rothblum's read-once branching programs, as in Hemo et
/// al., "Jagged polynomial commitments", 2025).
#[must_use]
pub fn shifted_sum([a, b]: [&[Ext]; 2], [first_a, first_b]: [usize; 2], count: usize) -> Ext {
    let bits = a.len().max(b.len()).saturating_add(1);
    let bit = |number: usize, place: usize| {
        u32::try_from(place).ok().and_then(|place| number.checked_shr(place)).unwrap_or(0) & 1
    };
    // (carry of a, carry of b, below): a sum of products for each state.
    let mut sums = [Ext::ZERO; 8];
    if let Some(start) = sums.first_mut() {
        *start = Ext::ONE;
    }
    for place in 0..bits {
        let weights = [a, b].map(|point| {
            // Beyond the point's variables a bit has to be zero.
            let r = point.len().checked_sub(place.saturating_add(1)).and_then(|i| point.get(i));
            let r = r.copied().unwrap_or(Ext::ZERO);
            [Ext::ONE - r, r]
        });
        let mut next = [Ext::ZERO; 8];
        for (state, sum) in sums.into_iter().enumerate().filter(|(_, sum)| *sum != Ext::ZERO) {
            for own in 0..2_usize {
                let add = |first: usize, carry: usize| {
                    let sum = bit(first, place).saturating_add(own).saturating_add(carry);
                    (sum & 1, sum >> 1)
                };
                let (bit_a, carry_a) = add(first_a, bit(state, 2));
                let (bit_b, carry_b) = add(first_b, bit(state, 1));
                let below = match own.cmp(&bit(count, place)) {
                    std::cmp::Ordering::Less => 1,
                    std::cmp::Ordering::Equal => bit(state, 0),
                    std::cmp::Ordering::Greater => 0,
                };
                let weight = |weights: [Ext; 2], bit: usize| weights.get(bit).copied().unwrap_or_default();
                let [of_a, of_b] = weights;
                let target = carry_a << 2 | carry_b << 1 | below;
                if let Some(slot) = next.get_mut(target) {
                    *slot += sum * weight(of_a, bit_a) * weight(of_b, bit_b);
                }
            }
        }
        sums = next;
    }
    // No carry is left, and the index is below the count.
    let [_, whole, ..] = sums;
    whole
}

/// `sum over x < end of eq(a, x) eq(b, x)`, of points of the same length.
#[must_use]
pub fn prefix_of_products(a: &[Ext], b: &[Ext], end: usize) -> Ext {
    prefix(end, a.iter().zip(b).map(|(a, b)| [(Ext::ONE - *a) * (Ext::ONE - *b), *a * *b]).collect())
}

/// `sum over x < end of eq(point, x)`.
#[must_use]
pub fn prefix_of_eq(point: &[Ext], end: usize) -> Ext {
    prefix(end, point.iter().map(|r| [Ext::ONE - *r, *r]).collect())
}

/// The sum over all x below `end` of a product of a factor per bit, the most significant one first.
fn prefix(end: usize, factors: Vec<[Ext; 2]>) -> Ext {
    let all: Vec<Ext> = factors.iter().map(|[zero, one]| *zero + *one).collect();
    if u32::try_from(factors.len()).ok().and_then(|bits| end.checked_shr(bits)).is_some_and(|over| over > 0) {
        return all.into_iter().product();
    }
    // From the lowest bit on: the sum over what lies below, and all that the lower bits can be.
    let (mut sum, mut whole) = (Ext::ZERO, Ext::ONE);
    for (place, ([zero, one], all)) in factors.into_iter().zip(all).rev().enumerate() {
        let is_set =
            u32::try_from(place).ok().and_then(|place| end.checked_shr(place)).is_some_and(|e| e & 1 == 1);
        sum = if is_set { zero * whole + one * sum } else { zero * sum };
        whole *= all;
    }
    sum
}

#[cfg(test)]
mod tests;
