//! The one physical scan of stored rows: ranges of keys at the statement's snapshot, with its own writes over them.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::{StreamExt, stream};
use kalamdb_catalog::{CachedTableData, Oid, SqlError, TableKind};

use super::GivenRow;
use super::column_cache::{Chunks, Collected, TableState};
use super::pushdown::KeyRange;
use crate::sql::plan::{StatementContext, batch_of_one};
use crate::sql::udf::df_error;
use crate::storage::{BatchDecoder, RowLayout, RowMeta, ScanColumn, keys};
use crate::txn::TxnScan;

/// Rows in a batch.
const BATCH_ROWS: usize = 8192;

/// Where a scan's rows come from.
pub(super) enum ScanSource {
    Ranges(Vec<KeyRange>),
    /// One row that is given, or none.
    Given(Option<GivenRow>),
}

impl ScanSource {
    fn ranges(&self) -> &[KeyRange] {
        match self {
            ScanSource::Ranges(ranges) => ranges,
            ScanSource::Given(_) => &[],
        }
    }
}

pub(super) struct ScanExec {
    name: String,
    layout: Arc<RowLayout>,
    schema: SchemaRef,
    columns: Vec<ScanColumn>,
    source: ScanSource,
    limit: Option<usize>,
    statement: Arc<StatementContext>,
    /// Whole rows of a user's table, from the first to the last: what a cache of columns can hold.
    cacheable: bool,
    properties: Arc<PlanProperties>,
}

impl ScanExec {
    pub(super) fn new(
        table: &CachedTableData,
        layout: Arc<RowLayout>,
        schema: SchemaRef,
        columns: Vec<ScanColumn>,
        source: ScanSource,
        limit: Option<usize>,
        statement: Arc<StatementContext>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let name = table.definition.name.clone();
        let cacheable = matches!(table.definition.kind, TableKind::Shared)
            && limit.is_none()
            && columns.iter().all(|c| matches!(c, ScanColumn::User(_)))
            && matches!(source.ranges(), [only] if *only == keys::storage_range(layout.storage));
        ScanExec {
            name,
            layout,
            schema,
            columns,
            source,
            limit,
            statement,
            cacheable,
            properties: Arc::new(properties),
        }
    }
}

impl fmt::Debug for ScanExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScanExec {}", self.name)
    }
}

impl DisplayAs for ScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<&str> = self.schema.fields().iter().map(|f| f.name().as_str()).collect();
        write!(f, "Scan on {}: ranges={}, columns=[{}]", self.name, self.source.ranges().len(), fields.join(", "))?;
        self.limit.map_or(Ok(()), |n| write!(f, ", limit={n}"))
    }
}

impl ExecutionPlan for ScanExec {
    fn name(&self) -> &str {
        "ScanExec"
    }
    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }
    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }
    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }
    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        if partition != 0 {
            return Err(DataFusionError::Internal("a scan has one partition".to_owned()));
        }
        if let ScanSource::Given(row) = &self.source {
            let batch = row.as_ref().map(|row| self.one_row(row).map_err(df_error));
            return Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream::iter(batch))));
        }
        if let Some(chunks) = self.cached() {
            return Ok(self.serve(chunks));
        }
        let state = ScanState {
            collected: self.collects().then(|| self.statement.columns.collect(&self.users())).flatten(),
            table: (self.layout.storage, self.layout.schema_version),
            oid: self.layout.oid,
            statement: Arc::clone(&self.statement),
            layout: Arc::clone(&self.layout),
            columns: self.columns.clone(),
            schema: Arc::clone(&self.schema),
            ranges: self.source.ranges().to_vec().into_iter(),
            current: None,
            left: self.limit.unwrap_or(usize::MAX),
        };
        let rows = stream::unfold(Some(state), |state| async move {
            let mut state = state?;
            // A long scan gives the other tasks of this thread their turn between batches.
            tokio::task::consume_budget().await;
            match state.next_batch() {
                Ok(None) => None,
                Ok(Some(batch)) => Some((Ok(batch), Some(state))),
                Err(error) => Some((Err(df_error(error)), None)),
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows)))
    }
}

impl ScanExec {
    fn one_row(&self, given: &GivenRow) -> Result<RecordBatch, SqlError> {
        let mut batch = BatchDecoder::new(&self.layout, &self.columns, 1);
        batch.append(&given.row, RowMeta { key: &given.key, seq: given.seq })?;
        batch_of_one(&self.schema, batch.finish()?)
    }

    /// The positions of the user's columns.
    fn users(&self) -> Vec<usize> {
        let user = |c: &ScanColumn| match c {
            ScanColumn::User(i) => Some(*i),
            _ => None,
        };
        self.columns.iter().filter_map(user).collect()
    }

    /// What the last scan of the same rows has left.
    fn cached(&self) -> Option<Chunks> {
        let reader = &self.statement.reader;
        if !self.cacheable || reader.has_written() {
            return None;
        }
        let state = (self.layout.storage, self.layout.schema_version);
        let last_write = || reader.last_write(self.layout.oid);
        let found = self.statement.columns.get(state, &self.users(), reader.snapshot_seq(), last_write)?;
        self.source.ranges().iter().for_each(|(start, end)| reader.note_scan(start, end));
        Some(found)
    }

    /// True if what this scan decodes may be of use to the next.
    fn collects(&self) -> bool {
        let reader = &self.statement.reader;
        self.cacheable && !reader.has_written() && reader.last_write(self.layout.oid) <= reader.snapshot_seq()
    }

    fn serve(&self, chunks: Chunks) -> SendableRecordBatchStream {
        let (schema, named) = (Arc::clone(&self.schema), Arc::clone(&self.schema));
        let statement = Arc::clone(&self.statement);
        let rows = stream::iter(chunks).then(move |(rows, columns)| {
            let (named, statement) = (Arc::clone(&named), Arc::clone(&statement));
            async move {
                tokio::task::consume_budget().await;
                statement.cancel.check().map_err(df_error)?;
                let options = RecordBatchOptions::new().with_row_count(Some(rows));
                Ok(RecordBatch::try_new_with_options(named, columns, &options)?)
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, rows))
    }
}

struct ScanState {
    /// What goes to the cache at the end.
    collected: Option<Collected>,
    table: TableState,
    oid: Oid,
    statement: Arc<StatementContext>,
    layout: Arc<RowLayout>,
    columns: Vec<ScanColumn>,
    schema: SchemaRef,
    ranges: std::vec::IntoIter<KeyRange>,
    current: Option<TxnScan>,
    left: usize,
}

impl ScanState {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        self.statement.cancel.check()?;
        let capacity = self.left.min(BATCH_ROWS);
        if capacity == 0 {
            return Ok(None);
        }
        let mut batch = BatchDecoder::new(&self.layout, &self.columns, capacity);
        while !batch.is_full() {
            if self.current.is_none() {
                let Some((start, end)) = self.ranges.next() else { break };
                self.current = Some(self.statement.reader.scan(start, end, false));
            }
            if let Some(scan) = &mut self.current
                && !scan.fill(&mut batch)?
            {
                self.current = None;
            }
        }
        let rows = batch.len();
        if rows == 0 {
            self.keep();
            return Ok(None);
        }
        self.left -= rows.min(self.left);
        let arrays = batch.finish()?;
        self.collected = self.collected.take().and_then(|mut c| c.push(rows, &arrays).then_some(c));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
            .map(Some)
            .map_err(|e| SqlError::internal(e.to_string()))
    }

    /// The whole table has been read.
    fn keep(&mut self) {
        let reader = &self.statement.reader;
        if let Some(collected) = self.collected.take() {
            let last_write = || reader.last_write(self.oid);
            self.statement.columns.put(self.table, reader.snapshot_seq(), last_write, collected);
        }
    }
}
