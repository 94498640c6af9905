//! pg_class and what hangs on it: attributes, defaults, indexes, constraints, rules, dependencies.

use std::sync::Arc;

use kalamdb_catalog::builtin::{self, types::type_io};
use kalamdb_catalog::catalog::PG_CATALOG_OID;
use kalamdb_catalog::table::FIRST_USER_OID;
use kalamdb_catalog::{CachedTableData, Catalog, ColumnDefinition, Oid, PgType, Result, TableDefinition, TableKind};

use super::constants::btree_class;
use super::{Hint, Rows, int2s, letter, oids, owned, roles, text, texts};
use crate::session::SessionContext;
use crate::types::Value;

/// Access methods.
const HEAP: Oid = 2;
const BTREE: Oid = 403;

/// pg_class.oid of the catalogs that pg_depend refers to.
const PG_CLASS: Oid = 1259;
const PG_TYPE: Oid = 1247;
const PG_ATTRDEF: Oid = 2604;
const PG_CONSTRAINT: Oid = 2606;
const PG_REWRITE: Oid = 2618;
const PG_NAMESPACE: Oid = 2615;

/// The relations of the session's database, by OID.
pub(super) fn visible(session: &SessionContext) -> Vec<Arc<CachedTableData>> {
    let catalog = session.catalog();
    let mut found: Vec<_> = catalog.tables().filter(|t| in_database(&catalog, t, session)).cloned().collect();
    found.sort_by_key(|t| t.definition.oid);
    found
}

fn in_database(catalog: &Catalog, table: &CachedTableData, session: &SessionContext) -> bool {
    let schema = catalog.schema(table.definition.schema);
    schema.is_some_and(|s| s.database == 0 || s.database == session.database)
}

/// The relations that a hint on `column`, a relation's OID, leaves: the relation itself or the one whose index it is.
fn candidates(hint: &Hint<'_>, column: &str, session: &SessionContext) -> Vec<Arc<CachedTableData>> {
    let Some((_, oid)) = hint.oid.filter(|(c, _)| *c == column) else {
        return visible(session);
    };
    let catalog = session.catalog();
    if let Some(table) = catalog.table(oid) {
        return if in_database(&catalog, table, session) { vec![table.clone()] } else { Vec::new() };
    }
    let owner = catalog.table_of_index(oid).filter(|t| in_database(&catalog, t, session));
    owner.cloned().into_iter().collect()
}

/// pg_class.relkind
pub(super) fn relkind(table: &TableDefinition) -> char {
    match table.kind {
        TableKind::View { .. } => 'v',
        TableKind::Shared | TableKind::System => 'r',
        TableKind::Virtual(_) => builtin::table_by_oid(table.oid).map_or('r', |b| b.relkind),
    }
}

pub(super) fn pg_class(rows: &mut Rows<'_>, hint: &Hint<'_>, session: &SessionContext) -> Result<()> {
    for table in candidates(hint, "oid", session) {
        let t = &table.definition;
        if hint.admits_oid("oid", t.oid) && hint.admits_name("relname", &t.name) {
            push_relation(rows, t)?;
        }
        if let Some(key) = &t.primary_key
            && hint.admits_oid("oid", key.index_oid)
            && hint.admits_name("relname", &key.name)
        {
            push_index(rows, t, key.index_oid, &key.name, key.columns.len())?;
        }
    }
    Ok(())
}

fn push_relation(rows: &mut Rows<'_>, t: &TableDefinition) -> Result<()> {
    let kind = relkind(t);
    let stored = kind == 'r';
    let ident = if t.oid >= FIRST_USER_OID && stored { 'd' } else { 'n' };
    let options = (!t.options.is_empty()).then(|| texts(t.options.iter().map(|(k, v)| format!("{k}={v}"))));
    rows.push(&[
        ("oid", Value::Oid(t.oid)),
        ("relname", text(&t.name)),
        ("relnamespace", Value::Oid(t.schema)),
        ("reltype", Value::Oid(t.row_type_oid)),
        ("relowner", Value::Oid(roles::oid(&t.owner))),
        ("relam", Value::Oid(if stored { HEAP } else { 0 })),
        ("relfilenode", Value::Oid(if stored { t.oid } else { 0 })),
        ("reltuples", Value::Float4(-1.0)),
        ("relhasindex", Value::Bool(t.primary_key.is_some())),
        ("relpersistence", letter('p')),
        ("relkind", letter(kind)),
        ("relnatts", Value::Int2(t.columns.len() as i16)),
        ("relhasrules", Value::Bool(kind == 'v')),
        ("relispopulated", Value::Bool(true)),
        ("relreplident", letter(ident)),
        ("reloptions", options.unwrap_or(Value::Null)),
    ])
}

fn push_index(rows: &mut Rows<'_>, t: &TableDefinition, oid: Oid, name: &str, columns: usize) -> Result<()> {
    rows.push(&[
        ("oid", Value::Oid(oid)),
        ("relname", text(name)),
        ("relnamespace", Value::Oid(t.schema)),
        ("relowner", Value::Oid(roles::oid(&t.owner))),
        ("relam", Value::Oid(BTREE)),
        ("relfilenode", Value::Oid(oid)),
        ("relpersistence", letter('p')),
        ("relkind", letter('i')),
        ("relnatts", Value::Int2(columns as i16)),
        ("relispopulated", Value::Bool(true)),
        ("relreplident", letter('n')),
    ])
}

/// The columns every stored table has: name, type, attribute number.
const SYSTEM_COLUMNS: [(&str, PgType, i16); 6] = [
    ("tableoid", PgType::OID, -6),
    ("cmax", PgType::CID, -5),
    ("xmax", PgType::XID, -4),
    ("cmin", PgType::CID, -3),
    ("xmin", PgType::XID, -2),
    ("ctid", PgType::TID, -1),
];

/// A row of pg_attribute as far as it differs between columns.
struct Attribute<'a> {
    relation: Oid,
    number: i16,
    name: &'a str,
    ty: PgType,
    typmod: i32,
    not_null: bool,
    has_default: bool,
    has_missing: bool,
    dropped: bool,
}

pub(super) fn pg_attribute(rows: &mut Rows<'_>, hint: &Hint<'_>, session: &SessionContext) -> Result<()> {
    for table in candidates(hint, "attrelid", session) {
        let t = &table.definition;
        if hint.admits_oid("attrelid", t.oid) {
            if relkind(t) == 'r' {
                for (name, ty, number) in SYSTEM_COLUMNS {
                    push_attribute(rows, hint, &plain(t.oid, number, name, ty, -1, true))?;
                }
            }
            for (i, column) in t.columns.iter().enumerate() {
                push_column(rows, hint, t.oid, i as i16 + 1, column)?;
            }
        }
        if let Some(key) = t.primary_key.as_ref().filter(|k| hint.admits_oid("attrelid", k.index_oid)) {
            for (i, position) in key.columns.iter().enumerate() {
                let c = &t.columns[*position];
                push_attribute(rows, hint, &plain(key.index_oid, i as i16 + 1, &c.name, c.ty, c.typmod, false))?;
            }
        }
    }
    Ok(())
}

fn plain(relation: Oid, number: i16, name: &str, ty: PgType, typmod: i32, not_null: bool) -> Attribute<'_> {
    Attribute { relation, number, name, ty, typmod, not_null, has_default: false, has_missing: false, dropped: false }
}

fn push_column(rows: &mut Rows<'_>, hint: &Hint<'_>, relation: Oid, number: i16, c: &ColumnDefinition) -> Result<()> {
    let dropped_name = format!("........pg.dropped.{number}........");
    push_attribute(
        rows,
        hint,
        &Attribute {
            name: if c.dropped { &dropped_name } else { &c.name },
            not_null: c.not_null && !c.dropped,
            has_default: c.default.is_some() && !c.dropped,
            has_missing: c.missing.is_some() && !c.dropped,
            dropped: c.dropped,
            ..plain(relation, number, "", c.ty, c.typmod, false)
        },
    )
}

fn push_attribute(rows: &mut Rows<'_>, hint: &Hint<'_>, a: &Attribute<'_>) -> Result<()> {
    if !hint.admits_name("attname", a.name) {
        return Ok(());
    }
    let info = a.ty.info();
    let io = type_io(a.ty.oid());
    rows.push(&[
        ("attrelid", Value::Oid(a.relation)),
        ("attname", text(a.name)),
        ("atttypid", Value::Oid(if a.dropped { 0 } else { a.ty.oid() })),
        ("attstattarget", Value::Int4(if a.number < 0 || a.dropped { 0 } else { -1 })),
        ("attlen", Value::Int2(info.len)),
        ("attnum", Value::Int2(a.number)),
        ("attndims", Value::Int4(i32::from(a.ty.is_array()))),
        ("attcacheoff", Value::Int4(-1)),
        ("atttypmod", Value::Int4(a.typmod)),
        ("attbyval", Value::Bool(info.by_value)),
        ("attalign", letter(info.align)),
        ("attstorage", letter(io.map_or('p', |t| t.storage))),
        ("attnotnull", Value::Bool(a.not_null)),
        ("atthasdef", Value::Bool(a.has_default)),
        ("atthasmissing", Value::Bool(a.has_missing)),
        ("attisdropped", Value::Bool(a.dropped)),
        ("attislocal", Value::Bool(true)),
        ("attcollation", Value::Oid(io.map_or(0, |t| t.collation))),
    ])
}

pub(super) fn pg_attrdef(rows: &mut Rows<'_>, hint: &Hint<'_>, session: &SessionContext) -> Result<()> {
    for table in candidates(hint, "adrelid", session) {
        for (i, column) in table.definition.live_columns() {
            let Some(default) = &column.default else { continue };
            rows.push(&[
                ("oid", Value::Oid(column.default_oid)),
                ("adrelid", Value::Oid(table.definition.oid)),
                ("adnum", Value::Int2(i as i16 + 1)),
                ("adbin", text(default)),
            ])?;
        }
    }
    Ok(())
}

pub(super) fn pg_index(rows: &mut Rows<'_>, hint: &Hint<'_>, session: &SessionContext) -> Result<()> {
    let column = hint.oid.map_or("indrelid", |(c, _)| c);
    for table in candidates(hint, if column == "indexrelid" { column } else { "indrelid" }, session) {
        let t = &table.definition;
        let Some(key) = &t.primary_key else { continue };
        let types = || key.columns.iter().map(|c| t.columns[*c].ty.oid());
        rows.push(&[
            ("indexrelid", Value::Oid(key.index_oid)),
            ("indrelid", Value::Oid(t.oid)),
            ("indnatts", Value::Int2(key.columns.len() as i16)),
            ("indnkeyatts", Value::Int2(key.columns.len() as i16)),
            ("indisunique", Value::Bool(true)),
            ("indisprimary", Value::Bool(true)),
            ("indimmediate", Value::Bool(true)),
            ("indisvalid", Value::Bool(true)),
            ("indisready", Value::Bool(true)),
            ("indislive", Value::Bool(true)),
            ("indkey", int2s(key.columns.iter().map(|c| *c as i16 + 1))),
            ("indcollation", oids(types().map(|ty| type_io(ty).map_or(0, |t| t.collation)))),
            ("indclass", oids(types().map(btree_class))),
            ("indoption", int2s(key.columns.iter().map(|_| 0))),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_constraint(rows: &mut Rows<'_>, hint: &Hint<'_>, session: &SessionContext) -> Result<()> {
    for table in candidates(hint, "conrelid", session) {
        let t = &table.definition;
        let Some(key) = &t.primary_key else { continue };
        if !hint.admits_oid("oid", key.constraint_oid) || !hint.admits_name("conname", &key.name) {
            continue;
        }
        rows.push(&[
            ("oid", Value::Oid(key.constraint_oid)),
            ("conname", text(&key.name)),
            ("connamespace", Value::Oid(t.schema)),
            ("contype", letter('p')),
            ("convalidated", Value::Bool(true)),
            ("conrelid", Value::Oid(t.oid)),
            ("conindid", Value::Oid(key.index_oid)),
            ("confupdtype", text(" ")),
            ("confdeltype", text(" ")),
            ("confmatchtype", text(" ")),
            ("conislocal", Value::Bool(true)),
            ("connoinherit", Value::Bool(true)),
            ("conkey", int2s(key.columns.iter().map(|c| *c as i16 + 1))),
        ])?;
    }
    Ok(())
}

/// A view's rule has the OID of the view: rules have an OID space of their own.
pub(super) fn pg_rewrite(rows: &mut Rows<'_>, hint: &Hint<'_>, session: &SessionContext) -> Result<()> {
    for table in candidates(hint, "ev_class", session) {
        let t = &table.definition;
        let TableKind::View { sql, .. } = &t.kind else { continue };
        rows.push(&[
            ("oid", Value::Oid(t.oid)),
            ("rulename", text("_RETURN")),
            ("ev_class", Value::Oid(t.oid)),
            ("ev_type", letter('1')),
            ("ev_enabled", letter('O')),
            ("is_instead", Value::Bool(true)),
            ("ev_qual", text("<>")),
            ("ev_action", text(sql)),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_depend(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    for table in visible(session) {
        let t = &table.definition;
        if t.oid < FIRST_USER_OID {
            continue;
        }
        let mut depend = |object: (Oid, Oid, i32), on: (Oid, Oid, i32), kind: char| {
            rows.push(&[
                ("classid", Value::Oid(object.0)),
                ("objid", Value::Oid(object.1)),
                ("objsubid", Value::Int4(object.2)),
                ("refclassid", Value::Oid(on.0)),
                ("refobjid", Value::Oid(on.1)),
                ("refobjsubid", Value::Int4(on.2)),
                ("deptype", letter(kind)),
            ])
        };
        let this = (PG_CLASS, t.oid, 0);
        depend((PG_TYPE, t.row_type_oid, 0), this, 'i')?;
        depend((PG_TYPE, t.row_type_oid + 1, 0), (PG_TYPE, t.row_type_oid, 0), 'i')?;
        depend(this, (PG_NAMESPACE, t.schema, 0), 'n')?;
        for (i, column) in t.live_columns().filter(|(_, c)| c.default.is_some()) {
            depend((PG_ATTRDEF, column.default_oid, 0), (PG_CLASS, t.oid, i as i32 + 1), 'a')?;
        }
        if let Some(key) = &t.primary_key {
            for column in &key.columns {
                depend((PG_CONSTRAINT, key.constraint_oid, 0), (PG_CLASS, t.oid, *column as i32 + 1), 'a')?;
            }
            depend((PG_CLASS, key.index_oid, 0), (PG_CONSTRAINT, key.constraint_oid, 0), 'i')?;
        }
        if let TableKind::View { depends_on, .. } = &t.kind {
            let rule = (PG_REWRITE, t.oid, 0);
            depend(rule, this, 'i')?;
            depend(rule, this, 'n')?;
            for base in depends_on {
                for column in &base.columns {
                    depend(rule, (PG_CLASS, base.oid, i32::from(*column)), 'n')?;
                }
            }
        }
    }
    Ok(())
}

pub(super) fn pg_stat_user_tables(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    let catalog = session.catalog();
    for table in visible(session) {
        let t = &table.definition;
        if t.oid < FIRST_USER_OID || t.schema == PG_CATALOG_OID || relkind(t) != 'r' {
            continue;
        }
        let schema = catalog.schema(t.schema).map_or_else(String::new, |s| s.name.clone());
        rows.push(&[("relid", Value::Oid(t.oid)), ("schemaname", owned(schema)), ("relname", text(&t.name))])?;
    }
    Ok(())
}
