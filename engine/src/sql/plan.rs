//! From a bound plan to rows: DataFusion's optimiser and executor, set up once, with the statement's session and
//! snapshot put in for each run.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DataFusionError, Result as DfResult, ScalarValue};
use datafusion::execution::context::{QueryPlanner, SessionState};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNode, Volatility};
use datafusion::optimizer::Optimizer;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use datafusion::prelude::SessionConfig;
use kalamdb_catalog::{Result, SqlError, SqlState};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::append::UnionsInOrder;
use super::apply::{ApplyExec, ApplyNode};
use super::lock_rows::{LockRowsExec, LockRowsNode};
use super::lookup_join::LookupJoins;
use super::ordered::{OrderedExec, OrderedNode};
use super::runner::{Pace, Runner, tame};
use super::series::{SeriesExec, SeriesNode};
use super::shared::{Kept, SharedExec, SharedNode};
use super::sorted_scan::SortedScans;
use super::udf::SessionExtension;
use crate::providers::{ColumnCache, Substitute};
use crate::session::{CancelHandle, SessionContext};
use crate::sql::RowStream;
use crate::txn::{RowLocker, TxnReader};

/// What a statement's plan runs with: found by scans in the task's configuration.
#[derive(Clone)]
pub struct StatementContext {
    pub session: Arc<SessionContext>,
    pub reader: TxnReader,
    pub locker: RowLocker,
    pub cancel: CancelHandle,
    pub columns: Arc<ColumnCache>,
    /// What statements of WITH that write have returned, by their numbers.
    pub returned: Arc<Mutex<HashMap<usize, Vec<RecordBatch>>>>,
    /// Rows of queries in WITH that run once, by their numbers.
    pub shared: Arc<Mutex<HashMap<usize, Arc<OnceCell<Kept>>>>>,
    /// Rows that scans give instead of their tables'.
    pub substitutes: Vec<Substitute>,
}

/// Rows that operators hand to each other at a time: enough to be fast, few enough that rows of kilobytes stay small.
const BATCH_ROWS: usize = 4096;

/// Rewrites DISTINCT aggregates to a GROUP BY by the bytes of a value and applies the aggregate to its own result: wrong
/// for numeric, where 1.5 and 1.50 are equal, and for aggregates whose result has another type than their argument.
const RULE_LEFT_OUT: &str = "single_distinct_aggregation_to_group_by";

/// Pushes filters through physical joins by column name: a filter on one side of a RIGHT JOIN ends up on the other if both
/// have a column of that name. The logical optimiser has pushed what can be pushed before.
const PHYSICAL_RULE_LEFT_OUT: &str = "FilterPushdown";

/// DataFusion, set up for KalamDB.
pub struct Engine {
    /// What scans have decoded.
    pub columns: Arc<ColumnCache>,
    state: SessionState,
    runner: Runner,
}

impl Engine {
    /// `memory_bytes` bounds what all running queries may hold for sorts, joins and aggregates together.
    pub fn new(memory_bytes: usize, spill_dir: &std::path::Path, columns: Arc<ColumnCache>) -> Result<Engine> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut config = SessionConfig::new()
            .with_target_partitions(threads)
            .with_batch_size(BATCH_ROWS)
            .with_information_schema(false)
            .with_create_default_catalog_and_schema(false);
        config.options_mut().execution.skip_physical_aggregate_schema_check = true;
        config.options_mut().optimizer.enable_round_robin_repartition = false;
        let runtime = planning(
            RuntimeEnvBuilder::new()
                .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory_bytes)))
                .with_temp_file_path(spill_dir)
                .build_arc(),
        )?;
        let rules = Optimizer::new().rules.into_iter().filter(|r| r.name() != RULE_LEFT_OUT).collect();
        let physical = PhysicalOptimizer::new().rules;
        let kept = physical.into_iter().filter(|r| !r.name().starts_with(PHYSICAL_RULE_LEFT_OUT));
        let first: Arc<dyn PhysicalOptimizerRule + Send + Sync> = Arc::new(UnionsInOrder);
        let last: [Arc<dyn PhysicalOptimizerRule + Send + Sync>; 2] = [Arc::new(LookupJoins), Arc::new(SortedScans)];
        let physical = std::iter::once(first).chain(kept).chain(last).collect();
        let state = SessionStateBuilder::new()
            .with_optimizer_rules(rules)
            .with_physical_optimizer_rules(physical)
            .with_config(config)
            .with_runtime_env(runtime)
            .with_query_planner(Arc::new(Planner))
            .with_default_features()
            .build();
        Ok(Engine { columns, state, runner: Runner::new(threads)? })
    }

    /// Ends the threads of queries. Blocks.
    pub fn close(&self) {
        self.runner.stop();
    }

    /// The state for one statement.
    pub fn state(&self, statement: Option<Arc<StatementContext>>, session: &Arc<SessionContext>) -> SessionState {
        let mut state = self.state.clone();
        let config = state.config_mut();
        let locker = statement.as_ref().map(|s| s.locker.clone());
        config.options_mut().extensions.insert(SessionExtension { session: Arc::clone(session), locker });
        if let Some(statement) = statement {
            config.set_extension(statement);
        }
        state.mark_start_execution();
        state
    }

    /// Runs a plan. `parameters` fill `$1`, `$2` ...
    pub async fn run(
        &self,
        plan: &LogicalPlan,
        parameters: &[ScalarValue],
        statement: Arc<StatementContext>,
    ) -> Result<RowStream> {
        let physical = self.physical(plan, parameters, &statement).await?;
        self.stream(physical, statement, Pace::Ahead)
    }

    /// The physical plan of a statement.
    pub async fn physical(
        &self,
        plan: &LogicalPlan,
        parameters: &[ScalarValue],
        statement: &Arc<StatementContext>,
    ) -> Result<(Arc<dyn ExecutionPlan>, SessionState)> {
        let state = self.state(Some(Arc::clone(statement)), &statement.session);
        let mut plan = plan.clone();
        if !parameters.is_empty() {
            plan = planning(super::apply::substitute(plan, &super::apply::numbered(parameters)))?;
        }
        check_limits(&plan, &statement.session)?;
        plan = planning(state.optimize(&plan))?;
        check_constants(&plan, &statement.session)?;
        let physical = state.query_planner().create_physical_plan(&plan, &state).await.map_err(sql_error)?;
        Ok((tame(physical)?, state))
    }

    /// The rows of a physical plan, cancelled with the statement.
    pub fn stream(
        &self,
        (physical, state): (Arc<dyn ExecutionPlan>, SessionState),
        statement: Arc<StatementContext>,
        pace: Pace,
    ) -> Result<RowStream> {
        let stream = datafusion::physical_plan::execute_stream(physical, state.task_ctx()).map_err(sql_error)?;
        Ok(self.runner.run(stream, statement.cancel.clone(), pace))
    }
}

/// LIMIT and OFFSET that came as parameters are known only now.
fn check_limits(plan: &LogicalPlan, session: &Arc<SessionContext>) -> Result<()> {
    let mut counts = Vec::new();
    let walked = plan.apply(|node| {
        if let LogicalPlan::Limit(limit) = node {
            counts.extend(limit.fetch.as_deref().map(|e| (e.clone(), true)));
            counts.extend(limit.skip.as_deref().map(|e| (e.clone(), false)));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    planning(walked)?;
    for (count, is_limit) in counts {
        if let Expr::Literal(ScalarValue::Int64(Some(..0)), _) = evaluate_constant(session, count)? {
            return Err(super::bind::negative_row_count(is_limit));
        }
    }
    Ok(())
}

/// A constant that is left over could not be folded. Its error is told before any row is announced, as PostgreSQL does,
/// which folds while it plans.
fn check_constants(plan: &LogicalPlan, session: &Arc<SessionContext>) -> Result<()> {
    let mut failed = Ok(());
    let walked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|e| {
                if matches!(e, Expr::Literal(..)) || !is_constant(e) {
                    return Ok(TreeNodeRecursion::Continue);
                }
                failed = evaluate(session, e).map(drop);
                // One that cannot be evaluated outside its plan is left to it.
                if matches!(&failed, Err(error) if error.code() == SqlState::INTERNAL_ERROR) {
                    failed = Ok(());
                }
                Ok(if failed.is_err() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Jump })
            })
        })
    });
    planning(walked)?;
    failed
}

/// True if every row gives the same value, whenever it is computed.
fn is_constant(expr: &Expr) -> bool {
    let varies = expr.exists(|e| {
        Ok(match e {
            Expr::ScalarFunction(call) => call.func.signature().volatility != Volatility::Immutable,
            Expr::Literal(..)
            | Expr::Alias(_)
            | Expr::BinaryExpr(_)
            | Expr::Not(_)
            | Expr::Negative(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsTrue(_)
            | Expr::IsFalse(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNotFalse(_)
            | Expr::Case(_)
            | Expr::Cast(_)
            | Expr::InList(_) => false,
            _ => true,
        })
    });
    !varies.unwrap_or(true)
}

/// A physical expression over `schema`, outside any plan.
pub fn physical_expr(expr: &Expr, schema: &DFSchema, session: &Arc<SessionContext>) -> Result<Arc<dyn PhysicalExpr>> {
    let mut options = datafusion::common::config::ConfigOptions::new();
    options.extensions.insert(SessionExtension { session: Arc::clone(session), locker: None });
    let mut props = ExecutionProps::new();
    props.mark_start_execution(Arc::new(options));
    planning(create_physical_expr(expr, schema, &props, &Default::default()))
}

/// The value of an expression without columns or parameters; one with parameters is left as it is.
pub fn evaluate_constant(session: &Arc<SessionContext>, expr: Expr) -> Result<Expr> {
    if matches!(expr, Expr::Literal(..)) || expr.exists(|e| Ok(matches!(e, Expr::Placeholder(_)))).unwrap_or(true) {
        return Ok(expr);
    }
    evaluate(session, &expr).map(|value| Expr::Literal(value, None))
}

/// The value of an expression without columns or parameters.
pub fn evaluate(session: &Arc<SessionContext>, expr: &Expr) -> Result<ScalarValue> {
    let schema = DFSchema::empty();
    let physical = physical_expr(expr, &schema, session)?;
    let row = batch_of_one(&Arc::new(Schema::empty()), Vec::new())?;
    let value = physical.evaluate(&row).map_err(sql_error)?;
    let array = value.into_array(1).map_err(sql_error)?;
    ScalarValue::try_from_array(&array, 0).map_err(sql_error)
}

/// Every column of a plan as an expression.
pub fn columns_of(plan: &LogicalPlan) -> Vec<Expr> {
    plan.schema().iter().map(|(q, f)| Expr::Column(Column::from((q, f)))).collect()
}

/// The plan of one row without columns: what stands where FROM is missing.
pub fn one_row() -> Result<LogicalPlan> {
    planning(LogicalPlanBuilder::empty(true).build())
}

/// A batch of one row.
pub fn batch_of_one(schema: &SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|e| SqlError::internal(e.to_string()))
}

/// A DataFusion result as ours.
pub fn planning<T>(result: DfResult<T>) -> Result<T> {
    result.map_err(sql_error)
}

/// Takes our error out of DataFusion's; what is left is a resource limit or a bug.
pub fn sql_error(error: DataFusionError) -> SqlError {
    use datafusion::arrow::error::ArrowError;
    match error {
        DataFusionError::External(inner) => match inner.downcast::<SqlError>() {
            Ok(ours) => *ours,
            Err(inner) => match inner.downcast::<DataFusionError>() {
                Ok(nested) => sql_error(*nested),
                Err(other) => SqlError::internal(other.to_string()),
            },
        },
        DataFusionError::ArrowError(inner, _) => match *inner {
            ArrowError::ExternalError(inner) => sql_error(DataFusionError::External(inner)),
            ArrowError::DivideByZero => SqlError::new(SqlState::DIVISION_BY_ZERO, "division by zero"),
            other => SqlError::internal(other.to_string()),
        },
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => sql_error(*inner),
        DataFusionError::Shared(inner) => sql_error_ref(&inner),
        DataFusionError::Collection(mut errors) if !errors.is_empty() => sql_error(errors.swap_remove(0)),
        DataFusionError::ResourcesExhausted(message) => out_of_memory(message),
        DataFusionError::NotImplemented(message) => {
            SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("not supported by the query engine: {message}"))
        }
        other => SqlError::internal(other.to_string()),
    }
}

fn sql_error_ref(error: &DataFusionError) -> SqlError {
    match error.find_root() {
        DataFusionError::External(inner) => match inner.downcast_ref::<SqlError>() {
            Some(ours) => ours.clone(),
            None => SqlError::internal(inner.to_string()),
        },
        DataFusionError::ResourcesExhausted(message) => out_of_memory(message.clone()),
        other => SqlError::internal(other.to_string()),
    }
}

fn out_of_memory(message: String) -> SqlError {
    SqlError::new(SqlState::OUT_OF_MEMORY, "out of memory for the query").detail(message)
}

#[derive(Debug)]
struct Planner;

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, state: &dyn Session) -> DfResult<Arc<dyn ExecutionPlan>> {
        DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(OwnNodes)])
            .create_physical_plan(plan, state)
            .await
    }
}

/// Plans the nodes that are ours.
struct OwnNodes;

#[async_trait]
impl ExtensionPlanner for OwnNodes {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> DfResult<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(series) = node.as_any().downcast_ref::<SeriesNode>() {
            let args = series.args.iter();
            let args = args.map(|e| planner.create_physical_expr(e, &DFSchema::empty(), session, context));
            return Ok(Some(Arc::new(SeriesExec::new(series, args.collect::<DfResult<_>>()?))));
        }
        if let Some(shared) = node.as_any().downcast_ref::<SharedNode>() {
            let [input] = physical_inputs else {
                return Err(DataFusionError::Internal("Shared has one input".to_owned()));
            };
            return Ok(Some(Arc::new(SharedExec::new(shared, Arc::clone(input)))));
        }
        if node.as_any().is::<OrderedNode>() {
            let [input] = physical_inputs else {
                return Err(DataFusionError::Internal("Ordered has one input".to_owned()));
            };
            return Ok(Some(Arc::new(OrderedExec::new(Arc::clone(input)))));
        }
        if let Some(lock) = node.as_any().downcast_ref::<LockRowsNode>() {
            let (Some(state), [plan], [input]) =
                (session.as_any().downcast_ref::<SessionState>(), logical_inputs, physical_inputs)
            else {
                return Err(DataFusionError::Internal("LockRows has one input".to_owned()));
            };
            let plan = LogicalPlan::clone(plan);
            return Ok(Some(Arc::new(LockRowsExec::new(lock, Arc::clone(input), plan, state.clone())?)));
        }
        let Some(apply) = node.as_any().downcast_ref::<ApplyNode>() else { return Ok(None) };
        let Some(state) = session.as_any().downcast_ref::<SessionState>() else {
            return Err(DataFusionError::Internal("a plan is made by another kind of session".to_owned()));
        };
        let mut values = Vec::with_capacity(apply.values.len());
        for value in &apply.values {
            values.push(planner.create_physical_expr(value, apply.input.schema(), session, context)?);
        }
        let [input] = physical_inputs else {
            return Err(DataFusionError::Internal("Apply has one input".to_owned()));
        };
        Ok(Some(Arc::new(ApplyExec::new(apply, Arc::clone(input), values, state.clone()))))
    }
}
