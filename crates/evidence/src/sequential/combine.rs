//! E-values of several processes as one, and which servers of a fleet to suspect. Each rule says what it takes for
//! granted.

/// ln of the mean of e-values, given their logarithms: an e-value whatever the dependence between them. 0 for none.
#[must_use]
pub fn average(log_values: &[f64]) -> f64 {
    let largest = log_values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !largest.is_finite() {
        return 0.0;
    }
    let sum: f64 = log_values.iter().map(|value| (value - largest).exp()).sum();
    largest + (sum / log_values.len() as f64).ln()
}

/// ln of the product: an e-value only if the values are independent, or each has a mean of at most 1 given those before.
#[must_use]
pub fn product(log_values: &[f64]) -> f64 {
    log_values.iter().sum()
}

/// The e-BH procedure (Wang and Ramdas 2022): indices to suspect, such that of all that are suspected at most a share
/// `alpha` is honest, in the mean and under any dependence. With `n` values sorted downwards the first `k` are taken, for
/// the largest `k` with `e_k >= n / (alpha k)`.
#[must_use]
pub fn false_discovery(log_values: &[f64], alpha: f64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..log_values.len()).collect();
    let value = |index: &usize| log_values.get(*index).copied().unwrap_or(f64::NEG_INFINITY);
    order.sort_by(|a, b| value(b).total_cmp(&value(a)));
    let threshold = |k: usize| (log_values.len() as f64 / (alpha * k as f64)).ln();
    let taken = (1..=order.len()).rev().find(|k| order.get(k - 1).map(value) >= Some(threshold(*k)));
    order.truncate(taken.unwrap_or(0));
    order.sort_unstable();
    order
}
