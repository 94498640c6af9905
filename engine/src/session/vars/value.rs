//! Reading and showing the values of settings: numbers with units, booleans, words of an enumeration.
//!
//! A value is kept in the form of pg_settings.setting: numbers in the setting's base unit, booleans as on and off.

use kalamdb_catalog::{Result, SqlError, SqlState};

use super::{VarDef, VarType};

/// Units with their size in the smallest one of their kind (byte, microsecond), largest first.
const MEMORY: &[(&str, f64)] =
    &[("TB", 1099511627776.0), ("GB", 1073741824.0), ("MB", 1048576.0), ("kB", 1024.0), ("B", 1.0)];
const TIME: &[(&str, f64)] = &[("d", 86_400e6), ("h", 3_600e6), ("min", 60e6), ("s", 1e6), ("ms", 1e3), ("us", 1.0)];

fn units(unit: &str) -> (&'static [(&'static str, f64)], f64) {
    let table = if matches!(unit, "ms" | "s" | "min") { TIME } else { MEMORY };
    let base = if unit == "8kB" { 8192.0 } else { table.iter().find(|u| u.0 == unit).map_or(1.0, |u| u.1) };
    (table, base)
}

fn invalid(code: SqlState, message: String) -> SqlError {
    SqlError::new(code, message)
}

/// `invalid value for parameter "x": "y"`
pub(super) fn invalid_value(name: &str, value: &str) -> SqlError {
    invalid(SqlState::INVALID_PARAMETER_VALUE, format!("invalid value for parameter \"{name}\": \"{value}\""))
}

/// on, off, true, false, yes, no, their unambiguous beginnings, 1 and 0, in any case.
pub(super) fn parse_bool(value: &str) -> Option<bool> {
    let v = value.trim().to_ascii_lowercase();
    match v.as_str() {
        "" | "o" => None,
        "1" => Some(true),
        "0" => Some(false),
        v if "true".starts_with(v) || "yes".starts_with(v) || v == "on" => Some(true),
        v if "false".starts_with(v) || "no".starts_with(v) || "off".starts_with(v) => Some(false),
        _ => None,
    }
}

/// The kept form of `value` for a setting that is not text; `name` is the name as the user wrote it.
pub(super) fn normalise(def: &VarDef, name: &str, value: &str) -> Result<String> {
    match def.vartype {
        VarType::Bool => match parse_bool(value) {
            Some(v) => Ok(if v { "on" } else { "off" }.to_owned()),
            None => Err(invalid(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("parameter \"{name}\" requires a Boolean value"),
            )),
        },
        VarType::Integer { min, max } => {
            let number = parse_number(def.unit, name, value)?.round_ties_even();
            if number.abs() > f64::from(i32::MAX) + 1.0 {
                return Err(invalid_value(name, value).hint("Value exceeds integer range."));
            }
            if number < min as f64 || number > max as f64 {
                return Err(out_of_range(def, name, &number.to_string(), &min.to_string(), &max.to_string()));
            }
            Ok(number.to_string())
        }
        VarType::Real { min, max } => {
            let number = parse_number(def.unit, name, value)?;
            if number.is_nan() || number < min || number > max {
                return Err(out_of_range(def, name, &short(number), &short(min), &short(max)));
            }
            Ok(short(number))
        }
        VarType::Enum(words) => {
            let wanted = value.to_ascii_lowercase();
            let wanted = synonym(def.name, &wanted).unwrap_or(&wanted);
            if HIDDEN.contains(&(def.name, wanted)) {
                return Ok(wanted.to_owned());
            }
            words
                .iter()
                .find(|w| **w == wanted)
                .map(|w| (*w).to_owned())
                .ok_or_else(|| invalid_value(name, value).hint(format!("Available values: {}.", words.join(", "))))
        }
        VarType::Text => Ok(value.to_owned()),
    }
}

/// Values that are accepted but not offered in hints.
const HIDDEN: &[(&str, &str)] =
    &[("client_min_messages", "info"), ("client_min_messages", "fatal"), ("client_min_messages", "panic")];

/// Other spellings of the words of some enumerations.
fn synonym(name: &str, value: &str) -> Option<&'static str> {
    match (name, value) {
        ("client_min_messages" | "log_min_messages" | "log_min_error_statement", "debug") => Some("debug2"),
        (
            "synchronous_commit"
            | "constraint_exclusion"
            | "compute_query_id"
            | "force_parallel_mode"
            | "backslash_quote",
            _,
        ) => match value {
            "true" | "yes" | "1" => Some("on"),
            "false" | "no" | "0" => Some("off"),
            _ => None,
        },
        ("wal_compression", "on" | "true" | "yes" | "1") => Some("pglz"),
        ("wal_compression", "false" | "no" | "0") => Some("off"),
        _ => None,
    }
}

fn out_of_range(def: &VarDef, name: &str, value: &str, min: &str, max: &str) -> SqlError {
    let space = if def.unit.is_empty() { "" } else { " " };
    invalid(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("{value}{space}{} is outside the valid range for parameter \"{name}\" ({min} .. {max})", def.unit),
    )
}

/// A number with an optional unit, in the setting's base unit.
fn parse_number(base_unit: &str, name: &str, value: &str) -> Result<f64> {
    let text = value.trim();
    let digits = number_length(text);
    let number = number_of(&text[..digits]).ok_or_else(|| invalid_value(name, value))?;
    let unit = text[digits..].trim_start();
    if unit.is_empty() {
        return Ok(number);
    }
    if base_unit.is_empty() {
        return Err(invalid_value(name, value));
    }
    let (table, base) = units(base_unit);
    match table.iter().position(|u| u.0 == unit) {
        // A fraction is rounded to a whole number of the next smaller unit: 1.2GB is 1229MB.
        Some(i) => match table.get(i + 1) {
            Some((_, next)) if number.fract() != 0.0 => {
                Ok((number * table[i].1 / next).round_ties_even() * next / base)
            }
            _ => Ok(number * table[i].1 / base),
        },
        None => Err(invalid_value(name, value).hint(if std::ptr::eq(table, TIME) {
            "Valid units for this parameter are \"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\"."
        } else {
            "Valid units for this parameter are \"B\", \"kB\", \"MB\", \"GB\", and \"TB\"."
        })),
    }
}

/// A time, in milliseconds, written as settings have it: a number of milliseconds, or one with its unit.
pub(crate) fn parse_milliseconds(name: &str, value: &str) -> Result<f64> {
    parse_number("ms", name, value)
}

/// Length of the number that `text` begins with.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let sign = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    if text[sign..].starts_with("0x") || text[sign..].starts_with("0X") {
        let hex = bytes[sign + 2..].iter().take_while(|b| b.is_ascii_hexdigit()).count();
        return sign + 2 + hex;
    }
    let mut end = sign;
    while bytes.get(end).is_some_and(|b| b.is_ascii_digit() || *b == b'.') {
        end += 1;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let signed = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = bytes[end + 1 + signed..].iter().take_while(|b| b.is_ascii_digit()).count();
        if exponent > 0 {
            end += 1 + signed + exponent;
        }
    }
    end
}

fn number_of(text: &str) -> Option<f64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let number = match hex {
        Some(hex) => i64::from_str_radix(hex, 16).ok()? as f64,
        None if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()) => {
            i64::from_str_radix(digits, 8).ok()? as f64
        }
        None => digits.parse::<f64>().ok()?,
    };
    Some(sign * number)
}

/// C's `%g`.
pub(super) fn short(number: f64) -> String {
    if number == 0.0 || !number.is_finite() {
        return number.to_string();
    }
    let scientific = format!("{number:.5e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return scientific.parse::<f64>().unwrap_or(number).to_string();
    }
    let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// What SHOW prints for a kept value: the largest unit in which it is whole.
pub(super) fn show(def: &VarDef, kept: &str) -> String {
    if def.unit.is_empty() {
        return kept.to_owned();
    }
    let number: f64 = kept.parse().unwrap_or(0.0);
    if number <= 0.0 {
        return kept.to_owned();
    }
    let (table, base) = units(def.unit);
    let smallest = number * base;
    for (unit, size) in table {
        let in_unit = smallest / size;
        if in_unit.fract() == 0.0 {
            return format!("{}{unit}", in_unit);
        }
    }
    format!("{kept}{}", def.unit)
}
