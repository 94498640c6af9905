//! Queries run on threads of their own.
//!
//! A join or a sort may compute for a second before it yields. On the threads that serve connections it would keep the
//! server from hearing anybody, the one who wants to cancel it included. So a query's stream is pulled by a task of a
//! second runtime, which hands its batches over in a short queue and ends when the statement drops its rows.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use futures::{Stream, StreamExt};
use kalamdb_catalog::{Result, SqlError, SqlState};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::RowStream;
use super::plan::sql_error;
use crate::limits::{BATCHES_AHEAD_MAX, QUERY_STACK_BYTES};
use crate::session::CancelHandle;

/// The threads of queries. None once they have been stopped.
pub(super) struct Runner(Mutex<Option<Runtime>>);

/// How long the end of the server waits for queries that have been cancelled.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// When a query comes to its next rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// As soon as there is room for them.
    Ahead,
    /// When they are asked for: what it does on the way (locks, numbers of sequences) is done for no more rows than needed.
    AsAsked,
}

/// The rows of a running query, on the side of the statement.
struct Running {
    /// A permit for each batch that is asked for; None for [`Pace::Ahead`].
    asked: Option<Arc<Semaphore>>,
    batches: mpsc::Receiver<DfResult<RecordBatch>>,
    /// The one task of the query: aborted when dropped.
    task: JoinSet<()>,
    cancel: CancelHandle,
    ended: bool,
}

impl Runner {
    pub(super) fn new(threads: usize) -> Result<Runner> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("query")
            .thread_stack_size(QUERY_STACK_BYTES)
            .enable_all()
            .build();
        let failed = |e: std::io::Error| SqlError::new(SqlState::IO_ERROR, format!("could not start threads: {e}"));
        Ok(Runner(Mutex::new(Some(runtime.map_err(failed)?))))
    }

    /// Runs a stream. It ends with the token's error once that is tripped.
    pub(super) fn run(
        &self,
        mut rows: impl Stream<Item = DfResult<RecordBatch>> + Send + Unpin + 'static,
        cancel: CancelHandle,
        pace: Pace,
    ) -> RowStream {
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD_MAX);
        let mut task = JoinSet::new();
        let asked = (pace == Pace::AsAsked).then(|| Arc::new(Semaphore::new(0)));
        let permits = asked.clone();
        if let Some(runtime) = &*self.0.lock() {
            let pull = async move {
                loop {
                    if let Some(permits) = &permits {
                        match permits.acquire().await {
                            Ok(permit) => permit.forget(),
                            Err(_) => break,
                        }
                    }
                    let Some(batch) = rows.next().await else { break };
                    let failed = batch.is_err();
                    if sender.send(batch).await.is_err() || failed {
                        break;
                    }
                }
            };
            task.spawn_on(pull, runtime.handle());
        }
        let running = Running { asked, batches, task, cancel, ended: false };
        Box::pin(futures::stream::unfold(running, |mut running| async move {
            let next = running.next().await?;
            running.ended = next.is_err();
            Some((next, running))
        }))
    }
}

impl Running {
    async fn next(&mut self) -> Option<Result<RecordBatch>> {
        if self.ended {
            return None;
        }
        if let Some(asked) = &self.asked {
            asked.add_permits(1);
        }
        tokio::select! {
            biased;
            error = self.cancel.tripped() => return Some(Err(error)),
            batch = self.batches.recv() => if let Some(batch) = batch {
                return Some(batch.map_err(sql_error));
            },
        }
        // Whatever the query held is dropped when its task has ended; a panic must not look like the last row.
        match self.task.join_next().await {
            Some(Err(error)) => {
                tracing::error!(%error, "a query met a bug");
                Some(Err(SqlError::internal("the statement met a bug in the server")))
            }
            Some(Ok(())) | None => None,
        }
    }
}

impl Runner {
    /// Ends the threads. A query may hold storage until it notices that it has been cancelled, and storage must not be in
    /// use when the process ends. Blocks.
    pub(super) fn stop(&self) {
        let Some(runtime) = self.0.lock().take() else { return };
        // A thread that runs tasks may not wait for others; one of its own may.
        let ended = std::thread::spawn(move || runtime.shutdown_timeout(STOP_TIMEOUT)).join();
        if ended.is_err() {
            tracing::error!("the threads of queries did not end");
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // The runtime may be dropped from a task, where waiting is not allowed.
        if let Some(runtime) = self.0.get_mut().take() {
            runtime.shutdown_background();
        }
    }
}

/// Makes a plan fit to run beside others: joins give way now and then, for their output outgrows their input, at which
/// everything else does.
pub(super) fn tame(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let changed = plan.transform_up(|node| {
        Ok::<_, DataFusionError>(if node.children().len() > 1 {
            Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>)
        } else {
            Transformed::no(node)
        })
    });
    changed.map(|changed| changed.data).map_err(sql_error)
}
