//! What outsiders get of the audit: checkpoints, proofs that an answer is in its epoch, and the way in for beacons. Never
//! gives out whether an answer of an open epoch is picked.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use protocol::checkpoint::MAX_BEACON_BYTES;
use serde_json::{Value, json};

use super::{App, parse_tag, refuse};
use crate::epochs::BeaconRefused;
use crate::service::{EpochError, ProofState};

/// Whoever may fetch a receipt may fetch its proof.
pub(super) fn proof_routes() -> Router<App> {
    Router::new().route("/v1/receipts/{tag}/proof", get(proof))
}

/// For the other party and for everybody: nothing here is secret, and a beacon is taken for its signature.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/epochs", get(epochs))
        .route("/v1/epochs/{epoch}/checkpoint", get(checkpoint))
        .route("/v1/epochs/{epoch}/beacon", post(beacon))
        .layer(DefaultBodyLimit::max(MAX_BEACON_BYTES))
}

fn cbor(bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/cbor"))], bytes).into_response()
}

async fn epochs(State(app): State<App>) -> axum::Json<Value> {
    axum::Json(app.service.epochs())
}

async fn checkpoint(State(app): State<App>, Path(epoch): Path<u64>) -> Response {
    match app.service.checkpoint(epoch) {
        Some(signed) => cbor(signed),
        None => refuse(StatusCode::NOT_FOUND, "there is no such epoch here", None),
    }
}

async fn proof(State(app): State<App>, Path(tag): Path<String>) -> Response {
    let Some(tag) = parse_tag(&tag) else {
        return refuse(StatusCode::BAD_REQUEST, "a receipt's name has 16 lowercase hexadecimal digits", None);
    };
    match app.service.proof(tag) {
        ProofState::Done(proof) => cbor(proof.encode()),
        ProofState::Pending => {
            let mut response = refuse(StatusCode::ACCEPTED, "its epoch is still open; ask again later", None);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
            response
        }
        ProofState::Unknown => refuse(StatusCode::NOT_FOUND, "no epoch here has such an answer", None),
    }
}

async fn beacon(State(app): State<App>, Path(epoch): Path<u64>, body: Bytes) -> Response {
    let service = Arc::clone(&app.service);
    let taken = tokio::task::spawn_blocking(move || service.take_beacon(epoch, &body)).await;
    let error = match taken {
        Ok(Ok(picked)) => {
            return axum::Json(json!({ "epoch": epoch, "picked": picked, "new": picked.is_some() }))
                .into_response();
        }
        Ok(Err(error)) => error,
        Err(_) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, "the beacon was not taken", None),
    };
    let status = match &error {
        EpochError::Beacon(BeaconRefused::UnknownEpoch { .. }) => StatusCode::NOT_FOUND,
        EpochError::Beacon(BeaconRefused::Open { .. } | BeaconRefused::Second { .. }) => StatusCode::CONFLICT,
        EpochError::Beacon(BeaconRefused::NoParty { .. } | BeaconRefused::Signed(_)) => StatusCode::FORBIDDEN,
        EpochError::Beacon(BeaconRefused::OtherCheckpoint { .. }) => StatusCode::UNPROCESSABLE_ENTITY,
        EpochError::Log(_)
        | EpochError::Entropy(_)
        | EpochError::Checkpoint(_)
        | EpochError::RateTooLow(_)
        | EpochError::Ended => StatusCode::SERVICE_UNAVAILABLE,
    };
    let code = if let EpochError::Beacon(refused) = &error { Some(refused.code()) } else { None };
    refuse(status, &error.to_string(), code)
}
