//! The codec against the examples of RFC 8949 appendix A and section 4.2.1. Must not take its expectations from the
//! codec itself.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;

/// Any value that the codec supports.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Unsigned(u64),
    Signed(i64),
    Bytes(Vec<u8>),
    Text(String),
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Boolean(bool),
    Null,
}

fn encode(value: &Value, encoder: &mut Encoder) {
    match value {
        Value::Unsigned(value) => encoder.unsigned(*value),
        Value::Signed(value) => encoder.signed(*value),
        Value::Bytes(value) => encoder.bytes(value),
        Value::Text(value) => encoder.text(value),
        Value::Array(items) => {
            encoder.array_header(items.len());
            items.iter().for_each(|item| encode(item, encoder));
        }
        Value::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| (encoded(key), encoded(value)));
            encoder.map(&entries.collect::<BTreeMap<_, _>>());
        }
        Value::Boolean(value) => encoder.boolean(*value),
        Value::Null => encoder.null(),
    }
}

fn encoded(value: &Value) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encode(value, &mut encoder);
    encoder.into_bytes()
}

const LIMIT: u64 = 1000;

fn decode(decoder: &mut Decoder<'_>) -> Result<Value, Error> {
    let initial = decoder.peek("an item")?;
    match initial & MAJOR_MASK {
        UNSIGNED => Ok(Value::Unsigned(decoder.unsigned("an unsigned integer")?)),
        NEGATIVE => Ok(Value::Signed(decoder.signed("a signed integer")?)),
        BYTES => Ok(Value::Bytes(decoder.bytes(LIMIT, "bytes")?.to_vec())),
        TEXT => Ok(Value::Text(decoder.text(LIMIT, "text")?.to_owned())),
        ARRAY => {
            let items = decoder.array_header(LIMIT, "an array")?;
            (0..items).map(|_| decode(decoder)).collect::<Result<_, _>>().map(Value::Array)
        }
        MAP => {
            let (entries, mut keys) = decoder.map_header(LIMIT, "a map")?;
            (0..entries)
                .map(|_| Ok((decoder.map_key(&mut keys, decode)?, decode(decoder)?)))
                .collect::<Result<_, _>>()
                .map(Value::Map)
        }
        _ if initial == NULL => Ok(decoder.optional("null", decode)?.unwrap_or(Value::Null)),
        _ => Ok(Value::Boolean(decoder.boolean("a boolean")?)),
    }
}

fn decoded(bytes: &[u8]) -> Result<Value, Error> {
    let mut decoder = Decoder::new(bytes);
    let value = decode(&mut decoder)?;
    decoder.finish()?;
    Ok(value)
}

/// `value` and the hexadecimal digits stand for each other, in both directions.
#[track_caller]
fn check(value: Value, digits: &str) {
    assert_eq!(hex::encode(encoded(&value)), digits, "encoding of {value:?}");
    assert_eq!(decoded(&hex::decode(digits).unwrap()), Ok(value), "decoding of {digits}");
}

/// The hexadecimal digits are refused, for a reason whose text contains `message`.
#[track_caller]
fn refused(digits: &str, message: &str) {
    let error = decoded(&hex::decode(digits).unwrap()).expect_err(digits).to_string();
    assert!(error.contains(message), "{digits}: {error}");
}

fn unsigned(value: u64) -> Value {
    Value::Unsigned(value)
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn array(items: impl IntoIterator<Item = Value>) -> Value {
    Value::Array(items.into_iter().collect())
}

#[test]
fn integers_of_appendix_a() {
    check(unsigned(0), "00");
    check(unsigned(1), "01");
    check(unsigned(10), "0a");
    check(unsigned(23), "17");
    check(unsigned(24), "1818");
    check(unsigned(25), "1819");
    check(unsigned(100), "1864");
    check(unsigned(1000), "1903e8");
    check(unsigned(1_000_000), "1a000f4240");
    check(unsigned(1_000_000_000_000), "1b000000e8d4a51000");
    check(unsigned(18_446_744_073_709_551_615), "1bffffffffffffffff");
    check(Value::Signed(-1), "20");
    check(Value::Signed(-10), "29");
    check(Value::Signed(-100), "3863");
    check(Value::Signed(-1000), "3903e7");
    check(Value::Signed(i64::MIN), "3b7fffffffffffffff");
    // -2^64 is CBOR, but beyond what a claim can hold.
    refused("3bffffffffffffffff", "byte 0: expected a signed integer, but the integer does not fit");
}

#[test]
fn simple_values_and_strings_of_appendix_a() {
    check(Value::Boolean(false), "f4");
    check(Value::Boolean(true), "f5");
    check(Value::Null, "f6");
    check(Value::Bytes(vec![]), "40");
    check(Value::Bytes(vec![1, 2, 3, 4]), "4401020304");
    check(text(""), "60");
    check(text("a"), "6161");
    check(text("IETF"), "6449455446");
    check(text("\"\\"), "62225c");
    check(text("\u{fc}"), "62c3bc");
    check(text("\u{6c34}"), "63e6b0b4");
    check(text("\u{10151}"), "64f0908591");
}

#[test]
fn arrays_and_maps_of_appendix_a() {
    check(array([]), "80");
    check(array([1, 2, 3].map(unsigned)), "83010203");
    check(array([unsigned(1), array([2, 3].map(unsigned)), array([4, 5].map(unsigned))]), "8301820203820405");
    check(array((1..=25).map(unsigned)), "98190102030405060708090a0b0c0d0e0f101112131415161718181819");
    check(Value::Map(vec![]), "a0");
    check(Value::Map(vec![(unsigned(1), unsigned(2)), (unsigned(3), unsigned(4))]), "a201020304");
    let list = array([2, 3].map(unsigned));
    check(Value::Map(vec![(text("a"), unsigned(1)), (text("b"), list)]), "a26161016162820203");
    check(array([text("a"), Value::Map(vec![(text("b"), text("c"))])]), "826161a161626163");
    let letters = ["a", "b", "c", "d", "e"].map(|key| (text(key), text(&key.to_uppercase())));
    check(Value::Map(letters.to_vec()), "a56161614161626142616361436164614461656145");
}

/// The eight keys of RFC 8949 section 4.2.1 in the order that it gives.
#[test]
fn map_keys_are_in_bytewise_order() {
    let keys = ["0a", "1864", "20", "617a", "626161", "811864", "8120", "f4"];
    let body = |keys: &[&str]| keys.iter().map(|key| format!("{key}f6")).collect::<String>();
    let digits = format!("a8{}", body(&keys));
    let value = decoded(&hex::decode(&digits).unwrap()).unwrap();
    assert_eq!(hex::encode(encoded(&value)), digits);
    for first in 0..keys.len() - 1 {
        let mut swapped = keys;
        swapped.swap(first, first + 1);
        refused(&format!("a8{}", body(&swapped)), "expected a map key greater");
    }
    refused("a201f601f6", "byte 3: expected a map key greater");
}

#[test]
fn the_rest_of_appendix_a_is_refused() {
    for float in ["f90000", "f98000", "f93c00", "f97e00", "fa47c35000", "fb3ff199999999999a"] {
        refused(float, "found a float");
    }
    for tag in ["c249010000000000000000", "c074323031332d30332d32315432303a30343a30305a", "d74401020304"] {
        refused(tag, "found a tag");
    }
    for simple in ["f7", "f0", "f8ff"] {
        refused(simple, "found a simple value");
    }
    let indefinite = ["5f42010243030405ff", "7f657374726561646d696e67ff", "9fff", "bf61610161629f0203ffff"];
    for digits in indefinite {
        refused(digits, "indefinite lengths are not canonical");
    }
    refused("ff", "found the end of an indefinite length");
}

#[test]
fn only_the_shortest_form_is_read() {
    let longer = ["1817", "1900ff", "1a0000ffff", "1b00000000ffffffff", "3817", "5801aa", "780161", "980100"];
    for digits in longer {
        refused(digits, "byte 0");
        refused(digits, "shortest form");
    }
    for reserved in ["1c", "1d", "1e"] {
        refused(reserved, "reserved initial byte");
    }
}

#[test]
fn broken_input_names_the_byte() {
    refused("", "byte 0: expected an item, but the input ends");
    refused("8201", "byte 0: expected an array, but the input ends");
    refused("820119", "byte 2: expected an unsigned integer, but the input ends");
    refused("43aabb", "byte 0: expected bytes, but the input ends");
    refused("8261ff01", "byte 1: expected text, but the bytes are not UTF-8");
    refused("0000", "byte 1: expected the end of the input, but 1 more bytes follow");
    refused("f8", "found a simple value");
}

#[test]
fn no_length_is_believed() {
    // 2^64 - 1 items, bytes or entries: refused by the cap before anything is allocated.
    for major in ["9b", "5b", "7b", "bb"] {
        refused(&format!("{major}ffffffffffffffff"), "the limit is 1000");
    }
    // Within the cap, but beyond the input.
    for short in ["9903e8", "5903e8", "7903e8", "b903e8"] {
        refused(short, "but the input ends");
    }
    let two = hex::decode("820102").unwrap();
    assert_eq!(Decoder::new(&two).array_header(2, "a pair"), Ok(2));
    assert_eq!(
        Decoder::new(&two).array_header(1, "a pair"),
        Err(Error::OverLimit { offset: 0, what: "a pair", length: 2, limit: 1 })
    );
}

#[test]
fn structures_name_tag_version_and_length() {
    let mut encoder = Encoder::new();
    encoder.structure("maxwell.test", 2, 1);
    encoder.unsigned(7);
    let bytes = encoder.into_bytes();
    let read = |tag, version, fields| Decoder::new(&bytes).structure(tag, version, fields);
    assert_eq!(read("maxwell.test", 2, 1), Ok(()));
    assert_eq!(
        read("maxwell.other", 2, 1),
        Err(Error::StructureTag { offset: 1, expected: "maxwell.other" })
    );
    let newer = Error::StructureVersion { offset: 14, tag: "maxwell.test", found: 2, supported: 1 };
    assert_eq!(read("maxwell.test", 1, 5), Err(newer));
    let longer = Error::FixedLength { offset: 0, what: "maxwell.test", length: 3, expected: 4 };
    assert_eq!(read("maxwell.test", 2, 2), Err(longer));
}

#[test]
fn fixed_lengths_are_exact() {
    let bytes = hex::decode("43010203").unwrap();
    assert_eq!(Decoder::new(&bytes).bytes_exact::<3>("three bytes"), Ok([1, 2, 3]));
    assert_eq!(
        Decoder::new(&bytes).bytes_exact::<4>("four bytes"),
        Err(Error::FixedLength { offset: 0, what: "four bytes", length: 3, expected: 4 })
    );
    assert_eq!(Decoder::new(&hex::decode("820102").unwrap()).array_exact(2, "a pair"), Ok(()));
    assert!(Decoder::new(&hex::decode("8101").unwrap()).array_exact(2, "a pair").is_err());
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<u64>().prop_map(Value::Unsigned),
        (0..300u64).prop_map(Value::Unsigned),
        (i64::MIN..0).prop_map(Value::Signed),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        ".{0,30}".prop_map(Value::Text),
        any::<bool>().prop_map(Value::Boolean),
        Just(Value::Null),
    ];
    leaf.prop_recursive(3, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((inner.clone(), inner), 0..6).prop_map(|mut entries| {
                entries.sort_by_key(|(key, _)| encoded(key));
                entries.dedup_by_key(|(key, _)| encoded(key));
                Value::Map(entries)
            }),
        ]
    })
}

fn seeded(seed: u64) -> Config {
    Config { rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(seeded(1))]

    #[test]
    fn every_value_survives_the_round_trip(value in any_value()) {
        prop_assert_eq!(decoded(&encoded(&value)), Ok(value));
    }

    /// One value has one form: what is accepted is exactly what the encoder would write.
    #[test]
    fn accepted_bytes_are_canonical(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
        if let Ok(value) = decoded(&bytes) {
            prop_assert_eq!(encoded(&value), bytes);
        }
    }

    /// The same close to valid input, which random bytes seldom reach.
    #[test]
    fn accepted_neighbours_are_canonical(value in any_value(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = encoded(&value);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(value) = decoded(&bytes) {
            prop_assert_eq!(encoded(&value), bytes);
        }
    }
}
