//! What a statement reads: a snapshot of committed rows with the transaction's own writes over it.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use kalamdb_catalog::{Oid, Result};

use super::locks::Locks;
use super::serial::ReadSet;
use super::snapshots::Snapshot;
use super::write_set::WriteSet;
use crate::storage::{BatchDecoder, RowIter, RowMeta, RowRef, Storage, UNCOMMITTED};

/// Own writes fetched at a time while scanning.
const CHUNK: usize = 256;

/// A frozen view: later writes of the transaction do not show. Cheap to clone, may outlive the statement (a cursor); the
/// versions it sees stay as long as it lives.
#[derive(Clone, Debug)]
pub struct TxnReader {
    pub(super) storage: Arc<Storage>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) writes: Arc<WriteSet>,
    pub(super) locks: Arc<Locks>,
    /// Where a SERIALIZABLE transaction notes what it reads.
    pub(super) reads: Option<Arc<ReadSet>>,
}

impl TxnReader {
    pub fn snapshot_seq(&self) -> u64 {
        self.snapshot.seq()
    }

    /// The last commit that wrote rows of a user's table, as far as this process knows.
    pub fn last_write(&self, table: Oid) -> u64 {
        self.locks.table(table).last_write()
    }

    /// True if the transaction has written anything itself.
    pub fn has_written(&self) -> bool {
        !self.writes.is_empty()
    }

    /// The row of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.get_with_seq(key)?.map(|(_, row)| row))
    }

    /// The row of a key and its version's sequence number.
    pub fn get_with_seq(&self, key: &[u8]) -> Result<Option<(u64, Bytes)>> {
        if !self.writes.is_empty()
            && let Some(written) = self.writes.get(key)
        {
            return Ok(written.after.clone().map(|row| (UNCOMMITTED, row)));
        }
        if let Some(reads) = &self.reads {
            reads.point(key);
        }
        self.storage.get(key, self.snapshot.seq())
    }

    /// Notes that a range is read by other means than [`TxnReader::scan`].
    pub fn note_scan(&self, start: &[u8], end: &[u8]) {
        if let Some(reads) = &self.reads {
            reads.range(start, end);
        }
    }

    /// The rows with `start <= key < end`.
    pub fn scan(&self, start: Vec<u8>, end: Vec<u8>, reverse: bool) -> TxnScan {
        self.scan_with(start, end, reverse, Storage::scan_past_gaps)
    }

    /// The same for one who takes a few rows only.
    pub fn scan_few(&self, start: Vec<u8>, end: Vec<u8>, reverse: bool) -> TxnScan {
        self.scan_with(start, end, reverse, Storage::scan_few)
    }

    fn scan_with(
        &self,
        start: Vec<u8>,
        end: Vec<u8>,
        reverse: bool,
        forward: impl FnOnce(&Arc<Storage>, Vec<u8>, Vec<u8>, u64) -> RowIter,
    ) -> TxnScan {
        self.note_scan(&start, &end);
        let own = (!self.writes.is_empty() && start < end)
            .then(|| Own {
                writes: Arc::clone(&self.writes),
                start: Bound::Included(Bytes::copy_from_slice(&start)),
                end: Bound::Excluded(Bytes::copy_from_slice(&end)),
                reverse,
                ahead: VecDeque::new(),
            })
            .filter(|own| own.range().next().is_some());
        let snapshot = self.snapshot.seq();
        let rows = if reverse {
            self.storage.scan(start, end, snapshot, true)
        } else {
            forward(&self.storage, start, end, snapshot)
        };
        TxnScan { rows, own, at: At::Start, _snapshot: Arc::clone(&self.snapshot) }
    }
}

/// Own writes of a range, fetched in chunks, so that no borrow of the write set is kept.
struct Own {
    writes: Arc<WriteSet>,
    /// What is not fetched yet.
    start: Bound<Bytes>,
    end: Bound<Bytes>,
    reverse: bool,
    ahead: VecDeque<(Bytes, Option<Bytes>)>,
}

impl Own {
    fn range(&self) -> impl DoubleEndedIterator<Item = (&Bytes, &super::write_set::Written)> {
        self.writes.range(self.start.as_ref().map(|b| &**b), self.end.as_ref().map(|b| &**b))
    }

    /// The next own write, left in place.
    fn peek(&mut self) -> Option<&(Bytes, Option<Bytes>)> {
        if self.ahead.is_empty() {
            let copy = |(k, w): (&Bytes, &super::write_set::Written)| (k.clone(), w.after.clone());
            let chunk: VecDeque<_> = if self.reverse {
                self.range().rev().take(CHUNK).map(copy).collect()
            } else {
                self.range().take(CHUNK).map(copy).collect()
            };
            if let Some((last, _)) = chunk.back() {
                let bound = Bound::Excluded(last.clone());
                *(if self.reverse { &mut self.end } else { &mut self.start }) = bound;
            }
            self.ahead = chunk;
        }
        self.ahead.front()
    }
}

/// Where a scan stands.
enum At {
    Start,
    /// At the committed row, which is given out.
    Row,
    /// At an own row; the committed one, if there is one, comes later.
    Own(Bytes, Bytes),
    /// At the end of the committed rows.
    RowsDone,
}

/// Rows of a range. Lends each row until the next call; `Send`, and owns what it reads from.
pub struct TxnScan {
    rows: RowIter,
    own: Option<Own>,
    at: At,
    /// Keeps the versions; dropped last.
    _snapshot: Arc<Snapshot>,
}

impl TxnScan {
    /// The next row. Not an `Iterator`: rows are lent.
    #[allow(clippy::should_implement_trait)]
    #[inline]
    pub fn next(&mut self) -> Result<Option<RowRef<'_>>> {
        if self.own.is_none() {
            return self.rows.next();
        }
        self.next_merged()
    }

    /// Appends rows until the batch is full; false once the scan is at its end.
    pub fn fill(&mut self, batch: &mut BatchDecoder) -> Result<bool> {
        if self.own.is_none() {
            return self.rows.fill(batch);
        }
        while !batch.is_full() {
            match self.next_merged()? {
                Some(row) => batch.append(row.row, RowMeta { key: row.key, seq: row.seq })?,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn next_merged(&mut self) -> Result<Option<RowRef<'_>>> {
        let Some(own) = &mut self.own else { return self.rows.next() };
        if matches!(self.at, At::Start | At::Row) {
            self.at = if self.rows.advance()? { At::Row } else { At::RowsDone };
        } else if let At::Own(..) = self.at {
            // The committed row ahead, if there is one, has not been given out.
            self.at = if self.rows.is_valid() { At::Row } else { At::RowsDone };
        }
        loop {
            let order = match (own.peek(), &self.at) {
                (None, At::Row) => Ordering::Greater,
                (None, _) => return Ok(None),
                (Some(_), At::RowsDone) => Ordering::Less,
                (Some((key, _)), _) => {
                    let order = (**key).cmp(self.rows.current().key);
                    if own.reverse { order.reverse() } else { order }
                }
            };
            if order == Ordering::Greater {
                return Ok(Some(self.rows.current()));
            }
            if order == Ordering::Equal {
                // Hidden by the own write.
                self.at = if self.rows.advance()? { At::Row } else { At::RowsDone };
            }
            if let Some((key, Some(row))) = own.ahead.pop_front() {
                self.at = At::Own(key, row);
                let At::Own(key, row) = &self.at else { return Ok(None) };
                return Ok(Some(RowRef { key, seq: UNCOMMITTED, row }));
            }
        }
    }
}
