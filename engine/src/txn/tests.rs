//! Runs the golden scripts of testdata/storage and testdata/mvcc. `UPDATE_GOLDENFILES=1` rewrites their output.
//!
//! A script drives one data directory that starts empty. The prefix of a command names a session, which has at most one
//! transaction. The table is `(k text primary key, v text)`, OID 16384, storage 1; `storage=2` names another one.

use std::collections::{BTreeMap, HashSet};
use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use goldenscript::{Argument, Command, Context};
use kalamdb_catalog::{
    CatalogChange, ColumnDefinition, PgType, PrimaryKey, SchemaDefinition, SchemaRegistry, StorageId, TableDefinition,
    TableKind,
};

use super::{
    ApplyOutcome, CatalogWrite, ChangeLogOptions, IfLocked, LockClient, LockMode, StatementWrites, TableRef,
    Transaction, TxnManager, TxnOptions,
};
use crate::live::LiveQueryManager;
use crate::session::CancelHandle;
use crate::storage::{BulkOutcome, RowLayout, Storage, StorageOptions, UNCOMMITTED, encode_key, keys};
use crate::types::Value;

/// Where catalog rows of the scripts are stored; their content is of no interest.
const CATALOG_STORAGE: StorageId = 9;

type Outcome = Result<String, Box<dyn Error>>;

pub(crate) struct TempDir(pub(crate) PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> TempDir {
        let path = std::env::temp_dir().join(format!("kalamdb-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        TempDir(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn small_options() -> StorageOptions {
    StorageOptions { block_cache_bytes: 8 << 20, write_buffer_bytes: 8 << 20, ..StorageOptions::default() }
}

fn column(name: &str) -> ColumnDefinition {
    ColumnDefinition {
        name: name.to_owned(),
        ty: PgType::TEXT,
        typmod: -1,
        not_null: false,
        default: None,
        default_oid: 0,
        dropped: false,
        missing: None,
        since_version: 0,
        generated: None,
    }
}

pub(crate) fn table(oid: u32, name: &str, storage: StorageId) -> TableDefinition {
    TableDefinition {
        oid,
        row_type_oid: oid + 1000,
        schema: 2200,
        name: name.to_owned(),
        owner: "kalamdb".to_owned(),
        kind: TableKind::Shared,
        storage,
        persistence: kalamdb_catalog::table::Persistence::Permanent,
        schema_version: 0,
        columns: vec![column("k"), column("v")],
        primary_key: Some(PrimaryKey { constraint_oid: 1, index_oid: 2, name: "t_pkey".to_owned(), columns: vec![0] }),
        indexes: Vec::new(),
        constraints: Vec::new(),
        options: Vec::new(),
        created_at: 0,
    }
}

fn public() -> CatalogChange {
    CatalogChange::PutSchema(SchemaDefinition {
        oid: 2200,
        database: 0,
        name: "public".to_owned(),
        owner: "kalamdb".to_owned(),
        created_at: 0,
    })
}

/// `key=value`, or a value alone.
trait Parts {
    fn key(&self) -> Option<&str>;
    fn value(&self) -> &str;
}

impl Parts for Argument {
    fn key(&self) -> Option<&str> {
        match self {
            Argument::KeyValue(key, _) => Some(key),
            _ => None,
        }
    }

    fn value(&self) -> &str {
        match self {
            Argument::Positional(value) | Argument::KeyValue(_, value) => value,
            _ => "",
        }
    }
}

/// A session that does not wait for locks: a script runs on one thread.
#[derive(Debug)]
struct Impatient;

impl LockClient for Impatient {
    fn cancel(&self) -> CancelHandle {
        CancelHandle::default()
    }
    fn lock_timeout(&self) -> Option<Duration> {
        Some(Duration::from_millis(1))
    }
    fn deadlock_timeout(&self) -> Duration {
        Duration::from_secs(1)
    }
    fn statement_of(&self, _: i32) -> Option<String> {
        None
    }
}

struct Runner {
    dir: TempDir,
    runtime: Arc<tokio::runtime::Runtime>,
    manager: Option<Arc<TxnManager>>,
    registry: Arc<SchemaRegistry>,
    sessions: BTreeMap<String, Transaction>,
    statements: BTreeMap<String, StatementWrites>,
    options: TxnOptions,
}

impl Runner {
    fn new(name: &str) -> Runner {
        let registry = Arc::new(SchemaRegistry::default());
        registry.apply(&[public(), CatalogChange::PutTable(table(16384, "t", 1))]);
        Runner {
            dir: TempDir::new(name),
            runtime: Arc::new(tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()),
            manager: None,
            registry,
            sessions: BTreeMap::new(),
            statements: BTreeMap::new(),
            // Ticks come by command.
            options: TxnOptions { tick: Duration::from_secs(3600), ..TxnOptions::default() },
        }
    }

    fn open(&mut self) -> Result<(), Box<dyn Error>> {
        let storage = Arc::new(Storage::open(&self.dir.0, small_options())?);
        let registry = Arc::clone(&self.registry);
        let live = LiveQueryManager::open(self.dir.0.join("notify"), 1 << 20)?;
        self.manager = Some(TxnManager::open(storage, registry, live, self.options.clone())?);
        Ok(())
    }

    fn manager(&self) -> &Arc<TxnManager> {
        self.manager.as_ref().unwrap()
    }

    fn layout(&self, storage: StorageId) -> TableRef {
        let oid = if storage == 1 { 16384 } else { 16384 + storage };
        TableRef::new(Arc::new(RowLayout::new(&table(oid, "t", storage)).unwrap()))
    }

    fn session(&mut self, name: &str) -> Result<&mut Transaction, Box<dyn Error>> {
        self.sessions.get_mut(name).ok_or_else(|| "no transaction".into())
    }

    /// Runs `writes` in the open statement, or in one of its own.
    fn write(&mut self, session: &str, writes: impl FnOnce(&mut StatementWrites) -> Outcome) -> Outcome {
        if let Some(statement) = self.statements.get_mut(session) {
            return writes(statement);
        }
        let mut statement = self.session(session)?.statement();
        let mut out = writes(&mut statement)?;
        out += &self.apply(session, statement)?;
        Ok(out)
    }

    fn apply(&mut self, session: &str, statement: StatementWrites) -> Outcome {
        Ok(match self.session(session)?.apply(statement)? {
            ApplyOutcome::Ok => String::new(),
            ApplyOutcome::Duplicate { table, row } => format!("duplicate in {table}: {}\n", self.show(&row)),
            ApplyOutcome::DuplicateEntry { index, row } => format!("duplicate in {index}: {}\n", self.show(&row)),
        })
    }

    fn show(&self, row: &[u8]) -> String {
        let table = self.layout(1);
        let text = |i| match table.layout.decode_column(row, i).unwrap() {
            Value::Text(v) => v.into_owned(),
            other => format!("{other:?}"),
        };
        format!("{}={}", text(0), text(1))
    }

    fn read(&mut self, command: &Command, session: &str, storage: StorageId) -> Outcome {
        let mut args = command.consume_args();
        args.take_key("storage");
        let mut out = String::new();
        let seq = |seq| if seq == UNCOMMITTED { "own".to_owned() } else { format!("@{seq}") };
        let reader = match self.sessions.get(session) {
            Some(txn) => txn.reader(),
            None => self.manager().begin().reader(),
        };
        if command.name == "get" {
            for arg in args {
                match reader.get_with_seq(&key(storage, arg.value()))? {
                    Some((s, row)) => writeln!(out, "{} {}", self.show(&row), seq(s))?,
                    None => writeln!(out, "{} none", arg.value())?,
                }
            }
            return Ok(out);
        }
        let reverse = args.take_key("reverse").is_some();
        let (mut start, mut end) = keys::storage_range(storage);
        if let Some(from) = args.take_key("from") {
            start = key(storage, from);
        }
        if let Some(to) = args.take_key("to") {
            end = keys::after(&key(storage, to));
        }
        let mut scan = reader.scan(start, end, reverse);
        while let Some(found) = scan.next()? {
            writeln!(out, "{} {}", self.show(found.row), seq(found.seq))?;
        }
        Ok(out)
    }

    fn commit(&mut self, command: &Command, session: &str) -> Outcome {
        let sync = !command.args.iter().any(|a| a.value() == "async");
        let mut txn = self.sessions.remove(session).ok_or("no transaction")?;
        let seq = self.runtime.block_on(txn.commit(sync))?;
        Ok(format!("commit {seq}\n"))
    }

    /// Commits several sessions at once.
    fn commit_all(&mut self, command: &Command) -> Outcome {
        let names: Vec<_> = command.args.iter().map(|a| a.value().to_owned()).collect();
        let mut txns: Vec<_> = names.iter().map(|n| self.sessions.remove(n).unwrap()).collect();
        let seqs = self.runtime.block_on(futures::future::join_all(txns.iter_mut().map(|t| t.commit(true))));
        let mut out = String::new();
        for (name, seq) in names.iter().zip(seqs) {
            writeln!(out, "{name} commit {}", seq?)?;
        }
        Ok(out)
    }

    fn ddl(&mut self, command: &Command, session: &str) -> Outcome {
        let mut args = command.consume_args();
        let name = args.take_key("name").unwrap_or("t").to_owned();
        let storage: StorageId = args.take_key("storage").unwrap_or("1").parse()?;
        let oid: u32 = args.take_key("oid").unwrap_or("16384").parse()?;
        let txn = self.session(session)?;
        let (change, row) = match args.next_pos() {
            Some("lock") => {
                txn.take_table(oid)?;
                return Ok(String::new());
            }
            Some("put") => (CatalogChange::PutTable(table(oid, &name, storage)), Some(b"\0\0def".to_vec())),
            _ => (CatalogChange::DropTable(oid), None),
        };
        txn.ddl(change, vec![CatalogWrite { table: 1259, key: row_key(CATALOG_STORAGE, oid), row }])?;
        Ok(String::new())
    }

    fn bulk(&mut self, command: &Command, session: &str, storage: StorageId) -> Outcome {
        let layout = self.layout(storage);
        let mut bulk = self.session(session)?.bulk(storage);
        for arg in command.args.iter().filter(|a| a.key() != Some("storage")) {
            let (k, v) = (arg.key().unwrap_or_default(), arg.value());
            bulk.put(&key(storage, k), &row(&layout, k, v))?;
        }
        Ok(match bulk.finish()? {
            BulkOutcome::Done(rows) => format!("{rows} rows\n"),
            BulkOutcome::Duplicate(row) => format!("duplicate {}\n", self.show(&row)),
        })
    }

    fn changes(&self, command: &Command) -> Outcome {
        let since = command.consume_args().take_key("since").unwrap_or("0").parse()?;
        let Some(changes) = self.manager().changes_since(since)? else { return Ok("trimmed\n".to_owned()) };
        let mut out = String::new();
        for change in changes {
            let c = change?;
            let show = |row: &Option<bytes::Bytes>| match row {
                Some(row) if c.table != 1259 => self.show(row),
                Some(_) => "definition".to_owned(),
                None => "-".to_owned(),
            };
            writeln!(out, "{}.{} {:?} {} {} -> {}", c.seq, c.index, c.op, c.table, show(&c.old), show(&c.new))?;
        }
        Ok(out)
    }

    /// Every version in storage, but the catalog's.
    fn versions(&self) -> Outcome {
        let mut out = String::new();
        for (key, seq, row) in self.manager().storage().versions_for_test() {
            if key.starts_with(&CATALOG_STORAGE.to_be_bytes()) {
                continue;
            }
            let row = if row.is_empty() { "deleted".to_owned() } else { self.show(&row) };
            writeln!(out, "{} @{seq} {row}", escape(&key))?;
        }
        Ok(out)
    }
}

fn escape(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\x", "~")
}

fn key(storage: StorageId, k: &str) -> Vec<u8> {
    encode_key(storage, None, &[(PgType::TEXT, Value::Text(k.into()))])
}

fn row_key(storage: StorageId, oid: u32) -> Vec<u8> {
    encode_key(storage, None, &[(PgType::OID, Value::Oid(oid))])
}

fn row(table: &TableRef, k: &str, v: &str) -> Vec<u8> {
    table.layout.encode(&[Value::Text(k.into()), Value::Text(v.into())])
}

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn start_script(&mut self) -> Result<(), Box<dyn Error>> {
        self.open()
    }

    fn run(&mut self, command: &Command, context: &Context) -> Outcome {
        let session = context.prefix.clone().unwrap_or_default();
        let storage: StorageId = command.consume_args().take_key("storage").unwrap_or("1").parse()?;
        let table = self.layout(storage);
        let pairs = || command.args.iter().filter(|a| a.key() != Some("storage"));
        let old = |runner: &Runner, k: &str| -> Result<Vec<u8>, Box<dyn Error>> {
            let txn = runner.sessions.get(&session).ok_or("no transaction")?;
            Ok(txn.reader().get(&key(storage, k))?.ok_or_else(|| format!("{k} is not visible"))?.to_vec())
        };
        let runtime = Arc::clone(&self.runtime);
        match command.name.as_str() {
            "begin" => {
                let txn = self.manager().begin_for(0, Arc::new(Impatient));
                let seq = txn.snapshot_seq();
                self.sessions.insert(session, txn);
                Ok(format!("snapshot {seq}\n"))
            }
            "refresh" => {
                let txn = self.session(&session)?;
                txn.refresh_snapshot();
                Ok(format!("snapshot {}\n", txn.snapshot_seq()))
            }
            "commit" => self.commit(command, &session),
            "commit_all" => self.commit_all(command),
            "rollback" => {
                self.sessions.remove(&session).ok_or("no transaction")?.rollback();
                Ok(String::new())
            }
            "statement" => {
                let statement = self.session(&session)?.statement();
                self.statements.insert(session, statement);
                Ok(String::new())
            }
            "apply" => {
                let statement = self.statements.remove(&session).ok_or("no statement")?;
                self.apply(&session, statement)
            }
            "insert" => {
                let rows: Vec<_> = pairs().map(|a| (a.key().unwrap_or_default(), a.value())).collect();
                self.write(&session, |w| {
                    let mut out = String::new();
                    for (k, v) in rows {
                        if !w.try_lock_key(&table, &key(storage, k))? {
                            writeln!(out, "{k} Locked")?;
                            continue;
                        }
                        writeln!(out, "{k} {:?}", w.insert(&table, key(storage, k), row(&table, k, v))?)?;
                    }
                    Ok(out)
                })
            }
            "update" => {
                let rows = pairs()
                    .map(|a| Ok((a.key().unwrap_or_default(), a.value(), old(self, a.key().unwrap_or_default())?)))
                    .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
                self.write(&session, |w| {
                    let mut out = String::new();
                    for (k, v, old) in rows {
                        runtime.block_on(w.lock_row(&table, &key(storage, k), LockMode::NO_KEY_UPDATE))?;
                        if !w.update(&table, &key(storage, k), &old, row(&table, k, v))? {
                            writeln!(out, "{k} already changed")?;
                        }
                    }
                    Ok(out)
                })
            }
            "delete" => {
                let rows = pairs()
                    .map(|a| Ok((a.value(), old(self, a.value())?)))
                    .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
                self.write(&session, |w| {
                    let mut out = String::new();
                    for (k, old) in rows {
                        runtime.block_on(w.lock_row(&table, &key(storage, k), LockMode::UPDATE))?;
                        if !w.delete(&table, &key(storage, k), &old)? {
                            writeln!(out, "{k} already changed")?;
                        }
                    }
                    Ok(out)
                })
            }
            "rekey" => {
                let rows = pairs()
                    .map(|a| Ok((a.key().unwrap_or_default(), a.value(), old(self, a.key().unwrap_or_default())?)))
                    .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
                self.write(&session, |w| {
                    for (from, to, old) in rows {
                        let new = row(&table, to, &format!("from-{from}"));
                        runtime.block_on(w.lock_row(&table, &key(storage, from), LockMode::UPDATE))?;
                        runtime.block_on(w.lock_key(&table, &key(storage, to)))?;
                        w.rekey(&table, &key(storage, from), &old, key(storage, to), new)?;
                    }
                    Ok(String::new())
                })
            }
            "lock" => {
                let keys: Vec<_> = pairs().map(|a| key(storage, a.value())).collect();
                let txn = self.session(&session)?;
                let reader = txn.reader();
                for k in keys {
                    runtime.block_on(txn.locker().lock(&reader, table.oid, &k, (LockMode::UPDATE, IfLocked::Wait)))?;
                }
                Ok(String::new())
            }
            "get" | "scan" => self.read(command, &session, storage),
            "ddl" => self.ddl(command, &session),
            "bulk" => self.bulk(command, &session, storage),
            "changes" => self.changes(command),
            "versions" => self.versions(),
            "status" => {
                let manager = self.manager();
                let (seq, catalog) = manager.snapshot();
                let mut tables: Vec<_> =
                    catalog.tables().map(|t| format!("{}:{}", t.definition.name, t.definition.storage)).collect();
                tables.sort();
                Ok(format!("seq {seq} horizon {} tables {}\n", manager.horizon(), tables.join(" ")))
            }
            "tick" => {
                self.manager().tick();
                Ok(String::new())
            }
            "compact" => {
                self.manager().storage().compact()?;
                Ok(String::new())
            }
            "limit" => {
                let mut args = command.consume_args();
                if let Some(bytes) = args.take_key("transaction_bytes") {
                    self.options.max_transaction_bytes = bytes.parse()?;
                }
                if let Some(bytes) = args.take_key("log_bytes") {
                    self.options.change_log = ChangeLogOptions { max_bytes: bytes.parse()?, max_age: Duration::MAX };
                }
                self.sessions.clear();
                self.manager.take();
                self.open()?;
                Ok(String::new())
            }
            "reopen" => {
                self.statements.clear();
                self.sessions.clear();
                self.manager.take();
                self.open()?;
                let storage = self.manager().storage();
                let (_, catalog) = self.manager().snapshot();
                let mut referenced: HashSet<StorageId> = catalog.tables().map(|t| t.definition.storage).collect();
                referenced.insert(CATALOG_STORAGE);
                let dropped = storage.drop_unreferenced(&referenced)?;
                Ok(format!("seq {} fresh {} dropped {dropped:?}\n", storage.last_seq()?, storage.is_fresh()))
            }
            other => Err(format!("unknown command {other}").into()),
        }
    }
}

fn run(directory: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata").join(directory);
    let mut scripts: Vec<_> = std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()).collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    for script in scripts {
        let name = format!("{directory}-{}", script.file_name().unwrap().to_string_lossy());
        goldenscript::run(&mut Runner::new(&name), &script).unwrap();
    }
}

#[test]
fn mvcc_scripts() {
    run("mvcc");
}

#[test]
fn storage_scripts() {
    run("storage");
}

/// Concurrent increments of one counter: every acknowledged one counts, whatever the conflicts.
#[test]
fn no_update_is_lost() {
    let dir = TempDir::new("counter");
    let storage = Arc::new(Storage::open(&dir.0, small_options()).unwrap());
    let live = LiveQueryManager::open(dir.0.join("notify"), 1 << 20).unwrap();
    let manager = TxnManager::open(storage, Arc::default(), live, TxnOptions::default()).unwrap();
    let table = TableRef::new(Arc::new(RowLayout::new(&table(16384, "t", 1)).unwrap()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let set = async |txn: &mut Transaction, old: &[u8], v: u64| -> kalamdb_catalog::Result<()> {
        let mut statement = txn.statement();
        statement.lock_row(&table, &key(1, "n"), LockMode::NO_KEY_UPDATE).await?;
        statement.update(&table, &key(1, "n"), old, row(&table, "n", &v.to_string()))?;
        txn.apply(statement).map(drop)
    };
    let mut txn = manager.begin();
    let mut statement = txn.statement();
    statement.insert(&table, key(1, "n"), row(&table, "n", "0")).unwrap();
    txn.apply(statement).unwrap();
    runtime.block_on(txn.commit(true)).unwrap();
    let read = |row: &[u8]| match table.layout.decode_column(row, 1).unwrap() {
        Value::Text(v) => v.parse::<u64>().unwrap(),
        other => panic!("{other:?}"),
    };
    let worker = || async {
        let mut acknowledged = 0;
        for _ in 0..300 {
            let mut txn = manager.begin();
            let old = txn.reader().get(&key(1, "n")).unwrap().unwrap();
            tokio::task::yield_now().await;
            if set(&mut txn, &old, read(&old) + 1).await.is_ok() && txn.commit(false).await.is_ok() {
                acknowledged += 1;
            }
        }
        acknowledged
    };
    let sum: u64 = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..4).map(|_| scope.spawn(|| runtime.block_on(worker()))).collect();
        handles.into_iter().map(|h| h.join().unwrap()).sum()
    });
    let last = manager.begin().reader().get(&key(1, "n")).unwrap().unwrap();
    assert_eq!(read(&last), sum);
    assert!(sum > 0);
}
