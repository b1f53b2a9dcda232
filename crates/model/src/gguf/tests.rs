//! Every rule of the container has a file that breaks it and nothing else, and the exact error.
#![expect(clippy::as_conversions, reason = "the numbers of a test are its own")]

use proptest::prelude::*;

use super::*;
use crate::synthetic::{Encoded, GgufWriter, WriterTensor};
use crate::weights::{BlockKind, FloatKind};

const F32: TensorType = TensorType::Float(FloatKind::F32);
/// Where the first entry starts: magic, version, two counts.
const HEADER: u64 = 24;

fn parse(file: Vec<u8>) -> Result<Gguf, Error> {
    Gguf::parse(Arc::new(file))
}

/// Two entries and two tensors of 32 bytes each.
fn small() -> GgufWriter {
    let mut writer = GgufWriter::new(3);
    writer.entry("a", Encoded::u32(7));
    writer.entry("b", Encoded::text("hello"));
    writer.tensor("x", &[8], F32, vec![1; 32]);
    writer.tensor("y", &[4, 2], F32, vec![2; 32]);
    writer
}

#[test]
fn a_good_file_is_read() {
    for version in [2, 3] {
        let mut writer = small();
        writer.version = version;
        let gguf = parse(writer.finish()).unwrap();
        assert_eq!(gguf.version(), version);
        assert!(matches!(gguf.get("a"), Some(Value::U32(7))));
        assert!(matches!(gguf.get("b"), Some(Value::Text(text)) if text.as_bytes() == b"hello"));
        assert!(gguf.get("c").is_none());
        assert_eq!(gguf.entries().len(), 2);
        let y = gguf.tensor("y").unwrap();
        assert_eq!((y.name(), y.dimensions(), y.tensor_type()), ("y", &[4, 2][..], F32));
        assert_eq!(y.bytes().as_slice(), [2; 32]);
        assert_eq!(gguf.tensors()[0].bytes().as_slice(), [1; 32]);
    }
}

#[test]
fn all_value_types_are_read() {
    let mut writer = GgufWriter::new(3);
    let numbers: [(ValueType, &[u8]); 11] = [
        (ValueType::U8, &[200]),
        (ValueType::I8, &[200]),
        (ValueType::U16, &[1, 200]),
        (ValueType::I16, &[1, 200]),
        (ValueType::U32, &[1, 2, 3, 200]),
        (ValueType::I32, &[1, 2, 3, 200]),
        (ValueType::F32, &[0, 0, 128, 63]),
        (ValueType::Bool, &[1]),
        (ValueType::U64, &[1, 0, 0, 0, 0, 0, 0, 200]),
        (ValueType::I64, &[255, 255, 255, 255, 255, 255, 255, 255]),
        (ValueType::F64, &[0, 0, 0, 0, 0, 0, 240, 63]),
    ];
    for (kind, bytes) in numbers {
        writer.entry(kind.name(), Encoded::raw(kind, bytes));
        let elements = Encoded::array(kind.number(), 2, [bytes, bytes].concat());
        writer.entry(&format!("{} array", kind.name()), elements);
    }
    writer.entry("texts", Encoded::texts(&["a", "", "\u{e9}"]));
    writer.entry("i32s", Encoded::i32s(&[1, -2]));
    writer.entry("f32s", Encoded::f32s(&[0x3f80_0000]));
    let inner = Encoded::array(ValueType::U8.number(), 3, vec![1, 2, 3]).bytes;
    writer.entry("nested", Encoded::array(ValueType::Array.number(), 2, [inner.clone(), inner].concat()));
    let gguf = parse(writer.finish()).unwrap();
    let found: Vec<String> =
        gguf.entries().iter().map(|(_, value)| format!("{value:?}")).step_by(2).collect();
    let expected = [
        "U8(200)",
        "I8(-56)",
        "U16(51201)",
        "I16(-14335)",
        "U32(3355640321)",
        "I32(-939326975)",
        "F32(1065353216)",
        "Bool(true)",
        "U64(14411518807585587201)",
        "I64(-1)",
        "F64(4607182418800017408)",
    ];
    assert_eq!(found[..11], expected);
    let Some(Value::Array(texts)) = gguf.get("texts") else { unreachable!() };
    let expected: [&[u8]; 3] = [b"a", b"", "\u{e9}".as_bytes()];
    assert_eq!(texts.texts().unwrap().collect::<Vec<_>>(), expected);
    assert!(texts.i32s().is_none() && texts.f32_bits().is_none());
    let Some(Value::Array(i32s)) = gguf.get("i32s") else { unreachable!() };
    assert_eq!(i32s.i32s().unwrap().collect::<Vec<_>>(), [1, -2]);
    assert!(i32s.texts().is_none());
    let Some(Value::Array(f32s)) = gguf.get("f32s") else { unreachable!() };
    assert_eq!(f32s.f32_bits().unwrap().collect::<Vec<_>>(), [0x3f80_0000]);
    let Some(Value::Array(nested)) = gguf.get("nested") else { unreachable!() };
    assert_eq!((nested.element(), nested.count()), (ValueType::Array, 2));
}

#[test]
fn alignment_is_obeyed() {
    for alignment in [8_u32, 64, 65_536] {
        let mut writer = small();
        writer.entry("general.alignment", Encoded::u32(alignment));
        writer.alignment = alignment as usize;
        let file = writer.finish();
        let gguf = parse(file.clone()).unwrap();
        assert_eq!(gguf.tensor("y").unwrap().bytes().as_slice(), [2; 32], "alignment {alignment}");
        // The padding after the last tensor may be missing.
        let unpadded = file.iter().rposition(|&byte| byte == 2).unwrap() + 1;
        assert!(parse(file[..unpadded].to_vec()).is_ok(), "alignment {alignment}");
    }
}

/// Breaks one thing in [`small`] and expects the error.
fn check(name: &str, expected: &Error, change: impl FnOnce(&mut GgufWriter)) {
    let mut writer = small();
    change(&mut writer);
    match parse(writer.finish()) {
        Ok(_) => panic!("{name}: accepted"),
        Err(found) => assert_eq!(&found, expected, "{name}"),
    }
}

#[test]
fn foreign_containers_are_refused() {
    check("magic", &Error::NotGguf { found: b"GGJT".to_vec() }, |w| w.magic = *b"GGJT");
    for version in [0, 1, 4, 0x0003_0000] {
        check("version", &Error::GgufVersion { version }, |w| w.version = version);
    }
    for version in [1_u32, 2, 3] {
        check("big endian", &Error::BigEndian, |w| w.version = version.swap_bytes());
    }
}

#[test]
fn hostile_counts_are_refused() {
    let limit = |what, offset, count, limit| Error::CountLimit { what, offset, count, limit };
    let too_many = limit("the tensor count", 8, u64::MAX, MAX_TENSORS);
    check("tensor count", &too_many, |w| w.tensor_count = Some(u64::MAX));
    let too_many = limit("the metadata count", 16, MAX_ENTRIES + 1, MAX_ENTRIES);
    check("metadata count", &too_many, |w| w.entry_count = Some(MAX_ENTRIES + 1));
    let long_key = limit("the length of a metadata key", HEADER, 65_536, MAX_KEY_BYTES);
    check("long key", &long_key, |w| w.entries[0].0 = vec![b'k'; 65_536]);
    // Entry "a" takes 8 + 1 + 4 + 4 bytes; the length of b's string follows 8 + 1 + 4 more.
    let at = HEADER + 17 + 13;
    let long_text = limit("the length of a string", at, MAX_STRING_BYTES + 1, MAX_STRING_BYTES);
    check("long string", &long_text, |w| {
        w.entries[1].1.bytes[..8].copy_from_slice(&((1_u64 << 30) + 1).to_le_bytes())
    });
    let long_array = limit("the length of an array", at + 4, u64::MAX, MAX_ARRAY_ELEMENTS);
    check("long array", &long_array, |w| w.entries[1].1 = Encoded::array(0, u64::MAX, vec![]));
    check("long array of arrays", &long_array, |w| w.entries[1].1 = Encoded::array(9, u64::MAX, vec![]));
    let long_name = limit("the length of a tensor name", at + 13, 64, MAX_NAME_BYTES);
    check("long tensor name", &long_name, |w| w.tensors[0].name = vec![b'x'; 64]);
}

#[test]
fn counts_within_their_caps_cannot_exceed_the_file() {
    let len = small().finish().len() as u64;
    let truncated = |what, offset, need| Error::Truncated { what, offset, need, len };
    // A billion strings of at least 8 bytes, announced in the place of "hello".
    let mut array = Encoded::array(8, 1 << 30, vec![]);
    array.bytes.push(0);
    check("array", &truncated("an array", HEADER + 42, 8 << 30), |w| w.entries[1].1 = array);
    let text = |w: &mut GgufWriter| w.entries[1].1.bytes[..8].copy_from_slice(&(1_u64 << 30).to_le_bytes());
    check("string", &truncated("a string", HEADER + 38, 1 << 30), text);
    // More tensors than there are: the data is read as headers. Zeros make an empty name without dimensions.
    let none = Error::DimensionCount { tensor: String::new(), count: 0, limit: 4 };
    check("tensor count", &none, |w| {
        w.tensor_count = Some(MAX_TENSORS);
        w.tensors.iter_mut().for_each(|tensor| tensor.data.fill(0));
    });
}

#[test]
fn hostile_metadata_is_refused() {
    let value_type = |offset, number| Error::ValueType { key: "a".to_owned(), offset, number };
    check("type", &value_type(HEADER + 9, 13), |w| w.entries[0].1.kind = 13);
    check("element type", &value_type(HEADER + 13, 99), |w| w.entries[0].1 = Encoded::array(99, 0, vec![]));
    check("key", &Error::KeyNotUtf8 { offset: HEADER + 8 }, |w| w.entries[0].0 = vec![0xff]);
    check("twice", &Error::DuplicateKey { key: "a".to_owned() }, |w| w.entry("a", Encoded::u32(7)));
    let boolean = |offset| Error::NotBoolean { key: "a".to_owned(), offset };
    check("bool", &boolean(HEADER + 13), |w| w.entries[0].1 = Encoded::raw(ValueType::Bool, [2]));
    check("bools", &boolean(HEADER + 27), |w| w.entries[0].1 = Encoded::array(7, 3, vec![0, 1, 255]));
    for alignment in [0, 1, 4, 12, 33, 1 << 17] {
        let expected = Error::Alignment { alignment, min: 8, max: 65_536 };
        check("alignment", &expected, |w| w.entry("general.alignment", Encoded::u32(alignment)));
    }
    let key = "general.alignment".to_owned();
    let expected = Error::WrongType { key, expected: "u32", found: "string" };
    check("alignment", &expected, |w| w.entry("general.alignment", Encoded::text("32")));
}

#[test]
fn arrays_nest_to_the_cap() {
    let nested = |depth: u32| {
        (1..depth).fold(Encoded::array(0, 1, vec![9]), |inner, _| Encoded::array(9, 1, inner.bytes))
    };
    let mut writer = small();
    writer.entries[0].1 = nested(MAX_ARRAY_DEPTH);
    assert!(parse(writer.finish()).is_ok());
    // The fifth header ends 5 * 12 bytes after the type of the entry.
    let expected = Error::NestedTooDeep { key: "a".to_owned(), offset: HEADER + 13 + 60, limit: 4 };
    check("nested", &expected, |w| w.entries[0].1 = nested(MAX_ARRAY_DEPTH + 1));
    check("deeply nested", &expected, |w| w.entries[0].1 = nested(10_000));
}

#[test]
fn hostile_tensor_headers_are_refused() {
    let tensor = || "x".to_owned();
    let x = |w: &mut GgufWriter, change: fn(&mut WriterTensor)| change(&mut w.tensors[0]);
    // The two entries take 17 + 26 bytes, the length of the name 8.
    let expected = Error::TensorNameNotUtf8 { offset: HEADER + 51 };
    check("name", &expected, |w| x(w, |t| t.name = vec![0xc0]));
    check("twice", &Error::DuplicateTensor { tensor: tensor() }, |w| w.tensors[1].name = b"x".to_vec());
    for count in [0, 5] {
        let expected = Error::DimensionCount { tensor: tensor(), count, limit: 4 };
        check("dimensions", &expected, |w| w.tensors[0].dimensions = vec![1; count as usize]);
    }
    check("empty", &Error::EmptyTensor { tensor: tensor() }, |w| x(w, |t| t.dimensions = vec![8, 0]));
    for (number, name) in [(4, "Q4_2"), (10, "Q2_K"), (20, "IQ4_NL"), (39, "MXFP4"), (99, "unknown")] {
        let expected = Error::TensorType { tensor: tensor(), number, name };
        check("type", &expected, |w| w.tensors[0].kind = number);
    }
    let expected = Error::RowLength { tensor: tensor(), cols: 33, block: 32 };
    check("row length", &expected, |w| x(w, |t| (t.kind, t.dimensions) = (2, vec![33])));
    let expected = Error::RowLength { tensor: tensor(), cols: 32, block: 256 };
    check("row length of a K format", &expected, |w| x(w, |t| (t.kind, t.dimensions) = (12, vec![32, 8])));
    let overflow = Error::TensorSizeOverflow { tensor: tensor() };
    check("size", &overflow, |w| x(w, |t| t.dimensions = vec![1 << 32, 1 << 32]));
    check("size in bytes", &overflow, |w| x(w, |t| t.dimensions = vec![1 << 61]));
    check("size of four", &overflow, |w| x(w, |t| t.dimensions = vec![1 << 16, 1 << 16, 1 << 16, 1 << 16]));
}

#[test]
fn tensor_data_must_be_contiguous() {
    let y = || "y".to_owned();
    let offset = |offset| move |w: &mut GgufWriter| w.tensors[1].offset = Some(offset);
    check("misaligned", &Error::Misaligned { tensor: y(), offset: 33, alignment: 32 }, offset(33));
    check("overlap", &Error::Overlapping { tensor: y(), offset: 0, expected: 32 }, offset(0));
    let out = |offset| Error::OutOfBounds { tensor: y(), offset, size: 32, len: 64 };
    check("beyond the end", &out(64), offset(64));
    check("overflow", &out(u64::MAX - 31), offset(u64::MAX - 31));
    let gap = Error::Gap { tensor: y(), offset: 64, expected: 32 };
    check("gap", &gap, |w| {
        w.tensors[1].offset = Some(64);
        w.trailing = vec![0; 32];
    });
    let gap = Error::Gap { tensor: "x".to_owned(), offset: 32, expected: 0 };
    check("swapped", &gap, |w| (w.tensors[0].offset, w.tensors[1].offset) = (Some(32), Some(0)));
    let larger = Error::OutOfBounds { tensor: y(), offset: 32, size: 64, len: 64 };
    check("cut short", &larger, |w| w.tensors[1].dimensions = vec![4, 4]);
    for extra in [1, 1000] {
        check("oversized", &Error::Oversized { extra }, |w| w.trailing = vec![0; extra as usize]);
    }
    // A smaller last tensor leaves 16 bytes of padding, which is allowed, and one aligned unit, which is not.
    check("shrunk", &Error::Oversized { extra: 32 }, |w| w.tensors[1].data.extend([0; 32]));
}

#[test]
fn truncation_is_noticed_at_every_byte() {
    let mut writer = small();
    writer.entry("list", Encoded::texts(&["a", "bc"]));
    writer.entry("numbers", Encoded::i32s(&[1, 2, 3]));
    writer.tensor("z", &[256, 1], TensorType::Block(BlockKind::Q4K), vec![0; 144]);
    let file = writer.finish();
    let (end, data) = (file.len() - 16, file.len() - 32 - 32 - 160 - 32);
    for length in 0..end {
        let found = parse(file[..length].to_vec()).unwrap_err();
        let expected = if let Error::Truncated { offset, need, len, .. } = found {
            len == length as u64 && offset + need > len
        } else if let Error::OutOfBounds { offset, size, len, .. } = found {
            // Cut inside the data, or inside the padding before it.
            length > data && offset + size > len
        } else {
            found == Error::NotGguf { found: file[..length].to_vec() } && length < 4
        };
        assert!(expected, "cut at {length}: {found:?}");
    }
    // The last tensor's 144 bytes are followed by 16 of padding.
    assert!((end..=file.len()).all(|length| parse(file[..length].to_vec()).is_ok()));
}

proptest! {
    /// Whatever happens to a file, the parser returns; if it accepts, every tensor lies within the file.
    #[test]
    fn damaged_files_do_not_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut file = small().finish();
        for (at, byte) in flips {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if cut.index(4) == 0 {
            file.truncate(cut.index(file.len()));
        }
        let len = file.len();
        if let Ok(gguf) = parse(file) {
            let used: usize = gguf.tensors().iter().map(|tensor| tensor.bytes().as_slice().len()).sum();
            prop_assert!(used <= len);
            for (_, value) in gguf.entries() {
                if let Value::Array(array) = value {
                    let counts = [array.texts().map(Iterator::count), array.i32s().map(Iterator::count)];
                    prop_assert!(counts.into_iter().flatten().all(|count| count as u64 == array.count()));
                }
            }
        }
    }
}
