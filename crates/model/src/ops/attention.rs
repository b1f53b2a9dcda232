//! Attention of one query head (Vaswani et al. 2017, equation 1): causal, with grouped keys and values, and
//! the one place where the attention output is rounded.

use super::softmax::softmax;

/// What one attention row needs besides its operands.
#[derive(Clone, Copy, Debug)]
pub struct AttentionRule<'t> {
    /// Scores' exponent less the softmax table's step.
    pub shift: i32,
    /// Softmax table for this number of keys.
    pub table: &'t [u32],
}

/// Output of one query over `keys` and `values` (both (key, head width), only the positions it may see).
///
/// `out[d] = floor((sum_j e_j v_j[d] + floor(Z / 2)) / Z)` with `Z = sum_j e_j`: rounded to nearest, halves up.
/// |out| never exceeds the largest |v|, so it cannot overflow.
#[must_use]
pub fn attention(query: &[i64], keys: &[&[i64]], values: &[&[i64]], rule: AttentionRule<'_>) -> Vec<i64> {
    let AttentionSums { weighted, sum, .. } = attention_sums(query, keys, values, rule);
    weighted.into_iter().map(|n| divide_round(n, sum)).collect()
}

/// What attention has before its division.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttentionSums {
    /// One per key.
    pub scores: Vec<i64>,
    /// `sum_j e_j v_j`.
    pub weighted: Vec<i64>,
    /// Z.
    pub sum: i64,
}

/// [`attention`] before its division.
#[must_use]
pub fn attention_sums(
    query: &[i64],
    keys: &[&[i64]],
    values: &[&[i64]],
    rule: AttentionRule<'_>,
) -> AttentionSums {
    let scores: Vec<i64> = keys.iter().map(|k| dot(query, k)).collect();
    let weights = softmax(&scores, rule.shift, rule.table);
    let weigh = |d: usize| weights.iter().zip(values).map(|(e, v)| e * v[d]).sum();
    AttentionSums { scores, weighted: (0..query.len()).map(weigh).collect(), sum: weights.iter().sum() }
}

/// `floor((n + floor(z / 2)) / z)` for positive `z`.
#[must_use]
pub fn divide_round(n: i64, z: i64) -> i64 {
    (n + (z >> 1)).div_euclid(z)
}

/// First key that a query at `position` may see: all of them, or the last `window` with itself.
#[must_use]
pub fn first_key(position: usize, window: Option<u32>) -> usize {
    window.map_or(0, |w| (position + 1).saturating_sub(w as usize))
}

fn dot(a: &[i64], b: &[i64]) -> i64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}
