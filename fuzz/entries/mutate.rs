//! Changes inputs, always in the same way for the same number: for tests that have no coverage to follow. Must not know
//! what the bytes mean.

/// Longest input that comes out.
const MAX_BYTES: usize = 1 << 14;
/// Bytes at which lengths and types change in the formats that are fuzzed.
const TELLING: [u8; 24] = [
    0x00, 0x01, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x20, 0x22, 0x2c, 0x38, 0x40, 0x5b, 0x5f, 0x7b, 0x7d, 0x7f,
    0x80, 0x9f, 0xa0, 0xc2, 0xf5, 0xf6, 0xff,
];

/// The next number of a sequence (SplitMix64).
pub fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A number below another; 0 if there is none.
fn below(random: &mut u64, end: usize) -> usize {
    let end = u64::try_from(end).unwrap_or(u64::MAX);
    usize::try_from(next(random).checked_rem(end).unwrap_or(0)).unwrap_or(0)
}

/// One of the inputs with one to four changes.
pub fn mutated(random: &mut u64, seeds: &[Vec<u8>]) -> Vec<u8> {
    let one = |random: &mut u64| seeds.get(below(random, seeds.len())).cloned().unwrap_or_default();
    let mut bytes = one(random);
    for _ in 0..=below(random, 4) {
        let other = one(random);
        change(random, &mut bytes, &other);
    }
    bytes.truncate(MAX_BYTES);
    bytes
}

fn change(random: &mut u64, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = below(random, bytes.len());
    let length = below(random, 16).min(bytes.len() - at);
    let telling = TELLING[below(random, TELLING.len())];
    match next(random) % 9 {
        0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (telling % 8)),
        1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = telling),
        2 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = byte.wrapping_add(1)),
        3 => bytes.insert(at, telling),
        4 => drop(bytes.drain(at..at + length)),
        5 => {
            let again = bytes[at..at + length].to_vec();
            drop(bytes.splice(at..at, again));
        }
        6 => bytes.truncate(at),
        7 => {
            // The end of another one.
            bytes.truncate(at);
            bytes.extend_from_slice(&other[below(random, other.len())..]);
        }
        _ => {
            // A number as long as a length.
            let number = next(random) >> (next(random) % 64);
            bytes.iter_mut().skip(at).zip(number.to_be_bytes()).for_each(|(byte, new)| *byte = new);
        }
    }
}
