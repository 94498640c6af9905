//! Stored rows into Arrow arrays, cell by cell without a [`Value`](crate::types::Value) in between: this decides how
//! fast a scan is.
//!
//! Text is checked to be UTF-8 once per array, over all its bytes, which is far cheaper than per value.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BinaryBuilder, BooleanBuilder, FixedSizeBinaryBuilder, ListArray, NullBufferBuilder,
    PrimitiveBuilder, StringArray, StringBuilder,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Field, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType, UInt32Type,
};
use kalamdb_catalog::{PgType, Result};

use super::cell::{self, Kind};
use super::row_codec::{Found, RowLayout, corrupted, find};

/// A column that a scan can give.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScanColumn {
    /// A column of the table, by its index among the live columns.
    User(usize),
    /// `_seq` int8: the commit sequence number of the row's version; NULL for the transaction's own uncommitted rows.
    Seq,
    /// tid, as text. See [`ctid`].
    Ctid,
    /// xid: the low 32 bits of `_seq`, at least 3.
    Xmin,
    /// xid, 0.
    Xmax,
    /// cid, 0.
    Cmin,
    /// cid, 0.
    Cmax,
    /// oid
    TableOid,
    /// Binary: the row's key without sequence number, as `Transaction` takes it.
    Key,
    /// Binary: the stored row.
    Row,
}

impl ScanColumn {
    /// The Arrow type of this column in a scan of a table with `layout`.
    pub fn data_type(self, layout: &RowLayout) -> DataType {
        match self {
            ScanColumn::User(i) => layout.types()[i].arrow(),
            ScanColumn::Seq => DataType::Int64,
            ScanColumn::Ctid => DataType::Utf8,
            ScanColumn::Xmin | ScanColumn::Xmax | ScanColumn::Cmin | ScanColumn::Cmax | ScanColumn::TableOid => {
                DataType::UInt32
            }
            ScanColumn::Key | ScanColumn::Row => DataType::Binary,
        }
    }
}

/// What is known of a row besides its stored bytes.
#[derive(Clone, Copy, Debug)]
pub struct RowMeta<'a> {
    /// Key without sequence number.
    pub key: &'a [u8],
    /// Commit sequence number, [`UNCOMMITTED`] for the transaction's own writes.
    pub seq: u64,
}

/// The sequence number of rows that are not committed yet.
pub const UNCOMMITTED: u64 = u64::MAX;

/// An array under construction, one variant per carrier.
pub(super) enum ColumnBuilder {
    Bool(BooleanBuilder),
    Int2(PrimitiveBuilder<Int16Type>),
    Int4(PrimitiveBuilder<Int32Type>),
    Int8(PrimitiveBuilder<Int64Type>),
    Float4(PrimitiveBuilder<Float32Type>),
    Float8(PrimitiveBuilder<Float64Type>),
    Oid(PrimitiveBuilder<UInt32Type>),
    Date(PrimitiveBuilder<Date32Type>),
    Time(PrimitiveBuilder<Time64MicrosecondType>),
    Timestamp(PrimitiveBuilder<TimestampMicrosecondType>),
    Interval(PrimitiveBuilder<IntervalMonthDayNanoType>),
    Uuid(FixedSizeBinaryBuilder),
    /// Becomes a string array at the end.
    Text(BinaryBuilder),
    Bytes(BinaryBuilder),
    List(Box<ListBuilder>),
}

pub(super) struct ListBuilder {
    element: (PgType, Kind),
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
    values: ColumnBuilder,
}

impl ColumnBuilder {
    pub(super) fn new(_ty: PgType, kind: &Kind, rows: usize) -> ColumnBuilder {
        match kind {
            Kind::Bool => ColumnBuilder::Bool(BooleanBuilder::with_capacity(rows)),
            Kind::Int2 => ColumnBuilder::Int2(PrimitiveBuilder::with_capacity(rows)),
            Kind::Int4 => ColumnBuilder::Int4(PrimitiveBuilder::with_capacity(rows)),
            Kind::Int8 => ColumnBuilder::Int8(PrimitiveBuilder::with_capacity(rows)),
            Kind::Float4 => ColumnBuilder::Float4(PrimitiveBuilder::with_capacity(rows)),
            Kind::Float8 => ColumnBuilder::Float8(PrimitiveBuilder::with_capacity(rows)),
            Kind::Oid => ColumnBuilder::Oid(PrimitiveBuilder::with_capacity(rows)),
            Kind::Date => ColumnBuilder::Date(PrimitiveBuilder::with_capacity(rows)),
            Kind::Time => ColumnBuilder::Time(PrimitiveBuilder::with_capacity(rows)),
            Kind::Timestamp => ColumnBuilder::Timestamp(PrimitiveBuilder::with_capacity(rows)),
            Kind::Timestamptz => ColumnBuilder::Timestamp(PrimitiveBuilder::with_capacity(rows).with_timezone("UTC")),
            Kind::Interval => ColumnBuilder::Interval(PrimitiveBuilder::with_capacity(rows)),
            Kind::Uuid => ColumnBuilder::Uuid(FixedSizeBinaryBuilder::with_capacity(rows, 16)),
            Kind::Text => ColumnBuilder::Text(BinaryBuilder::with_capacity(rows, rows * 16)),
            Kind::Bytes => ColumnBuilder::Bytes(BinaryBuilder::with_capacity(rows, rows * 16)),
            Kind::List(element) => {
                let values = ColumnBuilder::new(element.0, &element.1, rows);
                let nulls = NullBufferBuilder::new(rows);
                ColumnBuilder::List(Box::new(ListBuilder {
                    element: (**element).clone(),
                    offsets: vec![0],
                    nulls,
                    values,
                }))
            }
        }
    }

    #[inline]
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            ColumnBuilder::Bool(b) => b.append_value(bytes.first() == Some(&1)),
            ColumnBuilder::Int2(b) => b.append_value(i16::from_le_bytes(cell::array(bytes)?)),
            ColumnBuilder::Int4(b) => b.append_value(i32::from_le_bytes(cell::array(bytes)?)),
            ColumnBuilder::Int8(b) => b.append_value(i64::from_le_bytes(cell::array(bytes)?)),
            ColumnBuilder::Float4(b) => b.append_value(f32::from_le_bytes(cell::array(bytes)?)),
            ColumnBuilder::Float8(b) => b.append_value(f64::from_le_bytes(cell::array(bytes)?)),
            ColumnBuilder::Oid(b) => b.append_value(u32::from_le_bytes(cell::array(bytes)?)),
            ColumnBuilder::Date(b) => b.append_value(i32::from_le_bytes(cell::array(bytes)?)),
            ColumnBuilder::Time(b) => b.append_value(i64::from_le_bytes(cell::array(bytes)?)),
            ColumnBuilder::Timestamp(b) => b.append_value(i64::from_le_bytes(cell::array(bytes)?)),
            ColumnBuilder::Interval(b) => {
                let v = cell::read_interval(bytes)?;
                b.append_value(IntervalMonthDayNano { months: v.months, days: v.days, nanoseconds: v.micros });
            }
            ColumnBuilder::Uuid(b) => b.append_value(bytes).map_err(|_| corrupted())?,
            ColumnBuilder::Text(b) | ColumnBuilder::Bytes(b) => b.append_value(bytes),
            ColumnBuilder::List(b) => {
                let count = cell::read_list(&b.element.1, bytes, &mut b.values)?;
                let end = i32::try_from(count).ok().and_then(|n| b.offsets.last()?.checked_add(n));
                b.offsets.push(end.ok_or_else(corrupted)?);
                b.nulls.append_non_null();
            }
        }
        Ok(())
    }

    pub(super) fn append_null(&mut self) {
        match self {
            ColumnBuilder::Bool(b) => b.append_null(),
            ColumnBuilder::Int2(b) => b.append_null(),
            ColumnBuilder::Int4(b) => b.append_null(),
            ColumnBuilder::Int8(b) => b.append_null(),
            ColumnBuilder::Float4(b) => b.append_null(),
            ColumnBuilder::Float8(b) => b.append_null(),
            ColumnBuilder::Oid(b) => b.append_null(),
            ColumnBuilder::Date(b) => b.append_null(),
            ColumnBuilder::Time(b) => b.append_null(),
            ColumnBuilder::Timestamp(b) => b.append_null(),
            ColumnBuilder::Interval(b) => b.append_null(),
            ColumnBuilder::Uuid(b) => b.append_null(),
            ColumnBuilder::Text(b) | ColumnBuilder::Bytes(b) => b.append_null(),
            ColumnBuilder::List(b) => {
                b.offsets.push(b.offsets.last().copied().unwrap_or(0));
                b.nulls.append_null();
            }
        }
    }

    pub(super) fn finish(self) -> Result<ArrayRef> {
        Ok(match self {
            ColumnBuilder::Bool(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Int2(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Int4(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Int8(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Float4(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Float8(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Oid(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Date(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Time(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Timestamp(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Interval(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Uuid(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Text(mut b) => {
                let (offsets, values, nulls) = b.finish().into_parts();
                Arc::new(StringArray::try_new(offsets, values, nulls).map_err(|_| corrupted())?)
            }
            ColumnBuilder::Bytes(mut b) => Arc::new(b.finish()),
            ColumnBuilder::List(b) => {
                let ListBuilder { offsets, mut nulls, values, .. } = *b;
                let values = values.finish()?;
                let field = Field::new("item", values.data_type().clone(), true).into();
                let offsets = OffsetBuffer::new(offsets.into());
                Arc::new(ListArray::try_new(field, offsets, values, nulls.finish()).map_err(|_| corrupted())?)
            }
        })
    }
}

/// What builds one output column.
enum Output {
    /// Live index and builder.
    User(usize, ColumnBuilder),
    Seq(PrimitiveBuilder<Int64Type>),
    Ctid(StringBuilder),
    Xmin(PrimitiveBuilder<UInt32Type>),
    /// The same number in every row.
    Constant(u32, PrimitiveBuilder<UInt32Type>),
    Key(BinaryBuilder),
    Row(BinaryBuilder),
}

/// Collects rows of one table into arrays, one per projected column.
pub struct BatchDecoder {
    layout: Arc<RowLayout>,
    outputs: Vec<Output>,
    len: usize,
    capacity: usize,
    bytes: usize,
}

/// Stored bytes after which a batch counts as full, so that wide rows do not make giant batches.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// Rows that builders have room for at first; most statements read few.
const INITIAL_ROWS: usize = 512;

impl BatchDecoder {
    /// `capacity` is the number of rows after which [`BatchDecoder::is_full`] says so.
    pub fn new(layout: &Arc<RowLayout>, projection: &[ScanColumn], capacity: usize) -> BatchDecoder {
        let rows = capacity.min(INITIAL_ROWS);
        let outputs = projection.iter().map(|column| output(layout, *column, rows)).collect();
        BatchDecoder { layout: Arc::clone(layout), outputs, len: 0, capacity, bytes: 0 }
    }

    /// Adds one row. XX001 if it is not a row of this table.
    #[inline]
    pub fn append(&mut self, row: &[u8], meta: RowMeta<'_>) -> Result<()> {
        let layout = &*self.layout;
        let shape = layout.shape_of(row)?;
        for output in &mut self.outputs {
            match output {
                Output::User(i, builder) => {
                    let kind = &layout.kinds[*i];
                    match find(row, shape, shape.slots[*i], kind)? {
                        Found::Bytes(bytes) => builder.append(bytes)?,
                        Found::Null => builder.append_null(),
                        Found::Missing => cell::append_value(kind, &layout.missing[*i], builder)?,
                    }
                }
                Output::Seq(b) => b.append_option((meta.seq != UNCOMMITTED).then_some(meta.seq as i64)),
                Output::Ctid(b) => {
                    let (block, offset) = ctid(layout, meta);
                    b.append_value(format!("({block},{offset})"));
                }
                Output::Xmin(b) => b.append_value(xmin(meta.seq)),
                Output::Constant(v, b) => b.append_value(*v),
                Output::Key(b) => b.append_value(meta.key),
                Output::Row(b) => b.append_value(row),
            }
        }
        self.len += 1;
        self.bytes += row.len();
        Ok(())
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True once the batch holds `capacity` rows or enough bytes.
    pub fn is_full(&self) -> bool {
        self.len >= self.capacity || self.bytes >= BATCH_BYTES_MAX
    }

    /// The arrays, in projection order; the decoder starts anew.
    pub fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        let projection: Vec<ScanColumn> = self.outputs.iter().map(column_of).collect();
        let rows = self.capacity.min(self.len.max(16) * 2);
        let fresh = projection.iter().map(|column| output(&self.layout, *column, rows)).collect();
        self.len = 0;
        self.bytes = 0;
        std::mem::replace(&mut self.outputs, fresh).into_iter().map(finish_output).collect()
    }
}

fn output(layout: &RowLayout, column: ScanColumn, rows: usize) -> Output {
    let constant = |v| Output::Constant(v, PrimitiveBuilder::with_capacity(rows));
    match column {
        ScanColumn::User(i) => Output::User(i, ColumnBuilder::new(layout.types[i], &layout.kinds[i], rows)),
        ScanColumn::Seq => Output::Seq(PrimitiveBuilder::with_capacity(rows)),
        ScanColumn::Ctid => Output::Ctid(StringBuilder::new()),
        ScanColumn::Xmin => Output::Xmin(PrimitiveBuilder::with_capacity(rows)),
        ScanColumn::Xmax | ScanColumn::Cmin | ScanColumn::Cmax => constant(0),
        ScanColumn::TableOid => constant(layout.oid),
        ScanColumn::Key => Output::Key(BinaryBuilder::new()),
        ScanColumn::Row => Output::Row(BinaryBuilder::new()),
    }
}

/// The column an output stands for, as far as making a fresh one needs it.
fn column_of(output: &Output) -> ScanColumn {
    match output {
        Output::User(i, _) => ScanColumn::User(*i),
        Output::Seq(_) => ScanColumn::Seq,
        Output::Ctid(_) => ScanColumn::Ctid,
        Output::Xmin(_) => ScanColumn::Xmin,
        Output::Constant(0, _) => ScanColumn::Cmin,
        Output::Constant(..) => ScanColumn::TableOid,
        Output::Key(_) => ScanColumn::Key,
        Output::Row(_) => ScanColumn::Row,
    }
}

fn finish_output(output: Output) -> Result<ArrayRef> {
    Ok(match output {
        Output::User(_, b) => b.finish()?,
        Output::Seq(mut b) => Arc::new(b.finish()),
        Output::Ctid(mut b) => Arc::new(b.finish()),
        Output::Xmin(mut b) | Output::Constant(_, mut b) => Arc::new(b.finish()),
        Output::Key(mut b) | Output::Row(mut b) => Arc::new(b.finish()),
    })
}

/// xid of the transaction that wrote a version: 0, 1 and 2 mean something else in PostgreSQL.
pub fn xmin(seq: u64) -> u32 {
    if seq == UNCOMMITTED { 3 } else { (seq as u32).max(3) }
}

/// Block and offset (from 1) of a row's ctid.
///
/// Without a primary key: the hidden row id, so it is unique and finds the row as long as it lives. With one: 48 bits
/// of a fixed hash of key and sequence number, so it changes with every update as PostgreSQL's does.
pub fn ctid(layout: &RowLayout, meta: RowMeta<'_>) -> (u32, u16) {
    let number = if layout.has_primary_key {
        hash(meta.key, meta.seq) >> 16
    } else {
        meta.key.last_chunk::<8>().map_or(0, |id| u64::from_be_bytes(*id))
    };
    ((number / 0xFFFF) as u32, (number % 0xFFFF) as u16 + 1)
}

/// FNV-1a with a final mix. Part of what clients see as ctid: it stays as it is.
fn hash(key: &[u8], seq: u64) -> u64 {
    let mut h = 0xCBF2_9CE4_8422_2325_u64;
    for b in key.iter().copied().chain(seq.to_be_bytes()) {
        h = (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01B3);
    }
    h ^= h >> 32;
    h = h.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    h ^ h >> 32
}
