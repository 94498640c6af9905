//! ALTER TABLE's operations on columns.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{self, AlterColumnOperation, DataType, Ident};
use kalamdb_catalog::{
    CachedTableData, CatalogChange, ColumnDefinition, PgType, Result, SqlError, SqlState, TableDefinition,
};

use super::rows::Computed;
use super::{is_system, put_with_views, rows, second_key, views};
use crate::limits;
use crate::session::Session;
use crate::sql::bind::{Binder, Parameters, column_type};
use crate::sql::handlers::create_table::{column_definition, set_primary_key};
use crate::sql::handlers::ddl::{change, ident, shown_name};
use crate::sql::handlers::drop::drop_all;
use crate::sql::handlers::schema::{absent, skipping};
use crate::sql::plan::evaluate;
use crate::sql::prepared::PreparedStatement;
use crate::storage::{RowLayout, keys};
use crate::types::{FormatSettings, Value, write_text};

/// Position of a column; `verb` is for the error about a system column.
pub(super) fn position(table: &TableDefinition, name: &str, verb: &str) -> Result<usize> {
    match table.column_index(name) {
        Some(index) => Ok(index),
        None if is_system(name) => {
            Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("cannot {verb} system column \"{name}\"")))
        }
        None => Err(SqlError::new(
            SqlState::UNDEFINED_COLUMN,
            format!("column \"{name}\" of relation \"{}\" does not exist", table.name),
        )),
    }
}

/// 42701 if the name is a column's already.
fn check_free(table: &TableDefinition, name: &str) -> Result<()> {
    let message = if is_system(name) {
        format!("column name \"{name}\" conflicts with a system column name")
    } else if table.column_index(name).is_some() {
        format!("column \"{name}\" of relation \"{}\" already exists", table.name)
    } else {
        return Ok(());
    };
    Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message))
}

/// 23502
pub(super) fn contains_nulls(session: &Session, table: &TableDefinition, column: &str) -> SqlError {
    let catalog = session.context().catalog();
    let schema = catalog.schema(table.schema).map_or_else(String::new, |s| s.name.clone());
    SqlError::new(
        SqlState::NOT_NULL_VIOLATION,
        format!("column \"{column}\" of relation \"{}\" contains null values", table.name),
    )
    .table(schema, &table.name)
    .column(column)
}

/// ADD COLUMN. Rows stored before get the default's value, evaluated now; only a default that differs from row to row
/// (volatile) or a key on the column writes them anew.
pub(super) async fn add(
    session: &mut Session,
    prepared: &PreparedStatement,
    table: &Arc<CachedTableData>,
    column: &ast::ColumnDef,
    if_not_exists: bool,
) -> Result<()> {
    let old = &table.definition;
    if if_not_exists && old.column_index(&ident(&column.name)).is_some() {
        if let Err(error) = check_free(old, &ident(&column.name)) {
            session.context().notice(skipping(&error));
        }
        return Ok(());
    }
    check_free(old, &ident(&column.name))?;
    // PostgreSQL gives the place of a wrong type, but of nothing in DEFAULT.
    let (mut added, key) = column_definition(session, prepared, &old.name, column)
        .map_err(|e| if e.code() == SqlState::UNDEFINED_OBJECT { e } else { e.without_position() })?;
    check_free(old, &added.name)?;
    if old.columns.len() >= limits::COLUMNS_MAX {
        return Err(SqlError::new(
            SqlState::TOO_MANY_COLUMNS,
            format!("tables can have at most {} columns", limits::COLUMNS_MAX),
        ));
    }
    if key.is_some() && old.primary_key.is_some() {
        return Err(second_key(&old.name));
    }
    let constant = constant_default(session, &added)?;
    if added.not_null && matches!(constant, Some(None)) && rows::any(session, old, None).await? {
        return Err(contains_nulls(session, old, &added.name));
    }
    let mut new = old.clone();
    if let (Some(missing), Some(version), None) = (constant, old.schema_version.checked_add(1), &key) {
        new.schema_version = version;
        added.since_version = version;
        added.missing = missing;
        new.columns.push(added.clone());
        // The layout reads the value back from its text form, which not every type has without a session.
        if RowLayout::new(&new).is_ok() {
            return put_with_views(session, old, new, "adding a column to a table");
        }
        new.columns.pop();
    }
    let (index, name) = (new.columns.len(), added.name.clone());
    new.columns.push(added);
    if let Some(key_name) = key {
        set_primary_key(session, &mut new, key_name, &[name])?;
    }
    let plan = rows::plan(session, prepared, old, &new, Some((index, Computed::Default)))?;
    let new = rows::rewrite(session, new, &plan).await?;
    put_with_views(session, old, new, "adding a column to a table")
}

/// The text of a column's default, `Some(None)` for NULL; None if it has to be evaluated for each row.
fn constant_default(session: &Session, column: &ColumnDefinition) -> Result<Option<Option<String>>> {
    let context = Arc::clone(session.context());
    let mut binder = Binder::new(&context, context.catalog(), "", Parameters::default());
    let expr = binder.default_of(column)?.expr;
    if expr.is_volatile() {
        return Ok(None);
    }
    let value = evaluate(&context, &expr)?;
    if value.is_null() {
        return Ok(Some(None));
    }
    let array = value.to_array().map_err(|e| SqlError::internal(e.to_string()))?;
    let mut text = Vec::new();
    write_text(column.ty, &Value::from_array(&array, column.ty, 0), &FormatSettings::default(), &mut text);
    Ok(Some(Some(String::from_utf8_lossy(&text).into_owned())))
}

/// DROP COLUMN. The column stays in place, so that attribute numbers and stored rows keep their meaning.
pub(super) async fn drop(
    session: &mut Session,
    prepared: &PreparedStatement,
    table: &Arc<CachedTableData>,
    name: &Ident,
    if_exists: bool,
    cascade: bool,
) -> Result<()> {
    let (old, name) = (&table.definition, ident(name));
    let index = match position(old, &name, "drop") {
        Ok(index) => index,
        Err(error) if if_exists && error.code() == SqlState::UNDEFINED_COLUMN => {
            session.context().notice(absent(&error));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let dependents = views::using(session, old, index);
    if !dependents.is_empty() {
        let what = format!("column {name} of table {}", shown_name(session, table));
        drop_all(session, &dependents, &what, cascade, true)?;
    }
    let mut new = old.clone();
    let column = &mut new.columns[index];
    column.name = format!("........pg.dropped.{}........", index + 1);
    column.dropped = true;
    column.not_null = false;
    column.missing = None;
    column.default = None;
    column.default_oid = 0;
    if new.primary_key.as_ref().is_some_and(|k| k.columns.contains(&index)) {
        new.primary_key = None;
        let plan = rows::plan(session, prepared, old, &new, None)?;
        new = rows::rewrite(session, new, &plan).await?;
    }
    put_with_views(session, old, new, "dropping a column of a table")
}

pub(super) fn rename(session: &mut Session, table: &CachedTableData, from: &Ident, to: &Ident) -> Result<()> {
    let (old, from) = (&table.definition, ident(from));
    let index = position(old, &from, "rename").map_err(|e| match e.code() {
        SqlState::UNDEFINED_COLUMN => {
            SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{from}\" does not exist"))
        }
        _ => e,
    })?;
    let to = ident(to);
    check_free(old, &to)?;
    let mut new = old.clone();
    new.columns[index].name = to;
    put_with_views(session, old, new, "renaming a column of a relation")
}

/// ALTER COLUMN
pub(super) async fn alter(
    session: &mut Session,
    prepared: &PreparedStatement,
    table: &Arc<CachedTableData>,
    name: &Ident,
    operation: &AlterColumnOperation,
) -> Result<()> {
    let (old, name) = (&table.definition, ident(name));
    let index = position(old, &name, "alter")?;
    let mut new = old.clone();
    let column = &mut new.columns[index];
    match operation {
        AlterColumnOperation::SetDefault { value } => set_default(session, prepared, column, value)?,
        AlterColumnOperation::DropDefault => {
            column.default = None;
            column.default_oid = 0;
        }
        AlterColumnOperation::SetNotNull => {
            if !column.not_null && rows::any(session, old, Some(&name)).await? {
                return Err(contains_nulls(session, old, &name));
            }
            column.not_null = true;
        }
        AlterColumnOperation::DropNotNull => {
            if old.primary_key.as_ref().is_some_and(|k| k.columns.contains(&index)) {
                return Err(SqlError::new(
                    SqlState::INVALID_TABLE_DEFINITION,
                    format!("column \"{name}\" is in a primary key"),
                ));
            }
            column.not_null = false;
        }
        AlterColumnOperation::SetDataType { data_type, using, .. } => {
            return set_type(session, prepared, old, index, data_type, using.as_ref()).await;
        }
        AlterColumnOperation::AddGenerated { .. } => return Err(SqlError::unsupported("GENERATED")),
    }
    change(session, CatalogChange::PutTable(new))
}

fn set_default(
    session: &Session,
    prepared: &PreparedStatement,
    column: &mut ColumnDefinition,
    value: &ast::Expr,
) -> Result<()> {
    let context = Arc::clone(session.context());
    let mut binder = Binder::new(&context, context.catalog(), prepared.source(), Parameters::default());
    binder.default_expr(value, column).map_err(SqlError::without_position)?;
    // DEFAULT NULL is no default.
    let null = matches!(value, ast::Expr::Value(v) if v.value == ast::Value::Null);
    column.default = (!null).then(|| value.to_string());
    column.default_oid = if null { 0 } else { session.app().take_oids(1) };
    Ok(())
}

async fn set_type(
    session: &mut Session,
    prepared: &PreparedStatement,
    old: &TableDefinition,
    index: usize,
    data_type: &DataType,
    using: Option<&ast::Expr>,
) -> Result<()> {
    let before = &old.columns[index];
    let (ty, typmod) = column_type(&before.name, data_type)?;
    let mut new = old.clone();
    (new.columns[index].ty, new.columns[index].typmod) = (ty, typmod);
    let plan = rows::plan(session, prepared, old, &new, Some((index, Computed::Cast(using))))?;
    if let Some(view) = views::using(session, old, index).first() {
        return Err(SqlError::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            "cannot alter type of a column used by a view or rule",
        )
        .detail(format!(
            "rule _RETURN on view {} depends on column \"{}\"",
            shown_name(session, view),
            before.name
        )));
    }
    if old.primary_key.as_ref().is_some_and(|k| k.columns.contains(&index)) {
        check_key_type(ty)?;
    }
    new.columns[index].default = converted_default(session, before, &new.columns[index])?;
    if using.is_some() || !reads_the_same(before, &new.columns[index]) {
        new = rows::rewrite(session, new, &plan).await?;
    }
    change(session, CatalogChange::PutTable(new))
}

/// A column of a primary key can only become one of a type that keys can have.
fn check_key_type(ty: PgType) -> Result<()> {
    if keys::is_key_type(ty) {
        return Ok(());
    }
    if !matches!(ty, PgType::JSON | PgType::XML) {
        return Err(SqlError::unsupported(format!("a primary key of type {}", ty.sql_name())));
    }
    Err(SqlError::new(
        SqlState::UNDEFINED_OBJECT,
        format!("data type {} has no default operator class for access method \"btree\"", ty.sql_name()),
    )
    .hint("You must specify an operator class for the index or define a default operator class for the data type."))
}

/// True if every stored value of `before` is, byte for byte, one of `after`: nothing changes, or a limit is lifted.
fn reads_the_same(before: &ColumnDefinition, after: &ColumnDefinition) -> bool {
    let string = |ty| matches!(ty, PgType::TEXT | PgType::VARCHAR);
    if string(before.ty) && string(after.ty) {
        return after.typmod < 0 || (before.ty == after.ty && (0..=after.typmod).contains(&before.typmod));
    }
    before.ty == after.ty && before.typmod == after.typmod
}

/// The default goes on giving what it gave, converted to the new type.
fn converted_default(session: &Session, before: &ColumnDefinition, after: &ColumnDefinition) -> Result<Option<String>> {
    let Some(text) = &before.default else { return Ok(None) };
    let context = Arc::clone(session.context());
    let mut binder = Binder::new(&context, context.catalog(), "", Parameters::default());
    let given = binder.default_of(before)?;
    let converted = binder.assign(given, after.ty, after.typmod).map_err(|e| match e.code() {
        SqlState::CANNOT_COERCE => SqlError::new(
            SqlState::DATATYPE_MISMATCH,
            format!(
                "default for column \"{}\" cannot be cast automatically to type {}",
                before.name,
                after.ty.sql_name()
            ),
        ),
        _ => e,
    })?;
    // Most texts mean the same when read for the new type; 1.6 for an integer column that becomes numeric does not.
    match binder.default_of(&ColumnDefinition { default: Some(text.clone()), ..after.clone() }) {
        Ok(direct) if direct.expr == converted.expr => Ok(Some(text.clone())),
        _ => Ok(Some(format!("CAST(({text}) AS {})", before.ty.display(before.typmod)))),
    }
}
