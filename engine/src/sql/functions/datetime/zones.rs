//! `AT TIME ZONE` (the function `timezone`).

use kalamdb_catalog::{Result, SqlError, SqlState};

use crate::types::datetime::zone::{Zone, at_time_zone, explicit_offset};
use crate::types::datetime::{MICROS_PER_SECOND, check_timestamp, is_finite, timestamp_out_of_range};
use crate::types::{Interval, IntervalStyle};

/// The zone an interval stands for.
pub(super) fn of_interval(interval: Interval) -> Result<Zone> {
    if interval.months != 0 || interval.days != 0 {
        let mut text = Vec::new();
        interval.write(IntervalStyle::Postgres, &mut text);
        return Err(SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("interval time zone \"{}\" must not include months or days", String::from_utf8_lossy(&text)),
        ));
    }
    Ok(Zone::Fixed((interval.micros / MICROS_PER_SECOND) as i32))
}

/// The zone of `make_timestamptz`: a signed offset, an abbreviation or a name.
pub(super) fn of_argument(name: &str) -> Result<Zone> {
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("invalid input syntax for type numeric time zone: \"{name}\""),
        )
        .hint("Numeric time zones must have \"-\" or \"+\" as first character."));
    }
    match explicit_offset(name)? {
        Some(offset) => Ok(Zone::Fixed(offset)),
        None => at_time_zone(name),
    }
}

/// Local time in the zone of an instant.
pub(super) fn to_local(zone: &Zone, micros: i64) -> Result<i64> {
    if !is_finite(micros) {
        return Ok(micros);
    }
    let offset = i128::from(zone.utc_offset(micros)) * i128::from(MICROS_PER_SECOND);
    check_timestamp(i128::from(micros) + offset).ok_or_else(timestamp_out_of_range)
}

/// The instant of a local time in the zone.
pub(super) fn to_utc(zone: &Zone, micros: i64) -> Result<i64> {
    if !is_finite(micros) {
        return Ok(micros);
    }
    let offset = i128::from(zone.local_offset(micros)) * i128::from(MICROS_PER_SECOND);
    check_timestamp(i128::from(micros) - offset).ok_or_else(timestamp_out_of_range)
}

/// Remembers the zone of the row before: in most queries all rows name the same one.
#[derive(Default)]
pub(super) struct ZoneCache {
    last: Option<(String, Zone)>,
}

impl ZoneCache {
    pub(super) fn get(&mut self, name: &str, find: fn(&str) -> Result<Zone>) -> Result<Zone> {
        if let Some((last, zone)) = &self.last
            && last == name
        {
            return Ok(zone.clone());
        }
        let zone = find(name)?;
        self.last = Some((name.to_owned(), zone.clone()));
        Ok(zone)
    }
}
