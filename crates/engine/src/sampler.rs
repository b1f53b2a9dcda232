//! The token sampler over a whole vocabulary: the same choice as `model::ops::sampling`, after a pass that
//! leaves out the tokens whose weight is zero anyway. Never draws randomness of its own.

use model::ops::sampling::{FACTOR_BITS, distance, draw_in_id_order, factor, penalize, threshold};
use model::tables::{SAMPLER_STEP_BITS, exp_sampler};
use protocol::logprobs::TokenLogprobs;
use protocol::settings::SamplingSettings;
use std::collections::BTreeSet;

/// The repetition penalty that changes nothing, in thousandths.
const NO_PENALTY: u32 = 1000;

/// Chooses tokens for one model.
#[derive(Clone, Debug)]
pub struct TokenSampler {
    table: Vec<u32>,
    exponent: i32,
}

impl TokenSampler {
    /// A sampler for logits of the given exponent.
    #[must_use]
    pub fn new(exponent: i32) -> Self {
        Self { table: exp_sampler(), exponent }
    }

    /// The next token's id. `seen` are the ids of prompt and output so far, `draw` the number of this (seed, position).
    #[must_use]
    pub fn sample(
        &self,
        logits: &[i64],
        settings: &SamplingSettings,
        seen: &BTreeSet<u32>,
        draw: u64,
    ) -> u32 {
        if settings.repetition_penalty_milli != NO_PENALTY && !seen.is_empty() {
            let mut penalized = logits.to_vec();
            penalize(&mut penalized, settings.repetition_penalty_milli, seen);
            return self.sample_from(&penalized, settings, draw);
        }
        self.sample_from(logits, settings, draw)
    }

    fn sample_from(&self, logits: &[i64], settings: &SamplingSettings, draw: u64) -> u32 {
        let max = logits.iter().copied().max().unwrap_or(0);
        if settings.temperature_milli == 0 {
            let best = logits.iter().position(|l| *l == max).unwrap_or(0);
            return u32::try_from(best).expect("vocabularies are below 2^32");
        }
        let floor = max.saturating_sub(self.weightless_difference(settings.temperature_milli));
        let mut ids = Vec::new();
        let mut distances = Vec::new();
        for (id, logit) in logits.iter().enumerate() {
            if *logit > floor {
                ids.push(u32::try_from(id).expect("vocabularies are below 2^32"));
                let d = distance(max - logit, self.exponent, settings.temperature_milli, self.table.len());
                distances.push(d);
            }
        }
        let limit = threshold(&distances, settings, &self.table);
        let chosen = draw_in_id_order(&distances, limit, &self.table, draw);
        ids[chosen as usize]
    }

    /// Log-probabilities of a token and of the `top` best ones. `logits` are those before the repetition penalty.
    #[must_use]
    pub fn logprobs(&self, logits: &[i64], chosen: u32, top: u8) -> TokenLogprobs {
        model::ops::logprobs::logprobs(logits, self.exponent, &self.table, chosen, top)
    }

    /// A difference from the best logit at which the weight is zero.
    fn weightless_difference(&self, temperature_milli: u32) -> i64 {
        let shift = self.exponent - SAMPLER_STEP_BITS + FACTOR_BITS;
        let steps = self.table.len() as u128;
        let scaled = if shift >= 0 { steps << shift.min(100) } else { steps >> (-shift).min(100) };
        let difference = scaled / u128::from(factor(1000, temperature_milli)) + 1;
        i64::try_from(difference).unwrap_or(i64::MAX)
    }
}
