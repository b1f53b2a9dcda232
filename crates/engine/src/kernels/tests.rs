//! Every instruction set against plain loops over `Weights::row`, in 128 bits.

use model::weights::{BlockKind, TensorBytes, Weights};
use proptest::prelude::*;

use super::huge_buffer::{HugeBuffer, Line};
use super::{Isa, PANEL_ROWS, PackedActivations, PackedMatrix, TileBuffer, matmul};

/// SplitMix64 (Steele et al. 2014), so that one printed number gives the whole case.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// A number of at most `max` in magnitude.
    pub(super) fn signed(&mut self, max: i32) -> i32 {
        let span = 2 * u64::from(max.unsigned_abs()) + 1;
        (self.below(span) as i64 - i64::from(max)) as i32
    }
}

/// What the codes of a block are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Codes {
    Random,
    /// All bits set, with the largest scales.
    Largest,
    /// All bits zero, with the largest scales.
    Smallest,
}

const CODES: [Codes; 3] = [Codes::Random, Codes::Largest, Codes::Smallest];

/// How far apart the f16 exponents of one matrix may be so that every weight still fits 31 bits: 11 bits of
/// mantissa, the codes' bits and those of a K kind's inner scales come on top.
fn exponent_spread(kind: BlockKind) -> u64 {
    match kind {
        BlockKind::Q4_0 | BlockKind::Q4_1 => 14,
        BlockKind::Q5_0 | BlockKind::Q5_1 => 13,
        BlockKind::Q8_0 => 11,
        BlockKind::Q4K => 8,
        BlockKind::Q5K => 7,
        BlockKind::Q6K => 6,
    }
}

/// A matrix of blocks in the bytes of the file format.
fn blocks(random: &mut Random, kind: BlockKind, rows: u32, cols: u32, codes: Codes) -> Weights {
    let count = (rows * cols / kind.block_weights()) as usize;
    let spread = exponent_spread(kind);
    let lowest = random.below(31 - spread);
    let mut bytes = Vec::new();
    for _ in 0..count {
        let start = bytes.len();
        for _ in 0..kind.block_bytes() {
            bytes.push(match codes {
                Codes::Random => random.next() as u8,
                Codes::Largest => 0xff,
                Codes::Smallest => 0,
            });
        }
        let halves: &[usize] = match kind {
            BlockKind::Q8_0 | BlockKind::Q4_0 | BlockKind::Q5_0 => &[0],
            BlockKind::Q4_1 | BlockKind::Q5_1 | BlockKind::Q4K | BlockKind::Q5K => &[0, 2],
            BlockKind::Q6K => &[208],
        };
        for at in halves {
            let half = half(random, lowest, spread, codes);
            bytes[start + at..][..2].copy_from_slice(&half.to_le_bytes());
        }
    }
    Weights::from_blocks("random", kind, rows, cols, TensorBytes::whole(bytes)).expect("scales share a grid")
}

/// An f16 with one of the exponents `lowest..=lowest + spread`, of either sign: now and then zero or one of
/// the ends, subnormal if the exponent is 0. Unless codes are random mostly the largest.
fn half(random: &mut Random, lowest: u64, spread: u64, codes: Codes) -> u16 {
    let sign = (random.below(2) as u16) << 15;
    let largest = ((lowest + spread) << 10) as u16 | 1023;
    let magnitude = match (random.below(16), codes) {
        (0, _) => 0,
        (1, _) => (lowest << 10) as u16 | 1,
        (2, _) | (_, Codes::Largest | Codes::Smallest) => largest,
        (_, Codes::Random) => ((lowest + random.below(spread + 1)) << 10) as u16 | random.below(1024) as u16,
    };
    sign | magnitude
}

fn rows_form(random: &mut Random, rows: u32, cols: u32, codes: Codes) -> Weights {
    let value = |random: &mut Random| match codes {
        Codes::Random => random.next() as i16,
        Codes::Largest => i16::MAX,
        Codes::Smallest => i16::MIN,
    };
    let values = (0..rows * cols).map(|_| value(random)).collect();
    let shifts = (0..rows).map(|_| random.below(13) as u8).collect();
    Weights::from_rows("rows", rows, cols, 12, values, shifts).expect("shapes agree")
}

/// Activations of many widths, one width per token.
fn activations(random: &mut Random, tokens: usize, cols: usize) -> Vec<i32> {
    let mut values = Vec::new();
    for _ in 0..tokens {
        let max = [100, 32_639, 32_767, 32_768, 1 << 23, 1 << 29, super::activations::MAX_ACTIVATION];
        let max = max[random.below(max.len() as u64) as usize];
        let extreme = random.below(3) == 0;
        for _ in 0..cols {
            let value = random.signed(max);
            values.push(if extreme { value.signum() * max } else { value });
        }
    }
    values
}

/// The definition of the product, modulo 2^64.
fn plain(weights: &Weights, x: &[i32]) -> Vec<Vec<i64>> {
    let cols = weights.cols() as usize;
    let mut rows = vec![Vec::new(); x.len() / cols];
    let mut row = Vec::new();
    for r in 0..weights.rows() {
        weights.row(r, &mut row);
        for (out, x) in rows.iter_mut().zip(x.chunks_exact(cols)) {
            let sum: i128 = row.iter().zip(x).map(|(&w, &x)| i128::from(w) * i128::from(x)).sum();
            out.push(sum as i64);
        }
    }
    rows
}

/// All instruction sets, over all panels and tokens and over parts of them.
fn check(weights: &Weights, x: &[i32]) {
    let (rows, cols) = (weights.rows() as usize, weights.cols() as usize);
    let expected = plain(weights, x);
    let packed = PackedMatrix::pack(weights).expect("memory");
    let mut activations = PackedActivations::new();
    let mut buffer = TileBuffer::new();
    for isa in Isa::available() {
        activations.pack(isa, x, cols);
        assert_eq!((packed.rows(), packed.cols(), activations.tokens()), (rows, cols, expected.len()));
        let (panels, tokens) = (packed.panels(), activations.tokens());
        for (panels, tokens) in
            [(0..panels, 0..tokens), (panels / 2..panels, tokens / 3..tokens), (0..1, 0..1)]
        {
            let mut got = vec![[-1; PANEL_ROWS]; panels.len() * tokens.len()];
            matmul(isa, &packed, panels.clone(), &activations, tokens.clone(), &mut buffer, &mut got);
            for (tile, got) in got.iter().enumerate() {
                let (panel, token) = (panels.start + tile % panels.len(), tokens.start + tile / panels.len());
                let mut want = [0; PANEL_ROWS];
                let range = packed.rows_of(panel..panel + 1);
                want[..range.len()].copy_from_slice(&expected[token][range]);
                assert_eq!(*got, want, "{} panel {panel} token {token}", isa.name());
            }
        }
    }
}

fn random_case(seed: u64) {
    let random = &mut Random(seed);
    let codes = CODES[random.below(6).saturating_sub(3) as usize];
    let rows = 1 + random.below(70) as u32;
    let tokens = 1 + random.below(37) as usize;
    let weights = if random.below(5) == 0 {
        let cols = 1 + random.below(600) as u32;
        rows_form(random, rows, cols, codes)
    } else {
        let kind = BlockKind::ALL[random.below(8) as usize];
        let blocks_per_row = 1 + random.below(u64::from(1536 / kind.block_weights())) as u32;
        blocks(random, kind, rows, blocks_per_row * kind.block_weights(), codes)
    };
    let x = activations(random, tokens, weights.cols() as usize);
    check(&weights, &x);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equals_plain_loops(seed: u64) {
        random_case(seed);
    }
}

#[test]
fn every_kind_at_its_extremes() {
    let random = &mut Random(7);
    for kind in BlockKind::ALL {
        for codes in CODES {
            let weights = blocks(random, kind, 17, 512, codes);
            for x in [i32::from(i16::MIN), -32_767, 32_767, super::activations::MAX_ACTIVATION] {
                // All products of one sign, and alternating signs: sums and dots at their bounds.
                check(&weights, &[x; 512]);
                let alternating: Vec<i32> = (0..9 * 512).map(|c| if c % 2 == 0 { x } else { -x }).collect();
                check(&weights, &alternating);
            }
        }
    }
    for codes in CODES {
        let weights = rows_form(random, 17, 544, codes);
        for x in [i32::from(i16::MIN), 32_767, super::activations::MAX_ACTIVATION] {
            check(&weights, &vec![x; 9 * 544]);
        }
    }
}

#[test]
fn every_kind_and_tile_size() {
    let random = &mut Random(11);
    for kind in BlockKind::ALL {
        for tokens in 1..=18 {
            let weights = blocks(random, kind, 33, 256, Codes::Random);
            let x: Vec<i32> = (0..tokens * 256).map(|_| random.signed(32_767)).collect();
            check(&weights, &x);
        }
    }
}

#[test]
fn more_columns_than_fit_sums_of_32_bits() {
    let random = &mut Random(23);
    // Products of bytes at their largest, over more columns than the tile unit sums in one go.
    let cols = 2 * 16_384 + 96;
    for codes in CODES {
        let weights = [rows_form(random, 17, cols, codes), blocks(random, BlockKind::Q8_0, 16, cols, codes)];
        for weights in weights {
            for x in [-1, 0x00ff, 0x7fff, i32::from(i16::MIN)] {
                check(&weights, &vec![x; 17 * cols as usize]);
            }
        }
    }
}

#[test]
fn matrices_packed_together_stay_apart() {
    let random = &mut Random(13);
    let all: Vec<Weights> =
        BlockKind::ALL.iter().map(|&kind| blocks(random, kind, 40, 256, Codes::Random)).collect();
    let packed = PackedMatrix::pack_all(&all.iter().collect::<Vec<_>>()).expect("memory");
    let x: Vec<i16> = (0..256).map(|_| random.next() as i16).collect();
    let mut activations = PackedActivations::new();
    activations.pack_narrow(Isa::best(), &x, 256);
    let mut buffer = TileBuffer::new();
    for (weights, packed) in all.iter().zip(&packed) {
        let expected = plain(weights, &x.iter().map(|&x| i32::from(x)).collect::<Vec<_>>());
        let mut got = vec![[-1; PANEL_ROWS]; packed.panels()];
        matmul(Isa::best(), packed, 0..packed.panels(), &activations, 0..1, &mut buffer, &mut got);
        let got: Vec<i64> = got.iter().flatten().copied().take(40).collect();
        assert_eq!(got, expected[0]);
    }
}

#[test]
fn packed_weights_are_not_much_larger_than_the_file() {
    let random = &mut Random(17);
    for kind in BlockKind::ALL {
        let weights = blocks(random, kind, 64, 512, Codes::Random);
        let file = 64 * 512 / kind.block_weights() as usize * kind.block_bytes() as usize;
        let packed = PackedMatrix::pack(&weights).expect("memory").bytes();
        assert!(packed * 2 <= file * 3, "{kind:?}: {packed} bytes packed, {file} in the file");
    }
}

#[test]
fn no_tokens_no_products() {
    let weights = blocks(&mut Random(19), BlockKind::Q4_1, 16, 32, Codes::Random);
    let packed = PackedMatrix::pack(&weights).expect("memory");
    let mut activations = PackedActivations::new();
    activations.pack(Isa::best(), &[], 32);
    matmul(Isa::best(), &packed, 0..1, &activations, 0..0, &mut TileBuffer::new(), &mut []);
}

#[test]
fn buffers_are_zero_and_writable_at_every_size() {
    for count in [0, 1, 100, (2 << 20) / 64 - 1, (2 << 20) / 64, (5 << 20) / 64 + 3] {
        let mut buffer = HugeBuffer::zeroed(count).expect("memory");
        assert_eq!(buffer.len(), count);
        assert!(buffer.iter().all(|line| *line == Line::ZERO));
        if let Some(last) = buffer.last_mut() {
            *last = Line([7; 64]);
        }
        assert_eq!(super::peak::read_all(&buffer), 0);
    }
    assert!(HugeBuffer::zeroed(usize::MAX / 64).is_err());
}
