//! `maxwell dispute`: a claim, two parties who say different things about it, a referee, and what becomes of the stake.
//! Must never rule by anything but what the parties sent, and never move the stake of whom the ruling does not name.

pub(crate) mod play;
mod record;
mod report;
mod stakes;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use engine::trace::Tracer;
use engine::{Engine, Request};
use evidence::audit::{AuditModel, transcript};
use evidence::dispute::Accusation;
use evidence::dispute::party::{Numbers, OnDemand, Party};
use evidence::recompute::Referee;
use evidence::trace::commit;
use model::synthetic::SplitMix64;
use protocol::Claim;
use protocol::claim::MAX_CLAIM_BYTES;

use self::play::{Played, challenged, end_of, play};
use super::Shell;
use super::redteam::cheats::{Cheat, Scene, change_a_number, opener_of};
use super::redteam::checks::Shown;
use crate::home::read_bounded;
use crate::models::{self, OpenModel, RunOptions, read_model_file};
use crate::output::{Finished, Misuse};

/// Log entries that each answer may take.
const WINDOW: u64 = 10;
/// Tokens of a recorded chunk.
const CHUNK: usize = 32;

/// Arguments of `maxwell dispute`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DisputeArguments {
    /// A claim with a trace (`generate --trace`); with --cheat, the request that the cheat answers
    #[arg(value_name = "FILE", required_unless_present = "replay", conflicts_with = "replay")]
    claim: Option<PathBuf>,
    /// The claimant cheats, and defends what it claims
    #[arg(long, value_name = "CHEAT", value_enum, conflicts_with_all = ["replay", "liar"])]
    cheat: Option<Cheat>,
    /// Who lies about one number of an honest claim
    #[arg(long, value_name = "SIDE", value_enum, conflicts_with = "replay")]
    liar: Option<Liar>,
    /// Write the claim, the accusation and every answer into this folder
    #[arg(long, value_name = "FOLDER", conflicts_with = "replay")]
    record: Option<PathBuf>,
    /// Judge a dispute that was recorded: the referee alone, from what both sides sent
    #[arg(long, value_name = "FOLDER")]
    replay: Option<PathBuf>,
    /// What the claimant has staked, in credits
    #[arg(long, value_name = "CREDITS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    stake: u32,
    /// What the challenger must stake, in credits
    #[arg(long, value_name = "CREDITS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    bond: u32,
    /// Of the cheat's and the liar's choices
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The model that was ordered, as for `check`
    #[arg(short, long, value_name = "MODEL")]
    model: Option<String>,
    #[command(flatten)]
    run: RunOptions,
}

/// A side that changes a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Liar {
    /// It commits to a trace with a wrong number; the output is right
    Claimant,
    /// It says that the honest trace is wrong
    Challenger,
}

const EXAMPLES: &str = "\
Examples:
  maxwell generate -m smollm2-135m -p \"Why is the sky blue?\" --trace --claim sky.claim
  maxwell dispute sky.claim --cheat weight
  maxwell dispute sky.claim --liar challenger
  maxwell dispute sky.claim --liar claimant --record sky.dispute
  maxwell dispute --replay sky.dispute

Both sides commit to all numbers of the run. They are led to the first one about which they differ, and the referee
redoes that one number from what both agree on.

Exit codes: 0 the claim stands, 3 it falls, 1 something failed.";

/// What is to be disputed.
struct Case<'c> {
    opened: &'c OpenModel,
    engine: &'c Engine,
    referee: Arc<Referee>,
    claim: Claim,
    random: SplitMix64,
}

/// A claim, what it is accused of, and how it went; `None` where a replay finds nothing to accuse it of.
type Disputed = (Claim, Option<(Accusation, Played)>);

/// Runs the command.
pub(crate) fn run(arguments: &DisputeArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let terms = stakes::terms(arguments.stake, arguments.bond)?;
    if let Some(folder) = &arguments.replay {
        let claim = record::claim(folder)?;
        let opened = open(arguments, shell, &claim)?;
        let referee = referee(&opened);
        let (accusation, played) = record::replay(folder, &referee, &claim)?;
        return report::finished(&opened, &claim, Some((accusation, played)), terms);
    }
    let path = arguments.claim.as_ref().context("a claim is required")?;
    let claim = Claim::decode(&read_bounded(path, MAX_CLAIM_BYTES)?)?;
    if claim.trace.is_none() && arguments.cheat.is_none() {
        return Err(Misuse(format!(
            "{} is not committed to a trace: make it with `maxwell generate --trace`",
            path.display()
        ))
        .into());
    }
    let opened = open(arguments, shell, &claim)?;
    let engine = opened.engine(arguments.run)?;
    let case = Case {
        opened: &opened,
        engine: &engine,
        referee: referee(&opened),
        claim,
        random: SplitMix64::new(arguments.seed),
    };
    let (claim, disputed) = match (arguments.cheat, arguments.liar) {
        (Some(cheat), _) => case.cheated(arguments, cheat)?,
        (None, Some(liar)) => case.lied(liar)?,
        (None, None) => case.honest()?,
    };
    if let (Some(folder), Some((accusation, played))) = (&arguments.record, &disputed) {
        record::write(folder, &claim, *accusation, &played.said)?;
    }
    report::finished(&opened, &claim, disputed, terms)
}

fn open(arguments: &DisputeArguments, shell: &Shell, claim: &Claim) -> anyhow::Result<OpenModel> {
    let opened = match &arguments.model {
        Some(reference) => models::open(&shell.home, shell.terminal, reference)?,
        None => super::check::open_claimed(shell, claim).with_context(|| {
            format!("model {} is not here: pull or import it, or name it with -m", claim.model)
        })?,
    };
    if opened.model.commitment != claim.model {
        bail!("the claim is about model {}, not about {}", claim.model, opened.display_name());
    }
    Ok(opened)
}

fn referee(opened: &OpenModel) -> Arc<Referee> {
    Arc::new(Referee::new(Arc::new(AuditModel::new(Arc::clone(&opened.model)))))
}

impl Case<'_> {
    fn ids(&self, claim: &Claim) -> Vec<u32> {
        transcript(self.engine.model(), claim).0
    }

    /// The claimant's numbers are those of an honest run; the challenger looks for what a replay finds.
    fn honest(self) -> anyhow::Result<Disputed> {
        let claim = &self.claim;
        let ids = self.ids(claim);
        let numbers = OnDemand { engine: self.engine, claim };
        let opener = commit(self.engine, claim).context("the claim has no tokens")?;
        let claimant = Party::new(&self.referee, opener, numbers, &ids, end_of(claim));
        let disputed = self.challenged(claim, &claimant)?;
        Ok((self.claim, disputed))
    }

    /// The claimant answers the same request by a cheat.
    fn cheated(mut self, arguments: &DisputeArguments, cheat: Cheat) -> anyhow::Result<Disputed> {
        let request = Request {
            prompt_ids: self.claim.prompt_ids.clone(),
            settings: self.claim.settings,
            nonce: self.claim.nonce,
            client_seed: self.claim.client_seed,
        };
        let file = Arc::new(read_model_file(&self.opened.file.path)?);
        let scene = Scene { engine: self.engine, file: &file, options: arguments.run.engine() };
        let lie = scene.lie(cheat, &request, &mut self.random)?;
        let ids = self.ids(&lie.claim);
        let claimant = Party::new(&self.referee, lie.opener, Shown(&lie.trace), &ids, None);
        let disputed = self.challenged(&lie.claim, &claimant)?;
        Ok((lie.claim, disputed))
    }

    /// One number of the honest trace is another.
    fn lied(mut self, liar: Liar) -> anyhow::Result<Disputed> {
        let mut claim = self.claim.clone();
        let (ids, from) = transcript(self.engine.model(), &claim);
        let mut trace: Vec<_> = Tracer::whole(self.engine, &ids, from, CHUNK).collect();
        change_a_number(&mut trace, &mut self.random)?;
        let opener = opener_of(self.engine.model(), &claim, &trace)?;
        if liar == Liar::Claimant {
            claim.trace = Some(opener.root());
            let claimant = Party::new(&self.referee, opener, Shown(&trace), &ids, end_of(&claim));
            let disputed = self.challenged(&claim, &claimant)?;
            return Ok((claim, disputed));
        }
        let challenger = Party::new(&self.referee, opener, Shown(&trace), &ids, end_of(&claim));
        let numbers = OnDemand { engine: self.engine, claim: &claim };
        let honest = commit(self.engine, &claim).context("the claim has no tokens")?;
        let claimant = Party::new(&self.referee, honest, numbers, &ids, end_of(&claim));
        let accusation = challenger.accusation();
        let played = play(&self.referee, &claim, accusation, &claimant, &challenger, WINDOW)?;
        Ok((claim, Some((accusation, played))))
    }

    fn challenged<N: Numbers>(
        &self,
        claim: &Claim,
        claimant: &Party<'_, N>,
    ) -> anyhow::Result<Option<(Accusation, Played)>> {
        challenged(self.engine, &self.referee, claim, claimant, WINDOW)
    }
}
