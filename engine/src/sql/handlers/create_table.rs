//! CREATE TABLE, CREATE TABLE AS, SELECT INTO.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    self, ColumnOption, CreateTable, CreateTableLikeKind, CreateTableOptions, SqlOption, TableConstraint,
};
use kalamdb_catalog::{
    CachedTableData, CatalogChange, ColumnDefinition, PgType, PrimaryKey, Result, SqlError, SqlState, TableDefinition,
    TableKind,
};

use super::ddl::{begin_attempt, change, end_attempt, exists, free_name, is_taken, place, relation};
use super::schema::skipping;
use crate::clock;
use crate::limits;
use crate::session::Session;
use crate::sql::Response;
use crate::sql::apply;
use crate::sql::bind::{Binder, BoundQuery, Parameters, column_type, fold};
use crate::sql::execute::complete;
use crate::sql::plan::planning;
use crate::sql::prepared::PreparedStatement;
use crate::sql::statement::CreateTable as Statement;
use crate::storage::keys;

pub(crate) async fn run(
    session: &mut Session,
    prepared: &PreparedStatement,
    statement: &Statement,
    parameters: &[ScalarValue],
) -> Result<Response> {
    let create = &statement.create;
    session.transaction()?;
    super::check_writable(session, if create.query.is_some() { "CREATE TABLE AS" } else { "CREATE TABLE" })?;
    refuse_clauses(create)?;
    loop {
        begin_attempt(session)?;
        let result = attempt(session, prepared, statement, parameters).await;
        if let Some(response) = end_attempt(session, result).await? {
            return Ok(response);
        }
    }
}

async fn attempt(
    session: &mut Session,
    prepared: &PreparedStatement,
    statement: &Statement,
    parameters: &[ScalarValue],
) -> Result<Response> {
    let Statement { create, likes, names, no_data } = statement;
    let (schema, name) = place(session, &create.name)?;
    let tag = if create.query.is_some() { "SELECT" } else { "CREATE TABLE" };
    if is_taken(session, schema.oid, &name) {
        if !create.if_not_exists {
            return Err(exists(&name));
        }
        session.context().notice(skipping(&exists(&name)));
        return complete(if create.query.is_some() { "CREATE TABLE AS" } else { tag });
    }
    let options = options(&create.table_options)?;
    if let Some(query) = &create.query {
        let bound = source(session, prepared, query, parameters)?;
        let names = names.iter().chain(create.columns.iter().map(|c| &c.name)).map(fold).collect();
        return create_as(session, schema.oid, name, options, bound, names, !*no_data).await;
    }
    let mut definition = empty(session, schema.oid, name, options);
    let mut columns = Columns { table: definition.name.clone(), ..Columns::default() };
    if let Some(like) = &create.like {
        let (CreateTableLikeKind::Parenthesized(like) | CreateTableLikeKind::Plain(like)) = like;
        let defaults = like.defaults == Some(ast::CreateTableLikeDefaults::Including);
        let including = if defaults { vec!["defaults".to_owned()] } else { Vec::new() };
        columns.like(session, prepared, &like.name, &including)?;
    }
    for (like, including) in likes {
        columns.like(session, prepared, like, including)?;
    }
    for column in &create.columns {
        columns.add(session, prepared, column)?;
    }
    for constraint in &create.constraints {
        columns.constraint(constraint)?;
    }
    if columns.list.len() > limits::COLUMNS_MAX {
        return Err(SqlError::new(
            SqlState::TOO_MANY_COLUMNS,
            format!("tables can have at most {} columns", limits::COLUMNS_MAX),
        ));
    }
    columns.finish(session, &mut definition)?;
    change(session, CatalogChange::PutTable(definition))?;
    complete(tag)
}

fn refuse_clauses(create: &CreateTable) -> Result<()> {
    let refused = [
        (create.temporary || create.on_commit.is_some(), "CREATE TEMPORARY TABLE"),
        (create.or_replace, "CREATE OR REPLACE TABLE"),
        (create.external, "CREATE EXTERNAL TABLE"),
        (create.inherits.is_some(), "INHERITS"),
        (create.partition_by.is_some() || create.partition_of.is_some(), "PARTITION BY"),
        (create.clone.is_some() || create.version.is_some(), "CLONE"),
        (create.order_by.is_some() || create.cluster_by.is_some() || create.clustered_by.is_some(), "CLUSTER BY"),
        (
            create.strict || create.without_rowid || create.transient || create.volatile || create.dynamic,
            "this kind of table",
        ),
    ];
    match refused.iter().find(|(present, _)| *present) {
        Some((_, what)) => Err(SqlError::unsupported(what)),
        None => Ok(()),
    }
}

/// WITH (...): storage parameters are kept and shown; KalamDB's own kinds of table come with a later version.
fn options(options: &CreateTableOptions) -> Result<Vec<(String, String)>> {
    let list = match options {
        CreateTableOptions::None => return Ok(Vec::new()),
        CreateTableOptions::With(list) => list,
        other => return Err(SqlError::unsupported(format!("table options {other}"))),
    };
    let mut kept = Vec::new();
    for option in list {
        let SqlOption::KeyValue { key, value } = option else {
            return Err(SqlError::unsupported(format!("table option {option}")));
        };
        let name = fold(key);
        match name.as_str() {
            "fillfactor" | "autovacuum_enabled" | "parallel_workers" | "toast_tuple_target" => {
                kept.push((name, value.to_string().trim_matches('\'').to_owned()));
            }
            "oids" if value.to_string().eq_ignore_ascii_case("false") => {}
            "type" if value.to_string().trim_matches('\'').eq_ignore_ascii_case("shared") => {}
            "type" | "flush_policy" | "ttl_seconds" | "storage" => {
                return Err(SqlError::unsupported(format!("table option \"{name}\"")));
            }
            _ if name.starts_with("autovacuum_") => kept.push((name, value.to_string())),
            _ => {
                return Err(SqlError::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!("unrecognized parameter \"{name}\""),
                ));
            }
        }
    }
    Ok(kept)
}

/// A definition without columns.
fn empty(session: &Session, schema: u32, name: String, options: Vec<(String, String)>) -> TableDefinition {
    // The relation, its row type, and the array of the row type.
    let oid = session.app().take_oids(3);
    TableDefinition {
        oid,
        row_type_oid: oid + 1,
        schema,
        name,
        owner: session.context().user.clone(),
        kind: TableKind::Shared,
        storage: session.app().take_storage(),
        schema_version: 0,
        columns: Vec::new(),
        primary_key: None,
        options,
        created_at: clock::now_micros(),
    }
}

/// The parts of a definition as they are read.
#[derive(Default)]
struct Columns {
    /// The table's name, for errors.
    table: String,
    list: Vec<ColumnDefinition>,
    key: Option<(Option<String>, Vec<String>)>,
}

impl Columns {
    fn like(
        &mut self,
        session: &Session,
        prepared: &PreparedStatement,
        name: &ast::ObjectName,
        including: &[String],
    ) -> Result<()> {
        let has = |what: &str| including.iter().any(|i| i == what || i == "all");
        let other = relation(session, prepared, name)?;
        let defaults = has("defaults");
        if has("indexes")
            && let Some(key) = &other.definition.primary_key
        {
            let columns = key.columns.iter().map(|i| other.definition.columns[*i].name.clone()).collect();
            self.set_key(None, columns)?;
        }
        for (_, column) in other.definition.live_columns() {
            let mut column = column.clone();
            column.since_version = 0;
            column.missing = None;
            if !defaults {
                column.default = None;
                column.default_oid = 0;
            } else if column.default.is_some() {
                column.default_oid = session.app().take_oids(1);
            }
            self.list.push(column);
        }
        Ok(())
    }

    fn add(&mut self, session: &Session, prepared: &PreparedStatement, column: &ast::ColumnDef) -> Result<()> {
        let (definition, is_key) = column_definition(session, prepared, &self.table, column)?;
        if self.list.iter().any(|c| c.name == definition.name) {
            return Err(duplicate_column(&definition.name));
        }
        if let Some(key_name) = is_key {
            self.set_key(key_name, vec![definition.name.clone()])?;
        }
        self.list.push(definition);
        Ok(())
    }

    fn constraint(&mut self, constraint: &TableConstraint) -> Result<()> {
        let key = primary_key(constraint)?;
        self.set_key(key.0, key.1)
    }

    fn set_key(&mut self, name: Option<String>, columns: Vec<String>) -> Result<()> {
        if self.key.is_some() {
            return Err(SqlError::new(
                SqlState::INVALID_TABLE_DEFINITION,
                format!("multiple primary keys for table \"{}\" are not allowed", self.table),
            ));
        }
        self.key = Some((name, columns));
        Ok(())
    }

    fn finish(self, session: &Session, definition: &mut TableDefinition) -> Result<()> {
        definition.columns = self.list;
        if let Some((name, columns)) = self.key {
            set_primary_key(session, definition, name, &columns)?;
        }
        Ok(())
    }
}

/// A column and, if it says PRIMARY KEY, the key's name.
#[allow(clippy::type_complexity)]
pub(crate) fn column_definition(
    session: &Session,
    prepared: &PreparedStatement,
    table: &str,
    column: &ast::ColumnDef,
) -> Result<(ColumnDefinition, Option<Option<String>>)> {
    let name = fold(&column.name);
    if crate::providers::is_system_column(&name) {
        return Err(SqlError::new(
            SqlState::DUPLICATE_COLUMN,
            format!("column name \"{name}\" conflicts with a system column name"),
        ));
    }
    let context = session.context();
    let mut binder = Binder::new(context, context.catalog(), prepared.source(), Parameters::default());
    let at = binder.position_after_name(&column.name);
    let (ty, typmod) = column_type(&name, &column.data_type).map_err(|e| e.at(at))?;
    let mut definition = ColumnDefinition {
        name,
        ty,
        typmod,
        not_null: false,
        default: None,
        default_oid: 0,
        dropped: false,
        missing: None,
        since_version: 0,
    };
    let mut key = None;
    let mut nullable = None;
    for option in &column.options {
        let constraint_name = option.name.as_ref().map(fold);
        match &option.option {
            ColumnOption::Null | ColumnOption::NotNull => {
                let this = matches!(option.option, ColumnOption::Null);
                if nullable.replace(this).is_some_and(|other| other != this) {
                    return Err(repeated("conflicting NULL/NOT NULL declarations", table, &definition.name));
                }
                definition.not_null |= !this;
            }
            ColumnOption::Default(_) if definition.default.is_some() => {
                return Err(repeated("multiple default values specified", table, &definition.name));
            }
            ColumnOption::Default(expr) => {
                binder.default_expr(expr, &definition)?;
                definition.default = Some(default_text(expr, ty));
                definition.default_oid = session.app().take_oids(1);
            }
            ColumnOption::PrimaryKey(_) => {
                definition.not_null = true;
                key = Some(constraint_name);
            }
            ColumnOption::Unique(_) => return Err(SqlError::unsupported("UNIQUE")),
            ColumnOption::ForeignKey(_) => return Err(SqlError::unsupported("REFERENCES")),
            ColumnOption::Check(_) => return Err(SqlError::unsupported("CHECK")),
            ColumnOption::Generated { .. } | ColumnOption::Identity(_) => {
                return Err(SqlError::unsupported("GENERATED"));
            }
            ColumnOption::Collation(name) => {
                let name = crate::sql::bind::name_parts(name)?.pop().unwrap_or_default();
                if !matches!(name.as_str(), "default" | "C" | "POSIX" | "ucs_basic") {
                    return Err(SqlError::new(
                        SqlState::UNDEFINED_OBJECT,
                        format!("collation \"{name}\" for encoding \"UTF8\" does not exist"),
                    ));
                }
            }
            other => return Err(SqlError::unsupported(format!("column option {other}"))),
        }
    }
    Ok((definition, key))
}

/// 42601 for options of one column that cannot both be.
fn repeated(what: &str, table: &str, column: &str) -> SqlError {
    SqlError::new(SqlState::SYNTAX_ERROR, format!("{what} for column \"{column}\" of table \"{table}\""))
}

/// DEFAULT as stored and shown: a string literal carries its type, as PostgreSQL prints it.
pub(crate) fn default_text(expr: &ast::Expr, ty: PgType) -> String {
    match expr {
        ast::Expr::Value(v) if matches!(v.value, ast::Value::SingleQuotedString(_)) => {
            format!("{expr}::{}", ty.display(-1))
        }
        other => other.to_string(),
    }
}

/// Name and columns of PRIMARY KEY (...); other constraints are refused by name.
pub(crate) fn primary_key(constraint: &TableConstraint) -> Result<(Option<String>, Vec<String>)> {
    let TableConstraint::PrimaryKey(key) = constraint else {
        return Err(SqlError::unsupported(match constraint {
            TableConstraint::Unique(_) => "UNIQUE",
            TableConstraint::ForeignKey(_) => "FOREIGN KEY",
            TableConstraint::Check(_) => "CHECK",
            _ => "this table constraint",
        }));
    };
    if key.characteristics.is_some() {
        return Err(SqlError::unsupported("DEFERRABLE"));
    }
    let columns = key
        .columns
        .iter()
        .map(|c| match &c.column.expr {
            ast::Expr::Identifier(i) => Ok(fold(i)),
            other => Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{other}\""))),
        })
        .collect::<Result<Vec<_>>>()?;
    Ok((key.name.as_ref().map(fold), columns))
}

/// Makes columns the primary key of a definition: they become NOT NULL.
pub(crate) fn set_primary_key(
    session: &Session,
    definition: &mut TableDefinition,
    name: Option<String>,
    columns: &[String],
) -> Result<()> {
    let mut positions = Vec::with_capacity(columns.len());
    for column in columns {
        let Some(position) = definition.column_index(column) else {
            return Err(SqlError::new(
                SqlState::UNDEFINED_COLUMN,
                format!("column \"{column}\" named in key does not exist"),
            ));
        };
        if positions.contains(&position) {
            return Err(SqlError::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{column}\" appears twice in primary key constraint"),
            ));
        }
        let ty = definition.columns[position].ty;
        if !keys::is_key_type(ty) {
            let comparable = !matches!(ty, PgType::JSON | PgType::XML);
            return Err(if comparable {
                SqlError::unsupported(format!("a primary key of type {}", ty.sql_name()))
            } else {
                SqlError::new(
                    SqlState::UNDEFINED_OBJECT,
                    format!("data type {} has no default operator class for access method \"btree\"", ty.sql_name()),
                )
                .hint("You must specify an operator class for the index or define a default operator class for the data type.")
            });
        }
        definition.columns[position].not_null = true;
        positions.push(position);
    }
    let name = match name {
        Some(name) if is_taken(session, definition.schema, &name) => return Err(exists(&name)),
        Some(name) => name,
        None => free_name(session, definition.schema, &format!("{}_pkey", definition.name)),
    };
    let oid = session.app().take_oids(2);
    definition.primary_key = Some(PrimaryKey { constraint_oid: oid, index_oid: oid + 1, name, columns: positions });
    Ok(())
}

/// 42701
pub(crate) fn duplicate_column(name: &str) -> SqlError {
    SqlError::new(SqlState::DUPLICATE_COLUMN, format!("column \"{name}\" specified more than once"))
}

async fn create_as(
    session: &mut Session,
    schema: u32,
    name: String,
    options: Vec<(String, String)>,
    bound: BoundQuery,
    names: Vec<String>,
    data: bool,
) -> Result<Response> {
    if names.len() > bound.columns.len() {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "too many column names were specified"));
    }
    let mut definition = empty(session, schema, name, options);
    for (i, column) in bound.columns.iter().enumerate() {
        let name = names.get(i).cloned().unwrap_or_else(|| column.name.clone());
        if definition.columns.iter().any(|c| c.name == name) {
            return Err(duplicate_column(&name));
        }
        if column.ty.info().kind == 'p' {
            return Err(SqlError::new(
                SqlState::INVALID_TABLE_DEFINITION,
                format!("column \"{name}\" has pseudo-type {}", column.ty.sql_name()),
            ));
        }
        definition.columns.push(ColumnDefinition {
            name,
            ty: column.ty,
            typmod: column.typmod,
            not_null: false,
            default: None,
            default_oid: 0,
            dropped: false,
            missing: None,
            since_version: 0,
        });
    }
    change(session, CatalogChange::PutTable(definition.clone()))?;
    if !data {
        return complete("CREATE TABLE AS");
    }
    let table = Arc::new(CachedTableData::new(definition));
    let rows = super::rewrite::fill(session, &table, &bound.plan, super::rewrite::Duplicate::Key).await?;
    complete(format!("SELECT {rows}"))
}

/// The query whose rows fill a new table, with the values of its parameters.
fn source(
    session: &Session,
    prepared: &PreparedStatement,
    query: &ast::Query,
    parameters: &[ScalarValue],
) -> Result<BoundQuery> {
    let context = Arc::clone(session.context());
    let types: Vec<u32> = prepared.parameters().iter().map(|t| t.oid()).collect();
    let mut binder = Binder::new(&context, context.catalog(), prepared.source(), Parameters::declared(&types)?);
    let mut bound = binder.query(query)?;
    bound.plan = planning(apply::substitute(bound.plan, &apply::numbered(parameters)))?;
    Ok(bound)
}

/// The query of SELECT ... INTO alone.
pub(crate) fn without_into(query: &ast::Query) -> ast::Query {
    let mut query = query.clone();
    if let ast::SetExpr::Select(select) = query.body.as_mut() {
        select.into = None;
    }
    query
}

/// The target of SELECT ... INTO.
pub(crate) fn select_into(query: &ast::Query) -> Option<&ast::SelectInto> {
    match query.body.as_ref() {
        ast::SetExpr::Select(select) => select.into.as_ref(),
        _ => None,
    }
}

pub(crate) async fn run_select_into(
    session: &mut Session,
    prepared: &PreparedStatement,
    query: &ast::Query,
    into: &ast::SelectInto,
    parameters: &[ScalarValue],
) -> Result<Response> {
    if into.temporary {
        return Err(SqlError::unsupported("SELECT INTO TEMPORARY"));
    }
    session.transaction()?;
    super::check_writable(session, "SELECT INTO")?;
    let query = without_into(query);
    let (schema, name) = place(session, &into.name)?;
    if is_taken(session, schema.oid, &name) {
        return Err(exists(&name));
    }
    let bound = source(session, prepared, &query, parameters)?;
    create_as(session, schema.oid, name, Vec::new(), bound, Vec::new(), true).await
}
