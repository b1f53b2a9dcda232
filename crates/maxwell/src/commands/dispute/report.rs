//! What `maxwell dispute` prints: the rounds, the number that decided, who was wrong and what it cost. Never a ruling
//! without its reason.

use std::fmt::Write;

use evidence::dispute::{Accusation, Fault, Question, Side};
use market::optimistic::{Standing, Terms};
use protocol::Claim;
use serde_json::{Value, json};

use super::play::Played;
use super::stakes::{Moved, credits, settle};
use crate::models::OpenModel;
use crate::output::{Exit, Finished};

pub(super) fn finished(
    opened: &OpenModel,
    claim: &Claim,
    disputed: Option<(Accusation, Played)>,
    terms: Terms,
) -> anyhow::Result<Finished> {
    let tokens = claim.prompt_ids.len() + claim.output_ids.len();
    let mut text =
        format!("Dispute about claim {}\n  {tokens} tokens of {}", claim.digest(), opened.display_name());
    let Some((accusation, played)) = disputed else {
        text.push_str(
            "\n  a replay finds nothing to accuse it of: there is no dispute, and the claim stands",
        );
        let json = json!({"disputed": false, "claim_digest": claim.digest().to_string(), "claim": "stands"});
        return Ok(Finished { exit: Exit::Ok, json, text });
    };
    let outcome = &played.outcome;
    let moved = settle(claim, terms, outcome)?;
    text.push_str(match accusation {
        Accusation::Trace { .. } => "\n  accused of a false trace",
        Accusation::Output { .. } => "\n  accused of an output that its own logits do not give",
    });
    text.push_str(&rounds(&played));
    text.push_str(&ruling(&played));
    let work = played.work;
    let _ = write!(
        text,
        "\n  {} messages of the claimant and {} of the challenger, {} bytes, and {} bytes of the number's inputs; referee \
         {:.2} ms",
        work.messages[0],
        work.messages[1],
        work.bytes[0] + work.bytes[1],
        work.input_bytes,
        played.referee.as_secs_f64() * 1e3,
    );
    text.push_str(&money(&moved));
    let falls = outcome.claimant.is_some();
    text.push_str(if falls { "\nThe claim falls." } else { "\nThe claim stands." });
    let json = json!({
        "disputed": true,
        "claim_digest": claim.digest().to_string(),
        "claim": if falls { "falls" } else { "stands" },
        "claimant_fault": outcome.claimant.as_ref().map(code),
        "challenger_fault": outcome.challenger.as_ref().map(code),
        "reason": outcome.claimant.as_ref().or(outcome.challenger.as_ref()).map(wrong),
        "place": outcome.place.map(|place| json!({
            "position": place.position, "block": place.block,
            "operation": place.operation.code(), "index": place.index,
        })),
        "messages": work.messages,
        "bytes": work.bytes,
        "input_bytes": work.input_bytes,
        "referee_ms": played.referee.as_secs_f64() * 1e3,
        "stake_moved": moved_json(&moved),
    });
    Ok(Finished { exit: if falls { Exit::Reject } else { Exit::Ok }, json, text })
}

fn rounds(played: &Played) -> String {
    let mut text = String::new();
    for (number, (side, question, answer)) in played.said.iter().enumerate() {
        let _ = write!(
            text,
            "\n  {:>2} {:<10} {:<44} {:>9} bytes",
            number + 1,
            side.code(),
            asked(*question),
            answer.len()
        );
    }
    text
}

fn ruling(played: &Played) -> String {
    let (outcome, mut text) = (&played.outcome, String::new());
    if let Some(place) = outcome.place {
        let _ = write!(text, "\n  decided by {}, number {}", place.place(), place.index);
    }
    for (side, fault) in [(Side::Claimant, &outcome.claimant), (Side::Challenger, &outcome.challenger)] {
        let _ = match fault {
            Some(fault) => write!(text, "\n  {} is wrong: {}", side.code(), wrong(fault)),
            None => write!(text, "\n  {} did nothing wrong", side.code()),
        };
    }
    text
}

fn money(moved: &Moved) -> String {
    format!(
        "\n  credits: claimant {:+}, challenger {:+}, referee {:+}, burned {}",
        credits(moved.claimant),
        credits(moved.challenger),
        credits(i128::from(moved.referee)),
        credits(i128::from(moved.burned)),
    )
}

fn moved_json(moved: &Moved) -> Value {
    json!({
        "claimant_credits": credits(moved.claimant),
        "challenger_credits": credits(moved.challenger),
        "referee_credits": credits(i128::from(moved.referee)),
        "burned_credits": credits(i128::from(moved.burned)),
        "standing": match moved.standing {
            Standing::Open { .. } => "open",
            Standing::Final => "final",
            Standing::Slashed => "slashed",
        },
    })
}

fn asked(question: Question) -> String {
    match question {
        Question::Place => "where the run leaves its range".to_owned(),
        Question::Children(node) => format!("hashes below {} leaves from {}", node.count, node.start),
        Question::Tiles(leaf) => format!("tiles of tokens from {}", leaf.place()),
        Question::Tile { tile, .. } => format!("numbers of tile {tile}"),
        Question::Inputs(_) => "what the number follows from".to_owned(),
        Question::Leaf(leaf) => format!("tokens from {}", leaf.place()),
    }
}

fn wrong(fault: &Fault) -> String {
    match fault {
        Fault::Silent => "it did not answer in time".to_owned(),
        Fault::Form => "its answer is none to the question".to_owned(),
        Fault::Commitment => "its answer is not what it is committed to".to_owned(),
        Fault::Number { shown, right } => {
            format!("it is committed to {shown}, and the inputs give {right}")
        }
        Fault::Range => "the run does not leave its range where it says".to_owned(),
        Fault::Claim(reason) => reason.to_string(),
        Fault::Impossible(place, fault) => format!("it agreed to {place}, where {fault}"),
        Fault::Baseless => "what it accused the claimant of is not so".to_owned(),
    }
}

fn code(fault: &Fault) -> &'static str {
    match fault {
        Fault::Silent => "silent",
        Fault::Form => "form",
        Fault::Commitment => "commitment",
        Fault::Number { .. } => "number",
        Fault::Range => "range",
        Fault::Claim(_) => "claim",
        Fault::Impossible(..) => "impossible",
        Fault::Baseless => "baseless",
    }
}
