//! SELECT, VALUES, TABLE: rows straight from the plan.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::LogicalPlan;
use kalamdb_catalog::Result;

use crate::session::Session;
use crate::sql::plan::StatementContext;
use crate::sql::{Column, Response};

/// What a plan of the session's current statement runs with.
pub(crate) fn statement_context(session: &mut Session) -> Result<Arc<StatementContext>> {
    let transaction = session.open_transaction()?;
    let (reader, locker) = (transaction.reader(), transaction.locker());
    Ok(Arc::new(StatementContext {
        session: Arc::clone(session.context()),
        reader,
        locker,
        cancel: session.cancel_handle(),
        columns: Arc::clone(&session.app().engine.columns),
        returned: Default::default(),
        shared: Default::default(),
        substitutes: Vec::new(),
    }))
}

pub(crate) async fn run(
    session: &mut Session,
    plan: &LogicalPlan,
    columns: Vec<Column>,
    parameters: &[ScalarValue],
) -> Result<Response> {
    crate::sql::bind::check_width(plan, &columns)?;
    let statement = statement_context(session)?;
    let rows = session.app().engine.run(plan, parameters, statement).await?;
    Ok(Response::Rows { columns, rows, tag: "SELECT" })
}
