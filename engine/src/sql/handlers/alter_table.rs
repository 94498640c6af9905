//! ALTER TABLE.
//!
//! The table is locked and then read from a fresh snapshot, so that every row committed before is seen. Operations run
//! in PostgreSQL's order of passes, each on the definition the one before left. What changes only how rows are read
//! (adding a column with a constant default, dropping one) changes the definition; what changes stored values or keys
//! writes all rows to a new storage. Views keep their meaning: `views` rewrites the text of those that read the table.

mod columns;
mod constraints;
mod identity;
mod rows;
mod texts;
mod views;

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    AlterColumnOperation, AlterTableOperation as Operation, DropBehavior, Owner, RenameTableNameKind, SqlOption,
};
use kalamdb_catalog::constraint::ConstraintKind;
use kalamdb_catalog::{
    CachedTableData, CatalogChange, ColumnDefinition, Oid, Result, SqlError, SqlState, TableDefinition, TableKind,
};

use super::ddl::{change, exists, ident, is_taken, named_schema, refuse_builtin, relation};
use super::schema::absent;
use crate::providers;
use crate::session::Session;
use crate::sql::Response;
use crate::sql::bind::name_parts;
use crate::sql::execute::complete;
use crate::sql::prepared::PreparedStatement;
use crate::sql::statement::{AlterOperation, AlterTable};

pub(crate) async fn run(session: &mut Session, prepared: &PreparedStatement, alter: &AlterTable) -> Result<Response> {
    if let Some(oid) = target(session, prepared, alter)? {
        let mut operations: Vec<&AlterOperation> = alter.operations.iter().collect();
        operations.sort_by_key(|o| pass(o));
        for operation in operations {
            let table = current(session, oid)?;
            refuse_for_kind(&table.definition, operation)?;
            match operation {
                AlterOperation::Parsed(parsed) => apply(session, prepared, &table, parsed).await?,
                own => apply_own(session, &table, own).await?,
            }
        }
    }
    complete("ALTER TABLE")
}

/// When an operation's turn is (tablecmds.c, AT_PASS_*): drops come first, so that a column can be replaced; a new type
/// is there before the default of that type, and a column before the key on it.
fn pass(operation: &AlterOperation) -> u8 {
    let operation = match operation {
        AlterOperation::Parsed(parsed) => &**parsed,
        AlterOperation::DropIdentity { .. } | AlterOperation::DropExpression { .. } => return 0,
        AlterOperation::UsingIndex { .. } => return 4,
        AlterOperation::SetIdentity { .. } => return 5,
        AlterOperation::SetSchema(_) | AlterOperation::ResetOptions(_) | AlterOperation::AlterConstraint { .. } => {
            return 6;
        }
    };
    match operation {
        Operation::DropColumn { .. } | Operation::DropConstraint { .. } => 0,
        Operation::AlterColumn { op, .. } => match op {
            AlterColumnOperation::DropDefault | AlterColumnOperation::DropNotNull => 0,
            AlterColumnOperation::SetDataType { .. } => 1,
            AlterColumnOperation::SetNotNull | AlterColumnOperation::AddGenerated { .. } => 3,
            AlterColumnOperation::SetDefault { .. } => 5,
        },
        Operation::AddColumn { .. } => 2,
        Operation::AddConstraint { .. } => 4,
        _ => 6,
    }
}

/// Finds and locks the table; None if it is missing and that is no error.
fn target(session: &mut Session, prepared: &PreparedStatement, alter: &AlterTable) -> Result<Option<Oid>> {
    let table = match relation(session, prepared, &alter.name).map_err(SqlError::without_position) {
        Ok(table) => table,
        Err(error) if error.code() == SqlState::UNDEFINED_TABLE => {
            let parts = name_parts(&alter.name)?;
            if alter.if_exists {
                let name = parts.last().cloned().unwrap_or_default();
                session.context().notice(absent(&SqlError::new(
                    SqlState::UNDEFINED_TABLE,
                    format!("relation \"{name}\" does not exist"),
                )));
                return Ok(None);
            }
            if let [.., schema, _] = parts.as_slice() {
                named_schema(session, schema)?;
            }
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    refuse_builtin(&table)?;
    let oid = table.definition.oid;
    session.open_transaction()?.take_table(oid)?;
    // READ COMMITTED: a snapshot from after the lock.
    session.transaction()?;
    current(session, oid)?;
    Ok(Some(oid))
}

/// The table as the operations so far left it.
pub(super) fn current(session: &Session, oid: Oid) -> Result<Arc<CachedTableData>> {
    let table = session.context().catalog().table(oid).cloned();
    table.ok_or_else(|| {
        SqlError::new(SqlState::T_R_SERIALIZATION_FAILURE, "could not serialize access due to concurrent update")
    })
}

async fn apply(
    session: &mut Session,
    prepared: &PreparedStatement,
    table: &Arc<CachedTableData>,
    operation: &Operation,
) -> Result<()> {
    match operation {
        Operation::AddColumn { column_def, if_not_exists, column_position: None, .. } => {
            columns::add(session, prepared, table, column_def, *if_not_exists).await
        }
        Operation::DropColumn { column_names, if_exists, drop_behavior, .. } => {
            let cascade = matches!(drop_behavior, Some(DropBehavior::Cascade));
            for name in column_names {
                let table = current(session, table.definition.oid)?;
                columns::drop(session, prepared, &table, name, *if_exists, cascade).await?;
            }
            Ok(())
        }
        Operation::RenameColumn { old_column_name, new_column_name } => {
            columns::rename(session, table, old_column_name, new_column_name)
        }
        Operation::AlterColumn { column_name, op } => columns::alter(session, prepared, table, column_name, op).await,
        Operation::RenameTable { table_name: RenameTableNameKind::To(name) } => {
            let parts = name_parts(name)?;
            let [new] = parts.as_slice() else {
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \".\""));
            };
            rename_table(session, &table.definition, new)
        }
        Operation::RenameConstraint { old_name, new_name } => {
            constraints::rename(session, &table.definition, old_name, new_name)
        }
        Operation::AddConstraint { constraint, not_valid } => {
            constraints::add(session, prepared, table, constraint, *not_valid).await
        }
        Operation::DropConstraint { if_exists, name, drop_behavior } => {
            let cascade = matches!(drop_behavior, Some(DropBehavior::Cascade));
            constraints::drop(session, prepared, table, name, *if_exists, cascade).await
        }
        Operation::OwnerTo { new_owner } => change_owner(session, &table.definition, new_owner),
        Operation::SetOptionsParens { options } => set_options(session, &table.definition, options),
        Operation::ValidateConstraint { name } => constraints::validate(session, &table.definition, name).await,
        other => Err(SqlError::unsupported(refused_name(other))),
    }
}

/// What an operation that is not there is called.
fn refused_name(operation: &Operation) -> &'static str {
    match operation {
        Operation::DisableRowLevelSecurity
        | Operation::EnableRowLevelSecurity
        | Operation::ForceRowLevelSecurity
        | Operation::NoForceRowLevelSecurity => "ROW LEVEL SECURITY",
        Operation::DisableTrigger { .. }
        | Operation::EnableTrigger { .. }
        | Operation::EnableAlwaysTrigger { .. }
        | Operation::EnableReplicaTrigger { .. } => "TRIGGER",
        Operation::DisableRule { .. }
        | Operation::EnableRule { .. }
        | Operation::EnableAlwaysRule { .. }
        | Operation::EnableReplicaRule { .. } => "RULE",
        Operation::ReplicaIdentity { .. } => "REPLICA IDENTITY",
        _ => "this form of ALTER TABLE",
    }
}

async fn apply_own(session: &mut Session, table: &Arc<CachedTableData>, operation: &AlterOperation) -> Result<()> {
    match operation {
        AlterOperation::SetSchema(schema) => set_schema(session, &table.definition, schema),
        AlterOperation::ResetOptions(names) => {
            let mut definition = table.definition.clone();
            definition.options.retain(|(name, _)| !names.contains(name));
            change(session, CatalogChange::PutTable(definition))
        }
        AlterOperation::SetIdentity { column, always, options } => {
            identity::set(session, &table.definition, column, *always, options)
        }
        AlterOperation::DropIdentity { column, if_exists } => {
            identity::drop(session, &table.definition, column, *if_exists)
        }
        AlterOperation::DropExpression { column, if_exists } => {
            identity::drop_expression(session, &table.definition, column, *if_exists)
        }
        AlterOperation::AlterConstraint { name, deferrable, deferred } => {
            constraints::alter(session, &table.definition, name, (*deferrable, *deferred))
        }
        AlterOperation::UsingIndex { name, primary, index, deferrable, deferred } => {
            constraints::using_index(session, table, name.as_ref(), *primary, index, (*deferrable, *deferred)).await
        }
        AlterOperation::Parsed(_) => Err(SqlError::internal("an operation of another kind")),
    }
}

/// Of a view or a sequence only names and owner can be altered.
fn refuse_for_kind(table: &TableDefinition, operation: &AlterOperation) -> Result<()> {
    let kind = match table.kind {
        TableKind::View { .. } => "views",
        TableKind::Sequence(_) => "sequences",
        _ => return Ok(()),
    };
    let action = match operation {
        AlterOperation::SetSchema(_) | AlterOperation::ResetOptions(_) => return Ok(()),
        AlterOperation::Parsed(parsed) => match &**parsed {
            Operation::RenameTable { .. } | Operation::OwnerTo { .. } => return Ok(()),
            Operation::RenameColumn { .. } | Operation::RenameConstraint { .. } if kind == "views" => return Ok(()),
            Operation::RenameColumn { .. } => {
                let message = format!("cannot rename columns of relation \"{}\"", table.name);
                return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message)
                    .detail("This operation is not supported for sequences."));
            }
            Operation::AddColumn { .. } => "ADD COLUMN",
            Operation::DropColumn { .. } => "DROP COLUMN",
            Operation::AddConstraint { .. } => "ADD CONSTRAINT",
            Operation::DropConstraint { .. } => "DROP CONSTRAINT",
            Operation::AlterColumn { op: AlterColumnOperation::SetDataType { .. }, .. } => {
                "ALTER COLUMN ... SET DATA TYPE"
            }
            Operation::AlterColumn { op: AlterColumnOperation::SetNotNull, .. } => "ALTER COLUMN ... SET NOT NULL",
            Operation::AlterColumn { op: AlterColumnOperation::DropNotNull, .. } => "ALTER COLUMN ... DROP NOT NULL",
            _ => return Err(SqlError::unsupported(format!("this form of ALTER TABLE on {kind}"))),
        },
        _ => return Err(SqlError::unsupported(format!("this form of ALTER TABLE on {kind}"))),
    };
    Err(SqlError::new(
        SqlState::WRONG_OBJECT_TYPE,
        format!("ALTER action {action} cannot be performed on relation \"{}\"", table.name),
    )
    .detail(format!("This operation is not supported for {kind}.")))
}

/// Puts a definition whose name or columns have changed in place, and with it the views that read it. `what` names the
/// change, should a view be beyond rewriting.
pub(super) fn put_with_views(
    session: &mut Session,
    before: &TableDefinition,
    after: TableDefinition,
    what: &str,
) -> Result<()> {
    let views = views::adapted(session, before, &after, what)?;
    change(session, CatalogChange::PutTable(after))?;
    for view in views {
        change(session, CatalogChange::PutTable(view))?;
    }
    Ok(())
}

fn rename_table(session: &mut Session, table: &TableDefinition, new: &str) -> Result<()> {
    let name = new.to_owned();
    if is_taken(session, table.schema, &name) {
        return Err(exists(&name));
    }
    let mut new = TableDefinition { name, ..table.clone() };
    texts::rename_table(&mut new, &table.name)?;
    put_with_views(session, table, new, "renaming a relation")
}

/// 42P16
pub(crate) fn second_key(table: &str) -> SqlError {
    SqlError::new(
        SqlState::INVALID_TABLE_DEFINITION,
        format!("multiple primary keys for table \"{table}\" are not allowed"),
    )
}

/// There are no roles to give a table to but the user's own.
fn change_owner(session: &mut Session, table: &TableDefinition, owner: &Owner) -> Result<()> {
    let user = session.context().user.clone();
    let owner = match owner {
        Owner::Ident(name) => ident(name),
        Owner::CurrentRole | Owner::CurrentUser | Owner::SessionUser => user.clone(),
    };
    if owner == table.owner {
        return Ok(());
    }
    if owner != user {
        return Err(SqlError::unsupported(format!("OWNER TO \"{owner}\", a role other than your own,")));
    }
    change(session, CatalogChange::PutTable(TableDefinition { owner, ..table.clone() }))
}

fn set_options(session: &mut Session, table: &TableDefinition, options: &[SqlOption]) -> Result<()> {
    let mut definition = table.clone();
    for option in options {
        let SqlOption::KeyValue { key, value } = option else {
            return Err(SqlError::unsupported(format!("table option {option}")));
        };
        let (name, value) = (ident(key), value.to_string().trim_matches('\'').to_owned());
        check_option(&name, &value)?;
        definition.options.retain(|(n, _)| *n != name);
        definition.options.push((name, value));
    }
    change(session, CatalogChange::PutTable(definition))
}

/// Storage parameters are kept and shown; they have no effect here.
fn check_option(name: &str, value: &str) -> Result<()> {
    let invalid = |message: String| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let (low, high) = match name {
        "fillfactor" => (10, 100),
        "parallel_workers" => (0, 1024),
        "toast_tuple_target" => (128, 8160),
        _ if name.starts_with("autovacuum_") => return Ok(()),
        "type" | "flush_policy" | "ttl_seconds" | "storage" => {
            return Err(SqlError::unsupported(format!("changing table option \"{name}\"")));
        }
        _ => return Err(invalid(format!("unrecognized parameter \"{name}\""))),
    };
    let Ok(number) = value.parse::<i64>() else {
        return Err(invalid(format!("invalid value for integer option \"{name}\": {value}")));
    };
    if (low..=high).contains(&number) {
        return Ok(());
    }
    Err(invalid(format!("value {value} out of bounds for option \"{name}\""))
        .detail(format!("Valid values are between \"{low}\" and \"{high}\".")))
}

fn set_schema(session: &mut Session, table: &TableDefinition, name: &str) -> Result<()> {
    let schema = named_schema(session, name)?;
    if schema.oid == table.schema {
        return Ok(());
    }
    if schema.database == 0 {
        return Err(SqlError::new(
            SqlState::INSUFFICIENT_PRIVILEGE,
            format!("permission denied to create \"{name}.{}\"", table.name),
        )
        .detail("System catalog modifications are currently disallowed."));
    }
    let catalog = session.context().catalog();
    let sequences: Vec<TableDefinition> = catalog.owned_sequences(table.oid).map(|s| s.definition.clone()).collect();
    let indexes = table.all_indexes();
    let moved = indexes.iter().map(|i| &i.name).chain(sequences.iter().map(|s| &s.name));
    if let Some(taken) = std::iter::once(&table.name).chain(moved).find(|n| is_taken(session, schema.oid, n)) {
        return Err(SqlError::new(
            SqlState::DUPLICATE_TABLE,
            format!("relation \"{taken}\" already exists in schema \"{name}\""),
        ));
    }
    for sequence in sequences {
        change(session, CatalogChange::PutTable(TableDefinition { schema: schema.oid, ..sequence }))?;
    }
    put_with_views(session, table, TableDefinition { schema: schema.oid, ..table.clone() }, "moving a relation")
}

/// Takes a column out of a definition, with the indexes and constraints over it. It stays in place, so that attribute numbers and
/// stored rows keep their meaning.
pub(super) fn take_column(definition: &mut TableDefinition, index: usize) {
    let name = format!("........pg.dropped.{}........", index + 1);
    let column = &mut definition.columns[index];
    *column = ColumnDefinition {
        name,
        dropped: true,
        since_version: column.since_version,
        ..ColumnDefinition::new(String::new(), column.ty, column.typmod)
    };
    let gone: Vec<Oid> = definition.indexes.iter().filter(|i| i.has_column(index)).map(|i| i.oid).collect();
    definition.indexes.retain(|i| !gone.contains(&i.oid));
    definition.constraints.retain(|c| match &c.kind {
        ConstraintKind::Check(_, columns) => !columns.contains(&index),
        ConstraintKind::Primary(index, _) | ConstraintKind::Unique(index) => !gone.contains(index),
        ConstraintKind::Foreign(key) => !key.columns.contains(&index),
    });
}

/// True for xmin, ctid and their like, which no column can be called.
fn is_system(name: &str) -> bool {
    providers::is_system_column(name)
}
