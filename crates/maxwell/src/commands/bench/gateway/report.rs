//! The figures of `maxwell bench gateway` as text and JSON.

use serde_json::{Value, json};

use super::BUSY_CONNECTIONS;
use super::client::{Answer, Load, quantile};
use crate::commands::bench::limits::{Figure, Limit, Runs};

/// The promises.
const NGINX_RATIO: f64 = 0.5;
const LITELLM_RATIO: f64 = 20.0;
/// Memory at the end over that after a third of the soak: what a steady process drifts by.
const GROWTH: f64 = 1.02;

/// Requests per second of each contestant, turn by turn.
pub(super) type Throughput = Vec<(&'static str, Vec<f64>)>;

/// Many streams at once.
pub(super) struct Streams {
    pub(super) asked: u32,
    /// Those that came to their end with every token.
    pub(super) complete: usize,
    pub(super) load: Load,
    pub(super) memory_bytes: Option<u64>,
}

/// Steady load.
pub(super) struct Soak {
    pub(super) rate: f64,
    pub(super) seconds: u64,
    pub(super) failed: usize,
    /// After each tenth.
    pub(super) memory_bytes: Vec<u64>,
}

/// Everything that was measured.
pub(super) struct Measured {
    /// As text and JSON, from before the bench.
    pub(super) machine: (String, Value),
    /// `[whole, streamed][without, with the gateway]`.
    pub(super) alone: [[Vec<Answer>; 2]; 2],
    pub(super) throughput: Throughput,
    pub(super) frontier: Vec<Load>,
    /// Without and with the gateway.
    pub(super) paced: [Vec<Answer>; 2],
    pub(super) streams: Streams,
    pub(super) soak: Soak,
}

/// Milliseconds at two shares, and how many samples.
struct Spread {
    p50: f64,
    p99: f64,
    samples: usize,
}

fn spread(seconds: impl Iterator<Item = f64>) -> Spread {
    let ms: Vec<f64> = seconds.map(|seconds| seconds * 1000.0).collect();
    Spread { p50: quantile(ms.clone(), 0.5), p99: quantile(ms.clone(), 0.99), samples: ms.len() }
}

impl Measured {
    /// (name, without, with): times that a gateway can add to.
    fn added(&self) -> Vec<(&'static str, Spread, Spread)> {
        let [whole, streamed] = &self.alone;
        let total = |answers: &[Answer]| spread(answers.iter().map(|answer| answer.seconds));
        let first = |answers: &[Answer]| spread(answers.iter().map(|answer| answer.first_seconds));
        let gaps = |answers: &[Answer]| spread(answers.iter().flat_map(|answer| answer.gaps.iter().copied()));
        vec![
            ("whole answer, one client", total(&whole[0]), total(&whole[1])),
            ("streamed answer, one client", total(&streamed[0]), total(&streamed[1])),
            ("first token of a stream", first(&streamed[0]), first(&streamed[1])),
            ("between tokens, one each 10 ms", gaps(&self.paced[0]), gaps(&self.paced[1])),
        ]
    }

    /// The highest rate that was kept up with a p99 below a limit.
    fn rate_below(&self, p99_ms: f64) -> f64 {
        let kept = self.frontier.iter().filter(|load| load.failed == 0 && load.latency_ms(0.99) < p99_ms);
        kept.map(|load| load.achieved).fold(0.0, f64::max)
    }

    fn turns(&self, name: &str) -> Option<&[f64]> {
        self.throughput.iter().find(|(found, _)| *found == name).map(|(_, rates)| rates.as_slice())
    }

    /// Memory at the end over that after a third.
    fn growth(&self) -> Option<f64> {
        let memory = &self.soak.memory_bytes;
        Some(*memory.last()? as f64 / *memory.get(memory.len() / 3)? as f64)
    }

    fn figures(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        for (peer, name, limit) in [
            ("nginx", "requests per second, times nginx", NGINX_RATIO),
            ("litellm", "requests per second, times LiteLLM", LITELLM_RATIO),
        ] {
            if let (Some(ours), Some(theirs)) = (self.turns("maxwell"), self.turns(peer)) {
                // Turn by turn, since a shared machine is not as fast in each.
                let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
                figures.push(Figure {
                    name,
                    value: Runs::new(ratios).median(),
                    places: 2,
                    limit: Limit::AtLeast(limit),
                });
            }
        }
        let asked = f64::from(self.streams.asked);
        figures.push(Figure {
            name: "share of the streams held to their end",
            value: self.streams.complete as f64 / asked,
            places: 4,
            limit: Limit::AtLeast(1.0),
        });
        if let Some(growth) = self.growth() {
            figures.push(Figure {
                name: "memory at the soak's end, times its first third",
                value: growth,
                places: 3,
                limit: Limit::AtMost(GROWTH),
            });
        }
        figures
    }

    /// For `--json`.
    pub(super) fn json(&self) -> Value {
        let added: Vec<Value> = self
            .added()
            .into_iter()
            .map(|(name, without, with)| {
                json!({
                    "what": name,
                    "samples": with.samples,
                    "without_ms": { "p50": without.p50, "p99": without.p99 },
                    "with_ms": { "p50": with.p50, "p99": with.p99 },
                    "added_ms": { "p50": with.p50 - without.p50, "p99": with.p99 - without.p99 },
                })
            })
            .collect();
        let load = |load: &Load| {
            json!({
                "rate": load.rate, "achieved": load.achieved, "answers": load.answers.len(), "failed": load.failed,
                "error": load.error, "p50_ms": load.latency_ms(0.5), "p99_ms": load.latency_ms(0.99),
            })
        };
        let rates =
            self.throughput.iter().map(|(name, rates)| ((*name).to_owned(), Runs::new(rates.clone()).json()));
        json!({
            "bench": "gateway",
            "machine": self.machine.1,
            "added": added,
            "requests_per_second": rates.collect::<serde_json::Map<_, _>>(),
            "frontier": self.frontier.iter().map(load).collect::<Vec<_>>(),
            "rate_with_p99_below_ms": { "1": self.rate_below(1.0), "5": self.rate_below(5.0), "10": self.rate_below(10.0) },
            "streams": {
                "asked": self.streams.asked, "complete": self.streams.complete, "load": load(&self.streams.load),
                "memory_bytes": self.streams.memory_bytes,
            },
            "soak": {
                "rate": self.soak.rate, "seconds": self.soak.seconds, "failed": self.soak.failed,
                "memory_bytes": self.soak.memory_bytes, "growth": self.growth(),
            },
            "figures": self.figures().iter().map(Figure::json).collect::<Vec<_>>(),
            "pass": self.figures().iter().all(Figure::passes),
        })
    }

    /// For people.
    pub(super) fn readable(&self) -> String {
        let mut lines = vec![
            "the gateway with recording and sampling, on a mock that answers at once".to_owned(),
            self.machine.0.clone(),
            String::new(),
            format!("{:<34} {:>9} {:>9} {:>9} {:>9}", "milliseconds", "p50", "added", "p99", "added"),
        ];
        for (name, without, with) in self.added() {
            lines.push(format!(
                "{name:<34} {:>9.3} {:>9.3} {:>9.3} {:>9.3}   ({} samples)",
                with.p50,
                with.p50 - without.p50,
                with.p99,
                with.p99 - without.p99,
                with.samples
            ));
        }
        lines.push(String::new());
        for (name, rates) in &self.throughput {
            lines.push(format!(
                "{name:<10} {} requests/s on {BUSY_CONNECTIONS} connections",
                Runs::new(rates.clone()).text(0)
            ));
        }
        lines.push(format!(
            "most requests/s with p99 below 1, 5, 10 ms: {:.0}, {:.0}, {:.0}",
            self.rate_below(1.0),
            self.rate_below(5.0),
            self.rate_below(10.0)
        ));
        for load in &self.frontier {
            let error = load.error.as_ref().map(|error| format!(", {} failed: {error}", load.failed));
            lines.push(format!(
                "  {:>6.0}/s: p50 {:.2} ms, p99 {:.2} ms{}",
                load.rate,
                load.latency_ms(0.5),
                load.latency_ms(0.99),
                error.unwrap_or_default()
            ));
        }
        let mib = |bytes: &u64| format!("{:.1}", *bytes as f64 / f64::from(1 << 20));
        lines.push(format!(
            "{} of {} streams at once came to their end; memory then {} MiB{}",
            self.streams.complete,
            self.streams.asked,
            self.streams.memory_bytes.as_ref().map_or_else(|| "?".to_owned(), mib),
            self.streams
                .load
                .error
                .as_ref()
                .map(|error| format!("; first error: {error}"))
                .unwrap_or_default()
        ));
        let memory: Vec<String> = self.soak.memory_bytes.iter().map(mib).collect();
        lines.push(format!(
            "soak of {} s at {:.0}/s, {} failed; memory in MiB: {}",
            self.soak.seconds,
            self.soak.rate,
            self.soak.failed,
            memory.join(" ")
        ));
        lines.push(String::new());
        lines.extend(self.figures().iter().map(Figure::line));
        lines.join("\n")
    }
}
