//! Ids of rows in tables without a primary key. Never given twice.
//!
//! One counter for all tables. Ids are set aside in blocks: the end of the block is on disk before an id of it is used,
//! so after a crash the counter starts behind every id that may have been used.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kalamdb_catalog::Result;
use parking_lot::Mutex;

use crate::storage::{Batch, Storage};

const META_ROW_IDS: &str = "row_id_high";
const BLOCK: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct RowIds {
    storage: Arc<Storage>,
    next: AtomicU64,
    /// Ids below this are set aside.
    high: AtomicU64,
    extending: Mutex<()>,
}

impl RowIds {
    pub(super) fn open(storage: Arc<Storage>) -> Result<RowIds> {
        let high = storage.meta_u64(META_ROW_IDS)?.unwrap_or(1);
        Ok(RowIds { storage, next: AtomicU64::new(high), high: AtomicU64::new(high), extending: Mutex::new(()) })
    }

    /// The first of `count` consecutive ids.
    pub(super) fn take(&self, count: u64) -> Result<u64> {
        let first = self.next.fetch_add(count, Ordering::Relaxed);
        let end = first + count;
        if end > self.high.load(Ordering::Acquire) {
            self.extend(end)?;
        }
        Ok(first)
    }

    fn extend(&self, end: u64) -> Result<()> {
        let _one_at_a_time = self.extending.lock();
        if end <= self.high.load(Ordering::Acquire) {
            return Ok(());
        }
        let high = end + BLOCK;
        let mut batch = Batch::default();
        batch.put_meta(&self.storage, META_ROW_IDS, &high.to_be_bytes());
        // Synced: a bulk write may put rows on disk past the log.
        self.storage.write(batch, true)?;
        self.high.store(high, Ordering::Release);
        Ok(())
    }
}
