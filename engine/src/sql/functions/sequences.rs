//! Functions on sequences (manual, section 9.17).

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use kalamdb_catalog::sequence::SequenceDefinition;
use kalamdb_catalog::{CachedTableData, Oid, PgType, Result, SqlError, SqlState};

use super::adapt::{map0, map1, map2, map3, opt1};
use super::{Call, FnDef};
use crate::session::SessionContext;
use crate::txn::TxnManager;

const CLASS: PgType = PgType::REGCLASS;
const INT8: PgType = PgType::INT8;

pub(super) static FUNCTIONS: &[FnDef] = &[
    FnDef::new(1574, "nextval", &[CLASS], INT8, nextval).volatile(),
    FnDef::new(1575, "currval", &[CLASS], INT8, currval).volatile(),
    FnDef::new(2559, "lastval", &[], INT8, lastval).volatile(),
    FnDef::new(1576, "setval", &[CLASS, INT8], INT8, setval).volatile(),
    FnDef::new(1765, "setval", &[CLASS, INT8, PgType::BOOL], INT8, setval_called).volatile(),
    FnDef::new(4032, "pg_sequence_last_value", &[CLASS], INT8, last_value).volatile(),
];

fn nextval(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    check_writable(call, "nextval()")?;
    map1::<u32, i64>(args, |oid| next(call.session, oid))
}

/// The next value of a sequence, which is then the session's current one.
fn next(session: &SessionContext, oid: Oid) -> Result<i64> {
    let found = sequence(session, oid)?;
    let (definition, sequence) = (&found.definition, of(&found)?);
    let value = txns(session)?.next_value(definition.storage, sequence, &definition.name)?;
    session.sequences().note(oid, value);
    Ok(value)
}

fn currval(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    map1::<u32, i64>(args, |oid| {
        let found = sequence(call.session, oid)?;
        call.session.sequences().current(oid).ok_or_else(|| {
            let name = &found.definition.name;
            undefined(format!("currval of sequence \"{name}\" is not yet defined in this session"))
        })
    })
}

fn lastval(call: &Call<'_>, _: &[ArrayRef]) -> Result<ArrayRef> {
    let last = call.session.sequences().last();
    let catalog = call.session.catalog();
    // One that has been dropped is not the last any more.
    let last = last.filter(|(oid, _)| catalog.table(*oid).is_some());
    let undefined = || undefined("lastval is not yet defined in this session".to_owned());
    map0::<i64>(call.rows, || last.map(|(_, value)| value).ok_or_else(undefined))
}

fn setval(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    check_writable(call, "setval()")?;
    map2::<u32, i64, i64>(args, |oid, value| set(call, oid, value, true))
}

fn setval_called(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    check_writable(call, "setval()")?;
    map3::<u32, i64, bool, i64>(args, |oid, value, called| set(call, oid, value, called))
}

fn set(call: &Call<'_>, oid: Oid, value: i64, called: bool) -> Result<i64> {
    let found = sequence(call.session, oid)?;
    let (definition, sequence) = (&found.definition, of(&found)?);
    if !(sequence.min..=sequence.max).contains(&value) {
        let (name, min, max) = (&definition.name, sequence.min, sequence.max);
        let message = format!("setval: value {value} is out of bounds for sequence \"{name}\" ({min}..{max})");
        return Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message));
    }
    txns(call.session)?.set_value(definition.storage, value, called)?;
    if called {
        call.session.sequences().note_current(oid, value);
    }
    Ok(value)
}

/// NULL before the first value.
fn last_value(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    opt1::<u32, i64>(args, |oid| {
        let found = sequence(call.session, oid)?;
        let state = txns(call.session)?.sequence_state(found.definition.storage, of(&found)?)?;
        Ok(state.called.then_some(state.last))
    })
}

fn txns(session: &SessionContext) -> Result<&Arc<TxnManager>> {
    session.txns.as_ref().ok_or_else(|| SqlError::internal("a sequence is used outside a server"))
}

/// 42809 for another kind of relation.
fn sequence(session: &SessionContext, oid: Oid) -> Result<Arc<CachedTableData>> {
    let catalog = session.catalog();
    let Some(found) = catalog.table(oid) else {
        return Err(match catalog.table_of_index(oid).and_then(|t| t.definition.index(oid)) {
            Some(index) => not_a_sequence(&index.name),
            None => SqlError::new(SqlState::UNDEFINED_TABLE, format!("could not open relation with OID {oid}")),
        });
    };
    of(found)?;
    Ok(Arc::clone(found))
}

fn of(table: &CachedTableData) -> Result<&SequenceDefinition> {
    table.definition.sequence().ok_or_else(|| not_a_sequence(&table.definition.name))
}

fn not_a_sequence(name: &str) -> SqlError {
    SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{name}\" is not a sequence"))
}

fn undefined(message: String) -> SqlError {
    SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
}

fn check_writable(call: &Call<'_>, what: &str) -> Result<()> {
    if call.session.vars().transaction_read_only() {
        let message = format!("cannot execute {what} in a read-only transaction");
        return Err(SqlError::new(SqlState::READ_ONLY_SQL_TRANSACTION, message));
    }
    Ok(())
}
