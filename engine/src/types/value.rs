//! One value of any type, borrowed where it can be, and the bridge to Arrow arrays.
//!
//! A [`ColumnReader`] downcasts an array once and then hands out values without dynamic dispatch: results of millions
//! of rows go through it. The reverse is [`ArrayBuilder`]. An array whose Arrow type is not the carrier of its
//! [`PgType`] is a bug of whoever made it: reading one panics instead of inventing an answer.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BinaryViewArray, BooleanArray, BooleanBuilder, Date32Array,
    Date32Builder, FixedSizeBinaryArray, FixedSizeBinaryBuilder, Float32Array, Float32Builder, Float64Array,
    Float64Builder, Int16Array, Int16Builder, Int32Array, Int32Builder, Int64Array, Int64Builder,
    IntervalMonthDayNanoArray, IntervalMonthDayNanoBuilder, LargeStringArray, ListArray, NullBufferBuilder,
    StringArray, StringBuilder, StringViewArray, Time64MicrosecondArray, Time64MicrosecondBuilder,
    TimestampMicrosecondArray, TimestampMicrosecondBuilder, UInt32Array, UInt32Builder, new_empty_array,
};
use datafusion::arrow::buffer::{OffsetBuffer, ScalarBuffer};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::{DataType, Field, IntervalMonthDayNano, IntervalUnit, TimeUnit};
use datafusion::common::ScalarValue;
use kalamdb_catalog::{PgType, Result, SqlError};

use super::Interval;

/// A value in its carrier form (see `kalamdb_catalog::types` for units and epochs).
#[derive(Clone, Debug)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int2(i16),
    Int4(i32),
    /// int8 and pg_lsn
    Int8(i64),
    Float4(f32),
    Float8(f64),
    /// oid, xid, cid and reg*
    Oid(u32),
    /// text, varchar, char(n), name, "char", json, jsonb, tid, unknown ...
    Text(Cow<'a, str>),
    /// bytea and numeric
    Bytes(Cow<'a, [u8]>),
    Uuid([u8; 16]),
    /// days since 1970-01-01
    Date(i32),
    /// microseconds since midnight
    Time(i64),
    /// timestamp, timestamptz: microseconds since 1970-01-01
    Timestamp(i64),
    Interval(Interval),
    /// The elements, as an Arrow array of the element's carrier.
    Array(ArrayRef),
}

impl<'a> Value<'a> {
    /// Row `row` of an array that carries `ty`. For many rows use a [`ColumnReader`].
    pub fn from_array(array: &'a dyn Array, ty: PgType, row: usize) -> Value<'a> {
        ColumnReader::new(array, ty).value(row)
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The text of a text-like value.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The same value without borrowed parts.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Null => Value::Null,
            Value::Bool(v) => Value::Bool(v),
            Value::Int2(v) => Value::Int2(v),
            Value::Int4(v) => Value::Int4(v),
            Value::Int8(v) => Value::Int8(v),
            Value::Float4(v) => Value::Float4(v),
            Value::Float8(v) => Value::Float8(v),
            Value::Oid(v) => Value::Oid(v),
            Value::Text(v) => Value::Text(Cow::Owned(v.into_owned())),
            Value::Bytes(v) => Value::Bytes(Cow::Owned(v.into_owned())),
            Value::Uuid(v) => Value::Uuid(v),
            Value::Date(v) => Value::Date(v),
            Value::Time(v) => Value::Time(v),
            Value::Timestamp(v) => Value::Timestamp(v),
            Value::Interval(v) => Value::Interval(v),
            Value::Array(v) => Value::Array(v),
        }
    }

    /// An array of this one value.
    pub fn to_array(&self, ty: PgType) -> Result<ArrayRef> {
        let mut builder = ArrayBuilder::new(ty, 1);
        builder.append(self)?;
        Ok(builder.finish())
    }

    /// The value as a DataFusion literal of `ty`'s carrier.
    pub fn to_scalar(&self, ty: PgType) -> Result<ScalarValue> {
        Ok(match (self, ty.arrow()) {
            (Value::Bool(v), DataType::Boolean) => ScalarValue::Boolean(Some(*v)),
            (Value::Int2(v), DataType::Int16) => ScalarValue::Int16(Some(*v)),
            (Value::Int4(v), DataType::Int32) => ScalarValue::Int32(Some(*v)),
            (Value::Int8(v), DataType::Int64) => ScalarValue::Int64(Some(*v)),
            (Value::Float4(v), DataType::Float32) => ScalarValue::Float32(Some(*v)),
            (Value::Float8(v), DataType::Float64) => ScalarValue::Float64(Some(*v)),
            (Value::Oid(v), DataType::UInt32) => ScalarValue::UInt32(Some(*v)),
            (Value::Text(v), DataType::Utf8) => ScalarValue::Utf8(Some(v.to_string())),
            (Value::Bytes(v), DataType::Binary) => ScalarValue::Binary(Some(v.to_vec())),
            (Value::Uuid(v), DataType::FixedSizeBinary(_)) => ScalarValue::FixedSizeBinary(16, Some(v.to_vec())),
            (Value::Date(v), DataType::Date32) => ScalarValue::Date32(Some(*v)),
            (Value::Time(v), DataType::Time64(_)) => ScalarValue::Time64Microsecond(Some(*v)),
            (Value::Timestamp(v), DataType::Timestamp(_, zone)) => ScalarValue::TimestampMicrosecond(Some(*v), zone),
            _ => ScalarValue::try_from_array(&self.to_array(ty)?, 0).map_err(|e| SqlError::internal(e.to_string()))?,
        })
    }

    /// The value of a DataFusion literal that carries `ty`.
    pub fn from_scalar(scalar: &ScalarValue, ty: PgType) -> Result<Value<'static>> {
        if scalar.is_null() {
            return Ok(Value::Null);
        }
        Ok(match scalar {
            ScalarValue::Boolean(Some(v)) => Value::Bool(*v),
            ScalarValue::Int16(Some(v)) => Value::Int2(*v),
            ScalarValue::Int32(Some(v)) => Value::Int4(*v),
            ScalarValue::Int64(Some(v)) => Value::Int8(*v),
            ScalarValue::UInt32(Some(v)) => Value::Oid(*v),
            ScalarValue::Utf8(Some(v)) => Value::Text(Cow::Owned(v.clone())),
            ScalarValue::Binary(Some(v)) => Value::Bytes(Cow::Owned(v.clone())),
            other => {
                let array = other.to_array().map_err(|e| SqlError::internal(e.to_string()))?;
                Value::from_array(&array, ty, 0).into_owned()
            }
        })
    }
}

/// An array downcast once. The views and the large strings are here because DataFusion may choose them for
/// intermediate results.
#[derive(Clone, Copy)]
pub enum ColumnReader<'a> {
    Null,
    Bool(&'a BooleanArray),
    Int2(&'a Int16Array),
    Int4(&'a Int32Array),
    Int8(&'a Int64Array),
    Float4(&'a Float32Array),
    Float8(&'a Float64Array),
    Oid(&'a UInt32Array),
    Text(&'a StringArray),
    LargeText(&'a LargeStringArray),
    TextView(&'a StringViewArray),
    Bytes(&'a BinaryArray),
    BytesView(&'a BinaryViewArray),
    Uuid(&'a FixedSizeBinaryArray),
    Date(&'a Date32Array),
    Time(&'a Time64MicrosecondArray),
    Timestamp(&'a TimestampMicrosecondArray),
    Interval(&'a IntervalMonthDayNanoArray),
    List(&'a ListArray),
}

impl<'a> ColumnReader<'a> {
    /// A reader of `array`, whose values are of type `ty`.
    ///
    /// # Panics
    /// If the array's Arrow type carries no PostgreSQL type.
    pub fn new(array: &'a dyn Array, ty: PgType) -> ColumnReader<'a> {
        match array.data_type() {
            DataType::Null => ColumnReader::Null,
            DataType::Boolean => ColumnReader::Bool(array.as_boolean()),
            DataType::Int16 => ColumnReader::Int2(array.as_primitive()),
            DataType::Int32 => ColumnReader::Int4(array.as_primitive()),
            DataType::Int64 => ColumnReader::Int8(array.as_primitive()),
            DataType::Float32 => ColumnReader::Float4(array.as_primitive()),
            DataType::Float64 => ColumnReader::Float8(array.as_primitive()),
            DataType::UInt32 => ColumnReader::Oid(array.as_primitive()),
            DataType::Utf8 => ColumnReader::Text(array.as_string()),
            DataType::LargeUtf8 => ColumnReader::LargeText(array.as_string()),
            DataType::Utf8View => ColumnReader::TextView(array.as_string_view()),
            DataType::Binary => ColumnReader::Bytes(array.as_binary()),
            DataType::BinaryView => ColumnReader::BytesView(array.as_binary_view()),
            DataType::FixedSizeBinary(16) => ColumnReader::Uuid(array.as_fixed_size_binary()),
            DataType::Date32 => ColumnReader::Date(array.as_primitive()),
            DataType::Time64(TimeUnit::Microsecond) => ColumnReader::Time(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => ColumnReader::Timestamp(array.as_primitive()),
            DataType::Interval(IntervalUnit::MonthDayNano) => ColumnReader::Interval(array.as_primitive()),
            DataType::List(_) => ColumnReader::List(array.as_list()),
            other => unreachable!("an array of {other} does not carry {ty:?}"),
        }
    }

    /// The value of row `row`.
    #[inline]
    pub fn value(&self, row: usize) -> Value<'a> {
        macro_rules! read {
            ($array:expr, |$v:ident| $make:expr) => {
                if $array.is_null(row) {
                    Value::Null
                } else {
                    let $v = $array.value(row);
                    $make
                }
            };
        }
        match *self {
            ColumnReader::Null => Value::Null,
            ColumnReader::Bool(a) => read!(a, |v| Value::Bool(v)),
            ColumnReader::Int2(a) => read!(a, |v| Value::Int2(v)),
            ColumnReader::Int4(a) => read!(a, |v| Value::Int4(v)),
            ColumnReader::Int8(a) => read!(a, |v| Value::Int8(v)),
            ColumnReader::Float4(a) => read!(a, |v| Value::Float4(v)),
            ColumnReader::Float8(a) => read!(a, |v| Value::Float8(v)),
            ColumnReader::Oid(a) => read!(a, |v| Value::Oid(v)),
            ColumnReader::Text(a) => read!(a, |v| Value::Text(Cow::Borrowed(v))),
            ColumnReader::LargeText(a) => read!(a, |v| Value::Text(Cow::Borrowed(v))),
            ColumnReader::TextView(a) => read!(a, |v| Value::Text(Cow::Borrowed(v))),
            ColumnReader::Bytes(a) => read!(a, |v| Value::Bytes(Cow::Borrowed(v))),
            ColumnReader::BytesView(a) => read!(a, |v| Value::Bytes(Cow::Borrowed(v))),
            ColumnReader::Uuid(a) => read!(a, |v| {
                let mut bytes = [0; 16];
                bytes.copy_from_slice(v);
                Value::Uuid(bytes)
            }),
            ColumnReader::Date(a) => read!(a, |v| Value::Date(v)),
            ColumnReader::Time(a) => read!(a, |v| Value::Time(v)),
            ColumnReader::Timestamp(a) => read!(a, |v| Value::Timestamp(v)),
            ColumnReader::Interval(a) => {
                read!(a, |v| Value::Interval(Interval { months: v.months, days: v.days, micros: v.nanoseconds }))
            }
            ColumnReader::List(a) => read!(a, |v| Value::Array(v)),
        }
    }
}

enum Column {
    Bool(BooleanBuilder),
    Int2(Int16Builder),
    Int4(Int32Builder),
    Int8(Int64Builder),
    Float4(Float32Builder),
    Float8(Float64Builder),
    Oid(UInt32Builder),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Uuid(FixedSizeBinaryBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Interval(IntervalMonthDayNanoBuilder),
    List { item: DataType, ends: Vec<i32>, lists: Vec<ArrayRef>, nulls: NullBufferBuilder },
}

/// Builds the array that carries a column of one type.
pub struct ArrayBuilder {
    ty: PgType,
    column: Column,
}

impl ArrayBuilder {
    pub fn new(ty: PgType, capacity: usize) -> ArrayBuilder {
        let column = match ty.arrow() {
            DataType::Boolean => Column::Bool(BooleanBuilder::with_capacity(capacity)),
            DataType::Int16 => Column::Int2(Int16Builder::with_capacity(capacity)),
            DataType::Int32 => Column::Int4(Int32Builder::with_capacity(capacity)),
            DataType::Int64 => Column::Int8(Int64Builder::with_capacity(capacity)),
            DataType::Float32 => Column::Float4(Float32Builder::with_capacity(capacity)),
            DataType::Float64 => Column::Float8(Float64Builder::with_capacity(capacity)),
            DataType::UInt32 => Column::Oid(UInt32Builder::with_capacity(capacity)),
            DataType::Binary => Column::Bytes(BinaryBuilder::with_capacity(capacity, capacity * 12)),
            DataType::FixedSizeBinary(n) => Column::Uuid(FixedSizeBinaryBuilder::with_capacity(capacity, n)),
            DataType::Date32 => Column::Date(Date32Builder::with_capacity(capacity)),
            DataType::Time64(_) => Column::Time(Time64MicrosecondBuilder::with_capacity(capacity)),
            DataType::Timestamp(_, zone) => {
                Column::Timestamp(TimestampMicrosecondBuilder::with_capacity(capacity).with_timezone_opt(zone))
            }
            DataType::Interval(_) => Column::Interval(IntervalMonthDayNanoBuilder::with_capacity(capacity)),
            DataType::List(field) => Column::List {
                item: field.data_type().clone(),
                ends: Vec::with_capacity(capacity),
                lists: Vec::with_capacity(capacity),
                nulls: NullBufferBuilder::new(capacity),
            },
            _ => Column::Text(StringBuilder::with_capacity(capacity, capacity * 16)),
        };
        ArrayBuilder { ty, column }
    }

    pub fn append_null(&mut self) {
        match &mut self.column {
            Column::Bool(b) => b.append_null(),
            Column::Int2(b) => b.append_null(),
            Column::Int4(b) => b.append_null(),
            Column::Int8(b) => b.append_null(),
            Column::Float4(b) => b.append_null(),
            Column::Float8(b) => b.append_null(),
            Column::Oid(b) => b.append_null(),
            Column::Text(b) => b.append_null(),
            Column::Bytes(b) => b.append_null(),
            Column::Uuid(b) => b.append_null(),
            Column::Date(b) => b.append_null(),
            Column::Time(b) => b.append_null(),
            Column::Timestamp(b) => b.append_null(),
            Column::Interval(b) => b.append_null(),
            Column::List { ends, nulls, .. } => {
                ends.push(ends.last().copied().unwrap_or(0));
                nulls.append_null();
            }
        }
    }

    /// Appends a value; one of another carrier is a bug and answered with `XX000`.
    pub fn append(&mut self, value: &Value<'_>) -> Result<()> {
        match (&mut self.column, value) {
            (_, Value::Null) => self.append_null(),
            (Column::Bool(b), Value::Bool(v)) => b.append_value(*v),
            (Column::Int2(b), Value::Int2(v)) => b.append_value(*v),
            (Column::Int4(b), Value::Int4(v)) => b.append_value(*v),
            (Column::Int8(b), Value::Int8(v)) => b.append_value(*v),
            (Column::Float4(b), Value::Float4(v)) => b.append_value(*v),
            (Column::Float8(b), Value::Float8(v)) => b.append_value(*v),
            (Column::Oid(b), Value::Oid(v)) => b.append_value(*v),
            (Column::Text(b), Value::Text(v)) => b.append_value(v),
            (Column::Bytes(b), Value::Bytes(v)) => b.append_value(v),
            (Column::Uuid(b), Value::Uuid(v)) => {
                b.append_value(v).unwrap_or_else(|_| unreachable!("a uuid has 16 bytes"))
            }
            (Column::Date(b), Value::Date(v)) => b.append_value(*v),
            (Column::Time(b), Value::Time(v)) => b.append_value(*v),
            (Column::Timestamp(b), Value::Timestamp(v)) => b.append_value(*v),
            (Column::Interval(b), Value::Interval(v)) => {
                b.append_value(IntervalMonthDayNano { months: v.months, days: v.days, nanoseconds: v.micros })
            }
            (Column::List { item, ends, lists, nulls }, Value::Array(v)) if v.data_type() == item => {
                let end = ends.last().copied().unwrap_or(0) as usize + v.len();
                let end = i32::try_from(end).map_err(|_| SqlError::internal("too many array elements in a batch"))?;
                ends.push(end);
                lists.push(v.clone());
                nulls.append_non_null();
            }
            (_, other) => return Err(SqlError::internal(format!("{other:?} is not a value of type {:?}", self.ty))),
        }
        Ok(())
    }

    pub fn finish(self) -> ArrayRef {
        match self.column {
            Column::Bool(mut b) => Arc::new(b.finish()),
            Column::Int2(mut b) => Arc::new(b.finish()),
            Column::Int4(mut b) => Arc::new(b.finish()),
            Column::Int8(mut b) => Arc::new(b.finish()),
            Column::Float4(mut b) => Arc::new(b.finish()),
            Column::Float8(mut b) => Arc::new(b.finish()),
            Column::Oid(mut b) => Arc::new(b.finish()),
            Column::Text(mut b) => Arc::new(b.finish()),
            Column::Bytes(mut b) => Arc::new(b.finish()),
            Column::Uuid(mut b) => Arc::new(b.finish()),
            Column::Date(mut b) => Arc::new(b.finish()),
            Column::Time(mut b) => Arc::new(b.finish()),
            Column::Timestamp(mut b) => Arc::new(b.finish()),
            Column::Interval(mut b) => Arc::new(b.finish()),
            Column::List { item, ends, lists, nulls } => finish_list(item, ends, &lists, nulls),
        }
    }
}

fn finish_list(item: DataType, ends: Vec<i32>, lists: &[ArrayRef], mut nulls: NullBufferBuilder) -> ArrayRef {
    let parts: Vec<&dyn Array> = lists.iter().map(|l| &**l).collect();
    let values = if parts.is_empty() {
        new_empty_array(&item)
    } else {
        concat(&parts).unwrap_or_else(|_| unreachable!("append lets in only lists of the item's type"))
    };
    let mut offsets = Vec::with_capacity(ends.len() + 1);
    offsets.push(0);
    offsets.extend(ends);
    let field = Arc::new(Field::new("item", item, true));
    Arc::new(ListArray::new(field, OffsetBuffer::new(ScalarBuffer::from(offsets)), values, nulls.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_arrays_and_scalars() {
        let list = Value::Int4(7).to_array(PgType::INT4).unwrap();
        let cases = [
            (PgType::BOOL, Value::Bool(true)),
            (PgType::PG_LSN, Value::Int8(9)),
            (PgType::REGCLASS, Value::Oid(1259)),
            (PgType::JSONB, Value::Text("{}".into())),
            (PgType::UUID, Value::Uuid([7; 16])),
            (PgType::TIMESTAMPTZ, Value::Timestamp(5)),
            (PgType::INTERVAL, Value::Interval(Interval { months: 1, days: 2, micros: 3 })),
            (PgType::INT4_ARRAY, Value::Array(list)),
            (PgType::TEXT, Value::Null),
        ];
        for (ty, value) in cases {
            let mut builder = ArrayBuilder::new(ty, 2);
            builder.append_null();
            builder.append(&value).unwrap();
            let array = builder.finish();
            assert_eq!(array.data_type(), &ty.arrow());
            assert!(Value::from_array(&array, ty, 0).is_null());
            assert_eq!(format!("{:?}", Value::from_array(&array, ty, 1)), format!("{value:?}"));
            let scalar = value.to_scalar(ty).unwrap();
            assert_eq!(scalar.data_type(), ty.arrow());
            assert_eq!(format!("{:?}", Value::from_scalar(&scalar, ty).unwrap()), format!("{value:?}"));
        }
        assert!(ArrayBuilder::new(PgType::INT4, 1).append(&Value::Int8(1)).is_err());
    }
}
