//! Softmax numerators: `e[j] = EXP[(max - score[j]) >> shift]`, floor, with the maximum exact. The division
//! by their sum waits until after the values are summed (attention.rs): one per output, none per key.

/// The row's unnormalized weights. `shift` is the scores' exponent less the table's step; distances past the
/// table's end weigh nothing.
#[must_use]
pub fn softmax(scores: &[i64], shift: i32, table: &[u32]) -> Vec<i64> {
    let max = scores.iter().copied().max().unwrap_or(0);
    scores
        .iter()
        .map(|score| {
            let distance = distance(max - score, shift);
            usize::try_from(distance).ok().and_then(|d| table.get(d)).map_or(0, |e| i64::from(*e))
        })
        .collect()
}

/// `floor(difference / 2^shift)`, never rounded: distance 0 must mean "within one step of the maximum".
#[must_use]
pub fn distance(difference: i64, shift: i32) -> i64 {
    if shift >= 0 { difference >> shift.min(62) } else { difference << -shift }
}
