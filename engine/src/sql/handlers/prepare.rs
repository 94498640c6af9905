//! PREPARE, EXECUTE and DEALLOCATE.

use datafusion::sql::sqlparser::ast;
use kalamdb_catalog::{Result, SqlError, SqlState};

use crate::session::Session;
use crate::sql::bind::{Binder, Parameters};
use crate::sql::execute::complete;
use crate::sql::plan;
use crate::sql::prepared::{PreparedStatement, declared_types};
use crate::sql::statement::Statement;
use crate::sql::{ParsedStatement, Response};

/// 26000
pub(crate) fn missing(name: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_SQL_STATEMENT_NAME, format!("prepared statement \"{name}\" does not exist"))
}

pub(crate) fn prepare(
    session: &mut Session,
    outer: &PreparedStatement,
    name: &str,
    types: &[ast::DataType],
    statement: &std::sync::Arc<Statement>,
) -> Result<Response> {
    if session.statement(name).is_some() {
        return Err(SqlError::new(
            SqlState::DUPLICATE_PREPARED_STATEMENT,
            format!("prepared statement \"{name}\" already exists"),
        ));
    }
    let parsed =
        ParsedStatement { statement: std::sync::Arc::clone(statement), source: std::sync::Arc::clone(outer.source()) };
    let prepared = session.prepare_now(&parsed, &declared_types(types)?)?;
    session.store_statement(name, prepared)?;
    complete("PREPARE")
}

pub(crate) async fn execute(
    session: &mut Session,
    outer: &PreparedStatement,
    name: &str,
    arguments: &[ast::Expr],
) -> Result<Response> {
    let prepared = session.statement(name).ok_or_else(|| missing(name))?;
    if arguments.len() != prepared.parameters.len() {
        return Err(SqlError::new(
            SqlState::SYNTAX_ERROR,
            format!("wrong number of parameters for prepared statement \"{name}\""),
        )
        .detail(format!("Expected {} parameters but got {}.", prepared.parameters.len(), arguments.len())));
    }
    let context = std::sync::Arc::clone(session.context());
    let mut binder = Binder::new(&context, context.catalog(), outer.source(), Parameters::default());
    let mut values = Vec::with_capacity(arguments.len());
    for (i, (argument, ty)) in arguments.iter().zip(&prepared.parameters).enumerate() {
        let typed = binder.standalone(argument)?;
        let (from, position) = (typed.ty, typed.position);
        let typed = binder.assign(typed, *ty, -1).map_err(|e| match e.code() {
            SqlState::CANNOT_COERCE => SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!(
                    "parameter ${} of type {} cannot be coerced to the expected type {}",
                    i + 1,
                    from.sql_name(),
                    ty.sql_name()
                ),
            )
            .hint("You will need to rewrite or cast the expression.")
            .at(position),
            _ => e,
        })?;
        values.push(plan::evaluate(&context, &typed.expr)?);
    }
    crate::sql::execute(session, &prepared.statement, &values).await
}

pub(crate) fn deallocate(session: &mut Session, name: Option<&str>) -> Result<Response> {
    match name {
        None => {
            session.close_all_statements();
            complete("DEALLOCATE ALL")
        }
        Some(name) => {
            session.statement(name).ok_or_else(|| missing(name))?;
            session.close_statement(name);
            complete("DEALLOCATE")
        }
    }
}
