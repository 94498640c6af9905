//! The bytes of COPY (manual, COPY, "File Formats"): text, CSV and binary, in both directions.
//!
//! [`CopyParser`] takes input in any chunking and gives whole rows of typed values to a `CopySink`; [`CopyWriter`]
//! turns batches into bytes; [`parse_copy_options`] checks the options. Errors name relation, line and column as
//! PostgreSQL's do. Neither side allocates per value.

mod binary;
mod lines;
mod options;
mod parser;
mod split;
mod writer;

use std::sync::Arc;

use kalamdb_catalog::{Result, SqlError, SqlState};

use super::CopyIn;
use super::handlers::target::Target;
use crate::txn::StatementWrites;
use crate::types::Value;

pub use options::parse_copy_options;
pub use parser::CopyParser;
pub use writer::{CopyRows, CopyWriter};

/// Where the rows of a COPY FROM go.
pub(crate) trait CopySink: Send {
    /// One row, one value per column of the data; false if it is left out and not counted. An error ends the COPY, with
    /// the row's line in its context.
    fn row(&mut self, values: &[Value<'_>]) -> Result<bool>;

    /// What has been collected, once the data has ended.
    fn take(&mut self) -> Option<Collected> {
        None
    }
}

/// The rows of a COPY FROM.
pub(crate) struct Collected {
    pub(crate) target: Arc<Target>,
    pub(crate) writes: StatementWrites,
    /// Rows whose keys were locked by others.
    pub(crate) late: Vec<LateRow>,
}

/// A row as it will be stored.
pub(crate) struct LateRow {
    pub(crate) key: Vec<u8>,
    pub(crate) row: Vec<u8>,
}

/// The engine's half of a COPY FROM STDIN under way.
pub struct CopyInState {
    pub parser: CopyParser,
    pub(crate) sink: Box<dyn CopySink>,
}

impl CopyInState {
    /// Takes the next bytes of the client.
    pub fn feed(&mut self, data: &[u8]) -> Result<()> {
        self.parser.feed(data, self.sink.as_mut())
    }

    /// The client has sent all: reads a last line without an end. Gives the number of rows.
    pub fn finish(&mut self) -> Result<u64> {
        self.parser.finish(self.sink.as_mut())
    }
}

impl CopyIn {
    /// Adds to an error where in the data the COPY is.
    pub fn locate(&self, error: SqlError) -> SqlError {
        error.context(self.state.parser.next_line_context())
    }
}

/// `22P04`, the error of malformed data.
fn bad_format(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, message)
}
