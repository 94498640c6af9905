//! The change log: what every commit changed, in commit order, in the commit's own batch.
//!
//! Key `commit_seq u64 | index u32`, big endian. Value, little endian:
//! `op u8 | table oid u32 | schema_version u16 | key length u32 | old length u32 | key | old row | new row`, where an
//! old length of `u32::MAX` means there is no old row, and the new row is what is left (nothing for a deletion).

use std::sync::Arc;

use bytes::Bytes;
use kalamdb_catalog::{Oid, Result, SqlError, SqlState};
use rocksdb::{DBRawIteratorWithThreadMode, ReadOptions};

use super::error;
use super::store::{Batch, Db, Storage};

const META_OLDEST: &str = "changelog_oldest";
const HEAD_LEN: usize = 15;

/// What happened to a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ChangeOp {
    Insert = 1,
    Update = 2,
    Delete = 3,
}

/// One row's change in one commit: its state before the transaction and after.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    pub seq: u64,
    /// Position in the commit, in key order.
    pub index: u32,
    pub op: ChangeOp,
    pub table: Oid,
    /// The version `new` (for a deletion `old`) was written with.
    pub schema_version: u16,
    /// Key without sequence number.
    pub key: Bytes,
    pub old: Option<Bytes>,
    pub new: Option<Bytes>,
}

impl Batch {
    /// Adds a change of commit `seq`; at least one of `old` and `new` is there.
    pub(crate) fn put_change(
        &mut self,
        storage: &Storage,
        (seq, index): (u64, u32),
        table: Oid,
        key: &[u8],
        old: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> usize {
        let mut value = Vec::new();
        encode(&mut value, table, key, old, new);
        let name = name(seq, index);
        self.inner.put_cf(storage.changelog(), name, &value);
        name.len() + value.len()
    }
}

/// A change's key.
pub(super) fn name(seq: u64, index: u32) -> [u8; 12] {
    let mut name = [0; 12];
    name[..8].copy_from_slice(&seq.to_be_bytes());
    name[8..].copy_from_slice(&index.to_be_bytes());
    name
}

/// Writes a change's value; at least one of `old` and `new` is there.
pub(super) fn encode(value: &mut Vec<u8>, table: Oid, key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) {
    let op = match (old, new) {
        (None, _) => ChangeOp::Insert,
        (Some(_), Some(_)) => ChangeOp::Update,
        (Some(_), None) => ChangeOp::Delete,
    };
    let version = new.or(old).and_then(|row| row.first_chunk::<2>()).copied().unwrap_or_default();
    let (old_len, old) = old.map_or((u32::MAX, &[][..]), |o| (o.len() as u32, o));
    let new = new.unwrap_or_default();
    value.clear();
    value.reserve(HEAD_LEN + key.len() + old.len() + new.len());
    value.push(op as u8);
    value.extend_from_slice(&table.to_le_bytes());
    value.extend_from_slice(&version);
    value.extend_from_slice(&(key.len() as u32).to_le_bytes());
    value.extend_from_slice(&old_len.to_le_bytes());
    for part in [key, old, new] {
        value.extend_from_slice(part);
    }
}

impl Storage {
    /// The first commit whose changes are still there; changes before it have been trimmed.
    pub fn changes_oldest_retained(&self) -> Result<u64> {
        Ok(self.meta_u64(META_OLDEST)?.unwrap_or(1))
    }

    /// Forgets the changes of all commits before `seq`.
    pub(crate) fn trim_changes(&self, seq: u64) -> Result<()> {
        let mut batch = Batch::default();
        batch.put_meta(self, META_OLDEST, &seq.to_be_bytes());
        batch.inner.delete_range_cf(self.changelog(), [0; 12], first_key(seq));
        self.write(batch, false)?;
        self.guard(self.db().delete_file_in_range_cf(self.changelog(), [0; 12], first_key(seq)))
    }

    /// Bytes of the change log on disk, roughly.
    pub(crate) fn changes_bytes(&self) -> u64 {
        let range = [rocksdb::Range::new(&[], &[0xFF; 12])];
        self.db().get_approximate_sizes_cf(self.changelog(), &range).first().copied().unwrap_or(0)
    }

    /// Changes of the commits after `after`, up to `through`, in commit order. The caller must have seen that `after`
    /// is not below what is retained.
    pub fn changes(self: &Arc<Self>, after: u64, through: u64) -> ChangeIter {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(first_key(after.saturating_add(1)));
        options.set_iterate_upper_bound(first_key(through.saturating_add(1)));
        let iter = self.db().raw_iterator_cf_opt(self.changelog(), options);
        // SAFETY: as in `RowIter::new`.
        let iter = unsafe {
            std::mem::transmute::<DBRawIteratorWithThreadMode<'_, Db>, DBRawIteratorWithThreadMode<'static, Db>>(iter)
        };
        ChangeIter { iter, started: false, _storage: Arc::clone(self) }
    }
}

fn first_key(seq: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&seq.to_be_bytes());
    key
}

/// See [`Storage::changes`].
pub struct ChangeIter {
    /// Borrows from `_storage`: dropped before it.
    iter: DBRawIteratorWithThreadMode<'static, Db>,
    started: bool,
    _storage: Arc<Storage>,
}

impl Iterator for ChangeIter {
    type Item = Result<Change>;

    fn next(&mut self) -> Option<Result<Change>> {
        if self.started {
            self.iter.next();
        } else {
            self.started = true;
            self.iter.seek_to_first();
        }
        match self.iter.item() {
            Some((key, value)) => Some(decode(key, value).ok_or_else(|| {
                SqlError::new(SqlState::DATA_CORRUPTED, "change log holds an entry that cannot be read")
            })),
            None => self.iter.status().err().map(|e| Err(error::convert(&e))),
        }
    }
}

fn decode(name: &[u8], value: &[u8]) -> Option<Change> {
    let (head, rest) = value.split_first_chunk::<HEAD_LEN>()?;
    let u32_at = |i: usize| head[i..i + 4].first_chunk::<4>().map(|b| u32::from_le_bytes(*b));
    let op = match head[0] {
        1 => ChangeOp::Insert,
        2 => ChangeOp::Update,
        3 => ChangeOp::Delete,
        _ => return None,
    };
    let (key, rest) = rest.split_at_checked(u32_at(7)? as usize)?;
    let old_len = u32_at(11)?;
    let (old, new) = rest.split_at_checked(if old_len == u32::MAX { 0 } else { old_len as usize })?;
    Some(Change {
        seq: u64::from_be_bytes(*name.first_chunk::<8>()?),
        index: u32::from_be_bytes(*name.last_chunk::<4>()?),
        op,
        table: u32_at(1)?,
        schema_version: u16::from_le_bytes([head[5], head[6]]),
        key: Bytes::copy_from_slice(key),
        old: (old_len != u32::MAX).then(|| Bytes::copy_from_slice(old)),
        new: (op != ChangeOp::Delete).then(|| Bytes::copy_from_slice(new)),
    })
}
