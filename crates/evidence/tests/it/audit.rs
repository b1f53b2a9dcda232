//! The audit accepts every honest trace and names the place of every cheat.

use std::borrow::Borrow;

use engine::trace::{ChunkTrace, Tracer};
use engine::{Engine, Request};
use evidence::audit::{AuditCoins, AuditModel, Auditor, transcript};
use evidence::field::{CheckField, Goldilocks2, Mersenne61};
use evidence::freivalds::Prepared;
use model::import::Architecture;
use model::synthetic::{SplitMix64, SyntheticModel};
use protocol::Claim;
use protocol::id::ClientSeed;
use protocol::verdict::Verdict;

use crate::replay::{honest, request, start};

pub(crate) const FAMILIES: [Architecture; 4] =
    [Architecture::Llama, Architecture::Qwen2, Architecture::Qwen3, Architecture::Gemma3];

/// An auditor with its coins.
pub(crate) struct Audit<F: CheckField> {
    pub(crate) subject: AuditModel,
    pub(crate) prepared: Prepared<F>,
    pub(crate) coins: u64,
}

impl<F: CheckField> Audit<F> {
    pub(crate) fn of(engine: &Engine) -> Self {
        let prepared = Prepared::new(engine.model(), &[7; 32]);
        Self { subject: AuditModel::new(engine.model().clone()), prepared, coins: 0 }
    }

    pub(crate) fn judge<T: Borrow<ChunkTrace>>(
        &mut self,
        claim: &Claim,
        trace: impl Iterator<Item = T>,
    ) -> Verdict {
        self.coins += 1;
        let mut attention = [0; 32];
        attention[..8].copy_from_slice(&self.coins.to_le_bytes());
        let mut auditor = match Auditor::new(&self.subject, &self.prepared, claim, AuditCoins { attention }) {
            Ok(auditor) => auditor,
            Err(verdict) => return verdict,
        };
        for chunk in trace {
            auditor.push(chunk.borrow());
        }
        auditor.finish().expect("this judge can decode")
    }
}

/// The trace of a claim as whoever runs `engine` has it.
pub(crate) fn trace<'e>(engine: &'e Engine, claim: &Claim, chunk: usize) -> Tracer<'e> {
    let (ids, from) = transcript(engine.model(), claim);
    Tracer::whole(engine, &ids, from, chunk)
}

pub(crate) fn random_request(engine: &Engine, random: &mut SplitMix64, number: u64) -> Request {
    let mut request = request();
    let vocab = u64::from(engine.model().config.vocab);
    request.prompt_ids = (0..1 + random.below(30)).map(|_| random.below(vocab) as u32).collect();
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    request.client_seed = ClientSeed::from_bytes(seed);
    request.settings.temperature_milli = [0, 300, 1000, 5000][(number % 4) as usize];
    request.settings.repetition_penalty_milli = [1000, 1300, 1000][(number % 3) as usize];
    request.settings.max_tokens = 1 + random.below(30) as u32;
    request.settings.stop_at_end = number.is_multiple_of(2);
    request
}

#[test]
fn honest_traces_are_accepted() {
    for architecture in FAMILIES {
        let engine = start(SyntheticModel::tiny(architecture).gguf(), None);
        let mut secret = Audit::<Mersenne61>::of(&engine);
        let mut public = Audit::<Goldilocks2>::of(&engine);
        let mut random = SplitMix64::new(5);
        for number in 0..20 {
            let claim = honest(&engine, random_request(&engine, &mut random, number));
            let chunk = 1 + random.below(40) as usize;
            let trace = || trace(&engine, &claim, chunk);
            assert_eq!(secret.judge(&claim, trace()), Verdict::Accept, "{architecture:?} request {number}");
            assert_eq!(public.judge(&claim, trace()), Verdict::Accept, "{architecture:?} request {number}");
        }
    }
}
