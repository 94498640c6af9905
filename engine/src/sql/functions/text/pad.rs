//! Padding, trimming and repetition.

use kalamdb_catalog::{Result, SqlError, SqlState};

/// PostgreSQL's MaxAllocSize: no string is longer.
const BYTES_MAX: u64 = 0x3FFF_FFFF;

fn too_long() -> SqlError {
    SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "requested length too large")
}

/// The string cut to `len` characters, and the characters of `fill` that are missing.
fn pad<'a>(s: &'a str, len: i32, fill: &str) -> Result<(&'a str, String)> {
    let len = len.max(0) as usize;
    // As PostgreSQL: four bytes a character, whatever they are.
    if len as u64 * 4 > BYTES_MAX {
        return Err(too_long());
    }
    if let Some((cut, _)) = s.char_indices().nth(len) {
        return Ok((&s[..cut], String::new()));
    }
    let missing = if fill.is_empty() { 0 } else { len - s.chars().count() };
    Ok((s, fill.chars().cycle().take(missing).collect()))
}

pub(super) fn lpad(s: &str, len: i32, fill: &str) -> Result<String> {
    let (s, mut fill) = pad(s, len, fill)?;
    fill.push_str(s);
    Ok(fill)
}

pub(super) fn rpad(s: &str, len: i32, fill: &str) -> Result<String> {
    let (s, fill) = pad(s, len, fill)?;
    Ok([s, &fill].concat())
}

pub(super) fn ltrim(s: &str, set: &str) -> Result<String> {
    Ok(s.trim_start_matches(|c| set.contains(c)).to_owned())
}

pub(super) fn rtrim(s: &str, set: &str) -> Result<String> {
    Ok(s.trim_end_matches(|c| set.contains(c)).to_owned())
}

pub(super) fn btrim(s: &str, set: &str) -> Result<String> {
    Ok(s.trim_matches(|c| set.contains(c)).to_owned())
}

pub(super) fn trim_bytes(s: &[u8], set: &[u8], front: bool, back: bool) -> Vec<u8> {
    let mut s = s;
    while let (true, [first, rest @ ..]) = (front, s) {
        if !set.contains(first) {
            break;
        }
        s = rest;
    }
    while let (true, [rest @ .., last]) = (back, s) {
        if !set.contains(last) {
            break;
        }
        s = rest;
    }
    s.to_vec()
}

pub(super) fn repeat(s: &str, times: i32) -> Result<String> {
    let times = times.max(0) as usize;
    if s.len() as u64 * times as u64 > BYTES_MAX {
        return Err(too_long());
    }
    Ok(s.repeat(times))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pads_and_trims() {
        assert_eq!(lpad("hi", 5, "xy").unwrap(), "xyxhi");
        assert_eq!(rpad("héllo", 2, "xy").unwrap(), "hé");
        assert_eq!(rpad("hi", 5, "").unwrap(), "hi");
        assert_eq!(lpad("hi", -1, " ").unwrap(), "");
        assert_eq!(btrim("xyxtrimyyx", "xyz").unwrap(), "trim");
        assert_eq!(trim_bytes(b"\x00ab\x00", b"\x00", true, true), b"ab");
        assert_eq!(repeat("Pg", 3).unwrap(), "PgPgPg");
        assert_eq!(repeat("Pg", i32::MAX).unwrap_err().message(), "requested length too large");
    }
}
