//! Runs the answers of drawn jobs again, on a thread of its own. Says what it found and nothing else.

use std::sync::mpsc::{Sender, SyncSender, channel};
use std::time::Instant;

use engine::Engine;
use evidence::replay::replay_batch;
use hypervisor::desk::Check;
use hypervisor::node::Checked;
use protocol::{Claim, Verdict};

use super::daemon::Input;

/// Where checks are sent to.
pub(super) fn start(engine: Engine, sender: SyncSender<Input>) -> Sender<Check> {
    let (checks, receiver) = channel::<Check>();
    std::thread::spawn(move || {
        for check in receiver {
            let began = Instant::now();
            let checked = run(&engine, &check);
            let seconds = began.elapsed().as_secs_f64();
            if sender.send(Input::Checked { job: check.job, checked, seconds }).is_err() {
                return;
            }
        }
    });
    checks
}

/// One false answer makes the job false; one that nobody can judge makes it undecided otherwise.
fn run(engine: &Engine, check: &Check) -> Checked {
    let claims: Vec<&Claim> = check.claims.iter().collect();
    let mut checked = Checked::Holds;
    for verdict in replay_batch(engine, &claims) {
        match verdict {
            Ok(Verdict::Accept) => {}
            Ok(Verdict::Reject(_)) => return Checked::False,
            Ok(Verdict::Undecided(_)) | Err(_) => checked = Checked::Undecided,
        }
    }
    checked
}
