//! ALTER TABLE's operations on constraints.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{Ident, TableConstraint};
use kalamdb_catalog::constraint::{Constraint, ConstraintKind};
use kalamdb_catalog::{CachedTableData, CatalogChange, Oid, Result, SqlError, SqlState, TableDefinition};

use super::{columns, current, rows, second_key};
use crate::session::Session;
use crate::sql::handlers::constraint::{self, Wanted, check_free};
use crate::sql::handlers::create_table::{primary_key, set_primary_key, touch};
use crate::sql::handlers::ddl::{change, exists, ident, is_taken, shown_name};
use crate::sql::handlers::drop::{Object, referring_to_index, remove, report, shown_index_name};
use crate::sql::handlers::index;
use crate::sql::handlers::rewrite::fill_indexes;
use crate::sql::handlers::schema::absent;
use crate::sql::prepared::PreparedStatement;

/// 42704 for a constraint that the table does not have.
fn find(table: &TableDefinition, name: &str, kind: &str) -> Result<Constraint> {
    table.all_constraints().into_iter().find(|c| c.name == name).ok_or_else(|| {
        let message = format!("constraint \"{name}\" {kind} \"{}\" does not exist", table.name);
        SqlError::new(SqlState::UNDEFINED_OBJECT, message)
    })
}

/// RENAME CONSTRAINT
pub(super) fn rename(session: &mut Session, table: &TableDefinition, old: &Ident, new: &Ident) -> Result<()> {
    let found = find(table, &ident(old), "for table")?;
    let new = ident(new);
    match found.kind {
        ConstraintKind::Primary(oid, _) | ConstraintKind::Unique(oid) => {
            let found = table.index(oid).ok_or_else(|| SqlError::internal("a constraint has no index"))?;
            index::rename(session, table, &found, new)
        }
        ConstraintKind::Check(..) | ConstraintKind::Foreign(_) => {
            check_free(table, &new)?;
            let mut definition = table.clone();
            for own in definition.constraints.iter_mut().filter(|c| c.oid == found.oid) {
                own.name.clone_from(&new);
            }
            change(session, CatalogChange::PutTable(definition))
        }
    }
}

/// ADD CONSTRAINT
pub(super) async fn add(
    session: &mut Session,
    prepared: &PreparedStatement,
    table: &Arc<CachedTableData>,
    constraint: &TableConstraint,
    not_valid: bool,
) -> Result<()> {
    let Some(wanted) = Wanted::of_table(constraint)? else {
        return add_primary_key(session, prepared, table, constraint, not_valid).await;
    };
    if let Wanted::Unique(unique) = &wanted {
        let what = if unique.primary { "PRIMARY KEY" } else { "UNIQUE" };
        if not_valid {
            return Err(never_unchecked(what));
        }
        if unique.primary {
            check_key_columns(session, &table.definition, &unique.columns).await?;
        }
    }
    add_wanted(session, prepared, table.definition.oid, &wanted, !not_valid).await
}

/// Adds a constraint, and looks at the rows that are there.
pub(super) async fn add_wanted(
    session: &mut Session,
    prepared: &PreparedStatement,
    table: Oid,
    wanted: &Wanted,
    validated: bool,
) -> Result<()> {
    let mut new = current(session, table)?.definition.clone();
    let added = constraint::add(session, prepared, &mut new, wanted, validated).map_err(SqlError::without_position)?;
    let Some(found) = added.and_then(|oid| new.constraint(oid)) else { return Ok(()) };
    if let Some(other) = constraint::other_table(session, table, &found) {
        // Nobody may take away what is referred to while the rows are looked at.
        session.open_transaction()?.share_table(other.definition.oid)?;
        session.transaction()?;
    }
    if let ConstraintKind::Primary(index, _) | ConstraintKind::Unique(index) = found.kind {
        let built = Arc::new(CachedTableData::new(new.clone()));
        fill_indexes(session, &built, &[index]).await?;
    }
    change(session, CatalogChange::PutTable(new.clone()))?;
    if let Some(other) = constraint::other_table(session, table, &found) {
        touch(session, &[other.definition.oid])?;
    }
    if validated { constraint::validate(session, &new, &found).await } else { Ok(()) }
}

async fn add_primary_key(
    session: &mut Session,
    prepared: &PreparedStatement,
    table: &Arc<CachedTableData>,
    constraint: &TableConstraint,
    not_valid: bool,
) -> Result<()> {
    let (name, key) = primary_key(constraint)?;
    if not_valid {
        return Err(never_unchecked("PRIMARY KEY"));
    }
    let old = &table.definition;
    check_key_columns(session, old, &key).await?;
    let mut new = old.clone();
    set_primary_key(session, &mut new, name, &key)?;
    let plan = rows::plan(session, prepared, old, &new, None)?;
    let new = rows::rewrite(session, new, &plan).await?;
    change(session, CatalogChange::PutTable(new))
}

fn never_unchecked(what: &str) -> SqlError {
    SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("{what} constraints cannot be marked NOT VALID"))
}

/// An error if columns cannot become the primary key: the table has one, or they have NULLs.
async fn check_key_columns(session: &mut Session, table: &TableDefinition, key: &[String]) -> Result<()> {
    if table.has_key() {
        return Err(second_key(&table.name));
    }
    for column in key {
        columns::position(table, column, "alter")?;
    }
    for column in table.live_columns().map(|(_, c)| c).filter(|c| key.contains(&c.name) && !c.not_null) {
        if rows::any(session, table, Some(&column.name)).await? {
            return Err(columns::contains_nulls(session, table, &column.name));
        }
    }
    Ok(())
}

/// DROP CONSTRAINT. The columns of a dropped key stay NOT NULL, as in PostgreSQL.
pub(super) async fn drop(
    session: &mut Session,
    prepared: &PreparedStatement,
    table: &Arc<CachedTableData>,
    name: &Ident,
    if_exists: bool,
    cascade: bool,
) -> Result<()> {
    let name = ident(name);
    let found = match find(&table.definition, &name, "of relation") {
        Ok(found) => found,
        Err(error) if if_exists => {
            session.context().notice(absent(&error));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let what = format!("constraint {name} on table {}", shown_name(session, table));
    if let ConstraintKind::Primary(index, _) | ConstraintKind::Unique(index) = found.kind {
        let on = format!("index {}", shown_index_name(session, &table.definition, &found.name));
        let edges: Vec<(Object, String)> = referring_to_index(session, table.definition.oid, index)
            .into_iter()
            .map(|object| (object, on.clone()))
            .collect();
        report(session, &edges, &what, false, cascade)?;
        remove(session, &edges)?;
    }
    let table = current(session, table.definition.oid)?;
    let old = &table.definition;
    let mut new = old.clone();
    match found.kind {
        ConstraintKind::Primary(..) if old.primary_key.is_some() => {
            new.primary_key = None;
            let plan = rows::plan(session, prepared, old, &new, None)?;
            new = rows::rewrite(session, new, &plan).await?;
        }
        ConstraintKind::Primary(index, _) | ConstraintKind::Unique(index) => {
            new.indexes.retain(|i| i.oid != index);
            new.constraints.retain(|c| c.oid != found.oid);
        }
        ConstraintKind::Check(..) | ConstraintKind::Foreign(_) => new.constraints.retain(|c| c.oid != found.oid),
    }
    change(session, CatalogChange::PutTable(new))?;
    match constraint::other_table(session, old.oid, &found) {
        Some(other) => touch(session, &[other.definition.oid]),
        None => Ok(()),
    }
}

/// VALIDATE CONSTRAINT
pub(super) async fn validate(session: &mut Session, table: &TableDefinition, name: &Ident) -> Result<()> {
    let found = find(table, &ident(name), "of relation")?;
    if !matches!(found.kind, ConstraintKind::Check(..) | ConstraintKind::Foreign(_)) {
        let message = format!(
            "constraint \"{}\" of relation \"{}\" is not a foreign key or check constraint",
            found.name, table.name
        );
        return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
    }
    if found.validated {
        return Ok(());
    }
    constraint::validate(session, table, &found).await?;
    let mut new = table.clone();
    for own in new.constraints.iter_mut().filter(|c| c.oid == found.oid) {
        own.validated = true;
    }
    change(session, CatalogChange::PutTable(new))
}

/// ALTER CONSTRAINT
pub(super) fn alter(
    session: &mut Session,
    table: &TableDefinition,
    name: &Ident,
    (deferrable, deferred): (bool, bool),
) -> Result<()> {
    let found = find(table, &ident(name), "of relation")?;
    if !matches!(found.kind, ConstraintKind::Foreign(_)) {
        let message =
            format!("constraint \"{}\" of relation \"{}\" is not a foreign key constraint", found.name, table.name);
        return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
    }
    let mut new = table.clone();
    for own in new.constraints.iter_mut().filter(|c| c.oid == found.oid) {
        (own.deferrable, own.deferred) = (deferrable, deferred);
    }
    change(session, CatalogChange::PutTable(new))
}

/// ADD CONSTRAINT ... UNIQUE USING INDEX. A primary key is the table's own order here, so it is made anew.
pub(super) async fn using_index(
    session: &mut Session,
    table: &Arc<CachedTableData>,
    name: Option<&Ident>,
    primary: bool,
    index_name: &Ident,
    (deferrable, deferred): (bool, bool),
) -> Result<()> {
    let old = &table.definition;
    let wanted = ident(index_name);
    let Some(found) = old.all_indexes().into_iter().find(|i| i.name == wanted) else {
        return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, format!("index \"{wanted}\" does not exist")));
    };
    if old.constraint_of_index(found.oid).is_some() {
        let message = format!("index \"{wanted}\" is already associated with a constraint");
        return Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
    }
    let refuse = |what: &str| {
        let detail = "Cannot create a primary key or unique constraint using such an index.";
        SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("index \"{wanted}\" {what}")).detail(detail)
    };
    if !found.unique {
        return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{wanted}\" is not a unique index"))
            .detail("Cannot create a primary key or unique constraint using such an index."));
    }
    if found.plain_columns().is_none() {
        return Err(refuse("contains expressions"));
    }
    if found.predicate.is_some() {
        return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{wanted}\" is a partial index"))
            .detail("Cannot create a primary key or unique constraint using such an index."));
    }
    if found.columns.iter().any(|c| c.descending || c.nulls_first) {
        let position = found.columns.iter().position(|c| c.descending || c.nulls_first).unwrap_or(0) + 1;
        let message = format!("index \"{wanted}\" column number {position} does not have default sorting behavior");
        return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message)
            .detail("Cannot create a primary key or unique constraint using such an index."));
    }
    if primary {
        return Err(SqlError::unsupported("PRIMARY KEY USING INDEX"));
    }
    let name = name.map_or_else(|| wanted.clone(), ident);
    check_free(old, &name)?;
    let mut new = old.clone();
    if name != wanted {
        if is_taken(session, old.schema, &name) {
            return Err(exists(&name));
        }
        let message = format!("ALTER TABLE / ADD CONSTRAINT USING INDEX will rename index \"{wanted}\" to \"{name}\"");
        session.context().notice(SqlError::new(SqlState::SUCCESSFUL_COMPLETION, message));
    }
    for own in new.indexes.iter_mut().filter(|i| i.oid == found.oid) {
        own.name.clone_from(&name);
        own.immediate = !deferrable;
        if deferrable {
            own.storage = session.app().take_storage();
        }
    }
    new.constraints.push(Constraint {
        oid: session.app().take_oids(1),
        name,
        kind: ConstraintKind::Unique(found.oid),
        validated: true,
        deferrable,
        deferred,
    });
    if deferrable {
        // Its entries have another form: two rows may have one key for a while.
        fill_indexes(session, &Arc::new(CachedTableData::new(new.clone())), &[found.oid]).await?;
    }
    change(session, CatalogChange::PutTable(new))
}
