//! Where words go: one result on standard output, as text or as one JSON object; everything else on standard
//! error. Never more than one JSON object, and never a result without its exit code.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use protocol::Verdict;
use serde_json::{Value, json};

/// How a command ended, as an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or the claim is accepted.
    Ok,
    /// We failed; nobody else is to blame.
    Error,
    /// The arguments make no sense.
    Usage,
    /// The claim is false.
    Reject,
    /// Something is missing to tell.
    Undecided,
}

impl Exit {
    /// The process's exit code.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::Reject => 3,
            Self::Undecided => 4,
        }
    }

    /// The exit code of a verdict.
    pub(crate) const fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Accept => Self::Ok,
            Verdict::Reject(_) => Self::Reject,
            Verdict::Undecided(_) => Self::Undecided,
        }
    }
}

/// A command's result in both forms.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The exit code.
    pub(crate) exit: Exit,
    /// For `--json`: an object.
    pub(crate) json: Value,
    /// For people, without a final line break; may be empty.
    pub(crate) text: String,
}

/// An argument that clap can't judge alone makes no sense: exit code 2.
#[derive(Debug)]
pub(crate) struct Misuse(pub(crate) String);

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

/// Standard output and standard error, and what is wanted on them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    json: bool,
    quiet: bool,
}

impl Terminal {
    /// `json`: one object on standard output. `quiet`: no remarks.
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// Whether remarks and progress are unwanted.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// A remark on standard error.
    pub(crate) fn note(&self, text: impl fmt::Display) {
        if !self.quiet {
            error_line(text);
        }
    }

    /// A piece of text on standard output, at once; not with `--json`.
    ///
    /// A model writes what it likes, so a terminal gets no control characters but line breaks and tabs.
    pub(crate) fn stream(&self, text: &str) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        if out.is_terminal() {
            let kept: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
            out.write_all(kept.as_bytes())?;
        } else {
            out.write_all(text.as_bytes())?;
        }
        out.flush()
    }

    /// Prints the result and gives the exit code.
    pub(crate) fn finish(&self, result: anyhow::Result<Finished>) -> ExitCode {
        let finished = result.unwrap_or_else(|error| {
            let exit = if error.is::<Misuse>() { Exit::Usage } else { Exit::Error };
            // The first message and what caused it, on one line.
            let message = format!("{error:#}");
            error_line(format_args!("error: {message}"));
            Finished { exit, json: failure(&message, exit), text: String::new() }
        });
        let text = if self.json { finished.json.to_string() } else { finished.text };
        match print(&text) {
            Ok(()) => ExitCode::from(finished.exit.code()),
            // The reader left; that takes nothing from what was done, and the result is the exit code too.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(finished.exit.code()),
            Err(error) => {
                error_line(format_args!("error: can't write to standard output: {error}"));
                ExitCode::from(Exit::Error.code())
            }
        }
    }
}

/// What clap says about arguments that it refuses, or the help that was asked for.
pub(crate) fn refuse_arguments(error: &clap::Error) -> ExitCode {
    // Nothing is left to do if even this can't be printed.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::from(Exit::Ok.code());
    }
    if std::env::args_os().any(|argument| argument == "--json") {
        let message = error.to_string();
        let first = message.lines().next().unwrap_or_default();
        let _ = print(&failure(first.trim_start_matches("error: "), Exit::Usage).to_string());
    }
    ExitCode::from(Exit::Usage.code())
}

/// Digits in groups of three.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn failure(message: &str, exit: Exit) -> Value {
    json!({ "error": message, "exit_code": exit.code() })
}

fn print(text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

fn error_line(text: impl fmt::Display) {
    // Nothing is left to do if even standard error is closed.
    let _ = writeln!(io::stderr().lock(), "{text}");
}
