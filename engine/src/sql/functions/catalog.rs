//! Functions that read the catalog: what is visible, how it is named, how it was defined; and the reg* types' casts.
//!
//! Comments, triggers, partitions, sequences and extended statistics do not exist yet: the functions that show them
//! answer NULL, as PostgreSQL does for an object without them.

mod definitions;
pub(super) mod procedures;
pub(super) mod reg;
mod type_name;

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringBuilder, new_null_array};
use datafusion::arrow::datatypes::{DataType, Int32Type, UInt32Type};
use kalamdb_catalog::name::{is_visible, qualified, quote_ident};
use kalamdb_catalog::{Oid, PgType, Result, SqlError, SqlState, TableDefinition};

use super::adapt::{map1, opt1, opt2};
use super::{Call, CastContext, CastDef, FnDef, ScalarImpl};
use crate::providers::virtual_table::roles;
use crate::session::SessionContext;

pub use reg::{reg_in, reg_out};
pub use type_name::parse_type_name;

const BOOL: PgType = PgType::BOOL;
const INT4: PgType = PgType::INT4;
const NAME: PgType = PgType::NAME;
const NODE: PgType = PgType::PG_NODE_TREE;
const OID: PgType = PgType::OID;
const TEXT: PgType = PgType::TEXT;

/// The session's search path with `$user` replaced by the user.
pub fn search_path(session: &SessionContext) -> Vec<String> {
    let temporary = session.temporary_schema();
    let path = session.vars().search_path();
    let named = path.iter().any(|s| s == "pg_temp" || *s == temporary);
    let first = (!named && session.has_temporary()).then(|| temporary.clone());
    let resolve = |s: String| match s.as_str() {
        "$user" => session.user.clone(),
        "pg_temp" => temporary.clone(),
        _ => s,
    };
    first.into_iter().chain(path.into_iter().map(resolve)).collect()
}

/// The schema that a name means: `pg_temp` is the session's own.
pub fn schema_named(session: &SessionContext, name: &str) -> String {
    if name == "pg_temp" { session.temporary_schema() } else { name.to_owned() }
}

/// The name of a relation or index, qualified unless the search path finds it.
pub(super) fn relation_name(oid: Oid, session: &SessionContext) -> Option<String> {
    let catalog = session.catalog();
    if let Some(table) = catalog.table(oid) {
        let t = &table.definition;
        let visible = is_visible(&catalog, session.database, &search_path(session), oid);
        return Some(if visible {
            quote_ident(&t.name).into_owned()
        } else {
            qualified(&schema_name(t.schema, session), &t.name)
        });
    }
    let owner = catalog.table_of_index(oid)?;
    let name = owner.definition.index(oid)?.name;
    Some(if reg::schema_is_searched(owner.definition.schema, session) {
        quote_ident(&name).into_owned()
    } else {
        qualified(&schema_name(owner.definition.schema, session), &name)
    })
}

pub(super) fn schema_name(oid: Oid, session: &SessionContext) -> String {
    session.catalog().schema(oid).map_or_else(String::new, |s| s.name.clone())
}

#[rustfmt::skip]
pub(super) static FUNCTIONS: &[FnDef] = &[
    FnDef::new(1642, "pg_get_userbyid", &[OID], NAME, user_by_id).stable(),
    FnDef::new(1081, "format_type", &[OID, INT4], TEXT, format_type).stable().called_on_null(),

    FnDef::new(2079, "pg_table_is_visible", &[OID], BOOL, table_is_visible).stable(),
    FnDef::new(2080, "pg_type_is_visible", &[OID], BOOL, type_is_visible).stable(),
    FnDef::new(2081, "pg_function_is_visible", &[OID], BOOL, function_is_visible).stable(),
    FnDef::new(2082, "pg_operator_is_visible", &[OID], BOOL, builtin_is_visible).stable(),
    FnDef::new(2083, "pg_opclass_is_visible", &[OID], BOOL, builtin_is_visible).stable(),
    FnDef::new(3829, "pg_opfamily_is_visible", &[OID], BOOL, builtin_is_visible).stable(),
    FnDef::new(3815, "pg_collation_is_visible", &[OID], BOOL, builtin_is_visible).stable(),
    FnDef::new(2093, "pg_conversion_is_visible", &[OID], BOOL, null_bool).stable(),
    FnDef::new(3403, "pg_statistics_obj_is_visible", &[OID], BOOL, null_bool).stable(),
    FnDef::new(3758, "pg_ts_config_is_visible", &[OID], BOOL, null_bool).stable(),
    FnDef::new(3757, "pg_ts_dict_is_visible", &[OID], BOOL, null_bool).stable(),
    FnDef::new(3756, "pg_ts_parser_is_visible", &[OID], BOOL, null_bool).stable(),
    FnDef::new(3768, "pg_ts_template_is_visible", &[OID], BOOL, null_bool).stable(),

    FnDef::new(1716, "pg_get_expr", &[NODE, OID], TEXT, expression_text).stable(),
    FnDef::new(2509, "pg_get_expr", &[NODE, OID, BOOL], TEXT, expression_text).stable(),
    FnDef::new(1387, "pg_get_constraintdef", &[OID], TEXT, constraint_definition).stable(),
    FnDef::new(2508, "pg_get_constraintdef", &[OID, BOOL], TEXT, constraint_definition).stable(),
    FnDef::new(1643, "pg_get_indexdef", &[OID], TEXT, |c, a| {
        opt1::<u32, String>(a, |oid| Ok(definitions::index(oid, 0, false, c.session)))
    }).stable(),
    FnDef::new(2507, "pg_get_indexdef", &[OID, INT4, BOOL], TEXT, |c, a| {
        super::adapt::opt3::<u32, i32, bool, String>(a, |oid, n, pretty| Ok(definitions::index(oid, n, pretty, c.session)))
    }).stable(),
    FnDef::new(1641, "pg_get_viewdef", &[OID], TEXT, view_definition).stable(),
    FnDef::new(2506, "pg_get_viewdef", &[OID, BOOL], TEXT, view_definition).stable(),
    FnDef::new(3159, "pg_get_viewdef", &[OID, INT4], TEXT, view_definition).stable(),
    FnDef::new(1640, "pg_get_viewdef", &[TEXT], TEXT, view_definition_by_name).stable(),
    FnDef::new(2505, "pg_get_viewdef", &[TEXT, BOOL], TEXT, view_definition_by_name).stable(),
    FnDef::new(1573, "pg_get_ruledef", &[OID], TEXT, rule_definition).stable(),
    FnDef::new(2504, "pg_get_ruledef", &[OID, BOOL], TEXT, rule_definition).stable(),
    FnDef::new(3352, "pg_get_partkeydef", &[OID], TEXT, null_text).stable(),
    FnDef::new(3408, "pg_get_partition_constraintdef", &[OID], TEXT, null_text).stable(),
    FnDef::new(1662, "pg_get_triggerdef", &[OID], TEXT, null_text).stable(),
    FnDef::new(2730, "pg_get_triggerdef", &[OID, BOOL], TEXT, null_text).stable(),
    FnDef::new(3415, "pg_get_statisticsobjdef", &[OID], TEXT, null_text).stable(),
    FnDef::new(6174, "pg_get_statisticsobjdef_columns", &[OID], TEXT, null_text).stable(),
    FnDef::new(2098, "pg_get_functiondef", &[OID], TEXT, null_text).stable(),
    FnDef::new(3808, "pg_get_function_arg_default", &[OID, INT4], TEXT, null_text).stable(),
    FnDef::new(1665, "pg_get_serial_sequence", &[TEXT, TEXT], TEXT, serial_sequence).stable(),
    FnDef::new(2162, "pg_get_function_arguments", &[OID], TEXT, function_arguments).stable(),
    FnDef::new(2232, "pg_get_function_identity_arguments", &[OID], TEXT, function_arguments).stable(),
    FnDef::new(2165, "pg_get_function_result", &[OID], TEXT, |c, a| {
        opt1::<u32, String>(a, |oid| Ok(definitions::function_result(oid, c.session)))
    }).stable(),
    FnDef::new(3537, "pg_describe_object", &[OID, OID, INT4], TEXT, |c, a| {
        super::adapt::opt3::<u32, u32, i32, String>(a, |class, oid, n| Ok(definitions::describe(class, oid, n, c.session)))
    }).stable(),

    FnDef::new(1215, "obj_description", &[OID, NAME], TEXT, null_text).stable(),
    FnDef::new(1348, "obj_description", &[OID], TEXT, null_text).stable(),
    FnDef::new(1216, "col_description", &[OID, INT4], TEXT, null_text).stable(),
    FnDef::new(1993, "shobj_description", &[OID, NAME], TEXT, null_text).stable(),

    FnDef::new(3495, "to_regclass", &[TEXT], PgType::REGCLASS, to_reg).stable(),
    FnDef::new(3493, "to_regtype", &[TEXT], PgType::REGTYPE, to_reg).stable(),
    FnDef::new(3494, "to_regproc", &[TEXT], PgType::REGPROC, to_reg).stable(),
    FnDef::new(3479, "to_regprocedure", &[TEXT], PgType::REGPROCEDURE, to_reg).stable(),
    FnDef::new(3492, "to_regoper", &[TEXT], PgType::REGOPER, to_reg).stable(),
    FnDef::new(4086, "to_regnamespace", &[TEXT], PgType::REGNAMESPACE, to_reg).stable(),
    FnDef::new(4093, "to_regrole", &[TEXT], PgType::REGROLE, to_reg).stable(),
    FnDef::new(4195, "to_regcollation", &[TEXT], PgType::REGCOLLATION, to_reg).stable(),
];

fn null_text(call: &Call<'_>, _: &[ArrayRef]) -> Result<ArrayRef> {
    Ok(new_null_array(&DataType::Utf8, call.rows))
}

fn null_bool(call: &Call<'_>, _: &[ArrayRef]) -> Result<ArrayRef> {
    Ok(new_null_array(&DataType::Boolean, call.rows))
}

fn user_by_id(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let roles = roles::all(call.session);
    map1::<u32, String>(args, |oid| Ok(roles.get(&oid).cloned().unwrap_or_else(|| format!("unknown (OID={oid})"))))
}

/// A NULL modifier means that none was asked about, -1 that the type has none: they differ for `character`.
fn format_type(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let (oids, typmods) = (args[0].as_primitive::<UInt32Type>(), args[1].as_primitive::<Int32Type>());
    let mut out = StringBuilder::with_capacity(call.rows, call.rows * 16);
    for row in 0..call.rows {
        if oids.is_null(row) {
            out.append_null();
            continue;
        }
        let oid = oids.value(row);
        match (oid, PgType::from_oid(oid), typmods.is_null(row)) {
            (0, ..) => out.append_value("-"),
            (_, Some(ty), true) => out.append_value(ty.sql_name()),
            (_, Some(ty), false) => out.append_value(ty.display(typmods.value(row))),
            (_, None, _) => out.append_value(reg::argument_type(oid, call.session)),
        }
    }
    Ok(Arc::new(out.finish()))
}

fn table_is_visible(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let session = call.session;
    let (catalog, path) = (session.catalog(), search_path(session));
    opt1::<u32, bool>(args, |oid| {
        if catalog.table(oid).is_some() {
            return Ok(Some(is_visible(&catalog, session.database, &path, oid)));
        }
        let owner = catalog.table_of_index(oid);
        Ok(owner.map(|t| reg::schema_is_searched(t.definition.schema, session)))
    })
}

fn type_is_visible(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let session = call.session;
    let (catalog, path) = (session.catalog(), search_path(session));
    opt1::<u32, bool>(args, |oid| {
        if PgType::from_oid(oid).is_some() {
            return Ok(Some(true));
        }
        let owner = catalog.owner_of(oid).filter(|t| is_row_type(&t.definition, oid));
        Ok(owner.map(|t| is_visible(&catalog, session.database, &path, t.definition.oid)))
    })
}

/// Whether `oid` is the table's row type or the array over it.
pub(super) fn is_row_type(t: &TableDefinition, oid: Oid) -> bool {
    oid == t.row_type_oid || oid == t.row_type_oid + 1
}

fn function_is_visible(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    opt1::<u32, bool>(args, |oid| Ok(procedures::by_oid(oid).map(|_| true)))
}

/// Operators, operator classes and collations are all in pg_catalog, which is always searched.
fn builtin_is_visible(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    map1::<u32, bool>(args, |_| Ok(true))
}

/// A pg_node_tree is kept as SQL text.
fn expression_text(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    opt2::<&str, u32, String>(&args[..2], |text, _| Ok(Some(text.to_owned())))
}

fn constraint_definition(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    opt1::<u32, String>(&args[..1], |oid| Ok(definitions::constraint(oid, call.session)))
}

fn view_definition(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    opt1::<u32, String>(&args[..1], |oid| Ok(definitions::view(oid, call.session)))
}

fn view_definition_by_name(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    opt1::<&str, String>(&args[..1], |name| {
        Ok(definitions::view(reg_in(PgType::REGCLASS, name, call.session)?, call.session))
    })
}

fn rule_definition(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    opt1::<u32, String>(&args[..1], |oid| Ok(definitions::rule(oid, call.session)))
}

fn function_arguments(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    opt1::<u32, String>(args, |oid| Ok(definitions::function_arguments(oid, call.session)))
}

/// The sequence that goes with a column.
fn serial_sequence(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let catalog = call.session.catalog();
    opt2::<&str, &str, String>(args, |relation, column| {
        let oid = reg_in(PgType::REGCLASS, relation, call.session)?;
        let position = catalog.table(oid).and_then(|t| t.definition.column_index(column));
        match position {
            Some(position) => {
                let owns = |s: &&Arc<kalamdb_catalog::CachedTableData>| {
                    s.definition.sequence().and_then(|s| s.owner).is_some_and(|owner| owner.column == position)
                };
                let found = catalog.owned_sequences(oid).find(owns);
                Ok(found.map(|s| qualified(&schema_name(s.definition.schema, call.session), &s.definition.name)))
            }
            None => {
                let name = catalog.table(oid).map_or(relation, |t| t.definition.name.as_str());
                let message = format!("column \"{column}\" of relation \"{name}\" does not exist");
                Err(SqlError::new(SqlState::UNDEFINED_COLUMN, message))
            }
        }
    })
}

/// As the cast, but NULL for what does not exist; malformed names are errors.
fn to_reg(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    opt1::<&str, u32>(args, |text| {
        // Unlike the type's input, a number is not a name here.
        if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
            return Ok(None);
        }
        match reg_in(call.ret, text, call.session) {
            Ok(oid) => Ok(Some(oid)),
            Err(e) if matches!(e.code(), SqlState::INVALID_NAME | SqlState::SYNTAX_ERROR) => Err(e),
            Err(_) => Ok(None),
        }
    })
}

const fn cast(from: PgType, to: PgType, context: CastContext, imp: ScalarImpl) -> CastDef {
    CastDef { from, to, context, imp }
}

/// Carriers are equal.
fn same(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    Ok(args[0].clone())
}

fn from_text(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    map1::<&str, u32>(args, |text| reg_in(call.ret, text, call.session))
}

fn from_int2(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    map1::<i16, u32>(args, |n| Ok(i32::from(n) as u32))
}

fn from_int4(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    map1::<i32, u32>(args, |n| Ok(n as u32))
}

fn from_int8(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    map1::<i64, u32>(args, |n| {
        u32::try_from(n).map_err(|_| SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "OID out of range"))
    })
}

fn to_int4(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    map1::<u32, i32>(args, |n| Ok(n as i32))
}

fn to_int8(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    map1::<u32, i64>(args, |n| Ok(i64::from(n)))
}

/// What every reg* type has: casts from and to oid and the integers.
macro_rules! reg_casts {
    ($($ty:ident)*) => {
        /// pg_cast's rows of the reg* types. Text converts through [`reg_in`] and [`reg_out`] like any type through its
        /// input and output, so that only the implicit casts from text to regclass are rows.
        pub(super) static CASTS: &[CastDef] = &[$(
            cast(PgType::OID, PgType::$ty, CastContext::Implicit, same),
            cast(PgType::$ty, PgType::OID, CastContext::Implicit, same),
            cast(PgType::INT2, PgType::$ty, CastContext::Implicit, from_int2),
            cast(PgType::INT4, PgType::$ty, CastContext::Implicit, from_int4),
            cast(PgType::INT8, PgType::$ty, CastContext::Implicit, from_int8),
            cast(PgType::$ty, PgType::INT4, CastContext::Assignment, to_int4),
            cast(PgType::$ty, PgType::INT8, CastContext::Assignment, to_int8),
        )*
            cast(PgType::TEXT, PgType::REGCLASS, CastContext::Implicit, from_text),
            cast(PgType::VARCHAR, PgType::REGCLASS, CastContext::Implicit, from_text),
            cast(PgType::REGPROC, PgType::REGPROCEDURE, CastContext::Implicit, same),
            cast(PgType::REGPROCEDURE, PgType::REGPROC, CastContext::Implicit, same),
        ];
    };
}

reg_casts! { REGCLASS REGTYPE REGPROC REGPROCEDURE REGOPER REGNAMESPACE REGROLE REGCOLLATION }

#[cfg(test)]
mod tests;
