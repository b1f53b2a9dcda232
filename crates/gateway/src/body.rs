//! Reads a request's body within a size and a time. Must never hold more than the size, nor, over all connections, more
//! than there is room for, nor wait for a client that sends one byte now and then.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::access::Timeouts;

/// Longest body of a request.
pub const MAX_BODY_BYTES: usize = 16 << 20;
/// All bodies together that are being read or looked at.
pub const ALL_BODIES_BYTES: usize = 256 << 20;
/// Room is taken in parts of this size.
const ROOM_PART_BYTES: usize = 1 << 10;

/// Room for the bodies of all connections.
#[derive(Clone, Debug)]
pub struct BodyRoom(Arc<Semaphore>);

impl BodyRoom {
    /// For so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / ROOM_PART_BYTES)))
    }

    /// Makes the room that somebody has as large as a body is now.
    fn grow(&self, held: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<(), BodyError> {
        let has = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(ROOM_PART_BYTES).saturating_sub(has);
        let more = u32::try_from(more).map_err(|_| BodyError::TooLarge)?;
        let permit = Arc::clone(&self.0).try_acquire_many_owned(more).map_err(|_| BodyError::NoRoom)?;
        match held {
            Some(held) => held.merge(permit),
            None => *held = Some(permit),
        }
        Ok(())
    }
}

/// A body, and the room that it takes until it is dropped.
#[derive(Debug)]
pub struct HeldBody {
    bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl HeldBody {
    /// The same bytes, which do not keep the room.
    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }
}

impl Deref for HeldBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Said to be, or found to be.
    #[error("the body is longer than {MAX_BODY_BYTES} bytes")]
    TooLarge,
    /// The bodies of others take all the room.
    #[error("the bodies of other requests take all the room; try again in a moment")]
    NoRoom,
    /// Nothing came for too long.
    #[error("nothing came of the body for {} ms", .0.as_millis())]
    Idle(Duration),
    /// It came too slowly.
    #[error("the body did not come within {} ms", .0.as_millis())]
    Slow(Duration),
    /// The connection ended, or the body's form is wrong.
    #[error("the body broke off")]
    Broken,
}

/// The whole body. A body that says that it is too long is refused before any of it is read.
///
/// # Errors
/// [`BodyError`].
pub async fn read_body(
    headers: &HeaderMap,
    mut body: Body,
    timeouts: Timeouts,
    room: &BodyRoom,
) -> Result<HeldBody, BodyError> {
    let said = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    // The HTTP layer has refused what is no number; one that does not fit is too large.
    let said = said.map_or(0, |said| said.parse().unwrap_or(usize::MAX));
    if said > MAX_BODY_BYTES {
        return Err(BodyError::TooLarge);
    }
    let end = Instant::now() + timeouts.body_total;
    let (mut bytes, mut held) = (Vec::new(), None);
    loop {
        let idle_end = Instant::now() + timeouts.body_idle;
        let frame = match tokio::time::timeout_at(idle_end.min(end), body.frame()).await {
            Ok(None) => return Ok(HeldBody { bytes: Bytes::from(bytes), _room: held }),
            Ok(Some(frame)) => frame.map_err(|_| BodyError::Broken)?,
            Err(_) if Instant::now() >= end => return Err(BodyError::Slow(timeouts.body_total)),
            Err(_) => return Err(BodyError::Idle(timeouts.body_idle)),
        };
        // Trailers are not used.
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > MAX_BODY_BYTES - bytes.len() {
            return Err(BodyError::TooLarge);
        }
        room.grow(&mut held, bytes.len() + data.len())?;
        bytes.extend_from_slice(&data);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::http::HeaderValue;
    use futures_util::stream::unfold;

    use super::*;

    const TIMEOUTS: Timeouts = Timeouts {
        head: Duration::from_secs(1),
        body_idle: Duration::from_secs(10),
        body_total: Duration::from_secs(60),
    };

    /// So many pieces of so many bytes, each after a pause; the clock is virtual.
    async fn read(pieces: usize, length: usize, pause_ms: u64) -> Result<usize, BodyError> {
        let pieces = unfold(0, move |sent| async move {
            if sent == pieces {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            Some((Ok::<_, Infallible>(Bytes::from(vec![0; length])), sent + 1))
        });
        let room = BodyRoom::new(ALL_BODIES_BYTES);
        read_body(&HeaderMap::new(), Body::from_stream(pieces), TIMEOUTS, &room).await.map(|body| body.len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickled_body_ends() {
        assert_eq!(read(5, 1, 9_999).await, Ok(5));
        assert_eq!(read(1, 1, 10_001).await, Err(BodyError::Idle(TIMEOUTS.body_idle)));
        // Each piece in time, all of them not.
        assert_eq!(read(6, 1, 9_999).await, Ok(6));
        let began = Instant::now();
        assert_eq!(read(7, 1, 9_999).await, Err(BodyError::Slow(TIMEOUTS.body_total)));
        assert_eq!(began.elapsed().as_secs(), 60);
        // Pieces at every moment, without an end.
        assert_eq!(read(usize::MAX, 1, 1).await, Err(BodyError::Slow(TIMEOUTS.body_total)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_a_size() {
        assert_eq!(read(16, 1 << 20, 0).await, Ok(MAX_BODY_BYTES));
        assert_eq!(read(17, 1 << 20, 0).await, Err(BodyError::TooLarge));
        for said in [MAX_BODY_BYTES.to_string(), (MAX_BODY_BYTES + 1).to_string(), "9".repeat(40)] {
            let headers =
                HeaderMap::from_iter([(header::CONTENT_LENGTH, HeaderValue::from_str(&said).unwrap())]);
            // Nothing comes, so only a length that is too large is refused without waiting.
            let body = Body::from_stream(futures_util::stream::pending::<Result<Bytes, Infallible>>());
            let began = Instant::now();
            let room = BodyRoom::new(ALL_BODIES_BYTES);
            let read = read_body(&headers, body, TIMEOUTS, &room).await.map(|body| body.len());
            if said == MAX_BODY_BYTES.to_string() {
                assert_eq!(read, Err(BodyError::Idle(TIMEOUTS.body_idle)));
            } else {
                assert_eq!((read, began.elapsed()), (Err(BodyError::TooLarge), Duration::ZERO));
            }
        }
    }

    #[tokio::test]
    async fn all_bodies_together_have_a_size() {
        let room = BodyRoom::new(4 * ROOM_PART_BYTES);
        let read = |bytes: usize| {
            let pieces = vec![Ok::<_, Infallible>(Bytes::from(vec![0; bytes])); 2];
            let body = Body::from_stream(futures_util::stream::iter(pieces));
            let room = room.clone();
            async move { read_body(&HeaderMap::new(), body, TIMEOUTS, &room).await }
        };
        let first = read(ROOM_PART_BYTES).await.unwrap();
        // Two parts are left, and a byte more takes a third.
        assert_eq!(read(ROOM_PART_BYTES + 1).await.map(|body| body.len()), Err(BodyError::NoRoom));
        let second = read(ROOM_PART_BYTES).await.unwrap();
        assert_eq!(read(1).await.map(|body| body.len()), Err(BodyError::NoRoom));
        assert_eq!(read(0).await.map(|body| body.len()), Ok(0));
        // What was refused halfway has given its room back, and what was looked at does.
        drop(first);
        assert_eq!(read(ROOM_PART_BYTES).await.map(|body| body.len()), Ok(2 * ROOM_PART_BYTES));
        assert_eq!(second.bytes().len(), 2 * ROOM_PART_BYTES);
    }
}
