//! LISTEN, NOTIFY, UNLISTEN: said now, done at commit.

use kalamdb_catalog::{Result, SqlError};

use crate::live::ListenAction;
use crate::session::Session;
use crate::sql::Response;
use crate::sql::execute::complete;
use crate::sql::parse::is_query;

pub(crate) fn listen(session: &mut Session, channel: &str) -> Result<Response> {
    session.begin_utility()?;
    if is_query(channel) {
        return Err(SqlError::unsupported("LISTEN to a query"));
    }
    session.context().announcements().lock().listen(ListenAction::Listen(channel.into()));
    complete("LISTEN")
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
