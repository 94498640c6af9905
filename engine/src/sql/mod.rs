//! SQL: parsing, binding, planning and execution.

mod append;
mod apply;
pub(crate) mod bind;
mod coerce;
pub(crate) mod compare;
pub mod copy;
pub(crate) mod deparse;
pub(crate) mod determined;
mod dialect;
mod execute;
mod fast;
pub mod functions;
pub(crate) mod handlers;
pub(crate) mod index_entries;
mod internal;
mod lock_rows;
mod lookup_join;
mod ordered;
pub(crate) mod parse;
pub mod plan;
mod prepared;
mod response;
mod runner;
mod series;
mod shared;
mod sorted_scan;
pub(crate) mod statement;
pub(crate) mod udf;
mod window;

pub use copy::{CopyInState, CopyParser, CopyRows, CopyWriter, parse_copy_options};
pub(crate) use execute::execute;
pub use parse::{ParsedStatement, parse};
pub use prepared::PreparedStatement;
pub use response::{Column, CopyFormat, CopyHeader, CopyIn, CopyKind, Response, RowStream};
