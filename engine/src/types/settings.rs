//! What a session sets about the text form of values.

use jiff::tz::TimeZone;

/// Output style of dates (`DateStyle`, first part).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DateStyle {
    #[default]
    Iso,
    Sql,
    Postgres,
    German,
}

/// Order of day, month and year in ambiguous input and non-ISO output (`DateStyle`, second part).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DateOrder {
    #[default]
    Mdy,
    Dmy,
    Ymd,
}

/// `IntervalStyle`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum IntervalStyle {
    #[default]
    Postgres,
    PostgresVerbose,
    SqlStandard,
    Iso8601,
}

/// `bytea_output`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ByteaOutput {
    #[default]
    Hex,
    Escape,
}

/// The settings that reading and writing values as text depends on (manual, section 20.11).
#[derive(Clone, Debug)]
pub struct FormatSettings {
    pub date_style: DateStyle,
    pub date_order: DateOrder,
    pub interval_style: IntervalStyle,
    pub bytea_output: ByteaOutput,
    /// -15 to 3; above 0 means the shortest text that reads back exactly.
    pub extra_float_digits: i32,
    pub time_zone: TimeZone,
    /// `TimeZone` as SHOW prints it.
    pub time_zone_name: String,
    /// Start of the transaction, microseconds since 1970: what 'now', 'today' read as.
    pub transaction_micros: i64,
}

impl Default for FormatSettings {
    fn default() -> Self {
        FormatSettings {
            date_style: DateStyle::Iso,
            date_order: DateOrder::Mdy,
            interval_style: IntervalStyle::Postgres,
            bytea_output: ByteaOutput::Hex,
            extra_float_digits: 1,
            time_zone: TimeZone::UTC,
            time_zone_name: "UTC".to_owned(),
            transaction_micros: 0,
        }
    }
}
