//! Numbers for monitors, in the text format of Prometheus. Counts only: must never hold what a request says, nor a name
//! that a client chose.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::service::Service;
use crate::state::Mode;

/// Upper ends of a histogram's buckets, in microseconds: from what the gateway adds to what a long prompt takes.
const BUCKETS_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000, 60_000_000,
];

/// How long something took, many times.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Of each bucket alone; the last is for what is longer.
    counts: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Takes a duration in.
    pub fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.partition_point(|end_us| *end_us < us);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    fn write(&self, out: &mut String, name: &str) {
        line(out, format_args!("# TYPE {name} histogram"));
        let mut total = 0_u64;
        let ends = BUCKETS_US.iter().map(|end_us| seconds(*end_us)).chain(["+Inf".to_owned()]);
        for (count, end) in self.counts.iter().zip(ends) {
            total = total.saturating_add(count.load(Ordering::Relaxed));
            line(out, format_args!("{name}_bucket{{le=\"{end}\"}} {total}"));
        }
        line(out, format_args!("{name}_sum {}", seconds(self.sum_us.load(Ordering::Relaxed))));
        line(out, format_args!("{name}_count {total}"));
    }
}

/// Microseconds as seconds, exactly.
fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    let _ = writeln!(out, "{text}");
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// No valid API key.
    ApiKey,
    /// The key's requests are used up.
    RequestRate,
    /// The key's tokens are used up.
    TokenRate,
    /// More tokens than the key ever has.
    TokensTooMany,
    /// The body is too long.
    BodyTooLarge,
    /// The body did not come in time.
    BodyLate,
    /// The bodies of others take all the room.
    BodyRoom,
    /// Not a request that is understood.
    BadRequest,
    /// A path, method or model that is not here.
    NotHere,
    /// All places are taken.
    Full,
    /// Too many answers wait for recomputation.
    Backlog,
    /// Too much text waits for a check.
    Egress,
    /// The server is not serving.
    NotServing,
    /// The log can't be written.
    Log,
    /// Too many connections.
    Connections,
    /// Something of ours failed.
    Internal,
}

impl Rejected {
    /// All of them, in order.
    const ALL: [Self; 16] = [
        Self::ApiKey,
        Self::RequestRate,
        Self::TokenRate,
        Self::TokensTooMany,
        Self::BodyTooLarge,
        Self::BodyLate,
        Self::BodyRoom,
        Self::BadRequest,
        Self::NotHere,
        Self::Full,
        Self::Backlog,
        Self::Egress,
        Self::NotServing,
        Self::Log,
        Self::Connections,
        Self::Internal,
    ];

    /// Stable machine name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::RequestRate => "request_rate",
            Self::TokenRate => "token_rate",
            Self::TokensTooMany => "tokens_too_many",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyLate => "body_late",
            Self::BodyRoom => "body_room",
            Self::BadRequest => "bad_request",
            Self::NotHere => "not_here",
            Self::Full => "full",
            Self::Backlog => "backlog",
            Self::Egress => "egress",
            Self::NotServing => "not_serving",
            Self::Log => "log",
            Self::Connections => "connections",
            Self::Internal => "internal",
        }
    }
}

/// What only monitors look at.
#[derive(Debug, Default)]
pub struct Metrics {
    /// From a request's first byte read to the server being asked.
    pub overhead: Histogram,
    /// From there to the first token.
    pub first_token: Histogram,
    /// From there to the end of the answer.
    pub duration: Histogram,
    /// From one piece of a stream to the next.
    pub inter_chunk: Histogram,
    /// Open connections.
    pub connections: AtomicU64,
    /// Changed configurations that were taken.
    pub reloads_ok: AtomicU64,
    /// Changed configurations that were refused; the old one stays.
    pub reloads_failed: AtomicU64,
    rejected: [AtomicU64; Rejected::ALL.len()],
}

impl Metrics {
    /// Counts a refusal.
    pub fn reject(&self, reason: Rejected) {
        let counters = Rejected::ALL.iter().zip(&self.rejected);
        for (_, counter) in counters.filter(|(known, _)| **known == reason) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A name, its Prometheus type, and its value.
pub(crate) type Number = (&'static str, &'static str, u64);

/// The whole page of a gateway.
pub fn of_service(service: &Service) -> String {
    let (counters, metrics) = (&service.counters, &service.metrics);
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mode = service.mode();
    let (unverified_bytes, egress_rate) = service.egress();
    let killed = if let Mode::Killed(reason) = mode { Some(reason.code()) } else { None };
    let numbers = [
        ("maxwell_requests_total", "counter", count(&counters.requests)),
        ("maxwell_answers_total", "counter", count(&counters.answers)),
        ("maxwell_sampled_total", "counter", count(&counters.sampled)),
        ("maxwell_recomputed_pass_total", "counter", count(&counters.passed)),
        ("maxwell_recomputed_fail_total", "counter", count(&counters.failed)),
        ("maxwell_recomputed_unverifiable_total", "counter", count(&counters.unverifiable)),
        ("maxwell_backlog", "gauge", service.backlog() as u64),
        ("maxwell_unverified_bytes", "gauge", unverified_bytes),
        ("maxwell_egress_bytes_per_second_max", "gauge", egress_rate),
        ("maxwell_egress_waits_total", "counter", service.egress_waits()),
        ("maxwell_warnings_total", "counter", service.warnings()),
        ("maxwell_serving", "gauge", u64::from(mode == Mode::Serving)),
        ("maxwell_killed", "gauge", u64::from(killed.is_some())),
        ("maxwell_in_flight", "gauge", service.in_flight() as u64),
        ("maxwell_connections", "gauge", count(&metrics.connections)),
    ];
    text(&numbers, killed, metrics)
}

/// A page with these numbers and what every gateway has.
pub(crate) fn text(numbers: &[Number], killed: Option<&str>, metrics: &Metrics) -> String {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mut out = String::new();
    for (name, kind, value) in numbers {
        line(&mut out, format_args!("# TYPE {name} {kind}\n{name} {value}"));
    }
    if let Some(reason) = killed {
        line(&mut out, format_args!("# TYPE maxwell_kill_reason gauge"));
        line(&mut out, format_args!("maxwell_kill_reason{{reason=\"{reason}\"}} 1"));
    }
    line(&mut out, format_args!("# TYPE maxwell_rejected_total counter"));
    for (reason, counter) in Rejected::ALL.iter().zip(&metrics.rejected) {
        line(
            &mut out,
            format_args!("maxwell_rejected_total{{reason=\"{}\"}} {}", reason.name(), count(counter)),
        );
    }
    line(&mut out, format_args!("# TYPE maxwell_reloads_total counter"));
    for (result, counter) in [("ok", &metrics.reloads_ok), ("failed", &metrics.reloads_failed)] {
        line(&mut out, format_args!("maxwell_reloads_total{{result=\"{result}\"}} {}", count(counter)));
    }
    metrics.overhead.write(&mut out, "maxwell_overhead_seconds");
    metrics.first_token.write(&mut out, "maxwell_time_to_first_token_seconds");
    metrics.duration.write(&mut out, "maxwell_request_duration_seconds");
    metrics.inter_chunk.write(&mut out, "maxwell_inter_chunk_seconds");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_its_bucket_and_all_above() {
        let histogram = Histogram::default();
        // An end belongs to its bucket; a microsecond more does not.
        for us in [0, 100, 101, 1_000_000, 60_000_001] {
            histogram.observe(Duration::from_micros(us));
        }
        let mut text = String::new();
        histogram.write(&mut text, "x");
        for expected in [
            "# TYPE x histogram",
            "x_bucket{le=\"0.0001\"} 2",
            "x_bucket{le=\"0.00025\"} 3",
            "x_bucket{le=\"0.5\"} 3",
            "x_bucket{le=\"1\"} 4",
            "x_bucket{le=\"60\"} 4",
            "x_bucket{le=\"+Inf\"} 5",
            "x_sum 61.000202",
            "x_count 5",
        ] {
            assert!(text.lines().any(|line| line == expected), "{expected} in {text}");
        }
    }

    #[test]
    fn each_reason_has_a_counter_of_its_own() {
        let metrics = Metrics::default();
        for (times, reason) in Rejected::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| metrics.reject(reason));
        }
        let counts: Vec<u64> = metrics.rejected.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        assert_eq!(counts, (0..16).collect::<Vec<u64>>());
        let names: std::collections::BTreeSet<_> = Rejected::ALL.map(Rejected::name).into_iter().collect();
        assert_eq!(names.len(), 16);
    }
}
