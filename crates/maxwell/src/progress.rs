//! Progress of long work: a bar on a terminal, a plain line now and then elsewhere. Never on standard output,
//! and never when `--quiet` is given.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Terminal;

/// How often a line is printed where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(120);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// Bytes out of a known number.
    Bytes(u64),
    /// Steps out of a known number, shown as a share.
    Steps(u64),
    /// Nobody knows how much there is.
    Unknown,
}

/// One piece of long work.
#[derive(Debug)]
pub(crate) struct Progress {
    label: &'static str,
    count: Count,
    bar: Option<ProgressBar>,
    terminal: Terminal,
    printed: Cell<Instant>,
}

impl Progress {
    /// Begins.
    pub(crate) fn new(terminal: Terminal, label: &'static str, count: Count) -> Self {
        let wanted = !terminal.is_quiet() && std::io::stderr().is_terminal();
        let bar = wanted.then(|| bar(label, count));
        Self { label, count, bar, terminal, printed: Cell::new(Instant::now()) }
    }

    /// So much is done.
    pub(crate) fn set(&self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if self.printed.get().elapsed() >= PLAIN_EVERY {
            self.printed.set(Instant::now());
            self.terminal.note(self.line(done));
        }
    }

    fn line(&self, done: u64) -> String {
        match self.count {
            Count::Bytes(total) => {
                format!("{}: {} of {} MB", self.label, done / 1_000_000, total.div_ceil(1_000_000))
            }
            Count::Steps(total) => format!("{}: {}%", self.label, done * 100 / total.max(1)),
            Count::Unknown => format!("{} ..", self.label),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(label: &'static str, count: Count) -> ProgressBar {
    let (total, template) = match count {
        Count::Bytes(total) => (Some(total), "{msg} [{bar:32}] {bytes} of {total_bytes}, {eta} left"),
        Count::Steps(total) => (Some(total), "{msg} [{bar:32}] {percent}%, {eta} left"),
        Count::Unknown => (None, "{spinner} {msg} {elapsed}"),
    };
    let style = ProgressStyle::with_template(template).expect("the templates above are well formed");
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    bar.set_style(style.progress_chars("=> "));
    bar.set_message(label);
    if count == Count::Unknown {
        bar.enable_steady_tick(TICK);
    }
    bar
}
