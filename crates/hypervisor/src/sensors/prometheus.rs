//! The text form of Prometheus, as dcgm-exporter and all-smi give it. Never takes a metric by a part of its name: units
//! hang on the exact name.

use super::{Limits, Quality, Quantity, Reading, judge_watts};

/// Longest answer that is read.
pub const SCRAPE_BYTES_MAX: usize = 8 << 20;

/// Most lines that are looked at.
const LINES_MAX: usize = 200_000;

/// Metrics that are understood: name, quantity, and its unit in ours.
const METRICS: [(&str, Quantity, f64); 15] = [
    ("DCGM_FI_DEV_POWER_USAGE", Quantity::Power, 1.0),
    ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", Quantity::Energy, 1e-3),
    ("DCGM_FI_DEV_GPU_TEMP", Quantity::Temperature, 1.0),
    ("DCGM_FI_DEV_GPU_UTIL", Quantity::Utilization, 1e-2),
    ("DCGM_FI_DEV_SM_CLOCK", Quantity::Clock, 1e6),
    ("DCGM_FI_PROF_PCIE_TX_BYTES", Quantity::BusRate, 1.0),
    ("DCGM_FI_PROF_PCIE_RX_BYTES", Quantity::BusRate, 1.0),
    ("all_smi_gpu_power_consumption_watts", Quantity::Power, 1.0),
    ("all_smi_energy_consumed_joules_total", Quantity::Energy, 1.0),
    ("all_smi_gpu_temperature_celsius", Quantity::Temperature, 1.0),
    ("all_smi_gpu_utilization", Quantity::Utilization, 1e-2),
    ("all_smi_gpu_frequency_mhz", Quantity::Clock, 1e6),
    ("all_smi_cpu_power_consumption_watts", Quantity::Power, 1.0),
    ("all_smi_cpu_temperature_celsius", Quantity::Temperature, 1.0),
    ("all_smi_chassis_power_watts", Quantity::Power, 1.0),
];

/// Readings of one scrape. Lines that are not understood are passed over: an exporter has many others.
#[must_use]
pub fn parse(bytes: &[u8], at_ns: u64, limits: Limits) -> Vec<Reading> {
    let bytes = bytes.get(..bytes.len().min(SCRAPE_BYTES_MAX)).unwrap_or_default();
    let text = String::from_utf8_lossy(bytes);
    text.lines().take(LINES_MAX).filter_map(|text| line(text, at_ns, limits)).collect()
}

fn line(line: &str, at_ns: u64, limits: Limits) -> Option<Reading> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at_checked(end)?;
    let (_, quantity, per_unit) = METRICS.iter().find(|(known, ..)| *known == name)?;
    let (labels, value) = match rest.strip_prefix('{') {
        Some(inside) => inside.split_at_checked(labels_end(inside)?)?,
        None => ("", rest),
    };
    let raw: f64 = value.trim_start_matches('}').split_whitespace().next()?.parse().ok()?;
    let value = raw * per_unit;
    let quality = if *quantity == Quantity::Power {
        judge_watts(value, limits)
    } else if !value.is_finite() {
        Quality::NotANumber
    } else if value < 0.0 {
        Quality::Implausible
    } else {
        Quality::Good
    };
    let device = ["gpu", "UUID", "uuid", "gpu_index", "index"].iter().find_map(|key| label(labels, key));
    Some(Reading {
        source: format!("{name}/{}", device.unwrap_or_default()),
        quantity: *quantity,
        value,
        window_ns: limits.update_ns,
        uncertainty: limits.relative_sigma * value.abs(),
        quality,
        at_ns,
    })
}

/// Where the closing brace is; one within quotes does not count.
fn labels_end(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '}' if !quoted => return Some(index),
            _ => {}
        }
    }
    None
}

fn label(labels: &str, key: &str) -> Option<String> {
    labels.split(',').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        (name.trim() == key).then(|| value.trim().trim_matches('"').chars().take(64).collect())
    })
}
