//! Joins that look up one side's rows by key: where a hash join's probe side is a whole table and the join is by what its primary
//! key or an index begins with, the build side is watched as it is read. If it has few rows, the table is asked for just theirs.
//!
//! Whether that pays is known only when the build side has been read, so it is decided then: no statistics are needed.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{JoinType, NullEquality, Result, ScalarValue};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties, replace_children_if_necessary,
};
use futures::StreamExt;
use parking_lot::Mutex;

use crate::providers::scan::{LookupSender, ScanExec};
use crate::types::Value;

/// Distinct values that are looked up; more, and the table is read as a whole.
const VALUES_MAX: usize = 1000;

/// Finds the joins.
#[derive(Debug)]
pub(super) struct LookupJoins;

impl PhysicalOptimizerRule for LookupJoins {
    fn name(&self) -> &str {
        "lookup_joins"
    }
    fn schema_check(&self) -> bool {
        true
    }
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        placed(plan)
    }
}

fn placed(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    // What is recursive runs its plan again and again, and looks for other rows each time.
    if plan.downcast_ref::<RecursiveQueryExec>().is_some() {
        return Ok(plan);
    }
    let children: Vec<_> = plan.children().into_iter().map(Arc::clone).collect();
    let children = children.into_iter().map(placed).collect::<Result<Vec<_>>>()?;
    let plan = replace_children_if_necessary(plan, children)?;
    let Some(join) = plan.downcast_ref::<HashJoinExec>() else { return Ok(plan) };
    match with_lookups(join)? {
        Some((build, probe)) => replace_children_if_necessary(plan, vec![build, probe]),
        None => Ok(plan),
    }
}

/// Both sides of the join as they are to be.
#[allow(clippy::type_complexity)]
fn with_lookups(join: &HashJoinExec) -> Result<Option<(Arc<dyn ExecutionPlan>, Arc<dyn ExecutionPlan>)>> {
    // Rows of the probe side that match nothing must not be wanted: not even to know whether there are any, or any NULLs (NOT
    // IN). NULLs are not looked up.
    let serves = !join.null_aware && join.null_equality() == NullEquality::NullEqualsNothing;
    let serves = serves
        && matches!(
            join.join_type(),
            JoinType::Inner
                | JoinType::Left
                | JoinType::LeftSemi
                | JoinType::LeftAnti
                | JoinType::LeftMark
                | JoinType::RightSemi
        );
    if !serves || join.left().output_partitioning().partition_count() != 1 {
        return Ok(None);
    }
    for (build, probe) in join.on() {
        let (Some(build), Some(probe)) = (build.downcast_ref::<Column>(), probe.downcast_ref::<Column>()) else {
            continue;
        };
        let Some((right, sender, scan, output)) = looked_up(join.right(), probe.index())? else { continue };
        let watch = WatchExec {
            input: Arc::clone(join.left()),
            column: build.index(),
            scan,
            output,
            sender: Mutex::new(Some(sender)),
        };
        return Ok(Some((Arc::new(watch), right)));
    }
    Ok(None)
}

/// The probe side with its scan made one of lookups by an output column.
#[allow(clippy::type_complexity)]
fn looked_up(
    plan: &Arc<dyn ExecutionPlan>,
    output: usize,
) -> Result<Option<(Arc<dyn ExecutionPlan>, LookupSender, ScanExec, usize)>> {
    if let Some(scan) = plan.downcast_ref::<ScanExec>() {
        return Ok(scan.looked_up_by(output).map(|(scan, sender)| {
            let plan: Arc<dyn ExecutionPlan> = Arc::new(scan.clone());
            (plan, sender, scan, output)
        }));
    }
    let below = if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        filter.projection().as_ref().map_or(output, |kept| kept[output])
    } else if plan.downcast_ref::<RepartitionExec>().is_some() || plan.downcast_ref::<CooperativeExec>().is_some() {
        output
    } else if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        match projection.expr().get(output).and_then(|e| e.expr.downcast_ref::<Column>()) {
            Some(column) => column.index(),
            None => return Ok(None),
        }
    } else {
        return Ok(None);
    };
    let children = plan.children();
    let [input] = children.as_slice() else { return Ok(None) };
    let Some((input, sender, scan, output)) = looked_up(input, below)? else { return Ok(None) };
    let plan = replace_children_if_necessary(Arc::clone(plan), vec![input])?;
    Ok(Some((plan, sender, scan, output)))
}

/// Hands rows on and remembers the values of a column; at the end tells the scan which rows will be looked for.
struct WatchExec {
    input: Arc<dyn ExecutionPlan>,
    column: usize,
    scan: ScanExec,
    output: usize,
    sender: Mutex<Option<LookupSender>>,
}

impl fmt::Debug for WatchExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WatchExec")
    }
}

impl DisplayAs for WatchExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lookup Keys: at most {VALUES_MAX}")
    }
}

impl ExecutionPlan for WatchExec {
    fn name(&self) -> &str {
        "WatchExec"
    }
    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }
    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }
    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(WatchExec {
            input: children.swap_remove(0),
            column: self.column,
            scan: self.scan.clone(),
            output: self.output,
            sender: Mutex::new(self.sender.lock().take()),
        }))
    }
    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, context)?;
        let Some(sender) = self.sender.lock().take() else { return Ok(rows) };
        let schema = rows.schema();
        let watch = Watch {
            column: self.column,
            values: Some(HashSet::new()),
            scan: self.scan.clone(),
            output: self.output,
            sender,
        };
        let watched = futures::stream::unfold((rows, Some(watch)), |(mut rows, mut watch)| async move {
            match rows.next().await {
                Some(Ok(batch)) => {
                    if let Some(watch) = &mut watch {
                        watch.add(&batch);
                    }
                    Some((Ok(batch), (rows, watch)))
                }
                Some(Err(error)) => Some((Err(error), (rows, None))),
                None => {
                    if let Some(watch) = watch.take() {
                        watch.tell();
                    }
                    None
                }
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, watched)))
    }
}

struct Watch {
    column: usize,
    /// None: too many.
    values: Option<HashSet<ScalarValue>>,
    scan: ScanExec,
    output: usize,
    sender: LookupSender,
}

impl Watch {
    fn add(&mut self, batch: &RecordBatch) {
        let Some(values) = &mut self.values else { return };
        let column: &ArrayRef = batch.column(self.column);
        for row in (0..column.len()).filter(|row| column.is_valid(*row)) {
            match ScalarValue::try_from_array(column, row) {
                Ok(value) if values.len() < VALUES_MAX || values.contains(&value) => {
                    values.insert(value);
                }
                _ => {
                    self.values = None;
                    return;
                }
            }
        }
    }

    fn tell(self) {
        let ranges = self.values.and_then(|values| {
            let ty = self.scan.type_of(self.output)?;
            let known =
                values.iter().map(|v| (v.data_type() == ty.arrow()).then(|| Value::from_scalar(v, ty).ok()).flatten());
            let values: Vec<Value<'static>> = known.collect::<Option<_>>()?;
            self.scan.ranges_of(self.output, &values)
        });
        // Nobody may be listening any more.
        let _ = self.sender.send(Some(ranges));
    }
}
