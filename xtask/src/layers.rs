//! Which crate may use which: the direction of all dependencies. Changing this table is a change of the design.

use std::collections::{BTreeMap, BTreeSet};

use crate::finding::Finding;
use crate::tree::{TextFile, Tree};

#[cfg(test)]
mod tests;

/// Every crate and its layer. A crate may use crates of lower layers only.
pub(crate) const LAYERS: [(&str, u8); 14] = [
    ("protocol", 0),
    ("tokenizer", 0),
    ("model", 1),
    ("proof-system", 1),
    ("engine", 2),
    ("verifier", 2),
    ("evidence", 3),
    ("market", 3),
    ("prover", 3),
    ("gateway", 4),
    ("hypervisor", 4),
    ("recomputer", 4),
    ("simulator", 5),
    ("maxwell", 6),
];

/// Crates of this layer and below are pure: no I/O, no clock, no randomness of their own.
pub(crate) const HIGHEST_PURE_LAYER: u8 = 3;

/// Pairs that must never be linked, not even through a third crate, and why.
const NEVER: [(&str, &str, &str); 5] = [
    ("evidence", "prover", "the judge must not run the code of whom it judges"),
    ("recomputer", "prover", "the judge must not run the code of whom it judges"),
    ("hypervisor", "prover", "the node's trusted part stays free of the prover"),
    ("gateway", "model", "the gateway's whole closure must be readable in a few days"),
    ("verifier", "engine", "the trusted base shares no code with what it checks"),
];

/// Layer of a crate.
fn layer(name: &str) -> Option<u8> {
    LAYERS.iter().find(|(known, _)| *known == name).map(|(_, layer)| *layer)
}

/// Layer of the crate that holds this path; `None` outside of the layered crates.
pub(crate) fn layer_of_path(path: &str) -> Option<u8> {
    path.strip_prefix("crates/")?.split_once('/').and_then(|(name, _)| layer(name))
}

/// Checks every `crates/*/Cargo.toml`, and that xtask uses none of the crates.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let manifests: BTreeMap<&str, &TextFile> = tree
        .files
        .iter()
        .filter_map(|file| {
            let name = file.path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml")?;
            (!name.contains('/')).then_some((name, file))
        })
        .collect();
    let uses: BTreeMap<&str, Vec<Dependency>> = manifests
        .iter()
        .map(|(name, file)| (*name, workspace_dependencies(&file.text, &manifests)))
        .collect();
    let mut findings = Vec::new();
    for (name, file) in &manifests {
        findings.extend(check_crate(name, file, &uses[name]));
        findings.extend(check_never(name, file, &uses));
    }
    if let Some(file) = tree.file("xtask/Cargo.toml") {
        findings.extend(workspace_dependencies(&file.text, &manifests).into_iter().map(|dependency| {
            let message = format!("xtask uses {}; chores stay outside of the product", dependency.name);
            Finding::new(&file.path, dependency.line, message)
        }));
    }
    findings
}

fn check_crate(name: &str, file: &TextFile, uses: &[Dependency]) -> Vec<Finding> {
    let Some(own) = layer(name) else {
        let message = format!("crate {name} has no layer; add it to the table in xtask/src/layers.rs");
        return vec![Finding::new(&file.path, 1, message)];
    };
    let allowed = |other: &Dependency| layer(&other.name).is_some_and(|other| other < own);
    uses.iter()
        .filter(|other| !allowed(other))
        .map(|other| {
            let other_layer = layer(&other.name).map_or("none".to_owned(), |layer| layer.to_string());
            let message = format!(
                "{name} (layer {own}) uses {} (layer {other_layer}); a crate uses lower layers only: move the \
                 shared part down, or the using part up",
                other.name
            );
            Finding::new(&file.path, other.line, message)
        })
        .collect()
}

fn check_never(name: &str, file: &TextFile, uses: &BTreeMap<&str, Vec<Dependency>>) -> Vec<Finding> {
    let mut reached = BTreeSet::new();
    let mut open = vec![name.to_owned()];
    while let Some(next) = open.pop() {
        for dependency in uses.get(next.as_str()).into_iter().flatten() {
            if reached.insert(dependency.name.clone()) {
                open.push(dependency.name.clone());
            }
        }
    }
    NEVER
        .iter()
        .filter(|(user, used, _)| *user == name && reached.contains(*used))
        .map(|(user, used, reason)| {
            let message = format!("{user} links {used}, directly or through another crate; never: {reason}");
            Finding::new(&file.path, 1, message)
        })
        .collect()
}

/// A crate of this workspace that a manifest names.
struct Dependency {
    name: String,
    line: usize,
}

/// Reads the dependency tables of a manifest, of every kind and target. Understands `name.workspace = true`,
/// `name = ..`, `alias = { package = "name" }` and `[dependencies.name]`, on one line each.
fn workspace_dependencies(manifest: &str, crates: &BTreeMap<&str, &TextFile>) -> Vec<Dependency> {
    let mut found = Vec::new();
    let mut inside = false;
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        let mut names = Vec::new();
        if let Some(table) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let in_table = |kind: &str| table == kind || table.ends_with(&format!(".{kind}"));
            inside = ["dependencies", "dev-dependencies", "build-dependencies"].into_iter().any(in_table);
            if let Some((head, name)) = table.rsplit_once('.')
                && head.ends_with("dependencies")
            {
                names.push(name);
            }
        } else if inside && !line.starts_with('#') {
            names.push(line.split(['.', '=', ' ']).next().unwrap_or_default());
        }
        names.extend(line.split_once("package = \"").and_then(|(_, rest)| rest.split('"').next()));
        for name in names {
            let name = name.trim_matches('"');
            if crates.contains_key(name) {
                found.push(Dependency { name: name.to_owned(), line: index + 1 });
            }
        }
    }
    found
}
