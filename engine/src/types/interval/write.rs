//! Text output of intervals in the four IntervalStyles.

use super::Interval;
use crate::types::IntervalStyle;
use crate::types::datetime::{MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, write_seconds};

/// The fields as they are shown; all of the time share its sign.
struct Parts {
    years: i64,
    months: i64,
    days: i64,
    hours: i64,
    minutes: i64,
    seconds: i64,
    micros: i64,
}

impl Parts {
    fn has_time(&self) -> bool {
        self.hours != 0 || self.minutes != 0 || self.seconds != 0 || self.micros != 0
    }

    fn time_is_negative(&self) -> bool {
        self.hours < 0 || self.minutes < 0 || self.seconds < 0 || self.micros < 0
    }

    fn seconds(&self, pad: bool, out: &mut Vec<u8>) {
        write_seconds(self.seconds.abs(), self.micros.abs() as i32, pad, out);
    }

    /// `H:MM:SS`, hours padded to two digits or not, without sign.
    fn clock(&self, pad: bool, out: &mut Vec<u8>) {
        let (hours, minutes) = (self.hours.abs(), self.minutes.abs());
        let text = if pad { format!("{hours:02}:{minutes:02}:") } else { format!("{hours}:{minutes:02}:") };
        out.extend_from_slice(text.as_bytes());
        self.seconds(true, out);
    }
}

fn push(text: impl AsRef<str>, out: &mut Vec<u8>) {
    out.extend_from_slice(text.as_ref().as_bytes());
}

impl Interval {
    /// Appends the text form.
    pub fn write(&self, style: IntervalStyle, out: &mut Vec<u8>) {
        let parts = Parts {
            years: i64::from(self.months / 12),
            months: i64::from(self.months % 12),
            days: i64::from(self.days),
            hours: self.micros / MICROS_PER_HOUR,
            minutes: self.micros / MICROS_PER_MINUTE % 60,
            seconds: self.micros / MICROS_PER_SECOND % 60,
            micros: self.micros % MICROS_PER_SECOND,
        };
        match style {
            IntervalStyle::Postgres => postgres(&parts, out),
            IntervalStyle::PostgresVerbose => verbose(&parts, out),
            IntervalStyle::SqlStandard => self.sql_standard(&parts, out),
            IntervalStyle::Iso8601 => iso8601(&parts, out),
        }
    }

    fn sql_standard(&self, parts: &Parts, out: &mut Vec<u8>) {
        let negative = self.months < 0 || self.days < 0 || self.micros < 0;
        let positive = self.months > 0 || self.days > 0 || self.micros > 0;
        if !negative && !positive {
            return out.push(b'0');
        }
        let (years, months, days) = (parts.years.abs(), parts.months.abs(), parts.days.abs());
        let day_time = self.days != 0 || self.micros != 0;
        // Mixed signs, or months beside days, are outside the standard: then every group shows its sign.
        if (negative && positive) || (self.months != 0 && day_time) {
            let sign = |negative| if negative { '-' } else { '+' };
            push(
                format!(
                    "{}{years}-{months} {}{days} {}",
                    sign(self.months < 0),
                    sign(self.days < 0),
                    sign(self.micros < 0)
                ),
                out,
            );
            return parts.clock(false, out);
        }
        if negative {
            out.push(b'-');
        }
        if self.months != 0 {
            return push(format!("{years}-{months}"), out);
        }
        if self.days != 0 {
            push(format!("{days} "), out);
        }
        parts.clock(false, out);
    }
}

fn postgres(parts: &Parts, out: &mut Vec<u8>) {
    let start = out.len();
    let mut before_negative = false;
    for (value, unit) in [(parts.years, "year"), (parts.months, "mon"), (parts.days, "day")] {
        if value == 0 {
            continue;
        }
        let space = if out.len() > start { " " } else { "" };
        let plus = if before_negative && value > 0 { "+" } else { "" };
        push(format!("{space}{plus}{value} {unit}{}", if value == 1 { "" } else { "s" }), out);
        before_negative = value < 0;
    }
    let empty = out.len() == start;
    if !empty && !parts.has_time() {
        return;
    }
    if !empty {
        out.push(b' ');
    }
    if parts.time_is_negative() {
        out.push(b'-');
    } else if before_negative {
        out.push(b'+');
    }
    parts.clock(true, out);
}

fn verbose(parts: &Parts, out: &mut Vec<u8>) {
    out.push(b'@');
    // The first field's sign is that of the whole ("ago"); the others are shown relative to it.
    let mut ago = None;
    let fields = [
        (parts.years, "year"),
        (parts.months, "mon"),
        (parts.days, "day"),
        (parts.hours, "hour"),
        (parts.minutes, "min"),
    ];
    for (value, unit) in fields {
        if value == 0 {
            continue;
        }
        let value = if *ago.get_or_insert(value < 0) { -value } else { value };
        push(format!(" {value} {unit}{}", if value == 1 { "" } else { "s" }), out);
    }
    if parts.seconds != 0 || parts.micros != 0 {
        let negative = parts.seconds < 0 || parts.micros < 0;
        out.push(b' ');
        if *ago.get_or_insert(negative) != negative {
            out.push(b'-');
        }
        parts.seconds(false, out);
        push(if parts.seconds.abs() != 1 || parts.micros != 0 { " secs" } else { " sec" }, out);
    }
    match ago {
        None => push(" 0", out),
        Some(true) => push(" ago", out),
        Some(false) => {}
    }
}

fn iso8601(parts: &Parts, out: &mut Vec<u8>) {
    out.push(b'P');
    let start = out.len();
    let part = |value: i64, unit: char, out: &mut Vec<u8>| {
        if value != 0 {
            push(format!("{value}{unit}"), out);
        }
    };
    part(parts.years, 'Y', out);
    part(parts.months, 'M', out);
    part(parts.days, 'D', out);
    if parts.has_time() {
        out.push(b'T');
        part(parts.hours, 'H', out);
        part(parts.minutes, 'M', out);
        if parts.seconds != 0 || parts.micros != 0 {
            if parts.seconds < 0 || parts.micros < 0 {
                out.push(b'-');
            }
            parts.seconds(false, out);
            out.push(b'S');
        }
    }
    if out.len() == start {
        push("T0S", out);
    }
}
