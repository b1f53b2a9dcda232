//! 32-byte identifiers and digests as types of their own, so that one is never passed for another.
//! Nothing here may compute a digest: the module that owns the meaning does.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// Length of every identifier in bytes.
pub const ID_BYTES: usize = 32;

/// Defines one identifier: 32 bytes, written as 64 hexadecimal digits.
macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; ID_BYTES]);

        impl $name {
            /// Takes the 32 bytes as they are.
            pub const fn from_bytes(bytes: [u8; ID_BYTES]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            /// 64 lower-case hexadecimal digits.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), hex::encode(self.0))
            }
        }

        impl FromStr for $name {
            type Err = Error;

            /// Reads 64 hexadecimal digits of either case.
            fn from_str(text: &str) -> Result<Self, Error> {
                let mut bytes = [0u8; ID_BYTES];
                match hex::decode_to_slice(text, &mut bytes) {
                    Ok(()) => Ok(Self(bytes)),
                    Err(hex::FromHexError::InvalidHexCharacter { .. }) => {
                        Err(Error::HexDigit { kind: stringify!($name) })
                    }
                    Err(hex::FromHexError::OddLength | hex::FromHexError::InvalidStringLength) => {
                        Err(Error::HexLength { kind: stringify!($name), length: text.len() })
                    }
                }
            }
        }
    };
}

identifier! {
    /// Identity of a model: weights, tokenizer, chat template, configuration, formats, tables and numerics class.
    ModelCommitment
}
identifier! {
    /// What whoever checks the claim gave out for one request, so that an old answer does not fit.
    Nonce
}
identifier! {
    /// What the user chose for the sampling; the same value and nonce give the same draws.
    ClientSeed
}
identifier! {
    /// Seed of all draws of one request, derived by [`crate::seed::derive_seed`].
    Seed
}
identifier! {
    /// Digest of a claim's canonical bytes.
    ClaimDigest
}
identifier! {
    /// Digest of the chat template that turned messages into the prompt.
    TemplateDigest
}
identifier! {
    /// Digest of a verifying key, see [`crate::keys::VerifyingKey::id`].
    KeyId
}
identifier! {
    /// Digest of a request as the gateway sent it on, see [`crate::receipt::request_digest`].
    RequestDigest
}
identifier! {
    /// Digest of the bytes that were streamed to the client, see [`crate::receipt::ResponseHasher`].
    ResponseDigest
}
identifier! {
    /// Digest of a client's input to a router, see [`crate::refusal::input_digest`].
    InputDigest
}
identifier! {
    /// Link of the gateway's log: binds a record and all before it.
    ChainHash
}
identifier! {
    /// Hash of a leaf or node of the tree of an epoch's answers, see [`crate::merkle`].
    MerkleHash
}
identifier! {
    /// Digest of a signed checkpoint, see [`crate::checkpoint::Checkpoint`].
    CheckpointDigest
}
identifier! {
    /// Root of the tree over an execution trace, see [`crate::trace`].
    TraceRoot
}
