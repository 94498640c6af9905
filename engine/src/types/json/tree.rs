//! JSON as a tree: what functions that build or change values work on.

use std::fmt::Write as _;

use crate::types::Numeric;
use crate::types::numeric::sort_key;

/// A JSON value. Numbers keep their text.
#[derive(Clone, PartialEq, Debug)]
pub enum Json {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Appends the text with PostgreSQL's spacing: `{"a": 1, "b": [1, 2]}`.
    pub fn write(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(true) => out.push_str("true"),
            Json::Bool(false) => out.push_str("false"),
            Json::Number(n) => out.push_str(n),
            Json::String(s) => write_string(s, out),
            Json::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    out.push_str(if i > 0 { ", " } else { "" });
                    item.write(out);
                }
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (i, (key, value)) in members.iter().enumerate() {
                    out.push_str(if i > 0 { ", " } else { "" });
                    write_string(key, out);
                    out.push_str(": ");
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    /// The text of [`Json::write`].
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    /// Sorts keys and drops duplicates, as jsonb does.
    #[must_use]
    pub fn normalized(mut self) -> Json {
        normalize(&mut self);
        self
    }

    /// Appends the text of `jsonb_pretty`.
    pub fn write_pretty(&self, indent: usize, out: &mut String) {
        let line = |out: &mut String, indent: usize| {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * 4));
        };
        match self {
            Json::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    line(out, indent + 1);
                    item.write_pretty(indent + 1, out);
                }
                line(out, indent);
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (i, (key, value)) in members.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    line(out, indent + 1);
                    write_string(key, out);
                    out.push_str(": ");
                    value.write_pretty(indent + 1, out);
                }
                line(out, indent);
                out.push('}');
            }
            other => other.write(out),
        }
    }

    /// What `json_typeof` says.
    pub fn type_name(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "boolean",
            Json::Number(_) => "number",
            Json::String(_) => "string",
            Json::Array(_) => "array",
            Json::Object(_) => "object",
        }
    }

    /// The member with this key; of duplicates the last.
    pub fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }
}

/// Appends a JSON string, escaped as PostgreSQL's escape_json does.
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

pub(super) fn normalize(value: &mut Json) {
    match value {
        Json::Array(items) => items.iter_mut().for_each(normalize),
        Json::Object(members) => {
            members.iter_mut().for_each(|(_, v)| normalize(v));
            // Reversed first: the stable sort then puts the last of equal keys in front, and dedup keeps that one.
            members.reverse();
            members.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
            members.dedup_by(|(a, _), (b, _)| a == b);
        }
        _ => {}
    }
}

/// Bytes that compare as jsonb values do in PostgreSQL's btree order: object > array > boolean > number > string >
/// null, containers first by size, and an empty array at the top before everything.
pub fn jsonb_sort_key(jsonb: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(jsonb.len() + 8);
    match super::parse(jsonb) {
        Ok(Json::Array(items)) if items.is_empty() => out.push(1),
        Ok(value) => write_key(&value, &mut out),
        // Not reached for a jsonb value; the text itself still gives equality.
        Err(_) => out.extend_from_slice(jsonb.as_bytes()),
    }
    out
}

fn write_key(value: &Json, out: &mut Vec<u8>) {
    match value {
        Json::Null => out.push(2),
        Json::String(s) => {
            out.push(3);
            write_key_text(s, out);
        }
        Json::Number(n) => {
            out.push(4);
            let encoded = Numeric::parse(n).map(|n| n.encode()).unwrap_or_default();
            // Without the display scale: 1.0 and 1 are equal.
            for &b in sort_key(&encoded) {
                out.push(b);
                if b == 0 {
                    out.push(0xFF);
                }
            }
            out.extend_from_slice(&[0, 0]);
        }
        Json::Bool(b) => out.push(5 + u8::from(*b)),
        Json::Array(items) => {
            out.push(7);
            out.extend_from_slice(&(items.len() as u32).to_be_bytes());
            items.iter().for_each(|item| write_key(item, out));
        }
        Json::Object(members) => {
            out.push(8);
            out.extend_from_slice(&(members.len() as u32).to_be_bytes());
            for (key, value) in members {
                write_key_text(key, out);
                write_key(value, out);
            }
        }
    }
}

/// jsonb strings hold no zero byte, so one ends them.
fn write_key_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sort_keys_follow_postgresqls_order() {
        let ascending = [
            "[]",
            "null",
            r#""a""#,
            r#""b""#,
            "-1",
            "1",
            "2.5",
            "10",
            "false",
            "true",
            "[2]",
            "[[]]",
            "[1, 2]",
            r#"{}"#,
            r#"{"a": 1}"#,
            r#"{"a": 2}"#,
            r#"{"b": 0}"#,
            r#"{"a": 1, "b": 1}"#,
        ];
        for pair in ascending.windows(2) {
            assert!(jsonb_sort_key(pair[0]) < jsonb_sort_key(pair[1]), "{} < {}", pair[0], pair[1]);
        }
        assert_eq!(jsonb_sort_key("[1.00]"), jsonb_sort_key("[1]"));
    }
}
