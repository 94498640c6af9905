//! The regexp_* functions on arrays.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Int32Builder, ListBuilder, StringArray, StringBuilder,
};
use datafusion::arrow::datatypes::Int32Type;
use kalamdb_catalog::{Result, SqlError, SqlState};
use regex::{Captures, Regex};

use super::pattern::{Cache, Matches, expand, parse_flags};
use super::translate::Flags;
use crate::sql::functions::adapt::{opt2, opt3};

/// Text argument `n`, if the call has one.
fn text(args: &[ArrayRef], n: usize) -> Option<&StringArray> {
    args.get(n).map(|a| a.as_string::<i32>())
}

fn any_null(args: &[ArrayRef], row: usize) -> bool {
    args.iter().any(|a| a.is_null(row))
}

/// Integer argument `n` of a row, at least `min`.
fn int(args: &[ArrayRef], n: usize, row: usize, default: i32, name: &str, min: i32) -> Result<usize> {
    let value = args.get(n).map_or(default, |a| a.as_primitive::<Int32Type>().value(row));
    if value < min {
        return Err(bad_parameter(name, value));
    }
    Ok(value as usize)
}

fn bad_parameter(name: &str, value: i32) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid value for parameter \"{name}\": {value}"))
}

fn flags_of(args: &[ArrayRef], n: usize, row: usize, no_global: Option<&str>) -> Result<Flags> {
    text(args, n).map_or(Ok(Flags::default()), |a| parse_flags(a.value(row), no_global))
}

/// Byte offset of character `start`, from 1; `None` beyond the end.
fn offset(s: &str, start: usize) -> Option<usize> {
    s.char_indices().map(|(i, _)| i).chain([s.len()]).nth(start - 1)
}

/// The operators.
pub(super) fn matches(args: &[ArrayRef], fold: bool, negate: bool) -> Result<ArrayRef> {
    let flags = Flags { ignore_case: fold, ..Flags::default() };
    let mut cache = Cache::default();
    opt2(args, |s: &str, pattern: &str| Ok(Some(cache.get(pattern, flags)?.is_match(s) != negate)))
}

pub(super) fn regexp_like(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (source, pattern) = (args[0].as_string::<i32>(), args[1].as_string::<i32>());
    let mut cache = Cache::default();
    let mut out = BooleanBuilder::new();
    for row in 0..source.len() {
        if any_null(args, row) {
            out.append_null();
            continue;
        }
        let flags = flags_of(args, 2, row, Some("regexp_like()"))?;
        out.append_value(cache.get(pattern.value(row), flags)?.is_match(source.value(row)));
    }
    Ok(Arc::new(out.finish()))
}

fn first_part(regex: &Regex, s: &str) -> Option<String> {
    let found = regex.captures(s)?;
    let group = if regex.captures_len() > 1 { 1 } else { 0 };
    found.get(group).map(|m| m.as_str().to_owned())
}

/// substring(text from pattern): the first group, or the whole match if there is none.
pub(super) fn substring(args: &[ArrayRef]) -> Result<ArrayRef> {
    let mut cache = Cache::default();
    opt2(args, |s: &str, pattern: &str| Ok(first_part(cache.get(pattern, Flags::default())?, s)))
}

/// substring(text similar pattern escape e)
pub(super) fn substring_similar(args: &[ArrayRef]) -> Result<ArrayRef> {
    let mut cache = Cache::default();
    opt3(args, |s: &str, pattern: &str, escape: &str| {
        let pattern = crate::sql::functions::text::similar_to_escape(pattern, escape)?;
        Ok(first_part(cache.get(&pattern, Flags::default())?, s))
    })
}

fn push_groups(out: &mut StringBuilder, found: &Captures<'_>) {
    if found.len() == 1 {
        out.append_value(found.get_match().as_str());
    }
    for group in found.iter().skip(1) {
        out.append_option(group.map(|m| m.as_str()));
    }
}

pub(super) fn regexp_match(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (source, pattern) = (args[0].as_string::<i32>(), args[1].as_string::<i32>());
    let mut cache = Cache::default();
    let mut out = ListBuilder::new(StringBuilder::new());
    for row in 0..source.len() {
        if any_null(args, row) {
            out.append_null();
            continue;
        }
        let flags = flags_of(args, 2, row, Some("regexp_match()"))?;
        match cache.get(pattern.value(row), flags)?.captures(source.value(row)) {
            Some(found) => {
                push_groups(out.values(), &found);
                out.append(true);
            }
            None => out.append_null(),
        }
    }
    Ok(Arc::new(out.finish()))
}

/// A list of the matches' groups per row.
pub(super) fn regexp_matches(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (source, pattern) = (args[0].as_string::<i32>(), args[1].as_string::<i32>());
    let mut cache = Cache::default();
    let mut out = ListBuilder::new(ListBuilder::new(StringBuilder::new()));
    for row in 0..source.len() {
        if any_null(args, row) {
            out.append_null();
            continue;
        }
        let flags = flags_of(args, 2, row, None)?;
        let limit = if flags.global { usize::MAX } else { 1 };
        let regex = cache.get(pattern.value(row), Flags { global: false, ..flags })?;
        for found in Matches::new(regex, source.value(row), 0).take(limit) {
            push_groups(out.values().values(), &found);
            out.values().append(true);
        }
        out.append(true);
    }
    Ok(Arc::new(out.finish()))
}

/// Replaces the `nth` match (0: all) from byte `from` on.
fn replace(regex: &Regex, s: &str, from: usize, replacement: &str, nth: usize) -> String {
    let mut out = String::with_capacity(s.len());
    let mut copied = 0;
    let skip = nth.saturating_sub(1);
    let limit = if nth == 0 { usize::MAX } else { 1 };
    for found in Matches::new(regex, s, from).skip(skip).take(limit) {
        let span = found.get_match();
        out.push_str(&s[copied..span.start()]);
        expand(replacement, &found, &mut out);
        copied = span.end();
    }
    out.push_str(&s[copied..]);
    out
}

/// regexp_replace(string, pattern, replacement [, flags])
pub(super) fn regexp_replace(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (source, pattern, to) = (args[0].as_string::<i32>(), args[1].as_string::<i32>(), args[2].as_string::<i32>());
    let mut cache = Cache::default();
    let mut out = StringBuilder::new();
    for row in 0..source.len() {
        if any_null(args, row) {
            out.append_null();
            continue;
        }
        let given = text(args, 3).map_or("", |a| a.value(row));
        if let Some(c) = given.chars().next().filter(char::is_ascii_digit) {
            return Err(SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("invalid regular expression option: \"{c}\""),
            )
            .hint(
                "If you meant to use regexp_replace() with a start parameter, cast the fourth argument to integer explicitly.",
            ));
        }
        let flags = parse_flags(given, None)?;
        let nth = usize::from(!flags.global);
        let regex = cache.get(pattern.value(row), Flags { global: false, ..flags })?;
        out.append_value(replace(regex, source.value(row), 0, to.value(row), nth));
    }
    Ok(Arc::new(out.finish()))
}

/// regexp_replace(string, pattern, replacement, start [, n [, flags]])
pub(super) fn regexp_replace_nth(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (source, pattern, to) = (args[0].as_string::<i32>(), args[1].as_string::<i32>(), args[2].as_string::<i32>());
    let mut cache = Cache::default();
    let mut out = StringBuilder::new();
    for row in 0..source.len() {
        if any_null(args, row) {
            out.append_null();
            continue;
        }
        let start = int(args, 3, row, 1, "start", 1)?;
        let flags = flags_of(args, 5, row, None)?;
        // Without n, only `g` makes it all; a given n overrides the flag.
        let nth = if args.len() > 4 { int(args, 4, row, 1, "n", 0)? } else { 1 };
        let regex = cache.get(pattern.value(row), Flags { global: false, ..flags })?;
        let s = source.value(row);
        match offset(s, start) {
            Some(from) => out.append_value(replace(regex, s, from, to.value(row), nth)),
            None => out.append_value(s),
        }
    }
    Ok(Arc::new(out.finish()))
}

/// The parts between matches; empty matches count only inside the string and not right after another match.
pub(super) fn split(args: &[ArrayRef], function: &str) -> Result<ArrayRef> {
    let (source, pattern) = (args[0].as_string::<i32>(), args[1].as_string::<i32>());
    let mut cache = Cache::default();
    let mut out = ListBuilder::new(StringBuilder::new());
    for row in 0..source.len() {
        if any_null(args, row) {
            out.append_null();
            continue;
        }
        let flags = flags_of(args, 2, row, Some(function))?;
        let s = source.value(row);
        let mut last = 0;
        let mut copied = 0;
        for found in Matches::new(cache.get(pattern.value(row), flags)?, s, 0) {
            let span = found.get_match();
            if span.start() < s.len() && span.end() > last {
                out.values().append_value(&s[copied..span.start()]);
                copied = span.end();
            }
            last = span.end();
        }
        out.values().append_value(&s[copied..]);
        out.append(true);
    }
    Ok(Arc::new(out.finish()))
}

pub(super) fn regexp_count(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (source, pattern) = (args[0].as_string::<i32>(), args[1].as_string::<i32>());
    let mut cache = Cache::default();
    let mut out = Int32Builder::new();
    for row in 0..source.len() {
        if any_null(args, row) {
            out.append_null();
            continue;
        }
        let start = int(args, 2, row, 1, "start", 1)?;
        let regex = cache.get(pattern.value(row), flags_of(args, 3, row, Some("regexp_count()"))?)?;
        let s = source.value(row);
        out.append_value(offset(s, start).map_or(0, |from| Matches::new(regex, s, from).count() as i32));
    }
    Ok(Arc::new(out.finish()))
}

/// regexp_instr(string, pattern [, start [, n [, endoption [, flags [, subexpr]]]]])
pub(super) fn regexp_instr(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (source, pattern) = (args[0].as_string::<i32>(), args[1].as_string::<i32>());
    let mut cache = Cache::default();
    let mut out = Int32Builder::new();
    for row in 0..source.len() {
        if any_null(args, row) {
            out.append_null();
            continue;
        }
        let start = int(args, 2, row, 1, "start", 1)?;
        let nth = int(args, 3, row, 1, "n", 1)?;
        let end_option = int(args, 4, row, 0, "endoption", 0)?;
        if end_option > 1 {
            return Err(bad_parameter("endoption", end_option as i32));
        }
        let flags = flags_of(args, 5, row, Some("regexp_instr()"))?;
        let group = int(args, 6, row, 0, "subexpr", 0)?;
        let regex = cache.get(pattern.value(row), flags)?;
        let s = source.value(row);
        let found = offset(s, start).and_then(|from| Matches::new(regex, s, from).nth(nth - 1));
        let span = found.and_then(|f| f.get(group).map(|m| (m.start(), m.end())));
        out.append_value(span.map_or(0, |(from, to)| {
            let at = if end_option == 1 { to } else { from };
            s[..at].chars().count() as i32 + 1
        }));
    }
    Ok(Arc::new(out.finish()))
}

/// regexp_substr(string, pattern [, start [, n [, flags [, subexpr]]]])
pub(super) fn regexp_substr(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (source, pattern) = (args[0].as_string::<i32>(), args[1].as_string::<i32>());
    let mut cache = Cache::default();
    let mut out = StringBuilder::new();
    for row in 0..source.len() {
        if any_null(args, row) {
            out.append_null();
            continue;
        }
        let start = int(args, 2, row, 1, "start", 1)?;
        let nth = int(args, 3, row, 1, "n", 1)?;
        let flags = flags_of(args, 4, row, Some("regexp_substr()"))?;
        let group = int(args, 5, row, 0, "subexpr", 0)?;
        let regex = cache.get(pattern.value(row), flags)?;
        let s = source.value(row);
        let found = offset(s, start).and_then(|from| Matches::new(regex, s, from).nth(nth - 1));
        out.append_option(found.as_ref().and_then(|f| f.get(group)).map(|m| m.as_str()));
    }
    Ok(Arc::new(out.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(v: &str) -> ArrayRef {
        Arc::new(StringArray::from(vec![v]))
    }

    fn show(array: ArrayRef) -> String {
        let item = |a: &StringArray| a.iter().map(|v| v.unwrap_or("NULL").to_owned()).collect::<Vec<_>>().join(",");
        match array.as_list_opt::<i32>() {
            Some(list) if list.is_null(0) => "NULL".to_owned(),
            Some(list) => item(list.value(0).as_string()),
            None => item(array.as_string()),
        }
    }

    #[test]
    fn results_are_postgresqls() {
        let replaced =
            |args: &[&str]| show(regexp_replace(&args.iter().map(|a| column(a)).collect::<Vec<_>>()).unwrap());
        assert_eq!(replaced(&["abc", "b*", "x", "g"]), "xaxxcx");
        assert_eq!(replaced(&["abc", "(b)", "<\\1\\&\\\\\\q>"]), "a<bb\\\\q>c");
        assert_eq!(replaced(&["foobarbaz", "b..", "X", "g"]), "fooXX");
        let pair = |f: fn(&[ArrayRef]) -> Result<ArrayRef>, a: &str, b: &str| show(f(&[column(a), column(b)]).unwrap());
        assert_eq!(pair(substring, "XY1234Z", "Y*([0-9]{1,3})"), "123");
        assert_eq!(pair(substring, "XY1234Z", "Y*?([0-9]{1,3})"), "1");
        assert_eq!(pair(regexp_match, "foobarbequebaz", "(bar)(beque)"), "bar,beque");
        assert_eq!(pair(regexp_match, "foobar", "foo|foobar"), "foobar");
        assert_eq!(pair(regexp_match, "abc", "x"), "NULL");
        assert_eq!(pair(|a| split(a, ""), "abc", "b*"), "a,c");
        assert_eq!(pair(|a| split(a, ""), "hello", ""), "h,e,l,l,o");
        assert_eq!(pair(|a| split(a, ""), "a, b,c", ",\\s*"), "a,b,c");
    }
}
