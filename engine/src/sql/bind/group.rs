//! GROUP BY, aggregates and HAVING.

use std::sync::Arc;

use datafusion::common::Column as DfColumn;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::{AggregateFunction, Case, GroupingSet};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast;
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::scope::{Ctx, Scope};
use super::select::Target;
use super::typed::Typed;
use super::{Binder, fold};
use crate::sql::compare;
use crate::sql::plan::{columns_of, planning};

/// The most grouping sets of one query (PostgreSQL's own limit).
const GROUPING_SETS_MAX: usize = 4096;

/// GROUP BY: expressions, and with ROLLUP and the like the sets of them (by index) to group by.
pub(super) struct Groups {
    exprs: Vec<Typed>,
    sets: Option<Vec<Vec<usize>>>,
}

impl Groups {
    /// True if a group is made of this column of a subquery or a set.
    pub(super) fn uses(&self, column: &str) -> bool {
        let wanted = Expr::Column(DfColumn::new_unqualified(column));
        self.exprs.iter().any(|g| g.expr.exists(|e| Ok(*e == wanted)).unwrap_or(false))
    }
}

impl Binder<'_> {
    /// None without GROUP BY.
    pub(super) fn group_by(
        &mut self,
        by: &ast::GroupByExpr,
        targets: &[Target],
        ctx: &Ctx<'_>,
    ) -> Result<Option<Groups>> {
        let items = match by {
            ast::GroupByExpr::Expressions(items, modifiers) if modifiers.is_empty() => items,
            ast::GroupByExpr::All(_) => return Err(SqlError::unsupported("GROUP BY ALL")),
            ast::GroupByExpr::Expressions(..) => return Err(SqlError::unsupported("GROUP BY ... WITH")),
        };
        if items.is_empty() {
            return Ok(None);
        }
        let mut groups = Groups { exprs: Vec::new(), sets: None };
        let mut product: Vec<Vec<usize>> = vec![Vec::new()];
        let mut has_sets = false;
        for item in items {
            let sets = match item {
                ast::Expr::Rollup(parts) => {
                    let parts = self.group_parts(parts, &mut groups, targets, ctx)?;
                    (0..=parts.len()).rev().map(|n| parts[..n].concat()).collect()
                }
                ast::Expr::Cube(parts) => {
                    let parts = self.group_parts(parts, &mut groups, targets, ctx)?;
                    cube(&parts)?
                }
                ast::Expr::GroupingSets(parts) => self.group_parts(parts, &mut groups, targets, ctx)?,
                ast::Expr::Tuple(parts) if parts.is_empty() => vec![Vec::new()],
                ast::Expr::Tuple(parts) => {
                    let part = self.group_part(parts, &mut groups, targets, ctx)?;
                    for set in &mut product {
                        set.extend(&part);
                    }
                    continue;
                }
                plain => {
                    let index = self.group_item(plain, &mut groups, targets, ctx)?;
                    for set in &mut product {
                        set.push(index);
                    }
                    continue;
                }
            };
            has_sets = true;
            product = product.iter().flat_map(|p| sets.iter().map(move |s| [p.as_slice(), s].concat())).collect();
            if product.len() > GROUPING_SETS_MAX {
                return Err(SqlError::new(
                    SqlState::STATEMENT_TOO_COMPLEX,
                    format!("too many grouping sets present (maximum {GROUPING_SETS_MAX})"),
                ));
            }
        }
        if has_sets || product[0].is_empty() {
            for set in &mut product {
                set.sort_unstable();
                set.dedup();
            }
            if has_sets {
                groups.sets = Some(product);
            }
        }
        Ok(Some(groups))
    }

    fn group_parts(
        &mut self,
        parts: &[Vec<ast::Expr>],
        groups: &mut Groups,
        targets: &[Target],
        ctx: &Ctx<'_>,
    ) -> Result<Vec<Vec<usize>>> {
        parts.iter().map(|part| self.group_part(part, groups, targets, ctx)).collect()
    }

    fn group_part(
        &mut self,
        part: &[ast::Expr],
        groups: &mut Groups,
        targets: &[Target],
        ctx: &Ctx<'_>,
    ) -> Result<Vec<usize>> {
        part.iter().map(|e| self.group_item(e, groups, targets, ctx)).collect()
    }

    fn group_item(&mut self, e: &ast::Expr, groups: &mut Groups, targets: &[Target], ctx: &Ctx<'_>) -> Result<usize> {
        // A bare name is an input column before it is an output column.
        let input = match e {
            ast::Expr::Identifier(ident) => ctx.scope.find(&fold(ident)).ok().flatten().is_some(),
            _ => false,
        };
        let typed = match if input { None } else { self.output_reference(e, targets, "GROUP BY")? } {
            Some(i) => {
                let target = &targets[i].typed;
                if contains_aggregate(&target.expr) {
                    return Err(SqlError::new(
                        SqlState::GROUPING_ERROR,
                        "aggregate functions are not allowed in GROUP BY",
                    )
                    .at(target.position));
                }
                target.clone()
            }
            None => self.expr(e, ctx)?,
        };
        let typed = self.single(typed)?;
        let typed = if typed.is_unknown() { self.coerce(typed, PgType::TEXT)? } else { typed };
        if !compare::comparable(typed.ty, datafusion::logical_expr::Operator::Eq) {
            return Err(SqlError::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("could not identify an equality operator for type {}", typed.ty.sql_name()),
            )
            .at(typed.position));
        }
        if let Some(known) = groups.exprs.iter().position(|g| g.expr == typed.expr) {
            return Ok(known);
        }
        groups.exprs.push(typed);
        Ok(groups.exprs.len() - 1)
    }

    /// Puts the aggregate node over `plan` and rewrites what stands above it to its columns.
    pub(super) fn aggregate(
        &mut self,
        plan: LogicalPlan,
        groups: Option<Groups>,
        scope: &Scope,
        above: Vec<&mut Expr>,
    ) -> Result<LogicalPlan> {
        let mut groups = groups.unwrap_or(Groups { exprs: Vec::new(), sets: None });
        self.add_dependent_columns(&mut groups, scope, &above);

        let mut calls: Vec<Expr> = Vec::new();
        for e in &above {
            let _ = e.apply(|e| {
                if matches!(e, Expr::AggregateFunction(_)) {
                    if !calls.contains(e) {
                        calls.push(e.clone());
                    }
                    return Ok(TreeNodeRecursion::Jump);
                }
                Ok(TreeNodeRecursion::Continue)
            });
        }
        let mut stage = Stage::default();
        for (i, group) in groups.exprs.iter().enumerate() {
            self.stage_group(&mut stage, i, group, groups.sets.is_some())?;
        }
        for (i, call) in calls.into_iter().enumerate() {
            let name = format!("agg__{i}");
            stage
                .aggregates
                .push(grouping_of_keys(&call, &groups.exprs, &stage.keys, groups.sets.is_some())?.alias(&name));
            stage.rewrites.push((call, Expr::Column(DfColumn::new_unqualified(name))));
        }
        let group_exprs = match &groups.sets {
            None => stage.groups.clone(),
            Some(sets) => {
                let sets = sets.iter().map(|s| s.iter().map(|i| stage.keys[*i].clone()).collect()).collect();
                vec![Expr::GroupingSet(GroupingSet::GroupingSets(sets))]
            }
        };
        // DataFusion asks for at least one column.
        if group_exprs.is_empty() && stage.aggregates.is_empty() {
            stage.aggregates.push(count_rows().alias("agg__rows"));
        }
        // With grouping sets the keys are columns of a projection, so that every set names them alike.
        let input = if groups.sets.is_some() {
            let mut exprs: Vec<Expr> = columns_of(&plan);
            exprs.extend(stage.groups.iter().cloned());
            planning(LogicalPlanBuilder::from(plan).project(exprs).and_then(|b| b.build()))?
        } else {
            plan
        };
        let rewrites = stage.rewrites;
        let mut plan =
            planning(LogicalPlanBuilder::from(input).aggregate(group_exprs, stage.aggregates).and_then(|b| b.build()))?;
        if groups.sets.is_none() && groups.exprs.is_empty() {
            // One row, whatever the input. The limit says so to DataFusion, which would push a condition without columns
            // (HAVING false, ON NULL) down below the aggregate.
            plan = planning(LogicalPlanBuilder::from(plan).limit(0, Some(1)).and_then(|b| b.build()))?;
        }
        if groups.sets.is_some() {
            // The column that numbers the sets is for the aggregate's own use.
            let internal = datafusion::logical_expr::Aggregate::INTERNAL_GROUPING_ID;
            let shown = plan.schema().iter().filter(|(_, f)| f.name() != internal);
            let shown: Vec<Expr> = shown.map(|(q, f)| Expr::Column(DfColumn::from((q, f)))).collect();
            plan = planning(LogicalPlanBuilder::from(plan).project(shown).and_then(|b| b.build()))?;
        }
        for e in above {
            *e = rewrite(e.clone(), &rewrites)?;
            self.check_grouped(e, &plan, scope)?;
        }
        Ok(plan)
    }

    /// A group whose carrier is no sort key is grouped by its key and shown by its first value.
    fn stage_group(&mut self, stage: &mut Stage, i: usize, group: &Typed, sets: bool) -> Result<()> {
        let name = format!("group__{i}");
        let column = Expr::Column(DfColumn::new_unqualified(name.clone()));
        stage.keys.push(column.clone());
        if compare::sorts_natively(group.ty) {
            if !sets && matches!(group.expr, Expr::Column(_)) {
                stage.groups.push(group.expr.clone());
                stage.rewrites.push((group.expr.clone(), group.expr.clone()));
                return Ok(());
            }
            stage.groups.push(group.expr.clone().alias(&name));
            stage.rewrites.push((group.expr.clone(), column));
            return Ok(());
        }
        let key = self.sort_key(group.expr.clone(), group.ty)?;
        stage.groups.push(key.clone().alias(&name));
        let first = format!("group__{i} value");
        stage.aggregates.push(first_value(group.expr.clone()).alias(&first));
        let shown = Expr::Column(DfColumn::new_unqualified(first));
        // The key of a group left out by a grouping set is NULL, and so is the group.
        let null = Typed::literal(&crate::types::Value::Null, group.ty).expr;
        let missing = Expr::IsNull(Box::new(column.clone()));
        let value = Expr::Case(Case::new(None, vec![(Box::new(missing), Box::new(null))], Some(Box::new(shown))));
        stage.rewrites.push((key, column));
        stage.rewrites.push((group.expr.clone(), value));
        Ok(())
    }

    /// Columns of a table grouped by its whole primary key have one value per group.
    fn add_dependent_columns(&mut self, groups: &mut Groups, scope: &Scope, above: &[&mut Expr]) {
        if groups.sets.is_some() || groups.exprs.is_empty() {
            return;
        }
        let mut used: Vec<DfColumn> = Vec::new();
        for e in above {
            let _ = e.apply(|e| match e {
                Expr::AggregateFunction(_) => Ok(TreeNodeRecursion::Jump),
                e if groups.exprs.iter().any(|g| g.expr == *e) => Ok(TreeNodeRecursion::Jump),
                Expr::Column(c) => {
                    if !used.contains(c) {
                        used.push(c.clone());
                    }
                    Ok(TreeNodeRecursion::Continue)
                }
                _ => Ok(TreeNodeRecursion::Continue),
            });
        }
        for column in used {
            let wanted = Expr::Column(column);
            let relation = scope.relations.iter().find(|r| r.columns.iter().any(|c| c.typed.expr == wanted));
            let Some(relation) = relation else { continue };
            let Some(found) = relation.columns.iter().find(|c| c.typed.expr == wanted) else { continue };
            let table = self.catalog.table(found.table);
            let Some(key) = table.and_then(|t| t.definition.primary_key.as_ref()) else { continue };
            let grouped = |attribute: i16| {
                relation
                    .columns
                    .iter()
                    .any(|c| c.attribute == attribute && groups.exprs.iter().any(|g| g.expr == c.typed.expr))
            };
            if key.columns.iter().all(|i| grouped(*i as i16 + 1)) {
                groups.exprs.push(found.typed.clone());
            }
        }
    }

    /// 42803 for a column that is neither grouped nor aggregated.
    fn check_grouped(&self, e: &Expr, plan: &LogicalPlan, scope: &Scope) -> Result<()> {
        let mut wrong = None;
        let _ = e.apply(|e| {
            if let Expr::Column(c) = e {
                let made_above = ["subquery", super::sets::SET_COLUMN];
                let above = c.relation.is_none() && made_above.iter().any(|n| c.name.starts_with(n));
                if !above && !plan.schema().has_column(c) {
                    wrong = Some(c.clone());
                    return Ok(TreeNodeRecursion::Stop);
                }
            }
            Ok(TreeNodeRecursion::Continue)
        });
        let Some(column) = wrong else { return Ok(()) };
        let wanted = Expr::Column(column.clone());
        let shown = scope
            .relations
            .iter()
            .find_map(|r| {
                let c = r.columns.iter().chain(&r.system).find(|c| c.typed.expr == wanted)?;
                Some(format!("{}.{}", r.name, c.name))
            })
            .unwrap_or(column.name.clone());
        Err(SqlError::new(
            SqlState::GROUPING_ERROR,
            format!("column \"{shown}\" must appear in the GROUP BY clause or be used in an aggregate function"),
        )
        .at(self.positions.get(&column).copied()))
    }
}

/// What the aggregate node is made of, and how expressions above it change.
#[derive(Default)]
struct Stage {
    groups: Vec<Expr>,
    /// The columns of the groups, for grouping sets.
    keys: Vec<Expr>,
    aggregates: Vec<Expr>,
    rewrites: Vec<(Expr, Expr)>,
}

/// GROUPING(...) speaks of the keys as the aggregate node has them; without grouping sets it is 0. Other calls stay.
fn grouping_of_keys(call: &Expr, groups: &[Typed], keys: &[Expr], sets: bool) -> Result<Expr> {
    let Expr::AggregateFunction(function) = call else { return Ok(call.clone()) };
    if function.func.name() != "grouping" {
        return Ok(call.clone());
    }
    let mut function = function.clone();
    for arg in &mut function.params.args {
        let Some(position) = groups.iter().position(|g| g.expr == *arg) else {
            return Err(SqlError::new(
                SqlState::GROUPING_ERROR,
                "arguments to GROUPING must be grouping expressions of the associated query level",
            ));
        };
        if sets {
            *arg = keys[position].clone();
        }
    }
    Ok(Expr::AggregateFunction(function))
}

fn rewrite(e: Expr, rewrites: &[(Expr, Expr)]) -> Result<Expr> {
    let done = e.transform_down(|e| match rewrites.iter().find(|(from, _)| *from == e) {
        Some((_, to)) => Ok(Transformed::new(to.clone(), true, TreeNodeRecursion::Jump)),
        None => Ok(Transformed::no(e)),
    });
    Ok(planning(done)?.data)
}

pub(super) fn contains_aggregate(e: &Expr) -> bool {
    e.exists(|e| Ok(matches!(e, Expr::AggregateFunction(_)))).unwrap_or(false)
}

fn cube(parts: &[Vec<usize>]) -> Result<Vec<Vec<usize>>> {
    if parts.len() > 12 {
        return Err(SqlError::new(SqlState::TOO_MANY_COLUMNS, "CUBE is limited to 12 elements"));
    }
    let n = parts.len();
    Ok((0..1usize << n)
        .rev()
        .map(|mask| (0..n).filter(|i| mask & (1 << (n - 1 - i)) != 0).flat_map(|i| parts[i].iter().copied()).collect())
        .collect())
}

/// Some value of the group; all are equal by the sort key.
pub(super) fn first_value(e: Expr) -> Expr {
    let udf = datafusion::functions_aggregate::first_last::first_value_udaf();
    Expr::AggregateFunction(AggregateFunction::new_udf(udf, vec![e], false, None, vec![], None))
}

fn count_rows() -> Expr {
    let udf: Arc<_> = datafusion::functions_aggregate::count::count_udaf();
    let one = datafusion::logical_expr::lit(1i64);
    Expr::AggregateFunction(AggregateFunction::new_udf(udf, vec![one], false, None, vec![], None))
}
