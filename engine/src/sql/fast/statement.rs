//! [`Fast`]: the four statements, from key to response.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use futures::stream;
use kalamdb_catalog::{CachedTableData, PgType, Result, SqlError, TableKind};

use super::compile::{Columns, Compiled, Compiler, Inputs, Row};
use super::point::Point;
use crate::session::{Session, SessionContext};
use crate::sql::bind::{Binder, BoundDml, DmlKind, SimpleDml, SimpleSelect};
use crate::sql::handlers::dml::{Target, respond};
use crate::sql::plan::batch_of_one;
use crate::sql::{Response, RowStream};
use crate::storage::{RowLayout, keys};
use crate::txn::{ApplyOutcome, InsertOutcome, LockMode, RowState, StatementWrites, TableRef};
use crate::types::Value;

/// A statement compiled for its table. Good for one catalog.
pub(crate) struct Fast {
    table: TableRef,
    /// Live positions of NOT NULL columns.
    not_null: Vec<usize>,
    /// Live positions and types of the primary key.
    key: Vec<(usize, PgType)>,
    action: Action,
}

enum Action {
    Select {
        point: Point,
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

/// Result columns.
struct Shown {
    schema: SchemaRef,
    columns: Vec<Compiled>,
}

impl Fast {
    /// None: the statement goes the generic way.
    pub(crate) fn select(binder: &Binder<'_>, select: &SimpleSelect) -> Option<Fast> {
        let table = binder.catalog.table(select.table)?;
        Fast::compile(binder.session, table, |compiler| {
            let point = Point::compile(&compiler, table, select.filter.as_ref()?)?;
            let shown = Shown::compile(&compiler, &select.outputs)?;
            Some(Action::Select { point, shown })
        })
    }

    /// None: the statement goes the generic way.
    pub(crate) fn dml(binder: &Binder<'_>, dml: &BoundDml) -> Option<Fast> {
        let simple = dml.simple.as_deref()?;
        let returns = dml.returning.is_some();
        Fast::compile(binder.session, &dml.table, |compiler| match dml.kind {
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
        table: &'a CachedTableData,
        action: impl FnOnce(Compiler<'_>) -> Option<Action>,
    ) -> Option<Fast> {
        let definition = &table.definition;
        if definition.kind != TableKind::Shared {
            return None;
        }
        let layout = Arc::new(RowLayout::new(definition).ok()?);
        let action = action(Compiler { session, types: layout.types(), columns: Columns::Table(table) })?;
        let live: Vec<usize> = definition.live_columns().map(|(i, _)| i).collect();
        let not_null = live.iter().enumerate().filter(|(_, i)| definition.columns[**i].not_null).map(|(l, _)| l);
        let not_null: Vec<usize> = not_null.collect();
        let mut key = Vec::new();
        for index in definition.primary_key.iter().flat_map(|k| &k.columns) {
            let position = live.iter().position(|l| l == index)?;
            // A key is made of values only after their NOT NULL check.
            if !not_null.contains(&position) {
                return None;
            }
            key.push((position, definition.columns[*index].ty));
        }
        Some(Fast { table: TableRef::new(layout), not_null, key, action })
    }

    /// The rows of a SELECT: one or none.
    pub(crate) fn run_select(&self, session: &mut Session, parameters: &[ScalarValue]) -> Result<RowStream> {
        let Action::Select { point, shown } = &self.action else {
            return Err(SqlError::internal("a statement that writes is run as a query"));
        };
        let inputs = self.inputs(Row::None, parameters);
        let mut batch = None;
        if let Some(key) = point.key(self.table.storage, &inputs)?
            && let Some(row) = session.open_transaction()?.reader().get(&key)?
        {
            let inputs = self.inputs(Row::Stored(&row), parameters);
            if point.matches(&inputs)? {
                batch = Some(Ok(shown.batch(&inputs)?));
            }
        }
        Ok(Box::pin(stream::iter(batch)))
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
                let shown = self.change(session, dml, point, parameters).await?;
                respond(dml, usize::from(shown.is_some()), shown.flatten().into_iter().collect())
            }
            Action::Select { .. } => Err(SqlError::internal("a query is run as a statement that writes")),
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
        let first_id = if self.key.is_empty() { transaction.row_ids(rows.len() as u64)? } else { 0 };
        let mut writes = transaction.statement();
        let mut shown = Vec::new();
        for (row, id) in rows.iter().zip(first_id..) {
            let inputs = self.inputs(Row::None, parameters);
            let values = self.values(row, &inputs)?;
            self.check_not_null(session, dml, &values)?;
            let encoded = self.table.layout.encode(&values);
            let key = self.key_of(&values, id);
            writes.lock_key(&self.table, &key).await?;
            match writes.insert(&self.table, key, encoded)? {
                InsertOutcome::Ok => {}
                InsertOutcome::Duplicate => return Err(self.duplicate(session, dml, &values)?),
            }
            if let Some(returning) = returning {
                shown.push(returning.batch(&self.inputs(Row::Values(&values), parameters))?);
            }
        }
        apply(session, writes)?;
        respond(dml, rows.len(), shown)
    }

    /// UPDATE and DELETE: None if there is no such row, else what RETURNING shows of it.
    async fn change(
        &self,
        session: &mut Session,
        dml: &BoundDml,
        point: &Point,
        parameters: &[ScalarValue],
    ) -> Result<Option<Option<RecordBatch>>> {
        let Some(key) = point.key(self.table.storage, &self.inputs(Row::None, parameters))? else { return Ok(None) };
        let transaction = session.open_transaction()?;
        let Some(mut row) = transaction.reader().get(&key)? else { return Ok(None) };
        if !point.matches(&self.inputs(Row::Stored(&row), parameters))? {
            return Ok(None);
        }
        let mut writes = transaction.statement();
        let mode = match &self.action {
            Action::Delete { .. } => LockMode::UPDATE,
            _ => LockMode::NO_KEY_UPDATE,
        };
        match writes.lock_row(&self.table, &key, mode).await? {
            RowState::Seen => {}
            RowState::Gone | RowState::Locked => return Ok(None),
            RowState::Changed(_, newest) => {
                if !point.matches(&self.inputs(Row::Stored(&newest), parameters))? {
                    return Ok(None);
                }
                row = newest;
            }
        }
        let inputs = self.inputs(Row::Stored(&row), parameters);
        let shown;
        let changed = match &self.action {
            Action::Update { values, returning, .. } => {
                let values = self.values(values, &inputs)?;
                self.check_not_null(session, dml, &values)?;
                let inputs = self.inputs(Row::Values(&values), parameters);
                shown = returning.as_ref().map(|r| r.batch(&inputs)).transpose()?;
                writes.update(&self.table, &key, &row, self.table.layout.encode(&values))?
            }
            Action::Delete { returning, .. } => {
                shown = returning.as_ref().map(|r| r.batch(&inputs)).transpose()?;
                writes.delete(&self.table, &key, &row)?
            }
            Action::Select { .. } | Action::Insert { .. } => {
                return Err(SqlError::internal("a statement without a row to change"));
            }
        };
        apply(session, writes)?;
        Ok(changed.then_some(shown))
    }

    fn inputs<'a>(&'a self, row: Row<'a>, parameters: &'a [ScalarValue]) -> Inputs<'a> {
        Inputs { layout: &self.table.layout, row, parameters }
    }

    fn values<'a>(&'a self, row: &'a [Compiled], inputs: &Inputs<'a>) -> Result<Vec<Value<'a>>> {
        row.iter().zip(self.table.layout.types()).map(|(value, ty)| value.value(inputs, *ty)).collect()
    }

    fn key_of(&self, values: &[Value<'_>], row_id: u64) -> Vec<u8> {
        if self.key.is_empty() {
            return keys::row_id_key(self.table.storage, row_id);
        }
        let mut key = Vec::with_capacity(keys::STORAGE_LEN + self.key.len() * 9 + keys::SEQ_LEN);
        key.extend_from_slice(&self.table.storage.to_be_bytes());
        for (position, ty) in &self.key {
            keys::push_value(&mut key, *ty, &values[*position]);
        }
        key
    }

    /// 23502, worded by the generic way.
    fn check_not_null(&self, session: &Session, dml: &BoundDml, values: &[Value<'_>]) -> Result<()> {
        if self.not_null.iter().any(|live| values[*live].is_null()) {
            return Target::new(session, &dml.table)?.check_values(values);
        }
        Ok(())
    }

    /// 23505, worded by the generic way.
    fn duplicate(&self, session: &Session, dml: &BoundDml, values: &[Value<'_>]) -> Result<SqlError> {
        Target::new(session, &dml.table)?.duplicate(&self.table.layout.encode(values))
    }
}

/// Makes the writes part of the transaction. Inserted keys were looked up as they came, and no row moves.
fn apply(session: &mut Session, writes: StatementWrites) -> Result<()> {
    match session.open_transaction()?.apply(writes)? {
        ApplyOutcome::Ok => Ok(()),
        ApplyOutcome::Duplicate { .. } => Err(SqlError::internal("a statement has written a key twice")),
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
    fn compile(compiler: &Compiler<'_>, exprs: &[Expr]) -> Option<Shown> {
        let mut fields = Vec::with_capacity(exprs.len());
        let mut columns = Vec::with_capacity(exprs.len());
        for (i, e) in exprs.iter().enumerate() {
            let (compiled, carrier) = compiler.compile(e)?;
            fields.push(Field::new(i.to_string(), carrier, true));
            columns.push(compiled);
        }
        Some(Shown { schema: Arc::new(Schema::new(fields)), columns })
    }

    fn batch(&self, inputs: &Inputs<'_>) -> Result<RecordBatch> {
        let arrays = self.columns.iter().map(|c| c.array(inputs)).collect::<Result<Vec<_>>>()?;
        batch_of_one(&self.schema, arrays)
    }
}
