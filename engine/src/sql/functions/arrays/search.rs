//! Searching in arrays and comparing them as sets.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanBuilder, Int32Builder, ListBuilder};
use datafusion::arrow::datatypes::Int32Type;
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::{element_type, list_item, not_distinct, same};
use crate::sql::functions::Call;
use crate::types::ColumnReader;

/// array_position(array, element [, start])
pub(super) fn position(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let elem = element_type(call, 0);
    let wanted = ColumnReader::new(&args[1], elem);
    let mut out = Int32Builder::new();
    for row in 0..call.rows {
        let Some(items) = list_item(&args[0], row) else {
            out.append_null();
            continue;
        };
        let start = match args.get(2) {
            None => 0,
            Some(start) if start.is_null(row) => {
                return Err(SqlError::new(SqlState::NULL_VALUE_NOT_ALLOWED, "initial position must not be null"));
            }
            Some(start) => (start.as_primitive::<Int32Type>().value(row).max(1) - 1) as usize,
        };
        let wanted = wanted.value(row);
        let reader = ColumnReader::new(&items, elem);
        let hit = (start..items.len()).find(|i| not_distinct(elem, &reader.value(*i), &wanted));
        out.append_option(hit.map(|i| i as i32 + 1));
    }
    Ok(Arc::new(out.finish()))
}

pub(super) fn positions(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let elem = element_type(call, 0);
    let wanted = ColumnReader::new(&args[1], elem);
    let mut out = ListBuilder::new(Int32Builder::new());
    for row in 0..call.rows {
        let Some(items) = list_item(&args[0], row) else {
            out.append_null();
            continue;
        };
        let wanted = wanted.value(row);
        let reader = ColumnReader::new(&items, elem);
        for i in (0..items.len()).filter(|i| not_distinct(elem, &reader.value(*i), &wanted)) {
            out.values().append_value(i as i32 + 1);
        }
        out.append(true);
    }
    Ok(Arc::new(out.finish()))
}

/// A predicate on two arrays, NULL if either is.
fn compare(call: &Call<'_>, args: &[ArrayRef], f: impl Fn(PgType, &ArrayRef, &ArrayRef) -> bool) -> Result<ArrayRef> {
    let elem = element_type(call, 0);
    let mut out = BooleanBuilder::with_capacity(call.rows);
    for row in 0..call.rows {
        out.append_option(match (list_item(&args[0], row), list_item(&args[1], row)) {
            (Some(a), Some(b)) => Some(f(elem, &a, &b)),
            _ => None,
        });
    }
    Ok(Arc::new(out.finish()))
}

/// Whether some element of `a` equals element `i` of `b`; NULL equals nothing.
fn has(elem: PgType, a: &ArrayRef, b: &ColumnReader<'_>, i: usize) -> bool {
    let (reader, wanted) = (ColumnReader::new(a, elem), b.value(i));
    !wanted.is_null() && (0..a.len()).any(|j| same(elem, &reader.value(j), &wanted))
}

fn contains_all(elem: PgType, a: &ArrayRef, b: &ArrayRef) -> bool {
    let reader = ColumnReader::new(b, elem);
    (0..b.len()).all(|i| has(elem, a, &reader, i))
}

pub(super) fn contains(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    compare(call, args, contains_all)
}

pub(super) fn contained(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    compare(call, args, |elem, a, b| contains_all(elem, b, a))
}

pub(super) fn overlap(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    compare(call, args, |elem, a, b| {
        let reader = ColumnReader::new(b, elem);
        (0..b.len()).any(|i| has(elem, a, &reader, i))
    })
}
