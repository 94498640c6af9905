//! Names in and out, and definitions, over the catalog of the virtual tables' tests: `public.t(a primary key, ...)`.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Int32Array, StringArray, UInt32Array};
use datafusion::arrow::util::display::array_value_to_string;
use kalamdb_catalog::{PgType, Result};

use super::{parse_type_name, reg_in, reg_out};
use crate::providers::virtual_table::tests::session;
use crate::sql::functions::{self, Call};

/// The first result of the function of this name that takes these argument types; "NULL" for none.
fn call(name: &str, types: &[PgType], args: &[ArrayRef]) -> Result<String> {
    let session = session(1);
    let f = functions::all().find(|f| f.name == name && f.args == types).unwrap();
    let call =
        Call { session: &session, locker: None, rows: 1, arg_types: types, ret: f.ret, typmod: -1, explicit: false };
    let result = (f.imp)(&call, args)?;
    Ok(if result.is_null(0) { "NULL".to_owned() } else { array_value_to_string(&result, 0).unwrap() })
}

fn oid(value: u32) -> ArrayRef {
    Arc::new(UInt32Array::from(vec![value]))
}

fn text(value: &str) -> ArrayRef {
    Arc::new(StringArray::from(vec![value]))
}

fn int(value: Option<i32>) -> ArrayRef {
    Arc::new(Int32Array::from(vec![value]))
}

#[test]
fn names_are_read_as_postgresql_reads_them() {
    let session = session(1);
    for (ty, name, wanted) in [
        (PgType::REGCLASS, "t", "16384"),
        (PgType::REGCLASS, "public.T", "16384"),
        (PgType::REGCLASS, "postgres.public.t", "16384"),
        (PgType::REGCLASS, "t_pkey", "16387"),
        (PgType::REGCLASS, "pg_class", "1259"),
        (PgType::REGCLASS, "16388", "16388"),
        (PgType::REGCLASS, "-", "0"),
        (PgType::REGCLASS, "nope", "42P01 relation \"nope\" does not exist"),
        (PgType::REGCLASS, "\"T\"", "42P01 relation \"T\" does not exist"),
        (PgType::REGCLASS, "nosch.t", "3F000 schema \"nosch\" does not exist"),
        (PgType::REGCLASS, "x.public.t", "0A000 cross-database references are not implemented: \"x.public.t\""),
        (PgType::REGCLASS, "", "42602 invalid name syntax"),
        (PgType::REGCLASS, "a b", "42602 invalid name syntax"),
        (PgType::REGTYPE, "integer", "23"),
        (PgType::REGTYPE, "t", "16385"),
        (PgType::REGTYPE, "t[]", "16386"),
        (PgType::REGTYPE, "nope", "42704 type \"nope\" does not exist"),
        (PgType::REGPROC, "pg_get_userbyid", "1642"),
        (PgType::REGPROC, "nope", "42883 function \"nope\" does not exist"),
        (PgType::REGPROC, "format_type", "1081"),
        (PgType::REGPROC, "pg_get_viewdef", "42725 more than one function named \"pg_get_viewdef\""),
        (PgType::REGPROCEDURE, "format_type(oid, integer)", "1081"),
        (PgType::REGPROCEDURE, "format_type", "22P02 expected a left parenthesis"),
        (PgType::REGNAMESPACE, "public", "2200"),
        (PgType::REGNAMESPACE, "nope", "3F000 schema \"nope\" does not exist"),
        (PgType::REGROLE, "postgres", "10"),
        (PgType::REGROLE, "nope", "42704 role \"nope\" does not exist"),
    ] {
        let found = match reg_in(ty, name, &session) {
            Ok(oid) => oid.to_string(),
            Err(e) => format!("{} {}", e.code(), e.message()),
        };
        assert_eq!(found, wanted, "{name}");
    }
}

#[test]
fn names_are_shown_as_postgresql_shows_them() {
    let session = session(1);
    for (ty, oid, wanted) in [
        (PgType::REGCLASS, 16384, "t"),
        (PgType::REGCLASS, 16387, "t_pkey"),
        (PgType::REGCLASS, 1259, "pg_class"),
        (PgType::REGCLASS, 13010, "information_schema.tables"),
        (PgType::REGCLASS, 99999, "99999"),
        (PgType::REGCLASS, 0, "-"),
        (PgType::REGTYPE, 1184, "timestamp with time zone"),
        (PgType::REGTYPE, 16386, "t[]"),
        (PgType::REGPROC, 2400, "array_recv"),
        (PgType::REGPROC, 1641, "pg_catalog.pg_get_viewdef"),
        (PgType::REGPROCEDURE, 1081, "format_type(oid,integer)"),
        (PgType::REGNAMESPACE, 2200, "public"),
        (PgType::REGROLE, 10, "postgres"),
    ] {
        assert_eq!(reg_out(ty, oid, &session), wanted);
    }
}

#[test]
fn type_names_are_sql_s() {
    let session = session(0);
    for (name, wanted) in [
        ("integer", "integer"),
        ("INT[]", "integer[]"),
        ("int array", "integer[]"),
        ("integer[3][2]", "integer[]"),
        ("varchar(20)[]", "character varying(20)[]"),
        ("character varying (7)", "character varying(7)"),
        ("char", "character(1)"),
        ("\"char\"", "\"char\""),
        ("pg_catalog.int4", "integer"),
        ("numeric(10, 2)", "numeric(10,2)"),
        ("timestamp(3) with time zone", "timestamp(3) with time zone"),
        ("timestamp with time zone", "timestamp with time zone"),
        ("time", "time without time zone"),
        ("interval day to second(3)", "interval day to second(3)"),
        ("interval day(3)", "42601"),
        ("interval day to second", "interval day to second"),
        ("interval(3)", "interval(3)"),
        ("float(3)", "real"),
        ("double precision", "double precision"),
        ("nope", "42704"),
        ("nosch.int4", "3F000"),
        ("int4 x", "42601"),
        ("varchar(0)", "22023"),
        ("int4(3)", "42601"),
    ] {
        let found = match parse_type_name(name, &session) {
            Ok((ty, typmod)) => ty.display(typmod),
            Err(e) => e.code().0.to_owned(),
        };
        assert_eq!(found, wanted, "{name}");
    }
}

#[test]
fn definitions_read_like_postgresql_s() {
    let index = |n, pretty: bool| {
        let pretty: ArrayRef = Arc::new(datafusion::arrow::array::BooleanArray::from(vec![pretty]));
        call("pg_get_indexdef", &[PgType::OID, PgType::INT4, PgType::BOOL], &[oid(16387), int(Some(n)), pretty])
            .unwrap()
    };
    assert_eq!(index(0, false), "CREATE UNIQUE INDEX t_pkey ON public.t USING btree (a)");
    assert_eq!(index(0, true), "CREATE UNIQUE INDEX t_pkey ON t USING btree (a)");
    assert_eq!(index(1, true), "a");
    assert_eq!(call("pg_get_constraintdef", &[PgType::OID], &[oid(16388)]).unwrap(), "PRIMARY KEY (a)");
    assert_eq!(call("pg_get_constraintdef", &[PgType::OID], &[oid(1)]).unwrap(), "NULL");
    assert_eq!(call("pg_get_userbyid", &[PgType::OID], &[oid(99)]).unwrap(), "unknown (OID=99)");
    assert_eq!(call("pg_table_is_visible", &[PgType::OID], &[oid(13010)]).unwrap(), "false");
    assert_eq!(call("pg_table_is_visible", &[PgType::OID], &[oid(1)]).unwrap(), "NULL");
    assert_eq!(call("pg_get_function_arguments", &[PgType::OID], &[oid(1081)]).unwrap(), "oid, integer");
    assert_eq!(call("to_regclass", &[PgType::TEXT], &[text("nope")]).unwrap(), "NULL");
    assert_eq!(call("to_regclass", &[PgType::TEXT], &[text("t")]).unwrap(), "16384");
    assert_eq!(
        call("pg_describe_object", &[PgType::OID, PgType::OID, PgType::INT4], &[oid(1259), oid(16384), int(Some(1))])
            .unwrap(),
        "column a of table t"
    );
}

#[test]
fn format_type_knows_a_null_modifier() {
    for (ty, typmod, wanted) in [
        (1043, Some(24), "character varying(20)"),
        (1042, None, "character"),
        (1042, Some(-1), "bpchar"),
        (99999, None, "???"),
        (0, None, "-"),
        (16385, None, "t"),
    ] {
        assert_eq!(call("format_type", &[PgType::OID, PgType::INT4], &[oid(ty), int(typmod)]).unwrap(), wanted);
    }
}

#[test]
fn privileges_are_granted_on_what_exists() {
    let ask = |object: &str, privilege: &str| match call(
        "has_table_privilege",
        &[PgType::TEXT, PgType::TEXT],
        &[text(object), text(privilege)],
    ) {
        Ok(answer) => answer,
        Err(e) => format!("{} {}", e.code(), e.message()),
    };
    assert_eq!(ask("t", "select, INSERT with grant option"), "true");
    assert_eq!(ask("nope", "select"), "42P01 relation \"nope\" does not exist");
    assert_eq!(ask("t", "selct"), "22023 unrecognized privilege type: \"selct\"");
}

#[test]
fn schemas_are_those_of_the_path() {
    let f = functions::all().find(|f| f.name == "current_schemas").unwrap();
    let session = session(0);
    let call =
        Call { session: &session, locker: None, rows: 1, arg_types: f.args, ret: f.ret, typmod: -1, explicit: false };
    let args: ArrayRef = Arc::new(datafusion::arrow::array::BooleanArray::from(vec![true]));
    let result = (f.imp)(&call, &[args]).unwrap();
    let names = result.as_list::<i32>().value(0);
    assert_eq!(names.as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["pg_catalog", "public"]);
}
