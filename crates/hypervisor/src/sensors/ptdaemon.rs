//! Logs of SPEC PTDaemon, the certified meter's recorder: `Time,<local time>,Watts,<W>,Volts,...`. Never reads a phase's
//! watts for the whole server's.

use super::{Limits, PowerTrace, RawSample, log_time};
use crate::Error;

/// Reads a log.
pub fn parse(source: &str, text: &str, limits: Limits) -> Result<PowerTrace, Error> {
    PowerTrace::of_lines(source, text.lines().filter(|line| !line.trim().is_empty()).map(line), limits)
}

fn line(line: &str) -> Option<RawSample> {
    let mut fields = line.split(',');
    if fields.next()? != "Time" {
        return None;
    }
    let at_ns = log_time::parse(fields.next()?)?;
    if fields.next()? != "Watts" {
        return None;
    }
    Some(RawSample { at_ns, watts: fields.next()?.trim().parse().ok()?, celsius: None })
}
