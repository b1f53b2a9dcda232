//! Which gateway an input goes to, and whether what came back is what was asked for. Pure: the time and the gateways'
//! states are arguments. Must never send an input to a gateway of another model, nor pass an answer on that is not proven
//! to be the asked model's: substitution is the fraud that all of this is about.
//!
//! The order of decisions is fixed: not on the list, 403; revoked or expired, 410; served nowhere now, 503; served and
//! full, 429. A name is looked up in the list only; what gateways call their models counts for nothing.

use protocol::receipt::response_digest;
use protocol::refusal::RefusalReason;
use protocol::whitelist::{AuthorizedEntry, AuthorizedWhitelist, Denial};
use protocol::{ModelCommitment, Receipt, VerifyingKey};

/// What a gateway says about itself. A lie in it is found in the receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayState {
    /// What it serves.
    pub model: ModelCommitment,
    /// Whether it takes requests now.
    pub is_serving: bool,
    /// Answers that it is writing.
    pub in_flight: u64,
}

/// Where an input may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed {
    /// The model, from the list.
    pub entry: AuthorizedEntry,
    /// Places of the gateways that serve it: the least busy first.
    pub gateways: Vec<usize>,
}

/// Why an input is not routed, and when to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The reason.
    pub reason: RefusalReason,
    /// There exactly if trying again can help.
    pub retry_after_s: Option<u32>,
}

impl Refused {
    /// `wait_s` is given where trying again can help.
    pub fn new(reason: RefusalReason, wait_s: u32) -> Self {
        Self { reason, retry_after_s: reason.is_passing().then_some(wait_s.max(1)) }
    }
}

/// What became of an input at one gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Status 429.
    Full {
        /// Its Retry-After.
        retry_after_s: u32,
    },
    /// Status 503, or it can't be reached.
    Away {
        /// Its Retry-After.
        retry_after_s: u32,
    },
    /// Its answer is not proven to be the model's.
    Substituted,
}

/// Why an answer is not passed on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Substitution {
    /// No receipt, or none of this gateway.
    #[error("the gateway has no receipt for its answer: {0}")]
    NoReceipt(String),
    /// A receipt of another answer.
    #[error("the receipt is about answer {found:016x}, and the answer says that it is {expected:016x}")]
    OtherAnswer {
        /// In the receipt.
        found: u64,
        /// In the answer's header.
        expected: u64,
    },
    /// A receipt for other bytes.
    #[error("the receipt is about other bytes than those that came")]
    OtherBytes,
    /// Another model answered.
    #[error("model {found} answered, and {asked} was asked")]
    OtherModel {
        /// In the receipt.
        found: ModelCommitment,
        /// In the list.
        asked: ModelCommitment,
    },
    /// The answer names another model.
    #[error("the answer names the model {found:?}, and {asked:?} was asked")]
    OtherName {
        /// In the answer.
        found: String,
        /// In the list.
        asked: String,
    },
}

/// Decides where an input for the model of this name may go. A gateway that says nothing has no state.
///
/// # Errors
/// [`Refused`].
pub fn route(
    name: &str,
    list: &AuthorizedWhitelist,
    now_unix_s: u64,
    gateways: &[Option<GatewayState>],
    load_s: u32,
) -> Result<Routed, Refused> {
    let entry = list.by_name(name, now_unix_s).map_err(|denial| match denial {
        Denial::Expired { .. } => Refused::new(RefusalReason::Expired, 0),
        Denial::Revoked { .. } => Refused::new(RefusalReason::Revoked, 0),
        // Denials of whole lists do not come from a lookup.
        Denial::UnknownName { .. }
        | Denial::UnknownModel { .. }
        | Denial::SameParty { .. }
        | Denial::SignatureMissing { .. }
        | Denial::SignatureWrong { .. }
        | Denial::Malformed(_)
        | Denial::Rollback { .. } => Refused::new(RefusalReason::NotWhitelisted, 0),
    })?;
    let serves = |state: &&GatewayState| state.is_serving && state.model == entry.entry().model;
    let mut found: Vec<(u64, usize)> = gateways
        .iter()
        .enumerate()
        .filter_map(|(place, state)| state.as_ref().filter(serves).map(|state| (state.in_flight, place)))
        .collect();
    found.sort_unstable();
    if found.is_empty() {
        return Err(Refused::new(RefusalReason::NotServed, load_s));
    }
    Ok(Routed { entry, gateways: found.into_iter().map(|(_, place)| place).collect() })
}

/// What to tell a client when every gateway that serves the model was asked in vain. Full ones outweigh those that are
/// away, and a substitution outweighs all: the client must hear of it.
pub fn refused_by_all(attempts: &[Attempt], load_s: u32) -> Refused {
    if attempts.contains(&Attempt::Substituted) {
        return Refused::new(RefusalReason::Substituted, 0);
    }
    let soonest = |wanted: fn(&Attempt) -> Option<u32>| attempts.iter().filter_map(wanted).min();
    let full = |attempt: &Attempt| match attempt {
        Attempt::Full { retry_after_s } => Some(*retry_after_s),
        Attempt::Away { .. } | Attempt::Substituted => None,
    };
    let away = |attempt: &Attempt| match attempt {
        Attempt::Away { retry_after_s } => Some(*retry_after_s),
        Attempt::Full { .. } | Attempt::Substituted => None,
    };
    match soonest(full) {
        Some(seconds) => Refused::new(RefusalReason::Busy, seconds),
        None => Refused::new(RefusalReason::NotServed, soonest(away).unwrap_or(load_s)),
    }
}

/// Checks that these bytes are an answer of the asked model: the gateway signed so, and none of the names in it is
/// another.
///
/// # Errors
/// [`Substitution`].
pub fn check_answer(
    asked: &AuthorizedEntry,
    gateway: &VerifyingKey,
    tag: u64,
    receipt: &[u8],
    body: &[u8],
    names: &[String],
) -> Result<Receipt, Substitution> {
    let receipt =
        Receipt::verify(receipt, gateway).map_err(|reason| Substitution::NoReceipt(reason.to_string()))?;
    if receipt.tag.counter != tag {
        return Err(Substitution::OtherAnswer { found: receipt.tag.counter, expected: tag });
    }
    if receipt.response != response_digest(body) {
        return Err(Substitution::OtherBytes);
    }
    let asked = asked.entry();
    if receipt.model != asked.model {
        return Err(Substitution::OtherModel { found: receipt.model, asked: asked.model });
    }
    match names.iter().find(|name| **name != asked.name) {
        Some(found) => Err(Substitution::OtherName { found: found.clone(), asked: asked.name.clone() }),
        None => Ok(receipt),
    }
}
