//! CREATE SEQUENCE, ALTER SEQUENCE, and the sequences of serial and identity columns.

use datafusion::sql::sqlparser::ast::DataType;
use kalamdb_catalog::sequence::{SequenceDefinition, SequenceOwner};
use kalamdb_catalog::{
    CatalogChange, ColumnDefinition, Oid, PgType, Result, SqlError, SqlState, TableDefinition, TableKind,
};

use super::ddl::{change, exists, is_taken, named_schema, place, relation};
use super::schema::{absent, skipping};
use crate::clock;
use crate::session::Session;
use crate::sql::Response;
use crate::sql::bind::{name_parts, type_of_name};
use crate::sql::execute::complete;
use crate::sql::prepared::PreparedStatement;
use crate::sql::statement::{AlterSequence, CreateSequence, SequenceAction, SequenceOptions};

pub(crate) fn create(session: &mut Session, prepared: &PreparedStatement, create: &CreateSequence) -> Result<Response> {
    let (schema, name) = if create.temporary {
        (super::temporary::schema(session)?, name_parts(&create.name)?.pop().unwrap_or_default())
    } else {
        place(session, &create.name)?
    };
    if is_taken(session, schema.oid, &name) {
        if !create.if_not_exists {
            return Err(exists(&name));
        }
        session.context().notice(skipping(&exists(&name)));
        return complete("CREATE SEQUENCE");
    }
    let ty = given_type(&create.options)?.unwrap_or(PgType::INT8);
    let mut sequence = fresh(ty, &create.options)?;
    sequence.owner = owner(session, prepared, &create.options, schema.oid)?;
    put(session, schema.oid, name, sequence)?;
    complete("CREATE SEQUENCE")
}

/// AS type
fn given_type(options: &SequenceOptions) -> Result<Option<PgType>> {
    let Some(ty) = &options.ty else { return Ok(None) };
    match type_of_name(ty)?.0 {
        ty @ (PgType::INT2 | PgType::INT4 | PgType::INT8) => Ok(Some(ty)),
        _ => Err(invalid("sequence type must be smallint, integer, or bigint".to_owned())),
    }
}

/// A sequence's type as it is written.
pub(crate) fn ast_type(ty: PgType) -> DataType {
    match ty {
        PgType::INT2 => DataType::SmallInt(None),
        PgType::INT4 => DataType::Integer(None),
        _ => DataType::BigInt(None),
    }
}

/// A sequence that begins with these options.
fn fresh(ty: PgType, options: &SequenceOptions) -> Result<SequenceDefinition> {
    let increment = options.increment.unwrap_or(1);
    let (low, high) = bounds(ty);
    let min = options.min.flatten().unwrap_or(if increment > 0 { 1 } else { low });
    let max = options.max.flatten().unwrap_or(if increment > 0 { high } else { -1 });
    let start = options.start.unwrap_or(if increment > 0 { min } else { max });
    let sequence = SequenceDefinition {
        ty,
        start,
        increment,
        min,
        max,
        cache: options.cache.unwrap_or(1),
        cycle: options.cycle.unwrap_or(false),
        initial: (start, false),
        owner: None,
    };
    check(&sequence)?;
    Ok(sequence)
}

fn bounds(ty: PgType) -> (i64, i64) {
    match ty {
        PgType::INT2 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        PgType::INT4 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    }
}

fn invalid(message: String) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// 22023 for options that do not go together (sequence.c, init_params).
fn check(s: &SequenceDefinition) -> Result<()> {
    let (low, high) = bounds(s.ty);
    if s.increment == 0 {
        return Err(invalid("INCREMENT must not be zero".to_owned()));
    }
    let type_name = s.ty.sql_name();
    if !(low..=high).contains(&s.max) {
        return Err(invalid(format!("MAXVALUE ({}) is out of range for sequence data type {type_name}", s.max)));
    }
    if !(low..=high).contains(&s.min) {
        return Err(invalid(format!("MINVALUE ({}) is out of range for sequence data type {type_name}", s.min)));
    }
    if s.min >= s.max {
        return Err(invalid(format!("MINVALUE ({}) must be less than MAXVALUE ({})", s.min, s.max)));
    }
    if s.start < s.min {
        return Err(invalid(format!("START value ({}) cannot be less than MINVALUE ({})", s.start, s.min)));
    }
    if s.start > s.max {
        return Err(invalid(format!("START value ({}) cannot be greater than MAXVALUE ({})", s.start, s.max)));
    }
    if s.cache <= 0 {
        return Err(invalid(format!("CACHE ({}) must be greater than zero", s.cache)));
    }
    Ok(())
}

/// OWNED BY; None for NONE.
fn owner(
    session: &Session,
    prepared: &PreparedStatement,
    options: &SequenceOptions,
    schema: Oid,
) -> Result<Option<SequenceOwner>> {
    let Some(name) = &options.owned_by else { return Ok(None) };
    let mut parts = name.0.clone();
    let column = name_parts(name)?.pop().unwrap_or_default();
    if parts.len() == 1 {
        if column == "none" {
            return Ok(None);
        }
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "invalid OWNED BY option")
            .hint("Specify OWNED BY table.column or OWNED BY NONE."));
    }
    parts.pop();
    let table = relation(session, prepared, &datafusion::sql::sqlparser::ast::ObjectName(parts))
        .map_err(SqlError::without_position)?;
    let definition = &table.definition;
    if !matches!(definition.kind, TableKind::Shared) {
        let what = format!("sequence cannot be owned by relation \"{}\"", definition.name);
        return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, what));
    }
    if definition.schema != schema {
        return Err(SqlError::new(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            "sequence must be in same schema as table it is linked to",
        ));
    }
    let Some(position) = definition.column_index(&column) else {
        let message = format!("column \"{column}\" of relation \"{}\" does not exist", definition.name);
        return Err(SqlError::new(SqlState::UNDEFINED_COLUMN, message));
    };
    Ok(Some(SequenceOwner { table: definition.oid, column: position, identity: false }))
}

/// Makes a sequence: its OID.
fn put(session: &mut Session, schema: Oid, name: String, sequence: SequenceDefinition) -> Result<Oid> {
    let oid = session.app().take_oids(3);
    let column = |name: &str, ty| ColumnDefinition { not_null: true, ..ColumnDefinition::new(name.to_owned(), ty, -1) };
    let definition = TableDefinition {
        oid,
        row_type_oid: oid + 1,
        schema,
        name,
        owner: session.context().user.clone(),
        kind: TableKind::Sequence(sequence),
        storage: session.app().take_storage(),
        persistence: super::temporary::persistence_of(session, schema),
        schema_version: 0,
        columns: vec![
            column("last_value", PgType::INT8),
            column("log_cnt", PgType::INT8),
            column("is_called", PgType::BOOL),
        ],
        primary_key: None,
        indexes: Vec::new(),
        constraints: Vec::new(),
        options: Vec::new(),
        created_at: clock::now_micros(),
    };
    change(session, CatalogChange::PutTable(definition))?;
    Ok(oid)
}

/// Makes the sequence of a serial or identity column: its OID.
pub(crate) fn create_owned(
    session: &mut Session,
    schema: Oid,
    name: String,
    ty: PgType,
    options: &SequenceOptions,
    owner: SequenceOwner,
) -> Result<Oid> {
    let mut sequence = fresh(given_type(options)?.unwrap_or(ty), options)?;
    sequence.owner = Some(owner);
    put(session, schema, name, sequence)
}

/// The default of a column that a sequence feeds.
pub(crate) fn default_of(sequence: Oid) -> String {
    format!("nextval('{sequence}'::regclass)")
}

/// The sequence that such a default names.
pub(crate) fn in_default(default: &str) -> Option<Oid> {
    default.strip_prefix("nextval('")?.strip_suffix("'::regclass)")?.parse().ok()
}

pub(crate) fn alter(session: &mut Session, prepared: &PreparedStatement, alter: &AlterSequence) -> Result<Response> {
    let table = match relation(session, prepared, &alter.name) {
        Ok(table) => table,
        Err(error) if error.code() == SqlState::UNDEFINED_TABLE && alter.if_exists => {
            let name = name_parts(&alter.name)?.pop().unwrap_or_default();
            session.context().notice(absent(&SqlError::new(
                SqlState::UNDEFINED_TABLE,
                format!("relation \"{name}\" does not exist"),
            )));
            return complete("ALTER SEQUENCE");
        }
        Err(error) => return Err(error.without_position()),
    };
    let Some(sequence) = table.definition.sequence() else {
        let message = format!("\"{}\" is not a sequence", table.definition.name);
        return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
    };
    let mut new = table.definition.clone();
    match &alter.action {
        SequenceAction::Options(options) => {
            let mut changed = altered(session, &table.definition, sequence, options)?;
            if options.owned_by.is_some() {
                if sequence.owner.is_some_and(|o| o.identity) {
                    let catalog = session.context().catalog();
                    let owner = sequence.owner.and_then(|o| catalog.table(o.table).cloned());
                    let owner = owner.map_or_else(String::new, |t| t.definition.name.clone());
                    return Err(SqlError::new(
                        SqlState::FEATURE_NOT_SUPPORTED,
                        "cannot change ownership of identity sequence",
                    )
                    .detail(format!("Sequence \"{}\" is linked to table \"{owner}\".", new.name)));
                }
                changed.0.owner = owner(session, prepared, options, table.definition.schema)?;
            }
            if changed.1 {
                new.storage = session.app().take_storage();
            }
            new.kind = TableKind::Sequence(changed.0);
        }
        SequenceAction::Rename(name) => {
            if is_taken(session, new.schema, name) {
                return Err(exists(name));
            }
            new.name.clone_from(name);
        }
        SequenceAction::SetSchema(schema) => {
            if sequence.owner.is_some() {
                return Err(SqlError::new(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    "cannot move an owned sequence into another schema",
                ));
            }
            let schema = named_schema(session, schema)?;
            if is_taken(session, schema.oid, &new.name) {
                let message = format!("relation \"{}\" already exists in schema \"{}\"", new.name, schema.name);
                return Err(SqlError::new(SqlState::DUPLICATE_TABLE, message));
            }
            new.schema = schema.oid;
        }
        SequenceAction::OwnerTo(owner) => {
            if *owner != new.owner && *owner != session.context().user {
                return Err(SqlError::unsupported(format!("OWNER TO \"{owner}\", a role other than your own,")));
            }
        }
    }
    change(session, CatalogChange::PutTable(new))?;
    complete("ALTER SEQUENCE")
}

/// ALTER COLUMN ... of an identity column.
pub(crate) fn alter_owned(session: &mut Session, sequence: &TableDefinition, options: &SequenceOptions) -> Result<()> {
    let Some(definition) = sequence.sequence() else { return Err(SqlError::internal("not a sequence")) };
    let (changed, fresh_state) = altered(session, sequence, definition, options)?;
    let mut new = sequence.clone();
    if fresh_state {
        new.storage = session.app().take_storage();
    }
    new.kind = TableKind::Sequence(changed);
    change(session, CatalogChange::PutTable(new))
}

/// The sequence with other options, and whether it gets a state of its own: RESTART, which a rollback takes back.
fn altered(
    session: &Session,
    table: &TableDefinition,
    old: &SequenceDefinition,
    options: &SequenceOptions,
) -> Result<(SequenceDefinition, bool)> {
    let mut new = old.clone();
    let ty = given_type(options)?;
    new.increment = options.increment.unwrap_or(old.increment);
    let (low, high) = bounds(old.ty);
    if let Some(ty) = ty {
        new.ty = ty;
        let (new_low, new_high) = bounds(ty);
        // What was the type's own limit goes with the type.
        if old.max == high && old.increment > 0 {
            new.max = new_high;
        }
        if old.min == low && old.increment < 0 {
            new.min = new_low;
        }
    }
    let (low, high) = bounds(new.ty);
    if let Some(max) = options.max {
        new.max = max.unwrap_or(if new.increment > 0 { high } else { -1 });
    }
    if let Some(min) = options.min {
        new.min = min.unwrap_or(if new.increment > 0 { 1 } else { low });
    }
    new.start = options.start.unwrap_or(old.start);
    new.cache = options.cache.unwrap_or(old.cache);
    new.cycle = options.cycle.unwrap_or(old.cycle);
    check(&new)?;
    let state = session.app().txns.sequence_state(table.storage, old)?;
    let last = match options.restart {
        Some(value) => value.unwrap_or(new.start),
        None => state.last,
    };
    if last < new.min {
        return Err(invalid(format!("RESTART value ({last}) cannot be less than MINVALUE ({})", new.min)));
    }
    if last > new.max {
        return Err(invalid(format!("RESTART value ({last}) cannot be greater than MAXVALUE ({})", new.max)));
    }
    if options.restart.is_some() {
        new.initial = (last, false);
        return Ok((new, true));
    }
    // One that nobody has used begins where it would begin now.
    Ok((new, false))
}

/// TRUNCATE ... RESTART IDENTITY of the sequences that go with a table.
pub(crate) fn restart_owned(session: &mut Session, table: Oid) -> Result<()> {
    let catalog = session.context().catalog();
    let owned: Vec<TableDefinition> = catalog.owned_sequences(table).map(|t| t.definition.clone()).collect();
    for sequence in owned {
        let options = SequenceOptions { restart: Some(None), ..SequenceOptions::default() };
        alter_owned(session, &sequence, &options)?;
    }
    Ok(())
}
