//! Type names in SQL: sqlparser's `DataType` to a [`PgType`] and its type modifier.

use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, CharacterLength, DataType, ExactNumberInfo, IntervalFields, ObjectName, TimezoneInfo,
};
use kalamdb_catalog::types::make_numeric_typmod;
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::name_parts;

/// The longest varchar(n) and char(n), in characters (PostgreSQL's MaxAttrSize).
const MAX_CHARACTERS: u64 = 10_485_760;

/// The type that a type name in an expression means; `numeric(10,2)` has a modifier, `text` has -1.
pub(crate) fn type_of_name(name: &DataType) -> Result<(PgType, i32)> {
    let plain = |ty: PgType| Ok((ty, -1));
    match name {
        DataType::Boolean | DataType::Bool => plain(PgType::BOOL),
        DataType::SmallInt(None) | DataType::Int2(None) => plain(PgType::INT2),
        DataType::Int(None) | DataType::Integer(None) | DataType::Int4(None) => plain(PgType::INT4),
        DataType::BigInt(None) | DataType::Int8(None) => plain(PgType::INT8),
        DataType::Real | DataType::Float4 => plain(PgType::FLOAT4),
        DataType::DoublePrecision | DataType::Float8 => plain(PgType::FLOAT8),
        DataType::Float(info) => float(info),
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => numeric(info),
        DataType::Text => plain(PgType::TEXT),
        DataType::Varchar(length) | DataType::CharacterVarying(length) | DataType::CharVarying(length) => {
            characters(PgType::VARCHAR, "varchar", length.as_ref(), -1)
        }
        DataType::Char(length) | DataType::Character(length) => characters(PgType::BPCHAR, "char", length.as_ref(), 5),
        DataType::Bytea => plain(PgType::BYTEA),
        DataType::Date => plain(PgType::DATE),
        DataType::Time(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            Ok((PgType::TIME, precision_typmod(*precision)))
        }
        DataType::Time(_, _) => Err(SqlError::unsupported("type time with time zone")),
        DataType::Timestamp(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            Ok((PgType::TIMESTAMP, precision_typmod(*precision)))
        }
        DataType::Timestamp(precision, _) => Ok((PgType::TIMESTAMPTZ, precision_typmod(*precision))),
        DataType::Interval { fields, precision } => {
            Ok((PgType::INTERVAL, interval_typmod(fields.as_ref(), *precision)))
        }
        DataType::Uuid => plain(PgType::UUID),
        DataType::JSON => plain(PgType::JSON),
        DataType::JSONB => plain(PgType::JSONB),
        DataType::Regclass => plain(PgType::REGCLASS),
        DataType::Array(
            ArrayElemTypeDef::SquareBracket(element, _)
            | ArrayElemTypeDef::AngleBracket(element)
            | ArrayElemTypeDef::Parenthesis(element),
        ) => {
            let (element, typmod) = type_of_name(element)?;
            // `int[][]` is the same type as `int[]`.
            let array = if element.is_array() { Some(element) } else { element.array() };
            let array = array.ok_or_else(|| SqlError::unsupported(format!("type {element}[]")))?;
            Ok((array, typmod))
        }
        DataType::Custom(name, modifiers) => custom(name, modifiers),
        other => Err(unknown_type(&other.to_string().to_lowercase())),
    }
}

/// The type of a column definition: pseudo-types are refused (42P16).
pub(crate) fn column_type(column: &str, name: &DataType) -> Result<(PgType, i32)> {
    let (ty, typmod) = type_of_name(name)?;
    if ty.info().kind == 'p' {
        return Err(SqlError::new(
            SqlState::INVALID_TABLE_DEFINITION,
            format!("column \"{column}\" has pseudo-type {}", ty.sql_name()),
        ));
    }
    Ok((ty, typmod))
}

fn custom(name: &ObjectName, modifiers: &[String]) -> Result<(PgType, i32)> {
    let parts = name_parts(name)?;
    let (schema, base) = match parts.as_slice() {
        [base] => (None, base.as_str()),
        [schema, base] => (Some(schema.as_str()), base.as_str()),
        _ => return Err(unknown_type(&parts.join("."))),
    };
    if schema.is_some_and(|s| s != "pg_catalog") {
        return Err(unknown_type(&parts.join(".")));
    }
    // `"char"` in quotes is a type of its own; `char` without is bpchar.
    let quoted = matches!(name.0.last(), Some(datafusion::sql::sqlparser::ast::ObjectNamePart::Identifier(i)) if i.quote_style.is_some());
    let ty = match base {
        "char" if !quoted && schema.is_none() => Some(PgType::BPCHAR),
        other if quoted || schema.is_some() => by_catalog_name(other),
        other => PgType::from_name(other),
    };
    let Some(ty) = ty else { return Err(unknown_type(&parts.join("."))) };
    if matches!(ty, PgType::INET | PgType::XML) {
        // System views have such columns; nothing here reads or checks their values.
        return Err(SqlError::unsupported(format!("type {base}")));
    }
    let number = |i: usize| modifiers.get(i).and_then(|m| m.trim().parse::<i64>().ok());
    let typmod = match (ty, number(0)) {
        (PgType::VARCHAR | PgType::BPCHAR, Some(n)) => {
            let length = CharacterLength::IntegerLength { length: n.max(0) as u64, unit: None };
            return characters(ty, if ty == PgType::VARCHAR { "varchar" } else { "char" }, Some(&length), -1);
        }
        (PgType::NUMERIC, Some(p)) => make_numeric_typmod(p, number(1).unwrap_or(0))?,
        (PgType::TIMESTAMP | PgType::TIMESTAMPTZ | PgType::TIME, Some(p)) => precision_typmod(Some(p as u64)),
        (_, None) => -1,
        _ => {
            return Err(SqlError::new(
                SqlState::SYNTAX_ERROR,
                format!("type modifier is not allowed for type \"{}\"", ty.info().name),
            ));
        }
    };
    Ok((ty, typmod))
}

/// A quoted or qualified name must be pg_type's own: pg_catalog.integer does not exist.
fn by_catalog_name(name: &str) -> Option<PgType> {
    PgType::from_name(name).filter(|t| t.info().name == name)
}

fn float(info: &ExactNumberInfo) -> Result<(PgType, i32)> {
    match info {
        ExactNumberInfo::None => Ok((PgType::FLOAT8, -1)),
        ExactNumberInfo::Precision(0) => {
            Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "precision for type float must be at least 1 bit"))
        }
        ExactNumberInfo::Precision(1..=24) => Ok((PgType::FLOAT4, -1)),
        ExactNumberInfo::Precision(25..=53) => Ok((PgType::FLOAT8, -1)),
        _ => {
            Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "precision for type float must be less than 54 bits"))
        }
    }
}

fn numeric(info: &ExactNumberInfo) -> Result<(PgType, i32)> {
    let typmod = match info {
        ExactNumberInfo::None => -1,
        ExactNumberInfo::Precision(p) => make_numeric_typmod(*p as i64, 0)?,
        ExactNumberInfo::PrecisionAndScale(p, s) => make_numeric_typmod(*p as i64, *s)?,
    };
    Ok((PgType::NUMERIC, typmod))
}

fn characters(ty: PgType, name: &str, length: Option<&CharacterLength>, bare: i32) -> Result<(PgType, i32)> {
    match length {
        None => Ok((ty, bare)),
        Some(CharacterLength::IntegerLength { length: 0, .. }) => {
            Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("length for type {name} must be at least 1")))
        }
        Some(CharacterLength::IntegerLength { length, .. }) if *length > MAX_CHARACTERS => Err(SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("length for type {name} cannot exceed {MAX_CHARACTERS}"),
        )),
        Some(CharacterLength::IntegerLength { length, .. }) => Ok((ty, *length as i32 + 4)),
        Some(CharacterLength::Max) => Err(unknown_type("max")),
    }
}

/// timestamp(p): PostgreSQL reduces a precision above 6 to 6 with a warning.
fn precision_typmod(precision: Option<u64>) -> i32 {
    precision.map_or(-1, |p| p.min(6) as i32)
}

/// INTERVAL_TYPMOD: field mask in the high half, precision in the low one.
fn interval_typmod(fields: Option<&IntervalFields>, precision: Option<u64>) -> i32 {
    const MONTH: i32 = 1 << 1;
    const YEAR: i32 = 1 << 2;
    const DAY: i32 = 1 << 3;
    const HOUR: i32 = 1 << 10;
    const MINUTE: i32 = 1 << 11;
    const SECOND: i32 = 1 << 12;
    let mask = match fields {
        None if precision.is_none() => return -1,
        None => 0x7FFF,
        Some(IntervalFields::Year) => YEAR,
        Some(IntervalFields::Month) => MONTH,
        Some(IntervalFields::Day) => DAY,
        Some(IntervalFields::Hour) => HOUR,
        Some(IntervalFields::Minute) => MINUTE,
        Some(IntervalFields::Second) => SECOND,
        Some(IntervalFields::YearToMonth) => YEAR | MONTH,
        Some(IntervalFields::DayToHour) => DAY | HOUR,
        Some(IntervalFields::DayToMinute) => DAY | HOUR | MINUTE,
        Some(IntervalFields::DayToSecond) => DAY | HOUR | MINUTE | SECOND,
        Some(IntervalFields::HourToMinute) => HOUR | MINUTE,
        Some(IntervalFields::HourToSecond) => HOUR | MINUTE | SECOND,
        Some(IntervalFields::MinuteToSecond) => MINUTE | SECOND,
    };
    (mask << 16) | precision.map_or(0xFFFF, |p| p.min(6) as i32)
}

fn unknown_type(name: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_OBJECT, format!("type \"{name}\" does not exist"))
}

/// The type modifier of `INTERVAL '1' DAY TO SECOND (3)`.
pub(super) fn interval_literal_typmod(i: &datafusion::sql::sqlparser::ast::Interval) -> Result<i32> {
    use datafusion::sql::sqlparser::ast::DateTimeField as F;
    let fields = match (&i.leading_field, &i.last_field) {
        (None, _) => return Ok(interval_typmod(None, i.fractional_seconds_precision)),
        (Some(F::Year), None) => IntervalFields::Year,
        (Some(F::Month), None) => IntervalFields::Month,
        (Some(F::Day), None) => IntervalFields::Day,
        (Some(F::Hour), None) => IntervalFields::Hour,
        (Some(F::Minute), None) => IntervalFields::Minute,
        (Some(F::Second), None) => IntervalFields::Second,
        (Some(F::Year), Some(F::Month)) => IntervalFields::YearToMonth,
        (Some(F::Day), Some(F::Hour)) => IntervalFields::DayToHour,
        (Some(F::Day), Some(F::Minute)) => IntervalFields::DayToMinute,
        (Some(F::Day), Some(F::Second)) => IntervalFields::DayToSecond,
        (Some(F::Hour), Some(F::Minute)) => IntervalFields::HourToMinute,
        (Some(F::Hour), Some(F::Second)) => IntervalFields::HourToSecond,
        (Some(F::Minute), Some(F::Second)) => IntervalFields::MinuteToSecond,
        _ => return Err(SqlError::unsupported(format!("interval field in {i}"))),
    };
    Ok(interval_typmod(Some(&fields), i.fractional_seconds_precision.or(i.leading_precision)))
}
