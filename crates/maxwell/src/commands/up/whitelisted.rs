//! The whitelist of one run: both parties' keys are drawn here and thrown away, since nobody else has to agree to what
//! runs on one's own machine. Everything after it takes the path that a list of two real parties takes.

use anyhow::Context;
use gateway::tokenizer_file::open_tokenizer;
use protocol::group_tree::GroupVerifier;
use protocol::keys::SigningKey;
use protocol::whitelist::{Whitelist, authorize};

use super::super::whitelist::{Described, describe, entry_name};
use super::Shell;
use crate::models::ModelFile;
use crate::random::random_bytes;
use crate::stack::Whitelisted;

/// Lists a model under its pulled name, else under that of its file.
pub(super) fn whitelist(shell: &Shell, file: ModelFile) -> anyhow::Result<Whitelisted> {
    let Described { mut entry, bundle, tree } = describe(shell, &file, entry_name(None, &file)?)?;
    entry.version = 1;
    let name = entry.name.clone();
    let list = Whitelist { version: 1, entries: vec![entry], expires_unix_s: None, revoked: Vec::new() };
    let parties = [SigningKey::from_seed(random_bytes()?), SigningKey::from_seed(random_bytes()?)];
    let signed = list.sign(&[&parties[0], &parties[1]]).context("the model can't be listed")?;
    let keys = [parties[0].verifying_key(), parties[1].verifying_key()];
    let entry = authorize(&signed, &keys, 0, 1)?.by_name(&name, 0)?;
    Ok(Whitelisted {
        tokenizer: open_tokenizer(&bundle, &entry)?,
        entry,
        verifier: GroupVerifier::new(tree.head, tree.outboard)?,
        weights: file.path,
    })
}
