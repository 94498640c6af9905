//! Text output of date, time, timestamp and timestamptz in all DateStyles.

use super::zone::{OffsetInfo, offset_info, utc_offset};
use super::{
    Civil, DATE_INFINITY, DATE_MINUS_INFINITY, INFINITY, MICROS_PER_SECOND, MINUS_INFINITY, check_timestamp, weekday,
};
use crate::types::{DateOrder, DateStyle, FormatSettings};

pub(crate) const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
pub(crate) const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Abbreviations of zones are cut to this length.
const MAX_ABBREVIATION: usize = 10;

fn two(n: i32, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8]);
}

/// The year without era, four digits at least.
fn year(civil: &Civil, out: &mut Vec<u8>) {
    let year = if civil.year > 0 { civil.year } else { 1 - civil.year };
    if year < 10_000 {
        two(year / 100, out);
        two(year % 100, out);
    } else {
        out.extend_from_slice(year.to_string().as_bytes());
    }
}

/// Seconds, padded to two digits or not, with the microseconds that are not zero at the end.
pub fn write_seconds(second: i64, micros: i32, pad: bool, out: &mut Vec<u8>) {
    if pad && second < 100 {
        two(second as i32, out);
    } else {
        out.extend_from_slice(second.to_string().as_bytes());
    }
    if micros == 0 {
        return;
    }
    out.push(b'.');
    let mut divisor = 100_000;
    let mut rest = micros;
    while rest > 0 {
        out.push(b'0' + (rest / divisor) as u8);
        rest %= divisor;
        divisor /= 10;
    }
}

fn clock(civil: &Civil, out: &mut Vec<u8>) {
    two(civil.hour, out);
    out.push(b':');
    two(civil.minute, out);
    out.push(b':');
    write_seconds(i64::from(civil.second), civil.micros, true, out);
}

/// "+02", "-03:30", "+00:53:28".
pub(crate) fn write_offset(offset: i32, out: &mut Vec<u8>) {
    out.push(if offset < 0 { b'-' } else { b'+' });
    let seconds = offset.abs();
    two(seconds / 3600, out);
    if seconds % 3600 != 0 {
        out.push(b':');
        two(seconds / 60 % 60, out);
    }
    if seconds % 60 != 0 {
        out.push(b':');
        two(seconds % 60, out);
    }
}

/// Month and day around a separator, in DateStyle's order for everything but ISO.
fn month_day(civil: &Civil, separator: u8, order: DateOrder, out: &mut Vec<u8>) {
    let (first, second) = if order == DateOrder::Dmy { (civil.day, civil.month) } else { (civil.month, civil.day) };
    two(first, out);
    out.push(separator);
    two(second, out);
}

fn iso_date(civil: &Civil, out: &mut Vec<u8>) {
    year(civil, out);
    out.push(b'-');
    two(civil.month, out);
    out.push(b'-');
    two(civil.day, out);
}

/// Writes the date in the style, without era.
fn date(civil: &Civil, fs: &FormatSettings, out: &mut Vec<u8>) {
    let separator = match fs.date_style {
        DateStyle::Iso => return iso_date(civil, out),
        DateStyle::Sql => b'/',
        DateStyle::Postgres => b'-',
        DateStyle::German => b'.',
    };
    let order = if fs.date_style == DateStyle::German { DateOrder::Dmy } else { fs.date_order };
    month_day(civil, separator, order, out);
    out.push(separator);
    year(civil, out);
}

/// `date`: days since 1970.
pub fn write_date(days: i32, fs: &FormatSettings, out: &mut Vec<u8>) {
    match days {
        DATE_INFINITY => return out.extend_from_slice(b"infinity"),
        DATE_MINUS_INFINITY => return out.extend_from_slice(b"-infinity"),
        _ => {}
    }
    let civil = Civil::from_date(i64::from(days));
    date(&civil, fs, out);
    if civil.year <= 0 {
        out.extend_from_slice(b" BC");
    }
}

/// `time`: microseconds since midnight.
pub fn write_time(micros: i64, _fs: &FormatSettings, out: &mut Vec<u8>) {
    let mut civil = Civil::default();
    civil.set_time(micros);
    clock(&civil, out);
}

/// `timestamp`: microseconds since 1970.
pub fn write_timestamp(micros: i64, fs: &FormatSettings, out: &mut Vec<u8>) {
    if !special(micros, out) {
        date_time(&Civil::from_timestamp(micros), None, fs, out);
    }
}

/// `timestamptz`: microseconds since 1970 UTC, shown in the session's zone.
pub fn write_timestamptz(micros: i64, fs: &FormatSettings, out: &mut Vec<u8>) {
    if special(micros, out) {
        return;
    }
    let zone = if fs.date_style == DateStyle::Iso {
        // ISO shows no abbreviation, which is the dear part of the lookup.
        let offset = utc_offset(&fs.time_zone, micros);
        OffsetInfo { offset, abbreviation: String::new(), dst: false }
    } else {
        offset_info(&fs.time_zone, micros)
    };
    let local = i128::from(micros) + i128::from(zone.offset) * i128::from(MICROS_PER_SECOND);
    let civil = match check_timestamp(local) {
        Some(local) => Civil::from_timestamp(local),
        // At the ends of the range the local time may lie just outside it; it still can be shown.
        None => {
            let mut civil = Civil::from_timestamp(micros);
            let day = i128::from(super::MICROS_PER_DAY);
            (civil.year, civil.month, civil.day) =
                super::from_julian(local.div_euclid(day) as i64 + i64::from(super::UNIX_EPOCH_JULIAN));
            civil.set_time(local.rem_euclid(day) as i64);
            civil
        }
    };
    date_time(&civil, Some(&zone), fs, out);
}

fn special(micros: i64, out: &mut Vec<u8>) -> bool {
    match micros {
        INFINITY => out.extend_from_slice(b"infinity"),
        MINUS_INFINITY => out.extend_from_slice(b"-infinity"),
        _ => return false,
    }
    true
}

fn date_time(civil: &Civil, zone: Option<&OffsetInfo>, fs: &FormatSettings, out: &mut Vec<u8>) {
    match fs.date_style {
        DateStyle::Iso => {
            iso_date(civil, out);
            out.push(b' ');
            clock(civil, out);
            if let Some(zone) = zone {
                write_offset(zone.offset, out);
            }
        }
        DateStyle::Sql | DateStyle::German => {
            date(civil, fs, out);
            out.push(b' ');
            clock(civil, out);
            abbreviation(zone, out);
        }
        DateStyle::Postgres => {
            out.extend_from_slice(&WEEKDAYS[weekday(civil.julian()) as usize].as_bytes()[..3]);
            out.push(b' ');
            let month = MONTHS[(civil.month - 1) as usize].as_bytes();
            if fs.date_order == DateOrder::Dmy {
                two(civil.day, out);
                out.push(b' ');
                out.extend_from_slice(month);
            } else {
                out.extend_from_slice(month);
                out.push(b' ');
                two(civil.day, out);
            }
            out.push(b' ');
            clock(civil, out);
            out.push(b' ');
            year(civil, out);
            abbreviation(zone, out);
        }
    }
    if civil.year <= 0 {
        out.extend_from_slice(b" BC");
    }
}

fn abbreviation(zone: Option<&OffsetInfo>, out: &mut Vec<u8>) {
    let Some(zone) = zone else { return };
    out.push(b' ');
    let name = zone.abbreviation.as_bytes();
    out.extend_from_slice(&name[..name.len().min(MAX_ABBREVIATION)]);
}
