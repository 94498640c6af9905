//! COPY FROM: from bytes in any chunking to rows of typed values.

use std::sync::Arc;

use kalamdb_catalog::{Result, SqlError, SqlState};

use super::binary::{self, Tuple};
use super::lines::{Line, LineScanner};
use super::split::Fields;
use super::{CopySink, bad_format};
use crate::sql::{Column, CopyFormat, CopyHeader, CopyKind};
use crate::types::{FormatSettings, Value, parse_binary, parse_text};

/// A row may not be longer (PostgreSQL's MaxAllocSize): 54000.
const ROW_BYTES_MAX: usize = 0x3fff_ffff;
/// How much of a line or a value an error shows (PostgreSQL's MAX_COPY_DATA_DISPLAY).
const SHOWN_BYTES_MAX: usize = 100;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Header,
    Rows,
    /// The end marker or the trailer has come.
    Ended,
}

/// The state of one COPY FROM. After an error it must not be fed again.
pub struct CopyParser {
    format: CopyFormat,
    relation: String,
    columns: Vec<Column>,
    settings: Arc<FormatSettings>,
    stage: Stage,
    /// The beginning of a row whose end has not come.
    carry: Vec<u8>,
    lines: LineScanner,
    fields: Fields,
    places: Vec<Option<(usize, usize)>>,
    values: Vec<Value<'static>>,
    line: u64,
    rows: u64,
}

impl CopyParser {
    /// A parser of `columns` in the order of the data. `relation` is the table's bare name, for error contexts.
    pub fn new(
        format: CopyFormat,
        relation: impl Into<String>,
        columns: Vec<Column>,
        settings: Arc<FormatSettings>,
    ) -> Self {
        let has_header = format.kind == CopyKind::Binary || format.header != CopyHeader::None;
        CopyParser {
            stage: if has_header { Stage::Header } else { Stage::Rows },
            lines: LineScanner::new(&format),
            format,
            relation: relation.into(),
            columns,
            settings,
            carry: Vec::new(),
            fields: Fields::default(),
            places: Vec::new(),
            values: Vec::new(),
            line: 0,
            rows: 0,
        }
    }

    /// Takes the next bytes and gives the rows they complete to `sink`.
    pub(crate) fn feed(&mut self, data: &[u8], sink: &mut dyn CopySink) -> Result<()> {
        if self.carry.is_empty() {
            let used = self.consume(data, false, sink)?;
            self.carry.extend_from_slice(&data[used..]);
        } else {
            let mut input = std::mem::take(&mut self.carry);
            input.extend_from_slice(data);
            let used = self.consume(&input, false, sink)?;
            input.drain(..used);
            self.carry = input;
        }
        if self.carry.len() > ROW_BYTES_MAX {
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "COPY row is longer than 1 GB")
                .context(self.next_line_context()));
        }
        Ok(())
    }

    /// No more bytes will come. Gives the number of rows in all.
    pub(crate) fn finish(&mut self, sink: &mut dyn CopySink) -> Result<u64> {
        let input = std::mem::take(&mut self.carry);
        self.consume(&input, true, sink)?;
        Ok(self.rows)
    }

    /// Rows given to the sink so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The line of the row given to the sink last, from 1: for errors that are found later.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// "COPY t, line 3" for the line that is being read.
    pub fn next_line_context(&self) -> String {
        format!("COPY {}, line {}", self.relation, self.line + 1)
    }

    /// Reads what is complete in `input` and gives how much that was.
    fn consume(&mut self, input: &[u8], last: bool, sink: &mut dyn CopySink) -> Result<usize> {
        match self.format.kind {
            CopyKind::Binary => self.consume_binary(input, last, sink),
            CopyKind::Text | CopyKind::Csv => self.consume_lines(input, last, sink),
        }
    }

    fn consume_lines(&mut self, input: &[u8], last: bool, sink: &mut dyn CopySink) -> Result<usize> {
        let mut at = 0;
        while self.stage != Stage::Ended {
            let found = self.lines.find(&input[at..], last);
            self.line += self.lines.take_inner_lines();
            match found.map_err(|e| e.context(self.next_line_context()))? {
                Line::Incomplete => return Ok(at),
                Line::Whole { len, next } => {
                    self.one_line(&input[at..at + len], sink)?;
                    at += next;
                }
                Line::End { len } => {
                    if len > 0 {
                        self.one_line(&input[at..at + len], sink)?;
                    }
                    self.stage = Stage::Ended;
                }
            }
        }
        // What follows the end marker is not looked at, as in PostgreSQL.
        Ok(input.len())
    }

    fn one_line(&mut self, line: &[u8], sink: &mut dyn CopySink) -> Result<()> {
        self.line += 1;
        let line = check_utf8(line).map_err(|e| e.within(self.line_context(None)))?;
        match self.stage {
            Stage::Header => self.header_line(line).map_err(|e| e.within(self.line_context(Some(line)))),
            _ => self.row_line(line, sink),
        }
    }

    fn row_line(&mut self, line: &str, sink: &mut dyn CopySink) -> Result<()> {
        self.cut_line(line).map_err(|e| e.within(self.line_context(Some(line))))?;
        let mut values = recycle(std::mem::take(&mut self.values));
        for (i, column) in self.columns.iter().enumerate() {
            // After the values before it: the first error in reading order is the one reported.
            if i == self.fields.len() {
                let missing = bad_format(format!("missing data for column \"{}\"", column.name));
                return Err(missing.within(self.line_context(Some(line))));
            }
            let field = self.fields.get(i, line).map_err(|e| e.within(self.line_context(Some(line))))?;
            values.push(match field {
                None => Value::Null,
                Some(text) => parse_text(column.ty, column.typmod, text, &self.settings)
                    .map_err(|e| e.within(self.value_context(column, Some(text))))?,
            });
        }
        let taken = sink.row(&values);
        self.values = recycle(values);
        self.rows += u64::from(matches!(taken, Ok(true)));
        // Rows are written behind the reading, when PostgreSQL no longer has the line of one that clashes.
        taken.map(drop).map_err(|e| {
            let line = (e.code() != SqlState::UNIQUE_VIOLATION).then_some(line);
            e.within(self.line_context(line))
        })
    }

    /// Cuts a line into at most as many fields as there are columns.
    fn cut_line(&mut self, line: &str) -> Result<()> {
        if self.columns.is_empty() && line.is_empty() {
            return Ok(());
        }
        self.fields.split(&self.format, line)?;
        if self.fields.len() > self.columns.len() {
            return Err(bad_format("extra data after last expected column"));
        }
        Ok(())
    }

    fn header_line(&mut self, line: &str) -> Result<()> {
        self.stage = Stage::Rows;
        if self.format.header != CopyHeader::Match {
            return Ok(());
        }
        self.fields.split(&self.format, line)?;
        let (found, expected) = (self.fields.len(), self.columns.len());
        if found != expected {
            return Err(bad_format(format!(
                "wrong number of fields in header line: field count is {found}, expected {expected}"
            )));
        }
        for (i, column) in self.columns.iter().enumerate() {
            let got = match self.fields.get(i, line)? {
                Some(name) if name == column.name => continue,
                Some(name) => format!("got \"{name}\""),
                None => format!("got null value (\"{}\")", self.format.null),
            };
            return Err(bad_format(format!(
                "column name mismatch in header line field {}: {got}, expected \"{}\"",
                i + 1,
                column.name
            )));
        }
        Ok(())
    }

    fn consume_binary(&mut self, input: &[u8], last: bool, sink: &mut dyn CopySink) -> Result<usize> {
        let mut at = 0;
        if self.stage == Stage::Header {
            match binary::header(input, last)? {
                None => return Ok(0),
                Some(len) => at = len,
            }
            self.stage = Stage::Rows;
        }
        loop {
            let rest = &input[at..];
            if self.stage == Stage::Ended {
                return match rest {
                    [] => Ok(at),
                    _ => Err(bad_format("received copy data after EOF marker").context(self.line_context(None))),
                };
            }
            let found = binary::tuple(rest, self.columns.len(), &mut self.places);
            match found.map_err(|e| e.context(self.next_line_context()))? {
                Tuple::Incomplete if last && !rest.is_empty() => {
                    let column = self.columns.get(self.places.len()).map(|c| format!(", column {}", c.name));
                    let context = self.next_line_context() + &column.unwrap_or_default();
                    return Err(bad_format("unexpected EOF in COPY data").context(context));
                }
                Tuple::Incomplete => return Ok(at),
                Tuple::Row { next } => {
                    self.line += 1;
                    self.binary_row(rest, sink)?;
                    at += next;
                }
                Tuple::End => {
                    self.line += 1;
                    self.stage = Stage::Ended;
                    at += 2;
                }
            }
        }
    }

    fn binary_row(&mut self, row: &[u8], sink: &mut dyn CopySink) -> Result<()> {
        let mut values = recycle(std::mem::take(&mut self.values));
        for (column, place) in self.columns.iter().zip(&self.places) {
            values.push(match *place {
                None => Value::Null,
                Some((from, to)) => parse_binary(column.ty, column.typmod, &row[from..to])
                    .map_err(|e| e.within(self.value_context(column, None)))?,
            });
        }
        let taken = sink.row(&values);
        self.values = recycle(values);
        self.rows += u64::from(matches!(taken, Ok(true)));
        taken.map(drop).map_err(|e| e.within(self.line_context(None)))
    }

    /// "COPY t, line 3" or, with the line's text, "COPY t, line 3: \"...\"".
    fn line_context(&self, line: Option<&str>) -> String {
        match line {
            Some(line) => format!("COPY {}, line {}: \"{}\"", self.relation, self.line, shown(line)),
            None => format!("COPY {}, line {}", self.relation, self.line),
        }
    }

    fn value_context(&self, column: &Column, text: Option<&str>) -> String {
        let place = format!("COPY {}, line {}, column {}", self.relation, self.line, column.name);
        match text {
            Some(text) => format!("{place}: \"{}\"", shown(text)),
            None => place,
        }
    }
}

/// The beginning of a long text, cut at a character.
fn shown(text: &str) -> String {
    if text.len() <= SHOWN_BYTES_MAX {
        return text.to_owned();
    }
    format!("{}...", &text[..text.floor_char_boundary(SHOWN_BYTES_MAX)])
}

/// The same allocation, empty, for values of another lifetime.
fn recycle<'b>(mut values: Vec<Value<'_>>) -> Vec<Value<'b>> {
    values.clear();
    values.into_iter().map(|_| Value::Null).collect()
}

/// The bytes as text; 22021 names the offending ones. A NUL is not text either.
pub(super) fn check_utf8(data: &[u8]) -> Result<&str> {
    let bad = match std::str::from_utf8(data) {
        Ok(text) => match data.contains(&0) {
            false => return Ok(text),
            true => data.iter().position(|&b| b == 0).unwrap_or(0),
        },
        Err(e) => e.valid_up_to(),
    };
    let len = match data[bad] {
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF7 => 4,
        _ => 1,
    };
    let bytes: Vec<String> = data[bad..].iter().take(len).map(|b| format!("0x{b:02x}")).collect();
    Err(SqlError::new(
        SqlState::CHARACTER_NOT_IN_REPERTOIRE,
        format!("invalid byte sequence for encoding \"UTF8\": {}", bytes.join(" ")),
    ))
}

#[cfg(test)]
mod tests {
    use kalamdb_catalog::PgType;

    use super::*;
    use crate::sql::copy::parse_copy_options;

    #[derive(Default)]
    struct Rows(Vec<String>);

    impl CopySink for Rows {
        fn row(&mut self, values: &[Value<'_>]) -> Result<bool> {
            let shown = values.iter().map(|v| match v {
                Value::Null => "~".to_owned(),
                Value::Int4(v) => v.to_string(),
                v => v.as_str().unwrap_or("?").to_owned(),
            });
            self.0.push(shown.collect::<Vec<_>>().join("|"));
            if self.0.last().is_some_and(|r| r.starts_with("666")) {
                return Err(SqlError::new(SqlState::NOT_NULL_VIOLATION, "refused"));
            }
            Ok(true)
        }
    }

    /// Parses in chunks of `chunk` bytes a table t (a int, b text).
    fn parse(options: &[(&str, &str)], data: &[u8], chunk: usize) -> String {
        let columns: Vec<Column> = [("a", PgType::INT4), ("b", PgType::TEXT)]
            .map(|(name, ty)| Column { name: name.into(), ty, typmod: -1, table: 0, attribute: 0 })
            .into();
        let options: Vec<_> = options.iter().map(|(n, v)| (n.to_string(), Some(v.to_string()))).collect();
        let format = parse_copy_options(&options, &columns, true).unwrap();
        let mut parser = CopyParser::new(format, "t", columns, Arc::default());
        let mut rows = Rows::default();
        let mut outcome = Ok(());
        for piece in data.chunks(chunk) {
            outcome = outcome.and_then(|()| parser.feed(piece, &mut rows));
        }
        let end = match outcome.and_then(|()| parser.finish(&mut rows)) {
            Ok(n) => n.to_string(),
            Err(e) => format!("{} {} [{}]", e.code(), e.message(), e.fields().context.as_deref().unwrap_or("")),
        };
        rows.0.push(end);
        rows.0.join("; ")
    }

    #[test]
    #[allow(clippy::type_complexity)]
    fn rows_and_errors_are_postgresqls_in_any_chunking() {
        let csv: &[(&str, &str)] = &[("format", "csv")];
        let cases: &[(&[(&str, &str)], &[u8], &str)] = &[
            (&[], b"1\tx\n2\t\\N\n3\t\n", "1|x; 2|~; 3|; 3"),
            (&[], b"1\tx\r\n2\ty", "1|x; 2|y; 2"),
            (&[], b"1\tx\r2\ty\r", "1|x; 2|y; 2"),
            (&[], b"1\ta\\tb\\\\\\x41\\101\\q\\\nz\n", "1|a\tb\\AAq\nz; 1"),
            (&[], b"1\tx\n\\.\nrubbish", "1|x; 1"),
            (&[], b"1\tx\n\\.", "1|x; 1"),
            (&[], b"1\tx\n\\.y\n", "1|x; 22P04 end-of-copy marker corrupt [COPY t, line 2]"),
            (&[], b"q\n", "22P02 invalid input syntax for type integer: \"q\" [COPY t, line 1, column a: \"q\"]"),
            (&[], b"1\n", "22P04 missing data for column \"b\" [COPY t, line 1: \"1\"]"),
            (&[], b"1\tx\n1\t2\t3\n", "1|x; 22P04 extra data after last expected column [COPY t, line 2: \"1\t2\t3\"]"),
            (
                &[],
                b"1\tx\nq\t2\n",
                "1|x; 22P02 invalid input syntax for type integer: \"q\" [COPY t, line 2, column a: \"q\"]",
            ),
            (&[], b"666\tx\n", "666|x; 23502 refused [COPY t, line 1: \"666\tx\"]"),
            (&[], b"1\tx\n2\ty\rz\n", "1|x; 22P04 literal carriage return found in data [COPY t, line 2]"),
            (&[], b"1\t\xff\n", "22021 invalid byte sequence for encoding \"UTF8\": 0xff [COPY t, line 1]"),
            (&[("delimiter", "|"), ("null", "-")], b"1|-\n", "1|~; 1"),
            (csv, b"1,x\n2,\n3,\"\"\n4,\"a,\"\"b\"\"\nc\"d\n", "1|x; 2|~; 3|; 4|a,\"b\"\ncd; 4"),
            (csv, b"1,x\n\\.\nq", "1|x; 1"),
            (csv, b"1,\\.x\n", "1|\\.x; 1"),
            (csv, b"1,\"x\n", "22P04 unterminated CSV quoted field [COPY t, line 1: \"1,\"x\n\"]"),
            (&[("format", "csv"), ("escape", "\\")], b"1,\"a\\\"b\"\n", "1|a\"b; 1"),
            (&[("format", "csv"), ("force_not_null", "b")], b"1,\n", "1|; 1"),
            (&[("format", "csv"), ("force_null", "b")], b"1,\"\"\n", "1|~; 1"),
            (&[("format", "csv"), ("header", "match")], b"a,b\n1,x\n", "1|x; 1"),
            (
                &[("format", "csv"), ("header", "match")],
                b"a,c\n1,x\n",
                "22P04 column name mismatch in header line field 2: got \"c\", expected \"b\" [COPY t, line 1: \"a,c\"]",
            ),
        ];
        for (options, data, expect) in cases {
            for chunk in [1, 2, 3, 1000] {
                let shown = String::from_utf8_lossy(data);
                assert_eq!(parse(options, data, chunk), *expect, "{options:?} {shown:?} in pieces of {chunk}");
            }
        }
    }

    #[test]
    fn binary_rows_and_errors() {
        const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
        const ROW: &[u8] = b"\0\x02\0\0\0\x04\0\0\0\x07\0\0\0\x01x";
        let binary: &[(&str, &str)] = &[("format", "binary")];
        let cases: &[(Vec<u8>, &str)] = &[
            ([HEAD, ROW, b"\xff\xff"].concat(), "7|x; 1"),
            ([HEAD, ROW].concat(), "7|x; 1"),
            ([HEAD, b"\xff\xffz"].concat(), "22P04 received copy data after EOF marker [COPY t, line 1]"),
            ([HEAD, &ROW[..9]].concat(), "22P04 unexpected EOF in COPY data [COPY t, line 1, column a]"),
            ([HEAD, b"\0\x01"].concat(), "22P04 row field count is 1, expected 2 [COPY t, line 1]"),
            (b"PGCOPX".to_vec(), "22P04 COPY file signature not recognized []"),
            (HEAD[..13].to_vec(), "22P04 invalid COPY file header (missing flags) []"),
        ];
        for (data, expect) in cases {
            for chunk in [1, 7, 1000] {
                assert_eq!(parse(binary, data, chunk), *expect, "{data:?} in pieces of {chunk}");
            }
        }
    }
}
