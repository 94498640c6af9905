//! INSERT, UPDATE and DELETE: the rows of the bound query, applied by key.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt64Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::common::ScalarValue;
use futures::TryStreamExt;
use kalamdb_catalog::{CachedTableData, Result, SqlError};

use super::foreign;
use super::target::{FailedChecks, Target};
use super::upsert::Upsert;
use crate::context::AppContext;
use crate::providers::{GivenRow, Substitute};
use crate::session::Session;
use crate::sql::bind::{BoundDml, DmlKind, IDENTITY, MERGE_IDENTITY};
use crate::sql::index_entries::RowValues;
use crate::sql::plan::StatementContext;
use crate::sql::{Column, Response};
use crate::txn::{ApplyOutcome, LockMode, RowState, StatementWrites};

pub(crate) async fn run(session: &mut Session, dml: &BoundDml, parameters: &[ScalarValue]) -> Result<Response> {
    let statement = super::select::statement_context(session)?;
    let target = Target::new(session, &dml.table)?;
    let mut writes = session.open_transaction()?.statement();
    let (count, shown) = collect(session, &target, &mut writes, dml, parameters, statement).await?;
    finish(session, std::slice::from_ref(&target), writes).await?;
    respond(dml, count, shown)
}

/// Runs the statement's query and adds its writes: how many rows took effect, and what RETURNING shows of them.
pub(super) async fn collect(
    session: &mut Session,
    target: &Target,
    writes: &mut StatementWrites,
    dml: &BoundDml,
    parameters: &[ScalarValue],
    statement: Arc<StatementContext>,
) -> Result<(usize, Vec<RecordBatch>)> {
    let mut rows = session.app().engine.run(&dml.plan, parameters, Arc::clone(&statement)).await?;
    let mut done = Done { count: 0, shown: Vec::new() };
    let upsert = Upsert::new(session, dml, target.types(), parameters, &statement)?;
    let again = Again { app: Arc::clone(session.app()), dml, parameters, statement };
    while let Some(batch) = rows.try_next().await? {
        match (dml.kind, &upsert) {
            (DmlKind::Insert, Some(upsert)) => upsert.rows(session, target, writes, &batch, &mut done).await?,
            (DmlKind::Insert, None) => insert_rows(session, target, writes, dml, &batch, &mut done).await?,
            (DmlKind::Merge, _) => super::merge::rows(session, target, writes, &again, &batch, &mut done).await?,
            (DmlKind::Update | DmlKind::Delete, _) => change_rows(target, writes, &again, &batch, &mut done).await?,
        }
    }
    Ok((done.count, done.shown))
}

/// What a statement has done so far.
pub(super) struct Done {
    pub(super) count: usize,
    /// RETURNING's rows.
    pub(super) shown: Vec<RecordBatch>,
}

impl Done {
    fn add(&mut self, dml: &BoundDml, batch: &RecordBatch, skip: usize, applied: &mut Vec<u64>) -> Result<()> {
        self.count += applied.len();
        if dml.returning.is_some() && !applied.is_empty() {
            self.shown.push(returning_part(batch, skip, applied)?);
        }
        applied.clear();
        Ok(())
    }
}

/// Looks again at a row that another transaction has changed: the statement's query, with the row as it is now in place
/// of its table, and everything else as the statement's snapshot has it (manual, section 13.2.1).
pub(super) struct Again<'a> {
    app: Arc<AppContext>,
    pub(super) dml: &'a BoundDml,
    parameters: &'a [ScalarValue],
    statement: Arc<StatementContext>,
}

impl Again<'_> {
    /// A row's new values, in a batch of one; None if it does not fulfil the conditions any more. The rows it has been joined
    /// with are those of the batch.
    pub(super) async fn look(&self, batch: &RecordBatch, row: usize, newest: GivenRow) -> Result<Option<RecordBatch>> {
        self.run(batch, row, Some(newest)).await
    }

    /// The same for a row that has gone: the rows it had been joined with, alone.
    pub(super) async fn without(&self, batch: &RecordBatch, row: usize) -> Result<Option<RecordBatch>> {
        self.run(batch, row, None).await
    }

    async fn run(&self, batch: &RecordBatch, row: usize, newest: Option<GivenRow>) -> Result<Option<RecordBatch>> {
        let mut substitutes = vec![Substitute { mark: self.dml.mark, row: newest }];
        let first = if self.dml.kind == DmlKind::Merge { MERGE_IDENTITY } else { IDENTITY };
        for (mark, column) in self.dml.others.iter().zip(&batch.columns()[first..]) {
            let keys = column.as_binary::<i32>();
            let key = keys.is_valid(row).then(|| keys.value(row));
            substitutes.push(Substitute::seen(&self.statement.reader, *mark, key)?);
        }
        let statement = Arc::new(StatementContext { substitutes, ..(*self.statement).clone() });
        let mut rows = self.app.engine.run(&self.dml.plan, self.parameters, statement).await?;
        while let Some(batch) = rows.try_next().await? {
            if batch.num_rows() > 0 {
                return Ok(Some(batch.slice(0, 1)));
            }
        }
        Ok(None)
    }
}

/// The response: a tag with the count, or RETURNING's rows.
pub(crate) fn respond(dml: &BoundDml, count: usize, shown: Vec<RecordBatch>) -> Result<Response> {
    let tag = match dml.kind {
        DmlKind::Insert => "INSERT 0",
        DmlKind::Update => "UPDATE",
        DmlKind::Delete => "DELETE",
        DmlKind::Merge => "MERGE",
    };
    match &dml.returning {
        None => Ok(Response::Complete { tag: format!("{tag} {count}") }),
        Some(columns) => {
            let rows = futures::stream::iter(shown.into_iter().map(Ok));
            Ok(Response::Rows { columns: columns.clone(), rows: Box::pin(rows), tag })
        }
    }
}

/// Makes a statement's writes to `targets` part of the transaction, and looks at the constraints that they touch.
pub(crate) async fn finish(session: &mut Session, targets: &[Target], mut writes: StatementWrites) -> Result<()> {
    let checks = writes.take_checks();
    let target = |table| targets.iter().find(|t| t.oid() == table);
    match session.open_transaction()?.apply(writes)? {
        ApplyOutcome::Ok => {}
        ApplyOutcome::Duplicate { table, row } => {
            let target =
                target(table).ok_or_else(|| SqlError::internal("a duplicate in a table that was not written"))?;
            return Err(target.duplicate_stored(&row)?);
        }
        ApplyOutcome::DuplicateEntry { index, row } => {
            let target = targets.iter().find(|t| t.indexes.iter().any(|i| i.oid() == index));
            let target = target.ok_or_else(|| SqlError::internal("a duplicate in an index that was not written"))?;
            return Err(target.duplicate_entry_stored(index, &row)?);
        }
    }
    if checks.is_empty() { Ok(()) } else { foreign::after_statement(session, checks).await }
}

/// The new values of UPDATE's plan.
fn new_values<'b>(target: &Target, dml: &BoundDml, batch: &'b RecordBatch) -> &'b [ArrayRef] {
    let first = IDENTITY + dml.others.len();
    &batch.columns()[first..first + target.types().len()]
}

async fn insert_rows(
    session: &mut Session,
    target: &Target,
    writes: &mut StatementWrites,
    dml: &BoundDml,
    batch: &RecordBatch,
    done: &mut Done,
) -> Result<()> {
    let rows = batch.num_rows();
    let columns = &batch.columns()[..target.types().len()];
    let first_id = target.row_ids(session, rows)?;
    let failed = target.failed_checks(columns)?;
    let mut applied = Vec::with_capacity(rows);
    for at in 0..rows {
        let row = RowValues::Arrays(columns, at);
        target.check_row(&failed, &row, at)?;
        target.insert(writes, &row, first_id + at as u64).await?;
        applied.push(at as u64);
    }
    done.add(dml, batch, target.types().len(), &mut applied)
}

/// UPDATE and DELETE.
async fn change_rows(
    target: &Target,
    writes: &mut StatementWrites,
    again: &Again<'_>,
    batch: &RecordBatch,
    done: &mut Done,
) -> Result<()> {
    let updates = again.dml.kind == DmlKind::Update;
    let skip = IDENTITY + again.dml.others.len() + if updates { target.types().len() } else { 0 };
    let keys = batch.column(0).as_binary::<i32>();
    let failed = if updates { Some(target.failed_checks(new_values(target, again.dml, batch))?) } else { None };
    let mut applied = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let key = keys.value(row);
        let mode = lock_mode(target, again.dml, batch, row)?;
        match writes.lock_row(target.reference(), key, mode).await? {
            RowState::Seen => {
                if change(target, writes, again.dml, (batch, row), failed.as_ref()).await? {
                    applied.push(row as u64);
                }
            }
            RowState::Gone | RowState::Locked => {}
            RowState::Changed(seq, newest) => {
                let newest = GivenRow { key: Bytes::copy_from_slice(key), seq, row: newest };
                let Some(fresh) = again.look(batch, row, newest).await? else { continue };
                // It may have to come to another key by now.
                let mode = lock_mode(target, again.dml, &fresh, 0)?;
                writes.lock_row(target.reference(), key, mode).await?;
                let failed =
                    if updates { Some(target.failed_checks(new_values(target, again.dml, &fresh))?) } else { None };
                if change(target, writes, again.dml, (&fresh, 0), failed.as_ref()).await? {
                    done.add(again.dml, batch, skip, &mut applied)?;
                    done.add(again.dml, &fresh, skip, &mut vec![0])?;
                }
            }
        }
    }
    done.add(again.dml, batch, skip, &mut applied)
}

/// The lock that a change of a row needs.
fn lock_mode(target: &Target, dml: &BoundDml, batch: &RecordBatch, row: usize) -> Result<LockMode> {
    if dml.kind == DmlKind::Delete {
        return Ok(LockMode::UPDATE);
    }
    let (key, old) = identity(batch, row);
    let values = RowValues::Arrays(new_values(target, dml, batch), row);
    // A NULL in a key is told of before the key is made.
    target.check_not_null(&values)?;
    target.lock_mode(key, old, &values)
}

/// The key and the stored bytes of the row that is to be changed.
fn identity(batch: &RecordBatch, row: usize) -> (&[u8], &[u8]) {
    (batch.column(0).as_binary::<i32>().value(row), batch.column(1).as_binary::<i32>().value(row))
}

/// Changes a row whose lock is held; false if the statement has changed it already.
async fn change(
    target: &Target,
    writes: &mut StatementWrites,
    dml: &BoundDml,
    (batch, row): (&RecordBatch, usize),
    failed: Option<&FailedChecks>,
) -> Result<bool> {
    let (key, old) = identity(batch, row);
    let Some(failed) = failed else { return target.delete(writes, key, old) };
    let values = RowValues::Arrays(new_values(target, dml, batch), row);
    target.check_row(failed, &values, row)?;
    target.replace(writes, key, old, &values).await
}

/// The columns of RETURNING for the rows that took effect.
fn returning_part(batch: &RecordBatch, skip: usize, applied: &[u64]) -> Result<RecordBatch> {
    let arrow = |e: datafusion::arrow::error::ArrowError| SqlError::internal(e.to_string());
    let rows = UInt64Array::from(applied.to_vec());
    let mut fields: Vec<Arc<Field>> = Vec::new();
    let mut columns = Vec::new();
    for (i, column) in batch.columns().iter().enumerate().skip(skip) {
        fields.push(Arc::new(batch.schema().field(i).clone()));
        columns.push(take(column, &rows, None).map_err(arrow)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(applied.len()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).map_err(arrow)
}

/// Columns of a table, as COPY and RETURNING announce them.
pub(crate) fn table_columns(table: &CachedTableData) -> Vec<Column> {
    table
        .definition
        .live_columns()
        .map(|(i, c)| Column {
            name: c.name.clone(),
            ty: c.ty,
            typmod: c.typmod,
            table: table.definition.oid,
            attribute: i as i16 + 1,
        })
        .collect()
}
