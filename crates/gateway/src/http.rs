//! The API towards clients: routes, limits, headers, status codes. Never forwards a byte of a request; what the
//! server gets is made anew from tokens.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::Router;
use axum::body::{Body as HttpBody, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use protocol::receipt::Receipt;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::openai::{Wanted, error_json};
use crate::service::{Body, Busy, ReceiptState, Service};
use crate::state::Mode;

/// Longest body of a request.
pub const MAX_BODY_BYTES: usize = 16 << 20;
/// Names the request's receipt.
pub const RECEIPT_HEADER: &str = "x-maxwell-receipt";
/// Microseconds that the gateway took before the server was asked.
pub const OVERHEAD_HEADER: &str = "x-maxwell-overhead-us";
/// blake3 `derive_key` context of stored API keys.
const API_KEY_CONTEXT: &str = "maxwell 2026-11 api key v1";

/// Who may ask.
#[derive(Clone, Debug, Default)]
pub struct ApiKeys {
    /// Digests of the keys; if there are none, everybody may.
    digests: BTreeSet<[u8; 32]>,
}

impl ApiKeys {
    /// Those of these keys.
    pub fn new<'k>(keys: impl IntoIterator<Item = &'k str>) -> Self {
        Self { digests: keys.into_iter().map(digest).collect() }
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        if self.digests.is_empty() {
            return true;
        }
        let key = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let key = key.and_then(|value| value.strip_prefix("Bearer "));
        // Digests are compared, so the time says nothing about a key.
        key.is_some_and(|key| self.digests.contains(&digest(key)))
    }
}

fn digest(key: &str) -> [u8; 32] {
    blake3::derive_key(API_KEY_CONTEXT, key.as_bytes())
}

#[derive(Clone)]
struct App {
    service: Arc<Service>,
    keys: Arc<ApiKeys>,
}

/// All routes of the gateway.
pub fn router(service: Arc<Service>, keys: ApiKeys) -> Router {
    let app = App { service, keys: Arc::new(keys) };
    let api = Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completions))
        .route("/v1/models", get(models))
        .route("/v1/receipts/{tag}", get(receipt))
        .layer(middleware::from_fn_with_state(app.clone(), authorize));
    Router::new()
        .merge(api)
        .route("/health", get(health))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .fallback(|| async { refuse(StatusCode::NOT_FOUND, "there is no such path", None) })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(app)
}

async fn authorize(State(app): State<App>, request: Request, next: Next) -> Response {
    if app.keys.admits(request.headers()) {
        return next.run(request).await;
    }
    refuse(StatusCode::UNAUTHORIZED, "no valid API key: send Authorization: Bearer KEY", None)
}

fn refuse(status: StatusCode, message: &str, param: Option<&str>) -> Response {
    let kind = if status.is_client_error() { "invalid_request_error" } else { "server_error" };
    (status, axum::Json(error_json(message, kind, param))).into_response()
}

async fn chat(State(app): State<App>, body: Result<Bytes, BytesRejection>) -> Response {
    answer(app, body, true).await
}

async fn completions(State(app): State<App>, body: Result<Bytes, BytesRejection>) -> Response {
    answer(app, body, false).await
}

async fn answer(app: App, body: Result<Bytes, BytesRejection>, chat: bool) -> Response {
    let began = Instant::now();
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return refuse(rejection.status(), &rejection.body_text(), None),
    };
    let wanted = match Wanted::parse(&body, chat) {
        Ok(wanted) => wanted,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.message, error.param),
    };
    let entry = app.service.entry().entry();
    if wanted.model != entry.name {
        let message = format!("the model {:?} is not served here; {:?} is", wanted.model, entry.name);
        return refuse(StatusCode::NOT_FOUND, &message, Some("model"));
    }
    let (service, prompt, context) = (Arc::clone(&app.service), wanted.prompt.clone(), entry.context);
    // A long prompt takes a while, and other connections should not wait for it.
    let encoded = tokio::task::spawn_blocking(move || prompt.encode(service.tokenizer(), context));
    let prompt_ids = match encoded.await {
        Ok(Ok(ids)) => ids,
        Ok(Err(error)) => return refuse(StatusCode::BAD_REQUEST, &error.message, error.param),
        Err(_) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, "the prompt could not be encoded", None),
    };
    let started = match app.service.ask(wanted, prompt_ids, chat).await {
        Ok(started) => started,
        Err(busy) => return busy_response(&busy),
    };
    let overhead = began.elapsed().as_micros();
    let mut response = match started.body {
        Body::Stream(pieces) => stream(pieces),
        Body::Whole(body) => match body.await {
            Ok(Ok(bytes)) => whole(StatusCode::OK, bytes),
            Ok(Err(bytes)) => whole(StatusCode::BAD_GATEWAY, bytes),
            Err(_) => refuse(StatusCode::BAD_GATEWAY, "the answer was lost", None),
        },
    };
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&format!("{:016x}", started.tag)) {
        headers.insert(RECEIPT_HEADER, value);
    }
    if let Ok(value) = HeaderValue::from_str(&overhead.to_string()) {
        headers.insert(OVERHEAD_HEADER, value);
    }
    response
}

/// A body exactly as its receipt has it.
fn whole(status: StatusCode, bytes: Bytes) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], bytes).into_response()
}

fn stream(mut pieces: mpsc::Receiver<Bytes>) -> Response {
    let pieces = futures_util::stream::poll_fn(move |context| {
        pieces.poll_recv(context).map(|piece| piece.map(Ok::<_, Infallible>))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, HttpBody::from_stream(pieces)).into_response()
}

fn busy_response(busy: &Busy) -> Response {
    let (status, seconds) = match busy {
        Busy::Full(_) => (StatusCode::TOO_MANY_REQUESTS, "1"),
        Busy::Backlog(_) => (StatusCode::SERVICE_UNAVAILABLE, "5"),
        Busy::NotServing(_) | Busy::Log(_) => (StatusCode::SERVICE_UNAVAILABLE, "10"),
    };
    let mut response = refuse(status, &busy.to_string(), None);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
    response
}

async fn models(State(app): State<App>) -> axum::Json<Value> {
    let entry = app.service.entry().entry();
    axum::Json(json!({
        "object": "list",
        "data": [{
            "id": entry.name,
            "object": "model",
            "created": 0,
            "owned_by": "whitelist",
            "commitment": entry.model.to_string(),
        }],
    }))
}

/// COSE bytes, or a JSON view for who asks for JSON.
async fn receipt(State(app): State<App>, Path(tag): Path<String>, headers: HeaderMap) -> Response {
    // Each receipt has one name.
    let number = u64::from_str_radix(&tag, 16).ok().filter(|number| tag == format!("{number:016x}"));
    let Some(number) = number else {
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

async fn health(State(app): State<App>) -> Response {
    let mode = app.service.mode();
    let status = if mode == Mode::Serving { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(json!({ "mode": mode.name() }))).into_response()
}

async fn status(State(app): State<App>) -> axum::Json<Value> {
    axum::Json(app.service.status())
}

async fn metrics(State(app): State<App>) -> Response {
    let counters = &app.service.counters;
    let mut text = String::new();
    for (name, kind, value) in [
        ("maxwell_requests_total", "counter", counters.requests.load(Ordering::Relaxed)),
        ("maxwell_answers_total", "counter", counters.answers.load(Ordering::Relaxed)),
        ("maxwell_sampled_total", "counter", counters.sampled.load(Ordering::Relaxed)),
        ("maxwell_recomputed_pass_total", "counter", counters.passed.load(Ordering::Relaxed)),
        ("maxwell_recomputed_fail_total", "counter", counters.failed.load(Ordering::Relaxed)),
        ("maxwell_recomputed_unverifiable_total", "counter", counters.unverifiable.load(Ordering::Relaxed)),
        ("maxwell_backlog", "gauge", app.service.backlog() as u64),
        ("maxwell_serving", "gauge", u64::from(app.service.mode() == Mode::Serving)),
    ] {
        text.push_str(&format!("# TYPE {name} {kind}\n{name} {value}\n"));
    }
    ([(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4"))], text).into_response()
}
