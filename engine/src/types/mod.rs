//! Values of PostgreSQL's types: their text and binary forms, and the Arrow arrays that carry them.
//!
//! One file per family; [`parse_text`], [`write_text`], [`parse_binary`] and [`write_binary`] dispatch on the
//! `PgType`. Everything that shows or reads a value (casts, COPY, parameters, results, defaults) comes through here.

mod array;
pub(crate) mod bytes;
pub mod datetime;
pub(crate) mod float;
pub mod interval;
pub(crate) mod io;
pub mod json;
pub mod numeric;
pub(crate) mod record;
mod settings;
mod value;

pub use interval::Interval;
pub use io::{parse_binary, parse_binary_parameter, parse_text, write_binary, write_text};
pub use numeric::Numeric;
pub use settings::{ByteaOutput, DateOrder, DateStyle, FormatSettings, IntervalStyle};
pub use value::{ArrayBuilder, ColumnReader, Value};
