//! Reading members, and predicates.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListBuilder, StringBuilder};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use crate::sql::functions::Call;
use crate::sql::functions::adapt::opt2;
use crate::types::Numeric;
use crate::types::json::raw::{self, Kind, as_text, kind};
use crate::types::json::{Json, parse};

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// json -> text
pub(super) fn field(args: &[ArrayRef]) -> Result<ArrayRef> {
    opt2(args, |s: &str, key: &str| Ok(raw::field(s, key).map(str::to_owned)))
}

/// json ->> text
pub(super) fn field_text(args: &[ArrayRef]) -> Result<ArrayRef> {
    opt2(args, |s: &str, key: &str| Ok(raw::field(s, key).and_then(as_text).map(String::from)))
}

/// A jsonb scalar counts as an array of itself here; a json one does not.
fn nth(ty: PgType, s: &str, index: i32) -> Option<&str> {
    match kind(s) {
        Kind::Array => raw::element(s, i64::from(index)),
        Kind::Object => None,
        _ => (ty == PgType::JSONB && matches!(index, 0 | -1)).then_some(s),
    }
}

/// json -> int
pub(super) fn element(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let ty = call.arg_types[0];
    opt2(args, |s: &str, index: i32| Ok(nth(ty, s, index).map(str::to_owned)))
}

/// json ->> int
pub(super) fn element_text(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let ty = call.arg_types[0];
    opt2(args, |s: &str, index: i32| Ok(nth(ty, s, index).and_then(as_text).map(String::from)))
}

/// The value at a path; none where a step has nothing.
fn follow<'a, 'p>(s: &'a str, path: impl Iterator<Item = Option<&'p str>>) -> Option<&'a str> {
    let mut at = s;
    for step in path {
        let step = step?;
        at = match kind(at) {
            Kind::Object => raw::field(at, step)?,
            Kind::Array => raw::element(at, i64::from(step.trim_ascii_start().parse::<i32>().ok()?))?,
            _ => return None,
        };
    }
    Some(at)
}

fn shown(found: Option<&str>, text: bool) -> Option<String> {
    if text { found.and_then(as_text).map(String::from) } else { found.map(str::to_owned) }
}

/// json #> text[] and json #>> text[]
pub(super) fn path(args: &[ArrayRef], text: bool) -> Result<ArrayRef> {
    opt2(args, |s: &str, steps: ArrayRef| Ok(shown(follow(s, steps.as_string::<i32>().iter()), text)))
}

/// json_extract_path(json, step, ...)
pub(super) fn extract(call: &Call<'_>, args: &[ArrayRef], text: bool) -> Result<ArrayRef> {
    let mut out = StringBuilder::new();
    for row in 0..call.rows {
        if args.iter().any(|a| a.is_null(row)) {
            out.append_null();
            continue;
        }
        let steps = args[1..].iter().map(|a| Some(a.as_string::<i32>().value(row)));
        out.append_option(shown(follow(args[0].as_string::<i32>().value(row), steps), text));
    }
    Ok(Arc::new(out.finish()))
}

pub(super) fn array_length(s: &str) -> Result<i32> {
    match kind(s) {
        Kind::Array => Ok(raw::elements(s).count() as i32),
        Kind::Object => Err(invalid("cannot get array length of a non-array")),
        _ => Err(invalid("cannot get array length of a scalar")),
    }
}

pub(super) fn type_of(s: &str) -> Result<String> {
    Ok(kind(s).name().to_owned())
}

pub(super) fn keys(args: &[ArrayRef], function: &str) -> Result<ArrayRef> {
    let mut out = ListBuilder::new(StringBuilder::new());
    for value in args[0].as_string::<i32>() {
        let Some(s) = value else {
            out.append_null();
            continue;
        };
        match kind(s) {
            Kind::Object => raw::members(s).for_each(|(key, _)| out.values().append_value(raw::unquote(key))),
            Kind::Array => return Err(invalid(format!("cannot call {function} on an array"))),
            _ => return Err(invalid(format!("cannot call {function} on a scalar"))),
        }
        out.append(true);
    }
    Ok(Arc::new(out.finish()))
}

pub(super) fn elements(call: &Call<'_>, args: &[ArrayRef], text: bool) -> Result<ArrayRef> {
    let mut out = ListBuilder::new(StringBuilder::new());
    for value in args[0].as_string::<i32>() {
        let Some(s) = value else {
            out.append_null();
            continue;
        };
        if kind(s) != Kind::Array {
            return Err(not_an_array(call.arg_types[0], kind(s), text));
        }
        for item in raw::elements(s) {
            if text {
                out.values().append_option(as_text(item));
            } else {
                out.values().append_value(item);
            }
        }
        out.append(true);
    }
    Ok(Arc::new(out.finish()))
}

fn not_an_array(ty: PgType, kind: Kind, text: bool) -> SqlError {
    let object = kind == Kind::Object;
    if ty == PgType::JSONB {
        return invalid(if object {
            "cannot extract elements from an object"
        } else {
            "cannot extract elements from a scalar"
        });
    }
    let function = if text { "json_array_elements_text" } else { "json_array_elements" };
    invalid(format!("cannot call {function} on a {}", if object { "non-array" } else { "scalar" }))
}

/// Equality of scalars: numbers by value.
fn equal(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => {
            a == b || matches!((Numeric::parse(a), Numeric::parse(b)), (Ok(a), Ok(b)) if a == b)
        }
        _ => a == b,
    }
}

/// jsonb @> jsonb
pub(super) fn contains(a: &str, b: &str) -> Result<bool> {
    let (a, b) = (parse(a)?, parse(b)?);
    Ok(match (&a, &b) {
        (Json::Object(_), Json::Object(_)) => deep_contains(&a, &b),
        (Json::Object(_), _) | (_, Json::Object(_)) => false,
        (Json::Array(_), Json::Array(_)) => deep_contains(&a, &b),
        // The exception: an array contains a scalar that is one of its elements.
        (Json::Array(items), scalar) => items.iter().any(|item| equal(item, scalar)),
        (_, Json::Array(_)) => false,
        (a, b) => equal(a, b),
    })
}

fn deep_contains(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Object(_), Json::Object(members)) => {
            members.iter().all(|(key, value)| a.get(key).is_some_and(|own| deep_contains(own, value)))
        }
        (Json::Array(items), Json::Array(wanted)) => {
            wanted.iter().all(|value| items.iter().any(|item| deep_contains(item, value)))
        }
        (Json::Object(_) | Json::Array(_), _) | (_, Json::Object(_) | Json::Array(_)) => false,
        (a, b) => equal(a, b),
    }
}

/// jsonb ? text: a key, an element, or the string itself.
pub(super) fn exists(s: &str, key: &str) -> Result<bool> {
    Ok(match kind(s) {
        Kind::Object => raw::field(s, key).is_some(),
        Kind::Array => raw::elements(s).any(|item| kind(item) == Kind::String && raw::unquote(item) == key),
        Kind::String => raw::unquote(s) == key,
        _ => false,
    })
}

pub(super) fn exists_any(s: &str, keys: ArrayRef) -> Result<bool> {
    for key in keys.as_string::<i32>().iter().flatten() {
        if exists(s, key)? {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn exists_all(s: &str, keys: ArrayRef) -> Result<bool> {
    for key in keys.as_string::<i32>().iter().flatten() {
        if !exists(s, key)? {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containment() {
        let cases = [
            ("[1, 2]", "1", true),
            ("1", "[1]", false),
            ("[[1]]", "[1]", false),
            (r#"{"a": {"b": 1, "c": 2}}"#, r#"{"a": {"c": 2.0}}"#, true),
            ("[1, 1]", "[1, 1, 1]", true),
            (r#"["a"]"#, r#""a""#, true),
            (r#"{"a": 1}"#, "[]", false),
        ];
        for (a, b, expect) in cases {
            assert_eq!(contains(a, b).unwrap(), expect, "{a} @> {b}");
        }
        assert!(exists(r#"["a"]"#, "a").unwrap() && exists(r#""a""#, "a").unwrap() && !exists("1", "1").unwrap());
    }

    #[test]
    fn paths() {
        let steps = |s: &'static str, p: &[&'static str]| follow(s, p.iter().copied().map(Some));
        assert_eq!(steps(r#"{"a":[1,2]}"#, &["a", "-1"]), Some("2"));
        assert_eq!(steps(r#"{"a":1}"#, &[]), Some(r#"{"a":1}"#));
        assert_eq!(steps("[1]", &["x"]), None);
        assert_eq!(follow("[1]", [None].into_iter()), None);
        assert_eq!(nth(PgType::JSONB, "\"a\"", 0), Some("\"a\""));
        assert_eq!(nth(PgType::JSON, "\"a\"", 0), None);
        assert_eq!(array_length("{}").unwrap_err().message(), "cannot get array length of a non-array");
    }
}
