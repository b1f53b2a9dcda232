//! `maxwell log`: reads the log of a gateway that is not running. Never changes it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use gateway::record::Record;
use gateway::sampling_audit::{AuditReport, SamplingAudit};
use gateway::store::{Store, StoreKey};
use serde_json::json;

use crate::output::{Exit, Finished};
use crate::stack::{LOG_FOLDER, LOG_KEY_FILE, STORE, read_log_key};

/// Arguments of `maxwell log`.
#[derive(Debug, Args)]
pub(crate) struct LogArguments {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Draw every coin again: was exactly what had to be recomputed picked?
    AuditSampling(AuditArguments),
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct AuditArguments {
    /// The folder that `maxwell up --log` was given
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  maxwell up --log ./today
  maxwell log audit-sampling ./today

The gateway commits to its audit key before the first answer and reveals it at its end; a run that was cut off has
not revealed it, and its coins cannot be checked.

Exit codes: 0 every decision is right, 3 one is not, 4 the key is not revealed, 1 something failed here.";

/// Runs the command.
pub(crate) fn run(arguments: &LogArguments) -> anyhow::Result<Finished> {
    let LogCommand::AuditSampling(AuditArguments { folder }) = &arguments.command;
    let key = read_log_key(&folder.join(LOG_KEY_FILE))?;
    let (store, _) = Store::open(&folder.join(LOG_FOLDER), &StoreKey::from_bytes(key), STORE)?;
    let mut audit = SamplingAudit::new();
    for stored in store.iter_from(store.oldest()) {
        let stored = stored?;
        audit.add(&Record::decode(stored.kind, &stored.content)?);
    }
    Ok(finished(&audit.finish()))
}

fn finished(report: &AuditReport) -> Finished {
    let counts = report.counts;
    let exit = match (report.findings.is_empty(), report.is_revealed) {
        (false, _) => Exit::Reject,
        (true, true) => Exit::Ok,
        (true, false) => Exit::Undecided,
    };
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    let mut text = format!(
        "{} answers, {} picked: {} right, {} wrong, {} could not be recomputed, {} without an outcome\n",
        counts.answers, counts.picked, counts.passed, counts.failed, counts.unverifiable, report.waiting
    );
    for finding in &findings {
        text.push_str(&format!("  {finding}\n"));
    }
    text.push_str(match exit {
        Exit::Ok => "every decision is the one that the committed key gives",
        Exit::Reject => "the gateway did not pick what it had to",
        Exit::Undecided | Exit::Error | Exit::Usage => {
            "the audit key is not revealed: coins can't be checked"
        }
    });
    Finished {
        exit,
        json: json!({
            "answers": counts.answers,
            "picked": counts.picked,
            "pass": counts.passed,
            "fail": counts.failed,
            "unverifiable": counts.unverifiable,
            "waiting": report.waiting,
            "revealed": report.is_revealed,
            "findings": findings,
        }),
        text,
    }
}
