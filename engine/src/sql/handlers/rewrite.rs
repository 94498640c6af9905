//! Filling a storage that no committed catalog names yet: CREATE TABLE AS, ADD PRIMARY KEY, ALTER TYPE.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::logical_expr::LogicalPlan;
use futures::TryStreamExt;
use kalamdb_catalog::index::IndexDefinition;
use kalamdb_catalog::{CachedTableData, Oid, Result, SqlError, SqlState};

use super::target::Target;
use crate::session::Session;
use crate::sql::index_entries::RowValues;
use crate::storage::{BulkOutcome, BulkWriter, keys};

/// What a duplicate key is called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duplicate {
    Key,
    /// "could not create unique index"
    Index,
}

/// Writes the plan's rows (one column for each live column of `table`) to the table's storage, and their entries to those of
/// its indexes.
pub(crate) async fn fill(
    session: &mut Session,
    table: &Arc<CachedTableData>,
    plan: &LogicalPlan,
    duplicate: Duplicate,
) -> Result<u64> {
    let statement = super::select::statement_context(session)?;
    let target = Target::new(session, table)?;
    let mut rows = session.app().engine.run(plan, &[], statement).await?;
    let mut writer = session.open_transaction()?.bulk(table.definition.storage);
    let mut entries = EntryWriters::new(session, &target)?;
    while let Some(batch) = rows.try_next().await? {
        let first_id = target.row_ids(session, batch.num_rows())?;
        let columns = batch.columns();
        for at in 0..batch.num_rows() {
            if let Some(null) = target.first_null(columns, at) {
                return Err(SqlError::new(
                    SqlState::NOT_NULL_VIOLATION,
                    format!("column \"{null}\" of relation \"{}\" contains null values", table.definition.name),
                )
                .table(target.schema_name(), &table.definition.name)
                .column(null));
            }
            let row = RowValues::Arrays(columns, at);
            let key = target.key_of(&row, first_id + at as u64);
            entries.put(&target, &row, &key)?;
            writer.put(&key, &row.encode(target.layout()))?;
        }
    }
    match writer.finish()? {
        BulkOutcome::Done(rows) => {
            entries.finish(session, &target)?;
            Ok(rows)
        }
        BulkOutcome::Duplicate(row) => {
            let error = target.duplicate_stored(&row)?;
            Err(if duplicate == Duplicate::Key { error } else { no_unique_index(&error) })
        }
    }
}

/// Fills the storages of indexes, by number, from the rows that are there.
pub(crate) async fn fill_indexes(session: &mut Session, table: &Arc<CachedTableData>, indexes: &[Oid]) -> Result<()> {
    let mut target = Target::new(session, table)?;
    target.indexes.retain(|i| indexes.contains(&i.oid()));
    let mut entries = EntryWriters::new(session, &target)?;
    let reader = session.open_transaction()?.reader();
    let cancel = session.cancel_handle();
    let (start, end) = keys::storage_range(table.definition.storage);
    let mut scan = reader.scan(start, end, false);
    let mut rows = 0u32;
    while let Some(found) = scan.next()? {
        rows = rows.wrapping_add(1);
        if rows.is_multiple_of(1024) {
            cancel.check()?;
            tokio::task::yield_now().await;
        }
        let values = target.layout().decode(found.row)?;
        entries.put(&target, &RowValues::Values(&values), found.key)?;
    }
    drop(scan);
    entries.finish(session, &target)
}

/// Writers of a target's indexes, in their order.
struct EntryWriters(Vec<BulkWriter>);

impl EntryWriters {
    fn new(session: &mut Session, target: &Target) -> Result<EntryWriters> {
        let txn = session.open_transaction()?;
        Ok(EntryWriters(target.indexes.iter().map(|i| txn.bulk(i.definition.storage)).collect()))
    }

    fn put(&mut self, target: &Target, row: &RowValues<'_>, key: &[u8]) -> Result<()> {
        for (index, writer) in target.indexes.iter().zip(&mut self.0) {
            if let Some(entry) = index.entry(row, key)? {
                writer.put(&entry.key, &entry.value)?;
            }
        }
        Ok(())
    }

    /// 23505 if two rows have one key.
    fn finish(self, session: &mut Session, target: &Target) -> Result<()> {
        for (index, writer) in target.indexes.iter().zip(self.0) {
            if let BulkOutcome::Duplicate(value) = writer.finish()? {
                let row = keys::row_of_entry(&[], &value).map(|row| {
                    let mut key = target.reference().storage.to_be_bytes().to_vec();
                    key.extend_from_slice(row);
                    key
                });
                let key = row.ok_or_else(|| SqlError::internal("an index's entry is damaged"))?;
                let row = session.open_transaction()?.reader().get(&key)?;
                let row = row.ok_or_else(|| SqlError::internal("an index has an entry without a row"))?;
                return Err(no_unique_index(&target.duplicate_entry_stored(index.oid(), &row)?));
            }
        }
        for index in target.indexes.iter().filter(|i| i.definition.unique && !i.definition.immediate) {
            if let Some(row) = repeated(session, target, &index.definition)? {
                return Err(no_unique_index(&target.duplicate_entry_stored(index.oid(), &row)?));
            }
        }
        Ok(())
    }
}

/// A row whose key another one has too, in an index that lets that be for a while.
fn repeated(session: &mut Session, target: &Target, index: &IndexDefinition) -> Result<Option<Bytes>> {
    let reader = session.open_transaction()?.reader();
    let (start, end) = keys::storage_range(index.storage);
    let mut entries = reader.scan(start, end, false);
    let mut before: Vec<u8> = Vec::new();
    while let Some(entry) = entries.next()? {
        let damaged = || SqlError::internal("an index's entry is damaged");
        let row_key = keys::row_of_entry(entry.key, entry.row).ok_or_else(damaged)?;
        let key = entry.key.len().checked_sub(row_key.len()).and_then(|at| entry.key.get(..at)).ok_or_else(damaged)?;
        if key == before {
            let mut full = target.reference().storage.to_be_bytes().to_vec();
            full.extend_from_slice(row_key);
            let row = reader.get(&full)?.ok_or_else(|| SqlError::internal("an index has an entry without a row"))?;
            let values = target.layout().decode(&row)?;
            // Keys with NULLs are as many as there are rows.
            if target.deferred_keys(&RowValues::Values(&values))?.iter().any(|(oid, _)| *oid == index.oid) {
                return Ok(Some(row));
            }
        }
        before.clear();
        before.extend_from_slice(key);
    }
    Ok(None)
}

/// A duplicate as the building of an index tells of it.
fn no_unique_index(error: &SqlError) -> SqlError {
    let fields = error.fields();
    let name = fields.constraint.clone().unwrap_or_default();
    let detail = fields.detail.clone().unwrap_or_default();
    SqlError::new(SqlState::UNIQUE_VIOLATION, format!("could not create unique index \"{name}\""))
        .detail(detail.replace(" already exists.", " is duplicated."))
        .table(fields.schema.clone().unwrap_or_default(), fields.table.clone().unwrap_or_default())
        .constraint(name)
}
