//! Limits and byte form of the settings.

use protocol::encoding::{Decoder, Encoder};
use protocol::settings::SettingLimit;
use protocol::{Error, SamplingSettings};

use crate::samples::settings;

fn encoded(settings: &SamplingSettings) -> Vec<u8> {
    let mut encoder = Encoder::new();
    settings.encode(&mut encoder);
    encoder.into_bytes()
}

#[test]
fn greedy_equals_the_vector() {
    let digits = "89706d617877656c6c2e73657474696e67730100001a000f4240001903e8190100f5";
    assert_eq!(hex::encode(encoded(&SamplingSettings::greedy())), digits);
    let bytes = hex::decode(digits).unwrap();
    assert_eq!(SamplingSettings::decode(&mut Decoder::new(&bytes)), Ok(SamplingSettings::greedy()));
    assert!(SamplingSettings::greedy().is_greedy());
    assert!(!settings().is_greedy());
}

#[test]
fn every_field_reaches_the_bytes() {
    let base = settings();
    let changed = [
        SamplingSettings { temperature_milli: 701, ..base },
        SamplingSettings { top_k: 41, ..base },
        SamplingSettings { top_p_ppm: 950_001, ..base },
        SamplingSettings { min_p_ppm: 50_001, ..base },
        SamplingSettings { repetition_penalty_milli: 1101, ..base },
        SamplingSettings { max_tokens: 65, ..base },
        SamplingSettings { stop_at_end: false, ..base },
    ];
    for settings in changed {
        let bytes = encoded(&settings);
        assert_ne!(bytes, encoded(&base));
        assert_eq!(SamplingSettings::decode(&mut Decoder::new(&bytes)), Ok(settings));
    }
}

/// `set` puts a value into one field; `good` values pass and `bad` ones are refused in that field's name.
#[track_caller]
fn check(field: &str, set: impl Fn(&mut SamplingSettings, u32), good: &[u32], bad: &[u32]) {
    let validate = |value| {
        let mut settings = settings();
        set(&mut settings, value);
        settings.validate()
    };
    for value in good {
        assert_eq!(validate(*value), Ok(()), "{field} {value}");
    }
    for value in bad {
        let limit = validate(*value).expect_err(field);
        assert_eq!((limit.field, limit.value), (field, *value));
    }
}

#[test]
fn limits() {
    let temperatures = [0, 10, 1000, 100_000];
    check("temperature_milli", |s, v| s.temperature_milli = v, &temperatures, &[1, 9, 100_001, u32::MAX]);
    check("top_k", |s, v| s.top_k = v, &[0, 1, u32::MAX], &[]);
    check("top_p_ppm", |s, v| s.top_p_ppm = v, &[1, 1_000_000], &[0, 1_000_001]);
    check("min_p_ppm", |s, v| s.min_p_ppm = v, &[0, 1_000_000], &[1_000_001]);
    let penalties = [100, 1000, 10_000];
    check("repetition_penalty_milli", |s, v| s.repetition_penalty_milli = v, &penalties, &[0, 99, 10_001]);
    check("max_tokens", |s, v| s.max_tokens = v, &[1, 1 << 20], &[0, (1 << 20) + 1]);
}

#[test]
fn the_message_names_field_value_and_limits() {
    let settings = SamplingSettings { temperature_milli: 5, ..settings() };
    let limit = settings.validate().expect_err("5 is between 0 and 10");
    let expected =
        SettingLimit { field: "temperature_milli", value: 5, min: 10, max: 100_000, also: Some(0) };
    assert_eq!(limit, expected);
    let message = "sampling setting temperature_milli is 5; allowed is 10 to 100000, or 0";
    assert_eq!(limit.to_string(), message);
    assert_eq!(Error::from(limit).to_string(), message);
}
