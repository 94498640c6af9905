//! Which commits are visible, and to whom.
//!
//! A snapshot is a sequence number together with the catalog of that moment. Both are read, and both are moved on by a
//! commit, under one short lock: no snapshot sees rows without their catalog or the reverse. Every snapshot is counted
//! while someone holds it; the smallest one is the horizon below which old versions may go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kalamdb_catalog::{Catalog, CatalogChange, SchemaRegistry};
use parking_lot::Mutex;

use super::export::Exports;

#[derive(Debug)]
pub(super) struct Snapshots {
    state: Mutex<State>,
    registry: Arc<SchemaRegistry>,
    /// Shared with storage's compaction filter. Never moves back.
    horizon: Arc<AtomicU64>,
    exports: Exports,
}

#[derive(Debug)]
struct State {
    /// The newest visible commit.
    seq: u64,
    /// Snapshots held, with how many hold each.
    held: BTreeMap<u64, u32>,
}

/// A snapshot; if it is held, versions it can see stay until it is dropped.
#[derive(Debug)]
pub(super) struct Snapshot {
    seq: u64,
    catalog: Arc<Catalog>,
    snapshots: Arc<Snapshots>,
    held: bool,
}

impl Snapshots {
    pub(super) fn new(seq: u64, registry: Arc<SchemaRegistry>, horizon: Arc<AtomicU64>) -> Snapshots {
        horizon.store(seq, Ordering::Release);
        let state = Mutex::new(State { seq, held: BTreeMap::new() });
        Snapshots { state, registry, horizon, exports: Exports::default() }
    }

    /// A snapshot of now.
    pub(super) fn take(self: &Arc<Self>) -> Arc<Snapshot> {
        let mut state = self.state.lock();
        let seq = state.seq;
        *state.held.entry(seq).or_insert(0) += 1;
        let catalog = self.registry.current();
        drop(state);
        Arc::new(Snapshot { seq, catalog, snapshots: Arc::clone(self), held: true })
    }

    /// The snapshots that transactions have exported.
    pub(super) fn exports(&self) -> &Exports {
        &self.exports
    }

    /// The newest visible commit, with its catalog.
    pub(super) fn current(&self) -> (u64, Arc<Catalog>) {
        let state = self.state.lock();
        (state.seq, self.registry.current())
    }

    /// Commit steps 4 and 5: makes everything up to `seq` visible.
    pub(super) fn publish(&self, seq: u64, changes: &[CatalogChange]) {
        let mut state = self.state.lock();
        self.registry.apply(changes);
        state.seq = seq;
        self.move_horizon(&state);
    }

    pub(super) fn horizon(&self) -> u64 {
        self.horizon.load(Ordering::Acquire)
    }

    fn move_horizon(&self, state: &State) {
        let oldest = state.held.first_key_value().map_or(state.seq, |(seq, _)| *seq);
        self.horizon.store(oldest, Ordering::Release);
    }
}

impl Snapshot {
    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    pub(super) fn is_held(&self) -> bool {
        self.held
    }

    /// The same, for one who will not read by it.
    pub(super) fn let_go(&self) -> Arc<Snapshot> {
        let (catalog, snapshots) = (Arc::clone(&self.catalog), Arc::clone(&self.snapshots));
        Arc::new(Snapshot { seq: self.seq, catalog, snapshots, held: false })
    }

    /// What was committed at that moment.
    pub(super) fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    pub(super) fn exports(&self) -> &Exports {
        &self.snapshots.exports
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if !self.held {
            return;
        }
        let mut state = self.snapshots.state.lock();
        if let Some(count) = state.held.get_mut(&self.seq) {
            *count -= 1;
            if *count == 0 {
                state.held.remove(&self.seq);
                self.snapshots.move_horizon(&state);
            }
        }
    }
}
