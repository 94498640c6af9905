//! Catalog changes as rows of the system tables, and the system tables' rows as a catalog.
//!
//! The definition itself is JSON in `system.tables.definition`; the other columns repeat parts of it for people.
//! `namespaces` and `databases` have a column for each field. Rows are whole: a change replaces or removes a row.

use crate::builtin::{builtins, system};
use crate::catalog::{Catalog, CatalogChange};
use crate::error::{Result, SqlError};
use crate::sqlstate::SqlState;
use crate::table::{DatabaseDefinition, Oid, SchemaDefinition, StorageId, TableDefinition, TableKind};

/// A stored system table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SystemTable {
    Databases,
    Namespaces,
    Tables,
}

impl SystemTable {
    pub const ALL: [SystemTable; 3] = [SystemTable::Databases, SystemTable::Namespaces, SystemTable::Tables];

    /// Where its rows are.
    pub fn storage(self) -> StorageId {
        match self {
            SystemTable::Databases => system::DATABASES_STORAGE,
            SystemTable::Namespaces => system::NAMESPACES_STORAGE,
            SystemTable::Tables => system::TABLES_STORAGE,
        }
    }

    /// The OID of its relation.
    pub fn oid(self) -> Oid {
        match self {
            SystemTable::Databases => 13300,
            SystemTable::Namespaces => 13310,
            SystemTable::Tables => 13320,
        }
    }
}

/// A value of a system table's row, in the carrier of its column's type.
#[derive(Clone, PartialEq, Debug)]
pub enum CatalogValue {
    Null,
    Oid(u32),
    Int4(i32),
    Int8(i64),
    /// text and jsonb
    Text(String),
    /// timestamptz: microseconds since 1970
    Timestamp(i64),
}

/// A row to write (`Some`) or to delete (`None`). `key` is the first column, the primary key.
#[derive(Clone, PartialEq, Debug)]
pub struct CatalogWrite {
    pub table: SystemTable,
    pub key: Oid,
    pub row: Option<Vec<CatalogValue>>,
}

/// The row writes of one change; `before` is the catalog it is applied to.
pub fn rows_of(change: &CatalogChange, before: &Catalog) -> Vec<CatalogWrite> {
    let count = |schema: Oid| before.tables().filter(|t| t.definition.schema == schema).count() as i64;
    let put = |table, key, row| CatalogWrite { table, key, row: Some(row) };
    let remove = |table, key| CatalogWrite { table, key, row: None };
    match change {
        CatalogChange::PutDatabase(d) => vec![put(SystemTable::Databases, d.oid, database_row(d))],
        CatalogChange::DropDatabase(oid) => vec![remove(SystemTable::Databases, *oid)],
        CatalogChange::PutSchema(s) => vec![put(SystemTable::Namespaces, s.oid, namespace_row(s, count(s.oid)))],
        CatalogChange::DropSchema(oid) => vec![remove(SystemTable::Namespaces, *oid)],
        CatalogChange::PutTable(t) => vec![put(SystemTable::Tables, t.oid, table_row(t, before))],
        CatalogChange::DropTable(oid) => vec![remove(SystemTable::Tables, *oid)],
    }
}

/// The rows of schemas that gain or lose relations by `changes`, as they are after them. Not among [`rows_of`]: two
/// transactions may create tables in one schema, and the number counts what is committed.
pub fn recounted(changes: &[CatalogChange], before: &Catalog) -> Vec<CatalogWrite> {
    let mut after = before.clone();
    let mut schemas: Vec<Oid> = Vec::new();
    for change in changes {
        let (oid, new) = match change {
            CatalogChange::PutTable(t) => (t.oid, Some(t.schema)),
            CatalogChange::DropTable(oid) => (*oid, None),
            _ => {
                after.apply(change);
                continue;
            }
        };
        let old = after.table(oid).map(|t| t.definition.schema);
        if old != new {
            schemas.extend(old.into_iter().chain(new).filter(|s| !schemas.contains(s)).collect::<Vec<_>>());
        }
        after.apply(change);
    }
    let count = |schema: Oid| after.tables().filter(|t| t.definition.schema == schema).count() as i64;
    let row = |schema: &Oid| {
        // Those of all databases are builtin and stay as they are.
        let definition = after.schema(*schema).filter(|s| s.database != 0)?;
        let row = Some(namespace_row(definition, count(*schema)));
        Some(CatalogWrite { table: SystemTable::Namespaces, key: *schema, row })
    };
    schemas.iter().filter_map(row).collect()
}

/// The row writes of several changes in order. A later write of a row replaces an earlier one.
pub fn rows_of_all(changes: &[CatalogChange], before: &Catalog) -> Vec<CatalogWrite> {
    let mut catalog = before.clone();
    let mut writes: Vec<CatalogWrite> = Vec::new();
    for change in changes {
        for write in rows_of(change, &catalog) {
            writes.retain(|w| (w.table, w.key) != (write.table, write.key));
            writes.push(write);
        }
        catalog.apply(change);
    }
    for write in recounted(changes, before) {
        writes.retain(|w| (w.table, w.key) != (write.table, write.key));
        writes.push(write);
    }
    writes
}

/// The catalog that stored rows describe, laid over the builtins.
pub fn load(rows: impl IntoIterator<Item = (SystemTable, Vec<CatalogValue>)>) -> Result<Catalog> {
    let mut catalog = builtins();
    for (table, row) in rows {
        let change = match table {
            SystemTable::Databases => read_database(&row).map(CatalogChange::PutDatabase),
            SystemTable::Namespaces => read_namespace(&row).map(CatalogChange::PutSchema),
            SystemTable::Tables => read_table(&row).map(CatalogChange::PutTable),
        };
        catalog.apply(&change.ok_or_else(|| corrupt(table))?);
    }
    catalog.version = 0;
    Ok(catalog)
}

fn corrupt(table: SystemTable) -> SqlError {
    let name = match table {
        SystemTable::Databases => "databases",
        SystemTable::Namespaces => "namespaces",
        SystemTable::Tables => "tables",
    };
    SqlError::new(SqlState::DATA_CORRUPTED, format!("invalid row in system table \"{name}\""))
}

fn text(value: &str) -> CatalogValue {
    CatalogValue::Text(value.to_owned())
}

fn database_row(d: &DatabaseDefinition) -> Vec<CatalogValue> {
    vec![CatalogValue::Oid(d.oid), text(&d.name), text(&d.owner)]
}

fn read_database(row: &[CatalogValue]) -> Option<DatabaseDefinition> {
    match row {
        [CatalogValue::Oid(oid), CatalogValue::Text(name), CatalogValue::Text(owner)] => {
            Some(DatabaseDefinition { oid: *oid, name: name.clone(), owner: owner.clone() })
        }
        _ => None,
    }
}

fn namespace_row(s: &SchemaDefinition, table_count: i64) -> Vec<CatalogValue> {
    vec![
        CatalogValue::Oid(s.oid),
        text(&s.name),
        CatalogValue::Oid(s.database),
        text(&s.owner),
        CatalogValue::Timestamp(s.created_at),
        CatalogValue::Null,
        CatalogValue::Int8(table_count),
    ]
}

fn read_namespace(row: &[CatalogValue]) -> Option<SchemaDefinition> {
    match row {
        [
            CatalogValue::Oid(oid),
            CatalogValue::Text(name),
            CatalogValue::Oid(database),
            CatalogValue::Text(owner),
            CatalogValue::Timestamp(created_at),
            ..,
        ] => Some(SchemaDefinition {
            oid: *oid,
            database: *database,
            name: name.clone(),
            owner: owner.clone(),
            created_at: *created_at,
        }),
        _ => None,
    }
}

fn table_row(t: &TableDefinition, catalog: &Catalog) -> Vec<CatalogValue> {
    // Strings, numbers and sequences of them: JSON takes them all.
    let definition = serde_json::to_string(t).unwrap_or_else(|_| unreachable!("a definition has string keys only"));
    let storage = match t.kind {
        TableKind::Shared | TableKind::System => CatalogValue::Int8(i64::from(t.storage)),
        TableKind::View { .. } | TableKind::Sequence(_) | TableKind::Virtual(_) => CatalogValue::Null,
    };
    vec![
        CatalogValue::Oid(t.oid),
        text(&t.name),
        text(catalog.schema(t.schema).map_or("", |s| s.name.as_str())),
        text(t.kind.name()),
        CatalogValue::Timestamp(t.created_at),
        storage,
        CatalogValue::Null,
        CatalogValue::Int4(i32::from(t.schema_version)),
        CatalogValue::Text(definition),
    ]
}

fn read_table(row: &[CatalogValue]) -> Option<TableDefinition> {
    match row.last() {
        Some(CatalogValue::Text(definition)) => serde_json::from_str(definition).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::{bootstrap, initial_changes};
    use crate::catalog::PUBLIC_OID;
    use crate::table::{ColumnDefinition, Dependency, Persistence, PrimaryKey};
    use crate::types::PgType;

    fn column(name: &str, ty: PgType) -> ColumnDefinition {
        ColumnDefinition {
            default: Some("1".to_owned()),
            default_oid: 16390,
            ..ColumnDefinition::new(name.to_owned(), ty, -1)
        }
    }

    fn table(oid: Oid, name: &str, kind: TableKind) -> CatalogChange {
        CatalogChange::PutTable(TableDefinition {
            oid,
            row_type_oid: oid + 1,
            schema: PUBLIC_OID,
            name: name.to_owned(),
            owner: "alice".to_owned(),
            kind,
            storage: 16,
            persistence: Persistence::Permanent,
            schema_version: 1,
            columns: vec![column("id", PgType::INT4), column("b", PgType::TEXT)],
            primary_key: Some(PrimaryKey {
                constraint_oid: oid + 4,
                index_oid: oid + 3,
                name: format!("{name}_pkey"),
                columns: vec![0],
            }),
            indexes: Vec::new(),
            constraints: Vec::new(),
            options: vec![("fillfactor".to_owned(), "100".to_owned())],
            created_at: 5,
        })
    }

    fn stored(changes: &[CatalogChange]) -> Vec<(SystemTable, Vec<CatalogValue>)> {
        rows_of_all(changes, &builtins()).into_iter().filter_map(|w| w.row.map(|r| (w.table, r))).collect()
    }

    #[test]
    fn what_is_written_is_what_is_loaded() {
        let view = TableKind::View {
            sql: "SELECT id FROM public.t".to_owned(),
            depends_on: vec![Dependency { oid: 16384, schema: "public".into(), name: "t".into(), columns: vec![1] }],
        };
        let mut changes = initial_changes(7);
        changes.push(table(16384, "t", TableKind::Shared));
        changes.push(table(16400, "v", view));
        let loaded = load(stored(&changes)).unwrap();
        let mut applied = builtins();
        changes.iter().for_each(|c| applied.apply(c));
        for oid in [16384, 16400] {
            assert_eq!(loaded.table(oid).unwrap().definition, applied.table(oid).unwrap().definition);
        }
        assert_eq!(loaded.schema(PUBLIC_OID), applied.schema(PUBLIC_OID));
        assert_eq!(loaded.database(5), applied.database(5));
        assert_eq!(loaded.dependents(16384).len(), 1);
        assert_eq!(loaded.max_oid(), 16404);
    }

    #[test]
    fn namespaces_count_their_relations() {
        let create = |oid, name| table(oid, name, TableKind::Shared);
        let counted = |changes: &[CatalogChange], before: &Catalog| {
            let writes = recounted(changes, before);
            writes.into_iter().map(|w| (w.key, w.row.unwrap().pop().unwrap())).collect::<Vec<_>>()
        };
        let mut catalog = bootstrap();
        let both = [create(16384, "t"), create(16400, "u")];
        assert_eq!(counted(&both, &catalog), [(PUBLIC_OID, CatalogValue::Int8(2))]);
        both.iter().for_each(|change| catalog.apply(change));
        assert_eq!(counted(&[CatalogChange::DropTable(16384)], &catalog), [(PUBLIC_OID, CatalogValue::Int8(1))]);
        assert_eq!(counted(&[create(16384, "renamed")], &catalog), []);
    }

    #[test]
    fn a_renamed_relation_leaves_its_old_name() {
        let mut catalog = bootstrap();
        catalog.apply(&table(16384, "t", TableKind::Shared));
        catalog.apply(&table(16384, "u", TableKind::Shared));
        assert!(catalog.table_by_name(PUBLIC_OID, "t").is_none());
        assert!(catalog.table_by_name(PUBLIC_OID, "u").is_some());
        assert!(catalog.index_by_name(PUBLIC_OID, "t_pkey").is_none());
        assert_eq!(catalog.table_of_index(16387).unwrap().definition.name, "u");
        catalog.apply(&CatalogChange::DropTable(16384));
        assert!(catalog.table_by_name(PUBLIC_OID, "u").is_none());
        assert!(catalog.owner_of(16385).is_none());
    }

    #[test]
    fn a_damaged_row_is_reported() {
        let error = load([(SystemTable::Tables, vec![CatalogValue::Null])]).unwrap_err();
        assert_eq!(error.code().0, "XX001");
    }
}
