//! Every way this crate can fail, one variant per cause.

use protocol::settings::SettingLimit;
use thiserror::Error;

use crate::kernels::huge_buffer::OutOfMemory;

/// Errors of the crate `engine`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// The weights do not fit into memory.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// The thread pool could not be started.
    #[error("can't start the engine's threads: {message}")]
    Threads {
        /// The system's words.
        message: String,
    },
    /// Nothing to compute the first logits from.
    #[error("the prompt has no tokens; give at least one")]
    EmptyPrompt,
    /// The prompt leaves no room for an output token.
    #[error(
        "the prompt has {tokens} tokens, the model's context holds {context} with at least one for the output"
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Positions of the model.
        context: u32,
    },
    /// An id that the model does not have.
    #[error("prompt token {position} is {id}, the model has {vocabulary} tokens, numbered from 0")]
    TokenOutOfVocabulary {
        /// Index in the prompt.
        position: usize,
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocabulary: u32,
    },
    /// A sampling setting outside of its limits.
    #[error(transparent)]
    Settings(#[from] SettingLimit),
}
