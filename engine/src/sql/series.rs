//! generate_series of integers in FROM: rows made as they are asked for, however many there are.
//!
//! A node of its own rather than a list to unnest, which would be in memory as a whole before its first row.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, DFSchemaRef, DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::stream;
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::plan::planning;
use super::udf::df_error;

/// Rows made at a time.
const BATCH_ROWS: i64 = 4096;

/// The logical node: start, stop and step, of one integer type.
#[derive(Clone, Debug)]
pub(super) struct SeriesNode {
    pub args: Vec<Expr>,
    schema: DFSchemaRef,
}

impl SeriesNode {
    /// One column of `ty`, int4 or int8.
    pub(super) fn plan(args: Vec<Expr>, column: &str, ty: PgType) -> Result<LogicalPlan> {
        let schema = Schema::new(vec![Field::new(column, ty.arrow(), true)]);
        let schema = Arc::new(planning(DFSchema::try_from(schema))?);
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(SeriesNode { args, schema }) }))
    }
}

impl PartialEq for SeriesNode {
    fn eq(&self, other: &Self) -> bool {
        self.args == other.args && self.schema == other.schema
    }
}
impl Eq for SeriesNode {}
impl Hash for SeriesNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.args.hash(state);
    }
}
impl PartialOrd for SeriesNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.args.partial_cmp(&other.args)
    }
}

impl UserDefinedLogicalNodeCore for SeriesNode {
    fn name(&self) -> &str {
        "Series"
    }
    fn inputs(&self) -> Vec<&LogicalPlan> {
        Vec::new()
    }
    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }
    fn expressions(&self) -> Vec<Expr> {
        self.args.clone()
    }
    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let args: Vec<String> = self.args.iter().map(ToString::to_string).collect();
        write!(f, "Series: {}", args.join(", "))
    }
    fn with_exprs_and_inputs(&self, args: Vec<Expr>, _: Vec<LogicalPlan>) -> DfResult<Self> {
        Ok(SeriesNode { args, schema: Arc::clone(&self.schema) })
    }
}

/// The physical node.
#[derive(Debug)]
pub(super) struct SeriesExec {
    args: Vec<Arc<dyn PhysicalExpr>>,
    properties: Arc<PlanProperties>,
}

impl SeriesExec {
    pub(super) fn new(node: &SeriesNode, args: Vec<Arc<dyn PhysicalExpr>>) -> Self {
        let schema: SchemaRef = Arc::new(node.schema.as_arrow().clone());
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        SeriesExec { args, properties: Arc::new(properties) }
    }

    /// The value of an argument; None for NULL.
    fn argument(&self, i: usize) -> DfResult<Option<i64>> {
        let Some(arg) = self.args.get(i) else { return Ok(Some(1)) };
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)?;
        let value = cast(&arg.evaluate(&row)?.into_array(1)?, &DataType::Int64)?;
        let value = value.as_primitive::<Int64Type>();
        Ok(value.is_valid(0).then(|| value.value(0)))
    }
}

impl DisplayAs for SeriesExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let args: Vec<String> = self.args.iter().map(ToString::to_string).collect();
        write!(f, "SeriesExec: {}", args.join(", "))
    }
}

impl ExecutionPlan for SeriesExec {
    fn name(&self) -> &str {
        "SeriesExec"
    }
    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }
    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        for arg in &self.args {
            f(arg)?;
        }
        Ok(TreeNodeRecursion::Continue)
    }
    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }
    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        if partition != 0 {
            return Err(DataFusionError::Internal("a series has one partition".to_owned()));
        }
        let (start, stop, step) = (self.argument(0)?, self.argument(1)?, self.argument(2)?);
        let schema = self.schema();
        let rows = match (start, stop, step) {
            (Some(_), Some(_), Some(0)) => {
                return Err(df_error(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "step size cannot equal zero")));
            }
            (Some(start), Some(stop), Some(step)) => Some(Series { next: start, stop, step }),
            _ => None,
        };
        let named = Arc::clone(&schema);
        let batches = stream::unfold(rows, move |rows| {
            let named = Arc::clone(&named);
            async move {
                tokio::task::consume_budget().await;
                let (values, rest) = rows?.batch()?;
                let column: ArrayRef = match named.field(0).data_type() {
                    // Both ends are of the type, and so is what lies between.
                    DataType::Int32 => Arc::new(Int32Array::from_iter_values(values.iter().map(|v| *v as i32))),
                    _ => Arc::new(Int64Array::from(values)),
                };
                Some((RecordBatch::try_new(named, vec![column]).map_err(Into::into), rest))
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, Box::pin(batches))))
    }
}

/// What is left of a series.
struct Series {
    next: i64,
    stop: i64,
    step: i64,
}

impl Series {
    /// The next values, and what is left after them; None at the end.
    fn batch(mut self) -> Option<(Vec<i64>, Option<Series>)> {
        let mut values = Vec::new();
        loop {
            let ended = if self.step > 0 { self.next > self.stop } else { self.next < self.stop };
            if ended {
                return (!values.is_empty()).then_some((values, None));
            }
            values.push(self.next);
            // Past the type's end is past the stop.
            match self.next.checked_add(self.step) {
                Some(next) => self.next = next,
                None => return Some((values, None)),
            }
            if values.len() as i64 == BATCH_ROWS {
                return Some((values, Some(self)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_at_the_type() {
        let series = Series { next: i64::MAX - 1, stop: i64::MAX, step: 1 };
        let (values, rest) = series.batch().unwrap();
        assert_eq!(values, [i64::MAX - 1, i64::MAX]);
        assert!(rest.is_none());
        let down = Series { next: 5, stop: 1, step: -2 };
        assert_eq!(down.batch().unwrap().0, [5, 3, 1]);
        assert!(Series { next: 2, stop: 1, step: 1 }.batch().is_none());
    }
}
