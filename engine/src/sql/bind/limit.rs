//! ORDER BY, LIMIT, OFFSET and FETCH of a query.
//!
//! Counts that are known before the query runs go to DataFusion's own limit. A count that is a subquery's, and WITH TIES,
//! become conditions on the row's number and rank.

use std::cell::RefCell;

use datafusion::common::{Column as DfColumn, ScalarValue};
use datafusion::logical_expr::expr::{Sort, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Cast, Expr, LogicalPlan, LogicalPlanBuilder, Operator, WindowFrame, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition, WindowUDF, lit,
};
use datafusion::sql::sqlparser::ast::{self, Spanned};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::Binder;
use super::expr::binary;
use super::locking::{Locked, lock_rows};
use super::scope::{Clause, Scope};
use super::select::Env;
use super::subquery::Apply;
use crate::sql::functions::{self, Volatility};
use crate::sql::plan::{columns_of, planning};
use crate::sql::udf::Resolved;

/// ORDER BY, LIMIT and OFFSET of a query.
#[derive(Clone, Copy, Default)]
pub(super) struct Tail<'q> {
    pub(super) order_by: Option<&'q [ast::OrderByExpr]>,
    limit: Option<Count<'q>>,
    offset: Option<Count<'q>>,
    /// FETCH ... WITH TIES
    pub(super) ties: bool,
    /// FOR UPDATE and its kin.
    pub(super) locks: &'q [ast::LockClause],
}

/// How many rows LIMIT, FETCH or OFFSET means.
#[derive(Clone, Copy)]
enum Count<'q> {
    Of(&'q ast::Expr),
    /// `FETCH FIRST ROW ONLY`
    One,
}

impl Binder<'_> {
    pub(super) fn tail_of<'q>(&self, query: &'q ast::Query) -> Result<Tail<'q>> {
        let order_by = match &query.order_by {
            None => None,
            Some(ast::OrderBy { kind: ast::OrderByKind::Expressions(list), .. }) => Some(list.as_slice()),
            Some(_) => return Err(SqlError::unsupported("ORDER BY ALL")),
        };
        let (mut limit, offset) = match &query.limit_clause {
            None => (None, None),
            Some(ast::LimitClause::LimitOffset { limit, offset, limit_by }) if limit_by.is_empty() => {
                (limit.as_ref().map(Count::Of), offset.as_ref().map(|o| Count::Of(&o.value)))
            }
            Some(_) => {
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, "LIMIT #,# syntax is not supported")
                    .hint("Use separate LIMIT and OFFSET clauses."));
            }
        };
        let mut ties = false;
        if let Some(fetch) = &query.fetch {
            if fetch.percent {
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \"PERCENT\""));
            }
            if limit.is_some() {
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, "multiple LIMIT clauses not allowed"));
            }
            limit = Some(fetch.quantity.as_ref().map_or(Count::One, Count::Of));
            ties = fetch.with_ties;
        }
        if ties && order_by.is_none() {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "WITH TIES cannot be specified without ORDER BY clause"));
        }
        Ok(Tail { order_by, limit, offset, ties, locks: &query.locks })
    }

    pub(super) fn sort_and_limit(
        &mut self,
        mut plan: LogicalPlan,
        sorts: Vec<Sort>,
        tail: Tail<'_>,
        env: Env<'_>,
        locked: Option<(Vec<Locked>, usize)>,
    ) -> Result<LogicalPlan> {
        let applies = RefCell::new(Vec::new());
        let limit = self.row_count(tail.limit, Clause::Limit, env, &applies)?;
        let offset = self.row_count(tail.offset, Clause::Offset, env, &applies)?;
        let applies = applies.into_inner();
        if tail.ties && limit.is_none() {
            return Err(SqlError::new(
                SqlState::INVALID_ROW_COUNT_IN_LIMIT_CLAUSE,
                "row count cannot be null in FETCH FIRST ... WITH TIES clause",
            ));
        }
        if locked.is_some() && (!applies.is_empty() || tail.ties) {
            return Err(SqlError::unsupported("a locking clause with WITH TIES or a subquery in LIMIT"));
        }
        if !applies.is_empty() || tail.ties {
            return self.numbered_rows(plan, sorts, limit, offset, tail.ties, applies);
        }
        plan = self.sort_and_lock(plan, sorts, tail, locked)?;
        if limit.is_some() || offset.is_some() {
            plan = planning(LogicalPlanBuilder::from(plan).limit_by_expr(offset, limit).and_then(|b| b.build()))?;
        }
        Ok(plan)
    }

    /// ORDER BY and the locks of its rows, whose keys are the columns from a certain one on.
    pub(super) fn sort_and_lock(
        &mut self,
        mut plan: LogicalPlan,
        sorts: Vec<Sort>,
        tail: Tail<'_>,
        locked: Option<(Vec<Locked>, usize)>,
    ) -> Result<LogicalPlan> {
        if !sorts.is_empty() {
            plan = planning(LogicalPlanBuilder::from(plan).sort(sorts).and_then(|b| b.build()))?;
        }
        if let Some((locked, first)) = locked {
            plan = lock_rows(plan, locked, first, tail.limit.is_some());
        }
        Ok(plan)
    }

    /// LIMIT and OFFSET once more, for a simple select; None if they are not simple.
    #[allow(clippy::type_complexity)]
    pub(super) fn simple_counts(
        &mut self,
        tail: Tail<'_>,
        env: Env<'_>,
    ) -> Result<Option<(Option<Expr>, Option<Expr>)>> {
        let applies = RefCell::new(Vec::new());
        let outer = env.outer.borrow().len();
        let limit = self.row_count(tail.limit, Clause::Limit, env, &applies)?;
        let offset = self.row_count(tail.offset, Clause::Offset, env, &applies)?;
        let plain = !tail.ties && applies.into_inner().is_empty() && env.outer.borrow().len() == outer;
        Ok(plain.then_some((limit, offset)))
    }

    /// Rows whose number in the order is above the offset and, counted from there, at most the limit. With `ties` the
    /// rank is what must not be above: the peers of the last row share it.
    fn numbered_rows(
        &mut self,
        plan: LogicalPlan,
        sorts: Vec<Sort>,
        limit: Option<Expr>,
        offset: Option<Expr>,
        ties: bool,
        applies: Vec<Apply>,
    ) -> Result<LogicalPlan> {
        use datafusion::functions_window as fw;
        let keep: Vec<Expr> = columns_of(&plan);
        let plan = self.attach(plan, applies)?;
        let number = over_all(fw::row_number::row_number_udwf(), &sorts);
        let rank = over_all(fw::rank::rank_udwf(), &sorts);
        let column = |call: &Expr| {
            let name = call.schema_name().to_string();
            let column = Expr::Column(DfColumn::new_unqualified(name));
            Expr::Cast(Cast::new(Box::new(column), PgType::INT8.arrow()))
        };
        let zero = || lit(ScalarValue::Int64(Some(0)));
        let offset = offset.map(|o| super::func::coalesce(vec![o, zero()]));
        let mut keeps = lit(true);
        if let Some(offset) = &offset {
            keeps = binary(column(&number), Operator::Gt, offset.clone());
        }
        if let Some(limit) = limit {
            let counted = column(if ties { &rank } else { &number });
            let counted = offset.map_or(counted.clone(), |o| binary(counted, Operator::Minus, o));
            let within = binary(counted, Operator::LtEq, limit.clone());
            let some = binary(limit.clone(), Operator::Gt, zero());
            let unlimited = Expr::IsNull(Box::new(limit));
            let within = binary(unlimited, Operator::Or, binary(within, Operator::And, some));
            keeps = binary(keeps, Operator::And, within);
        }
        let builder =
            planning(LogicalPlanBuilder::window_plan(plan, vec![number, rank]).map(LogicalPlanBuilder::from))?;
        let builder = planning(builder.filter(keeps))?;
        let builder = if sorts.is_empty() { builder } else { planning(builder.sort(sorts))? };
        planning(builder.project(keep).and_then(|b| b.build()))
    }

    /// LIMIT and OFFSET: a bigint that depends on no row. NULL means none.
    fn row_count(
        &mut self,
        count: Option<Count<'_>>,
        clause: Clause,
        env: Env<'_>,
        applies: &RefCell<Vec<Apply>>,
    ) -> Result<Option<Expr>> {
        let e = match count {
            None => return Ok(None),
            Some(Count::One) => return Ok(Some(lit(ScalarValue::Int64(Some(1))))),
            Some(Count::Of(ast::Expr::Identifier(i))) if i.value.eq_ignore_ascii_case("all") => return Ok(None),
            Some(Count::Of(e)) => e,
        };
        let scope = Scope::default();
        let known = applies.borrow().len();
        let ctx = env.ctx(&scope, clause, applies);
        let outer = env.outer.borrow().len();
        let bound = self.expr(e, &ctx).map_err(|error| match error.code() {
            SqlState::UNDEFINED_COLUMN => SqlError::new(
                SqlState::INVALID_COLUMN_REFERENCE,
                format!("argument of {} must not contain variables", clause.name()),
            )
            .at(self.position(e.span())),
            _ => error,
        })?;
        let varies = applies.borrow().len() > known || env.outer.borrow().len() > outer;
        let bound = if bound.ty == PgType::NUMERIC || bound.ty.is_float() {
            self.assign(bound, PgType::INT8, -1)?
        } else {
            let ty = bound.ty;
            let position = bound.position;
            self.coerce(bound, PgType::INT8).map_err(|error| match error.code() {
                SqlState::CANNOT_COERCE => SqlError::new(
                    SqlState::DATATYPE_MISMATCH,
                    format!("argument of {} must be type bigint, not type {}", clause.name(), ty.sql_name()),
                )
                .at(position),
                _ => error,
            })?
        };
        if varies {
            return Ok(Some(checked(bound.expr, clause)));
        }
        let expr = crate::sql::plan::evaluate_constant(self.session, bound.expr)?;
        match &expr {
            Expr::Literal(value, _) if value.is_null() => Ok(None),
            Expr::Literal(ScalarValue::Int64(Some(n)), _) if *n < 0 => Err(negative_row_count(clause == Clause::Limit)),
            _ => Ok(Some(expr)),
        }
    }
}

/// A frame for functions that do not look at it: one of RANGE would have to be able to add to the keys.
pub(super) fn up_to_here() -> WindowFrame {
    WindowFrame::new_bounds(
        WindowFrameUnits::Rows,
        WindowFrameBound::Preceding(ScalarValue::UInt64(None)),
        WindowFrameBound::CurrentRow,
    )
}

/// A window function over all rows in the order of `sorts`.
fn over_all(udf: std::sync::Arc<WindowUDF>, sorts: &[Sort]) -> Expr {
    Expr::WindowFunction(Box::new(WindowFunction {
        fun: WindowFunctionDefinition::WindowUDF(udf),
        params: WindowFunctionParams {
            args: Vec::new(),
            partition_by: Vec::new(),
            order_by: sorts.to_vec(),
            window_frame: up_to_here(),
            filter: None,
            null_treatment: None,
            distinct: false,
        },
    }))
}

/// A count that is known only when the query runs: its sign is looked at then.
fn checked(count: Expr, clause: Clause) -> Expr {
    let limit = clause == Clause::Limit;
    Resolved {
        name: if limit { "limit" } else { "offset" },
        args: vec![PgType::INT8],
        ret: PgType::INT8,
        list: false,
        typmod: -1,
        explicit: false,
        volatility: Volatility::Immutable,
        waits: false,
        imp: if limit { functions::row_count::<true> } else { functions::row_count::<false> },
    }
    .call(vec![count])
}

/// 2201W, 2201X
pub(crate) fn negative_row_count(limit: bool) -> SqlError {
    if limit {
        SqlError::new(SqlState::INVALID_ROW_COUNT_IN_LIMIT_CLAUSE, "LIMIT must not be negative")
    } else {
        SqlError::new(SqlState::INVALID_ROW_COUNT_IN_RESULT_OFFSET_CLAUSE, "OFFSET must not be negative")
    }
}
