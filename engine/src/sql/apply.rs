//! Subqueries that run once for each row around them (or once in all, if they take nothing from it).
//!
//! The logical node keeps the inner plan to itself: what the inner query takes from the outer row is a placeholder
//! `$outer:n`, filled in before the inner plan runs. Results are kept per distinct set of values. Slower than a join
//! where DataFusion can make one (`bind::subquery` asks for that first), right in every case.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, ListArray, RecordBatch, UInt64Array, new_empty_array, new_null_array,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::{concat, concat_batches, take, take_record_batch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchemaRef, DataFusionError, Result as DfResult, ScalarValue};
use datafusion::execution::context::SessionState;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{StreamExt, TryStreamExt};
use kalamdb_catalog::{SqlError, SqlState};

use super::udf::df_error;

/// What the outer row gets of the inner rows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Debug)]
pub(crate) enum ApplyMode {
    /// The one value, NULL for no row, 21000 for several.
    Scalar,
    /// All values of the one column, as a list.
    Array,
    /// Whether there is a row.
    Exists,
    /// The row itself, once for each inner row; with `outer`, once with NULLs if there is none.
    Lateral { outer: bool },
}

/// The placeholder that stands for a condition: where its value is not 1 (int4), the inner query is not run, and has no rows.
pub(super) const ONLY_WHERE: &str = "only where";

/// The logical node: `input`'s columns, then what the inner query gives.
#[derive(Clone)]
pub(super) struct ApplyNode {
    pub input: LogicalPlan,
    pub inner: Arc<LogicalPlan>,
    /// Placeholder names (without `$`) and the outer expressions that fill them.
    pub ids: Vec<String>,
    pub values: Vec<Expr>,
    pub mode: ApplyMode,
    pub schema: DFSchemaRef,
}

impl ApplyNode {
    pub(super) fn plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }
}

impl fmt::Debug for ApplyNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Apply {:?}", self.mode)
    }
}

impl PartialEq for ApplyNode {
    fn eq(&self, o: &Self) -> bool {
        self.input == o.input
            && self.inner == o.inner
            && self.values == o.values
            && self.mode == o.mode
            && self.schema == o.schema
    }
}
impl Eq for ApplyNode {}
impl Hash for ApplyNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.input, &self.inner, &self.values, &self.mode).hash(state);
    }
}
impl PartialOrd for ApplyNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.input.partial_cmp(&other.input)
    }
}

impl UserDefinedLogicalNodeCore for ApplyNode {
    fn name(&self) -> &str {
        "Apply"
    }
    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }
    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }
    fn expressions(&self) -> Vec<Expr> {
        self.values.clone()
    }
    /// What is added. Conditions on other columns are better looked at before: there are fewer rows to do this for then.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let (input, own) = (self.input.schema(), self.schema.iter());
        own.filter(|(q, f)| input.index_of_column_by_name(*q, f.name()).is_none())
            .map(|(_, f)| f.name().clone())
            .collect()
    }
    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<String> = self.values.iter().map(ToString::to_string).collect();
        write!(f, "Apply: {:?} for each [{}]", self.mode, values.join(", "))
    }
    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        let Some(input) = inputs.pop() else {
            return Err(DataFusionError::Internal("Apply has one input".to_owned()));
        };
        Ok(ApplyNode { input, values: exprs, ..self.clone() })
    }
}

/// A statement's parameters by the names of their placeholders.
pub(super) fn numbered(parameters: &[ScalarValue]) -> HashMap<String, ScalarValue> {
    parameters.iter().enumerate().map(|(i, value)| ((i + 1).to_string(), value.clone())).collect()
}

/// Fills the placeholders of an expression. Names are without `$`.
pub(super) fn fill(expr: Expr, values: &HashMap<String, ScalarValue>) -> DfResult<Expr> {
    replace(expr, values).map(|t| t.data)
}

fn replace(expr: Expr, values: &HashMap<String, ScalarValue>) -> DfResult<Transformed<Expr>> {
    expr.transform_up(|e| match &e {
        Expr::Placeholder(p) => match values.get(p.id.trim_start_matches('$')) {
            Some(value) => Ok(Transformed::yes(Expr::Literal(value.clone(), None))),
            None => Ok(Transformed::no(e)),
        },
        _ => Ok(Transformed::no(e)),
    })
}

/// Fills placeholders, inside the inner plans of Apply too. Names are without `$`.
pub(super) fn substitute(plan: LogicalPlan, values: &HashMap<String, ScalarValue>) -> DfResult<LogicalPlan> {
    let done = plan.transform_up_with_subqueries(|node| {
        let node = match node {
            LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<ApplyNode>() {
                Some(apply) => {
                    let inner = substitute(apply.inner.as_ref().clone(), values)?;
                    ApplyNode { inner: Arc::new(inner), ..apply.clone() }.plan()
                }
                None => LogicalPlan::Extension(extension),
            },
            other => other,
        };
        node.map_expressions(|e| replace(e, values)).map(|mut t| {
            t.transformed = true;
            t
        })
    })?;
    Ok(done.data)
}

/// The physical node.
pub(super) struct ApplyExec {
    input: Arc<dyn ExecutionPlan>,
    shared: Arc<Shared>,
    properties: Arc<PlanProperties>,
}

struct Shared {
    inner: Arc<LogicalPlan>,
    ids: Vec<String>,
    values: Vec<Arc<dyn PhysicalExpr>>,
    mode: ApplyMode,
    state: SessionState,
    schema: SchemaRef,
    /// The answer where the inner query is not run.
    none: Arc<RecordBatch>,
    /// Answers so far, by the values handed in.
    cache: tokio::sync::Mutex<HashMap<Vec<ScalarValue>, Arc<RecordBatch>>>,
}

/// Answers kept for one Apply; beyond it the inner query runs again.
const CACHE_ENTRIES_MAX: usize = 10_000;

impl ApplyExec {
    pub(super) fn new(
        node: &ApplyNode,
        input: Arc<dyn ExecutionPlan>,
        values: Vec<Arc<dyn PhysicalExpr>>,
        state: SessionState,
    ) -> Self {
        let schema: SchemaRef = Arc::new(node.schema.as_arrow().clone());
        let properties = PlanProperties::new(
            datafusion::physical_expr::EquivalenceProperties::new(Arc::clone(&schema)),
            input.properties().partitioning.clone(),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        // Of a list, its values are looked at even if there are none.
        let listed = match (node.mode, schema.fields().last().map(|f| f.data_type())) {
            (ApplyMode::Array, Some(DataType::List(item))) => vec![Arc::clone(item)],
            _ => Vec::new(),
        };
        let shared = Shared {
            none: Arc::new(RecordBatch::new_empty(Arc::new(Schema::new(listed)))),
            inner: Arc::clone(&node.inner),
            ids: node.ids.clone(),
            values,
            mode: node.mode,
            state,
            schema,
            cache: tokio::sync::Mutex::default(),
        };
        ApplyExec { input, shared: Arc::new(shared), properties: Arc::new(properties) }
    }
}

impl fmt::Debug for ApplyExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApplyExec {:?}", self.shared.mode)
    }
}

impl DisplayAs for ApplyExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApplyExec: {:?}", self.shared.mode)
    }
}

impl ExecutionPlan for ApplyExec {
    fn name(&self) -> &str {
        "ApplyExec"
    }
    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }
    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        for value in &self.shared.values {
            f(value)?;
        }
        Ok(TreeNodeRecursion::Continue)
    }
    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop() else {
            return Err(DataFusionError::Internal("ApplyExec has one child".to_owned()));
        };
        let properties = PlanProperties::new(
            datafusion::physical_expr::EquivalenceProperties::new(Arc::clone(&self.shared.schema)),
            input.properties().partitioning.clone(),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Arc::new(ApplyExec { input, shared: Arc::clone(&self.shared), properties: Arc::new(properties) }))
    }
    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let shared = Arc::clone(&self.shared);
        let schema = Arc::clone(&shared.schema);
        let stream = input.then(move |batch| {
            let shared = Arc::clone(&shared);
            let context = Arc::clone(&context);
            async move { shared.apply(batch?, &context).await }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

impl Shared {
    async fn apply(&self, batch: RecordBatch, context: &Arc<TaskContext>) -> DfResult<RecordBatch> {
        let rows = batch.num_rows();
        let mut columns = Vec::with_capacity(self.values.len());
        for value in &self.values {
            columns.push(value.evaluate(&batch)?.into_array(rows)?);
        }
        let mut answers = Vec::with_capacity(rows);
        for row in 0..rows {
            let key = columns.iter().map(|c| ScalarValue::try_from_array(c, row)).collect::<DfResult<Vec<_>>>()?;
            answers.push(self.answer(key, context).await?);
        }
        match self.mode {
            ApplyMode::Lateral { outer } => self.lateral(&batch, &answers, outer),
            _ => {
                let column = self.column(&answers)?;
                let mut all = batch.columns().to_vec();
                all.push(column);
                Ok(RecordBatch::try_new(Arc::clone(&self.schema), all)?)
            }
        }
    }

    async fn answer(&self, key: Vec<ScalarValue>, context: &Arc<TaskContext>) -> DfResult<Arc<RecordBatch>> {
        let run_where =
            |(id, value): (&String, &ScalarValue)| id != ONLY_WHERE || *value == ScalarValue::Int32(Some(1));
        if !self.ids.iter().zip(&key).all(run_where) {
            return Ok(Arc::clone(&self.none));
        }
        if let Some(found) = self.cache.lock().await.get(&key) {
            return Ok(Arc::clone(found));
        }
        let named = self.ids.iter().cloned().zip(key.iter().cloned()).collect();
        let plan = substitute(self.inner.as_ref().clone(), &named)?;
        let plan = self.state.optimize(&plan)?;
        let physical = self.state.query_planner().create_physical_plan(&plan, &self.state).await?;
        let schema = physical.schema();
        let mut stream = datafusion::physical_plan::execute_stream(physical, Arc::clone(context))?;
        let mut batches = Vec::new();
        let mut rows = 0;
        while let Some(batch) = stream.try_next().await? {
            rows += batch.num_rows();
            batches.push(batch);
            if self.mode == ApplyMode::Exists && rows > 0 {
                break;
            }
            if self.mode == ApplyMode::Scalar && rows > 1 {
                return Err(df_error(SqlError::new(
                    SqlState::CARDINALITY_VIOLATION,
                    "more than one row returned by a subquery used as an expression",
                )));
            }
        }
        let answer = Arc::new(concat_batches(&schema, &batches)?);
        let mut cache = self.cache.lock().await;
        if cache.len() < CACHE_ENTRIES_MAX {
            cache.insert(key, Arc::clone(&answer));
        }
        Ok(answer)
    }

    /// The one column that the modes other than Lateral add.
    fn column(&self, answers: &[Arc<RecordBatch>]) -> DfResult<ArrayRef> {
        let field = self.schema.field(self.schema.fields().len() - 1);
        match self.mode {
            ApplyMode::Exists => Ok(Arc::new(BooleanArray::from_iter(answers.iter().map(|a| Some(a.num_rows() > 0))))),
            ApplyMode::Scalar => {
                let null = new_null_array(field.data_type(), 1);
                let values: Vec<ArrayRef> = answers
                    .iter()
                    .map(|a| if a.num_rows() == 0 { Arc::clone(&null) } else { Arc::clone(a.column(0)) })
                    .collect();
                concat_all(&values, field)
            }
            ApplyMode::Array | ApplyMode::Lateral { .. } => {
                let DataType::List(item) = field.data_type() else {
                    return Err(DataFusionError::Internal("an array subquery gives a list".to_owned()));
                };
                let values: Vec<ArrayRef> = answers.iter().map(|a| Arc::clone(a.column(0))).collect();
                let offsets = OffsetBuffer::from_lengths(values.iter().map(|v| v.len()));
                let values = concat_all(&values, item)?;
                Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, None)?))
            }
        }
    }

    fn lateral(&self, batch: &RecordBatch, answers: &[Arc<RecordBatch>], outer: bool) -> DfResult<RecordBatch> {
        let mut rows = Vec::new();
        let width = self.schema.fields().len() - batch.num_columns();
        let mut parts: Vec<Vec<ArrayRef>> = vec![Vec::new(); width];
        for (row, answer) in answers.iter().enumerate() {
            let count = answer.num_rows();
            if count == 0 && outer {
                rows.push(row as u64);
                for (part, field) in parts.iter_mut().zip(&self.schema.fields()[batch.num_columns()..]) {
                    part.push(new_null_array(field.data_type(), 1));
                }
                continue;
            }
            rows.extend(std::iter::repeat_n(row as u64, count));
            for (part, column) in parts.iter_mut().zip(answer.columns()) {
                part.push(Arc::clone(column));
            }
        }
        let left = take_record_batch(batch, &UInt64Array::from(rows))?;
        let mut columns = left.columns().to_vec();
        for (part, field) in parts.iter().zip(&self.schema.fields()[batch.num_columns()..]) {
            columns.push(concat_all(part, field)?);
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

fn concat_all(values: &[ArrayRef], field: &Field) -> DfResult<ArrayRef> {
    if values.is_empty() {
        return Ok(new_empty_array(field.data_type()));
    }
    if values.len() == 1 {
        return Ok(Arc::clone(&values[0]));
    }
    // One answer for all rows (an uncorrelated subquery): repeat it instead of concatenating copies.
    if values.iter().all(|v| Arc::ptr_eq(v, &values[0])) && values[0].len() == 1 {
        return Ok(take(&values[0], &UInt64Array::from(vec![0; values.len()]), None)?);
    }
    let refs: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
    Ok(concat(&refs)?)
}
