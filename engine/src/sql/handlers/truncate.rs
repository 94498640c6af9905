//! TRUNCATE: the table gets a fresh, empty storage.

use datafusion::sql::sqlparser::ast::{CascadeOption, Truncate, TruncateIdentityOption};
use kalamdb_catalog::{CatalogChange, Oid, Result, SqlError, SqlState, TableDefinition};

use super::ddl::{change, own_table};
use crate::session::Session;
use crate::sql::Response;
use crate::sql::execute::complete;
use crate::sql::prepared::PreparedStatement;

pub(crate) fn run(session: &mut Session, prepared: &PreparedStatement, truncate: &Truncate) -> Result<Response> {
    if truncate.partitions.is_some() || truncate.on_cluster.is_some() || truncate.if_exists {
        return Err(SqlError::unsupported("TRUNCATE with PARTITION, IF EXISTS or ON CLUSTER"));
    }
    let cascade = matches!(truncate.cascade, Some(CascadeOption::Cascade));
    let restart = matches!(truncate.identity, Some(TruncateIdentityOption::Restart));
    let mut tables: Vec<Oid> = Vec::new();
    for target in &truncate.table_names {
        let oid = own_table(session, prepared, &target.name)?.definition.oid;
        if !tables.contains(&oid) {
            tables.push(oid);
        }
    }
    add_referencing(session, &mut tables, cascade)?;
    for oid in tables {
        session.open_transaction()?.take_table(oid)?;
        let mut definition = super::alter_table::current(session, oid)?.definition.clone();
        empty(session, &mut definition)?;
        change(session, CatalogChange::PutTable(definition))?;
        if restart {
            super::sequence::restart_owned(session, oid)?;
        }
    }
    complete("TRUNCATE TABLE")
}

/// Gives a definition storages without rows.
pub(crate) fn empty(session: &Session, definition: &mut TableDefinition) -> Result<()> {
    definition.storage = session.app().take_storage();
    for index in &mut definition.indexes {
        index.storage = session.app().take_storage();
    }
    Ok(())
}

/// The tables with foreign keys to these: 0A000, or with CASCADE they are emptied too.
fn add_referencing(session: &Session, tables: &mut Vec<Oid>, cascade: bool) -> Result<()> {
    let catalog = session.context().catalog();
    let mut at = 0;
    while let Some(oid) = tables.get(at).copied() {
        at += 1;
        let mut referencing: Vec<_> = catalog.referencing(oid).collect();
        referencing.sort_by_key(|t| t.definition.oid);
        for other in referencing.into_iter().filter(|t| !tables.contains(&t.definition.oid)).collect::<Vec<_>>() {
            let name = &other.definition.name;
            if !cascade {
                let target = catalog.table(oid).map_or("", |t| t.definition.name.as_str());
                let message = "cannot truncate a table referenced in a foreign key constraint";
                return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
                    .detail(format!("Table \"{name}\" references \"{target}\"."))
                    .hint(format!("Truncate table \"{name}\" at the same time, or use TRUNCATE ... CASCADE.")));
            }
            let notice = format!("truncate cascades to table \"{name}\"");
            session.context().notice(SqlError::new(SqlState::SUCCESSFUL_COMPLETION, notice));
            tables.push(other.definition.oid);
        }
    }
    Ok(())
}
