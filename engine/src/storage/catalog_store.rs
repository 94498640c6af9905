//! The catalog's rows in storage: they are rows of the system tables like any other.

use std::collections::BTreeSet;
use std::sync::Arc;

use kalamdb_catalog::row::{self, CatalogValue, SystemTable};
use kalamdb_catalog::{Catalog, CatalogChange, Oid, PgType, Result, SqlError, TableDefinition};

use super::{Batch, RowLayout, Storage, keys};
use crate::txn::CatalogWrite;
use crate::types::Value;

/// The sequence number of what a fresh directory begins with.
const INITIAL_SEQ: u64 = 1;

/// The row writes of a change, as a transaction takes them. `before` is the catalog it is applied to.
pub fn writes(change: &CatalogChange, before: &Catalog) -> Result<Vec<CatalogWrite>> {
    row::rows_of(change, before).into_iter().map(|w| encode(w, before)).collect()
}

/// The row writes that a commit of `changes` adds: how many relations a schema has. `before` is what is committed.
pub fn recounted(changes: &[CatalogChange], before: &Catalog) -> Result<Vec<CatalogWrite>> {
    row::recounted(changes, before).into_iter().map(|w| encode(w, before)).collect()
}

fn encode(write: row::CatalogWrite, catalog: &Catalog) -> Result<CatalogWrite> {
    let key = keys::encode_key(write.table.storage(), None, &[(PgType::OID, Value::Oid(write.key))]);
    let row = match write.row {
        None => None,
        Some(values) => {
            let values: Vec<Value<'_>> = values.iter().map(to_value).collect();
            Some(layout(write.table, catalog)?.encode(&values))
        }
    };
    Ok(CatalogWrite { table: write.table.oid(), key, row })
}

/// The commit that last changed the definition of a relation.
pub fn last_change(storage: &Storage, relation: &TableDefinition) -> Result<u64> {
    let key = keys::encode_key(SystemTable::Tables.storage(), None, &[(PgType::OID, Value::Oid(relation.oid))]);
    Ok(storage.newest_seq(&key)?.unwrap_or(0))
}

/// The newest committed catalog.
pub fn load(storage: &Arc<Storage>) -> Result<Catalog> {
    let builtins = kalamdb_catalog::bootstrap();
    let seq = storage.last_seq()?;
    let mut rows = Vec::new();
    for table in SystemTable::ALL {
        let layout = layout(table, &builtins)?;
        let (start, end) = keys::storage_range(table.storage());
        let mut scan = storage.scan(start, end, seq, false);
        while let Some(found) = scan.next()? {
            let values = layout.decode(found.row)?.iter().map(from_value).collect::<Result<Vec<_>>>()?;
            rows.push((table, values));
        }
    }
    row::load(rows)
}

/// Adds the rows of a fresh data directory to `batch`.
pub fn initialize(
    storage: &Storage,
    batch: &mut Batch,
    (catalog, changes): &(Catalog, Vec<CatalogChange>),
) -> Result<()> {
    for write in row::rows_of_all(changes, catalog) {
        let write = encode(write, catalog)?;
        if let Some(row) = write.row {
            batch.put_row(storage, &write.key, INITIAL_SEQ, &row);
        }
    }
    batch.put_last_seq(storage, INITIAL_SEQ);
    Ok(())
}

/// Drops what sessions that have ended without a word have left: their temporary relations. Gives the catalog without them.
pub fn without_temporary(storage: &Storage, mut catalog: Catalog, prefix: &str) -> Result<Catalog> {
    let schemas = catalog.databases().flat_map(|d| catalog.schemas(d.oid)).filter(|s| s.name.starts_with(prefix));
    let schemas: BTreeSet<Oid> = schemas.map(|s| s.oid).collect();
    if schemas.is_empty() {
        return Ok(catalog);
    }
    let tables = catalog.tables().map(|t| &t.definition).filter(|t| schemas.contains(&t.schema));
    let mut changes: Vec<CatalogChange> = tables.map(|t| CatalogChange::DropTable(t.oid)).collect();
    changes.extend(schemas.iter().map(|oid| CatalogChange::DropSchema(*oid)));
    let seq = storage.last_seq()? + 1;
    let mut batch = Batch::default();
    for change in &changes {
        for write in writes(change, &catalog)? {
            batch.put_row(storage, &write.key, seq, &write.row.unwrap_or_default());
        }
        catalog.apply(change);
    }
    batch.put_last_seq(storage, seq);
    storage.write(batch, true)?;
    Ok(catalog)
}

fn layout(table: SystemTable, catalog: &Catalog) -> Result<RowLayout> {
    match catalog.table(table.oid()) {
        Some(found) => RowLayout::new(&found.definition),
        None => Err(SqlError::internal("a system table has no definition")),
    }
}

fn to_value(value: &CatalogValue) -> Value<'_> {
    match value {
        CatalogValue::Null => Value::Null,
        CatalogValue::Oid(v) => Value::Oid(*v),
        CatalogValue::Int4(v) => Value::Int4(*v),
        CatalogValue::Int8(v) => Value::Int8(*v),
        CatalogValue::Text(v) => Value::Text(v.as_str().into()),
        CatalogValue::Timestamp(v) => Value::Timestamp(*v),
    }
}

fn from_value(value: &Value<'_>) -> Result<CatalogValue> {
    Ok(match value {
        Value::Null => CatalogValue::Null,
        Value::Oid(v) => CatalogValue::Oid(*v),
        Value::Int4(v) => CatalogValue::Int4(*v),
        Value::Int8(v) => CatalogValue::Int8(*v),
        Value::Text(v) => CatalogValue::Text(v.clone().into_owned()),
        Value::Timestamp(v) => CatalogValue::Timestamp(*v),
        _ => return Err(SqlError::internal("a system table has a column of another type")),
    })
}
