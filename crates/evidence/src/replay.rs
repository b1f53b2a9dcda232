//! Exact replay: one teacher-forced prefill of prompt and output recomputes every logit that a token was
//! chosen from. Accepts exactly the claims that an honest run gives; soundness error 0 within the numerics
//! class, since every bit is recomputed. Never generates, never trusts the claim's seed or text.

use std::collections::{BTreeMap, BTreeSet};

use engine::batch::{check_prompt, choose, finish_reason};
use engine::execute::{Chunk, Place};
use engine::fingerprint::Fingerprinter;
use engine::{Engine, Error as EngineError};
use model::NUMERICS;
use protocol::claim::{Claim, FinishReason};
use protocol::fingerprint::{LogitFingerprint, fingerprint_point};
use protocol::id::Nonce;
use protocol::logprobs::TokenLogprobs;
use protocol::seed::{derive_seed, draw_u64};
use protocol::verdict::{Missing, Reason, Verdict};

use crate::Error;

/// Judges a claim by running it again. `issued` is the nonce that the checker gave out for this request;
/// without it nothing is said about freshness.
///
/// # Errors
/// [`Error::Tokenizer`] if this build can't decode the model's tokens; nobody is to blame for that.
pub fn replay(engine: &Engine, claim: &Claim, issued: Option<&Nonce>) -> Result<Verdict, Error> {
    if claim.finish == FinishReason::ReaderLeft {
        return Ok(Verdict::Reject(ends_early(claim)));
    }
    replay_delivered(engine, claim, issued)
}

/// As [`replay`], for claims that a gateway wrote down itself: it saw when the reader left, so the beginning of an
/// answer is as good as the whole.
///
/// # Errors
/// As [`replay`].
pub fn replay_delivered(engine: &Engine, claim: &Claim, issued: Option<&Nonce>) -> Result<Verdict, Error> {
    let model = engine.model();
    if claim.model != model.commitment {
        return Ok(Verdict::Undecided(Missing::Model(claim.model)));
    }
    if claim.numerics != NUMERICS {
        let (claimed, model) = (claim.numerics.clone(), NUMERICS.to_owned());
        return Ok(Verdict::Reject(Reason::Numerics { claimed, model }));
    }
    if let Some(reason) = check_statement(engine, claim, issued) {
        return Ok(Verdict::Reject(reason));
    }
    if let Some(reason) = check_computation(engine, claim) {
        return Ok(Verdict::Reject(reason));
    }
    let bytes = model.tokenizer.decode_bytes(&claim.output_ids)?;
    if bytes != claim.output_bytes {
        let same = bytes.iter().zip(&claim.output_bytes).take_while(|(a, b)| a == b).count();
        let offset = u32::try_from(same).unwrap_or(u32::MAX);
        return Ok(Verdict::Reject(Reason::OutputBytes { offset }));
    }
    Ok(Verdict::Accept)
}

/// Everything that needs no forward pass.
fn check_statement(engine: &Engine, claim: &Claim, issued: Option<&Nonce>) -> Option<Reason> {
    let model = engine.model();
    if let Some(issued) = issued.filter(|issued| **issued != claim.nonce) {
        return Some(Reason::Nonce { claimed: claim.nonce, issued: *issued });
    }
    if let Some(reason) = claim.contradiction() {
        return Some(reason);
    }
    if claim.template.is_some() && claim.template != model.template {
        return Some(Reason::Template { claimed: claim.template, model: model.template });
    }
    let context = model.config.context;
    match check_prompt(model, &claim.prompt_ids) {
        Ok(()) => {}
        Err(EngineError::TokenOutOfVocabulary { position, id, vocabulary }) => {
            let position = number(position);
            return Some(Reason::PromptTokenOutOfVocabulary { position, token: id, vocabulary });
        }
        Err(EngineError::PromptTooLong { tokens, context }) => {
            return Some(Reason::ContextExceeded { tokens: number(tokens), context });
        }
        Err(_) => return Some(Reason::PromptEmpty),
    }
    let tokens = claim.prompt_ids.len() + claim.output_ids.len();
    if tokens > context as usize {
        return Some(Reason::ContextExceeded { tokens: number(tokens), context });
    }
    None
}

/// What the model computes at one output position.
struct Computed {
    fingerprint: LogitFingerprint,
    token: u32,
    /// If the claim has them.
    logprobs: Option<TokenLogprobs>,
}

fn check_computation(engine: &Engine, claim: &Claim) -> Option<Reason> {
    let vocabulary = engine.model().config.vocab;
    let unknown = claim.output_ids.iter().position(|id| *id >= vocabulary);
    // Tokens that can be fed: the prompt and the outputs before the first unknown one.
    let outputs = &claim.output_ids[..unknown.unwrap_or(claim.output_ids.len())];
    let out_of_range_claimed = match claim.finish {
        FinishReason::OutOfRange { position } => Some(position),
        FinishReason::EndToken
        | FinishReason::Length
        | FinishReason::ContextFull
        | FinishReason::ReaderLeft => None,
    };
    // The last output token was never read back, unless reading it is what left the range.
    let read = if unknown.is_some() || out_of_range_claimed.is_some() {
        outputs.len()
    } else {
        outputs.len().saturating_sub(1)
    };
    let (computed, out_of_range) = teacher_force(engine, claim, &outputs[..read]);
    for (i, claimed) in claim.output_ids.iter().enumerate() {
        let Some(computed) = computed.get(i) else {
            return Some(Reason::OutOfRange { claimed: out_of_range_claimed, computed: out_of_range });
        };
        if computed.fingerprint != claim.fingerprints[i] {
            return Some(Reason::LogitFingerprint { position: number(i) });
        }
        if computed.token != *claimed {
            let (position, computed) = (number(i), computed.token);
            return Some(Reason::OutputToken { position, claimed: *claimed, computed });
        }
        let claimed = claim.logprobs.as_ref().map(|logprobs| logprobs.tokens.get(i));
        if claimed.is_some_and(|claimed| claimed != computed.logprobs.as_ref()) {
            return Some(Reason::Logprob { position: number(i) });
        }
    }
    check_finish(engine, claim, out_of_range_claimed, out_of_range)
}

/// One prefill of prompt and `read` outputs; the logits after the prompt and after each output.
fn teacher_force(engine: &Engine, claim: &Claim, read: &[u32]) -> (Vec<Computed>, Option<u32>) {
    let model = engine.model();
    let settings = &claim.settings;
    let point = fingerprint_point(&model.commitment, &claim.nonce, &claim.prompt_ids, settings);
    let fingerprinter = Fingerprinter::new(&point, model.config.vocab as usize);
    let seed = derive_seed(&claim.nonce, &claim.client_seed);
    let sampler = engine.new_sampler();
    let top = claim.logprobs.as_ref().map(|logprobs| logprobs.top);
    let ids: Vec<u32> = claim.prompt_ids.iter().chain(read).copied().collect();
    let first_seen = first_positions(&ids);
    let mut cache = engine.new_cache();
    let from = claim.prompt_ids.len() - 1;
    let mut chunks = [Chunk { cache: &mut cache, ids: &ids, logits_from: from }];
    let forward = engine.forward(&mut chunks, |Place { position, .. }, logits| {
        let fingerprint = fingerprinter.fingerprint(logits);
        let seen: BTreeSet<u32> = if settings.repetition_penalty_milli == 1000 {
            BTreeSet::new()
        } else {
            first_seen.iter().filter(|(_, first)| **first <= position).map(|(id, _)| *id).collect()
        };
        let draw = draw_u64(&seed, position as u64 + 1);
        let (token, logprobs) = choose(&sampler, logits, settings, &seen, draw, top);
        Computed { fingerprint, token, logprobs }
    });
    (forward.results, forward.out_of_range[0])
}

/// Of each id, where it first stands.
fn first_positions(ids: &[u32]) -> BTreeMap<u32, usize> {
    let mut first = BTreeMap::new();
    for (position, id) in ids.iter().enumerate() {
        first.entry(*id).or_insert(position);
    }
    first
}

/// The tokens are right; now the place where they stop.
fn check_finish(
    engine: &Engine,
    claim: &Claim,
    out_of_range_claimed: Option<u32>,
    out_of_range: Option<u32>,
) -> Option<Reason> {
    if out_of_range_claimed != out_of_range {
        return Some(Reason::OutOfRange { claimed: out_of_range_claimed, computed: out_of_range });
    }
    let (prompt, tokens) = (claim.prompt_ids.len(), claim.output_ids.len());
    for (i, token) in claim.output_ids.iter().enumerate() {
        let Some(computed) = finish_reason(engine.model(), &claim.settings, prompt, i + 1, *token) else {
            continue;
        };
        if i + 1 < tokens || out_of_range.is_some() {
            // Only an end token can stop an honest run before the limits that `contradiction` has checked.
            return Some(if computed == FinishReason::EndToken && i + 1 < tokens {
                Reason::TokenAfterEnd { position: number(i + 1) }
            } else {
                Reason::FinishReason { claimed: claim.finish, computed }
            });
        }
        // Who left with the last token need not have known that it was the last.
        let fits = computed == claim.finish || claim.finish == FinishReason::ReaderLeft;
        return (!fits).then_some(Reason::FinishReason { claimed: claim.finish, computed });
    }
    if out_of_range.is_some() || claim.finish == FinishReason::ReaderLeft {
        return None;
    }
    Some(ends_early(claim))
}

fn ends_early(claim: &Claim) -> Reason {
    Reason::EndsEarly { claimed: claim.finish, tokens: number(claim.output_ids.len()) }
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
