//! Tables as DataFusion reads them. Reads only: writes go through `txn::Transaction`.
//!
//! A provider knows the relation, nothing of the session: the snapshot and the session come with the plan's execution, so
//! that plans can be kept.

pub(crate) mod access;
mod column_cache;
mod returned;
pub(crate) mod scan;
mod table;
pub(crate) mod virtual_table;

use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::TableSource;
use kalamdb_catalog::{CachedTableData, PgType, Result, TableKind};

use crate::storage::ScanColumn;
use crate::txn::TxnReader;

use access::BoundIndex;
pub use column_cache::ColumnCache;
pub(crate) use table::StoredTable;

/// Hidden column: a row's key. UPDATE and DELETE read it.
pub const KEY_COLUMN: &str = "#key";
/// Hidden column: a row as stored.
pub const ROW_COLUMN: &str = "#row";

/// A column that every table has besides its own.
pub struct SystemColumn {
    pub name: &'static str,
    pub ty: PgType,
    pub attribute: i16,
    pub scan: ScanColumn,
}

static SYSTEM_COLUMNS: [SystemColumn; 7] = [
    SystemColumn { name: "tableoid", ty: PgType::OID, attribute: -6, scan: ScanColumn::TableOid },
    SystemColumn { name: "cmax", ty: PgType::CID, attribute: -5, scan: ScanColumn::Cmax },
    SystemColumn { name: "xmax", ty: PgType::XID, attribute: -4, scan: ScanColumn::Xmax },
    SystemColumn { name: "cmin", ty: PgType::CID, attribute: -3, scan: ScanColumn::Cmin },
    SystemColumn { name: "xmin", ty: PgType::XID, attribute: -2, scan: ScanColumn::Xmin },
    SystemColumn { name: "ctid", ty: PgType::TID, attribute: -1, scan: ScanColumn::Ctid },
    SystemColumn { name: "_seq", ty: PgType::INT8, attribute: -7, scan: ScanColumn::Seq },
];

/// The system columns of a relation: views have none, virtual tables only their OID.
pub fn system_columns(table: &CachedTableData) -> &'static [SystemColumn] {
    match table.definition.kind {
        TableKind::View { .. } => &[],
        TableKind::Virtual(_) | TableKind::Sequence(_) => &SYSTEM_COLUMNS[..1],
        TableKind::Shared | TableKind::System => &SYSTEM_COLUMNS,
    }
}

/// True for a name that no column of a user's table may have.
pub fn is_system_column(name: &str) -> bool {
    SYSTEM_COLUMNS.iter().any(|c| c.name == name)
}

/// True for relations of pg_catalog, information_schema and system.
pub fn is_builtin(table: &CachedTableData) -> bool {
    table.definition.oid < kalamdb_catalog::table::FIRST_USER_OID
}

/// The source of what a statement in WITH returns.
pub(crate) fn returned(id: usize, schema: SchemaRef) -> Arc<dyn TableSource> {
    provider_as_source(Arc::new(returned::Returned { id, schema }))
}

/// The source of a scan. `mark` is its number in the statement: by it a plan is told to run with one given row in place
/// of the table's ([`Substitute`]).
pub(crate) fn source(table: &Arc<CachedTableData>, mark: u32, indexes: Vec<BoundIndex>) -> Arc<dyn TableSource> {
    match table.definition.kind {
        TableKind::Virtual(_) | TableKind::Sequence(_) => {
            provider_as_source(Arc::new(virtual_table::VirtualTable::new(Arc::clone(table))))
        }
        _ => provider_as_source(Arc::new(StoredTable::new(Arc::clone(table), mark, indexes))),
    }
}

/// What a scan gives instead of the table's rows: one row, or none (of the nullable side of an outer join).
#[derive(Clone, Debug)]
pub struct Substitute {
    pub mark: u32,
    pub row: Option<GivenRow>,
}

/// A version of a row.
#[derive(Clone, Debug)]
pub struct GivenRow {
    pub key: Bytes,
    pub seq: u64,
    pub row: Bytes,
}

impl Substitute {
    /// The row that a statement has read under a key, as it has read it.
    pub fn seen(reader: &TxnReader, mark: u32, key: Option<&[u8]>) -> Result<Substitute> {
        let Some(key) = key else { return Ok(Substitute { mark, row: None }) };
        let found = reader.get_with_seq(key)?;
        Ok(Substitute { mark, row: found.map(|(seq, row)| GivenRow { key: Bytes::copy_from_slice(key), seq, row }) })
    }
}
