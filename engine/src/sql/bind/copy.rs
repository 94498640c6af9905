//! The condition of COPY FROM ... WHERE.

use std::cell::RefCell;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column as DfColumn, DFSchema};
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast;
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
            base: false,
        };
        let scope = Scope { relations: vec![relation], columns };
        let (applies, outer) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let ctx = Env { parent: None, outer: &outer }.ctx(&scope, Clause::CopyWhere, &applies);
        let bound = self.expr(condition, &ctx)?;
        let condition = self.boolean(bound, "WHERE")?;
        if let Some(parameter) = first_parameter(&condition) {
            // COPY has no way to give it a value.
            let message = format!("there is no parameter {parameter}");
            return Err(SqlError::new(SqlState::UNDEFINED_PARAMETER, message));
        }
        if !applies.borrow().is_empty() {
            return Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "cannot use subquery in COPY FROM WHERE condition",
            ));
        }
        Ok((condition, planning(DFSchema::try_from(Schema::new(fields)))?))
    }
}

fn first_parameter(e: &Expr) -> Option<String> {
    let mut found = None;
    let _ = e.apply(|e| {
        if let Expr::Placeholder(p) = e {
            found.get_or_insert_with(|| p.id.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}
