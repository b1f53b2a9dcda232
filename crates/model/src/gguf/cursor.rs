//! A position in the file that only moves forward, past bytes that exist.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::unwrap_used
)]

use crate::error::Error;

/// Reads little-endian numbers from the front of what remains.
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(file: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: file, len: file.len() }
    }

    /// Where in the file the next byte is.
    pub(super) fn position(&self) -> usize {
        self.len.saturating_sub(self.rest.len())
    }

    /// The same as a 64-bit number.
    pub(super) fn offset(&self) -> u64 {
        wide(self.position())
    }

    /// Length of the whole file.
    pub(super) fn len(&self) -> u64 {
        wide(self.len)
    }

    /// Bytes not yet read.
    pub(super) fn remaining(&self) -> u64 {
        wide(self.rest.len())
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, what: &'static str, count: u64) -> Result<&'a [u8], Error> {
        let split = usize::try_from(count).ok().and_then(|count| self.rest.split_at_checked(count));
        let Some((taken, rest)) = split else {
            return Err(Error::Truncated { what, offset: self.offset(), need: count, len: wide(self.len) });
        };
        self.rest = rest;
        Ok(taken)
    }

    /// The next `count` bytes, or fewer at the end of the file.
    pub(super) fn take_up_to(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at_checked(count).unwrap_or((self.rest, &[]));
        self.rest = rest;
        taken
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Error> {
        let Some((&taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(Error::Truncated { what, offset: self.offset(), need: wide(N), len: wide(self.len) });
        };
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn u8(&mut self, what: &'static str) -> Result<u8, Error> {
        self.array(what).map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, Error> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, Error> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, Error> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A 64-bit count that must not exceed `limit`.
    pub(super) fn count(&mut self, what: &'static str, limit: u64) -> Result<u64, Error> {
        let offset = self.offset();
        let count = self.u64(what)?;
        if count > limit {
            return Err(Error::CountLimit { what, offset, count, limit });
        }
        Ok(count)
    }
}

/// A length in memory as a 64-bit number.
pub(super) fn wide(length: usize) -> u64 {
    u64::try_from(length).expect("memory is addressed with at most 64 bits")
}
