//! TRUNCATE: the table gets a fresh, empty storage.

use datafusion::sql::sqlparser::ast::{CascadeOption, Truncate, TruncateIdentityOption};
use kalamdb_catalog::{CatalogChange, Result, SqlError};

use super::ddl::{change, own_table};
use crate::session::Session;
use crate::sql::Response;
use crate::sql::execute::complete;
use crate::sql::prepared::PreparedStatement;

pub(crate) fn run(session: &mut Session, prepared: &PreparedStatement, truncate: &Truncate) -> Result<Response> {
    if truncate.partitions.is_some() || truncate.on_cluster.is_some() || truncate.if_exists {
        return Err(SqlError::unsupported("TRUNCATE with PARTITION, IF EXISTS or ON CLUSTER"));
    }
    // No sequences to restart and no foreign keys to cascade to: both forms ask for nothing more.
    let _ = (
        matches!(truncate.identity, Some(TruncateIdentityOption::Restart)),
        matches!(truncate.cascade, Some(CascadeOption::Cascade)),
    );
    for target in &truncate.table_names {
        let table = own_table(session, prepared, &target.name)?;
        session.open_transaction()?.take_table(table.definition.oid)?;
        let mut definition = table.definition.clone();
        definition.storage = session.app().take_storage();
        change(session, CatalogChange::PutTable(definition))?;
    }
    complete("TRUNCATE TABLE")
}
