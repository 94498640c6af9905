//! SERIALIZABLE: a transaction that has written commits only if nothing it has read has been changed since its snapshot.
//!
//! What it has read is then as it was, so it might have run at the moment of its commit, alone: the order of commits is a
//! serial order. A transaction that has only read might have run at the moment of its snapshot. (Optimistic validation of
//! read sets: Kung and Robinson, 1981; PostgreSQL looks for dangerous structures instead, which aborts fewer
//! transactions and does more work for each read.)
//!
//! Ranges count as read whether or not they hold rows, so there are no phantoms.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use kalamdb_catalog::{Result, SqlError, SqlState};
use parking_lot::Mutex;

use super::run::Run;
use super::write_set::WriteSet;
use crate::storage::keys;

/// Single keys remembered; from then on a read of one counts as one of its whole table.
const POINTS_MAX: usize = 1 << 16;
/// Ranges remembered, likewise.
const RANGES_MAX: usize = 1 << 14;
/// Bytes of others' write sets kept for validation. Who would need older ones gets 40001.
const HISTORY_BYTES_MAX: usize = 256 << 20;

/// What a transaction has read.
#[derive(Default, Debug)]
pub(super) struct ReadSet(Mutex<Reads>);

#[derive(Default, Debug)]
struct Reads {
    points: HashSet<Bytes>,
    /// Disjoint: start, and the end, which is not part of it.
    ranges: BTreeMap<Bytes, Bytes>,
}

impl ReadSet {
    pub(super) fn point(&self, key: &[u8]) {
        let mut reads = self.0.lock();
        if reads.in_range(key) || reads.points.contains(key) {
            return;
        }
        if reads.points.len() >= POINTS_MAX {
            reads.whole_table(key);
        } else {
            reads.points.insert(Bytes::copy_from_slice(key));
        }
    }

    pub(super) fn range(&self, start: &[u8], end: &[u8]) {
        if start >= end {
            return;
        }
        let mut reads = self.0.lock();
        if reads.ranges.len() >= RANGES_MAX {
            reads.whole_table(start);
        } else {
            reads.add_range(Bytes::copy_from_slice(start), Bytes::copy_from_slice(end));
        }
    }
}

impl Reads {
    fn whole_table(&mut self, key: &[u8]) {
        let Some(storage) = key.first_chunk().map(|id| u32::from_be_bytes(*id)) else { return };
        let (start, end) = keys::storage_range(storage);
        self.add_range(start.into(), end.into());
    }

    /// Adds a range, with those that it touches made part of it.
    fn add_range(&mut self, mut start: Bytes, mut end: Bytes) {
        if let Some((before, its_end)) = self.ranges.range(..=start.clone()).next_back()
            && *its_end >= start
        {
            start = before.clone();
            end = end.max(its_end.clone());
        }
        let within = (Bound::Included(start.clone()), Bound::Included(end.clone()));
        let touched: Vec<Bytes> = self.ranges.range(within).map(|(s, _)| s.clone()).collect();
        for range in touched {
            if let Some(its_end) = self.ranges.remove(&range) {
                end = end.max(its_end);
            }
        }
        self.ranges.insert(start, end);
    }

    fn in_range(&self, key: &[u8]) -> bool {
        let before = self.ranges.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back();
        before.is_some_and(|(_, end)| key < &**end)
    }

    fn has_read(&self, writes: &Written) -> bool {
        match writes {
            Written::Keys(keys) => keys.iter().any(|(key, _)| self.points.contains(key) || self.in_range(key)),
            Written::Between(first, last) => {
                self.points.iter().any(|key| first <= key && key <= last)
                    || self.in_range(first)
                    || self.ranges.range(first.clone()..=last.clone()).next().is_some()
            }
        }
    }
}

/// What a commit has written.
#[derive(Debug)]
enum Written {
    Keys(Arc<WriteSet>),
    /// A long run of inserts: its first and last key.
    Between(Bytes, Bytes),
}

/// What has been committed lately; kept while there are serializable transactions.
#[derive(Default, Debug)]
pub(super) struct History(Mutex<Past>);

#[derive(Default, Debug)]
struct Past {
    /// Oldest first.
    commits: VecDeque<(u64, Written)>,
    bytes: usize,
    /// Commits up to this one may be missing.
    complete_after: u64,
}

impl History {
    /// Notes a commit. `oldest` is the oldest snapshot that is held.
    pub(super) fn add(&self, seq: u64, writes: &Arc<WriteSet>, run: Option<&Run>, oldest: u64) {
        let mut past = self.0.lock();
        match run.and_then(|run| Some((run.iter().next()?.0, run.iter().last()?.0))) {
            Some((first, last)) => {
                let between = Written::Between(Bytes::copy_from_slice(first), Bytes::copy_from_slice(last));
                past.commits.push_back((seq, between));
            }
            None => {
                past.bytes += writes.bytes();
                past.commits.push_back((seq, Written::Keys(Arc::clone(writes))));
            }
        }
        while let Some((seq, _)) = past.commits.front()
            && (*seq <= oldest || past.bytes > HISTORY_BYTES_MAX)
        {
            if let Some((seq, written)) = past.commits.pop_front() {
                past.complete_after = seq;
                if let Written::Keys(writes) = written {
                    past.bytes -= writes.bytes();
                }
            }
        }
    }

    /// There is nobody who needs it.
    pub(super) fn forget(&self, seq: u64) {
        let mut past = self.0.lock();
        past.commits.clear();
        past.bytes = 0;
        past.complete_after = seq;
    }

    /// 40001 if anything that was read has been changed by a commit after `snapshot`.
    /// `when` is for the error.
    pub(super) fn validate(&self, reads: &ReadSet, snapshot: u64, when: &str) -> Result<()> {
        let past = self.0.lock();
        let reads = reads.0.lock();
        let since = past.commits.partition_point(|(seq, _)| *seq <= snapshot);
        let changed = past.commits.range(since..).any(|(_, written)| reads.has_read(written));
        if changed || snapshot < past.complete_after { Err(dependency(when)) } else { Ok(()) }
    }
}

/// The error of a transaction that no serial order has room for.
fn dependency(when: &str) -> SqlError {
    let message = "could not serialize access due to read/write dependencies among transactions";
    SqlError::new(SqlState::T_R_SERIALIZATION_FAILURE, message)
        .detail(format!("Reason code: Canceled on identification as a pivot, during {when}."))
        .hint("The transaction might succeed if retried.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_merge_and_hold_what_lies_between() {
        let reads = ReadSet::default();
        reads.range(b"b", b"d");
        reads.range(b"f", b"h");
        reads.range(b"d", b"e");
        reads.point(b"x");
        let shown = |reads: &ReadSet| {
            let of = |b: &Bytes| String::from_utf8_lossy(b).into_owned();
            reads.0.lock().ranges.iter().map(|(s, e)| format!("{}-{}", of(s), of(e))).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(&reads), "b-e f-h");
        reads.range(b"c", b"g");
        assert_eq!(shown(&reads), "b-h");
        let reads = reads.0.lock();
        let asked: Vec<bool> =
            [b"a", b"b", b"e", b"g", b"h"].iter().map(|key| reads.in_range(key.as_slice())).collect();
        assert_eq!(asked, [false, true, true, true, false]);
        let between = |a: &'static [u8], b: &'static [u8]| {
            reads.has_read(&Written::Between(Bytes::from_static(a), Bytes::from_static(b)))
        };
        assert_eq!(
            [between(b"a", b"a"), between(b"a", b"c"), between(b"i", b"w"), between(b"i", b"y")],
            [false, true, false, true]
        );
    }
}
