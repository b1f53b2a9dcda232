//! As much of HTTP as the self-test needs: one request, one whole answer. Never used towards strangers.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest answer.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// An answer that takes longer is none.
const ANSWER_WITHIN: Duration = Duration::from_secs(300);

/// Status and body of an answer.
pub(super) async fn post(address: SocketAddr, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
    tokio::time::timeout(ANSWER_WITHIN, exchange(address, path, body)).await.context("no answer in time")?
}

async fn exchange(address: SocketAddr, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
    let mut stream = TcpStream::connect(address).await.context("the gateway can't be reached")?;
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.context("the gateway closed the connection")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await.context("the answer broke off")?;
    let answer = String::from_utf8(answer).context("the answer is not UTF-8")?;
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { bail!("the answer is no HTTP") };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.context("the answer has no status")?, serde_json::from_str(body)?))
}
