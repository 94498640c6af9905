//! Array functions and operators (manual, section 9.19). Arrays have one dimension, with bounds from 1.
//!
//! Element equality is PostgreSQL's: see [`same`].

mod build;
mod search;

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int32Builder, ListBuilder, StringBuilder};
use datafusion::arrow::datatypes::Int32Type;
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::adapt::{opt1, opt2};
use super::text::output_text;
use super::{Call, FnDef, OpDef};
use crate::types::{ArrayBuilder, ColumnReader, Numeric, Value};

const ANYARRAY: PgType = PgType::ANYARRAY;
const ANYELEMENT: PgType = PgType::ANYELEMENT;
const BOOL: PgType = PgType::BOOL;
const COMPAT: PgType = PgType::ANYCOMPATIBLE;
const COMPATS: PgType = PgType::ANYCOMPATIBLEARRAY;
const INT4: PgType = PgType::INT4;
const INT4S: PgType = PgType::INT4_ARRAY;
const TEXT: PgType = PgType::TEXT;

/// OIDs of the two functions that PostgreSQL has as syntax only; above its range for builtins, below user objects.
pub(super) const ARRAY_SUBSCRIPT_OID: u32 = 15_001;
pub(super) const ARRAY_SLICE_OID: u32 = 15_002;

pub(super) static FUNCTIONS: &[FnDef] = &[
    FnDef::new(378, "array_append", &[COMPATS, COMPAT], COMPATS, build::append).called_on_null(),
    FnDef::new(379, "array_prepend", &[COMPAT, COMPATS], COMPATS, build::prepend).called_on_null(),
    FnDef::new(383, "array_cat", &[COMPATS, COMPATS], COMPATS, build::cat).called_on_null(),
    FnDef::new(3167, "array_remove", &[COMPATS, COMPAT], COMPATS, build::remove).called_on_null(),
    FnDef::new(3168, "array_replace", &[COMPATS, COMPAT, COMPAT], COMPATS, build::replace).called_on_null(),
    FnDef::new(1193, "array_fill", &[ANYELEMENT, INT4S], ANYARRAY, build::fill).called_on_null(),
    FnDef::new(6172, "trim_array", &[ANYARRAY, INT4], ANYARRAY, build::trim),
    FnDef::new(3277, "array_position", &[COMPATS, COMPAT], INT4, search::position).called_on_null(),
    FnDef::new(3278, "array_position", &[COMPATS, COMPAT, INT4], INT4, search::position).called_on_null(),
    FnDef::new(3279, "array_positions", &[COMPATS, COMPAT], INT4S, search::positions).called_on_null(),
    FnDef::new(2747, "arrayoverlap", &[ANYARRAY, ANYARRAY], BOOL, search::overlap),
    FnDef::new(2748, "arraycontains", &[ANYARRAY, ANYARRAY], BOOL, search::contains),
    FnDef::new(2749, "arraycontained", &[ANYARRAY, ANYARRAY], BOOL, search::contained),
    FnDef::new(2176, "array_length", &[ANYARRAY, INT4], INT4, |_, a| {
        opt2(a, |items: ArrayRef, d: i32| bound(&items, d))
    }),
    FnDef::new(2092, "array_upper", &[ANYARRAY, INT4], INT4, |_, a| {
        opt2(a, |items: ArrayRef, d: i32| bound(&items, d))
    }),
    FnDef::new(2091, "array_lower", &[ANYARRAY, INT4], INT4, |_, a| {
        opt2(a, |items: ArrayRef, d: i32| Ok(bound(&items, d)?.map(|_| 1)))
    }),
    FnDef::new(748, "array_ndims", &[ANYARRAY], INT4, |_, a| {
        opt1(a, |items: ArrayRef| Ok(bound(&items, 1)?.map(|_| 1)))
    }),
    FnDef::new(747, "array_dims", &[ANYARRAY], TEXT, |_, a| {
        opt1(a, |items: ArrayRef| Ok(bound(&items, 1)?.map(|n| format!("[1:{n}]"))))
    }),
    FnDef::new(3179, "cardinality", &[ANYARRAY], INT4, |_, a| opt1(a, |items: ArrayRef| Ok(Some(items.len() as i32)))),
    FnDef::new(395, "array_to_string", &[ANYARRAY, TEXT], TEXT, to_string).stable(),
    FnDef::new(384, "array_to_string", &[ANYARRAY, TEXT, TEXT], TEXT, to_string).stable().called_on_null(),
    FnDef::new(2331, "unnest", &[ANYARRAY], ANYELEMENT, |_, a| Ok(a[0].clone())).set(),
    FnDef::new(1192, "generate_subscripts", &[ANYARRAY, INT4], INT4, |_, a| subscripts(a)).set(),
    FnDef::new(1191, "generate_subscripts", &[ANYARRAY, INT4, BOOL], INT4, |_, a| subscripts(a)).set(),
    FnDef::new(ARRAY_SUBSCRIPT_OID, "array_subscript", &[ANYARRAY, INT4], ANYELEMENT, subscript),
    // A bound left out is passed as the array's own: 1 and cardinality.
    FnDef::new(ARRAY_SLICE_OID, "array_slice", &[ANYARRAY, INT4, INT4], ANYARRAY, slice),
];

pub(super) static OPERATORS: &[OpDef] = &[
    OpDef::infix(349, "||", COMPATS, COMPAT, COMPATS, build::append),
    OpDef::infix(374, "||", COMPAT, COMPATS, COMPATS, build::prepend),
    OpDef::infix(375, "||", COMPATS, COMPATS, COMPATS, build::cat),
    OpDef::infix(2750, "&&", ANYARRAY, ANYARRAY, BOOL, search::overlap),
    OpDef::infix(2751, "@>", ANYARRAY, ANYARRAY, BOOL, search::contains),
    OpDef::infix(2752, "<@", ANYARRAY, ANYARRAY, BOOL, search::contained),
];

/// PostgreSQL's `=` of two values of one type that are not NULL.
pub(super) fn same(ty: PgType, a: &Value<'_>, b: &Value<'_>) -> bool {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int2(a), Value::Int2(b)) => a == b,
        (Value::Int4(a), Value::Int4(b)) => a == b,
        (Value::Int8(a), Value::Int8(b)) => a == b,
        (Value::Float4(a), Value::Float4(b)) => a == b || (a.is_nan() && b.is_nan()),
        (Value::Float8(a), Value::Float8(b)) => a == b || (a.is_nan() && b.is_nan()),
        (Value::Oid(a), Value::Oid(b)) => a == b,
        (Value::Text(a), Value::Text(b)) if ty == PgType::BPCHAR => a.trim_end_matches(' ') == b.trim_end_matches(' '),
        (Value::Text(a), Value::Text(b)) if ty == PgType::JSONB => {
            a == b || crate::types::json::jsonb_sort_key(a) == crate::types::json::jsonb_sort_key(b)
        }
        (Value::Text(a), Value::Text(b)) => a == b,
        (Value::Bytes(a), Value::Bytes(b)) if ty == PgType::NUMERIC => {
            a == b || Numeric::decode(a) == Numeric::decode(b)
        }
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Uuid(a), Value::Uuid(b)) => a == b,
        (Value::Date(a), Value::Date(b)) => a == b,
        (Value::Time(a), Value::Time(b)) | (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
        (Value::Interval(a), Value::Interval(b)) => {
            // A month is 30 days, a day 24 hours.
            let micros = |v: &crate::types::Interval| {
                (i128::from(v.months) * 30 + i128::from(v.days)) * 86_400_000_000 + i128::from(v.micros)
            };
            micros(a) == micros(b)
        }
        (Value::Array(a), Value::Array(b)) => {
            let elem = ty.list_element().unwrap_or(ty);
            let (left, right) = (ColumnReader::new(a, elem), ColumnReader::new(b, elem));
            a.len() == b.len() && (0..a.len()).all(|i| not_distinct(elem, &left.value(i), &right.value(i)))
        }
        _ => false,
    }
}

/// `a IS NOT DISTINCT FROM b`
pub(super) fn not_distinct(ty: PgType, a: &Value<'_>, b: &Value<'_>) -> bool {
    (a.is_null() && b.is_null()) || same(ty, a, b)
}

/// The element type of the array that argument `n` is.
fn element_type(call: &Call<'_>, n: usize) -> PgType {
    call.arg_types[n].list_element().unwrap_or(PgType::TEXT)
}

/// Length in dimension `d`; none for an empty array.
fn bound(items: &ArrayRef, d: i32) -> Result<Option<i32>> {
    Ok((d == 1 && !items.is_empty()).then_some(items.len() as i32))
}

fn list_item(array: &ArrayRef, row: usize) -> Option<ArrayRef> {
    array.is_valid(row).then(|| array.as_list::<i32>().value(row))
}

/// array_to_string(array, delimiter [, null_string])
fn to_string(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let fs = call.session.format();
    let elem = element_type(call, 0);
    let delimiter = args[1].as_string::<i32>();
    let null_string = args.get(2).map(|a| a.as_string::<i32>());
    let mut out = StringBuilder::new();
    for row in 0..call.rows {
        let Some(items) = list_item(&args[0], row).filter(|_| delimiter.is_valid(row)) else {
            out.append_null();
            continue;
        };
        let null_string = null_string.filter(|a| a.is_valid(row)).map(|a| a.value(row));
        let reader = ColumnReader::new(&items, elem);
        let parts: Vec<String> = (0..items.len())
            .filter_map(|i| match reader.value(i) {
                Value::Null => null_string.map(str::to_owned),
                _ => Some(output_text(elem, &reader, i, &fs)),
            })
            .collect();
        out.append_value(parts.join(delimiter.value(row)));
    }
    Ok(Arc::new(out.finish()))
}

/// generate_subscripts(array, dimension [, reverse])
fn subscripts(args: &[ArrayRef]) -> Result<ArrayRef> {
    let dimension = args[1].as_primitive::<Int32Type>();
    let mut out = ListBuilder::new(Int32Builder::new());
    for row in 0..dimension.len() {
        let items = list_item(&args[0], row).filter(|_| args.iter().all(|a| a.is_valid(row)));
        let Some(items) = items else {
            out.append_null();
            continue;
        };
        let last = if dimension.value(row) == 1 { items.len() as i32 } else { 0 };
        let reverse = args.get(2).is_some_and(|a| a.as_boolean().value(row));
        for i in 1..=last {
            out.values().append_value(if reverse { last + 1 - i } else { i });
        }
        out.append(true);
    }
    Ok(Arc::new(out.finish()))
}

/// `array[n]`: NULL outside the bounds. int2vector and oidvector count from 0.
fn subscript(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let elem = element_type(call, 0);
    let lower = i64::from(call.arg_types[0].is_array());
    let index = args[1].as_primitive::<Int32Type>();
    let mut out = ArrayBuilder::new(elem, call.rows);
    for row in 0..call.rows {
        let items = list_item(&args[0], row).filter(|_| index.is_valid(row));
        let at = items
            .as_ref()
            .and_then(|items| usize::try_from(i64::from(index.value(row)) - lower).ok().filter(|at| *at < items.len()));
        match (items, at) {
            (Some(items), Some(at)) => out.append(&Value::from_array(&items, elem, at))?,
            _ => out.append_null(),
        }
    }
    Ok(out.finish())
}

/// `array[from:to]`
fn slice(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let (from, to) = (args[1].as_primitive::<Int32Type>(), args[2].as_primitive::<Int32Type>());
    build::lists(call, |row| {
        let Some(items) = list_item(&args[0], row).filter(|_| from.is_valid(row) && to.is_valid(row)) else {
            return Ok(None);
        };
        let start = (from.value(row).max(1) - 1) as usize;
        let end = (to.value(row).max(0) as usize).min(items.len());
        let start = start.min(end);
        Ok(Some(items.slice(start, end - start)))
    })
}

fn null_dimensions() -> SqlError {
    SqlError::new(SqlState::NULL_VALUE_NOT_ALLOWED, "dimension array or low bound array cannot be null")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_is_postgresqls() {
        let text = |s: &'static str| Value::Text(s.into());
        let interval = |months, days| Value::Interval(crate::types::Interval { months, days, micros: 0 });
        assert!(same(PgType::BPCHAR, &text("a "), &text("a")));
        assert!(!same(PgType::TEXT, &text("a "), &text("a")));
        assert!(same(PgType::JSONB, &text("[1.0]"), &text("[1]")));
        assert!(same(PgType::FLOAT8, &Value::Float8(f64::NAN), &Value::Float8(f64::NAN)));
        assert!(same(PgType::INTERVAL, &interval(1, 0), &interval(0, 30)));
        assert!(not_distinct(PgType::INT4, &Value::Null, &Value::Null));
        assert!(!not_distinct(PgType::INT4, &Value::Null, &Value::Int4(1)));
    }

    #[test]
    fn subscripts_count_from_one() {
        let mut column = ArrayBuilder::new(PgType::INT4_ARRAY, 1);
        let items: ArrayRef = Arc::new(datafusion::arrow::array::Int32Array::from(vec![4, 5]));
        column.append(&Value::Array(items.clone())).unwrap();
        assert_eq!(bound(&items, 1).unwrap(), Some(2));
        assert_eq!(bound(&items, 2).unwrap(), None);
        let one: ArrayRef = Arc::new(datafusion::arrow::array::Int32Array::from(vec![1]));
        let lists = subscripts(&[column.finish(), one]).unwrap();
        assert_eq!(lists.as_list::<i32>().value(0).as_primitive::<Int32Type>().values().as_ref(), [1, 2]);
    }
}
