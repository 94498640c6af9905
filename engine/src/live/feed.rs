//! What one listener is told of a live query, in order.
//!
//! It begins with the query's rows, or the changes since a commit, or just with where it stands; changes follow. The rows are
//! read as the listener takes them, so that a large result is nowhere whole.

use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use futures::StreamExt;
use futures::future::BoxFuture;
use kalamdb_catalog::{Result, SqlError};
use parking_lot::Mutex;

use super::notification::Notification;
use super::queries::{ListenOptions, LiveQueries};
use super::query::BoundLive;
use super::subscription::{Rows, Subscription, Taken};
use crate::sql::RowStream;

/// A subscription from its beginning on. Dropped, it ends.
pub(crate) struct Feed {
    pub(super) queries: Arc<LiveQueries>,
    subscription: Arc<Subscription>,
    stage: Stage,
    /// Changes up to this commit are in what has been told.
    after: u64,
}

/// The payloads of what has changed; None if that cannot be told.
type CaughtUp = Result<Option<Vec<Arc<str>>>>;

/// What comes next.
enum Stage {
    Begin(ListenOptions),
    /// The rows of its table, as of a commit, by the query as it was bound then.
    Reading(u64, Mutex<RowStream>, Arc<BoundLive>),
    /// For the result of a query that is run again.
    Waiting(ListenOptions),
    /// The same for one who comes back: what has changed since a commit.
    CatchingUp {
        since: u64,
        seq: u64,
        rows: Rows,
        run: Mutex<BoxFuture<'static, CaughtUp>>,
    },
    /// The result, from a row on.
    Showing(u64, Rows, usize),
    Changes,
    Ended(String),
}

impl Feed {
    pub(crate) fn new(queries: Arc<LiveQueries>, subscription: Arc<Subscription>, options: ListenOptions) -> Feed {
        let stage = if queries.is_run_again(&subscription) {
            queries.want_result(&subscription);
            Stage::Waiting(options)
        } else {
            Stage::Begin(options)
        };
        Feed { queries, subscription, stage, after: 0 }
    }

    /// The text of the query.
    pub(crate) fn text(&self) -> &Arc<str> {
        self.subscription.text()
    }

    /// True until a query that is run again has its first result.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Waiting(_))
    }

    /// True if only changes come.
    pub(crate) fn is_changing(&self) -> bool {
        matches!(self.stage, Stage::Changes)
    }

    /// Why nothing comes any more.
    pub(crate) fn ended(&self) -> Option<&str> {
        match &self.stage {
            Stage::Ended(reason) => Some(reason),
            _ => None,
        }
    }

    /// True if something is there to be taken.
    pub(crate) fn has_more(&self) -> bool {
        self.subscription.has_more()
    }

    /// The last commit of which everything has been told.
    pub(super) fn delivered(&self) -> u64 {
        self.subscription.delivered()
    }

    /// The query as it is now.
    pub(super) fn bound(&self) -> Arc<BoundLive> {
        self.subscription.query.bound()
    }

    /// What comes next, of about so many bytes; nothing if it is not there yet. It waits for rows before it takes anything: a
    /// dropped future loses nothing.
    pub(crate) async fn next(&mut self, bytes_max: usize) -> Vec<Arc<Notification>> {
        let queries = Arc::clone(&self.queries);
        loop {
            match &mut self.stage {
                Stage::Begin(options) => {
                    let options = *options;
                    if queries.is_run_again(&self.subscription) {
                        queries.want_result(&self.subscription);
                        self.stage = Stage::Waiting(options);
                        continue;
                    }
                    if let Some(since) = options.since {
                        return self.resume(since);
                    }
                    if !options.snapshot {
                        return self.go_on(self.subscription.entered());
                    }
                    let bound = self.bound();
                    match queries.current_rows(&self.subscription, &bound).await {
                        Ok(Some((seq, rows))) => self.stage = Stage::Reading(seq, Mutex::new(rows), bound),
                        // It has come to be run again.
                        Ok(None) => {}
                        Err(error) => return self.end(&bound, &error),
                    }
                }
                Stage::Reading(seq, rows, bound) => {
                    let (seq, bound) = (*seq, Arc::clone(bound));
                    match rows.get_mut().next().await {
                        None => return self.go_on(seq),
                        Some(Err(error)) => return self.end(&bound, &error),
                        Some(Ok(batch)) => {
                            let stored = batch.column(0).as_binary::<i32>();
                            let stored: Vec<&[u8]> = stored.iter().flatten().collect();
                            match bound.snapshot_rows(seq, stored.into_iter()) {
                                Ok(rows) if rows.is_empty() => {}
                                Ok(rows) => return rows.into_iter().map(|row| self.tell(row)).collect(),
                                Err(error) => return self.end(&bound, &error),
                            }
                        }
                    }
                }
                Stage::Waiting(options) => {
                    let options = *options;
                    let Some((seq, rows)) = self.subscription.take_result() else { return self.changes(bytes_max) };
                    match options.since {
                        Some(since) => {
                            let (queries, subscription) = (Arc::clone(&queries), Arc::clone(&self.subscription));
                            let now = Arc::clone(&rows);
                            let run = async move { queries.catch_up(&subscription, since, (seq, &now)).await };
                            self.stage = Stage::CatchingUp { since, seq, rows, run: Mutex::new(Box::pin(run)) };
                        }
                        None if options.snapshot => self.stage = Stage::Showing(seq, rows, 0),
                        None => return self.go_on(seq),
                    }
                }
                Stage::CatchingUp { since, seq, rows, run } => {
                    let (since, seq, rows) = (*since, *seq, Arc::clone(rows));
                    match run.get_mut().await {
                        Ok(Some(payloads)) => {
                            let mut told: Vec<_> = payloads.into_iter().map(|payload| self.tell(payload)).collect();
                            told.extend(self.go_on(seq));
                            return told;
                        }
                        told => {
                            self.stage = Stage::Showing(seq, rows, 0);
                            let reason = told.err().map(|error| error.message().to_owned());
                            let reason = reason.as_deref().unwrap_or("the change log does not reach back");
                            return vec![self.reset(since, reason, None)];
                        }
                    }
                }
                Stage::Showing(seq, rows, from) => {
                    let (seq, start) = (*seq, *from);
                    let bound = self.subscription.query.bound();
                    let mut bytes = 0;
                    let mut payloads = Vec::new();
                    for (key, row) in rows.iter().skip(start) {
                        if bytes >= bytes_max {
                            break;
                        }
                        bytes += key.len() + row.len();
                        payloads.push(bound.teller.snapshot(seq, key, row));
                    }
                    if payloads.is_empty() {
                        return self.go_on(seq);
                    }
                    *from += payloads.len();
                    return payloads.into_iter().map(|payload| self.tell(payload)).collect();
                }
                Stage::Changes => return self.changes(bytes_max),
                Stage::Ended(_) => return Vec::new(),
            }
        }
    }

    /// The changes that are there.
    pub(crate) fn changes(&mut self, bytes_max: usize) -> Vec<Arc<Notification>> {
        while let Some(taken) = self.subscription.take(bytes_max) {
            match taken {
                Taken::Events(events) => {
                    let after = self.after;
                    let fresh: Vec<_> = events.into_iter().filter(|(seq, _)| *seq > after).collect();
                    if let Some((seq, _)) = fresh.last() {
                        self.subscription.note_delivered(*seq);
                        return fresh.into_iter().map(|(_, event)| event).collect();
                    }
                }
                Taken::Reset { reason, columns } => {
                    self.stage = Stage::Begin(ListenOptions { snapshot: true, since: None });
                    return vec![self.reset(self.subscription.delivered(), &reason, columns.as_deref())];
                }
                Taken::Ended { reason } => {
                    return self.end_for(&reason);
                }
            }
        }
        Vec::new()
    }

    /// What has been committed since the listener went away; or, if that is not known any more, the rows.
    fn resume(&mut self, since: u64) -> Vec<Arc<Notification>> {
        match self.queries.replay(&self.subscription, since) {
            Ok(Some((seq, payloads))) => {
                let mut told: Vec<_> = payloads.into_iter().map(|payload| self.tell(payload)).collect();
                told.extend(self.go_on(seq));
                told
            }
            told => {
                self.stage = Stage::Begin(ListenOptions { snapshot: true, since: None });
                let reason = told.err().map(|error| error.message().to_owned());
                let reason = reason.as_deref().unwrap_or("the change log does not reach back");
                vec![self.reset(since, reason, None)]
            }
        }
    }

    /// All has been told that there is as of a commit: changes follow.
    fn go_on(&mut self, seq: u64) -> Vec<Arc<Notification>> {
        self.stage = Stage::Changes;
        self.after = seq;
        self.subscription.note_delivered(seq);
        let ready = self.bound().teller.ready(seq);
        vec![self.tell(ready)]
    }

    /// Its rows could not be read.
    fn end(&mut self, bound: &BoundLive, error: &SqlError) -> Vec<Arc<Notification>> {
        // Its tables have been changed under it: there is a reset to be told, or there will be. Until then nothing holds.
        if self.subscription.is_void() || self.queries.is_outdated(bound) {
            self.stage = Stage::Changes;
            self.after = u64::MAX;
            return self.changes(usize::MAX);
        }
        self.end_for(error.message())
    }

    fn end_for(&mut self, reason: &str) -> Vec<Arc<Notification>> {
        self.stage = Stage::Ended(reason.to_owned());
        let ended = self.bound().teller.ended(self.subscription.delivered(), reason);
        vec![self.tell(ended)]
    }

    fn reset(&self, seq: u64, reason: &str, names: Option<&str>) -> Arc<Notification> {
        self.tell(self.bound().teller.reset(seq, reason, names))
    }

    fn tell(&self, payload: Arc<str>) -> Arc<Notification> {
        Arc::new(Notification::new(0, Arc::clone(self.text()), payload))
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.queries.unsubscribe(&self.subscription);
    }
}
