//! Set-returning functions in a select list (manual, 38.5.9; parse_func.c, check_srf_call_place).
//!
//! Each call becomes a column of a stage below the final projection, where the lists of all calls are unnested side by
//! side, the shorter ones filled up with NULLs. A call among another's arguments belongs to a stage of its own below.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column as DfColumn, NullHandling, UnnestOptions};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use kalamdb_catalog::{Result, SqlError, SqlState};

use super::Binder;
use super::scope::Clause;
use super::typed::{Kind, Typed};
use crate::sql::functions::Volatility;
use crate::sql::plan::{columns_of, planning};
use crate::sql::udf::{Resolved, resolved_of};

/// What the columns of calls are called, with a number.
pub(super) const SET_COLUMN: &str = "rows of set";

/// A call whose rows are one column.
#[derive(Clone, Debug)]
pub(super) struct SetCall {
    pub(super) column: String,
    /// The call: a list.
    pub(super) list: Expr,
}

impl Binder<'_> {
    /// A value of each of the set's rows, where the select list allows it.
    pub(super) fn one_of_set(&mut self, set: Typed) -> Result<Typed> {
        let name = self.unique(SET_COLUMN);
        let Some(calls) = &mut self.set_calls else {
            return Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "set-returning functions must appear at top level of FROM",
            )
            .at(set.position));
        };
        let repeats = |e: &Expr| match e {
            Expr::ScalarFunction(call) => {
                let volatile = |r: &Resolved| r.volatility == Volatility::Volatile;
                !resolved_of(&call.func).is_some_and(volatile) && !call.args.iter().any(Expr::is_volatile)
            }
            _ => false,
        };
        let same = calls.iter().find(|c| c.list == set.expr && repeats(&c.list));
        let column = match same {
            Some(known) => known.column.clone(),
            None => {
                calls.push(SetCall { column: name.clone(), list: set.expr });
                name
            }
        };
        let expr = Expr::Column(DfColumn::new_unqualified(column));
        Ok(Typed { expr, kind: Kind::Plain, ..set })
    }

    /// The expression as it is, or a value of each of its rows.
    pub(super) fn single(&mut self, typed: Typed) -> Result<Typed> {
        if typed.kind == Kind::Set { self.one_of_set(typed) } else { Ok(typed) }
    }

    /// How many sets the select list has so far, to tell if one stands inside an expression.
    pub(super) fn sets_so_far(&self) -> usize {
        self.set_calls.as_ref().map_or(0, Vec::len)
    }

    /// 0A000 if a set was met since `before`: CASE and COALESCE would have to skip rows.
    pub(super) fn refuse_sets(&self, before: usize, parts: &[Typed], what: &str) -> Result<()> {
        if self.sets_so_far() == before && parts.iter().all(|p| p.kind != Kind::Set) {
            return Ok(());
        }
        let at = parts.iter().find(|p| p.kind == Kind::Set).and_then(|p| p.position);
        Err(super::typed::set_not_allowed(what)
            .hint("You might be able to move the set-returning function into a LATERAL FROM item.")
            .at(at))
    }

    /// 42804 if a set was met since `before`, among the operands of AND, OR or NOT.
    pub(super) fn refuse_set_in(&self, before: usize, operator: &str) -> Result<()> {
        if self.sets_so_far() == before {
            return Ok(());
        }
        Err(SqlError::new(SqlState::DATATYPE_MISMATCH, format!("argument of {operator} must not return a set")))
    }

    /// `plan` with the columns of the calls.
    pub(super) fn attach_sets(&mut self, mut plan: LogicalPlan, mut calls: Vec<SetCall>) -> Result<LogicalPlan> {
        while !calls.is_empty() {
            let waiting: Vec<String> = calls.iter().map(|c| c.column.clone()).collect();
            let (later, now): (Vec<_>, Vec<_>) = calls.into_iter().partition(|c| uses(&c.list, &waiting));
            let mut exprs: Vec<Expr> = columns_of(&plan);
            exprs.extend(now.iter().map(|c| c.list.clone().alias(&c.column)));
            let columns = now.iter().map(|c| DfColumn::new_unqualified(c.column.clone())).collect();
            let options = UnnestOptions { null_handling: NullHandling::Drop, recursions: Vec::new() };
            plan = planning(
                LogicalPlanBuilder::from(plan)
                    .project(exprs)
                    .and_then(|b| b.unnest_columns_with_options(columns, options))
                    .and_then(|b| b.build()),
            )?;
            calls = later;
        }
        Ok(plan)
    }
}

/// 0A000 where a clause takes no sets at all.
pub(super) fn check_place(clause: Clause) -> Result<()> {
    match clause {
        Clause::Select | Clause::OrderBy | Clause::From | Clause::GroupBy => Ok(()),
        // What stands there tells by itself, with the column's name.
        Clause::Values | Clause::Default | Clause::Returning | Clause::UpdateSet => Ok(()),
        // An aggregate's arguments are bound with this clause; the aggregate tells.
        Clause::Filter => Ok(()),
        Clause::Where
        | Clause::Conjunct
        | Clause::Having
        | Clause::JoinOn
        | Clause::Limit
        | Clause::Offset
        | Clause::CopyWhere
        | Clause::MergeWhen
        | Clause::Check
        | Clause::Generated
        | Clause::IndexExpression
        | Clause::IndexPredicate
        | Clause::Window => Err(super::typed::set_not_allowed(clause.name())),
    }
}

/// True if an expression uses one of these columns.
pub(super) fn uses(e: &Expr, columns: &[String]) -> bool {
    let mut found = false;
    let _ = e.apply(|e| {
        if let Expr::Column(c) = e {
            found |= c.relation.is_none() && columns.contains(&c.name);
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}
