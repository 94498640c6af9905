//! Locks: rows, tables, advisory. Who waits, waits in a queue and holds no thread.
//!
//! `table` is the table of locks, `wait` the waiting and the search for deadlocks. A transaction's locks are its
//! [`Held`]. Whoever locks looks afterwards at what was committed since its snapshot; a committer notes that before it
//! lets go ([`Held::committed`]), so nothing slips through.

mod mode;
mod table;
mod wait;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use kalamdb_catalog::{Oid, Result, SqlError, SqlState};
use parking_lot::Mutex;

pub use mode::LockMode;
pub use table::{AdvisoryKey, LockInfo, LockTag, Owner};
pub use wait::LockClient;
pub(super) use wait::NoClient;

use crate::limits;
use table::{LockTable, Request};
use wait::Waits;

/// The error of a transaction whose snapshot is older than what another has committed.
pub(super) fn conflict() -> SqlError {
    SqlError::new(SqlState::T_R_SERIALIZATION_FAILURE, "could not serialize access due to concurrent update")
}

/// The same, if the other has deleted the row.
pub(super) fn conflict_with_delete() -> SqlError {
    SqlError::new(SqlState::T_R_SERIALIZATION_FAILURE, "could not serialize access due to concurrent delete")
}

fn too_many(most: usize) -> SqlError {
    SqlError::new(SqlState::OUT_OF_MEMORY, "out of memory for locks")
        .detail(format!("More than {most} locks are held."))
}

#[derive(Debug)]
pub(super) struct Locks {
    table: LockTable,
    waits: Waits,
    /// ACCESS EXCLUSIVE locks on tables, held or waited for.
    exclusive: AtomicUsize,
    tables: Mutex<HashMap<Oid, Arc<Table>>>,
}

/// What was last committed to a table.
#[derive(Default, Debug)]
pub(super) struct Table {
    /// Sequence number of the last commit that wrote rows, 0 for none since the start.
    last_write: AtomicU64,
    /// Sequence number of the last commit that changed or dropped the table.
    last_ddl: AtomicU64,
}

impl Table {
    /// True if rows were committed after `snapshot`.
    pub(super) fn written_after(&self, snapshot: u64) -> bool {
        self.last_write.load(Ordering::Acquire) > snapshot
    }

    /// The last commit that wrote rows, as far as this process knows.
    pub(super) fn last_write(&self) -> u64 {
        self.last_write.load(Ordering::Acquire)
    }

    /// True if the table was altered or dropped after `snapshot`.
    pub(super) fn changed_after(&self, snapshot: u64) -> bool {
        self.last_ddl.load(Ordering::Acquire) > snapshot
    }
}

impl Locks {
    pub(super) fn new() -> Locks {
        Locks {
            table: LockTable::new(),
            waits: Waits::default(),
            exclusive: AtomicUsize::new(0),
            tables: Mutex::default(),
        }
    }

    pub(super) fn table(&self, oid: Oid) -> Arc<Table> {
        Arc::clone(self.tables.lock().entry(oid).or_default())
    }

    /// True if somebody has or wants a table for himself. If not, a statement that only reads, in a transaction of its own,
    /// need not lock: its snapshot is enough.
    pub(super) fn any_exclusive(&self) -> bool {
        self.exclusive.load(Ordering::Acquire) > 0
    }

    fn release(&self, owner: Owner, lock: HeldLock) {
        self.table.release(owner, lock.hash, lock.mode);
        self.count_alone(lock.alone, false);
    }

    /// Counts a lock that keeps a table for its owner.
    fn count_alone(&self, alone: bool, more: bool) {
        if alone {
            let change = if more { AtomicUsize::fetch_add } else { AtomicUsize::fetch_sub };
            change(&self.exclusive, 1, Ordering::AcqRel);
        }
    }

    pub(super) fn list(&self) -> Vec<LockInfo> {
        self.table.list()
    }

    /// The parties that a session waits for.
    pub(super) fn blockers_of(&self, pid: i32) -> Vec<Owner> {
        self.waits.blockers_of(&self.table, pid)
    }
}

/// What to do about a lock that is not free.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum IfLocked {
    Wait,
    /// 55P03, with the message made of these words.
    Fail,
    Skip,
}

/// What became of a request for a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Locked {
    /// At once.
    Free,
    /// After others: what they have committed is not in the snapshot.
    AfterWait,
    /// Not at all: [`IfLocked::Fail`] and [`IfLocked::Skip`].
    No,
}

/// The locks of one transaction. They outlive its statements and end with [`Held::release`], once.
#[derive(Debug)]
pub(super) struct Held {
    owner: Owner,
    locks: Arc<Locks>,
    client: Arc<dyn LockClient>,
    state: Mutex<HeldState>,
}

#[derive(Default, Debug)]
struct HeldState {
    /// In the order in which they were taken.
    locks: Vec<HeldLock>,
    tables: Vec<Touched>,
    released: bool,
}

/// A lock, as small as may be: a bulk load holds one for each row.
#[derive(Clone, Copy, Debug)]
struct HeldLock {
    /// Of what it protects.
    hash: u64,
    mode: LockMode,
    /// It keeps a table for its owner.
    alone: bool,
}

/// True for a lock that keeps a table for its owner.
fn is_alone(tag: LockTag, mode: LockMode) -> bool {
    matches!((tag, mode), (LockTag::Table(_), LockMode::AccessExclusive))
}

/// Where a transaction's locks stood at a savepoint.
#[derive(Debug)]
pub(super) struct HeldMark {
    locks: usize,
    /// Of the tables written to by then, whether their definitions had been changed.
    tables: Vec<bool>,
}

/// A table that the transaction writes to.
#[derive(Debug)]
struct Touched {
    oid: Oid,
    table: Arc<Table>,
    /// Its definition too.
    ddl: bool,
}

impl Held {
    pub(super) fn new(owner: Owner, locks: Arc<Locks>, client: Arc<dyn LockClient>) -> Held {
        Held { owner, locks, client, state: Mutex::default() }
    }

    pub(super) fn owner(&self) -> Owner {
        self.owner
    }

    /// The tag of a row's lock.
    pub(super) fn row(&self, table: Oid, key: &[u8]) -> LockTag {
        self.locks.table.row(table, key)
    }

    /// Takes a lock if that is possible at once.
    #[inline]
    pub(super) fn try_lock(&self, tag: LockTag, mode: LockMode) -> Result<bool> {
        Ok(!matches!(self.request(tag, mode, false)?, Request::Refused))
    }

    /// True if others hold what excludes `mode`.
    pub(super) fn is_excluded(&self, tag: LockTag, mode: LockMode) -> bool {
        self.locks.table.is_excluded(self.owner, tag, mode)
    }

    /// Takes a lock. 40P01 for a deadlock, 55P03 after lock_timeout, 57014 if the statement is cancelled.
    pub(super) async fn lock(&self, tag: LockTag, mode: LockMode, if_locked: IfLocked) -> Result<Locked> {
        match self.request(tag, mode, if_locked == IfLocked::Wait)? {
            Request::Granted | Request::Held => Ok(Locked::Free),
            Request::Refused => Ok(Locked::No),
            Request::Deadlock => Err(wait::deadlock()),
            Request::Queued(ticket) => {
                let counted = Counted::new(&self.locks, is_alone(tag, mode));
                self.locks.waits.wait(&self.locks.table, ticket, &*self.client).await?;
                counted.keep();
                self.keep(tag, mode)?;
                Ok(Locked::AfterWait)
            }
        }
    }

    fn request(&self, tag: LockTag, mode: LockMode, queue: bool) -> Result<Request> {
        let request = self.locks.table.request(self.owner, tag, mode, queue);
        if let Request::Granted = request {
            self.locks.count_alone(is_alone(tag, mode), true);
            self.keep(tag, mode)?;
        }
        Ok(request)
    }

    fn keep(&self, tag: LockTag, mode: LockMode) -> Result<()> {
        let lock = HeldLock { hash: self.locks.table.hash(tag), mode, alone: is_alone(tag, mode) };
        let mut state = self.state.lock();
        if state.released {
            drop(state);
            self.locks.release(self.owner, lock);
            return Err(SqlError::internal("transaction has ended"));
        }
        state.locks.push(lock);
        if state.locks.len() > limits::TRANSACTION_LOCKS_MAX {
            return Err(too_many(limits::TRANSACTION_LOCKS_MAX));
        }
        Ok(())
    }

    /// Notes that the transaction writes rows of a table whose lock it holds. 40001 if the table has been changed since
    /// `snapshot`.
    pub(super) fn writes_to(&self, oid: Oid, snapshot: u64) -> Result<Arc<Table>> {
        let table = self.touch(oid, false);
        if table.changed_after(snapshot) { Err(conflict()) } else { Ok(table) }
    }

    /// Notes that the transaction changes the definition of a table whose lock it holds alone.
    pub(super) fn changes(&self, oid: Oid) -> Arc<Table> {
        self.touch(oid, true)
    }

    fn touch(&self, oid: Oid, ddl: bool) -> Arc<Table> {
        let mut state = self.state.lock();
        if let Some(touched) = state.tables.iter_mut().find(|t| t.oid == oid) {
            touched.ddl |= ddl;
            return Arc::clone(&touched.table);
        }
        let table = self.locks.table(oid);
        state.tables.push(Touched { oid, table: Arc::clone(&table), ddl });
        table
    }

    /// Notes the commit on every table that was written or changed. Before [`Held::release`].
    pub(super) fn committed(&self, seq: u64) {
        for touched in &self.state.lock().tables {
            touched.table.last_write.fetch_max(seq, Ordering::AcqRel);
            if touched.ddl {
                touched.table.last_ddl.fetch_max(seq, Ordering::AcqRel);
            }
        }
    }

    /// How far it has come: for [`Held::release_from`].
    pub(super) fn mark(&self) -> HeldMark {
        let state = self.state.lock();
        HeldMark { locks: state.locks.len(), tables: state.tables.iter().map(|t| t.ddl).collect() }
    }

    /// Lets go the locks taken since a mark, and forgets what has been done to tables since.
    pub(super) fn release_from(&self, mark: &HeldMark) {
        {
            let mut state = self.state.lock();
            state.tables.truncate(mark.tables.len());
            state.tables.iter_mut().zip(&mark.tables).for_each(|(touched, ddl)| touched.ddl = *ddl);
        }
        self.release_last(mark.locks);
    }

    /// How many locks have been taken: for [`Held::release_last`].
    pub(super) fn count(&self) -> usize {
        self.state.lock().locks.len()
    }

    /// Lets all locks go but the first ones.
    pub(super) fn release_last(&self, kept: usize) {
        let locks = self.state.lock().locks.split_off(kept);
        for lock in locks.into_iter().rev() {
            self.locks.release(self.owner, lock);
        }
    }

    /// Lets all locks go; no more can be taken.
    pub(super) fn release(&self) {
        let locks = {
            let mut state = self.state.lock();
            state.released = true;
            state.tables.clear();
            std::mem::take(&mut state.locks)
        };
        for lock in locks {
            self.locks.release(self.owner, lock);
        }
    }
}

/// A wait that counts as a lock already; no more once it has been given up.
struct Counted<'a> {
    locks: &'a Locks,
    alone: bool,
}

impl Counted<'_> {
    fn new(locks: &Locks, alone: bool) -> Counted<'_> {
        locks.count_alone(alone, true);
        Counted { locks, alone }
    }

    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.locks.count_alone(self.alone, false);
    }
}

/// What a session holds by itself, beyond its transactions: advisory locks, each as often as it was taken.
#[derive(Debug)]
pub struct SessionLocks {
    owner: Owner,
    locks: Arc<Locks>,
    held: Mutex<HashMap<(AdvisoryKey, LockMode), u32>>,
}

impl SessionLocks {
    pub(super) fn new(pid: i32, locks: Arc<Locks>) -> SessionLocks {
        SessionLocks { owner: Owner::new(pid, 0), locks, held: Mutex::default() }
    }

    /// Takes a lock if that is possible at once.
    pub fn try_lock(&self, key: AdvisoryKey, mode: LockMode) -> Result<bool> {
        self.request(key, mode, false).map(|request| !matches!(request, Request::Refused))
    }

    /// Takes a lock; `client` is the session, which may be told to give up. True if it has been taken.
    pub async fn lock(
        &self,
        client: &dyn LockClient,
        key: AdvisoryKey,
        mode: LockMode,
        if_locked: IfLocked,
    ) -> Result<bool> {
        match self.request(key, mode, if_locked == IfLocked::Wait)? {
            Request::Refused => Ok(false),
            Request::Queued(ticket) => {
                self.locks.waits.wait(&self.locks.table, ticket, client).await?;
                self.held.lock().insert((key, mode), 1);
                Ok(true)
            }
            _ => Ok(true),
        }
    }

    /// Asks for a lock and counts it if it is granted.
    fn request(&self, key: AdvisoryKey, mode: LockMode, queue: bool) -> Result<Request> {
        let mut held = self.held.lock();
        if let Some(count) = held.get_mut(&(key, mode)) {
            *count += 1;
            return Ok(Request::Held);
        }
        if held.len() >= limits::SESSION_LOCKS_MAX {
            return Err(too_many(limits::SESSION_LOCKS_MAX));
        }
        let tag = LockTag::Advisory(key);
        let request = self.locks.table.request(self.owner, tag, mode, queue);
        match request {
            // A stronger one is held: this one is noted besides, to be given back by itself.
            Request::Held => self.locks.table.add(self.owner, tag, mode),
            Request::Granted => {}
            Request::Refused | Request::Queued(_) => return Ok(request),
            Request::Deadlock => return Err(wait::deadlock()),
        }
        held.insert((key, mode), 1);
        Ok(request)
    }

    /// pg_advisory_unlock: false if the session does not hold the lock in this mode.
    pub fn unlock(&self, key: AdvisoryKey, mode: LockMode) -> bool {
        let mut held = self.held.lock();
        let Some(count) = held.get_mut(&(key, mode)) else { return false };
        *count -= 1;
        if *count == 0 {
            held.remove(&(key, mode));
            let hash = self.locks.table.hash(LockTag::Advisory(key));
            self.locks.table.release(self.owner, hash, mode);
        }
        true
    }

    /// pg_advisory_unlock_all, and the end of the session.
    pub fn unlock_all(&self) {
        for ((key, mode), _) in self.held.lock().drain() {
            let hash = self.locks.table.hash(LockTag::Advisory(key));
            self.locks.table.release(self.owner, hash, mode);
        }
    }
}

impl Drop for SessionLocks {
    fn drop(&mut self) {
        self.unlock_all();
    }
}
