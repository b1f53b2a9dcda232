//! Reads the messages of [`protocol::link`] and [`protocol::lease`] from a blocking stream. Never allocates by a length
//! beyond its limit.

use std::io::Read;

use anyhow::bail;
use protocol::link::LENGTH_BYTES;

/// The next message's bytes; `None` if the gateway ended the connection.
pub(crate) fn read_frame(reader: &mut impl Read, limit: usize) -> anyhow::Result<Option<Vec<u8>>> {
    let mut length = [0; LENGTH_BYTES];
    if reader.read_exact(&mut length).is_err() {
        return Ok(None);
    }
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > limit {
        bail!("the gateway sent a message of {length} bytes; the limit is {limit}");
    }
    let mut bytes = vec![0; length];
    Ok(reader.read_exact(&mut bytes).is_ok().then_some(bytes))
}
