//! WITH: queries by name, and statements that write whose RETURNING is read like a query (manual, section 7.8).

use std::cell::RefCell;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::common::TableReference;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{self, SetExpr};
use kalamdb_catalog::{Result, SqlError, SqlState};

use super::dml::BoundDml;
use super::select::{BoundQuery, Env};
use super::typed::Kind;
use super::{Binder, Cte, fold};
use crate::providers;
use crate::sql::plan::planning;
use crate::sql::shared::{self, SharedNode};

/// A statement of WITH that writes. It runs once, to its end, before the statement that it belongs to, on the same
/// snapshot; what its RETURNING gives is kept under its number.
#[derive(Clone, Debug)]
pub(crate) struct Modifying {
    pub id: usize,
    pub dml: BoundDml,
}

impl Binder<'_> {
    /// WITH of a statement that writes: its queries stay in sight for the statement.
    pub(crate) fn with(&mut self, with: &ast::With) -> Result<()> {
        let none = RefCell::new(Vec::new());
        let env = Env { parent: None, outer: &none };
        self.bind_with(with, env, true)
    }

    /// `modifying`: queries that write are allowed, because the WITH is the statement's own.
    pub(super) fn bind_with(&mut self, with: &ast::With, env: Env<'_>, modifying: bool) -> Result<()> {
        let mut names: Vec<String> = Vec::new();
        for cte in &with.cte_tables {
            let name = fold(&cte.alias.name);
            if names.contains(&name) {
                return Err(SqlError::new(
                    SqlState::DUPLICATE_ALIAS,
                    format!("WITH query name \"{name}\" specified more than once"),
                )
                .at(self.position(cte.alias.name.span)));
            }
            names.push(name);
            self.bind_cte(cte, with.recursive, env, modifying)?;
        }
        Ok(())
    }

    fn bind_cte(&mut self, cte: &ast::Cte, recursive: bool, env: Env<'_>, modifying: bool) -> Result<()> {
        let name = fold(&cte.alias.name);
        let mut returns = true;
        let mut query = match cte.query.body.as_ref() {
            SetExpr::SetOperation { op: ast::SetOperator::Union, set_quantifier, left, right }
                if recursive && super::setop::mentions(right, &name) =>
            {
                self.recursive_cte(cte, &name, left, right, set_quantifier, env)?
            }
            SetExpr::Insert(statement) | SetExpr::Update(statement) | SetExpr::Delete(statement) => {
                if !modifying {
                    return Err(SqlError::new(
                        SqlState::FEATURE_NOT_SUPPORTED,
                        "WITH clause containing a data-modifying statement must be at the top level",
                    )
                    .at(self.position(cte.alias.name.span)));
                }
                let query = self.modifying_query(&name, statement)?;
                returns = query.is_some();
                query.unwrap_or(BoundQuery { plan: nothing()?, columns: Vec::new(), kinds: Vec::new(), simple: None })
            }
            _ => {
                let parent = env.parent.map(|p| (p, env.outer));
                let mut bound = self.bind_query(&cte.query, parent)?;
                self.resolve_unknown(&mut bound)?;
                bound
            }
        };
        if cte.alias.columns.len() > query.columns.len() {
            return Err(SqlError::new(
                SqlState::INVALID_COLUMN_REFERENCE,
                format!(
                    "WITH query \"{name}\" has {} columns available but {} columns specified",
                    query.columns.len(),
                    cte.alias.columns.len()
                ),
            )
            .at(self.position(cte.alias.name.span)));
        }
        for (column, alias) in query.columns.iter_mut().zip(&cte.alias.columns) {
            column.name = fold(&alias.name);
        }
        query.simple = None;
        // Inside a subquery it may be another for each row around it.
        if env.parent.is_none() && self.is_named_again(&name) && shared::is_volatile(&query.plan) {
            query.plan = SharedNode::plan(query.plan);
        }
        self.ctes.push(Cte { name, query, returns });
        Ok(())
    }

    /// True if a query of WITH may be read more than once: its name stands in the text three times or more. A false yes only has
    /// its rows kept.
    fn is_named_again(&self, name: &str) -> bool {
        let words = self.source.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        words.filter(|word| word.eq_ignore_ascii_case(name)).nth(2).is_some()
    }

    /// A query that writes: what its RETURNING gives, if it has one.
    fn modifying_query(&mut self, name: &str, statement: &ast::Statement) -> Result<Option<BoundQuery>> {
        let dml = match statement {
            ast::Statement::Insert(insert) => self.insert(insert)?,
            ast::Statement::Update(update) => self.update(update)?,
            ast::Statement::Delete(delete) => self.delete(delete)?,
            other => return Err(SqlError::unsupported(format!("{other} in WITH"))),
        };
        let id = self.modifying.len();
        let returning = dml.returning.clone();
        self.modifying.push(Modifying { id, dml });
        let Some(columns) = returning else { return Ok(None) };
        let fields: Vec<Field> =
            columns.iter().enumerate().map(|(i, c)| Field::new(format!("c{i}"), c.ty.arrow(), true)).collect();
        let source = providers::returned(id, Arc::new(Schema::new(fields)));
        let name = TableReference::bare(self.unique(name));
        let plan = planning(LogicalPlanBuilder::scan(name, source, None).and_then(|b| b.build()))?;
        let kinds = vec![Kind::Plain; columns.len()];
        Ok(Some(BoundQuery { plan, columns, kinds, simple: None }))
    }
}

fn nothing() -> Result<LogicalPlan> {
    planning(LogicalPlanBuilder::empty(false).build())
}
