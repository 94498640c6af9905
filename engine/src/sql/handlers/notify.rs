//! LISTEN, NOTIFY, UNLISTEN: said now, done at commit.

use kalamdb_catalog::{Result, SqlError, SqlState};

use crate::live::{Form, ListenAction, ListenOptions};
use crate::session::Session;
use crate::sql::Response;
use crate::sql::execute::complete;
use crate::sql::parse::is_query;

pub(crate) fn listen(
    session: &mut Session,
    channel: &str,
    options: ListenOptions,
    position: Option<u32>,
) -> Result<Response> {
    session.begin_utility()?;
    let action = if is_query(channel) {
        let prepared = session.app().queries.prepare(session.context(), channel, options, Form::Messages);
        // The text stands in quotes, in which a quote counts twice.
        let quotes = |inside| 1 + channel.chars().take(inside).filter(|c| *c == '"').count() as u32;
        let prepared = prepared.map_err(|error| within(error, position, quotes))?;
        ListenAction::ListenToQuery(channel.into(), prepared)
    } else {
        ListenAction::Listen(channel.into())
    };
    session.context().announcements().lock().listen(action);
    complete("LISTEN")
}

/// An error of a query with its place in the statement, where the query begins at `position`; `more` is by how much more than
/// by the characters before it a place is further on.
pub(super) fn within(error: SqlError, position: Option<u32>, more: impl Fn(usize) -> u32) -> SqlError {
    let inside = error.fields().position;
    let at = inside.zip(position).map(|(inside, start)| {
        let before = inside.saturating_sub(1);
        start + before + more(before as usize)
    });
    error.without_position().at(at)
}

pub(crate) fn unlisten(session: &mut Session, channel: Option<&str>) -> Result<Response> {
    session.begin_utility()?;
    let action = channel.map_or(ListenAction::UnlistenAll, |channel| ListenAction::Unlisten(channel.into()));
    session.context().announcements().lock().listen(action);
    complete("UNLISTEN")
}

pub(crate) fn notify(session: &mut Session, channel: &str, payload: &str) -> Result<Response> {
    session.begin_utility()?;
    session.context().announcements().lock().notify(channel, payload)?;
    complete("NOTIFY")
}

/// KILL LIVE QUERY: its listener is told that it has ended.
pub(crate) fn kill(session: &mut Session, id: &str) -> Result<Response> {
    session.begin_utility()?;
    let number: Option<u64> = id.parse().ok();
    if number.is_some_and(|id| session.app().queries.kill(id)) {
        return complete("KILL LIVE QUERY");
    }
    let message = format!("live query \"{id}\" does not exist");
    Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message).hint("system.live_queries lists them."))
}
