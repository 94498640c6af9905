//! The other sessions of the server, as pg_cancel_backend and pg_stat_activity reach them.
//!
//! Connections are the protocol's; it implements [`Peers`] and hands it to each session it opens.

use std::fmt::Debug;

/// All running sessions.
pub trait Peers: Debug + Send + Sync {
    /// Ends the running statement of a session; false if there is no such session.
    fn cancel(&self, pid: i32) -> bool;

    /// Ends a session; false if there is no such session.
    fn terminate(&self, pid: i32) -> bool;

    /// By pid.
    fn list(&self) -> Vec<BackendInfo>;
}

/// pg_stat_activity.state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BackendState {
    Active,
    Idle,
    IdleInTransaction,
    IdleInFailedTransaction,
}

impl BackendState {
    /// As pg_stat_activity shows it.
    pub fn name(self) -> &'static str {
        match self {
            BackendState::Active => "active",
            BackendState::Idle => "idle",
            BackendState::IdleInTransaction => "idle in transaction",
            BackendState::IdleInFailedTransaction => "idle in transaction (aborted)",
        }
    }
}

/// A row of pg_stat_activity. Times are microseconds since 1970.
#[derive(Clone, Debug)]
pub struct BackendInfo {
    pub pid: i32,
    pub user: String,
    pub database: String,
    pub application_name: String,
    pub client_address: Option<String>,
    pub backend_start: i64,
    pub query_start: Option<i64>,
    pub state_change: i64,
    pub state: BackendState,
    /// The running or last statement, cut at 1024 bytes.
    pub query: String,
}
