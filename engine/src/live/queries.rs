//! [`LiveQueries`]: every live query, kept up to date from the change log by the thread of `feeder`.
//!
//! Equal queries are one. Nothing is needed but the log, which the commit writes anyway: a commit waits for nobody here, and a
//! burst is met as a larger portion.

use std::collections::{HashMap, hash_map};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use datafusion::logical_expr::LogicalPlan;
use futures::TryStreamExt;
use kalamdb_catalog::{CachedTableData, Catalog, CatalogChange, Oid, Result, SqlError, SqlState, TableDefinition};
use parking_lot::Mutex;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::LiveQueryManager;
use super::diff::compare;
use super::feeder::{CHANGES_MAX, Feeder};
use super::listener::Listener;
use super::notification::Notification;
use super::payload::{Form, Teller, line_columns};
use super::query::{BoundLive, DiffQuery, How, RowChange, RowQuery, bind};
use super::subscription::{Rows, Subscription, SubscriptionId, Totals};
use crate::limits::QUERY_STACK_BYTES;
use crate::session::{CancelHandle, CancelReason, SessionContext};
use crate::settings::LiveLimits;
use crate::sql::determined::is_determined;
use crate::sql::plan::{Engine, StatementContext};
use crate::sql::{Column, RowStream};
use crate::storage::catalog_store;
use crate::txn::{Transaction, TxnManager};

/// How long a query may take each time it is run: all live queries wait for it.
const RUN_MAX: Duration = Duration::from_secs(10);

/// The registry of live queries and their subscriptions, and the thread that feeds them.
pub struct LiveQueries {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for LiveQueries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveQueries").finish_non_exhaustive()
    }
}

pub(super) struct Shared {
    pub(super) live: Arc<LiveQueryManager>,
    pub(super) txns: Arc<TxnManager>,
    pub(super) engine: Arc<Engine>,
    pub(super) registry: Mutex<Registry>,
    pub(super) totals: Arc<Totals>,
    next_id: AtomicU64,
    /// The last commit that queries have been told of.
    pub(super) done: watch::Sender<u64>,
}

/// For `system.stats`.
#[derive(Clone, Copy, Debug)]
pub struct LiveCounts {
    /// Equal ones are one.
    pub queries: u64,
    pub subscriptions: u64,
    pub delivered: u64,
    pub resets: u64,
    /// Commits that queries have not been told of yet.
    pub lag: u64,
    pub waiting_bytes: u64,
}

#[derive(Default)]
pub(super) struct Registry {
    pub(super) queries: HashMap<QueryKey, Arc<LiveQuery>>,
    subscriptions: HashMap<SubscriptionId, Arc<Subscription>>,
    /// How many a session has.
    of_session: HashMap<i32, usize>,
    /// Counts changes to the two above.
    pub(super) version: u64,
    /// The newest commit when the first of the subscriptions came.
    pub(super) since: u64,
}

/// Queries with the same key are one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct QueryKey {
    database: Oid,
    user: String,
    text: Arc<str>,
    form: Form,
    /// Of the settings that values and names are read by.
    settings: String,
    /// What the names in it mean, and since which commit: who comes after an ALTER TABLE does not join those from before.
    relations: Vec<(Oid, u64)>,
}

/// A query and all who listen to it.
pub(super) struct LiveQuery {
    key: QueryKey,
    pub(super) session: Arc<SessionContext>,
    pub(super) state: Mutex<QueryState>,
    subscriptions: Mutex<HashMap<SubscriptionId, Arc<Subscription>>>,
    /// Ends a run that nobody waits for any more.
    pub(super) cancel: CancelHandle,
}

pub(super) struct QueryState {
    pub(super) bound: Arc<BoundLive>,
    /// The result of a query that is run again, as of a commit.
    pub(super) result: Option<(u64, Rows)>,
    /// Changes up to this commit are void: the query has been bound anew after it.
    pub(super) from: u64,
    pub(super) ended: bool,
}

impl std::fmt::Debug for LiveQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveQuery").field("text", &self.key.text).finish_non_exhaustive()
    }
}

impl LiveQuery {
    pub(super) fn text(&self) -> &Arc<str> {
        &self.key.text
    }

    pub(super) fn form(&self) -> Form {
        self.key.form
    }

    pub(super) fn bound(&self) -> Arc<BoundLive> {
        Arc::clone(&self.state.lock().bound)
    }

    pub(super) fn subscriptions(&self) -> Vec<Arc<Subscription>> {
        self.subscriptions.lock().values().cloned().collect()
    }

    /// A message to all who listen to the query.
    pub(super) fn notification(&self, payload: Arc<str>) -> Arc<Notification> {
        Arc::new(Notification::new(0, Arc::clone(&self.key.text), payload))
    }

    pub(super) fn end(&self, reason: &str) {
        self.state.lock().ended = true;
        self.subscriptions().iter().for_each(|s| s.end(reason));
    }
}

/// How a subscription begins.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct ListenOptions {
    /// The rows as they are come first.
    pub snapshot: bool,
    /// Go on after this commit.
    pub since: Option<u64>,
}

/// A live query that a transaction has listened to, bound and ready to be entered at commit.
#[derive(Clone)]
pub struct Prepared {
    query: Arc<LiveQuery>,
    pub(crate) options: ListenOptions,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("query", &self.query).field("options", &self.options).finish()
    }
}

impl Prepared {
    /// The columns of the result.
    pub(crate) fn columns(&self) -> Vec<Column> {
        self.query.bound().columns.clone()
    }

    /// The columns of the result as rows tell of it.
    pub(crate) fn line_columns(&self) -> Vec<Column> {
        line_columns(&self.columns())
    }

    /// True if the query reads this relation.
    pub(crate) fn reads(&self, relation: Oid) -> bool {
        self.query.bound().relations().any(|r| r.definition.oid == relation)
    }

    pub(super) fn database(&self) -> Oid {
        self.query.key.database
    }

    pub(super) fn tells_progress(&self) -> bool {
        self.query.form() == Form::Rows { progress: true }
    }
}

impl LiveQueries {
    pub fn open(
        live: Arc<LiveQueryManager>,
        txns: Arc<TxnManager>,
        engine: Arc<Engine>,
        limits: LiveLimits,
    ) -> Result<LiveQueries> {
        let shared = Arc::new(Shared {
            live,
            txns,
            engine,
            registry: Mutex::default(),
            totals: Arc::new(Totals { limits, ..Totals::default() }),
            next_id: AtomicU64::new(1),
            done: watch::Sender::new(0),
        });
        let running = Arc::clone(&shared);
        let failed = |e| SqlError::new(SqlState::INSUFFICIENT_RESOURCES, format!("could not start a thread: {e}"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let thread = std::thread::Builder::new()
            .name("kalamdb-queries".to_owned())
            .stack_size(QUERY_STACK_BYTES)
            .spawn(move || Feeder::new(&running, runtime).run());
        Ok(LiveQueries { shared, thread: Mutex::new(Some(thread.map_err(failed)?)) })
    }

    /// Ends the thread.
    pub fn close(&self) {
        self.shared.live.stop_watching();
        for query in self.shared.registry.lock().queries.values() {
            query.cancel.cancel(CancelReason::Shutdown);
        }
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of live queries panicked");
        }
    }

    /// LISTEN to a query: its errors are told now. 0A000 for what cannot be live, 22023 for a position that is not there yet.
    pub(crate) fn prepare(
        &self,
        session: &SessionContext,
        text: &str,
        options: ListenOptions,
        form: Form,
    ) -> Result<Prepared> {
        if let Some(since) = options.since
            && since > self.shared.txns.snapshot().0
        {
            let message = format!("position {since} is beyond the newest commit");
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        let vars = session.vars();
        let settings = ["search_path", "TimeZone", "DateStyle", "IntervalStyle", "bytea_output", "extra_float_digits"];
        let settings = settings.map(|name| vars.get(name).unwrap_or_default()).join("\n");
        let own = Arc::new(session.detached());
        let bound = bind(&own, text, form)?;
        let since = |relation: &Arc<CachedTableData>| {
            let seq = catalog_store::last_change(self.shared.txns.storage(), &relation.definition)?;
            Ok((relation.definition.oid, seq))
        };
        let mut relations = bound.relations().map(since).collect::<Result<Vec<_>>>()?;
        relations.sort_unstable();
        let (database, user) = (session.database, session.user.clone());
        let key = QueryKey { database, user, text: text.into(), form, settings, relations };
        let state = Mutex::new(QueryState { bound: Arc::new(bound), result: None, from: 0, ended: false });
        Ok(Prepared {
            query: Arc::new(LiveQuery {
                key,
                session: own,
                state,
                subscriptions: Mutex::default(),
                cancel: CancelHandle::default(),
            }),
            options,
        })
    }

    /// Enters a subscription: what is committed from here on is kept for it. 54000 if there are too many.
    pub(crate) fn subscribe(&self, prepared: &Prepared, listener: &Arc<Listener>) -> Result<Arc<Subscription>> {
        let shared = &self.shared;
        self.check_room(1)?;
        let mut registry = shared.registry.lock();
        // Unless it has ended meanwhile.
        let known = registry.queries.get(&prepared.query.key).filter(|q| !q.state.lock().ended).cloned();
        let query = known.unwrap_or_else(|| {
            registry.queries.insert(prepared.query.key.clone(), Arc::clone(&prepared.query));
            Arc::clone(&prepared.query)
        });
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let user = prepared.query.key.user.clone();
        let subscription = Arc::new(Subscription::new(
            id,
            Arc::clone(&query),
            Arc::clone(listener),
            user,
            prepared.options.since,
            Arc::clone(&shared.totals),
        ));
        query.subscriptions.lock().insert(id, Arc::clone(&subscription));
        registry.subscriptions.insert(id, Arc::clone(&subscription));
        *registry.of_session.entry(subscription.pid()).or_default() += 1;
        registry.version += 1;
        if registry.subscriptions.len() == 1 {
            registry.since = shared.txns.snapshot().0;
        }
        shared.live.set_watching(true);
        drop(registry);
        // Read after it has been entered.
        subscription.enter(shared.txns.snapshot().0);
        shared.live.wake_queries();
        Ok(subscription)
    }

    /// 54000 if so many more are too many for a session, or for all.
    pub(crate) fn check_session(&self, pid: i32, more: usize) -> Result<()> {
        let most = self.shared.totals.limits.queries_per_session;
        if self.shared.registry.lock().of_session.get(&pid).copied().unwrap_or(0) + more > most {
            let message = format!("more than {most} live queries in one session");
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
        }
        self.check_room(more)
    }

    fn check_room(&self, more: usize) -> Result<()> {
        let most = self.shared.totals.limits.queries;
        if self.shared.registry.lock().subscriptions.len() + more > most {
            let message = format!("more than {most} live queries");
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
        }
        Ok(())
    }

    /// UNLISTEN, and the end of the session.
    pub(crate) fn unsubscribe(&self, subscription: &Subscription) {
        let mut registry = self.shared.registry.lock();
        let query = &subscription.query;
        let mut left = query.subscriptions.lock();
        left.remove(&subscription.id);
        if left.is_empty() {
            query.cancel.cancel(CancelReason::Disconnect);
        }
        if left.is_empty() && registry.queries.get(&query.key).is_some_and(|known| Arc::ptr_eq(known, query)) {
            registry.queries.remove(&query.key);
        }
        drop(left);
        registry.subscriptions.remove(&subscription.id);
        if let hash_map::Entry::Occupied(mut count) = registry.of_session.entry(subscription.pid()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        registry.version += 1;
        self.shared.live.set_watching(!registry.subscriptions.is_empty());
    }

    /// Asks for the result of a query that is run again.
    pub(crate) fn want_result(&self, subscription: &Subscription) {
        subscription.want_result();
        self.shared.live.wake_queries();
    }

    /// KILL LIVE QUERY. False if there is none of this id.
    pub fn kill(&self, id: u64) -> bool {
        let found = self.shared.registry.lock().subscriptions.get(&id).cloned();
        found.map(|s| s.end("killed by an administrator")).is_some()
    }

    /// system.live_queries
    pub fn list(&self) -> Vec<Arc<Subscription>> {
        let mut list: Vec<_> = self.shared.registry.lock().subscriptions.values().cloned().collect();
        list.sort_by_key(|s| s.id);
        list
    }

    pub fn counts(&self) -> LiveCounts {
        let shared = &self.shared;
        let registry = shared.registry.lock();
        let (queries, subscriptions) = (registry.queries.len() as u64, registry.subscriptions.len() as u64);
        drop(registry);
        let behind = self.newest().saturating_sub(*shared.done.borrow());
        LiveCounts {
            queries,
            subscriptions,
            delivered: shared.totals.delivered.load(Ordering::Relaxed),
            resets: shared.totals.resets.load(Ordering::Relaxed),
            lag: if queries == 0 { 0 } else { behind },
            waiting_bytes: shared.totals.bytes.load(Ordering::Relaxed) as u64,
        }
    }

    pub(crate) fn count_delivered(&self, count: usize) {
        self.shared.totals.delivered.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// The rows of a query as they are, if they are to be read straight from its table; with their commit.
    pub(super) async fn current_rows(
        &self,
        subscription: &Subscription,
        bound: &BoundLive,
    ) -> Result<Option<(u64, RowStream)>> {
        let How::Rows(rows) = &bound.how else { return Ok(None) };
        let (seq, stream) = self.shared.run(&subscription.query.session, &rows.plan).await?;
        Ok(Some((seq, stream)))
    }

    /// True if a table of a query has come to have other rows since it was bound: it will be reset.
    pub(super) fn is_outdated(&self, bound: &BoundLive) -> bool {
        !bound.has_same_rows(&self.shared.txns.snapshot().1)
    }

    /// True if the query's result is kept by the thread, which begins a subscription with it.
    pub(crate) fn is_run_again(&self, subscription: &Subscription) -> bool {
        matches!(subscription.query.bound().how, How::Diff(_))
    }

    /// The last commit that queries have been told of.
    pub(super) fn handed_on(&self) -> u64 {
        *self.shared.done.borrow()
    }

    /// The same, to wait for.
    pub(super) fn follow(&self) -> watch::Receiver<u64> {
        self.shared.done.subscribe()
    }

    /// The newest commit.
    pub(crate) fn newest(&self) -> u64 {
        self.shared.txns.snapshot().0
    }

    /// For a query that is run again: what turns its result as of a commit into that of a later one, told as one commit. None if the
    /// log does not reach back, too much has changed, the tables have been changed, or the query leaves open which rows it gives.
    pub(crate) async fn catch_up(
        &self,
        subscription: &Subscription,
        since: u64,
        (seq, now): (u64, &Rows),
    ) -> Result<Option<Vec<Arc<str>>>> {
        let query = &subscription.query;
        let bound = query.bound();
        if self.shared.redefined(&bound, since)? {
            return Ok(None);
        }
        let mut txn = self.shared.txns.begin();
        match (self.shared.go_back(&mut txn, &bound, since)?, &bound.how) {
            (Some(0), _) => return Ok(Some(Vec::new())),
            (Some(_), How::Diff(diff)) if is_determined(&diff.plan) => {}
            _ => return Ok(None),
        }
        // What has been undone is rows: nothing may be looked up in an index.
        let session = Arc::new(query.session.detached());
        session.set_catalog(Arc::new(without_indexes(&session.catalog(), &bound)));
        let then = bind(&session, query.text(), query.form())?;
        let How::Diff(diff) = &then.how else { return Err(SqlError::internal("a query has come to be another")) };
        let then = self.shared.result_in(&txn, &session, &CancelHandle::default(), diff, &then.teller).await?;
        let events = compare(&then, now, seq, diff.key.is_none());
        Ok(Some(bound.teller.changes(&events).map(|(_, payload)| payload).collect()))
    }

    /// What has been told to one who comes back after a commit: the changes since, up to the newest one, which is given with
    /// them. None if the log does not reach back, or the tables have been changed.
    pub(crate) fn replay(&self, subscription: &Subscription, since: u64) -> Result<Option<(u64, Vec<Arc<str>>)>> {
        let shared = &self.shared;
        let bound = subscription.query.bound();
        if shared.redefined(&bound, since)? {
            return Ok(None);
        }
        let newest = shared.txns.snapshot().0;
        let Some(changes) = shared.txns.changes_since(since)? else { return Ok(None) };
        let mut found = Vec::new();
        let mut payloads = Vec::new();
        let mut bytes = 0;
        for change in changes {
            let change = change?;
            if change.seq > newest {
                break;
            }
            if !bound.tables.iter().any(|t| t.definition.oid == change.table) {
                continue;
            }
            match &bound.how {
                How::Diff(_) => return Ok(None),
                How::Rows(rows) => {
                    found.push(RowChange { seq: change.seq, old: change.old, new: change.new });
                    if found.len() >= CHANGES_MAX {
                        let rest = last_commit(&mut found);
                        bytes += told(rows, &bound.teller, &found, &mut payloads)?;
                        found = rest;
                    }
                }
            }
            if bytes > shared.totals.limits.result_bytes {
                return Ok(None);
            }
        }
        if let How::Rows(rows) = &bound.how {
            told(rows, &bound.teller, &found, &mut payloads)?;
        }
        Ok(Some((newest, payloads)))
    }
}

/// Takes off the changes of the last commit, of which more may come.
fn last_commit(changes: &mut Vec<RowChange>) -> Vec<RowChange> {
    let last = changes.last().map_or(0, |c| c.seq);
    let at = changes.partition_point(|c| c.seq < last);
    changes.split_off(at)
}

/// Adds the payloads of changes; their bytes.
fn told(rows: &RowQuery, teller: &Teller, changes: &[RowChange], payloads: &mut Vec<Arc<str>>) -> Result<usize> {
    let events = rows.events(teller, &changes.iter().collect::<Vec<_>>())?;
    let mut bytes = 0;
    for (_, payload) in teller.changes(&events) {
        bytes += payload.len();
        payloads.push(payload);
    }
    Ok(bytes)
}

impl Shared {
    /// True if a relation of a query has been changed since a commit: what the log tells of its rows is not all then.
    fn redefined(&self, bound: &BoundLive, since: u64) -> Result<bool> {
        for relation in bound.relations() {
            if catalog_store::last_change(self.txns.storage(), &relation.definition)? > since {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Gives a transaction the rows of a query's tables as they were at a commit: how many are others now. None if that is not
    /// known, or they are too many.
    fn go_back(&self, txn: &mut Transaction, bound: &BoundLive, since: u64) -> Result<Option<usize>> {
        let newest = txn.snapshot_seq();
        let Some(changes) = self.txns.changes_since(since)? else { return Ok(None) };
        let mut bytes = 0;
        for change in changes {
            let change = change?;
            if change.seq > newest {
                break;
            }
            if bound.tables.iter().any(|t| t.definition.oid == change.table) {
                bytes += txn.put_back(change);
            }
            if bytes > self.totals.limits.result_bytes {
                return Ok(None);
            }
        }
        Ok(Some(txn.write_count()))
    }

    /// Runs a plan on the newest commit.
    pub(super) async fn run(&self, session: &Arc<SessionContext>, plan: &LogicalPlan) -> Result<(u64, RowStream)> {
        let txn = self.txns.begin();
        let rows = self.run_in(&txn, session, plan).await?;
        Ok((txn.snapshot_seq(), rows))
    }

    /// Runs a plan on what a transaction reads.
    async fn run_in(&self, txn: &Transaction, session: &Arc<SessionContext>, plan: &LogicalPlan) -> Result<RowStream> {
        let statement = Arc::new(StatementContext {
            session: Arc::clone(session),
            reader: txn.reader(),
            locker: txn.locker(),
            cancel: CancelHandle::default(),
            columns: Arc::clone(&self.engine.columns),
            returned: Default::default(),
            shared: Default::default(),
            substitutes: Vec::new(),
        });
        self.engine.run(plan, &[], statement).await
    }

    /// A query's result as of the newest commit.
    pub(super) async fn result(&self, query: &LiveQuery, diff: &DiffQuery, teller: &Teller) -> Result<(u64, Rows)> {
        query.cancel.reset();
        let txn = self.txns.begin();
        let rows = self.result_in(&txn, &query.session, &query.cancel, diff, teller).await?;
        Ok((txn.snapshot_seq(), rows))
    }

    /// The same as a transaction reads it.
    async fn result_in(
        &self,
        txn: &Transaction,
        session: &Arc<SessionContext>,
        cancel: &CancelHandle,
        diff: &DiffQuery,
        teller: &Teller,
    ) -> Result<Rows> {
        let too_long = || {
            let message = format!("the query of a live query runs longer than {} s", RUN_MAX.as_secs());
            SqlError::new(SqlState::QUERY_CANCELED, message)
        };
        let deadline = Instant::now() + RUN_MAX;
        let run = self.run_in(txn, session, &diff.plan);
        let mut stream = timeout_at(deadline, run).await.map_err(|_| too_long())??;
        let mut rows = Vec::new();
        let mut bytes = 0;
        loop {
            let next = async {
                tokio::select! {
                    biased;
                    error = cancel.tripped() => Err(error),
                    batch = stream.try_next() => batch,
                }
            };
            let Some(batch) = timeout_at(deadline, next).await.map_err(|_| too_long())?? else { break };
            let told = teller.rows(batch.columns(), batch.num_rows())?;
            let keys = diff.keys(&batch).unwrap_or_else(|| told.clone());
            bytes += keys.iter().chain(&told).map(String::len).sum::<usize>();
            rows.extend(keys.into_iter().zip(told));
            let most = self.totals.limits.result_bytes;
            if bytes > most {
                let message = format!("the result of a live query is larger than {most} bytes");
                return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
            }
        }
        Ok(Arc::new(rows))
    }
}

/// A catalog in which a query's tables have no indexes.
fn without_indexes(catalog: &Catalog, bound: &BoundLive) -> Catalog {
    let mut catalog = catalog.clone();
    for table in &bound.tables {
        if let Some(current) = catalog.table(table.definition.oid) {
            let definition = TableDefinition { indexes: Vec::new(), ..current.definition.clone() };
            catalog.apply(&CatalogChange::PutTable(definition));
        }
    }
    catalog
}
