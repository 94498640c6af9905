//! A column as CREATE TABLE and ADD COLUMN give it: type, default, and what hangs on it.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{self, ColumnOption};
use kalamdb_catalog::table::Generated;
use kalamdb_catalog::{ColumnDefinition, PgType, Result, SqlError, SqlState};

use super::constraint::{self, Wanted};
use crate::session::Session;
use crate::sql::bind::{Binder, Parameters, column_type, fold, name_parts};
use crate::sql::parse;
use crate::sql::prepared::PreparedStatement;
use crate::sql::statement::SequenceOptions;

/// The sequence of a serial or identity column.
pub(crate) struct WantedSequence {
    pub ty: PgType,
    pub options: SequenceOptions,
    pub identity: bool,
}

/// A column as it is written, with what hangs on it.
pub(crate) struct NewColumn {
    pub definition: ColumnDefinition,
    /// PRIMARY KEY, with its name.
    pub key: Option<Option<String>>,
    pub constraints: Vec<Wanted>,
    pub sequence: Option<WantedSequence>,
    /// GENERATED ALWAYS AS (...) STORED: bound once all columns are known.
    pub generated: Option<ast::Expr>,
}

/// A column as CREATE TABLE and ADD COLUMN give it.
pub(crate) fn column_definition(
    session: &Session,
    prepared: &PreparedStatement,
    table: &str,
    column: &ast::ColumnDef,
) -> Result<NewColumn> {
    let name = fold(&column.name);
    if crate::providers::is_system_column(&name) {
        return Err(SqlError::new(
            SqlState::DUPLICATE_COLUMN,
            format!("column name \"{name}\" conflicts with a system column name"),
        ));
    }
    let context = session.context();
    let mut binder = Binder::new(context, context.catalog(), prepared.source(), Parameters::default());
    let serial = serial_type(&column.data_type);
    let (ty, typmod) = match serial {
        Some(ty) => (ty, -1),
        None => {
            let at = binder.position_after_name(&column.name);
            column_type(&name, &column.data_type).map_err(|e| e.at(at))?
        }
    };
    let mut new = NewColumn {
        definition: ColumnDefinition::new(name, ty, typmod),
        key: None,
        constraints: Vec::new(),
        sequence: None,
        generated: None,
    };
    if let Some(ty) = serial {
        new.definition.not_null = true;
        new.sequence = Some(WantedSequence { ty, options: SequenceOptions::default(), identity: false });
    }
    let mut nullable = None;
    for option in &column.options {
        add_option(session, &mut binder, table, &mut new, &mut nullable, option)?;
    }
    if new.definition.is_identity() && nullable == Some(true) {
        return Err(repeated("conflicting NULL/NOT NULL declarations", table, &new.definition.name));
    }
    Ok(new)
}

/// The integer type of smallserial, serial, bigserial.
fn serial_type(ty: &ast::DataType) -> Option<PgType> {
    let ast::DataType::Custom(name, modifiers) = ty else { return None };
    if !modifiers.is_empty() {
        return None;
    }
    match name.to_string().to_lowercase().as_str() {
        "smallserial" | "serial2" => Some(PgType::INT2),
        "serial" | "serial4" => Some(PgType::INT4),
        "bigserial" | "serial8" => Some(PgType::INT8),
        _ => None,
    }
}

fn add_option(
    session: &Session,
    binder: &mut Binder<'_>,
    table: &str,
    new: &mut NewColumn,
    nullable: &mut Option<bool>,
    option: &ast::ColumnOptionDef,
) -> Result<()> {
    let constraint_name = option.name.as_ref().map(fold);
    let definition = &mut new.definition;
    match &option.option {
        ColumnOption::Null | ColumnOption::NotNull => {
            let this = matches!(option.option, ColumnOption::Null);
            if nullable.replace(this).is_some_and(|other| other != this) || (this && new.sequence.is_some()) {
                return Err(repeated("conflicting NULL/NOT NULL declarations", table, &definition.name));
            }
            definition.not_null |= !this;
        }
        ColumnOption::Default(_) if definition.is_identity() => {
            return Err(repeated("both default and identity specified", table, &definition.name));
        }
        ColumnOption::Default(_) if definition.is_stored() => {
            return Err(repeated("both default and generation expression specified", table, &definition.name));
        }
        ColumnOption::Default(_) if definition.default.is_some() || new.sequence.is_some() => {
            return Err(repeated("multiple default values specified", table, &definition.name));
        }
        ColumnOption::Default(expr) => {
            binder.default_expr(expr, definition)?;
            definition.default = Some(default_text(session, expr, definition.ty)?);
            definition.default_oid = session.app().take_oids(1);
        }
        ColumnOption::PrimaryKey(key) if !constraint::deferral(key.characteristics.as_ref())?.0 => {
            definition.not_null = true;
            new.key = Some(constraint_name);
        }
        ColumnOption::Generated { generated_as, sequence_options, generation_expr, .. } => {
            return add_generated(
                session,
                table,
                new,
                generated_as,
                sequence_options.as_deref(),
                generation_expr.as_ref(),
            );
        }
        ColumnOption::Collation(name) => {
            let name = name_parts(name)?.pop().unwrap_or_default();
            if !matches!(name.as_str(), "default" | "C" | "POSIX" | "ucs_basic") {
                return Err(SqlError::new(
                    SqlState::UNDEFINED_OBJECT,
                    format!("collation \"{name}\" for encoding \"UTF8\" does not exist"),
                ));
            }
        }
        other => match Wanted::of_column(&definition.name, constraint_name, other)? {
            Some(wanted) => new.constraints.push(wanted),
            None => return Err(SqlError::unsupported(format!("column option {other}"))),
        },
    }
    Ok(())
}

/// GENERATED ... AS IDENTITY, GENERATED ALWAYS AS (...) STORED
fn add_generated(
    session: &Session,
    table: &str,
    new: &mut NewColumn,
    generated_as: &ast::GeneratedAs,
    options: Option<&[ast::SequenceOptions]>,
    expression: Option<&ast::Expr>,
) -> Result<()> {
    let definition = &mut new.definition;
    if let Some(e) = expression {
        if definition.default.is_some() || new.sequence.is_some() {
            let what = if definition.is_identity() {
                "both identity and generation expression specified"
            } else if definition.is_stored() {
                "multiple generation clauses specified"
            } else {
                "both default and generation expression specified"
            };
            return Err(repeated(what, table, &definition.name));
        }
        definition.generated = Some(Generated::Stored);
        definition.default = Some(e.to_string());
        definition.default_oid = session.app().take_oids(1);
        new.generated = Some(e.clone());
        return Ok(());
    }
    if definition.is_identity() {
        return Err(repeated("multiple identity specifications", table, &definition.name));
    }
    if definition.default.is_some() || new.sequence.is_some() {
        let what = if definition.is_stored() {
            "both identity and generation expression specified"
        } else {
            "both default and identity specified"
        };
        return Err(repeated(what, table, &definition.name));
    }
    check_identity_type(definition.ty)?;
    let always = matches!(generated_as, ast::GeneratedAs::Always);
    definition.generated = Some(if always { Generated::Always } else { Generated::ByDefault });
    definition.not_null = true;
    let options = SequenceOptions::of_identity(options.unwrap_or_default())?;
    new.sequence = Some(WantedSequence { ty: definition.ty, options, identity: true });
    Ok(())
}

/// 22023 for a type that no sequence has.
pub(crate) fn check_identity_type(ty: PgType) -> Result<()> {
    if matches!(ty, PgType::INT2 | PgType::INT4 | PgType::INT8) {
        return Ok(());
    }
    let message = "identity column type must be smallint, integer, or bigint";
    Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message))
}

/// 42601 for options of one column that cannot both be.
fn repeated(what: &str, table: &str, column: &str) -> SqlError {
    SqlError::new(SqlState::SYNTAX_ERROR, format!("{what} for column \"{column}\" of table \"{table}\""))
}

/// DEFAULT as stored: a string literal carries its type, as PostgreSQL prints it, and a sequence is named by its OID.
pub(crate) fn default_text(session: &Session, expr: &ast::Expr, ty: PgType) -> Result<String> {
    if let ast::Expr::Value(v) = expr
        && matches!(v.value, ast::Value::SingleQuotedString(_))
    {
        return Ok(format!("{expr}::{}", ty.display(-1)));
    }
    let mut expr = expr.clone();
    let named = ast::visit_expressions_mut(&mut expr, |e| match name_sequence(session, e) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    });
    match named {
        ControlFlow::Continue(()) => Ok(expr.to_string().replace("::REGCLASS", "::regclass")),
        ControlFlow::Break(error) => Err(error),
    }
}

/// `nextval('s')` becomes `nextval('16390'::regclass)`: it goes on meaning the sequence, whatever that is called.
fn name_sequence(session: &Session, e: &mut ast::Expr) -> Result<()> {
    let ast::Expr::Function(call) = e else { return Ok(()) };
    let function = name_parts(&call.name)?.pop().unwrap_or_default();
    if !matches!(function.as_str(), "nextval" | "currval" | "setval") {
        return Ok(());
    }
    let ast::FunctionArguments::List(list) = &mut call.args else { return Ok(()) };
    let Some(ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(first))) = list.args.first_mut() else {
        return Ok(());
    };
    let literal = match &*first {
        ast::Expr::Cast { expr, data_type, .. } if data_type.to_string().eq_ignore_ascii_case("regclass") => &**expr,
        other => other,
    };
    let ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::SingleQuotedString(name), .. }) = literal else {
        return Ok(());
    };
    let oid = crate::sql::functions::reg_in(PgType::REGCLASS, name, session.context())?;
    *first = parse::expression(&format!("'{oid}'::regclass"))?;
    Ok(())
}
