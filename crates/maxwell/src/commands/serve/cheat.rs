//! What a cheating server does, so that people and tests can watch it get caught. Never used without `--cheat`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::bail;
use clap::ValueEnum;
use engine::{Completed, Request};
use model::Model;
use model::formats::Formats;
use model::import::read_gguf;
use model::weights::{Form, Weights};
use protocol::FinishReason;
use protocol::TokenLogprobs;
use protocol::fingerprint::LogitFingerprint;
use protocol::link::FromServer;

/// Blocks that a smaller model lacks.
const BLOCKS_DROPPED: usize = 4;
/// Largest left shift of a row of words.
const MAX_ROW_SHIFT: u32 = 12;
/// The output token that is changed, counted from 0.
const TAMPERED_TOKEN: u32 = 2;
/// Answers that are kept to be given again.
const ANSWERS_MAX: usize = 1 << 12;

/// How to cheat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cheat {
    /// The same model without its last four blocks
    SmallerModel,
    /// 8-bit weights instead of the file's
    Quantized,
    /// Cached answers to prompts that came before
    Replay,
    /// Half of the prompt is dropped
    Truncate,
    /// One token of each answer is changed
    Tamper,
    /// One log-probability of each answer is changed, and nothing else; only answers with log-probabilities have any
    Logprobs,
}

/// The model that a cheater runs instead. It still says that it is the one that was ordered.
pub(crate) fn change_model(cheat: Cheat, model: Model, weights: Arc<Vec<u8>>) -> anyhow::Result<Model> {
    let honest = model.commitment;
    let mut changed = match cheat {
        Cheat::SmallerModel => smaller(&model, weights)?,
        Cheat::Quantized => quantized(model)?,
        Cheat::Replay | Cheat::Truncate | Cheat::Tamper | Cheat::Logprobs => model,
    };
    changed.commitment = honest;
    Ok(changed)
}

fn smaller(model: &Model, weights: Arc<Vec<u8>>) -> anyhow::Result<Model> {
    let mut file = read_gguf(weights)?;
    let Some(blocks) = file.tensors.blocks.len().checked_sub(BLOCKS_DROPPED).filter(|blocks| *blocks > 0)
    else {
        bail!("the model has too few blocks to drop {BLOCKS_DROPPED}");
    };
    file.tensors.blocks.truncate(blocks);
    file.config.blocks = u32::try_from(blocks)?;
    let formats = Formats { blocks: model.formats.blocks[..blocks].to_vec(), ..model.formats.clone() };
    Ok(Model::assemble(file, formats)?)
}

fn quantized(mut model: Model) -> anyhow::Result<Model> {
    for block in &mut model.tensors.blocks {
        for weights in [
            &mut block.q,
            &mut block.k,
            &mut block.v,
            &mut block.o,
            &mut block.gate,
            &mut block.up,
            &mut block.down,
        ] {
            *weights = to_eight_bits(weights)?;
        }
    }
    Ok(model)
}

/// Rounds each row to signed 8-bit numbers times a power of two.
fn to_eight_bits(weights: &Weights) -> anyhow::Result<Weights> {
    if matches!(weights.form(), Form::Rows { .. }) {
        return Ok(weights.clone());
    }
    let (mut values, mut shifts, mut row) = (Vec::new(), Vec::new(), Vec::new());
    for r in 0..weights.rows() {
        weights.row(r, &mut row);
        let largest = row.iter().map(|w| w.unsigned_abs()).max().unwrap_or(0);
        let shift = (u64::BITS - largest.leading_zeros()).saturating_sub(7);
        let half = 1_i64 << shift >> 1;
        // A row's shift is limited; what is beyond goes into the words, whose lower bits are zero then.
        let kept = shift.min(MAX_ROW_SHIFT);
        let rounded = |w: &i64| i16::try_from((w + half) >> shift << (shift - kept)).unwrap_or(i16::MAX);
        values.extend(row.iter().map(rounded));
        shifts.push(u8::try_from(kept)?);
    }
    Ok(Weights::from_rows(weights.name(), weights.rows(), weights.cols(), weights.grid(), values, shifts)?)
}

/// What a cheater remembers.
pub(crate) struct Cheater {
    cheat: Option<Cheat>,
    /// Tokens that end an answer: the gateway would notice if one came or went.
    ends: Vec<u32>,
    /// Tokens so far of each answer.
    written: BTreeMap<u64, u32>,
    /// Prompts of the requests that run.
    prompts: BTreeMap<u64, Vec<u32>>,
    answers: HashMap<Vec<u32>, Completed>,
}

impl Cheater {
    pub(crate) fn new(cheat: Option<Cheat>, ends: &[u32]) -> Self {
        Self {
            cheat,
            ends: ends.to_vec(),
            written: BTreeMap::new(),
            prompts: BTreeMap::new(),
            answers: HashMap::new(),
        }
    }

    /// The request as it is computed, or an answer without computing.
    pub(crate) fn request(
        &mut self,
        tag: u64,
        mut request: Request,
        top: Option<u8>,
    ) -> Result<Request, Vec<FromServer>> {
        match self.cheat {
            Some(Cheat::Truncate) => {
                let half = request.prompt_ids.len() / 2;
                request.prompt_ids.drain(..half);
            }
            Some(Cheat::Replay) => {
                // One without the log-probabilities that are asked for would be noticed at once.
                let has_them = |answer: &&Completed| answer.logprobs.as_ref().map(|of| of.top) == top;
                if let Some(answer) = self.answers.get(&request.prompt_ids).filter(has_them) {
                    return Err(replayed(tag, answer, request.settings.max_tokens));
                }
                self.prompts.insert(tag, request.prompt_ids.clone());
            }
            Some(Cheat::SmallerModel | Cheat::Quantized | Cheat::Tamper | Cheat::Logprobs) | None => {}
        }
        Ok(request)
    }

    /// The token as it is sent.
    pub(crate) fn token(
        &mut self,
        tag: u64,
        id: u32,
        fingerprint: LogitFingerprint,
        mut logprobs: Option<TokenLogprobs>,
    ) -> FromServer {
        let written = self.written.entry(tag).or_default();
        // A neighbour in the vocabulary is always one of its tokens.
        let other = id ^ 1;
        let is_quiet = !self.ends.contains(&id) && !self.ends.contains(&other);
        let is_due = self.cheat == Some(Cheat::Tamper) && *written == TAMPERED_TOKEN;
        let tampers = is_due && is_quiet;
        // A token that can't be changed quietly leaves it to the next one.
        *written += u32::from(self.cheat == Some(Cheat::Tamper) && (tampers || !is_due));
        if self.cheat == Some(Cheat::Logprobs) && *written == 0 {
            logprobs = logprobs.map(|logprobs| lie(logprobs, id));
            *written = 1;
        }
        FromServer::Token { tag, id: if tampers { other } else { id }, fingerprint, logprobs }
    }

    /// An answer is done.
    pub(crate) fn finished(&mut self, tag: u64, completed: &Completed) {
        self.written.remove(&tag);
        if let Some(prompt) = self.prompts.remove(&tag)
            && self.answers.len() < ANSWERS_MAX
        {
            self.answers.insert(prompt, completed.clone());
        }
    }
}

/// Makes the last of the ranked tokens less likely, or the token itself if there are none: no order changes.
fn lie(mut logprobs: TokenLogprobs, id: u32) -> TokenLogprobs {
    let less = |below_micronats: u32| below_micronats.saturating_add(100_000);
    let last = logprobs.top.last_mut().map(|last| {
        last.below_micronats = less(last.below_micronats);
        last.id
    });
    if last.is_none_or(|last| last == id) {
        logprobs.below_micronats = less(logprobs.below_micronats);
    }
    logprobs
}

fn replayed(tag: u64, answer: &Completed, max_tokens: u32) -> Vec<FromServer> {
    let tokens = answer.output_ids.iter().zip(&answer.fingerprints).take(max_tokens as usize);
    let tokens = tokens.enumerate().map(|(at, (id, fingerprint))| {
        let logprobs = answer.logprobs.as_ref().and_then(|of| of.tokens.get(at).cloned());
        FromServer::Token { tag, id: *id, fingerprint: *fingerprint, logprobs }
    });
    let is_cut = answer.output_ids.len() > max_tokens as usize;
    let finish = if is_cut { FinishReason::Length } else { answer.finish };
    tokens.chain([FromServer::Finished { tag, finish }]).collect()
}
