//! Where the temperature of a log is going, as far as its power and its thermometer tell. Says nothing where they do not.

use hypervisor::heat::{Forecast, Observed, forecast};
use hypervisor::sensors::{PowerSample, PowerTrace};
use serde_json::{Value, json};

/// The present power is the mean of so many seconds.
const RECENT_SECONDS: f64 = 30.0;

/// A forecast of a trace with temperatures.
pub(super) fn of(trace: &PowerTrace, limit: f64) -> Option<Forecast> {
    let (start, _) = trace.span()?;
    let usable = trace.samples.iter().filter(|sample| sample.quality.is_usable());
    let observed = |sample: &PowerSample| {
        let seconds = (sample.at_ns - start) as f64 / 1e9;
        Some(Observed { seconds, watts: sample.watts, celsius: sample.celsius? })
    };
    let log: Vec<Observed> = usable.filter_map(observed).collect();
    forecast(&log, RECENT_SECONDS, limit).ok()
}

/// For people.
pub(super) fn line(found: &Forecast, limit: f64) -> String {
    let when = match found.seconds_to_limit {
        Some(seconds) if seconds > 0.0 => format!("{limit:.0} C in {seconds:.0} s"),
        Some(_) => format!("at its limit of {limit:.0} C now"),
        None => format!("never {limit:.0} C"),
    };
    format!(
        "heat: {:.0} C, going to {:.0} C at this power, {when}; {:.0} W would keep it at the limit ({:.0} J and {:.1} W a degree, \
         around {:.0} C)",
        found.now,
        found.settles_at,
        found.watts_at_limit,
        found.lump.joules_per_degree,
        found.lump.watts_per_degree,
        found.around
    )
}

/// For `--json`.
pub(super) fn json(found: &Forecast) -> Value {
    json!({
        "celsius": found.now,
        "settles_at": found.settles_at,
        "seconds_to_limit": found.seconds_to_limit,
        "watts_at_limit": found.watts_at_limit,
        "joules_per_degree": found.lump.joules_per_degree,
        "watts_per_degree": found.lump.watts_per_degree,
        "around": found.around,
    })
}
