//! [`Target`]: a table that is written to, with what its rows are made of and checked by.
//!
//! A row comes in, is checked (NOT NULL, CHECK), gets its key locked, is written with its entries in the indexes, and leaves
//! notes of what has to be looked at once the statement has been applied (`foreign`).

use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use kalamdb_catalog::constraint::ConstraintKind;
use kalamdb_catalog::{CachedTableData, Oid, PgType, Result, SqlError, SqlState, name};

use super::foreign::{Reference, Referenced};
use crate::session::{Session, SessionContext};
use crate::sql::bind::{Binder, Parameters, RowClause, row_schema};
use crate::sql::index_entries::{IndexEntries, RowValues, evaluate};
use crate::sql::parse;
use crate::sql::plan::physical_expr;
use crate::storage::{RowLayout, keys};
use crate::txn::{
    Claim, Existing, IndexEntry, InsertOutcome, LockMode, PendingCheck, PendingKind, StatementWrites, TableRef,
};
use crate::types::{Value, write_text};

pub(crate) struct Target {
    table: Arc<CachedTableData>,
    reference: TableRef,
    layout: Arc<RowLayout>,
    /// Types of the live columns.
    types: Vec<PgType>,
    /// Live positions of NOT NULL columns.
    not_null: Vec<usize>,
    /// Live positions and types of the primary key.
    key: Vec<(usize, PgType)>,
    /// By name, as PostgreSQL checks them.
    checks: Vec<Check>,
    /// Generated columns: live positions and how they are made.
    generated: Vec<(usize, Arc<dyn PhysicalExpr>)>,
    pub(crate) indexes: Vec<IndexEntries>,
    pub(crate) references: Vec<Reference>,
    pub(super) referenced: Vec<Referenced>,
    /// Of a batch of rows that expressions are evaluated over.
    row: SchemaRef,
    session: Arc<SessionContext>,
}

struct Check {
    name: String,
    condition: Arc<dyn PhysicalExpr>,
}

/// The rows of a batch for which a CHECK does not hold.
pub(crate) struct FailedChecks(Vec<(usize, BooleanArray)>);

impl Target {
    pub(crate) fn new(session: &Session, table: &Arc<CachedTableData>) -> Result<Target> {
        Target::of(session.context(), table)
    }

    pub(crate) fn of(session: &Arc<SessionContext>, table: &Arc<CachedTableData>) -> Result<Target> {
        let mut target = Target::bare(session, table)?;
        target.compile()?;
        Ok(target)
    }

    /// A table that is only read.
    pub(crate) fn bare(session: &Arc<SessionContext>, table: &Arc<CachedTableData>) -> Result<Target> {
        let definition = &table.definition;
        let layout = Arc::new(RowLayout::new(definition)?);
        let live: Vec<usize> = definition.live_columns().map(|(i, _)| i).collect();
        let key = definition.primary_key.iter().flat_map(|k| &k.columns);
        let key = key
            .map(|i| {
                let position = live.iter().position(|l| l == i);
                position
                    .map(|p| (p, definition.columns[*i].ty))
                    .ok_or_else(|| SqlError::internal("a key column has been dropped"))
            })
            .collect::<Result<Vec<_>>>()?;
        let types: Vec<PgType> = definition.live_columns().map(|(_, c)| c.ty).collect();
        let not_null = definition.live_columns().enumerate().filter(|(_, (_, c))| c.not_null);
        Ok(Target {
            table: Arc::clone(table),
            reference: TableRef::new(Arc::clone(&layout)),
            not_null: not_null.map(|(live, _)| live).collect(),
            row: Arc::new(row_schema(&types)?.as_arrow().clone()),
            types,
            key,
            layout,
            checks: Vec::new(),
            generated: Vec::new(),
            indexes: Vec::new(),
            references: Vec::new(),
            referenced: Vec::new(),
            session: Arc::clone(session),
        })
    }

    /// Makes ready what is computed from rows.
    fn compile(&mut self) -> Result<()> {
        let (session, definition) = (&self.session, &self.table.definition);
        let schema = row_schema(&self.types)?;
        let mut binder = Binder::new(session, session.catalog(), "", Parameters::default());
        for constraint in &definition.constraints {
            match &constraint.kind {
                ConstraintKind::Check(sql, _) => {
                    let bound = binder.stored_condition(definition, sql, RowClause::Check)?;
                    let condition = physical_expr(&bound, &schema, session)?;
                    self.checks.push(Check { name: constraint.name.clone(), condition });
                }
                ConstraintKind::Foreign(key) => {
                    self.references.push(Reference::new(session, definition, constraint, key)?);
                }
                ConstraintKind::Primary(..) | ConstraintKind::Unique(_) => {}
            }
        }
        self.checks.sort_by(|a, b| a.name.cmp(&b.name));
        for (live, (_, column)) in definition.live_columns().enumerate() {
            if let (true, Some(sql)) = (column.is_stored(), &column.default) {
                let bound = binder.generated_expr(definition, &parse::expression(sql)?, column)?;
                self.generated.push((live, physical_expr(&bound.expr, &schema, session)?));
            }
        }
        for index in &definition.indexes {
            self.indexes.push(IndexEntries::new(session, definition, index)?);
        }
        self.referenced = Referenced::all(session, definition)?;
        Ok(())
    }

    pub(crate) fn layout(&self) -> &Arc<RowLayout> {
        &self.layout
    }

    pub(crate) fn reference(&self) -> &TableRef {
        &self.reference
    }

    pub(crate) fn table(&self) -> &Arc<CachedTableData> {
        &self.table
    }

    pub(crate) fn types(&self) -> &[PgType] {
        &self.types
    }

    /// Live positions and types of the primary key.
    pub(crate) fn key_columns(&self) -> &[(usize, PgType)] {
        &self.key
    }

    /// Computes the generated columns of a batch of rows.
    pub(crate) fn generate(&self, columns: &mut [ArrayRef]) -> Result<()> {
        if self.generated.is_empty() {
            return Ok(());
        }
        let batch = self.batch(columns)?;
        for (live, e) in &self.generated {
            columns[*live] = evaluate(e, &batch)?;
        }
        Ok(())
    }

    /// A row with its generated columns computed.
    pub(crate) fn with_generated<'v>(&self, mut values: Vec<Value<'v>>) -> Result<Vec<Value<'v>>> {
        if self.generated.is_empty() {
            return Ok(values);
        }
        let batch = RowValues::Values(&values).batch(&self.row, &self.types)?;
        for (live, e) in &self.generated {
            values[*live] = Value::from_array(&evaluate(e, &batch)?, self.types[*live], 0).into_owned();
        }
        Ok(values)
    }

    fn batch(&self, columns: &[ArrayRef]) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(columns.first().map_or(1, |c| c.len())));
        RecordBatch::try_new_with_options(Arc::clone(&self.row), columns.to_vec(), &options)
            .map_err(|e| SqlError::internal(e.to_string()))
    }

    /// Evaluates the CHECKs for all rows of a batch: [`Target::check_row`] tells of them.
    pub(crate) fn failed_checks(&self, columns: &[ArrayRef]) -> Result<FailedChecks> {
        if self.checks.is_empty() || columns.first().is_some_and(|c| c.is_empty()) {
            return Ok(FailedChecks(Vec::new()));
        }
        let batch = self.batch(columns)?;
        let mut failed = Vec::new();
        for (i, check) in self.checks.iter().enumerate() {
            let holds = evaluate(&check.condition, &batch)?.as_boolean().clone();
            // NULL holds.
            if holds.false_count() > 0 {
                failed.push((i, holds));
            }
        }
        Ok(FailedChecks(failed))
    }

    /// 23502 for a NULL where none may be, 23514 for a CHECK that does not hold.
    pub(crate) fn check_row(&self, failed: &FailedChecks, row: &RowValues<'_>, at: usize) -> Result<()> {
        self.check_not_null(row)?;
        for (check, holds) in &failed.0 {
            if holds.is_valid(at) && !holds.value(at) {
                return Err(self.check_violation(&self.checks[*check], row));
            }
        }
        Ok(())
    }

    /// The same for a row that comes alone.
    pub(crate) fn check_values(&self, values: &[Value<'_>]) -> Result<()> {
        let row = RowValues::Values(values);
        self.check_not_null(&row)?;
        if self.checks.is_empty() {
            return Ok(());
        }
        let batch = row.batch(&self.row, &self.types)?;
        for check in &self.checks {
            let holds = evaluate(&check.condition, &batch)?;
            let holds = holds.as_boolean();
            if holds.is_valid(0) && !holds.value(0) {
                return Err(self.check_violation(check, &row));
            }
        }
        Ok(())
    }

    /// The same for a stored row: constraints NOT VALID do not hold for all of them.
    pub(crate) fn check_stored(&self, row: &RowValues<'_>) -> Result<()> {
        self.check_not_null(row)?;
        let batch = row.batch(&self.row, &self.types)?;
        for check in self.checks.iter().filter(|c| self.is_validated(&c.name)) {
            let holds = evaluate(&check.condition, &batch)?;
            let holds = holds.as_boolean();
            if holds.is_valid(0) && !holds.value(0) {
                return Err(self.check_violation(check, row));
            }
        }
        Ok(())
    }

    fn is_validated(&self, constraint: &str) -> bool {
        self.table.definition.constraints.iter().any(|c| c.name == constraint && c.validated)
    }

    pub(super) fn check_not_null(&self, row: &RowValues<'_>) -> Result<()> {
        match self.not_null.iter().find(|live| row.is_null(**live)) {
            Some(live) => Err(self.null_violation(*live, row)),
            None => Ok(()),
        }
    }

    /// The name of the first NOT NULL column that is NULL.
    pub(crate) fn first_null(&self, columns: &[ArrayRef], row: usize) -> Option<&str> {
        let live = self.not_null.iter().find(|live| columns[**live].is_null(row))?;
        self.table.definition.live_columns().nth(*live).map(|(_, c)| c.name.as_str())
    }

    /// The lock that an UPDATE of a row needs: who only refers to it does not mind a change that leaves its keys alone.
    pub(crate) fn lock_mode(&self, key: &[u8], old: &[u8], new: &RowValues<'_>) -> Result<LockMode> {
        let keys_stay = self.keeps_key(key, new) && self.keeps_unique_keys(old, new)?;
        Ok(if keys_stay { LockMode::NO_KEY_UPDATE } else { LockMode::UPDATE })
    }

    fn keeps_key(&self, key: &[u8], new: &RowValues<'_>) -> bool {
        self.key.is_empty() || self.key_of(new, 0) == key
    }

    fn keeps_unique_keys(&self, old: &[u8], new: &RowValues<'_>) -> Result<bool> {
        let identifying: Vec<&IndexEntries> = self.indexes.iter().filter(|i| i.definition.identifies_rows()).collect();
        if identifying.is_empty() {
            return Ok(true);
        }
        let stored = self.layout.decode(old)?;
        let old = RowValues::Values(&stored);
        for index in identifying {
            if index.key(&old)? != index.key(new)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Adds a row that has been checked; waits for whoever writes the same keys.
    pub(crate) async fn insert(&self, writes: &mut StatementWrites, row: &RowValues<'_>, row_id: u64) -> Result<()> {
        self.insert_late(writes, self.key_of(row, row_id), row).await
    }

    /// The same for a row that has its key already.
    pub(crate) async fn insert_late(
        &self,
        writes: &mut StatementWrites,
        key: Vec<u8>,
        row: &RowValues<'_>,
    ) -> Result<()> {
        if !writes.lock_new_key(&self.reference, &key).await? {
            return Err(self.duplicate(row));
        }
        self.insert_locked(writes, key, row).await
    }

    /// The same for a row whose key is locked.
    async fn insert_locked(&self, writes: &mut StatementWrites, key: Vec<u8>, row: &RowValues<'_>) -> Result<()> {
        if self.is_plain() {
            return self.insert_row(writes, key, row);
        }
        for entry in self.entries(row, &key)? {
            writes.lock_entry(&self.reference, &entry).await?;
        }
        for (index, key) in self.deferred_keys(row)? {
            writes.lock_deferred(index, &key).await?;
        }
        self.insert_with_entries(writes, key, row)
    }

    /// The same for a caller that cannot wait: false, and nothing written, if another transaction is writing one of the keys.
    pub(crate) fn try_insert(&self, writes: &mut StatementWrites, key: &[u8], row: &RowValues<'_>) -> Result<bool> {
        if !writes.try_lock_key(&self.reference, key)? {
            return Ok(false);
        }
        if self.is_plain() {
            self.insert_row(writes, key.to_vec(), row)?;
            return Ok(true);
        }
        for entry in self.entries(row, key)? {
            let Claim::Locked = writes.claim_entry(&self.reference, &entry)? else { return Ok(false) };
        }
        // What is checked later has to wait for others.
        if !self.deferred_keys(row)?.is_empty() {
            return Ok(false);
        }
        self.insert_with_entries(writes, key.to_vec(), row)?;
        Ok(true)
    }

    /// True if nothing but the row itself is written.
    fn is_plain(&self) -> bool {
        self.indexes.is_empty() && self.references.is_empty()
    }

    fn insert_row(&self, writes: &mut StatementWrites, key: Vec<u8>, row: &RowValues<'_>) -> Result<()> {
        match writes.insert(&self.reference, key, row.encode(&self.layout))? {
            InsertOutcome::Ok => Ok(()),
            InsertOutcome::Duplicate => Err(self.duplicate(row)),
        }
    }

    fn insert_with_entries(&self, writes: &mut StatementWrites, key: Vec<u8>, row: &RowValues<'_>) -> Result<()> {
        let entries = self.entries(row, &key)?;
        self.note_insert(writes, &key, row)?;
        self.insert_row(writes, key, row)?;
        for entry in entries {
            let index = entry.index;
            if writes.insert_entry(entry)? == InsertOutcome::Duplicate {
                return Err(self.duplicate_entry(index, row)?);
            }
        }
        Ok(())
    }

    /// The row's entries in all indexes, in the order the indexes were made.
    pub(super) fn entries(&self, row: &RowValues<'_>, key: &[u8]) -> Result<Vec<IndexEntry>> {
        let mut entries = Vec::with_capacity(self.indexes.len());
        for index in &self.indexes {
            entries.extend(index.entry(row, key)?);
        }
        Ok(entries)
    }

    /// The keys of DEFERRABLE unique constraints, whose uniqueness is looked at later.
    pub(super) fn deferred_keys(&self, row: &RowValues<'_>) -> Result<Vec<(Oid, Vec<u8>)>> {
        let mut found = Vec::new();
        for index in self.indexes.iter().filter(|i| i.definition.unique && !i.definition.immediate) {
            if let Some((key, any_null)) = index.key(row)?
                && (index.definition.nulls_not_distinct || !any_null)
            {
                found.push((index.oid(), key));
            }
        }
        Ok(found)
    }

    fn note_insert(&self, writes: &mut StatementWrites, key: &[u8], row: &RowValues<'_>) -> Result<()> {
        let deferred = self.deferred_keys(row)?;
        if self.references.is_empty() && deferred.is_empty() {
            return Ok(());
        }
        let encoded = Bytes::from(row.encode(&self.layout));
        self.note_references(writes, key, &encoded, row, None)?;
        self.note_deferred(writes, key, &encoded, deferred)
    }

    fn note_references(
        &self,
        writes: &mut StatementWrites,
        row_key: &[u8],
        encoded: &Bytes,
        row: &RowValues<'_>,
        before: Option<(&[u8], &RowValues<'_>)>,
    ) -> Result<()> {
        for reference in &self.references {
            let Some(key) = reference.key(self, row)? else { continue };
            // Whoever refers to what he referred to before has been looked at before, unless that was to come at commit.
            if let Some((before_key, before)) = before
                && !(reference.deferrable && writes.has_written(before_key))
                && reference.key_if_whole(before)?.as_deref() == Some(&key)
            {
                continue;
            }
            let what = PendingKind::Reference {
                key: Bytes::from(key),
                row_key: Bytes::copy_from_slice(row_key),
                row: encoded.clone(),
            };
            writes.check_later(PendingCheck { constraint: reference.constraint, what })?;
        }
        Ok(())
    }

    fn note_deferred(
        &self,
        writes: &mut StatementWrites,
        row_key: &[u8],
        encoded: &Bytes,
        deferred: Vec<(Oid, Vec<u8>)>,
    ) -> Result<()> {
        for (index, key) in deferred {
            let Some(constraint) = self.table.definition.constraint_of_index(index) else { continue };
            let what = PendingKind::Unique {
                key: Bytes::from(key),
                row_key: Bytes::copy_from_slice(row_key),
                row: encoded.clone(),
            };
            writes.check_later(PendingCheck { constraint: constraint.oid, what })?;
        }
        Ok(())
    }

    /// Gives a row whose lock is held other values, which have been checked; false if the statement has changed it already.
    pub(crate) async fn replace(
        &self,
        writes: &mut StatementWrites,
        key: &[u8],
        old: &[u8],
        row: &RowValues<'_>,
    ) -> Result<bool> {
        let new = Bytes::from(row.encode(&self.layout));
        let new_key = if self.keeps_key(key, row) { key.to_vec() } else { self.key_of(row, 0) };
        if new_key != key {
            writes.lock_key(&self.reference, &new_key).await?;
        }
        if self.is_plain() && self.referenced.is_empty() {
            return if new_key == key {
                writes.update(&self.reference, key, old, new)
            } else {
                writes.rekey(&self.reference, key, old, new_key, new)
            };
        }
        let stored = self.layout.decode(old)?;
        let before = RowValues::Values(&stored);
        let (gone, come) = self.changed_entries((&before, key), (row, &new_key))?;
        for entry in &come {
            writes.lock_entry(&self.reference, entry).await?;
        }
        let deferred = self.deferred_keys(row)?;
        let deferred_before = self.deferred_keys(&before)?;
        let deferred: Vec<_> = deferred.into_iter().filter(|d| !deferred_before.contains(d)).collect();
        for (index, key) in &deferred {
            writes.lock_deferred(*index, key).await?;
        }
        let changed = if new_key == key {
            writes.update(&self.reference, key, old, new.clone())?
        } else {
            writes.rekey(&self.reference, key, old, new_key.clone(), new.clone())?
        };
        if !changed {
            return Ok(false);
        }
        for entry in gone {
            writes.remove_entry(entry)?;
        }
        for entry in come {
            writes.move_entry(entry, &new)?;
        }
        // First what refers to the row: that may be the row itself.
        self.note_referenced(writes, &before, old, Some((row, &new)))?;
        self.note_references(writes, &new_key, &new, row, Some((key, &before)))?;
        self.note_deferred(writes, &new_key, &new, deferred)?;
        Ok(true)
    }

    /// The entries that an UPDATE takes and those that it brings.
    #[allow(clippy::type_complexity)]
    fn changed_entries(
        &self,
        (old, old_key): (&RowValues<'_>, &[u8]),
        (new, new_key): (&RowValues<'_>, &[u8]),
    ) -> Result<(Vec<IndexEntry>, Vec<IndexEntry>)> {
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        for index in &self.indexes {
            let (before, after) = (index.entry(old, old_key)?, index.entry(new, new_key)?);
            if before != after {
                gone.extend(before);
                come.extend(after);
            }
        }
        Ok((gone, come))
    }

    fn note_referenced(
        &self,
        writes: &mut StatementWrites,
        before: &RowValues<'_>,
        old: &[u8],
        new: Option<(&RowValues<'_>, &Bytes)>,
    ) -> Result<()> {
        for referenced in &self.referenced {
            let Some(key) = referenced.key(before)? else { continue };
            if let Some((row, _)) = new
                && referenced.key(row)?.as_deref() == Some(&key)
            {
                continue;
            }
            let what =
                PendingKind::Referenced { old: Bytes::copy_from_slice(old), new: new.map(|(_, row)| row.clone()) };
            writes.check_later(PendingCheck { constraint: referenced.constraint, what })?;
        }
        Ok(())
    }

    /// Deletes a row whose lock is held; false if the statement has changed it already.
    pub(crate) fn delete(&self, writes: &mut StatementWrites, key: &[u8], old: &[u8]) -> Result<bool> {
        if !writes.delete(&self.reference, key, old)? {
            return Ok(false);
        }
        if self.indexes.is_empty() && self.referenced.is_empty() {
            return Ok(true);
        }
        let stored = self.layout.decode(old)?;
        let row = RowValues::Values(&stored);
        for entry in self.entries(&row, key)? {
            writes.remove_entry(entry)?;
        }
        self.note_referenced(writes, &row, old, None)?;
        Ok(true)
    }

    /// What is there under a key that is locked.
    pub(super) fn existing(&self, writes: &mut StatementWrites, key: &[u8]) -> Result<Existing> {
        writes.existing(&self.reference, key)
    }

    /// Row ids for tables without a primary key; 0 where none are needed.
    pub(crate) fn row_ids(&self, session: &mut Session, rows: usize) -> Result<u64> {
        if self.key.is_empty() { session.open_transaction()?.row_ids(rows as u64) } else { Ok(0) }
    }

    pub(crate) fn key_of(&self, row: &RowValues<'_>, row_id: u64) -> Vec<u8> {
        if self.key.is_empty() {
            return keys::row_id_key(self.reference.storage, row_id);
        }
        let mut key = Vec::with_capacity(keys::STORAGE_LEN + self.key.len() * 9 + keys::SEQ_LEN);
        key.extend_from_slice(&self.reference.storage.to_be_bytes());
        for (position, ty) in &self.key {
            keys::push_value(&mut key, *ty, &row.value(*position, *ty));
        }
        key
    }

    fn null_violation(&self, live: usize, row: &RowValues<'_>) -> SqlError {
        let definition = &self.table.definition;
        let name = definition.live_columns().nth(live).map_or("", |(_, c)| c.name.as_str());
        SqlError::new(
            SqlState::NOT_NULL_VIOLATION,
            format!("null value in column \"{name}\" of relation \"{}\" violates not-null constraint", definition.name),
        )
        .detail(format!("Failing row contains ({}).", self.show_row(row)))
        .table(self.schema_name(), &definition.name)
        .column(name)
    }

    fn check_violation(&self, check: &Check, row: &RowValues<'_>) -> SqlError {
        let (name, table) = (&check.name, &self.table.definition.name);
        let message = format!("new row for relation \"{table}\" violates check constraint \"{name}\"");
        SqlError::new(SqlState::CHECK_VIOLATION, message)
            .detail(format!("Failing row contains ({}).", self.show_row(row)))
            .table(self.schema_name(), table)
            .constraint(name)
    }

    fn show_row(&self, row: &RowValues<'_>) -> String {
        let shown: Vec<String> = row
            .values(&self.types)
            .iter()
            .zip(&self.types)
            .map(|(value, ty)| {
                if value.is_null() {
                    return "null".to_owned();
                }
                let text = self.text(*ty, value);
                // PostgreSQL shows no more than 64 bytes of a value.
                if text.len() <= 64 {
                    return text;
                }
                let end = (0..=64).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
                format!("{}...", &text[..end])
            })
            .collect();
        shown.join(", ")
    }

    fn text(&self, ty: PgType, value: &Value<'_>) -> String {
        if value.is_null() {
            return "null".to_owned();
        }
        let mut out = Vec::new();
        write_text(ty, value, &self.session.format(), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// 23505 for a row whose primary key is taken.
    pub(crate) fn duplicate(&self, row: &RowValues<'_>) -> SqlError {
        let definition = &self.table.definition;
        let Some(key) = &definition.primary_key else {
            return SqlError::internal("a duplicate in a table without a key");
        };
        let columns: Vec<String> = key.columns.iter().map(|i| self.quoted(*i)).collect();
        let values: Vec<String> = self.key.iter().map(|(p, ty)| self.text(*ty, &row.value(*p, *ty))).collect();
        self.unique_violation(&key.name, &columns, &values)
    }

    /// The same for a stored row.
    pub(crate) fn duplicate_stored(&self, row: &[u8]) -> Result<SqlError> {
        Ok(self.duplicate(&RowValues::Values(&self.layout.decode(row)?)))
    }

    /// 23505 for a row whose key in an index is taken.
    pub(crate) fn duplicate_entry(&self, index: Oid, row: &RowValues<'_>) -> Result<SqlError> {
        let index = self.indexes.iter().find(|i| i.oid() == index);
        let index = index.ok_or_else(|| SqlError::internal("a duplicate in an index that is not there"))?;
        let values: Vec<String> = index.shown(row)?.iter().map(|(ty, value)| self.text(*ty, value)).collect();
        let columns: Vec<String> = index
            .definition
            .columns
            .iter()
            .map(|column| match &column.key {
                kalamdb_catalog::index::IndexKey::Column(i) => self.quoted(*i),
                kalamdb_catalog::index::IndexKey::Expression(sql, _) => sql.clone(),
            })
            .collect();
        Ok(self.unique_violation(&index.definition.name, &columns, &values))
    }

    /// The same for a stored row.
    pub(crate) fn duplicate_entry_stored(&self, index: Oid, row: &[u8]) -> Result<SqlError> {
        self.duplicate_entry(index, &RowValues::Values(&self.layout.decode(row)?))
    }

    fn quoted(&self, position: usize) -> String {
        name::quote_ident(&self.table.definition.columns[position].name).into_owned()
    }

    fn unique_violation(&self, name: &str, columns: &[String], values: &[String]) -> SqlError {
        let message = format!("duplicate key value violates unique constraint \"{name}\"");
        SqlError::new(SqlState::UNIQUE_VIOLATION, message)
            .detail(format!("Key ({})=({}) already exists.", columns.join(", "), values.join(", ")))
            .table(self.schema_name(), &self.table.definition.name)
            .constraint(name)
    }

    /// Columns and values as `(a, b)=(1, 2)`.
    pub(super) fn shown_columns(&self, positions: &[usize], row: &RowValues<'_>) -> String {
        let live = |position: &usize| self.table.definition.live_columns().position(|(i, _)| i == *position);
        let names: Vec<&str> = positions.iter().map(|p| self.table.definition.columns[*p].name.as_str()).collect();
        let values: Vec<String> = positions
            .iter()
            .filter_map(live)
            .map(|live| self.text(self.types[live], &row.value(live, self.types[live])))
            .collect();
        format!("({})=({})", names.join(", "), values.join(", "))
    }

    pub(super) fn oid(&self) -> Oid {
        self.table.definition.oid
    }

    pub(crate) fn schema_name(&self) -> String {
        let catalog = self.session.catalog();
        catalog.schema(self.table.definition.schema).map_or_else(String::new, |s| s.name.clone())
    }
}
