//! Hands sampled answers to recomputers and takes their findings, over a Unix socket. Never gives out the key that
//! picked them, nor says which of them are examinations.

use std::sync::Arc;

use protocol::lease::{FromGateway, MAX_LEASE_BYTES, ToGateway};
use protocol::link::frame;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};

use crate::frames::{FrameEnd, read_frame};
use crate::service::Service;

/// A recomputer sends short messages only.
const MAX_FROM_RECOMPUTER_BYTES: usize = 256;
const _: () = assert!(MAX_FROM_RECOMPUTER_BYTES <= MAX_LEASE_BYTES);

/// Serves one recomputer, the first, second or third, until the task is dropped. It may have many connections.
pub async fn serve(listener: UnixListener, service: Arc<Service>, seat: usize) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, Arc::clone(&service), seat))),
            Err(error) => {
                tracing::warn!(%error, "a recomputer could not connect");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(mut stream: UnixStream, service: Arc<Service>, seat: usize) {
    while let Some(message) = read(&mut stream).await {
        let answer = match message {
            ToGateway::Lease => match service.lease(seat) {
                Some((tag, claim)) => FromGateway::Job { tag, claim },
                None => FromGateway::Idle,
            },
            ToGateway::Done { tag, outcome } => {
                let service = Arc::clone(&service);
                match tokio::task::spawn_blocking(move || service.judged(seat, tag, &outcome)).await {
                    Ok(Ok(())) => FromGateway::Recorded { tag },
                    // Not recorded: the lease runs out and the job comes again.
                    Ok(Err(_)) | Err(_) => return,
                }
            }
        };
        if stream.write_all(&frame(&answer.encode())).await.is_err() {
            return;
        }
    }
}

/// The next message; `None` if the connection ended or sent something else.
async fn read(stream: &mut UnixStream) -> Option<ToGateway> {
    let bytes = match read_frame(stream, MAX_FROM_RECOMPUTER_BYTES).await {
        Ok(bytes) => bytes,
        Err(FrameEnd::Gone) => return None,
        Err(FrameEnd::TooLong(length)) => {
            tracing::warn!(length, "a recomputer sent too much");
            return None;
        }
    };
    ToGateway::decode(&bytes).inspect_err(|error| tracing::warn!(%error, "a recomputer sent no message")).ok()
}
