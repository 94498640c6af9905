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
    pub live: LiveLimits,
}

/// What live queries may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LiveLimits {
    /// Live queries of all sessions: one more is 54000.
    pub queries: usize,
    /// Of one session: one more is 54000.
    pub queries_per_session: usize,
    /// Bytes of changes kept for one live query of one session: with more it is reset.
    pub buffer_bytes: usize,
    /// The same of all sessions together, counted for each: with more the next one that needs room is reset.
    pub buffers_bytes: usize,
    /// Bytes of the result of a live query that is run again, and of what one who comes back is told of: a larger result ends
    /// the query, a longer absence is answered with a reset.
    pub result_bytes: usize,
}

impl Default for LiveLimits {
    fn default() -> Self {
        LiveLimits {
            queries: 100_000,
            queries_per_session: 1_000,
            buffer_bytes: 8 << 20,
            buffers_bytes: 1 << 30,
            result_bytes: 64 << 20,
        }
    }
}
