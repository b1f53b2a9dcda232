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
    let kept: String = text.trim().chars().filter(|c| !c.is_control() || *c == '\n').take(TEXT_CHARS).collect();
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
        writeln!(
            out,
            "{:<26} {verdict:<8} {reason:<18} {position:>8} {:>8.2}{mark}",
            row.name, row.seconds
        )?;
    }
    Ok(())
}

fn write_meaning(out: &mut String, shown: &Shown) -> std::fmt::Result {
    let generation = shown.figures.total.as_secs_f64();
    let replay = shown.rows.first().map_or(0.0, |row| row.seconds);
    writeln!(
        out,
        "\nShown: whoever holds the weights recomputes every logit of a claim, bit for bit, in one pass: {replay:.2} s \
         for\n{generation:.2} s of generation ({:.0}%). The honest claim fits; each cheat differs at the position given.",
        100.0 * replay / generation.max(1e-9)
    )?;
    let changed = shown.weight.tokens_changed;
    let tokens = match changed {
        0 => "no token of the output; only the logits' fingerprints show it".to_owned(),
        1 => "1 token of the output".to_owned(),
        _ => format!("{changed} tokens of the output"),
    };
    writeln!(
        out,
        "The changed weight is one 4-bit number of {}, moved by one step; it changed {tokens}.",
        shown.weight.tensor
    )?;
    writeln!(
        out,
        "Not shown: at temperature 0 nothing is drawn, so a cached answer to the same prompt is the same answer; a \
         nonce\nshows that the draws are fresh, not when or where they were computed. And a judge needs the weights and \
         the\ntime of one pass over prompt and output."
    )
}
