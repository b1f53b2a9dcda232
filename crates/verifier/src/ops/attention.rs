//! Attention of all heads of all blocks. A row is a position, a cell a position and a key that it sees: the upper triangle is
//! never touched. The largest score is bound from both sides: no distance from it is negative, before rounding, and at one marked cell of
//! each row it is zero.

use proof_system::field::Ext;
use proof_system::sumcheck::bits;
use proof_system::transcript::Label;

use crate::channel::{Channel, Product, Value};
use crate::error::Reject;
use crate::group_weights::{GroupWeights, RowWeights};
use crate::layout::{Tensor, triangle_root};
use crate::public::{Public, Rounded, quotient};
use crate::script::{At, Script};
use crate::vectors::{cut, dot, eq_vector, outer, power_of_two, scaled, times, total};

/// Low bits of a committed score.
pub const SCORE_LOW_BITS: u32 = 30;

/// The block of one of all heads; those that only pad belong to the last one.
#[must_use]
pub fn block_of(public: &Public<'_>, head: usize) -> usize {
    let dims = &public.dims;
    quotient(head, dims.heads).min(dims.blocks.saturating_sub(1))
}

/// A weight per position: the sum of those of its cells.
fn positions_of(from: usize, cells: &[Ext]) -> Vec<Ext> {
    let (mut rest, mut sums) = (cells, Vec::new());
    for position in from.. {
        if rest.is_empty() {
            break;
        }
        let (row, others) = cut(rest, position.saturating_add(1));
        sums.push(total(row));
        rest = others;
    }
    sums
}

/// Rows of a tensor at weights of blocks and heads that are no product of weights of groups and lanes.
///
/// # Errors
/// The channel's.
pub fn at_heads<C: Channel>(
    script: &mut Script<'_, C>,
    tensor: Tensor,
    from: usize,
    rows: impl Into<RowWeights>,
    heads: &[Ext],
) -> Result<Ext, Reject> {
    let rows = rows.into();
    let lanes = script.public().dims.lanes();
    let groups = script.public().dims.groups(heads.len());
    let what = Product::Heads { tensor, from, rows: &rows, heads };
    let sum = script.channel.send(Value::Sum(what))?;
    let (point, [weight, folded]) = script.channel.product(sum, &[groups, lanes], what)?;
    let (group_point, lane_point) = cut(&point, bits(groups));
    let (group_weights, lane_weights) = (eq_vector(group_point, groups), eq_vector(lane_point, lanes));
    script.expect("the weights of heads", weight, |_| dot(&outer(&group_weights, &lane_weights), heads))?;
    script.committed_rows(tensor, from, rows, [&group_weights, &lane_weights], Some(folded))?;
    Ok(sum)
}

/// The remainder of a score's distance from the largest.
///
/// # Errors
/// The channel's.
pub fn score_low<C: Channel>(script: &mut Script<'_, C>, at: &At) -> Result<(), Reject> {
    let from = triangle_root(at.rows.from);
    let cells = &at.rows.b;
    let positions = positions_of(from, cells);
    let inner = [at.groups.as_slice(), at.lanes.as_slice()];
    let low = script.committed_rows(Tensor::PeakLow, from, positions.as_slice(), inner, None)?;
    let high = script.committed_rows(Tensor::PeakHigh, from, positions.as_slice(), inner, None)?;
    let heads = at.inner();
    let shift = |head| script.public().score_shift.get(block_of(script.public(), head)).copied().unwrap_or(0);
    let shifted: Vec<Ext> =
        heads.iter().enumerate().map(|(head, w)| *w * power_of_two(shift(head))).collect();
    let distance = at_heads(script, Tensor::Distance, at.rows.from, cells.as_slice(), &shifted)?;
    let score = low + high * power_of_two(SCORE_LOW_BITS) - distance - at.value;

    let dims = script.public().dims;
    let per_head = dims.groups_per_head();
    let dimensions = [dims.blocks, dims.heads, positions.len(), per_head, dims.lanes()];
    let what = Product::Scores { from, cells, heads: &heads };
    let (point, [query, key]) = script.channel.product(score, &dimensions, what)?;
    let mut rest = point.as_slice();
    let mut next = |count: usize| {
        let (own, others) = cut(rest, bits(count));
        rest = others;
        eq_vector(own, count)
    };
    let [blocks, head_weights, position_weights, groups, lanes] = dimensions.map(&mut next);
    let group = dims.heads_per_key();
    let (mut query_rows, mut query_inner, mut key_rows) = (Vec::new(), Vec::new(), Vec::new());
    let keys = keys_of(from, &position_weights, cells, dims.positions);
    let kv_weights: Vec<Ext> = head_weights.chunks(group).map(total).collect();
    for (block, own) in blocks.iter().zip(heads.chunks(dims.heads.max(1))) {
        let of_heads: Vec<Ext> = own.iter().zip(&head_weights).map(|(a, b)| *a * *b * *block).collect();
        let mut positions = vec![Ext::ZERO; from];
        positions.extend_from_slice(&position_weights);
        positions.resize(dims.positions, Ext::ZERO);
        query_rows.extend(positions);
        query_inner.push(outer(&of_heads, &groups));
        key_rows.extend(scaled(&keys, *block));
    }
    let queries = GroupWeights::Rows { rows: RowWeights::All(query_rows), inner: query_inner };
    let keys = GroupWeights::rows(key_rows.as_slice(), &outer(&kv_weights, &groups));
    script.committed_groups(Tensor::Out(Rounded::Query), 0, queries, &lanes, Some(query))?;
    script.committed_groups(Tensor::Out(Rounded::Key), 0, keys, &lanes, Some(key))?;
    Ok(())
}

/// Of each key, the sum over positions of their weights times that of the cell.
fn keys_of(from: usize, positions: &[Ext], cells: &[Ext], count: usize) -> Vec<Ext> {
    let mut keys = vec![Ext::ZERO; count];
    let mut rest = cells;
    for (position, weight) in (from..).zip(positions) {
        let (row, others) = cut(rest, position.saturating_add(1));
        rest = others;
        for (key, cell) in keys.iter_mut().zip(row) {
            *key += *weight * *cell;
        }
    }
    keys
}

/// Each row has exactly one mark, since marks are 0 or 1.
///
/// # Errors
/// The channel's.
pub fn one_peak<C: Channel>(script: &mut Script<'_, C>) -> Result<(), Reject> {
    let dims = script.public().dims;
    let groups = dims.groups(dims.all_heads());
    let mut draw = |count: usize| -> Vec<Ext> {
        let point: Vec<Ext> = (0..bits(count)).map(|_| script.channel.draw(Label::Batching)).collect();
        eq_vector(&point, count)
    };
    let (positions, group_weights, lane_weights) = (draw(dims.positions), draw(groups), draw(dims.lanes()));
    let value = total(&positions) * total(&group_weights) * total(&lane_weights);
    let cells = RowWeights::cells_of(0, &positions);
    script.committed_rows(Tensor::IsPeak, 0, cells, [&group_weights, &lane_weights], Some(value))?;
    Ok(())
}

/// What is left when half of a sum is doubled.
///
/// # Errors
/// The channel's.
pub fn parity<C: Channel>(script: &mut Script<'_, C>, at: &At) -> Result<(), Reject> {
    let inner = [at.groups.as_slice(), at.lanes.as_slice()];
    let half = script.committed_rows(Tensor::HalfSum, at.rows.from, at.rows.b.as_slice(), inner, None)?;
    let cells = RowWeights::cells_of(at.rows.from, &at.rows.b);
    let first = crate::public::triangle(at.rows.from);
    script.committed_rows(Tensor::Weight, first, cells, inner, Some(at.value + half + half))?;
    Ok(())
}

/// The remainder `sum E v + floor(Z / 2) - o Z` of an output's division, or `Z - 1` less that.
///
/// # Errors
/// The channel's.
pub fn mixed<C: Channel>(script: &mut Script<'_, C>, at: &At, is_gap: bool) -> Result<(), Reject> {
    let dims = script.public().dims;
    let per_head = dims.groups_per_head();
    let cut_at = at.group_point.len().saturating_sub(bits(per_head));
    let (head_point, element_point) = cut(&at.group_point, cut_at);
    let heads = eq_vector(head_point, dims.heads);
    let elements = eq_vector(element_point, per_head);
    // All heads of all blocks: those of other blocks weigh nothing.
    let mut all = vec![Ext::ZERO; at.rows.first.saturating_mul(dims.heads)];
    all.extend(outer(&at.rows.a, &heads));
    all.resize(dims.all_heads(), Ext::ZERO);
    let of_sums = scaled(&all, total(&elements) * total(&at.lanes));
    let (from, positions) = (at.rows.from, at.rows.b.as_slice());
    let cells = RowWeights::cells_of(from, positions);
    let first = crate::public::triangle(from);
    let half = at_heads(script, Tensor::HalfSum, from, positions, &of_sums)?;
    let divided = divided(script, at, &heads, [&elements, &at.lanes])?;
    let remainder = if is_gap {
        at_heads(script, Tensor::Weight, first, cells, &of_sums)? - at.total() - at.value
    } else {
        at.value
    };
    weighted(script, at, &heads, [&elements, &at.lanes], remainder - half + divided)
}

/// `o Z`.
fn divided<C: Channel>(
    script: &mut Script<'_, C>,
    at: &At,
    heads: &[Ext],
    elements: [&[Ext]; 2],
) -> Result<Ext, Reject> {
    let dims = script.public().dims;
    let (groups, lanes) = (dims.groups(dims.all_heads()), dims.lanes());
    let positions = at.rows.b.len();
    let what = Product::MixedSums { rows: &at.rows, heads, elements };
    let value = script.channel.send(Value::Sum(what))?;
    let (point, [output, sum]) = script.channel.product(value, &[positions, groups, lanes], what)?;
    let (position_point, rest) = cut(&point, bits(positions));
    let (group_point, lane_point) = cut(rest, bits(groups));
    let own = eq_vector(position_point, positions);
    let (group_weights, lane_weights) = (eq_vector(group_point, groups), eq_vector(lane_point, lanes));
    let all = outer(&group_weights, &lane_weights);
    let (mut rows, mut inner) = (Vec::new(), Vec::new());
    let blocks = all.chunks(dims.heads.max(1)).skip(at.rows.first);
    for (block, own_heads) in at.rows.a.iter().zip(blocks) {
        let of_heads: Vec<Ext> = own_heads.iter().zip(heads).map(|(a, b)| *a * *b * *block).collect();
        rows.extend(times(&own, &at.rows.b));
        inner.push(outer(&of_heads, elements[0]));
    }
    let hi = GroupWeights::Rows { rows: RowWeights::All(rows), inner };
    script.committed_groups(Tensor::Mixed, at.rows.row(), hi, elements[1], Some(output))?;
    let first = crate::public::triangle(at.rows.from);
    let cells = RowWeights::cells_of(at.rows.from, &own);
    script.committed_rows(Tensor::Weight, first, cells, [&group_weights, &lane_weights], Some(sum))?;
    Ok(value)
}

/// `sum over keys of E v`.
fn weighted<C: Channel>(
    script: &mut Script<'_, C>,
    at: &At,
    heads: &[Ext],
    elements: [&[Ext]; 2],
    value: Ext,
) -> Result<(), Reject> {
    let dims = script.public().dims;
    let (groups, lanes) = (dims.groups(dims.all_heads()), dims.lanes());
    let keys = at.rows.from.saturating_add(at.rows.b.len());
    let what = Product::Mixed { rows: &at.rows, heads, elements };
    let (point, [values, weights]) = script.channel.product(value, &[keys, groups, lanes], what)?;
    let (key_point, rest) = cut(&point, bits(keys));
    let (group_point, lane_point) = cut(rest, bits(groups));
    let own = eq_vector(key_point, keys);
    let (group_weights, lane_weights) = (eq_vector(group_point, groups), eq_vector(lane_point, lanes));
    let all = outer(&group_weights, &lane_weights);
    let group = dims.heads_per_key();
    let (mut rows, mut inner) = (Vec::new(), Vec::new());
    let mut of_keys = own.clone();
    of_keys.resize(dims.positions, Ext::ZERO);
    let blocks = all.chunks(dims.heads.max(1)).skip(at.rows.first);
    for (block, own_heads) in at.rows.a.iter().zip(blocks) {
        let of_heads: Vec<Ext> = own_heads.iter().zip(heads).map(|(a, b)| *a * *b * *block).collect();
        let of_kv: Vec<Ext> = of_heads.chunks(group).map(total).collect();
        rows.extend_from_slice(&of_keys);
        inner.push(outer(&of_kv, elements[0]));
    }
    let hi = GroupWeights::Rows { rows: RowWeights::All(rows), inner };
    let first = at.rows.first.saturating_mul(dims.positions);
    script.committed_groups(Tensor::Out(Rounded::Value), first, hi, elements[1], Some(values))?;
    let cells = RowWeights::Cells { from: at.rows.from, positions: at.rows.b.clone(), keys: own };
    let first = crate::public::triangle(at.rows.from);
    script.committed_rows(Tensor::Weight, first, cells, [&group_weights, &lane_weights], Some(weights))?;
    Ok(())
}
