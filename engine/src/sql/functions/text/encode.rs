//! Text encodings of bytes: encode, decode, convert_from, convert_to; single bytes.

use kalamdb_catalog::{Result, SqlError, SqlState};

use crate::types::bytes::{octal, parse_escape, parse_hex, write_hex};
use crate::types::io::check_utf8;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Characters of base64 to a line.
const BASE64_LINE: usize = 76;

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn unrecognized(format: &str) -> SqlError {
    invalid(format!("unrecognized encoding: \"{format}\""))
}

pub(super) fn encode(data: &[u8], format: &str) -> Result<String> {
    let mut out = Vec::new();
    match format.to_ascii_lowercase().as_str() {
        "hex" => write_hex(data, &mut out),
        "base64" => write_base64(data, &mut out),
        "escape" => {
            for &b in data {
                match b {
                    0 | 0x80.. => out.extend_from_slice(&octal(b)),
                    b'\\' => out.extend_from_slice(b"\\\\"),
                    _ => out.push(b),
                }
            }
        }
        _ => return Err(unrecognized(format)),
    }
    String::from_utf8(out).map_err(|_| SqlError::internal("encode made text that is not ASCII"))
}

pub(super) fn decode(text: &str, format: &str) -> Result<Vec<u8>> {
    match format.to_ascii_lowercase().as_str() {
        "hex" => parse_hex(text),
        "base64" => parse_base64(text),
        "escape" => parse_escape(text),
        _ => Err(unrecognized(format)),
    }
}

fn write_base64(data: &[u8], out: &mut Vec<u8>) {
    let mut column = 0;
    for chunk in data.chunks(3) {
        let word = chunk.iter().fold(0u32, |w, b| (w << 8) | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            out.push(if i > chunk.len() { b'=' } else { BASE64[(word >> (18 - 6 * i)) as usize & 63] });
        }
        column += 4;
        if column == BASE64_LINE {
            out.push(b'\n');
            column = 0;
        }
    }
}

fn parse_base64(text: &str) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut word, mut count, mut padding) = (0u32, 0, 0);
    for c in text.chars() {
        if matches!(c, ' ' | '\t' | '\n' | '\r') {
            continue;
        }
        let six = match c {
            '=' => {
                if padding == 0 {
                    match count {
                        2 | 3 => padding = count - 1,
                        _ => return Err(invalid("unexpected \"=\" while decoding base64 sequence")),
                    }
                }
                0
            }
            c => BASE64
                .iter()
                .position(|b| char::from(*b) == c)
                .ok_or_else(|| invalid(format!("invalid symbol \"{c}\" found while decoding base64 sequence")))?,
        };
        word = (word << 6) | six as u32;
        count += 1;
        if count == 4 {
            let bytes = word.to_be_bytes();
            let keep = if padding == 0 { 3 } else { padding };
            out.extend_from_slice(&bytes[1..=keep]);
            (word, count) = (0, 0);
        }
    }
    if count != 0 {
        return Err(invalid("invalid base64 end sequence")
            .hint("Input data is missing padding, is truncated, or is otherwise corrupted."));
    }
    Ok(out)
}

/// UTF8 under any of PostgreSQL's spellings; other encodings are refused by name.
fn check_encoding(name: &str, role: &str) -> Result<()> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    match plain.as_str() {
        "utf8" | "unicode" => Ok(()),
        "sqlascii" | "latin1" | "latin2" | "latin9" | "iso88591" | "iso885915" | "win1250" | "win1251" | "win1252"
        | "eucjp" | "sjis" | "gbk" | "big5" | "koi8r" => Err(SqlError::unsupported(format!("encoding \"{name}\""))),
        _ => Err(invalid(format!("invalid {role} encoding name \"{name}\""))),
    }
}

pub(super) fn convert_from(data: &[u8], encoding: &str) -> Result<String> {
    check_encoding(encoding, "source")?;
    check_utf8(data).map(str::to_owned)
}

pub(super) fn convert_to(text: &str, encoding: &str) -> Result<Vec<u8>> {
    check_encoding(encoding, "destination")?;
    Ok(text.as_bytes().to_vec())
}

fn byte_index(data: &[u8], index: i32) -> Result<usize> {
    usize::try_from(index).ok().filter(|i| *i < data.len()).ok_or_else(|| {
        let last = data.len() as i64 - 1;
        SqlError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, format!("index {index} out of valid range, 0..{last}"))
    })
}

pub(super) fn get_byte(data: &[u8], index: i32) -> Result<i32> {
    Ok(i32::from(data[byte_index(data, index)?]))
}

pub(super) fn set_byte(data: &[u8], index: i32, value: i32) -> Result<Vec<u8>> {
    let at = byte_index(data, index)?;
    let mut out = data.to_vec();
    out[at] = value as u8;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_round_trip() {
        let data: Vec<u8> = (0..=255).collect();
        for format in ["hex", "base64", "ESCAPE"] {
            assert_eq!(decode(&encode(&data, format).unwrap(), format).unwrap(), data);
        }
        assert_eq!(encode(b"1234567890", "base64").unwrap(), "MTIzNDU2Nzg5MA==");
        assert_eq!(encode(b"a\x00\\\xff\n", "escape").unwrap(), "a\\000\\\\\\377\n");
        let message = |r: Result<Vec<u8>>| r.unwrap_err().message().to_owned();
        assert_eq!(message(decode("YQ", "base64")), "invalid base64 end sequence");
        assert_eq!(message(decode("Y=", "base64")), "unexpected \"=\" while decoding base64 sequence");
        assert_eq!(message(decode("", "rot13")), "unrecognized encoding: \"rot13\"");
        assert_eq!(get_byte(b"ab", 2).unwrap_err().message(), "index 2 out of valid range, 0..1");
    }
}
