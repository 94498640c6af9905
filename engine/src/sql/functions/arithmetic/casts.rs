//! The casts among int2, int4, int8, float4, float8, numeric, boolean and oid.
//!
//! Floats round half to even on the way to an integer, numerics half away from zero; both as PostgreSQL.

use std::sync::Arc;

use bigdecimal::num_traits::{PrimInt, Zero};
use datafusion::arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray};
use datafusion::arrow::datatypes::{Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, UInt32Type};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::{F4, F8, I2, I4, I8, IntType, NUM, float_overflow, float_underflow, never, range_error, unary};
use crate::sql::functions::adapt::map1;
use crate::sql::functions::{Call, CastContext, CastDef, ScalarImpl};
use crate::types::Numeric;

const OID: PgType = PgType::OID;

/// An integer cast: a lossless one never sees the error.
fn int_to_int<A: ArrowPrimitiveType, R: IntType>(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef>
where
    A::Native: PrimInt,
    R::Native: PrimInt + TryFrom<A::Native>,
{
    unary::<A, R>(
        args,
        |a| match R::Native::try_from(a) {
            Ok(v) => (v, false),
            Err(_) => (R::Native::zero(), true),
        },
        |_| range_error(R::OUT_OF_RANGE),
    )
}

macro_rules! float_to_int {
    ($name:ident, $a:ty, $r:ty, $n:ty, $f:ty) => {
        /// Half to even, as C's `rint`; the limits are powers of two, so exact in the float type.
        fn $name(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
            unary::<$a, $r>(
                args,
                |a| {
                    let v = a.round_ties_even();
                    (v as $n, !(v >= <$n>::MIN as $f && v < -(<$n>::MIN as $f)))
                },
                |_| range_error(<$r as IntType>::OUT_OF_RANGE),
            )
        }
    };
}

float_to_int!(f4_i2, Float32Type, Int16Type, i16, f32);
float_to_int!(f4_i4, Float32Type, Int32Type, i32, f32);
float_to_int!(f4_i8, Float32Type, Int64Type, i64, f32);
float_to_int!(f8_i2, Float64Type, Int16Type, i16, f64);
float_to_int!(f8_i4, Float64Type, Int32Type, i32, f64);
float_to_int!(f8_i8, Float64Type, Int64Type, i64, f64);

macro_rules! widen {
    ($name:ident, $a:ty, $r:ty, $n:ty) => {
        fn $name(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
            unary::<$a, $r>(args, |a| (a as $n, false), |_| never())
        }
    };
}

widen!(i2_f4, Int16Type, Float32Type, f32);
widen!(i4_f4, Int32Type, Float32Type, f32);
widen!(i8_f4, Int64Type, Float32Type, f32);
widen!(i2_f8, Int16Type, Float64Type, f64);
widen!(i4_f8, Int32Type, Float64Type, f64);
widen!(i8_f8, Int64Type, Float64Type, f64);
widen!(f4_f8, Float32Type, Float64Type, f64);
widen!(i4_oid, Int32Type, UInt32Type, u32);
widen!(i2_oid, Int16Type, UInt32Type, u32);
widen!(oid_i4, UInt32Type, Int32Type, i32);
widen!(oid_i8, UInt32Type, Int64Type, i64);

fn f8_f4(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    unary::<Float64Type, Float32Type>(
        args,
        |a| {
            let v = a as f32;
            (v, (v.is_infinite() && !a.is_infinite()) || (v == 0.0 && a != 0.0))
        },
        |a| if a.abs() > 1.0 { float_overflow() } else { float_underflow() },
    )
}

fn i8_oid(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    unary::<Int64Type, UInt32Type>(args, |a| (a as u32, u32::try_from(a).is_err()), |_| range_error("OID out of range"))
}

fn i4_bool(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let a = args[0].as_primitive::<Int32Type>();
    let values = a.values().iter().map(|v| *v != 0).collect();
    Ok(Arc::new(BooleanArray::new(values, a.nulls().cloned())))
}

fn bool_i4(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let a = args[0].as_boolean();
    let values: Vec<i32> = a.values().iter().map(i32::from).collect();
    Ok(Arc::new(PrimitiveArray::<Int32Type>::new(values.into(), a.nulls().cloned())))
}

/// Finishes a cast to numeric: the modifier is -1 unless the target was written with one.
fn numeric(call: &Call<'_>, n: Numeric) -> Result<Numeric> {
    n.apply_typmod(call.typmod)
}

fn numeric_f8(n: &Numeric) -> Result<f64> {
    let v = n.to_f64();
    if n.is_finite() && (v.is_infinite() || (v == 0.0 && !n.is_zero())) {
        return Err(SqlError::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("\"{n}\" is out of range for type double precision"),
        ));
    }
    Ok(v)
}

fn numeric_f4(n: &Numeric) -> Result<f32> {
    let v = n.to_f32();
    if n.is_finite() && (v.is_infinite() || (v == 0.0 && !n.is_zero())) {
        return Err(SqlError::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("\"{n}\" is out of range for type real"),
        ));
    }
    Ok(v)
}

const fn cast(from: PgType, to: PgType, context: CastContext, imp: ScalarImpl) -> CastDef {
    CastDef { from, to, context, imp }
}

use CastContext::{Assignment, Explicit, Implicit};

/// The casts of pg_cast among numbers, boolean and oid.
pub(crate) static CASTS: &[CastDef] = &[
    cast(I2, I4, Implicit, int_to_int::<Int16Type, Int32Type>),
    cast(I2, I8, Implicit, int_to_int::<Int16Type, Int64Type>),
    cast(I4, I8, Implicit, int_to_int::<Int32Type, Int64Type>),
    cast(I8, I4, Assignment, int_to_int::<Int64Type, Int32Type>),
    cast(I8, I2, Assignment, int_to_int::<Int64Type, Int16Type>),
    cast(I4, I2, Assignment, int_to_int::<Int32Type, Int16Type>),
    cast(I2, F4, Implicit, i2_f4),
    cast(I4, F4, Implicit, i4_f4),
    cast(I8, F4, Implicit, i8_f4),
    cast(I2, F8, Implicit, i2_f8),
    cast(I4, F8, Implicit, i4_f8),
    cast(I8, F8, Implicit, i8_f8),
    cast(F4, F8, Implicit, f4_f8),
    cast(F8, F4, Assignment, f8_f4),
    cast(F4, I2, Assignment, f4_i2),
    cast(F4, I4, Assignment, f4_i4),
    cast(F4, I8, Assignment, f4_i8),
    cast(F8, I2, Assignment, f8_i2),
    cast(F8, I4, Assignment, f8_i4),
    cast(F8, I8, Assignment, f8_i8),
    cast(I2, NUM, Implicit, |c, a| map1(a, |v: i16| numeric(c, Numeric::from_i64(i64::from(v))))),
    cast(I4, NUM, Implicit, |c, a| map1(a, |v: i32| numeric(c, Numeric::from_i64(i64::from(v))))),
    cast(I8, NUM, Implicit, |c, a| map1(a, |v: i64| numeric(c, Numeric::from_i64(v)))),
    cast(F4, NUM, Assignment, |c, a| map1(a, |v: f32| numeric(c, Numeric::from_f32(v)))),
    cast(F8, NUM, Assignment, |c, a| map1(a, |v: f64| numeric(c, Numeric::from_f64(v)))),
    cast(NUM, NUM, Implicit, |c, a| map1(a, |v: Numeric| numeric(c, v))),
    cast(NUM, I2, Assignment, |_, a| map1(a, |v: Numeric| v.to_i16())),
    cast(NUM, I4, Assignment, |_, a| map1(a, |v: Numeric| v.to_i32())),
    cast(NUM, I8, Assignment, |_, a| map1(a, |v: Numeric| v.to_i64())),
    cast(NUM, F4, Implicit, |_, a| map1(a, |v: Numeric| numeric_f4(&v))),
    cast(NUM, F8, Implicit, |_, a| map1(a, |v: Numeric| numeric_f8(&v))),
    cast(I4, PgType::BOOL, Explicit, i4_bool),
    cast(PgType::BOOL, I4, Explicit, bool_i4),
    cast(I2, OID, Implicit, i2_oid),
    cast(I4, OID, Implicit, i4_oid),
    cast(I8, OID, Implicit, i8_oid),
    cast(OID, I4, Assignment, oid_i4),
    cast(OID, I8, Assignment, oid_i8),
];
