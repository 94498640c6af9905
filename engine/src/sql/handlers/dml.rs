//! INSERT, UPDATE and DELETE: the rows of the bound query, applied by key.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt64Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::common::ScalarValue;
use futures::TryStreamExt;
use kalamdb_catalog::{CachedTableData, PgType, Result, SqlError, SqlState};

use super::upsert::Upsert;
use crate::context::AppContext;
use crate::providers::{GivenRow, Substitute};
use crate::session::Session;
use crate::sql::bind::{BoundDml, DmlKind, IDENTITY};
use crate::sql::plan::StatementContext;
use crate::sql::{Column, Response};
use crate::storage::{RowLayout, keys};
use crate::txn::{ApplyOutcome, Existing, InsertOutcome, LockMode, RowState, StatementWrites, TableRef};
use crate::types::{FormatSettings, Value, write_text};

pub(crate) async fn run(session: &mut Session, dml: &BoundDml, parameters: &[ScalarValue]) -> Result<Response> {
    let statement = super::select::statement_context(session)?;
    let target = Target::new(session, &dml.table)?;
    let mut writes = session.open_transaction()?.statement();
    let (count, shown) = collect(session, &target, &mut writes, dml, parameters, statement).await?;
    finish(session, std::slice::from_ref(&target), writes)?;
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
    let upsert = Upsert::new(session, dml, &target.types, parameters)?;
    let again = Again { app: Arc::clone(session.app()), dml, parameters, statement };
    while let Some(batch) = rows.try_next().await? {
        match (dml.kind, &upsert) {
            (DmlKind::Insert, Some(upsert)) => upsert.rows(session, target, writes, &batch, &mut done).await?,
            (DmlKind::Insert, None) => target.insert_rows(session, writes, dml, &batch, &mut done).await?,
            (DmlKind::Update | DmlKind::Delete, _) => target.change_rows(writes, &again, &batch, &mut done).await?,
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
struct Again<'a> {
    app: Arc<AppContext>,
    dml: &'a BoundDml,
    parameters: &'a [ScalarValue],
    statement: Arc<StatementContext>,
}

impl Again<'_> {
    /// A row's new values, in a batch of one; None if it does not fulfil the conditions any more. The rows it has been joined
    /// with are those of the batch.
    async fn look(&self, batch: &RecordBatch, row: usize, newest: GivenRow) -> Result<Option<RecordBatch>> {
        let mut substitutes = vec![Substitute { mark: self.dml.mark, row: Some(newest) }];
        for (mark, column) in self.dml.others.iter().zip(&batch.columns()[IDENTITY..]) {
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
    };
    match &dml.returning {
        None => Ok(Response::Complete { tag: format!("{tag} {count}") }),
        Some(columns) => {
            let rows = futures::stream::iter(shown.into_iter().map(Ok));
            Ok(Response::Rows { columns: columns.clone(), rows: Box::pin(rows), tag })
        }
    }
}

/// The table a statement writes, with what its rows are made and checked by.
pub(crate) struct Target {
    table: Arc<CachedTableData>,
    reference: TableRef,
    layout: Arc<RowLayout>,
    /// Types of the live columns.
    types: Vec<PgType>,
    /// Live positions of NOT NULL columns.
    not_null: Vec<usize>,
    /// Live positions and types of the primary key.
    key: Vec<(usize, PgType)>,
    format: Arc<FormatSettings>,
    /// Name of the table's schema, for errors.
    schema_of: String,
}

/// Makes a statement's writes to `targets` part of the transaction.
pub(super) fn finish(session: &mut Session, targets: &[Target], writes: StatementWrites) -> Result<()> {
    match session.open_transaction()?.apply(writes)? {
        ApplyOutcome::Ok => Ok(()),
        ApplyOutcome::Duplicate { table, row } => match targets.iter().find(|t| t.oid() == table) {
            Some(target) => Err(target.duplicate(&row)?),
            None => Err(SqlError::internal("a duplicate in a table that was not written")),
        },
    }
}

impl Target {
    pub(crate) fn new(session: &Session, table: &Arc<CachedTableData>) -> Result<Target> {
        let definition = &table.definition;
        let layout = Arc::new(RowLayout::new(definition)?);
        let live: Vec<usize> = definition.live_columns().map(|(i, _)| i).collect();
        let key = definition.primary_key.iter().flat_map(|k| &k.columns);
        let key = key
            .map(|i| {
                let position = live.iter().position(|l| l == i);
                position
                    .map(|p| (p, definition.columns[*i].ty))
                    .ok_or_else(|| SqlError::internal("a key column has been dropped"))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Target {
            table: Arc::clone(table),
            reference: TableRef::new(Arc::clone(&layout)),
            types: definition.live_columns().map(|(_, c)| c.ty).collect(),
            not_null: definition
                .live_columns()
                .enumerate()
                .filter(|(_, (_, c))| c.not_null)
                .map(|(live, _)| live)
                .collect(),
            key,
            layout,
            format: session.context().format(),
            schema_of: session
                .context()
                .catalog()
                .schema(definition.schema)
                .map_or_else(String::new, |s| s.name.clone()),
        })
    }

    pub(crate) fn layout(&self) -> &Arc<RowLayout> {
        &self.layout
    }

    pub(crate) fn key_columns(&self) -> &[(usize, PgType)] {
        &self.key
    }

    /// The new values of UPDATE's plan.
    fn new_values<'b>(&self, dml: &BoundDml, batch: &'b RecordBatch) -> &'b [ArrayRef] {
        let first = IDENTITY + dml.others.len();
        &batch.columns()[first..first + self.types.len()]
    }

    async fn insert_rows(
        &self,
        session: &mut Session,
        writes: &mut StatementWrites,
        dml: &BoundDml,
        batch: &RecordBatch,
        done: &mut Done,
    ) -> Result<()> {
        let rows = batch.num_rows();
        let columns = &batch.columns()[..self.types.len()];
        let first_id = self.row_ids(session, rows)?;
        let mut applied = Vec::with_capacity(rows);
        for row in 0..rows {
            self.check_not_null(columns, row)?;
            let key = self.key_of(columns, row, first_id + row as u64);
            writes.lock_key(&self.reference, &key).await?;
            self.insert(writes, key, self.layout.encode_arrays(columns, row))?;
            applied.push(row as u64);
        }
        done.add(dml, batch, self.types.len(), &mut applied)
    }

    /// UPDATE and DELETE.
    async fn change_rows(
        &self,
        writes: &mut StatementWrites,
        again: &Again<'_>,
        batch: &RecordBatch,
        done: &mut Done,
    ) -> Result<()> {
        let updates = again.dml.kind == DmlKind::Update;
        let skip = IDENTITY + again.dml.others.len() + if updates { self.types.len() } else { 0 };
        let keys = batch.column(0).as_binary::<i32>();
        let mut applied = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let key = keys.value(row);
            let mode = self.lock_mode(again.dml, key, batch, row)?;
            match writes.lock_row(&self.reference, key, mode).await? {
                RowState::Seen => {
                    if self.change(writes, again.dml, batch, row).await? {
                        applied.push(row as u64);
                    }
                }
                RowState::Gone | RowState::Locked => {}
                RowState::Changed(seq, newest) => {
                    let newest = GivenRow { key: Bytes::copy_from_slice(key), seq, row: newest };
                    let Some(fresh) = again.look(batch, row, newest).await? else { continue };
                    // It may have to come to another key by now.
                    let mode = self.lock_mode(again.dml, key, &fresh, 0)?;
                    writes.lock_row(&self.reference, key, mode).await?;
                    if self.change(writes, again.dml, &fresh, 0).await? {
                        done.add(again.dml, batch, skip, &mut applied)?;
                        done.add(again.dml, &fresh, skip, &mut vec![0])?;
                    }
                }
            }
        }
        done.add(again.dml, batch, skip, &mut applied)
    }

    /// The lock that a change of a row needs. 23502 for a new value that may not be.
    fn lock_mode(&self, dml: &BoundDml, key: &[u8], batch: &RecordBatch, row: usize) -> Result<LockMode> {
        if dml.kind == DmlKind::Delete {
            return Ok(LockMode::UPDATE);
        }
        let values = self.new_values(dml, batch);
        self.check_not_null(values, row)?;
        let keeps_key = self.key.is_empty() || self.key_of(values, row, 0) == key;
        Ok(if keeps_key { LockMode::NO_KEY_UPDATE } else { LockMode::UPDATE })
    }

    /// Changes a row whose lock is held; false if the statement has changed it already.
    async fn change(
        &self,
        writes: &mut StatementWrites,
        dml: &BoundDml,
        batch: &RecordBatch,
        row: usize,
    ) -> Result<bool> {
        let (key, old) = (batch.column(0).as_binary::<i32>().value(row), batch.column(1).as_binary::<i32>().value(row));
        if dml.kind == DmlKind::Delete {
            return writes.delete(&self.reference, key, old);
        }
        self.replace(writes, key, old, (self.new_values(dml, batch), row)).await
    }

    /// Gives a row whose lock is held the values of a row of columns; false if the statement has changed it already.
    pub(super) async fn replace(
        &self,
        writes: &mut StatementWrites,
        key: &[u8],
        old: &[u8],
        (values, row): (&[ArrayRef], usize),
    ) -> Result<bool> {
        let new = self.layout.encode_arrays(values, row);
        if !self.key.is_empty() {
            let new_key = self.key_of(values, row, 0);
            if new_key != key {
                writes.lock_key(&self.reference, &new_key).await?;
                return writes.rekey(&self.reference, key, old, new_key, new);
            }
        }
        writes.update(&self.reference, key, old, new)
    }

    /// What is there under a key that is locked.
    pub(super) fn existing(&self, writes: &mut StatementWrites, key: &[u8]) -> Result<Existing> {
        writes.existing(&self.reference, key)
    }

    /// Row ids for tables without a primary key; 0 where none are needed.
    pub(crate) fn row_ids(&self, session: &mut Session, rows: usize) -> Result<u64> {
        if self.key.is_empty() { session.open_transaction()?.row_ids(rows as u64) } else { Ok(0) }
    }

    pub(crate) fn key_of(&self, columns: &[ArrayRef], row: usize, row_id: u64) -> Vec<u8> {
        if self.key.is_empty() {
            return keys::row_id_key(self.reference.storage, row_id);
        }
        let mut key = self.reference.storage.to_be_bytes().to_vec();
        for (position, ty) in &self.key {
            keys::push_value(&mut key, *ty, &Value::from_array(&columns[*position], *ty, row));
        }
        key
    }

    /// The key of a row of values.
    pub(crate) fn key_of_values(&self, values: &[Value<'_>], row_id: u64) -> Vec<u8> {
        if self.key.is_empty() {
            return keys::row_id_key(self.reference.storage, row_id);
        }
        let mut key = self.reference.storage.to_be_bytes().to_vec();
        for (position, ty) in &self.key {
            keys::push_value(&mut key, *ty, &values[*position]);
        }
        key
    }

    /// Locks the key of a row that is about to be there.
    pub(crate) async fn lock_key(&self, writes: &mut StatementWrites, key: &[u8]) -> Result<()> {
        writes.lock_key(&self.reference, key).await
    }

    /// The same for a caller that cannot wait: false if another transaction is writing the key.
    pub(crate) fn try_lock_key(&self, writes: &mut StatementWrites, key: &[u8]) -> Result<bool> {
        writes.try_lock_key(&self.reference, key)
    }

    /// Adds a row whose key is locked.
    pub(crate) fn insert(&self, writes: &mut StatementWrites, key: Vec<u8>, row: Vec<u8>) -> Result<()> {
        // The row is needed again only for the error.
        let shown = if self.key.is_empty() { Vec::new() } else { row.clone() };
        match writes.insert(&self.reference, key, row)? {
            InsertOutcome::Ok => Ok(()),
            InsertOutcome::Duplicate => Err(self.duplicate(&shown)?),
        }
    }

    /// 23502 for a NULL where none may be.
    pub(crate) fn check_not_null(&self, columns: &[ArrayRef], row: usize) -> Result<()> {
        for live in &self.not_null {
            if columns[*live].is_null(row) {
                let values: Vec<Value<'_>> =
                    columns.iter().zip(&self.types).map(|(c, t)| Value::from_array(c, *t, row)).collect();
                return Err(self.null_violation(*live, &values));
            }
        }
        Ok(())
    }

    /// The name of the first NOT NULL column that is NULL.
    pub(crate) fn first_null(&self, columns: &[ArrayRef], row: usize) -> Option<&str> {
        let live = self.not_null.iter().find(|live| columns[**live].is_null(row))?;
        self.table.definition.live_columns().nth(*live).map(|(_, c)| c.name.as_str())
    }

    /// The same for a row of values.
    pub(crate) fn check_values(&self, values: &[Value<'_>]) -> Result<()> {
        match self.not_null.iter().find(|live| values[**live].is_null()) {
            Some(live) => Err(self.null_violation(*live, values)),
            None => Ok(()),
        }
    }

    fn null_violation(&self, live: usize, values: &[Value<'_>]) -> SqlError {
        let definition = &self.table.definition;
        let name = definition.live_columns().nth(live).map_or("", |(_, c)| c.name.as_str());
        SqlError::new(
            SqlState::NOT_NULL_VIOLATION,
            format!("null value in column \"{name}\" of relation \"{}\" violates not-null constraint", definition.name),
        )
        .detail(format!("Failing row contains ({}).", self.show_row(values)))
        .table(self.schema_name(), &definition.name)
        .column(name)
    }

    fn show_row(&self, values: &[Value<'_>]) -> String {
        let shown: Vec<String> = values
            .iter()
            .zip(&self.types)
            .map(|(value, ty)| {
                if value.is_null() {
                    return "null".to_owned();
                }
                let text = self.text(*ty, value);
                // PostgreSQL shows no more than 64 bytes of a value.
                if text.len() <= 64 {
                    return text;
                }
                let end = (0..=64).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
                format!("{}...", &text[..end])
            })
            .collect();
        shown.join(", ")
    }

    fn text(&self, ty: PgType, value: &Value<'_>) -> String {
        let mut out = Vec::new();
        write_text(ty, value, &self.format, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// 23505 for a stored row whose key is taken.
    pub(crate) fn duplicate(&self, row: &[u8]) -> Result<SqlError> {
        let definition = &self.table.definition;
        let Some(key) = &definition.primary_key else {
            return Err(SqlError::internal("a duplicate in a table without a key"));
        };
        let values = self.layout.decode(row)?;
        let quoted = |i: &usize| kalamdb_catalog::name::quote_ident(&definition.columns[*i].name).into_owned();
        let names: Vec<String> = key.columns.iter().map(quoted).collect();
        let shown: Vec<String> = self.key.iter().map(|(p, ty)| self.text(*ty, &values[*p])).collect();
        Ok(SqlError::new(
            SqlState::UNIQUE_VIOLATION,
            format!("duplicate key value violates unique constraint \"{}\"", key.name),
        )
        .detail(format!("Key ({})=({}) already exists.", names.join(", "), shown.join(", ")))
        .table(self.schema_name(), &definition.name)
        .constraint(&key.name))
    }

    pub(super) fn oid(&self) -> kalamdb_catalog::Oid {
        self.table.definition.oid
    }

    pub(crate) fn schema_name(&self) -> &str {
        &self.schema_of
    }
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
