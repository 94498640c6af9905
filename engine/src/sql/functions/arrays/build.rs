//! Functions whose result is an array.

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::Int32Type;
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::{element_type, list_item, not_distinct, null_dimensions};
use crate::sql::functions::Call;
use crate::types::{ArrayBuilder, ColumnReader, Value};

/// PostgreSQL's MaxArraySize.
const ITEMS_MAX: i64 = 134_217_727;

/// A column of arrays, made row by row.
pub(super) fn lists(call: &Call<'_>, mut f: impl FnMut(usize) -> Result<Option<ArrayRef>>) -> Result<ArrayRef> {
    let mut out = ArrayBuilder::new(call.ret, call.rows);
    for row in 0..call.rows {
        match f(row)? {
            Some(items) => out.append(&Value::Array(items))?,
            None => out.append_null(),
        }
    }
    Ok(out.finish())
}

fn joined(parts: &[&dyn Array]) -> Result<ArrayRef> {
    concat(parts).map_err(|e| SqlError::internal(e.to_string()))
}

/// A NULL array counts as an empty one.
pub(super) fn append(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    lists(call, |row| {
        let item = args[1].slice(row, 1);
        Ok(Some(match list_item(&args[0], row) {
            Some(items) => joined(&[&items, &item])?,
            None => item,
        }))
    })
}

pub(super) fn prepend(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    lists(call, |row| {
        let item = args[0].slice(row, 1);
        Ok(Some(match list_item(&args[1], row) {
            Some(items) => joined(&[&item, &items])?,
            None => item,
        }))
    })
}

pub(super) fn cat(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    lists(call, |row| match (list_item(&args[0], row), list_item(&args[1], row)) {
        (Some(a), Some(b)) => joined(&[&a, &b]).map(Some),
        (a, b) => Ok(a.or(b)),
    })
}

/// The elements, each passed through `f`, which may drop it.
fn mapped<'a>(
    elem: PgType,
    items: &'a ArrayRef,
    mut f: impl FnMut(Value<'a>) -> Option<Value<'a>>,
) -> Result<ArrayRef> {
    let reader = ColumnReader::new(items, elem);
    let mut out = ArrayBuilder::new(elem, items.len());
    for i in 0..items.len() {
        if let Some(value) = f(reader.value(i)) {
            out.append(&value)?;
        }
    }
    Ok(out.finish())
}

pub(super) fn remove(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let elem = element_type(call, 0);
    let gone = ColumnReader::new(&args[1], elem);
    lists(call, |row| {
        let Some(items) = list_item(&args[0], row) else { return Ok(None) };
        let gone = gone.value(row);
        mapped(elem, &items, |v| (!not_distinct(elem, &v, &gone)).then_some(v)).map(Some)
    })
}

pub(super) fn replace(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let elem = element_type(call, 0);
    let (from, to) = (ColumnReader::new(&args[1], elem), ColumnReader::new(&args[2], elem));
    lists(call, |row| {
        let Some(items) = list_item(&args[0], row) else { return Ok(None) };
        let (from, to) = (from.value(row).into_owned(), to.value(row).into_owned());
        mapped(elem, &items, |v| Some(if not_distinct(elem, &v, &from) { to.clone() } else { v })).map(Some)
    })
}

/// array_fill(value, dimensions)
pub(super) fn fill(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let elem = call.ret.list_element().unwrap_or(PgType::TEXT);
    let reader = ColumnReader::new(&args[0], elem);
    lists(call, |row| {
        let dimensions = list_item(&args[1], row).ok_or_else(null_dimensions)?;
        let dimensions = dimensions.as_primitive::<Int32Type>();
        if dimensions.null_count() > 0 {
            return Err(SqlError::new(SqlState::NULL_VALUE_NOT_ALLOWED, "dimension values cannot be null"));
        }
        let count = match dimensions.values().as_ref() {
            [] => 0,
            [n] if (0..=ITEMS_MAX).contains(&i64::from(*n)) => *n,
            [_] => {
                return Err(SqlError::new(
                    SqlState::PROGRAM_LIMIT_EXCEEDED,
                    format!("array size exceeds the maximum allowed ({ITEMS_MAX})"),
                ));
            }
            _ => return Err(SqlError::unsupported("an array of more than one dimension")),
        };
        let value = reader.value(row);
        let mut out = ArrayBuilder::new(elem, count as usize);
        for _ in 0..count {
            out.append(&value)?;
        }
        Ok(Some(out.finish()))
    })
}

/// trim_array(array, n): without the last n elements.
pub(super) fn trim(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let count = args[1].as_primitive::<Int32Type>();
    lists(call, |row| {
        let Some(items) = list_item(&args[0], row).filter(|_| count.is_valid(row)) else { return Ok(None) };
        let keep =
            usize::try_from(count.value(row)).ok().and_then(|n| items.len().checked_sub(n)).ok_or_else(|| {
                SqlError::new(
                    SqlState::ARRAY_SUBSCRIPT_ERROR,
                    format!("number of elements to trim must be between 0 and {}", items.len()),
                )
            })?;
        Ok(Some(items.slice(0, keep)))
    })
}
