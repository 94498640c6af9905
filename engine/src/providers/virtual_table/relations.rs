//! pg_class and what hangs on it: attributes, defaults, indexes, constraints, rules, dependencies.

use std::sync::Arc;

use kalamdb_catalog::builtin::{self, types::type_io};
use kalamdb_catalog::catalog::PG_CATALOG_OID;
use kalamdb_catalog::constraint::{Constraint, ConstraintKind, ForeignKey};
use kalamdb_catalog::index::{IndexDefinition, IndexKey};
use kalamdb_catalog::table::FIRST_USER_OID;
use kalamdb_catalog::table::Generated;
use kalamdb_catalog::{CachedTableData, Catalog, ColumnDefinition, Oid, PgType, Result, TableDefinition, TableKind};

use super::constants::btree_class;
use super::{Hint, Rows, int2s, letter, oids, owned, roles, text, texts};
use crate::session::SessionContext;
use crate::sql::deparse;
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
        TableKind::Sequence(_) => 'S',
        TableKind::Virtual(_) => builtin::table_by_oid(table.oid).map_or('r', |b| b.relkind),
    }
}

pub(super) fn pg_class(rows: &mut Rows<'_>, hint: &Hint<'_>, session: &SessionContext) -> Result<()> {
    for table in candidates(hint, "oid", session) {
        let t = &table.definition;
        if hint.admits_oid("oid", t.oid) && hint.admits_name("relname", &t.name) {
            push_relation(rows, t)?;
        }
        for index in t.all_indexes() {
            if hint.admits_oid("oid", index.oid) && hint.admits_name("relname", &index.name) {
                push_index(rows, t, &index)?;
            }
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
        ("relfilenode", Value::Oid(if stored || kind == 'S' { t.oid } else { 0 })),
        ("reltuples", Value::Float4(-1.0)),
        ("relhasindex", Value::Bool(t.primary_key.is_some() || !t.indexes.is_empty())),
        ("relpersistence", letter(t.persistence.letter())),
        ("relkind", letter(kind)),
        ("relnatts", Value::Int2(t.columns.len() as i16)),
        ("relchecks", Value::Int2(checks(t) as i16)),
        ("relhasrules", Value::Bool(kind == 'v')),
        ("relispopulated", Value::Bool(true)),
        ("relreplident", letter(ident)),
        ("reloptions", options.unwrap_or(Value::Null)),
    ])
}

fn checks(t: &TableDefinition) -> usize {
    t.constraints.iter().filter(|c| matches!(c.kind, ConstraintKind::Check(..))).count()
}

fn push_index(rows: &mut Rows<'_>, t: &TableDefinition, index: &IndexDefinition) -> Result<()> {
    let options = texts(index.options.iter().map(|(k, v)| format!("{k}={v}")));
    rows.push(&[
        ("oid", Value::Oid(index.oid)),
        ("relname", text(&index.name)),
        ("relnamespace", Value::Oid(t.schema)),
        ("relowner", Value::Oid(roles::oid(&t.owner))),
        ("relam", Value::Oid(BTREE)),
        ("relfilenode", Value::Oid(index.oid)),
        ("relpersistence", letter(t.persistence.letter())),
        ("relkind", letter('i')),
        ("relnatts", Value::Int2((index.columns.len() + index.include.len()) as i16)),
        ("relispopulated", Value::Bool(true)),
        ("relreplident", letter('n')),
        ("reloptions", if index.options.is_empty() { Value::Null } else { options }),
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
    /// attidentity, attgenerated
    identity: &'static str,
    generated: &'static str,
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
        for index in t.all_indexes().into_iter().filter(|i| hint.admits_oid("attrelid", i.oid)) {
            push_index_columns(rows, hint, t, &index)?;
        }
    }
    Ok(())
}

fn push_index_columns(
    rows: &mut Rows<'_>,
    hint: &Hint<'_>,
    t: &TableDefinition,
    index: &IndexDefinition,
) -> Result<()> {
    let keys = index.columns.iter().map(|column| match &column.key {
        IndexKey::Column(position) => {
            let c = &t.columns[*position];
            (c.name.clone(), c.ty, c.typmod)
        }
        IndexKey::Expression(sql, ty) => (deparse::name_of(sql), *ty, -1),
    });
    let include = index.include.iter().map(|position| {
        let c = &t.columns[*position];
        (c.name.clone(), c.ty, c.typmod)
    });
    for (i, (name, ty, typmod)) in keys.chain(include).enumerate() {
        push_attribute(rows, hint, &plain(index.oid, i as i16 + 1, &name, ty, typmod, false))?;
    }
    Ok(())
}

fn plain(relation: Oid, number: i16, name: &str, ty: PgType, typmod: i32, not_null: bool) -> Attribute<'_> {
    Attribute {
        relation,
        number,
        name,
        ty,
        typmod,
        not_null,
        has_default: false,
        has_missing: false,
        dropped: false,
        identity: "",
        generated: "",
    }
}

fn push_column(rows: &mut Rows<'_>, hint: &Hint<'_>, relation: Oid, number: i16, c: &ColumnDefinition) -> Result<()> {
    let dropped_name = format!("........pg.dropped.{number}........");
    push_attribute(
        rows,
        hint,
        &Attribute {
            name: if c.dropped { &dropped_name } else { &c.name },
            not_null: c.not_null && !c.dropped,
            has_missing: c.missing.is_some() && !c.dropped,
            dropped: c.dropped,
            identity: match c.generated {
                Some(Generated::Always) => "a",
                Some(Generated::ByDefault) => "d",
                _ => "",
            },
            generated: if c.is_stored() { "s" } else { "" },
            has_default: c.default.is_some() && !c.dropped && !c.is_identity(),
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
        ("attidentity", text(a.identity)),
        ("attgenerated", text(a.generated)),
        ("attisdropped", Value::Bool(a.dropped)),
        ("attislocal", Value::Bool(true)),
        ("attcollation", Value::Oid(io.map_or(0, |t| t.collation))),
    ])
}

pub(super) fn pg_attrdef(rows: &mut Rows<'_>, hint: &Hint<'_>, session: &SessionContext) -> Result<()> {
    for table in candidates(hint, "adrelid", session) {
        for (i, column) in table.definition.live_columns() {
            let Some(default) = column.default.as_ref().filter(|_| !column.is_identity()) else { continue };
            let default = if column.is_stored() {
                deparse::expression(&table.definition, default, session)
            } else {
                deparse::default(default, session)
            };
            rows.push(&[
                ("oid", Value::Oid(column.default_oid)),
                ("adrelid", Value::Oid(table.definition.oid)),
                ("adnum", Value::Int2(i as i16 + 1)),
                ("adbin", owned(default)),
            ])?;
        }
    }
    Ok(())
}

pub(super) fn pg_index(rows: &mut Rows<'_>, hint: &Hint<'_>, session: &SessionContext) -> Result<()> {
    let column = hint.oid.map_or("indrelid", |(c, _)| c);
    for table in candidates(hint, if column == "indexrelid" { column } else { "indrelid" }, session) {
        let t = &table.definition;
        for index in t.all_indexes() {
            push_index_row(rows, t, &index, session)?;
        }
    }
    Ok(())
}

fn push_index_row(
    rows: &mut Rows<'_>,
    t: &TableDefinition,
    index: &IndexDefinition,
    session: &SessionContext,
) -> Result<()> {
    let types = || index.columns.iter().map(|c| c.ty(t).oid());
    let keys = index.columns.iter().map(|c| c.position().map_or(0, |p| p as i16 + 1));
    let include = index.include.iter().map(|p| *p as i16 + 1);
    let primary = t.is_primary(index.oid);
    let expressions: Vec<String> = index
        .columns
        .iter()
        .filter_map(|c| match &c.key {
            IndexKey::Expression(sql, _) => Some(deparse::expression(t, sql, session)),
            IndexKey::Column(_) => None,
        })
        .collect();
    let predicate = index.predicate.as_ref().map(|sql| deparse::expression(t, sql, session));
    rows.push(&[
        ("indexrelid", Value::Oid(index.oid)),
        ("indrelid", Value::Oid(t.oid)),
        ("indnatts", Value::Int2((index.columns.len() + index.include.len()) as i16)),
        ("indnkeyatts", Value::Int2(index.columns.len() as i16)),
        ("indisunique", Value::Bool(index.unique)),
        ("indnullsnotdistinct", Value::Bool(index.nulls_not_distinct)),
        ("indisprimary", Value::Bool(primary)),
        ("indimmediate", Value::Bool(index.immediate)),
        ("indisvalid", Value::Bool(true)),
        ("indisready", Value::Bool(true)),
        ("indislive", Value::Bool(true)),
        ("indkey", int2s(keys.chain(include))),
        ("indcollation", oids(types().map(|ty| type_io(ty).map_or(0, |t| t.collation)))),
        ("indclass", oids(types().map(btree_class))),
        ("indoption", int2s(index.columns.iter().map(|c| i16::from(c.descending) | i16::from(c.nulls_first) << 1))),
        ("indexprs", if expressions.is_empty() { Value::Null } else { owned(expressions.join(", ")) }),
        ("indpred", predicate.map_or(Value::Null, owned)),
    ])
}

pub(super) fn pg_constraint(rows: &mut Rows<'_>, hint: &Hint<'_>, session: &SessionContext) -> Result<()> {
    let column = hint.oid.map_or("conrelid", |(c, _)| c);
    for table in candidates(hint, if column == "conrelid" { column } else { "" }, session) {
        for constraint in table.definition.all_constraints() {
            if hint.admits_oid("oid", constraint.oid) && hint.admits_name("conname", &constraint.name) {
                push_constraint(rows, &table.definition, &constraint, session)?;
            }
        }
    }
    Ok(())
}

fn push_constraint(rows: &mut Rows<'_>, t: &TableDefinition, c: &Constraint, session: &SessionContext) -> Result<()> {
    let numbers = |columns: &[usize]| int2s(columns.iter().map(|c| *c as i16 + 1));
    let (kind, index, columns) = match &c.kind {
        ConstraintKind::Primary(index, columns) => ('p', *index, columns.clone()),
        ConstraintKind::Check(_, columns) => ('c', 0, columns.clone()),
        ConstraintKind::Unique(index) => {
            let columns = t.index(*index).and_then(|i| i.plain_columns());
            ('u', *index, columns.unwrap_or_default())
        }
        ConstraintKind::Foreign(key) => ('f', key.index, key.columns.clone()),
    };
    let foreign = c.foreign_key();
    let letter_or = |f: fn(&ForeignKey) -> char| foreign.map_or_else(|| text(" "), |k| letter(f(k)));
    let binary = match &c.kind {
        ConstraintKind::Check(sql, _) => owned(deparse::expression(t, sql, session)),
        _ => Value::Null,
    };
    rows.push(&[
        ("oid", Value::Oid(c.oid)),
        ("conname", text(&c.name)),
        ("connamespace", Value::Oid(t.schema)),
        ("contype", letter(kind)),
        ("condeferrable", Value::Bool(c.deferrable)),
        ("condeferred", Value::Bool(c.deferred)),
        ("convalidated", Value::Bool(c.validated)),
        ("conrelid", Value::Oid(t.oid)),
        ("conindid", Value::Oid(index)),
        ("confrelid", Value::Oid(foreign.map_or(0, |k| k.target))),
        ("confupdtype", letter_or(|k| k.on_update.letter())),
        ("confdeltype", letter_or(|k| k.on_delete.letter())),
        ("confmatchtype", letter_or(|k| if k.full { 'f' } else { 's' })),
        ("conislocal", Value::Bool(true)),
        ("connoinherit", Value::Bool(kind != 'c')),
        ("conkey", if columns.is_empty() { Value::Null } else { numbers(&columns) }),
        ("confkey", foreign.map_or(Value::Null, |k| numbers(&k.target_columns))),
        (
            "confdelsetcols",
            foreign.filter(|k| !k.set_columns.is_empty()).map_or(Value::Null, |k| numbers(&k.set_columns)),
        ),
        ("conbin", binary),
    ])
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
        if let Some(owner) = t.sequence().and_then(|s| s.owner) {
            depend(this, (PG_CLASS, owner.table, owner.column as i32 + 1), if owner.identity { 'i' } else { 'a' })?;
        }
        for constraint in t.all_constraints() {
            let (object, of) = ((PG_CONSTRAINT, constraint.oid, 0), &constraint.kind);
            let indexed = |index: Oid| t.index(index).and_then(|i| i.plain_columns()).unwrap_or_default();
            let (columns, index) = match of {
                ConstraintKind::Primary(index, columns) => (columns.clone(), Some(*index)),
                ConstraintKind::Unique(index) => (indexed(*index), Some(*index)),
                ConstraintKind::Check(_, columns) => (columns.clone(), None),
                ConstraintKind::Foreign(key) => {
                    for column in &key.target_columns {
                        depend(object, (PG_CLASS, key.target, *column as i32 + 1), 'n')?;
                    }
                    (key.columns.clone(), None)
                }
            };
            for column in columns {
                depend(object, (PG_CLASS, t.oid, column as i32 + 1), 'a')?;
            }
            if let Some(index) = index {
                depend((PG_CLASS, index, 0), object, 'i')?;
            }
        }
        for index in t.indexes.iter().filter(|i| t.constraint_of_index(i.oid).is_none()) {
            for column in index.columns.iter().filter_map(|c| c.position()) {
                depend((PG_CLASS, index.oid, 0), (PG_CLASS, t.oid, column as i32 + 1), 'a')?;
            }
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
