//! A query of WITH that gives other rows each time it runs (nextval, random) and is read more than once: it runs once in a
//! statement, and its rows are kept until the statement ends (manual, section 7.8.3).

use std::cmp::Ordering;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicUsize};

use datafusion::arrow::array::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchemaRef, DataFusionError, Result as DfResult};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};
use kalamdb_catalog::SqlError;
use tokio::sync::OnceCell;

use super::plan::StatementContext;
use super::udf::df_error;

/// Rows that are kept, with the memory that they are counted in.
#[derive(Debug)]
pub struct Kept {
    batches: Vec<RecordBatch>,
    _memory: MemoryReservation,
}

/// The logical node. Its columns are its input's.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct SharedNode {
    input: LogicalPlan,
    id: usize,
}

impl SharedNode {
    pub(super) fn plan(input: LogicalPlan) -> LogicalPlan {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let id = NEXT.fetch_add(1, atomic::Ordering::Relaxed);
        LogicalPlan::Extension(Extension { node: Arc::new(SharedNode { input, id }) })
    }
}

/// True if a plan may give other rows each time.
pub(super) fn is_volatile(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let visited = plan.apply_with_subqueries(|node| {
        found |= node.expressions().iter().any(Expr::is_volatile);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found || visited.is_err()
}

impl PartialOrd for SharedNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.id.partial_cmp(&other.id)
    }
}

impl UserDefinedLogicalNodeCore for SharedNode {
    fn name(&self) -> &str {
        "Shared"
    }
    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }
    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }
    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }
    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared: once in a statement")
    }
    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        let input = inputs.pop().ok_or_else(|| DataFusionError::Internal("Shared has one input".to_owned()))?;
        Ok(SharedNode { input, id: self.id })
    }
}

/// The physical node.
#[derive(Debug)]
pub(super) struct SharedExec {
    input: Arc<dyn ExecutionPlan>,
    id: usize,
    properties: Arc<PlanProperties>,
}

impl SharedExec {
    pub(super) fn new(node: &SharedNode, input: Arc<dyn ExecutionPlan>) -> Self {
        Self::over(input, node.id)
    }

    fn over(input: Arc<dyn ExecutionPlan>, id: usize) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        SharedExec { input, id, properties: Arc::new(properties) }
    }
}

impl DisplayAs for SharedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared: once in a statement")
    }
}

impl ExecutionPlan for SharedExec {
    fn name(&self) -> &str {
        "SharedExec"
    }
    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }
    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::SinglePartition]
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
        let input = children.pop().ok_or_else(|| DataFusionError::Internal("Shared has one child".to_owned()))?;
        Ok(Arc::new(Self::over(input, self.id)))
    }
    fn execute(&self, _: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let Some(statement) = context.session_config().get_extension::<StatementContext>() else {
            return Err(df_error(SqlError::internal("a shared query runs outside a statement")));
        };
        let cell: Arc<OnceCell<Kept>> = Arc::clone(statement.shared.lock().entry(self.id).or_default());
        let (input, schema) = (Arc::clone(&self.input), self.schema());
        let named = Arc::clone(&schema);
        let rows = stream::once(async move {
            // A task of its own: who reads it first may not be who is asked first.
            let fill = Arc::clone(&cell);
            let task = tokio::spawn(async move { fill.get_or_try_init(|| collect(input, context)).await.map(drop) });
            task.await.map_err(|e| DataFusionError::ExecutionJoin(Box::new(e)))??;
            let kept = cell.get().map_or_else(Vec::new, |kept| kept.batches.clone());
            Ok::<_, DataFusionError>(stream::iter(kept.into_iter().map(Ok::<_, DataFusionError>)))
        });
        let rows = rows.try_flatten().map(move |batch| Ok(batch?.with_schema(Arc::clone(&named))?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

async fn collect(input: Arc<dyn ExecutionPlan>, context: Arc<TaskContext>) -> DfResult<Kept> {
    let memory = MemoryConsumer::new("WITH").register(context.memory_pool());
    let mut batches = Vec::new();
    let mut rows = input.execute(0, context)?;
    while let Some(batch) = rows.try_next().await? {
        memory.try_grow(batch.get_array_memory_size())?;
        batches.push(batch);
    }
    Ok(Kept { batches, _memory: memory })
}
