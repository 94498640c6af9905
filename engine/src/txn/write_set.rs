//! What a transaction has written so far, by key: the state before it and the state after.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use kalamdb_catalog::Oid;

/// Bytes counted for an entry besides its key and rows.
pub(super) const ENTRY_BYTES: usize = 128;

/// What stands for the table of an index's entry: it is no row, and not in the change log.
pub(super) const INDEX_ENTRY: Oid = 0;

#[derive(Clone, Default, Debug)]
pub(super) struct WriteSet {
    rows: BTreeMap<Bytes, Written>,
    bytes: usize,
    /// While there are savepoints: what each write replaced, oldest first.
    undo: Option<Vec<(Bytes, Option<Written>)>>,
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

impl Written {
    fn bytes(&self, key: &[u8]) -> usize {
        let len = |row: &Option<Bytes>| row.as_ref().map_or(0, Bytes::len);
        key.len() + len(&self.before) + len(&self.after) + ENTRY_BYTES
    }
}

/// Rows are shared with the entry that replaced them or are kept alive by nothing else: counted in full.
fn undo_bytes(key: &[u8], replaced: Option<&Written>) -> usize {
    replaced.map_or(ENTRY_BYTES, |w| w.bytes(key))
}

impl WriteSet {
    /// Records a write. `before` counts only if the key has not been written yet.
    pub(super) fn put(&mut self, key: Bytes, table: Oid, before: Option<Bytes>, after: Option<Bytes>) {
        if let Some(undo) = &mut self.undo {
            let replaced = self.rows.get(&*key).cloned();
            self.bytes += undo_bytes(&key, replaced.as_ref());
            undo.push((key.clone(), replaced));
        }
        if let Some(written) = self.rows.get_mut(&*key) {
            self.bytes += after.as_ref().map_or(0, Bytes::len);
            self.bytes -= written.after.as_ref().map_or(0, Bytes::len);
            written.after = after;
            return;
        }
        let written = Written { table, before, after };
        self.bytes += written.bytes(&key);
        self.rows.insert(key, written);
    }

    /// From here on writes can be undone, back to the number.
    pub(super) fn mark(&mut self) -> usize {
        self.undo.get_or_insert_default().len()
    }

    /// Undoes the writes since a mark.
    pub(super) fn undo_to(&mut self, mark: usize) {
        let Some(undo) = &mut self.undo else { return };
        for (key, replaced) in undo.drain(mark..).rev() {
            self.bytes -= undo_bytes(&key, replaced.as_ref());
            self.bytes -= self.rows.remove(&key).map_or(0, |w| w.bytes(&key));
            if let Some(written) = replaced {
                self.bytes += written.bytes(&key);
                self.rows.insert(key, written);
            }
        }
    }

    /// There are no savepoints any more.
    pub(super) fn forget_marks(&mut self) {
        for (key, replaced) in self.undo.take().into_iter().flatten() {
            self.bytes -= undo_bytes(&key, replaced.as_ref());
        }
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

    /// Keys written.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
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
