//! How often to audit and how much to stake, solved from what cheating brings: the smallest rate and stake at which it
//! does not pay, and whether honest agents can bear the false alarms. Integers only; every rounding is against the cheat.
//!
//! For a request of which cheating saves `g`, with a reward `R` that is forfeited, a stake `S`, audits with chance `eps`
//! and power `d` (inference-verification 2.8): cheating does not pay iff `eps d (S + R) >= g`. An honest agent with
//! margin `m` bears false accusations with chance `phi` per audit iff `eps phi S <= m`.

#[cfg(test)]
mod tests;

/// 1 as a chance.
pub const WHOLE_PPB: u64 = 1_000_000_000;

/// What a request and a check are worth. Amounts in one unit, such as microcredits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stakes {
    /// g: what cheating on one request saves.
    pub gain: u64,
    /// R: what is paid for an honest one, and forfeited by a cheat.
    pub reward: u64,
    /// m: what an honest agent earns with one request, after its costs.
    pub margin: u64,
    /// d: the chance that an audit of a cheated answer shows it, in billionths.
    pub power_ppb: u64,
    /// phi: the chance that an audit of an honest answer accuses, in billionths.
    pub false_alarm_ppb: u64,
    /// What an audit of one request costs.
    pub audit_cost: u64,
}

/// Audits and stake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// eps, in billionths.
    pub audit_ppb: u64,
    /// S.
    pub stake: u64,
}

/// Which inequality fails, and what would mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Infeasible {
    /// A chance above 1.
    #[error("a chance is at most 1, and the audit's power is above 0")]
    Chance,
    /// `eps d (S + R) >= g` fails for every eps.
    #[error(
        "even with every answer audited cheating pays: d (S + R) is below g. A stake of at least {stake} makes it not pay"
    )]
    Gain {
        /// The least stake that does.
        stake: u64,
    },
    /// `eps phi S <= m` fails.
    #[error(
        "honest agents lose more by false alarms than they earn: eps phi S is above m. The false alarms of an audit must be \
         at most {false_alarm_ppb} in a billion"
    )]
    FalseAlarms {
        /// The most that honest agents bear.
        false_alarm_ppb: u64,
    },
    /// No amount that can be counted is enough.
    #[error("the stake would be more than can be counted")]
    Overflow,
}

impl Stakes {
    fn validate(&self) -> Result<(), Infeasible> {
        let is_sound = (1..=WHOLE_PPB).contains(&self.power_ppb) && self.false_alarm_ppb <= WHOLE_PPB;
        if is_sound { Ok(()) } else { Err(Infeasible::Chance) }
    }

    /// The least stake at which cheating does not pay at an audit rate: `S >= g / (eps d) - R`, rounded up.
    ///
    /// # Errors
    /// [`Infeasible`].
    pub fn least_stake(&self, audit_ppb: u64) -> Result<u64, Infeasible> {
        self.validate()?;
        if !(1..=WHOLE_PPB).contains(&audit_ppb) {
            return Err(Infeasible::Chance);
        }
        let whole = u128::from(WHOLE_PPB);
        let chance = u128::from(audit_ppb) * u128::from(self.power_ppb);
        // Below 2^64 * 2^60.
        let needed = (u128::from(self.gain) * whole * whole).div_ceil(chance);
        let stake = needed.saturating_sub(u128::from(self.reward));
        let stake = u64::try_from(stake).map_err(|_| Infeasible::Overflow)?;
        self.bears(Terms { audit_ppb, stake })?;
        Ok(stake)
    }

    /// The least audit rate at which cheating does not pay with a stake: `eps >= g / (d (S + R))`, rounded up.
    ///
    /// # Errors
    /// [`Infeasible`].
    pub fn least_rate(&self, stake: u64) -> Result<u64, Infeasible> {
        self.validate()?;
        let whole = u128::from(WHOLE_PPB);
        let at_stake = u128::from(stake) + u128::from(self.reward);
        let lost = at_stake * u128::from(self.power_ppb);
        let gained = u128::from(self.gain) * whole;
        if gained > lost {
            return Err(Infeasible::Gain { stake: self.least_stake(WHOLE_PPB)? });
        }
        // g * 10^18 is below 2^124; nothing at stake means nothing to gain here.
        let rate = if gained == 0 { 0 } else { (gained * whole).div_ceil(lost) };
        let audit_ppb = u64::try_from(rate).map_err(|_| Infeasible::Overflow)?.max(1);
        self.bears(Terms { audit_ppb, stake })?;
        Ok(audit_ppb)
    }

    /// Whether honest agents bear the false alarms: `eps phi S <= m`.
    fn bears(&self, terms: Terms) -> Result<(), Infeasible> {
        let whole = u128::from(WHOLE_PPB);
        let at_risk = u128::from(terms.audit_ppb) * u128::from(terms.stake);
        let allowed = u128::from(self.margin) * whole * whole;
        let is_below = |phi: u64| at_risk.checked_mul(u128::from(phi)).is_some_and(|risk| risk <= allowed);
        if is_below(self.false_alarm_ppb) {
            return Ok(());
        }
        let most = allowed.checked_div(at_risk).unwrap_or(0);
        Err(Infeasible::FalseAlarms { false_alarm_ppb: u64::try_from(most).unwrap_or(WHOLE_PPB) })
    }

    /// What a cheat of one request is expected to bring under these terms: gain less what it loses, rounded up. At most 0
    /// where cheating does not pay.
    #[must_use]
    pub fn cheating_brings(&self, terms: Terms) -> i128 {
        let whole = i128::from(WHOLE_PPB);
        let chance = i128::from(terms.audit_ppb) * i128::from(self.power_ppb);
        let lost = (i128::from(terms.stake) + i128::from(self.reward)) * chance;
        let gained = i128::from(self.gain) * whole * whole;
        let brings = gained - lost;
        brings.div_euclid(whole * whole) + i128::from(brings.rem_euclid(whole * whole) != 0)
    }

    /// What audits cost per request, rounded up.
    #[must_use]
    pub fn audits_cost(&self, audit_ppb: u64) -> u64 {
        let cost = (u128::from(self.audit_cost) * u128::from(audit_ppb)).div_ceil(u128::from(WHOLE_PPB));
        u64::try_from(cost).unwrap_or(u64::MAX)
    }

    /// What a bid of this verification pays more or less than one whose every answer is proved: the audits that it needs,
    /// and the interest on its stake in parts per billion and request.
    ///
    /// # Errors
    /// [`Infeasible`].
    pub fn premium(&self, stake: u64, interest_ppb: u64) -> Result<u64, Infeasible> {
        let rate = self.least_rate(stake)?;
        let interest = u128::from(stake) * u128::from(interest_ppb) / u128::from(WHOLE_PPB);
        let interest = u64::try_from(interest).unwrap_or(u64::MAX);
        Ok(self.audits_cost(rate).saturating_add(interest))
    }
}
