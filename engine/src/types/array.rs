//! Text and binary forms of arrays, int2vector and oidvector (manual, section 8.15).
//!
//! Arrays have one dimension with lower bound 1: the carrier is a list. More dimensions and other bounds are refused.

use datafusion::arrow::array::{Array, ArrayRef};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::FormatSettings;
use super::io::{self, Reader};
use super::value::{ArrayBuilder, ColumnReader};

/// Reads `{1,NULL,"a b"}` as the elements of an array of `elem`.
pub(super) fn parse_text(elem: PgType, typmod: i32, text: &str, fs: &FormatSettings) -> Result<ArrayRef> {
    let mut builder = ArrayBuilder::new(elem, 8);
    for item in split(text)? {
        match item {
            None => builder.append_null(),
            Some(item) => builder.append(&io::parse_text(elem, typmod, &item, fs)?)?,
        }
    }
    Ok(builder.finish())
}

/// Reads the blank-separated form of int2vector and oidvector.
pub(super) fn parse_vector(ty: PgType, text: &str, fs: &FormatSettings) -> Result<ArrayRef> {
    let elem = if ty == PgType::OIDVECTOR { PgType::OID } else { PgType::INT2 };
    let mut builder = ArrayBuilder::new(elem, 8);
    for item in text.split_ascii_whitespace() {
        builder.append(&io::parse_text(elem, -1, item, fs)?)?;
    }
    Ok(builder.finish())
}

fn malformed(text: &str, detail: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("malformed array literal: \"{text}\"")).detail(detail)
}

/// Where the scan of an array literal is, as in PostgreSQL's ArrayCount.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Opened,
    Bare,
    Quoted,
    QuotedDone,
    Delimited,
}

/// The elements of an array literal, unquoted; `None` is NULL.
fn split(text: &str) -> Result<Vec<Option<String>>> {
    let blank = |c: char| c.is_ascii_whitespace() || c == '\x0b';
    let body = text.trim_start_matches(blank);
    if body.starts_with('[') {
        return Err(SqlError::unsupported("an array literal with explicit bounds"));
    }
    let Some(body) = body.strip_prefix('{') else {
        return Err(malformed(text, "Array value must start with \"{\" or dimension information."));
    };
    let mut items = Vec::new();
    let mut item = String::new();
    // Length of `item` that trailing blanks must not be cut from: quoted and escaped characters stay.
    let mut keep = 0;
    let mut plain = true;
    let mut state = State::Opened;
    let mut chars = body.char_indices();
    let unexpected = |c: char| malformed(text, format!("Unexpected \"{c}\" character."));
    let misplaced = || malformed(text, "Unexpected array element.");
    loop {
        let Some((at, c)) = chars.next() else { return Err(malformed(text, "Unexpected end of input.")) };
        match c {
            '\\' => {
                if state == State::QuotedDone {
                    return Err(unexpected('\\'));
                }
                if state != State::Quoted {
                    state = State::Bare;
                }
                let Some((_, escaped)) = chars.next() else { return Err(malformed(text, "Unexpected end of input.")) };
                item.push(escaped);
                keep = item.len();
                plain = false;
            }
            '"' if state == State::Quoted => state = State::QuotedDone,
            '"' if matches!(state, State::Bare | State::QuotedDone) => return Err(misplaced()),
            '"' => {
                state = State::Quoted;
                plain = false;
            }
            c if state == State::Quoted => {
                item.push(c);
                keep = item.len();
            }
            '{' if matches!(state, State::Opened) => {
                return Err(SqlError::unsupported("an array of more than one dimension"));
            }
            '{' => return Err(unexpected('{')),
            '}' | ',' => {
                if state == State::Delimited || (state == State::Opened && c == ',') {
                    return Err(unexpected(c));
                }
                if state != State::Opened {
                    items.push(finish_item(&mut item, keep, plain));
                    (keep, plain) = (0, true);
                }
                if c == '}' {
                    let tail = &body[at + 1..];
                    if !tail.trim_start_matches(blank).is_empty() {
                        return Err(malformed(text, "Junk after closing right brace."));
                    }
                    return Ok(items);
                }
                state = State::Delimited;
            }
            c if blank(c) => {
                if state == State::Bare {
                    item.push(c);
                }
            }
            _ if state == State::QuotedDone => return Err(misplaced()),
            c => {
                state = State::Bare;
                item.push(c);
                keep = item.len();
            }
        }
    }
}

fn finish_item(item: &mut String, keep: usize, plain: bool) -> Option<String> {
    let mut done = std::mem::take(item);
    done.truncate(keep);
    (!(plain && done.eq_ignore_ascii_case("null"))).then_some(done)
}

/// Appends the text form of the elements of a value of type `ty`.
pub(super) fn write_text(ty: PgType, items: &ArrayRef, fs: &FormatSettings, out: &mut Vec<u8>) {
    let elem = ty.list_element().unwrap_or(PgType::TEXT);
    let reader = ColumnReader::new(items, elem);
    if matches!(ty, PgType::INT2VECTOR | PgType::OIDVECTOR) {
        for i in 0..items.len() {
            if i > 0 {
                out.push(b' ');
            }
            io::write_text(elem, &reader.value(i), fs, out);
        }
        return;
    }
    out.push(b'{');
    let mut one = Vec::new();
    for i in 0..items.len() {
        if i > 0 {
            out.push(b',');
        }
        if io::is_null(items, i) {
            out.extend_from_slice(b"NULL");
            continue;
        }
        one.clear();
        io::write_text(elem, &reader.value(i), fs, &mut one);
        write_item(&one, out);
    }
    out.push(b'}');
}

/// Appends an element, quoted if it would read back differently.
fn write_item(item: &[u8], out: &mut Vec<u8>) {
    let special = |b: &u8| matches!(b, b'"' | b'\\' | b'{' | b'}' | b',' | b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
    if !item.is_empty() && !item.eq_ignore_ascii_case(b"null") && !item.iter().any(special) {
        out.extend_from_slice(item);
        return;
    }
    out.push(b'"');
    for &b in item {
        if matches!(b, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(b);
    }
    out.push(b'"');
}

/// Reads the binary form: dimensions, "has NULLs", element OID, then length and bounds and the elements.
pub(super) fn parse_binary(ty: PgType, typmod: i32, r: &mut Reader<'_>) -> Result<ArrayRef> {
    let elem = ty.list_element().unwrap_or(PgType::TEXT);
    let dimensions = r.i32()?;
    let bad = |what: String| SqlError::new(SqlState::INVALID_BINARY_REPRESENTATION, what);
    if dimensions < 0 {
        return Err(bad(format!("invalid number of dimensions: {dimensions}")));
    }
    if dimensions > 1 {
        return Err(SqlError::unsupported("an array of more than one dimension"));
    }
    let flags = r.i32()?;
    if !(0..=1).contains(&flags) {
        return Err(bad(format!("invalid array flags: {flags}")));
    }
    let oid = r.i32()? as u32;
    if oid != elem.oid() {
        return Err(SqlError::new(
            SqlState::DATATYPE_MISMATCH,
            format!(
                "binary data has array element type {oid} ({}) instead of expected {} ({})",
                PgType::from_oid(oid).map_or("???", PgType::sql_name),
                elem.oid(),
                elem.sql_name()
            ),
        ));
    }
    if dimensions == 0 {
        return Ok(ArrayBuilder::new(elem, 0).finish());
    }
    let (len, lower) = (r.i32()?, r.i32()?);
    let vector = !ty.is_array();
    if len < 0 || (lower != 1 && !vector) {
        return Err(SqlError::unsupported("an array with explicit bounds"));
    }
    let mut builder = ArrayBuilder::new(elem, (len as usize).min(r.0.len() / 4));
    for i in 0..len {
        match r.i32()? {
            -1 => builder.append_null(),
            size => {
                let size = usize::try_from(size)
                    .ok()
                    .filter(|&n| n <= r.0.len())
                    .ok_or_else(|| bad("insufficient data left in message".to_owned()))?;
                let value = io::parse_binary(elem, typmod, r.take(size)?).map_err(|e| {
                    let left_over = e.code() == SqlState::INVALID_BINARY_REPRESENTATION;
                    if left_over { bad(format!("improper binary format in array element {}", i + 1)) } else { e }
                })?;
                builder.append(&value)?;
            }
        }
    }
    Ok(builder.finish())
}

/// Appends the binary form.
pub(super) fn write_binary(ty: PgType, items: &ArrayRef, out: &mut Vec<u8>) {
    let elem = ty.list_element().unwrap_or(PgType::TEXT);
    let vector = !ty.is_array();
    let has_null = (0..items.len()).any(|i| io::is_null(items, i));
    let mut word = |v: i32| out.extend_from_slice(&v.to_be_bytes());
    word(i32::from(vector || !items.is_empty()));
    word(i32::from(has_null));
    word(elem.oid() as i32);
    if items.is_empty() && !vector {
        return;
    }
    word(items.len() as i32);
    word(i32::from(!vector));
    let reader = ColumnReader::new(items, elem);
    for i in 0..items.len() {
        if io::is_null(items, i) {
            out.extend_from_slice(&(-1i32).to_be_bytes());
            continue;
        }
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        io::write_binary(elem, &reader.value(i), out);
        let size = (out.len() - start - 4) as i32;
        out[start..start + 4].copy_from_slice(&size.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_split_as_in_postgresql() {
        let show = |text: &str| match split(text) {
            Ok(items) => format!("{items:?}"),
            Err(e) => e.fields().detail.clone().unwrap_or_else(|| e.message().to_owned()),
        };
        let cases = [
            ("{}", "[]"),
            (" { a , b c , null } ", r#"[Some("a"), Some("b c"), None]"#),
            (r#"{"a\"b", \n\ , "null"}"#, r#"[Some("a\"b"), Some("n "), Some("null")]"#),
            ("{1,2", "Unexpected end of input."),
            ("1,2", "Array value must start with \"{\" or dimension information."),
            ("{1,}", "Unexpected \"}\" character."),
            ("{,1}", "Unexpected \",\" character."),
            ("{1} x", "Junk after closing right brace."),
            ("{\"a\"b}", "Unexpected array element."),
            ("{a\"b\"}", "Unexpected array element."),
            ("{a,{b}}", "Unexpected \"{\" character."),
            ("{{1},{2}}", "an array of more than one dimension is not supported"),
            ("[0:1]={1,2}", "an array literal with explicit bounds is not supported"),
        ];
        for (text, expect) in cases {
            assert_eq!(show(text), expect, "{text}");
        }
    }
}
