//! MLPerf training logs: lines `:::MLLOG {json}` with `key` = `power_reading`. Never fails on the other keys, of which
//! such logs are full.

use serde::Deserialize;

use super::{Limits, PowerTrace, RawSample};
use crate::Error;

/// Longest line that is parsed.
const LINE_BYTES_MAX: usize = 16 << 10;

#[derive(Deserialize)]
struct Line {
    key: String,
    time_ms: f64,
    #[serde(default)]
    value: serde_json::Value,
}

/// Reads a log.
pub fn parse(source: &str, text: &str, limits: Limits) -> Result<PowerTrace, Error> {
    let lines = text.lines().filter(|line| !line.trim().is_empty()).filter_map(line);
    PowerTrace::of_lines(source, lines, limits)
}

/// `None`: a line about something else. `Some(None)`: a line that should be a reading and is none.
fn line(line: &str) -> Option<Option<RawSample>> {
    if line.len() > LINE_BYTES_MAX {
        return Some(None);
    }
    let Some(json) = line.strip_prefix(":::MLLOG") else { return Some(None) };
    let Ok(line) = serde_json::from_str::<Line>(json.trim()) else { return Some(None) };
    if line.key != "power_reading" {
        return None;
    }
    let watts = line.value.as_f64().or_else(|| line.value.as_str()?.trim().parse().ok());
    let time = Some(line.time_ms).filter(|ms| ms.is_finite() && *ms >= 0.0 && *ms < 1e13);
    Some(time.zip(watts).map(|(ms, watts)| RawSample { at_ns: (ms * 1e6) as u64, watts, celsius: None }))
}
