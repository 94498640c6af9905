//! `to_date` and `to_timestamp`: reads the fields a template names, then makes one moment of them.

use jiff::tz::TimeZone;
use kalamdb_catalog::{Result, SqlError, SqlState};

use super::template::{Field, Key, MONTHS, Node, ROMAN_MONTHS};
use crate::sql::functions::datetime::iso_week_start;
use crate::types::datetime::{
    Civil, MICROS_PER_SECOND, WEEKDAYS, check_timestamp, date_from_civil, days_in_month, from_julian, julian, zone,
};

/// The calendar the template's fields belong to; they must not mix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Calendar {
    Gregorian,
    IsoWeek,
}

/// Fields as read; 0 is "not given", as a second value may only repeat the first.
#[derive(Default)]
struct Fields {
    calendar: Option<Calendar>,
    hour: i32,
    twelve_hours: bool,
    pm: i32,
    minute: i32,
    second: i32,
    second_of_day: i32,
    millis: i32,
    micros: i32,
    /// 1 is Sunday.
    weekday: i32,
    day: i32,
    day_of_year: i32,
    month: i32,
    year: i32,
    /// Digits of the year's pattern.
    year_width: usize,
    bc: i32,
    week: i32,
    week_of_month: i32,
    century: i32,
    julian: i32,
    zone_sign: i32,
    zone_hour: i32,
    zone_minute: i32,
}

fn invalid(message: String) -> SqlError {
    SqlError::new(SqlState::INVALID_DATETIME_FORMAT, message)
}

fn field_overflow(text: &str) -> SqlError {
    SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("date/time field value out of range: \"{text}\""))
}

fn is_space(c: u8) -> bool {
    matches!(c, b' ' | b'\t'..=b'\r')
}

struct Reader<'a> {
    rest: &'a str,
    /// Template characters must match one to one (FX).
    exact: bool,
    /// Blanks skipped beyond what the template has.
    extra: i32,
    /// The character before `rest`.
    before: Option<char>,
    fields: Fields,
}

impl<'a> Reader<'a> {
    fn advance(&mut self, bytes: usize) {
        let (taken, rest) = self.rest.split_at(bytes);
        self.before = taken.chars().next_back().or(self.before);
        self.rest = rest;
    }

    fn step(&mut self) {
        let len = self.rest.chars().next().map_or(0, char::len_utf8);
        self.advance(len);
    }

    fn skip_spaces(&mut self) -> i32 {
        let count = self.rest.bytes().take_while(|c| is_space(*c)).count();
        self.advance(count);
        count as i32
    }

    fn separator(&mut self) {
        if self.exact {
            return self.step();
        }
        self.extra -= 1;
        let c = self.rest.bytes().next().unwrap_or(b'0');
        if is_space(c) || (c.is_ascii_punctuation()) {
            self.step();
            self.extra += 1;
        }
    }

    fn text(&mut self) {
        if !self.exact && self.extra > 0 {
            self.extra -= 1;
        } else {
            self.step();
        }
    }

    /// An integer of `width` digits, or of any length where the template shows its end. Returns value and length.
    fn int(&mut self, field: &Field, width: usize, open_ended: bool) -> Result<(i32, usize)> {
        self.skip_spaces();
        let window: String = self.rest.chars().take(width).collect();
        let sign = usize::from(self.rest.starts_with(['+', '-']));
        let digits = self.rest[sign..].bytes().take_while(u8::is_ascii_digit).count();
        let mut len = if digits == 0 { 0 } else { sign + digits };
        const HINT: &str = "If your source string is not fixed-width, try using the \"FM\" modifier.";
        let name = field.shown_name();
        if !field.fill && !open_ended {
            let available = window.chars().count();
            if available < width {
                return Err(invalid(format!("source string too short for \"{name}\" formatting field"))
                    .detail(format!("Field requires {width} characters, but only {available} remain."))
                    .hint(HINT));
            }
            len = len.min(width);
            if len > 0 && len < width {
                return Err(invalid(format!("invalid value \"{window}\" for \"{name}\""))
                    .detail(format!("Field requires {width} characters, but only {len} could be parsed."))
                    .hint(HINT));
            }
        }
        if len == 0 {
            return Err(
                invalid(format!("invalid value \"{window}\" for \"{name}\"")).detail("Value must be an integer.")
            );
        }
        let value = self.rest[..len].parse::<i32>().map_err(|_| {
            SqlError::new(
                SqlState::DATETIME_FIELD_OVERFLOW,
                format!("value for \"{name}\" in source string is out of range"),
            )
            .detail("Value must be in the range -2147483648 to 2147483647.")
        })?;
        self.advance(len);
        Ok((value, len))
    }

    /// The index of the name that the rest starts with, in any case.
    fn name(&mut self, field: &Field, names: &[&str]) -> Result<i32> {
        let found = names
            .iter()
            .position(|name| self.rest.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name)));
        let Some(index) = found else {
            let word = self.rest.split(|c: char| c.is_ascii_whitespace()).next().unwrap_or("");
            return Err(invalid(format!("invalid value \"{word}\" for \"{}\"", field.shown_name()))
                .detail("The given value did not match any of the allowed values for this field."));
        };
        self.advance(names[index].len());
        Ok(index as i32)
    }

    fn calendar(&mut self, key: Key) -> Result<()> {
        let calendar = match key {
            Key::IW | Key::IYYY | Key::IYY | Key::IY | Key::I | Key::ID | Key::IDDD => Calendar::IsoWeek,
            Key::CC
            | Key::DDD
            | Key::DD
            | Key::Day
            | Key::Dy
            | Key::D
            | Key::MM
            | Key::Month
            | Key::Mon
            | Key::RM
            | Key::WW
            | Key::W
            | Key::YCommaYYY
            | Key::YYYY
            | Key::YYY
            | Key::YY
            | Key::Y => Calendar::Gregorian,
            _ => return Ok(()),
        };
        // Names of days belong to both calendars.
        if matches!(key, Key::Day | Key::Dy) {
            return Ok(());
        }
        match self.fields.calendar {
            None => self.fields.calendar = Some(calendar),
            Some(known) if known != calendar => {
                return Err(invalid("invalid combination of date conventions".into())
                    .hint("Do not mix Gregorian and ISO week date conventions in a formatting template."));
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn field(&mut self, field: &Field, open: bool) -> Result<()> {
        self.calendar(field.key)?;
        let width = field.name.len();
        match field.key {
            Key::FX => self.exact = true,
            Key::Meridiem(dotted) => {
                let names = if dotted { ["a.m.", "p.m."] } else { ["am", "pm"] };
                let value = self.name(field, &names)?;
                set(&mut self.fields.pm, value, field)?;
                self.fields.twelve_hours = true;
            }
            Key::Era(dotted) => {
                let names = if dotted { ["a.d.", "b.c."] } else { ["ad", "bc"] };
                let value = self.name(field, &names)?;
                set(&mut self.fields.bc, value, field)?;
            }
            Key::HH12 => {
                let value = self.int(field, 2, open)?.0;
                set(&mut self.fields.hour, value, field)?;
                self.fields.twelve_hours = true;
            }
            Key::MS => {
                let (value, len) = self.int(field, 3, open)?;
                let scaled = value.saturating_mul(10i32.pow(3u32.saturating_sub(len as u32)));
                set(&mut self.fields.millis, scaled, field)?;
            }
            Key::US | Key::FF(_) => {
                let digits = if let Key::FF(digits) = field.key { digits.into() } else { 6 };
                let (value, len) = self.int(field, digits, open)?;
                let scaled = value.saturating_mul(10i32.pow(6u32.saturating_sub(len as u32)));
                set(&mut self.fields.micros, scaled, field)?;
            }
            Key::TZ | Key::OF => {
                return Err(SqlError::new(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    format!("formatting field \"{}\" is only supported in to_char", field.shown_name()),
                ));
            }
            Key::TZH => {
                let c = self.rest.bytes().next().unwrap_or(b'0');
                let negative = if matches!(c, b'+' | b'-' | b' ') {
                    self.step();
                    c == b'-'
                } else {
                    // The minus may have been taken for a separator.
                    self.extra > 0 && self.before == Some('-')
                };
                self.fields.zone_sign = if negative { -1 } else { 1 };
                let value = self.int(field, 2, open)?.0;
                set(&mut self.fields.zone_hour, value, field)?;
            }
            Key::TZM => {
                if self.fields.zone_sign == 0 {
                    self.fields.zone_sign = 1;
                }
                let value = self.int(field, 2, open)?.0;
                set(&mut self.fields.zone_minute, value, field)?;
            }
            Key::Month => {
                let value = self.name(field, &MONTHS)? + 1;
                set(&mut self.fields.month, value, field)?;
            }
            Key::Mon => {
                let value = self.name(field, &MONTHS.map(|m| &m[..3]))? + 1;
                set(&mut self.fields.month, value, field)?;
            }
            Key::RM => {
                // From the longest, as "V" starts "VIII".
                let mut names = ROMAN_MONTHS;
                names.reverse();
                let value = 12 - self.name(field, &names)?;
                set(&mut self.fields.month, value, field)?;
            }
            Key::Day => {
                let value = self.name(field, &WEEKDAYS)? + 1;
                set(&mut self.fields.weekday, value, field)?;
            }
            Key::Dy => {
                let value = self.name(field, &WEEKDAYS.map(|d| &d[..3]))? + 1;
                set(&mut self.fields.weekday, value, field)?;
            }
            Key::ID => {
                // Monday is 1 here, 2 in the common numbering.
                let value = self.int(field, 1, open)?.0;
                set(&mut self.fields.weekday, if value + 1 > 7 { 1 } else { value + 1 }, field)?;
            }
            Key::Q => {
                self.int(field, 1, open)?;
            }
            Key::YCommaYYY => self.year_with_comma(field)?,
            Key::YYYY | Key::IYYY | Key::YYY | Key::IYY | Key::YY | Key::IY | Key::Y | Key::I => {
                let (value, len) = self.int(field, width, open)?;
                let value = if width < 4 && len < 4 { near_2020(value) } else { value };
                set(&mut self.fields.year, value, field)?;
                self.fields.year_width = width;
            }
            _ => {
                let width = match field.key {
                    Key::IDDD => 3,
                    Key::HH24 => 2,
                    _ => width,
                };
                let value = self.int(field, width, open)?.0;
                if let Some(target) = self.fields.simple(field.key) {
                    set(target, value, field)?;
                }
            }
        }
        Ok(())
    }

    fn year_with_comma(&mut self, field: &Field) -> Result<()> {
        let error = || invalid("invalid input string for \"Y,YYY\"".into());
        let (thousands, rest) = self.rest.split_once(',').ok_or_else(error)?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count().min(3);
        let thousands_value: i32 = thousands.trim().parse().map_err(|_| error())?;
        let years: i32 = rest[..digits].parse().map_err(|_| error())?;
        let len = thousands.len() + 1 + digits;
        let value = thousands_value.checked_mul(1000).and_then(|v| v.checked_add(years)).ok_or_else(error)?;
        set(&mut self.fields.year, value, field)?;
        self.fields.year_width = 4;
        self.advance(len);
        Ok(())
    }
}

impl Fields {
    /// Where a field goes that is just a number.
    fn simple(&mut self, key: Key) -> Option<&mut i32> {
        Some(match key {
            Key::HH24 => &mut self.hour,
            Key::MI => &mut self.minute,
            Key::SS => &mut self.second,
            Key::SSSS => &mut self.second_of_day,
            Key::MM => &mut self.month,
            Key::DDD | Key::IDDD => &mut self.day_of_year,
            Key::DD => &mut self.day,
            Key::D => &mut self.weekday,
            Key::WW | Key::IW => &mut self.week,
            Key::W => &mut self.week_of_month,
            Key::CC => &mut self.century,
            Key::J => &mut self.julian,
            _ => return None,
        })
    }
}

impl Field {
    /// The pattern as the template spells it, for messages.
    fn shown_name(&self) -> String {
        match self.case {
            super::template::Case::Lower => self.name.to_ascii_lowercase(),
            _ => self.name.to_owned(),
        }
    }
}

fn set(target: &mut i32, value: i32, field: &Field) -> Result<()> {
    if *target != 0 && *target != value {
        return Err(invalid(format!("conflicting values for \"{}\" field in formatting string", field.shown_name()))
            .detail("This value contradicts a previous setting for the same field type."));
    }
    *target = value;
    Ok(())
}

/// A year of less than four digits, closest to 2020.
fn near_2020(year: i32) -> i32 {
    year + match year {
        ..70 => 2000,
        70..100 => 1900,
        100..520 => 2000,
        520..1000 => 1000,
        _ => 0,
    }
}

fn is_digits(key: Key) -> bool {
    !matches!(
        key,
        Key::Era(_)
            | Key::Meridiem(_)
            | Key::Day
            | Key::Dy
            | Key::FX
            | Key::Month
            | Key::Mon
            | Key::OF
            | Key::RM
            | Key::TZ
            | Key::TZH
    )
}

/// Whether a number in this place may have any length, because what follows is no digit.
fn open_ended(field: &Field, next: Option<&Node>) -> bool {
    field.ordinal.is_some()
        || match next {
            None => true,
            Some(Node::Field(next)) => !is_digits(next.key),
            Some(Node::Separator(c) | Node::Text(c)) => !c.is_ascii_digit(),
        }
}

/// What the text says by the template.
pub(super) struct Moment {
    civil: Civil,
    offset: Option<i32>,
}

impl Moment {
    pub(super) fn date(&self, text: &str) -> Result<i32> {
        date_from_civil(self.civil.year, self.civil.month, self.civil.day)
            .ok_or_else(|| SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("date out of range: \"{text}\"")))
    }

    pub(super) fn timestamptz(&self, text: &str, zone: &TimeZone) -> Result<i64> {
        let error = || SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("timestamp out of range: \"{text}\""));
        let local = self.civil.timestamp().ok_or_else(error)?;
        let offset = self.offset.unwrap_or_else(|| zone::local_offset(zone, local));
        check_timestamp(i128::from(local) - i128::from(offset) * i128::from(MICROS_PER_SECOND)).ok_or_else(error)
    }
}

/// Reads the text by the template.
pub(super) fn parse(nodes: &[Node], text: &str) -> Result<Moment> {
    let mut reader = Reader { rest: text, exact: false, extra: 0, before: None, fields: Fields::default() };
    for (i, node) in nodes.iter().enumerate() {
        if reader.rest.is_empty() {
            break;
        }
        if !reader.exact && (i == 0 || !matches!(node, Node::Text(_))) {
            reader.extra += reader.skip_spaces();
        }
        match node {
            Node::Separator(_) => reader.separator(),
            Node::Text(_) => reader.text(),
            Node::Field(field) => {
                reader.field(field, open_ended(field, nodes.get(i + 1)))?;
                if !reader.exact {
                    if field.ordinal.is_some() && reader.rest.len() >= 2 && reader.rest.is_char_boundary(2) {
                        reader.advance(2);
                    }
                    reader.extra = reader.skip_spaces();
                }
            }
        }
    }
    combine(reader.fields, text)
}

fn combine(mut f: Fields, text: &str) -> Result<Moment> {
    // Nothing beyond these limits is a date; within them the arithmetic below cannot overflow.
    const LIMIT: i32 = 99_999_999;
    for field in [&mut f.year, &mut f.week, &mut f.week_of_month, &mut f.day_of_year] {
        *field = (*field).clamp(-LIMIT, LIMIT);
    }
    f.century = f.century.clamp(-LIMIT / 100, LIMIT / 100);
    let mut civil = Civil { month: 1, day: 1, ..Civil::default() };
    if f.second_of_day != 0 {
        civil.hour = f.second_of_day / 3600;
        civil.minute = f.second_of_day / 60 % 60;
        civil.second = f.second_of_day % 60;
    }
    for (target, value) in [(&mut civil.hour, f.hour), (&mut civil.minute, f.minute), (&mut civil.second, f.second)] {
        if value != 0 {
            *target = value;
        }
    }
    if f.twelve_hours {
        if !(1..=12).contains(&civil.hour) {
            return Err(invalid(format!("hour \"{}\" is invalid for the 12-hour clock", civil.hour))
                .hint("Use the 24-hour clock, or give an hour between 1 and 12."));
        }
        civil.hour = civil.hour % 12 + if f.pm == 1 { 12 } else { 0 };
    }
    let year_given = year(&mut f, &mut civil);
    let mut date_given = f.julian != 0;
    if date_given {
        (civil.year, civil.month, civil.day) = from_julian(f.julian.into());
    }
    let iso = f.calendar == Some(Calendar::IsoWeek);
    if f.week != 0 {
        if iso {
            let monday = iso_week_start(civil.year, f.week);
            let days = match f.weekday {
                0 => 0,
                1 => 6,
                day => i64::from(day) - 2,
            };
            (civil.year, civil.month, civil.day) = from_julian(monday + days);
            date_given = true;
        } else {
            f.day_of_year = (f.week - 1) * 7 + 1;
        }
    }
    if f.week_of_month != 0 {
        f.day = (f.week_of_month - 1) * 7 + 1;
    }
    let month_given = f.month != 0;
    let day_given = f.day != 0;
    if day_given {
        civil.day = f.day;
    }
    if month_given {
        civil.month = f.month;
    }
    let mut all_given = date_given || (year_given && month_given && day_given);
    if f.day_of_year != 0 && (civil.month <= 1 || civil.day <= 1) {
        if civil.year == 0 && f.bc == 0 {
            return Err(invalid("cannot calculate day of year without year information".into()));
        }
        let first = if iso { iso_week_start(civil.year, 1) } else { julian(civil.year, 1, 1) };
        let last = if iso { i64::MAX } else { julian(civil.year + 1, 1, 1) };
        let day = first + i64::from(f.day_of_year) - 1;
        if day >= last || f.day_of_year < 1 {
            return Err(field_overflow(text));
        }
        (civil.year, civil.month, civil.day) = from_julian(day);
        all_given = true;
    }
    validate(&mut civil, &f, (month_given || all_given, day_given || all_given, all_given), text)
}

/// Sets the year from year, century and era; whether any was given.
fn year(f: &mut Fields, civil: &mut Civil) -> bool {
    if f.year != 0 {
        if f.century != 0 && f.year_width <= 2 {
            if f.bc == 1 {
                f.century = -f.century;
            }
            let low = f.year % 100;
            civil.year = match (low, f.century >= 0) {
                (0, true) => f.century * 100,
                (0, false) => f.century * 100 + 1,
                (low, true) => (f.century - 1) * 100 + low,
                (low, false) => (f.century + 1) * 100 - low + 1,
            };
        } else {
            civil.year = if f.bc == 1 { -f.year } else { f.year };
            if civil.year < 0 {
                civil.year += 1;
            }
        }
        true
    } else if f.century != 0 {
        let century = if f.bc == 1 { -f.century } else { f.century };
        civil.year = if century >= 0 { (century - 1) * 100 + 1 } else { century * 100 + 1 };
        true
    } else {
        false
    }
}

fn validate(civil: &mut Civil, f: &Fields, given: (bool, bool, bool), text: &str) -> Result<Moment> {
    let (month, day, all) = given;
    let valid = (!month || (1..=12).contains(&civil.month))
        && (!day || (1..=31).contains(&civil.day))
        && (!all || civil.day <= days_in_month(civil.year, civil.month));
    civil.micros = f.millis.saturating_mul(1000).saturating_add(f.micros);
    let clock = (0..24).contains(&civil.hour)
        && (0..60).contains(&civil.minute)
        && (0..60).contains(&civil.second)
        && (0..1_000_000).contains(&civil.micros);
    let zone = (0..=15).contains(&f.zone_hour) && (0..60).contains(&f.zone_minute);
    if !valid || !clock || !zone {
        return Err(field_overflow(text));
    }
    let offset = (f.zone_sign != 0).then(|| f.zone_sign * (f.zone_hour * 60 + f.zone_minute) * 60);
    Ok(Moment { civil: *civil, offset })
}
