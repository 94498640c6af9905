//! Comparison, grouping and ordering: which types compare with which, and by what key.
//!
//! A type whose carrier does not sort as PostgreSQL sorts the type has a sort key: an expression whose native order and
//! equality are the type's. Everything that compares (operators, joins, GROUP BY, DISTINCT, ORDER BY, PARTITION BY)
//! compares keys, so that there is one definition of equality.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, PrimitiveArray, StringBuilder};
use datafusion::arrow::datatypes::{ArrowPrimitiveType, Float32Type, Float64Type, IntervalMonthDayNanoType};
use datafusion::logical_expr::{Expr, Operator};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::coerce::can_coerce;
use super::functions::{Call, ScalarImpl, Volatility};
use super::udf::Resolved;
use crate::storage::keys;
use crate::types::{ColumnReader, Interval, Value, json, record};

/// The comparison that an operator name means.
pub(crate) fn operator(name: &str) -> Option<Operator> {
    Some(match name {
        "=" => Operator::Eq,
        "<>" => Operator::NotEq,
        "<" => Operator::Lt,
        "<=" => Operator::LtEq,
        ">" => Operator::Gt,
        ">=" => Operator::GtEq,
        _ => return None,
    })
}

/// The type in which values of `l` and `r` are compared, if they can be.
pub(crate) fn common(l: PgType, r: PgType) -> Option<PgType> {
    if l == r {
        return Some(if l == PgType::UNKNOWN || l == PgType::VARCHAR { PgType::TEXT } else { l });
    }
    if l == PgType::UNKNOWN || r == PgType::UNKNOWN {
        let known = if l == PgType::UNKNOWN { r } else { l };
        return Some(if known == PgType::VARCHAR { PgType::TEXT } else { known });
    }
    let (li, ri) = (l.info(), r.info());
    if l.is_oid_like() || r.is_oid_like() {
        let other = if l.is_oid_like() { r } else { l };
        let fits = (l.is_oid_like() && r.is_oid_like()) || other.is_integer();
        return (fits && l != PgType::XID && r != PgType::XID).then_some(PgType::OID).or_else(|| xid(l, r));
    }
    if li.category != ri.category {
        return None;
    }
    if li.category == 'S' {
        // varchar has no operators of its own: with char(n) it is compared as char(n), blanks at the end aside.
        if matches!((l, r), (PgType::BPCHAR, PgType::VARCHAR) | (PgType::VARCHAR, PgType::BPCHAR)) {
            return Some(PgType::BPCHAR);
        }
        return Some(PgType::TEXT);
    }
    if l.is_float() || r.is_float() {
        return Some(PgType::FLOAT8);
    }
    // `date < timestamp` and the like: the one that the other turns into.
    match (can_coerce(l, r), can_coerce(r, l)) {
        (true, _) => Some(r),
        (_, true) => Some(l),
        _ => None,
    }
}

/// xid = int4
fn xid(l: PgType, r: PgType) -> Option<PgType> {
    let other = if l == PgType::XID { r } else { l };
    (l == PgType::XID || r == PgType::XID).then_some(())?;
    matches!(other, PgType::INT4).then_some(PgType::XID)
}

/// True if the type has this comparison.
pub(crate) fn comparable(ty: PgType, op: Operator) -> bool {
    let ty = ty.element().unwrap_or(ty);
    match ty {
        PgType::JSON | PgType::XML | PgType::UNKNOWN | PgType::VOID | PgType::PG_NODE_TREE => false,
        PgType::XID | PgType::CID | PgType::ACLITEM => {
            matches!(op, Operator::Eq | Operator::NotEq | Operator::IsDistinctFrom | Operator::IsNotDistinctFrom)
        }
        _ => true,
    }
}

/// True if the carrier itself sorts as the type does.
pub(crate) fn sorts_natively(ty: PgType) -> bool {
    key_function(ty).is_none()
}

/// The expression to compare values of `ty` by.
pub(crate) fn sort_key(expr: Expr, ty: PgType) -> Expr {
    let Some(imp) = key_function(ty) else { return expr };
    let ret = match ty {
        PgType::FLOAT4 | PgType::FLOAT8 => ty,
        PgType::BPCHAR => PgType::TEXT,
        _ => PgType::BYTEA,
    };
    Resolved {
        name: "sort_key",
        args: vec![ty],
        ret,
        list: false,
        typmod: -1,
        explicit: false,
        volatility: Volatility::Immutable,
        waits: false,
        imp,
    }
    .call(vec![expr])
}

/// The sort keys of an array of values of `ty`.
pub(crate) fn key_array(call: &Call<'_>, ty: PgType, values: ArrayRef) -> Result<ArrayRef> {
    match key_function(ty) {
        None => Ok(values),
        Some(imp) => imp(&Call { rows: values.len(), arg_types: &[ty], ..*call }, &[values]),
    }
}

fn key_function(ty: PgType) -> Option<ScalarImpl> {
    match ty {
        PgType::NUMERIC => Some(numeric_key),
        PgType::INTERVAL => Some(interval_key),
        PgType::FLOAT4 => {
            Some(|_, args| Ok(float_key::<Float32Type>(&args[0], |f| if f.is_nan() { f32::NAN } else { f + 0.0 })))
        }
        PgType::FLOAT8 => {
            Some(|_, args| Ok(float_key::<Float64Type>(&args[0], |f| if f.is_nan() { f64::NAN } else { f + 0.0 })))
        }
        PgType::BPCHAR => Some(bpchar_key),
        PgType::JSONB => Some(jsonb_key),
        PgType::RECORD => Some(record_key),
        array if array.is_array() => Some(array_key),
        _ => None,
    }
}

/// 1.5 and 1.50 are equal: the key is the encoding without the display scale.
fn numeric_key(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    binary_key(&args[0], args[0].as_binary::<i32>().iter(), |v, out| {
        out.extend_from_slice(crate::types::numeric::sort_key(v))
    })
}

/// '1 month' and '30 days' are equal.
fn interval_key(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let array = args[0].as_primitive::<IntervalMonthDayNanoType>();
    binary_key(&args[0], array.iter(), |v, out| {
        let interval = Interval { months: v.months, days: v.days, micros: v.nanoseconds };
        out.extend_from_slice(&interval.sort_key());
    })
}

/// Trailing blanks of char(n) do not count.
fn bpchar_key(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let array = args[0].as_string::<i32>();
    let mut out = StringBuilder::with_capacity(array.len(), array.value_data().len());
    for value in array {
        out.append_option(value.map(|v| v.trim_end_matches(' ')));
    }
    Ok(Arc::new(out.finish()))
}

fn jsonb_key(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    binary_key(&args[0], args[0].as_string::<i32>().iter(), |v, out| out.extend(json::jsonb_sort_key(v)))
}

/// Element after element; NULLs are equal and above all values, and the shorter of two arrays comes first
/// (arrayfuncs.c, array_cmp).
fn array_key(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let ty = call.arg_types[0];
    let reader = ColumnReader::new(&args[0], ty);
    let mut out = BinaryBuilder::with_capacity(args[0].len(), args[0].len() * 24);
    let mut key = Vec::new();
    for row in 0..args[0].len() {
        match reader.value(row) {
            Value::Null => out.append_null(),
            value => {
                key.clear();
                push_field(ty, &value, &mut key)?;
                out.append_value(&key);
            }
        }
    }
    Ok(Arc::new(out.finish()))
}

/// Field after field; NULLs are equal and above all values (rowtypes.c, record_cmp).
fn record_key(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let records = args[0].as_binary::<i32>();
    let mut out = BinaryBuilder::with_capacity(records.len(), records.len() * 24);
    let mut key = Vec::new();
    for value in records {
        let Some(value) = value else {
            out.append_null();
            continue;
        };
        key.clear();
        push_record(value, &mut key)?;
        out.append_value(&key);
    }
    Ok(Arc::new(out.finish()))
}

fn push_record(value: &[u8], key: &mut Vec<u8>) -> Result<()> {
    for field in record::fields(value)? {
        push_field(field.ty, &field.value()?, key)?;
    }
    key.push(0);
    Ok(())
}

fn push_field(ty: PgType, value: &Value<'_>, key: &mut Vec<u8>) -> Result<()> {
    if value.is_null() {
        key.push(2);
        return Ok(());
    }
    key.push(1);
    match value {
        Value::Bytes(inner) if ty == PgType::RECORD => push_record(inner, key)?,
        Value::Text(json) if ty == PgType::JSONB => {
            keys::push_value(key, PgType::BYTEA, &Value::Bytes(json::jsonb_sort_key(json).into()));
        }
        Value::Array(items) => {
            let element = ty.list_element().unwrap_or(PgType::TEXT);
            let reader = ColumnReader::new(items, element);
            for i in 0..items.len() {
                push_field(element, &reader.value(i), key)?;
            }
            key.push(0);
        }
        _ if comparable(ty, Operator::Lt) => keys::push_value(key, ty, value),
        _ => {
            return Err(SqlError::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("could not identify a comparison function for type {}", ty.sql_name()),
            ));
        }
    }
    Ok(())
}

/// -0 equals 0, and all NaNs are one value above infinity, as Arrow's total order then has it.
fn float_key<T: ArrowPrimitiveType>(array: &ArrayRef, normal: impl Fn(T::Native) -> T::Native) -> ArrayRef {
    let out: PrimitiveArray<T> = array.as_primitive::<T>().unary(normal);
    Arc::new(out)
}

fn binary_key<V>(
    array: &ArrayRef,
    values: impl Iterator<Item = Option<V>>,
    write: impl Fn(V, &mut Vec<u8>),
) -> Result<ArrayRef> {
    let mut out = BinaryBuilder::with_capacity(array.len(), array.len() * 12);
    let mut key = Vec::new();
    for value in values {
        match value {
            None => out.append_null(),
            Some(v) => {
                key.clear();
                write(v, &mut key);
                out.append_value(&key);
            }
        }
    }
    Ok(Arc::new(out.finish()))
}
