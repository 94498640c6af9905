//! What is told of a live query: JSON for notifications, lines as COPY writes them for a stream of rows.

use std::fmt::Write;
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use kalamdb_catalog::{PgType, Result, SqlError};

use super::query::RowEvent;
use crate::sql::Column;
use crate::sql::copy::CopyWriter;
use crate::sql::functions::json::JsonWriter;
use crate::sql::{CopyFormat, copy::parse_copy_options};
use crate::types::json::write_string;
use crate::types::{ColumnReader, FormatSettings, Value};

/// In which form a query tells of its rows.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Form {
    /// LISTEN: each payload is a JSON object.
    #[default]
    Messages,
    /// SUBSCRIBE: lines of COPY's text format, each with a commit, what has happened and the columns of a row. `progress`: one more
    /// line when all of a commit has been told.
    Rows { progress: bool },
}

/// Tells of a query's result in its form.
pub(crate) struct Teller {
    form: Form,
    names: Names,
    types: Vec<PgType>,
    json: JsonWriter,
    /// The same in lines.
    lines: Option<CopyWriter>,
}

/// What a line begins with.
const LINE_COLUMNS: [(&str, PgType); 2] = [("seq", PgType::INT8), ("op", PgType::TEXT)];

/// The columns of a stream of rows: those of the lines.
pub(super) fn line_columns(columns: &[Column]) -> Vec<Column> {
    let own = |(name, ty): (&str, PgType)| Column { name: name.to_owned(), ty, typmod: -1, table: 0, attribute: 0 };
    LINE_COLUMNS.into_iter().map(own).chain(columns.iter().cloned()).collect()
}

/// The format of lines: what COPY does without options.
pub(super) fn line_format() -> Result<CopyFormat> {
    parse_copy_options(&[], &[], false)
}

impl Teller {
    pub(super) fn new(columns: &[Column], form: Form, settings: &Arc<FormatSettings>) -> Result<Teller> {
        let lines = match form {
            Form::Messages => None,
            // Read again with the same settings: the default ones lose nothing.
            Form::Rows { .. } => Some(CopyWriter::new(line_format()?, columns.to_vec(), Arc::default())),
        };
        Ok(Teller {
            form,
            names: Names::new(columns.iter().map(|c| c.name.as_str())),
            types: columns.iter().map(|c| c.ty).collect(),
            json: JsonWriter::new(settings),
            lines,
        })
    }

    /// The columns' names, as a JSON array.
    pub(super) fn names(&self) -> String {
        self.names.list()
    }

    /// So many rows, from the arrays of their columns; of each what it is told as.
    pub(super) fn rows(&self, arrays: &[ArrayRef], count: usize) -> Result<Vec<String>> {
        if let Some(lines) = &self.lines {
            let rows = lines.rows(&arrays[..self.types.len()]);
            let line = |at| {
                let mut out = Vec::new();
                rows.write(at, &mut out);
                String::from_utf8(out).map_err(|e| SqlError::internal(e.to_string()))
            };
            return (0..count).map(line).collect();
        }
        let readers: Vec<_> = arrays.iter().zip(&self.types).map(|(array, ty)| ColumnReader::new(array, *ty)).collect();
        let values = |at| self.types.iter().zip(&readers).map(move |(ty, reader)| (*ty, reader.value(at)));
        Ok((0..count).map(|at| object(&self.names, &self.json, values(at))).collect())
    }

    /// The rows as of this commit are told.
    pub(crate) fn ready(&self, seq: u64) -> Arc<str> {
        match self.form {
            Form::Messages => format!(r#"{{"op":"ready","seq":{seq}}}"#).into(),
            Form::Rows { .. } => self.bare_line(seq, "ready").into(),
        }
    }

    /// A row of the result as of this commit.
    pub(crate) fn snapshot(&self, seq: u64, key: &str, row: &str) -> Arc<str> {
        match self.form {
            Form::Messages => format!(r#"{{"op":"snapshot","seq":{seq},"key":{key},"new":{row}}}"#).into(),
            Form::Rows { .. } => self.line(seq, "snapshot", row).into(),
        }
    }

    /// What has been told is void. `names`: those of the new columns, as a JSON array.
    pub(crate) fn reset(&self, seq: u64, reason: &str, names: Option<&str>) -> Arc<str> {
        if let Form::Rows { .. } = self.form {
            return self.bare_line(seq, "reset").into();
        }
        let mut out = reset(seq, reason);
        if let Some(names) = names {
            let _ = write!(out, r#","columns":{names}"#);
        }
        out.push('}');
        out.into()
    }

    /// What has been told is void, and nothing follows. A stream of rows ends with an error instead.
    pub(crate) fn ended(&self, seq: u64, reason: &str) -> Arc<str> {
        match self.form {
            Form::Messages => (reset(seq, reason) + r#","ended":true}"#).into(),
            Form::Rows { .. } => "".into(),
        }
    }

    /// Changes in commit order, each with its commit; the last one of a commit says so.
    pub(super) fn changes(&self, events: &[RowEvent]) -> impl Iterator<Item = (u64, Arc<str>)> {
        events.iter().enumerate().map(|(i, event)| {
            let last = events.get(i + 1).is_none_or(|next| next.seq != event.seq);
            let told = match self.form {
                Form::Messages => change(event, last),
                Form::Rows { progress } => self.lines(event, last && progress),
            };
            (event.seq, told.into())
        })
    }

    /// That all has been told up to a commit.
    pub(super) fn progress(&self, seq: u64) -> String {
        self.bare_line(seq, "progress")
    }

    /// A line without values.
    fn bare_line(&self, seq: u64, op: &str) -> String {
        format!("{seq}\t{op}{}\n", "\t\\N".repeat(self.types.len()))
    }

    /// A line of a row, which ends it.
    fn line(&self, seq: u64, op: &str, row: &str) -> String {
        let separator = if self.types.is_empty() { "" } else { "\t" };
        format!("{seq}\t{op}{separator}{row}")
    }

    /// An update is two lines: the row as it was, and as it is.
    fn lines(&self, event: &RowEvent, progress: bool) -> String {
        let RowEvent { seq, op, new, old, .. } = event;
        let mut out = match (old, new) {
            (Some(old), Some(new)) => self.line(*seq, "old", old) + &self.line(*seq, op, new),
            (Some(row), None) | (None, Some(row)) => self.line(*seq, op, row),
            (None, None) => String::new(),
        };
        if progress {
            out += &self.progress(*seq);
        }
        out
    }
}

/// Names of columns as the members of an object begin: `"name":`.
#[derive(Clone, Debug)]
pub(super) struct Names(Vec<String>);

impl Names {
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Names {
        Names(
            names
                .map(|name| {
                    let mut out = String::new();
                    write_string(name, &mut out);
                    out.push(':');
                    out
                })
                .collect(),
        )
    }

    /// The columns' names, as a JSON array.
    pub(super) fn list(&self) -> String {
        format!("[{}]", self.0.iter().map(|name| name.trim_end_matches(':')).collect::<Vec<_>>().join(","))
    }
}

/// An object of these values.
pub(super) fn object<'a>(
    names: &Names,
    writer: &JsonWriter,
    values: impl Iterator<Item = (PgType, Value<'a>)>,
) -> String {
    let mut out = String::from("{");
    for (i, (name, (ty, value))) in names.0.iter().zip(values).enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(name);
        writer.write(ty, &value, &mut out);
    }
    out.push('}');
    out
}

/// The beginning of what says that what has been told is void.
fn reset(seq: u64, reason: &str) -> String {
    let mut out = format!(r#"{{"op":"reset","seq":{seq},"reason":"#);
    write_string(reason, &mut out);
    out
}

fn change(event: &RowEvent, last: bool) -> String {
    let RowEvent { seq, op, key, new, old } = event;
    let mut out = format!(r#"{{"op":"{op}","seq":{seq},"key":{key}"#);
    for (name, row) in [("new", new), ("old", old)] {
        if let Some(row) = row {
            let _ = write!(out, r#","{name}":{row}"#);
        }
    }
    out.push_str(if last { r#","last":true}"# } else { "}" });
    out
}
