//! The background thread: syncs commits that did not wait for the disk, removes storages nobody can see any more, keys
//! deleted below the horizon, and the change log's oldest part; gives RocksDB's logs their size.

use std::collections::VecDeque;
use std::time::Instant;

use kalamdb_catalog::{Result, StorageId};
use parking_lot::{Condvar, Mutex};

use super::manager::{ChangeLogOptions, Shared};
use crate::storage::Storage;

/// Deleted keys remembered for early removal; more are left to compaction.
const DELETED_MAX: usize = 1 << 16;
/// Bytes of change log between two marks: the grain of trimming.
const MARK_BYTES: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Janitor {
    state: Mutex<State>,
    wake: Condvar,
    change_log: ChangeLogOptions,
}

#[derive(Debug)]
struct State {
    stopping: bool,
    /// Something is written but not synced.
    unsynced: bool,
    /// Storages to remove once no snapshot is below the number.
    drops: Vec<(u64, StorageId)>,
    /// Keys with the commit that deleted them.
    deleted: Vec<(u64, Vec<u8>)>,
    log: Log,
}

/// The change log in stretches, oldest first.
#[derive(Debug)]
struct Log {
    stretches: VecDeque<Stretch>,
    bytes: u64,
}

#[derive(Debug)]
struct Stretch {
    last_seq: u64,
    /// When it began.
    since: Instant,
    bytes: u64,
}

impl Log {
    fn add(&mut self, seq: u64, bytes: u64) {
        self.bytes += bytes;
        match self.stretches.back_mut() {
            Some(last) if last.bytes < MARK_BYTES && last.since.elapsed().as_secs() < 1 => {
                last.last_seq = seq;
                last.bytes += bytes;
            }
            _ => self.stretches.push_back(Stretch { last_seq: seq, since: Instant::now(), bytes }),
        }
    }

    /// Takes off what exceeds the limits; gives the last sequence number taken off.
    fn trim(&mut self, limits: &ChangeLogOptions) -> Option<u64> {
        let mut trimmed = None;
        while let Some(oldest) = self.stretches.front()
            && (self.bytes > limits.max_bytes || oldest.since.elapsed() > limits.max_age)
        {
            trimmed = Some(oldest.last_seq);
            self.bytes -= oldest.bytes;
            self.stretches.pop_front();
        }
        trimmed
    }
}

impl Janitor {
    /// `seq` is the last commit on disk: the change log up to it counts as one stretch that begins now.
    pub(super) fn new(seq: u64, storage: &Storage, change_log: ChangeLogOptions) -> Janitor {
        let mut log = Log { stretches: VecDeque::new(), bytes: 0 };
        if seq > 0 {
            log.add(seq, storage.changes_bytes());
        }
        let state = State { stopping: false, unsynced: false, drops: Vec::new(), deleted: Vec::new(), log };
        Janitor { state: Mutex::new(state), wake: Condvar::new(), change_log }
    }

    /// Notes what a commit group leaves to do.
    pub(super) fn committed(&self, seq: u64, synced: bool, log_bytes: u64, deleted: Vec<(u64, Vec<u8>)>) {
        let mut state = self.state.lock();
        state.unsynced |= !synced;
        state.log.add(seq, log_bytes);
        let room = DELETED_MAX.saturating_sub(state.deleted.len());
        state.deleted.extend(deleted.into_iter().take(room));
    }

    /// Removes storages once every snapshot is at or past `seq`.
    pub(super) fn drop_later(&self, seq: u64, storages: Vec<StorageId>) {
        if !storages.is_empty() {
            self.state.lock().drops.extend(storages.into_iter().map(|id| (seq, id)));
        }
    }

    pub(super) fn stop(&self) {
        self.state.lock().stopping = true;
        self.wake.notify_all();
    }

    pub(super) fn run(&self, shared: &Shared) {
        loop {
            {
                let mut state = self.state.lock();
                if !state.stopping {
                    self.wake.wait_for(&mut state, shared.options.tick);
                }
                if state.stopping {
                    return;
                }
            }
            self.tick(shared);
        }
    }

    pub(super) fn tick(&self, shared: &Shared) {
        let (unsynced, drops, deleted, trim) = {
            let mut state = self.state.lock();
            let state = &mut *state;
            let horizon = shared.snapshots.horizon();
            let ready = state.drops.extract_if(.., |(seq, _)| *seq <= horizon).map(|(_, id)| id).collect::<Vec<_>>();
            let deleted = std::mem::take(&mut state.deleted);
            (std::mem::take(&mut state.unsynced), ready, deleted, state.log.trim(&self.change_log))
        };
        shared.storage.forget_iterators();
        let work = || -> Result<()> {
            if unsynced {
                shared.storage.sync()?;
            }
            for storage in drops {
                shared.storage.drop_storage(storage)?;
            }
            if !deleted.is_empty() {
                let waiting = shared.storage.purge_deleted(deleted)?;
                self.state.lock().deleted.extend(waiting);
            }
            if let Some(seq) = trim {
                shared.storage.trim_changes(seq + 1)?;
            }
            Ok(())
        };
        // The storage refuses writes after a failure, and sessions report that; here it only stops the cleaning.
        if let Err(error) = work() {
            tracing::warn!(%error, "background work on the data directory failed");
        }
        // Last: it may take a while, and what is not synced yet should not wait for it.
        shared.storage.make_log_room();
    }
}
