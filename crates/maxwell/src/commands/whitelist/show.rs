//! A whitelist for people and scripts. Must never show a list as authorized that `authorize` denies.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use protocol::whitelist::{Denial, SignedWhitelist, WhitelistEntry, authorize};
use protocol::{VerifyingKey, Whitelist};
use serde_json::{Value, json};

use super::{ShowArguments, read};
use crate::keys;
use crate::output::{Exit, Finished, Misuse};

/// `maxwell whitelist show`.
pub(super) fn show(arguments: &ShowArguments) -> anyhow::Result<Finished> {
    let parties = parties(&arguments.parties)?;
    let (signed, list) = read(&arguments.list.file)?;
    let judged = match &parties {
        None => None,
        Some(parties) => {
            Some(authorize(&signed, parties, now_unix_s()?, arguments.lowest_version).map(|_| ()))
        }
    };
    Ok(finished(&signed, &list, judged.as_ref()))
}

fn parties(given: &[String]) -> anyhow::Result<Option<[VerifyingKey; 2]>> {
    match given {
        [] => Ok(None),
        [one, other] => Ok(Some([keys::read_verifying_key(one)?, keys::read_verifying_key(other)?])),
        _ => Err(Misuse("give --party twice, once for each of the two parties".to_owned()).into()),
    }
}

fn now_unix_s() -> anyhow::Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Ok(now.context("this machine's clock stands before 1970; set it")?.as_secs())
}

fn finished(signed: &SignedWhitelist, list: &Whitelist, judged: Option<&Result<(), Denial>>) -> Finished {
    let signers: Vec<(String, bool)> =
        signed.signatures.iter().map(|(key, _)| (key.to_string(), signed.is_signed_by(key))).collect();
    let digest = blake3::hash(&signed.bytes).to_string();
    let denial = judged.and_then(|judged| judged.as_ref().err());
    let verdict = match judged {
        None => "not checked",
        Some(Ok(())) => "accept",
        Some(Err(_)) => "reject",
    };
    let json = json!({
        "verdict": verdict,
        "reason": denial.map(Denial::code),
        "message": denial.map(ToString::to_string),
        "version": list.version,
        "digest": digest,
        "expires_unix_s": list.expires_unix_s,
        "entries": list.entries.iter().map(|entry| entry_json(entry, list)).collect::<Vec<_>>(),
        "revoked": list.revoked.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "signatures": signers.iter().map(|(key, valid)| json!({ "key": key, "valid": valid })).collect::<Vec<_>>(),
    });
    let exit = if denial.is_some() { Exit::Reject } else { Exit::Ok };
    Finished { exit, json, text: text(list, &digest, &signers, judged) }
}

fn entry_json(entry: &WhitelistEntry, list: &Whitelist) -> Value {
    json!({
        "name": entry.name,
        "commitment": entry.model.to_string(),
        "revoked": list.revoked.contains(&entry.model),
        "numerics": entry.numerics,
        "template_digest": entry.template.map(|digest| digest.to_string()),
        "weights_root": hex::encode(entry.weights.root),
        "weights_bytes": entry.weights.bytes,
        "group_bytes": entry.weights.group_bytes,
        "tokenizer_digest": hex::encode(entry.tokenizer_digest),
        "vocabulary": entry.vocabulary,
        "context": entry.context,
        "version": entry.version,
    })
}

fn text(
    list: &Whitelist,
    digest: &str,
    signers: &[(String, bool)],
    judged: Option<&Result<(), Denial>>,
) -> String {
    let mut lines = vec![match judged {
        None => "Not checked: give --party twice to see whether both parties signed".to_owned(),
        Some(Ok(())) => "Authorized: both parties signed this list, and it holds now".to_owned(),
        Some(Err(denial)) => format!("Denied: {denial}"),
    }];
    lines.push(format!("  version {}, digest {digest}", list.version));
    lines.push(match list.expires_unix_s {
        Some(second) => format!("  expires at Unix second {second}"),
        None => "  does not expire".to_owned(),
    });
    for entry in &list.entries {
        let state = if list.revoked.contains(&entry.model) { ", REVOKED" } else { "" };
        lines.push(format!("  model {} {}{state}", entry.name, entry.model));
    }
    let named = |model| list.entries.iter().any(|entry| entry.model == model);
    for model in list.revoked.iter().filter(|model| !named(**model)) {
        lines.push(format!("  revoked {model}"));
    }
    for (key, valid) in signers {
        lines.push(format!("  {} by {key}", if *valid { "signed" } else { "WRONGLY signed" }));
    }
    lines.join("\n")
}
