//! min and max where the carrier's order is not PostgreSQL's, and the bit and boolean aggregates.

use std::cmp::Ordering;
use std::marker::PhantomData;
use std::sync::Arc;

use bigdecimal::num_traits::PrimInt;
use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BooleanArray, PrimitiveArray,
};
use datafusion::arrow::datatypes::{
    DataType, Float32Type, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
};
use kalamdb_catalog::Result;

use super::kernel::Kernel;
use crate::types::Interval;
use crate::types::numeric::sort_key;

/// A carrier with PostgreSQL's order of its type.
pub(super) trait Ordered: Send + Sync + 'static {
    type Value: Clone + Send + Sync + 'static;
    type Array<'a>;
    fn data_type() -> DataType;
    fn bind(array: &ArrayRef) -> Self::Array<'_>;
    /// A row against a kept value.
    fn compare(array: &Self::Array<'_>, row: usize, value: &Self::Value) -> Ordering;
    fn take(array: &Self::Array<'_>, row: usize) -> Self::Value;
    fn array<'a>(values: impl Iterator<Item = Option<&'a Self::Value>>) -> ArrayRef;
}

macro_rules! ordered {
    ($t:ty, $n:ty, |$a:ident, $b:ident| $compare:expr) => {
        impl Ordered for $t {
            type Value = $n;
            type Array<'a> = &'a [$n];
            fn data_type() -> DataType {
                <$t>::DATA_TYPE
            }
            fn bind(array: &ArrayRef) -> Self::Array<'_> {
                array.as_primitive::<$t>().values()
            }
            fn compare(array: &Self::Array<'_>, row: usize, value: &$n) -> Ordering {
                let ($a, $b) = (array[row], *value);
                $compare
            }
            fn take(array: &Self::Array<'_>, row: usize) -> $n {
                array[row]
            }
            fn array<'a>(values: impl Iterator<Item = Option<&'a $n>>) -> ArrayRef {
                Arc::new(PrimitiveArray::<$t>::from_iter(values.map(|v| v.copied())))
            }
        }
    };
}

fn total(v: IntervalMonthDayNano) -> i128 {
    Interval { months: v.months, days: v.days, micros: v.nanoseconds }.total_micros()
}

// NaN is the greatest and equal to itself; 0 and -0 are equal.
ordered!(Float32Type, f32, |a, b| a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan())));
ordered!(Float64Type, f64, |a, b| a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan())));
ordered!(IntervalMonthDayNanoType, IntervalMonthDayNano, |a, b| total(a).cmp(&total(b)));

/// Encoded numerics.
pub(super) struct Encoded;

impl Ordered for Encoded {
    type Value = Vec<u8>;
    type Array<'a> = &'a BinaryArray;
    fn data_type() -> DataType {
        DataType::Binary
    }
    fn bind(array: &ArrayRef) -> Self::Array<'_> {
        array.as_binary::<i32>()
    }
    fn compare(array: &Self::Array<'_>, row: usize, value: &Vec<u8>) -> Ordering {
        sort_key(array.value(row)).cmp(sort_key(value))
    }
    fn take(array: &Self::Array<'_>, row: usize) -> Vec<u8> {
        array.value(row).to_vec()
    }
    fn array<'a>(values: impl Iterator<Item = Option<&'a Vec<u8>>>) -> ArrayRef {
        Arc::new(BinaryArray::from_iter(values))
    }
}

/// min or max; of equal values the last, as PostgreSQL's `*_larger` functions return it.
pub(super) struct Extreme<T> {
    pub(super) max: bool,
    pub(super) of: PhantomData<fn() -> T>,
}

impl<T> Clone for Extreme<T> {
    fn clone(&self) -> Self {
        Extreme { max: self.max, of: PhantomData }
    }
}

impl<T: Ordered> Kernel for Extreme<T> {
    type State = Option<T::Value>;
    type Input<'a> = T::Array<'a>;

    fn bind<'a>(&self, args: &'a [ArrayRef]) -> Self::Input<'a> {
        T::bind(&args[0])
    }

    fn update(&self, state: &mut Self::State, input: &Self::Input<'_>, row: usize) -> Result<()> {
        let worse = if self.max { Ordering::Less } else { Ordering::Greater };
        if state.as_ref().is_none_or(|kept| T::compare(input, row, kept) != worse) {
            *state = Some(T::take(input, row));
        }
        Ok(())
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![T::data_type()]
    }

    fn partials(&self, states: &[Self::State]) -> Vec<ArrayRef> {
        vec![T::array(states.iter().map(Option::as_ref))]
    }

    fn merge(&self, state: &mut Self::State, partials: &[ArrayRef], row: usize) -> Result<()> {
        if partials[0].is_valid(row) {
            self.update(state, &T::bind(&partials[0]), row)?;
        }
        Ok(())
    }

    fn finish(&self, states: &[Self::State]) -> Result<ArrayRef> {
        Ok(T::array(states.iter().map(Option::as_ref)))
    }
}

#[derive(Clone, Copy)]
pub(super) enum BitOp {
    And,
    Or,
    Xor,
}

/// bit_and, bit_or, bit_xor.
pub(super) struct Bits<T> {
    pub(super) op: BitOp,
    pub(super) of: PhantomData<fn() -> T>,
}

impl<T> Clone for Bits<T> {
    fn clone(&self) -> Self {
        Bits { op: self.op, of: PhantomData }
    }
}

impl<T: ArrowPrimitiveType> Kernel for Bits<T>
where
    T::Native: PrimInt,
{
    type State = Option<T::Native>;
    type Input<'a> = &'a [T::Native];

    fn bind<'a>(&self, args: &'a [ArrayRef]) -> Self::Input<'a> {
        args[0].as_primitive::<T>().values()
    }

    fn update(&self, state: &mut Self::State, input: &Self::Input<'_>, row: usize) -> Result<()> {
        let v = input[row];
        *state = Some(match (*state, self.op) {
            (None, _) => v,
            (Some(s), BitOp::And) => s & v,
            (Some(s), BitOp::Or) => s | v,
            (Some(s), BitOp::Xor) => s ^ v,
        });
        Ok(())
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![T::DATA_TYPE]
    }

    fn partials(&self, states: &[Self::State]) -> Vec<ArrayRef> {
        vec![Arc::new(PrimitiveArray::<T>::from_iter(states.iter().copied()))]
    }

    fn merge(&self, state: &mut Self::State, partials: &[ArrayRef], row: usize) -> Result<()> {
        if partials[0].is_valid(row) {
            self.update(state, &self.bind(partials), row)?;
        }
        Ok(())
    }

    fn finish(&self, states: &[Self::State]) -> Result<ArrayRef> {
        Ok(Arc::new(PrimitiveArray::<T>::from_iter(states.iter().copied())))
    }
}

/// bool_and (every) and bool_or.
#[derive(Clone)]
pub(super) struct Bools {
    pub(super) and: bool,
}

impl Kernel for Bools {
    type State = Option<bool>;
    type Input<'a> = &'a BooleanArray;

    fn bind<'a>(&self, args: &'a [ArrayRef]) -> Self::Input<'a> {
        args[0].as_boolean()
    }

    fn update(&self, state: &mut Option<bool>, input: &Self::Input<'_>, row: usize) -> Result<()> {
        let v = input.value(row);
        *state = Some(state.map_or(v, |s| if self.and { s && v } else { s || v }));
        Ok(())
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![DataType::Boolean]
    }

    fn partials(&self, states: &[Option<bool>]) -> Vec<ArrayRef> {
        vec![Arc::new(BooleanArray::from_iter(states.iter().copied()))]
    }

    fn merge(&self, state: &mut Option<bool>, partials: &[ArrayRef], row: usize) -> Result<()> {
        if partials[0].is_valid(row) {
            self.update(state, &self.bind(partials), row)?;
        }
        Ok(())
    }

    fn finish(&self, states: &[Option<bool>]) -> Result<ArrayRef> {
        Ok(Arc::new(BooleanArray::from_iter(states.iter().copied())))
    }
}
