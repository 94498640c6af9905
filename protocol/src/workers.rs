//! The threads that serve connections: each with a runtime of its own, and a connection stays on the one it is given to.
//!
//! A message and its answer take some ten microseconds. On a runtime whose threads share their tasks, waking another
//! thread for each costs about as much again; here a thread sleeps on its own sockets and nobody else's. What takes
//! long runs elsewhere: queries on the engine's threads, commits on theirs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Handle};
use tokio::sync::Notify;

/// Threads for each core: while one of them plans a large statement, the others go on.
const THREADS_PER_CORE: usize = 2;

/// Planning recurses with the depth of a query.
const STACK_BYTES: usize = 8 << 20;

pub(crate) struct Workers {
    handles: Vec<Handle>,
    next: AtomicUsize,
    stop: Arc<Notify>,
}

impl Workers {
    pub(crate) fn start() -> io::Result<Workers> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let stop = Arc::new(Notify::new());
        let mut handles = Vec::new();
        for _ in 0..cores * THREADS_PER_CORE {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            handles.push(runtime.handle().clone());
            let stop = Arc::clone(&stop);
            let thread = std::thread::Builder::new().name("kalamdb".to_owned()).stack_size(STACK_BYTES);
            thread.spawn(move || runtime.block_on(stop.notified()))?;
        }
        Ok(Workers { handles, next: AtomicUsize::new(0), stop })
    }

    /// The runtime of the next connection.
    pub(crate) fn next(&self) -> &Handle {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        &self.handles[next % self.handles.len()]
    }

    /// Ends the threads. Their connections have ended before.
    pub(crate) fn stop(self) {
        self.stop.notify_waiters();
    }
}
