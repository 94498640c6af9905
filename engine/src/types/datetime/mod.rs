//! date, time, timestamp and timestamptz: text, binary, and the calendar beneath them.
//!
//! Carriers count from 1970 (days, microseconds); `MAX`/`MIN` are infinity and -infinity. The calendar is the proleptic
//! Gregorian one with astronomical years (year 0 is 1 BC). It is computed here because no date library reaches from
//! 4713 BC to 5874897 AD; time zone rules come from jiff.
//!
//! One limit differs from PostgreSQL's: its microseconds count from 2000, ours from 1970, so timestamps end at
//! 294247-01-10 04:00:54.775806 instead of 294276-12-31; what lies behind is refused as out of range.

mod decode;
mod fast;
mod keywords;
mod lex;
mod write;
pub mod zone;

use kalamdb_catalog::{Result, SqlError, SqlState};

use super::FormatSettings;
pub(super) use decode::{DecodeError, clock as interval_clock, parse_fraction};
use decode::{Decoded, Special};
pub use keywords::{ABBREVIATIONS, Abbreviation};
pub(crate) use keywords::{Unit, unit};
pub(super) use lex::{FieldKind, lex};
pub(crate) use write::{MONTHS, WEEKDAYS};
pub use write::{write_date, write_seconds, write_time, write_timestamp, write_timestamptz};
pub use zone::{time_zone, time_zone_setting};

pub const MICROS_PER_SECOND: i64 = 1_000_000;
pub const MICROS_PER_MINUTE: i64 = 60 * MICROS_PER_SECOND;
pub const MICROS_PER_HOUR: i64 = 60 * MICROS_PER_MINUTE;
pub const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;

/// Julian day of 1970-01-01.
pub const UNIX_EPOCH_JULIAN: i32 = 2_440_588;
/// Days and microseconds from 1970-01-01 to 2000-01-01, the epoch of PostgreSQL's binary form.
const DAYS_TO_2000: i32 = 10_957;
pub const MICROS_TO_2000: i64 = DAYS_TO_2000 as i64 * MICROS_PER_DAY;

/// First valid timestamp: 4713-11-24 BC 00:00:00.
pub const MIN_TIMESTAMP: i64 = -(UNIX_EPOCH_JULIAN as i64) * MICROS_PER_DAY;
/// Days of 4713-11-24 BC and 5874897-12-31.
const MIN_DATE: i32 = -UNIX_EPOCH_JULIAN;
const MAX_DATE: i32 = 2_147_483_493 - UNIX_EPOCH_JULIAN;

/// infinity and -infinity of timestamps.
pub const INFINITY: i64 = i64::MAX;
pub const MINUS_INFINITY: i64 = i64::MIN;
/// infinity and -infinity of dates.
pub const DATE_INFINITY: i32 = i32::MAX;
pub const DATE_MINUS_INFINITY: i32 = i32::MIN;

/// A broken-down time: astronomical year, month and day from 1, microseconds of the second apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Civil {
    pub year: i32,
    pub month: i32,
    pub day: i32,
    pub hour: i32,
    pub minute: i32,
    pub second: i32,
    pub micros: i32,
}

/// Julian day number of a date; the fields need not be normalised beyond a month of 1 to 12.
pub fn julian(year: i32, month: i32, day: i32) -> i64 {
    let (year, month) = (i64::from(year), i64::from(month));
    // Years from 4800 BC, starting in March so that the leap day is the last of the year.
    let (y, m) = if month > 2 { (year + 4800, month - 3) } else { (year + 4799, month + 9) };
    y * 365 + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + i64::from(day) - 32_045
}

/// Year, month and day of a Julian day number.
pub fn from_julian(jd: i64) -> (i32, i32, i32) {
    let a = jd + 32_044;
    let century = (4 * a + 3).div_euclid(146_097);
    let c = a - (146_097 * century).div_euclid(4);
    let year = (4 * c + 3).div_euclid(1461);
    let e = c - (1461 * year).div_euclid(4);
    let m = (5 * e + 2) / 153;
    let day = e - (153 * m + 2) / 5 + 1;
    let month = m + 3 - 12 * (m / 10);
    ((100 * century + year - 4800 + m / 10) as i32, month as i32, day as i32)
}

/// Day of the week of a Julian day number, Sunday is 0.
pub fn weekday(jd: i64) -> i32 {
    (jd + 1).rem_euclid(7) as i32
}

pub fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

pub fn days_in_month(year: i32, month: i32) -> i32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Whether the Julian day number exists and stays inside what dates may hold.
fn valid_julian_date(year: i32, month: i32) -> bool {
    (year > -4713 || (year == -4713 && month >= 11)) && (year < 5_874_898 || (year == 5_874_898 && month < 6))
}

/// Days since 1970, None outside PostgreSQL's range of dates.
pub fn date_from_civil(year: i32, month: i32, day: i32) -> Option<i32> {
    if !valid_julian_date(year, month) {
        return None;
    }
    check_date(julian(year, month, day) - i64::from(UNIX_EPOCH_JULIAN))
}

/// The day if it is a finite date.
pub fn check_date(days: i64) -> Option<i32> {
    (i64::from(MIN_DATE)..=i64::from(MAX_DATE)).contains(&days).then_some(days as i32)
}

/// The instant if it is a finite timestamp.
pub fn check_timestamp(micros: i128) -> Option<i64> {
    (i128::from(MIN_TIMESTAMP)..i128::from(INFINITY)).contains(&micros).then_some(micros as i64)
}

pub fn date_out_of_range() -> SqlError {
    SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "date out of range")
}

pub fn timestamp_out_of_range() -> SqlError {
    SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp out of range")
}

pub fn is_finite(timestamp: i64) -> bool {
    timestamp != INFINITY && timestamp != MINUS_INFINITY
}

pub fn is_finite_date(date: i32) -> bool {
    date != DATE_INFINITY && date != DATE_MINUS_INFINITY
}

impl Civil {
    /// The fields of a finite timestamp.
    pub fn from_timestamp(micros: i64) -> Civil {
        let mut civil = Civil::from_date(micros.div_euclid(MICROS_PER_DAY));
        civil.set_time(micros.rem_euclid(MICROS_PER_DAY));
        civil
    }

    /// Midnight of a day counted from 1970.
    pub fn from_date(days: i64) -> Civil {
        let (year, month, day) = from_julian(days + i64::from(UNIX_EPOCH_JULIAN));
        Civil { year, month, day, ..Civil::default() }
    }

    /// Sets the time of day.
    pub fn set_time(&mut self, micros: i64) {
        self.hour = (micros / MICROS_PER_HOUR) as i32;
        self.minute = (micros / MICROS_PER_MINUTE % 60) as i32;
        self.second = (micros / MICROS_PER_SECOND % 60) as i32;
        self.micros = (micros % MICROS_PER_SECOND) as i32;
    }

    pub fn julian(&self) -> i64 {
        julian(self.year, self.month, self.day)
    }

    /// Microseconds since midnight.
    pub fn time(&self) -> i64 {
        i64::from(self.hour) * MICROS_PER_HOUR
            + i64::from(self.minute) * MICROS_PER_MINUTE
            + i64::from(self.second) * MICROS_PER_SECOND
            + i64::from(self.micros)
    }

    /// Microseconds since 1970 without any zone, unchecked.
    pub fn micros_since_1970(&self) -> i128 {
        i128::from(self.julian() - i64::from(UNIX_EPOCH_JULIAN)) * i128::from(MICROS_PER_DAY) + i128::from(self.time())
    }

    /// The timestamp, None if out of range.
    pub fn timestamp(&self) -> Option<i64> {
        if !valid_julian_date(self.year, self.month) {
            return None;
        }
        check_timestamp(self.micros_since_1970())
    }

    /// Whether the time of day is one: up to 24:00:00, a second of 60 tolerated.
    pub fn time_is_valid(&self) -> bool {
        (0..=24).contains(&self.hour)
            && (0..60).contains(&self.minute)
            && (0..=60).contains(&self.second)
            && (0..=1_000_000).contains(&self.micros)
            && self.time() <= MICROS_PER_DAY
    }
}

/// Rounds to a `(p)` type modifier; -1 leaves as is. Halves go away from 2000-01-01 as in PostgreSQL.
pub fn round_timestamp(micros: i64, typmod: i32) -> Result<i64> {
    if !(0..6).contains(&typmod) || !is_finite(micros) {
        return Ok(micros);
    }
    let since_2000 = i128::from(micros) - i128::from(MICROS_TO_2000);
    let scale = 10i128.pow((6 - typmod) as u32);
    let half = if since_2000 < 0 { -scale / 2 } else { scale / 2 };
    let rounded = (since_2000 + half) / scale * scale + i128::from(MICROS_TO_2000);
    check_timestamp(rounded).ok_or_else(timestamp_out_of_range)
}

/// Rounds a time of day to a `(p)` type modifier.
pub fn round_time(micros: i64, typmod: i32) -> i64 {
    if !(0..6).contains(&typmod) {
        return micros;
    }
    let scale = 10i64.pow((6 - typmod) as u32);
    (micros + scale / 2) / scale * scale
}

/// `date` from text: days since 1970.
pub fn parse_date(text: &str, fs: &FormatSettings) -> Result<i32> {
    if let Some(days) = fast::date(text) {
        return Ok(days);
    }
    let decoded = decode::decode(text, fs, false).map_err(|e| e.report(text, "date"))?;
    match decoded {
        Decoded::At { civil, .. } => date_from_civil(civil.year, civil.month, civil.day)
            .ok_or_else(|| SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("date out of range: \"{text}\""))),
        Decoded::Special(Special::Infinity) => Ok(DATE_INFINITY),
        Decoded::Special(Special::MinusInfinity) => Ok(DATE_MINUS_INFINITY),
        Decoded::Special(Special::Epoch) => Ok(0),
    }
}

/// `time(typmod)` from text: microseconds since midnight. A zone is read and ignored.
pub fn parse_time(text: &str, typmod: i32, fs: &FormatSettings) -> Result<i64> {
    if let Some(micros) = fast::time(text.as_bytes()) {
        return Ok(round_time(micros, typmod));
    }
    match decode::decode(text, fs, true).map_err(|e| e.report(text, "time"))? {
        Decoded::At { civil, .. } => Ok(round_time(civil.time(), typmod)),
        Decoded::Special(_) => Err(DecodeError::BadFormat.report(text, "time")),
    }
}

/// `timestamp(typmod)` from text: microseconds since 1970. A zone is read and ignored.
pub fn parse_timestamp(text: &str, typmod: i32, fs: &FormatSettings) -> Result<i64> {
    if let Some((micros, None)) = fast::timestamp(text) {
        return round_timestamp(micros, typmod);
    }
    parse_instant(text, typmod, fs, false, "timestamp")
}

/// `timestamptz(typmod)` from text: microseconds since 1970, UTC. Without a zone it is the session's local time.
pub fn parse_timestamptz(text: &str, typmod: i32, fs: &FormatSettings) -> Result<i64> {
    if let Some((local, offset)) = fast::timestamp(text) {
        let offset = offset.unwrap_or_else(|| zone::local_offset(&fs.time_zone, local));
        return round_timestamp(local - i64::from(offset) * MICROS_PER_SECOND, typmod);
    }
    parse_instant(text, typmod, fs, true, "timestamp with time zone")
}

fn parse_instant(text: &str, typmod: i32, fs: &FormatSettings, zoned: bool, name: &str) -> Result<i64> {
    let micros = match decode::decode(text, fs, false).map_err(|e| e.report(text, name))? {
        Decoded::At { civil, offset } => {
            let offset = if zoned { i128::from(offset) * i128::from(MICROS_PER_SECOND) } else { 0 };
            let in_range = valid_julian_date(civil.year, civil.month);
            in_range.then(|| check_timestamp(civil.micros_since_1970() - offset)).flatten().ok_or_else(|| {
                SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("timestamp out of range: \"{text}\""))
            })?
        }
        Decoded::Special(Special::Infinity) => INFINITY,
        Decoded::Special(Special::MinusInfinity) => MINUS_INFINITY,
        Decoded::Special(Special::Epoch) => 0,
    };
    round_timestamp(micros, typmod)
}

/// The wire form of a date: days since 2000.
pub fn date_to_binary(days: i32, out: &mut Vec<u8>) {
    let days = if is_finite_date(days) { days - DAYS_TO_2000 } else { days };
    out.extend_from_slice(&days.to_be_bytes());
}

/// A date from its wire form.
pub fn date_from_binary(bytes: &[u8]) -> Result<i32> {
    let days = i32::from_be_bytes(fixed(bytes)?);
    if !is_finite_date(days) {
        return Ok(days);
    }
    check_date(i64::from(days) + i64::from(DAYS_TO_2000)).ok_or_else(date_out_of_range)
}

/// The wire form of a time of day.
pub fn time_to_binary(micros: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(&micros.to_be_bytes());
}

/// A time from its wire form.
pub fn time_from_binary(bytes: &[u8], typmod: i32) -> Result<i64> {
    let micros = i64::from_be_bytes(fixed(bytes)?);
    if !(0..=MICROS_PER_DAY).contains(&micros) {
        return Err(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "time out of range"));
    }
    Ok(round_time(micros, typmod))
}

/// The wire form of timestamp and timestamptz: microseconds since 2000.
pub fn timestamp_to_binary(micros: i64, out: &mut Vec<u8>) {
    let micros = if is_finite(micros) { micros - MICROS_TO_2000 } else { micros };
    out.extend_from_slice(&micros.to_be_bytes());
}

/// A timestamp or timestamptz from its wire form.
pub fn timestamp_from_binary(bytes: &[u8], typmod: i32) -> Result<i64> {
    let micros = i64::from_be_bytes(fixed(bytes)?);
    if !is_finite(micros) {
        return Ok(micros);
    }
    let micros = check_timestamp(i128::from(micros) + i128::from(MICROS_TO_2000)).ok_or_else(timestamp_out_of_range)?;
    round_timestamp(micros, typmod)
}

/// The bytes of a fixed-width wire value.
pub(super) fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| {
        let what = if bytes.len() < N { "insufficient data left in message" } else { "incorrect binary data format" };
        let code = if bytes.len() < N { SqlState::PROTOCOL_VIOLATION } else { SqlState::INVALID_BINARY_REPRESENTATION };
        SqlError::new(code, what)
    })
}

#[cfg(test)]
mod tests;
