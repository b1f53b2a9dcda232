//! Dependency directions in memory.

use super::{check, layer_of_path};
use crate::tree::Tree;

/// The findings for crates with these names and dependency tables.
#[track_caller]
fn messages(manifests: &[(&str, &str)], expected: &[&str]) {
    let paths: Vec<_> =
        manifests.iter().map(|(name, text)| (format!("crates/{name}/Cargo.toml"), *text)).collect();
    let files: Vec<_> = paths.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    let found: Vec<_> = check(&Tree::of(&files)).iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn lower_layers_are_allowed() {
    let maxwell = "[dependencies]\nmodel.workspace = true\nprotocol = { path = \"x\" }\nanyhow = \"1\"";
    messages(&[("protocol", ""), ("model", "[dependencies]\nprotocol = \"0\""), ("maxwell", maxwell)], &[]);
}

#[test]
fn same_and_higher_layers_are_refused_in_every_table() {
    let upward = [
        "[dependencies]\nengine.workspace = true",
        "[dev-dependencies]\nengine = { workspace = true }",
        "[build-dependencies]\n\"engine\" = \"0\"",
        "[target.'cfg(unix)'.dependencies]\nengine.workspace = true",
        "[dependencies]\nfast = { path = \"../engine\", package = \"engine\" }",
    ];
    for text in upward {
        messages(
            &[("engine", ""), ("model", text)],
            &["crates/model/Cargo.toml:2: model (layer 1) uses engine"],
        );
    }
    let table = "[dependencies.engine]\nworkspace = true";
    messages(
        &[("engine", ""), ("model", table)],
        &["crates/model/Cargo.toml:1: model (layer 1) uses engine"],
    );
    let sibling = "[dependencies]\nprover.workspace = true";
    // The pair is in the list of what must never be linked too.
    messages(&[("prover", ""), ("evidence", sibling)], &["uses prover (layer 3)", "evidence links prover"]);
}

#[test]
fn other_tables_and_comments_are_not_dependencies() {
    let text =
        "[package]\nname = \"model\"\n[dependencies]\n# engine.workspace = true\n[features]\nengine = []";
    messages(&[("engine", ""), ("model", text)], &[]);
}

#[test]
fn forbidden_pairs_are_found_through_a_third_crate() {
    let evidence = "[dependencies]\nmodel.workspace = true";
    let gateway = "[dependencies]\nevidence.workspace = true";
    let expected = "crates/gateway/Cargo.toml:1: gateway links model, directly or through another crate";
    messages(&[("model", ""), ("evidence", evidence), ("gateway", gateway)], &[expected]);
    let recomputer = "[dependencies]\nprover.workspace = true";
    messages(&[("prover", ""), ("recomputer", recomputer)], &["recomputer links prover"]);
}

#[test]
fn unknown_crates_need_a_layer() {
    messages(&[("helpers", "")], &["crate helpers has no layer"]);
}

#[test]
fn chores_stay_outside() {
    let files = [
        ("crates/protocol/Cargo.toml", ""),
        ("xtask/Cargo.toml", "[dependencies]\nanyhow = \"1\"\nprotocol.workspace = true"),
    ];
    let found: Vec<_> = check(&Tree::of(&files)).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["xtask/Cargo.toml:3: xtask uses protocol; chores stay outside of the product"]);
}

#[test]
fn layers_of_paths() {
    assert_eq!(layer_of_path("crates/engine/src/lib.rs"), Some(2));
    assert_eq!(layer_of_path("crates/proof-system/src/lib.rs"), Some(1));
    assert_eq!(layer_of_path("xtask/src/main.rs"), None);
    assert_eq!(layer_of_path("crates/unknown/src/lib.rs"), None);
}
