//! What a session asks of itself and the server: identity, settings, clocks, sizes, statistics, privileges.
//!
//! Sizes are 0: rows of all tables share one store, and how much of it is whose is not kept. Statistics are 0 for the
//! same reason. NULL is kept for objects that do not exist.

mod privileges;

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int32Builder, ListBuilder, StringBuilder, new_null_array};
use datafusion::arrow::datatypes::DataType;
use kalamdb_catalog::catalog::PG_CATALOG_OID;
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::adapt::{Ret, Timestamptz, map1, opt1, opt2};
use super::catalog::search_path;
use super::{Call, FnDef};

pub(super) use privileges::PRIVILEGES;

const BOOL: PgType = PgType::BOOL;
const INT2: PgType = PgType::INT2;
const INT4: PgType = PgType::INT4;
const INT8: PgType = PgType::INT8;
const NAME: PgType = PgType::NAME;
const OID: PgType = PgType::OID;
const REGCLASS: PgType = PgType::REGCLASS;
const TEXT: PgType = PgType::TEXT;
const TIMESTAMPTZ: PgType = PgType::TIMESTAMPTZ;
const XID: PgType = PgType::XID;

/// The first name of several with one OID is the one pg_proc shows.
#[rustfmt::skip]
pub(super) static FUNCTIONS: &[FnDef] = &[
    FnDef::new(89, "version", &[], TEXT, |c, _| constant(c, Some(version(c)?))).stable(),
    FnDef::new(2026, "pg_backend_pid", &[], INT4, |c, _| constant(c, Some(c.session.pid))).stable(),
    FnDef::new(861, "current_database", &[], NAME, |c, _| constant(c, Some(c.session.database_name.clone()))).stable(),
    FnDef::new(861, "current_catalog", &[], NAME, |c, _| constant(c, Some(c.session.database_name.clone()))).stable(),
    FnDef::new(745, "current_user", &[], NAME, |c, _| constant(c, Some(c.session.user.clone()))).stable(),
    FnDef::new(745, "current_role", &[], NAME, |c, _| constant(c, Some(c.session.user.clone()))).stable(),
    FnDef::new(745, "user", &[], NAME, |c, _| constant(c, Some(c.session.user.clone()))).stable(),
    FnDef::new(746, "session_user", &[], NAME, |c, _| constant(c, Some(c.session.user.clone()))).stable(),
    FnDef::new(1402, "current_schema", &[], NAME, |c, _| constant(c, schemas(c, false).into_iter().next())).stable(),
    FnDef::new(1403, "current_schemas", &[BOOL], PgType::NAME_ARRAY, current_schemas).stable(),
    FnDef::new(2077, "current_setting", &[TEXT], TEXT, |c, a| {
        map1::<&str, String>(a, |name| c.session.vars().get(name))
    }).stable(),
    FnDef::new(3294, "current_setting", &[TEXT, BOOL], TEXT, current_setting_or_null).stable(),
    FnDef::new(1039, "getdatabaseencoding", &[], NAME, |c, _| constant(c, Some("UTF8".to_owned()))).stable(),
    FnDef::new(810, "pg_client_encoding", &[], NAME, |c, _| constant(c, Some("UTF8".to_owned()))).stable(),
    FnDef::new(1597, "pg_encoding_to_char", &[INT4], NAME, |_, a| map1::<i32, String>(a, |e| Ok(encoding_name(e)))).stable(),
    FnDef::new(1264, "pg_char_to_encoding", &[NAME], INT4, |_, a| map1::<&str, i32>(a, |n| Ok(encoding_number(n)))).stable(),

    FnDef::new(3810, "pg_is_in_recovery", &[], BOOL, |c, _| constant(c, Some(false))).volatile(),
    FnDef::new(315, "pg_jit_available", &[], BOOL, |c, _| constant(c, Some(false))).volatile(),
    FnDef::new(2943, "txid_current", &[], INT8, |c, _| constant(c, Some(c.session.transaction_micros()))).stable(),
    FnDef::new(3348, "txid_current_if_assigned", &[], INT8, |c, _| constant::<i64>(c, None)).stable(),
    FnDef::new(3809, "pg_export_snapshot", &[], TEXT, |c, _| constant(c, Some(c.session.export_snapshot()?))).volatile(),
    FnDef::new(1181, "age", &[XID], INT4, |_, a| map1::<u32, i32>(a, |x| Ok(if x < 3 { i32::MAX } else { 0 }))).stable(),
    FnDef::new(3939, "mxid_age", &[XID], INT4, |_, a| map1::<u32, i32>(a, |x| Ok(if x == 0 { i32::MAX } else { 0 }))).stable(),
    FnDef::new(2560, "pg_postmaster_start_time", &[], TIMESTAMPTZ, started_at).stable(),
    FnDef::new(2034, "pg_conf_load_time", &[], TIMESTAMPTZ, started_at).stable(),
    FnDef::new(3163, "pg_trigger_depth", &[], INT4, |c, _| constant(c, Some(0_i32))).stable(),
    FnDef::new(3376, "pg_safe_snapshot_blocking_pids", &[INT4], PgType::INT4_ARRAY, |_, a| no_pids(a)).volatile(),
    FnDef::new(2854, "pg_my_temp_schema", &[], OID, my_temporary_schema).stable(),
    FnDef::new(2855, "pg_is_other_temp_schema", &[OID], BOOL, other_temporary_schema).stable(),

    FnDef::new(2196, "inet_client_addr", &[], PgType::INET, |c, _| constant(c, address(c))).stable().called_on_null(),
    FnDef::new(2197, "inet_client_port", &[], INT4, |c, _| constant::<i32>(c, None)).stable().called_on_null(),
    FnDef::new(2198, "inet_server_addr", &[], PgType::INET, |c, _| constant::<String>(c, None)).stable().called_on_null(),
    FnDef::new(2199, "inet_server_port", &[], INT4, |c, _| constant::<i32>(c, None)).stable().called_on_null(),

    FnDef::new(2325, "pg_relation_size", &[REGCLASS], INT8, |c, a| relation_size(c, &a[..1])).volatile(),
    FnDef::new(2332, "pg_relation_size", &[REGCLASS, TEXT], INT8, |c, a| relation_size(c, &a[..1])).volatile(),
    FnDef::new(2286, "pg_total_relation_size", &[REGCLASS], INT8, relation_size).volatile(),
    FnDef::new(2997, "pg_table_size", &[REGCLASS], INT8, relation_size).volatile(),
    FnDef::new(2998, "pg_indexes_size", &[REGCLASS], INT8, relation_size).volatile(),
    FnDef::new(2168, "pg_database_size", &[NAME], INT8, database_size_by_name).volatile(),
    FnDef::new(2324, "pg_database_size", &[OID], INT8, |c, a| {
        opt1::<u32, i64>(a, |oid| Ok(c.session.catalog().database(oid).map(|_| 0)))
    }).volatile(),
    FnDef::new(2322, "pg_tablespace_size", &[OID], INT8, |_, a| map1::<u32, i64>(a, |_| Ok(0))).volatile(),
    FnDef::new(2288, "pg_size_pretty", &[INT8], TEXT, |_, a| map1::<i64, String>(a, |n| Ok(size_pretty(n)))),
    FnDef::new(3334, "pg_size_bytes", &[TEXT], INT8, |_, a| map1::<&str, i64>(a, size_bytes)),
    FnDef::new(1269, "pg_column_size", &[PgType::ANY], INT4, column_size).stable(),
    FnDef::new(3778, "pg_tablespace_location", &[OID], TEXT, |_, a| map1::<u32, String>(a, |_| Ok(String::new()))).stable(),

    FnDef::new(1928, "pg_stat_get_numscans", &[OID], INT8, |_, a| map1::<u32, i64>(a, |_| Ok(0))).stable(),
    FnDef::new(2878, "pg_stat_get_live_tuples", &[OID], INT8, |_, a| map1::<u32, i64>(a, |_| Ok(0))).stable(),
    FnDef::new(2879, "pg_stat_get_dead_tuples", &[OID], INT8, |_, a| map1::<u32, i64>(a, |_| Ok(0))).stable(),
    FnDef::new(1931, "pg_stat_get_tuples_inserted", &[OID], INT8, |_, a| map1::<u32, i64>(a, |_| Ok(0))).stable(),
    FnDef::new(1932, "pg_stat_get_tuples_updated", &[OID], INT8, |_, a| map1::<u32, i64>(a, |_| Ok(0))).stable(),
    FnDef::new(1933, "pg_stat_get_tuples_deleted", &[OID], INT8, |_, a| map1::<u32, i64>(a, |_| Ok(0))).stable(),

    FnDef::new(3298, "row_security_active", &[OID], BOOL, other_temporary_schema).stable(),
    FnDef::new(3842, "pg_relation_is_updatable", &[REGCLASS, BOOL], INT4, relation_is_updatable).stable(),
    FnDef::new(3843, "pg_column_is_updatable", &[REGCLASS, INT2, BOOL], BOOL, |c, a| {
        opt2::<u32, i16, bool>(&a[..2], |oid, column| Ok(Some(column > 0 && is_table(c, oid))))
    }).stable(),
    FnDef::new(6121, "pg_relation_is_publishable", &[REGCLASS], BOOL, |c, a| {
        opt1::<u32, bool>(a, |oid| Ok(c.session.catalog().table(oid).map(|_| is_table(c, oid))))
    }).stable(),
    FnDef::new(2999, "pg_relation_filenode", &[REGCLASS], OID, |c, a| {
        opt1::<u32, u32>(a, |oid| Ok(is_table(c, oid).then_some(oid)))
    }).stable(),
];

/// One value for every row.
fn constant<R: Ret + Clone>(call: &Call<'_>, value: Option<R>) -> Result<ArrayRef> {
    let mut out = R::builder(call.rows);
    for _ in 0..call.rows {
        R::append(&mut out, value.clone());
    }
    Ok(R::finish(out))
}

fn version(call: &Call<'_>) -> Result<String> {
    let version = call.session.vars().get("server_version")?;
    Ok(format!("PostgreSQL {version} on {}-{}, 64-bit", std::env::consts::ARCH, std::env::consts::OS))
}

fn started_at(call: &Call<'_>, _: &[ArrayRef]) -> Result<ArrayRef> {
    constant(call, Some(Timestamptz(call.session.server_started_at)))
}

/// The client's address if it came over TCP.
fn address(call: &Call<'_>) -> Option<String> {
    let text = call.session.client_address.as_deref()?;
    let parsed = text.parse::<std::net::IpAddr>().ok();
    parsed.or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|a| a.ip())).map(|ip| ip.to_string())
}

/// The names of the schemas searched, with those nobody listed if `implicit`.
fn schemas(call: &Call<'_>, implicit: bool) -> Vec<String> {
    let session = call.session;
    let catalog = session.catalog();
    let path = search_path(session);
    let listed = path.iter().any(|s| s == "pg_catalog");
    kalamdb_catalog::name::path_schemas(&catalog, session.database, &path)
        .into_iter()
        .filter(|oid| implicit || listed || *oid != PG_CATALOG_OID)
        .filter_map(|oid| catalog.schema(oid).map(|s| s.name.clone()))
        .collect()
}

fn current_schemas(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let implicit = args[0].as_boolean();
    let mut out = ListBuilder::new(StringBuilder::new());
    for row in 0..call.rows {
        if implicit.is_null(row) {
            out.append_null();
            continue;
        }
        for name in schemas(call, implicit.value(row)) {
            out.values().append_value(name);
        }
        out.append(true);
    }
    Ok(Arc::new(out.finish()))
}

fn current_setting_or_null(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    opt2::<&str, bool, String>(args, |name, missing_ok| match call.session.vars().get(name) {
        Ok(value) => Ok(Some(value)),
        Err(error) if missing_ok && error.code() == SqlState::UNDEFINED_OBJECT => Ok(None),
        Err(error) => Err(error),
    })
}

/// PostgreSQL's encodings by number.
const ENCODINGS: [&str; 42] = [
    "SQL_ASCII",
    "EUC_JP",
    "EUC_CN",
    "EUC_KR",
    "EUC_TW",
    "EUC_JIS_2004",
    "UTF8",
    "MULE_INTERNAL",
    "LATIN1",
    "LATIN2",
    "LATIN3",
    "LATIN4",
    "LATIN5",
    "LATIN6",
    "LATIN7",
    "LATIN8",
    "LATIN9",
    "LATIN10",
    "WIN1256",
    "WIN1258",
    "WIN866",
    "WIN874",
    "KOI8R",
    "WIN1251",
    "WIN1252",
    "ISO_8859_5",
    "ISO_8859_6",
    "ISO_8859_7",
    "ISO_8859_8",
    "WIN1250",
    "WIN1253",
    "WIN1254",
    "WIN1255",
    "WIN1257",
    "KOI8U",
    "SJIS",
    "BIG5",
    "GBK",
    "UHC",
    "GB18030",
    "JOHAB",
    "SHIFT_JIS_2004",
];

fn encoding_name(number: i32) -> String {
    let name = usize::try_from(number).ok().and_then(|i| ENCODINGS.get(i));
    name.copied().unwrap_or_default().to_owned()
}

fn encoding_number(name: &str) -> i32 {
    let plain = |n: &str| n.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
    let wanted = plain(name);
    let wanted = if wanted == "UNICODE" { "UTF8" } else { &wanted };
    ENCODINGS.iter().position(|e| plain(e) == wanted).map_or(-1, |i| i as i32)
}

fn no_pids(args: &[ArrayRef]) -> Result<ArrayRef> {
    let mut out = ListBuilder::new(Int32Builder::new());
    for row in 0..args[0].len() {
        out.append(args[0].is_valid(row));
    }
    Ok(Arc::new(out.finish()))
}

fn is_table(call: &Call<'_>, oid: u32) -> bool {
    let catalog = call.session.catalog();
    catalog.table(oid).is_some_and(|t| !t.definition.is_view() && !t.definition.is_system())
}

/// A bit mask: 4 UPDATE, 8 INSERT, 16 DELETE.
fn relation_is_updatable(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    opt2::<u32, bool, i32>(args, |oid, _| Ok(Some(if is_table(call, oid) { 4 | 8 | 16 } else { 0 })))
}

fn relation_size(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let catalog = call.session.catalog();
    opt1::<u32, i64>(args, |oid| {
        Ok((catalog.table(oid).is_some() || catalog.table_of_index(oid).is_some()).then_some(0))
    })
}

fn database_size_by_name(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    map1::<&str, i64>(args, |name| match call.session.catalog().database_by_name(name) {
        Some(_) => Ok(0),
        None => Err(SqlError::new(SqlState::INVALID_CATALOG_NAME, format!("database \"{name}\" does not exist"))),
    })
}

/// Rounds half away from zero at each step; a unit is left when the number reaches 10240 (20480 with the half bit that
/// is kept from the first step on).
fn size_pretty(bytes: i64) -> String {
    let mut size = i128::from(bytes);
    if size.abs() < 10 * 1024 {
        return format!("{size} bytes");
    }
    size /= 512;
    let units = ["kB", "MB", "GB", "TB", "PB"];
    for (i, unit) in units.iter().enumerate() {
        let half_rounded = (size + if size >= 0 { 1 } else { -1 }) / 2;
        if i + 1 == units.len() || size.abs() < 20 * 1024 - 1 {
            return format!("{half_rounded} {unit}");
        }
        size /= 1024;
    }
    unreachable!("the last unit takes any size")
}

fn size_bytes(text: &str) -> Result<i64> {
    let invalid = || SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid size: \"{text}\""));
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+'))).unwrap_or(trimmed.len());
    let number: f64 = trimmed[..digits].parse().map_err(|_| invalid())?;
    let unit = trimmed[digits..].trim();
    let factor: f64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" | "bytes" => 1.0,
        "kb" => 1024.0,
        "mb" => 1024.0 * 1024.0,
        "gb" => 1024.0 * 1024.0 * 1024.0,
        "tb" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        "pb" => 1024.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => {
            return Err(invalid()
                .detail(format!("Invalid size unit: \"{unit}\"."))
                .hint("Valid units are \"bytes\", \"B\", \"kB\", \"MB\", \"GB\", \"TB\", and \"PB\"."));
        }
    };
    let bytes = (number * factor).round();
    if bytes.abs() >= 9.223_372_036_854_775e18 {
        return Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "bigint out of range"));
    }
    Ok(bytes as i64)
}

/// The size of the value as PostgreSQL would hold it in memory: fixed, or four bytes and the data.
fn column_size(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let array = &args[0];
    let fixed = call.arg_types.first().map_or(-1, |t| t.info().len);
    let mut out = Int32Builder::with_capacity(call.rows);
    for row in 0..call.rows {
        if array.is_null(row) {
            out.append_null();
        } else if fixed > 0 {
            out.append_value(i32::from(fixed));
        } else {
            let data = match array.data_type() {
                DataType::Utf8 => array.as_string::<i32>().value(row).len(),
                DataType::Binary => array.as_binary::<i32>().value(row).len(),
                DataType::List(_) => 20 + array.as_list::<i32>().value(row).get_buffer_memory_size(),
                _ => return Ok(new_null_array(&DataType::Int32, call.rows)),
            };
            out.append_value(data as i32 + 4);
        }
    }
    Ok(Arc::new(out.finish()))
}

fn my_temporary_schema(call: &Call<'_>, _: &[ArrayRef]) -> Result<ArrayRef> {
    let (session, catalog) = (call.session, call.session.catalog());
    let found = catalog.schema_by_name(session.database, &session.temporary_schema());
    constant(call, Some(found.map_or(0, |s| s.oid)))
}

fn other_temporary_schema(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let (own, catalog) = (call.session.temporary_schema(), call.session.catalog());
    let prefix = crate::sql::handlers::temporary::SCHEMA_PREFIX;
    map1::<u32, bool>(args, |oid| Ok(catalog.schema(oid).is_some_and(|s| s.name.starts_with(prefix) && s.name != own)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_pretty_as_in_postgresql() {
        for (bytes, shown) in [
            (0, "0 bytes"),
            (10239, "10239 bytes"),
            (10240, "10 kB"),
            (123456789, "118 MB"),
            (-123456789, "-118 MB"),
            (12345678901234, "11 TB"),
            (1234567890123456, "1123 TB"),
            (i64::MAX, "8192 PB"),
        ] {
            assert_eq!(size_pretty(bytes), shown);
        }
        assert_eq!(size_bytes("10 MB").unwrap(), 10485760);
        assert_eq!(size_bytes("1.5kB").unwrap(), 1536);
        assert_eq!(size_bytes("x").unwrap_err().message(), "invalid size: \"x\"");
    }

    #[test]
    fn encodings_are_numbered_as_in_postgresql() {
        assert_eq!(encoding_name(6), "UTF8");
        assert_eq!(encoding_name(99), "");
        assert_eq!(encoding_number("utf-8"), 6);
        assert_eq!(encoding_number("x"), -1);
    }
}
