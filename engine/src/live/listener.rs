//! A connection that listens.

use std::collections::BTreeSet;
use std::sync::Arc;

use kalamdb_catalog::Oid;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::queue::ListenerId;

/// One for each session that has ever listened, until it ends.
#[derive(Debug)]
pub struct Listener {
    pub(super) id: ListenerId,
    pub(super) pid: i32,
    pub(super) database: Oid,
    channels: Mutex<BTreeSet<Arc<str>>>,
    /// The texts of live queries: what NOTIFY tells on such a channel is not for those who listen to the query.
    queries: Mutex<BTreeSet<Arc<str>>>,
    /// Has a permit when there is something to get.
    wake: Notify,
}

impl Listener {
    pub(super) fn new(id: ListenerId, pid: i32, database: Oid) -> Listener {
        Listener { id, pid, database, channels: Mutex::default(), queries: Mutex::default(), wake: Notify::new() }
    }

    /// Waits until there may be something to get.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(super) fn listens_to(&self, channel: &str) -> bool {
        self.channels.lock().contains(channel)
    }

    /// pg_listening_channels
    pub fn listed(&self) -> Vec<Arc<str>> {
        let mut all = self.channels();
        all.extend(self.queries.lock().iter().cloned());
        all
    }

    pub(crate) fn add_query(&self, text: &Arc<str>) {
        self.queries.lock().insert(Arc::clone(text));
    }

    pub(crate) fn remove_query(&self, text: &str) {
        self.queries.lock().remove(text);
    }

    pub fn channels(&self) -> Vec<Arc<str>> {
        self.channels.lock().iter().cloned().collect()
    }

    pub(super) fn add(&self, channel: &Arc<str>) {
        self.channels.lock().insert(Arc::clone(channel));
    }

    pub(super) fn remove(&self, channel: &str) {
        self.channels.lock().remove(channel);
    }
}
