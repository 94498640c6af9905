//! [`Fast`]: the statements, from key to response.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use futures::stream;
use kalamdb_catalog::{CachedTableData, PgType, Result, SqlError, TableKind};

use super::compile::{Columns, Compiled, Compiler, Inputs, Row};
use super::point::{IndexPoint, Point};
use super::walk::Walk;
use crate::session::{Session, SessionContext};
use crate::sql::bind::{Binder, BoundDml, DmlKind, SimpleDml, SimpleSelect};
use crate::sql::handlers::dml::{finish, respond};
use crate::sql::handlers::target::Target;
use crate::sql::index_entries::RowValues;
use crate::sql::lock_rows::not_obtained;
use crate::sql::plan::batch_of_one;
use crate::sql::{Response, RowStream};
use crate::storage::keys;
use crate::txn::{IfLocked, LockMode, RowLocker, RowState, TxnReader};
use crate::types::Value;

/// Rows that are read one by one through an index; more are read by the query engine.
const ROWS_MAX: usize = 64;
/// Rows looked at on the way to the wanted ones; where more are in the way, the query engine finds them sooner.
const SEEN_MAX: usize = 1024;

/// A statement compiled for its table. Good for one catalog.
pub(crate) struct Fast {
    target: Target,
    action: Action,
    /// How the rows of a SELECT are locked.
    lock: Option<(LockMode, IfLocked)>,
    offset: Option<Compiled>,
}

enum Action {
    Select {
        point: Point,
        shown: Shown,
    },
    SelectByIndex {
        point: IndexPoint,
        shown: Shown,
    },
    /// The first rows of a range.
    SelectFirst {
        walk: Box<Walk>,
        limit: Compiled,
        shown: Shown,
    },
    Insert {
        rows: Vec<Vec<Compiled>>,
        returning: Option<Shown>,
    },
    /// One new value per live column.
    Update {
        point: Point,
        values: Vec<Compiled>,
        returning: Option<Shown>,
    },
    Delete {
        point: Point,
        returning: Option<Shown>,
    },
}

/// Rows to walk over.
struct Span {
    /// Of keys; None: there are none.
    range: Option<(Vec<u8>, Vec<u8>)>,
    reverse: bool,
    through_index: bool,
    /// OFFSET and LIMIT; None: all rows, if they are few.
    wanted: Option<(usize, usize)>,
}

/// Result columns.
pub(super) struct Shown {
    schema: SchemaRef,
    columns: Vec<Compiled>,
}

impl Fast {
    /// None: the statement goes the generic way.
    pub(crate) fn select(binder: &Binder<'_>, select: &SimpleSelect) -> Option<Fast> {
        let table = binder.catalog.table(select.table)?;
        let target = Target::bare(binder.session, table).ok()?;
        let tail = &select.tail;
        let mut offset = None;
        let fast = Fast::compile(binder.session, target, table, |compiler| {
            let shown = Shown::compile(&compiler, &select.outputs)?;
            let filter = select.filter.as_ref();
            let counts = Compiler { columns: Columns::None, ..compiler };
            let count = |e: &Expr| counts.compile_as(e, PgType::INT8);
            if tail.limit.is_none() && tail.offset.is_none() {
                // One row needs no order.
                if let Some(point) = Point::compile(&compiler, table, filter?) {
                    return Some(Action::Select { point, shown });
                }
                if !tail.order.is_empty() {
                    return None;
                }
                let point = IndexPoint::compile(&compiler, table, filter?)?;
                return Some(Action::SelectByIndex { point, shown });
            }
            let limit = count(tail.limit.as_ref()?)?;
            offset = match &tail.offset {
                Some(e) => Some(count(e)?),
                None => None,
            };
            let walk = Box::new(Walk::compile(&compiler, table, filter, tail)?);
            Some(Action::SelectFirst { walk, limit, shown })
        })?;
        Some(Fast { lock: tail.lock, offset, ..fast })
    }

    /// None: the statement goes the generic way.
    pub(crate) fn dml(binder: &Binder<'_>, dml: &BoundDml) -> Option<Fast> {
        let simple = dml.simple.as_deref()?;
        let returns = dml.returning.is_some();
        let target = Target::of(binder.session, &dml.table).ok()?;
        Fast::compile(binder.session, target, &dml.table, |compiler| match dml.kind {
            DmlKind::Merge => None,
            DmlKind::Insert => insert(compiler, simple, returns),
            DmlKind::Update => update(compiler, &dml.table, simple, returns),
            DmlKind::Delete => {
                let point = Point::compile(&compiler, &dml.table, simple.filter.as_ref()?)?;
                let returning = returning(returns, &compiler, &simple.returning)?;
                Some(Action::Delete { point, returning })
            }
        })
    }

    fn compile<'a>(
        session: &'a Arc<SessionContext>,
        target: Target,
        table: &'a Arc<CachedTableData>,
        action: impl FnOnce(Compiler<'_>) -> Option<Action>,
    ) -> Option<Fast> {
        let definition = &table.definition;
        if definition.kind != TableKind::Shared {
            return None;
        }
        let layout = target.layout();
        let action = action(Compiler { session, types: layout.types(), columns: Columns::Table(table) })?;
        // A key is made of values only after their NOT NULL check.
        let nullable = |i: &usize| !definition.columns[*i].not_null;
        if definition.primary_key.iter().flat_map(|k| &k.columns).any(nullable) {
            return None;
        }
        Some(Fast { target, action, lock: None, offset: None })
    }

    /// The rows of a SELECT; None if they are many, and the generic way is the better one.
    pub(crate) async fn run_select(
        &self,
        session: &mut Session,
        parameters: &[ScalarValue],
    ) -> Result<Option<RowStream>> {
        let mut batches = Vec::new();
        let found = self.find(session, parameters, &mut batches).await;
        match found {
            // What has been found before the error comes first.
            Err(error) if !batches.is_empty() => batches.push(Err(error)),
            Ok(true) => {}
            other => return other.map(|_| None),
        }
        Ok(Some(Box::pin(stream::iter(batches))))
    }

    /// The rows, each as a batch. False if they are many.
    async fn find(
        &self,
        session: &mut Session,
        parameters: &[ScalarValue],
        batches: &mut Vec<Result<RecordBatch>>,
    ) -> Result<bool> {
        match &self.action {
            Action::Select { point, shown } => {
                let matches = |inputs: &Inputs<'_>| point.matches(inputs);
                let key = point.key(self.target.reference().storage, &self.inputs(Row::None, parameters))?;
                let transaction = session.open_transaction()?;
                let (reader, locker) = (transaction.reader(), self.lock.map(|_| transaction.locker()));
                if let Some(key) = key
                    && let Some(row) = reader.get(&key)?
                    && matches(&self.inputs(Row::Stored(&row), parameters))?
                    && let Some(row) = self.locked(&reader, locker.as_ref(), &key, row, parameters, matches).await?
                {
                    batches.push(Ok(shown.batch(&self.inputs(Row::Stored(&row), parameters))?));
                }
                Ok(true)
            }
            Action::SelectByIndex { point, shown } => {
                let range = point.prefix(&self.inputs(Row::None, parameters))?.map(|prefix| {
                    let end = keys::prefix_end(&prefix);
                    (prefix, end)
                });
                let matches = |inputs: &Inputs<'_>| point.matches(inputs);
                let span = Span { range, reverse: false, through_index: true, wanted: None };
                let anew = |inputs: &Inputs<'_>| point.matches_anew(inputs);
                self.walk(session, span, shown, parameters, (matches, anew), batches).await
            }
            Action::SelectFirst { walk, limit, shown } => {
                let inputs = self.inputs(Row::None, parameters);
                let count = |e: &Compiled| match e.value(&inputs, PgType::INT8)? {
                    Value::Int8(n) => Ok(usize::try_from(n).ok()),
                    _ => Ok(None),
                };
                // What is no number of rows is told of, or counts as all, in the generic way.
                let Some(limit) = count(limit)?.filter(|n| *n <= ROWS_MAX) else { return Ok(false) };
                let offset = match &self.offset {
                    Some(e) => count(e)?,
                    None => Some(0),
                };
                let Some(offset) = offset.filter(|n| *n <= ROWS_MAX) else { return Ok(false) };
                let range = walk.range(&inputs)?;
                let matches = |inputs: &Inputs<'_>| walk.matches(inputs);
                let wanted = Some((offset, limit));
                let span = Span { range, reverse: walk.reverse, through_index: walk.through_index, wanted };
                let anew = |inputs: &Inputs<'_>| walk.matches_anew(inputs);
                self.walk(session, span, shown, parameters, (matches, anew), batches).await
            }
            _ => Err(SqlError::internal("a statement that writes is run as a query")),
        }
    }

    /// Shows the wanted rows of a range. False if they are many, or hard to find.
    async fn walk(
        &self,
        session: &mut Session,
        span: Span,
        shown: &Shown,
        parameters: &[ScalarValue],
        (matches, anew): (impl Fn(&Inputs<'_>) -> Result<bool>, impl Fn(&Inputs<'_>) -> Result<bool>),
        batches: &mut Vec<Result<RecordBatch>>,
    ) -> Result<bool> {
        let Some((start, end)) = span.range else { return Ok(true) };
        let (offset, limit) = span.wanted.unwrap_or((0, ROWS_MAX));
        if limit == 0 {
            return Ok(true);
        }
        let transaction = session.open_transaction()?;
        let (reader, locker) = (transaction.reader(), self.lock.map(|_| transaction.locker()));
        let mut scan = reader.scan_few(start, end, span.reverse);
        let (mut seen, mut skipped) = (0, 0);
        while let Some(found) = scan.next()? {
            seen += 1;
            if seen > SEEN_MAX || (span.wanted.is_none() && seen > ROWS_MAX) {
                return Ok(false);
            }
            let (key, row) = if span.through_index {
                let row_key = keys::row_of_entry(found.key, found.row);
                let row_key = row_key.ok_or_else(|| SqlError::internal("an index's entry is damaged"))?;
                let mut key = self.target.reference().storage.to_be_bytes().to_vec();
                key.extend_from_slice(row_key);
                let row = reader.get(&key)?;
                (key, row.ok_or_else(|| SqlError::internal("an index has an entry without a row"))?)
            } else if matches(&self.inputs(Row::Stored(found.row), parameters))? {
                (found.key.to_vec(), Bytes::copy_from_slice(found.row))
            } else {
                continue;
            };
            if span.through_index && !matches(&self.inputs(Row::Stored(&row), parameters))? {
                continue;
            }
            let row = self.locked(&reader, locker.as_ref(), &key, row, parameters, &anew).await?;
            let Some(row) = row else { continue };
            if skipped < offset {
                skipped += 1;
                continue;
            }
            batches.push(Ok(shown.batch(&self.inputs(Row::Stored(&row), parameters))?));
            if batches.len() == limit && span.wanted.is_some() {
                break;
            }
        }
        Ok(true)
    }

    /// A row that has been found, as it is once it is locked, if it is to be locked; None if it is to be left out.
    async fn locked(
        &self,
        reader: &TxnReader,
        locker: Option<&RowLocker>,
        key: &[u8],
        row: Bytes,
        parameters: &[ScalarValue],
        anew: impl Fn(&Inputs<'_>) -> Result<bool>,
    ) -> Result<Option<Bytes>> {
        let (Some(locker), Some(lock)) = (locker, self.lock) else { return Ok(Some(row)) };
        match locker.lock(reader, self.target.reference().oid, key, lock).await? {
            RowState::Seen => Ok(Some(row)),
            RowState::Changed(_, newest) => Ok(anew(&self.inputs(Row::Stored(&newest), parameters))?.then_some(newest)),
            RowState::Gone => Ok(None),
            RowState::Locked if lock.1 == IfLocked::Skip => Ok(None),
            RowState::Locked => Err(not_obtained(&self.target.table().definition.name)),
        }
    }

    /// Carries out an INSERT, UPDATE or DELETE. The caller has seen to it that the transaction may write.
    pub(crate) async fn run_dml(
        &self,
        session: &mut Session,
        dml: &BoundDml,
        parameters: &[ScalarValue],
    ) -> Result<Response> {
        match &self.action {
            Action::Insert { rows, returning } => self.insert(session, dml, rows, returning.as_ref(), parameters).await,
            Action::Update { point, .. } | Action::Delete { point, .. } => {
                let shown = self.change(session, point, parameters).await?;
                respond(dml, usize::from(shown.is_some()), shown.flatten().into_iter().collect())
            }
            Action::Select { .. } | Action::SelectByIndex { .. } | Action::SelectFirst { .. } => {
                Err(SqlError::internal("a query is run as a statement that writes"))
            }
        }
    }

    async fn insert(
        &self,
        session: &mut Session,
        dml: &BoundDml,
        rows: &[Vec<Compiled>],
        returning: Option<&Shown>,
        parameters: &[ScalarValue],
    ) -> Result<Response> {
        let transaction = session.open_transaction()?;
        let keyed = !self.target.key_columns().is_empty();
        let first_id = if keyed { 0 } else { transaction.row_ids(rows.len() as u64)? };
        let mut writes = transaction.statement();
        let mut shown = Vec::new();
        for (row, id) in rows.iter().zip(first_id..) {
            let inputs = self.inputs(Row::None, parameters);
            let values = self.values(row, &inputs)?;
            self.target.check_values(&values)?;
            self.target.insert(&mut writes, &RowValues::Values(&values), id).await?;
            if let Some(returning) = returning {
                shown.push(returning.batch(&self.inputs(Row::Values(&values), parameters))?);
            }
        }
        finish(session, std::slice::from_ref(&self.target), writes).await?;
        respond(dml, rows.len(), shown)
    }

    /// UPDATE and DELETE: None if there is no such row, else what RETURNING shows of it.
    async fn change(
        &self,
        session: &mut Session,
        point: &Point,
        parameters: &[ScalarValue],
    ) -> Result<Option<Option<RecordBatch>>> {
        let Some(key) = point.key(self.target.reference().storage, &self.inputs(Row::None, parameters))? else {
            return Ok(None);
        };
        let transaction = session.open_transaction()?;
        let Some(mut row) = transaction.reader().get(&key)? else { return Ok(None) };
        if !point.matches(&self.inputs(Row::Stored(&row), parameters))? {
            return Ok(None);
        }
        let mut writes = transaction.statement();
        loop {
            let inputs = self.inputs(Row::Stored(&row), parameters);
            // The new values as the row is now: it may have been changed since.
            let (mode, values) = match &self.action {
                Action::Update { values, .. } => {
                    let values = self.values(values, &inputs)?;
                    self.target.check_values(&values)?;
                    (self.target.lock_mode(&key, &row, &RowValues::Values(&values))?, values)
                }
                _ => (LockMode::UPDATE, Vec::new()),
            };
            match writes.lock_row(self.target.reference(), &key, mode).await? {
                RowState::Seen => {}
                RowState::Gone | RowState::Locked => return Ok(None),
                RowState::Changed(_, newest) if newest != row => {
                    if !point.matches(&self.inputs(Row::Stored(&newest), parameters))? {
                        return Ok(None);
                    }
                    drop(values);
                    row = newest;
                    continue;
                }
                RowState::Changed(..) => {}
            }
            let shown;
            let changed = match &self.action {
                Action::Update { returning, .. } => {
                    let new = RowValues::Values(&values);
                    let inputs = self.inputs(Row::Values(&values), parameters);
                    shown = returning.as_ref().map(|r| r.batch(&inputs)).transpose()?;
                    self.target.replace(&mut writes, &key, &row, &new).await?
                }
                Action::Delete { returning, .. } => {
                    shown = returning.as_ref().map(|r| r.batch(&inputs)).transpose()?;
                    self.target.delete(&mut writes, &key, &row)?
                }
                Action::Select { .. }
                | Action::SelectByIndex { .. }
                | Action::SelectFirst { .. }
                | Action::Insert { .. } => {
                    return Err(SqlError::internal("a statement without a row to change"));
                }
            };
            finish(session, std::slice::from_ref(&self.target), writes).await?;
            return Ok(changed.then_some(shown));
        }
    }

    fn inputs<'a>(&'a self, row: Row<'a>, parameters: &'a [ScalarValue]) -> Inputs<'a> {
        Inputs { layout: self.target.layout(), row, parameters }
    }

    fn values<'a>(&'a self, row: &'a [Compiled], inputs: &Inputs<'a>) -> Result<Vec<Value<'a>>> {
        row.iter().zip(self.target.types()).map(|(value, ty)| value.value(inputs, *ty)).collect()
    }
}

fn insert(compiler: Compiler<'_>, simple: &SimpleDml, returns: bool) -> Option<Action> {
    let values = Compiler { columns: Columns::None, ..compiler };
    let rows = simple.rows.iter().map(|row| new_values(&values, row)).collect::<Option<_>>()?;
    let returning = returning(returns, &Compiler { columns: Columns::New, ..compiler }, &simple.returning)?;
    Some(Action::Insert { rows, returning })
}

fn update(compiler: Compiler<'_>, table: &CachedTableData, simple: &SimpleDml, returns: bool) -> Option<Action> {
    let point = Point::compile(&compiler, table, simple.filter.as_ref()?)?;
    let [row] = simple.rows.as_slice() else { return None };
    let values = new_values(&compiler, row)?;
    let definition = &table.definition;
    for (live, (index, _)) in definition.live_columns().enumerate() {
        let in_key = definition.primary_key.as_ref()?.columns.contains(&index);
        // A row that may come to have another key is a row that moves.
        if in_key && !matches!(values[live], Compiled::Column(from) if from == live) {
            return None;
        }
    }
    let returning = returning(returns, &Compiler { columns: Columns::New, ..compiler }, &simple.returning)?;
    Some(Action::Update { point, values, returning })
}

fn new_values(compiler: &Compiler<'_>, row: &[Expr]) -> Option<Vec<Compiled>> {
    if row.len() != compiler.types.len() {
        return None;
    }
    row.iter().zip(compiler.types).map(|(e, ty)| compiler.compile_as(e, *ty)).collect()
}

/// `Some(None)` without RETURNING.
fn returning(returns: bool, compiler: &Compiler<'_>, exprs: &[Expr]) -> Option<Option<Shown>> {
    if returns { Shown::compile(compiler, exprs).map(Some) } else { Some(None) }
}

impl Shown {
    pub(super) fn compile(compiler: &Compiler<'_>, exprs: &[Expr]) -> Option<Shown> {
        let mut fields = Vec::with_capacity(exprs.len());
        let mut columns = Vec::with_capacity(exprs.len());
        for (i, e) in exprs.iter().enumerate() {
            let (compiled, carrier) = compiler.compile(e)?;
            fields.push(Field::new(i.to_string(), carrier, true));
            columns.push(compiled);
        }
        Some(Shown { schema: Arc::new(Schema::new(fields)), columns })
    }

    pub(super) fn batch(&self, inputs: &Inputs<'_>) -> Result<RecordBatch> {
        let arrays = self.columns.iter().map(|c| c.array(inputs)).collect::<Result<Vec<_>>>()?;
        batch_of_one(&self.schema, arrays)
    }
}
