//! The queue of notifications: one for all listeners, as long as one of them has not got what is in it.
//!
//! Who has nothing to get has no place in it, so it is empty most of the time. What does not fit into memory is in files,
//! which go when the server ends: nothing of the queue outlives it (manual, NOTIFY).

use std::collections::{BTreeSet, HashMap, VecDeque, hash_map};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kalamdb_catalog::{Oid, Result, SqlError, SqlState};
use parking_lot::Mutex;

use super::notification::Notification;
use crate::limits::{NOTIFY_MEMORY_BYTES_MAX, NOTIFY_SEGMENT_BYTES};

/// A listener's number.
pub(super) type ListenerId = u64;

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Bytes in the queue, and of transactions about to be added.
    used: AtomicU64,
    max: u64,
    dir: PathBuf,
}

#[derive(Default, Debug)]
struct State {
    /// Files, oldest first.
    segments: VecDeque<Segment>,
    /// The place of the first notification in memory; those in files come before it.
    first: u64,
    memory: VecDeque<Entry>,
    memory_bytes: usize,
    next_segment: u64,
    /// Where each listener goes on that has not got all there is.
    places: HashMap<ListenerId, u64>,
    /// The same, furthest behind first.
    behind: BTreeSet<(u64, ListenerId)>,
}

#[derive(Clone, Debug)]
struct Entry {
    database: Oid,
    notification: Arc<Notification>,
}

/// Notifications in a file: for each `database u32 | pid i32 | channel length u32 | payload length u32 | channel | payload`.
#[derive(Debug)]
struct Segment {
    path: PathBuf,
    /// The places of its notifications.
    from: u64,
    to: u64,
    /// What they count for.
    bytes: u64,
}

/// What a listener is given of the queue.
#[derive(Debug)]
pub(super) struct Portion {
    pub(super) notifications: Vec<Arc<Notification>>,
    /// There is more.
    pub(super) more: bool,
}

impl Queue {
    /// An empty queue of at most `max` bytes, with its files in `dir`.
    pub(super) fn open(dir: PathBuf, max: u64) -> Result<Queue> {
        if dir.exists() {
            std::fs::remove_dir_all(&dir).map_err(|e| failed(&dir, &e))?;
        }
        Ok(Queue { state: Mutex::default(), used: AtomicU64::new(0), max, dir })
    }

    /// Takes room for a transaction's notifications, before it commits: 54000 if there is none.
    pub(super) fn reserve(&self, bytes: usize) -> Result<()> {
        let before = self.used.fetch_add(bytes as u64, Ordering::AcqRel);
        if before + bytes as u64 > self.max {
            self.release(bytes as u64);
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "too many notifications in the NOTIFY queue"));
        }
        Ok(())
    }

    pub(super) fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// How full it is: 0 to 1.
    pub(super) fn usage(&self) -> f64 {
        self.used.load(Ordering::Acquire) as f64 / self.max as f64
    }

    /// True if nobody has anything left to read.
    pub(super) fn is_read(&self) -> bool {
        self.state.lock().behind.is_empty()
    }

    /// True if it is far from needing files, and from a warning.
    pub(super) fn is_small(&self) -> bool {
        self.used.load(Ordering::Acquire) < (NOTIFY_MEMORY_BYTES_MAX as u64).min(self.max) / 4
    }

    /// Adds what a transaction tells, for which room has been taken, for these listeners. Those that had nothing to get before.
    pub(super) fn append(
        &self,
        database: Oid,
        notifications: Vec<Arc<Notification>>,
        listeners: impl Iterator<Item = ListenerId>,
    ) -> Vec<ListenerId> {
        let state = &mut *self.state.lock();
        let place = state.head();
        for notification in notifications {
            state.memory_bytes += notification.bytes();
            state.memory.push_back(Entry { database, notification });
        }
        // In one step with the above: a listener that reads takes with it what nobody is behind.
        let mut fresh = Vec::new();
        for listener in listeners {
            if let hash_map::Entry::Vacant(free) = state.places.entry(listener) {
                free.insert(place);
                state.behind.insert((place, listener));
                fresh.push(listener);
            }
        }
        state.trim(self);
        if state.memory_bytes > NOTIFY_MEMORY_BYTES_MAX
            && let Err(error) = state.spill(&self.dir)
        {
            tracing::error!(%error, "notifications stay in memory");
        }
        fresh
    }

    /// The next notifications for a listener, of about so many bytes.
    pub(super) fn read(
        &self,
        listener: ListenerId,
        bytes_max: usize,
        wants: impl Fn(Oid, &str) -> bool,
    ) -> Result<Portion> {
        let mut state = self.state.lock();
        let Some(&place) = state.places.get(&listener) else {
            return Ok(Portion { notifications: Vec::new(), more: false });
        };
        let mut next = place;
        let mut taken = Vec::new();
        let mut bytes = 0;
        while next < state.head() && bytes < bytes_max {
            let file;
            let entries: &mut dyn Iterator<Item = Entry> = if next < state.first {
                file = state.read_file(next)?;
                &mut file.into_iter()
            } else {
                &mut state.memory.range((next - state.first) as usize..).cloned()
            };
            for Entry { database, notification } in entries {
                next += 1;
                if wants(database, &notification.channel) {
                    bytes += notification.bytes();
                    taken.push(notification);
                    if bytes >= bytes_max {
                        break;
                    }
                }
            }
        }
        let more = next < state.head();
        state.behind.remove(&(place, listener));
        if more {
            state.places.insert(listener, next);
            state.behind.insert((next, listener));
        } else {
            state.places.remove(&listener);
        }
        state.trim(self);
        Ok(Portion { notifications: taken, more })
    }

    /// True if a listener has something to get, or at least to look at.
    pub(super) fn is_behind(&self, listener: ListenerId) -> bool {
        self.state.lock().places.contains_key(&listener)
    }

    /// A listener is gone.
    pub(super) fn forget(&self, listener: ListenerId) {
        let mut state = self.state.lock();
        if let Some(place) = state.places.remove(&listener) {
            state.behind.remove(&(place, listener));
            state.trim(self);
        }
    }

    /// Who holds the oldest notification.
    pub(super) fn slowest(&self) -> Option<ListenerId> {
        self.state.lock().behind.first().map(|(_, listener)| *listener)
    }
}

impl State {
    /// The place of the next notification.
    fn head(&self) -> u64 {
        self.first + self.memory.len() as u64
    }

    fn trim(&mut self, queue: &Queue) {
        let tail = self.behind.first().map_or(self.head(), |(place, _)| *place);
        while self.segments.front().is_some_and(|segment| segment.to <= tail) {
            if let Some(segment) = self.segments.pop_front() {
                queue.release(segment.bytes);
                if let Err(error) = std::fs::remove_file(&segment.path) {
                    tracing::warn!(%error, path = %segment.path.display(), "could not remove a file of notifications");
                }
            }
        }
        let mut freed = 0;
        while self.first < tail
            && let Some(entry) = self.memory.pop_front()
        {
            freed += entry.notification.bytes();
            self.first += 1;
        }
        self.memory_bytes -= freed;
        queue.release(freed as u64);
        if self.memory.is_empty() && self.memory.capacity() > 1024 {
            self.memory = VecDeque::new();
        }
    }

    /// Moves what is in memory into files.
    fn spill(&mut self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir).map_err(|e| failed(dir, &e))?;
        while !self.memory.is_empty() {
            let mut content = Vec::new();
            let (mut count, mut bytes) = (0, 0);
            for entry in &self.memory {
                if content.len() >= NOTIFY_SEGMENT_BYTES {
                    break;
                }
                write_entry(&mut content, entry);
                bytes += entry.notification.bytes();
                count += 1;
            }
            let path = dir.join(format!("{:08}", self.next_segment));
            File::create(&path).and_then(|mut file| file.write_all(&content)).map_err(|e| failed(&path, &e))?;
            self.next_segment += 1;
            let from = self.first;
            self.first += count as u64;
            self.segments.push_back(Segment { path, from, to: self.first, bytes: bytes as u64 });
            self.memory.drain(..count);
            self.memory_bytes -= bytes;
        }
        Ok(())
    }

    /// The notifications of a file, from a place in it on.
    fn read_file(&self, place: u64) -> Result<Vec<Entry>> {
        let segment = self.segments.iter().find(|s| (s.from..s.to).contains(&place));
        let segment = segment.ok_or_else(|| SqlError::internal("notifications have gone that are still wanted"))?;
        let mut content = Vec::new();
        let read = File::open(&segment.path).and_then(|mut file| file.read_to_end(&mut content));
        read.map_err(|e| failed(&segment.path, &e))?;
        let mut rest = content.as_slice();
        let mut entries = Vec::new();
        for at in segment.from..segment.to {
            let entry = read_entry(&mut rest).ok_or_else(|| {
                let message = format!("file \"{}\" of notifications is damaged", segment.path.display());
                SqlError::new(SqlState::DATA_CORRUPTED, message)
            })?;
            if at >= place {
                entries.push(entry);
            }
        }
        Ok(entries)
    }
}

fn write_entry(out: &mut Vec<u8>, Entry { database, notification }: &Entry) {
    out.extend(database.to_le_bytes());
    out.extend(notification.pid.to_le_bytes());
    for text in [&notification.channel, &notification.payload] {
        out.extend((text.len() as u32).to_le_bytes());
    }
    out.extend(notification.channel.as_bytes());
    out.extend(notification.payload.as_bytes());
}

fn read_entry(rest: &mut &[u8]) -> Option<Entry> {
    let mut number = || {
        let (head, tail) = rest.split_first_chunk::<4>()?;
        *rest = tail;
        Some(u32::from_le_bytes(*head))
    };
    let (database, pid) = (number()?, number()?.cast_signed());
    let lengths = [number()? as usize, number()? as usize];
    let mut texts = lengths.into_iter().map(|length| {
        let (text, tail) = rest.split_at_checked(length)?;
        *rest = tail;
        std::str::from_utf8(text).ok().map(Arc::<str>::from)
    });
    let (channel, payload) = (texts.next()??, texts.next()??);
    Some(Entry { database, notification: Arc::new(Notification::new(pid, channel, payload)) })
}

fn failed(path: &Path, error: &io::Error) -> SqlError {
    SqlError::new(SqlState::IO_ERROR, format!("could not keep notifications in \"{}\": {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::txn::tests::TempDir;

    fn notification(channel: &str, payload: String) -> Arc<Notification> {
        Arc::new(Notification::new(7, channel.into(), payload.into()))
    }

    #[test]
    fn what_does_not_fit_into_memory_is_read_from_files_in_order() {
        let dir = TempDir::new("queue");
        let queue = Queue::open(dir.0.join("notify"), 1 << 30).unwrap();
        let count = NOTIFY_MEMORY_BYTES_MAX / 1000 * 3;
        for i in 0..count {
            let told = notification(if i % 3 == 0 { "other" } else { "c" }, format!("{i:0>1000}"));
            queue.reserve(told.bytes()).unwrap();
            assert_eq!(queue.append(1, vec![told], [1].into_iter()).is_empty(), i > 0);
        }
        assert!(std::fs::read_dir(dir.0.join("notify")).unwrap().count() > 1);
        let mut expected = (0..count).filter(|i| i % 3 != 0);
        loop {
            let portion = queue.read(1, 100_000, |database, channel| database == 1 && channel == "c").unwrap();
            for told in &portion.notifications {
                assert_eq!(told.payload.parse::<usize>().ok(), expected.next());
                assert_eq!(told.pid, 7);
            }
            if !portion.more {
                break;
            }
        }
        assert_eq!(expected.next(), None);
        assert_eq!(queue.usage(), 0.0);
        assert_eq!(std::fs::read_dir(dir.0.join("notify")).unwrap().count(), 0);
    }

    #[test]
    fn a_full_queue_refuses_and_a_listener_that_goes_makes_room() {
        let dir = TempDir::new("queue-full");
        let queue = Queue::open(dir.0.join("notify"), 1000).unwrap();
        let told = notification("c", "x".repeat(500));
        queue.reserve(told.bytes()).unwrap();
        queue.append(1, vec![Arc::clone(&told)], [1].into_iter());
        assert_eq!(queue.reserve(told.bytes()).unwrap_err().code(), SqlState::PROGRAM_LIMIT_EXCEEDED);
        assert_eq!(queue.slowest(), Some(1));
        queue.forget(1);
        queue.reserve(told.bytes()).unwrap();
    }
}
