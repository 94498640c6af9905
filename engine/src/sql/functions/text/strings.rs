//! Length, case, parts and replacement. Positions count characters from 1.

use std::borrow::Cow;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use datafusion::arrow::datatypes::Int32Type;
use kalamdb_catalog::{Result, SqlError, SqlState};

use std::sync::Arc;

pub(super) fn length(s: &str) -> Result<i32> {
    Ok(s.chars().count() as i32)
}

/// Trailing blanks of char(n) do not count.
pub(super) fn bpchar_length(s: &str) -> Result<i32> {
    length(s.trim_end_matches(' '))
}

pub(super) fn byte_length(s: &[u8]) -> Result<i32> {
    Ok(s.len() as i32)
}

pub(super) fn bit_length(s: &[u8]) -> Result<i32> {
    Ok(s.len() as i32 * 8)
}

/// Case mappings of one character to one, as the C library's: "ß" stays.
fn to_upper(c: char) -> char {
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(single), None) => single,
        _ => c,
    }
}

fn to_lower(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(single), None) => single,
        _ => c,
    }
}

pub(super) fn lower(s: &str) -> String {
    if s.is_ascii() { s.to_ascii_lowercase() } else { s.chars().map(to_lower).collect() }
}

pub(super) fn upper(s: &str) -> String {
    if s.is_ascii() { s.to_ascii_uppercase() } else { s.chars().map(to_upper).collect() }
}

pub(super) fn initcap(s: &str) -> String {
    let mut inside = false;
    s.chars()
        .map(|c| {
            let mapped = if inside { to_lower(c) } else { to_upper(c) };
            inside = c.is_alphanumeric();
            mapped
        })
        .collect()
}

fn negative_length() -> SqlError {
    SqlError::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed")
}

/// First and one-past-last position, from 0, of "`len` from `start`"; what lies before the string counts as length.
fn window(start: i32, len: Option<i32>) -> Result<(usize, usize)> {
    let from = start.max(1);
    let end = match len {
        None => usize::MAX,
        Some(len) if len < 0 => return Err(negative_length()),
        Some(len) => start.checked_add(len).map_or(usize::MAX, |end| (end.max(1) - 1) as usize),
    };
    Ok(((from - 1) as usize, end))
}

fn char_offset(s: &str, n: usize) -> usize {
    if s.is_ascii() {
        return n.min(s.len());
    }
    s.char_indices().nth(n).map_or(s.len(), |(i, _)| i)
}

fn slice(s: &str, (from, to): (usize, usize)) -> &str {
    if from >= to {
        return "";
    }
    let start = char_offset(s, from);
    let end = if to == usize::MAX { s.len() } else { start + char_offset(&s[start..], to - from) };
    &s[start..end]
}

pub(super) fn substr_from(s: &str, start: i32) -> Result<String> {
    Ok(slice(s, window(start, None)?).to_owned())
}

pub(super) fn substr(s: &str, start: i32, len: i32) -> Result<String> {
    Ok(slice(s, window(start, Some(len))?).to_owned())
}

fn byte_slice(s: &[u8], (from, to): (usize, usize)) -> Vec<u8> {
    let to = to.min(s.len());
    s.get(from..to.max(from)).unwrap_or(&[]).to_vec()
}

pub(super) fn bytes_from(s: &[u8], start: i32) -> Result<Vec<u8>> {
    Ok(byte_slice(s, window(start, None)?))
}

pub(super) fn bytes(s: &[u8], start: i32, len: i32) -> Result<Vec<u8>> {
    Ok(byte_slice(s, window(start, Some(len))?))
}

/// overlay(string, new, start [, count])
pub(super) fn overlay(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (text, new) = (args[0].as_string::<i32>(), args[1].as_string::<i32>());
    let start = args[2].as_primitive::<Int32Type>();
    let count = args.get(3).map(|a| a.as_primitive::<Int32Type>());
    let mut out = StringBuilder::new();
    for i in 0..text.len() {
        if args.iter().any(|a| a.is_null(i)) {
            out.append_null();
            continue;
        }
        let count = match count {
            Some(count) => count.value(i),
            None => length(new.value(i))?,
        };
        out.append_value(overlay_one(text.value(i), new.value(i), start.value(i), count)?);
    }
    Ok(Arc::new(out.finish()))
}

fn overlay_one(text: &str, new: &str, start: i32, count: i32) -> Result<String> {
    if start <= 0 {
        return Err(negative_length());
    }
    let after = start
        .checked_add(count)
        .ok_or_else(|| SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "integer out of range"))?;
    Ok([slice(text, window(1, Some(start - 1))?), new, slice(text, window(after, None)?)].concat())
}

pub(super) fn left(s: &str, n: i32) -> Result<String> {
    let end = match n {
        0.. => char_offset(s, n as usize),
        _ => char_offset(s, s.chars().count().saturating_sub(n.unsigned_abs() as usize)),
    };
    Ok(s[..end].to_owned())
}

pub(super) fn right(s: &str, n: i32) -> Result<String> {
    let start = match n {
        0.. => char_offset(s, s.chars().count().saturating_sub(n as usize)),
        _ => char_offset(s, n.unsigned_abs() as usize),
    };
    Ok(s[start..].to_owned())
}

pub(super) fn position(s: &str, part: &str) -> Result<i32> {
    Ok(s.find(part).map_or(0, |at| s[..at].chars().count() as i32 + 1))
}

pub(super) fn byte_position(s: &[u8], part: &[u8]) -> Result<i32> {
    if part.is_empty() {
        return Ok(1);
    }
    Ok(s.windows(part.len()).position(|w| w == part).map_or(0, |at| at as i32 + 1))
}

pub(super) fn replace(s: &str, from: &str, to: &str) -> Result<String> {
    Ok(if from.is_empty() { s.to_owned() } else { s.replace(from, to) })
}

pub(super) fn translate(s: &str, from: &str, to: &str) -> Result<String> {
    let to: Vec<char> = to.chars().collect();
    Ok(s.chars()
        .filter_map(|c| match from.chars().position(|f| f == c) {
            Some(at) => to.get(at).copied(),
            None => Some(c),
        })
        .collect())
}

pub(super) fn chr(code: i32) -> Result<String> {
    let limit = |message: Cow<'static, str>| Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
    match u32::try_from(code) {
        Err(_) => limit("character number must be positive".into()),
        Ok(0) => limit("null character not permitted".into()),
        Ok(code) => match char::from_u32(code) {
            Some(c) => Ok(c.to_string()),
            None if code > 0x10FFFF => limit(format!("requested character too large for encoding: {code}").into()),
            None => limit(format!("requested character not valid for encoding: {code}").into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        assert_eq!(substr("äbcdef", -1, 4).unwrap(), "äb");
        assert_eq!(substr("äbcdef", 2, i32::MAX).unwrap(), "bcdef");
        assert_eq!(substr("abc", -5, 3).unwrap(), "");
        assert_eq!(substr("abc", 1, -1).unwrap_err().code().0, "22011");
        assert_eq!(left("äbc", -1).unwrap(), "äb");
        assert_eq!(right("äbc", -1).unwrap(), "bc");
        assert_eq!(right("äbc", 5).unwrap(), "äbc");
        assert_eq!(overlay_one("Txxxxas", "hom", 2, 4).unwrap(), "Thomas");
        assert_eq!(overlay_one("abc", "X", 2, 0).unwrap(), "aXbc");
        assert_eq!(position("äbc", "c").unwrap(), 3);
        assert_eq!(position("abc", "").unwrap(), 1);
    }

    #[test]
    fn case_and_characters() {
        assert_eq!(upper("straße é"), "STRAßE É");
        assert_eq!(initcap("hi THOMAS o'neil 2nd"), "Hi Thomas O'Neil 2nd");
        assert_eq!(translate("12345", "143", "ax").unwrap(), "a2x5");
        assert_eq!(chr(8364).unwrap(), "€");
        assert_eq!(chr(0).unwrap_err().message(), "null character not permitted");
    }
}
