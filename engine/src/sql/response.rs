//! What a statement gives back.

use std::pin::Pin;

use datafusion::arrow::array::RecordBatch;
use futures::Stream;
use kalamdb_catalog::{Catalog, Oid, PgType, Result};

/// A result column, as RowDescription wants it.
#[derive(Clone, PartialEq, Debug)]
pub struct Column {
    pub name: String,
    pub ty: PgType,
    pub typmod: i32,
    /// The table the column comes from straight, or 0.
    pub table: Oid,
    /// Its attribute number there, or 0. A record of a table and no attribute is the table's whole row.
    pub attribute: i16,
}

impl Column {
    /// The OID that RowDescription gives: a table's whole row has the table's row type.
    pub fn type_oid(&self, catalog: &Catalog) -> Oid {
        let whole = self.ty == PgType::RECORD && self.table != 0;
        let row_type = catalog.table(self.table).filter(|_| whole).map(|t| t.definition.row_type_oid);
        row_type.unwrap_or(self.ty.oid())
    }
}

/// Batches of rows in the carriers of the result's columns. Pulled, never pushed; ends with 57014 when cancelled. A batch
/// without rows says that nothing more is there for now.
pub type RowStream = Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>;

/// The outcome of one statement.
pub enum Response {
    /// Rows, then CommandComplete `tag` ("SELECT", "INSERT 0"...) followed by a space and the number of rows sent
    /// in all (as PostgreSQL counts them: FETCH and SELECT the rows, INSERT ... RETURNING the rows inserted).
    Rows { columns: Vec<Column>, rows: RowStream, tag: &'static str },
    /// CommandComplete with this tag: "INSERT 0 1", "CREATE TABLE".
    Complete { tag: String },
    /// EmptyQueryResponse
    Empty,
    /// COPY ... FROM STDIN: the connection sends CopyInResponse and feeds the data.
    CopyIn(Box<CopyIn>),
    /// COPY ... TO STDOUT: `rows` are the rows to send, in `format`.
    CopyOut { columns: Vec<Column>, rows: RowStream, format: CopyFormat },
}

/// The options of COPY that describe the bytes (manual, COPY).
#[derive(Clone, PartialEq, Debug)]
pub struct CopyFormat {
    pub kind: CopyKind,
    pub delimiter: u8,
    pub null: String,
    /// DEFAULT string is PostgreSQL 16's and refused.
    pub header: CopyHeader,
    pub quote: u8,
    pub escape: u8,
    /// Positions of columns to quote always (csv, TO); `force_quote_all` for `*`.
    pub force_quote: Vec<usize>,
    /// Positions whose values never match the null string (csv, FROM).
    pub force_not_null: Vec<usize>,
    /// Positions whose quoted values may match the null string (csv, FROM).
    pub force_null: Vec<usize>,
    pub freeze: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CopyKind {
    Text,
    Csv,
    Binary,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CopyHeader {
    None,
    Present,
    /// Present, and on input must equal the column names.
    Match,
}

/// A COPY FROM STDIN under way: the engine's side. `sql::copy` parses the bytes; the connection only carries them.
pub struct CopyIn {
    /// Target columns, in the order of the data.
    pub columns: Vec<Column>,
    pub format: CopyFormat,
    pub(crate) state: crate::sql::CopyInState,
}
