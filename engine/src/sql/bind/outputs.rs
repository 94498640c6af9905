//! The select list, DISTINCT, ORDER BY and LIMIT: what stands above FROM, WHERE, groups and windows.

use datafusion::common::Column as DfColumn;
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::Binder;
use super::from::unique_in;
use super::limit::Tail;
use super::locking::Locked;
use super::select::{BoundQuery, Env, SortKey, Target, resolved};
use super::sets::{SetCall, uses};
use crate::sql::Column;
use crate::sql::ordered::OrderedNode;
use crate::sql::plan::{columns_of, planning};

/// What a SELECT gives, above its FROM, WHERE, groups and windows.
pub(super) struct Outputs {
    pub(super) targets: Vec<Target>,
    pub(super) keys: Vec<(SortKey, Sort)>,
    /// Set-returning functions of the select list.
    pub(super) sets: Vec<SetCall>,
    pub(super) distinct: bool,
    pub(super) distinct_on: Option<Vec<Expr>>,
    pub(super) locked: Vec<Locked>,
}

impl Outputs {
    /// True if something has to be evaluated in ORDER BY's order: volatile functions, and sets unless one is sorted by
    /// (planner.c, make_sort_input_target).
    pub(super) fn come_late(&self, tail: &Tail<'_>) -> bool {
        if self.keys.is_empty() || self.distinct || tail.ties {
            return false;
        }
        let sets: Vec<String> = self.sets.iter().map(|s| s.column.clone()).collect();
        let by: Vec<usize> = self.keys.iter().filter_map(|(key, _)| key.output()).collect();
        let by_set = |key: &SortKey| match key {
            SortKey::Output(i) => uses(&self.targets[*i].typed.expr, &sets),
            SortKey::Expr(expr) => uses(expr, &sets),
        };
        let volatile = |(at, target): (usize, &Target)| !by.contains(&at) && target.typed.expr.is_volatile();
        let late = !sets.is_empty() || self.targets.iter().enumerate().any(volatile);
        late && !self.keys.iter().any(|(key, _)| by_set(key))
    }
}

impl Binder<'_> {
    /// Final projection with hidden sort keys, set-returning functions, DISTINCT, ORDER BY, LIMIT.
    pub(super) fn project(
        &mut self,
        plan: LogicalPlan,
        outputs: Outputs,
        tail: Tail<'_>,
        env: Env<'_>,
    ) -> Result<BoundQuery> {
        let Outputs { targets, keys, sets, distinct, distinct_on, locked } = outputs;
        let plan = self.attach_sets(plan, sets)?;
        let (mut names, mut exprs) = named(&targets);
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
        let first_locked = exprs.len();
        for key in locked.iter().map(|l| l.key.clone()) {
            let name = unique_in(&names, "locked row");
            exprs.push(key.alias(&name));
            names.push(name);
        }
        let mut plan = planning(LogicalPlanBuilder::from(plan).project(exprs).and_then(|b| b.build()))?;
        let columns = columns_as_shown(&targets);
        if distinct {
            let types: Vec<PgType> = columns.iter().map(|c| resolved(c.ty)).collect();
            plan = self.distinct(plan, &types)?;
        }
        if distinct_on.is_some() {
            plan = first_of_each(plan, on, sorts.clone())?;
        }
        let locked = (!locked.is_empty()).then_some((locked, first_locked));
        plan = self.sort_and_limit(plan, sorts, tail, env, locked)?;
        if plan.schema().fields().len() > visible {
            let keep = names[..visible].iter().map(|n| Expr::Column(DfColumn::new_unqualified(n.clone())));
            plan = planning(LogicalPlanBuilder::from(plan).project(keep).and_then(|b| b.build()))?;
        }
        let kinds = targets.into_iter().map(|t| t.typed.kind).collect();
        Ok(BoundQuery { plan, columns, kinds, simple: None })
    }

    /// The same if [`Outputs::come_late`]: the final projection stands above ORDER BY and below LIMIT.
    pub(super) fn project_late(
        &mut self,
        plan: LogicalPlan,
        outputs: Outputs,
        tail: Tail<'_>,
        env: Env<'_>,
    ) -> Result<BoundQuery> {
        let Outputs { mut targets, keys, sets, distinct: _, distinct_on, locked } = outputs;
        let mut exprs = columns_of(&plan);
        let mut sorts = Vec::with_capacity(keys.len());
        for (key, sort) in keys {
            let name = self.unique("sort key");
            let column = Expr::Column(DfColumn::new_unqualified(name.clone()));
            let by = match key {
                SortKey::Output(i) => {
                    let target = &mut targets[i].typed;
                    exprs.push(std::mem::replace(&mut target.expr, column.clone()).alias(&name));
                    self.sort_key(column, resolved(target.ty))?
                }
                SortKey::Expr(expr) => {
                    exprs.push(expr.alias(&name));
                    column
                }
            };
            sorts.push(Sort::new(by, sort.asc, sort.nulls_first));
        }
        let mut on = Vec::new();
        for key in distinct_on.iter().flatten() {
            let name = self.unique("distinct key");
            exprs.push(key.clone().alias(&name));
            on.push(Expr::Column(DfColumn::new_unqualified(name)));
        }
        let first_locked = exprs.len();
        for locked in &locked {
            exprs.push(locked.key.clone().alias(self.unique("locked row")));
        }
        let mut plan = planning(LogicalPlanBuilder::from(plan).project(exprs).and_then(|b| b.build()))?;
        if distinct_on.is_some() {
            plan = first_of_each(plan, on, sorts.clone())?;
        }
        let locked = (!locked.is_empty()).then_some((locked, first_locked));
        plan = self.sort_and_lock(plan, sorts, tail, locked)?;
        if !sets.is_empty() {
            plan = self.attach_sets(OrderedNode::plan(plan), sets)?;
        }
        let (_, shown) = named(&targets);
        plan = planning(LogicalPlanBuilder::from(plan).project(shown).and_then(|b| b.build()))?;
        plan = self.sort_and_limit(plan, Vec::new(), tail, env, None)?;
        let columns = columns_as_shown(&targets);
        let kinds = targets.into_iter().map(|t| t.typed.kind).collect();
        Ok(BoundQuery { plan, columns, kinds, simple: None })
    }
}

/// What is shown, each under a name of its own.
fn named(targets: &[Target]) -> (Vec<String>, Vec<Expr>) {
    let mut names: Vec<String> = Vec::with_capacity(targets.len());
    let mut exprs = Vec::with_capacity(targets.len());
    for target in targets {
        let name = unique_in(&names, &target.name);
        exprs.push(target.typed.expr.clone().alias(&name));
        names.push(name);
    }
    (names, exprs)
}

fn columns_as_shown(targets: &[Target]) -> Vec<Column> {
    let shown = |t: &Target| Column {
        name: t.name.clone(),
        ty: t.typed.ty,
        typmod: t.typed.typmod,
        table: t.table,
        attribute: t.attribute,
    };
    targets.iter().map(shown).collect()
}

/// DISTINCT ON: the first row of each group in ORDER BY's order.
fn first_of_each(plan: LogicalPlan, on: Vec<Expr>, sorts: Vec<Sort>) -> Result<LogicalPlan> {
    use datafusion::logical_expr::WindowFunctionDefinition;
    use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
    let number = Expr::WindowFunction(Box::new(WindowFunction {
        fun: WindowFunctionDefinition::WindowUDF(datafusion::functions_window::row_number::row_number_udwf()),
        params: WindowFunctionParams {
            args: Vec::new(),
            partition_by: on,
            window_frame: super::limit::up_to_here(),
            order_by: sorts,
            filter: None,
            null_treatment: None,
            distinct: false,
        },
    }));
    let name = number.schema_name().to_string();
    let first = Expr::Column(DfColumn::new_unqualified(name)).eq(datafusion::logical_expr::lit(1u64));
    let keep: Vec<Expr> = columns_of(&plan);
    let plan = planning(LogicalPlanBuilder::window_plan(plan, vec![number]))?;
    planning(LogicalPlanBuilder::from(plan).filter(first).and_then(|b| b.project(keep)).and_then(|b| b.build()))
}
