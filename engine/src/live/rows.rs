//! SUBSCRIBE: what is told of a live query, as rows with a commit and what has happened in front of the query's own columns.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use kalamdb_catalog::{Result, SqlError, SqlState};
use tokio::time::{Instant, sleep_until};

use super::feed::Feed;
use super::listener::Listener;
use super::payload::{line_columns, line_format};
use super::queries::Prepared;
use super::{LiveQueries, LiveQueryManager};
use crate::session::CancelHandle;
use crate::sql::copy::{CopyParser, CopySink};
use crate::sql::{Column, RowStream};
use crate::types::{ArrayBuilder, Value};

/// Bytes of lines that become one batch, about.
const BATCH_BYTES: usize = 64 << 10;
/// How often it is told how far the query has been followed while nothing changes.
const PROGRESS_PAUSE: Duration = Duration::from_secs(1);

/// The rows of a subscription, without an end. Dropped, it ends.
pub(crate) struct LiveRows {
    feed: Feed,
    listener: Arc<Listener>,
    live: Arc<LiveQueryManager>,
    cancel: CancelHandle,
    /// All columns, those in front too.
    columns: Vec<Column>,
    schema: SchemaRef,
    /// With the option progress: the commit told last, and when to tell of a newer one.
    progress: Option<(u64, Instant)>,
}

impl LiveRows {
    /// Subscribes. 54000 if there are too many.
    pub(crate) fn open(
        queries: &Arc<LiveQueries>,
        live: &Arc<LiveQueryManager>,
        prepared: &Prepared,
        pid: i32,
        cancel: CancelHandle,
    ) -> Result<LiveRows> {
        queries.check_session(pid, 1)?;
        let listener = live.connect(pid, prepared.database());
        let subscription = match queries.subscribe(prepared, &listener) {
            Ok(subscription) => subscription,
            Err(error) => {
                live.disconnect(&listener);
                return Err(error);
            }
        };
        let columns = prepared.line_columns();
        let field = |(i, c): (usize, &Column)| Field::new(format!("c{i}"), c.ty.arrow(), true);
        let schema = Arc::new(Schema::new(columns.iter().enumerate().map(field).collect::<Vec<_>>()));
        let progress = prepared.tells_progress().then(|| (0, Instant::now() + PROGRESS_PAUSE));
        Ok(LiveRows {
            feed: Feed::new(Arc::clone(queries), subscription, prepared.options),
            listener,
            live: Arc::clone(live),
            cancel,
            columns,
            schema,
            progress,
        })
    }

    /// The columns of the rows.
    pub(crate) fn columns(&self) -> Vec<Column> {
        self.columns.clone()
    }

    /// As a stream. A batch without rows says that nothing more is there for now.
    pub(crate) fn stream(self) -> RowStream {
        Box::pin(futures::stream::unfold((self, false), |(mut rows, told)| async move {
            let next = match rows.take().await {
                Ok(None) if told => {
                    let nothing = RecordBatch::new_empty(Arc::clone(&rows.schema));
                    return Some((Ok(nothing), (rows, false)));
                }
                Ok(None) => rows.wait().await,
                Ok(Some(batch)) => Ok(batch),
                Err(error) => Err(error),
            };
            Some((next, (rows, true)))
        }))
    }

    /// The next rows. Nothing is lost if the future is dropped.
    pub(crate) async fn wait(&mut self) -> Result<RecordBatch> {
        loop {
            let handed_on = self.feed.queries.handed_on();
            if let Some(batch) = self.take().await? {
                return Ok(batch);
            }
            if let Some(batch) = self.progress(handed_on)? {
                return Ok(batch);
            }
            let due = self.progress.map(|(_, due)| due.max(Instant::now() + Duration::from_millis(1)));
            tokio::select! {
                biased;
                error = self.cancel.tripped() => return Err(error),
                () = self.listener.woken() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    /// The rows of everything up to a commit, a batch at a time; None when they have all been given. Nothing is lost if the
    /// future is dropped.
    pub(crate) async fn committed(&mut self, through: u64) -> Result<Option<RecordBatch>> {
        let mut done = self.feed.queries.follow();
        loop {
            if self.feed.is_changing() && self.feed.delivered() > through {
                return Ok(None);
            }
            let all = *done.borrow_and_update() >= through && self.feed.is_changing();
            if let Some(batch) = self.take().await? {
                return Ok(Some(batch));
            }
            if all {
                return Ok(None);
            }
            tokio::select! {
                biased;
                error = self.cancel.tripped() => return Err(error),
                () = self.listener.woken() => {}
                changed = done.changed() => if changed.is_err() { return Ok(None) },
            }
        }
    }

    /// The newest commit.
    pub(crate) fn newest(&self) -> u64 {
        self.feed.queries.newest()
    }

    /// What is there.
    async fn take(&mut self) -> Result<Option<RecordBatch>> {
        self.cancel.check()?;
        if let Some(reason) = self.feed.ended() {
            let message = format!("the live query has ended: {reason}");
            return Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
        }
        let told = self.feed.next(BATCH_BYTES).await;
        if told.is_empty() {
            return Ok(None);
        }
        self.feed.queries.count_delivered(told.len());
        if !self.same_columns() {
            let message = "cached plan must not change result type";
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
                .detail("A table of the live query has been altered.")
                .hint("Subscribe again."));
        }
        let lines = told.iter().map(|told| &*told.payload);
        let batch = self.parsed(lines)?;
        // Nothing but that it has ended.
        if batch.num_rows() == 0 { Box::pin(self.take()).await } else { Ok(Some(batch)) }
    }

    fn same_columns(&self) -> bool {
        let shape = |columns: &[Column]| columns.iter().map(|c| (c.name.clone(), c.ty, c.typmod)).collect::<Vec<_>>();
        shape(&line_columns(&self.feed.bound().columns)) == shape(&self.columns)
    }

    fn parsed<'a>(&self, lines: impl Iterator<Item = &'a str>) -> Result<RecordBatch> {
        // The values have their lengths already.
        let columns = self.columns.iter().map(|c| Column { typmod: -1, ..c.clone() }).collect();
        let mut parser = CopyParser::new(line_format()?, "", columns, Arc::default());
        let mut rows = Collector { columns: self.columns.iter().map(|c| ArrayBuilder::new(c.ty, 0)).collect() };
        for line in lines {
            parser.feed(line.as_bytes(), &mut rows)?;
        }
        let arrays = rows.columns.into_iter().map(ArrayBuilder::finish).collect::<Vec<_>>();
        RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(|e| SqlError::internal(e.to_string()))
    }

    /// That everything has been told up to a commit, if it is time for it.
    fn progress(&mut self, handed_on: u64) -> Result<Option<RecordBatch>> {
        let Some((told, due)) = &mut self.progress else { return Ok(None) };
        if Instant::now() < *due {
            return Ok(None);
        }
        *due = Instant::now() + PROGRESS_PAUSE;
        if !self.feed.is_changing() || handed_on <= (*told).max(self.feed.delivered()) {
            return Ok(None);
        }
        *told = handed_on;
        let line = self.feed.bound().teller.progress(handed_on);
        self.parsed(std::iter::once(line.as_str())).map(Some)
    }
}

impl Drop for LiveRows {
    fn drop(&mut self) {
        self.live.disconnect(&self.listener);
    }
}

/// The values of rows, by column.
struct Collector {
    columns: Vec<ArrayBuilder>,
}

impl CopySink for Collector {
    fn row(&mut self, values: &[Value<'_>]) -> Result<bool> {
        for (column, value) in self.columns.iter_mut().zip(values) {
            column.append(value)?;
        }
        Ok(true)
    }
}
