//! The verifier's side. Total on foreign bytes: every length is compared with the shape before anything is computed.

use rayon::prelude::*;

use super::encode::{Twiddles, exponent};
use super::hash_tree::{Digest, TreeHasher};
use super::{GROUP_ROWS, MAX_COLUMN_BITS, MAX_ROWS, OpenedColumn, Opening, Shape};
use crate::field::{Base, Ext};
use crate::kernels::Isa;
use crate::multilinear::{eq_table, evaluate};
use crate::transcript::{Label, Transcript};

/// Why an opening is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// Larger than any that is committed to.
    #[error("no matrix has this shape")]
    Shape,
    /// The row has another length.
    #[error("the combined row has {found} elements")]
    RowLength {
        /// In the proof.
        found: usize,
    },
    /// The matrix has another value at the point.
    #[error("the matrix does not have the claimed value")]
    Claim,
    /// The question has another answer.
    #[error("the proof of work is none")]
    Work,
    /// A column per query.
    #[error("{found} columns are opened")]
    Columns {
        /// In the proof.
        found: usize,
    },
    /// A column or its path has another length.
    #[error("opened column {query} has another shape")]
    ColumnShape {
        /// Of the query.
        query: usize,
    },
    /// The column is not the committed one.
    #[error("opened column {query} is not the committed one")]
    Path {
        /// Of the query.
        query: usize,
    },
    /// The combined row is not the combination of the rows.
    #[error("the combined row differs at opened column {query}")]
    Combination {
        /// Of the query.
        query: usize,
    },
}

/// Checks that the committed matrix has this value at a point: the variables that number the rows, then those of a row.
///
/// # Errors
/// [`Reject`].
pub fn verify(
    root: &Digest,
    shape: Shape,
    point: &[Ext],
    claim: Ext,
    opening: &Opening,
    transcript: &mut Transcript,
) -> Result<(), Reject> {
    let (rows, columns) = (shape.rows, shape.queries);
    let row_variables = usize::try_from(shape.row_bits()).map_err(|_| Reject::Shape)?;
    let column_variables = usize::try_from(shape.column_bits).map_err(|_| Reject::Shape)?;
    if rows > MAX_ROWS
        || !(1..=MAX_COLUMN_BITS).contains(&shape.column_bits)
        || rows == 0
        || !rows.is_multiple_of(GROUP_ROWS)
        || point.len() != row_variables.saturating_add(column_variables)
    {
        return Err(Reject::Shape);
    }
    let (row_point, column_point) = point.split_at(row_variables);
    if opening.row.len() != 1_usize.wrapping_shl(shape.column_bits) {
        return Err(Reject::RowLength { found: opening.row.len() });
    }
    if opening.columns.len() != columns {
        return Err(Reject::Columns { found: opening.columns.len() });
    }
    if evaluate(&opening.row, column_point) != claim {
        return Err(Reject::Claim);
    }
    transcript.absorb_elements(Label::OpeningRow, &opening.row);
    if !transcript.check_work(shape.work_bits, opening.work) {
        return Err(Reject::Work);
    }
    let queries = transcript.indices(Label::OpeningQueries, shape.codeword_bits(), columns);
    let weights: Vec<Ext> = eq_table(Isa::best(), row_point, Ext::ONE).iter().take(rows).collect();
    let codeword = Codeword::new(&opening.row, shape);
    let hasher = TreeHasher::new();
    let height = usize::try_from(shape.codeword_bits()).map_err(|_| Reject::Shape)?;
    let check = |(query, (position, column)): (usize, (u64, &OpenedColumn))| {
        if column.elements.len() != rows || column.path.len() != height {
            return Err(Reject::ColumnShape { query });
        }
        let leaf = hasher.leaf(column.elements.iter().copied(), &mut Vec::new());
        if hasher.root(leaf, position, &column.path) != *root {
            return Err(Reject::Path { query });
        }
        let combined: Ext = weights.iter().zip(&column.elements).map(|(weight, e)| *weight * *e).sum();
        if codeword.at(position) == Some(combined) { Ok(()) } else { Err(Reject::Combination { query }) }
    };
    // All are checked side by side; the first one that fails is told.
    let verdicts: Vec<Result<(), Reject>> =
        queries.into_par_iter().zip(&opening.columns).enumerate().map(check).collect();
    verdicts.into_iter().collect()
}

/// A row's codeword where only some places are wanted: `u(x) = sum over j < parts of x^j u_j(x^parts)`. Four short rows u_j are a
/// group's rows, two per j for the coordinates, and each group's codewords stay in a core's cache.
struct Codeword {
    groups: Vec<Vec<[Base; GROUP_ROWS]>>,
    part_bits: u32,
    bits: u32,
    root: Base,
}

/// Parts that fill a group.
const PARTS: usize = GROUP_ROWS / 2;
/// A row is cut into 2^this parts at most.
const MAX_PART_BITS: u32 = 6;

impl Codeword {
    fn new(row: &[Ext], shape: Shape) -> Self {
        let part_bits = shape.column_bits.min(MAX_PART_BITS);
        let parts = 1_usize.wrapping_shl(part_bits);
        let length = row.len().wrapping_shr(part_bits);
        let bits = shape.codeword_bits();
        let twiddles = Twiddles::new(bits.saturating_sub(part_bits));
        let group = |first: usize| {
            let mut out = vec![[Base::ZERO; GROUP_ROWS]; length.saturating_mul(2)];
            let cell = |column: usize| {
                let mut cell = [Base::ZERO; GROUP_ROWS];
                let start = column.saturating_mul(parts);
                let own = row.iter().take(start.saturating_add(parts)).skip(start.saturating_add(first));
                for ([c0, c1], element) in cell.as_chunks_mut().0.iter_mut().zip(own) {
                    (*c0, *c1) = (element.c0, element.c1);
                }
                cell
            };
            twiddles.encode(cell, &mut out, Isa::best());
            out
        };
        let firsts: Vec<usize> = (0..parts).step_by(PARTS).collect();
        let groups = firsts.into_par_iter().map(group).collect();
        Self { groups, part_bits, bits, root: Base::root_of_unity(bits).unwrap_or_default() }
    }

    fn at(&self, position: u64) -> Option<Ext> {
        // The parts' point is a power of this one: its place is what is left without the last bits.
        let place = usize::try_from(position.wrapping_shr(self.part_bits)).ok()?;
        let x = self.root.power(exponent(position, self.bits));
        let mut sum = Ext::ZERO;
        for group in self.groups.iter().rev() {
            for [c0, c1] in group.get(place)?.as_chunks::<2>().0.iter().rev() {
                sum = sum * x + Ext::new(*c0, *c1);
            }
        }
        Some(sum)
    }
}
