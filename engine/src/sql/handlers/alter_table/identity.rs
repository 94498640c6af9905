//! ALTER COLUMN on identity and generated columns.

use datafusion::sql::sqlparser::ast::{self, Ident};
use kalamdb_catalog::sequence::SequenceOwner;
use kalamdb_catalog::table::Generated;
use kalamdb_catalog::{CatalogChange, ColumnDefinition, Oid, PgType, Result, SqlError, SqlState, TableDefinition};

use super::columns::position;
use crate::session::Session;
use crate::sql::handlers::column::check_identity_type;
use crate::sql::handlers::constraint::free_relation_name;
use crate::sql::handlers::ddl::{change, ident};
use crate::sql::handlers::schema::skipping;
use crate::sql::handlers::sequence;
use crate::sql::statement::SequenceOptions;

fn not_ready(message: String) -> SqlError {
    SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
}

fn as_notice(error: &SqlError) -> SqlError {
    SqlError::new(SqlState::SUCCESSFUL_COMPLETION, error.message())
}

/// ADD GENERATED ... AS IDENTITY
pub(super) fn add(
    session: &mut Session,
    table: &TableDefinition,
    index: usize,
    always: bool,
    options: &[ast::SequenceOptions],
) -> Result<()> {
    let column = &table.columns[index];
    let of = format!("column \"{}\" of relation \"{}\"", column.name, table.name);
    if !column.not_null {
        return Err(not_ready(format!("{of} must be declared NOT NULL before identity can be added")));
    }
    if column.is_identity() {
        return Err(not_ready(format!("{of} is already an identity column")));
    }
    if column.default.is_some() {
        return Err(not_ready(format!("{of} already has a default value")));
    }
    check_identity_type(column.ty)?;
    let options = SequenceOptions::of_identity(options)?;
    let name = free_relation_name(session, table, Some(&column.name), "seq");
    let owner = SequenceOwner { table: table.oid, column: index, identity: true };
    let oid = sequence::create_owned(session, table.schema, name, column.ty, &options, owner)?;
    let mut new = table.clone();
    let column = &mut new.columns[index];
    column.default = Some(sequence::default_of(oid));
    column.default_oid = session.app().take_oids(1);
    column.generated = Some(if always { Generated::Always } else { Generated::ByDefault });
    change(session, CatalogChange::PutTable(new))
}

/// The position of an identity column, and its sequence.
fn identity(session: &Session, table: &TableDefinition, name: &Ident) -> Result<(usize, Option<Oid>)> {
    let index = position(table, &ident(name), "alter")?;
    let column = &table.columns[index];
    if !column.is_identity() {
        let message = format!("column \"{}\" of relation \"{}\" is not an identity column", column.name, table.name);
        return Err(not_ready(message));
    }
    let catalog = session.context().catalog();
    let owns = |o: SequenceOwner| o.column == index && o.identity;
    let found =
        catalog.owned_sequences(table.oid).find(|s| s.definition.sequence().and_then(|s| s.owner).is_some_and(owns));
    Ok((index, found.map(|s| s.definition.oid)))
}

/// SET GENERATED ..., SET INCREMENT ..., RESTART
pub(super) fn set(
    session: &mut Session,
    table: &TableDefinition,
    name: &Ident,
    always: Option<bool>,
    options: &SequenceOptions,
) -> Result<()> {
    let (index, sequence) = identity(session, table, name)?;
    let catalog = session.context().catalog();
    if let Some(found) = sequence.and_then(|oid| catalog.table(oid)) {
        sequence::alter_owned(session, &found.definition, options)?;
    }
    let Some(always) = always else { return Ok(()) };
    let mut new = table.clone();
    new.columns[index].generated = Some(if always { Generated::Always } else { Generated::ByDefault });
    change(session, CatalogChange::PutTable(new))
}

/// The sequence gives values of the column's new type.
pub(super) fn change_type(session: &mut Session, table: &TableDefinition, index: usize, ty: PgType) -> Result<()> {
    let catalog = session.context().catalog();
    let owns = |o: SequenceOwner| o.column == index && o.identity;
    let found =
        catalog.owned_sequences(table.oid).find(|s| s.definition.sequence().and_then(|s| s.owner).is_some_and(owns));
    let Some(found) = found else { return Ok(()) };
    let options = SequenceOptions { ty: Some(sequence::ast_type(ty)), ..SequenceOptions::default() };
    sequence::alter_owned(session, &found.definition, &options)
}

/// DROP IDENTITY
pub(super) fn drop(session: &mut Session, table: &TableDefinition, name: &Ident, if_exists: bool) -> Result<()> {
    let (index, sequence) = match identity(session, table, name) {
        Ok(found) => found,
        Err(error) if if_exists && error.code() == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE => {
            session.context().notice(skipping(&as_notice(&error)));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let mut new = table.clone();
    let column = &mut new.columns[index];
    (column.generated, column.default, column.default_oid) = (None, None, 0);
    change(session, CatalogChange::PutTable(new))?;
    match sequence {
        Some(oid) => change(session, CatalogChange::DropTable(oid)),
        None => Ok(()),
    }
}

/// DROP EXPRESSION: the column keeps its values.
pub(super) fn drop_expression(
    session: &mut Session,
    table: &TableDefinition,
    name: &Ident,
    if_exists: bool,
) -> Result<()> {
    let index = position(table, &ident(name), "alter")?;
    let column = &table.columns[index];
    if !column.is_stored() {
        let message =
            format!("column \"{}\" of relation \"{}\" is not a stored generated column", column.name, table.name);
        if !if_exists {
            return Err(not_ready(message));
        }
        session.context().notice(skipping(&as_notice(&not_ready(message))));
        return Ok(());
    }
    let mut new = table.clone();
    let column = &mut new.columns[index];
    (column.generated, column.default, column.default_oid) = (None, None, 0);
    change(session, CatalogChange::PutTable(new))
}

/// 42601 for SET DEFAULT and DROP DEFAULT of a column whose values come from elsewhere.
pub(super) fn no_default(column: &ColumnDefinition, table: &str, dropping: bool) -> SqlError {
    let what = if column.is_identity() { "an identity column" } else { "a generated column" };
    let error =
        SqlError::new(SqlState::SYNTAX_ERROR, format!("column \"{}\" of relation \"{table}\" is {what}", column.name));
    let hint = match (column.is_identity(), dropping) {
        (true, true) => "Use ALTER TABLE ... ALTER COLUMN ... DROP IDENTITY instead.",
        (false, true) => "Use ALTER TABLE ... ALTER COLUMN ... DROP EXPRESSION instead.",
        _ => return error,
    };
    error.hint(hint)
}
