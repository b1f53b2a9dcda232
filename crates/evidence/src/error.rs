//! Every way this crate can fail by itself. Lies of a claimant are verdicts, not errors.

/// Errors of the crate `evidence`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The claim's output can't be turned into bytes here.
    #[error("can't decode the claim's output tokens: {0}")]
    Tokenizer(#[from] tokenizer::Error),
}
