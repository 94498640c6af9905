//! SIGTERM and SIGINT: the first asks the server to stop gracefully, the second ends it at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// The signals the server listens to. SIGHUP is taken so that a closing terminal does not kill the server.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub(crate) fn install() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Wakes `stop` at the first signal and returns at the second.
    pub(crate) async fn watch(&mut self, stop: &Notify) {
        let name = self.next().await;
        tracing::info!(signal = name, "stopping: no new connections, running statements may finish");
        stop.notify_one();
        let name = self.next().await;
        tracing::warn!(signal = name, "second signal: ending at once");
    }

    async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => tracing::warn!("SIGHUP ignored: the configuration is read once, at start"),
            }
        }
    }
}
