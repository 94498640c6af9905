//! The values of columns that a statement does not give: defaults, identity and generated columns.

use std::cell::RefCell;

use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast;
use kalamdb_catalog::table::Generated;
use kalamdb_catalog::{ColumnDefinition, Result, SqlError, SqlState, TableDefinition};

use super::scope::{Clause, Scope};
use super::select::Env;
use super::typed::Typed;
use super::{Binder, name_parts};
use crate::sql::parse;
use crate::sql::plan::planning;
use crate::types::Value;

/// The last names of an INSERT's column list that say OVERRIDING ... VALUE (`parse`).
pub(crate) const OVERRIDING_SYSTEM: &str = "#overriding system";
pub(crate) const OVERRIDING_USER: &str = "#overriding user";

/// OVERRIDING SYSTEM VALUE, OVERRIDING USER VALUE
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Overriding {
    No,
    System,
    User,
}

impl Binder<'_> {
    /// Puts the generated columns of a row in place: the columns from `skip` on are its new values.
    pub(crate) fn generated(
        &mut self,
        plan: LogicalPlan,
        definition: &TableDefinition,
        skip: usize,
    ) -> Result<LogicalPlan> {
        if !has_generated(definition) {
            return Ok(plan);
        }
        let mut exprs = crate::sql::plan::columns_of(&plan);
        for (live, (_, column)) in definition.live_columns().enumerate() {
            if let (true, Some(sql)) = (column.is_stored(), &column.default) {
                let bound = self.generated_expr(definition, &parse::expression(sql)?, column);
                exprs[skip + live] = bound.map_err(SqlError::without_position)?.expr.alias(format!("new#{live}"));
            }
        }
        planning(LogicalPlanBuilder::from(plan).project(exprs).and_then(|b| b.build()))
    }

    /// DEFAULT of a column, or NULL.
    pub(crate) fn default_of(&mut self, column: &ColumnDefinition) -> Result<Typed> {
        let Some(text) = column.default.as_ref().filter(|_| !column.is_stored()) else {
            let mut null = Typed::literal(&Value::Null, column.ty);
            null.typmod = column.typmod;
            return Ok(null);
        };
        let e = parse::expression(text)?;
        self.default_expr(&e, column).map_err(SqlError::without_position)
    }

    /// Binds a DEFAULT expression: no columns, no subqueries, no aggregates.
    pub(crate) fn default_expr(&mut self, e: &ast::Expr, column: &ColumnDefinition) -> Result<Typed> {
        let scope = Scope::default();
        let applies = RefCell::new(Vec::new());
        let outer = RefCell::new(Vec::new());
        let ctx = Env { parent: None, outer: &outer }.ctx(&scope, Clause::Default, &applies);
        let typed = self.expr(e, &ctx).map_err(|error| match error.code() {
            SqlState::UNDEFINED_COLUMN | SqlState::UNDEFINED_TABLE => {
                SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "cannot use column reference in DEFAULT expression")
                    .at(error.fields().position)
            }
            _ => error,
        })?;
        if !applies.borrow().is_empty() {
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "cannot use subquery in DEFAULT expression"));
        }
        if typed.kind == super::Kind::Set {
            return Err(super::typed::set_not_allowed("DEFAULT expressions"));
        }
        self.assign_default(typed, column)
    }

    /// Converts what a DEFAULT or a generated column gives for its column.
    pub(super) fn assign_default(&mut self, typed: Typed, column: &ColumnDefinition) -> Result<Typed> {
        let (ty, position) = (typed.ty, typed.position);
        self.assign(typed, column.ty, column.typmod).map_err(|error| match error.code() {
            SqlState::CANNOT_COERCE => SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!(
                    "column \"{}\" is of type {} but default expression is of type {}",
                    column.name,
                    column.ty.display(column.typmod),
                    ty.sql_name()
                ),
            )
            .hint("You will need to rewrite or cast the expression.")
            .at(position),
            _ => error,
        })
    }
}

/// The names of an INSERT's list, and what stands behind it.
pub(super) fn overriding_of(names: &[ast::ObjectName]) -> Result<(&[ast::ObjectName], Overriding)> {
    let Some((last, others)) = names.split_last() else { return Ok((names, Overriding::No)) };
    Ok(match name_parts(last)?.last().map(String::as_str) {
        Some(OVERRIDING_SYSTEM) => (others, Overriding::System),
        Some(OVERRIDING_USER) => (others, Overriding::User),
        _ => (names, Overriding::No),
    })
}

/// True if a value given to a column counts; 428C9 for one that takes none but its own.
pub(super) fn takes_value(column: &ColumnDefinition, overriding: Overriding) -> Result<bool> {
    let refused = |detail: &str| {
        let message = format!("cannot insert a non-DEFAULT value into column \"{}\"", column.name);
        SqlError::new(SqlState::GENERATED_ALWAYS, message).detail(format!("Column \"{}\" is {detail}.", column.name))
    };
    match (column.generated, overriding) {
        (Some(Generated::Stored), _) => Err(refused("a generated column")),
        (Some(Generated::Always | Generated::ByDefault), Overriding::User) => Ok(false),
        (Some(Generated::Always), Overriding::No) => {
            Err(refused("an identity column defined as GENERATED ALWAYS")
                .hint("Use OVERRIDING SYSTEM VALUE to override."))
        }
        _ => Ok(true),
    }
}

/// True if columns of the table are computed from others.
pub(super) fn has_generated(table: &TableDefinition) -> bool {
    table.live_columns().any(|(_, c)| c.is_stored())
}
