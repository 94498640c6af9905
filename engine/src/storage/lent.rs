//! Iterators that are used again: making one costs more than moving it to a key or two.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use parking_lot::Mutex;
use rocksdb::DBRawIteratorWithThreadMode;

use super::store::{Db, Storage};

/// Iterators of a sort that are kept.
const KEPT_MAX: usize = 16;

pub(super) type LastingIter = DBRawIteratorWithThreadMode<'static, Db>;

/// Iterators that nobody uses at the moment. Each holds on to the files and memtables of when it was last used, so they must be
/// forgotten every now and then.
#[derive(Default)]
pub(super) struct IdleIters(Mutex<Vec<LastingIter>>);

impl IdleIters {
    /// One that shows the newest state, if there is any.
    pub(super) fn take(&self) -> Option<LastingIter> {
        let mut iter = self.0.lock().pop()?;
        iter.refresh().is_ok().then_some(iter)
    }

    pub(super) fn give_back(&self, iter: LastingIter) {
        let mut kept = self.0.lock();
        if kept.len() < KEPT_MAX {
            kept.push(iter);
        }
    }

    pub(super) fn forget(&self) {
        let forgotten = std::mem::take(&mut *self.0.lock());
        drop(forgotten);
    }
}

/// An iterator over all data in order, without bounds, until it is given back.
pub(super) struct Lent {
    /// None only while it is dropped.
    iter: Option<LastingIter>,
    /// Outlives `iter`, which borrows from it: fields are dropped in order of declaration.
    storage: Arc<Storage>,
}

impl Lent {
    pub(super) fn new(iter: LastingIter, storage: Arc<Storage>) -> Lent {
        Lent { iter: Some(iter), storage }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(iter) = self.iter.take() {
            self.storage.take_back(iter);
        }
    }
}

/// The iterator of a scan.
pub(super) enum ScanIter {
    /// Made for its range.
    Own(LastingIter),
    Lent(Lent),
}

impl Deref for ScanIter {
    type Target = LastingIter;

    fn deref(&self) -> &LastingIter {
        match self {
            ScanIter::Own(iter) => iter,
            ScanIter::Lent(lent) => lent.iter.as_ref().unwrap_or_else(|| unreachable!("only while it is dropped")),
        }
    }
}

impl DerefMut for ScanIter {
    fn deref_mut(&mut self) -> &mut LastingIter {
        match self {
            ScanIter::Own(iter) => iter,
            ScanIter::Lent(lent) => lent.iter.as_mut().unwrap_or_else(|| unreachable!("only while it is dropped")),
        }
    }
}
