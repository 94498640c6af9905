//! Cursors: a query under way, by name (manual, DECLARE, FETCH, MOVE).
//!
//! A cursor sees the state at its DECLARE: its rows come from one stream. What has been read is kept where the cursor may go
//! back; else only what has not been fetched.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use futures::TryStreamExt;
use kalamdb_catalog::{Oid, Result, SqlError, SqlState};

use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::limits;
use crate::live::LiveRows;
use crate::sql::{Column, RowStream};

/// How long a FETCH from a SUBSCRIBE waits for what has been committed before it to be handed on, whatever its timeout is.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);

/// A cursor of a session.
pub(crate) struct Cursor {
    pub(crate) statement: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) scroll: bool,
    pub(crate) hold: bool,
    /// Microseconds since 1970.
    pub(crate) created_at: i64,
    /// How many savepoints there were at its DECLARE; None once its transaction has committed.
    pub(crate) savepoints: Option<usize>,
    /// The tables of which the rows behind the visible columns have the keys.
    pub(crate) tables: Vec<Oid>,
    /// A fetch has failed: it cannot be run any more.
    pub(crate) failed: bool,
    /// In a lock that is never waited for: a session is shared between threads, if not used by two.
    rows: Option<Mutex<RowStream>>,
    /// Of a SUBSCRIBE instead, whose rows have no end.
    live: Option<Mutex<LiveRows>>,
    /// Rows that have been read and may be wanted (again).
    kept: VecDeque<RecordBatch>,
    /// The number of the first row in `kept`.
    first: usize,
    /// Rows read so far, from 1.
    read: usize,
    bytes: usize,
    /// 0 is before the first row; one more than there are is behind the last.
    position: usize,
}

/// The key of a row in each of some tables; NULL where an outer join has none.
pub(crate) type RowKeys = Vec<(Oid, Option<Bytes>)>;

/// Where a FETCH goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    /// So many rows on; back if negative.
    Forward(i64),
    ForwardAll,
    BackwardAll,
    Absolute(i64),
    Relative(i64),
}

impl Cursor {
    pub(crate) fn new(statement: String, columns: Vec<Column>, tables: Vec<Oid>, rows: RowStream) -> Cursor {
        Cursor {
            statement,
            columns,
            scroll: false,
            hold: false,
            created_at: crate::clock::now_micros(),
            savepoints: None,
            tables,
            failed: false,
            rows: Some(Mutex::new(rows)),
            live: None,
            kept: VecDeque::new(),
            first: 1,
            read: 0,
            bytes: 0,
            position: 0,
        }
    }

    /// A cursor for a SUBSCRIBE.
    pub(crate) fn of_live(statement: String, rows: LiveRows) -> Cursor {
        let nothing = Box::pin(futures::stream::empty());
        let columns = rows.columns();
        Cursor { rows: None, live: Some(Mutex::new(rows)), ..Cursor::new(statement, columns, Vec::new(), nothing) }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// The rows of a SUBSCRIBE that have been committed and not fetched, as many as are wanted. If there are none it waits for
    /// some, so long.
    pub(crate) async fn fetch_live(&mut self, direction: Direction, timeout: Duration) -> Result<Vec<RecordBatch>> {
        let wanted = match direction {
            Direction::Forward(n) if n > 0 => n as usize,
            Direction::ForwardAll => usize::MAX,
            _ => return Err(forward_only("A SUBSCRIBE has no end and cannot be read again.")),
        };
        let Some(live) = &mut self.live else { return Err(SqlError::internal("not a cursor of a SUBSCRIBE")) };
        let live = live.get_mut();
        let (deadline, newest) = (Instant::now().checked_add(timeout), live.newest());
        let caught_up = Instant::now() + timeout.max(CATCH_UP_MAX);
        let mut rows: Vec<RecordBatch> = Vec::new();
        let (mut count, mut bytes) = (0, 0);
        while count < wanted && bytes < limits::CURSOR_BYTES_MAX {
            let batch = match self.kept.pop_front() {
                Some(batch) => batch,
                None => match timeout_at(caught_up, live.committed(newest)).await.unwrap_or(Ok(None))? {
                    Some(batch) => batch,
                    None if count > 0 => break,
                    None => match deadline {
                        Some(deadline) => match timeout_at(deadline, live.wait()).await {
                            Ok(batch) => batch?,
                            Err(_) => break,
                        },
                        None => live.wait().await?,
                    },
                },
            };
            let taken = batch.num_rows().min(wanted - count);
            if taken < batch.num_rows() {
                self.kept.push_front(batch.slice(taken, batch.num_rows() - taken));
            }
            count += taken;
            bytes += batch.get_array_memory_size();
            rows.push(batch.slice(0, taken));
        }
        Ok(rows)
    }

    /// Moves, and gives the rows passed over: those that FETCH shows.
    pub(crate) async fn fetch(&mut self, direction: Direction) -> Result<Vec<RecordBatch>> {
        match direction {
            Direction::Forward(0) | Direction::Relative(0) => self.again().await,
            Direction::Forward(n) if n > 0 => self.forward(n as usize).await,
            Direction::Forward(n) => self.backward(n.unsigned_abs() as usize),
            Direction::ForwardAll => self.forward(usize::MAX).await,
            Direction::BackwardAll => self.backward(usize::MAX),
            Direction::Absolute(n) => self.absolute(n).await,
            Direction::Relative(n) if n > 0 => {
                self.pass(n as usize - 1).await?;
                self.forward(1).await
            }
            Direction::Relative(n) => {
                self.check_backward()?;
                let target = self.position.saturating_sub(n.unsigned_abs() as usize);
                self.position = target;
                self.row(target)
            }
        }
    }

    fn check_backward(&self) -> Result<()> {
        if self.scroll {
            return Ok(());
        }
        Err(forward_only("Declare it with SCROLL option to enable backward scan."))
    }

    /// The current row once more.
    async fn again(&mut self) -> Result<Vec<RecordBatch>> {
        self.check_backward()?;
        self.row(self.position)
    }

    async fn forward(&mut self, count: usize) -> Result<Vec<RecordBatch>> {
        let wanted = self.position.saturating_add(count);
        self.read_to(wanted).await?;
        let (from, to) = (self.position + 1, wanted.min(self.read));
        let rows = self.slice(from, to)?;
        self.position = if wanted > self.read { self.read + 1 } else { wanted };
        self.forget();
        Ok(rows)
    }

    /// Goes on without showing anything.
    async fn pass(&mut self, count: usize) -> Result<()> {
        if count > 0 {
            self.forward(count).await?;
        }
        Ok(())
    }

    fn backward(&mut self, count: usize) -> Result<Vec<RecordBatch>> {
        self.check_backward()?;
        let mut rows = Vec::new();
        let lowest = self.position.saturating_sub(count).max(1);
        for row in (lowest..self.position).rev() {
            rows.extend(self.row(row)?);
        }
        self.position = self.position.saturating_sub(count);
        Ok(rows)
    }

    async fn absolute(&mut self, n: i64) -> Result<Vec<RecordBatch>> {
        let target = if n < 0 {
            self.check_backward()?;
            self.read_to(usize::MAX).await?;
            (self.read + 1).saturating_sub(n.unsigned_abs() as usize)
        } else {
            n as usize
        };
        if target <= self.position && !(target == 0 && self.position == 0) {
            self.check_backward()?;
        }
        if target > self.position {
            self.pass(target - self.position - 1).await?;
            return self.forward(1).await;
        }
        self.position = target;
        self.row(target)
    }

    /// Reads on until this row is there, or there are no more.
    async fn read_to(&mut self, row: usize) -> Result<()> {
        while self.read < row {
            let Some(rows) = &mut self.rows else { return Ok(()) };
            let Some(batch) = rows.get_mut().try_next().await? else {
                self.rows = None;
                return Ok(());
            };
            self.read += batch.num_rows();
            self.bytes += batch.get_array_memory_size();
            self.kept.push_back(batch);
            if self.bytes > limits::CURSOR_BYTES_MAX {
                let message = format!("a cursor keeps more than {} bytes of rows", limits::CURSOR_BYTES_MAX);
                return Err(SqlError::new(SqlState::OUT_OF_MEMORY, message)
                    .hint("Declare it with NO SCROLL, or fetch fewer rows at a time."));
            }
        }
        Ok(())
    }

    /// Reads all there is: what WITH HOLD does at the end of its transaction.
    pub(crate) async fn read_all(&mut self) -> Result<()> {
        self.read_to(usize::MAX).await
    }

    /// A row by its number; none outside of what there is.
    fn row(&self, row: usize) -> Result<Vec<RecordBatch>> {
        if row == 0 || row > self.read { Ok(Vec::new()) } else { self.slice(row, row) }
    }

    /// Rows by their numbers, both included.
    fn slice(&self, from: usize, to: usize) -> Result<Vec<RecordBatch>> {
        let mut rows = Vec::new();
        let mut start = self.first;
        for batch in &self.kept {
            let end = start + batch.num_rows();
            let (low, high) = (from.max(start), (to + 1).min(end));
            if low < high {
                rows.push(batch.slice(low - start, high - low));
            }
            start = end;
        }
        Ok(rows)
    }

    /// What lies behind is not wanted any more, unless the cursor may go back; the current row may be.
    fn forget(&mut self) {
        if self.scroll {
            return;
        }
        while let Some(batch) = self.kept.front()
            && self.first + batch.num_rows() <= self.position
        {
            self.first += batch.num_rows();
            self.bytes = self.bytes.saturating_sub(batch.get_array_memory_size());
            self.kept.pop_front();
        }
    }

    /// The key of the current row in each of `tables`; None if the cursor is on no row.
    pub(crate) fn keys(&self) -> Result<Option<RowKeys>> {
        let Some(batch) = self.row(self.position)?.into_iter().next() else { return Ok(None) };
        let first = self.columns.len();
        let key = |(i, table): (usize, &Oid)| {
            let keys = batch.column(first + i).as_binary::<i32>();
            (*table, keys.is_valid(0).then(|| Bytes::copy_from_slice(keys.value(0))))
        };
        Ok(Some(self.tables.iter().enumerate().map(key).collect()))
    }

    /// The visible columns of rows, in one batch; None without rows.
    pub(crate) fn shown(&self, rows: Vec<RecordBatch>) -> Result<Option<RecordBatch>> {
        let Some(first) = rows.first() else { return Ok(None) };
        let all = concat_batches(&first.schema(), &rows).map_err(|e| SqlError::internal(e.to_string()))?;
        let visible: Vec<usize> = (0..self.columns.len()).collect();
        all.project(&visible).map(Some).map_err(|e| SqlError::internal(e.to_string()))
    }
}

/// 55000
fn forward_only(hint: &str) -> SqlError {
    SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "cursor can only scan forward").hint(hint)
}
