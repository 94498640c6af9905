//! Old versions go away while RocksDB compacts.
//!
//! The horizon is a sequence number that no live or future snapshot is below. Of the versions of a key at or below it
//! only the newest can be seen, so the others are dropped. This needs no view of other levels: what is dropped is
//! shadowed by a version that this compaction keeps.
//!
//! A mark of deletion may only go together with everything it shadows, which is certain only when the compaction reads
//! all files (older versions are never in the memtable while a newer one is in a file) and sees a key's versions in
//! one go (`max_subcompactions` is 1). Keys deleted recently go earlier: see `Storage::purge_deleted`.

use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rocksdb::CompactionDecision;
use rocksdb::compaction_filter::CompactionFilter;
use rocksdb::compaction_filter_factory::{CompactionFilterContext, CompactionFilterFactory};

use super::keys;

pub(super) struct VersionFilterFactory {
    pub(super) horizon: Arc<AtomicU64>,
}

impl CompactionFilterFactory for VersionFilterFactory {
    type Filter = VersionFilter;

    fn create(&mut self, context: CompactionFilterContext) -> VersionFilter {
        VersionFilter {
            horizon: self.horizon.load(Ordering::Acquire),
            everything: context.is_full_compaction,
            key: Vec::new(),
            shadowed: false,
        }
    }

    fn name(&self) -> &CStr {
        c"kalamdb.versions"
    }
}

pub(super) struct VersionFilter {
    horizon: u64,
    /// The compaction reads every file.
    everything: bool,
    /// The key of the last version seen.
    key: Vec<u8>,
    /// A version of `key` at or below the horizon has been seen.
    shadowed: bool,
}

impl CompactionFilter for VersionFilter {
    fn filter(&mut self, _level: u32, stored: &[u8], row: &[u8]) -> CompactionDecision {
        let Some((key, seq)) = keys::split(stored) else { return CompactionDecision::Keep };
        if key != self.key {
            self.key.clear();
            self.key.extend_from_slice(key);
            self.shadowed = false;
        }
        if self.shadowed {
            return CompactionDecision::Remove;
        }
        if seq <= self.horizon {
            self.shadowed = true;
            if row.is_empty() && self.everything {
                return CompactionDecision::Remove;
            }
        }
        CompactionDecision::Keep
    }

    fn name(&self) -> &CStr {
        c"kalamdb.versions"
    }
}
