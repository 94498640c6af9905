//! Filling a storage that no committed catalog names yet: CREATE TABLE AS, ADD PRIMARY KEY, ALTER TYPE.

use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use futures::TryStreamExt;
use kalamdb_catalog::{CachedTableData, Result, SqlError, SqlState};

use super::dml::Target;
use crate::session::Session;
use crate::storage::BulkOutcome;

/// What a duplicate key is called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duplicate {
    Key,
    /// "could not create unique index"
    Index,
}

/// Writes the plan's rows (one column for each live column of `table`) to the table's storage.
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
    while let Some(batch) = rows.try_next().await? {
        let first_id = target.row_ids(session, batch.num_rows())?;
        for row in 0..batch.num_rows() {
            let columns = batch.columns();
            if let Some(null) = target.first_null(columns, row) {
                return Err(SqlError::new(
                    SqlState::NOT_NULL_VIOLATION,
                    format!("column \"{null}\" of relation \"{}\" contains null values", table.definition.name),
                )
                .table(target.schema_name(), &table.definition.name)
                .column(null));
            }
            let key = target.key_of(columns, row, first_id + row as u64);
            writer.put(&key, &target.layout().encode_arrays(columns, row))?;
        }
    }
    match writer.finish()? {
        BulkOutcome::Done(rows) => Ok(rows),
        BulkOutcome::Duplicate(row) => {
            let error = target.duplicate(&row)?;
            if duplicate == Duplicate::Key {
                return Err(error);
            }
            let name = error.fields().constraint.clone().unwrap_or_default();
            let detail = error.fields().detail.clone().unwrap_or_default();
            Err(SqlError::new(SqlState::UNIQUE_VIOLATION, format!("could not create unique index \"{name}\""))
                .detail(detail.replace(" already exists.", " is duplicated."))
                .table(error.fields().schema.clone().unwrap_or_default(), &table.definition.name)
                .constraint(name))
        }
    }
}
