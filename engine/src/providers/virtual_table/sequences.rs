//! What is shown of sequences.

use kalamdb_catalog::sequence::SequenceDefinition;
use kalamdb_catalog::{PgType, Result, SqlError, TableDefinition};

use super::{Hint, Rows, owned, relations, text};
use crate::session::SessionContext;
use crate::txn::SequenceState;
use crate::types::Value;

fn state_of(
    definition: &TableDefinition,
    sequence: &SequenceDefinition,
    session: &SessionContext,
) -> Result<SequenceState> {
    let txns = session.txns.as_ref().ok_or_else(|| SqlError::internal("a sequence is read outside a server"))?;
    txns.sequence_state(definition.storage, sequence)
}

/// The one row of a sequence itself.
pub(super) fn state(
    rows: &mut Rows<'_>,
    definition: &TableDefinition,
    sequence: &SequenceDefinition,
    session: &SessionContext,
) -> Result<()> {
    let state = state_of(definition, sequence, session)?;
    rows.push(&[
        ("last_value", Value::Int8(state.last)),
        ("log_cnt", Value::Int8(state.ahead)),
        ("is_called", Value::Bool(state.called)),
    ])
}

pub(super) fn pg_sequence(rows: &mut Rows<'_>, hint: &Hint<'_>, session: &SessionContext) -> Result<()> {
    for table in relations::visible(session) {
        let t = &table.definition;
        let Some(s) = t.sequence().filter(|_| hint.admits_oid("seqrelid", t.oid)) else { continue };
        rows.push(&[
            ("seqrelid", Value::Oid(t.oid)),
            ("seqtypid", Value::Oid(s.ty.oid())),
            ("seqstart", Value::Int8(s.start)),
            ("seqincrement", Value::Int8(s.increment)),
            ("seqmax", Value::Int8(s.max)),
            ("seqmin", Value::Int8(s.min)),
            ("seqcache", Value::Int8(s.cache)),
            ("seqcycle", Value::Bool(s.cycle)),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_sequences(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    let catalog = session.catalog();
    for table in relations::visible(session) {
        let t = &table.definition;
        let Some(s) = t.sequence() else { continue };
        let state = state_of(t, s, session)?;
        let schema = catalog.schema(t.schema).map_or_else(String::new, |s| s.name.clone());
        rows.push(&[
            ("schemaname", owned(schema)),
            ("sequencename", text(&t.name)),
            ("sequenceowner", text(&t.owner)),
            ("data_type", Value::Oid(s.ty.oid())),
            ("start_value", Value::Int8(s.start)),
            ("min_value", Value::Int8(s.min)),
            ("max_value", Value::Int8(s.max)),
            ("increment_by", Value::Int8(s.increment)),
            ("cycle", Value::Bool(s.cycle)),
            ("cache_size", Value::Int8(s.cache)),
            ("last_value", if state.called { Value::Int8(state.last) } else { Value::Null }),
        ])?;
    }
    Ok(())
}

/// information_schema.sequences: those of identity columns are the columns' own.
pub(super) fn information(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    let catalog = session.catalog();
    for table in relations::visible(session) {
        let t = &table.definition;
        let Some(s) = t.sequence().filter(|s| !s.owner.is_some_and(|o| o.identity)) else { continue };
        let bits = match s.ty {
            PgType::INT2 => 16,
            PgType::INT4 => 32,
            _ => 64,
        };
        let schema = catalog.schema(t.schema).map_or_else(String::new, |s| s.name.clone());
        rows.push(&[
            ("sequence_catalog", text(&session.database_name)),
            ("sequence_schema", owned(schema)),
            ("sequence_name", text(&t.name)),
            ("data_type", text(s.ty.sql_name())),
            ("numeric_precision", Value::Int4(bits)),
            ("numeric_precision_radix", Value::Int4(2)),
            ("numeric_scale", Value::Int4(0)),
            ("start_value", owned(s.start.to_string())),
            ("minimum_value", owned(s.min.to_string())),
            ("maximum_value", owned(s.max.to_string())),
            ("increment", owned(s.increment.to_string())),
            ("cycle_option", text(if s.cycle { "YES" } else { "NO" })),
        ])?;
    }
    Ok(())
}
