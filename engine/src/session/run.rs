//! [`Session`]: transactions around statements, and the names of prepared ones.
//!
//! The connection calls, for a simple Query: `parse`, then for each statement `prepare`, `bind`, `execute`, and
//! `finish_implicit` after the last one's rows and before its CommandComplete; for the extended protocol the same with
//! `finish_implicit` at Sync. After any error it calls `fail`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kalamdb_catalog::{Catalog, Oid, PgType, Result, SqlError, SqlState};

use super::{
    Bound, CancelHandle, Cursor, Parameter, Prepared, SessionContext, StartupParameters, TransactionStatus, Vars,
};
use crate::clock;
use crate::context::AppContext;
use crate::limits;
use crate::live::Feed;
use crate::sql::statement::{IsolationLevel, Statement, TransactionModes};
use crate::sql::{self, CopyIn, ParsedStatement, PreparedStatement, Response};
use crate::txn::{IfLocked, Isolation, LockClient, LockMode, Locked, Transaction};
use crate::types::io::check_utf8;
use crate::types::{FormatSettings, Value, parse_binary_parameter, parse_text};

/// Not thread-safe: one connection, one task.
pub struct Session {
    app: Arc<AppContext>,
    pub(super) context: Arc<SessionContext>,
    cancel: CancelHandle,
    pub(super) state: State,
    statements: HashMap<String, Arc<Prepared>>,
    pub(crate) cursors: BTreeMap<String, Cursor>,
    /// Its live queries.
    pub(super) feeds: Vec<Feed>,
    /// What foreign keys have run.
    pub(crate) internal: HashMap<String, Arc<PreparedStatement>>,
    /// GUC_REPORT values as the client knows them.
    reported: Vec<(&'static str, String)>,
    /// The settings that `reported` was taken from.
    reported_of: Arc<Vars>,
    /// A block has begun and no statement has run in it: its snapshot is that of the first one.
    pub(super) fresh_block: bool,
    /// The statement that runs is the first of its transaction.
    first_statement: bool,
    /// The statement is one of several in a query string.
    one_of_several: bool,
}

pub(super) enum State {
    Idle,
    /// A transaction that ends with the message, or at Sync.
    Implicit(Transaction),
    Block(Transaction),
    /// With what is left to go back to, if there are savepoints.
    Failed(Option<Transaction>),
}

impl Session {
    /// 3D000 for an unknown database; bad settings as SET would report them.
    pub fn open(app: Arc<AppContext>, startup: StartupParameters) -> Result<Session> {
        let catalog = app.registry.current();
        let name = if startup.database.is_empty() { &startup.user } else { &startup.database };
        let database = match catalog.database_by_name(name) {
            Some(found) => Arc::clone(found),
            None => {
                return Err(SqlError::new(
                    SqlState::INVALID_CATALOG_NAME,
                    format!("database \"{name}\" does not exist"),
                ));
            }
        };
        let mut vars = Vars::new(&[
            ("session_authorization", startup.user.clone()),
            ("data_directory", app.settings.data_dir.display().to_string()),
            ("max_connections", app.settings.max_connections.to_string()),
        ]);
        for (name, value) in &startup.settings {
            vars.set_initial(name, value)?;
        }
        let mut context = SessionContext::new(
            startup.pid,
            startup.user,
            database.oid,
            database.name.clone(),
            startup.client_address,
            app.started_at,
            vars,
            catalog,
        );
        context.peers = startup.peers;
        context.txns = Some(Arc::clone(&app.txns));
        context.locks = Some(app.txns.session_locks(context.pid));
        context.live = Some(Arc::clone(&app.live));
        context.queries = Some(Arc::clone(&app.queries));
        let context = Arc::new(context);
        let reported_of = context.vars();
        let reported = reported_of.reports();
        Ok(Session {
            app,
            cancel: context.cancel().clone(),
            context,
            state: State::Idle,
            statements: HashMap::new(),
            cursors: BTreeMap::new(),
            feeds: Vec::new(),
            internal: HashMap::new(),
            reported,
            reported_of,
            fresh_block: false,
            first_statement: false,
            one_of_several: false,
        })
    }

    pub fn context(&self) -> &Arc<SessionContext> {
        &self.context
    }

    pub(crate) fn app(&self) -> &Arc<AppContext> {
        &self.app
    }

    pub fn cancel_handle(&self) -> CancelHandle {
        self.cancel.clone()
    }

    pub fn status(&self) -> TransactionStatus {
        match self.state {
            State::Idle | State::Implicit(_) => TransactionStatus::Idle,
            State::Block(_) => TransactionStatus::InBlock,
            State::Failed(_) => TransactionStatus::Failed,
        }
    }

    /// Splits a query string. Empty for '', ';', a comment. A syntax error anywhere fails the whole string.
    pub fn parse(&self, sql: &str) -> Result<Vec<ParsedStatement>> {
        let mut notices = Vec::new();
        let statements = sql::parse(sql, &mut notices);
        for notice in notices {
            self.context.notice(notice);
        }
        statements
    }

    /// Parse message. `declared`: OIDs by the client, 0 = infer.
    pub async fn prepare(&mut self, statement: &ParsedStatement, declared: &[u32]) -> Result<Arc<Prepared>> {
        self.check_usable(&statement.statement)?;
        self.begin_statement();
        // What others have committed meanwhile lies under a transaction's own changes.
        if let State::Implicit(txn) | State::Block(txn) = &self.state
            && !txn.changes().is_empty()
            && !self.repeatable()
        {
            self.begin_utility()?;
        }
        let mut prepared = self.prepare_now(statement, declared)?;
        // What a statement means depends on tables that somebody may be changing.
        while self.app.txns.any_exclusive_lock() {
            let locks = prepared.statement.locks();
            if locks.is_empty() {
                break;
            }
            self.transaction()?;
            if !self.lock_tables(&locks).await? {
                break;
            }
            prepared = self.prepare_now(statement, declared)?;
        }
        Ok(prepared)
    }

    pub(crate) fn prepare_now(&mut self, statement: &ParsedStatement, declared: &[u32]) -> Result<Arc<Prepared>> {
        let catalog = self.current_catalog();
        self.context.set_catalog(Arc::clone(&catalog));
        let prepared = PreparedStatement::new(self, statement, declared, catalog)?;
        Ok(Arc::new(Prepared {
            parameters: prepared.parameters().to_vec(),
            columns: prepared.columns(),
            statement: Arc::new(prepared),
        }))
    }

    /// Bind message: the values of the parameters, as many as the statement has, for a portal of this name. A statement
    /// that the catalog has changed under is looked at again: it may have become impossible.
    pub fn bind(&mut self, prepared: &Arc<Prepared>, parameters: &[Parameter], portal: &str) -> Result<Bound> {
        self.check_usable(prepared.statement.statement())?;
        if parameters.len() != prepared.parameters.len() {
            return Err(SqlError::internal("a bind message with another number of parameters"));
        }
        let format = self.context.format();
        let mut values = Vec::with_capacity(parameters.len());
        for (i, (parameter, ty)) in parameters.iter().zip(&prepared.parameters).enumerate() {
            let value = self.read_parameter(parameter, *ty, &format, portal, i + 1)?;
            values.push(value.to_scalar(*ty)?);
        }
        self.context.set_catalog(self.current_catalog());
        prepared.statement.current(self)?;
        Ok(Bound { prepared: Arc::clone(prepared), parameters: values })
    }

    fn read_parameter(
        &self,
        parameter: &Parameter,
        ty: PgType,
        format: &FormatSettings,
        portal: &str,
        number: usize,
    ) -> Result<Value<'static>> {
        let Some(bytes) = &parameter.bytes else { return Ok(Value::Null) };
        let place = || parameter_place(portal, number);
        if parameter.binary {
            return parse_binary_parameter(ty, bytes, number).map_err(|e| e.within(place()));
        }
        let text = check_utf8(bytes).map_err(|e| e.within(place()))?;
        let value = if ty.is_reg() {
            sql::functions::reg_in(ty, text, &self.context).map(Value::Oid)
        } else {
            parse_text(ty, -1, text, format).map(Value::into_owned)
        };
        // PostgreSQL shows the value only if log_parameter_max_length_on_error lets it.
        value.map_err(|e| e.within(place() + " = '...'"))
    }

    /// Runs a statement. Begins the implicit transaction if none is open.
    pub async fn execute(&mut self, bound: &Bound) -> Result<Response> {
        let statement = bound.prepared.statement.statement();
        self.check_usable(statement)?;
        self.begin_statement();
        sql::execute(self, &bound.prepared.statement, &bound.parameters).await
    }

    fn check_usable(&self, statement: &Statement) -> Result<()> {
        if matches!(self.state, State::Failed(_)) && !statement.ends_failure() {
            return Err(SqlError::new(
                SqlState::IN_FAILED_SQL_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            ));
        }
        Ok(())
    }

    fn begin_statement(&mut self) {
        let now = clock::now_micros();
        self.context.set_statement_micros(now);
        if matches!(self.state, State::Idle) {
            self.context.set_transaction_micros(now);
        }
        self.cancel.reset();
    }

    /// The catalog a statement that starts now sees.
    pub(crate) fn current_catalog(&self) -> Arc<Catalog> {
        match &self.state {
            State::Implicit(txn) | State::Block(txn) if !txn.changes().is_empty() || self.repeatable() => txn.catalog(),
            _ => self.app.registry.current(),
        }
    }

    fn isolation(&self) -> Isolation {
        self.context.vars().isolation()
    }

    fn repeatable(&self) -> bool {
        self.isolation() != Isolation::ReadCommitted
    }

    /// The open transaction, with the snapshot of a new statement; begun if there is none.
    pub(crate) fn transaction(&mut self) -> Result<&mut Transaction> {
        if matches!(self.state, State::Failed(_)) {
            return Err(SqlError::internal("a statement runs in a failed transaction"));
        }
        let begins = matches!(self.state, State::Idle);
        if begins {
            let mut vars = Vars::clone(&self.context.vars());
            vars.begin();
            self.context.set_vars(vars);
            let client: Arc<dyn LockClient> = self.context.clone();
            let mut txn = self.app.txns.begin_for(self.context.pid, client);
            txn.set_read_only(self.context.vars().transaction_read_only());
            txn.set_announcements(Arc::clone(self.context.announcements()));
            self.fresh_block = false;
            self.first_statement = true;
            self.state = State::Implicit(txn);
        }
        let isolation = self.isolation();
        if let State::Implicit(txn) | State::Block(txn) = &mut self.state
            && !begins
        {
            self.first_statement = std::mem::take(&mut self.fresh_block);
            if isolation == Isolation::ReadCommitted || self.first_statement {
                txn.refresh_snapshot();
            }
        }
        let context = Arc::clone(&self.context);
        match &mut self.state {
            State::Implicit(txn) | State::Block(txn) => {
                txn.settle();
                txn.set_isolation(isolation);
                context.set_catalog(txn.catalog());
                context.set_exporter(txn.exporter());
                Ok(txn)
            }
            State::Idle | State::Failed(_) => Err(SqlError::internal("no transaction has been begun")),
        }
    }

    /// A statement that reads no rows, with the newest catalog. It does not fix the snapshot of a transaction.
    pub(crate) fn begin_utility(&mut self) -> Result<()> {
        self.transaction()?;
        self.fresh_block |= self.first_statement;
        Ok(())
    }

    /// The open transaction as it is.
    pub(crate) fn open_transaction(&mut self) -> Result<&mut Transaction> {
        match &mut self.state {
            State::Implicit(txn) | State::Block(txn) => Ok(txn),
            State::Idle | State::Failed(_) => Err(SqlError::internal("no transaction is open")),
        }
    }

    /// Locks the relations of a statement. True if others had to be waited for: the snapshot is a new one then, and the
    /// statement has to look at the catalog again.
    pub(crate) async fn lock_tables(&mut self, locks: &[(Oid, LockMode)]) -> Result<bool> {
        let reads = |lock: &(Oid, LockMode)| lock.1 == LockMode::AccessShare;
        if matches!(self.state, State::Implicit(_)) && locks.iter().all(reads) && !self.app.txns.any_exclusive_lock() {
            return Ok(false);
        }
        let mut waited = false;
        for (table, mode) in locks {
            let locked = self.open_transaction()?.lock_table(*table, *mode, IfLocked::Wait).await?;
            waited |= locked == Locked::AfterWait;
        }
        if waited {
            self.transaction()?;
        }
        Ok(waited)
    }

    /// True if the statement is a transaction of its own, and has nothing to commit.
    pub(crate) fn is_alone(&mut self) -> Result<bool> {
        let quiet = self.context.announcements().lock().is_empty();
        Ok(!self.in_block() && !self.one_of_several && quiet && !self.open_transaction()?.has_writes())
    }

    pub(crate) fn in_block(&self) -> bool {
        matches!(self.state, State::Block(_) | State::Failed(_))
    }

    /// Says whether the statements that follow come several in one query string, which is a transaction block of its own.
    pub fn set_one_of_several(&mut self, several: bool) {
        self.one_of_several = several;
    }

    pub(crate) fn is_one_of_several(&self) -> bool {
        self.one_of_several
    }

    /// Refuses a statement inside a transaction block (CREATE DATABASE).
    pub(crate) fn prevent_in_block(&self, what: &str) -> Result<()> {
        if self.in_block() || self.one_of_several {
            return Err(SqlError::new(
                SqlState::ACTIVE_SQL_TRANSACTION,
                format!("{what} cannot run inside a transaction block"),
            ));
        }
        Ok(())
    }

    /// BEGIN: an implicit transaction under way becomes the block.
    pub(crate) fn begin_block(&mut self, modes: TransactionModes) -> Result<()> {
        let begun = self.in_block();
        if begun {
            self.context
                .notice(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, "there is already a transaction in progress"));
        }
        self.begin_utility()?;
        self.state = match std::mem::replace(&mut self.state, State::Idle) {
            State::Implicit(txn) => State::Block(txn),
            other => other,
        };
        if !begun {
            self.fresh_block = self.open_transaction().is_ok_and(|txn| !txn.has_writes());
        }
        self.set_modes(modes)
    }

    /// The modes of the transaction under way: what AND CHAIN begins the next one with.
    fn modes(&self) -> TransactionModes {
        let vars = self.context.vars();
        let isolation = match vars.transaction_isolation() {
            "serializable" => IsolationLevel::Serializable,
            "repeatable read" => IsolationLevel::RepeatableRead,
            "read uncommitted" => IsolationLevel::ReadUncommitted,
            _ => IsolationLevel::ReadCommitted,
        };
        TransactionModes {
            isolation: Some(isolation),
            read_only: Some(vars.transaction_read_only()),
            deferrable: Some(vars.transaction_deferrable()),
        }
    }

    /// COMMIT. The tag: ROLLBACK for a failed block.
    pub(crate) async fn commit_block(&mut self, chain: bool) -> Result<&'static str> {
        self.check_block(chain, "COMMIT AND CHAIN")?;
        let modes = self.modes();
        if matches!(self.state, State::Block(_) | State::Implicit(_)) {
            self.before_commit().await?;
        }
        let tag = match std::mem::replace(&mut self.state, State::Idle) {
            State::Block(mut txn) => {
                self.commit(&mut txn).await?;
                "COMMIT"
            }
            State::Failed(_) => {
                self.restore_vars();
                "ROLLBACK"
            }
            // What the statements before it in the same message did is committed all the same.
            State::Implicit(mut txn) => {
                self.warn_no_block();
                self.commit(&mut txn).await?;
                "COMMIT"
            }
            State::Idle => {
                self.warn_no_block();
                "COMMIT"
            }
        };
        if chain {
            self.begin_block(modes)?;
        }
        Ok(tag)
    }

    /// ROLLBACK.
    pub(crate) fn rollback_block(&mut self, chain: bool) -> Result<()> {
        self.check_block(chain, "ROLLBACK AND CHAIN")?;
        let modes = self.modes();
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Block(mut txn) => {
                txn.rollback();
                self.restore_vars();
            }
            State::Failed(_) => self.restore_vars(),
            State::Implicit(mut txn) => {
                self.warn_no_block();
                txn.rollback();
                self.restore_vars();
            }
            State::Idle => self.warn_no_block(),
        }
        if chain { self.begin_block(modes) } else { Ok(()) }
    }

    /// 25P01 for what only a transaction block takes.
    pub(crate) fn check_block(&self, needed: bool, what: &str) -> Result<()> {
        if needed && !self.in_block() {
            let message = format!("{what} can only be used in transaction blocks");
            return Err(SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
        }
        Ok(())
    }

    pub(crate) fn savepoint(&mut self, name: &str) -> Result<()> {
        self.check_block(true, "SAVEPOINT")?;
        let txn = self.open_transaction()?;
        txn.savepoint(name)?;
        self.change_vars(Vars::begin);
        Ok(())
    }

    pub(crate) fn release_savepoint(&mut self, name: &str) -> Result<()> {
        self.check_block(true, "RELEASE SAVEPOINT")?;
        let txn = self.open_transaction()?;
        let before = txn.savepoints();
        let left = txn.release_savepoint(name)?;
        let released = before - left;
        for cursor in self.cursors.values_mut() {
            cursor.savepoints = cursor.savepoints.map(|at| at.min(left));
        }
        self.change_vars(|vars| (0..released).for_each(|_| vars.commit()));
        Ok(())
    }

    /// ROLLBACK TO: also what a failed block goes on with.
    pub(crate) fn rollback_to_savepoint(&mut self, name: &str) -> Result<()> {
        self.check_block(true, "ROLLBACK TO SAVEPOINT")?;
        let missing =
            || SqlError::new(SqlState::S_E_INVALID_SPECIFICATION, format!("savepoint \"{name}\" does not exist"));
        let (State::Block(txn) | State::Failed(Some(txn))) = &mut self.state else { return Err(missing()) };
        let before = txn.savepoints() + 1;
        let left = txn.rollback_to_savepoint(name)?;
        let undone = before - left;
        self.cursors.retain(|_, cursor| cursor.savepoints.is_none_or(|at| at < left));
        self.note_cursors()?;
        self.change_vars(|vars| {
            (0..undone).for_each(|_| vars.rollback());
            vars.begin();
        });
        let read_only = self.context.vars().transaction_read_only();
        self.state = match std::mem::replace(&mut self.state, State::Idle) {
            State::Failed(Some(txn)) => State::Block(txn),
            other => other,
        };
        let txn = self.open_transaction()?;
        txn.set_read_only(read_only);
        let catalog = txn.catalog();
        self.context.set_catalog(catalog);
        Ok(())
    }

    fn change_vars(&self, change: impl FnOnce(&mut Vars)) {
        let mut vars = Vars::clone(&self.context.vars());
        change(&mut vars);
        self.context.set_vars(vars);
    }

    fn warn_no_block(&self) {
        self.context.notice(SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, "there is no transaction in progress"));
    }

    pub(super) async fn commit(&mut self, txn: &mut Transaction) -> Result<()> {
        let sync = self.context.vars().synchronous_commit();
        let listening = match self.before_listening() {
            Ok(listening) => listening,
            Err(error) => {
                txn.rollback();
                self.restore_vars();
                return Err(error);
            }
        };
        match txn.commit(sync).await {
            Ok(_) => {
                self.change_vars(Vars::commit_all);
                self.keep_held_cursors();
                self.after_listening(listening, true).await;
                Ok(())
            }
            Err(error) => {
                self.restore_vars();
                self.after_listening(listening, false).await;
                Err(error)
            }
        }
    }

    pub(super) fn restore_vars(&mut self) {
        self.drop_cursors();
        self.change_vars(Vars::rollback_all);
    }

    /// Commits an implicit transaction; nothing inside BEGIN. An error means that it was rolled back.
    pub async fn finish_implicit(&mut self) -> Result<()> {
        if matches!(self.state, State::Implicit(_)) {
            self.before_commit().await?;
        }
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Implicit(mut txn) => self.commit(&mut txn).await,
            other => {
                self.state = other;
                Ok(())
            }
        }
    }

    /// COPY data in any chunking.
    pub fn copy_data(&mut self, copy: &mut CopyIn, data: &[u8]) -> Result<()> {
        self.cancel.check()?;
        copy.state.feed(data)
    }

    /// CopyDone: the number of rows.
    pub async fn copy_done(&mut self, copy: Box<CopyIn>) -> Result<u64> {
        sql::handlers::copy::finish(self, copy).await
    }

    /// GUC_REPORT settings changed since last asked.
    pub fn take_reports(&mut self) -> Vec<(&'static str, String)> {
        let vars = self.context.vars();
        if vars.same_values(&self.reported_of) {
            return Vec::new();
        }
        let now = vars.reports();
        let changed = now.iter().filter(|r| !self.reported.contains(r)).cloned().collect();
        self.reported = now;
        self.reported_of = vars;
        changed
    }

    /// All GUC_REPORT settings, for start-up.
    pub fn reports(&self) -> Vec<(&'static str, String)> {
        self.context.vars().reports()
    }

    pub fn take_notices(&self) -> Vec<SqlError> {
        self.context.take_notices()
    }

    pub fn format(&self) -> Arc<FormatSettings> {
        self.context.format()
    }

    /// None is off.
    pub fn statement_timeout(&self) -> Option<Duration> {
        self.context.vars().statement_timeout()
    }

    /// None is off.
    pub fn idle_in_transaction_timeout(&self) -> Option<Duration> {
        self.context.vars().idle_in_transaction_session_timeout()
    }

    /// A prepared statement by name; protocol and SQL share the names.
    pub fn statement(&self, name: &str) -> Option<Arc<Prepared>> {
        self.statements.get(name).cloned()
    }

    /// 42P05 if the name is taken; "" is replaced.
    pub fn store_statement(&mut self, name: &str, prepared: Arc<Prepared>) -> Result<()> {
        if !name.is_empty() && self.statements.contains_key(name) {
            return Err(SqlError::new(
                SqlState::DUPLICATE_PREPARED_STATEMENT,
                format!("prepared statement \"{name}\" already exists"),
            ));
        }
        if self.statements.len() >= limits::PREPARED_STATEMENTS_MAX {
            return Err(SqlError::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("more than {} prepared statements in one session", limits::PREPARED_STATEMENTS_MAX),
            )
            .hint("Close statements that are not used any more (DEALLOCATE)."));
        }
        self.statements.insert(name.to_owned(), prepared);
        Ok(())
    }

    pub fn close_statement(&mut self, name: &str) {
        self.statements.remove(name);
    }

    pub(crate) fn close_all_statements(&mut self) {
        self.statements.clear();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(locks) = &self.context.locks {
            locks.unlock_all();
        }
        self.stop_listening();
    }
}

/// Where in a Bind message an error is.
pub fn parameter_place(portal: &str, number: usize) -> String {
    match portal {
        "" => format!("unnamed portal parameter ${number}"),
        name => format!("portal \"{name}\" parameter ${number}"),
    }
}
