//! The binary format of COPY FROM: header, then rows of counted fields, then a trailer of -1.

use kalamdb_catalog::{Result, SqlError, SqlState};

use super::bad_format;

/// The first bytes of the file.
pub(super) const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// Bit 16 of the flags: the file has OIDs, which PostgreSQL has not since version 12.
const WITH_OIDS: u32 = 1 << 16;

/// The length of the header at the front of `input`; None if more of it must come.
pub(super) fn header(input: &[u8], last: bool) -> Result<Option<usize>> {
    let known = input.len().min(SIGNATURE.len());
    if input[..known] != SIGNATURE[..known] || (last && known < SIGNATURE.len()) {
        return Err(bad_format("COPY file signature not recognized"));
    }
    let missing = |what: &str| match last {
        true => Err(bad_format(format!("invalid COPY file header (missing {what})"))),
        false => Ok(None),
    };
    let Some(flags) = int32(input, SIGNATURE.len()) else { return missing("flags") };
    let flags = flags as u32;
    if flags & WITH_OIDS != 0 {
        return Err(bad_format("invalid COPY file header (WITH OIDS)"));
    }
    if flags >> 16 != 0 {
        return Err(bad_format("unrecognized critical flags in COPY file header"));
    }
    let Some(extension) = int32(input, SIGNATURE.len() + 4) else { return missing("length") };
    let Ok(extension) = usize::try_from(extension) else { return missing_length() };
    let len = SIGNATURE.len() + 8 + extension;
    match input.len() >= len {
        true => Ok(Some(len)),
        false if last => Err(bad_format("invalid COPY file header (wrong length)")),
        false => Ok(None),
    }
}

fn missing_length() -> Result<Option<usize>> {
    Err(bad_format("invalid COPY file header (missing length)"))
}

/// What is at the front of the rows.
pub(super) enum Tuple {
    Incomplete,
    Row { next: usize },
    End,
}

/// Finds the fields of the row at the front of `input`. `fields` gets their places; None is NULL.
pub(super) fn tuple(input: &[u8], columns: usize, fields: &mut Vec<Option<(usize, usize)>>) -> Result<Tuple> {
    let Some(count) = input.first_chunk::<2>() else { return Ok(Tuple::Incomplete) };
    let count = i16::from_be_bytes(*count);
    if count == -1 {
        return Ok(Tuple::End);
    }
    if usize::try_from(count) != Ok(columns) {
        return Err(bad_format(format!("row field count is {count}, expected {columns}")));
    }
    fields.clear();
    let mut at = 2;
    for _ in 0..columns {
        let Some(len) = int32(input, at) else { return Ok(Tuple::Incomplete) };
        at += 4;
        if len == -1 {
            fields.push(None);
            continue;
        }
        let Ok(len) = usize::try_from(len) else { return Err(bad_format("invalid field size")) };
        if input.len() - at < len {
            return Ok(Tuple::Incomplete);
        }
        fields.push(Some((at, at + len)));
        at += len;
    }
    Ok(Tuple::Row { next: at })
}

fn int32(input: &[u8], at: usize) -> Option<i32> {
    input.get(at..)?.first_chunk::<4>().map(|b| i32::from_be_bytes(*b))
}

/// The error of input that stops within a row.
pub(super) fn cut_off() -> SqlError {
    SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, "unexpected EOF in COPY data")
}
