//! What column names mean at a place in a query.

use std::cell::RefCell;
use std::sync::Arc;

use datafusion::common::Column as DfColumn;
use datafusion::logical_expr::Expr;
use kalamdb_catalog::{Oid, Result, SqlError, SqlState};

use super::SimpleSelect;
use super::typed::Typed;

/// A column in sight.
#[derive(Clone, Debug)]
pub(crate) struct ScopeColumn {
    pub name: String,
    pub typed: Typed,
    /// The stored table and attribute it comes from straight, or 0.
    pub table: Oid,
    pub attribute: i16,
}

/// A relation of FROM.
#[derive(Clone, Debug)]
pub(crate) struct Relation {
    /// Alias or table name.
    pub name: String,
    /// The schema, for `schema.table.column`; None once an alias hides it.
    pub schema: Option<String>,
    pub columns: Vec<ScopeColumn>,
    /// System columns: found by name, never by `*`.
    pub system: Vec<ScopeColumn>,
    /// Its name may stand as a whole-row reference or be found by qualification; false for unnamed joins.
    pub named: bool,
    /// A stored table itself, scanned as it is: not a view, a CTE or a subquery.
    pub base: Option<BaseScan>,
    /// What a view or subquery is, if it is a plain SELECT from one stored table: its outputs are `columns`.
    pub simple: Option<Arc<SimpleSelect>>,
}

impl Relation {
    /// A hidden column of the relation's scan: `providers::KEY_COLUMN`, `providers::ROW_COLUMN`.
    pub(super) fn hidden(&self, name: &str) -> Expr {
        let qualifier = self.columns.iter().chain(&self.system).find_map(|c| match &c.typed.expr {
            Expr::Column(c) => c.relation.clone(),
            _ => None,
        });
        Expr::Column(DfColumn::new(qualifier, name))
    }
}

/// The scan of a stored table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BaseScan {
    pub table: Oid,
    /// Its number in the statement: see `providers::source`.
    pub mark: u32,
}

/// The FROM list: relations for qualified names, and the columns that `*` and bare names see (JOIN USING merges some).
#[derive(Clone, Default, Debug)]
pub(crate) struct Scope {
    pub relations: Vec<Relation>,
    pub columns: Vec<ScopeColumn>,
}

/// A scope inside the scopes around it.
pub(crate) struct Ctx<'s> {
    pub scope: &'s Scope,
    pub parent: Option<&'s Ctx<'s>>,
    /// The clause, for error messages: "WHERE", "GROUP BY" ...
    pub clause: Clause,
    /// What this level takes from the levels around it (see `subquery`).
    pub outer: &'s RefCell<Vec<OuterRef>>,
    /// Subqueries met while binding, to be joined below the expression's plan node.
    pub applies: &'s RefCell<Vec<super::subquery::Apply>>,
    /// True inside the argument of an aggregate.
    pub in_aggregate: bool,
}

/// A value handed into a subquery for each row of the query around it.
#[derive(Clone, Debug)]
pub(crate) struct OuterRef {
    pub id: String,
    /// The expression in the query around.
    pub expr: Typed,
}

/// The clause an expression stands in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Clause {
    Select,
    Where,
    /// A conjunct of WHERE itself, not something inside one: NULL counts as false there.
    Conjunct,
    GroupBy,
    Having,
    OrderBy,
    JoinOn,
    From,
    Values,
    Limit,
    Offset,
    Default,
    Returning,
    UpdateSet,
    Filter,
    Window,
    /// WHERE of COPY FROM
    CopyWhere,
    /// WHEN ... AND of MERGE
    MergeWhen,
    Check,
    /// GENERATED ALWAYS AS
    Generated,
    IndexExpression,
    IndexPredicate,
}

impl Clause {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Clause::Select => "SELECT",
            Clause::Where | Clause::Conjunct => "WHERE",
            Clause::GroupBy => "GROUP BY",
            Clause::Having => "HAVING",
            Clause::OrderBy => "ORDER BY",
            Clause::JoinOn => "JOIN conditions",
            Clause::From => "functions in FROM",
            Clause::Values => "VALUES",
            Clause::Limit => "LIMIT",
            Clause::Offset => "OFFSET",
            Clause::Default => "DEFAULT expressions",
            Clause::Returning => "RETURNING",
            Clause::UpdateSet => "UPDATE",
            Clause::Filter => "FILTER",
            Clause::Window => "window definitions",
            Clause::CopyWhere => "COPY FROM WHERE conditions",
            Clause::MergeWhen => "MERGE WHEN conditions",
            Clause::Check => "check constraints",
            Clause::Generated => "column generation expressions",
            Clause::IndexExpression => "index expressions",
            Clause::IndexPredicate => "index predicates",
        }
    }

    pub(crate) fn allows_aggregates(self) -> bool {
        matches!(self, Clause::Select | Clause::Having | Clause::OrderBy)
    }

    pub(crate) fn allows_windows(self) -> bool {
        matches!(self, Clause::Select | Clause::OrderBy)
    }
}

impl Scope {
    /// A bare name. Ok(None): not here.
    pub(crate) fn find(&self, name: &str) -> Result<Option<&ScopeColumn>> {
        let mut found = self.columns.iter().filter(|c| c.name == name);
        let first = found.next();
        if first.is_some() && found.next().is_some() {
            return Err(ambiguous(name));
        }
        if first.is_some() {
            return Ok(first);
        }
        let mut system = self.relations.iter().flat_map(|r| r.system.iter()).filter(|c| c.name == name);
        let first = system.next();
        if first.is_some() && system.next().is_some() {
            return Err(ambiguous(name));
        }
        Ok(first)
    }

    /// The relation that `qualifier` names.
    pub(crate) fn relation(&self, schema: Option<&str>, name: &str) -> Result<Option<&Relation>> {
        let matches =
            |r: &&Relation| r.named && r.name == name && schema.is_none_or(|s| r.schema.as_deref() == Some(s));
        let mut found = self.relations.iter().filter(matches);
        let first = found.next();
        if first.is_some() && found.next().is_some() {
            return Err(SqlError::new(SqlState::AMBIGUOUS_ALIAS, format!("table reference \"{name}\" is ambiguous")));
        }
        Ok(first)
    }

    /// Adds the columns and relations of another FROM item.
    pub(crate) fn extend(&mut self, other: Scope) {
        self.relations.extend(other.relations);
        self.columns.extend(other.columns);
    }
}

impl Relation {
    /// A column by name, system columns included.
    pub(crate) fn column(&self, name: &str) -> Result<Option<&ScopeColumn>> {
        let mut found = self.columns.iter().filter(|c| c.name == name);
        let first = found.next();
        if first.is_some() && found.next().is_some() {
            return Err(ambiguous(name));
        }
        Ok(first.or_else(|| self.system.iter().find(|c| c.name == name)))
    }
}

fn ambiguous(name: &str) -> SqlError {
    SqlError::new(SqlState::AMBIGUOUS_COLUMN, format!("column reference \"{name}\" is ambiguous"))
}
