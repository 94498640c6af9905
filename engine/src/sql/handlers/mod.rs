//! One statement kind, one file.

pub(crate) mod alter_table;
pub(crate) mod column;
pub(crate) mod constraint;
pub(crate) mod copy;
pub(crate) mod create_table;
pub(crate) mod create_view;
pub(crate) mod cursor;
pub(crate) mod ddl;
pub(crate) mod dml;
pub(crate) mod drop;
pub(crate) mod explain;
pub(crate) mod foreign;
pub(crate) mod index;
pub(crate) mod lock;
mod merge;
pub(crate) mod notify;
pub(crate) mod prepare;
pub(crate) mod rewrite;
pub(crate) mod schema;
pub(crate) mod select;
pub(crate) mod sequence;
pub(crate) mod settings;
pub(crate) mod subscribe;
pub(crate) mod target;
pub(crate) mod temporary;
pub(crate) mod truncate;
mod upsert;
pub(crate) mod with;

use kalamdb_catalog::{Result, SqlError, SqlState};

use crate::session::Session;

/// 25006 in a read-only transaction.
pub(crate) fn check_writable(session: &mut Session, command: &str) -> Result<()> {
    if session.open_transaction()?.is_read_only() {
        return Err(SqlError::new(
            SqlState::READ_ONLY_SQL_TRANSACTION,
            format!("cannot execute {command} in a read-only transaction"),
        ));
    }
    Ok(())
}
