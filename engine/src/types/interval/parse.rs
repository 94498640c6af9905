//! Text input of intervals: PostgreSQL's own form, the SQL standard's and ISO 8601's (manual, section 8.5.4).

use kalamdb_catalog::Result as SqlResult;

use super::{Interval, fields, interval_out_of_range};
use crate::types::datetime::{
    DecodeError, FieldKind, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, Unit,
    interval_clock, lex, parse_fraction, unit,
};
use crate::types::{FormatSettings, IntervalStyle};

use DecodeError::{BadFormat, FieldOverflow};

type Decode<T> = Result<T, DecodeError>;

/// The sum so far, years apart because they may overflow months only at the end.
#[derive(Default)]
struct Sum {
    years: i32,
    months: i32,
    days: i32,
    micros: i64,
}

impl Sum {
    fn add_micros(&mut self, value: i64, fraction: f64, scale: i64) -> Decode<()> {
        let whole = value.checked_mul(scale).ok_or(FieldOverflow)?;
        self.micros = self.micros.checked_add(whole).ok_or(FieldOverflow)?;
        self.add_fraction(fraction, scale)
    }

    fn add_fraction(&mut self, fraction: f64, scale: i64) -> Decode<()> {
        let scaled = fraction * scale as f64;
        let mut micros = scaled as i64;
        let rest = scaled - micros as f64;
        if rest > 0.5 {
            micros += 1;
        } else if rest < -0.5 {
            micros -= 1;
        }
        self.micros = self.micros.checked_add(micros).ok_or(FieldOverflow)?;
        Ok(())
    }

    fn add_days(&mut self, value: i64, scale: i32) -> Decode<()> {
        let value = i32::try_from(value).ok().and_then(|v| v.checked_mul(scale)).ok_or(FieldOverflow)?;
        self.days = self.days.checked_add(value).ok_or(FieldOverflow)?;
        Ok(())
    }

    fn add_fraction_days(&mut self, fraction: f64, scale: i32) -> Decode<()> {
        let days = fraction * f64::from(scale);
        let whole = days as i32;
        self.days = self.days.checked_add(whole).ok_or(FieldOverflow)?;
        self.add_fraction(days - f64::from(whole), MICROS_PER_DAY)
    }

    fn add_months(&mut self, value: i64) -> Decode<()> {
        let value = i32::try_from(value).map_err(|_| FieldOverflow)?;
        self.months = self.months.checked_add(value).ok_or(FieldOverflow)?;
        Ok(())
    }

    fn add_years(&mut self, value: i64, fraction: f64, scale: i32) -> Decode<()> {
        let value = i32::try_from(value).ok().and_then(|v| v.checked_mul(scale)).ok_or(FieldOverflow)?;
        self.years = self.years.checked_add(value).ok_or(FieldOverflow)?;
        let months = (fraction * f64::from(scale) * 12.0).round_ties_even() as i32;
        self.months = self.months.checked_add(months).ok_or(FieldOverflow)?;
        Ok(())
    }

    fn add(&mut self, unit: Unit, value: i64, fraction: f64) -> Decode<()> {
        match unit {
            Unit::Microsecond => self.add_micros(value, fraction, 1),
            Unit::Millisecond => self.add_micros(value, fraction, 1000),
            Unit::Second => self.add_micros(value, fraction, MICROS_PER_SECOND),
            Unit::Minute => self.add_micros(value, fraction, MICROS_PER_MINUTE),
            Unit::Hour => self.add_micros(value, fraction, MICROS_PER_HOUR),
            Unit::Day => self.add_days(value, 1).and_then(|()| self.add_fraction(fraction, MICROS_PER_DAY)),
            Unit::Week => self.add_days(value, 7).and_then(|()| self.add_fraction_days(fraction, 7)),
            Unit::Month => self.add_months(value).and_then(|()| self.add_fraction_days(fraction, 30)),
            Unit::Year => self.add_years(value, fraction, 1),
            Unit::Decade => self.add_years(value, fraction, 10),
            Unit::Century => self.add_years(value, fraction, 100),
            Unit::Millennium => self.add_years(value, fraction, 1000),
            Unit::Quarter | Unit::Timezone | Unit::TimezoneHour | Unit::TimezoneMinute | Unit::Ago | Unit::Ignored => {
                Err(BadFormat)
            }
        }
    }

    fn negate(&mut self) -> Decode<()> {
        self.years = self.years.checked_neg().ok_or(FieldOverflow)?;
        self.months = self.months.checked_neg().ok_or(FieldOverflow)?;
        self.days = self.days.checked_neg().ok_or(FieldOverflow)?;
        self.micros = self.micros.checked_neg().ok_or(FieldOverflow)?;
        Ok(())
    }
}

impl Interval {
    /// An interval from text, cut and rounded to the type modifier (-1 for none).
    pub fn parse(text: &str, fs: &FormatSettings, typmod: i32) -> SqlResult<Interval> {
        let sum = match decode(text, fs, fields::of(typmod)) {
            Err(BadFormat) => decode_iso8601(text),
            other => other,
        };
        let sum = sum.map_err(|e| match e {
            FieldOverflow => DecodeError::IntervalOverflow.report(text, "interval"),
            e => e.report(text, "interval"),
        })?;
        let months = i64::from(sum.years) * 12 + i64::from(sum.months);
        let months = i32::try_from(months).map_err(|_| interval_out_of_range())?;
        Interval { months, days: sum.days, micros: sum.micros }.with_typmod(typmod)
    }
}

/// The unit of a last number without one, by the type modifier: `interval '3' hour`.
fn default_unit(range: i32) -> Unit {
    use fields::{DAY, HOUR, MINUTE, MONTH, YEAR};
    match range {
        YEAR => Unit::Year,
        MONTH => Unit::Month,
        r if r == YEAR | MONTH => Unit::Month,
        DAY => Unit::Day,
        HOUR => Unit::Hour,
        r if r == DAY | HOUR => Unit::Hour,
        MINUTE => Unit::Minute,
        r if r == HOUR | MINUTE || r == DAY | HOUR | MINUTE => Unit::Minute,
        _ => Unit::Second,
    }
}

/// Bits for the units found: each may come once.
fn unit_bit(unit: Unit) -> u32 {
    1 << unit as u32
}

const SECONDS: u32 = 1 << Unit::Second as u32 | 1 << Unit::Millisecond as u32 | 1 << Unit::Microsecond as u32;
const CLOCK: u32 = SECONDS | 1 << Unit::Minute as u32 | 1 << Unit::Hour as u32;

/// Microseconds of "H:M[:S[.f]]".
fn clock(text: &str, range: i32) -> Decode<i64> {
    let (hour, minute, second, micros) = interval_clock(text, range == fields::MINUTE | fields::SECOND)?;
    let rest = i64::from(minute) * MICROS_PER_MINUTE + i64::from(second) * MICROS_PER_SECOND + i64::from(micros);
    hour.checked_mul(MICROS_PER_HOUR).and_then(|h| h.checked_add(rest)).ok_or(FieldOverflow)
}

fn decode(text: &str, fs: &FormatSettings, range: i32) -> Decode<Sum> {
    let list = lex(text)?;
    let signed = |text: &str| text.starts_with(['+', '-']);
    // In the SQL standard's style one leading minus is for all fields, unless others have signs too.
    let all_negative = fs.interval_style == IntervalStyle::SqlStandard
        && list.first().is_some_and(|f| f.text.starts_with('-'))
        && !list[1..].iter().any(|f| signed(&f.text));
    let mut sum = Sum::default();
    let mut found = 0;
    let mut ago = false;
    let mut current: Option<Unit> = None;
    // From the right, so that units are known before their numbers.
    for field in list.iter().rev() {
        let text = field.text.as_str();
        let bits = match field.kind {
            FieldKind::Word | FieldKind::SignedWord => {
                match unit(text).ok_or(BadFormat)? {
                    Unit::Ignored => continue,
                    Unit::Ago => {
                        ago = true;
                        current = Some(Unit::Ago);
                    }
                    unit => current = Some(unit),
                }
                0
            }
            FieldKind::Time => {
                let micros = clock(text, range)?;
                sum.micros = if all_negative { -micros.abs() } else { micros };
                current = Some(Unit::Day);
                CLOCK
            }
            FieldKind::Signed if text.contains(':') && clock(&text[1..], range).is_ok() => {
                let micros = clock(&text[1..], range)?;
                let micros = if text.starts_with('-') { -micros } else { micros };
                sum.micros = if all_negative { -micros.abs() } else { micros };
                current = Some(Unit::Day);
                CLOCK
            }
            FieldKind::Signed | FieldKind::Date | FieldKind::Number => {
                let (value, fraction, year_month) = number(text)?;
                let negate = all_negative && (value > 0 || fraction > 0.0);
                let (value, fraction) = if negate { (-value, -fraction) } else { (value, fraction) };
                let unit = if year_month { Unit::Month } else { current.unwrap_or_else(|| default_unit(range)) };
                sum.add(unit, value, fraction)?;
                // A number left of hours counts days; else the unit stays.
                current = Some(if unit == Unit::Hour { Unit::Day } else { unit });
                if unit == Unit::Second && fraction != 0.0 { SECONDS } else { unit_bit(unit) }
            }
        };
        if found & bits != 0 {
            return Err(BadFormat);
        }
        found |= bits;
    }
    if found == 0 {
        return Err(BadFormat);
    }
    if ago {
        sum.negate()?;
    }
    Ok(sum)
}

/// A signed number with fraction, or "years-months" (the total of months and true).
fn number(text: &str) -> Decode<(i64, f64, bool)> {
    let unsigned = text.trim_start_matches(['+', '-']);
    let sign_len = text.len() - unsigned.len();
    if sign_len > 1 {
        return Err(BadFormat);
    }
    let negative = text.starts_with('-');
    let digits = unsigned.bytes().take_while(u8::is_ascii_digit).count();
    let rest = &unsigned[digits..];
    let value: i64 = match &text[..sign_len + digits] {
        "" | "+" | "-" => 0,
        digits => digits.parse().map_err(|_| FieldOverflow)?,
    };
    if let Some(months) = rest.strip_prefix('-') {
        let digits = months.bytes().take_while(u8::is_ascii_digit).count();
        let count = if digits == 0 { 0 } else { months[..digits].parse::<i64>().map_err(|_| FieldOverflow)? };
        if count >= 12 {
            return Err(FieldOverflow);
        }
        if digits < months.len() {
            return Err(BadFormat);
        }
        let count = if negative { -count } else { count };
        let total = value.checked_mul(12).and_then(|v| v.checked_add(count)).ok_or(FieldOverflow)?;
        return Ok((total, 0.0, true));
    }
    if rest.is_empty() {
        return Ok((value, 0.0, false));
    }
    let fraction = parse_fraction(rest)?;
    Ok((value, if negative { -fraction } else { fraction }, false))
}

/// Reads ISO 8601 numbers and separators from left to right.
struct Iso<'a> {
    rest: &'a str,
}

impl Iso<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    /// Integral part, fraction, and the width of the integral part.
    fn number(&mut self) -> Decode<(i64, f64, usize)> {
        let b = self.rest.as_bytes();
        let mut at = usize::from(b.first() == Some(&b'-'));
        let start = at;
        while b.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        let width = at - start;
        if b.get(at) == Some(&b'.') {
            at += 1;
            while b.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
        }
        if matches!(b.get(at), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(b.get(at + 1), Some(b'+' | b'-')));
            let mut end = at + 1 + sign;
            while b.get(end).is_some_and(u8::is_ascii_digit) {
                end += 1;
            }
            if end > at + 1 + sign {
                at = end;
            }
        }
        let value: f64 = self.rest[..at].parse().map_err(|_| BadFormat)?;
        self.rest = &self.rest[at..];
        if !(-1e15..=1e15).contains(&value) {
            return Err(FieldOverflow);
        }
        Ok((value.trunc() as i64, value - value.trunc(), width))
    }
}

fn decode_iso8601(text: &str) -> Decode<Sum> {
    let mut sum = Sum::default();
    let mut iso = Iso { rest: text.strip_prefix('P').ok_or(BadFormat)? };
    if iso.rest.is_empty() {
        return Err(BadFormat);
    }
    let mut in_date = true;
    let mut have_field = false;
    while !iso.rest.is_empty() {
        if let Some(rest) = iso.rest.strip_prefix('T') {
            iso.rest = rest;
            in_date = false;
            have_field = false;
            continue;
        }
        let (value, fraction, width) = iso.number()?;
        if in_date {
            match iso.next() {
                Some('Y') => sum.add(Unit::Year, value, fraction)?,
                Some('M') => sum.add(Unit::Month, value, fraction)?,
                Some('W') => sum.add(Unit::Week, value, fraction)?,
                Some('D') => sum.add(Unit::Day, value, fraction)?,
                next @ (None | Some('T' | '-')) => {
                    let next = alternative_date(&mut iso, &mut sum, next, (value, fraction, width), have_field)?;
                    in_date = false;
                    have_field = false;
                    if next {
                        continue;
                    }
                    return Ok(sum);
                }
                Some(_) => return Err(BadFormat),
            }
        } else {
            match iso.next() {
                Some('H') => sum.add(Unit::Hour, value, fraction)?,
                Some('M') => sum.add(Unit::Minute, value, fraction)?,
                Some('S') => sum.add(Unit::Second, value, fraction)?,
                next @ (None | Some(':')) => {
                    alternative_time(&mut iso, &mut sum, next, (value, fraction, width), have_field)?;
                    return Ok(sum);
                }
                Some(_) => return Err(BadFormat),
            }
        }
        have_field = true;
    }
    Ok(sum)
}

/// "yyyymmdd" or "yyyy-mm-dd"; true if a time follows.
fn alternative_date(
    iso: &mut Iso<'_>,
    sum: &mut Sum,
    next: Option<char>,
    (value, fraction, width): (i64, f64, usize),
    have_field: bool,
) -> Decode<bool> {
    if next != Some('-') && width == 8 && !have_field {
        sum.add_years(value / 10_000, 0.0, 1)?;
        sum.add_months(value / 100 % 100)?;
        sum.add(Unit::Day, value % 100, fraction)?;
        return Ok(next == Some('T'));
    }
    if have_field {
        return Err(BadFormat);
    }
    sum.add(Unit::Year, value, fraction)?;
    if next != Some('-') {
        return Ok(next == Some('T'));
    }
    for unit in [Unit::Month, Unit::Day] {
        let (value, fraction, _) = iso.number()?;
        sum.add(unit, value, fraction)?;
        match iso.next() {
            None => return Ok(false),
            Some('T') => return Ok(true),
            Some('-') => {}
            Some(_) => return Err(BadFormat),
        }
    }
    Err(BadFormat)
}

/// "hhmmss" or "hh:mm:ss".
fn alternative_time(
    iso: &mut Iso<'_>,
    sum: &mut Sum,
    next: Option<char>,
    (value, fraction, width): (i64, f64, usize),
    have_field: bool,
) -> Decode<()> {
    if next.is_none() && width == 6 && !have_field {
        sum.add(Unit::Hour, value / 10_000, 0.0)?;
        sum.add(Unit::Minute, value / 100 % 100, 0.0)?;
        sum.add(Unit::Second, value % 100, 0.0)?;
        return sum.add_fraction(fraction, 1);
    }
    if have_field {
        return Err(BadFormat);
    }
    sum.add(Unit::Hour, value, fraction)?;
    if next.is_none() {
        return Ok(());
    }
    let (value, fraction, _) = iso.number()?;
    sum.add(Unit::Minute, value, fraction)?;
    match iso.next() {
        None => return Ok(()),
        Some(':') => {}
        Some(_) => return Err(BadFormat),
    }
    let (value, fraction, _) = iso.number()?;
    sum.add(Unit::Second, value, fraction)?;
    if iso.rest.is_empty() { Ok(()) } else { Err(BadFormat) }
}
