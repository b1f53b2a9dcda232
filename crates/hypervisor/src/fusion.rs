//! All evidence about a claim as one conclusion. Exact evidence decides; what meters say never does: it stands beside it in
//! nats, capped by what each source was measured to be worth, and says where to look.
//!
//! Sources that read the same meter, and windows of one meter, share its error of scale, so they are not added: of sources the
//! one that speaks against the claim counts, or else the strongest; of windows the mean. Nothing gains weight by being said
//! twice.

use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// Beyond this many nats either way a leaning is named: odds of 20 to 1.
pub const LEANING_NATS: f64 = 3.0;

/// What a replay, an audit or a proof says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exact {
    /// An honest run gives this claim.
    Holds,
    /// None does.
    False,
    /// Not checked, or nobody can say.
    Unknown,
}

/// One source's word about one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// The meter that it comes from.
    pub meter: String,
    /// Number of the window.
    pub window: u64,
    /// Log-likelihood ratio, honest over dishonest; nothing known is 0.
    pub nats: f64,
    /// The most that this source was measured to be worth, either way.
    pub cap: f64,
}

/// What all of it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// Right, and nothing speaks against its having been computed here and then.
    Accept,
    /// Right, and the meters say that it was not computed here and then: a cache, or another machine.
    AcceptElsewhere,
    /// False, exactly.
    Reject,
    /// Not checked; the meters speak for it.
    LeansFor,
    /// Not checked; the meters speak against it: to be checked, and no reason to punish.
    LeansAgainst,
    /// Nobody can say.
    Undecided,
}

/// The conclusion and the nats beside it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fused {
    /// What it comes to.
    pub conclusion: Conclusion,
    /// What the meters say together.
    pub nats: f64,
}

/// Fuses.
#[must_use]
pub fn fuse(exact: Exact, words: &[Word]) -> Fused {
    let mut windows: BTreeMap<(&str, u64), f64> = BTreeMap::new();
    for word in words {
        let cap = word.cap.max(0.0);
        // A number that is none says nothing.
        let nats = if word.nats.is_finite() && cap.is_finite() { word.nats.clamp(-cap, cap) } else { 0.0 };
        let strongest = windows.entry((&word.meter, word.window)).or_insert(nats);
        *strongest = if nats.min(*strongest) < 0.0 { strongest.min(nats) } else { strongest.max(nats) };
    }
    let mut meters: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for ((meter, _), nats) in &windows {
        let (sum, count) = meters.entry(meter).or_default();
        (*sum, *count) = (*sum + nats, *count + 1.0);
    }
    let nats: f64 = meters.values().map(|(sum, count)| sum / count).sum();
    let conclusion = match exact {
        Exact::False => Conclusion::Reject,
        Exact::Holds if nats <= -LEANING_NATS => Conclusion::AcceptElsewhere,
        Exact::Holds => Conclusion::Accept,
        Exact::Unknown if nats <= -LEANING_NATS => Conclusion::LeansAgainst,
        Exact::Unknown if nats >= LEANING_NATS => Conclusion::LeansFor,
        Exact::Unknown => Conclusion::Undecided,
    };
    Fused { conclusion, nats }
}

impl Conclusion {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Accept => {
                "accepted: an honest run gives this claim, and the meters do not speak against it"
            }
            Self::AcceptElsewhere => {
                "accepted, but not from here: an honest run gives this claim, and the meters say that it did not run here and \
                 then (a cache, or another machine)"
            }
            Self::Reject => "rejected: no honest run gives this claim",
            Self::LeansFor => "undecided: not checked exactly; the meters fit the claim",
            Self::LeansAgainst => {
                "undecided: not checked exactly; the meters contradict the claim: check it, and punish nobody for this"
            }
            Self::Undecided => "undecided: not checked exactly, and the meters say too little",
        }
    }
}
