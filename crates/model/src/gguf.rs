//! Reads the container format GGUF (versions 2 and 3, little-endian): metadata and where each tensor lies.
//! Never trusts a number of the file: every length is checked against a named cap and against the bytes that
//! remain before anything is allocated, and no byte may belong to two tensors or, padding aside, to none.
//!
//! Format: ggml, `docs/gguf.md`; the order rule for tensor data is that of `ggml/src/gguf.cpp`.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::unwrap_used
)]

mod cursor;
mod tensor;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::cursor::Cursor;
use crate::error::Error;

pub use self::tensor::{TensorInfo, TensorType};
pub use self::value::{Array, Text, Value, ValueType};

/// Most metadata entries in a file.
pub const MAX_ENTRIES: u64 = 1 << 16;
/// Most tensors in a file.
pub const MAX_TENSORS: u64 = 1 << 16;
/// Longest metadata key in bytes (GGUF specification).
pub const MAX_KEY_BYTES: u64 = 65_535;
/// Longest tensor name in bytes (`GGML_MAX_NAME` less its final NUL).
pub const MAX_NAME_BYTES: u64 = 63;
/// Longest string in bytes (`GGUF_MAX_STRING_LENGTH`).
pub const MAX_STRING_BYTES: u64 = 1 << 30;
/// Most elements of an array (`GGUF_MAX_ARRAY_ELEMENTS`).
pub const MAX_ARRAY_ELEMENTS: u64 = 1 << 30;
/// How deep arrays of arrays may go.
pub const MAX_ARRAY_DEPTH: u32 = 4;
/// Most dimensions of a tensor.
pub const MAX_DIMENSIONS: u32 = 4;
/// Smallest and largest `general.alignment`.
pub const MIN_ALIGNMENT: u32 = 8;
/// See [`MIN_ALIGNMENT`].
pub const MAX_ALIGNMENT: u32 = 1 << 16;
/// The alignment of a file that does not say.
pub const DEFAULT_ALIGNMENT: u32 = 32;

const ALIGNMENT_KEY: &str = "general.alignment";

/// A parsed file: nothing is copied out of it but keys and names.
#[derive(Debug)]
pub struct Gguf {
    version: u32,
    entries: Vec<(String, Value)>,
    entry_index: BTreeMap<String, usize>,
    tensors: Vec<TensorInfo>,
    tensor_index: BTreeMap<String, usize>,
}

impl Gguf {
    /// Parses and checks everything but the numbers inside the tensors.
    ///
    /// # Errors
    /// One variant of [`Error`] per rule of the format.
    pub fn parse(file: Arc<Vec<u8>>) -> Result<Gguf, Error> {
        let mut cursor = Cursor::new(&file);
        let version = read_version(&mut cursor)?;
        let tensor_count = cursor.count("the tensor count", MAX_TENSORS)?;
        let entry_count = cursor.count("the metadata count", MAX_ENTRIES)?;

        let mut entries = Vec::new();
        let mut entry_index = BTreeMap::new();
        for _ in 0..entry_count {
            let (key, value) = value::read_entry(&mut cursor, &file)?;
            if entry_index.insert(key.clone(), entries.len()).is_some() {
                return Err(Error::DuplicateKey { key });
            }
            entries.push((key, value));
        }
        let alignment = match entry_index.get(ALIGNMENT_KEY).and_then(|&at| entries.get(at)) {
            Some((_, value)) => check_alignment(value)?,
            None => u64::from(DEFAULT_ALIGNMENT),
        };

        let mut headers = Vec::new();
        let mut tensor_index = BTreeMap::new();
        for _ in 0..tensor_count {
            let header = tensor::read_header(&mut cursor)?;
            if tensor_index.insert(header.name().to_owned(), headers.len()).is_some() {
                return Err(Error::DuplicateTensor { tensor: header.name().to_owned() });
            }
            headers.push(header);
        }
        let tensors = tensor::place(headers, &file, cursor.offset(), alignment)?;
        Ok(Gguf { version, entries, entry_index, tensors, tensor_index })
    }

    /// 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The metadata in file order.
    pub fn entries(&self) -> &[(String, Value)] {
        &self.entries
    }

    /// The value of a metadata key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(*self.entry_index.get(key)?).map(|(_, value)| value)
    }

    /// The tensors in file order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(*self.tensor_index.get(name)?)
    }
}

fn read_version(cursor: &mut Cursor<'_>) -> Result<u32, Error> {
    let found = cursor.take_up_to(4);
    if found != b"GGUF" {
        return Err(Error::NotGguf { found: found.to_vec() });
    }
    let version = cursor.u32("the version")?;
    match version {
        2 | 3 => Ok(version),
        _ if matches!(version.swap_bytes(), 1..=3) => Err(Error::BigEndian),
        _ => Err(Error::GgufVersion { version }),
    }
}

fn check_alignment(value: &Value) -> Result<u64, Error> {
    let &Value::U32(alignment) = value else {
        return Err(Error::WrongType {
            key: ALIGNMENT_KEY.to_owned(),
            expected: ValueType::U32.name(),
            found: value.value_type().name(),
        });
    };
    let (min, max) = (MIN_ALIGNMENT, MAX_ALIGNMENT);
    if alignment.is_power_of_two() && (min..=max).contains(&alignment) {
        return Ok(u64::from(alignment));
    }
    Err(Error::Alignment { alignment, min, max })
}
