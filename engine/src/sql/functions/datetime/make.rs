//! `make_date`, `make_time`, `make_timestamp[tz]`, `make_interval` and `to_timestamp(float8)`.

use kalamdb_catalog::{Result, SqlError, SqlState};

use crate::types::Interval;
use crate::types::datetime::{
    Civil, INFINITY, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, MIN_TIMESTAMP,
    MINUS_INFINITY, check_timestamp, date_from_civil, days_in_month,
};
use crate::types::interval::interval_out_of_range;

fn overflow(message: String) -> SqlError {
    SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, message)
}

/// C's `%g`, as PostgreSQL prints the numbers in its messages.
fn general(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value.is_nan() { "nan".into() } else { value.to_string() };
    }
    let scientific = format!("{value:.5e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..6).contains(&exponent) {
        return trim(&format!("{value:.*}", (5 - exponent).max(0) as usize));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
}

/// The astronomical year of one where -1 is 1 BC; None for 0.
fn year(year: i32) -> Option<i32> {
    match year {
        0 => None,
        ..0 => Some(year + 1),
        _ => Some(year),
    }
}

fn valid_date(y: i32, month: i32, day: i32) -> Option<i32> {
    let y = year(y)?;
    ((1..=12).contains(&month) && day >= 1 && day <= days_in_month(y, month)).then_some(y)
}

fn date_fields_out_of_range(y: i32, month: i32, day: i32) -> SqlError {
    overflow(format!("date field value out of range: {y}-{month:02}-{day:02}"))
}

pub(super) fn date(y: i32, month: i32, day: i32) -> Result<i32> {
    let astronomical = valid_date(y, month, day).ok_or_else(|| date_fields_out_of_range(y, month, day))?;
    date_from_civil(astronomical, month, day)
        .ok_or_else(|| overflow(format!("date out of range: {y}-{month:02}-{day:02}")))
}

pub(super) fn time(hour: i32, minute: i32, second: f64) -> Result<i64> {
    let error = || {
        let seconds = general(second);
        overflow(format!("time field value out of range: {hour}:{minute:02}:{seconds:0>2}"))
    };
    if !(0..=24).contains(&hour) || !(0..60).contains(&minute) || !(0.0..=60.0).contains(&second) {
        return Err(error());
    }
    let micros = i64::from(hour) * MICROS_PER_HOUR
        + i64::from(minute) * MICROS_PER_MINUTE
        + (second * 1e6).round_ties_even() as i64;
    if micros > MICROS_PER_DAY { Err(error()) } else { Ok(micros) }
}

/// A timestamp from its fields, without any zone.
pub(super) fn timestamp(y: i32, month: i32, day: i32, hour: i32, minute: i32, second: f64) -> Result<i64> {
    let astronomical = valid_date(y, month, day).ok_or_else(|| date_fields_out_of_range(y, month, day))?;
    date_from_civil(astronomical, month, day)
        .ok_or_else(|| overflow(format!("date out of range: {y}-{month:02}-{day:02}")))?;
    let civil = Civil { year: astronomical, month, day, ..Civil::default() };
    let time = time(hour, minute, second)?;
    check_timestamp(civil.micros_since_1970() + i128::from(time)).ok_or_else(|| {
        let seconds = general(second);
        overflow(format!("timestamp out of range: {y}-{month:02}-{day:02} {hour}:{minute:02}:{seconds:0>2}"))
    })
}

/// years, months, weeks, days, hours, minutes; seconds.
pub(super) fn interval(counts: [i32; 6], seconds: f64) -> Result<Interval> {
    let [years, months, weeks, days, hours, minutes] = counts.map(i64::from);
    let micros = (seconds * 1e6).round_ties_even();
    if !micros.is_finite() || micros.abs() >= 9.2e18 {
        return Err(interval_out_of_range());
    }
    let small = |n: i64| i32::try_from(n).map_err(|_| interval_out_of_range());
    let micros = (hours * MICROS_PER_HOUR + minutes * MICROS_PER_MINUTE)
        .checked_add(micros as i64)
        .ok_or_else(interval_out_of_range)?;
    Ok(Interval { months: small(years * 12 + months)?, days: small(weeks * 7 + days)?, micros })
}

/// `to_timestamp(float8)`: seconds since 1970.
pub(super) fn from_epoch(seconds: f64) -> Result<i64> {
    if seconds.is_nan() {
        return Err(overflow("timestamp cannot be NaN".into()));
    }
    if seconds.is_infinite() {
        return Ok(if seconds > 0.0 { INFINITY } else { MINUS_INFINITY });
    }
    // Rounded around 2000, where PostgreSQL counts from: the last digits of large values depend on it.
    const SECONDS_TO_2000: f64 = 946_684_800.0;
    let micros = ((seconds - SECONDS_TO_2000) * 1e6).round_ties_even();
    let error = || overflow(format!("timestamp out of range: \"{}\"", general(seconds)));
    if micros.abs() > 1e19 || seconds * 1e6 < MIN_TIMESTAMP as f64 {
        return Err(error());
    }
    let since_1970 = micros as i128 + (SECONDS_TO_2000 as i128) * i128::from(MICROS_PER_SECOND);
    check_timestamp(since_1970).ok_or_else(error)
}
