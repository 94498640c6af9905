//! Records: made from fields, tested for NULL (manual, 9.25.5 and 9.2).

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, BooleanArray};
use kalamdb_catalog::Result;

use super::Call;
use crate::types::{ArrayBuilder, ColumnReader, record};

/// `ROW(...)`: the first argument holds the names of the fields, separated by zero bytes; the others are the fields.
pub(crate) fn make_record(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let mut out = BinaryBuilder::with_capacity(call.rows, call.rows * 16 * args.len());
    let names = args[0].as_string::<i32>();
    let fields = call.arg_types.iter().zip(args).skip(1);
    let readers: Vec<_> = fields.map(|(ty, array)| (*ty, ColumnReader::new(array, *ty))).collect();
    let mut bytes = Vec::new();
    for row in 0..call.rows {
        bytes.clear();
        record::begin(readers.len(), &mut bytes);
        for ((ty, reader), name) in readers.iter().zip(names.value(row).split('\0')) {
            record::push(name, *ty, &reader.value(row), &mut bytes);
        }
        out.append_value(&bytes);
    }
    Ok(Arc::new(out.finish()))
}

/// The field of the name that the second argument gives; NULL of a NULL record.
pub(crate) fn record_field(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let records = args[0].as_binary::<i32>();
    let names = args[1].as_string::<i32>();
    let mut out = ArrayBuilder::new(call.ret, call.rows);
    for row in 0..call.rows {
        let fields = if records.is_null(row) { Vec::new() } else { record::fields(records.value(row))? };
        match fields.iter().find(|f| f.name == names.value(row)) {
            Some(field) => out.append(&field.value()?)?,
            None => out.append_null(),
        }
    }
    Ok(out.finish())
}

/// True for NULL and for a record whose fields are all NULL.
pub(crate) fn record_null(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    test(args, true)
}

/// True for a record without a NULL field; so a record may be neither NULL nor NOT NULL.
pub(crate) fn record_not_null(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    test(args, false)
}

fn test(args: &[ArrayRef], null: bool) -> Result<ArrayRef> {
    let records = args[0].as_binary::<i32>();
    let mut out = Vec::with_capacity(records.len());
    for value in records {
        out.push(match value {
            None => null,
            Some(value) => record::fields(value)?.iter().all(|f| f.is_null() == null),
        });
    }
    Ok(Arc::new(BooleanArray::from(out)))
}
