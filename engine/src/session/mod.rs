//! A session: one client's settings, transaction, prepared statements and cursors.

mod cancel;
mod context;
mod vars;

use std::sync::Arc;

use kalamdb_catalog::{PgType, Result, SqlError};

use crate::context::AppContext;
use crate::sql::{Column, ParsedStatement, Response};
use crate::types::FormatSettings;

pub use cancel::{CancelHandle, CancelReason};
pub use context::SessionContext;
pub use vars::Vars;

/// What a client says of itself at start-up.
#[derive(Clone, Debug)]
pub struct StartupParameters {
    pub user: String,
    /// Empty: the user's name, as in PostgreSQL; if no such database exists, the default one.
    pub database: String,
    /// Settings from the startup packet and from `options=-c name=value`, in order.
    pub settings: Vec<(String, String)>,
    /// The pid of BackendKeyData.
    pub pid: i32,
    pub client_address: Option<String>,
}

/// The byte of ReadyForQuery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransactionStatus {
    Idle,
    InBlock,
    Failed,
}

/// A statement ready to be bound: what ParameterDescription and RowDescription need.
pub struct Prepared {
    pub parameters: Vec<PgType>,
    /// None for statements without rows.
    pub columns: Option<Vec<Column>>,
    pub(crate) statement: Arc<crate::sql::PreparedStatement>,
}

/// A parameter as it came in Bind.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// None is NULL.
    pub bytes: Option<Vec<u8>>,
    pub binary: bool,
}

/// A prepared statement with its parameters: executes once.
pub struct Bound {
    pub prepared: Arc<Prepared>,
    pub(crate) parameters: Vec<datafusion::common::ScalarValue>,
}

/// How a client's connection runs statements. Not thread-safe: one connection, one task.
///
/// The connection calls, for a simple Query: `parse`, then for each statement `prepare`, `bind`, `execute`, and
/// `finish_implicit` after the last one's rows and before its CommandComplete; for the extended protocol the same
/// with `finish_implicit` at Sync. After any error it calls `fail`.
pub struct Session {
    context: Arc<SessionContext>,
}
