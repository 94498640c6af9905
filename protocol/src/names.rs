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
#[derive(Default)]
pub(crate) struct Names {
    columns: Vec<(usize, PgType)>,
}

impl Names {
    /// `types` are those of the columns; one that reads as names becomes text or an array of text.
    pub(crate) fn take(types: &mut [PgType], is_text: impl Fn(usize) -> bool) -> Names {
        let mut columns = Vec::new();
        for (i, ty) in types.iter_mut().enumerate() {
            let (of, text) = match ty.element() {
                Some(element) => (element, PgType::TEXT_ARRAY),
                None => (*ty, PgType::TEXT),
            };
            if of.is_reg() && is_text(i) {
                columns.push((i, of));
                *ty = text;
            }
        }
        Names { columns }
    }

    /// Puts the names into a batch.
    pub(crate) fn put(&self, batch: RecordBatch, session: &SessionContext) -> Result<RecordBatch> {
        if self.columns.is_empty() {
            return Ok(batch);
        }
        let mut arrays = batch.columns().to_vec();
        let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
        for &(at, of) in &self.columns {
            let mut known = HashMap::new();
            arrays[at] = if matches!(arrays[at].data_type(), arrow_schema::DataType::List(_)) {
                lists(&arrays[at], of, session, &mut known)?
            } else {
                names(&arrays[at], of, session, &mut known)?
            };
            let field = fields[at].as_ref().clone().with_data_type(arrays[at].data_type().clone());
            fields[at] = field.with_nullable(true).into();
        }
        let schema = arrow_schema::Schema::new(fields);
        RecordBatch::try_new(schema.into(), arrays).map_err(|e| SqlError::internal(e.to_string()))
    }
}

fn names(
    oids: &ArrayRef,
    ty: PgType,
    session: &SessionContext,
    known: &mut HashMap<Oid, String>,
) -> Result<ArrayRef> {
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
