//! How a token is chosen from the logits, in integers. Nothing here may choose a token or fill in a setting that
//! its caller did not give.

use crate::encoding::{Decoder, Encoder};
use crate::error::Error;

/// Highest temperature, in thousandths.
pub const MAX_TEMPERATURE_MILLI: u32 = 100_000;
/// Lowest temperature that is not greedy, in thousandths; below it the exponent table has no resolution left.
pub const MIN_TEMPERATURE_MILLI: u32 = 10;
/// One, in parts per million.
pub const PPM: u32 = 1_000_000;
/// Lowest repetition penalty, in thousandths.
pub const MIN_REPETITION_PENALTY_MILLI: u32 = 100;
/// Highest repetition penalty, in thousandths.
pub const MAX_REPETITION_PENALTY_MILLI: u32 = 10_000;
/// Most output tokens that a request may ask for, and that a claim may hold.
pub const MAX_OUTPUT_TOKENS: u32 = 1 << 20;
/// What [`SamplingSettings::greedy`] asks for.
pub const GREEDY_MAX_TOKENS: u32 = 256;

const STRUCTURE_TAG: &str = "maxwell.settings";
const STRUCTURE_VERSION: u32 = 1;
const FIELDS: u64 = 7;

/// How output tokens are chosen, and how many.
///
/// The fields are free to set; [`SamplingSettings::validate`] says whether a model may run with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SamplingSettings {
    /// Temperature in thousandths. 0 is greedy (the highest logit, on a tie the lowest id), otherwise 10 to 100,000.
    pub temperature_milli: u32,
    /// Keep only this many of the highest logits, ties kept. 0 is off.
    pub top_k: u32,
    /// Keep the likeliest tokens until their probability reaches this, in parts per million. 1,000,000 is off.
    pub top_p_ppm: u32,
    /// Keep tokens of at least this share of the likeliest one's probability, in parts per million. 0 is off.
    pub min_p_ppm: u32,
    /// Penalty for tokens that have occurred, in thousandths. 1,000 is off, 100 to 10,000 are allowed.
    pub repetition_penalty_milli: u32,
    /// Most output tokens, 1 to [`MAX_OUTPUT_TOKENS`].
    pub max_tokens: u32,
    /// Whether an end token ends the output.
    pub stop_at_end: bool,
}

/// A setting outside of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sampling setting {field} is {value}; allowed is {min} to {max}{}", or_also(*also))]
pub struct SettingLimit {
    /// Name of the setting, as in [`SamplingSettings`].
    pub field: &'static str,
    /// Its value.
    pub value: u32,
    /// Lowest allowed value.
    pub min: u32,
    /// Highest allowed value.
    pub max: u32,
    /// One more allowed value outside of that range.
    pub also: Option<u32>,
}

impl SamplingSettings {
    /// The highest logit always, nothing filtered, at most [`GREEDY_MAX_TOKENS`] tokens, ending at an end token.
    pub const fn greedy() -> Self {
        Self {
            temperature_milli: 0,
            top_k: 0,
            top_p_ppm: PPM,
            min_p_ppm: 0,
            repetition_penalty_milli: 1000,
            max_tokens: GREEDY_MAX_TOKENS,
            stop_at_end: true,
        }
    }

    /// Whether the highest logit is taken without a draw.
    pub const fn is_greedy(&self) -> bool {
        self.temperature_milli == 0
    }

    /// Refuses the first setting that is outside of its limits. `top_k` and `stop_at_end` have none.
    pub fn validate(&self) -> Result<(), SettingLimit> {
        let rules = [
            SettingLimit {
                field: "temperature_milli",
                value: self.temperature_milli,
                min: MIN_TEMPERATURE_MILLI,
                max: MAX_TEMPERATURE_MILLI,
                also: Some(0),
            },
            SettingLimit { field: "top_p_ppm", value: self.top_p_ppm, min: 1, max: PPM, also: None },
            SettingLimit { field: "min_p_ppm", value: self.min_p_ppm, min: 0, max: PPM, also: None },
            SettingLimit {
                field: "repetition_penalty_milli",
                value: self.repetition_penalty_milli,
                min: MIN_REPETITION_PENALTY_MILLI,
                max: MAX_REPETITION_PENALTY_MILLI,
                also: None,
            },
            SettingLimit {
                field: "max_tokens",
                value: self.max_tokens,
                min: 1,
                max: MAX_OUTPUT_TOKENS,
                also: None,
            },
        ];
        rules.into_iter().find(|rule| !rule.holds()).map_or(Ok(()), Err)
    }

    /// Appends the canonical form.
    pub fn encode(&self, encoder: &mut Encoder) {
        encoder.structure(STRUCTURE_TAG, STRUCTURE_VERSION, FIELDS);
        encoder.unsigned(u64::from(self.temperature_milli));
        encoder.unsigned(u64::from(self.top_k));
        encoder.unsigned(u64::from(self.top_p_ppm));
        encoder.unsigned(u64::from(self.min_p_ppm));
        encoder.unsigned(u64::from(self.repetition_penalty_milli));
        encoder.unsigned(u64::from(self.max_tokens));
        encoder.boolean(self.stop_at_end);
    }

    /// Reads the canonical form. The limits are a matter of [`SamplingSettings::validate`], not of the form.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, Error> {
        decoder.structure(STRUCTURE_TAG, STRUCTURE_VERSION, FIELDS)?;
        Ok(Self {
            temperature_milli: decoder.unsigned_u32("temperature_milli, 32 bits")?,
            top_k: decoder.unsigned_u32("top_k, 32 bits")?,
            top_p_ppm: decoder.unsigned_u32("top_p_ppm, 32 bits")?,
            min_p_ppm: decoder.unsigned_u32("min_p_ppm, 32 bits")?,
            repetition_penalty_milli: decoder.unsigned_u32("repetition_penalty_milli, 32 bits")?,
            max_tokens: decoder.unsigned_u32("max_tokens, 32 bits")?,
            stop_at_end: decoder.boolean("stop_at_end")?,
        })
    }
}

impl SettingLimit {
    fn holds(&self) -> bool {
        (self.min..=self.max).contains(&self.value) || self.also == Some(self.value)
    }
}

/// The tail of the message for a value that is allowed besides the range.
fn or_also(also: Option<u32>) -> String {
    also.map(|value| format!(", or {value}")).unwrap_or_default()
}
