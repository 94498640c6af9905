//! One statement: the exhaustive match from kind to handler.

use datafusion::common::ScalarValue;
use kalamdb_catalog::{Result, SqlError, SqlState};

use super::Response;
use super::handlers;
use super::prepared::{BoundStatement, Plan, PreparedStatement};
use super::statement::{Statement, TransactionCommand};
use crate::session::Session;

/// Carries out a statement in the session's transaction.
pub(crate) async fn execute(
    session: &mut Session,
    prepared: &PreparedStatement,
    parameters: &[ScalarValue],
) -> Result<Response> {
    match &**prepared.statement() {
        // Boxed, as what is rare below: the future is large, and would be moved about with those of all statements.
        Statement::Query(query) => match handlers::create_table::select_into(query) {
            Some(into) => {
                Box::pin(handlers::create_table::run_select_into(session, prepared, query, into, parameters)).await
            }
            None => run_planned(session, prepared, parameters).await,
        },
        Statement::Insert(_)
        | Statement::Update(_)
        | Statement::Delete(_)
        | Statement::Merge(_)
        | Statement::With { .. } => run_planned(session, prepared, parameters).await,
        utility => Box::pin(run_utility(session, prepared, utility, parameters)).await,
    }
}

async fn run_utility(
    session: &mut Session,
    prepared: &PreparedStatement,
    statement: &Statement,
    parameters: &[ScalarValue],
) -> Result<Response> {
    match statement {
        Statement::Copy(copy) => handlers::copy::run(session, prepared, copy).await,
        Statement::CreateTable(create) => handlers::create_table::run(session, prepared, create, parameters).await,
        statement @ (Statement::Ddl(_)
        | Statement::CreateSequence(_)
        | Statement::AlterSequence(_)
        | Statement::AlterTable(_)
        | Statement::DropIndex { .. }
        | Statement::Reindex { .. }) => handlers::ddl::run(session, prepared, statement).await,
        Statement::SetConstraints { names, deferred } => handlers::constraint::set(session, names, *deferred).await,
        Statement::Explain(explain) => handlers::explain::run(session, prepared, explain, parameters).await,
        Statement::Transaction(command) => transaction(session, command).await,
        Statement::SetTransaction { modes, session: whole } => {
            handlers::settings::set_transaction(session, *modes, *whole)
        }
        Statement::SetSnapshot { name } => handlers::settings::set_snapshot(session, name),
        Statement::Set { name, value, local } => handlers::settings::set(session, name, value.as_deref(), *local),
        Statement::Reset { name } => handlers::settings::reset(session, name.as_deref()),
        Statement::Show { name } => handlers::settings::show(session, name),
        Statement::ShowAll => handlers::settings::show_all(session),
        Statement::Discard { what } => handlers::settings::discard(session, what),
        Statement::Prepare { name, types, statement } => {
            handlers::prepare::prepare(session, prepared, name, types, statement)
        }
        Statement::Execute { name, arguments } => {
            Box::pin(handlers::prepare::execute(session, prepared, name, arguments)).await
        }
        Statement::Deallocate { name } => handlers::prepare::deallocate(session, name.as_deref()),
        Statement::Declare(declare) => handlers::cursor::declare(session, prepared, declare, parameters).await,
        Statement::Fetch { name, direction, moves, timeout } => {
            handlers::cursor::fetch(session, name, *direction, *moves, *timeout).await
        }
        Statement::Close { name } => handlers::cursor::close(session, name.as_deref()),
        Statement::Listen { channel, options, position } => {
            handlers::notify::listen(session, channel, *options, *position)
        }
        Statement::Unlisten { channel } => handlers::notify::unlisten(session, channel.as_deref()),
        Statement::Notify { channel, payload } => handlers::notify::notify(session, channel, payload),
        Statement::Subscribe(subscribe) => handlers::subscribe::run(session, prepared, subscribe).await,
        Statement::KillLiveQuery { id } => handlers::notify::kill(session, id),
        Statement::Lock(lock) => handlers::lock::run(session, prepared, lock).await,
        Statement::Maintenance { tag, tables } => handlers::ddl::maintenance(session, prepared, tag, tables),
        Statement::Accepted { tag } => complete(*tag),
        Statement::Query(_)
        | Statement::Insert(_)
        | Statement::Update(_)
        | Statement::Delete(_)
        | Statement::Merge(_)
        | Statement::With { .. } => Err(SqlError::internal("a statement with a plan is run as a utility")),
    }
}

/// A response without rows.
pub(crate) fn complete(tag: impl Into<String>) -> Result<Response> {
    Ok(Response::Complete { tag: tag.into() })
}

async fn run_planned(
    session: &mut Session,
    prepared: &PreparedStatement,
    parameters: &[ScalarValue],
) -> Result<Response> {
    session.transaction()?;
    let mut bound = prepared.current(session)?;
    while session.lock_tables(&bound.locks).await? {
        bound = prepared.current(session)?;
    }
    if let Some(words) = bound.locking {
        handlers::check_writable(session, &format!("SELECT {words}"))?;
    }
    if !bound.modifying.is_empty() {
        match &bound.plan {
            Plan::Dml { dml, .. } => check_writable(session, dml.kind)?,
            Plan::Query { .. } | Plan::Utility => handlers::check_writable(session, "SELECT")?,
        }
        return Box::pin(handlers::with::run(session, &bound, parameters)).await;
    }
    let response = run_plan(session, &bound, parameters).await;
    match &response {
        // That a key is there may be news to what has been read.
        Err(error) if error.code() == SqlState::UNIQUE_VIOLATION => {
            session.open_transaction()?.check_reads()?;
            response
        }
        _ => response,
    }
}

async fn run_plan(session: &mut Session, bound: &BoundStatement, parameters: &[ScalarValue]) -> Result<Response> {
    match &bound.plan {
        Plan::Query { plan, fast } => {
            let columns = bound.columns.clone().unwrap_or_default();
            if let Some(fast) = fast
                && let Some(rows) = fast.run(session, parameters).await?
            {
                return Ok(Response::Rows { columns, rows, tag: "SELECT" });
            }
            Box::pin(handlers::select::run(session, plan, columns, parameters)).await
        }
        Plan::Dml { dml, fast } => {
            if !dml.table.definition.persistence.is_temporary() {
                check_writable(session, dml.kind)?;
            }
            match fast {
                Some(fast) => fast.run_dml(session, dml, parameters).await,
                None => Box::pin(handlers::dml::run(session, dml, parameters)).await,
            }
        }
        Plan::Utility => Err(SqlError::internal("a utility statement has no plan")),
    }
}

fn check_writable(session: &mut Session, kind: super::bind::DmlKind) -> Result<()> {
    let name = match kind {
        super::bind::DmlKind::Insert => "INSERT",
        super::bind::DmlKind::Update => "UPDATE",
        super::bind::DmlKind::Delete => "DELETE",
        super::bind::DmlKind::Merge => "MERGE",
    };
    handlers::check_writable(session, name)
}

async fn transaction(session: &mut Session, command: &TransactionCommand) -> Result<Response> {
    match command {
        TransactionCommand::Begin { modes, start } => {
            session.begin_block(*modes)?;
            complete(if *start { "START TRANSACTION" } else { "BEGIN" })
        }
        TransactionCommand::Commit { chain } => complete(session.commit_block(*chain).await?),
        TransactionCommand::Rollback { chain } => {
            session.rollback_block(*chain)?;
            complete("ROLLBACK")
        }
        TransactionCommand::Savepoint(name) => {
            session.savepoint(name)?;
            complete("SAVEPOINT")
        }
        TransactionCommand::Release(name) => {
            session.release_savepoint(name)?;
            complete("RELEASE")
        }
        TransactionCommand::RollbackTo(name) => {
            session.rollback_to_savepoint(name)?;
            complete("ROLLBACK")
        }
    }
}
