//! CREATE, ALTER, DROP, TRUNCATE: which handler, and what all of them share.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{self, ObjectName, ObjectType, Statement};
use kalamdb_catalog::{
    CachedTableData, CatalogChange, Oid, Result, SchemaDefinition, SqlError, SqlState, TableDefinition, TableKind, name,
};

use crate::session::Session;
use crate::sql::Response;
use crate::sql::bind::{Binder, Parameters, name_parts, name_span};
use crate::sql::execute::complete;
use crate::sql::functions::{schema_named, search_path};
use crate::sql::prepared::PreparedStatement;
use crate::sql::statement::{Reindexed, Statement as Own};
use crate::storage::catalog_store;
use crate::txn::{CatalogWrite, PendingKind, Transaction};

/// Carries out a DDL statement; what has no handler is refused by name.
pub(crate) async fn run(session: &mut Session, prepared: &PreparedStatement, statement: &Own) -> Result<Response> {
    match statement {
        Own::Ddl(parsed) => match &**parsed {
            Statement::CreateDatabase { .. } => session.prevent_in_block("CREATE DATABASE")?,
            Statement::CreateIndex(create) if create.concurrently => {
                session.prevent_in_block("CREATE INDEX CONCURRENTLY")?;
            }
            _ => {}
        },
        Own::Reindex { concurrently: true, .. } => session.prevent_in_block("REINDEX CONCURRENTLY")?,
        Own::DropIndex { concurrently: true, .. } => session.prevent_in_block("DROP INDEX CONCURRENTLY")?,
        _ => {}
    }
    session.transaction()?;
    super::check_writable(session, own_verb(statement))?;
    loop {
        begin_attempt(session)?;
        let result = attempt(session, prepared, statement).await;
        if let Some(response) = end_attempt(session, result).await? {
            return Ok(response);
        }
    }
}

/// DDL runs until nobody stands in its way. Where others are at what it needs, it is undone, waits for them, and begins
/// anew: what it has looked at may be another by then.
pub(crate) fn begin_attempt(session: &mut Session) -> Result<()> {
    session.open_transaction()?.savepoint(STATEMENT)
}

/// The response; None if the statement is to begin anew.
pub(crate) async fn end_attempt(session: &mut Session, result: Result<Response>) -> Result<Option<Response>> {
    let txn = session.open_transaction()?;
    if result.is_err() {
        txn.undo_to_last_savepoint();
    }
    txn.release_last_savepoint();
    match result {
        Err(error) if !txn.before_retry().await? => Err(error),
        Err(_) => {
            session.context().take_notices();
            session.transaction()?;
            Ok(None)
        }
        Ok(response) => Ok(Some(response)),
    }
}

/// The savepoint around a statement. No SAVEPOINT has this name.
const STATEMENT: &str = "";

async fn attempt(session: &mut Session, prepared: &PreparedStatement, statement: &Own) -> Result<Response> {
    match statement {
        Own::CreateSequence(create) => super::sequence::create(session, prepared, create),
        Own::AlterSequence(alter) => super::sequence::alter(session, prepared, alter),
        Own::AlterTable(alter) => super::alter_table::run(session, prepared, alter).await,
        Own::DropIndex { names, if_exists, cascade, .. } => super::index::drop(session, names, *if_exists, *cascade),
        Own::Reindex { what, .. } => reindex(session, prepared, what).await,
        Own::Ddl(parsed) => attempt_parsed(session, prepared, parsed).await,
        _ => Err(SqlError::internal("a statement that is no DDL")),
    }
}

async fn reindex(session: &mut Session, prepared: &PreparedStatement, what: &Reindexed) -> Result<Response> {
    match what {
        Reindexed::Index(name) => {
            let (table, index) = super::index::find(session, name)?;
            super::index::reindex(session, &table.definition, Some(index.oid)).await?;
        }
        Reindexed::Table(name) => {
            let table = own_table(session, prepared, name).map_err(SqlError::without_position)?;
            super::index::reindex(session, &table.definition, None).await?;
        }
        Reindexed::Schema(name) => {
            let schema = named_schema(session, name)?;
            reindex_all(session, |t| t.schema == schema.oid).await?;
        }
        Reindexed::Database => reindex_all(session, |_| true).await?,
    }
    complete("REINDEX")
}

async fn reindex_all(session: &mut Session, which: impl Fn(&TableDefinition) -> bool) -> Result<()> {
    let context = session.context();
    let catalog = context.catalog();
    let own = |t: &TableDefinition| catalog.schema(t.schema).is_some_and(|s| s.database == context.database);
    let tables: Vec<TableDefinition> =
        catalog.tables().map(|t| &t.definition).filter(|t| own(t) && which(t)).cloned().collect();
    for table in tables {
        super::index::reindex(session, &table, None).await?;
    }
    Ok(())
}

async fn attempt_parsed(
    session: &mut Session,
    prepared: &PreparedStatement,
    statement: &Statement,
) -> Result<Response> {
    match statement {
        Statement::CreateIndex(create) => super::index::create(session, prepared, create).await,
        Statement::AlterIndex { name, operation } => super::index::alter(session, name, operation),
        Statement::CreateView(create) => super::create_view::run(session, prepared, create),
        Statement::CreateSchema { schema_name, if_not_exists, .. } => {
            super::schema::create(session, schema_name, *if_not_exists)
        }
        Statement::CreateDatabase { db_name, if_not_exists, .. } => {
            super::schema::create_database(session, db_name, *if_not_exists)
        }
        Statement::AlterSchema(alter) => super::schema::alter(session, alter),
        Statement::Truncate(truncate) => super::truncate::run(session, prepared, truncate),
        Statement::Drop { object_type, if_exists, names, cascade, .. } => match object_type {
            ObjectType::Table | ObjectType::View | ObjectType::Sequence => {
                super::drop::relations(session, prepared, *object_type, *if_exists, names, *cascade)
            }
            ObjectType::Schema => super::schema::drop(session, names, *if_exists, *cascade),
            ObjectType::Database => {
                session.prevent_in_block("DROP DATABASE")?;
                super::schema::drop_database(session, names, *if_exists).await
            }
            other => Err(SqlError::unsupported(format!("DROP {other}"))),
        },
        other => Err(SqlError::unsupported(verb(other))),
    }
}

fn own_verb(statement: &Own) -> &'static str {
    match statement {
        Own::CreateSequence(_) => "CREATE SEQUENCE",
        Own::AlterSequence(_) => "ALTER SEQUENCE",
        Own::AlterTable(_) => "ALTER TABLE",
        Own::DropIndex { .. } => "DROP INDEX",
        Own::Reindex { .. } => "REINDEX",
        Own::Ddl(parsed) => verb(parsed),
        _ => "this statement",
    }
}

/// The words a statement begins with: its command tag, and its name in refusals.
fn verb(statement: &Statement) -> &'static str {
    match statement {
        Statement::CreateTable(c) if c.temporary => "CREATE TEMPORARY TABLE",
        Statement::CreateTable(_) => "CREATE TABLE",
        Statement::CreateView(c) if c.materialized => "CREATE MATERIALIZED VIEW",
        Statement::CreateView(_) => "CREATE VIEW",
        Statement::CreateSchema { .. } => "CREATE SCHEMA",
        Statement::CreateDatabase { .. } => "CREATE DATABASE",
        Statement::AlterTable(_) => "ALTER TABLE",
        Statement::Truncate(_) => "TRUNCATE TABLE",
        Statement::Drop { object_type: ObjectType::Table, .. } => "DROP TABLE",
        Statement::Drop { object_type: ObjectType::View, .. } => "DROP VIEW",
        Statement::Drop { object_type: ObjectType::Schema, .. } => "DROP SCHEMA",
        Statement::Drop { object_type: ObjectType::Index, .. } => "DROP INDEX",
        Statement::Drop { object_type: ObjectType::Sequence, .. } => "DROP SEQUENCE",
        Statement::Drop { .. } => "DROP",
        Statement::CreateIndex(_) => "CREATE INDEX",
        Statement::CreateSequence { .. } => "CREATE SEQUENCE",
        Statement::CreateFunction(_) => "CREATE FUNCTION",
        Statement::CreateTrigger(_) => "CREATE TRIGGER",
        Statement::CreateRole { .. } => "CREATE ROLE",
        Statement::CreateType { .. } => "CREATE TYPE",
        Statement::CreateExtension { .. } => "CREATE EXTENSION",
        Statement::CreateProcedure { .. } => "CREATE PROCEDURE",
        Statement::Grant { .. } => "GRANT",
        Statement::Revoke { .. } => "REVOKE",
        Statement::Comment { .. } => "COMMENT",
        Statement::Merge { .. } => "MERGE",
        Statement::AlterIndex { .. } => "ALTER INDEX",
        Statement::AlterView { .. } => "ALTER VIEW",
        Statement::AlterRole { .. } => "ALTER ROLE",
        Statement::AlterSchema(_) => "ALTER SCHEMA",
        Statement::Call(_) => "CALL",
        Statement::Savepoint { .. } => "SAVEPOINT",
        _ => "this statement",
    }
}

/// VACUUM, ANALYZE, CHECKPOINT: storage cleans up by itself; the tables named must exist.
pub(crate) fn maintenance(
    session: &mut Session,
    prepared: &PreparedStatement,
    tag: &'static str,
    tables: &[ObjectName],
) -> Result<Response> {
    if tag == "VACUUM" {
        session.prevent_in_block("VACUUM")?;
    }
    session.transaction()?;
    for table in tables {
        relation(session, prepared, table)?;
    }
    if tag == "CHECKPOINT" {
        session.app().storage.sync()?;
    }
    complete(tag)
}

/// Adds a catalog change to the transaction, with its rows, and lets the rest of the statement see it.
pub(crate) fn change(session: &mut Session, change: CatalogChange) -> Result<()> {
    put(session, change, Transaction::ddl)
}

/// The same for a change that readers of the relation need not wait for.
pub(crate) fn change_beside_readers(session: &mut Session, change: CatalogChange) -> Result<()> {
    put(session, change, Transaction::ddl_beside_readers)
}

fn put(
    session: &mut Session,
    change: CatalogChange,
    ddl: fn(&mut Transaction, CatalogChange, Vec<CatalogWrite>) -> Result<()>,
) -> Result<()> {
    let txn = session.open_transaction()?;
    let rows = catalog_store::writes(&change, &txn.catalog())?;
    check_pending(txn, &change)?;
    ddl(txn, change, rows)?;
    let catalog = txn.catalog();
    session.context().set_catalog(catalog);
    Ok(())
}

/// 55006 for a table with constraints that are still to be looked at.
fn check_pending(txn: &mut Transaction, change: &CatalogChange) -> Result<()> {
    if txn.pending().is_empty() {
        return Ok(());
    }
    let (CatalogChange::PutTable(TableDefinition { oid, .. }) | CatalogChange::DropTable(oid)) = change else {
        return Ok(());
    };
    let catalog = txn.catalog();
    let Some(table) = catalog.table(*oid) else { return Ok(()) };
    let pending = txn.pending().iter().any(|check| {
        let of = catalog.table_of_constraint(check.constraint);
        let refers = |t: &CachedTableData| {
            let key = t.definition.constraint(check.constraint);
            key.and_then(|c| c.foreign_key().map(|k| k.target)) == Some(*oid)
        };
        of.is_some_and(|t| match check.what {
            PendingKind::Referenced { .. } => refers(t),
            _ => t.definition.oid == *oid,
        })
    });
    if !pending {
        return Ok(());
    }
    let what = match change {
        CatalogChange::DropTable(_) => "DROP TABLE",
        CatalogChange::PutTable(new)
            if new.storage != table.definition.storage && new.columns == table.definition.columns =>
        {
            "TRUNCATE"
        }
        _ => "ALTER TABLE",
    };
    let message = format!("cannot {what} \"{}\" because it has pending trigger events", table.definition.name);
    Err(SqlError::new(SqlState::OBJECT_IN_USE, message))
}

/// Finds a relation: 42P01 with its position.
pub(crate) fn relation(
    session: &Session,
    prepared: &PreparedStatement,
    name: &ObjectName,
) -> Result<Arc<CachedTableData>> {
    let context = session.context();
    let binder = Binder::new(context, context.catalog(), prepared.source(), Parameters::default());
    let at = binder.position(name_span(name));
    binder.relation(&name_parts(name)?).map_err(|e| e.at(at))
}

/// A table that DDL may change: not a view, not a builtin.
pub(crate) fn own_table(
    session: &Session,
    prepared: &PreparedStatement,
    name: &ObjectName,
) -> Result<Arc<CachedTableData>> {
    let table = relation(session, prepared, name)?;
    refuse_builtin(&table)?;
    if !matches!(table.definition.kind, TableKind::Shared) {
        return Err(SqlError::new(
            SqlState::WRONG_OBJECT_TYPE,
            format!("\"{}\" is not a table", table.definition.name),
        ));
    }
    Ok(table)
}

pub(crate) fn refuse_builtin(table: &CachedTableData) -> Result<()> {
    if crate::providers::is_builtin(table) {
        return Err(SqlError::new(
            SqlState::INSUFFICIENT_PRIVILEGE,
            format!("permission denied: \"{}\" is a system catalog", table.definition.name),
        ));
    }
    Ok(())
}

/// Where CREATE puts a relation: (schema, name). 3F000 without a schema to create in, 42P07 if the name is taken.
pub(crate) fn place(session: &Session, object: &ObjectName) -> Result<(Arc<SchemaDefinition>, String)> {
    let context = session.context();
    let catalog = context.catalog();
    let mut parts = name_parts(object)?;
    let name = parts.pop().unwrap_or_default();
    let schema = match parts.as_slice() {
        [] => search_path(context)
            .iter()
            .filter(|s| !s.starts_with(super::temporary::SCHEMA_PREFIX))
            .find_map(|s| catalog.schema_by_name(context.database, s).cloned())
            .ok_or_else(|| SqlError::new(SqlState::INVALID_SCHEMA_NAME, "no schema has been selected to create in"))?,
        [schema] => named_schema(session, schema)?,
        [database, schema] if *database == context.database_name => named_schema(session, schema)?,
        _ => {
            return Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                format!("cross-database references are not implemented: \"{}.{name}\"", parts.join(".")),
            ));
        }
    };
    if schema.database == 0 {
        return Err(SqlError::new(
            SqlState::INSUFFICIENT_PRIVILEGE,
            format!("permission denied to create \"{}.{name}\"", schema.name),
        )
        .detail("System catalog modifications are currently disallowed."));
    }
    Ok((schema, name))
}

/// 42P07
pub(crate) fn exists(name: &str) -> SqlError {
    SqlError::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists"))
}

/// True if a relation or index of this name is there.
pub(crate) fn is_taken(session: &Session, schema: Oid, name: &str) -> bool {
    let catalog = session.context().catalog();
    catalog.table_by_name(schema, name).is_some() || catalog.index_by_name(schema, name).is_some()
}

/// A schema of the session's database: 3F000 if there is none.
pub(crate) fn named_schema(session: &Session, name: &str) -> Result<Arc<SchemaDefinition>> {
    let context = session.context();
    context
        .catalog()
        .schema_by_name(context.database, &schema_named(context, name))
        .cloned()
        .ok_or_else(|| SqlError::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist")))
}

/// A name for a key: `t_pkey`, `t_pkey1` ...
pub(crate) fn free_name(session: &Session, schema: Oid, stem: &str) -> String {
    let mut name = stem.to_owned();
    let mut n = 0;
    while is_taken(session, schema, &name) {
        n += 1;
        name = format!("{stem}{n}");
    }
    name
}

/// How a relation is named in messages: qualified unless the search path finds it.
pub(crate) fn shown_name(session: &Session, table: &CachedTableData) -> String {
    let context = session.context();
    let catalog = context.catalog();
    let path = search_path(context);
    if name::is_visible(&catalog, context.database, &path, table.definition.oid) {
        return name::quote_ident(&table.definition.name).into_owned();
    }
    let schema = catalog.schema(table.definition.schema).map_or_else(String::new, |s| s.name.clone());
    name::qualified(&schema, &table.definition.name)
}

/// The folded name of an identifier.
pub(crate) fn ident(i: &ast::Ident) -> String {
    crate::sql::bind::fold(i)
}
