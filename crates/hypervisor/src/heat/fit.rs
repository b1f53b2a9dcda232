//! A lump from a log of power and temperature. Fits the balance of heat over whole stretches and not its derivative, so
//! that sensors of whole degrees do.

use super::Lump;
use crate::Error;

/// Fewest samples.
const SAMPLES_MIN: usize = 20;

/// A moment of a log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observed {
    /// Seconds from some start, rising.
    pub seconds: f64,
    /// Watts.
    pub watts: f64,
    /// Degrees Celsius.
    pub celsius: f64,
}

/// A lump and the surroundings it gives its heat to, by least squares of
/// `T(t) - T(0) = a integral(P) - b integral(T) + c t`, with `a = 1 / C`, `b = G / C`, `c = G T_around / C`.
///
/// # Errors
/// [`Error::TooFew`] if the log is too short, or has neither warming nor cooling.
pub fn fit(log: &[Observed]) -> Result<(Lump, f64), Error> {
    let too_few = || Error::TooFew("a model of heat");
    let first = log.first().ok_or_else(too_few)?;
    if log.len() < SAMPLES_MIN {
        return Err(too_few());
    }
    // Normal equations of three unknowns.
    let (mut matrix, mut right) = ([[0.0; 3]; 3], [0.0; 3]);
    let (mut power, mut warmth) = (0.0, 0.0);
    for (before, now) in log.iter().zip(log.iter().skip(1)) {
        let seconds = now.seconds - before.seconds;
        if !(seconds > 0.0 && now.watts.is_finite() && now.celsius.is_finite()) {
            continue;
        }
        power += (before.watts + now.watts) / 2.0 * seconds;
        warmth += (before.celsius + now.celsius) / 2.0 * seconds;
        let row = [power, -warmth, now.seconds - first.seconds];
        for (line, x) in matrix.iter_mut().zip(row) {
            line.iter_mut().zip(row).for_each(|(cell, y)| *cell += x * y);
        }
        right.iter_mut().zip(row).for_each(|(cell, x)| *cell += x * (now.celsius - first.celsius));
    }
    let [a, b, c] = solve(matrix, right).ok_or_else(too_few)?;
    if !(a > 0.0 && b > 0.0 && c.is_finite()) {
        return Err(too_few());
    }
    Ok((Lump { joules_per_degree: 1.0 / a, watts_per_degree: b / a }, c / b))
}

/// Where a lump is going.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// What it was fitted to be.
    pub lump: Lump,
    /// What it gives its heat to, in degrees Celsius.
    pub around: f64,
    /// What it has now, in degrees Celsius.
    pub now: f64,
    /// Where it settles at its present power, in degrees Celsius.
    pub settles_at: f64,
    /// Seconds until it is at the limit at its present power; `None` if it never is.
    pub seconds_to_limit: Option<f64>,
    /// The most watts that it may have for ever without ever being hotter than the limit.
    pub watts_at_limit: f64,
}

impl Forecast {
    /// Degrees Celsius after so many seconds at its present power: `T_end + (T_0 - T_end) exp(-t G / C)`.
    #[must_use]
    pub fn after(&self, seconds: f64) -> f64 {
        let time = self.lump.joules_per_degree / self.lump.watts_per_degree;
        self.settles_at + (self.now - self.settles_at) * (-seconds / time).exp()
    }
}

/// Fits a log and looks ahead at the mean power of its last `recent_seconds`.
///
/// # Errors
/// As [`fit`].
pub fn forecast(log: &[Observed], recent_seconds: f64, limit: f64) -> Result<Forecast, Error> {
    let (lump, around) = fit(log)?;
    let last = log.last().ok_or(Error::TooFew("a model of heat"))?;
    let recent: Vec<f64> =
        log.iter().filter(|at| last.seconds - at.seconds <= recent_seconds).map(|at| at.watts).collect();
    let watts = recent.iter().sum::<f64>() / recent.len().max(1) as f64;
    let settles_at = around + watts / lump.watts_per_degree;
    let seconds_to_limit = if last.celsius >= limit {
        Some(0.0)
    } else if settles_at > limit {
        // T(t) = T_end + (T_0 - T_end) exp(-t G / C)
        let time = lump.joules_per_degree / lump.watts_per_degree;
        Some(time * ((settles_at - last.celsius) / (settles_at - limit)).ln())
    } else {
        None
    };
    let watts_at_limit = lump.watts_per_degree * (limit - around).max(0.0);
    Ok(Forecast { lump, around, now: last.celsius, settles_at, seconds_to_limit, watts_at_limit })
}

/// Cramer's rule, on numbers of one size.
fn solve(mut matrix: [[f64; 3]; 3], mut right: [f64; 3]) -> Option<[f64; 3]> {
    let scale = [0, 1, 2]
        .map(|at: usize| matrix.get(at).and_then(|line| line.get(at)).copied().unwrap_or(0.0).sqrt());
    if scale.iter().any(|scale| *scale <= 0.0 || !scale.is_finite()) {
        return None;
    }
    for ((line, x), value) in matrix.iter_mut().zip(scale).zip(&mut right) {
        line.iter_mut().zip(scale).for_each(|(cell, y)| *cell /= x * y);
        *value /= x;
    }
    let whole = determinant(&matrix);
    if whole.abs() < 1e-12 {
        return None;
    }
    let mut unknowns = [0.0; 3];
    for (column, (unknown, scale)) in unknowns.iter_mut().zip(scale).enumerate() {
        let mut replaced = matrix;
        for (line, value) in replaced.iter_mut().zip(right) {
            if let Some(cell) = line.get_mut(column) {
                *cell = value;
            }
        }
        *unknown = determinant(&replaced) / whole / scale;
    }
    Some(unknowns)
}

fn determinant([[a, b, c], [d, e, f], [g, h, i]]: &[[f64; 3]; 3]) -> f64 {
    a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
}
