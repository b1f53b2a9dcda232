//! The one byte form of everything that is hashed or sent: CBOR in the core deterministic encoding of RFC 8949
//! section 4.2.1. The decoder must never accept two byte strings for one value, panic, or allocate by a length
//! that its caller has not capped.
//!
//! Supported: integers, byte strings, text, arrays, maps, booleans, null. No floats, tags, other simple values or
//! indefinite lengths. A structure is an array that begins with a text tag and a version; its fields follow in a
//! fixed order, so it needs no keys.

use std::collections::BTreeMap;

use crate::error::Error;

#[cfg(test)]
mod tests;

// Major types (RFC 8949 section 3.1), already in the upper three bits.
const UNSIGNED: u8 = 0x00;
const NEGATIVE: u8 = 0x20;
const BYTES: u8 = 0x40;
const TEXT: u8 = 0x60;
const ARRAY: u8 = 0x80;
const MAP: u8 = 0xa0;
const TAG: u8 = 0xc0;
const MAJOR_MASK: u8 = 0xe0;
const INFO_MASK: u8 = 0x1f;

const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
const NULL: u8 = 0xf6;

/// Arguments below this are part of the initial byte.
const INLINE_LIMIT: u8 = 24;
/// Longest structure tag in bytes.
const TAG_BYTES_MAX: u64 = 64;
/// Most items that a structure may have, tag and version included.
const STRUCTURE_ITEMS_MAX: u64 = 64;
/// Items of a structure before its fields: tag and version.
const STRUCTURE_LEAD: u64 = 2;

/// Writes canonical CBOR to a buffer that it owns.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// An empty encoder.
    pub fn new() -> Self {
        Self::default()
    }

    /// An encoder whose bytes begin with `prefix`, as [`Decoder::after_prefix`] reads them.
    pub fn after_prefix(prefix: &[u8]) -> Self {
        Self { bytes: prefix.to_vec() }
    }

    /// Makes room for so many more bytes.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// Ends the message and gives its bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// An integer from 0 to 2^64 - 1.
    pub fn unsigned(&mut self, value: u64) {
        self.head(UNSIGNED, value);
    }

    /// An integer of either sign.
    pub fn signed(&mut self, value: i64) {
        match u64::try_from(value) {
            Ok(value) => self.head(UNSIGNED, value),
            // CBOR writes a negative v as -1 - v, which is the bitwise complement.
            Err(_) => self.head(NEGATIVE, (!value).unsigned_abs()),
        }
    }

    /// A byte string.
    pub fn bytes(&mut self, value: &[u8]) {
        self.head(BYTES, length_u64(value.len()));
        self.bytes.extend_from_slice(value);
    }

    /// A text string.
    pub fn text(&mut self, value: &str) {
        self.head(TEXT, length_u64(value.len()));
        self.bytes.extend_from_slice(value.as_bytes());
    }

    /// The header of an array; the caller writes exactly `items` items after it.
    pub fn array_header(&mut self, items: usize) {
        self.head(ARRAY, length_u64(items));
    }

    /// A map of encoded keys to encoded values. The sorted map gives the canonical order and keeps keys unique.
    pub fn map(&mut self, entries: &BTreeMap<Vec<u8>, Vec<u8>>) {
        self.head(MAP, length_u64(entries.len()));
        for (key, value) in entries {
            self.bytes.extend_from_slice(key);
            self.bytes.extend_from_slice(value);
        }
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, value: bool) {
        self.bytes.push(if value { TRUE } else { FALSE });
    }

    /// Null, which stands for an absent value.
    pub fn null(&mut self) {
        self.bytes.push(NULL);
    }

    /// The head of a structure: an array of `fields + 2` items, its tag and its version. The caller writes
    /// exactly `fields` items after it.
    pub fn structure(&mut self, tag: &'static str, version: u32, fields: u64) {
        self.head(ARRAY, fields.saturating_add(STRUCTURE_LEAD));
        self.text(tag);
        self.unsigned(u64::from(version));
    }

    /// A list of unsigned integers as an array.
    pub fn list_u32(&mut self, values: &[u32]) {
        self.array_header(values.len());
        for value in values {
            self.unsigned(u64::from(*value));
        }
    }

    /// Initial byte and argument, the argument in the fewest bytes.
    fn head(&mut self, major: u8, argument: u64) {
        if let Ok(argument) = u8::try_from(argument) {
            if argument < INLINE_LIMIT {
                self.bytes.push(major | argument);
            } else {
                self.bytes.extend_from_slice(&[major | 24, argument]);
            }
        } else if let Ok(argument) = u16::try_from(argument) {
            self.bytes.push(major | 25);
            self.bytes.extend_from_slice(&argument.to_be_bytes());
        } else if let Ok(argument) = u32::try_from(argument) {
            self.bytes.push(major | 26);
            self.bytes.extend_from_slice(&argument.to_be_bytes());
        } else {
            self.bytes.push(major | 27);
            self.bytes.extend_from_slice(&argument.to_be_bytes());
        }
    }
}

/// Reads canonical CBOR from a slice, item by item. Every method names what it expects, for the error message.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    input: &'a [u8],
    rest: &'a [u8],
}

/// Remembers the last key of the map that is being read; see [`Decoder::map_header`].
#[derive(Clone, Debug, Default)]
pub struct MapKeys<'a> {
    previous: Option<&'a [u8]>,
}

impl<'a> Decoder<'a> {
    /// Reads from the start of `input`.
    pub fn new(input: &'a [u8]) -> Self {
        Self { input, rest: input }
    }

    /// Reads from behind `prefix`, whose bytes still count in offsets. `None` if the input begins otherwise.
    pub fn after_prefix(input: &'a [u8], prefix: &[u8]) -> Option<Self> {
        input.strip_prefix(prefix).map(|rest| Self { input, rest })
    }

    /// Offset of the next item in bytes from the start of the input.
    pub fn offset(&self) -> usize {
        // `rest` always is a tail of `input`.
        self.input.len().saturating_sub(self.rest.len())
    }

    /// An integer from 0 to 2^64 - 1.
    pub fn unsigned(&mut self, expected: &'static str) -> Result<u64, Error> {
        self.head(UNSIGNED, expected)
    }

    /// An integer from 0 to 2^32 - 1.
    pub fn unsigned_u32(&mut self, expected: &'static str) -> Result<u32, Error> {
        let offset = self.offset();
        u32::try_from(self.unsigned(expected)?).map_err(|_| Error::IntegerRange { offset, expected })
    }

    /// An integer from -2^63 to 2^63 - 1.
    pub fn signed(&mut self, expected: &'static str) -> Result<i64, Error> {
        let offset = self.offset();
        let negative = self.peek(expected)? & MAJOR_MASK == NEGATIVE;
        let argument = self.head(if negative { NEGATIVE } else { UNSIGNED }, expected)?;
        let value = i64::try_from(argument).map_err(|_| Error::IntegerRange { offset, expected })?;
        Ok(if negative { !value } else { value })
    }

    /// A byte string of at most `limit` bytes.
    pub fn bytes(&mut self, limit: u64, expected: &'static str) -> Result<&'a [u8], Error> {
        let offset = self.offset();
        let length = self.head(BYTES, expected)?;
        self.content(offset, length, limit, expected)
    }

    /// A byte string of exactly `N` bytes.
    pub fn bytes_exact<const N: usize>(&mut self, expected: &'static str) -> Result<[u8; N], Error> {
        let offset = self.offset();
        let length = self.head(BYTES, expected)?;
        let fixed = length_u64(N);
        if length != fixed {
            return Err(Error::FixedLength { offset, what: expected, length, expected: fixed });
        }
        let content = self.content(offset, length, fixed, expected)?;
        content.try_into().map_err(|_| Error::Truncated { offset, expected })
    }

    /// A text string of at most `limit` bytes.
    pub fn text(&mut self, limit: u64, expected: &'static str) -> Result<&'a str, Error> {
        let offset = self.offset();
        let length = self.head(TEXT, expected)?;
        let content = self.content(offset, length, limit, expected)?;
        std::str::from_utf8(content).map_err(|_| Error::NotUtf8 { offset, expected })
    }

    /// The header of an array of at most `limit` items.
    ///
    /// The count that it gives is at most the number of bytes left, since each item takes one byte or more, so it
    /// is safe to reserve memory by it.
    pub fn array_header(&mut self, limit: u64, expected: &'static str) -> Result<usize, Error> {
        let offset = self.offset();
        let items = self.head(ARRAY, expected)?;
        self.count(offset, items, limit, 1, expected)
    }

    /// The header of an array of exactly `items` items.
    pub fn array_exact(&mut self, items: u64, expected: &'static str) -> Result<(), Error> {
        let offset = self.offset();
        match self.head(ARRAY, expected)? {
            length if length == items => Ok(()),
            length => Err(Error::FixedLength { offset, what: expected, length, expected: items }),
        }
    }

    /// The header of a map of at most `limit` entries. Read each key through [`Decoder::map_key`] with the
    /// [`MapKeys`] that this gives, then its value.
    pub fn map_header(&mut self, limit: u64, expected: &'static str) -> Result<(usize, MapKeys<'a>), Error> {
        let offset = self.offset();
        let entries = self.head(MAP, expected)?;
        let entries = self.count(offset, entries, limit, 2, expected)?;
        Ok((entries, MapKeys::default()))
    }

    /// A map key, read by `read`; refuses it unless it is greater than the key before it.
    pub fn map_key<T>(
        &mut self,
        keys: &mut MapKeys<'a>,
        read: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let offset = self.offset();
        let before = self.rest;
        let key = read(self)?;
        let taken = before.len().saturating_sub(self.rest.len());
        let encoded = before.get(..taken).ok_or(Error::MapKeyOrder { offset })?;
        if keys.previous.is_some_and(|previous| previous >= encoded) {
            return Err(Error::MapKeyOrder { offset });
        }
        keys.previous = Some(encoded);
        Ok(key)
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, expected: &'static str) -> Result<bool, Error> {
        let value = match self.peek(expected)? {
            TRUE => true,
            FALSE => false,
            other => return Err(self.unexpected(expected, other)),
        };
        self.skip_initial_byte();
        Ok(value)
    }

    /// Null gives `None`; anything else is read by `read`.
    pub fn optional<T>(
        &mut self,
        expected: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        if self.peek(expected)? == NULL {
            self.skip_initial_byte();
            return Ok(None);
        }
        read(self).map(Some)
    }

    /// The head of a structure with exactly this tag, version and number of fields.
    ///
    /// The version is compared before the number of fields, so that a newer structure is called newer and not
    /// broken.
    pub fn structure(&mut self, tag: &'static str, version: u32, fields: u64) -> Result<(), Error> {
        let start = self.offset();
        let items = self.array_header(STRUCTURE_ITEMS_MAX, tag)?;
        let offset = self.offset();
        if self.text(TAG_BYTES_MAX, tag)? != tag {
            return Err(Error::StructureTag { offset, expected: tag });
        }
        let offset = self.offset();
        let found = self.unsigned("a structure version")?;
        if found != u64::from(version) {
            return Err(Error::StructureVersion { offset, tag, found, supported: version });
        }
        let length = length_u64(items);
        let expected = fields.saturating_add(STRUCTURE_LEAD);
        if length != expected {
            return Err(Error::FixedLength { offset: start, what: tag, length, expected });
        }
        Ok(())
    }

    /// An array of at most `limit` integers from 0 to 2^32 - 1.
    pub fn list_u32(&mut self, limit: u64, expected: &'static str) -> Result<Vec<u32>, Error> {
        let items = self.array_header(limit, expected)?;
        let mut values = Vec::with_capacity(items);
        for _ in 0..items {
            values.push(self.unsigned_u32(expected)?);
        }
        Ok(values)
    }

    /// Refuses anything after the message.
    pub fn finish(self) -> Result<(), Error> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(Error::TrailingBytes { offset: self.offset(), count }),
        }
    }

    /// The next initial byte, which stays unread.
    fn peek(&self, expected: &'static str) -> Result<u8, Error> {
        self.rest.first().copied().ok_or(Error::Truncated { offset: self.offset(), expected })
    }

    /// Moves behind a byte that [`Decoder::peek`] has seen.
    fn skip_initial_byte(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or_default();
    }

    /// The argument of an item of type `major`, which must be in its shortest form.
    fn head(&mut self, major: u8, expected: &'static str) -> Result<u64, Error> {
        let offset = self.offset();
        let initial = self.peek(expected)?;
        if initial & MAJOR_MASK != major {
            return Err(self.unexpected(expected, initial));
        }
        self.skip_initial_byte();
        let (argument, smallest) = match initial & INFO_MASK {
            24 => (u64::from(u8::from_be_bytes(self.take(offset, expected)?)), u64::from(INLINE_LIMIT)),
            25 => (u64::from(u16::from_be_bytes(self.take(offset, expected)?)), 1 << 8),
            26 => (u64::from(u32::from_be_bytes(self.take(offset, expected)?)), 1 << 16),
            27 => (u64::from_be_bytes(self.take(offset, expected)?), 1 << 32),
            28..=30 => return Err(Error::ReservedInitialByte { offset, expected }),
            31 => return Err(Error::IndefiniteLength { offset, expected }),
            inline => (u64::from(inline), 0),
        };
        if argument < smallest {
            return Err(Error::NotShortest { offset, expected });
        }
        Ok(argument)
    }

    /// The next `N` bytes of an item that starts at `offset`.
    fn take<const N: usize>(&mut self, offset: usize, expected: &'static str) -> Result<[u8; N], Error> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Error::Truncated { offset, expected })?;
        self.rest = rest;
        Ok(*taken)
    }

    /// The content of a string that starts at `offset`.
    fn content(
        &mut self,
        offset: usize,
        length: u64,
        limit: u64,
        what: &'static str,
    ) -> Result<&'a [u8], Error> {
        let length = self.count(offset, length, limit, 1, what)?;
        let (content, rest) =
            self.rest.split_at_checked(length).ok_or(Error::Truncated { offset, expected: what })?;
        self.rest = rest;
        Ok(content)
    }

    /// A length that is within `limit` and, at `bytes_each` or more per unit, within the input.
    fn count(
        &self,
        offset: usize,
        length: u64,
        limit: u64,
        bytes_each: u64,
        what: &'static str,
    ) -> Result<usize, Error> {
        if length > limit {
            return Err(Error::OverLimit { offset, what, length, limit });
        }
        if length.saturating_mul(bytes_each) > length_u64(self.rest.len()) {
            return Err(Error::Truncated { offset, expected: what });
        }
        usize::try_from(length).map_err(|_| Error::OverLimit { offset, what, length, limit })
    }

    /// The error for an initial byte of the wrong type.
    fn unexpected(&self, expected: &'static str, initial: u8) -> Error {
        Error::UnexpectedItem { offset: self.offset(), expected, found: item_name(initial) }
    }
}

/// What an initial byte announces, for error messages.
fn item_name(initial: u8) -> &'static str {
    match (initial & MAJOR_MASK, initial) {
        (UNSIGNED, _) => "an unsigned integer",
        (NEGATIVE, _) => "a negative integer",
        (BYTES, _) => "a byte string",
        (TEXT, _) => "a text string",
        (ARRAY, _) => "an array",
        (MAP, _) => "a map",
        (TAG, _) => "a tag",
        (_, FALSE | TRUE) => "a boolean",
        (_, NULL) => "null",
        (_, 0xf9..=0xfb) => "a float",
        (_, 0xff) => "the end of an indefinite length",
        _ => "a simple value",
    }
}

/// A length in memory as the integer that the format holds.
fn length_u64(length: usize) -> u64 {
    // Rust has no target with a wider usize; the decoder would refuse the replacement as over its limit.
    u64::try_from(length).unwrap_or(u64::MAX)
}
