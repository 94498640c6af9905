//! WHERE CURRENT OF: the row that a cursor is on.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, lit};
use datafusion::sql::sqlparser::ast;
use kalamdb_catalog::{CachedTableData, Result, SqlError, SqlState};

use super::Binder;
use super::scope::Relation;
use crate::providers::KEY_COLUMN;

/// In front of the cursor's name in what the parser makes of the clause.
pub(crate) const CURRENT_OF: &str = "#current of ";

/// The cursor's name if the condition is the clause.
pub(super) fn cursor_of(condition: Option<&ast::Expr>) -> Option<&str> {
    match condition {
        Some(ast::Expr::Identifier(name)) => name.value.strip_prefix(CURRENT_OF),
        _ => None,
    }
}

impl Binder<'_> {
    /// The condition that the row is the one that the cursor is on.
    pub(super) fn current_of(&mut self, cursor: &str, table: &CachedTableData, target: &Relation) -> Result<Expr> {
        self.rebind = true;
        let Some(found) = self.session.cursors().into_iter().find(|c| c.name == cursor) else {
            return Err(SqlError::new(SqlState::INVALID_CURSOR_NAME, format!("cursor \"{cursor}\" does not exist")));
        };
        let (oid, name) = (table.definition.oid, &table.definition.name);
        let state = |message: String| SqlError::new(SqlState::INVALID_CURSOR_STATE, message);
        if found.held {
            return Err(state(format!("cursor \"{cursor}\" is held from a previous transaction")));
        }
        if found.tables.iter().filter(|t| **t == oid).count() != 1 {
            return Err(state(format!("cursor \"{cursor}\" is not a simply updatable scan of table \"{name}\"")));
        }
        let Some(keys) = found.keys else {
            return Err(state(format!("cursor \"{cursor}\" is not positioned on a row")));
        };
        let key = keys.into_iter().find(|(t, _)| *t == oid).and_then(|(_, key)| key);
        let value = ScalarValue::Binary(key.map(|k| k.to_vec()));
        Ok(target.hidden(KEY_COLUMN).eq(lit(value)))
    }
}
