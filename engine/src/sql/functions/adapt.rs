//! Adapters that lift a function on single values to one on Arrow arrays, NULL in, NULL out.
//!
//! `map2::<i32, i32, i32>(args, |a, b| a.checked_add(b).ok_or_else(overflow))` is the whole of an implementation.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanBuilder, FixedSizeBinaryBuilder, PrimitiveBuilder, StringBuilder,
};
use datafusion::arrow::datatypes::{
    Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType, UInt32Type,
};
use kalamdb_catalog::Result;

use crate::types::{Interval, Numeric};

/// date: days since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct Date(pub i32);
/// time: microseconds since midnight.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct Time(pub i64);
/// timestamp: microseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct Timestamp(pub i64);
/// timestamptz: microseconds since 1970, UTC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct Timestamptz(pub i64);
/// uuid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct Uuid(pub [u8; 16]);

/// A value read from an Arrow array of its carrier.
pub trait Arg<'a>: Sized {
    /// Row `i`, which is not NULL.
    fn read(array: &'a dyn Array, i: usize) -> Self;
}

/// A value that a result array is built of.
pub trait Ret: Sized {
    type Builder;
    fn builder(rows: usize) -> Self::Builder;
    fn append(builder: &mut Self::Builder, value: Option<Self>);
    fn finish(builder: Self::Builder) -> ArrayRef;
}

macro_rules! primitive {
    ($t:ty, $arrow:ty, |$v:ident| $from:expr, |$w:ident| $to:expr, $with:expr) => {
        impl<'a> Arg<'a> for $t {
            fn read(array: &'a dyn Array, i: usize) -> Self {
                let $v = array.as_primitive::<$arrow>().value(i);
                $from
            }
        }
        impl Ret for $t {
            type Builder = PrimitiveBuilder<$arrow>;
            fn builder(rows: usize) -> Self::Builder {
                let make: fn(Self::Builder) -> Self::Builder = $with;
                make(PrimitiveBuilder::with_capacity(rows))
            }
            fn append(builder: &mut Self::Builder, value: Option<Self>) {
                builder.append_option(value.map(|$w| $to));
            }
            fn finish(mut builder: Self::Builder) -> ArrayRef {
                Arc::new(builder.finish())
            }
        }
    };
}

primitive!(i16, Int16Type, |v| v, |w| w, |b| b);
primitive!(i32, Int32Type, |v| v, |w| w, |b| b);
primitive!(i64, Int64Type, |v| v, |w| w, |b| b);
primitive!(u32, UInt32Type, |v| v, |w| w, |b| b);
primitive!(f32, Float32Type, |v| v, |w| w, |b| b);
primitive!(f64, Float64Type, |v| v, |w| w, |b| b);
primitive!(Date, Date32Type, |v| Date(v), |w| w.0, |b| b);
primitive!(Time, Time64MicrosecondType, |v| Time(v), |w| w.0, |b| b);
primitive!(Timestamp, TimestampMicrosecondType, |v| Timestamp(v), |w| w.0, |b| b);
primitive!(Timestamptz, TimestampMicrosecondType, |v| Timestamptz(v), |w| w.0, |b| b.with_timezone("UTC"));
primitive!(
    Interval,
    IntervalMonthDayNanoType,
    |v| Interval { months: v.months, days: v.days, micros: v.nanoseconds },
    |w| IntervalMonthDayNano { months: w.months, days: w.days, nanoseconds: w.micros },
    |b| b
);

impl<'a> Arg<'a> for bool {
    fn read(array: &'a dyn Array, i: usize) -> Self {
        array.as_boolean().value(i)
    }
}

impl Ret for bool {
    type Builder = BooleanBuilder;
    fn builder(rows: usize) -> Self::Builder {
        BooleanBuilder::with_capacity(rows)
    }
    fn append(builder: &mut Self::Builder, value: Option<Self>) {
        builder.append_option(value);
    }
    fn finish(mut builder: Self::Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }
}

impl<'a> Arg<'a> for &'a str {
    fn read(array: &'a dyn Array, i: usize) -> Self {
        array.as_string::<i32>().value(i)
    }
}

impl<'a> Arg<'a> for &'a [u8] {
    fn read(array: &'a dyn Array, i: usize) -> Self {
        array.as_binary::<i32>().value(i)
    }
}

impl<'a> Arg<'a> for Uuid {
    fn read(array: &'a dyn Array, i: usize) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(array.as_fixed_size_binary().value(i));
        Uuid(bytes)
    }
}

impl<'a> Arg<'a> for Numeric {
    fn read(array: &'a dyn Array, i: usize) -> Self {
        Numeric::decode(array.as_binary::<i32>().value(i))
    }
}

/// An array argument: its elements.
impl<'a> Arg<'a> for ArrayRef {
    fn read(array: &'a dyn Array, i: usize) -> Self {
        array.as_list::<i32>().value(i)
    }
}

impl Ret for String {
    type Builder = StringBuilder;
    fn builder(rows: usize) -> Self::Builder {
        StringBuilder::with_capacity(rows, rows * 16)
    }
    fn append(builder: &mut Self::Builder, value: Option<Self>) {
        builder.append_option(value);
    }
    fn finish(mut builder: Self::Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }
}

impl Ret for Vec<u8> {
    type Builder = BinaryBuilder;
    fn builder(rows: usize) -> Self::Builder {
        BinaryBuilder::with_capacity(rows, rows * 16)
    }
    fn append(builder: &mut Self::Builder, value: Option<Self>) {
        builder.append_option(value);
    }
    fn finish(mut builder: Self::Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }
}

impl Ret for Numeric {
    type Builder = BinaryBuilder;
    fn builder(rows: usize) -> Self::Builder {
        BinaryBuilder::with_capacity(rows, rows * 12)
    }
    fn append(builder: &mut Self::Builder, value: Option<Self>) {
        builder.append_option(value.map(|n| n.encode()));
    }
    fn finish(mut builder: Self::Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }
}

impl Ret for Uuid {
    type Builder = FixedSizeBinaryBuilder;
    fn builder(rows: usize) -> Self::Builder {
        FixedSizeBinaryBuilder::with_capacity(rows, 16)
    }
    fn append(builder: &mut Self::Builder, value: Option<Self>) {
        match value {
            Some(v) => builder.append_value(v.0).unwrap_or_else(|_| unreachable!("a uuid has 16 bytes")),
            None => builder.append_null(),
        }
    }
    fn finish(mut builder: Self::Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }
}

/// A function without arguments, called once per row.
pub fn map0<R: Ret>(rows: usize, mut f: impl FnMut() -> Result<R>) -> Result<ArrayRef> {
    let mut out = R::builder(rows);
    for _ in 0..rows {
        R::append(&mut out, Some(f()?));
    }
    Ok(R::finish(out))
}

/// A strict function of one argument.
pub fn map1<'a, A: Arg<'a>, R: Ret>(args: &'a [ArrayRef], mut f: impl FnMut(A) -> Result<R>) -> Result<ArrayRef> {
    opt1(args, |a| f(a).map(Some))
}

/// A strict function of one argument whose result may be NULL.
pub fn opt1<'a, A: Arg<'a>, R: Ret>(
    args: &'a [ArrayRef],
    mut f: impl FnMut(A) -> Result<Option<R>>,
) -> Result<ArrayRef> {
    let a = &*args[0];
    let mut out = R::builder(a.len());
    for i in 0..a.len() {
        let value = if a.is_null(i) { None } else { f(A::read(a, i))? };
        R::append(&mut out, value);
    }
    Ok(R::finish(out))
}

/// A strict function of two arguments.
pub fn map2<'a, A: Arg<'a>, B: Arg<'a>, R: Ret>(
    args: &'a [ArrayRef],
    mut f: impl FnMut(A, B) -> Result<R>,
) -> Result<ArrayRef> {
    opt2(args, |a, b| f(a, b).map(Some))
}

/// A strict function of two arguments whose result may be NULL.
pub fn opt2<'a, A: Arg<'a>, B: Arg<'a>, R: Ret>(
    args: &'a [ArrayRef],
    mut f: impl FnMut(A, B) -> Result<Option<R>>,
) -> Result<ArrayRef> {
    let (a, b) = (&*args[0], &*args[1]);
    let mut out = R::builder(a.len());
    for i in 0..a.len() {
        let value = if a.is_null(i) || b.is_null(i) { None } else { f(A::read(a, i), B::read(b, i))? };
        R::append(&mut out, value);
    }
    Ok(R::finish(out))
}

/// A strict function of three arguments.
pub fn map3<'a, A: Arg<'a>, B: Arg<'a>, C: Arg<'a>, R: Ret>(
    args: &'a [ArrayRef],
    mut f: impl FnMut(A, B, C) -> Result<R>,
) -> Result<ArrayRef> {
    opt3(args, |a, b, c| f(a, b, c).map(Some))
}

/// A strict function of three arguments whose result may be NULL.
pub fn opt3<'a, A: Arg<'a>, B: Arg<'a>, C: Arg<'a>, R: Ret>(
    args: &'a [ArrayRef],
    mut f: impl FnMut(A, B, C) -> Result<Option<R>>,
) -> Result<ArrayRef> {
    let (a, b, c) = (&*args[0], &*args[1], &*args[2]);
    let mut out = R::builder(a.len());
    for i in 0..a.len() {
        let value = if a.is_null(i) || b.is_null(i) || c.is_null(i) {
            None
        } else {
            f(A::read(a, i), B::read(b, i), C::read(c, i))?
        };
        R::append(&mut out, value);
    }
    Ok(R::finish(out))
}
