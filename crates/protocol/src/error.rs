//! Why bytes or values were refused. An error never is a verdict: it must never say that somebody lied.

use crate::settings::SettingLimit;

/// Every way in which this crate refuses its input.
///
/// `offset` is a byte offset from the start of the slice that was given to the decoder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The input is shorter than what its own headers announce.
    #[error("byte {offset}: expected {expected}, but the input ends; send the whole message")]
    Truncated {
        /// Where the missing item starts.
        offset: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// An item of another type than the format has at this place.
    #[error("byte {offset}: expected {expected}, found {found}")]
    UnexpectedItem {
        /// Where the item starts.
        offset: usize,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// A length or integer in more bytes than it needs.
    #[error(
        "byte {offset}: expected {expected} in its shortest form; only the canonical encoding is accepted"
    )]
    NotShortest {
        /// Where the item starts.
        offset: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// An item without a length (RFC 8949 section 3.2).
    #[error("byte {offset}: expected {expected} with a stated length; indefinite lengths are not canonical")]
    IndefiniteLength {
        /// Where the item starts.
        offset: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// Additional information 28 to 30, which RFC 8949 reserves.
    #[error("byte {offset}: expected {expected}, found a reserved initial byte; this is not CBOR")]
    ReservedInitialByte {
        /// Where the item starts.
        offset: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// An integer beyond the range that this place holds.
    #[error("byte {offset}: expected {expected}, but the integer does not fit")]
    IntegerRange {
        /// Where the integer starts.
        offset: usize,
        /// What should be there, with its range.
        expected: &'static str,
    },
    /// A length beyond the limit for this place.
    #[error("byte {offset}: {what} has length {length}, the limit is {limit}")]
    OverLimit {
        /// Where the item starts.
        offset: usize,
        /// What is too long.
        what: &'static str,
        /// Its stated length.
        length: u64,
        /// The longest that is accepted.
        limit: u64,
    },
    /// A list or byte string whose length is fixed by the format.
    #[error("byte {offset}: {what} has length {length}, the format fixes it at {expected}")]
    FixedLength {
        /// Where the item starts.
        offset: usize,
        /// What has the wrong length.
        what: &'static str,
        /// Its stated length.
        length: u64,
        /// The only length that is accepted.
        expected: u64,
    },
    /// A text string that is not UTF-8.
    #[error("byte {offset}: expected {expected}, but the bytes are not UTF-8")]
    NotUtf8 {
        /// Where the text item starts.
        offset: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// Map keys out of order, or the same key twice.
    #[error(
        "byte {offset}: expected a map key greater than the one before it (bytewise order of the encoded keys, RFC 8949 section 4.2.1)"
    )]
    MapKeyOrder {
        /// Where the key starts.
        offset: usize,
    },
    /// Bytes after the end of the message.
    #[error("byte {offset}: expected the end of the input, but {count} more bytes follow")]
    TrailingBytes {
        /// Where the message ends.
        offset: usize,
        /// How many bytes are left.
        count: usize,
    },
    /// A structure that begins with another name.
    #[error("byte {offset}: expected the structure tag \"{expected}\"")]
    StructureTag {
        /// Where the tag starts.
        offset: usize,
        /// The tag that should be there.
        expected: &'static str,
    },
    /// A structure of another version.
    #[error("byte {offset}: {tag} has version {found}, this build reads version {supported} only")]
    StructureVersion {
        /// Where the version starts.
        offset: usize,
        /// Which structure.
        tag: &'static str,
        /// The version it states.
        found: u64,
        /// The version this build reads.
        supported: u32,
    },
    /// A name that is not in the format's closed list, or that stands with the wrong number of items.
    #[error("byte {offset}: expected {expected}, found another name or number of items")]
    UnknownName {
        /// Where the name starts.
        offset: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// A field coordinate that is not reduced.
    #[error("byte {offset}: expected a coordinate below the Goldilocks prime 2^64 - 2^32 + 1, found {value}")]
    UnreducedCoordinate {
        /// Where the coordinate starts, or 0 for a value that did not come from bytes.
        offset: usize,
        /// The coordinate.
        value: u64,
    },
    /// The first bytes are not the claim's magic.
    #[error("byte 0: expected the eight bytes MXCLAIM1; this is not a Maxwell claim")]
    ClaimMagic,
    /// A claim that is longer than any claim may be.
    #[error("the claim has {length} bytes, the limit is {limit}")]
    ClaimSize {
        /// Length of the input in bytes.
        length: usize,
        /// MAX_CLAIM_BYTES.
        limit: usize,
    },
    /// A claim of another version.
    #[error("the claim has version {found}, this build writes version {supported} only")]
    ClaimVersion {
        /// The version it states.
        found: u32,
        /// The version this build writes.
        supported: u32,
    },
    /// A list in a claim that is longer than the format allows.
    #[error("the claim's {field} has length {length}, the limit is {limit}")]
    ClaimField {
        /// The field's name.
        field: &'static str,
        /// Its length.
        length: usize,
        /// The longest that is accepted.
        limit: u64,
    },
    /// A numerics name with other characters than the format allows, or an empty one.
    #[error(
        "the claim's numerics name must be 1 to 64 characters out of a-z, 0-9, '.' and '-', such as maxwell-ie5-1"
    )]
    NumericsName,
    /// A claim needs one fingerprint for each output token.
    #[error(
        "the claim has {fingerprints} logit fingerprints for {outputs} output tokens; it needs one for each"
    )]
    FingerprintCount {
        /// How many fingerprints there are.
        fingerprints: usize,
        /// How many output tokens there are.
        outputs: usize,
    },
    /// A setting outside of its limits.
    #[error(transparent)]
    Setting(#[from] SettingLimit),
    /// An identifier written with the wrong number of characters.
    #[error("{kind} is written as 64 hexadecimal digits, found {length} bytes of text")]
    HexLength {
        /// The identifier's type.
        kind: &'static str,
        /// Bytes of text found.
        length: usize,
    },
    /// An identifier with a character that is not a hexadecimal digit.
    #[error("{kind} is written as 64 hexadecimal digits, found another character among them")]
    HexDigit {
        /// The identifier's type.
        kind: &'static str,
    },
}
