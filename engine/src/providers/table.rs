//! A stored table.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use kalamdb_catalog::{CachedTableData, SqlError};

use super::access::{self, BoundIndex};
use super::scan::{Order, ScanExec, ScanSource};
use super::{KEY_COLUMN, ROW_COLUMN, system_columns};
use crate::sql::plan::StatementContext;
use crate::sql::udf::df_error;
use crate::storage::{RowLayout, ScanColumn};

/// Its columns: the live ones, the system columns, the row's key and bytes.
#[derive(Debug)]
pub(crate) struct StoredTable {
    table: Arc<CachedTableData>,
    schema: SchemaRef,
    mark: u32,
    /// Those that are over expressions, or partial.
    indexes: Vec<BoundIndex>,
}

impl StoredTable {
    pub(crate) fn new(table: Arc<CachedTableData>, mark: u32, indexes: Vec<BoundIndex>) -> Self {
        let mut fields: Vec<Arc<Field>> = table.arrow_schema().fields().iter().cloned().collect();
        for column in system_columns(&table) {
            fields.push(Arc::new(Field::new(column.name, column.ty.arrow(), true)));
        }
        for name in [KEY_COLUMN, ROW_COLUMN] {
            fields.push(Arc::new(Field::new(name, DataType::Binary, true)));
        }
        StoredTable { schema: Arc::new(Schema::new(fields)), table, mark, indexes }
    }

    fn scan_column(&self, index: usize) -> ScanColumn {
        let live = self.table.arrow_schema().fields().len();
        let system = system_columns(&self.table);
        match index.checked_sub(live) {
            None => ScanColumn::User(index),
            Some(i) if i < system.len() => system[i].scan,
            Some(i) if i == system.len() => ScanColumn::Key,
            Some(_) => ScanColumn::Row,
        }
    }
}

#[async_trait]
impl TableProvider for StoredTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
    fn table_type(&self) -> TableType {
        TableType::Base
    }
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|f| match access::is_way(&self.table, &self.indexes, f) {
                true => TableProviderFilterPushDown::Inexact,
                false => TableProviderFilterPushDown::Unsupported,
            })
            .collect())
    }
    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let Some(statement) = state.config().get_extension::<StatementContext>() else {
            return Err(df_error(SqlError::internal("a scan has no snapshot")));
        };
        let indices: Vec<usize> = match projection {
            Some(p) => p.clone(),
            None => (0..self.schema.fields().len()).collect(),
        };
        let columns = indices.iter().map(|i| self.scan_column(*i)).collect();
        let schema = Arc::new(self.schema.project(&indices)?);
        let layout = Arc::new(RowLayout::new(&self.table.definition).map_err(df_error)?);
        let source = match statement.substitutes.iter().find(|s| s.mark == self.mark) {
            Some(substitute) => ScanSource::Given(substitute.row.clone()),
            None => ScanSource::Way(access::best(&self.table, &self.indexes, filters), Order::Any),
        };
        Ok(Arc::new(ScanExec::new(&self.table, layout, schema, columns, source, limit, statement)))
    }
}
