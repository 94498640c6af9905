//! A session: one client's settings, transaction and prepared statements.
//!
//! `run` begins and ends transactions around statements; `sql::execute` carries each one out.

mod cancel;
mod context;
mod cursor;
mod end;
mod listen;
mod modes;
mod peers;
mod run;
mod vars;

use std::sync::Arc;

use datafusion::common::ScalarValue;
use kalamdb_catalog::PgType;

use crate::sql::{Column, PreparedStatement};

pub use cancel::{CancelHandle, CancelReason};
pub(crate) use context::CursorInfo;
pub use context::SessionContext;
pub(crate) use cursor::{Cursor, Direction};
pub use peers::{BackendInfo, BackendState, Peers};
pub use run::{Session, parameter_place};
pub(crate) use vars::parse_milliseconds;
pub use vars::{Setting, VarContext, VarDef, VarType, Vars};

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
    /// None: the session knows of no other.
    pub peers: Option<Arc<dyn Peers>>,
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
    pub(crate) statement: Arc<PreparedStatement>,
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
    pub(crate) parameters: Vec<ScalarValue>,
}
