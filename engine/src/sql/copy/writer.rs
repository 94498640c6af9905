//! COPY TO: from batches of rows to bytes.
//!
//! A value is written in place and looked over afterwards; only one that needs escaping or quoting is written again.

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;

use super::binary::SIGNATURE;
use crate::sql::{Column, CopyFormat, CopyHeader, CopyKind};
use crate::types::{ColumnReader, FormatSettings, Value, write_binary, write_text};

/// The writer of one COPY TO.
pub struct CopyWriter {
    format: CopyFormat,
    columns: Vec<Column>,
    settings: Arc<FormatSettings>,
}

/// The rows of one batch, ready to be written.
pub struct CopyRows<'a> {
    writer: &'a CopyWriter,
    readers: Vec<ColumnReader<'a>>,
}

impl CopyWriter {
    pub fn new(format: CopyFormat, columns: Vec<Column>, settings: Arc<FormatSettings>) -> Self {
        CopyWriter { format, columns, settings }
    }

    /// What comes before the rows: the signature of binary, the line of names if wanted, or nothing.
    pub fn header(&self, out: &mut Vec<u8>) {
        if self.format.kind == CopyKind::Binary {
            out.extend_from_slice(SIGNATURE);
            // Flags and the length of the extension: none.
            out.extend_from_slice(&[0; 8]);
            return;
        }
        if self.format.header == CopyHeader::None {
            return;
        }
        for (i, column) in self.columns.iter().enumerate() {
            if i > 0 {
                out.push(self.format.delimiter);
            }
            let from = out.len();
            out.extend_from_slice(column.name.as_bytes());
            // Not by FORCE_QUOTE, which is about values.
            self.protect(out, from, false);
        }
        out.push(b'\n');
    }

    /// What comes after the rows.
    pub fn trailer(&self, out: &mut Vec<u8>) {
        if self.format.kind == CopyKind::Binary {
            out.extend_from_slice(&(-1i16).to_be_bytes());
        }
    }

    /// The rows of these columns.
    pub fn rows<'a>(&'a self, arrays: &'a [ArrayRef]) -> CopyRows<'a> {
        let readers = arrays.iter().zip(&self.columns).map(|(a, c)| ColumnReader::new(a.as_ref(), c.ty));
        CopyRows { writer: self, readers: readers.collect() }
    }

    /// Escapes or quotes the text that starts at `from`, if it needs it.
    fn protect(&self, out: &mut Vec<u8>, from: usize, force: bool) {
        let format = &self.format;
        let text = &out[from..];
        if format.kind == CopyKind::Text {
            let special = |b: u8| b == b'\\' || b == format.delimiter || matches!(b, 8..=13);
            if text.iter().any(|&b| special(b)) {
                let text = out.split_off(from);
                text.iter().for_each(|&b| escape(b, format.delimiter, out));
            }
            return;
        }
        let special = |b: u8| b == format.delimiter || b == format.quote || matches!(b, b'\n' | b'\r');
        let quote = force
            || *text == *format.null.as_bytes()
            || text.iter().any(|&b| special(b))
            // A line of its own that reads as the end marker.
            || (self.columns.len() == 1 && text == b"\\.");
        if quote {
            let text = out.split_off(from);
            out.push(format.quote);
            for &b in &text {
                if b == format.quote || b == format.escape {
                    out.push(format.escape);
                }
                out.push(b);
            }
            out.push(format.quote);
        }
    }
}

/// Appends a byte of the text format, escaped if it must be.
fn escape(b: u8, delimiter: u8, out: &mut Vec<u8>) {
    let letter = match b {
        8 => b'b',
        9 => b't',
        10 => b'n',
        11 => b'v',
        12 => b'f',
        13 => b'r',
        b'\\' => b'\\',
        b if b == delimiter => b,
        b => return out.push(b),
    };
    out.extend_from_slice(&[b'\\', letter]);
}

impl CopyRows<'_> {
    /// Appends row `row`.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        let CopyWriter { format, columns, settings } = self.writer;
        if format.kind == CopyKind::Binary {
            return self.write_binary_row(row, out);
        }
        for (i, (reader, column)) in self.readers.iter().zip(columns).enumerate() {
            if i > 0 {
                out.push(format.delimiter);
            }
            let from = out.len();
            match reader.value(row) {
                Value::Null => out.extend_from_slice(format.null.as_bytes()),
                value => {
                    write_text(column.ty, &value, settings, out);
                    self.writer.protect(out, from, format.force_quote.contains(&i));
                }
            }
        }
        out.push(b'\n');
    }

    fn write_binary_row(&self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.readers.len() as i16).to_be_bytes());
        for (reader, column) in self.readers.iter().zip(&self.writer.columns) {
            let at = out.len();
            out.extend_from_slice(&(-1i32).to_be_bytes());
            let value = reader.value(row);
            if !value.is_null() {
                write_binary(column.ty, &value, out);
                let len = (out.len() - at - 4) as u32;
                out[at..at + 4].copy_from_slice(&len.to_be_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::StringArray;
    use kalamdb_catalog::PgType;

    use super::*;
    use crate::sql::copy::parse_copy_options;

    #[test]
    fn output_is_postgresqls() {
        let column = |name: &str| Column { name: name.into(), ty: PgType::TEXT, typmod: -1, table: 0, attribute: 0 };
        let columns = vec![column("a"), column("B,c")];
        let a: ArrayRef = Arc::new(StringArray::from(vec!["a\tb\\c\nd\re\u{8}\u{c}\u{b}|\u{1}", "", "\\."]));
        let b: ArrayRef = Arc::new(StringArray::from(vec![None, Some("x,y\"z"), Some("\\N")]));
        let arrays = [a, b];
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[("header", "on")], "a\tB,c\na\\tb\\\\c\\nd\\re\\b\\f\\v|\u{1}\t\\N\n\tx,y\"z\n\\\\.\t\\\\N\n"),
            (
                &[("format", "csv"), ("header", "on"), ("force_quote", "*")],
                "a,\"B,c\"\n\"a\tb\\c\nd\re\u{8}\u{c}\u{b}|\u{1}\",\n\"\",\"x,y\"\"z\"\n\"\\.\",\"\\N\"\n",
            ),
            (&[("delimiter", "|")], "a\\tb\\\\c\\nd\\re\\b\\f\\v\\|\u{1}|\\N\n|x,y\"z\n\\\\.|\\\\N\n"),
            (
                &[("format", "csv"), ("escape", "\\"), ("quote", "'"), ("delimiter", ";"), ("null", "x")],
                "'a\tb\\\\c\nd\re\u{8}\u{c}\u{b}|\u{1}';x\n;x,y\"z\n\\.;\\N\n",
            ),
        ];
        for (options, expect) in cases {
            let options: Vec<_> = options.iter().map(|(n, v)| (n.to_string(), Some(v.to_string()))).collect();
            let format = parse_copy_options(&options, &columns, false).unwrap();
            let writer = CopyWriter::new(format, columns.clone(), Arc::default());
            let mut out = Vec::new();
            writer.header(&mut out);
            let rows = writer.rows(&arrays);
            (0..3).for_each(|row| rows.write(row, &mut out));
            assert_eq!(String::from_utf8_lossy(&out), *expect, "{options:?}");
        }
    }
}
