//! Time zones: finding them by name, and offsets before and after a local time.
//!
//! Rules come from jiff, which covers years -9999 to 9999. Later years use the rules of the year with the same
//! calendar inside that range: the Gregorian calendar, and with it every rule, repeats after 400 years.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use kalamdb_catalog::{Result, SqlError, SqlState};

use super::keywords::{Abbreviation, abbreviation};
use super::{Civil, MICROS_PER_SECOND};

/// Seconds in 400 years.
const CYCLE: i64 = 146_097 * 86_400;
/// Instants from here on (year 9000) are looked up some cycles earlier.
const LAST_DIRECT: i64 = 221_845_392_000;

/// A zone as SQL names it: `AT TIME ZONE 'x'`, or at the end of a timestamp.
#[derive(Clone, Debug)]
pub enum Zone {
    /// Seconds east of UTC.
    Fixed(i32),
    Named(TimeZone),
    /// An abbreviation whose offset depends on the time.
    Dynamic(&'static str, TimeZone),
}

/// What a zone prescribes at one instant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetInfo {
    /// Seconds east of UTC.
    pub offset: i32,
    pub abbreviation: String,
    pub dst: bool,
}

fn jiff_timestamp(micros: i64) -> Timestamp {
    let mut seconds = micros.div_euclid(MICROS_PER_SECOND);
    if seconds >= LAST_DIRECT {
        seconds = LAST_DIRECT - CYCLE + (seconds - LAST_DIRECT).rem_euclid(CYCLE);
    }
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MIN)
}

/// Seconds east of UTC at an instant.
pub fn utc_offset(zone: &TimeZone, micros: i64) -> i32 {
    match zone.to_fixed_offset() {
        Ok(offset) => offset.seconds(),
        Err(_) => zone.to_offset(jiff_timestamp(micros)).seconds(),
    }
}

/// Whether the zone's offset ever changes.
pub(super) fn has_changes(zone: &TimeZone) -> bool {
    zone.to_fixed_offset().is_err() && zone.following(Timestamp::MIN).next().is_some()
}

/// Offset, abbreviation and daylight saving at an instant.
pub fn offset_info(zone: &TimeZone, micros: i64) -> OffsetInfo {
    let timestamp = jiff_timestamp(micros);
    let info = zone.to_offset_info(timestamp);
    OffsetInfo {
        offset: info.offset().seconds(),
        abbreviation: info.abbreviation().to_owned(),
        dst: info.dst().is_dst(),
    }
}

/// Seconds east of UTC for a local time (microseconds as if it were UTC). A time skipped in spring is read with the
/// offset before the change, one that comes twice in autumn with the offset after it, as PostgreSQL does.
pub fn local_offset(zone: &TimeZone, local_micros: i64) -> i32 {
    if let Ok(offset) = zone.to_fixed_offset() {
        return offset.seconds();
    }
    let mut civil = Civil::from_timestamp(local_micros);
    if civil.year > 9000 {
        civil.year = 8800 + civil.year % 400;
    }
    let local = DateTime::new(
        civil.year as i16,
        civil.month as i8,
        civil.day as i8,
        civil.hour as i8,
        civil.minute as i8,
        civil.second as i8,
        civil.micros * 1000,
    );
    let Ok(local) = local else { return utc_offset(zone, local_micros) };
    let offset = match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset,
        AmbiguousOffset::Gap { before, .. } => before,
        AmbiguousOffset::Fold { after, .. } => after,
    };
    offset.seconds()
}

/// The instant of a local time in a zone, unchecked for range.
pub fn to_utc(zone: &TimeZone, local_micros: i64) -> i128 {
    i128::from(local_micros) - i128::from(local_offset(zone, local_micros)) * i128::from(MICROS_PER_SECOND)
}

/// The local time of an instant in a zone, unchecked for range.
pub fn to_local(zone: &TimeZone, micros: i64) -> i128 {
    i128::from(micros) + i128::from(utc_offset(zone, micros)) * i128::from(MICROS_PER_SECOND)
}

impl Zone {
    /// Seconds east of UTC for a local time.
    pub fn local_offset(&self, local_micros: i64) -> i32 {
        match self {
            Zone::Fixed(offset) => *offset,
            Zone::Named(zone) => local_offset(zone, local_micros),
            Zone::Dynamic(name, zone) => {
                let guess = local_offset(zone, local_micros);
                let utc = local_micros.saturating_sub(i64::from(guess) * MICROS_PER_SECOND);
                abbreviation_offset(name, zone, utc).unwrap_or(guess)
            }
        }
    }

    /// Seconds east of UTC at an instant.
    pub fn utc_offset(&self, micros: i64) -> i32 {
        match self {
            Zone::Fixed(offset) => *offset,
            Zone::Named(zone) => utc_offset(zone, micros),
            Zone::Dynamic(name, zone) => {
                abbreviation_offset(name, zone, micros).unwrap_or_else(|| utc_offset(zone, micros))
            }
        }
    }
}

/// The offset the abbreviation had in the zone most recently before the instant, else the first one after it.
fn abbreviation_offset(name: &str, zone: &TimeZone, micros: i64) -> Option<i32> {
    let at = jiff_timestamp(micros);
    let now = zone.to_offset_info(at);
    if now.abbreviation() == name {
        return Some(now.offset().seconds());
    }
    // A rule without end repeats each year, so a few dozen later changes show every abbreviation it has.
    const LATER_CHANGES: usize = 400;
    zone.preceding(at)
        .find(|t| t.abbreviation() == name)
        .or_else(|| zone.following(at).take(LATER_CHANGES).find(|t| t.abbreviation() == name))
        .map(|t| t.offset().seconds())
}

/// A zone of the time zone database, any case, or a POSIX description ("EST5EDT", "FOO+3", "<+02>-02").
pub fn named(name: &str) -> Option<TimeZone> {
    if name.is_empty() || name.len() > 255 || !name.is_ascii() || name.starts_with(':') {
        return None;
    }
    if name.eq_ignore_ascii_case("gmt") || name.eq_ignore_ascii_case("utc") {
        return TimeZone::get(name).ok().or(Some(TimeZone::UTC));
    }
    // The database's copy without leap seconds, which is what jiff reads anyway.
    let name = match name.get(..6) {
        Some(prefix) if prefix.eq_ignore_ascii_case("posix/") => &name[6..],
        _ => name,
    };
    if let Ok(zone) = TimeZone::get(name)
        && !zone.is_unknown()
    {
        return Some(zone);
    }
    posix(&name.to_ascii_uppercase())
}

/// A POSIX TZ string; daylight time without rules changes as in the United States, as PostgreSQL has it.
fn posix(name: &str) -> Option<TimeZone> {
    if !name.bytes().any(|c| c.is_ascii_digit()) {
        return None;
    }
    if name.starts_with(['+', '-']) {
        // A description with an empty name: its offset counts west of UTC, like any POSIX one.
        let offset = numeric_offset(name).ok()?;
        return Some(TimeZone::fixed(Offset::from_seconds(-offset).ok()?));
    }
    if let Ok(zone) = TimeZone::posix(name) {
        return Some(zone);
    }
    if name.contains(',') {
        return None;
    }
    TimeZone::posix(&format!("{name},M3.2.0,M11.1.0")).ok()
}

fn offset_zone(seconds: i32) -> Option<(TimeZone, String)> {
    let offset = Offset::from_seconds(seconds).ok()?;
    let (sign, posix_sign) = if seconds < 0 { ('-', '+') } else { ('+', '-') };
    let (hours, minutes, rest) = (seconds.abs() / 3600, seconds.abs() / 60 % 60, seconds.abs() % 60);
    let mut text = format!("{hours:02}");
    if minutes != 0 || rest != 0 {
        text.push_str(&format!(":{minutes:02}"));
    }
    if rest != 0 {
        text.push_str(&format!(":{rest:02}"));
    }
    Some((TimeZone::fixed(offset), format!("<{sign}{text}>{posix_sign}{text}")))
}

/// The zone `SET TimeZone = 'x'` means, and what SHOW then prints: a name, hours east of UTC ("+2", "-7.5"), or a
/// POSIX description. 22023 if there is none.
pub fn time_zone_setting(value: &str) -> Result<(TimeZone, String)> {
    let invalid = || {
        SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("invalid value for parameter \"TimeZone\": \"{value}\""),
        )
    };
    let head = value.get(..8).unwrap_or("");
    if head.eq_ignore_ascii_case("interval") {
        let quoted = value[8..].trim().strip_prefix('\'').and_then(|v| v.strip_suffix('\'')).ok_or_else(invalid)?;
        let interval = crate::types::Interval::parse(quoted, &crate::types::FormatSettings::default(), -1)?;
        if interval.months != 0 || interval.days != 0 {
            return Err(invalid());
        }
        let seconds = i32::try_from(interval.micros / MICROS_PER_SECOND).map_err(|_| invalid())?;
        return offset_zone(seconds).ok_or_else(invalid);
    }
    if let Ok(hours) = value.trim().parse::<f64>()
        && hours.is_finite()
        && hours.abs() < 1000.0
    {
        return offset_zone((hours * 3600.0).round() as i32)
            .ok_or_else(|| invalid().detail("UTC timezone offset is out of range."));
    }
    let zone = named(value).ok_or_else(invalid)?;
    let name = zone.iana_name().map_or_else(|| value.to_ascii_uppercase(), str::to_owned);
    Ok((zone, name))
}

/// The zone `SET TimeZone = 'x'` means.
pub fn time_zone(value: &str) -> Result<TimeZone> {
    time_zone_setting(value).map(|(zone, _)| zone)
}

pub fn not_recognized(name: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("time zone \"{name}\" not recognized"))
}

/// The zone of an abbreviation, None if the word is none.
pub fn of_abbreviation(word: &str) -> Option<Zone> {
    match abbreviation(word)? {
        Abbreviation::Fixed(offset, _) => Some(Zone::Fixed(offset)),
        Abbreviation::Zone(zone) => {
            let index = super::keywords::ABBREVIATIONS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word))?;
            Some(Zone::Dynamic(index.0, TimeZone::get(zone).ok()?))
        }
    }
}

/// The zone of `AT TIME ZONE 'x'`: an abbreviation or a name; POSIX descriptions count west of UTC as positive.
pub fn at_time_zone(name: &str) -> Result<Zone> {
    if let Some(zone) = of_abbreviation(name) {
        return Ok(zone);
    }
    named(name).map(Zone::Named).ok_or_else(|| not_recognized(name))
}

/// Seconds east of UTC of a numeric offset `+HH[:MM[:SS]]` or `+HHMM`.
pub(super) fn numeric_offset(text: &str) -> Result<i32, super::DecodeError> {
    use super::DecodeError::{BadFormat, DisplacementOverflow};
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'+') => (false, &text[1..]),
        Some(b'-') => (true, &text[1..]),
        _ => return Err(BadFormat),
    };
    let mut parts = digits.split(':');
    let mut next = || -> Result<Option<i32>, super::DecodeError> {
        let Some(part) = parts.next() else { return Ok(None) };
        if part.is_empty() {
            return Ok(Some(0));
        }
        if !part.bytes().all(|c| c.is_ascii_digit()) {
            return Err(BadFormat);
        }
        part.parse().map(Some).map_err(|_| DisplacementOverflow)
    };
    let mut hours = next()?.unwrap_or(0);
    let (minutes, seconds) = match next()? {
        Some(minutes) => (minutes, next()?.unwrap_or(0)),
        None if digits.len() > 2 => {
            let minutes = hours % 100;
            hours /= 100;
            (minutes, 0)
        }
        None => (0, 0),
    };
    if hours > 15 || minutes > 59 || seconds > 59 {
        return Err(DisplacementOverflow);
    }
    if next()?.is_some() {
        return Err(BadFormat);
    }
    let offset = (hours * 60 + minutes) * 60 + seconds;
    Ok(if negative { -offset } else { offset })
}

/// Seconds east of UTC if the text is a signed offset; None if it may be a name.
pub fn explicit_offset(text: &str) -> Result<Option<i32>> {
    match numeric_offset(text) {
        Ok(offset) => Ok(Some(offset)),
        Err(super::DecodeError::DisplacementOverflow) => {
            Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("numeric time zone \"{text}\" out of range")))
        }
        Err(_) => Ok(None),
    }
}
