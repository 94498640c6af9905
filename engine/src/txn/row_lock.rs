//! Locking a row that a statement has seen, and finding out whether it is still that row.

use bytes::Bytes;
use kalamdb_catalog::{Oid, Result};

use super::Isolation;
use super::locks::{Held, IfLocked, LockMode, Locked, Table, conflict, conflict_with_delete};
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

/// Locks a row in `mode`. 40001 above READ COMMITTED if it has been changed since the snapshot.
pub(super) async fn lock_row(
    held: &Held,
    reader: &TxnReader,
    isolation: Isolation,
    (oid, table): (Oid, &Table),
    key: &[u8],
    (mode, if_locked): (LockMode, IfLocked),
) -> Result<RowState> {
    match held.lock(held.row(oid, key), mode, if_locked).await? {
        Locked::No => Ok(RowState::Locked),
        // Not only if others have been waited for: the lock may be left from a statement that failed this very check.
        Locked::Free | Locked::AfterWait => look(reader, isolation, table, key),
    }
}

/// The state of a row whose lock is held. With no commit on the table since the snapshot there is no newer version to look
/// for; the lock came first, so whoever held it before has noted its commit.
fn look(reader: &TxnReader, isolation: Isolation, table: &Table, key: &[u8]) -> Result<RowState> {
    let snapshot = reader.snapshot_seq();
    // What this transaction has written it has checked.
    if !table.written_after(snapshot) || reader.writes.get(key).is_some() {
        return Ok(RowState::Seen);
    }
    let Some(newest) = reader.storage.newest(key)? else { return Ok(RowState::Seen) };
    if newest.seq <= snapshot {
        return Ok(RowState::Seen);
    }
    match isolation {
        Isolation::ReadCommitted => Ok(match reader.storage.get(key, newest.seq)? {
            Some((seq, row)) => RowState::Changed(seq, row),
            None => RowState::Gone,
        }),
        Isolation::RepeatableRead if newest.deleted => Err(conflict_with_delete()),
        Isolation::RepeatableRead => Err(conflict()),
    }
}
