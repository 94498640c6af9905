//! Sums and differences. Months and days move the calendar in local time, the rest moves the clock.

use jiff::tz::TimeZone;
use kalamdb_catalog::{Result, SqlError, SqlState};

use crate::sql::functions::adapt::{Date, Time, Timestamp, Timestamptz};
use crate::types::Interval;
use crate::types::datetime::{
    Civil, INFINITY, MICROS_PER_DAY, MINUS_INFINITY, check_date, check_timestamp, date_out_of_range, days_in_month,
    from_julian, is_finite, is_finite_date, timestamp_out_of_range, zone,
};

fn overflow(message: &str) -> SqlError {
    SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, message)
}

/// Adds months and days to the date of a local time; the day is cut to the length of the month.
fn move_calendar(micros: i64, interval: &Interval) -> Option<i64> {
    let mut civil = Civil::from_timestamp(micros);
    if interval.months != 0 {
        let months = i64::from(civil.year) * 12 + i64::from(civil.month - 1) + i64::from(interval.months);
        civil.year = i32::try_from(months.div_euclid(12)).ok()?;
        civil.month = months.rem_euclid(12) as i32 + 1;
        civil.day = civil.day.min(days_in_month(civil.year, civil.month));
        civil.timestamp()?;
    }
    if interval.days != 0 {
        let julian = civil.julian() + i64::from(interval.days);
        if !(0..=i64::from(i32::MAX)).contains(&julian) {
            return None;
        }
        (civil.year, civil.month, civil.day) = from_julian(julian);
    }
    civil.timestamp()
}

pub(super) fn timestamp_add(t: Timestamp, interval: Interval) -> Result<Timestamp> {
    if !is_finite(t.0) {
        return Ok(t);
    }
    move_calendar(t.0, &interval)
        .and_then(|moved| check_timestamp(i128::from(moved) + i128::from(interval.micros)))
        .map(Timestamp)
        .ok_or_else(timestamp_out_of_range)
}

pub(super) fn timestamptz_add(zone: &TimeZone, t: Timestamptz, interval: Interval) -> Result<Timestamptz> {
    if !is_finite(t.0) {
        return Ok(t);
    }
    let mut moved = Some(i128::from(t.0));
    if interval.months != 0 || interval.days != 0 {
        // Each step finds the offset anew, so that adding a month and a day is adding the one, then the other.
        for step in [Interval { days: 0, ..interval }, Interval { months: 0, ..interval }] {
            if step.months == 0 && step.days == 0 {
                continue;
            }
            moved = moved
                .and_then(check_timestamp)
                .and_then(|micros| check_timestamp(zone::to_local(zone, micros)))
                .and_then(|local| move_calendar(local, &step))
                .map(|local| zone::to_utc(zone, local));
        }
    }
    moved
        .and_then(check_timestamp)
        .and_then(|micros| check_timestamp(i128::from(micros) + i128::from(interval.micros)))
        .map(Timestamptz)
        .ok_or_else(timestamp_out_of_range)
}

pub(super) fn timestamp_sub(t: Timestamp, interval: Interval) -> Result<Timestamp> {
    timestamp_add(t, interval.checked_neg()?)
}

pub(super) fn timestamptz_sub(zone: &TimeZone, t: Timestamptz, interval: Interval) -> Result<Timestamptz> {
    timestamptz_add(zone, t, interval.checked_neg()?)
}

/// The difference of two instants as days and a time.
pub(super) fn difference(a: i64, b: i64) -> Result<Interval> {
    if !is_finite(a) || !is_finite(b) {
        return Err(overflow("cannot subtract infinite timestamps"));
    }
    let micros = a.checked_sub(b).ok_or_else(|| overflow("interval out of range"))?;
    Interval { micros, ..Interval::ZERO }.justify_hours()
}

pub(super) fn date_add_days(date: Date, days: i32) -> Result<Date> {
    if !is_finite_date(date.0) {
        return Ok(date);
    }
    check_date(i64::from(date.0) + i64::from(days)).map(Date).ok_or_else(date_out_of_range)
}

pub(super) fn date_sub_days(date: Date, days: i32) -> Result<Date> {
    if !is_finite_date(date.0) {
        return Ok(date);
    }
    check_date(i64::from(date.0) - i64::from(days)).map(Date).ok_or_else(date_out_of_range)
}

pub(super) fn date_difference(a: Date, b: Date) -> Result<i32> {
    if !is_finite_date(a.0) || !is_finite_date(b.0) {
        return Err(overflow("cannot subtract infinite dates"));
    }
    // Both are inside the range of dates, which spans less than 2^31 days.
    Ok(a.0.wrapping_sub(b.0))
}

/// Midnight of a date.
pub(super) fn date_to_timestamp(date: Date) -> Result<Timestamp> {
    match date.0 {
        i32::MAX => Ok(Timestamp(INFINITY)),
        i32::MIN => Ok(Timestamp(MINUS_INFINITY)),
        days => check_timestamp(i128::from(days) * i128::from(MICROS_PER_DAY))
            .map(Timestamp)
            .ok_or_else(|| overflow("date out of range for timestamp")),
    }
}

/// Midnight of a date in a zone.
pub(super) fn date_to_timestamptz(zone: &TimeZone, date: Date) -> Result<Timestamptz> {
    let local = date_to_timestamp(date)?;
    timestamp_to_timestamptz(zone, local).map_err(|_| overflow("date out of range for timestamp"))
}

pub(super) fn timestamp_to_timestamptz(zone: &TimeZone, t: Timestamp) -> Result<Timestamptz> {
    if !is_finite(t.0) {
        return Ok(Timestamptz(t.0));
    }
    check_timestamp(zone::to_utc(zone, t.0)).map(Timestamptz).ok_or_else(timestamp_out_of_range)
}

pub(super) fn timestamptz_to_timestamp(zone: &TimeZone, t: Timestamptz) -> Result<Timestamp> {
    if !is_finite(t.0) {
        return Ok(Timestamp(t.0));
    }
    check_timestamp(zone::to_local(zone, t.0)).map(Timestamp).ok_or_else(timestamp_out_of_range)
}

pub(super) fn timestamp_to_date(t: Timestamp) -> Date {
    Date(match t.0 {
        INFINITY => i32::MAX,
        MINUS_INFINITY => i32::MIN,
        micros => micros.div_euclid(MICROS_PER_DAY) as i32,
    })
}

/// The time of day; infinity has none.
pub(super) fn timestamp_to_time(t: Timestamp) -> Option<Time> {
    is_finite(t.0).then(|| Time(t.0.rem_euclid(MICROS_PER_DAY)))
}

pub(super) fn interval_to_time(interval: Interval) -> Time {
    Time(interval.micros.rem_euclid(MICROS_PER_DAY))
}

/// Wraps around midnight; months and days do not count.
pub(super) fn time_add(time: Time, interval: Interval) -> Time {
    Time((time.0 + interval.micros % MICROS_PER_DAY).rem_euclid(MICROS_PER_DAY))
}

pub(super) fn time_sub(time: Time, interval: Interval) -> Time {
    Time((time.0 - interval.micros % MICROS_PER_DAY).rem_euclid(MICROS_PER_DAY))
}

pub(super) fn date_and_time(date: Date, time: Time) -> Result<Timestamp> {
    let midnight = date_to_timestamp(date)?;
    if !is_finite(midnight.0) {
        return Ok(midnight);
    }
    check_timestamp(i128::from(midnight.0) + i128::from(time.0)).map(Timestamp).ok_or_else(timestamp_out_of_range)
}

/// The difference in years, months and days as people count them. `a` and `b` are local times.
pub(super) fn age(a: i64, b: i64) -> Result<Interval> {
    if !is_finite(a) || !is_finite(b) {
        return Err(overflow("cannot subtract infinite timestamps"));
    }
    // The month that lends its days is the earlier date's.
    let (late, early) = (Civil::from_timestamp(a.max(b)), Civil::from_timestamp(a.min(b)));
    let mut micros = late.time() - early.time();
    let mut days = late.day - early.day;
    let mut months = (late.year - early.year) * 12 + late.month - early.month;
    if micros < 0 {
        micros += MICROS_PER_DAY;
        days -= 1;
    }
    while days < 0 {
        days += days_in_month(early.year, early.month);
        months -= 1;
    }
    let age = Interval { months, days, micros };
    if a < b { age.checked_neg() } else { Ok(age) }
}
