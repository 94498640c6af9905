//! A large commit as finished files instead of entries of the log and the memory tables.
//!
//! The rows of one commit, sorted by key, and their changes are written as files and handed to RocksDB, one column family
//! after the other; the batch that ends the commit comes last. Until then the rows carry a sequence number that no
//! snapshot has reached, so nobody sees them. A crash in between would leave rows behind whose number a later commit
//! takes: therefore the number is noted first (`pending_run`), taken back by the batch, and what a note is left for is
//! removed when the directory is opened.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use kalamdb_catalog::{Oid, Result, SqlError, SqlState, StorageId};
use rocksdb::{ColumnFamily, IngestExternalFileOptions, Options, SstFileWriter, WriteBatch};

use super::bulk::TemporaryFile;
use super::change_log;
use super::open::BULK_DIR;
use super::store::{Batch, Storage};
use super::{error, keys};

const META_PENDING: &str = "pending_run";

/// Bytes of rows after which the next file begins.
const FILE_BYTES: usize = 64 << 20;

/// Deletions in one batch when a run is taken back; the note goes with the last one, so that a crash begins anew.
const DELETIONS_MAX: usize = 100_000;

/// Inserted rows in key order, of one table.
pub(crate) trait SortedRows: Sync {
    fn table(&self) -> Oid;
    fn rows(&self) -> Box<dyn Iterator<Item = (&[u8], &[u8])> + '_>;
}

impl Storage {
    /// Writes the rows of commit `seq` and its changes; gives the bytes of the change log. The batch that publishes the
    /// commit must hold [`Batch::end_run`]. After an error nothing of it is there, or the storage refuses writes.
    pub(crate) fn write_run(&self, rows: &impl SortedRows, seq: u64) -> Result<usize> {
        self.check_writable()?;
        let Some((first, _)) = rows.rows().next() else { return Ok(0) };
        let id = first.first_chunk::<{ keys::STORAGE_LEN }>().copied().unwrap_or_default();
        let mut note = seq.to_be_bytes().to_vec();
        note.extend_from_slice(&id);
        let mut batch = Batch::default();
        batch.put_meta(self, META_PENDING, &note);
        self.write(batch, true)?;

        let (data, log) = std::thread::scope(|threads| {
            let builder = std::thread::Builder::new().name("change log".to_owned());
            match builder.spawn_scoped(threads, || self.change_files(rows, seq)) {
                Ok(log) => {
                    let data = self.data_files(rows, seq);
                    (data, log.join().unwrap_or_else(|_| Err(SqlError::internal("writing the change log met a bug"))))
                }
                // No thread to be had: one after the other.
                Err(_) => (self.data_files(rows, seq), self.change_files(rows, seq)),
            }
        });
        // Files that could not be made harm nothing: the commit fails and the server goes on.
        let (data, (log, log_bytes)) = match (data, log) {
            (Ok(data), Ok(log)) => (data, log),
            (Err(error), _) | (_, Err(error)) => {
                let mut batch = Batch::default();
                batch.end_run(self);
                self.write(batch, false)?;
                return Err(error);
            }
        };
        self.take_in(self.data(), data)?;
        self.take_in(self.changelog(), log)?;
        Ok(log_bytes)
    }

    fn data_files(&self, rows: &impl SortedRows, seq: u64) -> Result<Vec<TemporaryFile>> {
        let mut files = Files::new(self, self.data_options());
        let mut stored = Vec::new();
        for (key, row) in rows.rows() {
            stored.clear();
            stored.extend_from_slice(key);
            keys::push_seq(&mut stored, seq);
            files.put(&stored, row)?;
        }
        files.finish()
    }

    fn change_files(&self, rows: &impl SortedRows, seq: u64) -> Result<(Vec<TemporaryFile>, usize)> {
        let options = self.changelog_options();
        let mut files = Files::new(self, &options);
        let mut value = Vec::new();
        let mut bytes = 0;
        for (index, (key, row)) in rows.rows().enumerate() {
            change_log::encode(&mut value, rows.table(), key, None, Some(row));
            let name = change_log::name(seq, index as u32);
            bytes += name.len() + value.len();
            files.put(&name, &value)?;
        }
        Ok((files.finish()?, bytes))
    }

    fn take_in(&self, family: &ColumnFamily, files: Vec<TemporaryFile>) -> Result<()> {
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        let paths: Vec<PathBuf> = files.iter().map(|f| f.0.clone()).collect();
        self.ingest(family, &options, paths)
    }

    /// Removes what a run left whose commit did not come to its end. Before anything reads.
    pub(super) fn drop_pending_run(&self) -> Result<()> {
        let Some(note) = self.meta_get(META_PENDING)? else { return Ok(()) };
        let damaged = || SqlError::new(SqlState::DATA_CORRUPTED, "meta entry \"pending_run\" cannot be read");
        let (seq, id) = note.split_first_chunk::<8>().ok_or_else(damaged)?;
        let (seq, id) = (u64::from_be_bytes(*seq), StorageId::from_be_bytes(id.try_into().map_err(|_| damaged())?));
        let mut batch = WriteBatch::default();
        if seq > self.last_seq()? {
            let (start, end) = keys::storage_range(id);
            let mut iter = self.raw_iter(&start, &end);
            iter.seek_to_first();
            while let Some(stored) = iter.key() {
                if keys::split(stored).is_some_and(|(_, at)| at == seq) {
                    batch.delete_cf(self.data(), stored);
                }
                if batch.len() >= DELETIONS_MAX {
                    self.write(Batch::of(std::mem::take(&mut batch)), false)?;
                }
                iter.next();
            }
            iter.status().map_err(|e| error::convert(&e))?;
            batch.delete_range_cf(self.changelog(), change_log::name(seq, 0), change_log::name(seq + 1, 0));
        }
        batch.delete_cf(self.meta(), META_PENDING);
        self.write(Batch::of(batch), true)
    }
}

impl Batch {
    /// The run of this commit is complete.
    pub(crate) fn end_run(&mut self, storage: &Storage) {
        self.inner.delete_cf(storage.meta(), META_PENDING);
    }
}

/// Sorted entries as files of about [`FILE_BYTES`].
struct Files<'a> {
    storage: &'a Storage,
    options: &'a Options,
    writer: Option<SstFileWriter<'a>>,
    done: Vec<TemporaryFile>,
    bytes: usize,
}

impl<'a> Files<'a> {
    fn new(storage: &'a Storage, options: &'a Options) -> Self {
        Files { storage, options, writer: None, done: Vec::new(), bytes: 0 }
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if self.bytes >= FILE_BYTES {
            self.close()?;
        }
        if self.writer.is_none() {
            let directory = self.storage.path().join(BULK_DIR);
            std::fs::create_dir_all(&directory).map_err(|e| error::io("create directory", &directory, &e))?;
            let number = self.storage.bulk_files.fetch_add(1, Ordering::Relaxed);
            let file = TemporaryFile(directory.join(format!("{number}.sst")));
            let writer = SstFileWriter::create(self.options);
            writer.open(&file.0).map_err(|e| error::convert(&e))?;
            self.done.push(file);
            self.writer = Some(writer);
        }
        if let Some(writer) = &mut self.writer {
            writer.put(key, value).map_err(|e| error::convert(&e))?;
        }
        self.bytes += key.len() + value.len();
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.bytes = 0;
        self.writer.take().map_or(Ok(()), |mut writer| writer.finish().map_err(|e| error::convert(&e)))
    }

    fn finish(mut self) -> Result<Vec<TemporaryFile>> {
        self.close()?;
        Ok(std::mem::take(&mut self.done))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::{StorageOptions, keys::row_id_key};

    struct Rows(Vec<(Vec<u8>, Vec<u8>)>);

    impl SortedRows for Rows {
        fn table(&self) -> Oid {
            7
        }
        fn rows(&self) -> Box<dyn Iterator<Item = (&[u8], &[u8])> + '_> {
            Box::new(self.0.iter().map(|(k, v)| (k.as_slice(), v.as_slice())))
        }
    }

    fn rows() -> Rows {
        Rows((1..=300u64).map(|i| (row_id_key(9, i), vec![1, 0, i as u8])).collect())
    }

    #[test]
    fn a_run_without_its_end_is_gone_after_a_restart() {
        let dir = std::env::temp_dir().join(format!("kalamdb-run-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        {
            let storage = Storage::open(&dir, StorageOptions::default()).unwrap();
            let mut batch = Batch::default();
            batch.put_row(&storage, &row_id_key(9, 5), 1, &[1, 0, 99]);
            batch.put_last_seq(&storage, 1);
            storage.write(batch, true).unwrap();
            // As if the process had been killed between the files and the batch.
            storage.write_run(&rows(), 2).unwrap();
            assert_eq!(storage.versions_for_test().len(), 301);
        }
        {
            let storage = Arc::new(Storage::open(&dir, StorageOptions::default()).unwrap());
            assert_eq!(storage.versions_for_test(), [(row_id_key(9, 5), 1, vec![1, 0, 99])]);
            assert_eq!(storage.changes(0, 9).count(), 0);
            // The number is free for the commit that takes it.
            let bytes = storage.write_run(&rows(), 2).unwrap();
            assert!(bytes > 300 * 12);
            let mut batch = Batch::default();
            batch.put_last_seq(&storage, 2);
            batch.end_run(&storage);
            storage.write(batch, true).unwrap();
        }
        let storage = Arc::new(Storage::open(&dir, StorageOptions::default()).unwrap());
        assert_eq!(storage.versions_for_test().len(), 301);
        assert_eq!(storage.changes(1, 9).map(|c| c.unwrap().index).collect::<Vec<_>>(), (0..300).collect::<Vec<_>>());
        drop(storage);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
