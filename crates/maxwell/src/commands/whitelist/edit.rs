//! Changes to a whitelist's file. Must never name a bundle or outboard that is not written yet.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use gateway::tokenizer_file::decode_tokenizer;
use model::commitment::encode_tokenizer;
use model::{Model, NUMERICS};
use protocol::Whitelist;
use protocol::group_tree::GroupTree;
use protocol::whitelist::{SignedWhitelist, WhitelistEntry};
use serde_json::json;

use super::{AddArguments, RevokeArguments, SignArguments, read, write};
use crate::commands::Shell;
use crate::commands::pull::name_of;
use crate::home::write_atomic;
use crate::keys;
use crate::models::{self, ModelFile};
use crate::output::{Exit, Finished};

/// `maxwell whitelist add`.
pub(super) fn add(arguments: &AddArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let path = &arguments.list.file;
    let before = read_if_there(path)?;
    let file = models::find(&shell.home, &arguments.model)?;
    let name = entry_name(arguments.name.as_deref(), &file)?;
    let Described { entry, bundle, tree } = describe(shell, &file, name)?;
    let (bundle_file, outboard_file) = (bundle_path(path, &entry), outboard_path(path, &entry));
    write_atomic(&bundle_file, &bundle)?;
    write_atomic(&outboard_file, &tree.outboard.encode())?;
    let mut list = before.clone().unwrap_or_else(empty);
    list.expires_unix_s = arguments.expires.or(list.expires_unix_s);
    put(&mut list, entry.clone());
    let changed = store_changed(path, before.as_ref(), &mut list)?;
    Ok(Finished {
        exit: Exit::Ok,
        json: json!({
            "file": path,
            "version": list.version,
            "changed": changed,
            "name": entry.name,
            "commitment": entry.model.to_string(),
            "weights_root": hex::encode(entry.weights.root),
            "tokenizer_digest": hex::encode(entry.tokenizer_digest),
            "tokenizer_file": bundle_file,
            "outboard_file": outboard_file,
        }),
        text: format!(
            "{}: {}\n  commitment {}\n  {}\n  {}\n  {}",
            entry.name,
            change_text(changed, list.version),
            entry.model,
            path.display(),
            bundle_file.display(),
            outboard_file.display()
        ),
    })
}

/// `maxwell whitelist revoke`.
pub(super) fn revoke(arguments: &RevokeArguments) -> anyhow::Result<Finished> {
    let path = &arguments.list.file;
    let (_, before) = read(path)?;
    let mut list = before.clone();
    if let Err(at) = list.revoked.binary_search(&arguments.model) {
        list.revoked.insert(at, arguments.model);
    }
    let changed = store_changed(path, Some(&before), &mut list)?;
    Ok(Finished {
        exit: Exit::Ok,
        json: json!({
            "file": path,
            "version": list.version,
            "changed": changed,
            "commitment": arguments.model.to_string(),
        }),
        text: format!("{}: revoked; {}", arguments.model, change_text(changed, list.version)),
    })
}

/// `maxwell whitelist sign`.
pub(super) fn sign(arguments: &SignArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let path = &arguments.list.file;
    let key = keys::read_signing_key(&arguments.key, shell.terminal)?;
    let (mut signed, list) = read(path)?;
    signed.sign(&key);
    write(path, &signed)?;
    let party = key.verifying_key();
    let signers: Vec<String> = signed.signatures.iter().map(|(key, _)| key.to_string()).collect();
    let digest = blake3::hash(&signed.bytes).to_string();
    Ok(Finished {
        exit: Exit::Ok,
        json: json!({
            "file": path,
            "version": list.version,
            "digest": digest,
            "party": party.to_string(),
            "signed_by": signers,
        }),
        text: format!(
            "{party} signed version {} with {} models\n  digest {digest}\n  {} signatures in {}",
            list.version,
            list.entries.len(),
            signers.len(),
            path.display()
        ),
    })
}

/// What the list says about a model, and what lies beside it.
pub(in crate::commands) struct Described {
    pub(in crate::commands) entry: WhitelistEntry,
    /// The tokenizer, for gateways.
    pub(in crate::commands) bundle: Vec<u8>,
    pub(in crate::commands) tree: GroupTree,
}

/// Reads a model's file once, and describes it under a name.
pub(in crate::commands) fn describe(
    shell: &Shell,
    file: &ModelFile,
    name: String,
) -> anyhow::Result<Described> {
    // The tree and the model come from the same bytes, even if the file changes meanwhile.
    let bytes = Arc::new(models::read_model_file(&file.path)?);
    let tree = GroupTree::of(&bytes);
    let model = models::import(&shell.home, shell.terminal, bytes)
        .with_context(|| file.path.display().to_string())?;
    models::remember(&shell.home, &model.commitment, file)?;
    let bundle = bundle_of(&model)?;
    let entry = WhitelistEntry {
        name,
        model: model.commitment,
        numerics: NUMERICS.to_owned(),
        template: model.template,
        weights: tree.head,
        tokenizer_digest: *blake3::hash(&bundle).as_bytes(),
        vocabulary: model.tokenizer.vocabulary(),
        context: model.config.context,
        // Set when the list's next version is known.
        version: 0,
    };
    Ok(Described { entry, bundle, tree })
}

/// The bundle, if a gateway reads the same tokenizer from it.
fn bundle_of(model: &Model) -> anyhow::Result<Vec<u8>> {
    let bundle = encode_tokenizer(model.tokenizer.spec());
    let read = decode_tokenizer(&bundle).context("a gateway could not read this model's tokenizer")?;
    if read != *model.tokenizer.spec() {
        bail!("a gateway would read another tokenizer: this model's chat template is empty; remove it");
    }
    Ok(bundle)
}

/// Puts the entry at its place, or leaves the one that says the same.
fn put(list: &mut Whitelist, entry: WhitelistEntry) {
    match list.entries.binary_search_by(|present| present.name.cmp(&entry.name)) {
        Ok(at) => {
            let version = list.entries[at].version;
            list.entries[at] = WhitelistEntry { version, ..entry };
        }
        Err(at) => list.entries.insert(at, entry),
    }
}

/// Writes the list under its next version and without signatures, unless nothing changed. Says whether it did.
fn store_changed(path: &Path, before: Option<&Whitelist>, list: &mut Whitelist) -> anyhow::Result<bool> {
    if before == Some(&*list) {
        return Ok(false);
    }
    let next = list.version.checked_add(1).context("the whitelist's version can't rise any more")?;
    list.version = next;
    for entry in &mut list.entries {
        let known = before.is_some_and(|before| before.entries.contains(entry));
        if !known {
            entry.version = next;
        }
    }
    write(path, &SignedWhitelist::unsigned(list)?)?;
    Ok(true)
}

fn read_if_there(path: &Path) -> anyhow::Result<Option<Whitelist>> {
    let there = path.try_exists().with_context(|| format!("can't look for {}", path.display()))?;
    if !there {
        return Ok(None);
    }
    read(path).map(|(_, list)| Some(list)).with_context(|| path.display().to_string())
}

fn empty() -> Whitelist {
    Whitelist { version: 0, entries: Vec::new(), expires_unix_s: None, revoked: Vec::new() }
}

/// The given name, else the pulled one, else one made from the file's.
pub(in crate::commands) fn entry_name(given: Option<&str>, file: &ModelFile) -> anyhow::Result<String> {
    let name = match (given, &file.name) {
        (Some(name), _) => name.to_owned(),
        (None, Some(name)) => name.clone(),
        (None, None) => name_of(&file.path),
    };
    models::check_name(&name)?;
    Ok(name)
}

/// Where the tokenizer of a listed model is.
pub(in crate::commands) fn bundle_path(list: &Path, entry: &WhitelistEntry) -> PathBuf {
    list.with_file_name(format!("{}.tokenizer", hex::encode(entry.tokenizer_digest)))
}

/// Where the tree of a listed model's weights is.
pub(in crate::commands) fn outboard_path(list: &Path, entry: &WhitelistEntry) -> PathBuf {
    list.with_file_name(format!("{}.outboard", hex::encode(entry.weights.root)))
}

fn change_text(changed: bool, version: u64) -> String {
    if changed {
        format!("the list is version {version} now, without signatures")
    } else {
        format!("the list says so already, version {version} is unchanged")
    }
}
