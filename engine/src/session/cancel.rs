//! One token ends a statement, whoever asks: CancelRequest, statement_timeout, a vanished client, shutdown.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use kalamdb_catalog::{Result, SqlError, SqlState};
use tokio::sync::Notify;

/// Who asked for the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum CancelReason {
    /// CancelRequest, pg_cancel_backend
    User = 1,
    /// statement_timeout
    StatementTimeout = 2,
    /// The client closed its connection.
    Disconnect = 3,
    /// pg_terminate_backend, or the server stops
    Shutdown = 4,
}

/// The token of one session; cheap to clone. Tripping it ends the statement that runs, if one does.
#[derive(Clone, Default, Debug)]
pub struct CancelHandle {
    shared: Arc<Shared>,
}

#[derive(Default, Debug)]
struct Shared {
    /// 0, or a `CancelReason`.
    reason: AtomicU8,
    tripped: Notify,
}

impl CancelHandle {
    pub fn cancel(&self, reason: CancelReason) {
        self.shared.reason.store(reason as u8, Ordering::Release);
        self.shared.tripped.notify_waiters();
    }

    /// Called when a statement starts. A shutdown stays.
    pub fn reset(&self) {
        let shutdown = CancelReason::Shutdown as u8;
        let _ = self.shared.reason.fetch_update(Ordering::AcqRel, Ordering::Acquire, |r| (r != shutdown).then_some(0));
    }

    /// The error to end with, if the token has been tripped.
    pub fn check(&self) -> Result<()> {
        match self.shared.reason.load(Ordering::Acquire) {
            0 => Ok(()),
            reason => Err(error(reason)),
        }
    }

    /// Waits until the token is tripped and gives the error to end with.
    pub async fn tripped(&self) -> SqlError {
        loop {
            let notified = self.shared.tripped.notified();
            if let Err(error) = self.check() {
                return error;
            }
            notified.await;
        }
    }
}

fn error(reason: u8) -> SqlError {
    let (code, message) = match reason {
        r if r == CancelReason::StatementTimeout as u8 => {
            (SqlState::QUERY_CANCELED, "canceling statement due to statement timeout")
        }
        r if r == CancelReason::Shutdown as u8 => {
            (SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
        }
        _ => (SqlState::QUERY_CANCELED, "canceling statement due to user request"),
    };
    SqlError::new(code, message)
}
