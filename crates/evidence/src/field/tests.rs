//! The fields against plain remainders of 128-bit numbers.

use model::synthetic::SplitMix64;

use super::{CheckField, Goldilocks2, Mersenne61, draw_many};

const M61: i128 = (1 << 61) - 1;
const GOLDILOCKS: i128 = model::fingerprint::PRIME as i128;

fn stream(seed: u64) -> blake3::OutputReader {
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof()
}

/// `coordinate` picks one coordinate; the extension has no products of elements, so each is a field of its own.
fn check<F: CheckField>(p: i128, seed: u64, coordinate: impl Fn(F::Element) -> i128) {
    let mut random = SplitMix64::new(seed);
    let count = random.below(70) as usize;
    let bits = random.below(62) as u32;
    let values: Vec<i64> =
        (0..count).map(|_| (random.next_u64() >> (63 - bits)) as i64 - (1 << bits)).collect();
    let narrow: Vec<i32> = values.iter().map(|v| (*v >> 31) as i32).collect();
    let c = draw_many::<F>(&mut stream(seed), count);
    // Products of two residues do not fit 128 bits for Goldilocks with a sign, so values are reduced by halves.
    let plain = |values: &[i64]| {
        c.iter().zip(values).fold(0, |sum: i128, (c, v)| {
            let (high, low) = (*v >> 32, *v & 0xffff_ffff);
            let part = (coordinate(*c) * i128::from(high)).rem_euclid(p);
            (sum + part * (1 << 32) % p + coordinate(*c) * i128::from(low) % p).rem_euclid(p)
        })
    };
    let (dot, magnitudes) = F::dot(&c, &values);
    assert_eq!(coordinate(dot), plain(&values), "seed {seed}");
    assert_eq!(magnitudes, values.iter().fold(0, |all, v| all | v.unsigned_abs()));
    let wide: Vec<i64> = narrow.iter().map(|v| i64::from(*v)).collect();
    assert_eq!(coordinate(F::dot_narrow(&c, &narrow)), plain(&wide), "seed {seed}");
    for (c, v) in c.iter().zip(&values) {
        let scaled = F::scale(*c, *v);
        let sum = F::add(scaled, *c);
        assert_eq!(coordinate(sum), (coordinate(scaled) + coordinate(*c)).rem_euclid(p));
        assert_eq!(F::subtract(sum, *c), scaled);
        assert_eq!(F::subtract(*c, *c), F::Element::default());
        let mut bytes = Vec::new();
        F::write(sum, &mut bytes);
        assert_eq!((bytes.len(), F::read(&bytes)), (F::BYTES, Some(sum)));
        assert_eq!(F::read(&bytes[1..]), None);
    }
    let columns = F::combine_rows(&c, 2, |r, out| {
        *out = vec![i64::from(narrow[r]), 1];
    });
    assert_eq!(columns, [F::dot_narrow(&c, &narrow), F::dot(&c, &vec![1; count]).0]);
}

#[test]
fn sums_are_remainders_of_integers() {
    for seed in 0..2000 {
        check::<Mersenne61>(M61, seed, i128::from);
        check::<Goldilocks2>(GOLDILOCKS, seed, |e| i128::from(e[0]));
        check::<Goldilocks2>(GOLDILOCKS, seed, |e| i128::from(e[1]));
    }
}

#[test]
fn ends_of_the_fields() {
    let last = (1_u64 << 61) - 2;
    let large = (1 << 62) - 1;
    for (c, v) in [(last, large), (last, -large), (1, -1), (0, large), (last, 1), (last, -1)] {
        let expected = (i128::from(c) * i128::from(v)).rem_euclid(M61);
        assert_eq!(i128::from(Mersenne61::scale(c, v)), expected);
        assert_eq!(i128::from(Mersenne61::dot(&[c; 8], &[v; 8]).0), expected * 8 % M61);
        // Longer than a run, of large values and of small ones.
        let mixed = [vec![v; 1500], vec![-3; 1500]].concat();
        let expected = (expected * 1500 - i128::from(c) * 4500).rem_euclid(M61);
        assert_eq!(Mersenne61::dot(&vec![c; 3000], &mixed), (expected as u64, v.unsigned_abs() | 3));
    }
    assert_eq!(Mersenne61::read(&(last + 1).to_le_bytes()), None);
    let p = model::fingerprint::PRIME;
    assert_eq!(Goldilocks2::add([p - 1, 0], [1, p - 1]), [0, p - 1]);
    assert_eq!(Goldilocks2::scale([p - 1, 1], -1), [1, p - 1]);
    assert_eq!(Goldilocks2::scale([0, 0], -5), [0, 0]);
    assert_eq!(Goldilocks2::subtract([0, 5], [0, 5]), [0, 0]);
    let mut bytes = p.to_le_bytes().to_vec();
    bytes.extend_from_slice(&[0; 8]);
    assert_eq!(Goldilocks2::read(&bytes), None);
}

/// Integers that differ by the field's characteristic are told apart by the bound alone.
#[test]
fn bounds_keep_integers_apart() {
    const { assert!((1_i128 << (Mersenne61::VALUE_BITS + 1)) - 2 < M61) };
    const { assert!((1_i128 << (Goldilocks2::VALUE_BITS + 1)) - 2 < GOLDILOCKS) };
}
