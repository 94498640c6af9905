//! Every maximum that a client can run into, with what happens there.

/// Views inside views: one more is 54001.
pub const VIEW_DEPTH_MAX: usize = 32;
/// Columns of a table: PostgreSQL's own limit; one more is 54011.
pub const COLUMNS_MAX: usize = 1600;
/// Bytes of uncommitted changes of one transaction: more is 53200.
pub const TRANSACTION_BYTES_MAX: usize = 4 << 30;
/// Locks of one transaction, rows included: one more is 53200.
pub const TRANSACTION_LOCKS_MAX: usize = 1 << 24;
/// Advisory locks that a session holds beyond its transactions: one more is 53200.
pub const SESSION_LOCKS_MAX: usize = 1 << 16;
/// Prepared statements of one session: more is 54000.
pub const PREPARED_STATEMENTS_MAX: usize = 10_000;
/// Cursors of one session: more is 54000.
pub const CURSORS_MAX: usize = 1_000;
/// Bytes of rows that one cursor keeps, to go back or beyond its transaction: more is 53200.
pub const CURSOR_BYTES_MAX: usize = 256 << 20;
/// Bytes of an identifier; longer ones are cut with a notice, as in PostgreSQL.
pub const NAME_BYTES_MAX: usize = 63;
/// Stack of a thread that runs queries: planning and evaluation recurse with the depth of a query.
pub const QUERY_STACK_BYTES: usize = 8 << 20;
/// Batches of a query that wait for their statement to take them; beyond it the query waits.
pub const BATCHES_AHEAD_MAX: usize = 1;

/// Nested expressions and set operations of one statement; beyond it 54001. Bounds the stack that plans of such depth
/// need wherever they are copied, compared or dropped.
pub const EXPRESSION_DEPTH_MAX: usize = 1_500;

/// Stack that must be left before the binder goes a level deeper; with less it goes on in a new segment.
pub const STACK_RED_ZONE_BYTES: usize = 256 << 10;

/// Size of such a segment.
pub const STACK_SEGMENT_BYTES: usize = 4 << 20;

/// Text from this length on may nest deep enough to need [`DEEP_STACK_BYTES`] of stack while it is bound.
pub const DEEP_TEXT_BYTES: usize = 1_024;

/// Stack for binding a long text. Address space: what is not used is never there.
pub const DEEP_STACK_BYTES: usize = 256 << 20;

/// Bytes of a channel's name: PostgreSQL's own limit; more is 22023 in pg_notify.
pub const CHANNEL_BYTES_MAX: usize = 63;
/// Bytes of a notification's payload: PostgreSQL's own limit; more is 22023.
pub const NOTIFY_PAYLOAD_BYTES_MAX: usize = 7_999;
/// Bytes of notifications that one transaction may keep until it commits: more is 53200.
pub const TRANSACTION_NOTIFY_BYTES_MAX: usize = 256 << 20;
/// Bytes of notifications on their way that are kept in memory; what exceeds them is in files.
pub const NOTIFY_MEMORY_BYTES_MAX: usize = 16 << 20;
/// Bytes of a file of notifications.
pub const NOTIFY_SEGMENT_BYTES: usize = 1 << 20;
