//! Rows as bytes: any column is found in constant time, and a batch decodes straight into Arrow builders.
//!
//! ```text
//! schema_version u16 | null bitmap | fixed-width values | end offsets u32 * nvar | variable-width values
//! ```
//!
//! Little endian. A row written with schema version v holds, in position order, every column with
//! `since_version <= v`, dropped ones included (NULL in rows written after the drop): so the layout follows from the
//! version alone and ALTER TABLE ADD/DROP COLUMN rewrites nothing. A NULL of fixed width keeps its (zeroed) place.
//! An empty value is no row but the mark of a deletion.

use kalamdb_catalog::{Oid, PgType, Result, SqlError, SqlState, StorageId, TableDefinition};

use super::cell::{self, Kind};
use crate::types::{FormatSettings, Value, parse_text};
use datafusion::arrow::array::ArrayRef;

pub use super::batch::{BatchDecoder, RowMeta, ScanColumn};

/// Where a live column is in rows of one range of schema versions.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slot {
    /// Bit in the null bitmap, offset of the value.
    Fixed { bit: u32, offset: u32 },
    /// Bit in the null bitmap, index in the offset table.
    Var { bit: u32, index: u32 },
    /// Added after the row was written.
    Missing,
}

/// The layout of rows written with schema versions from `from` to the next layout's.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) from: u16,
    /// Where the fixed section begins: 2 + length of the null bitmap.
    fixed: usize,
    /// Where the offset table begins.
    pub(super) table: usize,
    /// Number of variable-width columns.
    pub(super) vars: usize,
    /// One per live column, in order.
    pub(super) slots: Vec<Slot>,
}

/// How rows of a table are stored and read. Immutable; one per table definition.
#[derive(Default, Debug)]
pub struct RowLayout {
    pub oid: Oid,
    pub storage: StorageId,
    /// The version that rows are written with.
    pub schema_version: u16,
    /// False for tables without a primary key, whose keys are hidden row ids.
    pub has_primary_key: bool,
    pub(super) types: Vec<PgType>,
    pub(super) kinds: Vec<Kind>,
    pub(super) missing: Vec<Value<'static>>,
    /// In ascending order of `from`; the last one is the current one.
    pub(super) shapes: Vec<Shape>,
}

impl RowLayout {
    /// Fails only if a stored `missing` text is not of its column's type, which DDL excludes.
    pub fn new(table: &TableDefinition) -> Result<RowLayout> {
        let live: Vec<_> = table.live_columns().map(|(_, c)| c).collect();
        let format = FormatSettings::default();
        let missing = live
            .iter()
            .map(|c| match &c.missing {
                Some(text) => parse_text(c.ty, c.typmod, text, &format).map(cell::into_owned),
                None => Ok(Value::Null),
            })
            .collect::<Result<_>>()?;
        let mut versions: Vec<u16> = table.columns.iter().map(|c| c.since_version).collect();
        versions.push(0);
        versions.sort_unstable();
        versions.dedup();
        Ok(RowLayout {
            oid: table.oid,
            storage: table.storage,
            schema_version: table.schema_version,
            has_primary_key: table.primary_key.is_some(),
            types: live.iter().map(|c| c.ty).collect(),
            kinds: live.iter().map(|c| Kind::of(c.ty)).collect(),
            missing,
            shapes: versions.into_iter().map(|v| shape(table, v)).collect(),
        })
    }

    /// Types of the live columns, in order.
    pub fn types(&self) -> &[PgType] {
        &self.types
    }

    /// A row as it is stored: one value per live column, in order, each in its column's carrier.
    pub fn encode(&self, values: &[Value<'_>]) -> Vec<u8> {
        debug_assert_eq!(values.len(), self.kinds.len());
        self.encode_with(|i, kind, place| match place {
            Place::Fixed(out) => cell::put_fixed(kind, &values[i], out),
            Place::Var(out) => cell::push_var(kind, &values[i], out),
        })
    }

    /// Row `row` of arrays in the carriers of the live columns.
    pub fn encode_arrays(&self, columns: &[ArrayRef], row: usize) -> Vec<u8> {
        debug_assert_eq!(columns.len(), self.kinds.len());
        self.encode_with(|i, kind, place| match place {
            Place::Fixed(out) => cell::put_fixed_at(kind, &*columns[i], row, out),
            Place::Var(out) => cell::push_var_at(kind, &*columns[i], row, out),
        })
    }

    /// `put` writes column i and says whether it is not NULL.
    fn encode_with(&self, mut put: impl FnMut(usize, &Kind, Place<'_>) -> bool) -> Vec<u8> {
        let shape = self.current();
        let body = shape.table + shape.vars * 4;
        let mut out = Vec::with_capacity(body + shape.vars * 24);
        out.resize(body, 0);
        out[..2].copy_from_slice(&self.schema_version.to_le_bytes());
        // Everything starts as NULL; dropped columns stay so.
        out[2..shape.fixed].fill(0xFF);
        let mut written = 0;
        for (i, (slot, kind)) in shape.slots.iter().zip(&self.kinds).enumerate() {
            match *slot {
                Slot::Fixed { bit, offset } => {
                    let offset = offset as usize;
                    if put(i, kind, Place::Fixed(&mut out[offset..offset + kind.width()])) {
                        out[2 + bit as usize / 8] &= !(1 << (bit % 8));
                    }
                }
                Slot::Var { bit, index } => {
                    // Offsets of dropped columns before this one: they end where they begin.
                    let start = out.len() - body;
                    for skipped in written..index as usize {
                        put_end(&mut out, shape.table, skipped, start);
                    }
                    if put(i, kind, Place::Var(&mut out)) {
                        out[2 + bit as usize / 8] &= !(1 << (bit % 8));
                    }
                    let end = out.len() - body;
                    put_end(&mut out, shape.table, index as usize, end);
                    written = index as usize + 1;
                }
                Slot::Missing => unreachable!("the current layout has every live column"),
            }
        }
        let end = out.len() - body;
        for skipped in written..shape.vars {
            put_end(&mut out, shape.table, skipped, end);
        }
        out
    }

    /// A column of a stored row, by its index among the live columns. XX001 for bytes that are no such row.
    pub fn decode_column<'a>(&'a self, row: &'a [u8], live_index: usize) -> Result<Value<'a>> {
        let shape = self.shape_of(row)?;
        let kind = &self.kinds[live_index];
        match find(row, shape, shape.slots[live_index], kind)? {
            Found::Null => Ok(Value::Null),
            Found::Missing => Ok(cell::borrow(&self.missing[live_index])),
            Found::Bytes(bytes) => cell::read(kind, bytes),
        }
    }

    /// All live columns of a stored row.
    pub fn decode<'a>(&'a self, row: &'a [u8]) -> Result<Vec<Value<'a>>> {
        (0..self.kinds.len()).map(|i| self.decode_column(row, i)).collect()
    }

    fn current(&self) -> &Shape {
        self.shape_for(self.schema_version)
    }

    /// The layout of rows written with `version`.
    fn shape_for(&self, version: u16) -> &Shape {
        let after = self.shapes.partition_point(|s| s.from <= version);
        // There is always one from version 0.
        &self.shapes[after.max(1) - 1]
    }

    pub(super) fn shape_of(&self, row: &[u8]) -> Result<&Shape> {
        let Some(version) = row.first_chunk::<2>() else { return Err(corrupted()) };
        let version = u16::from_le_bytes(*version);
        if version > self.schema_version {
            return Err(corrupted());
        }
        Ok(self.shape_for(version))
    }
}

/// Where a column's bytes go.
enum Place<'a> {
    Fixed(&'a mut [u8]),
    Var(&'a mut Vec<u8>),
}

fn put_end(out: &mut [u8], table: usize, index: usize, end: usize) {
    let at = table + index * 4;
    // Rows end far below 4 GB: the transaction's size limit comes first.
    out[at..at + 4].copy_from_slice(&(end as u32).to_le_bytes());
}

fn shape(table: &TableDefinition, version: u16) -> Shape {
    let present = || table.columns.iter().filter(|c| c.since_version <= version);
    let fixed = 2 + present().count().div_ceil(8);
    let (mut offset, mut vars) = (fixed as u32, 0);
    let mut bit = 0;
    let mut slots = Vec::new();
    for column in &table.columns {
        let slot = if column.since_version > version {
            Slot::Missing
        } else {
            let kind = Kind::of(column.ty);
            bit += 1;
            if kind.width() > 0 {
                offset += kind.width() as u32;
                Slot::Fixed { bit: bit - 1, offset: offset - kind.width() as u32 }
            } else {
                vars += 1;
                Slot::Var { bit: bit - 1, index: vars - 1 }
            }
        };
        if !column.dropped {
            slots.push(slot);
        }
    }
    Shape { from: version, fixed, table: offset as usize, vars: vars as usize, slots }
}

/// A column's bytes in a row.
pub(super) enum Found<'a> {
    Null,
    Missing,
    Bytes(&'a [u8]),
}

#[inline]
pub(super) fn find<'a>(row: &'a [u8], shape: &Shape, slot: Slot, kind: &Kind) -> Result<Found<'a>> {
    let null = |bit: u32| match row.get(2 + bit as usize / 8) {
        Some(byte) => Ok(byte >> (bit % 8) & 1 == 1),
        None => Err(corrupted()),
    };
    match slot {
        Slot::Fixed { bit, offset } => {
            if null(bit)? {
                return Ok(Found::Null);
            }
            let offset = offset as usize;
            row.get(offset..offset + kind.width()).map(Found::Bytes).ok_or_else(corrupted)
        }
        Slot::Var { bit, index } => {
            if null(bit)? {
                return Ok(Found::Null);
            }
            let end_at = |i: usize| {
                let at = shape.table + i * 4;
                let bytes = row.get(at..at + 4).and_then(|b| b.first_chunk::<4>()).ok_or_else(corrupted)?;
                Ok::<_, SqlError>(u32::from_le_bytes(*bytes) as usize)
            };
            let start = if index == 0 { 0 } else { end_at(index as usize - 1)? };
            let end = end_at(index as usize)?;
            let body = shape.table + shape.vars * 4;
            row.get(body + start..body + end).map(Found::Bytes).ok_or_else(corrupted)
        }
        Slot::Missing => Ok(Found::Missing),
    }
}

#[cold]
pub(super) fn corrupted() -> SqlError {
    SqlError::new(SqlState::DATA_CORRUPTED, "stored row does not match its table's definition")
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::sync::Arc;

    use datafusion::arrow::array::{Array, AsArray, Int32Array, StringArray};
    use datafusion::arrow::datatypes::{Int32Type, Int64Type, UInt32Type};
    use kalamdb_catalog::{ColumnDefinition, TableKind};
    use proptest::prelude::*;

    use super::*;
    use crate::types::Interval;

    fn column(name: &str, ty: PgType, since_version: u16, missing: Option<&str>) -> ColumnDefinition {
        ColumnDefinition {
            name: name.to_owned(),
            ty,
            typmod: -1,
            not_null: false,
            default: None,
            default_oid: 0,
            dropped: false,
            missing: missing.map(str::to_owned),
            since_version,
            generated: None,
        }
    }

    fn table(schema_version: u16, columns: Vec<ColumnDefinition>) -> TableDefinition {
        TableDefinition {
            oid: 16384,
            row_type_oid: 16386,
            schema: 2200,
            name: "t".to_owned(),
            owner: "kalamdb".to_owned(),
            kind: TableKind::Shared,
            storage: 7,
            persistence: kalamdb_catalog::table::Persistence::Permanent,
            schema_version,
            columns,
            primary_key: None,
            indexes: Vec::new(),
            constraints: Vec::new(),
            options: Vec::new(),
            created_at: 0,
        }
    }

    fn layout(table: &TableDefinition) -> Arc<RowLayout> {
        Arc::new(RowLayout::new(table).unwrap())
    }

    fn text(s: &str) -> Value<'_> {
        Value::Text(Cow::Borrowed(s))
    }

    /// One value of every kind, in the order of [`every_type`].
    fn every_value() -> Vec<Value<'static>> {
        let words = StringArray::from(vec![Some("a"), None, Some("")]);
        let numbers = Int32Array::from(vec![Some(1), None]);
        vec![
            Value::Bool(true),
            Value::Int2(-2),
            Value::Int4(4),
            Value::Int8(i64::MIN),
            Value::Float4(1.5),
            Value::Float8(-0.0),
            Value::Oid(u32::MAX),
            text("grüße"),
            Value::Bytes(Cow::Borrowed(&[0, 255])),
            Value::Uuid([9; 16]),
            Value::Date(-1),
            Value::Time(86_400_000_000),
            Value::Timestamp(i64::MAX),
            Value::Timestamp(5),
            Value::Interval(Interval { months: -1, days: 2, micros: 3 }),
            Value::Array(Arc::new(words)),
            Value::Array(Arc::new(numbers)),
        ]
    }

    fn every_type() -> TableDefinition {
        let types = [
            PgType::BOOL,
            PgType::INT2,
            PgType::INT4,
            PgType::INT8,
            PgType::FLOAT4,
            PgType::FLOAT8,
            PgType::REGCLASS,
            PgType::VARCHAR,
            PgType::BYTEA,
            PgType::UUID,
            PgType::DATE,
            PgType::TIME,
            PgType::TIMESTAMP,
            PgType::TIMESTAMPTZ,
            PgType::INTERVAL,
            PgType::TEXT_ARRAY,
            PgType::INT4_ARRAY,
        ];
        table(0, types.iter().map(|ty| column("c", *ty, 0, None)).collect())
    }

    fn batch(layout: &Arc<RowLayout>, rows: &[Vec<u8>]) -> Vec<ArrayRef> {
        let projection: Vec<_> = (0..layout.types().len()).map(ScanColumn::User).collect();
        let mut decoder = BatchDecoder::new(layout, &projection, rows.len());
        for row in rows {
            decoder.append(row, RowMeta { key: &[0; 12], seq: 1 }).unwrap();
        }
        assert!(decoder.is_full());
        decoder.finish().unwrap()
    }

    #[test]
    fn every_type_survives() {
        let layout = layout(&every_type());
        let values = every_value();
        let nulls = vec![Value::Null; values.len()];
        let rows = vec![layout.encode(&values), layout.encode(&nulls)];
        assert_eq!(format!("{:?}", layout.decode(&rows[0]).unwrap()), format!("{values:?}"));
        assert_eq!(format!("{:?}", layout.decode(&rows[1]).unwrap()), format!("{nulls:?}"));
        let arrays = batch(&layout, &rows);
        for (array, ty) in arrays.iter().zip(layout.types()) {
            assert_eq!(array.data_type(), &ty.arrow());
            assert!(array.is_valid(0) && array.is_null(1), "{ty:?}");
        }
        // Arrays into rows give the same bytes as values do.
        assert_eq!(layout.encode_arrays(&arrays, 0), rows[0]);
        assert_eq!(layout.encode_arrays(&arrays, 1), rows[1]);
    }

    #[test]
    fn rows_of_older_versions_are_read() {
        let old = table(1, vec![column("a", PgType::INT4, 0, None), column("b", PgType::TEXT, 0, None)]);
        let row = layout(&old).encode(&[Value::Int4(1), text("one")]);

        let mut columns = old.columns.clone();
        columns[1].dropped = true;
        columns.push(column("c", PgType::INT4, 2, Some("42")));
        columns.push(column("d", PgType::TEXT, 3, Some("new")));
        columns.push(column("e", PgType::TEXT, 3, None));
        let new = layout(&table(3, columns));
        let rows = [row, new.encode(&[Value::Int4(2), Value::Null, text("x"), text("yz")])];
        let shown: Vec<_> = rows.iter().map(|r| format!("{:?}", new.decode(r).unwrap())).collect();
        assert_eq!(shown[0], "[Int4(1), Int4(42), Text(\"new\"), Null]");
        assert_eq!(shown[1], "[Int4(2), Null, Text(\"x\"), Text(\"yz\")]");
        let arrays = batch(&new, &rows);
        assert_eq!(arrays[1].as_primitive::<Int32Type>(), &Int32Array::from(vec![Some(42), None]));
        assert_eq!(arrays[2].as_string::<i32>(), &StringArray::from(vec!["new", "x"]));
    }

    #[test]
    fn system_columns() {
        let layout = layout(&table(0, vec![column("a", PgType::INT4, 0, None)]));
        let row = layout.encode(&[Value::Null]);
        let columns = [
            ScanColumn::Seq,
            ScanColumn::Ctid,
            ScanColumn::Xmin,
            ScanColumn::Xmax,
            ScanColumn::TableOid,
            ScanColumn::Key,
            ScanColumn::Row,
        ];
        let mut decoder = BatchDecoder::new(&layout, &columns, 8);
        let key = super::super::row_id_key(7, 65_536);
        for seq in [1, u64::from(u32::MAX) + 11, super::super::UNCOMMITTED] {
            decoder.append(&row, RowMeta { key: &key, seq }).unwrap();
        }
        let arrays = decoder.finish().unwrap();
        let seqs = arrays[0].as_primitive::<Int64Type>();
        assert_eq!((seqs.value(0), seqs.value(1), seqs.is_null(2)), (1, 4_294_967_306, true));
        assert_eq!(arrays[1].as_string::<i32>().value(0), "(1,2)");
        assert_eq!(arrays[2].as_primitive::<UInt32Type>().values(), &[3, 10, 3]);
        assert_eq!(arrays[3].as_primitive::<UInt32Type>().values(), &[0, 0, 0]);
        assert_eq!(arrays[4].as_primitive::<UInt32Type>().value(2), 16384);
        assert_eq!(arrays[5].as_binary::<i32>().value(0), key);
        assert_eq!(arrays[6].as_binary::<i32>().value(0), row);
        for (array, column) in arrays.iter().zip(columns) {
            assert_eq!(array.data_type(), &column.data_type(&layout));
        }
    }

    #[test]
    fn damaged_rows_are_refused() {
        let layout = layout(&every_type());
        let row = layout.encode(&every_value());
        for len in 0..row.len() {
            assert_eq!(layout.decode(&row[..len]).unwrap_err().code(), SqlState::DATA_CORRUPTED, "{len}");
        }
        let mut future = row;
        future[0] = 1;
        assert_eq!(layout.decode(&future).unwrap_err().code(), SqlState::DATA_CORRUPTED);
    }

    proptest! {
        #[test]
        fn rows_round_trip(cells in proptest::collection::vec(proptest::option::of(".{0,12}"), 0..20), n: Option<i64>) {
            let mut columns: Vec<_> = cells.iter().map(|_| column("c", PgType::TEXT, 0, None)).collect();
            columns.insert(columns.len() / 2, column("n", PgType::INT8, 0, None));
            let layout = layout(&table(0, columns));
            let mut values: Vec<_> = cells.iter().map(|c| c.as_deref().map_or(Value::Null, text)).collect();
            values.insert(cells.len() / 2, n.map_or(Value::Null, Value::Int8));
            let row = layout.encode(&values);
            prop_assert_eq!(format!("{:?}", layout.decode(&row).unwrap()), format!("{:?}", values));
            let arrays = batch(&layout, std::slice::from_ref(&row));
            prop_assert_eq!(layout.encode_arrays(&arrays, 0), row);
        }
    }
}
