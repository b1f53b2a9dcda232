//! Words everyone speaks: identifiers, canonical encoding, settings, claim and verdict.
//!
//! Pure functions over bytes: this crate must never do I/O, read a clock, draw randomness, know a model, or
//! panic on foreign bytes.
//!
//! | module | what it holds |
//! |---|---|
//! | [`id`] | 32-byte identifiers and digests, one type each |
//! | [`encoding`] | the one byte form of everything that is hashed or sent: deterministic CBOR |
//! | [`settings`] | how a token is chosen from the logits |
//! | [`seed`] | from nonce and client seed to the sampling seed, and from the seed to draws |
//! | [`fingerprint`] | the logit fingerprint and the point at which it is taken |
//! | [`logprobs`] | log-probabilities of output tokens, as exact integers |
//! | [`claim`] | what an untrusted party says it computed |
//! | [`link`] | what a gateway and an inference server say to each other |
//! | [`lease`] | what a recomputer and a gateway say to each other |
//! | [`keys`] | Ed25519 keys and signatures that have one form each |
//! | [`group_tree`] | a hash tree over a file, so that a stream of it is checked group by group |
//! | [`whitelist`] | the models that two parties allow, and the check that both did |
//! | [`merkle`] | the tree over an epoch's answers, and short proofs about it |
//! | [`checkpoint`] | what a gateway binds itself to about an epoch, and the beacon that is drawn after it |
//! | [`epoch`] | an epoch for outsiders: everything to check its sampling with, and one answer's place in it |
//! | [`receipt`] | what a gateway signs for a client about one answer |
//! | [`refusal`] | what a router signs for a client whose input it does not route |
//! | [`cose`] | the signed envelope of receipts and refusals |
//! | [`trace`] | names for the parts of an execution trace |
//! | [`verdict`] | what the judge says about a claim, and who is to blame |
//! | [`error`] | why bytes or values were refused |
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::as_conversions,
        clippy::arithmetic_side_effects,
        clippy::unwrap_used
    )
)]

pub mod checkpoint;
pub mod claim;
pub mod cose;
pub mod encoding;
pub mod epoch;
pub mod error;
pub mod fingerprint;
pub mod group_tree;
pub mod id;
pub mod keys;
pub mod lease;
pub mod link;
pub mod logprobs;
pub mod merkle;
pub mod receipt;
pub mod refusal;
pub mod seed;
pub mod settings;
mod signed;
pub mod trace;
pub mod verdict;
pub mod whitelist;

pub use checkpoint::{Beacon, Checkpoint};
pub use claim::{Claim, FinishReason};
pub use error::Error;
pub use fingerprint::{FingerprintPoint, LogitFingerprint};
pub use id::{
    ChainHash, CheckpointDigest, ClaimDigest, ClientSeed, InputDigest, KeyId, MerkleHash, ModelCommitment,
    Nonce, RequestDigest, ResponseDigest, Seed, TemplateDigest, TraceRoot,
};
pub use keys::{Signature, SigningKey, VerifyingKey};
pub use logprobs::{Logprobs, TokenLogprobs};
pub use receipt::Receipt;
pub use settings::SamplingSettings;
pub use verdict::{Missing, Reason, Verdict};
pub use whitelist::{AuthorizedWhitelist, SignedWhitelist, Whitelist};
