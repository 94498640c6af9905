//! ALTER TABLE.

use kalamdb_catalog::{Result, SqlError};
use datafusion::sql::sqlparser::ast::AlterTable;

use crate::session::Session;
use crate::sql::Response;
use crate::sql::prepared::PreparedStatement;

pub(crate) async fn run(_: &mut Session, _: &PreparedStatement, _: &AlterTable) -> Result<Response> {
    Err(SqlError::unsupported("ALTER TABLE"))
}
