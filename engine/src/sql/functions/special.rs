//! What has a syntax instead of a name: `ARRAY[...]`, `op ANY (array)`, WITH ORDINALITY.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBuilder, Int64Array, ListArray, UInt32Array,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::{concat, take};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::logical_expr::Expr;
use kalamdb_catalog::{PgType, Result, SqlError};

use super::{Call, ScalarImpl, Volatility, operators_named};
use crate::sql::compare;
use crate::sql::udf::Resolved;

fn arrow(error: datafusion::arrow::error::ArrowError) -> SqlError {
    SqlError::internal(error.to_string())
}

/// `ARRAY[a, b, ...]`: element `i` of row `r` is argument `i` at `r`.
pub fn make_array(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let element = call.ret.list_element().unwrap_or(PgType::TEXT).arrow();
    let field = Arc::new(Field::new("item", element, true));
    let refs: Vec<&dyn Array> = args.iter().map(AsRef::as_ref).collect();
    let columns = concat(&refs).map_err(arrow)?;
    let (rows, width) = (call.rows, args.len());
    let order = UInt32Array::from_iter_values((0..rows).flat_map(|r| (0..width).map(move |c| (c * rows + r) as u32)));
    let values = take(&columns, &order, None).map_err(arrow)?;
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(width, rows));
    Ok(Arc::new(ListArray::try_new(field, offsets, values, None).map_err(arrow)?))
}

/// The implementation of `x op ANY (array)` and `x op ALL (array)`, if the operator can be used so.
pub fn any_all(name: &str, any: bool) -> Option<ScalarImpl> {
    macro_rules! pick {
        ($($index:literal => $op:literal),*) => {
            match (name, any) {
                $(($op, true) => Some(quantified::<$index, true>),
                  ($op, false) => Some(quantified::<$index, false>),)*
                _ => None,
            }
        };
    }
    pick!(0 => "=", 1 => "<>", 2 => "<", 3 => "<=", 4 => ">", 5 => ">=", 6 => "~~", 7 => "!~~", 8 => "~~*", 9 => "!~~*", 10 => "~", 11 => "!~", 12 => "~*", 13 => "!~*")
}

const NAMES: [&str; 14] = ["=", "<>", "<", "<=", ">", ">=", "~~", "!~~", "~~*", "!~~*", "~", "!~", "~*", "!~*"];

/// Arguments: the left value, the array. Three-valued: an unknown comparison makes the answer unknown unless another
/// decides it.
fn quantified<const OP: usize, const ANY: bool>(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let list = args[1].as_list::<i32>();
    let mut owners = Vec::new();
    let mut elements = Vec::new();
    for row in 0..list.len() {
        if list.is_valid(row) {
            let (start, end) = (list.value_offsets()[row], list.value_offsets()[row + 1]);
            owners.extend(std::iter::repeat_n(row as u32, (end - start) as usize));
            elements.extend((start..end).map(|i| i as u32));
        }
    }
    let left = take(&args[0], &UInt32Array::from(owners.clone()), None).map_err(arrow)?;
    let right = take(list.values(), &UInt32Array::from(elements), None).map_err(arrow)?;
    let answers = compare_all(call, NAMES[OP], left, right)?;
    let mut out = BooleanBuilder::with_capacity(list.len());
    let mut next = 0;
    for row in 0..list.len() {
        if list.is_null(row) {
            out.append_null();
            continue;
        }
        let (mut decided, mut unknown) = (false, false);
        while next < owners.len() && owners[next] as usize == row {
            if answers.is_null(next) {
                unknown = true;
            } else if answers.value(next) == ANY {
                decided = true;
            }
            next += 1;
        }
        match (decided, unknown) {
            (true, _) => out.append_value(ANY),
            (false, true) => out.append_null(),
            (false, false) => out.append_value(!ANY),
        }
    }
    Ok(Arc::new(out.finish()))
}

fn compare_all(call: &Call<'_>, name: &str, left: ArrayRef, right: ArrayRef) -> Result<BooleanArray> {
    use datafusion::arrow::compute::kernels::cmp;
    let ty = call.arg_types[0];
    let rows = left.len();
    if compare::operator(name).is_none() {
        let found = operators_named(name).find(|o| o.left == Some(PgType::TEXT) && o.right == PgType::TEXT);
        let Some(op) = found else { return Err(SqlError::internal("an operator has gone")) };
        let inner = Call { rows, arg_types: &[PgType::TEXT, PgType::TEXT], ret: PgType::BOOL, ..*call };
        return Ok((op.imp)(&inner, &[left, right])?.as_boolean().clone());
    }
    let (left, right) = (compare::key_array(call, ty, left)?, compare::key_array(call, ty, right)?);
    match name {
        "=" => cmp::eq(&left, &right),
        "<>" => cmp::neq(&left, &right),
        "<" => cmp::lt(&left, &right),
        "<=" => cmp::lt_eq(&left, &right),
        ">" => cmp::gt(&left, &right),
        _ => cmp::gt_eq(&left, &right),
    }
    .map_err(arrow)
}

/// 1, 2, 3 ... as long as the longest of `lists`, as a list expression: WITH ORDINALITY.
pub fn ordinals(lists: Vec<Expr>) -> Expr {
    Resolved {
        name: "ordinality",
        args: vec![PgType::ANYARRAY; lists.len()],
        ret: PgType::INT8,
        list: true,
        typmod: -1,
        explicit: false,
        volatility: Volatility::Immutable,
        waits: false,
        imp: count_up,
    }
    .call(lists)
}

fn count_up(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let length = |row: usize| {
        let lengths = args.iter().map(|a| {
            let list = a.as_list::<i32>();
            if list.is_null(row) { 0 } else { list.value_length(row) as usize }
        });
        lengths.max().unwrap_or(0)
    };
    let lengths: Vec<usize> = (0..call.rows).map(length).collect();
    let values = Int64Array::from_iter_values(lengths.iter().flat_map(|n| 1..=*n as i64));
    let field = Arc::new(Field::new("item", DataType::Int64, true));
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(field, offsets, Arc::new(values), None).map_err(arrow)?))
}

/// A count of LIMIT or OFFSET that came out of a subquery: 2201W or 2201X for a negative one.
pub(crate) fn row_count<const LIMIT: bool>(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let counts = args[0].as_primitive::<datafusion::arrow::datatypes::Int64Type>();
    if counts.iter().flatten().any(|n| n < 0) {
        return Err(crate::sql::bind::negative_row_count(LIMIT));
    }
    Ok(Arc::clone(&args[0]))
}
