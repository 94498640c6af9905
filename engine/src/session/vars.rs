//! The settings of a session: SET, SHOW, RESET and what is derived from them (manual, chapter 20).
//!
//! A value is looked for in four layers: SET LOCAL, SET, the value the session began with, the built-in default.
//! [`Vars::begin`] saves the first two, so that a rollback brings them back and the end of a transaction drops what
//! was LOCAL to it; begins nest, which is how savepoints use them.

mod table;
mod text;
mod value;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use kalamdb_catalog::{Result, SqlError, SqlState};

use self::text::{client_encoding, date_style, printable, show_date_style, split_identifiers, zone};
use crate::txn::Isolation;
use crate::types::{ByteaOutput, FormatSettings, IntervalStyle};

pub use table::VarDef;
pub(crate) use value::parse_milliseconds;

/// pg_settings.context: who may change a setting, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VarContext {
    Internal,
    Postmaster,
    Sighup,
    Superuser,
    User,
}

/// pg_settings.vartype with its bounds or words.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum VarType {
    Bool,
    Integer { min: i64, max: i64 },
    Real { min: f64, max: f64 },
    Text,
    Enum(&'static [&'static str]),
}

impl VarContext {
    /// pg_settings.context
    pub fn name(self) -> &'static str {
        match self {
            VarContext::Internal => "internal",
            VarContext::Postmaster => "postmaster",
            VarContext::Sighup => "sighup",
            VarContext::Superuser => "superuser",
            VarContext::User => "user",
        }
    }
}

impl VarType {
    /// pg_settings.vartype
    pub fn name(self) -> &'static str {
        match self {
            VarType::Bool => "bool",
            VarType::Integer { .. } => "integer",
            VarType::Real { .. } => "real",
            VarType::Text => "string",
            VarType::Enum(_) => "enum",
        }
    }

    /// pg_settings.min_val and max_val
    pub fn bounds(self) -> Option<(String, String)> {
        match self {
            VarType::Integer { min, max } => Some((min.to_string(), max.to_string())),
            VarType::Real { min, max } => Some((value::short(min), value::short(max))),
            VarType::Bool | VarType::Text | VarType::Enum(_) => None,
        }
    }
}

/// A setting with its values, for pg_settings and SHOW ALL.
#[derive(Debug)]
pub struct Setting<'a> {
    /// None for a custom setting ("a.b").
    pub def: Option<&'static VarDef>,
    pub name: &'a str,
    /// As SHOW prints it.
    pub shown: String,
    /// In base units.
    pub value: String,
    pub reset: String,
    /// pg_settings.source
    pub source: &'static str,
}

type Values = BTreeMap<String, String>;

/// All settings of a session. Cheap to clone.
#[derive(Clone, Default, Debug)]
pub struct Vars {
    /// What RESET returns to where it is not the built-in default.
    initial: Arc<Values>,
    session: Arc<Values>,
    local: Arc<Values>,
    /// `session` and `local` at each begin.
    saved: Vec<(Arc<Values>, Arc<Values>)>,
    asked: Arc<Asked>,
}

/// What every statement asks for: read from the values when they change, not each time.
#[derive(PartialEq, Debug)]
struct Asked {
    statement_timeout: Option<Duration>,
    idle_in_transaction_session_timeout: Option<Duration>,
    isolation: Isolation,
    transaction_read_only: bool,
    synchronous_commit: bool,
    search_path: String,
}

impl Default for Asked {
    /// By the built-in defaults.
    fn default() -> Asked {
        Asked {
            statement_timeout: None,
            idle_in_transaction_session_timeout: None,
            isolation: Isolation::ReadCommitted,
            transaction_read_only: false,
            synchronous_commit: true,
            search_path: "\"$user\", public".to_owned(),
        }
    }
}

/// The settings a transaction has of its own.
const TRANSACTION: [(&str, &str); 3] = [
    ("transaction_isolation", "default_transaction_isolation"),
    ("transaction_read_only", "default_transaction_read_only"),
    ("transaction_deferrable", "default_transaction_deferrable"),
];

impl Vars {
    /// The settings of a session that begins; `server` are values that differ from the defaults.
    pub fn new(server: &[(&str, String)]) -> Vars {
        let mut vars = Vars::default();
        for (name, value) in server {
            let kept = table::find(name)
                .and_then(|def| vars.normalise(def, name, value).ok())
                .unwrap_or_else(|| value.clone());
            Arc::make_mut(&mut vars.initial).insert(key(name).into_owned(), kept);
        }
        vars.changed();
        vars
    }

    /// A setting from the startup packet: as SET, but RESET returns to it.
    pub fn set_initial(&mut self, name: &str, value: &str) -> Result<()> {
        let kept = self.check(name, value)?;
        Arc::make_mut(&mut self.initial).insert(key(name).into_owned(), kept);
        self.changed();
        Ok(())
    }

    /// True if no setting differs: only the marks of transactions do.
    pub fn same_values(&self, other: &Vars) -> bool {
        Arc::ptr_eq(&self.initial, &other.initial)
            && Arc::ptr_eq(&self.session, &other.session)
            && Arc::ptr_eq(&self.local, &other.local)
    }

    /// The value as SHOW prints it.
    pub fn get(&self, name: &str) -> Result<String> {
        match table::find(name) {
            Some(def) => Ok(value::show(def, self.raw(def))),
            None => self.custom(name).map(str::to_owned).ok_or_else(|| unrecognized(name)),
        }
    }

    /// The value in base units (pg_settings.setting).
    pub fn get_raw(&self, name: &str) -> Result<&str> {
        match table::find(name) {
            Some(def) => Ok(self.raw(def)),
            None => self.custom(name).ok_or_else(|| unrecognized(name)),
        }
    }

    /// SET, SET LOCAL, and with `value` None SET ... TO DEFAULT, which is RESET. A list (search_path, DateStyle) comes
    /// as its elements, quoted where they need it, with ", " between.
    pub fn set(&mut self, name: &str, value: Option<&str>, local: bool) -> Result<()> {
        let kept = match value {
            Some(value) => self.check(name, value)?,
            None => {
                check_context(name)?;
                match table::find(name) {
                    Some(def) => self.initial_value(def).to_owned(),
                    None => self.initial.get(&*key(name)).cloned().unwrap_or_default(),
                }
            }
        };
        let key = key(name);
        if !self.saved.is_empty()
            && let Some((mode, _)) = TRANSACTION.iter().find(|t| t.1 == key)
        {
            // The transaction under way keeps the mode that it has begun with.
            let now = self.get_raw(mode)?.to_owned();
            Arc::make_mut(&mut self.local).entry((*mode).to_owned()).or_insert(now);
        }
        let of_transaction = TRANSACTION.iter().any(|t| t.0 == key);
        if local || of_transaction {
            if !self.saved.is_empty() {
                Arc::make_mut(&mut self.local).insert(key.into_owned(), kept);
            }
        } else {
            if self.local.contains_key(&*key) {
                Arc::make_mut(&mut self.local).remove(&*key);
            }
            Arc::make_mut(&mut self.session).insert(key.into_owned(), kept);
        }
        self.changed();
        Ok(())
    }

    /// RESET ALL.
    pub fn reset_all(&mut self) {
        const KEPT: [&str; 2] = ["session_authorization", "role"];
        let keep = |values: &Values| -> Arc<Values> {
            let kept = |k: &str| KEPT.contains(&k) || TRANSACTION.iter().any(|t| t.0 == k);
            Arc::new(values.iter().filter(|(k, _)| kept(k)).map(|(k, v)| (k.clone(), v.clone())).collect())
        };
        self.session = keep(&self.session);
        self.local = keep(&self.local);
        self.changed();
    }

    /// A transaction or savepoint begins.
    pub fn begin(&mut self) {
        self.saved.push((self.session.clone(), self.local.clone()));
    }

    /// The innermost begin ends well; the outermost one ends what was LOCAL.
    pub fn commit(&mut self) {
        self.saved.pop();
        if self.saved.is_empty() && !self.local.is_empty() {
            self.local = Arc::default();
            self.changed();
        }
    }

    /// The innermost begin is undone.
    pub fn rollback(&mut self) {
        if let Some((session, local)) = self.saved.pop() {
            let same = Arc::ptr_eq(&self.session, &session) && Arc::ptr_eq(&self.local, &local);
            self.session = session;
            self.local = local;
            if !same {
                self.changed();
            }
        }
    }

    /// A value has changed.
    fn changed(&mut self) {
        self.asked = Arc::new(Asked {
            statement_timeout: self.timeout("statement_timeout"),
            idle_in_transaction_session_timeout: self.timeout("idle_in_transaction_session_timeout"),
            isolation: match self.text("transaction_isolation") {
                "serializable" => Isolation::Serializable,
                "repeatable read" => Isolation::RepeatableRead,
                _ => Isolation::ReadCommitted,
            },
            transaction_read_only: self.on("transaction_read_only"),
            // "off": the client may be told before the fsync.
            synchronous_commit: self.text("synchronous_commit") != "off",
            search_path: self.text("search_path").to_owned(),
        });
    }

    /// The whole transaction ends well, with what is begun inside it.
    pub fn commit_all(&mut self) {
        self.saved.truncate(1);
        self.commit();
    }

    /// The whole transaction is undone.
    pub fn rollback_all(&mut self) {
        self.saved.truncate(1);
        self.rollback();
    }

    /// The settings a client is told of at start-up and on change, as SHOW prints them.
    pub fn reports(&self) -> Vec<(&'static str, String)> {
        table::VARS.iter().filter(|v| v.report).map(|v| (v.name, value::show(v, self.raw(v)))).collect()
    }

    /// Every setting that PostgreSQL lists, by name, the custom ones last.
    pub fn iter(&self) -> impl Iterator<Item = Setting<'_>> {
        let known = table::VARS.iter().filter(|def| !table::is_hidden(def)).map(|def| {
            let value = self.raw(def);
            Setting {
                def: Some(def),
                name: def.name,
                shown: value::show(def, value),
                value: value.to_owned(),
                reset: self.initial_value(def).to_owned(),
                source: self.source(def.name),
            }
        });
        let custom = self.session.keys().chain(self.local.keys()).chain(self.initial.keys());
        let custom: std::collections::BTreeSet<&String> = custom.filter(|k| k.contains('.')).collect();
        known.chain(custom.into_iter().map(|name| {
            let value = self.custom(name).unwrap_or_default().to_owned();
            let reset = self.initial.get(name).cloned().unwrap_or_default();
            Setting { def: None, name, shown: value.clone(), value, reset, source: self.source(name) }
        }))
    }

    fn source(&self, name: &str) -> &'static str {
        let key = key(name);
        if self.local.contains_key(&*key) || self.session.contains_key(&*key) {
            "session"
        } else if self.initial.contains_key(&*key) {
            "client"
        } else {
            "default"
        }
    }

    fn raw(&self, def: &'static VarDef) -> &str {
        let key = key(def.name);
        if let Some(value) = self.local.get(&*key).or_else(|| self.session.get(&*key)) {
            return value;
        }
        self.initial_value(def)
    }

    fn initial_value(&self, def: &'static VarDef) -> &str {
        if let Some((_, default)) = TRANSACTION.iter().find(|t| t.0 == def.name) {
            return table::find(default).map_or(def.default, |d| self.raw(d));
        }
        self.initial.get(&*key(def.name)).map_or(def.default, String::as_str)
    }

    fn custom(&self, name: &str) -> Option<&str> {
        let key = key(name);
        let layers = [&self.local, &self.session, &self.initial];
        layers.into_iter().find_map(|l| l.get(&*key)).map(String::as_str)
    }

    /// The kept form of a value the user may set.
    fn check(&self, name: &str, value: &str) -> Result<String> {
        check_context(name)?;
        match table::find(name) {
            Some(def) => self.normalise(def, name, value),
            None => Ok(value.to_owned()),
        }
    }

    /// The checks that PostgreSQL hangs on single settings, then those of the type.
    fn normalise(&self, def: &'static VarDef, name: &str, value: &str) -> Result<String> {
        let invalid = || value::invalid_value(def.name, value);
        match def.name {
            "DateStyle" => {
                let current = self.raw(def).to_owned();
                let (style, order) = date_style(value, &current).map_err(|detail| invalid().detail(detail))?;
                Ok(show_date_style(style, order))
            }
            "TimeZone" | "log_timezone" => zone(value).map(|z| z.1).ok_or_else(invalid),
            "client_encoding" => client_encoding(value).ok_or_else(invalid)?,
            "search_path" | "temp_tablespaces" => match split_identifiers(value) {
                Some(_) => Ok(value.to_owned()),
                None => Err(invalid().detail("List syntax is invalid.")),
            },
            "application_name" | "cluster_name" => Ok(printable(value)),
            "standard_conforming_strings" if value::parse_bool(value) == Some(false) => {
                Err(SqlError::unsupported("standard_conforming_strings = off"))
            }
            "session_authorization" | "role" => {
                let known = self.get_raw("session_authorization")?;
                if known.is_empty() || value == known || (def.name == "role" && value.eq_ignore_ascii_case("none")) {
                    return Ok(value.to_owned());
                }
                Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("role \"{value}\" does not exist")))
            }
            _ => value::normalise(def, name, value),
        }
    }
}

/// Typed reading: the values are checked when set, so a default never stands in for a bad one.
impl Vars {
    fn text(&self, name: &str) -> &str {
        self.get_raw(name).unwrap_or_default()
    }

    fn on(&self, name: &str) -> bool {
        self.text(name) == "on"
    }

    /// A duration in milliseconds, where 0 is none.
    fn timeout(&self, name: &str) -> Option<Duration> {
        self.text(name).parse().ok().filter(|ms| *ms > 0).map(Duration::from_millis)
    }

    pub fn statement_timeout(&self) -> Option<Duration> {
        self.asked.statement_timeout
    }

    pub fn lock_timeout(&self) -> Option<Duration> {
        self.timeout("lock_timeout")
    }

    pub fn deadlock_timeout(&self) -> Duration {
        self.timeout("deadlock_timeout").unwrap_or(Duration::from_secs(1))
    }

    pub fn idle_in_transaction_session_timeout(&self) -> Option<Duration> {
        self.asked.idle_in_transaction_session_timeout
    }

    pub fn idle_session_timeout(&self) -> Option<Duration> {
        self.timeout("idle_session_timeout")
    }

    /// search_path as it was set.
    pub fn raw_search_path(&self) -> &str {
        &self.asked.search_path
    }

    /// The schemas as set, unquoted; `$user` stands for itself.
    pub fn search_path(&self) -> Vec<String> {
        split_identifiers(self.text("search_path")).unwrap_or_default()
    }

    /// "read committed", "repeatable read", "serializable", "read uncommitted"
    pub fn default_transaction_isolation(&self) -> &str {
        self.text("default_transaction_isolation")
    }

    pub fn default_transaction_read_only(&self) -> bool {
        self.on("default_transaction_read_only")
    }

    /// As set; see [`Vars::isolation`] for what it means.
    pub fn transaction_isolation(&self) -> &str {
        self.text("transaction_isolation")
    }

    pub fn isolation(&self) -> Isolation {
        self.asked.isolation
    }

    pub fn transaction_deferrable(&self) -> bool {
        self.on("transaction_deferrable")
    }

    pub fn transaction_read_only(&self) -> bool {
        self.asked.transaction_read_only
    }

    /// False for `synchronous_commit = off`: the client may be told before the fsync.
    pub fn synchronous_commit(&self) -> bool {
        self.asked.synchronous_commit
    }

    /// What reading and printing values depends on; `transaction_micros` is the caller's.
    pub fn format(&self) -> FormatSettings {
        let (date_style, date_order) = date_style(self.text("DateStyle"), "ISO, MDY").unwrap_or_default();
        let name = self.text("TimeZone");
        let (time_zone, time_zone_name) = zone(name).unwrap_or_else(|| (TimeZone::UTC, "UTC".to_owned()));
        FormatSettings {
            date_style,
            date_order,
            interval_style: match self.text("IntervalStyle") {
                "postgres_verbose" => IntervalStyle::PostgresVerbose,
                "sql_standard" => IntervalStyle::SqlStandard,
                "iso_8601" => IntervalStyle::Iso8601,
                _ => IntervalStyle::Postgres,
            },
            bytea_output: if self.text("bytea_output") == "escape" { ByteaOutput::Escape } else { ByteaOutput::Hex },
            extra_float_digits: self.text("extra_float_digits").parse().unwrap_or(1),
            time_zone,
            time_zone_name,
            ..FormatSettings::default()
        }
    }
}

/// The name in lower case, as which values are kept. Most names are: several are looked up for each statement.
fn key(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|b| b.is_ascii_uppercase()) { name.to_ascii_lowercase().into() } else { name.into() }
}

fn unrecognized(name: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""))
}

/// Whether a session may set `name` at all.
fn check_context(name: &str) -> Result<()> {
    let Some(def) = table::find(name) else {
        if !name.contains('.') {
            return Err(unrecognized(name));
        }
        return if name.split('.').all(is_simple_identifier) {
            Ok(())
        } else {
            let message = format!("invalid configuration parameter name \"{name}\"");
            Err(SqlError::new(SqlState::INVALID_NAME, message)
                .detail("Custom parameter names must be two or more simple identifiers separated by dots."))
        };
    };
    let end = match def.context {
        VarContext::User | VarContext::Superuser => return Ok(()),
        VarContext::Internal => "cannot be changed",
        VarContext::Postmaster => "cannot be changed without restarting the server",
        VarContext::Sighup => "cannot be changed now",
    };
    Err(SqlError::new(SqlState::CANT_CHANGE_RUNTIME_PARAM, format!("parameter \"{name}\" {end}")))
}

fn is_simple_identifier(part: &str) -> bool {
    let starts = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
    part.starts_with(starts) && part.chars().all(|c| starts(c) || c.is_ascii_digit() || c == '$')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars() -> Vars {
        Vars::new(&[("session_authorization", "alice".to_owned())])
    }

    #[test]
    fn values_are_shown_as_postgresql_shows_them() {
        for (name, value, shown) in [
            ("statement_timeout", "1.5s", "1500ms"),
            ("statement_timeout", "90min", "90min"),
            ("work_mem", "1.2GB", "1229MB"),
            ("work_mem", "1e3", "1000kB"),
            ("work_mem", "0x40", "64kB"),
            ("extra_float_digits", "1.7", "2"),
            ("random_page_cost", "1.10", "1.1"),
            ("bytea_output", "HEX", "hex"),
            ("synchronous_commit", "yes", "on"),
            ("client_min_messages", "debug", "debug2"),
            ("datestyle", "german", "German, DMY"),
            ("datestyle", "us", "ISO, MDY"),
            ("timezone", "2", "<+02>-02"),
            ("timezone", "-7.5", "<-07:30>+07:30"),
            ("timezone", "utc", "UTC"),
            ("client_encoding", "unicode", "UTF8"),
            ("application_name", "\u{e9}a", "??a"),
            ("a.b", "x", "x"),
        ] {
            let mut v = vars();
            v.set(name, Some(value), false).unwrap();
            assert_eq!(v.get(name).unwrap(), shown, "{name} = {value}");
        }
    }

    #[test]
    fn bad_values_are_refused_in_postgresql_s_words() {
        for (name, value, code, message) in [
            ("statement_timeout", "abc", "22023", "invalid value for parameter \"statement_timeout\": \"abc\""),
            (
                "statement_timeout",
                "-1",
                "22023",
                "-1 ms is outside the valid range for parameter \"statement_timeout\" (0 .. 2147483647)",
            ),
            (
                "random_page_cost",
                "-1",
                "22023",
                "-1 is outside the valid range for parameter \"random_page_cost\" (0 .. 1.79769e+308)",
            ),
            ("enable_sort", "foo", "22023", "parameter \"enable_sort\" requires a Boolean value"),
            ("intervalstyle", "foo", "22023", "invalid value for parameter \"intervalstyle\": \"foo\""),
            ("datestyle", "iso,sql", "22023", "invalid value for parameter \"DateStyle\": \"iso,sql\""),
            ("timezone", "foo", "22023", "invalid value for parameter \"TimeZone\": \"foo\""),
            ("client_encoding", "foo", "22023", "invalid value for parameter \"client_encoding\": \"foo\""),
            ("client_encoding", "LATIN1", "0A000", "client_encoding \"LATIN1\" is not supported"),
            ("server_version", "1", "55P02", "parameter \"server_version\" cannot be changed"),
            (
                "max_connections",
                "1",
                "55P02",
                "parameter \"max_connections\" cannot be changed without restarting the server",
            ),
            ("fsync", "off", "55P02", "parameter \"fsync\" cannot be changed now"),
            ("foo", "1", "42704", "unrecognized configuration parameter \"foo\""),
            ("role", "bob", "22023", "role \"bob\" does not exist"),
        ] {
            let error = vars().set(name, Some(value), false).unwrap_err();
            assert_eq!((error.code().0, error.message()), (code, message));
        }
    }

    #[test]
    fn what_statements_ask_for_follows_the_values() {
        let mut v = Vars::default();
        let by_default = Arc::clone(&v.asked);
        v.changed();
        assert_eq!(v.asked, by_default);
        v.begin();
        v.set("statement_timeout", Some("2s"), false).unwrap();
        v.set("transaction_isolation", Some("serializable"), false).unwrap();
        assert_eq!((v.statement_timeout(), v.isolation()), (Some(Duration::from_secs(2)), Isolation::Serializable));
        v.commit();
        assert_eq!((v.statement_timeout(), v.isolation()), (Some(Duration::from_secs(2)), Isolation::ReadCommitted));
        v.begin();
        v.set("search_path", Some("a"), true).unwrap();
        v.set("synchronous_commit", Some("off"), false).unwrap();
        assert_eq!((v.raw_search_path(), v.synchronous_commit()), ("a", false));
        v.rollback();
        assert_eq!((v.raw_search_path(), v.synchronous_commit()), ("\"$user\", public", true));
        v.reset_all();
        assert_eq!(v.statement_timeout(), None);
    }

    #[test]
    fn a_rollback_reverts_set_and_a_commit_ends_local() {
        let mut v = vars();
        v.begin();
        v.set("work_mem", Some("1MB"), false).unwrap();
        v.set("lock_timeout", Some("5s"), true).unwrap();
        v.begin();
        v.set("work_mem", Some("2MB"), false).unwrap();
        v.rollback();
        assert_eq!(v.get("work_mem").unwrap(), "1MB");
        assert_eq!(v.lock_timeout(), Some(Duration::from_secs(5)));
        v.commit();
        assert_eq!(v.lock_timeout(), None);
        assert_eq!(v.get("work_mem").unwrap(), "1MB");
        v.begin();
        v.set("work_mem", None, false).unwrap();
        v.set("transaction_read_only", Some("on"), false).unwrap();
        assert!(v.transaction_read_only());
        v.rollback();
        assert_eq!(v.get("work_mem").unwrap(), "1MB");
        assert!(!v.transaction_read_only());
    }

    #[test]
    fn reset_returns_to_the_start_up_packet() {
        let mut v = vars();
        v.set_initial("application_name", "psql").unwrap();
        v.set("application_name", Some("x"), false).unwrap();
        v.set("search_path", Some("a, \"B c\""), false).unwrap();
        assert_eq!(v.search_path(), ["a", "B c"]);
        v.reset_all();
        assert_eq!(v.get("application_name").unwrap(), "psql");
        assert_eq!(v.search_path(), ["$user", "public"]);
        assert_eq!(v.reports().len(), 13);
    }
}
