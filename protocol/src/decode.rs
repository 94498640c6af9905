//! Frontend messages (manual, section 55.7), read in place from the bytes of one message.
//!
//! Nothing here trusts a length or a count: a message that does not add up is `08P01` with PostgreSQL's wording, and
//! no count reserves memory that the message's own bytes do not back.

use kalamdb_catalog::{Result, SqlError, SqlState};
use kalamdb_engine::session::Parameter;

use crate::error::violation;
use crate::limits::SMALL_MESSAGE_BYTES_MAX;

/// A message of a connection that has started up.
#[derive(Debug)]
pub(crate) enum Frontend<'a> {
    Query(&'a str),
    Parse { name: &'a str, sql: &'a str, declared: Vec<u32> },
    Bind(Bind<'a>),
    Describe(Target<'a>),
    Execute { portal: &'a str, rows_max: i32 },
    Close(Target<'a>),
    Flush,
    Sync,
    Terminate,
    CopyData,
    CopyDone,
    CopyFail(&'a str),
    FunctionCall,
}

/// Names first, the rest as asked for: what is wrong with the statement is told before what is wrong behind its name.
#[derive(Debug)]
pub(crate) struct Bind<'a> {
    pub(crate) portal: &'a str,
    pub(crate) statement: &'a str,
    rest: Reader<'a>,
}

impl Bind<'_> {
    /// The formats and the number of the parameters.
    pub(crate) fn counts(&mut self) -> Result<(Formats, usize)> {
        let formats = formats(&mut self.rest)?;
        let count = usize::from(self.rest.u16()?);
        if formats.len() > 1 && formats.len() != count {
            let codes = formats.len();
            return Err(violation(format!("bind message has {codes} parameter formats but {count} parameters")));
        }
        Ok((formats, count))
    }

    /// The next parameter.
    pub(crate) fn parameter(&mut self, binary: Result<bool>) -> Result<Parameter> {
        let bytes = match self.rest.i32()? {
            -1 => None,
            len => Some(self.rest.take(usize::try_from(len).map_err(|_| insufficient())?)?.to_vec()),
        };
        Ok(Parameter { bytes, binary: binary? })
    }

    /// The formats of the result, and the end of the message.
    pub(crate) fn result_formats(mut self) -> Result<Formats> {
        let formats = formats(&mut self.rest)?;
        if self.rest.0.is_empty() { Ok(formats) } else { Err(violation("invalid message format")) }
    }
}

/// What Describe and Close are about.
#[derive(Debug)]
pub(crate) enum Target<'a> {
    Statement(&'a str),
    Portal(&'a str),
}

/// Format codes as they came: none (all text), one for all, or one each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Formats(Vec<i16>);

impl Formats {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The format of column or parameter `i`; 22023 for a code that is neither 0 nor 1.
    pub(crate) fn binary(&self, i: usize) -> Result<bool> {
        let code = match self.0.as_slice() {
            [] => 0,
            [one] => *one,
            list => list.get(i).copied().unwrap_or(0),
        };
        match code {
            0 => Ok(false),
            1 => Ok(true),
            code => Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("unsupported format code: {code}"))),
        }
    }
}

/// The longest body a message of this type may have; an unknown type is an error.
pub(crate) fn body_bytes_max(tag: u8, large: usize) -> Result<usize> {
    match tag {
        b'Q' | b'P' | b'B' | b'F' | b'd' => Ok(large),
        b'E' | b'D' | b'C' | b'H' | b'S' | b'X' | b'c' | b'f' => Ok(SMALL_MESSAGE_BYTES_MAX),
        _ => Err(violation(format!("invalid frontend message type {tag}"))),
    }
}

/// Reads the body of a message of type `tag`.
pub(crate) fn decode(tag: u8, body: &[u8]) -> Result<Frontend<'_>> {
    let mut r = Reader(body);
    let message = match tag {
        b'Q' => Frontend::Query(r.string()?),
        b'P' => {
            let (name, sql) = (r.string()?, r.string()?);
            let count = r.u16()?;
            let declared = (0..count).map(|_| r.u32()).collect::<Result<_>>()?;
            Frontend::Parse { name, sql, declared }
        }
        b'B' => return Ok(Frontend::Bind(Bind { portal: r.string()?, statement: r.string()?, rest: r })),
        b'D' => Frontend::Describe(target(&mut r, "DESCRIBE")?),
        b'C' => Frontend::Close(target(&mut r, "CLOSE")?),
        b'E' => Frontend::Execute { portal: r.string()?, rows_max: r.i32()? },
        b'H' => Frontend::Flush,
        b'S' => Frontend::Sync,
        b'X' => return Ok(Frontend::Terminate),
        b'd' => return Ok(Frontend::CopyData),
        b'c' => return Ok(Frontend::CopyDone),
        b'f' => Frontend::CopyFail(r.string()?),
        b'F' => return Ok(Frontend::FunctionCall),
        _ => return Err(violation(format!("invalid frontend message type {tag}"))),
    };
    if r.0.is_empty() { Ok(message) } else { Err(violation("invalid message format")) }
}

fn formats(r: &mut Reader<'_>) -> Result<Formats> {
    let count = r.u16()?;
    (0..count).map(|_| r.u16().map(|code| code as i16)).collect::<Result<_>>().map(Formats)
}

fn target<'a>(r: &mut Reader<'a>, message: &str) -> Result<Target<'a>> {
    match r.take(1)?[0] {
        b'S' => Ok(Target::Statement(r.string()?)),
        b'P' => Ok(Target::Portal(r.string()?)),
        kind => Err(violation(format!("invalid {message} message subtype {kind}"))),
    }
}

fn insufficient() -> SqlError {
    violation("insufficient data left in message")
}

/// The unread rest of a message.
#[derive(Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        if n > self.0.len() {
            return Err(insufficient());
        }
        let (head, tail) = self.0.split_at(n);
        self.0 = tail;
        Ok(head)
    }

    fn u16(&mut self) -> Result<u16> {
        let b = self.take(2)?;
        Ok(u16::from_be_bytes([b[0], b[1]]))
    }

    fn u32(&mut self) -> Result<u32> {
        let b = self.take(4)?;
        Ok(u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn i32(&mut self) -> Result<i32> {
        self.u32().map(|v| v as i32)
    }

    /// A string that ends with a NUL.
    pub(crate) fn string(&mut self) -> Result<&'a str> {
        let end = self.0.iter().position(|&b| b == 0).ok_or_else(|| violation("invalid string in message"))?;
        let bytes = self.take(end + 1)?;
        utf8(&bytes[..end])
    }
}

/// The bytes as text; 22021 names the offending ones.
fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|e| {
        let rest = &bytes[e.valid_up_to()..];
        let len = match rest.first() {
            Some(0xC0..=0xDF) => 2,
            Some(0xE0..=0xEF) => 3,
            Some(0xF0..=0xF7) => 4,
            _ => 1,
        };
        let shown: Vec<String> = rest.iter().take(len).map(|b| format!("0x{b:02x}")).collect();
        SqlError::new(
            SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" ")),
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a message to its end.
    fn read(tag: u8, body: &[u8]) -> Result<()> {
        if let Frontend::Bind(mut bind) = decode(tag, body)? {
            let (formats, count) = bind.counts()?;
            (0..count).try_for_each(|i| bind.parameter(formats.binary(i)).map(drop))?;
            bind.result_formats()?;
        }
        Ok(())
    }

    fn message(tag: u8, body: &[u8]) -> String {
        match read(tag, body) {
            Ok(()) => "read".to_owned(),
            Err(e) => format!("{} {}", e.code(), e.message()),
        }
    }

    #[test]
    fn broken_messages_get_postgresqls_words() {
        let cases: &[(u8, &[u8], &str)] = &[
            (b'Q', b"SELECT 1", "08P01 invalid string in message"),
            (b'Q', b"SELECT 1\0x", "08P01 invalid message format"),
            (b'Q', b"\xff\0", "22021 invalid byte sequence for encoding \"UTF8\": 0xff"),
            (b'D', b"Z\0", "08P01 invalid DESCRIBE message subtype 90"),
            (b'C', b"Z\0", "08P01 invalid CLOSE message subtype 90"),
            (b'E', b"\0\0\0", "08P01 insufficient data left in message"),
            (b'P', b"\0\0\0\x02\0\0\0\x17", "08P01 insufficient data left in message"),
            (b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0", "08P01 insufficient data left in message"),
            (b'B', b"\0\0\0\x02\0\0\0\0\0\0", "08P01 bind message has 2 parameter formats but 0 parameters"),
            (b'B', b"\0\0\0\x01\0\x07\0\x01\0\0\0\0\0\0", "22023 unsupported format code: 7"),
            (b'B', b"\0\0\0\0\0\0\0\0x", "08P01 invalid message format"),
            (b'z', b"", "08P01 invalid frontend message type 122"),
        ];
        for (tag, body, expect) in cases {
            assert_eq!(message(*tag, body), *expect);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(tag in any::<u8>(), body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(tag, &body);
        }

        #[test]
        fn a_mutated_bind_is_decoded_or_refused(at in 0usize..40, byte in any::<u8>(), cut in 0usize..41) {
            let mut body = b"portal\0stmt\0\0\x01\0\x01\0\x02\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff\0\x02\0\x01\0\0".to_vec();
            prop_assert!(read(b'B', &body).is_ok());
            let last = body.len() - 1;
            body[at.min(last)] = byte;
            body.truncate(cut);
            let _ = read(b'B', &body);
        }
    }
}
