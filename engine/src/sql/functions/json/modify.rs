//! Changing jsonb: deletion, jsonb_set, jsonb_insert, concatenation, json_strip_nulls.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use kalamdb_catalog::{Result, SqlError, SqlState};

use crate::types::json::{Json, parse, write_string};

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// jsonb || jsonb: objects merge, everything else is joined as arrays.
pub(super) fn concat(a: &str, b: &str) -> Result<String> {
    let (a, b) = (parse(a)?, parse(b)?);
    let items = |value| match value {
        Json::Array(items) => items,
        other => vec![other],
    };
    Ok(match (a, b) {
        (Json::Object(mut a), Json::Object(b)) => {
            a.extend(b);
            Json::Object(a).normalized().to_text()
        }
        (a, b) => Json::Array([items(a), items(b)].concat()).to_text(),
    })
}

/// jsonb - text
pub(super) fn delete_key(s: &str, key: &str) -> Result<String> {
    without(s, |k| k == key)
}

/// jsonb - text[]
pub(super) fn delete_keys(s: &str, keys: ArrayRef) -> Result<String> {
    let keys = keys.as_string::<i32>();
    without(s, |k| keys.iter().any(|key| key == Some(k)))
}

fn without(s: &str, gone: impl Fn(&str) -> bool) -> Result<String> {
    let mut value = parse(s)?;
    match &mut value {
        Json::Object(members) => members.retain(|(key, _)| !gone(key)),
        Json::Array(items) => items.retain(|item| !matches!(item, Json::String(text) if gone(text))),
        _ => return Err(invalid("cannot delete from scalar")),
    }
    Ok(value.to_text())
}

/// jsonb - int
pub(super) fn delete_index(s: &str, index: i32) -> Result<String> {
    let mut value = parse(s)?;
    match &mut value {
        Json::Object(_) => return Err(invalid("cannot delete from object using integer index")),
        Json::Array(items) => {
            if let Some(at) = own_index(index, items.len()).filter(|at| *at < items.len()) {
                items.remove(at);
            }
        }
        _ => return Err(invalid("cannot delete from scalar")),
    }
    Ok(value.to_text())
}

/// The position for an index that counts from the end if negative; none before the start.
fn own_index(index: i32, len: usize) -> Option<usize> {
    if index >= 0 { usize::try_from(index).ok() } else { len.checked_sub(index.unsigned_abs() as usize) }
}

/// What to do at the end of a path.
#[derive(Clone, Copy)]
enum Change<'a> {
    Delete,
    Set { new: &'a Json, create: bool },
    Insert { new: &'a Json, after: bool },
}

/// jsonb #- text[]
pub(super) fn delete_path(s: &str, path: ArrayRef) -> Result<String> {
    let mut value = parse(s)?;
    if !matches!(value, Json::Object(_) | Json::Array(_)) {
        return Err(invalid("cannot delete path in scalar"));
    }
    change(&mut value, path.as_string(), 0, Change::Delete)?;
    Ok(value.to_text())
}

/// jsonb_set(target, path, new [, create])
pub(super) fn set(args: &[ArrayRef]) -> Result<ArrayRef> {
    rows(args, true, |new, create| Change::Set { new, create })
}

/// jsonb_insert(target, path, new [, after])
pub(super) fn insert(args: &[ArrayRef]) -> Result<ArrayRef> {
    rows(args, false, |new, after| Change::Insert { new, after })
}

fn rows(args: &[ArrayRef], default: bool, make: fn(&Json, bool) -> Change<'_>) -> Result<ArrayRef> {
    let (target, new) = (args[0].as_string::<i32>(), args[2].as_string::<i32>());
    let mut out = StringBuilder::new();
    for row in 0..target.len() {
        if args.iter().any(|a| a.is_null(row)) {
            out.append_null();
            continue;
        }
        let flag = args.get(3).map_or(default, |a| a.as_boolean().value(row));
        let mut value = parse(target.value(row))?;
        if !matches!(value, Json::Object(_) | Json::Array(_)) {
            return Err(invalid("cannot set path in scalar"));
        }
        let new = parse(new.value(row))?;
        let path = args[1].as_list::<i32>().value(row);
        change(&mut value, path.as_string(), 0, make(&new, flag))?;
        out.append_value(value.normalized().to_text());
    }
    Ok(Arc::new(out.finish()))
}

fn change(value: &mut Json, path: &StringArray, level: usize, what: Change<'_>) -> Result<()> {
    if level == path.len() {
        return Ok(());
    }
    if path.is_null(level) {
        return Err(SqlError::new(
            SqlState::NULL_VALUE_NOT_ALLOWED,
            format!("path element at position {} is null", level + 1),
        ));
    }
    let step = path.value(level);
    let last = level + 1 == path.len();
    match value {
        Json::Object(members) => {
            let at = members.iter().position(|(key, _)| key == step);
            match (at, last) {
                (Some(at), false) => change(&mut members[at].1, path, level + 1, what),
                (None, false) => Ok(()),
                (at, true) => change_member(members, step, at, what),
            }
        }
        Json::Array(items) => {
            let index: i32 = step.trim_ascii_start().parse().map_err(|_| {
                SqlError::new(
                    SqlState::INVALID_TEXT_REPRESENTATION,
                    format!("path element at position {} is not an integer: \"{step}\"", level + 1),
                )
            })?;
            let at = own_index(index, items.len());
            if last {
                change_item(items, at, what);
                return Ok(());
            }
            match at.and_then(|at| items.get_mut(at)) {
                Some(item) => change(item, path, level + 1, what),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn change_member(members: &mut Vec<(String, Json)>, key: &str, at: Option<usize>, what: Change<'_>) -> Result<()> {
    match (what, at) {
        (Change::Delete, Some(at)) => {
            members.remove(at);
        }
        (Change::Set { new, .. }, Some(at)) => members[at].1 = new.clone(),
        (Change::Insert { .. }, Some(_)) => {
            return Err(
                invalid("cannot replace existing key").hint("Try using the function jsonb_set to replace key value.")
            );
        }
        (Change::Set { new, create: true } | Change::Insert { new, .. }, None) => {
            members.push((key.to_owned(), new.clone()));
        }
        (Change::Delete | Change::Set { create: false, .. }, None) => {}
    }
    Ok(())
}

/// An index before the start adds in front, one beyond the end adds at the end.
fn change_item(items: &mut Vec<Json>, at: Option<usize>, what: Change<'_>) {
    let hit = at.filter(|at| *at < items.len());
    let outside = if at.is_none() { 0 } else { items.len() };
    match (what, hit) {
        (Change::Delete, Some(at)) => {
            items.remove(at);
        }
        (Change::Set { new, .. }, Some(at)) => items[at] = new.clone(),
        (Change::Insert { new, after }, Some(at)) => items.insert(at + usize::from(after), new.clone()),
        (Change::Set { new, create: true } | Change::Insert { new, .. }, None) => items.insert(outside, new.clone()),
        (Change::Delete | Change::Set { create: false, .. }, None) => {}
    }
}

fn strip(value: &mut Json) {
    match value {
        Json::Object(members) => {
            members.retain(|(_, value)| *value != Json::Null);
            members.iter_mut().for_each(|(_, value)| strip(value));
        }
        Json::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// jsonb_strip_nulls
pub(super) fn strip_nulls(s: &str) -> Result<String> {
    let mut value = parse(s)?;
    strip(&mut value);
    Ok(value.to_text())
}

/// json_strip_nulls: without any blanks.
pub(super) fn strip_nulls_json(s: &str) -> Result<String> {
    let mut value = parse(s)?;
    strip(&mut value);
    let mut out = String::new();
    compact(&value, &mut out);
    Ok(out)
}

fn compact(value: &Json, out: &mut String) {
    match value {
        Json::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                compact(item, out);
            }
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (i, (key, value)) in members.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                write_string(key, out);
                out.push(':');
                compact(value, out);
            }
            out.push('}');
        }
        other => other.write(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(target: &str, path: &[&str], new: &str, make: fn(&Json, bool) -> Change<'_>, flag: bool) -> String {
        let mut value = parse(target).unwrap();
        let new = parse(new).unwrap();
        match change(&mut value, &StringArray::from(path.to_vec()), 0, make(&new, flag)) {
            Ok(()) => value.normalized().to_text(),
            Err(e) => e.message().to_owned(),
        }
    }

    #[test]
    fn set_and_insert() {
        let set = |t, p: &[&str], create| changed(t, p, "5", |new, create| Change::Set { new, create }, create);
        assert_eq!(set(r#"{"a":[1]}"#, &["a", "0"], true), r#"{"a": [5]}"#);
        assert_eq!(set(r#"{"a":[1]}"#, &["a", "9"], true), r#"{"a": [1, 5]}"#);
        assert_eq!(set(r#"{"a":[1]}"#, &["b"], true), r#"{"a": [1], "b": 5}"#);
        assert_eq!(set(r#"{"a":[1]}"#, &["b"], false), r#"{"a": [1]}"#);
        assert_eq!(set(r#"{"a":[1]}"#, &["b", "c"], true), r#"{"a": [1]}"#);
        assert_eq!(set("[1]", &["-1"], true), "[5]");
        assert_eq!(set("[1]", &["-3"], true), "[5, 1]");
        assert_eq!(set("[1]", &[], true), "[1]");
        assert_eq!(set("[1]", &["x"], true), "path element at position 1 is not an integer: \"x\"");
        let insert = |t, p: &[&str], after| changed(t, p, "5", |new, after| Change::Insert { new, after }, after);
        assert_eq!(insert("[1,2]", &["0"], false), "[5, 1, 2]");
        assert_eq!(insert("[1,2]", &["0"], true), "[1, 5, 2]");
        assert_eq!(insert("[1,2]", &["-1"], true), "[1, 2, 5]");
        assert_eq!(insert(r#"{"a":1}"#, &["a"], false), "cannot replace existing key");
    }

    #[test]
    fn others() {
        assert_eq!(concat(r#"{"a":1}"#, r#"{"b":2,"a":3}"#).unwrap(), r#"{"a": 3, "b": 2}"#);
        assert_eq!(concat("1", "2").unwrap(), "[1, 2]");
        assert_eq!(concat(r#"{"a":1}"#, "[2]").unwrap(), r#"[{"a": 1}, 2]"#);
        assert_eq!(delete_key(r#"["a","b"]"#, "a").unwrap(), r#"["b"]"#);
        assert_eq!(delete_index("[1,2]", -1).unwrap(), "[1]");
        assert_eq!(delete_index("{}", 1).unwrap_err().message(), "cannot delete from object using integer index");
        let text = r#"{"a":null, "b": [null,{"c":null}]}"#;
        assert_eq!(strip_nulls_json(text).unwrap(), r#"{"b":[null,{}]}"#);
    }
}
