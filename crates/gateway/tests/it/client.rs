//! A client that sends exactly the bytes that a test gives and keeps exactly those that come back. It must not mend
//! or hide anything, so it shares no code with the gateway.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fake::{MODEL, soon};

pub(crate) const CHAT: &str = "/v1/chat/completions";
pub(crate) const COMPLETIONS: &str = "/v1/completions";

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    /// Came, and not looked at yet.
    buffer: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    head: String,
    /// Without its chunks' lengths.
    pub(crate) body: Vec<u8>,
    /// Whether the body came to its end.
    pub(crate) whole: bool,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| unreachable!("{self:?}"))
    }

    /// What the error says.
    pub(crate) fn error(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap().to_owned()
    }

    /// The tag of the request.
    pub(crate) fn tag(&self) -> u64 {
        u64::from_str_radix(self.header("x-maxwell-receipt").unwrap(), 16).unwrap()
    }

    /// The events of a stream; `[DONE]` is null.
    pub(crate) fn events(&self) -> Vec<Value> {
        events(&self.body)
    }
}

/// The events in the bytes of a stream; `[DONE]` is null.
pub(crate) fn events(body: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(body).unwrap();
    let parts: Vec<&str> = text.split("\n\n").collect();
    let (last, parts) = parts.split_last().unwrap();
    assert_eq!(*last, "", "half an event");
    let data = |event: &&str| event.strip_prefix("data: ").unwrap().to_owned();
    let value =
        |data: String| if data == "[DONE]" { Value::Null } else { serde_json::from_str(&data).unwrap() };
    parts.iter().map(data).map(value).collect()
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// A request with a body, as a well-behaved client writes it.
pub(crate) fn post(path: &str, body: &[u8]) -> Vec<u8> {
    post_with(path, "", body)
}

/// The same with more header lines, each with its end.
pub(crate) fn post_with(path: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: gateway\r\n{lines}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// A chat of one turn, with more fields.
pub(crate) fn chat(content: &str, fields: Value) -> Vec<u8> {
    let mut body = json!({ "model": MODEL, "messages": [{ "role": "user", "content": content }] });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    post(CHAT, body.to_string().as_bytes())
}

/// A text to go on with, with more fields.
pub(crate) fn text(prompt: &str, fields: Value) -> Vec<u8> {
    let mut body = json!({ "model": MODEL, "prompt": prompt });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    post(COMPLETIONS, body.to_string().as_bytes())
}

/// Asks for a path on a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str, lines: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nHost: gateway\r\n{lines}\r\n");
    exchange(address, request.as_bytes()).await
}

/// Sends bytes on a connection of their own, and reads one response.
pub(crate) async fn exchange(address: SocketAddr, request: &[u8]) -> Response {
    let mut client = Client::new(address).await;
    client.send(request).await;
    client.response().await
}

/// A number of `/metrics`.
pub(crate) async fn metric(address: SocketAddr, name: &str) -> u64 {
    let text = String::from_utf8(get(address, "/metrics", "").await.body).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| unreachable!("{name} in {text}")).parse().unwrap()
}

impl Client {
    pub(crate) async fn new(address: SocketAddr) -> Self {
        Self::maybe(address).await.unwrap()
    }

    /// A connection, if somebody listens.
    pub(crate) async fn maybe(address: SocketAddr) -> Option<Self> {
        Some(Self { stream: TcpStream::connect(address).await.ok()?, buffer: Vec::new() })
    }

    /// Connects and sends.
    pub(crate) async fn asking(address: SocketAddr, request: &[u8]) -> Self {
        let mut client = Self::new(address).await;
        client.send(request).await;
        client
    }

    /// Sends bytes. A gateway that has closed the connection does not take them.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Reads more; false after the last byte.
    async fn fill(&mut self) -> bool {
        let read = soon("bytes of a response", self.stream.read_buf(&mut self.buffer)).await;
        read.is_ok_and(|count| count > 0)
    }

    /// The bytes up to and including an end; `None` if the connection ends before.
    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return Some(self.buffer.drain(..at + end.len()).collect());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    async fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < count {
            if !self.fill().await {
                return None;
            }
        }
        Some(self.buffer.drain(..count).collect())
    }

    /// The next head; `None` if the connection is closed instead.
    pub(crate) async fn head(&mut self) -> Option<String> {
        let head = self.until(b"\r\n\r\n").await?;
        Some(String::from_utf8(head).unwrap())
    }

    /// The next chunk of a body; an empty one is the last. `None` if the body breaks off.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.until(b"\r\n").await?;
        let length = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim_end(), 16).unwrap();
        let mut chunk = self.exactly(length + 2).await?;
        assert_eq!(chunk.split_off(length), b"\r\n");
        Some(chunk)
    }

    /// The next response, if there is one.
    pub(crate) async fn maybe_response(&mut self) -> Option<Response> {
        let head = self.head().await?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let (mut body, mut whole) = (Vec::new(), true);
        if header(&head, "transfer-encoding") == Some("chunked") {
            loop {
                match self.chunk().await {
                    Some(chunk) if chunk.is_empty() => break,
                    Some(chunk) => body.extend(chunk),
                    None => {
                        whole = false;
                        break;
                    }
                }
            }
        } else if let Some(length) = header(&head, "content-length") {
            body = self.exactly(length.parse().unwrap()).await.unwrap_or_default();
        }
        Some(Response { status, head, body, whole })
    }

    pub(crate) async fn response(&mut self) -> Response {
        self.maybe_response().await.unwrap_or_else(|| unreachable!("the connection was closed"))
    }

    /// Says that nothing more comes, and reads what is still there.
    pub(crate) async fn rest(mut self) -> Vec<u8> {
        let _ = self.stream.shutdown().await;
        while self.fill().await {}
        self.buffer
    }
}
