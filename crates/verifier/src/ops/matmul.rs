//! Matrix products (Thaler 2013): the sum over rows and outputs of weights times products is a sum over inputs of the matrix
//! folded over its outputs and the input folded over its rows. The matrix is public, so nothing of it is committed.
//! Error: 2 (log blocks + log inputs) / |F|.

use proof_system::field::Ext;
use proof_system::sumcheck::bits;

use crate::channel::{Channel, Outputs, Product, Rows, WeightClaim};
use crate::error::Reject;
use crate::layout::{Tensor, rounded_geometry};
use crate::public::{Matrix, Public, Rounded};
use crate::script::{At, Script};
use crate::vectors::{cut, eq_vector, outer, times};

/// The tensor that a matrix is multiplied with.
#[must_use]
pub fn input_of(matrix: Matrix) -> Tensor {
    match matrix {
        Matrix::Query | Matrix::Key | Matrix::Value => Tensor::Out(Rounded::AttnNorm),
        Matrix::Output => Tensor::Mixed,
        Matrix::Gate | Matrix::Up => Tensor::Out(Rounded::MlpNorm),
        Matrix::Down => Tensor::Out(Rounded::Product),
        // The table of tokens is read, never multiplied with.
        Matrix::Logits | Matrix::Embedded => Tensor::Out(Rounded::FinalNorm),
    }
}

/// Elements of its rows.
#[must_use]
pub fn input_width(public: &Public<'_>, matrix: Matrix) -> usize {
    let op = match matrix {
        Matrix::Output => Rounded::Query,
        Matrix::Down => Rounded::Product,
        _ => Rounded::AttnNorm,
    };
    rounded_geometry(&public.dims, op).inner
}

/// A projection that is only rounded.
///
/// # Errors
/// The channel's.
pub fn low<C: Channel>(script: &mut Script<'_, C>, op: Rounded, at: &At) -> Result<(), Reject> {
    let matrix = if op == Rounded::Value { Matrix::Value } else { Matrix::Gate };
    let value = script.unrounded(op, at)?;
    products(script, matrix, &at.rows, &at.inner(), value)
}

/// Products of a matrix, at weights of rows and outputs.
///
/// # Errors
/// The channel's.
pub fn products<C: Channel>(
    script: &mut Script<'_, C>,
    matrix: Matrix,
    rows: &Rows,
    out: &[Ext],
    value: Ext,
) -> Result<(), Reject> {
    let lanes = script.public().dims.lanes();
    let groups = script.public().dims.groups(input_width(script.public(), matrix));
    let blocks = rows.a.len();
    let what = Product::Matmul { matrix, rows, out };
    let (point, [weights, input]) = script.channel.product(value, &[blocks, groups, lanes], what)?;
    let (block_point, rest) = cut(&point, bits(blocks));
    let (group_point, lane_point) = cut(rest, bits(groups));
    let block_weights = eq_vector(block_point, blocks);
    let (group_weights, lane_weights) = (eq_vector(group_point, groups), eq_vector(lane_point, lanes));
    script.channel.weights(WeightClaim {
        matrix,
        first: rows.first,
        blocks: times(&block_weights, &rows.a),
        out: Outputs::All(out.to_vec()),
        input: [group_weights.clone(), lane_weights.clone()],
        value: weights,
    });
    let row_weights = outer(&block_weights, &rows.b);
    script.committed_rows(
        input_of(matrix),
        rows.row(),
        row_weights,
        [&group_weights, &lane_weights],
        Some(input),
    )?;
    Ok(())
}
