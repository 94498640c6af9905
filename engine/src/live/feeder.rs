//! The thread of live queries: reads what has been committed since it last looked, tells each query of the changes of its tables
//! and hands what comes of it to the subscriptions.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kalamdb_catalog::{CachedTableData, Catalog, Oid, Result, SqlError};
use tokio::runtime::Runtime;

use super::diff::compare;
use super::queries::{LiveQuery, QueryState, Shared};
use super::query::{How, RowChange, bind};
use super::subscription::Subscription;

/// Changes that are looked at together.
pub(super) const CHANGES_MAX: usize = 10_000;
/// Their bytes.
const CHANGE_BYTES_MAX: usize = 16 << 20;

/// The thread.
pub(super) struct Feeder<'a> {
    shared: &'a Shared,
    runtime: Runtime,
    /// Everything up to this commit has been handed on.
    done: u64,
    catalog: Arc<Catalog>,
    queries: Vec<Arc<LiveQuery>>,
    version: u64,
    routes: Routes,
}

/// Queries by the value that they want in a column.
type ByValue = HashMap<Vec<u8>, Vec<Arc<LiveQuery>>>;

/// Which queries a change is for.
#[derive(Default)]
struct Routes {
    /// By table: those that look at every change.
    all: HashMap<Oid, Vec<Arc<LiveQuery>>>,
    /// By table and column: those that want one value there.
    equal: HashMap<Oid, HashMap<usize, ByValue>>,
    /// By table: those that are run again.
    again: HashMap<Oid, Vec<Arc<LiveQuery>>>,
}

impl Routes {
    fn new(queries: &[Arc<LiveQuery>]) -> Routes {
        let mut routes = Routes::default();
        for query in queries {
            if query.state.lock().ended {
                continue;
            }
            let bound = query.bound();
            match &bound.how {
                How::Diff(_) => {
                    for table in &bound.tables {
                        routes.again.entry(table.definition.oid).or_default().push(Arc::clone(query));
                    }
                }
                How::Rows(rows) => {
                    let oid = rows.table.definition.oid;
                    let list = match &rows.equal {
                        Some((column, value)) => {
                            let columns = routes.equal.entry(oid).or_default();
                            columns.entry(*column).or_default().entry(value.clone()).or_default()
                        }
                        None => routes.all.entry(oid).or_default(),
                    };
                    list.push(Arc::clone(query));
                }
            }
        }
        routes
    }
}

impl<'a> Feeder<'a> {
    pub(super) fn new(shared: &'a Shared, runtime: Runtime) -> Feeder<'a> {
        let (done, catalog) = shared.txns.snapshot();
        Feeder { shared, runtime, done, catalog, queries: Vec::new(), version: 0, routes: Routes::default() }
    }

    pub(super) fn run(mut self) {
        while self.shared.live.watched() {
            let turned = catch_unwind(AssertUnwindSafe(|| self.turn()));
            let bug = || Err(SqlError::internal("the thread of live queries met a bug"));
            if let Err(error) = turned.unwrap_or_else(|_| bug()) {
                tracing::error!(%error, "live queries begin anew");
                for query in &self.queries {
                    query.state.lock().result = None;
                    query.subscriptions().iter().for_each(|s| s.reset("an internal error", None));
                }
                self.done = self.shared.txns.snapshot().0;
            }
            self.shared.done.send_replace(self.done);
        }
    }

    /// Hands on what has been committed since the last turn.
    fn turn(&mut self) -> Result<()> {
        // Read before the list of queries: whoever comes after it takes his rows from a commit not before this one.
        let (visible, catalog) = self.shared.txns.snapshot();
        let fresh = self.look_at_registry();
        if fresh || !Arc::ptr_eq(&self.catalog, &catalog) {
            self.look_at_catalog(&catalog, visible);
            self.catalog = catalog;
        }
        if self.queries.is_empty() {
            self.done = visible;
            return Ok(());
        }
        let mut dirty: HashSet<*const LiveQuery> = HashSet::new();
        if visible > self.done {
            self.hand_on(visible, &mut dirty)?;
            self.done = visible;
        }
        for query in self.queries.clone() {
            self.run_again(&query, dirty.contains(&Arc::as_ptr(&query)));
        }
        Ok(())
    }

    /// True if queries have come or gone.
    fn look_at_registry(&mut self) -> bool {
        let registry = self.shared.registry.lock();
        if registry.version == self.version {
            return false;
        }
        self.version = registry.version;
        if self.queries.is_empty() {
            self.done = registry.since;
        }
        self.queries = registry.queries.values().cloned().collect();
        drop(registry);
        self.routes = Routes::new(&self.queries);
        true
    }

    /// Queries over tables that have been changed are bound anew.
    fn look_at_catalog(&mut self, catalog: &Arc<Catalog>, visible: u64) {
        let mut changed = false;
        for query in &self.queries {
            let bound = query.bound();
            query.session.set_catalog(Arc::clone(catalog));
            let now = |t: &Arc<CachedTableData>| catalog.table(t.definition.oid);
            if bound.relations().all(|t| now(t).is_some_and(|now| Arc::ptr_eq(now, t))) {
                continue;
            }
            changed = true;
            if bound.relations().any(|t| now(t).is_none()) {
                query.end("table dropped");
                continue;
            }
            let same_columns =
                bound.relations().all(|t| now(t).is_some_and(|now| t.definition.columns == now.definition.columns));
            let same_rows = bound.has_same_rows(catalog);
            match bind(&query.session, query.text(), query.form()) {
                Ok(bound) => {
                    let names = bound.teller.names();
                    let same_names = bound.oids() == query.bound().oids();
                    let mut state = query.state.lock();
                    state.bound = Arc::new(bound);
                    if same_rows && same_names {
                        continue;
                    }
                    state.result = None;
                    state.from = visible;
                    drop(state);
                    let reason = if same_columns { "table rewritten" } else { "table altered" };
                    query.subscriptions().iter().for_each(|s| s.reset(reason, Some(names.clone())));
                }
                Err(error) => query.end(error.message()),
            }
        }
        if changed {
            self.routes = Routes::new(&self.queries);
        }
    }

    /// Reads the log up to a commit.
    fn hand_on(&mut self, visible: u64, dirty: &mut HashSet<*const LiveQuery>) -> Result<()> {
        let Some(changes) = self.shared.txns.changes_since(self.done)? else {
            for query in &self.queries {
                query.state.lock().result = None;
                query.subscriptions().iter().for_each(|s| s.reset("the change log does not reach back", None));
            }
            return Ok(());
        };
        let mut by_table: HashMap<Oid, Vec<RowChange>> = HashMap::new();
        let (mut count, mut bytes, mut last) = (0, 0, 0);
        for change in changes {
            let change = change?;
            if change.seq > visible {
                break;
            }
            if (count >= CHANGES_MAX || bytes >= CHANGE_BYTES_MAX) && change.seq != last {
                self.tell(&by_table);
                by_table.clear();
                (count, bytes) = (0, 0);
            }
            last = change.seq;
            let oid = change.table;
            for query in self.routes.again.get(&oid).into_iter().flatten() {
                if dirty.contains(&Arc::as_ptr(query)) {
                    continue;
                }
                let known = query.state.lock().result.as_ref().map_or(0, |(seq, _)| *seq);
                if change.seq > known {
                    dirty.insert(Arc::as_ptr(query));
                }
            }
            if self.routes.all.contains_key(&oid) || self.routes.equal.contains_key(&oid) {
                count += 1;
                bytes +=
                    change.old.as_ref().map_or(0, bytes::Bytes::len) + change.new.as_ref().map_or(0, bytes::Bytes::len);
                let change = RowChange { seq: change.seq, old: change.old, new: change.new };
                by_table.entry(oid).or_default().push(change);
            }
        }
        self.tell(&by_table);
        Ok(())
    }

    /// Tells queries of the changes of rows of their tables.
    fn tell(&self, by_table: &HashMap<Oid, Vec<RowChange>>) {
        for (oid, changes) in by_table {
            for query in self.routes.all.get(oid).into_iter().flatten() {
                self.tell_of(query, &changes.iter().collect::<Vec<_>>());
            }
            let Some(columns) = self.routes.equal.get(oid) else { continue };
            for (column, values) in columns {
                let Some(any) = values.values().flatten().next() else { continue };
                let bound = any.bound();
                let How::Rows(rows) = &bound.how else { continue };
                let mut wanted: HashMap<&[u8], Vec<&RowChange>> = HashMap::new();
                for change in changes {
                    let mut last: Option<&[u8]> = None;
                    for row in change.old.iter().chain(&change.new) {
                        let value = rows.comparable(row, *column).ok().flatten();
                        let Some((value, _)) = value.and_then(|v| values.get_key_value(&v)) else { continue };
                        if last != Some(value) {
                            wanted.entry(value).or_default().push(change);
                        }
                        last = Some(value);
                    }
                }
                for (value, changes) in wanted {
                    for query in values.get(value).into_iter().flatten() {
                        self.tell_of(query, &changes);
                    }
                }
            }
        }
    }

    fn tell_of(&self, query: &Arc<LiveQuery>, changes: &[&RowChange]) {
        if let Err(error) = tell(query, changes) {
            self.failed(query, &error);
        }
    }

    /// A query has met an error: it ends, unless its tables have just been changed under it.
    fn failed(&self, query: &Arc<LiveQuery>, error: &SqlError) {
        if Arc::ptr_eq(&self.catalog, &self.shared.txns.snapshot().1) {
            return query.end(error.message());
        }
        query.state.lock().result = None;
        query.subscriptions().iter().for_each(|s| s.reset("table altered", None));
    }

    /// Runs a query again if its tables have changed, or somebody waits for its first result.
    fn run_again(&self, query: &Arc<LiveQuery>, dirty: bool) {
        let bound = query.bound();
        let How::Diff(diff) = &bound.how else { return };
        let before = query.state.lock().result.clone();
        let waiting: Vec<Arc<Subscription>> = query.subscriptions().into_iter().filter(|s| s.wants_result()).collect();
        if !dirty && before.is_some() && waiting.is_empty() || query.state.lock().ended {
            return;
        }
        let (seq, rows) = match before.clone().filter(|_| !dirty) {
            Some(known) => known,
            None => match self.runtime.block_on(self.shared.result(query, diff, &bound.teller)) {
                Ok(result) => result,
                Err(error) => return self.failed(query, &error),
            },
        };
        if let Some((_, before)) = &before {
            let events = compare(before, &rows, seq, diff.key.is_none());
            let listening = query.subscriptions();
            for (seq, payload) in bound.teller.changes(&events) {
                let told = query.notification(payload);
                listening.iter().filter(|s| s.has_begun()).for_each(|s| s.push(seq, &told));
            }
        }
        query.state.lock().result = Some((seq, Arc::clone(&rows)));
        waiting.iter().for_each(|s| s.begin_with(seq, Arc::clone(&rows)));
    }
}

/// Tells a query of changes, in commit order.
fn tell(query: &Arc<LiveQuery>, changes: &[&RowChange]) -> Result<()> {
    let bound = query.bound();
    let How::Rows(rows) = &bound.how else { return Ok(()) };
    let from = match &*query.state.lock() {
        QueryState { ended: true, .. } => return Ok(()),
        state => state.from,
    };
    // In commit order.
    let changes = &changes[changes.partition_point(|change| change.seq <= from)..];
    let events = rows.events(&bound.teller, changes)?;
    let listening = query.subscriptions();
    for (seq, payload) in bound.teller.changes(&events) {
        let told = query.notification(payload);
        listening.iter().for_each(|s| s.push(seq, &told));
    }
    Ok(())
}
