//! The text form of regclass, regtype and their like, and of arrays of them: the names that their OIDs stand for.
//!
//! A name depends on the catalog and on search_path, which the output functions of `engine::types` do not know. So a
//! column of such a type is replaced by a column of text before the rows are written; other results are passed by.

use std::collections::HashMap;

use arrow_array::{ArrayRef, RecordBatch};
use kalamdb_catalog::{Oid, PgType, Result, SqlError};
use kalamdb_engine::session::SessionContext;
use kalamdb_engine::sql::functions::reg_out;
use kalamdb_engine::types::{ArrayBuilder, ColumnReader, Value};

/// The columns that read as names.
pub(crate) struct Names(Vec<Named>);

struct Named {
    column: usize,
    /// Of the value, or of the elements of an array.
    ty: PgType,
    array: bool,
}

impl Names {
    /// `types` are those of the columns; one that reads as names becomes text or an array of text.
    pub(crate) fn take(types: &mut [PgType], is_text: impl Fn(usize) -> bool) -> Names {
        let mut named = Vec::new();
        for (column, shown) in types.iter_mut().enumerate() {
            let (ty, array) = shown.element().map_or((*shown, false), |element| (element, true));
            if ty.is_reg() && is_text(column) {
                *shown = if array { PgType::TEXT_ARRAY } else { PgType::TEXT };
                named.push(Named { column, ty, array });
            }
        }
        Names(named)
    }

    /// Puts the names into a batch.
    pub(crate) fn put(&self, batch: RecordBatch, session: &SessionContext) -> Result<RecordBatch> {
        if self.0.is_empty() {
            return Ok(batch);
        }
        let mut arrays = batch.columns().to_vec();
        for named in &self.0 {
            let read = if named.array { lists } else { names };
            arrays[named.column] = read(&arrays[named.column], named.ty, session, &mut HashMap::new())?;
        }
        RecordBatch::try_from_iter_with_nullable(arrays.into_iter().map(|array| ("", array, true)))
            .map_err(|e| SqlError::internal(e.to_string()))
    }
}

fn names(oids: &ArrayRef, ty: PgType, session: &SessionContext, known: &mut HashMap<Oid, String>) -> Result<ArrayRef> {
    let reader = ColumnReader::new(oids, ty);
    let mut out = ArrayBuilder::new(PgType::TEXT, oids.len());
    for row in 0..oids.len() {
        match reader.value(row) {
            Value::Oid(oid) => {
                let name = known.entry(oid).or_insert_with(|| reg_out(ty, oid, session));
                out.append(&Value::Text(name.as_str().into()))?;
            }
            _ => out.append(&Value::Null)?,
        }
    }
    Ok(out.finish())
}

fn lists(
    arrays: &ArrayRef,
    element: PgType,
    session: &SessionContext,
    known: &mut HashMap<Oid, String>,
) -> Result<ArrayRef> {
    let reader = ColumnReader::new(arrays, PgType::OID_ARRAY);
    let mut out = ArrayBuilder::new(PgType::TEXT_ARRAY, arrays.len());
    for row in 0..arrays.len() {
        match reader.value(row) {
            Value::Array(oids) => out.append(&Value::Array(names(&oids, element, session, known)?))?,
            _ => out.append(&Value::Null)?,
        }
    }
    Ok(out.finish())
}
