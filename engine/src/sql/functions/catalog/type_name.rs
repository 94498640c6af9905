//! Type names as SQL writes them: "integer", "timestamp(3) with time zone", "varchar(20)[]", "pg_catalog.int4".

use kalamdb_catalog::types::make_numeric_typmod;
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::reg::split_qualified;
use crate::session::SessionContext;

/// The longest varchar and char, as in PostgreSQL.
const MAX_CHARACTERS: i64 = 10_485_760;

/// The type and type modifier (-1 for none) that a type name means. 42704 for one that means nothing, 42601 for text
/// that is no type name.
pub fn parse_type_name(text: &str, session: &SessionContext) -> Result<(PgType, i32)> {
    let mut base = text.trim();
    let mut array = false;
    loop {
        if let Some(rest) = base.strip_suffix(']') {
            let open = rest.rfind('[').ok_or_else(|| syntax_error(text))?;
            if !rest[open + 1..].trim().bytes().all(|b| b.is_ascii_digit()) {
                return Err(syntax_error(text));
            }
            base = rest[..open].trim_end();
        } else if base.len() > 6
            && base.is_char_boundary(base.len() - 6)
            && base[base.len() - 6..].eq_ignore_ascii_case(" array")
        {
            base = base[..base.len() - 6].trim_end();
        } else {
            break;
        }
        array = true;
    }
    let (ty, typmod) = base_type(base, text, session)?;
    if !array {
        return Ok((ty, typmod));
    }
    let array = ty.array().ok_or_else(|| undefined(text.trim()))?;
    Ok((array, typmod))
}

fn undefined(name: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_OBJECT, format!("type \"{name}\" does not exist"))
}

fn syntax_error(text: &str) -> SqlError {
    SqlError::new(SqlState::SYNTAX_ERROR, format!("invalid type name \"{text}\""))
}

/// The name without its array part.
fn base_type(base: &str, whole: &str, session: &SessionContext) -> Result<(PgType, i32)> {
    let (name, modifiers, tail) = split_modifiers(base).ok_or_else(|| syntax_error(whole))?;
    if name.starts_with('"') || name.contains('.') {
        let parts = split_qualified(&name)?;
        return qualified_type(&parts, &modifiers, whole, session);
    }
    let words = name.to_lowercase();
    let words: Vec<&str> = words.split_whitespace().collect();
    let tail = tail.to_lowercase();
    let tail: Vec<&str> = tail.split_whitespace().collect();
    let ty = match (words.as_slice(), tail.as_slice()) {
        (["double", "precision"], []) => PgType::FLOAT8,
        (["character" | "char" | "nchar"] | ["national", "character" | "char"], []) => PgType::BPCHAR,
        (["character" | "char", "varying"] | ["national", "character" | "char", "varying"], []) => PgType::VARCHAR,
        (["dec"], []) => PgType::NUMERIC,
        (["float"], []) => return float(&modifiers),
        (["timestamp"], [] | ["without", "time", "zone"]) => PgType::TIMESTAMP,
        (["timestamp", "without", "time", "zone"], []) => PgType::TIMESTAMP,
        (["timestamp"], ["with", "time", "zone"]) | (["timestamp", "with", "time", "zone"], []) => PgType::TIMESTAMPTZ,
        (["time"], [] | ["without", "time", "zone"]) | (["time", "without", "time", "zone"], []) => PgType::TIME,
        (["interval", fields @ ..], []) => return interval(fields, &modifiers, whole),
        ([name], []) => PgType::from_name(name).ok_or_else(|| undefined(name))?,
        ([first, ..], _) if PgType::from_name(first).is_some() => return Err(syntax_error(whole)),
        _ => return Err(undefined(whole.trim())),
    };
    // A bare CHAR is one character long, a bare "bpchar" any length.
    let one = ty == PgType::BPCHAR && modifiers.is_empty() && words != ["bpchar"];
    Ok((ty, if one { 5 } else { type_modifier(ty, &modifiers)? }))
}

fn qualified_type(parts: &[String], modifiers: &[i64], whole: &str, session: &SessionContext) -> Result<(PgType, i32)> {
    let found = match parts {
        [name] => PgType::from_name(name).filter(|t| t.info().name == name),
        [schema, name] if schema == "pg_catalog" => PgType::from_name(name).filter(|t| t.info().name == name),
        [schema, _] if session.catalog().schema_by_name(session.database, schema).is_none() => {
            return Err(SqlError::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{schema}\" does not exist")));
        }
        _ => None,
    };
    let ty = found.ok_or_else(|| undefined(whole.trim()))?;
    Ok((ty, type_modifier(ty, modifiers)?))
}

/// Name, modifiers in brackets, and what follows them.
fn split_modifiers(text: &str) -> Option<(String, Vec<i64>, String)> {
    let Some(open) = text.find('(') else {
        return Some((text.trim().to_owned(), Vec::new(), String::new()));
    };
    let close = text[open..].find(')')? + open;
    let modifiers = text[open + 1..close].split(',').map(|m| m.trim().parse().ok()).collect::<Option<Vec<i64>>>()?;
    Some((text[..open].trim().to_owned(), modifiers, text[close + 1..].trim().to_owned()))
}

/// The type modifier of a type that was written with these numbers in brackets.
fn type_modifier(ty: PgType, modifiers: &[i64]) -> Result<i32> {
    let invalid = |message: String| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message);
    match (ty, modifiers) {
        (_, []) => Ok(-1),
        (PgType::VARCHAR | PgType::BPCHAR, [length]) => {
            let name = if ty == PgType::VARCHAR { "varchar" } else { "char" };
            if *length < 1 {
                return Err(invalid(format!("length for type {name} must be at least 1")));
            }
            if *length > MAX_CHARACTERS {
                return Err(invalid(format!("length for type {name} cannot exceed {MAX_CHARACTERS}")));
            }
            Ok(*length as i32 + 4)
        }
        (PgType::NUMERIC, [precision]) => make_numeric_typmod(*precision, 0),
        (PgType::NUMERIC, [precision, scale]) => make_numeric_typmod(*precision, *scale),
        // More than six digits are cut to six, with a warning in PostgreSQL.
        (PgType::TIME | PgType::TIMESTAMP | PgType::TIMESTAMPTZ, [precision]) if *precision >= 0 => {
            Ok((*precision).min(6) as i32)
        }
        _ => Err(SqlError::new(
            SqlState::SYNTAX_ERROR,
            format!("type modifier is not allowed for type \"{}\"", ty.info().name),
        )),
    }
}

fn float(modifiers: &[i64]) -> Result<(PgType, i32)> {
    match modifiers {
        [] | [25..=53] => Ok((PgType::FLOAT8, -1)),
        [1..=24] => Ok((PgType::FLOAT4, -1)),
        [bits] if *bits < 1 => {
            Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "precision for type float must be at least 1 bit"))
        }
        _ => {
            Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "precision for type float must be less than 54 bits"))
        }
    }
}

fn interval(fields: &[&str], modifiers: &[i64], whole: &str) -> Result<(PgType, i32)> {
    const FULL_RANGE: i32 = 0x7FFF;
    const FULL_PRECISION: i32 = 0xFFFF;
    let names = ["year", "month", "day", "hour", "minute", "second"];
    let bits = [1 << 2, 1 << 1, 1 << 3, 1 << 10, 1 << 11, 1 << 12];
    let position = |name: &&str| names.iter().position(|n| n == name);
    let range = match fields {
        [] => FULL_RANGE,
        [one] => bits[position(one).ok_or_else(|| syntax_error(whole))?],
        [first, "to", last] => {
            let (Some(first), Some(last)) = (position(first), position(last)) else {
                return Err(syntax_error(whole));
            };
            let same_kind = (first == 0 && last == 1) || (first >= 2 && last > first);
            if !same_kind {
                return Err(syntax_error(whole));
            }
            bits[first..=last].iter().sum()
        }
        _ => return Err(syntax_error(whole)),
    };
    let precision = match modifiers {
        [] => FULL_PRECISION,
        // Only seconds have digits: "interval day(3)" is an error.
        [p] if *p >= 0 && fields.last().is_none_or(|f| *f == "second") => (*p).min(6) as i32,
        _ => return Err(syntax_error(whole)),
    };
    let none = range == FULL_RANGE && precision == FULL_PRECISION;
    Ok((PgType::INTERVAL, if none { -1 } else { (range << 16) | precision }))
}
