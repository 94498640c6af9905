//! Snapshots that other transactions may take over (manual, section 9.27.5, and SET TRANSACTION).
//!
//! One is kept under its name until the transaction that exported it ends.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use kalamdb_catalog::{Oid, Result, SqlError, SqlState};
use parking_lot::Mutex;

use super::Isolation;
use super::locks::Owner;
use super::snapshots::Snapshot;

/// By name.
#[derive(Default, Debug)]
pub(super) struct Exports {
    all: Mutex<HashMap<String, Exported>>,
    /// How many there are: most often none, and then the end of a transaction has nothing to look for.
    count: AtomicUsize,
}

#[derive(Debug)]
struct Exported {
    snapshot: Arc<Snapshot>,
    by: Owner,
    database: Oid,
    serializable: bool,
    read_only: bool,
}

impl Exports {
    /// Forgets what a transaction has exported: at its end.
    pub(super) fn forget(&self, by: Owner) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        // Dropped after the lock is let go: a snapshot's end takes another one.
        let gone: Vec<Exported> = {
            let mut all = self.all.lock();
            let gone = all.extract_if(|_, exported| exported.by == by).map(|(_, exported)| exported).collect();
            self.count.store(all.len(), Ordering::Release);
            gone
        };
        drop(gone);
    }

    /// The snapshot of this name, for a transaction of `isolation` in `database`. 22023 if there is none.
    pub(super) fn import(
        &self,
        name: &str,
        database: Oid,
        isolation: Isolation,
        read_only: bool,
    ) -> Result<Arc<Snapshot>> {
        let all = self.all.lock();
        let Some(exported) = all.get(name) else {
            let message = format!("invalid snapshot identifier: \"{name}\"");
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
        };
        let refused = |what: &str| Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, what.to_owned()));
        if isolation == Isolation::Serializable && !exported.serializable {
            return refused("a serializable transaction cannot import a snapshot from a non-serializable transaction");
        }
        if isolation == Isolation::Serializable && exported.read_only && !read_only {
            return refused(
                "a non-read-only serializable transaction cannot import a snapshot from a read-only transaction",
            );
        }
        if exported.database != database {
            return refused("cannot import a snapshot from a different database");
        }
        Ok(Arc::clone(&exported.snapshot))
    }
}

/// What exports the snapshot of a running statement; it does not hold it.
#[derive(Clone, Debug)]
pub struct Exporter {
    pub(super) snapshot: Weak<Snapshot>,
    pub(super) by: Owner,
    pub(super) isolation: Isolation,
    pub(super) read_only: bool,
    pub(super) in_savepoint: bool,
}

impl Exporter {
    /// Keeps the snapshot until its transaction ends: the name by which others may take it over. 25001 behind a savepoint.
    pub fn export(&self, database: Oid) -> Result<String> {
        if self.in_savepoint {
            return Err(SqlError::new(
                SqlState::ACTIVE_SQL_TRANSACTION,
                "cannot export a snapshot from a subtransaction",
            ));
        }
        let gone = || SqlError::internal("a snapshot is exported by a statement that has ended");
        let snapshot = self.snapshot.upgrade().ok_or_else(gone)?;
        let exports = snapshot.exports();
        let mut all = exports.all.lock();
        let own = all.values().filter(|exported| exported.by == self.by).count();
        let name = format!("{:08X}-{:08X}-{}", self.by.pid(), self.by.transaction(), own + 1);
        let serializable = self.isolation == Isolation::Serializable;
        let exported = Exported {
            snapshot: Arc::clone(&snapshot),
            by: self.by,
            database,
            serializable,
            read_only: self.read_only,
        };
        all.insert(name.clone(), exported);
        exports.count.store(all.len(), Ordering::Release);
        Ok(name)
    }
}
