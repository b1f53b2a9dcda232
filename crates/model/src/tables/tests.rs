//! The tables against hashes that `oracle/tables.py` printed: correctly rounded from 60-digit decimals by
//! another program in another language.

use sha2::{Digest, Sha256};

use super::*;

fn check(bytes: &[u8], expected: &str, what: &str) {
    assert_eq!(hex::encode(Sha256::digest(bytes)), expected, "{what}");
}

#[test]
fn exp_tables_are_correctly_rounded() {
    let words = |table: &[u32]| -> Vec<u8> {
        table.iter().flat_map(|v| u16::try_from(*v).expect("16 bits").to_le_bytes()).collect()
    };
    check(
        &words(&exp_short()),
        "778c15a8a0ad65d2c3378679b9a567b16b1b7dded8b736d8c71df7305363db14",
        "12 bits",
    );
    check(&words(&exp_long()), "b11a605c06b86fefd954dfd1d21c801be31b5859124ebf21d681e904f0868331", "15 bits");
    let long: Vec<u8> = exp_sampler().iter().flat_map(|v| v.to_le_bytes()).collect();
    check(&long, "58c116881213c221b75998f02c98eee3102cf51448ac47417d6999bdd71c05dc", "24 bits");
}

#[test]
fn activation_tables_are_correctly_rounded() {
    let expected = [
        (Activation::Silu, 6, "ab77ac97579259df4aa5a6d95d5b7821b42cc9b7d934d0b87e44ce25ee98c522"),
        (Activation::Silu, 7, "c1e35a75d921d6ade6b0ec52c11a29abe072c2ca97a4a0e9efb9cbea11ec9c0b"),
        (Activation::Silu, 8, "876726e5989e269c1b24085588a81ed80e36ac916be40a171ef5104ac8f0ac16"),
        (Activation::Silu, 9, "9401d06a5134bf02c58d8eeaa8722580facbfd49317924a9351d32e3efcbf983"),
        (Activation::Silu, 10, "e34c89266abe9c073b790122f24b76ab226054e57f7b24f032e21a6b5f30f107"),
        (Activation::Silu, 11, "dddc859491a7ad82bad38e0403ffa14a08c1baeface3ad4532f99e3eed920601"),
        (Activation::GeluTanh, 6, "f8dc28a270b791fa42f7a98a90974abceffe61e750550bae764451c046926b8d"),
        (Activation::GeluTanh, 7, "385486b27648dc446700854c1364fc008db58df029a83089c418c7b62626c1f0"),
        (Activation::GeluTanh, 8, "d406cb7dfcc48e28d08ed8a3fb1b1310b5783a2a97bea05f850a058afae4dd5a"),
        (Activation::GeluTanh, 9, "631b38883b3b9bd5ac606936ab4a90376d99bde64bf89e17a3111e38c2e9cc57"),
        (Activation::GeluTanh, 10, "a5c7acd39574766e0629893173c9d5f3d1cfcf26a6cd405ef9b846d59cc700d0"),
        (Activation::GeluTanh, 11, "b1bfaf2e6fb158191da501578378e6716dde5a770c69b3d1310342a0182b3ce9"),
    ];
    for (activation, exponent, hash) in expected {
        let bytes: Vec<u8> =
            activation_table(activation, exponent).iter().flat_map(|v| v.to_le_bytes()).collect();
        check(&bytes, hash, &format!("{activation:?} {exponent}"));
    }
}

#[test]
fn rotations_are_correctly_rounded() {
    let spec =
        RotationSpec { base: (100_000, 0), position_divisor: (1, 0), dimension: 64, scale_q60: 1 << 60 };
    let expected = "8d790f83e1e3106fcd825a43655ef3109ecec77466fe2921b92e4d676046e0d4";
    check(&RotationTable::new(spec, 8192).bytes(), expected, "base 100000, width 64");
}

/// A longer table only adds positions: caches of any length see the same numbers.
#[test]
fn rotation_tables_are_prefixes_of_each_other() {
    let spec =
        RotationSpec { base: (1_000_000, 0), position_divisor: (8, 0), dimension: 16, scale_q60: 1 << 59 };
    let (short, long) = (RotationTable::new(spec, 130), RotationTable::new(spec, 400));
    assert_eq!(short.bytes(), long.bytes()[..short.bytes().len()]);
}

#[test]
fn ends_of_the_activation_tables_are_the_asymptotes() {
    for activation in [Activation::Silu, Activation::GeluTanh] {
        let table = activation_table(activation, MAX_GATE_EXPONENT);
        assert_eq!((table[0], table[65_535]), (0, 32_767), "{activation:?}");
    }
}
