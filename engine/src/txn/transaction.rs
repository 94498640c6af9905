//! [`Transaction`]: one client's unit of work.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use kalamdb_catalog::{Catalog, CatalogChange, Oid, Result, SqlError, SqlState, StorageId, TableDefinition, TableKind};
use parking_lot::Mutex;

use super::checks::{ConstraintModes, PendingCheck};
use super::commit::{CommitRequest, CommitWork};
use super::export::Exporter;
use super::locks::{Held, HeldMark, IfLocked, LockMode, LockTag, Locked, conflict};
use super::manager::TxnManager;
use super::reader::TxnReader;
use super::row_lock::RowLocker;
use super::run::Run;
use super::serial::ReadSet;
use super::snapshots::Snapshot;
use super::statement::{ApplyOutcome, StatementWrites};
use super::write_set::{INDEX_ENTRY, WriteSet};
use crate::live::{AnnouncementMark, Announcements};
use crate::storage::{BulkWriter, Change};

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

/// What a transaction may see of others that commit while it runs (manual, section 13.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isolation {
    /// A statement that meets a row changed since its snapshot goes on with the newest version of it.
    ReadCommitted,
    /// The first to change a row wins; the next one gets 40001.
    RepeatableRead,
    /// As if one transaction ran after the other: see `serial`.
    Serializable,
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
    isolation: Isolation,
    /// What it has read, if it is SERIALIZABLE.
    reads: Option<Arc<ReadSet>>,
    savepoints: Vec<Savepoint>,
    writes: Arc<WriteSet>,
    /// Rows that the last statement inserted, while they are all there is and nobody has asked for them.
    run: Option<Run>,
    changes: Vec<CatalogChange>,
    /// Storages filled by bulk writes of this transaction.
    bulk: Vec<StorageId>,
    /// Constraints to look at before the commit, in the order they came.
    pending: Vec<PendingCheck>,
    modes: ConstraintModes,
    /// What its session will tell: shared with the functions that do.
    announcements: Option<Arc<Mutex<Announcements>>>,
    read_only: bool,
    /// What made DDL fail that may succeed when it begins anew.
    retry: Option<Retry>,
    ended: bool,
}

/// A snapshot to go back to.
#[derive(Debug)]
pub struct ReadPoint(Arc<Snapshot>);

#[derive(Clone, Copy, Debug)]
enum Retry {
    Lock(LockTag, LockMode),
    Snapshot,
}

/// Where a transaction stood.
#[derive(Debug)]
struct Savepoint {
    name: String,
    writes: usize,
    changes: usize,
    bulk: usize,
    pending: Vec<PendingCheck>,
    modes: ConstraintModes,
    locks: HeldMark,
    announcements: AnnouncementMark,
}

impl Transaction {
    pub(super) fn new(manager: Arc<TxnManager>, held: Arc<Held>) -> Transaction {
        let snapshot = manager.shared.snapshots.take();
        manager.shared.open.fetch_add(1, Ordering::Relaxed);
        Transaction {
            manager,
            held,
            catalog: Arc::clone(snapshot.catalog()),
            snapshot,
            isolation: Isolation::RepeatableRead,
            reads: None,
            savepoints: Vec::new(),
            writes: Arc::default(),
            run: None,
            changes: Vec::new(),
            bulk: Vec::new(),
            pending: Vec::new(),
            modes: ConstraintModes::default(),
            announcements: None,
            read_only: false,
            retry: None,
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
        let snapshot = self.manager.shared.snapshots.take();
        if snapshot.seq() == self.snapshot.seq() && self.snapshot.is_held() {
            return;
        }
        self.snapshot = snapshot;
        self.overlay();
    }

    /// Lets old versions go that only the snapshot of the last statement shows, until the next statement takes one of its own. For
    /// what goes on for long and reads nothing. Nothing happens where all statements read the same snapshot.
    pub fn let_snapshot_go(&mut self) {
        if self.isolation == Isolation::ReadCommitted {
            self.snapshot = self.snapshot.let_go();
        }
    }

    /// SET TRANSACTION SNAPSHOT, before the first statement: reads what the exported snapshot of this name shows.
    pub fn import_snapshot(&mut self, name: &str, database: Oid) -> Result<()> {
        let exports = self.manager.shared.snapshots.exports();
        self.snapshot = exports.import(name, database, self.isolation, self.read_only)?;
        self.overlay();
        Ok(())
    }

    /// What exports the snapshot of the statement that runs.
    pub fn exporter(&self) -> Exporter {
        Exporter {
            snapshot: Arc::downgrade(&self.snapshot),
            by: self.held.owner(),
            isolation: self.isolation,
            read_only: self.read_only,
            in_savepoint: !self.savepoints.is_empty(),
        }
    }

    /// The catalog is what is committed, with this transaction's changes.
    fn overlay(&mut self) {
        self.catalog = Arc::clone(self.snapshot.catalog());
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
            reads: self.reads.clone(),
        }
    }

    /// 40001 for a SERIALIZABLE transaction that cannot commit any more.
    pub fn check_reads(&self) -> Result<()> {
        match &self.reads {
            Some(reads) => self.manager.shared.history.validate(reads, self.snapshot.seq(), "write"),
            None => Ok(()),
        }
    }

    /// Collects the writes of a statement that is about to run.
    pub fn statement(&self) -> StatementWrites {
        let bytes_max = self.manager.shared.options.max_transaction_bytes;
        StatementWrites::new(self.reader(), Arc::clone(&self.held), self.isolation, bytes_max)
    }

    /// Makes a statement's writes part of the transaction, all or none. Drop readers of the statement first: while one
    /// lives, the whole write set is copied.
    pub fn apply(&mut self, statement: StatementWrites) -> Result<ApplyOutcome> {
        self.check_open()?;
        self.check_reads()?;
        if let Some((table, row)) = statement.find_duplicate()? {
            return Ok(ApplyOutcome::Duplicate { table, row });
        }
        if let Some((index, row)) = statement.find_duplicate_entry()? {
            return Ok(ApplyOutcome::DuplicateEntry { index, row });
        }
        let StatementWrites { reader, ops, entries, run, .. } = statement;
        drop(reader);
        if run.bytes() >= RUN_BYTES_MIN && entries.is_empty() && !self.has_writes() && self.savepoints.is_empty() {
            self.run = Some(run);
            return Ok(ApplyOutcome::Ok);
        }
        self.settle();
        if ops.is_empty() && entries.is_empty() && run.is_empty() {
            return Ok(ApplyOutcome::Ok);
        }
        let writes = Arc::make_mut(&mut self.writes);
        let table = run.table();
        writes.put_all(run.into_rows(), table);
        for (key, op) in ops {
            writes.put(key, op.table, op.old, op.new);
        }
        for (key, op) in entries {
            writes.put(key, INDEX_ENTRY, op.old, op.new);
        }
        Ok(ApplyOutcome::Ok)
    }

    /// What locks rows for queries of this transaction.
    pub fn locker(&self) -> RowLocker {
        RowLocker {
            held: Arc::clone(&self.held),
            locks: Arc::clone(&self.manager.shared.locks),
            isolation: self.isolation,
        }
    }

    /// Locks a row of a system table that is about to be changed.
    fn lock_catalog_row(&mut self, table: Oid, key: &[u8]) -> Result<()> {
        self.lock_for_ddl(self.held.row(table, key), LockMode::UPDATE)?;
        // Also under a lock held already: it may be left from a statement that failed this check.
        if self.writes.get(key).is_none() {
            let newest = self.manager.shared.storage.newest_seq(key)?;
            if newest.is_some_and(|seq| seq > self.snapshot.seq()) {
                return Err(self.stale());
            }
        }
        Ok(())
    }

    /// Takes a table for this transaction alone: DDL that reads or rewrites rows calls this first and then (READ COMMITTED)
    /// takes a new snapshot.
    pub fn take_table(&mut self, oid: Oid) -> Result<()> {
        self.lock_for_ddl(LockTag::Table(oid), LockMode::AccessExclusive)
    }

    /// Keeps others from writing to a table, and lets them read it: for DDL that makes an index.
    pub fn share_table(&mut self, oid: Oid) -> Result<()> {
        self.lock_for_ddl(LockTag::Table(oid), LockMode::Share)
    }

    /// Takes a lock if it is free; else the error ends the statement, which begins anew once it has the lock
    /// ([`Transaction::before_retry`]): what it has looked at may be another by then.
    fn lock_for_ddl(&mut self, tag: LockTag, mode: LockMode) -> Result<()> {
        if self.held.try_lock(tag, mode)? {
            return Ok(());
        }
        self.retry = Some(Retry::Lock(tag, mode));
        Err(conflict())
    }

    /// What DDL has looked at has been changed since the snapshot.
    fn stale(&mut self) -> SqlError {
        self.retry = Some(Retry::Snapshot);
        conflict()
    }

    /// After an error of DDL under READ COMMITTED: true if the statement is to begin anew, with a new snapshot. Waits for
    /// the lock that it lacked.
    pub async fn before_retry(&mut self) -> Result<bool> {
        match self.retry.take() {
            Some(Retry::Lock(tag, mode)) => self.held.lock(tag, mode, IfLocked::Wait).await.map(|_| true),
            Some(Retry::Snapshot) => Ok(self.isolation == Isolation::ReadCommitted),
            None => Ok(false),
        }
    }

    /// Locks a table. After a wait (READ COMMITTED) the statement needs a new snapshot, and a look at the new catalog.
    pub async fn lock_table(&self, oid: Oid, mode: LockMode, if_locked: IfLocked) -> Result<Locked> {
        self.held.lock(LockTag::Table(oid), mode, if_locked).await
    }

    /// Adds a catalog change with its system-table rows. Locks the relation and the rows; an error if that is not possible
    /// at once, or if either has been changed since the snapshot: see [`Transaction::before_retry`].
    pub fn ddl(&mut self, change: CatalogChange, rows: Vec<CatalogWrite>) -> Result<()> {
        self.ddl_under(LockMode::AccessExclusive, change, rows)
    }

    /// The same for a change that readers of the relation need not wait for, nor it for them.
    pub fn ddl_beside_readers(&mut self, change: CatalogChange, rows: Vec<CatalogWrite>) -> Result<()> {
        self.ddl_under(LockMode::Share, change, rows)
    }

    fn ddl_under(&mut self, mode: LockMode, change: CatalogChange, rows: Vec<CatalogWrite>) -> Result<()> {
        self.check_open()?;
        self.settle();
        let snapshot = self.snapshot.seq();
        let relation = match &change {
            CatalogChange::PutTable(table) => Some(table.oid),
            CatalogChange::DropTable(oid) => Some(*oid),
            _ => None,
        };
        if let Some(oid) = relation {
            self.lock_for_ddl(LockTag::Table(oid), mode)?;
            let table = self.held.changes(oid);
            if table.changed_after(snapshot) || table.written_after(snapshot) {
                return Err(self.stale());
            }
        }
        if let CatalogChange::PutTable(TableDefinition { kind: TableKind::View { depends_on, .. }, .. }) = &change {
            // So that a base cannot be dropped while a view on it is being made.
            for base in depends_on {
                self.lock_for_ddl(LockTag::Table(base.oid), LockMode::AccessShare)?;
                if self.manager.shared.locks.table(base.oid).changed_after(snapshot) {
                    return Err(self.stale());
                }
            }
        }
        for write in &rows {
            self.lock_catalog_row(write.table, &write.key)?;
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

    /// SAVEPOINT: what is written from here on can be undone.
    pub fn savepoint(&mut self, name: &str) -> Result<()> {
        self.check_open()?;
        self.settle();
        self.savepoints.push(Savepoint {
            name: name.to_owned(),
            writes: Arc::make_mut(&mut self.writes).mark(),
            changes: self.changes.len(),
            bulk: self.bulk.len(),
            pending: self.pending.clone(),
            modes: self.modes.clone(),
            locks: self.held.mark(),
            announcements: self.announcements.as_ref().map(|a| a.lock().mark()).unwrap_or_default(),
        });
        Ok(())
    }

    /// Ends a part that could have been undone by itself: what it has done stays.
    pub fn release_last_savepoint(&mut self) {
        self.savepoints.pop();
        if self.savepoints.is_empty() {
            Arc::make_mut(&mut self.writes).forget_marks();
        }
    }

    /// How many savepoints there are.
    pub fn savepoints(&self) -> usize {
        self.savepoints.len()
    }

    /// RELEASE: forgets a savepoint and those after it; what has been done stays. How many are left; 3B001 if there is none
    /// of this name.
    pub fn release_savepoint(&mut self, name: &str) -> Result<usize> {
        let at = self.find_savepoint(name)?;
        self.savepoints.truncate(at);
        if self.savepoints.is_empty() {
            Arc::make_mut(&mut self.writes).forget_marks();
        }
        Ok(at)
    }

    /// ROLLBACK TO: undoes what has been done since a savepoint, and lets go the locks taken since. The savepoint stays. How
    /// many there are, with it; 3B001 if there is none of this name.
    pub fn rollback_to_savepoint(&mut self, name: &str) -> Result<usize> {
        let at = self.find_savepoint(name)?;
        self.savepoints.truncate(at + 1);
        self.undo_to_last_savepoint();
        Ok(at + 1)
    }

    /// Undoes what has been done since the last savepoint: what a failed statement leaves of its transaction.
    pub fn undo_to_last_savepoint(&mut self) {
        let Some(savepoint) = self.savepoints.last() else { return };
        self.run = None;
        Arc::make_mut(&mut self.writes).undo_to(savepoint.writes);
        let changed = self.changes.len() > savepoint.changes;
        self.changes.truncate(savepoint.changes);
        self.pending.clone_from(&savepoint.pending);
        self.modes.clone_from(&savepoint.modes);
        let bulk = self.bulk.split_off(savepoint.bulk);
        self.held.release_from(&savepoint.locks);
        if let Some(announcements) = &self.announcements {
            announcements.lock().undo_to(savepoint.announcements);
        }
        if changed {
            self.overlay();
        }
        self.drop_later(bulk);
    }

    fn find_savepoint(&self, name: &str) -> Result<usize> {
        self.savepoints.iter().rposition(|s| s.name == name).ok_or_else(|| {
            SqlError::new(SqlState::S_E_INVALID_SPECIFICATION, format!("savepoint \"{name}\" does not exist"))
        })
    }

    /// Where the session collects what it will tell.
    pub(crate) fn set_announcements(&mut self, announcements: Arc<Mutex<Announcements>>) {
        self.announcements = Some(announcements);
    }

    /// Constraints to look at before the commit.
    pub fn pending(&mut self) -> &mut Vec<PendingCheck> {
        &mut self.pending
    }

    /// SET CONSTRAINTS
    pub fn constraint_modes(&mut self) -> &mut ConstraintModes {
        &mut self.modes
    }

    pub fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// Reads from the newest commit on, whatever the isolation level; the snapshot before, to go back to.
    pub fn read_newest(&mut self) -> ReadPoint {
        let before = ReadPoint(Arc::clone(&self.snapshot));
        self.snapshot = self.manager.shared.snapshots.take();
        before
    }

    /// Goes back to reading from a snapshot.
    pub fn read_from(&mut self, point: ReadPoint) {
        self.snapshot = point.0;
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

    /// Before the first statement.
    pub fn set_isolation(&mut self, isolation: Isolation) {
        if self.isolation == isolation {
            return;
        }
        self.isolation = isolation;
        let serializable = &self.manager.shared.serializable;
        match (isolation, self.reads.is_some()) {
            (Isolation::Serializable, false) => {
                serializable.fetch_add(1, Ordering::AcqRel);
                self.reads = Some(Arc::default());
                // What commits from here on is remembered: the snapshot must not be older.
                self.refresh_snapshot();
            }
            (Isolation::ReadCommitted | Isolation::RepeatableRead, true) => {
                self.reads = None;
                serializable.fetch_sub(1, Ordering::AcqRel);
            }
            _ => {}
        }
    }

    /// Reads a row from here on as it was before a change, unless an earlier one has been put back; the bytes that are kept. Not to
    /// be committed.
    pub(crate) fn put_back(&mut self, change: Change) -> usize {
        if self.writes.get(&change.key).is_some() {
            return 0;
        }
        let bytes = change.key.len() + change.old.as_ref().map_or(0, Bytes::len);
        Arc::make_mut(&mut self.writes).put(change.key, change.table, change.new, change.old);
        bytes
    }

    /// How many rows it has written.
    pub(crate) fn write_count(&self) -> usize {
        self.writes.len()
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
        let notifies = self.announcements.as_ref().and_then(|a| a.lock().take_notifies());
        if !self.has_writes() && notifies.is_none() {
            if sync && !self.read_only {
                // A value of a sequence may be all it has taken.
                self.manager.shared.sequences.sync()?;
            }
            self.end();
            return Ok(self.snapshot.seq());
        }
        let shared = &self.manager.shared;
        let announced = match notifies.map(|notifies| shared.live.reserve(notifies)).transpose() {
            Ok(announced) => announced,
            Err(error) => {
                self.rollback();
                return Err(error);
            }
        };
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
            reads: self.reads.clone().map(|reads| (reads, self.snapshot.seq())),
            sync,
            announced,
        };
        self.ended = true;
        self.forget_exports();
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
            if let Some(announcements) = &self.announcements {
                announcements.lock().clear();
            }
            self.end();
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.forget_exports();
        self.held.release();
        let bulk = std::mem::take(&mut self.bulk);
        self.drop_later(bulk);
    }

    fn forget_exports(&self) {
        self.manager.shared.snapshots.exports().forget(self.held.owner());
    }

    fn drop_later(&self, bulk: Vec<StorageId>) {
        self.manager.shared.janitor.drop_later(self.manager.shared.snapshots.current().0, bulk);
    }

    fn check_open(&self) -> Result<()> {
        if self.ended { Err(SqlError::internal("transaction has ended")) } else { Ok(()) }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.rollback();
        self.manager.shared.open.fetch_sub(1, Ordering::Relaxed);
        if self.reads.take().is_some() {
            self.manager.shared.serializable.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
