//! The figures of `maxwell bench engine` as text and JSON. Never a ratio without both of its parts.

use serde_json::{Value, json};

use super::peaks::Peaks;
use super::start::StartRuns;
use super::{DECODE_TOKENS, Llama, Ours, PREFILL_TOKENS, PROMPT_TOKENS, REPLAY_TOKENS, runs};
use crate::commands::bench::limits::{Figure, Limit};
use crate::commands::inspect::Costs;

/// The promises.
const DECODE_RATIO: f64 = 1.2;
const PREFILL_RATIO: f64 = 2.0;
const REPLAY_SHARE: f64 = 0.2;
const FIRST_TOKEN_SECONDS: f64 = 1.5;
const MEMORY_RATIO: f64 = 2.5;

/// Everything that was measured.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) model: String,
    /// As text and JSON, from before the bench.
    pub(super) machine: (String, Value),
    pub(super) threads: u16,
    pub(super) kernels: &'static str,
    pub(super) file_bytes: u64,
    pub(super) weight_bytes: usize,
    pub(super) costs: Costs,
    pub(super) peaks: Peaks,
    pub(super) ours: Ours,
    pub(super) llama: Option<Llama>,
    pub(super) starts: StartRuns,
}

impl Measured {
    /// Multiply-accumulates per second with weights while reading a prompt; logits once.
    fn prefill_macs(&self) -> f64 {
        let tokens = PREFILL_TOKENS as f64;
        let body = (self.costs.macs_per_token - self.costs.logit_macs) as f64;
        runs(&self.ours.prefill).median() * (body + self.costs.logit_macs as f64 / tokens)
    }

    /// Bytes of weights read per second while decoding.
    fn decode_bytes(&self) -> f64 {
        runs(&self.ours.decode).median() * self.weight_bytes as f64
    }

    fn figures(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        if let Some(llama) = &self.llama {
            let ratio = |ours: &[f64], theirs: &[f64]| runs(ours).median() / runs(theirs).median();
            figures.push(Figure {
                name: "decode, times llama.cpp",
                value: ratio(&self.ours.decode, &llama.decode),
                places: 2,
                limit: Limit::AtLeast(DECODE_RATIO),
            });
            figures.push(Figure {
                name: "prefill of 256 tokens, times llama.cpp",
                value: ratio(&self.ours.prefill, &llama.prefill),
                places: 2,
                limit: Limit::AtLeast(PREFILL_RATIO),
            });
        }
        figures.push(Figure {
            name: "replay of 256 tokens, share of their generation",
            value: runs(&self.ours.replay_share).median(),
            places: 3,
            limit: Limit::AtMost(REPLAY_SHARE),
        });
        figures.push(Figure {
            name: "start to first token, warm cache, seconds",
            value: runs(&self.starts.first_token_seconds).median(),
            places: 2,
            limit: Limit::AtMost(FIRST_TOKEN_SECONDS),
        });
        if let Some(peak) = self.starts.peak_memory_bytes {
            figures.push(Figure {
                name: "peak memory of generate, times the file",
                value: peak as f64 / self.file_bytes as f64,
                places: 2,
                limit: Limit::AtMost(MEMORY_RATIO),
            });
        }
        figures
    }

    /// For `--json`.
    pub(super) fn json(&self) -> Value {
        let engine = |decode: &[f64], prefill: &[f64]| {
            json!({
                "decode_tokens_per_second": runs(decode).json(),
                "prefill_tokens_per_second": runs(prefill).json(),
            })
        };
        let mut ours = engine(&self.ours.decode, &self.ours.prefill);
        ours["generation_seconds"] = runs(&self.ours.generation_seconds).json();
        ours["replay_seconds"] = runs(&self.ours.replay_seconds).json();
        ours["replay_share"] = runs(&self.ours.replay_share).json();
        let llama = self.llama.as_ref().map(|llama| {
            let mut json = engine(&llama.decode, &llama.prefill);
            json["build"] = llama.build.clone();
            json
        });
        json!({
            "bench": "engine",
            "model": self.model,
            "machine": self.machine.1,
            "threads": self.threads,
            "kernels": self.kernels,
            "prompt_tokens": PROMPT_TOKENS,
            "decode_tokens": DECODE_TOKENS,
            "prefill_tokens": PREFILL_TOKENS,
            "replay_tokens": REPLAY_TOKENS,
            "maxwell": ours,
            "llama_cpp": llama,
            "prefill_macs_per_second": self.prefill_macs(),
            "peak_macs_per_second": self.peaks.macs_per_second,
            "prefill_share_of_peak": self.peaks.macs_per_second.map(|peak| self.prefill_macs() / peak),
            "decode_bytes_per_second": self.decode_bytes(),
            "peak_bytes_per_second": self.peaks.bytes_per_second,
            "decode_share_of_bandwidth": self.decode_bytes() / self.peaks.bytes_per_second,
            "first_token_seconds": runs(&self.starts.first_token_seconds).json(),
            "peak_memory_bytes": self.starts.peak_memory_bytes,
            "file_bytes": self.file_bytes,
            "figures": self.figures().iter().map(Figure::json).collect::<Vec<_>>(),
            "pass": self.figures().iter().all(Figure::passes),
        })
    }

    /// For people. Each figure is the median, then least and most.
    pub(super) fn readable(&self) -> String {
        let mut lines = vec![
            format!("speed of {} on {} threads, {} kernels", self.model, self.threads, self.kernels),
            self.machine.0.clone(),
            String::new(),
            format!("decode tok/s, {DECODE_TOKENS} tokens after {PROMPT_TOKENS}"),
            format!("  maxwell    {}", runs(&self.ours.decode).text(1)),
        ];
        let llama = |values: &[f64]| format!("  llama.cpp  {}", runs(values).text(1));
        lines.extend(self.llama.as_ref().map(|l| llama(&l.decode)));
        lines.push(format!("prefill tok/s, {PREFILL_TOKENS} tokens"));
        lines.push(format!("  maxwell    {}", runs(&self.ours.prefill).text(1)));
        lines.extend(self.llama.as_ref().map(|l| llama(&l.prefill)));
        lines.push(format!("generation and replay of {REPLAY_TOKENS} tokens, seconds"));
        lines.push(format!("  generation {}", runs(&self.ours.generation_seconds).text(2)));
        lines.push(format!("  replay     {}", runs(&self.ours.replay_seconds).text(2)));
        lines.push(format!(
            "start to first token, seconds: {}",
            runs(&self.starts.first_token_seconds).text(2)
        ));
        lines.push(self.peak_line());
        lines.push(format!(
            "decode reads {:.1} GB/s of weights, {:.0}% of the measured {:.1} GB/s (weights may sit in the cache)",
            self.decode_bytes() / 1e9,
            100.0 * self.decode_bytes() / self.peaks.bytes_per_second,
            self.peaks.bytes_per_second / 1e9,
        ));
        lines.push(String::new());
        lines.extend(self.figures().iter().map(Figure::line));
        lines.join("\n")
    }

    fn peak_line(&self) -> String {
        let macs = self.prefill_macs() / 1e9;
        match self.peaks.macs_per_second {
            Some(peak) => {
                let share = 1e11 * macs / peak;
                format!(
                    "prefill does {macs:.0} GMAC/s, {share:.0}% of the measured peak of {:.0} GMAC/s (16-bit products)",
                    peak / 1e9
                )
            }
            None => format!("prefill does {macs:.0} GMAC/s; the peak of these kernels is not measured"),
        }
    }
}
