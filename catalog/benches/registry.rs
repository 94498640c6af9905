//! What the catalog costs a statement: finding a relation, its Arrow schema, the memory of many tables.
//!
//! `ci/bench catalog` runs it; the names of the benchmarks are the rows of its table.

#![expect(clippy::print_stdout, reason = "the memory of tables is a result beside criterion's")]

#[path = "../tests/it/memory.rs"]
mod memory;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use kalamdb_catalog::CachedTableData;
use kalamdb_catalog::catalog::{DEFAULT_DATABASE_OID, PUBLIC_OID};
use kalamdb_catalog::name::resolve_relation;

use memory::{TABLES_BYTES_MAX, definition, registry_of_tables, tables_and_bytes};

fn lookups(c: &mut Criterion) {
    let registry = registry_of_tables();
    let catalog = registry.current();
    let path = ["public".to_owned()];
    catalog.tables().for_each(|t| drop(t.arrow_schema().clone()));
    c.bench_function("the newest catalog", |b| b.iter(|| registry.current()));
    c.bench_function("a table by OID", |b| b.iter(|| catalog.table(black_box(16384 + 8 * 500))));
    c.bench_function("a table by schema and name, its Arrow schema", |b| {
        b.iter(|| catalog.table_by_name(PUBLIC_OID, black_box("table_500")).map(|t| t.arrow_schema().clone()));
    });
    c.bench_function("a table by name under search_path", |b| {
        b.iter(|| resolve_relation(&catalog, DEFAULT_DATABASE_OID, &path, None, black_box("table_500")));
    });
}

fn first_build(c: &mut Criterion) {
    let wide = definition(0, 50);
    c.bench_function("first Arrow schema of 50 columns", |b| {
        b.iter_batched_ref(
            || CachedTableData::new(wide.clone()),
            |table| table.arrow_schema().clone(),
            BatchSize::SmallInput,
        );
    });
}

fn memory_of_tables(_: &mut Criterion) {
    let tables = tables_and_bytes();
    println!("memory of 1,000 tables: {} kB (at most {})", tables.definitions / 1024, TABLES_BYTES_MAX / 1024);
    println!("memory of 1,000 tables, all in use: {} kB", tables.with_schemas / 1024);
}

criterion_group!(benches, lookups, first_build, memory_of_tables);
criterion_main!(benches);
