//! MERGE (manual, MERGE): the source left-joined with the target, and for each row what is to be done.
//!
//! The plan's columns: the target's key and stored bytes, the number of the action (-1: none), the keys of the source's tables, and
//! the new value of every live column where the action has some.

use std::cell::RefCell;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Case, Expr, JoinType, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::sql::sqlparser::ast;
use kalamdb_catalog::{CachedTableData, ColumnDefinition, Result, SqlError, SqlState};

use super::defaults::{Overriding, overriding_of, takes_value};
use super::dml::{BoundDml, DmlKind, check_width, is_default};
use super::scope::{Clause, Relation, Scope};
use super::select::Env;
use super::subquery::Apply;
use super::typed::Typed;
use super::{Binder, name_parts};
use crate::providers;
use crate::sql::plan::{columns_of, planning};

/// The column that the parser makes of DO NOTHING, and of INSERT DEFAULT VALUES.
pub(crate) const MERGE_NOTHING: &str = "#nothing";
pub(crate) const MERGE_DEFAULTS: &str = "#defaults";

/// What is done with a row of the join.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MergeAction {
    Update,
    Delete,
    Insert,
    Nothing,
}

/// A WHEN clause as it is bound.
struct When {
    matched: bool,
    condition: Option<Expr>,
    action: MergeAction,
    /// One for each live column.
    values: Vec<Expr>,
    /// The subqueries of both.
    of_condition: Vec<Apply>,
    of_values: Vec<Apply>,
}

impl Binder<'_> {
    pub(crate) fn merge(&mut self, merge: &ast::Merge) -> Result<BoundDml> {
        let ast::TableFactor::Table { name, alias, .. } = &merge.table else {
            return Err(SqlError::unsupported("MERGE into something other than a table"));
        };
        refuse_clauses(merge)?;
        let table = self.target_table(name, "merge into")?;
        let outer = RefCell::new(Vec::new());
        let env = Env { parent: None, outer: &outer };
        let source = ast::TableWithJoins { relation: merge.source.clone(), joins: Vec::new() };
        let source = self.relations_of(std::slice::from_ref(&source), env)?;
        let target = self.target_item(&table, alias.as_ref())?;
        let relation = target.scope.relations[0].clone();
        if source.scope.relations.iter().any(|r| r.named && r.name == relation.name) {
            let message = format!("name \"{}\" specified more than once", relation.name);
            return Err(SqlError::new(SqlState::DUPLICATE_ALIAS, message)
                .detail("The name is used both as MERGE target table and data source."));
        }
        let mut both = target.scope;
        both.extend(source.scope.clone());
        let of_on = RefCell::new(Vec::new());
        let on = self.expr(&merge.on, &env.ctx(&both, Clause::JoinOn, &of_on))?;
        let on = self.boolean(on, "JOIN/ON")?;
        let of_on = of_on.into_inner();
        let mut whens = Vec::with_capacity(merge.clauses.len());
        for clause in &merge.clauses {
            whens.push(self.when(clause, &table, &relation, (&both, &source.scope), env)?);
        }
        check_reachable(&whens)?;
        let plan = if of_on.is_empty() {
            let joined = LogicalPlanBuilder::from(source.plan).join_on(target.plan, JoinType::Left, vec![on]);
            planning(joined.and_then(|b| b.build()))?
        } else {
            let join = self.outer_join_on_subquery(source.plan, target.plan, JoinType::Left, on, of_on, both.clone());
            join?.plan
        };
        let (plan, others) = self.merge_plan(plan, &relation, &source.scope, &table, &mut whens)?;
        Ok(BoundDml {
            kind: DmlKind::Merge,
            plan,
            mark: relation.base.map_or(0, |b| b.mark),
            others,
            returning: None,
            conflict: None,
            simple: None,
            actions: whens.iter().map(|w| w.action).collect(),
            table,
        })
    }

    fn when(
        &mut self,
        clause: &ast::MergeClause,
        table: &Arc<CachedTableData>,
        target: &Relation,
        (both, source): (&Scope, &Scope),
        env: Env<'_>,
    ) -> Result<When> {
        let matched = match clause.clause_kind {
            ast::MergeClauseKind::Matched => true,
            ast::MergeClauseKind::NotMatched => false,
            _ => return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \"BY\"")),
        };
        let scope = if matched { both } else { source };
        let (of_condition, of_values) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let condition = match &clause.predicate {
            Some(e) => {
                let condition = self.expr(e, &env.ctx(scope, Clause::MergeWhen, &of_condition))?;
                Some(self.boolean(condition, "WHEN")?)
            }
            None => None,
        };
        let columns: Vec<ColumnDefinition> = table.definition.live_columns().map(|(_, c)| c.clone()).collect();
        let ctx = env.ctx(scope, Clause::UpdateSet, &of_values);
        let (action, values) = match &clause.action {
            ast::MergeAction::Delete { .. } => (MergeAction::Delete, Vec::new()),
            ast::MergeAction::Update(update) if assigns_nothing(&update.assignments) => {
                (MergeAction::Nothing, Vec::new())
            }
            ast::MergeAction::Update(update) => {
                (MergeAction::Update, self.assignments(&update.assignments, table, &columns, target, &ctx)?)
            }
            ast::MergeAction::Insert(insert) => {
                self.merge_insert(insert, table, &columns, &env.ctx(scope, Clause::Values, &of_values))?
            }
        };
        let (of_condition, of_values) = (of_condition.into_inner(), of_values.into_inner());
        Ok(When { matched, condition, action, values, of_condition, of_values })
    }

    fn merge_insert(
        &mut self,
        insert: &ast::MergeInsertExpr,
        table: &CachedTableData,
        columns: &[ColumnDefinition],
        ctx: &super::scope::Ctx<'_>,
    ) -> Result<(MergeAction, Vec<Expr>)> {
        if let [only] = insert.columns.as_slice() {
            match name_parts(only)?.last().map(String::as_str) {
                Some(MERGE_NOTHING) => return Ok((MergeAction::Nothing, Vec::new())),
                Some(MERGE_DEFAULTS) => return self.merge_row(columns, Vec::new()),
                _ => {}
            }
        }
        let ast::MergeInsertKind::Values(values) = &insert.kind else {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \"ROW\""));
        };
        let (names, overriding): (_, Overriding) = overriding_of(&insert.columns)?;
        let wanted = self.insert_columns(table, names)?;
        let targets: Vec<usize> = wanted.clone().unwrap_or_else(|| (0..columns.len()).collect());
        let [row] = values.rows.as_slice() else {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \",\""));
        };
        check_width(row.content.len(), targets.len(), wanted.is_some())?;
        let mut given = Vec::with_capacity(row.content.len());
        for (e, target) in row.content.iter().zip(&targets) {
            if is_default(e) {
                continue;
            }
            let column = &columns[*target];
            let typed = self.expr(e, ctx)?;
            let value = self.assign_to(typed, column, "VALUES")?;
            if takes_value(column, overriding)? {
                given.push((*target, value));
            }
        }
        self.merge_row(columns, given)
    }

    fn merge_row(
        &mut self,
        columns: &[ColumnDefinition],
        given: Vec<(usize, Typed)>,
    ) -> Result<(MergeAction, Vec<Expr>)> {
        let row = self.complete_row(columns, given)?;
        Ok((MergeAction::Insert, row.into_iter().map(|t| t.expr).collect()))
    }

    /// The join, the action's number, and then what the action needs.
    fn merge_plan(
        &mut self,
        joined: LogicalPlan,
        target: &Relation,
        source: &Scope,
        table: &CachedTableData,
        whens: &mut [When],
    ) -> Result<(LogicalPlan, Vec<u32>)> {
        const ACTION: &str = "#action";
        let key = target.hidden(providers::KEY_COLUMN);
        // A subquery runs for the rows that its clause is about, and no others.
        let mut joined = joined;
        for when in whens.iter_mut() {
            let about = if when.matched { key.clone().is_not_null() } else { key.clone().is_null() };
            Self::only_where(&about, &mut when.of_condition);
            joined = self.attach(joined, std::mem::take(&mut when.of_condition))?;
        }
        let chosen = |matched: bool| {
            let numbered = whens.iter().enumerate().filter(|(_, w)| w.matched == matched);
            let pairs = numbered.map(|(i, w)| {
                let condition = w.condition.clone().unwrap_or_else(|| lit(true));
                (Box::new(condition), Box::new(lit(i as i32)))
            });
            case(pairs.collect(), lit(-1i32))
        };
        let action = case(vec![(Box::new(key.clone().is_not_null()), Box::new(chosen(true)))], chosen(false));
        let mut exprs = columns_of(&joined);
        exprs.push(action.alias(ACTION));
        let mut plan = planning(LogicalPlanBuilder::from(joined).project(exprs).and_then(|b| b.build()))?;
        let number = Expr::Column(datafusion::common::Column::new_unqualified(ACTION));
        for (i, when) in whens.iter_mut().enumerate() {
            let chosen = number.clone().eq(lit(i as i32));
            Self::only_where(&chosen, &mut when.of_values);
            plan = self.attach(plan, std::mem::take(&mut when.of_values))?;
        }
        let mut exprs = vec![
            key.alias(providers::KEY_COLUMN),
            target.hidden(providers::ROW_COLUMN).alias(providers::ROW_COLUMN),
            number.clone().alias(ACTION),
        ];
        let mut marks = Vec::new();
        for (relation, base) in source.relations.iter().filter_map(|r| Some((r, r.base?))) {
            exprs.push(relation.hidden(providers::KEY_COLUMN).alias(format!("other#{}", base.mark)));
            marks.push(base.mark);
        }
        for (live, (_, column)) in table.definition.live_columns().enumerate() {
            let with_values = whens.iter().enumerate().filter(|(_, w)| !w.values.is_empty());
            let pairs = with_values
                .map(|(i, w)| (Box::new(number.clone().eq(lit(i as i32))), Box::new(w.values[live].clone())));
            let pairs: Vec<_> = pairs.collect();
            let null = ScalarValue::try_from(&column.ty.arrow());
            let null = Expr::Literal(planning(null)?, None);
            exprs.push(if pairs.is_empty() { null } else { case(pairs, null) }.alias(format!("new#{live}")));
        }
        let plan = planning(LogicalPlanBuilder::from(plan).project(exprs).and_then(|b| b.build()))?;
        let plan = self.generated(plan, &table.definition, MERGE_IDENTITY + marks.len())?;
        Ok((plan, marks))
    }
}

/// Columns of the plan in front of the keys of the source's tables: key, row, action.
pub(crate) const MERGE_IDENTITY: usize = 3;

fn case(pairs: Vec<(Box<Expr>, Box<Expr>)>, otherwise: Expr) -> Expr {
    if pairs.is_empty() {
        return otherwise;
    }
    Expr::Case(Case::new(None, pairs, Some(Box::new(otherwise))))
}

/// What other systems' MERGE has and PostgreSQL's grammar does not.
fn refuse_clauses(merge: &ast::Merge) -> Result<()> {
    let near = |what: &str| {
        let message = format!("syntax error at or near \"{what}\"");
        Err(SqlError::new(SqlState::SYNTAX_ERROR, message))
    };
    if !merge.into {
        return near(&merge.table.to_string());
    }
    if merge.clauses.is_empty() {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at end of input"));
    }
    if merge.output.is_some() {
        return near("RETURNING");
    }
    for clause in &merge.clauses {
        let refused = match &clause.action {
            ast::MergeAction::Update(u) => u.update_predicate.is_some() || u.delete_predicate.is_some(),
            ast::MergeAction::Insert(i) => i.insert_predicate.is_some(),
            ast::MergeAction::Delete { .. } => false,
        };
        if refused {
            return near("WHERE");
        }
    }
    Ok(())
}

fn assigns_nothing(assignments: &[ast::Assignment]) -> bool {
    matches!(assignments, [only] if only.target.to_string().trim_matches('"') == MERGE_NOTHING)
}

/// 42601 for a clause behind one that takes all there is.
fn check_reachable(whens: &[When]) -> Result<()> {
    for matched in [true, false] {
        let mut clauses = whens.iter().filter(|w| w.matched == matched);
        if clauses.any(|w| w.condition.is_none()) && clauses.next().is_some() {
            let message = "unreachable WHEN clause specified after unconditional WHEN clause";
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
        }
    }
    Ok(())
}
