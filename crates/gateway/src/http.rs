//! The API towards clients: routes, headers, status codes. Never forwards a byte of a request; what the
//! server gets is made anew from tokens.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body as HttpBody, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use protocol::logprobs::{MAX_ENTRIES, entries};
use protocol::receipt::Receipt;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::access::{Access, Client};
use crate::body::{BodyError, read_body};
use crate::idempotency::{IDEMPOTENCY_HEADER, Kept, KeyRefused, REPLAYED_HEADER, Retry};
use crate::limits::{Left, Limited, Refused, duration_text};
use crate::metrics::{self, Metrics, Rejected};
use crate::openai::{Wanted, error_json};
use crate::receipts::ReceiptState;
use crate::service::{Body, Busy, Keyed, REQUEST_TARGET, Service, Started};
use crate::state::Mode;

mod epochs;

/// Text that is turned into tokens in less time than handing it to another thread takes.
const PROMPT_AT_ONCE_BYTES: usize = 4096;
/// Names the request's receipt.
pub const RECEIPT_HEADER: &str = "x-maxwell-receipt";
/// Microseconds that the gateway took before the server was asked.
pub const OVERHEAD_HEADER: &str = "x-maxwell-overhead-us";
#[derive(Clone)]
struct App {
    service: Arc<Service>,
    access: Arc<Access>,
}

/// All routes of the gateway.
pub fn router(service: Arc<Service>, access: Arc<Access>) -> Router {
    let app = App { service, access };
    let api = Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completions))
        .route("/v1/models", get(models))
        .route("/v1/models/{*name}", get(model))
        .route("/v1/receipts/{tag}", get(receipt))
        .merge(epochs::proof_routes())
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(app.clone(), authorize));
    Router::new()
        .merge(api)
        .merge(epochs::routes())
        .route("/health", get(health))
        .route("/openapi.json", get(openapi))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .fallback(nowhere)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
}

async fn authorize(State(app): State<App>, mut request: Request, next: Next) -> Response {
    match app.access.identify(request.headers()) {
        Some(client) => {
            request.extensions_mut().insert(client);
            next.run(request).await
        }
        None => {
            let message = "no valid API key: send Authorization: Bearer KEY";
            let refusal = Refusal::new(Rejected::ApiKey, StatusCode::UNAUTHORIZED, message);
            refusal.into_response(&app.service.metrics)
        }
    }
}

async fn nowhere(State(app): State<App>) -> Response {
    let refusal = Refusal::new(Rejected::NotHere, StatusCode::NOT_FOUND, "there is no such path");
    refusal.into_response(&app.service.metrics)
}

/// The router adds the methods that are allowed.
async fn wrong_method(State(app): State<App>) -> Response {
    let status = StatusCode::METHOD_NOT_ALLOWED;
    let refusal = Refusal::new(Rejected::NotHere, status, "this path is not there for this method");
    refusal.into_response(&app.service.metrics)
}

fn refuse(status: StatusCode, message: &str, param: Option<&str>) -> Response {
    let kind = if status.is_client_error() { "invalid_request_error" } else { "server_error" };
    (status, axum::Json(error_json(message, kind, param))).into_response()
}

/// Why a request is not answered, in all its parts.
struct Refusal {
    reason: Rejected,
    status: StatusCode,
    message: String,
    param: Option<&'static str>,
    /// When to try again.
    retry_after_s: Option<u64>,
}

impl Refusal {
    fn new(reason: Rejected, status: StatusCode, message: impl Into<String>) -> Self {
        Self { reason, status, message: message.into(), param: None, retry_after_s: None }
    }

    fn bad(param: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { param, ..Self::new(Rejected::BadRequest, StatusCode::BAD_REQUEST, message) }
    }

    fn into_response(self, metrics: &Metrics) -> Response {
        metrics.reject(self.reason);
        // Neither the message nor the path: both may hold what the client wrote.
        let (status, reason) = (self.status.as_u16(), self.reason.name());
        tracing::info!(target: REQUEST_TARGET, status, reason, "refused");
        let mut response = refuse(self.status, &self.message, self.param);
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if matches!(self.reason, Rejected::BodyTooLarge | Rejected::BodyLate | Rejected::BodyRoom) {
            // The rest of the body is not read, so nothing can follow it.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Wait { limited, wait_ms, .. } => Self {
                retry_after_s: Some(wait_ms.div_ceil(1000)),
                ..Self::new(
                    if limited == Limited::Tokens { Rejected::TokenRate } else { Rejected::RequestRate },
                    StatusCode::TOO_MANY_REQUESTS,
                    refused.to_string(),
                )
            },
            // No 429: clients try those again, and this would never fit.
            Refused::TooLarge { .. } => Self {
                param: Some("max_tokens"),
                ..Self::new(Rejected::TokensTooMany, StatusCode::BAD_REQUEST, refused.to_string())
            },
        }
    }
}

impl From<KeyRefused> for Refusal {
    fn from(refused: KeyRefused) -> Self {
        let (status, retry_after_s) = refused.status();
        let refusal = Self::new(Rejected::BadRequest, status, refused.to_string());
        Self { param: Some(IDEMPOTENCY_HEADER), retry_after_s, ..refusal }
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        let (reason, status) = match error {
            BodyError::TooLarge => (Rejected::BodyTooLarge, StatusCode::PAYLOAD_TOO_LARGE),
            BodyError::NoRoom => (Rejected::BodyRoom, StatusCode::SERVICE_UNAVAILABLE),
            BodyError::Idle(_) | BodyError::Slow(_) => (Rejected::BodyLate, StatusCode::REQUEST_TIMEOUT),
            BodyError::Broken => (Rejected::BadRequest, StatusCode::BAD_REQUEST),
        };
        let retry_after_s = (error == BodyError::NoRoom).then_some(1);
        Self { retry_after_s, ..Self::new(reason, status, error.to_string()) }
    }
}

impl From<Busy> for Refusal {
    fn from(busy: Busy) -> Self {
        let (reason, status, seconds) = match busy {
            Busy::Full(_) => (Rejected::Full, StatusCode::TOO_MANY_REQUESTS, 1),
            Busy::Backlog(_) => (Rejected::Backlog, StatusCode::SERVICE_UNAVAILABLE, 5),
            Busy::NotServing(_) => (Rejected::NotServing, StatusCode::SERVICE_UNAVAILABLE, 10),
            Busy::Log(_) | Busy::Epoch(_) => (Rejected::Log, StatusCode::SERVICE_UNAVAILABLE, 10),
            Busy::Egress { wait_ms, .. } => {
                (Rejected::Egress, StatusCode::SERVICE_UNAVAILABLE, wait_ms.div_ceil(1000).max(1))
            }
        };
        Self { retry_after_s: Some(seconds), ..Self::new(reason, status, busy.to_string()) }
    }
}

async fn chat(State(app): State<App>, Extension(client): Extension<Client>, request: Request) -> Response {
    answer(app, client, request, true).await
}

async fn completions(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    request: Request,
) -> Response {
    answer(app, client, request, false).await
}

async fn answer(app: App, client: Client, request: Request, chat: bool) -> Response {
    let began = Instant::now();
    let started = start(&app, client, request, chat).await;
    // What is left once this request is counted in full; what it does not use comes on top.
    let remaining = app.access.remaining(client);
    let mut response = match started {
        Ok(started) => {
            let overhead = began.elapsed();
            app.service.metrics.overhead.observe(overhead);
            deliver(started, overhead).await
        }
        Err(refusal) => refusal.into_response(&app.service.metrics),
    };
    for (what, left) in [("requests", remaining.requests), ("tokens", remaining.tokens)] {
        if let Some(left) = left {
            show_limit(response.headers_mut(), what, &left);
        }
    }
    response
}

/// OpenAI's headers of one limit.
fn show_limit(headers: &mut HeaderMap, what: &str, left: &Left) {
    for (part, value) in [
        ("limit", left.per_minute.to_string()),
        ("remaining", left.remaining.to_string()),
        ("reset", duration_text(left.reset_ms)),
    ] {
        let name = HeaderName::try_from(format!("x-ratelimit-{part}-{what}"));
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
}

/// From the head of a request to its question to the server.
async fn start(app: &App, client: Client, request: Request, chat: bool) -> Result<Started, Refusal> {
    app.access.take_request(client)?;
    let (head, body) = request.into_parts();
    let body = read_body(&head.headers, body, app.access.timeouts(), app.access.body_room()).await?;
    let key = head.headers.get(IDEMPOTENCY_HEADER).map(HeaderValue::as_bytes);
    let begun = key.map(|key| app.service.retries().begin(client, &[], key, &[u8::from(chat)], &body));
    let keyed = match begun.transpose()? {
        Some(Retry::Again(kept)) => return Ok(Started { tag: kept.tag, body: Body::Again(kept) }),
        Some(Retry::Ask(ticket, nonce)) => Some(Keyed { ticket, nonce }),
        None => None,
    };
    let wanted = Wanted::parse(&body, chat).map_err(|error| Refusal::bad(error.param, error.message))?;
    let entry = app.service.entry().entry();
    if wanted.model != entry.name {
        return Err(not_served(app, &wanted.model));
    }
    let prompt_ids = encode(app, &wanted).await?;
    // An answer ends where the context does, whatever the client asks for.
    let prompt_tokens = u32::try_from(prompt_ids.len()).unwrap_or(u32::MAX);
    let answer_tokens = wanted.settings.max_tokens.min(entry.context.saturating_sub(prompt_tokens));
    if wanted.logprobs.is_some_and(|top| entries(top, answer_tokens) > u64::from(MAX_ENTRIES)) {
        let message = format!(
            "the log-probabilities of {answer_tokens} tokens are more than the {MAX_ENTRIES} of one answer: ask for fewer \
             max_tokens, or for fewer of them"
        );
        return Err(Refusal::bad(Some("logprobs"), message));
    }
    let reserved = app.access.reserve(client, prompt_tokens.saturating_add(answer_tokens))?;
    Ok(app.service.ask(wanted, prompt_ids, chat, reserved, keyed).await?)
}

/// The prompt's tokens, if the context holds them.
async fn encode(app: &App, wanted: &Wanted) -> Result<Vec<u32>, Refusal> {
    let context = app.service.entry().entry().context;
    let encoded = if wanted.prompt.bytes() <= PROMPT_AT_ONCE_BYTES {
        Ok(wanted.prompt.encode(app.service.tokenizer(), context))
    } else {
        // A long prompt takes a while, and other connections should not wait for it.
        let (service, prompt) = (Arc::clone(&app.service), wanted.prompt.clone());
        tokio::task::spawn_blocking(move || prompt.encode(service.tokenizer(), context)).await
    };
    match encoded {
        Ok(Ok(ids)) => Ok(ids),
        Ok(Err(error)) => Err(Refusal::bad(error.param, error.message)),
        Err(_) => {
            let message = "the prompt could not be encoded";
            Err(Refusal::new(Rejected::Internal, StatusCode::INTERNAL_SERVER_ERROR, message))
        }
    }
}

async fn deliver(started: Started, overhead: Duration) -> Response {
    let mut response = match started.body {
        Body::Stream(pieces) => stream(pieces),
        Body::Whole(body) => match body.await {
            Ok(Ok(bytes)) => whole(StatusCode::OK, bytes),
            Ok(Err(bytes)) => whole(StatusCode::BAD_GATEWAY, bytes),
            Err(_) => refuse(StatusCode::BAD_GATEWAY, "the answer was lost", None),
        },
        Body::Again(kept) => again(kept),
    };
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&format!("{:016x}", started.tag)) {
        headers.insert(RECEIPT_HEADER, value);
    }
    if let Ok(value) = HeaderValue::from_str(&overhead.as_micros().to_string()) {
        headers.insert(OVERHEAD_HEADER, value);
    }
    response
}

/// A body exactly as its receipt has it.
fn whole(status: StatusCode, bytes: Bytes) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], bytes).into_response()
}

/// The bytes of an answer that was given before.
fn again(kept: Kept) -> Response {
    let mut response = if kept.is_stream {
        (STREAM_HEADERS, kept.bytes).into_response()
    } else {
        whole(StatusCode::OK, kept.bytes)
    };
    response.headers_mut().insert(REPLAYED_HEADER, HeaderValue::from_static("true"));
    response
}

const STREAM_HEADERS: [(HeaderName, HeaderValue); 2] = [
    (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

fn stream(mut pieces: mpsc::Receiver<Bytes>) -> Response {
    let pieces = futures_util::stream::poll_fn(move |context| {
        pieces.poll_recv(context).map(|piece| piece.map(Ok::<_, Infallible>))
    });
    (STREAM_HEADERS, HttpBody::from_stream(pieces)).into_response()
}

async fn models(State(app): State<App>) -> axum::Json<Value> {
    axum::Json(json!({ "object": "list", "data": [about(&app)] }))
}

async fn model(State(app): State<App>, Path(name): Path<String>) -> Response {
    if name == app.service.entry().entry().name {
        axum::Json(about(&app)).into_response()
    } else {
        not_served(&app, &name).into_response(&app.service.metrics)
    }
}

fn about(app: &App) -> Value {
    let entry = app.service.entry().entry();
    json!({
        "id": entry.name,
        "object": "model",
        "created": 0,
        "owned_by": "whitelist",
        "commitment": entry.model.to_string(),
    })
}

fn not_served(app: &App, wanted: &str) -> Refusal {
    let served = &app.service.entry().entry().name;
    let message = format!("the model {wanted:?} is not served here; {served:?} is");
    let refusal = Refusal::new(Rejected::NotHere, StatusCode::NOT_FOUND, message);
    Refusal { param: Some("model"), ..refusal }
}

/// A receipt's name; each receipt has one.
pub(crate) fn parse_tag(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok().filter(|number| text == format!("{number:016x}"))
}

/// COSE bytes, or a JSON view for who asks for JSON.
async fn receipt(State(app): State<App>, Path(tag): Path<String>, headers: HeaderMap) -> Response {
    let Some(number) = parse_tag(&tag) else {
        return refuse(StatusCode::BAD_REQUEST, "a receipt's name has 16 lowercase hexadecimal digits", None);
    };
    let bytes = match app.service.receipt(number) {
        ReceiptState::Done(bytes) => bytes,
        ReceiptState::Pending => {
            let mut response = refuse(StatusCode::ACCEPTED, "not durable yet; ask again", None);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            return response;
        }
        ReceiptState::Unknown => return refuse(StatusCode::NOT_FOUND, "there is no such receipt here", None),
    };
    let wants_json = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("application/json"));
    if !wants_json {
        return ([(header::CONTENT_TYPE, HeaderValue::from_static("application/cose"))], bytes)
            .into_response();
    }
    match Receipt::verify(&bytes, &app.service.verifying_key()) {
        Ok(receipt) => axum::Json(receipt.to_json()).into_response(),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), None),
    }
}

/// What clients can rely on, for tools that read it.
async fn openapi() -> Response {
    let text = include_str!("openapi.json");
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}

async fn health(State(app): State<App>) -> Response {
    let mode = app.service.mode();
    let status = if mode == Mode::Serving { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(json!({ "mode": mode.name() }))).into_response()
}

async fn status(State(app): State<App>) -> axum::Json<Value> {
    axum::Json(app.service.status())
}

async fn metrics(State(app): State<App>) -> Response {
    let text = metrics::of_service(&app.service);
    ([(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4"))], text).into_response()
}
