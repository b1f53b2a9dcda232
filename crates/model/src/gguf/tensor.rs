//! Tensor headers, and the check that their data lies one after the other without overlap or gap.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::unwrap_used
)]

use std::sync::Arc;

use super::cursor::{Cursor, wide};
use super::{MAX_DIMENSIONS, MAX_NAME_BYTES};
use crate::error::Error;
use crate::weights::{BlockKind, FloatKind, TensorBytes};

/// A number format that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorType {
    /// One float per weight.
    Float(FloatKind),
    /// Blocks of quantized weights.
    Block(BlockKind),
}

/// ggml's numbers of the formats that are read.
const TYPES: [(u32, TensorType); 11] = [
    (0, TensorType::Float(FloatKind::F32)),
    (1, TensorType::Float(FloatKind::F16)),
    (2, TensorType::Block(BlockKind::Q4_0)),
    (3, TensorType::Block(BlockKind::Q4_1)),
    (6, TensorType::Block(BlockKind::Q5_0)),
    (7, TensorType::Block(BlockKind::Q5_1)),
    (8, TensorType::Block(BlockKind::Q8_0)),
    (12, TensorType::Block(BlockKind::Q4K)),
    (13, TensorType::Block(BlockKind::Q5K)),
    (14, TensorType::Block(BlockKind::Q6K)),
    (30, TensorType::Float(FloatKind::BF16)),
];

/// ggml's names of the formats that are not, for the message.
const OTHER_TYPES: [(u32, &str); 24] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
];

impl TensorType {
    fn from_number(number: u32) -> Option<TensorType> {
        TYPES.iter().find(|row| row.0 == number).map(|row| row.1)
    }

    /// ggml's number of the type.
    pub fn number(self) -> u32 {
        TYPES.iter().find(|row| row.1 == self).map_or(u32::MAX, |row| row.0)
    }

    /// Weights per block; 1 for floats.
    pub fn block_weights(self) -> u32 {
        match self {
            TensorType::Float(_) => 1,
            TensorType::Block(kind) => kind.block_weights(),
        }
    }

    /// Bytes per block.
    pub fn block_bytes(self) -> u32 {
        match self {
            TensorType::Float(kind) => kind.bytes(),
            TensorType::Block(kind) => kind.block_bytes(),
        }
    }
}

/// Name, shape, format and bytes of one tensor.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    name: String,
    dimensions: Vec<u64>,
    kind: TensorType,
    bytes: TensorBytes,
}

impl TensorInfo {
    /// The name, at most [`MAX_NAME_BYTES`] bytes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// 1 to 4 dimensions, the row length (fastest) first.
    pub fn dimensions(&self) -> &[u64] {
        &self.dimensions
    }

    /// The number format.
    pub fn tensor_type(&self) -> TensorType {
        self.kind
    }

    /// The data within the file, whose length fits shape and format.
    pub fn bytes(&self) -> &TensorBytes {
        &self.bytes
    }
}

/// A tensor whose data was not found yet.
pub(super) struct Header {
    name: String,
    dimensions: Vec<u64>,
    kind: TensorType,
    /// Bytes of data.
    size: u64,
    /// Where they should start within the data section.
    offset: u64,
}

impl Header {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

pub(super) fn read_header(cursor: &mut Cursor<'_>) -> Result<Header, Error> {
    let length = cursor.count("the length of a tensor name", MAX_NAME_BYTES)?;
    let offset = cursor.offset();
    let name = cursor.take("a tensor name", length)?;
    let name = str::from_utf8(name).map_err(|_| Error::TensorNameNotUtf8 { offset })?.to_owned();
    let count = cursor.u32("a tensor's dimensions")?;
    if !(1..=MAX_DIMENSIONS).contains(&count) {
        return Err(Error::DimensionCount { tensor: name, count, limit: MAX_DIMENSIONS });
    }
    let mut dimensions = Vec::new();
    for _ in 0..count {
        dimensions.push(cursor.u64("a tensor's dimensions")?);
    }
    let number = cursor.u32("a tensor's type")?;
    let Some(kind) = TensorType::from_number(number) else {
        let known = OTHER_TYPES.iter().find(|row| row.0 == number);
        return Err(Error::TensorType { tensor: name, number, name: known.map_or("unknown", |row| row.1) });
    };
    let offset = cursor.u64("a tensor's offset")?;
    let size = data_size(&name, &dimensions, kind)?;
    Ok(Header { name, dimensions, kind, size, offset })
}

/// Bytes of data, below 2^63.
fn data_size(name: &str, dimensions: &[u64], kind: TensorType) -> Result<u64, Error> {
    if dimensions.contains(&0) {
        return Err(Error::EmptyTensor { tensor: name.to_owned() });
    }
    let (cols, block) = (dimensions.first().copied().unwrap_or(0), u64::from(kind.block_weights()));
    if !cols.is_multiple_of(block) {
        return Err(Error::RowLength { tensor: name.to_owned(), cols, block });
    }
    let weights = dimensions.iter().try_fold(1_u64, |product, &dimension| product.checked_mul(dimension));
    let blocks = weights.and_then(|weights| weights.checked_div(block));
    let size = blocks.and_then(|blocks| blocks.checked_mul(u64::from(kind.block_bytes())));
    size.filter(|&size| size <= u64::MAX >> 1)
        .ok_or_else(|| Error::TensorSizeOverflow { tensor: name.to_owned() })
}

/// Gives every tensor its bytes. In file order each must start where the one before ends, rounded up to the
/// alignment; the last may be followed by padding to the alignment and by nothing else.
pub(super) fn place(
    headers: Vec<Header>,
    file: &Arc<Vec<u8>>,
    headers_end: u64,
    alignment: u64,
) -> Result<Vec<TensorInfo>, Error> {
    let start = headers_end.saturating_add(padding(headers_end, alignment));
    // A file of headers only may end before its padding.
    let len = wide(file.len()).saturating_sub(start);
    let mut tensors = Vec::with_capacity(headers.len());
    let mut expected = 0_u64;
    for header in headers {
        let Header { name, dimensions, kind, size, offset } = header;
        if !offset.is_multiple_of(alignment) {
            return Err(Error::Misaligned { tensor: name, offset, alignment });
        }
        let Some(end) = offset.checked_add(size).filter(|&end| end <= len) else {
            return Err(Error::OutOfBounds { tensor: name, offset, size, len });
        };
        if offset < expected {
            return Err(Error::Overlapping { tensor: name, offset, expected });
        }
        if offset > expected {
            return Err(Error::Gap { tensor: name, offset, expected });
        }
        let (from, to) = (start.saturating_add(offset), start.saturating_add(end));
        let range = usize::try_from(from).and_then(|from| Ok(from..usize::try_from(to)?));
        let bytes = range.ok().and_then(|range| TensorBytes::new(Arc::clone(file), range));
        let Some(bytes) = bytes else {
            return Err(Error::OutOfBounds { tensor: name, offset, size, len });
        };
        tensors.push(TensorInfo { name, dimensions, kind, bytes });
        expected = end.saturating_add(padding(end, alignment));
    }
    if len > expected {
        return Err(Error::Oversized { extra: len.saturating_sub(expected) });
    }
    Ok(tensors)
}

/// Bytes from `position` to the next multiple of `alignment`, a power of two.
fn padding(position: u64, alignment: u64) -> u64 {
    position.wrapping_neg() & alignment.saturating_sub(1)
}
