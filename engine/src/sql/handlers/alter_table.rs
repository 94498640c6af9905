//! ALTER TABLE.
//!
//! The table is locked and then read from a fresh snapshot, so that every row committed before is seen. Operations run
//! in PostgreSQL's order of passes, each on the definition the one before left. What changes only how rows are read
//! (adding a column with a constant default, dropping one) changes the definition; what changes stored values or keys
//! writes all rows to a new storage. Views keep their meaning: `views` rewrites the text of those that read the table.

mod columns;
mod rows;
mod views;

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    AlterColumnOperation, AlterTable, AlterTableOperation as Operation, DropBehavior, Expr, Ident, Owner,
    RenameTableNameKind, SqlOption, TableConstraint,
};
use kalamdb_catalog::{CachedTableData, CatalogChange, Oid, Result, SqlError, SqlState, TableDefinition};

use super::create_table::{primary_key, set_primary_key};
use super::ddl::{change, exists, ident, is_taken, named_schema, refuse_builtin, relation};
use super::schema::absent;
use crate::providers;
use crate::session::Session;
use crate::sql::Response;
use crate::sql::bind::name_parts;
use crate::sql::execute::complete;
use crate::sql::prepared::PreparedStatement;

pub(crate) async fn run(session: &mut Session, prepared: &PreparedStatement, alter: &AlterTable) -> Result<Response> {
    if alter.location.is_some() || alter.on_cluster.is_some() || alter.table_type.is_some() {
        return Err(SqlError::unsupported("this form of ALTER TABLE"));
    }
    if let Some(oid) = target(session, prepared, alter)? {
        let mut operations: Vec<&Operation> = alter.operations.iter().collect();
        operations.sort_by_key(|o| pass(o));
        for operation in operations {
            let table = current(session, oid)?;
            if table.definition.is_view() {
                refuse_for_view(&table.definition, operation)?;
            }
            apply(session, prepared, &table, operation).await?;
        }
    }
    complete("ALTER TABLE")
}

/// When an operation's turn is (tablecmds.c, AT_PASS_*): drops come first, so that a column can be replaced; a new type
/// is there before the default of that type, and a column before the key on it.
fn pass(operation: &Operation) -> u8 {
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
fn current(session: &Session, oid: Oid) -> Result<Arc<CachedTableData>> {
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
            rename_constraint(session, &table.definition, old_name, new_name)
        }
        Operation::AddConstraint { constraint, not_valid } => {
            add_constraint(session, prepared, table, constraint, *not_valid).await
        }
        Operation::DropConstraint { if_exists, name, .. } => {
            drop_constraint(session, prepared, table, name, *if_exists).await
        }
        Operation::OwnerTo { new_owner } => change_owner(session, &table.definition, new_owner),
        Operation::SetOptionsParens { options } => set_options(session, &table.definition, options),
        Operation::SetTblProperties { table_properties } => own_grammar(session, &table.definition, table_properties),
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
        Operation::ValidateConstraint { .. } => "VALIDATE CONSTRAINT",
        _ => "this form of ALTER TABLE",
    }
}

/// Of a view only its names and its owner can be altered.
fn refuse_for_view(view: &TableDefinition, operation: &Operation) -> Result<()> {
    let action = match operation {
        Operation::RenameTable { .. } | Operation::RenameColumn { .. } | Operation::OwnerTo { .. } => return Ok(()),
        Operation::SetTblProperties { .. } | Operation::RenameConstraint { .. } => return Ok(()),
        Operation::AddColumn { .. } => "ADD COLUMN",
        Operation::DropColumn { .. } => "DROP COLUMN",
        Operation::AddConstraint { .. } => "ADD CONSTRAINT",
        Operation::DropConstraint { .. } => "DROP CONSTRAINT",
        Operation::AlterColumn { op: AlterColumnOperation::SetDataType { .. }, .. } => "ALTER COLUMN ... SET DATA TYPE",
        Operation::AlterColumn { op: AlterColumnOperation::SetNotNull, .. } => "ALTER COLUMN ... SET NOT NULL",
        Operation::AlterColumn { op: AlterColumnOperation::DropNotNull, .. } => "ALTER COLUMN ... DROP NOT NULL",
        _ => return Err(SqlError::unsupported("this form of ALTER TABLE on a view")),
    };
    Err(SqlError::new(
        SqlState::WRONG_OBJECT_TYPE,
        format!("ALTER action {action} cannot be performed on relation \"{}\"", view.name),
    )
    .detail("This operation is not supported for views."))
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
    put_with_views(session, table, TableDefinition { name, ..table.clone() }, "renaming a relation")
}

fn rename_constraint(session: &mut Session, table: &TableDefinition, old: &Ident, new: &Ident) -> Result<()> {
    let (old, mut definition) = (ident(old), table.clone());
    let Some(key) = definition.primary_key.as_mut().filter(|k| k.name == old) else {
        return Err(SqlError::new(
            SqlState::UNDEFINED_OBJECT,
            format!("constraint \"{old}\" for table \"{}\" does not exist", table.name),
        ));
    };
    let new = ident(new);
    if is_taken(session, table.schema, &new) {
        return Err(exists(&new));
    }
    key.name = new;
    change(session, CatalogChange::PutTable(definition))
}

async fn add_constraint(
    session: &mut Session,
    prepared: &PreparedStatement,
    table: &Arc<CachedTableData>,
    constraint: &TableConstraint,
    not_valid: bool,
) -> Result<()> {
    let (name, key) = primary_key(constraint)?;
    if not_valid {
        return Err(SqlError::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            "PRIMARY KEY constraints cannot be marked NOT VALID",
        ));
    }
    let old = &table.definition;
    if old.primary_key.is_some() {
        return Err(second_key(&old.name));
    }
    for column in &key {
        columns::position(old, column, "alter")?;
    }
    let mut new = old.clone();
    set_primary_key(session, &mut new, name, &key)?;
    for column in old.live_columns().map(|(_, c)| c).filter(|c| key.contains(&c.name) && !c.not_null) {
        if rows::any(session, old, Some(&column.name)).await? {
            return Err(columns::contains_nulls(session, old, &column.name));
        }
    }
    let plan = rows::plan(session, prepared, old, &new, None)?;
    let new = rows::rewrite(session, new, &plan).await?;
    change(session, CatalogChange::PutTable(new))
}

/// 42P16
fn second_key(table: &str) -> SqlError {
    SqlError::new(
        SqlState::INVALID_TABLE_DEFINITION,
        format!("multiple primary keys for table \"{table}\" are not allowed"),
    )
}

/// The columns of a dropped key stay NOT NULL, as in PostgreSQL.
async fn drop_constraint(
    session: &mut Session,
    prepared: &PreparedStatement,
    table: &Arc<CachedTableData>,
    name: &Ident,
    if_exists: bool,
) -> Result<()> {
    let (old, name) = (&table.definition, ident(name));
    if old.primary_key.as_ref().is_none_or(|k| k.name != name) {
        let error = SqlError::new(
            SqlState::UNDEFINED_OBJECT,
            format!("constraint \"{name}\" of relation \"{}\" does not exist", old.name),
        );
        if !if_exists {
            return Err(error);
        }
        session.context().notice(absent(&error));
        return Ok(());
    }
    let new = TableDefinition { primary_key: None, ..old.clone() };
    let plan = rows::plan(session, prepared, old, &new, None)?;
    let new = rows::rewrite(session, new, &plan).await?;
    change(session, CatalogChange::PutTable(new))
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

/// SET SCHEMA and RESET (...), which sqlparser lacks: our parser hands them over as SET TBLPROPERTIES (schema = s) and
/// (reset = a, reset = b).
fn own_grammar(session: &mut Session, table: &TableDefinition, properties: &[SqlOption]) -> Result<()> {
    let mut definition = table.clone();
    for property in properties {
        match property {
            SqlOption::KeyValue { key, value: Expr::Identifier(schema) } if key.value == "schema" => {
                return set_schema(session, table, &ident(schema));
            }
            SqlOption::KeyValue { key, value: Expr::Identifier(option) } if key.value == "reset" => {
                let option = ident(option);
                definition.options.retain(|(name, _)| *name != option);
            }
            _ => return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \"TBLPROPERTIES\"")),
        }
    }
    change(session, CatalogChange::PutTable(definition))
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
    let moved = [Some(&table.name), table.primary_key.as_ref().map(|k| &k.name)];
    if let Some(taken) = moved.into_iter().flatten().find(|n| is_taken(session, schema.oid, n)) {
        return Err(SqlError::new(
            SqlState::DUPLICATE_TABLE,
            format!("relation \"{taken}\" already exists in schema \"{name}\""),
        ));
    }
    put_with_views(session, table, TableDefinition { schema: schema.oid, ..table.clone() }, "moving a relation")
}

/// True for xmin, ctid and their like, which no column can be called.
fn is_system(name: &str) -> bool {
    providers::is_system_column(name)
}
