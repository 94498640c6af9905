//! What the RETURNING of a statement in WITH has given, as a table of the statement around it.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use kalamdb_catalog::SqlError;

use crate::sql::plan::StatementContext;
use crate::sql::udf::df_error;

/// The rows kept under `id` in the statement's context.
#[derive(Debug)]
pub(super) struct Returned {
    pub(super) id: usize,
    pub(super) schema: SchemaRef,
}

#[async_trait]
impl TableProvider for Returned {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
    fn table_type(&self) -> TableType {
        TableType::Temporary
    }
    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let statement = state.config().get_extension::<StatementContext>();
        let rows = statement.and_then(|s| s.returned.lock().get(&self.id).cloned());
        let Some(rows) = rows else {
            return Err(df_error(SqlError::internal("a statement in WITH has not run")));
        };
        let named = |b: RecordBatch| {
            let options = RecordBatchOptions::new().with_row_count(Some(b.num_rows()));
            RecordBatch::try_new_with_options(Arc::clone(&self.schema), b.columns().to_vec(), &options)
        };
        let rows = rows.into_iter().map(named).collect::<Result<Vec<_>, _>>()?;
        Ok(MemorySourceConfig::try_new_exec(&[rows], Arc::clone(&self.schema), projection.cloned())?)
    }
}
