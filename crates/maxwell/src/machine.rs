//! What this machine is and has, from Linux's /proc. Never an error: what the system does not say is unknown.

use std::fs;

use serde_json::{Value, json};

/// Memory of the machine in bytes.
pub(crate) fn memory_bytes() -> Option<u64> {
    kilobytes("/proc/meminfo", "MemTotal:")
}

/// The most memory that this process has held at once, in bytes.
pub(crate) fn peak_memory_bytes() -> Option<u64> {
    kilobytes("/proc/self/status", "VmHWM:")
}

/// Logical CPUs that this process may use.
pub(crate) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The machine in one line, for the head of a bench.
pub(crate) fn line() -> String {
    let load = load_average().unwrap_or_else(|| "unknown".to_owned());
    format!("{}, {} CPUs, load average {load}", cpu_model(), cpus())
}

/// The same for `--json`.
pub(crate) fn json() -> Value {
    json!({
        "cpu": cpu_model(),
        "cpus": cpus(),
        "load_average": load_average(),
        "memory_bytes": memory_bytes(),
    })
}

fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| "unknown CPU".to_owned(), |(_, name)| name.trim().to_owned())
}

/// One, five and fifteen minutes.
fn load_average() -> Option<String> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    Some(text.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}

/// A line `NAME   123 kB` of a file, in bytes.
fn kilobytes(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    number.checked_mul(1024)
}
