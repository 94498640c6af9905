//! `date_trunc` and `date_bin`.

use jiff::tz::TimeZone;
use kalamdb_catalog::{Result, SqlError, SqlState};

use super::parts::{not_recognized, not_supported};
use crate::types::Interval;
use crate::types::datetime::zone::{self, Zone};
use crate::types::datetime::{
    Civil, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, Unit, check_timestamp, from_julian,
    is_finite, timestamp_out_of_range, unit, weekday,
};

fn trunc_unit(word: &str, type_name: &str) -> Result<Unit> {
    match unit(&word.to_ascii_lowercase()) {
        None | Some(Unit::Ago | Unit::Ignored) => Err(not_recognized(word, type_name)),
        Some(Unit::Timezone | Unit::TimezoneHour | Unit::TimezoneMinute) => Err(not_supported(word, type_name)),
        Some(unit) => Ok(unit),
    }
}

/// The length of units that are parts of a day.
fn clock_length(unit: Unit) -> Option<i64> {
    Some(match unit {
        Unit::Microsecond => 1,
        Unit::Millisecond => 1000,
        Unit::Second => MICROS_PER_SECOND,
        Unit::Minute => MICROS_PER_MINUTE,
        Unit::Hour => MICROS_PER_HOUR,
        _ => return None,
    })
}

/// Start of the unit that a local time lies in.
fn truncate(unit: Unit, micros: i64) -> Result<i64> {
    if let Some(length) = clock_length(unit) {
        return Ok(micros - micros.rem_euclid(length));
    }
    let mut civil = Civil::from_timestamp(micros);
    civil.set_time(0);
    let year = civil.year;
    match unit {
        Unit::Day => {}
        Unit::Week => {
            let jd = civil.julian();
            (civil.year, civil.month, civil.day) = from_julian(jd - i64::from(weekday(jd - 1)));
        }
        Unit::Month => civil.day = 1,
        Unit::Quarter => (civil.month, civil.day) = ((civil.month - 1) / 3 * 3 + 1, 1),
        _ => {
            (civil.month, civil.day) = (1, 1);
            civil.year = match unit {
                Unit::Millennium if year > 0 => (year + 999) / 1000 * 1000 - 999,
                Unit::Millennium => -((999 - (year - 1)) / 1000) * 1000 + 1,
                Unit::Century if year > 0 => (year + 99) / 100 * 100 - 99,
                Unit::Century => -((99 - (year - 1)) / 100) * 100 + 1,
                Unit::Decade if year > 0 => year / 10 * 10,
                Unit::Decade => -((8 - (year - 1)) / 10) * 10,
                _ => year,
            };
        }
    }
    civil.timestamp().ok_or_else(timestamp_out_of_range)
}

pub(super) fn timestamp(word: &str, micros: i64) -> Result<i64> {
    let unit = trunc_unit(word, "timestamp without time zone")?;
    if is_finite(micros) { truncate(unit, micros) } else { Ok(micros) }
}

/// In the local time of a zone. Below a day the offset stays; from a day on that of the start counts.
pub(super) fn timestamptz(word: &str, micros: i64, zone: &TimeZone) -> Result<i64> {
    in_zone(word, micros, &Zone::Named(zone.clone()))
}

pub(super) fn in_zone(word: &str, micros: i64, zone: &Zone) -> Result<i64> {
    let unit = trunc_unit(word, "timestamp with time zone")?;
    if !is_finite(micros) {
        return Ok(micros);
    }
    let offset = zone.utc_offset(micros);
    let local = check_timestamp(i128::from(micros) + i128::from(offset) * i128::from(MICROS_PER_SECOND))
        .ok_or_else(timestamp_out_of_range)?;
    let start = truncate(unit, local)?;
    let offset = if clock_length(unit).is_some() { offset } else { zone.local_offset(start) };
    check_timestamp(i128::from(start) - i128::from(offset) * i128::from(MICROS_PER_SECOND))
        .ok_or_else(timestamp_out_of_range)
}

/// Zone of the three-argument `date_trunc`.
pub(super) fn zone_argument(name: &str) -> Result<Zone> {
    zone::at_time_zone(name)
}

pub(super) fn interval(word: &str, value: Interval) -> Result<Interval> {
    let unit = trunc_unit(word, "interval")?;
    if let Some(length) = clock_length(unit) {
        return Ok(Interval { micros: value.micros / length * length, ..value });
    }
    let months = match unit {
        Unit::Day => return Ok(Interval { micros: 0, ..value }),
        Unit::Week => {
            return Err(not_supported(word, "interval").detail("Months usually have fractional weeks."));
        }
        Unit::Month => 1,
        Unit::Quarter => 3,
        Unit::Decade => 120,
        Unit::Century => 1200,
        Unit::Millennium => 12_000,
        _ => 12,
    };
    Ok(Interval { months: value.months / months * months, ..Interval::ZERO })
}

/// Start of the stride-wide bin, counted from the origin, that the value lies in.
pub(super) fn bin(stride: Interval, micros: i64, origin: i64) -> Result<i64> {
    let overflow = |message: &str| SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, message);
    if !is_finite(micros) {
        return Ok(micros);
    }
    if !is_finite(origin) {
        return Err(overflow("origin out of range"));
    }
    if stride.months != 0 {
        return Err(SqlError::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            "timestamps cannot be binned into intervals containing months or years",
        ));
    }
    let length = i128::from(stride.days) * i128::from(MICROS_PER_DAY) + i128::from(stride.micros);
    if i64::try_from(length).is_err() {
        return Err(overflow("interval out of range"));
    }
    if length <= 0 {
        return Err(overflow("stride must be greater than zero"));
    }
    let distance = i128::from(micros) - i128::from(origin);
    check_timestamp(i128::from(micros) - distance.rem_euclid(length)).ok_or_else(timestamp_out_of_range)
}
