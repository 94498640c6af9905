//! CREATE and DROP of schemas (namespaces) and databases.

use std::time::{Duration, Instant};

use datafusion::sql::sqlparser::ast::{self, ObjectName, SchemaName};
use kalamdb_catalog::{CatalogChange, DatabaseDefinition, Result, SchemaDefinition, SqlError, SqlState, TableKind};

use super::ddl::change;
use crate::clock;
use crate::session::Session;
use crate::sql::Response;
use crate::sql::bind::name_parts;
use crate::sql::execute::complete;

/// How long DROP DATABASE waits for sessions that are going, and how long between two looks.
const LEAVING_MAX: Duration = Duration::from_secs(5);
const LEAVING_PAUSE: Duration = Duration::from_millis(20);

pub(crate) fn create(session: &mut Session, schema_name: &SchemaName, if_not_exists: bool) -> Result<Response> {
    let user = session.context().user.clone();
    let (name, owner) = match schema_name {
        SchemaName::Simple(name) => (single(name)?, user),
        SchemaName::NamedAuthorization(name, role) => (single(name)?, super::ddl::ident(role)),
        SchemaName::UnnamedAuthorization(role) => (super::ddl::ident(role), super::ddl::ident(role)),
    };
    let database = session.context().database;
    if session.context().catalog().schema_by_name(database, &name).is_some() {
        let error = SqlError::new(SqlState::DUPLICATE_SCHEMA, format!("schema \"{name}\" already exists"));
        if !if_not_exists {
            return Err(error);
        }
        session.context().notice(skipping(&error));
        return complete("CREATE SCHEMA");
    }
    if name.starts_with("pg_") {
        return Err(SqlError::new(SqlState::RESERVED_NAME, format!("unacceptable schema name \"{name}\""))
            .detail("The prefix \"pg_\" is reserved for system schemas."));
    }
    let definition =
        SchemaDefinition { oid: session.app().take_oids(1), database, name, owner, created_at: clock::now_micros() };
    change(session, CatalogChange::PutSchema(definition))?;
    complete("CREATE SCHEMA")
}

/// The NOTICE of IF NOT EXISTS: it keeps the error's code.
pub(crate) fn skipping(error: &SqlError) -> SqlError {
    SqlError::new(error.code(), format!("{}, skipping", error.message()))
}

/// The NOTICE of DROP ... IF EXISTS.
pub(crate) fn absent(error: &SqlError) -> SqlError {
    SqlError::new(SqlState::SUCCESSFUL_COMPLETION, format!("{}, skipping", error.message()))
}

pub(crate) fn drop(session: &mut Session, names: &[ObjectName], if_exists: bool, cascade: bool) -> Result<Response> {
    for name in names {
        let name = single(name)?;
        let catalog = session.context().catalog();
        let Some(schema) = catalog.schema_by_name(session.context().database, &name).cloned() else {
            let error = SqlError::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist"));
            if !if_exists {
                return Err(error);
            }
            session.context().notice(absent(&error));
            continue;
        };
        if schema.database == 0 {
            return Err(SqlError::new(
                SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
                format!("cannot drop schema {name} because it is required by the database system"),
            ));
        }
        let mut inside: Vec<_> = catalog.tables().filter(|t| t.definition.schema == schema.oid).cloned().collect();
        inside.sort_by_key(|t| t.definition.oid);
        super::drop::drop_all(session, &inside, &format!("schema {name}"), cascade, true)?;
        change(session, CatalogChange::DropSchema(schema.oid))?;
    }
    complete("DROP SCHEMA")
}

pub(crate) fn create_database(session: &mut Session, name: &ObjectName, if_not_exists: bool) -> Result<Response> {
    let name = single(name)?;
    if session.context().catalog().database_by_name(&name).is_some() {
        let error = SqlError::new(SqlState::DUPLICATE_DATABASE, format!("database \"{name}\" already exists"));
        if !if_not_exists {
            return Err(error);
        }
        session.context().notice(skipping(&error));
        return complete("CREATE DATABASE");
    }
    let owner = session.context().user.clone();
    let oid = session.app().take_oids(2);
    change(session, CatalogChange::PutDatabase(DatabaseDefinition { oid, name, owner: owner.clone() }))?;
    let public = SchemaDefinition {
        oid: oid + 1,
        database: oid,
        name: "public".to_owned(),
        owner,
        created_at: clock::now_micros(),
    };
    change(session, CatalogChange::PutSchema(public))?;
    complete("CREATE DATABASE")
}

pub(crate) async fn drop_database(session: &mut Session, names: &[ObjectName], if_exists: bool) -> Result<Response> {
    for name in names {
        let name = single(name)?;
        let catalog = session.context().catalog();
        let Some(database) = catalog.database_by_name(&name).cloned() else {
            let error = SqlError::new(SqlState::INVALID_CATALOG_NAME, format!("database \"{name}\" does not exist"));
            if !if_exists {
                return Err(error);
            }
            session.context().notice(absent(&error));
            continue;
        };
        if database.oid == session.context().database {
            return Err(SqlError::new(SqlState::OBJECT_IN_USE, "cannot drop the currently open database"));
        }
        if database.oid == kalamdb_catalog::catalog::DEFAULT_DATABASE_OID {
            return Err(SqlError::unsupported(format!("dropping database \"{name}\"")));
        }
        wait_until_unused(session, &name).await?;
        let schemas: Vec<_> = catalog.schemas(database.oid).filter(|s| s.database != 0).cloned().collect();
        for schema in schemas {
            let inside: Vec<_> =
                catalog.tables().filter(|t| t.definition.schema == schema.oid).map(|t| t.definition.oid).collect();
            for table in inside {
                change(session, CatalogChange::DropTable(table))?;
            }
            change(session, CatalogChange::DropSchema(schema.oid))?;
        }
        change(session, CatalogChange::DropDatabase(database.oid))?;
    }
    complete("DROP DATABASE")
}

/// 55006 if others are connected to a database, and do not go within five seconds (procarray.c, CountOtherDBBackends).
async fn wait_until_unused(session: &Session, name: &str) -> Result<()> {
    let context = session.context();
    let peers = || context.peers.iter().flat_map(|peers| peers.list());
    let deadline = Instant::now() + LEAVING_MAX;
    loop {
        let detail = match peers().filter(|peer| peer.database == name && peer.pid != context.pid).count() {
            0 => return Ok(()),
            1 => "There is 1 other session using the database.".to_owned(),
            n => format!("There are {n} other sessions using the database."),
        };
        if Instant::now() >= deadline {
            let message = format!("database \"{name}\" is being accessed by other users");
            return Err(SqlError::new(SqlState::OBJECT_IN_USE, message).detail(detail));
        }
        session.context().cancel().check()?;
        tokio::time::sleep(LEAVING_PAUSE).await;
    }
}

fn single(name: &ObjectName) -> Result<String> {
    let mut parts = name_parts(name)?;
    match (parts.pop(), parts.is_empty()) {
        (Some(name), true) => Ok(name),
        _ => Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("invalid name \"{name}\""))),
    }
}

/// ALTER SCHEMA ... RENAME TO
pub(crate) fn alter(session: &mut Session, alter: &ast::AlterSchema) -> Result<Response> {
    let name = single(&alter.name)?;
    let database = session.context().database;
    let Some(schema) = session.context().catalog().schema_by_name(database, &name).cloned() else {
        return Err(SqlError::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist")));
    };
    for operation in &alter.operations {
        let ast::AlterSchemaOperation::Rename { name: new } = operation else {
            return Err(SqlError::unsupported(format!("ALTER SCHEMA {operation}")));
        };
        let new = single(new)?;
        if session.context().catalog().schema_by_name(database, &new).is_some() {
            return Err(SqlError::new(SqlState::DUPLICATE_SCHEMA, format!("schema \"{new}\" already exists")));
        }
        if schema.database == 0 {
            return Err(SqlError::new(
                SqlState::INSUFFICIENT_PRIVILEGE,
                format!("permission denied: \"{name}\" is a system schema"),
            ));
        }
        let used = session.context().catalog().tables().any(|t| match &t.definition.kind {
            TableKind::View { depends_on, .. } => depends_on.iter().any(|d| d.schema == name),
            _ => false,
        });
        if used {
            return Err(SqlError::unsupported("renaming a schema that views read from"));
        }
        change(session, CatalogChange::PutSchema(SchemaDefinition { name: new, ..SchemaDefinition::clone(&schema) }))?;
    }
    complete("ALTER SCHEMA")
}
