//! The plain ISO forms, which clients and dumps send almost always, read without the general parser.
//!
//! None means "not plain", never "wrong": the general parser then decides, and reports errors.

use super::{Civil, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, UNIX_EPOCH_JULIAN};
use super::{days_in_month, julian};

fn digits2(b: &[u8]) -> Option<i32> {
    let (tens, ones) = (b.first()?.wrapping_sub(b'0'), b.get(1)?.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then_some(i32::from(tens) * 10 + i32::from(ones))
}

/// The days of a leading `YYYY-MM-DD`.
fn iso_date(b: &[u8]) -> Option<i32> {
    if b.len() < 10 || b[4] != b'-' || b[7] != b'-' {
        return None;
    }
    let year = digits2(b)? * 100 + digits2(&b[2..])?;
    let (month, day) = (digits2(&b[5..])?, digits2(&b[8..])?);
    if year == 0 || !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    Some((julian(year, month, day) - i64::from(UNIX_EPOCH_JULIAN)) as i32)
}

/// `YYYY-MM-DD`.
pub(super) fn date(text: &str) -> Option<i32> {
    if text.len() == 10 { iso_date(text.as_bytes()) } else { None }
}

/// A leading `HH:MM:SS[.ffffff]` below 24:00 and what follows it.
fn clock(b: &[u8]) -> Option<(i64, &[u8])> {
    if b.len() < 8 || b[2] != b':' || b[5] != b':' {
        return None;
    }
    let civil = Civil { hour: digits2(b)?, minute: digits2(&b[3..])?, second: digits2(&b[6..])?, ..Civil::default() };
    if civil.hour > 23 || civil.minute > 59 || civil.second > 59 {
        return None;
    }
    let mut micros = civil.time();
    let mut rest = &b[8..];
    if let [b'.', fraction @ ..] = rest {
        let len = fraction.iter().take_while(|c| c.is_ascii_digit()).count();
        if len == 0 || len > 6 {
            return None;
        }
        let value = fraction[..len].iter().fold(0, |n, c| n * 10 + i64::from(c - b'0'));
        micros += value * 10i64.pow(6 - len as u32);
        rest = &fraction[len..];
    }
    Some((micros, rest))
}

/// `HH:MM:SS[.ffffff]`.
pub(super) fn time(b: &[u8]) -> Option<i64> {
    match clock(b)? {
        (micros, []) => Some(micros),
        _ => None,
    }
}

/// `YYYY-MM-DD[( |T)HH:MM:SS[.ffffff][Z|(+|-)HH[[:]MM]]]`: local microseconds, and the offset in
/// seconds if there is one.
pub(super) fn timestamp(text: &str) -> Option<(i64, Option<i32>)> {
    let b = text.as_bytes();
    let midnight = i64::from(iso_date(b)?) * MICROS_PER_DAY;
    if b.len() == 10 {
        return Some((midnight, None));
    }
    if b[10] != b' ' && b[10] != b'T' {
        return None;
    }
    let (micros, rest) = clock(&b[11..])?;
    let offset = match rest {
        [] => None,
        [b'Z'] => Some(0),
        [sign @ (b'+' | b'-'), digits @ ..] => {
            let minutes = match digits {
                [_, _] => 0,
                [_, _, b':', minutes @ ..] if minutes.len() == 2 => digits2(minutes)?,
                [_, _, minutes @ ..] if minutes.len() == 2 => digits2(minutes)?,
                _ => return None,
            };
            let hours = digits2(digits)?;
            if hours > 15 || minutes > 59 {
                return None;
            }
            let seconds =
                (i64::from(hours) * MICROS_PER_HOUR + i64::from(minutes) * MICROS_PER_MINUTE) / MICROS_PER_SECOND;
            Some(if *sign == b'-' { -seconds as i32 } else { seconds as i32 })
        }
        _ => return None,
    };
    Some((midnight + micros, offset))
}
