//! The expressions that a table's definition holds as text: CHECK, generated columns, what indexes sort by.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{self, Expr, Ident};
use kalamdb_catalog::constraint::ConstraintKind;
use kalamdb_catalog::index::IndexKey;
use kalamdb_catalog::{Result, SqlError, TableDefinition};

use crate::session::Session;
use crate::sql::bind::{Binder, Parameters, RowClause, columns_of_row};
use crate::sql::parse;

/// Every text of a definition.
fn texts(table: &mut TableDefinition) -> impl Iterator<Item = &mut String> {
    let generated = table.columns.iter_mut().filter(|c| c.is_stored() && !c.dropped).filter_map(|c| c.default.as_mut());
    let checks = table.constraints.iter_mut().filter_map(|c| match &mut c.kind {
        ConstraintKind::Check(sql, _) => Some(sql),
        _ => None,
    });
    let indexes = table.indexes.iter_mut().flat_map(|i| {
        let keys = i.columns.iter_mut().filter_map(|c| match &mut c.key {
            IndexKey::Expression(sql, _) => Some(sql),
            IndexKey::Column(_) => None,
        });
        keys.chain(i.predicate.as_mut())
    });
    generated.chain(checks).chain(indexes)
}

fn rewrite(table: &mut TableDefinition, change: impl Fn(&mut Expr)) -> Result<()> {
    for text in texts(table) {
        let mut expr = parse::expression(text)?;
        let before = expr.clone();
        let _ = ast::visit_expressions_mut(&mut expr, |e| {
            change(e);
            ControlFlow::<()>::Continue(())
        });
        if expr != before {
            *text = expr.to_string();
        }
    }
    Ok(())
}

fn renamed(ident: &mut Ident, from: &str, to: &str) {
    if crate::sql::bind::fold(ident) == from {
        *ident = Ident::with_quote('"', to);
        if kalamdb_catalog::name::quote_ident(to) == to {
            ident.quote_style = None;
        }
    }
}

/// A column has another name.
pub(super) fn rename_column(table: &mut TableDefinition, from: &str, to: &str) -> Result<()> {
    rewrite(table, |e| match e {
        Expr::Identifier(name) => renamed(name, from, to),
        Expr::CompoundIdentifier(parts) => parts.last_mut().into_iter().for_each(|name| renamed(name, from, to)),
        _ => {}
    })
}

/// The table has another name: `table` has it already.
pub(super) fn rename_table(table: &mut TableDefinition, from: &str) -> Result<()> {
    let to = table.name.clone();
    rewrite(table, |e| {
        if let Expr::CompoundIdentifier(parts) = e {
            let at = parts.len().saturating_sub(2);
            parts.get_mut(at).into_iter().for_each(|name| renamed(name, from, &to));
        }
    })
}

/// Positions of the generated columns that are made from a column.
pub(super) fn generated_from(session: &Session, table: &TableDefinition, index: usize) -> Vec<usize> {
    let uses = |sql: &String| uses(session, table, sql, index);
    let stored = table.live_columns().filter(|(_, c)| c.is_stored());
    stored.filter(|(_, c)| c.default.as_ref().is_some_and(uses)).map(|(i, _)| i).collect()
}

/// True if a text reads a column; one that cannot be told counts.
fn uses(session: &Session, table: &TableDefinition, sql: &str, index: usize) -> bool {
    let Some(live) = table.live_columns().position(|(i, _)| i == index) else { return false };
    let context = session.context();
    let mut binder = Binder::new(context, context.catalog(), "", Parameters::default());
    let bound = parse::expression(sql).and_then(|e| binder.row_expr(table, &e, RowClause::Check));
    bound.map_or(true, |typed| columns_of_row(&typed.expr).contains(&live))
}

/// Takes the indexes whose expressions or predicate read a column that goes; `old` still has it.
pub(super) fn drop_those_over(
    session: &Session,
    old: &TableDefinition,
    index: usize,
    new: &mut TableDefinition,
) -> Result<()> {
    new.indexes.retain(|i| {
        let mut texts = i.columns.iter().filter_map(|c| match &c.key {
            IndexKey::Expression(sql, _) => Some(sql),
            IndexKey::Column(_) => None,
        });
        !texts.any(|sql| uses(session, old, sql, index))
            && !i.predicate.as_ref().is_some_and(|sql| uses(session, old, sql, index))
    });
    Ok(())
}

/// Binds everything again after a column has another type; index expressions may have another one then, too.
pub(super) fn check(session: &Session, table: &mut TableDefinition) -> Result<()> {
    let context = session.context();
    let mut binder = Binder::new(context, context.catalog(), "", Parameters::default());
    let definition = table.clone();
    for constraint in &definition.constraints {
        if let ConstraintKind::Check(sql, _) = &constraint.kind {
            binder.stored_condition(&definition, sql, RowClause::Check)?;
        }
    }
    for index in &mut table.indexes {
        for column in &mut index.columns {
            if let IndexKey::Expression(sql, ty) = &mut column.key {
                *ty = binder.index_expr(&definition, &parse::expression(sql)?).map_err(SqlError::without_position)?.ty;
            }
        }
        if let Some(sql) = &index.predicate {
            binder.stored_condition(&definition, sql, RowClause::IndexPredicate)?;
        }
    }
    Ok(())
}
