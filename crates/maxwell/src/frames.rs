//! Reads the messages of [`protocol::link`] and [`protocol::lease`], and the lines of [`hypervisor::wire`], from a blocking stream. Never allocates by a length
//! beyond its limit.

use std::io::{BufRead, Read};

use anyhow::bail;
use hypervisor::wire::WireError;
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

/// The next line with its end; empty at the end of the connection.
pub(crate) fn read_line(reader: &mut impl BufRead, most: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.by_ref().take(most as u64).read_until(b'\n', &mut bytes)?;
    if bytes.len() == most && bytes.last() != Some(&b'\n') {
        return Err(WireError::TooLong(most).into());
    }
    Ok(bytes)
}
