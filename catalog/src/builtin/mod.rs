//! The relations every database has: pg_catalog, information_schema and system, as constants.
//!
//! They are laid over the stored catalog when it is loaded and never stored themselves. A relation is one entry of a
//! `TABLES` array; its rows come from a virtual table of the engine, from a SQL view, or from storage.

mod information_schema;
mod pg_catalog;
pub mod system;
pub mod types;

use serde::{Deserialize, Serialize};

use crate::catalog::{
    Catalog, CatalogChange, DEFAULT_DATABASE, DEFAULT_DATABASE_OID, INFORMATION_SCHEMA_OID, PG_CATALOG_OID, PUBLIC_OID,
    SYSTEM_OID,
};
use crate::table::{
    ColumnDefinition, DatabaseDefinition, Oid, Persistence, PrimaryKey, SchemaDefinition, StorageId, TableDefinition,
    TableKind,
};
use crate::types::PgType;

/// The owner of what nobody created, and the role a fresh server has.
pub const BOOTSTRAP_ROLE: &str = "postgres";
/// Its OID in pg_authid; the same as PostgreSQL's bootstrap superuser.
pub const BOOTSTRAP_ROLE_OID: Oid = 10;

/// Which virtual table makes the rows (`engine::providers::virtual_table`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum VirtualId {
    /// Typed, but never with a row: the feature is not there.
    Empty,
    InfoCheckConstraints,
    InfoColumns,
    InfoConstraintColumnUsage,
    InfoKeyColumnUsage,
    InfoReferentialConstraints,
    InfoSchemata,
    InfoSequences,
    InfoTableConstraints,
    InfoTables,
    InfoViews,
    PgAggregate,
    PgAm,
    PgAttrdef,
    PgAttribute,
    PgAuthid,
    PgCast,
    PgClass,
    PgCollation,
    PgConstraint,
    PgCursors,
    PgDatabase,
    PgDepend,
    PgIndex,
    PgLanguage,
    PgLocks,
    PgNamespace,
    PgOpclass,
    PgOperator,
    PgOpfamily,
    PgProc,
    PgRewrite,
    PgRoles,
    PgSequence,
    PgSequences,
    PgSettings,
    PgStatActivity,
    PgStatUserTables,
    PgTablespace,
    PgTimezoneNames,
    PgType,
    PgUser,
    SystemLiveQueries,
    SystemStats,
}

/// A column of a builtin relation.
#[derive(Debug)]
pub struct BuiltinColumn {
    pub name: &'static str,
    pub ty: PgType,
    pub not_null: bool,
}

/// Where a builtin relation's rows come from.
#[derive(Debug)]
pub enum Source {
    Virtual(VirtualId),
    /// A SELECT over other builtins, every name schema-qualified.
    View(&'static str),
    Stored(StorageId),
}

/// A builtin relation.
#[derive(Debug)]
pub struct BuiltinTable {
    pub oid: Oid,
    pub row_type_oid: Oid,
    pub name: &'static str,
    /// pg_class.relkind: what PostgreSQL calls it, whatever makes the rows here.
    pub relkind: char,
    pub source: Source,
    pub columns: &'static [BuiltinColumn],
}

const fn table(
    oid: Oid,
    row_type_oid: Oid,
    name: &'static str,
    relkind: char,
    source: Source,
    columns: &'static [BuiltinColumn],
) -> BuiltinTable {
    BuiltinTable { oid, row_type_oid, name, relkind, source, columns }
}

/// A NOT NULL column.
const fn col(name: &'static str, ty: PgType) -> BuiltinColumn {
    BuiltinColumn { name, ty, not_null: true }
}

/// A nullable column.
const fn opt(name: &'static str, ty: PgType) -> BuiltinColumn {
    BuiltinColumn { name, ty, not_null: false }
}

const SCHEMAS: [(Oid, &str, &[BuiltinTable]); 3] = [
    (PG_CATALOG_OID, "pg_catalog", pg_catalog::TABLES),
    (INFORMATION_SCHEMA_OID, "information_schema", information_schema::TABLES),
    (SYSTEM_OID, "system", system::TABLES),
];

/// Every builtin relation with the OID of its schema.
pub fn tables() -> impl Iterator<Item = (Oid, &'static BuiltinTable)> {
    SCHEMAS.iter().flat_map(|(schema, _, tables)| tables.iter().map(|t| (*schema, t)))
}

/// The builtin relation with this OID.
pub fn table_by_oid(oid: Oid) -> Option<&'static BuiltinTable> {
    tables().find(|(_, t)| t.oid == oid).map(|(_, t)| t)
}

impl BuiltinTable {
    fn definition(&self, schema: Oid) -> TableDefinition {
        // information_schema's yes_or_no is a domain over varchar(3).
        let yes_or_no = |name: &str| {
            (name.starts_with("is_") && name != "is_generated")
                || matches!(
                    name,
                    "enforced" | "initially_deferred" | "nulls_distinct" | "identity_cycle" | "cycle_option"
                )
        };
        let column = |c: &BuiltinColumn| {
            let yes_or_no = schema == INFORMATION_SCHEMA_OID && c.ty == PgType::VARCHAR && yes_or_no(c.name);
            let typmod = if yes_or_no { 3 + 4 } else { -1 };
            ColumnDefinition { not_null: c.not_null, ..ColumnDefinition::new(c.name.to_owned(), c.ty, typmod) }
        };
        let (kind, storage) = match &self.source {
            Source::Virtual(id) => (TableKind::Virtual(*id), 0),
            Source::View(sql) => (TableKind::View { sql: (*sql).to_owned(), depends_on: Vec::new() }, 0),
            Source::Stored(id) => (TableKind::System, *id),
        };
        TableDefinition {
            oid: self.oid,
            row_type_oid: self.row_type_oid,
            schema,
            name: self.name.to_owned(),
            owner: BOOTSTRAP_ROLE.to_owned(),
            kind,
            storage,
            persistence: Persistence::Permanent,
            schema_version: 0,
            columns: self.columns.iter().map(column).collect(),
            primary_key: matches!(self.source, Source::Stored(_)).then(|| PrimaryKey {
                constraint_oid: self.oid + 3,
                index_oid: self.oid + 4,
                name: format!("{}_pkey", self.name),
                columns: vec![0],
            }),
            indexes: Vec::new(),
            constraints: Vec::new(),
            options: Vec::new(),
            created_at: 0,
        }
    }
}

/// The catalog of builtins alone: what the stored rows are laid over.
pub(crate) fn builtins() -> Catalog {
    let mut catalog = Catalog::default();
    for (oid, name, tables) in SCHEMAS {
        catalog.apply(&CatalogChange::PutSchema(SchemaDefinition {
            oid,
            database: 0,
            name: name.to_owned(),
            owner: BOOTSTRAP_ROLE.to_owned(),
            created_at: 0,
        }));
        for table in tables {
            catalog.apply(&CatalogChange::PutTable(table.definition(oid)));
        }
    }
    catalog.version = 0;
    catalog
}

/// What a fresh data directory stores first: database `kalamdb` with its schema `public`.
pub fn initial_changes(created_at: i64) -> Vec<CatalogChange> {
    let owner = BOOTSTRAP_ROLE.to_owned();
    vec![
        CatalogChange::PutDatabase(DatabaseDefinition {
            oid: DEFAULT_DATABASE_OID,
            name: DEFAULT_DATABASE.to_owned(),
            owner: owner.clone(),
        }),
        CatalogChange::PutSchema(SchemaDefinition {
            oid: PUBLIC_OID,
            database: DEFAULT_DATABASE_OID,
            name: "public".to_owned(),
            owner,
            created_at,
        }),
    ]
}

/// The catalog of a fresh server: builtins and [`initial_changes`].
pub fn bootstrap() -> Catalog {
    let mut catalog = builtins();
    for change in initial_changes(0) {
        catalog.apply(&change);
    }
    catalog
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::builtin::types::{IO_FUNCTIONS, TYPE_IO};
    use crate::types::TYPES;

    #[test]
    fn oids_are_unique_and_below_the_users() {
        let mut seen = HashSet::new();
        for (_, t) in tables() {
            assert!(t.oid < 16384 && seen.insert(t.oid), "{}", t.name);
            assert!(t.row_type_oid < 16384 && seen.insert(t.row_type_oid), "{}", t.name);
        }
    }

    #[test]
    fn every_type_has_its_io_functions() {
        assert_eq!(TYPES.iter().map(|t| t.oid).collect::<Vec<_>>(), TYPE_IO.iter().map(|t| t.oid).collect::<Vec<_>>());
        for t in TYPE_IO {
            assert!(IO_FUNCTIONS.iter().any(|f| f.oid == t.input), "{}", t.oid);
        }
    }

    #[test]
    fn a_fresh_catalog_resolves_builtins() {
        let catalog = bootstrap();
        let class = catalog.table_by_name(PG_CATALOG_OID, "pg_class").unwrap();
        assert_eq!(class.definition.oid, 1259);
        assert_eq!(class.definition.column_index("relname"), Some(1));
        assert_eq!(catalog.max_oid(), 16383);
        assert_eq!(catalog.max_storage(), system::RESERVED_STORAGE);
    }
}
