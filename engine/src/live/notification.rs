//! What is told, and what a transaction will tell once it has committed.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use kalamdb_catalog::{Oid, Result, SqlError, SqlState};

use super::queries::Prepared;
use crate::limits::{CHANNEL_BYTES_MAX, NOTIFY_PAYLOAD_BYTES_MAX, TRANSACTION_NOTIFY_BYTES_MAX};

/// NotificationResponse: shared by all who get it.
#[derive(Debug)]
pub struct Notification {
    /// Of the session that told.
    pub pid: i32,
    pub channel: Arc<str>,
    pub payload: Arc<str>,
    wire: OnceLock<Bytes>,
}

impl Notification {
    pub(crate) fn new(pid: i32, channel: Arc<str>, payload: Arc<str>) -> Notification {
        Notification { pid, channel, payload, wire: OnceLock::new() }
    }

    /// The message as it goes over the wire, made once for all receivers.
    pub fn wire(&self, encode: impl FnOnce(&Notification) -> Bytes) -> &Bytes {
        self.wire.get_or_init(|| encode(self))
    }

    /// What it counts for in the queue.
    pub(super) fn bytes(&self) -> usize {
        queued_bytes(&self.channel, &self.payload)
    }
}

/// What a notification counts for in the queue: its texts, and what is kept beside them.
fn queued_bytes(channel: &str, payload: &str) -> usize {
    channel.len() + payload.len() + 64
}

/// What LISTEN and UNLISTEN will do at commit.
#[derive(Clone, Debug)]
pub enum ListenAction {
    Listen(Arc<str>),
    ListenToQuery(Arc<str>, Prepared),
    Unlisten(Arc<str>),
    UnlistenAll,
}

/// What the open transaction of a session has said. It takes effect at commit; what a savepoint undoes has not been said.
#[derive(Debug)]
pub struct Announcements {
    pid: i32,
    database: Oid,
    notifies: Vec<(Arc<str>, Arc<str>)>,
    /// The same: equal ones are told once.
    told: HashSet<(Arc<str>, Arc<str>)>,
    actions: Vec<ListenAction>,
    bytes: usize,
}

/// Where a transaction's announcements stood at a savepoint.
#[derive(Clone, Copy, Default, Debug)]
pub struct AnnouncementMark {
    notifies: usize,
    actions: usize,
}

/// The notifications of a transaction that commits.
#[derive(Debug)]
pub struct Notifies {
    pub pid: i32,
    pub database: Oid,
    pub(super) list: Vec<(Arc<str>, Arc<str>)>,
    pub(super) bytes: usize,
}

impl Announcements {
    pub(crate) fn new(pid: i32, database: Oid) -> Announcements {
        Announcements { pid, database, notifies: Vec::new(), told: HashSet::new(), actions: Vec::new(), bytes: 0 }
    }

    /// True if there is something to tell.
    /// True if nothing has been said.
    pub(crate) fn is_empty(&self) -> bool {
        self.notifies.is_empty() && self.actions.is_empty()
    }

    pub(crate) fn tells(&self) -> bool {
        !self.notifies.is_empty()
    }

    /// NOTIFY and pg_notify (async.c, Async_Notify). 22023 for a channel or payload that is too long.
    pub fn notify(&mut self, channel: &str, payload: &str) -> Result<()> {
        let invalid = |message: &str| Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
        if channel.is_empty() {
            return invalid("channel name cannot be empty");
        }
        if channel.len() > CHANNEL_BYTES_MAX {
            return invalid("channel name too long");
        }
        if payload.len() > NOTIFY_PAYLOAD_BYTES_MAX {
            return invalid("payload string too long");
        }
        let notify: (Arc<str>, Arc<str>) = (channel.into(), payload.into());
        if !self.told.insert(notify.clone()) {
            return Ok(());
        }
        self.bytes += queued_bytes(channel, payload);
        if self.bytes > TRANSACTION_NOTIFY_BYTES_MAX {
            let message = format!("more than {TRANSACTION_NOTIFY_BYTES_MAX} bytes of notifications in one transaction");
            return Err(SqlError::new(SqlState::OUT_OF_MEMORY, message));
        }
        self.notifies.push(notify);
        Ok(())
    }

    pub fn listen(&mut self, action: ListenAction) {
        self.actions.push(action);
    }

    pub(crate) fn mark(&self) -> AnnouncementMark {
        AnnouncementMark { notifies: self.notifies.len(), actions: self.actions.len() }
    }

    /// Takes back what has been said since a mark.
    pub(crate) fn undo_to(&mut self, mark: AnnouncementMark) {
        for notify in self.notifies.drain(mark.notifies..) {
            self.bytes -= queued_bytes(&notify.0, &notify.1);
            self.told.remove(&notify);
        }
        self.actions.truncate(mark.actions);
    }

    pub(crate) fn take_actions(&mut self) -> Vec<ListenAction> {
        std::mem::take(&mut self.actions)
    }

    /// What is to be told, if anything.
    pub(crate) fn take_notifies(&mut self) -> Option<Notifies> {
        if self.notifies.is_empty() {
            return None;
        }
        self.told.clear();
        let (list, bytes) = (std::mem::take(&mut self.notifies), std::mem::take(&mut self.bytes));
        Some(Notifies { pid: self.pid, database: self.database, list, bytes })
    }

    /// The transaction has been rolled back.
    pub(crate) fn clear(&mut self) {
        self.undo_to(AnnouncementMark::default());
    }
}
