//! What functions and scans see of a session: identity, settings, the catalog of the running statement, clocks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kalamdb_catalog::{Catalog, Oid, Result, SqlError};
use parking_lot::{Mutex, RwLock};

use super::cancel::CancelHandle;
use super::cursor::RowKeys;
use super::peers::Peers;
use super::vars::Vars;
use crate::live::{Announcements, Listener, LiveQueries, LiveQueryManager};
use crate::txn::{Exporter, LockClient, SessionLocks, TxnManager};
use crate::types::FormatSettings;

/// Shared by a session and the plans it runs. Everything here is read while a statement runs and changed only between
/// statements, except `notices`.
#[derive(Debug)]
pub struct SessionContext {
    /// The pid of BackendKeyData.
    pub pid: i32,
    pub user: String,
    pub database: Oid,
    pub database_name: String,
    /// Microseconds since 1970.
    pub server_started_at: i64,
    /// The data directory, for SHOW and functions that report it.
    pub client_address: Option<String>,
    /// The server's sessions, this one included.
    pub(crate) peers: Option<Arc<dyn Peers>>,
    /// The server's transactions. None: outside a server.
    pub(crate) txns: Option<Arc<TxnManager>>,
    /// Advisory locks that the session holds beyond its transactions.
    pub(crate) locks: Option<SessionLocks>,
    /// The server's notifications. None: outside a server.
    pub(crate) live: Option<Arc<LiveQueryManager>>,
    pub(crate) queries: Option<Arc<LiveQueries>>,
    /// The session as one that listens, once it has.
    pub(crate) listener: OnceLock<Arc<Listener>>,
    /// What the open transaction will tell.
    announcements: Arc<Mutex<Announcements>>,
    sequences: SequenceValues,
    cursors: RwLock<Vec<CursorInfo>>,
    /// There may be a schema of temporary relations.
    made_temporary: AtomicBool,
    vars: RwLock<Arc<Vars>>,
    format: RwLock<Arc<FormatSettings>>,
    catalog: RwLock<Arc<Catalog>>,
    exporter: Mutex<Option<Exporter>>,
    transaction_micros: AtomicI64,
    statement_micros: AtomicI64,
    notices: RwLock<Vec<SqlError>>,
    cancel: CancelHandle,
}

impl LockClient for SessionContext {
    fn cancel(&self) -> CancelHandle {
        self.cancel.clone()
    }
    fn lock_timeout(&self) -> Option<Duration> {
        self.vars().lock_timeout()
    }
    fn deadlock_timeout(&self) -> Duration {
        self.vars().deadlock_timeout()
    }
    fn statement_of(&self, pid: i32) -> Option<String> {
        self.peers.as_ref()?.list().into_iter().find(|peer| peer.pid == pid).map(|peer| peer.query)
    }
}

impl SessionContext {
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        pid: i32,
        user: String,
        database: Oid,
        database_name: String,
        client_address: Option<String>,
        server_started_at: i64,
        vars: Vars,
        catalog: Arc<Catalog>,
    ) -> Self {
        let format = Arc::new(vars.format());
        SessionContext {
            pid,
            user,
            database,
            database_name,
            server_started_at,
            client_address,
            peers: None,
            txns: None,
            locks: None,
            live: None,
            queries: None,
            listener: OnceLock::new(),
            announcements: Arc::new(Mutex::new(Announcements::new(pid, database))),
            sequences: SequenceValues::default(),
            cursors: RwLock::default(),
            made_temporary: AtomicBool::new(false),
            vars: RwLock::new(Arc::new(vars)),
            format: RwLock::new(format),
            catalog: RwLock::new(catalog),
            exporter: Mutex::default(),
            transaction_micros: AtomicI64::new(0),
            statement_micros: AtomicI64::new(0),
            notices: RwLock::new(Vec::new()),
            cancel: CancelHandle::default(),
        }
    }

    /// The same identity and settings, apart from the session: for what goes on while it does other things.
    pub(crate) fn detached(&self) -> SessionContext {
        let mut context = SessionContext::new(
            self.pid,
            self.user.clone(),
            self.database,
            self.database_name.clone(),
            self.client_address.clone(),
            self.server_started_at,
            Vars::clone(&self.vars()),
            self.catalog(),
        );
        context.txns.clone_from(&self.txns);
        context
    }

    /// The schema of the session's temporary relations, if there is one.
    pub fn temporary_schema(&self) -> String {
        format!("{}{}", crate::sql::handlers::temporary::SCHEMA_PREFIX, self.pid)
    }

    /// The session's cursors, as the last statement left them.
    pub(crate) fn cursors(&self) -> Vec<CursorInfo> {
        self.cursors.read().clone()
    }

    pub(crate) fn set_cursors(&self, cursors: Vec<CursorInfo>) {
        *self.cursors.write() = cursors;
    }

    /// The session makes temporary relations.
    pub(crate) fn makes_temporary(&self) {
        self.made_temporary.store(true, Ordering::Relaxed);
    }

    /// True if the session has made temporary relations.
    pub(crate) fn has_temporary(&self) -> bool {
        self.made_temporary.load(Ordering::Relaxed)
            && self.catalog.read().schema_by_name(self.database, &self.temporary_schema()).is_some()
    }

    /// What the open transaction will tell.
    pub(crate) fn announcements(&self) -> &Arc<Mutex<Announcements>> {
        &self.announcements
    }

    /// What sequences have given to the session.
    pub(crate) fn sequences(&self) -> &SequenceValues {
        &self.sequences
    }

    /// The token that ends the running statement.
    pub fn cancel(&self) -> &CancelHandle {
        &self.cancel
    }

    /// The settings (SET/SHOW).
    pub fn vars(&self) -> Arc<Vars> {
        self.vars.read().clone()
    }

    /// Replaces the settings, and what is derived from them.
    pub fn set_vars(&self, vars: Vars) {
        // Begin and commit change nothing that a format is made of.
        if self.vars.read().same_values(&vars) {
            *self.vars.write() = Arc::new(vars);
            return;
        }
        let mut format = vars.format();
        format.transaction_micros = self.transaction_micros();
        *self.format.write() = Arc::new(format);
        *self.vars.write() = Arc::new(vars);
    }

    /// How values are read and written as text.
    pub fn format(&self) -> Arc<FormatSettings> {
        self.format.read().clone()
    }

    /// The catalog as the running statement sees it: committed state and the transaction's own DDL.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.read().clone()
    }

    pub fn set_catalog(&self, catalog: Arc<Catalog>) {
        *self.catalog.write() = catalog;
    }

    /// pg_export_snapshot: the name under which others may take over the snapshot of the running statement.
    pub(crate) fn export_snapshot(&self) -> Result<String> {
        let exporter = self.exporter.lock().clone();
        exporter.ok_or_else(|| SqlError::internal("no transaction is open"))?.export(self.database)
    }

    pub(crate) fn set_exporter(&self, exporter: Exporter) {
        *self.exporter.lock() = Some(exporter);
    }

    /// now(): start of the transaction, microseconds since 1970.
    pub fn transaction_micros(&self) -> i64 {
        self.transaction_micros.load(Ordering::Relaxed)
    }

    /// statement_timestamp(), microseconds since 1970.
    pub fn statement_micros(&self) -> i64 {
        self.statement_micros.load(Ordering::Relaxed)
    }

    pub fn set_statement_micros(&self, micros: i64) {
        self.statement_micros.store(micros, Ordering::Relaxed);
    }

    pub fn set_transaction_micros(&self, micros: i64) {
        self.transaction_micros.store(micros, Ordering::Relaxed);
        let mut format = self.format.write();
        Arc::make_mut(&mut format).transaction_micros = micros;
    }

    /// Queues a NOTICE or WARNING for the client (code 00000 is a NOTICE, class 01 a WARNING).
    pub fn notice(&self, notice: SqlError) {
        self.notices.write().push(notice);
    }

    pub fn take_notices(&self) -> Vec<SqlError> {
        std::mem::take(&mut *self.notices.write())
    }
}

/// What others need to know of a cursor.
#[derive(Clone, Debug)]
pub(crate) struct CursorInfo {
    pub(crate) name: String,
    pub(crate) statement: String,
    pub(crate) hold: bool,
    pub(crate) scroll: bool,
    pub(crate) created_at: i64,
    /// The tables that its rows are rows of.
    pub(crate) tables: Vec<Oid>,
    /// It has outlived its transaction.
    pub(crate) held: bool,
    /// The keys of the current row in them; None if the cursor is on no row.
    pub(crate) keys: Option<RowKeys>,
}

/// The values that a session has got of sequences: what currval and lastval are about.
#[derive(Default, Debug)]
pub(crate) struct SequenceValues(Mutex<(HashMap<Oid, i64>, Option<Oid>)>);

impl SequenceValues {
    /// nextval
    pub(crate) fn note(&self, sequence: Oid, value: i64) {
        let mut values = self.0.lock();
        values.0.insert(sequence, value);
        values.1 = Some(sequence);
    }

    /// setval, which does not make the sequence the last one used.
    pub(crate) fn note_current(&self, sequence: Oid, value: i64) {
        self.0.lock().0.insert(sequence, value);
    }

    pub(crate) fn current(&self, sequence: Oid) -> Option<i64> {
        self.0.lock().0.get(&sequence).copied()
    }

    /// The sequence that gave the last value, and its value now.
    pub(crate) fn last(&self) -> Option<(Oid, i64)> {
        let values = self.0.lock();
        values.1.and_then(|oid| Some((oid, *values.0.get(&oid)?)))
    }

    /// DISCARD SEQUENCES
    pub(crate) fn forget(&self) {
        *self.0.lock() = Default::default();
    }
}
