//! What a cheating prover claims and shows: the cheats of the red team, each as clever as its kind allows. All of them
//! commit to the trace that they show. Never used but by `redteam` and `dispute --cheat`.

use std::sync::Arc;

use anyhow::{Context, bail};
use clap::ValueEnum;
use engine::trace::{ChunkTrace, Tracer};
use engine::{Engine, EngineOptions, Request, complete};
use evidence::audit::transcript;
use evidence::trace::{LEAF_TOKENS, TraceOpener, TraceShape};
use model::Model;
use model::import::SlidingWindow;
use model::import::read_gguf;
use model::recipe::Recipe;
use model::synthetic::SplitMix64;
use model::weights::{BlockKind, Form, TensorBytes, Weights};
use protocol::seed::derive_seed;
use protocol::{Claim, ClientSeed, Nonce};

use crate::commands::demo::cheats::forge;
use crate::commands::serve::cheat::{Cheat as ServerCheat, change_model};

/// Tokens of a recorded chunk.
const CHUNK: usize = 32;
/// Seeds that a biased sampler tries until an answer differs.
const SEEDS: u64 = 64;
/// Places that a changed model is tried at.
const DRAWS: u64 = 16;

/// A cheat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cheat {
    /// One weight of one matrix is another
    Weight,
    /// 8-bit weights instead of the file's
    EightBits,
    /// One head of one block says nothing
    Head,
    /// One block adds nothing
    Block,
    /// Keys and values of one token are those of another
    Cache,
    /// Attention sees only the last few tokens
    Window,
    /// Tokens are drawn from another seed
    Sampler,
    /// An old answer with its trace, for a new request
    Replayed,
    /// The trace of another prompt
    Prompt,
    /// An honest trace, and another last token
    Output,
}

impl Cheat {
    /// Stable machine name.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::EightBits => "eight-bits",
            Self::Head => "head",
            Self::Block => "block",
            Self::Cache => "cache",
            Self::Window => "window",
            Self::Sampler => "sampler",
            Self::Replayed => "replayed",
            Self::Prompt => "prompt",
            Self::Output => "output",
        }
    }

    /// Of so many blocks and what is behind them, how many parts do not follow from their inputs: what an audit of
    /// parts can find.
    pub(crate) fn wrong_parts(self, blocks: usize) -> usize {
        match self {
            // Every block sees the wrong keys, or has the wrong weights.
            Self::EightBits | Self::Cache | Self::Window => blocks,
            // One block; the embedding, which is the first block's; or the head, which has the output.
            Self::Weight
            | Self::Head
            | Self::Block
            | Self::Sampler
            | Self::Replayed
            | Self::Prompt
            | Self::Output => 1,
        }
    }
}

/// A claim with the trace that its prover shows.
pub(crate) struct Lie {
    /// Committed to the trace.
    pub(crate) claim: Claim,
    /// All of it, in whole leaves.
    pub(crate) trace: Vec<ChunkTrace>,
    /// Its tree.
    pub(crate) opener: TraceOpener,
}

/// Where cheats start from: the honest engine and the file that it came from.
pub(crate) struct Scene<'s> {
    /// Honest.
    pub(crate) engine: &'s Engine,
    /// The model's file.
    pub(crate) file: &'s Arc<Vec<u8>>,
    /// How engines are started.
    pub(crate) options: EngineOptions,
}

impl Scene<'_> {
    /// The honest answer with its trace.
    pub(crate) fn honest(&self, request: &Request) -> anyhow::Result<Lie> {
        self.shown(self.engine, self.answer(self.engine, request)?)
    }

    /// A cheat about a request.
    pub(crate) fn lie(
        &self,
        cheat: Cheat,
        request: &Request,
        random: &mut SplitMix64,
    ) -> anyhow::Result<Lie> {
        match cheat {
            Cheat::Weight | Cheat::EightBits | Cheat::Head | Cheat::Block | Cheat::Window => {
                let engine = self.changed(cheat, random)?;
                self.shown(&engine, self.answer(&engine, request)?)
            }
            Cheat::Cache => self.poisoned(request, random),
            Cheat::Sampler => self.biased(request, random),
            Cheat::Replayed => {
                let mut old = request.clone();
                old.nonce = Nonce::from_bytes(draw_bytes(random));
                let mut claim = self.answer(self.engine, &old)?;
                claim.nonce = request.nonce;
                claim.seed = derive_seed(&request.nonce, &request.client_seed);
                self.shown(self.engine, claim)
            }
            Cheat::Prompt => {
                let read = self.other_prompt(&request.prompt_ids, random);
                let claim = self.forged(request, &read, request)?;
                self.shown_as(self.engine, claim, &read)
            }
            Cheat::Output => {
                let mut claim = self.answer(self.engine, request)?;
                let model = self.engine.model();
                let last = claim.output_ids.last_mut().context("the answer has tokens")?;
                let honest = *last;
                let others = (1..model.config.vocab).map(|step| (honest + step) % model.config.vocab);
                *last =
                    others.into_iter().find(|id| !model.tokenizer.is_end(*id)).context("another token")?;
                claim.output_bytes = model.tokenizer.decode_bytes(&claim.output_ids)?;
                self.shown(self.engine, claim)
            }
        }
    }

    fn answer(&self, engine: &Engine, request: &Request) -> anyhow::Result<Claim> {
        let completed = complete(engine, request.clone(), |_| {})?;
        Ok(completed.into_claim(self.engine.model(), request.clone(), false))
    }

    /// An answer to `read`, with fingerprints and name of `request`, drawn for `drawn`.
    fn forged(&self, request: &Request, read: &[u32], drawn: &Request) -> anyhow::Result<Claim> {
        let seed = derive_seed(&drawn.nonce, &drawn.client_seed);
        let completed = forge(self.engine, request, read, &seed)?;
        Ok(completed.into_claim(self.engine.model(), request.clone(), false))
    }

    fn shown(&self, engine: &Engine, claim: Claim) -> anyhow::Result<Lie> {
        let prompt = claim.prompt_ids.clone();
        self.shown_as(engine, claim, &prompt)
    }

    /// With the trace of another prompt of the same length.
    fn shown_as(&self, engine: &Engine, claim: Claim, read: &[u32]) -> anyhow::Result<Lie> {
        let (ids, from) = transcript(self.engine.model(), &claim);
        let ids: Vec<u32> = read.iter().chain(ids.iter().skip(read.len())).copied().collect();
        self.committed(claim, Tracer::whole(engine, &ids, from, CHUNK).collect())
    }

    fn committed(&self, mut claim: Claim, trace: Vec<ChunkTrace>) -> anyhow::Result<Lie> {
        let opener = opener_of(self.engine.model(), &claim, &trace)?;
        claim.trace = Some(opener.root());
        Ok(Lie { claim, trace, opener })
    }

    /// One prompt token is another for all that comes behind its leaf.
    fn poisoned(&self, request: &Request, random: &mut SplitMix64) -> anyhow::Result<Lie> {
        let leaves = (request.prompt_ids.len() / LEAF_TOKENS).saturating_sub(1);
        if leaves == 0 {
            bail!("the prompt is too short for a poisoned cache: it needs {} tokens", 2 * LEAF_TOKENS);
        }
        let at = random.below((leaves * LEAF_TOKENS) as u64) as usize;
        let mut read = request.prompt_ids.clone();
        let vocabulary = u64::from(self.engine.model().config.vocab);
        let token = read.get_mut(at).context("within the prompt")?;
        let step = 1 + random.below(vocabulary - 1);
        *token = u32::try_from((u64::from(*token) + step) % vocabulary)?;
        let claim = self.forged(request, &read, request)?;
        let (ids, from) = transcript(self.engine.model(), &claim);
        let poisoned: Vec<u32> = read.iter().chain(ids.iter().skip(read.len())).copied().collect();
        let first = at / LEAF_TOKENS * LEAF_TOKENS + LEAF_TOKENS;
        let honest = Tracer::whole(self.engine, &ids, from, LEAF_TOKENS);
        let mut trace: Vec<ChunkTrace> = honest.take_while(|chunk| chunk.start < first).collect();
        let behind = Tracer::whole(self.engine, &poisoned, from, LEAF_TOKENS);
        trace.extend(behind.filter(|chunk| chunk.start >= first));
        self.committed(claim, trace)
    }

    /// The answer that another seed gives, under the name of the agreed one.
    fn biased(&self, request: &Request, random: &mut SplitMix64) -> anyhow::Result<Lie> {
        let honest = self.answer(self.engine, request)?;
        for _ in 0..SEEDS {
            let mut other = request.clone();
            other.client_seed = ClientSeed::from_bytes(draw_bytes(random));
            let claim = self.forged(request, &request.prompt_ids, &other)?;
            if claim.output_ids != honest.output_ids {
                return self.shown(self.engine, claim);
            }
        }
        bail!("{SEEDS} seeds give the same answer: take a higher temperature")
    }

    fn other_prompt(&self, prompt: &[u32], random: &mut SplitMix64) -> Vec<u32> {
        let vocabulary = u64::from(self.engine.model().config.vocab);
        let mut read = prompt.to_vec();
        if let Some(token) = read.first_mut() {
            *token = ((u64::from(*token) + 1 + random.below(vocabulary - 1)) % vocabulary) as u32;
        }
        read
    }

    /// The engine that runs behind the honest name.
    fn changed(&self, cheat: Cheat, random: &mut SplitMix64) -> anyhow::Result<Engine> {
        // A change that moves the grid shows before anything runs: a clever cheat makes another.
        let mut last = None;
        for _ in 0..DRAWS {
            match self.try_changed(cheat, random) {
                Ok(engine) => return Ok(engine),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("at least one draw")?)
    }

    fn try_changed(&self, cheat: Cheat, random: &mut SplitMix64) -> anyhow::Result<Engine> {
        let honest = self.engine.model();
        let mut model = Model::assemble(read_gguf(Arc::clone(self.file))?, honest.formats.clone())?;
        let block = random.below(model.tensors.blocks.len() as u64) as usize;
        let dim = model.config.head_dim as usize;
        let head = random.below(u64::from(model.config.heads)) as usize;
        let tensors = model.tensors.blocks.get_mut(block).context("the model has blocks")?;
        match cheat {
            Cheat::Weight => {
                let matrices = [
                    &mut tensors.q,
                    &mut tensors.k,
                    &mut tensors.v,
                    &mut tensors.o,
                    &mut tensors.gate,
                    &mut tensors.up,
                    &mut tensors.down,
                ];
                let chosen = random.below(matrices.len() as u64) as usize;
                for (_, weights) in matrices.into_iter().enumerate().filter(|(number, _)| *number == chosen) {
                    *weights = one_step(weights, random)?;
                }
            }
            Cheat::EightBits => model = change_model(ServerCheat::Quantized, model, Arc::clone(self.file))?,
            Cheat::Head => tensors.o = without_columns(&tensors.o, head * dim..(head + 1) * dim)?,
            Cheat::Block => {
                let all = 0..tensors.o.cols() as usize;
                tensors.o = without_columns(&tensors.o, all)?;
                let all = 0..tensors.down.cols() as usize;
                tensors.down = without_columns(&tensors.down, all)?;
            }
            Cheat::Window => {
                let sliding = SlidingWindow {
                    window: 8,
                    period: u32::MAX,
                    rope_base_bits: model.config.rope_base_bits,
                };
                model.config.sliding = Some(sliding);
                model.recipe = Recipe::new(&model.config);
            }
            Cheat::Cache | Cheat::Sampler | Cheat::Replayed | Cheat::Prompt | Cheat::Output => {}
        }
        model.commitment = honest.commitment;
        Ok(Engine::new(Arc::new(model), self.options)?)
    }
}

/// The tree of a trace of a claim's tokens.
pub(crate) fn opener_of(model: &Model, claim: &Claim, trace: &[ChunkTrace]) -> anyhow::Result<TraceOpener> {
    let shape = TraceShape::new(model, transcript(model, claim).0.len());
    TraceOpener::of(shape, trace).context("a trace of all tokens has a root")
}

/// Adds 1 to one number of a trace.
pub(crate) fn change_a_number(trace: &mut [ChunkTrace], random: &mut SplitMix64) -> anyhow::Result<()> {
    let chunk = random.below(trace.len() as u64) as usize;
    let chunk = trace.get_mut(chunk).context("the claim has no tokens")?;
    let block = random.below(chunk.blocks.len() as u64) as usize;
    let operations = &mut chunk.blocks.get_mut(block).context("drawn among them")?.operations;
    let values = operations.iter_mut().map(|o| &mut o.values).filter(|values| !values.is_empty());
    let mut values: Vec<_> = values.collect();
    let operation = random.below(values.len() as u64) as usize;
    let values = values.get_mut(operation).context("each block has numbers")?;
    let at = random.below(values.len() as u64) as usize;
    *values.get_mut(at).context("drawn among them")? += 1;
    Ok(())
}

/// 32 bytes that follow from the seed.
pub(crate) fn draw_bytes(random: &mut SplitMix64) -> [u8; 32] {
    let mut bytes = [0; 32];
    for part in bytes.chunks_exact_mut(8) {
        part.copy_from_slice(&random.next_u64().to_le_bytes());
    }
    bytes
}

/// The lowest bit of one code changed.
fn one_step(weights: &Weights, random: &mut SplitMix64) -> anyhow::Result<Weights> {
    let (kind, mut bytes) = blocks_of(weights)?;
    let block = kind.block_bytes() as usize;
    let number = random.below((bytes.len() / block) as u64) as usize;
    // Blocks of these kinds end with their codes.
    let code = random.below(16) as usize;
    let at = number * block + block - 1 - code;
    *bytes.get_mut(at).context("within the block")? ^= 1;
    whole(weights, kind, bytes)
}

/// With zeros in these columns, which must be whole blocks of the format.
fn without_columns(weights: &Weights, columns: std::ops::Range<usize>) -> anyhow::Result<Weights> {
    let (kind, mut bytes) = blocks_of(weights)?;
    let (codes, block) = (kind.block_weights() as usize, kind.block_bytes() as usize);
    if !columns.start.is_multiple_of(codes) || !columns.end.is_multiple_of(codes) {
        bail!("a head of {} columns is not a whole number of blocks of {codes}", columns.len());
    }
    let row = weights.cols() as usize / codes * block;
    for row in bytes.chunks_exact_mut(row) {
        let range = columns.start / codes * block..columns.end / codes * block;
        for block in row.get_mut(range).context("within the row")?.chunks_exact_mut(block) {
            // The scale stays, and with it the grid: all that is 0 is what it scales.
            let (_scale, rest) = block.split_at_mut(2);
            rest.fill(if kind == BlockKind::Q4_0 { 0x88 } else { 0 });
        }
    }
    whole(weights, kind, bytes)
}

fn blocks_of(weights: &Weights) -> anyhow::Result<(BlockKind, Vec<u8>)> {
    match weights.form() {
        Form::Blocks { kind: kind @ (BlockKind::Q4_0 | BlockKind::Q4_1 | BlockKind::Q8_0), bytes } => {
            Ok((*kind, bytes.as_slice().to_vec()))
        }
        Form::Blocks { .. } | Form::Rows { .. } => {
            bail!(
                "{} is in a format that the red team does not change: take Q4_0, Q4_1 or Q8_0",
                weights.name()
            )
        }
    }
}

fn whole(weights: &Weights, kind: BlockKind, bytes: Vec<u8>) -> anyhow::Result<Weights> {
    let bytes = TensorBytes::whole(bytes);
    let changed = Weights::from_blocks(weights.name(), kind, weights.rows(), weights.cols(), bytes)?;
    if changed.grid() != weights.grid() {
        bail!("{} would have another grid: the change shows before anything runs", weights.name());
    }
    Ok(changed)
}
