//! count, sum and avg.

use std::marker::PhantomData;
use std::sync::Arc;

use bigdecimal::num_traits::AsPrimitive;
use datafusion::arrow::array::{
    ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, Decimal128Array, Float32Array, Float64Array, Int64Array,
};
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    IntervalUnit,
};
use kalamdb_catalog::{Result, SqlError};

use super::kernel::Kernel;
use crate::sql::functions::adapt::Ret;
use crate::sql::functions::arithmetic::float_overflow;
use crate::types::{Interval, Numeric};

pub(super) fn array_of<T: Ret>(values: impl ExactSizeIterator<Item = Result<Option<T>>>) -> Result<ArrayRef> {
    let mut out = T::builder(values.len());
    for value in values {
        T::append(&mut out, value?);
    }
    Ok(T::finish(out))
}

pub(super) fn int64(array: &ArrayRef, row: usize) -> i64 {
    array.as_primitive::<Int64Type>().value(row)
}

pub(super) fn int64s(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn interval(v: IntervalMonthDayNano) -> Interval {
    Interval { months: v.months, days: v.days, micros: v.nanoseconds }
}

/// count(x): rows where x is not NULL.
#[derive(Clone)]
pub(super) struct Count;

impl Kernel for Count {
    type State = i64;
    type Input<'a> = ();
    const RETRACTS: bool = true;

    fn bind<'a>(&self, _: &'a [ArrayRef]) -> Self::Input<'a> {}

    fn update(&self, state: &mut i64, (): &(), _: usize) -> Result<()> {
        *state += 1;
        Ok(())
    }

    fn update_all(&self, state: &mut i64, (): &(), rows: usize) -> Result<()> {
        *state += rows as i64;
        Ok(())
    }

    fn retract(&self, state: &mut i64, (): &(), _: usize) -> Result<()> {
        *state -= 1;
        Ok(())
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![DataType::Int64]
    }

    fn partials(&self, states: &[i64]) -> Vec<ArrayRef> {
        vec![int64s(states.iter().copied())]
    }

    fn merge(&self, state: &mut i64, partials: &[ArrayRef], row: usize) -> Result<()> {
        *state += int64(&partials[0], row);
        Ok(())
    }

    fn finish(&self, states: &[i64]) -> Result<ArrayRef> {
        Ok(int64s(states.iter().copied()))
    }
}

/// sum and avg of int2 and int4: an int8 sum, which 2^32 rows cannot overflow.
pub(super) struct IntSum<T> {
    pub(super) avg: bool,
    pub(super) of: PhantomData<fn() -> T>,
}

impl<T> Clone for IntSum<T> {
    fn clone(&self) -> Self {
        IntSum { avg: self.avg, of: PhantomData }
    }
}

#[derive(Default, Clone, Copy)]
pub(super) struct Total<S> {
    sum: S,
    count: i64,
}

fn average(sum: Numeric, count: i64) -> Result<Numeric> {
    sum.div(&Numeric::from_i64(count))
}

impl<T: ArrowPrimitiveType> Kernel for IntSum<T>
where
    T::Native: Into<i64>,
{
    type State = Total<i64>;
    type Input<'a> = &'a [T::Native];
    const RETRACTS: bool = true;

    fn bind<'a>(&self, args: &'a [ArrayRef]) -> Self::Input<'a> {
        args[0].as_primitive::<T>().values()
    }

    fn update(&self, state: &mut Total<i64>, input: &Self::Input<'_>, row: usize) -> Result<()> {
        state.sum = state.sum.wrapping_add(input[row].into());
        state.count += 1;
        Ok(())
    }

    fn update_all(&self, state: &mut Total<i64>, input: &Self::Input<'_>, rows: usize) -> Result<()> {
        state.sum = input.iter().fold(state.sum, |sum, v| sum.wrapping_add((*v).into()));
        state.count += rows as i64;
        Ok(())
    }

    fn retract(&self, state: &mut Total<i64>, input: &Self::Input<'_>, row: usize) -> Result<()> {
        state.sum = state.sum.wrapping_sub(input[row].into());
        state.count -= 1;
        Ok(())
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![DataType::Int64, DataType::Int64]
    }

    fn partials(&self, states: &[Total<i64>]) -> Vec<ArrayRef> {
        vec![int64s(states.iter().map(|s| s.sum)), int64s(states.iter().map(|s| s.count))]
    }

    fn merge(&self, state: &mut Total<i64>, partials: &[ArrayRef], row: usize) -> Result<()> {
        state.sum = state.sum.wrapping_add(int64(&partials[0], row));
        state.count += int64(&partials[1], row);
        Ok(())
    }

    fn finish(&self, states: &[Total<i64>]) -> Result<ArrayRef> {
        if self.avg {
            return array_of(states.iter().map(|s| match s.count {
                0 => Ok(None),
                n => average(Numeric::from_i64(s.sum), n).map(Some),
            }));
        }
        Ok(Arc::new(Int64Array::from_iter(states.iter().map(|s| (s.count > 0).then_some(s.sum)))))
    }
}

/// sum and avg of int8: a 128-bit sum, a numeric result.
#[derive(Clone)]
pub(super) struct BigintSum {
    pub(super) avg: bool,
}

impl Kernel for BigintSum {
    type State = Total<i128>;
    type Input<'a> = &'a [i64];
    const RETRACTS: bool = true;

    fn bind<'a>(&self, args: &'a [ArrayRef]) -> Self::Input<'a> {
        args[0].as_primitive::<Int64Type>().values()
    }

    fn update(&self, state: &mut Total<i128>, input: &Self::Input<'_>, row: usize) -> Result<()> {
        state.sum += i128::from(input[row]);
        state.count += 1;
        Ok(())
    }

    fn update_all(&self, state: &mut Total<i128>, input: &Self::Input<'_>, rows: usize) -> Result<()> {
        state.sum += input.iter().map(|v| i128::from(*v)).sum::<i128>();
        state.count += rows as i64;
        Ok(())
    }

    fn retract(&self, state: &mut Total<i128>, input: &Self::Input<'_>, row: usize) -> Result<()> {
        state.sum -= i128::from(input[row]);
        state.count -= 1;
        Ok(())
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![DataType::Decimal128(38, 0), DataType::Int64]
    }

    fn partials(&self, states: &[Total<i128>]) -> Vec<ArrayRef> {
        let sums = Decimal128Array::from_iter_values(states.iter().map(|s| s.sum));
        vec![Arc::new(sums.with_data_type(DataType::Decimal128(38, 0))), int64s(states.iter().map(|s| s.count))]
    }

    fn merge(&self, state: &mut Total<i128>, partials: &[ArrayRef], row: usize) -> Result<()> {
        state.sum += partials[0].as_primitive::<Decimal128Type>().value(row);
        state.count += int64(&partials[1], row);
        Ok(())
    }

    fn finish(&self, states: &[Total<i128>]) -> Result<ArrayRef> {
        array_of(states.iter().map(|s| match s.count {
            0 => Ok(None),
            n if self.avg => average(Numeric::from_i128(s.sum), n).map(Some),
            _ => Ok(Some(Numeric::from_i128(s.sum))),
        }))
    }
}

/// sum of float4 (in float4) and of float8, avg of both (in float8). Window frames are summed afresh, since
/// subtracting is not exact.
pub(super) struct FloatSum<T> {
    pub(super) avg: bool,
    pub(super) of: PhantomData<fn() -> T>,
}

impl<T> Clone for FloatSum<T> {
    fn clone(&self) -> Self {
        FloatSum { avg: self.avg, of: PhantomData }
    }
}

impl<T: ArrowPrimitiveType> FloatSum<T>
where
    T::Native: AsPrimitive<f64>,
    f64: AsPrimitive<T::Native>,
{
    /// The sum in the precision PostgreSQL keeps it in. Adding two float4 as float8 and rounding gives float4's sum.
    fn round(&self, v: f64) -> f64 {
        if self.avg { v } else { AsPrimitive::<T::Native>::as_(v).as_() }
    }

    fn plus(&self, state: &mut Total<f64>, v: f64, count: i64) -> Result<()> {
        let sum = self.round(state.sum + v);
        if sum.is_infinite() && !state.sum.is_infinite() && !v.is_infinite() {
            return Err(float_overflow());
        }
        state.sum = sum;
        state.count += count;
        Ok(())
    }
}

impl<T: ArrowPrimitiveType> Kernel for FloatSum<T>
where
    T::Native: AsPrimitive<f64>,
    f64: AsPrimitive<T::Native>,
{
    type State = Total<f64>;
    type Input<'a> = &'a [T::Native];

    fn bind<'a>(&self, args: &'a [ArrayRef]) -> Self::Input<'a> {
        args[0].as_primitive::<T>().values()
    }

    fn update(&self, state: &mut Total<f64>, input: &Self::Input<'_>, row: usize) -> Result<()> {
        self.plus(state, input[row].as_(), 1)
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![DataType::Float64, DataType::Int64]
    }

    fn partials(&self, states: &[Total<f64>]) -> Vec<ArrayRef> {
        let sums = Float64Array::from_iter_values(states.iter().map(|s| s.sum));
        vec![Arc::new(sums), int64s(states.iter().map(|s| s.count))]
    }

    fn merge(&self, state: &mut Total<f64>, partials: &[ArrayRef], row: usize) -> Result<()> {
        self.plus(state, partials[0].as_primitive::<Float64Type>().value(row), int64(&partials[1], row))
    }

    fn finish(&self, states: &[Total<f64>]) -> Result<ArrayRef> {
        let value = |s: &Total<f64>| {
            let v = if self.avg { s.sum / s.count as f64 } else { s.sum };
            (s.count > 0).then_some(v)
        };
        if T::DATA_TYPE == Float32Type::DATA_TYPE && !self.avg {
            return Ok(Arc::new(Float32Array::from_iter(states.iter().map(|s| value(s).map(|v| v as f32)))));
        }
        Ok(Arc::new(Float64Array::from_iter(states.iter().map(value))))
    }
}

/// sum and avg of numeric.
#[derive(Clone)]
pub(super) struct NumericSum {
    pub(super) avg: bool,
}

/// Finite values are summed, the others counted, so that both can be retracted.
pub(super) struct NumericTotal {
    sum: Numeric,
    count: i64,
    nan: i64,
    infinity: i64,
    neg_infinity: i64,
    /// How many values there are of each display scale: the sum's scale is the largest one left in the frame.
    scales: Vec<(u16, i64)>,
}

impl Default for NumericTotal {
    fn default() -> Self {
        NumericTotal { sum: Numeric::ZERO, count: 0, nan: 0, infinity: 0, neg_infinity: 0, scales: Vec::new() }
    }
}

impl NumericTotal {
    /// Adds (`by` = 1) or takes back (`by` = -1) a value.
    fn apply(&mut self, v: &Numeric, by: i64) -> Result<()> {
        self.count += by;
        match v.scale() {
            Some(scale) => {
                self.sum = if by > 0 { self.sum.add(v)? } else { self.sum.sub(v)? };
                self.note_scale(scale, by);
            }
            None if v.is_nan() => self.nan += by,
            None if v.signum() > 0 => self.infinity += by,
            None => self.neg_infinity += by,
        }
        Ok(())
    }

    fn note_scale(&mut self, scale: u16, by: i64) {
        match self.scales.iter_mut().find(|(s, _)| *s == scale) {
            Some((_, n)) => *n += by,
            None => self.scales.push((scale, by)),
        }
    }

    fn sum(&self) -> Numeric {
        if self.nan > 0 || (self.infinity > 0 && self.neg_infinity > 0) {
            Numeric::NAN
        } else if self.infinity > 0 {
            Numeric::INFINITY
        } else if self.neg_infinity > 0 {
            Numeric::NEG_INFINITY
        } else {
            let scale = self.scales.iter().filter(|(_, n)| *n > 0).map(|(s, _)| *s).max().unwrap_or(0);
            self.sum.round(i32::from(scale))
        }
    }
}

impl Kernel for NumericSum {
    type State = NumericTotal;
    type Input<'a> = &'a BinaryArray;
    const RETRACTS: bool = true;

    fn bind<'a>(&self, args: &'a [ArrayRef]) -> Self::Input<'a> {
        args[0].as_binary::<i32>()
    }

    fn update(&self, state: &mut NumericTotal, input: &Self::Input<'_>, row: usize) -> Result<()> {
        state.apply(&Numeric::decode(input.value(row)), 1)
    }

    fn retract(&self, state: &mut NumericTotal, input: &Self::Input<'_>, row: usize) -> Result<()> {
        state.apply(&Numeric::decode(input.value(row)), -1)
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![DataType::Binary, DataType::Int64, DataType::Int64, DataType::Int64, DataType::Int64]
    }

    fn partials(&self, states: &[NumericTotal]) -> Vec<ArrayRef> {
        vec![
            Arc::new(BinaryArray::from_iter_values(states.iter().map(|s| s.sum.encode()))),
            int64s(states.iter().map(|s| s.count)),
            int64s(states.iter().map(|s| s.nan)),
            int64s(states.iter().map(|s| s.infinity)),
            int64s(states.iter().map(|s| s.neg_infinity)),
        ]
    }

    fn merge(&self, state: &mut NumericTotal, partials: &[ArrayRef], row: usize) -> Result<()> {
        let sum = Numeric::decode(partials[0].as_binary::<i32>().value(row));
        state.sum = state.sum.add(&sum)?;
        state.count += int64(&partials[1], row);
        state.nan += int64(&partials[2], row);
        state.infinity += int64(&partials[3], row);
        state.neg_infinity += int64(&partials[4], row);
        state.note_scale(sum.scale().unwrap_or(0), 1);
        Ok(())
    }

    fn finish(&self, states: &[NumericTotal]) -> Result<ArrayRef> {
        array_of(states.iter().map(|s| match s.count {
            0 => Ok(None),
            n if self.avg => average(s.sum(), n).map(Some),
            _ => Ok(Some(s.sum())),
        }))
    }
}

/// sum and avg of interval.
#[derive(Clone)]
pub(super) struct IntervalSum {
    pub(super) avg: bool,
}

#[derive(Default)]
pub(super) struct IntervalTotal {
    sum: Interval,
    count: i64,
}

impl Kernel for IntervalSum {
    type State = IntervalTotal;
    type Input<'a> = &'a [IntervalMonthDayNano];
    const RETRACTS: bool = true;

    fn bind<'a>(&self, args: &'a [ArrayRef]) -> Self::Input<'a> {
        args[0].as_primitive::<IntervalMonthDayNanoType>().values()
    }

    fn update(&self, state: &mut IntervalTotal, input: &Self::Input<'_>, row: usize) -> Result<()> {
        state.sum = state.sum.checked_add(&interval(input[row]))?;
        state.count += 1;
        Ok(())
    }

    fn retract(&self, state: &mut IntervalTotal, input: &Self::Input<'_>, row: usize) -> Result<()> {
        state.sum = state.sum.checked_sub(&interval(input[row]))?;
        state.count -= 1;
        Ok(())
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![DataType::Interval(IntervalUnit::MonthDayNano), DataType::Int64]
    }

    fn partials(&self, states: &[IntervalTotal]) -> Vec<ArrayRef> {
        let mut sums = Interval::builder(states.len());
        states.iter().for_each(|s| Interval::append(&mut sums, Some(s.sum)));
        vec![Interval::finish(sums), int64s(states.iter().map(|s| s.count))]
    }

    fn merge(&self, state: &mut IntervalTotal, partials: &[ArrayRef], row: usize) -> Result<()> {
        let sum = interval(partials[0].as_primitive::<IntervalMonthDayNanoType>().value(row));
        state.sum = state.sum.checked_add(&sum)?;
        state.count += int64(&partials[1], row);
        Ok(())
    }

    fn finish(&self, states: &[IntervalTotal]) -> Result<ArrayRef> {
        array_of(states.iter().map(|s| match s.count {
            0 => Ok::<_, SqlError>(None),
            n if self.avg => s.sum.checked_div(n as f64).map(Some),
            _ => Ok(Some(s.sum)),
        }))
    }
}
