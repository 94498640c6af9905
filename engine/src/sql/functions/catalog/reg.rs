//! The reg* types: an OID that is read and shown as the name of what it identifies (manual, section 8.19).
//!
//! Reading and showing depend on the session's search path, so they live here and not with the other types' I/O.

use kalamdb_catalog::catalog::PG_CATALOG_OID;
use kalamdb_catalog::name::{path_schemas, qualified, quote_ident, resolve_relation};
use kalamdb_catalog::{Catalog, Oid, PgType, Result, SqlError, SqlState};

use super::procedures::{self, Procedure};
use super::type_name::parse_type_name;
use super::{is_row_type, relation_name, search_path};
use crate::providers::virtual_table::roles;
use crate::session::SessionContext;
use crate::sql::functions;

/// Reads a value of a reg* type: a name, a number, or `-` for 0.
pub fn reg_in(ty: PgType, text: &str, session: &SessionContext) -> Result<Oid> {
    if text == "-" {
        return Ok(0);
    }
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().map_err(|_| {
            let message = format!("value \"{text}\" is out of range for type oid");
            SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message)
        });
    }
    match ty {
        PgType::REGCLASS => class_in(text, session),
        PgType::REGTYPE => type_in(text, session),
        PgType::REGPROC => proc_in(text),
        PgType::REGPROCEDURE => procedure_in(text, session),
        PgType::REGOPER => oper_in(text),
        PgType::REGNAMESPACE => namespace_in(text, session),
        PgType::REGROLE => {
            let name = single_name(text)?;
            let found = roles::all(session).into_iter().find(|(_, n)| *n == name);
            found.map(|(oid, _)| oid).ok_or_else(|| missing(SqlState::UNDEFINED_OBJECT, "role", &name))
        }
        PgType::REGCOLLATION => collation_in(text),
        _ => Err(SqlError::internal(format!("{ty} is not a reg type"))),
    }
}

/// Shows a value of a reg* type: the name, qualified unless the search path finds it, or the number.
pub fn reg_out(ty: PgType, oid: Oid, session: &SessionContext) -> String {
    if oid == 0 {
        return "-".to_owned();
    }
    let catalog = session.catalog();
    let found = match ty {
        PgType::REGCLASS => relation_name(oid, session),
        PgType::REGTYPE => type_name(oid, session),
        PgType::REGPROC => procedures::by_oid(oid).map(|p| {
            let alone = procedures::by_name(p.name).len() == 1;
            if alone { quote_ident(p.name).into_owned() } else { qualified("pg_catalog", p.name) }
        }),
        PgType::REGPROCEDURE => procedures::by_oid(oid).map(|p| procedure_signature(p, session)),
        PgType::REGOPER => functions::operators().find(|o| o.oid == oid).map(|o| o.name.to_owned()),
        PgType::REGNAMESPACE => catalog.schema(oid).map(|s| quote_ident(&s.name).into_owned()),
        PgType::REGROLE => roles::all(session).get(&oid).map(|r| quote_ident(r).into_owned()),
        PgType::REGCOLLATION => COLLATIONS.iter().find(|c| c.0 == oid).map(|c| quote_ident(c.1).into_owned()),
        _ => None,
    };
    found.unwrap_or_else(|| oid.to_string())
}

const COLLATIONS: [(Oid, &str); 3] = [(100, "default"), (950, "C"), (951, "POSIX")];

fn missing(code: SqlState, what: &str, name: &str) -> SqlError {
    SqlError::new(code, format!("{what} \"{name}\" does not exist"))
}

fn invalid_name() -> SqlError {
    SqlError::new(SqlState::INVALID_NAME, "invalid name syntax")
}

/// The parts of a dotted name, folded unless quoted. 42602 if it is malformed.
pub(super) fn split_qualified(text: &str) -> Result<Vec<String>> {
    let mut rest = text.trim();
    let mut parts = Vec::new();
    loop {
        let end = if let Some(quoted) = rest.strip_prefix('"') {
            let mut part = String::new();
            let mut chars = quoted.char_indices().peekable();
            let end = loop {
                match chars.next().ok_or_else(invalid_name)? {
                    (_, '"') if chars.peek().is_some_and(|c| c.1 == '"') => {
                        chars.next();
                        part.push('"');
                    }
                    (i, '"') => break i + 2,
                    (_, c) => part.push(c),
                }
            };
            parts.push(part);
            end
        } else {
            let end = rest.find(|c: char| c == '.' || c.is_whitespace()).unwrap_or(rest.len());
            if end == 0 {
                return Err(invalid_name());
            }
            parts.push(rest[..end].to_lowercase());
            end
        };
        rest = rest[end..].trim_start();
        if rest.is_empty() {
            return Ok(parts);
        }
        rest = rest.strip_prefix('.').ok_or_else(invalid_name)?.trim_start();
    }
}

fn single_name(text: &str) -> Result<String> {
    match split_qualified(text)?.as_slice() {
        [name] => Ok(name.clone()),
        _ => Err(invalid_name()),
    }
}

/// The relation or index of a name in the schemas given.
fn relation_in(catalog: &Catalog, schemas: &[Oid], name: &str) -> Option<Oid> {
    schemas.iter().find_map(|schema| {
        let table = catalog.table_by_name(*schema, name).map(|t| t.definition.oid);
        table.or_else(|| {
            let owner = catalog.index_by_name(*schema, name)?;
            owner.definition.all_indexes().into_iter().find(|i| i.name == name).map(|i| i.oid)
        })
    })
}

fn class_in(text: &str, session: &SessionContext) -> Result<Oid> {
    let catalog = session.catalog();
    let parts = split_qualified(text)?;
    let in_schema = |schema: &str, name: &str| {
        let found = catalog.schema_by_name(session.database, &super::schema_named(session, schema));
        let schema = found.ok_or_else(|| missing(SqlState::INVALID_SCHEMA_NAME, "schema", schema))?.oid;
        Ok(relation_in(&catalog, &[schema], name))
    };
    let found = match parts.as_slice() {
        [name] => relation_in(&catalog, &path_schemas(&catalog, session.database, &search_path(session)), name),
        [schema, name] => in_schema(schema, name)?,
        [database, schema, name] if *database == session.database_name => in_schema(schema, name)?,
        [_, _, _] => {
            let message = format!("cross-database references are not implemented: \"{}\"", parts.join("."));
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
        _ => {
            let message = format!("improper relation name (too many dotted names): {}", parts.join("."));
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
        }
    };
    found.ok_or_else(|| missing(SqlState::UNDEFINED_TABLE, "relation", &parts.join(".")))
}

/// A type of the type table, else the row type of a relation.
fn type_in(text: &str, session: &SessionContext) -> Result<Oid> {
    let error = match parse_type_name(text, session) {
        Ok((ty, _)) => return Ok(ty.oid()),
        Err(error) => error,
    };
    let (base, array) = match text.trim().strip_suffix("[]") {
        Some(base) => (base, 1),
        None => (text, 0),
    };
    let relation = match split_qualified(base).as_deref() {
        Ok([name]) => resolve_relation(&session.catalog(), session.database, &search_path(session), None, name),
        Ok([schema, name]) => resolve_relation(&session.catalog(), session.database, &[], Some(schema), name),
        _ => None,
    };
    relation.map(|t| t.definition.row_type_oid + array).ok_or(error)
}

/// The name of a type or row type, as `regtype` and `format_type` show it.
pub(super) fn type_name(oid: Oid, session: &SessionContext) -> Option<String> {
    if let Some(ty) = PgType::from_oid(oid) {
        return Some(ty.sql_name().to_owned());
    }
    let catalog = session.catalog();
    let found = catalog.owner_of(oid).filter(|t| is_row_type(&t.definition, oid))?;
    let name = relation_name(found.definition.oid, session)?;
    Some(if oid == found.definition.row_type_oid { name } else { format!("{name}[]") })
}

fn function_name(text: &str) -> Result<Option<String>> {
    Ok(match split_qualified(text)?.as_slice() {
        [name] => Some(name.clone()),
        [schema, name] if schema == "pg_catalog" => Some(name.clone()),
        _ => None,
    })
}

fn proc_in(text: &str) -> Result<Oid> {
    let found = function_name(text)?.map(|name| procedures::by_name(&name)).unwrap_or_default();
    match found.as_slice() {
        [one] => Ok(one.oid),
        [] => Err(missing(SqlState::UNDEFINED_FUNCTION, "function", text)),
        _ => {
            let message = format!("more than one function named \"{text}\"");
            Err(SqlError::new(SqlState::AMBIGUOUS_FUNCTION, message))
        }
    }
}

/// The argument types of `name(type, ...)` with the name before them.
fn split_signature<'a>(text: &'a str, session: &SessionContext) -> Result<(&'a str, Vec<Oid>)> {
    let syntax = |message: &str| SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, message);
    let open = text.find('(').ok_or_else(|| syntax("expected a left parenthesis"))?;
    let inner = text[open + 1..].trim_end().strip_suffix(')').ok_or_else(|| syntax("expected a right parenthesis"))?;
    let (mut args, mut depth, mut start) = (Vec::new(), 0, 0);
    if !inner.trim().is_empty() {
        for (i, c) in inner.char_indices().chain([(inner.len(), ',')]) {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                ',' if depth == 0 => {
                    args.push(parse_type_name(&inner[start..i], session)?.0.oid());
                    start = i + 1;
                }
                _ => {}
            }
        }
    }
    Ok((&text[..open], args))
}

fn procedure_in(text: &str, session: &SessionContext) -> Result<Oid> {
    let (name, args) = split_signature(text, session)?;
    let found = function_name(name)?.map(|name| procedures::by_name(&name)).unwrap_or_default();
    found
        .into_iter()
        .find(|p| p.args == args)
        .map(|p| p.oid)
        .ok_or_else(|| missing(SqlState::UNDEFINED_FUNCTION, "function", text))
}

fn procedure_signature(p: &Procedure, session: &SessionContext) -> String {
    let args: Vec<String> = p.args.iter().map(|t| argument_type(*t, session)).collect();
    format!("{}({})", quote_ident(p.name), args.join(","))
}

/// `format_type` of an argument, with the two pseudo-types that KalamDB has no values of.
pub(super) fn argument_type(oid: Oid, session: &SessionContext) -> String {
    match oid {
        2275 => "cstring".to_owned(),
        _ => type_name(oid, session).unwrap_or_else(|| "???".to_owned()),
    }
}

fn oper_in(text: &str) -> Result<Oid> {
    let name = text.strip_prefix("pg_catalog.").unwrap_or(text);
    let mut found = functions::operators().filter(|o| o.name == name);
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one.oid),
        (Some(_), Some(_)) => {
            let message = format!("more than one operator named {text}");
            Err(SqlError::new(SqlState::AMBIGUOUS_FUNCTION, message))
        }
        _ => Err(SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("operator does not exist: {text}"))),
    }
}

fn namespace_in(text: &str, session: &SessionContext) -> Result<Oid> {
    let name = single_name(text)?;
    let catalog = session.catalog();
    let found = catalog.schema_by_name(session.database, &name).map(|s| s.oid);
    found.ok_or_else(|| missing(SqlState::INVALID_SCHEMA_NAME, "schema", &name))
}

fn collation_in(text: &str) -> Result<Oid> {
    let parts = split_qualified(text)?;
    let name = match parts.as_slice() {
        [name] => name,
        [schema, name] if schema == "pg_catalog" => name,
        _ => return Err(invalid_name()),
    };
    COLLATIONS.iter().find(|c| c.1 == name).map(|c| c.0).ok_or_else(|| {
        let message = format!("collation \"{}\" for encoding \"UTF8\" does not exist", parts.join("."));
        SqlError::new(SqlState::UNDEFINED_OBJECT, message)
    })
}

/// Whether the search path finds this schema's things at all; builtin functions and types are always found.
pub(super) fn schema_is_searched(schema: Oid, session: &SessionContext) -> bool {
    schema == PG_CATALOG_OID
        || path_schemas(&session.catalog(), session.database, &search_path(session)).contains(&schema)
}
