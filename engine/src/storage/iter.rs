//! The rows of a key range at a snapshot.
//!
//! RocksDB holds every version of every key, newest first. The iterator gives, per key, the newest version at or below
//! the snapshot unless that is a deletion. Other versions are stepped over, and jumped over once there are many.

use std::sync::Arc;

use kalamdb_catalog::Result;
use rocksdb::DBRawIteratorWithThreadMode;

use super::batch::{BatchDecoder, RowMeta};
use super::gaps::STEPPED_MIN;
use super::lent::ScanIter;
use super::store::{Db, Storage};
use super::{error, keys};

/// Versions stepped over before a seek is cheaper.
const STEPS_MAX: u32 = 8;

/// A row found by a scan; valid until the iterator moves.
#[derive(Clone, Copy, Debug)]
pub struct RowRef<'a> {
    /// Key without sequence number.
    pub key: &'a [u8],
    /// Commit sequence number, [`UNCOMMITTED`](super::UNCOMMITTED) for the transaction's own writes.
    pub seq: u64,
    pub row: &'a [u8],
}

/// See [`Storage::scan`]. Not an `Iterator`: rows are lent, not copied.
pub struct RowIter {
    /// Borrows from `storage`: declared before it, so dropped before it.
    iter: ScanIter,
    /// It has bounds of its own; else `seek` begins as the start of the range.
    bounded: bool,
    snapshot: u64,
    reverse: bool,
    /// The range is one key; `seek` starts as the version to look for.
    point: bool,
    started: bool,
    valid: bool,
    /// The current row's key.
    key: Vec<u8>,
    seq: u64,
    /// Reverse only: the current row.
    row: Vec<u8>,
    seek: Vec<u8>,
    /// Of the range.
    end: Vec<u8>,
    /// Until the first row has been found.
    gap: Option<GapAhead>,
    storage: Arc<Storage>,
}

/// What lies before the first row.
struct GapAhead {
    start: Vec<u8>,
    /// It is worth telling of, however small.
    known: bool,
    /// Deleted keys stepped over.
    stepped: u32,
    /// The first key with a version too new to be seen.
    unseen: Option<Vec<u8>>,
}

impl RowIter {
    pub(super) fn new(storage: Arc<Storage>, start: Vec<u8>, end: Vec<u8>, snapshot: u64, reverse: bool) -> RowIter {
        let end = if end < start { start.clone() } else { end };
        let point = keys::point(&start, &end).is_some();
        let iter = if point { storage.raw_point_iter() } else { storage.raw_iter(&start, &end) };
        let mut seek = Vec::new();
        if point {
            seek = start;
            keys::push_seq(&mut seek, snapshot);
        }
        // SAFETY: the iterator borrows the database inside `storage`, which is behind an Arc that this struct holds, so
        // it neither moves nor goes away before the iterator does (fields are dropped in order of declaration).
        let iter = unsafe {
            std::mem::transmute::<DBRawIteratorWithThreadMode<'_, Db>, DBRawIteratorWithThreadMode<'static, Db>>(iter)
        };
        RowIter {
            iter: ScanIter::Own(iter),
            bounded: true,
            snapshot,
            // One row at most: the direction makes no difference.
            reverse: reverse && !point,
            point,
            started: false,
            valid: false,
            key: Vec::new(),
            seq: 0,
            row: Vec::new(),
            seek,
            end,
            gap: None,
            storage,
        }
    }

    /// Forward, for a few rows: with an iterator that is used again.
    pub(super) fn few(storage: Arc<Storage>, start: Vec<u8>, end: Vec<u8>, snapshot: u64) -> RowIter {
        if keys::point(&start, &end).is_some() || end < start {
            return RowIter::new(storage, start, end, snapshot, false);
        }
        RowIter {
            iter: ScanIter::Lent(storage.lend_iter()),
            bounded: false,
            snapshot,
            reverse: false,
            point: false,
            started: false,
            valid: false,
            key: Vec::new(),
            seq: 0,
            row: Vec::new(),
            seek: start,
            end,
            gap: None,
            storage,
        }
    }

    /// Tells the storage what there is before the first row. `start` is where the range begins; whether there is a gap already.
    pub(super) fn noting_gap(self, (start, known): (Vec<u8>, bool)) -> RowIter {
        let gap = GapAhead { start, known, stepped: 0, unseen: None };
        RowIter { gap: (!self.point).then_some(gap), ..self }
    }

    /// The first row has been found, or there is none.
    fn tell_gap(&mut self, found: bool) {
        let Some(gap) = self.gap.take() else { return };
        let end = match (&gap.unseen, found) {
            (Some(unseen), _) => unseen,
            (None, true) => &self.key,
            (None, false) => &self.end,
        };
        if (gap.known && *end != gap.start) || gap.stepped >= STEPPED_MIN {
            self.storage.gaps().found(&gap.start, end, self.snapshot);
        }
    }

    /// Moves to the next row; false at the end.
    pub fn advance(&mut self) -> Result<bool> {
        let found = if self.reverse { self.advance_back() } else { self.advance_forward() };
        self.valid = found;
        if !found {
            self.iter.status().map_err(|e| error::convert(&e))?;
        }
        if self.gap.is_some() {
            self.tell_gap(found);
        }
        Ok(found)
    }

    /// True while there is a current row.
    pub(crate) fn is_valid(&self) -> bool {
        self.valid
    }

    /// The row moved to. Only after [`RowIter::advance`] gave true.
    #[inline]
    pub fn current(&self) -> RowRef<'_> {
        let row = if self.reverse { &*self.row } else { self.iter.value().unwrap_or_default() };
        RowRef { key: &self.key, seq: self.seq, row }
    }

    /// The next row. Not an `Iterator`: rows are lent.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<RowRef<'_>>> {
        Ok(if self.advance()? { Some(self.current()) } else { None })
    }

    /// Appends rows until the batch is full; false once the range is at its end.
    pub fn fill(&mut self, batch: &mut BatchDecoder) -> Result<bool> {
        while !batch.is_full() {
            if !self.advance()? {
                return Ok(false);
            }
            let row = self.current();
            batch.append(row.row, RowMeta { key: row.key, seq: row.seq })?;
        }
        Ok(true)
    }

    /// The storage it reads.
    pub fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }

    fn advance_forward(&mut self) -> bool {
        if self.point {
            return self.advance_point();
        }
        if self.started {
            self.skip_key();
        } else {
            self.started = true;
            match self.bounded {
                true => self.iter.seek_to_first(),
                false => self.iter.seek(&self.seek),
            }
        }
        let mut steps = 0;
        loop {
            let Some((stored, row)) = self.iter.item() else { return false };
            if !self.bounded && stored >= &self.end[..] {
                return false;
            }
            let Some((key, seq)) = keys::split(stored) else {
                self.iter.next();
                continue;
            };
            if seq > self.snapshot {
                if let Some(gap) = &mut self.gap
                    && gap.unseen.is_none()
                {
                    gap.unseen = Some(key.to_vec());
                }
                // Too new. A run of them is mostly versions of one key: jump to the one wanted.
                steps += 1;
                if steps > STEPS_MAX {
                    steps = 0;
                    self.seek.clear();
                    self.seek.extend_from_slice(key);
                    keys::push_seq(&mut self.seek, self.snapshot);
                    self.iter.seek(&self.seek);
                } else {
                    self.iter.next();
                }
                continue;
            }
            let deleted = row.is_empty();
            self.key.clear();
            self.key.extend_from_slice(key);
            self.seq = seq;
            if !deleted {
                return true;
            }
            if let Some(gap) = &mut self.gap {
                gap.stepped += 1;
            }
            self.skip_key();
        }
    }

    /// The row of the one key, the first time.
    fn advance_point(&mut self) -> bool {
        if std::mem::replace(&mut self.started, true) {
            return false;
        }
        self.iter.seek(&self.seek);
        let Some((stored, row)) = self.iter.item() else { return false };
        let Some((key, seq)) = keys::split(stored) else { return false };
        if row.is_empty() || keys::split(&self.seek).is_none_or(|(wanted, _)| wanted != key) {
            return false;
        }
        self.key.extend_from_slice(key);
        self.seq = seq;
        true
    }

    /// Moves past the versions of the current key that are still ahead.
    #[inline]
    fn skip_key(&mut self) {
        for _ in 0..STEPS_MAX {
            self.iter.next();
            match self.iter.key().and_then(keys::split) {
                Some((key, _)) if key == self.key => {}
                _ => return,
            }
        }
        self.seek.clear();
        self.seek.extend_from_slice(&keys::after(&self.key));
        self.iter.seek(&self.seek);
    }

    /// Backwards a key's versions come oldest first: the last one at or below the snapshot is the one wanted.
    fn advance_back(&mut self) -> bool {
        if !self.started {
            self.started = true;
            self.iter.seek_to_last();
        }
        loop {
            let Some((key, _)) = self.iter.key().and_then(keys::split) else { return false };
            self.key.clear();
            self.key.extend_from_slice(key);
            let mut visible = false;
            let mut steps = 0;
            while let Some((stored, row)) = self.iter.item()
                && let Some((key, seq)) = keys::split(stored)
                && key == self.key
            {
                if seq <= self.snapshot {
                    visible = true;
                    self.seq = seq;
                    self.row.clear();
                    self.row.extend_from_slice(row);
                }
                steps += 1;
                if steps > STEPS_MAX {
                    visible = self.seek_newest_visible();
                    break;
                }
                self.iter.prev();
            }
            if visible && !self.row.is_empty() {
                return true;
            }
        }
    }

    /// Finds the current key's version for the snapshot by a seek, and leaves the iterator before the key.
    fn seek_newest_visible(&mut self) -> bool {
        self.seek.clear();
        self.seek.extend_from_slice(&self.key);
        keys::push_seq(&mut self.seek, self.snapshot);
        self.iter.seek(&self.seek);
        let mut visible = false;
        if let Some((stored, row)) = self.iter.item()
            && let Some((key, seq)) = keys::split(stored)
            && key == self.key
        {
            visible = true;
            self.seq = seq;
            self.row.clear();
            self.row.extend_from_slice(row);
        }
        // No version is stored under the bare key, so this lands on the key before.
        self.iter.seek_for_prev(&self.key);
        visible
    }
}
