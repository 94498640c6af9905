//! `interval`: months, days and microseconds that do not turn into each other, because months and days vary in length.
//!
//! Comparison takes a month as 30 days and a day as 24 hours, so values that are equal may look different; hashing and
//! grouping go through [`Interval::sort_key`].

mod parse;
mod write;

use std::cmp::Ordering;

use kalamdb_catalog::{Result, SqlError, SqlState};

use super::datetime::{MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE};

const DAYS_PER_MONTH: i32 = 30;
const SECONDS_PER_DAY: f64 = 86_400.0;

/// A span of time. `==` is identity of the fields; SQL's `=` is [`Ord`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Interval {
    pub months: i32,
    pub days: i32,
    pub micros: i64,
}

impl PartialOrd for Interval {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Interval {
    fn cmp(&self, other: &Self) -> Ordering {
        self.total_micros().cmp(&other.total_micros())
    }
}

pub fn interval_out_of_range() -> SqlError {
    SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "interval out of range")
}

/// The fields an `interval year to month`-like type modifier keeps (PostgreSQL's bits).
pub mod fields {
    pub const MONTH: i32 = 1 << 1;
    pub const YEAR: i32 = 1 << 2;
    pub const DAY: i32 = 1 << 3;
    pub const HOUR: i32 = 1 << 10;
    pub const MINUTE: i32 = 1 << 11;
    pub const SECOND: i32 = 1 << 12;
    pub const ALL: i32 = 0x7FFF;

    /// The fields of a type modifier.
    pub fn of(typmod: i32) -> i32 {
        if typmod < 0 { ALL } else { (typmod >> 16) & ALL }
    }
}

/// Keeps six decimals, as PostgreSQL does against the noise of floating point.
fn round_micros(seconds: f64) -> f64 {
    (seconds * 1e6).round_ties_even() / 1e6
}

fn fits_i64(value: f64) -> bool {
    (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value)
}

impl Interval {
    pub const ZERO: Interval = Interval { months: 0, days: 0, micros: 0 };

    /// What comparison looks at.
    pub fn total_micros(&self) -> i128 {
        let days = i128::from(self.months) * i128::from(DAYS_PER_MONTH) + i128::from(self.days);
        days * i128::from(MICROS_PER_DAY) + i128::from(self.micros)
    }

    /// Bytes that compare as the values do; equal values have equal bytes.
    pub fn sort_key(&self) -> [u8; 16] {
        ((self.total_micros() as u128) ^ (1 << 127)).to_be_bytes()
    }

    /// The wire form: microseconds, days, months.
    pub fn to_binary(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.micros.to_be_bytes());
        out.extend_from_slice(&self.days.to_be_bytes());
        out.extend_from_slice(&self.months.to_be_bytes());
    }

    /// A value from its wire form, cut to the type modifier.
    pub fn from_binary(bytes: &[u8], typmod: i32) -> Result<Interval> {
        let all: [u8; 16] = super::datetime::fixed(bytes)?;
        let word = |at: usize| [all[at], all[at + 1], all[at + 2], all[at + 3]];
        let (high, low) = (u32::from_be_bytes(word(0)), u32::from_be_bytes(word(4)));
        Interval {
            months: i32::from_be_bytes(word(12)),
            days: i32::from_be_bytes(word(8)),
            micros: ((u64::from(high) << 32) | u64::from(low)) as i64,
        }
        .with_typmod(typmod)
    }

    pub fn checked_add(&self, other: &Interval) -> Result<Interval> {
        let sum = || {
            Some(Interval {
                months: self.months.checked_add(other.months)?,
                days: self.days.checked_add(other.days)?,
                micros: self.micros.checked_add(other.micros)?,
            })
        };
        sum().ok_or_else(interval_out_of_range)
    }

    pub fn checked_sub(&self, other: &Interval) -> Result<Interval> {
        let difference = || {
            Some(Interval {
                months: self.months.checked_sub(other.months)?,
                days: self.days.checked_sub(other.days)?,
                micros: self.micros.checked_sub(other.micros)?,
            })
        };
        difference().ok_or_else(interval_out_of_range)
    }

    pub fn checked_neg(&self) -> Result<Interval> {
        Interval::ZERO.checked_sub(self)
    }

    /// interval * float8: fractions of months go to days (30 to a month), those of days to the time.
    pub fn checked_mul(&self, factor: f64) -> Result<Interval> {
        Self::cascade(f64::from(self.months) * factor, f64::from(self.days) * factor, self.micros as f64 * factor)
    }

    /// interval / float8.
    pub fn checked_div(&self, divisor: f64) -> Result<Interval> {
        if divisor == 0.0 {
            return Err(SqlError::new(SqlState::DIVISION_BY_ZERO, "division by zero"));
        }
        Self::cascade(f64::from(self.months) / divisor, f64::from(self.days) / divisor, self.micros as f64 / divisor)
    }

    fn cascade(months: f64, days: f64, micros: f64) -> Result<Interval> {
        let fits = |v: f64| (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&v);
        if !fits(months) || !fits(days) {
            return Err(interval_out_of_range());
        }
        let whole_months = months as i32;
        let whole_days = days as i32;
        let month_days = round_micros((months - f64::from(whole_months)) * f64::from(DAYS_PER_MONTH));
        let mut seconds =
            round_micros((days - f64::from(whole_days) + month_days - month_days.trunc()) * SECONDS_PER_DAY);
        let mut total_days = i64::from(whole_days);
        if seconds.abs() >= SECONDS_PER_DAY {
            let carry = (seconds / SECONDS_PER_DAY).trunc();
            total_days += carry as i64;
            seconds -= carry * SECONDS_PER_DAY;
        }
        total_days += month_days as i64;
        let micros = (micros + seconds * 1e6).round_ties_even();
        if !fits_i64(micros) {
            return Err(interval_out_of_range());
        }
        let days = i32::try_from(total_days).map_err(|_| interval_out_of_range())?;
        Ok(Interval { months: whole_months, days, micros: micros as i64 })
    }

    /// Turns each 24 hours into a day.
    pub fn justify_hours(&self) -> Result<Interval> {
        let mut days = i64::from(self.days) + self.micros / MICROS_PER_DAY;
        let mut micros = self.micros % MICROS_PER_DAY;
        align_time(&mut days, &mut micros);
        let days = i32::try_from(days).map_err(|_| interval_out_of_range())?;
        Ok(Interval { months: self.months, days, micros })
    }

    /// Turns each 30 days into a month.
    pub fn justify_days(&self) -> Result<Interval> {
        let mut months = i64::from(self.months) + i64::from(self.days / DAYS_PER_MONTH);
        let mut days = self.days % DAYS_PER_MONTH;
        if months > 0 && days < 0 {
            days += DAYS_PER_MONTH;
            months -= 1;
        } else if months < 0 && days > 0 {
            days -= DAYS_PER_MONTH;
            months += 1;
        }
        let months = i32::try_from(months).map_err(|_| interval_out_of_range())?;
        Ok(Interval { months, days, micros: self.micros })
    }

    /// Both, and all three fields of one sign.
    pub fn justify_interval(&self) -> Result<Interval> {
        let per_month = i64::from(DAYS_PER_MONTH);
        let mut days = i64::from(self.days) + self.micros / MICROS_PER_DAY;
        let mut micros = self.micros % MICROS_PER_DAY;
        let mut months = i64::from(self.months) + days / per_month;
        days %= per_month;
        if months > 0 && (days < 0 || (days == 0 && micros < 0)) {
            days += per_month;
            months -= 1;
        } else if months < 0 && (days > 0 || (days == 0 && micros > 0)) {
            days -= per_month;
            months += 1;
        }
        align_time(&mut days, &mut micros);
        let months = i32::try_from(months).map_err(|_| interval_out_of_range())?;
        Ok(Interval { months, days: days as i32, micros })
    }

    /// Cuts to the fields of a type modifier and rounds to its precision; -1 leaves as is.
    pub fn with_typmod(&self, typmod: i32) -> Result<Interval> {
        use fields::{DAY, HOUR, MINUTE, MONTH, YEAR};
        if typmod < 0 {
            return Ok(*self);
        }
        let mut cut = *self;
        let kept = fields::of(typmod);
        if kept == YEAR {
            cut = Interval { months: cut.months / 12 * 12, ..Interval::ZERO };
        } else if kept == MONTH || kept == YEAR | MONTH {
            cut = Interval { months: cut.months, ..Interval::ZERO };
        } else if kept == DAY {
            cut.micros = 0;
        } else if kept == HOUR || kept == DAY | HOUR {
            cut.micros = cut.micros / MICROS_PER_HOUR * MICROS_PER_HOUR;
        } else if kept == MINUTE || kept == HOUR | MINUTE || kept == DAY | HOUR | MINUTE {
            cut.micros = cut.micros / MICROS_PER_MINUTE * MICROS_PER_MINUTE;
        }
        let precision = typmod & 0xFFFF;
        if precision < 6 {
            let scale = 10i64.pow((6 - precision) as u32);
            let half = if cut.micros < 0 { -scale / 2 } else { scale / 2 };
            cut.micros = cut.micros.checked_add(half).ok_or_else(interval_out_of_range)? / scale * scale;
        }
        Ok(cut)
    }
}

/// Gives the time the sign of the days.
fn align_time(days: &mut i64, micros: &mut i64) {
    if *days > 0 && *micros < 0 {
        *micros += MICROS_PER_DAY;
        *days -= 1;
    } else if *days < 0 && *micros > 0 {
        *micros -= MICROS_PER_DAY;
        *days += 1;
    }
}

#[cfg(test)]
mod tests;
