//! References to tests, in memory.

use super::TestIndex;
use crate::tree::Tree;

fn index() -> TestIndex {
    let it = "#[test]\nfn wrong_nonce() {}\n#[test]\n#[ignore]\nfn slow() {}\n#[ignore = \"why\"]\n#[test]\nfn later() {}\nfn helper() {}\n// #[test]\nfn off() {}";
    let unit = "proptest! {\n    /// Doc.\n    #[test]\n    fn round_trip(x in 0..3) {}\n}";
    TestIndex::new(&Tree::of(&[
        ("crates/evidence/tests/it/replay.rs", it),
        ("crates/protocol/src/encoding/tests.rs", unit),
        ("xtask/src/layers/tests.rs", "#[test] fn direction() {}"),
    ]))
}

#[test]
fn existing_tests_are_found() {
    let names = [
        "evidence::wrong_nonce",
        "evidence::replay::wrong_nonce",
        "evidence::tests::it::replay::wrong_nonce",
        "replay.rs::wrong_nonce",
        "it/replay.rs::wrong_nonce",
        "crates/evidence/tests/it/replay.rs::wrong_nonce",
        "protocol::encoding::tests::round_trip",
        "encoding/tests.rs::round_trip",
        "xtask::layers::direction",
    ];
    for name in names {
        assert!(index().holds(name), "{name}");
    }
}

#[test]
fn others_are_not() {
    let names = [
        "evidence::wrong_nonces",
        "evidence::helper",
        "evidence::slow",
        "evidence::later",
        "evidence::off",
        "protocol::wrong_nonce",
        "evidence::other::wrong_nonce",
        "evidence::replay::it::wrong_nonce",
        "play.rs::wrong_nonce",
        "evi::wrong_nonce",
        "wrong_nonce",
    ];
    for name in names {
        assert!(!index().holds(name), "{name}");
    }
}

#[test]
fn references_stand_in_backticks() {
    let cell = "`replay.rs::wrong_nonce` and `evidence::gone`, not evidence::bare, `cargo x` or `a :: b`";
    let expected = [("replay.rs::wrong_nonce", true), ("evidence::gone", false)];
    assert_eq!(index().references(cell), expected);
}
