//! The commands and their common arguments. One file per command; nothing here may do a command's work.

mod agent;
mod audit;
mod bench;
mod calibrate;
mod check;
mod converse;
mod cost;
mod coverage;
mod demo;
mod dispute;
mod doctor;
mod economics;
mod gateway;
mod generate;
mod inspect;
mod keep;
mod keygen;
mod log;
mod manifest;
mod monitor;
mod node;
mod pass_through;
mod prove;
mod pull;
mod receipt;
mod recompute;
mod redteam;
mod route;
mod serve;
mod simulate;
mod tape;
mod up;
mod verify;
mod weigh;
mod whitelist;

use clap::{Parser, Subcommand, ValueEnum};

use crate::home::Home;
use crate::output::{Finished, Terminal};

/// Proves that an AI inference really happened: an integer-exact engine, claims, and a verdict by replay.
#[derive(Debug, Parser)]
#[command(name = "maxwell", version, max_term_width = 110, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Print exactly one JSON object to standard output, and nothing else there
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// No progress and no remarks on standard error; errors are still printed
    #[arg(long, global = true)]
    pub(crate) quiet: bool,
    /// Form of the log on standard error
    #[arg(long, global = true, value_name = "FORM", env = LOG_FORMAT_VARIABLE, value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Sets the form of the log where the argument does not.
const LOG_FORMAT_VARIABLE: &str = "MAXWELL_LOG_FORMAT";

/// How the log on standard error looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// For machines: one JSON object a line, and no remarks between them
    Json,
}

const EXAMPLES: &str = "\
Examples:
  maxwell demo
  maxwell pull smollm2-135m
  maxwell generate -m smollm2-135m -p \"Why is the sky blue?\" --claim sky.claim
  maxwell check sky.claim

MODEL is the name of a pulled model or the path of a GGUF file. Everything is kept in $MAXWELL_HOME
(~/.maxwell if unset); nothing is written elsewhere but the files you name.

Exit codes: 0 accepted or done, 1 error, 2 wrong usage, 3 rejected, 4 undecided.";

/// One command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Fetch a model, or import a GGUF file
    Pull(pull::PullArguments),
    /// Show what a model is: identity, shapes, formats, proven bounds
    Inspect(inspect::InspectArguments),
    /// Write text with a model, and a claim about it
    Generate(generate::GenerateArguments),
    /// Replay a claim and judge it
    Check(check::CheckArguments),
    /// Judge a claim by the cheapest check that is enough, without a replay where it can
    Audit(audit::AuditArguments),
    /// Two parties differ about a claim: find the first number, redo it, move the stake
    Dispute(dispute::DisputeArguments),
    /// How often to audit and how much to stake, so that cheating does not pay
    Economics(economics::EconomicsArguments),
    /// Which meters this machine has, and what evidence they give
    Doctor(doctor::DoctorArguments),
    /// Watch the meters, or a recorded log of them
    Monitor(monitor::MonitorArguments),
    /// Measure what a token of a model costs in energy
    Calibrate(calibrate::CalibrateArguments),
    /// A log of power against the work that is claimed for it, and the claim itself, as one conclusion
    Weigh(weigh::WeighArguments),
    /// Own this machine's processors: agents bid for them, run inference, are metered, checked and settled
    Node(node::NodeArguments),
    /// One agent of a node: honest, or a cheat to try the node with
    Agent(agent::AgentArguments),
    /// Start a command and end all that it started when standard input ends
    #[command(hide = true)]
    Keep(keep::KeepArguments),
    /// Agents, honest and not, on one simulated chassis over virtual hours
    Simulate(simulate::SimulateArguments),
    /// Run every cheat against every check, and count what was caught
    Redteam(redteam::RedteamArguments),
    /// Prove a claim, for anybody who has the model or its manifest
    Prove(prove::ProveArguments),
    /// Decide whether a proof holds, without running the model
    Verify(verify::VerifyArguments),
    /// Make what verifiers without the model need of it
    Manifest(manifest::ManifestArguments),
    /// Make secret points of a model's weights, for a verifier who talks with the prover
    Tape(tape::TapeArguments),
    /// Answer verifiers who have a tape
    Converse(converse::ConverseArguments),
    /// What a proof would cost, for any model or shape
    Cost(cost::CostArguments),
    /// Plan how many answers to check: what a share of checks proves, and what it costs
    Coverage(coverage::CoverageArguments),
    /// See an honest claim accepted and five cheats rejected
    Demo(demo::DemoArguments),
    /// Run a server behind a gateway, with a sample of its answers recomputed
    Up(up::UpArguments),
    /// The gateway alone, as a service; and its API keys
    Gateway(gateway::GatewayArguments),
    /// A gateway in front of any other OpenAI-compatible server: receipts, and no verdicts
    PassThrough(pass_through::PassThroughArguments),
    /// Check what a gateway wrote down
    Log(log::LogArguments),
    /// The inference server behind a gateway
    Serve(serve::ServeArguments),
    /// Recompute the answers that a gateway sampled
    Recompute(recompute::RecomputeArguments),
    /// Pass each input on to a gateway that serves its model, or refuse it with a signature
    Route(route::RouteArguments),
    /// Measure quality and speed beside llama.cpp
    Bench(bench::BenchArguments),
    /// Make a signing key
    Keygen(keygen::KeygenArguments),
    /// Make, sign and show the list of models that two parties allow
    Whitelist(whitelist::WhitelistArguments),
    /// Check what a gateway signed about an answer
    Receipt(receipt::ReceiptArguments),
}

/// What every command works with.
#[derive(Debug)]
pub(crate) struct Shell {
    /// Where files are kept.
    pub(crate) home: Home,
    /// Where words go.
    pub(crate) terminal: Terminal,
}

impl Command {
    /// Runs the command to its end.
    pub(crate) fn run(self, shell: &Shell) -> anyhow::Result<Finished> {
        match self {
            Self::Pull(arguments) => pull::run(&arguments, shell),
            Self::Inspect(arguments) => inspect::run(&arguments, shell),
            Self::Generate(arguments) => generate::run(&arguments, shell),
            Self::Check(arguments) => check::run(&arguments, shell),
            Self::Audit(arguments) => audit::run(&arguments, shell),
            Self::Dispute(arguments) => dispute::run(&arguments, shell),
            Self::Economics(arguments) => economics::run(&arguments, shell),
            Self::Doctor(arguments) => doctor::run(&arguments, shell),
            Self::Monitor(arguments) => monitor::run(&arguments, shell),
            Self::Calibrate(arguments) => calibrate::run(&arguments, shell),
            Self::Weigh(arguments) => weigh::run(&arguments, shell),
            Self::Node(arguments) => node::run(&arguments, shell),
            Self::Agent(arguments) => agent::run(&arguments, shell),
            Self::Keep(arguments) => keep::run(&arguments),
            Self::Simulate(arguments) => simulate::run(&arguments, shell),
            Self::Redteam(arguments) => redteam::run(&arguments, shell),
            Self::Prove(arguments) => prove::run(&arguments, shell),
            Self::Manifest(arguments) => manifest::run(&arguments, shell),
            Self::Tape(arguments) => tape::run(&arguments, shell),
            Self::Converse(arguments) => converse::run(&arguments, shell),
            Self::Cost(arguments) => cost::run(&arguments, shell),
            Self::Verify(arguments) => verify::run(&arguments, shell),
            Self::Coverage(arguments) => coverage::run(&arguments, shell),
            Self::Demo(arguments) => demo::run(&arguments, shell),
            Self::Up(arguments) => up::run(&arguments, shell),
            Self::Gateway(arguments) => gateway::run(&arguments, shell),
            Self::PassThrough(arguments) => pass_through::run(&arguments, shell),
            Self::Log(arguments) => log::run(&arguments, shell),
            Self::Serve(arguments) => serve::run(&arguments, shell),
            Self::Recompute(arguments) => recompute::run(&arguments, shell),
            Self::Route(arguments) => route::run(&arguments, shell),
            Self::Bench(arguments) => bench::run(&arguments, shell),
            Self::Keygen(arguments) => keygen::run(&arguments),
            Self::Whitelist(arguments) => whitelist::run(&arguments, shell),
            Self::Receipt(arguments) => receipt::run(&arguments),
        }
    }
}
