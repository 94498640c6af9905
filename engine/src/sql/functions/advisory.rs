//! Advisory locks (manual, section 9.27.10): of the session or the transaction, exclusive or shared, on one key of 64 bits
//! or two of 32.
//!
//! Those that wait are asynchronous functions to DataFusion ([`wait_and_lock`]): who waits holds no thread.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, StringArray};
use datafusion::arrow::datatypes::{Int32Type, Int64Type};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::{Call, FnDef};
use crate::session::SessionContext;
use crate::txn::{AdvisoryKey, IfLocked, LockMode, RowLocker};

const BIG: &[PgType] = &[PgType::INT8];
const PAIR: &[PgType] = &[PgType::INT4, PgType::INT4];

const fn waits(oid: u32, name: &'static str, args: &'static [PgType]) -> FnDef {
    FnDef::new(oid, name, args, PgType::VOID, only_asynchronous).volatile().waiting()
}

pub(super) static FUNCTIONS: &[FnDef] = &[
    waits(2880, "pg_advisory_lock", BIG),
    waits(2886, "pg_advisory_lock", PAIR),
    waits(2881, "pg_advisory_lock_shared", BIG),
    waits(2887, "pg_advisory_lock_shared", PAIR),
    waits(3089, "pg_advisory_xact_lock", BIG),
    waits(3093, "pg_advisory_xact_lock", PAIR),
    waits(3090, "pg_advisory_xact_lock_shared", BIG),
    waits(3094, "pg_advisory_xact_lock_shared", PAIR),
    FnDef::new(2882, "pg_try_advisory_lock", BIG, PgType::BOOL, try_exclusive).volatile(),
    FnDef::new(2888, "pg_try_advisory_lock", PAIR, PgType::BOOL, try_exclusive).volatile(),
    FnDef::new(2883, "pg_try_advisory_lock_shared", BIG, PgType::BOOL, try_shared).volatile(),
    FnDef::new(2889, "pg_try_advisory_lock_shared", PAIR, PgType::BOOL, try_shared).volatile(),
    FnDef::new(3091, "pg_try_advisory_xact_lock", BIG, PgType::BOOL, try_exclusive_xact).volatile(),
    FnDef::new(3095, "pg_try_advisory_xact_lock", PAIR, PgType::BOOL, try_exclusive_xact).volatile(),
    FnDef::new(3092, "pg_try_advisory_xact_lock_shared", BIG, PgType::BOOL, try_shared_xact).volatile(),
    FnDef::new(3096, "pg_try_advisory_xact_lock_shared", PAIR, PgType::BOOL, try_shared_xact).volatile(),
    FnDef::new(2884, "pg_advisory_unlock", BIG, PgType::BOOL, unlock_exclusive).volatile(),
    FnDef::new(2890, "pg_advisory_unlock", PAIR, PgType::BOOL, unlock_exclusive).volatile(),
    FnDef::new(2885, "pg_advisory_unlock_shared", BIG, PgType::BOOL, unlock_shared).volatile(),
    FnDef::new(2891, "pg_advisory_unlock_shared", PAIR, PgType::BOOL, unlock_shared).volatile(),
    FnDef::new(2892, "pg_advisory_unlock_all", &[], PgType::VOID, unlock_all).volatile(),
    FnDef::new(2561, "pg_blocking_pids", &[PgType::INT4], PgType::INT4_ARRAY, blocking_pids).volatile(),
];

/// The key of a row; None if it is NULL.
fn key(session: &SessionContext, args: &[ArrayRef], row: usize) -> Option<AdvisoryKey> {
    if args.iter().any(|a| a.is_null(row)) {
        return None;
    }
    let database = session.database;
    Some(match args {
        [class, key] => AdvisoryKey::Pair {
            database,
            class: class.as_primitive::<Int32Type>().value(row),
            key: key.as_primitive::<Int32Type>().value(row),
        },
        _ => AdvisoryKey::Big { database, key: args[0].as_primitive::<Int64Type>().value(row) },
    })
}

/// What a waiting function does, by its name: one row after the other.
pub(crate) async fn wait_and_lock(
    name: &str,
    session: &SessionContext,
    locker: Option<&RowLocker>,
    args: &[ArrayRef],
    rows: usize,
) -> Result<ArrayRef> {
    let mode = if name.ends_with("_shared") { LockMode::Share } else { LockMode::Exclusive };
    let of_transaction = name.contains("_xact_");
    let mut locked = Vec::with_capacity(rows);
    for row in 0..rows {
        let Some(key) = key(session, args, row) else {
            locked.push(None);
            continue;
        };
        match (of_transaction, locker, &session.locks) {
            (true, Some(locker), _) => drop(locker.lock_advisory(key, mode, IfLocked::Wait).await?),
            (false, _, Some(locks)) => drop(locks.lock(session, key, mode, IfLocked::Wait).await?),
            _ => return Err(nowhere()),
        }
        locked.push(Some(""));
    }
    Ok(Arc::new(StringArray::from(locked)))
}

/// Where DataFusion does not run asynchronous functions: an aggregate's argument, a sort key.
fn only_asynchronous(_: &Call<'_>, _: &[ArrayRef]) -> Result<ArrayRef> {
    Err(SqlError::unsupported("waiting for an advisory lock in this place"))
}

fn nowhere() -> SqlError {
    SqlError::internal("an advisory lock outside a session")
}

fn try_exclusive(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    each(call, args, |key| of_session(call, key, LockMode::Exclusive))
}

fn try_shared(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    each(call, args, |key| of_session(call, key, LockMode::Share))
}

fn try_exclusive_xact(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    each(call, args, |key| of_transaction(call, key, LockMode::Exclusive))
}

fn try_shared_xact(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    each(call, args, |key| of_transaction(call, key, LockMode::Share))
}

fn of_session(call: &Call<'_>, key: AdvisoryKey, mode: LockMode) -> Result<bool> {
    call.session.locks.as_ref().ok_or_else(nowhere)?.try_lock(key, mode)
}

fn of_transaction(call: &Call<'_>, key: AdvisoryKey, mode: LockMode) -> Result<bool> {
    call.locker.ok_or_else(nowhere)?.try_lock_advisory(key, mode)
}

fn unlock_exclusive(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    each(call, args, |key| unlock(call, key, LockMode::Exclusive))
}

fn unlock_shared(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    each(call, args, |key| unlock(call, key, LockMode::Share))
}

/// False, with a warning, for a lock that the session does not hold.
fn unlock(call: &Call<'_>, key: AdvisoryKey, mode: LockMode) -> Result<bool> {
    let held = call.session.locks.as_ref().ok_or_else(nowhere)?.unlock(key, mode);
    if !held {
        let message = format!("you don't own a lock of type {}", mode.name());
        call.session.notice(SqlError::new(SqlState::WARNING, message));
    }
    Ok(held)
}

fn each(call: &Call<'_>, args: &[ArrayRef], f: impl Fn(AdvisoryKey) -> Result<bool>) -> Result<ArrayRef> {
    let row = |row| key(call.session, args, row).map(&f).transpose();
    Ok(Arc::new((0..call.rows).map(row).collect::<Result<BooleanArray>>()?))
}

fn unlock_all(call: &Call<'_>, _: &[ArrayRef]) -> Result<ArrayRef> {
    if let Some(locks) = &call.session.locks {
        locks.unlock_all();
    }
    Ok(Arc::new(StringArray::from_iter_values(vec![""; call.rows])))
}

/// The sessions that keep another one from its lock.
fn blocking_pids(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let pids = args[0].as_primitive::<Int32Type>();
    let blockers = |pid: i32| {
        let found = call.session.txns.as_ref().map_or_else(Vec::new, |txns| txns.blockers_of(pid));
        found.into_iter().map(|owner| Some(owner.pid())).collect::<Vec<_>>()
    };
    let lists = pids.iter().map(|pid| pid.map(blockers));
    Ok(Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists)))
}
