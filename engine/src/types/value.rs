//! One value of any type, borrowed where it can be, and the bridge to Arrow arrays.

use std::borrow::Cow;

use datafusion::arrow::array::ArrayRef;

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
