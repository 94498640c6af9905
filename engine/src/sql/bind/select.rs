//! Queries: WITH, SELECT, ORDER BY, LIMIT.

use std::cell::RefCell;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column as DfColumn, NullHandling, UnnestOptions};
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{self, SelectItem, SetExpr, Spanned};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::from::unique_in;
use super::scope::{Clause, Ctx, OuterRef, Scope};
use super::typed::{Kind, Typed};
use super::{Binder, Cte, fold};
use crate::sql::Column;
use crate::sql::functions::CastContext;
use crate::sql::plan::planning;

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

/// The parts of a SELECT over one stored table with nothing but a WHERE.
#[derive(Clone, Debug)]
pub(crate) struct SimpleSelect {
    pub table: kalamdb_catalog::Oid,
    pub filter: Expr,
    pub outputs: Vec<Expr>,
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

/// An output column while its SELECT is being bound.
pub(super) struct Target {
    pub(super) typed: Typed,
    pub(super) name: String,
    table: kalamdb_catalog::Oid,
    attribute: i16,
}

/// ORDER BY, LIMIT and OFFSET of a query.
#[derive(Clone, Copy, Default)]
struct Tail<'q> {
    order_by: Option<&'q [ast::OrderByExpr]>,
    limit: Option<&'q ast::Expr>,
    offset: Option<&'q ast::Expr>,
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
        let result = self.with_and_body(query, env);
        self.ctes.truncate(depth);
        result
    }

    fn with_and_body(&mut self, query: &ast::Query, env: Env<'_>) -> Result<BoundQuery> {
        if !query.locks.is_empty() {
            return Err(SqlError::unsupported("SELECT ... FOR UPDATE/SHARE"));
        }
        if let Some(with) = &query.with {
            self.bind_with(with, env)?;
        }
        let tail = tail_of(query)?;
        match query.body.as_ref() {
            SetExpr::Select(select) => self.bind_select(select, tail, env),
            body => {
                let bound = self.set_expr(body, env)?;
                self.finish_set(bound, tail, env)
            }
        }
    }

    /// WITH of a statement that writes: its queries stay in sight for the statement.
    pub(crate) fn with(&mut self, with: &ast::With) -> Result<()> {
        let none = RefCell::new(Vec::new());
        let env = Env { parent: None, outer: &none };
        self.bind_with(with, env)
    }

    fn bind_with(&mut self, with: &ast::With, env: Env<'_>) -> Result<()> {
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
            self.bind_cte(cte, with.recursive, env)?;
        }
        Ok(())
    }

    fn bind_cte(&mut self, cte: &ast::Cte, recursive: bool, env: Env<'_>) -> Result<()> {
        let name = fold(&cte.alias.name);
        let mut query = match cte.query.body.as_ref() {
            SetExpr::SetOperation { op: ast::SetOperator::Union, set_quantifier, left, right }
                if recursive && super::setop::mentions(right, &name) =>
            {
                self.recursive_cte(cte, &name, left, right, set_quantifier, env)?
            }
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) => {
                return Err(SqlError::unsupported("a data-modifying statement in WITH"));
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
        self.ctes.push(Cte { name, query });
        Ok(())
    }

    pub(super) fn set_expr(&mut self, body: &SetExpr, env: Env<'_>) -> Result<BoundQuery> {
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
            self.windows.push((fold(name), spec));
        }
        let bound = self.select_outputs(select, tail, env, &scope, plan, filter);
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
        let simple_shape = groups.is_none()
            && having.is_none()
            && select.distinct.is_none()
            && keys.is_empty()
            && tail.limit.is_none()
            && tail.offset.is_none()
            && applies.borrow().is_empty()
            && matches!(scope.relations.as_slice(), [only] if only.base);

        let aggregated = groups.is_some() || having.is_some() || contains_aggregate(&targets, &keys);
        let (inside, outside): (Vec<_>, Vec<_>) = applies.into_inner().into_iter().partition(|a| a.in_aggregate);
        let mut plan = self.attach(plan, inside)?;
        if aggregated {
            let mut having = having;
            let mut outside = outside;
            plan = self.aggregate(plan, groups, scope, &mut targets, &mut keys, &mut having, &mut outside)?;
            plan = self.attach(plan, outside)?;
            if let Some(condition) = having {
                plan = planning(LogicalPlanBuilder::from(plan).filter(condition).and_then(|b| b.build()))?;
            }
        } else {
            plan = self.attach(plan, outside)?;
        }
        let plain = plan.clone();
        plan = self.window_stage(plan, &mut targets, &mut keys)?;
        let windowed = plain != plan;
        let sets = targets.iter().any(|t| t.typed.kind == Kind::Set);
        let simple = match filter {
            Some(filter) if simple_shape && !aggregated && !windowed && !sets => simple_select(scope, filter, &targets),
            _ => None,
        };
        let distinct = matches!(select.distinct, Some(ast::Distinct::Distinct));
        let mut bound = self.project(plan, targets, keys, distinct, distinct_on, tail, env)?;
        bound.simple = simple;
        Ok(bound)
    }

    /// Final projection with hidden sort keys, set-returning functions, DISTINCT, ORDER BY, LIMIT.
    #[allow(clippy::too_many_arguments)]
    fn project(
        &mut self,
        plan: LogicalPlan,
        targets: Vec<Target>,
        keys: Vec<(SortKey, Sort)>,
        distinct: bool,
        distinct_on: Option<Vec<Expr>>,
        tail: Tail<'_>,
        env: Env<'_>,
    ) -> Result<BoundQuery> {
        let mut names: Vec<String> = Vec::new();
        let mut exprs = Vec::new();
        let mut sets = Vec::new();
        for target in &targets {
            let name = unique_in(&names, &target.name);
            exprs.push(target.typed.expr.clone().alias(&name));
            if target.typed.kind == Kind::Set {
                sets.push(DfColumn::new_unqualified(name.clone()));
            }
            names.push(name);
        }
        let visible = names.len();
        let mut sorts = Vec::with_capacity(keys.len());
        for (key, sort) in keys {
            let column = match key {
                SortKey::Output(i) => {
                    let column = Expr::Column(DfColumn::new_unqualified(names[i].clone()));
                    self.sort_key(column, resolved(targets[i].typed.ty))?
                }
                SortKey::Expr(expr) => {
                    if distinct {
                        return Err(SqlError::new(
                            SqlState::INVALID_COLUMN_REFERENCE,
                            "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
                        ));
                    }
                    let name = unique_in(&names, "sort key");
                    exprs.push(expr.alias(&name));
                    names.push(name.clone());
                    Expr::Column(DfColumn::new_unqualified(name))
                }
            };
            sorts.push(Sort::new(column, sort.asc, sort.nulls_first));
        }
        let mut on = Vec::new();
        for key in distinct_on.iter().flatten() {
            let name = unique_in(&names, "distinct key");
            exprs.push(key.clone().alias(&name));
            names.push(name.clone());
            on.push(Expr::Column(DfColumn::new_unqualified(name)));
        }
        let mut builder = planning(LogicalPlanBuilder::from(plan).project(exprs))?;
        if !sets.is_empty() {
            let options = UnnestOptions { null_handling: NullHandling::Drop, recursions: Vec::new() };
            builder = planning(builder.unnest_columns_with_options(sets, options))?;
        }
        let mut plan = planning(builder.build())?;
        let columns: Vec<Column> = targets
            .iter()
            .map(|t| Column {
                name: t.name.clone(),
                ty: t.typed.ty,
                typmod: t.typed.typmod,
                table: t.table,
                attribute: t.attribute,
            })
            .collect();
        if distinct {
            let types: Vec<PgType> = columns.iter().map(|c| resolved(c.ty)).collect();
            plan = self.distinct(plan, &types)?;
        }
        if distinct_on.is_some() {
            plan = first_of_each(plan, on, sorts.clone())?;
        }
        plan = self.sort_and_limit(plan, sorts, tail, env)?;
        if plan.schema().fields().len() > visible {
            let keep = names[..visible].iter().map(|n| Expr::Column(DfColumn::new_unqualified(n.clone())));
            plan = planning(LogicalPlanBuilder::from(plan).project(keep).and_then(|b| b.build()))?;
        }
        let kinds = targets.into_iter().map(|t| t.typed.kind).collect();
        Ok(BoundQuery { plan, columns, kinds, simple: None })
    }

    fn sort_and_limit(
        &mut self,
        mut plan: LogicalPlan,
        sorts: Vec<Sort>,
        tail: Tail<'_>,
        env: Env<'_>,
    ) -> Result<LogicalPlan> {
        if !sorts.is_empty() {
            plan = planning(LogicalPlanBuilder::from(plan).sort(sorts).and_then(|b| b.build()))?;
        }
        let limit = self.row_count(tail.limit, Clause::Limit, env)?;
        let offset = self.row_count(tail.offset, Clause::Offset, env)?;
        if limit.is_some() || offset.is_some() {
            plan = planning(LogicalPlanBuilder::from(plan).limit_by_expr(offset, limit).and_then(|b| b.build()))?;
        }
        Ok(plan)
    }

    /// LIMIT and OFFSET: a bigint that depends on no row. NULL means none.
    fn row_count(&mut self, e: Option<&ast::Expr>, clause: Clause, env: Env<'_>) -> Result<Option<Expr>> {
        let Some(e) = e else { return Ok(None) };
        if matches!(e, ast::Expr::Identifier(i) if i.value.eq_ignore_ascii_case("all")) {
            return Ok(None);
        }
        let scope = Scope::default();
        let applies = RefCell::new(Vec::new());
        let ctx = Env { parent: None, outer: env.outer }.ctx(&scope, clause, &applies);
        let bound = self.expr(e, &ctx).map_err(|error| match error.code() {
            SqlState::UNDEFINED_COLUMN => SqlError::new(
                SqlState::INVALID_COLUMN_REFERENCE,
                format!("argument of {} must not contain variables", clause.name()),
            )
            .at(self.position(e.span())),
            _ => error,
        })?;
        if !applies.borrow().is_empty() {
            return Err(SqlError::unsupported(format!("a subquery in {}", clause.name())));
        }
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
        let expr = crate::sql::plan::evaluate_constant(self.session, bound.expr)?;
        match &expr {
            Expr::Literal(value, _) if value.is_null() => Ok(None),
            Expr::Literal(datafusion::common::ScalarValue::Int64(Some(n)), _) if *n < 0 => {
                Err(negative_row_count(clause == Clause::Limit))
            }
            _ => Ok(Some(expr)),
        }
    }

    /// The select list, `*` expanded.
    pub(super) fn targets(&mut self, items: &[SelectItem], ctx: &Ctx<'_>) -> Result<Vec<Target>> {
        let mut targets = Vec::with_capacity(items.len());
        for item in items {
            match item {
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
                SelectItem::ExprWithAlias { expr, alias } if is_null_test(alias) => {
                    let negated = alias.value.eq_ignore_ascii_case("notnull");
                    if matches!(
                        expr,
                        ast::Expr::BinaryOp { op: ast::BinaryOperator::And | ast::BinaryOperator::Or, .. }
                    ) {
                        return Err(SqlError::unsupported("ISNULL after AND or OR").hint("Write IS NULL."));
                    }
                    let typed = self.null_test(expr, ctx, negated)?;
                    targets.push(Target { typed, name: "?column?".to_owned(), table: 0, attribute: 0 });
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
                    let parts = super::name_parts(name)?;
                    let position = self.position(super::name_span(name));
                    let (schema, table) = match parts.as_slice() {
                        [.., schema, table] => (Some(schema.as_str()), table),
                        [table] => (None, table),
                        [] => return Err(SqlError::internal("an empty name")),
                    };
                    let mut level = Some(ctx);
                    let relation = loop {
                        let Some(at) = level else {
                            return Err(SqlError::new(
                                SqlState::UNDEFINED_TABLE,
                                format!("missing FROM-clause entry for table \"{table}\""),
                            )
                            .at(position));
                        };
                        if let Some(found) = at.scope.relation(schema, table)? {
                            break (found, std::ptr::eq(at, ctx));
                        }
                        level = at.parent;
                    };
                    if !relation.1 {
                        return Err(SqlError::unsupported("* of a table outside the subquery").at(position));
                    }
                    targets.extend(relation.0.columns.iter().map(star_target));
                }
                other => return Err(SqlError::unsupported(format!("select item {other}"))),
            }
        }
        Ok(targets)
    }

    fn target(&mut self, e: &ast::Expr, name: String, ctx: &Ctx<'_>) -> Result<Target> {
        let typed = self.expr(e, ctx)?;
        let (table, attribute) = origin(ctx.scope, &typed.expr);
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
            let same =
                output.or_else(|| targets.iter().position(|t| t.typed.expr == typed.expr && t.typed.kind != Kind::Set));
            let set = typed.kind == Kind::Set;
            let plain = Typed { kind: if set { Kind::Plain } else { typed.kind.clone() }, ..typed };
            let sort = self.sort_expr(plain, &item.options)?;
            let key = match same {
                Some(i) => SortKey::Output(i),
                None if set => return Err(SqlError::unsupported("a set-returning function in ORDER BY")),
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
    fn window_stage(
        &mut self,
        plan: LogicalPlan,
        targets: &mut [Target],
        keys: &mut [(SortKey, Sort)],
    ) -> Result<LogicalPlan> {
        let mut calls: Vec<Expr> = Vec::new();
        let collect = |e: &Expr, calls: &mut Vec<Expr>| {
            let _ = e.apply(|e| {
                if matches!(e, Expr::WindowFunction(_)) && !calls.contains(e) {
                    calls.push(e.clone());
                }
                Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
            });
        };
        for target in targets.iter() {
            collect(&target.typed.expr, &mut calls);
        }
        for (key, _) in keys.iter() {
            if let SortKey::Expr(e) = key {
                collect(e, &mut calls);
            }
        }
        if calls.is_empty() {
            return Ok(plan);
        }
        let plan = planning(LogicalPlanBuilder::window_plan(plan, calls.clone()))?;
        let replace = |e: Expr| {
            e.transform_down(|e| {
                if calls.contains(&e) {
                    let name = e.schema_name().to_string();
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
        for target in targets {
            target.typed.expr = planning(replace(target.typed.expr.clone()))?;
        }
        for (key, _) in keys {
            if let SortKey::Expr(e) = key {
                *e = planning(replace(e.clone()))?;
            }
        }
        Ok(plan)
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
        bound.plan = self.sort_and_limit(bound.plan, sorts, tail, env)?;
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

/// `x ISNULL` and `x NOTNULL`, which the parser takes for names.
fn is_null_test(alias: &ast::Ident) -> bool {
    alias.quote_style.is_none()
        && (alias.value.eq_ignore_ascii_case("isnull") || alias.value.eq_ignore_ascii_case("notnull"))
}

fn resolved(ty: PgType) -> PgType {
    if ty == PgType::UNKNOWN { PgType::TEXT } else { ty }
}

fn star_target(column: &super::ScopeColumn) -> Target {
    Target { typed: column.typed.clone(), name: column.name.clone(), table: column.table, attribute: column.attribute }
}

fn origin(scope: &Scope, expr: &Expr) -> (kalamdb_catalog::Oid, i16) {
    let all = scope.relations.iter().flat_map(|r| r.columns.iter().chain(&r.system));
    for column in all {
        if column.typed.expr == *expr {
            return (column.table, column.attribute);
        }
    }
    (0, 0)
}

fn simple_select(scope: &Scope, filter: Expr, targets: &[Target]) -> Option<Box<SimpleSelect>> {
    let table = scope.columns.first()?.table;
    if table == 0 || scope.columns.iter().any(|c| c.table != table) {
        return None;
    }
    let outputs = targets.iter().map(|t| t.typed.expr.clone()).collect();
    Some(Box::new(SimpleSelect { table, filter, outputs }))
}

fn contains_aggregate(targets: &[Target], keys: &[(SortKey, Sort)]) -> bool {
    let has = |e: &Expr| e.exists(|e| Ok(matches!(e, Expr::AggregateFunction(_)))).unwrap_or(false);
    targets.iter().any(|t| has(&t.typed.expr)) || keys.iter().any(|(k, _)| matches!(k, SortKey::Expr(e) if has(e)))
}

/// DISTINCT ON: the first row of each group in ORDER BY's order.
fn first_of_each(plan: LogicalPlan, on: Vec<Expr>, sorts: Vec<Sort>) -> Result<LogicalPlan> {
    use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
    use datafusion::logical_expr::{WindowFrame, WindowFunctionDefinition};
    let number = Expr::WindowFunction(Box::new(WindowFunction {
        fun: WindowFunctionDefinition::WindowUDF(datafusion::functions_window::row_number::row_number_udwf()),
        params: WindowFunctionParams {
            args: Vec::new(),
            partition_by: on,
            window_frame: WindowFrame::new((!sorts.is_empty()).then_some(false)),
            order_by: sorts,
            filter: None,
            null_treatment: None,
            distinct: false,
        },
    }));
    let name = number.schema_name().to_string();
    let first = Expr::Column(DfColumn::new_unqualified(name)).eq(datafusion::logical_expr::lit(1u64));
    let keep: Vec<Expr> = plan.schema().iter().map(|(q, f)| Expr::Column(DfColumn::from((q, f)))).collect();
    let plan = planning(LogicalPlanBuilder::window_plan(plan, vec![number]))?;
    planning(LogicalPlanBuilder::from(plan).filter(first).and_then(|b| b.project(keep)).and_then(|b| b.build()))
}

impl Target {
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
    /// The key's own expression, for stages that rewrite it.
    pub(super) fn expr_mut(&mut self) -> Option<&mut Expr> {
        match self {
            SortKey::Output(_) => None,
            SortKey::Expr(e) => Some(e),
        }
    }
}

/// What `group` rewrites among the sort keys.
pub(super) fn key_exprs(keys: &mut [(SortKey, Sort)]) -> impl Iterator<Item = &mut Expr> {
    keys.iter_mut().filter_map(|(k, _)| k.expr_mut())
}

/// 2201W, 2201X
pub(crate) fn negative_row_count(limit: bool) -> SqlError {
    if limit {
        SqlError::new(SqlState::INVALID_ROW_COUNT_IN_LIMIT_CLAUSE, "LIMIT must not be negative")
    } else {
        SqlError::new(SqlState::INVALID_ROW_COUNT_IN_RESULT_OFFSET_CLAUSE, "OFFSET must not be negative")
    }
}

fn non_integer(clause: &str) -> SqlError {
    SqlError::new(SqlState::SYNTAX_ERROR, format!("non-integer constant in {clause}"))
}

fn tail_of(query: &ast::Query) -> Result<Tail<'_>> {
    let order_by = match &query.order_by {
        None => None,
        Some(ast::OrderBy { kind: ast::OrderByKind::Expressions(list), .. }) => Some(list.as_slice()),
        Some(_) => return Err(SqlError::unsupported("ORDER BY ALL")),
    };
    let (mut limit, offset) = match &query.limit_clause {
        None => (None, None),
        Some(ast::LimitClause::LimitOffset { limit, offset, limit_by }) if limit_by.is_empty() => {
            (limit.as_ref(), offset.as_ref().map(|o| &o.value))
        }
        Some(_) => {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "LIMIT #,# syntax is not supported")
                .hint("Use separate LIMIT and OFFSET clauses."));
        }
    };
    if let Some(fetch) = &query.fetch {
        if fetch.with_ties || fetch.percent {
            return Err(SqlError::unsupported("FETCH FIRST ... WITH TIES"));
        }
        limit = match &fetch.quantity {
            Some(quantity) => Some(quantity),
            None => return Err(SqlError::unsupported("FETCH FIRST without a count")),
        };
    }
    Ok(Tail { order_by, limit, offset })
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
