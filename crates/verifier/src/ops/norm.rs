//! RMSNorm: `out = rsh(x R w, s)` with `R = floor(C / t)`, `t = isqrt(S)`, `S = sum x^2 + eps`. Elements need one
//! product of the row's reciprocal and the row; a row's scalars are limbs of 16 bits with these constraints, none of which can wrap:
//!
//! - `t^2 + d = S` and `d + e = 2 t`, so that t is the square root, rounded down;
//! - `R t + r = C` and `r + u = t - 1`, so that R is the quotient, the product being taken in three parts of R.

use proof_system::field::Ext;
use proof_system::sumcheck::bits;
use proof_system::transcript::Label;

use crate::channel::{Channel, Outputs, Product, Product3, Rows, Value, WeightClaim};
use crate::error::Reject;
use crate::group_weights::GroupWeights;
use crate::layout::{Tensor, rounded_geometry};
use crate::public::{Dims, Matrix, NORM_ROW_COLUMNS, Rounded};
use crate::script::{At, Script};
use crate::vectors::{cut, dot, dot_integers, eq_vector, outer, power_of_two, scaled, times, total};

/// The norms, in the order of their rows.
pub const NORMS: [Rounded; 3] = [Rounded::AttnNorm, Rounded::MlpNorm, Rounded::FinalNorm];
/// First limb of each scalar.
pub mod limbs {
    /// t, two limbs.
    pub const ROOT: usize = 0;
    /// d, two limbs.
    pub const REST: usize = 2;
    /// e, two limbs.
    pub const REST_GAP: usize = 4;
    /// R, three limbs.
    pub const RECIPROCAL: usize = 6;
    /// Middle limb of R times t, two limbs.
    pub const MIDDLE_PRODUCT: usize = 9;
    /// High limb of R times t, one limb.
    pub const HIGH_PRODUCT: usize = 11;
    /// r, two limbs.
    pub const REMAINDER: usize = 12;
    /// u, two limbs.
    pub const REMAINDER_GAP: usize = 14;
}

/// First of a norm's rows among all.
#[must_use]
pub fn first_row(dims: &Dims, op: Rounded) -> usize {
    let half = dims.blocks.saturating_mul(dims.positions);
    match op {
        Rounded::AttnNorm => 0,
        Rounded::MlpNorm => half,
        _ => half.saturating_mul(2),
    }
}

/// The remainder of a norm's element.
///
/// # Errors
/// The channel's.
pub fn low<C: Channel>(script: &mut Script<'_, C>, op: Rounded, at: &At) -> Result<(), Reject> {
    let value = script.unrounded(op, at)?;
    let (blocks, positions) = (at.rows.a.len(), at.rows.b.len());
    let inner = at.inner();
    let what = Product::NormScale { op, rows: &at.rows, inner: &inner };
    let (point, [reciprocal, row]) = script.channel.product(value, &[blocks, positions], what)?;
    let (block_point, position_point) = cut(&point, bits(blocks));
    let (a, b) = (eq_vector(block_point, blocks), eq_vector(position_point, positions));
    let dims = script.public().dims;
    let mut weights = vec![Ext::ZERO; dims.norm_rows()];
    let first = first_row(&dims, op).saturating_add(at.rows.row());
    for (slot, weight) in weights.iter_mut().skip(first).zip(outer(&a, &b)) {
        *slot = weight;
    }
    script.reciprocals.push((weights, reciprocal));

    let rows = Rows { a: times(&a, &at.rows.a), b: times(&b, &at.rows.b), ..at.rows };
    let (groups, lanes) = (at.groups.len(), at.lanes.len());
    let what = Product::NormWeights { op, rows: &rows, inner: &inner };
    let (point, [weight, element]) = script.channel.product(row, &[blocks, groups, lanes], what)?;
    let (block_point, rest) = cut(&point, bits(blocks));
    let (group_point, lane_point) = cut(rest, bits(groups));
    let own = eq_vector(block_point, blocks);
    let (group_weights, lane_weights) = (eq_vector(group_point, groups), eq_vector(lane_point, lanes));
    script.expect("the weights of a norm", weight, |public| {
        let row = times(&outer(&group_weights, &lane_weights), &inner);
        let blocks = (rows.first..).zip(times(&own, &rows.a));
        let of = |block| public.norm_weights(op, block).iter().map(|w| i64::from(*w));
        blocks.map(|(block, weight)| weight * dot_integers(&row, of(block))).sum()
    })?;
    let row_weights = outer(&own, &rows.b);
    stream(script, op, rows.row(), &row_weights, [&group_weights, &lane_weights], Some(element))?;
    Ok(())
}

/// The stream that an operation begins with, at weights of its rows from `first` on; the value is sent unless it is known.
///
/// # Errors
/// The channel's.
pub fn stream<C: Channel>(
    script: &mut Script<'_, C>,
    op: Rounded,
    first: usize,
    rows: &[Ext],
    [groups, lanes]: [&[Ext]; 2],
    known: Option<Ext>,
) -> Result<Ext, Reject> {
    let dims = script.public().dims;
    match op {
        Rounded::MlpNorm | Rounded::MlpAdd => {
            script.committed_rows(Tensor::Out(Rounded::AttnAdd), first, rows, [groups, lanes], known)
        }
        Rounded::FinalNorm => {
            let last = dims.blocks.saturating_sub(1).saturating_mul(dims.positions);
            let first = last.saturating_add(dims.first_sampled).saturating_add(first);
            script.committed_rows(Tensor::Out(Rounded::MlpAdd), first, rows, [groups, lanes], known)
        }
        _ => {
            // Before the first block it is the tokens'.
            let (tokens, rest) = cut(rows, dims.positions.saturating_sub(first));
            if rest.is_empty() {
                return embedded(script, first, tokens, [groups, lanes], known);
            }
            let own = if tokens.is_empty() {
                Ext::ZERO
            } else {
                embedded(script, first, tokens, [groups, lanes], None)?
            };
            let tensor = Tensor::Out(Rounded::MlpAdd);
            let first = first.max(dims.positions).saturating_sub(dims.positions);
            let known = known.map(|known| known - own);
            Ok(own + script.committed_rows(tensor, first, rest, [groups, lanes], known)?)
        }
    }
}

/// The stream before the first block: rows of the table of tokens.
fn embedded<C: Channel>(
    script: &mut Script<'_, C>,
    first: usize,
    rows: &[Ext],
    inner: [&[Ext]; 2],
    known: Option<Ext>,
) -> Result<Ext, Reject> {
    let value = match known {
        Some(value) => value,
        None => script.channel.send(Value::Embedded { first, rows, inner })?,
    };
    let ids = script.public().ids.iter().skip(first).copied();
    let out = Outputs::Some(ids.zip(rows.iter().copied()).collect());
    let input = inner.map(<[Ext]>::to_vec);
    let blocks = vec![Ext::ONE];
    script.channel.weights(WeightClaim { matrix: Matrix::Embedded, first: 0, blocks, out, input, value });
    Ok(value)
}

/// The constraints of all rows' scalars, at one random combination of rows.
///
/// # Errors
/// The channel's.
pub fn scalars<C: Channel>(script: &mut Script<'_, C>) -> Result<(), Reject> {
    let dims = script.public().dims;
    let (groups, lanes) = (dims.groups(dims.norm_rows()), dims.lanes());
    let mut draw =
        |count: usize| -> Vec<Ext> { (0..count).map(|_| script.channel.draw(Label::Batching)).collect() };
    let group_weights = eq_vector(&draw(bits(groups)), groups);
    let lane_weights = eq_vector(&draw(bits(lanes)), lanes);
    let gammas: [Ext; 6] = std::array::from_fn(|_| script.channel.draw(Label::Batching));
    let weights = outer(&group_weights, &lane_weights);
    let count = first_row(&dims, Rounded::FinalNorm).saturating_add(dims.sampled);
    let (real, _) = cut(&weights, count);
    let real_sum = total(real);
    let mut squares = real_sum * Ext::from_u64(script.public().epsilon);
    for op in NORMS {
        let (_, rest) = cut(&weights, first_row(&dims, op));
        let geometry = rounded_geometry(&dims, op);
        let (own, _) = cut(rest, geometry.a.saturating_mul(geometry.b));
        squares += square_sum(script, op, own)?;
    }
    let [root, middle, high, quotient, _, quotient_gap] = gammas;
    let numerator = Ext::from_signed(script.public().numerator);
    let right = root * squares + (quotient * numerator - quotient_gap) * real_sum;
    let linear = linear_factors(gammas);
    let hi = GroupWeights::rows(linear, &group_weights);
    let linear = script.committed_groups(Tensor::NormRows, 0, hi, &lane_weights, None)?;

    let mut factors = vec![Ext::ZERO; NORM_ROW_COLUMNS];
    set(&mut factors, limbs::ROOT, &[root, root * power_of_two(16)]);
    set(&mut factors, limbs::RECIPROCAL, &[quotient, -middle, -high]);
    let what = Product3::NormRows { weights: &weights, factors: &factors };
    let (point, [weight, root, sum]) = script.channel.product3(right - linear, &[groups, lanes], what)?;
    let (group_point, lane_point) = cut(&point, bits(groups));
    let own = [eq_vector(group_point, groups), eq_vector(lane_point, lanes)];
    script.expect("the weights of normalized rows", weight, |_| {
        dot(&own[0], &group_weights) * dot(&own[1], &lane_weights)
    })?;
    let mut root_factors = vec![Ext::ZERO; NORM_ROW_COLUMNS];
    set(&mut root_factors, limbs::ROOT, &[Ext::ONE, power_of_two(16)]);
    for (factors, value) in [(root_factors, root), (factors, sum)] {
        let hi = GroupWeights::rows(factors, &own[0]);
        script.committed_groups(Tensor::NormRows, 0, hi, &own[1], Some(value))?;
    }
    Ok(())
}

/// Factors of the limbs in the constraints' linear part.
fn linear_factors([root, middle, high, quotient, root_gap, quotient_gap]: [Ext; 6]) -> Vec<Ext> {
    let two = |factor: Ext| [factor, factor * power_of_two(16)];
    let mut factors = vec![Ext::ZERO; NORM_ROW_COLUMNS];
    set(&mut factors, limbs::ROOT, &two(-root_gap - root_gap - quotient_gap));
    set(&mut factors, limbs::REST, &two(root + root_gap));
    set(&mut factors, limbs::REST_GAP, &two(root_gap));
    set(&mut factors, limbs::MIDDLE_PRODUCT, &two(middle + quotient * power_of_two(16)));
    set(&mut factors, limbs::HIGH_PRODUCT, &[high + quotient * power_of_two(32)]);
    set(&mut factors, limbs::REMAINDER, &two(quotient + quotient_gap));
    set(&mut factors, limbs::REMAINDER_GAP, &two(quotient_gap));
    factors
}

fn set(factors: &mut [Ext], first: usize, values: &[Ext]) {
    for (slot, value) in factors.iter_mut().skip(first).zip(values) {
        *slot = *value;
    }
}

/// `sum over rows of weight(row) sum x^2` of a norm's input.
fn square_sum<C: Channel>(script: &mut Script<'_, C>, op: Rounded, rows: &[Ext]) -> Result<Ext, Reject> {
    let geometry = rounded_geometry(&script.public().dims, op);
    let lanes = script.public().dims.lanes();
    let groups = script.public().dims.groups(geometry.inner);
    let what = Product::Squares { op, rows };
    let sum = script.channel.send(Value::Sum(what))?;
    let dimensions = [geometry.a, geometry.b, groups, lanes];
    let (point, [weighted, plain]) = script.channel.product(sum, &dimensions, what)?;
    let (block_point, rest) = cut(&point, bits(geometry.a));
    let (position_point, rest) = cut(rest, bits(geometry.b));
    let (group_point, lane_point) = cut(rest, bits(groups));
    let own = outer(&eq_vector(block_point, geometry.a), &eq_vector(position_point, geometry.b));
    let (group_weights, lane_weights) = (eq_vector(group_point, groups), eq_vector(lane_point, lanes));
    let inner = [group_weights.as_slice(), lane_weights.as_slice()];
    stream(script, op, 0, &times(&own, rows), inner, Some(weighted))?;
    stream(script, op, 0, &own, inner, Some(plain))?;
    Ok(sum)
}

/// All claims about reciprocals, as one at a point.
///
/// # Errors
/// The channel's.
pub fn reciprocals<C: Channel>(script: &mut Script<'_, C>) -> Result<(), Reject> {
    let dims = script.public().dims;
    let (groups, lanes) = (dims.groups(dims.norm_rows()), dims.lanes());
    let gamma = script.channel.draw(Label::Batching);
    let claims = std::mem::take(&mut script.reciprocals);
    let mut weights = vec![Ext::ZERO; dims.norm_rows()];
    let (mut value, mut power) = (Ext::ZERO, Ext::ONE);
    for (own, claim) in claims {
        value += power * claim;
        for (sum, weight) in weights.iter_mut().zip(scaled(&own, power)) {
            *sum += weight;
        }
        power *= gamma;
    }
    let what = Product::Reciprocals { weights: &weights };
    let (point, [weight, reciprocal]) = script.channel.product(value, &[groups, lanes], what)?;
    let (group_point, lane_point) = cut(&point, bits(groups));
    let own = [eq_vector(group_point, groups), eq_vector(lane_point, lanes)];
    script.expect("the weights of reciprocals", weight, |_| dot(&outer(&own[0], &own[1]), &weights))?;
    let mut factors = vec![Ext::ZERO; NORM_ROW_COLUMNS];
    set(&mut factors, limbs::RECIPROCAL, &[Ext::ONE, power_of_two(16), power_of_two(32)]);
    let hi = GroupWeights::rows(factors, &own[0]);
    script.committed_groups(Tensor::NormRows, 0, hi, &own[1], Some(reciprocal))?;
    Ok(())
}
