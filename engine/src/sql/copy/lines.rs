//! Finding the end of a line of text or CSV input, in any chunking.
//!
//! The scanner keeps its place in an unfinished line, so a line that comes in a thousand pieces is read once. The
//! rules are PostgreSQL's `CopyReadLineText`: the first line decides how lines end, and a line end of another kind is
//! an error, not data.

use kalamdb_catalog::{Result, SqlError};

use super::bad_format;
use crate::sql::{CopyFormat, CopyKind};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Eol {
    Newline,
    Return,
    ReturnNewline,
}

/// What is at the front of the input.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Line {
    /// Not known before more has come.
    Incomplete,
    /// `len` bytes of line; the next one starts at `next`.
    Whole { len: usize, next: usize },
    /// The end marker `\.` after `len` bytes of line.
    End { len: usize },
}

pub(super) struct LineScanner {
    csv: bool,
    quote: u8,
    /// The escape character, where it is not the quote itself.
    escape: Option<u8>,
    eol: Option<Eol>,
    /// How far the unfinished line has been read.
    at: usize,
    in_quote: bool,
    after_escape: bool,
    /// Line ends within quotes since last asked.
    inner_lines: u64,
}

impl LineScanner {
    pub(super) fn new(format: &CopyFormat) -> Self {
        LineScanner {
            csv: format.kind == CopyKind::Csv,
            quote: format.quote,
            escape: (format.escape != format.quote).then_some(format.escape),
            eol: None,
            at: 0,
            in_quote: false,
            after_escape: false,
            inner_lines: 0,
        }
    }

    pub(super) fn take_inner_lines(&mut self) -> u64 {
        std::mem::take(&mut self.inner_lines)
    }

    /// Looks for the end of the line that `input` starts with. `last`: no more will come.
    pub(super) fn find(&mut self, input: &[u8], last: bool) -> Result<Line> {
        let found = if self.csv { self.find_csv(input, last)? } else { self.find_text(input, last)? };
        let line = match found {
            Line::Incomplete if last && !input.is_empty() => Line::Whole { len: input.len(), next: input.len() },
            line => line,
        };
        if line != Line::Incomplete {
            (self.at, self.in_quote, self.after_escape) = (0, false, false);
        }
        Ok(line)
    }

    fn find_text(&mut self, input: &[u8], last: bool) -> Result<Line> {
        let mut i = self.at;
        while i < input.len() {
            match input[i] {
                b'\\' => match input.get(i + 1) {
                    Some(b'.') => match self.end_marker(&input[i + 2..], last) {
                        Marker::Yes => return Ok(Line::End { len: i }),
                        Marker::Unknown => break,
                        Marker::No => return Err(bad_format("end-of-copy marker corrupt")),
                        Marker::OtherEnd => {
                            return Err(bad_format("end-of-copy marker does not match previous newline style"));
                        }
                    },
                    Some(_) => i += 2,
                    None if last => i += 1,
                    None => break,
                },
                b'\n' | b'\r' => match self.line_end(&input[i..], last)? {
                    Some(width) => return Ok(Line::Whole { len: i, next: i + width }),
                    None => break,
                },
                _ => i += 1,
            }
        }
        self.at = i;
        Ok(Line::Incomplete)
    }

    fn find_csv(&mut self, input: &[u8], last: bool) -> Result<Line> {
        let mut i = self.at;
        while i < input.len() {
            let c = input[i];
            if i == 0 && c == b'\\' {
                let marker = match input.get(1) {
                    Some(b'.') => self.end_marker(&input[2..], last),
                    None if !last => Marker::Unknown,
                    _ => Marker::No,
                };
                match marker {
                    Marker::Yes => return Ok(Line::End { len: 0 }),
                    Marker::Unknown => return Ok(Line::Incomplete),
                    Marker::No | Marker::OtherEnd => {}
                }
            }
            if !self.in_quote && matches!(c, b'\n' | b'\r') {
                match self.line_end(&input[i..], last)? {
                    Some(width) => return Ok(Line::Whole { len: i, next: i + width }),
                    None => break,
                }
            }
            // An escape counts only within quotes, and only if it is not itself escaped.
            if self.in_quote && Some(c) == self.escape {
                self.after_escape = !self.after_escape;
            }
            if c == self.quote && !self.after_escape {
                self.in_quote = !self.in_quote;
            }
            if Some(c) != self.escape {
                self.after_escape = false;
            }
            let counted = if matches!(self.eol, Some(Eol::Newline)) { b'\n' } else { b'\r' };
            if self.in_quote && c == counted {
                self.inner_lines += 1;
            }
            i += 1;
        }
        self.at = i;
        Ok(Line::Incomplete)
    }

    /// The width of the line end at the front of `rest`; None if the next byte decides.
    fn line_end(&mut self, rest: &[u8], last: bool) -> Result<Option<usize>> {
        if rest[0] == b'\n' {
            return match self.eol {
                None | Some(Eol::Newline) => {
                    self.eol = Some(Eol::Newline);
                    Ok(Some(1))
                }
                Some(_) => Err(self.wrong_end("newline", "\\n")),
            };
        }
        match (self.eol, rest.get(1)) {
            (Some(Eol::Return), _) => Ok(Some(1)),
            (Some(Eol::Newline), _) => Err(self.wrong_end("carriage return", "\\r")),
            (_, Some(b'\n')) => {
                self.eol = Some(Eol::ReturnNewline);
                Ok(Some(2))
            }
            (_, None) if !last => Ok(None),
            (Some(Eol::ReturnNewline), _) => Err(self.wrong_end("carriage return", "\\r")),
            (None, _) => {
                self.eol = Some(Eol::Return);
                Ok(Some(1))
            }
        }
    }

    fn wrong_end(&self, what: &str, escape: &str) -> SqlError {
        if self.csv {
            bad_format(format!("unquoted {what} found in data"))
                .hint(format!("Use quoted CSV field to represent {what}."))
        } else {
            bad_format(format!("literal {what} found in data")).hint(format!("Use \"{escape}\" to represent {what}."))
        }
    }

    /// What follows `\.`.
    fn end_marker(&self, rest: &[u8], last: bool) -> Marker {
        match (rest, self.eol) {
            ([], _) if last => Marker::Yes,
            ([], _) => Marker::Unknown,
            ([b'\n', ..], None | Some(Eol::Newline)) => Marker::Yes,
            ([b'\r', ..], None | Some(Eol::Return)) => Marker::Yes,
            ([b'\r', b'\n', ..], Some(Eol::ReturnNewline)) => Marker::Yes,
            ([b'\r'], Some(Eol::ReturnNewline)) if !last => Marker::Unknown,
            ([b'\r' | b'\n', ..], Some(_)) => Marker::OtherEnd,
            _ => Marker::No,
        }
    }
}

enum Marker {
    Yes,
    No,
    /// A line end follows, but not the kind of the lines before.
    OtherEnd,
    Unknown,
}
