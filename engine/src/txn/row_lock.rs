//! Locking a row that a statement has seen, and finding out whether it is still that row.

use std::sync::Arc;

use bytes::Bytes;
use kalamdb_catalog::{Oid, Result, SqlError};

use super::Isolation;
use super::locks::{AdvisoryKey, Held, IfLocked, LockMode, LockTag, Locked, Locks, Table, conflict};
use super::reader::TxnReader;

/// What a row is once its lock is held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RowState {
    /// As the statement's snapshot has it.
    Seen,
    /// READ COMMITTED: another transaction has committed a newer version, with this sequence number. The statement goes on
    /// with it if it still fulfils its conditions (manual, section 13.2.1).
    Changed(u64, Bytes),
    /// READ COMMITTED: deleted by another transaction.
    Gone,
    /// Locked by another transaction: only where the caller does not want to wait.
    Locked,
}

/// Takes locks for queries of one transaction: SELECT ... FOR UPDATE and its kin, advisory locks.
#[derive(Clone, Debug)]
pub struct RowLocker {
    pub(super) held: Arc<Held>,
    pub(super) locks: Arc<Locks>,
    pub(super) isolation: Isolation,
}

impl RowLocker {
    /// Locks a row that a statement has read through `reader`. 40001 above READ COMMITTED if it has been changed since.
    pub async fn lock(
        &self,
        reader: &TxnReader,
        table: Oid,
        key: &[u8],
        lock: (LockMode, IfLocked),
    ) -> Result<RowState> {
        let noted = self.locks.table(table);
        lock_row(&self.held, reader, self.isolation, (table, &noted), key, lock, conflict).await
    }

    /// pg_advisory_xact_lock and its kin: held to the end of the transaction.
    pub async fn lock_advisory(&self, key: AdvisoryKey, mode: LockMode, if_locked: IfLocked) -> Result<Locked> {
        self.held.lock(LockTag::Advisory(key), mode, if_locked).await
    }

    /// The same for who does not want to wait: false if it is not free.
    pub fn try_lock_advisory(&self, key: AdvisoryKey, mode: LockMode) -> Result<bool> {
        self.held.try_lock(LockTag::Advisory(key), mode)
    }
}

/// Locks a row in `mode`. Above READ COMMITTED, 40001 if it has been changed since the snapshot, or `deleted`.
#[allow(clippy::too_many_arguments)]
pub(super) async fn lock_row(
    held: &Held,
    reader: &TxnReader,
    isolation: Isolation,
    (oid, table): (Oid, &Table),
    key: &[u8],
    (mode, if_locked): (LockMode, IfLocked),
    deleted: fn() -> SqlError,
) -> Result<RowState> {
    match held.lock(held.row(oid, key), mode, if_locked).await? {
        Locked::No => Ok(RowState::Locked),
        // Not only if others have been waited for: the lock may be left from a statement that failed this very check.
        Locked::Free | Locked::AfterWait => look(reader, isolation, table, key, mode, deleted),
    }
}

/// The state of a row whose lock is held. With no commit on the table since the snapshot there is no newer version to look
/// for; the lock came first, so whoever held it before has noted its commit.
fn look(
    reader: &TxnReader,
    isolation: Isolation,
    table: &Table,
    key: &[u8],
    mode: LockMode,
    deleted: fn() -> SqlError,
) -> Result<RowState> {
    let snapshot = reader.snapshot_seq();
    // What this transaction has written it has checked.
    if !table.written_after(snapshot) || reader.writes.get(key).is_some() {
        return Ok(RowState::Seen);
    }
    let Some(newest) = reader.storage.newest(key)? else { return Ok(RowState::Seen) };
    // Who only wants the key to stay does not mind a change of the rest.
    if newest.seq <= snapshot || (mode == LockMode::KEY_SHARE && !newest.deleted) {
        return Ok(RowState::Seen);
    }
    match isolation {
        Isolation::ReadCommitted => Ok(match reader.storage.get(key, newest.seq)? {
            Some((seq, row)) => RowState::Changed(seq, row),
            None => RowState::Gone,
        }),
        Isolation::RepeatableRead | Isolation::Serializable if newest.deleted => Err(deleted()),
        Isolation::RepeatableRead | Isolation::Serializable => Err(conflict()),
    }
}
