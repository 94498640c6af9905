//! Waiting for a lock, and finding out that it will never come.
//!
//! A wait that has lasted deadlock_timeout is looked at once: from what it waits for to who holds that, to what those wait
//! for, and so on. If that leads back, this transaction gives up. Once is enough: whoever closes a circle later looks for
//! it himself.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::future::pending;
use std::time::Duration;

use kalamdb_catalog::{Result, SqlError, SqlState};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until};

use super::mode::LockMode;
use super::table::{Blocker, LockTable, LockTag, Owner, Ticket};
use crate::session::CancelHandle;

/// The session that waits: what may end the wait, and what is said of it.
pub trait LockClient: Debug + Send + Sync {
    fn cancel(&self) -> CancelHandle;

    /// None is off.
    fn lock_timeout(&self) -> Option<Duration>;

    fn deadlock_timeout(&self) -> Duration;

    /// The statement that a session runs.
    fn statement_of(&self, pid: i32) -> Option<String>;
}

/// No session: waits as long as it takes.
#[derive(Debug)]
pub(in crate::txn) struct NoClient;

impl LockClient for NoClient {
    fn cancel(&self) -> CancelHandle {
        CancelHandle::default()
    }
    fn lock_timeout(&self) -> Option<Duration> {
        None
    }
    fn deadlock_timeout(&self) -> Duration {
        Duration::from_secs(1)
    }
    fn statement_of(&self, _: i32) -> Option<String> {
        None
    }
}

/// Who waits for what.
#[derive(Default, Debug)]
pub(super) struct Waits {
    /// By party.
    waiting: Mutex<HashMap<u64, Waiting>>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    ticket: u64,
    tag: LockTag,
    mode: LockMode,
    owner: Owner,
}

/// One waits for the other.
#[derive(Debug)]
struct Edge {
    waiting: Waiting,
    blocker: Blocker,
}

/// Takes a wait off the books, however it ends.
struct Entry<'a> {
    waits: &'a Waits,
    table: &'a LockTable,
    ticket: Ticket,
    done: bool,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.waits.waiting.lock().remove(&self.ticket.owner.party());
        if !self.done {
            self.table.leave(&mut self.ticket);
        }
    }
}

impl Waits {
    /// Waits for a ticket's turn. An error means that the place in the queue is given up.
    pub(super) async fn wait(&self, table: &LockTable, ticket: Ticket, client: &dyn LockClient) -> Result<()> {
        let waiting = Waiting { ticket: ticket.number(), tag: ticket.tag, mode: ticket.mode, owner: ticket.owner };
        self.waiting.lock().insert(ticket.owner.party(), waiting);
        let mut entry = Entry { waits: self, table, ticket, done: false };
        let cancel = client.cancel();
        let deadline = client.lock_timeout().map(|limit| Instant::now() + limit);
        let too_late = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => pending().await,
            }
        };
        let watch = async {
            sleep(client.deadlock_timeout()).await;
            match self.deadlock(table, waiting) {
                Some(circle) => circle,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            granted = &mut entry.ticket.granted => {
                entry.done = granted.is_ok();
                granted.map_err(|_| SqlError::internal("a lock's queue has gone"))
            }
            error = cancel.tripped() => Err(error),
            () = too_late => {
                Err(SqlError::new(SqlState::LOCK_NOT_AVAILABLE, "canceling statement due to lock timeout"))
            }
            circle = watch => Err(deadlock_error(&circle, client)),
        }
    }

    /// The circle that a wait is part of, beginning with it. One that is there only because somebody is ahead in a queue is
    /// opened: the one behind goes first.
    fn deadlock(&self, table: &LockTable, start: Waiting) -> Option<Vec<Edge>> {
        let waiting = self.waiting.lock();
        // Each time somebody overtakes somebody; there are not more pairs than that.
        for _ in 0..waiting.len() * waiting.len() {
            let (mut seen, mut path) = (HashSet::new(), Vec::new());
            if !search(&waiting, table, start, start.owner.party(), &mut seen, &mut path) {
                return None;
            }
            let Some((edge, ahead)) = path.iter().find_map(|e| Some((e, e.blocker.ahead?))) else {
                return Some(path);
            };
            table.overtake(edge.waiting.tag, edge.waiting.ticket, ahead);
        }
        None
    }

    /// Who keeps a session waiting.
    pub(super) fn blockers_of(&self, table: &LockTable, pid: i32) -> Vec<Owner> {
        let waiting = self.waiting.lock().get(&Owner::new(pid, 0).party()).copied();
        let blockers = waiting.map_or_else(Vec::new, |w| table.blockers(w.ticket, w.tag, w.owner, w.mode));
        blockers.into_iter().map(|b| b.owner).collect()
    }
}

/// Goes from `at` along what is waited for, until it comes back to `home`. The path is as long as sessions wait for each
/// other, and each is gone through once.
fn search(
    waiting: &HashMap<u64, Waiting>,
    table: &LockTable,
    at: Waiting,
    home: u64,
    seen: &mut HashSet<u64>,
    path: &mut Vec<Edge>,
) -> bool {
    for blocker in table.blockers(at.ticket, at.tag, at.owner, at.mode) {
        path.push(Edge { waiting: at, blocker });
        let party = blocker.owner.party();
        if party == home {
            return true;
        }
        if seen.insert(party)
            && let Some(next) = waiting.get(&party)
            && search(waiting, table, *next, home, seen, path)
        {
            return true;
        }
        path.pop();
    }
    false
}

fn deadlock_error(circle: &[Edge], client: &dyn LockClient) -> SqlError {
    let mut lines = Vec::new();
    for edge in circle {
        let (mode, what) = describe(edge);
        lines.push(format!(
            "Process {} waits for {mode} on {what}; blocked by process {}.",
            edge.waiting.owner.pid(),
            edge.blocker.owner.pid()
        ));
    }
    for edge in circle {
        let pid = edge.waiting.owner.pid();
        if let Some(statement) = client.statement_of(pid) {
            lines.push(format!("Process {pid}: {statement}"));
        }
    }
    deadlock().detail(lines.join("\n"))
}

pub(super) fn deadlock() -> SqlError {
    SqlError::new(SqlState::T_R_DEADLOCK_DETECTED, "deadlock detected")
        .hint("Run the transactions' statements in one order, or try the transaction again.")
}

/// A row's lock is, to PostgreSQL's users, the end of the transaction that holds it.
fn describe(edge: &Edge) -> (&'static str, String) {
    let mode = edge.waiting.mode.name();
    match edge.waiting.tag {
        LockTag::Row { .. } => ("ShareLock", format!("transaction {}", edge.blocker.owner.transaction())),
        LockTag::Table(oid) => (mode, format!("relation {oid}")),
        LockTag::Advisory(key) => (mode, format!("advisory lock {key}")),
    }
}
