//! One who listens to a live query: what he has not got yet, within bounds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use kalamdb_catalog::Oid;
use parking_lot::Mutex;

use super::listener::Listener;
use super::notification::Notification;
use super::queries::LiveQuery;
use crate::clock::now_micros;
use crate::settings::LiveLimits;

/// What its end is called in `system.live_queries`.
pub(super) type SubscriptionId = u64;

/// What a change counts for beside its payload.
const EVENT_BYTES: usize = 64;

/// A result as of a commit: of each row its key and its columns, as JSON objects.
pub(crate) type Rows = Arc<Vec<(String, String)>>;

#[derive(Debug)]
pub struct Subscription {
    pub id: SubscriptionId,
    pub(super) query: Arc<LiveQuery>,
    pub(super) listener: Arc<Listener>,
    pub user: String,
    pub database: Oid,
    /// Resumed after this commit.
    pub since: Option<u64>,
    /// Microseconds since 1970.
    pub created_at: i64,
    /// The last commit that the listener has got everything of.
    delivered: AtomicU64,
    resets: AtomicU64,
    /// The newest commit when it was entered: what is committed after it is told.
    entered: AtomicU64,
    /// Of a query that is run again: the listener waits for the result to begin with.
    wanting: AtomicBool,
    /// The same: he has it, and changes follow.
    begun: AtomicBool,
    buffer: Mutex<Buffer>,
    totals: Arc<Totals>,
}

/// Of all subscriptions.
#[derive(Default, Debug)]
pub(super) struct Totals {
    /// Kept for listeners.
    pub(super) bytes: AtomicUsize,
    pub(super) resets: AtomicU64,
    pub(super) delivered: AtomicU64,
    pub(super) limits: LiveLimits,
}

#[derive(Default, Debug)]
struct Buffer {
    events: VecDeque<(u64, Arc<Notification>)>,
    bytes: usize,
    state: State,
    /// Changes up to this commit are part of what has been given up.
    void: u64,
    /// The result to begin with, of a query that is run again.
    result: Option<(u64, Rows)>,
}

/// What comes next for the listener.
#[derive(Clone, Default, Debug)]
enum State {
    #[default]
    Flowing,
    /// What was kept is gone: a reset, and the rows anew.
    Reset { reason: String, columns: Option<String> },
    /// A reset, and nothing more.
    Ended { reason: String },
}

/// What a listener takes.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Changes, in commit order, with their commits.
    Events(Vec<(u64, Arc<Notification>)>),
    Reset {
        reason: String,
        columns: Option<String>,
    },
    Ended {
        reason: String,
    },
}

impl Subscription {
    pub(super) fn new(
        id: SubscriptionId,
        query: Arc<LiveQuery>,
        listener: Arc<Listener>,
        user: String,
        since: Option<u64>,
        totals: Arc<Totals>,
    ) -> Subscription {
        Subscription {
            id,
            database: listener.database,
            query,
            listener,
            user,
            since,
            created_at: now_micros(),
            delivered: AtomicU64::new(0),
            resets: AtomicU64::new(0),
            entered: AtomicU64::new(0),
            wanting: AtomicBool::new(false),
            begun: AtomicBool::new(false),
            buffer: Mutex::default(),
            totals,
        }
    }

    /// The text that was listened to.
    pub fn text(&self) -> &Arc<str> {
        self.query.text()
    }

    pub fn pid(&self) -> i32 {
        self.listener.pid
    }

    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    pub fn resets(&self) -> u64 {
        self.resets.load(Ordering::Relaxed)
    }

    /// Changes that wait to be taken, and their bytes.
    pub fn waiting(&self) -> (usize, usize) {
        let buffer = self.buffer.lock();
        (buffer.events.len(), buffer.bytes)
    }

    pub(crate) fn note_delivered(&self, seq: u64) {
        self.delivered.fetch_max(seq, Ordering::Relaxed);
    }

    /// Adds a change; if there is no room, what is kept goes and the listener begins anew. Never waits.
    pub(super) fn push(&self, seq: u64, event: &Arc<Notification>) {
        let mut buffer = self.buffer.lock();
        if !matches!(buffer.state, State::Flowing) || seq <= buffer.void {
            return;
        }
        let bytes = event.payload.len() + EVENT_BYTES;
        let all = self.totals.bytes.load(Ordering::Relaxed);
        let limits = &self.totals.limits;
        // One alone is let through, however large.
        let full = buffer.bytes + bytes > limits.buffer_bytes || all + bytes > limits.buffers_bytes;
        if full && !buffer.events.is_empty() {
            buffer.void = seq;
            drop(buffer);
            tracing::warn!(pid = self.pid(), query = %self.text(), "a live query is reset: its listener is too slow");
            return self.reset("the listener is too slow", None);
        }
        buffer.bytes += bytes;
        self.totals.bytes.fetch_add(bytes, Ordering::Relaxed);
        buffer.events.push_back((seq, Arc::clone(event)));
        drop(buffer);
        self.listener.wake();
    }

    /// What has been told is void. `columns`: the new ones.
    pub(super) fn reset(&self, reason: &str, columns: Option<String>) {
        self.count_reset();
        self.set(State::Reset { reason: reason.to_owned(), columns });
    }

    /// There is nothing more to tell.
    pub(super) fn end(&self, reason: &str) {
        self.count_reset();
        self.set(State::Ended { reason: reason.to_owned() });
    }

    fn count_reset(&self) {
        self.resets.fetch_add(1, Ordering::Relaxed);
        self.totals.resets.fetch_add(1, Ordering::Relaxed);
    }

    fn set(&self, state: State) {
        let mut buffer = self.buffer.lock();
        if !matches!(buffer.state, State::Ended { .. }) {
            self.totals.bytes.fetch_sub(buffer.bytes, Ordering::Relaxed);
            *buffer = Buffer { state, void: buffer.void, ..Buffer::default() };
        }
        self.begun.store(false, Ordering::Release);
        drop(buffer);
        self.listener.wake();
    }

    /// The result to begin with: changes after it follow.
    pub(super) fn begin_with(&self, seq: u64, rows: Rows) {
        self.wanting.store(false, Ordering::Release);
        self.begun.store(true, Ordering::Release);
        self.buffer.lock().result = Some((seq, rows));
        self.listener.wake();
    }

    /// Where it stands if it begins with no rows.
    pub(crate) fn entered(&self) -> u64 {
        self.entered.load(Ordering::Acquire)
    }

    pub(super) fn enter(&self, seq: u64) {
        self.entered.store(seq, Ordering::Release);
    }

    /// Changes are of use: it has begun with a result.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    pub(super) fn wants_result(&self) -> bool {
        self.wanting.load(Ordering::Acquire)
    }

    pub(super) fn want_result(&self) {
        self.wanting.store(true, Ordering::Release);
    }

    pub(crate) fn take_result(&self) -> Option<(u64, Rows)> {
        self.buffer.lock().result.take()
    }

    /// The next changes, of about so many bytes; None: nothing yet.
    pub(crate) fn take(&self, bytes_max: usize) -> Option<Taken> {
        let mut buffer = self.buffer.lock();
        match &buffer.state {
            State::Flowing => {}
            State::Reset { reason, columns } => {
                let taken = Taken::Reset { reason: reason.clone(), columns: columns.clone() };
                // From here on changes are kept again.
                buffer.state = State::Flowing;
                return Some(taken);
            }
            State::Ended { reason } => return Some(Taken::Ended { reason: reason.clone() }),
        }
        if buffer.events.is_empty() {
            return None;
        }
        let mut taken = Vec::new();
        let mut bytes = 0;
        while bytes < bytes_max
            && let Some((seq, event)) = buffer.events.pop_front()
        {
            bytes += event.payload.len() + EVENT_BYTES;
            taken.push((seq, event));
        }
        buffer.bytes -= bytes;
        self.totals.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if buffer.events.is_empty() && buffer.events.capacity() > 64 {
            buffer.events = VecDeque::new();
        }
        Some(Taken::Events(taken))
    }

    /// True if what has been told is void, or there is nothing more to tell, and the listener does not know yet.
    pub(super) fn is_void(&self) -> bool {
        !matches!(self.buffer.lock().state, State::Flowing)
    }

    /// True if there is anything to take.
    pub(crate) fn has_more(&self) -> bool {
        let buffer = self.buffer.lock();
        !buffer.events.is_empty() || buffer.result.is_some() || !matches!(buffer.state, State::Flowing)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.totals.bytes.fetch_sub(self.buffer.get_mut().bytes, Ordering::Relaxed);
    }
}
