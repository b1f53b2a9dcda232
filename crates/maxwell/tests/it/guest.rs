//! The node in a guest with a kernel of its own, where control groups of version 2 can be made: the kernel accounts, limits
//! and ends agents there. Emulated, so that it needs no rights on this machine.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::node::agent;
use crate::program::Stage;

/// What it takes, and where Debian and Ubuntu put it.
struct Tools {
    kernel: PathBuf,
    busybox: PathBuf,
}

const EMULATOR: &str = "qemu-system-x86_64";
const PACKAGES: &str =
    "qemu-system-x86, busybox-static and linux-image-cloud-amd64 (on Ubuntu linux-image-virtual)";

/// What of it is here; says what is missing otherwise.
fn tools() -> Option<Tools> {
    if cfg!(target_feature = "avx512f") {
        return skip(
            "this build has instructions that the emulator lacks; `cargo xtask ci --portable` makes another",
        );
    }
    let has_emulator = Command::new(EMULATOR).arg("--version").stdout(Stdio::null()).status().is_ok();
    let kernels = fs::read_dir("/boot").into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let is_kernel = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("vmlinuz")) && fs::File::open(path).is_ok()
    };
    let kernel = kernels.filter(is_kernel).max();
    let busybox =
        ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(|path| path.exists());
    if let (true, Some(kernel), Some(busybox)) = (has_emulator, kernel, busybox) {
        return Some(Tools { kernel, busybox });
    }
    skip(&format!("install {PACKAGES}"))
}

#[expect(clippy::print_stdout, reason = "whoever runs the tests should see that some were left out")]
fn skip(reason: &str) -> Option<Tools> {
    println!("SKIPPED: no guest can be started: {reason}");
    None
}

/// A file system in memory: the binary and its libraries, a shell, a model, and what runs at the start.
fn root(tools: &Tools, folder: &Path, model: &str, script: &str) {
    for name in ["bin", "etc", "proc", "sys", "dev", "tmp", "data"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    let binary = env!("CARGO_BIN_EXE_maxwell");
    let libraries = Command::new("ldd").arg(binary).output().unwrap();
    let libraries = String::from_utf8(libraries.stdout).unwrap();
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        let path = folder.join(library.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(library, path).unwrap();
    }
    fs::copy(binary, folder.join("bin/maxwell")).unwrap();
    fs::copy(&tools.busybox, folder.join("bin/busybox")).unwrap();
    for applet in ["sh", "mount", "ls", "cat", "mkdir", "chown", "su", "sleep", "timeout", "poweroff"] {
        symlink("busybox", folder.join("bin").join(applet)).unwrap();
    }
    fs::copy(model, folder.join("tiny.gguf")).unwrap();
    let init = folder.join("init");
    fs::write(&init, script).unwrap();
    fs::set_permissions(&init, PermissionsExt::from_mode(0o755)).unwrap();
}

/// Runs a script in a guest until it is over; what it wrote to its second serial line, and to its console.
fn run(tools: &Tools, stage: &Stage, script: &str) -> (String, String) {
    let folder = stage.path("root");
    let model = stage.tiny();
    root(tools, &folder, &model, script);
    let archive = stage.path("root.cpio");
    let mut pack = Command::new("sh");
    pack.args(["-c", "find . | \"$0\" cpio -o -H newc"]).arg(&tools.busybox).current_dir(&folder);
    let status = pack.stdout(fs::File::create(&archive).unwrap()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success());
    let mut emulator = Command::new("timeout");
    emulator.args(["300", EMULATOR, "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "1536"]);
    emulator.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    emulator.arg("-kernel").arg(&tools.kernel).arg("-initrd").arg(&archive);
    emulator.args(["-append", "console=ttyS0 panic=-1 quiet"]);
    for line in ["console", "report"] {
        emulator.arg("-serial").arg(format!("file:{}", stage.argument(line)));
    }
    let status = emulator.stdin(Stdio::null()).status().unwrap();
    let read = |line: &str| String::from_utf8_lossy(&fs::read(stage.path(line)).unwrap()).into_owned();
    assert!(status.success(), "{status}: {}", read("console"));
    (read("report"), read("console"))
}

/// `eve` never says hello and burns; nobody waits for what `dan` starts, and each of it is gone before it could be seen.
/// Then a user who is not root, in a group that was handed over.
const SCRIPT: &str = r#"#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t cgroup2 cgroup /sys/fs/cgroup
export PATH=/bin HOME=/data MAXWELL_HOME=/data/maxwell
node() { maxwell node -m /tiny.gguf --epoch-seconds 4 --json "$@"; }
node --data /data/node --epochs 7 --cpu-seconds 12 --agent alice --agent "bob=maxwell agent --mine 2" \
    --agent "eve=while :; do :; done" \
    --agent "dan=trap '' CHLD; while :; do timeout 0.3 sh -c 'while :; do :; done' & sleep 1; done" > /tmp/root
cd /sys/fs/cgroup
ls > /tmp/left
echo root:x:0:0::/data:/bin/sh > /etc/passwd
echo user:x:1000:1000::/data:/bin/sh >> /etc/passwd
mkdir user
chown -R user user /data
cat > /user.sh << 'END'
exec maxwell node -m /tiny.gguf --epoch-seconds 4 --json --data /data/user --epochs 6 \
    --agent alice --agent "carol=maxwell agent --mine 2"
END
sh -c 'echo $$ > user/cgroup.procs; exec su user -c "exec sh /user.sh"' > /tmp/user
ls user >> /tmp/left
cat /tmp/root /tmp/user /tmp/left > /dev/ttyS1
poweroff -f
"#;

#[test]
fn control_groups_of_a_real_kernel_account_limit_and_end_agents() {
    let Some(tools) = tools() else { return };
    let stage = Stage::new();
    let (written, console) = run(&tools, &stage, SCRIPT);
    let mut reports = serde_json::Deserializer::from_str(&written).into_iter::<Value>();
    let mut report = || reports.next().and_then(Result::ok).unwrap_or_else(|| panic!("{written}\n{console}"));
    let (root, user) = (report(), report());
    let left = &written[reports.byte_offset()..];
    for report in [&root, &user] {
        assert_eq!(report["metered_by"], "control groups", "{console}");
        assert!(agent(report, "alice")["paid_tokens"].as_u64().unwrap() > 0, "{report:#}\n{console}");
    }
    assert_eq!(agent(&root, "eve")["state"], "stopped: wallet empty", "{console}");
    let bob = agent(&root, "bob");
    assert!(["throttled", "stopped: wallet empty"].contains(&bob["state"].as_str().unwrap()), "{console}");
    let dan = agent(&root, "dan")["used_seconds"].as_f64().unwrap();
    assert!(dan > 3.0, "{dan}: {console}");
    // A window is an epoch or as long as a job takes: without its limit it burns some six seconds in one epoch.
    let (_, throttled) =
        console.split_once("carol is throttled to 100/1000").unwrap_or_else(|| panic!("{console}"));
    let used = throttled
        .lines()
        .filter_map(|line| line.trim().strip_prefix("carol used ")?.split(' ').next()?.parse().ok());
    let used: Vec<f64> = used.skip(1).collect();
    assert!(!used.is_empty() && used.iter().all(|used| *used < 2.5), "{used:?}: {console}");
    // Every group that it made is gone.
    assert!(left.contains("cgroup.procs") && !left.contains("maxwell"), "{left}");
}
