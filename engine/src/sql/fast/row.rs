//! A SELECT without FROM: one row of expressions (`SELECT 1`, `SELECT nextval('s')`, `SELECT pg_notify($1, $2)`).

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::LogicalPlan;
use futures::stream;
use kalamdb_catalog::Result;

use super::compile::{Columns, Compiler, Inputs, Row};
use super::statement::Shown;
use crate::session::SessionContext;
use crate::sql::RowStream;
use crate::sql::udf::is_immutable;
use crate::storage::RowLayout;

pub(crate) struct OneRow {
    shown: Shown,
    /// Of no columns.
    layout: RowLayout,
    /// It is the same each time: PostgreSQL evaluates it when it plans, before it tells the client of the columns.
    constant: bool,
}

impl OneRow {
    /// None: the plan is of another kind, and goes the generic way.
    pub(crate) fn compile(session: &Arc<SessionContext>, plan: &LogicalPlan) -> Option<OneRow> {
        let LogicalPlan::Projection(projection) = plan else { return None };
        let LogicalPlan::EmptyRelation(from) = &*projection.input else { return None };
        if !from.produce_one_row || !from.schema.fields().is_empty() {
            return None;
        }
        let compiler = Compiler { session, types: &[], columns: Columns::None };
        let shown = Shown::compile(&compiler, &projection.expr)?;
        let constant = projection.expr.iter().all(is_immutable);
        Some(OneRow { shown, layout: RowLayout::default(), constant })
    }

    /// An error of what is no constant comes in place of the row.
    pub(crate) fn run(&self, parameters: &[ScalarValue]) -> Result<RowStream> {
        let row = self.shown.batch(&Inputs { layout: &self.layout, row: Row::None, parameters });
        match row {
            Err(error) if self.constant => Err(error),
            row => Ok(Box::pin(stream::iter([row]))),
        }
    }
}
