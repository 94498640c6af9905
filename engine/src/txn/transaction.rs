//! [`Transaction`]: one client's unit of work.

use std::sync::Arc;

use bytes::Bytes;
use kalamdb_catalog::{Catalog, CatalogChange, Oid, Result, SqlError, SqlState, StorageId, TableDefinition, TableKind};

use super::commit::{CommitRequest, CommitWork};
use super::locks::{Held, conflict};
use super::manager::TxnManager;
use super::reader::TxnReader;
use super::run::Run;
use super::snapshots::Snapshot;
use super::statement::{ApplyOutcome, StatementWrites};
use super::write_set::WriteSet;
use crate::storage::BulkWriter;

/// Bytes of inserted rows from which on a commit of nothing else writes files: `storage::run`. Below it the log is faster.
const RUN_BYTES_MIN: usize = 8 << 20;

/// A row of a system table that DDL writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CatalogWrite {
    /// OID of the system table.
    pub table: Oid,
    /// Key without sequence number.
    pub key: Vec<u8>,
    /// `None` deletes the row.
    pub row: Option<Vec<u8>>,
}

/// Begun by `TxnManager::begin`. Dropped without commit, it is rolled back.
///
/// It holds its snapshot until it is dropped, so drop it soon after its end.
#[derive(Debug)]
pub struct Transaction {
    manager: Arc<TxnManager>,
    held: Arc<Held>,
    snapshot: Arc<Snapshot>,
    /// Committed at the snapshot, with this transaction's changes over it.
    catalog: Arc<Catalog>,
    writes: Arc<WriteSet>,
    /// Rows that the last statement inserted, while they are all there is and nobody has asked for them.
    run: Option<Run>,
    changes: Vec<CatalogChange>,
    /// Storages filled by bulk writes of this transaction.
    bulk: Vec<StorageId>,
    read_only: bool,
    ended: bool,
}

impl Transaction {
    pub(super) fn new(manager: Arc<TxnManager>, held: Arc<Held>) -> Transaction {
        let (snapshot, catalog) = manager.shared.snapshots.take();
        Transaction {
            manager,
            held,
            snapshot,
            catalog,
            writes: Arc::default(),
            run: None,
            changes: Vec::new(),
            bulk: Vec::new(),
            read_only: false,
            ended: false,
        }
    }

    /// The commit sequence number up to which this transaction sees others' commits.
    pub fn snapshot_seq(&self) -> u64 {
        self.snapshot.seq()
    }

    /// The catalog at the snapshot, with this transaction's own changes.
    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog)
    }

    /// Takes a new snapshot: at the start of each statement under READ COMMITTED.
    pub fn refresh_snapshot(&mut self) {
        let (snapshot, catalog) = self.manager.shared.snapshots.take();
        if snapshot.seq() == self.snapshot.seq() {
            return;
        }
        self.snapshot = snapshot;
        self.catalog = catalog;
        if !self.changes.is_empty() {
            let catalog = Arc::make_mut(&mut self.catalog);
            for change in &self.changes {
                catalog.apply(change);
            }
        }
    }

    /// Makes what earlier statements wrote readable: before each statement.
    pub fn settle(&mut self) {
        if let Some(run) = self.run.take() {
            let table = run.table();
            Arc::make_mut(&mut self.writes).put_all(run.into_rows(), table);
        }
    }

    /// What a statement reads: frozen at this moment.
    pub fn reader(&self) -> TxnReader {
        debug_assert!(self.run.is_none(), "a statement begins without Transaction::settle");
        TxnReader {
            storage: Arc::clone(&self.manager.shared.storage),
            snapshot: Arc::clone(&self.snapshot),
            writes: Arc::clone(&self.writes),
            locks: Arc::clone(&self.manager.shared.locks),
        }
    }

    /// Collects the writes of a statement that is about to run.
    pub fn statement(&self) -> StatementWrites {
        StatementWrites::new(self.reader(), Arc::clone(&self.held), self.manager.shared.options.max_transaction_bytes)
    }

    /// Makes a statement's writes part of the transaction, all or none. Drop readers of the statement first: while one
    /// lives, the whole write set is copied.
    pub fn apply(&mut self, statement: StatementWrites) -> Result<ApplyOutcome> {
        self.check_open()?;
        if let Some((table, row)) = statement.find_duplicate()? {
            return Ok(ApplyOutcome::Duplicate { table, row });
        }
        let StatementWrites { reader, ops, run, .. } = statement;
        drop(reader);
        if run.bytes() >= RUN_BYTES_MIN && !self.has_writes() {
            self.run = Some(run);
            return Ok(ApplyOutcome::Ok);
        }
        self.settle();
        if ops.is_empty() && run.is_empty() {
            return Ok(ApplyOutcome::Ok);
        }
        let writes = Arc::make_mut(&mut self.writes);
        let table = run.table();
        writes.put_all(run.into_rows(), table);
        for (key, op) in ops {
            writes.put(key, op.table, op.old, op.new);
        }
        Ok(ApplyOutcome::Ok)
    }

    /// Locks a row for this transaction: 40001 if another one holds it or has committed a newer version of it than the
    /// snapshot sees.
    pub fn lock_row(&self, key: &[u8]) -> Result<()> {
        self.held.row(key)?;
        // Also under a lock held already: see `StatementWrites::change`.
        if self.writes.get(key).is_none() {
            let newest = self.manager.shared.storage.newest_seq(key)?;
            if newest.is_some_and(|seq| seq > self.snapshot.seq()) {
                return Err(conflict());
            }
        }
        Ok(())
    }

    /// Keeps others from writing to a table or changing it until this transaction ends: 40001 if one is at it. DDL that
    /// reads or rewrites rows calls this first and then (READ COMMITTED) takes a new snapshot.
    pub fn lock_table(&self, oid: Oid) -> Result<()> {
        self.held.exclude_table(oid).map(drop)
    }

    /// Adds a catalog change with its system-table rows. Locks the relation and the rows; 40001 if either has been
    /// changed since the snapshot.
    pub fn ddl(&mut self, change: CatalogChange, rows: Vec<CatalogWrite>) -> Result<()> {
        self.check_open()?;
        self.settle();
        let snapshot = self.snapshot.seq();
        let relation = match &change {
            CatalogChange::PutTable(table) => Some(table.oid),
            CatalogChange::DropTable(oid) => Some(*oid),
            _ => None,
        };
        if let Some(oid) = relation {
            let table = self.held.exclude_table(oid)?;
            if table.changed_after(snapshot) || table.written_after(snapshot) {
                return Err(conflict());
            }
        }
        if let CatalogChange::PutTable(TableDefinition { kind: TableKind::View { depends_on, .. }, .. }) = &change {
            // So that a base cannot be dropped while a view on it is being made.
            for base in depends_on {
                self.held.share_table(base.oid, snapshot)?;
            }
        }
        for write in &rows {
            self.lock_row(&write.key)?;
        }
        let reader = self.reader();
        let before = rows.iter().map(|w| reader.get(&w.key)).collect::<Result<Vec<_>>>()?;
        drop(reader);
        let writes = Arc::make_mut(&mut self.writes);
        for (write, before) in rows.into_iter().zip(before) {
            writes.put(Bytes::from(write.key), write.table, before, write.row.map(Bytes::from));
        }
        Arc::make_mut(&mut self.catalog).apply(&change);
        self.changes.push(change);
        Ok(())
    }

    /// The catalog changes so far.
    pub fn changes(&self) -> &[CatalogChange] {
        &self.changes
    }

    /// Fills a storage id that no committed catalog names: see `storage::BulkWriter`. If the transaction does not commit,
    /// the rows are removed.
    pub fn bulk(&mut self, storage: StorageId) -> BulkWriter {
        self.bulk.push(storage);
        BulkWriter::new(Arc::clone(&self.manager.shared.storage), storage, self.snapshot.seq())
    }

    /// `count` consecutive hidden row ids, from the one returned.
    pub fn row_ids(&self, count: u64) -> Result<u64> {
        self.manager.shared.row_ids.take(count)
    }

    /// SET TRANSACTION READ ONLY. What it forbids is the caller's to check.
    pub fn set_read_only(&mut self, read_only: bool) {
        self.read_only = read_only;
    }

    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// True if there is anything to commit.
    pub fn has_writes(&self) -> bool {
        !self.writes.is_empty() || !self.changes.is_empty() || self.run.is_some()
    }

    /// Commits; the sequence number is the commit's, or the snapshot's if there was nothing to write. With `sync` the
    /// writes are on disk when this returns. An error means that nothing was committed and the transaction has ended
    /// (after 58030 and 53100 whether it was committed shows after a restart). Once begun, a commit goes on even if the
    /// future is dropped.
    pub async fn commit(&mut self, sync: bool) -> Result<u64> {
        self.check_open()?;
        if !self.has_writes() {
            self.end();
            return Ok(self.snapshot.seq());
        }
        let shared = &self.manager.shared;
        if let Err(error) = shared.storage.check_writable() {
            self.rollback();
            return Err(error);
        }
        let (reply, answer) = tokio::sync::oneshot::channel();
        let work = CommitWork {
            writes: std::mem::take(&mut self.writes),
            run: self.run.take(),
            changes: std::mem::take(&mut self.changes),
            bulk: std::mem::take(&mut self.bulk),
            held: Arc::clone(&self.held),
            sync,
        };
        self.ended = true;
        let stopped = || SqlError::new(SqlState::ADMIN_SHUTDOWN, "the server is shutting down");
        // A request that cannot be queued ends its work by being dropped.
        self.manager.send(CommitRequest { work, reply }).await.map_err(|()| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Ends the transaction without a trace.
    pub fn rollback(&mut self) {
        if !self.ended {
            self.writes = Arc::default();
            self.run = None;
            self.changes.clear();
            self.end();
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.held.release();
        let bulk = std::mem::take(&mut self.bulk);
        self.manager.shared.janitor.drop_later(self.manager.shared.snapshots.current().0, bulk);
    }

    fn check_open(&self) -> Result<()> {
        if self.ended { Err(SqlError::internal("transaction has ended")) } else { Ok(()) }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.rollback();
    }
}
