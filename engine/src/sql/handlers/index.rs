//! CREATE INDEX, ALTER INDEX, REINDEX.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{self, CreateIndex, ObjectName};
use kalamdb_catalog::index::{IndexColumn, IndexDefinition, IndexKey};
use kalamdb_catalog::{
    CachedTableData, CatalogChange, Oid, PgType, Result, SqlError, SqlState, TableDefinition, TableKind,
};

use super::constraint::free_relation_name;
use super::ddl::{change_beside_readers, exists, is_taken, refuse_builtin, relation};
use super::rewrite::fill_indexes;
use super::schema::{absent, skipping};
use crate::session::Session;
use crate::sql::Response;
use crate::sql::bind::{Binder, Parameters, fold, name_parts, output_name};
use crate::sql::execute::complete;
use crate::sql::prepared::PreparedStatement;
use crate::storage::keys;

/// Columns of an index, those of INCLUDE too.
const COLUMNS_MAX: usize = 32;

pub(crate) async fn create(
    session: &mut Session,
    prepared: &PreparedStatement,
    create: &CreateIndex,
) -> Result<Response> {
    let table = relation(session, prepared, &create.table_name).map_err(SqlError::without_position)?;
    refuse_builtin(&table)?;
    if !matches!(table.definition.kind, TableKind::Shared) {
        let kind = if table.definition.is_view() { "views" } else { "sequences" };
        let message = format!("cannot create index on relation \"{}\"", table.definition.name);
        return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message)
            .detail(format!("This operation is not supported for {kind}.")));
    }
    if let Some(using) = &create.using
        && !using.to_string().eq_ignore_ascii_case("btree")
    {
        return Err(method_error(&using.to_string().to_lowercase()));
    }
    let oid = table.definition.oid;
    // Who writes has to wait, and so does this; who reads does not.
    session.open_transaction()?.share_table(oid)?;
    session.transaction()?;
    let mut definition = super::alter_table::current(session, oid)?.definition.clone();
    let given = match &create.name {
        Some(name) => Some(name_parts(name)?.pop().unwrap_or_default()),
        None => None,
    };
    if let Some(name) = &given
        && is_taken(session, definition.schema, name)
    {
        if !create.if_not_exists {
            return Err(exists(name));
        }
        session.context().notice(skipping(&exists(name)));
        return complete("CREATE INDEX");
    }
    let index = index_of(session, prepared, &definition, create, given)?;
    let index_oid = index.oid;
    definition.indexes.push(index);
    let built = Arc::new(CachedTableData::new(definition.clone()));
    fill_indexes(session, &built, &[index_oid]).await?;
    change_beside_readers(session, CatalogChange::PutTable(definition))?;
    complete("CREATE INDEX")
}

fn method_error(method: &str) -> SqlError {
    match method {
        "hash" | "gin" | "gist" | "brin" | "spgist" => SqlError::unsupported(format!("index method \"{method}\"")),
        _ => SqlError::new(SqlState::UNDEFINED_OBJECT, format!("access method \"{method}\" does not exist")),
    }
}

fn index_of(
    session: &Session,
    prepared: &PreparedStatement,
    table: &TableDefinition,
    create: &CreateIndex,
    name: Option<String>,
) -> Result<IndexDefinition> {
    let context = session.context();
    let mut binder = Binder::new(context, context.catalog(), prepared.source(), Parameters::default());
    if create.columns.len() + create.include.len() > COLUMNS_MAX {
        let message = format!("cannot use more than {COLUMNS_MAX} columns in an index");
        return Err(SqlError::new(SqlState::TOO_MANY_COLUMNS, message));
    }
    let mut columns = Vec::with_capacity(create.columns.len());
    let mut names: Vec<String> = Vec::with_capacity(create.columns.len());
    for column in &create.columns {
        let (column, shown) = column_of(&mut binder, table, column)?;
        names.push(numbered_name(&names, shown));
        columns.push(column);
    }
    let mut include = Vec::with_capacity(create.include.len());
    for column in &create.include {
        let column = fold(column);
        include.push(column_position(table, &column)?);
        names.push(numbered_name(&names, column));
    }
    let predicate = match &create.predicate {
        Some(predicate) => {
            binder.index_predicate(table, predicate)?;
            Some(predicate.to_string())
        }
        None => None,
    };
    let name = name.unwrap_or_else(|| free_relation_name(session, table, Some(&names.join("_")), "idx"));
    Ok(IndexDefinition {
        oid: session.app().take_oids(1),
        name,
        storage: session.app().take_storage(),
        columns,
        include,
        unique: create.unique,
        nulls_not_distinct: create.nulls_distinct == Some(false),
        predicate,
        immediate: true,
        options: options(&create.with)?,
    })
}

/// A second column of the same name gets a number (indexcmds.c, ChooseIndexColumnNames).
fn numbered_name(names: &[String], name: String) -> String {
    let mut candidate = name.clone();
    let mut n = 0;
    while names.contains(&candidate) {
        n += 1;
        candidate = format!("{name}{n}");
    }
    candidate
}

fn column_position(table: &TableDefinition, name: &str) -> Result<usize> {
    table
        .column_index(name)
        .ok_or_else(|| SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" does not exist")))
}

/// A column of the index, and what it is called in a name made up for the index.
fn column_of(
    binder: &mut Binder<'_>,
    table: &TableDefinition,
    given: &ast::IndexColumn,
) -> Result<(IndexColumn, String)> {
    let expr = strip(&given.column.expr);
    let (key, ty, name) = match expr {
        ast::Expr::Identifier(i) => {
            let name = fold(i);
            let position = column_position(table, &name)?;
            (IndexKey::Column(position), table.columns[position].ty, name)
        }
        other => {
            let typed = binder.index_expr(table, other)?;
            let name = output_name(other).unwrap_or_else(|| "expr".to_owned());
            (IndexKey::Expression(other.to_string(), typed.ty), typed.ty, name)
        }
    };
    check_index_type(ty)?;
    if let Some(class) = &given.operator_class {
        let class = name_parts(class)?.pop().unwrap_or_default();
        // In the C collation these sort as the types themselves do.
        if !matches!(
            class.as_str(),
            "text_ops" | "text_pattern_ops" | "varchar_pattern_ops" | "varchar_ops" | "int4_ops" | "int8_ops"
        ) {
            return Err(SqlError::unsupported(format!("operator class \"{class}\"")));
        }
    }
    let descending = given.column.options.asc == Some(false);
    let nulls_first = given.column.options.nulls_first.unwrap_or(descending);
    Ok((IndexColumn { key, descending, nulls_first }, name))
}

/// An expression without the parentheses around it.
fn strip(e: &ast::Expr) -> &ast::Expr {
    match e {
        ast::Expr::Nested(inner) => strip(inner),
        other => other,
    }
}

/// WITH (fillfactor = 70)
fn options(given: &[ast::Expr]) -> Result<Vec<(String, String)>> {
    let mut kept = Vec::new();
    for option in given {
        let ast::Expr::BinaryOp { left, op: ast::BinaryOperator::Eq, right } = option else {
            return Err(SqlError::unsupported(format!("index option {option}")));
        };
        let (name, value) = (left.to_string().to_lowercase(), right.to_string().trim_matches('\'').to_owned());
        match name.as_str() {
            "fillfactor" => {
                if !value.parse::<i64>().is_ok_and(|n| (10..=100).contains(&n)) {
                    let message = format!("value {value} out of bounds for option \"fillfactor\"");
                    return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
                        .detail("Valid values are between \"10\" and \"100\"."));
                }
                kept.push((name, value));
            }
            "deduplicate_items" => kept.push((name, value)),
            _ => {
                let message = format!("unrecognized parameter \"{name}\"");
                return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
        }
    }
    Ok(kept)
}

/// The table with an index, and the index's OID: 42P01 if there is none of the name, 42809 for another relation.
pub(crate) fn find(session: &Session, name: &ObjectName) -> Result<(Arc<CachedTableData>, IndexDefinition)> {
    let parts = name_parts(name)?;
    let shown = parts.join(".");
    let last = parts.last().cloned().unwrap_or_default();
    let context = session.context();
    let catalog = context.catalog();
    let schemas: Vec<Oid> = match parts.as_slice() {
        [.., schema, _] => vec![super::ddl::named_schema(session, schema)?.oid],
        _ => {
            let path = crate::sql::functions::search_path(context);
            kalamdb_catalog::name::path_schemas(&catalog, context.database, &path)
        }
    };
    for schema in schemas {
        if let Some(table) = catalog.index_by_name(schema, &last)
            && let Some(index) = table.definition.all_indexes().into_iter().find(|i| i.name == last)
        {
            return Ok((Arc::clone(table), index));
        }
        if let Some(table) = catalog.table_by_name(schema, &last) {
            let message = format!("\"{}\" is not an index", table.definition.name);
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
        }
    }
    Err(SqlError::new(SqlState::UNDEFINED_OBJECT, format!("index \"{shown}\" does not exist")))
}

/// ALTER INDEX
pub(crate) fn alter(
    session: &mut Session,
    name: &ObjectName,
    operation: &ast::AlterIndexOperation,
) -> Result<Response> {
    let ast::AlterIndexOperation::RenameIndex { index_name } = operation;
    let (table, index) = find(session, name).map_err(|e| match e.code() {
        SqlState::UNDEFINED_OBJECT => {
            SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"))
        }
        _ => e,
    })?;
    let new = name_parts(index_name)?.pop().unwrap_or_default();
    rename(session, &table.definition, &index, new)?;
    complete("ALTER INDEX")
}

/// Renames an index and the constraint that it keeps.
pub(crate) fn rename(
    session: &mut Session,
    table: &TableDefinition,
    index: &IndexDefinition,
    new: String,
) -> Result<()> {
    if is_taken(session, table.schema, &new) {
        return Err(exists(&new));
    }
    let constraint = table.constraint_of_index(index.oid);
    let mut definition = table.clone();
    if let Some(key) = definition.primary_key.as_mut().filter(|k| k.index_oid == index.oid) {
        key.name.clone_from(&new);
    }
    for own in definition.indexes.iter_mut().filter(|i| i.oid == index.oid) {
        own.name.clone_from(&new);
    }
    for own in definition.constraints.iter_mut().filter(|c| constraint.as_ref().is_some_and(|k| k.oid == c.oid)) {
        own.name.clone_from(&new);
    }
    change_beside_readers(session, CatalogChange::PutTable(definition))
}

/// DROP INDEX
pub(crate) fn drop(session: &mut Session, names: &[ObjectName], if_exists: bool, cascade: bool) -> Result<Response> {
    for name in names {
        let (table, index) = match find(session, name) {
            Ok(found) => found,
            Err(error) if error.code() == SqlState::UNDEFINED_OBJECT && if_exists => {
                session.context().notice(absent(&error));
                continue;
            }
            Err(error) => return Err(error),
        };
        refuse_builtin(&table)?;
        super::drop::index(session, &table, &index, cascade)?;
    }
    complete("DROP INDEX")
}

/// REINDEX INDEX | TABLE: the entries are made anew.
pub(crate) async fn reindex(session: &mut Session, table: &TableDefinition, only: Option<Oid>) -> Result<()> {
    session.open_transaction()?.take_table(table.oid)?;
    session.transaction()?;
    let mut definition = super::alter_table::current(session, table.oid)?.definition.clone();
    let mut made = Vec::new();
    for index in definition.indexes.iter_mut().filter(|i| only.is_none_or(|oid| oid == i.oid)) {
        index.storage = session.app().take_storage();
        made.push(index.oid);
    }
    if made.is_empty() {
        return Ok(());
    }
    let built = Arc::new(CachedTableData::new(definition.clone()));
    fill_indexes(session, &built, &made).await?;
    super::ddl::change(session, CatalogChange::PutTable(definition))
}

/// 42704 for a type that indexes do not take.
pub(crate) fn check_index_type(ty: PgType) -> Result<()> {
    if keys::is_key_type(ty) {
        return Ok(());
    }
    if !matches!(ty, PgType::JSON | PgType::XML) {
        return Err(SqlError::unsupported(format!("an index on type {}", ty.sql_name())));
    }
    let message = format!("data type {} has no default operator class for access method \"btree\"", ty.sql_name());
    Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message)
        .hint("You must specify an operator class for the index or define a default operator class for the data type."))
}
