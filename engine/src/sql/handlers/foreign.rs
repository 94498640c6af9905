//! Foreign keys (manual, section 5.4.5), and what else is looked at after a statement or at commit.
//!
//! A row that refers to another locks it FOR KEY SHARE and finds it in the newest commit; a row that goes, or gets another
//! key, has the statement run that its constraint names, as PostgreSQL's triggers do (ri_triggers.c).

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::physical_expr::PhysicalExpr;
use kalamdb_catalog::constraint::{Constraint, ConstraintKind, ForeignAction, ForeignKey};
use kalamdb_catalog::name::{qualified, quote_ident};
use kalamdb_catalog::{CachedTableData, Oid, PgType, Result, SqlError, SqlState, StorageId, TableDefinition};

use super::target::Target;
use crate::session::{Session, SessionContext};
use crate::sql::bind::{Binder, Parameters, RowClause, row_schema};
use crate::sql::index_entries::{RowValues, evaluate};
use crate::sql::plan::physical_expr;
use crate::sql::{internal, parse};
use crate::storage::{RowLayout, keys};
use crate::txn::{IfLocked, Isolation, LockMode, PendingCheck, PendingKind, RowState, TxnReader};
use crate::types::Value;
use cascade::Step;

mod cascade;

/// A foreign key of a table that is written to.
pub(crate) struct Reference {
    pub(super) constraint: Oid,
    pub(crate) name: String,
    validated: bool,
    pub(super) deferrable: bool,
    is_key: bool,
    target: Arc<CachedTableData>,
    full: bool,
    parts: Vec<Part>,
    /// Of the table or index referred to.
    storage: StorageId,
    /// Of all live columns.
    types: Vec<PgType>,
    row: SchemaRef,
}

/// A column of the index referred to, and the live column whose value is looked for in it.
struct Part {
    live: usize,
    /// As the index has it.
    ty: PgType,
    /// Where the types differ.
    cast: Option<Arc<dyn PhysicalExpr>>,
    /// How a secondary index sorts: descending, NULLs first. None for a primary key.
    order: Option<(bool, bool)>,
}

impl Reference {
    pub(super) fn new(
        session: &Arc<SessionContext>,
        table: &TableDefinition,
        constraint: &Constraint,
        key: &ForeignKey,
    ) -> Result<Reference> {
        let catalog = session.catalog();
        let missing = || SqlError::internal("a foreign key refers to what is not there");
        let target =
            if key.target == table.oid { table } else { &catalog.table(key.target).ok_or_else(missing)?.definition };
        let index = target.index(key.index).ok_or_else(missing)?;
        let primary = target.primary_key.as_ref().is_some_and(|k| k.index_oid == key.index);
        let types: Vec<PgType> = table.live_columns().map(|(_, c)| c.ty).collect();
        let schema = row_schema(&types)?;
        let mut parts = Vec::with_capacity(index.columns.len());
        for column in &index.columns {
            let position = column.position().ok_or_else(missing)?;
            let at = key.target_columns.iter().position(|c| *c == position).ok_or_else(missing)?;
            let live = table.live_columns().position(|(i, _)| i == key.columns[at]).ok_or_else(missing)?;
            let (given, ty) = (types[live], target.columns[position].ty);
            let cast = (given != ty).then(|| {
                let mut binder = Binder::new(session, Arc::clone(&catalog), "", Parameters::default());
                let name = quote_ident(&table.columns[key.columns[at]].name);
                let typed = binder.row_expr(table, &parse::expression(&name)?, RowClause::Check)?;
                let cast = binder.assign(typed, ty, -1)?;
                physical_expr(&cast.expr, &schema, session)
            });
            let order = (!primary).then_some((column.descending, column.nulls_first));
            parts.push(Part { live, ty, cast: cast.transpose()?, order });
        }
        Ok(Reference {
            constraint: constraint.oid,
            name: constraint.name.clone(),
            validated: constraint.validated,
            deferrable: constraint.deferrable,
            is_key: primary,
            target: Arc::new(CachedTableData::new(target.clone())),
            full: key.full,
            parts,
            storage: if primary { target.storage } else { index.storage },
            types,
            row: Arc::new(schema.as_arrow().clone()),
        })
    }

    /// The key that a row refers to; None if it refers to none. 23503 for MATCH FULL and some NULLs.
    pub(super) fn key(&self, target: &Target, row: &RowValues<'_>) -> Result<Option<Vec<u8>>> {
        let nulls = self.parts.iter().filter(|p| row.is_null(p.live)).count();
        if nulls > 0 && nulls < self.parts.len() && self.full {
            let table = &target.table().definition.name;
            return Err(violation(&format!("insert or update on table \"{table}\""), &self.name)
                .detail("MATCH FULL does not allow mixing of null and nonnull key values.")
                .table(target.schema_name(), table)
                .constraint(&self.name));
        }
        self.key_if_whole(row)
    }

    /// The key that a row refers to; None if any of it is NULL.
    pub(super) fn key_if_whole(&self, row: &RowValues<'_>) -> Result<Option<Vec<u8>>> {
        if self.parts.iter().any(|p| row.is_null(p.live)) {
            return Ok(None);
        }
        let mut key = self.storage.to_be_bytes().to_vec();
        for part in &self.parts {
            let array;
            let value = match &part.cast {
                None => row.value(part.live, part.ty),
                Some(cast) => {
                    array = evaluate(cast, &row.batch(&self.row, &self.types)?)?;
                    Value::from_array(&array, part.ty, 0)
                }
            };
            match part.order {
                Some((descending, nulls_first)) => {
                    keys::push_index_value(&mut key, part.ty, &value, descending, nulls_first);
                }
                None => keys::push_value(&mut key, part.ty, &value),
            }
        }
        Ok(Some(key))
    }
}

/// True if a stored row refers to a row that is there, or to none, or need not.
pub(crate) fn referred_to(
    reader: &TxnReader,
    target: &Target,
    reference: &Reference,
    row: &RowValues<'_>,
) -> Result<bool> {
    match reference.key(target, row)? {
        Some(key) if reference.validated => Ok(find(reader, &reference.target, reference.is_key, &key)?.is_some()),
        _ => Ok(true),
    }
}

/// A foreign key that refers to a table that is written to.
pub(crate) struct Referenced {
    pub(super) constraint: Oid,
    /// Live positions of the columns referred to, and their types.
    columns: Vec<(usize, PgType)>,
}

impl Referenced {
    /// Those of all tables that refer to `table`.
    pub(super) fn all(session: &Arc<SessionContext>, table: &TableDefinition) -> Result<Vec<Referenced>> {
        let catalog = session.catalog();
        let mut found = Vec::new();
        for referencing in catalog.referencing(table.oid) {
            for constraint in &referencing.definition.constraints {
                let Some(key) = constraint.foreign_key().filter(|k| k.target == table.oid) else { continue };
                let column = |position: &usize| {
                    let live = table.live_columns().position(|(i, _)| i == *position)?;
                    Some((live, table.columns[*position].ty))
                };
                let columns = key.target_columns.iter().map(column).collect::<Option<Vec<_>>>();
                let columns = columns.ok_or_else(|| SqlError::internal("a foreign key's column has been dropped"))?;
                found.push(Referenced { constraint: constraint.oid, columns });
            }
        }
        Ok(found)
    }

    /// What others can refer to, to be compared; None if any of it is NULL.
    pub(super) fn key(&self, row: &RowValues<'_>) -> Result<Option<Vec<u8>>> {
        let mut key = Vec::new();
        for (live, ty) in &self.columns {
            if row.is_null(*live) {
                return Ok(None);
            }
            keys::push_value(&mut key, *ty, &row.value(*live, *ty));
        }
        Ok(Some(key))
    }
}

/// Looks at what a statement has left to be looked at; what is deferred waits for the commit.
pub(crate) async fn after_statement(session: &mut Session, checks: Vec<PendingCheck>) -> Result<()> {
    let mut seen: HashSet<(Oid, Bytes)> = HashSet::new();
    // What has been done for rows that went may have taken rows that this statement brought.
    let taken = checks.iter().any(|c| matches!(c.what, PendingKind::Referenced { .. }));
    for step in cascade::steps(session, checks)? {
        let check = match step {
            Step::Check(check) => check,
            Step::Cycle(constraint, keys) => {
                if let Some(found) = Found::find(session, constraint) {
                    found.cascade_cycle(session, &keys).await?;
                }
                continue;
            }
        };
        let Some(found) = Found::find(session, check.constraint) else { continue };
        if found.can_wait(&check) {
            let constraint = &found.constraint;
            let txn = session.open_transaction()?;
            if txn.constraint_modes().is_deferred(constraint.oid, constraint.deferred) {
                txn.pending().push(check);
                continue;
            }
        }
        if let PendingKind::Reference { key, row_key, row } = &check.what {
            if taken && !is_still(session, row_key, row)? {
                continue;
            }
            // Many rows refer to the same one.
            if !seen.insert((check.constraint, key.clone())) {
                continue;
            }
        }
        found.look(session, check.what).await?;
    }
    Ok(())
}

/// Looks at what is deferred: all of it at commit, or that of the constraints which SET CONSTRAINTS names.
pub(crate) async fn deferred(session: &mut Session, of: Option<&HashSet<Oid>>) -> Result<()> {
    loop {
        let pending = session.open_transaction()?.pending();
        let due = |check: &PendingCheck| of.is_none_or(|of| of.contains(&check.constraint));
        let Some(at) = pending.iter().position(due) else { return Ok(()) };
        let check = pending.remove(at);
        if let Some(found) = Found::find(session, check.constraint) {
            if let PendingKind::Reference { row_key, row, .. } = &check.what
                && !is_still(session, row_key, row)?
            {
                continue;
            }
            found.look(session, check.what).await?;
        }
    }
}

/// True if a row is still the one that was written.
fn is_still(session: &mut Session, row_key: &[u8], row: &[u8]) -> Result<bool> {
    Ok(session.open_transaction()?.reader().get(row_key)?.is_some_and(|now| now == *row))
}

/// A constraint with its table, as the statement sees them.
struct Found {
    table: Arc<CachedTableData>,
    constraint: Constraint,
}

impl Found {
    /// None: it has been dropped meanwhile.
    fn find(session: &Session, constraint: Oid) -> Option<Found> {
        let catalog = session.context().catalog();
        let table = catalog.table_of_constraint(constraint)?;
        Some(Found { table: Arc::clone(table), constraint: table.definition.constraint(constraint)? })
    }

    /// True for what a DEFERRABLE constraint may look at later: what it does for a row that goes is done at once.
    fn can_wait(&self, check: &PendingCheck) -> bool {
        let waits = match (&check.what, self.constraint.foreign_key()) {
            (PendingKind::Referenced { new: None, .. }, Some(key)) => key.on_delete == ForeignAction::NoAction,
            (PendingKind::Referenced { .. }, Some(key)) => key.on_update == ForeignAction::NoAction,
            _ => true,
        };
        self.constraint.deferrable && waits
    }

    async fn look(&self, session: &mut Session, what: PendingKind) -> Result<()> {
        match (what, &self.constraint.kind) {
            (PendingKind::Reference { key, row, .. }, ConstraintKind::Foreign(foreign)) => {
                self.refer(session, foreign, &key, &row).await
            }
            (PendingKind::Referenced { old, new }, ConstraintKind::Foreign(foreign)) => {
                self.act(session, foreign, &old, new.as_deref()).await
            }
            (
                PendingKind::Unique { key, row, .. },
                ConstraintKind::Primary(index, _) | ConstraintKind::Unique(index),
            ) => self.unique(session, *index, &key, &row),
            _ => Err(SqlError::internal("a constraint has become another")),
        }
    }

    /// Locks the row that is referred to; 23503 if there is none.
    async fn refer(&self, session: &mut Session, foreign: &ForeignKey, key: &[u8], row: &Bytes) -> Result<()> {
        let target = self.target(session, foreign)?;
        let is_key = target.definition.primary_key.as_ref().is_some_and(|k| k.index_oid == foreign.index);
        loop {
            let reader = newest(session)?;
            let Some(found) = find(&reader, &target, is_key, key)? else {
                return Err(self.not_present(session, foreign, &target, row)?);
            };
            let locker = session.open_transaction()?.locker();
            let lock = (LockMode::KEY_SHARE, IfLocked::Wait);
            if locker.lock(&reader, target.definition.oid, &found, lock).await? == RowState::Gone {
                continue;
            }
            // A row that has been waited for may have come to another key.
            let now = newest(session)?;
            if now.snapshot_seq() == reader.snapshot_seq() || find(&now, &target, is_key, key)?.as_ref() == Some(&found)
            {
                return Ok(());
            }
        }
    }

    fn target(&self, session: &Session, foreign: &ForeignKey) -> Result<Arc<CachedTableData>> {
        let catalog = session.context().catalog();
        let target = catalog.table(foreign.target).cloned();
        target.ok_or_else(|| SqlError::internal("a foreign key refers to a table that is not there"))
    }

    fn not_present(
        &self,
        session: &Session,
        foreign: &ForeignKey,
        target: &CachedTableData,
        row: &[u8],
    ) -> Result<SqlError> {
        let own = Target::new(session, &self.table)?;
        let stored = own.layout().decode(row)?;
        let shown = own.shown_columns(&foreign.columns, &RowValues::Values(&stored));
        let (table, name) = (&self.table.definition.name, &self.constraint.name);
        Ok(violation(&format!("insert or update on table \"{table}\""), name)
            .detail(format!("Key {shown} is not present in table \"{}\".", target.definition.name))
            .table(own.schema_name(), table)
            .constraint(name))
    }

    /// Carries out what the constraint says for a row that has gone or has another key.
    async fn act(&self, session: &mut Session, foreign: &ForeignKey, old: &[u8], new: Option<&[u8]>) -> Result<()> {
        let target = self.target(session, foreign)?;
        let before = values(&target, foreign, old)?;
        let action = if new.is_some() { foreign.on_update } else { foreign.on_delete };
        let sql = Sql { session, table: &self.table, foreign };
        let (statement, parameters) = match (action, new) {
            (ForeignAction::NoAction | ForeignAction::Restrict, _) => {
                return self.refuse(session, foreign, &target, action, old, &before).await;
            }
            (ForeignAction::Cascade, None) => (sql.delete(), before.clone()),
            (ForeignAction::Cascade, Some(new)) => {
                let after = values(&target, foreign, new)?;
                (sql.update(), before.iter().chain(&after).cloned().collect())
            }
            (ForeignAction::SetNull, _) => (sql.set("NULL", new.is_none()), before.clone()),
            (ForeignAction::SetDefault, _) => (sql.set("DEFAULT", new.is_none()), before.clone()),
        };
        internal::execute(session, &statement, &parameters).await?;
        if action == ForeignAction::SetDefault {
            // The default may be just what has gone.
            return self.refuse(session, foreign, &target, ForeignAction::NoAction, old, &before).await;
        }
        if session.open_transaction()?.isolation() != Isolation::ReadCommitted {
            return self.check_unseen(session, foreign, &before).await;
        }
        Ok(())
    }

    /// ON UPDATE CASCADE for keys that have changed places: what refers to them follows at once, for one after the other would
    /// be taken along again.
    async fn cascade_cycle(&self, session: &mut Session, keys: &[(Bytes, Bytes)]) -> Result<()> {
        let Some(foreign) = self.constraint.foreign_key() else { return Ok(()) };
        let target = self.target(session, foreign)?;
        let mut parameters = Vec::new();
        for (old, new) in keys {
            parameters.extend(values(&target, foreign, old)?);
            parameters.extend(values(&target, foreign, new)?);
        }
        let statement = Sql { session, table: &self.table, foreign }.update_all(keys.len());
        internal::execute(session, &statement, &parameters).await.map(drop)
    }

    /// 40001 if rows refer to what has gone that the transaction's snapshot does not show.
    async fn check_unseen(&self, session: &mut Session, foreign: &ForeignKey, before: &[Parameter]) -> Result<()> {
        if self.is_referenced(session, foreign, before).await? {
            return Err(SqlError::new(
                SqlState::T_R_SERIALIZATION_FAILURE,
                "could not serialize access due to concurrent update",
            ));
        }
        Ok(())
    }

    /// True if a row refers to these values, even one that the transaction's snapshot does not show.
    async fn is_referenced(&self, session: &mut Session, foreign: &ForeignKey, values: &[Parameter]) -> Result<bool> {
        let statement = Sql { session, table: &self.table, foreign }.referring();
        internal::any_row_of_newest(session, &statement, values).await
    }

    /// 23503 if a row refers to what has gone.
    async fn refuse(
        &self,
        session: &mut Session,
        foreign: &ForeignKey,
        target: &Arc<CachedTableData>,
        action: ForeignAction,
        old: &[u8],
        before: &[Parameter],
    ) -> Result<()> {
        if !self.is_referenced(session, foreign, before).await? {
            return Ok(());
        }
        // Another row may have come to the key.
        let same_key = Sql { session, table: &self.table, foreign }.referred(target);
        if action == ForeignAction::NoAction && internal::any_row_of_newest(session, &same_key, before).await? {
            return Ok(());
        }
        let own = Target::new(session, target)?;
        let stored = own.layout().decode(old)?;
        let shown = own.shown_columns(&foreign.target_columns, &RowValues::Values(&stored));
        let (table, name) = (&self.table.definition, &self.constraint.name);
        let what = format!("update or delete on table \"{}\"", target.definition.name);
        let catalog = session.context().catalog();
        let schema = catalog.schema(table.schema).map_or_else(String::new, |s| s.name.clone());
        Err(SqlError::new(
            SqlState::FOREIGN_KEY_VIOLATION,
            format!("{what} violates foreign key constraint \"{name}\" on table \"{}\"", table.name),
        )
        .detail(format!("Key {shown} is still referenced from table \"{}\".", table.name))
        .table(schema, &table.name)
        .constraint(name))
    }

    /// 23505 if more than one row has the key of a DEFERRABLE unique constraint.
    fn unique(&self, session: &mut Session, index: Oid, key: &[u8], row: &[u8]) -> Result<()> {
        let reader = newest(session)?;
        let mut entries = reader.scan_few(key.to_vec(), keys::prefix_end(key), false);
        let mut count = 0;
        while count < 2 && entries.next()?.is_some() {
            count += 1;
        }
        if count < 2 {
            return Ok(());
        }
        drop(entries);
        Err(Target::new(session, &self.table)?.duplicate_entry_stored(index, row)?)
    }
}

/// A value with its type.
pub(crate) type Parameter = (PgType, ScalarValue);

/// The values that a row of the table referred to is known by.
fn values(target: &CachedTableData, foreign: &ForeignKey, row: &[u8]) -> Result<Vec<Parameter>> {
    let definition = &target.definition;
    let layout = RowLayout::new(definition)?;
    let mut values = Vec::with_capacity(foreign.target_columns.len());
    for position in &foreign.target_columns {
        let live = definition.live_columns().position(|(i, _)| i == *position);
        let live = live.ok_or_else(|| SqlError::internal("a foreign key's column has been dropped"))?;
        let ty = definition.columns[*position].ty;
        values.push((ty, layout.decode_column(row, live)?.to_scalar(ty)?));
    }
    Ok(values)
}

/// A view of what is committed now, under READ COMMITTED.
fn newest(session: &mut Session) -> Result<TxnReader> {
    let txn = session.open_transaction()?;
    if txn.isolation() == Isolation::ReadCommitted {
        txn.refresh_snapshot();
    }
    Ok(txn.reader())
}

/// The key of the row with this key in the index referred to.
fn find(reader: &TxnReader, target: &CachedTableData, is_key: bool, key: &[u8]) -> Result<Option<Vec<u8>>> {
    let Some(found) = reader.get(key)? else { return Ok(None) };
    if is_key {
        return Ok(Some(key.to_vec()));
    }
    let row = keys::row_of_entry(key, &found).ok_or_else(|| SqlError::internal("an index's entry is damaged"))?;
    let mut row_key = target.definition.storage.to_be_bytes().to_vec();
    row_key.extend_from_slice(row);
    Ok(Some(row_key))
}

fn violation(what: &str, constraint: &str) -> SqlError {
    let message = format!("{what} violates foreign key constraint \"{constraint}\"");
    SqlError::new(SqlState::FOREIGN_KEY_VIOLATION, message)
}

/// The statements that a foreign key has run.
struct Sql<'a> {
    session: &'a Session,
    table: &'a CachedTableData,
    foreign: &'a ForeignKey,
}

impl Sql<'_> {
    fn name(&self, table: &CachedTableData) -> String {
        let catalog = self.session.context().catalog();
        let schema = catalog.schema(table.definition.schema).map_or_else(String::new, |s| s.name.clone());
        qualified(&schema, &table.definition.name)
    }

    /// `a = $1 AND b = $2`
    fn equal(table: &CachedTableData, columns: &[usize]) -> String {
        let column =
            |(i, c): (usize, &usize)| format!("{} = ${}", quote_ident(&table.definition.columns[*c].name), i + 1);
        columns.iter().enumerate().map(column).collect::<Vec<_>>().join(" AND ")
    }

    fn own(&self) -> String {
        Self::equal(self.table, &self.foreign.columns)
    }

    fn referring(&self) -> String {
        format!("SELECT 1 FROM {} WHERE {} LIMIT 1 FOR KEY SHARE", self.name(self.table), self.own())
    }

    fn referred(&self, target: &CachedTableData) -> String {
        let equal = Self::equal(target, &self.foreign.target_columns);
        format!("SELECT 1 FROM {} WHERE {equal} LIMIT 1 FOR KEY SHARE", self.name(target))
    }

    fn delete(&self) -> String {
        format!("DELETE FROM {} WHERE {}", self.name(self.table), self.own())
    }

    /// The new values are the parameters behind the old ones.
    fn update(&self) -> String {
        let (columns, count) = (&self.foreign.columns, self.foreign.columns.len());
        let set = columns.iter().enumerate().map(|(i, c)| format!("{} = ${}", self.column(*c), count + i + 1));
        format!("UPDATE {} SET {} WHERE {}", self.name(self.table), set.collect::<Vec<_>>().join(", "), self.own())
    }

    /// The same for several keys: the old and the new values of each are parameters.
    fn update_all(&self, count: usize) -> String {
        let width = self.foreign.columns.len();
        let row = |i: usize| {
            let values: Vec<String> = (1..=2 * width).map(|at| format!("${}", i * 2 * width + at)).collect();
            format!("({})", values.join(", "))
        };
        let rows: Vec<String> = (0..count).map(row).collect();
        let names = |prefix: &'static str| (0..width).map(move |i| format!("{prefix}{i}"));
        let columns = || self.foreign.columns.iter().map(|c| self.column(*c));
        let set: Vec<String> = columns().zip(names("new")).map(|(c, n)| format!("{c} = keys.{n}")).collect();
        let equal: Vec<String> = columns().zip(names("old")).map(|(c, o)| format!("fk.{c} = keys.{o}")).collect();
        format!(
            "UPDATE {} AS fk SET {} FROM (VALUES {}) AS keys({}) WHERE {}",
            self.name(self.table),
            set.join(", "),
            rows.join(", "),
            names("old").chain(names("new")).collect::<Vec<_>>().join(", "),
            equal.join(" AND "),
        )
    }

    fn set(&self, value: &str, on_delete: bool) -> String {
        let some = on_delete && !self.foreign.set_columns.is_empty();
        let columns = if some { &self.foreign.set_columns } else { &self.foreign.columns };
        let set = columns.iter().map(|c| format!("{} = {value}", self.column(*c)));
        format!("UPDATE {} SET {} WHERE {}", self.name(self.table), set.collect::<Vec<_>>().join(", "), self.own())
    }

    fn column(&self, position: usize) -> String {
        quote_ident(&self.table.definition.columns[position].name).into_owned()
    }
}
