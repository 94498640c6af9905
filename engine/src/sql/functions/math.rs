//! Mathematical functions (manual, section 9.3) and `generate_series` over numbers.
//!
//! Float functions call the C library, as PostgreSQL does, so that the last digit agrees; the degree functions repeat
//! float.c's scaling, which makes `sind(30)` exactly 0.5.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, ListArray};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{Field, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::adapt::{Arg, Ret, map0, map1, map2, opt1};
use super::arithmetic::{
    abs, cbrt_f64, float_abs, float_overflow, float_underflow, power_f64, range_error, rem, sqrt_f64,
};
use super::{Call, FnDef, ScalarImpl};
use crate::types::Numeric;

const I2: PgType = PgType::INT2;
const I4: PgType = PgType::INT4;
const I8: PgType = PgType::INT8;
const F4: PgType = PgType::FLOAT4;
const F8: PgType = PgType::FLOAT8;
const NUM: PgType = PgType::NUMERIC;

/// Rows that one call of a set-returning function may make in all; beyond that it is refused (54000), since the lists
/// are held in memory.
pub(super) const SERIES_ROWS_MAX: usize = 1 << 25;

unsafe extern "C" {
    safe fn asinh(x: f64) -> f64;
    safe fn acosh(x: f64) -> f64;
    safe fn atanh(x: f64) -> f64;
}

fn input_out_of_range() -> SqlError {
    range_error("input is out of range")
}

fn finite(x: f64) -> Result<f64> {
    if x.is_infinite() { Err(input_out_of_range()) } else { Ok(x) }
}

fn in_unit(x: f64) -> Result<f64> {
    if !(-1.0..=1.0).contains(&x) { Err(input_out_of_range()) } else { Ok(x) }
}

fn check_log(x: f64) -> Result<f64> {
    let error = |message| Err(SqlError::new(SqlState::INVALID_ARGUMENT_FOR_LOG, message));
    if x == 0.0 {
        error("cannot take logarithm of zero")
    } else if x < 0.0 {
        error("cannot take logarithm of a negative number")
    } else {
        Ok(x)
    }
}

fn exp(x: f64) -> Result<f64> {
    let v = x.exp();
    if v.is_infinite() && !x.is_infinite() {
        return Err(float_overflow());
    }
    if v == 0.0 && x.is_finite() {
        return Err(float_underflow());
    }
    Ok(v)
}

const RADIANS_PER_DEGREE: f64 = 0.017_453_292_519_943_295;

fn sind_0_to_30(x: f64) -> f64 {
    ((x * RADIANS_PER_DEGREE).sin() / (30.0 * RADIANS_PER_DEGREE).sin()) / 2.0
}

fn cosd_0_to_60(x: f64) -> f64 {
    let one_minus_cos_60 = 1.0 - (60.0 * RADIANS_PER_DEGREE).cos();
    1.0 - ((1.0 - (x * RADIANS_PER_DEGREE).cos()) / one_minus_cos_60) / 2.0
}

fn sind_q1(x: f64) -> f64 {
    if x <= 30.0 { sind_0_to_30(x) } else { cosd_0_to_60(90.0 - x) }
}

fn cosd_q1(x: f64) -> f64 {
    if x <= 60.0 { cosd_0_to_60(x) } else { sind_0_to_30(90.0 - x) }
}

/// The angle in 0..=90 and the signs of sine and cosine there.
fn quadrant(x: f64) -> (f64, f64, f64) {
    let (mut x, mut sine, mut cosine) = (x % 360.0, 1.0, 1.0);
    if x < 0.0 {
        (x, sine) = (-x, -sine);
    }
    if x > 180.0 {
        (x, sine) = (360.0 - x, -sine);
    }
    if x > 90.0 {
        (x, cosine) = (180.0 - x, -cosine);
    }
    (x, sine, cosine)
}

fn sind(x: f64) -> Result<f64> {
    let (x, sine, _) = quadrant(finite(x)?);
    Ok(sine * sind_q1(x))
}

fn cosd(x: f64) -> Result<f64> {
    let (x, _, cosine) = quadrant(finite(x)?);
    Ok(cosine * cosd_q1(x))
}

fn tand(x: f64) -> Result<f64> {
    let (x, sine, cosine) = quadrant(finite(x)?);
    let v = sine * cosine * ((sind_q1(x) / cosd_q1(x)) / (sind_q1(45.0) / cosd_q1(45.0)));
    Ok(if v == 0.0 { 0.0 } else { v })
}

fn cotd(x: f64) -> Result<f64> {
    let (x, sine, cosine) = quadrant(finite(x)?);
    let v = sine * cosine * ((cosd_q1(x) / sind_q1(x)) / (cosd_q1(45.0) / sind_q1(45.0)));
    Ok(if v == 0.0 { 0.0 } else { v })
}

fn asind_q1(x: f64) -> f64 {
    if x <= 0.5 { (x.asin() / 0.5f64.asin()) * 30.0 } else { 90.0 - (x.acos() / 0.5f64.acos()) * 60.0 }
}

fn asind(x: f64) -> Result<f64> {
    let x = in_unit(x)?;
    Ok(if x >= 0.0 { asind_q1(x) } else { -asind_q1(-x) })
}

fn acosd(x: f64) -> Result<f64> {
    let x = in_unit(x)?;
    if x < 0.0 {
        return Ok(90.0 + asind_q1(-x));
    }
    Ok(if x <= 0.5 { 90.0 - (x.asin() / 0.5f64.asin()) * 30.0 } else { (x.acos() / 0.5f64.acos()) * 60.0 })
}

thread_local! {
    static RANDOM: Cell<u64> = Cell::new(RandomState::new().hash_one(std::thread::current().id()));
}

/// SplitMix64, seeded by the process's random hash keys: not for secrets, as PostgreSQL's.
fn random() -> f64 {
    let mut z = RANDOM.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
    RANDOM.set(z);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 11) as f64 / (1u64 << 53) as f64
}

fn gcd(a: i64, b: i64) -> u64 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn lcm(a: i64, b: i64) -> u128 {
    match gcd(a, b) {
        0 => 0,
        g => u128::from(a.unsigned_abs() / g) * u128::from(b.unsigned_abs()),
    }
}

fn gcd4(a: i32, b: i32) -> Result<i32> {
    i32::try_from(gcd(i64::from(a), i64::from(b))).map_err(|_| range_error("integer out of range"))
}

fn gcd8(a: i64, b: i64) -> Result<i64> {
    i64::try_from(gcd(a, b)).map_err(|_| range_error("bigint out of range"))
}

fn lcm4(a: i32, b: i32) -> Result<i32> {
    i32::try_from(lcm(i64::from(a), i64::from(b))).map_err(|_| range_error("integer out of range"))
}

fn lcm8(a: i64, b: i64) -> Result<i64> {
    i64::try_from(lcm(a, b)).map_err(|_| range_error("bigint out of range"))
}

fn bucket_error(message: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_ARGUMENT_FOR_WIDTH_BUCKET, message)
}

fn bucket_above(count: i32) -> Result<i32> {
    count.checked_add(1).ok_or_else(|| range_error("integer out of range"))
}

fn width_bucket_float(operand: f64, low: f64, high: f64, count: i32) -> Result<i32> {
    if count <= 0 {
        return Err(bucket_error("count must be greater than zero"));
    }
    if operand.is_nan() || low.is_nan() || high.is_nan() {
        return Err(bucket_error("operand, lower bound, and upper bound cannot be NaN"));
    }
    if low.is_infinite() || high.is_infinite() {
        return Err(bucket_error("lower and upper bounds must be finite"));
    }
    if low == high {
        return Err(bucket_error("lower bound cannot equal upper bound"));
    }
    let (below, above) = if low < high { (operand < low, operand >= high) } else { (operand > low, operand <= high) };
    if below {
        return Ok(0);
    }
    if above {
        return bucket_above(count);
    }
    // Halves keep the differences from overflowing.
    let position = if (high - low).is_finite() {
        (operand - low) / (high - low)
    } else {
        (operand / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0)
    };
    Ok(((f64::from(count) * position) as i32).min(count - 1) + 1)
}

fn width_bucket_numeric(operand: &Numeric, low: &Numeric, high: &Numeric, count: i32) -> Result<i32> {
    if count <= 0 {
        return Err(bucket_error("count must be greater than zero"));
    }
    if operand.is_nan() || low.is_nan() || high.is_nan() {
        return Err(bucket_error("operand, lower bound, and upper bound cannot be NaN"));
    }
    if low.is_infinite() || high.is_infinite() {
        return Err(bucket_error("lower and upper bounds must be finite"));
    }
    if low == high {
        return Err(bucket_error("lower bound cannot equal upper bound"));
    }
    let (below, above) = if low < high { (operand < low, operand >= high) } else { (operand > low, operand <= high) };
    if below {
        return Ok(0);
    }
    if above {
        return bucket_above(count);
    }
    let scaled = operand.sub(low)?.mul(&Numeric::from_i64(i64::from(count)))?;
    let bucket = scaled.div_int(&high.sub(low)?)?;
    bucket_above(bucket.to_i32()?)
}

/// A strict function of four arguments returning int4.
fn map4<'a, A: Arg<'a>>(args: &'a [ArrayRef], f: impl Fn(A, A, A, i32) -> Result<i32>) -> Result<ArrayRef> {
    let mut out = <i32 as Ret>::builder(args[0].len());
    for i in 0..args[0].len() {
        let value = if args.iter().any(|a| a.is_null(i)) {
            None
        } else {
            Some(f(A::read(&args[0], i), A::read(&args[1], i), A::read(&args[2], i), i32::read(&args[3], i))?)
        };
        <i32 as Ret>::append(&mut out, value);
    }
    Ok(<i32 as Ret>::finish(out))
}

fn series_parameter(message: String) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// A number `generate_series` counts in.
trait Series: Ret + for<'a> Arg<'a> {
    /// Appends start, start + step ... stop, and says how many, at most `limit` + 1.
    fn fill(start: Self, stop: Self, step: Option<Self>, limit: usize, out: &mut Self::Builder) -> Result<usize>;
}

macro_rules! integer_series {
    ($t:ty) => {
        impl Series for $t {
            fn fill(start: $t, stop: $t, step: Option<$t>, limit: usize, out: &mut Self::Builder) -> Result<usize> {
                let step = step.unwrap_or(1);
                if step == 0 {
                    return Err(series_parameter("step size cannot equal zero".to_owned()));
                }
                let (mut next, mut count) = (Some(start), 0);
                while let Some(v) = next {
                    if (step > 0 && v > stop) || (step < 0 && v < stop) || count > limit {
                        break;
                    }
                    out.append_value(v);
                    count += 1;
                    next = v.checked_add(step);
                }
                Ok(count)
            }
        }
    };
}

integer_series!(i32);
integer_series!(i64);

impl Series for Numeric {
    fn fill(
        start: Numeric,
        stop: Numeric,
        step: Option<Numeric>,
        limit: usize,
        out: &mut Self::Builder,
    ) -> Result<usize> {
        for (value, what) in [(Some(&start), "start value"), (Some(&stop), "stop value"), (step.as_ref(), "step size")]
        {
            match value {
                Some(v) if v.is_nan() => return Err(series_parameter(format!("{what} cannot be NaN"))),
                Some(v) if v.is_infinite() => return Err(series_parameter(format!("{what} cannot be infinity"))),
                _ => {}
            }
        }
        let step = step.unwrap_or(Numeric::ONE);
        if step.is_zero() {
            return Err(series_parameter("step size cannot equal zero".to_owned()));
        }
        let up = step.signum() > 0;
        let (mut value, mut count) = (start, 0);
        while (if up { value <= stop } else { value >= stop }) && count <= limit {
            out.append_value(value.encode());
            count += 1;
            value = value.add(&step)?;
        }
        Ok(count)
    }
}

fn series<T: Series>(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let mut values = T::builder(0);
    let mut lengths = Vec::with_capacity(call.rows);
    let mut valid = Vec::with_capacity(call.rows);
    let mut total = 0;
    for i in 0..call.rows {
        let is_valid = args.iter().all(|a| a.is_valid(i));
        let count = if is_valid {
            let step = args.get(2).map(|a| T::read(a, i));
            T::fill(T::read(&args[0], i), T::read(&args[1], i), step, SERIES_ROWS_MAX - total, &mut values)?
        } else {
            0
        };
        total += count;
        if total > SERIES_ROWS_MAX {
            return Err(SqlError::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("generate_series cannot return more than {SERIES_ROWS_MAX} rows"),
            ));
        }
        lengths.push(count);
        valid.push(is_valid);
    }
    let values = T::finish(values);
    let field = Arc::new(Field::new("item", values.data_type().clone(), true));
    Ok(Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths), values, Some(NullBuffer::from(valid)))))
}

const fn f8(oid: u32, name: &'static str, imp: ScalarImpl) -> FnDef {
    FnDef::new(oid, name, &[F8], F8, imp)
}

const fn num(oid: u32, name: &'static str, imp: ScalarImpl) -> FnDef {
    FnDef::new(oid, name, &[NUM], NUM, imp)
}

const fn num2(oid: u32, name: &'static str, imp: ScalarImpl) -> FnDef {
    FnDef::new(oid, name, &[NUM, NUM], NUM, imp)
}

const CEIL_F8: ScalarImpl = |_, a| map1(a, |x: f64| Ok(x.ceil()));
const CEIL_NUM: ScalarImpl = |_, a| map1(a, |x: Numeric| Ok(x.ceil()));
const LOG10_F8: ScalarImpl = |_, a| map1(a, |x: f64| Ok(check_log(x)?.log10()));
const LOG10_NUM: ScalarImpl = |_, a| map1(a, |x: Numeric| x.log10());
const POWER_NUM: ScalarImpl = |_, a| map2(a, |x: Numeric, y: Numeric| x.power(&y));

/// Mathematical functions of pg_proc.
pub(super) static FUNCTIONS: &[FnDef] = &[
    FnDef::new(1398, "abs", &[I2], I2, abs::<Int16Type>),
    FnDef::new(1397, "abs", &[I4], I4, abs::<Int32Type>),
    FnDef::new(1396, "abs", &[I8], I8, abs::<Int64Type>),
    FnDef::new(1394, "abs", &[F4], F4, float_abs::<Float32Type>),
    f8(1395, "abs", float_abs::<Float64Type>),
    num(1705, "abs", |_, a| map1(a, |x: Numeric| Ok(x.abs()))),
    f8(2308, "ceil", CEIL_F8),
    num(1711, "ceil", CEIL_NUM),
    f8(2320, "ceiling", CEIL_F8),
    num(2167, "ceiling", CEIL_NUM),
    f8(2309, "floor", |_, a| map1(a, |x: f64| Ok(x.floor()))),
    num(1712, "floor", |_, a| map1(a, |x: Numeric| Ok(x.floor()))),
    f8(1342, "round", |_, a| map1(a, |x: f64| Ok(x.round_ties_even()))),
    num(1708, "round", |_, a| map1(a, |x: Numeric| Ok(x.round(0)))),
    FnDef::new(1707, "round", &[NUM, I4], NUM, |_, a| {
        map2(a, |x: Numeric, scale: i32| Ok(x.round(scale.clamp(-2000, 2000))))
    }),
    f8(1343, "trunc", |_, a| map1(a, |x: f64| Ok(x.trunc()))),
    num(1710, "trunc", |_, a| map1(a, |x: Numeric| Ok(x.trunc(0)))),
    FnDef::new(1709, "trunc", &[NUM, I4], NUM, |_, a| {
        map2(a, |x: Numeric, scale: i32| Ok(x.trunc(scale.clamp(-2000, 2000))))
    }),
    f8(2310, "sign", |_, a| {
        map1(a, |x: f64| {
            Ok(if x > 0.0 {
                1.0
            } else if x < 0.0 {
                -1.0
            } else {
                0.0
            })
        })
    }),
    num(1706, "sign", |_, a| map1(a, |x: Numeric| Ok(x.sign()))),
    f8(1344, "sqrt", sqrt_f64),
    num(1730, "sqrt", |_, a| map1(a, |x: Numeric| x.sqrt())),
    f8(1345, "cbrt", cbrt_f64),
    f8(1347, "exp", |_, a| map1(a, exp)),
    num(1732, "exp", |_, a| map1(a, |x: Numeric| x.exp())),
    f8(1341, "ln", |_, a| map1(a, |x: f64| Ok(check_log(x)?.ln()))),
    num(1734, "ln", |_, a| map1(a, |x: Numeric| x.ln())),
    f8(1340, "log", LOG10_F8),
    f8(1194, "log10", LOG10_F8),
    num(1741, "log", LOG10_NUM),
    num(1481, "log10", LOG10_NUM),
    num2(1736, "log", |_, a| map2(a, |base: Numeric, x: Numeric| x.log(&base))),
    FnDef::new(1368, "power", &[F8, F8], F8, power_f64),
    FnDef::new(1346, "pow", &[F8, F8], F8, power_f64),
    num2(2169, "power", POWER_NUM),
    num2(1738, "pow", POWER_NUM),
    FnDef::new(940, "mod", &[I2, I2], I2, rem::<Int16Type>),
    FnDef::new(941, "mod", &[I4, I4], I4, rem::<Int32Type>),
    FnDef::new(947, "mod", &[I8, I8], I8, rem::<Int64Type>),
    num2(1728, "mod", |_, a| map2(a, |x: Numeric, y: Numeric| x.rem(&y))),
    num2(1973, "div", |_, a| map2(a, |x: Numeric, y: Numeric| x.div_int(&y))),
    FnDef::new(5044, "gcd", &[I4, I4], I4, |_, a| map2(a, gcd4)),
    FnDef::new(5045, "gcd", &[I8, I8], I8, |_, a| map2(a, gcd8)),
    num2(5048, "gcd", |_, a| map2(a, |x: Numeric, y: Numeric| Ok(x.gcd(&y)))),
    FnDef::new(5046, "lcm", &[I4, I4], I4, |_, a| map2(a, lcm4)),
    FnDef::new(5047, "lcm", &[I8, I8], I8, |_, a| map2(a, lcm8)),
    num2(5049, "lcm", |_, a| map2(a, |x: Numeric, y: Numeric| x.lcm(&y))),
    FnDef::new(1376, "factorial", &[I8], NUM, |_, a| map1(a, Numeric::factorial)),
    FnDef::new(1610, "pi", &[], F8, |c, _| map0(c.rows, || Ok(std::f64::consts::PI))),
    f8(1604, "sin", |_, a| map1(a, |x: f64| Ok(finite(x)?.sin()))),
    f8(1605, "cos", |_, a| map1(a, |x: f64| Ok(finite(x)?.cos()))),
    f8(1606, "tan", |_, a| map1(a, |x: f64| Ok(finite(x)?.tan()))),
    f8(1607, "cot", |_, a| map1(a, |x: f64| Ok(1.0 / finite(x)?.tan()))),
    f8(1600, "asin", |_, a| map1(a, |x: f64| Ok(in_unit(x)?.asin()))),
    f8(1601, "acos", |_, a| map1(a, |x: f64| Ok(in_unit(x)?.acos()))),
    f8(1602, "atan", |_, a| map1(a, |x: f64| Ok(x.atan()))),
    FnDef::new(1603, "atan2", &[F8, F8], F8, |_, a| map2(a, |y: f64, x: f64| Ok(y.atan2(x)))),
    f8(2462, "sinh", |_, a| map1(a, |x: f64| Ok(x.sinh()))),
    f8(2463, "cosh", |_, a| map1(a, |x: f64| Ok(x.cosh()))),
    f8(2464, "tanh", |_, a| map1(a, |x: f64| Ok(x.tanh()))),
    f8(2465, "asinh", |_, a| map1(a, |x: f64| Ok(asinh(x)))),
    f8(2466, "acosh", |_, a| map1(a, |x: f64| if x < 1.0 { Err(input_out_of_range()) } else { Ok(acosh(x)) })),
    f8(2467, "atanh", |_, a| map1(a, |x: f64| Ok(atanh(in_unit(x)?)))),
    f8(1608, "degrees", |_, a| {
        map1(a, |x: f64| {
            let v = x / RADIANS_PER_DEGREE;
            if v.is_infinite() && x.is_finite() { Err(float_overflow()) } else { Ok(v) }
        })
    }),
    f8(1609, "radians", |_, a| {
        map1(a, |x: f64| {
            let v = x * RADIANS_PER_DEGREE;
            if v == 0.0 && x != 0.0 { Err(float_underflow()) } else { Ok(v) }
        })
    }),
    f8(2735, "sind", |_, a| map1(a, sind)),
    f8(2736, "cosd", |_, a| map1(a, cosd)),
    f8(2737, "tand", |_, a| map1(a, tand)),
    f8(2738, "cotd", |_, a| map1(a, cotd)),
    f8(2731, "asind", |_, a| map1(a, asind)),
    f8(2732, "acosd", |_, a| map1(a, acosd)),
    f8(2733, "atand", |_, a| map1(a, |x: f64| Ok((x.atan() / 1f64.atan()) * 45.0))),
    FnDef::new(2734, "atan2d", &[F8, F8], F8, |_, a| map2(a, |y: f64, x: f64| Ok((y.atan2(x) / 1f64.atan()) * 45.0))),
    FnDef::new(1598, "random", &[], F8, |c, _| map0(c.rows, || Ok(random()))).volatile(),
    FnDef::new(1599, "setseed", &[F8], PgType::VOID, |_, _| Err(SqlError::unsupported("setseed"))).volatile(),
    FnDef::new(320, "width_bucket", &[F8, F8, F8, I4], I4, |_, a| map4(a, width_bucket_float)),
    FnDef::new(2170, "width_bucket", &[NUM, NUM, NUM, I4], I4, |_, a| {
        map4(a, |x: Numeric, low, high, count| width_bucket_numeric(&x, &low, &high, count))
    }),
    FnDef::new(3281, "scale", &[NUM], I4, |_, a| opt1(a, |x: Numeric| Ok(x.scale().map(i32::from)))),
    FnDef::new(5042, "min_scale", &[NUM], I4, |_, a| opt1(a, |x: Numeric| Ok(x.min_scale().map(i32::from)))),
    num(5043, "trim_scale", |_, a| map1(a, |x: Numeric| Ok(x.trim_scale()))),
    FnDef::new(6163, "bit_count", &[PgType::BYTEA], I8, |_, a| {
        map1(a, |x: &[u8]| Ok(x.iter().map(|b| i64::from(b.count_ones())).sum::<i64>()))
    }),
    FnDef::new(2089, "to_hex", &[I4], PgType::TEXT, |_, a| map1(a, |x: i32| Ok(format!("{x:x}")))),
    FnDef::new(2090, "to_hex", &[I8], PgType::TEXT, |_, a| map1(a, |x: i64| Ok(format!("{x:x}")))),
    FnDef::new(1067, "generate_series", &[I4, I4], I4, series::<i32>).set(),
    FnDef::new(1066, "generate_series", &[I4, I4, I4], I4, series::<i32>).set(),
    FnDef::new(1069, "generate_series", &[I8, I8], I8, series::<i64>).set(),
    FnDef::new(1068, "generate_series", &[I8, I8, I8], I8, series::<i64>).set(),
    FnDef::new(3260, "generate_series", &[NUM, NUM], NUM, series::<Numeric>).set(),
    FnDef::new(3259, "generate_series", &[NUM, NUM, NUM], NUM, series::<Numeric>).set(),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degrees_are_exact() {
        for (f, x, y) in [
            (sind as fn(f64) -> Result<f64>, 30.0, 0.5),
            (sind, 150.0, 0.5),
            (sind, 270.0, -1.0),
            (cosd, 60.0, 0.5),
            (cosd, 120.0, -0.5),
            (tand, 45.0, 1.0),
            (tand, 135.0, -1.0),
            (cotd, 45.0, 1.0),
            (asind, 0.5, 30.0),
            (acosd, -0.5, 120.0),
        ] {
            assert_eq!(f(x).unwrap(), y);
        }
        assert_eq!(sind(f64::INFINITY).unwrap_err().message(), "input is out of range");
    }

    #[test]
    fn buckets() {
        assert_eq!(width_bucket_float(5.35, 0.024, 10.06, 5).unwrap(), 3);
        assert_eq!(width_bucket_float(10.0, 10.0, 0.0, 5).unwrap(), 1);
        assert_eq!(width_bucket_float(0.0, 10.0, 0.0, 5).unwrap(), 6);
        let n = |s: &str| Numeric::parse(s).unwrap();
        assert_eq!(width_bucket_numeric(&n("5.35"), &n("0.024"), &n("10.06"), 5).unwrap(), 3);
        assert_eq!(width_bucket_numeric(&n("3.5"), &n("4.0"), &n("3.0"), 2).unwrap(), 2);
        assert_eq!(width_bucket_float(1.0, 1.0, 1.0, 5).unwrap_err().message(), "lower bound cannot equal upper bound");
    }

    #[test]
    fn divisors_and_series() {
        assert_eq!(gcd4(-12, 18).unwrap(), 6);
        assert_eq!(gcd4(i32::MIN, 0).unwrap_err().message(), "integer out of range");
        assert_eq!(lcm8(4, 6).unwrap(), 12);
        let mut out = <i32 as Ret>::builder(0);
        assert_eq!(i32::fill(i32::MAX - 1, i32::MAX, None, 100, &mut out).unwrap(), 2);
        assert_eq!(i32::fill(5, 1, Some(-2), 100, &mut out).unwrap(), 3);
        assert_eq!(i32::fill(1, 2, Some(0), 1, &mut out).unwrap_err().message(), "step size cannot equal zero");
    }
}
