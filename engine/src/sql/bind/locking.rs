//! FOR UPDATE, NO KEY UPDATE, SHARE and KEY SHARE of a SELECT (manual, SELECT, "The Locking Clause").

use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::ast::{self, JoinOperator, LockClause, LockType, NonBlock, TableFactor};
use kalamdb_catalog::{CachedTableData, Result, SqlError, SqlState};

use super::scope::{BaseScan, Relation, Scope};
use super::{Binder, fold, name_parts};
use crate::providers;
use crate::sql::lock_rows::{LockRowsNode, RowMark};
use crate::sql::parse;
use crate::txn::{IfLocked, LockMode};

/// A relation to lock or to remember, before its place in a plan is known.
pub(super) struct Locked {
    mark: RowMark,
    /// The key of its row.
    pub(super) key: Expr,
}

impl Locked {
    fn new(table: Option<&CachedTableData>, base: BaseScan, relation: &Relation) -> Locked {
        let name = table.map_or_else(String::new, |t| t.definition.name.clone());
        let mark = RowMark { table: base.table, name, mark: base.mark, key: 0, lock: None };
        Locked { mark, key: relation.hidden(providers::KEY_COLUMN) }
    }

    pub(super) fn lock(&self) -> Option<(LockMode, IfLocked)> {
        self.mark.lock
    }
}

/// What a SELECT has that rows cannot be locked through.
pub(super) struct Unlockable {
    pub distinct: bool,
    pub grouped: bool,
    pub having: bool,
    pub aggregated: bool,
    pub windowed: bool,
    pub sets: bool,
}

impl Binder<'_> {
    /// What the locking clauses of a SELECT lock: each stored table of FROM, or those named.
    pub(super) fn locked(
        &mut self,
        clauses: &[LockClause],
        select: &ast::Select,
        scope: &Scope,
        unlockable: &Unlockable,
    ) -> Result<Vec<Locked>> {
        let mut found: Vec<Locked> = Vec::new();
        for clause in clauses {
            let (weaker, names) = clause.of.as_ref().map_or((false, Vec::new()), parse::locked_relations);
            let (mode, words) = strength(clause.lock_type, weaker);
            unlockable.check(words)?;
            self.locking.get_or_insert(words);
            let if_locked = match clause.nonblock {
                None => IfLocked::Wait,
                Some(NonBlock::Nowait) => IfLocked::Fail,
                Some(NonBlock::SkipLocked) => IfLocked::Skip,
            };
            let mut relations: Vec<&Relation> = Vec::new();
            for name in &names {
                relations.push(self.named_relation(name.as_ref(), scope, words)?);
            }
            if names.is_empty() {
                self.refuse_views(select, words)?;
                relations.extend(scope.relations.iter().filter(|r| r.base.is_some()));
            }
            let nullable = nullable(select);
            for relation in relations {
                let Some(base) = relation.base else {
                    // Locked by the clause that `into_subqueries` has put into it.
                    if top_factors(select).any(|f| is_subquery(f, &relation.name)) {
                        continue;
                    }
                    if self.ctes.iter().any(|c| c.name == relation.name) {
                        let message = format!("{words} cannot be applied to a WITH query");
                        return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
                    }
                    return Err(unsupported(words));
                };
                if nullable.contains(&relation.name) {
                    let message = format!("{words} cannot be applied to the nullable side of an outer join");
                    return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
                }
                self.needs_lock_of(base.table, LockMode::RowShare);
                let at = found.iter().position(|l| l.mark.mark == base.mark).unwrap_or_else(|| {
                    found.push(Locked::new(self.catalog.table(base.table).map(|t| &**t), base, relation));
                    found.len() - 1
                });
                let lock = &mut found[at].mark.lock;
                *lock = Some(lock.map_or((mode, if_locked), |(m, i)| (m.max(mode), stricter(i, if_locked))));
            }
        }
        if !found.is_empty() {
            for (relation, base) in scope.relations.iter().filter_map(|r| Some((r, r.base?))) {
                if !found.iter().any(|l| l.mark.mark == base.mark) {
                    found.push(Locked::new(None, base, relation));
                }
            }
        }
        Ok(found)
    }

    /// 0A000 for views and for subqueries inside joins in parentheses: the tables behind them would be locked too.
    fn refuse_views(&self, select: &ast::Select, words: &str) -> Result<()> {
        for item in &select.from {
            for (depth, factor) in factors(item, 0) {
                let hides = match factor {
                    TableFactor::Derived { .. } => depth > 0,
                    TableFactor::Table { name, args: None, .. } => {
                        let parts = name_parts(name)?;
                        let is_cte = matches!(parts.as_slice(), [one] if self.ctes.iter().any(|c| c.name == *one));
                        let view =
                            self.relation(&parts).is_ok_and(|t| t.definition.is_view() && !providers::is_builtin(&t));
                        view && !is_cte
                    }
                    _ => false,
                };
                if hides {
                    return Err(unsupported(words));
                }
            }
        }
        Ok(())
    }

    fn named_relation<'s>(&self, name: Option<&ast::Ident>, scope: &'s Scope, words: &str) -> Result<&'s Relation> {
        let Some(ident) = name else {
            let message = format!("{words} must specify unqualified relation names");
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
        };
        let name = fold(ident);
        let relation = scope.relations.iter().find(|r| r.named && r.name == name);
        relation.ok_or_else(|| {
            let message = format!("relation \"{name}\" in {words} clause not found in FROM clause");
            SqlError::new(SqlState::UNDEFINED_TABLE, message).at(self.position(ident.span))
        })
    }
}

impl Unlockable {
    fn check(&self, words: &str) -> Result<()> {
        let refused = [
            (self.distinct, "DISTINCT clause"),
            (self.grouped, "GROUP BY clause"),
            (self.having, "HAVING clause"),
            (self.aggregated, "aggregate functions"),
            (self.windowed, "window functions"),
            (self.sets, "set-returning functions in the target list"),
        ];
        match refused.iter().find(|(present, _)| *present) {
            Some((_, what)) => {
                let message = format!("{words} is not allowed with {what}");
                Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message))
            }
            None => Ok(()),
        }
    }
}

/// A SELECT whose subqueries in FROM are locked like the query around them; None if there are none to lock.
pub(super) fn into_subqueries(select: &ast::Select, clauses: &[LockClause]) -> Option<ast::Select> {
    let mut changed: Option<ast::Select> = None;
    for (item, from) in select.from.iter().enumerate() {
        let factors = std::iter::once(&from.relation).chain(from.joins.iter().map(|j| &j.relation));
        for (place, factor) in factors.enumerate() {
            let TableFactor::Derived { alias, .. } = factor else { continue };
            let name = alias.as_ref().map(|a| fold(&a.name));
            let clauses: Vec<LockClause> = clauses.iter().filter_map(|c| for_subquery(c, name.as_deref())).collect();
            if clauses.is_empty() {
                continue;
            }
            let from = &mut changed.get_or_insert_with(|| select.clone()).from[item];
            let factor = match place.checked_sub(1) {
                None => &mut from.relation,
                Some(join) => &mut from.joins[join].relation,
            };
            if let TableFactor::Derived { subquery, .. } = factor {
                subquery.locks.extend(clauses);
            }
        }
    }
    changed
}

/// The clause as it is for everything in a subquery of this name; None if it is not about it.
fn for_subquery(clause: &LockClause, name: Option<&str>) -> Option<LockClause> {
    let (weaker, names) = clause.of.as_ref().map_or((false, Vec::new()), parse::locked_relations);
    let named = |i: &Option<ast::Ident>| i.as_ref().is_some_and(|i| Some(fold(i).as_str()) == name);
    (names.is_empty() || names.iter().any(named))
        .then(|| LockClause { of: weaker.then(parse::key_kept), ..clause.clone() })
}

/// The refusal of a locking clause on what is no SELECT.
pub(super) fn not_allowed_with(clause: &LockClause, what: &str) -> SqlError {
    let (weaker, _) = clause.of.as_ref().map_or((false, Vec::new()), parse::locked_relations);
    let (_, words) = strength(clause.lock_type, weaker);
    SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("{words} is not allowed with {what}"))
}

fn strength(kind: LockType, weaker: bool) -> (LockMode, &'static str) {
    match (kind, weaker) {
        (LockType::Update, false) => (LockMode::UPDATE, "FOR UPDATE"),
        (LockType::Update, true) => (LockMode::NO_KEY_UPDATE, "FOR NO KEY UPDATE"),
        (LockType::Share, false) => (LockMode::SHARE, "FOR SHARE"),
        (LockType::Share, true) => (LockMode::KEY_SHARE, "FOR KEY SHARE"),
    }
}

/// Of two clauses on one table NOWAIT wins, then SKIP LOCKED.
fn stricter(a: IfLocked, b: IfLocked) -> IfLocked {
    match (a, b) {
        (IfLocked::Fail, _) | (_, IfLocked::Fail) => IfLocked::Fail,
        (IfLocked::Skip, _) | (_, IfLocked::Skip) => IfLocked::Skip,
        _ => IfLocked::Wait,
    }
}

fn unsupported(words: &str) -> SqlError {
    SqlError::unsupported(format!("{words} of a view or a subquery in FROM"))
}

/// The tables of FROM whose rows an outer join may make up.
fn nullable(select: &ast::Select) -> Vec<String> {
    let mut found = Vec::new();
    for item in &select.from {
        let mut before: Vec<String> = visible(&item.relation).into_iter().collect();
        for join in &item.joins {
            let right = visible(&join.relation);
            match &join.join_operator {
                JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => found.extend(right.clone()),
                JoinOperator::Right(_) | JoinOperator::RightOuter(_) => found.append(&mut before.clone()),
                JoinOperator::FullOuter(_) => {
                    found.append(&mut before.clone());
                    found.extend(right.clone());
                }
                _ => {}
            }
            before.extend(right);
        }
    }
    found
}

/// What FROM lists and joins, outside parentheses.
fn top_factors(select: &ast::Select) -> impl Iterator<Item = &TableFactor> {
    select.from.iter().flat_map(|f| std::iter::once(&f.relation).chain(f.joins.iter().map(|j| &j.relation)))
}

/// All of an item of FROM, with how many parentheses are around it.
fn factors(item: &ast::TableWithJoins, depth: usize) -> Vec<(usize, &TableFactor)> {
    let mut found = Vec::new();
    for factor in std::iter::once(&item.relation).chain(item.joins.iter().map(|j| &j.relation)) {
        match factor {
            TableFactor::NestedJoin { table_with_joins, .. } => found.extend(factors(table_with_joins, depth + 1)),
            factor => found.push((depth, factor)),
        }
    }
    found
}

fn is_subquery(factor: &TableFactor, name: &str) -> bool {
    matches!(factor, TableFactor::Derived { alias: Some(alias), .. } if fold(&alias.name) == name)
}

fn visible(factor: &TableFactor) -> Option<String> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. } => Some(fold(&alias.name)),
        TableFactor::Table { name, .. } => name.0.last().and_then(|p| p.as_ident()).map(fold),
        _ => None,
    }
}

/// Puts the locking above a plan whose columns from `first` on are the relations' keys.
pub(super) fn lock_rows(input: LogicalPlan, locked: Vec<Locked>, first: usize, one_by_one: bool) -> LogicalPlan {
    let marks = locked.into_iter().zip(first..).map(|(l, key)| RowMark { key, ..l.mark }).collect();
    LockRowsNode { input, marks, one_by_one }.plan()
}
