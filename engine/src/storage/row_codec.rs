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
#[derive(Debug)]
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
