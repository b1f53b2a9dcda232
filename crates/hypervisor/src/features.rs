//! What a window of power looks like, in numbers: level, variation, percentiles, autocorrelation, bands. Never depends on
//! how long the trace is or where the window begins in it.

use crate::sensors::{PowerSample, SECOND_NS};

/// How many numbers.
pub const FEATURES: usize = 14;
/// Samples that a window is brought to.
pub const SAMPLES: usize = 30;
/// A window must have so many usable samples of its own.
const USABLE_MIN: usize = 20;
/// Names, in their order.
pub const NAMES: [&str; FEATURES] = [
    "level", "cv", "p5", "p95", "range", "lag1", "lag2", "lag5", "slow", "middle", "fast", "entropy", "step",
    "drift",
];

/// The numbers of one window.
pub type Features = [f64; FEATURES];

/// Of the samples of a window of `window_ns` from `from_ns` on; `idle_watts` is what the level is measured in.
#[must_use]
pub fn of_window(samples: &[PowerSample], from_ns: u64, window_ns: u64, idle_watts: f64) -> Option<Features> {
    let usable: Vec<&PowerSample> = samples.iter().filter(|sample| sample.quality.is_usable()).collect();
    if usable.len() < USABLE_MIN || idle_watts <= 0.0 {
        return None;
    }
    of_series(&resample(&usable, from_ns, window_ns)?, idle_watts)
}

/// Means over equal parts of the window. A part without a sample makes the window none.
fn resample(samples: &[&PowerSample], from_ns: u64, window_ns: u64) -> Option<[f64; SAMPLES]> {
    let part_ns = window_ns / SAMPLES as u64;
    let (mut sums, mut counts) = ([0.0; SAMPLES], [0_u32; SAMPLES]);
    for sample in samples {
        let part = usize::try_from(sample.at_ns.checked_sub(from_ns)?.checked_div(part_ns)?).ok()?;
        if let (Some(sum), Some(count)) = (sums.get_mut(part), counts.get_mut(part)) {
            *sum += sample.watts;
            *count += 1;
        }
    }
    let mut before = samples.first()?.watts;
    for (sum, count) in sums.iter_mut().zip(counts) {
        // A meter of two seconds may miss a part of two seconds by its jitter: the value before stays.
        before = if count == 0 { before } else { *sum / f64::from(count) };
        *sum = before;
    }
    let missed = counts.iter().filter(|count| **count == 0).count();
    (missed * 4 <= SAMPLES && part_ns >= SECOND_NS / 10).then_some(sums)
}

fn of_series(series: &[f64; SAMPLES], idle_watts: f64) -> Option<Features> {
    let mean = series.iter().sum::<f64>() / SAMPLES as f64;
    let centred: Vec<f64> = series.iter().map(|watts| watts - mean).collect();
    let variance = centred.iter().map(|x| x * x).sum::<f64>() / SAMPLES as f64;
    let mut sorted = *series;
    sorted.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| sorted.get((share * (SAMPLES - 1) as f64).round() as usize).copied();
    let lag = |lag: usize| {
        let product: f64 = centred.iter().zip(centred.iter().skip(lag)).map(|(a, b)| a * b).sum();
        if variance > 0.0 { product / (variance * SAMPLES as f64) } else { 0.0 }
    };
    let power = spectrum(&centred);
    let total: f64 = power.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let band = |from: usize, until: usize| power.iter().take(until).skip(from).sum::<f64>() / total;
    let entropy: f64 = power.iter().map(|p| p / total).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum();
    let steps = series.iter().zip(series.iter().skip(1)).map(|(a, b)| (b - a).abs());
    let half = |skip: usize| series.iter().skip(skip).take(SAMPLES / 2).sum::<f64>() / (SAMPLES / 2) as f64;
    let features = [
        mean / idle_watts,
        variance.sqrt() / mean,
        at(0.05)? / mean,
        at(0.95)? / mean,
        (at(1.0)? - at(0.0)?) / mean,
        lag(1),
        lag(2),
        lag(5),
        band(0, 3),
        band(3, 8),
        band(8, power.len()),
        entropy / (power.len() as f64).ln(),
        steps.fold(0.0, f64::max) / mean,
        (half(SAMPLES / 2) - half(0)) / mean,
    ];
    features.iter().all(|feature| feature.is_finite()).then_some(features)
}

/// Power at 1, 2, .. 15 waves per window, by the definition: windows are short.
fn spectrum(centred: &[f64]) -> Vec<f64> {
    let wave = |waves: usize| {
        let angle = |at: usize| std::f64::consts::TAU * (waves * at % SAMPLES) as f64 / SAMPLES as f64;
        let parts = centred.iter().zip(0..).map(|(x, at)| (x * angle(at).cos(), x * angle(at).sin()));
        let (re, im) = parts.fold((0.0, 0.0), |(re, im), (c, s)| (re + c, im + s));
        re * re + im * im
    };
    (1..=SAMPLES / 2).map(wave).collect()
}
