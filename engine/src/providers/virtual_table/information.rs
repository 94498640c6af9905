//! information_schema (manual, chapter 37): the same catalog in the standard's words.

use std::sync::Arc;

use kalamdb_catalog::table::FIRST_USER_OID;
use kalamdb_catalog::types::numeric_typmod;
use kalamdb_catalog::{CachedTableData, ColumnDefinition, PgType, Result, TableDefinition, TableKind};

use super::{Rows, owned, relations, text};
use crate::session::SessionContext;
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
        rows.push(&[
            ("table_catalog", text(&session.database_name)),
            ("table_schema", text(&schema)),
            ("table_name", text(&t.name)),
            ("table_type", text(if relations::relkind(t) == 'v' { "VIEW" } else { "BASE TABLE" })),
            ("is_insertable_into", yes_or_no(insertable(t))),
            ("is_typed", yes_or_no(false)),
        ])?;
    }
    Ok(())
}

pub(super) fn columns(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    for (schema, table) in relations_with_schemas(session) {
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
    let facts = type_facts(c.ty, c.typmod);
    let int = |value: Option<i32>| value.map_or(Value::Null, Value::Int4);
    let database = || text(&session.database_name);
    rows.push(&[
        ("table_catalog", database()),
        ("table_schema", text(schema)),
        ("table_name", text(&t.name)),
        ("column_name", text(&c.name)),
        ("ordinal_position", Value::Int4(number)),
        ("column_default", c.default.as_deref().map_or(Value::Null, text)),
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
        ("is_identity", yes_or_no(false)),
        ("identity_cycle", yes_or_no(false)),
        ("is_generated", text("NEVER")),
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
            TableKind::Virtual(_) | TableKind::Shared | TableKind::System => Value::Null,
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

pub(super) fn key_column_usage(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    for (schema, table) in relations_with_schemas(session) {
        let t = &table.definition;
        let Some(key) = &t.primary_key else { continue };
        for (i, column) in key.columns.iter().enumerate() {
            rows.push(&[
                ("constraint_catalog", text(&session.database_name)),
                ("constraint_schema", text(&schema)),
                ("constraint_name", text(&key.name)),
                ("table_catalog", text(&session.database_name)),
                ("table_schema", text(&schema)),
                ("table_name", text(&t.name)),
                ("column_name", text(&t.columns[*column].name)),
                ("ordinal_position", Value::Int4(i as i32 + 1)),
            ])?;
        }
    }
    Ok(())
}

/// Primary keys, and NOT NULL as the CHECK constraints the standard sees in it.
pub(super) fn table_constraints(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    for (schema, table) in relations_with_schemas(session) {
        let t = &table.definition;
        if relations::relkind(t) != 'r' {
            continue;
        }
        let mut push = |name: &str, kind: &str| {
            rows.push(&[
                ("constraint_catalog", text(&session.database_name)),
                ("constraint_schema", text(&schema)),
                ("constraint_name", text(name)),
                ("table_catalog", text(&session.database_name)),
                ("table_schema", text(&schema)),
                ("table_name", text(&t.name)),
                ("constraint_type", text(kind)),
                ("is_deferrable", yes_or_no(false)),
                ("initially_deferred", yes_or_no(false)),
                ("enforced", yes_or_no(true)),
            ])
        };
        if let Some(key) = &t.primary_key {
            push(&key.name, "PRIMARY KEY")?;
        }
        for (i, _) in t.live_columns().filter(|(_, c)| c.not_null) {
            push(&format!("{}_{}_{}_not_null", t.schema, t.oid, i + 1), "CHECK")?;
        }
    }
    Ok(())
}
