//! SUBSCRIBE TO: a live query as rows.

use kalamdb_catalog::{CatalogChange, PgType, Result, SqlError};

use super::notify::within;
use crate::live::{Form, LiveRows, Prepared};
use crate::session::Session;
use crate::sql::prepared::PreparedStatement;
use crate::sql::statement::Subscribe;
use crate::sql::{Column, Response};

/// The query, bound: its errors are told now, at their places in the statement.
pub(crate) fn prepare(session: &Session, subscribe: &Subscribe) -> Result<Subscribed> {
    let form = Form::Rows { progress: subscribe.progress };
    let prepared = session.app().queries.prepare(session.context(), &subscribe.text, subscribe.options, form);
    let prepared = prepared.map_err(|error| within(error, Some(subscribe.position), |_| 0))?;
    let of_record = |ty: PgType| ty == PgType::RECORD || ty.element() == Some(PgType::RECORD);
    let refused = |c: &Column| of_record(c.ty) || c.ty.is_reg();
    match prepared.columns().iter().find(|c| refused(c)) {
        Some(column) => Err(SqlError::unsupported(format!("SUBSCRIBE with a column of type {}", column.ty.sql_name()))),
        None => Ok(Subscribed(prepared)),
    }
}

/// A live query that can be told as rows.
pub(crate) struct Subscribed(Prepared);

impl Subscribed {
    pub(crate) fn columns(&self) -> Vec<Column> {
        self.0.line_columns()
    }
}

/// The rows of a SUBSCRIBE from now on.
pub(crate) fn open(session: &mut Session, subscribe: &Subscribe) -> Result<LiveRows> {
    let Subscribed(prepared) = prepare(session, subscribe)?;
    // It is shared with others, who do not see what has not been committed.
    let touched = |change: &CatalogChange| match change {
        CatalogChange::PutTable(table) => prepared.reads(table.oid),
        CatalogChange::DropTable(oid) => prepared.reads(*oid),
        _ => false,
    };
    if session.open_transaction()?.changes().iter().any(touched) {
        return Err(SqlError::unsupported("SUBSCRIBE to a relation that the transaction has changed"));
    }
    let app = session.app();
    LiveRows::open(&app.queries, &app.live, &prepared, session.context().pid, session.cancel_handle())
}

pub(crate) async fn run(
    session: &mut Session,
    prepared: &PreparedStatement,
    subscribe: &Subscribe,
) -> Result<Response> {
    session.begin_utility()?;
    // Its columns are those that were announced.
    prepared.current(session)?;
    let rows = begin(session, subscribe).await?;
    Ok(Response::Rows { columns: rows.columns(), rows: rows.stream(), tag: "SUBSCRIBE" })
}

/// Subscribes, for rows that go straight to the client.
pub(crate) async fn begin(session: &mut Session, subscribe: &Subscribe) -> Result<LiveRows> {
    session.begin_utility()?;
    let rows = open(session, subscribe)?;
    // It may go on for days: no snapshot is held for it, nor a transaction of its own.
    if session.is_alone()? {
        session.finish_implicit().await?;
    } else {
        session.open_transaction()?.let_snapshot_go();
    }
    Ok(rows)
}
