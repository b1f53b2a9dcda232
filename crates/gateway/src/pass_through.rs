//! Requests for any other OpenAI-compatible server, as they are: tagged, hashed, recorded and signed, byte for byte. Must
//! never change a byte of a body, and never say that anything was computed: there is no exact engine, so the verdict
//! about every answer is Undecided.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body as HttpBody, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request, response};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use protocol::lease::Outcome;
use protocol::receipt::{
    FinishCode, RECEIPT_VERSION, Receipt, ReceiptMode, RequestTag, ResponseHasher, passed_request_digest,
};
use protocol::{ModelCommitment, Nonce, RequestDigest, SigningKey};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::access::{Access, Client, Reservation};
use crate::body::{BodyError, HeldBody, read_body};
use crate::http::{RECEIPT_HEADER, parse_tag};
use crate::idempotency::{
    IDEMPOTENCY_HEADER, Kept, KeyRefused, REPLAYED_HEADER, Retries, Retry, RetryTicket,
};
use crate::limits::Refused;
use crate::listen::Counted;
use crate::log::{Log, LogError};
use crate::metrics::{self, Metrics, Number, Rejected};
use crate::openai::error_json;
use crate::receipts::{ReceiptState, Receipts};
use crate::record::{BYTES_PER_TOKEN, Passed, Record};
use crate::sampling::{AuditPolicy, AuditSampler, NonceSource};
use crate::service::{Counters, REQUEST_TARGET, TAG_BITS, milliseconds, unix_ms};
use crate::sse::EventWatch;
use crate::store::Promise;

/// Pieces of an answer that wait for a slow client.
const BODY_QUEUE: usize = 16;
/// A client that takes nothing for so long is taken to have left.
const CLIENT_IDLE: Duration = Duration::from_secs(60);
/// Why no answer has another verdict than Undecided.
pub const NO_ENGINE: &str = "exact_engine";
/// blake3 `derive_key` context of what stands in a receipt for the model: the upstream's address.
const UPSTREAM_CONTEXT: &str = "maxwell 2026-11 pass-through upstream v1";
/// Headers by which an upstream tells its clients apart; without keys of the gateway's own they are one to it.
const CREDENTIALS: [&str; 4] = ["authorization", "api-key", "x-api-key", "cookie"];
/// Headers between two neighbours only (RFC 9110 section 7.6.1), and those that each side makes anew.
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
];

/// What a pass-through gateway is started with.
pub struct PassThroughConfig {
    /// Where requests go.
    pub upstream: SocketAddr,
    /// Signs receipts.
    pub key: SigningKey,
    /// From which nonces come.
    pub seed_key: [u8; 32],
    /// Picks answers; revealed at the end.
    pub audit_key: [u8; 32],
    /// How many.
    pub policy: AuditPolicy,
    /// Requests at the same time.
    pub in_flight_max: usize,
    /// How long the upstream may take to connect, and to begin its answer.
    pub head_within: Duration,
    /// How long it may be silent within an answer.
    pub idle_within: Duration,
}

/// The running gateway.
pub struct PassThrough {
    config: PassThroughConfig,
    sampler: AuditSampler,
    nonces: NonceSource,
    log: Log,
    /// Number of the record that began this run.
    began: u64,
    next_tag: AtomicU64,
    slots: Arc<Semaphore>,
    receipts: Receipts,
    retries: Arc<Retries>,
    access: Arc<Access>,
    counters: Counters,
    metrics: Metrics,
}

impl Counted for PassThrough {
    fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// One request on its way.
struct Passage {
    tag: u64,
    request: RequestDigest,
    request_bytes: u64,
    nonce: Nonce,
    client: Client,
    /// If the request has a key. Dropped without an end, it says that the answer was cut off.
    retry: Option<RetryTicket>,
    began: Instant,
    _slot: OwnedSemaphorePermit,
}

/// What went to the client.
struct Delivered {
    hasher: ResponseHasher,
    bytes: u64,
    watch: Option<EventWatch>,
}

impl Delivered {
    fn nothing() -> Self {
        Self { hasher: ResponseHasher::new(), bytes: 0, watch: None }
    }
}

impl PassThrough {
    /// Begins a run in the log. Blocks on the disk.
    ///
    /// # Errors
    /// Those of the log.
    pub fn start(config: PassThroughConfig, log: Log, access: Arc<Access>) -> Result<Arc<Self>, LogError> {
        let sampler = AuditSampler::new(config.audit_key, config.policy);
        let began = log.append_wait(&Record::PassBegan {
            audit_key: sampler.commitment(),
            rate_ppb: config.policy.rate_ppb,
            floor_ppb: config.policy.floor_ppb,
            upstream: config.upstream.to_string(),
        })?;
        Ok(Arc::new(Self {
            sampler,
            nonces: NonceSource::new(config.seed_key),
            log,
            began: began.sequence,
            next_tag: AtomicU64::new(began.sequence << TAG_BITS),
            slots: Arc::new(Semaphore::new(config.in_flight_max)),
            receipts: Receipts::new(config.key.clone()),
            retries: Retries::new(),
            access,
            counters: Counters::default(),
            metrics: Metrics::default(),
            config,
        }))
    }

    /// Until all answers are written down; then reveals the key that picked. No connection may be served any more.
    ///
    /// # Errors
    /// Those of the log.
    pub async fn end(self: Arc<Self>) -> Result<(), LogError> {
        let places = u32::try_from(self.config.in_flight_max).unwrap_or(u32::MAX);
        if self.slots.acquire_many(places).await.is_ok() {
            self.slots.close();
        }
        let record = Record::Revealed { epoch: self.began, audit_key: *self.sampler.key() };
        let promise = self.log.append_encoded(record.kind(), record.encode())?;
        self.log.durable(promise).await.map(drop)
    }

    fn in_flight(&self) -> usize {
        self.config.in_flight_max.saturating_sub(self.slots.available_permits())
    }

    /// What people look at.
    fn status(&self) -> Value {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        json!({
            "mode": "pass-through",
            "upstream": self.config.upstream.to_string(),
            "requests": count(&self.counters.requests),
            "answers": count(&self.counters.answers),
            "sampled": count(&self.counters.sampled),
            "undecided": count(&self.counters.unverifiable),
            "in_flight": self.in_flight(),
        })
    }

    fn numbers(&self) -> [Number; 6] {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("maxwell_requests_total", "counter", count(&self.counters.requests)),
            ("maxwell_answers_total", "counter", count(&self.counters.answers)),
            ("maxwell_sampled_total", "counter", count(&self.counters.sampled)),
            ("maxwell_recomputed_unverifiable_total", "counter", count(&self.counters.unverifiable)),
            ("maxwell_in_flight", "gauge", self.in_flight() as u64),
            ("maxwell_connections", "gauge", count(&self.metrics.connections)),
        ]
    }

    fn refuse(&self, reason: Rejected, status: StatusCode, message: &str) -> Response {
        self.metrics.reject(reason);
        tracing::info!(target: REQUEST_TARGET, status = status.as_u16(), reason = reason.name(), "refused");
        let kind = if status.is_client_error() { "invalid_request_error" } else { "server_error" };
        let mut response = (status, axum::Json(error_json(message, kind, None))).into_response();
        if matches!(reason, Rejected::BodyTooLarge | Rejected::BodyLate | Rejected::BodyRoom) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn refuse_limit(&self, refused: Refused) -> Response {
        let Refused::Wait { wait_ms, .. } = refused else {
            let status = StatusCode::BAD_REQUEST;
            return self.refuse(Rejected::TokensTooMany, status, &refused.to_string());
        };
        let status = StatusCode::TOO_MANY_REQUESTS;
        let mut response = self.refuse(Rejected::RequestRate, status, &refused.to_string());
        response.headers_mut().insert(header::RETRY_AFTER, wait_ms.div_ceil(1000).into());
        response
    }

    fn refuse_key(&self, refused: KeyRefused) -> Response {
        let (status, retry_after_s) = refused.status();
        let mut response = self.refuse(Rejected::BadRequest, status, &refused.to_string());
        if let Some(seconds) = retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }

    fn refuse_body(&self, error: BodyError) -> Response {
        let (reason, status) = match error {
            BodyError::TooLarge => (Rejected::BodyTooLarge, StatusCode::PAYLOAD_TOO_LARGE),
            BodyError::NoRoom => (Rejected::BodyRoom, StatusCode::SERVICE_UNAVAILABLE),
            BodyError::Idle(_) | BodyError::Slow(_) => (Rejected::BodyLate, StatusCode::REQUEST_TIMEOUT),
            BodyError::Broken => (Rejected::BadRequest, StatusCode::BAD_REQUEST),
        };
        self.refuse(reason, status, &error.to_string())
    }

    /// Sends a request on, and gives the head of its answer. The connection is of this request alone: on one that is
    /// used again, a second answer to the last request would be taken for the answer to this one.
    async fn send(
        &self,
        head: &request::Parts,
        body: Bytes,
        known: bool,
    ) -> io::Result<(hyper::Response<Incoming>, AbortOnDrop)> {
        let stream = TcpStream::connect(self.config.upstream).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let task = AbortOnDrop(tokio::spawn(connection).abort_handle());
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = hyper::Request::new(Full::new(body));
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = path.parse().map_err(io::Error::other)?;
        *request.headers_mut() = end_to_end(&head.headers);
        let headers = request.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        if known {
            // The key is the gateway's, and nobody else's business.
            headers.remove(header::AUTHORIZATION);
        }
        let host = HeaderValue::from_str(&self.config.upstream.to_string()).map_err(io::Error::other)?;
        headers.insert(header::HOST, host);
        Ok((sender.send_request(request).await.map_err(io::Error::other)?, task))
    }

    /// One request that has its tag: sent on, and its answer begun, unless the client leaves before.
    async fn exchange(
        self: Arc<Self>,
        passage: Passage,
        head: request::Parts,
        body: HeldBody,
        mut reserved: Reservation,
        mut client: oneshot::Sender<Response>,
    ) {
        let known = passage.client != Client::Anybody;
        let sending = tokio::time::timeout(self.config.head_within, self.send(&head, body.bytes(), known));
        let sent = tokio::select! {
            sent = sending => Some(sent),
            () = client.closed() => None,
        };
        let (status, message) = match sent {
            Some(Ok(Ok((answer, task)))) => {
                reserved.settle(u32::MAX);
                // If the client has left, the pieces are dropped with it, and that is how the task learns of it.
                let _ = client.send(deliver(self, passage, answer, task));
                return;
            }
            Some(Ok(Err(error))) => {
                (StatusCode::BAD_GATEWAY, format!("the upstream gave no answer: {error}"))
            }
            Some(Err(_)) => {
                (StatusCode::GATEWAY_TIMEOUT, "the upstream did not begin its answer in time".to_owned())
            }
            None => {
                // It has used its request.
                reserved.settle(u32::MAX);
                self.record(&passage, Delivered::nothing(), FinishCode::ReaderLeft).await;
                return;
            }
        };
        // Nothing of the upstream's was delivered, and that is written down too.
        self.record(&passage, Delivered::nothing(), FinishCode::Failed).await;
        let _ = client.send(self.refuse(Rejected::NotServing, status, &message));
    }

    /// Takes the answer from the upstream to the client, and writes down what was delivered, whoever ended it.
    async fn carry(
        self: Arc<Self>,
        mut passage: Passage,
        mut body: Incoming,
        task: AbortOnDrop,
        head: Head,
        client: mpsc::Sender<io::Result<Bytes>>,
    ) {
        let Head { watch, kept } = head;
        let is_stream = watch.is_some();
        let mut delivered = Delivered { hasher: ResponseHasher::new(), bytes: 0, watch };
        let finish = loop {
            let frame = tokio::select! {
                frame = tokio::time::timeout(self.config.idle_within, body.frame()) => frame,
                () = client.closed() => break FinishCode::ReaderLeft,
            };
            let data = match frame {
                Ok(Some(Ok(frame))) => frame.into_data(),
                Ok(None) => break FinishCode::Delivered,
                Ok(Some(Err(_))) | Err(_) => break FinishCode::Failed,
            };
            let Ok(data) = data else { continue };
            let Ok(Ok(place)) = tokio::time::timeout(CLIENT_IDLE, client.reserve()).await else {
                break FinishCode::ReaderLeft;
            };
            delivered.hasher.update(&data);
            delivered.bytes = delivered.bytes.saturating_add(data.len() as u64);
            if let Some(watch) = &mut delivered.watch {
                watch.push(&data);
            }
            passage.retry.iter_mut().for_each(|retry| retry.keep(&data));
            place.send(Ok(data));
        };
        // Ends the upstream's work too, if it is still at it.
        drop((body, task));
        let is_recorded = self.record(&passage, delivered, finish).await;
        if is_recorded
            && finish == FinishCode::Delivered
            && let (Some(retry), Some(headers)) = (passage.retry.take(), kept)
        {
            retry.done_with(passage.tag, is_stream, headers);
        }
        if finish != FinishCode::Delivered || !is_recorded {
            // A cut answer must not look whole: the connection ends without its end.
            let _ = client.send(Err(io::Error::other("the answer was cut off"))).await;
        }
    }

    async fn record(&self, passage: &Passage, delivered: Delivered, finish: FinishCode) -> bool {
        let response = delivered.hasher.digest();
        let mut passed = Passed {
            tag: passage.tag,
            picked: false,
            request: *passage.request.as_bytes(),
            response: *response.as_bytes(),
            request_bytes: passage.request_bytes,
            response_bytes: delivered.bytes,
            finish: finish.code().to_owned(),
            flaw: delivered.watch.and_then(EventWatch::finish).map(|flaw| flaw.code().to_owned()),
        };
        self.charge(passage.client, delivered.bytes);
        tracing::info!(
            target: REQUEST_TARGET,
            tag = %format_args!("{:016x}", passage.tag),
            ms = milliseconds(passage.began.elapsed()),
            request_bytes = passage.request_bytes,
            bytes = delivered.bytes,
            finish = finish.code(),
            "passed through"
        );
        let leaf = passed.leaf();
        passed.picked = self.sampler.picks(&leaf.claim, leaf.cost_tokens);
        let written = match self.write(passed) {
            Ok(promise) => self.log.durable(promise).await,
            Err(error) => Err(error),
        };
        let durable = match written {
            Ok(durable) => durable,
            Err(error) => {
                tracing::error!(passage.tag, %error, "an answer could not be recorded: no receipt");
                self.receipts.forget(passage.tag);
                return false;
            }
        };
        let upstream = blake3::derive_key(UPSTREAM_CONTEXT, self.config.upstream.to_string().as_bytes());
        self.receipts.issue(Receipt {
            version: RECEIPT_VERSION,
            gateway: self.config.key.verifying_key().id(),
            tag: RequestTag { counter: passage.tag, nonce: passage.nonce },
            model: ModelCommitment::from_bytes(upstream),
            template: None,
            request: passage.request,
            response,
            prompt_tokens: 0,
            output_tokens: 0,
            finish,
            claim: None,
            chain: durable.chain,
            sequence: durable.sequence,
            issued_unix_ms: unix_ms(),
            mode: ReceiptMode::PassThrough,
        });
        true
    }

    /// Gives what passed its place in the log, and if it is picked, right behind it the only verdict that there is.
    fn write(&self, passed: Passed) -> Result<Promise, LogError> {
        let (tag, is_picked) = (passed.tag, passed.picked);
        let record = Record::Passed(Box::new(passed));
        let promise = self.log.append_encoded(record.kind(), record.encode())?;
        self.counters.answers.fetch_add(1, Ordering::Relaxed);
        if is_picked {
            let outcome = Outcome::Unverifiable { missing: NO_ENGINE.to_owned() };
            let verdict = Record::Judged { tag, outcome };
            self.log.append_encoded(verdict.kind(), verdict.encode())?;
            self.counters.sampled.fetch_add(1, Ordering::Relaxed);
            self.counters.unverifiable.fetch_add(1, Ordering::Relaxed);
        }
        Ok(promise)
    }

    /// Takes an answer's tokens from its client's limit, down to nothing.
    fn charge(&self, client: Client, bytes: u64) {
        let Some(left) = self.access.remaining(client).tokens else { return };
        let most = tokens(bytes).min(left.remaining);
        if let Ok(mut taken) = self.access.reserve(client, most) {
            taken.settle(most);
        }
    }
}

/// What has to be known of an answer's head until its end.
struct Head {
    /// Of a stream.
    watch: Option<EventWatch>,
    /// To be given again with the answer; of a success only.
    kept: Option<HeaderMap>,
}

/// Ends a task with the one that waits for it.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn tokens(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(BYTES_PER_TOKEN)).unwrap_or(u32::MAX)
}

/// Headers without those of one hop: the known ones, and those that `Connection` names.
fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let is_hop = |name: &HeaderName| {
        HOP_BY_HOP.contains(&name.as_str()) || named.iter().any(|named| named == name.as_str())
    };
    let kept = headers.iter().filter(|(name, _)| !is_hop(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// All routes: the receipts and the state are the gateway's own, the rest is the upstream's.
pub fn router(pass: Arc<PassThrough>) -> Router {
    Router::new()
        .route("/v1/receipts/{tag}", get(receipt))
        .route("/health", get(|| async { axum::Json(json!({ "mode": "pass-through" })) }))
        .route("/status", get(status))
        .route("/metrics", get(metrics_page))
        .fallback(pass_on)
        .with_state(pass)
}

async fn status(State(pass): State<Arc<PassThrough>>) -> axum::Json<Value> {
    axum::Json(pass.status())
}

async fn metrics_page(State(pass): State<Arc<PassThrough>>) -> String {
    metrics::text(&pass.numbers(), None, &pass.metrics)
}

async fn receipt(
    State(pass): State<Arc<PassThrough>>,
    Path(tag): Path<String>,
    headers: HeaderMap,
) -> Response {
    if pass.access.identify(&headers).is_none() {
        return pass.refuse(Rejected::ApiKey, StatusCode::UNAUTHORIZED, "no valid API key");
    }
    match parse_tag(&tag).map_or(ReceiptState::Unknown, |number| pass.receipts.get(number)) {
        ReceiptState::Done(bytes) => ([(header::CONTENT_TYPE, "application/cose")], bytes).into_response(),
        ReceiptState::Pending => {
            (StatusCode::ACCEPTED, [(header::RETRY_AFTER, "1")], "not durable yet; ask again").into_response()
        }
        ReceiptState::Unknown => {
            pass.refuse(Rejected::NotHere, StatusCode::NOT_FOUND, "there is no such receipt here")
        }
    }
}

async fn pass_on(State(pass): State<Arc<PassThrough>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Some(client) = pass.access.identify(&head.headers) else {
        let message = "no valid API key: send Authorization: Bearer KEY";
        return pass.refuse(Rejected::ApiKey, StatusCode::UNAUTHORIZED, message);
    };
    if let Err(refused) = pass.access.take_request(client) {
        return pass.refuse_limit(refused);
    }
    let body = match read_body(&head.headers, body, pass.access.timeouts(), pass.access.body_room()).await {
        Ok(body) => body,
        Err(error) => return pass.refuse_body(error),
    };
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let (retry, before) = match begin(&pass, client, &head, path, &body) {
        Ok(Some(Retry::Again(kept))) => return again(kept),
        Ok(Some(Retry::Ask(ticket, nonce))) => (Some(ticket), nonce),
        Ok(None) => (None, None),
        Err(refused) => return pass.refuse_key(refused),
    };
    let request_bytes = body.len() as u64;
    let reserved = match pass.access.reserve(client, tokens(request_bytes)) {
        Ok(reserved) => reserved,
        Err(refused) => return pass.refuse_limit(refused),
    };
    let Ok(slot) = Arc::clone(&pass.slots).try_acquire_owned() else {
        return pass.refuse(Rejected::Full, StatusCode::TOO_MANY_REQUESTS, "all places are taken");
    };
    if let Err(error) = pass.log.check() {
        return pass.refuse(Rejected::Log, StatusCode::SERVICE_UNAVAILABLE, &error.to_string());
    }
    let tag = pass.next_tag.fetch_add(1, Ordering::Relaxed);
    let nonce = before.unwrap_or_else(|| pass.nonces.nonce(tag));
    retry.iter().for_each(|retry| retry.asked(nonce));
    pass.counters.requests.fetch_add(1, Ordering::Relaxed);
    let request = passed_request_digest(head.method.as_str(), path, &body, &nonce);
    let began = Instant::now();
    let passage = Passage { tag, request, request_bytes, nonce, client, retry, began, _slot: slot };
    // In a task of its own, which a client that leaves does not end: its tag, too, ends in the log.
    let (answer, answered) = oneshot::channel();
    tokio::spawn(Arc::clone(&pass).exchange(passage, head, body, reserved, answer));
    answered.await.unwrap_or_else(|_| {
        pass.refuse(Rejected::Internal, StatusCode::INTERNAL_SERVER_ERROR, "the answer was lost")
    })
}

/// What becomes of a request with an `Idempotency-Key`. A key in a form that is not ours is the upstream's business.
fn begin(
    pass: &PassThrough,
    client: Client,
    head: &request::Parts,
    path: &str,
    body: &[u8],
) -> Result<Option<Retry>, KeyRefused> {
    let Some(key) = head.headers.get(IDEMPOTENCY_HEADER) else { return Ok(None) };
    let route = format!("{} {path}", head.method);
    let mut scope = Vec::new();
    for name in CREDENTIALS {
        for value in head.headers.get_all(name) {
            // No header holds the end of a line.
            scope.extend([name.as_bytes(), value.as_bytes()].concat());
            scope.push(b'\n');
        }
    }
    match pass.retries.begin(client, &scope, key.as_bytes(), route.as_bytes(), body) {
        Err(KeyRefused::Form) => Ok(None),
        begun => begun.map(Some),
    }
}

/// The bytes of an answer that was given before, with its receipt.
fn again(kept: Kept) -> Response {
    let mut response = Response::new(HttpBody::from(kept.bytes));
    *response.headers_mut() = kept.headers;
    response.headers_mut().insert(REPLAYED_HEADER, HeaderValue::from_static("true"));
    response
}

/// Begins the answer to the client; the rest follows by a task of its own.
fn deliver(
    pass: Arc<PassThrough>,
    passage: Passage,
    answer: hyper::Response<Incoming>,
    task: AbortOnDrop,
) -> Response {
    let (response::Parts { status, headers, .. }, body) = answer.into_parts();
    let starts = |name: HeaderName, with: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).is_some_and(|value| value.starts_with(with))
    };
    let is_stream =
        starts(header::CONTENT_TYPE, "text/event-stream") && !headers.contains_key(header::CONTENT_ENCODING);
    let watch = is_stream.then(EventWatch::default);
    let tag = passage.tag;
    pass.receipts.expect(tag);
    let (sender, mut pieces) = mpsc::channel(BODY_QUEUE);
    let mut kept = end_to_end(&headers);
    // What speaks in the gateway's name is the gateway's.
    let own: Vec<HeaderName> =
        kept.keys().filter(|name| name.as_str().starts_with("x-maxwell-")).cloned().collect();
    for name in own {
        kept.remove(name);
    }
    if let Ok(value) = HeaderValue::from_str(&format!("{tag:016x}")) {
        kept.insert(RECEIPT_HEADER, value);
    }
    let is_kept = passage.retry.is_some() && status == StatusCode::OK;
    let head = Head { watch, kept: is_kept.then(|| kept.clone()) };
    tokio::spawn(pass.carry(passage, body, task, head, sender));
    let pieces = futures_util::stream::poll_fn(move |context| pieces.poll_recv(context));
    let mut response = Response::new(HttpBody::from_stream(pieces));
    *response.status_mut() = status;
    *response.headers_mut() = kept;
    response
}
