//! Every bound of a connection, in one place, with what happens at it.

use std::time::Duration;

/// Longest startup packet (PostgreSQL's MAX_STARTUP_PACKET_LENGTH). Longer: the connection is closed.
pub(crate) const STARTUP_BYTES_MAX: usize = 10_000;

/// Longest message of a kind that carries no data (PostgreSQL's PQ_SMALL_MESSAGE_LIMIT). Longer: 08P01, closed.
pub(crate) const SMALL_MESSAGE_BYTES_MAX: usize = 10_000;

/// Output is written to the socket when it has grown to this; the rows' producer waits meanwhile.
pub(crate) const FLUSH_BYTES: usize = 64 * 1024;

/// How much unread input is taken in while a statement runs, to notice that the client is gone. Beyond it the
/// socket is left alone until the statement ends.
pub(crate) const READ_AHEAD_BYTES_MAX: usize = 64 * 1024;

/// Smallest and largest room made for one read.
pub(crate) const READ_BYTES_MIN: usize = 8 * 1024;
pub(crate) const READ_BYTES_MAX: usize = 256 * 1024;

/// What an idle connection keeps of either buffer; the rest is given back.
pub(crate) const IDLE_BUFFER_BYTES_MAX: usize = 16 * 1024;

/// COPY data is parsed in pieces of this size, with a chance for other tasks in between.
pub(crate) const COPY_PIECE_BYTES: usize = 1024 * 1024;

/// Bytes of notifications put into a connection's output at a time; the next ones wait until these are written.
pub(crate) const NOTIFICATION_BYTES_MAX: usize = 64 << 10;

/// Bytes of a statement's text kept for pg_stat_activity (PostgreSQL's track_activity_query_size).
pub(crate) const ACTIVITY_QUERY_BYTES: usize = 1024;

/// Sockets beyond `max_connections` that may be in start-up (they end in 53300, or are CancelRequests). Beyond it
/// a new socket is closed unread.
pub(crate) const STARTUP_SOCKETS_EXTRA: usize = 64;

/// How long a client may take to read the last error before its connection is closed.
pub(crate) const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// Rest after accept() failed (out of file descriptors), so that the loop does not spin.
pub(crate) const ACCEPT_RETRY: Duration = Duration::from_millis(50);
