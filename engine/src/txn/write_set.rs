//! What a transaction has written so far, by key: the state before it and the state after.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use kalamdb_catalog::Oid;

/// Bytes counted for an entry besides its key and rows.
pub(super) const ENTRY_BYTES: usize = 128;

#[derive(Clone, Default, Debug)]
pub(super) struct WriteSet {
    rows: BTreeMap<Bytes, Written>,
    bytes: usize,
}

/// One key's net change in the transaction.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) table: Oid,
    /// The committed row that the first write met.
    pub(super) before: Option<Bytes>,
    /// The row now; `None` is deleted.
    pub(super) after: Option<Bytes>,
}

impl WriteSet {
    /// Records a write. `before` counts only if the key has not been written yet.
    pub(super) fn put(&mut self, key: Bytes, table: Oid, before: Option<Bytes>, after: Option<Bytes>) {
        let after_len = after.as_ref().map_or(0, Bytes::len);
        if let Some(written) = self.rows.get_mut(&*key) {
            self.bytes += after_len;
            self.bytes -= written.after.as_ref().map_or(0, Bytes::len);
            written.after = after;
            return;
        }
        self.bytes += key.len() + before.as_ref().map_or(0, Bytes::len) + after_len + ENTRY_BYTES;
        self.rows.insert(key, Written { table, before, after });
    }

    /// Adds inserted rows, in key order.
    pub(super) fn put_all(&mut self, rows: impl Iterator<Item = (Bytes, Bytes)>, table: Oid) {
        for (key, row) in rows {
            self.put(key, table, None, Some(row));
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Written> {
        self.rows.get(key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes held, for the limit on a transaction's size.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// In key order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Bytes, &Written)> {
        self.rows.iter()
    }

    pub(super) fn range<'a>(
        &'a self,
        start: Bound<&'a [u8]>,
        end: Bound<&'a [u8]>,
    ) -> impl DoubleEndedIterator<Item = (&'a Bytes, &'a Written)> {
        self.rows.range::<[u8], _>((start, end))
    }
}
