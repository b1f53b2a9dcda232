//! Attention of one query head at speed; see `model::ops::{softmax, attention}`. Where a wide row is in sight,
//! the head takes the plain path of `model` itself.

use std::ops::Range;

use model::ops::attention as meaning;

use crate::cache::HeadCache;

/// What one attention row needs besides its operands.
#[derive(Clone, Copy, Debug)]
pub struct AttentionRule<'t> {
    /// Scores' exponent less the softmax table's step.
    pub shift: i32,
    /// Softmax table for this number of keys.
    pub table: &'t [u32],
}

/// Output of `query` over the cached positions `keys` into `out` (head_dim).
pub fn attention(query: &[i32], head: &HeadCache, keys: Range<usize>, rule: AttentionRule<'_>, out: &mut [i32]) {
    let rule = meaning::AttentionRule { shift: rule.shift, table: rule.table };
    let dim = query.len();
    let query: Vec<i64> = query.iter().map(|v| i64::from(*v)).collect();
    let rows: Vec<(Vec<i64>, Vec<i64>)> = keys
        .map(|position| {
            let (key, value) = head.position(position, dim);
            (key.iter().map(|v| i64::from(*v)).collect(), value.iter().map(|v| i64::from(*v)).collect())
        })
        .collect();
    let keys: Vec<&[i64]> = rows.iter().map(|(key, _)| key.as_slice()).collect();
    let values: Vec<&[i64]> = rows.iter().map(|(_, value)| value.as_slice()).collect();
    for (out, v) in out.iter_mut().zip(meaning::attention(&query, &keys, &values, rule)) {
        *out = v as i32;
    }
}
