//! Statements that the server runs by itself inside a client's: what foreign keys do.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::common::ScalarValue;
use futures::TryStreamExt;
use kalamdb_catalog::{PgType, Result, SqlError};

use super::Response;
use super::prepared::PreparedStatement;
use crate::session::Session;
use crate::txn::Isolation;

/// Statements kept prepared in a session; more, and all are forgotten.
const KEPT_MAX: usize = 256;

/// Runs a statement with its parameters, in the session's transaction. Boxed: what it changes may have foreign keys too.
pub(crate) fn execute<'a>(
    session: &'a mut Session,
    sql: &'a str,
    parameters: &'a [(PgType, ScalarValue)],
) -> Pin<Box<dyn Future<Output = Result<Response>> + Send + 'a>> {
    Box::pin(async move {
        let prepared = prepared(session, sql, parameters)?;
        let values: Vec<ScalarValue> = parameters.iter().map(|(_, value)| value.clone()).collect();
        super::execute(session, &prepared, &values).await.map_err(SqlError::without_position)
    })
}

/// True if a query finds a row in the newest commit, with the transaction's own writes.
pub(crate) async fn any_row_of_newest(
    session: &mut Session,
    sql: &str,
    parameters: &[(PgType, ScalarValue)],
) -> Result<bool> {
    let txn = session.open_transaction()?;
    if txn.isolation() == Isolation::ReadCommitted {
        return any_row(session, sql, parameters).await;
    }
    let before = txn.read_newest();
    let found = any_row(session, sql, parameters).await;
    session.open_transaction()?.read_from(before);
    found
}

async fn any_row(session: &mut Session, sql: &str, parameters: &[(PgType, ScalarValue)]) -> Result<bool> {
    let Response::Rows { mut rows, .. } = execute(session, sql, parameters).await? else {
        return Err(SqlError::internal("a query has no rows"));
    };
    while let Some(batch) = rows.try_next().await? {
        if batch.num_rows() > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

fn prepared(session: &mut Session, sql: &str, parameters: &[(PgType, ScalarValue)]) -> Result<Arc<PreparedStatement>> {
    if let Some(found) = session.internal.get(sql) {
        return Ok(Arc::clone(found));
    }
    let parsed = super::parse(sql, &mut Vec::new())?;
    let [statement] = parsed.as_slice() else { return Err(SqlError::internal("not one statement")) };
    let types: Vec<u32> = parameters.iter().map(|(ty, _)| ty.oid()).collect();
    let catalog = session.context().catalog();
    let prepared = Arc::new(PreparedStatement::new(session, statement, &types, catalog)?);
    if session.internal.len() >= KEPT_MAX {
        session.internal.clear();
    }
    session.internal.insert(sql.to_owned(), Arc::clone(&prepared));
    Ok(prepared)
}

/// The first row of a query for a text and a boolean.
pub(crate) async fn first_text(session: &mut Session, sql: &str) -> Result<Option<(String, bool)>> {
    let Response::Rows { mut rows, .. } = execute(session, sql, &[]).await? else {
        return Err(SqlError::internal("a query has no rows"));
    };
    while let Some(batch) = rows.try_next().await? {
        if batch.num_rows() > 0 {
            let text = batch.column(0).as_string::<i32>().value(0).to_owned();
            return Ok(Some((text, batch.column(1).as_boolean().value(0))));
        }
    }
    Ok(None)
}
