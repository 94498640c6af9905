//! The rows of a statement that inserts with ascending keys, in a few large pieces of memory instead of a tree with two
//! allocations a row. COPY and INSERT ... SELECT of a sorted source are of this kind.
//!
//! A run stays one until something has to look into it: the next statement of the transaction, a key out of order, an
//! UPDATE of the same statement. Then its rows move to the write set like any others. A run that is committed as one
//! becomes finished files: `storage::run`.

use bytes::Bytes;
use kalamdb_catalog::Oid;

/// Sizes of the first pieces and of the later ones; a longer row gets a piece of its own.
const PIECE_BYTES: std::ops::RangeInclusive<usize> = 512..=1 << 20;

#[derive(Default, Debug)]
pub(super) struct Run {
    table: Oid,
    /// Each key, then its row.
    pieces: Vec<Vec<u8>>,
    entries: Vec<Entry>,
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    piece: u32,
    start: u32,
    key_len: u32,
    row_len: u32,
}

impl Run {
    /// True if a row of `table` with this key continues the run.
    pub(super) fn takes(&self, table: Oid, key: &[u8]) -> bool {
        self.last().is_none_or(|last| self.table == table && last < key)
    }

    pub(super) fn push(&mut self, table: Oid, key: &[u8], row: &[u8]) {
        self.table = table;
        let len = key.len() + row.len();
        if self.pieces.last().is_none_or(|piece| piece.capacity() - piece.len() < len) {
            let size = (PIECE_BYTES.start() << self.pieces.len().min(20)).min(*PIECE_BYTES.end());
            self.pieces.push(Vec::with_capacity(size.max(len)));
        }
        let index = self.pieces.len() - 1;
        let piece = &mut self.pieces[index];
        let start = piece.len() as u32;
        piece.extend_from_slice(key);
        piece.extend_from_slice(row);
        self.entries.push(Entry { piece: index as u32, start, key_len: key.len() as u32, row_len: row.len() as u32 });
        self.bytes += len;
    }

    fn last(&self) -> Option<&[u8]> {
        self.entries.last().map(|e| self.get(*e).0)
    }

    fn get(&self, entry: Entry) -> (&[u8], &[u8]) {
        let from = entry.start as usize;
        let piece = &self.pieces[entry.piece as usize][from..from + (entry.key_len + entry.row_len) as usize];
        piece.split_at(entry.key_len as usize)
    }

    pub(super) fn table(&self) -> Oid {
        self.table
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of keys and rows.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keys and rows, in key order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|e| self.get(*e))
    }

    /// The rows, each with memory of its own: a write set counts and frees them one by one.
    pub(super) fn into_rows(self) -> impl Iterator<Item = (Bytes, Bytes)> {
        let mut pieces = self.pieces;
        let mut done = 0;
        self.entries.into_iter().map(move |e| {
            // Pieces behind are not needed any more.
            while done < e.piece as usize {
                pieces[done] = Vec::new();
                done += 1;
            }
            let from = e.start as usize;
            let (key, row) =
                pieces[e.piece as usize][from..from + (e.key_len + e.row_len) as usize].split_at(e.key_len as usize);
            (Bytes::copy_from_slice(key), Bytes::copy_from_slice(row))
        })
    }
}
