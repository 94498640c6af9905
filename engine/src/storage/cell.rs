//! One column's value as bytes: the fixed-width forms, text and bytes as they are, arrays as a small format of their own.
//!
//! Every function here is total over [`Kind`], which is derived from the carrier; a value of another carrier is a bug of
//! the caller and refused loudly, because writing it would corrupt the row.

use std::borrow::Cow;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{
    Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType,
    Time64MicrosecondType, TimestampMicrosecondType, UInt32Type,
};
use kalamdb_catalog::{PgType, Result};

use super::batch::ColumnBuilder;
use super::row_codec::corrupted;
use crate::types::{Interval, Value};

/// The carrier of a column, as storage tells them apart.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Oid,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    Uuid,
    Text,
    Bytes,
    List(Box<(PgType, Kind)>),
}

impl Kind {
    pub(super) fn of(ty: PgType) -> Kind {
        match ty {
            PgType::BOOL => Kind::Bool,
            PgType::INT2 => Kind::Int2,
            PgType::INT4 => Kind::Int4,
            PgType::INT8 | PgType::PG_LSN => Kind::Int8,
            PgType::FLOAT4 => Kind::Float4,
            PgType::FLOAT8 => Kind::Float8,
            PgType::DATE => Kind::Date,
            PgType::TIME => Kind::Time,
            PgType::TIMESTAMP => Kind::Timestamp,
            PgType::TIMESTAMPTZ => Kind::Timestamptz,
            PgType::INTERVAL => Kind::Interval,
            PgType::UUID => Kind::Uuid,
            PgType::NUMERIC | PgType::BYTEA => Kind::Bytes,
            t if t.is_oid_like() => Kind::Oid,
            t => match t.list_element() {
                Some(element) => Kind::List(Box::new((element, Kind::of(element)))),
                None => Kind::Text,
            },
        }
    }

    /// Bytes of a fixed-width value, 0 for variable width.
    #[inline]
    pub(super) fn width(&self) -> usize {
        match self {
            Kind::Bool => 1,
            Kind::Int2 => 2,
            Kind::Int4 | Kind::Float4 | Kind::Oid | Kind::Date => 4,
            Kind::Int8 | Kind::Float8 | Kind::Time | Kind::Timestamp | Kind::Timestamptz => 8,
            Kind::Interval | Kind::Uuid => 16,
            Kind::Text | Kind::Bytes | Kind::List(_) => 0,
        }
    }
}

#[cold]
fn mismatch(kind: &Kind, value: &Value<'_>) -> ! {
    unreachable!("a {value:?} cannot be stored in a column of kind {kind:?}")
}

/// Writes a value of fixed width; false for NULL.
pub(super) fn put_fixed(kind: &Kind, value: &Value<'_>, out: &mut [u8]) -> bool {
    match (kind, value) {
        (_, Value::Null) => return false,
        (Kind::Bool, Value::Bool(v)) => out[0] = u8::from(*v),
        (Kind::Int2, Value::Int2(v)) => out.copy_from_slice(&v.to_le_bytes()),
        (Kind::Int4, Value::Int4(v)) | (Kind::Date, Value::Date(v)) => out.copy_from_slice(&v.to_le_bytes()),
        (Kind::Int8, Value::Int8(v))
        | (Kind::Time, Value::Time(v))
        | (Kind::Timestamp | Kind::Timestamptz, Value::Timestamp(v)) => out.copy_from_slice(&v.to_le_bytes()),
        (Kind::Float4, Value::Float4(v)) => out.copy_from_slice(&v.to_le_bytes()),
        (Kind::Float8, Value::Float8(v)) => out.copy_from_slice(&v.to_le_bytes()),
        (Kind::Oid, Value::Oid(v)) => out.copy_from_slice(&v.to_le_bytes()),
        (Kind::Interval, Value::Interval(v)) => put_interval(*v, out),
        (Kind::Uuid, Value::Uuid(v)) => out.copy_from_slice(v),
        (kind, value) => mismatch(kind, value),
    }
    true
}

/// Appends a value of variable width; false for NULL.
pub(super) fn push_var(kind: &Kind, value: &Value<'_>, out: &mut Vec<u8>) -> bool {
    match (kind, value) {
        (_, Value::Null) => return false,
        (Kind::Text, Value::Text(v)) => out.extend_from_slice(v.as_bytes()),
        (Kind::Bytes, Value::Bytes(v)) => out.extend_from_slice(v),
        (Kind::List(element), Value::Array(v)) => push_list(&element.1, &**v, out),
        (kind, value) => mismatch(kind, value),
    }
    true
}

/// [`put_fixed`] from an array of the carrier.
pub(super) fn put_fixed_at(kind: &Kind, array: &dyn Array, i: usize, out: &mut [u8]) -> bool {
    if array.is_null(i) {
        return false;
    }
    match kind {
        Kind::Bool => out[0] = u8::from(array.as_boolean().value(i)),
        Kind::Int2 => out.copy_from_slice(&array.as_primitive::<Int16Type>().value(i).to_le_bytes()),
        Kind::Int4 => out.copy_from_slice(&array.as_primitive::<Int32Type>().value(i).to_le_bytes()),
        Kind::Int8 => out.copy_from_slice(&array.as_primitive::<Int64Type>().value(i).to_le_bytes()),
        Kind::Float4 => out.copy_from_slice(&array.as_primitive::<Float32Type>().value(i).to_le_bytes()),
        Kind::Float8 => out.copy_from_slice(&array.as_primitive::<Float64Type>().value(i).to_le_bytes()),
        Kind::Oid => out.copy_from_slice(&array.as_primitive::<UInt32Type>().value(i).to_le_bytes()),
        Kind::Date => out.copy_from_slice(&array.as_primitive::<Date32Type>().value(i).to_le_bytes()),
        Kind::Time => out.copy_from_slice(&array.as_primitive::<Time64MicrosecondType>().value(i).to_le_bytes()),
        Kind::Timestamp | Kind::Timestamptz => {
            out.copy_from_slice(&array.as_primitive::<TimestampMicrosecondType>().value(i).to_le_bytes());
        }
        Kind::Interval => {
            let v = array.as_primitive::<IntervalMonthDayNanoType>().value(i);
            put_interval(Interval { months: v.months, days: v.days, micros: v.nanoseconds }, out);
        }
        Kind::Uuid => out.copy_from_slice(array.as_fixed_size_binary().value(i)),
        Kind::Text | Kind::Bytes | Kind::List(_) => unreachable!("{kind:?} is of variable width"),
    }
    true
}

/// [`push_var`] from an array of the carrier.
pub(super) fn push_var_at(kind: &Kind, array: &dyn Array, i: usize, out: &mut Vec<u8>) -> bool {
    if array.is_null(i) {
        return false;
    }
    match kind {
        Kind::Text => out.extend_from_slice(array.as_string::<i32>().value(i).as_bytes()),
        Kind::Bytes => out.extend_from_slice(array.as_binary::<i32>().value(i)),
        Kind::List(element) => push_list(&element.1, &*array.as_list::<i32>().value(i), out),
        _ => unreachable!("{kind:?} is of fixed width"),
    }
    true
}

fn put_interval(v: Interval, out: &mut [u8]) {
    out[..4].copy_from_slice(&v.months.to_le_bytes());
    out[4..8].copy_from_slice(&v.days.to_le_bytes());
    out[8..].copy_from_slice(&v.micros.to_le_bytes());
}

/// `count u32 | null bitmap | values` for elements of fixed width, `count u32 | null bitmap | end offsets u32 * count |
/// values` for the others.
fn push_list(element: &Kind, array: &dyn Array, out: &mut Vec<u8>) {
    let count = array.len();
    out.extend_from_slice(&(count as u32).to_le_bytes());
    let bitmap = out.len();
    out.resize(bitmap + count.div_ceil(8), 0);
    let values = out.len();
    let width = element.width();
    if width > 0 {
        out.resize(values + count * width, 0);
    } else {
        out.resize(values + count * 4, 0);
    }
    let body = out.len();
    for i in 0..count {
        let present = if width > 0 {
            let at = values + i * width;
            put_fixed_at(element, array, i, &mut out[at..at + width])
        } else {
            let present = push_var_at(element, array, i, out);
            let end = (out.len() - body) as u32;
            out[values + i * 4..values + i * 4 + 4].copy_from_slice(&end.to_le_bytes());
            present
        };
        if !present {
            out[bitmap + i / 8] |= 1 << (i % 8);
        }
    }
}

/// Feeds the elements of a stored array to `builder` and gives their number.
pub(super) fn read_list(element: &Kind, bytes: &[u8], builder: &mut ColumnBuilder) -> Result<usize> {
    let (count, rest) = bytes.split_first_chunk::<4>().ok_or_else(corrupted)?;
    let count = u32::from_le_bytes(*count) as usize;
    let (bitmap, rest) = rest.split_at_checked(count.div_ceil(8)).ok_or_else(corrupted)?;
    let width = element.width();
    let table = if width > 0 { 0 } else { count.checked_mul(4).ok_or_else(corrupted)? };
    let (table, body) = rest.split_at_checked(table).ok_or_else(corrupted)?;
    let mut start = 0;
    for i in 0..count {
        let end = match table.get(i * 4..).and_then(|t| t.first_chunk::<4>()) {
            Some(end) => u32::from_le_bytes(*end) as usize,
            None => start + width,
        };
        if bitmap[i / 8] >> (i % 8) & 1 == 1 {
            builder.append_null();
        } else {
            builder.append(body.get(start..end).ok_or_else(corrupted)?)?;
        }
        start = end;
    }
    Ok(count)
}

/// A stored value, text and bytes borrowed.
pub(super) fn read<'a>(kind: &Kind, bytes: &'a [u8]) -> Result<Value<'a>> {
    Ok(match kind {
        Kind::Bool => Value::Bool(bytes.first() == Some(&1)),
        Kind::Int2 => Value::Int2(i16::from_le_bytes(array(bytes)?)),
        Kind::Int4 => Value::Int4(i32::from_le_bytes(array(bytes)?)),
        Kind::Int8 => Value::Int8(i64::from_le_bytes(array(bytes)?)),
        Kind::Float4 => Value::Float4(f32::from_le_bytes(array(bytes)?)),
        Kind::Float8 => Value::Float8(f64::from_le_bytes(array(bytes)?)),
        Kind::Oid => Value::Oid(u32::from_le_bytes(array(bytes)?)),
        Kind::Date => Value::Date(i32::from_le_bytes(array(bytes)?)),
        Kind::Time => Value::Time(i64::from_le_bytes(array(bytes)?)),
        Kind::Timestamp | Kind::Timestamptz => Value::Timestamp(i64::from_le_bytes(array(bytes)?)),
        Kind::Interval => Value::Interval(read_interval(bytes)?),
        Kind::Uuid => Value::Uuid(array(bytes)?),
        Kind::Text => Value::Text(Cow::Borrowed(std::str::from_utf8(bytes).map_err(|_| corrupted())?)),
        Kind::Bytes => Value::Bytes(Cow::Borrowed(bytes)),
        Kind::List(element) => {
            let mut builder = ColumnBuilder::new(element.0, &element.1, 8);
            read_list(&element.1, bytes, &mut builder)?;
            Value::Array(builder.finish()?)
        }
    })
}

pub(super) fn read_interval(bytes: &[u8]) -> Result<Interval> {
    let b: [u8; 16] = array(bytes)?;
    Ok(Interval {
        months: i32::from_le_bytes(array(&b[..4])?),
        days: i32::from_le_bytes(array(&b[4..8])?),
        micros: i64::from_le_bytes(array(&b[8..])?),
    })
}

#[inline]
pub(super) fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| corrupted())
}

/// Appends a value to a builder of its kind: for the missing values of columns added later.
pub(super) fn append_value(kind: &Kind, value: &Value<'_>, builder: &mut ColumnBuilder) -> Result<()> {
    let mut bytes = vec![0; kind.width()];
    let present = if bytes.is_empty() { push_var(kind, value, &mut bytes) } else { put_fixed(kind, value, &mut bytes) };
    if present {
        builder.append(&bytes)
    } else {
        builder.append_null();
        Ok(())
    }
}

/// The value without its borrow.
pub(super) fn into_owned(value: Value<'_>) -> Value<'static> {
    match value {
        Value::Text(v) => Value::Text(Cow::Owned(v.into_owned())),
        Value::Bytes(v) => Value::Bytes(Cow::Owned(v.into_owned())),
        Value::Null => Value::Null,
        Value::Bool(v) => Value::Bool(v),
        Value::Int2(v) => Value::Int2(v),
        Value::Int4(v) => Value::Int4(v),
        Value::Int8(v) => Value::Int8(v),
        Value::Float4(v) => Value::Float4(v),
        Value::Float8(v) => Value::Float8(v),
        Value::Oid(v) => Value::Oid(v),
        Value::Uuid(v) => Value::Uuid(v),
        Value::Date(v) => Value::Date(v),
        Value::Time(v) => Value::Time(v),
        Value::Timestamp(v) => Value::Timestamp(v),
        Value::Interval(v) => Value::Interval(v),
        Value::Array(v) => Value::Array(v),
    }
}

/// The same value, its text and bytes borrowed.
pub(super) fn borrow<'a>(value: &'a Value<'static>) -> Value<'a> {
    match value {
        Value::Text(v) => Value::Text(Cow::Borrowed(v)),
        Value::Bytes(v) => Value::Bytes(Cow::Borrowed(v)),
        Value::Array(v) => Value::Array(ArrayRef::clone(v)),
        other => other.clone(),
    }
}
