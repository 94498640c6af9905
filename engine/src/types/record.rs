//! Rows as values: `ROW(1, 'a')`, `SELECT t FROM t` (manual, section 8.16).
//!
//! A record carries its own description, because a type that is made up in a query has no OID. The bytes, integers big
//! endian: the number of fields as u16, then for each field the name (u16 length, bytes), the type's OID as u32, and the
//! value in its binary form after its length as i32, -1 for NULL.

use kalamdb_catalog::{PgType, Result, SqlError};

use super::value::Value;
use super::{FormatSettings, io};

/// A field of a record.
pub(crate) struct Field<'a> {
    pub name: &'a str,
    pub ty: PgType,
    data: Option<&'a [u8]>,
}

impl Field<'_> {
    pub(crate) fn is_null(&self) -> bool {
        self.data.is_none()
    }

    pub(crate) fn value(&self) -> Result<Value<'static>> {
        self.data.map_or(Ok(Value::Null), |data| io::parse_binary(self.ty, -1, data))
    }
}

/// Appends a record to be: [`push`] follows for each field.
pub(crate) fn begin(fields: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(fields as u16).to_be_bytes());
}

/// Appends a field.
pub(crate) fn push(name: &str, ty: PgType, value: &Value<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&(name.len() as u16).to_be_bytes());
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(&ty.oid().to_be_bytes());
    let at = out.len();
    out.extend_from_slice(&(-1i32).to_be_bytes());
    if !value.is_null() {
        // A field that is a record goes as it is kept, with its names.
        match value {
            Value::Bytes(bytes) if ty == PgType::RECORD => out.extend_from_slice(bytes),
            _ => io::write_binary(ty, value, out),
        }
        let length = (out.len() - at - 4) as i32;
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }
}

/// The fields of a record.
pub(crate) fn fields(record: &[u8]) -> Result<Vec<Field<'_>>> {
    read(record).ok_or_else(|| SqlError::internal("a record's bytes are damaged"))
}

fn read(mut rest: &[u8]) -> Option<Vec<Field<'_>>> {
    let count = u16::from_be_bytes(take(&mut rest)?);
    (0..count)
        .map(|_| {
            let length = u16::from_be_bytes(take(&mut rest)?) as usize;
            let name = std::str::from_utf8(rest.split_off(..length)?).ok()?;
            let ty = PgType::from_oid(u32::from_be_bytes(take(&mut rest)?))?;
            let length = i32::from_be_bytes(take(&mut rest)?);
            let data = if length < 0 { None } else { Some(rest.split_off(..length as usize)?) };
            Some(Field { name, ty, data })
        })
        .collect()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    rest.split_off(..N)?.try_into().ok()
}

/// Appends `(1,"a b",)`: the type's output function (rowtypes.c, record_out).
pub(super) fn write_text(record: &[u8], fs: &FormatSettings, out: &mut Vec<u8>) {
    out.push(b'(');
    let mut one = Vec::new();
    for (i, field) in read(record).unwrap_or_default().iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        if let Ok(value) = field.value()
            && !value.is_null()
        {
            one.clear();
            io::write_text(field.ty, &value, fs, &mut one);
            write_field(&one, out);
        }
    }
    out.push(b')');
}

/// Appends a field's text, quoted if it would read back differently.
fn write_field(text: &[u8], out: &mut Vec<u8>) {
    let special = |b: &u8| matches!(b, b'"' | b'\\' | b'(' | b')' | b',' | b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
    if !text.is_empty() && !text.iter().any(special) {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for &b in text {
        if matches!(b, b'"' | b'\\') {
            out.push(b);
        }
        out.push(b);
    }
    out.push(b'"');
}

/// Appends the wire's binary form: the number of fields, and of each the OID, the length and the value.
pub(super) fn write_binary(record: &[u8], out: &mut Vec<u8>) {
    let fields = read(record).unwrap_or_default();
    out.extend_from_slice(&(fields.len() as i32).to_be_bytes());
    for field in &fields {
        out.extend_from_slice(&field.ty.oid().to_be_bytes());
        let Some(data) = field.data else {
            out.extend_from_slice(&(-1i32).to_be_bytes());
            continue;
        };
        let mut inner = Vec::new();
        let data = if field.ty == PgType::RECORD {
            write_binary(data, &mut inner);
            inner.as_slice()
        } else {
            data
        };
        out.extend_from_slice(&(data.len() as i32).to_be_bytes());
        out.extend_from_slice(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_fields() {
        let mut record = Vec::new();
        begin(4, &mut record);
        push("f1", PgType::INT4, &Value::Int4(1), &mut record);
        push("f2", PgType::TEXT, &Value::Text("a \"b\"".into()), &mut record);
        push("f3", PgType::TEXT, &Value::Null, &mut record);
        push("f4", PgType::TEXT, &Value::Text("".into()), &mut record);
        let mut text = Vec::new();
        write_text(&record, &FormatSettings::default(), &mut text);
        assert_eq!(String::from_utf8(text).unwrap(), r#"(1,"a ""b""",,"")"#);
        let read = fields(&record).unwrap();
        assert_eq!(read.iter().map(|f| f.name).collect::<Vec<_>>(), ["f1", "f2", "f3", "f4"]);
        assert!(read[2].is_null() && !read[3].is_null());
        assert!(fields(&record[..record.len() - 1]).is_err());
    }
}
