//! ALTER TABLE's operations on columns.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{self, AlterColumnOperation, DataType, Ident};
use kalamdb_catalog::constraint::{Constraint, ConstraintKind};
use kalamdb_catalog::{
    CachedTableData, CatalogChange, ColumnDefinition, PgType, Result, SqlError, SqlState, TableDefinition,
};

use super::rows::Computed;
use super::{identity, is_system, put_with_views, rows, second_key, take_column, texts, views};
use crate::limits;
use crate::session::Session;
use crate::sql::bind::{Binder, Parameters, column_type};
use crate::sql::handlers::column::{NewColumn, check_identity_type, column_definition, default_text};
use crate::sql::handlers::constraint::{Wanted, check_comparable, validate};
use crate::sql::handlers::create_table::{add_sequence, check_generated, set_primary_key};
use crate::sql::handlers::ddl::{change, ident, shown_name};
use crate::sql::handlers::drop::{Object, drop_all, referring_to_index, remove, report};
use crate::sql::handlers::index::check_index_type;
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
    let NewColumn { definition: mut added, key, constraints, sequence, .. } =
        column_definition(session, prepared, &old.name, column)
            .map_err(|e| if e.code() == SqlState::UNDEFINED_OBJECT { e } else { e.without_position() })?;
    check_free(old, &added.name)?;
    if old.columns.len() >= limits::COLUMNS_MAX {
        return Err(SqlError::new(
            SqlState::TOO_MANY_COLUMNS,
            format!("tables can have at most {} columns", limits::COLUMNS_MAX),
        ));
    }
    added.not_null |= constraints.iter().any(Wanted::is_primary);
    if (key.is_some() || constraints.iter().any(Wanted::is_primary)) && old.has_key() {
        return Err(second_key(&old.name));
    }
    if let Some(wanted) = &sequence {
        let mut with = old.clone();
        with.columns.push(added);
        add_sequence(session, &mut with, old.columns.len(), wanted)?;
        added = with.columns.pop().ok_or_else(|| SqlError::internal("a column has gone"))?;
    }
    add_to(session, prepared, old, added, key).await?;
    for wanted in &constraints {
        super::constraints::add_wanted(session, prepared, old.oid, wanted, true).await?;
    }
    Ok(())
}

/// Adds a column to the definition, and to the rows that are there.
async fn add_to(
    session: &mut Session,
    prepared: &PreparedStatement,
    old: &TableDefinition,
    mut added: ColumnDefinition,
    key: Option<Option<String>>,
) -> Result<()> {
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
    check_generated(session, prepared, &new)?;
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
    if expr.is_volatile() || column.is_stored() {
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
    let what = format!("column {name} of table {}", shown_name(session, table));
    if !dependents.is_empty() {
        drop_all(session, &dependents, &what, cascade, true)?;
    }
    let inside = inside_dependents(session, table, index, &what);
    report(session, &inside, &what, false, cascade)?;
    remove(session, &inside)?;
    let sequences: Vec<_> = session.context().catalog().owned_sequences(old.oid).cloned().collect();
    for sequence in sequences {
        if sequence.definition.sequence().and_then(|s| s.owner).is_some_and(|owner| owner.column == index) {
            forget_default(session, old.oid, index)?;
            drop_all(session, std::slice::from_ref(&sequence), &what, cascade, false)?;
        }
    }
    let table = super::current(session, old.oid)?;
    let old = &table.definition;
    let mut new = old.clone();
    take_column(&mut new, index);
    texts::drop_those_over(session, old, index, &mut new)?;
    if new.primary_key.as_ref().is_some_and(|k| k.columns.contains(&index)) {
        new.primary_key = None;
        let plan = rows::plan(session, prepared, old, &new, None)?;
        new = rows::rewrite(session, new, &plan).await?;
    }
    put_with_views(session, old, new, "dropping a column of a table")
}

/// A column that goes does not keep its sequence from going.
fn forget_default(session: &mut Session, table: u32, index: usize) -> Result<()> {
    let mut new = super::current(session, table)?.definition.clone();
    let column = &mut new.columns[index];
    (column.default, column.default_oid, column.generated) = (None, 0, None);
    change(session, CatalogChange::PutTable(new))
}

/// What rests on a column besides views: generated columns, and the foreign keys of other tables to it.
fn inside_dependents(
    session: &Session,
    table: &Arc<CachedTableData>,
    index: usize,
    what: &str,
) -> Vec<(Object, String)> {
    let definition = &table.definition;
    let mut found: Vec<(Object, String)> = Vec::new();
    for position in texts::generated_from(session, definition, index) {
        found.push((Object::Column(definition.oid, position), what.to_owned()));
    }
    for key in definition.all_indexes().iter().filter(|i| i.has_column(index)) {
        for object in referring_to_index(session, definition.oid, key.oid) {
            // A key of the table's own over the same column goes anyway.
            if !matches!(&object, Object::Constraint(oid, c) if *oid == definition.oid
                && c.foreign_key().is_some_and(|k| k.columns.contains(&index)))
            {
                found.push((object, what.to_owned()));
            }
        }
    }
    found
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
    new.columns[index].name.clone_from(&to);
    texts::rename_column(&mut new, &from, &to)?;
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
    let table_name = old.name.clone();
    let column = &mut new.columns[index];
    match operation {
        AlterColumnOperation::SetDefault { .. } | AlterColumnOperation::DropDefault if column.generated.is_some() => {
            return Err(identity::no_default(
                column,
                &table_name,
                matches!(operation, AlterColumnOperation::DropDefault),
            ));
        }
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
            if old.key_columns().is_some_and(|k| k.contains(&index)) {
                return Err(SqlError::new(
                    SqlState::INVALID_TABLE_DEFINITION,
                    format!("column \"{name}\" is in a primary key"),
                ));
            }
            if column.is_identity() {
                let message = format!("column \"{name}\" of relation \"{table_name}\" is an identity column");
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
            }
            column.not_null = false;
        }
        AlterColumnOperation::SetDataType { data_type, using, .. } => {
            return set_type(session, prepared, old, index, data_type, using.as_ref()).await;
        }
        AlterColumnOperation::AddGenerated { generated_as, sequence_options } => {
            let always = matches!(generated_as, Some(ast::GeneratedAs::Always));
            let options = sequence_options.as_deref().unwrap_or_default();
            return identity::add(session, old, index, always, options);
        }
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
    column.default = if null { None } else { Some(default_text(session, value, column.ty)?) };
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
    if let Some(user) = texts::generated_from(session, old, index).first() {
        let message = "cannot alter type of a column used by a generated column";
        return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message).detail(format!(
            "Column \"{}\" is used by generated column \"{}\".",
            before.name, old.columns[*user].name
        )));
    }
    if old.primary_key.as_ref().is_some_and(|k| k.columns.contains(&index)) {
        check_key_type(ty)?;
    }
    if old.indexes.iter().any(|i| i.columns.iter().any(|c| c.position() == Some(index))) {
        check_index_type(ty)?;
    }
    if before.is_stored() && using.is_some() {
        let message = "cannot specify USING when altering type of generated column";
        return Err(SqlError::new(SqlState::INVALID_COLUMN_DEFINITION, message)
            .detail(format!("Column \"{}\" is a generated column.", before.name)));
    }
    if before.is_identity() {
        check_identity_type(ty)?;
    }
    let referring = referring_to(session, old, index);
    check_foreign_types(session, &new, index, &referring)?;
    texts::check(session, &mut new)?;
    if before.generated.is_none() {
        new.columns[index].default = converted_default(session, before, &new.columns[index])?;
    }
    if before.is_identity() && ty != before.ty {
        identity::change_type(session, old, index, ty)?;
    }
    let rewritten = using.is_some() || !reads_the_same(before, &new.columns[index]);
    if rewritten {
        new = rows::rewrite(session, new, &plan).await?;
    }
    change(session, CatalogChange::PutTable(new.clone()))?;
    // The rows are others now.
    let reads = |c: &&Constraint| match &c.kind {
        ConstraintKind::Check(_, columns) => columns.contains(&index),
        ConstraintKind::Foreign(key) => {
            key.columns.contains(&index) || (key.target == old.oid && key.target_columns.contains(&index))
        }
        ConstraintKind::Primary(..) | ConstraintKind::Unique(_) => false,
    };
    for constraint in new.constraints.iter().filter(|c| rewritten && c.validated).filter(reads) {
        validate(session, &new, constraint).await?;
    }
    for (table, constraint) in referring.iter().filter(|(table, c)| rewritten && c.validated && table.oid != old.oid) {
        session.open_transaction()?.share_table(table.oid)?;
        validate(session, table, constraint).await?;
    }
    Ok(())
}

/// Foreign keys that refer to a column, with their tables.
fn referring_to(session: &Session, table: &TableDefinition, index: usize) -> Vec<(TableDefinition, Constraint)> {
    let catalog = session.context().catalog();
    let refers = |c: &Constraint| {
        c.foreign_key().is_some_and(|key| key.target == table.oid && key.target_columns.contains(&index))
    };
    let of_table = |t: &Arc<CachedTableData>| {
        let found = t.definition.constraints.iter().filter(|c| refers(c));
        found.map(|c| (t.definition.clone(), c.clone())).collect::<Vec<_>>()
    };
    catalog.referencing(table.oid).flat_map(of_table).collect()
}

/// 42804 if foreign keys of a column, or those that refer to it, would compare what has no equality in common.
fn check_foreign_types(
    session: &Session,
    new: &TableDefinition,
    index: usize,
    referring: &[(TableDefinition, Constraint)],
) -> Result<()> {
    let catalog = session.context().catalog();
    for constraint in &new.constraints {
        let Some(key) = constraint.foreign_key() else { continue };
        let own = key.target == new.oid;
        let target = if own { Some(new) } else { catalog.table(key.target).map(|t| &t.definition) };
        let is_of = |column: usize, referred: usize| column == index || (own && referred == index);
        let pairs = key.columns.iter().zip(&key.target_columns).filter(|(c, r)| is_of(**c, **r));
        for (column, referred) in pairs {
            if let Some(target) = target {
                check_comparable(&constraint.name, &new.columns[*column], &target.columns[*referred])?;
            }
        }
    }
    for (table, constraint) in referring.iter().filter(|(table, _)| table.oid != new.oid) {
        let Some(key) = constraint.foreign_key() else { continue };
        for (column, referred) in key.columns.iter().zip(&key.target_columns).filter(|(_, r)| **r == index) {
            check_comparable(&constraint.name, &table.columns[*column], &new.columns[*referred])?;
        }
    }
    Ok(())
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
