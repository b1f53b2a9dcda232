//! What the judge says about a claim, and who is to blame. A verdict is not an error: a failure of ours must never
//! become a [`Reason`], because a reason costs somebody money.
//!
//! | | blame | consequence | exit code |
//! |---|---|---|---|
//! | [`Verdict::Accept`] | nobody | the claim is paid | 0 |
//! | [`Verdict::Reject`] | **the claimant**: no honest run of the claimed model gives this claim | stake, alarm | 3 |
//! | [`Verdict::Undecided`] | **nobody**: the judge lacks something | fetch it and judge again | 4 |
//! | `Err(..)` of whatever was judging | **us** | repair, nobody pays | another |

use std::fmt;

use crate::claim::FinishReason;
use crate::id::{ModelCommitment, Nonce, Seed, TemplateDigest};
use crate::settings::SettingLimit;
use crate::trace::{TraceFault, TracePlace};

/// The judge's answer to one claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that was checked is as claimed.
    Accept,
    /// The claim is false, for this reason.
    Reject(Reason),
    /// The claim may be true or false; this is missing to tell.
    Undecided(Missing),
}

/// One variant per way of lying. Blame: the claimant, always.
///
/// Positions of output tokens count from 0 over the output; other positions say what they count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The answer belongs to another request: a replay, or a cached answer.
    #[error(
        "the claim carries nonce {claimed}, but this request was given {issued}: the answer was not made for this request"
    )]
    Nonce {
        /// In the claim.
        claimed: Nonce,
        /// Given out by the checker.
        issued: Nonce,
    },
    /// The seed was chosen, not derived.
    #[error(
        "the claim's seed is {claimed}, but its nonce and client seed give {derived}: the seed was chosen by hand"
    )]
    Seed {
        /// In the claim.
        claimed: Seed,
        /// From nonce and client seed.
        derived: Seed,
    },
    /// Another model than the one that was ordered.
    #[error("the claim names model {claimed}, but {ordered} was ordered")]
    Model {
        /// In the claim.
        claimed: ModelCommitment,
        /// In the order or whitelist.
        ordered: ModelCommitment,
    },
    /// The claim names an arithmetic that is not the model's.
    #[error("the claim names the numerics class {claimed}, but the model's is {model}")]
    Numerics {
        /// In the claim.
        claimed: String,
        /// Fixed by the model commitment.
        model: String,
    },
    /// The claim names a chat template that is not the model's.
    #[error("the claim names chat template {}, but the model's is {}", or_none(claimed), or_none(model))]
    Template {
        /// In the claim.
        claimed: Option<TemplateDigest>,
        /// Fixed by the model commitment.
        model: Option<TemplateDigest>,
    },
    /// Settings that no honest server runs.
    #[error("{0}: no honest run has such a setting")]
    SettingLimit(SettingLimit),
    /// Nothing to compute logits from.
    #[error("the claim's prompt has no tokens: there is nothing to compute the first logits from")]
    PromptEmpty,
    /// A prompt token that the model does not have.
    #[error("prompt token {position} is {token}, but the model has {vocabulary} tokens, numbered from 0")]
    PromptTokenOutOfVocabulary {
        /// Counted from 0 over the prompt.
        position: u32,
        /// In the claim.
        token: u32,
        /// The model's vocabulary size.
        vocabulary: u32,
    },
    /// More tokens than the model's context holds.
    #[error("prompt and output have {tokens} tokens, but the model's context holds {context}")]
    ContextExceeded {
        /// Prompt and output tokens in the claim.
        tokens: u32,
        /// The model's context length in tokens.
        context: u32,
    },
    /// More output than the settings allow.
    #[error("the output has {tokens} tokens, but the claim's own settings allow {max_tokens}")]
    TooManyTokens {
        /// Output tokens in the claim.
        tokens: u32,
        /// In the claim's settings.
        max_tokens: u32,
    },
    /// The output goes on behind an end token: room for a hidden message.
    #[error("output token {position} stands after the end token, where an honest run has stopped")]
    TokenAfterEnd {
        /// The first token behind the end token.
        position: u32,
    },
    /// Another token than the computation gives.
    #[error("output token {position} is {claimed} in the claim, but the model gives {computed}")]
    OutputToken {
        /// The first such token.
        position: u32,
        /// In the claim.
        claimed: u32,
        /// From the model, on the claim's own tokens before it.
        computed: u32,
    },
    /// The logits came from other weights or another arithmetic, although the token is the same.
    #[error(
        "the logits behind output token {position} have another fingerprint in the claim than the model gives: other weights or another arithmetic made them"
    )]
    LogitFingerprint {
        /// The first such token.
        position: u32,
    },
    /// Another log-probability than the computation gives, of the token or of one that is ranked beside it.
    #[error("the log-probabilities of output token {position} are others in the claim than the model gives")]
    Logprob {
        /// The first such token.
        position: u32,
    },
    /// The output ends for another reason than the computation does.
    #[error("the claim ends with \"{claimed}\", but the computation ends with \"{computed}\"")]
    FinishReason {
        /// In the claim.
        claimed: FinishReason,
        /// From the model.
        computed: FinishReason,
    },
    /// The claim ends although the computation goes on.
    #[error("the claim ends with \"{claimed}\" after {tokens} output tokens, but the computation goes on")]
    EndsEarly {
        /// In the claim.
        claimed: FinishReason,
        /// Output tokens in the claim.
        tokens: u32,
    },
    /// An out-of-range outcome that is not there, is hidden, or is elsewhere. Positions count from 0 over prompt and
    /// output.
    #[error("the claim has {}, but the model has {}", at_or_none(*claimed), at_or_none(*computed))]
    OutOfRange {
        /// In the claim.
        claimed: Option<u32>,
        /// From the model.
        computed: Option<u32>,
    },
    /// The delivered bytes are not the text of the output tokens.
    #[error("the output bytes differ from the text of the output tokens from byte {offset} on")]
    OutputBytes {
        /// The first byte that differs, or the shorter length.
        offset: u32,
    },
    /// The execution trace shows another computation than the model's on these tokens.
    #[error("the execution trace is false at {place}: {fault}")]
    ExecutionTrace {
        /// The first place.
        place: TracePlace,
        /// What is wrong there.
        fault: TraceFault,
    },
}

/// What a judge lacks. Blame: nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The weights.
    #[error("the judge does not hold model {0}; import it and judge again")]
    Model(ModelCommitment),
    /// An arithmetic that this build does not have.
    #[error("this build does not compute the numerics class {0}; judge with a build that does")]
    NumericsVersion(String),
}

impl Verdict {
    /// Exit code of a command that prints this verdict.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Accept => 0,
            Self::Reject(_) => 3,
            Self::Undecided(_) => 4,
        }
    }

    /// Stable machine name: `accept`, or that of the reason or of what is missing.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Reject(reason) => reason.code(),
            Self::Undecided(missing) => missing.code(),
        }
    }

    /// Where in the claim the lie is, as in [`Reason::position`].
    pub const fn position(&self) -> Option<u32> {
        match self {
            Self::Reject(reason) => reason.position(),
            Self::Accept | Self::Undecided(_) => None,
        }
    }
}

impl Reason {
    /// Stable machine name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Nonce { .. } => "nonce",
            Self::Seed { .. } => "seed",
            Self::Model { .. } => "model",
            Self::Numerics { .. } => "numerics",
            Self::Template { .. } => "template",
            Self::SettingLimit(_) => "setting_limit",
            Self::PromptEmpty => "prompt_empty",
            Self::PromptTokenOutOfVocabulary { .. } => "prompt_token_out_of_vocabulary",
            Self::ContextExceeded { .. } => "context_exceeded",
            Self::TooManyTokens { .. } => "too_many_tokens",
            Self::TokenAfterEnd { .. } => "token_after_end",
            Self::OutputToken { .. } => "output_token",
            Self::LogitFingerprint { .. } => "logit_fingerprint",
            Self::Logprob { .. } => "logprob",
            Self::FinishReason { .. } => "finish_reason",
            Self::EndsEarly { .. } => "ends_early",
            Self::OutOfRange { .. } => "out_of_range",
            Self::OutputBytes { .. } => "output_bytes",
            Self::ExecutionTrace { .. } => "execution_trace",
        }
    }

    /// The token or byte that the reason points at, counted as the variant says. `None` where the whole claim is
    /// meant.
    pub const fn position(&self) -> Option<u32> {
        match self {
            Self::PromptTokenOutOfVocabulary { position, .. }
            | Self::TokenAfterEnd { position }
            | Self::OutputToken { position, .. }
            | Self::LogitFingerprint { position }
            | Self::Logprob { position } => Some(*position),
            // The first token over the limit, or the one that is missing.
            Self::TooManyTokens { max_tokens: position, .. } | Self::EndsEarly { tokens: position, .. } => {
                Some(*position)
            }
            Self::OutputBytes { offset } => Some(*offset),
            Self::ExecutionTrace { place, .. } => Some(place.position),
            // Where the model has it; a claim that only invents one points at its invention.
            Self::OutOfRange { computed: Some(position), .. }
            | Self::OutOfRange { claimed: Some(position), computed: None } => Some(*position),
            Self::OutOfRange { claimed: None, computed: None }
            | Self::Nonce { .. }
            | Self::Seed { .. }
            | Self::Model { .. }
            | Self::Numerics { .. }
            | Self::Template { .. }
            | Self::SettingLimit(_)
            | Self::PromptEmpty
            | Self::ContextExceeded { .. }
            | Self::FinishReason { .. } => None,
        }
    }
}

impl Missing {
    /// Stable machine name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Model(_) => "model_missing",
            Self::NumericsVersion(_) => "numerics_version_missing",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accepted: everything that was checked is as claimed"),
            Self::Reject(reason) => write!(f, "rejected: {reason}"),
            Self::Undecided(missing) => write!(f, "undecided: {missing}"),
        }
    }
}

fn or_none(template: &Option<TemplateDigest>) -> String {
    template.map_or_else(|| "none".to_owned(), |digest| digest.to_string())
}

fn at_or_none(position: Option<u32>) -> String {
    position.map_or_else(
        || "no activation out of range".to_owned(),
        |position| format!("an activation out of range at position {position}"),
    )
}
