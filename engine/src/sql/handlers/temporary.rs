//! Temporary tables: relations of a schema that is one session's.
//!
//! The schema is made with the first of them and goes with the session; what a crash leaves is dropped at start. It is searched
//! before all others.

use std::sync::Arc;

use kalamdb_catalog::table::{OnCommit, Persistence};
use kalamdb_catalog::{CatalogChange, Oid, Result, SchemaDefinition, SqlError, SqlState, TableDefinition};

use super::ddl::change;
use super::drop::drop_all;
use crate::clock;
use crate::session::Session;

/// What the names of sessions' schemas begin with; behind it stands a number.
pub(crate) const SCHEMA_PREFIX: &str = "pg_temp_";

/// The session's schema of temporary relations, made if it is not there.
pub(crate) fn schema(session: &mut Session) -> Result<Arc<SchemaDefinition>> {
    let context = Arc::clone(session.context());
    let name = context.temporary_schema();
    context.makes_temporary();
    if let Some(found) = context.catalog().schema_by_name(context.database, &name) {
        return Ok(Arc::clone(found));
    }
    let schema = SchemaDefinition {
        oid: session.app().take_oids(1),
        database: context.database,
        name,
        owner: context.user.clone(),
        created_at: clock::now_micros(),
    };
    change(session, CatalogChange::PutSchema(schema.clone()))?;
    Ok(Arc::new(schema))
}

/// Where a temporary relation goes, by the parts of its name. 42P16 for another schema than the session's own.
pub(crate) fn place(session: &mut Session, mut parts: Vec<String>) -> Result<(Arc<SchemaDefinition>, String)> {
    if let [.., schema, _] = parts.as_slice()
        && schema != "pg_temp"
        && *schema != session.context().temporary_schema()
    {
        let message = "cannot create temporary relation in non-temporary schema";
        return Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message));
    }
    Ok((schema(session)?, parts.pop().unwrap_or_default()))
}

/// How long what is made in a schema lives, unless it says so itself.
pub(crate) fn persistence_of(session: &Session, schema: Oid) -> Persistence {
    let catalog = session.context().catalog();
    match catalog.schema(schema) {
        Some(schema) if schema.name.starts_with(SCHEMA_PREFIX) => Persistence::Temporary(OnCommit::PreserveRows),
        _ => Persistence::Permanent,
    }
}

/// The session's temporary tables, with what becomes of each at commit.
fn tables(session: &Session) -> Vec<(TableDefinition, OnCommit)> {
    let context = session.context();
    let catalog = session.current_catalog();
    let Some(schema) = catalog.schema_by_name(context.database, &context.temporary_schema()) else { return Vec::new() };
    let mut found: Vec<_> = catalog
        .tables()
        .filter(|t| t.definition.schema == schema.oid)
        .filter_map(|t| match t.definition.persistence {
            Persistence::Temporary(on_commit) => Some((t.definition.clone(), on_commit)),
            _ => None,
        })
        .collect();
    found.sort_by_key(|(t, _)| t.oid);
    found
}

/// True if a transaction that has written has something to do for its session's tables before it commits.
pub(crate) fn any_to_clear(session: &Session) -> bool {
    tables(session).iter().any(|(_, on_commit)| *on_commit != OnCommit::PreserveRows)
}

/// ON COMMIT DELETE ROWS and ON COMMIT DROP.
pub(crate) fn before_commit(session: &mut Session) -> Result<()> {
    let doomed: Vec<_> = tables(session)
        .into_iter()
        .filter(|(_, on_commit)| *on_commit == OnCommit::Drop)
        .filter_map(|(t, _)| session.context().catalog().table(t.oid).cloned())
        .collect();
    if !doomed.is_empty() {
        drop_all(session, &doomed, "temporary tables", true, false)?;
    }
    for (mut table, on_commit) in tables(session) {
        if on_commit == OnCommit::DeleteRows {
            super::truncate::empty(session, &mut table)?;
            change(session, CatalogChange::PutTable(table))?;
        }
    }
    Ok(())
}

/// The end of a session: its schema goes too.
pub(crate) fn end(session: &mut Session) -> Result<()> {
    discard(session)?;
    let context = Arc::clone(session.context());
    let catalog = context.catalog();
    match catalog.schema_by_name(context.database, &context.temporary_schema()) {
        Some(schema) => change(session, CatalogChange::DropSchema(schema.oid)),
        None => Ok(()),
    }
}

/// DISCARD TEMP
pub(crate) fn discard(session: &mut Session) -> Result<()> {
    let context = Arc::clone(session.context());
    let catalog = context.catalog();
    let Some(schema) = catalog.schema_by_name(context.database, &context.temporary_schema()).cloned() else {
        return Ok(());
    };
    let mut doomed: Vec<_> = catalog.tables().filter(|t| t.definition.schema == schema.oid).cloned().collect();
    doomed.sort_by_key(|t| t.definition.oid);
    if !doomed.is_empty() {
        drop_all(session, &doomed, "temporary tables", true, false)?;
        session.context().take_notices();
    }
    Ok(())
}
