//! Room in RocksDB's log, made before it is needed.
//!
//! Syncing a file that grows, or that is written where it has never been written before, makes the file system write records
//! of its own: a commit takes up to twice the time. Therefore zeros are written ahead of RocksDB, as PostgreSQL does with its
//! own log (`wal_init_zero`). RocksDB writes at its own offset, and finds no records in zeros when it reads the log. In time its
//! logs are old ones written over (`recycle_log_file_num`), which need nothing.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};

/// Zeros written at once: who commits waits for no more than these.
const PIECE: usize = 1 << 20;
static ZEROS: [u8; PIECE] = [0; PIECE];
/// The room is as large as what is in the log, between these. A server that does little needs little.
const ROOM_MIN: u64 = PIECE as u64;
const ROOM_MAX: u64 = 16 << 20;
/// What the log takes for a batch besides its bytes, roughly.
const BATCH_OVERHEAD: u64 = 16;

pub(super) struct LogRoom {
    /// Where the logs are.
    directory: PathBuf,
    /// Bytes that a log comes to, roughly.
    log_bytes: u64,
    /// Held together by all who write to the log, or alone by who makes room.
    writers: RwLock<()>,
    /// Bytes written since the directory was opened, roughly.
    written: AtomicU64,
    newest: Mutex<Newest>,
}

/// The log that is being written.
#[derive(Default)]
struct Newest {
    /// Its file's.
    number: u64,
    /// `written` when it was begun, or before.
    begun: u64,
    /// `written` when it was last looked at.
    seen: u64,
}

impl LogRoom {
    pub(super) fn new(directory: PathBuf, log_bytes: usize) -> LogRoom {
        LogRoom {
            directory,
            log_bytes: log_bytes as u64,
            writers: RwLock::default(),
            written: AtomicU64::new(0),
            newest: Mutex::default(),
        }
    }

    /// To be held while RocksDB may write `bytes` to its log, or begin another one.
    pub(super) fn writing(&self, bytes: usize) -> RwLockReadGuard<'_, ()> {
        self.written.fetch_add(bytes as u64 + BATCH_OVERHEAD, Ordering::Relaxed);
        self.writers.read()
    }

    /// Looks at what has been written lately, and makes room for as much again.
    pub(super) fn make(&self) -> io::Result<()> {
        let mut newest = self.newest.lock();
        let written = self.written.load(Ordering::Relaxed);
        if newest.number != 0 && newest.seen == written {
            return Ok(());
        }
        let number = self.newest_log()?;
        if newest.number != number {
            *newest = Newest { number, begun: newest.seen, seen: newest.seen };
        }
        newest.seen = written;
        let position = written - newest.begun;
        let room = position.clamp(ROOM_MIN, ROOM_MAX);
        self.extend(number, (position + room).min(self.log_bytes))
    }

    /// Writes zeros at the end of a log until it has this size.
    fn extend(&self, number: u64, size: u64) -> io::Result<()> {
        let log = File::options().write(true).open(self.directory.join(format!("{number:06}.log")))?;
        loop {
            {
                let _nobody = self.writers.write();
                // With nobody writing, all that RocksDB has written lies before the end of the file.
                let end = log.metadata()?.len();
                if end >= size || self.newest_log()? != number {
                    return Ok(());
                }
                let piece = usize::try_from(size - end).map_or(PIECE, |left| left.min(PIECE));
                log.write_all_at(&ZEROS[..piece], end)?;
            }
            log.sync_data()?;
        }
    }

    /// The number of the log that was begun last; 0 if there is none.
    fn newest_log(&self) -> io::Result<u64> {
        let mut newest = 0;
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|n| n.strip_suffix(".log")).and_then(|n| n.parse().ok());
            newest = newest.max(number.unwrap_or(0));
        }
        Ok(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::txn::tests::TempDir;

    #[test]
    fn room_follows_what_is_written_and_what_is_there_stays() {
        let directory = TempDir::new("log room");
        fs::create_dir_all(&directory.0).unwrap();
        let log = |number: u64| directory.0.join(format!("{number:06}.log"));
        let size = |number| fs::metadata(log(number)).unwrap().len();
        fs::write(log(4), "old").unwrap();
        fs::write(log(7), "begun").unwrap();
        let room = LogRoom::new(directory.0.clone(), 8 << 20);
        drop(room.writing(5));
        room.make().unwrap();
        assert_eq!((size(4), size(7)), (3, ROOM_MIN + 5 + BATCH_OVERHEAD));
        assert!(fs::read(log(7)).unwrap().starts_with(b"begun\0"));
        // Nothing has been written since.
        fs::write(log(7), "begun").unwrap();
        room.make().unwrap();
        assert_eq!(size(7), 5);
        // As much again as there is, up to a log's size.
        drop(room.writing(3 << 20));
        room.make().unwrap();
        assert_eq!(size(7), 2 * ((3 << 20) + 5 + 2 * BATCH_OVERHEAD));
        drop(room.writing(3 << 20));
        room.make().unwrap();
        assert_eq!(size(7), 8 << 20);
        // A new log.
        fs::write(log(9), "next").unwrap();
        drop(room.writing(100));
        room.make().unwrap();
        assert_eq!((size(7), size(9)), (8 << 20, ROOM_MIN + 100 + BATCH_OVERHEAD));
    }
}
