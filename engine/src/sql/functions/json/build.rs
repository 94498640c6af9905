//! Values of any type as JSON: to_json, json_build_object, json_build_array, json_object.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use crate::sql::functions::Call;
use crate::types::json::{canonical, write_string};
use crate::types::{ColumnReader, DateStyle, FormatSettings, Value, record, write_text};

/// Writes values as PostgreSQL's datum_to_json does.
#[derive(Debug)]
pub(crate) struct JsonWriter {
    fs: FormatSettings,
}

impl JsonWriter {
    /// Dates in JSON are ISO 8601 whatever DateStyle says.
    pub(crate) fn new(fs: &FormatSettings) -> Self {
        JsonWriter { fs: FormatSettings { date_style: DateStyle::Iso, ..fs.clone() } }
    }

    fn text(&self, ty: PgType, value: &Value<'_>) -> String {
        let mut out = Vec::new();
        write_text(ty, value, &self.fs, &mut out);
        String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
    }

    /// Appends the value.
    pub(crate) fn write(&self, ty: PgType, value: &Value<'_>, out: &mut String) {
        match value {
            Value::Null => out.push_str("null"),
            Value::Bool(v) => out.push_str(if *v { "true" } else { "false" }),
            Value::Text(text) if matches!(ty, PgType::JSON | PgType::JSONB) => out.push_str(text),
            Value::Text(text) => write_string(text, out),
            Value::Array(items) if ty.is_array() => {
                let elem = ty.list_element().unwrap_or(PgType::TEXT);
                let reader = ColumnReader::new(items, elem);
                out.push('[');
                for i in 0..items.len() {
                    out.push_str(if i > 0 { "," } else { "" });
                    self.write(elem, &reader.value(i), out);
                }
                out.push(']');
            }
            Value::Bytes(bytes) if ty == PgType::RECORD => {
                out.push('{');
                for (i, field) in record::fields(bytes).unwrap_or_default().iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    write_string(field.name, out);
                    out.push(':');
                    self.write(field.ty, &field.value().unwrap_or(Value::Null), out);
                }
                out.push('}');
            }
            Value::Timestamp(_) => {
                let text = self.text(ty, value);
                write_string(&iso_timestamp(&text, ty == PgType::TIMESTAMPTZ), out);
            }
            _ => {
                let text = self.text(ty, value);
                // NaN and infinities are no JSON numbers.
                if ty.is_number() && !text.ends_with(|c: char| c.is_ascii_alphabetic()) {
                    out.push_str(&text);
                } else {
                    write_string(&text, out);
                }
            }
        }
    }

    /// Appends the value as an object's key.
    pub(in crate::sql::functions) fn write_key(&self, ty: PgType, value: &Value<'_>, out: &mut String) {
        match value {
            Value::Text(text) => write_string(text, out),
            Value::Bool(v) => write_string(if *v { "true" } else { "false" }, out),
            Value::Timestamp(_) => self.write(ty, value, out),
            _ => write_string(&self.text(ty, value), out),
        }
    }
}

/// "2020-01-01 10:00:00+00" as "2020-01-01T10:00:00+00:00".
fn iso_timestamp(text: &str, zone: bool) -> String {
    let (body, era) = text.strip_suffix(" BC").map_or((text, ""), |body| (body, " BC"));
    let mut out = body.replacen(' ', "T", 1);
    if zone
        && let Some(sign) = out.rfind(['+', '-']).filter(|at| out.find('T').is_some_and(|t| *at > t))
        && out.len() - sign == 3
    {
        out.push_str(":00");
    }
    out.push_str(era);
    out
}

/// The text as a value of the result type.
fn finish(call: &Call<'_>, text: String) -> Result<String> {
    if call.ret == PgType::JSONB { canonical(&text) } else { Ok(text) }
}

fn each_row(call: &Call<'_>, mut f: impl FnMut(usize) -> Result<Option<String>>) -> Result<ArrayRef> {
    let mut out = StringBuilder::new();
    for row in 0..call.rows {
        out.append_option(f(row)?.map(|text| finish(call, text)).transpose()?);
    }
    Ok(Arc::new(out.finish()))
}

fn readers<'a>(call: &Call<'_>, args: &'a [ArrayRef]) -> Vec<(PgType, ColumnReader<'a>)> {
    args.iter().zip(call.arg_types).map(|(array, ty)| (*ty, ColumnReader::new(array, *ty))).collect()
}

/// to_json, to_jsonb, array_to_json
pub(super) fn to_json(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let writer = JsonWriter::new(&call.session.format());
    let ty = call.arg_types[0];
    let reader = ColumnReader::new(&args[0], ty);
    each_row(call, |row| {
        let value = reader.value(row);
        if value.is_null() {
            return Ok(None);
        }
        let mut text = String::new();
        writer.write(ty, &value, &mut text);
        Ok(Some(text))
    })
}

/// json_build_array, jsonb_build_array
pub(super) fn build_array(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let writer = JsonWriter::new(&call.session.format());
    let readers = readers(call, args);
    each_row(call, |row| {
        let mut text = String::from("[");
        for (i, (ty, reader)) in readers.iter().enumerate() {
            text.push_str(if i > 0 { ", " } else { "" });
            writer.write(*ty, &reader.value(row), &mut text);
        }
        text.push(']');
        Ok(Some(text))
    })
}

/// json_build_object, jsonb_build_object
pub(super) fn build_object(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let function = if call.ret == PgType::JSONB { "jsonb_build_object()" } else { "json_build_object()" };
    if !args.len().is_multiple_of(2) {
        return Err(SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            "argument list must have even number of elements",
        )
        .hint(format!("The arguments of {function} must consist of alternating keys and values.")));
    }
    let writer = JsonWriter::new(&call.session.format());
    let readers = readers(call, args);
    each_row(call, |row| {
        let mut text = String::from("{");
        for (i, pair) in readers.chunks_exact(2).enumerate() {
            let [(key_type, key), (ty, reader)] = pair else { continue };
            let key = key.value(row);
            if key.is_null() {
                let error = SqlError::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    if call.ret == PgType::JSONB {
                        format!("argument {}: key must not be null", 2 * i + 1)
                    } else {
                        format!("argument {} cannot be null", 2 * i + 1)
                    },
                );
                return Err(if call.ret == PgType::JSONB { error } else { error.hint("Object keys should be text.") });
            }
            text.push_str(if i > 0 { ", " } else { "" });
            writer.write_key(*key_type, &key, &mut text);
            text.push_str(" : ");
            writer.write(*ty, &reader.value(row), &mut text);
        }
        text.push('}');
        Ok(Some(text))
    })
}

/// json_object(text[]) of alternating keys and values, or of keys and values apart.
pub(super) fn object_of_texts(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let bad = |message: &str| SqlError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, message);
    each_row(call, |row| {
        if args.iter().any(|a| a.is_null(row)) {
            return Ok(None);
        }
        let lists: Vec<ArrayRef> = args.iter().map(|a| a.as_list::<i32>().value(row)).collect();
        let flat: Vec<Vec<Option<&str>>> = lists.iter().map(|l| l.as_string::<i32>().iter().collect()).collect();
        let pairs: Vec<(Option<&str>, Option<&str>)> = match flat.as_slice() {
            [one] if one.len() % 2 != 0 => return Err(bad("array must have even number of elements")),
            [one] => one.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect(),
            [keys, values] if keys.len() == values.len() => keys.iter().copied().zip(values.iter().copied()).collect(),
            _ => return Err(bad("mismatched array dimensions")),
        };
        let mut text = String::from("{");
        for (i, (key, value)) in pairs.into_iter().enumerate() {
            let key = key.ok_or_else(|| {
                SqlError::new(SqlState::NULL_VALUE_NOT_ALLOWED, "null value not allowed for object key")
            })?;
            text.push_str(if i > 0 { ", " } else { "" });
            write_string(key, &mut text);
            text.push_str(" : ");
            match value {
                Some(value) => write_string(value, &mut text),
                None => text.push_str("null"),
            }
        }
        text.push('}');
        Ok(Some(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_as_json() {
        let writer = JsonWriter::new(&FormatSettings::default());
        let show = |ty, value: Value<'_>| {
            let mut out = String::new();
            writer.write(ty, &value, &mut out);
            out
        };
        assert_eq!(show(PgType::FLOAT8, Value::Float8(f64::NAN)), "\"NaN\"");
        assert_eq!(show(PgType::FLOAT8, Value::Float8(1e20)), "1e+20");
        assert_eq!(show(PgType::OID, Value::Oid(7)), "\"7\"");
        assert_eq!(show(PgType::TIMESTAMP, Value::Timestamp(1_577_872_800_500_000)), "\"2020-01-01T10:00:00.5\"");
        assert_eq!(show(PgType::TIMESTAMPTZ, Value::Timestamp(1_577_872_800_000_000)), "\"2020-01-01T10:00:00+00:00\"");
        assert_eq!(show(PgType::TIMESTAMP, Value::Timestamp(i64::MAX)), "\"infinity\"");
        let items = Value::Int4(1).to_array(PgType::INT4).unwrap();
        assert_eq!(show(PgType::INT4_ARRAY, Value::Array(items)), "[1]");
        assert_eq!(show(PgType::TEXT, Value::Text("a\"\n".into())), "\"a\\\"\\n\"");
    }
}
