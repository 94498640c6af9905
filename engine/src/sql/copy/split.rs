//! Cutting a line into fields, text and CSV (PostgreSQL's `CopyReadAttributesText` and `...CSV`).
//!
//! A field that holds no escape is a slice of the line; one that does is unescaped into a buffer that is used again
//! for every line.

use std::ops::Range;

use kalamdb_catalog::Result;

use super::bad_format;
use super::parser::check_utf8;
use crate::sql::{CopyFormat, CopyKind};

#[derive(Clone, Debug)]
enum Field {
    Null,
    Line(Range<usize>),
    Scratch(Range<usize>),
}

/// The fields of one line.
#[derive(Default)]
pub(super) struct Fields {
    fields: Vec<Field>,
    scratch: Vec<u8>,
}

impl Fields {
    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    /// Field `i` of the `line` last split; None is NULL.
    pub(super) fn get<'a>(&'a self, i: usize, line: &'a str) -> Result<Option<&'a str>> {
        match &self.fields[i] {
            Field::Null => Ok(None),
            Field::Line(range) => Ok(Some(&line[range.clone()])),
            // An escape may have spelt bytes that are no text.
            Field::Scratch(range) => check_utf8(&self.scratch[range.clone()]).map(Some),
        }
    }

    pub(super) fn split(&mut self, format: &CopyFormat, line: &str) -> Result<()> {
        self.fields.clear();
        self.scratch.clear();
        let mut at = 0;
        loop {
            let end = match format.kind {
                CopyKind::Csv => self.csv_field(format, line.as_bytes(), at)?,
                _ => self.text_field(format, line.as_bytes(), at),
            };
            if end >= line.len() {
                return Ok(());
            }
            at = end + 1;
        }
    }

    /// Reads the field at `start` and gives the position of the delimiter behind it, or of the line's end.
    fn text_field(&mut self, format: &CopyFormat, line: &[u8], start: usize) -> usize {
        let from = self.scratch.len();
        let mut copied = start;
        let mut i = start;
        while i < line.len() && line[i] != format.delimiter {
            if line[i] != b'\\' {
                i += 1;
                continue;
            }
            self.scratch.extend_from_slice(&line[copied..i]);
            let (byte, width) = unescape(&line[i + 1..]);
            self.scratch.extend(byte);
            i += 1 + width;
            copied = i;
        }
        let field = if line[start..i] == *format.null.as_bytes() {
            Field::Null
        } else if copied == start {
            Field::Line(start..i)
        } else {
            self.scratch.extend_from_slice(&line[copied..i]);
            Field::Scratch(from..self.scratch.len())
        };
        self.fields.push(field);
        i
    }

    fn csv_field(&mut self, format: &CopyFormat, line: &[u8], start: usize) -> Result<usize> {
        let from = self.scratch.len();
        let mut copied = start;
        let mut i = start;
        let mut quoted = false;
        while i < line.len() && line[i] != format.delimiter {
            if line[i] != format.quote {
                i += 1;
                continue;
            }
            quoted = true;
            self.scratch.extend_from_slice(&line[copied..i]);
            i = self.quoted_part(format, line, i + 1)?;
            copied = i;
        }
        let number = self.fields.len();
        let field = if quoted {
            self.scratch.extend_from_slice(&line[copied..i]);
            let is_null = self.scratch[from..] == *format.null.as_bytes() && format.force_null.contains(&number);
            if is_null { Field::Null } else { Field::Scratch(from..self.scratch.len()) }
        } else if line[start..i] == *format.null.as_bytes() && !format.force_not_null.contains(&number) {
            Field::Null
        } else {
            Field::Line(start..i)
        };
        self.fields.push(field);
        Ok(i)
    }

    /// Copies what is within quotes, from behind the opening one; gives the position behind the closing one.
    fn quoted_part(&mut self, format: &CopyFormat, line: &[u8], start: usize) -> Result<usize> {
        let mut copied = start;
        let mut i = start;
        while let Some(&c) = line.get(i) {
            if c == format.escape && line.get(i + 1).is_some_and(|&n| n == format.escape || n == format.quote) {
                self.scratch.extend_from_slice(&line[copied..i]);
                copied = i + 1;
                i += 2;
            } else if c == format.quote {
                self.scratch.extend_from_slice(&line[copied..i]);
                return Ok(i + 1);
            } else {
                i += 1;
            }
        }
        Err(bad_format("unterminated CSV quoted field"))
    }
}

/// The byte that a backslash and `rest` spell, and how much of `rest` belongs to it.
fn unescape(rest: &[u8]) -> (Option<u8>, usize) {
    let digits = |radix: u32, from: usize, max: usize| {
        let digits = rest[from..].iter().take(max).map_while(|&b| char::from(b).to_digit(radix));
        digits.fold((0u32, from), |(value, width), digit| (value * radix + digit, width + 1))
    };
    match rest.first() {
        // A backslash that ends the line stands for nothing.
        None => (None, 0),
        Some(b'0'..=b'7') => {
            let (value, width) = digits(8, 0, 3);
            (Some(value as u8), width)
        }
        Some(b'x') => match digits(16, 1, 2) {
            (_, 1) => (Some(b'x'), 1),
            (value, width) => (Some(value as u8), width),
        },
        Some(b'b') => (Some(8), 1),
        Some(b'f') => (Some(12), 1),
        Some(b'n') => (Some(b'\n'), 1),
        Some(b'r') => (Some(b'\r'), 1),
        Some(b't') => (Some(b'\t'), 1),
        Some(b'v') => (Some(11), 1),
        Some(&other) => (Some(other), 1),
    }
}
