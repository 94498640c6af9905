//! The one physical scan of stored rows: ranges of keys at the statement's snapshot, with its own writes over them.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::{StreamExt, stream};
use kalamdb_catalog::index::IndexDefinition;
use kalamdb_catalog::{CachedTableData, PgType, SqlError, TableDefinition, TableKind};
use tokio::sync::watch;

use super::GivenRow;
use super::access::{self, KeyRange, Way};
use super::column_cache::{Chunks, Collected};
use crate::sql::compare;
use crate::sql::plan::{StatementContext, batch_of_one};
use crate::sql::udf::df_error;
use crate::storage::{BatchDecoder, RowLayout, RowMeta, ScanColumn, keys};
use crate::txn::TxnScan;
use crate::types::Value;

/// Rows in a batch.
const BATCH_ROWS: usize = 8192;

/// Entries of an index that are looked up one by one; what has more is read as a whole.
const ENTRIES_MAX: usize = 50_000;

/// Where a scan's rows come from.
#[derive(Clone)]
pub(super) enum ScanSource {
    Way(Way, Order),
    /// One row that is given, or none.
    Given(Option<GivenRow>),
}

/// The order in which a scan gives its rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// Whatever is fastest.
    Any,
    /// That of the way, or the reverse.
    Way { reverse: bool },
}

impl ScanSource {
    /// The ranges of the table itself that are read; none if the way is through an index.
    fn own_ranges(&self) -> &[KeyRange] {
        match self {
            ScanSource::Way(way, _) if way.index.is_none() => &way.ranges,
            _ => &[],
        }
    }
}

/// The keys that a join will look for, known once its other side has been read; None: too many, or none that can be told.
type Lookups = watch::Receiver<Option<Option<Vec<KeyRange>>>>;
/// Where the join tells them.
pub(crate) type LookupSender = watch::Sender<Option<Option<Vec<KeyRange>>>>;

#[derive(Clone)]
pub(crate) struct ScanExec {
    pub(super) table: Arc<CachedTableData>,
    layout: Arc<RowLayout>,
    schema: SchemaRef,
    columns: Vec<ScanColumn>,
    source: ScanSource,
    limit: Option<usize>,
    statement: Arc<StatementContext>,
    /// Whole rows of a user's table, from the first to the last: what a cache of columns can hold.
    cacheable: bool,
    /// The index, if not the primary key, that lookups go through.
    lookups: Option<(Lookups, Option<IndexDefinition>)>,
    properties: Arc<PlanProperties>,
}

impl ScanExec {
    pub(super) fn new(
        table: &Arc<CachedTableData>,
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
        let cacheable = matches!(table.definition.kind, TableKind::Shared)
            && limit.is_none()
            && columns.iter().all(|c| matches!(c, ScanColumn::User(_)))
            && matches!(source.own_ranges(), [only] if *only == keys::storage_range(layout.storage));
        ScanExec {
            table: Arc::clone(table),
            layout,
            schema,
            columns,
            source,
            limit,
            statement,
            cacheable,
            lookups: None,
            properties: Arc::new(properties),
        }
    }

    /// The live position of an output column, if it is one of the table's own.
    pub(crate) fn live_column(&self, output: usize) -> Option<usize> {
        match self.columns.get(output) {
            Some(ScanColumn::User(live)) => Some(*live),
            _ => None,
        }
    }

    /// The same scan, its rows sorted by these output columns (index, descending, NULLs first), if a way has that order. With `few`
    /// only the first rows are wanted: then an index may serve that would be slow for all of them.
    pub(crate) fn sorted(&self, order: &[(usize, bool, bool)], few: bool) -> Option<ScanExec> {
        let ScanSource::Way(way, Order::Any) = &self.source else { return None };
        if self.lookups.is_some() {
            return None;
        }
        let definition = &self.table.definition;
        let position = |live: usize| definition.live_columns().nth(live).map(|(i, _)| i);
        let wanted: Vec<(usize, bool, bool)> = order
            .iter()
            .map(|(output, descending, first)| Some((position(self.live_column(*output)?)?, *descending, *first)))
            .collect::<Option<_>>()?;
        let native = |(p, _, _): &(usize, bool, bool)| compare::sorts_natively(definition.columns[*p].ty);
        if !wanted.iter().all(native) {
            return None;
        }
        let properties = Arc::new(self.properties_in(order));
        let with = |way: Way, reverse: bool| ScanExec {
            source: ScanSource::Way(way, Order::Way { reverse }),
            cacheable: false,
            properties: Arc::clone(&properties),
            ..self.clone()
        };
        if let Some(reverse) = matching(definition, way, &wanted) {
            return (way.index.is_none() || few).then(|| with(way.clone(), reverse));
        }
        if way.is_restricted() || !few {
            return None;
        }
        definition.indexes.iter().filter(|i| i.predicate.is_none()).find_map(|index| {
            let way = Way::through_all(index);
            matching(definition, &way, &wanted).map(|reverse| with(way, reverse))
        })
    }

    /// Those of a scan in this order, which nodes above may count on (DISTINCT ON, windows).
    fn properties_in(&self, order: &[(usize, bool, bool)]) -> PlanProperties {
        let column = |(output, descending, nulls_first): &(usize, bool, bool)| {
            let column = Arc::new(Column::new(self.schema.field(*output).name(), *output));
            PhysicalSortExpr::new(column, SortOptions { descending: *descending, nulls_first: *nulls_first })
        };
        let order: Vec<PhysicalSortExpr> = order.iter().map(column).collect();
        PlanProperties::new(
            EquivalenceProperties::new_with_orderings(Arc::clone(&self.schema), [order]),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
    }

    /// True if the way leaves something out.
    pub(crate) fn is_restricted(&self) -> bool {
        matches!(&self.source, ScanSource::Way(way, _) if way.is_restricted())
    }

    /// The same scan of no more rows than a join looks for by an output column, if that is what a key or an index begins with.
    /// What is sent are the ranges that [`ScanExec::ranges_of`] makes.
    pub(crate) fn looked_up_by(&self, output: usize) -> Option<(ScanExec, LookupSender)> {
        let ScanSource::Way(way, Order::Any) = &self.source else { return None };
        if way.is_restricted() || self.lookups.is_some() || self.limit.is_some() {
            return None;
        }
        let live = self.live_column(output)?;
        let definition = &self.table.definition;
        let (position, column) = definition.live_columns().nth(live)?;
        if !compare::sorts_natively(column.ty) || column.ty.is_array() {
            return None;
        }
        let by_key = definition.primary_key.as_ref().is_some_and(|k| k.columns.first() == Some(&position));
        let index = definition
            .indexes
            .iter()
            .find(|i| i.predicate.is_none() && i.columns.first().and_then(|c| c.position()) == Some(position));
        if !by_key && index.is_none() {
            return None;
        }
        let (sender, lookups) = watch::channel(None);
        let index = if by_key { None } else { index.cloned() };
        let scan = ScanExec { lookups: Some((lookups, index)), cacheable: false, ..self.clone() };
        Some((scan, sender))
    }

    /// The ranges that hold the rows with one of these values in the column that lookups go by.
    pub(crate) fn ranges_of(&self, output: usize, values: &[Value<'_>]) -> Option<Vec<KeyRange>> {
        let (_, index) = self.lookups.as_ref()?;
        let ty = self.layout.types()[self.live_column(output)?];
        let order = index.as_ref().and_then(|i| i.columns.first()).map(|c| (c.descending, c.nulls_first));
        let storage = index.as_ref().map_or(self.layout.storage, |i| i.storage);
        Some(access::lookups(storage, ty, order, values))
    }

    /// The type of an output column that is one of the table's own.
    pub(crate) fn type_of(&self, output: usize) -> Option<PgType> {
        Some(self.layout.types()[self.live_column(output)?])
    }
}

/// Whether a way gives rows in this order (Some(false)) or the reverse of it (Some(true)).
fn matching(definition: &TableDefinition, way: &Way, wanted: &[(usize, bool, bool)]) -> Option<bool> {
    let order = match &way.index {
        Some(index) => access::order_of(index),
        None => definition.primary_key.iter().flat_map(|k| &k.columns).map(|c| (*c, false, false)).collect(),
    };
    let constant: Vec<usize> = order.iter().take(way.constant).map(|(p, ..)| *p).collect();
    let wanted: Vec<_> = wanted.iter().filter(|(p, ..)| !constant.contains(p)).collect();
    let rest = &order[way.constant.min(order.len())..];
    // A way of several ranges is in order only as a whole; they are read one after the other, which keeps it.
    if wanted.len() > rest.len() || (way.constant < way.fixed_columns() && !wanted.is_empty()) {
        return None;
    }
    let not_null = |p: usize| definition.columns[p].not_null;
    let same = |reverse: bool| {
        wanted.iter().zip(rest).all(|((p, descending, first), (own, own_descending, own_first))| {
            p == own
                && (*descending == (*own_descending != reverse))
                && (not_null(*p) || *first == (*own_first != reverse))
        })
    };
    if same(false) {
        return Some(false);
    }
    same(true).then_some(true)
}

impl fmt::Debug for ScanExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScanExec {}", self.table.definition.name)
    }
}

impl DisplayAs for ScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<&str> = self.schema.fields().iter().map(|f| f.name().as_str()).collect();
        let name = &self.table.definition.name;
        let (way, ranges) = match (&self.source, &self.lookups) {
            (_, Some((_, Some(index)))) => (format!("Index Lookup using {} on {name}", index.name), 0),
            (_, Some((_, None))) => {
                let key = self.table.definition.primary_key.as_ref().map_or("", |k| k.name.as_str());
                (format!("Index Lookup using {key} on {name}"), 0)
            }
            (ScanSource::Way(Way { index: Some(index), ranges, .. }, order), _) => {
                let backward = if *order == (Order::Way { reverse: true }) { " Backward" } else { "" };
                (format!("Index Scan{backward} using {} on {name}", index.name), ranges.len())
            }
            (ScanSource::Way(way, order), _) => {
                let backward = if *order == (Order::Way { reverse: true }) { " Backward" } else { "" };
                let key = self.table.definition.primary_key.as_ref().filter(|_| way.is_restricted());
                match key {
                    Some(key) => (format!("Index Scan{backward} using {} on {name}", key.name), way.ranges.len()),
                    None => (format!("Scan{backward} on {name}"), way.ranges.len()),
                }
            }
            (ScanSource::Given(_), None) => (format!("Scan on {name}"), 0),
        };
        write!(f, "{way}: ranges={ranges}, columns=[{}]", fields.join(", "))?;
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
    fn partition_statistics(&self, _: Option<usize>) -> DfResult<Arc<Statistics>> {
        let rows = match &self.source {
            ScanSource::Way(way, _) => way.expected_rows(),
            ScanSource::Given(_) => 1,
        };
        let rows = Precision::Inexact(self.limit.map_or(rows, |limit| limit.min(rows)));
        Ok(Arc::new(Statistics { num_rows: rows, ..Statistics::new_unknown(&self.schema) }))
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
            scan: self.clone(),
            from: None,
            left: self.limit.unwrap_or(usize::MAX),
            capacity: match self.source {
                ScanSource::Way(_, Order::Way { .. }) => FIRST_ROWS,
                _ => BATCH_ROWS,
            },
        };
        let rows = stream::unfold(Some(state), |state| async move {
            let mut state = state?;
            // A long scan gives the other tasks of this thread their turn between batches.
            tokio::task::consume_budget().await;
            match state.next_batch().await {
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
        self.source.own_ranges().iter().for_each(|(start, end)| reader.note_scan(start, end));
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

/// Rows in the first batch of a scan of which maybe only the first rows are wanted.
const FIRST_ROWS: usize = 32;

struct ScanState {
    /// What goes to the cache at the end.
    collected: Option<Collected>,
    scan: ScanExec,
    from: Option<From>,
    left: usize,
    capacity: usize,
}

/// What rows are read from.
enum From {
    /// The table itself.
    Ranges { ranges: std::vec::IntoIter<KeyRange>, current: Option<TxnScan>, reverse: bool },
    /// An index, in its order: each row is looked up as its entry comes.
    Entries { ranges: std::vec::IntoIter<KeyRange>, current: Option<TxnScan>, reverse: bool },
    /// Rows by their keys.
    Keys(std::vec::IntoIter<Vec<u8>>),
}

impl ScanState {
    async fn next_batch(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        self.scan.statement.cancel.check()?;
        let capacity = self.left.min(self.capacity);
        self.capacity = (self.capacity * 4).min(BATCH_ROWS);
        if capacity == 0 {
            return Ok(None);
        }
        if self.from.is_none() {
            self.from = Some(self.begin().await?);
        }
        let mut batch = BatchDecoder::new(&self.scan.layout, &self.scan.columns, capacity);
        if let Some(from) = &mut self.from {
            from.fill(&self.scan, &mut batch)?;
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
        RecordBatch::try_new_with_options(Arc::clone(&self.scan.schema), arrays, &options)
            .map(Some)
            .map_err(|e| SqlError::internal(e.to_string()))
    }

    async fn begin(&self) -> Result<From, SqlError> {
        let scan = &self.scan;
        if let Some((lookups, index)) = &scan.lookups {
            // Gone without a word: the join wants no more rows, or has failed.
            let told = lookups.clone().wait_for(Option::is_some).await.map(|told| told.clone()).unwrap_or_default();
            if let Some(Some(ranges)) = told {
                return match index {
                    None => Ok(From::ranges(ranges, false)),
                    Some(_) => scan.keys_of(&ranges),
                };
            }
        }
        let ScanSource::Way(way, order) = &scan.source else { return Ok(From::ranges(Vec::new(), false)) };
        let reverse = matches!(order, Order::Way { reverse: true });
        let mut ranges = way.ranges.clone();
        if reverse {
            ranges.reverse();
        }
        match (&way.index, order) {
            (None, _) => Ok(From::ranges(ranges, reverse)),
            (Some(_), Order::Any) => scan.keys_of(&ranges),
            (Some(_), Order::Way { .. }) => Ok(From::Entries { ranges: ranges.into_iter(), current: None, reverse }),
        }
    }

    /// The whole table has been read.
    fn keep(&mut self) {
        let scan = &self.scan;
        let reader = &scan.statement.reader;
        if let Some(collected) = self.collected.take() {
            let last_write = || reader.last_write(scan.layout.oid);
            let table = (scan.layout.storage, scan.layout.schema_version);
            scan.statement.columns.put(table, reader.snapshot_seq(), last_write, collected);
        }
    }
}

impl ScanExec {
    /// The keys of the rows with entries in these ranges, in the table's order; the whole table if they are too many.
    fn keys_of(&self, ranges: &[KeyRange]) -> Result<From, SqlError> {
        let reader = &self.statement.reader;
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for (start, end) in ranges {
            let mut entries = reader.scan(start.clone(), end.clone(), false);
            while let Some(entry) = entries.next()? {
                if keys.len() == ENTRIES_MAX {
                    return Ok(From::ranges(vec![keys::storage_range(self.layout.storage)], false));
                }
                keys.push(self.row_key(entry.key, entry.row)?);
            }
        }
        keys.sort_unstable();
        keys.dedup();
        Ok(From::Keys(keys.into_iter()))
    }

    fn row_key(&self, key: &[u8], value: &[u8]) -> Result<Vec<u8>, SqlError> {
        let row = keys::row_of_entry(key, value).ok_or_else(|| SqlError::internal("an index's entry is damaged"))?;
        let mut row_key = self.layout.storage.to_be_bytes().to_vec();
        row_key.extend_from_slice(row);
        Ok(row_key)
    }

    /// Adds the row of a key.
    fn append(&self, batch: &mut BatchDecoder, key: &[u8]) -> Result<(), SqlError> {
        match self.statement.reader.get_with_seq(key)? {
            Some((seq, row)) => batch.append(&row, RowMeta { key, seq }),
            None => Err(SqlError::internal("an index has an entry without a row")),
        }
    }
}

impl From {
    fn ranges(ranges: Vec<KeyRange>, reverse: bool) -> From {
        From::Ranges { ranges: ranges.into_iter(), current: None, reverse }
    }

    /// Appends rows until the batch is full, or there are no more.
    fn fill(&mut self, scan: &ScanExec, batch: &mut BatchDecoder) -> Result<(), SqlError> {
        let reader = &scan.statement.reader;
        while !batch.is_full() {
            match self {
                From::Keys(keys) => match keys.next() {
                    Some(key) => scan.append(batch, &key)?,
                    None => return Ok(()),
                },
                From::Ranges { ranges, current, reverse } => {
                    let Some(rows) = opened(ranges, current, |(start, end)| reader.scan(start, end, *reverse)) else {
                        return Ok(());
                    };
                    if !rows.fill(batch)? {
                        *current = None;
                    }
                }
                From::Entries { ranges, current, reverse } => {
                    let Some(entries) = opened(ranges, current, |(start, end)| reader.scan(start, end, *reverse))
                    else {
                        return Ok(());
                    };
                    let key = match entries.next()? {
                        Some(entry) => Some(scan.row_key(entry.key, entry.row)?),
                        None => None,
                    };
                    match key {
                        Some(key) => scan.append(batch, &key)?,
                        None => *current = None,
                    }
                }
            }
        }
        Ok(())
    }
}

/// The scan under way, or that of the next range.
fn opened<'a>(
    ranges: &mut std::vec::IntoIter<KeyRange>,
    current: &'a mut Option<TxnScan>,
    open: impl Fn(KeyRange) -> TxnScan,
) -> Option<&'a mut TxnScan> {
    if current.is_none() {
        *current = Some(open(ranges.next()?));
    }
    current.as_mut()
}
