//! Writes GGUF. Every count, offset, type and byte can be set to a lie, because hostile files are its purpose.

use crate::gguf::{DEFAULT_ALIGNMENT, TensorType, ValueType};

/// A file being written; all fields may be changed before [`GgufWriter::finish`].
#[derive(Clone, Debug)]
pub struct GgufWriter {
    /// The first four bytes.
    pub magic: [u8; 4],
    /// The version number.
    pub version: u32,
    /// What the header says about the number of tensors, if not the truth.
    pub tensor_count: Option<u64>,
    /// What the header says about the number of entries, if not the truth.
    pub entry_count: Option<u64>,
    /// Keys (any bytes) and values.
    pub entries: Vec<(Vec<u8>, Encoded)>,
    /// The tensors.
    pub tensors: Vec<WriterTensor>,
    /// To what the data is aligned; the entry `general.alignment` is not written by itself.
    pub alignment: usize,
    /// Bytes after the data.
    pub trailing: Vec<u8>,
}

/// One tensor of a [`GgufWriter`].
#[derive(Clone, Debug)]
pub struct WriterTensor {
    /// The name, any bytes.
    pub name: Vec<u8>,
    /// Row length first.
    pub dimensions: Vec<u64>,
    /// ggml's number of the type.
    pub kind: u32,
    /// The data.
    pub data: Vec<u8>,
    /// What the header says about the offset, if not the truth.
    pub offset: Option<u64>,
}

/// A metadata value: ggml's number of the type, and the bytes that follow it.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// ggml's number of the type.
    pub kind: u32,
    /// The bytes after the number.
    pub bytes: Vec<u8>,
}

impl GgufWriter {
    /// An empty file.
    pub fn new(version: u32) -> GgufWriter {
        GgufWriter {
            magic: *b"GGUF",
            version,
            tensor_count: None,
            entry_count: None,
            entries: Vec::new(),
            tensors: Vec::new(),
            alignment: DEFAULT_ALIGNMENT as usize,
            trailing: Vec::new(),
        }
    }

    /// Appends an entry.
    pub fn entry(&mut self, key: &str, value: Encoded) {
        self.entries.push((key.as_bytes().to_vec(), value));
    }

    /// Replaces the value of an entry, or appends it.
    pub fn set(&mut self, key: &str, value: Encoded) {
        match self.entries.iter_mut().find(|(name, _)| name == key.as_bytes()) {
            Some((_, old)) => *old = value,
            None => self.entry(key, value),
        }
    }

    /// Removes an entry.
    pub fn remove(&mut self, key: &str) {
        self.entries.retain(|(name, _)| name != key.as_bytes());
    }

    /// Appends a tensor.
    pub fn tensor(&mut self, name: &str, dimensions: &[u64], kind: TensorType, data: Vec<u8>) {
        let (name, dimensions) = (name.as_bytes().to_vec(), dimensions.to_vec());
        self.tensors.push(WriterTensor { name, dimensions, kind: kind.number(), data, offset: None });
    }

    /// The tensor of that name.
    ///
    /// # Panics
    /// If there is none.
    pub fn tensor_mut(&mut self, name: &str) -> &mut WriterTensor {
        let found = self.tensors.iter_mut().find(|tensor| tensor.name == name.as_bytes());
        found.expect("the test names a tensor of the file")
    }

    /// The bytes of the file, padded to the alignment after every tensor.
    pub fn finish(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.entry_count.unwrap_or(self.entries.len() as u64).to_le_bytes());
        for (key, value) in &self.entries {
            push_text(&mut out, key);
            out.extend(value.kind.to_le_bytes());
            out.extend(&value.bytes);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            push_text(&mut out, &tensor.name);
            out.extend((tensor.dimensions.len() as u32).to_le_bytes());
            out.extend(tensor.dimensions.iter().flat_map(|dimension| dimension.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(offset as u64).to_le_bytes());
            offset += tensor.data.len().next_multiple_of(self.alignment);
        }
        for data in self.tensors.iter().map(|tensor| &tensor.data) {
            out.resize(out.len().next_multiple_of(self.alignment), 0);
            out.extend(data);
        }
        out.resize(out.len().next_multiple_of(self.alignment), 0);
        out.extend(&self.trailing);
        out
    }
}

impl Encoded {
    /// A value of any type from its bytes.
    pub fn raw(kind: ValueType, bytes: impl Into<Vec<u8>>) -> Encoded {
        Encoded { kind: kind.number(), bytes: bytes.into() }
    }

    /// A u32.
    pub fn u32(value: u32) -> Encoded {
        Encoded::raw(ValueType::U32, value.to_le_bytes())
    }

    /// A binary32 from its bit pattern.
    pub fn f32_bits(bits: u32) -> Encoded {
        Encoded::raw(ValueType::F32, bits.to_le_bytes())
    }

    /// A Boolean.
    pub fn boolean(value: bool) -> Encoded {
        Encoded::raw(ValueType::Bool, [u8::from(value)])
    }

    /// A string.
    pub fn text(text: impl AsRef<[u8]>) -> Encoded {
        let mut bytes = Vec::new();
        push_text(&mut bytes, text.as_ref());
        Encoded::raw(ValueType::Text, bytes)
    }

    /// An array of strings.
    pub fn texts<T: AsRef<[u8]>>(texts: &[T]) -> Encoded {
        let mut bytes = Vec::new();
        texts.iter().for_each(|text| push_text(&mut bytes, text.as_ref()));
        Encoded::array(ValueType::Text.number(), texts.len() as u64, bytes)
    }

    /// An array of i32.
    pub fn i32s(values: &[i32]) -> Encoded {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Encoded::array(ValueType::I32.number(), values.len() as u64, bytes)
    }

    /// An array of binary32 bit patterns.
    pub fn f32s(bits: &[u32]) -> Encoded {
        let bytes = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
        Encoded::array(ValueType::F32.number(), bits.len() as u64, bytes)
    }

    /// An array with any element type, count and bytes.
    pub fn array(element: u32, count: u64, elements: Vec<u8>) -> Encoded {
        let mut bytes = element.to_le_bytes().to_vec();
        bytes.extend(count.to_le_bytes());
        bytes.extend(elements);
        Encoded::raw(ValueType::Array, bytes)
    }
}

fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text);
}
