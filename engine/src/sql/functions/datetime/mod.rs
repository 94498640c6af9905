//! Functions, operators and casts of date, time, timestamp, timestamptz and interval (PostgreSQL manual, section 9.9).
//!
//! What depends on the session's zone is STABLE and reads it once per batch. `current_date`, `localtime` and
//! `localtimestamp` are keywords in SQL and have no row in pg_proc: their OID here is 0, the binder calls them by name.

mod arith;
mod make;
mod overlaps;
mod parts;
mod series;
mod tables;
mod truncate;
mod zones;

pub(crate) use parts::{century, day_of_year, iso_week, iso_week_start};
pub(super) use tables::{CASTS, FUNCTIONS, OPERATORS};

#[cfg(test)]
pub(crate) mod tests;
