//! The five cheats of the demo, each as clever as its kind allows: the forger knows the claim format and
//! computes fingerprints for the request that it pretends to have served. Never used outside of the demo.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, bail};
use engine::batch::finish_reason;
use engine::execute::Chunk;
use engine::fingerprint::Fingerprinter;
use engine::{Completed, Engine, Request};
use model::Model;
use model::gguf::{Gguf, TensorType};
use model::import::read_gguf;
use model::weights::BlockKind;
use protocol::fingerprint::fingerprint_point;
use protocol::id::ID_BYTES;
use protocol::seed::{derive_seed, draw_u64};
use protocol::{Claim, ClientSeed, FinishReason, Nonce, Seed};

use super::super::generate::random_nonce;
use crate::models::RunOptions;

/// A claim to be judged, and what the judge must say.
#[derive(Debug)]
pub(super) struct Case {
    /// What was done.
    pub(super) name: &'static str,
    /// The claim.
    pub(super) claim: Claim,
    /// The nonce that the judge gave out.
    pub(super) issued: Nonce,
    /// Code of the expected verdict or reason.
    pub(super) expected: &'static str,
}

impl Case {
    /// The claim of an honest server.
    pub(super) fn honest(claim: Claim, issued: Nonce) -> Self {
        Self { name: "honest claim", claim, issued, expected: "accept" }
    }
}

/// The weight that was changed, and what came of it.
#[derive(Clone, Debug)]
pub(super) struct WeightCheat {
    /// The tensor.
    pub(super) tensor: String,
    /// The byte within it whose lowest bit was flipped.
    pub(super) byte: usize,
    /// Output tokens that differ from the honest run.
    pub(super) tokens_changed: usize,
}

/// The honest run that the cheats start from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'s> {
    pub(super) engine: &'s Engine,
    pub(super) request: &'s Request,
    pub(super) claim: &'s Claim,
    pub(super) run: RunOptions,
}

impl Scene<'_> {
    /// All five. `file` is the model's GGUF; `tell` hears what is being prepared.
    pub(super) fn cheats(
        &self,
        file: Vec<u8>,
        tell: &dyn Fn(&str),
    ) -> anyhow::Result<(Vec<Case>, WeightCheat)> {
        tell("a changed output token");
        let token = self.changed_token()?;
        tell("one 4-bit weight changed by one step");
        let (weight, report) = self.changed_weight(file)?;
        tell("another seed");
        let seed = self.another_seed()?;
        tell("a truncated prompt");
        let prompt = self.truncated_prompt()?;
        let replayed = Case {
            name: "old claim, new nonce",
            claim: self.claim.clone(),
            issued: random_nonce()?,
            expected: "nonce",
        };
        Ok((vec![token, weight, seed, prompt, replayed], report))
    }

    /// A case that carries the request's own nonce.
    fn case(&self, name: &'static str, claim: Claim, expected: &'static str) -> Case {
        Case { name, claim, issued: self.request.nonce, expected }
    }

    /// One token in the middle is replaced, in the ids and in the text.
    fn changed_token(&self) -> anyhow::Result<Case> {
        let model = self.engine.model();
        let mut claim = self.claim.clone();
        let middle = claim.output_ids.len() / 2;
        let slot = claim.output_ids.get_mut(middle).context("the output has tokens")?;
        let honest = *slot;
        let other = (0..model.config.vocab).find(|id| *id != honest && !model.tokenizer.is_end(*id));
        *slot = other.context("the vocabulary has another token")?;
        claim.output_bytes = model.tokenizer.decode_bytes(&claim.output_ids)?;
        Ok(self.case("changed output token", claim, "output_token"))
    }

    /// The server's file differs from the published one in one 4-bit weight of the last attention output matrix.
    fn changed_weight(&self, file: Vec<u8>) -> anyhow::Result<(Case, WeightCheat)> {
        let honest = self.engine.model();
        let tensor = format!("blk.{}.attn_output.weight", honest.config.blocks.saturating_sub(1));
        let mut file = Arc::new(file);
        let (at, byte) = find_quant(&file, &tensor)?;
        let bytes = Arc::get_mut(&mut file).context("nobody else holds the file")?;
        *bytes.get_mut(at).context("the tensor lies within the file")? ^= 1;
        let mut forged = Model::assemble(read_gguf(file)?, honest.formats.clone())?;
        // The lie: the changed weights pass for the published ones.
        forged.commitment = honest.commitment;
        let engine = Engine::new(Arc::new(forged), self.run.engine())?;
        let completed = forge(&engine, self.request, &self.request.prompt_ids, &self.agreed_seed())?;
        let pairs = completed.output_ids.iter().zip(&self.claim.output_ids);
        let lengths = completed.output_ids.len().abs_diff(self.claim.output_ids.len());
        let tokens_changed = pairs.filter(|(forged, honest)| forged != honest).count() + lengths;
        let report = WeightCheat { tensor, byte, tokens_changed };
        Ok((self.case("one 4-bit weight changed", self.dress(completed), "logit_fingerprint"), report))
    }

    /// The draws come from a seed that the server likes better; the claim names the agreed one.
    fn another_seed(&self) -> anyhow::Result<Case> {
        let seed = derive_seed(&self.request.nonce, &ClientSeed::from_bytes([1; ID_BYTES]));
        let completed = forge(self.engine, self.request, &self.request.prompt_ids, &seed)?;
        Ok(self.case("another seed", self.dress(completed), "output_token"))
    }

    /// The server reads only the second half of the prompt.
    fn truncated_prompt(&self) -> anyhow::Result<Case> {
        let prompt = &self.request.prompt_ids;
        let (_, read) = prompt.split_at(prompt.len() / 2);
        let completed = forge(self.engine, self.request, read, &self.agreed_seed())?;
        Ok(self.case("truncated prompt", self.dress(completed), "logit_fingerprint"))
    }

    fn agreed_seed(&self) -> Seed {
        derive_seed(&self.request.nonce, &self.request.client_seed)
    }

    /// The forged output as a claim about the honest model and the agreed request.
    fn dress(&self, completed: Completed) -> Claim {
        completed.into_claim(self.engine.model(), self.request.clone(), self.claim.template.is_some())
    }
}

/// What a server gives out that reads `read` instead of the prompt and draws from `seed`, with fingerprints for
/// the request that it claims to have served.
pub(in crate::commands) fn forge(
    engine: &Engine,
    request: &Request,
    read: &[u32],
    seed: &Seed,
) -> anyhow::Result<Completed> {
    let model = engine.model();
    let settings = &request.settings;
    let point = fingerprint_point(&model.commitment, &request.nonce, &request.prompt_ids, settings);
    let fingerprinter = Fingerprinter::new(&point, model.config.vocab as usize);
    let sampler = engine.new_sampler();
    let mut cache = engine.new_cache();
    let mut seen: BTreeSet<u32> = request.prompt_ids.iter().copied().collect();
    let mut completed = Completed {
        output_ids: Vec::new(),
        fingerprints: Vec::new(),
        finish: FinishReason::Length,
        logprobs: None,
    };
    let mut pending = read.to_vec();
    loop {
        let position = request.prompt_ids.len() + completed.output_ids.len();
        let draw = draw_u64(seed, position as u64);
        let mut chunks = [Chunk { cache: &mut cache, ids: &pending, logits_from: pending.len() - 1 }];
        let forward = engine.forward(&mut chunks, |_, logits| {
            (fingerprinter.fingerprint(logits), sampler.sample(logits, settings, &seen, draw))
        });
        let Some((fingerprint, token)) = forward.results.into_iter().next() else {
            bail!("an activation left its range; take another request");
        };
        completed.fingerprints.push(fingerprint);
        completed.output_ids.push(token);
        let outputs = completed.output_ids.len();
        if let Some(finish) = finish_reason(model, settings, request.prompt_ids.len(), outputs, token) {
            completed.finish = finish;
            return Ok(completed);
        }
        seen.insert(token);
        pending = vec![token];
    }
}

/// A byte of 4-bit codes in the middle of a tensor: its offset in the file and in the tensor.
fn find_quant(file: &Arc<Vec<u8>>, name: &str) -> anyhow::Result<(usize, usize)> {
    let gguf = Gguf::parse(Arc::clone(file))?;
    let tensor = gguf.tensor(name).with_context(|| format!("the model has no tensor {name}"))?;
    let TensorType::Block(kind @ (BlockKind::Q4_0 | BlockKind::Q4_1 | BlockKind::Q4K)) = tensor.tensor_type()
    else {
        bail!("{name} is not stored in 4 bits; take a Q4_0, Q4_1 or Q4_K quantization for the demo");
    };
    let bytes = tensor.bytes().as_slice();
    let block = kind.block_bytes() as usize;
    // In all three kinds a block ends with its codes, two in a byte.
    let byte = bytes.len() / block / 2 * block + block - 1;
    // The tensor's bytes are a part of the file's.
    let start = bytes.as_ptr().addr() - file.as_ptr().addr();
    Ok((start + byte, byte))
}
