//! The live page of `maxwell up`: shows the gateway's status to whoever opens its address. Reads only; must never
//! change what the gateway does, nor send anything that is not shown.

mod view;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use gateway::service::Service;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Interval, MissedTickBehavior};

use self::view::View;

/// Event streams at the same time.
const VIEWERS_MAX: usize = 32;
/// Between two looks at the status.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A silent stream says so often that it is still there.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
/// A page that is reloaded is back by then.
const RELOADED_WITHIN: Duration = Duration::from_secs(3);

const HEADERS: [(HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// The page's routes, and who looks at it.
#[derive(Clone)]
pub(super) struct Page {
    service: Arc<Service>,
    places: Arc<Semaphore>,
}

impl Page {
    /// Of this gateway.
    pub(super) fn new(service: Arc<Service>) -> Self {
        Self { service, places: Arc::new(Semaphore::new(VIEWERS_MAX)) }
    }

    /// To be merged into the gateway's.
    pub(super) fn routes(&self) -> Router {
        let asset = |kind: &'static str, text: &'static str| {
            get(async move || ([(header::CONTENT_TYPE, kind)], text))
        };
        Router::new()
            .route("/", get(index))
            .route("/events", get(events))
            .route(
                "/assets/page.css",
                asset("text/css; charset=utf-8", include_str!("../../../assets/up/page.css")),
            )
            .route(
                "/assets/page.js",
                asset("text/javascript; charset=utf-8", include_str!("../../../assets/up/page.js")),
            )
            .route("/assets/icon.svg", asset("image/svg+xml", include_str!("../../../assets/up/icon.svg")))
            .layer(map_response(strict))
            .with_state(self.clone())
    }

    /// Whether somebody looks at it now.
    pub(super) fn has_viewers(&self) -> bool {
        self.places.available_permits() < VIEWERS_MAX
    }

    /// Until nobody has looked at it for a moment.
    pub(super) async fn all_left(&self) {
        let mut left = tokio::time::Instant::now();
        while left.elapsed() < RELOADED_WITHIN {
            tokio::time::sleep(LOOK_EVERY).await;
            if self.has_viewers() {
                left = tokio::time::Instant::now();
            }
        }
    }
}

/// Nothing from elsewhere, nothing inline, nowhere framed, nothing kept.
async fn strict(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn index(State(page): State<Page>) -> Response {
    match View::of(&page.service.status()).render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(%error, "the page could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The status at once, and again whenever it changed.
async fn events(State(page): State<Page>) -> Response {
    let Ok(place) = Arc::clone(&page.places).try_acquire_owned() else {
        let headers = [(header::RETRY_AFTER, "10")];
        return (StatusCode::SERVICE_UNAVAILABLE, headers, "too many look at this page; close one")
            .into_response();
    };
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let viewer = Viewer { service: page.service, looks, sent: String::new(), _place: place };
    let changes = stream::unfold(viewer, |mut viewer| async move {
        let event = Event::default().data(viewer.next_change().await);
        Some((Ok::<_, Infallible>(event), viewer))
    });
    Sse::new(changes).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_EVERY)).into_response()
}

/// One event stream.
struct Viewer {
    service: Arc<Service>,
    looks: Interval,
    sent: String,
    /// Given back when the connection ends.
    _place: OwnedSemaphorePermit,
}

impl Viewer {
    async fn next_change(&mut self) -> String {
        loop {
            self.looks.tick().await;
            let status = self.service.status();
            let view = View::of(&status);
            let event = json!({ "status": status, "view": view }).to_string();
            if event != self.sent {
                self.sent.clone_from(&event);
                return event;
            }
        }
    }
}
