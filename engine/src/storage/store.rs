//! [`Storage`]: the handle on the data directory.
//!
//! Invariants: a version, once written, never changes; `last_seq` in meta is written in the batch of the commit it
//! names; after a failed write nothing is written until the server starts again, because what of the failed write is
//! on disk is unknown.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use kalamdb_catalog::{Result, SqlError, SqlState, StorageId};
use rocksdb::{ColumnFamily, DBRawIteratorWithThreadMode, DBWithThreadMode, Options, ReadOptions, SingleThreaded};
use rocksdb::{IngestExternalFileOptions, WriteBatch, WriteOptions};

use super::gaps::Gaps;
use super::iter::RowIter;
use super::lent::{IdleIters, LastingIter, Lent};
use super::log_room::LogRoom;
use super::open::{self, CF_CHANGELOG, CF_DATA, CF_META, DB_DIR, FORMAT_VERSION};
use super::{error, gaps, keys};

pub(super) type Db = DBWithThreadMode<SingleThreaded>;

const META_FORMAT: &str = "format_version";
pub(super) const META_LAST_SEQ: &str = "last_commit_seq";

/// Sizes of RocksDB's parts.
#[derive(Clone, Debug)]
pub struct StorageOptions {
    /// Decompressed blocks, filters and indexes kept in memory.
    pub block_cache_bytes: usize,
    /// A memtable's size before it is written to a file.
    pub write_buffer_bytes: usize,
    /// Threads that flush and compact.
    pub background_jobs: i32,
    /// Files kept open; -1 for all.
    pub max_open_files: i32,
}

impl Default for StorageOptions {
    fn default() -> Self {
        StorageOptions {
            block_cache_bytes: 512 << 20,
            write_buffer_bytes: 64 << 20,
            background_jobs: 2,
            max_open_files: 1024,
        }
    }
}

/// The newest version of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Version {
    pub seq: u64,
    /// It is a mark of deletion.
    pub deleted: bool,
}

/// One data directory, open.
pub struct Storage {
    /// Both borrow from `db`: declared before it, so dropped before it.
    point_iters: IdleIters,
    range_iters: IdleIters,
    db: Db,
    data_options: Options,
    horizon: Arc<AtomicU64>,
    read_only: AtomicBool,
    fresh: bool,
    path: PathBuf,
    log_room: LogRoom,
    /// Numbers the files of bulk writes.
    pub(super) bulk_files: AtomicU64,
    gaps: Gaps,
    /// Dropped after `db`.
    _lock: File,
}

/// Writes that become durable together.
#[derive(Default)]
pub struct Batch {
    pub(super) inner: WriteBatch,
    key: Vec<u8>,
}

/// What the keys of sequences' states in the meta family begin with.
const SEQUENCE_META: &str = "sequence/";

/// The key of a sequence's state in the meta family.
pub(crate) fn sequence_meta(id: StorageId) -> String {
    format!("{SEQUENCE_META}{id}")
}

impl Storage {
    /// Opens the data directory, making it if it is not there. 55006 if another server has it open, 55000 if it is of
    /// another format version; in both cases nothing in it is changed.
    pub fn open(path: &Path, options: StorageOptions) -> Result<Storage> {
        let lock = open::lock(path)?;
        open::check_format(path)?;
        let horizon = Arc::new(AtomicU64::new(0));
        let (db, data_options) = open::open_db(path, &options, &horizon)?;
        let mut storage = Storage {
            db,
            data_options,
            horizon,
            point_iters: IdleIters::default(),
            range_iters: IdleIters::default(),
            read_only: AtomicBool::new(false),
            fresh: false,
            path: path.to_owned(),
            log_room: LogRoom::new(path.join(DB_DIR), options.write_buffer_bytes),
            bulk_files: AtomicU64::new(0),
            gaps: Gaps::default(),
            _lock: lock,
        };
        match storage.meta_get(META_FORMAT)? {
            Some(version) if version == FORMAT_VERSION.to_be_bytes() => {}
            Some(_) => {
                let message = format!("data directory \"{}\" is of another format version", path.display());
                return Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
            }
            None => {
                let mut batch = Batch::default();
                batch.put_meta(&storage, META_FORMAT, &FORMAT_VERSION.to_be_bytes());
                storage.write(batch, true)?;
            }
        }
        storage.drop_pending_run()?;
        storage.fresh = storage.last_seq()? == 0;
        storage.make_log_room();
        Ok(storage)
    }

    /// True if nothing has ever been committed here.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The sequence number below which no snapshot is or will be. Shared with the compaction filter.
    pub(crate) fn horizon(&self) -> &Arc<AtomicU64> {
        &self.horizon
    }

    /// The sequence number of the last commit on disk.
    pub fn last_seq(&self) -> Result<u64> {
        Ok(self.meta_u64(META_LAST_SEQ)?.unwrap_or(0))
    }

    pub(crate) fn meta_u64(&self, name: &str) -> Result<Option<u64>> {
        match self.meta_get(name)? {
            None => Ok(None),
            Some(bytes) => match bytes.as_slice().try_into() {
                Ok(bytes) => Ok(Some(u64::from_be_bytes(bytes))),
                Err(_) => {
                    Err(SqlError::new(SqlState::DATA_CORRUPTED, format!("meta entry \"{name}\" is not a number")))
                }
            },
        }
    }

    /// A value of the meta family; [`Batch::put_meta`] writes one.
    pub fn meta_get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.db.get_cf(self.meta(), name).map_err(|e| error::convert(&e))
    }

    /// The newest version of `key` at or before `snapshot`, unless that is a deletion: its sequence number and row.
    pub fn get(&self, key: &[u8], snapshot: u64) -> Result<Option<(u64, Bytes)>> {
        self.newest_at(key, snapshot, |seq, row| (!row.is_empty()).then(|| (seq, Bytes::copy_from_slice(row))))
            .map(Option::flatten)
    }

    /// The newest version of `key`, deletions included.
    pub fn newest(&self, key: &[u8]) -> Result<Option<Version>> {
        self.newest_at(key, u64::MAX, |seq, row| Version { seq, deleted: row.is_empty() })
    }

    /// Sequence number of the newest version of `key`, deletions included.
    pub fn newest_seq(&self, key: &[u8]) -> Result<Option<u64>> {
        Ok(self.newest(key)?.map(|v| v.seq))
    }

    fn newest_at<T>(&self, key: &[u8], snapshot: u64, found: impl FnOnce(u64, &[u8]) -> T) -> Result<Option<T>> {
        let mut target = Vec::with_capacity(key.len() + keys::SEQ_LEN);
        target.extend_from_slice(key);
        keys::push_seq(&mut target, snapshot);
        let mut iter = self.point_iters.take().unwrap_or_else(|| self.lasting(self.raw_point_iter()));
        iter.seek(&target);
        let found = match iter.item() {
            Some((stored, row)) => match keys::split(stored) {
                Some((found_key, seq)) if found_key == key => Some(found(seq, row)),
                _ => None,
            },
            None => None,
        };
        if found.is_none() {
            iter.status().map_err(|e| error::convert(&e))?;
        }
        self.point_iters.give_back(iter);
        Ok(found)
    }

    /// An iterator that stays in this storage.
    fn lasting(&self, iter: DBRawIteratorWithThreadMode<'_, Db>) -> LastingIter {
        // SAFETY: it borrows the database of this storage, and is used in its methods, kept in `point_iters` or `range_iters`, which
        // are dropped before the database, or lent together with an Arc of the storage that is dropped after it.
        unsafe { std::mem::transmute::<DBRawIteratorWithThreadMode<'_, Db>, LastingIter>(iter) }
    }

    /// An iterator over all data in order, for a few rows.
    pub(super) fn lend_iter(self: &Arc<Self>) -> Lent {
        let iter = self.range_iters.take().unwrap_or_else(|| {
            let mut options = ReadOptions::default();
            options.set_total_order_seek(true);
            self.lasting(self.db.raw_iterator_cf_opt(self.data(), options))
        });
        Lent::new(iter, Arc::clone(self))
    }

    pub(super) fn take_back(&self, iter: LastingIter) {
        self.range_iters.give_back(iter);
    }

    /// Lets go of what is kept for look-ups to come, with the files and memtables that it holds on to.
    pub(crate) fn forget_iterators(&self) {
        self.point_iters.forget();
        self.range_iters.forget();
    }

    /// The rows at `snapshot` with `start <= key < end` (keys without sequence numbers; see `keys` for bounds that
    /// leave a key out or take it in).
    pub fn scan(self: &Arc<Self>, start: Vec<u8>, end: Vec<u8>, snapshot: u64, reverse: bool) -> RowIter {
        RowIter::new(Arc::clone(self), start, end, snapshot, reverse)
    }

    /// The same, forward, for one who takes a few rows only. It begins behind what earlier scans have found to be empty.
    pub fn scan_few(self: &Arc<Self>, start: Vec<u8>, end: Vec<u8>, snapshot: u64) -> RowIter {
        let from = self.gaps.from(start, snapshot);
        let gap = (from.key.clone(), from.known);
        RowIter::few(Arc::clone(self), from.key, end, snapshot).noting_gap(gap)
    }

    /// The same, forward; it begins behind what earlier scans have found to be empty.
    pub fn scan_past_gaps(self: &Arc<Self>, start: Vec<u8>, end: Vec<u8>, snapshot: u64) -> RowIter {
        let from = self.gaps.from(start, snapshot);
        let gap = (from.key.clone(), from.known);
        RowIter::new(Arc::clone(self), from.key, end, snapshot, false).noting_gap(gap)
    }

    pub(crate) fn gaps(&self) -> &Gaps {
        &self.gaps
    }

    /// A raw iterator over the data family in total order.
    pub(super) fn raw_iter(&self, start: &[u8], end: &[u8]) -> DBRawIteratorWithThreadMode<'_, Db> {
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        options.set_iterate_lower_bound(start);
        options.set_iterate_upper_bound(end);
        self.db.raw_iterator_cf_opt(self.data(), options)
    }

    /// A raw iterator over the versions of one key: to be moved with `seek`, to a version of that key, and forward only.
    pub(super) fn raw_point_iter(&self) -> DBRawIteratorWithThreadMode<'_, Db> {
        let mut options = ReadOptions::default();
        // Reads no file whose filter does not know the key.
        options.set_prefix_same_as_start(true);
        self.db.raw_iterator_cf_opt(self.data(), options)
    }

    /// The greatest key of a storage, deleted ones included.
    pub(crate) fn last_key(&self, storage: StorageId) -> Result<Option<Vec<u8>>> {
        let (start, end) = keys::storage_range(storage);
        let mut iter = self.raw_iter(&start, &end);
        iter.seek_to_last();
        let last = iter.key().and_then(keys::split).map(|(key, _)| key.to_vec());
        iter.status().map_err(|e| error::convert(&e))?;
        Ok(last)
    }

    /// True if a storage has no version of any row.
    pub fn is_storage_empty(&self, storage: StorageId) -> Result<bool> {
        let (start, end) = keys::storage_range(storage);
        let mut iter = self.raw_iter(&start, &end);
        iter.seek_to_first();
        iter.status().map_err(|e| error::convert(&e))?;
        Ok(!iter.valid())
    }

    /// Writes a batch; with `sync` it is on disk when this returns. After a failure every further write is refused.
    pub fn write(&self, batch: Batch, sync: bool) -> Result<()> {
        self.check_writable()?;
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        let _writing = self.log_room.writing(batch.inner.size_in_bytes());
        self.guard(self.db.write_opt(batch.inner, &options))
    }

    /// Makes everything written so far durable.
    pub fn sync(&self) -> Result<()> {
        self.check_writable()?;
        self.guard(self.db.flush_wal(true))
    }

    /// Room in RocksDB's log for the next commits. Where it cannot be made, they are slower and nothing else.
    pub(crate) fn make_log_room(&self) {
        if let Err(error) = self.log_room.make() {
            tracing::debug!(%error, "could not make room in RocksDB's log");
        }
    }

    /// The error that every write gets after one has failed.
    pub fn check_writable(&self) -> Result<()> {
        if self.read_only.load(Ordering::Acquire) {
            return Err(SqlError::new(SqlState::IO_ERROR, "the server refuses writes until restart")
                .detail("An earlier write to the data directory failed.")
                .hint("See the server's log, then restart it."));
        }
        Ok(())
    }

    /// Turns an error of a write into ours and ends writing.
    pub(super) fn guard<T>(&self, result: Result<T, rocksdb::Error>) -> Result<T> {
        result.map_err(|e| {
            self.read_only.store(true, Ordering::Release);
            tracing::error!(error = %e, "write to the data directory failed; refusing writes until restart");
            error::convert(&e)
        })
    }

    /// Makes finished files part of a family.
    pub(super) fn ingest(
        &self,
        family: &ColumnFamily,
        options: &IngestExternalFileOptions,
        files: Vec<PathBuf>,
    ) -> Result<()> {
        // What is in memory may have to be written out before, which begins another log.
        let _writing = self.log_room.writing(0);
        self.guard(self.db.ingest_external_file_cf_opts(family, options, files))
    }

    /// Removes every row of a storage. Nobody may read it any more.
    pub fn drop_storage(&self, storage: StorageId) -> Result<()> {
        self.check_writable()?;
        if self.meta_get(&sequence_meta(storage))?.is_some() {
            let _writing = self.log_room.writing(0);
            self.guard(self.db.delete_cf(self.meta(), sequence_meta(storage)))?;
        }
        let (start, end) = keys::storage_range(storage);
        let _writing = self.log_room.writing(0);
        // Whole files first; the range deletion then covers what is left.
        self.guard(self.db.delete_file_in_range_cf(self.data(), &start, &end))?;
        if self.is_storage_empty(storage)? {
            return Ok(());
        }
        self.guard(self.db.delete_range_cf(self.data(), &start, &end))
    }

    /// Removes the storages that are not in `referenced`: bulk writes and rewrites whose commit never came, and drops
    /// that were not carried out before the end of the last run. Gives their ids.
    pub fn drop_unreferenced(&self, referenced: &HashSet<StorageId>) -> Result<Vec<StorageId>> {
        let mut dropped = Vec::new();
        let mut iter = self.raw_iter(&[], &[0xFF; keys::STORAGE_LEN + 1]);
        iter.seek_to_first();
        while let Some(head) = iter.key().and_then(|k| k.first_chunk::<{ keys::STORAGE_LEN }>()) {
            let storage = StorageId::from_be_bytes(*head);
            if !referenced.contains(&storage) {
                dropped.push(storage);
            }
            iter.seek(keys::storage_range(storage).1);
        }
        iter.status().map_err(|e| error::convert(&e))?;
        drop(iter);
        dropped.extend(self.sequences()?.into_iter().filter(|id| !referenced.contains(id)));
        for storage in &dropped {
            self.drop_storage(*storage)?;
        }
        Ok(dropped)
    }

    /// The ids of stored states of sequences.
    fn sequences(&self) -> Result<Vec<StorageId>> {
        let from = rocksdb::IteratorMode::From(SEQUENCE_META.as_bytes(), rocksdb::Direction::Forward);
        let mut ids = Vec::new();
        for entry in self.db.iterator_cf(self.meta(), from) {
            let (name, _) = entry.map_err(|e| error::convert(&e))?;
            let Some(id) = std::str::from_utf8(&name).ok().and_then(|n| n.strip_prefix(SEQUENCE_META)) else { break };
            ids.extend(id.parse::<StorageId>());
        }
        Ok(ids)
    }

    /// Physically removes keys whose newest version is a deletion at or below the horizon, with all their versions.
    /// Gives the keys that must wait.
    pub(crate) fn purge_deleted(&self, keys_deleted: Vec<(u64, Vec<u8>)>) -> Result<Vec<(u64, Vec<u8>)>> {
        let horizon = self.horizon.load(Ordering::Acquire);
        let mut batch = WriteBatch::default();
        let mut waiting = Vec::new();
        let mut storages: HashMap<StorageId, u32> = HashMap::new();
        for (seq, key) in keys_deleted {
            if seq > horizon {
                waiting.push((seq, key));
                continue;
            }
            if let Some(storage) = keys::storage_of(&key) {
                *storages.entry(storage).or_default() += 1;
            }
            let mut iter = self.raw_iter(&key, &keys::after(&key));
            let mut from = key.clone();
            keys::push_seq(&mut from, seq);
            iter.seek(&from);
            while let Some(stored) = iter.key() {
                batch.delete_cf(self.data(), stored);
                iter.next();
            }
            iter.status().map_err(|e| error::convert(&e))?;
        }
        if !batch.is_empty() {
            self.write(Batch::of(batch), false)?;
        }
        for (storage, _) in storages.into_iter().filter(|(_, keys)| *keys >= gaps::STEPPED_MIN) {
            self.gaps.expect(storage);
        }
        Ok(waiting)
    }

    /// Compacts the whole data family: drops every version that no snapshot can see.
    pub fn compact(&self) -> Result<()> {
        self.check_writable()?;
        let writing = self.log_room.writing(0);
        self.guard(self.db.flush_cf(self.data()))?;
        drop(writing);
        let mut options = rocksdb::CompactOptions::default();
        options.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::Force);
        self.db.compact_range_cf_opt(self.data(), None::<&[u8]>, None::<&[u8]>, &options);
        Ok(())
    }

    /// Bytes of live data on disk and in memory, roughly; for system.stats.
    pub fn approximate_bytes(&self, storage: StorageId) -> u64 {
        let (start, end) = keys::storage_range(storage);
        self.db
            .get_approximate_sizes_cf(self.data(), &[rocksdb::Range::new(&start, &end)])
            .first()
            .copied()
            .unwrap_or(0)
    }

    pub(super) fn db(&self) -> &Db {
        &self.db
    }

    pub(super) fn data_options(&self) -> &Options {
        &self.data_options
    }

    /// For files of the change log that are made for ingestion.
    pub(super) fn changelog_options(&self) -> Options {
        open::changelog_options()
    }

    pub(super) fn data(&self) -> &ColumnFamily {
        self.family(CF_DATA)
    }

    pub(super) fn meta(&self) -> &ColumnFamily {
        self.family(CF_META)
    }

    pub(super) fn changelog(&self) -> &ColumnFamily {
        self.family(CF_CHANGELOG)
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).unwrap_or_else(|| unreachable!("column family {name} is made at open"))
    }
}

impl Batch {
    pub(super) fn of(inner: WriteBatch) -> Batch {
        Batch { inner, key: Vec::new() }
    }

    /// Adds a version of a row; an empty `row` is its deletion.
    pub fn put_row(&mut self, storage: &Storage, key: &[u8], seq: u64, row: &[u8]) {
        self.key.clear();
        self.key.extend_from_slice(key);
        keys::push_seq(&mut self.key, seq);
        self.inner.put_cf(storage.data(), &self.key, row);
    }

    /// Sets a value of the meta family.
    pub fn put_meta(&mut self, storage: &Storage, name: &str, value: &[u8]) {
        self.inner.put_cf(storage.meta(), name, value);
    }

    /// Names the last commit of the batch.
    pub(crate) fn put_last_seq(&mut self, storage: &Storage, seq: u64) {
        self.put_meta(storage, META_LAST_SEQ, &seq.to_be_bytes());
    }

    /// Bytes so far.
    pub fn size(&self) -> usize {
        self.inner.size_in_bytes()
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
impl Storage {
    /// Every version: key, sequence number, row.
    pub(crate) fn versions_for_test(&self) -> Vec<(Vec<u8>, u64, Vec<u8>)> {
        let mut found = Vec::new();
        let mut iter = self.raw_iter(&[], &[0xFF; 16]);
        iter.seek_to_first();
        while let Some((stored, row)) = iter.item() {
            if let Some((key, seq)) = keys::split(stored) {
                found.push((key.to_vec(), seq, row.to_vec()));
            }
            iter.next();
        }
        found
    }
}
