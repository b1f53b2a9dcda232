//! Continuous batching: requests join and leave between steps; prompts are read in chunks beside sequences
//! that already write. No clock and no randomness of its own, and no result depends on the company.

use std::collections::{BTreeMap, BTreeSet};

use model::{Model, NUMERICS};
use protocol::claim::{CLAIM_VERSION, Claim, FinishReason};
use protocol::fingerprint::{LogitFingerprint, fingerprint_point};
use protocol::id::{ClientSeed, Nonce, Seed};
use protocol::logprobs::{Logprobs, TokenLogprobs};
use protocol::seed::{derive_seed, draw_u64};
use protocol::settings::SamplingSettings;

use crate::cache::KvCache;
use crate::execute::Chunk;
use crate::fingerprint::Fingerprinter;
use crate::sampler::TokenSampler;
use crate::{Engine, Error};

/// Prompt tokens that one step reads of one sequence.
pub const PREFILL_CHUNK: usize = 256;

/// What to generate.
#[derive(Clone, Debug)]
pub struct Request {
    /// The prompt.
    pub prompt_ids: Vec<u32>,
    /// How to choose tokens.
    pub settings: SamplingSettings,
    /// The checker's part of the seed.
    pub nonce: Nonce,
    /// The user's part of the seed.
    pub client_seed: ClientSeed,
}

/// A finished request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed {
    /// Output tokens, an end token included.
    pub output_ids: Vec<u32>,
    /// One per output token.
    pub fingerprints: Vec<LogitFingerprint>,
    /// Why the output ends.
    pub finish: FinishReason,
    /// One per output token, if they were asked for.
    pub logprobs: Option<Logprobs>,
}

/// What a step brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The next token of a sequence.
    Token {
        /// The sequence.
        sequence: u64,
        /// The token.
        id: u32,
        /// Of the logits from which it was chosen.
        fingerprint: LogitFingerprint,
        /// If they were asked for.
        logprobs: Option<TokenLogprobs>,
    },
    /// The sequence is done and has left the batch.
    Finished {
        /// The sequence.
        sequence: u64,
        /// Its output.
        completed: Completed,
    },
}

/// Sequences that run together.
#[derive(Debug)]
pub struct Batch<'e> {
    engine: &'e Engine,
    sampler: TokenSampler,
    prefill_chunk: usize,
    sequences: BTreeMap<u64, Sequence>,
    next: u64,
}

#[derive(Debug)]
struct Sequence {
    request: Request,
    seed: Seed,
    fingerprinter: Fingerprinter,
    cache: KvCache,
    seen: BTreeSet<u32>,
    /// Tokens that are not in the cache yet.
    pending: Vec<u32>,
    completed: Completed,
}

/// Checks a prompt against a model before anything is run.
///
/// # Errors
/// [`Error::EmptyPrompt`], [`Error::PromptTooLong`], [`Error::TokenOutOfVocabulary`].
pub fn check_prompt(model: &Model, ids: &[u32]) -> Result<(), Error> {
    let (context, vocabulary) = (model.config.context, model.config.vocab);
    if ids.is_empty() {
        return Err(Error::EmptyPrompt);
    }
    if ids.len() >= context as usize {
        return Err(Error::PromptTooLong { tokens: ids.len(), context });
    }
    match ids.iter().position(|id| *id >= vocabulary) {
        Some(position) => Err(Error::TokenOutOfVocabulary { position, id: ids[position], vocabulary }),
        None => Ok(()),
    }
}

impl<'e> Batch<'e> {
    /// An empty batch that reads prompts in chunks of [`PREFILL_CHUNK`].
    #[must_use]
    pub fn new(engine: &'e Engine) -> Self {
        Self::with_prefill_chunk(engine, PREFILL_CHUNK)
    }

    /// An empty batch with another chunk size; results do not depend on it.
    #[must_use]
    pub fn with_prefill_chunk(engine: &'e Engine, prefill_chunk: usize) -> Self {
        let sampler = engine.new_sampler();
        Self { engine, sampler, prefill_chunk: prefill_chunk.max(1), sequences: BTreeMap::new(), next: 0 }
    }

    /// Lets a request join from the next step on, and names its sequence.
    ///
    /// # Errors
    /// Those of [`check_prompt`], and [`Error::Settings`].
    pub fn add(&mut self, request: Request) -> Result<u64, Error> {
        self.add_with_logprobs(request, None)
    }

    /// The same, with log-probabilities of each token and of so many of the best ones if some are given.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_with_logprobs(&mut self, request: Request, top: Option<u8>) -> Result<u64, Error> {
        let model = self.engine.model();
        request.settings.validate()?;
        check_prompt(model, &request.prompt_ids)?;
        let point =
            fingerprint_point(&model.commitment, &request.nonce, &request.prompt_ids, &request.settings);
        let sequence = Sequence {
            seed: derive_seed(&request.nonce, &request.client_seed),
            fingerprinter: Fingerprinter::new(&point, model.config.vocab as usize),
            cache: self.engine.new_cache(),
            seen: request.prompt_ids.iter().copied().collect(),
            pending: request.prompt_ids.clone(),
            completed: Completed {
                output_ids: Vec::new(),
                fingerprints: Vec::new(),
                finish: FinishReason::Length,
                logprobs: top.map(|top| Logprobs { top, tokens: Vec::new() }),
            },
            request,
        };
        let id = self.next;
        self.next += 1;
        self.sequences.insert(id, sequence);
        Ok(id)
    }

    /// Takes a sequence out, for example because its client left; what it has so far is returned.
    pub fn cancel(&mut self, sequence: u64) -> Option<Completed> {
        self.sequences.remove(&sequence).map(|s| s.completed)
    }

    /// True when there is nothing to step.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// One forward pass: a chunk of each prompt that is not read yet, one token of each other sequence.
    pub fn step(&mut self) -> Vec<Event> {
        let (sampler, engine) = (&self.sampler, self.engine);
        let mut parts = Vec::new();
        let mut chunks = Vec::new();
        for sequence in self.sequences.values_mut() {
            let take = sequence.pending.len().min(self.prefill_chunk);
            let whole = take == sequence.pending.len();
            let Sequence { request, seed, fingerprinter, cache, seen, pending, completed } = sequence;
            chunks.push(Chunk {
                cache,
                ids: &pending[..take],
                logits_from: if whole { take - 1 } else { take },
            });
            let top = completed.logprobs.as_ref().map(|logprobs| logprobs.top);
            parts.push((&request.settings, &*seed, &*fingerprinter, &*seen, top));
        }
        let forward = engine.forward(&mut chunks, |place, logits| {
            let (settings, seed, fingerprinter, seen, top) = parts[place.chunk];
            let fingerprint = fingerprinter.fingerprint(logits);
            let draw = draw_u64(seed, place.position as u64 + 1);
            let (token, logprobs) = choose(sampler, logits, settings, seen, draw, top);
            (place.chunk, Sampled { fingerprint, token, logprobs })
        });
        self.collect(&forward.out_of_range, forward.results.into_iter().collect())
    }

    fn collect(&mut self, out_of_range: &[Option<u32>], mut sampled: BTreeMap<usize, Sampled>) -> Vec<Event> {
        let model = self.engine.model();
        let mut events = Vec::new();
        for (chunk, (id, sequence)) in self.sequences.iter_mut().enumerate() {
            let read = sequence.pending.len().min(self.prefill_chunk);
            sequence.pending.drain(..read);
            let mut finish = out_of_range[chunk].map(|position| FinishReason::OutOfRange { position });
            if let (None, Some(Sampled { fingerprint, token, logprobs })) = (finish, sampled.remove(&chunk)) {
                sequence.completed.fingerprints.push(fingerprint);
                sequence.completed.output_ids.push(token);
                if let (Some(all), Some(of_token)) = (&mut sequence.completed.logprobs, &logprobs) {
                    all.tokens.push(of_token.clone());
                }
                sequence.seen.insert(token);
                sequence.pending.push(token);
                events.push(Event::Token { sequence: *id, id: token, fingerprint, logprobs });
                let outputs = sequence.completed.output_ids.len();
                finish = finish_after(model, &sequence.request, outputs, token);
            }
            if let Some(finish) = finish {
                sequence.completed.finish = finish;
                let completed = sequence.completed.clone();
                events.push(Event::Finished { sequence: *id, completed });
            }
        }
        for event in &events {
            if let Event::Finished { sequence, .. } = event {
                self.sequences.remove(sequence);
            }
        }
        events
    }
}

/// What came out at one place of a step.
struct Sampled {
    fingerprint: LogitFingerprint,
    token: u32,
    logprobs: Option<TokenLogprobs>,
}

/// The next token, and log-probabilities if they are asked for. The one rule for generating and checking: those are of
/// the logits before the repetition penalty.
pub fn choose(
    sampler: &TokenSampler,
    logits: &[i64],
    settings: &SamplingSettings,
    seen: &BTreeSet<u32>,
    draw: u64,
    top: Option<u8>,
) -> (u32, Option<TokenLogprobs>) {
    let token = sampler.sample(logits, settings, seen, draw);
    (token, top.map(|top| sampler.logprobs(logits, token, top)))
}

/// Whether, and why, an output ends after its `outputs`-th token. The one rule for generating and checking:
/// an end token first, then the token limit, then the context.
#[must_use]
pub fn finish_reason(
    model: &Model,
    settings: &SamplingSettings,
    prompt: usize,
    outputs: usize,
    token: u32,
) -> Option<FinishReason> {
    if settings.stop_at_end && model.tokenizer.is_end(token) {
        Some(FinishReason::EndToken)
    } else if outputs >= settings.max_tokens as usize {
        Some(FinishReason::Length)
    } else if prompt + outputs >= model.config.context as usize {
        Some(FinishReason::ContextFull)
    } else {
        None
    }
}

fn finish_after(model: &Model, request: &Request, outputs: usize, token: u32) -> Option<FinishReason> {
    finish_reason(model, &request.settings, request.prompt_ids.len(), outputs, token)
}

/// Runs one request alone; `on_token` sees each token as it comes.
///
/// # Errors
/// Those of [`Batch::add`].
pub fn complete(
    engine: &Engine,
    request: Request,
    mut on_token: impl FnMut(u32),
) -> Result<Completed, Error> {
    let mut batch = Batch::new(engine);
    batch.add(request)?;
    loop {
        for event in batch.step() {
            match event {
                Event::Token { id, .. } => on_token(id),
                Event::Finished { completed, .. } => return Ok(completed),
            }
        }
    }
}

impl Completed {
    /// The claim that this output was computed by `model` for `request`.
    #[must_use]
    pub fn into_claim(self, model: &Model, request: Request, templated: bool) -> Claim {
        let output_bytes = model.tokenizer.decode_bytes(&self.output_ids).unwrap_or_default();
        Claim {
            version: CLAIM_VERSION,
            numerics: NUMERICS.to_owned(),
            model: model.commitment,
            template: model.template.filter(|_| templated),
            prompt_ids: request.prompt_ids,
            settings: request.settings,
            client_seed: request.client_seed,
            nonce: request.nonce,
            seed: derive_seed(&request.nonce, &request.client_seed),
            output_ids: self.output_ids,
            finish: self.finish,
            output_bytes,
            fingerprints: self.fingerprints,
            logprobs: self.logprobs,
            trace: None,
        }
    }
}
