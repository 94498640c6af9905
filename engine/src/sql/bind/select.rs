//! Queries: WITH, SELECT, ORDER BY, LIMIT.

use std::cell::RefCell;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column as DfColumn, DataFusionError};
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{self, SelectItem, SetExpr, Spanned};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::group::contains_aggregate;
use super::limit::Tail;
use super::locking::{self, Locked, Unlockable, not_allowed_with};
use super::outputs::Outputs;
use super::scope::{Clause, Ctx, OuterRef, Relation, Scope};
use super::typed::{Kind, Typed};
use super::{Binder, fold};
use crate::sql::Column;
use crate::sql::functions::CastContext;
use crate::sql::plan::{columns_of, planning};
use crate::txn::{IfLocked, LockMode};

/// A bound query: its plan's i-th field is the i-th column.
#[derive(Clone, Debug)]
pub(crate) struct BoundQuery {
    pub plan: LogicalPlan,
    pub columns: Vec<Column>,
    /// For columns whose type is still unknown: what they are. Their carrier is text.
    pub kinds: Vec<Kind>,
    /// Set if the plan is a single-table SELECT that `fast` may serve.
    pub simple: Option<Box<SimpleSelect>>,
}

/// The parts of a SELECT over one stored table with nothing but a WHERE. What it reads through views and subqueries of
/// the same kind is written out in terms of the table.
#[derive(Clone, Debug)]
pub(crate) struct SimpleSelect {
    pub table: kalamdb_catalog::Oid,
    pub filter: Option<Expr>,
    pub outputs: Vec<Expr>,
    pub tail: SimpleTail,
}

/// What comes behind the WHERE of a simple select.
#[derive(Clone, Default, Debug)]
pub(crate) struct SimpleTail {
    pub order: Vec<Sort>,
    pub limit: Option<Expr>,
    pub offset: Option<Expr>,
    /// How its rows are locked.
    pub lock: Option<(LockMode, IfLocked)>,
}

impl SimpleTail {
    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty() && self.limit.is_none() && self.offset.is_none() && self.lock.is_none()
    }
}

/// The scopes around a query.
#[derive(Clone, Copy)]
pub(super) struct Env<'s> {
    pub(super) parent: Option<&'s Ctx<'s>>,
    pub(super) outer: &'s RefCell<Vec<OuterRef>>,
}

impl<'s> Env<'s> {
    pub(super) fn ctx(
        self,
        scope: &'s Scope,
        clause: Clause,
        applies: &'s RefCell<Vec<super::subquery::Apply>>,
    ) -> Ctx<'s> {
        Ctx { scope, parent: self.parent, clause, outer: self.outer, applies, in_aggregate: false }
    }
}

/// How many levels of expressions one set operation counts for.
const SET_OPERATION_LEVELS: usize = 3;

/// An output column while its SELECT is being bound.
pub(super) struct Target {
    pub(super) typed: Typed,
    pub(super) name: String,
    pub(super) table: kalamdb_catalog::Oid,
    pub(super) attribute: i16,
}

/// A sort key: an output column, or an expression of its own.
pub(super) enum SortKey {
    Output(usize),
    Expr(Expr),
}

impl Binder<'_> {
    /// Binds a query; `parent` is the scope around a subquery and the list of what it takes from there.
    pub(super) fn bind_query(
        &mut self,
        query: &ast::Query,
        parent: Option<(&Ctx<'_>, &RefCell<Vec<OuterRef>>)>,
    ) -> Result<BoundQuery> {
        let none = RefCell::new(Vec::new());
        let env = match parent {
            Some((ctx, outer)) => Env { parent: Some(ctx), outer },
            None => Env { parent: None, outer: &none },
        };
        let depth = self.ctes.len();
        let around = self.set_calls.take();
        let modifying = std::mem::take(&mut self.modifying_allowed);
        let result = self.with_and_body(query, env, modifying);
        self.set_calls = around;
        self.ctes.truncate(depth);
        result
    }

    fn with_and_body(&mut self, query: &ast::Query, env: Env<'_>, modifying: bool) -> Result<BoundQuery> {
        if let Some(with) = &query.with {
            self.bind_with(with, env, modifying)?;
        }
        let tail = self.tail_of(query)?;
        match query.body.as_ref() {
            SetExpr::Select(select) => match locking::into_subqueries(select, &query.locks) {
                Some(select) => self.bind_select(&select, tail, env),
                None => self.bind_select(select, tail, env),
            },
            body => {
                if let Some(clause) = query.locks.first() {
                    return Err(match body {
                        SetExpr::Values(_) => not_allowed_with(clause, "VALUES"),
                        SetExpr::SetOperation { .. } => not_allowed_with(clause, "UNION/INTERSECT/EXCEPT"),
                        _ => SqlError::unsupported("a locking clause here"),
                    }
                    .without_position());
                }
                let bound = self.set_expr(body, env)?;
                self.finish_set(bound, tail, env)
            }
        }
    }

    pub(super) fn set_expr(&mut self, body: &SetExpr, env: Env<'_>) -> Result<BoundQuery> {
        // A plan is deeper than its text, and nobody walks it on a stack that grows.
        self.depth += SET_OPERATION_LEVELS;
        let bound = self.deeper(|b| b.set_expr_here(body, env));
        self.depth -= SET_OPERATION_LEVELS;
        bound
    }

    fn set_expr_here(&mut self, body: &SetExpr, env: Env<'_>) -> Result<BoundQuery> {
        match body {
            SetExpr::Select(select) => self.bind_select(select, Tail::default(), env),
            SetExpr::Query(query) => {
                let parent = env.parent.map(|p| (p, env.outer));
                self.bind_query(query, parent)
            }
            SetExpr::SetOperation { op, set_quantifier, left, right } => {
                self.set_operation(*op, *set_quantifier, left, right, env)
            }
            SetExpr::Values(values) => self.values(values, env),
            SetExpr::Table(table) => self.table_command(table, env),
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                Err(SqlError::unsupported("a data-modifying statement as a query"))
            }
        }
    }

    /// `TABLE t` is `SELECT * FROM t`.
    fn table_command(&mut self, table: &ast::Table, env: Env<'_>) -> Result<BoundQuery> {
        let name = match (&table.schema_name, &table.table_name) {
            (Some(schema), Some(name)) => format!("\"{schema}\".\"{name}\""),
            (None, Some(name)) => format!("\"{name}\""),
            _ => return Err(SqlError::new(SqlState::SYNTAX_ERROR, "TABLE needs a name")),
        };
        let query = crate::sql::parse::query(&format!("SELECT * FROM {}", name.to_lowercase()))?;
        self.set_expr(&query.body, env)
    }

    fn bind_select(&mut self, select: &ast::Select, tail: Tail<'_>, env: Env<'_>) -> Result<BoundQuery> {
        refuse_clauses(select)?;
        if select.distinct.is_some() && select.projection.is_empty() {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "SELECT DISTINCT needs a select list"));
        }
        let from = self.relations_of(&select.from, env)?;
        let scope = from.scope;
        let mut plan = from.plan;
        let mut filter = None;
        if let Some(condition) = &select.selection {
            let applies = RefCell::new(Vec::new());
            let ctx = env.ctx(&scope, Clause::Where, &applies);
            let condition = self.condition(condition, &ctx)?;
            let applies = applies.into_inner();
            if applies.is_empty() {
                filter = Some(condition.clone());
            }
            plan = self.attach(plan, applies)?;
            plan = planning(LogicalPlanBuilder::from(plan).filter(condition).and_then(|b| b.build()))?;
        }
        let windows = self.windows.len();
        for definition in &select.named_window {
            let ast::NamedWindowDefinition(name, expr) = definition;
            let spec = match expr {
                ast::NamedWindowExpr::WindowSpec(spec) => spec.clone(),
                ast::NamedWindowExpr::NamedWindow(_) => return Err(SqlError::unsupported("WINDOW w AS v")),
            };
            let name_folded = fold(name);
            if self.windows[windows..].iter().any(|(known, _)| *known == name_folded) {
                return Err(SqlError::new(
                    SqlState::WINDOWING_ERROR,
                    format!("window \"{name_folded}\" is already defined"),
                )
                .at(self.position(name.span)));
            }
            let spec = self.window_spec(&ast::WindowType::WindowSpec(spec))?;
            self.windows.push((name_folded, spec));
        }
        let around = self.set_calls.replace(Vec::new());
        let bound = self.select_outputs(select, tail, env, &scope, plan, filter);
        self.set_calls = around;
        self.windows.truncate(windows);
        bound
    }

    fn select_outputs(
        &mut self,
        select: &ast::Select,
        tail: Tail<'_>,
        env: Env<'_>,
        scope: &Scope,
        plan: LogicalPlan,
        filter: Option<Expr>,
    ) -> Result<BoundQuery> {
        let applies = RefCell::new(Vec::new());
        let ctx = env.ctx(scope, Clause::Select, &applies);
        self.positions.clear();
        let mut targets = self.targets(&select.projection, &ctx)?;
        let groups = self.group_by(&select.group_by, &targets, &Ctx { clause: Clause::GroupBy, ..ctx })?;
        if let Some(groups) = &groups {
            // A subquery that is grouped by belongs below the grouping.
            for apply in applies.borrow_mut().iter_mut() {
                apply.in_aggregate |= groups.uses(&apply.column);
            }
        }
        let having = match &select.having {
            Some(condition) => {
                let bound = self.expr(condition, &Ctx { clause: Clause::Having, ..ctx })?;
                Some(self.boolean(bound, "HAVING")?)
            }
            None => None,
        };
        let distinct_on = match &select.distinct {
            Some(ast::Distinct::On(keys)) => Some(self.distinct_on_keys(keys, &targets, &ctx)?),
            _ => None,
        };
        let mut keys = self.order_keys(tail.order_by, &targets, &Ctx { clause: Clause::OrderBy, ..ctx })?;
        if let Some(on) = &distinct_on {
            let leading = keys.iter().take(on.len());
            if !leading.into_iter().all(|(_, sort)| on.contains(&sort.expr)) {
                return Err(SqlError::new(
                    SqlState::INVALID_COLUMN_REFERENCE,
                    "SELECT DISTINCT ON expressions must match initial ORDER BY expressions",
                ));
            }
        }
        let mut sets = self.set_calls.replace(Vec::new()).unwrap_or_default();
        let simple_shape = groups.is_none()
            && sets.is_empty()
            && having.is_none()
            && select.distinct.is_none()
            && applies.borrow().is_empty()
            && filter.is_some() == select.selection.is_some();

        let grouped = groups.is_some();
        let aggregated = grouped || having.is_some() || {
            let above = targets.iter().map(|t| &t.typed.expr);
            let above = above.chain(keys.iter().filter_map(|(k, _)| k.expr())).chain(sets.iter().map(|s| &s.list));
            let applies = applies.borrow();
            let mut above = above.chain(applies.iter().flat_map(|a| a.outer.iter().map(|o| &o.expr.expr)));
            above.any(contains_aggregate)
        };
        let (inside, outside): (Vec<_>, Vec<_>) = applies.into_inner().into_iter().partition(|a| a.in_aggregate);
        let mut plan = self.attach(plan, inside)?;
        if let Some(groups) = &groups {
            // Sets that are grouped by are spread below the grouping.
            let (below, rest): (Vec<_>, Vec<_>) = sets.into_iter().partition(|s| groups.uses(&s.column));
            sets = rest;
            plan = self.attach_sets(plan, below)?;
        }
        if aggregated {
            let mut having = having;
            let mut outside = outside;
            let mut above: Vec<&mut Expr> = targets.iter_mut().map(|t| &mut t.typed.expr).collect();
            above.extend(keys.iter_mut().filter_map(|(k, _)| k.expr_mut()));
            above.extend(sets.iter_mut().map(|s| &mut s.list));
            above.extend(having.as_mut());
            above.extend(outside.iter_mut().flat_map(|a| a.outer.iter_mut().map(|o| &mut o.expr.expr)));
            plan = self.aggregate(plan, groups, scope, above)?;
            plan = self.attach(plan, outside)?;
            if let Some(condition) = having {
                plan = planning(LogicalPlanBuilder::from(plan).filter(condition).and_then(|b| b.build()))?;
            }
        } else {
            plan = self.attach(plan, outside)?;
        }
        let unlockable = Unlockable {
            distinct: select.distinct.is_some(),
            grouped,
            having: select.having.is_some(),
            aggregated,
            windowed: false,
            sets: !sets.is_empty(),
        };
        let plain = plan.clone();
        let mut above: Vec<&mut Expr> = targets.iter_mut().map(|t| &mut t.typed.expr).collect();
        above.extend(keys.iter_mut().filter_map(|(k, _)| k.expr_mut()));
        above.extend(sets.iter_mut().map(|s| &mut s.list));
        plan = self.window_stage(plan, above)?;
        let windowed = plain != plan;
        let locked = self.locked(tail.locks, select, scope, &Unlockable { windowed, ..unlockable })?;
        let simple = match scope.relations.as_slice() {
            [only] if simple_shape && !aggregated && !windowed => simple_select(only, filter, &targets),
            _ => None,
        };
        let order: Vec<Sort> = keys
            .iter()
            .map(|(key, sort)| {
                let expr = match key {
                    SortKey::Output(i) => &targets[*i].typed.expr,
                    SortKey::Expr(expr) => expr,
                };
                Sort::new(expr.clone(), sort.asc, sort.nulls_first)
            })
            .collect();
        let lock = locked.first().and_then(Locked::lock);
        let distinct = matches!(select.distinct, Some(ast::Distinct::Distinct));
        let outputs = Outputs { targets, keys, sets, distinct, distinct_on, locked };
        let mut bound = if outputs.come_late(&tail) {
            self.project_late(plan, outputs, tail, env)?
        } else {
            self.project(plan, outputs, tail, env)?
        };
        if let Some(mut simple) = simple {
            let stored = scope.relations.first().is_some_and(|r| r.base.is_some());
            if let Some((limit, offset)) = self.simple_counts(tail, env)? {
                simple.tail = SimpleTail { order, limit, offset, lock };
                bound.simple = (stored || simple.tail.is_empty()).then_some(simple);
            }
        }
        Ok(bound)
    }

    /// The select list, `*` expanded.
    pub(super) fn targets(&mut self, items: &[SelectItem], ctx: &Ctx<'_>) -> Result<Vec<Target>> {
        let mut targets = Vec::with_capacity(items.len());
        for item in items {
            match item {
                SelectItem::UnnamedExpr(ast::Expr::CompoundFieldAccess { root, access_chain }) if matches!(access_chain.as_slice(), [ast::AccessExpr::Dot(ast::Expr::Identifier(star))] if crate::sql::parse::is_star(star)) =>
                {
                    targets.extend(self.all_fields(root, ctx)?);
                }
                SelectItem::UnnamedExpr(e) => {
                    let name = super::names::column_name(e).unwrap_or_else(|| "?column?".to_owned());
                    targets.push(self.target(e, name, ctx)?);
                }
                SelectItem::ExprWithAlias { alias, .. } if alias.quote_style == Some('\'') => {
                    // PostgreSQL takes no string for a name.
                    return Err(SqlError::new(
                        SqlState::SYNTAX_ERROR,
                        format!("syntax error at or near \"'{}'\"", alias.value),
                    )
                    .at(self.position(alias.span)));
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    targets.push(self.target(expr, fold(alias), ctx)?);
                }
                SelectItem::Wildcard(_) => {
                    if ctx.scope.relations.is_empty() {
                        return Err(SqlError::new(
                            SqlState::SYNTAX_ERROR,
                            "SELECT * with no tables specified is not valid",
                        )
                        .at(self.position(item.span())));
                    }
                    targets.extend(ctx.scope.columns.iter().map(star_target));
                }
                SelectItem::QualifiedWildcard(ast::SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    targets.extend(self.star_of(name, ctx)?);
                }
                other => return Err(SqlError::unsupported(format!("select item {other}"))),
            }
        }
        Ok(targets)
    }

    /// `t.*`, of this query or of one around it.
    pub(super) fn star_of(&mut self, name: &ast::ObjectName, ctx: &Ctx<'_>) -> Result<Vec<Target>> {
        let (relation, own) = self.relation_by_name(name, ctx)?;
        let mut targets: Vec<Target> = relation.columns.iter().map(star_target).collect();
        if !own {
            for target in &mut targets {
                let column = target.typed.expr.clone();
                let found = self.lookup(ctx, &|c| {
                    let columns = c.scope.relations.iter().flat_map(|r| r.columns.iter());
                    Ok(columns.into_iter().find(|known| known.typed.expr == column).cloned())
                })?;
                target.typed = found.map_or_else(|| target.typed.clone(), |c| c.typed);
            }
        }
        Ok(targets)
    }

    /// `t.*` as one value.
    pub(super) fn row_by_name(&mut self, name: &ast::ObjectName, ctx: &Ctx<'_>) -> Result<Typed> {
        let (relation, _) = self.relation_by_name(name, ctx)?;
        let same = |r: &&Relation| r.name == relation.name && r.schema == relation.schema;
        let found = self.lookup(ctx, &|c| Ok(c.scope.relations.iter().find(same).map(super::row::whole_row)))?;
        found.map(|c| c.typed).ok_or_else(|| SqlError::internal("a relation has gone"))
    }

    /// The relation that stands before `.*`, and whether it is this query's own.
    fn relation_by_name(&self, name: &ast::ObjectName, ctx: &Ctx<'_>) -> Result<(Relation, bool)> {
        let parts = super::name_parts(name)?;
        let (schema, table) = match parts.as_slice() {
            [.., schema, table] => (Some(schema.as_str()), table),
            [table] => (None, table),
            [] => return Err(SqlError::internal("an empty name")),
        };
        let mut level = Some(ctx);
        while let Some(at) = level {
            if let Some(found) = at.scope.relation(schema, table)? {
                return Ok((found.clone(), std::ptr::eq(at, ctx)));
            }
            level = at.parent;
        }
        Err(SqlError::new(SqlState::UNDEFINED_TABLE, format!("missing FROM-clause entry for table \"{table}\""))
            .at(self.position(super::name_span(name))))
    }

    fn target(&mut self, e: &ast::Expr, name: String, ctx: &Ctx<'_>) -> Result<Target> {
        let typed = self.expr(e, ctx)?;
        let typed = if self.set_calls.is_some() { self.single(typed)? } else { typed };
        let (table, attribute) = origin(ctx.scope, &typed);
        Ok(Target { typed, name, table, attribute })
    }

    /// ORDER BY: an output column by name or number, else an expression over the input.
    fn order_keys(
        &mut self,
        order_by: Option<&[ast::OrderByExpr]>,
        targets: &[Target],
        ctx: &Ctx<'_>,
    ) -> Result<Vec<(SortKey, Sort)>> {
        let mut keys = Vec::new();
        for item in order_by.unwrap_or_default() {
            let output = self.output_reference(&item.expr, targets, "ORDER BY")?;
            let typed = match output {
                Some(i) => targets[i].typed.clone(),
                None => self.expr(&item.expr, ctx)?,
            };
            let typed = self.single(typed)?;
            let same = output.or_else(|| targets.iter().position(|t| t.typed.expr == typed.expr));
            let sort = self.sort_expr(typed, &item.options)?;
            let key = match same {
                Some(i) => SortKey::Output(i),
                None => SortKey::Expr(sort.expr.clone()),
            };
            keys.push((key, sort));
        }
        Ok(keys)
    }

    /// The output column that a bare name or a number in ORDER BY, GROUP BY or DISTINCT ON means.
    pub(super) fn output_reference(&self, e: &ast::Expr, targets: &[Target], clause: &str) -> Result<Option<usize>> {
        match e {
            ast::Expr::Value(v) => match &v.value {
                ast::Value::Number(digits, _) => match digits.parse::<usize>() {
                    Ok(n) if (1..=targets.len()).contains(&n) => Ok(Some(n - 1)),
                    Ok(n) => Err(SqlError::new(
                        SqlState::INVALID_COLUMN_REFERENCE,
                        format!("{clause} position {n} is not in select list"),
                    )
                    .at(self.position(v.span))),
                    Err(_) => Err(non_integer(clause).at(self.position(v.span))),
                },
                ast::Value::Placeholder(_) => Ok(None),
                _ => Err(non_integer(clause).at(self.position(v.span))),
            },
            ast::Expr::Identifier(ident) => {
                let name = fold(ident);
                let mut found = targets.iter().enumerate().filter(|(_, t)| t.name == name);
                let Some((first, target)) = found.next() else { return Ok(None) };
                if found.any(|(_, t)| t.typed.expr != target.typed.expr) {
                    return Err(SqlError::new(SqlState::AMBIGUOUS_COLUMN, format!("{clause} \"{name}\" is ambiguous"))
                        .at(self.position(ident.span)));
                }
                Ok(Some(first))
            }
            _ => Ok(None),
        }
    }

    fn distinct_on_keys(&mut self, keys: &[ast::Expr], targets: &[Target], ctx: &Ctx<'_>) -> Result<Vec<Expr>> {
        let mut exprs = Vec::with_capacity(keys.len());
        for key in keys {
            let typed = match self.output_reference(key, targets, "DISTINCT ON")? {
                Some(i) => targets[i].typed.clone(),
                None => self.expr(key, ctx)?,
            };
            let typed = if typed.is_unknown() { self.coerce(typed, PgType::TEXT)? } else { typed };
            exprs.push(self.sort_key(typed.expr, typed.ty)?);
        }
        Ok(exprs)
    }

    /// Window functions of the select list and of ORDER BY become columns of one window node.
    fn window_stage(&mut self, plan: LogicalPlan, above: Vec<&mut Expr>) -> Result<LogicalPlan> {
        let mut calls: Vec<Expr> = Vec::new();
        let collect = |e: &Expr, calls: &mut Vec<Expr>| {
            let _ = e.apply(|e| {
                if matches!(e, Expr::WindowFunction(_)) && !calls.contains(e) {
                    calls.push(e.clone());
                }
                Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
            });
        };
        for e in &above {
            collect(e, &mut calls);
        }
        if calls.is_empty() {
            return Ok(plan);
        }
        let (plan, stable) = self.stable_windows(plan, &calls)?;
        let plan = planning(LogicalPlanBuilder::window_plan(plan, stable.clone()))?;
        let replace = |e: Expr| {
            e.transform_down(|e| {
                if let Some(i) = calls.iter().position(|call| *call == e) {
                    let name = stable[i].schema_name().to_string();
                    return Ok(Transformed::new(
                        Expr::Column(DfColumn::new_unqualified(name)),
                        true,
                        datafusion::common::tree_node::TreeNodeRecursion::Jump,
                    ));
                }
                Ok(Transformed::no(e))
            })
            .map(|t| t.data)
        };
        for e in above {
            *e = planning(replace(e.clone()))?;
        }
        Ok(plan)
    }

    /// The calls with what comes from parameters and outer rows as columns of the plan below: a window's column is
    /// named after its call, and a name must not change when a placeholder is filled.
    fn stable_windows(&mut self, plan: LogicalPlan, calls: &[Expr]) -> Result<(LogicalPlan, Vec<Expr>)> {
        let mut columns: Vec<(Expr, String)> = Vec::new();
        let mut stable = Vec::with_capacity(calls.len());
        for call in calls {
            let Expr::WindowFunction(window) = call else {
                return Err(SqlError::internal("a window stage has other calls"));
            };
            let mut window = window.clone();
            let params = &mut window.params;
            // DataFusion makes a constant of another kind out of a constant value that is looked up.
            let looks_up = matches!(window.fun.name(), "lag" | "lead" | "first_value" | "last_value" | "nth_value");
            let constant = looks_up && params.args.first().is_some_and(|a| a.column_refs().is_empty());
            let parts = params.args.iter_mut().chain(&mut params.partition_by);
            let filter = params.filter.as_deref_mut();
            let parts = parts.chain(params.order_by.iter_mut().map(|s| &mut s.expr)).chain(filter);
            for (i, part) in parts.enumerate() {
                let varies = part.exists(|e| Ok(matches!(e, Expr::Placeholder(_)))).unwrap_or(false);
                let looked_up = constant && i == 0;
                if !varies && !looked_up {
                    continue;
                }
                let name = match columns.iter().find(|(e, _)| e == part) {
                    Some((_, name)) => name.clone(),
                    None => {
                        let name = self.unique("window argument");
                        columns.push((part.clone(), name.clone()));
                        name
                    }
                };
                *part = Expr::Column(DfColumn::new_unqualified(name));
            }
            stable.push(Expr::WindowFunction(window));
        }
        if columns.is_empty() {
            return Ok((plan, stable));
        }
        let mut exprs: Vec<Expr> = columns_of(&plan);
        exprs.extend(columns.into_iter().map(|(e, name)| e.alias(name)));
        let plan = planning(LogicalPlanBuilder::from(plan).project(exprs).and_then(|b| b.build()))?;
        Ok((plan, stable))
    }

    /// ORDER BY and LIMIT over a set operation or VALUES: only output columns can be named.
    fn finish_set(&mut self, mut bound: BoundQuery, tail: Tail<'_>, env: Env<'_>) -> Result<BoundQuery> {
        let mut sorts = Vec::new();
        if tail.order_by.is_some() {
            self.resolve_unknown(&mut bound)?;
        }
        let targets: Vec<Target> = bound
            .columns
            .iter()
            .enumerate()
            .map(|(i, c)| {
                let (q, f) = bound.plan.schema().qualified_field(i);
                let typed = Typed::new(Expr::Column(DfColumn::from((q, f))), c.ty);
                Target { typed, name: c.name.clone(), table: 0, attribute: 0 }
            })
            .collect();
        for item in tail.order_by.unwrap_or_default() {
            let Some(i) = self.output_reference(&item.expr, &targets, "ORDER BY")? else {
                if let ast::Expr::Identifier(ident) = &item.expr {
                    return Err(SqlError::new(
                        SqlState::UNDEFINED_COLUMN,
                        format!("column \"{}\" does not exist", fold(ident)),
                    )
                    .at(self.position(ident.span)));
                }
                return Err(SqlError::new(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    "invalid UNION/INTERSECT/EXCEPT ORDER BY clause",
                )
                .detail("Only result column names can be used, not expressions or functions.")
                .hint("Add the expression/function to every SELECT, or move the UNION into a FROM clause.")
                .at(self.position(item.expr.span())));
            };
            sorts.push(self.sort_expr(targets[i].typed.clone(), &item.options)?);
        }
        bound.plan = self.sort_and_limit(bound.plan, sorts, tail, env, None)?;
        bound.simple = None;
        Ok(bound)
    }

    /// Columns that nothing gave a type become text (manual, 10.6).
    pub(super) fn resolve_unknown(&mut self, bound: &mut BoundQuery) -> Result<()> {
        if bound.columns.iter().all(|c| c.ty != PgType::UNKNOWN) {
            return Ok(());
        }
        let types: Vec<(PgType, i32)> = bound.columns.iter().map(|c| (resolved(c.ty), c.typmod)).collect();
        self.coerce_columns(bound, &types, CastContext::Implicit)
    }
}

pub(super) fn resolved(ty: PgType) -> PgType {
    if ty == PgType::UNKNOWN { PgType::TEXT } else { ty }
}

fn star_target(column: &super::ScopeColumn) -> Target {
    Target { typed: column.typed.clone(), name: column.name.clone(), table: column.table, attribute: column.attribute }
}

fn origin(scope: &Scope, typed: &Typed) -> (kalamdb_catalog::Oid, i16) {
    let expr = &typed.expr;
    if typed.ty == PgType::RECORD {
        let tables = scope.relations.iter().filter(|r| r.base.is_some());
        let whole = tables.into_iter().find(|r| super::row::whole_row(r).typed.expr == *expr);
        return (whole.and_then(|r| r.columns.first()).map_or(0, |c| c.table), 0);
    }
    let all = scope.relations.iter().flat_map(|r| r.columns.iter().chain(&r.system));
    for column in all {
        if column.typed.expr == *expr {
            return (column.table, column.attribute);
        }
    }
    (0, 0)
}

fn simple_select(relation: &Relation, filter: Option<Expr>, targets: &[Target]) -> Option<Box<SimpleSelect>> {
    let mut outputs: Vec<Expr> = targets.iter().map(|t| t.typed.expr.clone()).collect();
    if relation.base.is_some() {
        let table = relation.columns.first()?.table;
        return (table != 0).then(|| Box::new(SimpleSelect { table, filter, outputs, tail: SimpleTail::default() }));
    }
    let inner = relation.simple.as_deref()?;
    // Written out, such an output could be evaluated more often than once.
    if inner.outputs.iter().any(Expr::is_volatile) {
        return None;
    }
    for output in &mut outputs {
        *output = written_out(output.clone(), relation, inner)?;
    }
    let filter = match filter {
        Some(filter) => Some(written_out(filter, relation, inner)?),
        None => None,
    };
    // The inner condition first: it may keep rows from the outer one.
    let filter = inner.filter.iter().cloned().chain(filter).reduce(Expr::and);
    Some(Box::new(SimpleSelect { table: inner.table, filter, outputs, tail: SimpleTail::default() }))
}

/// An expression over a relation's columns as one over what the columns are. None if it uses anything else.
fn written_out(expr: Expr, relation: &Relation, inner: &SimpleSelect) -> Option<Expr> {
    let replace = |e: Expr| match &e {
        Expr::Column(_) => match relation.columns.iter().position(|c| c.typed.expr == e) {
            Some(i) => Ok(Transformed::yes(inner.outputs[i].clone())),
            None => Err(DataFusionError::Internal("a column of another relation".to_owned())),
        },
        _ => Ok(Transformed::no(e)),
    };
    expr.transform_up(replace).ok().map(|t| t.data)
}

impl Target {
    pub(super) fn new(typed: Typed, name: String) -> Self {
        Target { typed, name, table: 0, attribute: 0 }
    }

    pub(super) fn into_column(self) -> Column {
        Column {
            name: self.name,
            ty: self.typed.ty,
            typmod: self.typed.typmod,
            table: self.table,
            attribute: self.attribute,
        }
    }
}

impl SortKey {
    /// The number of the output column.
    pub(super) fn output(&self) -> Option<usize> {
        match self {
            SortKey::Output(i) => Some(*i),
            SortKey::Expr(_) => None,
        }
    }

    /// The key's own expression.
    fn expr(&self) -> Option<&Expr> {
        match self {
            SortKey::Output(_) => None,
            SortKey::Expr(e) => Some(e),
        }
    }

    /// The same, for stages that rewrite it.
    pub(super) fn expr_mut(&mut self) -> Option<&mut Expr> {
        match self {
            SortKey::Output(_) => None,
            SortKey::Expr(e) => Some(e),
        }
    }
}

fn non_integer(clause: &str) -> SqlError {
    SqlError::new(SqlState::SYNTAX_ERROR, format!("non-integer constant in {clause}"))
}

/// Clauses of other dialects that the parser lets through.
fn refuse_clauses(select: &ast::Select) -> Result<()> {
    let refused = [
        (select.top.is_some(), "TOP"),
        (!select.lateral_views.is_empty(), "LATERAL VIEW"),
        (select.prewhere.is_some(), "PREWHERE"),
        (!select.cluster_by.is_empty(), "CLUSTER BY"),
        (!select.distribute_by.is_empty(), "DISTRIBUTE BY"),
        (!select.sort_by.is_empty(), "SORT BY"),
        (select.qualify.is_some(), "QUALIFY"),
        (!select.connect_by.is_empty(), "CONNECT BY"),
        (select.exclude.is_some(), "EXCLUDE"),
        (select.into.is_some(), "SELECT INTO here"),
    ];
    match refused.iter().find(|(present, _)| *present) {
        Some((_, name)) => Err(SqlError::unsupported(name)),
        None => Ok(()),
    }
}
