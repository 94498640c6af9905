//! Splits the text of a date, time or interval into fields (PostgreSQL manual, appendix B.1, steps 1 and 2).

use super::DecodeError;
use super::keywords::date_token;

/// What a field looks like, before its meaning is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::types) enum FieldKind {
    /// Digits, maybe with a decimal point.
    Number,
    /// Digits with colons.
    Time,
    /// Digits or letters with `-`, `/` or `.` between: a date or the name of a time zone.
    Date,
    /// Letters.
    Word,
    /// A sign and digits: a zone's offset, in an interval a signed number.
    Signed,
    /// A sign and letters: `-infinity`.
    SignedWord,
}

/// A field, in lower case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::types) struct Field {
    pub(in crate::types) kind: FieldKind,
    pub(in crate::types) text: String,
}

const MAX_FIELDS: usize = 25;
const MAX_LENGTH: usize = 128;

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    field: String,
}

impl Cursor<'_> {
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    fn take(&mut self) {
        self.field.push(char::from(self.peek().to_ascii_lowercase()));
        self.at += 1;
    }

    fn take_while(&mut self, accept: impl Fn(u8) -> bool) {
        while self.at < self.bytes.len() && accept(self.peek()) {
            self.take();
        }
    }
}

/// The fields of the text, or BadFormat where a character cannot belong to any.
pub(in crate::types) fn lex(text: &str) -> Result<Vec<Field>, DecodeError> {
    let mut fields: Vec<Field> = Vec::new();
    let mut length = 0;
    let mut cursor = Cursor { bytes: text.as_bytes(), at: 0, field: String::new() };
    while cursor.at < cursor.bytes.len() {
        let c = cursor.peek();
        let kind = match c {
            b' ' | b'\t'..=b'\r' => {
                cursor.at += 1;
                continue;
            }
            b'0'..=b'9' => number(&mut cursor),
            b'.' => {
                cursor.take();
                cursor.take_while(|c| c.is_ascii_digit());
                FieldKind::Number
            }
            b'+' | b'-' => signed(&mut cursor)?,
            c if c.is_ascii_alphabetic() => word(&mut cursor),
            c if c.is_ascii_punctuation() => {
                cursor.at += 1;
                continue;
            }
            _ => return Err(DecodeError::BadFormat),
        };
        let text = std::mem::take(&mut cursor.field);
        length += text.len() + 1;
        if fields.len() >= MAX_FIELDS || length > MAX_LENGTH + MAX_FIELDS {
            return Err(DecodeError::BadFormat);
        }
        fields.push(Field { kind, text });
    }
    Ok(fields)
}

fn number(cursor: &mut Cursor<'_>) -> FieldKind {
    cursor.take_while(|c| c.is_ascii_digit());
    match cursor.peek() {
        b':' => {
            cursor.take_while(|c| c.is_ascii_digit() || c == b':' || c == b'.');
            FieldKind::Time
        }
        delimiter @ (b'-' | b'/' | b'.') => {
            cursor.take();
            if !cursor.peek().is_ascii_digit() {
                cursor.take_while(|c| c.is_ascii_alphanumeric() || c == delimiter);
                return FieldKind::Date;
            }
            cursor.take_while(|c| c.is_ascii_digit());
            // A third part needs the same delimiter; "1.5" alone is a number.
            if cursor.peek() == delimiter {
                cursor.take_while(|c| c.is_ascii_digit() || c == delimiter);
                FieldKind::Date
            } else if delimiter == b'.' {
                FieldKind::Number
            } else {
                FieldKind::Date
            }
        }
        _ => FieldKind::Number,
    }
}

fn word(cursor: &mut Cursor<'_>) -> FieldKind {
    cursor.take_while(|c| c.is_ascii_alphabetic());
    let compound = match cursor.peek() {
        b'-' | b'/' | b'.' => true,
        // "j2451187" is a keyword and a number, "etc" before a digit or plus a zone's name ("gmt+3" after a date).
        b'+' | b'0'..=b'9' => date_token(&cursor.field).is_none(),
        _ => false,
    };
    if !compound {
        return FieldKind::Word;
    }
    cursor.take_while(|c| c.is_ascii_alphanumeric() || b"+-/_.:".contains(&c));
    FieldKind::Date
}

fn signed(cursor: &mut Cursor<'_>) -> Result<FieldKind, DecodeError> {
    cursor.take();
    while matches!(cursor.peek(), b' ' | b'\t'..=b'\r') {
        cursor.at += 1;
    }
    let c = cursor.peek();
    if c.is_ascii_digit() {
        cursor.take_while(|c| c.is_ascii_digit() || b":.-".contains(&c));
        Ok(FieldKind::Signed)
    } else if c.is_ascii_alphabetic() {
        cursor.take_while(|c| c.is_ascii_alphabetic());
        Ok(FieldKind::SignedWord)
    } else {
        Err(DecodeError::BadFormat)
    }
}
