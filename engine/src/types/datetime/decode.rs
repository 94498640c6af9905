//! Gives the fields of a date, time or timestamp their meaning (PostgreSQL manual, appendix B.1, steps 3 to 7).
//!
//! One decoder serves all types; `time_only` is the variant for `time`, where a date is optional and only read where
//! it helps to resolve a zone. `seen` holds what has been found: a part that comes twice is a format error.

use kalamdb_catalog::{SqlError, SqlState};

use super::keywords::{Token, date_token};
use super::lex::{Field, FieldKind, lex};
use super::zone::{self, Zone, numeric_offset};
use super::{Civil, FormatSettings, MICROS_PER_DAY, MICROS_PER_SECOND, days_in_month, from_julian, julian};
use crate::types::DateOrder;

/// Why text is not a date, time or interval.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::types) enum DecodeError {
    BadFormat,
    FieldOverflow,
    /// A month or day out of range: maybe they are in another order.
    MonthDayOverflow,
    IntervalOverflow,
    DisplacementOverflow,
    UnknownZone(String),
}

use DecodeError::{BadFormat, FieldOverflow, MonthDayOverflow};

impl DecodeError {
    /// The error as a client sees it.
    pub(in crate::types) fn report(self, text: &str, type_name: &str) -> SqlError {
        let out_of_range = || {
            SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("date/time field value out of range: \"{text}\""))
        };
        match self {
            BadFormat => SqlError::new(
                SqlState::INVALID_DATETIME_FORMAT,
                format!("invalid input syntax for type {type_name}: \"{text}\""),
            ),
            FieldOverflow => out_of_range(),
            MonthDayOverflow => out_of_range().hint("Perhaps you need a different \"datestyle\" setting."),
            DecodeError::IntervalOverflow => SqlError::new(
                SqlState::INTERVAL_FIELD_OVERFLOW,
                format!("interval field value out of range: \"{text}\""),
            ),
            DecodeError::DisplacementOverflow => SqlError::new(
                SqlState::INVALID_TIME_ZONE_DISPLACEMENT_VALUE,
                format!("time zone displacement out of range: \"{text}\""),
            ),
            DecodeError::UnknownZone(name) => zone::not_recognized(&name),
        }
    }
}

/// Values without fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Special {
    Epoch,
    Infinity,
    MinusInfinity,
}

/// What the text says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Decoded {
    /// Local fields and the seconds east of UTC they are local to.
    At {
        civil: Civil,
        offset: i32,
    },
    Special(Special),
}

/// The parts of a date and time, as a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Parts(u16);

impl Parts {
    const NONE: Parts = Parts(0);
    const YEAR: Parts = Parts(1);
    const MONTH: Parts = Parts(2);
    const DAY: Parts = Parts(4);
    const DATE: Parts = Parts(7);
    const TIME: Parts = Parts(8);
    const ZONE: Parts = Parts(16);
    const DAY_OF_YEAR: Parts = Parts(32);
    const MERIDIEM: Parts = Parts(64);
    const ERA: Parts = Parts(128);
    const WEEKDAY: Parts = Parts(256);
    const DST: Parts = Parts(512);
    const SPECIAL: Parts = Parts(1024);

    fn has(self, other: Parts) -> bool {
        self.0 & other.0 == other.0
    }

    fn any(self, other: Parts) -> bool {
        self.0 & other.0 != 0
    }

    fn with(self, other: Parts) -> Parts {
        Parts(self.0 | other.0)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Julian,
    Time,
}

struct Decoder<'a> {
    fs: &'a FormatSettings,
    time_only: bool,
    civil: Civil,
    day_of_year: i32,
    seen: Parts,
    expect: Option<Expect>,
    text_month: bool,
    two_digit_year: bool,
    julian: bool,
    bc: bool,
    pm: Option<bool>,
    /// Seconds east of UTC, once known without the date.
    offset: i32,
    zone: Option<Zone>,
    special: Option<Special>,
}

type Step = Result<Parts, DecodeError>;

/// Decodes the text of a date or timestamp, or with `time_only` of a time.
pub(super) fn decode(text: &str, fs: &FormatSettings, time_only: bool) -> Result<Decoded, DecodeError> {
    let fields = lex(text)?;
    let mut decoder = Decoder {
        fs,
        time_only,
        civil: Civil::default(),
        day_of_year: 0,
        seen: Parts::NONE,
        expect: None,
        text_month: false,
        two_digit_year: false,
        julian: false,
        bc: false,
        pm: None,
        offset: 0,
        zone: None,
        special: None,
    };
    for i in 0..fields.len() {
        let found = decoder.field(&fields, i)?;
        if decoder.seen.any(found) {
            return Err(BadFormat);
        }
        decoder.seen = decoder.seen.with(found);
    }
    decoder.finish()
}

/// A number of at most nine digits or so; overflow is its own error.
fn int(digits: &str) -> Result<i32, DecodeError> {
    if digits.is_empty() {
        return Ok(0);
    }
    digits.parse().map_err(|_| FieldOverflow)
}

/// Digits at the start, and the rest.
fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// The value of ".ffff"; a lone point is zero.
pub(in crate::types) fn parse_fraction(text: &str) -> Result<f64, DecodeError> {
    let digits = text.strip_prefix('.').ok_or(BadFormat)?;
    if digits.is_empty() {
        return Ok(0.0);
    }
    if !digits.bytes().all(|c| c.is_ascii_digit()) {
        return Err(BadFormat);
    }
    format!("0.{digits}").parse().map_err(|_| BadFormat)
}

fn fraction_micros(text: &str) -> Result<i32, DecodeError> {
    Ok((parse_fraction(text)? * 1e6).round_ties_even() as i32)
}

/// hours, minutes, seconds and microseconds of "H:M[:S[.f]]". With `minutes_first` two parts are minutes and seconds;
/// "M:S.f" always is. Also used for intervals, whose hours have no limit.
pub(in crate::types) fn clock(text: &str, minutes_first: bool) -> Result<(i64, i32, i32, i32), DecodeError> {
    let (first, rest) = split_digits(text);
    let hour: i64 = if first.is_empty() { 0 } else { first.parse().map_err(|_| FieldOverflow)? };
    let (second, rest) = split_digits(rest.strip_prefix(':').ok_or(BadFormat)?);
    let minute = int(second)?;
    let small = |n: i64| i32::try_from(n).map_err(|_| FieldOverflow);
    let parts = if rest.is_empty() {
        if minutes_first { (0, small(hour)?, minute, 0) } else { (hour, minute, 0, 0) }
    } else if rest.starts_with('.') {
        (0, small(hour)?, minute, fraction_micros(rest)?)
    } else {
        let (third, rest) = split_digits(rest.strip_prefix(':').ok_or(BadFormat)?);
        let micros = if rest.is_empty() { 0 } else { fraction_micros(rest)? };
        (hour, minute, int(third)?, micros)
    };
    if !(0..60).contains(&parts.1) || !(0..=60).contains(&parts.2) || !(0..=1_000_000).contains(&parts.3) {
        return Err(FieldOverflow);
    }
    Ok(parts)
}

impl Decoder<'_> {
    fn field(&mut self, fields: &[Field], i: usize) -> Step {
        let field = &fields[i];
        let text = field.text.as_str();
        match field.kind {
            FieldKind::Date => self.date_field(fields, i),
            FieldKind::Time => {
                match self.expect.take() {
                    None | Some(Expect::Time) => {}
                    Some(Expect::Julian) => return Err(BadFormat),
                }
                self.clock_field(text)
            }
            FieldKind::Signed => {
                self.offset = numeric_offset(text)?;
                Ok(Parts::ZONE)
            }
            FieldKind::Number => self.number_field(fields, i),
            FieldKind::Word | FieldKind::SignedWord => self.word_field(fields, i),
        }
    }

    fn clock_field(&mut self, text: &str) -> Step {
        let (hour, minute, second, micros) = clock(text, false)?;
        self.civil.hour = i32::try_from(hour).map_err(|_| FieldOverflow)?;
        (self.civil.minute, self.civil.second, self.civil.micros) = (minute, second, micros);
        if !self.time_only && !self.civil.time_is_valid() {
            return Err(FieldOverflow);
        }
        Ok(Parts::TIME)
    }

    /// A date, the name of a zone, or "hhmmss-zz".
    fn date_field(&mut self, fields: &[Field], i: usize) -> Step {
        let text = fields[i].text.as_str();
        if self.expect == Some(Expect::Julian) {
            // An integral Julian day with a zone behind it.
            self.expect = None;
            let (digits, rest) = split_digits(text);
            self.set_julian(int(digits)?);
            self.offset = numeric_offset(rest)?;
            return Ok(Parts::DATE.with(Parts::TIME).with(Parts::ZONE));
        }
        let is_date = if self.time_only {
            i == 0
                && fields.len() >= 2
                && (fields[fields.len() - 1].kind == FieldKind::Date || fields[1].kind == FieldKind::Time)
        } else {
            self.expect.is_none() && !self.seen.has(Parts::MONTH.with(Parts::DAY))
        };
        if is_date {
            return self.date(text);
        }
        if text.as_bytes()[0].is_ascii_digit() || self.expect.is_some() {
            self.expect = None;
            if self.seen.has(Parts::TIME) {
                return Err(BadFormat);
            }
            let dash = text.find('-').ok_or(BadFormat)?;
            self.offset = numeric_offset(&text[dash..])?;
            let date_done = if self.time_only { Parts::DATE } else { Parts::NONE };
            return Ok(self.run_together(&text[..dash], date_done)?.with(Parts::ZONE));
        }
        self.named_zone(text).ok_or_else(|| DecodeError::UnknownZone(text.to_owned()))
    }

    fn named_zone(&mut self, name: &str) -> Option<Parts> {
        self.zone = Some(Zone::Named(zone::named(name)?));
        Some(Parts::ZONE)
    }

    fn set_julian(&mut self, day: i32) {
        (self.civil.year, self.civil.month, self.civil.day) = from_julian(i64::from(day));
        self.julian = true;
    }

    fn number_field(&mut self, fields: &[Field], i: usize) -> Step {
        let text = fields[i].text.as_str();
        let point = text.find('.');
        let date_done = if self.time_only { Parts::DATE } else { Parts::NONE };
        match self.expect.take() {
            Some(Expect::Julian) => {
                let (digits, fraction) = split_digits(text);
                self.set_julian(int(digits)?);
                if fraction.is_empty() {
                    return Ok(Parts::DATE);
                }
                self.civil.set_time((parse_fraction(fraction)? * MICROS_PER_DAY as f64) as i64);
                return Ok(Parts::DATE.with(Parts::TIME));
            }
            Some(Expect::Time) => {
                int(split_digits(text).0)?;
                let found = self.run_together(text, Parts::DATE)?;
                return if found == Parts::TIME { Ok(found) } else { Err(BadFormat) };
            }
            None => {}
        }
        if self.time_only {
            return match point {
                Some(_) if i == 0 && fields.len() >= 2 && fields[fields.len() - 1].kind == FieldKind::Date => {
                    self.date(text)
                }
                Some(point) if point > 2 => self.run_together(text, date_done),
                Some(_) => Err(BadFormat),
                None if text.len() > 4 => self.run_together(text, date_done),
                None => self.number(text, date_done),
            };
        }
        match point {
            Some(_) if !self.seen.any(Parts::DATE) => self.date(text),
            Some(point) if point > 2 => self.run_together(text, date_done),
            // Six digits or more are a date or a time, as long as one of them is missing.
            _ if text.len() >= 6 && !(self.seen.any(Parts::DATE) && self.seen.any(Parts::TIME)) => {
                self.run_together(text, date_done)
            }
            _ => self.number(text, date_done),
        }
    }

    /// A date of several parts: "1999-01-08", "jan-08-1999", "1999.008".
    fn date(&mut self, text: &str) -> Step {
        let mut parts: Vec<&str> = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            rest = rest.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
            let first = rest.bytes().next().ok_or(BadFormat)?;
            let len =
                rest.bytes().take_while(|c| c.is_ascii_digit() == first.is_ascii_digit() && c.is_ascii_alphanumeric());
            let (part, tail) = rest.split_at(len.count());
            parts.push(part);
            // One separator, if there is one, goes with the part; a letter right behind digits is dropped alike.
            let mut tail = tail.chars();
            tail.next();
            rest = tail.as_str();
        }
        let mut found = Parts::NONE;
        let before = self.seen;
        for word in parts.iter().filter(|p| p.as_bytes()[0].is_ascii_alphabetic()) {
            match date_token(word) {
                Some(Token::Ignored) => continue,
                Some(Token::Month(month)) => {
                    if before.with(found).any(Parts::MONTH) {
                        return Err(BadFormat);
                    }
                    self.civil.month = month;
                    self.text_month = true;
                    found = found.with(Parts::MONTH);
                }
                _ => return Err(BadFormat),
            }
        }
        for digits in parts.iter().filter(|p| p.as_bytes()[0].is_ascii_digit()) {
            let part = self.number(digits, found)?;
            if before.with(found).any(part) {
                return Err(BadFormat);
            }
            found = found.with(part);
        }
        let all = before.with(found);
        if all.0 & !(Parts::DAY_OF_YEAR.0 | Parts::ZONE.0) != Parts::DATE.0 {
            return Err(BadFormat);
        }
        Ok(found)
    }

    /// A single number, by what is known so far (`also`, besides `seen`) and DateStyle's order.
    fn number(&mut self, text: &str, also: Parts) -> Step {
        let (digits, rest) = split_digits(text);
        if digits.is_empty() {
            return Err(BadFormat);
        }
        let value = int(digits)?;
        let known = Parts(self.seen.with(also).0 & Parts::DATE.0);
        if rest.starts_with('.') {
            if digits.len() > 2 {
                return self.run_together(text, Parts::DATE);
            }
            self.civil.micros = fraction_micros(rest)?;
        } else if !rest.is_empty() {
            return Err(BadFormat);
        }
        if text.len() == 3 && known == Parts::YEAR && (1..=366).contains(&value) {
            self.day_of_year = value;
            return Ok(Parts::DAY_OF_YEAR.with(Parts::MONTH).with(Parts::DAY));
        }
        let long = text.len() >= 3;
        let ymd = self.fs.date_order == DateOrder::Ymd;
        let part = match known {
            Parts::NONE if long || ymd => Parts::YEAR,
            Parts::NONE if self.fs.date_order == DateOrder::Dmy => Parts::DAY,
            Parts::NONE => Parts::MONTH,
            Parts::YEAR => Parts::MONTH,
            Parts::MONTH if self.text_month && (long || ymd) => Parts::YEAR,
            Parts::MONTH => Parts::DAY,
            Parts(3) if self.text_month && long && self.two_digit_year => {
                // What was taken for a two-digit year was the day.
                self.civil.day = self.civil.year;
                self.civil.year = value;
                self.two_digit_year = false;
                return Ok(Parts::DAY);
            }
            Parts(3) => Parts::DAY,
            Parts::DAY => Parts::MONTH,
            Parts(6) => Parts::YEAR,
            Parts::DATE => return self.run_together(text, also),
            _ => return Err(BadFormat),
        };
        match part {
            Parts::YEAR => {
                self.civil.year = value;
                self.two_digit_year = text.len() <= 2;
            }
            Parts::MONTH => self.civil.month = value,
            _ => self.civil.day = value,
        }
        Ok(part)
    }

    /// yyyymmdd, yymmdd, hhmmss[.fff] or hhmm.
    fn run_together(&mut self, text: &str, also: Parts) -> Step {
        let known = self.seen.with(also);
        let (digits, rest) = split_digits(text);
        if rest.starts_with('.') {
            self.civil.micros = fraction_micros(rest)?;
        } else if !rest.is_empty() {
            return Err(BadFormat);
        } else if !known.has(Parts::DATE) && digits.len() >= 6 {
            let (year, month_day) = digits.split_at(digits.len() - 4);
            self.civil.year = int(year)?;
            self.civil.month = int(&month_day[..2])?;
            self.civil.day = int(&month_day[2..])?;
            self.two_digit_year |= year.len() == 2;
            return Ok(Parts::DATE);
        }
        if known.has(Parts::TIME) || (digits.len() != 6 && digits.len() != 4) {
            return Err(BadFormat);
        }
        self.civil.hour = int(&digits[..2])?;
        self.civil.minute = int(&digits[2..4])?;
        self.civil.second = int(&digits[4..])?;
        Ok(Parts::TIME)
    }

    fn word_field(&mut self, fields: &[Field], i: usize) -> Step {
        let word = fields[i].text.as_str();
        if let Some(zone) = zone::of_abbreviation(word) {
            self.zone = Some(zone);
            let daylight =
                matches!(super::keywords::abbreviation(word), Some(super::keywords::Abbreviation::Fixed(_, true)));
            return Ok(if daylight { Parts::ZONE.with(Parts::DST) } else { Parts::ZONE });
        }
        let Some(token) = date_token(word) else {
            return self.named_zone(word).ok_or(BadFormat);
        };
        let date_time_zone = Parts::DATE.with(Parts::TIME).with(Parts::ZONE);
        let special = |decoder: &mut Self, special| {
            decoder.special = Some(special);
            Ok(Parts::SPECIAL)
        };
        match token {
            Token::Ignored => Ok(Parts::NONE),
            Token::Now => {
                self.now(true);
                Ok(if self.time_only { Parts::TIME } else { date_time_zone })
            }
            Token::Allballs => {
                self.civil.set_time(0);
                Ok(Parts::TIME.with(Parts::ZONE))
            }
            Token::Today if !self.time_only => self.day(0),
            Token::Tomorrow if !self.time_only => self.day(1),
            Token::Yesterday if !self.time_only => self.day(-1),
            Token::Epoch if !self.time_only => special(self, Special::Epoch),
            Token::Infinity if !self.time_only => special(self, Special::Infinity),
            Token::MinusInfinity if !self.time_only => special(self, Special::MinusInfinity),
            Token::Month(month) if !self.time_only => Ok(self.month(month)),
            Token::Weekday if !self.time_only => Ok(Parts::WEEKDAY),
            Token::Am | Token::Pm => {
                self.pm = Some(token == Token::Pm);
                Ok(Parts::MERIDIEM)
            }
            Token::Ad | Token::Bc => {
                self.bc = token == Token::Bc;
                Ok(Parts::ERA)
            }
            Token::Dst => {
                self.offset += 3600;
                if let Some(Zone::Fixed(offset)) = &mut self.zone {
                    *offset += 3600;
                }
                Ok(Parts::DST)
            }
            Token::Julian => self.expecting(Expect::Julian),
            Token::IsoTime => self.iso_time(fields, i),
            _ => Err(BadFormat),
        }
    }

    fn expecting(&mut self, expect: Expect) -> Step {
        self.expect = Some(expect);
        Ok(Parts::NONE)
    }

    /// "t": must come behind the date, and right before a time.
    fn iso_time(&mut self, fields: &[Field], i: usize) -> Step {
        let next_fits =
            fields.get(i + 1).is_some_and(|f| matches!(f.kind, FieldKind::Number | FieldKind::Time | FieldKind::Date));
        if !next_fits || (!self.time_only && !self.seen.has(Parts::DATE)) {
            return Err(BadFormat);
        }
        self.expecting(Expect::Time)
    }

    fn month(&mut self, month: i32) -> Parts {
        let mut found = Parts::MONTH;
        // A number taken for the month before was the day.
        if self.seen.has(Parts::MONTH)
            && !self.text_month
            && !self.seen.has(Parts::DAY)
            && (1..=31).contains(&self.civil.month)
        {
            self.civil.day = self.civil.month;
            found = Parts::DAY;
        }
        self.text_month = true;
        self.civil.month = month;
        found
    }

    /// Sets the fields to the start of the transaction in the session's zone.
    fn now(&mut self, with_time: bool) {
        let utc = self.fs.transaction_micros;
        let offset = zone::utc_offset(&self.fs.time_zone, utc);
        let local = Civil::from_timestamp(utc.saturating_add(i64::from(offset) * MICROS_PER_SECOND));
        if with_time {
            self.civil = local;
            self.offset = offset;
        } else {
            (self.civil.year, self.civil.month, self.civil.day) = (local.year, local.month, local.day);
        }
    }

    fn day(&mut self, from_today: i64) -> Step {
        self.now(false);
        (self.civil.year, self.civil.month, self.civil.day) = from_julian(self.civil.julian() + from_today);
        // What the clock says needs no adjustment by "bc" or century.
        Ok(Parts::DATE)
    }

    fn finish(mut self) -> Result<Decoded, DecodeError> {
        if let Some(special) = self.special {
            return Ok(Decoded::Special(special));
        }
        self.validate_date()?;
        if let Some(pm) = self.pm {
            if self.civil.hour > 12 {
                return Err(FieldOverflow);
            }
            self.civil.hour = self.civil.hour % 12 + if pm { 12 } else { 0 };
        }
        if self.time_only {
            if !self.civil.time_is_valid() {
                return Err(FieldOverflow);
            }
            if !self.seen.has(Parts::TIME) || self.zone_needs_date() {
                return Err(BadFormat);
            }
            return Ok(Decoded::At { civil: self.civil, offset: 0 });
        }
        if !self.seen.has(Parts::DATE) {
            return Err(BadFormat);
        }
        let offset = self.resolve_offset()?;
        Ok(Decoded::At { civil: self.civil, offset })
    }

    /// A time with the name of a zone that has daylight saving is not complete without a date.
    fn zone_needs_date(&self) -> bool {
        match &self.zone {
            Some(Zone::Named(zone)) => zone::has_changes(zone) && !self.seen.has(Parts::DATE),
            _ => false,
        }
    }

    fn resolve_offset(&self) -> Result<i32, DecodeError> {
        // Julian days may lie outside of timestamps; then the offset does not matter, the value is refused anyway.
        let local = self.civil.micros_since_1970().clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
        let dst = self.seen.has(Parts::DST);
        match &self.zone {
            Some(Zone::Fixed(offset)) => Ok(*offset),
            Some(_) if dst => Err(BadFormat),
            Some(zone) => Ok(zone.local_offset(local)),
            None if self.seen.has(Parts::ZONE) => Ok(self.offset),
            None if dst => Err(BadFormat),
            None => Ok(zone::local_offset(&self.fs.time_zone, local)),
        }
    }

    fn validate_date(&mut self) -> Result<(), DecodeError> {
        let civil = &mut self.civil;
        if self.seen.has(Parts::YEAR) && !self.julian {
            if self.bc {
                if civil.year <= 0 {
                    return Err(FieldOverflow);
                }
                civil.year = 1 - civil.year;
            } else if self.two_digit_year {
                civil.year += match civil.year {
                    ..70 => 2000,
                    70..100 => 1900,
                    _ => 0,
                };
            } else if civil.year <= 0 {
                return Err(FieldOverflow);
            }
        }
        if self.seen.has(Parts::DAY_OF_YEAR) {
            let first = julian(civil.year, 1, 1);
            (civil.year, civil.month, civil.day) = from_julian(first + i64::from(self.day_of_year) - 1);
        }
        if self.seen.has(Parts::MONTH) && !(1..=12).contains(&civil.month) {
            return Err(MonthDayOverflow);
        }
        if self.seen.has(Parts::DAY) && !(1..=31).contains(&civil.day) {
            return Err(MonthDayOverflow);
        }
        if self.seen.has(Parts::DATE) && civil.day > days_in_month(civil.year, civil.month) {
            return Err(FieldOverflow);
        }
        Ok(())
    }
}
