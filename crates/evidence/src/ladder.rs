//! Which check is worth its price: the ladder from what is free to a replay, what each rung excludes, and the cheapest
//! one that reaches a wanted confidence within a budget. Never runs a check.

#[cfg(test)]
mod tests;

/// A check of one claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The claim alone: seed, limits, ids.
    Statement,
    /// So many parts of the trace, drawn after the claim: a part is a block, or what is behind the last one.
    Parts(u32),
    /// The whole trace by secret coins.
    Designated,
    /// The whole trace by coins that follow from the claim.
    Public,
    /// Every number again.
    Replay,
}

/// How likely it is that a false claim passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemainingError {
    /// `missed` of `of`.
    Share {
        /// Parts that are not looked at.
        missed: u32,
        /// All parts.
        of: u32,
    },
    /// 2^-bits.
    Bits(u32),
    /// It does not pass.
    None,
}

/// One check with its price and worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// The check.
    pub check: Check,
    /// What it takes the auditor, in microseconds, estimated.
    pub cost_us: u64,
    /// What a pass leaves open.
    pub error: RemainingError,
}

/// What prices and worths depend on.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// Transformer blocks.
    pub blocks: u32,
    /// The claim has the root of a trace.
    pub is_committed: bool,
    /// Only evidence that others may believe.
    pub is_public: bool,
    /// What a replay takes.
    pub replay_us: u64,
    /// What a replay of one token takes.
    pub token_us: u64,
    /// -log2 of the error of a designated and of a public audit.
    pub error_bits: (u32, u32),
}

/// Thousandths of a replay, measured by `maxwell bench audit`.
const DESIGNATED_MILLI: u64 = 550;
const PUBLIC_MILLI: u64 = 900;
/// Tokens' worth of replay that one pass over the weights takes for public vectors.
const PUBLIC_TOKENS: u64 = 400;
/// What the statement takes.
const STATEMENT_US: u64 = 10;
/// 1 as a confidence.
pub const CERTAIN_PPB: u64 = 1_000_000_000;

/// The rungs and the one to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Cheap ones first.
    pub rungs: Vec<Rung>,
    /// The index of the one to take; `None` if the budget allows not even the statement.
    pub chosen: Option<usize>,
    /// Whether it reaches the wanted confidence.
    pub is_enough: bool,
}

impl RemainingError {
    /// Whether a pass gives this confidence, in billionths.
    #[must_use]
    pub fn gives(self, confidence_ppb: u64) -> bool {
        let allowed = CERTAIN_PPB.saturating_sub(confidence_ppb);
        match self {
            Self::None => true,
            Self::Share { missed, of } => {
                u128::from(missed) * u128::from(CERTAIN_PPB) <= u128::from(of) * u128::from(allowed)
            }
            // 30 bits are more than a billion.
            Self::Bits(bits) => allowed > 0 && (bits >= 30 || allowed << bits >= CERTAIN_PPB),
        }
    }
}

/// The cheapest check that reaches `confidence_ppb` and costs at most `budget_us`; where none does, the one within the
/// budget that leaves the least open.
#[must_use]
pub fn plan(situation: &Situation, confidence_ppb: u64, budget_us: Option<u64>) -> Plan {
    let mut rungs = rungs(situation, confidence_ppb);
    rungs.sort_by_key(|rung| rung.cost_us);
    let fits = |rung: &Rung| budget_us.is_none_or(|budget| rung.cost_us <= budget);
    let enough = rungs.iter().position(|rung| fits(rung) && rung.error.gives(confidence_ppb));
    let strongest =
        || (0..rungs.len()).filter(|i| fits(&rungs[*i])).max_by_key(|i| strength(rungs[*i].error));
    let chosen = enough.or_else(strongest);
    Plan { chosen, is_enough: enough.is_some(), rungs }
}

/// For comparing: more is better.
fn strength(error: RemainingError) -> (u32, u64) {
    match error {
        RemainingError::Share { missed, of } => {
            (0, CERTAIN_PPB - u64::from(missed) * CERTAIN_PPB / u64::from(of.max(1)))
        }
        RemainingError::Bits(bits) => (1, u64::from(bits)),
        RemainingError::None => (2, 0),
    }
}

fn rungs(situation: &Situation, confidence_ppb: u64) -> Vec<Rung> {
    let parts = situation.blocks + 1;
    let share = |milli: u64| situation.replay_us.saturating_mul(milli) / 1000;
    let mut rungs = vec![Rung {
        check: Check::Statement,
        cost_us: STATEMENT_US,
        error: RemainingError::Share { missed: 1, of: 1 },
    }];
    if situation.is_committed && !situation.is_public {
        // As many as are needed, at least one, never all: that is the next rung.
        let wanted = u64::from(parts) * confidence_ppb;
        let needed = u32::try_from(wanted.div_ceil(CERTAIN_PPB)).unwrap_or(parts);
        let looked = needed.clamp(1, parts - 1);
        let cost_us = share(DESIGNATED_MILLI) * u64::from(looked) / u64::from(parts);
        let error = RemainingError::Share { missed: parts - looked, of: parts };
        rungs.push(Rung { check: Check::Parts(looked), cost_us, error });
    }
    if !situation.is_public {
        let error = RemainingError::Bits(situation.error_bits.0);
        rungs.push(Rung { check: Check::Designated, cost_us: share(DESIGNATED_MILLI), error });
    }
    if situation.is_committed {
        let cost_us = share(PUBLIC_MILLI) + situation.token_us.saturating_mul(PUBLIC_TOKENS);
        let error = RemainingError::Bits(situation.error_bits.1);
        rungs.push(Rung { check: Check::Public, cost_us, error });
    }
    rungs.push(Rung { check: Check::Replay, cost_us: situation.replay_us, error: RemainingError::None });
    rungs
}

impl Check {
    /// Stable machine name.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Statement => "statement",
            Self::Parts(_) => "parts",
            Self::Designated => "designated",
            Self::Public => "public",
            Self::Replay => "replay",
        }
    }

    /// What a pass excludes, for people.
    #[must_use]
    pub const fn excludes(self) -> &'static str {
        match self {
            Self::Statement => "contradictions in the claim itself",
            Self::Parts(_) => "a wrong number in the blocks that were drawn",
            Self::Designated => "a wrong number anywhere; only this auditor knows",
            Self::Public => "a wrong number anywhere; anybody can repeat it",
            Self::Replay => "any other outcome; anybody with the weights can repeat it",
        }
    }
}
