//! Being told to stop. Must never end the program by itself: whoever waits tidies up first.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, and what a service manager sends. None is lost while this is there.
pub(crate) struct StopSignal(Option<[Signal; 2]>);

impl StopSignal {
    /// From now on.
    pub(crate) fn new() -> Self {
        let signals = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
        let [Ok(interrupt), Ok(terminate)] = signals else { return Self(None) };
        Self(Some([interrupt, terminate]))
    }

    /// The next one. Never comes if the system gives no signals.
    pub(crate) async fn next(&mut self) {
        let Some([interrupt, terminate]) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}
