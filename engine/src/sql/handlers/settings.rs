//! SET, SHOW, RESET, DISCARD.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use crate::session::{Session, SessionContext, Vars};
use crate::sql::execute::complete;
use crate::sql::statement::TransactionModes;
use crate::sql::{Column, Response};

/// A result column that no table has.
pub(crate) fn column(name: &str, ty: PgType) -> Column {
    Column { name: name.to_owned(), ty, typmod: -1, table: 0, attribute: 0 }
}

/// Rows of text columns.
pub(crate) fn text_rows(columns: Vec<Column>, rows: Vec<Vec<String>>, tag: &'static str) -> Result<Response> {
    let fields: Vec<Field> = columns.iter().map(|c| Field::new(&c.name, DataType::Utf8, true)).collect();
    let arrays: Vec<ArrayRef> = (0..columns.len())
        .map(|i| Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r[i].as_str()))) as ArrayRef)
        .collect();
    let batch =
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(|e| SqlError::internal(e.to_string()))?;
    Ok(Response::Rows { columns, rows: Box::pin(futures::stream::iter([Ok(batch)])), tag })
}

pub(crate) fn set(session: &mut Session, name: &str, value: Option<&str>, local: bool) -> Result<Response> {
    if local && !session.in_block() {
        session.context().notice(SqlError::new(
            SqlState::NO_ACTIVE_SQL_TRANSACTION,
            "SET LOCAL can only be used in transaction blocks",
        ));
    }
    session.begin_utility()?;
    let mut vars = Vars::clone(&session.context().vars());
    vars.set(name, value, local)?;
    session.check_new_modes(&vars)?;
    session.context().set_vars(vars);
    complete("SET")
}

pub(crate) fn set_transaction(session: &mut Session, modes: TransactionModes, whole: bool) -> Result<Response> {
    if !whole {
        if !session.in_block() {
            session.context().notice(SqlError::new(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                "SET TRANSACTION can only be used in transaction blocks",
            ));
        }
        session.begin_utility()?;
        session.set_modes(modes)?;
        return complete("SET");
    }
    session.begin_utility()?;
    let mut vars = Vars::clone(&session.context().vars());
    for (name, value) in modes.settings() {
        vars.set(&format!("default_{name}"), Some(value), false)?;
    }
    session.context().set_vars(vars);
    complete("SET")
}

/// SET TRANSACTION SNAPSHOT
pub(crate) fn set_snapshot(session: &mut Session, name: &str) -> Result<Response> {
    if !session.in_block() {
        session.context().notice(SqlError::new(
            SqlState::NO_ACTIVE_SQL_TRANSACTION,
            "SET TRANSACTION can only be used in transaction blocks",
        ));
    }
    session.begin_utility()?;
    session.import_snapshot(name)?;
    complete("SET")
}

pub(crate) fn reset(session: &mut Session, name: Option<&str>) -> Result<Response> {
    session.begin_utility()?;
    let mut vars = Vars::clone(&session.context().vars());
    match name {
        Some(name) => vars.set(name, None, false)?,
        None => vars.reset_all(),
    }
    session.context().set_vars(vars);
    complete("RESET")
}

/// The column of SHOW: named as the setting is spelled. 42704 for an unknown one.
pub(crate) fn show_columns(context: &SessionContext, name: &str) -> Result<Vec<Column>> {
    let vars = context.vars();
    vars.get(name)?;
    let spelled =
        vars.iter().find(|s| s.name.eq_ignore_ascii_case(name)).map_or(name.to_owned(), |s| s.name.to_owned());
    Ok(vec![column(&spelled, PgType::TEXT)])
}

pub(crate) fn show(session: &Session, name: &str) -> Result<Response> {
    let value = session.context().vars().get(name)?;
    text_rows(show_columns(session.context(), name)?, vec![vec![value]], "SHOW")
}

pub(crate) fn show_all_columns() -> Vec<Column> {
    ["name", "setting", "description"].map(|n| column(n, PgType::TEXT)).to_vec()
}

pub(crate) fn show_all(session: &Session) -> Result<Response> {
    let vars = session.context().vars();
    let rows = vars
        .iter()
        .map(|s| {
            let description = s.def.map_or("", |d| d.short_desc);
            vec![s.name.to_owned(), s.shown, description.to_owned()]
        })
        .collect();
    text_rows(show_all_columns(), rows, "SHOW")
}

pub(crate) fn discard(session: &mut Session, what: &str) -> Result<Response> {
    match what {
        "all" => {
            session.prevent_in_block("DISCARD ALL")?;
            session.close_all_statements();
            super::notify::unlisten(session, None)?;
            if let Some(locks) = &session.context().locks {
                locks.unlock_all();
            }
            session.context().sequences().forget();
            super::cursor::close(session, None)?;
            session.transaction()?;
            super::temporary::discard(session)?;
            reset(session, None)?;
            complete("DISCARD ALL")
        }
        // There are no sequences and no temporary tables; plans are bound anew when what they rest on changes.
        "plans" => complete("DISCARD PLANS"),
        "sequences" => {
            session.context().sequences().forget();
            complete("DISCARD SEQUENCES")
        }
        _ => {
            session.transaction()?;
            super::temporary::discard(session)?;
            complete("DISCARD TEMP")
        }
    }
}
