//! DECLARE, FETCH, MOVE, CLOSE.

use std::time::Duration;

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast;
use kalamdb_catalog::{Result, SqlError, SqlState};

use super::select::statement_context;
use crate::limits;
use crate::session::{Cursor, Direction, Session};
use crate::sql::bind::{Binder, Parameters};
use crate::sql::execute::complete;
use crate::sql::plan::planning;
use crate::sql::prepared::PreparedStatement;
use crate::sql::runner::Pace;
use crate::sql::statement::{Declare, Declared, Subscribe};
use crate::sql::{Response, lock_rows};

pub(crate) async fn declare(
    session: &mut Session,
    prepared: &PreparedStatement,
    declare: &Declare,
    parameters: &[ScalarValue],
) -> Result<Response> {
    if !declare.hold && !session.in_block() && !session.is_one_of_several() {
        let message = "DECLARE CURSOR can only be used in transaction blocks";
        return Err(SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
    }
    session.transaction()?;
    if session.cursors.contains_key(&declare.name) {
        let message = format!("cursor \"{}\" already exists", declare.name);
        return Err(SqlError::new(SqlState::DUPLICATE_CURSOR, message));
    }
    if session.cursors.len() >= limits::CURSORS_MAX {
        let message = format!("more than {} cursors in one session", limits::CURSORS_MAX);
        return Err(
            SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message).hint("Close those that are not used any more.")
        );
    }
    let query = match &declare.of {
        Declared::Query(query) => query,
        Declared::Subscribe(subscribe) => return declare_live(session, prepared, declare, subscribe),
    };
    let locks = !query.locks.is_empty();
    check_options(declare, locks)?;
    let types: Vec<u32> = prepared.parameters().iter().map(|t| t.oid()).collect();
    let context = std::sync::Arc::clone(session.context());
    let bind = |with_keys: bool| {
        let mut binder = Binder::new(&context, context.catalog(), prepared.source(), Parameters::declared(&types)?);
        let bound = if with_keys { binder.query_with_keys(query)? } else { (binder.query(query)?, Vec::new()) };
        Ok::<_, SqlError>((bound, std::mem::take(&mut binder.locks), binder.modifying.is_empty()))
    };
    let ((bound, tables), tables_locks, reads_only) = match bind(true) {
        Ok(bound) => bound,
        // What has no keys to show is queried as it is, and its errors are told as they are.
        Err(_) => bind(false)?,
    };
    if !reads_only {
        let message = "DECLARE CURSOR must not contain data-modifying statements in WITH";
        return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
    }
    if locks {
        super::check_writable(session, "SELECT FOR UPDATE")?;
    }
    session.lock_tables(&tables_locks).await?;
    let scroll = declare.scroll.unwrap_or_else(|| !locks && goes_back(&bound.plan));
    let statement = statement_context(session)?;
    let plan = lock_rows::as_fetched(bound.plan)?;
    let engine = &session.app().engine;
    let physical = engine.physical(&plan, parameters, &statement).await?;
    let rows = engine.stream(physical, statement, Pace::AsAsked)?;
    let mut columns = bound.columns;
    columns.truncate(columns.len() - tables.len());
    let mut cursor = Cursor::new(text_of(prepared), columns, tables, rows);
    cursor.scroll = scroll;
    enter(session, declare, cursor)
}

/// FOR SUBSCRIBE TO
fn declare_live(
    session: &mut Session,
    prepared: &PreparedStatement,
    declare: &Declare,
    subscribe: &Subscribe,
) -> Result<Response> {
    if declare.scroll == Some(true) {
        return Err(SqlError::unsupported("DECLARE SCROLL CURSOR ... FOR SUBSCRIBE"));
    }
    let rows = super::subscribe::open(session, subscribe)?;
    enter(session, declare, Cursor::of_live(text_of(prepared), rows))
}

fn text_of(prepared: &PreparedStatement) -> String {
    prepared.source().trim().trim_end_matches(';').to_owned()
}

fn enter(session: &mut Session, declare: &Declare, mut cursor: Cursor) -> Result<Response> {
    cursor.hold = declare.hold;
    cursor.savepoints = Some(session.open_transaction()?.savepoints());
    session.cursors.insert(declare.name.clone(), cursor);
    session.note_cursors()?;
    complete("DECLARE CURSOR")
}

fn check_options(declare: &Declare, locks: bool) -> Result<()> {
    let refused = |what: &str, detail: &str| {
        let message = format!("DECLARE {what} ... FOR UPDATE is not supported");
        Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message).detail(detail))
    };
    match (locks, declare.hold, declare.scroll) {
        (true, true, _) => refused("CURSOR WITH HOLD", "Holdable cursors must be READ ONLY."),
        (true, _, Some(true)) => refused("SCROLL CURSOR", "Scrollable cursors must be READ ONLY."),
        _ => Ok(()),
    }
}

/// True for plans that PostgreSQL can run backward (execAmi.c, ExecSupportsBackwardScan): those cursors may go back without SCROLL.
fn goes_back(plan: &LogicalPlan) -> bool {
    let mut back = true;
    let walked = plan.apply(|node| {
        match node {
            LogicalPlan::Aggregate(_)
            | LogicalPlan::Join(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Distinct(_)
            | LogicalPlan::Union(_)
            | LogicalPlan::RecursiveQuery(_)
            | LogicalPlan::Unnest(_)
            | LogicalPlan::Extension(_) => back = false,
            // What a sort has collected can be read either way.
            LogicalPlan::Sort(_) => return Ok(TreeNodeRecursion::Jump),
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    planning(walked).is_ok() && back
}

fn missing(name: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_CURSOR_NAME, format!("cursor \"{name}\" does not exist"))
}

pub(crate) async fn fetch(
    session: &mut Session,
    name: &str,
    direction: Direction,
    moves: bool,
    timeout: Option<Duration>,
) -> Result<Response> {
    session.begin_utility()?;
    // Out of the map while it runs.
    let mut cursor = session.cursors.remove(name).ok_or_else(|| missing(name))?;
    if cursor.failed {
        session.cursors.insert(name.to_owned(), cursor);
        let message = format!("portal \"{name}\" cannot be run");
        return Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
    }
    let fetched = match timeout {
        _ if cursor.is_live() => {
            if let Ok(txn) = session.open_transaction() {
                txn.let_snapshot_go();
            }
            cursor.fetch_live(direction, timeout.unwrap_or_default()).await
        }
        Some(_) => Err(SqlError::unsupported("FETCH ... WITH (timeout) from a cursor that is not FOR SUBSCRIBE")),
        None => cursor.fetch(direction).await,
    };
    cursor.failed = fetched.is_err();
    let outcome = fetched.and_then(|rows| {
        let count: usize = rows.iter().map(|b| b.num_rows()).sum();
        Ok((count, cursor.shown(rows)?, cursor.columns.clone()))
    });
    session.cursors.insert(name.to_owned(), cursor);
    session.note_cursors()?;
    let (count, shown, columns) = outcome?;
    if moves {
        return complete(format!("MOVE {count}"));
    }
    let rows = futures::stream::iter(shown.into_iter().map(Ok));
    Ok(Response::Rows { columns, rows: Box::pin(rows), tag: "FETCH" })
}

pub(crate) fn close(session: &mut Session, name: Option<&str>) -> Result<Response> {
    let Some(name) = name else {
        session.cursors.clear();
        session.note_cursors()?;
        return complete("CLOSE CURSOR ALL");
    };
    session.cursors.remove(name).ok_or_else(|| missing(name))?;
    session.note_cursors()?;
    complete("CLOSE CURSOR")
}

/// The tables of a query's FROM whose rows stand behind the result's rows one for one.
pub(crate) fn simple_select(query: &ast::Query) -> Option<&ast::Select> {
    let ast::SetExpr::Select(select) = query.body.as_ref() else { return None };
    let grouped = !matches!(&select.group_by, ast::GroupByExpr::Expressions(list, _) if list.is_empty());
    if grouped || select.having.is_some() || select.distinct.is_some() || select.from.is_empty() {
        return None;
    }
    Some(select)
}
