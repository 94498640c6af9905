//! Backend messages (manual, section 55.7), appended to the one output buffer of a connection.
//!
//! Rows go from Arrow columns straight into the buffer: a column is downcast once per batch, a value is written in
//! place behind its length, and nothing is allocated per value.

use arrow_array::RecordBatch;
use kalamdb_catalog::{Catalog, PgType, Result};
use kalamdb_engine::session::TransactionStatus;
use kalamdb_engine::sql::Column;
use kalamdb_engine::types::{ColumnReader, FormatSettings, Value, write_binary, write_text};

use crate::decode::Formats;

/// Appends a message: its type, its length, and what `body` writes.
pub(crate) fn message(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    sized(out, 4, body);
}

/// Appends a length of four bytes and what `body` writes; the length counts `own` bytes besides.
fn sized(out: &mut Vec<u8>, own: usize, body: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    // A value is bounded by the memory of its batch, far below 2 GB.
    let len = (out.len() - at - 4 + own) as u32;
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
}

/// A message without a body: ParseComplete, NoData ...
pub(crate) fn bare(out: &mut Vec<u8>, tag: u8) {
    out.extend_from_slice(&[tag, 0, 0, 0, 4]);
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes().filter(|&b| b != 0));
    out.push(0);
}

pub(crate) fn authentication_ok(out: &mut Vec<u8>) {
    message(out, b'R', |out| out.extend_from_slice(&[0; 4]));
}

/// NegotiateProtocolVersion: the newest version we speak and the `_pq_.` options we do not know.
pub(crate) fn negotiate_version(out: &mut Vec<u8>, version: u32, unknown: &[String]) {
    message(out, b'v', |out| {
        out.extend_from_slice(&version.to_be_bytes());
        out.extend_from_slice(&(unknown.len() as u32).to_be_bytes());
        for name in unknown {
            string(out, name);
        }
    });
}

pub(crate) fn parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    message(out, b'S', |out| {
        string(out, name);
        string(out, value);
    });
}

pub(crate) fn backend_key(out: &mut Vec<u8>, pid: i32, secret: &[u8]) {
    message(out, b'K', |out| {
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(secret);
    });
}

pub(crate) fn ready_for_query(out: &mut Vec<u8>, status: TransactionStatus) {
    let status = match status {
        TransactionStatus::Idle => b'I',
        TransactionStatus::InBlock => b'T',
        TransactionStatus::Failed => b'E',
    };
    out.extend_from_slice(&[b'Z', 0, 0, 0, 5, status]);
}

pub(crate) fn command_complete(out: &mut Vec<u8>, tag: &str) {
    message(out, b'C', |out| string(out, tag));
}

pub(crate) fn notification(out: &mut Vec<u8>, pid: i32, channel: &str, payload: &str) {
    message(out, b'A', |out| {
        out.extend_from_slice(&pid.to_be_bytes());
        string(out, channel);
        string(out, payload);
    });
}

pub(crate) fn parameter_description(out: &mut Vec<u8>, types: &[PgType]) {
    message(out, b't', |out| {
        out.extend_from_slice(&(types.len() as u16).to_be_bytes());
        for ty in types {
            out.extend_from_slice(&ty.oid().to_be_bytes());
        }
    });
}

/// RowDescription. `formats` are those of the portal, or none when a statement is described.
pub(crate) fn row_description(
    out: &mut Vec<u8>,
    columns: &[Column],
    formats: &Formats,
    catalog: &Catalog,
) -> Result<()> {
    let binary: Vec<bool> = (0..columns.len()).map(|i| formats.binary(i)).collect::<Result<_>>()?;
    message(out, b'T', |out| {
        out.extend_from_slice(&(columns.len() as u16).to_be_bytes());
        for (column, binary) in columns.iter().zip(binary) {
            string(out, &column.name);
            out.extend_from_slice(&column.table.to_be_bytes());
            out.extend_from_slice(&column.attribute.to_be_bytes());
            out.extend_from_slice(&column.type_oid(catalog).to_be_bytes());
            out.extend_from_slice(&column.ty.info().len.to_be_bytes());
            out.extend_from_slice(&column.typmod.to_be_bytes());
            out.extend_from_slice(&u16::from(binary).to_be_bytes());
        }
    });
    Ok(())
}

/// CopyInResponse (`G`) or CopyOutResponse (`H`).
pub(crate) fn copy_response(out: &mut Vec<u8>, tag: u8, binary: bool, columns: usize) {
    message(out, tag, |out| {
        out.push(u8::from(binary));
        out.extend_from_slice(&(columns as u16).to_be_bytes());
        for _ in 0..columns {
            out.extend_from_slice(&u16::from(binary).to_be_bytes());
        }
    });
}

/// Writes the rows of one batch as DataRows.
pub(crate) struct RowWriter<'a> {
    columns: Vec<(ColumnReader<'a>, PgType, bool)>,
    settings: &'a FormatSettings,
    rows: usize,
}

impl<'a> RowWriter<'a> {
    pub(crate) fn new(
        batch: &'a RecordBatch,
        types: &[PgType],
        formats: &Formats,
        settings: &'a FormatSettings,
    ) -> Result<RowWriter<'a>> {
        let columns = batch
            .columns()
            .iter()
            .zip(types)
            .enumerate()
            .map(|(i, (array, &ty))| Ok((ColumnReader::new(array, ty), ty, formats.binary(i)?)))
            .collect::<Result<_>>()?;
        Ok(RowWriter { columns, settings, rows: batch.num_rows() })
    }

    /// Writes rows from `from` on until `to`, or until the buffer holds `bytes`. Gives the next row to write.
    pub(crate) fn write(&self, out: &mut Vec<u8>, from: usize, to: usize, bytes: usize) -> usize {
        let mut row = from;
        while row < to.min(self.rows) && out.len() < bytes {
            message(out, b'D', |out| {
                out.extend_from_slice(&(self.columns.len() as u16).to_be_bytes());
                for (reader, ty, binary) in &self.columns {
                    self.write_value(out, &reader.value(row), *ty, *binary);
                }
            });
            row += 1;
        }
        row
    }

    fn write_value(&self, out: &mut Vec<u8>, value: &Value<'_>, ty: PgType, binary: bool) {
        if let Value::Null = value {
            out.extend_from_slice(&(-1i32).to_be_bytes());
            return;
        }
        sized(out, 0, |out| match value {
            _ if binary => write_binary(ty, value, out),
            // Without the dispatch on the type.
            Value::Text(v) if matches!(ty, PgType::TEXT | PgType::VARCHAR) => out.extend_from_slice(v.as_bytes()),
            _ => write_text(ty, value, self.settings, out),
        });
    }
}
