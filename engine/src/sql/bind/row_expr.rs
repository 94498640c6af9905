//! Expressions over one row of a table that is about to be stored: CHECK, generated columns, what indexes sort by.

use std::cell::RefCell;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column as DfColumn, DFSchema};
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast;
use kalamdb_catalog::index::{IndexColumn, IndexKey};
use kalamdb_catalog::name::quote_ident;
use kalamdb_catalog::{ColumnDefinition, PgType, Result, SqlError, SqlState, TableDefinition};

use super::Binder;
use super::scope::{Clause, Relation, Scope, ScopeColumn};
use super::select::Env;
use super::typed::Typed;
use crate::providers::access::BoundIndex;
use crate::sql::parse;
use crate::sql::udf::is_immutable;

impl Binder<'_> {
    /// An expression over the columns `new#i` of a row of `table` (`conflict::new_row_schema`).
    pub(crate) fn row_expr(&mut self, table: &TableDefinition, e: &ast::Expr, clause: Clause) -> Result<Typed> {
        let relation = row_relation(table, &table.name, None, |live| format!("new#{live}"));
        let scope = Scope { columns: relation.columns.clone(), relations: vec![relation] };
        let (applies, outer) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let ctx = Env { parent: None, outer: &outer }.ctx(&scope, clause, &applies);
        let typed = self.expr(e, &ctx)?;
        if !applies.borrow().is_empty() {
            let what = clause.name().trim_end_matches('s');
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("cannot use subquery in {what}")));
        }
        if typed.kind == super::Kind::Set {
            return Err(super::typed::set_not_allowed(clause.name()));
        }
        Ok(typed)
    }

    /// A condition on a row: CHECK, or the predicate of an index.
    pub(crate) fn row_condition(&mut self, table: &TableDefinition, e: &ast::Expr, clause: Clause) -> Result<Expr> {
        let typed = self.row_expr(table, e, clause)?;
        self.boolean(typed, if clause == Clause::Check { "CHECK" } else { "WHERE" })
    }

    /// The stored text of one.
    pub(crate) fn stored_condition(&mut self, table: &TableDefinition, sql: &str, clause: Clause) -> Result<Expr> {
        self.row_condition(table, &parse::expression(sql)?, clause).map_err(SqlError::without_position)
    }

    /// A column of an index that is there.
    pub(crate) fn index_key(&mut self, table: &TableDefinition, column: &IndexColumn) -> Result<Expr> {
        let text = match &column.key {
            IndexKey::Column(position) => quote_ident(&table.columns[*position].name).into_owned(),
            IndexKey::Expression(sql, _) => sql.clone(),
        };
        Ok(self.index_expr(table, &parse::expression(&text)?)?.expr)
    }

    /// The expressions and predicates of a table's indexes, over its columns by name.
    pub(super) fn bound_indexes(&mut self, table: &TableDefinition) -> Result<Vec<BoundIndex>> {
        let mut found = Vec::new();
        for index in &table.indexes {
            if index.plain_columns().is_some() && index.predicate.is_none() {
                continue;
            }
            let mut expressions = Vec::with_capacity(index.columns.len());
            for column in &index.columns {
                expressions.push(match column.key {
                    IndexKey::Column(_) => None,
                    IndexKey::Expression(..) => Some(by_name(table, self.index_key(table, column)?)?),
                });
            }
            let predicate = match &index.predicate {
                Some(sql) => Some(by_name(table, self.stored_condition(table, sql, Clause::IndexPredicate)?)?),
                None => None,
            };
            found.push(BoundIndex { oid: index.oid, expressions, predicate });
        }
        Ok(found)
    }

    /// What an index sorts by: 42P17 unless it is the same for the same row for ever.
    pub(crate) fn index_expr(&mut self, table: &TableDefinition, e: &ast::Expr) -> Result<Typed> {
        let mut typed = self.row_expr(table, e, Clause::IndexExpression)?;
        if typed.is_unknown() {
            typed = self.coerce(typed, PgType::TEXT)?;
        }
        check_immutable(&typed.expr, "functions in index expression must be marked IMMUTABLE")?;
        Ok(typed)
    }

    pub(crate) fn index_predicate(&mut self, table: &TableDefinition, e: &ast::Expr) -> Result<Expr> {
        let condition = self.row_condition(table, e, Clause::IndexPredicate)?;
        check_immutable(&condition, "functions in index predicate must be marked IMMUTABLE")?;
        Ok(condition)
    }

    /// GENERATED ALWAYS AS (e) STORED of a column.
    pub(crate) fn generated_expr(
        &mut self,
        table: &TableDefinition,
        e: &ast::Expr,
        column: &ColumnDefinition,
    ) -> Result<Typed> {
        let typed = self.row_expr(table, e, Clause::Generated)?;
        for other in table.live_columns().enumerate().filter(|(_, (_, c))| c.is_stored()) {
            let (live, (_, other)) = other;
            if columns_of(&typed.expr).contains(&live) {
                let message = format!("cannot use generated column \"{}\" in column generation expression", other.name);
                return Err(SqlError::new(SqlState::INVALID_OBJECT_DEFINITION, message)
                    .detail("A generated column cannot reference another generated column."));
            }
        }
        let typed = self.assign_default(typed, column)?;
        check_immutable(&typed.expr, "generation expression is not immutable")?;
        Ok(typed)
    }
}

/// An expression over `new#i` as one over the columns' names.
fn by_name(table: &TableDefinition, e: Expr) -> Result<Expr> {
    let names: Vec<&str> = table.live_columns().map(|(_, c)| c.name.as_str()).collect();
    let named = e.transform(|e| match &e {
        Expr::Column(c) => {
            let live = c.name.strip_prefix("new#").and_then(|n| n.parse::<usize>().ok());
            match live.and_then(|live| names.get(live)) {
                Some(name) => Ok(Transformed::yes(Expr::Column(DfColumn::new_unqualified(*name)))),
                None => Ok(Transformed::no(e)),
            }
        }
        _ => Ok(Transformed::no(e)),
    });
    crate::sql::plan::planning(named.map(|t| t.data))
}

fn check_immutable(e: &Expr, message: &str) -> Result<()> {
    if is_immutable(e) { Ok(()) } else { Err(SqlError::new(SqlState::INVALID_OBJECT_DEFINITION, message)) }
}

/// The live columns that an expression over a row reads, in the order they come.
pub(crate) fn columns_of(e: &Expr) -> Vec<usize> {
    let mut live = Vec::new();
    let _ = e.apply(|e| {
        if let Expr::Column(column) = e
            && let Some(Ok(position)) = column.name.strip_prefix("new#").map(str::parse)
            && !live.contains(&position)
        {
            live.push(position);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    live
}

/// The schema of the rows that such expressions are over.
pub(crate) fn row_schema(types: &[PgType]) -> Result<DFSchema> {
    super::conflict::new_row_schema(types)
}

/// A table's columns under a name, each by the name that `column` gives it.
pub(super) fn row_relation(
    definition: &TableDefinition,
    name: &str,
    schema: Option<String>,
    column: impl Fn(usize) -> String,
) -> Relation {
    let found = |(live, (i, c)): (usize, (usize, &ColumnDefinition))| ScopeColumn {
        name: c.name.clone(),
        typed: Typed { typmod: c.typmod, ..Typed::new(Expr::Column(DfColumn::new_unqualified(column(live))), c.ty) },
        table: definition.oid,
        attribute: i as i16 + 1,
    };
    Relation {
        name: name.to_owned(),
        schema,
        columns: definition.live_columns().enumerate().map(found).collect(),
        system: Vec::new(),
        named: true,
        base: None,
        simple: None,
    }
}
