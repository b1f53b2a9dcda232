//! Comma separated logs with a header, as `nvidia-smi --format=csv` and Maxwell itself write them. A column's unit is read
//! from its name; a column of power without a known unit is refused, never guessed.

use super::{Limits, PowerTrace, RawSample, log_time};
use crate::Error;

/// Most columns that are looked at.
const COLUMNS_MAX: usize = 64;

struct Columns {
    time: usize,
    power: usize,
    watts_per_unit: f64,
    temperature: Option<usize>,
}

/// Reads a log.
pub fn parse(source: &str, text: &str, limits: Limits) -> Result<PowerTrace, Error> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let header = lines.next().ok_or_else(|| Error::NoReadings(source.to_owned()))?;
    let columns = columns(header).ok_or_else(|| Error::NoReadings(source.to_owned()))?;
    PowerTrace::of_lines(source, lines.map(|text| line(text, &columns)), limits)
}

fn columns(header: &str) -> Option<Columns> {
    let names: Vec<String> =
        header.split(',').take(COLUMNS_MAX).map(|name| name.trim().to_ascii_lowercase()).collect();
    let time = names.iter().position(|name| name.starts_with("time"))?;
    let power = |name: &String| name.starts_with("power.draw.instant");
    let power = names.iter().position(power).or_else(|| {
        names.iter().position(|name| name.starts_with("power") || matches!(name.as_str(), "watts" | "w"))
    })?;
    let watts_per_unit = watts_per_unit(names.get(power)?)?;
    let temperature = names.iter().position(|name| name.starts_with("temperature"));
    Some(Columns { time, power, watts_per_unit, temperature })
}

fn watts_per_unit(name: &str) -> Option<f64> {
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    if ends(&["[mw]", "_mw", "milliwatts"]) {
        Some(1e-3)
    } else if ends(&["[uw]", "_uw", "microwatts"]) {
        Some(1e-6)
    } else if ends(&["[kw]", "_kw", "kilowatts"]) {
        Some(1e3)
    } else if ends(&["[w]", "_w", "watts"]) || name == "w" {
        Some(1.0)
    } else {
        None
    }
}

fn line(line: &str, columns: &Columns) -> Option<RawSample> {
    let field = |index: usize| line.split(',').take(COLUMNS_MAX).nth(index).map(str::trim);
    let at_ns = time(field(columns.time)?)?;
    // `nvidia-smi` writes the unit behind each number unless told not to.
    let number = |text: &str| text.split_whitespace().next()?.parse::<f64>().ok();
    let watts = number(field(columns.power)?)? * columns.watts_per_unit;
    let celsius = columns.temperature.and_then(field).and_then(number).filter(|c| c.is_finite());
    Some(RawSample { at_ns, watts, celsius })
}

/// A date with a time of day, or seconds.
fn time(text: &str) -> Option<u64> {
    log_time::parse(text).or_else(|| {
        let seconds: f64 = text.parse().ok()?;
        (seconds.is_finite() && (0.0..1e10).contains(&seconds)).then_some((seconds * 1e9) as u64)
    })
}
