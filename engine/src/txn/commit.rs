//! Commit: one at a time, one order.
//!
//! A small commit with nothing else under way is made where it is asked for (`at_once`); the rest goes to one thread.
//! Transactions that wait are merged into one batch and one fsync, each with a sequence number of its own, in the order
//! of the queue. The steps are those of design.md, section 4; after the write nothing can fail. A transaction with
//! catalog changes commits alone, because it is checked against the catalog that its predecessor leaves; so does a long
//! run of inserts, which becomes files of its own.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kalamdb_catalog::{Catalog, CatalogChange, Result, SqlError, SqlState, StorageId, TableDefinition};
use tokio::sync::{mpsc, oneshot};

use super::locks::{Held, conflict};
use super::manager::Shared;
use super::run::Run;
use super::serial::ReadSet;
use super::write_set::{INDEX_ENTRY, WriteSet};
use crate::live::Announced;
use crate::storage::{Batch, SortedRows, catalog_store};

impl SortedRows for Run {
    fn table(&self) -> kalamdb_catalog::Oid {
        Run::table(self)
    }
    fn rows(&self) -> Box<dyn Iterator<Item = (&[u8], &[u8])> + '_> {
        Box::new(self.iter())
    }
}

/// Transactions in one batch.
const GROUP_MAX: usize = 512;
/// A commit of more bytes is never made on the thread of a session, which serves others too.
const AT_ONCE_BYTES_MAX: usize = 64 << 10;
/// Bytes of write sets after which a group is closed.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// What a transaction hands over to be committed.
pub(super) struct CommitWork {
    pub(super) writes: Arc<WriteSet>,
    /// Inserted rows, if they are all there is.
    pub(super) run: Option<Run>,
    pub(super) changes: Vec<CatalogChange>,
    /// Storages filled in bulk; the commit makes them part of the catalog, or they go.
    pub(super) bulk: Vec<StorageId>,
    pub(super) held: Arc<Held>,
    /// SERIALIZABLE: what has been read, at which snapshot.
    pub(super) reads: Option<(Arc<ReadSet>, u64)>,
    pub(super) sync: bool,
    /// What is told once it is visible.
    pub(super) announced: Option<Announced>,
}

impl CommitWork {
    /// True for a few rows and nothing else.
    fn is_small(&self) -> bool {
        self.run.is_none()
            && self.changes.is_empty()
            && self.bulk.is_empty()
            && self.writes.bytes() <= AT_ONCE_BYTES_MAX
    }

    /// False for what only tells: it has no place in the order of rows.
    fn writes(&self) -> bool {
        !self.writes.is_empty() || self.run.is_some() || !self.changes.is_empty()
    }
}

/// What a group writes, with the sequence numbers.
fn writers(group: &[CommitRequest], base: u64) -> impl Iterator<Item = (&CommitWork, u64)> {
    group.iter().map(|request| &request.work).filter(|work| work.writes()).zip(base + 1..)
}

pub(super) struct CommitRequest {
    pub(super) work: CommitWork,
    pub(super) reply: oneshot::Sender<Result<u64>>,
}

impl Drop for CommitWork {
    /// However a request ends, its locks do. Releasing twice does nothing.
    fn drop(&mut self) {
        self.held.release();
    }
}

/// The commit thread. Ends when all senders are gone and the queue is empty.
pub(super) fn run(shared: &Shared, mut queue: mpsc::Receiver<CommitRequest>) {
    let mut group: Vec<CommitRequest> = Vec::new();
    while let Some(first) = queue.blocking_recv() {
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(request) = next {
            bytes += request.work.writes.bytes();
            let work = &request.work;
            // What is validated has to see all commits before it in the history.
            let alone = !work.changes.is_empty() || work.run.is_some() || work.reads.is_some();
            if alone {
                commit(shared, std::mem::take(&mut group));
            }
            group.push(request);
            if alone || group.len() >= GROUP_MAX || bytes >= GROUP_BYTES_MAX {
                break;
            }
            next = queue.try_recv().ok();
        }
        commit(shared, std::mem::take(&mut group));
    }
}

/// Commits on the caller's thread if nobody else has a transaction under way: handing it over and waiting for the answer would
/// take longer than the commit, with nothing to merge it with. None: done, and answered.
pub(super) fn at_once(shared: &Shared, request: CommitRequest) -> Option<CommitRequest> {
    let alone = shared.open.load(Ordering::Relaxed) == 1 && request.work.is_small();
    match shared.committing.try_lock() {
        Some(_turn) if alone => {
            commit_in_turn(shared, vec![request]);
            None
        }
        _ => Some(request),
    }
}

fn commit(shared: &Shared, group: Vec<CommitRequest>) {
    let _turn = shared.committing.lock();
    commit_in_turn(shared, group);
}

fn commit_in_turn(shared: &Shared, group: Vec<CommitRequest>) {
    if group.is_empty() {
        return;
    }
    let base = shared.written_seq.load(Ordering::Relaxed);
    let result = write(shared, &group, base);
    match result {
        Ok(replaced) => {
            let mut seq = base;
            shared.janitor.drop_later(shared.written_seq.load(Ordering::Relaxed), replaced);
            let quiet = group.len() == 1;
            // Oldest first, so that answers come in commit order.
            for mut request in group {
                seq += u64::from(request.work.writes());
                if let Some(announced) = request.work.announced.take() {
                    announced.publish(quiet);
                }
                request.work.held.release();
                let _ = request.reply.send(Ok(seq));
            }
        }
        Err(error) => {
            let (visible, _) = shared.snapshots.current();
            for mut request in group {
                shared.janitor.drop_later(visible, std::mem::take(&mut request.work.bulk));
                request.work.held.release();
                let _ = request.reply.send(Err(error.clone()));
            }
        }
    }
}

/// Steps 1 to 5. Gives the storages that the catalog does not name any more.
fn write(shared: &Shared, group: &[CommitRequest], base: u64) -> Result<Vec<StorageId>> {
    let changes: &[CatalogChange] = match group {
        [only] => &only.work.changes,
        _ => &[],
    };
    if let [CommitRequest { work: CommitWork { reads: Some((reads, snapshot)), .. }, .. }] = group {
        shared.history.validate(reads, *snapshot, "commit attempt")?;
    }
    let mut replaced = validate(&shared.snapshots.current().1, changes)?;
    let last = base + writers(group, base).count() as u64;
    if last == base {
        return Ok(replaced);
    }
    let mut batch = Batch::default();
    let mut deleted = Vec::new();
    let (mut log_bytes, mut sync) = (0, false);
    for (work, seq) in writers(group, base) {
        log_bytes += fill(shared, &mut batch, &work.writes, (seq, 0), &mut deleted);
        sync |= work.sync;
    }
    if let ([only], [_, ..]) = (group, changes) {
        let counts = recount(shared, changes)?;
        log_bytes += fill(shared, &mut batch, &counts, (base + 1, only.work.writes.len() as u32), &mut deleted);
    }
    if let [CommitRequest { work: CommitWork { run: Some(run), .. }, .. }] = group {
        log_bytes += shared.storage.write_run(run, base + 1)?;
        batch.end_run(&shared.storage);
    }
    batch.put_last_seq(&shared.storage, last);
    shared.storage.write(batch, sync)?;
    if sync {
        shared.sequences.synced();
    }
    shared.written_seq.store(last, Ordering::Relaxed);
    for (work, seq) in writers(group, base) {
        work.held.committed(seq);
        shared.storage.gaps().note(seq, |start, end| least_put(work, start, end));
    }
    shared.snapshots.publish(last, changes);
    shared.live.committed();
    remember(shared, group, base);
    shared.janitor.committed(last, sync, log_bytes as u64, deleted);
    if let [only] = group
        && !only.work.bulk.is_empty()
    {
        // A storage filled and given up again in the same transaction.
        let (_, catalog) = shared.snapshots.current();
        let unnamed = |id: &&StorageId| !catalog.tables().any(|t| t.definition.storages().any(|s| s == **id));
        replaced.extend(only.work.bulk.iter().filter(unnamed));
    }
    Ok(replaced)
}

/// The least key in a range under which a commit puts a row, or one below it.
fn least_put(work: &CommitWork, start: &[u8], end: &[u8]) -> Option<Vec<u8>> {
    let mut written = work.writes.range(Bound::Included(start), Bound::Excluded(end));
    let row = written.find(|(_, written)| written.after.is_some()).map(|(key, _)| key.to_vec());
    // Ascending, and long: where it begins says enough.
    let run = work.run.as_ref().and_then(|run| Some((run.iter().next()?.0, run.iter().last()?.0)));
    let run = run.filter(|(first, last)| *first < end && *last >= start).map(|(first, _)| first.max(start).to_vec());
    match (row, run) {
        (Some(row), Some(run)) => Some(row.min(run)),
        (row, run) => row.or(run),
    }
}

/// Keeps what serializable transactions are validated against. Asked for after the commits are visible: whoever does not see
/// them has counted himself before.
fn remember(shared: &Shared, group: &[CommitRequest], base: u64) {
    if shared.serializable.load(Ordering::Acquire) == 0 {
        shared.history.forget(shared.written_seq.load(Ordering::Relaxed));
        return;
    }
    for (work, seq) in writers(group, base) {
        shared.history.add(seq, &work.writes, work.run.as_ref(), shared.snapshots.horizon());
    }
}

/// The rows of schemas that gain or lose relations.
fn recount(shared: &Shared, changes: &[CatalogChange]) -> Result<WriteSet> {
    let mut counts = WriteSet::default();
    for write in catalog_store::recounted(changes, &shared.snapshots.current().1)? {
        let before = shared.storage.get(&write.key, u64::MAX)?.map(|(_, row)| row);
        counts.put(write.key.into(), write.table, before, write.row.map(Into::into));
    }
    Ok(counts)
}

/// Adds one transaction's rows and change log to the batch, from the change with this number on; gives the bytes of the
/// log.
fn fill(
    shared: &Shared,
    batch: &mut Batch,
    writes: &WriteSet,
    (seq, first): (u64, u32),
    deleted: &mut Vec<(u64, Vec<u8>)>,
) -> usize {
    let storage = &*shared.storage;
    let mut log_bytes = 0;
    let mut index = first;
    for (key, written) in writes.iter() {
        let (before, after) = (written.before.as_deref(), written.after.as_deref());
        if before.is_none() && after.is_none() {
            continue;
        }
        batch.put_row(storage, key, seq, after.unwrap_or_default());
        if written.table != INDEX_ENTRY {
            log_bytes += batch.put_change(storage, (seq, index), written.table, key, before, after);
            index += 1;
        }
        if after.is_none() {
            deleted.push((seq, key.to_vec()));
        }
    }
    log_bytes
}

/// Checks catalog changes against the newest catalog: what the locks on single relations cannot see. Gives the storages
/// that the changes replace.
fn validate(current: &Arc<Catalog>, changes: &[CatalogChange]) -> Result<Vec<StorageId>> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let mut next = Catalog::clone(current);
    for change in changes {
        check_name(&next, change)?;
        next.apply(change);
    }
    for change in changes {
        match change {
            CatalogChange::PutTable(table) if next.table(table.oid).is_some() => {
                if next.schema(table.schema).is_none() {
                    return Err(conflict());
                }
            }
            CatalogChange::DropSchema(oid) => {
                if next.schema(*oid).is_none() && next.tables().any(|t| t.definition.schema == *oid) {
                    return Err(conflict());
                }
            }
            CatalogChange::DropDatabase(oid) => {
                if next.database(*oid).is_none() && next.schemas(*oid).any(|s| s.database == *oid) {
                    return Err(conflict());
                }
            }
            CatalogChange::PutSchema(schema) => {
                let gone = schema.database != 0 && next.database(schema.database).is_none();
                if gone && next.schema(schema.oid).is_some() {
                    return Err(conflict());
                }
            }
            CatalogChange::PutTable(_) | CatalogChange::DropTable(_) | CatalogChange::PutDatabase(_) => {}
        }
    }
    let mut replaced: Vec<StorageId> = Vec::new();
    for change in changes {
        let (CatalogChange::PutTable(TableDefinition { oid, .. }) | CatalogChange::DropTable(oid)) = change else {
            continue;
        };
        let Some(old) = current.table(*oid) else { continue };
        let kept: Vec<StorageId> = next.table(*oid).map(|t| t.definition.storages().collect()).unwrap_or_default();
        let gone = old.definition.storages().filter(|s| !kept.contains(s) && !replaced.contains(s));
        replaced.extend(gone.collect::<Vec<_>>());
    }
    Ok(replaced)
}

/// 23505 on pg_class, pg_namespace or pg_database if another object has the name by now, as PostgreSQL reports it when
/// two transactions create the same thing.
fn check_name(next: &Catalog, change: &CatalogChange) -> Result<()> {
    let (taken, index, key) = match change {
        CatalogChange::PutTable(t) => (
            next.table_by_name(t.schema, &t.name).is_some_and(|other| other.definition.oid != t.oid),
            "pg_class_relname_nsp_index",
            format!("(relname, relnamespace)=({}, {})", t.name, t.schema),
        ),
        CatalogChange::PutSchema(s) => (
            next.schemas(s.database).any(|other| other.name == s.name && other.oid != s.oid),
            "pg_namespace_nspname_index",
            format!("(nspname)=({})", s.name),
        ),
        CatalogChange::PutDatabase(d) => (
            next.database_by_name(&d.name).is_some_and(|other| other.oid != d.oid),
            "pg_database_datname_index",
            format!("(datname)=({})", d.name),
        ),
        CatalogChange::DropTable(_) | CatalogChange::DropSchema(_) | CatalogChange::DropDatabase(_) => return Ok(()),
    };
    if !taken {
        return Ok(());
    }
    let message = format!("duplicate key value violates unique constraint \"{index}\"");
    Err(SqlError::new(SqlState::UNIQUE_VIOLATION, message)
        .detail(format!("Key {key} already exists."))
        .constraint(index))
}
