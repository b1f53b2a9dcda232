//! Why bytes or values were refused. An error never is a verdict: it must never say that somebody lied.

use crate::group_tree::GroupReason;
use crate::id::ModelCommitment;
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
    /// A message that is longer than any may be.
    #[error("the message has {length} bytes, the limit is {limit}")]
    FrameSize {
        /// Length of the input in bytes.
        length: usize,
        /// The limit of this direction.
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
        "the numerics name must be 1 to 64 characters out of a-z, 0-9, '.' and '-', such as maxwell-ie5-1"
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
    /// Log-probabilities that were asked for come with each output token, in the number that was asked for at most.
    #[error(
        "the claim has {logprobs} log-probabilities with {top} ranked tokens each for {outputs} output tokens; it needs one for each, within the limits"
    )]
    LogprobCount {
        /// How many there are.
        logprobs: usize,
        /// How many ranked tokens were asked for.
        top: u8,
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
    /// A written key that begins otherwise.
    #[error("{kind} begins with {prefix}; this is something else")]
    KeyPrefix {
        /// What should be there.
        kind: &'static str,
        /// What it begins with.
        prefix: &'static str,
    },
    /// A written key of another length.
    #[error("{kind} is written with {expected} characters, found {length} bytes of text")]
    KeyLength {
        /// What should be there.
        kind: &'static str,
        /// Bytes of text found.
        length: usize,
        /// KEY_TEXT_BYTES.
        expected: usize,
    },
    /// A written key with a character that is not a lower-case hexadecimal digit.
    #[error("{kind} is written in hexadecimal digits 0-9 and a-f, found another character among them")]
    KeyDigit {
        /// What should be there.
        kind: &'static str,
    },
    /// A written key with a digit changed.
    #[error("the checksum of {kind} is wrong: a character was changed; copy the key again")]
    KeyChecksum {
        /// What should be there.
        kind: &'static str,
    },
    /// Bytes that are no verifying key.
    #[error("these 32 bytes are no verifying key: not a canonical point of Ed25519's prime-order group")]
    VerifyingKeyPoint,
    /// A signature that the key's owner did not make on this message.
    #[error("the signature is not the key's on these bytes")]
    Signature,
    /// The name of an object that this build can't verify.
    #[error(transparent)]
    TreeHead(GroupReason),
    /// Leaf hashes for another number of groups.
    #[error("the outboard has {length} bytes of leaf hashes, the object's groups need {expected}")]
    OutboardLength {
        /// What is there.
        length: u64,
        /// 32 for each group.
        expected: u64,
    },
    /// A message that is longer than any of its kind.
    #[error("the {what} has {length} bytes, the limit is {limit}")]
    MessageSize {
        /// Which message.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The longest that is accepted.
        limit: usize,
    },
    /// A name of a model with other characters than the whitelist allows, or an empty one.
    #[error(
        "a whitelist's model name must be 1 to 64 characters out of a-z, 0-9, '.', '-' and '_', not beginning with '.'"
    )]
    ModelName,
    /// A list that must ascend and hold everything once.
    #[error(
        "the whitelist's {list} must ascend by {by}, each once; item {index} does not follow the one before it"
    )]
    ListOrder {
        /// Which list.
        list: &'static str,
        /// What orders it.
        by: &'static str,
        /// The first item out of order, counted from 0.
        index: usize,
    },
    /// Two entries for one model.
    #[error("the whitelist has the model {model} twice: it would have two names")]
    DuplicateModel {
        /// The model.
        model: ModelCommitment,
    },
    /// A list in a whitelist that is longer than the format allows.
    #[error("the whitelist has {length} {list}, the limit is {limit}")]
    WhitelistLength {
        /// Which list.
        list: &'static str,
        /// Its length.
        length: usize,
        /// The longest that is accepted.
        limit: u64,
    },
    /// A receipt of another version.
    #[error("the receipt has version {found}, this build writes version {supported} only")]
    ReceiptVersion {
        /// The version it states.
        found: u32,
        /// The version this build writes.
        supported: u32,
    },
    /// A receipt whose claim does not go with its mode and finish.
    #[error("a receipt carries a claim digest exactly if its mode is exact and the answer is complete")]
    ReceiptClaim,
    /// An epoch with more answers or models than the format allows, or without a model.
    #[error("the epoch has {leaves} answers and {models} models; at most 1048576 and 1 to 64 are allowed")]
    EpochLimits {
        /// Its answers.
        leaves: u64,
        /// Its models.
        models: u64,
    },
    /// Models of an epoch that do not ascend, each once.
    #[error("the epoch's models must ascend by their commitment, each once")]
    ModelOrder,
    /// An epoch's file whose tree is not the one of its checkpoint.
    #[error("the file has {leaves} answers, but the checkpoint says {size}")]
    EpochSize {
        /// In the file.
        leaves: u64,
        /// In the checkpoint.
        size: u64,
    },
}
