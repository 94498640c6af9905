//! Whether a query's result is a matter of its rows alone.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Distinct, Expr, ExprSchemable, LogicalPlan};

use super::apply::ApplyNode;

/// Aggregates whose value depends on the order in which they meet their rows.
const OF_AN_ORDER: &[&str] =
    &["array_agg", "string_agg", "json_agg", "jsonb_agg", "json_object_agg", "jsonb_object_agg", "xmlagg"];

/// True if a plan gives the same rows by whatever way its tables are read: nothing is cut off, numbered or put together in an order
/// that the query leaves open. Not every such plan is known.
pub(crate) fn is_determined(plan: &LogicalPlan) -> bool {
    let mut determined = true;
    let walked = plan.apply_with_subqueries(|node| {
        determined &= match node {
            LogicalPlan::Limit(limit) => has_one_row(&limit.input),
            LogicalPlan::Window(_) | LogicalPlan::Distinct(Distinct::On(_)) => false,
            LogicalPlan::Sort(sort) => sort.fetch.is_none(),
            LogicalPlan::Aggregate(aggregate) => aggregate.aggr_expr.iter().all(|e| is_of_rows(e, &aggregate.input)),
            LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<ApplyNode>() {
                Some(apply) => is_determined(&apply.inner),
                None => extension.node.name() == "Series",
            },
            _ => true,
        };
        Ok(if determined { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    walked.is_ok() && determined
}

/// True for an aggregate without groups: no limit takes anything from it, or all.
fn has_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::Projection(projection) => has_one_row(&projection.input),
        _ => false,
    }
}

fn is_of_rows(aggregate: &Expr, input: &LogicalPlan) -> bool {
    let mut found = true;
    let walked = aggregate.apply(|e| {
        if let Expr::AggregateFunction(AggregateFunction { func, params }) = e {
            // Sums of floats depend on their order in the last digits.
            let is_float =
                |e: &Expr| matches!(e.get_type(input.schema()), Ok(DataType::Float32 | DataType::Float64) | Err(_));
            found &= !OF_AN_ORDER.contains(&func.name()) && !params.args.iter().any(is_float);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.is_ok() && found
}
