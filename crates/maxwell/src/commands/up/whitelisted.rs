//! The whitelist of one run: both parties' keys are drawn here and thrown away, since nobody else has to agree to what
//! runs on one's own machine. Everything after it takes the path that a list of two real parties takes.

use std::path::PathBuf;

use anyhow::Context;
use gateway::tokenizer_file::open_tokenizer;
use model::NUMERICS;
use model::commitment::encode_tokenizer;
use protocol::group_tree::{GroupTree, GroupVerifier};
use protocol::keys::SigningKey;
use protocol::whitelist::{AuthorizedEntry, Whitelist, WhitelistEntry, authorize};
use tokenizer::Tokenizer;

use super::random;
use crate::models::{OpenModel, read_model_file};

/// A model that may run, and what the gateway needs of it.
pub(super) struct Whitelisted {
    pub(super) entry: AuthorizedEntry,
    pub(super) tokenizer: Tokenizer,
    pub(super) verifier: GroupVerifier,
    /// The file.
    pub(super) weights: PathBuf,
}

impl Whitelisted {
    /// Lists a model under the name that the user gave, if it is a pulled one, else under that of its file.
    pub(super) fn new(opened: &OpenModel, reference: &str) -> anyhow::Result<Self> {
        let model = &opened.model;
        let name = opened.file.name.clone().unwrap_or_else(|| {
            PathBuf::from(reference).file_stem().unwrap_or_default().to_string_lossy().to_lowercase()
        });
        let bundle = encode_tokenizer(model.tokenizer.spec());
        let GroupTree { head, outboard } = GroupTree::of(&read_model_file(&opened.file.path)?);
        let entry = WhitelistEntry {
            name: name.clone(),
            model: model.commitment,
            numerics: NUMERICS.to_owned(),
            template: model.template,
            weights: head,
            tokenizer_digest: *blake3::hash(&bundle).as_bytes(),
            vocabulary: model.config.vocab,
            context: model.config.context,
            version: 1,
        };
        let list = Whitelist { version: 1, entries: vec![entry], expires_unix_s: None, revoked: Vec::new() };
        let parties = [SigningKey::from_seed(random()?), SigningKey::from_seed(random()?)];
        let signed = list.sign(&[&parties[0], &parties[1]]).context("the model can't be listed")?;
        let keys = [parties[0].verifying_key(), parties[1].verifying_key()];
        let entry = authorize(&signed, &keys, 0, 1)?.by_name(&name, 0)?;
        Ok(Self {
            tokenizer: open_tokenizer(&bundle, &entry)?,
            entry,
            verifier: GroupVerifier::new(head, outboard)?,
            weights: opened.file.path.clone(),
        })
    }
}
