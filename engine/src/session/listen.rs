//! LISTEN and UNLISTEN at the end of their transaction, and what the connection is told (async.c).
//!
//! A live query begins with its rows, or the changes since a commit, or just with where it stands; changes follow. The rows are
//! read as the connection takes them, so that a large result is nowhere whole.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::AsArray;
use futures::StreamExt;
use kalamdb_catalog::{Result, SqlError, SqlState};
use parking_lot::Mutex;

use super::run::Session;
use crate::live::{
    ListenAction, ListenOptions, Listener, LiveQueries, Notification, Prepared, Rows, Subscription, Taken, ended,
    ready, reset, snapshot,
};
use crate::sql::RowStream;

/// How long LISTEN waits for the first result of a query that is run again.
const FIRST_RESULT_WAIT: Duration = Duration::from_secs(10);

/// What a commit changes about what the session listens to.
pub(super) struct Listening {
    actions: Vec<ListenAction>,
    /// The transaction tells something.
    tells: bool,
}

/// A live query of the session.
pub(super) struct Feed {
    text: Arc<str>,
    subscription: Arc<Subscription>,
    stage: Stage,
    /// Changes up to this commit are in what has been told.
    after: u64,
}

/// What comes next.
enum Stage {
    Begin(ListenOptions),
    /// The rows of its table, as of a commit.
    Reading(u64, Mutex<RowStream>),
    /// For the result of a query that is run again.
    Waiting(ListenOptions),
    /// The result, from a row on.
    Showing(u64, Rows, usize),
    Changes,
    Ended,
}

impl Session {
    /// Before the commit: what others commit after it is to be got. 54000 for too many live queries.
    pub(super) fn before_listening(&self) -> Result<Listening> {
        let mut announcements = self.context().announcements().lock();
        let listening = Listening { actions: announcements.take_actions(), tells: announcements.tells() };
        drop(announcements);
        // What is listened to already begins anew and takes no more room.
        let is_new = |action: &ListenAction| match action {
            ListenAction::ListenToQuery(text, _) => !self.feeds.iter().any(|feed| feed.text == *text),
            _ => false,
        };
        let more = listening.actions.iter().filter(|action| is_new(action)).count();
        if more > 0 {
            let most = self.app().queries.limits().queries_per_session;
            if self.feeds.len() + more > most {
                let message = format!("more than {most} live queries in one session");
                return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
            }
            self.app().queries.check_room(more)?;
        }
        for action in &listening.actions {
            if let ListenAction::Listen(channel) = action {
                self.app().live.prepare(self.own_listener(), channel);
            }
        }
        Ok(listening)
    }

    /// After it: the actions take effect in their order, or have not been said.
    pub(super) async fn after_listening(&mut self, listening: Listening, committed: bool) {
        if !listening.actions.is_empty() {
            self.take_effect(listening.actions, committed);
            self.wait_for_results().await;
        }
        // What it has told itself comes before ReadyForQuery.
        let listens = self.listener().is_some_and(|listener| !listener.channels().is_empty());
        if committed && listening.tells && listens {
            self.app().live.settled().await;
        }
    }

    /// A query that is run again stands where its first result does: what is committed after LISTEN has returned is told.
    async fn wait_for_results(&self) {
        let Some(listener) = self.listener() else { return };
        let all = async {
            for feed in self.feeds.iter().filter(|feed| matches!(feed.stage, Stage::Waiting(_))) {
                while !feed.subscription.has_more() {
                    listener.woken().await;
                }
            }
        };
        // A server that is so slow tells of what comes later.
        let _ = tokio::time::timeout(FIRST_RESULT_WAIT, all).await;
    }

    fn take_effect(&mut self, actions: Vec<ListenAction>, committed: bool) {
        let app = Arc::clone(self.app());
        let listener = Arc::clone(self.own_listener());
        let live = &app.live;
        // What is listened to again in the end goes on: nothing that is told meanwhile is missed.
        let last = |channel: &str, at: usize| {
            let again = |a: &ListenAction| matches!(a, ListenAction::Listen(c) if **c == *channel);
            !actions[at..].iter().any(again)
        };
        for (at, action) in actions.iter().cloned().enumerate() {
            match action {
                ListenAction::Listen(channel) if committed => live.listen(&listener, &channel),
                ListenAction::Listen(channel) => {
                    if !listener.channels().contains(&channel) {
                        live.unlisten(&listener, &channel);
                    }
                }
                ListenAction::ListenToQuery(text, prepared) if committed => self.begin_feed(text, &prepared),
                ListenAction::Unlisten(channel) if committed => {
                    self.end_feeds(|feed| feed.text == channel);
                    if last(&channel, at) {
                        live.unlisten(&listener, &channel);
                    }
                }
                ListenAction::UnlistenAll if committed => {
                    self.end_feeds(|_| true);
                    let mut channels = listener.channels();
                    channels.retain(|channel| last(channel, at));
                    channels.iter().for_each(|channel| live.unlisten(&listener, channel));
                }
                ListenAction::ListenToQuery(..) | ListenAction::Unlisten(_) | ListenAction::UnlistenAll => {}
            }
        }
    }

    /// LISTEN to the same query again begins it anew.
    fn begin_feed(&mut self, text: Arc<str>, prepared: &Prepared) {
        self.end_feeds(|feed| feed.text == text);
        let listener = Arc::clone(self.own_listener());
        match self.app().queries.subscribe(prepared, &listener) {
            Ok(subscription) => {
                listener.add_query(&text);
                let queries = &self.app().queries;
                let stage = if queries.is_run_again(&subscription) {
                    queries.want_result(&subscription);
                    Stage::Waiting(prepared.options)
                } else {
                    Stage::Begin(prepared.options)
                };
                self.feeds.push(Feed { text, subscription, stage, after: 0 });
            }
            // The transaction has committed: it cannot fail any more.
            Err(error) => self.context().notice(error),
        }
    }

    fn end_feeds(&mut self, which: impl Fn(&Feed) -> bool) {
        let (ended, kept) = std::mem::take(&mut self.feeds).into_iter().partition(which);
        self.feeds = kept;
        let ended: Vec<Feed> = ended;
        for feed in ended {
            self.app().queries.unsubscribe(&feed.subscription);
            self.own_listener().remove_query(&feed.text);
        }
    }

    /// Waits for notifications, and gives the next ones, of about so many bytes; for ever if the session does not listen.
    /// Nothing is lost if the future is dropped.
    pub async fn next_notifications(&mut self, bytes_max: usize) -> Result<Vec<Arc<Notification>>> {
        loop {
            let (taken, _) = self.take_notifications(bytes_max)?;
            if !taken.is_empty() {
                return Ok(taken);
            }
            let app = Arc::clone(self.app());
            for at in 0..self.feeds.len() {
                let taken = self.feeds[at].next(&app.queries, bytes_max).await;
                if !taken.is_empty() {
                    app.queries.count_delivered(taken.len());
                    // The others first, next time.
                    self.feeds.rotate_left(at + 1);
                    return Ok(taken);
                }
            }
            match self.listener().cloned() {
                Some(listener) => listener.woken().await,
                None => std::future::pending().await,
            }
        }
    }

    /// The notifications that are there, of about so many bytes. True if there are more.
    pub fn take_notifications(&mut self, bytes_max: usize) -> Result<(Vec<Arc<Notification>>, bool)> {
        if self.feeds.iter().any(|feed| matches!(feed.stage, Stage::Ended)) {
            self.end_feeds(|feed| matches!(feed.stage, Stage::Ended));
        }
        let app = Arc::clone(self.app());
        let Some(listener) = self.listener() else { return Ok((Vec::new(), false)) };
        if app.live.has_more(listener) {
            return app.live.take(listener, bytes_max);
        }
        for at in 0..self.feeds.len() {
            if matches!(self.feeds[at].stage, Stage::Changes) && self.feeds[at].subscription.has_more() {
                let taken = self.feeds[at].changes(bytes_max);
                if taken.is_empty() {
                    continue;
                }
                app.queries.count_delivered(taken.len());
                self.feeds.rotate_left(at + 1);
                return Ok((taken, true));
            }
        }
        Ok((Vec::new(), false))
    }

    fn listener(&self) -> Option<&Arc<Listener>> {
        self.context().listener.get()
    }

    fn own_listener(&self) -> &Arc<Listener> {
        let context = self.context();
        context.listener.get_or_init(|| self.app().live.connect(context.pid, context.database))
    }

    /// The end of the session.
    pub(super) fn stop_listening(&mut self) {
        self.end_feeds(|_| true);
        if let Some(listener) = self.listener() {
            self.app().live.disconnect(listener);
        }
    }
}

impl Feed {
    /// What comes next, of about so many bytes; nothing if it is not there yet. It waits for rows before it takes anything: a
    /// dropped future loses nothing.
    async fn next(&mut self, queries: &LiveQueries, bytes_max: usize) -> Vec<Arc<Notification>> {
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
                        return self.resume(queries, since);
                    }
                    if !options.snapshot {
                        return self.go_on(self.subscription.entered());
                    }
                    match queries.current_rows(&self.subscription).await {
                        Ok(Some((seq, rows))) => self.stage = Stage::Reading(seq, Mutex::new(rows)),
                        // It has come to be run again.
                        Ok(None) => {}
                        Err(error) => return self.end(&error),
                    }
                }
                Stage::Reading(seq, rows) => {
                    let seq = *seq;
                    match rows.get_mut().next().await {
                        None => return self.go_on(seq),
                        Some(Err(error)) => return self.end(&error),
                        Some(Ok(batch)) => {
                            let stored = batch.column(0).as_binary::<i32>();
                            let stored: Vec<&[u8]> = stored.iter().flatten().collect();
                            match queries.snapshot_rows(&self.subscription, seq, stored.into_iter()) {
                                Ok(rows) if rows.is_empty() => {}
                                Ok(rows) => return rows.into_iter().map(|row| self.tell(row)).collect(),
                                Err(error) => return self.end(&error),
                            }
                        }
                    }
                }
                Stage::Waiting(options) => {
                    let options = *options;
                    let Some((seq, rows)) = self.subscription.take_result() else { return self.changes(bytes_max) };
                    let unchanged = options.since.map(|since| queries.is_unchanged(&self.subscription, since, seq));
                    match (unchanged, options.since) {
                        (Some(Ok(true)), _) => return self.go_on(seq),
                        (Some(_), Some(since)) => {
                            self.stage = Stage::Showing(seq, rows, 0);
                            return vec![self.tell(reset(since, "the query is not kept for those who are away", None))];
                        }
                        _ if options.snapshot => self.stage = Stage::Showing(seq, rows, 0),
                        _ => return self.go_on(seq),
                    }
                }
                Stage::Showing(seq, rows, from) => {
                    let (seq, start) = (*seq, *from);
                    let mut bytes = 0;
                    let mut payloads = Vec::new();
                    for (key, row) in rows.iter().skip(start) {
                        if bytes >= bytes_max {
                            break;
                        }
                        bytes += key.len() + row.len();
                        payloads.push(snapshot(seq, key, row));
                    }
                    if payloads.is_empty() {
                        return self.go_on(seq);
                    }
                    *from += payloads.len();
                    return payloads.into_iter().map(|payload| self.tell(payload)).collect();
                }
                Stage::Changes => return self.changes(bytes_max),
                Stage::Ended => return Vec::new(),
            }
        }
    }

    /// The changes that are there.
    fn changes(&mut self, bytes_max: usize) -> Vec<Arc<Notification>> {
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
                    return vec![self.tell(reset(self.subscription.delivered(), &reason, columns.as_deref()))];
                }
                Taken::Ended { reason } => {
                    self.stage = Stage::Ended;
                    return vec![self.tell(ended(self.subscription.delivered(), &reason))];
                }
            }
        }
        Vec::new()
    }

    /// What has been committed since the listener went away; or, if that is not known any more, the rows.
    fn resume(&mut self, queries: &LiveQueries, since: u64) -> Vec<Arc<Notification>> {
        match queries.replay(&self.subscription, since) {
            Ok(Some((seq, payloads))) => {
                let mut told: Vec<_> = payloads.into_iter().map(|payload| self.tell(payload)).collect();
                told.extend(self.go_on(seq));
                told
            }
            told => {
                self.stage = Stage::Begin(ListenOptions { snapshot: true, since: None });
                let reason = told.err().map(|error| error.message().to_owned());
                let reason = reason.as_deref().unwrap_or("the change log does not reach back");
                vec![self.tell(reset(since, reason, None))]
            }
        }
    }

    /// All has been told that there is as of a commit: changes follow.
    fn go_on(&mut self, seq: u64) -> Vec<Arc<Notification>> {
        self.stage = Stage::Changes;
        self.after = seq;
        self.subscription.note_delivered(seq);
        vec![self.tell(ready(seq))]
    }

    fn end(&mut self, error: &SqlError) -> Vec<Arc<Notification>> {
        // Its tables have been changed under it: there is a reset to be told.
        if self.subscription.has_more() {
            self.stage = Stage::Changes;
            return self.changes(usize::MAX);
        }
        self.stage = Stage::Ended;
        vec![self.tell(ended(self.subscription.delivered(), error.message()))]
    }

    fn tell(&self, payload: Arc<str>) -> Arc<Notification> {
        Arc::new(Notification::new(0, Arc::clone(&self.text), payload))
    }
}
