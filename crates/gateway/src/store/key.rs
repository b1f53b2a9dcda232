//! The key of a store, its envelope, and what it seals. Key bytes must never reach a log, an error or `Debug`.
//!
//! One key belongs to one store for its whole life: nonces are sequence numbers. The one case in which a sequence is
//! sealed twice is a record that was never acknowledged, was lost with the torn end of the log, and whose place was
//! given to another. AES-GCM-SIV (RFC 8452) is chosen for it: a repeated nonce tells whether the two records are
//! equal, and nothing more.

use std::fmt;

use aes_gcm_siv::aead::{Aead, Payload};
use aes_gcm_siv::{Aes256GcmSiv, KeyInit, Nonce};
use zeroize::Zeroizing;

use crate::store::error::StoreError;
use crate::store::segment::{ChainHash, SegmentHeader, Sequence};

/// Length of every key in bytes.
pub const KEY_BYTES: usize = 32;
/// Domain of the key that tags segment headers (BLAKE3 `derive_key` context).
const HEADER_TAG_CONTEXT: &str = "maxwell 2026-11 store segment header v1";
/// First bytes of an envelope.
const ENVELOPE_MAGIC: &[u8; 8] = b"MXSTKEY1";
/// Length of a nonce in bytes.
const NONCE_BYTES: usize = 12;

/// Defines one key: 32 secret bytes, overwritten when dropped.
macro_rules! secret_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Zeroizing<[u8; KEY_BYTES]>);

        impl $name {
            /// Takes the 32 bytes as they are.
            pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
                Self(Zeroizing::new(bytes))
            }

            /// A new key from the system's random numbers.
            pub fn generate() -> Result<Self, StoreError> {
                let mut key = Self::from_bytes([0; KEY_BYTES]);
                fill_random(key.0.as_mut_slice())?;
                Ok(key)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(secret)"))
            }
        }
    };
}

secret_key! {
    /// Seals the records of one store.
    StoreKey
}
secret_key! {
    /// Seals a [`StoreKey`] so that it can be kept on a disk.
    SealingKey
}

/// An envelope that only the sealing key opens: magic, random nonce, sealed key.
pub fn seal_key(key: &StoreKey, sealing_key: &SealingKey) -> Result<Vec<u8>, StoreError> {
    let mut nonce = [0; NONCE_BYTES];
    fill_random(&mut nonce)?;
    let sealed = cipher(&sealing_key.0)
        .encrypt(&Nonce::from(nonce), Payload { msg: key.0.as_slice(), aad: ENVELOPE_MAGIC })
        .expect("32 bytes are within the limits of AES-GCM-SIV");
    Ok([ENVELOPE_MAGIC.as_slice(), &nonce, &sealed].concat())
}

/// The key in an envelope of [`seal_key`].
pub fn open_key(envelope: &[u8], sealing_key: &SealingKey) -> Result<StoreKey, StoreError> {
    let rest = envelope.strip_prefix(ENVELOPE_MAGIC.as_slice()).ok_or(StoreError::Envelope)?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(StoreError::Envelope)?;
    let opened = cipher(&sealing_key.0)
        .decrypt(&Nonce::from(*nonce), Payload { msg: sealed, aad: ENVELOPE_MAGIC })
        .map_err(|_| StoreError::Envelope)?;
    let opened = Zeroizing::new(opened);
    opened.as_slice().try_into().map(StoreKey::from_bytes).map_err(|_| StoreError::Envelope)
}

/// Seals and opens records and tags segment headers.
pub(crate) struct Sealer {
    cipher: Aes256GcmSiv,
    header_key: Zeroizing<[u8; KEY_BYTES]>,
}

impl Sealer {
    pub(crate) fn new(key: &StoreKey) -> Self {
        Self {
            cipher: cipher(&key.0),
            header_key: Zeroizing::new(blake3::derive_key(HEADER_TAG_CONTEXT, key.0.as_slice())),
        }
    }

    /// The ciphertext of a record that follows the one with chain hash `previous`.
    pub(crate) fn seal(&self, sequence: Sequence, kind: u8, previous: &ChainHash, content: &[u8]) -> Vec<u8> {
        let aad = associated_data(sequence, kind, previous);
        self.cipher
            .encrypt(&record_nonce(sequence), Payload { msg: content, aad: &aad })
            .expect("a record is shorter than the 64 GiB limit of AES-GCM-SIV")
    }

    /// The content of a record, if all of it is as it was sealed.
    pub(crate) fn open(
        &self,
        sequence: Sequence,
        kind: u8,
        previous: &ChainHash,
        ciphertext: &[u8],
    ) -> Option<Vec<u8>> {
        let aad = associated_data(sequence, kind, previous);
        self.cipher.decrypt(&record_nonce(sequence), Payload { msg: ciphertext, aad: &aad }).ok()
    }

    /// A header with its tag.
    pub(crate) fn header(&self, first: Sequence, oldest: Sequence, previous: ChainHash) -> SegmentHeader {
        let header = SegmentHeader { first, oldest, previous, tag: [0; 32] };
        SegmentHeader { tag: *self.tag(&header).as_bytes(), ..header }
    }

    /// Whether a header was made with this key.
    pub(crate) fn made(&self, header: &SegmentHeader) -> bool {
        // `blake3::Hash` compares in constant time.
        self.tag(header) == blake3::Hash::from_bytes(header.tag)
    }

    fn tag(&self, header: &SegmentHeader) -> blake3::Hash {
        blake3::keyed_hash(&self.header_key, &header.tagged_bytes())
    }
}

fn cipher(key: &[u8; KEY_BYTES]) -> Aes256GcmSiv {
    // By reference, so that no copy of the key stays on the stack.
    Aes256GcmSiv::new(key.into())
}

/// 32 zero bits and the sequence, which no two acknowledged records share.
fn record_nonce(sequence: Sequence) -> Nonce {
    let mut nonce = [0; NONCE_BYTES];
    nonce[4..].copy_from_slice(&sequence.as_u64().to_be_bytes());
    Nonce::from(nonce)
}

fn associated_data(sequence: Sequence, kind: u8, previous: &ChainHash) -> Vec<u8> {
    [sequence.as_u64().to_be_bytes().as_slice(), &[kind], previous.as_bytes()].concat()
}

fn fill_random(bytes: &mut [u8]) -> Result<(), StoreError> {
    getrandom::fill(bytes).map_err(|error| StoreError::Random { reason: error.to_string() })
}
