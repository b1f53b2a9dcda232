//! Reads the messages of [`protocol::link`] and [`protocol::lease`] from a socket. Never allocates by a length beyond
//! its limit.

use protocol::link::LENGTH_BYTES;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Why there is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameEnd {
    /// The connection ended, perhaps within a message.
    Gone,
    /// A message that is too long.
    TooLong(usize),
}

/// The next message's bytes.
pub(crate) async fn read_frame(
    reader: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> Result<Vec<u8>, FrameEnd> {
    let mut length = [0; LENGTH_BYTES];
    reader.read_exact(&mut length).await.map_err(|_| FrameEnd::Gone)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > limit {
        return Err(FrameEnd::TooLong(length));
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).await.map_err(|_| FrameEnd::Gone)?;
    Ok(bytes)
}
