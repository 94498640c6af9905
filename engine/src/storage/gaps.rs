//! Stretches of a storage in which there is nothing to see any more.
//!
//! Who takes the first row and deletes it, again and again (a queue), leaves versions behind that every scan from the front has
//! to step over until compaction takes them away. What one scan has stepped over is remembered, and the next one begins behind
//! it. A commit that puts a row into a gap ends the gap there before the row can be seen.
//!
//! A gap is good for snapshots from the one that found it on. It is kept in memory only.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};

use kalamdb_catalog::StorageId;
use parking_lot::Mutex;

use super::keys;

/// Keys stepped over from which on a gap is worth remembering.
pub(super) const STEPPED_MIN: u32 = 64;
/// Storages with a gap; each costs every commit a look.
const GAPS_MAX: usize = 64;
/// Ends of a gap that are kept, for snapshots of different age.
const STEPS_MAX: usize = 8;
/// Commits remembered, for scans with a snapshot from before them.
const PUTS_MAX: usize = 256;

#[derive(Default)]
pub(crate) struct Gaps {
    /// How many there are: mostly none, and then nobody looks.
    count: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last commit that has been noted.
    noted: u64,
    of: HashMap<StorageId, Gap>,
}

#[derive(Default)]
struct Gap {
    start: Vec<u8>,
    /// Where it ends for snapshots from a number on; both ascend.
    steps: VecDeque<(u64, Vec<u8>)>,
    /// Commits that put rows into the storage, each with the least key.
    puts: VecDeque<(u64, Vec<u8>)>,
    /// All commits after this one are among `puts`, if they put anything.
    complete_after: u64,
}

/// Where a scan that notes gaps begins.
pub(super) struct From {
    pub(super) key: Vec<u8>,
    /// It begins in a storage with a gap: whatever it steps over counts.
    pub(super) known: bool,
}

impl Gaps {
    /// Where a scan from `start` may begin.
    pub(super) fn from(&self, start: Vec<u8>, snapshot: u64) -> From {
        let nothing = |key| From { key, known: false };
        if self.count.load(Ordering::Acquire) == 0 {
            return nothing(start);
        }
        let Some(storage) = keys::storage_of(&start) else { return nothing(start) };
        let state = self.state.lock();
        let Some(gap) = state.of.get(&storage) else { return nothing(start) };
        let step = gap.steps.iter().rev().find(|(since, _)| *since <= snapshot);
        let key = match step {
            Some((_, end)) if gap.start <= start && start < *end => end.clone(),
            _ => start,
        };
        From { key, known: true }
    }

    /// A scan with a snapshot has found nothing from `start` on before `end`.
    pub(super) fn found(&self, start: &[u8], end: &[u8], snapshot: u64) {
        let Some(storage) = keys::storage_of(start) else { return };
        let mut state = self.state.lock();
        let noted = state.noted;
        if !state.of.contains_key(&storage) && state.of.len() >= GAPS_MAX {
            // Any: who needs it finds it again.
            let first = state.of.keys().next().copied();
            first.and_then(|storage| state.of.remove(&storage));
        }
        let gap = state.of.entry(storage).or_insert_with(|| Gap { complete_after: noted, ..Gap::default() });
        gap.extend(start, end, snapshot);
        self.count.store(state.of.len(), Ordering::Release);
    }

    /// Keys of a storage have been removed that iterators go on stepping over: from now on its scans tell what they find.
    pub(super) fn expect(&self, storage: StorageId) {
        let mut state = self.state.lock();
        let noted = state.noted;
        if state.of.len() < GAPS_MAX {
            state.of.entry(storage).or_insert_with(|| Gap { complete_after: noted, ..Gap::default() });
            self.count.store(state.of.len(), Ordering::Release);
        }
    }

    /// Notes a commit before it can be seen. `least` gives the least key in a range under which it puts a row.
    pub(crate) fn note(&self, seq: u64, least: impl Fn(&[u8], &[u8]) -> Option<Vec<u8>>) {
        let mut state = self.state.lock();
        state.noted = seq;
        for (storage, gap) in &mut state.of {
            let (start, end) = keys::storage_range(*storage);
            let Some(first) = least(&start, &end) else { continue };
            if let Some((_, known)) = gap.steps.back()
                && let Some(inside) = least(&gap.start, known)
            {
                gap.cut(&inside);
            }
            gap.puts.push_back((seq, first));
            if gap.puts.len() > PUTS_MAX
                && let Some((seq, _)) = gap.puts.pop_front()
            {
                gap.complete_after = seq;
            }
        }
    }
}

impl Gap {
    fn extend(&mut self, start: &[u8], end: &[u8], snapshot: u64) {
        if snapshot < self.complete_after {
            return;
        }
        // What has been committed since is not in what the scan saw.
        let mut end = end;
        for (_, least) in self.puts.iter().rev().take_while(|(seq, _)| *seq > snapshot) {
            if least.as_slice() < start {
                return;
            }
            end = end.min(least);
        }
        let goes_on = self.steps.back().is_some_and(|(_, known)| *self.start <= *start && *start <= **known);
        if !goes_on {
            self.start = start.to_vec();
            self.steps.clear();
        }
        if end <= start || self.steps.back().is_some_and(|(since, known)| *since > snapshot || known.as_slice() >= end)
        {
            return;
        }
        if self.steps.back().is_some_and(|(since, _)| *since == snapshot) {
            self.steps.pop_back();
        }
        self.steps.push_back((snapshot, end.to_vec()));
        if self.steps.len() > STEPS_MAX {
            self.steps.pop_front();
        }
    }

    /// There is something at `key` again.
    fn cut(&mut self, key: &[u8]) {
        for (_, end) in &mut self.steps {
            if end.as_slice() > key {
                *end = key.to_vec();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> Vec<u8> {
        vec![0, 0, 0, 7, n]
    }

    fn put(gaps: &Gaps, seq: u64, at: &[u8]) {
        let keys: Vec<Vec<u8>> = at.iter().map(|n| key(*n)).collect();
        gaps.note(seq, |start, end| keys.iter().filter(|k| k.as_slice() >= start && k.as_slice() < end).min().cloned());
    }

    /// Where a scan from the front begins.
    fn front(gaps: &Gaps, snapshot: u64) -> u8 {
        gaps.from(key(0), snapshot).key[4]
    }

    #[test]
    fn a_gap_is_for_snapshots_from_its_own_on() {
        let gaps = Gaps::default();
        gaps.found(&key(0), &key(5), 10);
        assert_eq!([front(&gaps, 9), front(&gaps, 10), front(&gaps, 99)], [0, 5, 5]);
        gaps.found(&key(5), &key(8), 20);
        assert_eq!([front(&gaps, 9), front(&gaps, 19), front(&gaps, 20)], [0, 5, 8]);
        assert_eq!(gaps.from(key(9), 20).key, key(9), "behind the gap");
        assert_eq!(gaps.from(key(6), 20).key, key(8), "inside");
        gaps.found(&key(5), &key(9), 15);
        assert_eq!(front(&gaps, 99), 8, "an older snapshot adds nothing");
    }

    #[test]
    fn a_row_put_into_a_gap_ends_it_there() {
        let gaps = Gaps::default();
        gaps.found(&key(0), &key(5), 10);
        gaps.found(&key(5), &key(8), 12);
        put(&gaps, 13, &[6]);
        assert_eq!([front(&gaps, 11), front(&gaps, 13)], [5, 6]);
        put(&gaps, 14, &[9, 3]);
        assert_eq!([front(&gaps, 11), front(&gaps, 14)], [3, 3]);
        put(&gaps, 15, &[9]);
        assert_eq!(front(&gaps, 15), 3);
    }

    #[test]
    fn what_has_been_put_since_the_snapshot_is_no_gap() {
        let gaps = Gaps::default();
        put(&gaps, 30, &[1]);
        gaps.found(&key(0), &key(5), 29);
        assert_eq!(front(&gaps, 99), 0, "commits before the first look are not known");
        put(&gaps, 31, &[4]);
        put(&gaps, 32, &[]);
        gaps.found(&key(0), &key(5), 30);
        assert_eq!(front(&gaps, 99), 4);
        gaps.found(&key(4), &key(9), 32);
        assert_eq!(front(&gaps, 99), 9);
        put(&gaps, 33, &[2]);
        gaps.found(&key(3), &key(9), 32);
        assert_eq!(front(&gaps, 99), 2, "a put before what was scanned");
    }

    #[test]
    fn a_gap_elsewhere_takes_the_place_of_one() {
        let gaps = Gaps::default();
        gaps.found(&key(0), &key(3), 5);
        gaps.found(&key(6), &key(9), 5);
        assert_eq!([front(&gaps, 5), gaps.from(key(6), 5).key[4]], [0, 9]);
        for storage in 100..200u32 {
            gaps.found(&storage.to_be_bytes(), &[storage.to_be_bytes().to_vec(), vec![1]].concat(), 5);
        }
        assert_eq!(gaps.count.load(Ordering::Relaxed), GAPS_MAX);
    }

    #[test]
    fn commits_that_are_forgotten_count_as_everywhere() {
        let gaps = Gaps::default();
        gaps.expect(7);
        for seq in 1..=300 {
            put(&gaps, seq, &[200]);
        }
        gaps.found(&key(0), &key(5), 40);
        assert_eq!(front(&gaps, 999), 0);
        gaps.found(&key(0), &key(5), 44);
        assert_eq!(front(&gaps, 999), 5);
    }
}
