//! CREATE TABLE, CREATE TABLE AS, SELECT INTO.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    self, CreateTable, CreateTableLikeKind, CreateTableOptions, SqlOption, TableConstraint,
};
use kalamdb_catalog::constraint::{Constraint, ConstraintKind};
use kalamdb_catalog::index::{IndexDefinition, IndexKey};
use kalamdb_catalog::sequence::SequenceOwner;
use kalamdb_catalog::table::{Generated, OnCommit, Persistence};
use kalamdb_catalog::{
    CachedTableData, CatalogChange, ColumnDefinition, Oid, PgType, PrimaryKey, Result, SchemaDefinition, SqlError,
    SqlState, TableDefinition, TableKind,
};

use super::column::{WantedSequence, column_definition};
use super::constraint::{self, Wanted};
use super::ddl::{
    begin_attempt, change, change_beside_readers, end_attempt, exists, free_name, is_taken, place, relation,
};
use super::schema::skipping;
use super::sequence;
use crate::clock;
use crate::limits;
use crate::session::Session;
use crate::sql::Response;
use crate::sql::apply;
use crate::sql::bind::{Binder, BoundQuery, Parameters, fold, name_parts};
use crate::sql::execute::complete;
use crate::sql::parse;
use crate::sql::plan::planning;
use crate::sql::prepared::PreparedStatement;
use crate::sql::statement::{CreateTable as Statement, SequenceOptions};
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
    let Statement { create, likes, names, no_data, unlogged } = statement;
    let (schema, name, persistence) = place_of(session, create, *unlogged)?;
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
        let target = (schema.oid, name, persistence);
        return create_as(session, target, options, bound, names, !*no_data).await;
    }
    let mut definition = empty(session, schema.oid, name, options);
    definition.persistence = persistence;
    let mut columns = Columns { table: definition.name.clone(), ..Columns::default() };
    if let Some(like) = &create.like {
        let (CreateTableLikeKind::Parenthesized(like) | CreateTableLikeKind::Plain(like)) = like;
        let defaults = like.defaults == Some(ast::CreateTableLikeDefaults::Including);
        let including = if defaults { vec!["defaults".to_owned()] } else { Vec::new() };
        columns.like(session, prepared, &like.name, &including)?;
    }
    for (i, column) in create.columns.iter().enumerate() {
        for like in likes.iter().filter(|l| l.after == i) {
            columns.like(session, prepared, &like.table, &like.including)?;
        }
        columns.add(session, prepared, column)?;
    }
    for like in likes.iter().filter(|l| l.after >= create.columns.len()) {
        columns.like(session, prepared, &like.table, &like.including)?;
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
    let referred = columns.finish(session, prepared, &mut definition)?;
    change(session, CatalogChange::PutTable(definition))?;
    touch(session, &referred)?;
    complete(tag)
}

fn refuse_clauses(create: &CreateTable) -> Result<()> {
    let refused = [
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
        persistence: Persistence::Permanent,
        schema_version: 0,
        columns: Vec::new(),
        primary_key: None,
        indexes: Vec::new(),
        constraints: Vec::new(),
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
    constraints: Vec<Wanted>,
    /// Columns that a sequence of their own feeds, by position.
    sequences: Vec<(usize, WantedSequence)>,
    /// Indexes of LIKE, over that table's columns.
    indexes: Vec<(TableDefinition, IndexDefinition)>,
}

/// The options of an identity column that LIKE takes over.
fn copied_identity(session: &Session, column: &ColumnDefinition) -> Result<WantedSequence> {
    let catalog = session.context().catalog();
    let oid = column.default.as_deref().and_then(sequence::in_default);
    let found = oid.and_then(|oid| catalog.table(oid)).and_then(|t| t.definition.sequence().cloned());
    let s = found.ok_or_else(|| SqlError::internal("an identity column has no sequence"))?;
    let options = SequenceOptions {
        increment: Some(s.increment),
        min: Some(Some(s.min)),
        max: Some(Some(s.max)),
        start: Some(s.start),
        cache: Some(s.cache),
        cycle: Some(s.cycle),
        ..SequenceOptions::default()
    };
    Ok(WantedSequence { ty: column.ty, options, identity: true })
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
        if has("constraints") {
            for constraint in &other.definition.constraints {
                if let ConstraintKind::Check(sql, _) = &constraint.kind {
                    let condition = parse::expression(sql)?;
                    self.constraints.push(Wanted::Check { name: Some(constraint.name.clone()), condition });
                }
            }
        }
        if has("indexes") {
            if other.definition.has_key() {
                self.check_first_key()?;
            }
            let indexes = other.definition.indexes.iter().cloned();
            self.indexes.extend(indexes.map(|i| (other.definition.clone(), i)));
        }
        if has("indexes")
            && let Some(key) = &other.definition.primary_key
        {
            let columns = key.columns.iter().map(|i| other.definition.columns[*i].name.clone()).collect();
            self.key = Some((None, columns));
        }
        for (_, column) in other.definition.live_columns() {
            let mut column = column.clone();
            column.since_version = 0;
            column.missing = None;
            let kept = match column.generated {
                None => defaults,
                Some(Generated::Stored) => has("generated"),
                Some(Generated::Always | Generated::ByDefault) => false,
            };
            if column.is_identity() && has("identity") {
                let wanted = copied_identity(session, &column)?;
                self.sequences.push((self.list.len(), wanted));
            } else if !kept {
                column.generated = None;
            }
            if !kept {
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
        let new = column_definition(session, prepared, &self.table, column)?;
        let name = new.definition.name.clone();
        if self.list.iter().any(|c| c.name == name) {
            return Err(duplicate_column(&name));
        }
        if let Some(key_name) = new.key {
            self.set_key(key_name, vec![name])?;
        }
        for wanted in new.constraints {
            self.want(wanted)?;
        }
        if let Some(sequence) = new.sequence {
            self.sequences.push((self.list.len(), sequence));
        }
        self.list.push(new.definition);
        Ok(())
    }

    fn constraint(&mut self, constraint: &TableConstraint) -> Result<()> {
        match Wanted::of_table(constraint)? {
            Some(wanted) => self.want(wanted),
            None => {
                let key = primary_key(constraint)?;
                self.set_key(key.0, key.1)
            }
        }
    }

    fn want(&mut self, wanted: Wanted) -> Result<()> {
        if wanted.is_primary() {
            self.check_first_key()?;
        }
        self.constraints.push(wanted);
        Ok(())
    }

    fn set_key(&mut self, name: Option<String>, columns: Vec<String>) -> Result<()> {
        self.check_first_key()?;
        self.key = Some((name, columns));
        Ok(())
    }

    fn check_first_key(&self) -> Result<()> {
        let copied = |(from, index): &(TableDefinition, IndexDefinition)| from.is_primary(index.oid);
        match self.key.is_some() || self.constraints.iter().any(Wanted::is_primary) || self.indexes.iter().any(copied) {
            true => Err(super::alter_table::second_key(&self.table)),
            false => Ok(()),
        }
    }

    /// Puts all parts into the definition, with the sequences made: the tables that it refers to.
    fn finish(
        self,
        session: &mut Session,
        prepared: &PreparedStatement,
        definition: &mut TableDefinition,
    ) -> Result<Vec<Oid>> {
        definition.columns = self.list;
        check_generated(session, prepared, definition)?;
        for (position, wanted) in self.sequences {
            add_sequence(session, definition, position, &wanted)?;
        }
        if let Some((name, columns)) = self.key {
            set_primary_key(session, definition, name, &columns)?;
        }
        // Checks come first, and what refers to other tables last.
        let rank = |wanted: &Wanted| match wanted {
            Wanted::Unique(_) => 0,
            Wanted::Check { .. } => 1,
            Wanted::Foreign(_) => 2,
        };
        let mut constraints = self.constraints;
        constraints.sort_by_key(rank);
        let key = definition.primary_key.as_ref().map(|k| k.columns.clone());
        let key = key.map(|k| k.iter().map(|c| definition.columns[*c].name.clone()).collect::<Vec<_>>());
        let constraints = constraint::without_repeated(constraints, key.as_deref());
        for wanted in &constraints {
            constraint::add(session, prepared, definition, wanted, true)?;
        }
        for (table, index) in self.indexes {
            copy_index(session, definition, &table, index)?;
        }
        let own = definition.oid;
        let referred = definition.constraints.iter().filter_map(|c| c.foreign_key()).map(|k| k.target);
        Ok(referred.filter(|t| *t != own).collect())
    }
}

/// An index as LIKE ... INCLUDING INDEXES takes it over.
fn copy_index(
    session: &Session,
    definition: &mut TableDefinition,
    from: &TableDefinition,
    mut index: IndexDefinition,
) -> Result<()> {
    let moved = |position: usize| {
        let name = &from.columns[position].name;
        definition.column_index(name).ok_or_else(|| SqlError::internal("LIKE has left out a column"))
    };
    let mut names = Vec::new();
    for column in &mut index.columns {
        if let IndexKey::Column(position) = &mut column.key {
            names.push(from.columns[*position].name.clone());
            *position = moved(*position)?;
        } else {
            names.push("expr".to_owned());
        }
    }
    for position in &mut index.include {
        names.push(from.columns[*position].name.clone());
        *position = moved(*position)?;
    }
    let constraint = from.constraint_of_index(index.oid);
    let primary = from.is_primary(index.oid);
    let names = names.join("_");
    let (second, label) = match &constraint {
        Some(_) if primary => (None, "pkey"),
        Some(_) => (Some(names.as_str()), "key"),
        None => (Some(names.as_str()), "idx"),
    };
    let oid = session.app().take_oids(2);
    index.name = constraint::free_relation_name(session, definition, second, label);
    (index.oid, index.storage) = (oid, session.app().take_storage());
    if let Some(constraint) = constraint {
        definition.constraints.push(Constraint {
            oid: oid + 1,
            name: index.name.clone(),
            kind: match primary {
                true => ConstraintKind::Primary(oid, index.plain_columns().unwrap_or_default()),
                false => ConstraintKind::Unique(oid),
            },
            ..constraint
        });
    }
    definition.indexes.push(index);
    Ok(())
}

/// Tells the tables that a new foreign key refers to that it is there: who writes to them looks anew.
pub(crate) fn touch(session: &mut Session, tables: &[Oid]) -> Result<()> {
    for oid in tables {
        let table = super::alter_table::current(session, *oid)?;
        change_beside_readers(session, CatalogChange::PutTable(table.definition.clone()))?;
    }
    Ok(())
}

/// Makes the sequence of a serial or identity column, which is then its default.
pub(crate) fn add_sequence(
    session: &mut Session,
    definition: &mut TableDefinition,
    position: usize,
    wanted: &WantedSequence,
) -> Result<()> {
    let column = definition.columns[position].name.clone();
    let name = constraint::free_relation_name(session, definition, Some(&column), "seq");
    let owner = SequenceOwner { table: definition.oid, column: position, identity: wanted.identity };
    let oid = sequence::create_owned(session, definition.schema, name, wanted.ty, &wanted.options, owner)?;
    let column = &mut definition.columns[position];
    column.default = Some(sequence::default_of(oid));
    column.default_oid = session.app().take_oids(1);
    Ok(())
}

/// Binds the generated columns of a definition.
pub(crate) fn check_generated(
    session: &Session,
    prepared: &PreparedStatement,
    definition: &TableDefinition,
) -> Result<()> {
    let context = session.context();
    for (_, column) in definition.live_columns().filter(|(_, c)| c.is_stored()) {
        let Some(sql) = &column.default else { continue };
        let mut binder = Binder::new(context, context.catalog(), prepared.source(), Parameters::default());
        binder.generated_expr(definition, &parse::expression(sql)?, column).map_err(SqlError::without_position)?;
    }
    Ok(())
}

/// Where CREATE TABLE puts its table, and how long the rows live.
fn place_of(
    session: &mut Session,
    create: &CreateTable,
    unlogged: bool,
) -> Result<(Arc<SchemaDefinition>, String, Persistence)> {
    let parts = name_parts(&create.name)?;
    let in_temporary = matches!(parts.as_slice(), [schema, _] if schema == "pg_temp");
    if !create.temporary && !in_temporary {
        if create.on_commit.is_some() {
            let message = "ON COMMIT can only be used on temporary tables";
            return Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message));
        }
        let (schema, name) = place(session, &create.name)?;
        let persistence = if unlogged { Persistence::Unlogged } else { Persistence::Permanent };
        return Ok((schema, name, persistence));
    }
    let (schema, name) = super::temporary::place(session, parts)?;
    let on_commit = match create.on_commit {
        None | Some(ast::OnCommit::PreserveRows) => OnCommit::PreserveRows,
        Some(ast::OnCommit::DeleteRows) => OnCommit::DeleteRows,
        Some(ast::OnCommit::Drop) => OnCommit::Drop,
    };
    Ok((schema, name, Persistence::Temporary(on_commit)))
}

/// Name and columns of PRIMARY KEY (...).
pub(crate) fn primary_key(constraint: &TableConstraint) -> Result<(Option<String>, Vec<String>)> {
    let TableConstraint::PrimaryKey(key) = constraint else {
        return Err(SqlError::internal("not a primary key"));
    };
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
    (schema, name, persistence): (Oid, String, Persistence),
    options: Vec<(String, String)>,
    bound: BoundQuery,
    names: Vec<String>,
    data: bool,
) -> Result<Response> {
    if names.len() > bound.columns.len() {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "too many column names were specified"));
    }
    let mut definition = empty(session, schema, name, options);
    definition.persistence = persistence;
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
        definition.columns.push(ColumnDefinition::new(name, column.ty, column.typmod));
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
    session.transaction()?;
    super::check_writable(session, "SELECT INTO")?;
    let query = without_into(query);
    let (schema, name, persistence) = if into.temporary {
        let name = name_parts(&into.name)?.pop().unwrap_or_default();
        (super::temporary::schema(session)?, name, Persistence::Temporary(OnCommit::PreserveRows))
    } else {
        let (schema, name) = place(session, &into.name)?;
        (schema, name, if into.unlogged { Persistence::Unlogged } else { Persistence::Permanent })
    };
    if is_taken(session, schema.oid, &name) {
        return Err(exists(&name));
    }
    let bound = source(session, prepared, &query, parameters)?;
    create_as(session, (schema.oid, name, persistence), Vec::new(), bound, Vec::new(), true).await
}
