//! Rows of a storage that no committed catalog names yet, written past the log.
//!
//! CREATE TABLE AS, ADD PRIMARY KEY, TRUNCATE and COPY in one transaction, ALTER TYPE: they all fill a fresh storage id.
//! Nobody can see these rows before the commit that puts the id into the catalog, so they need no place in the
//! transaction's write set and no change log. They are sorted in chunks and handed to RocksDB as finished files, which
//! are on disk before the commit is. A crash or a rollback leaves a storage that nothing refers to; it is removed at
//! the next start (`Storage::drop_unreferenced`) or by the transaction.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kalamdb_catalog::{Result, StorageId};
use rocksdb::{IngestExternalFileOptions, SstFileWriter};

use super::open::BULK_DIR;
use super::store::{Batch, Storage};
use super::{error, keys};

/// Bytes collected before they are sorted and written as one file.
const CHUNK_BYTES: usize = 64 << 20;
/// Up to this many bytes in all go through the log instead: a file costs several syncs.
const SMALL_BYTES: usize = 1 << 20;

/// How a bulk write ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BulkOutcome {
    /// The number of rows written.
    Done(u64),
    /// Two rows have the same key; one of them, as stored. Nothing may be committed that refers to this storage.
    Duplicate(Vec<u8>),
}

/// Writes the rows of one storage. Dropped without [`BulkWriter::finish`] it leaves rows for `drop_storage`.
pub struct BulkWriter {
    storage: Arc<Storage>,
    id: StorageId,
    seq: u64,
    /// Keys and rows, one after the other.
    arena: Vec<u8>,
    entries: Vec<Entry>,
    sorted: bool,
    /// First and last key of each file so far.
    files: Vec<(Vec<u8>, Vec<u8>)>,
    duplicate: Option<Vec<u8>>,
    rows: u64,
    /// [`CHUNK_BYTES`], or less in tests.
    pub(super) chunk_bytes: usize,
}

#[derive(Clone, Copy)]
struct Entry {
    start: usize,
    key_len: u32,
    row_len: u32,
}

impl Entry {
    fn key(self, arena: &[u8]) -> &[u8] {
        &arena[self.start..self.start + self.key_len as usize]
    }

    fn row(self, arena: &[u8]) -> &[u8] {
        let start = self.start + self.key_len as usize;
        &arena[start..start + self.row_len as usize]
    }
}

impl BulkWriter {
    /// `seq` is the sequence number the rows carry: the transaction's snapshot, so that it sees them itself.
    pub fn new(storage: Arc<Storage>, id: StorageId, seq: u64) -> BulkWriter {
        BulkWriter {
            storage,
            id,
            seq,
            arena: Vec::new(),
            entries: Vec::new(),
            sorted: true,
            files: Vec::new(),
            duplicate: None,
            rows: 0,
            chunk_bytes: CHUNK_BYTES,
        }
    }

    /// Adds a row. Keys may come in any order; ascending is fastest.
    pub fn put(&mut self, key: &[u8], row: &[u8]) -> Result<()> {
        debug_assert!(key.starts_with(&self.id.to_be_bytes()), "key of another storage");
        if self.duplicate.is_some() {
            return Ok(());
        }
        if let Some(last) = self.entries.last() {
            self.sorted &= last.key(&self.arena) < key;
        }
        self.entries.push(Entry { start: self.arena.len(), key_len: key.len() as u32, row_len: row.len() as u32 });
        self.arena.extend_from_slice(key);
        self.arena.extend_from_slice(row);
        self.rows += 1;
        if self.arena.len() >= self.chunk_bytes {
            self.write_chunk()?;
        }
        Ok(())
    }

    /// Writes what is left and makes everything durable.
    pub fn finish(mut self) -> Result<BulkOutcome> {
        if self.files.is_empty() && self.arena.len() <= SMALL_BYTES {
            self.sort();
            if self.duplicate.is_none() {
                let mut batch = Batch::default();
                for entry in &self.entries {
                    batch.put_row(&self.storage, entry.key(&self.arena), self.seq, entry.row(&self.arena));
                }
                // The commit's own sync comes later in the same log.
                self.storage.write(batch, false)?;
            }
        } else {
            self.write_chunk()?;
        }
        Ok(match self.duplicate {
            Some(row) => BulkOutcome::Duplicate(row),
            None => BulkOutcome::Done(self.rows),
        })
    }

    /// Sorts the chunk and looks for equal keys in it.
    fn sort(&mut self) {
        let arena = &self.arena;
        if !self.sorted {
            self.entries.sort_by(|a, b| a.key(arena).cmp(b.key(arena)));
        }
        let equal = self.entries.windows(2).find(|w| w[0].key(arena) == w[1].key(arena));
        self.duplicate = equal.map(|w| w[1].row(arena).to_vec());
    }

    fn write_chunk(&mut self) -> Result<()> {
        self.storage.check_writable()?;
        self.sort();
        if self.duplicate.is_none() {
            self.duplicate = self.find_written()?;
        }
        if let (None, Some(first), Some(last)) = (&self.duplicate, self.entries.first(), self.entries.last()) {
            let range = (first.key(&self.arena).to_vec(), last.key(&self.arena).to_vec());
            self.ingest()?;
            self.files.push(range);
        }
        self.entries.clear();
        self.arena.clear();
        self.sorted = true;
        Ok(())
    }

    /// A row of this chunk whose key is in an earlier file: both are sorted, so one pass over both finds it.
    fn find_written(&self) -> Result<Option<Vec<u8>>> {
        let (Some(first), Some(last)) = (self.entries.first(), self.entries.last()) else { return Ok(None) };
        let (first, last) = (first.key(&self.arena), last.key(&self.arena));
        if !self.files.iter().any(|(a, b)| &**a <= last && first <= &**b) {
            return Ok(None);
        }
        let mut iter = self.storage.raw_iter(first, &keys::after(last));
        iter.seek_to_first();
        let mut entries = self.entries.iter().peekable();
        while let (Some((key, _)), Some(entry)) = (iter.key().and_then(keys::split), entries.peek()) {
            match key.cmp(entry.key(&self.arena)) {
                std::cmp::Ordering::Less => iter.next(),
                std::cmp::Ordering::Greater => {
                    entries.next();
                }
                std::cmp::Ordering::Equal => return Ok(Some(entry.row(&self.arena).to_vec())),
            }
        }
        iter.status().map_err(|e| error::convert(&e))?;
        Ok(None)
    }

    /// Writes the sorted chunk as a file and adds it to the database.
    fn ingest(&self) -> Result<()> {
        let directory = self.storage.path().join(BULK_DIR);
        std::fs::create_dir_all(&directory).map_err(|e| error::io("create directory", &directory, &e))?;
        let number = self.storage.bulk_files.fetch_add(1, Ordering::Relaxed);
        let file = TemporaryFile(directory.join(format!("{number}.sst")));
        let write = || {
            let mut writer = SstFileWriter::create(self.storage.data_options());
            writer.open(&file.0)?;
            let mut key = Vec::new();
            for entry in &self.entries {
                key.clear();
                key.extend_from_slice(entry.key(&self.arena));
                keys::push_seq(&mut key, self.seq);
                writer.put(&key, entry.row(&self.arena))?;
            }
            writer.finish()
        };
        // A file that cannot be made harms nothing: the statement fails and the server goes on.
        write().map_err(|e| error::convert(&e))?;
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        let paths = vec![file.0.clone()];
        self.storage.ingest(self.storage.data(), &options, paths)
    }
}

/// Removed when dropped, unless ingestion has moved it away.
pub(super) struct TemporaryFile(pub(super) PathBuf);

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
