//! Arithmetic and bit operators; the casts among numbers are in the file beside.
//!
//! Integers and floats run over the Arrow buffers in one pass without branches on validity: each row gives a value and
//! a "bad" bit, and only if some bit was set a second pass looks for a bad row that is not NULL and reports it. Analytic
//! speed depends on these loops.

mod casts;

use std::sync::Arc;

use bigdecimal::num_traits::ops::overflowing::{OverflowingAdd, OverflowingMul, OverflowingSub};
use bigdecimal::num_traits::{Bounded, CheckedDiv, Float, One, PrimInt, Signed, WrappingNeg, Zero};
use datafusion::arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{Float32Type, Float64Type, Int16Type, Int32Type, Int64Type};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::adapt::{map1, map2};
use super::{Call, OpDef};
use crate::types::Numeric;

pub(super) use casts::CASTS;

/// An integer type and the error of leaving it.
pub(super) trait IntType: ArrowPrimitiveType {
    const OUT_OF_RANGE: &'static str;
}

impl IntType for Int16Type {
    const OUT_OF_RANGE: &'static str = "smallint out of range";
}

impl IntType for Int32Type {
    const OUT_OF_RANGE: &'static str = "integer out of range";
}

impl IntType for Int64Type {
    const OUT_OF_RANGE: &'static str = "bigint out of range";
}

pub(super) fn range_error(message: &'static str) -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message)
}

pub(super) fn division_by_zero() -> SqlError {
    SqlError::new(SqlState::DIVISION_BY_ZERO, "division by zero")
}

pub(super) fn float_overflow() -> SqlError {
    range_error("value out of range: overflow")
}

pub(super) fn float_underflow() -> SqlError {
    range_error("value out of range: underflow")
}

/// `op` gives a row's value and whether it is an error; `error` says which.
pub(super) fn unary<A: ArrowPrimitiveType, R: ArrowPrimitiveType>(
    args: &[ArrayRef],
    op: impl Fn(A::Native) -> (R::Native, bool),
    error: impl Fn(A::Native) -> SqlError,
) -> Result<ArrayRef> {
    let a = args[0].as_primitive::<A>();
    let mut any = false;
    let values: Vec<R::Native> = a
        .values()
        .iter()
        .map(|&v| {
            let (value, bad) = op(v);
            any |= bad;
            value
        })
        .collect();
    if any {
        for v in a.iter().flatten() {
            if op(v).1 {
                return Err(error(v));
            }
        }
    }
    Ok(Arc::new(PrimitiveArray::<R>::new(values.into(), a.nulls().cloned())))
}

/// [`unary`] for two arguments.
pub(super) fn binary<A: ArrowPrimitiveType, B: ArrowPrimitiveType, R: ArrowPrimitiveType>(
    args: &[ArrayRef],
    op: impl Fn(A::Native, B::Native) -> (R::Native, bool),
    error: impl Fn(A::Native, B::Native) -> SqlError,
) -> Result<ArrayRef> {
    let (a, b) = (args[0].as_primitive::<A>(), args[1].as_primitive::<B>());
    let mut any = false;
    let values: Vec<R::Native> = a
        .values()
        .iter()
        .zip(b.values())
        .map(|(&x, &y)| {
            let (value, bad) = op(x, y);
            any |= bad;
            value
        })
        .collect();
    let nulls = NullBuffer::union(a.nulls(), b.nulls());
    if any {
        for (x, y) in a.iter().zip(b.iter()) {
            if let (Some(x), Some(y)) = (x, y)
                && op(x, y).1
            {
                return Err(error(x, y));
            }
        }
    }
    Ok(Arc::new(PrimitiveArray::<R>::new(values.into(), nulls)))
}

fn add<A, B, R>(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef>
where
    A: ArrowPrimitiveType,
    B: ArrowPrimitiveType,
    R: IntType,
    R::Native: From<A::Native> + From<B::Native> + OverflowingAdd,
{
    binary::<A, B, R>(
        args,
        |a, b| R::Native::from(a).overflowing_add(&R::Native::from(b)),
        |_, _| range_error(R::OUT_OF_RANGE),
    )
}

fn sub<A, B, R>(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef>
where
    A: ArrowPrimitiveType,
    B: ArrowPrimitiveType,
    R: IntType,
    R::Native: From<A::Native> + From<B::Native> + OverflowingSub,
{
    binary::<A, B, R>(
        args,
        |a, b| R::Native::from(a).overflowing_sub(&R::Native::from(b)),
        |_, _| range_error(R::OUT_OF_RANGE),
    )
}

fn mul<A, B, R>(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef>
where
    A: ArrowPrimitiveType,
    B: ArrowPrimitiveType,
    R: IntType,
    R::Native: From<A::Native> + From<B::Native> + OverflowingMul,
{
    binary::<A, B, R>(
        args,
        |a, b| R::Native::from(a).overflowing_mul(&R::Native::from(b)),
        |_, _| range_error(R::OUT_OF_RANGE),
    )
}

fn div<A, B, R>(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef>
where
    A: ArrowPrimitiveType,
    B: ArrowPrimitiveType,
    R: IntType,
    R::Native: From<A::Native> + From<B::Native> + PrimInt + Signed,
{
    binary::<A, B, R>(
        args,
        |a, b| match R::Native::from(a).checked_div(&R::Native::from(b)) {
            Some(v) => (v, false),
            None => (R::Native::zero(), true),
        },
        |_, b| {
            if R::Native::from(b).is_zero() { division_by_zero() } else { range_error(R::OUT_OF_RANGE) }
        },
    )
}

pub(super) fn rem<T: IntType>(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef>
where
    T::Native: PrimInt + Signed,
{
    binary::<T, T, T>(
        args,
        // x % -1 is 0 for every x, the least one included.
        |a, b| {
            if b.is_zero() || b == -T::Native::one() { (T::Native::zero(), b.is_zero()) } else { (a % b, false) }
        },
        |_, _| division_by_zero(),
    )
}

fn neg<T: IntType>(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef>
where
    T::Native: PrimInt + WrappingNeg,
{
    unary::<T, T>(args, |a| (a.wrapping_neg(), a == T::Native::min_value()), |_| range_error(T::OUT_OF_RANGE))
}

pub(super) fn abs<T: IntType>(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef>
where
    T::Native: PrimInt + WrappingNeg,
{
    unary::<T, T>(
        args,
        |a| (if a < T::Native::zero() { a.wrapping_neg() } else { a }, a == T::Native::min_value()),
        |_| range_error(T::OUT_OF_RANGE),
    )
}

fn never() -> SqlError {
    SqlError::internal("operator without errors reported one")
}

fn same(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    Ok(args[0].clone())
}

macro_rules! float_ops {
    ($add:ident, $sub:ident, $mul:ident, $div:ident, $a:ty, $b:ty, $r:ty, $n:ty) => {
        fn $add(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
            binary::<$a, $b, $r>(
                args,
                |a, b| {
                    let v = <$n>::from(a) + <$n>::from(b);
                    (v, v.is_infinite() && !a.is_infinite() && !b.is_infinite())
                },
                |_, _| float_overflow(),
            )
        }
        fn $sub(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
            binary::<$a, $b, $r>(
                args,
                |a, b| {
                    let v = <$n>::from(a) - <$n>::from(b);
                    (v, v.is_infinite() && !a.is_infinite() && !b.is_infinite())
                },
                |_, _| float_overflow(),
            )
        }
        fn $mul(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
            binary::<$a, $b, $r>(
                args,
                |a, b| {
                    let v = <$n>::from(a) * <$n>::from(b);
                    let overflow = v.is_infinite() && !a.is_infinite() && !b.is_infinite();
                    (v, overflow || (v == 0.0 && a != 0.0 && b != 0.0))
                },
                |a, b| if (<$n>::from(a) * <$n>::from(b)).is_infinite() { float_overflow() } else { float_underflow() },
            )
        }
        fn $div(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
            binary::<$a, $b, $r>(
                args,
                |a, b| {
                    let v = <$n>::from(a) / <$n>::from(b);
                    let by_zero = b == 0.0 && !a.is_nan();
                    let overflow = v.is_infinite() && !a.is_infinite();
                    (v, by_zero || overflow || (v == 0.0 && a != 0.0 && !b.is_infinite()))
                },
                |a, b| {
                    if b == 0.0 {
                        division_by_zero()
                    } else if (<$n>::from(a) / <$n>::from(b)).is_infinite() {
                        float_overflow()
                    } else {
                        float_underflow()
                    }
                },
            )
        }
    };
}

float_ops!(add44, sub44, mul44, div44, Float32Type, Float32Type, Float32Type, f32);
float_ops!(add48, sub48, mul48, div48, Float32Type, Float64Type, Float64Type, f64);
float_ops!(add84, sub84, mul84, div84, Float64Type, Float32Type, Float64Type, f64);
float_ops!(add88, sub88, mul88, div88, Float64Type, Float64Type, Float64Type, f64);

fn float_neg<T: ArrowPrimitiveType>(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef>
where
    T::Native: Float,
{
    unary::<T, T>(args, |a| (-a, false), |_| never())
}

pub(super) fn float_abs<T: ArrowPrimitiveType>(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef>
where
    T::Native: Float,
{
    unary::<T, T>(args, |a| (a.abs(), false), |_| never())
}

/// `dpow`: POSIX pow with PostgreSQL's errors.
pub(super) fn float_power(a: f64, b: f64) -> Result<f64> {
    let invalid = |message| Err(SqlError::new(SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION, message));
    if a == 0.0 && b < 0.0 {
        return invalid("zero raised to a negative power is undefined");
    }
    if a < 0.0 && b.is_finite() && b.floor() != b {
        return invalid("a negative number raised to a non-integer power yields a complex result");
    }
    let v = a.powf(b);
    if a.is_finite() && b.is_finite() {
        if v.is_infinite() {
            return Err(float_overflow());
        }
        if v == 0.0 && a != 0.0 {
            return Err(float_underflow());
        }
    }
    Ok(v)
}

pub(super) fn power_f64(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    map2(args, float_power)
}

pub(super) fn sqrt_f64(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    unary::<Float64Type, Float64Type>(
        args,
        |a| (a.sqrt(), a < 0.0),
        |_| {
            SqlError::new(SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION, "cannot take square root of a negative number")
        },
    )
}

pub(super) fn cbrt_f64(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    unary::<Float64Type, Float64Type>(args, |a| (a.cbrt(), false), |_| never())
}

macro_rules! bit_ops {
    ($and:ident, $or:ident, $xor:ident, $not:ident, $shl:ident, $shr:ident, $t:ty, $n:ty, $wide:ty) => {
        fn $and(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
            binary::<$t, $t, $t>(args, |a, b| (a & b, false), |_, _| never())
        }
        fn $or(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
            binary::<$t, $t, $t>(args, |a, b| (a | b, false), |_, _| never())
        }
        fn $xor(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
            binary::<$t, $t, $t>(args, |a, b| (a ^ b, false), |_, _| never())
        }
        fn $not(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
            unary::<$t, $t>(args, |a| (!a, false), |_| never())
        }
        // The shift count is taken modulo the width of C's promoted operand, as the machine does for PostgreSQL.
        fn $shl(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
            binary::<$t, Int32Type, $t>(args, |a, b| ((a as $wide).wrapping_shl(b as u32) as $n, false), |_, _| never())
        }
        fn $shr(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
            binary::<$t, Int32Type, $t>(args, |a, b| ((a as $wide).wrapping_shr(b as u32) as $n, false), |_, _| never())
        }
    };
}

bit_ops!(and2, or2, xor2, not2, shl2, shr2, Int16Type, i16, i32);
bit_ops!(and4, or4, xor4, not4, shl4, shr4, Int32Type, i32, i32);
bit_ops!(and8, or8, xor8, not8, shl8, shr8, Int64Type, i64, i64);

const I2: PgType = PgType::INT2;
const I4: PgType = PgType::INT4;
const I8: PgType = PgType::INT8;
const F4: PgType = PgType::FLOAT4;
const F8: PgType = PgType::FLOAT8;
const NUM: PgType = PgType::NUMERIC;

/// The arithmetic and bit operators of pg_operator.
pub(super) static OPERATORS: &[OpDef] = &[
    OpDef::infix(550, "+", I2, I2, I2, add::<Int16Type, Int16Type, Int16Type>),
    OpDef::infix(551, "+", I4, I4, I4, add::<Int32Type, Int32Type, Int32Type>),
    OpDef::infix(552, "+", I2, I4, I4, add::<Int16Type, Int32Type, Int32Type>),
    OpDef::infix(553, "+", I4, I2, I4, add::<Int32Type, Int16Type, Int32Type>),
    OpDef::infix(684, "+", I8, I8, I8, add::<Int64Type, Int64Type, Int64Type>),
    OpDef::infix(688, "+", I8, I4, I8, add::<Int64Type, Int32Type, Int64Type>),
    OpDef::infix(692, "+", I4, I8, I8, add::<Int32Type, Int64Type, Int64Type>),
    OpDef::infix(818, "+", I8, I2, I8, add::<Int64Type, Int16Type, Int64Type>),
    OpDef::infix(822, "+", I2, I8, I8, add::<Int16Type, Int64Type, Int64Type>),
    OpDef::infix(586, "+", F4, F4, F4, add44),
    OpDef::infix(591, "+", F8, F8, F8, add88),
    OpDef::infix(1116, "+", F4, F8, F8, add48),
    OpDef::infix(1126, "+", F8, F4, F8, add84),
    OpDef::infix(1758, "+", NUM, NUM, NUM, |_, a| map2(a, |a: Numeric, b: Numeric| a.add(&b))),
    OpDef::infix(554, "-", I2, I2, I2, sub::<Int16Type, Int16Type, Int16Type>),
    OpDef::infix(555, "-", I4, I4, I4, sub::<Int32Type, Int32Type, Int32Type>),
    OpDef::infix(556, "-", I2, I4, I4, sub::<Int16Type, Int32Type, Int32Type>),
    OpDef::infix(557, "-", I4, I2, I4, sub::<Int32Type, Int16Type, Int32Type>),
    OpDef::infix(685, "-", I8, I8, I8, sub::<Int64Type, Int64Type, Int64Type>),
    OpDef::infix(689, "-", I8, I4, I8, sub::<Int64Type, Int32Type, Int64Type>),
    OpDef::infix(693, "-", I4, I8, I8, sub::<Int32Type, Int64Type, Int64Type>),
    OpDef::infix(819, "-", I8, I2, I8, sub::<Int64Type, Int16Type, Int64Type>),
    OpDef::infix(823, "-", I2, I8, I8, sub::<Int16Type, Int64Type, Int64Type>),
    OpDef::infix(587, "-", F4, F4, F4, sub44),
    OpDef::infix(592, "-", F8, F8, F8, sub88),
    OpDef::infix(1117, "-", F4, F8, F8, sub48),
    OpDef::infix(1127, "-", F8, F4, F8, sub84),
    OpDef::infix(1759, "-", NUM, NUM, NUM, |_, a| map2(a, |a: Numeric, b: Numeric| a.sub(&b))),
    OpDef::infix(526, "*", I2, I2, I2, mul::<Int16Type, Int16Type, Int16Type>),
    OpDef::infix(514, "*", I4, I4, I4, mul::<Int32Type, Int32Type, Int32Type>),
    OpDef::infix(544, "*", I2, I4, I4, mul::<Int16Type, Int32Type, Int32Type>),
    OpDef::infix(545, "*", I4, I2, I4, mul::<Int32Type, Int16Type, Int32Type>),
    OpDef::infix(686, "*", I8, I8, I8, mul::<Int64Type, Int64Type, Int64Type>),
    OpDef::infix(690, "*", I8, I4, I8, mul::<Int64Type, Int32Type, Int64Type>),
    OpDef::infix(694, "*", I4, I8, I8, mul::<Int32Type, Int64Type, Int64Type>),
    OpDef::infix(820, "*", I8, I2, I8, mul::<Int64Type, Int16Type, Int64Type>),
    OpDef::infix(824, "*", I2, I8, I8, mul::<Int16Type, Int64Type, Int64Type>),
    OpDef::infix(589, "*", F4, F4, F4, mul44),
    OpDef::infix(594, "*", F8, F8, F8, mul88),
    OpDef::infix(1119, "*", F4, F8, F8, mul48),
    OpDef::infix(1129, "*", F8, F4, F8, mul84),
    OpDef::infix(1760, "*", NUM, NUM, NUM, |_, a| map2(a, |a: Numeric, b: Numeric| a.mul(&b))),
    OpDef::infix(527, "/", I2, I2, I2, div::<Int16Type, Int16Type, Int16Type>),
    OpDef::infix(528, "/", I4, I4, I4, div::<Int32Type, Int32Type, Int32Type>),
    OpDef::infix(546, "/", I2, I4, I4, div::<Int16Type, Int32Type, Int32Type>),
    OpDef::infix(547, "/", I4, I2, I4, div::<Int32Type, Int16Type, Int32Type>),
    OpDef::infix(687, "/", I8, I8, I8, div::<Int64Type, Int64Type, Int64Type>),
    OpDef::infix(691, "/", I8, I4, I8, div::<Int64Type, Int32Type, Int64Type>),
    OpDef::infix(695, "/", I4, I8, I8, div::<Int32Type, Int64Type, Int64Type>),
    OpDef::infix(821, "/", I8, I2, I8, div::<Int64Type, Int16Type, Int64Type>),
    OpDef::infix(825, "/", I2, I8, I8, div::<Int16Type, Int64Type, Int64Type>),
    OpDef::infix(588, "/", F4, F4, F4, div44),
    OpDef::infix(593, "/", F8, F8, F8, div88),
    OpDef::infix(1118, "/", F4, F8, F8, div48),
    OpDef::infix(1128, "/", F8, F4, F8, div84),
    OpDef::infix(1761, "/", NUM, NUM, NUM, |_, a| map2(a, |a: Numeric, b: Numeric| a.div(&b))),
    OpDef::infix(529, "%", I2, I2, I2, rem::<Int16Type>),
    OpDef::infix(530, "%", I4, I4, I4, rem::<Int32Type>),
    OpDef::infix(439, "%", I8, I8, I8, rem::<Int64Type>),
    OpDef::infix(1762, "%", NUM, NUM, NUM, |_, a| map2(a, |a: Numeric, b: Numeric| a.rem(&b))),
    OpDef::infix(965, "^", F8, F8, F8, power_f64),
    OpDef::infix(1038, "^", NUM, NUM, NUM, |_, a| map2(a, |a: Numeric, b: Numeric| a.power(&b))),
    OpDef::prefix(1917, "+", I2, I2, same),
    OpDef::prefix(1918, "+", I4, I4, same),
    OpDef::prefix(1916, "+", I8, I8, same),
    OpDef::prefix(1919, "+", F4, F4, same),
    OpDef::prefix(1920, "+", F8, F8, same),
    OpDef::prefix(1921, "+", NUM, NUM, same),
    OpDef::prefix(559, "-", I2, I2, neg::<Int16Type>),
    OpDef::prefix(558, "-", I4, I4, neg::<Int32Type>),
    OpDef::prefix(484, "-", I8, I8, neg::<Int64Type>),
    OpDef::prefix(584, "-", F4, F4, float_neg::<Float32Type>),
    OpDef::prefix(585, "-", F8, F8, float_neg::<Float64Type>),
    OpDef::prefix(1751, "-", NUM, NUM, |_, a| map1(a, |a: Numeric| Ok(a.neg()))),
    OpDef::prefix(682, "@", I2, I2, abs::<Int16Type>),
    OpDef::prefix(773, "@", I4, I4, abs::<Int32Type>),
    OpDef::prefix(473, "@", I8, I8, abs::<Int64Type>),
    OpDef::prefix(590, "@", F4, F4, float_abs::<Float32Type>),
    OpDef::prefix(595, "@", F8, F8, float_abs::<Float64Type>),
    OpDef::prefix(1763, "@", NUM, NUM, |_, a| map1(a, |a: Numeric| Ok(a.abs()))),
    OpDef::prefix(596, "|/", F8, F8, sqrt_f64),
    OpDef::prefix(597, "||/", F8, F8, cbrt_f64),
    OpDef::infix(1874, "&", I2, I2, I2, and2),
    OpDef::infix(1880, "&", I4, I4, I4, and4),
    OpDef::infix(1886, "&", I8, I8, I8, and8),
    OpDef::infix(1875, "|", I2, I2, I2, or2),
    OpDef::infix(1881, "|", I4, I4, I4, or4),
    OpDef::infix(1887, "|", I8, I8, I8, or8),
    OpDef::infix(1876, "#", I2, I2, I2, xor2),
    OpDef::infix(1882, "#", I4, I4, I4, xor4),
    OpDef::infix(1888, "#", I8, I8, I8, xor8),
    OpDef::prefix(1877, "~", I2, I2, not2),
    OpDef::prefix(1883, "~", I4, I4, not4),
    OpDef::prefix(1889, "~", I8, I8, not8),
    OpDef::infix(1878, "<<", I2, I4, I2, shl2),
    OpDef::infix(1884, "<<", I4, I4, I4, shl4),
    OpDef::infix(1890, "<<", I8, I4, I8, shl8),
    OpDef::infix(1879, ">>", I2, I4, I2, shr2),
    OpDef::infix(1885, ">>", I4, I4, I4, shr4),
    OpDef::infix(1891, ">>", I8, I4, I8, shr8),
];

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Float64Array, Int32Array, Int64Array};

    use super::*;

    fn ints(v: &[Option<i32>]) -> ArrayRef {
        Arc::new(Int32Array::from(v.to_vec()))
    }

    #[test]
    fn integers_check_only_rows_that_are_not_null() {
        // A NULL row may hide any value in the buffer: here the sum of the hidden values overflows.
        let hidden = |v: Vec<i32>, valid: Vec<bool>| -> ArrayRef {
            Arc::new(Int32Array::new(v.into(), Some(NullBuffer::from(valid))))
        };
        let args = [hidden(vec![i32::MAX, 1], vec![false, true]), ints(&[Some(1), Some(2)])];
        let sum =
            binary::<Int32Type, Int32Type, Int32Type>(&args, |a, b| a.overflowing_add(b), |_, _| never()).unwrap();
        assert_eq!(sum.as_primitive::<Int32Type>(), &Int32Array::from(vec![None, Some(3)]));
        let args = [ints(&[Some(i32::MAX)]), ints(&[Some(1)])];
        let e = binary::<Int32Type, Int32Type, Int32Type>(
            &args,
            |a, b| a.overflowing_add(b),
            |_, _| range_error(Int32Type::OUT_OF_RANGE),
        );
        assert_eq!(e.unwrap_err().message(), "integer out of range");
    }

    #[test]
    fn tables_have_unique_rows() {
        let mut oids: Vec<u32> = OPERATORS.iter().map(|o| o.oid).collect();
        oids.sort_unstable();
        oids.dedup();
        assert_eq!(oids.len(), OPERATORS.len());
        let mut pairs: Vec<_> = CASTS.iter().map(|c| (c.from, c.to)).collect();
        pairs.sort();
        pairs.dedup();
        assert_eq!(pairs.len(), CASTS.len());
    }

    #[test]
    fn floats_and_their_casts() {
        let f = |v: f64| [Arc::new(Float64Array::from(vec![v])) as ArrayRef];
        let cast =
            |v: f64| unary::<Float64Type, Int64Type>(&f(v), |a| (a.round_ties_even() as i64, false), |_| never());
        assert_eq!(cast(2.5).unwrap().as_primitive::<Int64Type>(), &Int64Array::from(vec![2]));
        assert_eq!(float_power(0.0, -1.0).unwrap_err().code(), SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION);
        assert_eq!(float_power(1e200, 2.0).unwrap_err().message(), "value out of range: overflow");
        assert_eq!(float_power(f64::NAN, 0.0).unwrap(), 1.0);
    }
}
