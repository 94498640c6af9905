//! Counts what a thread has allocated, and measures with it what tables cost. Shared with `benches/registry.rs`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use kalamdb_catalog::catalog::PUBLIC_OID;
use kalamdb_catalog::table::Persistence;
use kalamdb_catalog::{
    CatalogChange, ColumnDefinition, Oid, PgType, PrimaryKey, SchemaRegistry, TableDefinition, TableKind, bootstrap,
};

pub(crate) const TABLES: u32 = 1000;
/// What the definitions of [`TABLES`] tables of six columns may take. The Arrow schemas of those in use come on top.
pub(crate) const TABLES_BYTES_MAX: i64 = 2 << 20;
/// The OIDs that a table takes, with room to spare.
const OIDS_PER_TABLE: Oid = 8;

/// The system's allocator with a count per thread: other tests of the binary do not disturb it.
struct Counting;

thread_local! {
    static BYTES: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: i64) {
    // A thread that ends frees what it has after its count is gone.
    let _ = BYTES.try_with(|b| b.set(b.get() + bytes));
}

// SAFETY: every call goes to `System` as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's contract is the same.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `f` and gives the bytes it has left allocated.
pub(crate) fn counted<T>(f: impl FnOnce() -> T) -> (T, i64) {
    let before = BYTES.get();
    let value = f();
    (value, BYTES.get() - before)
}

/// `CREATE TABLE table_N (id bigint PRIMARY KEY, ...)` with so many columns.
pub(crate) fn definition(number: u32, columns: usize) -> TableDefinition {
    let types = [PgType::INT8, PgType::INT4, PgType::TEXT, PgType::NUMERIC, PgType::TIMESTAMPTZ, PgType::JSONB];
    let oid = 16384 + number * OIDS_PER_TABLE;
    let column = |(position, ty): (usize, PgType)| ColumnDefinition {
        not_null: position == 0,
        ..ColumnDefinition::new(format!("column_{position}"), ty, -1)
    };
    TableDefinition {
        oid,
        row_type_oid: oid + 1,
        schema: PUBLIC_OID,
        name: format!("table_{number}"),
        owner: "postgres".to_owned(),
        kind: TableKind::Shared,
        storage: 16 + number,
        persistence: Persistence::Permanent,
        schema_version: 0,
        columns: types.into_iter().cycle().take(columns).enumerate().map(column).collect(),
        primary_key: Some(PrimaryKey {
            constraint_oid: oid + 4,
            index_oid: oid + 3,
            name: format!("table_{number}_pkey"),
            columns: vec![0],
        }),
        indexes: Vec::new(),
        constraints: Vec::new(),
        options: Vec::new(),
        created_at: 0,
    }
}

/// A registry with the builtins and [`TABLES`] tables of six columns.
pub(crate) fn registry_of_tables() -> SchemaRegistry {
    let registry = SchemaRegistry::new(bootstrap());
    let changes: Vec<_> = (0..TABLES).map(|n| CatalogChange::PutTable(definition(n, 6))).collect();
    registry.apply(&changes);
    registry
}

/// What [`TABLES`] tables of six columns take beyond the builtins.
pub(crate) struct TablesBytes {
    pub(crate) definitions: i64,
    pub(crate) with_schemas: i64,
}

pub(crate) fn tables_and_bytes() -> TablesBytes {
    let (empty, builtins) = counted(|| SchemaRegistry::new(bootstrap()));
    drop(empty);
    let (registry, definitions) = counted(registry_of_tables);
    let catalog = registry.current();
    let ((), schemas) = counted(|| {
        for number in 0..TABLES {
            let name = format!("table_{number}");
            catalog.table_by_name(PUBLIC_OID, &name).expect("a table made above").arrow_schema();
        }
    });
    TablesBytes { definitions: definitions - builtins, with_schemas: definitions - builtins + schemas }
}
