//! A dispute as files: the claim, the accusation, and every answer in order. A recorded dispute is judged by the referee
//! alone. Never believes a file for more than it says.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use evidence::dispute::{Accusation, Dispute, MAX_ANSWER_BYTES, Question, Side};
use evidence::recompute::Referee;
use protocol::Claim;
use protocol::claim::MAX_CLAIM_BYTES;

use super::WINDOW;
use super::play::Played;
use crate::home::{create_folder, read_bounded, write_atomic};

const CLAIM_FILE: &str = "claim";
const ACCUSATION_FILE: &str = "accusation";
/// More answers than any dispute has.
const ANSWERS_MAX: usize = 64;

fn answer_file(number: usize, side: Side) -> String {
    format!("{number:02}-{}", side.code())
}

/// Writes all of it into a folder that must be new or empty.
pub(super) fn write(
    folder: &Path,
    claim: &Claim,
    accusation: Accusation,
    said: &[(Side, Question, Vec<u8>)],
) -> anyhow::Result<()> {
    create_folder(folder)?;
    if fs::read_dir(folder)?.next().is_some() {
        bail!("{} is not empty: name a new folder for the dispute", folder.display());
    }
    write_atomic(&folder.join(CLAIM_FILE), &claim.encode())?;
    write_atomic(&folder.join(ACCUSATION_FILE), &accusation.encode())?;
    for (number, (side, _, answer)) in said.iter().enumerate() {
        write_atomic(&folder.join(answer_file(number + 1, *side)), answer)?;
    }
    Ok(())
}

/// The claim that it was about.
pub(super) fn claim(folder: &Path) -> anyhow::Result<Claim> {
    Ok(Claim::decode(&read_bounded(&folder.join(CLAIM_FILE), MAX_CLAIM_BYTES)?)?)
}

/// Gives the referee what both sides sent. A side whose answer is not there has been silent.
pub(super) fn replay(
    folder: &Path,
    referee: &Arc<Referee>,
    claim: &Claim,
) -> anyhow::Result<(Accusation, Played)> {
    let path = folder.join(ACCUSATION_FILE);
    let accusation = Accusation::decode(&read_bounded(&path, 1 << 10)?)
        .with_context(|| format!("{} is no accusation", path.display()))?;
    let began = Instant::now();
    let mut dispute = Dispute::open(Arc::clone(referee), claim.clone(), accusation, 0, WINDOW)?;
    let (mut spent, mut said) = (began.elapsed(), Vec::new());
    while dispute.outcome().is_none() && said.len() < ANSWERS_MAX {
        let mut is_silent = true;
        for side in Side::BOTH {
            let Some(question) = dispute.question(side) else { continue };
            let path = folder.join(answer_file(said.len() + 1, side));
            if !path.exists() {
                continue;
            }
            is_silent = false;
            let answer = read_bounded(&path, MAX_ANSWER_BYTES)?;
            let began = Instant::now();
            dispute.answer(side, &answer, 0)?;
            spent += began.elapsed();
            said.push((side, question, answer));
        }
        if is_silent {
            dispute.tick(dispute.deadline().saturating_add(1));
        }
    }
    let outcome = dispute.outcome().cloned().context("the recorded dispute does not end")?;
    Ok((accusation, Played { outcome, work: dispute.work(), referee: spent, said }))
}
