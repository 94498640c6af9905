//! The rows of a small catalog, checked by column name.

use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::display::array_value_to_string;
use kalamdb_catalog::catalog::{DEFAULT_DATABASE_OID, PUBLIC_OID};
use kalamdb_catalog::name::resolve_relation;
use kalamdb_catalog::table::PrimaryKey;
use kalamdb_catalog::{
    Catalog, CatalogChange, ColumnDefinition, PgType, TableDefinition, TableKind, bootstrap, builtin,
};

use super::{Hint, rows};
use crate::session::{SessionContext, Vars};

fn column(name: &str, ty: PgType, typmod: i32, default: Option<&str>, dropped: bool) -> ColumnDefinition {
    ColumnDefinition {
        name: name.to_owned(),
        ty,
        typmod,
        not_null: name == "a",
        default: default.map(str::to_owned),
        default_oid: if default.is_some() { 16391 } else { 0 },
        dropped,
        missing: None,
        since_version: 0,
        generated: None,
    }
}

/// `CREATE TABLE t(a int PRIMARY KEY, b text DEFAULT 'x', gone int, c varchar(20))` with `gone` dropped again.
fn table(oid: u32, name: &str) -> TableDefinition {
    TableDefinition {
        oid,
        row_type_oid: oid + 1,
        schema: PUBLIC_OID,
        name: name.to_owned(),
        owner: "postgres".to_owned(),
        kind: TableKind::Shared,
        storage: 16,
        persistence: kalamdb_catalog::table::Persistence::Permanent,
        schema_version: 0,
        columns: vec![
            column("a", PgType::INT4, -1, None, false),
            column("b", PgType::TEXT, -1, Some("'x'::text"), false),
            column("gone", PgType::INT4, -1, None, true),
            column("c", PgType::VARCHAR, 24, None, false),
        ],
        primary_key: Some(PrimaryKey {
            constraint_oid: oid + 4,
            index_oid: oid + 3,
            name: format!("{name}_pkey"),
            columns: vec![0],
        }),
        indexes: Vec::new(),
        constraints: Vec::new(),
        options: vec![("fillfactor".to_owned(), "90".to_owned())],
        created_at: 0,
    }
}

pub(crate) fn session(tables: u32) -> SessionContext {
    let mut catalog = bootstrap();
    for i in 0..tables {
        let name = if i == 0 { "t".to_owned() } else { format!("t{i}") };
        catalog.apply(&CatalogChange::PutTable(table(16384 + 10 * i, &name)));
    }
    with_catalog(catalog)
}

fn with_catalog(catalog: Catalog) -> SessionContext {
    SessionContext::new(
        7,
        "alice".to_owned(),
        DEFAULT_DATABASE_OID,
        "postgres".to_owned(),
        None,
        0,
        Vars::default(),
        Arc::new(catalog),
    )
}

fn read(session: &SessionContext, schema: &str, name: &str, hint: Hint<'_>) -> RecordBatch {
    let table = resolve_relation(&session.catalog(), DEFAULT_DATABASE_OID, &[], Some(schema), name).unwrap();
    rows(&table, &hint, session).unwrap()
}

/// The named columns of each row, as text with '|' between.
fn lines(batch: &RecordBatch, columns: &[&str]) -> Vec<String> {
    let cell = |row: usize, c: &&str| array_value_to_string(batch.column_by_name(c).unwrap(), row).unwrap();
    (0..batch.num_rows()).map(|r| columns.iter().map(|c| cell(r, c)).collect::<Vec<_>>().join("|")).collect()
}

#[test]
fn every_builtin_makes_its_columns() {
    let session = session(1);
    let catalog = session.catalog();
    for (_, builtin) in builtin::tables() {
        let table = catalog.table(builtin.oid).unwrap();
        if matches!(table.definition.kind, TableKind::Virtual(_)) {
            let batch = rows(table, &Hint::default(), &session).unwrap();
            assert_eq!(batch.num_columns(), builtin.columns.len(), "{}", builtin.name);
        }
    }
}

#[test]
fn a_table_is_described() {
    let session = session(1);
    let by = |column| Hint { oid: Some((column, 16384)), name: None };
    let class = read(&session, "pg_catalog", "pg_class", by("oid"));
    let wanted = ["relname", "relkind", "relam", "relhasindex", "relnatts", "relreplident", "reloptions"];
    assert_eq!(lines(&class, &wanted), ["t|r|2|true|4|d|[fillfactor=90]"]);
    let attributes = read(&session, "pg_catalog", "pg_attribute", by("attrelid"));
    assert_eq!(
        lines(&attributes, &["attnum", "attname", "atttypid", "atttypmod", "attnotnull", "atthasdef", "attisdropped"])
            [5..],
        [
            "-1|ctid|27|-1|true|false|false",
            "1|a|23|-1|true|false|false",
            "2|b|25|-1|false|true|false",
            "3|........pg.dropped.3........|0|-1|false|false|true",
            "4|c|1043|24|false|false|false",
        ]
    );
    let index = read(&session, "pg_catalog", "pg_index", by("indrelid"));
    assert_eq!(lines(&index, &["indexrelid", "indisprimary", "indkey", "indclass"]), ["16387|true|[1]|[1978]"]);
    let constraint = read(&session, "pg_catalog", "pg_constraint", by("conrelid"));
    assert_eq!(lines(&constraint, &["conname", "contype", "conkey", "conindid"]), ["t_pkey|p|[1]|16387"]);
    let index_class = read(&session, "pg_catalog", "pg_class", Hint { oid: Some(("oid", 16387)), name: None });
    assert_eq!(lines(&index_class, &["relname", "relkind", "relam"]), ["t_pkey|i|403"]);
    let default = read(&session, "pg_catalog", "pg_attrdef", by("adrelid"));
    assert_eq!(lines(&default, &["oid", "adnum", "adbin"]), ["16391|2|'x'::text"]);
}

#[test]
fn types_name_their_io_functions() {
    let session = session(1);
    let named = |name| Hint { oid: None, name: Some(("typname", name)) };
    let wanted = ["oid", "typelem", "typarray", "typinput", "typreceive", "typcategory", "typrelid"];
    let read = |name| lines(&read(&session, "pg_catalog", "pg_type", named(name)), &wanted);
    assert_eq!(read("int4"), ["23|0|1007|42|2406|N|0"]);
    assert_eq!(read("_int4"), ["1007|23|0|750|2400|A|0"]);
    assert_eq!(read("t"), ["16385|0|16386|2290|2402|C|16384"]);
}

#[test]
fn information_schema_speaks_the_standard() {
    let session = session(1);
    let columns = read(&session, "information_schema", "columns", Hint::default());
    let wanted =
        ["table_schema", "table_name", "column_name", "ordinal_position", "data_type", "character_octet_length"];
    let found = lines(&columns, &wanted);
    assert!(found.contains(&"public|t|c|4|character varying|80".to_owned()), "{found:?}");
    assert!(found.contains(&"public|t|b|2|text|1073741824".to_owned()));
}

#[test]
fn a_thousand_tables_do_not_slow_down_one() {
    let session = session(1000);
    let start = Instant::now();
    for _ in 0..100 {
        read(&session, "pg_catalog", "pg_attribute", Hint { oid: Some(("attrelid", 16384)), name: None });
    }
    assert!(start.elapsed().as_millis() < 1000, "{:?}", start.elapsed());
}
