//! ON CONFLICT of an INSERT (manual, INSERT, "ON CONFLICT Clause").

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{self, ConflictTarget, Ident, OnConflictAction, OnInsert};
use kalamdb_catalog::constraint::ConstraintKind;
use kalamdb_catalog::{CachedTableData, ColumnDefinition, Oid, PgType, Result, SqlError, SqlState, TableDefinition};

use super::row_expr::row_relation;
use super::scope::{Clause, Scope};
use super::select::Env;
use super::subquery::Apply;
use super::typed::placeholder;
use super::{Binder, name_parts, name_span};
use crate::sql::parse;
use crate::sql::plan::planning;

/// What an INSERT does about a row whose key is taken.
#[derive(Clone, Debug)]
pub(crate) struct BoundConflict {
    /// The unique indexes in which a conflict counts; None: all of them.
    pub arbiters: Option<Vec<Oid>>,
    /// None: DO NOTHING.
    pub update: Option<ConflictUpdate>,
    /// RETURNING, over the columns `new#i` of the row as it is then.
    pub returning: Vec<Expr>,
}

/// DO UPDATE, over the columns of the row that is there and of the one that was to be inserted ([`conflict_schema`]).
#[derive(Clone, Debug)]
pub(crate) struct ConflictUpdate {
    /// The new value of every live column.
    pub values: Vec<Expr>,
    pub filter: Option<Expr>,
    /// With subqueries it is a query instead: one row of the new values, or none, with placeholders of the columns' names for
    /// both rows.
    pub query: Option<LogicalPlan>,
}

/// The names of the columns that DO UPDATE is computed from.
pub(crate) fn column_name(excluded: bool, live: usize) -> String {
    format!("{}#{live}", if excluded { "excluded" } else { "target" })
}

/// The row that is there, then the one that was to be inserted.
pub(crate) fn conflict_schema(types: &[PgType]) -> Result<DFSchema> {
    let fields =
        |excluded| types.iter().enumerate().map(move |(i, ty)| Field::new(column_name(excluded, i), ty.arrow(), true));
    planning(DFSchema::try_from(Schema::new(fields(false).chain(fields(true)).collect::<Vec<_>>())))
}

/// The columns of a row as RETURNING of an ON CONFLICT sees them.
pub(crate) fn new_row_schema(types: &[PgType]) -> Result<DFSchema> {
    let fields = types.iter().enumerate().map(|(i, ty)| Field::new(format!("new#{i}"), ty.arrow(), true));
    planning(DFSchema::try_from(Schema::new(fields.collect::<Vec<_>>())))
}

/// What ON CONFLICT (...) WHERE ... infers an index from.
struct Inference {
    items: Vec<ast::Expr>,
    predicate: Option<ast::Expr>,
}

/// The grammar takes names only: what is more than a name has been made one by `parse`, with its text in it.
fn inference(names: &[Ident]) -> Result<Inference> {
    let mut found = Inference { items: Vec::new(), predicate: None };
    for name in names {
        match (name.value.strip_prefix(EXPRESSION_MARK), name.value.strip_prefix(PREDICATE_MARK)) {
            (Some(sql), _) => found.items.push(parse::expression(sql)?),
            (_, Some(sql)) => found.predicate = Some(parse::expression(sql)?),
            _ => found.items.push(ast::Expr::Identifier(name.clone())),
        }
    }
    Ok(found)
}

/// In front of the text of an expression, and of a predicate, in a conflict target.
pub(crate) const EXPRESSION_MARK: &str = "#expression ";
pub(crate) const PREDICATE_MARK: &str = "#where ";

/// True if a condition certainly holds where another does: it is one of its parts.
pub(crate) fn implies(given: &Expr, needed: &Expr) -> bool {
    let parts = split_conjunction(given);
    split_conjunction(needed).iter().all(|n| parts.contains(n))
}

pub(crate) fn deferrable_arbiter() -> SqlError {
    SqlError::new(
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        "ON CONFLICT does not support deferrable unique constraints/exclusion constraints as arbiters",
    )
}

impl Binder<'_> {
    /// Binds the clause of an INSERT into `table`, which may be called `alias`.
    pub(super) fn conflict(
        &mut self,
        table: &Arc<CachedTableData>,
        alias: Option<&str>,
        on: &OnInsert,
    ) -> Result<BoundConflict> {
        let OnInsert::OnConflict(clause) = on else {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \"DUPLICATE\""));
        };
        let arbiters = match &clause.conflict_target {
            Some(target) => Some(self.arbiters(table, target)?),
            None => None,
        };
        let update = match &clause.action {
            OnConflictAction::DoNothing => None,
            OnConflictAction::DoUpdate(_) if clause.conflict_target.is_none() => {
                let message = "ON CONFLICT DO UPDATE requires inference specification or constraint name";
                return Err(
                    SqlError::new(SqlState::SYNTAX_ERROR, message).hint("For example, ON CONFLICT (column_name).")
                );
            }
            OnConflictAction::DoUpdate(update) => Some(self.conflict_update(table, alias, update)?),
        };
        Ok(BoundConflict { arbiters, update, returning: Vec::new() })
    }

    /// The indexes that a conflict target means: 42P10 for columns, 42704 for a constraint, that are not unique.
    fn arbiters(&mut self, table: &CachedTableData, target: &ConflictTarget) -> Result<Vec<Oid>> {
        let definition = &table.definition;
        match target {
            ConflictTarget::Columns(names) => self.inferred(definition, names),
            ConflictTarget::OnConstraint(name) => {
                let wanted = name_parts(name)?.pop().unwrap_or_default();
                let found = definition.all_constraints().into_iter().find(|c| c.name == wanted);
                let found = found.ok_or_else(|| {
                    let message = format!("constraint \"{wanted}\" for table \"{}\" does not exist", definition.name);
                    SqlError::new(SqlState::UNDEFINED_OBJECT, message).at(self.position(name_span(name)))
                })?;
                match found.kind {
                    ConstraintKind::Primary(index, _) | ConstraintKind::Unique(index) if !found.deferrable => {
                        Ok(vec![index])
                    }
                    ConstraintKind::Primary(..) | ConstraintKind::Unique(_) => Err(deferrable_arbiter()),
                    ConstraintKind::Check(..) | ConstraintKind::Foreign(_) => Err(SqlError::new(
                        SqlState::WRONG_OBJECT_TYPE,
                        "constraint in ON CONFLICT clause has no associated index",
                    )),
                }
            }
        }
    }

    /// The unique indexes over just these columns and expressions.
    fn inferred(&mut self, table: &TableDefinition, names: &[Ident]) -> Result<Vec<Oid>> {
        let Inference { items, predicate } = inference(names)?;
        let mut wanted: Vec<Expr> = Vec::with_capacity(items.len());
        for item in &items {
            let bound = self.row_expr(table, item, Clause::IndexExpression)?.expr;
            if !wanted.contains(&bound) {
                wanted.push(bound);
            }
        }
        let given = match &predicate {
            Some(predicate) => Some(self.row_condition(table, predicate, Clause::Where)?),
            None => None,
        };
        let mut found = Vec::new();
        let mut deferrable = false;
        for index in table.all_indexes().into_iter().filter(|i| i.unique) {
            let mut keys = Vec::with_capacity(index.columns.len());
            for column in &index.columns {
                keys.push(self.index_key(table, column)?);
            }
            if !keys.iter().all(|k| wanted.contains(k)) || !wanted.iter().all(|w| keys.contains(w)) {
                continue;
            }
            if let Some(predicate) = &index.predicate {
                let needed = self.stored_condition(table, predicate, Clause::IndexPredicate)?;
                if !given.as_ref().is_some_and(|given| implies(given, &needed)) {
                    continue;
                }
            }
            if index.immediate { found.push(index.oid) } else { deferrable = true }
        }
        match (found.is_empty(), deferrable) {
            (false, _) => Ok(found),
            (true, true) => Err(deferrable_arbiter()),
            (true, false) => Err(SqlError::new(
                SqlState::INVALID_COLUMN_REFERENCE,
                "there is no unique or exclusion constraint matching the ON CONFLICT specification",
            )),
        }
    }

    fn conflict_update(
        &mut self,
        table: &Arc<CachedTableData>,
        alias: Option<&str>,
        update: &ast::DoUpdate,
    ) -> Result<ConflictUpdate> {
        let definition = &table.definition;
        let schema = alias.is_none().then(|| self.catalog.schema(definition.schema).map(|s| s.name.clone())).flatten();
        let target =
            row_relation(definition, alias.unwrap_or(&definition.name), schema, |live| column_name(false, live));
        let excluded = row_relation(definition, "excluded", None, |live| column_name(true, live));
        // Both are in sight: a column without a relation's name is ambiguous.
        let columns = target.columns.iter().chain(&excluded.columns).cloned().collect();
        let scope = Scope { relations: vec![target.clone(), excluded], columns };
        let (of_values, of_filter) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let outer = RefCell::new(Vec::new());
        let env = Env { parent: None, outer: &outer };
        let definitions: Vec<ColumnDefinition> = definition.live_columns().map(|(_, c)| c.clone()).collect();
        let ctx = env.ctx(&scope, Clause::UpdateSet, &of_values);
        let values = self.assignments(&update.assignments, table, &definitions, &target, &ctx)?;
        let filter = match &update.selection {
            Some(condition) => {
                let condition = self.expr(condition, &env.ctx(&scope, Clause::Where, &of_filter))?;
                Some(self.boolean(condition, "WHERE")?)
            }
            None => None,
        };
        let (of_values, of_filter) = (of_values.into_inner(), of_filter.into_inner());
        let query = if of_values.is_empty() && of_filter.is_empty() {
            None
        } else {
            let types: Vec<PgType> = definitions.iter().map(|c| c.ty).collect();
            Some(self.conflict_query(&types, (&values, of_values), (filter.as_ref(), of_filter))?)
        };
        Ok(ConflictUpdate { values, filter, query })
    }

    /// What gives the new values where subqueries take part.
    fn conflict_query(
        &mut self,
        types: &[PgType],
        (values, of_values): (&[Expr], Vec<Apply>),
        (filter, of_filter): (Option<&Expr>, Vec<Apply>),
    ) -> Result<LogicalPlan> {
        let named = |excluded| types.iter().enumerate().map(move |(i, ty)| (column_name(excluded, i), *ty));
        let types: HashMap<String, PgType> = named(false).chain(named(true)).collect();
        let given = |e: &Expr| {
            let filled = e.clone().transform_up(|e| match &e {
                Expr::Column(column) => match types.get(&column.name) {
                    Some(ty) => Ok(Transformed::yes(placeholder(format!("${}", column.name), *ty))),
                    None => Ok(Transformed::no(e)),
                },
                _ => Ok(Transformed::no(e)),
            });
            planning(filled).map(|filled| filled.data)
        };
        let over_given = |mut apply: Apply| {
            for outer in &mut apply.outer {
                outer.expr.expr = given(&outer.expr.expr)?;
            }
            Ok(apply)
        };
        let over_all = |applies: Vec<Apply>| applies.into_iter().map(over_given).collect::<Result<Vec<_>>>();
        let mut plan = planning(LogicalPlanBuilder::empty(true).build())?;
        if let Some(filter) = filter {
            plan = self.attach(plan, over_all(of_filter)?)?;
            plan = planning(LogicalPlanBuilder::from(plan).filter(given(filter)?).and_then(|b| b.build()))?;
        }
        plan = self.attach(plan, over_all(of_values)?)?;
        let named = |(i, e): (usize, &Expr)| given(e).map(|e| e.alias(format!("new#{i}")));
        let values = values.iter().enumerate().map(named).collect::<Result<Vec<_>>>()?;
        planning(LogicalPlanBuilder::from(plan).project(values).and_then(|b| b.build()))
    }
}
