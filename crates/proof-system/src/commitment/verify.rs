//! The verifier's side. Total on foreign bytes: every length is compared with the shape before anything is computed.

use super::encode::Twiddles;
use super::hash_tree::{Digest, TreeHasher};
use super::{GROUP_ROWS, MAX_COLUMN_BITS, MAX_ROWS, Opening, Shape};
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
    let weights: Vec<Ext> = eq_table(Isa::PORTABLE, row_point, Ext::ONE).iter().take(rows).collect();
    let codeword = codeword(&opening.row, shape);
    let hasher = TreeHasher::new();
    let mut buffer = Vec::new();
    for (query, (position, column)) in queries.into_iter().zip(&opening.columns).enumerate() {
        let height = usize::try_from(shape.codeword_bits()).map_err(|_| Reject::Shape)?;
        if column.elements.len() != rows || column.path.len() != height {
            return Err(Reject::ColumnShape { query });
        }
        let leaf = hasher.leaf(column.elements.iter().copied(), &mut buffer);
        if hasher.root(leaf, position, &column.path) != *root {
            return Err(Reject::Path { query });
        }
        let combined: Ext = weights.iter().zip(&column.elements).map(|(weight, e)| *weight * *e).sum();
        let expected = usize::try_from(position).ok().and_then(|position| codeword.get(position));
        if expected != Some(&combined) {
            return Err(Reject::Combination { query });
        }
    }
    Ok(())
}

/// The codeword of a row over the extension: its coordinates are two rows of a group.
fn codeword(row: &[Ext], shape: Shape) -> Vec<Ext> {
    let mut out = vec![[Base::ZERO; GROUP_ROWS]; row.len().saturating_mul(2)];
    let cell = |column: usize| {
        let element = row.get(column).copied().unwrap_or_default();
        let mut cell = [Base::ZERO; GROUP_ROWS];
        let [c0, c1, ..] = &mut cell;
        (*c0, *c1) = (element.c0, element.c1);
        cell
    };
    Twiddles::new(shape.codeword_bits()).encode(cell, &mut out, Isa::best());
    out.into_iter().map(|[c0, c1, ..]| Ext::new(c0, c1)).collect()
}
