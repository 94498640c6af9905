//! Functions that act on sessions: set_config, pg_sleep, pg_cancel_backend.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringArray};
use datafusion::arrow::datatypes::{Float64Type, Int32Type};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::{Call, FnDef};
use crate::session::{Peers, Vars};

pub(super) static FUNCTIONS: &[FnDef] = &[
    FnDef::new(2078, "set_config", &[PgType::TEXT, PgType::TEXT, PgType::BOOL], PgType::TEXT, set_config)
        .called_on_null()
        .volatile(),
    FnDef::new(2626, "pg_sleep", &[PgType::FLOAT8], PgType::VOID, pg_sleep).volatile(),
    FnDef::new(2171, "pg_cancel_backend", &[PgType::INT4], PgType::BOOL, pg_cancel_backend).volatile(),
    FnDef::new(2096, "pg_terminate_backend", &[PgType::INT4], PgType::BOOL, pg_terminate_backend).volatile(),
];

/// set_config(name, value, is_local): SET as a function; a NULL value is DEFAULT.
fn set_config(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let (names, values, locals) = (args[0].as_string::<i32>(), args[1].as_string::<i32>(), args[2].as_boolean());
    let mut shown = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        if names.is_null(row) {
            return Err(SqlError::new(SqlState::NULL_VALUE_NOT_ALLOWED, "SET requires parameter name"));
        }
        let mut vars = Vars::clone(&call.session.vars());
        let value = values.is_valid(row).then(|| values.value(row));
        vars.set(names.value(row), value, locals.is_valid(row) && locals.value(row))?;
        shown.push(vars.get(names.value(row))?);
        call.session.set_vars(vars);
    }
    Ok(Arc::new(StringArray::from_iter_values(shown)))
}

/// How long pg_sleep sleeps before it looks whether it has been cancelled.
const SLICE: Duration = Duration::from_millis(5);

/// Sleeps in slices; the worker thread is given up to other tasks meanwhile.
fn pg_sleep(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let seconds = args[0].as_primitive::<Float64Type>();
    for row in (0..call.rows).filter(|row| seconds.is_valid(*row)) {
        let length = Duration::try_from_secs_f64(seconds.value(row).max(0.0)).unwrap_or(Duration::MAX);
        let started = Instant::now();
        let sleep = || {
            while let Some(left) = length.checked_sub(started.elapsed()).filter(|l| !l.is_zero()) {
                call.session.cancel().check()?;
                std::thread::sleep(left.min(SLICE));
            }
            Ok(())
        };
        // A connection's own thread has nobody to hand its tasks to.
        match tokio::runtime::Handle::try_current().map(|h| h.runtime_flavor()) {
            Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(sleep)?,
            _ => sleep()?,
        }
    }
    Ok(Arc::new(StringArray::from_iter((0..call.rows).map(|row| seconds.is_valid(row).then_some("")))))
}

fn pg_cancel_backend(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    signal(call, args, |peers, pid| peers.cancel(pid))
}

fn pg_terminate_backend(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    signal(call, args, |peers, pid| peers.terminate(pid))
}

/// Reaches each session by pid; one that does not exist is a warning.
fn signal(call: &Call<'_>, args: &[ArrayRef], reach: impl Fn(&dyn Peers, i32) -> bool) -> Result<ArrayRef> {
    let pids = args[0].as_primitive::<Int32Type>();
    let reached = pids.iter().map(|pid| {
        let pid = pid?;
        let found = call.session.peers.as_deref().is_some_and(|peers| reach(peers, pid));
        if !found {
            let message = format!("PID {pid} is not a PostgreSQL server process");
            call.session.notice(SqlError::new(SqlState::WARNING, message));
        }
        Some(found)
    });
    Ok(Arc::new(reached.collect::<BooleanArray>()))
}
