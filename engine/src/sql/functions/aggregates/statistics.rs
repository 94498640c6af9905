//! Variance, standard deviation, covariance, correlation, regression.
//!
//! Integers and numerics keep exact sums and divide once, as `numeric_stddev_internal`; floats use the Youngs-Cramer
//! recurrences of `float8_accum` and `float8_regr_accum`, so that both give PostgreSQL's digits.

use std::marker::PhantomData;
use std::sync::Arc;

use bigdecimal::num_traits::AsPrimitive;
use datafusion::arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, Float64Array, Int64Array};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int16Type, Int32Type, Int64Type};
use kalamdb_catalog::{Result, SqlError};

use super::kernel::Kernel;
use super::sums::{array_of, int64, int64s};
use crate::sql::functions::arithmetic::float_overflow;
use crate::types::Numeric;

/// Which of the four: `var_pop`, `var_samp`, and their roots.
#[derive(Clone, Copy)]
pub(super) struct Spread {
    pub(super) sample: bool,
    pub(super) root: bool,
}

/// A column read as numerics.
pub(super) trait Source: Send + Sync + 'static {
    type Array<'a>;
    fn bind(array: &ArrayRef) -> Self::Array<'_>;
    fn read(array: &Self::Array<'_>, row: usize) -> Numeric;
}

macro_rules! integer_source {
    ($($t:ty, $n:ty;)*) => {$(
        impl Source for $t {
            type Array<'a> = &'a [$n];
            fn bind(array: &ArrayRef) -> Self::Array<'_> {
                array.as_primitive::<$t>().values()
            }
            fn read(array: &Self::Array<'_>, row: usize) -> Numeric {
                Numeric::from_i64(i64::from(array[row]))
            }
        }
    )*};
}

integer_source! { Int16Type, i16; Int32Type, i32; Int64Type, i64; }

/// Encoded numerics.
pub(super) struct Encoded;

impl Source for Encoded {
    type Array<'a> = &'a BinaryArray;
    fn bind(array: &ArrayRef) -> Self::Array<'_> {
        array.as_binary::<i32>()
    }
    fn read(array: &Self::Array<'_>, row: usize) -> Numeric {
        Numeric::decode(array.value(row))
    }
}

/// stddev, variance and relatives of integers and numerics.
pub(super) struct ExactSpread<S> {
    pub(super) spread: Spread,
    pub(super) of: PhantomData<fn() -> S>,
}

impl<S> Clone for ExactSpread<S> {
    fn clone(&self) -> Self {
        ExactSpread { spread: self.spread, of: PhantomData }
    }
}

pub(super) struct Moments {
    sum: Numeric,
    squares: Numeric,
    count: i64,
    /// NaN and infinities: any makes the result NaN.
    special: i64,
}

impl Default for Moments {
    fn default() -> Self {
        Moments { sum: Numeric::ZERO, squares: Numeric::ZERO, count: 0, special: 0 }
    }
}

impl Moments {
    fn result(&self, spread: Spread) -> Result<Option<Numeric>> {
        if self.count <= i64::from(spread.sample) {
            return Ok(None);
        }
        if self.special > 0 {
            return Ok(Some(Numeric::NAN));
        }
        let n = Numeric::from_i64(self.count);
        let numerator = n.mul(&self.squares)?.sub(&self.sum.mul(&self.sum)?)?;
        if numerator.signum() <= 0 {
            return Ok(Some(Numeric::ZERO));
        }
        let denominator = n.mul(&Numeric::from_i64(self.count - i64::from(spread.sample)))?;
        let scale = numerator.quotient_scale(&denominator);
        let variance = numerator.div(&denominator)?;
        Ok(Some(if spread.root { variance.sqrt_scale(scale) } else { variance }))
    }
}

impl<S: Source> Kernel for ExactSpread<S> {
    type State = Moments;
    type Input<'a> = S::Array<'a>;

    fn bind<'a>(&self, args: &'a [ArrayRef]) -> Self::Input<'a> {
        S::bind(&args[0])
    }

    fn update(&self, state: &mut Moments, input: &Self::Input<'_>, row: usize) -> Result<()> {
        let v = S::read(input, row);
        state.count += 1;
        if !v.is_finite() {
            state.special += 1;
            return Ok(());
        }
        state.squares = state.squares.add(&v.mul(&v)?)?;
        state.sum = state.sum.add(&v)?;
        Ok(())
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![DataType::Binary, DataType::Binary, DataType::Int64, DataType::Int64]
    }

    fn partials(&self, states: &[Moments]) -> Vec<ArrayRef> {
        vec![
            Arc::new(BinaryArray::from_iter_values(states.iter().map(|s| s.sum.encode()))),
            Arc::new(BinaryArray::from_iter_values(states.iter().map(|s| s.squares.encode()))),
            int64s(states.iter().map(|s| s.count)),
            int64s(states.iter().map(|s| s.special)),
        ]
    }

    fn merge(&self, state: &mut Moments, partials: &[ArrayRef], row: usize) -> Result<()> {
        let numeric = |i: usize| Numeric::decode(partials[i].as_binary::<i32>().value(row));
        state.sum = state.sum.add(&numeric(0))?;
        state.squares = state.squares.add(&numeric(1))?;
        state.count += int64(&partials[2], row);
        state.special += int64(&partials[3], row);
        Ok(())
    }

    fn finish(&self, states: &[Moments]) -> Result<ArrayRef> {
        array_of(states.iter().map(|s| s.result(self.spread)))
    }
}

fn float64s(values: impl Iterator<Item = f64>) -> ArrayRef {
    Arc::new(Float64Array::from_iter_values(values))
}

fn float64(array: &ArrayRef, row: usize) -> f64 {
    array.as_primitive::<Float64Type>().value(row)
}

/// stddev, variance and relatives of float4 and float8.
pub(super) struct FloatSpread<T> {
    pub(super) spread: Spread,
    pub(super) of: PhantomData<fn() -> T>,
}

impl<T> Clone for FloatSpread<T> {
    fn clone(&self) -> Self {
        FloatSpread { spread: self.spread, of: PhantomData }
    }
}

/// N, sum of x, sum of squared differences from the mean.
#[derive(Default)]
pub(super) struct Sxx {
    n: f64,
    sx: f64,
    sxx: f64,
}

impl<T: ArrowPrimitiveType> Kernel for FloatSpread<T>
where
    T::Native: AsPrimitive<f64>,
{
    type State = Sxx;
    type Input<'a> = &'a [T::Native];

    fn bind<'a>(&self, args: &'a [ArrayRef]) -> Self::Input<'a> {
        args[0].as_primitive::<T>().values()
    }

    fn update(&self, s: &mut Sxx, input: &Self::Input<'_>, row: usize) -> Result<()> {
        let x: f64 = input[row].as_();
        let (before, sx_before) = (s.n, s.sx);
        s.n += 1.0;
        s.sx += x;
        if before == 0.0 {
            if !x.is_finite() {
                s.sxx = f64::NAN;
            }
            return Ok(());
        }
        let d = x * s.n - s.sx;
        s.sxx += d * d / (s.n * before);
        if s.sx.is_infinite() || s.sxx.is_infinite() {
            if !sx_before.is_infinite() && !x.is_infinite() {
                return Err(float_overflow());
            }
            s.sxx = f64::NAN;
        }
        Ok(())
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![DataType::Float64; 3]
    }

    fn partials(&self, states: &[Sxx]) -> Vec<ArrayRef> {
        vec![
            float64s(states.iter().map(|s| s.n)),
            float64s(states.iter().map(|s| s.sx)),
            float64s(states.iter().map(|s| s.sxx)),
        ]
    }

    fn merge(&self, a: &mut Sxx, partials: &[ArrayRef], row: usize) -> Result<()> {
        let b = Sxx { n: float64(&partials[0], row), sx: float64(&partials[1], row), sxx: float64(&partials[2], row) };
        if a.n == 0.0 {
            *a = b;
        } else if b.n != 0.0 {
            let n = a.n + b.n;
            let d = a.sx / a.n - b.sx / b.n;
            let sxx = a.sxx + b.sxx + a.n * b.n * d * d / n;
            if sxx.is_infinite() && !a.sxx.is_infinite() && !b.sxx.is_infinite() {
                return Err(float_overflow());
            }
            *a = Sxx { n, sx: a.sx + b.sx, sxx };
        }
        Ok(())
    }

    fn finish(&self, states: &[Sxx]) -> Result<ArrayRef> {
        let less = f64::from(u8::from(self.spread.sample));
        Ok(Arc::new(Float64Array::from_iter(states.iter().map(|s| {
            let variance = s.sxx / (s.n - less);
            (s.n > less).then_some(if self.spread.root { variance.sqrt() } else { variance })
        }))))
    }
}

/// An aggregate over pairs (Y, X).
#[derive(Clone, Copy)]
pub(super) enum Regression {
    Count,
    Sxx,
    Syy,
    Sxy,
    AvgX,
    AvgY,
    R2,
    Slope,
    Intercept,
    CovarPop,
    CovarSamp,
    Corr,
}

#[derive(Default, Clone, Copy)]
pub(super) struct Pairs {
    n: f64,
    sx: f64,
    sxx: f64,
    sy: f64,
    syy: f64,
    sxy: f64,
}

impl Pairs {
    fn add(&mut self, y: f64, x: f64) -> Result<()> {
        let old = *self;
        self.n += 1.0;
        self.sx += x;
        self.sy += y;
        if old.n == 0.0 {
            if !x.is_finite() {
                (self.sxx, self.sxy) = (f64::NAN, f64::NAN);
            }
            if !y.is_finite() {
                (self.syy, self.sxy) = (f64::NAN, f64::NAN);
            }
            return Ok(());
        }
        let (dx, dy) = (x * self.n - self.sx, y * self.n - self.sy);
        let scale = 1.0 / (self.n * old.n);
        self.sxx += dx * dx * scale;
        self.syy += dy * dy * scale;
        self.sxy += dx * dy * scale;
        let was_x = old.sx.is_infinite() || x.is_infinite();
        let was_y = old.sy.is_infinite() || y.is_infinite();
        if ((self.sx.is_infinite() || self.sxx.is_infinite()) && !was_x)
            || ((self.sy.is_infinite() || self.syy.is_infinite()) && !was_y)
            || (self.sxy.is_infinite() && !was_x && !was_y)
        {
            return Err(float_overflow());
        }
        for s in [&mut self.sxx, &mut self.syy, &mut self.sxy] {
            if s.is_infinite() {
                *s = f64::NAN;
            }
        }
        Ok(())
    }

    fn merge(&mut self, b: Pairs) {
        let a = *self;
        if a.n == 0.0 {
            *self = b;
        } else if b.n != 0.0 {
            let n = a.n + b.n;
            let (dx, dy) = (a.sx / a.n - b.sx / b.n, a.sy / a.n - b.sy / b.n);
            let weight = a.n * b.n;
            *self = Pairs {
                n,
                sx: a.sx + b.sx,
                sxx: a.sxx + b.sxx + weight * dx * dx / n,
                sy: a.sy + b.sy,
                syy: a.syy + b.syy + weight * dy * dy / n,
                sxy: a.sxy + b.sxy + weight * dx * dy / n,
            };
        }
    }

    fn result(&self, what: Regression) -> Option<f64> {
        let s = self;
        let at_least = |n: f64, v: f64| (s.n >= n).then_some(v);
        match what {
            Regression::Count => Some(s.n),
            Regression::Sxx => at_least(1.0, s.sxx),
            Regression::Syy => at_least(1.0, s.syy),
            Regression::Sxy => at_least(1.0, s.sxy),
            Regression::AvgX => at_least(1.0, s.sx / s.n),
            Regression::AvgY => at_least(1.0, s.sy / s.n),
            Regression::CovarPop => at_least(1.0, s.sxy / s.n),
            Regression::CovarSamp => at_least(2.0, s.sxy / (s.n - 1.0)),
            Regression::Corr if s.sxx == 0.0 || s.syy == 0.0 => None,
            Regression::Corr => at_least(1.0, s.sxy / (s.sxx * s.syy).sqrt()),
            Regression::R2 | Regression::Slope | Regression::Intercept if s.sxx == 0.0 => None,
            Regression::R2 if s.syy == 0.0 => at_least(1.0, 1.0),
            Regression::R2 => at_least(1.0, (s.sxy * s.sxy) / (s.sxx * s.syy)),
            Regression::Slope => at_least(1.0, s.sxy / s.sxx),
            Regression::Intercept => at_least(1.0, (s.sy - s.sx * s.sxy / s.sxx) / s.n),
        }
    }
}

impl Kernel for Regression {
    type State = Pairs;
    type Input<'a> = (&'a [f64], &'a [f64]);

    fn bind<'a>(&self, args: &'a [ArrayRef]) -> Self::Input<'a> {
        (args[0].as_primitive::<Float64Type>().values(), args[1].as_primitive::<Float64Type>().values())
    }

    fn update(&self, state: &mut Pairs, (y, x): &Self::Input<'_>, row: usize) -> Result<(), SqlError> {
        state.add(y[row], x[row])
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![DataType::Float64; 6]
    }

    fn partials(&self, states: &[Pairs]) -> Vec<ArrayRef> {
        let column = |f: fn(&Pairs) -> f64| float64s(states.iter().map(f));
        vec![
            column(|s| s.n),
            column(|s| s.sx),
            column(|s| s.sxx),
            column(|s| s.sy),
            column(|s| s.syy),
            column(|s| s.sxy),
        ]
    }

    fn merge(&self, state: &mut Pairs, partials: &[ArrayRef], row: usize) -> Result<()> {
        let v = |i: usize| float64(&partials[i], row);
        state.merge(Pairs { n: v(0), sx: v(1), sxx: v(2), sy: v(3), syy: v(4), sxy: v(5) });
        Ok(())
    }

    fn finish(&self, states: &[Pairs]) -> Result<ArrayRef> {
        let values = states.iter().map(|s| s.result(*self));
        if matches!(self, Regression::Count) {
            return Ok(Arc::new(Int64Array::from_iter(values.map(|v| v.map(|n| n as i64)))));
        }
        Ok(Arc::new(Float64Array::from_iter(values)))
    }
}
