//! What stands behind and beside the gateway in the bench, so that nothing but the gateway is measured: an inference server
//! that answers at once or at a set pace, on the gateway's link and as plain HTTP, and a recomputer that finds everything right.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use protocol::fingerprint::LogitFingerprint;
use protocol::lease::{FromGateway, MAX_LEASE_BYTES, Outcome, ToGateway};
use protocol::link::{FromServer, MAX_TO_SERVER_BYTES, ToServer, frame, readback_digest};
use protocol::{Claim, FinishReason};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::mpsc;

/// Between two looks of the recomputer for work.
const IDLE: Duration = Duration::from_millis(5);
/// Longest request to the HTTP server.
const MAX_REQUEST_BYTES: usize = 1 << 20;

/// Microseconds between tokens; 0 for as fast as it goes.
pub(super) type Pace = Arc<AtomicU64>;

async fn wait(pace: &Pace) {
    let us = pace.load(Ordering::Relaxed);
    if us > 0 {
        tokio::time::sleep(Duration::from_micros(us)).await;
    }
}

async fn read_frame(stream: &mut (impl AsyncReadExt + Unpin), limit: usize) -> anyhow::Result<Vec<u8>> {
    let length = usize::try_from(stream.read_u32().await.context("the gateway is gone")?)?;
    if length > limit {
        bail!("a message of {length} bytes");
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.context("the gateway is gone")?;
    Ok(bytes)
}

/// Serves on the gateway's link until that ends. Every answer repeats the prompt's last token as often as was asked for.
pub(super) async fn serve_link(path: &Path, pace: Pace) -> anyhow::Result<()> {
    let stream = UnixStream::connect(path).await.context("can't reach the gateway's link")?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let (sender, mut messages) = mpsc::channel::<Vec<u8>>(4096);
    tokio::spawn(async move {
        while let Some(mut bytes) = messages.recv().await {
            while let Ok(more) = messages.try_recv() {
                bytes.extend(more);
            }
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut weights = Vec::new();
    let ToServer::Weights { bytes } = ToServer::decode(&read_frame(&mut reader, MAX_TO_SERVER_BYTES).await?)?
    else {
        bail!("the gateway began without weights")
    };
    let fingerprint = fingerprint()?;
    loop {
        let answer = match ToServer::decode(&read_frame(&mut reader, MAX_TO_SERVER_BYTES).await?)? {
            ToServer::Group { bytes: group } => {
                weights.extend(group);
                if weights.len() as u64 != bytes {
                    continue;
                }
                FromServer::Ready
            }
            ToServer::Readback { challenge, key, ranges } => FromServer::Readback {
                challenge,
                digest: readback_digest(&weights, &key, &ranges).context("ranges outside")?,
            },
            ToServer::Generate { tag, prompt_ids, settings, .. } => {
                let id = prompt_ids.last().copied().unwrap_or_default();
                let token = frame(&FromServer::Token { tag, id, fingerprint, logprobs: None }.encode());
                let finish = FromServer::Finished { tag, finish: FinishReason::Length };
                if pace.load(Ordering::Relaxed) == 0 {
                    let mut all = token.repeat(settings.max_tokens as usize);
                    all.extend(frame(&finish.encode()));
                    sender.send(all).await.context("the gateway is gone")?;
                    continue;
                }
                let (sender, pace) = (sender.clone(), Arc::clone(&pace));
                tokio::spawn(async move {
                    for _ in 0..settings.max_tokens {
                        wait(&pace).await;
                        if sender.send(token.clone()).await.is_err() {
                            return;
                        }
                    }
                    let _ = sender.send(frame(&finish.encode())).await;
                });
                continue;
            }
            ToServer::Weights { .. } | ToServer::Cancel { .. } => continue,
        };
        sender.send(frame(&answer.encode())).await.context("the gateway is gone")?;
    }
}

/// What the mock says of every token's logits.
fn fingerprint() -> anyhow::Result<LogitFingerprint> {
    Ok(LogitFingerprint::new(1, 2)?)
}

/// Takes every job and judges it: right if its fingerprints are the mock's, so that no canary passes. Ends with the
/// gateway.
pub(super) async fn recompute(path: &Path) -> anyhow::Result<()> {
    let mut stream =
        UnixStream::connect(path).await.context("can't reach the gateway's recomputer socket")?;
    let (mut question, right) = (ToGateway::Lease, fingerprint()?);
    loop {
        stream.write_all(&frame(&question.encode())).await.context("the gateway is gone")?;
        let answer = FromGateway::decode(&read_frame(&mut stream, MAX_LEASE_BYTES).await?)?;
        question = match answer {
            FromGateway::Job { tag, claim } => {
                let claim = Claim::decode(&claim)?;
                let wrong = claim.fingerprints.iter().position(|fingerprint| *fingerprint != right);
                let outcome = match wrong {
                    None => Outcome::Pass,
                    Some(position) => Outcome::Fail {
                        reason: "fingerprint".to_owned(),
                        position: u32::try_from(position).ok(),
                    },
                };
                ToGateway::Done { tag, outcome }
            }
            FromGateway::Recorded { .. } => ToGateway::Lease,
            FromGateway::Idle => {
                tokio::time::sleep(IDLE).await;
                ToGateway::Lease
            }
        };
    }
}

/// The same answers as plain HTTP: what clients get without a gateway, and what other proxies stand before.
pub(super) async fn serve_http(pace: Pace) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.context("no free port")?;
    let address = listener.local_addr().context("the port has no address")?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let pace = Arc::clone(&pace);
            tokio::spawn(async move {
                if let Err(error) = serve_connection(stream, pace).await {
                    tracing::debug!(%error, "a connection to the mock ended");
                }
            });
        }
    });
    Ok(address)
}

async fn serve_connection(stream: TcpStream, pace: Pace) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    loop {
        let mut length = 0;
        let mut lines = 0;
        loop {
            line.clear();
            if (&mut reader).take(16 << 10).read_line(&mut line).await? == 0 {
                return Ok(());
            }
            lines += 1;
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse()?
                }
                None if line.trim_end().is_empty() => break,
                Some(_) | None => {}
            }
        }
        if length > MAX_REQUEST_BYTES || lines > 1000 {
            bail!("a request of {length} bytes");
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).await?;
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let tokens = body["max_tokens"].as_u64().unwrap_or(1);
        if body["stream"].as_bool() == Some(true) {
            stream_answer(&mut writer, tokens, &pace).await?;
        } else {
            whole_answer(&mut writer, tokens).await?;
        }
    }
}

/// What the tiny model's tokenizer makes of one token, about.
const PIECE: &str = "left";

async fn whole_answer(writer: &mut OwnedWriteHalf, tokens: u64) -> anyhow::Result<()> {
    let body = serde_json::json!({
        "id": "cmpl-0", "object": "text_completion", "created": 0, "model": "tiny",
        "choices": [{ "index": 0, "text": PIECE.repeat(tokens as usize), "logprobs": null, "finish_reason": "length" }],
        "usage": { "prompt_tokens": 20, "completion_tokens": tokens, "total_tokens": 20 + tokens },
    })
    .to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    writer.write_all(format!("{head}{body}").as_bytes()).await?;
    Ok(())
}

async fn stream_answer(writer: &mut OwnedWriteHalf, tokens: u64, pace: &Pace) -> anyhow::Result<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    writer.write_all(head.as_bytes()).await?;
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let event = |text: &str, finish: Option<&str>| {
        let json = serde_json::json!({
            "id": "cmpl-0", "object": "text_completion", "created": 0, "model": "tiny",
            "choices": [{ "index": 0, "text": text, "logprobs": null, "finish_reason": finish }],
        });
        chunk(&format!("data: {json}\n\n"))
    };
    let piece = event(PIECE, None);
    for _ in 0..tokens {
        wait(pace).await;
        writer.write_all(piece.as_bytes()).await?;
    }
    let end = event("", Some("length")) + &chunk("data: [DONE]\n\n") + "0\r\n\r\n";
    writer.write_all(end.as_bytes()).await?;
    Ok(())
}
