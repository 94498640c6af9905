//! The registry of running connections: who they are, what they run, and how to reach them from outside.
//!
//! CancelRequest finds its target here by pid and secret; pg_stat_activity, pg_cancel_backend and
//! pg_terminate_backend by pid. A connection is in the registry from its start-up until its guard is dropped, so a
//! pid that was handed out is unique among the living.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use kalamdb_engine::clock::now_micros;
use kalamdb_engine::session::{BackendInfo, BackendState, CancelHandle, CancelReason, Peers};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::limits::ACTIVITY_QUERY_BYTES;

/// A flag that is raised once and can be waited for.
#[derive(Debug, Default)]
pub(crate) struct Flag {
    set: AtomicBool,
    wake: Notify,
}

impl Flag {
    pub(crate) fn raise(&self) {
        self.set.store(true, Ordering::Release);
        self.wake.notify_waiters();
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }

    pub(crate) async fn raised(&self) {
        loop {
            // Made before the look at the flag, so that no wake-up falls between the two.
            let woken = self.wake.notified();
            if self.is_raised() {
                return;
            }
            woken.await;
        }
    }
}

/// One running connection.
#[derive(Debug)]
pub struct Backend {
    pid: i32,
    secret: Vec<u8>,
    cancel: CancelHandle,
    end: Flag,
    info: Mutex<BackendInfo>,
}

impl Backend {
    pub fn pid(&self) -> i32 {
        self.pid
    }

    pub fn info(&self) -> BackendInfo {
        self.info.lock().clone()
    }

    /// Ends the running statement, if there is one.
    pub fn cancel(&self) {
        self.cancel.cancel(CancelReason::User);
    }

    /// Ends the connection, and its statement at once.
    pub fn terminate(&self) {
        self.ask_to_end();
        self.cancel.cancel(CancelReason::Shutdown);
    }

    /// Ends the connection when its statement is done.
    pub(crate) fn ask_to_end(&self) {
        self.end.raise();
    }

    /// Waits until the connection is asked to end.
    pub(crate) async fn asked_to_end(&self) {
        self.end.raised().await;
    }

    pub(crate) fn is_terminating(&self) -> bool {
        self.end.is_raised()
    }

    pub(crate) fn running(&self, query: &str) {
        let now = now_micros();
        let mut info = self.info.lock();
        info.state = BackendState::Active;
        info.state_change = now;
        info.query_start = Some(now);
        info.query.clear();
        info.query.push_str(&query[..query.floor_char_boundary(query.len().min(ACTIVITY_QUERY_BYTES))]);
    }

    pub(crate) fn idle(&self, state: BackendState) {
        let mut info = self.info.lock();
        if info.state != state {
            info.state = state;
            info.state_change = now_micros();
        }
    }

    pub(crate) fn rename(&self, application_name: &str) {
        self.info.lock().application_name = application_name.to_owned();
    }
}

/// All running connections of a server.
#[derive(Debug, Default)]
pub struct Backends {
    /// None while a connection starts up: the pid is taken, but there is nothing to cancel.
    running: Mutex<HashMap<i32, Option<Arc<Backend>>>>,
    next_pid: AtomicI32,
    /// Raised when the server stops.
    pub(crate) stopping: Flag,
}

impl Backends {
    /// The running connections, by pid.
    pub fn list(&self) -> Vec<Arc<Backend>> {
        let mut list: Vec<_> = self.running.lock().values().flatten().cloned().collect();
        list.sort_by_key(|b| b.pid);
        list
    }

    pub fn find(&self, pid: i32) -> Option<Arc<Backend>> {
        self.running.lock().get(&pid).cloned().flatten()
    }

    /// CancelRequest. A wrong secret is not answered, as in PostgreSQL.
    pub(crate) fn cancel_with_secret(&self, pid: i32, secret: &[u8]) {
        if let Some(backend) = self.find(pid)
            && same(&backend.secret, secret)
        {
            backend.cancel();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.running.lock().len()
    }

    /// Takes a pid, unless `max` connections have one.
    pub(crate) fn enter(self: &Arc<Self>, max: usize) -> Option<BackendGuard> {
        let mut running = self.running.lock();
        if running.len() >= max {
            return None;
        }
        loop {
            let pid = self.next_pid.fetch_add(1, Ordering::Relaxed) & i32::MAX;
            if pid > 0 && !running.contains_key(&pid) {
                running.insert(pid, None);
                return Some(BackendGuard { backends: Arc::clone(self), pid });
            }
        }
    }
}

impl Peers for Backends {
    fn cancel(&self, pid: i32) -> bool {
        self.find(pid).map(|b| b.cancel()).is_some()
    }

    fn terminate(&self, pid: i32) -> bool {
        self.find(pid).map(|b| b.terminate()).is_some()
    }

    fn list(&self) -> Vec<BackendInfo> {
        Backends::list(self).iter().map(|b| b.info()).collect()
    }
}

/// A taken pid; gives it back when dropped.
pub(crate) struct BackendGuard {
    backends: Arc<Backends>,
    pid: i32,
}

impl BackendGuard {
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Makes the connection reachable.
    pub(crate) fn register(&self, secret: Vec<u8>, cancel: CancelHandle, info: BackendInfo) -> Arc<Backend> {
        let backend = Arc::new(Backend { pid: self.pid, secret, cancel, end: Flag::default(), info: Mutex::new(info) });
        self.backends.running.lock().insert(self.pid, Some(Arc::clone(&backend)));
        // Whoever stops the server raises the flag before it lists the connections, so none is overlooked.
        if self.backends.stopping.is_raised() {
            backend.ask_to_end();
        }
        backend
    }
}

impl Drop for BackendGuard {
    fn drop(&mut self) {
        self.backends.running.lock().remove(&self.pid);
    }
}

/// Compares without telling by its duration where the difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(pid: i32) -> BackendInfo {
        BackendInfo {
            pid,
            user: "u".into(),
            database: "d".into(),
            application_name: String::new(),
            client_address: None,
            backend_start: 0,
            query_start: None,
            state_change: 0,
            state: BackendState::Idle,
            query: String::new(),
        }
    }

    #[test]
    fn pids_are_positive_unique_and_given_back() {
        let backends = Arc::new(Backends::default());
        backends.next_pid.store(i32::MAX, Ordering::Relaxed);
        let guards: Vec<_> = (0..3).filter_map(|_| backends.enter(3)).collect();
        let mut pids: Vec<_> = guards.iter().map(BackendGuard::pid).collect();
        assert!(pids.iter().all(|&p| p > 0));
        pids.dedup();
        assert_eq!(pids.len(), 3);
        assert!(backends.enter(3).is_none());
        drop(guards);
        assert_eq!(backends.len(), 0);
    }

    #[test]
    fn cancel_needs_the_secret() {
        let backends = Arc::new(Backends::default());
        let Some(guard) = backends.enter(1) else { unreachable!("the registry is empty") };
        let cancel = CancelHandle::default();
        let _backend = guard.register(vec![1, 2, 3, 4], cancel.clone(), info(guard.pid()));
        backends.cancel_with_secret(guard.pid(), &[1, 2, 3, 5]);
        backends.cancel_with_secret(guard.pid(), &[1, 2, 3]);
        assert!(cancel.check().is_ok());
        backends.cancel_with_secret(guard.pid(), &[1, 2, 3, 4]);
        assert!(cancel.check().is_err());
    }
}
