//! Text forms of bytea (manual, section 8.4) and uuid (section 8.12).

use kalamdb_catalog::{Result, SqlError, SqlState};

use super::ByteaOutput;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends bytes as lower-case hex digits.
pub(crate) fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() * 2);
    for b in bytes {
        out.push(HEX[usize::from(b >> 4)]);
        out.push(HEX[usize::from(b & 15)]);
    }
}

/// Reads hex digits, blanks allowed between bytes; errors are those of `decode(..., 'hex')` (22023).
pub(crate) fn parse_hex(text: &str) -> Result<Vec<u8>> {
    let digit = |c: char| {
        c.to_digit(16).map(|d| d as u8).ok_or_else(|| {
            SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid hexadecimal digit: \"{c}\""))
        })
    };
    let mut out = Vec::with_capacity(text.len() / 2);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if matches!(c, ' ' | '\n' | '\t' | '\r') {
            continue;
        }
        let high = digit(c)?;
        let low = chars.next().ok_or_else(|| {
            SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "invalid hexadecimal data: odd number of digits")
        })?;
        out.push((high << 4) | digit(low)?);
    }
    Ok(out)
}

/// Input of bytea: hex after `\x`, else the escape format.
pub(crate) fn parse_bytea(text: &str) -> Result<Vec<u8>> {
    match text.strip_prefix("\\x") {
        Some(hex) => parse_hex(hex),
        None => parse_escape(text),
    }
}

/// Reads the escape format: `\\` and `\ooo`.
pub(crate) fn parse_escape(text: &str) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = match (first, tail) {
            (b'\\', [b'\\', after @ ..]) => {
                out.push(b'\\');
                after
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                out.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                after
            }
            (b'\\', _) => {
                return Err(SqlError::new(
                    SqlState::INVALID_TEXT_REPRESENTATION,
                    "invalid input syntax for type bytea",
                ));
            }
            _ => {
                out.push(first);
                tail
            }
        };
    }
    Ok(out)
}

/// Output of bytea.
pub(crate) fn write_bytea(bytes: &[u8], format: ByteaOutput, out: &mut Vec<u8>) {
    match format {
        ByteaOutput::Hex => {
            out.extend_from_slice(b"\\x");
            write_hex(bytes, out);
        }
        ByteaOutput::Escape => {
            for &b in bytes {
                match b {
                    b'\\' => out.extend_from_slice(b"\\\\"),
                    0x20..=0x7e => out.push(b),
                    _ => out.extend_from_slice(&octal(b)),
                }
            }
        }
    }
}

/// `\ooo`
pub(crate) fn octal(byte: u8) -> [u8; 4] {
    [b'\\', b'0' + (byte >> 6), b'0' + ((byte >> 3) & 7), b'0' + (byte & 7)]
}

/// Input of uuid: 32 hex digits, a hyphen allowed after each fourth, braces allowed around.
pub(crate) fn parse_uuid(text: &str) -> Result<[u8; 16]> {
    uuid_bytes(text).ok_or_else(|| {
        SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("invalid input syntax for type uuid: \"{text}\""))
    })
}

fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let mut rest = text.as_bytes();
    if let Some(inner) = rest.strip_prefix(b"{") {
        rest = inner.strip_suffix(b"}")?;
    }
    let mut out = [0; 16];
    for (i, byte) in out.iter_mut().enumerate() {
        let (pair, tail) = rest.split_at_checked(2)?;
        let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
        *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
        rest = match tail {
            [b'-', after @ ..] if i % 2 == 1 && i < 15 => after,
            _ => tail,
        };
    }
    rest.is_empty().then_some(out)
}

/// Output of uuid.
pub(crate) fn write_uuid(uuid: &[u8; 16], out: &mut Vec<u8>) {
    for (i, group) in [&uuid[..4], &uuid[4..6], &uuid[6..8], &uuid[8..10], &uuid[10..]].into_iter().enumerate() {
        if i > 0 {
            out.push(b'-');
        }
        write_hex(group, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytea_forms() {
        let escape = |bytes: &[u8]| {
            let mut out = Vec::new();
            write_bytea(bytes, ByteaOutput::Escape, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(parse_bytea("\\xDE ad\nbe").unwrap(), [0xde, 0xad, 0xbe]);
        assert_eq!(parse_bytea("a\\\\b\\000\\377").unwrap(), b"a\\b\0\xff");
        assert_eq!(escape(b"a\\b\0\xff"), "a\\\\b\\000\\377");
        let message = |text| parse_bytea(text).unwrap_err().message().to_owned();
        assert_eq!(message("\\xabc"), "invalid hexadecimal data: odd number of digits");
        assert_eq!(message("\\xag"), "invalid hexadecimal digit: \"g\"");
        assert_eq!(message("a\\b"), "invalid input syntax for type bytea");
    }

    #[test]
    fn uuid_forms() {
        let expect = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        for text in [
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
        ] {
            let mut out = Vec::new();
            write_uuid(&parse_uuid(text).unwrap(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expect);
        }
        for text in [
            "",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
            "{a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0-eebc999c0b4ef8bb6d6bb9bd380a11",
        ] {
            assert!(parse_uuid(text).is_err(), "{text}");
        }
    }
}
