//! The gated product `rsh(f * (W_up x))`: a sumcheck of three columns over every element. Error: 3 log(elements) / |F|.

use proof_system::sumcheck::bits;

use crate::channel::{Channel, Product3, Rows};
use crate::error::Reject;
use crate::layout::Tensor;
use crate::ops::matmul::products;
use crate::public::{Matrix, Rounded};
use crate::script::{At, Script};
use crate::vectors::{cut, dot, eq_vector, outer};

/// The remainder of a gated product.
///
/// # Errors
/// The channel's.
pub fn low<C: Channel>(script: &mut Script<'_, C>, at: &At) -> Result<(), Reject> {
    let value = script.unrounded(Rounded::Product, at)?;
    let (blocks, positions) = (at.rows.a.len(), at.rows.b.len());
    let (groups, lanes) = (at.groups.len(), at.lanes.len());
    let what = Product3::Gated { rows: &at.rows, inner: &at.inner() };
    let dimensions = [blocks, positions, groups, lanes];
    let (point, [weight, gate, up]) = script.channel.product3(value, &dimensions, what)?;
    let (block_point, rest) = cut(&point, bits(blocks));
    let (position_point, rest) = cut(rest, bits(positions));
    let (group_point, lane_point) = cut(rest, bits(groups));
    let a = eq_vector(block_point, blocks);
    let b = eq_vector(position_point, positions);
    let (group_weights, lane_weights) = (eq_vector(group_point, groups), eq_vector(lane_point, lanes));
    script.expect("the weights of a product", weight, |_| {
        dot(&a, &at.rows.a)
            * dot(&b, &at.rows.b)
            * dot(&group_weights, &at.groups)
            * dot(&lane_weights, &at.lanes)
    })?;
    script.committed_rows(
        Tensor::Activated,
        at.rows.row(),
        outer(&a, &b),
        [&group_weights, &lane_weights],
        Some(gate),
    )?;
    let rows = Rows { first: at.rows.first, a, from: at.rows.from, b };
    products(script, Matrix::Up, &rows, &outer(&group_weights, &lane_weights), up)
}
