//! Statements that need no query engine: a row by its primary key, a row inserted.

use datafusion::common::ScalarValue;
use kalamdb_catalog::{Result, SqlError};

use super::bind::{Binder, BoundDml, SimpleSelect};
use super::{Response, RowStream};
use crate::session::Session;

/// A statement compiled for its table.
pub struct Fast;

impl Fast {
    pub(crate) fn select(_: &Binder<'_>, _: &SimpleSelect) -> Option<Fast> {
        None
    }
    pub(crate) fn dml(_: &Binder<'_>, _: &BoundDml) -> Option<Fast> {
        None
    }
    pub(crate) fn run_select(&self, _: &mut Session, _: &[ScalarValue]) -> Result<RowStream> {
        Err(SqlError::internal("not compiled"))
    }
    pub(crate) fn run_dml(&self, _: &mut Session, _: &BoundDml, _: &[ScalarValue]) -> Result<Response> {
        Err(SqlError::internal("not compiled"))
    }
}
