//! The `maxwell` command line: reads the arguments, runs one command, prints one result. Never decides what a
//! number or a verdict means; the crates below do.

mod commands;
mod decimal;
mod digest;
mod frames;
mod generation;
mod home;
mod keys;
mod machine;
mod models;
mod output;
mod progress;
mod random;
mod signals;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::commands::{Arguments, Shell};
use crate::home::Home;
use crate::output::Terminal;

/// What the log shows, in the syntax of `tracing_subscriber::EnvFilter`; warnings if unset.
const LOG_VARIABLE: &str = "MAXWELL_LOG";

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return output::refuse_arguments(&error),
    };
    start_log();
    let terminal = Terminal::new(arguments.json, arguments.quiet);
    let result = Home::locate().and_then(|home| {
        let shell = Shell { home, terminal };
        arguments.command.run(&shell)
    });
    terminal.finish(result)
}

fn start_log() {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("warn"));
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_writer(std::io::stderr).init();
}
