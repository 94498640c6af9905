//! The configuration: flag over KALAMDB_* environment over config.toml over default.
//!
//! [`KEYS`] is the one list of settings. The file's keys, the environment's names, the defaults, `--help` and the
//! check of README's table all come from it. Every error is one line that names the key and where it was set.

use std::fmt::Write as _;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand};
use kalamdb_engine::LiveLimits;

use crate::data_dir::check_node_id;

/// KalamDB: a SQL server that speaks the PostgreSQL protocol
#[derive(Parser, Debug, Default)]
#[command(name = "kalamdb-server", version)]
pub(crate) struct Args {
    /// Configuration file; without it, ./config.toml if there is one
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where the data is kept; made if missing [default: ./data]
    #[arg(long, global = true, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// host:port, or the directory of a Unix socket; repeat it, or separate by commas [default: 127.0.0.1:5432]
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// text, or json for one object a line [default: text]
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
    /// error, warn, info, debug, trace or off; also target=level [default: info]
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Check the configuration and exit: 0 if it is valid, 2 if not
    #[arg(long)]
    pub(crate) check_config: bool,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Work on a data directory while no server runs on it
    Admin {
        #[command(subcommand)]
        command: AdminCommand,
    },
}

#[derive(Subcommand, Debug)]
pub(crate) enum AdminCommand {
    /// Read everything and check that rows, indexes and constraints fit together: 0 if they do, 1 if not
    Check,
}

impl Args {
    /// The value of a key given as a flag.
    fn value(&self, key: &str) -> Option<String> {
        match key {
            "server.data_dir" => self.data_dir.clone(),
            "server.listen" if !self.listen.is_empty() => Some(self.listen.join(",")),
            "log.format" => self.log_format.clone(),
            "log.level" => self.log_level.clone(),
            _ => None,
        }
    }
}

/// Where to accept connections.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Listen {
    tcp: Vec<SocketAddr>,
    /// The directory of the socket `.s.PGSQL.<port>`, which is where libpq looks.
    unix_socket_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

/// All settings, checked. Read once, at start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Config {
    /// None: the data directory's.
    pub(crate) node_id: Option<String>,
    pub(crate) data_dir: PathBuf,
    pub(crate) listen: Listen,
    pub(crate) max_connections: usize,
    pub(crate) max_message_bytes: usize,
    pub(crate) startup_timeout: Duration,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) log_format: LogFormat,
    pub(crate) log_level: String,
    pub(crate) block_cache_bytes: usize,
    pub(crate) write_buffer_bytes: usize,
    pub(crate) query_memory_bytes: usize,
    pub(crate) column_cache_bytes: usize,
    pub(crate) change_log_bytes_max: u64,
    pub(crate) change_log_age_max: Duration,
    pub(crate) notify_queue_bytes_max: u64,
    pub(crate) live: LiveLimits,
    unknown_environment: Vec<String>,
}

/// One setting: `name` is section and key of config.toml.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) env: &'static str,
    pub(crate) default: &'static str,
    pub(crate) help: &'static str,
    set: fn(&mut Config, &str) -> Result<(), String>,
}

/// Every setting there is.
pub(crate) const KEYS: &[Key] = &[
    Key {
        name: "server.node_id",
        env: "KALAMDB_NODE_ID",
        default: "",
        help: "name of this node in every log line; generated once if absent",
        set: |config, value| {
            check_node_id(value)?;
            config.node_id = Some(value.to_owned());
            Ok(())
        },
    },
    Key {
        name: "server.data_dir",
        env: "KALAMDB_DATA_DIR",
        default: "./data",
        help: "where the data is kept; made with mode 0700 if missing",
        set: |config, value| {
            if value.is_empty() {
                return Err("a directory must be named".to_owned());
            }
            config.data_dir = PathBuf::from(value);
            Ok(())
        },
    },
    Key {
        name: "server.listen",
        env: "KALAMDB_LISTEN",
        default: "127.0.0.1:5432",
        help: "loopback addresses (host:port) and Unix socket directories to accept connections at",
        set: |config, value| {
            config.listen = listen(value)?;
            Ok(())
        },
    },
    Key {
        name: "server.max_connections",
        env: "KALAMDB_MAX_CONNECTIONS",
        default: "1000",
        help: "connections at a time; one more is refused with 53300",
        set: |config, value| {
            config.max_connections = number(value, 1, 100_000)?;
            Ok(())
        },
    },
    Key {
        name: "server.max_message",
        env: "KALAMDB_MAX_MESSAGE",
        default: "256MB",
        help: "longest message of a client; a longer one is refused unread with 54000",
        set: |config, value| {
            config.max_message_bytes = bytes(value, 1 << 20)? as usize;
            Ok(())
        },
    },
    Key {
        name: "server.startup_timeout",
        env: "KALAMDB_STARTUP_TIMEOUT",
        default: "1min",
        help: "how long a client may take from connecting to a session",
        set: |config, value| {
            config.startup_timeout = duration(value)?;
            Ok(())
        },
    },
    Key {
        name: "server.shutdown_timeout",
        env: "KALAMDB_SHUTDOWN_TIMEOUT",
        default: "10s",
        help: "how long running statements may go on after SIGTERM before they are cancelled",
        set: |config, value| {
            config.shutdown_timeout = duration(value)?;
            Ok(())
        },
    },
    Key {
        name: "log.format",
        env: "KALAMDB_LOG_FORMAT",
        default: "text",
        help: "text, or json for one object a line",
        set: |config, value| {
            config.log_format = match value {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                other => return Err(format!("\"{other}\" is neither text nor json")),
            };
            Ok(())
        },
    },
    Key {
        name: "log.level",
        env: "KALAMDB_LOG_LEVEL",
        default: "info",
        help: "error, warn, info, debug, trace or off; also target=level, separated by commas",
        set: |config, value| {
            check_level(value)?;
            config.log_level = value.to_owned();
            Ok(())
        },
    },
    Key {
        name: "storage.block_cache",
        env: "KALAMDB_STORAGE_BLOCK_CACHE",
        default: "256MB",
        help: "memory for blocks read from disk, filled as they are read",
        set: |config, value| {
            config.block_cache_bytes = bytes(value, 1 << 20)? as usize;
            Ok(())
        },
    },
    Key {
        name: "storage.write_buffer",
        env: "KALAMDB_STORAGE_WRITE_BUFFER",
        default: "64MB",
        help: "memory for rows not yet in a file, per column family",
        set: |config, value| {
            config.write_buffer_bytes = bytes(value, 1 << 20)? as usize;
            Ok(())
        },
    },
    Key {
        name: "storage.change_log_size",
        env: "KALAMDB_STORAGE_CHANGE_LOG_SIZE",
        default: "1GB",
        help: "changes kept for live queries: the oldest beyond this size are dropped",
        set: |config, value| {
            config.change_log_bytes_max = bytes(value, 1 << 20)?;
            Ok(())
        },
    },
    Key {
        name: "storage.change_log_age",
        env: "KALAMDB_STORAGE_CHANGE_LOG_AGE",
        default: "1d",
        help: "changes kept for live queries: those older than this are dropped",
        set: |config, value| {
            config.change_log_age_max = duration(value)?;
            Ok(())
        },
    },
    Key {
        name: "live.notify_queue_size",
        env: "KALAMDB_LIVE_NOTIFY_QUEUE_SIZE",
        default: "8GB",
        help: "notifications that listeners have not taken yet; beyond it NOTIFY fails",
        set: |config, value| {
            config.notify_queue_bytes_max = bytes(value, 1 << 20)?;
            Ok(())
        },
    },
    Key {
        name: "live.queries",
        env: "KALAMDB_LIVE_QUERIES",
        default: "100000",
        help: "live queries of all sessions; one more is refused with 54000",
        set: |config, value| {
            config.live.queries = number(value, 0, 10_000_000)?;
            Ok(())
        },
    },
    Key {
        name: "live.queries_per_session",
        env: "KALAMDB_LIVE_QUERIES_PER_SESSION",
        default: "1000",
        help: "live queries of one session; one more is refused with 54000",
        set: |config, value| {
            config.live.queries_per_session = number(value, 0, 10_000_000)?;
            Ok(())
        },
    },
    Key {
        name: "live.buffer_size",
        env: "KALAMDB_LIVE_BUFFER_SIZE",
        default: "8MB",
        help: "changes kept for one live query; a listener that is slower is reset and gets the rows anew",
        set: |config, value| {
            config.live.buffer_bytes = bytes(value, 1 << 10)? as usize;
            Ok(())
        },
    },
    Key {
        name: "live.buffers_size",
        env: "KALAMDB_LIVE_BUFFERS_SIZE",
        default: "1GB",
        help: "changes kept for all live queries together; beyond it the next one that needs room is reset",
        set: |config, value| {
            config.live.buffers_bytes = bytes(value, 1 << 20)? as usize;
            Ok(())
        },
    },
    Key {
        name: "live.result_size",
        env: "KALAMDB_LIVE_RESULT_SIZE",
        default: "64MB",
        help: "result of a live query that is run again (joins, aggregates); a larger one ends the query",
        set: |config, value| {
            config.live.result_bytes = bytes(value, 1 << 10)? as usize;
            Ok(())
        },
    },
    Key {
        name: "query.memory",
        env: "KALAMDB_QUERY_MEMORY",
        default: "1GB",
        help: "memory for sorts, joins and aggregates of all running queries together",
        set: |config, value| {
            config.query_memory_bytes = bytes(value, 1 << 20)? as usize;
            Ok(())
        },
    },
    Key {
        name: "query.column_cache",
        env: "KALAMDB_QUERY_COLUMN_CACHE",
        default: "256MB",
        help: "memory for columns of tables as the last scan read them; 0B keeps none",
        set: |config, value| {
            config.column_cache_bytes = bytes(value, 0)? as usize;
            Ok(())
        },
    },
];

const EXAMPLE: &str = "\
Start and connect:
  kalamdb-server --data-dir ./data
  psql -h 127.0.0.1 -p 5432 postgres

A second server beside it, also on a Unix socket:
  kalamdb-server --data-dir ./data2 --listen 127.0.0.1:5433,/tmp

config.toml has the same settings by section:
  [server]
  node_id = \"rack-4\"
  listen = [\"127.0.0.1:5432\", \"/tmp\"]
  [storage]
  block_cache = \"1GB\"

A flag wins over the environment, that over the file, that over the default.
There are no passwords yet: only loopback addresses and Unix sockets are accepted.
SIGTERM and SIGINT stop the server gracefully; a second one ends it at once.

Settings, as in config.toml [default] (environment):
";

/// What `--help` says after the flags.
pub(crate) fn help() -> String {
    let mut text = EXAMPLE.to_owned();
    for key in KEYS {
        let default = if key.default.is_empty() { "generated" } else { key.default };
        let _ = writeln!(text, "  {} [{default}] ({})\n      {}", key.name, key.env, key.help);
    }
    text
}

/// Reads the configuration of this process.
pub(crate) fn load(args: &Args) -> Result<Config, String> {
    let named = args.config.clone().or_else(|| std::env::var_os("KALAMDB_CONFIG").map(PathBuf::from));
    let path = named.or_else(|| Some(PathBuf::from("config.toml")).filter(|path| path.exists()));
    let file = match &path {
        Some(path) => read_file(path)?,
        None => Vec::new(),
    };
    let mut environment = Vec::new();
    for (name, value) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("KALAMDB_") && name != "KALAMDB_CONFIG" {
            let value = value.into_string().map_err(|_| format!("environment: {name}: not UTF-8"))?;
            environment.push((name, value));
        }
    }
    merge(args, &environment, &file)
}

/// A value with the place it was set in.
type Found = (String, String, String);

/// Reads a file as (key, value, place). Lists are joined by commas: every value has one text form.
fn read_file(path: &Path) -> Result<Vec<Found>, String> {
    let place = format!("config file \"{}\"", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| format!("{place}: {error}"))?;
    parse_file(&text, &place)
}

fn parse_file(text: &str, place: &str) -> Result<Vec<Found>, String> {
    let sections: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("{place}: line {line}: {}", error.message().lines().collect::<Vec<_>>().join(" "))
    })?;
    let mut found = Vec::new();
    for (section, value) in sections {
        if !KEYS.iter().any(|key| key.name.starts_with(&format!("{section}."))) {
            return Err(format!("{place}: unknown key \"{section}\""));
        }
        let toml::Value::Table(keys) = value else {
            return Err(format!("{place}: {section}: a section is written [{section}]"));
        };
        for (key, value) in keys {
            let name = format!("{section}.{key}");
            if !KEYS.iter().any(|key| key.name == name) {
                return Err(format!("{place}: unknown key \"{name}\""));
            }
            let text =
                plain(&value).ok_or_else(|| format!("{place}: {name}: a {} is not a value", value.type_str()))?;
            found.push((name, text, place.to_owned()));
        }
    }
    Ok(found)
}

fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Array(items) => Some(items.iter().map(plain).collect::<Option<Vec<_>>>()?.join(",")),
        toml::Value::Float(_) | toml::Value::Boolean(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

/// Sets every key from the first place that has it.
fn merge(args: &Args, environment: &[(String, String)], file: &[Found]) -> Result<Config, String> {
    let mut config = Config::default();
    for key in KEYS {
        let flag = || args.value(key.name).map(|value| (value, "command line".to_owned()));
        let variable = || {
            let (name, value) = environment.iter().find(|(name, _)| name == key.env)?;
            Some((value.clone(), format!("environment variable {name}")))
        };
        let in_file = || {
            let (_, value, place) = file.iter().find(|(name, ..)| name == key.name)?;
            Some((value.clone(), place.clone()))
        };
        let default = || Some((key.default.to_owned(), "default".to_owned())).filter(|(value, _)| !value.is_empty());
        let Some((value, place)) = flag().or_else(variable).or_else(in_file).or_else(default) else { continue };
        (key.set)(&mut config, &value).map_err(|error| format!("{place}: {}: {error}", key.name))?;
    }
    let unknown = environment.iter().map(|(name, _)| name).filter(|name| KEYS.iter().all(|key| key.env != *name));
    config.unknown_environment = unknown.cloned().collect();
    Ok(config)
}

impl Config {
    /// Other programs share the KALAMDB_ prefix, so an unknown variable is a warning and not an error.
    pub(crate) fn log_unknown_environment(&self) {
        for name in &self.unknown_environment {
            tracing::warn!(name, "environment variable is not a setting");
        }
    }

    /// The engine's part.
    pub(crate) fn engine(&self, node_id: String) -> kalamdb_engine::Settings {
        kalamdb_engine::Settings {
            node_id,
            data_dir: self.data_dir.clone(),
            max_connections: self.max_connections,
            block_cache_bytes: self.block_cache_bytes,
            write_buffer_bytes: self.write_buffer_bytes,
            query_memory_bytes: self.query_memory_bytes,
            column_cache_bytes: self.column_cache_bytes,
            change_log_bytes_max: self.change_log_bytes_max,
            change_log_age_max: self.change_log_age_max,
            notify_queue_bytes_max: self.notify_queue_bytes_max,
            live: self.live,
        }
    }

    /// The protocol's part. The Unix socket is numbered by the first TCP port, as clients expect.
    pub(crate) fn protocol(&self) -> kalamdb_protocol::Settings {
        kalamdb_protocol::Settings {
            listen: self.listen.tcp.clone(),
            unix_socket_dir: self.listen.unix_socket_dir.clone(),
            unix_socket_port: 0,
            max_connections: self.max_connections,
            max_message_bytes: self.max_message_bytes,
            startup_timeout: self.startup_timeout,
            shutdown_grace: self.shutdown_timeout,
        }
    }
}

fn number(value: &str, min: usize, max: usize) -> Result<usize, String> {
    let number: usize = value.parse().map_err(|_| format!("\"{value}\" is not a whole number"))?;
    if (min..=max).contains(&number) { Ok(number) } else { Err(format!("{number} is outside {min} .. {max}")) }
}

/// A number and its unit, "64MB" as 64 and "MB".
fn split_unit(value: &str) -> Option<(u64, &str)> {
    let value = value.trim();
    let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    Some((value[..end].parse().ok()?, value[end..].trim()))
}

/// Units as in PostgreSQL's configuration (manual, section 20.1.1): kB, MB, GB, TB, by 1024.
fn bytes(value: &str, min: u64) -> Result<u64, String> {
    let bad = || format!("\"{value}\" is not a size such as 64MB (units: B, kB, MB, GB, TB)");
    let (number, unit) = split_unit(value).ok_or_else(bad)?;
    let shift = match unit {
        "B" => 0,
        "kB" => 10,
        "MB" => 20,
        "GB" => 30,
        "TB" => 40,
        _ => return Err(bad()),
    };
    let bytes = number.checked_mul(1 << shift).ok_or_else(bad)?;
    if bytes >= min { Ok(bytes) } else { Err(format!("{value} is less than {} kB", min >> 10)) }
}

/// Units as in PostgreSQL's configuration: ms, s, min, h, d.
fn duration(value: &str) -> Result<Duration, String> {
    let bad = || format!("\"{value}\" is not a time such as 10s (units: ms, s, min, h, d)");
    let (number, unit) = split_unit(value).ok_or_else(bad)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(bad()),
    };
    Ok(Duration::from_millis(number.checked_mul(unit_ms).ok_or_else(bad)?))
}

/// The filter's own parser takes an unknown level for the name of a target.
fn check_level(value: &str) -> Result<(), String> {
    let known = |level: &str| matches!(level, "error" | "warn" | "info" | "debug" | "trace" | "off");
    let bad = value.split(',').find(|part| !known(part.rsplit('=').next().unwrap_or(part)));
    match bad {
        None => Ok(()),
        Some(part) => Err(format!("\"{part}\" is not a level: error, warn, info, debug, trace, off, or target=level")),
    }
}

fn listen(value: &str) -> Result<Listen, String> {
    let mut listen = Listen::default();
    for part in value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        if part.starts_with(['/', '.']) {
            if listen.unix_socket_dir.replace(PathBuf::from(part)).is_some() {
                return Err(format!("\"{part}\" is a second Unix socket directory; there can be one"));
            }
            continue;
        }
        let addresses = part.to_socket_addrs().map_err(|_| {
            format!("\"{part}\" is neither host:port nor the directory of a Unix socket (which begins with / or .)")
        })?;
        for address in addresses {
            if !address.ip().is_loopback() {
                return Err(format!(
                    "{address} is refused: there is no authentication yet, so only loopback addresses (127.0.0.1, \
                     [::1]) and Unix sockets are accepted; reach the server from elsewhere through an SSH tunnel"
                ));
            }
            listen.tcp.push(address);
        }
    }
    if listen == Listen::default() { Err("at least one address is needed".to_owned()) } else { Ok(listen) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_file(text: &str) -> Result<Config, String> {
        merge(&Args::default(), &[], &parse_file(text, "config file \"c\"")?)
    }

    #[test]
    fn flag_over_environment_over_file_over_default() {
        let file = parse_file("[server]\nlisten = [\"127.0.0.1:1\", \"/tmp\"]\n", "c").unwrap();
        let environment = [("KALAMDB_LISTEN".to_owned(), "127.0.0.1:2".to_owned())];
        let args = Args { listen: vec!["127.0.0.1:3".to_owned(), "/run".to_owned()], ..Args::default() };
        let at = |port, directory: Option<&str>| Listen {
            tcp: vec![SocketAddr::from(([127, 0, 0, 1], port))],
            unix_socket_dir: directory.map(PathBuf::from),
        };
        let listen = |args: &Args, environment: &[(String, String)], file: &[Found]| {
            merge(args, environment, file).unwrap().listen
        };
        assert_eq!(listen(&args, &environment, &file), at(3, Some("/run")));
        assert_eq!(listen(&Args::default(), &environment, &file), at(2, None));
        assert_eq!(listen(&Args::default(), &[], &file), at(1, Some("/tmp")));
        assert_eq!(listen(&Args::default(), &[], &[]), at(5432, None));
    }

    #[test]
    fn errors_name_key_and_place() {
        let place = "config file \"c\": ";
        for (text, error) in [
            ("[server]\nlisen = \"x\"", "unknown key \"server.lisen\""),
            ("[sever]\nlisten = \"x\"", "unknown key \"sever\""),
            ("port = 1", "unknown key \"port\""),
            ("server = 1", "server: a section is written [server]"),
            ("[server]\nmax_connections = \"many\"", "server.max_connections: \"many\" is not a whole number"),
            ("[server]\nmax_connections = 0", "server.max_connections: 0 is outside 1 .. 100000"),
            ("[server]\nmax_connections = true", "server.max_connections: a boolean is not a value"),
            (
                "[log]\nlevel = \"loud\"",
                "log.level: \"loud\" is not a level: error, warn, info, debug, trace, off, or target=level",
            ),
            ("[log]\nformat = \"xml\"", "log.format: \"xml\" is neither text nor json"),
            (
                "[query]\nmemory = \"1XB\"",
                "query.memory: \"1XB\" is not a size such as 64MB (units: B, kB, MB, GB, TB)",
            ),
            ("[query]\nmemory = \"1kB\"", "query.memory: 1kB is less than 1024 kB"),
        ] {
            assert_eq!(from_file(text).unwrap_err(), format!("{place}{error}"), "{text}");
        }
        let broken = from_file("[server]\nlisten = ").unwrap_err();
        assert!(broken.starts_with("config file \"c\": line 2: ") && !broken.contains('\n'), "{broken}");
        assert!(read_file(Path::new("/nonexistent/c")).unwrap_err().starts_with("config file \"/nonexistent/c\": "));
    }

    #[test]
    fn other_machines_are_refused() {
        for address in ["0.0.0.0:5432", "192.0.2.1:5432", "[::]:5432"] {
            let error = listen(address).unwrap_err();
            assert!(error.contains("there is no authentication yet"), "{error}");
        }
        assert!(listen("5432").unwrap_err().contains("neither host:port"));
        assert_eq!(listen("[::1]:5432").unwrap().tcp.len(), 1);
        assert!(listen("/a,/b").unwrap_err().contains("second Unix socket"));
    }

    #[test]
    fn units() {
        assert_eq!(bytes("3kB", 0), Ok(3072));
        assert_eq!(bytes("2 GB", 0), Ok(2 << 30));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2min"), Ok(Duration::from_secs(120)));
        assert!(duration("10").is_err());
    }

    #[test]
    fn readme_lists_every_setting() {
        let readme = include_str!("../../README.md");
        for key in KEYS {
            let default = if key.default.is_empty() { "generated" } else { key.default };
            let row = format!("| `{}` | `{}` | {default} |", key.name, key.env);
            assert!(readme.contains(&row), "README.md has no row {row}");
        }
    }
}
