//! `maxwell up --selftest`: own requests, and whether what came of them is right: an honest server answers and passes
//! every check, a cheating one is caught and killed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway::service::Service;
use gateway::state::{KillReason, Mode};
use serde_json::{Value, json};

use super::client::post;
use super::{Shell, UpArguments};
use crate::output::{Exit, Finished};
use crate::progress::{Count, Progress};

/// Asked in turn, so that each comes again: a server that replays answers has something to replay.
const PROMPTS: [&str; 4] = [
    "Why is the sky blue?",
    "Tell me a story about a lighthouse.",
    "Name three rivers and where they flow.",
    "How does bread rise?",
];
/// Tokens of each answer.
const ANSWER_TOKENS: u32 = 16;
/// Tokens that are ranked beside each token, where log-probabilities are asked for.
const TOP_LOGPROBS: u32 = 3;
/// Requests at the same time.
const TOGETHER: usize = 2;
/// The recomputer gets so long after the last answer.
const BACKLOG_WITHIN: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

/// Sends requests until all are answered, or the alarm comes.
pub(super) async fn run(
    arguments: &UpArguments,
    shell: &Shell,
    service: &Arc<Service>,
    address: SocketAddr,
) -> anyhow::Result<Finished> {
    let began = Instant::now();
    let model = service.entry().entry().name.clone();
    let progress = Progress::new(shell.terminal, "asking", Count::Steps(u64::from(arguments.requests)));
    let (mut sent, mut answered, mut refused) = (0, 0_u64, 0_u64);
    let mut waiting = tokio::task::JoinSet::new();
    let over = || matches!(service.mode(), Mode::Killed(_) | Mode::Bricked | Mode::Off);
    loop {
        while waiting.len() < TOGETHER && sent < arguments.requests && !over() {
            // Of one prompt, so that each prompt comes again in the same form.
            let with_logprobs = (sent as usize).is_multiple_of(PROMPTS.len());
            let body = json!({
                "model": model,
                "messages": [{ "role": "user", "content": PROMPTS[sent as usize % PROMPTS.len()] }],
                "temperature": 0.8,
                "max_tokens": ANSWER_TOKENS,
                "logprobs": with_logprobs,
                "top_logprobs": with_logprobs.then_some(TOP_LOGPROBS),
            });
            waiting.spawn(async move { post(address, "/v1/chat/completions", &body).await });
            sent += 1;
        }
        match waiting.join_next().await {
            Some(Ok(Ok((200, _)))) => answered += 1,
            Some(_) => refused += 1,
            None => break,
        }
        progress.set(answered + refused);
    }
    drop(progress);
    let last = Instant::now();
    // A kill that was ordered is carried out by the link.
    let waits = || service.backlog() > 0 || service.alarm().is_some();
    while waits() && !over() && last.elapsed() < BACKLOG_WITHIN {
        tokio::time::sleep(POLL).await;
    }
    Ok(judge(arguments, service, answered, began))
}

/// Whether the outcome is the right one.
fn judge(arguments: &UpArguments, service: &Service, answered: u64, began: Instant) -> Finished {
    let status = service.status();
    let alarm = service.alarm();
    let killed = service.mode() == Mode::Killed(KillReason::Audit);
    let verdicts = json!({
        "pass": status["pass"],
        "fail": status["fail"],
        "unverifiable": status["unverifiable"],
    });
    let is_right = match arguments.cheat {
        Some(_) => alarm.is_some() && killed,
        None => {
            alarm.is_none()
                && service.mode() == Mode::Serving
                && answered == u64::from(arguments.requests)
                && status["sampled"] == status["pass"]
        }
    };
    let seconds_to_alarm = alarm.as_ref().map(|alarm| alarm.after_ms as f64 / 1000.0);
    let json = json!({
        "requests": status["requests"],
        "answers": status["answers"],
        "sampled": status["sampled"],
        "verdicts": verdicts,
        "alarm": alarm.as_ref().map(|alarm| alarm.reason.clone()),
        "server_killed": killed,
        "seconds_to_alarm": seconds_to_alarm,
        "seconds": began.elapsed().as_secs_f64(),
        "right": is_right,
    });
    let caught = alarm.map_or_else(
        || "no alarm".to_owned(),
        |alarm| format!("alarm: {}, server killed: {killed}", alarm.reason),
    );
    let text = format!(
        "{} requests, {} sampled, {} passed, {} failed; {caught}\n{}",
        count(&status["requests"]),
        count(&status["sampled"]),
        count(&status["pass"]),
        count(&status["fail"]),
        if is_right { "as it should be" } else { "NOT as it should be" }
    );
    Finished { exit: if is_right { Exit::Ok } else { Exit::Error }, json, text }
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}
