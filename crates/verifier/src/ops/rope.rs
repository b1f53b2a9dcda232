//! Queries and keys: a projection, rotated without rounding, then rounded once. The rotation is public and linear: a
//! sumcheck over (position, element) of weights that hold it, times the projection folded over blocks and heads.

use model::import::RopeStyle;
use proof_system::field::{Base, Ext};
use proof_system::sumcheck::bits;

use crate::channel::{Channel, Product, Rows};
use crate::error::Reject;
use crate::ops::matmul::products;
use crate::public::{Matrix, Public, Rounded, quotient};
use crate::script::{At, Script};
use crate::vectors::{cut, dot, eq_vector, outer};

/// The remainder of a rotated projection.
///
/// # Errors
/// The channel's.
pub fn low<C: Channel>(script: &mut Script<'_, C>, op: Rounded, at: &At) -> Result<(), Reject> {
    let is_query = op == Rounded::Query;
    let matrix = if is_query { Matrix::Query } else { Matrix::Key };
    let value = script.unrounded(op, at)?;
    let dims = script.public().dims;
    let per_head = dims.groups_per_head();
    let (head_point, element_point) =
        cut(&at.group_point, at.group_point.len().saturating_sub(bits(per_head)));
    let heads = eq_vector(head_point, quotient(at.groups.len(), per_head));
    let elements = outer(&eq_vector(element_point, per_head), &at.lanes);
    let weights = rotated_weights(script.public(), is_query, &at.rows, &elements);
    let positions = at.rows.b.len();
    let dimensions = [positions, per_head, dims.lanes()];
    let what = Product::Rotated { matrix, rows: &at.rows, heads: &heads, weights: &weights };
    let (point, [weight, folded]) = script.channel.product(value, &dimensions, what)?;
    let (position_point, rest) = cut(&point, bits(positions));
    let (group_point, lane_point) = cut(rest, bits(per_head));
    let b = eq_vector(position_point, positions);
    let own = outer(&eq_vector(group_point, per_head), &eq_vector(lane_point, dims.lanes()));
    script.expect("the rotation", weight, |_| {
        weights.chunks(own.len().max(1)).zip(&b).map(|(row, b)| dot(row, &own) * *b).sum()
    })?;
    let rows = Rows { first: at.rows.first, a: at.rows.a.clone(), from: at.rows.from, b };
    products(script, matrix, &rows, &outer(&heads, &own), folded)
}

/// What (position, element) of the unrotated projection weighs, if the rotated one weighs `positions * elements`.
fn rotated_weights(public: &Public<'_>, is_query: bool, rows: &Rows, elements: &[Ext]) -> Vec<Ext> {
    let [queries, keys] = &public.tables.rotations;
    let table = if is_query { queries } else { keys };
    let pairs = elements.len() / 2;
    let mut weights = Vec::with_capacity(rows.b.len().saturating_mul(elements.len()));
    for (position, weight) in (rows.from..).zip(&rows.b) {
        let start = weights.len();
        weights.resize(start.saturating_add(elements.len()), Ext::ZERO);
        for (pair, rotation) in table.position(position).iter().enumerate() {
            let [cos, sin] = rotation.map(|value| Base::from_signed(i64::from(value)));
            let (first, second) = match public.outline.config.rope_style {
                RopeStyle::Interleaved => (pair.saturating_mul(2), pair.saturating_mul(2).saturating_add(1)),
                RopeStyle::Halves => (pair, pair.saturating_add(pairs)),
            };
            // (a c - b s, a s + b c): the transpose, since weights go the other way.
            let (Some(x), Some(y)) = (elements.get(first), elements.get(second)) else { continue };
            let a = (*x * cos + *y * sin) * *weight;
            let b = (*y * cos - *x * sin) * *weight;
            if let Some(slot) = weights.get_mut(start.saturating_add(first)) {
                *slot = a;
            }
            if let Some(slot) = weights.get_mut(start.saturating_add(second)) {
                *slot = b;
            }
        }
    }
    weights
}
