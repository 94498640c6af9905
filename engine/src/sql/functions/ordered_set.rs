//! The last step of ordered-set aggregates: from the collected values, in order and without NULLs, to the answer
//! (orderedsetaggs.c).

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::Float64Type;
use datafusion::logical_expr::AggregateUDF;
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::{Call, aggregates_named};
use crate::sql::compare;
use crate::types::{ArrayBuilder, ColumnReader, Value};

/// The aggregate that collects the values.
pub(crate) fn collect_array(element: PgType, array: PgType) -> Arc<AggregateUDF> {
    let Some(def) = aggregates_named("array_agg").next() else { unreachable!("array_agg is in the table") };
    Arc::new((def.make)(&[element], array))
}

/// Between the two values around the fraction, in proportion.
pub(crate) fn percentile_cont(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    each(call, args, |values, fraction| {
        let values = values.as_primitive::<Float64Type>();
        let at = fraction * (values.len() - 1) as f64;
        let (low, high) = (values.value(at.floor() as usize), values.value(at.ceil() as usize));
        // Apart from infinities, which have no distance.
        Value::Float8(if low == high { low } else { low + (at - at.floor()) * (high - low) })
    })
}

/// The first value whose place in the order is not below the fraction.
pub(crate) fn percentile_disc(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let element = call.arg_types[0].element().unwrap_or(PgType::TEXT);
    each(call, args, |values, fraction| {
        let place = (fraction * values.len() as f64).ceil().max(1.0) as usize;
        ColumnReader::new(values, element).value(place - 1).into_owned()
    })
}

/// The value that comes most often; the first in the order if there are several.
pub(crate) fn mode(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let lists = args[0].as_list::<i32>();
    let mut out = ArrayBuilder::new(call.ret, call.rows);
    for row in 0..call.rows {
        let values = lists.value(row);
        if lists.is_null(row) || values.is_empty() {
            out.append_null();
            continue;
        }
        let keys = compare::key_array(call, call.ret, Arc::clone(&values))?;
        let keys = datafusion::arrow::row::RowConverter::new(vec![datafusion::arrow::row::SortField::new(
            keys.data_type().clone(),
        )])
        .and_then(|converter| converter.convert_columns(&[keys]))
        .map_err(|e| SqlError::internal(e.to_string()))?;
        let (mut best, mut longest, mut start) = (0, 0, 0);
        for i in 1..=values.len() {
            if i == values.len() || keys.row(i) != keys.row(start) {
                if i - start > longest {
                    (best, longest) = (start, i - start);
                }
                start = i;
            }
        }
        out.append(&ColumnReader::new(&values, call.ret).value(best))?;
    }
    Ok(out.finish())
}

/// Applies `pick` to each row's values and fraction, or to each of its fractions.
fn each(call: &Call<'_>, args: &[ArrayRef], pick: impl Fn(&ArrayRef, f64) -> Value<'static>) -> Result<ArrayRef> {
    let lists = args[0].as_list::<i32>();
    let one = |values: Option<&ArrayRef>, fraction: Value<'_>| match (values, fraction) {
        (_, Value::Float8(f)) if !(0.0..=1.0).contains(&f) => {
            let message = format!("percentile value {f} is not between 0 and 1");
            Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message))
        }
        (Some(values), Value::Float8(f)) => Ok(pick(values, f)),
        _ => Ok(Value::Null),
    };
    let mut out = ArrayBuilder::new(call.ret, call.rows);
    for row in 0..call.rows {
        let values = lists.is_valid(row).then(|| lists.value(row)).filter(|v| !v.is_empty());
        let fraction = Value::from_array(&args[1], call.arg_types[1], row);
        match fraction {
            Value::Array(fractions) => {
                if values.is_none() {
                    out.append_null();
                    continue;
                }
                let element = call.ret.element().unwrap_or(PgType::FLOAT8);
                let mut answers = ArrayBuilder::new(element, fractions.len());
                let reader = ColumnReader::new(&fractions, PgType::FLOAT8);
                for i in 0..fractions.len() {
                    answers.append(&one(values.as_ref(), reader.value(i))?)?;
                }
                out.append(&Value::Array(answers.finish()))?;
            }
            fraction => out.append(&one(values.as_ref(), fraction)?)?,
        }
    }
    Ok(out.finish())
}
