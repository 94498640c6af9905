//! What the catalog promises about its size. The one integration binary of this crate.

mod memory;

use memory::{TABLES_BYTES_MAX, definition, tables_and_bytes};

#[test]
fn a_thousand_tables_fit_in_their_bound() {
    let tables = tables_and_bytes();
    assert!(tables.with_schemas > tables.definitions, "the Arrow schemas were not counted");
    assert!(tables.definitions < TABLES_BYTES_MAX, "{} bytes, at most {TABLES_BYTES_MAX}", tables.definitions);
}

#[test]
fn the_arrow_schema_is_built_once() {
    let table = kalamdb_catalog::CachedTableData::new(definition(0, 50));
    let (first, bytes) = memory::counted(|| table.arrow_schema().clone());
    assert!(bytes > 0);
    let (second, bytes) = memory::counted(|| table.arrow_schema().clone());
    assert_eq!(bytes, 0, "bytes allocated by a second use");
    assert!(std::sync::Arc::ptr_eq(&first, &second));
}
