//! EXPLAIN `[ANALYZE]` in text and JSON: the physical plan, with row counts where it was run.

use datafusion::common::ScalarValue;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use futures::TryStreamExt;
use kalamdb_catalog::{PgType, Result, SqlError};

use super::settings::{column, text_rows};
use crate::session::Session;
use crate::sql::bind::{Binder, Parameters};
use crate::sql::prepared::{Plan, PreparedStatement};
use crate::sql::runner::Pace;
use crate::sql::statement::{Explain, Statement};
use crate::sql::{Column, Response};

/// The one column of EXPLAIN.
pub(crate) fn columns(explain: &Explain) -> Vec<Column> {
    vec![column("QUERY PLAN", if explain.json { PgType::JSON } else { PgType::TEXT })]
}

pub(crate) async fn run(
    session: &mut Session,
    prepared: &PreparedStatement,
    explain: &Explain,
    parameters: &[ScalarValue],
) -> Result<Response> {
    session.transaction()?;
    let context = std::sync::Arc::clone(session.context());
    let mut lines = Vec::new();
    let mut written = None;
    let plan = match &explain.statement {
        Statement::Execute { name, .. } => {
            let named = session.statement(name).ok_or_else(|| super::prepare::missing(name))?;
            let bound = named.statement.current(session)?;
            if !bound.modifying.is_empty() {
                return Err(SqlError::unsupported("EXPLAIN of a WITH that writes"));
            }
            match &bound.plan {
                Plan::Query { plan, .. } => plan.clone(),
                Plan::Dml { dml, .. } => dml.plan.clone(),
                Plan::Utility => {
                    return text_rows(columns(explain), vec![vec!["Utility Statement".to_owned()]], "EXPLAIN");
                }
            }
        }
        statement => {
            let mut binder = Binder::new(&context, context.catalog(), prepared.source(), Parameters::default());
            let statement = match statement {
                Statement::With { with, statement } => {
                    binder.with(with)?;
                    statement.as_ref()
                }
                other => other,
            };
            match statement {
                Statement::Query(query) => binder.query(query)?.plan,
                Statement::Insert(insert) => {
                    let dml = binder.insert(insert)?;
                    lines.push(format!("Insert on {}", dml.table.definition.name));
                    let plan = dml.plan.clone();
                    written = Some(dml);
                    plan
                }
                Statement::Update(update) => {
                    let dml = binder.update(update)?;
                    lines.push(format!("Update on {}", dml.table.definition.name));
                    let plan = dml.plan.clone();
                    written = Some(dml);
                    plan
                }
                Statement::Delete(delete) => {
                    let dml = binder.delete(delete)?;
                    lines.push(format!("Delete on {}", dml.table.definition.name));
                    let plan = dml.plan.clone();
                    written = Some(dml);
                    plan
                }
                _ => return text_rows(columns(explain), vec![vec!["Utility Statement".to_owned()]], "EXPLAIN"),
            }
        }
    };
    let modifies = written.is_some();
    let statement = super::select::statement_context(session)?;
    let engine = &session.app().engine;
    let physical = engine.physical(&plan, parameters, &statement).await?;
    let root = std::sync::Arc::clone(&physical.0);
    let started = std::time::Instant::now();
    if let (true, Some(dml)) = (explain.analyze, &written) {
        // Row counts of a statement that writes are not shown: it runs on its own path.
        drop((physical, statement));
        super::check_writable(session, "EXPLAIN ANALYZE")?;
        super::dml::run(session, dml, parameters).await?;
    } else if explain.analyze {
        let mut rows = engine.stream(physical, statement, Pace::Ahead)?;
        while rows.try_next().await?.is_some() {}
    }
    let elapsed_ms = started.elapsed().as_secs_f64() * 1000.0;
    let shown = if explain.analyze && !modifies {
        DisplayableExecutionPlan::with_metrics(root.as_ref()).indent(explain.verbose).to_string()
    } else {
        DisplayableExecutionPlan::new(root.as_ref()).indent(explain.verbose).to_string()
    };
    let indent = if modifies { "  " } else { "" };
    lines.extend(shown.lines().map(|l| format!("{indent}{l}")));
    if explain.analyze {
        lines.push(format!("Execution Time: {elapsed_ms:.3} ms"));
    }
    if explain.json {
        let text = serde_json::to_string_pretty(&json(&lines)).map_err(|e| SqlError::internal(e.to_string()))?;
        return text_rows(columns(explain), vec![vec![text]], "EXPLAIN");
    }
    text_rows(columns(explain), lines.into_iter().map(|l| vec![l]).collect(), "EXPLAIN")
}

/// `[{"Plan": {"Node Type": ..., "Plans": [...]}}]`, nested as the text is indented.
fn json(lines: &[String]) -> serde_json::Value {
    fn node(lines: &[String], at: &mut usize, depth: usize) -> serde_json::Value {
        let line = lines[*at].trim();
        *at += 1;
        let name = line.split([':', ' ']).next().unwrap_or_default();
        let mut plans = Vec::new();
        while *at < lines.len() {
            let inner = (lines[*at].len() - lines[*at].trim_start().len()) / 2;
            if inner <= depth || lines[*at].starts_with("Execution Time") {
                break;
            }
            plans.push(node(lines, at, inner));
        }
        let mut object = serde_json::Map::new();
        object.insert("Node Type".to_owned(), name.into());
        object.insert("Detail".to_owned(), line.into());
        if !plans.is_empty() {
            object.insert("Plans".to_owned(), plans.into());
        }
        object.into()
    }
    let mut at = 0;
    let plan = if lines.is_empty() { serde_json::Value::Null } else { node(lines, &mut at, 0) };
    let mut top = serde_json::Map::new();
    top.insert("Plan".to_owned(), plan);
    if let Some(time) = lines.iter().find_map(|l| l.strip_prefix("Execution Time: ")) {
        let ms: f64 = time.trim_end_matches(" ms").parse().unwrap_or(0.0);
        top.insert("Execution Time".to_owned(), ms.into());
    }
    serde_json::Value::Array(vec![top.into()])
}
