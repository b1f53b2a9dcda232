//! The load: requests that leave at their time, whether or not earlier ones are answered. A latency is measured from the
//! time at which the request should have left, so that a slow answer can't hide the requests it holds up.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// An answer that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest answer, and longest line of one.
const MAX_BODY_BYTES: usize = 1 << 20;

/// What is asked of whom.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    /// As the program calls it.
    pub(super) path: &'static str,
    /// Lines of the head, each with its end.
    pub(super) headers: String,
    /// The model's name there.
    pub(super) model: String,
}

/// What an answer took.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    /// From its time to the last byte.
    pub(super) seconds: f64,
    /// From its time to the first text.
    pub(super) first_seconds: f64,
    /// Between pieces of a stream.
    pub(super) gaps: Vec<f64>,
}

impl Target {
    /// A request, ready to be sent.
    pub(super) fn request(&self, tokens: u32, stream: bool) -> Vec<u8> {
        let body = serde_json::json!({
            "model": self.model, "prompt": PROMPT, "max_tokens": tokens, "temperature": 0, "stream": stream,
        });
        let body = body.to_string();
        format!(
            "POST {} HTTP/1.1\r\nhost: bench\r\n{}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.path,
            self.headers,
            body.len()
        )
        .into_bytes()
    }
}

/// About as long as a short question.
const PROMPT: &str =
    "the end of the story is that the old clock in the hall stops when the last guest has left";

/// A connection that is used again and again.
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream =
            TcpStream::connect(address).await.with_context(|| format!("can't connect to {address}"))?;
        stream.set_nodelay(true).context("can't set up a connection")?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends a request and reads its answer to the end.
    pub(super) async fn ask(&mut self, request: &[u8], due: Instant) -> anyhow::Result<Answer> {
        let answer = tokio::time::timeout(PATIENCE, async {
            self.stream.get_mut().write_all(request).await.context("can't send")?;
            self.read(due).await
        });
        answer.await.context("no answer came in time")?
    }

    async fn read(&mut self, due: Instant) -> anyhow::Result<Answer> {
        let (mut length, mut chunked) = (None, false);
        let mut line = String::new();
        self.line(&mut line).await?;
        if line.split(' ').nth(1) != Some("200") {
            bail!("the answer is: {}", line.trim_end());
        }
        loop {
            self.line(&mut line).await?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse::<usize>().ok().filter(|length| *length <= MAX_BODY_BYTES);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = value.trim().eq_ignore_ascii_case("chunked");
            }
        }
        let mut answer = Answer::default();
        match length {
            Some(length) => {
                let mut body = vec![0; length];
                self.stream.read_exact(&mut body).await.context("the answer broke off")?;
                answer.first_seconds = due.elapsed().as_secs_f64();
            }
            None if chunked => self.read_chunks(due, &mut answer).await?,
            None => bail!("an answer without a length"),
        }
        answer.seconds = due.elapsed().as_secs_f64();
        Ok(answer)
    }

    /// Each chunk that holds text counts as one piece.
    async fn read_chunks(&mut self, due: Instant, answer: &mut Answer) -> anyhow::Result<()> {
        let (mut line, mut chunk) = (String::new(), Vec::new());
        let mut last: Option<Instant> = None;
        loop {
            self.line(&mut line).await?;
            let size = usize::from_str_radix(line.trim_end(), 16).context("no chunk")?;
            if size > MAX_BODY_BYTES {
                bail!("a chunk of {size} bytes");
            }
            chunk.resize(size + 2, 0);
            self.stream.read_exact(&mut chunk).await.context("the stream broke off")?;
            if size == 0 {
                return Ok(());
            }
            if !chunk.windows(7).any(|part| part == b"\"text\":") {
                continue;
            }
            let now = Instant::now();
            match last.replace(now) {
                Some(before) => answer.gaps.push((now - before).as_secs_f64()),
                None => answer.first_seconds = (now - due).as_secs_f64(),
            }
        }
    }

    async fn line(&mut self, line: &mut String) -> anyhow::Result<()> {
        line.clear();
        let mut limited = (&mut self.stream).take(16 << 10);
        if limited.read_line(line).await.context("no answer")? == 0 {
            bail!("the connection was closed");
        }
        Ok(())
    }
}

/// What a stretch of load came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Load {
    /// Asked for.
    pub(super) rate: f64,
    /// Answers per second, from the first arrival to the last answer.
    pub(super) achieved: f64,
    /// All answers.
    pub(super) answers: Vec<Answer>,
    /// Requests without one, and why the first has none.
    pub(super) failed: usize,
    pub(super) error: Option<String>,
}

impl Load {
    /// The share-th smallest time from due to done, in milliseconds.
    pub(super) fn latency_ms(&self, share: f64) -> f64 {
        quantile(self.answers.iter().map(|answer| answer.seconds * 1000.0).collect(), share)
    }
}

/// The share-th smallest value; nothing is infinitely long.
pub(super) fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (values.len() as f64 * share).ceil() as usize;
    values.get(index.saturating_sub(1)).copied().unwrap_or(f64::INFINITY)
}

/// What a gateway says of itself.
pub(super) async fn status(target: &Target) -> anyhow::Result<serde_json::Value> {
    let mut stream = TcpStream::connect(target.address).await.context("can't connect to the gateway")?;
    let request = "GET /status HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.context("can't send")?;
    let mut answer = Vec::new();
    stream.take(MAX_BODY_BYTES as u64).read_to_end(&mut answer).await.context("no answer")?;
    let answer = String::from_utf8_lossy(&answer);
    let (_, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
    serde_json::from_str(body).context("a status that is none")
}

/// One after the other on one connection.
pub(super) async fn one_by_one(target: &Target, request: &[u8], count: usize) -> anyhow::Result<Vec<Answer>> {
    let mut connection = Connection::open(target.address).await?;
    let mut answers = Vec::with_capacity(count);
    for _ in 0..count {
        answers.push(connection.ask(request, Instant::now()).await?);
    }
    Ok(answers)
}

/// As many as go through on so many connections, each asking again as soon as it is answered.
pub(super) async fn saturate(
    target: &Target,
    request: &[u8],
    connections: usize,
    duration: Duration,
) -> anyhow::Result<f64> {
    let (mut tasks, until) = (JoinSet::new(), Instant::now() + duration);
    let began = Instant::now();
    for _ in 0..connections {
        let (address, request) = (target.address, request.to_vec());
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await?;
            let mut count = 0_u64;
            while Instant::now() < until {
                connection.ask(&request, Instant::now()).await?;
                count += 1;
            }
            anyhow::Ok(count)
        });
    }
    let mut total = 0;
    while let Some(count) = tasks.join_next().await {
        total += count.context("a client failed")??;
    }
    Ok(total as f64 / began.elapsed().as_secs_f64())
}

/// At a rate, evenly spaced. As many connections as are needed, up to a limit; a request that finds none free waits, and its time runs.
pub(super) async fn at_rate(
    target: &Target,
    request: &[u8],
    rate: f64,
    duration: Duration,
    connections_max: usize,
) -> Load {
    let idle: Arc<Mutex<Vec<Connection>>> = Arc::default();
    let places = Arc::new(tokio::sync::Semaphore::new(connections_max));
    let request: Arc<[u8]> = request.into();
    let count = (rate * duration.as_secs_f64()).ceil().max(1.0) as usize;
    let (departures, mut due_times) = tokio::sync::mpsc::unbounded_channel();
    let began = Instant::now();
    // A thread of its own, since the runtime's timers come a millisecond late. What it sends late is late in the figures.
    let clock = std::thread::spawn(move || {
        for index in 0..count {
            let due = began + Duration::from_secs_f64(index as f64 / rate);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if departures.send(due).is_err() {
                return;
            }
        }
    });
    let mut tasks = JoinSet::new();
    while let Some(due) = due_times.recv().await {
        let (idle, places, request, address) =
            (Arc::clone(&idle), Arc::clone(&places), Arc::clone(&request), target.address);
        tasks.spawn(async move {
            let _place = places.acquire_owned().await.context("closed")?;
            let free = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = match free {
                Some(connection) => connection,
                None => Connection::open(address).await?,
            };
            let answer = connection.ask(&request, due).await?;
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            anyhow::Ok(answer)
        });
    }
    let mut load = Load { rate, ..Load::default() };
    while let Some(ended) = tasks.join_next().await {
        match ended.context("a client failed").and_then(|answer| answer) {
            Ok(answer) => load.answers.push(answer),
            Err(error) => {
                load.failed += 1;
                load.error.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }
    if clock.join().is_err() {
        load.error.get_or_insert_with(|| "the clock's thread panicked".to_owned());
    }
    load.achieved = load.answers.len() as f64 / began.elapsed().as_secs_f64();
    load
}
