//! A changed configuration while the gateway runs: read, checked, and taken whole or not at all. Must never change what
//! the log has committed to, nor stop what runs because a file is wrong.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use gateway::access::{Access, AccessRules};
use gateway::service::Service;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::config::Config;
use super::ready::{beside, read_config, read_rules};
use crate::output::Terminal;

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What says that a file is another one: writers that replace it change all three, others at least one.
type Stamp = Option<(SystemTime, u64, u64)>;

/// Looks after the configuration until it is dropped.
pub(super) struct Reload {
    pub(super) path: PathBuf,
    /// The one in force; others follow it.
    pub(super) config: watch::Sender<Config>,
    pub(super) access: Arc<Access>,
    pub(super) service: Arc<Service>,
    pub(super) terminal: Terminal,
}

impl Reload {
    /// Reloads at SIGHUP, and when a file has changed.
    pub(super) async fn run(self) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = self.stamps();
        loop {
            let asked = tokio::select! {
                asked = hangup.recv() => asked.is_some(),
                _ = look.tick() => false,
            };
            // Before the files are read: a change during that is seen the next time.
            let now = self.stamps();
            if asked || now != seen {
                seen = now;
                self.reload();
            }
        }
    }

    fn stamps(&self) -> [Stamp; 2] {
        let keys = self.config.borrow().api_keys.as_ref().map(|keys| beside(&self.path, keys));
        [stamp(&self.path), keys.as_deref().and_then(stamp)]
    }

    fn reload(&self) {
        let metrics = &self.service.metrics;
        // Not within the match: a borrowed configuration can't be replaced.
        let old = self.config.borrow().clone();
        match changed(&self.path, &old) {
            Ok((config, rules)) => {
                self.access.replace(rules);
                self.config.send_replace(config);
                metrics.reloads_ok.fetch_add(1, Ordering::Relaxed);
                tracing::info!("configuration reloaded");
                self.terminal.note("configuration reloaded");
            }
            Err(error) => {
                metrics.reloads_failed.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    error = format!("{error:#}"),
                    "the changed configuration is refused, the old one stays"
                );
            }
        }
    }
}

/// The new configuration, if it is right and changes only what may change.
fn changed(path: &Path, old: &Config) -> anyhow::Result<(Config, AccessRules)> {
    let config = read_config(path)?;
    old.check_change(&config)?;
    let rules = read_rules(path, &config)?;
    Ok((config, rules))
}

fn stamp(path: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}
