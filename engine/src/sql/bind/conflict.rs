//! ON CONFLICT of an INSERT (manual, INSERT, "ON CONFLICT Clause").

use std::cell::RefCell;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::common::{Column as DfColumn, DFSchema};
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast::{self, ConflictTarget, OnConflictAction, OnInsert};
use kalamdb_catalog::{CachedTableData, ColumnDefinition, PgType, Result, SqlError, SqlState};

use super::scope::{Clause, Relation, Scope, ScopeColumn};
use super::select::Env;
use super::typed::Typed;
use super::{Binder, fold, name_parts, name_span};
use crate::sql::plan::planning;

/// What an INSERT does about a row whose key is taken.
#[derive(Clone, Debug)]
pub(crate) struct BoundConflict {
    /// None: DO NOTHING.
    pub update: Option<ConflictUpdate>,
    /// RETURNING, over the columns `new#i` of the row as it is then.
    pub returning: Vec<Expr>,
}

/// DO UPDATE, over the columns of the row that is there and of the one that was to be inserted ([`conflict_schema`]).
#[derive(Clone, Debug)]
pub(crate) struct ConflictUpdate {
    /// The new value of every live column.
    pub values: Vec<Expr>,
    pub filter: Option<Expr>,
}

/// The names of the columns that DO UPDATE is computed from.
fn column_name(excluded: bool, live: usize) -> String {
    format!("{}#{live}", if excluded { "excluded" } else { "target" })
}

/// The row that is there, then the one that was to be inserted.
pub(crate) fn conflict_schema(types: &[PgType]) -> Result<DFSchema> {
    let fields =
        |excluded| types.iter().enumerate().map(move |(i, ty)| Field::new(column_name(excluded, i), ty.arrow(), true));
    planning(DFSchema::try_from(Schema::new(fields(false).chain(fields(true)).collect::<Vec<_>>())))
}

/// The columns of a row as RETURNING of an ON CONFLICT sees them.
pub(crate) fn new_row_schema(types: &[PgType]) -> Result<DFSchema> {
    let fields = types.iter().enumerate().map(|(i, ty)| Field::new(format!("new#{i}"), ty.arrow(), true));
    planning(DFSchema::try_from(Schema::new(fields.collect::<Vec<_>>())))
}

impl Binder<'_> {
    /// Binds the clause of an INSERT into `table`, which may be called `alias`.
    pub(super) fn conflict(
        &mut self,
        table: &Arc<CachedTableData>,
        alias: Option<&str>,
        on: &OnInsert,
    ) -> Result<BoundConflict> {
        let OnInsert::OnConflict(clause) = on else {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \"DUPLICATE\""));
        };
        if let Some(target) = &clause.conflict_target {
            self.check_target(table, target)?;
        }
        let update = match &clause.action {
            OnConflictAction::DoNothing => None,
            OnConflictAction::DoUpdate(_) if clause.conflict_target.is_none() => {
                let message = "ON CONFLICT DO UPDATE requires inference specification or constraint name";
                return Err(
                    SqlError::new(SqlState::SYNTAX_ERROR, message).hint("For example, ON CONFLICT (column_name).")
                );
            }
            OnConflictAction::DoUpdate(update) => Some(self.conflict_update(table, alias, update)?),
        };
        Ok(BoundConflict { update, returning: Vec::new() })
    }

    /// 42P10 for columns, 42704 for a constraint, that are not the primary key.
    fn check_target(&mut self, table: &CachedTableData, target: &ConflictTarget) -> Result<()> {
        let definition = &table.definition;
        match target {
            ConflictTarget::Columns(names) => {
                let mut wanted = Vec::with_capacity(names.len());
                for name in names {
                    let column = fold(name);
                    let index = definition.columns.iter().position(|c| !c.dropped && c.name == column);
                    wanted.push(index.ok_or_else(|| {
                        let message = format!("column \"{column}\" does not exist");
                        SqlError::new(SqlState::UNDEFINED_COLUMN, message).at(self.position(name.span))
                    })?);
                }
                let is_key = definition.primary_key.as_ref().is_some_and(|key| {
                    key.columns.iter().all(|c| wanted.contains(c)) && wanted.iter().all(|w| key.columns.contains(w))
                });
                if is_key {
                    return Ok(());
                }
                let message = "there is no unique or exclusion constraint matching the ON CONFLICT specification";
                Err(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message))
            }
            ConflictTarget::OnConstraint(name) => {
                let wanted = name_parts(name)?.pop().unwrap_or_default();
                if definition.primary_key.as_ref().is_some_and(|key| key.name == wanted) {
                    return Ok(());
                }
                let message = format!("constraint \"{wanted}\" for table \"{}\" does not exist", definition.name);
                Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message).at(self.position(name_span(name))))
            }
        }
    }

    fn conflict_update(
        &mut self,
        table: &Arc<CachedTableData>,
        alias: Option<&str>,
        update: &ast::DoUpdate,
    ) -> Result<ConflictUpdate> {
        let definition = &table.definition;
        let schema = alias.is_none().then(|| self.catalog.schema(definition.schema).map(|s| s.name.clone())).flatten();
        let target = relation(table, alias.unwrap_or(&definition.name), schema, false);
        let excluded = relation(table, "excluded", None, true);
        // Both are in sight: a column without a relation's name is ambiguous.
        let columns = target.columns.iter().chain(&excluded.columns).cloned().collect();
        let scope = Scope { relations: vec![target.clone(), excluded], columns };
        let (applies, outer) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let env = Env { parent: None, outer: &outer };
        let definitions: Vec<ColumnDefinition> = definition.live_columns().map(|(_, c)| c.clone()).collect();
        let ctx = env.ctx(&scope, Clause::UpdateSet, &applies);
        let values = self.assignments(&update.assignments, table, &definitions, &target, &ctx)?;
        let filter = match &update.selection {
            Some(condition) => Some(self.condition(condition, &env.ctx(&scope, Clause::Where, &applies))?),
            None => None,
        };
        if !applies.borrow().is_empty() {
            return Err(SqlError::unsupported("a subquery in ON CONFLICT DO UPDATE"));
        }
        Ok(ConflictUpdate { values, filter })
    }
}

/// The table's columns under a name.
fn relation(table: &CachedTableData, name: &str, schema: Option<String>, excluded: bool) -> Relation {
    let definition = &table.definition;
    let column = |(live, (i, c)): (usize, (usize, &ColumnDefinition))| ScopeColumn {
        name: c.name.clone(),
        typed: Typed {
            typmod: c.typmod,
            ..Typed::new(Expr::Column(DfColumn::new_unqualified(column_name(excluded, live))), c.ty)
        },
        table: definition.oid,
        attribute: i as i16 + 1,
    };
    Relation {
        name: name.to_owned(),
        schema,
        columns: definition.live_columns().enumerate().map(column).collect(),
        system: Vec::new(),
        named: true,
        base: None,
        simple: None,
    }
}
