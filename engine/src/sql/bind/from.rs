//! FROM: tables, views, CTEs, subqueries, functions and joins.

use std::cell::RefCell;
use std::sync::Arc;

use datafusion::common::{Column as DfColumn, DFSchema, JoinType, NullHandling, TableReference, UnnestOptions};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::sql::sqlparser::ast::{self, JoinConstraint, JoinOperator, Spanned, TableFactor};
use kalamdb_catalog::{CachedTableData, PgType, Result, SqlError, SqlState, TableKind};

use super::scope::{BaseScan, Clause, Ctx, OuterRef, Relation, Scope, ScopeColumn};
use super::select::{BoundQuery, Env};
use super::subquery::Apply;
use super::typed::{Kind, Typed};
use super::{Binder, fold, name_parts, name_span};
use crate::limits;
use crate::providers;
use crate::sql::apply::ApplyMode;
use crate::sql::plan::{columns_of, one_row, planning};
use crate::sql::series::SeriesNode;
use crate::sql::{functions, parse};
use crate::txn::LockMode;

/// A FROM item: its plan, and what names it brings.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) plan: LogicalPlan,
    pub(super) scope: Scope,
}

impl Binder<'_> {
    /// The FROM list. Items see the ones to their left where they are LATERAL or functions.
    pub(super) fn relations_of(&mut self, from: &[ast::TableWithJoins], env: Env<'_>) -> Result<Item> {
        let mut left: Option<Item> = None;
        for table in from {
            left = Some(self.table_with_joins(table, left, env)?);
        }
        match left {
            Some(item) => Ok(item),
            None => Ok(Item { plan: one_row()?, scope: Scope::default() }),
        }
    }

    fn table_with_joins(&mut self, table: &ast::TableWithJoins, left: Option<Item>, env: Env<'_>) -> Result<Item> {
        let first = match left {
            None => self.factor(&table.relation, env)?,
            Some(left) if table.joins.is_empty() || is_dependent(&table.relation) => {
                self.join_factor(left, &table.relation, JoinType::Inner, &JoinConstraint::None, env)?
            }
            Some(left) => {
                // `a, b JOIN c`: the comma binds less than JOIN.
                let mut right = self.factor(&table.relation, env)?;
                for join in &table.joins {
                    right = self.join(right, join, env)?;
                }
                return self.cross(left, right);
            }
        };
        let mut item = first;
        for join in &table.joins {
            item = self.join(item, join, env)?;
        }
        Ok(item)
    }

    fn join(&mut self, left: Item, join: &ast::Join, env: Env<'_>) -> Result<Item> {
        let (kind, constraint) = match &join.join_operator {
            JoinOperator::Join(c) | JoinOperator::Inner(c) => (JoinType::Inner, c),
            JoinOperator::Left(c) | JoinOperator::LeftOuter(c) => (JoinType::Left, c),
            JoinOperator::Right(c) | JoinOperator::RightOuter(c) => (JoinType::Right, c),
            JoinOperator::FullOuter(c) => (JoinType::Full, c),
            JoinOperator::CrossJoin(c) => (JoinType::Inner, c),
            other => return Err(SqlError::unsupported(format!("join operator {other:?}"))),
        };
        self.join_factor(left, &join.relation, kind, constraint, env)
    }

    fn join_factor(
        &mut self,
        left: Item,
        right: &TableFactor,
        kind: JoinType,
        constraint: &JoinConstraint,
        env: Env<'_>,
    ) -> Result<Item> {
        if is_dependent(right)
            && let Some(item) = self.dependent(&left, right, kind, constraint, env)?
        {
            return Ok(item);
        }
        let right = self.factor(right, env)?;
        self.join_items(left, right, kind, constraint, env)
    }

    fn cross(&mut self, left: Item, right: Item) -> Result<Item> {
        let plan = planning(LogicalPlanBuilder::from(left.plan).cross_join(right.plan).and_then(|b| b.build()))?;
        let mut scope = left.scope;
        self.check_aliases(&scope, &right.scope)?;
        scope.extend(right.scope);
        Ok(Item { plan, scope })
    }

    fn check_aliases(&self, left: &Scope, right: &Scope) -> Result<()> {
        for r in right.relations.iter().filter(|r| r.named) {
            let clash = |l: &&Relation| l.named && l.name == r.name && l.schema == r.schema;
            if left.relations.iter().any(|l| clash(&l)) {
                return Err(SqlError::new(
                    SqlState::DUPLICATE_ALIAS,
                    format!("table name \"{}\" specified more than once", r.name),
                ));
            }
        }
        Ok(())
    }

    fn join_items(
        &mut self,
        left: Item,
        right: Item,
        kind: JoinType,
        constraint: &JoinConstraint,
        env: Env<'_>,
    ) -> Result<Item> {
        self.check_aliases(&left.scope, &right.scope)?;
        match constraint {
            JoinConstraint::None if kind == JoinType::Inner => self.cross(left, right),
            JoinConstraint::None => Err(SqlError::new(SqlState::SYNTAX_ERROR, "a join needs a condition")),
            JoinConstraint::On(condition) => {
                let mut scope = left.scope.clone();
                scope.extend(right.scope.clone());
                let applies = RefCell::new(Vec::new());
                let ctx = env.ctx(&scope, Clause::JoinOn, &applies);
                let bound = self.expr(condition, &ctx)?;
                let on = self.boolean(bound, "JOIN/ON")?;
                let applies = applies.into_inner();
                if !applies.is_empty() && kind == JoinType::Left {
                    return self.lateral(&left, true, Some(condition), env, |_, _, _| Ok(right));
                }
                if !applies.is_empty() && kind != JoinType::Inner {
                    return self.outer_join_on_subquery(left.plan, right.plan, kind, on, applies, scope);
                }
                if !applies.is_empty() {
                    let plan =
                        planning(LogicalPlanBuilder::from(left.plan).cross_join(right.plan).and_then(|b| b.build()))?;
                    let plan = self.attach(plan, applies)?;
                    let plan = planning(LogicalPlanBuilder::from(plan).filter(on).and_then(|b| b.build()))?;
                    return Ok(Item { plan, scope });
                }
                let plan = planning(
                    LogicalPlanBuilder::from(left.plan).join_on(right.plan, kind, vec![on]).and_then(|b| b.build()),
                )?;
                Ok(Item { plan, scope })
            }
            JoinConstraint::Using(columns) => {
                let mut names = Vec::new();
                for column in columns {
                    names.extend(name_parts(column)?.pop());
                }
                self.join_using(left, right, kind, &names)
            }
            JoinConstraint::Natural => {
                let names: Vec<String> = left
                    .scope
                    .columns
                    .iter()
                    .filter(|l| right.scope.columns.iter().any(|r| r.name == l.name))
                    .map(|c| c.name.clone())
                    .collect();
                if names.is_empty() && kind == JoinType::Inner {
                    return self.cross(left, right);
                }
                self.join_using(left, right, kind, &names)
            }
        }
    }

    /// An outer join whose condition holds subqueries: each is put under the side whose columns it uses.
    pub(super) fn outer_join_on_subquery(
        &mut self,
        left: LogicalPlan,
        right: LogicalPlan,
        kind: JoinType,
        on: Expr,
        applies: Vec<Apply>,
        scope: Scope,
    ) -> Result<Item> {
        let keep: Vec<Expr> = left
            .schema()
            .iter()
            .chain(right.schema().iter())
            .map(|(q, f)| Expr::Column(DfColumn::from((q, f))))
            .collect();
        let uses = |plan: &LogicalPlan, apply: &Apply| {
            let mut columns = apply.outer.iter().flat_map(|o| o.expr.expr.column_refs());
            columns.any(|c| plan.schema().has_column(c))
        };
        if applies.iter().any(|a| uses(&left, a) && uses(&right, a)) {
            return Err(SqlError::unsupported("a subquery over both sides in the condition of an outer join"));
        }
        let (on_right, on_left): (Vec<_>, Vec<_>) = applies.into_iter().partition(|a| uses(&right, a));
        let left = self.attach(left, on_left)?;
        let right = self.attach(right, on_right)?;
        let joined = LogicalPlanBuilder::from(left).join_on(right, kind, vec![on]).and_then(|b| b.project(keep));
        Ok(Item { plan: planning(joined.and_then(|b| b.build()))?, scope })
    }

    /// USING: equal columns, merged into one that `*` shows first.
    fn join_using(&mut self, left: Item, right: Item, kind: JoinType, names: &[String]) -> Result<Item> {
        let find = |scope: &Scope, side: &str, name: &str| match scope.find(name) {
            Ok(Some(column)) => Ok(column.clone()),
            Ok(None) => Err(SqlError::new(
                SqlState::UNDEFINED_COLUMN,
                format!("column \"{name}\" specified in USING clause does not exist in {side} table"),
            )),
            Err(_) => Err(SqlError::new(
                SqlState::AMBIGUOUS_COLUMN,
                format!("common column name \"{name}\" appears more than once in {side} table"),
            )),
        };
        let mut on = Vec::new();
        let mut merged = Vec::new();
        for name in names {
            let l = find(&left.scope, "left", name)?;
            let r = find(&right.scope, "right", name)?;
            on.push(self.operator("=", l.typed.clone(), r.typed.clone(), None)?.expr);
            let typed = match kind {
                JoinType::Right => r.typed.clone(),
                JoinType::Full => {
                    let (both, ty, typmod) = self.unify(vec![l.typed.clone(), r.typed.clone()], "JOIN/USING")?;
                    let both = both.into_iter().map(|t| t.expr).collect();
                    Typed { typmod, ..Typed::new(datafusion::functions::core::expr_fn::coalesce(both), ty) }
                }
                _ => l.typed.clone(),
            };
            let origin = if kind == JoinType::Right { &r } else { &l };
            merged.push(ScopeColumn { name: name.clone(), typed, table: origin.table, attribute: origin.attribute });
        }
        let on = if on.is_empty() { vec![lit(true)] } else { on };
        let plan = planning(LogicalPlanBuilder::from(left.plan).join_on(right.plan, kind, on).and_then(|b| b.build()))?;
        let mut scope = Scope { relations: left.scope.relations, columns: merged };
        scope.relations.extend(right.scope.relations);
        let rest = left.scope.columns.into_iter().chain(right.scope.columns);
        scope.columns.extend(rest.filter(|c| !names.contains(&c.name)));
        Ok(Item { plan, scope })
    }

    fn factor(&mut self, factor: &TableFactor, env: Env<'_>) -> Result<Item> {
        match factor {
            TableFactor::Table { name, alias, args: None, sample: None, with_ordinality: false, .. } => {
                self.named_table(name, alias.as_ref())
            }
            TableFactor::Derived { subquery, alias: None, sample: None, .. } => {
                let at = self.position(subquery.span());
                Err(SqlError::new(SqlState::SYNTAX_ERROR, "subquery in FROM must have an alias")
                    .hint("For example, FROM (SELECT ...) [AS] foo.")
                    .at(at.map(|p| p.saturating_sub(1))))
            }
            TableFactor::Derived { subquery, alias, sample: None, .. } => {
                let bound = self.derived(subquery, env)?;
                self.item_of_query(bound, alias.as_ref(), "subquery")
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let item = self.table_with_joins(table_with_joins, None, env)?;
                match alias {
                    None => Ok(item),
                    Some(alias) => self.aliased_join(item, alias),
                }
            }
            TableFactor::Table { sample: Some(_), .. } | TableFactor::Derived { sample: Some(_), .. } => {
                Err(SqlError::unsupported("TABLESAMPLE"))
            }
            other if is_dependent(other) => {
                let empty = Item { plan: one_row()?, scope: Scope::default() };
                match self.dependent(&empty, other, JoinType::Inner, &JoinConstraint::None, env)? {
                    Some(item) => Ok(item),
                    None => Err(SqlError::internal("a function in FROM is dependent")),
                }
            }
            other => Err(SqlError::unsupported(format!("FROM item {other}"))),
        }
    }

    fn derived(&mut self, query: &ast::Query, env: Env<'_>) -> Result<BoundQuery> {
        let parent = env.parent.map(|p| (p, env.outer));
        let mut bound = self.bind_query(query, parent)?;
        self.resolve_unknown(&mut bound)?;
        Ok(bound)
    }

    /// A table, view, or CTE by name.
    fn named_table(&mut self, name: &ast::ObjectName, alias: Option<&ast::TableAlias>) -> Result<Item> {
        let parts = name_parts(name)?;
        let position = self.position(name_span(name));
        if let [cte] = parts.as_slice()
            && let Some(found) = self.ctes.iter().rev().find(|c| c.name == *cte).cloned()
        {
            if !found.returns {
                return Err(SqlError::new(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    format!("WITH query \"{cte}\" does not have a RETURNING clause"),
                )
                .at(position));
            }
            return self.item_of_query(found.query, alias, cte);
        }
        let table = self.relation(&parts).map_err(|e| e.at(position))?;
        if self.view_depth == 0 {
            self.resolved_names.push((name.clone(), table.definition.oid));
        }
        self.item_of_table(&table, alias, position)
    }

    /// Finds a relation by its name parts: 42P01 if there is none.
    pub(crate) fn relation(&self, parts: &[String]) -> Result<Arc<CachedTableData>> {
        let (schema, name) = match parts {
            [name] => (None, name),
            [schema, name] => (Some(schema.as_str()), name),
            [database, schema, name] => {
                if *database != self.session.database_name {
                    return Err(SqlError::new(
                        SqlState::FEATURE_NOT_SUPPORTED,
                        format!("cross-database references are not implemented: \"{}\"", parts.join(".")),
                    ));
                }
                (Some(schema.as_str()), name)
            }
            _ => {
                return Err(SqlError::new(
                    SqlState::SYNTAX_ERROR,
                    format!("improper qualified name (too many dotted names): {}", parts.join(".")),
                ));
            }
        };
        let path = functions::search_path(self.session);
        let found = schema.map(|s| functions::schema_named(self.session, s));
        kalamdb_catalog::name::resolve_relation(&self.catalog, self.session.database, &path, found.as_deref(), name)
            .ok_or_else(|| {
                let shown = schema.map_or_else(|| name.clone(), |s| format!("{s}.{name}"));
                SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{shown}\" does not exist"))
            })
    }

    fn item_of_table(
        &mut self,
        table: &Arc<CachedTableData>,
        alias: Option<&ast::TableAlias>,
        position: Option<u32>,
    ) -> Result<Item> {
        let definition = &table.definition;
        self.needs_lock(table, LockMode::AccessShare);
        if self.view_depth == 0 {
            let all = definition.live_columns().map(|(i, _)| i as i16 + 1).collect();
            self.relations.push((Arc::clone(table), all));
        }
        if let TableKind::View { sql, depends_on } = &definition.kind {
            let query = self.expand_view(table, sql, depends_on).map_err(|e| e.at(position))?;
            let mut item = self.item_of_query(query, alias, &definition.name)?;
            self.mark_origin(&mut item, table);
            return Ok(item);
        }
        let visible = alias.map_or_else(|| definition.name.clone(), |a| fold(&a.name));
        let qualifier = self.unique(&visible);
        let reference = TableReference::bare(qualifier);
        let mark = self.next_mark();
        let source = providers::source(table, mark, self.bound_indexes(definition)?);
        let plan = planning(LogicalPlanBuilder::scan(reference.clone(), source, None).and_then(|b| b.build()))?;
        let column = |name: &str, ty: PgType, typmod: i32, attribute: i16| ScopeColumn {
            name: name.to_owned(),
            typed: Typed { typmod, ..Typed::new(Expr::Column(DfColumn::new(Some(reference.clone()), name)), ty) },
            table: definition.oid,
            attribute,
        };
        let mut columns: Vec<ScopeColumn> =
            definition.live_columns().map(|(i, c)| column(&c.name, c.ty, c.typmod, i as i16 + 1)).collect();
        rename(&mut columns, alias, &visible)?;
        let system = providers::system_columns(table).iter().map(|c| column(c.name, c.ty, -1, c.attribute)).collect();
        let schema = alias.is_none().then(|| self.catalog.schema(definition.schema).map(|s| s.name.clone())).flatten();
        let stored = !matches!(definition.kind, TableKind::Virtual(_));
        let base = stored.then_some(BaseScan { table: definition.oid, mark });
        let relation =
            Relation { name: visible, schema, columns: columns.clone(), system, named: true, base, simple: None };
        Ok(Item { plan, scope: Scope { relations: vec![relation], columns } })
    }

    /// The target table of UPDATE and DELETE, with the columns that name its rows.
    pub(super) fn target_item(
        &mut self,
        table: &Arc<CachedTableData>,
        alias: Option<&ast::TableAlias>,
    ) -> Result<Item> {
        self.item_of_table(table, alias, None)
    }

    fn expand_view(
        &mut self,
        view: &Arc<CachedTableData>,
        sql: &str,
        depends_on: &[kalamdb_catalog::table::Dependency],
    ) -> Result<BoundQuery> {
        for dependency in depends_on {
            if self.catalog.table(dependency.oid).is_none() {
                return Err(SqlError::new(
                    SqlState::UNDEFINED_TABLE,
                    format!("View \"{}\" references missing table \"{}\"", view.definition.name, dependency.name),
                ));
            }
        }
        if self.view_depth >= limits::VIEW_DEPTH_MAX {
            return Err(SqlError::new(
                SqlState::STATEMENT_TOO_COMPLEX,
                format!("views are nested more than {} deep", limits::VIEW_DEPTH_MAX),
            ));
        }
        let query = parse::query(sql)?;
        let ctes = std::mem::take(&mut self.ctes);
        self.view_depth += 1;
        let bound = self.bind_query(&query, None);
        self.view_depth -= 1;
        self.ctes = ctes;
        // A position inside the view's text means nothing to the client.
        let mut bound = bound.map_err(SqlError::without_position)?;
        self.resolve_unknown(&mut bound)?;
        for (column, defined) in bound.columns.iter_mut().zip(&view.definition.columns) {
            column.name.clone_from(&defined.name);
        }
        Ok(bound)
    }

    fn mark_origin(&self, item: &mut Item, table: &Arc<CachedTableData>) {
        for columns in item.scope.relations.iter_mut().map(|r| &mut r.columns).chain([&mut item.scope.columns]) {
            for (i, column) in columns.iter_mut().enumerate() {
                column.table = table.definition.oid;
                column.attribute = i as i16 + 1;
            }
        }
        if let Some(relation) = item.scope.relations.first_mut() {
            let schema = self.catalog.schema(table.definition.schema).map(|s| s.name.clone());
            if relation.name == table.definition.name {
                relation.schema = schema;
            }
        }
    }

    /// A query in FROM: every column gets a plain, unique name under the alias.
    pub(super) fn item_of_query(
        &mut self,
        bound: BoundQuery,
        alias: Option<&ast::TableAlias>,
        default: &str,
    ) -> Result<Item> {
        let visible = alias.map_or_else(|| default.to_owned(), |a| fold(&a.name));
        let qualifier = TableReference::bare(self.unique(&visible));
        let simple = bound.simple.as_deref().filter(|s| s.tail.is_empty()).cloned().map(Arc::new);
        let mut names: Vec<String> = Vec::with_capacity(bound.columns.len());
        let mut exprs = Vec::with_capacity(bound.columns.len());
        for (i, column) in bound.columns.iter().enumerate() {
            let name = unique_in(&names, &column.name);
            let (relation, field) = bound.plan.schema().qualified_field(i);
            exprs.push(Expr::Column(DfColumn::from((relation, field))).alias(&name));
            names.push(name);
        }
        let source = bound.plan.clone();
        let plan = planning(
            LogicalPlanBuilder::from(bound.plan)
                .project(exprs)
                .and_then(|b| b.alias(qualifier.clone()))
                .and_then(|b| b.build()),
        )?;
        for (i, name) in names.iter().enumerate().filter(|(i, _)| bound.columns[*i].ty == PgType::RECORD) {
            if let Some(fields) = self.fields_of_output(&source, i) {
                self.records.insert(DfColumn::new(Some(qualifier.clone()), name), fields);
            }
        }
        let mut columns: Vec<ScopeColumn> = bound
            .columns
            .iter()
            .zip(names)
            .map(|(c, name)| ScopeColumn {
                name: c.name.clone(),
                typed: Typed {
                    typmod: c.typmod,
                    ..Typed::new(Expr::Column(DfColumn::new(Some(qualifier.clone()), name)), c.ty)
                },
                table: c.table,
                attribute: c.attribute,
            })
            .collect();
        rename(&mut columns, alias, &visible)?;
        let named = alias.is_some() || default != "subquery";
        let relation = Relation {
            name: visible,
            schema: None,
            columns: columns.clone(),
            system: Vec::new(),
            named,
            base: None,
            simple,
        };
        Ok(Item { plan, scope: Scope { relations: vec![relation], columns } })
    }

    /// `(a JOIN b ...) AS x`: the alias hides the names inside.
    fn aliased_join(&mut self, item: Item, alias: &ast::TableAlias) -> Result<Item> {
        let visible = fold(&alias.name);
        let mut columns = item.scope.columns;
        rename(&mut columns, Some(alias), &visible)?;
        let relation = Relation {
            name: visible,
            schema: None,
            columns: columns.clone(),
            system: Vec::new(),
            named: true,
            base: None,
            simple: None,
        };
        Ok(Item { plan: item.plan, scope: Scope { relations: vec![relation], columns } })
    }

    /// Items that may use columns of the items to their left: LATERAL subqueries and functions.
    fn dependent(
        &mut self,
        left: &Item,
        right: &TableFactor,
        kind: JoinType,
        constraint: &JoinConstraint,
        env: Env<'_>,
    ) -> Result<Option<Item>> {
        if !matches!(kind, JoinType::Inner | JoinType::Left) {
            // It cannot use what stands left of it, so it is an item like any other.
            let nothing = Item { plan: one_row()?, scope: Scope::default() };
            let right = self.dependent(&nothing, right, JoinType::Inner, &JoinConstraint::None, env)?;
            return right.map(|right| self.join_items(left.clone(), right, kind, constraint, env)).transpose();
        }
        let outer_join = kind == JoinType::Left;
        // A function that takes nothing from its left is an item like any other.
        let nothing = Item { plan: one_row()?, scope: Scope::default() };
        if !left.scope.relations.is_empty() && !matches!(right, TableFactor::Derived { .. }) {
            let (outer, applies) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
            let ctx = env.ctx(&left.scope, Clause::From, &applies);
            let inner = Env { parent: Some(&ctx), outer: &outer };
            let item = self.function_item(&nothing, right, false, inner)?;
            if outer.borrow().is_empty() {
                return self.join_items(left.clone(), item, kind, constraint, env).map(Some);
            }
        }
        let condition = match constraint {
            JoinConstraint::None => None,
            JoinConstraint::On(e) if is_true(e) => None,
            JoinConstraint::On(condition) => Some(condition),
            JoinConstraint::Using(_) | JoinConstraint::Natural => {
                return Err(SqlError::unsupported("LATERAL with USING").hint("Write the condition in ON."));
            }
        };
        if let TableFactor::Derived { subquery, alias, .. } = right {
            return self
                .lateral(left, outer_join, condition, env, |b, ctx, outer| {
                    let mut bound = b.bind_query(subquery, Some((ctx, outer)))?;
                    b.resolve_unknown(&mut bound)?;
                    b.item_of_query(bound, alias.as_ref(), "subquery")
                })
                .map(Some);
        }
        if outer_join && condition.is_some() {
            return self
                .lateral(left, outer_join, condition, env, |b, ctx, outer| {
                    b.function_item(&nothing, right, false, Env { parent: Some(ctx), outer })
                })
                .map(Some);
        }
        let item = self.function_item(left, right, outer_join, env)?;
        let Some(condition) = condition else { return Ok(Some(item)) };
        let applies = RefCell::new(Vec::new());
        let ctx = env.ctx(&item.scope, Clause::JoinOn, &applies);
        let bound = self.expr(condition, &ctx)?;
        let on = self.boolean(bound, "JOIN/ON")?;
        let plan = self.attach(item.plan, applies.into_inner())?;
        let plan = planning(LogicalPlanBuilder::from(plan).filter(on).and_then(|b| b.build()))?;
        Ok(Some(Item { plan, scope: item.scope }))
    }

    /// An item bound for each row of `left`, whose columns it may use; the condition is looked at on its side, so that an
    /// outer join keeps the rows it leaves without a match.
    fn lateral(
        &mut self,
        left: &Item,
        outer_join: bool,
        condition: Option<&ast::Expr>,
        env: Env<'_>,
        bind: impl FnOnce(&mut Self, &Ctx<'_>, &RefCell<Vec<OuterRef>>) -> Result<Item>,
    ) -> Result<Item> {
        let outer: RefCell<Vec<OuterRef>> = RefCell::new(Vec::new());
        let applies = RefCell::new(Vec::new());
        let ctx = env.ctx(&left.scope, Clause::From, &applies);
        let mut right = bind(self, &ctx, &outer)?;
        self.check_aliases(&left.scope, &right.scope)?;
        if let Some(condition) = condition {
            let inside = RefCell::new(Vec::new());
            let inner = Ctx { scope: &right.scope, parent: Some(&ctx), outer: &outer, applies: &inside, ..ctx };
            let bound = self.expr(condition, &Ctx { clause: Clause::JoinOn, ..inner })?;
            let on = self.boolean(bound, "JOIN/ON")?;
            let keep: Vec<Expr> = columns_of(&right.plan);
            let plan = self.attach(right.plan, inside.into_inner())?;
            let filtered = LogicalPlanBuilder::from(plan).filter(on).and_then(|b| b.project(keep));
            right.plan = planning(filtered.and_then(|b| b.build()))?;
        }
        let outer = outer.into_inner();
        let plan = if outer.is_empty() && !outer_join {
            planning(LogicalPlanBuilder::from(left.plan.clone()).cross_join(right.plan).and_then(|b| b.build()))?
        } else {
            let mode = ApplyMode::Lateral { outer: outer_join };
            let added = if outer_join { nullable(right.plan.schema())? } else { right.plan.schema().as_ref().clone() };
            super::subquery::apply_over(left.plan.clone(), right.plan, outer, mode, &added)?
        };
        let mut scope = left.scope.clone();
        scope.extend(right.scope);
        Ok(Item { plan, scope })
    }

    /// `generate_series(1, t.n) AS g(i)`, `unnest(a, b) WITH ORDINALITY`.
    fn function_item(&mut self, left: &Item, factor: &TableFactor, outer_join: bool, env: Env<'_>) -> Result<Item> {
        let (calls, name, alias, ordinality) = function_parts(factor)?;
        let applies = RefCell::new(Vec::new());
        let ctx = env.ctx(&left.scope, Clause::From, &applies);
        let mut bound = Vec::with_capacity(calls.len());
        for call in &calls {
            let typed = self.expr(call, &ctx)?;
            bound.push(if typed.is_unknown() { self.coerce(typed, PgType::TEXT)? } else { typed });
        }
        let mut plan = self.attach(left.plan.clone(), applies.into_inner())?;
        let visible = alias.map_or_else(|| name.clone(), |a| fold(&a.name));
        let qualifier = self.unique(&visible);
        let lists = bound.iter().all(|t| t.kind == Kind::Set);
        let mut exprs: Vec<Expr> = columns_of(&plan);
        let mut columns = Vec::new();
        let mut unnested = Vec::new();
        if ordinality && lists {
            let ordinals = functions::ordinals(bound.iter().map(|t| t.expr.clone()).collect());
            bound.push(Typed { kind: Kind::Set, ..Typed::new(ordinals, PgType::INT8) });
        }
        let series = if ordinality { None } else { integer_series(&bound) };
        let single = bound.len() == 1;
        for (i, typed) in bound.into_iter().enumerate() {
            let last_ordinal = ordinality && lists && i + 1 == unnested.len() + 1 && i >= calls.len();
            let plain = if last_ordinal {
                "ordinality".to_owned()
            } else {
                self.function_column(&name, &visible, alias, single || ordinality)
            };
            let column = format!("{qualifier}.{i}");
            exprs.push(typed.expr.alias(&column));
            unnested.push(DfColumn::new_unqualified(column.clone()));
            columns.push(ScopeColumn {
                name: plain,
                typed: Typed {
                    typmod: typed.typmod,
                    ..Typed::new(Expr::Column(DfColumn::new_unqualified(column)), typed.ty)
                },
                table: 0,
                attribute: 0,
            });
        }
        if let (Some(args), [column]) = (series, columns.as_slice())
            && left.scope.relations.is_empty()
        {
            plan = SeriesNode::plan(args, &format!("{qualifier}.0"), column.typed.ty)?;
        } else if lists {
            plan = planning(LogicalPlanBuilder::from(plan).project(exprs).and_then(|b| b.build()))?;
            let null_handling = if outer_join { NullHandling::PreserveAndExpandEmpty } else { NullHandling::Drop };
            let options = UnnestOptions { null_handling, recursions: Vec::new() };
            plan = planning(
                LogicalPlanBuilder::from(plan).unnest_columns_with_options(unnested, options).and_then(|b| b.build()),
            )?;
        } else {
            plan = planning(LogicalPlanBuilder::from(plan).project(exprs).and_then(|b| b.build()))?;
        }
        if ordinality && !lists {
            columns.push(ScopeColumn {
                name: "ordinality".to_owned(),
                typed: Typed::new(lit(1i64), PgType::INT8),
                table: 0,
                attribute: 0,
            });
        }
        rename(&mut columns, alias, &visible)?;
        let relation = Relation {
            name: visible,
            schema: None,
            columns: columns.clone(),
            system: Vec::new(),
            named: true,
            base: None,
            simple: None,
        };
        let right = Scope { relations: vec![relation], columns };
        self.check_aliases(&left.scope, &right)?;
        let mut scope = left.scope.clone();
        scope.extend(right);
        Ok(Item { plan, scope })
    }

    /// A function's one column is named after its alias, else after itself.
    fn function_column(&self, name: &str, visible: &str, alias: Option<&ast::TableAlias>, single: bool) -> String {
        if matches!(
            name,
            "json_array_elements" | "jsonb_array_elements" | "json_array_elements_text" | "jsonb_array_elements_text"
        ) {
            return "value".to_owned();
        }
        if single && alias.is_some() { visible.to_owned() } else { name.to_owned() }
    }
}

/// The schema with every field open to NULL: what an outer join fills up.
fn nullable(schema: &DFSchema) -> Result<DFSchema> {
    let fields = schema.iter().map(|(q, f)| (q.cloned(), Arc::new(f.as_ref().clone().with_nullable(true))));
    planning(DFSchema::new_with_metadata(fields.collect(), schema.metadata().clone()))
}

fn is_true(e: &ast::Expr) -> bool {
    matches!(e, ast::Expr::Value(v) if v.value == ast::Value::Boolean(true))
}

/// The arguments of a lone generate_series of integers.
fn integer_series(calls: &[Typed]) -> Option<Vec<Expr>> {
    let [Typed { expr: Expr::ScalarFunction(call), ty: PgType::INT4 | PgType::INT8, .. }] = calls else { return None };
    let resolved = crate::sql::udf::resolved_of(&call.func)?;
    // A subquery among them is a column of the plan below.
    let free = call.args.iter().all(|a| a.column_refs().is_empty());
    (resolved.name == "generate_series" && resolved.list && free).then(|| call.args.clone())
}

/// Items whose plan goes on top of what stands left of them.
fn is_dependent(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Derived { lateral, .. } => *lateral,
        TableFactor::Function { .. } | TableFactor::UNNEST { .. } | TableFactor::TableFunction { .. } => true,
        TableFactor::Table { args, .. } => args.is_some(),
        _ => false,
    }
}

/// The calls (several for unnest(a, b)), the function's name, the alias, WITH ORDINALITY.
fn function_parts(factor: &TableFactor) -> Result<(Vec<ast::Expr>, String, Option<&ast::TableAlias>, bool)> {
    let call = |name: &ast::ObjectName, args: Vec<ast::FunctionArg>| {
        ast::Expr::Function(ast::Function {
            name: name.clone(),
            uses_odbc_syntax: false,
            parameters: ast::FunctionArguments::None,
            args: ast::FunctionArguments::List(ast::FunctionArgumentList {
                duplicate_treatment: None,
                args,
                clauses: Vec::new(),
            }),
            filter: None,
            null_treatment: None,
            over: None,
            within_group: Vec::new(),
        })
    };
    match factor {
        TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. } => {
            let parts = name_parts(name)?;
            let plain = parts.last().cloned().unwrap_or_default();
            Ok((vec![call(name, args.args.clone())], plain, alias.as_ref(), *with_ordinality))
        }
        TableFactor::Function { name, args, alias, with_ordinality, .. } => {
            let plain = name_parts(name)?.last().cloned().unwrap_or_default();
            Ok((vec![call(name, args.clone())], plain, alias.as_ref(), *with_ordinality))
        }
        TableFactor::TableFunction { expr, alias } => {
            Ok((vec![expr.clone()], "function".to_owned(), alias.as_ref(), false))
        }
        TableFactor::UNNEST { alias, array_exprs, with_ordinality, .. } => {
            let name = ast::ObjectName::from(vec![ast::Ident::new("unnest")]);
            let calls = array_exprs
                .iter()
                .map(|e| call(&name, vec![ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(e.clone()))]))
                .collect();
            Ok((calls, "unnest".to_owned(), alias.as_ref(), *with_ordinality))
        }
        other => Err(SqlError::unsupported(format!("FROM item {other}"))),
    }
}

/// `AS t(a, b)`: new names for the first columns.
fn rename(columns: &mut [ScopeColumn], alias: Option<&ast::TableAlias>, visible: &str) -> Result<()> {
    let Some(alias) = alias else { return Ok(()) };
    if alias.columns.len() > columns.len() {
        return Err(SqlError::new(
            SqlState::INVALID_COLUMN_REFERENCE,
            format!(
                "table \"{visible}\" has {} columns available but {} columns specified",
                columns.len(),
                alias.columns.len()
            ),
        ));
    }
    for (column, name) in columns.iter_mut().zip(&alias.columns) {
        column.name = fold(&name.name);
    }
    Ok(())
}

/// `name`, or `name_1` and so on if it is taken.
pub(super) fn unique_in(taken: &[String], name: &str) -> String {
    if !taken.iter().any(|t| t == name) {
        return name.to_owned();
    }
    let mut n = 1;
    loop {
        let candidate = format!("{name}_{n}");
        if !taken.contains(&candidate) {
            return candidate;
        }
        n += 1;
    }
}
