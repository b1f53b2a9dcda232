//! What both sides know before the first message: shapes, shifts and tables, from the model's outline and the claim. Nothing here comes
//! from the proof but the widths of some ranges, which can be too narrow for an honest trace but never too wide for a sound one.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Model;
use model::formats::Site as FormatSite;
use model::import::ModelConfig;
use model::ops::requantize::{ACTIVATION_LIMIT_BITS, RESIDUAL_LIMIT_BITS};
use model::ops::rms_norm::{NORM_BITS, epsilon_term, numerator, output_exponent};
use model::ops::sampling::{FACTOR_BITS, factor};
use model::tables::{self, ROTATION_BITS, SHORT_CONTEXT, SOFTMAX_STEP_BITS};
use model::weights::{Vector, Weights};
use protocol::claim::{Claim, FinishReason};
use protocol::seed::draw_u64;
use protocol::settings::PPM;

use crate::error::Unprovable;
use crate::outline::{Outline, Tables};

/// Values that one opening of a stream gives together: 2^this at most.
const MAX_LANE_BITS: u32 = 6;
/// Remainders of this many bits are looked up whole; longer ones in two parts.
const ONE_LIMB_BITS: u32 = 20;
/// The longest shift that two parts cover.
const MAX_SHIFT: u32 = 42;
/// The largest range that is a table.
pub const MAX_RANGE_BITS: u32 = 22;
/// Limbs of a norm's row scalars.
pub const NORM_ROW_COLUMNS: usize = 16;

/// An operation whose result is rounded, and where its two remainders are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rounded {
    /// Norm before attention.
    AttnNorm,
    /// Norm before the feed-forward layer.
    MlpNorm,
    /// Norm before the logits, where a token is sampled.
    FinalNorm,
    /// Queries, rotated.
    Query,
    /// Keys, rotated.
    Key,
    /// Values.
    Value,
    /// The stream after attention.
    AttnAdd,
    /// The gate, input of the activation.
    Gate,
    /// The gated product.
    Product,
    /// The stream after the feed-forward layer.
    MlpAdd,
}

impl Rounded {
    /// All, in the order of a block.
    pub const ALL: [Self; 10] = [
        Self::AttnNorm,
        Self::Query,
        Self::Key,
        Self::Value,
        Self::AttnAdd,
        Self::MlpNorm,
        Self::Gate,
        Self::Product,
        Self::MlpAdd,
        Self::FinalNorm,
    ];
}

/// How far a result is shifted in each block, and in which parts its remainder is looked up.
#[derive(Clone, Debug, Default)]
pub struct Split {
    /// Bits of the remainder.
    pub shift: Vec<u32>,
    /// Its low bits.
    pub low: Vec<u32>,
    /// The rest, which is committed to; all zero if no block needs it.
    pub high: Vec<u32>,
    /// Whether any block does.
    pub is_long: bool,
}

/// Shapes.
#[derive(Clone, Copy, Debug)]
pub struct Dims {
    /// Transformer blocks.
    pub blocks: usize,
    /// Positions that are run.
    pub positions: usize,
    /// Positions whose logits are wanted: one per output.
    pub sampled: usize,
    /// The first of them.
    pub first_sampled: usize,
    /// Residual stream.
    pub width: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Of a head.
    pub head_dim: usize,
    /// Feed-forward layer.
    pub ff: usize,
    /// Tokens.
    pub vocab: usize,
    /// Every row of a tensor is a multiple of 2^this.
    pub lane_bits: u32,
}

impl Dims {
    /// The next multiple of the lanes.
    #[must_use]
    pub const fn padded(&self, count: usize) -> usize {
        count.next_multiple_of(self.lanes())
    }

    /// Values that one opening gives together.
    #[must_use]
    pub const fn lanes(&self) -> usize {
        1_usize.wrapping_shl(self.lane_bits)
    }

    /// Groups of lanes in so many integers.
    #[must_use]
    pub const fn groups(&self, integers: usize) -> usize {
        integers.wrapping_shr(self.lane_bits)
    }

    /// Groups of lanes in a head.
    #[must_use]
    pub const fn groups_per_head(&self) -> usize {
        self.groups(self.head_dim)
    }

    /// Query heads that share keys and values.
    #[must_use]
    pub fn heads_per_key(&self) -> usize {
        quotient(self.heads, self.kv_heads).max(1)
    }

    /// Query heads of all blocks, padded.
    #[must_use]
    pub const fn all_heads(&self) -> usize {
        self.padded(self.blocks.saturating_mul(self.heads))
    }

    /// Pairs of a position and a key that it sees.
    #[must_use]
    pub const fn cells(&self) -> usize {
        triangle(self.positions)
    }

    /// Rows that are normalized: attention's, the feed-forward layer's, the logits'; padded.
    #[must_use]
    pub const fn norm_rows(&self) -> usize {
        self.padded(self.blocks.saturating_mul(self.positions).saturating_mul(2).saturating_add(self.sampled))
    }
}

/// `a / b`; nothing goes into nothing.
#[must_use]
pub fn quotient(a: usize, b: usize) -> usize {
    a.checked_div(b).unwrap_or(0)
}

/// Cells before the row of a position: `0 + 1 + .. + (position - 1)` and as many more.
#[must_use]
pub const fn triangle(position: usize) -> usize {
    position.saturating_mul(position.saturating_add(1)) / 2
}

/// Results that may be *wide*: beyond their narrow range in some rows, which then take a second limb.
pub const WIDE: [Rounded; 5] =
    [Rounded::Query, Rounded::Key, Rounded::Product, Rounded::AttnAdd, Rounded::MlpAdd];

/// What the prover chooses by what its trace needs. No choice can admit a value that is out of the numerics' range: a range is at most
/// [`MAX_RANGE_BITS`], and a wide row's two limbs together stay within the limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Widths {
    /// Bits of distances from the largest score, and of high parts of distances from the largest logit.
    pub unsigned: [u8; 2],
    /// Of each of [`WIDE`], its wide rows in order.
    pub wide: [Vec<u32>; WIDE.len()],
    /// Of each output, what its draw went by; none at temperature 0.
    pub draws: Vec<Draw>,
}

/// What a draw goes by. The prover says it, the protocol binds it to the logits, and the rule of the draw is redone in the clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Draw {
    /// A token with the largest logit.
    pub peak: u32,
    /// Sum of all weights.
    pub total: u64,
    /// Sum of the weights of ids before the output's.
    pub before: u64,
    /// The output's weight.
    pub weight: u64,
}

/// How logits become weights at a temperature: `d = floor((max - logit) factor / 2^shift)`, weight by table.
#[derive(Clone, Debug)]
pub struct Sampler {
    /// 2^16 over the temperature.
    pub factor: u64,
    /// To steps of the table.
    pub shift: u32,
    /// Low bits of the remainder.
    pub low: u32,
    /// The rest.
    pub high: u32,
}

impl Widths {
    /// Every range is a table's, and every wide row is one of its result's, once and in order.
    #[must_use]
    pub fn are_allowed(&self, dims: &Dims) -> bool {
        let rows = |op| {
            let geometry = crate::layout::rounded_geometry(dims, op);
            geometry.a.saturating_mul(geometry.b)
        };
        let are_rows = |(op, wide): (Rounded, &Vec<u32>)| {
            wide.is_sorted_by(|a, b| a < b)
                && wide.last().is_none_or(|row| usize::try_from(*row).is_ok_and(|row| row < rows(op)))
        };
        self.unsigned.iter().all(|bits| (1..=22).contains(bits))
            && WIDE.into_iter().zip(&self.wide).all(are_rows)
    }

    /// The wide rows of a result.
    #[must_use]
    pub fn wide_rows(&self, op: Rounded) -> &[u32] {
        let found = WIDE.into_iter().zip(&self.wide).find(|(other, _)| *other == op);
        found.map_or(&[], |(_, rows)| rows.as_slice())
    }
}

impl Rounded {
    /// Bits of a narrow result, with its sign.
    #[must_use]
    pub const fn narrow_bits(self) -> u32 {
        match self {
            Self::AttnAdd | Self::MlpAdd => 21,
            _ => 16,
        }
    }

    /// Bits of a wide result's second limb, with its sign: both limbs together stay below 2^27 or 2^23 in magnitude.
    #[must_use]
    pub const fn wide_bits(self) -> u32 {
        match self {
            Self::AttnAdd | Self::MlpAdd => RESIDUAL_LIMIT_BITS.saturating_sub(self.narrow_bits()),
            _ => ACTIVATION_LIMIT_BITS.saturating_sub(self.narrow_bits()),
        }
    }
}

/// Everything that is known.
#[derive(Debug)]
pub struct Public<'m> {
    /// The model, without its matrices.
    pub outline: &'m Outline,
    /// The claim.
    pub claim: &'m Claim,
    /// Shapes.
    pub dims: Dims,
    /// The prover's choice.
    pub widths: Widths,
    /// Of each of [`Rounded::ALL`].
    pub splits: BTreeMap<Rounded, Split>,
    /// Of scores, per block.
    pub score_shift: Vec<u32>,
    /// Low bits of a distance from the largest logit.
    pub logit_low: u32,
    /// Above temperature 0.
    pub sampler: Option<Sampler>,
    /// Bits of a sum of softmax weights.
    pub sum_bits: u32,
    /// The tokens that are run, one per position.
    pub ids: Vec<u32>,
    /// What is looked up.
    pub tables: Arc<Tables>,
    /// Epsilon's term in a square sum.
    pub epsilon: u64,
    /// C of the norm.
    pub numerator: i64,
}

impl<'m> Public<'m> {
    /// Works it out.
    ///
    /// # Errors
    /// [`Unprovable`]: what of the model or the claim no proof covers yet.
    pub fn new(outline: &'m Outline, claim: &'m Claim, widths: Widths) -> Result<Self, Unprovable> {
        check_model(&outline.config)?;
        check_claim(claim)?;
        let dims = dims(outline, claim)?;
        let ids: Vec<u32> =
            claim.prompt_ids.iter().chain(&claim.output_ids).copied().take(dims.positions).collect();
        let vocab = outline.config.vocab;
        if let Some(id) = ids.iter().chain(&claim.output_ids).find(|id| **id >= vocab) {
            return Err(Unprovable::Token { id: *id, vocab });
        }
        let residual = outline.formats.residual;
        let epsilon = epsilon_term(outline.recipe.eps, outline.config.width, residual);
        // A square sum stays below 2^62 with it, and above zero, so that the root is at least one.
        let epsilon =
            u64::try_from(epsilon).ok().filter(|e| (1..1 << 50).contains(e)).ok_or(Unprovable::Epsilon)?;
        let tables = outline.tables(dims.positions);
        let largest = tables.exp.first().copied().unwrap_or_default();
        let most = u64::from(largest).saturating_mul(u64::try_from(dims.positions).unwrap_or(u64::MAX));
        Ok(Self {
            outline,
            claim,
            dims,
            widths,
            splits: splits(outline)?,
            score_shift: score_shifts(outline)?,
            logit_low: if dims.sampled.saturating_mul(dims.vocab) < 1 << 20 { 14 } else { 20 },
            sampler: sampler(outline, claim)?,
            sum_bits: u64::BITS.saturating_sub(most.leading_zeros()),
            ids,
            tables,
            epsilon,
            numerator: numerator(outline.config.width),
        })
    }

    /// How an operation's results are shifted.
    #[must_use]
    pub fn split(&self, op: Rounded) -> &Split {
        static NONE: Split = Split { shift: Vec::new(), low: Vec::new(), high: Vec::new(), is_long: false };
        self.splits.get(&op).unwrap_or(&NONE)
    }

    /// The weights of a norm in a block.
    #[must_use]
    pub fn norm_weights(&self, op: Rounded, block: usize) -> &[i16] {
        let norms = self.outline.norms.get(block);
        let vector = match op {
            Rounded::AttnNorm => norms.map(|[attn, _]| attn),
            Rounded::MlpNorm => norms.map(|[_, mlp]| mlp),
            _ => Some(&self.outline.output_norm),
        };
        vector.map(Vector::values).unwrap_or_default()
    }

    /// Whether every output is the one that its draw gives: the first id at which the running weight passes `u Z / 2^64`.
    #[must_use]
    pub fn draws_are_right(&self) -> bool {
        let outputs = if self.sampler.is_some() { self.claim.output_ids.len() } else { 0 };
        if self.widths.draws.len() != outputs {
            return false;
        }
        let first = u64::try_from(self.claim.prompt_ids.len()).unwrap_or(u64::MAX);
        (first..).zip(&self.widths.draws).all(|(position, draw)| {
            let drawn =
                u128::from(draw_u64(&self.claim.seed, position)).saturating_mul(u128::from(draw.total));
            let target = drawn.wrapping_shr(64);
            let (before, weight) = (u128::from(draw.before), u128::from(draw.weight));
            // Sums of as many weights of 24 bits as there are tokens: none of these is near p.
            draw.total < 1 << 48
                && draw.peak < self.outline.config.vocab
                && (before..before.saturating_add(weight)).contains(&target)
        })
    }

    /// The ids of the largest logits: the outputs at temperature 0.
    #[must_use]
    pub fn peaks(&self) -> Vec<u32> {
        match &self.sampler {
            Some(_) => self.widths.draws.iter().map(|draw| draw.peak).collect(),
            None => self.claim.output_ids.clone(),
        }
    }

    /// The gate's exponent in a block.
    #[must_use]
    pub fn gate_exponent(&self, block: usize) -> i32 {
        self.outline.formats.blocks.get(block).map_or(0, |formats| formats.exponent(FormatSite::Gate))
    }
}

/// A matrix of the model: one that activations are multiplied with, or the table of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Matrix {
    /// Queries.
    Query,
    /// Keys.
    Key,
    /// Values.
    Value,
    /// Attention's output projection.
    Output,
    /// Gate.
    Gate,
    /// Up.
    Up,
    /// Down.
    Down,
    /// The logits'.
    Logits,
    /// (token, width): the stream as it begins with a token, rounded.
    Embedded,
}

impl Matrix {
    /// The weights of a block; none of the table of tokens, which is no matrix of the file.
    #[must_use]
    pub fn weights(self, model: &Model, block: usize) -> Option<&Weights> {
        let tensors = model.tensors.blocks.get(block);
        match self {
            Self::Query => tensors.map(|t| &t.q),
            Self::Key => tensors.map(|t| &t.k),
            Self::Value => tensors.map(|t| &t.v),
            Self::Output => tensors.map(|t| &t.o),
            Self::Gate => tensors.map(|t| &t.gate),
            Self::Up => tensors.map(|t| &t.up),
            Self::Down => tensors.map(|t| &t.down),
            Self::Logits => Some(model.output()),
            Self::Embedded => None,
        }
    }
}

fn check_model(config: &ModelConfig) -> Result<(), Unprovable> {
    let feature = |name| Err(Unprovable::Model { feature: name });
    if config.qk_norm {
        return feature("norms on queries and keys");
    }
    if config.post_norms {
        return feature("norms after attention and feed-forward layer");
    }
    if config.sliding.is_some() {
        return feature("sliding windows");
    }
    if config.qkv_bias {
        return feature("biases on queries, keys and values");
    }
    if !config.head_dim.is_power_of_two() || config.head_dim < 8 || config.rope_dim != config.head_dim {
        return feature("heads whose width is no power of two from 8 on");
    }
    Ok(())
}

fn check_claim(claim: &Claim) -> Result<(), Unprovable> {
    let setting = |name| Err(Unprovable::Setting { name });
    if claim.settings.temperature_milli != 0 {
        if claim.settings.top_k != 0 {
            return setting("top-k");
        }
        if claim.settings.top_p_ppm != PPM {
            return setting("top-p");
        }
        if claim.settings.min_p_ppm != 0 {
            return setting("min-p");
        }
    }
    if claim.settings.repetition_penalty_milli != 1000 {
        return setting("a repetition penalty");
    }
    if claim.logprobs.is_some() {
        return setting("log-probabilities");
    }
    if matches!(claim.finish, FinishReason::OutOfRange { .. }) {
        return setting("an activation out of range");
    }
    if claim.prompt_ids.is_empty() || claim.output_ids.is_empty() {
        return setting("a claim without tokens");
    }
    Ok(())
}

fn sampler(outline: &Outline, claim: &Claim) -> Result<Option<Sampler>, Unprovable> {
    let temperature = claim.settings.temperature_milli;
    if temperature == 0 {
        return Ok(None);
    }
    let factor = factor(1000, temperature);
    let shift =
        outline.logit_exponent().saturating_sub(tables::SAMPLER_STEP_BITS).saturating_add(FACTOR_BITS);
    let what = "distances of logits";
    let shift = u32::try_from(shift)
        .ok()
        .filter(|shift| (2..=40).contains(shift))
        .ok_or(Unprovable::Shift { what, shift })?;
    // Twice the largest distance, times the factor, stays below p: no other distance fits the same remainder.
    let bits = |value: u64| u64::BITS.saturating_sub(value.leading_zeros());
    let product = bits(outline.output_rows.largest_sum())
        .saturating_add(15)
        .saturating_add(1)
        .saturating_add(bits(factor));
    if product > 62 {
        return Err(Unprovable::Temperature { temperature_milli: temperature });
    }
    let high = shift / 2;
    let low = shift.saturating_sub(high);
    Ok(Some(Sampler { factor, shift, low, high }))
}

fn dims(outline: &Outline, claim: &Claim) -> Result<Dims, Unprovable> {
    let config = &outline.config;
    let positions = claim.prompt_ids.len().saturating_add(claim.output_ids.len()).saturating_sub(1);
    if positions > SHORT_CONTEXT {
        return Err(Unprovable::Positions { found: positions, limit: SHORT_CONTEXT });
    }
    Ok(Dims {
        blocks: size(config.blocks),
        positions,
        sampled: claim.output_ids.len(),
        first_sampled: claim.prompt_ids.len().saturating_sub(1),
        width: size(config.width),
        heads: size(config.heads),
        kv_heads: size(config.kv_heads),
        head_dim: size(config.head_dim),
        ff: size(config.ff),
        vocab: size(config.vocab),
        lane_bits: lane_bits(config),
    })
}

/// A dimension of a model.
#[must_use]
pub fn size(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Rows of every tensor of a model are multiples of 2^this.
#[must_use]
pub fn lane_bits(config: &ModelConfig) -> u32 {
    config.head_dim.trailing_zeros().min(MAX_LANE_BITS)
}

fn split(shifts: Vec<i32>, op: Rounded) -> Result<Split, Unprovable> {
    let what = name(op);
    // Twice a result, shifted back, is below p in magnitude: no other result fits the same value. A sum of the stream is one bit longer.
    let bits = op
        .narrow_bits()
        .saturating_add(if WIDE.contains(&op) { op.wide_bits() } else { 0 })
        .saturating_add(1);
    let most = MAX_SHIFT.min(62_u32.saturating_sub(bits));
    let mut split = Split::default();
    for shift in shifts {
        let shift = u32::try_from(shift)
            .ok()
            .filter(|s| (1..=most).contains(s))
            .ok_or(Unprovable::Shift { what, shift })?;
        split.shift.push(shift);
    }
    split.is_long = split.shift.iter().any(|shift| *shift > ONE_LIMB_BITS);
    for shift in &split.shift {
        let high = if split.is_long { shift / 2 } else { 0 };
        split.high.push(high);
        split.low.push(shift.saturating_sub(high));
    }
    Ok(split)
}

fn splits(outline: &Outline) -> Result<BTreeMap<Rounded, Split>, Unprovable> {
    let (config, formats) = (&outline.config, &outline.formats);
    let stream = formats.residual;
    let sum = |parts: &[i32]| parts.iter().fold(0_i32, |sum, part| sum.saturating_add(*part));
    let norm = |vector: &Vector| {
        sum(&[NORM_BITS, vector.exponent(), output_exponent(config.width, vector).saturating_neg()])
    };
    let mut all: BTreeMap<Rounded, Vec<i32>> = BTreeMap::new();
    let blocks = outline.norms.iter().zip(&outline.grids).zip(&formats.blocks);
    for (([attn_norm, mlp_norm], grids), format) in blocks {
        let [q, k, v, o, gate_grid, up, down_grid] = *grids;
        let attn_in = output_exponent(config.width, attn_norm);
        let mlp_in = output_exponent(config.width, mlp_norm);
        let exponent = |site| format.exponent(site);
        let less = |site| exponent(site).saturating_neg();
        let value = exponent(FormatSite::Value);
        let [gate, down] = [FormatSite::Gate, FormatSite::DownInput].map(exponent);
        for (op, shift) in [
            (Rounded::AttnNorm, norm(attn_norm)),
            (Rounded::MlpNorm, norm(mlp_norm)),
            (Rounded::Query, sum(&[attn_in, q, ROTATION_BITS, less(FormatSite::Query)])),
            (Rounded::Key, sum(&[attn_in, k, ROTATION_BITS, less(FormatSite::Key)])),
            (Rounded::Value, sum(&[attn_in, v, less(FormatSite::Value)])),
            (Rounded::AttnAdd, sum(&[value, o, stream.saturating_neg()])),
            (Rounded::Gate, sum(&[mlp_in, gate_grid, less(FormatSite::Gate)])),
            (Rounded::Product, sum(&[gate, mlp_in, up, less(FormatSite::DownInput)])),
            (Rounded::MlpAdd, sum(&[down, down_grid, stream.saturating_neg()])),
        ] {
            all.entry(op).or_default().push(shift);
        }
    }
    all.insert(Rounded::FinalNorm, vec![norm(&outline.output_norm)]);
    all.into_iter().map(|(op, shifts)| Ok((op, split(shifts, op)?))).collect()
}

fn score_shifts(outline: &Outline) -> Result<Vec<u32>, Unprovable> {
    let shifts = outline.formats.blocks.iter().map(|format| {
        let [query, key] = [FormatSite::Query, FormatSite::Key].map(|site| format.exponent(site));
        query.saturating_add(key).saturating_add(outline.recipe.score_bits).saturating_sub(SOFTMAX_STEP_BITS)
    });
    let shifts = shifts.map(|shift| {
        u32::try_from(shift)
            .ok()
            .filter(|shift| *shift <= MAX_RANGE_BITS.saturating_sub(1))
            .ok_or(Unprovable::Shift { what: "scores", shift })
    });
    shifts.collect()
}

fn name(op: Rounded) -> &'static str {
    match op {
        Rounded::AttnNorm => "the norm before attention",
        Rounded::MlpNorm => "the norm before the feed-forward layer",
        Rounded::FinalNorm => "the last norm",
        Rounded::Query => "queries",
        Rounded::Key => "keys",
        Rounded::Value => "values",
        Rounded::AttnAdd => "attention's output",
        Rounded::Gate => "the gate",
        Rounded::Product => "the gated product",
        Rounded::MlpAdd => "the feed-forward layer's output",
    }
}
