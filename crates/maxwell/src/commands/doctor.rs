//! `maxwell doctor`: which meters this machine has, which permissions lack, and what evidence results. Never calls a meter
//! good that says nothing.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use hypervisor::meters::{Kind, Meters, Roots, evidence_level, roots_below};
use hypervisor::sensors::{Quality, Reading};
use serde_json::{Value, json};

use super::Shell;
use crate::output::{Exit, Finished};

/// Readings of one kind that are listed.
const LISTED_MAX: usize = 16;

/// Arguments of `maxwell doctor`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DoctorArguments {
    /// Look below FOLDER/sys and FOLDER/proc instead of at this machine
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  maxwell doctor
  maxwell doctor --json | jq .evidence_level

Exit codes: 0 a meter of energy or power is there, 4 none is, so that energy checks are weak or undecided.";

/// Runs the command.
pub(crate) fn run(arguments: &DoctorArguments, _: &Shell) -> anyhow::Result<Finished> {
    let roots = arguments.root.as_deref().map_or_else(Roots::default, roots_below);
    let kinds = Meters::open(roots).examine(0);
    let level = evidence_level(&kinds);
    let mut text = String::new();
    for kind in &kinds {
        write_kind(&mut text, kind);
    }
    let cgroup = hypervisor::cgroup::is_available();
    let cgroup_words = if cgroup {
        "can be made here: agents are limited by the kernel"
    } else {
        "can't be made here: agents are accounted by process and stopped by signal"
    };
    let _ = write!(text, "control groups   {cgroup_words}\n\nEvidence: {}", level.words());
    let json = json!({
        "meters": kinds.iter().map(kind_json).collect::<Vec<_>>(),
        "control_groups": cgroup,
        "evidence_level": level,
        "evidence": level.words(),
    });
    let has_meter = level <= hypervisor::meters::EvidenceLevel::PowerSamples;
    Ok(Finished { exit: if has_meter { Exit::Ok } else { Exit::Undecided }, json, text })
}

fn write_kind(text: &mut String, kind: &Kind) {
    match &kind.state {
        Ok(readings) => {
            let _ = writeln!(text, "{:<16} {} readings", kind.name, readings.len());
            for reading in readings.iter().take(LISTED_MAX) {
                let _ = writeln!(text, "    {}", reading_line(reading));
            }
            if readings.len() > LISTED_MAX {
                let _ = writeln!(text, "    and {} more", readings.len() - LISTED_MAX);
            }
        }
        Err(error) => {
            let _ = writeln!(text, "{:<16} {error}", kind.name);
        }
    }
    if let Some(remedy) = kind.remedy {
        let _ = writeln!(text, "    -> {remedy}");
    }
}

/// One reading for people.
pub(super) fn reading_line(reading: &Reading) -> String {
    let is_good = reading.quality == Quality::Good;
    let quality = if is_good { String::new() } else { format!("  {:?}", reading.quality) };
    let (value, unit) = (reading.value, reading.quantity.unit());
    format!("{:<44} {value:>16.3} {unit:<6} +- {:.3}{quality}", reading.source, reading.uncertainty)
}

fn kind_json(kind: &Kind) -> Value {
    json!({
        "name": kind.name,
        "readings": kind.state.as_ref().ok(),
        "error": kind.state.as_ref().err().map(ToString::to_string),
        "remedy": kind.remedy,
    })
}
