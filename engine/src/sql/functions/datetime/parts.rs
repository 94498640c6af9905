//! `extract` (numeric) and `date_part` (float8).

use kalamdb_catalog::{Result, SqlError, SqlState};

use crate::types::datetime::{
    Civil, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, Unit, is_finite,
    julian, unit, weekday,
};
use crate::types::{Interval, Numeric};

/// What can be extracted: a unit, or one of the numbers of the calendar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Unit(Unit),
    DayOfWeek,
    IsoDayOfWeek,
    DayOfYear,
    IsoYear,
    Julian,
    Epoch,
}

/// A part's value, before it becomes numeric or float8.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum PartValue {
    Int(i64),
    /// Seconds and microseconds, shown as seconds.
    Seconds(i64, i64),
    /// Seconds and microseconds, shown as milliseconds.
    Millis(i64, i64),
    /// Microseconds, shown as seconds.
    Epoch(i128),
    /// A Julian day and the microseconds of the day.
    Julian(i64, i64),
    Infinite(bool),
    Null,
}

/// The part a word names, in any case.
pub(super) fn part(word: &str) -> Option<Part> {
    let word = word.to_ascii_lowercase();
    match unit(&word) {
        Some(Unit::Ago | Unit::Ignored) => None,
        Some(unit) => Some(Part::Unit(unit)),
        None => Some(match word.as_str() {
            "dow" => Part::DayOfWeek,
            "isodow" => Part::IsoDayOfWeek,
            "doy" => Part::DayOfYear,
            "isoyear" => Part::IsoYear,
            "j" | "jd" | "julian" => Part::Julian,
            "epoch" => Part::Epoch,
            "mm" => Part::Unit(Unit::Minute),
            _ => return None,
        }),
    }
}

pub(super) fn not_recognized(word: &str, type_name: &str) -> SqlError {
    let word = word.to_ascii_lowercase();
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("unit \"{word}\" not recognized for type {type_name}"))
}

pub(super) fn not_supported(word: &str, type_name: &str) -> SqlError {
    let word = word.to_ascii_lowercase();
    SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("unit \"{word}\" not supported for type {type_name}"))
}

impl PartValue {
    pub(super) fn numeric(self) -> Result<Option<Numeric>> {
        Ok(Some(match self {
            PartValue::Int(n) => Numeric::from_i64(n),
            PartValue::Seconds(s, us) => Numeric::new(i128::from(s) * 1_000_000 + i128::from(us), 6),
            PartValue::Millis(s, us) => Numeric::new(i128::from(s) * 1_000_000 + i128::from(us), 3),
            PartValue::Epoch(us) => Numeric::new(us, 6),
            PartValue::Julian(day, us) => {
                let fraction = Numeric::from_i64(us).div(&Numeric::from_i64(MICROS_PER_DAY))?;
                Numeric::from_i64(day).add(&fraction)?
            }
            PartValue::Infinite(negative) => Numeric::from_f64(if negative { f64::NEG_INFINITY } else { f64::INFINITY }),
            PartValue::Null => return Ok(None),
        }))
    }

    pub(super) fn float8(self) -> Option<f64> {
        Some(match self {
            PartValue::Int(n) => n as f64,
            PartValue::Seconds(s, us) => s as f64 + us as f64 / 1e6,
            PartValue::Millis(s, us) => s as f64 * 1000.0 + us as f64 / 1000.0,
            PartValue::Epoch(us) => us as f64 / 1e6,
            PartValue::Julian(day, us) => {
                let seconds = (us / MICROS_PER_SECOND) as f64 + (us % MICROS_PER_SECOND) as f64 / 1e6;
                day as f64 + seconds / 86_400.0
            }
            PartValue::Infinite(negative) => {
                if negative {
                    f64::NEG_INFINITY
                } else {
                    f64::INFINITY
                }
            }
            PartValue::Null => return None,
        })
    }
}

/// A year as extract shows it: there is no year 0.
fn without_zero(year: i64) -> i64 {
    if year > 0 { year } else { year - 1 }
}

/// Julian day of the Monday of a year's first ISO week.
fn first_week(year: i32) -> i64 {
    let fourth = julian(year, 1, 4);
    fourth - i64::from(weekday(fourth - 1))
}

/// ISO year and week of a date.
pub(crate) fn iso_week(year: i32, month: i32, day: i32) -> (i32, i32) {
    let jd = julian(year, month, day);
    let year = if jd < first_week(year) {
        year - 1
    } else if jd >= first_week(year + 1) {
        year + 1
    } else {
        year
    };
    (year, ((jd - first_week(year)) / 7 + 1) as i32)
}

/// Julian day of the Monday of an ISO week.
pub(crate) fn iso_week_start(year: i32, week: i32) -> i64 {
    first_week(year) + i64::from(week - 1) * 7
}

pub(crate) fn day_of_year(civil: &Civil) -> i32 {
    (civil.julian() - julian(civil.year, 1, 1) + 1) as i32
}

pub(crate) fn century(year: i32) -> i32 {
    if year > 0 { (year + 99) / 100 } else { -((99 - (year - 1)) / 100) }
}

/// The parts that a date has. None: it is a part of the time.
fn of_date(part: Part, civil: &Civil) -> Option<i64> {
    let year = civil.year;
    Some(match part {
        Part::Unit(Unit::Day) => i64::from(civil.day),
        Part::Unit(Unit::Month) => i64::from(civil.month),
        Part::Unit(Unit::Quarter) => i64::from((civil.month - 1) / 3 + 1),
        Part::Unit(Unit::Week) => i64::from(iso_week(year, civil.month, civil.day).1),
        Part::Unit(Unit::Year) => without_zero(i64::from(year)),
        Part::Unit(Unit::Decade) => i64::from(if year >= 0 { year / 10 } else { -((8 - (year - 1)) / 10) }),
        Part::Unit(Unit::Century) => i64::from(century(year)),
        Part::Unit(Unit::Millennium) => {
            i64::from(if year > 0 { (year + 999) / 1000 } else { -((999 - (year - 1)) / 1000) })
        }
        Part::DayOfWeek => i64::from(weekday(civil.julian())),
        Part::IsoDayOfWeek => match weekday(civil.julian()) {
            0 => 7,
            day => i64::from(day),
        },
        Part::DayOfYear => i64::from(day_of_year(civil)),
        Part::IsoYear => without_zero(i64::from(iso_week(year, civil.month, civil.day).0)),
        _ => return None,
    })
}

fn of_time(unit: Unit, micros: i64) -> Option<PartValue> {
    let (second, rest) = (micros / MICROS_PER_SECOND % 60, micros % MICROS_PER_SECOND);
    Some(match unit {
        Unit::Microsecond => PartValue::Int(second * MICROS_PER_SECOND + rest),
        Unit::Millisecond => PartValue::Millis(second, rest),
        Unit::Second => PartValue::Seconds(second, rest),
        Unit::Minute => PartValue::Int(micros / MICROS_PER_MINUTE % 60),
        Unit::Hour => PartValue::Int(micros / MICROS_PER_HOUR),
        _ => return None,
    })
}

/// Parts that grow without end are infinite for infinity, the others unknown.
fn of_infinity(part: Part, negative: bool) -> PartValue {
    match part {
        Part::Unit(Unit::Year | Unit::Decade | Unit::Century | Unit::Millennium)
        | Part::Julian
        | Part::IsoYear
        | Part::Epoch => PartValue::Infinite(negative),
        _ => PartValue::Null,
    }
}

/// A part of a timestamp, or with `offset` of a timestamptz (seconds east of UTC at that instant).
pub(super) fn of_timestamp(word: &str, micros: i64, offset: Option<i32>) -> Result<PartValue> {
    let type_name = if offset.is_some() { "timestamp with time zone" } else { "timestamp without time zone" };
    let part = part(word).ok_or_else(|| not_recognized(word, type_name))?;
    let zone = match (part, offset) {
        (Part::Unit(Unit::Timezone), Some(offset)) => Some(offset),
        (Part::Unit(Unit::TimezoneHour), Some(offset)) => Some(offset / 3600),
        (Part::Unit(Unit::TimezoneMinute), Some(offset)) => Some(offset % 3600 / 60),
        (Part::Unit(Unit::Timezone | Unit::TimezoneHour | Unit::TimezoneMinute), None) => {
            return Err(not_supported(word, type_name));
        }
        _ => None,
    };
    if !is_finite(micros) {
        return Ok(of_infinity(part, micros < 0));
    }
    if let Some(zone) = zone {
        return Ok(PartValue::Int(i64::from(zone)));
    }
    if part == Part::Epoch {
        return Ok(PartValue::Epoch(i128::from(micros)));
    }
    let local = micros.saturating_add(i64::from(offset.unwrap_or(0)) * MICROS_PER_SECOND);
    let civil = Civil::from_timestamp(local);
    if part == Part::Julian {
        return Ok(PartValue::Julian(civil.julian(), civil.time()));
    }
    match part {
        Part::Unit(unit) => of_time(unit, civil.time()),
        _ => None,
    }
    .or_else(|| of_date(part, &civil).map(PartValue::Int))
    .ok_or_else(|| not_supported(word, type_name))
}

/// A part of a date: days since 1970.
pub(super) fn of_date_value(word: &str, days: i32) -> Result<PartValue> {
    let part = part(word).ok_or_else(|| not_recognized(word, "date"))?;
    if days == i32::MAX || days == i32::MIN {
        return match part {
            Part::Unit(
                Unit::Hour
                | Unit::Minute
                | Unit::Second
                | Unit::Millisecond
                | Unit::Microsecond
                | Unit::Timezone
                | Unit::TimezoneHour
                | Unit::TimezoneMinute,
            ) => Err(not_supported(word, "date")),
            _ => Ok(of_infinity(part, days < 0)),
        };
    }
    let civil = Civil::from_date(i64::from(days));
    match part {
        Part::Julian => Ok(PartValue::Int(civil.julian())),
        Part::Epoch => Ok(PartValue::Int(i64::from(days) * 86_400)),
        _ => of_date(part, &civil).map(PartValue::Int).ok_or_else(|| not_supported(word, "date")),
    }
}

/// A part of a time of day.
pub(super) fn of_time_value(word: &str, micros: i64) -> Result<PartValue> {
    const NAME: &str = "time without time zone";
    match part(word).ok_or_else(|| not_recognized(word, NAME))? {
        Part::Epoch => Ok(PartValue::Epoch(i128::from(micros))),
        Part::Unit(unit) => of_time(unit, micros).ok_or_else(|| not_supported(word, NAME)),
        Part::DayOfWeek | Part::IsoDayOfWeek | Part::DayOfYear | Part::IsoYear | Part::Julian => {
            Err(not_supported(word, NAME))
        }
    }
}

/// A part of an interval.
pub(super) fn of_interval(word: &str, interval: Interval) -> Result<PartValue> {
    let (years, months) = (i64::from(interval.months / 12), i64::from(interval.months % 12));
    let part = part(word).ok_or_else(|| not_recognized(word, "interval"))?;
    let unit = match part {
        Part::Epoch => {
            // A year of 365.25 days, a month of 30.
            let seconds = years * 31_557_600 + months * 2_592_000 + i64::from(interval.days) * 86_400;
            return Ok(PartValue::Epoch(i128::from(seconds) * 1_000_000 + i128::from(interval.micros)));
        }
        Part::Unit(unit) => unit,
        Part::DayOfWeek | Part::IsoDayOfWeek | Part::DayOfYear | Part::IsoYear | Part::Julian => {
            return Err(not_supported(word, "interval"));
        }
    };
    Ok(match unit {
        Unit::Day => PartValue::Int(i64::from(interval.days)),
        Unit::Month => PartValue::Int(months),
        Unit::Quarter => PartValue::Int(months / 3 + 1),
        Unit::Year => PartValue::Int(years),
        Unit::Decade => PartValue::Int(years / 10),
        Unit::Century => PartValue::Int(years / 100),
        Unit::Millennium => PartValue::Int(years / 1000),
        unit => of_time(unit, interval.micros).ok_or_else(|| not_supported(word, "interval"))?,
    })
}
