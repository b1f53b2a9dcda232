//! The demo in words: a table, and what it does and does not show.

use std::fmt::Write;

use protocol::Verdict;

use super::Shown;

/// Longest piece of the text that is printed.
const TEXT_CHARS: usize = 400;

/// The whole report.
pub(super) fn readable(shown: &Shown) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    let _ = write_run(&mut out, shown);
    let _ = write_table(&mut out, shown);
    let _ = write_meaning(&mut out, shown);
    let _ = write_proof(&mut out, shown);
    out.trim_end().to_owned()
}

fn write_run(out: &mut String, shown: &Shown) -> std::fmt::Result {
    let (claim, figures) = (&shown.claim, &shown.figures);
    writeln!(out, "model       {}", shown.name)?;
    writeln!(out, "commitment  {}", claim.model)?;
    writeln!(out, "nonce       {}", claim.nonce)?;
    writeln!(
        out,
        "tokens      {} read, {} written at temperature 0.8 in {:.2} s ({})\n",
        figures.prompt_tokens,
        figures.output_tokens,
        figures.total.as_secs_f64(),
        claim.finish
    )?;
    let text = String::from_utf8_lossy(&claim.output_bytes);
    let kept: String =
        text.trim().chars().filter(|c| !c.is_control() || *c == '\n').take(TEXT_CHARS).collect();
    let more = if kept.chars().count() == TEXT_CHARS { " .." } else { "" };
    for line in format!("{kept}{more}").lines() {
        writeln!(out, "  | {line}")?;
    }
    Ok(())
}

fn write_table(out: &mut String, shown: &Shown) -> std::fmt::Result {
    writeln!(out, "\n{:<26} {:<8} {:<18} {:>8} {:>8}", "case", "verdict", "reason", "position", "seconds")?;
    for row in &shown.rows {
        let (verdict, reason) = match &row.verdict {
            Verdict::Accept => ("accept", ""),
            Verdict::Reject(reason) => ("reject", reason.code()),
            Verdict::Undecided(missing) => ("undecided", missing.code()),
        };
        let position = row.verdict.position().map_or_else(String::new, |position| position.to_string());
        let mark = if row.expected { "" } else { "  NOT AS EXPECTED" };
        writeln!(out, "{:<26} {verdict:<8} {reason:<18} {position:>8} {:>8.2}{mark}", row.name, row.seconds)?;
    }
    Ok(())
}

fn write_proof(out: &mut String, shown: &Shown) -> std::fmt::Result {
    match &shown.proof {
        Ok(proof) => {
            writeln!(
                out,
                "\nProof of the honest claim: {} bytes in {:.2} s; verified in {:.3} s without running the model, error",
                crate::output::grouped(proof.bytes as u64),
                proof.prove_seconds,
                proof.verify_seconds
            )?;
            let end = if proof.as_expected { "" } else { "  NOT AS EXPECTED" };
            writeln!(
                out,
                "at most 2^-{}. For a claim with its last token changed it is rejected.{end}",
                proof.security_bits
            )
        }
        Err(reason) => writeln!(out, "\nNo proof of the honest claim: {reason}."),
    }
}

fn write_meaning(out: &mut String, shown: &Shown) -> std::fmt::Result {
    let generation = shown.figures.total.as_secs_f64();
    let replay = shown.rows.first().map_or(0.0, |row| row.seconds);
    let share = 100.0 * replay / generation.max(1e-9);
    writeln!(
        out,
        "\nShown: whoever holds the weights recomputes every logit of a claim, bit for bit, in one pass."
    )?;
    writeln!(
        out,
        "Generating took {generation:.2} s, replaying {replay:.2} s ({share:.0}%). The honest claim fits; each"
    )?;
    writeln!(out, "cheat is rejected for the reason given, at the first output token where it shows.")?;
    let changed = match shown.weight.tokens_changed {
        0 => "no output token, only logits: their fingerprints show it".to_owned(),
        1 => "1 output token".to_owned(),
        count => format!("{count} output tokens"),
    };
    writeln!(out, "The changed weight is one number of {}, moved by one step of its", shown.weight.tensor)?;
    writeln!(out, "4 bits. It changed {changed}.")?;
    writeln!(
        out,
        "\nNot shown: at temperature 0 nothing is drawn, so a cached answer to the same prompt is the same answer,"
    )?;
    writeln!(
        out,
        "fresh or not. A nonce shows that an answer was made for this request, not when or where it was computed."
    )?;
    writeln!(out, "And the judge needs the weights, and the time of one pass over prompt and output.")
}
