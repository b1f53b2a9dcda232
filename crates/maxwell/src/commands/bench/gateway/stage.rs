//! A gateway as an operator starts it: this program's own commands make keys, list and configuration, and run it as a process of
//! its own on a tiny model, recording and sampling. Everything is removed at the end.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use model::import::Architecture;
use model::synthetic::SyntheticModel;

use super::client::Target;
use super::mock::{self, Pace};
use crate::commands::Shell;
use crate::home::create_folder;

/// Whatever is started is there by then.
const START_WITHIN: Duration = Duration::from_secs(60);
/// All that was picked is judged by then.
const JUDGED_WITHIN: Duration = Duration::from_secs(300);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Tokens of the model's context: enough for the longest stream.
const CONTEXT: u32 = 4096;
/// A tenth of all answers is recomputed, each as it comes: slots are for servers that take longer to answer.
const RATE_PPM: u32 = 100_000;

/// A folder that goes away.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(shell: &Shell) -> anyhow::Result<Self> {
        let path = shell.home.folder("bench")?.join(std::process::id().to_string());
        create_folder(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process that ends with the bench.
pub(super) struct Process(Child);

impl Process {
    pub(super) fn start(command: &mut Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(command.spawn().with_context(|| format!("can't start {:?}", command.get_program()))?))
    }

    /// Memory that it holds now, in bytes.
    pub(super) fn memory_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A gateway that serves.
pub(super) struct Gateway {
    pub(super) process: Process,
    pub(super) target: Target,
}

impl Gateway {
    /// Makes everything it needs in the folder and starts it, with a mock server and a mock recomputer.
    pub(super) async fn start(folder: &Path, pace: Pace) -> anyhow::Result<Self> {
        let model = SyntheticModel { context: CONTEXT, ..SyntheticModel::tiny(Architecture::Llama) };
        fs::write(folder.join("tiny.gguf"), model.gguf()).context("can't write the tiny model")?;
        for key in ["alice.key", "bob.key", "gateway.key"] {
            maxwell(folder, &["keygen", key])?;
        }
        maxwell(folder, &["whitelist", "add", "tiny.gguf", "--file", "list.cbor"])?;
        for key in ["alice.key", "bob.key"] {
            maxwell(folder, &["whitelist", "sign", "--file", "list.cbor", "--key", key])?;
        }
        let port = free_port()?;
        let config = format!(
            "address = \"127.0.0.1:{port}\"\nmodel = \"tiny\"\nweights = \"tiny.gguf\"\nreceipt_key = \"gateway.key\"\n\
             [whitelist]\nfile = \"list.cbor\"\nparties = [\"alice.key.pub\", \"bob.key.pub\"]\n\
             [log]\nfolder = \"data\"\n[sockets]\nlink = \"link\"\nrecomputers = \"lease\"\n[audit]\nrate_ppm = {RATE_PPM}\n\
             [recomputers]\nslot_ms = 0\n\
             [capacity]\nconnections_max = 8192\nin_flight_max = 4096\nbacklog_max = 60000\n"
        );
        fs::write(folder.join("gateway.toml"), config).context("can't write the configuration")?;
        let mut command = own(folder)?;
        let mut process = Process::start(command.args(["gateway", "--config", "gateway.toml"]))?;
        until(&mut process, "the gateway", || folder.join("lease").exists()).await?;
        let (link, lease) = (folder.join("link"), folder.join("lease"));
        tokio::spawn(async move {
            if let Err(error) = mock::serve_link(&link, pace).await {
                tracing::debug!(%error, "the mock server ended");
            }
        });
        tokio::spawn(async move {
            if let Err(error) = mock::recompute(&lease).await {
                tracing::debug!(%error, "the mock recomputer ended");
            }
        });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let target =
            Target { address, path: "/v1/completions", headers: String::new(), model: "tiny".to_owned() };
        let request = target.request(1, false);
        let began = Instant::now();
        while super::client::one_by_one(&target, &request, 1).await.is_err() {
            if process.has_ended() || began.elapsed() > START_WITHIN {
                bail!(
                    "the gateway does not serve; run `maxwell --log debug gateway` on a configuration like the bench's"
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(Self { process, target })
    }
}

impl Gateway {
    /// Whether all of its parts did their work: the answers that were picked are judged, by a recomputer that counts.
    pub(super) async fn check(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let status = super::client::status(&self.target).await?;
            let has_voice = status["audit"]["recomputers"][0]["has_voice"] == true;
            let all_passed = status["pass"].as_u64() > Some(0) && status["fail"] == 0;
            if has_voice && all_passed && status["backlog"] == 0 {
                return Ok(());
            }
            if !has_voice || began.elapsed() > JUDGED_WITHIN {
                bail!("the mock recomputer does not keep up or is not believed: {status}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Waits until something is there.
pub(super) async fn until(
    process: &mut Process,
    what: &str,
    is_there: impl Fn() -> bool,
) -> anyhow::Result<()> {
    let began = Instant::now();
    while !is_there() {
        if process.has_ended() || began.elapsed() > START_WITHIN {
            bail!("{what} does not start");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// A port that nobody listens at now.
pub(super) fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr().context("the port has no address")?.port())
}

/// This program, in the folder.
fn own(folder: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("can't find this program")?);
    command.current_dir(folder).arg("--quiet");
    Ok(command)
}

fn maxwell(folder: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let output =
        own(folder)?.args(arguments).stdin(Stdio::null()).output().context("can't start this program")?;
    if !output.status.success() {
        bail!("`maxwell {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
