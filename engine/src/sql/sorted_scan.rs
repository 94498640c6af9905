//! ORDER BY for which the rows come in order: the sort goes where a scan can follow the primary key or an index, and with LIMIT
//! stops early.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, replace_children_if_necessary};

use super::lock_rows::LockRowsExec;
use crate::providers::scan::ScanExec;

/// Rows up to which an index is followed that has to look up each of them.
const FEW: usize = 10_000;

/// Finds the sorts.
#[derive(Debug)]
pub(super) struct SortedScans;

impl PhysicalOptimizerRule for SortedScans {
    fn name(&self) -> &str {
        "sorted_scans"
    }
    fn schema_check(&self) -> bool {
        true
    }
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        placed(plan, false)
    }
}

/// The plan with its sorts where scans follow them. `few`: no more than a few of its rows are wanted.
fn placed(plan: Arc<dyn ExecutionPlan>, few: bool) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(sort) = plan.downcast_ref::<SortExec>()
        && sort.input().output_partitioning().partition_count() == 1
        && let Some(order) = order_of(sort.expr().iter())
    {
        let few = few || sort.fetch().is_some_and(|n| n <= FEW);
        if let Some(input) = sorted(sort.input(), &order, few, false)? {
            return Ok(match sort.fetch() {
                Some(_) => Arc::new(GlobalLimitExec::new(input, 0, sort.fetch())),
                None => input,
            });
        }
    }
    let few = if let Some(limit) = plan.downcast_ref::<GlobalLimitExec>() {
        limit.fetch().is_some_and(|n| n + limit.skip() <= FEW)
    } else {
        few && (plan.downcast_ref::<LockRowsExec>().is_some() || plan.downcast_ref::<ProjectionExec>().is_some())
    };
    let children: Vec<_> = plan.children().into_iter().map(Arc::clone).collect();
    let children = children.into_iter().map(|child| placed(child, few)).collect::<Result<Vec<_>>>()?;
    replace_children_if_necessary(plan, children)
}

/// Output columns with their directions: descending, NULLs first.
fn order_of<'a>(exprs: impl Iterator<Item = &'a PhysicalSortExpr>) -> Option<Vec<(usize, bool, bool)>> {
    exprs
        .map(|e| {
            let column = e.expr.downcast_ref::<Column>()?;
            Some((column.index(), e.options.descending, e.options.nulls_first))
        })
        .collect()
}

/// The plan with its rows in this order. `filtered`: conditions above leave out rows that a scan would have to look up.
fn sorted(
    plan: &Arc<dyn ExecutionPlan>,
    order: &[(usize, bool, bool)],
    few: bool,
    filtered: bool,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(scan) = plan.downcast_ref::<ScanExec>() {
        let few = few && (!filtered || scan.is_restricted());
        return Ok(scan.sorted(order, few).map(|scan| Arc::new(scan) as Arc<dyn ExecutionPlan>));
    }
    let (order, filtered) = if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        match filter.projection() {
            None => (order.to_vec(), true),
            Some(kept) => (order.iter().map(|(o, d, f)| (kept[*o], *d, *f)).collect(), true),
        }
    } else if plan.downcast_ref::<LockRowsExec>().is_some() || plan.downcast_ref::<CooperativeExec>().is_some() {
        (order.to_vec(), filtered)
    } else if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let below = |(output, descending, first): &(usize, bool, bool)| {
            let column = projection.expr().get(*output)?.expr.downcast_ref::<Column>()?;
            Some((column.index(), *descending, *first))
        };
        match order.iter().map(below).collect::<Option<Vec<_>>>() {
            Some(order) => (order, filtered),
            None => return Ok(None),
        }
    } else {
        return Ok(None);
    };
    let children = plan.children();
    let [input] = children.as_slice() else { return Ok(None) };
    let Some(input) = sorted(input, &order, few, filtered)? else { return Ok(None) };
    replace_children_if_necessary(Arc::clone(plan), vec![input]).map(Some)
}
