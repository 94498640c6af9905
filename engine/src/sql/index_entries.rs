//! From a row to its entries in the table's indexes.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use kalamdb_catalog::index::{IndexDefinition, IndexKey};
use kalamdb_catalog::{Oid, PgType, Result, SqlError, TableDefinition};

use super::bind::{Binder, Parameters, RowClause, row_schema};
use super::parse;
use super::plan::{batch_of_one, physical_expr, sql_error};
use crate::session::SessionContext;
use crate::storage::{RowLayout, keys};
use crate::txn::IndexEntry;
use crate::types::Value;

/// A row about to be stored or as it is stored: one value for each live column.
#[derive(Clone, Copy)]
pub(crate) enum RowValues<'a> {
    /// One row of columns.
    Arrays(&'a [ArrayRef], usize),
    Values(&'a [Value<'a>]),
}

impl<'a> RowValues<'a> {
    pub(crate) fn is_null(&self, live: usize) -> bool {
        match self {
            RowValues::Arrays(columns, row) => columns[live].is_null(*row),
            RowValues::Values(values) => values[live].is_null(),
        }
    }

    pub(crate) fn value(&self, live: usize, ty: PgType) -> Value<'a> {
        match self {
            RowValues::Arrays(columns, row) => Value::from_array(&columns[live], ty, *row),
            RowValues::Values(values) => values[live].clone(),
        }
    }

    pub(crate) fn values(&self, types: &[PgType]) -> Cow<'a, [Value<'a>]> {
        match self {
            RowValues::Arrays(..) => types.iter().enumerate().map(|(live, ty)| self.value(live, *ty)).collect(),
            RowValues::Values(values) => Cow::Borrowed(values),
        }
    }

    pub(crate) fn encode(&self, layout: &RowLayout) -> Vec<u8> {
        match self {
            RowValues::Arrays(columns, row) => layout.encode_arrays(columns, *row),
            RowValues::Values(values) => layout.encode(values),
        }
    }

    /// The row as a batch that expressions can be evaluated over.
    pub(crate) fn batch(&self, schema: &SchemaRef, types: &[PgType]) -> Result<RecordBatch> {
        let columns = match self {
            RowValues::Arrays(columns, row) => columns.iter().map(|c| c.slice(*row, 1)).collect(),
            RowValues::Values(values) => {
                values.iter().zip(types).map(|(v, ty)| v.to_array(*ty)).collect::<Result<Vec<_>>>()?
            }
        };
        batch_of_one(schema, columns)
    }
}

/// An index, ready to make entries.
pub(crate) struct IndexEntries {
    pub(crate) definition: IndexDefinition,
    parts: Vec<Part>,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    /// Of all live columns.
    types: Arc<[PgType]>,
    row: SchemaRef,
}

/// Where the value of an index's column comes from.
enum Source {
    /// A live column.
    Live(usize),
    Expression(Arc<dyn PhysicalExpr>),
}

struct Part {
    source: Source,
    ty: PgType,
    descending: bool,
    nulls_first: bool,
}

impl IndexEntries {
    pub(crate) fn new(
        session: &Arc<SessionContext>,
        table: &TableDefinition,
        index: &IndexDefinition,
    ) -> Result<IndexEntries> {
        let types: Arc<[PgType]> = table.live_columns().map(|(_, c)| c.ty).collect();
        let schema = row_schema(&types)?;
        let mut binder = Binder::new(session, session.catalog(), "", Parameters::default());
        let mut parts = Vec::with_capacity(index.columns.len());
        for column in &index.columns {
            let (source, ty) = match &column.key {
                IndexKey::Column(position) => {
                    let live = table.live_columns().position(|(i, _)| i == *position);
                    let live = live.ok_or_else(|| SqlError::internal("an index's column has been dropped"))?;
                    (Source::Live(live), types[live])
                }
                IndexKey::Expression(sql, ty) => {
                    let bound = binder.index_expr(table, &parse::expression(sql)?)?;
                    (Source::Expression(physical_expr(&bound.expr, &schema, session)?), *ty)
                }
            };
            parts.push(Part { source, ty, descending: column.descending, nulls_first: column.nulls_first });
        }
        let predicate = match &index.predicate {
            Some(sql) => {
                let bound = binder.stored_condition(table, sql, RowClause::IndexPredicate)?;
                Some(physical_expr(&bound, &schema, session)?)
            }
            None => None,
        };
        let row = Arc::new(schema.as_arrow().clone());
        Ok(IndexEntries { definition: index.clone(), parts, predicate, types, row })
    }

    pub(crate) fn oid(&self) -> Oid {
        self.definition.oid
    }

    /// A row's entry; `row_key` is its key with the storage id. None if the predicate does not hold for it.
    pub(crate) fn entry(&self, row: &RowValues<'_>, row_key: &[u8]) -> Result<Option<IndexEntry>> {
        let Some((mut key, any_null)) = self.key(row)? else { return Ok(None) };
        let index = &self.definition;
        let row_key = &row_key[keys::STORAGE_LEN..];
        let unique = index.unique && index.immediate && (index.nulls_not_distinct || !any_null);
        let value = if unique {
            keys::entry_with_row(row_key)
        } else {
            let at = key.len();
            key.extend_from_slice(row_key);
            keys::entry_with_row_in_key(at)
        };
        Ok(Some(IndexEntry { index: index.oid, key, value, unique }))
    }

    /// What an entry's key begins with for this row, and whether one of its values is NULL.
    pub(crate) fn key(&self, row: &RowValues<'_>) -> Result<Option<(Vec<u8>, bool)>> {
        let mut batch = None;
        if let Some(predicate) = &self.predicate {
            let answer = evaluate(predicate, batch.insert(row.batch(&self.row, &self.types)?))?;
            if !(answer.is_valid(0) && answer.as_boolean().value(0)) {
                return Ok(None);
            }
        }
        let mut key = self.definition.storage.to_be_bytes().to_vec();
        let mut any_null = false;
        for part in &self.parts {
            let computed;
            let value = match &part.source {
                Source::Live(live) => row.value(*live, part.ty),
                Source::Expression(e) => {
                    if batch.is_none() {
                        batch = Some(row.batch(&self.row, &self.types)?);
                    }
                    computed = evaluate(e, batch.as_ref().ok_or_else(|| SqlError::internal("a row is missing"))?)?;
                    Value::from_array(&computed, part.ty, 0)
                }
            };
            any_null |= value.is_null();
            keys::push_index_value(&mut key, part.ty, &value, part.descending, part.nulls_first);
        }
        Ok(Some((key, any_null)))
    }

    /// The values of a row that the index sorts by, for messages.
    pub(crate) fn shown(&self, row: &RowValues<'_>) -> Result<Vec<(PgType, Value<'static>)>> {
        let mut values = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let value = match &part.source {
                Source::Live(live) => row.value(*live, part.ty).into_owned(),
                Source::Expression(e) => {
                    let computed = evaluate(e, &row.batch(&self.row, &self.types)?)?;
                    Value::from_array(&computed, part.ty, 0).into_owned()
                }
            };
            values.push((part.ty, value));
        }
        Ok(values)
    }
}

pub(crate) fn evaluate(expr: &Arc<dyn PhysicalExpr>, row: &RecordBatch) -> Result<ArrayRef> {
    expr.evaluate(row).and_then(|value| value.into_array(row.num_rows())).map_err(sql_error)
}
