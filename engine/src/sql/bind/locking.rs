//! FOR UPDATE, NO KEY UPDATE, SHARE and KEY SHARE of a SELECT (manual, SELECT, "The Locking Clause").

use datafusion::common::Column as DfColumn;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::ast::{self, JoinOperator, LockClause, LockType, NonBlock, TableFactor};
use kalamdb_catalog::{Result, SqlError, SqlState};

use super::scope::{Relation, Scope};
use super::{Binder, fold};
use crate::providers;
use crate::sql::lock_rows::{LockRowsNode, RowMark};
use crate::sql::parse;
use crate::txn::{IfLocked, LockMode};

/// A relation to lock, before its place in a plan is known.
pub(super) struct Locked {
    table: kalamdb_catalog::Oid,
    name: String,
    mark: u32,
    mode: LockMode,
    if_locked: IfLocked,
    /// Its key and its row.
    identity: [Expr; 2],
}

impl Locked {
    /// The columns that the locking needs.
    pub(super) fn columns(&self) -> impl Iterator<Item = Expr> + '_ {
        self.identity.iter().cloned()
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
                relations.extend(scope.relations.iter().filter(|r| r.base.is_some() || is_query(r)));
            }
            let nullable = nullable(select);
            let subqueries = subqueries(select);
            for relation in relations {
                // Locked by the clause that `into_subqueries` has put into it.
                if subqueries.contains(&relation.name) {
                    continue;
                }
                let Some(base) = relation.base else {
                    if self.ctes.iter().any(|c| c.name == relation.name) {
                        let message = format!("{words} cannot be applied to a WITH query");
                        return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
                    }
                    return Err(SqlError::unsupported(format!("{words} of a view or a subquery in FROM")));
                };
                if nullable.contains(&relation.name) {
                    let message = format!("{words} cannot be applied to the nullable side of an outer join");
                    return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
                }
                self.needs_lock_of(base.table, LockMode::RowShare);
                let identity = identity(relation)?;
                match found.iter_mut().find(|l| l.mark == base.mark) {
                    Some(locked) => {
                        locked.mode = locked.mode.max(mode);
                        locked.if_locked = stricter(locked.if_locked, if_locked);
                    }
                    None => {
                        let name =
                            self.catalog.table(base.table).map_or_else(String::new, |t| t.definition.name.clone());
                        found.push(Locked { table: base.table, name, mark: base.mark, mode, if_locked, identity });
                    }
                }
            }
        }
        Ok(found)
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

/// A view or subquery: its tables would be locked too.
fn is_query(relation: &Relation) -> bool {
    relation.simple.is_some()
}

/// The columns that name a row and hold it.
fn identity(relation: &Relation) -> Result<[Expr; 2]> {
    let qualifier = relation.columns.iter().chain(&relation.system).find_map(|c| match &c.typed.expr {
        Expr::Column(c) => c.relation.clone(),
        _ => None,
    });
    let qualifier = qualifier.ok_or_else(|| SqlError::internal("a relation without a column"))?;
    let column = |name| Expr::Column(DfColumn::new(Some(qualifier.clone()), name));
    Ok([column(providers::KEY_COLUMN), column(providers::ROW_COLUMN)])
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

/// The subqueries of FROM.
fn subqueries(select: &ast::Select) -> Vec<String> {
    let factors =
        select.from.iter().flat_map(|f| std::iter::once(&f.relation).chain(f.joins.iter().map(|j| &j.relation)));
    let name = |factor: &TableFactor| match factor {
        TableFactor::Derived { alias: Some(alias), .. } => Some(fold(&alias.name)),
        _ => None,
    };
    factors.filter_map(name).collect()
}

fn visible(factor: &TableFactor) -> Option<String> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. } => Some(fold(&alias.name)),
        TableFactor::Table { name, .. } => name.0.last().and_then(|p| p.as_ident()).map(fold),
        _ => None,
    }
}

/// Puts the locking above a plan whose columns from `first` on are the relations' keys and rows.
pub(super) fn lock_rows(input: LogicalPlan, locked: Vec<Locked>, first: usize, one_by_one: bool) -> LogicalPlan {
    let mark = |(i, l): (usize, Locked)| RowMark {
        table: l.table,
        name: l.name,
        mark: l.mark,
        key: first + 2 * i,
        row: first + 2 * i + 1,
        mode: l.mode,
        if_locked: l.if_locked,
    };
    let marks = locked.into_iter().enumerate().map(mark).collect();
    LockRowsNode { input, marks, one_by_one }.plan()
}
