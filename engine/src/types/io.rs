//! The input and output functions of every type: text and binary, dispatched on the [`PgType`].
//!
//! `parse_*` apply the type modifier as PostgreSQL's input functions do. The text forms of `reg*` need the catalog,
//! which is not known here: these read and write the number only, names are the casts' business.

use std::borrow::Cow;

use datafusion::arrow::array::Array;
use kalamdb_catalog::types::PgType;
use kalamdb_catalog::{Result, SqlError, SqlState};

use super::array;
use super::bytes;
use super::json;
use super::record;
use super::value::Value;
use super::{FormatSettings, Interval, Numeric, datetime, float};
use crate::limits::NAME_BYTES_MAX;

/// Days from 1970-01-01 to 2000-01-01, the epoch of the wire format.
const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// 24:00:00, the last value of `time`.
const DAY_MICROS: i64 = 86_400_000_000;
/// pg_type.typlen of name, with the final zero.
const NAME_LEN: usize = NAME_BYTES_MAX + 1;

/// Reads the text form of a value: the type's input function.
pub fn parse_text<'a>(ty: PgType, typmod: i32, text: &'a str, fs: &FormatSettings) -> Result<Value<'a>> {
    if let Some(elem) = ty.element() {
        return array::parse_text(elem, typmod, text, fs).map(Value::Array);
    }
    Ok(match ty {
        PgType::BOOL => Value::Bool(float::parse_bool(text)?),
        PgType::INT2 => Value::Int2(float::parse_int2(text)?),
        PgType::INT4 => Value::Int4(float::parse_int4(text)?),
        PgType::INT8 => Value::Int8(float::parse_int8(text)?),
        PgType::FLOAT4 => Value::Float4(float::parse_float4(text)?),
        PgType::FLOAT8 => Value::Float8(float::parse_float8(text)?),
        PgType::NUMERIC => Value::Bytes(Cow::Owned(Numeric::parse(text)?.apply_typmod(typmod)?.encode())),
        PgType::TEXT | PgType::UNKNOWN | PgType::XML | PgType::PG_NODE_TREE | PgType::INET | PgType::ACLITEM => {
            Value::Text(Cow::Borrowed(text))
        }
        PgType::VARCHAR => Value::Text(coerce_varchar(Cow::Borrowed(text), typmod, false)?),
        PgType::BPCHAR => Value::Text(coerce_bpchar(Cow::Borrowed(text), typmod, false)?),
        PgType::NAME => Value::Text(Cow::Borrowed(truncate_name(text))),
        PgType::CHAR => Value::Text(parse_char(text)),
        PgType::JSON => {
            json::validate(text)?;
            Value::Text(Cow::Borrowed(text))
        }
        PgType::JSONB => Value::Text(Cow::Owned(json::canonical(text)?)),
        PgType::BYTEA => Value::Bytes(Cow::Owned(bytes::parse_bytea(text)?)),
        PgType::UUID => Value::Uuid(bytes::parse_uuid(text)?),
        PgType::DATE => Value::Date(datetime::parse_date(text, fs)?),
        PgType::TIME => Value::Time(datetime::parse_time(text, typmod, fs)?),
        PgType::TIMESTAMP => Value::Timestamp(datetime::parse_timestamp(text, typmod, fs)?),
        PgType::TIMESTAMPTZ => Value::Timestamp(datetime::parse_timestamptz(text, typmod, fs)?),
        PgType::INTERVAL => Value::Interval(Interval::parse(text, fs, typmod)?),
        PgType::PG_LSN => Value::Int8(parse_lsn(text)?),
        PgType::TID => Value::Text(Cow::Owned(parse_tid(text)?)),
        PgType::VOID => Value::Text(Cow::Borrowed("")),
        PgType::INT2VECTOR | PgType::OIDVECTOR => Value::Array(array::parse_vector(ty, text, fs)?),
        PgType::RECORD => return Err(no_record_input()),
        t if t.is_reg() && text == "-" => Value::Oid(0),
        t if t.is_oid_like() => Value::Oid(parse_oid(t, text)?),
        t => {
            return Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                format!("cannot accept a value of type {}", t.info().name),
            ));
        }
    })
}

/// Appends the text form of a value: the type's output function. NULL appends nothing.
pub fn write_text(ty: PgType, value: &Value<'_>, fs: &FormatSettings, out: &mut Vec<u8>) {
    match value {
        Value::Null => {}
        Value::Bool(v) => out.push(if *v { b't' } else { b'f' }),
        Value::Int2(v) => write_int(i64::from(*v), out),
        Value::Int4(v) => write_int(i64::from(*v), out),
        Value::Int8(v) if ty == PgType::PG_LSN => {
            out.extend_from_slice(format!("{:X}/{:X}", (*v as u64) >> 32, *v as u32).as_bytes());
        }
        Value::Int8(v) => write_int(*v, out),
        Value::Float4(v) => float::write_float4(*v, fs.extra_float_digits, out),
        Value::Float8(v) => float::write_float8(*v, fs.extra_float_digits, out),
        Value::Oid(0) if ty.is_reg() => out.push(b'-'),
        Value::Oid(v) => write_int(i64::from(*v), out),
        Value::Text(v) => out.extend_from_slice(v.as_bytes()),
        Value::Bytes(v) if ty == PgType::NUMERIC => {
            out.extend_from_slice(Numeric::decode(v).to_string().as_bytes());
        }
        Value::Bytes(v) if ty == PgType::RECORD => record::write_text(v, fs, out),
        Value::Bytes(v) => bytes::write_bytea(v, fs.bytea_output, out),
        Value::Uuid(v) => bytes::write_uuid(v, out),
        Value::Date(v) => datetime::write_date(*v, fs, out),
        Value::Time(v) => datetime::write_time(*v, fs, out),
        Value::Timestamp(v) if ty == PgType::TIMESTAMPTZ => datetime::write_timestamptz(*v, fs, out),
        Value::Timestamp(v) => datetime::write_timestamp(*v, fs, out),
        Value::Interval(v) => v.write(fs.interval_style, out),
        Value::Array(v) => array::write_text(ty, v, fs, out),
    }
}

/// Reads the binary form of a value (the type's receive function). Left-over bytes are `22P03`.
pub fn parse_binary(ty: PgType, typmod: i32, data: &[u8]) -> Result<Value<'static>> {
    let mut r = Reader(data);
    let value = read_binary(ty, typmod, &mut r)?;
    if r.0.is_empty() { Ok(value) } else { Err(left_over("")) }
}

/// As [`parse_binary`], for the parameter of this number, counted from 1.
pub fn parse_binary_parameter(ty: PgType, data: &[u8], number: usize) -> Result<Value<'static>> {
    if ty == PgType::RECORD || ty.element() == Some(PgType::RECORD) {
        return Err(no_record_input());
    }
    let mut r = Reader(data);
    let value = read_binary(ty, -1, &mut r)?;
    if r.0.is_empty() { Ok(value) } else { Err(left_over(&format!(" in bind parameter {number}"))) }
}

fn no_record_input() -> SqlError {
    SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "input of anonymous composite types is not implemented")
}

fn left_over(place: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_BINARY_REPRESENTATION, format!("incorrect binary data format{place}"))
}

fn read_binary(ty: PgType, typmod: i32, r: &mut Reader<'_>) -> Result<Value<'static>> {
    Ok(match ty {
        t if t.element().is_some() => Value::Array(array::parse_binary(t, typmod, r)?),
        PgType::INT2VECTOR | PgType::OIDVECTOR => Value::Array(array::parse_binary(ty, -1, r)?),
        PgType::BOOL => Value::Bool(r.array::<1>()?[0] != 0),
        PgType::INT2 => Value::Int2(i16::from_be_bytes(r.array()?)),
        PgType::INT4 => Value::Int4(r.i32()?),
        PgType::INT8 | PgType::PG_LSN => Value::Int8(r.i64()?),
        PgType::FLOAT4 => Value::Float4(f32::from_be_bytes(r.array()?)),
        PgType::FLOAT8 => Value::Float8(f64::from_be_bytes(r.array()?)),
        PgType::NUMERIC => Value::Bytes(Cow::Owned(Numeric::parse_binary(r.rest())?.apply_typmod(typmod)?.encode())),
        // A record inside a record is kept as it is.
        PgType::BYTEA | PgType::RECORD => Value::Bytes(Cow::Owned(r.rest().to_vec())),
        PgType::UUID => Value::Uuid(r.array()?),
        PgType::DATE => Value::Date(date_from_wire(r.i32()?)?),
        PgType::TIME => Value::Time(time_from_wire(r.i64()?, typmod)?),
        PgType::TIMESTAMP | PgType::TIMESTAMPTZ => Value::Timestamp(timestamp_from_wire(r.i64()?, typmod)?),
        PgType::INTERVAL => {
            let (micros, days, months) = (r.i64()?, r.i32()?, r.i32()?);
            Value::Interval(Interval { months, days, micros })
        }
        PgType::VARCHAR => Value::Text(coerce_varchar(r.text()?.into(), typmod, false)?),
        PgType::BPCHAR => Value::Text(coerce_bpchar(r.text()?.into(), typmod, false)?),
        PgType::NAME => {
            let text = r.text()?;
            if text.len() >= NAME_LEN {
                return Err(SqlError::new(SqlState::NAME_TOO_LONG, "identifier too long")
                    .detail(format!("Identifier must be less than {NAME_LEN} characters.")));
            }
            Value::Text(Cow::Owned(text))
        }
        PgType::CHAR => Value::Text(Cow::Owned(char_text(r.array::<1>()?[0]))),
        PgType::JSON => {
            let text = r.text()?;
            json::validate(&text)?;
            Value::Text(Cow::Owned(text))
        }
        PgType::JSONB => {
            let version = r.array::<1>()?[0];
            if version != 1 {
                return Err(SqlError::internal(format!("unsupported jsonb version number {version}")));
            }
            Value::Text(Cow::Owned(json::canonical(&r.text()?)?))
        }
        PgType::TID => {
            let (block, offset) = (u32::from_be_bytes(r.array()?), u16::from_be_bytes(r.array()?));
            Value::Text(Cow::Owned(format!("({block},{offset})")))
        }
        PgType::VOID => Value::Text(Cow::Borrowed("")),
        t if t.is_oid_like() => Value::Oid(u32::from_be_bytes(r.array()?)),
        t if t.info().kind == 'b' || t == PgType::UNKNOWN => Value::Text(Cow::Owned(r.text()?)),
        t => {
            return Err(SqlError::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("no binary input function available for type {}", t.sql_name()),
            ));
        }
    })
}

/// Appends the binary form of a value (the type's send function), without a length. NULL appends nothing.
pub fn write_binary(ty: PgType, value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => {}
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::Int2(v) => out.extend_from_slice(&v.to_be_bytes()),
        Value::Int4(v) => out.extend_from_slice(&v.to_be_bytes()),
        Value::Int8(v) => out.extend_from_slice(&v.to_be_bytes()),
        Value::Float4(v) => out.extend_from_slice(&v.to_be_bytes()),
        Value::Float8(v) => out.extend_from_slice(&v.to_be_bytes()),
        Value::Oid(v) => out.extend_from_slice(&v.to_be_bytes()),
        Value::Text(v) => write_binary_text(ty, v, out),
        Value::Bytes(v) if ty == PgType::NUMERIC => Numeric::decode(v).write_binary(out),
        Value::Bytes(v) if ty == PgType::RECORD => record::write_binary(v, out),
        Value::Bytes(v) => out.extend_from_slice(v),
        Value::Uuid(v) => out.extend_from_slice(v),
        Value::Date(v) => {
            let days = if matches!(*v, i32::MAX | i32::MIN) { *v } else { v.saturating_sub(EPOCH_DAYS) };
            out.extend_from_slice(&days.to_be_bytes());
        }
        Value::Time(v) => out.extend_from_slice(&v.to_be_bytes()),
        Value::Timestamp(v) => {
            let micros = if matches!(*v, i64::MAX | i64::MIN) { *v } else { v.saturating_sub(EPOCH_MICROS) };
            out.extend_from_slice(&micros.to_be_bytes());
        }
        Value::Interval(v) => {
            out.extend_from_slice(&v.micros.to_be_bytes());
            out.extend_from_slice(&v.days.to_be_bytes());
            out.extend_from_slice(&v.months.to_be_bytes());
        }
        Value::Array(v) => array::write_binary(ty, v, out),
    }
}

fn write_binary_text(ty: PgType, text: &str, out: &mut Vec<u8>) {
    match ty {
        PgType::JSONB => {
            out.push(1);
            out.extend_from_slice(text.as_bytes());
        }
        PgType::CHAR => out.push(char_byte(text)),
        PgType::VOID => {}
        PgType::TID => {
            let (block, offset) = tid_parts(text).unwrap_or((0, 0));
            out.extend_from_slice(&block.to_be_bytes());
            out.extend_from_slice(&offset.to_be_bytes());
        }
        _ => out.extend_from_slice(text.as_bytes()),
    }
}

/// Unread bytes of a binary value.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        if n > self.0.len() {
            return Err(SqlError::new(SqlState::PROTOCOL_VIOLATION, "insufficient data left in message"));
        }
        let (head, tail) = self.0.split_at(n);
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub(super) fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn text(&mut self) -> Result<String> {
        check_utf8(self.rest()).map(str::to_owned)
    }
}

/// The bytes as text; `22021` names the offending bytes as PostgreSQL does.
pub(crate) fn check_utf8(data: &[u8]) -> Result<&str> {
    let bad = match std::str::from_utf8(data) {
        Ok(text) => match data.iter().position(|&b| b == 0) {
            None => return Ok(text),
            Some(at) => at,
        },
        Err(e) => data[..e.valid_up_to()].iter().position(|&b| b == 0).unwrap_or(e.valid_up_to()),
    };
    let len = match data[bad] {
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF7 => 4,
        _ => 1,
    };
    let shown: Vec<String> = data[bad..].iter().take(len).map(|b| format!("0x{b:02x}")).collect();
    Err(SqlError::new(
        SqlState::CHARACTER_NOT_IN_REPERTOIRE,
        format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" ")),
    ))
}

/// Appends a decimal integer.
pub(crate) fn write_int(value: i64, out: &mut Vec<u8>) {
    const PAIRS: &[u8; 200] = b"00010203040506070809101112131415161718192021222324252627282930313233343536373839\
        40414243444546474849505152535455565758596061626364656667686970717273747576777879\
        8081828384858687888990919293949596979899";
    let mut buffer = [0u8; 20];
    let mut at = buffer.len();
    let mut rest = value.unsigned_abs();
    while rest >= 100 {
        let pair = (rest % 100) as usize * 2;
        rest /= 100;
        at -= 2;
        buffer[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if rest >= 10 {
        let pair = rest as usize * 2;
        at -= 2;
        buffer[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    } else {
        at -= 1;
        buffer[at] = b'0' + rest as u8;
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&buffer[at..]);
}

/// varchar(n): an explicit cast cuts silently, otherwise only blanks may be cut (`22001`).
pub(crate) fn coerce_varchar(text: Cow<'_, str>, typmod: i32, explicit: bool) -> Result<Cow<'_, str>> {
    let Some(max) = max_chars(typmod) else { return Ok(text) };
    if text.len() <= max {
        return Ok(text);
    }
    let Some((cut, _)) = text.char_indices().nth(max) else { return Ok(text) };
    if !explicit && text.as_bytes()[cut..].iter().any(|&b| b != b' ') {
        return Err(too_long("character varying", max));
    }
    Ok(cut_at(text, cut))
}

/// char(n): as [`coerce_varchar`], and pads with blanks to n characters.
pub(crate) fn coerce_bpchar(text: Cow<'_, str>, typmod: i32, explicit: bool) -> Result<Cow<'_, str>> {
    let Some(max) = max_chars(typmod) else { return Ok(text) };
    if let Some((cut, _)) = text.char_indices().nth(max) {
        if !explicit && text.as_bytes()[cut..].iter().any(|&b| b != b' ') {
            return Err(too_long("character", max));
        }
        return Ok(cut_at(text, cut));
    }
    let missing = max - text.chars().count();
    if missing == 0 {
        return Ok(text);
    }
    let mut padded = text.into_owned();
    padded.extend(std::iter::repeat_n(' ', missing));
    Ok(Cow::Owned(padded))
}

fn max_chars(typmod: i32) -> Option<usize> {
    usize::try_from(typmod - 4).ok().filter(|_| typmod >= 4)
}

fn cut_at(text: Cow<'_, str>, at: usize) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(t) => Cow::Borrowed(&t[..at]),
        Cow::Owned(mut t) => {
            t.truncate(at);
            Cow::Owned(t)
        }
    }
}

fn too_long(type_name: &str, max: usize) -> SqlError {
    SqlError::new(SqlState::STRING_DATA_RIGHT_TRUNCATION, format!("value too long for type {type_name}({max})"))
}

/// At most 63 bytes, cut at a character.
pub(crate) fn truncate_name(text: &str) -> &str {
    &text[..text.floor_char_boundary(text.len().min(NAME_BYTES_MAX))]
}

/// Input of "char": the first byte, or a byte as `\ooo`.
pub(crate) fn parse_char(text: &str) -> Cow<'_, str> {
    match text.as_bytes() {
        [] => Cow::Borrowed(""),
        [first, ..] if first.is_ascii() && octal_char(text).is_none() => Cow::Borrowed(&text[..1]),
        [first, ..] => Cow::Owned(char_text(octal_char(text).unwrap_or(*first))),
    }
}

fn octal_char(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7'] => {
            Some(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'))
        }
        _ => None,
    }
}

/// Output of "char": the carrier holds this text, since a byte above 127 is no text of its own.
pub(crate) fn char_text(byte: u8) -> String {
    match byte {
        0 => String::new(),
        1..=127 => char::from(byte).to_string(),
        _ => format!("\\{byte:03o}"),
    }
}

/// The byte of a "char".
pub(crate) fn char_byte(text: &str) -> u8 {
    octal_char(text).or_else(|| text.bytes().next()).unwrap_or(0)
}

fn bad_text(ty: &str, text: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("invalid input syntax for type {ty}: \"{text}\""))
}

fn parse_oid(ty: PgType, text: &str) -> Result<u32> {
    let name = if matches!(ty, PgType::XID | PgType::CID) { ty.info().name } else { "oid" };
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    let digits = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad_text(name, text));
    }
    let parsed = trimmed.parse::<i64>().ok();
    parsed.and_then(|v| u32::try_from(v).ok().or_else(|| i32::try_from(v).ok().map(|v| v as u32))).ok_or_else(|| {
        SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("value \"{text}\" is out of range for type {name}"))
    })
}

fn parse_lsn(text: &str) -> Result<i64> {
    let half = |s: &str| {
        (1..=8).contains(&s.len()).then(|| u32::from_str_radix(s, 16).ok().filter(|_| !s.starts_with('+'))).flatten()
    };
    let parts = text.split_once('/').and_then(|(hi, lo)| Some((half(hi)?, half(lo)?)));
    let (hi, lo) = parts.ok_or_else(|| bad_text("pg_lsn", text))?;
    Ok(((u64::from(hi) << 32) | u64::from(lo)) as i64)
}

fn tid_parts(text: &str) -> Option<(u32, u16)> {
    let (block, offset) = text.trim().strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
    Some((block.trim().parse().ok()?, offset.trim().parse().ok()?))
}

fn parse_tid(text: &str) -> Result<String> {
    let (block, offset) = tid_parts(text).ok_or_else(|| bad_text("tid", text))?;
    Ok(format!("({block},{offset})"))
}

fn date_from_wire(days: i32) -> Result<i32> {
    if matches!(days, i32::MAX | i32::MIN) {
        return Ok(days);
    }
    // 4714-11-24 BC to 5874897-12-31, in days from 2000.
    if !(-2_451_545..=2_145_031_948).contains(&days) {
        return Err(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "date out of range"));
    }
    Ok(days + EPOCH_DAYS)
}

fn time_from_wire(micros: i64, typmod: i32) -> Result<i64> {
    if !(0..=DAY_MICROS).contains(&micros) {
        return Err(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "time out of range"));
    }
    Ok(round_micros(micros, typmod))
}

fn timestamp_from_wire(micros: i64, typmod: i32) -> Result<i64> {
    if matches!(micros, i64::MAX | i64::MIN) {
        return Ok(micros);
    }
    // 4714-11-24 BC to before 294277-01-01, in microseconds from 2000.
    if !(-211_813_488_000_000_000..9_223_371_331_200_000_000).contains(&micros) {
        return Err(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp out of range"));
    }
    let rounded = round_micros(micros, typmod);
    rounded
        .checked_add(EPOCH_MICROS)
        .ok_or_else(|| SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp out of range"))
}

/// Rounds to `typmod` fractional digits, halves away from the epoch.
fn round_micros(micros: i64, typmod: i32) -> i64 {
    if !(0..6).contains(&typmod) {
        return micros;
    }
    let unit = 10i64.pow(6 - typmod as u32);
    (micros + micros.signum() * (unit / 2)) / unit * unit
}

/// True if the array's element at `i` is NULL; lists of NULLs may come as Null arrays, whose bitmap is absent.
pub(super) fn is_null(array: &dyn Array, i: usize) -> bool {
    array.is_null(i) || *array.data_type() == datafusion::arrow::datatypes::DataType::Null
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(ty: PgType, typmod: i32, text: &str) -> String {
        let fs = FormatSettings::default();
        let value = match parse_text(ty, typmod, text, &fs) {
            Ok(value) => value,
            Err(e) => return format!("{} {}", e.code(), e.message()),
        };
        let (mut shown, mut wire) = (Vec::new(), Vec::new());
        write_text(ty, &value, &fs, &mut shown);
        write_binary(ty, &value, &mut wire);
        let mut again = Vec::new();
        write_text(ty, &parse_binary(ty, -1, &wire).unwrap(), &fs, &mut again);
        assert_eq!(shown, again, "binary form of {text} as {ty:?}");
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn text_forms_are_postgresqls() {
        let cases = [
            (PgType::VARCHAR, 7, "abc   ", "abc"),
            (PgType::VARCHAR, 7, "abcd", "22001 value too long for type character varying(3)"),
            (PgType::BPCHAR, 8, "ab", "ab  "),
            (PgType::BPCHAR, 6, "äöü", "22001 value too long for type character(2)"),
            (PgType::CHAR, -1, "\\101", "A"),
            (PgType::CHAR, -1, "é", "\\303"),
            (PgType::OID, -1, " -1 ", "4294967295"),
            (PgType::OID, -1, "99999999999", "22003 value \"99999999999\" is out of range for type oid"),
            (PgType::OID, -1, "1x", "22P02 invalid input syntax for type oid: \"1x\""),
            (PgType::PG_LSN, -1, "16/b374D848", "16/B374D848"),
            (PgType::TID, -1, "( 3 , 4 )", "(3,4)"),
            (PgType::INT2VECTOR, -1, " 1  2 ", "1 2"),
            (PgType::TEXT_ARRAY, -1, r#"{a, "b c" ,NULL,"NULL",""}"#, r#"{a,"b c",NULL,"NULL",""}"#),
            (PgType::JSONB, -1, r#"{"bb":1.0,"a":[1,{}]}"#, r#"{"a": [1, {}], "bb": 1.0}"#),
        ];
        for (ty, typmod, text, expect) in cases {
            assert_eq!(round_trip(ty, typmod, text), expect, "{text} as {ty:?}");
        }
    }

    #[test]
    fn binary_forms_are_postgresqls() {
        let cases = [
            (PgType::INT4_ARRAY, "{1,NULL}", "00000001000000010000001700000002000000010000000400000001ffffffff"),
            (PgType::TEXT_ARRAY, "{}", "000000000000000000000019"),
            (PgType::INT2VECTOR, "1 2", "0000000100000000000000150000000200000000000000020001000000020002"),
            (PgType::JSONB, "{\"a\":1}", "017b2261223a20317d"),
            (PgType::TID, "(1,2)", "000000010002"),
            (PgType::DATE_ARRAY, "{2000-01-02}", "00000001000000000000043a00000001000000010000000400000001"),
            (PgType::INTERVAL, "1 mon 2 day 3s", "00000000002dc6c00000000200000001"),
            (PgType::PG_LSN, "16/B374D848", "00000016b374d848"),
        ];
        for (ty, text, expect) in cases {
            let mut out = Vec::new();
            write_binary(ty, &parse_text(ty, -1, text, &FormatSettings::default()).unwrap(), &mut out);
            let hex: String = out.iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(hex, expect, "{text} as {ty:?}");
        }
        let message = |ty, data: &[u8]| parse_binary(ty, -1, data).unwrap_err().message().to_owned();
        assert_eq!(message(PgType::INT4, &[0; 3]), "insufficient data left in message");
        assert_eq!(message(PgType::INT4, &[0; 5]), "incorrect binary data format");
    }

    #[test]
    fn integers_print() {
        for v in [0, 7, 10, 99, 100, -1, i64::MAX, i64::MIN, 1234567] {
            let mut out = Vec::new();
            write_int(v, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), v.to_string());
        }
    }

    #[test]
    fn broken_text_is_named_by_its_bytes() {
        let message = |data: &[u8]| check_utf8(data).unwrap_err().message().to_owned();
        assert_eq!(message(b"a\0b"), "invalid byte sequence for encoding \"UTF8\": 0x00");
        assert_eq!(message(b"a\xe9bc"), "invalid byte sequence for encoding \"UTF8\": 0xe9 0x62 0x63");
    }
}
