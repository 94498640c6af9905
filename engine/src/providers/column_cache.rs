//! Columns of whole tables as the last scan decoded them, for the next scan of a table that nobody has written to since.
//!
//! Stored rows are good for reading and writing one; a query over all of them spends most of its time on taking them
//! apart. An entry holds the columns of one state of a table. It stands for every snapshot from the table's last write
//! on, and is gone with the next write: a reader whose transaction has written anything does not look here at all.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::arrow::array::{Array, ArrayRef};
use kalamdb_catalog::StorageId;
use parking_lot::Mutex;

/// Which rows, as which version of the table's definition.
pub(crate) type TableState = (StorageId, u16);

/// Bounded: the entry used least recently goes first, and a scan that would take more than three quarters is not kept.
#[derive(Debug)]
pub struct ColumnCache {
    bytes_max: usize,
    /// Bytes of scans under way.
    collecting: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Default, Debug)]
struct Inner {
    entries: HashMap<TableState, Entry>,
    bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    /// The snapshot it was read at.
    seq: u64,
    /// Rows of each chunk.
    rows: Vec<usize>,
    columns: HashMap<usize, Vec<ArrayRef>>,
    bytes: usize,
    used: u64,
}

/// Chunks of rows: how many, and the wanted columns of each.
pub(crate) type Chunks = Vec<(usize, Vec<ArrayRef>)>;

impl ColumnCache {
    pub fn new(bytes_max: usize) -> ColumnCache {
        ColumnCache { bytes_max, collecting: AtomicUsize::new(0), inner: Mutex::default() }
    }

    /// The columns for a reader at `snapshot` of a table last written at `last_write`, if all of them are here.
    ///
    /// `last_write` is asked for under the lock: an entry of a later state is there only after its commit was noted.
    pub(crate) fn get(
        &self,
        state: TableState,
        columns: &[usize],
        snapshot: u64,
        last_write: impl FnOnce() -> u64,
    ) -> Option<Chunks> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let last_write = last_write();
        inner.clock += 1;
        let entry = inner.entries.get_mut(&state)?;
        if last_write > entry.seq {
            inner.bytes -= entry.bytes;
            inner.entries.remove(&state);
            return None;
        }
        if last_write > snapshot {
            return None;
        }
        entry.used = inner.clock;
        let wanted: Vec<&Vec<ArrayRef>> = columns.iter().map(|c| entry.columns.get(c)).collect::<Option<_>>()?;
        let chunk = |(i, rows): (usize, &usize)| (*rows, wanted.iter().map(|c| Arc::clone(&c[i])).collect());
        Some(entry.rows.iter().enumerate().map(chunk).collect())
    }

    /// Keeps what a scan at `snapshot` has decoded; `last_write` as for [`ColumnCache::get`].
    pub(crate) fn put(
        &self,
        state: TableState,
        snapshot: u64,
        last_write: impl FnOnce() -> u64,
        mut scanned: Collected,
    ) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let last_write = last_write();
        if last_write > snapshot {
            return;
        }
        let rows = std::mem::take(&mut scanned.rows);
        let columns = std::mem::take(&mut scanned.columns);
        inner.clock += 1;
        let entry = inner.entries.entry(state).or_insert_with(|| Entry {
            seq: snapshot,
            rows: rows.clone(),
            columns: HashMap::new(),
            bytes: 0,
            used: 0,
        });
        if last_write > entry.seq || entry.rows != rows {
            inner.bytes -= entry.bytes;
            *entry = Entry { seq: snapshot, rows, columns: HashMap::new(), bytes: 0, used: 0 };
        }
        entry.used = inner.clock;
        entry.columns.extend(columns);
        inner.bytes -= entry.bytes;
        let arrays: usize = entry.columns.values().flatten().map(|a| a.get_array_memory_size()).sum();
        entry.bytes = arrays + size_of::<Entry>() + entry.rows.len() * size_of::<usize>();
        inner.bytes += entry.bytes;
        while inner.bytes > self.bytes_max {
            let oldest = inner.entries.iter().min_by_key(|(_, e)| e.used).map(|(state, _)| *state);
            let Some(gone) = oldest.and_then(|state| inner.entries.remove(&state)) else { break };
            inner.bytes -= gone.bytes;
        }
    }

    /// Collects a scan of these columns; None if nothing is kept. What all scans under way collect is bounded by three
    /// quarters of the cache: one that would exceed it is given up.
    pub(crate) fn collect(self: &Arc<Self>, columns: &[usize]) -> Option<Collected> {
        let columns = columns.iter().map(|c| (*c, Vec::new())).collect();
        (self.bytes_max > 0).then(|| Collected { rows: Vec::new(), columns, bytes: 0, cache: Arc::clone(self) })
    }
}

/// What a scan under way has decoded.
pub(crate) struct Collected {
    rows: Vec<usize>,
    columns: Vec<(usize, Vec<ArrayRef>)>,
    bytes: usize,
    cache: Arc<ColumnCache>,
}

impl Collected {
    /// Adds a chunk; false if it has become too much.
    pub(crate) fn push(&mut self, rows: usize, arrays: &[ArrayRef]) -> bool {
        self.rows.push(rows);
        let mut bytes = size_of::<usize>();
        for ((_, chunks), array) in self.columns.iter_mut().zip(arrays) {
            bytes += array.get_array_memory_size();
            chunks.push(Arc::clone(array));
        }
        self.bytes += bytes;
        self.cache.collecting.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.cache.bytes_max / 4 * 3
    }
}

impl Drop for Collected {
    fn drop(&mut self) {
        self.cache.collecting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::Int32Array;

    use super::*;

    const T: TableState = (20, 1);

    fn scanned(cache: &Arc<ColumnCache>, columns: &[usize], rows: i32) -> Collected {
        let mut collected = cache.collect(columns).unwrap();
        let array: ArrayRef = Arc::new(Int32Array::from_iter_values(0..rows));
        assert!(collected.push(rows as usize, &vec![array; columns.len()]));
        collected
    }

    #[test]
    fn an_entry_stands_from_the_last_write_to_the_next() {
        let cache = Arc::new(ColumnCache::new(1 << 20));
        cache.put(T, 10, || 7, scanned(&cache, &[0], 100));
        assert_eq!(cache.get(T, &[0], 10, || 7).unwrap()[0].0, 100);
        assert!(cache.get(T, &[0], 8, || 7).is_some(), "an older snapshot that sees the same");
        assert!(cache.get(T, &[0], 12, || 7).is_some(), "a newer one");
        assert!(cache.get(T, &[0], 6, || 7).is_none(), "one before the last write");
        assert!(cache.get(T, &[1], 10, || 7).is_none(), "a column that no scan has read");
        assert!(cache.get((20, 2), &[0], 10, || 7).is_none(), "another definition");
        cache.put(T, 11, || 7, scanned(&cache, &[1], 100));
        assert!(cache.get(T, &[1, 0], 11, || 7).is_some());
        assert!(cache.get(T, &[0], 12, || 12).is_none(), "written since");
        assert!(cache.get(T, &[0], 12, || 7).is_none(), "and gone");
    }

    #[test]
    fn what_was_written_while_it_was_read_is_not_kept() {
        let cache = Arc::new(ColumnCache::new(1 << 20));
        cache.put(T, 10, || 11, scanned(&cache, &[0], 100));
        assert!(cache.get(T, &[0], 11, || 11).is_none());
    }

    #[test]
    fn the_least_used_goes_first() {
        let cache = Arc::new(ColumnCache::new(10_000));
        for id in 1..=3 {
            cache.put((id, 1), 10, || 1, scanned(&cache, &[0], 1_000));
            cache.get((1, 1), &[0], 10, || 1);
        }
        assert!(cache.get((1, 1), &[0], 10, || 1).is_some());
        assert!(cache.get((2, 1), &[0], 10, || 1).is_none());
        assert_eq!(cache.collecting.load(Ordering::Relaxed), 0);
        let mut large = cache.collect(&[0]).unwrap();
        let array: ArrayRef = Arc::new(Int32Array::from_iter_values(0..2_000));
        assert!(!large.push(2_000, &[array]));
    }
}
