//! INSERT ... ON CONFLICT: each row is inserted, or the one that has its key is left alone or updated.
//!
//! The key's lock comes first. So what is found then stays until the transaction ends: of two sessions that bring the same
//! key one inserts and the other finds its row.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::PhysicalExpr;
use futures::TryStreamExt;
use kalamdb_catalog::{Oid, PgType, Result, SqlError, SqlState};

use super::dml::Done;
use super::target::Target;
use crate::session::{Session, SessionContext};
use crate::sql::apply;
use crate::sql::bind::{BoundDml, ConflictUpdate, conflict_schema, deferrable_arbiter, new_row_schema};
use crate::sql::index_entries::{IndexEntries, RowValues, evaluate};
use crate::sql::plan::{Engine, StatementContext, batch_of_one, physical_expr, planning};
use crate::storage::keys;
use crate::txn::{Busy, Claim, Existing, LockMode, StatementWrites};

/// The clause, ready to be run.
pub(super) struct Upsert {
    types: Vec<PgType>,
    /// The unique indexes in which a conflict counts; None: all of them.
    arbiters: Option<Vec<Oid>>,
    /// None: DO NOTHING.
    update: Option<Update>,
    returning: Vec<Arc<dyn PhysicalExpr>>,
    new_row: SchemaRef,
    shown: SchemaRef,
}

/// What an INSERT finds in the indexes that count.
enum Found {
    /// Nothing, and that is locked.
    Nothing,
    Row(Conflict),
    /// Another transaction stands in the way.
    Busy(Busy),
}

/// A row that has what the new one wants for itself.
struct Conflict {
    /// The row's key.
    key: Vec<u8>,
    /// The key of its entry in the index; None for the primary key.
    entry: Option<Vec<u8>>,
}

impl Conflict {
    /// True if the row, which is locked, is still the one. Whoever locks its row needs no lock of its entry for that.
    fn stands(&self, writes: &mut StatementWrites) -> Result<bool> {
        let Some(entry) = &self.entry else { return Ok(true) };
        let Some(found) = writes.find_entry(entry)? else { return Ok(false) };
        Ok(behind(entry, &found)? == &self.key[keys::STORAGE_LEN..])
    }
}

struct Update {
    how: Change,
    /// The row that is there, and the one that was to be inserted.
    schema: SchemaRef,
}

/// How the new values come about.
enum Change {
    Computed {
        values: Vec<Arc<dyn PhysicalExpr>>,
        filter: Option<Arc<dyn PhysicalExpr>>,
    },
    /// By a query, because there are subqueries in them.
    Queried {
        plan: LogicalPlan,
        engine: Arc<Engine>,
        statement: Arc<StatementContext>,
    },
}

impl Upsert {
    /// None for an INSERT without the clause.
    pub(super) fn new(
        session: &Session,
        dml: &BoundDml,
        types: &[PgType],
        parameters: &[ScalarValue],
        statement: &Arc<StatementContext>,
    ) -> Result<Option<Upsert>> {
        let Some(conflict) = &dml.conflict else { return Ok(None) };
        let context = session.context();
        let new_row = new_row_schema(types)?;
        let update = conflict.update.as_ref().map(|u| match &u.query {
            Some(query) => Update::queried(session, query, types, parameters, statement),
            None => Update::computed(context, u, types, parameters),
        });
        let update = update.transpose()?;
        let compiled = |e: &Expr| compile(context, e, &new_row, parameters);
        let returning = conflict.returning.iter().map(compiled).collect::<Result<Vec<_>>>()?;
        let first = types.len();
        // What VALUES has a constant for may be NULL in the row that is there.
        let nullable = |field: &FieldRef| field.as_ref().clone().with_nullable(true);
        let fields = dml.plan.schema().as_arrow().fields().iter().skip(first).map(nullable).collect::<Vec<_>>();
        Ok(Some(Upsert {
            types: types.to_vec(),
            arbiters: conflict.arbiters.clone(),
            update,
            returning,
            new_row: Arc::new(new_row.as_arrow().clone()),
            shown: Arc::new(Schema::new(fields)),
        }))
    }

    /// Inserts the rows of a batch of new values.
    pub(super) async fn rows(
        &self,
        session: &mut Session,
        target: &Target,
        writes: &mut StatementWrites,
        batch: &RecordBatch,
        done: &mut Done,
    ) -> Result<()> {
        let columns = &batch.columns()[..self.types.len()];
        let first_id = target.row_ids(session, batch.num_rows())?;
        let failed = target.failed_checks(columns)?;
        for at in 0..batch.num_rows() {
            let row = RowValues::Arrays(columns, at);
            target.check_row(&failed, &row, at)?;
            if let Some(kept) = self.row(target, writes, &row, first_id + at as u64).await? {
                done.count += 1;
                if !self.returning.is_empty() {
                    done.shown.push(self.show(kept)?);
                }
            }
        }
        Ok(())
    }

    /// Inserts a row or updates the one in its place: the row as it is then, None if nothing has been done.
    async fn row(
        &self,
        target: &Target,
        writes: &mut StatementWrites,
        row: &RowValues<'_>,
        id: u64,
    ) -> Result<Option<Vec<ArrayRef>>> {
        let new = || row.batch(&self.new_row, &self.types).map(|batch| batch.columns().to_vec());
        let kept = writes.locks(target.reference())?;
        loop {
            let conflict = match self.conflict(target, writes, row)? {
                Found::Nothing => {
                    target.insert(writes, row, id).await?;
                    return new().map(Some);
                }
                Found::Busy(busy) => {
                    // Who stands in the way may want what has been locked meanwhile.
                    writes.release_locks(kept);
                    writes.wait_for(busy).await?;
                    continue;
                }
                Found::Row(conflict) => conflict,
            };
            let Some(update) = &self.update else {
                // That the row is there must not be news above READ COMMITTED.
                target.existing(writes, &conflict.key)?;
                writes.release_locks(kept);
                return Ok(None);
            };
            writes.release_locks(kept);
            match writes.lock_existing(target.reference(), &conflict.key, LockMode::NO_KEY_UPDATE).await? {
                Existing::ThisStatement => return Err(second_time()),
                Existing::Row(old) if conflict.stands(writes)? => {
                    return self.change(target, writes, update, (&conflict.key, &old), &new()?).await;
                }
                // Gone, or another row by now.
                Existing::Row(_) | Existing::Nothing => writes.release_locks(kept),
            }
        }
    }

    /// The row that has what the new one wants for itself, in the first of the indexes that count. [`Found::Nothing`]: what
    /// the new row would have there is locked for it.
    fn conflict(&self, target: &Target, writes: &mut StatementWrites, row: &RowValues<'_>) -> Result<Found> {
        let counts = |index: Oid| self.arbiters.as_ref().is_none_or(|arbiters| arbiters.contains(&index));
        let primary = target.table().definition.primary_key.as_ref().map(|key| key.index_oid);
        // In the order in which they were made, as PostgreSQL looks at them.
        let mut indexes: Vec<(Oid, Option<&IndexEntries>)> =
            target.indexes.iter().map(|i| (i.oid(), Some(i))).collect();
        indexes.extend(primary.map(|oid| (oid, None)));
        indexes.retain(|(oid, _)| counts(*oid));
        indexes.sort_by_key(|(oid, _)| *oid);
        for (_, index) in indexes {
            let found = match index {
                None => in_primary_key(target, writes, row)?,
                Some(index) => in_index(index, target, writes, row)?,
            };
            if !matches!(found, Found::Nothing) {
                return Ok(found);
            }
        }
        Ok(Found::Nothing)
    }

    /// DO UPDATE of a row that is locked; None if its WHERE is not true.
    async fn change(
        &self,
        target: &Target,
        writes: &mut StatementWrites,
        update: &Update,
        (key, old): (&[u8], &[u8]),
        new: &[ArrayRef],
    ) -> Result<Option<Vec<ArrayRef>>> {
        let stored = target.layout().decode(old)?;
        let mut columns = Vec::with_capacity(2 * self.types.len());
        for (value, ty) in stored.iter().zip(&self.types) {
            columns.push(value.to_array(*ty)?);
        }
        columns.extend(new.iter().cloned());
        let both = batch_of_one(&update.schema, columns)?;
        let Some(mut values) = update.values(&both).await? else { return Ok(None) };
        target.generate(&mut values)?;
        let row = RowValues::Arrays(&values, 0);
        target.check_row(&target.failed_checks(&values)?, &row, 0)?;
        if target.lock_mode(key, old, &row)? == LockMode::UPDATE {
            writes.lock_key(target.reference(), key).await?;
        }
        target.replace(writes, key, old, &row).await?;
        Ok(Some(values))
    }

    /// What RETURNING shows of a row.
    fn show(&self, values: Vec<ArrayRef>) -> Result<RecordBatch> {
        let row = batch_of_one(&self.new_row, values)?;
        let shown = self.returning.iter().map(|e| evaluate(e, &row)).collect::<Result<Vec<_>>>()?;
        batch_of_one(&self.shown, shown)
    }
}

fn in_primary_key(target: &Target, writes: &mut StatementWrites, row: &RowValues<'_>) -> Result<Found> {
    let key = target.key_of(row, 0);
    let there = match writes.claim_key(target.reference(), &key)? {
        Claim::Busy(busy) => return Ok(Found::Busy(busy)),
        Claim::Exists => true,
        Claim::Locked => writes.is_there(target.reference(), &key)?,
    };
    Ok(if there { Found::Row(Conflict { key, entry: None }) } else { Found::Nothing })
}

fn in_index(index: &IndexEntries, target: &Target, writes: &mut StatementWrites, row: &RowValues<'_>) -> Result<Found> {
    if index.definition.unique && !index.definition.immediate {
        return Err(deferrable_arbiter());
    }
    let table = target.reference();
    // The row's own key does not matter: it is behind what is unique.
    let Some(entry) = index.entry(row, &table.storage.to_be_bytes())?.filter(|e| e.unique) else {
        return Ok(Found::Nothing);
    };
    if let Claim::Busy(busy) = writes.claim_entry(table, &entry)? {
        return Ok(Found::Busy(busy));
    }
    let Some(found) = writes.find_entry(&entry.key)? else { return Ok(Found::Nothing) };
    let key = [&table.storage.to_be_bytes(), behind(&entry.key, &found)?].concat();
    Ok(Found::Row(Conflict { key, entry: Some(entry.key) }))
}

/// The row behind an entry of a unique index: its key without the storage.
fn behind<'a>(entry: &'a [u8], value: &'a [u8]) -> Result<&'a [u8]> {
    keys::row_of_entry(entry, value).ok_or_else(|| SqlError::internal("an index's entry is damaged"))
}

impl Update {
    fn computed(
        context: &Arc<SessionContext>,
        update: &ConflictUpdate,
        types: &[PgType],
        parameters: &[ScalarValue],
    ) -> Result<Update> {
        let schema = conflict_schema(types)?;
        let compiled = |e: &Expr| compile(context, e, &schema, parameters);
        let values = update.values.iter().map(compiled).collect::<Result<_>>()?;
        let filter = update.filter.as_ref().map(compiled).transpose()?;
        Ok(Update { how: Change::Computed { values, filter }, schema: Arc::new(schema.as_arrow().clone()) })
    }

    fn queried(
        session: &Session,
        query: &LogicalPlan,
        types: &[PgType],
        parameters: &[ScalarValue],
        statement: &Arc<StatementContext>,
    ) -> Result<Update> {
        let plan = planning(apply::substitute(query.clone(), &apply::numbered(parameters)))?;
        let how = Change::Queried { plan, engine: Arc::clone(&session.app().engine), statement: Arc::clone(statement) };
        Ok(Update { how, schema: Arc::new(conflict_schema(types)?.as_arrow().clone()) })
    }

    /// The new values of a row; None if WHERE leaves it as it is.
    async fn values(&self, both: &RecordBatch) -> Result<Option<Vec<ArrayRef>>> {
        match &self.how {
            Change::Computed { values, filter } => {
                if let Some(filter) = filter {
                    let answer = evaluate(filter, both)?;
                    if !(answer.is_valid(0) && answer.as_boolean().value(0)) {
                        return Ok(None);
                    }
                }
                values.iter().map(|v| evaluate(v, both)).collect::<Result<Vec<_>>>().map(Some)
            }
            Change::Queried { plan, engine, statement } => {
                let mut given = HashMap::new();
                for (field, column) in self.schema.fields().iter().zip(both.columns()) {
                    given.insert(field.name().clone(), planning(ScalarValue::try_from_array(column, 0))?);
                }
                let plan = planning(apply::substitute(plan.clone(), &given))?;
                let mut rows = engine.run(&plan, &[], Arc::clone(statement)).await?;
                while let Some(batch) = rows.try_next().await? {
                    if batch.num_rows() > 0 {
                        return Ok(Some(batch.columns().to_vec()));
                    }
                }
                Ok(None)
            }
        }
    }
}

/// An expression with its parameters filled in.
fn compile(
    context: &Arc<SessionContext>,
    expr: &Expr,
    schema: &DFSchema,
    parameters: &[ScalarValue],
) -> Result<Arc<dyn PhysicalExpr>> {
    let filled = planning(apply::fill(expr.clone(), &apply::numbered(parameters)))?;
    physical_expr(&filled, schema, context)
}

fn second_time() -> SqlError {
    let message = "ON CONFLICT DO UPDATE command cannot affect row a second time";
    SqlError::new(SqlState::CARDINALITY_VIOLATION, message)
        .hint("Ensure that no rows proposed for insertion within the same command have duplicate constrained values.")
}
