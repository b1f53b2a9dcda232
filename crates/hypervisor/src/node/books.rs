//! The node's entries: holds, charges, settlements, slashes. Each names itself by what it is about, so that it can't happen
//! twice.

use super::*;

/// Where a job's money, stake and joules are locked.
pub(super) fn lock(job: &BidId) -> Account {
    Account::Locked(key(b"lock", job))
}

pub(super) fn key(step: &[u8], job: &BidId) -> EntryKey {
    EntryKey::of(ENTRY_CONTEXT, &[step, &job.0])
}

impl Node {
    /// Into the ledger, and to the shell for its disk.
    pub(super) fn book(&mut self, entry: Entry) -> Result<(), LedgerError> {
        self.ledger.apply(entry.clone())?;
        self.pending.push(entry);
        Ok(())
    }

    /// What a bundle is expected to burn, and a quarter more.
    pub(super) fn hold_uj(&self, bundle: &Bundle) -> u64 {
        let parts = bundle.iter().zip(&self.terms.expected_uj);
        let expected: u128 =
            parts.map(|(units, uj)| u128::from(*units) * u128::from(*uj)).take(RESOURCES).sum();
        u64::try_from(expected.saturating_mul(HOLD_MILLI) / 1000).unwrap_or(u64::MAX)
    }

    /// Takes measured microjoules from what is locked for the agent's jobs, then from its wallet; as much as there is.
    pub(super) fn charge(&mut self, agent: AgentId, uj: u64) -> Result<u64, LedgerError> {
        let purses = self.jobs.iter().filter(|(_, job)| job.agent == agent).map(|(id, _)| lock(id));
        let purses: Vec<Account> = purses.chain([Account::Agent(agent)]).collect();
        let (mut left, mut transfers) = (uj, Vec::new());
        for from in purses {
            let amount = self.ledger.balance(from, Asset::Microjoules).min(left);
            if amount > 0 {
                left -= amount;
                transfers.push(Transfer { asset: Asset::Microjoules, from, to: Account::Operator, amount });
            }
        }
        if !transfers.is_empty() {
            let window = self.agents.get(&agent).map_or(0, |agent| agent.windows);
            let key = self.window_key(b"charge", agent, window);
            self.book(Entry { key, transfers })?;
        }
        Ok(uj - left)
    }

    /// Bills joules that no claim explains at the price that the heat makes of them; as much as there is.
    pub(super) fn surcharge(&mut self, agent: AgentId, joules: f64, gpu_mk: i64) -> Result<u64, LedgerError> {
        let price = self.terms.heat.price(self.terms.unexplained_joule, gpu_mk);
        let wanted = u128::from(microjoules(joules)) * u128::from(price) / 1_000_000;
        let has = self.ledger.balance(Account::Agent(agent), Asset::Microcredits);
        let amount = u64::try_from(wanted).unwrap_or(u64::MAX).min(has);
        if amount > 0 {
            let (from, to) = (Account::Agent(agent), Account::Operator);
            let transfers = vec![Transfer { asset: Asset::Microcredits, from, to, amount }];
            let window = self.agents.get(&agent).map_or(0, |agent| agent.windows);
            self.book(Entry { key: self.window_key(b"surcharge", agent, window), transfers })?;
            if let Some(agent) = self.agents.get_mut(&agent) {
                agent.surcharges = agent.surcharges.saturating_add(amount);
            }
        }
        Ok(amount)
    }

    fn window_key(&self, step: &[u8], agent: AgentId, window: u64) -> EntryKey {
        // The epoch goes on over restarts, the count of windows begins anew.
        let parts = [step, &agent.0, &self.epoch.to_le_bytes(), &window.to_le_bytes()];
        EntryKey::of(ENTRY_CONTEXT, &parts)
    }

    /// The price to the operator, the stake and the joules that are left back; and the reward, if it holds.
    pub(super) fn settle(&mut self, id: &BidId, holds: bool) -> Result<(), LedgerError> {
        let Some(job) = self.jobs.get(id) else { return Ok(()) };
        let (from, agent) = (lock(id), Account::Agent(job.agent));
        let tokens = job.claimed.filter(|_| holds).map_or(0, |claimed| claimed.tokens);
        let reward = tokens.saturating_mul(self.terms.token_reward);
        let parts = [
            (Asset::Microcredits, from, Account::Operator, job.pays),
            (Asset::Microcredits, from, agent, job.stake),
            (Asset::Microjoules, from, agent, self.ledger.balance(from, Asset::Microjoules)),
            (Asset::Microcredits, Account::Outside, agent, reward),
        ];
        self.finish(id, b"settle", &parts)
    }

    /// The price to the operator, the stake half to the operator for its check and half to nobody, no reward.
    pub(super) fn slash(&mut self, id: &BidId) -> Result<(), LedgerError> {
        let Some(job) = self.jobs.get(id) else { return Ok(()) };
        let (from, agent, half) = (lock(id), Account::Agent(job.agent), job.stake / 2);
        let parts = [
            (Asset::Microcredits, from, Account::Operator, job.pays.saturating_add(half)),
            (Asset::Microcredits, from, Account::Burned, job.stake - half),
            (Asset::Microjoules, from, agent, self.ledger.balance(from, Asset::Microjoules)),
        ];
        self.finish(id, b"slash", &parts)
    }

    fn finish(
        &mut self,
        id: &BidId,
        step: &[u8],
        parts: &[(Asset, Account, Account, u64)],
    ) -> Result<(), LedgerError> {
        let moved = parts.iter().filter(|(.., amount)| *amount > 0);
        let transfers: Vec<Transfer> = moved
            .map(|(asset, from, to, amount)| Transfer {
                asset: *asset,
                from: *from,
                to: *to,
                amount: *amount,
            })
            .collect();
        if !transfers.is_empty() {
            self.book(Entry { key: key(step, id), transfers })?;
        }
        self.jobs.remove(id);
        Ok(())
    }

    /// Jobs with a claim of this agent, and what they claim.
    pub(super) fn claimed_by(&self, agent: AgentId) -> Vec<(BidId, ClaimedWork)> {
        let jobs = self.jobs.iter().filter(|(_, job)| job.agent == agent && job.stage == Stage::Claimed);
        jobs.filter_map(|(id, job)| {
            let claimed = job.claimed?;
            Some((*id, ClaimedWork { tokens: claimed.tokens as f64, batch: claimed.batch }))
        })
        .collect()
    }

    /// What was measured less what background work was admitted for: nobody claims anything about that work.
    pub(super) fn less_background(&mut self, agent: AgentId, energy: &Energy) -> Energy {
        let mut joules = energy.joules;
        for job in self.jobs.values_mut().filter(|job| job.agent == agent && job.background > 0.0) {
            let burned = job.background.min(joules.max(0.0));
            job.background -= burned;
            joules -= burned;
        }
        Energy { joules, ..*energy }
    }

    /// Whether an answer is checked: a draw that its agent can't foresee, at the rate that holds now.
    pub(super) fn is_drawn(&self, id: &BidId) -> bool {
        let Some(job) = self.jobs.get(id) else { return false };
        let mut hasher = blake3::Hasher::new_derive_key(DRAW_CONTEXT);
        let hash = hasher.update(&self.secret).update(&id.0).finalize();
        let draw = hash.as_bytes().first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let rate = self.check_ppb(job.agent, job.tier, job.stake);
        u128::from(draw) * u128::from(WHOLE_PPB) < u128::from(rate) << 64
    }

    pub(super) fn begin_check(&mut self, id: &BidId, checks: &mut Vec<BidId>) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.stage = Stage::Checking;
        let agent = job.agent;
        checks.push(*id);
        if let Some(agent) = self.agents.get_mut(&agent) {
            agent.checks = agent.checks.saturating_add(1);
        }
    }

    /// Jobs of epochs that are over and that claim nothing: paid for, and no more.
    pub(super) fn end_idle_jobs(&mut self, agent: AgentId) -> Result<(), LedgerError> {
        let is_over =
            |job: &Job| job.agent == agent && job.stage == Stage::Running && job.epoch + 1 < self.epoch;
        let over: Vec<BidId> = self.jobs.iter().filter(|(_, job)| is_over(job)).map(|(id, _)| *id).collect();
        over.iter().try_for_each(|id| self.settle(id, false))
    }

    /// Ends an agent: its running jobs are over. What is being checked goes on.
    pub(super) fn stop(&mut self, agent: AgentId, why: Stopped) -> Result<(), LedgerError> {
        let Some(state) = self.agents.get_mut(&agent) else { return Ok(()) };
        // The first reason stays, but for a lie.
        if state.stopped.is_none() || why == Stopped::FalseClaim {
            state.stopped = Some(why);
        }
        let running = self.jobs.iter().filter(|(_, job)| job.agent == agent && job.stage == Stage::Running);
        let running: Vec<BidId> = running.map(|(id, _)| *id).collect();
        running.iter().try_for_each(|id| self.settle(id, false))
    }
}
