//! information_schema (manual, chapter 37): the same catalog in the standard's words.

use std::sync::Arc;

use kalamdb_catalog::constraint::{Constraint, ConstraintKind};
use kalamdb_catalog::sequence::SequenceDefinition;
use kalamdb_catalog::table::{FIRST_USER_OID, Generated};
use kalamdb_catalog::types::numeric_typmod;
use kalamdb_catalog::{CachedTableData, ColumnDefinition, PgType, Result, TableDefinition, TableKind};

use super::{Rows, owned, relations, text};
use crate::session::SessionContext;
use crate::sql::deparse;
use crate::sql::handlers::sequence::in_default;
use crate::types::Value;

/// The relations of the database with the names of their schemas.
fn relations_with_schemas(session: &SessionContext) -> Vec<(String, Arc<CachedTableData>)> {
    let catalog = session.catalog();
    let name = |t: &CachedTableData| catalog.schema(t.definition.schema).map_or_else(String::new, |s| s.name.clone());
    relations::visible(session).into_iter().map(|t| (name(&t), t)).collect()
}

fn yes_or_no(value: bool) -> Value<'static> {
    text(if value { "YES" } else { "NO" })
}

/// A users' table: what INSERT takes.
fn insertable(t: &TableDefinition) -> bool {
    t.oid >= FIRST_USER_OID && matches!(t.kind, TableKind::Shared)
}

pub(super) fn tables(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    for (schema, table) in relations_with_schemas(session) {
        let t = &table.definition;
        let kind = match relations::relkind(t) {
            'S' => continue,
            'v' => "VIEW",
            _ if t.persistence.is_temporary() => "LOCAL TEMPORARY",
            _ => "BASE TABLE",
        };
        rows.push(&[
            ("table_catalog", text(&session.database_name)),
            ("table_schema", text(&schema)),
            ("table_name", text(&t.name)),
            ("table_type", text(kind)),
            ("is_insertable_into", yes_or_no(insertable(t))),
            ("is_typed", yes_or_no(false)),
            ("commit_action", if t.persistence.is_temporary() { text("PRESERVE") } else { Value::Null }),
        ])?;
    }
    Ok(())
}

pub(super) fn columns(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    for (schema, table) in relations_with_schemas(session) {
        if table.definition.sequence().is_some() {
            continue;
        }
        for (i, column) in table.definition.live_columns() {
            push_column(rows, session, &schema, &table.definition, i as i32 + 1, column)?;
        }
    }
    Ok(())
}

/// What the standard says of a type: character lengths, numeric precision, radix and scale, datetime precision.
#[derive(Default)]
struct TypeFacts {
    characters: Option<i32>,
    octets: Option<i32>,
    precision: Option<i32>,
    radix: Option<i32>,
    scale: Option<i32>,
    datetime: Option<i32>,
}

fn type_facts(ty: PgType, typmod: i32) -> TypeFacts {
    let none = TypeFacts::default();
    let binary = |bits, scale| TypeFacts { precision: Some(bits), radix: Some(2), scale, ..TypeFacts::default() };
    match ty {
        PgType::VARCHAR | PgType::BPCHAR if typmod >= 4 => {
            TypeFacts { characters: Some(typmod - 4), octets: Some((typmod - 4).saturating_mul(4)), ..none }
        }
        PgType::TEXT | PgType::VARCHAR | PgType::BPCHAR => TypeFacts { octets: Some(1 << 30), ..none },
        PgType::INT2 => binary(16, Some(0)),
        PgType::INT4 => binary(32, Some(0)),
        PgType::INT8 => binary(64, Some(0)),
        PgType::FLOAT4 => binary(24, None),
        PgType::FLOAT8 => binary(53, None),
        PgType::NUMERIC if typmod >= 4 => {
            let (precision, scale) = numeric_typmod(typmod);
            TypeFacts { precision: Some(precision), radix: Some(10), scale: Some(scale), ..none }
        }
        PgType::NUMERIC => TypeFacts { radix: Some(10), ..none },
        PgType::DATE => TypeFacts { datetime: Some(0), ..none },
        PgType::TIME | PgType::TIMESTAMP | PgType::TIMESTAMPTZ => {
            TypeFacts { datetime: Some(if typmod >= 0 { typmod } else { 6 }), ..none }
        }
        PgType::INTERVAL => {
            let precision = typmod & 0xFFFF;
            TypeFacts { datetime: Some(if typmod < 0 || precision == 0xFFFF { 6 } else { precision }), ..none }
        }
        _ => none,
    }
}

fn push_column(
    rows: &mut Rows<'_>,
    session: &SessionContext,
    schema: &str,
    t: &TableDefinition,
    number: i32,
    c: &ColumnDefinition,
) -> Result<()> {
    let default = c.default.as_deref().filter(|_| c.generated.is_none()).map(|d| deparse::default(d, session));
    let catalog = session.catalog();
    let sequence = c.default.as_deref().filter(|_| c.is_identity()).and_then(in_default);
    let sequence = sequence.and_then(|oid| catalog.table(oid)?.definition.sequence().cloned());
    let of_sequence =
        |f: fn(&SequenceDefinition) -> i64| sequence.as_ref().map_or(Value::Null, |s| owned(f(s).to_string()));
    let expression = c.default.as_deref().filter(|_| c.is_stored()).map(|sql| deparse::expression(t, sql, session));
    let facts = type_facts(c.ty, c.typmod);
    let int = |value: Option<i32>| value.map_or(Value::Null, Value::Int4);
    let database = || text(&session.database_name);
    rows.push(&[
        ("table_catalog", database()),
        ("table_schema", text(schema)),
        ("table_name", text(&t.name)),
        ("column_name", text(&c.name)),
        ("ordinal_position", Value::Int4(number)),
        ("column_default", default.map_or(Value::Null, owned)),
        ("is_nullable", yes_or_no(!c.not_null)),
        ("data_type", text(if c.ty.is_array() { "ARRAY" } else { c.ty.sql_name() })),
        ("character_maximum_length", int(facts.characters)),
        ("character_octet_length", int(facts.octets)),
        ("numeric_precision", int(facts.precision)),
        ("numeric_precision_radix", int(facts.radix)),
        ("numeric_scale", int(facts.scale)),
        ("datetime_precision", int(facts.datetime)),
        ("udt_catalog", database()),
        ("udt_schema", text("pg_catalog")),
        ("udt_name", text(c.ty.info().name)),
        ("dtd_identifier", owned(number.to_string())),
        ("is_self_referencing", yes_or_no(false)),
        ("is_identity", yes_or_no(c.is_identity())),
        (
            "identity_generation",
            match c.generated {
                Some(Generated::Always) => text("ALWAYS"),
                Some(Generated::ByDefault) => text("BY DEFAULT"),
                _ => Value::Null,
            },
        ),
        ("identity_start", of_sequence(|s| s.start)),
        ("identity_increment", of_sequence(|s| s.increment)),
        ("identity_maximum", of_sequence(|s| s.max)),
        ("identity_minimum", of_sequence(|s| s.min)),
        ("identity_cycle", yes_or_no(sequence.as_ref().is_some_and(|s| s.cycle))),
        ("is_generated", text(if c.is_stored() { "ALWAYS" } else { "NEVER" })),
        ("generation_expression", expression.map_or(Value::Null, owned)),
        ("is_updatable", yes_or_no(insertable(t))),
    ])
}

pub(super) fn schemata(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    for schema in session.catalog().schemas(session.database) {
        rows.push(&[
            ("catalog_name", text(&session.database_name)),
            ("schema_name", text(&schema.name)),
            ("schema_owner", text(&schema.owner)),
        ])?;
    }
    Ok(())
}

pub(super) fn views(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    for (schema, table) in relations_with_schemas(session) {
        let t = &table.definition;
        if relations::relkind(t) != 'v' {
            continue;
        }
        let definition = match &t.kind {
            TableKind::View { sql, .. } => owned(format!("{sql};")),
            _ => Value::Null,
        };
        rows.push(&[
            ("table_catalog", text(&session.database_name)),
            ("table_schema", text(&schema)),
            ("table_name", text(&t.name)),
            ("view_definition", definition),
            ("check_option", text("NONE")),
            ("is_updatable", yes_or_no(false)),
            ("is_insertable_into", yes_or_no(false)),
            ("is_trigger_updatable", yes_or_no(false)),
            ("is_trigger_deletable", yes_or_no(false)),
            ("is_trigger_insertable_into", yes_or_no(false)),
        ])?;
    }
    Ok(())
}

/// The columns that a PRIMARY KEY, UNIQUE or FOREIGN KEY is over.
fn key_columns(t: &TableDefinition, constraint: &Constraint) -> Vec<usize> {
    match &constraint.kind {
        ConstraintKind::Primary(_, columns) => columns.clone(),
        ConstraintKind::Unique(index) => t.index(*index).and_then(|i| i.plain_columns()).unwrap_or_default(),
        ConstraintKind::Foreign(key) => key.columns.clone(),
        ConstraintKind::Check(..) => Vec::new(),
    }
}

pub(super) fn key_column_usage(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    for (schema, table) in relations_with_schemas(session) {
        let t = &table.definition;
        for constraint in t.all_constraints() {
            for (i, column) in key_columns(t, &constraint).iter().enumerate() {
                rows.push(&[
                    ("constraint_catalog", text(&session.database_name)),
                    ("constraint_schema", text(&schema)),
                    ("constraint_name", text(&constraint.name)),
                    ("table_catalog", text(&session.database_name)),
                    ("table_schema", text(&schema)),
                    ("table_name", text(&t.name)),
                    ("column_name", text(&t.columns[*column].name)),
                    ("ordinal_position", Value::Int4(i as i32 + 1)),
                    ("position_in_unique_constraint", position_in_target(session, &constraint, i)),
                ])?;
            }
        }
    }
    Ok(())
}

/// Where the column that a foreign key's column refers to stands in its own key.
fn position_in_target(session: &SessionContext, constraint: &Constraint, at: usize) -> Value<'static> {
    let catalog = session.catalog();
    let found = constraint.foreign_key().and_then(|key| {
        let index = catalog.table(key.target)?.definition.index(key.index)?.plain_columns()?;
        index.iter().position(|c| *c == key.target_columns[at])
    });
    found.map_or(Value::Null, |p| Value::Int4(p as i32 + 1))
}

/// Constraints, and NOT NULL as the CHECK constraints the standard sees in it.
pub(super) fn table_constraints(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    for (schema, table) in relations_with_schemas(session) {
        let t = &table.definition;
        if relations::relkind(t) != 'r' {
            continue;
        }
        let distinct = |c: &Constraint| match &c.kind {
            ConstraintKind::Unique(index) => yes_or_no(!t.index(*index).is_some_and(|i| i.nulls_not_distinct)),
            _ => Value::Null,
        };
        let mut push = |name: &str, kind: &str, (deferrable, deferred): (bool, bool), distinct: Value<'static>| {
            rows.push(&[
                ("constraint_catalog", text(&session.database_name)),
                ("constraint_schema", text(&schema)),
                ("constraint_name", text(name)),
                ("table_catalog", text(&session.database_name)),
                ("table_schema", text(&schema)),
                ("table_name", text(&t.name)),
                ("constraint_type", text(kind)),
                ("is_deferrable", yes_or_no(deferrable)),
                ("initially_deferred", yes_or_no(deferred)),
                ("enforced", yes_or_no(true)),
                ("nulls_distinct", distinct),
            ])
        };
        for constraint in t.all_constraints() {
            let kind = match constraint.kind {
                ConstraintKind::Primary(..) => "PRIMARY KEY",
                ConstraintKind::Unique(_) => "UNIQUE",
                ConstraintKind::Check(..) => "CHECK",
                ConstraintKind::Foreign(_) => "FOREIGN KEY",
            };
            let deferral = (constraint.deferrable, constraint.deferred);
            push(&constraint.name, kind, deferral, distinct(&constraint))?;
        }
        for (i, _) in t.live_columns().filter(|(_, c)| c.not_null) {
            push(&format!("{}_{}_{}_not_null", t.schema, t.oid, i + 1), "CHECK", (false, false), Value::Null)?;
        }
    }
    Ok(())
}

pub(super) fn referential_constraints(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    let catalog = session.catalog();
    for (schema, table) in relations_with_schemas(session) {
        for constraint in &table.definition.constraints {
            let Some(key) = constraint.foreign_key() else { continue };
            let Some(target) = catalog.table(key.target) else { continue };
            let unique = target.definition.constraint_of_index(key.index);
            let of_target = catalog.schema(target.definition.schema).map_or_else(String::new, |s| s.name.clone());
            let named = |value: Value<'static>| if unique.is_some() { value } else { Value::Null };
            rows.push(&[
                ("constraint_catalog", text(&session.database_name)),
                ("constraint_schema", text(&schema)),
                ("constraint_name", text(&constraint.name)),
                ("unique_constraint_catalog", named(owned(session.database_name.clone()))),
                ("unique_constraint_schema", named(owned(of_target))),
                ("unique_constraint_name", unique.as_ref().map_or(Value::Null, |c| owned(c.name.clone()))),
                ("match_option", text(if key.full { "FULL" } else { "NONE" })),
                ("update_rule", text(key.on_update.sql())),
                ("delete_rule", text(key.on_delete.sql())),
            ])?;
        }
    }
    Ok(())
}

pub(super) fn check_constraints(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    for (schema, table) in relations_with_schemas(session) {
        let t = &table.definition;
        if relations::relkind(t) != 'r' {
            continue;
        }
        let mut push = |name: &str, clause: String| {
            rows.push(&[
                ("constraint_catalog", text(&session.database_name)),
                ("constraint_schema", text(&schema)),
                ("constraint_name", text(name)),
                ("check_clause", owned(clause)),
            ])
        };
        for constraint in &t.constraints {
            if let ConstraintKind::Check(sql, _) = &constraint.kind {
                push(&constraint.name, format!("({})", deparse::expression(t, sql, session)))?;
            }
        }
        for (i, column) in t.live_columns().filter(|(_, c)| c.not_null) {
            push(&format!("{}_{}_{}_not_null", t.schema, t.oid, i + 1), format!("{} IS NOT NULL", column.name))?;
        }
    }
    Ok(())
}

/// The columns that a constraint is about; of a foreign key, those it refers to.
pub(super) fn constraint_column_usage(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    let catalog = session.catalog();
    for (schema, table) in relations_with_schemas(session) {
        for constraint in table.definition.all_constraints() {
            let (of, columns) = match &constraint.kind {
                ConstraintKind::Foreign(key) => match catalog.table(key.target) {
                    Some(target) => (Arc::clone(target), key.target_columns.clone()),
                    None => continue,
                },
                ConstraintKind::Check(_, columns) => (Arc::clone(&table), columns.clone()),
                _ => (Arc::clone(&table), key_columns(&table.definition, &constraint)),
            };
            let of_schema = catalog.schema(of.definition.schema).map_or_else(String::new, |s| s.name.clone());
            for column in columns {
                rows.push(&[
                    ("table_catalog", text(&session.database_name)),
                    ("table_schema", text(&of_schema)),
                    ("table_name", text(&of.definition.name)),
                    ("column_name", text(&of.definition.columns[column].name)),
                    ("constraint_catalog", text(&session.database_name)),
                    ("constraint_schema", text(&schema)),
                    ("constraint_name", text(&constraint.name)),
                ])?;
            }
        }
    }
    Ok(())
}
