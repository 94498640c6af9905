//! VALUES, UNION, INTERSECT, EXCEPT, DISTINCT and recursive WITH.

use std::cell::RefCell;
use std::sync::Arc;

use datafusion::common::{Column as DfColumn, DFSchema, TableReference};
use datafusion::datasource::{cte_worktable::CteWorkTable, provider_as_source};
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, Projection, WindowFrame, WindowFunctionDefinition,
};
use datafusion::sql::sqlparser::ast::{self, SetExpr, SetOperator, SetQuantifier};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::scope::{Clause, Scope};
use super::select::{BoundQuery, Env};
use super::subquery::Apply;
use super::typed::{Kind, Typed};
use super::{Binder, Cte, fold};
use crate::sql::Column;
use crate::sql::coerce::common_type;
use crate::sql::compare;
use crate::sql::functions::CastContext;
use crate::sql::plan::{columns_of, one_row, planning};

impl Binder<'_> {
    /// VALUES: columns column1, column2 ... of the rows' common types.
    pub(super) fn values(&mut self, values: &ast::Values, env: Env<'_>) -> Result<BoundQuery> {
        let (rows, applies) = self.values_rows(values, env)?;
        if applies.iter().all(Vec::is_empty) {
            return self.query_of_rows(rows);
        }
        self.query_of_subqueries(rows, applies)
    }

    /// Rows with subqueries: one SELECT for each, under UNION ALL.
    fn query_of_subqueries(&mut self, rows: Vec<Vec<Typed>>, applies: Vec<Vec<Apply>>) -> Result<BoundQuery> {
        let mut all: Option<BoundQuery> = None;
        for (row, applies) in rows.into_iter().zip(applies) {
            let plan = one_row()?;
            let plan = self.attach(plan, applies)?;
            let mut columns = Vec::with_capacity(row.len());
            let mut exprs = Vec::with_capacity(row.len());
            let mut kinds = Vec::with_capacity(row.len());
            for (i, typed) in row.into_iter().enumerate() {
                let name = format!("column{}", i + 1);
                exprs.push(typed.expr.alias(&name));
                columns.push(Column { name, ty: typed.ty, typmod: typed.typmod, table: 0, attribute: 0 });
                kinds.push(typed.kind);
            }
            let plan = planning(LogicalPlanBuilder::from(plan).project(exprs).and_then(|b| b.build()))?;
            let one = BoundQuery { plan, columns, kinds, simple: None };
            all = Some(match all {
                None => one,
                Some(before) => self.combine(SetOperator::Union, "VALUES", true, before, one, &[])?,
            });
        }
        all.ok_or_else(|| SqlError::internal("VALUES without rows"))
    }

    /// The rows of VALUES, bound, and the subqueries of each.
    #[allow(clippy::type_complexity)]
    fn values_rows(&mut self, values: &ast::Values, env: Env<'_>) -> Result<(Vec<Vec<Typed>>, Vec<Vec<Apply>>)> {
        let scope = Scope::default();
        let width = values.rows.first().map_or(0, |r| r.content.len());
        let mut rows = Vec::with_capacity(values.rows.len());
        let mut applies = Vec::with_capacity(values.rows.len());
        for row in &values.rows {
            if row.content.len() != width {
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, "VALUES lists must all be the same length")
                    .at(row.content.first().and_then(|e| self.position(ast::Spanned::span(e)))));
            }
            let mut bound = Vec::with_capacity(width);
            let met = RefCell::new(Vec::new());
            let ctx = env.ctx(&scope, Clause::Values, &met);
            for e in &row.content {
                bound.push(self.expr(e, &ctx)?);
            }
            rows.push(bound);
            applies.push(met.into_inner());
        }
        Ok((rows, applies))
    }

    /// A query of bound rows.
    pub(super) fn query_of_rows(&mut self, rows: Vec<Vec<Typed>>) -> Result<BoundQuery> {
        let width = rows.first().map_or(0, Vec::len);
        let mut columns = Vec::with_capacity(width);
        let mut by_column: Vec<Vec<Typed>> = (0..width).map(|_| Vec::with_capacity(rows.len())).collect();
        for row in rows {
            for (i, typed) in row.into_iter().enumerate() {
                by_column[i].push(typed);
            }
        }
        let mut kinds = vec![Kind::Plain; width];
        let single = by_column.first().is_some_and(|c| c.len() == 1);
        for (i, column) in by_column.iter_mut().enumerate() {
            let taken = std::mem::take(column);
            // One row of open types may still take the types of an INSERT or a UNION.
            let (ty, typmod) = if single && taken[0].is_unknown() {
                kinds[i] = taken[0].kind.clone();
                *column = taken;
                (PgType::UNKNOWN, -1)
            } else {
                let (unified, ty, typmod) = self.unify(taken, "VALUES")?;
                *column = unified;
                (ty, typmod)
            };
            columns.push(Column { name: format!("column{}", i + 1), ty, typmod, table: 0, attribute: 0 });
        }
        let count = by_column.first().map_or(0, Vec::len);
        let names: Vec<String> = columns.iter().map(|c| c.name.clone()).collect();
        if count == 1 {
            let exprs: Vec<Expr> = by_column
                .into_iter()
                .zip(&names)
                .flat_map(|(c, n)| c.into_iter().map(move |t| t.expr.alias(n)))
                .collect();
            let plan = planning(LogicalPlanBuilder::empty(true).project(exprs).and_then(|b| b.build()))?;
            return Ok(BoundQuery { plan, columns, kinds, simple: None });
        }
        let mut iters: Vec<_> = by_column.into_iter().map(Vec::into_iter).collect();
        let rows: Vec<Vec<Expr>> =
            (0..count).map(|_| iters.iter_mut().filter_map(|c| c.next().map(|t| t.expr)).collect()).collect();
        let fields: Vec<_> =
            columns.iter().map(|c| datafusion::arrow::datatypes::Field::new(&c.name, c.ty.arrow(), true)).collect();
        let schema = planning(DFSchema::try_from(datafusion::arrow::datatypes::Schema::new(fields)))?;
        let plan = LogicalPlan::Values(datafusion::logical_expr::Values { schema: Arc::new(schema), values: rows });
        Ok(BoundQuery { plan, columns, kinds, simple: None })
    }

    /// Converts the columns of a query. Literals and parameters in its select list take the type at once.
    pub(super) fn coerce_columns(
        &mut self,
        bound: &mut BoundQuery,
        wanted: &[(PgType, i32)],
        context: CastContext,
    ) -> Result<()> {
        let same = |c: &Column, w: &(PgType, i32)| c.ty == w.0 && (w.1 < 0 || c.typmod == w.1);
        if bound.columns.iter().zip(wanted).all(|(c, w)| same(c, w)) {
            return Ok(());
        }
        let open = bound.kinds.iter().any(|k| matches!(k, Kind::Literal(_) | Kind::Parameter(_)));
        let top = match &bound.plan {
            LogicalPlan::Projection(p) if open && p.expr.len() == bound.columns.len() => Some(p.clone()),
            _ => None,
        };
        let mut exprs = Vec::with_capacity(wanted.len());
        let mut names: Vec<String> = Vec::new();
        for (i, (ty, typmod)) in wanted.iter().enumerate() {
            let column = &bound.columns[i];
            let (q, f) = bound.plan.schema().qualified_field(i);
            let name = super::from::unique_in(&names, f.name());
            let kind = bound.kinds.get(i).cloned().unwrap_or(Kind::Plain);
            let (expr, kind) = match &top {
                Some(p) => match &p.expr[i] {
                    Expr::Alias(alias) => (alias.expr.as_ref().clone(), kind),
                    other => (other.clone(), kind),
                },
                None => (Expr::Column(DfColumn::from((q, f))), Kind::Plain),
            };
            let ty_now = if column.ty == PgType::UNKNOWN && kind == Kind::Plain { PgType::TEXT } else { column.ty };
            let typed = Typed { expr, ty: ty_now, typmod: column.typmod, kind, position: None };
            let typed = match context {
                CastContext::Assignment => self.assign(typed, *ty, *typmod)?,
                // Text of a column whose type was open converts to anything.
                _ if column.ty == PgType::UNKNOWN => self.cast(typed, *ty, *typmod)?,
                _ => self.coerce(typed, *ty)?,
            };
            exprs.push(typed.expr.alias(&name));
            names.push(name);
        }
        bound.plan = match top {
            Some(p) => LogicalPlan::Projection(planning(Projection::try_new(exprs, p.input))?),
            None => planning(LogicalPlanBuilder::from(bound.plan.clone()).project(exprs).and_then(|b| b.build()))?,
        };
        for (column, (ty, typmod)) in bound.columns.iter_mut().zip(wanted) {
            if column.ty != *ty || *typmod >= 0 {
                column.typmod = *typmod;
            }
            column.ty = *ty;
        }
        bound.kinds = vec![Kind::Plain; bound.columns.len()];
        bound.simple = None;
        Ok(())
    }

    pub(super) fn set_operation(
        &mut self,
        op: SetOperator,
        quantifier: SetQuantifier,
        left: &SetExpr,
        right: &SetExpr,
        env: Env<'_>,
    ) -> Result<BoundQuery> {
        let all = match quantifier {
            SetQuantifier::All => true,
            SetQuantifier::None | SetQuantifier::Distinct => false,
            _ => return Err(SqlError::unsupported("set operations BY NAME")),
        };
        let name = match op {
            SetOperator::Union => "UNION",
            SetOperator::Intersect => "INTERSECT",
            SetOperator::Except => "EXCEPT",
            SetOperator::Minus => return Err(SqlError::unsupported("MINUS")),
        };
        let l = self.set_expr(left, env)?;
        let r = self.set_expr(right, env)?;
        let positions: Vec<Option<u32>> = (0..r.columns.len().max(1)).map(|i| self.output_position(right, i)).collect();
        self.combine(op, name, all, l, r, &positions)
    }

    /// Where the i-th output expression of a query stands, for errors about its type.
    fn output_position(&self, body: &SetExpr, i: usize) -> Option<u32> {
        match body {
            SetExpr::Select(select) => {
                let item = select.projection.get(i).or(select.projection.first())?;
                self.position(ast::Spanned::span(item))
            }
            SetExpr::Query(query) => self.output_position(&query.body, i),
            SetExpr::SetOperation { left, .. } => self.output_position(left, i),
            SetExpr::Values(values) => {
                let row = values.rows.first()?;
                self.position(ast::Spanned::span(row.content.get(i).or(row.content.first())?))
            }
            _ => None,
        }
    }

    fn combine(
        &mut self,
        op: SetOperator,
        name: &str,
        all: bool,
        mut l: BoundQuery,
        mut r: BoundQuery,
        positions: &[Option<u32>],
    ) -> Result<BoundQuery> {
        let at = |i: usize| positions.get(i).copied().flatten();
        if l.columns.len() != r.columns.len() {
            return Err(SqlError::new(
                SqlState::SYNTAX_ERROR,
                format!("each {name} query must have the same number of columns"),
            )
            .at(at(0)));
        }
        let mut wanted = Vec::with_capacity(l.columns.len());
        for (i, (a, b)) in l.columns.iter().zip(&r.columns).enumerate() {
            let ty = common_type(&[a.ty, b.ty], name).map_err(|e| e.at(at(i)))?;
            let typmod = if a.ty == b.ty && a.typmod == b.typmod { a.typmod } else { -1 };
            wanted.push((ty, typmod));
        }
        self.coerce_columns(&mut l, &wanted, CastContext::Implicit)?;
        self.coerce_columns(&mut r, &wanted, CastContext::Implicit)?;
        let types: Vec<PgType> = wanted.iter().map(|w| w.0).collect();
        let columns: Vec<Column> = l
            .columns
            .iter()
            .zip(&wanted)
            .map(|(c, (ty, typmod))| Column { name: c.name.clone(), ty: *ty, typmod: *typmod, table: 0, attribute: 0 })
            .collect();
        let left = self.positional(l.plan)?;
        let right = self.positional(r.plan)?;
        let plan = match op {
            SetOperator::Union => {
                let both = planning(LogicalPlanBuilder::from(left).union(right).and_then(|b| b.build()))?;
                if all { both } else { self.distinct(both, &types)? }
            }
            _ => self.semi(left, right, &types, op == SetOperator::Intersect, all)?,
        };
        let kinds = vec![Kind::Plain; columns.len()];
        Ok(BoundQuery { plan, columns, kinds, simple: None })
    }

    /// The same rows with columns named c0, c1 ...
    fn positional(&mut self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let exprs: Vec<Expr> = plan
            .schema()
            .iter()
            .enumerate()
            .map(|(i, (q, f))| Expr::Column(DfColumn::from((q, f))).alias(format!("c{i}")))
            .collect();
        planning(LogicalPlanBuilder::from(plan).project(exprs).and_then(|b| b.build()))
    }

    /// Distinct rows, by the sort keys of the first `types.len()` columns; further columns are dropped.
    pub(super) fn distinct(&mut self, plan: LogicalPlan, types: &[PgType]) -> Result<LogicalPlan> {
        for ty in types {
            if !compare::comparable(*ty, datafusion::logical_expr::Operator::Eq) {
                return Err(SqlError::new(
                    SqlState::UNDEFINED_FUNCTION,
                    format!("could not identify an equality operator for type {}", ty.sql_name()),
                ));
            }
        }
        if types.is_empty() {
            return planning(LogicalPlanBuilder::from(plan).limit(0, Some(1)).and_then(|b| b.build()));
        }
        if types.iter().all(|t| compare::sorts_natively(*t)) {
            return planning(LogicalPlanBuilder::from(plan).distinct().and_then(|b| b.build()));
        }
        let mut groups = Vec::new();
        let mut firsts = Vec::new();
        let mut outputs = Vec::new();
        for (i, ty) in types.iter().enumerate() {
            let (q, f) = plan.schema().qualified_field(i);
            let column = Expr::Column(DfColumn::from((q, f)));
            let name = f.name().clone();
            groups.push(self.sort_key(column.clone(), *ty)?.alias(format!("key#{i}")));
            firsts.push(super::group::first_value(column).alias(format!("first#{i}")));
            outputs.push(Expr::Column(DfColumn::new_unqualified(format!("first#{i}"))).alias(name));
        }
        planning(
            LogicalPlanBuilder::from(plan)
                .aggregate(groups, firsts)
                .and_then(|b| b.project(outputs))
                .and_then(|b| b.build()),
        )
    }

    /// INTERSECT and EXCEPT: a semi or anti join on all columns, NULLs equal. With ALL each row carries its number
    /// among its equals, which makes the join count them.
    fn semi(
        &mut self,
        left: LogicalPlan,
        right: LogicalPlan,
        types: &[PgType],
        intersect: bool,
        all: bool,
    ) -> Result<LogicalPlan> {
        let (left, right) = if all {
            (self.numbered(left, types)?, self.numbered(right, types)?)
        } else {
            (self.distinct(left, types)?, right)
        };
        let l = TableReference::bare(self.unique("left"));
        let r = TableReference::bare(self.unique("right"));
        let width = left.schema().fields().len();
        if width == 0 {
            return Err(SqlError::unsupported("INTERSECT or EXCEPT of queries without columns"));
        }
        let left = planning(LogicalPlanBuilder::from(left).alias(l.clone()).and_then(|b| b.build()))?;
        let right = planning(LogicalPlanBuilder::from(right).alias(r.clone()).and_then(|b| b.build()))?;
        let mut on = Vec::with_capacity(width);
        for i in 0..width {
            let ty = types.get(i).copied().unwrap_or(PgType::INT8);
            let a = Expr::Column(DfColumn::new(Some(l.clone()), left.schema().field(i).name()));
            let b = Expr::Column(DfColumn::new(Some(r.clone()), right.schema().field(i).name()));
            let (a, b) = (self.sort_key(a, ty)?, self.sort_key(b, ty)?);
            on.push(super::expr::binary(a, datafusion::logical_expr::Operator::IsNotDistinctFrom, b));
        }
        let kind =
            if intersect { datafusion::common::JoinType::LeftSemi } else { datafusion::common::JoinType::LeftAnti };
        let outputs: Vec<Expr> = (0..types.len())
            .map(|i| Expr::Column(DfColumn::new(Some(l.clone()), format!("c{i}"))).alias(format!("c{i}")))
            .collect();
        planning(
            LogicalPlanBuilder::from(left)
                .join_on(right, kind, on)
                .and_then(|b| b.project(outputs))
                .and_then(|b| b.build()),
        )
    }

    fn numbered(&mut self, plan: LogicalPlan, types: &[PgType]) -> Result<LogicalPlan> {
        let mut partition_by = Vec::with_capacity(types.len());
        for (i, ty) in types.iter().enumerate() {
            let (q, f) = plan.schema().qualified_field(i);
            partition_by.push(self.sort_key(Expr::Column(DfColumn::from((q, f))), *ty)?);
        }
        let number = Expr::WindowFunction(Box::new(WindowFunction {
            fun: WindowFunctionDefinition::WindowUDF(datafusion::functions_window::row_number::row_number_udwf()),
            params: WindowFunctionParams {
                args: Vec::new(),
                partition_by,
                order_by: Vec::new(),
                window_frame: WindowFrame::new(None),
                filter: None,
                null_treatment: None,
                distinct: false,
            },
        }));
        let name = number.schema_name().to_string();
        let mut outputs: Vec<Expr> = columns_of(&plan);
        outputs.push(Expr::Column(DfColumn::new_unqualified(name)).alias("number"));
        let plan = planning(LogicalPlanBuilder::window_plan(plan, vec![number]))?;
        planning(LogicalPlanBuilder::from(plan).project(outputs).and_then(|b| b.build()))
    }

    /// `WITH RECURSIVE name AS (left UNION [ALL] right)`.
    pub(super) fn recursive_cte(
        &mut self,
        cte: &ast::Cte,
        name: &str,
        left: &SetExpr,
        right: &SetExpr,
        quantifier: &SetQuantifier,
        env: Env<'_>,
    ) -> Result<BoundQuery> {
        let query = &cte.query;
        if query.order_by.is_some() || query.limit_clause.is_some() || query.fetch.is_some() {
            return Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "ORDER BY in a recursive query is not implemented",
            ));
        }
        let mut base = self.set_expr(left, env)?;
        self.resolve_unknown(&mut base)?;
        let distinct = *quantifier != SetQuantifier::All;
        let columns: Vec<Column> = base
            .columns
            .iter()
            .enumerate()
            .map(|(i, c)| Column {
                name: cte.alias.columns.get(i).map_or_else(|| c.name.clone(), |a| fold(&a.name)),
                ty: c.ty,
                typmod: c.typmod,
                table: 0,
                attribute: 0,
            })
            .collect();
        let types: Vec<PgType> = columns.iter().map(|c| c.ty).collect();
        let mut plan = self.positional(base.plan)?;
        if distinct {
            plan = self.distinct(plan, &types)?;
        }
        if distinct && !types.iter().all(|t| compare::sorts_natively(*t)) {
            return Err(SqlError::unsupported("a recursive UNION over numeric, interval, char(n) or jsonb"));
        }
        let work = self.unique(name);
        let schema = Arc::new(plan.schema().as_arrow().clone());
        let source = provider_as_source(Arc::new(CteWorkTable::new(&work, schema)));
        let scan = planning(LogicalPlanBuilder::scan(work.clone(), source, None).and_then(|b| b.build()))?;
        let kinds = vec![Kind::Plain; columns.len()];
        let reference = BoundQuery { plan: scan, columns: columns.clone(), kinds: kinds.clone(), simple: None };
        self.ctes.push(Cte { name: name.to_owned(), query: reference, returns: true });
        let step = self.set_expr(right, env);
        self.ctes.pop();
        let mut step = step?;
        if step.columns.len() != columns.len() {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "each UNION query must have the same number of columns"));
        }
        for (i, (want, have)) in columns.iter().zip(&step.columns).enumerate() {
            let common = common_type(&[want.ty, have.ty], "UNION")?;
            if common != want.ty {
                return Err(SqlError::new(
                    SqlState::DATATYPE_MISMATCH,
                    format!(
                        "recursive query \"{name}\" column {} has type {} in non-recursive term but type {} overall",
                        i + 1,
                        want.ty.display(want.typmod),
                        common.sql_name()
                    ),
                )
                .hint("Cast the output of the non-recursive term to the correct type."));
            }
        }
        let wanted: Vec<(PgType, i32)> = types.iter().map(|t| (*t, -1)).collect();
        self.coerce_columns(&mut step, &wanted, CastContext::Implicit)?;
        let step = self.positional(step.plan)?;
        let plan =
            planning(LogicalPlanBuilder::from(plan).to_recursive_query(work, step, distinct).and_then(|b| b.build()))?;
        Ok(BoundQuery { plan, columns, kinds, simple: None })
    }
}

/// True if a query body names this relation in FROM anywhere.
pub(super) fn mentions(body: &SetExpr, name: &str) -> bool {
    // The text is searched for the word: a false yes only makes a plain UNION run as a recursive one of no recursion.
    body.to_string().split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word.eq_ignore_ascii_case(name))
}
