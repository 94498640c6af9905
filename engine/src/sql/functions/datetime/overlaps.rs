//! `(start, end) OVERLAPS (start, end)`: half-open spans, whose ends may be NULL.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray};
use kalamdb_catalog::Result;

use super::arith::{time_add, timestamp_add, timestamptz_add};
use crate::sql::functions::Call;
use crate::sql::functions::adapt::{Arg, Time, Timestamp, Timestamptz};
use crate::types::Interval;

/// A span from one given by two ends of any order; None if both are NULL.
fn span<T: PartialOrd + Copy>(a: Option<T>, b: Option<T>) -> Option<(T, Option<T>)> {
    match (a, b) {
        (None, None) => None,
        (Some(only), None) | (None, Some(only)) => Some((only, None)),
        (Some(a), Some(b)) if a > b => Some((b, Some(a))),
        (Some(a), b) => Some((a, b)),
    }
}

fn overlap<T: PartialOrd + Copy>(a: (Option<T>, Option<T>), b: (Option<T>, Option<T>)) -> Option<bool> {
    let ((a_start, a_end), (b_start, b_end)) = (span(a.0, a.1)?, span(b.0, b.1)?);
    if a_start == b_start {
        // Equal starts overlap, unless an end is unknown.
        return a_end.and(b_end).map(|_| true);
    }
    let ((_, early_end), (late_start, late_end)) =
        if a_start < b_start { ((a_start, a_end), (b_start, b_end)) } else { ((b_start, b_end), (a_start, a_end)) };
    if late_start < early_end? { Some(true) } else { late_end.map(|_| false) }
}

fn read<'a, T: Arg<'a>>(array: &'a ArrayRef, row: usize) -> Option<T> {
    if array.is_null(row) { None } else { Some(T::read(&**array, row)) }
}

type Add<T> = fn(&Call<'_>, T, Interval) -> Result<T>;

/// `FIRST` and `SECOND`: whether that span is given by start and length.
fn spans<'a, T, const FIRST: bool, const SECOND: bool>(
    call: &Call<'_>,
    args: &'a [ArrayRef],
    add: Add<T>,
) -> Result<ArrayRef>
where
    T: Arg<'a> + PartialOrd + Copy,
{
    let end = |start: Option<T>, array: &'a ArrayRef, row: usize, by_length: bool| -> Result<Option<T>> {
        if !by_length {
            return Ok(read(array, row));
        }
        match (start, read::<Interval>(array, row)) {
            (Some(start), Some(length)) => add(call, start, length).map(Some),
            _ => Ok(None),
        }
    };
    let mut out = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let a_start = read::<T>(&args[0], row);
        let b_start = read::<T>(&args[2], row);
        let a_end = end(a_start, &args[1], row, FIRST)?;
        let b_end = end(b_start, &args[3], row, SECOND)?;
        out.push(overlap((a_start, a_end), (b_start, b_end)));
    }
    Ok(Arc::new(BooleanArray::from(out)))
}

pub(super) fn timestamps<const FIRST: bool, const SECOND: bool>(
    call: &Call<'_>,
    args: &[ArrayRef],
) -> Result<ArrayRef> {
    spans::<Timestamp, FIRST, SECOND>(call, args, |_, t, length| timestamp_add(t, length))
}

pub(super) fn timestamptzs<const FIRST: bool, const SECOND: bool>(
    call: &Call<'_>,
    args: &[ArrayRef],
) -> Result<ArrayRef> {
    spans::<Timestamptz, FIRST, SECOND>(call, args, |call, t, length| {
        timestamptz_add(&call.session.format().time_zone, t, length)
    })
}

pub(super) fn times<const FIRST: bool, const SECOND: bool>(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    spans::<Time, FIRST, SECOND>(call, args, |_, t, length| Ok(time_add(t, length)))
}
