//! Opening a data directory: the lock, the format version, RocksDB's options.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use kalamdb_catalog::{Result, SqlError, SqlState};
use rocksdb::{BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, LogLevel, Options, SliceTransform};

use super::error;
use super::gc::VersionFilterFactory;
use super::keys;
use super::store::{Db, StorageOptions};

/// What this build writes and reads. Another number means another format, and is refused.
pub(super) const FORMAT_VERSION: u32 = 1;

const LOCK_FILE: &str = "kalamdb.lock";
const FORMAT_FILE: &str = "FORMAT_VERSION";
pub(super) const DB_DIR: &str = "rocksdb";
/// Where bulk writes build their files: the same file system, so that ingestion is a rename.
pub(super) const BULK_DIR: &str = "bulk";

pub(super) const CF_DATA: &str = "data";
pub(super) const CF_META: &str = "meta";
pub(super) const CF_CHANGELOG: &str = "changelog";

/// Locks the directory for this process. Held as long as the file lives.
pub(super) fn lock(path: &Path) -> Result<File> {
    fs::create_dir_all(path).map_err(|e| error::io("create directory", path, &e))?;
    let file = path.join(LOCK_FILE);
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&file)
        .map_err(|e| error::io("open file", &file, &e))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(SqlError::new(
            SqlState::OBJECT_IN_USE,
            format!("data directory \"{}\" is in use by another kalamdb-server", path.display()),
        )),
        Err(TryLockError::Error(e)) => Err(error::io("lock file", &file, &e)),
    }
}

/// Refuses a directory of another format before anything in it is touched; marks a new one.
pub(super) fn check_format(path: &Path) -> Result<()> {
    let file = path.join(FORMAT_FILE);
    let found = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            if path.join(DB_DIR).exists() {
                return Err(SqlError::new(
                    SqlState::DATA_CORRUPTED,
                    format!("data directory \"{}\" has no file {FORMAT_FILE}", path.display()),
                )
                .hint("It was not made by kalamdb-server, or not completely."));
            }
            return write_format(path);
        }
        Err(e) => return Err(error::io("read file", &file, &e)),
    };
    match found.trim().parse::<u32>() {
        Ok(FORMAT_VERSION) => Ok(()),
        Ok(other) => Err(SqlError::new(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!(
                "data directory \"{}\" has format version {other}, this server needs {FORMAT_VERSION}",
                path.display()
            ),
        )),
        Err(_) => Err(SqlError::new(
            SqlState::DATA_CORRUPTED,
            format!("file \"{}\" does not hold a format version", file.display()),
        )),
    }
}

fn write_format(path: &Path) -> Result<()> {
    let (file, draft) = (path.join(FORMAT_FILE), path.join("FORMAT_VERSION.new"));
    let write = || {
        let mut f = File::create(&draft)?;
        writeln!(f, "{FORMAT_VERSION}")?;
        f.sync_all()?;
        fs::rename(&draft, &file)?;
        File::open(path)?.sync_all()
    };
    write().map_err(|e| error::io("write file", &file, &e))
}

/// Opens RocksDB; also gives the options of the data column family, which files made for ingestion must share.
pub(super) fn open_db(path: &Path, options: &StorageOptions, horizon: &Arc<AtomicU64>) -> Result<(Db, Options)> {
    let bulk = path.join(BULK_DIR);
    if bulk.exists() {
        // Left by a crash: files never ingested.
        fs::remove_dir_all(&bulk).map_err(|e| error::io("remove directory", &bulk, &e))?;
    }
    // 0: it learns how large its entries are.
    let cache = Cache::new_hyper_clock_cache(options.block_cache_bytes, 0);
    let data = data_options(&cache, options, horizon);
    let families = [
        ColumnFamilyDescriptor::new(CF_DATA, data_options(&cache, options, horizon)),
        ColumnFamilyDescriptor::new(CF_META, family_options(&cache, options.write_buffer_bytes / 4)),
        ColumnFamilyDescriptor::new(CF_CHANGELOG, family_options(&cache, options.write_buffer_bytes / 2)),
    ];
    let db = Db::open_cf_descriptors(&db_options(options), path.join(DB_DIR), families).map_err(|e| {
        // A server of another kind, or an older one without our lock file.
        if e.as_ref().contains("lock") && e.kind() == rocksdb::ErrorKind::IOError {
            let message = format!("data directory \"{}\" is in use by another kalamdb-server", path.display());
            return SqlError::new(SqlState::OBJECT_IN_USE, message);
        }
        error::convert(&e)
    })?;
    Ok((db, data))
}

fn db_options(options: &StorageOptions) -> Options {
    let mut db = Options::default();
    db.create_if_missing(true);
    db.create_missing_column_families(true);
    db.set_max_background_jobs(options.background_jobs);
    // A key's versions must come through one compaction filter: see gc.rs.
    db.set_max_subcompactions(1);
    db.set_max_total_wal_size(options.write_buffer_bytes as u64 * 4);
    db.set_wal_bytes_per_sync(1 << 20);
    // See `log_room`.
    db.set_recycle_log_file_num(4);
    db.set_bytes_per_sync(1 << 20);
    db.set_keep_log_file_num(4);
    db.set_log_level(LogLevel::Warn);
    db.set_stats_dump_period_sec(0);
    db.set_max_open_files(options.max_open_files);
    db
}

fn family_options(cache: &Cache, write_buffer_bytes: usize) -> Options {
    let mut family = Options::default();
    family.set_compression_type(DBCompressionType::Lz4);
    family.set_write_buffer_size(write_buffer_bytes);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    family.set_block_based_table_factory(&table);
    family
}

/// What files made for the change log must share with the family: its compression.
pub(super) fn changelog_options() -> Options {
    let mut family = Options::default();
    family.set_compression_type(DBCompressionType::Lz4);
    family
}

fn data_options(cache: &Cache, options: &StorageOptions, horizon: &Arc<AtomicU64>) -> Options {
    let mut data = Options::default();
    data.set_compression_type(DBCompressionType::Lz4);
    data.set_write_buffer_size(options.write_buffer_bytes);
    data.set_max_write_buffer_number(4);
    data.set_target_file_size_base(64 << 20);
    data.set_max_bytes_for_level_base(256 << 20);
    data.set_compaction_filter_factory(VersionFilterFactory { horizon: Arc::clone(horizon) });
    // All versions of a key share its filter entry, so the look-up of an absent key reads no block.
    data.set_prefix_extractor(SliceTransform::create("kalamdb.key", key_of_version, Some(is_version)));
    data.set_memtable_prefix_bloom_ratio(0.05);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(16 << 10);
    // Look-ups step through half of a run of keys that share their prefix: short ones cost little space.
    table.set_block_restart_interval(4);
    table.set_format_version(6);
    table.set_bloom_filter(10.0, false);
    table.set_whole_key_filtering(false);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    data.set_block_based_table_factory(&table);
    data
}

fn key_of_version(stored: &[u8]) -> &[u8] {
    keys::split(stored).map_or(stored, |(key, _)| key)
}

fn is_version(stored: &[u8]) -> bool {
    stored.len() >= keys::STORAGE_LEN + keys::SEQ_LEN
}
