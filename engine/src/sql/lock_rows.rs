//! SELECT ... FOR UPDATE and its kin: rows are locked as they are asked for, above ORDER BY and below LIMIT.
//!
//! A row that another transaction has changed meanwhile is looked at again (READ COMMITTED): the query below runs with the
//! newest version of the locked rows, and the very rows of other tables that they were joined with, in place of the tables. What
//! does not fulfil the conditions any more is left out (manual, section 13.2.1).

use std::cmp::Ordering;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchemaRef, DataFusionError, Result as DfResult};
use datafusion::execution::context::SessionState;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::{TryStreamExt, stream};
use kalamdb_catalog::{Oid, Result, SqlError, SqlState};

use super::plan::{StatementContext, planning};
use super::udf::df_error;
use crate::providers::{GivenRow, Substitute};
use crate::txn::{IfLocked, LockMode, RowState};

/// NOWAIT
pub(super) fn not_obtained(table: &str) -> SqlError {
    SqlError::new(SqlState::LOCK_NOT_AVAILABLE, format!("could not obtain lock on row in relation \"{table}\""))
}

/// A stored table whose rows are locked, or are only remembered: a look at a changed row leaves them as they are.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct RowMark {
    pub table: Oid,
    /// For errors.
    pub name: String,
    /// Its scan: see `providers::source`.
    pub mark: u32,
    /// The input's column that holds the row's key.
    pub key: usize,
    pub lock: Option<(LockMode, IfLocked)>,
}

/// The logical node. Its columns are its input's.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct LockRowsNode {
    pub input: LogicalPlan,
    pub marks: Vec<RowMark>,
    /// Rows are given one at a time: who stops asking has not locked more than he has got.
    pub one_by_one: bool,
}

/// The plan of a cursor: it locks the rows that are fetched, one after the other.
pub(super) fn as_fetched(plan: LogicalPlan) -> Result<LogicalPlan> {
    let changed = plan.transform_up(|node| {
        let LogicalPlan::Extension(extension) = &node else { return Ok(Transformed::no(node)) };
        let Some(lock) = extension.node.as_any().downcast_ref::<LockRowsNode>() else {
            return Ok(Transformed::no(node));
        };
        Ok(Transformed::yes(LockRowsNode { one_by_one: true, ..lock.clone() }.plan()))
    });
    planning(changed).map(|changed| changed.data)
}

impl RowMark {
    fn key_of<'a>(&self, batch: &'a RecordBatch, row: usize) -> Option<&'a [u8]> {
        let keys = batch.column(self.key).as_binary::<i32>();
        keys.is_valid(row).then(|| keys.value(row))
    }
}

impl LockRowsNode {
    pub(super) fn plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }
}

impl PartialOrd for LockRowsNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.input.partial_cmp(&other.input)
    }
}

impl UserDefinedLogicalNodeCore for LockRowsNode {
    fn name(&self) -> &str {
        "LockRows"
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
        write!(f, "LockRows: {}", locked_names(&self.marks))
    }
    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        let input = inputs.pop().ok_or_else(|| DataFusionError::Internal("LockRows has one input".to_owned()))?;
        Ok(LockRowsNode { input, ..self.clone() })
    }
}

fn locked_names(marks: &[RowMark]) -> String {
    let names: Vec<&str> = marks.iter().filter(|m| m.lock.is_some()).map(|m| m.name.as_str()).collect();
    names.join(", ")
}

/// The physical node.
pub(super) struct LockRowsExec {
    input: Arc<dyn ExecutionPlan>,
    shared: Arc<Shared>,
    properties: Arc<PlanProperties>,
}

struct Shared {
    marks: Vec<RowMark>,
    one_by_one: bool,
    /// What `input` was planned from.
    plan: LogicalPlan,
    state: SessionState,
    statement: Arc<StatementContext>,
}

impl LockRowsExec {
    pub(super) fn new(
        node: &LockRowsNode,
        input: Arc<dyn ExecutionPlan>,
        plan: LogicalPlan,
        state: SessionState,
    ) -> DfResult<Self> {
        let Some(statement) = state.config().get_extension::<StatementContext>() else {
            return Err(df_error(SqlError::internal("rows are locked outside a statement")));
        };
        let shared = Shared { marks: node.marks.clone(), one_by_one: node.one_by_one, plan, state, statement };
        Ok(Self::over(input, Arc::new(shared)))
    }

    fn over(input: Arc<dyn ExecutionPlan>, shared: Arc<Shared>) -> Self {
        let properties = PlanProperties::new(
            input.properties().eq_properties.clone(),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        LockRowsExec { input, shared, properties: Arc::new(properties) }
    }
}

impl fmt::Debug for LockRowsExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockRowsExec")
    }
}

impl DisplayAs for LockRowsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockRows: {}", locked_names(&self.shared.marks))
    }
}

impl ExecutionPlan for LockRowsExec {
    fn name(&self) -> &str {
        "LockRowsExec"
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
        let input = children.pop().ok_or_else(|| DataFusionError::Internal("LockRows has one child".to_owned()))?;
        Ok(Arc::new(Self::over(input, Arc::clone(&self.shared))))
    }
    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let running = Running {
            input: self.input.execute(partition, context)?,
            batch: RecordBatch::new_empty(self.schema()),
            next: 0,
            shared: Arc::clone(&self.shared),
        };
        let rows = stream::try_unfold(running, |mut running| async move {
            Ok(running.next_batch().await?.map(|batch| (batch, running)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

struct Running {
    input: SendableRecordBatchStream,
    batch: RecordBatch,
    /// The first row of `batch` that has not been looked at.
    next: usize,
    shared: Arc<Shared>,
}

impl Running {
    async fn next_batch(&mut self) -> DfResult<Option<RecordBatch>> {
        let mut locked: Vec<RecordBatch> = Vec::new();
        loop {
            if self.next == self.batch.num_rows() {
                if !locked.is_empty() {
                    return Ok(Some(concat_batches(&self.batch.schema(), &locked)?));
                }
                match self.input.try_next().await? {
                    Some(batch) => (self.batch, self.next) = (batch, 0),
                    None => return Ok(None),
                }
                continue;
            }
            let row = self.next;
            self.next += 1;
            let result = self.shared.lock(&self.batch, row).await;
            if result.is_err() && !locked.is_empty() {
                // The rows before it come first; it is met again at the next call.
                self.next = row;
                return Ok(Some(concat_batches(&self.batch.schema(), &locked)?));
            }
            if let Some(row) = result? {
                if self.shared.one_by_one {
                    return Ok(Some(row));
                }
                locked.push(row);
            }
        }
    }
}

impl Shared {
    /// Locks what a row is made of. The row as it is then, in a batch of one; None if it is to be left out.
    async fn lock(&self, batch: &RecordBatch, row: usize) -> DfResult<Option<RecordBatch>> {
        let reader = &self.statement.reader;
        let mut changed: Vec<Substitute> = Vec::new();
        for mark in &self.marks {
            let Some((mode, if_locked)) = mark.lock else { continue };
            let Some(key) = mark.key_of(batch, row) else {
                let message = "rows of the nullable side of an outer join cannot be locked";
                return Err(df_error(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)));
            };
            let wanted = (mode, if_locked);
            match self.statement.locker.lock(reader, mark.table, key, wanted).await.map_err(df_error)? {
                RowState::Seen => {}
                RowState::Changed(seq, row) => {
                    let newest = GivenRow { key: Bytes::copy_from_slice(key), seq, row };
                    changed.push(Substitute { mark: mark.mark, row: Some(newest) });
                }
                RowState::Gone => return Ok(None),
                RowState::Locked if if_locked == IfLocked::Skip => return Ok(None),
                RowState::Locked => return Err(df_error(not_obtained(&mark.name))),
            }
        }
        if changed.is_empty() {
            return Ok(Some(batch.slice(row, 1)));
        }
        // The other tables' rows are those that this one was made of.
        for mark in &self.marks {
            if !changed.iter().any(|s| s.mark == mark.mark) {
                changed.push(Substitute::seen(reader, mark.mark, mark.key_of(batch, row)).map_err(df_error)?);
            }
        }
        self.look_again(changed).await
    }

    /// The query below for these rows alone.
    async fn look_again(&self, substitutes: Vec<Substitute>) -> DfResult<Option<RecordBatch>> {
        let statement = StatementContext { substitutes, ..(*self.statement).clone() };
        let mut state = self.state.clone();
        state.config_mut().set_extension(Arc::new(statement));
        let physical = state.query_planner().create_physical_plan(&self.plan, &state).await?;
        let mut rows = datafusion::physical_plan::execute_stream(physical, state.task_ctx())?;
        while let Some(batch) = rows.try_next().await? {
            if batch.num_rows() > 0 {
                return Ok(Some(batch.slice(0, 1)));
            }
        }
        Ok(None)
    }
}
