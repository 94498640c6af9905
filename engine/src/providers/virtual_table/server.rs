//! What is not a relation or a type: schemas, databases, roles, settings, sessions, time zones, counters.

use kalamdb_catalog::Result;
use kalamdb_catalog::builtin::BOOTSTRAP_ROLE_OID;
use kalamdb_catalog::catalog::PG_CATALOG_OID;
use kalamdb_catalog::table::FIRST_USER_OID;

use super::{Rows, letter, owned, roles, text, texts};
use crate::session::{SessionContext, Setting, VarType};
use crate::types::{Interval, Value};

/// pg_encoding: UTF8.
const UTF8: i32 = 6;
/// pg_tablespace.oid of pg_default.
const DEFAULT_TABLESPACE: u32 = 1663;

pub(super) fn pg_namespace(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    for schema in session.catalog().schemas(session.database) {
        rows.push(&[
            ("oid", Value::Oid(schema.oid)),
            ("nspname", text(&schema.name)),
            ("nspowner", Value::Oid(roles::oid(&schema.owner))),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_database(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    for database in session.catalog().databases() {
        rows.push(&[
            ("oid", Value::Oid(database.oid)),
            ("datname", text(&database.name)),
            ("datdba", Value::Oid(roles::oid(&database.owner))),
            ("encoding", Value::Int4(UTF8)),
            ("datlocprovider", letter('c')),
            ("datallowconn", Value::Bool(true)),
            ("datconnlimit", Value::Int4(-1)),
            ("dattablespace", Value::Oid(DEFAULT_TABLESPACE)),
            ("datcollate", text("C.UTF-8")),
            ("datctype", text("C.UTF-8")),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_roles(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    let yes = || Value::Bool(true);
    for (oid, name) in roles::all(session) {
        rows.push(&[
            ("rolname", text(&name)),
            ("rolsuper", yes()),
            ("rolinherit", yes()),
            ("rolcreaterole", yes()),
            ("rolcreatedb", yes()),
            ("rolcanlogin", yes()),
            ("rolreplication", yes()),
            ("rolconnlimit", Value::Int4(-1)),
            ("rolpassword", text("********")),
            ("rolbypassrls", yes()),
            ("oid", Value::Oid(oid)),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_authid(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    let yes = || Value::Bool(true);
    for (oid, name) in roles::all(session) {
        rows.push(&[
            ("oid", Value::Oid(oid)),
            ("rolname", text(&name)),
            ("rolsuper", yes()),
            ("rolinherit", yes()),
            ("rolcreaterole", yes()),
            ("rolcreatedb", yes()),
            ("rolcanlogin", yes()),
            ("rolreplication", yes()),
            ("rolbypassrls", yes()),
            ("rolconnlimit", Value::Int4(-1)),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_user(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    let yes = || Value::Bool(true);
    for (oid, name) in roles::all(session) {
        rows.push(&[
            ("usename", text(&name)),
            ("usesysid", Value::Oid(oid)),
            ("usecreatedb", yes()),
            ("usesuper", yes()),
            ("userepl", yes()),
            ("usebypassrls", yes()),
            ("passwd", text("********")),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_settings(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    let vars = session.vars();
    for setting in vars.iter() {
        match setting.def {
            Some(_) => push_setting(rows, &setting)?,
            None => rows.push(&[
                ("name", text(setting.name)),
                ("setting", text(&setting.value)),
                ("category", text("Customized Options")),
                ("context", text("user")),
                ("vartype", text("string")),
                ("source", text(setting.source)),
                ("reset_val", text(&setting.reset)),
                ("pending_restart", Value::Bool(false)),
            ])?,
        }
    }
    Ok(())
}

fn push_setting(rows: &mut Rows<'_>, setting: &Setting<'_>) -> Result<()> {
    let Some(def) = setting.def else { return Ok(()) };
    let (min, max) = match def.vartype.bounds() {
        Some((min, max)) => (owned(min), owned(max)),
        None => (Value::Null, Value::Null),
    };
    let words = match def.vartype {
        VarType::Enum(words) => texts(words),
        VarType::Bool | VarType::Integer { .. } | VarType::Real { .. } | VarType::Text => Value::Null,
    };
    rows.push(&[
        ("name", text(def.name)),
        ("setting", text(&setting.value)),
        ("unit", if def.unit.is_empty() { Value::Null } else { text(def.unit) }),
        ("category", text(def.category)),
        ("short_desc", text(def.short_desc)),
        ("context", text(def.context.name())),
        ("vartype", text(def.vartype.name())),
        ("source", text(setting.source)),
        ("min_val", min),
        ("max_val", max),
        ("enumvals", words),
        ("boot_val", text(def.default)),
        ("reset_val", text(&setting.reset)),
        ("pending_restart", Value::Bool(false)),
    ])
}

pub(super) fn pg_am(rows: &mut Rows<'_>) -> Result<()> {
    for (oid, name, handler, kind) in [(2, "heap", 3, 't'), (403, "btree", 330, 'i')] {
        rows.push(&[
            ("oid", Value::Oid(oid)),
            ("amname", text(name)),
            ("amhandler", Value::Oid(handler)),
            ("amtype", letter(kind)),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_collation(rows: &mut Rows<'_>) -> Result<()> {
    let collations =
        [(100, "default", 'd', -1, None), (950, "C", 'c', -1, Some("C")), (951, "POSIX", 'c', -1, Some("POSIX"))];
    for (oid, name, provider, encoding, locale) in collations {
        let locale = || locale.map_or(Value::Null, text);
        rows.push(&[
            ("oid", Value::Oid(oid)),
            ("collname", text(name)),
            ("collnamespace", Value::Oid(PG_CATALOG_OID)),
            ("collowner", Value::Oid(BOOTSTRAP_ROLE_OID)),
            ("collprovider", letter(provider)),
            ("collisdeterministic", Value::Bool(true)),
            ("collencoding", Value::Int4(encoding)),
            ("collcollate", locale()),
            ("collctype", locale()),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_tablespace(rows: &mut Rows<'_>) -> Result<()> {
    for (oid, name) in [(DEFAULT_TABLESPACE, "pg_default"), (1664, "pg_global")] {
        rows.push(&[("oid", Value::Oid(oid)), ("spcname", text(name)), ("spcowner", Value::Oid(BOOTSTRAP_ROLE_OID))])?;
    }
    Ok(())
}

pub(super) fn pg_language(rows: &mut Rows<'_>) -> Result<()> {
    for (oid, name, trusted, validator) in
        [(12, "internal", false, 2246), (13, "c", false, 2247), (14, "sql", true, 2248)]
    {
        rows.push(&[
            ("oid", Value::Oid(oid)),
            ("lanname", text(name)),
            ("lanowner", Value::Oid(BOOTSTRAP_ROLE_OID)),
            ("lanpltrusted", Value::Bool(trusted)),
            ("lanvalidator", Value::Oid(validator)),
        ])?;
    }
    Ok(())
}

/// The server's sessions; the session's own row has what only it knows.
pub(super) fn pg_stat_activity(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    let vars = session.vars();
    rows.push(&[
        ("datid", Value::Oid(session.database)),
        ("datname", text(&session.database_name)),
        ("pid", Value::Int4(session.pid)),
        ("usesysid", Value::Oid(roles::oid(&session.user))),
        ("usename", text(&session.user)),
        ("application_name", text(vars.get_raw("application_name")?)),
        ("client_addr", session.client_address.as_deref().map_or(Value::Null, text)),
        ("xact_start", Value::Timestamp(session.transaction_micros())),
        ("query_start", Value::Timestamp(session.statement_micros())),
        ("state_change", Value::Timestamp(session.statement_micros())),
        ("state", text("active")),
        ("backend_type", text("client backend")),
    ])?;
    let others = session.peers.as_ref().map(|peers| peers.list()).unwrap_or_default();
    let catalog = session.catalog();
    for other in others.iter().filter(|other| other.pid != session.pid) {
        rows.push(&[
            ("datid", catalog.database_by_name(&other.database).map_or(Value::Null, |d| Value::Oid(d.oid))),
            ("datname", text(&other.database)),
            ("pid", Value::Int4(other.pid)),
            ("usesysid", Value::Oid(roles::oid(&other.user))),
            ("usename", text(&other.user)),
            ("application_name", text(&other.application_name)),
            ("client_addr", other.client_address.as_deref().map_or(Value::Null, text)),
            ("backend_start", Value::Timestamp(other.backend_start)),
            ("query_start", other.query_start.map_or(Value::Null, Value::Timestamp)),
            ("state_change", Value::Timestamp(other.state_change)),
            ("state", text(other.state.name())),
            ("query", text(&other.query)),
            ("backend_type", text("client backend")),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_timezone_names(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    let Ok(now) = jiff::Timestamp::from_microsecond(session.statement_micros()) else { return Ok(()) };
    for name in jiff::tz::db().available() {
        let Ok(zone) = jiff::tz::db().get(name.as_str()) else { continue };
        let info = zone.to_offset_info(now);
        let offset = Interval { months: 0, days: 0, micros: i64::from(info.offset().seconds()) * 1_000_000 };
        rows.push(&[
            ("name", text(name.as_str())),
            ("abbrev", text(info.abbreviation())),
            ("utc_offset", Value::Interval(offset)),
            ("is_dst", Value::Bool(info.dst().is_dst())),
        ])?;
    }
    Ok(())
}

pub(super) fn system_stats(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    let catalog = session.catalog();
    let users = || catalog.tables().filter(|t| t.definition.oid >= FIRST_USER_OID);
    let views = users().filter(|t| t.definition.is_view()).count();
    let uptime = (session.statement_micros() - session.server_started_at).max(0) / 1_000_000;
    for (name, value) in [
        ("server_version", session.vars().get("server_version")?),
        ("uptime_seconds", uptime.to_string()),
        ("databases", catalog.databases().count().to_string()),
        ("tables", (users().count() - views).to_string()),
        ("views", views.to_string()),
        ("catalog_changes", catalog.version.to_string()),
    ] {
        rows.push(&[("metric_name", text(name)), ("metric_value", owned(value))])?;
    }
    let (Some(live), Some(queries)) = (&session.live, &session.queries) else { return Ok(()) };
    let counts = queries.counts();
    for (name, value) in [
        ("listeners", live.listeners() as u64),
        ("live_queries", counts.queries),
        ("live_query_listeners", counts.subscriptions),
        ("live_query_delivered", counts.delivered),
        ("live_query_resets", counts.resets),
        ("live_query_lag", counts.lag),
        ("live_query_waiting_bytes", counts.waiting_bytes),
    ] {
        rows.push(&[("metric_name", text(name)), ("metric_value", owned(value.to_string()))])?;
    }
    let usage = live.queue_usage().to_string();
    rows.push(&[("metric_name", text("notify_queue_usage")), ("metric_value", owned(usage))])
}

/// Those of the session's database.
pub(super) fn live_queries(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    let Some(queries) = &session.queries else { return Ok(()) };
    let number = |n: u64| Value::Int8(n.min(i64::MAX as u64) as i64);
    let newest = queries.newest();
    for one in queries.list().iter().filter(|one| one.database == session.database) {
        let (changes, bytes) = one.waiting();
        let delivered = one.delivered();
        let lag = if changes == 0 { 0 } else { newest.saturating_sub(delivered) };
        rows.push(&[
            ("id", number(one.id)),
            ("pid", Value::Int4(one.pid())),
            ("user_name", text(&one.user)),
            ("query", text(one.text())),
            ("since", one.since.map_or(Value::Null, number)),
            ("delivered_seq", number(delivered)),
            ("lag", number(lag)),
            ("waiting_changes", number(changes as u64)),
            ("waiting_bytes", number(bytes as u64)),
            ("resets", number(one.resets())),
            ("created_at", Value::Timestamp(one.created_at)),
        ])?;
    }
    Ok(())
}

pub(super) fn pg_cursors(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    for cursor in session.cursors() {
        rows.push(&[
            ("name", text(&cursor.name)),
            ("statement", text(&cursor.statement)),
            ("is_holdable", Value::Bool(cursor.hold)),
            ("is_binary", Value::Bool(false)),
            ("is_scrollable", Value::Bool(cursor.scroll)),
            ("creation_time", Value::Timestamp(cursor.created_at)),
        ])?;
    }
    Ok(())
}
