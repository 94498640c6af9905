//! `has_*_privilege` and `pg_has_role`. Every role may do everything until privileges exist; what is checked is that
//! the role, the object and the privilege asked about do.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanBuilder};
use datafusion::arrow::datatypes::{DataType, UInt32Type};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use crate::providers::virtual_table::roles;
use crate::session::SessionContext;
use crate::sql::functions::catalog::{procedures, reg};
use crate::sql::functions::{Call, FnDef, ScalarImpl, Volatility};

const TEXT: PgType = PgType::TEXT;
const OID: PgType = PgType::OID;
const NAME: PgType = PgType::NAME;
const INT2: PgType = PgType::INT2;

/// What the privilege is on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Table,
    Column,
    AnyColumn,
    Sequence,
    Schema,
    Database,
    Function,
    Type,
    Language,
    Tablespace,
    ForeignDataWrapper,
    Server,
    Parameter,
    Role,
}

impl Kind {
    /// The privileges that exist on it.
    fn privileges(self) -> &'static [&'static str] {
        match self {
            Kind::Table => &["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "RULE"],
            Kind::Column | Kind::AnyColumn => &["SELECT", "INSERT", "UPDATE", "REFERENCES"],
            Kind::Sequence => &["USAGE", "SELECT", "UPDATE"],
            Kind::Schema => &["CREATE", "USAGE"],
            Kind::Database => &["CREATE", "CONNECT", "TEMPORARY", "TEMP"],
            Kind::Function => &["EXECUTE"],
            Kind::Type | Kind::Language | Kind::ForeignDataWrapper | Kind::Server => &["USAGE"],
            Kind::Tablespace => &["CREATE"],
            Kind::Parameter => &["SET", "ALTER SYSTEM"],
            Kind::Role => &["USAGE", "MEMBER"],
        }
    }
}

const fn privilege(oid: u32, name: &'static str, args: &'static [PgType], imp: ScalarImpl) -> FnDef {
    FnDef { volatility: Volatility::Stable, ..FnDef::new(oid, name, args, PgType::BOOL, imp) }
}

#[rustfmt::skip]
pub(crate) static PRIVILEGES: &[FnDef] = &[
    privilege(1922, "has_table_privilege", &[NAME, TEXT, TEXT], |c, a| check(Kind::Table, c, a)),
    privilege(1923, "has_table_privilege", &[NAME, OID, TEXT], |c, a| check(Kind::Table, c, a)),
    privilege(1924, "has_table_privilege", &[OID, TEXT, TEXT], |c, a| check(Kind::Table, c, a)),
    privilege(1925, "has_table_privilege", &[OID, OID, TEXT], |c, a| check(Kind::Table, c, a)),
    privilege(1926, "has_table_privilege", &[TEXT, TEXT], |c, a| check(Kind::Table, c, a)),
    privilege(1927, "has_table_privilege", &[OID, TEXT], |c, a| check(Kind::Table, c, a)),
    privilege(2268, "has_schema_privilege", &[NAME, TEXT, TEXT], |c, a| check(Kind::Schema, c, a)),
    privilege(2269, "has_schema_privilege", &[NAME, OID, TEXT], |c, a| check(Kind::Schema, c, a)),
    privilege(2270, "has_schema_privilege", &[OID, TEXT, TEXT], |c, a| check(Kind::Schema, c, a)),
    privilege(2271, "has_schema_privilege", &[OID, OID, TEXT], |c, a| check(Kind::Schema, c, a)),
    privilege(2272, "has_schema_privilege", &[TEXT, TEXT], |c, a| check(Kind::Schema, c, a)),
    privilege(2273, "has_schema_privilege", &[OID, TEXT], |c, a| check(Kind::Schema, c, a)),
    privilege(2250, "has_database_privilege", &[NAME, TEXT, TEXT], |c, a| check(Kind::Database, c, a)),
    privilege(2251, "has_database_privilege", &[NAME, OID, TEXT], |c, a| check(Kind::Database, c, a)),
    privilege(2252, "has_database_privilege", &[OID, TEXT, TEXT], |c, a| check(Kind::Database, c, a)),
    privilege(2253, "has_database_privilege", &[OID, OID, TEXT], |c, a| check(Kind::Database, c, a)),
    privilege(2254, "has_database_privilege", &[TEXT, TEXT], |c, a| check(Kind::Database, c, a)),
    privilege(2255, "has_database_privilege", &[OID, TEXT], |c, a| check(Kind::Database, c, a)),
    privilege(3012, "has_column_privilege", &[NAME, TEXT, TEXT, TEXT], |c, a| check(Kind::Column, c, a)),
    privilege(3013, "has_column_privilege", &[NAME, TEXT, INT2, TEXT], |c, a| check(Kind::Column, c, a)),
    privilege(3014, "has_column_privilege", &[NAME, OID, TEXT, TEXT], |c, a| check(Kind::Column, c, a)),
    privilege(3015, "has_column_privilege", &[NAME, OID, INT2, TEXT], |c, a| check(Kind::Column, c, a)),
    privilege(3016, "has_column_privilege", &[OID, TEXT, TEXT, TEXT], |c, a| check(Kind::Column, c, a)),
    privilege(3017, "has_column_privilege", &[OID, TEXT, INT2, TEXT], |c, a| check(Kind::Column, c, a)),
    privilege(3018, "has_column_privilege", &[OID, OID, TEXT, TEXT], |c, a| check(Kind::Column, c, a)),
    privilege(3019, "has_column_privilege", &[OID, OID, INT2, TEXT], |c, a| check(Kind::Column, c, a)),
    privilege(3020, "has_column_privilege", &[TEXT, TEXT, TEXT], |c, a| check(Kind::Column, c, a)),
    privilege(3021, "has_column_privilege", &[TEXT, INT2, TEXT], |c, a| check(Kind::Column, c, a)),
    privilege(3022, "has_column_privilege", &[OID, TEXT, TEXT], |c, a| check(Kind::Column, c, a)),
    privilege(3023, "has_column_privilege", &[OID, INT2, TEXT], |c, a| check(Kind::Column, c, a)),
    privilege(3024, "has_any_column_privilege", &[NAME, TEXT, TEXT], |c, a| check(Kind::AnyColumn, c, a)),
    privilege(3025, "has_any_column_privilege", &[NAME, OID, TEXT], |c, a| check(Kind::AnyColumn, c, a)),
    privilege(3026, "has_any_column_privilege", &[OID, TEXT, TEXT], |c, a| check(Kind::AnyColumn, c, a)),
    privilege(3027, "has_any_column_privilege", &[OID, OID, TEXT], |c, a| check(Kind::AnyColumn, c, a)),
    privilege(3028, "has_any_column_privilege", &[TEXT, TEXT], |c, a| check(Kind::AnyColumn, c, a)),
    privilege(3029, "has_any_column_privilege", &[OID, TEXT], |c, a| check(Kind::AnyColumn, c, a)),
    privilege(2256, "has_function_privilege", &[NAME, TEXT, TEXT], |c, a| check(Kind::Function, c, a)),
    privilege(2257, "has_function_privilege", &[NAME, OID, TEXT], |c, a| check(Kind::Function, c, a)),
    privilege(2258, "has_function_privilege", &[OID, TEXT, TEXT], |c, a| check(Kind::Function, c, a)),
    privilege(2259, "has_function_privilege", &[OID, OID, TEXT], |c, a| check(Kind::Function, c, a)),
    privilege(2260, "has_function_privilege", &[TEXT, TEXT], |c, a| check(Kind::Function, c, a)),
    privilege(2261, "has_function_privilege", &[OID, TEXT], |c, a| check(Kind::Function, c, a)),
    privilege(2181, "has_sequence_privilege", &[NAME, TEXT, TEXT], |c, a| check(Kind::Sequence, c, a)),
    privilege(2182, "has_sequence_privilege", &[NAME, OID, TEXT], |c, a| check(Kind::Sequence, c, a)),
    privilege(2183, "has_sequence_privilege", &[OID, TEXT, TEXT], |c, a| check(Kind::Sequence, c, a)),
    privilege(2184, "has_sequence_privilege", &[OID, OID, TEXT], |c, a| check(Kind::Sequence, c, a)),
    privilege(2185, "has_sequence_privilege", &[TEXT, TEXT], |c, a| check(Kind::Sequence, c, a)),
    privilege(2186, "has_sequence_privilege", &[OID, TEXT], |c, a| check(Kind::Sequence, c, a)),
    privilege(3138, "has_type_privilege", &[NAME, TEXT, TEXT], |c, a| check(Kind::Type, c, a)),
    privilege(3139, "has_type_privilege", &[NAME, OID, TEXT], |c, a| check(Kind::Type, c, a)),
    privilege(3140, "has_type_privilege", &[OID, TEXT, TEXT], |c, a| check(Kind::Type, c, a)),
    privilege(3141, "has_type_privilege", &[OID, OID, TEXT], |c, a| check(Kind::Type, c, a)),
    privilege(3142, "has_type_privilege", &[TEXT, TEXT], |c, a| check(Kind::Type, c, a)),
    privilege(3143, "has_type_privilege", &[OID, TEXT], |c, a| check(Kind::Type, c, a)),
    privilege(2262, "has_language_privilege", &[NAME, TEXT, TEXT], |c, a| check(Kind::Language, c, a)),
    privilege(2263, "has_language_privilege", &[NAME, OID, TEXT], |c, a| check(Kind::Language, c, a)),
    privilege(2264, "has_language_privilege", &[OID, TEXT, TEXT], |c, a| check(Kind::Language, c, a)),
    privilege(2265, "has_language_privilege", &[OID, OID, TEXT], |c, a| check(Kind::Language, c, a)),
    privilege(2266, "has_language_privilege", &[TEXT, TEXT], |c, a| check(Kind::Language, c, a)),
    privilege(2267, "has_language_privilege", &[OID, TEXT], |c, a| check(Kind::Language, c, a)),
    privilege(2390, "has_tablespace_privilege", &[NAME, TEXT, TEXT], |c, a| check(Kind::Tablespace, c, a)),
    privilege(2391, "has_tablespace_privilege", &[NAME, OID, TEXT], |c, a| check(Kind::Tablespace, c, a)),
    privilege(2392, "has_tablespace_privilege", &[OID, TEXT, TEXT], |c, a| check(Kind::Tablespace, c, a)),
    privilege(2393, "has_tablespace_privilege", &[OID, OID, TEXT], |c, a| check(Kind::Tablespace, c, a)),
    privilege(2394, "has_tablespace_privilege", &[TEXT, TEXT], |c, a| check(Kind::Tablespace, c, a)),
    privilege(2395, "has_tablespace_privilege", &[OID, TEXT], |c, a| check(Kind::Tablespace, c, a)),
    privilege(3000, "has_foreign_data_wrapper_privilege", &[NAME, TEXT, TEXT], |c, a| check(Kind::ForeignDataWrapper, c, a)),
    privilege(3001, "has_foreign_data_wrapper_privilege", &[NAME, OID, TEXT], |c, a| check(Kind::ForeignDataWrapper, c, a)),
    privilege(3002, "has_foreign_data_wrapper_privilege", &[OID, TEXT, TEXT], |c, a| check(Kind::ForeignDataWrapper, c, a)),
    privilege(3003, "has_foreign_data_wrapper_privilege", &[OID, OID, TEXT], |c, a| check(Kind::ForeignDataWrapper, c, a)),
    privilege(3004, "has_foreign_data_wrapper_privilege", &[TEXT, TEXT], |c, a| check(Kind::ForeignDataWrapper, c, a)),
    privilege(3005, "has_foreign_data_wrapper_privilege", &[OID, TEXT], |c, a| check(Kind::ForeignDataWrapper, c, a)),
    privilege(3006, "has_server_privilege", &[NAME, TEXT, TEXT], |c, a| check(Kind::Server, c, a)),
    privilege(3007, "has_server_privilege", &[NAME, OID, TEXT], |c, a| check(Kind::Server, c, a)),
    privilege(3008, "has_server_privilege", &[OID, TEXT, TEXT], |c, a| check(Kind::Server, c, a)),
    privilege(3009, "has_server_privilege", &[OID, OID, TEXT], |c, a| check(Kind::Server, c, a)),
    privilege(3010, "has_server_privilege", &[TEXT, TEXT], |c, a| check(Kind::Server, c, a)),
    privilege(3011, "has_server_privilege", &[OID, TEXT], |c, a| check(Kind::Server, c, a)),
    privilege(6205, "has_parameter_privilege", &[NAME, TEXT, TEXT], |c, a| check(Kind::Parameter, c, a)),
    privilege(6206, "has_parameter_privilege", &[OID, TEXT, TEXT], |c, a| check(Kind::Parameter, c, a)),
    privilege(6207, "has_parameter_privilege", &[TEXT, TEXT], |c, a| check(Kind::Parameter, c, a)),
    privilege(2705, "pg_has_role", &[NAME, NAME, TEXT], |c, a| check(Kind::Role, c, a)),
    privilege(2706, "pg_has_role", &[NAME, OID, TEXT], |c, a| check(Kind::Role, c, a)),
    privilege(2707, "pg_has_role", &[OID, NAME, TEXT], |c, a| check(Kind::Role, c, a)),
    privilege(2708, "pg_has_role", &[OID, OID, TEXT], |c, a| check(Kind::Role, c, a)),
    privilege(2709, "pg_has_role", &[NAME, TEXT], |c, a| check(Kind::Role, c, a)),
    privilege(2710, "pg_has_role", &[OID, TEXT], |c, a| check(Kind::Role, c, a)),
];

/// The arguments are: role if there is one more than the object needs, object (a column has two), privileges.
fn check(kind: Kind, call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let object_args = if kind == Kind::Column { 2 } else { 1 };
    let with_role = args.len() > object_args + 1;
    let object = usize::from(with_role);
    let mut out = BooleanBuilder::with_capacity(call.rows);
    for row in 0..call.rows {
        if args.iter().any(|a| a.is_null(row)) {
            out.append_null();
            continue;
        }
        if with_role {
            check_role(&args[0], row, call.session)?;
        }
        let known = object_exists(kind, &args[object], row, call.session)?;
        check_privileges(kind, args[args.len() - 1].as_string::<i32>().value(row))?;
        out.append_option(known.then_some(true));
    }
    Ok(std::sync::Arc::new(out.finish()))
}

fn check_role(role: &ArrayRef, row: usize, session: &SessionContext) -> Result<()> {
    if role.data_type() == &DataType::Utf8 {
        let name = role.as_string::<i32>().value(row);
        // "public" is every role.
        if name != "public" && !roles::all(session).values().any(|r| r == name) {
            return Err(undefined(SqlState::UNDEFINED_OBJECT, "role", name));
        }
    }
    Ok(())
}

fn undefined(code: SqlState, what: &str, name: &str) -> SqlError {
    SqlError::new(code, format!("{what} \"{name}\" does not exist"))
}

/// False for an OID that means nothing, which makes the result NULL; a name that means nothing is an error.
fn object_exists(kind: Kind, object: &ArrayRef, row: usize, session: &SessionContext) -> Result<bool> {
    if object.data_type() == &DataType::UInt32 {
        return Ok(oid_exists(kind, object.as_primitive::<UInt32Type>().value(row), session));
    }
    let name = object.as_string::<i32>().value(row);
    let catalog = session.catalog();
    match kind {
        Kind::Table | Kind::Column | Kind::AnyColumn | Kind::Sequence => {
            reg::reg_in(PgType::REGCLASS, name, session)?;
        }
        Kind::Schema => {
            reg::reg_in(PgType::REGNAMESPACE, &kalamdb_catalog::name::quote_ident(name), session)?;
        }
        Kind::Database if catalog.database_by_name(name).is_none() => {
            return Err(undefined(SqlState::INVALID_CATALOG_NAME, "database", name));
        }
        Kind::Function => {
            reg::reg_in(PgType::REGPROCEDURE, name, session)?;
        }
        Kind::Type => {
            reg::reg_in(PgType::REGTYPE, name, session)?;
        }
        Kind::Language if !["internal", "c", "sql"].contains(&name) => {
            return Err(undefined(SqlState::UNDEFINED_OBJECT, "language", name));
        }
        Kind::Tablespace if !["pg_default", "pg_global"].contains(&name) => {
            return Err(undefined(SqlState::UNDEFINED_OBJECT, "tablespace", name));
        }
        Kind::ForeignDataWrapper => return Err(undefined(SqlState::UNDEFINED_OBJECT, "foreign-data wrapper", name)),
        Kind::Server => return Err(undefined(SqlState::UNDEFINED_OBJECT, "server", name)),
        Kind::Parameter => {
            session.vars().get_raw(name)?;
        }
        Kind::Role if !roles::all(session).values().any(|r| r == name) => {
            return Err(undefined(SqlState::UNDEFINED_OBJECT, "role", name));
        }
        Kind::Database | Kind::Language | Kind::Tablespace | Kind::Role => {}
    }
    Ok(true)
}

fn oid_exists(kind: Kind, oid: u32, session: &SessionContext) -> bool {
    let catalog = session.catalog();
    match kind {
        Kind::Table | Kind::Column | Kind::AnyColumn => catalog.table(oid).is_some(),
        Kind::Schema => catalog.schema(oid).is_some(),
        Kind::Database => catalog.database(oid).is_some(),
        Kind::Function => procedures::by_oid(oid).is_some(),
        Kind::Type => PgType::from_oid(oid).is_some(),
        Kind::Role => roles::all(session).contains_key(&oid),
        Kind::Language => (12..=14).contains(&oid),
        Kind::Tablespace => (1663..=1664).contains(&oid),
        Kind::Sequence | Kind::ForeignDataWrapper | Kind::Server | Kind::Parameter => false,
    }
}

/// A list of privileges, each with an optional `WITH GRANT OPTION`.
fn check_privileges(kind: Kind, list: &str) -> Result<()> {
    for asked in list.split(',') {
        let upper = asked.trim().to_ascii_uppercase();
        let base = upper.strip_suffix(" WITH GRANT OPTION").or_else(|| upper.strip_suffix(" WITH ADMIN OPTION"));
        if !kind.privileges().contains(&base.unwrap_or(&upper)) {
            let message = format!("unrecognized privilege type: \"{}\"", asked.trim());
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
    }
    Ok(())
}
