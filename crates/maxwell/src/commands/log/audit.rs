//! `maxwell log audit-sampling`: whether a gateway picked what it had to, from its log or from one epoch's file. Never
//! says that all is well where something could not be checked.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use gateway::sampling_audit::{AuditCounts, EpochReport, LogReport, audit_epoch, audit_log};
use protocol::checkpoint::{Checkpoint, MAX_CHECKPOINT_BYTES};
use protocol::epoch::{EpochFile, MAX_EPOCH_FILE_BYTES};
use protocol::keys::VerifyingKey;
use serde_json::{Value, json};

use super::open;
use crate::home::read_bounded;
use crate::keys::read_verifying_key;
use crate::output::{Exit, Finished, Misuse};
use crate::stack::RECEIPT_KEY_FILE;

/// Arguments of `maxwell log audit-sampling`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct AuditArguments {
    /// The folder of a gateway's log, or an epoch's file from `maxwell log export-epoch`
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// The gateway's public key, mxpk1..., or a file that holds it. Get it from whom you trust; for a folder it is
    /// receipt.pub in it if not given
    #[arg(long, value_name = "PUB")]
    key: Option<String>,
    /// A checkpoint of the same epoch that you kept: the answers must go on from it. For an epoch's file only
    #[arg(long, value_name = "FILE")]
    earlier: Option<PathBuf>,
    /// The log's key, if it is not log.key in the folder
    #[arg(long, value_name = "FILE")]
    log_key: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  maxwell up --log ./today
  maxwell log audit-sampling ./today
  maxwell log audit-sampling epoch.cbor --key gateway.key.pub
  curl http://GATEWAY/v1/epochs/0/checkpoint -o opening.cbor      # at the epoch's beginning
  maxwell log audit-sampling epoch.cbor --key gateway.key.pub --earlier opening.cbor

The gateway commits to an audit key before an epoch's first answer and reveals it after the epoch's checkpoint; an epoch
that was cut off has no key, and its coins cannot be checked: a beacon still can pick from it.

Exit codes: 0 every decision is right, 3 one is not, 4 a key is not revealed, 1 something failed here.";

/// Runs the command.
pub(super) fn run(arguments: &AuditArguments) -> anyhow::Result<Finished> {
    if arguments.path.is_dir() {
        if arguments.earlier.is_some() {
            return Err(Misuse(
                "--earlier is for an epoch's file; see `maxwell log export-epoch`".to_owned(),
            )
            .into());
        }
        let beside = arguments.path.join(RECEIPT_KEY_FILE);
        let key = match &arguments.key {
            Some(key) => read_verifying_key(key)?,
            None if beside.exists() => read_verifying_key(&beside.to_string_lossy())?,
            None => return Err(Misuse("give --key, the gateway's public key".to_owned()).into()),
        };
        let opened = open(&arguments.path, arguments.log_key.as_ref())?;
        return Ok(of_log(&audit_log(&opened.history, &key, opened.is_whole)));
    }
    let Some(key) = &arguments.key else {
        return Err(Misuse(
            "give --key, the gateway's public key: the file can't vouch for itself".to_owned(),
        )
        .into());
    };
    let key = read_verifying_key(key)?;
    let bytes = read_bounded(&arguments.path, MAX_EPOCH_FILE_BYTES)?;
    let file = EpochFile::decode(&bytes)
        .with_context(|| format!("{} is no epoch's file", arguments.path.display()))?;
    let earlier = arguments.earlier.as_deref().map(|path| read_checkpoint(path, &key)).transpose()?;
    Ok(of_epoch(&audit_epoch(&file, &key, earlier.as_ref())))
}

/// A checkpoint of this gateway.
pub(super) fn read_checkpoint(path: &Path, key: &VerifyingKey) -> anyhow::Result<Checkpoint> {
    let bytes = read_bounded(path, MAX_CHECKPOINT_BYTES)?;
    Checkpoint::verify(&bytes, key)
        .with_context(|| format!("{} is no checkpoint of this gateway", path.display()))
}

fn of_log(report: &LogReport) -> Finished {
    let findings: Vec<String> = report
        .all_findings()
        .map(|(epoch, finding)| match epoch {
            Some(epoch) => format!("epoch {epoch}: {finding}"),
            None => finding.to_string(),
        })
        .collect();
    let is_checked = report.is_revealed && report.unchecked == 0;
    let mut json = counted(&report.counts, report.waiting, report.is_revealed, &findings);
    json["unchecked"] = report.unchecked.into();
    json["unaccounted"] = report.unaccounted.into();
    json["epochs"] = report.epochs.iter().map(epoch_json).collect();
    let mut finished = finished(&report.counts, report.waiting, is_checked, &findings, json);
    if report.unchecked > 0 {
        finished.text.push_str(&format!(
            "\n{} answers are of an epoch whose beginning the log does not keep any more",
            report.unchecked
        ));
    }
    if report.unaccounted > 0 {
        finished.text.push_str(&format!(
            "\n{} requests are in no record: they run, or ran when the gateway crashed; if it did not, answers were \
             not written down",
            report.unaccounted
        ));
    }
    finished
}

fn of_epoch(report: &EpochReport) -> Finished {
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    let is_checked = report.is_revealed || report.counts.answers == 0;
    let mut json = counted(&report.counts, report.waiting, report.is_revealed, &findings);
    json["epochs"] = json!([epoch_json(report)]);
    finished(&report.counts, report.waiting, is_checked, &findings, json)
}

fn counted(counts: &AuditCounts, waiting: u64, is_revealed: bool, findings: &[String]) -> Value {
    json!({
        "answers": counts.answers,
        "picked": counts.picked,
        "beacon_picked": counts.beacon_picked,
        "pass": counts.passed,
        "fail": counts.failed,
        "unverifiable": counts.unverifiable,
        "waiting": waiting,
        "revealed": is_revealed,
        "findings": findings,
    })
}

fn epoch_json(report: &EpochReport) -> Value {
    json!({
        "epoch": report.epoch,
        "answers": report.counts.answers,
        "picked": report.counts.picked,
        "beacon_picked": report.counts.beacon_picked,
        "waiting": report.waiting,
        "revealed": report.is_revealed,
        "beacon": report.has_beacon,
        "findings": report.findings.len(),
    })
}

fn finished(
    counts: &AuditCounts,
    waiting: u64,
    is_checked: bool,
    findings: &[String],
    json: Value,
) -> Finished {
    let exit = match (findings.is_empty(), is_checked) {
        (false, _) => Exit::Reject,
        (true, true) => Exit::Ok,
        (true, false) => Exit::Undecided,
    };
    let mut text = format!(
        "{} answers, {} picked and {} more by beacons: {} right, {} wrong, {} could not be recomputed, {waiting} \
         without an outcome\n",
        counts.answers,
        counts.picked,
        counts.beacon_picked,
        counts.passed,
        counts.failed,
        counts.unverifiable
    );
    for finding in findings {
        text.push_str(&format!("  {finding}\n"));
    }
    text.push_str(match exit {
        Exit::Ok => "every decision is the one that the committed keys give",
        Exit::Reject => "the gateway did not pick what it had to, or has changed what it was bound to",
        Exit::Undecided | Exit::Error | Exit::Usage => {
            "an audit key is not revealed: its coins can't be checked"
        }
    });
    Finished { exit, json, text }
}
