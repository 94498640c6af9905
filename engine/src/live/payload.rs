//! What is told of a live query, as JSON.

use std::fmt::Write;
use std::sync::Arc;

use kalamdb_catalog::PgType;

use super::query::RowEvent;
use crate::sql::functions::json::JsonWriter;
use crate::types::Value;
use crate::types::json::write_string;

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

/// The rows as of this commit are told.
pub(crate) fn ready(seq: u64) -> Arc<str> {
    format!(r#"{{"op":"ready","seq":{seq}}}"#).into()
}

/// A row of the result as of this commit.
pub(crate) fn snapshot(seq: u64, key: &str, row: &str) -> Arc<str> {
    format!(r#"{{"op":"snapshot","seq":{seq},"key":{key},"new":{row}}}"#).into()
}

/// What has been told is void. `columns`: the names of the new ones, as a JSON array.
pub(crate) fn reset(seq: u64, reason: &str, columns: Option<&str>) -> Arc<str> {
    let mut out = format!(r#"{{"op":"reset","seq":{seq},"reason":"#);
    write_string(reason, &mut out);
    if let Some(columns) = columns {
        let _ = write!(out, r#","columns":{columns}"#);
    }
    out.push('}');
    out.into()
}

/// What has been told is void, and nothing follows.
pub(crate) fn ended(seq: u64, reason: &str) -> Arc<str> {
    let mut out = format!(r#"{{"op":"reset","seq":{seq},"reason":"#);
    write_string(reason, &mut out);
    out.push_str(r#","ended":true}"#);
    out.into()
}

/// Changes in commit order, each with its commit; the last one of a commit says so.
pub(super) fn changes(events: &[RowEvent]) -> impl Iterator<Item = (u64, Arc<str>)> {
    events.iter().enumerate().map(|(i, event)| {
        let last = events.get(i + 1).is_none_or(|next| next.seq != event.seq);
        (event.seq, change(event, last))
    })
}

fn change(event: &RowEvent, last: bool) -> Arc<str> {
    let RowEvent { seq, op, key, new, old } = event;
    let mut out = format!(r#"{{"op":"{op}","seq":{seq},"key":{key}"#);
    for (name, row) in [("new", new), ("old", old)] {
        if let Some(row) = row {
            let _ = write!(out, r#","{name}":{row}"#);
        }
    }
    out.push_str(if last { r#","last":true}"# } else { "}" });
    out.into()
}
