//! The table of locks: who holds what, and who waits for it in which order.
//!
//! Locks are kept by a 64-bit hash of what they protect, made with a key of this process. Two things with one hash would
//! share a lock, which can only make somebody wait who need not.
//!
//! Whoever asks is granted if no other owner holds or, ahead in the queue, wants a mode that excludes his; an owner that
//! holds a lock that others wait for is ahead of them. When a lock goes, the queue is
//! gone through from its front in the same way.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use kalamdb_catalog::Oid;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::mode::LockMode;

const SHARDS: usize = 64;

/// What a lock protects.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LockTag {
    /// A row, by the hash of its key.
    Row {
        table: Oid,
        hash: u64,
    },
    Table(Oid),
    Advisory(AdvisoryKey),
}

/// The two spaces of advisory locks (manual, section 13.3.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AdvisoryKey {
    Big { database: Oid, key: i64 },
    Pair { database: Oid, class: i32, key: i32 },
}

/// A session, or a transaction of one: the session's pid in the upper half, the transaction's number in the lower. What
/// the session holds by itself has number 0. Transactions without a session have pid 0 and stand for themselves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Owner(u64);

impl Owner {
    pub fn new(pid: i32, transaction: u32) -> Owner {
        Owner(u64::from(pid as u32) << 32 | u64::from(transaction))
    }

    pub fn pid(self) -> i32 {
        (self.0 >> 32) as i32
    }

    /// The number of the transaction.
    pub fn transaction(self) -> u32 {
        self.0 as u32
    }

    /// Locks of one party do not exclude each other.
    pub(super) fn party(self) -> u64 {
        if self.pid() == 0 { self.0 } else { self.0 & !u64::from(u32::MAX) }
    }
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    owner: Owner,
    mode: LockMode,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    owner: Owner,
    mode: LockMode,
    granted: oneshot::Sender<()>,
}

/// What is kept of one hash.
#[derive(Debug)]
enum Slot {
    /// A row that one owner has locked and nobody waits for: most locks there are, and a bulk load has one for each row.
    Row(Holder),
    Lock(Box<Lock>),
}

#[derive(Debug)]
struct Lock {
    tag: LockTag,
    holders: Vec<Holder>,
    queue: VecDeque<Waiter>,
}

impl Slot {
    fn new(tag: LockTag, holder: Holder) -> Slot {
        match tag {
            LockTag::Row { .. } => Slot::Row(holder),
            tag => Slot::Lock(Box::new(Lock { tag, holders: vec![holder], queue: VecDeque::new() })),
        }
    }

    fn holders(&self) -> &[Holder] {
        match self {
            Slot::Row(holder) => std::slice::from_ref(holder),
            Slot::Lock(lock) => &lock.holders,
        }
    }

    /// The lock in full, for a second holder or a queue.
    fn full(&mut self, tag: LockTag) -> &mut Lock {
        if let Slot::Row(holder) = self {
            *self = Slot::Lock(Box::new(Lock { tag, holders: vec![*holder], queue: VecDeque::new() }));
        }
        match self {
            Slot::Lock(lock) => lock,
            Slot::Row(_) => unreachable!("made a lock above"),
        }
    }
}

impl Lock {
    fn excluded(&self, owner: Owner, mode: LockMode) -> bool {
        self.holders.iter().any(|h| h.owner.party() != owner.party() && h.mode.conflicts(mode))
    }

    /// The modes that an owner's party holds.
    fn modes_of(&self, owner: Owner) -> Vec<LockMode> {
        let mine = |h: &&Holder| h.owner.party() == owner.party();
        self.holders.iter().filter(mine).map(|h| h.mode).collect()
    }

    fn must_wait(&self, owner: Owner, mode: LockMode) -> bool {
        self.excluded(owner, mode) || (!self.queue.is_empty() && self.queues_behind(owner, mode, self.queue.iter()))
    }

    /// True if somebody ahead wants what excludes this. One who waits for what this owner holds is not ahead of it.
    fn queues_behind<'a>(&self, owner: Owner, mode: LockMode, queue: impl Iterator<Item = &'a Waiter>) -> bool {
        let held = self.modes_of(owner);
        let mut ahead = queue.take_while(|w| !held.iter().any(|h| h.conflicts(w.mode)));
        ahead.any(|w| w.owner.party() != owner.party() && w.mode.conflicts(mode))
    }

    /// Grants what can be granted, in the order of the queue.
    fn wake(&mut self) {
        let mut left: VecDeque<Waiter> = VecDeque::new();
        while let Some(waiter) = self.queue.pop_front() {
            let (owner, mode) = (waiter.owner, waiter.mode);
            if self.queues_behind(owner, mode, left.iter()) || self.excluded(owner, mode) {
                left.push_back(waiter);
                continue;
            }
            // One that has given up meanwhile is about to take itself out: see `Locks::leave`.
            if waiter.granted.send(()).is_ok() {
                self.holders.push(Holder { owner: waiter.owner, mode: waiter.mode });
            }
        }
        self.queue = left;
    }
}

/// The hash of what is a hash already: without the bits that are the same in a whole shard.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        unreachable!("{} bytes that are no hash", bytes.len())
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash.rotate_right(SHARDS.trailing_zeros());
    }
}

type Shard = HashMap<u64, Slot, BuildHasherDefault<Hashed>>;

/// What became of a request.
#[derive(Debug)]
pub(super) enum Request {
    /// Granted just now: to be released once.
    Granted,
    /// The owner has the mode, or one that covers it.
    Held,
    /// Another owner stands in the way, and nothing was queued.
    Refused,
    Queued(Ticket),
    /// Another one waits for what this owner holds, and holds what it wants, of this very lock.
    Deadlock,
}

/// A place in a queue.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) tag: LockTag,
    pub(super) mode: LockMode,
    pub(super) owner: Owner,
    pub(super) granted: oneshot::Receiver<()>,
    number: u64,
}

/// One who keeps another from a lock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocker {
    pub(super) owner: Owner,
    /// His place in the queue, if he has not got the lock either.
    pub(super) ahead: Option<u64>,
}

/// One lock of one owner, as pg_locks shows it.
#[derive(Clone, Debug)]
pub struct LockInfo {
    pub tag: LockTag,
    pub mode: LockMode,
    pub owner: Owner,
    pub granted: bool,
}

#[derive(Debug)]
pub(super) struct LockTable {
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
    tickets: AtomicU64,
}

impl LockTable {
    pub(super) fn new() -> LockTable {
        LockTable {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            tickets: AtomicU64::new(0),
        }
    }

    pub(super) fn row(&self, table: Oid, key: &[u8]) -> LockTag {
        LockTag::Row { table, hash: self.hasher.hash_one(key) }
    }

    pub(super) fn hash(&self, tag: LockTag) -> u64 {
        match tag {
            LockTag::Row { hash, .. } => hash,
            other => self.hasher.hash_one(other),
        }
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        &self.shards[hash as usize % SHARDS]
    }

    /// Asks for a lock; `queue` says whether to wait for it if it is not free.
    pub(super) fn request(&self, owner: Owner, tag: LockTag, mode: LockMode, queue: bool) -> Request {
        let hash = self.hash(tag);
        let mut shard = self.shard(hash).lock();
        let slot = match shard.entry(hash) {
            Entry::Vacant(free) => {
                free.insert(Slot::new(tag, Holder { owner, mode }));
                return Request::Granted;
            }
            Entry::Occupied(slot) => slot.into_mut(),
        };
        if slot.holders().iter().any(|h| h.owner == owner && h.mode.covers(mode)) {
            return Request::Held;
        }
        let lock = slot.full(tag);
        if !lock.must_wait(owner, mode) {
            lock.holders.push(Holder { owner, mode });
            return Request::Granted;
        }
        if !queue {
            return Request::Refused;
        }
        // One who waits for what this owner holds comes after it, for else they wait for each other. Not so for rows, as
        // in PostgreSQL, where who waits for a row waits for the end of a transaction.
        let held = if matches!(tag, LockTag::Row { .. }) { Vec::new() } else { lock.modes_of(owner) };
        let before = lock.queue.iter().position(|w| held.iter().any(|h| h.conflicts(w.mode)));
        let stuck = |w: &Waiter| {
            held.iter().any(|h| h.conflicts(w.mode)) && lock.modes_of(w.owner).iter().any(|h| h.conflicts(mode))
        };
        if lock.queue.iter().any(stuck) {
            return Request::Deadlock;
        }
        let number = self.tickets.fetch_add(1, Ordering::Relaxed);
        let (sender, granted) = oneshot::channel();
        let waiter = Waiter { ticket: number, owner, mode, granted: sender };
        lock.queue.insert(before.unwrap_or(lock.queue.len()), waiter);
        Request::Queued(Ticket { tag, mode, owner, granted, number })
    }

    /// True if others hold what excludes `mode`.
    pub(super) fn is_excluded(&self, owner: Owner, tag: LockTag, mode: LockMode) -> bool {
        let hash = self.hash(tag);
        let shard = self.shard(hash).lock();
        let excludes = |h: &Holder| h.owner.party() != owner.party() && h.mode.conflicts(mode);
        shard.get(&hash).is_some_and(|slot| slot.holders().iter().any(excludes))
    }

    /// Adds a mode to what an owner holds already.
    pub(super) fn add(&self, owner: Owner, tag: LockTag, mode: LockMode) {
        let hash = self.hash(tag);
        if let Some(slot) = self.shard(hash).lock().get_mut(&hash) {
            slot.full(tag).holders.push(Holder { owner, mode });
        }
    }

    /// Gives a lock back, by the hash of what it protects.
    pub(super) fn release(&self, owner: Owner, hash: u64, mode: LockMode) {
        let mut shard = self.shard(hash).lock();
        let Entry::Occupied(mut slot) = shard.entry(hash) else { return };
        let is = |h: &Holder| h.owner == owner && h.mode == mode;
        let unused = match slot.get_mut() {
            Slot::Row(holder) => is(holder),
            Slot::Lock(lock) => {
                if let Some(at) = lock.holders.iter().position(is) {
                    lock.holders.swap_remove(at);
                    lock.wake();
                }
                lock.holders.is_empty() && lock.queue.is_empty()
            }
        };
        if unused {
            slot.remove();
        }
    }

    /// Leaves a queue before its turn has come, or right after: then the lock goes back.
    pub(super) fn leave(&self, ticket: &mut Ticket) {
        let hash = self.hash(ticket.tag);
        let granted = {
            let mut shard = self.shard(hash).lock();
            if let Some(Slot::Lock(lock)) = shard.get_mut(&hash)
                && let Some(at) = lock.queue.iter().position(|w| w.ticket == ticket.number)
            {
                lock.queue.remove(at);
                // Those behind may have waited for this one only.
                lock.wake();
                false
            } else {
                ticket.granted.try_recv().is_ok()
            }
        };
        if granted {
            self.release(ticket.owner, hash, ticket.mode);
        }
    }

    /// Owners that keep a waiting one from its lock: those who hold it, and those ahead who want it.
    pub(super) fn blockers(&self, ticket: u64, tag: LockTag, owner: Owner, mode: LockMode) -> Vec<Blocker> {
        let hash = self.hash(tag);
        let shard = self.shard(hash).lock();
        let Some(Slot::Lock(lock)) = shard.get(&hash) else { return Vec::new() };
        if !lock.queue.iter().any(|w| w.ticket == ticket) {
            return Vec::new();
        }
        let other = |o: Owner, m: LockMode| o.party() != owner.party() && m.conflicts(mode);
        let holders = lock.holders.iter().filter(|h| other(h.owner, h.mode));
        let ahead = lock.queue.iter().take_while(|w| w.ticket != ticket).filter(|w| other(w.owner, w.mode));
        let holders = holders.map(|h| Blocker { owner: h.owner, ahead: None });
        holders.chain(ahead.map(|w| Blocker { owner: w.owner, ahead: Some(w.ticket) })).collect()
    }

    /// Lets a waiting one go ahead of another.
    pub(super) fn overtake(&self, tag: LockTag, ticket: u64, ahead: u64) {
        let hash = self.hash(tag);
        let mut shard = self.shard(hash).lock();
        let Some(Slot::Lock(lock)) = shard.get_mut(&hash) else { return };
        let at = |wanted: u64| lock.queue.iter().position(|w| w.ticket == wanted);
        if let (Some(from), Some(to)) = (at(ticket), at(ahead))
            && to < from
            && let Some(waiter) = lock.queue.remove(from)
        {
            lock.queue.insert(to, waiter);
            lock.wake();
        }
    }

    /// Every lock held or waited for, but rows that nobody waits for.
    pub(super) fn list(&self) -> Vec<LockInfo> {
        let mut out = Vec::new();
        for shard in &self.shards {
            for slot in shard.lock().values() {
                let Slot::Lock(lock) = slot else { continue };
                let held = lock.holders.iter().map(|h| (h.owner, h.mode, true));
                let waiting = lock.queue.iter().map(|w| (w.owner, w.mode, false));
                let info = |(owner, mode, granted)| LockInfo { tag: lock.tag, mode, owner, granted };
                out.extend(held.chain(waiting).map(info));
            }
        }
        out
    }
}

impl Ticket {
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl std::fmt::Display for AdvisoryKey {
    /// As PostgreSQL's deadlock reports name it: database, upper and lower half of the key, kind.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (database, upper, lower, kind) = self.parts();
        write!(f, "[{database},{upper},{lower},{kind}]")
    }
}

impl AdvisoryKey {
    /// pg_locks: database, classid, objid, objsubid.
    pub fn parts(self) -> (Oid, u32, u32, u16) {
        match self {
            AdvisoryKey::Big { database, key } => (database, (key >> 32) as u32, key as u32, 1),
            AdvisoryKey::Pair { database, class, key } => (database, class as u32, key as u32, 2),
        }
    }
}
