//! Functions that turn values of any type into text: concat, concat_ws, format, and `||` with a non-text operand.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::quote::{quote_ident, quote_literal};
use crate::sql::functions::Call;
use crate::types::{ColumnReader, FormatSettings, Value, write_text};

/// The value as its output function prints it.
pub(in crate::sql::functions) fn output_text(
    ty: PgType,
    reader: &ColumnReader<'_>,
    row: usize,
    fs: &FormatSettings,
) -> String {
    let mut out = Vec::new();
    write_text(ty, &reader.value(row), fs, &mut out);
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// The value cast to text, which differs from its output for two types: boolean is spelled out, and char(n) loses
/// its padding.
pub(in crate::sql::functions) fn cast_text(
    ty: PgType,
    reader: &ColumnReader<'_>,
    row: usize,
    fs: &FormatSettings,
) -> String {
    match reader.value(row) {
        Value::Bool(v) => v.to_string(),
        Value::Text(text) if ty == PgType::BPCHAR => text.trim_end_matches(' ').to_owned(),
        Value::Text(text) => text.into_owned(),
        _ => output_text(ty, reader, row, fs),
    }
}

fn readers<'a>(call: &Call<'_>, args: &'a [ArrayRef]) -> Vec<(PgType, ColumnReader<'a>)> {
    args.iter().zip(call.arg_types).map(|(array, ty)| (*ty, ColumnReader::new(array, *ty))).collect()
}

/// text || any
pub(super) fn concat_strict(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let fs = call.session.format();
    let readers = readers(call, args);
    let mut out = StringBuilder::new();
    for row in 0..call.rows {
        if args.iter().any(|a| a.is_null(row)) {
            out.append_null();
            continue;
        }
        let parts: Vec<String> = readers.iter().map(|(ty, reader)| cast_text(*ty, reader, row, &fs)).collect();
        out.append_value(parts.concat());
    }
    Ok(Arc::new(out.finish()))
}

/// concat(any, ...): NULLs are left out.
pub(super) fn concat(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let fs = call.session.format();
    let readers = readers(call, args);
    let mut out = StringBuilder::new();
    for row in 0..call.rows {
        out.append_value(join(&readers, args, row, "", &fs));
    }
    Ok(Arc::new(out.finish()))
}

/// concat_ws(separator, any, ...)
pub(super) fn concat_ws(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let fs = call.session.format();
    let readers = readers(call, args);
    let separator = args[0].as_string::<i32>();
    let mut out = StringBuilder::new();
    for row in 0..call.rows {
        if separator.is_null(row) {
            out.append_null();
        } else {
            out.append_value(join(&readers[1..], &args[1..], row, separator.value(row), &fs));
        }
    }
    Ok(Arc::new(out.finish()))
}

fn join(
    readers: &[(PgType, ColumnReader<'_>)],
    args: &[ArrayRef],
    row: usize,
    separator: &str,
    fs: &FormatSettings,
) -> String {
    let present = readers.iter().zip(args).filter(|(_, array)| !array.is_null(row));
    let parts: Vec<String> = present.map(|((ty, reader), _)| output_text(*ty, reader, row, fs)).collect();
    parts.join(separator)
}

/// format(formatstr, any, ...)
pub(super) fn format(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let fs = call.session.format();
    let readers = readers(call, args);
    let pattern = args[0].as_string::<i32>();
    let mut out = StringBuilder::new();
    for row in 0..call.rows {
        if pattern.is_null(row) {
            out.append_null();
            continue;
        }
        let values: Vec<Option<String>> = readers[1..]
            .iter()
            .zip(&args[1..])
            .map(|((ty, reader), array)| array.is_valid(row).then(|| output_text(*ty, reader, row, &fs)))
            .collect();
        out.append_value(format_one(pattern.value(row), &values)?);
    }
    Ok(Arc::new(out.finish()))
}

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn unterminated() -> SqlError {
    invalid("unterminated format() type specifier").hint("For a single \"%\" use \"%%\".")
}

/// The arguments of one format() call, and which is next.
struct Args<'a> {
    values: &'a [Option<String>],
    next: usize,
}

impl<'a> Args<'a> {
    /// The argument at a position from 1, or the next one.
    fn take(&mut self, position: Option<usize>) -> Result<Option<&'a str>> {
        let index = position.map_or(self.next, |p| p - 1);
        self.next = index + 1;
        let value = self.values.get(index).ok_or_else(|| invalid("too few arguments for format()"))?;
        Ok(value.as_deref())
    }
}

fn format_one(pattern: &str, values: &[Option<String>]) -> Result<String> {
    let mut args = Args { values, next: 0 };
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        rest = specifier(rest, &mut args, &mut out)?;
    }
    out.push_str(rest);
    Ok(out)
}

/// Leading digits as a number, and what follows.
fn number(text: &str) -> Result<(Option<usize>, &str)> {
    let len = text.bytes().take_while(u8::is_ascii_digit).count();
    if len == 0 {
        return Ok((None, text));
    }
    let value = text[..len]
        .parse::<i32>()
        .map_err(|_| SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "number is out of range"))?;
    Ok((Some(value as usize), &text[len..]))
}

/// `[position$][-][width]type`, after the percent sign; returns what follows.
fn specifier<'t>(text: &'t str, args: &mut Args<'_>, out: &mut String) -> Result<&'t str> {
    let mut rest = text;
    let mut position = None;
    let mut width = None;
    let (n, after) = number(rest)?;
    if let (Some(n), Some(after)) = (n, after.strip_prefix('$')) {
        if n == 0 {
            return Err(invalid("format specifies argument 0, but arguments are numbered from 1"));
        }
        position = Some(n);
        rest = after;
    }
    let left = rest.starts_with('-');
    rest = rest.trim_start_matches('-');
    if let Some(after) = rest.strip_prefix('*') {
        let (n, after_number) = number(after)?;
        let (at, after) = match (n, after_number.strip_prefix('$')) {
            (Some(0), _) => return Err(invalid("format specifies argument 0, but arguments are numbered from 1")),
            (Some(n), Some(after)) => (Some(n), after),
            (Some(_), None) => return Err(invalid("width argument position must be ended by \"$\"")),
            (None, _) => (None, after),
        };
        rest = after;
        width = args.take(at)?.map(width_value).transpose()?;
    } else {
        let (n, after) = number(rest)?;
        width = n.map(|n| n as i64).or(width);
        rest = after;
    }
    let kind = rest.chars().next().ok_or_else(unterminated)?;
    if !matches!(kind, 's' | 'I' | 'L') {
        return Err(
            invalid(format!("unrecognized format() type specifier \"{kind}\"")).hint("For a single \"%\" use \"%%\".")
        );
    }
    let value = args.take(position)?;
    let shown = match (kind, value) {
        ('s', value) => value.unwrap_or("").to_owned(),
        ('L', None) => "NULL".to_owned(),
        ('L', Some(value)) => quote_literal(value),
        (_, None) => {
            let message = "null values cannot be formatted as an SQL identifier";
            return Err(SqlError::new(SqlState::NULL_VALUE_NOT_ALLOWED, message));
        }
        (_, Some(value)) => quote_ident(value),
    };
    push_padded(&shown, width.unwrap_or(0), left, out);
    Ok(&rest[1..])
}

fn width_value(text: &str) -> Result<i64> {
    text.trim().parse::<i32>().map(i64::from).map_err(|_| {
        SqlError::new(
            SqlState::INVALID_TEXT_REPRESENTATION,
            format!("invalid input syntax for type integer: \"{text}\""),
        )
    })
}

/// A negative width aligns to the left, as the flag does.
fn push_padded(text: &str, width: i64, left: bool, out: &mut String) {
    let missing = usize::try_from(width.unsigned_abs()).unwrap_or(0).saturating_sub(text.chars().count());
    let blanks = std::iter::repeat_n(' ', missing);
    if left || width < 0 {
        out.push_str(text);
        out.extend(blanks);
    } else {
        out.extend(blanks);
        out.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let values = ["foo", "10", "O'Reilly", "A b"].map(|v| Some(v.to_owned()));
        let cases = [
            ("%s|%%|%L", "foo|%|'10'"),
            ("%3$L %4$I %s", "'O''Reilly' \"A b\" too few"),
            ("|%10s|", "|       foo|"),
            ("|%-10s|", "|foo       |"),
            ("|%*2$s|", "|  O'Reilly|"),
            ("%2$s %s", "10 O'Reilly"),
        ];
        for (pattern, expect) in cases {
            let got = format_one(pattern, &values);
            if expect.ends_with("too few") {
                assert_eq!(got.unwrap_err().message(), "too few arguments for format()");
            } else {
                assert_eq!(got.unwrap(), expect, "{pattern}");
            }
        }
        assert_eq!(format_one("%z", &values).unwrap_err().message(), "unrecognized format() type specifier \"z\"");
    }
}
