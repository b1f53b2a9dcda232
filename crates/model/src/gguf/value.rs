//! The 13 types of metadata. Strings and arrays stay in the file and are walked again when asked for; floats
//! stay bit patterns.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::unwrap_used
)]

use std::sync::Arc;

use super::cursor::{Cursor, wide};
use super::{MAX_ARRAY_DEPTH, MAX_ARRAY_ELEMENTS, MAX_KEY_BYTES, MAX_STRING_BYTES};
use crate::error::Error;
use crate::weights::TensorBytes;

/// A type tag, with ggml's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say all there is to say")]
pub enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    Array,
    U64,
    I64,
    F64,
}

/// Type, number, name, bytes of one element (0: it has a length of its own), least bytes of one element.
const TYPES: [(ValueType, u32, &str, u64, u64); 13] = [
    (ValueType::U8, 0, "u8", 1, 1),
    (ValueType::I8, 1, "i8", 1, 1),
    (ValueType::U16, 2, "u16", 2, 2),
    (ValueType::I16, 3, "i16", 2, 2),
    (ValueType::U32, 4, "u32", 4, 4),
    (ValueType::I32, 5, "i32", 4, 4),
    (ValueType::F32, 6, "f32", 4, 4),
    (ValueType::Bool, 7, "bool", 1, 1),
    (ValueType::Text, 8, "string", 0, 8),
    (ValueType::Array, 9, "array", 0, 12),
    (ValueType::U64, 10, "u64", 8, 8),
    (ValueType::I64, 11, "i64", 8, 8),
    (ValueType::F64, 12, "f64", 8, 8),
];

impl ValueType {
    fn from_number(number: u32) -> Option<ValueType> {
        TYPES.iter().find(|row| row.1 == number).map(|row| row.0)
    }

    /// The number in the file.
    pub fn number(self) -> u32 {
        TYPES.iter().find(|row| row.0 == self).map_or(u32::MAX, |row| row.1)
    }

    /// ggml's name.
    pub fn name(self) -> &'static str {
        TYPES.iter().find(|row| row.0 == self).map_or("", |row| row.2)
    }

    /// Bytes of one element, if that is fixed.
    fn size(self) -> Option<u64> {
        TYPES.iter().find(|row| row.0 == self).map(|row| row.3).filter(|&size| size > 0)
    }

    fn least_size(self) -> u64 {
        TYPES.iter().find(|row| row.0 == self).map_or(1, |row| row.4)
    }
}

/// One metadata value.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names say all there is to say")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    /// The bit pattern of a binary32.
    F32(u32),
    Bool(bool),
    Text(Text),
    Array(Array),
    U64(u64),
    I64(i64),
    /// The bit pattern of a binary64.
    F64(u64),
}

/// A string of the file; any bytes.
#[derive(Clone, Debug)]
pub struct Text(TensorBytes);

/// An array of the file, checked to its last element.
#[derive(Clone, Debug)]
pub struct Array {
    element: ValueType,
    count: u64,
    bytes: TensorBytes,
}

impl Value {
    /// The type of the value.
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::U8(_) => ValueType::U8,
            Value::I8(_) => ValueType::I8,
            Value::U16(_) => ValueType::U16,
            Value::I16(_) => ValueType::I16,
            Value::U32(_) => ValueType::U32,
            Value::I32(_) => ValueType::I32,
            Value::F32(_) => ValueType::F32,
            Value::Bool(_) => ValueType::Bool,
            Value::Text(_) => ValueType::Text,
            Value::Array(_) => ValueType::Array,
            Value::U64(_) => ValueType::U64,
            Value::I64(_) => ValueType::I64,
            Value::F64(_) => ValueType::F64,
        }
    }
}

impl Text {
    /// The bytes; nobody has checked that they are UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl Array {
    /// The type of the elements.
    pub fn element(&self) -> ValueType {
        self.element
    }

    /// How many elements.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The elements of an array of strings; any bytes. `None` for other arrays.
    pub fn texts(&self) -> Option<impl Iterator<Item = &[u8]>> {
        let mut cursor = Cursor::new(self.bytes.as_slice());
        let next = move || {
            // The array was walked when the file was parsed, so the first error is its end.
            let length = cursor.u64("a string").ok()?;
            cursor.take("a string", length).ok()
        };
        (self.element == ValueType::Text).then(|| std::iter::from_fn(next))
    }

    /// The elements of an array of i32. `None` for other arrays.
    pub fn i32s(&self) -> Option<impl Iterator<Item = i32>> {
        let (chunks, _) = self.bytes.as_slice().as_chunks::<4>();
        (self.element == ValueType::I32).then(|| chunks.iter().map(|&chunk| i32::from_le_bytes(chunk)))
    }

    /// The bit patterns of an array of f32. `None` for other arrays.
    pub fn f32_bits(&self) -> Option<impl Iterator<Item = u32>> {
        let (chunks, _) = self.bytes.as_slice().as_chunks::<4>();
        (self.element == ValueType::F32).then(|| chunks.iter().map(|&chunk| u32::from_le_bytes(chunk)))
    }
}

/// Reads one key and its value.
pub(super) fn read_entry(cursor: &mut Cursor<'_>, file: &Arc<Vec<u8>>) -> Result<(String, Value), Error> {
    let length = cursor.count("the length of a metadata key", MAX_KEY_BYTES)?;
    let offset = cursor.offset();
    let key = cursor.take("a metadata key", length)?;
    let key = str::from_utf8(key).map_err(|_| Error::KeyNotUtf8 { offset })?.to_owned();
    let kind = read_type(cursor, &key)?;
    let value = read_value(cursor, file, &key, kind)?;
    Ok((key, value))
}

fn read_type(cursor: &mut Cursor<'_>, key: &str) -> Result<ValueType, Error> {
    let offset = cursor.offset();
    let number = cursor.u32("a value type")?;
    ValueType::from_number(number).ok_or_else(|| Error::ValueType { key: key.to_owned(), offset, number })
}

fn read_value(
    cursor: &mut Cursor<'_>,
    file: &Arc<Vec<u8>>,
    key: &str,
    kind: ValueType,
) -> Result<Value, Error> {
    const WHAT: &str = "a metadata value";
    Ok(match kind {
        ValueType::U8 => Value::U8(cursor.u8(WHAT)?),
        ValueType::I8 => Value::I8(cursor.u8(WHAT)?.cast_signed()),
        ValueType::U16 => Value::U16(cursor.u16(WHAT)?),
        ValueType::I16 => Value::I16(cursor.u16(WHAT)?.cast_signed()),
        ValueType::U32 => Value::U32(cursor.u32(WHAT)?),
        ValueType::I32 => Value::I32(cursor.u32(WHAT)?.cast_signed()),
        ValueType::F32 => Value::F32(cursor.u32(WHAT)?),
        ValueType::U64 => Value::U64(cursor.u64(WHAT)?),
        ValueType::I64 => Value::I64(cursor.u64(WHAT)?.cast_signed()),
        ValueType::F64 => Value::F64(cursor.u64(WHAT)?),
        ValueType::Bool => {
            let offset = cursor.offset();
            let byte = cursor.take(WHAT, 1)?;
            check_booleans(byte, key, offset)?;
            Value::Bool(byte == [1])
        }
        ValueType::Text => {
            let length = cursor.count("the length of a string", MAX_STRING_BYTES)?;
            let start = cursor.position();
            cursor.take("a string", length)?;
            Value::Text(Text(since(cursor, file, start)))
        }
        ValueType::Array => {
            let (element, count) = read_array_header(cursor, key)?;
            let start = cursor.position();
            skip_elements(cursor, key, element, count, 1)?;
            Value::Array(Array { element, count, bytes: since(cursor, file, start) })
        }
    })
}

/// The bytes the cursor has passed since it stood at `start`.
fn since(cursor: &Cursor<'_>, file: &Arc<Vec<u8>>, start: usize) -> TensorBytes {
    TensorBytes::new(Arc::clone(file), start..cursor.position()).expect("the cursor stays inside the file")
}

fn read_array_header(cursor: &mut Cursor<'_>, key: &str) -> Result<(ValueType, u64), Error> {
    let element = read_type(cursor, key)?;
    let count = cursor.count("the length of an array", MAX_ARRAY_ELEMENTS)?;
    let need = count.saturating_mul(element.least_size());
    if need > cursor.remaining() {
        return Err(Error::Truncated { what: "an array", offset: cursor.offset(), need, len: cursor.len() });
    }
    Ok((element, count))
}

/// Walks `count` elements; recursion ends at [`MAX_ARRAY_DEPTH`] and every step consumes bytes.
fn skip_elements(
    cursor: &mut Cursor<'_>,
    key: &str,
    element: ValueType,
    count: u64,
    depth: u32,
) -> Result<(), Error> {
    let offset = cursor.offset();
    if depth > MAX_ARRAY_DEPTH {
        return Err(Error::NestedTooDeep { key: key.to_owned(), offset, limit: MAX_ARRAY_DEPTH });
    }
    if let Some(size) = element.size() {
        let bytes = cursor.take("an array", count.saturating_mul(size))?;
        return if element == ValueType::Bool { check_booleans(bytes, key, offset) } else { Ok(()) };
    }
    for _ in 0..count {
        if element == ValueType::Text {
            let length = cursor.count("the length of a string", MAX_STRING_BYTES)?;
            cursor.take("a string", length)?;
        } else {
            let (element, count) = read_array_header(cursor, key)?;
            skip_elements(cursor, key, element, count, depth.saturating_add(1))?;
        }
    }
    Ok(())
}

fn check_booleans(bytes: &[u8], key: &str, start: u64) -> Result<(), Error> {
    match bytes.iter().position(|&byte| byte > 1) {
        None => Ok(()),
        Some(at) => Err(Error::NotBoolean { key: key.to_owned(), offset: start.saturating_add(wide(at)) }),
    }
}
