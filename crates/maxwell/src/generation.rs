//! One request from first to last token, with the times that people ask for. Never chooses a token.

use std::time::{Duration, Instant};

use engine::{Batch, Completed, Engine, Event, Request};
use serde_json::{Value, json};

/// When things happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Tokens read.
    pub(crate) prompt_tokens: usize,
    /// Tokens written.
    pub(crate) output_tokens: usize,
    /// From the start of the prompt to the first token.
    pub(crate) first_token: Duration,
    /// From the start of the prompt to the end.
    pub(crate) total: Duration,
}

impl Figures {
    /// Prompt tokens per second, the first draw included.
    pub(crate) fn prefill_rate(&self) -> f64 {
        rate(self.prompt_tokens, self.first_token)
    }

    /// Tokens per second after the first; `None` if there is only one.
    pub(crate) fn decode_rate(&self) -> Option<f64> {
        let later = self.output_tokens.checked_sub(1).filter(|later| *later > 0)?;
        Some(rate(later, self.total.saturating_sub(self.first_token)))
    }

    /// For `--json`.
    pub(crate) fn json(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "output_tokens": self.output_tokens,
            "prefill_tokens_per_second": self.prefill_rate(),
            "decode_tokens_per_second": self.decode_rate(),
            "first_token_seconds": self.first_token.as_secs_f64(),
            "seconds": self.total.as_secs_f64(),
        })
    }
}

/// `count` per second.
pub(crate) fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(1e-9)
}

/// Runs one request alone. `on_token` sees each token as it comes; if it fails, the run stops.
pub(crate) fn generate(
    engine: &Engine,
    request: Request,
    mut on_token: impl FnMut(u32) -> anyhow::Result<()>,
) -> anyhow::Result<(Completed, Figures)> {
    let prompt_tokens = request.prompt_ids.len();
    let began = Instant::now();
    let mut first_token = None;
    let mut batch = Batch::new(engine);
    batch.add(request)?;
    loop {
        for event in batch.step() {
            match event {
                Event::Token { id, .. } => {
                    first_token.get_or_insert_with(|| began.elapsed());
                    on_token(id)?;
                }
                Event::Finished { completed, .. } => {
                    let total = began.elapsed();
                    let output_tokens = completed.output_ids.len();
                    let first_token = first_token.unwrap_or(total);
                    return Ok((completed, Figures { prompt_tokens, output_tokens, first_token, total }));
                }
            }
        }
    }
}
