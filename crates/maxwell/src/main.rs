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
mod stack;
mod tape_file;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::commands::{Arguments, LogFormat, Shell};
use crate::home::Home;
use crate::output::Terminal;

/// A gateway makes and drops much that is small on several threads, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the log shows, in the syntax of `tracing_subscriber::EnvFilter`; warnings if unset, with JSON more.
const LOG_VARIABLE: &str = "MAXWELL_LOG";

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return output::refuse_arguments(&error),
    };
    start_log(arguments.log_format);
    // Remarks are for people: whoever reads JSON line by line gets nothing else.
    let is_quiet = arguments.quiet || arguments.log_format == LogFormat::Json;
    let terminal = Terminal::new(arguments.json, is_quiet);
    let result = Home::locate().and_then(|home| {
        let shell = Shell { home, terminal };
        arguments.command.run(&shell)
    });
    terminal.finish(result)
}

fn start_log(format: LogFormat) {
    // In JSON there are no remarks, so what they say has to be in the log.
    let default = if format == LogFormat::Json { "info" } else { "warn" };
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => {
            log.json().flatten_event(true).with_current_span(false).with_span_list(false).init()
        }
    }
}
