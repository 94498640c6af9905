//! RocksDB's errors as PostgreSQL's.

use kalamdb_catalog::{SqlError, SqlState};

/// RocksDB gives only a text, so disk full is told from other failures by errno's wording in it.
pub(super) fn convert(error: &rocksdb::Error) -> SqlError {
    let text: &str = error.as_ref();
    if text.contains("No space left on device") || text.contains("Disk quota exceeded") {
        return SqlError::new(SqlState::DISK_FULL, "could not write to data directory: no space left on device")
            .hint("Free some disk space and restart the server.");
    }
    if error.kind() == rocksdb::ErrorKind::Corruption {
        return SqlError::new(SqlState::DATA_CORRUPTED, format!("data directory is damaged: {text}"));
    }
    SqlError::new(SqlState::IO_ERROR, format!("could not access data directory: {text}"))
}

pub(super) fn io(what: &str, path: &std::path::Path, error: &std::io::Error) -> SqlError {
    let code = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => SqlState::DISK_FULL,
        _ => SqlState::IO_ERROR,
    };
    SqlError::new(code, format!("could not {what} \"{}\": {error}", path.display()))
}
