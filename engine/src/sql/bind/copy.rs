//! The condition of COPY FROM ... WHERE.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::common::{Column as DfColumn, DFSchema};
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::tokenizer::Span;
use kalamdb_catalog::{CachedTableData, Result, SqlError, SqlState};

use super::Binder;
use super::scope::{Clause, Relation, Scope, ScopeColumn};
use super::select::Env;
use super::typed::Typed;
use crate::sql::plan::planning;

impl Binder<'_> {
    /// WHERE of COPY FROM, over a row of all live columns.
    pub(crate) fn copy_condition(
        &mut self,
        table: &Arc<CachedTableData>,
        condition: &ast::Expr,
    ) -> Result<(Expr, DFSchema)> {
        if let Some((name, span)) = first_parameter(condition) {
            let message = format!("there is no parameter {name}");
            return Err(SqlError::new(SqlState::UNDEFINED_PARAMETER, message).at(self.position(span)));
        }
        let definition = &table.definition;
        let columns: Vec<ScopeColumn> = definition
            .live_columns()
            .map(|(i, c)| ScopeColumn {
                name: c.name.clone(),
                typed: Typed {
                    typmod: c.typmod,
                    ..Typed::new(Expr::Column(DfColumn::new_unqualified(c.name.clone())), c.ty)
                },
                table: definition.oid,
                attribute: i as i16 + 1,
            })
            .collect();
        let fields: Vec<Field> = columns.iter().map(|c| Field::new(&c.name, c.typed.ty.arrow(), true)).collect();
        let relation = Relation {
            name: definition.name.clone(),
            schema: self.catalog.schema(definition.schema).map(|s| s.name.clone()),
            columns: columns.clone(),
            system: Vec::new(),
            named: true,
            base: None,
            simple: None,
        };
        let scope = Scope { relations: vec![relation], columns };
        let (applies, outer) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let ctx = Env { parent: None, outer: &outer }.ctx(&scope, Clause::CopyWhere, &applies);
        let bound = self.expr(condition, &ctx)?;
        let condition = self.boolean(bound, "WHERE")?;
        if !applies.borrow().is_empty() {
            return Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "cannot use subquery in COPY FROM WHERE condition",
            ));
        }
        Ok((condition, planning(DFSchema::try_from(Schema::new(fields)))?))
    }
}

/// `$1` and where it stands: COPY has no way to give it a value.
fn first_parameter(condition: &ast::Expr) -> Option<(String, Span)> {
    let mut found = None;
    let _ = ast::visit_expressions(condition, |e| match e {
        ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::Placeholder(name), span }) => {
            found = Some((name.clone(), *span));
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    found
}
