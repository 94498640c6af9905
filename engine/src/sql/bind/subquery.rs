//! Subqueries in expressions and LATERAL ones in FROM.

use std::cell::RefCell;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::expr::{Exists, InSubquery, Placeholder};
use datafusion::logical_expr::{Case, Expr, LogicalPlan, LogicalPlanBuilder, Operator, Subquery};
use datafusion::sql::sqlparser::ast;
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::row::RowQuery;
use super::scope::{Clause, Ctx, OuterRef};
use super::select::BoundQuery;
use super::typed::{Typed, placeholder};
use super::{Binder, expr::operator_name};
use crate::sql::apply::{ApplyMode, ApplyNode, ONLY_WHERE};
use crate::sql::compare;
use crate::sql::functions;
use crate::sql::plan::planning;
use crate::sql::udf::Resolved;

/// A subquery waiting to be put under the plan node whose expressions use its column.
#[derive(Clone, Debug)]
pub(crate) struct Apply {
    pub column: String,
    pub carrier: DataType,
    pub mode: ApplyMode,
    pub inner: LogicalPlan,
    pub outer: Vec<OuterRef>,
    /// Met inside an aggregate's argument: belongs below the aggregate.
    pub in_aggregate: bool,
}

impl Binder<'_> {
    /// A value of a scope around: a placeholder here, and an entry in what this level is handed.
    pub(super) fn outer_reference(&mut self, typed: Typed, ctx: &Ctx<'_>) -> Typed {
        let mut outer = ctx.outer.borrow_mut();
        let id = match outer.iter().find(|o| o.expr.expr == typed.expr) {
            Some(known) => known.id.clone(),
            None => {
                self.next_outer += 1;
                let id = format!("outer:{}", self.next_outer);
                outer.push(OuterRef { id: id.clone(), expr: typed.clone() });
                id
            }
        };
        Typed { expr: placeholder(format!("${id}"), typed.ty), ..typed }
    }

    /// Binds a query inside `ctx`: the query and what it takes from around.
    pub(super) fn inner_query(&mut self, query: &ast::Query, ctx: &Ctx<'_>) -> Result<(BoundQuery, Vec<OuterRef>)> {
        let outer = RefCell::new(Vec::new());
        let mut bound = self.bind_query(query, Some((ctx, &outer)))?;
        self.resolve_unknown(&mut bound)?;
        Ok((bound, outer.into_inner()))
    }

    /// Where the parenthesis before a subquery stands.
    fn parenthesis_before(&self, position: u32) -> u32 {
        let before: Vec<char> = self.source().chars().take(position as usize - 1).collect();
        let blanks = before.iter().rev().take_while(|c| c.is_whitespace()).count();
        let open = before.len() - blanks;
        if open > 0 && before[open - 1] == '(' { open as u32 } else { position }
    }

    fn one_column(&self, bound: &BoundQuery, query: &ast::Query) -> Result<()> {
        if bound.columns.len() == 1 {
            return Ok(());
        }
        let at = self.position(ast::Spanned::span(query)).map(|p| self.parenthesis_before(p));
        Err(SqlError::new(SqlState::SYNTAX_ERROR, "subquery must return only one column").at(at))
    }

    pub(super) fn push_apply(
        &mut self,
        ctx: &Ctx<'_>,
        mode: ApplyMode,
        carrier: DataType,
        inner: LogicalPlan,
        outer: Vec<OuterRef>,
    ) -> Expr {
        let column = self.unique("subquery");
        ctx.applies.borrow_mut().push(Apply {
            column: column.clone(),
            carrier,
            mode,
            inner,
            outer,
            in_aggregate: ctx.in_aggregate,
        });
        Expr::Column(Column::new_unqualified(column))
    }

    pub(super) fn scalar_subquery(&mut self, query: &ast::Query, ctx: &Ctx<'_>) -> Result<Typed> {
        let (bound, outer) = self.inner_query(query, ctx)?;
        self.one_column(&bound, query)?;
        let column = bound.columns[0].clone();
        let expr = self.push_apply(ctx, ApplyMode::Scalar, column.ty.arrow(), bound.plan, outer);
        Ok(Typed { typmod: column.typmod, ..Typed::new(expr, column.ty) })
    }

    /// Column `index` of a subquery of `width` columns, as a scalar.
    pub(super) fn subquery_column(
        &mut self,
        query: &ast::Query,
        index: usize,
        width: usize,
        ctx: &Ctx<'_>,
    ) -> Result<Typed> {
        let (bound, outer) = self.inner_query(query, ctx)?;
        if bound.columns.len() != width {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "number of columns does not match number of values"));
        }
        let (qualifier, field) = bound.plan.schema().qualified_field(index);
        let keep = Expr::Column(Column::from((qualifier, field)));
        let plan = planning(LogicalPlanBuilder::from(bound.plan.clone()).project(vec![keep]).and_then(|b| b.build()))?;
        let column = bound.columns[index].clone();
        let expr = self.push_apply(ctx, ApplyMode::Scalar, column.ty.arrow(), plan, outer);
        Ok(Typed { typmod: column.typmod, ..Typed::new(expr, column.ty) })
    }

    /// `ARRAY(SELECT ...)`
    pub(super) fn array_subquery(&mut self, query: &ast::Query, ctx: &Ctx<'_>) -> Result<Typed> {
        let (bound, outer) = self.inner_query(query, ctx)?;
        self.one_column(&bound, query)?;
        let element = bound.columns[0].ty;
        let Some(ty) = element.array() else {
            return Err(SqlError::unsupported("a multidimensional array"));
        };
        let expr = self.push_apply(ctx, ApplyMode::Array, ty.arrow(), bound.plan, outer);
        Ok(Typed::new(expr, ty))
    }

    pub(super) fn exists(&mut self, query: &ast::Query, negated: bool, ctx: &Ctx<'_>) -> Result<Typed> {
        let (bound, outer) = self.inner_query(query, ctx)?;
        // Nobody looks at the columns, and PostgreSQL does not compute them either.
        let rows = match &bound.plan {
            LogicalPlan::Projection(p) => {
                let one = datafusion::logical_expr::lit(1i64).alias("one");
                let input = p.input.as_ref().clone();
                planning(LogicalPlanBuilder::from(input).project(vec![one]).and_then(|b| b.build()))?
            }
            other => other.clone(),
        };
        if let Some(subquery) = native(ctx, &rows, &outer)? {
            return Ok(Typed::new(Expr::Exists(Exists::new(subquery, negated)), PgType::BOOL));
        }
        let expr = self.push_apply(ctx, ApplyMode::Exists, DataType::Boolean, bound.plan, outer);
        let expr = if negated { Expr::Not(Box::new(expr)) } else { expr };
        Ok(Typed::new(expr, PgType::BOOL))
    }

    pub(super) fn in_subquery(
        &mut self,
        e: &ast::Expr,
        query: &ast::Query,
        negated: bool,
        ctx: &Ctx<'_>,
    ) -> Result<Typed> {
        if let Some(values) = super::row::row_values(e) {
            return self.row_in_subquery(&values, query, negated, ctx);
        }
        let needle = self.expr(e, ctx)?;
        let (bound, outer) = self.inner_query(query, ctx)?;
        let span = self.position(ast::Spanned::span(query));
        if bound.columns.len() != 1 {
            let problem = if bound.columns.is_empty() { "few" } else { "many" };
            let message = format!("subquery has too {problem} columns");
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message).at(self.position_after(e)));
        }
        let column = &bound.columns[0];
        if let Some(ty) = compare::common(needle.ty, column.ty).filter(|t| compare::comparable(*t, Operator::Eq))
            && outer.is_empty()
            // DataFusion's anti join forgets NULLs if the left side is a constant.
            && !(negated && needle.expr.column_refs().is_empty())
        {
            let plan = self.keyed(&bound, ty)?;
            if let Some(subquery) = native(ctx, &plan, &outer)? {
                let needle = self.coerce(needle, ty)?;
                let needle = Box::new(self.sort_key(needle.expr, ty)?);
                return Ok(Typed::new(Expr::InSubquery(InSubquery::new(needle, subquery, negated)), PgType::BOOL));
            }
        }
        let Some(ty) = column.ty.array() else {
            return Err(SqlError::unsupported(format!("IN over type {}", column.ty.sql_name())));
        };
        let list = self.push_apply(ctx, ApplyMode::Array, ty.arrow(), bound.plan, outer);
        let name = if negated { "<>" } else { "=" };
        self.any_all_of(needle, name, Typed::new(list, ty), !negated, span)
    }

    /// The inner plan with its one column as sort key of `ty`.
    fn keyed(&mut self, bound: &BoundQuery, ty: PgType) -> Result<LogicalPlan> {
        let (qualifier, field) = bound.plan.schema().qualified_field(0);
        let column = Typed::new(Expr::Column(Column::from((qualifier, field))), bound.columns[0].ty);
        if column.ty == ty && compare::sorts_natively(ty) {
            return Ok(bound.plan.clone());
        }
        let column = self.coerce(column, ty)?;
        let key = self.sort_key(column.expr, ty)?.alias("key");
        planning(LogicalPlanBuilder::from(bound.plan.clone()).project(vec![key]).and_then(|b| b.build()))
    }

    /// `x op ANY (...)`, `x op ALL (...)` over an array or a subquery.
    pub(super) fn any_all(
        &mut self,
        left: &ast::Expr,
        op: &ast::BinaryOperator,
        right: &ast::Expr,
        any: bool,
        ctx: &Ctx<'_>,
    ) -> Result<Typed> {
        let name = operator_name(op)?;
        if let ast::Expr::Subquery(query) = right {
            if any && name == "=" {
                return self.in_subquery(left, query, false, ctx);
            }
            if let Some(values) = super::row::row_values(left) {
                let how = if any { RowQuery::Any } else { RowQuery::All };
                return self.row_against_query(&values, &name, query, how, ctx);
            }
            let needle = self.expr(left, ctx)?;
            let list = self.array_subquery(query, ctx)?;
            return self.any_all_of(needle, &name, list, any, None);
        }
        let needle = self.expr(left, ctx)?;
        let list = self.expr(right, ctx)?;
        let position = list.position;
        let list = if list.is_unknown() {
            let element = if needle.is_unknown() { PgType::TEXT } else { needle.ty };
            let array = element.array().ok_or_else(|| SqlError::unsupported("a multidimensional array"))?;
            self.coerce(list, array)?
        } else {
            list
        };
        self.any_all_of(needle, &name, list, any, position)
    }

    pub(super) fn any_all_of(
        &mut self,
        needle: Typed,
        name: &str,
        list: Typed,
        any: bool,
        position: Option<u32>,
    ) -> Result<Typed> {
        let Some(element) = list.ty.list_element() else {
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, "op ANY/ALL (array) requires array on right side")
                .at(position));
        };
        let ty =
            if compare::operator(name).is_some() { compare::common(needle.ty, element) } else { Some(PgType::TEXT) };
        let (Some(ty), Some(imp)) = (ty, functions::any_all(name, any)) else {
            return Err(SqlError::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("operator does not exist: {} {name} {}", needle.ty.sql_name(), element.sql_name()),
            )
            .hint("No operator matches the given name and argument types. You might need to add explicit type casts.")
            .at(position));
        };
        let needle = self.coerce(needle, ty)?;
        let array = ty.array().ok_or_else(|| SqlError::unsupported("a multidimensional array"))?;
        let list = if element == ty { list } else { self.coerce(list, array)? };
        let resolved = Resolved {
            name: if any { "any" } else { "all" },
            args: vec![ty, array],
            ret: PgType::BOOL,
            list: false,
            typmod: -1,
            explicit: false,
            volatility: functions::Volatility::Immutable,
            waits: false,
            imp,
        };
        let expr = self.fold_constant(resolved.call(vec![needle.expr, list.expr]))?;
        Ok(Typed::new(expr, PgType::BOOL).at(position))
    }

    /// A condition of WHERE, conjunct by conjunct: a subquery that is a whole conjunct may become a join, for which
    /// unknown and false are one; anywhere else they are not.
    pub(super) fn condition(&mut self, e: &ast::Expr, ctx: &Ctx<'_>) -> Result<Expr> {
        match e {
            ast::Expr::BinaryOp { left, op: ast::BinaryOperator::And, right } => {
                let left = self.condition(left, ctx)?;
                let right = self.condition(right, ctx)?;
                Ok(super::expr::binary(left, Operator::And, right))
            }
            ast::Expr::Nested(inner) => self.condition(inner, ctx),
            ast::Expr::InSubquery { expr, .. } if holds_query(expr) => {
                let bound = self.expr(e, ctx)?;
                self.boolean(bound, "WHERE")
            }
            ast::Expr::InSubquery { .. } | ast::Expr::Exists { .. } => {
                let bound = self.expr(e, &Ctx { clause: Clause::Conjunct, ..*ctx })?;
                self.boolean(bound, "WHERE")
            }
            ast::Expr::UnaryOp { op: ast::UnaryOperator::Not, expr } if matches!(**expr, ast::Expr::Exists { .. }) => {
                let bound = self.expr(expr, &Ctx { clause: Clause::Conjunct, ..*ctx })?;
                let inner = self.boolean(bound, "NOT")?;
                Ok(Expr::Not(Box::new(inner)))
            }
            other => {
                let bound = self.expr(other, ctx)?;
                self.boolean(bound, "WHERE")
            }
        }
    }

    /// Subqueries that are run only where a condition holds; elsewhere they have no rows.
    pub(super) fn only_where(condition: &Expr, applies: &mut [Apply]) {
        run_where(&chosen(&[], Some(condition)), applies);
    }

    /// The subqueries of `ctx` from number `known` on stand in a branch of a CASE: behind conditions that must not be true,
    /// and one that must be. For other rows they are not run: they might fail (manual, 9.18.1). A condition is left out if
    /// it may fail itself: it is evaluated for rows that a CASE around this one may keep from it. In an outer join's ON the
    /// subqueries belong to one side, and are always run.
    pub(super) fn only_in_branch(ctx: &Ctx<'_>, known: usize, before: &[Expr], condition: Option<&Expr>) {
        let mut applies = ctx.applies.borrow_mut();
        if applies.len() == known || ctx.clause == Clause::JoinOn {
            return;
        }
        let before: Vec<Expr> = before.iter().filter(|e| cannot_fail(e)).cloned().collect();
        let condition = condition.filter(|e| cannot_fail(e));
        if !before.is_empty() || condition.is_some() {
            // What stands inside an aggregate is run for the rows it counts.
            let own = applies[known..].iter_mut().filter(|a| a.in_aggregate == ctx.in_aggregate);
            run_where(&chosen(&before, condition), own);
        }
    }

    /// Puts Apply nodes over `plan` for the subqueries whose columns the next node's expressions use.
    pub(super) fn attach(&mut self, mut plan: LogicalPlan, applies: Vec<Apply>) -> Result<LogicalPlan> {
        for apply in applies {
            let added = Schema::new(vec![Field::new(&apply.column, apply.carrier.clone(), true)]);
            let added = planning(DFSchema::try_from(added))?;
            plan = apply_over(plan, apply.inner, apply.outer, apply.mode, &added)?;
        }
        Ok(plan)
    }
}

/// An Apply node over `input`.
pub(super) fn apply_over(
    input: LogicalPlan,
    inner: LogicalPlan,
    outer: Vec<OuterRef>,
    mode: ApplyMode,
    added: &DFSchema,
) -> Result<LogicalPlan> {
    let schema = Arc::new(planning(input.schema().join(added))?);
    let (ids, values) = outer.into_iter().map(|o| (o.id, o.expr.expr)).unzip();
    Ok(ApplyNode { input, inner: Arc::new(inner), ids, values, mode, schema }.plan())
}

/// 1 where none of the conditions before is true and the last one is, evaluated no further than a CASE is.
fn chosen(before: &[Expr], condition: Option<&Expr>) -> Expr {
    let number = |n: i32| Box::new(datafusion::logical_expr::lit(n));
    let mut branches: Vec<_> = before.iter().map(|e| (Box::new(e.clone()), number(0))).collect();
    branches.extend(condition.map(|e| (Box::new(e.clone()), number(1))));
    Expr::Case(Case::new(None, branches, Some(number(i32::from(condition.is_none())))))
}

/// True for comparisons and logic over columns, aggregates, parameters and constants; not for what computes, calls or is
/// volatile. Windows are computed above the subqueries.
fn cannot_fail(condition: &Expr) -> bool {
    let mut may_fail = false;
    let looked_at = condition.apply(|e| {
        Ok(match e {
            // Computed before, once for all.
            Expr::AggregateFunction(_) => TreeNodeRecursion::Jump,
            Expr::BinaryExpr(binary) if binary.op.supports_propagation() || binary.op.is_logic_operator() => {
                TreeNodeRecursion::Continue
            }
            Expr::Column(_)
            | Expr::Literal(..)
            | Expr::Placeholder(_)
            | Expr::Cast(_)
            | Expr::Case(_)
            | Expr::Not(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsTrue(_)
            | Expr::IsFalse(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNotFalse(_) => TreeNodeRecursion::Continue,
            _ => {
                may_fail = true;
                TreeNodeRecursion::Stop
            }
        })
    });
    looked_at.is_ok() && !may_fail
}

fn run_where<'a>(chosen: &Expr, applies: impl IntoIterator<Item = &'a mut Apply>) {
    for apply in applies {
        let expr = Typed::new(chosen.clone(), PgType::INT4);
        apply.outer.push(OuterRef { id: ONLY_WHERE.to_owned(), expr });
    }
}

/// True if an expression has a subquery inside.
fn holds_query(e: &ast::Expr) -> bool {
    use std::ops::ControlFlow;
    let found = ast::visit_expressions(e, |e| match e {
        ast::Expr::Subquery(_) | ast::Expr::Exists { .. } | ast::Expr::InSubquery { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// The subquery as DataFusion's own, where its rewriting to a join is known to be right: as a condition of WHERE, with
/// what it takes from outside only plain columns, used only in filters above which nothing counts or cuts rows.
pub(super) fn native(ctx: &Ctx<'_>, plan: &LogicalPlan, outer: &[OuterRef]) -> Result<Option<Subquery>> {
    if ctx.clause != Clause::Conjunct || ctx.in_aggregate {
        return Ok(None);
    }
    if !outer.iter().all(|o| matches!(o.expr.expr, Expr::Column(_))) || !decorrelates(plan, outer) {
        return Ok(None);
    }
    let mut columns = Vec::new();
    let plan = planning(plan.clone().transform_up(|node| {
        node.map_expressions(|e| {
            e.transform_up(|e| {
                let Expr::Placeholder(Placeholder { id, field: Some(field) }) = &e else {
                    return Ok(Transformed::no(e));
                };
                let wanted = outer.iter().find(|o| o.id == id.trim_start_matches('$'));
                let Some(Expr::Column(column)) = wanted.map(|o| &o.expr.expr) else {
                    return Ok(Transformed::no(e));
                };
                let reference = Expr::OuterReferenceColumn(Arc::clone(field), column.clone());
                columns.push(reference.clone());
                Ok(Transformed::yes(reference))
            })
        })
    }))?
    .data;
    columns.dedup();
    Ok(Some(Subquery { subquery: Arc::new(plan), outer_ref_columns: columns, spans: Default::default() }))
}

fn holds_subquery(e: &Expr) -> bool {
    let subquery = |e: &Expr| Ok(matches!(e, Expr::InSubquery(_) | Expr::Exists(_) | Expr::ScalarSubquery(_)));
    e.exists(subquery).unwrap_or(true)
}

fn decorrelates(plan: &LogicalPlan, outer: &[OuterRef]) -> bool {
    if outer.is_empty() {
        return true;
    }
    let mentions = |node: &LogicalPlan| {
        let mut found = false;
        let _ = node.apply_expressions(|e| {
            e.apply(|e| {
                if let Expr::Placeholder(p) = e {
                    found |= p.id.starts_with("$outer:");
                }
                Ok(TreeNodeRecursion::Continue)
            })
        });
        found
    };
    match plan {
        LogicalPlan::Filter(f) => !holds_subquery(&f.predicate) && decorrelates(&f.input, outer),
        LogicalPlan::Projection(p) => !mentions(plan) && decorrelates(&p.input, outer),
        LogicalPlan::SubqueryAlias(a) => decorrelates(&a.input, outer),
        LogicalPlan::TableScan(_) => !mentions(plan),
        _ => false,
    }
}
