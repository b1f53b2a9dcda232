//! Numbers of plans as people read them. Never used for `--json`, which has them in full.

use recomputer::coverage::Probability;

use crate::output::grouped;

#[cfg(test)]
mod tests;

const MINUTE: f64 = 60.0;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;
const YEAR: f64 = 365.25 * DAY;

/// A time in the unit that leaves few digits: `115 s`, `19 min`, `3.2 h`, `53 d`, `12 y`.
pub(super) fn duration(seconds: f64) -> String {
    if seconds == f64::INFINITY {
        return "never".to_owned();
    }
    let (value, unit) = match seconds {
        _ if seconds < 2.0 * MINUTE => (seconds, "s"),
        _ if seconds < 2.0 * HOUR => (seconds / MINUTE, "min"),
        _ if seconds < 2.0 * DAY => (seconds / HOUR, "h"),
        _ if seconds < 2.0 * YEAR => (seconds / DAY, "d"),
        _ => (seconds / YEAR, "y"),
    };
    format!("{} {unit}", few_digits(value))
}

/// Two or three digits, or a power of ten.
pub(super) fn few_digits(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        _ if value < 0.01 => format!("{value:.1e}"),
        _ if value < 1.0 => format!("{value:.2}"),
        _ if value < 14.95 => format!("{value:.1}"),
        _ if value < 1e6 => grouped(value.round() as u64),
        _ => format!("{value:.1e}"),
    }
}

/// A share as short as it can be written exactly: `0.25`, `1e-5`.
pub(super) fn share(value: Probability) -> String {
    let (plain, short) = (value.to_string(), format!("{:e}", value.get()));
    if value.get() == 0.0 || plain.len() <= short.len() + 1 { plain } else { short }
}

/// A chance with three decimals, and more where they would be 0.000 or 1.000.
pub(super) fn chance(value: f64) -> String {
    match value {
        0.0 | 1.0 => format!("{value}"),
        _ if value < 0.001 => format!("{value:.1e}"),
        _ if value > 0.999 => format!("1 - {:.0e}", 1.0 - value),
        _ => format!("{value:.3}"),
    }
}

/// A count, or that none is enough.
pub(super) fn count(value: Option<u64>) -> String {
    value.map_or_else(|| "no number".to_owned(), grouped)
}
