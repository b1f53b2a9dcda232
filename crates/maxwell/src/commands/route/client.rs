//! One request to a gateway and its whole answer, over HTTP/1.1. Bounded in bytes and time; must never wait for a gateway
//! longer than that, nor read more of it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest answer, head included.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Names in small letters.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// The first header of this name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// Sends a request and waits for the end of its answer.
pub(super) async fn exchange(
    address: SocketAddr,
    head: &str,
    body: &[u8],
    within: Duration,
) -> anyhow::Result<Answer> {
    let answer = async {
        let mut stream = TcpStream::connect(address).await.context("it can't be reached")?;
        let length = body.len();
        let lines =
            format!("{head}\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(lines.as_bytes()).await.context("it closed the connection")?;
        stream.write_all(body).await.context("it closed the connection")?;
        let mut bytes = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).await.context("its answer broke off")?;
        parse(&bytes).context("its answer is no HTTP")
    };
    tokio::time::timeout(within, answer).await.context("no answer in time")?
}

/// Reads an answer that ended with its connection.
fn parse(bytes: &[u8]) -> anyhow::Result<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").context("it has no head")?;
    let (head, body) = bytes.split_at(end);
    let mut lines = std::str::from_utf8(head).context("its head is not UTF-8")?.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut answer = Answer { status: status.context("it has no status")?, headers, body: Vec::new() };
    let body = body.get(4..).unwrap_or_default();
    answer.body = if answer.header("transfer-encoding").is_some_and(|value| value == "chunked") {
        dechunk(body).context("its chunks are wrong, or the last one is missing")?
    } else {
        let length = answer.header("content-length").and_then(|value| value.parse().ok());
        if length != Some(body.len()) {
            bail!("it broke off");
        }
        body.to_vec()
    };
    Ok(answer)
}

/// The bytes of all chunks; `None` unless the last one is there.
fn dechunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(rest.get(..end)?).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = rest.get(end + 2..)?;
        if size == 0 {
            return Some(out);
        }
        out.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(bytes: &str) -> Option<Vec<u8>> {
        parse(bytes.as_bytes()).ok().map(|answer| answer.body)
    }

    #[test]
    fn an_answer_is_whole_or_none() {
        assert_eq!(body("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"), Some(b"ab".to_vec()));
        assert_eq!(body("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"), None);
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\na\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(body(chunked), Some(b"ab0123456789".to_vec()));
        let last = chunked.find("0\r\n\r\n").unwrap();
        for end in 0..last {
            assert_eq!(body(&chunked[..end]), None, "{end}");
        }
        for wrong in [
            "",
            "\r\n\r\n",
            "HTTP/1.1 abc\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        ] {
            assert_eq!(body(wrong), None, "{wrong:?}");
        }
    }
}
