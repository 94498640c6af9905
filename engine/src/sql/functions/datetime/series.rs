//! `generate_series` over timestamps.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, ListBuilder, PrimitiveBuilder};
use datafusion::arrow::datatypes::{DataType, Field, TimeUnit, TimestampMicrosecondType};
use kalamdb_catalog::{Result, SqlError, SqlState};

use super::arith::{timestamp_add, timestamptz_add};
use crate::sql::functions::Call;
use crate::sql::functions::adapt::{Arg, Timestamp, Timestamptz};
use crate::types::Interval;
use crate::types::datetime::is_finite;

/// A series is built in memory; beyond this many values it is refused.
const MAX_VALUES: usize = 100_000_000;

pub(super) fn timestamps(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    series(args, false, |t, step| timestamp_add(Timestamp(t), step).map(|t| t.0))
}

pub(super) fn timestamptzs(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let format = call.session.format();
    series(args, true, |t, step| timestamptz_add(&format.time_zone, Timestamptz(t), step).map(|t| t.0))
}

fn series(args: &[ArrayRef], zoned: bool, add: impl Fn(i64, Interval) -> Result<i64>) -> Result<ArrayRef> {
    let (start, stop, step) = (&args[0], &args[1], &args[2]);
    let zone: Option<Arc<str>> = zoned.then(|| "UTC".into());
    let item = DataType::Timestamp(TimeUnit::Microsecond, zone);
    let values = PrimitiveBuilder::<TimestampMicrosecondType>::new().with_data_type(item.clone());
    let mut out = ListBuilder::new(values).with_field(Arc::new(Field::new("item", item, true)));
    for row in 0..start.len() {
        if start.is_null(row) || stop.is_null(row) || step.is_null(row) {
            out.append(false);
            continue;
        }
        let stop = Timestamp::read(&**stop, row).0;
        let step = Interval::read(&**step, row);
        let direction = step.cmp(&Interval::ZERO);
        if direction == Ordering::Equal {
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "step size cannot equal zero"));
        }
        let mut current = Timestamp::read(&**start, row).0;
        let mut count = 0;
        while current == stop || (current < stop) == (direction == Ordering::Greater) {
            count += 1;
            if count > MAX_VALUES || !is_finite(current) {
                return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "generate_series result is too large"));
            }
            out.values().append_value(current);
            current = add(current, step)?;
        }
        out.append(true);
    }
    Ok(Arc::new(out.finish()))
}
