//! The router's routes: asks the gateways how they are, passes an input on, checks whose answer came back. Must never give
//! out an answer before its receipt is checked, nor refuse without a signature.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, OriginalUri, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use gateway::body::MAX_BODY_BYTES;
use gateway::http::RECEIPT_HEADER;
use protocol::refusal::{MAX_ASKED_NAME_BYTES, Refusal, input_digest};
use protocol::whitelist::{AuthorizedEntry, AuthorizedWhitelist};
use protocol::{Nonce, SigningKey, VerifyingKey};
use recomputer::router::{Attempt, GatewayState, Refused, check_answer, refused_by_all, route};
use serde_json::{Value, json};

use super::client::{Answer, exchange};

/// The client's nonce, and the refusal, both in hexadecimal digits.
const NONCE_HEADER: &str = "x-maxwell-nonce";
const REFUSAL_HEADER: &str = "x-maxwell-refusal";
/// A gateway that does not say how it is within this time is away.
const STATE_WITHIN: Duration = Duration::from_secs(2);
/// A long answer takes long.
const ANSWER_WITHIN: Duration = Duration::from_secs(3600);
/// A receipt is there when its answer is on the disk.
const RECEIPT_TRIES: u32 = 100;
const RECEIPT_AGAIN: Duration = Duration::from_millis(50);
/// When a gateway says no time.
const AGAIN_S: u32 = 10;

/// A gateway that may be asked.
pub(super) struct Gateway {
    pub(super) address: SocketAddr,
    /// Of its receipts.
    pub(super) key: VerifyingKey,
}

/// Everything that a router knows.
pub(super) struct Router {
    pub(super) list: AuthorizedWhitelist,
    pub(super) key: SigningKey,
    pub(super) gateways: Vec<Gateway>,
    pub(super) load_s: u32,
}

/// An input, as it came.
struct Input {
    path: String,
    nonce: Option<Nonce>,
    authorization: Option<HeaderValue>,
    body: Bytes,
}

/// The Unix second.
pub(super) fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// All routes.
pub(super) fn routes(router: Arc<Router>) -> axum::Router {
    axum::Router::new()
        .route("/v1/chat/completions", post(input))
        .route("/v1/completions", post(input))
        .route("/v1/models", get(models))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(router)
}

async fn models(State(router): State<Arc<Router>>) -> Json<Value> {
    // An expired list has none.
    let listed = router.list.admitted(now_unix_s()).unwrap_or_default();
    let shown = |entry: &AuthorizedEntry| {
        let (name, commitment) = (&entry.entry().name, entry.entry().model.to_string());
        json!({ "id": name, "object": "model", "created": 0, "owned_by": "whitelist", "commitment": commitment })
    };
    Json(json!({ "object": "list", "data": listed.iter().map(shown).collect::<Vec<_>>() }))
}

async fn input(
    State(router): State<Arc<Router>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let nonce =
        match headers.get(NONCE_HEADER).map(|value| value.to_str().unwrap_or_default().parse::<Nonce>()) {
            None => None,
            Some(Ok(nonce)) => Some(nonce),
            Some(Err(_)) => return bad("x-maxwell-nonce has 64 hexadecimal digits"),
        };
    let wanted: Option<Value> = serde_json::from_slice(&body).ok();
    let model = wanted.as_ref().and_then(|wanted| wanted["model"].as_str()).map(str::to_owned);
    let Some(model) = model.filter(|model| model.len() <= MAX_ASKED_NAME_BYTES) else {
        return bad("the body is a JSON object with the model's name");
    };
    let authorization = headers.get(header::AUTHORIZATION).cloned();
    let input = Input { path: uri.path().to_owned(), nonce, authorization, body };
    match router.answer(&model, &input).await {
        Ok(response) => response,
        Err(refused) => router.refuse(&model, &input, refused),
    }
}

fn bad(message: &str) -> Response {
    error(StatusCode::BAD_REQUEST, message, "bad_request")
}

fn error(status: StatusCode, message: &str, code: &str) -> Response {
    let kind = if status.is_client_error() { "invalid_request_error" } else { "server_error" };
    let error = json!({ "error": { "message": message, "type": kind, "param": "model", "code": code } });
    (status, Json(error)).into_response()
}

impl Router {
    async fn answer(&self, model: &str, input: &Input) -> Result<Response, Refused> {
        let states = futures_util::future::join_all(self.gateways.iter().map(state)).await;
        let routed = route(model, &self.list, now_unix_s(), &states, self.load_s)?;
        let mut attempts = Vec::new();
        for place in routed.gateways {
            let Some(gateway) = self.gateways.get(place) else { continue };
            match ask(gateway, &routed.entry, input).await {
                Ok(response) => return Ok(response),
                Err(attempt) => attempts.push(attempt),
            }
            if attempts.contains(&Attempt::Substituted) {
                break;
            }
        }
        Err(refused_by_all(&attempts, self.load_s))
    }

    fn refuse(&self, model: &str, input: &Input, refused: Refused) -> Response {
        let Refused { reason, retry_after_s } = refused;
        tracing::warn!(model, reason = reason.code(), "refused");
        let refusal = Refusal {
            router: self.key.verifying_key().id(),
            nonce: input.nonce,
            input: input_digest(&input.path, &input.body),
            model: model.to_owned(),
            reason,
            retry_after_s,
            issued_unix_s: now_unix_s(),
        };
        let status = StatusCode::from_u16(reason.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let mut response = error(status, &reason.to_string(), reason.code());
        let headers = response.headers_mut();
        match refusal.sign(&self.key) {
            Ok(bytes) => {
                if let Ok(value) = HeaderValue::try_from(hex::encode(bytes)) {
                    headers.insert(REFUSAL_HEADER, value);
                }
            }
            Err(error) => tracing::error!(%error, "a refusal could not be signed"),
        }
        if let Some(seconds) = retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// What a gateway says about itself.
async fn state(gateway: &Gateway) -> Option<GatewayState> {
    let answer = exchange(gateway.address, "GET /status HTTP/1.1", b"", STATE_WITHIN).await;
    let answer = answer.inspect_err(|error| tracing::warn!(address = %gateway.address, "{error:#}")).ok()?;
    let status: Value = serde_json::from_slice(&answer.body).ok()?;
    Some(GatewayState {
        model: status["commitment"].as_str()?.parse().ok()?,
        is_serving: status["mode"] == "serving",
        in_flight: status["in_flight"].as_u64().unwrap_or(0),
    })
}

/// Asks one gateway. What it refuses for the client's own sake is the client's answer.
async fn ask(gateway: &Gateway, asked: &AuthorizedEntry, input: &Input) -> Result<Response, Attempt> {
    let authorization = input.authorization.as_ref().and_then(|value| value.to_str().ok());
    let authorization = authorization.map_or_else(String::new, |value| format!("\r\nauthorization: {value}"));
    let head = format!("POST {} HTTP/1.1\r\ncontent-type: application/json{authorization}", input.path);
    let away = Attempt::Away { retry_after_s: AGAIN_S };
    let answer = exchange(gateway.address, &head, &input.body, ANSWER_WITHIN).await.map_err(|error| {
        tracing::warn!(address = %gateway.address, "{error:#}");
        away
    })?;
    let retry_after_s = answer.header("retry-after").and_then(|value| value.parse().ok()).unwrap_or(AGAIN_S);
    match answer.status {
        200 => {}
        429 => return Err(Attempt::Full { retry_after_s }),
        500.. => return Err(Attempt::Away { retry_after_s }),
        _ => return Ok(pass_on(answer)),
    }
    let checked = check(gateway, asked, &answer, &authorization).await;
    checked.map(|()| pass_on(answer)).map_err(|error| {
        tracing::error!(address = %gateway.address, "SUBSTITUTION: {error:#}");
        Attempt::Substituted
    })
}

/// Whether the answer is the asked model's, by the gateway's receipt.
async fn check(
    gateway: &Gateway,
    asked: &AuthorizedEntry,
    answer: &Answer,
    authorization: &str,
) -> anyhow::Result<()> {
    let name = answer.header(RECEIPT_HEADER).unwrap_or_default();
    let tag = u64::from_str_radix(name, 16)?;
    let head = format!("GET /v1/receipts/{tag:016x} HTTP/1.1{authorization}");
    let mut receipt = exchange(gateway.address, &head, b"", STATE_WITHIN).await?;
    for _ in 0..RECEIPT_TRIES {
        if receipt.status != 202 {
            break;
        }
        tokio::time::sleep(RECEIPT_AGAIN).await;
        receipt = exchange(gateway.address, &head, b"", STATE_WITHIN).await?;
    }
    check_answer(asked, &gateway.key, tag, &receipt.body, &answer.body, &names(&answer.body))?;
    Ok(())
}

/// Every model that a body names: a whole answer, or the events of a stream.
fn names(body: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(body);
    let texts = text.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
    let values = texts.filter_map(|text| serde_json::from_str::<Value>(text).ok());
    values.filter_map(|value| value["model"].as_str().map(str::to_owned)).collect()
}

fn pass_on(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = status.into_response();
    for name in [header::CONTENT_TYPE.as_str(), RECEIPT_HEADER] {
        let value = answer.header(name).and_then(|value| HeaderValue::from_str(value).ok());
        if let (Ok(name), Some(value)) = (header::HeaderName::try_from(name), value) {
            response.headers_mut().insert(name, value);
        }
    }
    *response.body_mut() = Body::from(answer.body);
    response
}
