//! Block formats against the Python package `gguf`, floats against f64, and every refusal.

use proptest::prelude::*;

use super::*;

/// Written by tests/oracle/blocks.py, which documents the layout.
const BLOCKS: &[u8] = include_bytes!("../../tests/fixtures/blocks.bin");

struct Case {
    kind: BlockKind,
    rows: u32,
    cols: u32,
    grid: i32,
    bytes: Vec<u8>,
    values: Vec<i64>,
}

fn oracle_cases() -> Vec<Case> {
    let mut rest = BLOCKS;
    let mut take = |count: usize| {
        let (taken, after) = rest.split_at(count);
        rest = after;
        taken
    };
    let mut cases = Vec::new();
    for _ in 0..21 {
        let header: Vec<u32> =
            take(20).chunks(4).map(|chunk| u32::from_le_bytes(chunk.try_into().unwrap())).collect();
        let [kind, rows, cols, grid, length] = header[..] else { unreachable!() };
        let bytes = take(length as usize).to_vec();
        let values = take((rows * cols * 4) as usize).chunks(4);
        let values = values.map(|chunk| i64::from(i32::from_le_bytes(chunk.try_into().unwrap()))).collect();
        cases.push(Case {
            kind: BlockKind::ALL[kind as usize],
            rows,
            cols,
            grid: grid as i32,
            bytes,
            values,
        });
    }
    assert!(rest.is_empty());
    cases
}

#[test]
fn blocks_equal_the_gguf_package() {
    for (number, case) in oracle_cases().into_iter().enumerate() {
        let Case { kind, rows, cols, grid, bytes, values } = case;
        let weights = Weights::from_blocks("t", kind, rows, cols, TensorBytes::whole(bytes)).unwrap();
        assert_eq!(weights.grid(), grid, "case {number}, {kind:?}: grid");
        let mut row = Vec::new();
        let mut max_l1 = 0;
        for (r, expected) in values.chunks(cols as usize).enumerate() {
            let r = r as u32;
            weights.row(r, &mut row);
            assert_eq!(row, expected, "case {number}, {kind:?}: row {r}");
            let l1 = expected.iter().map(|value| value.unsigned_abs()).sum();
            assert_eq!(weights.row_l1(r), l1, "case {number}, {kind:?}: L1 of row {r}");
            max_l1 = max_l1.max(l1);
            check_sub_blocks(&weights, kind, r, expected);
        }
        assert_eq!(weights.max_row_l1(), max_l1);
    }
}

fn check_sub_blocks(weights: &Weights, kind: BlockKind, row: u32, expected: &[i64]) {
    assert_eq!(weights.sub_blocks_per_row() * kind.sub_block_len(), expected.len());
    for (index, expected) in expected.chunks(kind.sub_block_len()).enumerate() {
        let sub = weights.sub_block(row, index);
        assert_eq!(usize::from(sub.len), expected.len());
        assert!(sub.codes[expected.len()..].iter().all(|&code| code == 0));
        for (&code, &expected) in sub.codes.iter().zip(expected) {
            assert_eq!(i64::from(sub.scale) * i64::from(code) + i64::from(sub.min), expected);
        }
        let centre = match kind {
            BlockKind::Q8_0 => 128,
            BlockKind::Q4_0 => 8,
            BlockKind::Q5_0 => 16,
            BlockKind::Q6K => 32,
            BlockKind::Q4_1 | BlockKind::Q5_1 | BlockKind::Q4K | BlockKind::Q5K => continue,
        };
        assert_eq!(sub.min, -centre * sub.scale, "{kind:?}: code {centre} stands for zero");
    }
}

/// A block of the kind with the given f16 bits in the scale (and 0 in the minimum), all other bytes `fill`.
fn block(kind: BlockKind, scale: u16, fill: u8) -> Vec<u8> {
    let mut bytes = vec![fill; kind.block_bytes() as usize];
    let at = if kind == BlockKind::Q6K { 208 } else { 0 };
    if matches!(kind, BlockKind::Q4_1 | BlockKind::Q5_1 | BlockKind::Q4K | BlockKind::Q5K) {
        bytes[2..4].fill(0);
    }
    bytes[at..at + 2].copy_from_slice(&scale.to_le_bytes());
    bytes
}

fn one_row(kind: BlockKind, blocks: &[Vec<u8>]) -> Result<Weights, Error> {
    let cols = kind.block_weights() * blocks.len() as u32;
    Weights::from_blocks("t", kind, 1, cols, TensorBytes::whole(blocks.concat()))
}

#[test]
fn nan_and_infinity_are_refused_with_their_place() {
    for kind in BlockKind::ALL {
        for bits in [0x7c00_u16, 0xfc00, 0x7e01] {
            let good = || block(kind, 0x2000, 1);
            let bytes = [good(), good(), good(), block(kind, bits, 1)].concat();
            let found =
                Weights::from_blocks("t", kind, 2, kind.block_weights() * 2, TensorBytes::whole(bytes));
            let expected = Error::NotFinite { tensor: "t".to_owned(), row: 1, block: 1 };
            assert_eq!(found.unwrap_err(), expected, "{kind:?}");
        }
        if kind != BlockKind::Q6K && one_row(kind, &[block(kind, 0x2000, 0)]).unwrap().grid() > 0 {
            let mut bytes = block(kind, 0x2000, 0);
            bytes[2..4].copy_from_slice(&0x7c00_u16.to_le_bytes());
            let has_minimum =
                matches!(kind, BlockKind::Q4_1 | BlockKind::Q5_1 | BlockKind::Q4K | BlockKind::Q5K);
            assert_eq!(one_row(kind, &[bytes]).is_err(), has_minimum, "{kind:?}");
        }
    }
}

#[test]
fn grids_are_minimal() {
    // f16 bits of the scales, and the grid: zeros do not count, integers need none.
    for (scales, grid) in [
        (vec![0x0000_u16, 0x8000], 0),
        (vec![0x3c00], 0),         // 1
        (vec![0x3e00, 0x0000], 1), // 1.5
        (vec![0x5640], 0),         // 100
        (vec![0x1400], 10),        // 2^-10
        (vec![0x1401], 20),        // (1 + 2^-10) * 2^-10
        (vec![0x1401, 0x1800], 20),
        (vec![0x0001], 24), // the smallest subnormal
        (vec![0x0002], 23),
    ] {
        for kind in BlockKind::ALL {
            let blocks: Vec<_> = scales.iter().map(|&bits| block(kind, bits, 0x11)).collect();
            assert_eq!(one_row(kind, &blocks).unwrap().grid(), grid, "{kind:?} {scales:x?}");
        }
    }
}

#[test]
fn grids_too_wide_for_32_bits_are_refused() {
    // The smallest subnormal forces 2^-24; the other scale then decides. Bounds: 2^31 / largest code (and
    // largest sub-scale), in multiples of 2^-24; f16 of the largest power of two that fits, and of the next.
    for (kind, fits) in [
        (BlockKind::Q8_0, 0x3800_u16), // 2^-1: 255 * 2^23
        (BlockKind::Q4_0, 0x4800),     // 8: 15 * 2^27
        (BlockKind::Q4_1, 0x4800),
        (BlockKind::Q5_0, 0x4400), // 4: 31 * 2^26
        (BlockKind::Q5_1, 0x4400),
        (BlockKind::Q4K, 0x3000), // 2^-3: 63 * 15 * 2^21
        (BlockKind::Q5K, 0x2c00), // 2^-4: 63 * 31 * 2^20
        (BlockKind::Q6K, 0x2400), // 2^-6: 128 * 63 * 2^18
    ] {
        let with = |scale: u16| one_row(kind, &[block(kind, 1, 0xff), block(kind, scale, 0xff)]);
        let weights = with(fits).unwrap();
        let mut row = Vec::new();
        weights.row(0, &mut row);
        assert!(row.iter().all(|&value| i32::try_from(value).is_ok()), "{kind:?}");
        let expected = Error::GridTooWide { tensor: "t".to_owned(), grid: 24, bits: 32 };
        assert_eq!(with(fits + 0x400).unwrap_err(), expected, "{kind:?}");
    }
}

#[test]
fn shapes_and_lengths_are_checked() {
    let bytes = |length| TensorBytes::whole(vec![0; length]);
    let row = Weights::from_blocks("t", BlockKind::Q4_0, 1, 33, bytes(18)).unwrap_err();
    assert_eq!(row, Error::RowLength { tensor: "t".to_owned(), cols: 33, block: 32 });
    let short = Weights::from_blocks("t", BlockKind::Q4_0, 2, 32, bytes(35)).unwrap_err();
    assert_eq!(
        short,
        Error::DataLength { tensor: "t".to_owned(), rows: 2, cols: 32, expected: 36, found: 35 }
    );
    let long = Weights::from_floats("t", FloatKind::F16, 2, 2, &[0; 9]).unwrap_err();
    assert_eq!(long, Error::DataLength { tensor: "t".to_owned(), rows: 2, cols: 2, expected: 8, found: 9 });
    let shift = Weights::from_rows("t", 1, 1, 0, vec![1], vec![13]).unwrap_err();
    assert_eq!(shift, Error::RowShift { tensor: "t".to_owned(), shift: 13, limit: 12 });
    let shifts = Weights::from_rows("t", 2, 1, 0, vec![1, 2], vec![0]).unwrap_err();
    assert_eq!(shifts, Error::DataLength { tensor: "t".to_owned(), rows: 2, cols: 1, expected: 2, found: 1 });
    let grid = Weights::from_rows("t", 1, 1, 61, vec![1], vec![0]).unwrap_err();
    assert_eq!(grid, Error::ScaleRange { tensor: "t".to_owned(), exponent: 61, min: -16, max: 60 });
}

#[test]
fn tensor_bytes_stay_inside_their_file() {
    let file = Arc::new(vec![1, 2, 3, 4]);
    assert_eq!(TensorBytes::new(Arc::clone(&file), 1..3).unwrap().as_slice(), [2, 3]);
    assert_eq!(TensorBytes::new(Arc::clone(&file), 4..4).unwrap().as_slice(), [0_u8; 0]);
    assert!(TensorBytes::new(Arc::clone(&file), 3..5).is_none());
    #[expect(clippy::reversed_empty_ranges, reason = "that is the case under test")]
    let reversed = TensorBytes::new(file, 3..1);
    assert!(reversed.is_none());
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn float_rows_share_a_grid() {
    // 1 needs 2^14, 2^-10 would allow 2^24, 2^-20 would allow 2^34 but is held at 14 + 12.
    let values = f32_bytes(&[1.0, -0.5, 0.0, 0.0, 2.0_f32.powi(-10), 0.0, 2.0_f32.powi(-20), -3e-9]);
    let (weights, loss) = Weights::from_floats("t", FloatKind::F32, 4, 2, &values).unwrap();
    let Form::Rows { values, shifts } = weights.form() else { unreachable!() };
    assert_eq!(weights.grid(), 26);
    assert_eq!(**values, [1 << 14, -(1 << 13), 0, 0, 1 << 14, 0, 1 << 6, 0]);
    assert_eq!(**shifts, [12, 0, 2, 0]);
    assert_eq!(weights.sub_blocks_per_row(), 0);
    let mut row = Vec::new();
    weights.row(0, &mut row);
    assert_eq!(row, [1 << 26, -(1 << 25)]);
    assert_eq!((0..4).map(|r| weights.row_l1(r)).collect::<Vec<_>>(), [3 << 25, 0, 1 << 16, 1 << 6]);
    assert_eq!(weights.max_row_l1(), 3 << 25);
    // 3e-9 is between 2^-29 and 2^-28.
    assert_eq!(loss, Loss { tensor: "t".to_owned(), exact: false, rounded: 1, max_error_bits: -28 });
}

#[test]
fn vectors_take_the_finest_scale_up_to_24() {
    for (numbers, values, exponent, error_bits) in [
        (vec![0.0_f32, -0.0], vec![0_i16, 0], 0, None),
        (vec![1.0, -0.25], vec![16_384, -4_096], 14, None),
        (vec![2.0_f32.powi(-30)], vec![0], 24, Some(-30)),
        (vec![2.0_f32.powi(-12)], vec![4_096], 24, None),
        // 32767.5 rounds up and out of range at 2^0, so the scale is halved; 16383.75 is then 16384.
        (vec![32_767.5], vec![16_384], -1, Some(-1)),
        // Its negative rounds towards zero (floor of x + 1/2), and fits.
        (vec![-32_767.5], vec![-32_767], 0, Some(-1)),
        (vec![32_767.0], vec![32_767], 0, None),
        (vec![1.0, 2.0_f32.powi(-15)], vec![16_384, 1], 14, Some(-15)),
        (vec![-1.0, -(2.0_f32.powi(-15))], vec![-16_384, 0], 14, Some(-15)),
        (vec![3.0e7], vec![29_297], -10, Some(7)),
    ] {
        let vector = Vector::from_floats("v", FloatKind::F32, &f32_bytes(&numbers)).unwrap();
        assert_eq!((vector.values(), vector.exponent()), (&values[..], exponent), "{numbers:?}");
        assert_eq!(vector.loss().exact, error_bits.is_none(), "{numbers:?}");
        assert_eq!(vector.loss().max_error_bits, error_bits.unwrap_or(i32::MIN), "{numbers:?}");
    }
}

#[test]
fn floats_out_of_range_are_refused() {
    let refuse = |kind: FloatKind, bytes: &[u8], block| {
        let expected = Error::NotFinite { tensor: "v".to_owned(), row: 0, block };
        assert_eq!(Vector::from_floats("v", kind, bytes).unwrap_err(), expected);
        let cols = bytes.len() as u32 / kind.bytes();
        assert_eq!(Weights::from_floats("v", kind, 1, cols, bytes).unwrap_err(), expected);
    };
    refuse(FloatKind::F32, &f32_bytes(&[1.0, f32::NAN, f32::INFINITY]), 1);
    refuse(FloatKind::F32, &f32_bytes(&[f32::NEG_INFINITY, 0.0]), 0);
    refuse(FloatKind::F16, &[0, 0x3c, 0, 0xfc], 1);
    refuse(FloatKind::BF16, &[0x80, 0x3f, 0x80, 0x7f], 1);
    let huge = f32_bytes(&[2.0_f32.powi(31)]);
    let expected = Error::ScaleRange { tensor: "v".to_owned(), exponent: -17, min: -16, max: 60 };
    assert_eq!(Vector::from_floats("v", FloatKind::F32, &huge).unwrap_err(), expected);
    assert_eq!(Weights::from_floats("v", FloatKind::F32, 1, 1, &huge).unwrap_err(), expected);
    let tiny = f32_bytes(&[2.0_f32.powi(-60)]);
    let expected = Error::ScaleRange { tensor: "v".to_owned(), exponent: 74, min: -16, max: 60 };
    assert_eq!(Weights::from_floats("v", FloatKind::F32, 1, 1, &tiny).unwrap_err(), expected);
}

#[test]
fn every_half_is_read_exactly() {
    for bits in 0..=u16::MAX {
        let widened = f64_of_half(bits);
        match Dyadic::from_f16_bits(bits) {
            None => assert!(!widened.is_finite(), "{bits:04x}"),
            Some(number) => assert_eq!(f64_of(number), widened, "{bits:04x}"),
        }
    }
}

fn f64_of(number: Dyadic) -> f64 {
    number.mantissa as f64 * 2.0_f64.powi(number.exponent)
}

/// The definition of binary16 (IEEE 754-2019, section 3.4) in f64 arithmetic.
fn f64_of_half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let fraction = f64::from(bits & 1023) / 1024.0;
    sign * match bits >> 10 & 31 {
        0 => fraction * 2.0_f64.powi(-14),
        31 => f64::INFINITY,
        field => (1.0 + fraction) * 2.0_f64.powi(i32::from(field) - 15),
    }
}

/// Finite floats of ordinary size with some zeros and some tiny ones.
fn ordinary_f32() -> impl Strategy<Value = f32> {
    prop_oneof![
        8 => -1.0_f32..1.0,
        1 => Just(0.0),
        1 => -1.0e-6_f32..1.0e-6,
        1 => -300.0_f32..300.0,
    ]
}

proptest! {
    #[test]
    fn f32_bits_are_read_exactly(bits in any::<u32>()) {
        match Dyadic::from_f32_bits(bits) {
            None => prop_assert!(!f32::from_bits(bits).is_finite()),
            Some(number) => prop_assert_eq!(f64_of(number), f64::from(f32::from_bits(bits))),
        }
    }

    /// The rule of `Vector::from_floats`, in f64 (exact here: 24 bits, and ties are representable).
    #[test]
    fn vectors_follow_the_rule(numbers in prop::collection::vec(ordinary_f32(), 1..40)) {
        let vector = Vector::from_floats("v", FloatKind::F32, &f32_bytes(&numbers)).unwrap();
        let rounded = |number: f32, f: i32| (f64::from(number) * 2.0_f64.powi(f) + 0.5).floor();
        let expected: Vec<f64> = numbers.iter().map(|&number| rounded(number, vector.exponent())).collect();
        let found: Vec<f64> = vector.values().iter().map(|&value| f64::from(value)).collect();
        prop_assert_eq!(&found, &expected);
        if vector.exponent() < 24 && numbers.iter().any(|&number| number != 0.0) {
            let finer = numbers.iter().any(|&number| rounded(number, vector.exponent() + 1).abs() > 32_767.0);
            prop_assert!(finer, "2^-{} would have done", vector.exponent() + 1);
        }
        let error = |(&number, &value): (&f32, &f64)| {
            (f64::from(number) - value * 2.0_f64.powi(-vector.exponent())).abs()
        };
        let worst = numbers.iter().zip(&found).map(error).fold(0.0, f64::max);
        let bits = vector.loss().max_error_bits;
        prop_assert_eq!(vector.loss().exact, worst == 0.0);
        if worst > 0.0 {
            prop_assert!(worst <= 2.0_f64.powi(bits) && worst > 2.0_f64.powi(bits - 1));
        }
    }

    /// A float matrix row by row: the error is at most half a step of the row, and W fits 28 bits.
    #[test]
    fn float_rows_are_near(numbers in prop::collection::vec(ordinary_f32(), 12), bf16 in any::<bool>()) {
        let kind = if bf16 { FloatKind::BF16 } else { FloatKind::F32 };
        let numbers: Vec<f32> = if bf16 {
            numbers.iter().map(|number| f32::from_bits(number.to_bits() & 0xffff_0000)).collect()
        } else {
            numbers
        };
        let bytes: Vec<u8> =
            numbers.iter().flat_map(|number| number.to_le_bytes()[4 - kind.bytes() as usize..].to_vec()).collect();
        let (weights, _) = Weights::from_floats("t", kind, 3, 4, &bytes).unwrap();
        let Form::Rows { shifts, .. } = weights.form() else { unreachable!() };
        let mut row = Vec::new();
        for (r, numbers) in numbers.chunks(4).enumerate() {
            weights.row(r as u32, &mut row);
            let step = 2.0_f64.powi(i32::from(shifts[r]) - weights.grid());
            for (&number, &value) in numbers.iter().zip(&row) {
                let value = value as f64 * 2.0_f64.powi(-weights.grid());
                prop_assert!((f64::from(number) - value).abs() <= step / 2.0);
            }
        }
        prop_assert!(shifts.contains(&0) || numbers.iter().all(|&number| number == 0.0));
        prop_assert!(shifts.iter().all(|&shift| shift <= MAX_ROW_SHIFT));
    }
}
