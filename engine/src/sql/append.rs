//! UNION ALL as PostgreSQL's Append: the branches' rows one branch after the other, in their order.
//!
//! DataFusion's union gives each partition of each branch a partition of its own, which are then merged as they come;
//! clients write UNION ALL to get a heading or a total where they put it.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{Distribution, EquivalenceProperties, OrderingRequirements, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
    replace_children_if_necessary,
};
use futures::StreamExt;

/// Puts [`AppendExec`] where DataFusion has planned a union. Runs first, so that the rules after it see its properties.
#[derive(Debug)]
pub(super) struct UnionsInOrder;

impl PhysicalOptimizerRule for UnionsInOrder {
    fn name(&self) -> &str {
        "unions_in_order"
    }
    fn schema_check(&self) -> bool {
        true
    }
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let replaced = plan.transform_up(|node| {
            if node.downcast_ref::<UnionExec>().is_none() {
                return Ok(Transformed::no(node));
            }
            let branches = node.children().into_iter().map(|branch| keep_order(Arc::clone(branch)));
            let append = AppendExec::new(branches.collect::<Result<_>>()?, &node);
            Ok(Transformed::yes(Arc::new(append) as Arc<dyn ExecutionPlan>))
        });
        Ok(replaced?.data)
    }
}

/// A branch's own ORDER BY, which nothing above asks for, held by an append of one. The keys may be projected away above.
fn keep_order(branch: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    if branch.downcast_ref::<SortExec>().is_some() {
        let kept = AppendExec::new(vec![Arc::clone(&branch)], &branch);
        return Ok(Arc::new(kept));
    }
    match branch.children().as_slice() {
        [input] if branch.downcast_ref::<ProjectionExec>().is_some() => {
            let input = keep_order(Arc::clone(input))?;
            replace_children_if_necessary(branch, vec![input])
        }
        _ => Ok(branch),
    }
}

struct AppendExec {
    branches: Vec<Arc<dyn ExecutionPlan>>,
    /// The order of each branch's rows when the union was planned: a branch's own ORDER BY is to be kept.
    orderings: Vec<Option<OrderingRequirements>>,
    properties: Arc<PlanProperties>,
}

impl AppendExec {
    /// `like`: a plan with the same schema.
    fn new(branches: Vec<Arc<dyn ExecutionPlan>>, like: &Arc<dyn ExecutionPlan>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(like.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let orderings = branches.iter().map(|b| b.output_ordering().cloned().map(OrderingRequirements::from)).collect();
        AppendExec { branches, orderings, properties: Arc::new(properties) }
    }
}

impl fmt::Debug for AppendExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppendExec of {}", self.branches.len())
    }
}

impl DisplayAs for AppendExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppendExec")
    }
}

impl ExecutionPlan for AppendExec {
    fn name(&self) -> &str {
        "AppendExec"
    }
    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.branches.iter().collect()
    }
    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::SinglePartition; self.branches.len()]
    }
    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        self.orderings.clone()
    }
    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }
    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let (orderings, properties) = (self.orderings.clone(), Arc::clone(&self.properties));
        Ok(Arc::new(AppendExec { branches: children, orderings, properties }))
    }
    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            return Err(DataFusionError::Internal("an append has one partition".to_owned()));
        }
        let schema = self.schema();
        let named = Arc::clone(&schema);
        let branches = self.branches.clone();
        let rows = futures::stream::iter(branches)
            .map(move |branch| branch.execute(0, Arc::clone(&context)))
            .flat_map(|rows| match rows {
                Ok(rows) => rows.left_stream(),
                Err(error) => futures::stream::once(async { Err(error) }).right_stream(),
            })
            .map(move |batch| Ok(batch?.with_schema(Arc::clone(&named))?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}
