//! CREATE, ALTER, DROP, TRUNCATE: which handler, and what all of them share.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{self, ObjectName, ObjectType, Statement};
use kalamdb_catalog::{CachedTableData, CatalogChange, Oid, Result, SchemaDefinition, SqlError, SqlState, name};

use crate::session::Session;
use crate::sql::Response;
use crate::sql::bind::{Binder, Parameters, name_parts, name_span};
use crate::sql::execute::complete;
use crate::sql::functions::search_path;
use crate::sql::prepared::PreparedStatement;
use crate::storage::catalog_store;

/// Carries out a DDL statement; what has no handler is refused by name.
pub(crate) async fn run(
    session: &mut Session,
    prepared: &PreparedStatement,
    statement: &Statement,
) -> Result<Response> {
    if matches!(statement, Statement::CreateDatabase { .. }) {
        session.prevent_in_block("CREATE DATABASE")?;
    }
    session.transaction()?;
    super::check_writable(session, verb(statement))?;
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

async fn attempt(session: &mut Session, prepared: &PreparedStatement, statement: &Statement) -> Result<Response> {
    match statement {
        Statement::CreateView(create) => super::create_view::run(session, prepared, create),
        Statement::CreateSchema { schema_name, if_not_exists, .. } => {
            super::schema::create(session, schema_name, *if_not_exists)
        }
        Statement::CreateDatabase { db_name, if_not_exists, .. } => {
            super::schema::create_database(session, db_name, *if_not_exists)
        }
        Statement::AlterSchema(alter) => super::schema::alter(session, alter),
        Statement::AlterTable(alter) => super::alter_table::run(session, prepared, alter).await,
        Statement::Truncate(truncate) => super::truncate::run(session, prepared, truncate),
        Statement::Drop { object_type, if_exists, names, cascade, .. } => match object_type {
            ObjectType::Table | ObjectType::View => {
                super::drop::relations(session, prepared, *object_type, *if_exists, names, *cascade)
            }
            ObjectType::Schema => super::schema::drop(session, names, *if_exists, *cascade),
            ObjectType::Database => {
                session.prevent_in_block("DROP DATABASE")?;
                super::schema::drop_database(session, names, *if_exists)
            }
            other => Err(SqlError::unsupported(format!("DROP {other}"))),
        },
        other => Err(SqlError::unsupported(verb(other))),
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
    let txn = session.open_transaction()?;
    let rows = catalog_store::writes(&change, &txn.catalog())?;
    txn.ddl(change, rows)?;
    let catalog = txn.catalog();
    session.context().set_catalog(catalog);
    Ok(())
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
    if table.definition.is_view() {
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
        .schema_by_name(context.database, name)
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
