//! LISTEN and UNLISTEN at the end of their transaction, and what the connection is told (async.c).

use std::sync::Arc;

use kalamdb_catalog::Result;

use super::run::Session;
use crate::live::{ListenAction, Listener, Notification};

/// What a commit changes about what the session listens to.
pub(super) struct Listening {
    actions: Vec<ListenAction>,
    /// The transaction tells something.
    tells: bool,
}

impl Session {
    /// Before the commit: what others commit after it is to be got.
    pub(super) fn before_listening(&self) -> Listening {
        let mut announcements = self.context().announcements().lock();
        let listening = Listening { actions: announcements.take_actions(), tells: announcements.tells() };
        drop(announcements);
        if listening.actions.iter().any(|action| matches!(action, ListenAction::Listen(_))) {
            let live = &self.app().live;
            let context = self.context();
            let listener = context.listener.get_or_init(|| live.connect(context.pid, context.database));
            for action in &listening.actions {
                if let ListenAction::Listen(channel) = action {
                    live.prepare(listener, channel);
                }
            }
        }
        listening
    }

    /// After it: the actions take effect in their order, or have not been said.
    pub(super) async fn after_listening(&self, listening: Listening, committed: bool) {
        let Some(listener) = self.context().listener.get() else { return };
        let live = &self.app().live;
        for action in listening.actions {
            match action {
                ListenAction::Listen(channel) if committed => live.listen(listener, &channel),
                ListenAction::Listen(channel) => {
                    if !listener.channels().contains(&channel) {
                        live.unlisten(listener, &channel);
                    }
                }
                ListenAction::Unlisten(channel) if committed => live.unlisten(listener, &channel),
                ListenAction::UnlistenAll if committed => {
                    listener.channels().iter().for_each(|channel| live.unlisten(listener, channel));
                }
                ListenAction::Unlisten(_) | ListenAction::UnlistenAll => {}
            }
        }
        // What it has told itself comes before ReadyForQuery.
        if committed && listening.tells && !listener.channels().is_empty() {
            live.settled().await;
        }
    }

    /// Waits until there may be notifications; for ever if the session does not listen.
    pub async fn notified(&self) {
        match self.context().listener.get() {
            Some(listener) => listener.woken().await,
            None => std::future::pending().await,
        }
    }

    /// The next notifications, of about so many bytes. True if there are more.
    pub fn take_notifications(&self, bytes_max: usize) -> Result<(Vec<Arc<Notification>>, bool)> {
        match self.listener() {
            Some(listener) if self.app().live.has_more(listener) => self.app().live.take(listener, bytes_max),
            _ => Ok((Vec::new(), false)),
        }
    }

    fn listener(&self) -> Option<&Arc<Listener>> {
        self.context().listener.get()
    }

    /// The end of the session.
    pub(super) fn stop_listening(&self) {
        if let Some(listener) = self.listener() {
            self.app().live.disconnect(listener);
        }
    }
}
