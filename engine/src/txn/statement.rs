//! The writes of one statement, collected while its query still reads the state before it.
//!
//! The caller locks first ([`StatementWrites::lock_row`], [`StatementWrites::lock_key`]), then writes. Locks stay to the
//! end of the transaction even if the statement fails. Uniqueness is looked at as rows are inserted; for rows that an
//! UPDATE moves to another key, at the end of the statement, so that `UPDATE t SET id = id + 1` succeeds whenever the
//! result is unique. PostgreSQL fails there or not depending on the order in which it comes across the rows.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use bytes::Bytes;
use kalamdb_catalog::{Oid, Result, SqlError, SqlState, StorageId};

use super::Isolation;
use super::checks::{PendingCheck, PendingKind};
use super::locks::{Held, IfLocked, LockMode, LockTag, Table, conflict, conflict_with_delete};
use super::reader::TxnReader;
use super::row_lock::{self, RowState};
use super::run::Run;
use super::write_set::ENTRY_BYTES;
use crate::storage::{RowLayout, keys};

/// The table that is written to.
#[derive(Clone, Debug)]
pub struct TableRef {
    pub oid: Oid,
    pub storage: StorageId,
    pub layout: Arc<RowLayout>,
}

impl TableRef {
    pub fn new(layout: Arc<RowLayout>) -> TableRef {
        TableRef { oid: layout.oid, storage: layout.storage, layout }
    }
}

/// What became of an INSERT's row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InsertOutcome {
    Ok,
    /// A row with this key is committed or written by this transaction: 23505.
    Duplicate,
}

/// What an INSERT comes across when it wants a key for its row.
#[derive(Clone, Copy, Debug)]
pub enum Claim {
    /// The key is locked. A row may have it: that is looked at next.
    Locked,
    /// A row has it, which others keep as it is. No lock.
    Exists,
    /// Another transaction stands in the way. No lock.
    Busy(Busy),
}

/// What has to be waited for: [`StatementWrites::wait_for`].
#[derive(Clone, Copy, Debug)]
pub struct Busy {
    tag: LockTag,
    mode: LockMode,
}

/// What an INSERT finds under its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Existing {
    Nothing,
    Row(Bytes),
    /// A row that this very statement has written.
    ThisStatement,
}

/// What became of a statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ApplyOutcome {
    Ok,
    /// Two rows would have the same key: the table, and the new row as stored. Nothing has been applied.
    Duplicate {
        table: Oid,
        row: Bytes,
    },
    /// Two rows would have one key in a unique index: the index, and the new row as stored. Nothing has been applied.
    DuplicateEntry {
        index: Oid,
        row: Bytes,
    },
}

/// An entry of a secondary index: see `storage::keys`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IndexEntry {
    pub index: Oid,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    /// No other row may have this key.
    pub unique: bool,
}

/// Made by `Transaction::statement`, ended by `Transaction::apply`; dropped, it leaves no trace but its locks.
#[derive(Debug)]
pub struct StatementWrites {
    pub(super) reader: TxnReader,
    pub(super) ops: BTreeMap<Bytes, Op>,
    /// What it does to entries of indexes.
    pub(super) entries: BTreeMap<Bytes, EntryOp>,
    /// Inserted rows with ascending keys; while there are any, there are no `ops`.
    pub(super) run: Run,
    /// Constraints to look at once the statement has been applied.
    checks: Vec<PendingCheck>,
    held: Arc<Held>,
    isolation: Isolation,
    /// Tables written by this statement; mostly one.
    tables: Vec<(Oid, Arc<Table>)>,
    /// For long runs of inserts: what is known of the target.
    ceiling: Option<Ceiling>,
    looked_up: u32,
    pub(super) bytes: usize,
    bytes_max: usize,
}

/// Look-ups after which it pays to find out the greatest stored key.
const LOOK_UPS: u32 = 16;

/// The greatest key in a storage. No key above it is stored as long as no commit writes to the table.
#[derive(Debug)]
struct Ceiling {
    oid: Oid,
    last_write: u64,
    /// `None`: the storage is empty.
    key: Option<Vec<u8>>,
}

/// What the statement does to one key.
#[derive(Debug)]
pub(super) struct Op {
    pub(super) table: Oid,
    /// The row there before, if the statement updated, moved or deleted it.
    pub(super) old: Option<Bytes>,
    pub(super) new: Option<Bytes>,
    /// `new` came by a change of key and has not been looked at for uniqueness.
    moved: bool,
    /// Another row that came to have this key.
    clash: Option<Bytes>,
}

/// What the statement does to one entry of an index.
#[derive(Debug)]
pub(super) struct EntryOp {
    index: Oid,
    /// The entry there before, if its row has been updated, moved or deleted.
    pub(super) old: Option<Bytes>,
    pub(super) new: Option<Bytes>,
    /// The row behind `new`, if it came by an UPDATE and has not been looked at for uniqueness.
    moved: Option<Bytes>,
    /// Another row that came to have this key.
    clash: Option<Bytes>,
}

impl StatementWrites {
    pub(super) fn new(reader: TxnReader, held: Arc<Held>, isolation: Isolation, bytes_max: usize) -> StatementWrites {
        let bytes = reader.writes.bytes();
        StatementWrites {
            reader,
            ops: BTreeMap::new(),
            entries: BTreeMap::new(),
            run: Run::default(),
            checks: Vec::new(),
            held,
            isolation,
            tables: Vec::new(),
            ceiling: None,
            looked_up: 0,
            bytes,
            bytes_max,
        }
    }

    /// Locks a row of `table` that the statement has read and is about to write; waits for whoever has it.
    #[inline]
    pub async fn lock_row(&mut self, table: &TableRef, key: &[u8], mode: LockMode) -> Result<RowState> {
        let lock = self.share(table.oid)?;
        let wait = (mode, IfLocked::Wait);
        let deleted = conflict_with_delete;
        row_lock::lock_row(&self.held, &self.reader, self.isolation, (table.oid, &lock), key, wait, deleted).await
    }

    /// Locks the key of a row that is about to be there; waits for whoever is writing it.
    #[inline]
    pub async fn lock_key(&mut self, table: &TableRef, key: &[u8]) -> Result<()> {
        self.share(table.oid)?;
        // Hidden row ids are never given twice: nothing to lock.
        if table.layout.has_primary_key {
            self.held.lock(self.held.row(table.oid, key), LockMode::UPDATE, IfLocked::Wait).await?;
        }
        Ok(())
    }

    /// The same for an INSERT. False, and no lock: there is a row, which others keep as it is (FOR KEY SHARE, FOR SHARE).
    pub async fn lock_new_key(&mut self, table: &TableRef, key: &[u8]) -> Result<bool> {
        loop {
            match self.claim_key(table, key)? {
                Claim::Locked => return Ok(true),
                Claim::Exists => return Ok(false),
                Claim::Busy(busy) => self.wait_for(busy).await?,
            }
        }
    }

    /// The same for a caller that cannot wait, or not here.
    pub fn claim_key(&mut self, table: &TableRef, key: &[u8]) -> Result<Claim> {
        if self.try_lock_key(table, key)? {
            return Ok(Claim::Locked);
        }
        let tag = self.held.row(table.oid, key);
        // In this order: who deletes the row after the first look had no lock then, and this INSERT came before him.
        if !self.held.is_excluded(tag, LockMode::SHARE) && self.exists(key)? {
            return Ok(Claim::Exists);
        }
        Ok(Claim::Busy(Busy { tag, mode: LockMode::UPDATE }))
    }

    /// Waits for what stands in the way of a claim. The lock of a key is kept then, that of a row with the key is not.
    pub async fn wait_for(&mut self, busy: Busy) -> Result<()> {
        let kept = self.held.count();
        self.held.lock(busy.tag, busy.mode, IfLocked::Wait).await?;
        if busy.mode == LockMode::SHARE {
            self.held.release_last(kept);
        }
        Ok(())
    }

    /// How many locks there are: for [`StatementWrites::release_locks`].
    pub fn locks(&mut self, table: &TableRef) -> Result<usize> {
        self.share(table.oid)?;
        Ok(self.held.count())
    }

    /// Lets go the locks taken since there were `kept`: of keys that have turned out not to be free.
    pub fn release_locks(&self, kept: usize) {
        self.held.release_last(kept);
    }

    /// The same for a caller that cannot wait: false if another transaction is writing the key.
    pub fn try_lock_key(&mut self, table: &TableRef, key: &[u8]) -> Result<bool> {
        self.share(table.oid)?;
        Ok(!table.layout.has_primary_key || self.held.try_lock(self.held.row(table.oid, key), LockMode::UPDATE)?)
    }

    /// Adds a row whose key is locked.
    pub fn insert(
        &mut self,
        table: &TableRef,
        key: impl Into<Vec<u8>>,
        row: impl Into<Vec<u8>>,
    ) -> Result<InsertOutcome> {
        let (key, row) = (key.into(), row.into());
        let lock = self.share(table.oid)?;
        self.count(key.len() + row.len())?;
        if self.ops.is_empty() && self.run.takes(table.oid, &key) {
            if table.layout.has_primary_key && !self.is_above_all(table, &lock, &key)? && self.exists(&key)? {
                return Ok(InsertOutcome::Duplicate);
            }
            self.run.push(table.oid, &key, &row);
            return Ok(InsertOutcome::Ok);
        }
        self.spill();
        let (key, row) = (Bytes::from(key), Bytes::from(row));
        if table.layout.has_primary_key {
            if let Some(op) = self.ops.get_mut(&key) {
                if op.new.is_some() {
                    return Ok(InsertOutcome::Duplicate);
                }
                op.new = Some(row);
                return Ok(InsertOutcome::Ok);
            }
            if !self.is_above_all(table, &lock, &key)? && self.exists(&key)? {
                return Ok(InsertOutcome::Duplicate);
            }
        }
        self.ops.insert(key, Op { table: table.oid, old: None, new: Some(row), moved: false, clash: None });
        Ok(InsertOutcome::Ok)
    }

    /// Locks a row for ON CONFLICT DO UPDATE and gives what it is then.
    pub async fn lock_existing(&mut self, table: &TableRef, key: &[u8], mode: LockMode) -> Result<Existing> {
        self.share(table.oid)?;
        self.held.lock(self.held.row(table.oid, key), mode, IfLocked::Wait).await?;
        self.existing(table, key)
    }

    /// True if a row is there under a key that is locked, even after the snapshot.
    pub fn is_there(&mut self, table: &TableRef, key: &[u8]) -> Result<bool> {
        self.share(table.oid)?;
        self.spill();
        match self.ops.get(key) {
            Some(op) => Ok(op.new.is_some()),
            None => self.exists(key),
        }
    }

    /// What is there under a key that is locked: for INSERT ... ON CONFLICT. 40001 above READ COMMITTED for a row that the
    /// snapshot does not see.
    pub fn existing(&mut self, table: &TableRef, key: &[u8]) -> Result<Existing> {
        self.spill();
        if let Some(op) = self.ops.get(key) {
            // What this statement has moved away or deleted is not there any more.
            return Ok(if op.new.is_some() { Existing::ThisStatement } else { Existing::Nothing });
        }
        if let Some(written) = self.reader.writes.get(key) {
            return Ok(written.after.clone().map_or(Existing::Nothing, Existing::Row));
        }
        self.share(table.oid)?;
        let Some((seq, row)) = self.reader.storage.get(key, u64::MAX)? else { return Ok(Existing::Nothing) };
        if let Some(reads) = &self.reader.reads {
            reads.point(key);
        }
        if seq > self.reader.snapshot_seq() && self.isolation != Isolation::ReadCommitted {
            return Err(conflict());
        }
        Ok(Existing::Row(row))
    }

    /// Replaces a row that is locked. Ok(false) if this statement has updated or deleted it already: the first time counts,
    /// as in PostgreSQL.
    pub fn update(
        &mut self,
        table: &TableRef,
        key: &[u8],
        old_row: &[u8],
        new_row: impl Into<Vec<u8>>,
    ) -> Result<bool> {
        self.change(table, key, old_row, Some(Bytes::from(new_row.into())))
    }

    /// Deletes a row; otherwise like [`StatementWrites::update`].
    pub fn delete(&mut self, table: &TableRef, key: &[u8], old_row: &[u8]) -> Result<bool> {
        self.change(table, key, old_row, None)
    }

    /// Replaces a row by one with another key; both are locked. Whether the new key is free is looked at when the statement is applied.
    pub fn rekey(
        &mut self,
        table: &TableRef,
        old_key: &[u8],
        old_row: &[u8],
        new_key: impl Into<Vec<u8>>,
        new_row: impl Into<Vec<u8>>,
    ) -> Result<bool> {
        self.spill();
        let (new_key, new_row) = (Bytes::from(new_key.into()), Bytes::from(new_row.into()));
        if *new_key == *old_key {
            return self.change(table, old_key, old_row, Some(new_row));
        }
        if !self.change(table, old_key, old_row, None)? {
            return Ok(false);
        }
        self.count(new_key.len() + new_row.len())?;
        match self.ops.entry(new_key) {
            Entry::Vacant(free) => {
                free.insert(Op { table: table.oid, old: None, new: Some(new_row), moved: true, clash: None });
            }
            Entry::Occupied(mut op) => {
                let op = op.get_mut();
                if op.new.is_some() {
                    op.clash = Some(new_row);
                } else {
                    // The row that was here has gone, in this statement.
                    op.new = Some(new_row);
                }
            }
        }
        Ok(true)
    }

    /// Notes a constraint to look at once the statement has been applied.
    pub fn check_later(&mut self, check: PendingCheck) -> Result<()> {
        let bytes = match &check.what {
            PendingKind::Reference { key, row, .. } | PendingKind::Unique { key, row, .. } => key.len() + row.len(),
            PendingKind::Referenced { old, new } => old.len() + new.as_ref().map_or(0, Bytes::len),
        };
        self.count(bytes)?;
        self.checks.push(check);
        Ok(())
    }

    /// True if the transaction's earlier statements have written the row with this key.
    pub fn has_written(&self, key: &[u8]) -> bool {
        self.reader.writes.get(key).is_some()
    }

    /// What has been noted so far.
    pub fn take_checks(&mut self) -> Vec<PendingCheck> {
        std::mem::take(&mut self.checks)
    }

    /// Locks the key of a unique entry that is about to be there; waits for whoever is writing it.
    pub async fn lock_entry(&mut self, table: &TableRef, entry: &IndexEntry) -> Result<()> {
        while let Claim::Busy(busy) = self.claim_entry(table, entry)? {
            self.wait_for(busy).await?;
        }
        Ok(())
    }

    /// The same for a caller that cannot wait, or not here. Locked says nothing about a row that is there.
    pub fn claim_entry(&mut self, table: &TableRef, entry: &IndexEntry) -> Result<Claim> {
        if !entry.unique {
            return Ok(Claim::Locked);
        }
        let kept = self.held.count();
        let tag = self.held.row(entry.index, &entry.key);
        if !self.held.try_lock(tag, LockMode::UPDATE)? {
            return Ok(Claim::Busy(Busy { tag, mode: LockMode::UPDATE }));
        }
        let Some(tag) = self.others_change(table, entry)? else { return Ok(Claim::Locked) };
        // Whoever is changing the row that has the key may be taking it from there, or want to give it back.
        self.held.release_last(kept);
        Ok(Claim::Busy(Busy { tag, mode: LockMode::SHARE }))
    }

    /// The lock of the committed row that has the key of an entry, if another transaction is changing it.
    fn others_change(&self, table: &TableRef, entry: &IndexEntry) -> Result<Option<LockTag>> {
        if self.entries.contains_key(&*entry.key) || self.reader.writes.get(&entry.key).is_some() {
            return Ok(None);
        }
        let Some((_, value)) = self.reader.storage.get(&entry.key, u64::MAX)? else { return Ok(None) };
        let row = keys::row_of_entry(&entry.key, &value);
        let row = row.ok_or_else(|| SqlError::internal("an index's entry is damaged"))?;
        let mut key = table.storage.to_be_bytes().to_vec();
        key.extend_from_slice(row);
        let tag = self.held.row(table.oid, &key);
        Ok(self.held.is_excluded(tag, LockMode::SHARE).then_some(tag))
    }

    /// Locks the key of entries that are checked for uniqueness later.
    pub async fn lock_deferred(&mut self, index: Oid, key: &[u8]) -> Result<()> {
        self.held.lock(self.held.row(index, key), LockMode::UPDATE, IfLocked::Wait).await.map(drop)
    }

    /// Adds the entry of an inserted row; a unique one is locked.
    pub fn insert_entry(&mut self, entry: IndexEntry) -> Result<InsertOutcome> {
        if entry.unique && self.find_entry(&entry.key)?.is_some() {
            return Ok(InsertOutcome::Duplicate);
        }
        self.put_entry(entry, None)?;
        Ok(InsertOutcome::Ok)
    }

    /// Adds the new entry of an updated row; a unique one is locked. Whether its key is free is looked at when the statement
    /// is applied.
    pub fn move_entry(&mut self, entry: IndexEntry, row: &Bytes) -> Result<()> {
        let row = entry.unique.then(|| row.clone());
        self.put_entry(entry, row)
    }

    fn put_entry(&mut self, entry: IndexEntry, moved: Option<Bytes>) -> Result<()> {
        self.count(entry.key.len() + entry.value.len())?;
        let IndexEntry { index, key, value, .. } = entry;
        match self.entries.entry(Bytes::from(key)) {
            Entry::Vacant(free) => {
                free.insert(EntryOp { index, old: None, new: Some(Bytes::from(value)), moved, clash: None });
            }
            Entry::Occupied(mut op) => {
                let op = op.get_mut();
                if op.new.is_some() && moved.is_some() {
                    op.clash = moved;
                } else {
                    // The row that was here has gone, in this statement.
                    op.new = Some(Bytes::from(value));
                }
            }
        }
        Ok(())
    }

    /// Takes the entry of a row that is updated or deleted away.
    pub fn remove_entry(&mut self, entry: IndexEntry) -> Result<()> {
        self.count(entry.key.len() + entry.value.len())?;
        let IndexEntry { index, key, value, .. } = entry;
        let old = Some(Bytes::from(value));
        match self.entries.entry(Bytes::from(key)) {
            Entry::Vacant(free) => {
                free.insert(EntryOp { index, old, new: None, moved: None, clash: None });
            }
            Entry::Occupied(mut op) => {
                // Another row has come to have this key.
                let op = op.get_mut();
                op.old = old;
                op.moved = None;
            }
        }
        Ok(())
    }

    /// What is there under the key of a unique entry that is locked: by this statement, this transaction, or the newest commit.
    pub fn find_entry(&self, key: &[u8]) -> Result<Option<Bytes>> {
        if let Some(op) = self.entries.get(key) {
            return Ok(op.new.clone());
        }
        if let Some(written) = self.reader.writes.get(key) {
            return Ok(written.after.clone());
        }
        Ok(self.reader.storage.get(key, u64::MAX)?.map(|(_, value)| value))
    }

    /// Rows changed so far, by key.
    pub fn len(&self) -> usize {
        self.ops.len() + self.run.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.run.is_empty()
    }

    /// The run becomes writes like others, which can be looked up.
    fn spill(&mut self) {
        if self.run.is_empty() {
            return;
        }
        let run = std::mem::take(&mut self.run);
        let table = run.table();
        let op = |(key, row)| (key, Op { table, old: None, new: Some(row), moved: false, clash: None });
        self.ops.extend(run.into_rows().map(op));
    }

    fn change(&mut self, table: &TableRef, key: &[u8], old_row: &[u8], new: Option<Bytes>) -> Result<bool> {
        self.spill();
        if self.ops.get(key).is_some_and(|op| op.old.is_some()) {
            return Ok(false);
        }
        self.count(key.len() + old_row.len() + new.as_ref().map_or(0, Bytes::len))?;
        let old = Some(Bytes::copy_from_slice(old_row));
        match self.ops.entry(Bytes::copy_from_slice(key)) {
            Entry::Vacant(free) => {
                free.insert(Op { table: table.oid, old, new, moved: false, clash: None });
            }
            Entry::Occupied(mut op) => {
                // Another row has moved to this key.
                let op = op.get_mut();
                op.old = old;
                op.moved = false;
                if new.is_some() {
                    op.clash = std::mem::replace(&mut op.new, new);
                }
            }
        }
        Ok(true)
    }

    fn share(&mut self, oid: Oid) -> Result<Arc<Table>> {
        if let Some((_, table)) = self.tables.iter().find(|(held, _)| *held == oid) {
            return Ok(Arc::clone(table));
        }
        // The session has it since the statement's begin; others take it here.
        if !self.held.try_lock(LockTag::Table(oid), LockMode::RowExclusive)? {
            return Err(conflict());
        }
        let table = self.held.writes_to(oid, self.reader.snapshot_seq())?;
        self.tables.push((oid, Arc::clone(&table)));
        Ok(table)
    }

    /// True if `key`, whose lock is held, is certainly neither committed nor written by this transaction: it is above
    /// everything stored, and no commit has written to the table since that was looked up. A commit under way cannot
    /// hold this key, because its lock would be held.
    fn is_above_all(&mut self, table: &TableRef, lock: &Table, key: &[u8]) -> Result<bool> {
        if self.looked_up < LOOK_UPS {
            self.looked_up += 1;
            return Ok(false);
        }
        // In this order: a commit in between makes the number stale, not the key.
        let last_write = lock.last_write();
        let ceiling = match &mut self.ceiling {
            Some(known) if known.oid == table.oid && known.last_write == last_write => known,
            slot => {
                self.looked_up = 0;
                let key = self.reader.storage.last_key(table.storage)?;
                slot.insert(Ceiling { oid: table.oid, last_write, key })
            }
        };
        Ok(ceiling.key.as_deref().is_none_or(|last| last < key) && self.reader.writes.get(key).is_none())
    }

    /// True if a row with this key is committed, even after the snapshot, or written by this transaction.
    fn exists(&self, key: &[u8]) -> Result<bool> {
        if let Some(written) = self.reader.writes.get(key) {
            return Ok(written.after.is_some());
        }
        Ok(self.reader.storage.newest(key)?.is_some_and(|version| !version.deleted))
    }

    /// Counts a change as the write set will, or as more: so applying a statement cannot exceed the limit.
    pub fn count(&mut self, bytes: usize) -> Result<()> {
        self.bytes += bytes + ENTRY_BYTES;
        if self.bytes > self.bytes_max { Err(too_large(self.bytes_max)) } else { Ok(()) }
    }

    /// Looks at the keys that rows have moved to in unique indexes.
    pub(super) fn find_duplicate_entry(&self) -> Result<Option<(Oid, Bytes)>> {
        for (key, op) in &self.entries {
            if let Some(row) = &op.clash {
                return Ok(Some((op.index, row.clone())));
            }
            let Some(row) = &op.moved else { continue };
            let taken = match self.reader.writes.get(key) {
                Some(written) => written.after.is_some(),
                None => self.reader.storage.newest(key)?.is_some_and(|version| !version.deleted),
            };
            if taken {
                return Ok(Some((op.index, row.clone())));
            }
        }
        Ok(None)
    }

    /// Looks at the keys that rows have moved to.
    pub(super) fn find_duplicate(&self) -> Result<Option<(Oid, Bytes)>> {
        for (key, op) in &self.ops {
            if let Some(row) = &op.clash {
                return Ok(Some((op.table, row.clone())));
            }
            if op.moved
                && let Some(row) = &op.new
                && self.exists(key)?
            {
                return Ok(Some((op.table, row.clone())));
            }
        }
        Ok(None)
    }
}

fn too_large(bytes_max: usize) -> SqlError {
    SqlError::new(SqlState::OUT_OF_MEMORY, "transaction is too large")
        .detail(format!("A transaction may hold {bytes_max} bytes of changes in memory."))
        .hint("Split it into smaller ones, or raise max_transaction_bytes.")
}
