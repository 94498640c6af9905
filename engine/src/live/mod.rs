//! Notifications: who listens to what, and what is on its way to them.
//!
//! Who commits hands over what a commit tells (`Announced::publish`) and goes on. The live thread puts it
//! into the queue in commit order and wakes the listeners of its channels, and nobody else. A listener's connection takes
//! what is for it ([`LiveQueryManager::take`]) while it is idle outside a transaction (manual, LISTEN and NOTIFY; async.c).

mod diff;
mod feed;
mod feeder;
mod listener;
mod notification;
mod payload;
mod queries;
mod query;
mod queue;
mod rows;
mod subscription;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use kalamdb_catalog::{Oid, Result, SqlError, SqlState};
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

pub(crate) use feed::Feed;
pub use listener::Listener;
pub use notification::{AnnouncementMark, Announcements, ListenAction, Notification, Notifies};
pub(crate) use payload::Form;
pub use queries::Prepared;
pub use queries::{ListenOptions, LiveCounts, LiveQueries};
use queue::{ListenerId, Queue};
pub(crate) use rows::LiveRows;
pub use subscription::Subscription;

/// Notifications of one commit, and listeners of a channel, that who commits may carry himself.
const FEW: usize = 8;
/// How often the log may warn of a queue that is half full.
const WARNING_PAUSE: Duration = Duration::from_secs(5);

/// The one registry of listeners and channels.
#[derive(Debug)]
pub struct LiveQueryManager {
    queue: Queue,
    channels: DashMap<(Oid, Arc<str>), HashMap<ListenerId, Arc<Listener>>>,
    listeners: DashMap<ListenerId, Arc<Listener>>,
    next_listener: AtomicU64,
    feed: Mutex<HandedOver>,
    /// Held by who carries what has been handed over to the listeners. Taken before `feed`.
    carrying: Mutex<()>,
    fed: Condvar,
    /// How many commits have been carried to the listeners.
    carried: watch::Sender<u64>,
    /// There are live queries: commits wake their thread.
    watching: AtomicBool,
    watch: Mutex<Watch>,
    news: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread of live queries waits for.
#[derive(Default, Debug)]
struct Watch {
    news: bool,
    closed: bool,
}

/// What a transaction tells once it has committed, with room in the queue, which it gives back if it does not.
#[derive(Debug)]
pub(crate) struct Announced {
    notifies: Option<Notifies>,
    live: Arc<LiveQueryManager>,
}

impl Announced {
    /// Tells. Called by who commits, in commit order; never waits. `quiet`: nothing else is being committed, so a few listeners
    /// are told at once; the way over the thread would take longer.
    pub(crate) fn publish(mut self, quiet: bool) {
        if let Some(notifies) = self.notifies.take() {
            self.live.publish(notifies, quiet);
        }
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        if let Some(notifies) = &self.notifies {
            self.live.queue.release(notifies.bytes as u64);
        }
    }
}

/// What commits have handed over. Bounded by the room that is taken in the queue before each commit.
#[derive(Default, Debug)]
struct HandedOver {
    commits: VecDeque<Notifies>,
    /// How many there have ever been.
    handed_over: u64,
    closed: bool,
}

impl LiveQueryManager {
    /// `dir`: for what does not fit into memory of a queue of at most `queue_bytes_max` bytes.
    pub fn open(dir: PathBuf, queue_bytes_max: u64) -> Result<Arc<LiveQueryManager>> {
        let manager = Arc::new(LiveQueryManager {
            queue: Queue::open(dir, queue_bytes_max)?,
            channels: DashMap::new(),
            listeners: DashMap::new(),
            next_listener: AtomicU64::new(1),
            feed: Mutex::default(),
            carrying: Mutex::default(),
            fed: Condvar::new(),
            carried: watch::Sender::new(0),
            watching: AtomicBool::new(false),
            watch: Mutex::default(),
            news: Condvar::new(),
            thread: Mutex::default(),
        });
        let running = Arc::clone(&manager);
        let thread = std::thread::Builder::new().name("kalamdb-live".to_owned()).spawn(move || running.run());
        let failed = |e| SqlError::new(SqlState::INSUFFICIENT_RESOURCES, format!("could not start a thread: {e}"));
        *manager.thread.lock() = Some(thread.map_err(failed)?);
        Ok(manager)
    }

    /// Ends the thread.
    pub fn close(&self) {
        self.feed.lock().closed = true;
        self.fed.notify_one();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of notifications panicked");
        }
    }

    /// Enters a session that begins to listen.
    pub fn connect(&self, pid: i32, database: Oid) -> Arc<Listener> {
        let id = self.next_listener.fetch_add(1, Ordering::Relaxed);
        let listener = Arc::new(Listener::new(id, pid, database));
        self.listeners.insert(id, Arc::clone(&listener));
        listener
    }

    /// The session has ended: whatever is known of it goes.
    pub fn disconnect(&self, listener: &Listener) {
        for channel in listener.channels() {
            self.unlisten(listener, &channel);
        }
        self.queue.forget(listener.id);
        self.listeners.remove(&listener.id);
    }

    /// What commits from here on tell on this channel is kept for the listener. Whether he gets it is up to
    /// [`LiveQueryManager::listen`], before he takes it.
    pub(crate) fn prepare(&self, listener: &Arc<Listener>, channel: &Arc<str>) {
        let key = (listener.database, Arc::clone(channel));
        self.channels.entry(key).or_default().insert(listener.id, Arc::clone(listener));
    }

    /// LISTEN, once its transaction has committed.
    pub(crate) fn listen(&self, listener: &Arc<Listener>, channel: &Arc<str>) {
        self.prepare(listener, channel);
        listener.add(channel);
    }

    /// UNLISTEN, or a LISTEN whose transaction has not committed.
    pub(crate) fn unlisten(&self, listener: &Listener, channel: &Arc<str>) {
        listener.remove(channel);
        let key = (listener.database, Arc::clone(channel));
        if let Some(mut listeners) = self.channels.get_mut(&key) {
            listeners.remove(&listener.id);
        }
        self.channels.remove_if(&key, |_, listeners| listeners.is_empty());
    }

    /// Takes room in the queue, before the commit: 54000 if it is full.
    pub(crate) fn reserve(self: &Arc<Self>, notifies: Notifies) -> Result<Announced> {
        self.queue.reserve(notifies.bytes)?;
        Ok(Announced { notifies: Some(notifies), live: Arc::clone(self) })
    }

    fn publish(&self, notifies: Notifies, quiet: bool) {
        let turn = self.carrying.try_lock();
        let mut feed = self.feed.lock();
        feed.handed_over += 1;
        // Nothing is on its way that would be overtaken.
        if turn.is_some() && feed.commits.is_empty() {
            drop(feed);
            let heard = self.is_heard(&notifies) || !self.queue.is_read();
            if !heard || quiet && self.is_little(&notifies) {
                match heard {
                    true => self.carry(notifies),
                    false => self.queue.release(notifies.bytes as u64),
                }
                self.carried.send_modify(|carried| *carried += 1);
                return;
            }
            feed = self.feed.lock();
        }
        feed.commits.push_back(notifies);
        drop(feed);
        self.fed.notify_one();
    }

    /// True if there may be somebody to tell: who begins to listen is entered before his LISTEN commits. Who has not read all there
    /// is may come to listen to the channel before he does.
    fn is_heard(&self, Notifies { database, list, .. }: &Notifies) -> bool {
        let mut last: Option<&Arc<str>> = None;
        list.iter().any(|(channel, _)| {
            let again = last == Some(channel);
            last = Some(channel);
            !again && self.channels.contains_key(&(*database, Arc::clone(channel)))
        })
    }

    /// True if few are told little.
    fn is_little(&self, Notifies { database, list, .. }: &Notifies) -> bool {
        let few = |channel: &Arc<str>| {
            self.channels.get(&(*database, Arc::clone(channel))).is_none_or(|listeners| listeners.len() <= FEW)
        };
        list.len() <= FEW && self.queue.is_small() && list.iter().all(|(channel, _)| few(channel))
    }

    /// Something has been committed. Called by who commits once it is visible; never waits.
    pub(crate) fn committed(&self) {
        if self.watching.load(Ordering::Acquire) {
            self.wake_queries();
        }
    }

    /// Whether commits are to wake the thread of live queries.
    fn set_watching(&self, watching: bool) {
        self.watching.store(watching, Ordering::Release);
    }

    fn wake_queries(&self) {
        self.watch.lock().news = true;
        self.news.notify_one();
    }

    fn stop_watching(&self) {
        self.watch.lock().closed = true;
        self.news.notify_one();
    }

    /// Waits for news. False: there will be none.
    fn watched(&self) -> bool {
        let mut watch = self.watch.lock();
        while !watch.news && !watch.closed {
            self.news.wait(&mut watch);
        }
        watch.news = false;
        !watch.closed
    }

    /// Waits until what has been published so far is there for its listeners.
    pub(crate) async fn settled(&self) {
        let target = self.feed.lock().handed_over;
        let mut carried = self.carried.subscribe();
        // An error: the server ends.
        let _ = carried.wait_for(|carried| *carried >= target).await;
    }

    /// The next notifications of a listener, of about so many bytes. True if there are more.
    pub fn take(&self, listener: &Listener, bytes_max: usize) -> Result<(Vec<Arc<Notification>>, bool)> {
        let wants = |database: Oid, channel: &str| database == listener.database && listener.listens_to(channel);
        let portion = self.queue.read(listener.id, bytes_max, wants)?;
        Ok((portion.notifications, portion.more))
    }

    /// True if there may be something to take.
    pub fn has_more(&self, listener: &Listener) -> bool {
        self.queue.is_behind(listener.id)
    }

    /// pg_notification_queue_usage: 0 to 1.
    pub fn queue_usage(&self) -> f64 {
        self.queue.usage()
    }

    /// How many sessions listen, or have listened.
    pub fn listeners(&self) -> usize {
        self.listeners.len()
    }

    fn run(&self) {
        let mut warned: Option<Instant> = None;
        loop {
            let mut feed = self.feed.lock();
            while feed.commits.is_empty() && !feed.closed {
                self.fed.wait(&mut feed);
            }
            if feed.commits.is_empty() {
                // Nobody waits for what does not come any more.
                self.carried.send_replace(u64::MAX);
                return;
            }
            drop(feed);
            let _turn = self.carrying.lock();
            let commits = std::mem::take(&mut self.feed.lock().commits);
            let count = commits.len() as u64;
            for notifies in commits {
                self.carry(notifies);
            }
            self.carried.send_modify(|carried| *carried += count);
            if self.queue.usage() > 0.5 && warned.is_none_or(|at| at.elapsed() > WARNING_PAUSE) {
                warned = Some(Instant::now());
                self.warn();
            }
        }
    }

    /// Puts what a commit tells into the queue, and wakes who listens.
    fn carry(&self, Notifies { pid, database, list, .. }: Notifies) {
        let notifications = list
            .iter()
            .map(|(channel, payload)| Arc::new(Notification::new(pid, Arc::clone(channel), Arc::clone(payload))));
        let mut listeners: HashMap<ListenerId, Arc<Listener>> = HashMap::new();
        let mut last: Option<&Arc<str>> = None;
        for (channel, _) in &list {
            if last == Some(channel) {
                continue;
            }
            last = Some(channel);
            if let Some(found) = self.channels.get(&(database, Arc::clone(channel))) {
                listeners.extend(found.iter().map(|(id, listener)| (*id, Arc::clone(listener))));
            }
        }
        for id in self.queue.append(database, notifications.collect(), listeners.keys().copied()) {
            if let Some(listener) = listeners.get(&id) {
                listener.wake();
            }
        }
    }

    fn warn(&self) {
        let slowest = self.queue.slowest().and_then(|id| self.listeners.get(&id).map(|listener| listener.pid));
        let full = (self.queue.usage() * 100.0) as u32;
        match slowest {
            Some(pid) => tracing::warn!(
                pid,
                "NOTIFY queue is {full}% full: the session with this pid has not taken the oldest notifications; \
                 it cannot be emptied until the session ends its transaction or reads"
            ),
            None => tracing::warn!("NOTIFY queue is {full}% full"),
        }
    }
}
