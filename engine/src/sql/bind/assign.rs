//! SET of UPDATE and of ON CONFLICT DO UPDATE.

use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast;
use kalamdb_catalog::table::Generated;
use kalamdb_catalog::{CachedTableData, ColumnDefinition, Result, SqlError, SqlState};

use super::dml::{is_default, live_position, no_column, written_column};
use super::scope::Relation;
use super::{Binder, name_span};

impl Binder<'_> {
    /// The new value of every live column: what is assigned, else the column of `target`.
    pub(super) fn assignments(
        &mut self,
        assignments: &[ast::Assignment],
        table: &CachedTableData,
        columns: &[ColumnDefinition],
        target: &Relation,
        ctx: &super::scope::Ctx<'_>,
    ) -> Result<Vec<Expr>> {
        let mut values: Vec<Option<Expr>> = vec![None; columns.len()];
        for assignment in assignments {
            let pairs: Vec<(&ast::ObjectName, &ast::Expr)> = match &assignment.target {
                ast::AssignmentTarget::ColumnName(name) => vec![(name, &assignment.value)],
                ast::AssignmentTarget::Tuple(names) => {
                    if let ast::Expr::Subquery(query) = &assignment.value {
                        self.assign_subquery(names, query, table, columns, ctx, &mut values)?;
                        continue;
                    }
                    let Some(fields) = super::row::row_values(&assignment.value) else {
                        return Err(SqlError::new(
                            SqlState::FEATURE_NOT_SUPPORTED,
                            "source for a multiple-column UPDATE item must be a sub-SELECT or ROW() expression",
                        ));
                    };
                    if fields.len() != names.len() {
                        return Err(SqlError::new(
                            SqlState::SYNTAX_ERROR,
                            "number of columns does not match number of values",
                        ));
                    }
                    names.iter().zip(fields).collect::<Vec<_>>()
                }
            };
            for (name, value) in pairs {
                let position = self.position(name_span(name));
                let column = written_column(table, name).map_err(|e| e.at(position))?;
                let index = live_position(table, &column).ok_or_else(|| no_column(table, &column).at(position))?;
                if values[index].is_some() {
                    return Err(SqlError::new(
                        SqlState::SYNTAX_ERROR,
                        format!("multiple assignments to same column \"{column}\""),
                    )
                    .at(position));
                }
                let typed = if is_default(value) {
                    self.default_of(&columns[index])?
                } else {
                    takes_assignment(&columns[index])?;
                    let typed = self.expr(value, ctx)?;
                    self.assign_to(typed, &columns[index], "UPDATE")?
                };
                values[index] = Some(typed.expr);
            }
        }
        Ok(values
            .into_iter()
            .enumerate()
            .map(|(i, v)| v.unwrap_or_else(|| target.columns[i].typed.expr.clone()))
            .collect())
    }

    /// `SET (a, b) = (SELECT x, y ...)`: one scalar subquery for each column.
    fn assign_subquery(
        &mut self,
        names: &[ast::ObjectName],
        query: &ast::Query,
        table: &CachedTableData,
        columns: &[ColumnDefinition],
        ctx: &super::scope::Ctx<'_>,
        values: &mut [Option<Expr>],
    ) -> Result<()> {
        for (i, name) in names.iter().enumerate() {
            let at = self.position(name_span(name));
            let column = written_column(table, name).map_err(|e| e.at(at))?;
            let index = live_position(table, &column).ok_or_else(|| no_column(table, &column).at(at))?;
            takes_assignment(&columns[index])?;
            let typed = self.subquery_column(query, i, names.len(), ctx)?;
            values[index] = Some(self.assign_to(typed, &columns[index], "UPDATE")?.expr);
        }
        Ok(())
    }
}

/// 428C9 for a column that UPDATE can only set to DEFAULT.
fn takes_assignment(column: &ColumnDefinition) -> Result<()> {
    let what = match column.generated {
        Some(Generated::Stored) => "a generated column",
        Some(Generated::Always) => "an identity column defined as GENERATED ALWAYS",
        Some(Generated::ByDefault) | None => return Ok(()),
    };
    let message = format!("column \"{}\" can only be updated to DEFAULT", column.name);
    Err(SqlError::new(SqlState::GENERATED_ALWAYS, message).detail(format!("Column \"{}\" is {what}.", column.name)))
}
