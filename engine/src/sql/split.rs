//! Cuts large batches. A list that is unnested (generate_series, unnest) comes as one batch, and whatever is computed
//! on it would be as large at once: results are to be made piece by piece.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;

/// Its input in batches of at most the configured size.
#[derive(Debug)]
pub(super) struct SplitExec {
    input: Arc<dyn ExecutionPlan>,
}

impl SplitExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>) -> SplitExec {
        SplitExec { input }
    }
}

impl DisplayAs for SplitExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SplitExec")
    }
}

impl ExecutionPlan for SplitExec {
    fn name(&self) -> &str {
        "SplitExec"
    }
    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }
    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }
    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let input = children.pop().ok_or_else(|| DataFusionError::Internal("SplitExec has one child".to_owned()))?;
        Ok(Arc::new(SplitExec::new(input)))
    }
    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let rows_max = context.session_config().batch_size();
        let input = self.input.execute(partition, context)?;
        let schema = input.schema();
        let pieces = input.flat_map(move |batch| {
            let pieces: Vec<_> = match batch {
                Ok(batch) if batch.num_rows() > rows_max => (0..batch.num_rows())
                    .step_by(rows_max)
                    .map(|at| Ok(batch.slice(at, rows_max.min(batch.num_rows() - at))))
                    .collect(),
                other => vec![other],
            };
            futures::stream::iter(pieces)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, pieces)))
    }
}
