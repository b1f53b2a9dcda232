//! `maxwell redteam`: runs every cheat against every check and says what was caught, how often, and how often an honest
//! prover was accused. Must never leave a cheat out of the count because it was missed.

pub(crate) mod cheats;
pub(crate) mod checks;

use std::fmt::Write;
use std::sync::Arc;

use clap::Args;
use engine::accumulate::KernelAccumulate;
use engine::{Engine, Request};
use evidence::audit::transcript;
use evidence::dispute::Fault;
use evidence::dispute::party::Party;
use evidence::trace::commit;
use model::Model;
use model::commitment::calibrate_file;
use model::import::{Architecture, read_gguf};
use model::synthetic::{SplitMix64, SyntheticModel};
use protocol::{ClientSeed, Nonce, SamplingSettings};
use serde_json::{Value, json};

use self::cheats::{Cheat, Lie, Scene, change_a_number, draw_bytes, opener_of};
use self::checks::{Check, Shown, Verifier};
use super::Shell;
use super::dispute::play::play;
use crate::models::{self, RunOptions, read_model_file};
use crate::output::{Exit, Finished};
use crate::progress::{Count, Progress};

/// Random models that the trials are spread over.
const MODELS: u32 = 10;
/// How often the cheap checks look at one honest answer, with fresh coins each time.
const LOOKS: u32 = 25;

/// Arguments of `maxwell redteam`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RedteamArguments {
    /// A pulled model's name, or the path of a GGUF file; tiny random models if not given
    #[arg(short, long, value_name = "MODEL")]
    model: Option<String>,
    /// Lies per cheat; each is shown to every check
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    trials: u32,
    /// Honest answers; each is shown to every check, to the cheap ones 25 times
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    honest: u32,
    /// Only this cheat; all if not given
    #[arg(long, value_name = "CHEAT", value_enum)]
    cheat: Vec<Cheat>,
    /// Tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=256))]
    tokens: u32,
    /// Of all random choices
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    run: RunOptions,
}

const EXAMPLES: &str = "\
Examples:
  maxwell redteam
  maxwell redteam --cheat weight --cheat sampler --trials 1000
  maxwell redteam -m smollm2-135m --trials 30 --honest 5

Each lie is committed to its own trace. A challenge asks for single numbers, an audit of parts looks at some blocks: what
they miss is expected, and printed beside the measured rate where a closed form is known. The whole audits, the dispute
and the replay must miss nothing.

Exit codes: 0 all as expected, 3 a check missed what it must catch or accused an honest prover, 1 something failed.";

/// What happened to one cheat under one check.
struct Row {
    cheat: Cheat,
    check: Check,
    trials: u32,
    caught: u32,
    /// Closed form.
    expected: Option<f64>,
}

/// What happened to honest provers under one check.
struct Honest {
    check: Check,
    checks: u32,
    alarms: u32,
}

/// Runs the command.
pub(crate) fn run(arguments: &RedteamArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let cheats = if arguments.cheat.is_empty() { all_cheats() } else { arguments.cheat.clone() };
    let mut random = SplitMix64::new(arguments.seed);
    let subjects = if arguments.model.is_some() { 1 } else { MODELS.min(arguments.trials) };
    let steps = u64::from(arguments.trials) * cheats.len() as u64 + u64::from(arguments.honest);
    let progress = Progress::new(shell.terminal, "red team", Count::Steps(steps));
    let (mut rows, mut honest, mut done): (Vec<Row>, Vec<Honest>, u64) = (Vec::new(), Vec::new(), 0);
    for subject in 0..subjects {
        let share = |all: u32| all / subjects + u32::from(subject < all % subjects);
        let (engine, file) = subject_of(arguments, shell, &mut random)?;
        let scene = Scene { engine: &engine, file: &file, options: arguments.run.engine() };
        let verifier = Verifier::new(&engine, &mut random);
        let checks = checks_of(&engine);
        for cheat in &cheats {
            for _ in 0..share(arguments.trials) {
                let lie = lie(&scene, *cheat, arguments.tokens, &mut random)?;
                for check in &checks {
                    let caught = verifier.catches(*check, &lie, &mut random)?;
                    count(&mut rows, *cheat, *check, caught, &engine);
                }
                done += 1;
                progress.set(done);
            }
        }
        for _ in 0..share(arguments.honest) {
            accuse(&scene, &verifier, &checks, arguments.tokens, &mut random, &mut honest)?;
            done += 1;
            progress.set(done);
        }
    }
    drop(progress);
    Ok(report(arguments, subjects, &rows, &honest))
}

fn all_cheats() -> Vec<Cheat> {
    <Cheat as clap::ValueEnum>::value_variants().to_vec()
}

/// The model that was asked for, or a random one.
fn subject_of(
    arguments: &RedteamArguments,
    shell: &Shell,
    random: &mut SplitMix64,
) -> anyhow::Result<(Engine, Arc<Vec<u8>>)> {
    if let Some(reference) = &arguments.model {
        let opened = models::open(&shell.home, shell.terminal, reference)?;
        let file = Arc::new(read_model_file(&opened.file.path)?);
        return Ok((opened.engine(arguments.run)?, file));
    }
    // Wide heads, so that each has whole blocks of the output matrix.
    let tiny = SyntheticModel {
        blocks: 4,
        head_dim: 32,
        seed: random.next_u64(),
        ..SyntheticModel::tiny(Architecture::Llama)
    };
    let file = Arc::new(tiny.gguf());
    let imported = read_gguf(Arc::clone(&file))?;
    let options = arguments.run.engine();
    let formats = calibrate_file(&imported, &KernelAccumulate::new(options.isa), &mut |_| {})?;
    Ok((Engine::new(Arc::new(Model::assemble(imported, formats)?), options)?, file))
}

fn checks_of(engine: &Engine) -> Vec<Check> {
    let parts = engine.model().config.blocks + 1;
    let some = [Check::Challenge(1), Check::Challenge(64), Check::Parts(1), Check::Parts(parts.div_ceil(2))];
    some.into_iter().chain([Check::Designated, Check::Public, Check::Dispute, Check::Replay]).collect()
}

fn request(engine: &Engine, tokens: u32, random: &mut SplitMix64) -> Request {
    let mut settings = SamplingSettings::greedy();
    settings.temperature_milli = 1000;
    settings.max_tokens = tokens;
    settings.stop_at_end = false;
    let vocabulary = u64::from(engine.model().config.vocab);
    Request {
        prompt_ids: (0..20).map(|_| random.below(vocabulary) as u32).collect(),
        settings,
        nonce: Nonce::from_bytes(draw_bytes(random)),
        client_seed: ClientSeed::from_bytes(draw_bytes(random)),
    }
}

/// A lie that is one: a changed weight that nothing is multiplied with would be none.
fn lie(scene: &Scene<'_>, cheat: Cheat, tokens: u32, random: &mut SplitMix64) -> anyhow::Result<Lie> {
    loop {
        let request = request(scene.engine, tokens, random);
        let lie = scene.lie(cheat, &request, random)?;
        let honest = commit(scene.engine, &lie.claim).map(|opener| opener.root());
        let is_other_trace = honest != lie.claim.trace;
        let is_other_output = matches!(cheat, Cheat::Sampler | Cheat::Replayed | Cheat::Output);
        if is_other_trace || is_other_output {
            return Ok(lie);
        }
    }
}

fn count(rows: &mut Vec<Row>, cheat: Cheat, check: Check, caught: bool, engine: &Engine) {
    let at = rows.iter().position(|row| row.cheat == cheat && row.check == check);
    let at = at.unwrap_or_else(|| {
        let parts = engine.model().config.blocks as usize + 1;
        let expected = match check {
            Check::Challenge(_) => None,
            Check::Parts(looked) => Some(found_share(parts, cheat.wrong_parts(parts - 1), looked as usize)),
            Check::Designated | Check::Public | Check::Dispute | Check::Replay => Some(1.0),
        };
        rows.push(Row { cheat, check, trials: 0, caught: 0, expected });
        rows.len() - 1
    });
    if let Some(row) = rows.get_mut(at) {
        row.trials += 1;
        row.caught += u32::from(caught);
    }
}

/// Hypergeometric: at least one of `wrong` among `looked` of `parts`.
fn found_share(parts: usize, wrong: usize, looked: usize) -> f64 {
    let missed = (0..looked).map(|drawn| {
        let left = parts - drawn;
        (left.saturating_sub(wrong)) as f64 / left as f64
    });
    1.0 - missed.product::<f64>()
}

/// Shows an honest answer to every check, and to a challenger who lies.
fn accuse(
    scene: &Scene<'_>,
    verifier: &Verifier<'_>,
    checks: &[Check],
    tokens: u32,
    random: &mut SplitMix64,
    honest: &mut Vec<Honest>,
) -> anyhow::Result<()> {
    let answer = scene.honest(&request(scene.engine, tokens, random))?;
    for check in checks {
        let looks = match check {
            Check::Challenge(_) | Check::Parts(_) | Check::Designated => LOOKS,
            Check::Public | Check::Replay | Check::Dispute => 1,
        };
        let mut alarms = 0;
        for _ in 0..looks {
            alarms += u32::from(if *check == Check::Dispute {
                loses_to_a_liar(verifier, &answer, random)?
            } else {
                verifier.catches(*check, &answer, random)?
            });
        }
        match honest.iter_mut().find(|row| row.check == *check) {
            Some(row) => {
                row.checks += looks;
                row.alarms += alarms;
            }
            None => honest.push(Honest { check: *check, checks: looks, alarms }),
        }
    }
    Ok(())
}

/// A challenger changes one number of the honest trace and disputes the claim. Whether the claimant is blamed.
fn loses_to_a_liar(verifier: &Verifier<'_>, answer: &Lie, random: &mut SplitMix64) -> anyhow::Result<bool> {
    let mut lie = answer.trace.clone();
    change_a_number(&mut lie, random)?;
    let model = verifier.subject.model();
    let opener = opener_of(model, &answer.claim, &lie)?;
    let (ids, _) = transcript(model, &answer.claim);
    let challenger = Party::new(&verifier.referee, opener, Shown(&lie), &ids, None);
    let claimant = verifier.claimant(answer);
    let accusation = challenger.accusation();
    let played = play(&verifier.referee, &answer.claim, accusation, &claimant, &challenger, 1)?;
    let is_named = matches!(played.outcome.challenger, Some(Fault::Number { .. }));
    Ok(played.outcome.claimant.is_some() || !is_named)
}

fn is_whole(check: Check) -> bool {
    !matches!(check, Check::Challenge(_) | Check::Parts(_))
}

impl Row {
    fn rate(&self) -> f64 {
        f64::from(self.caught) / f64::from(self.trials.max(1))
    }

    /// Whether the rate is what the closed form says, within four deviations.
    fn is_as_expected(&self) -> bool {
        let Some(expected) = self.expected else { return true };
        let deviation = (expected * (1.0 - expected) / f64::from(self.trials.max(1))).sqrt();
        (self.rate() - expected).abs() <= 4.0 * deviation + f64::EPSILON
    }
}

fn report(arguments: &RedteamArguments, subjects: u32, rows: &[Row], honest: &[Honest]) -> Finished {
    let missed: u32 = rows.iter().filter(|r| is_whole(r.check)).map(|r| r.trials - r.caught).sum();
    let alarms: u32 = honest.iter().map(|row| row.alarms).sum();
    let honest_checks: u32 = honest.iter().map(|row| row.checks).sum();
    let is_good = missed == 0 && alarms == 0 && rows.iter().all(Row::is_as_expected);
    let what = arguments.model.as_deref().unwrap_or("tiny random models");
    let mut text = format!(
        "red team on {what} ({subjects}), seed {}: {} lies per cheat, each committed to its own trace\n  {:<12} {:<14} \
         {:>12}  {:>7}  {:>8}",
        arguments.seed, arguments.trials, "cheat", "check", "caught", "rate", "expected"
    );
    for row in rows {
        let expected = row.expected.map_or_else(|| "-".to_owned(), |expected| format!("{expected:.4}"));
        let mark = if row.is_as_expected() { "" } else { "  <- not as expected" };
        let caught = format!("{}/{}", row.caught, row.trials);
        let _ = write!(
            text,
            "\n  {:<12} {:<14} {caught:>12}  {:>7.4}  {expected:>8}{mark}",
            row.cheat.code(),
            row.check.name(),
            row.rate(),
        );
    }
    for row in honest {
        let _ = write!(
            text,
            "\n  honest       {:<14} {} checks, {} false alarms",
            row.check.name(),
            row.checks,
            row.alarms
        );
    }
    let _ = write!(
        text,
        "\n{missed} lies passed a check that must catch them; {alarms} false alarms in {honest_checks} checks of honest \
         provers"
    );
    let json = json!({
        "model": what,
        "models": subjects,
        "seed": arguments.seed,
        "trials": arguments.trials,
        "rows": rows.iter().map(row_json).collect::<Vec<Value>>(),
        "honest": honest.iter().map(|row| json!({
            "check": row.check.name(), "checks": row.checks, "alarms": row.alarms,
        })).collect::<Vec<Value>>(),
        "missed": missed,
        "false_alarms": alarms,
        "honest_checks": honest_checks,
        "as_expected": is_good,
    });
    Finished { exit: if is_good { Exit::Ok } else { Exit::Reject }, json, text }
}

fn row_json(row: &Row) -> Value {
    json!({
        "cheat": row.cheat.code(),
        "check": row.check.name(),
        "trials": row.trials,
        "caught": row.caught,
        "rate": row.rate(),
        "expected": row.expected,
        "as_expected": row.is_as_expected(),
    })
}
