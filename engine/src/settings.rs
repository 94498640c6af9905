//! What the process tells the engine at its start. Plain data; the file and flags it comes from are the server's business.

use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Settings {
    pub node_id: String,
    pub data_dir: PathBuf,
    pub max_connections: usize,
    /// Decompressed blocks of stored rows kept in memory.
    pub block_cache_bytes: usize,
    /// A RocksDB memtable before it is written to a file.
    pub write_buffer_bytes: usize,
    /// What sorts, joins and aggregates of all running queries may hold together; beyond it they spill or end with 53200.
    pub query_memory_bytes: usize,
    /// Columns of tables kept as scans decoded them.
    pub column_cache_bytes: usize,
    pub change_log_bytes_max: u64,
    pub change_log_age_max: Duration,
    /// Bytes of notifications that listeners have not got yet; beyond it NOTIFY fails with 54000.
    pub notify_queue_bytes_max: u64,
}
