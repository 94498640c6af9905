//! Row locks and table locks. Nobody waits for one yet: who meets another's lock gets 40001.
//!
//! Row locks are kept by 64-bit hash of the key: two keys with one hash share a lock, which can only make a transaction
//! retry that need not. Table locks come in two modes: writers of rows share, DDL excludes. Whoever locks checks
//! afterwards what was committed since its snapshot; a committer notes that before it lets go, so nothing slips through.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kalamdb_catalog::{Oid, Result, SqlError, SqlState};
use parking_lot::Mutex;

const SHARDS: usize = 64;

/// Holders of row locks, by the key's hash.
type Rows = HashMap<u64, u64, BuildHasherDefault<Hashed>>;

/// The hash of what is a hash already: without the bits that are the same in a whole shard.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        unreachable!("{} bytes that are no row's hash", bytes.len())
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash.rotate_right(SHARDS.trailing_zeros());
    }
}

/// The error of a transaction that met another on a row or table.
pub(super) fn conflict() -> SqlError {
    SqlError::new(SqlState::T_R_SERIALIZATION_FAILURE, "could not serialize access due to concurrent update")
}

#[derive(Debug)]
pub(super) struct Locks {
    hasher: RandomState,
    rows: Vec<Mutex<Rows>>,
    tables: Mutex<HashMap<Oid, Arc<Table>>>,
}

/// The lock of one table and what was last committed to it.
#[derive(Default, Debug)]
pub(super) struct Table {
    holders: Mutex<Holders>,
    /// Sequence number of the last commit that wrote rows, 0 for none since the start.
    last_write: AtomicU64,
    /// Sequence number of the last commit that changed or dropped the table.
    last_ddl: AtomicU64,
}

#[derive(Default, Debug)]
struct Holders {
    shared: Vec<u64>,
    exclusive: Option<u64>,
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
            hasher: RandomState::new(),
            rows: (0..SHARDS).map(|_| Mutex::default()).collect(),
            tables: Mutex::default(),
        }
    }

    pub(super) fn table(&self, oid: Oid) -> Arc<Table> {
        Arc::clone(self.tables.lock().entry(oid).or_default())
    }

    fn shard(&self, hash: u64) -> &Mutex<Rows> {
        &self.rows[hash as usize % SHARDS]
    }
}

/// The locks of one transaction. They outlive its statements and end with [`Held::release`], once.
#[derive(Debug)]
pub(super) struct Held {
    id: u64,
    locks: Arc<Locks>,
    state: Mutex<HeldState>,
}

#[derive(Default, Debug)]
struct HeldState {
    rows: Vec<u64>,
    shared: Vec<(Oid, Arc<Table>)>,
    exclusive: Vec<(Oid, Arc<Table>)>,
    released: bool,
}

impl Held {
    pub(super) fn new(id: u64, locks: Arc<Locks>) -> Held {
        Held { id, locks, state: Mutex::default() }
    }

    /// Locks a row; 40001 if another transaction holds it. The caller then looks for newer versions.
    pub(super) fn row(&self, key: &[u8]) -> Result<()> {
        let hash = self.locks.hasher.hash_one(key);
        let mut state = self.state.lock();
        if state.released {
            return Err(ended());
        }
        match self.locks.shard(hash).lock().entry(hash) {
            std::collections::hash_map::Entry::Occupied(holder) if *holder.get() == self.id => return Ok(()),
            std::collections::hash_map::Entry::Occupied(_) => return Err(conflict()),
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(self.id);
            }
        }
        state.rows.push(hash);
        Ok(())
    }

    /// Locks a table for writing rows. 40001 if another transaction is changing it, or one that committed after
    /// `snapshot` has.
    pub(super) fn share_table(&self, oid: Oid, snapshot: u64) -> Result<Arc<Table>> {
        let mut state = self.state.lock();
        if state.released {
            return Err(ended());
        }
        if let Some((_, table)) = state.shared.iter().chain(&state.exclusive).find(|(held, _)| *held == oid) {
            return Ok(Arc::clone(table));
        }
        let table = self.locks.table(oid);
        {
            let mut holders = table.holders.lock();
            if holders.exclusive.is_some() {
                return Err(conflict());
            }
            holders.shared.push(self.id);
        }
        state.shared.push((oid, Arc::clone(&table)));
        if table.changed_after(snapshot) {
            return Err(conflict());
        }
        Ok(table)
    }

    /// Locks a table for changing it. 40001 if any other transaction has written to it or is changing it.
    pub(super) fn exclude_table(&self, oid: Oid) -> Result<Arc<Table>> {
        let mut state = self.state.lock();
        if state.released {
            return Err(ended());
        }
        if let Some((_, table)) = state.exclusive.iter().find(|(held, _)| *held == oid) {
            return Ok(Arc::clone(table));
        }
        let table = self.locks.table(oid);
        {
            let mut holders = table.holders.lock();
            if holders.exclusive.is_some() || holders.shared.iter().any(|id| *id != self.id) {
                return Err(conflict());
            }
            holders.exclusive = Some(self.id);
        }
        state.exclusive.push((oid, Arc::clone(&table)));
        Ok(table)
    }

    /// Notes the commit on every table that was written or changed. Before [`Held::release`].
    pub(super) fn committed(&self, seq: u64) {
        let state = self.state.lock();
        for (_, table) in &state.shared {
            table.last_write.fetch_max(seq, Ordering::AcqRel);
        }
        for (_, table) in &state.exclusive {
            table.last_write.fetch_max(seq, Ordering::AcqRel);
            table.last_ddl.fetch_max(seq, Ordering::AcqRel);
        }
    }

    /// Lets all locks go; no more can be taken.
    pub(super) fn release(&self) {
        let mut state = self.state.lock();
        state.released = true;
        for hash in std::mem::take(&mut state.rows) {
            self.locks.shard(hash).lock().remove(&hash);
        }
        for (_, table) in std::mem::take(&mut state.shared) {
            table.holders.lock().shared.retain(|id| *id != self.id);
        }
        for (_, table) in std::mem::take(&mut state.exclusive) {
            table.holders.lock().exclusive = None;
        }
    }
}

fn ended() -> SqlError {
    SqlError::internal("transaction has ended")
}
