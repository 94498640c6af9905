//! INSERT ... ON CONFLICT: each row is inserted, or the one that has its key is left alone or updated.
//!
//! The key's lock comes first. So what is found then stays until the transaction ends: of two sessions that bring the same
//! key one inserts and the other finds its row.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::dml::{Done, Target};
use crate::session::{Session, SessionContext};
use crate::sql::apply;
use crate::sql::bind::{BoundDml, ConflictUpdate, conflict_schema, new_row_schema};
use crate::sql::plan::{batch_of_one, physical_expr, planning, sql_error};
use crate::txn::{Existing, StatementWrites};

/// The clause, ready to be run.
pub(super) struct Upsert {
    types: Vec<PgType>,
    /// None: DO NOTHING.
    update: Option<Update>,
    returning: Vec<Arc<dyn PhysicalExpr>>,
    new_row: SchemaRef,
    shown: SchemaRef,
}

struct Update {
    values: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// The row that is there, and the one that was to be inserted.
    schema: SchemaRef,
}

impl Upsert {
    /// None for an INSERT without the clause.
    pub(super) fn new(
        session: &Session,
        dml: &BoundDml,
        types: &[PgType],
        parameters: &[ScalarValue],
    ) -> Result<Option<Upsert>> {
        let Some(conflict) = &dml.conflict else { return Ok(None) };
        let context = session.context();
        let new_row = new_row_schema(types)?;
        let update = conflict.update.as_ref().map(|u| Update::new(context, u, types, parameters)).transpose()?;
        let compiled = |e: &Expr| compile(context, e, &new_row, parameters);
        let returning = conflict.returning.iter().map(compiled).collect::<Result<Vec<_>>>()?;
        let first = types.len();
        let fields = dml.plan.schema().as_arrow().fields().iter().skip(first).cloned().collect::<Vec<_>>();
        Ok(Some(Upsert {
            types: types.to_vec(),
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
        for row in 0..batch.num_rows() {
            target.check_not_null(columns, row)?;
            let key = target.key_of(columns, row, first_id + row as u64);
            target.lock_key(writes, &key).await?;
            let new: Vec<ArrayRef> = columns.iter().map(|c| c.slice(row, 1)).collect();
            let kept = match (target.existing(writes, &key)?, &self.update) {
                (Existing::Nothing, _) => {
                    target.insert(writes, key, target.layout().encode_arrays(&new, 0))?;
                    Some(new)
                }
                (_, None) => None,
                (Existing::ThisStatement, Some(_)) => return Err(second_time()),
                (Existing::Row(old), Some(update)) => self.change(target, writes, update, (&key, &old), &new).await?,
            };
            if let Some(kept) = kept {
                done.count += 1;
                if !self.returning.is_empty() {
                    done.shown.push(self.show(kept)?);
                }
            }
        }
        Ok(())
    }

    /// DO UPDATE of a row; None if its WHERE is not true.
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
        if let Some(filter) = &update.filter {
            let answer = evaluate(filter, &both)?;
            if !(answer.is_valid(0) && answer.as_boolean().value(0)) {
                return Ok(None);
            }
        }
        let values = update.values.iter().map(|v| evaluate(v, &both)).collect::<Result<Vec<_>>>()?;
        target.check_not_null(&values, 0)?;
        target.replace(writes, key, old, (&values, 0)).await?;
        Ok(Some(values))
    }

    /// What RETURNING shows of a row.
    fn show(&self, values: Vec<ArrayRef>) -> Result<RecordBatch> {
        let row = batch_of_one(&self.new_row, values)?;
        let shown = self.returning.iter().map(|e| evaluate(e, &row)).collect::<Result<Vec<_>>>()?;
        batch_of_one(&self.shown, shown)
    }
}

impl Update {
    fn new(
        context: &Arc<SessionContext>,
        update: &ConflictUpdate,
        types: &[PgType],
        parameters: &[ScalarValue],
    ) -> Result<Update> {
        let schema = conflict_schema(types)?;
        let compiled = |e: &Expr| compile(context, e, &schema, parameters);
        Ok(Update {
            values: update.values.iter().map(compiled).collect::<Result<_>>()?,
            filter: update.filter.as_ref().map(compiled).transpose()?,
            schema: Arc::new(schema.as_arrow().clone()),
        })
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

fn evaluate(expr: &Arc<dyn PhysicalExpr>, row: &RecordBatch) -> Result<ArrayRef> {
    expr.evaluate(row).and_then(|value| value.into_array(1)).map_err(sql_error)
}

fn second_time() -> SqlError {
    let message = "ON CONFLICT DO UPDATE command cannot affect row a second time";
    SqlError::new(SqlState::CARDINALITY_VIOLATION, message)
        .hint("Ensure that no rows proposed for insertion within the same command have duplicate constrained values.")
}
