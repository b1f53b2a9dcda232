//! Connections: how many, how long one may be silent before it asks, and how they end. Must never take a request after
//! the drain began, nor close a connection so that its last answer is lost.

use std::future::poll_fn;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::access::Access;
use crate::metrics::{Metrics, Rejected};
use crate::openai::error_json;

/// Most lines of a request's head.
const HEADER_LINES_MAX: usize = 64;
/// Longest head.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// A client that still sends when its answer is done is heard so long, or the answer would be lost to it.
const LINGER: Duration = Duration::from_secs(2);
/// After an error of the system: too many open files, for example.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Whether connections are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Yes.
    Open,
    /// Those that are there finish their request.
    Drain,
    /// All are closed.
    Closed,
}

/// What counts its connections.
pub trait Counted: Send + Sync + 'static {
    /// Where.
    fn metrics(&self) -> &Metrics;
}

/// Serves connections until [`Stage::Closed`], or [`Stage::Drain`] and the last of them ended.
pub async fn serve<S: Counted>(
    listener: TcpListener,
    routes: Router,
    service: Arc<S>,
    access: Arc<Access>,
    connections_max: usize,
    mut stage: watch::Receiver<Stage>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = reached(&mut stage, Stage::Drain) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {
                count(&*service, connections.len());
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() >= connections_max => refuse(&*service, stream),
                Ok((stream, _)) => {
                    let head = access.timeouts().head;
                    connections.spawn(connection(stream, routes.clone(), head, stage.clone()));
                    count(&*service, connections.len());
                }
                Err(error) => {
                    tracing::warn!(%error, "a client could not connect");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            },
        }
    }
    drop(listener);
    loop {
        tokio::select! {
            () = reached(&mut stage, Stage::Closed) => break,
            ended = connections.join_next() => {
                count(&*service, connections.len());
                if ended.is_none() {
                    return;
                }
            }
        }
    }
    connections.shutdown().await;
    count(&*service, 0);
}

fn count(service: &impl Counted, connections: usize) {
    service.metrics().connections.store(connections as u64, Ordering::Relaxed);
}

/// Until the stage is this one or a later one. If nobody can change it any more, that is now.
async fn reached(stage: &mut watch::Receiver<Stage>, at_least: Stage) {
    let _ = stage.wait_for(|now| *now >= at_least).await;
}

/// Tells a connection too many, as far as that goes without waiting for it.
fn refuse(service: &impl Counted, stream: TcpStream) {
    service.metrics().reject(Rejected::Connections);
    let body = error_json("too many connections; try again in a moment", "server_error", None).to_string();
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    // A new socket has room for so little, and nothing here waits if it has not.
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write(answer.as_bytes());
    }
}

async fn connection(stream: TcpStream, routes: Router, head: Duration, mut stage: watch::Receiver<Stage>) {
    // Each piece of an answer goes out when it is there.
    let _ = stream.set_nodelay(true);
    let routes = TowerToHyperService::new(routes);
    let service =
        service_fn(move |request| Box::pin(routes.call(Request::map(request, axum::body::Body::new))));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_headers(HEADER_LINES_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut draining = false;
    let ended = loop {
        tokio::select! {
            biased;
            ended = poll_fn(|context| connection.poll_without_shutdown(context)) => break ended,
            () = reached(&mut stage, Stage::Drain), if !draining => draining = true,
        }
        // Only the other branch comes here.
        Pin::new(&mut connection).graceful_shutdown();
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
    let mut stream = connection.into_parts().io.into_inner();
    if stream.shutdown().await.is_ok() && !draining {
        linger(&mut stream).await;
    }
}

/// Hears what a client still sends. A socket that is closed with unread bytes takes the answer back.
async fn linger(stream: &mut TcpStream) {
    let mut unread = vec![0; 16 << 10];
    let hear = async { while stream.read(&mut unread).await.is_ok_and(|count| count > 0) {} };
    let _ = tokio::time::timeout(LINGER, hear).await;
}
