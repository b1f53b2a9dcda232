//! The requests of a job, and which claims answer them.

use super::*;

/// Bytes of a claim beyond those of its tokens.
const CLAIM_BYTES: usize = 4096;
/// Most bytes of a claim for each token: two lists of ids, a fingerprint, its text.
const TOKEN_BYTES: usize = 128;

impl Work {
    pub(super) fn is_answered(&self) -> bool {
        u32::try_from(self.claims.len()).is_ok_and(|answers| answers >= self.requests)
    }

    /// Tokens that were read and written.
    pub(super) fn tokens(&self) -> u64 {
        self.claims.iter().map(|claim| (claim.prompt_ids.len() + claim.output_ids.len()) as u64).sum()
    }
}

impl Desk {
    /// A job begins: as many requests as its bundle pays for, the first of them now.
    pub(super) fn give_work(&mut self, admission: &Admission, todo: &mut Todo) {
        let [cpu_ms, ..] = admission.bundle;
        let fits = cpu_ms / self.plan.request_cpu_ms.max(1);
        let requests = u32::try_from(fits).unwrap_or(u32::MAX).min(self.plan.requests);
        let (job, agent) = (admission.job, admission.agent);
        todo.told.push((agent, Event::Won { job: job.into(), pays: admission.pays, requests }));
        if requests == 0 {
            // Too small for any: it has bought processor time and no work. The rules end it in its time.
            return;
        }
        let work =
            Work { agent, requests, nonce: Nonce::from_bytes([0; ID_BYTES]), prompt: 0, claims: Vec::new() };
        self.work.insert(job, work);
        self.give_request(job, todo);
    }

    fn give_request(&mut self, job: BidId, todo: &mut Todo) {
        let Some(work) = self.work.get_mut(&job) else { return };
        let number = u32::try_from(work.claims.len()).unwrap_or(u32::MAX);
        let mut hasher = blake3::Hasher::new_derive_key(NONCE_CONTEXT);
        hasher.update(&self.secret).update(&job.0).update(&number.to_le_bytes());
        work.nonce = Nonce::from_bytes(*hasher.finalize().as_bytes());
        work.prompt = self.given % self.plan.prompts.len().max(1);
        self.given = self.given.wrapping_add(1);
        let request = Event::Request {
            job: job.into(),
            number,
            prompt_ids: self.plan.prompts.get(work.prompt).cloned().unwrap_or_default(),
            sampling: self.plan.sampling,
            nonce: Hex32(*work.nonce.as_bytes()),
        };
        todo.told.push((work.agent, request));
    }

    /// Takes an answer, if it is one to what was asked; the last of a job makes it a claim.
    pub(super) fn answer(
        &mut self,
        agent: AgentId,
        job: BidId,
        claim: &str,
        todo: &mut Todo,
    ) -> Result<(), Refusal> {
        let found = self.work.get_mut(&job).filter(|work| work.agent == agent && !work.is_answered());
        let work = found.ok_or(Refusal::Job)?;
        let prompt = self.plan.prompts.get(work.prompt).map_or(&[][..], Vec::as_slice);
        let claim = decode(claim, prompt.len(), &self.plan)?;
        let is_asked = claim.model == self.plan.model
            && claim.prompt_ids == prompt
            && claim.settings == self.plan.sampling.settings()
            && claim.nonce == work.nonce
            && claim.client_seed == ClientSeed::from_bytes([0; ID_BYTES])
            && claim.logprobs.is_none()
            && claim.trace.is_none();
        if !is_asked {
            return Err(Refusal::Answer);
        }
        work.claims.push(claim);
        if work.is_answered() {
            let claimed = Claimed { tokens: work.tokens(), batch: 1.0 };
            self.node.claim(agent, job, claimed)
        } else {
            self.give_request(job, todo);
            Ok(())
        }
    }
}

/// A claim no longer than an answer can be.
fn decode(text: &str, prompt: usize, plan: &Plan) -> Result<Claim, Refusal> {
    let most = usize::try_from(plan.sampling.max_tokens).unwrap_or(usize::MAX);
    let cap = prompt.saturating_add(most).saturating_mul(TOKEN_BYTES).saturating_add(CLAIM_BYTES);
    if text.len() / 2 > cap {
        return Err(Refusal::Answer);
    }
    let bytes = hex::decode(text).map_err(|_| Refusal::Answer)?;
    let claim = Claim::decode(&bytes).map_err(|_| Refusal::Answer)?;
    if claim.output_ids.len() > most { Err(Refusal::Answer) } else { Ok(claim) }
}
