//! Constraints as CREATE TABLE and ALTER TABLE give them: read, checked, named and put into a definition.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{self, ColumnOption, ReferentialAction, TableConstraint};
use kalamdb_catalog::constraint::{Constraint, ConstraintKind, ForeignAction, ForeignKey};
use kalamdb_catalog::index::{IndexColumn, IndexDefinition, IndexKey};
use kalamdb_catalog::name::{path_schemas, qualified, quote_ident};
use kalamdb_catalog::{CachedTableData, Catalog, Oid, PgType, Result, SqlError, SqlState, TableDefinition, TableKind};

use super::ddl::{exists, is_taken, relation};
use crate::session::Session;
use crate::sql::bind::{Binder, Parameters, RowClause, columns_of_row, fold, name_parts};
use crate::sql::coerce::cast_path;
use crate::sql::execute::complete;
use crate::sql::functions::{CastContext, search_path};
use crate::sql::prepared::PreparedStatement;
use crate::sql::{Response, internal};

/// A constraint that is asked for. PRIMARY KEY has a way of its own.
#[derive(Clone)]
pub(crate) enum Wanted {
    Check { name: Option<String>, condition: ast::Expr },
    Unique(WantedUnique),
    Foreign(WantedForeign),
}

#[derive(Clone)]
pub(crate) struct WantedUnique {
    /// PRIMARY KEY, if it is DEFERRABLE: two rows may have one key for a while, so it cannot be the order of the rows.
    pub primary: bool,
    pub name: Option<String>,
    pub columns: Vec<String>,
    pub nulls_not_distinct: bool,
    /// DEFERRABLE, INITIALLY DEFERRED
    pub deferral: (bool, bool),
}

#[derive(Clone)]
pub(crate) struct WantedForeign {
    pub name: Option<String>,
    pub columns: Vec<String>,
    pub constraint: ast::ForeignKeyConstraint,
}

impl Wanted {
    /// A constraint of the table; None for a PRIMARY KEY that rows are stored by.
    pub(crate) fn of_table(constraint: &TableConstraint) -> Result<Option<Wanted>> {
        Ok(Some(match constraint {
            TableConstraint::PrimaryKey(key) => {
                let deferral = deferral(key.characteristics.as_ref())?;
                if !deferral.0 {
                    return Ok(None);
                }
                let columns = key.columns.iter().map(plain_column).collect::<Result<_>>()?;
                Wanted::deferrable_key(key.name.as_ref().map(fold), columns, deferral)
            }
            TableConstraint::Check(check) => Wanted::check(check.name.as_ref().map(fold), check)?,
            TableConstraint::Unique(unique) => Wanted::Unique(WantedUnique {
                primary: false,
                name: unique.name.as_ref().map(fold),
                columns: unique.columns.iter().map(plain_column).collect::<Result<_>>()?,
                nulls_not_distinct: matches!(unique.nulls_distinct, ast::NullsDistinctOption::NotDistinct),
                deferral: deferral(unique.characteristics.as_ref())?,
            }),
            TableConstraint::ForeignKey(key) => Wanted::Foreign(WantedForeign {
                name: key.name.as_ref().map(fold),
                columns: key.columns.iter().map(fold).collect(),
                constraint: key.clone(),
            }),
            _ => return Err(SqlError::unsupported("this table constraint")),
        }))
    }

    fn deferrable_key(name: Option<String>, columns: Vec<String>, deferral: (bool, bool)) -> Wanted {
        Wanted::Unique(WantedUnique { primary: true, name, columns, nulls_not_distinct: false, deferral })
    }

    pub(crate) fn is_primary(&self) -> bool {
        matches!(self, Wanted::Unique(unique) if unique.primary)
    }

    fn check(name: Option<String>, check: &ast::CheckConstraint) -> Result<Wanted> {
        if check.enforced.is_some() {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \"ENFORCED\""));
        }
        Ok(Wanted::Check { name, condition: (*check.expr).clone() })
    }

    /// A constraint written with a column; None for an option that is none.
    pub(crate) fn of_column(column: &str, name: Option<String>, option: &ColumnOption) -> Result<Option<Wanted>> {
        Ok(Some(match option {
            ColumnOption::Check(check) => Wanted::check(name.or_else(|| check.name.as_ref().map(fold)), check)?,
            ColumnOption::PrimaryKey(key) => {
                let deferral = deferral(key.characteristics.as_ref())?;
                Wanted::deferrable_key(name, vec![column.to_owned()], deferral)
            }
            ColumnOption::Unique(unique) => Wanted::Unique(WantedUnique {
                primary: false,
                nulls_not_distinct: name.as_ref().is_some_and(|n| n.starts_with(NOT_DISTINCT_MARK)),
                name: name
                    .map(|n| n.strip_prefix(NOT_DISTINCT_MARK).map_or_else(|| n.clone(), str::to_owned))
                    .filter(|n| !n.is_empty()),
                columns: vec![column.to_owned()],
                deferral: deferral(unique.characteristics.as_ref())?,
            }),
            ColumnOption::ForeignKey(key) => Wanted::Foreign(WantedForeign {
                name: name.or_else(|| key.name.as_ref().map(fold)),
                columns: vec![column.to_owned()],
                constraint: key.clone(),
            }),
            _ => return Ok(None),
        }))
    }
}

/// In front of the name of a column's UNIQUE NULLS NOT DISTINCT, and in front of the columns of ON DELETE SET NULL (...) in place
/// of the name of FOREIGN KEY's index: the grammar has no place for them (`parse`).
pub(crate) const NOT_DISTINCT_MARK: &str = "#nulls not distinct ";
pub(crate) const SET_COLUMNS_MARK: &str = "#set ";

/// ON DELETE SET NULL (columns)
fn set_columns(table: &TableDefinition, of_key: &[String], given: &ast::ForeignKeyConstraint) -> Result<Vec<usize>> {
    let Some(listed) = given.index_name.as_ref().and_then(|i| i.value.strip_prefix(SET_COLUMNS_MARK)) else {
        return Ok(Vec::new());
    };
    let mut positions = Vec::new();
    for name in listed.split('\0') {
        let position = table.column_index(name).ok_or_else(|| {
            let message = format!("column \"{name}\" referenced in foreign key constraint does not exist");
            SqlError::new(SqlState::UNDEFINED_COLUMN, message)
        })?;
        if !of_key.iter().any(|c| c == name) {
            let message = format!("column \"{name}\" referenced in ON DELETE SET action must be part of foreign key");
            return Err(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message));
        }
        positions.push(position);
    }
    Ok(positions)
}

fn plain_column(column: &ast::IndexColumn) -> Result<String> {
    match &column.column.expr {
        ast::Expr::Identifier(i) => Ok(fold(i)),
        other => Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{other}\""))),
    }
}

/// Whether a constraint is deferrable, and deferred to begin with.
pub(crate) fn deferral(characteristics: Option<&ast::ConstraintCharacteristics>) -> Result<(bool, bool)> {
    let Some(given) = characteristics else { return Ok((false, false)) };
    let deferred = matches!(given.initially, Some(ast::DeferrableInitial::Deferred));
    if deferred && given.deferrable == Some(false) {
        return Err(not_deferrable());
    }
    Ok((given.deferrable.unwrap_or(deferred), deferred))
}

/// 42601
pub(crate) fn not_deferrable() -> SqlError {
    SqlError::new(SqlState::SYNTAX_ERROR, "constraint declared INITIALLY DEFERRED must be DEFERRABLE")
}

/// Puts a constraint into a definition, with its index if it needs one; the rows that are there are the caller's. Gives its OID,
/// None if the definition has the like already.
pub(crate) fn add(
    session: &Session,
    prepared: &PreparedStatement,
    table: &mut TableDefinition,
    wanted: &Wanted,
    validated: bool,
) -> Result<Option<Oid>> {
    match wanted {
        Wanted::Check { name, condition } => {
            add_check(session, prepared, table, name.as_deref(), condition, validated).map(Some)
        }
        Wanted::Unique(unique) => add_unique(session, table, unique),
        Wanted::Foreign(foreign) => add_foreign(session, prepared, table, foreign, validated).map(Some),
    }
}

/// UNIQUE over the same columns again says nothing new, nor over those of the primary key; a name counts (parse_utilcmd.c).
pub(crate) fn without_repeated(wanted: Vec<Wanted>, key: Option<&[String]>) -> Vec<Wanted> {
    let mut kept: Vec<Wanted> = Vec::with_capacity(wanted.len());
    for constraint in wanted {
        let Wanted::Unique(unique) = &constraint else {
            kept.push(constraint);
            continue;
        };
        if key == Some(&unique.columns) && unique.deferral == (false, false) && unique.name.is_none() {
            continue;
        }
        let same = kept.iter_mut().find_map(|k| match k {
            Wanted::Unique(other)
                if other.columns == unique.columns
                    && other.deferral == unique.deferral
                    && other.nulls_not_distinct == unique.nulls_not_distinct
                    && (other.name.is_none() || unique.name.is_none()) =>
            {
                Some(other)
            }
            _ => None,
        });
        match same {
            Some(other) => {
                other.primary |= unique.primary;
                other.name = other.name.take().or_else(|| unique.name.clone());
            }
            None => kept.push(constraint),
        }
    }
    kept
}

/// 42710 if the table has a constraint of this name.
pub(crate) fn check_free(table: &TableDefinition, name: &str) -> Result<()> {
    if table.all_constraints().iter().any(|c| c.name == name) {
        let message = format!("constraint \"{name}\" for relation \"{}\" already exists", table.name);
        return Err(SqlError::new(SqlState::DUPLICATE_OBJECT, message));
    }
    Ok(())
}

fn put(table: &mut TableDefinition, oid: Oid, name: String, kind: ConstraintKind, rest: (bool, (bool, bool))) {
    let (validated, (deferrable, deferred)) = rest;
    table.constraints.push(Constraint { oid, name, kind, validated, deferrable, deferred });
}

fn add_check(
    session: &Session,
    prepared: &PreparedStatement,
    table: &mut TableDefinition,
    name: Option<&str>,
    condition: &ast::Expr,
    validated: bool,
) -> Result<Oid> {
    let context = session.context();
    let mut binder = Binder::new(context, context.catalog(), prepared.source(), Parameters::default());
    let bound = binder.row_condition(table, condition, RowClause::Check)?;
    let live: Vec<usize> = table.live_columns().map(|(i, _)| i).collect();
    let columns: Vec<usize> = columns_of_row(&bound).into_iter().map(|l| live[l]).collect();
    let name = match (name, columns.as_slice()) {
        (Some(name), _) => {
            let is_new = context.catalog().table(table.oid).is_none();
            if is_new && table.constraints.iter().any(|c| c.name == name) {
                let message = format!("check constraint \"{name}\" already exists");
                return Err(SqlError::new(SqlState::DUPLICATE_OBJECT, message));
            }
            check_free(table, name)?;
            name.to_owned()
        }
        (None, [only]) => free_constraint_name(session, table, Some(&table.columns[*only].name), "check"),
        (None, _) => free_constraint_name(session, table, None, "check"),
    };
    let oid = session.app().take_oids(1);
    put(table, oid, name, ConstraintKind::Check(condition.to_string(), columns), (validated, (false, false)));
    Ok(oid)
}

fn add_unique(session: &Session, table: &mut TableDefinition, wanted: &WantedUnique) -> Result<Option<Oid>> {
    let mut positions = Vec::with_capacity(wanted.columns.len());
    for column in &wanted.columns {
        let Some(position) = table.column_index(column) else {
            let message = format!("column \"{column}\" named in key does not exist");
            return Err(SqlError::new(SqlState::UNDEFINED_COLUMN, message));
        };
        if positions.contains(&position) {
            let what = if wanted.primary { "primary key" } else { "unique" };
            let message = format!("column \"{column}\" appears twice in {what} constraint");
            return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message));
        }
        super::index::check_index_type(table.columns[position].ty)?;
        table.columns[position].not_null |= wanted.primary;
        positions.push(position);
    }
    if let Some(name) = &wanted.name {
        if *name == table.name || is_taken(session, table.schema, name) || table.indexes.iter().any(|i| i.name == *name)
        {
            return Err(exists(name));
        }
        check_free(table, name)?;
    }
    let name = wanted.name.clone().unwrap_or_else(|| {
        let columns = wanted.columns.join("_");
        let (second, label) = if wanted.primary { (None, "pkey") } else { (Some(columns.as_str()), "key") };
        free_relation_name(session, table, second, label)
    });
    let oid = session.app().take_oids(2);
    let column = |c: &usize| IndexColumn { key: IndexKey::Column(*c), descending: false, nulls_first: false };
    table.indexes.push(IndexDefinition {
        oid: oid + 1,
        name: name.clone(),
        storage: session.app().take_storage(),
        columns: positions.iter().map(column).collect(),
        include: Vec::new(),
        unique: true,
        nulls_not_distinct: wanted.nulls_not_distinct,
        predicate: None,
        immediate: !wanted.deferral.0,
        options: Vec::new(),
    });
    let kind = match wanted.primary {
        true => ConstraintKind::Primary(oid + 1, positions),
        false => ConstraintKind::Unique(oid + 1),
    };
    put(table, oid, name, kind, (true, wanted.deferral));
    Ok(Some(oid))
}

fn add_foreign(
    session: &Session,
    prepared: &PreparedStatement,
    table: &mut TableDefinition,
    wanted: &WantedForeign,
    validated: bool,
) -> Result<Oid> {
    let given = &wanted.constraint;
    let columns = wanted
        .columns
        .iter()
        .map(|column| {
            table.column_index(column).ok_or_else(|| {
                let message = format!("column \"{column}\" referenced in foreign key constraint does not exist");
                SqlError::new(SqlState::UNDEFINED_COLUMN, message)
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let target = target_of(session, prepared, table, given)?;
    let (index, target_columns) = referred(&target, given, columns.len())?;
    let name = match &wanted.name {
        Some(name) => {
            check_free(table, name)?;
            name.clone()
        }
        None => free_constraint_name(session, table, Some(&wanted.columns.join("_")), "fkey"),
    };
    for (column, referred) in columns.iter().zip(&target_columns) {
        check_comparable(&name, &table.columns[*column], &target.columns[*referred])?;
    }
    check_actions(table, &columns, given)?;
    let full = match given.match_kind {
        Some(ast::ConstraintReferenceMatchKind::Full) => true,
        Some(ast::ConstraintReferenceMatchKind::Partial) => {
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "MATCH PARTIAL not yet implemented"));
        }
        _ => false,
    };
    let key = ForeignKey {
        columns,
        target: target.oid,
        target_columns,
        index,
        full,
        on_update: action(given.on_update.as_ref()),
        on_delete: action(given.on_delete.as_ref()),
        set_columns: set_columns(table, &wanted.columns, given)?,
    };
    let oid = session.app().take_oids(1);
    let rest = (validated, deferral(given.characteristics.as_ref())?);
    put(table, oid, name, ConstraintKind::Foreign(key), rest);
    Ok(oid)
}

/// The table that is referred to, which may be the one being made.
fn target_of(
    session: &Session,
    prepared: &PreparedStatement,
    table: &TableDefinition,
    given: &ast::ForeignKeyConstraint,
) -> Result<TableDefinition> {
    let parts = name_parts(&given.foreign_table)?;
    let catalog = session.context().catalog();
    let own_schema = catalog.schema(table.schema).map(|s| s.name.clone()).unwrap_or_default();
    let is_new = catalog.table(table.oid).is_none();
    let names_itself = match parts.as_slice() {
        [name] => *name == table.name,
        [schema, name] => *name == table.name && *schema == own_schema,
        _ => false,
    };
    if is_new && names_itself {
        return Ok(table.clone());
    }
    let target = relation(session, prepared, &given.foreign_table).map_err(SqlError::without_position)?;
    if target.definition.oid == table.oid {
        return Ok(table.clone());
    }
    let definition = &target.definition;
    if !matches!(definition.kind, TableKind::Shared) {
        let message = format!("referenced relation \"{}\" is not a table", definition.name);
        return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
    }
    if definition.persistence.is_temporary() != table.persistence.is_temporary() {
        let (own, other) =
            if table.persistence.is_temporary() { ("temporary", "temporary") } else { ("permanent", "permanent") };
        let message = format!("constraints on {own} tables may reference only {other} tables");
        return Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message));
    }
    Ok(definition.clone())
}

/// The unique index that is referred to, and the columns in the order of the key.
fn referred(target: &TableDefinition, given: &ast::ForeignKeyConstraint, count: usize) -> Result<(Oid, Vec<usize>)> {
    let mismatch = || {
        let message = "number of referencing and referenced columns for foreign key disagree";
        SqlError::new(SqlState::INVALID_FOREIGN_KEY, message)
    };
    if given.referred_columns.is_empty() {
        let Some(key) = &target.primary_key else {
            if target.has_key() {
                let message = format!("cannot use a deferrable primary key for referenced table \"{}\"", target.name);
                return Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
            }
            let message = format!("there is no primary key for referenced table \"{}\"", target.name);
            return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
        };
        return if key.columns.len() == count { Ok((key.index_oid, key.columns.clone())) } else { Err(mismatch()) };
    }
    let mut positions = Vec::with_capacity(count);
    for column in &given.referred_columns {
        let column = fold(column);
        let position = target.column_index(&column).ok_or_else(|| {
            let message = format!("column \"{column}\" referenced in foreign key constraint does not exist");
            SqlError::new(SqlState::UNDEFINED_COLUMN, message)
        })?;
        positions.push(position);
    }
    if positions.len() != count {
        return Err(mismatch());
    }
    let distinct: HashSet<usize> = positions.iter().copied().collect();
    let matches = |index: &IndexDefinition| {
        let columns: Option<HashSet<usize>> = index.plain_columns().map(|c| c.into_iter().collect());
        distinct.len() == positions.len()
            && index.unique
            && index.predicate.is_none()
            && columns.as_ref() == Some(&distinct)
    };
    let found: Vec<IndexDefinition> = target.all_indexes().into_iter().filter(matches).collect();
    match found.iter().find(|i| i.immediate) {
        Some(index) => Ok((index.oid, positions)),
        None if !found.is_empty() => Err(SqlError::new(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("cannot use a deferrable unique constraint for referenced table \"{}\"", target.name),
        )),
        None => Err(SqlError::new(
            SqlState::INVALID_FOREIGN_KEY,
            format!("there is no unique constraint matching given keys for referenced table \"{}\"", target.name),
        )),
    }
}

/// 42804 for columns that have no equality in common.
pub(super) fn check_comparable(
    name: &str,
    column: &kalamdb_catalog::ColumnDefinition,
    referred: &kalamdb_catalog::ColumnDefinition,
) -> Result<()> {
    let integer = |ty| matches!(ty, PgType::INT2 | PgType::INT4 | PgType::INT8);
    let float = |ty| matches!(ty, PgType::FLOAT4 | PgType::FLOAT8);
    let (from, to) = (column.ty, referred.ty);
    let comparable = from == to
        || (integer(from) && integer(to))
        || (float(from) && float(to))
        || cast_path(from, to, CastContext::Implicit).is_some();
    if comparable {
        return Ok(());
    }
    Err(SqlError::new(SqlState::DATATYPE_MISMATCH, format!("foreign key constraint \"{name}\" cannot be implemented"))
        .detail(format!(
            "Key columns \"{}\" and \"{}\" are of incompatible types: {} and {}.",
            column.name,
            referred.name,
            from.display(column.typmod),
            to.display(referred.typmod)
        )))
}

fn action(given: Option<&ReferentialAction>) -> ForeignAction {
    match given {
        Some(ReferentialAction::Restrict) => ForeignAction::Restrict,
        Some(ReferentialAction::Cascade) => ForeignAction::Cascade,
        Some(ReferentialAction::SetNull) => ForeignAction::SetNull,
        Some(ReferentialAction::SetDefault) => ForeignAction::SetDefault,
        Some(ReferentialAction::NoAction) | None => ForeignAction::NoAction,
    }
}

/// 42601 for what cannot be done to a generated column.
fn check_actions(table: &TableDefinition, columns: &[usize], given: &ast::ForeignKeyConstraint) -> Result<()> {
    if !columns.iter().any(|c| table.columns[*c].is_stored()) {
        return Ok(());
    }
    for (on, action) in [("UPDATE", action(given.on_update.as_ref())), ("DELETE", action(given.on_delete.as_ref()))] {
        let refused = matches!(action, ForeignAction::SetNull | ForeignAction::SetDefault)
            || (on == "UPDATE" && action == ForeignAction::Cascade);
        if refused {
            let message = format!("invalid ON {on} action for foreign key constraint containing generated column");
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
        }
    }
    Ok(())
}

/// Reads the rows that are there: 23514 or 23503 if one breaks the constraint.
pub(crate) async fn validate(session: &mut Session, table: &TableDefinition, constraint: &Constraint) -> Result<()> {
    match &constraint.kind {
        ConstraintKind::Check(condition, _) => {
            let (schema, name) = (schema_of(&session.context().catalog(), table), &constraint.name);
            let sql = format!("SELECT 1 FROM {} WHERE NOT ({condition}) LIMIT 1", qualified(&schema, &table.name));
            if internal::any_row_of_newest(session, &sql, &[]).await? {
                let message =
                    format!("check constraint \"{name}\" of relation \"{}\" is violated by some row", table.name);
                return Err(SqlError::new(SqlState::CHECK_VIOLATION, message)
                    .table(schema, &table.name)
                    .constraint(name));
            }
            Ok(())
        }
        ConstraintKind::Foreign(key) => validate_foreign(session, table, constraint, key).await,
        ConstraintKind::Primary(..) | ConstraintKind::Unique(_) => Ok(()),
    }
}

async fn validate_foreign(
    session: &mut Session,
    table: &TableDefinition,
    constraint: &Constraint,
    key: &ForeignKey,
) -> Result<()> {
    let catalog = session.context().catalog();
    let target = catalog.table(key.target).ok_or_else(|| SqlError::internal("a foreign key refers to nothing"))?;
    let own = qualified(&schema_of(&catalog, table), &table.name);
    let other = qualified(&schema_of(&catalog, &target.definition), &target.definition.name);
    let column = |relation: &str, name: &str| format!("{relation}.{}", quote_ident(name));
    let of_own: Vec<String> = key.columns.iter().map(|c| column("fk", &table.columns[*c].name)).collect();
    let of_target: Vec<String> =
        key.target_columns.iter().map(|c| column("pk", &target.definition.columns[*c].name)).collect();
    let equal: Vec<String> = of_own.iter().zip(&of_target).map(|(a, b)| format!("{a} = {b}")).collect();
    let given: Vec<String> = of_own.iter().map(|c| format!("{c} IS NOT NULL")).collect();
    let given = given.join(if key.full { " OR " } else { " AND " });
    let shown: Vec<String> = of_own.iter().map(|c| format!("coalesce({c}::text, 'null')")).collect();
    let sql = format!(
        "SELECT concat_ws(', ', {}), {} FROM {own} AS fk LEFT JOIN {other} AS pk ON {} WHERE {} IS NULL AND ({given}) LIMIT 1",
        shown.join(", "),
        of_own.iter().map(|c| format!("{c} IS NULL")).collect::<Vec<_>>().join(" OR "),
        equal.join(" AND "),
        of_target[0],
    );
    let Some(values) = internal::first_text(session, &sql).await? else { return Ok(()) };
    let name = &constraint.name;
    let names: Vec<&str> = key.columns.iter().map(|c| table.columns[*c].name.as_str()).collect();
    let message = format!("insert or update on table \"{}\" violates foreign key constraint \"{name}\"", table.name);
    let mixed = key.full && values.1;
    let detail = if mixed {
        "MATCH FULL does not allow mixing of null and nonnull key values.".to_owned()
    } else {
        format!("Key ({})=({}) is not present in table \"{}\".", names.join(", "), values.0, target.definition.name)
    };
    Err(SqlError::new(SqlState::FOREIGN_KEY_VIOLATION, message)
        .detail(detail)
        .table(schema_of(&catalog, table), &table.name)
        .constraint(name))
}

fn schema_of(catalog: &Catalog, table: &TableDefinition) -> String {
    catalog.schema(table.schema).map_or_else(String::new, |s| s.name.clone())
}

/// The longest name, in bytes.
const NAME_MAX: usize = 63;

/// `first_second_label`, the two shortened so that it fits (indexcmds.c, makeObjectName).
pub(crate) fn object_name(first: &str, second: Option<&str>, label: &str) -> String {
    let overhead = label.len() + 1 + usize::from(second.is_some());
    let room = NAME_MAX.saturating_sub(overhead);
    let (mut a, mut b) = (first.len(), second.map_or(0, str::len));
    while a + b > room {
        if a > b { a -= 1 } else { b -= 1 }
    }
    let cut = |text: &str, len: usize| {
        let end = (0..=len).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text[..end].to_owned()
    };
    let first = cut(first, a);
    match second {
        Some(second) => format!("{first}_{}_{label}", cut(second, b)),
        None => format!("{first}_{label}"),
    }
}

/// A name of that kind that no constraint of the schema has.
pub(crate) fn free_constraint_name(
    session: &Session,
    table: &TableDefinition,
    second: Option<&str>,
    label: &str,
) -> String {
    let catalog = session.context().catalog();
    let taken = |name: &str| {
        let has = |t: &TableDefinition| t.all_constraints().iter().any(|c| c.name == name);
        has(table) || catalog.tables().any(|t| t.definition.schema == table.schema && has(&t.definition))
    };
    numbered(&table.name, second, label, taken)
}

/// A name of that kind that no relation of the schema has.
pub(crate) fn free_relation_name(
    session: &Session,
    table: &TableDefinition,
    second: Option<&str>,
    label: &str,
) -> String {
    let own = |name: &str| {
        table.name == name
            || table.indexes.iter().any(|i| i.name == name)
            || table.primary_key.as_ref().is_some_and(|k| k.name == name)
    };
    numbered(&table.name, second, label, |name| own(name) || is_taken(session, table.schema, name))
}

fn numbered(first: &str, second: Option<&str>, label: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut name = object_name(first, second, label);
    let mut n = 0;
    while taken(&name) {
        n += 1;
        name = object_name(first, second, &format!("{label}{n}"));
    }
    name
}

/// The tables, besides its own, that a constraint is about: they must not change meanwhile.
pub(crate) fn other_table(session: &Session, table: Oid, constraint: &Constraint) -> Option<Arc<CachedTableData>> {
    let target = constraint.foreign_key()?.target;
    session.context().catalog().table(target).filter(|t| t.definition.oid != table).cloned()
}

/// SET CONSTRAINTS: what is not deferred any more is looked at now.
pub(crate) async fn set(session: &mut Session, names: &[ast::ObjectName], deferred: bool) -> Result<Response> {
    if !session.in_block() {
        session.context().notice(SqlError::new(
            SqlState::NO_ACTIVE_SQL_TRANSACTION,
            "SET CONSTRAINTS can only be used in transaction blocks",
        ));
    }
    session.begin_utility()?;
    let mut named: HashSet<Oid> = HashSet::new();
    for name in names {
        named.extend(deferrable(session, name)?);
    }
    let modes = session.open_transaction()?.constraint_modes();
    if names.is_empty() {
        modes.set_all(deferred);
    }
    for constraint in &named {
        modes.set(*constraint, deferred);
    }
    if !deferred {
        super::foreign::deferred(session, (!names.is_empty()).then_some(&named)).await?;
    }
    complete("SET CONSTRAINTS")
}

/// The constraints of a name, in the first schema of the search path that has some: 42704 if there is none, 42809 for one that is
/// not deferrable.
fn deferrable(session: &Session, name: &ast::ObjectName) -> Result<Vec<Oid>> {
    let parts = name_parts(name)?;
    let wanted = parts.last().cloned().unwrap_or_default();
    let context = session.context();
    let catalog = context.catalog();
    let schemas: Vec<Oid> = match parts.as_slice() {
        [.., schema, _] => vec![super::ddl::named_schema(session, schema)?.oid],
        _ => path_schemas(&catalog, context.database, &search_path(context)),
    };
    for schema in schemas {
        let mut found = Vec::new();
        for table in catalog.tables().filter(|t| t.definition.schema == schema) {
            for constraint in table.definition.all_constraints().iter().filter(|c| c.name == wanted) {
                if constraint.deferrable {
                    found.push(constraint.oid);
                } else {
                    let message = format!("constraint \"{wanted}\" is not deferrable");
                    return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
                }
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Err(SqlError::new(SqlState::UNDEFINED_OBJECT, format!("constraint \"{wanted}\" does not exist")))
}
