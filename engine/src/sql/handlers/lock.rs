//! LOCK TABLE.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{Lock, LockTableMode, ObjectName};
use kalamdb_catalog::{CachedTableData, Result, SqlError, SqlState, TableKind};

use super::ddl::{refuse_builtin, relation};
use crate::session::Session;
use crate::sql::Response;
use crate::sql::bind::fold;
use crate::sql::execute::complete;
use crate::sql::prepared::PreparedStatement;
use crate::txn::{IfLocked, LockMode, Locked};

pub(crate) async fn run(session: &mut Session, prepared: &PreparedStatement, lock: &Lock) -> Result<Response> {
    session.check_block(true, "LOCK TABLE")?;
    let mode = lock.lock_mode.as_ref().map_or(LockMode::AccessExclusive, mode_of);
    let if_locked = if lock.nowait { IfLocked::Fail } else { IfLocked::Wait };
    for target in &lock.tables {
        lock_one(session, prepared, &target.name, mode, if_locked).await?;
    }
    complete("LOCK TABLE")
}

fn mode_of(mode: &LockTableMode) -> LockMode {
    match mode {
        LockTableMode::AccessShare => LockMode::AccessShare,
        LockTableMode::RowShare => LockMode::RowShare,
        LockTableMode::RowExclusive => LockMode::RowExclusive,
        LockTableMode::ShareUpdateExclusive => LockMode::ShareUpdateExclusive,
        LockTableMode::Share => LockMode::Share,
        LockTableMode::ShareRowExclusive => LockMode::ShareRowExclusive,
        LockTableMode::Exclusive => LockMode::Exclusive,
        LockTableMode::AccessExclusive => LockMode::AccessExclusive,
    }
}

/// Locks a relation; a view with all that it reads. It is looked up again after a wait: it may have gone.
async fn lock_one(
    session: &mut Session,
    prepared: &PreparedStatement,
    name: &ObjectName,
    mode: LockMode,
    if_locked: IfLocked,
) -> Result<()> {
    session.begin_utility()?;
    let mut waited = true;
    while waited {
        waited = false;
        let table = relation(session, prepared, name).map_err(|e| not_lockable(session, name, e))?;
        refuse_builtin(&table)?;
        if matches!(table.definition.kind, TableKind::Sequence(_)) {
            return Err(wrong_kind(&table.definition.name, "sequences"));
        }
        for table in with_bases(session, &table) {
            match session.open_transaction()?.lock_table(table.definition.oid, mode, if_locked).await? {
                Locked::Free => {}
                Locked::AfterWait => waited = true,
                Locked::No => {
                    return Err(SqlError::new(
                        SqlState::LOCK_NOT_AVAILABLE,
                        format!("could not obtain lock on relation \"{}\"", table.definition.name),
                    ));
                }
            }
        }
        if waited {
            session.begin_utility()?;
        }
    }
    Ok(())
}

/// What is missing as a table may be there as an index.
fn not_lockable(session: &Session, name: &ObjectName, error: SqlError) -> SqlError {
    match super::index::find(session, name) {
        Ok(_) if error.code() == SqlState::UNDEFINED_TABLE => {
            let shown = name.0.last().and_then(|p| p.as_ident()).map(fold).unwrap_or_default();
            wrong_kind(&shown, "indexes")
        }
        _ => error.without_position(),
    }
}

fn wrong_kind(name: &str, kind: &str) -> SqlError {
    SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("cannot lock relation \"{name}\""))
        .detail(format!("This operation is not supported for {kind}."))
}

/// A relation, and what it reads if it is a view.
fn with_bases(session: &Session, table: &Arc<CachedTableData>) -> Vec<Arc<CachedTableData>> {
    let catalog = session.context().catalog();
    let mut found = vec![Arc::clone(table)];
    let mut at = 0;
    while let Some(next) = found.get(at).cloned() {
        if let TableKind::View { depends_on, .. } = &next.definition.kind {
            for base in depends_on.iter().filter_map(|d| catalog.table(d.oid)) {
                if !crate::providers::is_builtin(base) && !found.iter().any(|f| f.definition.oid == base.definition.oid)
                {
                    found.push(Arc::clone(base));
                }
            }
        }
        at += 1;
    }
    found
}
