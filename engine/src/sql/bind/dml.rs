//! INSERT, UPDATE and DELETE: each becomes a query whose rows the handler applies by key.
//!
//! The plan's columns, in order: for UPDATE and DELETE the row's key and its stored bytes, and the keys of the other tables'
//! rows; for INSERT and UPDATE the new
//! value of every live column; then what RETURNING shows.

use std::cell::RefCell;
use std::sync::Arc;

use datafusion::common::Column as DfColumn;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast;
use kalamdb_catalog::{CachedTableData, ColumnDefinition, PgType, Result, SqlError, SqlState};

use super::conflict::BoundConflict;
use super::current_of::cursor_of;
use super::defaults::{Overriding, has_generated, overriding_of, takes_value};
use super::merge::MergeAction;
use super::scope::{Clause, Relation, Scope, ScopeColumn};
use super::select::{BoundQuery, Env, Target};
use super::subquery::Apply;
use super::typed::Typed;
use super::{Binder, fold, name_parts, name_span};
use crate::providers;
use crate::sql::Column;
use crate::sql::functions::CastContext;
use crate::sql::plan::{one_row, planning};
use crate::txn::LockMode;
use crate::types::Value;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DmlKind {
    Insert,
    Update,
    Delete,
    Merge,
}

/// Columns that name the target's row in the plan of an UPDATE or DELETE, before the keys of other tables' rows.
pub(crate) const IDENTITY: usize = 2;

/// A bound INSERT, UPDATE or DELETE.
#[derive(Clone, Debug)]
pub(crate) struct BoundDml {
    pub kind: DmlKind,
    pub table: Arc<CachedTableData>,
    pub plan: LogicalPlan,
    /// The scan of `table` in `plan`: see `providers::source`. 0 for INSERT.
    pub mark: u32,
    /// Scans of the other tables in FROM or USING.
    pub others: Vec<u32>,
    pub returning: Option<Vec<Column>>,
    /// ON CONFLICT.
    pub conflict: Option<Box<BoundConflict>>,
    /// MERGE's, by their numbers.
    pub actions: Vec<MergeAction>,
    /// For statements that `fast` may serve: no subquery, no FROM.
    pub simple: Option<Box<SimpleDml>>,
}

/// The expressions of a single-table statement. `returning` is over the new values `new#i` (INSERT, UPDATE) or the table's
/// columns (DELETE).
#[derive(Clone, Debug)]
pub(crate) struct SimpleDml {
    pub filter: Option<Expr>,
    /// Rows of new values; UPDATE has one.
    pub rows: Vec<Vec<Expr>>,
    pub returning: Vec<Expr>,
}

impl Binder<'_> {
    pub(crate) fn insert(&mut self, insert: &ast::Insert) -> Result<BoundDml> {
        refuse_insert_clauses(insert)?;
        if !insert.into {
            let ast::TableObject::TableName(name) = &insert.table else {
                return Err(SqlError::unsupported("INSERT without INTO"));
            };
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{name}\""))
                .at(self.position(name_span(name))));
        }
        let ast::TableObject::TableName(name) = &insert.table else {
            return Err(SqlError::unsupported("INSERT INTO a table function"));
        };
        let table = self.target_table(name, "insert into")?;
        let alias = insert.table_alias.as_ref().map(|a| fold(&a.alias));
        let (names, overriding) = overriding_of(&insert.columns)?;
        let wanted = self.insert_columns(&table, names)?;
        let depth = self.ctes.len();
        let source = self.insert_source(insert, &table, &wanted, overriding);
        self.ctes.truncate(depth);
        let (plan, rows) = source?;
        let plan = self.generated(plan, &table.definition, 0)?;
        let rows = rows.filter(|_| !has_generated(&table.definition));
        let mut conflict = match &insert.on {
            Some(on) => Some(Box::new(self.conflict(&table, alias.as_deref(), on)?)),
            None => None,
        };
        let (plan, returning, exprs) =
            self.returning(plan, &table, alias, insert.returning.as_deref(), 0, &Scope::default())?;
        if let Some(conflict) = &mut conflict {
            conflict.returning.clone_from(&exprs);
        }
        let simple = rows
            .filter(|_| conflict.is_none())
            .map(|rows| Box::new(SimpleDml { filter: None, rows, returning: exprs }));
        Ok(BoundDml {
            kind: DmlKind::Insert,
            table,
            plan,
            mark: 0,
            others: Vec::new(),
            returning,
            conflict,
            actions: Vec::new(),
            simple,
        })
    }

    /// The table a statement writes: never a view or a system table.
    pub(crate) fn target_table(&mut self, name: &ast::ObjectName, verb: &str) -> Result<Arc<CachedTableData>> {
        let parts = name_parts(name)?;
        let position = self.position(name_span(name));
        if let [single] = parts.as_slice()
            && self.ctes.iter().any(|c| c.name == *single)
        {
            return Err(SqlError::new(
                SqlState::SYNTAX_ERROR,
                format!("relation \"{single}\" cannot be the target of a modifying statement"),
            )
            .at(position));
        }
        let table = self.relation(&parts).map_err(|e| e.at(position))?;
        let name = &table.definition.name;
        if table.definition.sequence().is_some() {
            let message = format!("cannot change sequence \"{name}\"");
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
        }
        if table.definition.is_view() && !providers::is_builtin(&table) {
            return Err(SqlError::unsupported(format!("{verb} view \"{name}\"")));
        }
        if table.definition.is_system() || providers::is_builtin(&table) {
            let message = match table.definition.schema {
                kalamdb_catalog::catalog::SYSTEM_OID => format!("permission denied for table {name}"),
                _ => format!("permission denied: \"{name}\" is a system catalog"),
            };
            return Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
        }
        self.needs_lock(&table, LockMode::RowExclusive);
        for constraint in &table.definition.constraints {
            let catalog = Arc::clone(&self.catalog);
            if let Some(other) = constraint.foreign_key().and_then(|key| catalog.table(key.target)) {
                self.needs_lock(other, LockMode::RowShare);
            }
        }
        Ok(table)
    }

    /// Positions (in live order) of the columns an INSERT names, or all.
    pub(super) fn insert_columns(
        &mut self,
        table: &CachedTableData,
        names: &[ast::ObjectName],
    ) -> Result<Option<Vec<usize>>> {
        if names.is_empty() {
            return Ok(None);
        }
        let mut wanted = Vec::with_capacity(names.len());
        for name in names {
            let position = self.position(name_span(name));
            let column = written_column(table, name).map_err(|e| e.at(position))?;
            let index = live_position(table, &column).ok_or_else(|| no_column(table, &column).at(position))?;
            if wanted.contains(&index) {
                return Err(SqlError::new(
                    SqlState::DUPLICATE_COLUMN,
                    format!("column \"{column}\" specified more than once"),
                )
                .at(position));
            }
            wanted.push(index);
        }
        Ok(Some(wanted))
    }

    /// The plan of all live columns; for VALUES also the rows of expressions.
    #[allow(clippy::type_complexity)]
    fn insert_source(
        &mut self,
        insert: &ast::Insert,
        table: &CachedTableData,
        wanted: &Option<Vec<usize>>,
        overriding: Overriding,
    ) -> Result<(LogicalPlan, Option<Vec<Vec<Expr>>>)> {
        let columns: Vec<ColumnDefinition> = table.definition.live_columns().map(|(_, c)| c.clone()).collect();
        let targets: Vec<usize> = wanted.clone().unwrap_or_else(|| (0..columns.len()).collect());
        let Some(query) = &insert.source else {
            let row = self.complete_row(&columns, Vec::new())?;
            return self.rows_plan(vec![row], &columns);
        };
        if let (ast::SetExpr::Values(values), None, None, None, None) =
            (query.body.as_ref(), &query.with, &query.order_by, &query.limit_clause, &query.fetch)
            && !values.rows.iter().any(|r| r.content.iter().any(contains_subquery))
        {
            let width = values.rows.first().map_or(0, |r| r.content.len());
            let mut rows = Vec::with_capacity(values.rows.len());
            for row in &values.rows {
                if row.content.len() != width {
                    return Err(SqlError::new(SqlState::SYNTAX_ERROR, "VALUES lists must all be the same length")
                        .at(row.content.first().and_then(|e| self.position(ast::Spanned::span(e)))));
                }
                check_width(row.content.len(), targets.len(), wanted.is_some()).map_err(|e| {
                    let at = row.content.get(targets.len().min(row.content.len().saturating_sub(1)));
                    e.at(at.and_then(|x| self.position(ast::Spanned::span(x))))
                })?;
                let mut given = Vec::with_capacity(row.content.len());
                for (e, target) in row.content.iter().zip(&targets) {
                    let column = &columns[*target];
                    if is_default(e) {
                        continue;
                    }
                    let value = self.value_for(e, column)?;
                    if takes_value(column, overriding)? {
                        given.push((*target, value));
                    }
                }
                rows.push(self.complete_row(&columns, given)?);
            }
            return self.rows_plan(rows, &columns);
        }
        let mut bound = self.bind_query(query, None)?;
        check_width(bound.columns.len(), targets.len(), wanted.is_some())?;
        self.assign_columns(&mut bound, &columns, &targets)?;
        let mut exprs = Vec::with_capacity(columns.len());
        for (i, column) in columns.iter().enumerate() {
            let from = targets.iter().position(|t| *t == i).filter(|p| *p < bound.columns.len());
            let expr = match from {
                Some(p) if takes_value(column, overriding)? => {
                    let (q, f) = bound.plan.schema().qualified_field(p);
                    Expr::Column(DfColumn::from((q, f)))
                }
                _ => self.default_of(column)?.expr,
            };
            exprs.push(expr.alias(format!("new#{i}")));
        }
        let plan = planning(LogicalPlanBuilder::from(bound.plan).project(exprs).and_then(|b| b.build()))?;
        Ok((plan, None))
    }

    fn assign_columns(
        &mut self,
        bound: &mut BoundQuery,
        columns: &[ColumnDefinition],
        targets: &[usize],
    ) -> Result<()> {
        let wanted: Vec<(PgType, i32)> =
            targets.iter().take(bound.columns.len()).map(|t| (columns[*t].ty, columns[*t].typmod)).collect();
        for (have, target) in bound.columns.iter().zip(targets) {
            let column = &columns[*target];
            let possible = have.ty == PgType::UNKNOWN
                || crate::sql::coerce::cast_path(have.ty, column.ty, CastContext::Assignment).is_some();
            if !possible {
                return Err(wrong_type(column, have.ty));
            }
        }
        self.coerce_columns(bound, &wanted, CastContext::Assignment)
    }

    fn rows_plan(
        &mut self,
        rows: Vec<Vec<Typed>>,
        columns: &[ColumnDefinition],
    ) -> Result<(LogicalPlan, Option<Vec<Vec<Expr>>>)> {
        let exprs: Vec<Vec<Expr>> = rows.iter().map(|r| r.iter().map(|t| t.expr.clone()).collect()).collect();
        if columns.is_empty() {
            let plan = one_row()?;
            return Ok((plan, None));
        }
        let bound = self.query_of_rows(rows)?;
        let named: Vec<Expr> = (0..columns.len())
            .map(|i| {
                let (q, f) = bound.plan.schema().qualified_field(i);
                Expr::Column(DfColumn::from((q, f))).alias(format!("new#{i}"))
            })
            .collect();
        let plan = planning(LogicalPlanBuilder::from(bound.plan).project(named).and_then(|b| b.build()))?;
        Ok((plan, Some(exprs)))
    }

    /// A value for a column, in INSERT ... VALUES.
    fn value_for(&mut self, e: &ast::Expr, column: &ColumnDefinition) -> Result<Typed> {
        let scope = Scope::default();
        let applies = RefCell::new(Vec::new());
        let outer = RefCell::new(Vec::new());
        let ctx = Env { parent: None, outer: &outer }.ctx(&scope, Clause::Values, &applies);
        let typed = self.expr(e, &ctx)?;
        self.assign_to(typed, column, "VALUES")
    }

    /// Converts for a column: 42804 if there is no assignment cast.
    pub(crate) fn assign_to(&mut self, typed: Typed, column: &ColumnDefinition, what: &str) -> Result<Typed> {
        let (ty, position) = (typed.ty, typed.position);
        if typed.kind == super::Kind::Set {
            return Err(super::typed::set_not_allowed(what).at(position));
        }
        self.assign(typed, column.ty, column.typmod).map_err(|e| match e.code() {
            SqlState::CANNOT_COERCE => wrong_type(column, ty).at(position),
            _ => e,
        })
    }

    /// All live columns: the values given, defaults for the rest.
    pub(super) fn complete_row(
        &mut self,
        columns: &[ColumnDefinition],
        given: Vec<(usize, Typed)>,
    ) -> Result<Vec<Typed>> {
        let mut row: Vec<Option<Typed>> = vec![None; columns.len()];
        for (i, typed) in given {
            row[i] = Some(typed);
        }
        row.into_iter().zip(columns).map(|(typed, column)| typed.map_or_else(|| self.default_of(column), Ok)).collect()
    }

    pub(crate) fn update(&mut self, update: &ast::Update) -> Result<BoundDml> {
        if update.or.is_some() || !update.order_by.is_empty() || update.limit.is_some() || update.output.is_some() {
            return Err(SqlError::unsupported("UPDATE with ORDER BY, LIMIT, OR or OUTPUT"));
        }
        let ast::TableFactor::Table { name, alias, .. } = &update.table.relation else {
            return Err(SqlError::unsupported("UPDATE of something other than a table"));
        };
        if !update.table.joins.is_empty() {
            return Err(SqlError::unsupported("UPDATE of a join"));
        }
        let table = self.target_table(name, "update")?;
        let none = RefCell::new(Vec::new());
        let env = Env { parent: None, outer: &none };
        let from = match &update.from {
            None => &[][..],
            Some(ast::UpdateTableFromKind::AfterSet(from) | ast::UpdateTableFromKind::BeforeSet(from)) => from,
        };
        let (target, plan, scope) = self.modified(&table, alias.as_ref(), from, env)?;
        let applies = RefCell::new(Vec::new());
        let ctx = env.ctx(&scope, Clause::UpdateSet, &applies);
        let columns: Vec<ColumnDefinition> = table.definition.live_columns().map(|(_, c)| c.clone()).collect();
        let values = self.assignments(&update.assignments, &table, &columns, &target, &ctx)?;
        let set_applies = applies.into_inner();
        let simple_set = set_applies.is_empty();
        let (plan, filter, plain) = match cursor_of(update.selection.as_ref()) {
            Some(cursor) => self.matched_by_cursor(plan, cursor, &table, &target)?,
            None => self.matched(plan, update.selection.as_ref(), &scope, env)?,
        };
        let plan = self.attach(plan, set_applies)?;

        let (mut exprs, others) = row_identity(&target, &scope);
        exprs.extend(values.iter().enumerate().map(|(i, v)| v.clone().alias(format!("new#{i}"))));
        let skip = IDENTITY + others.len();
        let rest = Scope {
            relations: scope.relations.iter().skip(1).cloned().collect(),
            columns: scope.columns.iter().skip(target.columns.len()).cloned().collect(),
        };
        exprs.extend(rest.columns.iter().map(|c| c.typed.expr.clone()).filter(|e| matches!(e, Expr::Column(_))));
        let plan = planning(LogicalPlanBuilder::from(plan).project(exprs).and_then(|b| b.build()))?;
        let plan = self.generated(plan, &table.definition, skip)?;
        let visible = alias.as_ref().map(|a| fold(&a.name));
        let (plan, returning, shown) =
            self.returning(plan, &table, visible, update.returning.as_deref(), skip, &rest)?;
        let simple = (from.is_empty() && plain && simple_set && !has_generated(&table.definition))
            .then(|| Box::new(SimpleDml { filter, rows: vec![values], returning: shown }));
        Ok(BoundDml {
            kind: DmlKind::Update,
            table,
            plan,
            mark: target.base.map_or(0, |b| b.mark),
            others,
            returning,
            conflict: None,
            actions: Vec::new(),
            simple,
        })
    }

    pub(crate) fn delete(&mut self, delete: &ast::Delete) -> Result<BoundDml> {
        if !delete.order_by.is_empty() || delete.limit.is_some() || !delete.tables.is_empty() || delete.output.is_some()
        {
            return Err(SqlError::unsupported("DELETE with ORDER BY, LIMIT, several tables or OUTPUT"));
        }
        let tables = match &delete.from {
            ast::FromTable::WithFromKeyword(t) | ast::FromTable::WithoutKeyword(t) => t,
        };
        let [ast::TableWithJoins { relation: ast::TableFactor::Table { name, alias, .. }, joins }] = tables.as_slice()
        else {
            return Err(SqlError::unsupported("DELETE from several tables"));
        };
        if !joins.is_empty() {
            return Err(SqlError::unsupported("DELETE from a join"));
        }
        let table = self.target_table(name, "delete from")?;
        let none = RefCell::new(Vec::new());
        let env = Env { parent: None, outer: &none };
        let using = delete.using.as_deref().unwrap_or_default();
        let (target, plan, scope) = self.modified(&table, alias.as_ref(), using, env)?;
        let (plan, filter, plain) = match cursor_of(delete.selection.as_ref()) {
            Some(cursor) => self.matched_by_cursor(plan, cursor, &table, &target)?,
            None => self.matched(plan, delete.selection.as_ref(), &scope, env)?,
        };
        let (mut exprs, others) = row_identity(&target, &scope);
        let (items, applies) = match delete.returning.as_deref() {
            Some(items) => {
                let (targets, applies) = self.returning_targets(items, &scope, env)?;
                (Some(targets), applies)
            }
            None => (None, Vec::new()),
        };
        let plain = plain && applies.is_empty();
        let plan = self.attach(plan, applies)?;
        let shown: Vec<Expr> = items.iter().flatten().map(|t| t.typed.expr.clone()).collect();
        exprs.extend(shown.iter().enumerate().map(|(i, e)| e.clone().alias(format!("returning#{i}"))));
        let plan = planning(LogicalPlanBuilder::from(plan).project(exprs).and_then(|b| b.build()))?;
        let returning = items.map(columns_of);
        let simple =
            (using.is_empty() && plain).then(|| Box::new(SimpleDml { filter, rows: Vec::new(), returning: shown }));
        Ok(BoundDml {
            kind: DmlKind::Delete,
            table,
            plan,
            mark: target.base.map_or(0, |b| b.mark),
            others,
            returning,
            conflict: None,
            actions: Vec::new(),
            simple,
        })
    }

    /// The target joined with FROM or USING: (its relation, the plan, the scope with the target first).
    fn modified(
        &mut self,
        table: &Arc<CachedTableData>,
        alias: Option<&ast::TableAlias>,
        from: &[ast::TableWithJoins],
        env: Env<'_>,
    ) -> Result<(Relation, LogicalPlan, Scope)> {
        let target = self.target_item(table, alias)?;
        let relation = target.scope.relations[0].clone();
        if from.is_empty() {
            return Ok((relation, target.plan, target.scope));
        }
        let other = self.relations_of(from, env)?;
        if other.scope.relations.iter().any(|r| r.named && r.name == relation.name) {
            return Err(SqlError::new(
                SqlState::DUPLICATE_ALIAS,
                format!("table name \"{}\" specified more than once", relation.name),
            ));
        }
        let plan = planning(LogicalPlanBuilder::from(target.plan).cross_join(other.plan).and_then(|b| b.build()))?;
        let mut scope = target.scope;
        scope.extend(other.scope);
        Ok((relation, plan, scope))
    }

    /// WHERE CURRENT OF
    fn matched_by_cursor(
        &mut self,
        plan: LogicalPlan,
        cursor: &str,
        table: &CachedTableData,
        target: &Relation,
    ) -> Result<(LogicalPlan, Option<Expr>, bool)> {
        let condition = self.current_of(cursor, table, target)?;
        let plan = planning(LogicalPlanBuilder::from(plan).filter(condition.clone()).and_then(|b| b.build()))?;
        Ok((plan, Some(condition), false))
    }

    /// WHERE of UPDATE and DELETE: (plan, condition, whether it is free of subqueries).
    fn matched(
        &mut self,
        plan: LogicalPlan,
        selection: Option<&ast::Expr>,
        scope: &Scope,
        env: Env<'_>,
    ) -> Result<(LogicalPlan, Option<Expr>, bool)> {
        let Some(condition) = selection else { return Ok((plan, None, true)) };
        let applies = RefCell::new(Vec::new());
        let ctx = env.ctx(scope, Clause::Where, &applies);
        let condition = self.condition(condition, &ctx)?;
        let applies = applies.into_inner();
        let plain = applies.is_empty();
        let plan = self.attach(plan, applies)?;
        let plan = planning(LogicalPlanBuilder::from(plan).filter(condition.clone()).and_then(|b| b.build()))?;
        Ok((plan, Some(condition), plain))
    }

    /// Adds what RETURNING shows to a plan of `skip` identity columns, new values, and the columns of `rest`.
    #[allow(clippy::type_complexity)]
    fn returning(
        &mut self,
        plan: LogicalPlan,
        table: &Arc<CachedTableData>,
        alias: Option<String>,
        items: Option<&[ast::SelectItem]>,
        skip: usize,
        rest: &Scope,
    ) -> Result<(LogicalPlan, Option<Vec<Column>>, Vec<Expr>)> {
        let definition = &table.definition;
        let width = skip + definition.live_columns().count();
        let base: Vec<Expr> = (0..width.min(plan.schema().fields().len()))
            .map(|i| {
                let (q, f) = plan.schema().qualified_field(i);
                Expr::Column(DfColumn::from((q, f)))
            })
            .collect();
        let Some(items) = items else {
            let plan = if plan.schema().fields().len() > width {
                planning(LogicalPlanBuilder::from(plan).project(base).and_then(|b| b.build()))?
            } else {
                plan
            };
            return Ok((plan, None, Vec::new()));
        };
        let columns: Vec<ScopeColumn> = definition
            .live_columns()
            .enumerate()
            .map(|(live, (i, c))| ScopeColumn {
                name: c.name.clone(),
                typed: Typed {
                    typmod: c.typmod,
                    ..Typed::new(Expr::Column(DfColumn::new_unqualified(format!("new#{live}"))), c.ty)
                },
                table: definition.oid,
                attribute: i as i16 + 1,
            })
            .collect();
        let tableoid = ScopeColumn {
            name: "tableoid".to_owned(),
            typed: Typed::literal(&Value::Oid(definition.oid), PgType::OID),
            table: definition.oid,
            attribute: -6,
        };
        let schema = alias.is_none().then(|| self.catalog.schema(definition.schema).map(|s| s.name.clone())).flatten();
        let relation = Relation {
            name: alias.unwrap_or_else(|| definition.name.clone()),
            schema,
            columns: columns.clone(),
            system: vec![tableoid],
            named: true,
            base: None,
            simple: None,
        };
        let mut scope = Scope { relations: vec![relation], columns };
        scope.extend(rest.clone());
        let none = RefCell::new(Vec::new());
        let (targets, applies) = self.returning_targets(items, &scope, Env { parent: None, outer: &none })?;
        let plan = self.attach(plan, applies)?;
        let shown: Vec<Expr> = targets.iter().map(|t| t.typed.expr.clone()).collect();
        let mut exprs = base;
        exprs.extend(shown.iter().enumerate().map(|(i, e)| e.clone().alias(format!("returning#{i}"))));
        let plan = planning(LogicalPlanBuilder::from(plan).project(exprs).and_then(|b| b.build()))?;
        Ok((plan, Some(columns_of(targets)), shown))
    }

    /// What RETURNING shows, and the subqueries in it.
    fn returning_targets(
        &mut self,
        items: &[ast::SelectItem],
        scope: &Scope,
        env: Env<'_>,
    ) -> Result<(Vec<Target>, Vec<Apply>)> {
        let applies = RefCell::new(Vec::new());
        let ctx = env.ctx(scope, Clause::Returning, &applies);
        let mut targets = self.targets(items, &ctx)?;
        for target in &mut targets {
            if target.typed.is_unknown() {
                target.typed = self.coerce(target.typed.clone(), PgType::TEXT)?;
            }
            if target.typed.kind == super::Kind::Set {
                return Err(super::typed::set_not_allowed("RETURNING").at(target.typed.position));
            }
        }
        Ok((targets, applies.into_inner()))
    }
}

fn columns_of(targets: Vec<Target>) -> Vec<Column> {
    targets.into_iter().map(Target::into_column).collect()
}

/// What names the rows that an UPDATE or DELETE is about: the target's key and stored bytes, then the keys of the other
/// tables' rows that it has been joined with. The expressions, and the scans of the others.
fn row_identity(target: &Relation, scope: &Scope) -> (Vec<Expr>, Vec<u32>) {
    let mut exprs = [providers::KEY_COLUMN, providers::ROW_COLUMN].map(|name| target.hidden(name).alias(name)).to_vec();
    let mut marks = Vec::new();
    for (relation, base) in scope.relations.iter().skip(1).filter_map(|r| Some((r, r.base?))) {
        exprs.push(relation.hidden(providers::KEY_COLUMN).alias(format!("other#{}", base.mark)));
        marks.push(base.mark);
    }
    (exprs, marks)
}

/// Position of a column among the live ones.
pub(crate) fn live_position(table: &CachedTableData, name: &str) -> Option<usize> {
    table.definition.live_columns().position(|(_, c)| c.name == name)
}

/// The column that an INSERT's list or SET names. What follows a dot would be a field of it, never a column of a table.
pub(super) fn written_column(table: &CachedTableData, name: &ast::ObjectName) -> Result<String> {
    let mut parts = name_parts(name)?.into_iter();
    let column = parts.next().unwrap_or_default();
    if parts.next().is_some() && live_position(table, &column).is_some() {
        return Err(SqlError::unsupported("assigning to a field of a column"));
    }
    Ok(column)
}

pub(super) fn no_column(table: &CachedTableData, name: &str) -> SqlError {
    SqlError::new(
        SqlState::UNDEFINED_COLUMN,
        format!("column \"{name}\" of relation \"{}\" does not exist", table.definition.name),
    )
}

fn wrong_type(column: &ColumnDefinition, ty: PgType) -> SqlError {
    SqlError::new(
        SqlState::DATATYPE_MISMATCH,
        format!(
            "column \"{}\" is of type {} but expression is of type {}",
            column.name,
            column.ty.sql_name(),
            ty.sql_name()
        ),
    )
    .hint("You will need to rewrite or cast the expression.")
}

pub(super) fn check_width(given: usize, wanted: usize, listed: bool) -> Result<()> {
    if given > wanted {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "INSERT has more expressions than target columns"));
    }
    if given < wanted && listed {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "INSERT has more target columns than expressions"));
    }
    Ok(())
}

/// The keyword DEFAULT, which the parser takes for a name.
pub(super) fn is_default(e: &ast::Expr) -> bool {
    matches!(e, ast::Expr::Identifier(i) if i.quote_style.is_none() && i.value.eq_ignore_ascii_case("default"))
}

fn contains_subquery(e: &ast::Expr) -> bool {
    use std::ops::ControlFlow;
    let found = ast::visit_expressions(e, |e| match e {
        ast::Expr::Subquery(_) | ast::Expr::Exists { .. } | ast::Expr::InSubquery { .. } => ControlFlow::Break(()),
        ast::Expr::Function(f) if matches!(f.args, ast::FunctionArguments::Subquery(_)) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

fn refuse_insert_clauses(insert: &ast::Insert) -> Result<()> {
    let refused = [
        (insert.or.is_some() || insert.ignore || insert.overwrite || insert.replace_into, "INSERT OR ..."),
        (insert.partitioned.is_some() || !insert.after_columns.is_empty(), "INSERT ... PARTITION"),
        (!insert.assignments.is_empty(), "INSERT ... SET"),
        (insert.output.is_some(), "INSERT ... OUTPUT"),
    ];
    match refused.iter().find(|(present, _)| *present) {
        Some((_, name)) => Err(SqlError::unsupported(name)),
        None => Ok(()),
    }
}
