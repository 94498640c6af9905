//! LISTEN and UNLISTEN at the end of their transaction, and what the connection is told (async.c).

use std::sync::Arc;
use std::time::Duration;

use kalamdb_catalog::Result;

use super::run::Session;
use crate::live::{Feed, ListenAction, Listener, Notification, Prepared};

/// How long LISTEN waits for the first result of a query that is run again.
const FIRST_RESULT_WAIT: Duration = Duration::from_secs(10);

/// What a commit changes about what the session listens to.
pub(super) struct Listening {
    actions: Vec<ListenAction>,
    /// The transaction tells something.
    tells: bool,
}

impl Session {
    /// Before the commit: what others commit after it is to be got. 54000 for too many live queries.
    pub(super) fn before_listening(&self) -> Result<Listening> {
        let mut announcements = self.context().announcements().lock();
        let listening = Listening { actions: announcements.take_actions(), tells: announcements.tells() };
        drop(announcements);
        // What is listened to already begins anew and takes no more room.
        let is_new = |action: &ListenAction| match action {
            ListenAction::ListenToQuery(text, _) => !self.feeds.iter().any(|feed| feed.text() == text),
            _ => false,
        };
        let more = listening.actions.iter().filter(|action| is_new(action)).count();
        if more > 0 {
            self.app().queries.check_session(self.context().pid, more)?;
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
            for feed in self.feeds.iter().filter(|feed| feed.is_waiting()) {
                while !feed.has_more() {
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
                    self.end_feeds(|feed| feed.text() == &channel);
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
        self.end_feeds(|feed| feed.text() == &text);
        let listener = Arc::clone(self.own_listener());
        match self.app().queries.subscribe(prepared, &listener) {
            Ok(subscription) => {
                listener.add_query(&text);
                let queries = Arc::clone(&self.app().queries);
                self.feeds.push(Feed::new(queries, subscription, prepared.options));
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
            self.own_listener().remove_query(feed.text());
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
                let taken = self.feeds[at].next(bytes_max).await;
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
        if self.feeds.iter().any(|feed| feed.ended().is_some()) {
            self.end_feeds(|feed| feed.ended().is_some());
        }
        let app = Arc::clone(self.app());
        let Some(listener) = self.listener() else { return Ok((Vec::new(), false)) };
        if app.live.has_more(listener) {
            return app.live.take(listener, bytes_max);
        }
        for at in 0..self.feeds.len() {
            if self.feeds[at].is_changing() && self.feeds[at].has_more() {
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
