//! [`TxnManager`]: begins transactions and runs the threads behind them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use kalamdb_catalog::sequence::SequenceDefinition;
use kalamdb_catalog::{Catalog, Result, SchemaRegistry, SqlError, SqlState, StorageId};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::commit::{self, CommitRequest};
use super::janitor::Janitor;
use super::locks::{Held, LockClient, LockInfo, Locks, NoClient, Owner, SessionLocks};
use super::row_ids::RowIds;
use super::sequences::{SequenceState, Sequences};
use super::serial::History;
use super::snapshots::Snapshots;
use super::transaction::Transaction;
use crate::live::LiveQueryManager;
use crate::storage::{ChangeIter, Storage};

/// How much of the change log is kept: what exceeds either is trimmed, oldest first.
#[derive(Clone, Debug)]
pub struct ChangeLogOptions {
    pub max_bytes: u64,
    /// Counted from the commit, or from the server's start for commits before it.
    pub max_age: Duration,
}

/// Limits and intervals of the transaction layer.
#[derive(Clone, Debug)]
pub struct TxnOptions {
    /// Bytes of uncommitted changes that a transaction may hold in memory; more is 53200.
    pub max_transaction_bytes: usize,
    pub change_log: ChangeLogOptions,
    /// Transactions that may wait to be committed; the next ones wait to wait.
    pub commit_queue: usize,
    /// How often the background thread runs, and so how long a commit without fsync may stay off the disk.
    pub tick: Duration,
}

impl Default for TxnOptions {
    fn default() -> Self {
        TxnOptions {
            max_transaction_bytes: 1 << 30,
            change_log: ChangeLogOptions { max_bytes: 256 << 20, max_age: Duration::from_secs(3600) },
            commit_queue: 1024,
            tick: Duration::from_millis(200),
        }
    }
}

/// What transactions, the commit thread and the background thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) storage: Arc<Storage>,
    /// Told what commits tell.
    pub(super) live: Arc<LiveQueryManager>,
    pub(super) snapshots: Arc<Snapshots>,
    pub(super) locks: Arc<Locks>,
    pub(super) row_ids: RowIds,
    pub(super) sequences: Sequences,
    pub(super) janitor: Janitor,
    pub(super) options: TxnOptions,
    /// Held by whoever writes a group of commits.
    pub(super) committing: Mutex<()>,
    /// The last commit written to storage; moved by who commits.
    pub(super) written_seq: AtomicU64,
    /// Transactions there are.
    pub(super) open: AtomicUsize,
    /// SERIALIZABLE transactions that have not ended.
    pub(super) serializable: AtomicUsize,
    pub(super) history: History,
}

/// Begins transactions. One per data directory.
#[derive(Debug)]
pub struct TxnManager {
    pub(super) shared: Arc<Shared>,
    next_id: AtomicU32,
    commits: Mutex<Option<mpsc::Sender<CommitRequest>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl TxnManager {
    /// Starts where storage's last commit ended. `registry` must hold the catalog of that commit.
    pub fn open(
        storage: Arc<Storage>,
        registry: Arc<SchemaRegistry>,
        live: Arc<LiveQueryManager>,
        options: TxnOptions,
    ) -> Result<Arc<TxnManager>> {
        let seq = storage.last_seq()?;
        let shared = Arc::new(Shared {
            snapshots: Arc::new(Snapshots::new(seq, registry, Arc::clone(storage.horizon()))),
            locks: Arc::new(Locks::new()),
            row_ids: RowIds::open(Arc::clone(&storage))?,
            sequences: Sequences::new(Arc::clone(&storage)),
            janitor: Janitor::new(seq, &storage, options.change_log.clone()),
            committing: Mutex::new(()),
            written_seq: AtomicU64::new(seq),
            open: AtomicUsize::new(0),
            serializable: AtomicUsize::new(0),
            history: History::default(),
            storage,
            live,
            options,
        });
        let (commits, queue) = mpsc::channel(shared.options.commit_queue);
        let mut threads = Vec::new();
        let committing = Arc::clone(&shared);
        threads.push(spawn("commit", move || commit::run(&committing, queue))?);
        let cleaning = Arc::clone(&shared);
        threads.push(spawn("janitor", move || cleaning.janitor.run(&cleaning))?);
        Ok(Arc::new(TxnManager {
            shared,
            next_id: AtomicU32::new(1),
            commits: Mutex::new(Some(commits)),
            threads: Mutex::new(threads),
        }))
    }

    /// A transaction with a snapshot of now, that no session waits for.
    pub fn begin(self: &Arc<Self>) -> Transaction {
        self.begin_for(0, Arc::new(NoClient))
    }

    /// A session's transaction with a snapshot of now.
    pub fn begin_for(self: &Arc<Self>, pid: i32, client: Arc<dyn LockClient>) -> Transaction {
        // 0 stands for the session itself.
        let number = std::iter::repeat_with(|| self.next_id.fetch_add(1, Ordering::Relaxed)).find(|n| *n != 0);
        let owner = Owner::new(pid, number.unwrap_or(1));
        Transaction::new(Arc::clone(self), Arc::new(Held::new(owner, Arc::clone(&self.shared.locks), client)))
    }

    /// What a session will hold beyond its transactions.
    pub fn session_locks(&self, pid: i32) -> SessionLocks {
        SessionLocks::new(pid, Arc::clone(&self.shared.locks))
    }

    /// True if somebody has or wants a table for himself.
    pub fn any_exclusive_lock(&self) -> bool {
        self.shared.locks.any_exclusive()
    }

    /// Every lock held or waited for: pg_locks.
    pub fn locks(&self) -> Vec<LockInfo> {
        self.shared.locks.list()
    }

    /// Who keeps a session waiting: pg_blocking_pids.
    pub fn blockers_of(&self, pid: i32) -> Vec<Owner> {
        self.shared.locks.blockers_of(pid)
    }

    /// The newest visible commit with its catalog, read as one.
    pub fn snapshot(&self) -> (u64, Arc<Catalog>) {
        self.shared.snapshots.current()
    }

    /// `count` consecutive hidden row ids, from the one returned.
    pub fn row_ids(&self, count: u64) -> Result<u64> {
        self.shared.row_ids.take(count)
    }

    /// nextval: the next value of the sequence whose state has this id. Never given twice, whatever becomes of the caller.
    pub fn next_value(&self, id: StorageId, sequence: &SequenceDefinition, name: &str) -> Result<i64> {
        self.shared.sequences.next(id, sequence, name)
    }

    /// setval: the caller has checked the bounds.
    pub fn set_value(&self, id: StorageId, last: i64, called: bool) -> Result<()> {
        self.shared.sequences.set(id, last, called)
    }

    pub fn sequence_state(&self, id: StorageId, sequence: &SequenceDefinition) -> Result<SequenceState> {
        self.shared.sequences.state(id, sequence)
    }

    pub fn storage(&self) -> &Arc<Storage> {
        &self.shared.storage
    }

    /// The oldest snapshot that is held: versions below it are dropped as RocksDB compacts.
    pub fn horizon(&self) -> u64 {
        self.shared.snapshots.horizon()
    }

    /// Changes of the visible commits after `seq`, in commit order. `None` if some of them have been trimmed: the reader
    /// must start from a fresh snapshot of the rows.
    pub fn changes_since(&self, seq: u64) -> Result<Option<ChangeIter>> {
        let (visible, _) = self.snapshot();
        let changes = self.shared.storage.changes(seq, visible);
        // Asked after the iterator has its view: what was there then stays readable.
        Ok((self.oldest_retained()? <= seq.saturating_add(1)).then_some(changes))
    }

    /// The first commit whose changes are retained.
    pub fn oldest_retained(&self) -> Result<u64> {
        self.shared.storage.changes_oldest_retained()
    }

    /// Runs the background work now (tests, CHECKPOINT): sync, dropped storages, deleted keys, change log.
    pub fn tick(&self) {
        self.shared.janitor.tick(&self.shared);
    }

    pub(super) async fn send(&self, request: CommitRequest) -> Result<(), ()> {
        let commits = self.commits.lock().clone();
        let Some(commits) = commits else { return Err(()) };
        match commit::at_once(&self.shared, request) {
            None => Ok(()),
            Some(request) => commits.send(request).await.map_err(|_| ()),
        }
    }

    /// Commits what is queued, makes everything durable and ends the threads. Later commits fail with 57P01. Blocks.
    pub fn close(&self) {
        self.commits.lock().take();
        self.shared.janitor.stop();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            if thread.join().is_err() {
                tracing::error!("a thread of the transaction layer panicked");
            }
        }
        self.shared.live.close();
        if let Err(error) = self.shared.storage.sync() {
            tracing::error!(%error, "could not sync the data directory at shutdown");
        }
    }
}

impl Drop for TxnManager {
    fn drop(&mut self) {
        self.close();
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(format!("kalamdb-{name}"))
        .spawn(body)
        .map_err(|e| SqlError::new(SqlState::INSUFFICIENT_RESOURCES, format!("could not start thread: {e}")))
}
