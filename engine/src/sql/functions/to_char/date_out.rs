//! `to_char` of timestamps and intervals.

use kalamdb_catalog::{Result, SqlError, SqlState};

use super::template::{Case, Field, Key, MONTHS, Node, ROMAN_MONTHS, ordinal};
use crate::sql::functions::datetime::{century, day_of_year, iso_week, iso_week_start};
use crate::types::Interval;
use crate::types::datetime::{
    Civil, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, WEEKDAYS, weekday, zone::OffsetInfo,
};

/// What is formatted, with the time unlimited for intervals.
pub(super) struct Moment<'a> {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    day_of_year: i64,
    /// None for intervals.
    civil: Option<Civil>,
    zone: Option<&'a OffsetInfo>,
}

impl<'a> Moment<'a> {
    pub(super) fn of_timestamp(civil: Civil, zone: Option<&'a OffsetInfo>) -> Moment<'a> {
        Moment {
            year: civil.year.into(),
            month: civil.month.into(),
            day: civil.day.into(),
            hour: civil.hour.into(),
            minute: civil.minute.into(),
            second: civil.second.into(),
            micros: civil.micros.into(),
            day_of_year: day_of_year(&civil).into(),
            civil: Some(civil),
            zone,
        }
    }

    pub(super) fn of_interval(interval: Interval) -> Moment<'a> {
        Moment {
            year: (interval.months / 12).into(),
            month: (interval.months % 12).into(),
            day: interval.days.into(),
            hour: interval.micros / MICROS_PER_HOUR,
            minute: interval.micros / MICROS_PER_MINUTE % 60,
            second: interval.micros / MICROS_PER_SECOND % 60,
            micros: interval.micros % MICROS_PER_SECOND,
            day_of_year: i64::from(interval.months) * 30 + i64::from(interval.days),
            civil: None,
            zone: None,
        }
    }

    fn civil(&self) -> Result<&Civil> {
        self.civil.as_ref().ok_or_else(|| {
            SqlError::new(SqlState::INVALID_DATETIME_FORMAT, "invalid format specification for an interval value")
                .hint("Intervals are not tied to specific calendar dates.")
        })
    }

    /// The year without sign, as BC has its own pattern.
    fn shown_year(&self, year: i64) -> i64 {
        if self.civil.is_none() || year > 0 { year } else { 1 - year }
    }

    fn iso_year(&self) -> Result<i64> {
        let civil = self.civil()?;
        Ok(iso_week(civil.year, civil.month, civil.day).0.into())
    }
}

/// A number padded with zeros; a minus does not count.
fn padded(value: i64, width: usize, field: &Field) -> String {
    let width = if field.fill { 0 } else { width + usize::from(value < 0) };
    format!("{value:0width$}")
}

fn name(text: &str, width: usize, field: &Field) -> String {
    let text = field.case.apply(text);
    let width = if field.fill || field.translate { 0 } else { width };
    format!("{text:<width$}")
}

/// Formats by the nodes of a template.
pub(super) fn format(nodes: &[Node], moment: &Moment<'_>) -> Result<String> {
    let mut out = String::new();
    for node in nodes {
        match node {
            Node::Separator(c) | Node::Text(c) => out.push(*c),
            Node::Field(field) => {
                let text = format_field(field, moment)?;
                out.push_str(&text);
                if let (Some(case), true) = (field.ordinal, takes_ordinal(field.key)) {
                    out.push_str(&ordinal(&text, case));
                }
            }
        }
    }
    Ok(out)
}

fn takes_ordinal(key: Key) -> bool {
    !matches!(
        key,
        Key::Era(_)
            | Key::Meridiem(_)
            | Key::Day
            | Key::Dy
            | Key::Month
            | Key::Mon
            | Key::RM
            | Key::TZ
            | Key::TZH
            | Key::TZM
            | Key::OF
            | Key::FX
    )
}

fn format_field(field: &Field, m: &Moment<'_>) -> Result<String> {
    Ok(match field.key {
        Key::Meridiem(_) | Key::HH12 | Key::HH24 | Key::MI | Key::SS | Key::FF(_) | Key::MS | Key::US | Key::SSSS => {
            clock_field(field, m)
        }
        Key::TZ | Key::TZH | Key::TZM | Key::OF => {
            m.civil()?;
            zone_field(field, m.zone)
        }
        Key::CC
        | Key::YCommaYYY
        | Key::YYYY
        | Key::IYYY
        | Key::YYY
        | Key::IYY
        | Key::YY
        | Key::IY
        | Key::Y
        | Key::I => year_field(field, m)?,
        Key::Era(dotted) => {
            let era = match (m.civil()?.year <= 0, dotted) {
                (true, true) => "B.C.",
                (true, false) => "BC",
                (false, true) => "A.D.",
                (false, false) => "AD",
            };
            field.case.apply(era)
        }
        Key::Month => name(MONTHS[(m.civil()?.month - 1) as usize], 9, field),
        Key::Mon => name(&MONTHS[(m.civil()?.month - 1) as usize][..3], 0, field),
        Key::MM => padded(m.month, 2, field),
        Key::Day => name(WEEKDAYS[weekday(m.civil()?.julian()) as usize], 9, field),
        Key::Dy => name(&WEEKDAYS[weekday(m.civil()?.julian()) as usize][..3], 0, field),
        Key::DDD => padded(m.day_of_year, 3, field),
        Key::IDDD => {
            let civil = m.civil()?;
            let first = iso_week_start(iso_week(civil.year, civil.month, civil.day).0, 1);
            padded(civil.julian() - first + 1, 3, field)
        }
        Key::DD => {
            let width = if field.fill { 0 } else { 2 };
            format!("{:0width$}", m.day)
        }
        Key::D => (weekday(m.civil()?.julian()) + 1).to_string(),
        Key::ID => match weekday(m.civil()?.julian()) {
            0 => "7".to_owned(),
            day => day.to_string(),
        },
        Key::WW => padded((m.day_of_year - 1) / 7 + 1, 2, field),
        Key::IW => {
            let civil = m.civil()?;
            padded(iso_week(civil.year, civil.month, civil.day).1.into(), 2, field)
        }
        Key::W => ((m.day - 1) / 7 + 1).to_string(),
        Key::Q if m.month == 0 => String::new(),
        Key::Q => ((m.month - 1) / 3 + 1).to_string(),
        Key::RM => roman_month(field, m),
        Key::J => match &m.civil {
            Some(civil) => civil.julian().to_string(),
            None => interval_julian(m).to_string(),
        },
        Key::FX => String::new(),
    })
}

/// The Julian day of an interval's fields taken as a date, as PostgreSQL prints it.
fn interval_julian(m: &Moment<'_>) -> i64 {
    let (y, month) = if m.month > 2 { (m.year + 4800, m.month + 1) } else { (m.year + 4799, m.month + 13) };
    let century = y / 100;
    y * 365 - 32_167 + y / 4 - century + century / 4 + 7834 * month / 256 + m.day
}

fn clock_field(field: &Field, m: &Moment<'_>) -> String {
    match field.key {
        Key::Meridiem(dotted) => {
            let text = match (m.hour % 24 >= 12, dotted) {
                (true, true) => "P.M.",
                (true, false) => "PM",
                (false, true) => "A.M.",
                (false, false) => "AM",
            };
            field.case.apply(text)
        }
        Key::HH12 => {
            let hour = if m.hour % 12 == 0 { 12 } else { m.hour % 12 };
            let width = if field.fill { 0 } else { 2 + usize::from(m.hour < 0) };
            format!("{hour:0width$}")
        }
        Key::HH24 => padded(m.hour, 2, field),
        Key::MI => padded(m.minute, 2, field),
        Key::SS => padded(m.second, 2, field),
        Key::FF(digits) => {
            let value = m.micros / 10i64.pow(6 - u32::from(digits));
            format!("{value:0width$}", width = usize::from(digits))
        }
        Key::MS => format!("{:03}", m.micros / 1000),
        Key::US => format!("{:06}", m.micros),
        _ => (m.hour * 3600 + m.minute * 60 + m.second).to_string(),
    }
}

fn zone_field(field: &Field, zone: Option<&OffsetInfo>) -> String {
    let offset = zone.map_or(0, |z| z.offset);
    let sign = if offset < 0 { '-' } else { '+' };
    let (hours, minutes) = (offset.abs() / 3600, offset.abs() % 3600 / 60);
    match field.key {
        Key::TZ => zone.map_or(String::new(), |z| match field.case {
            Case::Lower => z.abbreviation.to_ascii_lowercase(),
            _ => z.abbreviation.clone(),
        }),
        Key::TZH => format!("{sign}{hours:02}"),
        Key::TZM => format!("{minutes:02}"),
        _ => {
            let hours = if field.fill { hours.to_string() } else { format!("{hours:02}") };
            if minutes == 0 { format!("{sign}{hours}") } else { format!("{sign}{hours}:{minutes:02}") }
        }
    }
}

fn year_field(field: &Field, m: &Moment<'_>) -> Result<String> {
    let year = m.shown_year(m.year);
    Ok(match field.key {
        Key::CC => {
            let century = match m.civil {
                Some(civil) => i64::from(century(civil.year)),
                None => m.year / 100,
            };
            padded(century, 2, field)
        }
        Key::YCommaYYY => format!("{},{:03}", year / 1000, year % 1000),
        Key::YYYY => padded(year, 4, field),
        Key::YYY => padded(year % 1000, 3, field),
        Key::YY => padded(year % 100, 2, field),
        Key::Y => (year % 10).to_string(),
        Key::IYYY => padded(m.shown_year(m.iso_year()?), 4, field),
        Key::IYY => padded(m.shown_year(m.iso_year()?) % 1000, 3, field),
        Key::IY => padded(m.shown_year(m.iso_year()?) % 100, 2, field),
        _ => (m.shown_year(m.iso_year()?) % 10).to_string(),
    })
}

/// Months in Roman numerals; in an interval a negative one counts back from December.
fn roman_month(field: &Field, m: &Moment<'_>) -> String {
    if m.month == 0 && m.year == 0 {
        return String::new();
    }
    let index = match m.month {
        0 if m.year >= 0 => 11,
        0 => 0,
        month if month < 0 => 12 + month,
        month => month - 1,
    };
    name(ROMAN_MONTHS[index as usize], 4, field)
}
