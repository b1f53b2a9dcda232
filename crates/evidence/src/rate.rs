//! How often a server is audited: evidence in, a rate and what else to do out. Exact public evidence may slash;
//! everything else only raises the rate. The rate never falls below its floor, and falls only by exact checks that found
//! nothing, weighed by what they cost, so that cheap traffic of the server's own choice buys little.

#[cfg(test)]
mod tests;

/// 1 as a rate, and as a chance.
pub const WHOLE_PPB: u64 = 1_000_000_000;

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Finding {
    /// An exact check that anybody can repeat shows a false claim.
    ExactPublic,
    /// An exact check that only its maker can believe shows a false claim.
    ExactDesignated,
    /// The evidence of a statistical process, as ln E.
    Statistical(f64),
    /// An exact check of an answer that the lottery drew found nothing. What a replay of it costs, in any unit.
    Clean {
        /// Cost of the checked answer.
        cost: u64,
    },
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The stake, the server, or both.
    Slash,
    /// The same again, in public.
    CheckInPublic,
    /// Audit as often as the rate says.
    Audit,
}

/// The rate of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditRate {
    floor_ppb: u64,
    half_cost: u64,
    rate_ppb: u64,
    /// Cost of clean checks since the rate last fell.
    clean: u64,
}

impl AuditRate {
    /// At its floor. The rate halves, down to the floor, with each `half_cost` of clean exact checks.
    #[must_use]
    pub fn new(floor_ppb: u64, half_cost: u64) -> Self {
        let floor_ppb = floor_ppb.clamp(1, WHOLE_PPB);
        Self { floor_ppb, half_cost: half_cost.max(1), rate_ppb: floor_ppb, clean: 0 }
    }

    /// The share of answers to audit, in billionths.
    #[must_use]
    pub fn rate_ppb(&self) -> u64 {
        self.rate_ppb
    }

    /// Takes a finding.
    pub fn update(&mut self, finding: Finding) -> Action {
        match finding {
            Finding::ExactPublic => {
                self.raise(WHOLE_PPB);
                Action::Slash
            }
            Finding::ExactDesignated => {
                self.raise(WHOLE_PPB);
                Action::CheckInPublic
            }
            Finding::Statistical(log_evidence) => {
                // E times the floor: at 1/alpha the rate is 1/alpha times what it was, all at the most.
                let factor = log_evidence.max(0.0).exp();
                let wanted = (self.floor_ppb as f64 * factor).min(WHOLE_PPB as f64);
                // What is no number raises nothing.
                self.raise(if wanted.is_finite() { wanted as u64 } else { 0 });
                Action::Audit
            }
            Finding::Clean { cost } => {
                self.clean = self.clean.saturating_add(cost);
                while self.clean >= self.half_cost && self.rate_ppb > self.floor_ppb {
                    self.clean -= self.half_cost;
                    self.rate_ppb = (self.rate_ppb / 2).max(self.floor_ppb);
                }
                if self.rate_ppb == self.floor_ppb {
                    // Nothing is saved up for later.
                    self.clean = 0;
                }
                Action::Audit
            }
        }
    }

    fn raise(&mut self, wanted_ppb: u64) {
        if wanted_ppb > self.rate_ppb {
            self.rate_ppb = wanted_ppb.min(WHOLE_PPB);
            self.clean = 0;
        }
    }
}
