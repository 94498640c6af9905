//! WITH whose queries write: they run first, in order, on the snapshot that the statement itself runs on, and all their
//! changes are one statement's (manual, section 7.8.4).

use datafusion::common::ScalarValue;
use kalamdb_catalog::{Result, SqlError};

use super::dml;
use super::select::statement_context;
use super::target::Target;
use crate::session::Session;
use crate::sql::Response;
use crate::sql::prepared::{BoundStatement, Plan};

pub(crate) async fn run(session: &mut Session, bound: &BoundStatement, parameters: &[ScalarValue]) -> Result<Response> {
    let statement = statement_context(session)?;
    let mut writes = session.open_transaction()?.statement();
    let mut targets = Vec::with_capacity(bound.modifying.len() + 1);
    for part in &bound.modifying {
        let target = Target::new(session, &part.dml.table)?;
        let context = statement.clone();
        let (_, shown) = dml::collect(session, &target, &mut writes, &part.dml, parameters, context).await?;
        statement.returned.lock().insert(part.id, shown);
        targets.push(target);
    }
    match &bound.plan {
        Plan::Query { plan, .. } => {
            dml::finish(session, &targets, writes).await?;
            let rows = session.app().engine.run(plan, parameters, statement).await?;
            Ok(Response::Rows { columns: bound.columns.clone().unwrap_or_default(), rows, tag: "SELECT" })
        }
        Plan::Dml { dml, .. } => {
            let target = Target::new(session, &dml.table)?;
            let (count, shown) = dml::collect(session, &target, &mut writes, dml, parameters, statement).await?;
            targets.push(target);
            dml::finish(session, &targets, writes).await?;
            dml::respond(dml, count, shown)
        }
        Plan::Utility => Err(SqlError::internal("a utility statement has a WITH")),
    }
}
