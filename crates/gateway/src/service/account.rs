//! What is told of a request when it is over: one line of the log, and durations for monitors. Must never hold what was
//! asked or answered, a key, or a name that a client chose.

use std::time::{Duration, Instant};

use crate::metrics::Metrics;

/// Target of the lines, to be chosen by a filter.
pub const REQUEST_TARGET: &str = "maxwell::request";
/// Status of an answer whose reader left before it began, as other servers write it in their logs.
const CLIENT_LEFT: u16 = 499;

/// One request while it is answered.
pub(super) struct Account {
    began: Instant,
    last_piece: Option<Instant>,
    bytes: u64,
}

/// How it ended.
pub(super) struct Ending<'a> {
    pub(super) tag: u64,
    /// The model's name in the whitelist.
    pub(super) model: &'a str,
    pub(super) prompt_tokens: usize,
    pub(super) completion_tokens: usize,
    /// OpenAI's word, or why there is no end.
    pub(super) finish: &'static str,
}

impl Account {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), last_piece: None, bytes: 0 }
    }

    /// A piece of a stream went out. The time between two is that of the server, of the client and of checks together.
    pub(super) fn piece(&mut self, bytes: usize, metrics: &Metrics) {
        let now = Instant::now();
        if let Some(last) = self.last_piece.replace(now) {
            metrics.inter_chunk.observe(now.duration_since(last));
        }
        self.add(bytes);
    }

    fn add(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// Writes it down. `whole` is the body of an answer that is no stream: how long it is, and whether it is an answer.
    pub(super) fn close(
        mut self,
        ending: &Ending<'_>,
        whole: Option<Option<(usize, bool)>>,
        metrics: &Metrics,
    ) {
        let status = match whole {
            None | Some(Some((_, true))) => 200,
            Some(Some((_, false))) => 502,
            Some(None) => CLIENT_LEFT,
        };
        self.add(whole.flatten().map_or(0, |(bytes, _)| bytes));
        let took = self.began.elapsed();
        metrics.duration.observe(took);
        let Ending { tag, model, prompt_tokens, completion_tokens, finish } = ending;
        tracing::info!(
            target: REQUEST_TARGET,
            tag = %format_args!("{tag:016x}"),
            model,
            status,
            prompt_tokens,
            completion_tokens,
            ms = milliseconds(took),
            bytes = self.bytes,
            finish,
            "answered"
        );
    }
}

/// Rounded down.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
