//! Statements that need no query engine: a row read, changed or deleted by its whole primary key, rows inserted, and
//! expressions without a table.
//!
//! They are a server's daily bread, and planning one with DataFusion takes longer than everything else together. What is
//! not understood to the letter is declined when the statement is bound, and goes the generic way; the answers of both
//! ways are the same (`testdata/sql/kalamdb/fast_path.slt` compares them).
//!
//! - `compile`: expressions made ready once
//! - `point`: WHERE as one key and what else the row has to fulfil
//! - `statement`: the four statements over a table
//! - `row`: a SELECT without a table

mod compile;
mod point;
mod row;
mod statement;
mod walk;

use datafusion::common::ScalarValue;
use kalamdb_catalog::Result;

use self::row::OneRow;
use super::RowStream;
use super::bind::{Binder, BoundQuery};
use crate::session::Session;

pub(super) use statement::Fast;

/// A query that needs no query engine.
pub(crate) enum FastQuery {
    Rows(Box<Fast>),
    Row(OneRow),
}

impl FastQuery {
    /// None: the query goes the generic way.
    pub(super) fn compile(binder: &Binder<'_>, query: &BoundQuery) -> Option<FastQuery> {
        match &query.simple {
            Some(simple) => Fast::select(binder, simple).map(|fast| FastQuery::Rows(Box::new(fast))),
            None => OneRow::compile(binder.session, &query.plan).map(FastQuery::Row),
        }
    }

    /// The rows; None if they are many, and the generic way is the better one.
    pub(super) async fn run(&self, session: &mut Session, parameters: &[ScalarValue]) -> Result<Option<RowStream>> {
        match self {
            FastQuery::Rows(fast) => fast.run_select(session, parameters).await,
            FastQuery::Row(row) => row.run(parameters).map(Some),
        }
    }
}
