//! Typed access to the metadata, with errors that name the key. Never converts one type into another: as in
//! llama.cpp a key has exactly one type.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::unwrap_used
)]

use std::ops::RangeInclusive;

use crate::error::Error;
use crate::gguf::{Array, Gguf, Value, ValueType};
use crate::weights::Dyadic;

/// The metadata below one prefix, and which of it was read.
pub(super) struct Keys<'a> {
    gguf: &'a Gguf,
    prefix: &'a str,
    read: Vec<String>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(gguf: &'a Gguf, prefix: &'a str) -> Keys<'a> {
        Keys { gguf, prefix, read: Vec::new() }
    }

    pub(super) fn gguf(&self) -> &'a Gguf {
        self.gguf
    }

    fn key(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.prefix)
    }

    pub(super) fn get(&mut self, suffix: &str) -> Option<&'a Value> {
        let key = self.key(suffix);
        let value = self.gguf.get(&key);
        self.read.push(key);
        value
    }

    pub(super) fn ignore(&mut self, suffixes: &[&str]) {
        for suffix in suffixes {
            self.get(suffix);
        }
    }

    pub(super) fn optional_size(
        &mut self,
        suffix: &str,
        range: RangeInclusive<u32>,
    ) -> Result<Option<u32>, Error> {
        let value = match self.get(suffix) {
            None => return Ok(None),
            Some(&Value::U32(value)) => value,
            Some(other) => return Err(self.wrong_type(suffix, ValueType::U32, other)),
        };
        if range.contains(&value) {
            return Ok(Some(value));
        }
        let (key, value) = (self.key(suffix), u64::from(value));
        Err(Error::ConfigRange { key, value, min: u64::from(*range.start()), max: u64::from(*range.end()) })
    }

    pub(super) fn size_or(
        &mut self,
        suffix: &str,
        range: RangeInclusive<u32>,
        default: u32,
    ) -> Result<u32, Error> {
        Ok(self.optional_size(suffix, range)?.unwrap_or(default))
    }

    pub(super) fn size(&mut self, suffix: &str, range: RangeInclusive<u32>) -> Result<u32, Error> {
        self.optional_size(suffix, range)?.ok_or_else(|| Error::MissingKey { key: self.key(suffix) })
    }

    pub(super) fn optional_float(&mut self, suffix: &str) -> Result<Option<u32>, Error> {
        match self.get(suffix) {
            None => Ok(None),
            Some(&Value::F32(bits)) => Ok(Some(bits)),
            Some(other) => Err(self.wrong_type(suffix, ValueType::F32, other)),
        }
    }

    pub(super) fn float_or(&mut self, suffix: &str, default: u32) -> Result<u32, Error> {
        let bits = self.optional_float(suffix)?.unwrap_or(default);
        self.positive(suffix, bits)
    }

    pub(super) fn float(&mut self, suffix: &str) -> Result<u32, Error> {
        let bits = self.optional_float(suffix)?.ok_or_else(|| Error::MissingKey { key: self.key(suffix) })?;
        self.positive(suffix, bits)
    }

    pub(super) fn positive(&self, suffix: &str, bits: u32) -> Result<u32, Error> {
        match Dyadic::from_f32_bits(bits) {
            Some(number) if number.mantissa > 0 => Ok(bits),
            _ => Err(Error::ConfigFloat { key: self.key(suffix), bits }),
        }
    }

    pub(super) fn optional_text(&mut self, suffix: &str) -> Result<Option<&'a [u8]>, Error> {
        match self.get(suffix) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.as_bytes())),
            Some(other) => Err(self.wrong_type(suffix, ValueType::Text, other)),
        }
    }

    pub(super) fn text(&mut self, suffix: &str) -> Result<&'a [u8], Error> {
        self.optional_text(suffix)?.ok_or_else(|| Error::MissingKey { key: self.key(suffix) })
    }

    pub(super) fn boolean_or(&mut self, suffix: &str, default: bool) -> Result<bool, Error> {
        match self.get(suffix) {
            None => Ok(default),
            Some(&Value::Bool(value)) => Ok(value),
            Some(other) => Err(self.wrong_type(suffix, ValueType::Bool, other)),
        }
    }

    /// The elements of an array that `elements` knows how to read; `None` if the key is absent.
    pub(super) fn optional_array<T, I: Iterator<Item = T>>(
        &mut self,
        suffix: &str,
        expected: &'static str,
        elements: impl Fn(&'a Array) -> Option<I>,
    ) -> Result<Option<I>, Error> {
        let Some(value) = self.get(suffix) else { return Ok(None) };
        let found = if let Value::Array(array) = value { elements(array) } else { None };
        let wrong = || Error::WrongType { key: self.key(suffix), expected, found: value.value_type().name() };
        found.map(Some).ok_or_else(wrong)
    }

    pub(super) fn array<T, I: Iterator<Item = T>>(
        &mut self,
        suffix: &str,
        expected: &'static str,
        elements: impl Fn(&'a Array) -> Option<I>,
    ) -> Result<I, Error> {
        let found = self.optional_array(suffix, expected, elements)?;
        found.ok_or_else(|| Error::MissingKey { key: self.key(suffix) })
    }

    fn wrong_type(&self, suffix: &str, expected: ValueType, found: &Value) -> Error {
        let (expected, found) = (expected.name(), found.value_type().name());
        Error::WrongType { key: self.key(suffix), expected, found }
    }

    pub(super) fn rule(
        &self,
        suffix: &str,
        value: u32,
        holds: bool,
        rule: &'static str,
    ) -> Result<(), Error> {
        if holds {
            return Ok(());
        }
        Err(Error::ConfigConflict { key: self.key(suffix), value: u64::from(value), rule })
    }

    pub(super) fn unsupported(&self, suffix: &str, value: String, feature: &'static str) -> Error {
        Error::Unsupported { key: self.key(suffix), value, feature }
    }

    pub(super) fn refuse_unread(&self) -> Result<(), Error> {
        let start = self.key("");
        let unread =
            self.gguf.entries().iter().find(|(key, _)| key.starts_with(&start) && !self.read.contains(key));
        match unread {
            Some((key, _)) => Err(Error::UnknownHyperparameter { key: key.clone() }),
            None => Ok(()),
        }
    }
}

/// Foreign text for a message: at most 64 bytes, escaped.
pub(super) fn printable(text: &[u8]) -> String {
    text.iter().take(64).flat_map(|byte| byte.escape_ascii()).map(char::from).collect()
}

/// A float for a message, without using one.
pub(super) fn float_text(bits: u32) -> String {
    match Dyadic::from_f32_bits(bits) {
        Some(number) => format!("{} * 2^{}", number.mantissa, number.exponent),
        None => format!("not finite, bits {bits:#010x}"),
    }
}
