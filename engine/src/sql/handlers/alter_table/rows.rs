//! The rows of a table that gets a new storage: the query that makes them from the old ones, and the filling.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::Column as DfColumn;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast;
use futures::TryStreamExt;
use kalamdb_catalog::{CachedTableData, PgType, Result, SqlError, SqlState, TableDefinition, name};

use crate::session::Session;
use crate::sql::bind::{Binder, BoundQuery, Parameters, Typed};
use crate::sql::handlers::rewrite::{Duplicate, fill};
use crate::sql::handlers::select::statement_context;
use crate::sql::parse;
use crate::sql::plan::planning;
use crate::sql::prepared::PreparedStatement;

/// How the values of the one column that changes are made.
#[derive(Clone, Copy)]
pub(super) enum Computed<'a> {
    /// The column is new.
    Default,
    /// The assignment cast of the old value, or of USING.
    Cast(Option<&'a ast::Expr>),
}

/// The query for the live columns of `new` over the rows of `old`; `computed` says which column (by position) is not
/// taken over as it is.
pub(super) fn plan(
    session: &Session,
    prepared: &PreparedStatement,
    old: &TableDefinition,
    new: &TableDefinition,
    computed: Option<(usize, Computed<'_>)>,
) -> Result<LogicalPlan> {
    let context = Arc::clone(session.context());
    let mut binder = Binder::new(&context, context.catalog(), prepared.source(), Parameters::default());
    let using = match computed {
        Some((_, Computed::Cast(Some(e)))) if !is_open(e) => Some(e),
        _ => None,
    };
    let query = source(session, old, using)?;
    if let Some(using) = using {
        check_transform(session, prepared, old, using)?;
    }
    let bound = binder.query(&query)?;
    let mut exprs = Vec::new();
    for (live, (i, column)) in new.live_columns().enumerate() {
        let kept = old.live_columns().position(|(o, _)| o == i);
        let expr = match (computed, kept) {
            (Some((at, Computed::Default)), _) if at == i => binder.default_of(column)?.expr,
            (Some((at, Computed::Cast(using))), Some(kept)) if at == i => {
                let from = match using {
                    None => result(&bound, kept),
                    Some(e) if is_open(e) => binder.standalone(e)?,
                    Some(_) => result(&bound, bound.columns.len() - 1),
                };
                let (ty, typmod) = (column.ty, column.typmod);
                let cast = binder.assign(from, ty, typmod);
                cast.map_err(
                    |e| if e.code() == SqlState::CANNOT_COERCE { no_cast(column, using.is_some()) } else { e },
                )?
                .expr
            }
            (_, Some(kept)) => result(&bound, kept).expr,
            (_, None) => return Err(SqlError::internal("a rewritten table has a column of no origin")),
        };
        exprs.push(expr.alias(format!("new#{live}")));
    }
    let plan = planning(LogicalPlanBuilder::from(bound.plan).project(exprs).and_then(|b| b.build()))?;
    binder.generated(plan, new, 0)
}

/// Fills a new storage for `new` and gives the definition that goes with it.
pub(super) async fn rewrite(
    session: &mut Session,
    mut new: TableDefinition,
    plan: &LogicalPlan,
) -> Result<TableDefinition> {
    new.storage = session.app().take_storage();
    for index in &mut new.indexes {
        index.storage = session.app().take_storage();
    }
    new.schema_version = 0;
    for column in &mut new.columns {
        column.since_version = 0;
        column.missing = None;
    }
    let table = Arc::new(CachedTableData::new(new.clone()));
    fill(session, &table, plan, Duplicate::Index).await?;
    Ok(new)
}

/// True if the table has a row, or one for which `column` is NULL.
pub(super) async fn any(session: &mut Session, table: &TableDefinition, null: Option<&str>) -> Result<bool> {
    let filter = null.map_or_else(String::new, |c| format!(" WHERE {} IS NULL", name::quote_ident(c)));
    let text = format!("SELECT 1 FROM {}{filter} LIMIT 1", full_name(session, table));
    let plan = {
        let context = Arc::clone(session.context());
        let mut binder = Binder::new(&context, context.catalog(), &text, Parameters::default());
        binder.query(&*parse::query(&text)?)?.plan
    };
    let statement = statement_context(session)?;
    let mut rows = session.app().engine.run(&plan, &[], statement).await?;
    while let Some(batch) = rows.try_next().await? {
        if batch.num_rows() > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

fn full_name(session: &Session, table: &TableDefinition) -> String {
    let catalog = session.context().catalog();
    let schema = catalog.schema(table.schema).map_or_else(String::new, |s| s.name.clone());
    name::qualified(&schema, &table.name)
}

/// SELECT *, using FROM table
fn source(session: &Session, table: &TableDefinition, using: Option<&ast::Expr>) -> Result<Box<ast::Query>> {
    let mut query = parse::query(&format!("SELECT * FROM {}", full_name(session, table)))?;
    if let (ast::SetExpr::Select(select), Some(using)) = (query.body.as_mut(), using) {
        select.projection.push(ast::SelectItem::UnnamedExpr(using.clone()));
    }
    Ok(query)
}

/// A column of the bound query.
fn result(bound: &BoundQuery, index: usize) -> Typed {
    let (relation, field) = bound.plan.schema().qualified_field(index);
    let column = &bound.columns[index];
    let ty = if column.ty == PgType::UNKNOWN { PgType::TEXT } else { column.ty };
    Typed { typmod: column.typmod, ..Typed::new(Expr::Column(DfColumn::from((relation, field))), ty) }
}

/// True for a literal that takes the type of the column: 'text' and NULL.
fn is_open(e: &ast::Expr) -> bool {
    match e {
        ast::Expr::Value(value) => matches!(value.value, ast::Value::SingleQuotedString(_) | ast::Value::Null),
        ast::Expr::Nested(inner) => is_open(inner),
        _ => false,
    }
}

/// USING makes one value of one row: no subqueries, aggregates, window or set-returning functions.
fn check_transform(
    session: &Session,
    prepared: &PreparedStatement,
    table: &TableDefinition,
    using: &ast::Expr,
) -> Result<()> {
    let subquery = ast::visit_expressions(using, |e| match e {
        ast::Expr::Subquery(_) | ast::Expr::Exists { .. } | ast::Expr::InSubquery { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    if subquery.is_break() {
        return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "cannot use subquery in transform expression"));
    }
    let mut query = source(session, table, Some(using))?;
    if let ast::SetExpr::Select(select) = query.body.as_mut() {
        select.projection.remove(0);
    }
    let context = Arc::clone(session.context());
    let mut binder = Binder::new(&context, context.catalog(), prepared.source(), Parameters::default());
    let plan = binder.query(&query)?.plan;
    let at = binder.position(ast::Spanned::span(using));
    let has = |test: fn(&LogicalPlan) -> bool| planning(plan.exists(|node| Ok(test(node))));
    let refused = |code, what: &str| {
        Err(SqlError::new(code, format!("{what} functions are not allowed in transform expressions")).at(at))
    };
    if has(|n| matches!(n, LogicalPlan::Aggregate(_)))? {
        return refused(SqlState::GROUPING_ERROR, "aggregate");
    }
    if has(|n| matches!(n, LogicalPlan::Window(_)))? {
        return refused(SqlState::WINDOWING_ERROR, "window");
    }
    if has(|n| matches!(n, LogicalPlan::Unnest(_)))? {
        return refused(SqlState::FEATURE_NOT_SUPPORTED, "set-returning");
    }
    Ok(())
}

/// 42804
fn no_cast(column: &kalamdb_catalog::ColumnDefinition, using: bool) -> SqlError {
    let (name, ty) = (&column.name, column.ty.sql_name());
    let what = if using { "result of USING clause for column" } else { "column" };
    let error = SqlError::new(
        SqlState::DATATYPE_MISMATCH,
        format!("{what} \"{name}\" cannot be cast automatically to type {ty}"),
    );
    if using {
        return error.hint("You might need to add an explicit cast.");
    }
    error.hint(format!(
        "You might need to specify \"USING {}::{}\".",
        name::quote_ident(name),
        column.ty.display(column.typmod)
    ))
}
