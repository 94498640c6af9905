//! MERGE: the rows of the bound query, each with the action that it asks for.

use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int32Type;
use kalamdb_catalog::{Result, SqlError, SqlState};

use super::dml::{Again, Done};
use super::target::Target;
use crate::providers::GivenRow;
use crate::session::Session;
use crate::sql::bind::{BoundDml, MERGE_IDENTITY, MergeAction};
use crate::sql::index_entries::RowValues;
use crate::txn::{LockMode, RowState, StatementWrites};

pub(super) async fn rows(
    session: &mut Session,
    target: &Target,
    writes: &mut StatementWrites,
    again: &Again<'_>,
    batch: &RecordBatch,
    done: &mut Done,
) -> Result<()> {
    for row in 0..batch.num_rows() {
        if one(session, target, writes, again, &batch.slice(row, 1)).await? {
            done.count += 1;
        }
    }
    Ok(())
}

/// The action of a row; None: there is nothing to be done.
fn action(dml: &BoundDml, row: &RecordBatch) -> Option<MergeAction> {
    let number = row.column(2).as_primitive::<Int32Type>().value(0);
    usize::try_from(number).ok().and_then(|n| dml.actions.get(n)).copied().filter(|a| *a != MergeAction::Nothing)
}

/// The new values in a row.
fn values<'b>(dml: &BoundDml, target: &Target, row: &'b RecordBatch) -> &'b [ArrayRef] {
    let first = MERGE_IDENTITY + dml.others.len();
    &row.columns()[first..first + target.types().len()]
}

/// Carries out what one row of the join asks for; true if a row has been changed.
async fn one(
    session: &mut Session,
    target: &Target,
    writes: &mut StatementWrites,
    again: &Again<'_>,
    row: &RecordBatch,
) -> Result<bool> {
    let dml = again.dml;
    let mut row = row.clone();
    loop {
        let Some(action) = action(dml, &row) else { return Ok(false) };
        let columns = values(dml, target, &row).to_vec();
        let new = RowValues::Arrays(&columns, 0);
        if action == MergeAction::Insert {
            target.check_row(&target.failed_checks(&columns)?, &new, 0)?;
            let id = target.row_ids(session, 1)?;
            target.insert(writes, &new, id).await?;
            return Ok(true);
        }
        let (keys, rows) = (row.column(0).as_binary::<i32>().clone(), row.column(1).as_binary::<i32>().clone());
        if !keys.is_valid(0) {
            return Err(SqlError::internal("a matched row has no key"));
        }
        let (key, old) = (keys.value(0), rows.value(0));
        let mode = match action {
            MergeAction::Update => {
                target.check_not_null(&new)?;
                target.lock_mode(key, old, &new)?
            }
            _ => LockMode::UPDATE,
        };
        match writes.lock_row(target.reference(), key, mode).await? {
            RowState::Seen => {}
            RowState::Changed(seq, newest) if newest != old => {
                let newest = GivenRow { key: Bytes::copy_from_slice(key), seq, row: newest };
                match again.look(&row, 0, newest).await? {
                    Some(fresh) => row = fresh,
                    None => return Ok(false),
                }
                continue;
            }
            RowState::Changed(..) => {}
            // Deleted meanwhile: the source's row matches nothing any more.
            RowState::Gone | RowState::Locked => match again.without(&row, 0).await? {
                Some(fresh) => {
                    row = fresh;
                    continue;
                }
                None => return Ok(false),
            },
        }
        let changed = match action {
            MergeAction::Update => {
                target.check_row(&target.failed_checks(&columns)?, &new, 0)?;
                target.replace(writes, key, old, &new).await?
            }
            _ => target.delete(writes, key, old)?,
        };
        return if changed { Ok(true) } else { Err(second_time()) };
    }
}

fn second_time() -> SqlError {
    SqlError::new(SqlState::CARDINALITY_VIOLATION, "MERGE command cannot affect row a second time")
        .hint("Ensure that not more than one source row matches any one target row.")
}
